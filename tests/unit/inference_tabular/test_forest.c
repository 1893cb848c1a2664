/* Bounds and errors of random forests; what they say is compared with scikit-learn's in
 * check_forest.py. */

#include "inference/tabular/folds.h"
#include "inference/tabular/forest.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/inference/near.h"

enum {
    N = 60,
    P = 2
};

static float x[N][P], y[N];

static void make_rows(void)
{
    uint32_t seed = 3;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < P; j++) {
            seed = seed * 1664525U + 1013904223U;
            x[i][j] = (float)(seed >> 8) / 16777216.0F;
        }
        y[i] = x[i][0] > 0.5F ? 1.0F : 0.0F;
    }
}

static md_forest_options small(void)
{
    md_forest_options options = md_forest_defaults(true);
    options.n_trees = 20;
    options.n_folds = 3;
    return options;
}

static void assert_refused(const md_forest_options *options, size_t n_rows, unsigned n_columns,
                           md_status wanted, const char *text)
{
    const char *const names[P] = {"age", "delay"};
    md_error err = {0};
    md_forest forest = {.n_trees = 99};
    assert_int_equal(
        md_forest_fit(x[0], y, NULL, n_rows, n_columns, names, options, &forest, &err), wanted);
    assert_non_null(strstr(err.msg, text));
    assert_int_equal(forest.n_trees, 99);
}

static void test_bad_input(void **state)
{
    (void)state;
    md_forest_options good = small(), o = good;
    make_rows();
    x[7][1] = INFINITY;
    assert_refused(&good, N, P, MD_INVALID_ARG, "delay of row 7 is infinite");
    make_rows();
    y[9] = NAN;
    assert_refused(&good, N, P, MD_INVALID_ARG, "the target of row 9 is not a number");
    y[9] = 0.5F;
    assert_refused(&good, N, P, MD_INVALID_ARG, "row 9 is neither 0 nor 1");
    memset(y, 0, sizeof y);
    assert_refused(&good, N, P, MD_INVALID_ARG, "all rows have the target 0");
    y[5] = 1.0F;
    assert_refused(&good, N, P, MD_INVALID_ARG, "1 groups with and 59 without");
    make_rows();
    assert_refused(&good, 1, P, MD_LIMIT, "1 rows");
    assert_refused(&good, N, 0, MD_LIMIT, "0 columns");
    assert_refused(&good, N, MD_FOREST_MAX_COLUMNS + 1, MD_LIMIT, "columns");
    o.max_depth = MD_FOREST_MAX_DEPTH + 1;
    assert_refused(&o, N, P, MD_INVALID_ARG, "out of range");
    o = good;
    o.row_share = NAN;
    assert_refused(&o, N, P, MD_INVALID_ARG, "out of range");
    o = good;
    o.n_folds = MD_FOLDS_MAX + 1;
    assert_refused(&o, N, P, MD_INVALID_ARG, "folds");
}

static void test_forest(void **state)
{
    (void)state;
    make_rows();
    md_forest_options options = small();
    md_forest forest = {0};
    assert_int_equal(md_forest_fit(x[0], y, NULL, N, P, NULL, &options, &forest, NULL), MD_OK);
    assert_int_equal(forest.n_trees, 20);
    const float high[P] = {0.9F, 0.5F}, low[P] = {0.1F, 0.5F};
    assert_true(md_forest_predict(&forest, high) > 0.9);
    assert_true(md_forest_predict(&forest, low) < 0.1);
    assert_true(forest.cross_auc > 0.95);
    assert_true(forest.importance[0] > forest.importance[1]);
    md_forest_finish(&forest);

    options.n_folds = 0;
    for (int i = 0; i < N; i++) {
        x[i][0] = 4.0F; /* nothing to split by */
        x[i][1] = NAN;
    }
    assert_int_equal(md_forest_fit(x[0], y, NULL, N, P, NULL, &options, &forest, NULL), MD_OK);
    assert_true(isnan(forest.cross_error));
    assert_near(md_forest_predict(&forest, high), forest.start, 1e-12);
    assert_near(forest.importance[0] + forest.importance[1], 0.0, 0.0);
    md_forest_finish(&forest);
}

static void test_folds(void **state)
{
    (void)state;
    int8_t kinds[N];
    uint32_t groups[N];
    uint8_t folds[N], again[N];
    for (unsigned i = 0; i < N; i++) {
        groups[i] = i / 3;
        kinds[i] = groups[i] % 5 == 0 && i % 3 == 0; /* 4 of 20 groups */
    }
    assert_int_equal(md_folds_deal(kinds, groups, N, 4, 9, folds, NULL), MD_OK);
    assert_int_equal(md_folds_deal(kinds, groups, N, 4, 9, again, NULL), MD_OK);
    assert_memory_equal(folds, again, N);
    unsigned n_rows[4] = {0}, n_positive[4] = {0};
    for (unsigned i = 0; i < N; i++) {
        assert_true(folds[i] < 4);
        assert_int_equal(folds[i], folds[i / 3 * 3]);
        n_rows[folds[i]]++;
        n_positive[folds[i]] += kinds[i] == 1;
    }
    for (int k = 0; k < 4; k++) {
        assert_int_equal(n_rows[k], 15);
        assert_int_equal(n_positive[k], 1);
    }
    assert_int_equal(md_folds_deal(kinds, groups, N, 4, 10, again, NULL), MD_OK);
    assert_memory_not_equal(folds, again, N);
    assert_int_equal(md_folds_deal(kinds, groups, N, 5, 9, folds, NULL), MD_INVALID_ARG);
    assert_int_equal(md_folds_deal(NULL, groups, N, 20, 9, folds, NULL), MD_OK);
    assert_int_equal(md_folds_deal(NULL, groups, 9, 4, 9, folds, NULL), MD_INVALID_ARG);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    make_rows();
    md_forest_options options = small();
    options.n_trees = 3;
    md_status status = MD_NOMEM;
    size_t nth = 0;
    while (status != MD_OK) {
        md_forest forest = {0};
        md_memory_fail_at(++nth);
        status = md_forest_fit(x[0], y, NULL, N, P, NULL, &options, &forest, NULL);
        md_memory_fail_at(0);
        assert_true(status == MD_OK || status == MD_NOMEM);
        md_forest_finish(&forest);
    }
    assert_true(nth > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_forest),
        cmocka_unit_test(test_folds),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("tabular-forest", tests, NULL, NULL);
}
