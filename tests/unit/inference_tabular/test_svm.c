/* Bounds and errors of support vector machines; their decisions are compared with
 * scikit-learn's in check_svm.py. */

#include "inference/tabular/svm.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/inference/near.h"

enum {
    N = 40,
    P = 3
};

static double x[N][P];
static int8_t kinds[N];

/* Two clouds that overlap a little; column 2 never varies. */
static md_svm_rows make_rows(void)
{
    uint32_t seed = 3;
    for (int i = 0; i < N; i++) {
        kinds[i] = (int8_t)(i % 2);
        for (int j = 0; j < P; j++) {
            seed = seed * 1664525U + 1013904223U;
            x[i][j] = j == 2 ? 7.0 : (double)(seed >> 8) / 16777216.0 + 0.7 * kinds[i];
        }
    }
    return (md_svm_rows){x[0], kinds, NULL, N, P};
}

static void assert_refused(const md_svm_rows *rows, const md_svm_options *options,
                           md_status wanted, const char *text)
{
    md_error err = {0};
    md_svm svm = {.n_vectors = 99};
    assert_int_equal(md_svm_fit(rows, options, &svm, &err), wanted);
    assert_non_null(strstr(err.msg, text));
    assert_int_equal(svm.n_vectors, 99);
}

static void test_bad_input(void **state)
{
    (void)state;
    md_svm_options good = md_svm_defaults(), o = good;
    md_svm_rows rows = make_rows();
    x[11][1] = NAN;
    assert_refused(&rows, &good, MD_INVALID_ARG, "column 1 of row 11 is not a number");
    rows = make_rows();
    kinds[4] = -1;
    assert_refused(&rows, &good, MD_INVALID_ARG, "kind -1 of row 4");
    rows = make_rows();
    memset(kinds, 0, sizeof kinds);
    assert_refused(&rows, &good, MD_INVALID_ARG, "0 groups with and 40 without");
    kinds[8] = 1; /* a kind with one row alone */
    assert_refused(&rows, &good, MD_INVALID_ARG, "1 groups with and 39 without");
    rows = make_rows();
    uint32_t one_patient[N] = {0};
    rows.groups = one_patient;
    assert_refused(&rows, &good, MD_INVALID_ARG, "1 groups with and 0 without");
    rows = make_rows();
    rows.n_rows = 0;
    assert_refused(&rows, &good, MD_LIMIT, "0 rows");
    rows = make_rows();
    rows.n_columns = MD_SVM_MAX_COLUMNS + 1;
    assert_refused(&rows, &good, MD_LIMIT, "columns");
    rows = make_rows();
    o.c = 0.0;
    assert_refused(&rows, &o, MD_INVALID_ARG, "c 0");
    o = good;
    o.gamma = NAN;
    assert_refused(&rows, &o, MD_INVALID_ARG, "gamma");
    o = good;
    o.n_folds = 1;
    assert_refused(&rows, &o, MD_INVALID_ARG, "1 folds");
    o = good;
    o.kernel = MD_SVM_RBF;
    const double cs[] = {1.0, -1.0}, gammas[] = {0.1};
    assert_int_equal(md_svm_search(&rows, cs, 2, gammas, 1, &o, NULL, NULL), MD_INVALID_ARG);
    assert_near(o.c, 1.0, 0.0); /* untouched */
    assert_int_equal(md_svm_search(&rows, cs, 0, gammas, 1, &o, NULL, NULL), MD_INVALID_ARG);
}

static void test_model(void **state)
{
    (void)state;
    md_svm_rows rows = make_rows();
    md_svm_options options = md_svm_defaults();
    md_svm svm = {0};
    assert_int_equal(md_svm_fit(&rows, &options, &svm, NULL), MD_OK);
    assert_int_equal(svm.n_vectors, 1);
    assert_true(svm.cross_auc > 0.8);
    assert_true(svm.a > 0.0);
    double parts[P], sum = -svm.rho, decision = md_svm_decide(&svm, x[6]);
    md_svm_contributions(&svm, x[6], parts);
    for (int j = 0; j < P; j++) {
        sum += parts[j];
    }
    assert_near(sum, decision, 1e-12);
    assert_near(parts[2], 0.0, 0.0);
    assert_true(md_svm_probability(&svm, 3.0) > md_svm_probability(&svm, -3.0));
    double shifted[P] = {x[6][0], x[6][1], 1e9}; /* a column without variation is not heard */
    assert_near(md_svm_decide(&svm, shifted), decision, 0.0);
    md_svm_finish(&svm);

    options.kernel = MD_SVM_RBF; /* gamma 0: by the columns that vary */
    assert_int_equal(md_svm_fit(&rows, &options, &svm, NULL), MD_OK);
    assert_near(svm.gamma, 0.5, 1e-15);
    assert_true(svm.n_vectors > 2);
    md_svm_contributions(&svm, x[0], parts);
    assert_true(isnan(parts[0]));
    md_svm_finish(&svm);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    md_svm_rows rows = make_rows();
    md_svm_options options = md_svm_defaults();
    md_status status = MD_NOMEM;
    size_t nth = 0;
    while (status != MD_OK) {
        md_svm svm = {0};
        md_memory_fail_at(++nth);
        status = md_svm_fit(&rows, &options, &svm, NULL);
        md_memory_fail_at(0);
        assert_true(status == MD_OK || status == MD_NOMEM);
        md_svm_finish(&svm);
    }
    assert_true(nth > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("tabular-svm", tests, NULL, NULL);
}
