/* Network, trainer, optimizer and schedule together: every named network and a list with every
 * layer learn one small batch by heart, and the file that comes out gives the same logits. */

#include "inference/network.h"
#include "inference/train/architecture.h"
#include "inference/train/optimizer.h"
#include "inference/train/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    SIDE = 64,
    BATCH = 6,
    CLASSES = 3,
    STEPS = 15
};

static float images[BATCH * SIDE * SIDE], targets[BATCH * CLASSES];

/* Noise, and a bright third that tells the class. */
static void make_batch(void)
{
    uint32_t seed = 17;
    for (unsigned i = 0; i < BATCH; i++) {
        for (unsigned p = 0; p < SIDE * SIDE; p++) {
            seed = seed * 1664525U + 1013904223U;
            const bool bright = p / (SIDE * SIDE / CLASSES + 1) == i % CLASSES;
            images[i * SIDE * SIDE + p] =
                (float)(seed >> 8) / 16777216.0F - 0.5F + (bright ? 1.5F : 0.0F);
        }
        targets[i * CLASSES + i % CLASSES] = 1.0F;
    }
}

static void check(md_status status, const md_error *err, const char *name)
{
    if (status != MD_OK) {
        fail_msg("%s: %s", name, err->msg);
    }
}

/* The trainer's own logits in evaluation mode against those of the exported file. */
static void compare_export(md_trainer *trainer, const char *name)
{
    md_error err = {0};
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    MD_AUTO(md_network_destroyp) md_network *network = NULL;
    size_t size = 0;
    float ours[BATCH * CLASSES];
    md_tensor in, out;
    check(md_trainer_infer(trainer, images, BATCH, NULL, ours, &err), &err, name);
    check(md_trainer_export(trainer, NULL, &onnx, &size, &err), &err, name);
    const md_network_options options = {.backend = MD_BACKEND_OPENBLAS, .batch = BATCH};
    check(md_network_load(onnx, size, &options, &network, &err), &err, name);
    const int64_t dims[4] = {BATCH, 1, SIDE, SIDE};
    check(md_tensor_shape(&in, MD_F32, 4, dims, &err), &err, name);
    in.data = images;
    check(md_network_run(network, &in, 1, &out, 1, &err), &err, name);
    for (unsigned i = 0; i < BATCH * CLASSES; i++) {
        const float theirs = ((const float *)out.data)[i];
        assert_true(fabsf(ours[i] - theirs) <= 1e-3F * fmaxf(1.0F, fabsf(theirs)));
    }
}

static void learn(const md_architecture *a, double rate)
{
    md_error err = {0};
    const char *name = a->name == NULL ? "layers" : a->name;
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    MD_AUTO(md_trainer_destroyp) md_trainer *trainer = NULL;
    MD_AUTO(md_optimizer_destroyp) md_optimizer *optimizer = NULL;
    size_t size = 0;
    check(md_architecture_write(a, &onnx, &size, &err), &err, name);
    const md_trainer_options options = {.n_threads = 1, .batch = BATCH};
    check(md_trainer_create(onnx, size, &options, &trainer, &err), &err, name);
    const unsigned n = md_trainer_n_parameters(trainer);
    MD_AUTO(md_freep) const md_parameter **parameters = md_calloc(n, sizeof *parameters);
    assert_non_null(parameters);
    for (unsigned i = 0; i < n; i++) {
        parameters[i] = md_trainer_parameter(trainer, i);
        assert_true(strcmp(parameters[i]->name, "zero") != 0);
    }
    const md_optimizer_options adam = {.kind = MD_OPTIMIZER_ADAM, .n_threads = 2};
    check(md_optimizer_create(parameters, n, &adam, &optimizer, &err), &err, name);
    const md_schedule schedule = {
        .kind = MD_SCHEDULE_COSINE, .rate = rate, .n_steps = STEPS, .warmup_steps = 2};
    double first = 0.0, loss = 0.0;
    for (uint64_t step = 0; step < STEPS; step++) {
        const float *logits;
        check(
            md_trainer_step(trainer, images, BATCH, targets, NULL, step, &loss, &logits, &err),
            &err, name);
        first = step == 0 ? loss : first;
        check(md_optimizer_update(optimizer, md_schedule_rate(&schedule, step), NULL, &err),
              &err, name);
    }
    printf("# %s: loss %.4f, after %d steps %.4f\n", name, first, STEPS, loss);
    assert_true(loss < 0.7 * first);
    compare_export(trainer, name);
}

static void test_every_named_network_learns(void **state)
{
    (void)state;
    make_batch();
    for (unsigned i = 0; md_architecture_name(i) != NULL; i++) {
        const md_architecture a = {.name = md_architecture_name(i),
                                   .width = 0.125,
                                   .n_channels = 1,
                                   .image_height = SIDE,
                                   .image_width = SIDE,
                                   .n_classes = CLASSES,
                                   .dropout = 0.05,
                                   .seed = 11};
        learn(&a, 0.01);
    }
}

#define CONV(channels, ...)                                                                    \
    {                                                                                          \
        .kind = MD_LAYER_CONV, .n = (channels), .padding = -1, __VA_ARGS__                     \
    }
#define ACT(f)                                                                                 \
    {                                                                                          \
        .kind = MD_LAYER_ACTIVATION, .function = (f)                                           \
    }

static void test_every_layer_learns(void **state)
{
    (void)state;
    make_batch();
    const md_layer branch[] = {
        CONV(24, .stride = 2),
        {.kind = MD_LAYER_BATCH_NORM},
        ACT(MD_LAYER_HARD_SWISH),
        CONV(24, .groups = MD_LAYER_DEPTHWISE, .kernel = 5, .bias = true)};
    const md_layer dense[] = {CONV(8, .dilation = 2), ACT(MD_LAYER_STEP)};
    const md_layer layers[] = {
        CONV(16, .kernel = 7, .stride = 2),
        {.kind = MD_LAYER_BATCH_NORM},
        ACT(MD_LAYER_TANH),
        {.kind = MD_LAYER_MAX_POOL, .n = 3, .stride = 2, .padding = 1},
        {.kind = MD_LAYER_RESIDUAL, .children = branch, .n_children = 4},
        ACT(MD_LAYER_RELU6),
        {.kind = MD_LAYER_DENSE, .children = dense, .n_children = 2},
        {.kind = MD_LAYER_SQUEEZE_EXCITE},
        ACT(MD_LAYER_HARD_SIGMOID),
        {.kind = MD_LAYER_BATCH_NORM},
        {.kind = MD_LAYER_AVERAGE_POOL, .n = 2},
        CONV(32, .groups = 8),
        ACT(MD_LAYER_SIGMOID),
        {.kind = MD_LAYER_BATCH_NORM},
        {.kind = MD_LAYER_DROPOUT, .rate = 0.1},
        {.kind = MD_LAYER_FLATTEN},
        {.kind = MD_LAYER_FULLY_CONNECTED, .n = 16},
        ACT(MD_LAYER_RELU),
        {.kind = MD_LAYER_FULLY_CONNECTED, .n = CLASSES},
    };
    const md_architecture a = {.layers = layers,
                               .n_layers = sizeof layers / sizeof *layers,
                               .n_channels = 1,
                               .image_height = SIDE,
                               .image_width = SIDE,
                               .n_classes = CLASSES,
                               .seed = 11};
    learn(&a, 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_named_network_learns),
        cmocka_unit_test(test_every_layer_learns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
