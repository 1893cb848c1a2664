#ifndef MEDAID_INFERENCE_PREPROCESS_H
#define MEDAID_INFERENCE_PREPROCESS_H

/* A raster becomes the network's input: crop, resize, channels, scale. A pure function; any
 * thread. */

#include "base/raster.h"
#include "base/steps.h"
#include "inference/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum md_fit {
    MD_FIT_STRETCH,
    MD_FIT_LETTERBOX
} md_fit;
typedef enum md_filter {
    MD_FILTER_TRIANGLE,
    MD_FILTER_AREA
} md_filter;

typedef enum md_binarise {
    MD_BINARISE_NONE,
    MD_BINARISE_FIXED,
    MD_BINARISE_OTSU
} md_binarise;

typedef struct md_preprocess_options {
    bool greyscale;    /* colour becomes grey first */
    bool crop_borders; /* then black collimation borders are cut */
    md_fit fit;        /* letterbox keeps the physical aspect ratio (pixel size in mm) */
    md_filter filter;
    uint32_t width, height; /* of the tensor */
    uint32_t n_channels;    /* 1 or 3; grey is repeated, colour to 1 is an error */
    md_binarise binarise;   /* of the resized picture, which must be grey */
    float binarise_threshold;
    float mean[3], std[3]; /* x = (x - mean) / std, std > 0 */
} md_preprocess_options;

/* The rectangle of the raster, in its pixels, that the whole tensor stands for; it may reach
 * beyond the raster when letterboxed. */
typedef struct md_placement {
    double x, y, width, height;
} md_placement;

/* Greyscale: 0.299 red + 0.587 green + 0.114 blue (Rec. ITU-R BT.601).
 *
 * Cropping (crop_borders): with m and M the least and largest value of the picture, a pixel is
 * black when no channel is above m + 0.04 (M - m); a row or column is black when at least 98 of
 * 100 of its pixels are. Black rows are cut at the top and bottom, then black columns, counted
 * over the rows that remain, at the left and right. Nothing is cut when less than a quarter of
 * the rows or of the columns would remain.
 *
 * Placement: stretch maps the (cropped) picture to the whole tensor. Letterbox maps its longer
 * side in mm, relative to the tensor's, to the whole tensor and centres the other; pixels of
 * the tensor are square in mm. Outside the picture the value is 0 before mean and std.
 *
 * Resize filters, per axis, for a placement [o, o + e) of an axis with n target pixels, s = e /
 * n: triangle: weights max(0, 1 - |p + 0.5 - c| / max(s, 1)) around c = o + (i + 0.5) s,
 *             normalised to sum 1 over the source pixels p of the (cropped) picture:
 *             anti-aliased when shrinking, bilinear when growing. A target whose c is outside
 *             the picture has no weights.
 *   area:     the share of source pixel p that [o + i s, o + (i + 1) s) covers, over s. Exact
 *             means when shrinking, nearest when growing by whole numbers.
 * A raster with a shift has its pixel p at p + 0.5 - shift instead of p + 0.5.
 *
 * Binarisation, before mean and std: 1 where the value is at least the threshold, else 0.
 * Fixed: binarise_threshold. Otsu (Otsu 1979): the range of the resized values, the padding of
 * a letterbox too, in 256 equal classes; the threshold is the upper edge of the class that
 * maximises the variance between those up to it and those above, the first of several. A
 * picture of one value becomes 0.
 *
 * Both axes are independent; sums are float32, so two correct programs differ by about 1e-6 of
 * the largest value. ret_tensor is [1, n_channels, height, width] float32; caller finishes.
 * MD_INVALID_ARG for options out of range or a pixel size not in 1e-6..1e6 mm. */
md_status md_preprocess(const md_raster *raster, const md_preprocess_options *options,
                        md_tensor *ret_tensor, md_placement *ret_placement, md_steps *steps,
                        md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* md_preprocess in two halves, for training, which changes pictures in between. First
 * everything up to the resized values, [1, channels of the raster (1 when greyscale), height,
 * width]. Errors as md_preprocess; caller finishes. */
md_status md_preprocess_resize(const md_raster *raster, const md_preprocess_options *options,
                               md_tensor *ret_tensor, md_placement *ret_placement,
                               md_steps *steps, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Then binarise, repeat grey, mean and std: `planes` [n_planes, n] of n pixels each to
 * ret_values [options->n_channels, n]. n_planes is 1 or as many as n_channels; `planes` may be
 * the start of ret_values. Binarising needs n_planes 1. */
void md_preprocess_finish(const float *planes, uint32_t n_planes, size_t n,
                          const md_preprocess_options *options, float *ret_values) MD_NOEXCEPT;

/* What the quality gate looks at, for a grey raster of display values. */
typedef struct md_quality {
    double contrast;  /* 95th minus 5th percentile */
    double low, high; /* these percentiles */
    double aspect;    /* longer side over shorter side in mm, >= 1 */
    double border_brightness,
        centre_brightness; /* medians of the outer 5% frame and the inner half */
    bool looks_inverted;   /* see preprocess_quality.c: a chest film has dark air outside and in
                              the lungs,   a bright mediastinum */
} md_quality;
md_status md_quality_measure(const md_raster *raster, md_quality *ret_quality, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
