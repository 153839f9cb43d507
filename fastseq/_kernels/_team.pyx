"""The threads that all kernels of the process share."""

import os

cdef extern from "_team.h" nogil:
    const int FS_MAX_THREADS
    bint fs_run(Task task, void *job, int parts, int threads)
    void fs_barrier()
    void fs_forget_workers()
    void fs_use_openmp(size_t parallel, size_t members)


MAX_THREADS = FS_MAX_THREADS
cdef int _limit = 1


cdef bint run_parts(Task task, void *job, int parts, int threads) noexcept nogil:
    return fs_run(task, job, parts, threads)


cdef void team_barrier() noexcept nogil:
    fs_barrier()


cdef int thread_limit() noexcept nogil:
    return _limit


def set_num_threads(int count):
    """Use at most `count` threads."""
    global _limit
    _limit = min(max(count, 1), FS_MAX_THREADS)


def get_num_threads():
    """The largest number of threads that kernels may use."""
    return _limit


def use_openmp(size_t parallel, size_t members):
    """Run jobs on the threads of an OpenMP runtime, or, for zeros, on threads of our own.

    parallel, members: addresses of its functions GOMP_parallel and omp_get_num_threads.
    """
    fs_use_openmp(parallel, members)


def _forget_workers():
    fs_forget_workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workers)
