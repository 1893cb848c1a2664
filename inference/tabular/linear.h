#ifndef MEDAID_INFERENCE_TABULAR_LINEAR_H
#define MEDAID_INFERENCE_TABULAR_LINEAR_H

/* Linear regression: least squares and ridge, with the uncertainty of what it says.
 *
 *   minimise sum_i (y_i - a - x_i b)^2 + ridge |b|^2
 *
 * by a QR decomposition with column pivoting of the centred columns (and sqrt(ridge) I below
 * them: Golub & Van Loan, Matrix Computations, 5.2, 12.1), so that no X'X is ever formed. The
 * intercept a is not penalised. With C = (X'X + ridge I)^-1 of the centred X, H = C X'X:
 *
 *   degrees of freedom  df = n - 1 - tr(H)           (n - 1 - p without ridge)
 *   residual variance   s^2 = RSS / df
 *   covariance of b     s^2 C X'X C                  (s^2 C without ridge)
 *   mean at x           a + x b, standard error s sqrt(1/n + d' C X'X C d), d = x - mean of X
 *   one value at x      the same with 1 added under the root
 *
 * Intervals are these times the quantile of Student's t with df degrees of freedom. With ridge
 * they leave the bias out, as such intervals do. What it is not for: costs that grow with the
 * error's size, outliers, anything that is not a sum of its columns.
 *
 * A fitted model is immutable: any thread may predict. */

#include "base/memory.h"

enum {
    MD_LINEAR_MAX_ROWS = 10000000,
    MD_LINEAR_MAX_COLUMNS = 1000
};

typedef struct md_linear {
    unsigned n_columns;
    size_t n_rows;
    double ridge, intercept, intercept_error;
    double *coefficients, *errors; /* [n_columns]; errors: standard errors */
    double *means;                 /* [n_columns] of the columns of X */
    double *covariance;            /* [n_columns][n_columns], of b over s^2: C X'X C */
    double degrees, variance;      /* df, s^2 */
    double r_squared;              /* 1 - RSS / TSS; 0 when y does not vary */
} md_linear;

/* x is [n_rows][n_columns] row-major, y [n_rows]. `names` are the columns' for error texts, or
 * NULL. ret_residuals and ret_leverages [n_rows] may be NULL: y minus its prediction, and the
 * share of y_i in its own prediction (1/n + d' C d). MD_INVALID_ARG, naming row and column, for
 * a value that is not finite; naming the column for one that is constant or, without ridge,
 * depends on the others; when there are no more rows than columns + 1, without ridge; for a
 * negative ridge. MD_LIMIT, MD_NOMEM, MD_UNSUPPORTED (no LAPACKE). The caller finishes. */
md_status md_linear_fit(const double *x, const double *y, size_t n_rows, unsigned n_columns,
                        double ridge, const char *const *names, md_linear *ret_linear,
                        double *ret_residuals, double *ret_leverages, md_error *err)
    MD_NODISCARD;
/* Release; a zeroed one is fine. */
void md_linear_finish(md_linear *linear);

/* A prediction with both intervals at the given confidence, e.g. 0.8. */
typedef struct md_linear_prediction {
    double value;
    double mean_low, mean_high; /* of the mean of all with this x */
    double low, high;           /* of one with this x */
} md_linear_prediction;

/* x is [n_columns]. MD_INVALID_ARG when one is not finite or confidence is not between 0 and 1.
 */
md_status md_linear_predict(const md_linear *linear, const double *x, double confidence,
                            md_linear_prediction *ret_prediction, md_error *err) MD_NODISCARD;
/* What each column adds to the prediction, b_j (x_j - mean_j), relative to the mean of y; they
 * sum up to value - mean of y. ret_parts is [n_columns]. */
void md_linear_contributions(const md_linear *linear, const double *x, double *ret_parts);

#endif
