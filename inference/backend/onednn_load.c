#define MD_DNNL_NO_MACROS
#include "inference/backend/onednn_load.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

md_dnnl_functions md_dnnl_table;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *missing; /* what could not be found, NULL when all is there */

/* ISO C has no conversion from void * to a function; POSIX promises that the bytes are one. */
static void find(void *library, const char *name, void *ret_function, size_t n_bytes)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL) {
        missing = name;
        return;
    }
    memcpy(ret_function, &symbol, n_bytes);
}

static void load(void)
{
    if (getenv("OMP_WAIT_POLICY") == NULL && getenv("GOMP_SPINCOUNT") == NULL) {
        (void)setenv("GOMP_SPINCOUNT", "5000", 0);
    }
    /* lazily: most of its functions are never called */
    void *library = dlopen("libdnnl.so.2", RTLD_LAZY | RTLD_LOCAL);
    void *openmp = dlopen("libgomp.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (library == NULL || openmp == NULL) {
        missing = library == NULL ? "libdnnl.so.2" : "libgomp.so.1";
        return;
    }
#define FIND(name)                                                                             \
    find(library, #name, &md_dnnl_table.call_##name, sizeof md_dnnl_table.call_##name);
    MD_DNNL_FUNCTIONS(FIND)
    find(openmp, "omp_set_num_threads", &md_dnnl_table.omp_set_num_threads,
         sizeof md_dnnl_table.omp_set_num_threads);
    find(openmp, "omp_get_num_threads", &md_dnnl_table.omp_get_num_threads,
         sizeof md_dnnl_table.omp_get_num_threads);
    find(openmp, "omp_get_thread_num", &md_dnnl_table.omp_get_thread_num,
         sizeof md_dnnl_table.omp_get_thread_num);
    find(openmp, "GOMP_parallel", &md_dnnl_table.GOMP_parallel,
         sizeof md_dnnl_table.GOMP_parallel);
    find(openmp, "omp_pause_resource_all", &md_dnnl_table.omp_pause_resource_all,
         sizeof md_dnnl_table.omp_pause_resource_all);
    if (missing == NULL) {
        /* or it looks for VTune in 44 folders and tells it of each piece of code */
        (void)md_dnnl_table.call_dnnl_set_jit_profiling_flags(0);
    }
    /* never closed: code and threads of theirs may be in use until the process ends */
}

md_status md_dnnl_load(md_error *err)
{
    (void)pthread_once(&once, load);
    return missing == NULL ? MD_OK
                           : md_fail(err, MD_UNSUPPORTED,
                                     "oneDNN cannot be loaded (%s): install libdnnl2", missing);
}
