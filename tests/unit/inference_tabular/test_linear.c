/* Student's t against tables, the bounds and errors of linear regression, and what it says of
 * itself. Its numbers are compared with scikit-learn and R in check_linear.py. */

#include "inference/tabular/linear.h"
#include "inference/tabular/student.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/inference/near.h"

static void test_student(void **state)
{
    (void)state;
    /* P(T <= t) = p, by mpmath with 30 digits */
    const double rows[][3] = {
        {0.975, 1.0, 12.7062047361747},   {0.975, 2.0, 4.302652729749464},
        {0.975, 10.0, 2.228138851986275}, {0.9, 30.0, 1.310415025391396},
        {0.9995, 5.5, 6.350817500083637}, {0.975, 200.0, 1.971896223633909},
        {0.75, 0.5, 1.553773974030037},   {0.975, 10000000.0, 1.959964221767205},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double t = md_student_quantile(rows[i][0], rows[i][1]);
        assert_near(t / rows[i][2], 1.0, 1e-10);
        assert_near(md_student_below(t, rows[i][1]), rows[i][0], 1e-10);
    }
    assert_near(md_student_quantile(0.5, 3.0), 0.0, 1e-12);
    assert_near(md_student_below(0.0, 3.0), 0.5, 1e-15);
    assert_true(isinf(md_student_quantile(1.0, 3.0)));
    assert_true(isinf(md_student_quantile(0.0, 3.0)));
}

enum {
    N = 40,
    P = 3
};

static double x[N][P], y[N];

static void make_rows(void)
{
    uint32_t seed = 7;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < P; j++) {
            seed = seed * 1664525U + 1013904223U;
            x[i][j] = (double)(seed >> 8) / 16777216.0;
        }
        y[i] = 3.0 + 2.0 * x[i][0] - x[i][1] + 0.1 * sin(i);
    }
}

static md_status fit(double ridge, md_linear *linear, md_error *err)
{
    const char *const names[P] = {"age", "delay", "load"};
    return md_linear_fit(x[0], y, N, P, ridge, names, linear, NULL, NULL, err);
}

static void assert_refused(double ridge, const char *text)
{
    md_error err = {0};
    md_linear linear = {.n_rows = 99};
    assert_int_equal(fit(ridge, &linear, &err), MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, text));
    assert_int_equal(linear.n_rows, 99);
}

static void test_bad_input(void **state)
{
    (void)state;
    make_rows();
    x[17][1] = NAN;
    assert_refused(0.0, "delay of row 17 is not a number");
    make_rows();
    y[3] = INFINITY;
    assert_refused(0.0, "the target of row 3 is not a number");
    make_rows();
    for (int i = 0; i < N; i++) {
        x[i][2] = 1e9 + 1e-9;
    }
    assert_refused(0.0, "load is constant");
    assert_refused(1.0, "load is constant");
    make_rows();
    for (int i = 0; i < N; i++) {
        x[i][2] = 3.0 * x[i][0] - 0.5 * x[i][1] + 4.0;
    }
    assert_refused(0.0, "is a sum of multiples of other columns");
    assert_refused(-1.0, "ridge -1");
    assert_refused(NAN, "ridge");
    md_linear linear = {0};
    assert_int_equal(fit(0.5, &linear, NULL), MD_OK); /* with ridge there is an answer */
    md_linear_finish(&linear);

    make_rows();
    md_error err = {0};
    assert_int_equal(md_linear_fit(x[0], y, P + 1, P, 0.0, NULL, &linear, NULL, NULL, &err),
                     MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, "4 rows are too few for 3 columns"));
    assert_int_equal(md_linear_fit(x[0], y, N, 0, 0.0, NULL, &linear, NULL, NULL, &err),
                     MD_LIMIT);
    assert_int_equal(md_linear_fit(x[0], y, MD_LINEAR_MAX_ROWS + (size_t)1, 1, 0.0, NULL,
                                   &linear, NULL, NULL, &err),
                     MD_LIMIT);
}

static void test_predictions(void **state)
{
    (void)state;
    make_rows();
    md_linear linear = {0};
    assert_int_equal(fit(0.0, &linear, NULL), MD_OK);
    assert_near(linear.coefficients[0], 2.0, 0.1);
    assert_near(linear.coefficients[1], -1.0, 0.1);
    assert_near(linear.degrees, N - P - 1, 1e-9);
    md_linear_prediction narrow, wide;
    assert_int_equal(md_linear_predict(&linear, x[5], 0.5, &narrow, NULL), MD_OK);
    assert_int_equal(md_linear_predict(&linear, x[5], 0.95, &wide, NULL), MD_OK);
    assert_true(wide.low < narrow.low && narrow.low < narrow.mean_low);
    assert_true(narrow.mean_low < narrow.value && narrow.value < narrow.mean_high);
    double parts[P], sum = 0.0, mean = 0.0;
    md_linear_contributions(&linear, x[5], parts);
    for (int j = 0; j < P; j++) {
        sum += parts[j];
    }
    for (int i = 0; i < N; i++) {
        mean += y[i] / N;
    }
    assert_near(mean + sum, narrow.value, 1e-12);

    double bad[P] = {0.0, NAN, 0.0};
    md_error err = {0};
    assert_int_equal(md_linear_predict(&linear, bad, 0.5, &wide, &err), MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, "column 1"));
    assert_int_equal(md_linear_predict(&linear, x[0], 1.0, &wide, NULL), MD_INVALID_ARG);
    assert_int_equal(md_linear_predict(&linear, x[0], NAN, &wide, NULL), MD_INVALID_ARG);
    md_linear_finish(&linear);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    make_rows();
    md_status status = MD_NOMEM;
    size_t nth = 0;
    while (status != MD_OK) {
        md_linear linear = {0};
        md_memory_fail_at(++nth);
        status = fit(0.0, &linear, NULL);
        md_memory_fail_at(0);
        assert_true(status == MD_OK || status == MD_NOMEM);
        md_linear_finish(&linear);
    }
    assert_true(nth > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_student),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_predictions),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("tabular-linear", tests, NULL, NULL);
}
