#include "inference/train/layers.h"

#include <stdio.h>
#include <string.h>

/* A network that is being written: the layers so far and the value at their end. */
typedef struct net {
    md_layers *l;
    md_map x;
    double dropout;
    int64_t n_classes;
    md_layer_function function;
} net;

static md_map conv(net *n, const md_map *x, const char *name, md_conv_layer layer)
{
    layer.padding = MD_LAYER_PADDING_SAME;
    return md_layers_conv(n->l, x, name, &layer);
}

/* NAME.conv, NAME.norm and NAME, the activation. */
static md_map conv_norm_act(net *n, const md_map *x, const char *name, md_conv_layer layer,
                            md_layer_function function)
{
    char part[MD_LAYERS_NAME_BYTES];
    md_map y = conv(n, x, md_layers_join(part, name, "conv"), layer);
    y = md_layers_batch_norm(n->l, &y, md_layers_join(part, name, "norm"), 1.0F);
    return md_layers_activation(n->l, &y, name, function);
}

static md_map conv_norm(net *n, const md_map *x, const char *name, md_conv_layer layer,
                        float scale)
{
    char part[MD_LAYERS_NAME_BYTES];
    const md_map y = conv(n, x, md_layers_join(part, name, "conv"), layer);
    return md_layers_batch_norm(n->l, &y, md_layers_join(part, name, "norm"), scale);
}

/* features -> mean -> dropout -> fully connected: what Grad-CAM has its closed form for. */
static void head(net *n, double dropout)
{
    n->x = md_layers_global_average(n->l, &n->x, "pooled");
    n->x = md_layers_dropout(n->l, &n->x, "dropout", n->dropout < 0.0 ? dropout : n->dropout);
    n->x = md_layers_fully_connected(n->l, &n->x, "logits", n->n_classes, MD_START_GLOROT);
}

static md_start start_for(md_layer_function function)
{
    const bool bounded = function == MD_LAYER_SIGMOID || function == MD_LAYER_TANH ||
                         function == MD_LAYER_HARD_SIGMOID || function == MD_LAYER_STEP;
    return bounded ? MD_START_GLOROT : MD_START_HE;
}

/* Four times convolution, activation, pooling; then the head. */
static void classic_cnn(net *n)
{
    static const int64_t widths[4] = {16, 32, 64, 64};
    for (unsigned i = 0; i < 4; i++) {
        char name[16], act[MD_LAYERS_NAME_BYTES], pool[MD_LAYERS_NAME_BYTES];
        (void)snprintf(name, sizeof name, "conv%u", i + 1);
        n->x = conv(n, &n->x, name,
                    (md_conv_layer){.n = md_layers_scaled(n->l, widths[i]),
                                    .bias = true,
                                    .start = start_for(n->function)});
        n->x = md_layers_activation(
            n->l, &n->x, i == 3 ? "features" : md_layers_join(act, name, "act"), n->function);
        if (i < 3) {
            n->x =
                md_layers_pool(n->l, &n->x, md_layers_join(pool, name, "pool"), false, 2, 2, 0);
        }
    }
    head(n, 0.0);
}

/* LeCun, Bottou, Bengio and Haffner 1998, LeNet-5, with means for its trainable subsampling,
 * all maps of S2 connected to C3, and a linear output. */
static void lenet(net *n)
{
    const md_layer_function f =
        n->function == MD_LAYER_FUNCTION_DEFAULT ? MD_LAYER_TANH : n->function;
    static const char *const names[2] = {"c1", "c3"}, *const pools[2] = {"s2", "s4"};
    static const int64_t maps[2] = {6, 16}, units[2] = {120, 84};
    char act[MD_LAYERS_NAME_BYTES];
    for (unsigned i = 0; i < 2; i++) {
        const md_conv_layer layer = {.n = md_layers_scaled(n->l, maps[i]),
                                     .kernel = 5,
                                     .bias = true,
                                     .start = start_for(f)};
        n->x = md_layers_conv(n->l, &n->x, names[i], &layer);
        n->x = md_layers_activation(n->l, &n->x, md_layers_join(act, names[i], "act"), f);
        n->x = md_layers_pool(n->l, &n->x, pools[i], true, 2, 2, 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        const char *name = i == 0 ? "c5" : "f6";
        n->x = md_layers_fully_connected(n->l, &n->x, name, md_layers_scaled(n->l, units[i]),
                                         start_for(f));
        n->x = md_layers_activation(n->l, &n->x, md_layers_join(act, name, "act"), f);
    }
    n->x = md_layers_dropout(n->l, &n->x, "dropout", n->dropout);
    n->x = md_layers_fully_connected(n->l, &n->x, "logits", n->n_classes, MD_START_GLOROT);
}

/* Simonyan and Zisserman 2015, configurations A and D, with batch normalisation and a mean in
 * place of the three fully connected layers: 0 is a pool. */
static void vgg(net *n, const uint16_t *list)
{
    unsigned stage = 1, layer = 1;
    for (; *list != 0 || list[1] != 0; list++) {
        char name[MD_LAYERS_NAME_BYTES];
        if (*list == 0) {
            (void)snprintf(name, sizeof name, "stage%u.pool", stage++);
            n->x = md_layers_pool(n->l, &n->x, name, false, 2, 2, 0);
            layer = 1;
            continue;
        }
        (void)snprintf(name, sizeof name, "stage%u.%u", stage, layer++);
        const bool last = list[1] == 0 && list[2] == 0;
        char part[MD_LAYERS_NAME_BYTES];
        n->x = conv_norm(n, &n->x, name, (md_conv_layer){.n = md_layers_scaled(n->l, *list)},
                         1.0F);
        n->x = md_layers_activation(
            n->l, &n->x, last ? "features" : md_layers_join(part, name, "act"), MD_LAYER_RELU);
    }
    head(n, 0.0);
}

static void vgg11(net *n)
{
    static const uint16_t list[] = {64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0, 0};
    vgg(n, list);
}

static void vgg16(net *n)
{
    static const uint16_t list[] = {64,  64,  0,   128, 128, 0,   256, 256, 256, 0,
                                    512, 512, 512, 0,   512, 512, 512, 0,   0};
    vgg(n, list);
}

/* He et al. 2016, fig. 2; the second normalisation starts at 0, so that each block starts as
 * the identity (Goyal et al. 2017, 5.1). averaged: a mean before the shortcut's convolution
 * does the stride, so that no pixel is left out (He et al. 2019, ResNet-D). */
static void basic_block(net *n, const char *name, int64_t width, int64_t stride, bool averaged,
                        const char *out)
{
    char part[MD_LAYERS_NAME_BYTES];
    md_map y = conv_norm_act(n, &n->x, md_layers_join(part, name, "1"),
                             (md_conv_layer){.n = width, .stride = stride}, MD_LAYER_RELU);
    y = conv_norm(n, &y, md_layers_join(part, name, "2"), (md_conv_layer){.n = width}, 0.0F);
    md_map x = n->x;
    if (stride != 1 || x.c != width) {
        if (averaged && stride != 1) {
            x = md_layers_pool(n->l, &x, md_layers_join(part, name, "pool"), true, stride,
                               stride, 0);
        }
        x = conv_norm(n, &x, md_layers_join(part, name, "shortcut"),
                      (md_conv_layer){.n = width, .kernel = 1, .stride = averaged ? 1 : stride},
                      1.0F);
    }
    if (x.h != y.h || x.w != y.w) {
        md_writer_fail(n->l->writer, MD_INVALID_ARG,
                       "the image's sides have to be divisible by the network's stride");
    }
    y = md_layers_add(n->l, &y, &x, md_layers_join(part, name, "sum"));
    n->x = md_layers_activation(n->l, &y, out, MD_LAYER_RELU);
}

static void resnet_stages(net *n, const int64_t (*stages)[3], unsigned n_stages, bool averaged)
{
    for (unsigned s = 0; s < n_stages; s++) {
        for (unsigned b = 0; b < (unsigned)stages[s][1]; b++) {
            char name[MD_LAYERS_NAME_BYTES];
            (void)snprintf(name, sizeof name, "layer%u.%u", s + 1, b + 1);
            const bool last = s + 1 == n_stages && b + 1 == (unsigned)stages[s][1];
            basic_block(n, name, md_layers_scaled(n->l, stages[s][0]),
                        b == 0 ? stages[s][2] : 1, averaged, last ? "features" : name);
        }
    }
}

static void resnet(net *n, const int64_t stages[4][3])
{
    n->x = conv_norm_act(
        n, &n->x, "stem",
        (md_conv_layer){.n = md_layers_scaled(n->l, 64), .kernel = 7, .stride = 2},
        MD_LAYER_RELU);
    n->x = md_layers_pool(n->l, &n->x, "stem.pool", false, 3, 2, 1);
    resnet_stages(n, stages, 4, false);
    head(n, 0.0);
}

static void resnet18(net *n)
{
    static const int64_t stages[4][3] = {{64, 2, 1}, {128, 2, 2}, {256, 2, 2}, {512, 2, 2}};
    resnet(n, stages);
}

static void resnet34(net *n)
{
    static const int64_t stages[4][3] = {{64, 3, 1}, {128, 4, 2}, {256, 6, 2}, {512, 3, 2}};
    resnet(n, stages);
}

/* Stride 16 at the end: 224x224 pixels give 14x14 features, a finer saliency map. */
static void resnet_small(net *n)
{
    static const int64_t stages[4][3] = {{32, 1, 1}, {48, 2, 2}, {96, 2, 2}, {160, 2, 1}};
    n->x = conv_norm_act(
        n, &n->x, "stem",
        (md_conv_layer){.n = md_layers_scaled(n->l, 32), .kernel = 5, .stride = 2},
        MD_LAYER_RELU);
    n->x = md_layers_pool(n->l, &n->x, "stem.pool", false, 3, 2, 1);
    resnet_stages(n, stages, 4, true);
    head(n, 0.2);
}

static md_map norm_act(net *n, const md_map *x, const char *name)
{
    char part[MD_LAYERS_NAME_BYTES];
    const md_map y = md_layers_batch_norm(n->l, x, md_layers_join(part, name, "norm"), 1.0F);
    return md_layers_activation(n->l, &y, md_layers_join(part, name, "act"), MD_LAYER_RELU);
}

/* Huang et al. 2017, table 1, growth 32, bottleneck 4, compression 1/2. */
static void densenet121(net *n)
{
    static const unsigned blocks[4] = {6, 12, 24, 16};
    const int64_t growth = md_layers_scaled(n->l, 32);
    char name[MD_LAYERS_NAME_BYTES], part[MD_LAYERS_NAME_BYTES];
    n->x = conv_norm_act(n, &n->x, "stem",
                         (md_conv_layer){.n = 2 * growth, .kernel = 7, .stride = 2},
                         MD_LAYER_RELU);
    n->x = md_layers_pool(n->l, &n->x, "stem.pool", false, 3, 2, 1);
    for (unsigned b = 0; b < 4; b++) {
        for (unsigned i = 0; i < blocks[b]; i++) {
            (void)snprintf(name, sizeof name, "block%u.%u.1", b + 1, i + 1);
            md_map y = norm_act(n, &n->x, name);
            y = conv(n, &y, md_layers_join(part, name, "conv"),
                     (md_conv_layer){.n = 4 * growth, .kernel = 1});
            (void)snprintf(name, sizeof name, "block%u.%u.2", b + 1, i + 1);
            y = norm_act(n, &y, name);
            y = conv(n, &y, md_layers_join(part, name, "conv"), (md_conv_layer){.n = growth});
            (void)snprintf(name, sizeof name, "block%u.%u", b + 1, i + 1);
            n->x = md_layers_concat(n->l, &n->x, &y, name);
        }
        if (b < 3) {
            (void)snprintf(name, sizeof name, "transition%u", b + 1);
            const md_map y = norm_act(n, &n->x, name);
            n->x = conv(n, &y, md_layers_join(part, name, "conv"),
                        (md_conv_layer){.n = n->x.c / 2, .kernel = 1});
            n->x = md_layers_pool(n->l, &n->x, name, true, 2, 2, 0);
        }
    }
    n->x = md_layers_batch_norm(n->l, &n->x, "norm", 1.0F);
    n->x = md_layers_activation(n->l, &n->x, "features", MD_LAYER_RELU);
    head(n, 0.0);
}

typedef struct bottleneck {
    int64_t expansion, width, n, stride, kernel;
} bottleneck;

/* Sandler et al. 2018, fig. 4: expand, depthwise, project, with a shortcut where shapes agree.
 */
static void inverted_residuals(net *n, const bottleneck *list, unsigned n_list)
{
    unsigned number = 1;
    for (unsigned s = 0; s < n_list; s++) {
        const int64_t width = md_layers_scaled(n->l, list[s].width);
        for (int64_t i = 0; i < list[s].n; i++) {
            char name[MD_LAYERS_NAME_BYTES], part[MD_LAYERS_NAME_BYTES];
            (void)snprintf(name, sizeof name, "block%u", number++);
            const int64_t stride = i == 0 ? list[s].stride : 1;
            const int64_t inner = n->x.c * list[s].expansion;
            md_map y = n->x;
            if (list[s].expansion != 1) {
                y = conv_norm_act(n, &y, md_layers_join(part, name, "expand"),
                                  (md_conv_layer){.n = inner, .kernel = 1}, MD_LAYER_RELU6);
            }
            y = conv_norm_act(n, &y, md_layers_join(part, name, "depthwise"),
                              (md_conv_layer){.n = inner,
                                              .kernel = list[s].kernel,
                                              .stride = stride,
                                              .groups = MD_LAYER_DEPTHWISE},
                              MD_LAYER_RELU6);
            y = conv_norm(n, &y, md_layers_join(part, name, "project"),
                          (md_conv_layer){.n = width, .kernel = 1}, 1.0F);
            n->x = stride == 1 && n->x.c == width ? md_layers_add(n->l, &n->x, &y, name) : y;
        }
    }
}

/* Sandler et al. 2018, table 2; the last width shrinks with no multiplier below 1 (6.1). */
static void mobilenet_v2(net *n)
{
    static const bottleneck list[] = {{1, 16, 1, 1, 3}, {6, 24, 2, 2, 3}, {6, 32, 3, 2, 3},
                                      {6, 64, 4, 2, 3}, {6, 96, 3, 1, 3}, {6, 160, 3, 2, 3},
                                      {6, 320, 1, 1, 3}};
    n->x = conv_norm_act(n, &n->x, "stem",
                         (md_conv_layer){.n = md_layers_scaled(n->l, 32), .stride = 2},
                         MD_LAYER_RELU6);
    inverted_residuals(n, list, sizeof list / sizeof *list);
    n->x =
        conv_norm(n, &n->x, "last",
                  (md_conv_layer){.n = n->l->width > 1.0 ? md_layers_scaled(n->l, 1280) : 1280,
                                  .kernel = 1},
                  1.0F);
    n->x = md_layers_activation(n->l, &n->x, "features", MD_LAYER_RELU6);
    head(n, 0.2);
}

/* EfficientNet-B0 (Tan and Le 2019, table 1) without squeeze-and-excite, with ReLU6, and stem
 * and last layer of fixed width, as its authors' "lite" version for small devices. */
static void efficientnet_lite0(net *n)
{
    static const bottleneck list[] = {{1, 16, 1, 1, 3}, {6, 24, 2, 2, 3},  {6, 40, 2, 2, 5},
                                      {6, 80, 3, 2, 3}, {6, 112, 3, 1, 5}, {6, 192, 4, 2, 5},
                                      {6, 320, 1, 1, 3}};
    n->x =
        conv_norm_act(n, &n->x, "stem", (md_conv_layer){.n = 32, .stride = 2}, MD_LAYER_RELU6);
    inverted_residuals(n, list, sizeof list / sizeof *list);
    n->x = conv_norm(n, &n->x, "last", (md_conv_layer){.n = 1280, .kernel = 1}, 1.0F);
    n->x = md_layers_activation(n->l, &n->x, "features", MD_LAYER_RELU6);
    head(n, 0.2);
}

static const struct {
    const char *name;
    void (*write)(net *n);
} table[] = {
    {"classic-cnn", classic_cnn},
    {"lenet", lenet},
    {"vgg11", vgg11},
    {"vgg16", vgg16},
    {"resnet-small", resnet_small},
    {"resnet18", resnet18},
    {"resnet34", resnet34},
    {"densenet121", densenet121},
    {"mobilenet-v2", mobilenet_v2},
    {"efficientnet-lite0", efficientnet_lite0},
};

const char *md_architecture_name(unsigned index)
{
    return index < sizeof table / sizeof *table ? table[index].name : NULL;
}

md_status md_named_write(md_layers *layers, const md_architecture *architecture,
                         const md_map *image, md_error *err)
{
    net n = {.l = layers,
             .x = *image,
             .dropout = architecture->dropout,
             .n_classes = architecture->n_classes,
             .function = architecture->function};
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, architecture->name) == 0) {
            table[i].write(&n);
            return md_writer_status(layers->writer, err);
        }
    }
    return md_fail(err, MD_NOT_FOUND, "no network is called '%.64s'", architecture->name);
}
