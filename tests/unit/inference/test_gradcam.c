/* Grad-CAM's closed form against central differences of the head itself; scores against their
 * definition and at their ends. */

#include "inference/gradcam.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "near.h"

enum {
    K = 5,
    C = 7,
    H = 3,
    W = 4
};

static double features[C][H * W], weights[K][C];

static double random_value(void)
{
    static uint32_t seed = 9;
    seed = seed * 1664525U + 1013904223U;
    return (double)(seed >> 8) / 8388608.0 - 1.0;
}

/* The whole head, in double precision: mean, matrix, target. */
static double target_of(md_target target, const unsigned *classes, unsigned n_classes)
{
    double z[K], inside = 0.0, outside = 0.0;
    for (int k = 0; k < K; k++) {
        z[k] = 0.1 * k;
        for (int c = 0; c < C; c++) {
            double mean = 0.0;
            for (int i = 0; i < H * W; i++) {
                mean += features[c][i] / (H * W);
            }
            z[k] += weights[k][c] * mean;
        }
    }
    if (target == MD_TARGET_SIGMOID) {
        return z[classes[0]];
    }
    for (int k = 0; k < K; k++) {
        bool in = false;
        for (unsigned i = 0; i < n_classes; i++) {
            in = in || classes[i] == (unsigned)k;
        }
        *(in ? &inside : &outside) += exp(z[k]);
    }
    return log(inside) - log(outside);
}

static void logits_of(float *ret)
{
    for (int k = 0; k < K; k++) {
        double z = 0.1 * k;
        for (int c = 0; c < C; c++) {
            for (int i = 0; i < H * W; i++) {
                z += weights[k][c] * features[c][i] / (H * W);
            }
        }
        ret[k] = (float)z;
    }
}

static void check_gradient(md_target target, const unsigned *classes, unsigned n_classes)
{
    float a[C * H * W], w[K * C], z[K];
    double map[H * W] = {0}, largest = 0.0;
    for (int c = 0; c < C; c++) {
        /* Grad-CAM's alpha: the mean of the derivatives over all positions */
        double alpha = 0.0;
        for (int i = 0; i < H * W; i++) {
            const double kept = features[c][i], h = 1e-4;
            features[c][i] = kept + h;
            const double up = target_of(target, classes, n_classes);
            features[c][i] = kept - h;
            const double down = target_of(target, classes, n_classes);
            features[c][i] = kept;
            alpha += (up - down) / (2.0 * h) / (H * W);
        }
        for (int i = 0; i < H * W; i++) {
            map[i] += alpha * features[c][i];
        }
    }
    for (int i = 0; i < H * W; i++) {
        largest = fmax(largest, map[i]);
    }
    for (int c = 0; c < C; c++) {
        for (int i = 0; i < H * W; i++) {
            a[c * H * W + i] = (float)features[c][i];
        }
        for (int k = 0; k < K; k++) {
            w[k * C + c] = (float)weights[k][c];
        }
    }
    logits_of(z);
    const md_tensor ta = {MD_F32, 4, {1, C, H, W}, C * H * W, a, false};
    const md_tensor tw = {MD_F32, 2, {K, C}, K * C, w, false};
    float *values = NULL;
    uint32_t rows, columns;
    md_error err = {0};
    assert_int_equal(md_gradcam(MD_CAM_GRAD, &ta, &tw, z, target, classes, n_classes, &values,
                                &rows, &columns, &err),
                     MD_OK);
    assert_int_equal(rows, H);
    assert_int_equal(columns, W);
    for (int i = 0; i < H * W; i++) {
        const double expected = largest > 0.0 ? fmax(0.0, map[i]) / largest : 0.0;
        assert_near(values[i], expected, 2e-5);
    }
    md_free(values);
}

static void test_gradient(void **state)
{
    (void)state;
    static const unsigned one[] = {2}, two[] = {1, 4}, four[] = {0, 1, 2, 3};
    for (int round = 0; round < 20; round++) {
        for (int c = 0; c < C; c++) {
            for (int i = 0; i < H * W; i++) {
                features[c][i] = 2.0 * random_value();
            }
            for (int k = 0; k < K; k++) {
                weights[k][c] = 2.0 * random_value();
            }
        }
        check_gradient(MD_TARGET_SOFTMAX, one, 1);
        check_gradient(MD_TARGET_SOFTMAX, two, 2);
        check_gradient(MD_TARGET_SOFTMAX, four, 4);
        check_gradient(MD_TARGET_SIGMOID, one, 1);
    }
}

/* Where the head is linear, the closed form and the way by gradients are the same. */
static void test_closed_form(void **state)
{
    (void)state;
    static const unsigned classes[] = {1, 3};
    float a[C * H * W], w[K * C], z[K], gradient[C * H * W];
    for (int i = 0; i < C * H * W; i++) {
        a[i] = (float)fabs(random_value()); /* behind a ReLU */
    }
    for (int i = 0; i < K * C; i++) {
        w[i] = (float)random_value();
    }
    for (int k = 0; k < K; k++) {
        z[k] = (float)random_value();
    }
    double by_logit[K];
    assert_int_equal(md_log_odds_gradient(MD_TARGET_SOFTMAX, z, K, classes, 2, by_logit, NULL),
                     MD_OK);
    for (int i = 0; i < C * H * W; i++) {
        double g = 0.0;
        for (int k = 0; k < K; k++) {
            g += by_logit[k] * (double)w[k * C + i / (H * W)] / (H * W);
        }
        gradient[i] = (float)g;
    }
    const md_tensor ta = {MD_F32, 4, {1, C, H, W}, C * H * W, a, false};
    const md_tensor tw = {MD_F32, 2, {K, C}, K * C, w, false};
    float *maps[2][2];
    for (int rule = 0; rule < 2; rule++) {
        uint32_t rows, columns;
        assert_int_equal(md_gradcam((md_cam_rule)rule, &ta, &tw, z, MD_TARGET_SOFTMAX, classes,
                                    2, &maps[rule][0], &rows, &columns, NULL),
                         MD_OK);
        assert_int_equal(
            md_cam_map((md_cam_rule)rule, &ta, gradient, &maps[rule][1], &rows, &columns, NULL),
            MD_OK);
        for (int i = 0; i < H * W; i++) {
            assert_near(maps[rule][0][i], maps[rule][1][i], 1e-5);
        }
    }
    double difference = 0.0;
    for (int i = 0; i < H * W; i++) {
        difference = fmax(difference, fabs((double)maps[0][0][i] - (double)maps[1][0][i]));
    }
    assert_true(difference > 0.01); /* the two rules are not the same */
    for (int i = 0; i < 4; i++) {
        md_free(maps[i / 2][i % 2]);
    }
}

static void test_map_limits(void **state)
{
    (void)state;
    float a[4] = {-1.0F, -2.0F, -3.0F, 0.0F}, w[2] = {1.0F, -1.0F}, z[2] = {0.0F, 0.0F};
    md_tensor ta = {MD_F32, 4, {1, 1, 2, 2}, 4, a, false};
    md_tensor tw = {MD_F32, 2, {2, 1}, 2, w, false};
    static const unsigned classes[] = {0, 1};
    float *values = NULL;
    uint32_t rows, columns;
    assert_int_equal(md_gradcam(MD_CAM_GRAD, &ta, &tw, z, MD_TARGET_SOFTMAX, classes, 1,
                                &values, &rows, &columns, NULL),
                     MD_OK);
    for (int i = 0; i < 4; i++) {
        assert_true(values[i] == 0.0F); /* nothing speaks for class 0 */
    }
    md_free(values);
    values = NULL;
    assert_int_equal(md_gradcam(MD_CAM_GRAD, &ta, &tw, z, MD_TARGET_SOFTMAX, classes + 1, 1,
                                &values, &rows, &columns, NULL),
                     MD_OK);
    assert_true(values[2] == 1.0F && values[3] == 0.0F);
    md_free(values);
    values = NULL;
    /* all classes: no evidence against; a class that is not there; NaN */
    assert_int_equal(md_gradcam(MD_CAM_GRAD, &ta, &tw, z, MD_TARGET_SOFTMAX, classes, 2,
                                &values, &rows, &columns, NULL),
                     MD_INVALID_ARG);
    static const unsigned beyond[] = {2};
    assert_int_equal(md_gradcam(MD_CAM_GRAD, &ta, &tw, z, MD_TARGET_SIGMOID, beyond, 1, &values,
                                &rows, &columns, NULL),
                     MD_INVALID_ARG);
    a[1] = NAN;
    assert_int_equal(md_gradcam(MD_CAM_GRAD, &ta, &tw, z, MD_TARGET_SIGMOID, classes, 1,
                                &values, &rows, &columns, NULL),
                     MD_FORMAT);
    a[1] = 1.0F;
    z[1] = INFINITY;
    assert_int_equal(md_gradcam(MD_CAM_GRAD, &ta, &tw, z, MD_TARGET_SIGMOID, classes, 1,
                                &values, &rows, &columns, NULL),
                     MD_FORMAT);
    z[1] = 0.0F;
    tw.dims[1] = 2;
    assert_int_equal(md_gradcam(MD_CAM_GRAD, &ta, &tw, z, MD_TARGET_SIGMOID, classes, 1,
                                &values, &rows, &columns, NULL),
                     MD_INVALID_ARG);
    tw.dims[1] = 1;
    md_status status = MD_NOMEM;
    for (size_t nth = 1; status != MD_OK; nth++) {
        md_memory_fail_at(nth);
        status = md_gradcam(MD_CAM_GRAD, &ta, &tw, z, MD_TARGET_SOFTMAX, classes, 1, &values,
                            &rows, &columns, NULL);
        md_memory_fail_at(0);
        assert_true(status == MD_OK || (status == MD_NOMEM && nth < 10));
    }
    md_free(values);
}

static void test_scores(void **state)
{
    (void)state;
    const float z[3] = {1.0F, -0.5F, 2.0F};
    static const unsigned both[] = {1, 2};
    double x, score;
    assert_int_equal(md_log_odds(MD_TARGET_SOFTMAX, z, 3, both, 2, 1.0, &x, NULL), MD_OK);
    const double sum = exp(1.0) + exp(-0.5) + exp(2.0);
    assert_near(md_sigmoid(x), (exp(-0.5) + exp(2.0)) / sum, 1e-12);
    assert_int_equal(md_log_odds(MD_TARGET_SOFTMAX, z, 3, both, 2, 2.0, &x, NULL), MD_OK);
    const double soft = exp(0.5) + exp(-0.25) + exp(1.0);
    assert_near(md_sigmoid(x), (exp(-0.25) + exp(1.0)) / soft, 1e-12);
    assert_int_equal(md_log_odds(MD_TARGET_SIGMOID, z, 3, both + 1, 1, 4.0, &x, NULL), MD_OK);
    assert_near(x, 0.5, 1e-12);
    const float p[1] = {0.8F};
    static const unsigned first[] = {0};
    assert_int_equal(md_log_odds(MD_TARGET_SCORE, p, 1, first, 1, 1.0, &x, NULL), MD_OK);
    assert_near(md_sigmoid(x), (double)p[0], 1e-12);
    assert_int_equal(md_platt(x, 2.0, -1.0, &score, NULL), MD_OK);
    assert_near(score, 1.0 / (1.0 + exp(1.0 - 2.0 * log(0.8 / 0.2))), 1e-6);
}

static void test_score_limits(void **state)
{
    (void)state;
    static const unsigned first[] = {0}, twice[] = {0, 0}, beyond[] = {3};
    double x, score;
    float z[3] = {3e38F, -3e38F, 0.0F};
    assert_int_equal(md_log_odds(MD_TARGET_SOFTMAX, z, 3, first, 1, 0.01, &x, NULL), MD_OK);
    assert_true(md_sigmoid(x) == 1.0 && md_sigmoid(-x) == 0.0);
    assert_int_equal(md_log_odds(MD_TARGET_SOFTMAX, z, 3, twice, 2, 1.0, &x, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_log_odds(MD_TARGET_SOFTMAX, z, 3, beyond, 1, 1.0, &x, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_log_odds(MD_TARGET_SOFTMAX, z, 1, first, 1, 1.0, &x, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_log_odds(MD_TARGET_SOFTMAX, z, 3, first, 0, 1.0, &x, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_log_odds(MD_TARGET_SOFTMAX, z, 3, first, 1, 0.0, &x, NULL),
                     MD_INVALID_ARG);
    z[2] = NAN;
    assert_int_equal(md_log_odds(MD_TARGET_SOFTMAX, z, 3, first, 1, 1.0, &x, NULL), MD_FORMAT);
    const float p[2] = {1.0F, 1.5F};
    static const unsigned second[] = {1};
    assert_int_equal(md_log_odds(MD_TARGET_SCORE, p, 2, second, 1, 1.0, &x, NULL), MD_FORMAT);
    assert_int_equal(md_log_odds(MD_TARGET_SCORE, p, 2, first, 1, 1.0, &x, NULL), MD_OK);
    assert_true(isinf(x) && x > 0.0);
    assert_int_equal(md_platt(x, 1.0, 0.0, &score, NULL), MD_OK);
    assert_true(score == 1.0);
    assert_int_equal(md_platt(x, 0.0, 0.0, &score, NULL), MD_OK);
    assert_true(score == 0.5);
    assert_int_equal(md_platt((double)NAN, 1.0, 0.0, &score, NULL), MD_INVALID_ARG);
    assert_int_equal(md_platt(0.0, HUGE_VAL, 0.0, &score, NULL), MD_INVALID_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient),     cmocka_unit_test(test_closed_form),
        cmocka_unit_test(test_map_limits),   cmocka_unit_test(test_scores),
        cmocka_unit_test(test_score_limits),
    };
    return cmocka_run_group_tests_name("gradcam", tests, NULL, NULL);
}
