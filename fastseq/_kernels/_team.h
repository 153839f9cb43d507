/* The team of threads that runs a parallel region, with and without OpenMP. */
#ifndef FASTSEQ_TEAM_H
#define FASTSEQ_TEAM_H

#ifdef _OPENMP
#include <omp.h>

static inline int fs_team_size(void) { return omp_get_num_threads(); }
static inline int fs_team_member(void) { return omp_get_thread_num(); }

static inline void fs_team_barrier(void) {
#pragma omp barrier
}
#else
static inline int fs_team_size(void) { return 1; }
static inline int fs_team_member(void) { return 0; }
static inline void fs_team_barrier(void) {}
#endif

#endif
