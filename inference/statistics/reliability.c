#include "inference/statistics/reliability.h"

#include "inference/calibrate.h"

#include <assert.h>
#include <math.h>

md_status md_reliability_check(const double *scores, const int8_t *truths, size_t n,
                               md_error *err)
{
    if (n == 0) {
        return md_fail(err, MD_INVALID_ARG, "no rows to measure on");
    }
    for (size_t i = 0; i < n; i++) {
        if (!(scores[i] >= 0 && scores[i] <= 1)) {
            return md_fail(err, MD_INVALID_ARG, "row %zu: score %g is not in 0..1", i,
                           scores[i]);
        }
        if (truths[i] != 0 && truths[i] != 1) {
            return md_fail(err, MD_INVALID_ARG, "row %zu: the truth is %d, not 0 or 1", i,
                           (int)truths[i]);
        }
    }
    return MD_OK;
}

static double count_at(const uint32_t *counts, size_t i)
{
    return counts != NULL ? counts[i] : 1;
}

void md_reliability_table(const double *scores, const int8_t *truths, const uint32_t *counts,
                          size_t n, md_reliability_bin *ret_bins, unsigned n_bins)
{
    assert(n_bins >= 1 && n_bins <= MD_RELIABILITY_MAX_BINS);
    for (unsigned k = 0; k < n_bins; k++) {
        ret_bins[k] =
            (md_reliability_bin){.low = (double)k / n_bins, .high = (double)(k + 1) / n_bins};
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned at = (unsigned)(scores[i] * n_bins);
        md_reliability_bin *bin = &ret_bins[at < n_bins ? at : n_bins - 1];
        const uint64_t count = counts != NULL ? counts[i] : 1;
        bin->n += count;
        bin->n_positive += truths[i] ? count : 0;
        bin->mean_score += (double)count * scores[i];
    }
    for (unsigned k = 0; k < n_bins; k++) {
        if (ret_bins[k].n > 0) {
            ret_bins[k].mean_score /= (double)ret_bins[k].n;
        }
    }
}

double md_calibration_error(const md_reliability_bin *bins, unsigned n_bins)
{
    double n = 0, sum = 0;
    for (unsigned k = 0; k < n_bins; k++) {
        const double size = (double)bins[k].n;
        n += size;
        sum += fabs(bins[k].mean_score * size - (double)bins[k].n_positive);
    }
    return n > 0 ? sum / n : (double)NAN;
}

double md_brier_score(const double *scores, const int8_t *truths, const uint32_t *counts,
                      size_t n)
{
    double weight = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double miss = scores[i] - truths[i], count = count_at(counts, i);
        sum += count * miss * miss;
        weight += count;
    }
    return weight > 0 ? sum / weight : (double)NAN;
}

double md_log_loss(const double *scores, const int8_t *truths, const uint32_t *counts, size_t n)
{
    double weight = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double p = truths[i] ? scores[i] : 1 - scores[i], count = count_at(counts, i);
        sum -= count * log(fmax(p, 1e-15));
        weight += count;
    }
    return weight > 0 ? sum / weight : (double)NAN;
}

/* First and second derivative of the summed loss by beta = 1 / T. */
typedef struct slope {
    double first, second;
} slope;
typedef slope (*slope_at)(const void *context, double beta);

/* The root of a rising function, by Newton's steps in log(beta), inside a bracket. */
static md_temperature find_temperature(slope_at at, const void *context)
{
    static const double least = 0.01, most = 100; /* of beta, as of T */
    double low = least, high = most, beta = 1;
    if (at(context, least).first >= 0) {
        return (md_temperature){1 / least, true};
    }
    if (at(context, most).first <= 0) {
        return (md_temperature){1 / most, true};
    }
    for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
        const slope s = at(context, beta);
        if (s.first == 0) {
            break;
        }
        *(s.first < 0 ? &low : &high) = beta;
        const double step = s.second > 0 ? s.first / (s.second * beta) : (double)INFINITY;
        double next = fabs(step) < 1 ? beta * exp(-step) : (double)NAN;
        if (!(next > low && next < high)) {
            next = sqrt(low * high);
        }
        if (fabs(next - beta) <= 1e-14 * beta) {
            break;
        }
        beta = next;
    }
    return (md_temperature){1 / beta, false};
}

typedef struct softmax_rows {
    const float *logits;
    const uint32_t *labels;
    size_t n;
    unsigned n_classes;
} softmax_rows;

static slope softmax_slope(const void *context, double beta)
{
    const softmax_rows *rows = context;
    slope sum = {0};
    for (size_t i = 0; i < rows->n; i++) {
        const float *z = rows->logits + i * rows->n_classes;
        double highest = z[0];
        for (unsigned k = 1; k < rows->n_classes; k++) {
            highest = fmax(highest, (double)z[k]);
        }
        double weight = 0, mean = 0, square = 0;
        for (unsigned k = 0; k < rows->n_classes; k++) {
            const double d = (double)z[k] - highest, e = exp(beta * d);
            weight += e;
            mean += e * d;
            square += e * d * d;
        }
        mean /= weight;
        sum.first += mean - ((double)z[rows->labels[i]] - highest);
        sum.second += square / weight - mean * mean;
    }
    return sum;
}

md_status md_fit_temperature(const float *logits, const uint32_t *labels, size_t n,
                             unsigned n_classes, md_temperature *ret_temperature, md_error *err)
{
    if (n == 0 || n_classes < 2 || n_classes > MD_FIT_MAX_CLASSES) {
        return md_fail(err, MD_INVALID_ARG,
                       "%zu rows of %u classes: at least 1 row and 2 classes, at most %d", n,
                       n_classes, MD_FIT_MAX_CLASSES);
    }
    for (size_t i = 0; i < n; i++) {
        if (labels[i] >= n_classes) {
            return md_fail(err, MD_INVALID_ARG, "row %zu: label %u of %u classes", i, labels[i],
                           n_classes);
        }
        for (unsigned k = 0; k < n_classes; k++) {
            if (!isfinite(logits[i * n_classes + k])) {
                return md_fail(err, MD_INVALID_ARG, "row %zu: output %u is not a finite number",
                               i, k);
            }
        }
    }
    const softmax_rows rows = {logits, labels, n, n_classes};
    *ret_temperature = find_temperature(softmax_slope, &rows);
    return MD_OK;
}

typedef struct binary_rows {
    const double *log_odds;
    const int8_t *truths;
    size_t n;
} binary_rows;

static slope binary_slope(const void *context, double beta)
{
    const binary_rows *rows = context;
    slope sum = {0};
    for (size_t i = 0; i < rows->n; i++) {
        const double x = rows->log_odds[i], p = md_sigmoid(beta * x);
        sum.first += (p - rows->truths[i]) * x;
        sum.second += p * (1 - p) * x * x;
    }
    return sum;
}

static md_status check_log_odds(const double *log_odds, const int8_t *truths, size_t n,
                                md_error *err)
{
    if (n == 0) {
        return md_fail(err, MD_INVALID_ARG, "no rows to fit on");
    }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(log_odds[i])) {
            return md_fail(err, MD_INVALID_ARG, "row %zu: the log-odds are not a finite number",
                           i);
        }
        if (truths[i] != 0 && truths[i] != 1) {
            return md_fail(err, MD_INVALID_ARG, "row %zu: the truth is %d, not 0 or 1", i,
                           (int)truths[i]);
        }
    }
    return MD_OK;
}

md_status md_fit_temperature_binary(const double *log_odds, const int8_t *truths, size_t n,
                                    md_temperature *ret_temperature, md_error *err)
{
    MD_TRY(check_log_odds(log_odds, truths, n, err));
    const binary_rows rows = {log_odds, truths, n};
    *ret_temperature = find_temperature(binary_slope, &rows);
    return MD_OK;
}

typedef struct platt_rows {
    const double *x;
    const int8_t *truths;
    size_t n;
    double high, low; /* targets */
} platt_rows;

/* The loss of sigmoid(-(A x + B)), without overflow. */
static double platt_loss(const platt_rows *rows, double a, double b)
{
    double sum = 0;
    for (size_t i = 0; i < rows->n; i++) {
        const double f = a * rows->x[i] + b, t = rows->truths[i] ? rows->high : rows->low;
        sum += f >= 0 ? t * f + log1p(exp(-f)) : (t - 1) * f + log1p(exp(f));
    }
    return sum;
}

typedef struct platt_slope {
    double h11, h22, h21, g1, g2;
} platt_slope;

static platt_slope platt_slope_at(const platt_rows *rows, double a, double b)
{
    platt_slope s = {.h11 = 1e-12, .h22 = 1e-12};
    for (size_t i = 0; i < rows->n; i++) {
        const double x = rows->x[i], t = rows->truths[i] ? rows->high : rows->low;
        const double p = md_sigmoid(-(a * x + b)), d2 = p * (1 - p), d1 = t - p;
        s.h11 += x * x * d2;
        s.h22 += d2;
        s.h21 += x * d2;
        s.g1 += x * d1;
        s.g2 += d1;
    }
    return s;
}

md_status md_fit_platt(const double *log_odds, const int8_t *truths, size_t n,
                       md_platt_fit *ret_fit, md_error *err)
{
    MD_TRY(check_log_odds(log_odds, truths, n, err));
    double n1 = 0;
    for (size_t i = 0; i < n; i++) {
        n1 += truths[i];
    }
    const double n0 = (double)n - n1;
    if (n1 == 0 || n0 == 0) {
        return md_fail(err, MD_INVALID_ARG,
                       "%g rows with and %g without the finding: Platt's fit needs both", n1,
                       n0);
    }
    const platt_rows rows = {log_odds, truths, n, (n1 + 1) / (n1 + 2), 1 / (n0 + 2)};
    double a = 0, b = log((n0 + 1) / (n1 + 1)), loss = platt_loss(&rows, a, b);
    unsigned i = 0;
    for (bool stuck = false; i < 100 && !stuck; i++) {
        const platt_slope s = platt_slope_at(&rows, a, b);
        if (fabs(s.g1) < 1e-9 && fabs(s.g2) < 1e-9) {
            break;
        }
        const double det = s.h11 * s.h22 - s.h21 * s.h21;
        const double da = -(s.h22 * s.g1 - s.h21 * s.g2) / det;
        const double db = -(-s.h21 * s.g1 + s.h11 * s.g2) / det;
        const double gd = s.g1 * da + s.g2 * db;
        double step = 1;
        for (; step >= 1e-10; step /= 2) {
            const double next = platt_loss(&rows, a + step * da, b + step * db);
            if (next < loss + 1e-4 * step * gd) {
                a += step * da;
                b += step * db;
                loss = next;
                break;
            }
        }
        stuck = step < 1e-10;
    }
    *ret_fit = (md_platt_fit){.a = -a, .b = -b, .n_iterations = i};
    return MD_OK;
}
