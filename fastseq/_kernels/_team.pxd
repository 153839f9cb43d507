# How kernels share their work among threads, see _team.h.

# Computes one part of a job; false where memory is missing.
ctypedef bint (*Task)(void *job, int part, int parts) noexcept nogil

# task(job, part, parts) for every part, on at most so many threads; whether all succeeded. parts 0
# makes as many as there are threads, which run one each and may wait at the barrier.
cdef bint run_parts(Task task, void *job, int parts, int threads) noexcept nogil
cdef void team_barrier() noexcept nogil
cdef int thread_limit() noexcept nogil
