/* Import of what moves or names elements without computing with them. */

#include "inference/graph/node_import.h"

#include <string.h>

md_status md_import_identity(md_node_import *b)
{
    return md_import_alias(b, 0, b->in[0]);
}

static md_status constant_list(md_node_import *b, md_dtype dtype, unsigned n_dims,
                               const void *values, size_t n)
{
    int64_t dim = (int64_t)n;
    int value;
    MD_TRY(md_import_constant(b, 0, dtype, n_dims, &dim, &value));
    if (n > 0) {
        memcpy(md_graph_tensor(b->graph, value)->data, values, n * md_dtype_bytes(dtype));
    }
    return MD_OK;
}

md_status md_import_constant_node(md_node_import *b)
{
    const Onnx__AttributeProto *a;
    if (b->proto->n_attribute != 1) {
        return md_import_fail(b, MD_FORMAT, "%zu attributes, exactly one is expected",
                              b->proto->n_attribute);
    }
    MD_TRY(md_attribute_find(b, "value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR, &a));
    if (a != NULL) {
        md_error inner = {0};
        int value;
        if (a->t == NULL) {
            return md_import_fail(b, MD_FORMAT, "attribute 'value' is empty");
        }
        md_status status =
            md_import_tensor(b->graph, a->t, md_import_output_name(b, 0), &value, &inner);
        return status == MD_OK ? MD_OK : md_import_fail(b, status, "%s", inner.msg);
    }
    MD_TRY(
        md_attribute_find(b, "value_float", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT, &a));
    if (a != NULL) {
        return constant_list(b, MD_F32, 0, &a->f, 1);
    }
    MD_TRY(md_attribute_find(b, "value_floats", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS,
                             &a));
    if (a != NULL) {
        return constant_list(b, MD_F32, 1, a->floats, a->n_floats);
    }
    MD_TRY(md_attribute_find(b, "value_int", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, &a));
    if (a != NULL) {
        return constant_list(b, MD_I64, 0, &a->i, 1);
    }
    MD_TRY(md_attribute_find(b, "value_ints", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, &a));
    if (a != NULL) {
        return constant_list(b, MD_I64, 1, a->ints, a->n_ints);
    }
    return MD_OK; /* md_attributes_finish names what is there instead */
}

/* The dims that a list of integers asks for. */
static md_status dims_of(md_node_import *b, const int64_t *values, size_t n, int64_t *ret_dims)
{
    if (n > MD_TENSOR_MAX_DIMS) {
        return md_import_fail(b, MD_LIMIT, "%zu dimensions, at most %d", n, MD_TENSOR_MAX_DIMS);
    }
    for (size_t i = 0; i < n; i++) {
        ret_dims[i] = values[i];
    }
    return MD_OK;
}

md_status md_import_constant_of_shape(md_node_import *b)
{
    const int64_t *list;
    size_t n_list;
    int64_t dims[MD_TENSOR_MAX_DIMS];
    const Onnx__AttributeProto *a;
    md_dtype dtype = MD_F32;
    uint8_t element[8] = {0};
    int value;
    MD_TRY(md_import_ints(b, 0, &list, &n_list));
    MD_TRY(dims_of(b, list, n_list, dims));
    MD_TRY(md_attribute_find(b, "value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR, &a));
    if (a != NULL) {
        md_error inner = {0};
        md_status status = a->t == NULL
                               ? md_fail(&inner, MD_FORMAT, "attribute 'value' is empty")
                               : md_import_tensor(b->graph, a->t, NULL, &value, &inner);
        if (status != MD_OK) {
            return md_import_fail(b, status, "%s", inner.msg);
        }
        const md_tensor *given = md_graph_tensor(b->graph, value);
        if (given->n_elements != 1) {
            return md_import_fail(b, MD_FORMAT, "attribute 'value' has %zu elements, not 1",
                                  given->n_elements);
        }
        dtype = given->dtype;
        memcpy(element, given->data, md_dtype_bytes(dtype));
    }
    MD_TRY(md_import_constant(b, 0, dtype, (unsigned)n_list, dims, &value));
    const md_tensor *out = md_graph_tensor(b->graph, value);
    size_t n_bytes = md_dtype_bytes(dtype);
    for (size_t i = 0; i < out->n_elements; i++) {
        memcpy((uint8_t *)out->data + i * n_bytes, element, n_bytes);
    }
    return MD_OK;
}

/* Shape (variant 0) and Size (variant 1): all shapes are known, so both are constants. */
md_status md_import_shape(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    int64_t start = 0, end = x.n_dims, rank = x.n_dims;
    if (b->variant != 0) {
        int64_t n = (int64_t)x.n_elements;
        return constant_list(b, MD_I64, 0, &n, 1);
    }
    if (b->node.opset >= 15) {
        MD_TRY(md_attribute_int(b, "start", 0, &start));
        MD_TRY(md_attribute_int(b, "end", rank, &end));
        start = start < 0 ? start + rank : start;
        end = end < 0 ? end + rank : end;
        start = start < 0 ? 0 : start > rank ? rank : start;
        end = end < start ? start : end > rank ? rank : end;
    }
    return constant_list(b, MD_I64, 1, x.dims + start, (size_t)(end - start));
}

static md_status emit_copy(md_node_import *b, unsigned n_dims, const int64_t *dims)
{
    const md_tensor *x = md_import_in(b, 0);
    int value;
    size_t n = 1;
    for (unsigned i = 0; i < n_dims; i++) {
        if (dims[i] < 0 || !md_mul(n, (size_t)dims[i], &n)) {
            return md_import_fail(b, MD_FORMAT, "dimension %u is %lld", i, (long long)dims[i]);
        }
    }
    if (n != x->n_elements) {
        return md_import_fail(b, MD_FORMAT, "%zu elements do not fit a shape of %zu",
                              x->n_elements, n);
    }
    if (n_dims == x->n_dims &&
        (n_dims == 0 || memcmp(dims, x->dims, n_dims * sizeof *dims) == 0)) {
        return md_import_alias(b, 0, b->in[0]);
    }
    return md_import_emit(b, MD_OP_COPY, b->in, 1, 0, x->dtype, n_dims, dims, &value);
}

md_status md_import_reshape(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    const int64_t *list;
    size_t n_list;
    int64_t dims[MD_TENSOR_MAX_DIMS], allow_zero = 0;
    MD_TRY(md_import_ints(b, 1, &list, &n_list));
    MD_TRY(dims_of(b, list, n_list, dims));
    if (b->node.opset >= 14) {
        MD_TRY(md_attribute_int(b, "allowzero", 0, &allow_zero));
    }
    int open = -1;
    size_t n_known = 1;
    for (unsigned i = 0; i < n_list; i++) {
        if (dims[i] == 0 && allow_zero == 0) {
            if (i >= x->n_dims) {
                return md_import_fail(b, MD_FORMAT, "no input dimension %u to copy", i);
            }
            dims[i] = x->dims[i];
        }
        if (dims[i] == -1 && open < 0) {
            open = (int)i;
        } else if (dims[i] < 0 || !md_mul(n_known, (size_t)dims[i], &n_known)) {
            return md_import_fail(b, MD_FORMAT, "dimension %u is %lld", i, (long long)dims[i]);
        }
    }
    if (open >= 0) {
        if (n_known == 0 || x->n_elements % n_known != 0) {
            return md_import_fail(b, MD_FORMAT, "%zu elements do not divide by %zu",
                                  x->n_elements, n_known);
        }
        dims[open] = (int64_t)(x->n_elements / n_known);
    }
    return emit_copy(b, (unsigned)n_list, dims);
}

md_status md_import_flatten(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    int64_t axis, dims[2] = {1, 1};
    MD_TRY(md_attribute_int(b, "axis", 1, &axis));
    axis = axis < 0 ? axis + (int64_t)x->n_dims : axis;
    if (axis < 0 || axis > (int64_t)x->n_dims) {
        return md_import_fail(b, MD_FORMAT, "axis %lld of a tensor of %u dimensions",
                              (long long)axis, x->n_dims);
    }
    for (unsigned i = 0; i < x->n_dims; i++) {
        dims[i < axis ? 0 : 1] *= x->dims[i];
    }
    return emit_copy(b, 2, dims);
}

/* The attribute `axes` became the second input in opset 13. */
static md_status read_axes(md_node_import *b, const int64_t **ret_axes, size_t *ret_n)
{
    if (b->node.opset >= 13) {
        return md_import_ints(b, 1, ret_axes, ret_n);
    }
    if (b->n_in > 1) {
        return md_import_fail(b, MD_FORMAT, "%u inputs, 1 is expected", b->n_in);
    }
    return md_attribute_ints(b, "axes", ret_axes, ret_n);
}

md_status md_import_squeeze(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    const int64_t *axes;
    size_t n_axes;
    bool drop[MD_TENSOR_MAX_DIMS] = {false};
    int64_t dims[MD_TENSOR_MAX_DIMS];
    unsigned n_dims = 0;
    MD_TRY(read_axes(b, &axes, &n_axes));
    for (size_t i = 0; i < n_axes; i++) {
        unsigned axis;
        MD_TRY(md_import_axis(b, axes[i], x->n_dims, &axis));
        if (x->dims[axis] != 1) {
            return md_import_fail(b, MD_FORMAT, "axis %u has length %lld, not 1", axis,
                                  (long long)x->dims[axis]);
        }
        drop[axis] = true;
    }
    for (unsigned i = 0; i < x->n_dims; i++) {
        if (!(axes == NULL ? x->dims[i] == 1 : drop[i])) {
            dims[n_dims++] = x->dims[i];
        }
    }
    return emit_copy(b, n_dims, dims);
}

md_status md_import_unsqueeze(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    const int64_t *axes;
    size_t n_axes;
    bool made[MD_TENSOR_MAX_DIMS] = {false};
    int64_t dims[MD_TENSOR_MAX_DIMS];
    MD_TRY(read_axes(b, &axes, &n_axes));
    if (n_axes + x->n_dims > MD_TENSOR_MAX_DIMS) {
        return md_import_fail(b, MD_LIMIT, "%zu dimensions, at most %d", n_axes + x->n_dims,
                              MD_TENSOR_MAX_DIMS);
    }
    unsigned n_dims = x->n_dims + (unsigned)n_axes;
    for (size_t i = 0; i < n_axes; i++) {
        unsigned axis;
        MD_TRY(md_import_axis(b, axes[i], n_dims, &axis));
        if (made[axis]) {
            return md_import_fail(b, MD_FORMAT, "axis %u is given twice", axis);
        }
        made[axis] = true;
    }
    for (unsigned i = 0, of_x = 0; i < n_dims; i++) {
        dims[i] = made[i] ? 1 : x->dims[of_x++];
    }
    return emit_copy(b, n_dims, dims);
}

md_status md_import_transpose(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    const int64_t *list;
    size_t n_list;
    bool seen[MD_TENSOR_MAX_DIMS] = {false};
    int64_t dims[MD_TENSOR_MAX_DIMS];
    int value;
    MD_TRY(md_attribute_ints(b, "perm", &list, &n_list));
    if (n_list != 0 && n_list != x->n_dims) {
        return md_import_fail(b, MD_FORMAT, "attribute 'perm' has %zu values for %u dimensions",
                              n_list, x->n_dims);
    }
    for (unsigned i = 0; i < x->n_dims; i++) {
        unsigned axis = x->n_dims - 1 - i;
        if (n_list != 0) {
            MD_TRY(md_import_axis(b, list[i], x->n_dims, &axis));
        }
        if (seen[axis]) {
            return md_import_fail(b, MD_FORMAT, "attribute 'perm' names axis %u twice", axis);
        }
        seen[axis] = true;
        b->node.p.transpose.perm[i] = axis;
        dims[i] = x->dims[axis];
    }
    return md_import_emit(b, MD_OP_TRANSPOSE, b->in, 1, 0, x->dtype, x->n_dims, dims, &value);
}

md_status md_import_concat(md_node_import *b)
{
    int64_t axis;
    unsigned made;
    int value;
    for (unsigned i = 0; i < b->n_in; i++) {
        if (b->in[i] == MD_GRAPH_NO_VALUE) {
            return md_import_fail(b, MD_FORMAT, "input %u is missing", i);
        }
    }
    md_tensor first = *md_import_in(b, 0);
    MD_TRY(md_attribute_int(b, "axis", b->node.opset < 4 ? 1 : INT64_MIN, &axis));
    if (axis == INT64_MIN) {
        return md_import_fail(b, MD_FORMAT, "attribute 'axis' is missing");
    }
    MD_TRY(md_import_axis(b, axis, first.n_dims, &made));
    int64_t length = 0;
    for (unsigned i = 0; i < b->n_in; i++) {
        const md_tensor *x = md_import_in(b, i);
        bool same = x->dtype == first.dtype && x->n_dims == first.n_dims;
        for (unsigned j = 0; same && j < first.n_dims; j++) {
            same = j == made || x->dims[j] == first.dims[j];
        }
        if (!same) {
            return md_import_fail(b, MD_FORMAT, "input %u has another shape or type", i);
        }
        length += x->dims[made];
    }
    if (b->n_in == 1) {
        return md_import_alias(b, 0, b->in[0]);
    }
    first.dims[made] = length;
    b->node.p.axis.axis = made;
    return md_import_emit(b, MD_OP_CONCAT, b->in, b->n_in, 0, first.dtype, first.n_dims,
                          first.dims, &value);
}

/* Lengths of the parts: listed, or all the same, where (opset 18) the last may be shorter. */
static md_status split_lengths(md_node_import *b, int64_t length, size_t n_parts,
                               const int64_t **ret_list, int64_t *ret_each)
{
    size_t n_list;
    int64_t n_wanted = 0;
    const int64_t n = (int64_t)n_parts;
    if (b->node.opset >= 13) {
        MD_TRY(md_import_ints(b, 1, ret_list, &n_list));
    } else {
        MD_TRY(md_attribute_ints(b, "split", ret_list, &n_list));
    }
    if (b->node.opset >= 18) {
        MD_TRY(md_attribute_int(b, "num_outputs", 0, &n_wanted));
    }
    const bool even = length % n == 0 || n_wanted == n;
    if (*ret_list != NULL ? n_list != n_parts || n_wanted != 0
                          : !even || (n_wanted != 0 && n_wanted != n)) {
        return md_import_fail(b, MD_FORMAT, "a length of %lld in %zu parts for %zu outputs",
                              (long long)length, n_list, n_parts);
    }
    *ret_each = (length + n - 1) / n;
    return MD_OK;
}

/* Split is one slice for each output. */
md_status md_import_split(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    int64_t axis, dims[MD_TENSOR_MAX_DIMS], at = 0, each = 0;
    const int64_t *list = NULL;
    const size_t n_parts = b->proto->n_output;
    unsigned made;
    MD_TRY(md_attribute_int(b, "axis", 0, &axis));
    MD_TRY(md_import_axis(b, axis, x.n_dims, &made));
    const int64_t length = x.dims[made];
    MD_TRY(split_lengths(b, length, n_parts, &list, &each));
    memcpy(dims, x.dims, sizeof dims);
    for (unsigned i = 0; i < n_parts; i++) {
        int value;
        dims[made] = list != NULL ? list[i] : each < length - at ? each : length - at;
        if (dims[made] < 0 || dims[made] > length - at) {
            return md_import_fail(b, MD_FORMAT, "part %u of %lld in a length of %lld", i,
                                  (long long)dims[made], (long long)length);
        }
        memset(&b->node.p, 0, sizeof b->node.p);
        for (unsigned j = 0; j < x.n_dims; j++) {
            b->node.p.slice.step[j] = 1;
        }
        b->node.p.slice.start[made] = at;
        at += dims[made];
        MD_TRY(
            md_import_emit(b, MD_OP_SLICE, b->in, 1, (int)i, x.dtype, x.n_dims, dims, &value));
    }
    return at == length ? MD_OK
                        : md_import_fail(b, MD_FORMAT, "the parts cover %lld of %lld",
                                         (long long)at, (long long)length);
}

md_status md_import_gather(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    md_tensor index = *md_import_in(b, 1);
    int64_t axis, dims[2 * MD_TENSOR_MAX_DIMS];
    unsigned made = 0, n_dims = 0;
    int value;
    MD_TRY(md_attribute_int(b, "axis", 0, &axis));
    MD_TRY(md_import_axis(b, axis, x.n_dims, &made));
    if (index.dtype != MD_I64 && index.dtype != MD_I32) {
        return md_import_fail(b, MD_FORMAT, "indices of type %s", md_dtype_name(index.dtype));
    }
    for (unsigned i = 0; i < made; i++) {
        dims[n_dims++] = x.dims[i];
    }
    for (unsigned i = 0; i < index.n_dims; i++) {
        dims[n_dims++] = index.dims[i];
    }
    for (unsigned i = made + 1; i < x.n_dims && i < MD_TENSOR_MAX_DIMS; i++) {
        dims[n_dims++] = x.dims[i];
    }
    b->node.p.axis.axis = made;
    return md_import_emit(b, MD_OP_GATHER, b->in, 2, 0, x.dtype, n_dims, dims, &value);
}

/* One axis of Slice, bounds as numpy cuts them. */
static int64_t slice_axis(int64_t length, int64_t start, int64_t end, int64_t step,
                          int64_t *ret_start)
{
    start = start < 0 ? start + length : start;
    end = end < 0 ? end + length : end;
    if (step > 0) {
        start = start < 0 ? 0 : start > length ? length : start;
        end = end < start ? start : end > length ? length : end;
        *ret_start = start;
        return end <= start ? 0 : (end - start - 1) / step + 1;
    }
    start = start < 0 ? -1 : start >= length ? length - 1 : start;
    end = end < 0 ? -1 : end > start ? start : end;
    *ret_start = start < 0 ? 0 : start;
    return end >= start ? 0 : (start - end - 1) / -step + 1;
}

typedef struct int_list {
    const int64_t *values;
    size_t n;
} int_list;

static md_status read_slice(md_node_import *b, int_list *ret_lists)
{
    static const char *const names[] = {"starts", "ends", "axes"};
    if (b->node.opset >= 10) {
        if (b->n_in < 3 || b->in[1] == MD_GRAPH_NO_VALUE || b->in[2] == MD_GRAPH_NO_VALUE) {
            return md_import_fail(b, MD_FORMAT, "starts and ends are missing");
        }
        for (unsigned i = 0; i < 4; i++) {
            MD_TRY(md_import_ints(b, i + 1, &ret_lists[i].values, &ret_lists[i].n));
        }
        return MD_OK;
    }
    for (unsigned i = 0; i < 3; i++) {
        MD_TRY(md_attribute_ints(b, names[i], &ret_lists[i].values, &ret_lists[i].n));
    }
    return MD_OK;
}

md_status md_import_slice(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    int_list lists[4] = {{NULL, 0}};
    const int64_t step_limit = (int64_t)1 << 31;
    int value;
    MD_TRY(read_slice(b, lists));
    size_t n = lists[0].n;
    if (lists[1].n != n || (lists[2].values != NULL && lists[2].n != n) ||
        (lists[3].values != NULL && lists[3].n != n) || n > MD_TENSOR_MAX_DIMS) {
        return md_import_fail(b, MD_FORMAT, "%zu starts, %zu ends, %zu axes, %zu steps", n,
                              lists[1].n, lists[2].n, lists[3].n);
    }
    int64_t dims[MD_TENSOR_MAX_DIMS];
    memcpy(dims, x.dims, sizeof dims);
    for (unsigned i = 0; i < x.n_dims; i++) {
        b->node.p.slice.step[i] = 1;
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned axis;
        int64_t step = lists[3].values == NULL ? 1 : lists[3].values[i];
        MD_TRY(md_import_axis(b, lists[2].values == NULL ? (int64_t)i : lists[2].values[i],
                              x.n_dims, &axis));
        if (step == 0) {
            return md_import_fail(b, MD_FORMAT, "step 0");
        }
        step = step > step_limit ? step_limit : step < -step_limit ? -step_limit : step;
        dims[axis] = slice_axis(x.dims[axis], lists[0].values[i], lists[1].values[i], step,
                                &b->node.p.slice.start[axis]);
        b->node.p.slice.step[axis] = step;
    }
    return md_import_emit(b, MD_OP_SLICE, b->in, 1, 0, x.dtype, x.n_dims, dims, &value);
}

md_status md_import_expand(md_node_import *b)
{
    const int64_t *list;
    size_t n_list;
    int64_t dims[MD_TENSOR_MAX_DIMS];
    md_tensor target = {0};
    unsigned n_dims;
    int value;
    MD_TRY(md_import_ints(b, 1, &list, &n_list));
    MD_TRY(dims_of(b, list, n_list, target.dims));
    target.n_dims = (unsigned)n_list;
    MD_TRY(md_import_broadcast(b, md_import_in(b, 0), &target, &n_dims, dims));
    return md_import_emit(b, MD_OP_EXPAND, b->in, 1, 0, md_import_in(b, 0)->dtype, n_dims, dims,
                          &value);
}

md_status md_import_tile(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    const int64_t *list;
    size_t n_list;
    int value;
    MD_TRY(md_import_ints(b, 1, &list, &n_list));
    if (n_list != x.n_dims) {
        return md_import_fail(b, MD_FORMAT, "%zu repeats for %u dimensions", n_list, x.n_dims);
    }
    for (unsigned i = 0; i < x.n_dims; i++) {
        if (list[i] < 0 || __builtin_mul_overflow(x.dims[i], list[i], &x.dims[i])) {
            return md_import_fail(b, MD_FORMAT, "repeat %u is %lld", i, (long long)list[i]);
        }
    }
    return md_import_emit(b, MD_OP_TILE, b->in, 1, 0, x.dtype, x.n_dims, x.dims, &value);
}
