/* Import of what picks, places, sorts or counts elements by index. */

#include "inference/graph/node_import.h"

#include <string.h>

static md_status need_index(md_node_import *b, unsigned i)
{
    const md_dtype dtype = md_import_in(b, i)->dtype;
    if (dtype != MD_I64 && dtype != MD_I32) {
        return md_import_fail(b, MD_FORMAT, "indices of type %s", md_dtype_name(dtype));
    }
    return MD_OK;
}

static md_status need_type_of_first(md_node_import *b, unsigned i)
{
    const md_tensor *x = md_import_in(b, 0), *y = md_import_in(b, i);
    if (x->dtype != y->dtype) {
        return md_import_fail(b, MD_FORMAT, "operands are %s and %s", md_dtype_name(x->dtype),
                              md_dtype_name(y->dtype));
    }
    return MD_OK;
}

static md_status axis_attribute(md_node_import *b, int64_t fallback, unsigned rank,
                                unsigned *ret_axis)
{
    int64_t axis;
    MD_TRY(md_attribute_int(b, "axis", fallback, &axis));
    return md_import_axis(b, axis, rank, ret_axis);
}

/* The index tensor may be shorter than x along every axis but the one that is indexed. */
static md_status check_elements(md_node_import *b, unsigned axis)
{
    const md_tensor *x = md_import_in(b, 0), *index = md_import_in(b, 1);
    MD_TRY(need_index(b, 1));
    if (index->n_dims != x->n_dims) {
        return md_import_fail(b, MD_FORMAT, "indices of %u dimensions for a tensor of %u",
                              index->n_dims, x->n_dims);
    }
    for (unsigned i = 0; i < x->n_dims; i++) {
        if (i != axis && index->dims[i] > x->dims[i]) {
            return md_import_fail(b, MD_FORMAT, "dimension %u of the indices is %lld, of %lld",
                                  i, (long long)index->dims[i], (long long)x->dims[i]);
        }
    }
    return MD_OK;
}

md_status md_import_gather_elements(md_node_import *b)
{
    int value;
    MD_TRY(axis_attribute(b, 0, md_import_in(b, 0)->n_dims, &b->node.p.index.axis));
    MD_TRY(check_elements(b, b->node.p.index.axis));
    return md_import_emit_like(b, MD_OP_GATHER_ELEMENTS, b->in, 2, b->in[1], 0,
                               md_import_in(b, 0)->dtype, &value);
}

static md_status reduction_attribute(md_node_import *b, int since)
{
    static const char *const reductions[] = {"none", "add", "mul", "max", "min", NULL};
    const md_dtype dtype = md_import_in(b, 0)->dtype;
    int reduction = MD_SCATTER_SET;
    if (b->node.opset >= since) {
        MD_TRY(md_attribute_choice(b, "reduction", reductions, MD_SCATTER_SET, &reduction));
    }
    if (b->node.opset < 18 && reduction > MD_SCATTER_MUL) {
        return md_import_fail(b, MD_UNSUPPORTED, "attribute 'reduction' = '%s' before opset 18",
                              reductions[reduction]);
    }
    if (reduction != MD_SCATTER_SET &&
        (dtype == MD_BOOL || dtype == MD_F16 || dtype == MD_BF16)) {
        return md_import_fail(b, MD_UNSUPPORTED, "attribute 'reduction' with type %s",
                              md_dtype_name(dtype));
    }
    b->node.p.index.reduction = (md_scatter)reduction;
    return MD_OK;
}

md_status md_import_scatter_elements(md_node_import *b)
{
    const md_tensor *index = md_import_in(b, 1), *updates = md_import_in(b, 2);
    int value;
    MD_TRY(axis_attribute(b, 0, md_import_in(b, 0)->n_dims, &b->node.p.index.axis));
    MD_TRY(reduction_attribute(b, 16));
    MD_TRY(check_elements(b, b->node.p.index.axis));
    MD_TRY(need_type_of_first(b, 2));
    if (updates->n_dims != index->n_dims ||
        memcmp(updates->dims, index->dims, index->n_dims * sizeof *index->dims) != 0) {
        return md_import_fail(b, MD_FORMAT, "updates of another shape than the indices");
    }
    return md_import_emit_like(b, MD_OP_SCATTER_ELEMENTS, b->in, 3, b->in[0], 0,
                               md_import_in(b, 0)->dtype, &value);
}

/* The last axis of the indices is a position in the first axes of x after n_batch ones; what
 * remains of x is one piece. Dims of all pieces together. */
static md_status pieces_of(md_node_import *b, unsigned n_batch, unsigned *ret_n_dims,
                           int64_t *ret_dims)
{
    const md_tensor *x = md_import_in(b, 0), *index = md_import_in(b, 1);
    MD_TRY(need_index(b, 1));
    const int64_t length = index->n_dims == 0 ? 0 : index->dims[index->n_dims - 1];
    if (length < 1 || length > (int64_t)x->n_dims - (int64_t)n_batch ||
        index->n_dims <= n_batch) {
        return md_import_fail(b, MD_FORMAT,
                              "positions of %lld numbers in a tensor of %u dimensions",
                              (long long)length, x->n_dims);
    }
    for (unsigned i = 0; i < n_batch; i++) {
        if (index->dims[i] != x->dims[i]) {
            return md_import_fail(b, MD_FORMAT, "batches of %lld and %lld",
                                  (long long)x->dims[i], (long long)index->dims[i]);
        }
    }
    unsigned n_dims = 0;
    for (unsigned i = 0; i + 1 < index->n_dims; i++) {
        ret_dims[n_dims++] = index->dims[i];
    }
    for (unsigned i = n_batch + (unsigned)length; i < x->n_dims && i < MD_TENSOR_MAX_DIMS;
         i++) {
        ret_dims[n_dims++] = x->dims[i];
    }
    *ret_n_dims = n_dims;
    return MD_OK;
}

md_status md_import_gather_nd(md_node_import *b)
{
    int64_t n_batch = 0, dims[2 * MD_TENSOR_MAX_DIMS];
    unsigned n_dims = 0;
    int value;
    if (b->node.opset >= 12) {
        MD_TRY(md_attribute_int(b, "batch_dims", 0, &n_batch));
    }
    if (n_batch < 0 || n_batch >= (int64_t)md_import_in(b, 0)->n_dims) {
        return md_import_fail(b, MD_FORMAT, "batch_dims %lld", (long long)n_batch);
    }
    MD_TRY(pieces_of(b, (unsigned)n_batch, &n_dims, dims));
    b->node.p.index.axis = (unsigned)n_batch;
    return md_import_emit(b, MD_OP_GATHER_ND, b->in, 2, 0, md_import_in(b, 0)->dtype, n_dims,
                          dims, &value);
}

md_status md_import_scatter_nd(md_node_import *b)
{
    const md_tensor *updates = md_import_in(b, 2);
    int64_t dims[2 * MD_TENSOR_MAX_DIMS];
    unsigned n_dims = 0;
    int value;
    MD_TRY(reduction_attribute(b, 16));
    MD_TRY(need_type_of_first(b, 2));
    MD_TRY(pieces_of(b, 0, &n_dims, dims));
    if (updates->n_dims != n_dims ||
        (n_dims > 0 && memcmp(updates->dims, dims, n_dims * sizeof *dims) != 0)) {
        return md_import_fail(b, MD_FORMAT, "updates of another shape than the pieces");
    }
    return md_import_emit_like(b, MD_OP_SCATTER_ND, b->in, 3, b->in[0], 0,
                               md_import_in(b, 0)->dtype, &value);
}

md_status md_import_one_hot(md_node_import *b)
{
    const md_tensor index = *md_import_in(b, 0), *values = md_import_in(b, 2);
    int64_t dims[MD_TENSOR_MAX_DIMS + 1];
    bool present;
    double depth;
    unsigned axis;
    int value;
    MD_TRY(md_import_scalar(b, 1, &present, &depth));
    MD_TRY(axis_attribute(b, -1, index.n_dims + 1, &axis));
    if (!(depth >= 0.0) || depth > (double)MD_TENSOR_MAX_ELEMENTS || values->n_dims != 1 ||
        values->dims[0] != 2) {
        return md_import_fail(b, MD_FORMAT, "depth %g, %zu values", depth, values->n_elements);
    }
    for (unsigned i = 0, of_index = 0; i <= index.n_dims; i++) {
        dims[i] = i == axis ? (int64_t)depth : index.dims[of_index++];
    }
    const int in[2] = {b->in[0], b->in[2]};
    b->node.p.axis.axis = axis;
    return md_import_emit(b, MD_OP_ONE_HOT, in, 2, 0, values->dtype, index.n_dims + 1, dims,
                          &value);
}

md_status md_import_reverse_sequence(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0), *lengths = md_import_in(b, 1);
    int64_t batch_axis, time_axis;
    int value;
    MD_TRY(md_attribute_int(b, "batch_axis", 1, &batch_axis));
    MD_TRY(md_attribute_int(b, "time_axis", 0, &time_axis));
    MD_TRY(md_import_axis(b, batch_axis, x->n_dims, &b->node.p.reverse.batch_axis));
    MD_TRY(md_import_axis(b, time_axis, x->n_dims, &b->node.p.reverse.time_axis));
    MD_TRY(need_index(b, 1));
    const unsigned batch = b->node.p.reverse.batch_axis;
    if (batch == b->node.p.reverse.time_axis || lengths->n_dims != 1 ||
        lengths->dims[0] != x->dims[batch]) {
        return md_import_fail(b, MD_FORMAT, "%zu lengths along axes %lld and %lld",
                              lengths->n_elements, (long long)batch_axis, (long long)time_axis);
    }
    return md_import_emit_like(b, MD_OP_REVERSE_SEQUENCE, b->in, 2, b->in[0], 0, x->dtype,
                               &value);
}

md_status md_import_trilu(md_node_import *b)
{
    const int64_t limit = (int64_t)1 << 40; /* beyond every length, and no sum overflows */
    const int64_t *k;
    size_t n;
    int64_t upper;
    int value;
    const md_tensor *x = md_import_in(b, 0);
    MD_TRY(md_attribute_int(b, "upper", 1, &upper));
    MD_TRY(md_import_ints(b, 1, &k, &n));
    if (x->n_dims < 2 || n > 1) {
        return md_import_fail(b, MD_FORMAT, "input of %u dimensions, %zu diagonals", x->n_dims,
                              n);
    }
    const int64_t diagonal = n == 0 ? 0 : k[0];
    b->node.p.trilu.upper = upper != 0;
    b->node.p.trilu.k = diagonal > limit ? limit : diagonal < -limit ? -limit : diagonal;
    return md_import_emit_like(b, MD_OP_TRILU, b->in, 1, b->in[0], 0, x->dtype, &value);
}

md_status md_import_cum_sum(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    int64_t exclusive, reverse;
    const int64_t *axis;
    size_t n;
    int value;
    MD_TRY(md_attribute_int(b, "exclusive", 0, &exclusive));
    MD_TRY(md_attribute_int(b, "reverse", 0, &reverse));
    MD_TRY(md_import_ints(b, 1, &axis, &n));
    if (n != 1) {
        return md_import_fail(b, MD_FORMAT, "%zu axes", n);
    }
    MD_TRY(md_import_axis(b, axis[0], x->n_dims, &b->node.p.cum_sum.axis));
    b->node.p.cum_sum.exclusive = exclusive != 0;
    b->node.p.cum_sum.reverse = reverse != 0;
    return md_import_emit_like(b, MD_OP_CUM_SUM, b->in, 1, b->in[0], 0, x->dtype, &value);
}

/* K was an attribute up to opset 9; largest and sorted came with 11. */
md_status md_import_top_k(md_node_import *b)
{
    md_tensor shapes[2] = {*md_import_in(b, 0), *md_import_in(b, 0)};
    int64_t k = 0, largest = 1, sorted = 1;
    const int64_t *list;
    size_t n;
    int values[2];
    MD_TRY(axis_attribute(b, -1, shapes[0].n_dims, &b->node.p.top_k.axis));
    if (b->node.opset < 10) {
        MD_TRY(md_attribute_int(b, "k", -1, &k));
    } else {
        MD_TRY(md_import_ints(b, 1, &list, &n));
        k = n == 1 ? list[0] : -1;
    }
    if (b->node.opset >= 11) {
        MD_TRY(md_attribute_int(b, "largest", 1, &largest));
        MD_TRY(md_attribute_int(b, "sorted", 1, &sorted)); /* unsorted may be sorted too */
    }
    const unsigned axis = b->node.p.top_k.axis;
    if (k < 0 || k > shapes[0].dims[axis]) {
        return md_import_fail(b, MD_FORMAT, "K = %lld of a length of %lld", (long long)k,
                              (long long)shapes[0].dims[axis]);
    }
    b->node.p.top_k.smallest = largest == 0;
    shapes[0].dims[axis] = shapes[1].dims[axis] = k;
    shapes[1].dtype = MD_I64;
    return md_import_emit_all(b, MD_OP_TOP_K, b->in, 1, shapes, 2, values);
}

/* Mark dims of a value that only the data decides, unless it was computed already. */
static void open_dims(md_node_import *b, int value, unsigned dims)
{
    if (!b->graph->values[value].constant) {
        b->graph->values[value].open_dims = dims;
    }
}

md_status md_import_compress(md_node_import *b)
{
    md_tensor x = *md_import_in(b, 0);
    const md_tensor *condition = md_import_in(b, 1);
    const Onnx__AttributeProto *a;
    unsigned axis = 0;
    int value;
    MD_TRY(md_import_need(b, 1, MD_BOOL));
    MD_TRY(md_attribute_find(b, "axis", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, &a));
    if (a != NULL) {
        MD_TRY(md_import_axis(b, a->i, x.n_dims, &axis));
    } else {
        x.n_dims = 1;
        x.dims[0] = (int64_t)x.n_elements;
    }
    if (condition->n_dims != 1 || condition->dims[0] > x.dims[axis]) {
        return md_import_fail(b, MD_FORMAT, "%zu conditions for a length of %lld",
                              condition->n_elements, (long long)x.dims[axis]);
    }
    x.dims[axis] = condition->dims[0];
    if (b->graph->values[b->in[1]].constant) { /* then the length is known */
        x.dims[axis] = 0;
        for (size_t i = 0; i < condition->n_elements; i++) {
            x.dims[axis] += ((const uint8_t *)condition->data)[i] != 0 ? 1 : 0;
        }
    }
    b->node.p.select.flat = a == NULL;
    b->node.p.select.axis = axis;
    const bool open = !b->graph->values[b->in[1]].constant;
    MD_TRY(md_import_emit(b, MD_OP_COMPRESS, b->in, 2, 0, x.dtype, x.n_dims, x.dims, &value));
    if (open) {
        open_dims(b, value, 1U << axis);
    }
    return MD_OK;
}

md_status md_import_non_zero(md_node_import *b)
{
    const md_tensor *x = md_import_in(b, 0);
    const int64_t dims[2] = {x->n_dims == 0 ? 1 : (int64_t)x->n_dims, (int64_t)x->n_elements};
    int value;
    MD_TRY(md_import_emit(b, MD_OP_NON_ZERO, b->in, 1, 0, MD_I64, 2, dims, &value));
    open_dims(b, value, 2);
    return MD_OK;
}

md_status md_import_unique(md_node_import *b)
{
    md_tensor shapes[4];
    const md_tensor x = *md_import_in(b, 0);
    const Onnx__AttributeProto *a;
    int64_t sorted, n = (int64_t)x.n_elements;
    int values[4];
    MD_TRY(md_attribute_int(b, "sorted", 1, &sorted));
    MD_TRY(md_attribute_find(b, "axis", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, &a));
    b->node.p.select.flat = a == NULL;
    b->node.p.select.sorted = sorted != 0;
    shapes[0] = x;
    if (a != NULL) {
        MD_TRY(md_import_axis(b, a->i, x.n_dims, &b->node.p.select.axis));
        n = x.dims[b->node.p.select.axis];
    } else {
        shapes[0].n_dims = 1;
        shapes[0].dims[0] = n;
    }
    for (unsigned i = 1; i < 4; i++) {
        shapes[i] = (md_tensor){.dtype = MD_I64, .n_dims = 1, .dims = {n}};
    }
    MD_TRY(md_import_emit_all(b, MD_OP_UNIQUE, b->in, 1, shapes, 4, values));
    open_dims(b, values[0], 1U << b->node.p.select.axis);
    open_dims(b, values[1], 1);
    open_dims(b, values[3], 1);
    return MD_OK;
}

md_status md_import_nms(md_node_import *b)
{
    const md_tensor *boxes = md_import_in(b, 0), *scores = md_import_in(b, 1);
    int64_t center, dims[2] = {0, 3};
    double max_per_class = 0.0, iou = 0.0, score = 0.0;
    bool present;
    int value;
    MD_TRY(md_import_need(b, 1, MD_F32));
    MD_TRY(md_attribute_int(b, "center_point_box", 0, &center));
    MD_TRY(md_import_scalar(b, 2, &present, &max_per_class));
    MD_TRY(md_import_scalar(b, 3, &present, &iou));
    MD_TRY(md_import_scalar(b, 4, &present, &score));
    if (boxes->n_dims != 3 || boxes->dims[2] != 4 || scores->n_dims != 3 ||
        scores->dims[0] != boxes->dims[0] || scores->dims[2] != boxes->dims[1]) {
        return md_import_fail(b, MD_FORMAT, "boxes and scores do not belong together");
    }
    const int64_t n_boxes = boxes->dims[1];
    b->node.p.nms.center = center != 0;
    b->node.p.nms.max_per_class = !(max_per_class > 0.0)             ? 0
                                  : max_per_class >= (double)n_boxes ? n_boxes
                                                                     : (int64_t)max_per_class;
    b->node.p.nms.iou_threshold = (float)iou;
    b->node.p.nms.score_threshold = (float)score;
    b->node.p.nms.has_score_threshold = present;
    if (!(iou >= 0.0 && iou <= 1.0)) {
        return md_import_fail(b, MD_FORMAT, "IoU threshold %g", iou);
    }
    size_t n = (size_t)b->node.p.nms.max_per_class;
    if (!md_mul(n, (size_t)scores->dims[0], &n) || !md_mul(n, (size_t)scores->dims[1], &n) ||
        n > MD_TENSOR_MAX_ELEMENTS) {
        return md_import_fail(b, MD_LIMIT, "too many boxes");
    }
    dims[0] = (int64_t)n;
    MD_TRY(md_import_emit(b, MD_OP_NMS, b->in, 2, 0, MD_I64, 2, dims, &value));
    open_dims(b, value, 1);
    return MD_OK;
}
