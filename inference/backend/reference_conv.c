/* Convolution by im2col and sgemm, its transpose, and matrix products. */

#include "inference/backend/element.h"
#include "inference/backend/kernels.h"
#include "inference/backend/stride.h"

#include <string.h>

enum {
    COLUMN_FLOATS = 1 << 20 /* im2col works on strips of about this many floats: 4 MiB */
};

/* A convolution without a window: its input is the matrix already. */
static bool is_pointwise(const md_window *w)
{
    for (unsigned i = 0; i < 3; i++) {
        if (w->kernel[i] != 1 || w->stride[i] != 1 || w->pad_begin[i] != 0 ||
            w->pad_end[i] != 0) {
            return false;
        }
    }
    return true;
}

static int64_t volume(const int64_t *lengths)
{
    return lengths[0] * lengths[1] * lengths[2];
}

static int64_t strip_length(int64_t n_rows, int64_t n_positions)
{
    int64_t n = COLUMN_FLOATS / n_rows;
    n = n < 64 ? 64 : n;
    return n > n_positions ? n_positions : n;
}

static bool is_depthwise(const md_conv_params *conv, int64_t c_in, int64_t c_out)
{
    return conv->group == c_in && c_out == c_in;
}

size_t md_conv_workspace(const md_conv_params *conv, int64_t c_in, int64_t c_out)
{
    const md_window *w = &conv->window;
    if (is_pointwise(w) || is_depthwise(conv, c_in, c_out)) {
        return 0;
    }
    int64_t n_rows = c_in / conv->group * volume(w->kernel);
    return (size_t)n_rows * (size_t)strip_length(n_rows, volume(w->out)) * sizeof(float);
}

/* Fill row[0..n) with the input under one kernel element for the output positions first..
 * of one channel; positions in the padding are 0. */
static void gather_row(const md_window *w, const float *x, const int64_t *at, int64_t first,
                       int64_t n, float *row)
{
    const int64_t ow = w->out[2];
    while (n > 0) {
        int64_t x_out = first % ow, y_out = first / ow % w->out[1],
                z_out = first / ow / w->out[1];
        int64_t run = ow - x_out < n ? ow - x_out : n;
        int64_t z = z_out * w->stride[0] - w->pad_begin[0] + at[0] * w->dilation[0];
        int64_t y = y_out * w->stride[1] - w->pad_begin[1] + at[1] * w->dilation[1];
        int64_t left = x_out * w->stride[2] - w->pad_begin[2] + at[2] * w->dilation[2];
        if (z < 0 || z >= w->in[0] || y < 0 || y >= w->in[1]) {
            memset(row, 0, (size_t)run * sizeof *row);
        } else {
            const float *line = x + (z * w->in[1] + y) * w->in[2];
            for (int64_t i = 0; i < run; i++) {
                int64_t column = left + i * w->stride[2];
                row[i] = column >= 0 && column < w->in[2] ? line[column] : 0.0F;
            }
        }
        row += run;
        first += run;
        n -= run;
    }
}

/* columns [n_channels * kernel volume, n] of the output positions first..first + n. */
static void im2col(const md_window *w, const float *x, int64_t n_channels, int64_t first,
                   int64_t n, float *columns)
{
    for (int64_t c = 0; c < n_channels; c++) {
        int64_t at[3];
        for (at[0] = 0; at[0] < w->kernel[0]; at[0]++) {
            for (at[1] = 0; at[1] < w->kernel[1]; at[1]++) {
                for (at[2] = 0; at[2] < w->kernel[2]; at[2]++) {
                    gather_row(w, x + c * volume(w->in), at, first, n, columns);
                    columns += n;
                }
            }
        }
    }
}

/* out += weight * input under one kernel element, over one plane. */
static void depthwise_element(const md_window *w, const float *x, const int64_t *at,
                              float weight, float *out)
{
    for (int64_t oz = 0; oz < w->out[0]; oz++) {
        int64_t z = oz * w->stride[0] - w->pad_begin[0] + at[0] * w->dilation[0];
        for (int64_t oy = 0; oy < w->out[1] && z >= 0 && z < w->in[0]; oy++) {
            int64_t y = oy * w->stride[1] - w->pad_begin[1] + at[1] * w->dilation[1];
            if (y < 0 || y >= w->in[1]) {
                continue;
            }
            const float *line = x + (z * w->in[1] + y) * w->in[2];
            float *to = out + (oz * w->out[1] + oy) * w->out[2];
            int64_t left = at[2] * w->dilation[2] - w->pad_begin[2], step = w->stride[2];
            int64_t begin = left < 0 ? (-left + step - 1) / step : 0;
            int64_t end = w->in[2] > left ? (w->in[2] - left + step - 1) / step : 0;
            end = end > w->out[2] ? w->out[2] : end;
            for (int64_t i = begin; i < end; i++) {
                to[i] += weight * line[left + i * step];
            }
        }
    }
}

static void depthwise(const md_window *w, const float *x, const float *weights, float *out)
{
    int64_t at[3];
    memset(out, 0, (size_t)volume(w->out) * sizeof *out);
    for (at[0] = 0; at[0] < w->kernel[0]; at[0]++) {
        for (at[1] = 0; at[1] < w->kernel[1]; at[1]++) {
            for (at[2] = 0; at[2] < w->kernel[2]; at[2]++) {
                depthwise_element(w, x, at, *weights++, out);
            }
        }
    }
}

/* out [c_out, positions] = weights [c_out, rows] columns [rows, positions], one group. */
static void convolve_group(const md_call *call, const float *x, const float *weights,
                           int64_t c_in, int64_t c_out, float *out)
{
    const md_window *w = &call->p->conv.window;
    const int64_t n_rows = c_in * volume(w->kernel), n_all = volume(w->out);
    if (is_pointwise(w)) {
        call->sgemm(false, false, c_out, n_all, n_rows, 1.0F, weights, n_rows, x, n_all, 0.0F,
                    out, n_all);
        return;
    }
    const int64_t strip = strip_length(n_rows, n_all);
    for (int64_t first = 0; first < n_all; first += strip) {
        int64_t n = n_all - first < strip ? n_all - first : strip;
        im2col(w, x, c_in, first, n, call->workspace);
        call->sgemm(false, false, c_out, n, n_rows, 1.0F, weights, n_rows, call->workspace, n,
                    0.0F, out + first, n_all);
    }
}

/* Bias, residual and activation on one image's output. */
static void finish_output(const md_call *call, const float *bias, const float *residual,
                          int64_t n_channels, int64_t n, float *out)
{
    for (int64_t c = 0; c < n_channels; c++) {
        float *to = out + c * n;
        const float shift = bias == NULL ? 0.0F : bias[c];
        if (residual != NULL) {
            const float *add = residual + c * n;
            for (int64_t i = 0; i < n; i++) {
                to[i] = to[i] + shift + add[i];
            }
        } else if (bias != NULL) {
            for (int64_t i = 0; i < n; i++) {
                to[i] += shift;
            }
        }
        if (call->p->conv.activation.function != MD_UNARY_IDENTITY) {
            md_activate(&call->p->conv.activation, to, to, (size_t)n);
        }
    }
}

static const float *optional_input(const md_call *call, unsigned i)
{
    return i < call->n_in && call->in[i] != NULL ? call->in[i]->data : NULL;
}

/* y[n,k,p] = act(b[k] + r[n,k,p] + sum_{c,q} x[n, c, p stride - pad + q dilation] w[k,c,q]),
 * with x [N,C,D,H,W], w [K,C/group,kd,kh,kw]; inputs x, w, b or none, r or none. */
md_status md_kernel_conv(const md_call *call)
{
    const md_conv_params *conv = &call->p->conv;
    const md_tensor *x = call->in[0], *weights = call->in[1], *y = call->out[0];
    const int64_t c_in = x->dims[1], c_out = y->dims[1], group = conv->group;
    const int64_t n_in = volume(conv->window.in), n_out = volume(conv->window.out);
    const int64_t n_weights = (int64_t)weights->n_elements / group;
    const float *residual = optional_input(call, 3);
    for (int64_t n = 0; n < x->dims[0]; n++) {
        float *out = (float *)y->data + n * c_out * n_out;
        for (int64_t g = 0; g < group; g++) {
            const float *from = (const float *)x->data + (n * c_in + g * (c_in / group)) * n_in;
            const float *w = (const float *)weights->data + g * n_weights;
            float *to = out + g * (c_out / group) * n_out;
            if (is_depthwise(conv, c_in, c_out)) {
                depthwise(&conv->window, from, w, to);
            } else {
                convolve_group(call, from, w, c_in / group, c_out / group, to);
            }
        }
        finish_output(call, optional_input(call, 2),
                      residual == NULL ? NULL : residual + n * c_out * n_out, c_out, n_out,
                      out);
    }
    return MD_OK;
}

/* Add one row of columns back: the reverse of gather_row. Window in and out are those of the
 * transposed convolution, so its input positions are the columns' positions. */
static void scatter_row(const md_window *w, const float *row, const int64_t *at, float *out)
{
    for (int64_t z_in = 0; z_in < w->in[0]; z_in++) {
        int64_t z = z_in * w->stride[0] - w->pad_begin[0] + at[0] * w->dilation[0];
        for (int64_t y_in = 0; y_in < w->in[1]; y_in++) {
            int64_t y = y_in * w->stride[1] - w->pad_begin[1] + at[1] * w->dilation[1];
            const float *from = row + (z_in * w->in[1] + y_in) * w->in[2];
            if (z < 0 || z >= w->out[0] || y < 0 || y >= w->out[1]) {
                continue;
            }
            float *line = out + (z * w->out[1] + y) * w->out[2];
            for (int64_t x_in = 0; x_in < w->in[2]; x_in++) {
                int64_t column = x_in * w->stride[2] - w->pad_begin[2] + at[2] * w->dilation[2];
                if (column >= 0 && column < w->out[2]) {
                    line[column] += from[x_in];
                }
            }
        }
    }
}

/* The gradient of a convolution with respect to its input: y[n,k,p] = b[k] + sum over c, i, q
 * with p = i stride - pad + q dilation of x[n,c,i] w[c,k,q]; w [C,K/group,kd,kh,kw]. workspace:
 * columns [K/group * kernel volume, input positions]. */
md_status md_kernel_conv_transpose(const md_call *call)
{
    const md_conv_params *conv = &call->p->conv;
    const md_window *w = &conv->window;
    const md_tensor *x = call->in[0], *y = call->out[0];
    const int64_t c_in = x->dims[1] / conv->group, c_out = y->dims[1] / conv->group;
    const int64_t n_in = volume(w->in), n_out = volume(w->out);
    const int64_t n_rows = c_out * volume(w->kernel);
    float *columns = call->workspace;
    memset(y->data, 0, y->n_elements * sizeof(float));
    for (int64_t n = 0; n < x->dims[0]; n++) {
        for (int64_t g = 0; g < conv->group; g++) {
            const float *from = (const float *)x->data + (n * conv->group + g) * c_in * n_in;
            const float *weights = (const float *)call->in[1]->data + g * c_in * n_rows;
            float *to = (float *)y->data + (n * conv->group + g) * c_out * n_out;
            call->sgemm(true, false, n_rows, n_in, c_in, 1.0F, weights, n_rows, from, n_in,
                        0.0F, columns, n_in);
            const float *row = columns;
            for (int64_t c = 0; c < c_out; c++) {
                int64_t at[3];
                for (at[0] = 0; at[0] < w->kernel[0]; at[0]++) {
                    for (at[1] = 0; at[1] < w->kernel[1]; at[1]++) {
                        for (at[2] = 0; at[2] < w->kernel[2]; at[2]++) {
                            scatter_row(w, row, at, to + c * n_out);
                            row += n_in;
                        }
                    }
                }
            }
        }
        finish_output(call, optional_input(call, 2), NULL, y->dims[1], n_out,
                      (float *)y->data + n * y->dims[1] * n_out);
    }
    return MD_OK;
}

/* Y [m,n] = act(alpha op(A) op(B) + beta C), C broadcast to [m,n]. */
md_status md_kernel_gemm(const md_call *call)
{
    const md_tensor *a = call->in[0], *b = call->in[1], *y = call->out[0];
    const bool ta = call->p->gemm.transpose_a, tb = call->p->gemm.transpose_b;
    const int64_t m = y->dims[0], n = y->dims[1], k = a->dims[ta ? 0 : 1];
    const float beta = call->p->gemm.beta;
    float *out = y->data;
    if (y->n_elements == 0) {
        return MD_OK;
    }
    memset(out, 0, y->n_elements * sizeof *out);
    if (call->n_in > 2 && call->in[2] != NULL && beta != 0.0F) {
        md_stride_walk walk = {.n_dims = 2, .dims = {m, n}};
        const float *c = call->in[2]->data;
        md_stride_walk_broadcast(&walk, call->in[2]);
        for (int64_t i = 0; i < m * n; i++) {
            out[i] = beta * c[walk.offset[0]];
            (void)md_stride_walk_next(&walk, 0);
        }
    }
    if (k > 0) {
        call->sgemm(ta, tb, m, n, k, call->p->gemm.alpha, a->data, a->dims[1], b->data,
                    b->dims[1], 1.0F, out, n);
    }
    if (call->p->gemm.activation.function != MD_UNARY_IDENTITY) {
        md_activate(&call->p->gemm.activation, out, out, y->n_elements);
    }
    return MD_OK;
}

/* C [m,n] = A [m,k] B [k,n] of other types than float32; integers wrap around. */
static void typed_product(md_dtype dtype, const void *a, const void *b, void *c, int64_t m,
                          int64_t n, int64_t k)
{
    switch ((int)dtype) {
#define PRODUCT(dtype, T, U)                                                                   \
    case dtype: {                                                                              \
        const T *x = a, *y = b;                                                                \
        T *z = c;                                                                              \
        memset(z, 0, (size_t)(m * n) * sizeof *z);                                             \
        for (int64_t i = 0; i < m; i++) {                                                      \
            for (int64_t l = 0; l < k; l++) {                                                  \
                for (int64_t j = 0; j < n; j++) {                                              \
                    z[i * n + j] = (T)((U)z[i * n + j] + (U)x[i * k + l] * (U)y[l * n + j]);   \
                }                                                                              \
            }                                                                                  \
        }                                                                                      \
        break;                                                                                 \
    }
        MD_FOR_EACH_INTEGER(PRODUCT)
        MD_FOR_EACH_REAL(PRODUCT)
#undef PRODUCT
    default:
        break;
    }
}

/* Y[..., m, n] = A[..., m, k] B[..., k, n], the leading axes broadcast. */
md_status md_kernel_matmul(const md_call *call)
{
    const md_tensor *a = call->in[0], *b = call->in[1], *y = call->out[0];
    const int64_t m = y->dims[y->n_dims - 2], n = y->dims[y->n_dims - 1];
    const int64_t k = a->dims[a->n_dims - 1];
    const size_t n_bytes = md_dtype_bytes(y->dtype);
    uint8_t *out = y->data;
    if (y->n_elements == 0) {
        return MD_OK;
    }
    if (k == 0) {
        memset(out, 0, y->n_elements * n_bytes);
        return MD_OK;
    }
    md_tensor a_batch = *a, b_batch = *b;
    a_batch.n_dims -= 2;
    b_batch.n_dims -= 2;
    md_stride_walk walk = {.n_dims = y->n_dims - 2};
    memcpy(walk.dims, y->dims, sizeof y->dims);
    md_stride_walk_broadcast(&walk, &a_batch);
    md_stride_walk_broadcast(&walk, &b_batch);
    do {
        const uint8_t *x =
            (const uint8_t *)a->data + (size_t)(walk.offset[0] * m * k) * n_bytes;
        const uint8_t *z =
            (const uint8_t *)b->data + (size_t)(walk.offset[1] * k * n) * n_bytes;
        if (y->dtype == MD_F32) {
            call->sgemm(false, false, m, n, k, 1.0F, (const void *)x, k, (const void *)z, n,
                        0.0F, (void *)out, n);
        } else {
            typed_product(y->dtype, x, z, out, m, n, k);
        }
        out += (size_t)(m * n) * n_bytes;
    } while (md_stride_walk_next(&walk, 0));
    return MD_OK;
}
