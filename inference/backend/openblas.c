#include "inference/backend/backend.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>

/* OpenBLAS is loaded when a network asks for it, not at program start: its constructor starts a
 * thread for each core, and each spins for tens of milliseconds before it sleeps (50 to 80 ms
 * of CPU measured on two cores), which a run on oneDNN need not pay. The constructor counts the
 * cores in the affinity mask of the thread that loads it, so it is loaded under a mask of one
 * core and starts no thread. The kernels share their work themselves, and each thread calls
 * sgemm for its part: of a convolution only the product would run on OpenBLAS's threads. */

typedef void (*cblas_sgemm_fn)(int order, int transpose_a, int transpose_b, int m, int n, int k,
                               float alpha, const float *a, int lda, const float *b, int ldb,
                               float beta, float *c, int ldc);
typedef void (*set_num_threads_fn)(int n);

enum { /* of cblas.h */
    ROW_MAJOR = 101,
    NO_TRANSPOSE = 111,
    TRANSPOSE = 112
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static cblas_sgemm_fn sgemm_of_library;
static set_num_threads_fn set_num_threads;

static void load(void)
{
    cpu_set_t all, one;
    bool restrict_cores = sched_getaffinity(0, sizeof all, &all) == 0 && CPU_COUNT(&all) > 1;
    if (restrict_cores) {
        CPU_ZERO(&one);
        for (size_t i = 0; i < CPU_SETSIZE; i++) {
            if (CPU_ISSET(i, &all)) {
                CPU_SET(i, &one);
                break;
            }
        }
        restrict_cores = sched_setaffinity(0, sizeof one, &one) == 0;
    }
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (restrict_cores) {
        (void)sched_setaffinity(0, sizeof all, &all);
    }
    if (library == NULL) {
        return;
    }
    /* ISO C has no conversion from void * to a function; POSIX promises that this works. */
    *(void **)&set_num_threads = dlsym(library, "openblas_set_num_threads");
    *(void **)&sgemm_of_library = dlsym(library, "cblas_sgemm");
    /* never closed: its threads live as long as the process */
}

/* Lengths fit an int: no tensor of a plan has more than 2^29 elements. */
static void sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                  float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                  float beta, float *c, int64_t ldc)
{
    sgemm_of_library(ROW_MAJOR, transpose_a ? TRANSPOSE : NO_TRANSPOSE,
                     transpose_b ? TRANSPOSE : NO_TRANSPOSE, (int)m, (int)n, (int)k, alpha, a,
                     (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

static md_status create(const md_backend_options *options, const md_graph *graph,
                        void **ret_state, md_error *err)
{
    (void)graph;
    if (options->precision != MD_PRECISION_F32) {
        return md_fail(err, MD_UNSUPPORTED, "the OpenBLAS back end has float32 alone");
    }
    md_threads *threads;
    MD_TRY(md_threads_create(options->n_threads, &threads, err));
    *ret_state = threads;
    return MD_OK;
}

static void destroy(void *state)
{
    md_threads_destroy(state);
}

static md_threads *threads(void *state)
{
    return state;
}

static void begin_run(void *state)
{
    (void)state;
    set_num_threads(1); /* whatever else in the process asked for */
}

static const md_backend_api api = {
    .name = "openblas",
    .create = create,
    .destroy = destroy,
    .sgemm = sgemm,
    .threads = threads,
    .begin_run = begin_run,
};

md_status md_openblas_api(const md_backend_api **ret_api, md_error *err)
{
    (void)pthread_once(&once, load);
    if (sgemm_of_library == NULL || set_num_threads == NULL) {
        return md_fail(err, MD_UNSUPPORTED,
                       "libopenblas.so.0 cannot be loaded: install libopenblas0");
    }
    *ret_api = &api;
    return MD_OK;
}
