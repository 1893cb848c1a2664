/* What a risk model adds to a study: one row through models of the three kinds, with the
 * contributions of all columns; CPU time, median, 99th percentile and largest. Wanted: at most
 * 1 ms. */

#include "inference/tabular/risk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    N_ROWS = 2000,
    N_COLUMNS = 30,
    N_RUNS = 2000
};

static double x[N_ROWS][N_COLUMNS], y[N_ROWS];
static float xf[N_ROWS][N_COLUMNS], yf[N_ROWS];
static int8_t kinds[N_ROWS];
static uint64_t seed = 3;

static double uniform(void)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static void make_rows(void)
{
    for (int i = 0; i < N_ROWS; i++) {
        for (int j = 0; j < N_COLUMNS; j++) {
            x[i][j] = uniform();
            xf[i][j] = (float)x[i][j];
        }
        kinds[i] = x[i][0] + x[i][1] * x[i][2] + 0.7 * uniform() > 1.1;
        y[i] = kinds[i];
        yf[i] = (float)y[i];
    }
}

static int ascending(const void *a, const void *b)
{
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

static md_status measure(const char *title, const md_risk_draft *draft, md_error *err)
{
    MD_AUTO(md_freep) char *text = NULL;
    MD_AUTO(md_risk_destroyp) md_risk_model *model = NULL;
    static double took_us[N_RUNS];
    size_t n = 0;
    md_risk_part parts[N_COLUMNS];
    md_risk_answer answer = {0};
    MD_TRY(md_risk_write(draft, &text, &n, err));
    MD_TRY(md_risk_parse(text, n, "bench", &model, err));
    for (int i = 0; i < N_RUNS / 4; i++) { /* warm up */
        MD_TRY(md_risk_run(model, x[i % N_ROWS], &answer, parts, err));
    }
    for (int i = 0; i < N_RUNS; i++) {
        struct timespec begin, end;
        (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
        MD_TRY(md_risk_run(model, x[i % N_ROWS], &answer, parts, err));
        (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        took_us[i] = 1e6 * (double)(end.tv_sec - begin.tv_sec) +
                     1e-3 * (double)(end.tv_nsec - begin.tv_nsec);
    }
    qsort(took_us, N_RUNS, sizeof *took_us, ascending);
    double p99 = took_us[N_RUNS * 99 / 100];
    printf("%-46s p50 %8.1f us  p99 %8.1f us  largest %8.1f us  %s\n", title,
           took_us[N_RUNS / 2], p99, took_us[N_RUNS - 1], p99 <= 1000.0 ? "" : "TOO LONG");
    return MD_OK;
}

static void describe(md_risk_kind kind, md_risk_card *card)
{
    *card = (md_risk_card){.kind = kind,
                           .a = 1.0,
                           .name = "bench",
                           .meaning = "a bench",
                           .unit = "1",
                           .note = "made for a bench",
                           .is_score = true,
                           .n_features = N_COLUMNS};
    for (unsigned j = 0; j < N_COLUMNS; j++) {
        md_risk_feature *f = &card->features[j];
        (void)snprintf(f->name, sizeof f->name, "x%u", j);
        (void)snprintf(f->unit, sizeof f->unit, "1");
        f->high = 1.0;
        f->reference = 0.5;
    }
}

static md_status measure_forest(unsigned n_trees, unsigned depth, md_error *err)
{
    static md_risk_card card;
    char title[96];
    md_forest forest = {0};
    md_forest_options options = md_forest_defaults(true);
    options.n_trees = n_trees;
    options.max_depth = depth;
    options.min_leaf = 5;
    options.n_folds = 0;
    MD_TRY(md_forest_fit(xf[0], yf, NULL, N_ROWS, N_COLUMNS, NULL, &options, &forest, err));
    describe(MD_RISK_FOREST, &card);
    (void)snprintf(title, sizeof title, "forest, %u trees of depth %u, %u nodes", n_trees,
                   depth, forest.n_nodes);
    md_status status = measure(title, &(md_risk_draft){.card = &card, .forest = &forest}, err);
    md_forest_finish(&forest);
    return status;
}

static md_status run(md_error *err)
{
    static md_risk_card card;
    md_linear linear = {0};
    md_svm svm = {0};
    md_svm_options options = md_svm_defaults();
    MD_TRY(md_linear_fit(x[0], y, N_ROWS, N_COLUMNS, 1.0, NULL, &linear, NULL, NULL, err));
    describe(MD_RISK_LINEAR, &card);
    for (unsigned j = 0; j < N_COLUMNS; j++) {
        card.features[j].reference = linear.means[j];
    }
    MD_TRY(measure("linear, 30 features", &(md_risk_draft){.card = &card, .linear = &linear},
                   err));
    md_linear_finish(&linear);
    options.kernel = MD_SVM_RBF;
    MD_TRY(
        md_svm_fit(&(md_svm_rows){x[0], kinds, NULL, N_ROWS, N_COLUMNS}, &options, &svm, err));
    describe(MD_RISK_SVM, &card);
    char title[64];
    (void)snprintf(title, sizeof title, "svm, rbf, 30 features, %u vectors", svm.n_vectors);
    MD_TRY(measure(title, &(md_risk_draft){.card = &card, .svm = &svm}, err));
    md_svm_finish(&svm);
    MD_TRY(measure_forest(100, 4, err));
    MD_TRY(measure_forest(100, 8, err));
    return measure_forest(200, 12, err);
}

int main(void)
{
    md_error err = {0};
    make_rows();
    if (run(&err) != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    return 0;
}
