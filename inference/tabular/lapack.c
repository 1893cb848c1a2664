#include "inference/tabular/lapack.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>

static md_lapack functions;
static bool loaded;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
    void *library = dlopen("liblapacke.so.3", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return;
    }
    /* ISO C has no conversion from void * to a function; POSIX promises that this works. */
    *(void **)&functions.dgeqp3 = dlsym(library, "LAPACKE_dgeqp3");
    *(void **)&functions.dormqr = dlsym(library, "LAPACKE_dormqr");
    *(void **)&functions.dtrtri = dlsym(library, "LAPACKE_dtrtri");
    loaded = functions.dgeqp3 != NULL && functions.dormqr != NULL && functions.dtrtri != NULL;
}

md_status md_lapack_load(const md_lapack **ret_lapack, md_error *err)
{
    (void)pthread_once(&once, load);
    if (!loaded) {
        return md_fail(err, MD_UNSUPPORTED,
                       "fitting needs LAPACKE: install Debian's package liblapacke");
    }
    *ret_lapack = &functions;
    return MD_OK;
}
