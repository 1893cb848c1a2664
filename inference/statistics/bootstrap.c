#include "inference/statistics/bootstrap.h"

#include "inference/statistics/clusters.h"
#include "inference/statistics/proportion.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014): each seed a stream of its own.
 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

typedef struct bootstrap_work {
    const md_clusters *clusters;
    const md_bootstrap_options *options;
    md_statistic statistic;
    const void *context;
    unsigned n_values, n_threads;
    size_t n_rows;
    double *replicates; /* [n_values][n_replicates] */
    double *jackknife;  /* [n_values][n_clusters], NULL: not wanted */
} bootstrap_work;

typedef struct bootstrap_share {
    const bootstrap_work *work;
    uint32_t *counts; /* owned by the caller, [n_rows] */
    unsigned index;
} bootstrap_share;

static void add_cluster(const md_clusters *c, size_t k, uint32_t *counts)
{
    for (size_t i = c->begins[k]; i < c->begins[k + 1]; i++) {
        counts[c->rows[i]]++;
    }
}

static void draw(const bootstrap_work *w, unsigned replicate, uint32_t *counts)
{
    memset(counts, 0, w->n_rows * sizeof *counts);
    uint64_t mix = w->options->seed;
    uint64_t state = next_random(&mix) ^ (uint64_t)replicate * 0xd1342543de82ef95u;
    for (size_t i = 0; i < w->clusters->n; i++) {
        /* the upper half of a 96-bit product; numbers of patients are far below 2^32, so the
         * unevenness is below 2^-32 */
        const uint64_t r = next_random(&state) >> 32;
        add_cluster(w->clusters, (size_t)(r * w->clusters->n >> 32), counts);
    }
}

static void *run_share(void *argument)
{
    const bootstrap_share *share = argument;
    const bootstrap_work *w = share->work;
    double values[MD_BOOTSTRAP_MAX_VALUES];
    const unsigned n_replicates = w->options->n_replicates;
    for (unsigned b = share->index; b < n_replicates; b += w->n_threads) {
        draw(w, b, share->counts);
        w->statistic(w->context, share->counts, values);
        for (unsigned v = 0; v < w->n_values; v++) {
            w->replicates[(size_t)v * n_replicates + b] = values[v];
        }
    }
    if (w->jackknife == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < w->n_rows; i++) {
        share->counts[i] = 1;
    }
    const md_clusters *c = w->clusters;
    for (size_t k = share->index; k < c->n; k += w->n_threads) {
        for (size_t i = c->begins[k]; i < c->begins[k + 1]; i++) {
            share->counts[c->rows[i]] = 0;
        }
        w->statistic(w->context, share->counts, values);
        for (unsigned v = 0; v < w->n_values; v++) {
            w->jackknife[v * c->n + k] = values[v];
        }
        add_cluster(c, k, share->counts);
    }
    return NULL;
}

static unsigned thread_count(const md_bootstrap_options *options)
{
    long n = options->n_threads > 0 ? (long)options->n_threads : sysconf(_SC_NPROCESSORS_ONLN);
    n = n < 1 ? 1 : n;
    n = n > MD_BOOTSTRAP_MAX_THREADS ? MD_BOOTSTRAP_MAX_THREADS : n;
    return (unsigned)(n < (long)options->n_replicates ? n : (long)options->n_replicates);
}

/* The calling thread takes the first share, and every one for which there is no thread. */
static md_status run_all(bootstrap_work *w, md_error *err)
{
    size_t n_counts = 0;
    bootstrap_share shares[MD_BOOTSTRAP_MAX_THREADS];
    pthread_t threads[MD_BOOTSTRAP_MAX_THREADS];
    bool started[MD_BOOTSTRAP_MAX_THREADS] = {false};
    MD_AUTO(md_freep) uint32_t *counts = NULL;
    if (md_mul(w->n_rows, w->n_threads, &n_counts)) {
        counts = md_calloc(n_counts, sizeof *counts);
    }
    if (counts == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", w->n_rows);
    }
    for (unsigned i = 0; i < w->n_threads; i++) {
        shares[i] = (bootstrap_share){w, counts + i * w->n_rows, i};
        started[i] = i > 0 && pthread_create(&threads[i], NULL, run_share, &shares[i]) == 0;
    }
    for (unsigned i = 0; i < w->n_threads; i++) {
        if (!started[i]) {
            (void)run_share(&shares[i]);
        }
    }
    for (unsigned i = 0; i < w->n_threads; i++) {
        if (started[i]) {
            (void)pthread_join(threads[i], NULL);
        }
    }
    return MD_OK;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double md_quantile(const double *sorted, size_t n, double q)
{
    const double at = q * (double)(n - 1), whole = floor(at);
    const size_t i = (size_t)whole;
    if (i + 1 >= n) {
        return sorted[n - 1];
    }
    return sorted[i] + (at - whole) * (sorted[i + 1] - sorted[i]);
}

/* Efron 1987, eq. 6.6: one sixth of the skewness of the values that leave out a patient. */
static double acceleration(const double *jackknife, size_t n)
{
    double mean = 0, squares = 0, cubes = 0;
    size_t n_there = 0;
    for (size_t k = 0; k < n; k++) {
        if (!isnan(jackknife[k])) {
            mean += jackknife[k];
            n_there++;
        }
    }
    mean /= (double)(n_there > 0 ? n_there : 1);
    for (size_t k = 0; k < n; k++) {
        if (!isnan(jackknife[k])) {
            const double d = mean - jackknife[k];
            squares += d * d;
            cubes += d * d * d;
        }
    }
    return squares > 0 ? cubes / (6 * pow(squares, 1.5)) : 0;
}

/* Where the ends of the interval lie among the sorted replicates. */
static void ends_of(const double *sorted, size_t n, double value, double a, double level,
                    double *ret_low, double *ret_high)
{
    const double tail = (1 - level) / 2;
    *ret_low = tail;
    *ret_high = 1 - tail;
    size_t below = 0, equal = 0;
    for (size_t i = 0; i < n; i++) {
        below += sorted[i] < value;
        equal += sorted[i] == value;
    }
    const double share = ((double)below + (double)equal / 2) / (double)n;
    if (share <= 0 || share >= 1) {
        return;
    }
    const double z0 = md_normal_quantile(share);
    const double z_low = z0 + md_normal_quantile(tail);
    const double z_high = z0 + md_normal_quantile(1 - tail);
    if (1 - a * z_low <= 0 || 1 - a * z_high <= 0) {
        return;
    }
    *ret_low = md_normal_below(z0 + z_low / (1 - a * z_low));
    *ret_high = md_normal_below(z0 + z_high / (1 - a * z_high));
}

static void find_interval(const bootstrap_work *w, unsigned v, md_interval *interval)
{
    const unsigned n_replicates = w->options->n_replicates;
    double *values = w->replicates + (size_t)v * n_replicates;
    size_t n = 0;
    for (unsigned b = 0; b < n_replicates; b++) {
        if (!isnan(values[b])) {
            values[n++] = values[b];
        }
    }
    interval->n_undefined = n_replicates - (unsigned)n;
    if (isnan(interval->value) || w->clusters->n < 2 || n == 0 ||
        interval->n_undefined > n_replicates / 10) {
        return;
    }
    qsort(values, n, sizeof *values, compare_doubles);
    const double level = w->options->level > 0 ? w->options->level : 0.95;
    double low = (1 - level) / 2, high = 1 - low;
    if (w->jackknife != NULL) {
        const double a = acceleration(w->jackknife + v * w->clusters->n, w->clusters->n);
        ends_of(values, n, interval->value, a, level, &low, &high);
    }
    interval->has_interval = true;
    interval->low = md_quantile(values, n, low);
    interval->high = md_quantile(values, n, high);
}

md_status md_bootstrap(size_t n_rows, const uint32_t *patients,
                       const md_bootstrap_options *options, md_statistic statistic,
                       const void *context, unsigned n_values, md_interval *ret_intervals,
                       md_error *err)
{
    if (options->n_replicates < 1 || options->n_replicates > MD_BOOTSTRAP_MAX_REPLICATES ||
        n_values < 1 || n_values > MD_BOOTSTRAP_MAX_VALUES || !(options->level >= 0) ||
        options->level >= 1) {
        return md_fail(err, MD_INVALID_ARG,
                       "bootstrap of %u values with %u replicates at level %g: at most %d, %d "
                       "and below 1",
                       n_values, options->n_replicates, options->level, MD_BOOTSTRAP_MAX_VALUES,
                       MD_BOOTSTRAP_MAX_REPLICATES);
    }
    MD_AUTO(md_clusters_finish) md_clusters clusters = {0};
    MD_TRY(md_clusters_init(patients, n_rows, &clusters, err));
    const bool bca = options->method == MD_BOOTSTRAP_BCA;
    MD_AUTO(md_freep)
    double *replicates = md_calloc((size_t)n_values * options->n_replicates, sizeof(double));
    MD_AUTO(md_freep)
    double *jackknife = bca ? md_calloc(n_values * clusters.n, sizeof(double)) : NULL;
    MD_AUTO(md_freep) uint32_t *ones = md_calloc(n_rows, sizeof *ones);
    if (replicates == NULL || ones == NULL || (bca && jackknife == NULL)) {
        return md_fail(err, MD_NOMEM, "no memory for %u replicates of %zu rows",
                       options->n_replicates, n_rows);
    }
    bootstrap_work work = {.clusters = &clusters,
                           .options = options,
                           .statistic = statistic,
                           .context = context,
                           .n_values = n_values,
                           .n_threads = thread_count(options),
                           .n_rows = n_rows,
                           .replicates = replicates,
                           .jackknife = jackknife};
    MD_TRY(run_all(&work, err));
    for (size_t i = 0; i < n_rows; i++) {
        ones[i] = 1;
    }
    double values[MD_BOOTSTRAP_MAX_VALUES];
    statistic(context, ones, values);
    for (unsigned v = 0; v < n_values; v++) {
        ret_intervals[v] = (md_interval){.value = values[v]};
        find_interval(&work, v, &ret_intervals[v]);
    }
    return MD_OK;
}
