#include "inference/train/trainer_private.h"

#include <string.h>

/* Layers that go element by element: activations, sums, products, scales, dropout, and the
 * conversion between float and bfloat16. */

typedef struct call {
    const md_train_layer *layer;
    const md_train_kernels *kernels;
    const uint8_t *a, *b; /* operands or gradients */
    uint8_t *y;
    size_t element_bytes, width;
    md_write write;
    const float *s, *t;
    const uint32_t *origins;
    uint64_t seed;
    uint32_t threshold;
    float scale;
} call;

static call start(const md_trainer *t, const md_train_layer *layer)
{
    const md_feature *x = md_train_layer_in(t, layer, 0);
    return (call){.layer = layer,
                  .kernels = md_kernels_of(t, x),
                  .element_bytes = md_feature_element_bytes(x),
                  .width = (size_t)x->c};
}

static size_t n_elements(const md_trainer *t, const md_feature *f)
{
    return md_feature_rows(t, f) * (size_t)f->c;
}

/* Activation functions. */
static void activate(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    const size_t at = begin * c->element_bytes;
    c->kernels->activate(&c->layer->node.p.unary, c->a + at, c->y + at, end - begin);
}

static md_status unary_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c = start(t, layer);
    c.a = md_train_layer_in(t, layer, 0)->data;
    c.y = md_train_layer_out(t, layer)->data;
    md_over_rows(t, n_elements(t, md_train_layer_out(t, layer)), activate, &c);
    return MD_OK;
}

static void activate_back(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    const size_t at = begin * c->element_bytes;
    c->kernels->activate_back(&c->layer->node.p.unary, c->a + at, c->b + at, c->y + at,
                              c->write, end - begin);
}

static md_status unary_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0);
    if (md_wants_gradient(t, x)) {
        call c = start(t, layer);
        c.a = x->data;
        c.b = md_train_layer_out(t, layer)->gradient;
        c.y = x->gradient;
        c.write = md_gradient_write(x);
        md_over_rows(t, n_elements(t, x), activate_back, &c);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_unary = {.name = "activation",
                                                  .needs_inputs = true,
                                                  .forward = unary_forward,
                                                  .backward = unary_backward};

/* y = clamp(a + b) */
static void add(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    const size_t at = begin * c->element_bytes;
    c->kernels->add(c->a + at, c->b + at, c->y + at, end - begin);
    if (c->layer->clamped) {
        c->kernels->clamp(c->y + at, c->y + at, end - begin, &c->layer->clamp);
    }
}

static md_status add_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c = start(t, layer);
    c.a = md_train_layer_in(t, layer, 0)->data;
    c.b = md_train_layer_in(t, layer, 1)->data;
    c.y = md_train_layer_out(t, layer)->data;
    md_over_rows(t, n_elements(t, md_train_layer_out(t, layer)), add, &c);
    return MD_OK;
}

static void mask(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    const size_t at = begin * c->element_bytes;
    c->kernels->mask(c->a + at, c->y + at, end - begin, &c->layer->clamp);
}

void md_mask_gradient(md_trainer *t, md_train_layer *layer)
{
    if (layer->clamped) {
        md_feature *y = md_train_layer_out(t, layer);
        call c = {.layer = layer,
                  .kernels = md_kernels_of(t, y),
                  .element_bytes = md_feature_element_bytes(y),
                  .a = y->data,
                  .y = y->gradient};
        md_over_rows(t, n_elements(t, y), mask, &c);
    }
}

static void copy(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    const size_t at = begin * c->element_bytes;
    c->kernels->copy(c->a + at, c->y + at, c->write, end - begin);
}

static md_status add_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_mask_gradient(t, layer);
    for (unsigned i = 0; i < 2; i++) {
        md_feature *x = md_train_layer_in(t, layer, i);
        if (md_wants_gradient(t, x)) {
            call c = start(t, layer);
            c.a = md_train_layer_out(t, layer)->gradient;
            c.y = x->gradient;
            c.write = md_gradient_write(x);
            md_over_rows(t, n_elements(t, x), copy, &c);
        }
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_add = {
    .name = "sum", .forward = add_forward, .backward = add_backward};

/* y = a b */
static void multiply(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    const size_t at = begin * c->element_bytes;
    c->kernels->multiply(c->a + at, c->b + at, c->y + at, c->write, end - begin);
}

static md_status multiply_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c = start(t, layer);
    c.a = md_train_layer_in(t, layer, 0)->data;
    c.b = md_train_layer_in(t, layer, 1)->data;
    c.y = md_train_layer_out(t, layer)->data;
    c.write = MD_WRITE_SET;
    md_over_rows(t, n_elements(t, md_train_layer_out(t, layer)), multiply, &c);
    return MD_OK;
}

static md_status multiply_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    for (unsigned i = 0; i < 2; i++) {
        md_feature *x = md_train_layer_in(t, layer, i);
        if (md_wants_gradient(t, x)) {
            call c = start(t, layer);
            c.a = md_train_layer_out(t, layer)->gradient;
            c.b = md_train_layer_in(t, layer, 1 - i)->data;
            c.y = x->gradient;
            c.write = md_gradient_write(x);
            md_over_rows(t, n_elements(t, x), multiply, &c);
        }
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_multiply = {.name = "product",
                                                     .needs_inputs = true,
                                                     .forward = multiply_forward,
                                                     .backward = multiply_backward};

/* Squeeze-and-excite: y[n,p,c] = x[n,p,c] s[n,c], s float. Parts are images. */
typedef struct gate_call {
    const md_train_kernels *kernels;
    const uint8_t *x, *dy;
    uint8_t *y;
    const float *s;
    float *ds;
    size_t rows, width, image_bytes;
    md_write write;
    double *sums;  /* [parts][c] */
    float *floats; /* [parts][c] */
} gate_call;

static gate_call gate_start(md_trainer *t, const md_train_layer *layer)
{
    const md_feature *x = md_train_layer_in(t, layer, 0);
    gate_call g = {.kernels = md_kernels_of(t, x),
                   .x = x->data,
                   .s = md_train_layer_in(t, layer, 1)->data,
                   .rows = (size_t)(x->h * x->w),
                   .width = (size_t)x->c};
    g.image_bytes = x->n_per_image * md_feature_element_bytes(x);
    g.sums = t->scratch;
    g.floats = (float *)(g.sums + g.width * md_team_size(t->team));
    return g;
}

static md_status gate_prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    layer->scratch_bytes = md_team_size(t->team) * (size_t)md_train_layer_in(t, layer, 0)->c *
                           (sizeof(double) + sizeof(float));
    return MD_OK;
}

static void gate_images(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const gate_call *g = data;
    for (size_t i = begin; i < end; i++) {
        g->kernels->scale_rows(g->x + i * g->image_bytes, g->s + i * g->width, NULL,
                               g->y + i * g->image_bytes, g->write, g->rows, g->width);
    }
}

static md_status gate_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    gate_call g = gate_start(t, layer);
    g.y = md_train_layer_out(t, layer)->data;
    g.write = MD_WRITE_SET;
    md_over_rows(t, (size_t)t->n, gate_images, &g);
    return MD_OK;
}

static void gate_sums(void *data, size_t begin, size_t end, unsigned part)
{
    const gate_call *g = data;
    double *sums = g->sums + g->width * part;
    for (size_t i = begin; i < end; i++) {
        float *ds = g->ds + i * g->width;
        memset(sums, 0, g->width * sizeof *sums);
        g->kernels->sum_rows(g->x + i * g->image_bytes, g->dy + i * g->image_bytes, g->rows,
                             g->width, sums, g->floats + g->width * part);
        for (size_t c = 0; c < g->width; c++) {
            ds[c] = (float)sums[c] + (g->write == MD_WRITE_ADD ? ds[c] : 0.0F);
        }
    }
}

static md_status gate_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0), *s = md_train_layer_in(t, layer, 1);
    gate_call g = gate_start(t, layer);
    if (md_wants_gradient(t, s)) {
        g.dy = md_train_layer_out(t, layer)->gradient;
        g.ds = s->gradient;
        g.write = md_gradient_write(s);
        md_over_rows(t, (size_t)t->n, gate_sums, &g);
    }
    if (md_wants_gradient(t, x)) {
        g.x = md_train_layer_out(t, layer)->gradient;
        g.y = x->gradient;
        g.write = md_gradient_write(x);
        md_over_rows(t, (size_t)t->n, gate_images, &g);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_gate = {.name = "gate",
                                                 .needs_inputs = true,
                                                 .prepare = gate_prepare,
                                                 .forward = gate_forward,
                                                 .backward = gate_backward};

/* y = x s[c] or x + t[c] with a parameter, or with one number that the file fixes. */
enum {
    SCALE,
    OFFSET
};

static md_status scale_prepare(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    layer->scratch_bytes =
        (md_team_size(t->team) * (sizeof(double) + sizeof(float)) + 2 * sizeof(float)) *
        (size_t)md_train_layer_in(t, layer, 0)->c;
    return MD_OK;
}

static void scale_part(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    const size_t at = begin * c->width * c->element_bytes;
    c->kernels->scale_rows(c->a + at, c->s, c->t, c->y + at, c->write, end - begin, c->width);
}

/* The factors and offsets as arrays; a number is written to the scratch memory. */
static void scale_operands(md_trainer *t, const md_train_layer *layer, call *c)
{
    float *filled = t->scratch;
    c->s = md_train_layer_value(t, layer, SCALE);
    c->t = md_train_layer_value(t, layer, OFFSET);
    if (c->s == NULL && c->t == NULL) {
        for (size_t i = 0; i < c->width; i++) {
            filled[i] = layer->scalar;
        }
        c->s = layer->node.p.binary.function == MD_BINARY_MUL ? filled : NULL;
        c->t = layer->node.p.binary.function == MD_BINARY_MUL ? NULL : filled;
    }
}

static md_status scale_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c = start(t, layer);
    scale_operands(t, layer, &c);
    c.a = md_train_layer_in(t, layer, 0)->data;
    c.y = md_train_layer_out(t, layer)->data;
    c.write = MD_WRITE_SET;
    md_over_rows(t, md_feature_rows(t, md_train_layer_out(t, layer)), scale_part, &c);
    return MD_OK;
}

static md_status scale_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0);
    const void *dy = md_train_layer_out(t, layer)->gradient;
    for (unsigned i = SCALE; i <= OFFSET; i++) {
        if (md_wants_parameter(t, layer, i)) {
            md_sum_over_rows(t, x, dy, i == SCALE ? x->data : NULL,
                             md_parameter_gradient(t, layer, i));
            md_parameter_done(t, layer, i);
        }
    }
    if (md_wants_gradient(t, x)) {
        call c = start(t, layer);
        scale_operands(t, layer, &c);
        c.t = NULL;
        c.a = dy;
        c.y = x->gradient;
        c.write = md_gradient_write(x);
        md_over_rows(t, md_feature_rows(t, x), scale_part, &c);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_scale = {.name = "scale",
                                                  .needs_inputs = true,
                                                  .prepare = scale_prepare,
                                                  .forward = scale_forward,
                                                  .backward = scale_backward};

/* Dropout (Srivastava et al. 2014), scaled in training: y = x / (1 - p) with probability 1 - p,
 * else 0. What is dropped is a function of seed, layer and element, so nothing is stored. */
static void drop(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    const size_t at = begin * c->element_bytes;
    c->kernels->drop(c->a + at, c->y + at, c->write, end - begin, c->seed, begin, c->threshold,
                     c->scale);
}

/* Rows of tokens: what is dropped does not depend on the order of the rows, which the number of
 * threads decides. */
static void drop_tokens(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const call *c = data;
    for (size_t r = begin; r < end; r++) {
        const size_t at = r * c->width * c->element_bytes;
        c->kernels->drop(c->a + at, c->y + at, c->write, c->width, c->seed,
                         c->origins[r] * c->width, c->threshold, c->scale);
    }
}

static void drop_or_copy(md_trainer *t, md_train_layer *layer, call *c)
{
    const md_feature *y = md_train_layer_out(t, layer);
    const double ratio = (double)layer->node.p.dropout.ratio;
    c->seed = (t->seed ^ 0x5851F42D4C957F2DULL) * 0xD1342543DE82EF95ULL + layer->index;
    c->threshold = (uint32_t)(ratio * 4294967296.0);
    c->scale = (float)(1.0 / (1.0 - ratio));
    if (t->training && y->tokens) {
        c->origins = t->texts.origins;
        md_over_rows(t, t->texts.n_rows, drop_tokens, c);
        return;
    }
    md_over_rows(t, n_elements(t, y), t->training ? drop : copy, c);
}

static md_status dropout_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    call c = start(t, layer);
    c.a = md_train_layer_in(t, layer, 0)->data;
    c.y = md_train_layer_out(t, layer)->data;
    c.write = MD_WRITE_SET;
    drop_or_copy(t, layer, &c);
    return MD_OK;
}

static md_status dropout_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0);
    if (md_wants_gradient(t, x)) {
        call c = start(t, layer);
        c.a = md_train_layer_out(t, layer)->gradient;
        c.y = x->gradient;
        c.write = md_gradient_write(x);
        drop_or_copy(t, layer, &c);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_dropout = {
    .name = "dropout", .forward = dropout_forward, .backward = dropout_backward};

/* Between float and bfloat16. */
typedef struct convert_call {
    const md_train_kernels *kernels; /* of bfloat16 */
    const void *x;
    void *y;
    md_write write;
} convert_call;

static void to_bf16(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const convert_call *c = data;
    c->kernels->narrow((const float *)c->x + begin, (uint16_t *)c->y + begin, c->write,
                       end - begin);
}

static void to_float(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const convert_call *c = data;
    c->kernels->widen((const uint16_t *)c->x + begin, (float *)c->y + begin, c->write,
                      end - begin);
}

static md_status convert_forward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    const md_feature *y = md_train_layer_out(t, layer);
    convert_call c = {t->kernels[1], md_train_layer_in(t, layer, 0)->data, y->data,
                      MD_WRITE_SET};
    md_over_rows(t, n_elements(t, y), y->bf16 ? to_bf16 : to_float, &c);
    return MD_OK;
}

static md_status convert_backward(md_trainer *t, md_train_layer *layer, md_error *err)
{
    (void)err;
    md_feature *x = md_train_layer_in(t, layer, 0);
    if (md_wants_gradient(t, x)) {
        convert_call c = {t->kernels[1], md_train_layer_out(t, layer)->gradient, x->gradient,
                          md_gradient_write(x)};
        md_over_rows(t, n_elements(t, x), x->bf16 ? to_bf16 : to_float, &c);
    }
    return MD_OK;
}

const md_train_layer_kind md_train_layer_convert = {
    .name = "conversion", .forward = convert_forward, .backward = convert_backward};
