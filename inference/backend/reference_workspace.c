/* Scratch memory of the kernels. */

#include "inference/backend/kernels.h"

/* a b c, in bytes of `size`. */
static md_status bytes(size_t a, size_t b, size_t c, size_t size, size_t *ret_bytes,
                       md_error *err)
{
    size_t n;
    if (!md_mul(a, b, &n) || !md_mul(n, c, &n) || !md_mul(n, size, ret_bytes)) {
        return md_fail(err, MD_LIMIT, "scratch space overflows");
    }
    return MD_OK;
}

static size_t volume(const int64_t *lengths)
{
    return (size_t)lengths[0] * (size_t)lengths[1] * (size_t)lengths[2];
}

/* Two images that hold any stage, and weights, see reference_resize.c. */
static md_status resize_workspace(const md_tensor *x, const md_tensor *y, size_t *ret_bytes,
                                  md_error *err)
{
    size_t largest = 1, longest = 0, weight_bytes = 0;
    for (unsigned i = 0; i < y->n_dims; i++) {
        size_t length = (size_t)(y->dims[i] > x->dims[i] ? y->dims[i] : x->dims[i]);
        if (!md_mul(largest, length, &largest)) {
            return md_fail(err, MD_LIMIT, "scratch space overflows");
        }
        longest = (size_t)x->dims[i] > longest ? (size_t)x->dims[i] : longest;
    }
    MD_TRY(bytes(largest, 2, 1, sizeof(float), ret_bytes, err));
    MD_TRY(bytes(longest, 1, 1, sizeof(double), &weight_bytes, err));
    return md_add(*ret_bytes, weight_bytes, ret_bytes)
               ? MD_OK
               : md_fail(err, MD_LIMIT, "scratch space overflows");
}

md_status md_kernel_workspace(const md_graph *graph, const md_node *node, unsigned n_threads,
                              size_t *ret_bytes, md_error *err)
{
    const md_tensor *x = md_node_in(graph, node, 0);
    const md_tensor *y = md_node_out(graph, node, 0);
    size_t n = 0;
    *ret_bytes = 0;
    switch ((int)node->op) {
    case MD_OP_CONV:
        *ret_bytes = md_conv_workspace(&node->p.conv, x->dims[1], y->dims[1], n_threads);
        return MD_OK;
    case MD_OP_CONV_TRANSPOSE: {
        const md_window *w = &node->p.conv.window;
        return bytes((size_t)(y->dims[1] / node->p.conv.group), volume(w->kernel),
                     volume(w->in), sizeof(float), ret_bytes, err);
    }
    case MD_OP_PAD:
        for (unsigned i = 0; i < y->n_dims; i++) {
            n += (size_t)y->dims[i];
        }
        return bytes(n, 1, 1, sizeof(int64_t), ret_bytes, err);
    case MD_OP_RESIZE:
        return resize_workspace(x, y, ret_bytes, err);
    case MD_OP_TOP_K:
        return bytes((size_t)x->dims[node->p.top_k.axis], 1, 1, sizeof(int64_t), ret_bytes,
                     err);
    case MD_OP_UNIQUE:
        n = node->p.select.flat ? x->n_elements : (size_t)x->dims[node->p.select.axis];
        return bytes(n, 2, 1, sizeof(int64_t), ret_bytes, err);
    case MD_OP_NMS:
        return bytes((size_t)x->dims[1], 1, 1, sizeof(int64_t), ret_bytes, err);
    case MD_OP_DET:
        n = (size_t)x->dims[x->n_dims - 1];
        return bytes(n, n, 1, sizeof(double), ret_bytes, err);
    case MD_OP_RNN: /* the gates, and up to two states, of one batch; see reference_rnn.c */
        n = node->p.rnn.kind == MD_RNN_LSTM ? 6 : node->p.rnn.kind == MD_RNN_GRU ? 8 : 2;
        return bytes((size_t)x->dims[node->p.rnn.batch_first ? 0 : 1],
                     (size_t)node->p.rnn.n_hidden, n, sizeof(float), ret_bytes, err);
    default:
        return MD_OK;
    }
}
