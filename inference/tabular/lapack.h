#ifndef MEDAID_INFERENCE_TABULAR_LAPACK_H
#define MEDAID_INFERENCE_TABULAR_LAPACK_H

/* The functions of LAPACKE that fitting needs, loaded when the first model is fitted: a serving
 * process never pays for them. See LAPACK's own documentation of each; column-major. */

#include "base/error.h"

typedef struct md_lapack {
    /* A P = Q R with column pivoting */
    int (*dgeqp3)(int layout, int m, int n, double *a, int lda, int *pivots, double *tau);
    /* C := op(Q) C */
    int (*dormqr)(int layout, char side, char transpose, int m, int n, int k, const double *a,
                  int lda, const double *tau, double *c, int ldc);
    /* inverse of a triangular matrix */
    int (*dtrtri)(int layout, char uplo, char diagonal, int n, double *a, int lda);
} md_lapack;

enum {
    MD_LAPACK_COLUMN_MAJOR = 102
};

/* MD_UNSUPPORTED when the library is not installed. Any thread. */
md_status md_lapack_load(const md_lapack **ret_lapack, md_error *err) MD_NODISCARD;

#endif
