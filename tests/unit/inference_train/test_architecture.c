/* Networks by name and by layers: what the engine makes of them, and what is refused. */

#include "inference/network.h"
#include "inference/train/architecture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    SIDE = 64,
    CLASSES = 3
};

static md_architecture small(const char *name)
{
    return (md_architecture){.name = name,
                             .width = 0.125,
                             .n_channels = 1,
                             .image_height = SIDE,
                             .image_width = SIDE,
                             .n_classes = CLASSES,
                             .dropout = -1.0,
                             .seed = 3};
}

static md_network *load(const md_architecture *a, md_backend backend, const char *extra)
{
    md_error err = {0};
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    size_t size = 0;
    md_network *network = NULL;
    md_network_options options = {.backend = backend, .n_threads = 1};
    if (extra != NULL) {
        options.extra_outputs[options.n_extra_outputs++] = extra;
    }
    if (md_architecture_write(a, &onnx, &size, &err) != MD_OK ||
        md_network_load(onnx, size, &options, &network, &err) != MD_OK) {
        fail_msg("%s: %s", a->name == NULL ? "layers" : a->name, err.msg);
    }
    return network;
}

static void run(md_network *network, float ret[CLASSES])
{
    static float pixels[SIDE * SIDE];
    md_error err = {0};
    md_tensor in, out[2];
    for (int i = 0; i < SIDE * SIDE; i++) {
        pixels[i] = (float)((i * 7919) % 1000) / 500.0F - 1.0F;
    }
    const int64_t dims[4] = {1, 1, SIDE, SIDE};
    assert_int_equal(md_tensor_shape(&in, MD_F32, 4, dims, &err), MD_OK);
    in.data = pixels;
    if (md_network_run(network, &in, 1, out, md_network_n_outputs(network), &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    memcpy(ret, out[0].data, CLASSES * sizeof(float));
}

static void test_every_name_runs_and_has_its_features(void **state)
{
    (void)state;
    unsigned n = 0;
    for (; md_architecture_name(n) != NULL; n++) {
        const md_architecture a = small(md_architecture_name(n));
        const bool has_head = strcmp(a.name, "lenet") != 0;
        MD_AUTO(md_network_destroyp)
        md_network *network = load(&a, MD_BACKEND_OPENBLAS, has_head ? "features" : NULL);
        MD_AUTO(md_network_destroyp) md_network *other = load(&a, MD_BACKEND_AUTO, NULL);
        float one[CLASSES], two[CLASSES];
        run(network, one);
        run(other, two);
        float largest = 0.0F, difference = 0.0F;
        for (int i = 0; i < CLASSES; i++) {
            difference = fmaxf(difference, fabsf(one[i] - two[i]));
            largest = fmaxf(largest, fabsf(one[i]));
        }
        printf("# %s: largest %g, difference %g\n", a.name, (double)largest,
               (double)difference);
        assert_true(largest > 1e-4F && largest < 1000.0F && difference < 1e-5F * largest);
        md_error err = {0};
        md_tensor weights;
        if (has_head &&
            md_network_linear_head(network, "features", "logits", &weights, &err) != MD_OK) {
            fail_msg("%s: %s", a.name, err.msg);
        }
    }
    assert_int_equal(n, 10);
}

#define CONV(channels, ...)                                                                    \
    {                                                                                          \
        .kind = MD_LAYER_CONV, .n = (channels), .padding = -1, __VA_ARGS__                     \
    }
#define ACT(f)                                                                                 \
    {                                                                                          \
        .kind = MD_LAYER_ACTIVATION, .function = (f)                                           \
    }

static md_architecture list(const md_layer *layers, unsigned n)
{
    md_architecture a = small(NULL);
    a.width = 1.0;
    a.layers = layers;
    a.n_layers = n;
    return a;
}

static void test_all_kinds_of_layers(void **state)
{
    (void)state;
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
        {.kind = MD_LAYER_AVERAGE_POOL, .n = 2},
        CONV(32, .groups = 8),
        ACT(MD_LAYER_SIGMOID),
        {.kind = MD_LAYER_DROPOUT, .rate = 0.1},
        {.kind = MD_LAYER_GLOBAL_AVERAGE_POOL},
        {.kind = MD_LAYER_DROPOUT, .rate = 0.5},
        {.kind = MD_LAYER_FULLY_CONNECTED, .n = CLASSES},
    };
    const md_architecture a = list(layers, sizeof layers / sizeof *layers);
    MD_AUTO(md_network_destroyp)
    md_network *network = load(&a, MD_BACKEND_OPENBLAS, "features");
    md_error err = {0};
    md_tensor weights;
    assert_int_equal(md_network_linear_head(network, "features", "logits", &weights, &err),
                     MD_OK);
    assert_int_equal(weights.dims[1], 32);
    float y[CLASSES];
    run(network, y);
    assert_true(isfinite(y[0]) && fabsf(y[0] - y[1]) > 1e-6F);
}

static void test_a_network_without_a_mean(void **state)
{
    (void)state;
    const md_layer layers[] = {
        CONV(4, .stride = 4),       ACT(MD_LAYER_FUNCTION_DEFAULT),
        {.kind = MD_LAYER_FLATTEN}, {.kind = MD_LAYER_FULLY_CONNECTED, .n = 10},
        ACT(MD_LAYER_SIGMOID),      {.kind = MD_LAYER_FULLY_CONNECTED},
    };
    md_architecture a = list(layers, 6);
    MD_AUTO(md_network_destroyp) md_network *network = load(&a, MD_BACKEND_OPENBLAS, NULL);
    float y[CLASSES];
    run(network, y);
    a.n_classes = 1;
    MD_AUTO(md_network_destroyp) md_network *single = load(&a, MD_BACKEND_OPENBLAS, NULL);
    assert_int_equal(md_network_output(single, 0)->dims[1], 1);
}

static void refused(const md_layer *layers, unsigned n, md_status status, const char *text)
{
    md_error err = {0};
    uint8_t *onnx = NULL;
    size_t size = 0;
    const md_architecture a = list(layers, n);
    assert_int_equal(md_architecture_write(&a, &onnx, &size, &err), status);
    if (strstr(err.msg, text) == NULL) {
        fail_msg("'%s' is not in '%s'", text, err.msg);
    }
}

#define HEAD                                                                                   \
    {                                                                                          \
        .kind = MD_LAYER_FULLY_CONNECTED, .n = CLASSES                                         \
    }
#define REFUSE(status, text, ...)                                                              \
    do {                                                                                       \
        const md_layer refused_[] = {__VA_ARGS__};                                             \
        refused(refused_, sizeof refused_ / sizeof *refused_, (status), (text));               \
    } while (0)

static void test_wrong_layers_are_named(void **state)
{
    (void)state;
    const md_layer shrink[] = {CONV(1, .stride = 2)},
                   pool[] = {{.kind = MD_LAYER_MAX_POOL, .n = 3, .stride = 1}};
    REFUSE(MD_INVALID_ARG, "the last layer has to be fully_connected with 3 units", CONV(3, ));
    REFUSE(MD_INVALID_ARG, "with 3 units", {.kind = MD_LAYER_FULLY_CONNECTED, .n = 4});
    REFUSE(MD_INVALID_ARG, "line 12, layer 1 (conv): the number of channels",
           CONV(0, .line = 12), HEAD);
    REFUSE(MD_INVALID_ARG, "layer 1 (conv): kernel, stride", CONV(1, .kernel = 256), HEAD);
    REFUSE(MD_INVALID_ARG, "layer 1 (conv): the window is larger than the picture",
           {.kind = MD_LAYER_CONV, .n = 1, .kernel = 65}, HEAD);
    REFUSE(MD_INVALID_ARG, "layer 2 (conv): the channels cannot be divided", CONV(4, ),
           CONV(6, .groups = 3), HEAD);
    REFUSE(MD_INVALID_ARG, "layer 1 (max_pool): the padding is not below",
           {.kind = MD_LAYER_MAX_POOL, .n = 2, .padding = 2}, HEAD);
    REFUSE(MD_INVALID_ARG, "layer 1 (average_pool): window",
           {.kind = MD_LAYER_AVERAGE_POOL, .n = 0}, HEAD);
    REFUSE(MD_INVALID_ARG, "layer 2 (conv): it needs a picture", {.kind = MD_LAYER_FLATTEN},
           CONV(1, ), HEAD);
    REFUSE(MD_INVALID_ARG, "layer 2 (batch_norm): it needs a picture",
           {.kind = MD_LAYER_FLATTEN}, {.kind = MD_LAYER_BATCH_NORM}, HEAD);
    REFUSE(MD_INVALID_ARG, "layer 1 (dropout): the rate",
           {.kind = MD_LAYER_DROPOUT, .rate = 1.0}, HEAD);
    REFUSE(MD_INVALID_ARG, "layer 1 (fully_connected): 0 units",
           {.kind = MD_LAYER_FULLY_CONNECTED}, HEAD);
    REFUSE(MD_INVALID_ARG, "layer 1 (residual): no layers", {.kind = MD_LAYER_RESIDUAL}, HEAD);
    REFUSE(MD_INVALID_ARG, "change the picture's size",
           {.kind = MD_LAYER_DENSE, .children = shrink, .n_children = 1}, HEAD);
    REFUSE(MD_INVALID_ARG, "no stride of a 1x1 shortcut",
           {.kind = MD_LAYER_RESIDUAL, .children = pool, .n_children = 1}, HEAD);
    REFUSE(MD_INVALID_ARG, "layer 1 (?): no such kind", {.kind = (md_layer_kind)99}, HEAD);
}

static void test_depth_is_limited(void **state)
{
    (void)state;
    md_layer nested[12];
    for (unsigned i = 0; i < 12; i++) {
        nested[i] = i == 0 ? (md_layer)CONV(1, )
                           : (md_layer){.kind = MD_LAYER_RESIDUAL,
                                        .children = &nested[i - 1],
                                        .n_children = 1};
    }
    const md_layer layers[] = {nested[11], HEAD};
    refused(layers, 2, MD_LIMIT, "nested deeper than 8");
    const md_layer fine[] = {nested[8], HEAD};
    const md_architecture a = list(fine, 2);
    MD_AUTO(md_network_destroyp) md_network *network = load(&a, MD_BACKEND_OPENBLAS, NULL);
    assert_non_null(network);
}

static void test_wrong_architectures(void **state)
{
    (void)state;
    md_error err = {0};
    uint8_t *onnx = NULL;
    size_t size = 0;
    md_architecture a = small("resnet50");
    assert_int_equal(md_architecture_write(&a, &onnx, &size, &err), MD_NOT_FOUND);
    assert_string_equal(err.msg, "no network is called 'resnet50'");
    a = small("resnet18");
    a.image_width = 0;
    assert_int_equal(md_architecture_write(&a, &onnx, &size, &err), MD_INVALID_ARG);
    a = small("resnet18");
    a.width = (double)NAN;
    assert_int_equal(md_architecture_write(&a, &onnx, &size, &err), MD_INVALID_ARG);
    a = small("vgg16");
    a.image_height = 8; /* four poolings leave nothing */
    assert_int_equal(md_architecture_write(&a, &onnx, &size, &err), MD_INVALID_ARG);
    assert_string_equal(err.msg, "the window is larger than the picture");
    a = small("resnet-small");
    a.image_height = 36; /* 36 -> 18 -> 9, and a mean of 2 by 2 of 9 rows leaves 4, not 5 */
    assert_int_equal(md_architecture_write(&a, &onnx, &size, &err), MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, "divisible"));
}

static void test_lack_of_memory(void **state)
{
    (void)state;
    md_error err = {0};
    const md_architecture a = small("classic-cnn");
    uint8_t *onnx = NULL;
    size_t size = 0, n = 0;
    md_status status;
    do {
        md_memory_fail_at(++n);
        status = md_architecture_write(&a, &onnx, &size, &err);
    } while (status == MD_NOMEM);
    md_memory_fail_at(0);
    assert_int_equal(status, MD_OK);
    md_free(onnx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_name_runs_and_has_its_features),
        cmocka_unit_test(test_all_kinds_of_layers),
        cmocka_unit_test(test_a_network_without_a_mean),
        cmocka_unit_test(test_wrong_layers_are_named),
        cmocka_unit_test(test_depth_is_limited),
        cmocka_unit_test(test_wrong_architectures),
        cmocka_unit_test(test_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
