/* What a trainer promises besides gradients: losses, what is frozen, unknown labels, sizes,
 * determinism, errors and memory. usage: test-inference-trainer FOLDER-WITH-MODELS */

#include "base/file.h"
#include "inference/train/trainer.h"
#include "onnx_builder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "near.h"

enum {
    BATCH = 4,
    N_CLASSES = 3
};

static const char *folder;

static const md_trainer_options small = {
    .backend = MD_BACKEND_OPENBLAS, .n_threads = 1, .batch = BATCH};

/* image [N,1,4,4] -> Conv -> BatchNormalization -> Relu -> GlobalAveragePool -> Flatten -> Gemm
 * -> logits -> Softmax; `op`, when not NULL, is put before the pool. */
typedef struct model {
    builder b;
    char names[32][48];
    size_t n_names;
    float conv[18], list[4][2], head[6], bias[3];
} model;

static char *text(model *m, const char *from)
{
    char *to = m->names[m->n_names++];
    (void)snprintf(to, sizeof m->names[0], "%s", from);
    return to;
}

static Onnx__NodeProto *node(model *m, const char *op, const char *in, const char *out)
{
    char *name = text(m, out), *inputs = text(m, in), *outputs = text(m, out);
    return builder_node(&m->b, name, op, inputs, outputs);
}

static void make_model(model *m, const char *op)
{
    static const int64_t image[] = {-1, 1, 4, 4}, conv_dims[] = {2, 1, 3, 3}, two[] = {2};
    static const int64_t head_dims[] = {3, 2}, three[] = {3}, out[] = {-1, 3};
    static const char *const parts[] = {"norm.weight", "norm.bias", "norm.mean", "norm.var"};
    memset(m, 0, sizeof *m);
    builder_init(&m->b, 14);
    for (int i = 0; i < 18; i++) {
        m->conv[i] = 0.3F * sinf((float)i * 1.7F);
    }
    for (int i = 0; i < 6; i++) {
        m->head[i] = cosf((float)i * 2.3F);
    }
    for (int i = 0; i < 4; i++) {
        m->list[i][0] = m->list[i][1] = i == 0 || i == 3 ? 1.0F : 0.1F;
    }
    builder_port(&m->b, false, "image", 1, 4, image);
    (void)builder_tensor(&m->b, "conv.weight", 1, 4, conv_dims, m->conv, sizeof m->conv);
    for (int i = 0; i < 4; i++) {
        (void)builder_tensor(&m->b, parts[i], 1, 1, two, m->list[i], sizeof m->list[i]);
    }
    (void)builder_tensor(&m->b, "head.weight", 1, 2, head_dims, m->head, sizeof m->head);
    (void)builder_tensor(&m->b, "head.bias", 1, 1, three, m->bias, sizeof m->bias);
    (void)node(m, "Conv", "image conv.weight", "a");
    (void)node(m, "BatchNormalization", "a norm.weight norm.bias norm.mean norm.var", "b");
    (void)node(m, "Relu", "b", "c");
    if (op != NULL) {
        (void)node(m, op, "c", "d");
    }
    (void)node(m, "GlobalAveragePool", op == NULL ? "c" : "d", "e");
    (void)node(m, "Flatten", "e", "f");
    builder_int(&m->b, node(m, "Gemm", "f head.weight head.bias", "logits"), "transB", 1);
    (void)node(m, "Softmax", "logits", "scores");
    builder_port(&m->b, true, "scores", 1, 2, out);
}

static md_status open_model(model *m, const md_trainer_options *options, md_trainer **ret,
                            md_error *err)
{
    size_t n_bytes;
    uint8_t *bytes = builder_pack(&m->b, &n_bytes);
    *ret = NULL;
    const md_status status = md_trainer_create(bytes, n_bytes, options, ret, err);
    free(bytes);
    return status;
}

static md_trainer *open_small(const md_trainer_options *options)
{
    static model m;
    md_error err = {0};
    md_trainer *trainer;
    make_model(&m, NULL);
    if (open_model(&m, options, &trainer, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return trainer;
}

static const float *some_images(size_t n)
{
    static float images[1 << 18];
    assert_true(n <= sizeof images / sizeof *images);
    for (size_t i = 0; i < n; i++) {
        images[i] = sinf((float)(i * i % 1009));
    }
    return images;
}

static const md_parameter *named(const md_trainer *trainer, const char *name)
{
    for (unsigned i = 0; i < md_trainer_n_parameters(trainer); i++) {
        if (strcmp(md_trainer_parameter(trainer, i)->name, name) == 0) {
            return md_trainer_parameter(trainer, i);
        }
    }
    fail_msg("no parameter %s", name);
    return NULL;
}

/* Losses against their formulas, written out here in another way. */
static void test_cross_entropy(void **state)
{
    (void)state;
    static const float class_weights[] = {1.0F, 2.0F, 0.5F};
    md_trainer_options options = small;
    options.class_weights = class_weights;
    options.n_class_weights = 3;
    options.label_smoothing = 0.2F;
    md_trainer *trainer = open_small(&options);
    const float z[] = {1, 2, 3, -1, 0, 1000, 5, 5, 5};
    const float t[] = {0, 1, 0, 0.5F, 0.5F, 0, NAN, 1, 0}, s[] = {1, 3, 7};
    double loss, wanted = 0.0;
    md_error err = {0};
    for (int i = 0; i < 2; i++) { /* the third has no label */
        const double e = exp((double)z[3 * i] - (double)z[3 * i + 2]) +
                         exp((double)z[3 * i + 1] - (double)z[3 * i + 2]) + 1.0;
        for (int k = 0; k < 3; k++) {
            const double smooth = 0.8 * (double)t[3 * i + k] + 0.2 / 3.0;
            wanted -= (double)s[i] * (double)class_weights[k] * smooth *
                      ((double)z[3 * i + k] - (double)z[3 * i + 2] - log(e));
        }
    }
    assert_int_equal(md_trainer_loss(trainer, z, 3, t, s, &loss, &err), MD_OK);
    assert_near(loss, wanted / 4.0, 1e-4); /* 0.2F is not 0.2, times 1000 */
    assert_int_equal(md_trainer_loss(trainer, z + 6, 1, t + 6, NULL, &loss, &err), MD_OK);
    assert_near(loss, 0.0, 0.0);
    const float bad[] = {0, 1.5F, 0};
    assert_int_equal(md_trainer_loss(trainer, z, 1, bad, NULL, &loss, &err), MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, "class 1"));
    const float nan_logits[] = {NAN, 0, 0}, ok[] = {0, 1, 0};
    assert_int_equal(md_trainer_loss(trainer, nan_logits, 1, ok, NULL, &loss, &err), MD_OK);
    assert_true(isnan(loss));
    md_trainer_destroy(trainer);
}

/* Groups against their formula; with weight 1 they are the cross-entropy without groups, and so
 * are groups of one class each, whatever the weight. */
static void test_groups(void **state)
{
    (void)state;
    static const float class_weights[] = {1.0F, 2.0F, 0.5F};
    static const unsigned groups[][3] = {{0, 2, 2}, {0, 2, 2}, {2, 0, 1}};
    static const float within[] = {0.25F, 1.0F, 0.25F};
    const float z[] = {1, 2, 3, -1, 0.5F, -3, 900, 3, 2, 5, 5, 5};
    const float t[] = {0, 1, 0, 0.5F, 0.25F, 0.25F, 0, 0, 1, NAN, 1, 0}, s[] = {1, 3, 2, 7};
    double plain, loss, wanted = 0.0;
    md_error err = {0};
    md_trainer_options options = small;
    options.class_weights = class_weights;
    options.n_class_weights = 3;
    md_trainer *trainer = open_small(&options);
    assert_int_equal(md_trainer_loss(trainer, z, 4, t, s, &plain, &err), MD_OK);
    md_trainer_destroy(trainer);
    for (int i = 0; i < 3; i++) {
        double u[3];
        for (int k = 0; k < 3; k++) {
            u[k] = (double)class_weights[k] * (double)t[3 * i + k];
        }
        /* log(exp(a) + exp(b)) = a + log1p(exp(b - a)); group 1 holds the last two classes */
        const double b = (double)z[3 * i + 1], c = (double)z[3 * i + 2];
        const double last = fmax(b, c) + log1p(exp(-fabs(b - c))), first = (double)z[3 * i];
        const double all = fmax(first, last) + log1p(exp(-fabs(first - last)));
        wanted += (double)s[i] * (u[0] * (all - first) + (u[1] + u[2]) * (all - last) +
                                  0.25 * (u[1] * (last - b) + u[2] * (last - c)));
    }
    const double expected[] = {wanted / 6.0, plain, plain};
    for (int i = 0; i < 3; i++) {
        options.groups = groups[i];
        options.n_groups = 3;
        options.within_weight = within[i];
        trainer = open_small(&options);
        assert_int_equal(md_trainer_loss(trainer, z, 4, t, s, &loss, &err), MD_OK);
        assert_near(loss, expected[i], 1e-9);
        const float nan_logits[] = {0, NAN, 0}, ok[] = {1, 0, 0};
        assert_int_equal(md_trainer_loss(trainer, nan_logits, 1, ok, NULL, &loss, &err), MD_OK);
        assert_true(isnan(loss));
        md_trainer_destroy(trainer);
    }
}

/* Of one image the bias's gradient is the logits': central differences of the loss. */
static void test_groups_gradient(void **state)
{
    (void)state;
    static const unsigned groups[] = {1, 0, 1};
    static const float class_weights[] = {1.0F, 2.0F, 0.5F}, targets[] = {0.2F, 0.5F, 0.3F};
    md_trainer_options options = small;
    options.class_weights = class_weights;
    options.n_class_weights = options.n_groups = 3;
    options.groups = groups;
    options.label_smoothing = 0.1F;
    for (int w = 0; w < 4; w++) {
        const float *logits;
        double loss, ends[2];
        md_error err = {0};
        options.within_weight = (float)w * 0.5F;
        md_trainer *trainer = open_small(&options);
        assert_int_equal(md_trainer_step(trainer, some_images(64), 1, targets, NULL, 0, &loss,
                                         &logits, &err),
                         MD_OK);
        for (int k = 0; k < 3; k++) {
            float z[3];
            const float step = 1.0F / 256.0F;
            for (int side = 0; side < 2; side++) {
                memcpy(z, logits, sizeof z);
                z[k] += side == 0 ? -step : step;
                assert_int_equal(
                    md_trainer_loss(trainer, z, 1, targets, NULL, &ends[side], &err), MD_OK);
            }
            assert_near(named(trainer, "head.bias")->gradient[k],
                        (ends[1] - ends[0]) / (2.0 * (double)step), 1e-5);
        }
        md_trainer_destroy(trainer);
    }
}

static void test_binary(void **state)
{
    (void)state;
    md_trainer_options options = small;
    options.loss = MD_LOSS_BINARY_CROSS_ENTROPY;
    md_trainer *trainer = open_small(&options);
    const float z[] = {1, -2, 3, 0, 500, -500}, t[] = {1, 0, NAN, NAN, 0, 1}, s[] = {2, 1};
    double loss;
    md_error err = {0};
    const double wanted = 2.0 * (log1p(exp(-1.0)) + log1p(exp(-2.0))) + 500.0 + 500.0;
    assert_int_equal(md_trainer_loss(trainer, z, 2, t, s, &loss, &err), MD_OK);
    assert_near(loss, wanted / 6.0, 1e-9);
    md_trainer_destroy(trainer);
}

/* What is not known moves nothing: the same step with another value behind NaN's image. */
static void test_unknown(void **state)
{
    (void)state;
    md_trainer_options options = small;
    options.loss = MD_LOSS_BINARY_CROSS_ENTROPY;
    md_trainer *trainer = open_small(&options);
    const float *logits;
    float t[BATCH * N_CLASSES] = {1, 0, 1, 0, NAN, 1, 1, 1, 0, 0, 0, NAN};
    double loss;
    md_error err = {0};
    assert_int_equal(
        md_trainer_step(trainer, some_images(64), BATCH, t, NULL, 0, &loss, &logits, &err),
        MD_OK);
    /* the bias's gradient is the sum of (sigmoid - t) / number of known labels */
    for (int k = 0; k < N_CLASSES; k++) {
        double wanted = 0.0;
        for (int i = 0; i < BATCH; i++) {
            const float target = t[i * N_CLASSES + k];
            const double z = (double)logits[i * N_CLASSES + k];
            wanted += isnan(target) ? 0.0 : (1.0 / (1.0 + exp(-z)) - (double)target) / 10.0;
        }
        assert_near(named(trainer, "head.bias")->gradient[k], wanted, 1e-6);
    }
    for (int i = 0; i < BATCH * N_CLASSES; i++) {
        t[i] = NAN;
    }
    assert_int_equal(
        md_trainer_step(trainer, some_images(64), BATCH, t, NULL, 0, &loss, &logits, &err),
        MD_OK);
    assert_near(loss, 0.0, 0.0);
    assert_near(named(trainer, "conv.weight")->gradient[3], 0.0, 0.0);
    md_trainer_destroy(trainer);
}

static const float some_targets[] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0.5F, 0.5F, 0};

static double step(md_trainer *trainer, int64_t n, uint64_t seed)
{
    const float *logits;
    int64_t dims[4];
    double loss = 0.0;
    md_error err = {0};
    md_trainer_input_dims(trainer, dims);
    const float *images = some_images((size_t)(BATCH * dims[1] * dims[2] * dims[3]));
    if (md_trainer_step(trainer, images, n, some_targets, NULL, seed, &loss, &logits, &err) !=
        MD_OK) {
        fail_msg("%s", err.msg);
    }
    return loss;
}

static void test_frozen(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"conv.", "norm."};
    md_trainer_options options = small;
    options.frozen = prefixes;
    options.n_frozen = 2;
    md_trainer *trainer = open_small(&options);
    (void)step(trainer, BATCH, 0);
    assert_true(named(trainer, "conv.weight")->frozen);
    assert_false(named(trainer, "head.weight")->frozen);
    assert_near(named(trainer, "conv.weight")->gradient[4], 0.0, 0.0);
    assert_near(named(trainer, "norm.mean")->value[0], 0.1F, 0.0); /* statistics stay */
    assert_true(fabsf(named(trainer, "head.weight")->gradient[0]) > 1e-6F);
    md_trainer_destroy(trainer);
    trainer = open_small(&small);
    (void)step(trainer, BATCH, 0);
    assert_true(fabsf(named(trainer, "norm.mean")->value[0] - 0.1F) > 1e-6F);
    assert_null(named(trainer, "norm.mean")->gradient);
    assert_true(named(trainer, "conv.weight")->decays);
    assert_false(named(trainer, "norm.weight")->decays);
    assert_false(named(trainer, "head.bias")->decays);
    md_trainer_destroy(trainer);
}

/* Three of four images are the batch of three. */
static void test_part_of_a_batch(void **state)
{
    (void)state;
    md_trainer *a = open_small(&small);
    md_trainer_options options = small;
    options.batch = 3;
    md_trainer *b = open_small(&options);
    (void)step(a, BATCH, 0);
    memcpy(named(a, "norm.mean")->value, named(b, "norm.mean")->value, 2 * sizeof(float));
    assert_true(step(a, 3, 0) == step(b, 3, 0));
    assert_memory_equal(named(a, "conv.weight")->gradient, named(b, "conv.weight")->gradient,
                        18 * sizeof(float));
    md_trainer_destroy(a);
    md_trainer_destroy(b);
}

/* Evaluation does not depend on how images fall into batches, and takes other values. */
static void test_infer(void **state)
{
    (void)state;
    md_trainer *trainer = open_small(&small);
    float all[9 * N_CLASSES], one[N_CLASSES], other[N_CLASSES];
    const float *images = some_images(9 * 16);
    const float *values[16];
    float bias[3] = {1, 2, 3};
    md_error err = {0};
    assert_int_equal(md_trainer_infer(trainer, images, 9, NULL, all, &err), MD_OK);
    assert_int_equal(md_trainer_infer(trainer, images + 8 * 16, 1, NULL, one, &err), MD_OK);
    assert_memory_equal(all + 8 * N_CLASSES, one, sizeof one);
    for (unsigned i = 0; i < md_trainer_n_parameters(trainer); i++) {
        const md_parameter *p = md_trainer_parameter(trainer, i);
        values[i] = strcmp(p->name, "head.bias") == 0 ? bias : p->value;
    }
    assert_int_equal(md_trainer_infer(trainer, images + 8 * 16, 1, values, other, &err), MD_OK);
    for (int k = 0; k < N_CLASSES; k++) {
        assert_near(other[k] - one[k], bias[k], 1e-6);
    }
    md_trainer_destroy(trainer);
}

static void test_resize_and_export(void **state)
{
    (void)state;
    md_trainer *trainer = open_small(&small);
    int64_t dims[4];
    md_error err = {0};
    (void)step(trainer, BATCH, 0);
    named(trainer, "head.bias")->value[1] = 42.0F;
    assert_int_equal(md_trainer_resize(trainer, 9, 7, &err), MD_OK);
    md_trainer_input_dims(trainer, dims);
    assert_int_equal(dims[2], 9);
    assert_int_equal(dims[3], 7);
    (void)step(trainer, BATCH, 0);
    assert_int_equal(md_trainer_resize(trainer, 2, 2, &err), MD_INVALID_ARG);
    assert_non_null(strstr(err.msg, "2 x 2"));
    (void)step(trainer, BATCH, 0); /* as before */
    MD_AUTO(md_freep) uint8_t *bytes = NULL, *again = NULL;
    size_t n_bytes, n_again;
    assert_int_equal(md_trainer_export(trainer, NULL, &bytes, &n_bytes, &err), MD_OK);
    assert_int_equal(md_trainer_export(trainer, NULL, &again, &n_again, &err), MD_OK);
    assert_int_equal(n_bytes, n_again);
    assert_memory_equal(bytes, again, n_bytes);
    md_trainer *copy;
    assert_int_equal(md_trainer_create(bytes, n_bytes, &small, &copy, &err), MD_OK);
    for (unsigned i = 0; i < md_trainer_n_parameters(trainer); i++) {
        const md_parameter *p = md_trainer_parameter(trainer, i);
        const md_parameter *q = md_trainer_parameter(copy, i);
        assert_string_equal(p->name, q->name);
        assert_memory_equal(p->value, q->value, p->n * sizeof(float));
    }
    /* what serving makes of the file is what evaluation says */
    md_network *network;
    md_tensor x = {MD_F32, 4, {1, 1, 4, 4}, 16, (void *)(uintptr_t)some_images(16), false}, y;
    float logits[N_CLASSES], total = 0.0F;
    assert_int_equal(md_network_load(bytes, n_bytes, NULL, &network, &err), MD_OK);
    assert_int_equal(md_network_run(network, &x, 1, &y, 1, &err), MD_OK);
    assert_int_equal(md_trainer_infer(copy, x.data, 1, NULL, logits, &err), MD_OK);
    for (int k = 0; k < N_CLASSES; k++) {
        logits[k] = expf(logits[k] - 42.0F);
        total += logits[k];
    }
    for (int k = 0; k < N_CLASSES; k++) {
        assert_near(((const float *)y.data)[k], logits[k] / total, 1e-5);
    }
    md_network_destroy(network);
    md_trainer_destroy(copy);
    md_trainer_destroy(trainer);
}

static void descend(const char *name, md_backend backend, unsigned n_threads, bool bf16,
                    uint8_t **ret_bytes, size_t *ret_size)
{
    char path[512];
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    size_t n_bytes;
    md_error err = {0};
    md_trainer *trainer;
    (void)snprintf(path, sizeof path, "%s/%s.onnx", folder, name);
    const md_trainer_options options = {
        .backend = backend, .n_threads = n_threads, .batch = BATCH, .bf16 = bf16};
    if (md_file_read(path, MD_NETWORK_MAX_ONNX_BYTES, &onnx, &n_bytes, &err) != MD_OK ||
        md_trainer_create(onnx, n_bytes, &options, &trainer, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    for (uint64_t i = 0; i < 3; i++) {
        const double loss = step(trainer, i == 1 ? BATCH - 1 : BATCH, i);
        assert_true(isfinite(loss));
        for (unsigned j = 0; j < md_trainer_n_parameters(trainer); j++) {
            const md_parameter *p = md_trainer_parameter(trainer, j);
            for (size_t k = 0; k < p->n && p->gradient != NULL; k++) {
                p->value[k] -= 0.01F * p->gradient[k];
            }
        }
    }
    assert_int_equal(md_trainer_export(trainer, NULL, ret_bytes, ret_size, &err), MD_OK);
    md_trainer_destroy(trainer);
}

/* The same steps twice are the same bits: one thread or two, both back ends, with dropout. */
static void test_deterministic(void **state)
{
    (void)state;
    static const char *const names[] = {"resnet", "densenet"};
    for (unsigned i = 0; i < 12; i++) {
        const md_backend backend = i % 3 == 0 ? MD_BACKEND_OPENBLAS : MD_BACKEND_AUTO;
        const bool bf16 = i % 3 == 2 && md_precision_check(MD_PRECISION_BF16, NULL) == MD_OK;
        MD_AUTO(md_freep) uint8_t *first = NULL, *second = NULL;
        size_t n_first, n_second;
        descend(names[i / 3 % 2], backend, 1 + i / 6, bf16, &first, &n_first);
        descend(names[i / 3 % 2], backend, 1 + i / 6, bf16, &second, &n_second);
        assert_int_equal(n_first, n_second);
        assert_memory_equal(first, second, n_first);
    }
}

typedef struct refusal {
    const char *op; /* in the network */
    md_trainer_options options;
    md_status status;
    const char *words;
} refusal;

static void test_refusals(void **state)
{
    (void)state;
    static const float zero_weight[] = {1, 0, 1}, one_weight[] = {1};
    static const unsigned groups[] = {0, 1, 1}, far_group[] = {0, 3, 1};
    static const char *const unknown[] = {"layer9."}, *const all[] = {""};
    const md_trainer_options ok = small;
    refusal list[] = {
        {"Softplus", ok, MD_UNSUPPORTED,
         "(Softplus, opset 14): the operator cannot be trained"},
        {"InstanceNormalization", ok, MD_FORMAT, "InstanceNormalization"},
        {"Sin", ok, MD_UNSUPPORTED, "node 'd' (Sin"},
        {NULL, ok, MD_INVALID_ARG, "batch 0"},
        {NULL, ok, MD_INVALID_ARG, "label smoothing"},
        {NULL, ok, MD_INVALID_ARG, "class weight 0"},
        {NULL, ok, MD_INVALID_ARG, "1 class weights for 3"},
        {NULL, ok, MD_NOT_FOUND, "layer9."},
        {NULL, ok, MD_INVALID_ARG, "no parameter is left"},
        {NULL, ok, MD_LIMIT, "take smaller batches"},
        {NULL, ok, MD_UNSUPPORTED, "float32 alone"},
        {NULL, ok, MD_INVALID_ARG, "group 3 of class 1 is not in 0..2"},
        {NULL, ok, MD_INVALID_ARG, "the groups of 2 classes for 3 classes"},
        {NULL, ok, MD_INVALID_ARG, "weight -1 within groups"},
        {NULL, ok, MD_INVALID_ARG, "groups of classes are for the cross-entropy"},
    };
    list[3].options.batch = 0;
    list[4].options.label_smoothing = 1.0F;
    list[5].options.class_weights = zero_weight;
    list[5].options.n_class_weights = 3;
    list[6].options.class_weights = one_weight;
    list[6].options.n_class_weights = 1;
    list[7].options.frozen = unknown;
    list[7].options.n_frozen = 1;
    list[8].options.frozen = all;
    list[8].options.n_frozen = 1;
    list[9].options.max_bytes = 1000;
    list[10].options.bf16 = true;
    for (size_t i = 11; i < sizeof list / sizeof *list; i++) {
        list[i].options.groups = i == 11 ? far_group : groups;
        list[i].options.n_groups = i == 12 ? 2 : 3;
        list[i].options.within_weight = i == 13 ? -1.0F : 0.5F;
    }
    list[14].options.loss = MD_LOSS_BINARY_CROSS_ENTROPY;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        static model m;
        md_trainer *trainer;
        md_error err = {0};
        make_model(&m, list[i].op);
        const md_status status = open_model(&m, &list[i].options, &trainer, &err);
        if (status != list[i].status || strstr(err.msg, list[i].words) == NULL) {
            fail_msg("case %zu: %s '%s'", i, md_status_name(status), err.msg);
        }
    }
    md_trainer *trainer = open_small(&small);
    double loss;
    const float *logits;
    md_error err = {0};
    assert_int_equal(md_trainer_step(trainer, some_images(80), 5, some_targets, NULL, 0, &loss,
                                     &logits, &err),
                     MD_INVALID_ARG);
    md_trainer_destroy(trainer);
}

/* The nth allocation fails, for every n until none does. */
static void test_no_memory(void **state)
{
    (void)state;
    static model m;
    make_model(&m, NULL);
    size_t n_bytes;
    uint8_t *bytes = builder_pack(&m.b, &n_bytes);
    bool done = false;
    for (size_t n = 1; !done; n++) {
        md_trainer *trainer = NULL;
        MD_AUTO(md_freep) uint8_t *exported = NULL;
        size_t n_exported;
        double loss;
        const float *logits;
        md_error err = {0};
        md_memory_fail_at(n);
        md_status status = md_trainer_create(bytes, n_bytes, &small, &trainer, &err);
        if (status == MD_OK) {
            status = md_trainer_step(trainer, some_images(64), BATCH, some_targets, NULL, 0,
                                     &loss, &logits, &err);
        }
        if (status == MD_OK) {
            status = md_trainer_resize(trainer, 6, 6, &err);
        }
        if (status == MD_OK) {
            status = md_trainer_export(trainer, NULL, &exported, &n_exported, &err);
        }
        done = md_memory_count() < n;
        md_memory_fail_at(0);
        assert_int_equal(status, done ? MD_OK : MD_NOMEM);
        md_trainer_destroy(trainer);
        assert_true(n < 2000);
    }
    free(bytes);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cross_entropy),     cmocka_unit_test(test_groups),
        cmocka_unit_test(test_groups_gradient),   cmocka_unit_test(test_binary),
        cmocka_unit_test(test_unknown),           cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_part_of_a_batch),   cmocka_unit_test(test_infer),
        cmocka_unit_test(test_resize_and_export), cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_refusals),          cmocka_unit_test(test_no_memory),
    };
    folder = argc > 1 ? argv[1] : ".";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
