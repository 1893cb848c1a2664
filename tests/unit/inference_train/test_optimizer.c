/* What check_train.py cannot see: refusals, frozen weights, averages of buffers, saved states.
 */

#include "inference/train/optimizer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    N = 100
};

static float values[3][N], gradients[2][N];
static md_parameter list[3];
static const md_parameter *pointers[3] = {&list[0], &list[1], &list[2]};

/* A weight, a frozen weight and a buffer. */
static void set_up(void)
{
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned j = 0; j < N; j++) {
            values[i][j] = (float)(i + 1);
            gradients[i % 2][j] = 0.5F;
        }
        list[i] = (md_parameter){.name = "p",
                                 .n = N,
                                 .value = values[i],
                                 .gradient = i < 2 ? gradients[i] : NULL,
                                 .decays = i < 2,
                                 .frozen = i == 1};
    }
}

static void test_frozen_weights_stay_and_buffers_are_averaged(void **state)
{
    (void)state;
    md_error err = {0};
    double norm = 0.0;
    set_up();
    MD_AUTO(md_optimizer_destroyp) md_optimizer *o = NULL;
    const md_optimizer_options options = {
        .kind = MD_OPTIMIZER_ADAM, .weight_decay = 0.1, .decoupled = true, .average = 0.75};
    assert_int_equal(md_optimizer_create(pointers, 3, &options, &o, &err), MD_OK);
    values[2][0] = 7.0F;
    assert_int_equal(md_optimizer_update(o, 0.01, &norm, &err), MD_OK);
    assert_true(fabs(norm - 5.0) < 1e-9); /* sqrt(100) 0.5: the frozen one does not count */
    assert_true(values[1][3] == 2.0F && values[0][3] < 1.0F && values[2][0] == 7.0F);
    const float *const *average = md_optimizer_average(o);
    assert_true(average[2][0] == 4.0F); /* 3 + (7 - 3) / 4 */
    assert_true(average[1][3] == 2.0F);
    assert_true(fabsf(average[0][3] - (1.0F + 0.25F * (values[0][3] - 1.0F))) < 1e-6F);
}

static void test_average_warms_up(void **state)
{
    (void)state;
    md_error err = {0};
    set_up();
    MD_AUTO(md_optimizer_destroyp) md_optimizer *o = NULL;
    const md_optimizer_options options = {.average = 0.999, .average_warmup = true};
    assert_int_equal(md_optimizer_create(pointers, 3, &options, &o, &err), MD_OK);
    values[2][0] = 24.0F;
    assert_int_equal(md_optimizer_update(o, 0.0, NULL, &err), MD_OK);
    /* share 2/21 of the old 3 */
    assert_true(fabsf(md_optimizer_average(o)[2][0] - (24.0F - 21.0F * 2.0F / 21.0F)) < 1e-5F);
    MD_AUTO(md_optimizer_destroyp) md_optimizer *plain = NULL;
    const md_optimizer_options none = {0};
    assert_int_equal(md_optimizer_create(pointers, 3, &none, &plain, &err), MD_OK);
    assert_ptr_equal(md_optimizer_average(plain)[0], values[0]);
}

static void test_not_finite_gradients_change_nothing(void **state)
{
    (void)state;
    md_error err = {0};
    const float bad[2] = {NAN, INFINITY};
    for (unsigned i = 0; i < 2; i++) {
        set_up();
        MD_AUTO(md_optimizer_destroyp) md_optimizer *o = NULL;
        const md_optimizer_options options = {.momentum = 0.9};
        assert_int_equal(md_optimizer_create(pointers, 3, &options, &o, &err), MD_OK);
        gradients[0][N - 1] = bad[i];
        assert_int_equal(md_optimizer_update(o, 0.1, NULL, &err), MD_FORMAT);
        assert_string_equal(err.msg, "the gradients are not finite");
        assert_true(values[0][0] == 1.0F);
        assert_int_equal(md_optimizer_n_updates(o), 0);
    }
}

static void test_options_are_checked(void **state)
{
    (void)state;
    md_error err = {0};
    set_up();
    static const struct {
        md_optimizer_options options;
        const char *text;
    } rows[] = {
        {{.momentum = 1.0}, "momentum 1"},
        {{.momentum = NAN}, "momentum"},
        {{.average = -0.1}, "average -0.1"},
        {{.kind = MD_OPTIMIZER_ADAM, .beta2 = 1.0}, "betas"},
        {{.weight_decay = -1.0}, "weight decay -1"},
        {{.clip_norm = INFINITY}, "clip norm inf"},
        {{.nesterov = true}, "Nesterov"},
        {{.kind = MD_OPTIMIZER_ADAM, .momentum = 0.9, .nesterov = true}, "Nesterov"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_optimizer *o = NULL;
        assert_int_equal(md_optimizer_create(pointers, 3, &rows[i].options, &o, &err),
                         MD_INVALID_ARG);
        assert_non_null(strstr(err.msg, rows[i].text));
    }
    md_optimizer *o = NULL;
    const md_optimizer_options options = {0};
    assert_int_equal(md_optimizer_create(pointers, 0, &options, &o, &err), MD_INVALID_ARG);
    assert_string_equal(err.msg, "nothing to train");
}

static void test_only_the_right_state_is_loaded(void **state)
{
    (void)state;
    md_error err = {0};
    set_up();
    MD_AUTO(md_optimizer_destroyp) md_optimizer *o = NULL;
    const md_optimizer_options options = {.momentum = 0.9, .average = 0.9};
    assert_int_equal(md_optimizer_create(pointers, 3, &options, &o, &err), MD_OK);
    assert_int_equal(md_optimizer_update(o, 0.1, NULL, &err), MD_OK);
    const size_t n_bytes = md_optimizer_state_bytes(o);
    MD_AUTO(md_freep) uint8_t *bytes = md_malloc(n_bytes);
    assert_non_null(bytes);
    md_optimizer_save(o, bytes);
    assert_int_equal(md_optimizer_load(o, bytes, n_bytes - 1, &err), MD_FORMAT);
    bytes[0] ^= 1;
    assert_int_equal(md_optimizer_load(o, bytes, n_bytes, &err), MD_FORMAT);
    bytes[0] ^= 1;
    assert_int_equal(md_optimizer_load(o, bytes, n_bytes, &err), MD_OK);
    assert_int_equal(md_optimizer_n_updates(o), 1);
    /* Adam's is longer, and of another kind */
    MD_AUTO(md_optimizer_destroyp) md_optimizer *adam = NULL;
    const md_optimizer_options other = {.kind = MD_OPTIMIZER_ADAM};
    assert_int_equal(md_optimizer_create(pointers, 3, &other, &adam, &err), MD_OK);
    assert_int_equal(md_optimizer_load(adam, bytes, n_bytes, &err), MD_FORMAT);
}

static void test_lack_of_memory(void **state)
{
    (void)state;
    md_error err = {0};
    set_up();
    const md_optimizer_options options = {.kind = MD_OPTIMIZER_ADAM, .average = 0.9};
    md_optimizer *o = NULL;
    size_t n = 0;
    md_status status;
    do {
        md_memory_fail_at(++n);
        status = md_optimizer_create(pointers, 3, &options, &o, &err);
    } while (status == MD_NOMEM);
    md_memory_fail_at(0);
    assert_int_equal(status, MD_OK);
    assert_true(n > 8);
    md_optimizer_destroy(o);
    md_optimizer_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frozen_weights_stay_and_buffers_are_averaged),
        cmocka_unit_test(test_average_warms_up),
        cmocka_unit_test(test_not_finite_gradients_change_nothing),
        cmocka_unit_test(test_options_are_checked),
        cmocka_unit_test(test_only_the_right_state_is_loaded),
        cmocka_unit_test(test_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
