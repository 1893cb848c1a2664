/* Compiled once for each instruction set (meson.build), with MD_TRAIN_ISA its name and
 * MD_TRAIN_SUFFIX the end of the tables' names. No kernel is compiled with reassociation: what
 * is vectorised runs over channels or elements, so that all variants add in the same order. */

#include "inference/train/kernels_tables.h"

#include "inference/half.h"

#include <math.h>
#include <string.h>

enum {
    NO_INDEX = 255 /* of a window without an element; windows have at most 254 */
};

/* Window elements begin..end of an axis lie in the image, at first + k step. */
typedef struct axis_part {
    int64_t begin, end, first, step;
} axis_part;

typedef struct span {
    axis_part y, x;
    int64_t in_width, kernel_width;
} span;

/* Outputs that may see an input position. */
typedef struct axis_outputs {
    int64_t begin, end;
} axis_outputs;

static int64_t ceil_div(int64_t a, int64_t b)
{
    return a <= 0 ? -(-a / b) : (a + b - 1) / b;
}

static axis_part axis_span(const md_window *w, unsigned axis, int64_t out)
{
    axis_part part = {.first = out * w->stride[axis] - w->pad_begin[axis],
                      .step = w->dilation[axis]};
    part.begin = part.first < 0 ? ceil_div(-part.first, part.step) : 0;
    part.end = ceil_div(w->in[axis] - part.first, part.step);
    part.end = part.end > w->kernel[axis] ? w->kernel[axis] : part.end;
    part.end = part.end < part.begin ? part.begin : part.end;
    return part;
}

static axis_outputs outputs_of(const md_window *w, unsigned axis, int64_t in)
{
    const int64_t at = in + w->pad_begin[axis];
    const int64_t reach = (w->kernel[axis] - 1) * w->dilation[axis];
    axis_outputs list = {at > reach ? ceil_div(at - reach, w->stride[axis]) : 0,
                         at / w->stride[axis] + 1};
    list.end = list.end > w->out[axis] ? w->out[axis] : list.end;
    return list;
}

/* Which window element of output `out` lies on input `in`; -1: none. */
static int64_t element_of(const md_window *w, unsigned axis, int64_t in, int64_t out)
{
    const int64_t at = in + w->pad_begin[axis] - out * w->stride[axis];
    if (at < 0 || at % w->dilation[axis] != 0 || at / w->dilation[axis] >= w->kernel[axis]) {
        return -1;
    }
    return at / w->dilation[axis];
}

static int64_t axis_count(const md_window *w, unsigned axis, bool count_pad, int64_t out)
{
    if (!count_pad) {
        const axis_part part = axis_span(w, axis, out);
        return part.end - part.begin;
    }
    /* elements beyond the trailing pad (ceil mode) do not count */
    const int64_t room =
        w->in[axis] + w->pad_end[axis] - out * w->stride[axis] + w->pad_begin[axis];
    const int64_t n = ceil_div(room, w->dilation[axis]);
    return n > w->kernel[axis] ? w->kernel[axis] : n;
}

static float mean_share(const md_window *w, bool count_pad, int64_t oy, int64_t ox)
{
    const int64_t n = axis_count(w, 1, count_pad, oy) * axis_count(w, 2, count_pad, ox);
    return n > 0 ? 1.0F / (float)n : 0.0F;
}

static float sigmoid(float x)
{
    return 1.0F / (1.0F + expf(-x));
}

static float value_of(const md_activation *f, float x)
{
    float v;
    switch ((int)f->function) {
    case MD_UNARY_RELU:
        return x < 0.0F ? 0.0F : x;
    case MD_UNARY_LEAKY_RELU:
        return x < 0.0F ? f->alpha * x : x;
    case MD_UNARY_SIGMOID:
        return sigmoid(x);
    case MD_UNARY_TANH:
        return tanhf(x);
    case MD_UNARY_CLIP:
        v = x < f->alpha ? f->alpha : x;
        return v > f->beta ? f->beta : v;
    case MD_UNARY_HARD_SIGMOID:
        v = f->alpha * x + f->beta;
        v = v < 0.0F ? 0.0F : v;
        return v > 1.0F ? 1.0F : v;
    case MD_UNARY_HARD_SWISH:
        v = x / 6.0F + 0.5F;
        v = v < 0.0F ? 0.0F : v;
        return x * (v > 1.0F ? 1.0F : v);
    case MD_UNARY_SWISH:
        return x * sigmoid(x);
    case MD_UNARY_HEAVISIDE:
        return x != x ? x : x > f->alpha ? 1.0F : 0.0F;
    default:
        return x;
    }
}

/* The derivative; at a corner that of the side PyTorch takes (ReLU: 0 at 0). */
static float slope_of(const md_activation *f, float x)
{
    float v;
    switch ((int)f->function) {
    case MD_UNARY_RELU:
        return x > 0.0F ? 1.0F : 0.0F;
    case MD_UNARY_LEAKY_RELU:
        return x > 0.0F ? 1.0F : f->alpha;
    case MD_UNARY_SIGMOID:
        v = sigmoid(x);
        return v * (1.0F - v);
    case MD_UNARY_TANH:
        v = tanhf(x);
        return 1.0F - v * v;
    case MD_UNARY_CLIP:
        return x > f->alpha && x < f->beta ? 1.0F : 0.0F;
    case MD_UNARY_HARD_SIGMOID:
        v = f->alpha * x + f->beta;
        return v > 0.0F && v < 1.0F ? f->alpha : 0.0F;
    case MD_UNARY_HARD_SWISH:
        return x <= -3.0F ? 0.0F : x < 3.0F ? x / 3.0F + 0.5F : 1.0F;
    case MD_UNARY_SWISH:
        v = sigmoid(x);
        return v * (1.0F + x * (1.0F - v));
    case MD_UNARY_HEAVISIDE: /* straight through, see trainer.h */
        return fabsf(x - f->alpha) <= 1.0F ? 1.0F : 0.0F;
    default:
        return 1.0F;
    }
}

/* 32 well-mixed bits (finaliser of MurmurHash3, Appleby 2011, over a Weyl step). */
static uint32_t hash(uint64_t seed, uint64_t index)
{
    uint64_t h = seed + (index + 1) * 0x9E3779B97F4A7C15ULL;
    h = (h ^ (h >> 33)) * 0xFF51AFD7ED558CCDULL;
    h = (h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53ULL;
    return (uint32_t)((h ^ (h >> 33)) >> 32);
}

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

#define T float
#define LOAD(x) (x)
#define STORE(v) (v)
#define NAME(f) JOIN(JOIN(md_train_f32_, f), MD_TRAIN_SUFFIX)
#include "inference/train/kernels_typed_internal.h"

#define T uint16_t
#define LOAD(x) md_bf16_to_f32(x)
#define STORE(v) md_f32_to_bf16(v)
#define NAME(f) JOIN(JOIN(md_train_bf16_, f), MD_TRAIN_SUFFIX)
#include "inference/train/kernels_typed_internal.h"
