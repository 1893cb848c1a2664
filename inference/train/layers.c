#include "inference/train/layers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static md_map named(const char *name, int64_t c, int64_t h, int64_t w)
{
    md_map map = {.c = c, .h = h, .w = w};
    (void)snprintf(map.name, sizeof map.name, "%s", name);
    return map;
}

const char *md_layers_join(char ret_name[MD_LAYERS_NAME_BYTES], const char *a, const char *b)
{
    (void)snprintf(ret_name, MD_LAYERS_NAME_BYTES, "%s.%s", a, b);
    return ret_name;
}

int64_t md_layers_scaled(const md_layers *layers, int64_t n)
{
    /* exact, so that the numbers in papers stay */
    if (fabs(layers->width - 1.0) < 1e-9) {
        return n;
    }
    const double wanted = (double)n * layers->width;
    int64_t scaled = (int64_t)(wanted + 4.0) / 8 * 8;
    scaled = scaled < 8 ? 8 : scaled;
    return (double)scaled < 0.9 * wanted ? scaled + 8 : scaled;
}

/* An initializer NAME.PART. */
static float *weights(md_layers *layers, const char *name, const char *part, unsigned n_dims,
                      const int64_t *dims)
{
    char full[MD_LAYERS_NAME_BYTES];
    return md_writer_weights(layers->writer, md_layers_join(full, name, part), n_dims, dims);
}

static void fill(float *values, int64_t n, float value)
{
    for (int64_t i = 0; i < n && values != NULL; i++) {
        values[i] = value;
    }
}

static void draw(md_layers *layers, md_start start, float *values, int64_t n, double fan_in,
                 double fan_out)
{
    const unsigned stream = layers->n_drawn++;
    if (values != NULL) {
        md_start_draw(layers->seed, stream, start, fan_in, fan_out, values, (size_t)n);
    }
}

/* Inputs of a node: "x", then NAME.PART for each of up to four parts. */
static void node(md_layers *layers, const char *op, const md_map *x, const char *name,
                 const char *const *parts, unsigned n_parts)
{
    char inputs[5 * (MD_LAYERS_NAME_BYTES + 1)];
    size_t at = (size_t)snprintf(inputs, sizeof inputs, "%s", x->name);
    for (unsigned i = 0; i < n_parts; i++) {
        char full[MD_LAYERS_NAME_BYTES];
        at += (size_t)snprintf(inputs + at, sizeof inputs - at, " %s",
                               md_layers_join(full, name, parts[i]));
    }
    md_writer_node(layers->writer, op, inputs, name);
}

static int64_t window_out(int64_t in, int64_t kernel, int64_t stride, int64_t padding,
                          int64_t dilation)
{
    const int64_t left = in + 2 * padding - dilation * (kernel - 1) - 1;
    return left < 0 ? 0 : left / stride + 1;
}

static void window_attributes(md_layers *layers, int64_t kernel, int64_t stride,
                              int64_t padding)
{
    md_writer *w = layers->writer;
    md_writer_attribute_ints(w, "kernel_shape", (const int64_t[]){kernel, kernel}, 2);
    md_writer_attribute_ints(w, "pads", (const int64_t[]){padding, padding, padding, padding},
                             4);
    md_writer_attribute_ints(w, "strides", (const int64_t[]){stride, stride}, 2);
}

static bool is_map(md_layers *layers, const md_map *x)
{
    if (x->flat) {
        md_writer_fail(layers->writer, MD_INVALID_ARG, "it needs a picture, not a flat vector");
    }
    return !x->flat;
}

/* Whether the window, which was checked to be of a sensible size, gives at least one pixel. */
static bool is_inside(md_layers *layers, const md_map *y)
{
    if (y->h < 1 || y->w < 1) {
        md_writer_fail(layers->writer, MD_INVALID_ARG, "the window is larger than the picture");
    }
    return y->h >= 1 && y->w >= 1;
}

md_map md_layers_conv(md_layers *layers, const md_map *x, const char *name,
                      const md_conv_layer *conv)
{
    const int64_t dilation = conv->dilation == 0 ? 1 : conv->dilation;
    const int64_t stride = conv->stride == 0 ? 1 : conv->stride;
    const int64_t groups = conv->groups == MD_LAYER_DEPTHWISE ? x->c
                           : conv->groups == 0                ? 1
                                                              : conv->groups;
    const int64_t k = conv->kernel == 0 ? 3 : conv->kernel;
    const int64_t padding =
        conv->padding == MD_LAYER_PADDING_SAME ? dilation * (k - 1) / 2 : conv->padding;
    const md_map y = named(name, conv->n, window_out(x->h, k, stride, padding, dilation),
                           window_out(x->w, k, stride, padding, dilation));
    if (!is_map(layers, x) || !is_inside(layers, &y)) {
        return y;
    }
    if (x->c % groups != 0 || conv->n % groups != 0) {
        md_writer_fail(layers->writer, MD_INVALID_ARG,
                       "the channels cannot be divided into so many groups");
        return y;
    }
    const int64_t dims[4] = {conv->n, x->c / groups, k, k};
    const double area = (double)(k * k);
    float *values = weights(layers, name, "weight", 4, dims);
    draw(layers, conv->start, values, dims[0] * dims[1] * k * k, (double)dims[1] * area,
         (double)(conv->n / groups) * area);
    if (conv->bias) {
        (void)weights(layers, name, "bias", 1, &conv->n);
    }
    node(layers, "Conv", x, name, (const char *const[]){"weight", "bias"}, conv->bias ? 2 : 1);
    md_writer_attribute_ints(layers->writer, "dilations", (const int64_t[]){dilation, dilation},
                             2);
    md_writer_attribute_int(layers->writer, "group", groups);
    window_attributes(layers, k, stride, padding);
    return y;
}

md_map md_layers_batch_norm(md_layers *layers, const md_map *x, const char *name, float scale)
{
    static const char *const parts[4] = {"weight", "bias", "running_mean", "running_var"};
    const float start[4] = {scale, 0.0F, 0.0F, 1.0F};
    const md_map y = named(name, x->c, x->h, x->w);
    if (!is_map(layers, x)) {
        return y;
    }
    for (unsigned i = 0; i < 4; i++) {
        fill(weights(layers, name, parts[i], 1, &x->c), x->c, start[i]);
    }
    node(layers, "BatchNormalization", x, name, parts, 4);
    md_writer_attribute_float(layers->writer, "epsilon", 1e-5F);
    return y;
}

/* x > 0 as a number. */
static void step(md_layers *layers, const md_map *x, const char *name)
{
    md_writer *w = layers->writer;
    if (!layers->has_zero) {
        (void)md_writer_weights(w, "zero", 0, NULL);
        layers->has_zero = true;
    }
    char positive[MD_LAYERS_NAME_BYTES], inputs[2 * MD_LAYERS_NAME_BYTES];
    (void)snprintf(inputs, sizeof inputs, "%s zero", x->name);
    md_writer_node(w, "Greater", inputs, md_layers_join(positive, name, "positive"));
    md_writer_node(w, "Cast", positive, name);
    md_writer_attribute_int(w, "to", 1); /* float32 */
}

/* min(max(x, 0), 6) */
static void relu6(md_layers *layers, const md_map *x, const char *name)
{
    static const char *const parts[2] = {"least", "most"};
    (void)weights(layers, name, parts[0], 0, NULL);
    fill(weights(layers, name, parts[1], 0, NULL), 1, 6.0F);
    node(layers, "Clip", x, name, parts, 2);
}

md_map md_layers_activation(md_layers *layers, const md_map *x, const char *name,
                            md_layer_function function)
{
    md_map y = *x;
    (void)snprintf(y.name, sizeof y.name, "%s", name);
    switch (function) {
    case MD_LAYER_FUNCTION_DEFAULT:
    case MD_LAYER_RELU:
        node(layers, "Relu", x, name, NULL, 0);
        break;
    case MD_LAYER_RELU6:
        relu6(layers, x, name);
        break;
    case MD_LAYER_SIGMOID:
        node(layers, "Sigmoid", x, name, NULL, 0);
        break;
    case MD_LAYER_TANH:
        node(layers, "Tanh", x, name, NULL, 0);
        break;
    case MD_LAYER_HARD_SIGMOID:
        node(layers, "HardSigmoid", x, name, NULL, 0);
        md_writer_attribute_float(layers->writer, "alpha", 1.0F / 6.0F);
        md_writer_attribute_float(layers->writer, "beta", 0.5F);
        break;
    case MD_LAYER_HARD_SWISH:
        node(layers, "HardSwish", x, name, NULL, 0);
        break;
    case MD_LAYER_STEP:
        step(layers, x, name);
        break;
    }
    return y;
}

md_map md_layers_pool(md_layers *layers, const md_map *x, const char *name, bool average,
                      int64_t size, int64_t stride, int64_t padding)
{
    const int64_t step_by = stride == 0 ? size : stride;
    const int64_t pad = padding == MD_LAYER_PADDING_SAME ? (size - 1) / 2 : padding;
    const md_map y = named(name, x->c, window_out(x->h, size, step_by, pad, 1),
                           window_out(x->w, size, step_by, pad, 1));
    if (is_map(layers, x) && is_inside(layers, &y)) {
        node(layers, average ? "AveragePool" : "MaxPool", x, name, NULL, 0);
        window_attributes(layers, size, step_by, pad);
    }
    return y;
}

md_map md_layers_flatten(md_layers *layers, const md_map *x, const char *name)
{
    md_map y = named(name, x->c * x->h * x->w, 1, 1);
    y.flat = true;
    node(layers, "Flatten", x, name, NULL, 0);
    md_writer_attribute_int(layers->writer, "axis", 1);
    return y;
}

md_map md_layers_global_average(md_layers *layers, const md_map *x, const char *name)
{
    if (!is_map(layers, x)) {
        return *x;
    }
    char inner[MD_LAYERS_NAME_BYTES];
    const md_map mean = named(md_layers_join(inner, name, "mean"), x->c, 1, 1);
    node(layers, "GlobalAveragePool", x, mean.name, NULL, 0);
    return md_layers_flatten(layers, &mean, name);
}

md_map md_layers_fully_connected(md_layers *layers, const md_map *x, const char *name,
                                 int64_t n, md_start start)
{
    char inner[MD_LAYERS_NAME_BYTES];
    const md_map flat =
        x->flat ? *x : md_layers_flatten(layers, x, md_layers_join(inner, name, "flat"));
    const int64_t dims[2] = {n, flat.c};
    md_map y = named(name, n, 1, 1);
    y.flat = true;
    float *values = weights(layers, name, "weight", 2, dims);
    draw(layers, start, values, n * flat.c, (double)flat.c, (double)n);
    (void)weights(layers, name, "bias", 1, &n);
    node(layers, "Gemm", &flat, name, (const char *const[]){"weight", "bias"}, 2);
    md_writer_attribute_int(layers->writer, "transB", 1);
    return y;
}

md_map md_layers_dropout(md_layers *layers, const md_map *x, const char *name, double rate)
{
    if (rate <= 0.0) {
        return *x;
    }
    md_map y = *x;
    (void)snprintf(y.name, sizeof y.name, "%s", name);
    fill(weights(layers, name, "ratio", 0, NULL), 1, (float)rate);
    node(layers, "Dropout", x, name, (const char *const[]){"ratio"}, 1);
    return y;
}

static void pair(md_layers *layers, const char *op, const char *a, const char *b,
                 const char *name)
{
    char inputs[2 * MD_LAYERS_NAME_BYTES];
    (void)snprintf(inputs, sizeof inputs, "%s %s", a, b);
    md_writer_node(layers->writer, op, inputs, name);
}

md_map md_layers_add(md_layers *layers, const md_map *a, const md_map *b, const char *name)
{
    pair(layers, "Add", a->name, b->name, name);
    return named(name, a->c, a->h, a->w);
}

md_map md_layers_concat(md_layers *layers, const md_map *a, const md_map *b, const char *name)
{
    pair(layers, "Concat", a->name, b->name, name);
    md_writer_attribute_int(layers->writer, "axis", 1);
    return named(name, a->c + b->c, a->h, a->w);
}

md_map md_layers_squeeze_excite(md_layers *layers, const md_map *x, const char *name,
                                int64_t divisor)
{
    if (!is_map(layers, x)) {
        return *x;
    }
    const int64_t inner = x->c / divisor < 1 ? 1 : x->c / divisor;
    const md_conv_layer reduce = {.n = inner, .kernel = 1, .bias = true};
    const md_conv_layer expand = {
        .n = x->c, .kernel = 1, .bias = true, .start = MD_START_GLOROT};
    char part[MD_LAYERS_NAME_BYTES];
    md_map gate = named(md_layers_join(part, name, "mean"), x->c, 1, 1);
    node(layers, "GlobalAveragePool", x, gate.name, NULL, 0);
    gate = md_layers_conv(layers, &gate, md_layers_join(part, name, "reduce"), &reduce);
    gate =
        md_layers_activation(layers, &gate, md_layers_join(part, name, "relu"), MD_LAYER_RELU);
    gate = md_layers_conv(layers, &gate, md_layers_join(part, name, "expand"), &expand);
    gate = md_layers_activation(layers, &gate, md_layers_join(part, name, "gate"),
                                MD_LAYER_SIGMOID);
    pair(layers, "Mul", x->name, gate.name, name);
    return named(name, x->c, x->h, x->w);
}
