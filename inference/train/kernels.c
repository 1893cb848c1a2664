/* Compiled once for each instruction set (meson.build), with MD_TRAIN_ISA its name and
 * MD_TRAIN_SUFFIX the end of the tables' names. No kernel is compiled with reassociation: what
 * is vectorised runs over channels or elements, so that all variants add in the same order. */

#include "inference/train/kernels_tables.h"

#include "inference/half.h"

#include <math.h>
#include <string.h>

enum {
    NO_INDEX = 255, /* of a window without an element; windows have at most 254 */
    MAX_COVER = MD_TRAIN_MAX_WINDOW,
    BLOCK = 16 /* elements of a vector */
};

/* GNU C's vectors, for loops that the compiler does not vectorise by itself; on a processor
 * with shorter registers they become several. */
typedef float vector_f __attribute__((vector_size(BLOCK * 4)));
typedef int32_t vector_i __attribute__((vector_size(BLOCK * 4)));
typedef uint32_t vector_u __attribute__((vector_size(BLOCK * 4)));
typedef uint16_t vector_half __attribute__((vector_size(BLOCK * 2)));
typedef uint8_t vector_byte __attribute__((vector_size(BLOCK)));

static inline vector_f load_floats(const float *from)
{
    vector_f v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void store_floats(float *to, vector_f v)
{
    memcpy(to, &v, sizeof v);
}

static inline vector_f load_halves(const uint16_t *from)
{
    vector_half v;
    memcpy(&v, from, sizeof v);
    return (vector_f)(__builtin_convertvector(v, vector_u) << 16);
}

/* As md_f32_to_bf16. */
static inline void store_halves(uint16_t *to, vector_f v)
{
    const vector_u bits = (vector_u)v;
    const vector_u rounded = (bits + 0x7fffU + (bits >> 16 & 1U)) >> 16;
    const vector_u nan = (vector_u)(v != v);
    const vector_half half =
        __builtin_convertvector((nan & (bits >> 16 | 0x40U)) | (~nan & rounded), vector_half);
    memcpy(to, &half, sizeof half);
}

static inline vector_i load_bytes(const uint8_t *from)
{
    vector_byte v;
    memcpy(&v, from, sizeof v);
    return __builtin_convertvector(v, vector_i);
}

static inline void store_bytes(uint8_t *to, vector_i v)
{
    const vector_byte bytes = __builtin_convertvector(v, vector_byte);
    memcpy(to, &bytes, sizeof bytes);
}

/* Window elements begin..end of an axis lie in the image, at first + k step. */
typedef struct axis_part {
    int64_t begin, end, first, step;
} axis_part;

typedef struct span {
    axis_part y, x;
    int64_t in_width, kernel_width;
} span;

/* The outputs along an axis whose window holds an input position, and the window element that
 * lies on it. */
typedef struct cover {
    unsigned n;
    int64_t out[MAX_COVER], element[MAX_COVER];
} cover;

static int64_t ceil_div(int64_t a, int64_t b)
{
    return a <= 0 ? -(-a / b) : (a + b - 1) / b;
}

static axis_part axis_span(const md_window *w, unsigned axis, int64_t out)
{
    axis_part part = {.first = out * w->stride[axis] - w->pad_begin[axis],
                      .step = w->dilation[axis]};
    if (part.step == 1) { /* no division in the common case */
        part.begin = part.first < 0 ? -part.first : 0;
        part.end = w->in[axis] - part.first;
    } else {
        part.begin = part.first < 0 ? ceil_div(-part.first, part.step) : 0;
        part.end = ceil_div(w->in[axis] - part.first, part.step);
    }
    part.end = part.end > w->kernel[axis] ? w->kernel[axis] : part.end;
    part.end = part.end < part.begin ? part.begin : part.end;
    return part;
}

static void cover_of(const md_window *w, unsigned axis, int64_t in, cover *ret)
{
    const int64_t at = in + w->pad_begin[axis], stride = w->stride[axis];
    const int64_t dilation = w->dilation[axis], reach = (w->kernel[axis] - 1) * dilation;
    ret->n = 0;
    for (int64_t out = at > reach ? ceil_div(at - reach, stride) : 0;
         out < w->out[axis] && out * stride <= at; out++) {
        const int64_t offset = at - out * stride;
        if (dilation == 1 || offset % dilation == 0) {
            ret->out[ret->n] = out;
            ret->element[ret->n++] = dilation == 1 ? offset : offset / dilation;
        }
    }
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
#define VECTOR_LOAD load_floats
#define VECTOR_STORE store_floats
#define NAME(f) JOIN(JOIN(md_train_f32_, f), MD_TRAIN_SUFFIX)
#include "inference/train/kernels_typed_internal.h"

#define T uint16_t
#define LOAD(x) md_bf16_to_f32(x)
#define STORE(v) md_f32_to_bf16(v)
#define VECTOR_LOAD load_halves
#define VECTOR_STORE store_halves
#define NAME(f) JOIN(JOIN(md_train_bf16_, f), MD_TRAIN_SUFFIX)
#include "inference/train/kernels_typed_internal.h"
