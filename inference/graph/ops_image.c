/* Import of padding, resizing and depth rearrangement. */

#include "inference/graph/node_import.h"

#include <math.h>
#include <string.h>

static const char *const pad_modes[] = {"constant", "reflect", "edge", NULL};

md_status md_import_pad(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    const int64_t limit = (int64_t)1 << 31;
    const int64_t *pads;
    size_t n_pads;
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
    if (n_pads != 2 * (size_t)x.n_dims) {
        return md_import_fail(b, MD_FORMAT, "%zu pads for %u dimensions", n_pads, x.n_dims);
    }
    for (unsigned i = 0; i < x.n_dims; i++) {
        int64_t begin = pads[i], end = pads[x.n_dims + i], length = x.dims[i];
        if (begin < -limit || begin > limit || end < -limit || end > limit ||
            length + begin + end < 0) {
            return md_import_fail(b, MD_FORMAT, "pads %lld and %lld of a length of %lld",
                                  (long long)begin, (long long)end, (long long)length);
        }
        bool grows = begin > 0 || end > 0;
        if (grows && ((mode == MD_PAD_REFLECT && (begin >= length || end >= length)) ||
                      (mode == MD_PAD_EDGE && length < 1))) {
            return md_import_fail(b, MD_FORMAT,
                                  "pads %lld and %lld reach beyond a length of %lld",
                                  (long long)begin, (long long)end, (long long)length);
        }
        b->node.p.pad.begin[i] = begin;
        x.dims[i] = length + begin + end;
    }
    b->node.p.pad.mode = (md_pad_mode)mode;
    b->node.p.pad.value = value;
    return md_import_emit(b, MD_OP_PAD, b->in, 1, 0, x.dtype, x.n_dims, x.dims, &made);
}

static const char *const resize_modes[] = {"nearest", "linear", "cubic", NULL};
static const char *const coordinate_modes[] = {
    "half_pixel", "pytorch_half_pixel",   "align_corners",
    "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize",
    NULL};
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

static md_status resize_lengths(md_node_import *b, const float *scales, int64_t *dims,
                                unsigned n_dims)
{
    const int64_t *sizes;
    size_t n_sizes;
    MD_TRY(md_import_ints(b, 3, &sizes, &n_sizes));
    if ((scales != NULL) == (n_sizes != 0) || (n_sizes != 0 && n_sizes != n_dims)) {
        return md_import_fail(b, MD_FORMAT, "either scales or %u sizes are needed", n_dims);
    }
    for (unsigned i = 0; i < n_dims; i++) {
        if (scales != NULL) {
            MD_TRY(resize_scale(b, dims, i, (double)scales[i]));
        } else if (sizes[i] < 1 || dims[i] < 1) {
            return md_import_fail(b, MD_FORMAT, "size %lld of a length of %lld",
                                  (long long)sizes[i], (long long)dims[i]);
        } else {
            b->node.p.resize.scale[i] = (double)sizes[i] / (double)dims[i];
            dims[i] = sizes[i];
        }
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

md_status md_import_resize(md_node_import *b)
{
    md_resize_params *resize = &b->node.p.resize;
    md_tensor x = *md_import_in(b, 0);
    const float *scales, *roi;
    int mode, coordinate, nearest;
    int64_t exclude;
    MD_TRY(md_import_need(b, 0, MD_F32));
    if (b->node.opset < 11) {
        MD_TRY(constant_floats(b, 1, x.n_dims, &scales));
        return import_plain_resize(b, scales);
    }
    MD_TRY(md_attribute_choice(b, "mode", resize_modes, MD_RESIZE_NEAREST, &mode));
    MD_TRY(md_attribute_choice(b, "coordinate_transformation_mode", coordinate_modes,
                               MD_COORD_HALF_PIXEL, &coordinate));
    MD_TRY(md_attribute_choice(b, "nearest_mode", nearest_modes, MD_NEAREST_ROUND_PREFER_FLOOR,
                               &nearest));
    MD_TRY(md_attribute_float(b, "cubic_coeff_a", -0.75F, &resize->cubic_a));
    MD_TRY(md_attribute_float(b, "extrapolation_value", 0.0F, &resize->extrapolation));
    MD_TRY(md_attribute_int(b, "exclude_outside", 0, &exclude));
    resize->mode = (md_resize_mode)mode;
    resize->coordinate = (md_coordinate)coordinate;
    resize->nearest = (md_nearest)nearest;
    resize->exclude_outside = exclude != 0;
    MD_TRY(constant_floats(b, 2, x.n_dims, &scales));
    if (coordinate == MD_COORD_TF_CROP_AND_RESIZE) {
        MD_TRY(constant_floats(b, 1, 2 * x.n_dims, &roi));
        if (roi == NULL) {
            return md_import_fail(b, MD_FORMAT, "no roi");
        }
        for (unsigned i = 0; i < x.n_dims; i++) {
            resize->roi_start[i] = (double)roi[i];
            resize->roi_end[i] = (double)roi[x.n_dims + i];
        }
    }
    MD_TRY(resize_lengths(b, scales, x.dims, x.n_dims));
    return emit_resize(b, x.dims);
}

md_status md_import_upsample(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    const float *scales;
    MD_TRY(md_import_need(b, 0, MD_F32));
    if (b->node.opset >= 10) {
        return md_import_fail(b, MD_UNSUPPORTED, "removed from ONNX in opset 10: use Resize");
    }
    if (b->node.opset >= 9) {
        MD_TRY(constant_floats(b, 1, x->n_dims, &scales));
        return import_plain_resize(b, scales);
    }
    const Onnx__AttributeProto *a;
    MD_TRY(md_attribute_find(b, "scales", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS, &a));
    return import_plain_resize(b, a != NULL && a->n_floats == x->n_dims ? a->floats : NULL);
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
