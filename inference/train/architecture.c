#include "inference/train/layers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const kinds[] = {
    [MD_LAYER_CONV] = "conv",
    [MD_LAYER_BATCH_NORM] = "batch_norm",
    [MD_LAYER_ACTIVATION] = "activation",
    [MD_LAYER_MAX_POOL] = "max_pool",
    [MD_LAYER_AVERAGE_POOL] = "average_pool",
    [MD_LAYER_GLOBAL_AVERAGE_POOL] = "global_average_pool",
    [MD_LAYER_FLATTEN] = "flatten",
    [MD_LAYER_FULLY_CONNECTED] = "fully_connected",
    [MD_LAYER_DROPOUT] = "dropout",
    [MD_LAYER_RESIDUAL] = "residual",
    [MD_LAYER_DENSE] = "dense",
    [MD_LAYER_SQUEEZE_EXCITE] = "squeeze_excite",
};

typedef struct list_writer {
    md_layers layers;
    const md_architecture *architecture;
    const md_layer *features; /* the layer whose map is to be called so */
    unsigned n_layers;        /* so far */
    md_error *err;
} list_writer;

static md_status layer_fail(list_writer *w, const md_layer *layer, md_status status,
                            const char *message)
{
    char where[96];
    const unsigned kind = (unsigned)layer->kind;
    const char *name = kind < sizeof kinds / sizeof *kinds ? kinds[kind] : "?";
    if (layer->line != 0) {
        (void)snprintf(where, sizeof where, "line %u, layer %u (%s)", layer->line, w->n_layers,
                       name);
    } else {
        (void)snprintf(where, sizeof where, "layer %u (%s)", w->n_layers, name);
    }
    return md_fail(w->err, status, "%s: %s", where, message);
}

static bool in_range(int64_t value, int64_t least, int64_t most)
{
    return value >= least && value <= most;
}

/* What is wrong with the layer's numbers, NULL: nothing. */
static const char *check_numbers(const md_layer *a)
{
    const bool has_padding = a->padding == MD_LAYER_PADDING_SAME ||
                             in_range(a->padding, 0, MD_ARCHITECTURE_MAX_SIZE);
    switch (a->kind) {
    case MD_LAYER_CONV:
        if (!in_range(a->n, 1, MD_ARCHITECTURE_MAX_CHANNELS)) {
            return "the number of channels is not in 1..65536";
        }
        if (!in_range(a->kernel, 0, 255) || !in_range(a->stride, 0, 255) ||
            !in_range(a->dilation, 0, 255)) {
            return "kernel, stride and dilation are at most 255";
        }
        if (!has_padding) {
            return "the padding is not in 0..4096";
        }
        return in_range(a->groups, -1, MD_ARCHITECTURE_MAX_CHANNELS)
                   ? NULL
                   : "the number of groups is not in 1..65536";
    case MD_LAYER_MAX_POOL:
    case MD_LAYER_AVERAGE_POOL:
        if (!in_range(a->n, 1, 255) || !in_range(a->stride, 0, 255)) {
            return "window and stride are not in 1..255";
        }
        /* a window outside the picture would have no maximum */
        return has_padding && a->padding < a->n ? NULL : "the padding is not below the window";
    case MD_LAYER_FULLY_CONNECTED:
        return in_range(a->n, 0, MD_ARCHITECTURE_MAX_CHANNELS)
                   ? NULL
                   : "the number of units is not in 1..65536";
    case MD_LAYER_DROPOUT:
        return a->rate >= 0.0 && a->rate < 1.0 ? NULL : "the rate is not in 0..1, 1 left out";
    case MD_LAYER_RESIDUAL:
    case MD_LAYER_DENSE:
        return a->n_children > 0 ? NULL : "no layers in it";
    case MD_LAYER_SQUEEZE_EXCITE:
        return in_range(a->n, 0, MD_ARCHITECTURE_MAX_CHANNELS)
                   ? NULL
                   : "the divisor is not in 1..65536";
    case MD_LAYER_BATCH_NORM:
    case MD_LAYER_ACTIVATION:
    case MD_LAYER_GLOBAL_AVERAGE_POOL:
    case MD_LAYER_FLATTEN:
        return NULL;
    }
    return "no such kind of layer";
}

/* How the weights of a layer start is decided by the activation behind it. */
static md_start start_before(const md_layer *list, unsigned n, unsigned at)
{
    for (unsigned i = at + 1; i < n; i++) {
        const md_layer_function f = list[i].function;
        if (list[i].kind == MD_LAYER_ACTIVATION) {
            return f == MD_LAYER_SIGMOID || f == MD_LAYER_TANH || f == MD_LAYER_HARD_SIGMOID ||
                           f == MD_LAYER_STEP
                       ? MD_START_GLOROT
                       : MD_START_HE;
        }
        if (list[i].kind == MD_LAYER_CONV || list[i].kind == MD_LAYER_FULLY_CONNECTED) {
            break;
        }
    }
    return MD_START_HE;
}

static md_status write_list(list_writer *w, const md_layer *list, unsigned n,
                            const char *prefix, unsigned depth, md_map *x);

/* x + children(x), or the channels of both. */
static md_status write_branch(list_writer *w, const md_layer *layer, const char *name,
                              unsigned depth, md_map *x)
{
    md_layers *l = &w->layers;
    char part[MD_LAYERS_NAME_BYTES];
    const unsigned number = w->n_layers;
    md_map y = *x, direct = *x;
    if (depth == MD_ARCHITECTURE_MAX_DEPTH) {
        return layer_fail(w, layer, MD_LIMIT, "blocks nested deeper than 8");
    }
    MD_TRY(write_list(w, layer->children, layer->n_children, name, depth + 1, &y));
    w->n_layers = number > w->n_layers ? number : w->n_layers;
    if (y.flat || direct.flat) {
        return layer_fail(w, layer, MD_INVALID_ARG,
                          "a block works on pictures, not on flat vectors");
    }
    if (layer->kind == MD_LAYER_DENSE) {
        if (y.h != direct.h || y.w != direct.w) {
            return layer_fail(w, layer, MD_INVALID_ARG,
                              "the layers in it change the picture's size");
        }
        *x = md_layers_concat(l, &direct, &y, layer == w->features ? "features" : name);
        return MD_OK;
    }
    if (y.c != direct.c || y.h != direct.h || y.w != direct.w) {
        /* a projection (He et al. 2016, option B) */
        const int64_t stride = (direct.h + y.h - 1) / y.h;
        const md_conv_layer projection = {.n = y.c, .kernel = 1, .stride = stride};
        direct =
            md_layers_conv(l, &direct, md_layers_join(part, name, "shortcut"), &projection);
        direct =
            md_layers_batch_norm(l, &direct, md_layers_join(part, name, "shortcut.norm"), 1.0F);
        if (y.h != direct.h || y.w != direct.w) {
            return layer_fail(w, layer, MD_INVALID_ARG,
                              "no stride of a 1x1 shortcut gives the size that the layers in "
                              "it make");
        }
    }
    *x = md_layers_add(l, &y, &direct, layer == w->features ? "features" : name);
    return MD_OK;
}

static int64_t scaled(const list_writer *w, int64_t n)
{
    return md_layers_scaled(&w->layers, n);
}

static md_status write_layer(list_writer *w, const md_layer *layer, md_start start,
                             bool is_last, const char *path, unsigned depth, md_map *x)
{
    md_layers *l = &w->layers;
    const char *name = layer == w->features ? "features" : is_last ? "logits" : path;
    switch (layer->kind) {
    case MD_LAYER_CONV: {
        const md_conv_layer conv = {.n = scaled(w, layer->n),
                                    .kernel = layer->kernel,
                                    .stride = layer->stride,
                                    .padding = layer->padding,
                                    .dilation = layer->dilation,
                                    .groups = layer->groups,
                                    .bias = layer->bias,
                                    .start = start};
        *x = md_layers_conv(l, x, name, &conv);
        break;
    }
    case MD_LAYER_BATCH_NORM:
        *x = md_layers_batch_norm(l, x, name, 1.0F);
        break;
    case MD_LAYER_ACTIVATION:
        *x = md_layers_activation(l, x, name, layer->function);
        break;
    case MD_LAYER_MAX_POOL:
    case MD_LAYER_AVERAGE_POOL:
        *x = md_layers_pool(l, x, name, layer->kind == MD_LAYER_AVERAGE_POOL, layer->n,
                            layer->stride, layer->padding);
        break;
    case MD_LAYER_GLOBAL_AVERAGE_POOL:
        *x = md_layers_global_average(l, x, name);
        break;
    case MD_LAYER_FLATTEN:
        if (!x->flat) {
            *x = md_layers_flatten(l, x, name);
        }
        break;
    case MD_LAYER_FULLY_CONNECTED:
        *x = md_layers_fully_connected(
            l, x, name, is_last ? w->architecture->n_classes : scaled(w, layer->n),
            is_last ? MD_START_GLOROT : start);
        break;
    case MD_LAYER_DROPOUT:
        *x = md_layers_dropout(l, x, name, layer->rate);
        break;
    case MD_LAYER_RESIDUAL:
    case MD_LAYER_DENSE:
        return write_branch(w, layer, path, depth, x);
    case MD_LAYER_SQUEEZE_EXCITE:
        *x = md_layers_squeeze_excite(l, x, name, layer->n == 0 ? 4 : layer->n);
        break;
    }
    return MD_OK;
}

static md_status write_list(list_writer *w, const md_layer *list, unsigned n,
                            const char *prefix, unsigned depth, md_map *x)
{
    for (unsigned i = 0; i < n; i++) {
        const md_layer *layer = &list[i];
        char path[MD_LAYERS_NAME_BYTES];
        if (++w->n_layers > MD_ARCHITECTURE_MAX_LAYERS) {
            return md_fail(w->err, MD_LIMIT, "more than %d layers", MD_ARCHITECTURE_MAX_LAYERS);
        }
        const unsigned number = w->n_layers;
        const char *problem = check_numbers(layer);
        if (problem != NULL) {
            return layer_fail(w, layer, MD_INVALID_ARG, problem);
        }
        const bool is_last = depth == 0 && i + 1 == n;
        if (layer->kind == MD_LAYER_FULLY_CONNECTED && layer->n == 0 && !is_last) {
            return layer_fail(w, layer, MD_INVALID_ARG, "0 units");
        }
        (void)snprintf(path, sizeof path, "%s%s%u", prefix, depth == 0 ? "layer" : ".", i + 1);
        MD_TRY(write_layer(w, layer, start_before(list, n, i), is_last, path, depth, x));
        md_error inner = {0};
        const md_status status = md_writer_status(w->layers.writer, &inner);
        if (status != MD_OK) {
            const unsigned last = w->n_layers;
            w->n_layers = number;
            (void)layer_fail(w, layer, status, inner.msg);
            w->n_layers = last;
            return status;
        }
    }
    return MD_OK;
}

/* The layer before the pool of a linear head, which Grad-CAM wants to know by name. */
static const md_layer *find_features(const md_architecture *a)
{
    unsigned i = a->n_layers - 1; /* the last, fully connected */
    while (i > 0 && (a->layers[i - 1].kind == MD_LAYER_DROPOUT ||
                     a->layers[i - 1].kind == MD_LAYER_FLATTEN)) {
        i--;
    }
    if (i < 2 || a->layers[i - 1].kind != MD_LAYER_GLOBAL_AVERAGE_POOL) {
        return NULL;
    }
    for (i -= 1; i > 0; i--) {
        /* dropout that drops nothing writes no layer that could have the name */
        if (a->layers[i - 1].kind != MD_LAYER_DROPOUT || a->layers[i - 1].rate > 0.0) {
            return &a->layers[i - 1];
        }
    }
    return NULL;
}

static md_status write_layers(list_writer *w, const md_map *image)
{
    const md_architecture *a = w->architecture;
    const md_layer *last = a->n_layers == 0 ? NULL : &a->layers[a->n_layers - 1];
    if (last == NULL || last->kind != MD_LAYER_FULLY_CONNECTED ||
        (last->n != 0 && last->n != a->n_classes)) {
        return md_fail(w->err, MD_INVALID_ARG,
                       "the last layer has to be fully_connected with %lld units, one for each "
                       "class",
                       (long long)a->n_classes);
    }
    w->features = find_features(a);
    md_map x = *image;
    return write_list(w, a->layers, a->n_layers, "", 0, &x);
}

md_status md_architecture_write(const md_architecture *architecture, uint8_t **ret_onnx,
                                size_t *ret_size, md_error *err)
{
    const md_architecture *a = architecture;
    if (!in_range(a->n_channels, 1, MD_ARCHITECTURE_MAX_SIZE) ||
        !in_range(a->image_height, 1, MD_ARCHITECTURE_MAX_SIZE) ||
        !in_range(a->image_width, 1, MD_ARCHITECTURE_MAX_SIZE) ||
        !in_range(a->n_classes, 1, MD_ARCHITECTURE_MAX_SIZE)) {
        return md_fail(
            err, MD_INVALID_ARG,
            "an image of %lld channels, %lld rows and %lld columns and %lld classes: "
            "each has to be in 1..%d",
            (long long)a->n_channels, (long long)a->image_height, (long long)a->image_width,
            (long long)a->n_classes, MD_ARCHITECTURE_MAX_SIZE);
    }
    const double width = a->width == 0.0 ? 1.0 : a->width;
    if (!(width >= 1.0 / 64.0 && width <= 64.0) || isnan(a->dropout) || a->dropout >= 1.0) {
        return md_fail(err, MD_INVALID_ARG,
                       "width %g is not in 1/64..64 or dropout %g not "
                       "below 1",
                       a->width, a->dropout);
    }
    MD_AUTO(md_writer_destroyp) md_writer *writer = NULL;
    MD_TRY(md_writer_create(a->name != NULL ? a->name : "network", &writer, err));
    list_writer w = {.layers = {.writer = writer, .seed = a->seed, .width = width},
                     .architecture = a,
                     .err = err};
    const md_map image = {"image", a->n_channels, a->image_height, a->image_width, false};
    md_writer_input(writer, image.name, 4, (const int64_t[]){-1, image.c, image.h, image.w});
    MD_TRY(a->name != NULL ? md_named_write(&w.layers, a, &image, err)
                           : write_layers(&w, &image));
    md_writer_output(writer, "logits", 2, (const int64_t[]){-1, a->n_classes});
    return md_writer_finish(writer, ret_onnx, ret_size, err);
}
