/* Risk models: what a file may say, what an answer consists of, and that what is written reads
 * back to the same. Shapley values are compared with their definition, all subsets of columns.
 */

#include "inference/tabular/risk.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/inference/near.h"

static const char good[] =
    "{'medaid_risk': 1, 'name': 'triage', 'meaning': 'read first', 'unit': '1',"
    " 'note': 'an example', 'answer': 'score', 'kind': 'linear', 'link': 'logistic',"
    " 'a': 2, 'b': -1,"
    " 'features': ["
    "  {'name': 'finding.pneumonia', 'unit': '1', 'low': 0, 'high': 1, 'reference': 0.25,"
    "   'missing': 'refuse'},"
    "  {'name': 'patient.age_years', 'unit': 'a', 'low': 0, 'high': 120, 'reference': 50,"
    "   'missing': 60}],"
    " 'linear': {'intercept': -1, 'coefficients': [3, 0.01]}}";

/* With ' for ". */
static md_status parse(const char *text, md_risk_model **ret_model, md_error *err)
{
    char *copy = md_strdup(text);
    for (char *c = copy; *c != '\0'; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    md_status status = md_risk_parse(copy, strlen(copy), "risk.json", ret_model, err);
    md_free(copy);
    return status;
}

static void test_linear(void **state)
{
    (void)state;
    MD_AUTO(md_risk_destroyp) md_risk_model *model = NULL;
    assert_int_equal(parse(good, &model, NULL), MD_OK);
    const md_risk_card *card = md_risk_describe(model);
    assert_int_equal(card->n_features, 2);
    assert_true(card->is_score && !card->is_probability);
    assert_int_equal(md_risk_find(model, "patient.age_years"), 1);
    assert_int_equal(md_risk_find(model, "patient.age"), 2);

    md_risk_answer answer = {0};
    md_risk_part parts[2];
    assert_int_equal(md_risk_run(model, (double[]){0.75, 70.0}, &answer, parts, NULL), MD_OK);
    double s = 2.0 * (-1.0 + 3.0 * 0.75 + 0.7) - 1.0;
    assert_near(answer.sum, s, 1e-12);
    assert_near(answer.value, 1.0 / (1.0 + exp(-s)), 1e-12);
    assert_near(parts[0].part, 2.0 * 3.0 * 0.5, 1e-12);
    assert_near(parts[1].part, 2.0 * 0.01 * 20.0, 1e-12);
    assert_near(answer.start + parts[0].part + parts[1].part, answer.sum, 1e-12);
    assert_true(answer.additive && !answer.has_interval);
    assert_int_equal(answer.n_missing + answer.n_clamped, 0);

    assert_int_equal(md_risk_run(model, (double[]){1.5, NAN}, &answer, parts, NULL), MD_OK);
    assert_int_equal(parts[0].state, MD_RISK_CLAMPED);
    assert_near(parts[0].value, 1.0, 0.0);
    assert_int_equal(parts[1].state, MD_RISK_FILLED);
    assert_near(parts[1].part, 2.0 * 0.01 * 10.0, 1e-12);
    assert_int_equal(answer.n_missing, 1);
    assert_int_equal(answer.n_clamped, 1);

    md_error err = {0};
    assert_int_equal(md_risk_run(model, (double[]){NAN, 1.0}, &answer, NULL, &err),
                     MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, "finding.pneumonia is missing"));
    assert_int_equal(md_risk_run(model, (double[]){0.5, -INFINITY}, &answer, NULL, &err),
                     MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, "patient.age_years is infinite"));
}

/* Each row: what stands in the good file, what is put there, what is said. */
static void test_bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *says;
        md_status status;
    } rows[] = {
        {"'medaid_risk': 1", "'medaid_risk': 2", "not 1", MD_UNSUPPORTED},
        {"'unit': '1',", "'unit': '1', 'extra': 0,", "unknown key 'extra'", MD_FORMAT},
        {"'a': 2, ", "", "'a' of", MD_FORMAT},
        {"'a': 2", "'a': 1e400", "", MD_FORMAT},
        {"'logistic'", "'probit'", "'link' is none", MD_FORMAT},
        {"'answer': 'score'", "'answer': 'value'", "makes a score", MD_FORMAT},
        {"[3, 0.01]", "[3]", "list of 2 numbers", MD_FORMAT},
        {"[3, 0.01]", "[3, '0']", "number 1 in 'coefficients'", MD_FORMAT},
        {"[3, 0.01]", "{}", "list of 2 numbers", MD_FORMAT},
        {"'missing': 60", "'missing': 130", "'missing' of patient.age_years", MD_FORMAT},
        {"'missing': 60", "'missing': 'learnt'", "'missing' of patient.age_years", MD_FORMAT},
        {"'reference': 50", "'reference': 121", "'reference' of patient.age_years", MD_FORMAT},
        {"'low': 0, 'high': 120", "'low': 0, 'high': -1", "'high' of", MD_FORMAT},
        {"patient.age_years", "finding.pneumonia", "stands there twice", MD_FORMAT},
        {"patient.age_years", "patient age", "not of letters", MD_FORMAT},
        {"'linear': {", "'svm': {", "a model of kind linear", MD_FORMAT},
        {"'kind': 'linear'", "'kind': 'svm'", "a model of kind svm", MD_FORMAT},
        {"'kind': 'linear'", "'kind': 'linear', 'kind': 'linear'", "duplicate", MD_FORMAT},
        {"'note': 'an example', ", "", "'note'", MD_FORMAT},
        {"an example", "an\\u0000example", "", MD_FORMAT},
        {"'answer'", "'interval': {'confidence': 0.8}, 'answer'", "of a score", MD_FORMAT},
        {"'intercept': -1", "'intercept': -1, 'covariance': [0,0,0,0]", "'errors'", MD_FORMAT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[2048];
        const char *at = strstr(good, rows[i].from);
        assert_non_null(at);
        (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, rows[i].to,
                       at + strlen(rows[i].from));
        md_risk_model *model = NULL;
        md_error err = {0};
        assert_int_equal(parse(text, &model, &err), rows[i].status);
        assert_null(model);
        if (strstr(err.msg, rows[i].says) == NULL) {
            fail_msg("row %zu: %s", i, err.msg);
        }
    }
    /* cut anywhere: an error, never a model */
    for (size_t n = 0; n < sizeof good - 1; n++) {
        char text[sizeof good] = {0};
        memcpy(text, good, n);
        md_risk_model *model = NULL;
        assert_int_not_equal(parse(text, &model, NULL), MD_OK);
    }
    char many[2001];
    memset(many, '[', 2000);
    many[2000] = '\0';
    md_risk_model *model = NULL;
    assert_int_equal(parse(many, &model, NULL), MD_LIMIT);
}

enum {
    N = 300,
    P = 4
};

static double x[N][P], y[N];
static float xf[N][P], yf[N];
static int8_t kinds[N];

static void make_rows(void)
{
    uint32_t seed = 5;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < P; j++) {
            seed = seed * 1664525U + 1013904223U;
            x[i][j] = (double)(seed >> 8) / 16777216.0;
            xf[i][j] = (float)x[i][j];
        }
        y[i] = 2.0 * x[i][0] - x[i][1] + x[i][2] * x[i][0];
        kinds[i] = y[i] > 0.6;
        yf[i] = (float)y[i];
    }
}

static md_risk_card card_of(md_risk_kind kind, md_risk_link link, bool is_score)
{
    md_risk_card card = {.kind = kind,
                         .link = link,
                         .a = 1.0,
                         .name = "test",
                         .meaning = "a test",
                         .unit = "1",
                         .is_score = is_score,
                         .note = "made for a test",
                         .n_features = P};
    for (unsigned j = 0; j < P; j++) {
        md_risk_feature *f = &card.features[j];
        (void)snprintf(f->name, sizeof f->name, "x%u", j);
        (void)snprintf(f->unit, sizeof f->unit, "1");
        f->high = 1.0;
        for (int i = 0; i < N; i++) {
            f->reference += x[i][j] / N;
        }
        f->missing = kind == MD_RISK_FOREST ? MD_RISK_MISSING_LEARNT : MD_RISK_MISSING_REFUSE;
    }
    return card;
}

static md_risk_model *write_and_read(const md_risk_draft *draft)
{
    char *text = NULL;
    size_t n = 0;
    md_risk_model *model = NULL;
    md_error err = {0};
    if (md_risk_write(draft, &text, &n, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(md_risk_parse(text, n, "risk.json", &model, &err), MD_OK);
    md_free(text);
    return model;
}

static void test_written_linear(void **state)
{
    (void)state;
    make_rows();
    md_linear linear = {0};
    assert_int_equal(md_linear_fit(x[0], y, N, P, 0.0, NULL, &linear, NULL, NULL, NULL), MD_OK);
    md_risk_card card = card_of(MD_RISK_LINEAR, MD_RISK_EXP, false);
    card.confidence = 0.8;
    for (unsigned j = 0; j < P; j++) {
        card.features[j].reference = linear.means[j];
    }
    md_risk_model *model = write_and_read(&(md_risk_draft){.card = &card, .linear = &linear});
    md_risk_answer answer = {0};
    md_linear_prediction wanted = {0};
    assert_int_equal(md_linear_predict(&linear, x[7], 0.8, &wanted, NULL), MD_OK);
    assert_int_equal(md_risk_run(model, x[7], &answer, NULL, NULL), MD_OK);
    assert_true(answer.has_interval);
    assert_near(log(answer.value), wanted.value, 1e-9);
    assert_near(log(answer.low), wanted.low, 1e-9);
    assert_near(log(answer.high), wanted.high, 1e-9);
    md_risk_destroy(model);
    md_linear_finish(&linear);
}

static void test_written_svm(void **state)
{
    (void)state;
    make_rows();
    for (int kernel = 0; kernel < 2; kernel++) {
        md_svm_options options = md_svm_defaults();
        options.kernel = kernel == 0 ? MD_SVM_LINEAR : MD_SVM_RBF;
        md_svm svm = {0};
        md_svm_rows rows = {x[0], kinds, NULL, N, P};
        assert_int_equal(md_svm_fit(&rows, &options, &svm, NULL), MD_OK);
        md_risk_card card = card_of(MD_RISK_SVM, MD_RISK_LOGISTIC, true);
        card.a = svm.a;
        card.b = svm.b;
        md_risk_model *model = write_and_read(&(md_risk_draft){.card = &card, .svm = &svm});
        for (int i = 0; i < N; i += 37) {
            md_risk_answer answer = {0}, other = {0};
            md_risk_part parts[P];
            assert_int_equal(md_risk_run(model, x[i], &answer, parts, NULL), MD_OK);
            assert_near(answer.value, md_svm_probability(&svm, md_svm_decide(&svm, x[i])),
                        1e-9);
            assert_int_equal(answer.additive, kernel == 0);
            double sum = answer.start;
            for (unsigned j = 0; j < P; j++) {
                double changed[P];
                memcpy(changed, x[i], sizeof changed);
                changed[j] = card.features[j].reference;
                assert_int_equal(md_risk_run(model, changed, &other, NULL, NULL), MD_OK);
                assert_near(parts[j].part, answer.sum - other.sum, 1e-9);
                sum += parts[j].part;
            }
            if (kernel == 0) {
                assert_near(sum, answer.sum, 1e-9);
            }
        }
        md_risk_destroy(model);
        md_svm_finish(&svm);
    }
}

/* What a tree says when only the columns of `known` are. */
static double expected(const md_forest *f, uint32_t at, const float *row, unsigned known)
{
    const md_forest_node *node = &f->nodes[at];
    if (node->column < 0) {
        return node->value;
    }
    if ((known >> node->column & 1U) != 0) {
        float v = row[node->column];
        bool left = isnan(v) ? node->missing_left : v < node->threshold;
        return expected(f, left ? node->left : node->right, row, known);
    }
    double left = (double)f->nodes[node->left].cover,
           right = (double)f->nodes[node->right].cover;
    return (left * expected(f, node->left, row, known) +
            right * expected(f, node->right, row, known)) /
           (left + right);
}

static double forest_expected(const md_forest *f, const float *row, unsigned known)
{
    double sum = f->base;
    for (unsigned i = 0; i < f->n_trees; i++) {
        sum += expected(f, f->roots[i], row, known) / f->n_trees;
    }
    return sum;
}

/* Of a probability the parts are those of the log-odds, and add up to them. */
static void check_log_odds(const md_risk_model *plain, const md_forest *forest)
{
    md_risk_card card = card_of(MD_RISK_FOREST, MD_RISK_LOGISTIC, true);
    card.a = 3.0;
    card.b = -1.0;
    md_risk_model *model = write_and_read(&(md_risk_draft){.card = &card, .forest = forest});
    for (int i = 0; i < N; i += 9) {
        double wide[P], sum = 0.0;
        md_risk_answer of = {0}, answer = {0};
        md_risk_part parts_of[P], parts[P];
        for (unsigned j = 0; j < P; j++) {
            wide[j] = (double)xf[i][j];
        }
        assert_int_equal(md_risk_run(plain, wide, &of, parts_of, NULL), MD_OK);
        assert_int_equal(md_risk_run(model, wide, &answer, parts, NULL), MD_OK);
        for (unsigned j = 0; j < P; j++) {
            assert_near(parts[j].part, 3.0 * parts_of[j].part, 1e-9);
            sum += parts[j].part;
        }
        assert_true(answer.additive);
        assert_near(answer.start + sum, answer.sum, 1e-9);
        assert_near(answer.sum, 3.0 * of.value - 1.0, 1e-9);
        assert_near(answer.value, 1.0 / (1.0 + exp(-answer.sum)), 1e-12);
    }
    md_risk_destroy(model);
}

static void test_shapley(void **state)
{
    (void)state;
    /* of P others without this one: |S|! (P - |S| - 1)! / P! */
    static const double weights[P] = {1.0 / 4, 1.0 / 12, 1.0 / 12, 1.0 / 4};
    make_rows();
    md_forest_options options = md_forest_defaults(false);
    options.n_trees = 10;
    options.max_depth = MD_FOREST_MAX_DEPTH;
    options.min_leaf = 1;
    options.n_folds = 0;
    for (int i = 0; i < N; i += 9) {
        xf[i][1] = NAN;
    }
    md_forest forest = {0};
    assert_int_equal(md_forest_fit(xf[0], yf, NULL, N, P, NULL, &options, &forest, NULL),
                     MD_OK);
    md_risk_card card = card_of(MD_RISK_FOREST, MD_RISK_IDENTITY, false);
    card.confidence = 0.8;
    card.residual_low = -0.1;
    card.residual_high = 0.2;
    md_risk_model *model = write_and_read(&(md_risk_draft){.card = &card, .forest = &forest});
    double worst = 0.0;
    for (int i = 0; i < N; i += 3) {
        double parts[P], wide[P];
        md_risk_answer answer = {0};
        md_risk_part told[P];
        for (unsigned j = 0; j < P; j++) {
            wide[j] = (double)xf[i][j];
        }
        md_forest_shapley(&forest, xf[i], parts);
        assert_int_equal(md_risk_run(model, wide, &answer, told, NULL), MD_OK);
        assert_near(answer.low, answer.value - 0.1, 1e-9);
        assert_near(answer.high, answer.value + 0.2, 1e-9);
        assert_near(answer.value, md_forest_predict(&forest, xf[i]), 1e-6);
        double sum = answer.start;
        for (unsigned j = 0; j < P; j++) {
            double wanted = 0.0;
            for (unsigned others = 0; others < 1U << P; others++) {
                if ((others >> j & 1U) == 0) {
                    wanted += weights[__builtin_popcount(others)] *
                              (forest_expected(&forest, xf[i], others | 1U << j) -
                               forest_expected(&forest, xf[i], others));
                }
            }
            worst = fmax(worst, fabs(wanted - parts[j]));
            assert_near(parts[j], wanted, 1e-9);
            assert_near(told[j].part, wanted, 1e-5);
            sum += told[j].part;
        }
        assert_near(sum, answer.sum, 1e-9);
    }
    print_message("# Shapley values: largest difference %.2g\n", worst);
    check_log_odds(model, &forest);
    md_risk_destroy(model);
    md_forest_finish(&forest);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    md_status status = MD_NOMEM;
    size_t nth = 0;
    char *copy = strdup(good);
    for (char *c = copy; *c != '\0'; c++) {
        *c = *c == '\'' ? '"' : *c;
    }
    while (status != MD_OK) {
        md_risk_model *model = NULL;
        md_memory_fail_at(++nth);
        status = md_risk_parse(copy, strlen(copy), "risk.json", &model, NULL);
        md_memory_fail_at(0);
        assert_true(status == MD_OK || status == MD_NOMEM);
        md_risk_destroy(model);
    }
    free(copy);
    assert_true(nth > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),         cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_written_linear), cmocka_unit_test(test_written_svm),
        cmocka_unit_test(test_shapley),        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("tabular-risk", tests, NULL, NULL);
}
