#ifndef MEDAID_INFERENCE_TRAIN_AUGMENT_H
#define MEDAID_INFERENCE_TRAIN_AUGMENT_H

/* Pictures changed at random before a network learns from them, so that it learns what does not
 * change: pure functions on planes of floats, 0 black and 1 white, [height, width].
 *
 * Each draws from an md_random of its own, so that a picture depends on (seed, epoch, position)
 * alone, never on threads or on what was drawn for another augmentation. Any thread; a scratch
 * belongs to one thread at a time. */

#include "inference/train/random.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_AUGMENT_MAX_SIDE = 4096,
    MD_STYLE_LEVELS = 256,
    MD_STYLE_BINS = 113, /* of spatial frequency: 0, 1, 2, ... cycles in 224 pixels; the last
                            stands for all above */
};

/* Happens with `probability`; then an amount is drawn from low..high. */
typedef struct md_augment_range {
    float probability, low, high;
} md_augment_range;

/* All zero: nothing happens. "log": the logarithm of the amount is uniform, else the amount. */
typedef struct md_augment_options {
    /* tone, in this order, together as one curve of 256 points with lines between them */
    md_augment_range histogram_swap; /* share of the way to the other film's histogram, 0..1 */
    md_augment_range gamma;          /* exponent, log */
    md_augment_range contrast;       /* factor about `middle` */
    md_augment_range brightness;     /* added */
    float middle;
    /* sharpness */
    md_augment_range spectrum_swap; /* share of the way to the other film's spectrum, 0..1 */
    md_augment_range blur;          /* sigma in pixels */
    /* place, all in one resampling */
    float flip_horizontal, flip_vertical; /* probabilities */
    md_augment_range rotation;            /* degrees, positive is clockwise */
    md_augment_range scale;               /* factor, above 1 magnifies, log */
    md_augment_range aspect;              /* width over height, log */
    md_augment_range shear;               /* degrees */
    md_augment_range shift_x, shift_y;    /* shares of the sides */
    md_augment_range crop; /* shares of the sides: a window of that size at a random place */
    /* after that, on the result */
    md_augment_range jpeg;  /* quality 1..100 of 8x8 DCT quantisation */
    md_augment_range noise; /* sigma, Gaussian */
    md_augment_range
        border;        /* width of each edge that is painted over, share; drawn for each */
    float border_grey; /* probability that the border is some grey instead of black */
    md_augment_range cutout; /* sides of a rectangle that is painted grey, shares */
    unsigned cutout_count;   /* rectangles, each with the probability */
    /* on batches */
    float mixup, mixup_alpha; /* probability of a batch; Beta(alpha, alpha) */
} md_augment_options;

/* What the two swaps need to know of a film. */
typedef struct md_style {
    /* share of the pixels below level i, half of those at i, without the outer tenth */
    float cumulative[MD_STYLE_LEVELS];
    float spectrum[MD_STYLE_BINS]; /* log of the mean amplitude at that radius, smoothed */
} md_style;

typedef struct md_augmenter md_augmenter;

/* For planes of this size. MD_LIMIT for a side not in 8..MD_AUGMENT_MAX_SIDE, MD_INVALID_ARG
 * for an option out of range or an odd width with spectrum_swap, MD_NOMEM. Caller destroys. */
md_status md_augmenter_create(const md_augment_options *options, uint32_t width,
                              uint32_t height, md_augmenter **ret_augmenter, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_augmenter_destroy(md_augmenter *augmenter) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_augmenter, md_augmenter_destroy)

/* True when md_augment_apply needs the style of the film and of another one. */
bool md_augment_needs_styles(const md_augment_options *options) MD_NOEXCEPT;

/* Measure a plane of the augmenter's size. MD_NOMEM. */
md_status md_style_measure(md_augmenter *augmenter, const float *plane, md_style *ret_style,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The changed film [n_planes, out_height, out_width] of `planes` [n_planes, height, width],
 * which stay as they are. `key` names the picture: seed, epoch and position. own and other may
 * be NULL without swaps; of several planes the swaps look at the first. What comes from outside
 * the film is 0. MD_NOMEM, MD_INVALID_ARG for an output side out of range. */
md_status md_augment_apply(md_augmenter *augmenter, const md_random_key *key,
                           const float *planes, uint32_t n_planes, const md_style *own,
                           const md_style *other, uint32_t out_width, uint32_t out_height,
                           float *ret_planes, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The film at another size; at its own it is the film, bit for bit. Errors as
 * md_augment_apply. */
md_status md_augment_resize(md_augmenter *augmenter, const float *planes, uint32_t n_planes,
                            uint32_t out_width, uint32_t out_height, float *ret_planes,
                            md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
