/* Gradients of every layer against central differences, on both back ends.
 *
 * A loss L of float32 logits is taken in double; (L(w + h) - L(w - h)) / 2h has an error of
 * some 1e-7 |z| / h from rounding and h^2 / 6 |L'''| from the step: with h = 1/64 and logits of
 * some units 1e-4 together, of gradients around 1. A kink (ReLU, a maximum) within h spoils one
 * step size, so four are tried. A wrong gradient is off by its own size. */

#include "inference/train/trainer.h"
#include "onnx_builder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gradients.h"
#include "near.h"

enum {
    BATCH = 3,
    CHANNELS = 4,
    HEIGHT = 6,
    WIDTH = 5,
    N_PIXELS = CHANNELS * HEIGHT * WIDTH,
    N_CLASSES = 3,
    MAX_TEXT = 64,
    MAX_NAMES = 256
};

/* Memory of one model: weights and the names that the builder cuts up in place. */
typedef struct model {
    builder b;
    float weights[1 << 14];
    size_t n_weights;
    char names[MAX_NAMES][MAX_TEXT];
    size_t n_names;
    uint32_t random;
} model;

static float uniform(model *m)
{
    m->random = m->random * 1664525U + 1013904223U;
    return (float)(m->random >> 8) * 0x1p-23F - 1.0F;
}

static char *text(model *m, const char *from)
{
    char *to = m->names[m->n_names++];
    assert_true(m->n_names <= MAX_NAMES && strlen(from) < MAX_TEXT);
    return memcpy(to, from, strlen(from) + 1);
}

static float *weights(model *m, const char *name, size_t n_dims, const int64_t *dims,
                      float center, float spread)
{
    size_t n = 1;
    for (size_t i = 0; i < n_dims; i++) {
        n *= (size_t)dims[i];
    }
    float *values = m->weights + m->n_weights;
    m->n_weights += n;
    assert_true(m->n_weights <= sizeof m->weights / sizeof *m->weights);
    for (size_t i = 0; i < n; i++) {
        values[i] = center + spread * uniform(m);
    }
    (void)builder_tensor(&m->b, text(m, name), 1, n_dims, dims, values, n * sizeof *values);
    return values;
}

static Onnx__NodeProto *node(model *m, const char *op, const char *inputs, const char *output)
{
    return builder_node(&m->b, text(m, output), text(m, op), text(m, inputs), text(m, output));
}

static void pads(model *m, Onnx__NodeProto *to, const char *name, const int64_t *values,
                 size_t n)
{
    builder_ints(&m->b, to, name, values, n);
}

static void real(model *m, Onnx__NodeProto *to, const char *name, float value)
{
    Onnx__AttributeProto *a =
        builder_attribute(&m->b, to, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    a->has_f = 1;
    a->f = value;
}

static const int64_t image_dims[] = {-1, CHANNELS, HEIGHT, WIDTH};

static void begin(model *m, int opset)
{
    memset(m, 0, sizeof *m);
    m->random = 12345;
    builder_init(&m->b, opset);
    builder_port(&m->b, false, "image", 1, 4, image_dims);
}

/* "y" [N,c,h,w] or [N,c h w] -> Flatten -> Gemm -> logits. */
static void finish(model *m, int64_t n_features)
{
    const int64_t w_dims[] = {N_CLASSES, n_features}, b_dims[] = {N_CLASSES};
    const int64_t out_dims[] = {-1, N_CLASSES};
    (void)node(m, "Flatten", "y", "flat");
    (void)weights(m, "head.weight", 2, w_dims, 0.0F, 1.0F);
    (void)weights(m, "head.bias", 1, b_dims, 0.0F, 1.0F);
    builder_int(&m->b, node(m, "Gemm", "flat head.weight head.bias", "logits"), "transB", 1);
    builder_port(&m->b, true, "logits", 1, 2, out_dims);
}

static void conv(model *m, const char *x, const char *name, int64_t c_in, int64_t c_out,
                 int64_t kernel, int64_t group, int64_t stride, const char *y)
{
    const int64_t dims[] = {c_out, c_in / group, kernel, kernel};
    static const int64_t strides[3][2] = {{1, 1}, {1, 1}, {2, 2}};
    static const int64_t padding[2][4] = {{0, 0, 0, 0}, {1, 1, 1, 1}};
    char inputs[MAX_TEXT];
    (void)snprintf(inputs, sizeof inputs, "%s %s", x, name);
    (void)weights(m, name, 4, dims, 0.0F, 0.7F);
    Onnx__NodeProto *made = node(m, "Conv", inputs, y);
    builder_int(&m->b, made, "group", group);
    builder_ints(&m->b, made, "strides", strides[stride], 2);
    builder_ints(&m->b, made, "pads", padding[kernel == 3], 4);
}

static void norm(model *m, const char *x, const char *name, int64_t c, const char *y)
{
    static const char *const parts[] = {"scale", "offset", "mean", "var"};
    char inputs[MAX_TEXT];
    (void)snprintf(inputs, sizeof inputs, "%s", x);
    for (int i = 0; i < 4; i++) {
        char full[16];
        (void)snprintf(full, sizeof full, "%s.%s", name, parts[i]);
        (void)weights(m, full, 1, &c, i == 0 || i == 3 ? 1.0F : 0.0F, 0.3F);
        (void)snprintf(inputs + strlen(inputs), sizeof inputs - strlen(inputs), " %s", full);
    }
    (void)node(m, "BatchNormalization", inputs, y);
}

/* The cases: each builds "image" -> ... -> "y" and says how many features y has. */
static int64_t case_conv(model *m)
{
    static const int64_t dims[] = {6, CHANNELS, 3, 2}, bias[] = {6};
    static const int64_t padding[] = {1, 0, 2, 1}, dilations[] = {2, 1};
    (void)weights(m, "w", 4, dims, 0.0F, 0.7F);
    (void)weights(m, "b", 1, bias, 0.0F, 0.5F);
    Onnx__NodeProto *made = node(m, "Conv", "image w b", "y");
    pads(m, made, "pads", padding, 4);
    pads(m, made, "dilations", dilations, 2);
    return 6 * 5 * 5;
}

static int64_t case_conv_stride(model *m)
{
    conv(m, "image", "w", CHANNELS, 5, 3, 1, 2, "y");
    return 5 * 3 * 3;
}

static int64_t case_conv_pointwise(model *m)
{
    conv(m, "image", "w", CHANNELS, 7, 1, 1, 1, "a");
    (void)node(m, "Tanh", "a", "y");
    return 7 * HEIGHT * WIDTH;
}

static int64_t case_conv_groups(model *m)
{
    conv(m, "image", "w", CHANNELS, 6, 3, 2, 1, "y");
    return 6 * HEIGHT * WIDTH;
}

static int64_t case_conv_depthwise(model *m)
{
    conv(m, "image", "w", CHANNELS, CHANNELS, 3, CHANNELS, 2, "y");
    return CHANNELS * 3 * 3;
}

static int64_t case_conv_relu(model *m)
{
    static const int64_t dims[] = {6, CHANNELS, 3, 3}, bias[] = {6};
    static const int64_t padding[] = {1, 1, 1, 1};
    (void)weights(m, "w", 4, dims, 0.0F, 0.7F);
    (void)weights(m, "b", 1, bias, 0.0F, 0.5F);
    pads(m, node(m, "Conv", "image w b", "a"), "pads", padding, 4);
    (void)node(m, "Relu", "a", "y");
    return 6 * HEIGHT * WIDTH;
}

static int64_t case_norm(model *m)
{
    norm(m, "image", "n", CHANNELS, "y");
    return N_PIXELS;
}

static int64_t case_norm_relu(model *m)
{
    norm(m, "image", "n", CHANNELS, "a");
    (void)node(m, "Relu", "a", "y");
    return N_PIXELS;
}

static int64_t case_norm_clip(model *m)
{
    static const float low = 0.0F, high = 0.8F;
    norm(m, "image", "n", CHANNELS, "a");
    (void)builder_tensor(&m->b, "low", 1, 0, NULL, &low, sizeof low);
    (void)builder_tensor(&m->b, "high", 1, 0, NULL, &high, sizeof high);
    (void)node(m, "Clip", "a low high", "y");
    return N_PIXELS;
}

/* As in ResNet: the sum is drawn into the second normalisation, and both branches meet the
 * image again. */
static int64_t case_residual(model *m)
{
    conv(m, "image", "w1", CHANNELS, CHANNELS, 3, 1, 1, "a");
    norm(m, "a", "n1", CHANNELS, "b");
    (void)node(m, "Relu", "b", "c");
    conv(m, "c", "w2", CHANNELS, CHANNELS, 3, 1, 1, "d");
    norm(m, "d", "n2", CHANNELS, "e");
    (void)node(m, "Add", "e image", "f");
    (void)node(m, "Relu", "f", "y");
    return N_PIXELS;
}

static int64_t case_residual_projected(model *m)
{
    conv(m, "image", "w1", CHANNELS, 5, 3, 1, 2, "a");
    norm(m, "a", "n1", 5, "b");
    conv(m, "image", "w2", CHANNELS, 5, 1, 1, 2, "c");
    norm(m, "c", "n2", 5, "d");
    (void)node(m, "Add", "b d", "y");
    return 5 * 3 * 3;
}

static int64_t case_sum(model *m)
{
    conv(m, "image", "w1", CHANNELS, CHANNELS, 3, 1, 1, "a");
    (void)node(m, "Add", "a image", "b");
    (void)node(m, "Relu", "b", "c");
    (void)node(m, "Add", "c a", "y");
    return N_PIXELS;
}

static int64_t case_product(model *m) /* Swish as exporters write it */
{
    conv(m, "image", "w1", CHANNELS, CHANNELS, 3, 1, 1, "a");
    (void)node(m, "Sigmoid", "a", "s");
    (void)node(m, "Mul", "a s", "y");
    return N_PIXELS;
}

static int64_t case_gate(model *m)
{
    conv(m, "image", "w1", CHANNELS, CHANNELS, 3, 1, 1, "a");
    (void)node(m, "GlobalAveragePool", "a", "g");
    conv(m, "g", "w2", CHANNELS, 2, 1, 1, 1, "h");
    (void)node(m, "Tanh", "h", "i");
    conv(m, "i", "w3", 2, CHANNELS, 1, 1, 1, "j");
    (void)node(m, "HardSigmoid", "j", "k");
    (void)node(m, "Mul", "k a", "y");
    return N_PIXELS;
}

static int64_t activation(model *m, const char *op)
{
    conv(m, "image", "w1", CHANNELS, CHANNELS, 1, 1, 1, "a");
    Onnx__NodeProto *made = node(m, op, "a", "y");
    if (strcmp(op, "LeakyRelu") == 0) {
        real(m, made, "alpha", 0.3F);
    }
    return N_PIXELS;
}

static int64_t case_leaky(model *m)
{
    return activation(m, "LeakyRelu");
}

static int64_t case_hard_swish(model *m)
{
    return activation(m, "HardSwish");
}

static int64_t case_sigmoid(model *m)
{
    return activation(m, "Sigmoid");
}

/* Parameters and numbers beside a feature: x w[c] + b[c], (x - 2) / 4. */
static int64_t case_scale(model *m)
{
    static const int64_t dims[] = {CHANNELS, 1, 1}, full[] = {1, CHANNELS, 1, 1};
    static const float two = 2.0F, four = 4.0F;
    (void)weights(m, "w", 3, dims, 1.0F, 0.5F);
    (void)weights(m, "b", 4, full, 0.0F, 0.5F);
    (void)builder_tensor(&m->b, "two", 1, 0, NULL, &two, sizeof two);
    (void)builder_tensor(&m->b, "four", 1, 0, NULL, &four, sizeof four);
    (void)node(m, "Mul", "image w", "a");
    (void)node(m, "Add", "b a", "c");
    (void)node(m, "Tanh", "c", "d");
    (void)node(m, "Sub", "d two", "e");
    (void)node(m, "Div", "e four", "f");
    (void)node(m, "Add", "f f", "y");
    return N_PIXELS;
}

/* As in DenseNet: what is joined is read again. */
static int64_t case_concat(model *m)
{
    conv(m, "image", "w1", CHANNELS, 3, 3, 1, 1, "a");
    builder_int(&m->b, node(m, "Concat", "image a", "b"), "axis", 1);
    norm(m, "b", "n1", CHANNELS + 3, "c");
    conv(m, "c", "w2", CHANNELS + 3, 2, 1, 1, 1, "d");
    builder_int(&m->b, node(m, "Concat", "b d", "y"), "axis", 1);
    return (CHANNELS + 5) * HEIGHT * WIDTH;
}

static int64_t case_max_pool(model *m)
{
    static const int64_t kernel[] = {3, 2}, strides[] = {2, 1}, padding[] = {1, 0, 1, 1};
    conv(m, "image", "w1", CHANNELS, 19, 1, 1, 1, "a"); /* a vector and some more */
    Onnx__NodeProto *made = node(m, "MaxPool", "a", "y");
    pads(m, made, "kernel_shape", kernel, 2);
    pads(m, made, "strides", strides, 2);
    pads(m, made, "pads", padding, 4);
    return 19 * 3 * 5;
}

static int64_t case_mean_pool(model *m)
{
    static const int64_t kernel[] = {3, 2}, strides[] = {2, 2}, padding[] = {1, 0, 1, 1};
    conv(m, "image", "w1", CHANNELS, CHANNELS, 1, 1, 1, "a");
    Onnx__NodeProto *made = node(m, "AveragePool", "a", "b");
    pads(m, made, "kernel_shape", kernel, 2);
    pads(m, made, "strides", strides, 2);
    pads(m, made, "pads", padding, 4);
    made = node(m, "AveragePool", "b", "y"); /* 3 x 3: the last windows hang over */
    pads(m, made, "kernel_shape", kernel + 1, 1);
    made->attribute[0]->n_ints = 2;
    made->attribute[0]->ints = (int64_t *)(uintptr_t)strides;
    pads(m, made, "strides", strides, 2);
    builder_int(&m->b, made, "count_include_pad", 1);
    builder_int(&m->b, made, "ceil_mode", 1);
    return CHANNELS * 2 * 2;
}

static int64_t case_global_pool(model *m)
{
    conv(m, "image", "w1", CHANNELS, 5, 3, 1, 1, "a");
    (void)node(m, "GlobalAveragePool", "a", "y");
    return 5;
}

static int64_t case_linear(model *m)
{
    static const int64_t dims[] = {N_PIXELS, 7}, bias[] = {7}, second[] = {7, 4};
    (void)node(m, "Flatten", "image", "a");
    (void)weights(m, "w", 2, dims, 0.0F, 0.2F);
    (void)weights(m, "b", 1, bias, 0.0F, 0.5F);
    (void)weights(m, "v", 2, second, 0.0F, 0.5F);
    (void)node(m, "MatMul", "a w", "c");
    (void)node(m, "Add", "c b", "d");
    Onnx__NodeProto *made = node(m, "Gemm", "d v", "e");
    real(m, made, "alpha", 0.5F);
    (void)node(m, "Relu", "e", "y");
    return 4;
}

static int64_t case_dropout(model *m)
{
    static const float ratio = 0.4F;
    conv(m, "image", "w1", CHANNELS, CHANNELS, 1, 1, 1, "a");
    (void)builder_tensor(&m->b, "ratio", 1, 0, NULL, &ratio, sizeof ratio);
    (void)node(m, "Dropout", "a ratio", "y");
    return N_PIXELS;
}

/* One weight and one scale for two layers: their gradients add up. */
static int64_t case_shared(model *m)
{
    conv(m, "image", "w1", CHANNELS, CHANNELS, 3, 1, 1, "a");
    norm(m, "a", "n1", CHANNELS, "b");
    const int64_t padding[] = {1, 1, 1, 1};
    static int64_t kept[4];
    memcpy(kept, padding, sizeof kept);
    pads(m, node(m, "Conv", "b w1", "c"), "pads", kept, 4);
    const int64_t c = CHANNELS;
    (void)weights(m, "mean2", 1, &c, 0.0F, 0.3F);
    (void)weights(m, "var2", 1, &c, 1.0F, 0.3F);
    (void)node(m, "BatchNormalization", "c n1.scale n1.offset mean2 var2", "y");
    return N_PIXELS;
}

typedef struct gradient_case {
    const char *name;
    int64_t (*build)(model *m);
} gradient_case;

static const gradient_case cases[] = {
    {"conv", case_conv},
    {"conv stride", case_conv_stride},
    {"conv 1x1, tanh", case_conv_pointwise},
    {"conv groups", case_conv_groups},
    {"conv depthwise", case_conv_depthwise},
    {"conv relu", case_conv_relu},
    {"norm", case_norm},
    {"norm relu", case_norm_relu},
    {"norm clip", case_norm_clip},
    {"residual", case_residual},
    {"residual projected", case_residual_projected},
    {"sum", case_sum},
    {"product", case_product},
    {"gate", case_gate},
    {"leaky relu", case_leaky},
    {"hard swish", case_hard_swish},
    {"sigmoid", case_sigmoid},
    {"scale", case_scale},
    {"concat", case_concat},
    {"max pool", case_max_pool},
    {"mean pool", case_mean_pool},
    {"global pool", case_global_pool},
    {"linear", case_linear},
    {"dropout", case_dropout},
    {"shared", case_shared},
};

typedef struct batch {
    float images[BATCH * N_PIXELS], targets[BATCH * N_CLASSES], weights[BATCH];
} batch;

static void fill_batch(batch *data)
{
    model m = {.random = 99};
    for (int i = 0; i < BATCH * N_PIXELS; i++) {
        data->images[i] = 2.0F * uniform(&m);
    }
    for (int i = 0; i < BATCH; i++) {
        data->weights[i] = 0.5F + (float)i;
        for (int k = 0; k < N_CLASSES; k++) {
            data->targets[i * N_CLASSES + k] = k == i % N_CLASSES ? 0.7F : 0.15F;
        }
    }
}

static md_trainer *open_model(model *m, const md_trainer_options *options)
{
    md_error err = {0};
    md_trainer *trainer = NULL;
    size_t n_bytes;
    uint8_t *bytes = builder_pack(&m->b, &n_bytes);
    if (md_trainer_create(bytes, n_bytes, options, &trainer, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    free(bytes);
    return trainer;
}

static double loss_of(md_trainer *trainer, const batch *data)
{
    double loss = 0.0;
    const float *logits;
    md_error err = {0};
    if (md_trainer_step(trainer, data->images, BATCH, data->targets, data->weights, 7, &loss,
                        &logits, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return loss;
}

static double loss_of_batch(md_trainer *trainer, void *context)
{
    return loss_of(trainer, context);
}

/* The logits of an evaluation, each times a number. */
typedef struct projected {
    const batch *data;
    const float *d;
} projected;

static double projection(md_trainer *trainer, void *context)
{
    const projected *of = context;
    float logits[BATCH * N_CLASSES];
    double sum = 0.0;
    md_error err = {0};
    if (md_trainer_infer(trainer, of->data->images, BATCH, NULL, logits, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    for (int i = 0; i < BATCH * N_CLASSES; i++) {
        sum += (double)of->d[i] * (double)logits[i];
    }
    return sum;
}

static double check_images(md_trainer *trainer, batch *data, const char *name)
{
    float d[BATCH * N_CLASSES], gradient[BATCH * N_PIXELS];
    const float *borrowed;
    double worst = 0.0;
    md_error err = {0};
    for (int i = 0; i < BATCH * N_CLASSES; i++) {
        d[i] = (float)(i % 5) - 1.5F;
    }
    if (md_trainer_input_gradient(trainer, data->images, BATCH, NULL, d, &borrowed, &err) !=
        MD_OK) {
        fail_msg("%s", err.msg);
    }
    memcpy(gradient, borrowed, sizeof gradient);
    projected of = {.data = data, .d = d};
    const gradients_of logits = {
        .trainer = trainer, .value = projection, .context = &of, .n_steps = 4, .title = name};
    const double most = gradients_largest(gradient, BATCH * N_PIXELS);
    assert_true(most > 1e-3);
    for (size_t j = 0; j < BATCH * N_PIXELS; j += 11) {
        const double found = gradients_nearest(&logits, &data->images[j], (double)gradient[j]);
        const double off = fabs(found - (double)gradient[j]);
        worst = fmax(worst, off / most);
        if (off > 2e-3 * most) {
            fail_msg("%s, pixel %zu: %g, differences say %g", name, j, (double)gradient[j],
                     found);
        }
    }
    return worst;
}

static void check_backend(md_backend backend)
{
    static model m;
    static batch data;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(&m, 14);
        finish(&m, cases[i].build(&m));
        fill_batch(&data);
        md_trainer *trainer = open_model(&m, &(md_trainer_options){.backend = backend,
                                                                   .n_threads = 1,
                                                                   .batch = BATCH,
                                                                   .label_smoothing = 0.1F});
        const gradients_of loss = {.trainer = trainer,
                                   .value = loss_of_batch,
                                   .context = &data,
                                   .n_steps = 4,
                                   .n_probes = 16,
                                   .title = cases[i].name};
        const double parameters = gradients_check(&loss);
        const double images = check_images(trainer, &data, cases[i].name);
        printf("# %s, %s: parameters %.1e, image %.1e\n", md_trainer_backend_name(trainer),
               cases[i].name, parameters, images);
        md_trainer_destroy(trainer);
    }
}

static void test_openblas(void **state)
{
    (void)state;
    check_backend(MD_BACKEND_OPENBLAS);
}

#ifdef MEDAID_HAVE_ONEDNN
static void test_onednn(void **state)
{
    (void)state;
    check_backend(MD_BACKEND_ONEDNN);
}

/* Another back end and number of threads sums in another order, and nothing else. */
static void test_backends_agree(void **state)
{
    (void)state;
    static model m;
    static batch data;
    fill_batch(&data);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(&m, 14);
        finish(&m, cases[i].build(&m));
        md_trainer_options options = {
            .backend = MD_BACKEND_OPENBLAS, .n_threads = 1, .batch = BATCH};
        md_trainer *a = open_model(&m, &options);
        options.backend = MD_BACKEND_ONEDNN;
        options.n_threads = 2;
        md_trainer *b = open_model(&m, &options);
        assert_near(loss_of(a, &data), loss_of(b, &data), 1e-5);
        gradients_compare(a, b);
        md_trainer_destroy(a);
        md_trainer_destroy(b);
    }
}
#endif

/* The step function has no derivative: what flows through is said in trainer.h, and is compared
 * exactly. Both forms that the file can have. */
static void check_step(bool where)
{
    static model m;
    static batch data;
    static const float zero = 0.0F, one = 1.0F;
    begin(&m, 14);
    fill_batch(&data);
    (void)builder_tensor(&m.b, "zero", 1, 0, NULL, &zero, sizeof zero);
    (void)builder_tensor(&m.b, "one", 1, 0, NULL, &one, sizeof one);
    (void)node(&m, "Greater", "image zero", "g");
    if (where) {
        (void)node(&m, "Where", "g one zero", "y");
    } else {
        builder_int(&m.b, node(&m, "Cast", "g", "y"), "to", 1);
    }
    finish(&m, N_PIXELS);
    md_trainer *trainer = open_model(
        &m, &(md_trainer_options){.backend = MD_BACKEND_OPENBLAS, .n_threads = 1, .batch = 3});
    const float *w = md_trainer_parameter(trainer, 0)->value, *gradient;
    const float d[BATCH * N_CLASSES] = {0, 1, 0, 0, 1, 0, 0, 1, 0};
    md_error err = {0};
    float logits[BATCH * N_CLASSES];
    assert_int_equal(md_trainer_infer(trainer, data.images, BATCH, NULL, logits, &err), MD_OK);
    double sum = (double)md_trainer_parameter(trainer, 1)->value[1];
    for (size_t i = 0; i < N_PIXELS; i++) {
        sum += data.images[i] > 0.0F ? (double)w[N_PIXELS + i] : 0.0;
    }
    assert_near(logits[1], sum, 1e-4);
    assert_int_equal(
        md_trainer_input_gradient(trainer, data.images, BATCH, NULL, d, &gradient, &err),
        MD_OK);
    for (size_t i = 0; i < BATCH * N_PIXELS; i++) {
        const float wanted = fabsf(data.images[i]) <= 1.0F ? w[N_PIXELS + i % N_PIXELS] : 0.0F;
        assert_near(gradient[i], wanted, 1e-6);
    }
    md_trainer_destroy(trainer);
}

static void test_step_function(void **state)
{
    (void)state;
    check_step(false);
    check_step(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openblas),
#ifdef MEDAID_HAVE_ONEDNN
        cmocka_unit_test(test_onednn),
        cmocka_unit_test(test_backends_agree),
#endif
        cmocka_unit_test(test_step_function),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
