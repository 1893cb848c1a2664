#include "inference/statistics/ranking.h"

#include <math.h>
#include <stdlib.h>

typedef struct ranked_row {
    double score;
    uint32_t row;
    uint8_t truth;
} ranked_row;

static int compare_rows(const void *a, const void *b)
{
    const ranked_row *x = a, *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return (x->row > y->row) - (x->row < y->row);
}

static md_status check_rows(const double *scores, const int8_t *truths, size_t n, md_error *err)
{
    if (n == 0) {
        return md_fail(err, MD_INVALID_ARG, "no rows to measure on");
    }
    if (n > MD_STATISTICS_MAX_ROWS) {
        return md_fail(err, MD_LIMIT, "%zu rows, at most %zu", n, MD_STATISTICS_MAX_ROWS);
    }
    for (size_t i = 0; i < n; i++) {
        if (isnan(scores[i])) {
            return md_fail(err, MD_INVALID_ARG, "row %zu: the score is not a number", i);
        }
        if (truths[i] != 0 && truths[i] != 1) {
            return md_fail(err, MD_INVALID_ARG, "row %zu: the truth is %d, not 0 or 1", i,
                           (int)truths[i]);
        }
    }
    return MD_OK;
}

md_status md_ranking_init(const double *scores, const int8_t *truths, size_t n,
                          md_ranking *ret_ranking, md_error *err)
{
    MD_TRY(check_rows(scores, truths, n, err));
    MD_AUTO(md_freep) ranked_row *sorted = md_calloc(n, sizeof *sorted);
    md_ranking r = {.n = n,
                    .scores = md_calloc(n, sizeof *r.scores),
                    .rows = md_calloc(n, sizeof *r.rows),
                    .truths = md_calloc(n, sizeof *r.truths)};
    if (sorted == NULL || r.scores == NULL || r.rows == NULL || r.truths == NULL) {
        md_ranking_finish(&r);
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", n);
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i] = (ranked_row){scores[i], (uint32_t)i, (uint8_t)truths[i]};
    }
    qsort(sorted, n, sizeof *sorted, compare_rows);
    for (size_t i = 0; i < n; i++) {
        r.scores[i] = sorted[i].score;
        r.rows[i] = sorted[i].row;
        r.truths[i] = sorted[i].truth;
        r.n_positive += sorted[i].truth;
    }
    r.n_negative = n - r.n_positive;
    *ret_ranking = r;
    return MD_OK;
}

void md_ranking_finish(md_ranking *ranking)
{
    md_free(ranking->scores);
    md_free(ranking->rows);
    md_free(ranking->truths);
    *ranking = (md_ranking){0};
}

static uint64_t count_of(const md_ranking *r, size_t i, const uint32_t *counts)
{
    return counts != NULL ? counts[r->rows[i]] : 1;
}

md_tally md_ranking_tally(const md_ranking *r, double threshold, const uint32_t *counts)
{
    md_tally t = {0};
    for (size_t i = 0; i < r->n; i++) {
        const uint64_t n = count_of(r, i, counts);
        if (r->scores[i] >= threshold) {
            *(r->truths[i] ? &t.true_positive : &t.false_positive) += n;
        } else {
            *(r->truths[i] ? &t.false_negative : &t.true_negative) += n;
        }
    }
    return t;
}

static double share(uint64_t part, uint64_t rest)
{
    const uint64_t whole = part + rest;
    return whole > 0 ? (double)part / (double)whole : (double)NAN;
}

double md_tally_accuracy(const md_tally *t)
{
    return share(t->true_positive + t->true_negative, t->false_positive + t->false_negative);
}

double md_tally_sensitivity(const md_tally *t)
{
    return share(t->true_positive, t->false_negative);
}

double md_tally_specificity(const md_tally *t)
{
    return share(t->true_negative, t->false_positive);
}

double md_tally_precision(const md_tally *t)
{
    return share(t->true_positive, t->false_positive);
}

double md_tally_negative_predictive_value(const md_tally *t)
{
    return share(t->true_negative, t->false_negative);
}

double md_tally_f1(const md_tally *t)
{
    return share(2 * t->true_positive, t->false_positive + t->false_negative);
}

/* Rows from *at on that have the same score: their numbers by kind. */
static md_tally next_block(const md_ranking *r, size_t *at, const uint32_t *counts)
{
    const double score = r->scores[*at];
    md_tally t = {0};
    for (; *at < r->n && r->scores[*at] == score; (*at)++) {
        *(r->truths[*at] ? &t.true_positive : &t.false_positive) += count_of(r, *at, counts);
    }
    return t;
}

double md_ranking_auc(const md_ranking *r, const uint32_t *counts)
{
    uint64_t positives = 0, negatives = 0;
    double wins = 0; /* pairs in which the positive stands higher */
    for (size_t at = 0; at < r->n;) {
        const md_tally block = next_block(r, &at, counts);
        wins += (double)block.false_positive *
                ((double)positives + (double)block.true_positive / 2);
        positives += block.true_positive;
        negatives += block.false_positive;
    }
    return positives > 0 && negatives > 0 ? wins / (double)positives / (double)negatives
                                          : (double)NAN;
}

double md_ranking_average_precision(const md_ranking *r, const uint32_t *counts)
{
    uint64_t positives = 0, called = 0;
    double sum = 0;
    for (size_t at = 0; at < r->n;) {
        const md_tally block = next_block(r, &at, counts);
        positives += block.true_positive;
        called += block.true_positive + block.false_positive;
        if (block.true_positive > 0) {
            sum += (double)block.true_positive * (double)positives / (double)called;
        }
    }
    return positives > 0 ? sum / (double)positives : (double)NAN;
}

md_status md_ranking_curve(const md_ranking *r, md_curve_point **ret_points, size_t *ret_n,
                           md_error *err)
{
    md_curve_point *points = md_calloc(r->n + 1, sizeof *points);
    if (points == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a curve of %zu points", r->n + 1);
    }
    points[0].threshold = INFINITY;
    size_t n = 1;
    for (size_t at = 0; at < r->n; n++) {
        const double score = r->scores[at];
        const md_tally block = next_block(r, &at, NULL);
        points[n] = (md_curve_point){
            .threshold = score,
            .true_positive = points[n - 1].true_positive + block.true_positive,
            .false_positive = points[n - 1].false_positive + block.false_positive};
    }
    *ret_points = points;
    *ret_n = n;
    return MD_OK;
}

/* Rows 0 .. end-1 are called positive; end is where a new score begins. */
static md_threshold cut_before(const md_ranking *r, size_t end, md_tally called)
{
    md_threshold t = {.there = true, .threshold = r->scores[end - 1]};
    if (end < r->n) {
        const double upper = r->scores[end - 1], lower = r->scores[end];
        const double middle = lower + (upper - lower) / 2;
        /* neighbouring doubles have nothing between them */
        if (isfinite(middle) && middle > lower) {
            t.threshold = middle;
        }
    }
    t.tally = (md_tally){.true_positive = called.true_positive,
                         .false_positive = called.false_positive,
                         .true_negative = r->n_negative - called.false_positive,
                         .false_negative = r->n_positive - called.true_positive};
    return t;
}

/* Walk down the scores; `better` tells whether the new cut replaces the best so far, `done`
 * whether the search ends with it. */
typedef bool (*cut_rule)(const md_tally *best, const md_tally *now, double least, bool *done);

static md_threshold best_cut(const md_ranking *r, cut_rule rule, double least)
{
    md_threshold best = {0};
    if (r->n_positive == 0 || r->n_negative == 0) {
        return best;
    }
    md_tally called = {0};
    bool done = false;
    for (size_t at = 0; at < r->n && !done;) {
        const md_tally block = next_block(r, &at, NULL);
        called.true_positive += block.true_positive;
        called.false_positive += block.false_positive;
        const md_threshold now = cut_before(r, at, called);
        if (rule(best.there ? &best.tally : NULL, &now.tally, least, &done)) {
            best = now;
        }
    }
    return best;
}

/* (sensitivity + specificity - 1) times both numbers of rows: whole numbers compare exactly. */
static int64_t youden_of(const md_tally *t)
{
    return (int64_t)(t->true_positive * (t->true_negative + t->false_positive)) -
           (int64_t)(t->false_positive * (t->true_positive + t->false_negative));
}

static bool youden_rule(const md_tally *best, const md_tally *now, double least, bool *done)
{
    (void)least;
    (void)done;
    return youden_of(now) > (best != NULL ? youden_of(best) : 0);
}

static bool sensitivity_rule(const md_tally *best, const md_tally *now, double least,
                             bool *done)
{
    (void)best;
    *done = now->true_positive > 0 && md_tally_sensitivity(now) >= least;
    return *done;
}

static bool specificity_rule(const md_tally *best, const md_tally *now, double least,
                             bool *done)
{
    (void)best;
    *done = md_tally_specificity(now) < least;
    return !*done && now->true_positive > 0;
}

md_threshold md_threshold_youden(const md_ranking *ranking)
{
    return best_cut(ranking, youden_rule, 0);
}

md_threshold md_threshold_for_sensitivity(const md_ranking *ranking, double least)
{
    return best_cut(ranking, sensitivity_rule, least);
}

md_threshold md_threshold_for_specificity(const md_ranking *ranking, double least)
{
    return best_cut(ranking, specificity_rule, least);
}
