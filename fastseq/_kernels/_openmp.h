/* Jobs on the threads of an OpenMP runtime that the process uses anyway, such as PyTorch's.
 *
 * Two pools of threads that both wait awake take the processors from each other. Where a program
 * has one already, jobs run on its threads, through the function of libgomp that compilers call
 * for a parallel region, which the runtimes of LLVM and Intel have, too.
 *
 * a. A job opens a region of the usual size: libgomp would end the threads that a smaller one
 *    leaves over. Members that find nothing to do return.
 * b. All members of a region run at the same time, so that a barrier only counts them.
 * A part of _team.h.
 */

#ifdef _WIN32
#define fs_yield() ((void)0)
#else
#include <sched.h>
#define fs_yield() sched_yield()
#endif

static struct {
    void (*parallel)(void (*member)(void *), void *data, unsigned threads, unsigned flags);
    int (*members)(void); /* of the region that the caller is in */
} fs_openmp;

typedef struct {
    fs_task task;
    void *job;
    int parts, threads;
    uint32_t next;    /* the next part to claim */
    uint32_t failed;
    uint32_t arrived; /* at the barrier */
    uint32_t phase;   /* grows when all have arrived */
} fs_region;

static _Thread_local fs_region *fs_own_region; /* the one whose part this thread computes */
static _Thread_local uint32_t fs_region_size;  /* members that compute */

static void fs_openmp_barrier(fs_region *r) {
    uint32_t phase = FS_LOAD(r->phase);
    if (FS_ADD(r->arrived, 1) + 1 < fs_region_size) {
        while (!fs_spin(&r->phase, phase, FS_TEAM_SPIN)) fs_yield();
        return;
    }
    FS_STORE(r->arrived, 0);
    FS_STORE(r->phase, phase + 1);
}

static void fs_openmp_member(void *data) {
    fs_region *r = data;
    const unsigned mode = fs_flush_subnormals();
    const int members = fs_openmp.members(), size = members < r->threads ? members : r->threads;
    const int parts = r->parts ? r->parts : size;
    int part;
    fs_own_region = r;
    fs_region_size = (uint32_t)size;
    while ((part = (int)FS_ADD(r->next, 1)) < parts) {
        if (!r->task(r->job, part, parts)) FS_STORE(r->failed, 1);
        if (!r->parts) break; /* each member of a team has one */
    }
    fs_own_region = NULL;
    fs_restore_subnormals(mode);
}

static int fs_run_on_openmp(fs_task task, void *job, int parts, int threads) {
    fs_region region = {task, job, parts, threads, 0, 0, 0, 0};
    fs_openmp.parallel(fs_openmp_member, &region, 0, 0);
    return !region.failed;
}

/* Run jobs there from now on: the addresses of GOMP_parallel and omp_get_num_threads, or zeros. */
static void fs_use_openmp(size_t parallel, size_t members) {
    memset(&fs_openmp, 0, sizeof fs_openmp);
    memcpy(&fs_openmp.members, &members, sizeof members);
    memcpy(&fs_openmp.parallel, &parallel, sizeof parallel);
}
