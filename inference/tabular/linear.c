#include "inference/tabular/linear.h"

#include "inference/tabular/lapack.h"
#include "inference/tabular/student.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Everything a fit works on; column-major with `height` rows: the data, then the ridge's. */
typedef struct fit {
    const md_lapack *lapack;
    const char *const *names;
    size_t n_rows, height;
    unsigned n_columns;
    double ridge, mean_y;
    double *a,
        *kept; /* centred X, destroyed by the decomposition, and a copy of its n_rows rows */
    double *y, *tau;
    int *pivots;
    double *inverse; /* of R, [n_columns][n_columns] column-major, in the pivoted order */
} fit;

static void release(fit *f)
{
    md_free(f->a);
    md_free(f->kept);
    md_free(f->y);
    md_free(f->tau);
    md_free(f->pivots);
    md_free(f->inverse);
}

static const char *name_of(const fit *f, unsigned column, char *buffer, size_t n_bytes)
{
    if (f->names != NULL) {
        return f->names[column];
    }
    (void)snprintf(buffer, n_bytes, "column %u", column);
    return buffer;
}

static md_status allocate(fit *f, md_error *err)
{
    size_t cells = 0, bytes = 0;
    f->height = f->n_rows + (f->ridge > 0.0 ? f->n_columns : 0);
    if (!md_mul(f->height, f->n_columns, &cells) || !md_mul(cells, sizeof *f->a, &bytes)) {
        return md_fail(err, MD_LIMIT, "%zu rows of %u columns are too many", f->n_rows,
                       f->n_columns);
    }
    f->a = md_malloc_aligned(bytes);
    f->kept = md_malloc_aligned(f->n_rows * f->n_columns * sizeof *f->kept);
    f->y = md_calloc(f->height, sizeof *f->y);
    f->tau = md_calloc(f->n_columns, sizeof *f->tau);
    f->pivots = md_calloc(f->n_columns, sizeof *f->pivots);
    f->inverse = md_calloc((size_t)f->n_columns * f->n_columns, sizeof *f->inverse);
    if (f->a == NULL || f->kept == NULL || f->y == NULL || f->tau == NULL ||
        f->pivots == NULL || f->inverse == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to fit %zu rows of %u columns", f->n_rows,
                       f->n_columns);
    }
    return MD_OK;
}

static md_status check(const fit *f, const double *x, const double *y, md_error *err)
{
    char text[32];
    for (size_t i = 0; i < f->n_rows; i++) {
        if (!isfinite(y[i])) {
            return md_fail(err, MD_INVALID_ARG, "the target of row %zu is not a number", i);
        }
        for (unsigned j = 0; j < f->n_columns; j++) {
            if (!isfinite(x[i * f->n_columns + j])) {
                return md_fail(err, MD_INVALID_ARG, "%s of row %zu is not a number",
                               name_of(f, j, text, sizeof text), i);
            }
        }
    }
    return MD_OK;
}

/* Mean first, then the differences: x may have many digits before the point. */
static md_status centre(fit *f, const double *x, const double *y, double *ret_means,
                        md_error *err)
{
    char text[32];
    for (size_t i = 0; i < f->n_rows; i++) {
        f->mean_y += y[i] / (double)f->n_rows;
    }
    for (size_t i = 0; i < f->n_rows; i++) {
        f->y[i] = y[i] - f->mean_y;
    }
    for (unsigned j = 0; j < f->n_columns; j++) {
        double mean = 0.0, largest = 0.0, squares = 0.0, *column = f->a + j * f->height;
        for (size_t i = 0; i < f->n_rows; i++) {
            mean += x[i * f->n_columns + j] / (double)f->n_rows;
            largest = fmax(largest, fabs(x[i * f->n_columns + j]));
        }
        for (size_t i = 0; i < f->n_rows; i++) {
            column[i] = x[i * f->n_columns + j] - mean;
            squares += column[i] * column[i];
        }
        if (sqrt(squares / (double)f->n_rows) <= 1e-13 * largest) {
            return md_fail(err, MD_INVALID_ARG, "%s is constant: leave it out",
                           name_of(f, j, text, sizeof text));
        }
        memcpy(f->kept + j * f->n_rows, column, f->n_rows * sizeof *column);
        for (size_t i = f->n_rows; i < f->height; i++) {
            column[i] = i - f->n_rows == j ? sqrt(f->ridge) : 0.0;
        }
        ret_means[j] = mean;
    }
    return MD_OK;
}

/* a becomes Q R; y becomes Q'y; the inverse of R is left. */
static md_status decompose(fit *f, md_error *err)
{
    char text[32];
    int height = (int)f->height, p = (int)f->n_columns;
    if (f->lapack->dgeqp3(MD_LAPACK_COLUMN_MAJOR, height, p, f->a, height, f->pivots, f->tau) !=
        0) {
        return md_fail(err, MD_NOMEM, "no memory for the decomposition");
    }
    double largest = fabs(f->a[0]);
    for (unsigned j = 0; j < f->n_columns; j++) {
        const double *column = f->a + j * f->height;
        if (fabs(column[j]) <= 1e-11 * largest) {
            return md_fail(err, MD_INVALID_ARG,
                           "%s is a sum of multiples of other columns: leave it out, or use "
                           "ridge > 0",
                           name_of(f, (unsigned)f->pivots[j] - 1, text, sizeof text));
        }
        memcpy(f->inverse + j * f->n_columns, column, (j + 1) * sizeof *column);
    }
    if (f->lapack->dormqr(MD_LAPACK_COLUMN_MAJOR, 'L', 'T', height, 1, p, f->a, height, f->tau,
                          f->y, height) != 0 ||
        f->lapack->dtrtri(MD_LAPACK_COLUMN_MAJOR, 'U', 'N', p, f->inverse, p) != 0) {
        return md_fail(err, MD_INTERNAL, "LAPACK refused its own decomposition");
    }
    return MD_OK;
}

/* Element of C = R^-1 R^-T, in the pivoted order. */
static double c_element(const fit *f, unsigned i, unsigned j)
{
    double sum = 0.0;
    for (unsigned k = i > j ? i : j; k < f->n_columns; k++) {
        sum += f->inverse[k * f->n_columns + i] * f->inverse[k * f->n_columns + j];
    }
    return sum;
}

/* v' M v */
static double quadratic(const double *m, const double *v, unsigned n)
{
    double sum = 0.0;
    for (unsigned i = 0; i < n; i++) {
        double row = 0.0;
        for (unsigned j = 0; j < n; j++) {
            row += m[i * n + j] * v[j];
        }
        sum += v[i] * row;
    }
    return sum;
}

/* Coefficients, C (in `c`) and, from it, C X'X C = C - ridge C C, and tr(H) = p - ridge tr(C).
 */
static double solve(const fit *f, double *c, md_linear *linear)
{
    unsigned p = f->n_columns;
    for (unsigned i = 0; i < p; i++) {
        unsigned at = (unsigned)f->pivots[i] - 1;
        double b = 0.0;
        for (unsigned k = i; k < p; k++) {
            b += f->inverse[k * p + i] * f->y[k];
        }
        linear->coefficients[at] = b;
        for (unsigned j = 0; j <= i; j++) {
            unsigned other = (unsigned)f->pivots[j] - 1;
            c[at * p + other] = c[other * p + at] = c_element(f, i, j);
        }
    }
    double trace = 0.0;
    for (unsigned i = 0; i < p; i++) {
        trace += c[i * p + i];
        for (unsigned j = 0; j < p; j++) {
            double cc = 0.0;
            for (unsigned k = 0; f->ridge > 0.0 && k < p; k++) {
                cc += c[i * p + k] * c[k * p + j];
            }
            linear->covariance[i * p + j] = c[i * p + j] - f->ridge * cc;
        }
    }
    return (double)p - f->ridge * trace;
}

/* What is left of y, and with what weight each y_i speaks for itself. */
static md_status judge(const fit *f, const double *y, const double *c, double effective,
                       md_linear *linear, double *ret_residuals, double *ret_leverages,
                       md_error *err)
{
    unsigned p = f->n_columns;
    double rss = 0.0, tss = 0.0;
    MD_AUTO(md_freep) double *d = md_calloc(p, sizeof *d);
    if (d == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the residuals");
    }
    for (size_t i = 0; i < f->n_rows; i++) {
        double said = 0.0, centred = y[i] - f->mean_y;
        for (unsigned j = 0; j < p; j++) {
            d[j] = f->kept[j * f->n_rows + i];
            said += d[j] * linear->coefficients[j];
        }
        double left = centred - said;
        rss += left * left;
        tss += centred * centred;
        if (ret_residuals != NULL) {
            ret_residuals[i] = left;
        }
        if (ret_leverages != NULL) {
            ret_leverages[i] = 1.0 / (double)f->n_rows + quadratic(c, d, p);
        }
    }
    linear->degrees = (double)f->n_rows - 1.0 - effective;
    if (!(linear->degrees > 0.0)) {
        return md_fail(err, MD_INVALID_ARG, "%zu rows are too few for %u columns", f->n_rows,
                       p);
    }
    linear->variance = rss / linear->degrees;
    linear->r_squared = tss > 0.0 ? 1.0 - rss / tss : 0.0;
    linear->intercept = f->mean_y;
    for (unsigned j = 0; j < p; j++) {
        linear->intercept -= linear->coefficients[j] * linear->means[j];
        linear->errors[j] = sqrt(linear->variance * linear->covariance[j * p + j]);
    }
    linear->intercept_error =
        sqrt(linear->variance *
             (1.0 / (double)f->n_rows + quadratic(linear->covariance, linear->means, p)));
    return MD_OK;
}

static md_status run(fit *f, const double *x, const double *y, md_linear *linear,
                     double *ret_residuals, double *ret_leverages, md_error *err)
{
    unsigned p = f->n_columns;
    MD_TRY(md_lapack_load(&f->lapack, err));
    MD_TRY(check(f, x, y, err));
    MD_TRY(allocate(f, err));
    linear->coefficients = md_calloc(p, sizeof *linear->coefficients);
    linear->errors = md_calloc(p, sizeof *linear->errors);
    linear->means = md_calloc(p, sizeof *linear->means);
    linear->covariance = md_calloc((size_t)p * p, sizeof *linear->covariance);
    MD_AUTO(md_freep) double *c = md_calloc((size_t)p * p, sizeof *c);
    if (linear->coefficients == NULL || linear->errors == NULL || linear->means == NULL ||
        linear->covariance == NULL || c == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u coefficients", p);
    }
    MD_TRY(centre(f, x, y, linear->means, err));
    MD_TRY(decompose(f, err));
    double effective = solve(f, c, linear);
    return judge(f, y, c, effective, linear, ret_residuals, ret_leverages, err);
}

md_status md_linear_fit(const double *x, const double *y, size_t n_rows, unsigned n_columns,
                        double ridge, const char *const *names, md_linear *ret_linear,
                        double *ret_residuals, double *ret_leverages, md_error *err)
{
    if (n_columns == 0 || n_columns > MD_LINEAR_MAX_COLUMNS || n_rows > MD_LINEAR_MAX_ROWS) {
        return md_fail(err, MD_LIMIT, "%zu rows of %u columns: at most %d of 1..%d", n_rows,
                       n_columns, MD_LINEAR_MAX_ROWS, MD_LINEAR_MAX_COLUMNS);
    }
    if (!(ridge >= 0.0 && ridge < 1e300)) {
        return md_fail(err, MD_INVALID_ARG, "ridge %g is negative or not a number", ridge);
    }
    if (n_rows < 2 || (!(ridge > 0.0) && n_rows <= (size_t)n_columns + 1)) {
        return md_fail(err, MD_INVALID_ARG, "%zu rows are too few for %u columns", n_rows,
                       n_columns);
    }
    fit f = {.names = names, .n_rows = n_rows, .n_columns = n_columns, .ridge = ridge};
    md_linear linear = {.n_columns = n_columns, .n_rows = n_rows, .ridge = ridge};
    md_status status = run(&f, x, y, &linear, ret_residuals, ret_leverages, err);
    release(&f);
    if (status != MD_OK) {
        md_linear_finish(&linear);
        return status;
    }
    *ret_linear = linear;
    return MD_OK;
}

void md_linear_finish(md_linear *linear)
{
    md_free(linear->coefficients);
    md_free(linear->errors);
    md_free(linear->means);
    md_free(linear->covariance);
    *linear = (md_linear){0};
}

md_status md_linear_predict(const md_linear *linear, const double *x, double confidence,
                            md_linear_prediction *ret_prediction, md_error *err)
{
    unsigned p = linear->n_columns;
    if (!(confidence > 0.0 && confidence < 1.0)) {
        return md_fail(err, MD_INVALID_ARG, "confidence %g is not between 0 and 1", confidence);
    }
    double value = linear->intercept, spread = 0.0;
    for (unsigned i = 0; i < p; i++) {
        if (!isfinite(x[i])) {
            return md_fail(err, MD_INVALID_ARG, "column %u is not a number", i);
        }
        value += linear->coefficients[i] * x[i];
        double row = 0.0;
        for (unsigned j = 0; j < p; j++) {
            row += linear->covariance[i * p + j] * (x[j] - linear->means[j]);
        }
        spread += row * (x[i] - linear->means[i]);
    }
    spread += 1.0 / (double)linear->n_rows;
    double t = md_student_quantile(0.5 + 0.5 * confidence, linear->degrees);
    double of_mean = t * sqrt(linear->variance * spread);
    double of_one = t * sqrt(linear->variance * (1.0 + spread));
    *ret_prediction = (md_linear_prediction){value, value - of_mean, value + of_mean,
                                             value - of_one, value + of_one};
    return MD_OK;
}

void md_linear_contributions(const md_linear *linear, const double *x, double *ret_parts)
{
    for (unsigned j = 0; j < linear->n_columns; j++) {
        ret_parts[j] = linear->coefficients[j] * (x[j] - linear->means[j]);
    }
}
