#ifndef MEDAID_INFERENCE_TRAIN_AUGMENT_INTERNAL_H
#define MEDAID_INFERENCE_TRAIN_AUGMENT_INTERNAL_H

/* The single steps of augmentation, each deterministic: what is drawn is drawn in augment.c.
 * Planes are [height, width]. Any thread. */

#include "inference/train/augment.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tone, style.c */

/* curve[i] is the new value of the grey i / 255; a value between two is on the line between. */
void md_tone_apply(const float curve[MD_STYLE_LEVELS], const float *from, size_t n, float *to)
    MD_NOEXCEPT;
/* The curve that gives a film of the style `own` the histogram of `other`: the grey of equal
 * share below it. */
void md_tone_of_styles(const md_style *own, const md_style *other,
                       float ret_curve[MD_STYLE_LEVELS]) MD_NOEXCEPT;

/* ---- frequencies, style.c */

typedef struct md_spectrum md_spectrum; /* tables and scratch for one size */

/* The width is even. MD_NOMEM. Caller destroys. */
md_status md_spectrum_create(uint32_t width, uint32_t height, md_spectrum **ret_spectrum,
                             md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_spectrum_destroy(md_spectrum *spectrum) MD_NOEXCEPT;
/* Log mean amplitude by radius, as md_style says. */
void md_spectrum_measure(md_spectrum *spectrum, const float *plane, float ret[MD_STYLE_BINS])
    MD_NOEXCEPT;
/* In place: each frequency times exp(clamp(strength (other - own), -1.5, 1.5)); those below 4
 * cycles along the shorter side, the overall shading, stay. Values are clamped to 0..1. */
void md_spectrum_swap(md_spectrum *spectrum, const float own[MD_STYLE_BINS],
                      const float other[MD_STYLE_BINS], float strength, float *plane)
    MD_NOEXCEPT;

/* ---- place, resample.c */

/* Source pixel coordinates (x, y), counted from the upper left corner of the film, of the
 * centre of output pixel (i, j): x = xx (i + 0.5) + xy (j + 0.5) + x0, y likewise. */
typedef struct md_affine {
    double xx, xy, x0, yx, yy, y0;
} md_affine;

/* to [out_height, out_width] from a plane. Weights max(0, 1 - |p + 0.5 - x| / r) along each
 * axis with r = max(1, length of the step of one output pixel along that axis), normalised over
 * the pixels of the film: bilinear when magnifying, anti-aliased when shrinking, and equal to
 * md_preprocess' triangle filter without rotation. Outside the film 0. */
void md_resample(const float *plane, uint32_t width, uint32_t height, const md_affine *affine,
                 uint32_t out_width, uint32_t out_height, float *to) MD_NOEXCEPT;

/* ---- the rest, augment_filter.c */

enum {
    MD_BLUR_MAX_RADIUS = 64
};
/* Gaussian of that sigma in pixels, cut at 3 sigma; edges are repeated. In place; scratch has
 * the plane's size. */
void md_blur(float *plane, uint32_t width, uint32_t height, float sigma, float *scratch)
    MD_NOEXCEPT;
/* What a JPEG of quality 1..100 (scaling of the tables as by the Independent JPEG Group, the
 * luminance table of ITU-T T.81 K.1) does to grey values: 8x8 blocks are quantised; blocks at
 * the edges repeat the last pixels. In place, clamped to 0..1. */
void md_quantise_dct(float *plane, uint32_t width, uint32_t height, float quality) MD_NOEXCEPT;
/* Fill columns x0..x1 of rows y0..y1 (ends excluded, cut to the plane). */
void md_paint(float *plane, uint32_t width, uint32_t height, double x0, double x1, double y0,
              double y1, float value) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
