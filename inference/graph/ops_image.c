/* Import of padding, resizing and depth rearrangement. */

#include "inference/graph/node_import.h"

#include <math.h>
#include <string.h>

static const char *const pad_modes[] = {"constant", "reflect", "edge", "wrap", NULL};

/* One axis: the new length. */
static md_status pad_axis(md_node_import *b, md_pad_mode mode, int64_t begin, int64_t end,
                          int64_t *length)
{
    const int64_t limit = (int64_t)1 << 31;
    if (begin < -limit || begin > limit || end < -limit || end > limit ||
        *length + begin + end < 0) {
        return md_import_fail(b, MD_FORMAT, "pads %lld and %lld of a length of %lld",
                              (long long)begin, (long long)end, (long long)*length);
    }
    bool grows = begin > 0 || end > 0;
    if (grows && ((mode == MD_PAD_REFLECT && (begin >= *length || end >= *length)) ||
                  ((mode == MD_PAD_EDGE || mode == MD_PAD_WRAP) && *length < 1))) {
        return md_import_fail(b, MD_FORMAT, "pads %lld and %lld reach beyond a length of %lld",
                              (long long)begin, (long long)end, (long long)*length);
    }
    *length += begin + end;
    return MD_OK;
}

/* Pads of all axes, or (opset 18) of those that input 3 lists. */
static md_status pad_axes(md_node_import *b, unsigned rank, size_t n_pads, unsigned *ret_axes,
                          size_t *ret_n)
{
    const int64_t *axes;
    size_t n_axes;
    MD_TRY(md_import_ints(b, 3, &axes, &n_axes));
    if (n_axes > MD_TENSOR_MAX_DIMS || n_pads != 2 * (axes == NULL ? rank : n_axes)) {
        return md_import_fail(b, MD_FORMAT, "%zu pads for %zu axes of %u", n_pads, n_axes,
                              rank);
    }
    *ret_n = axes == NULL ? rank : n_axes;
    for (unsigned i = 0; i < *ret_n; i++) {
        ret_axes[i] = i;
        if (axes != NULL) {
            MD_TRY(md_import_axis(b, axes[i], rank, &ret_axes[i]));
        }
        for (unsigned j = 0; j < i; j++) {
            if (ret_axes[j] == ret_axes[i]) {
                return md_import_fail(b, MD_FORMAT, "axis %u is padded twice", ret_axes[i]);
            }
        }
    }
    return MD_OK;
}

md_status md_import_pad(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    const int64_t *pads;
    size_t n_pads, n_axes = 0;
    unsigned axes[MD_TENSOR_MAX_DIMS];
    float fill = 0.0F;
    double value = 0.0;
    int mode, made;
    if (b->node.opset >= 11) {
        bool present;
        MD_TRY(md_import_ints(b, 1, &pads, &n_pads));
        MD_TRY(md_import_scalar(b, 2, &present, &value));
    } else {
        MD_TRY(md_attribute_ints(b, "pads", &pads, &n_pads));
        MD_TRY(md_attribute_float(b, "value", 0.0F, &fill));
        value = (double)fill;
    }
    MD_TRY(md_attribute_choice(b, "mode", pad_modes, MD_PAD_CONSTANT, &mode));
    if ((mode == MD_PAD_WRAP && b->node.opset < 19) || (b->n_in > 3 && b->node.opset < 18)) {
        return md_import_fail(b, MD_UNSUPPORTED, "mode 'wrap' or axes of a later opset");
    }
    MD_TRY(pad_axes(b, x.n_dims, n_pads, axes, &n_axes));
    for (unsigned i = 0; i < n_axes; i++) {
        MD_TRY(pad_axis(b, (md_pad_mode)mode, pads[i], pads[n_axes + i], &x.dims[axes[i]]));
        b->node.p.pad.begin[axes[i]] = pads[i];
    }
    if (fabs(value) > 0x1p53 && x.dtype != MD_F32 && x.dtype != MD_F64) {
        return md_import_fail(b, MD_UNSUPPORTED, "a value of %g is not kept exactly", value);
    }
    b->node.p.pad.mode = (md_pad_mode)mode;
    b->node.p.pad.value = value;
    return md_import_emit(b, MD_OP_PAD, b->in, 1, 0, x.dtype, x.n_dims, x.dims, &made);
}

static const char *const resize_modes[] = {"nearest", "linear", "cubic", NULL};
static const char *const coordinate_modes[] = {
    "half_pixel",           "pytorch_half_pixel", "align_corners",        "asymmetric",
    "tf_half_pixel_for_nn", "tf_crop_and_resize", "half_pixel_symmetric", NULL};
static const char *const nearest_modes[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                            "ceil", NULL};

static md_status resize_scale(md_node_import *b, int64_t *dims, unsigned i, double scale)
{
    /* the length is cut towards zero, as ONNX defines it */
    double length = floor((double)dims[i] * scale);
    if (!(scale > 0.0) || !(length >= 0.0) || length > (double)MD_TENSOR_MAX_ELEMENTS ||
        dims[i] < 1) {
        return md_import_fail(b, MD_FORMAT, "scale %g of a length of %lld", scale,
                              (long long)dims[i]);
    }
    b->node.p.resize.scale[i] = scale;
    dims[i] = (int64_t)length;
    return MD_OK;
}

static md_status emit_resize(md_node_import *b, const int64_t *dims)
{
    int value;
    for (unsigned i = 0; i < md_import_in(b, 0)->n_dims; i++) {
        if (dims[i] < 1) {
            return md_import_fail(b, MD_FORMAT, "an output without elements");
        }
    }
    return md_import_emit(b, MD_OP_RESIZE, b->in, 1, 0, MD_F32, md_import_in(b, 0)->n_dims,
                          dims, &value);
}

/* A list of floats that is constant. */
static md_status constant_floats(md_node_import *b, unsigned i, unsigned n,
                                 const float **ret_values)
{
    const md_tensor *tensor = md_import_in(b, i);
    *ret_values = NULL;
    if (tensor == NULL || tensor->n_elements == 0) {
        return MD_OK;
    }
    if (!b->graph->values[b->in[i]].constant) {
        return md_import_fail(b, MD_UNSUPPORTED,
                              "input %u is not constant: it decides the shape", i);
    }
    if (tensor->dtype != MD_F32 || tensor->n_dims != 1 || tensor->n_elements != n) {
        return md_import_fail(b, MD_FORMAT, "input %u is not a list of %u float32", i, n);
    }
    *ret_values = tensor->data;
    return MD_OK;
}

/* Which axes the scales, sizes and roi belong to: all, or (opset 18) the attribute `axes`. */
static md_status resize_axes(md_node_import *b, unsigned rank, unsigned *ret_axes,
                             unsigned *ret_n)
{
    const int64_t *axes = NULL;
    size_t n_axes = 0;
    if (b->node.opset >= 18) {
        MD_TRY(md_attribute_ints(b, "axes", &axes, &n_axes));
    }
    if (n_axes > MD_TENSOR_MAX_DIMS) {
        return md_import_fail(b, MD_FORMAT, "%zu axes", n_axes);
    }
    *ret_n = axes == NULL ? rank : (unsigned)n_axes;
    for (unsigned i = 0; i < *ret_n; i++) {
        ret_axes[i] = i;
        if (axes != NULL) {
            MD_TRY(md_import_axis(b, axes[i], rank, &ret_axes[i]));
        }
        for (unsigned j = 0; j < i; j++) {
            if (ret_axes[j] == ret_axes[i]) {
                return md_import_fail(b, MD_FORMAT, "axis %u is named twice", ret_axes[i]);
            }
        }
    }
    return MD_OK;
}

enum {
    KEEP_STRETCH,
    KEEP_NOT_LARGER,
    KEEP_NOT_SMALLER
};

static md_status resize_by_sizes(md_node_import *b, const int64_t *sizes, const unsigned *axes,
                                 unsigned n, int64_t *dims)
{
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
    int policy = KEEP_STRETCH;
    double common = 0.0;
    if (b->node.opset >= 18) {
        MD_TRY(md_attribute_choice(b, "keep_aspect_ratio_policy", policies, 0, &policy));
    }
    for (unsigned i = 0; i < n; i++) {
        if (sizes[i] < 1 || sizes[i] > (int64_t)MD_TENSOR_MAX_ELEMENTS || dims[axes[i]] < 1) {
            return md_import_fail(b, MD_FORMAT, "size %lld of a length of %lld",
                                  (long long)sizes[i], (long long)dims[axes[i]]);
        }
        const double scale = (double)sizes[i] / (double)dims[axes[i]];
        const bool better = policy == KEEP_NOT_LARGER ? scale < common : scale > common;
        common = i == 0 || better ? scale : common;
    }
    for (unsigned i = 0; i < n; i++) {
        const double length = (double)dims[axes[i]];
        if (policy == KEEP_STRETCH) {
            b->node.p.resize.scale[axes[i]] = (double)sizes[i] / length;
            dims[axes[i]] = sizes[i];
        } else { /* a half is rounded up */
            const double kept = floor(common * length + 0.5);
            if (!(kept >= 1.0 && kept <= (double)MD_TENSOR_MAX_ELEMENTS)) {
                return md_import_fail(b, MD_FORMAT, "a length of %g", kept);
            }
            b->node.p.resize.scale[axes[i]] = common;
            dims[axes[i]] = (int64_t)kept;
        }
    }
    return MD_OK;
}

static md_status resize_lengths(md_node_import *b, const unsigned *axes, unsigned n_axes,
                                int64_t *dims)
{
    const int64_t *sizes;
    const float *scales;
    size_t n_sizes;
    MD_TRY(constant_floats(b, 2, n_axes, &scales));
    MD_TRY(md_import_ints(b, 3, &sizes, &n_sizes));
    if ((scales != NULL) == (n_sizes != 0) || (n_sizes != 0 && n_sizes != n_axes)) {
        return md_import_fail(b, MD_FORMAT, "either scales or %u sizes are needed", n_axes);
    }
    for (unsigned i = 0; i < md_import_in(b, 0)->n_dims; i++) {
        b->node.p.resize.scale[i] = 1.0;
    }
    if (scales == NULL) {
        return resize_by_sizes(b, sizes, axes, n_axes, dims);
    }
    for (unsigned i = 0; i < n_axes; i++) {
        MD_TRY(resize_scale(b, dims, axes[i], (double)scales[i]));
    }
    return MD_OK;
}

static md_status resize_roi(md_node_import *b, const unsigned *axes, unsigned n_axes)
{
    md_resize_params *resize = &b->node.p.resize;
    const float *roi;
    for (unsigned i = 0; i < MD_TENSOR_MAX_DIMS; i++) {
        resize->roi_end[i] = 1.0;
    }
    MD_TRY(constant_floats(b, 1, 2 * n_axes, &roi));
    if (roi == NULL) {
        return md_import_fail(b, MD_FORMAT, "no roi");
    }
    for (unsigned i = 0; i < n_axes; i++) {
        resize->roi_start[axes[i]] = (double)roi[i];
        resize->roi_end[axes[i]] = (double)roi[n_axes + i];
    }
    return MD_OK;
}

/* Opset 10 and Upsample: corners aligned to the origin, the element before. */
static md_status import_plain_resize(md_node_import *b, const float *scales)
{
    md_resize_params *resize = &b->node.p.resize;
    md_tensor x = *md_import_in(b, 0);
    int mode;
    MD_TRY(md_attribute_choice(b, "mode", resize_modes, MD_RESIZE_NEAREST, &mode));
    resize->mode = (md_resize_mode)mode;
    resize->coordinate = MD_COORD_ASYMMETRIC;
    resize->nearest = MD_NEAREST_FLOOR;
    if (scales == NULL || mode == MD_RESIZE_CUBIC) {
        return md_import_fail(b, MD_FORMAT, "no scales, or mode 'cubic'");
    }
    for (unsigned i = 0; i < x.n_dims; i++) {
        MD_TRY(resize_scale(b, x.dims, i, (double)scales[i]));
    }
    return emit_resize(b, x.dims);
}

static md_status resize_attributes(md_node_import *b)
{
    md_resize_params *resize = &b->node.p.resize;
    int mode, coordinate, nearest;
    int64_t exclude, antialias = 0;
    MD_TRY(md_attribute_choice(b, "mode", resize_modes, MD_RESIZE_NEAREST, &mode));
    MD_TRY(md_attribute_choice(b, "coordinate_transformation_mode", coordinate_modes,
                               MD_COORD_HALF_PIXEL, &coordinate));
    MD_TRY(md_attribute_choice(b, "nearest_mode", nearest_modes, MD_NEAREST_ROUND_PREFER_FLOOR,
                               &nearest));
    MD_TRY(md_attribute_float(b, "cubic_coeff_a", -0.75F, &resize->cubic_a));
    MD_TRY(md_attribute_float(b, "extrapolation_value", 0.0F, &resize->extrapolation));
    MD_TRY(md_attribute_int(b, "exclude_outside", 0, &exclude));
    if (b->node.opset >= 18) {
        MD_TRY(md_attribute_int(b, "antialias", 0, &antialias));
    }
    if ((coordinate == MD_COORD_HALF_PIXEL_SYMMETRIC && b->node.opset < 19) ||
        (coordinate == MD_COORD_TF_HALF_PIXEL_FOR_NN && b->node.opset >= 13)) {
        return md_import_fail(b, MD_UNSUPPORTED,
                              "attribute 'coordinate_transformation_mode' = '%s' in this opset",
                              coordinate_modes[coordinate]);
    }
    resize->mode = (md_resize_mode)mode;
    resize->coordinate = (md_coordinate)coordinate;
    resize->nearest = (md_nearest)nearest;
    resize->exclude_outside = exclude != 0;
    resize->antialias = antialias != 0 && mode != MD_RESIZE_NEAREST;
    return MD_OK;
}

md_status md_import_resize(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    const float *scales;
    unsigned axes[MD_TENSOR_MAX_DIMS], n_axes = 0;
    if (b->node.opset < 11) {
        MD_TRY(constant_floats(b, 1, x.n_dims, &scales));
        return import_plain_resize(b, scales);
    }
    MD_TRY(resize_attributes(b));
    MD_TRY(resize_axes(b, x.n_dims, axes, &n_axes));
    if (b->node.p.resize.coordinate == MD_COORD_TF_CROP_AND_RESIZE) {
        MD_TRY(resize_roi(b, axes, n_axes));
    }
    MD_TRY(resize_lengths(b, axes, n_axes, x.dims));
    return emit_resize(b, x.dims);
}

md_status md_import_upsample(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    const float *scales;
    if (b->node.opset >= 9) {
        MD_TRY(constant_floats(b, 1, x->n_dims, &scales));
        return import_plain_resize(b, scales);
    }
    const Onnx__AttributeProto *a;
    MD_TRY(md_attribute_find(b, "scales", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS, &a));
    return import_plain_resize(b, a != NULL && a->n_floats == x->n_dims ? a->floats : NULL);
}

md_status md_import_grid_sample(md_node_import *b)
{
    /* opset 16 named the modes otherwise; the first three are theirs */
    static const char *const old_modes[] = {"nearest", "bilinear", "bicubic", NULL};
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    static const char *const paddings[] = {"zeros", "border", "reflection", NULL};
    const md_tensor x = *md_import_in(b, 0), *grid = md_import_in(b, 1);
    int64_t align, dims[MD_TENSOR_MAX_DIMS];
    int mode, padding, value;
    MD_TRY(md_attribute_choice(b, "mode", b->node.opset < 20 ? old_modes : modes,
                               MD_RESIZE_LINEAR, &mode));
    MD_TRY(md_attribute_choice(b, "padding_mode", paddings, MD_SAMPLE_ZEROS, &padding));
    MD_TRY(md_attribute_int(b, "align_corners", 0, &align));
    MD_TRY(md_import_need(b, 1, MD_F32));
    if (x.n_dims < 4 || x.n_dims > 5 || grid->n_dims != x.n_dims ||
        grid->dims[0] != x.dims[0] || grid->dims[x.n_dims - 1] != (int64_t)x.n_dims - 2 ||
        (x.n_dims == 5 && (b->node.opset < 20 || mode == MD_RESIZE_CUBIC)) ||
        x.n_elements == 0) {
        return md_import_fail(b, MD_UNSUPPORTED, "input and grid of %u and %u dimensions",
                              x.n_dims, grid->n_dims);
    }
    b->node.p.grid.mode = (md_resize_mode)mode;
    b->node.p.grid.padding = (md_sample_padding)padding;
    b->node.p.grid.align_corners = align != 0;
    dims[0] = x.dims[0];
    dims[1] = x.dims[1];
    for (unsigned i = 2; i < x.n_dims; i++) {
        dims[i] = grid->dims[i - 1];
    }
    return md_import_emit(b, MD_OP_GRID_SAMPLE, b->in, 2, 0, MD_F32, x.n_dims, dims, &value);
}

/* Up to opset 15 the region is not shifted by half a pixel. */
md_status md_import_roi_align(md_node_import *b)
{
    /* of the maximum, implementations take different things: it is refused */
    static const char *const modes[] = {"avg", NULL};
    static const char *const transforms[] = {"output_half_pixel", "half_pixel", NULL};
    const md_tensor x = *md_import_in(b, 0), *rois = md_import_in(b, 1);
    const md_tensor *batch = md_import_in(b, 2);
    int mode, transform = 0, value;
    int64_t height, width;
    MD_TRY(md_attribute_choice(b, "mode", modes, 0, &mode));
    if (b->node.opset >= 16) {
        MD_TRY(md_attribute_choice(b, "coordinate_transformation_mode", transforms, 1,
                                   &transform));
    }
    MD_TRY(md_attribute_int(b, "output_height", 1, &height));
    MD_TRY(md_attribute_int(b, "output_width", 1, &width));
    MD_TRY(md_attribute_int(b, "sampling_ratio", 0, &b->node.p.roi.sampling_ratio));
    MD_TRY(md_attribute_float(b, "spatial_scale", 1.0F, &b->node.p.roi.scale));
    MD_TRY(md_import_need(b, 1, MD_F32));
    if (x.n_dims != 4 || x.n_elements == 0 || rois->n_dims != 2 || rois->dims[1] != 4 ||
        batch->n_dims != 1 || batch->dims[0] != rois->dims[0] ||
        (batch->dtype != MD_I64 && batch->dtype != MD_I32) || height < 1 || width < 1 ||
        b->node.p.roi.sampling_ratio < 0 || b->node.p.roi.sampling_ratio > 1024) {
        return md_import_fail(b, MD_FORMAT, "input, regions and attributes do not fit");
    }
    b->node.p.roi.half_pixel = transform == 1;
    const int64_t dims[4] = {rois->dims[0], x.dims[1], height, width};
    return md_import_emit(b, MD_OP_ROI_ALIGN, b->in, 3, 0, MD_F32, 4, dims, &value);
}

/* DepthToSpace (variant 0) and SpaceToDepth (1): reshape, transpose, reshape. */
md_status md_import_depth_to_space(md_node_import *b)
{
    static const char *const modes[] = {"DCR", "CRD", NULL};
    /* axes of the six-dimensional view, as the ONNX reference lists them */
    static const unsigned perms[3][6] = {
        {0, 3, 4, 1, 5, 2}, {0, 1, 4, 2, 5, 3}, {0, 3, 5, 1, 2, 4}};
    md_tensor x = *md_import_in(b, 0);
    int64_t s;
    int mode = 0, value;
    bool to_space = b->variant == 0;
    MD_TRY(md_attribute_int(b, "blocksize", 0, &s));
    if (to_space && b->node.opset >= 11) {
        MD_TRY(md_attribute_choice(b, "mode", modes, 0, &mode));
    }
    if (x.n_dims != 4 || s < 1 || s > 1024 || (to_space && x.dims[1] % (s * s) != 0) ||
        (!to_space && (x.dims[2] % s != 0 || x.dims[3] % s != 0))) {
        return md_import_fail(b, MD_FORMAT, "blocks of %lld do not divide the input",
                              (long long)s);
    }
    int64_t n = x.dims[0], c = x.dims[1], h = x.dims[2], w = x.dims[3];
    int64_t split[3][6] = {
        {n, s, s, c / (s * s), h, w}, {n, c / (s * s), s, s, h, w}, {n, c, h / s, s, w / s, s}};
    int64_t out[4] = {n, c / (s * s), h * s, w * s};
    if (!to_space) {
        out[1] = c * s * s;
        out[2] = h / s;
        out[3] = w / s;
    }
    unsigned kind = to_space ? (unsigned)mode : 2;
    int64_t turned[6];
    MD_TRY(md_import_emit(b, MD_OP_COPY, b->in, 1, MD_IMPORT_INNER, x.dtype, 6, split[kind],
                          &value));
    for (unsigned i = 0; i < 6; i++) {
        b->node.p.transpose.perm[i] = perms[kind][i];
        turned[i] = split[kind][perms[kind][i]];
    }
    MD_TRY(md_import_emit(b, MD_OP_TRANSPOSE, &value, 1, MD_IMPORT_INNER, x.dtype, 6, turned,
                          &value));
    memset(&b->node.p, 0, sizeof b->node.p);
    return md_import_emit(b, MD_OP_COPY, &value, 1, 0, x.dtype, 4, out, &value);
}
