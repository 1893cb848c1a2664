#include "inference/statistics/delong.h"

#include "inference/statistics/clusters.h"
#include "inference/statistics/proportion.h"
#include "inference/statistics/ranking.h"

#include <math.h>

/* Each row's share of the area: for a positive the part of the negatives below it (V10), for a
 * negative the part of the positives above it (V01), ties half. The differences of mid-ranks of
 * Sun and Xu, eq. 13 and 14, are these numbers of rows. */
static double placements(const md_ranking *r, double *ret_placement)
{
    size_t positives = 0, negatives = 0; /* above the block */
    double sum = 0;
    for (size_t at = 0; at < r->n;) {
        size_t end = at, p = 0;
        for (; end < r->n && r->scores[end] == r->scores[at]; end++) {
            p += r->truths[end];
        }
        const size_t q = end - at - p;
        const double below =
            (double)(r->n_negative - negatives - q) + (double)q / 2; /* of the negatives */
        const double above = (double)positives + (double)p / 2;      /* of the positives */
        for (; at < end; at++) {
            ret_placement[r->rows[at]] =
                r->truths[at] ? below / (double)r->n_negative : above / (double)r->n_positive;
            sum += r->truths[at] ? below : 0;
        }
        positives += p;
        negatives += q;
    }
    return sum / (double)r->n_positive / (double)r->n_negative;
}

/* For each patient the sum of its rows' placements minus what the area leads to expect. */
static void deviations(const md_clusters *c, const int8_t *truths, const double *placement,
                       double area, double *ret_positive, double *ret_negative)
{
    for (size_t k = 0; k < c->n; k++) {
        ret_positive[k] = ret_negative[k] = 0;
        for (size_t i = c->begins[k]; i < c->begins[k + 1]; i++) {
            const uint32_t row = c->rows[i];
            *(truths[row] ? &ret_positive[k] : &ret_negative[k]) += placement[row] - area;
        }
    }
}

typedef struct deviation_set {
    double *positive, *negative; /* owned, one for each patient */
} deviation_set;

static void deviation_set_finish(deviation_set *set)
{
    md_free(set->positive);
    md_free(set->negative);
}

/* Obuchowski's covariance of two areas. */
static double covariance(const md_clusters *c, const deviation_set *a, const deviation_set *b,
                         size_t n_with_positive, size_t n_with_negative, const md_ranking *r)
{
    double s10 = 0, s01 = 0, s11 = 0;
    for (size_t k = 0; k < c->n; k++) {
        s10 += a->positive[k] * b->positive[k];
        s01 += a->negative[k] * b->negative[k];
        s11 += a->positive[k] * b->negative[k] + a->negative[k] * b->positive[k];
    }
    const double m = (double)r->n_positive, n = (double)r->n_negative, i = (double)c->n;
    const double i10 = (double)n_with_positive, i01 = (double)n_with_negative;
    return i10 / (i10 - 1) * s10 / (m * m) + i01 / (i01 - 1) * s01 / (n * n) +
           i / (i - 1) * s11 / (m * n);
}

static void count_patients(const md_clusters *c, const int8_t *truths, size_t *ret_positive,
                           size_t *ret_negative)
{
    *ret_positive = *ret_negative = 0;
    for (size_t k = 0; k < c->n; k++) {
        bool kinds[2] = {false, false};
        for (size_t i = c->begins[k]; i < c->begins[k + 1]; i++) {
            kinds[truths[c->rows[i]]] = true;
        }
        *ret_negative += kinds[0];
        *ret_positive += kinds[1];
    }
}

static void set_interval(md_auc *auc)
{
    static const double z = 1.959963984540054;
    const double se = sqrt(auc->variance), v = auc->value;
    auc->plain_low = fmax(0, v - z * se);
    auc->plain_high = fmin(1, v + z * se);
    const double logit = log(v / (1 - v)), half = z * se / (v * (1 - v));
    auc->low = 1 / (1 + exp(half - logit));
    auc->high = 1 / (1 + exp(-half - logit));
}

/* The area and the deviations of one score. */
static md_status measure(const double *scores, const int8_t *truths, const md_clusters *c,
                         size_t n, md_auc *auc, deviation_set *set, md_error *err)
{
    md_ranking ranking = {0};
    MD_TRY(md_ranking_init(scores, truths, n, &ranking, err));
    auc->n_positive = ranking.n_positive;
    auc->n_negative = ranking.n_negative;
    auc->value = auc->variance = NAN;
    auc->there = ranking.n_positive > 0 && ranking.n_negative > 0;
    if (!auc->there) {
        md_ranking_finish(&ranking);
        return MD_OK;
    }
    MD_AUTO(md_freep) double *placement = md_calloc(n, sizeof *placement);
    set->positive = md_calloc(c->n, sizeof *set->positive);
    set->negative = md_calloc(c->n, sizeof *set->negative);
    if (placement == NULL || set->positive == NULL || set->negative == NULL) {
        md_ranking_finish(&ranking);
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", n);
    }
    auc->value = placements(&ranking, placement);
    deviations(c, truths, placement, auc->value, set->positive, set->negative);
    size_t n_positive = 0, n_negative = 0;
    count_patients(c, truths, &n_positive, &n_negative);
    if (n_positive > 1 && n_negative > 1) {
        auc->variance = covariance(c, set, set, n_positive, n_negative, &ranking);
        auc->has_interval = auc->variance > 0 && auc->value > 0 && auc->value < 1;
    }
    if (auc->has_interval) {
        set_interval(auc);
    }
    md_ranking_finish(&ranking);
    return MD_OK;
}

md_status md_auc_delong(const double *scores, const int8_t *truths, const uint32_t *patients,
                        size_t n, md_auc *ret_auc, md_error *err)
{
    MD_AUTO(md_clusters_finish) md_clusters clusters = {0};
    MD_TRY(md_clusters_init(patients, n, &clusters, err));
    MD_AUTO(deviation_set_finish) deviation_set set = {0};
    md_auc auc = {0};
    MD_TRY(measure(scores, truths, &clusters, n, &auc, &set, err));
    *ret_auc = auc;
    return MD_OK;
}

md_status md_auc_compare(const double *first, const double *second, const int8_t *truths,
                         const uint32_t *patients, size_t n, md_auc_difference *ret_difference,
                         md_error *err)
{
    MD_AUTO(md_clusters_finish) md_clusters clusters = {0};
    MD_TRY(md_clusters_init(patients, n, &clusters, err));
    MD_AUTO(deviation_set_finish) deviation_set a = {0};
    MD_AUTO(deviation_set_finish) deviation_set b = {0};
    md_auc_difference d = {.variance = NAN, .covariance = NAN, .difference = NAN};
    MD_TRY(measure(first, truths, &clusters, n, &d.first, &a, err));
    MD_TRY(measure(second, truths, &clusters, n, &d.second, &b, err));
    d.there = d.first.there && d.second.there;
    if (d.there) {
        d.difference = d.first.value - d.second.value;
        size_t n_positive = 0, n_negative = 0;
        count_patients(&clusters, truths, &n_positive, &n_negative);
        if (n_positive > 1 && n_negative > 1) {
            const md_ranking sizes = {.n_positive = d.first.n_positive,
                                      .n_negative = d.first.n_negative};
            d.covariance = covariance(&clusters, &a, &b, n_positive, n_negative, &sizes);
            d.variance = d.first.variance + d.second.variance - 2 * d.covariance;
        }
    }
    if (d.variance > 1e-18) { /* less is the rounding of two equal variances */
        d.has_interval = true;
        const double se = sqrt(d.variance);
        d.low = d.difference - 1.959963984540054 * se;
        d.high = d.difference + 1.959963984540054 * se;
        d.z = d.difference / se;
        d.p = 2 * md_normal_below(-fabs(d.z));
    }
    *ret_difference = d;
    return MD_OK;
}
