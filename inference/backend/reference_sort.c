/* Kernels that sort, count or choose elements, and running sums. Where the data decides the
 * shape of the result, the kernel sets it: the tensor came with the most that it can be. */

#include "inference/backend/element.h"
#include "inference/backend/kernels.h"

#include <math.h>
#include <string.h>

/* Whether `a` comes before `b`. */
typedef bool (*before_fn)(const void *context, int64_t a, int64_t b);

static void sift_down(int64_t *heap, size_t at, size_t n, before_fn before, const void *context)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= n) {
            return;
        }
        if (child + 1 < n && before(context, heap[child], heap[child + 1])) {
            child++;
        }
        if (!before(context, heap[at], heap[child])) {
            return;
        }
        const int64_t held = heap[at];
        heap[at] = heap[child];
        heap[child] = held;
        at = child;
    }
}

/* Heapsort (Williams 1964): no memory, no bad case. `before` has to order equal elements too.
 */
static void sort(int64_t *list, size_t n, before_fn before, const void *context)
{
    for (size_t i = n / 2; i-- > 0;) {
        sift_down(list, i, n, before, context);
    }
    for (size_t i = n; i-- > 1;) {
        const int64_t held = list[0];
        list[0] = list[i];
        list[i] = held;
        sift_down(list, 0, i, before, context);
    }
}

typedef struct sort_row {
    const md_tensor *x;
    size_t start, step;
    bool descending;
} sort_row;

static bool element_before(const void *context, int64_t a, int64_t b)
{
    const sort_row *row = context;
    const int order = md_element_compare(row->x, row->start + (size_t)a * row->step,
                                         row->start + (size_t)b * row->step);
    return order == 0 ? a < b : (order > 0) == row->descending;
}

/* [n_outer, n, n_inner] of a tensor around one axis. */
static void split_axis(const md_tensor *x, unsigned axis, size_t *ret_outer, size_t *ret_inner)
{
    *ret_outer = *ret_inner = 1;
    for (unsigned i = 0; i < x->n_dims; i++) {
        *ret_outer *= i < axis ? (size_t)x->dims[i] : 1;
        *ret_inner *= i > axis ? (size_t)x->dims[i] : 1;
    }
}

static void copy_element(const md_tensor *x, size_t from, const md_tensor *y, size_t to)
{
    const size_t n_bytes = md_dtype_bytes(x->dtype);
    memcpy((uint8_t *)y->data + to * n_bytes, (const uint8_t *)x->data + from * n_bytes,
           n_bytes);
}

/* The k largest (or smallest) along the axis, in order, the lower index first among equals.
 * workspace: the indices of one row. */
md_status md_kernel_top_k(const md_call *call)
{
    const md_tensor *x = call->in[0], *y = call->out[0];
    const unsigned axis = call->p->top_k.axis;
    const size_t n = (size_t)x->dims[axis], k = (size_t)y->dims[axis];
    int64_t *list = call->workspace;
    size_t n_outer, n_inner;
    split_axis(x, axis, &n_outer, &n_inner);
    if (k == 0) {
        return MD_OK;
    }
    for (size_t r = 0; r < n_outer * n_inner; r++) {
        const sort_row row = {x, r / n_inner * n * n_inner + r % n_inner, n_inner,
                              !call->p->top_k.smallest};
        for (size_t i = 0; i < n; i++) {
            list[i] = (int64_t)i;
        }
        /* a heap of the best so far, the worst of them on top */
        for (size_t i = k / 2; i-- > 0;) {
            sift_down(list, i, k, element_before, &row);
        }
        for (size_t i = k; i < n; i++) {
            if (element_before(&row, list[i], list[0])) {
                list[0] = list[i];
                sift_down(list, 0, k, element_before, &row);
            }
        }
        sort(list, k, element_before, &row);
        for (size_t i = 0; i < k; i++) {
            const size_t to = (r / n_inner * k + i) * n_inner + r % n_inner;
            copy_element(x, row.start + (size_t)list[i] * n_inner, y, to);
            ((int64_t *)call->out[1]->data)[to] = list[i];
        }
    }
    return MD_OK;
}

/* y[i] = sum of x[0..i], or without x[i] (exclusive), or from the other end (reverse). */
md_status md_kernel_cum_sum(const md_call *call)
{
    const md_tensor *x = call->in[0];
    md_tensor *y = call->out[0];
    const unsigned axis = call->p->cum_sum.axis;
    const size_t n = (size_t)x->dims[axis];
    size_t n_outer, n_inner;
    split_axis(x, axis, &n_outer, &n_inner);
    for (size_t r = 0; r < n_outer * n_inner; r++) {
        double real = 0.0;
        uint64_t whole = 0;
        for (size_t i = 0; i < n; i++) {
            const size_t k = call->p->cum_sum.reverse ? n - 1 - i : i;
            const size_t at = (r / n_inner * n + k) * n_inner + r % n_inner;
            const double before_real = real;
            const uint64_t before_whole = whole;
            if (md_is_real(x->dtype)) {
                real += md_element_real(x, at);
                md_store_real(y, at, call->p->cum_sum.exclusive ? before_real : real);
            } else {
                whole += (uint64_t)md_element_int(x, at);
                md_store_int(y, at,
                             (int64_t)(call->p->cum_sum.exclusive ? before_whole : whole));
            }
        }
    }
    return MD_OK;
}

static void set_length(md_tensor *y, unsigned axis, size_t length)
{
    y->dims[axis] = (int64_t)length;
    y->n_elements = 1;
    for (unsigned i = 0; i < y->n_dims; i++) {
        y->n_elements *= (size_t)y->dims[i];
    }
}

/* The slices of x along the axis (or the elements of all of x) where the condition holds. */
md_status md_kernel_compress(const md_call *call)
{
    const md_tensor *x = call->in[0], *condition = call->in[1];
    const bool flat = call->p->select.flat;
    const uint8_t *wanted = condition->data;
    size_t n_outer = 1, n_inner = 1, n = x->n_elements, length = 0, at = 0;
    if (!flat) {
        split_axis(x, call->p->select.axis, &n_outer, &n_inner);
        n = (size_t)x->dims[call->p->select.axis];
    }
    for (size_t i = 0; i < condition->n_elements; i++) {
        length += wanted[i] != 0 ? 1 : 0;
    }
    set_length(call->out[0], flat ? 0 : call->p->select.axis, length);
    for (size_t outer = 0; outer < n_outer; outer++) {
        for (size_t i = 0; i < condition->n_elements; i++) {
            for (size_t j = 0; j < n_inner && wanted[i] != 0; j++) {
                copy_element(x, (outer * n + i) * n_inner + j, call->out[0], at++);
            }
        }
    }
    return MD_OK;
}

/* y [rank, n]: the positions of the elements that are not 0, in row-major order. */
md_status md_kernel_non_zero(const md_call *call)
{
    const md_tensor *x = call->in[0];
    int64_t *y = call->out[0]->data;
    size_t n = 0, at = 0;
    for (size_t i = 0; i < x->n_elements; i++) {
        n += md_element_real(x, i) != 0.0 ? 1 : 0;
    }
    set_length(call->out[0], 1, n);
    for (size_t i = 0; i < x->n_elements; i++) {
        if (md_element_real(x, i) != 0.0) {
            size_t rest = i;
            for (unsigned j = x->n_dims; j-- > 0;) {
                y[j * n + at] = (int64_t)(rest % (size_t)x->dims[j]);
                rest /= (size_t)x->dims[j];
            }
            if (x->n_dims == 0) {
                y[at] = 0;
            }
            at++;
        }
    }
    return MD_OK;
}

typedef struct slices {
    const md_tensor *x;
    size_t n_outer, n, n_inner;
} slices;

static int compare_slices(const slices *s, int64_t a, int64_t b)
{
    for (size_t outer = 0; outer < s->n_outer; outer++) {
        for (size_t i = 0; i < s->n_inner; i++) {
            const int order =
                md_element_compare(s->x, (outer * s->n + (size_t)a) * s->n_inner + i,
                                   (outer * s->n + (size_t)b) * s->n_inner + i);
            if (order != 0) {
                return order;
            }
        }
    }
    return 0;
}

static bool slice_before(const void *context, int64_t a, int64_t b)
{
    const int order = compare_slices(context, a, b);
    return order == 0 ? a < b : order < 0;
}

static bool number_before(const void *context, int64_t a, int64_t b)
{
    (void)context;
    return a < b;
}

/* The different slices of x along the axis (or elements of all of x): y, where each stands
 * first, for each slice of x which of them it is, how often each occurs. Sorted, or in the
 * order of their first occurrence. workspace: two lists of n. */
md_status md_kernel_unique(const md_call *call)
{
    const md_tensor *x = call->in[0];
    const bool flat = call->p->select.flat;
    slices s = {x, 1, x->n_elements, 1};
    if (!flat) {
        split_axis(x, call->p->select.axis, &s.n_outer, &s.n_inner);
        s.n = (size_t)x->dims[call->p->select.axis];
    }
    if (s.n == 0) { /* nothing is different, and there is no workspace */
        set_length(call->out[0], flat ? 0 : call->p->select.axis, 0);
        set_length(call->out[1], 0, 0);
        set_length(call->out[3], 0, 0);
        return MD_OK;
    }
    int64_t *order = call->workspace, *first_of = order + s.n;
    int64_t *first = call->out[1]->data, *inverse = call->out[2]->data,
            *count = call->out[3]->data;
    size_t n_groups = 0;
    for (size_t i = 0; i < s.n; i++) {
        order[i] = (int64_t)i;
    }
    sort(order, s.n, slice_before, &s);
    for (size_t i = 0; i < s.n; i++) { /* equal ones are neighbours, the first of them first */
        if (i == 0 || compare_slices(&s, order[i - 1], order[i]) != 0) {
            first[n_groups++] = order[i];
        }
        first_of[order[i]] = first[n_groups - 1];
    }
    if (!call->p->select.sorted) {
        sort(first, n_groups, number_before, NULL);
    }
    for (size_t i = 0; i < n_groups; i++) {
        count[i] = 0;
        inverse[first[i]] = (int64_t)i; /* of itself; the others look it up there */
    }
    for (size_t i = 0; i < s.n; i++) {
        inverse[i] = inverse[first_of[i]];
        count[inverse[i]]++;
    }
    set_length(call->out[0], flat ? 0 : call->p->select.axis, n_groups);
    set_length(call->out[1], 0, n_groups);
    set_length(call->out[3], 0, n_groups);
    for (size_t outer = 0; outer < s.n_outer; outer++) {
        for (size_t i = 0; i < n_groups; i++) {
            for (size_t j = 0; j < s.n_inner; j++) {
                copy_element(x, (outer * s.n + (size_t)first[i]) * s.n_inner + j, call->out[0],
                             (outer * n_groups + i) * s.n_inner + j);
            }
        }
    }
    return MD_OK;
}

/* Intersection over union of two boxes. Corners may be given in any order. */
static float overlap(const float *a, const float *b, bool center)
{
    float low[2][2], high[2][2];
    const float *boxes[2] = {a, b};
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned axis = 0; axis < 2; axis++) {
            const float p = boxes[i][axis], q = boxes[i][axis + 2];
            low[i][axis] = center ? p - q / 2 : fminf(p, q);
            high[i][axis] = center ? p + q / 2 : fmaxf(p, q);
        }
    }
    float both = 1.0F, area[2] = {1.0F, 1.0F};
    for (unsigned axis = 0; axis < 2; axis++) {
        const float length =
            fminf(high[0][axis], high[1][axis]) - fmaxf(low[0][axis], low[1][axis]);
        both *= length > 0.0F ? length : 0.0F;
        area[0] *= high[0][axis] - low[0][axis];
        area[1] *= high[1][axis] - low[1][axis];
    }
    const float all = area[0] + area[1] - both;
    return all > 0.0F ? both / all : 0.0F;
}

/* For each batch and class the boxes in falling order of score, each that overlaps no chosen
 * one by more than the threshold: [batch, class, box]. workspace: the boxes' order. */
md_status md_kernel_nms(const md_call *call)
{
    const md_tensor *boxes = call->in[0], *scores = call->in[1];
    const size_t n = (size_t)boxes->dims[1], n_classes = (size_t)scores->dims[1];
    int64_t *order = call->workspace, *y = call->out[0]->data;
    size_t n_out = 0;
    for (size_t r = 0; r < (size_t)scores->dims[0] * n_classes; r++) {
        const float *box = (const float *)boxes->data + r / n_classes * n * 4;
        const sort_row row = {scores, r * n, 1, true};
        size_t n_left = 0, n_chosen = 0;
        for (size_t i = 0; i < n; i++) {
            const float score = ((const float *)scores->data)[r * n + i];
            if (!call->p->nms.has_score_threshold || score > call->p->nms.score_threshold) {
                order[n_left++] = (int64_t)i;
            }
        }
        sort(order, n_left, element_before, &row);
        for (size_t i = 0; i < n_left && n_chosen < (size_t)call->p->nms.max_per_class; i++) {
            bool keep = true;
            for (size_t j = n_out - n_chosen; j < n_out && keep; j++) {
                keep = !(overlap(box + 4 * order[i], box + 4 * y[3 * j + 2],
                                 call->p->nms.center) > call->p->nms.iou_threshold);
            }
            if (keep) {
                y[3 * n_out] = (int64_t)(r / n_classes);
                y[3 * n_out + 1] = (int64_t)(r % n_classes);
                y[3 * n_out + 2] = order[i];
                n_out++;
                n_chosen++;
            }
        }
    }
    set_length(call->out[0], 0, n_out);
    return MD_OK;
}
