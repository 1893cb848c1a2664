/* Quantisation, and sums of products of quantised tensors in exact integers. */

#include "inference/backend/element.h"
#include "inference/backend/kernels.h"
#include "inference/backend/stride.h"

#include <math.h>
#include <string.h>

/* Which scale belongs to element i of x. */
static size_t scale_of(const md_quant_params *quant, const md_tensor *x, const md_tensor *scale,
                       size_t i)
{
    size_t n_inner = 1;
    if (scale->n_elements == 1) {
        return 0;
    }
    for (unsigned j = quant->axis + 1; j < x->n_dims; j++) {
        n_inner *= (size_t)x->dims[j];
    }
    const size_t n = (size_t)x->dims[quant->axis], k = i / n_inner % n;
    if (quant->block == 0) {
        return k;
    }
    const size_t n_blocks = (size_t)scale->dims[quant->axis];
    return (i / n_inner / n * n_blocks + k / (size_t)quant->block) * n_inner + i % n_inner;
}

static const md_tensor *optional(const md_call *call, unsigned i)
{
    return i < call->n_in ? call->in[i] : NULL;
}

/* q = round(x / scale) + zero, half to even, cut to q's range. */
md_status md_kernel_quantize(const md_call *call)
{
    const md_tensor *x = call->in[0], *scale = call->in[1], *zero = optional(call, 2);
    for (size_t i = 0; i < x->n_elements; i++) {
        const size_t k = scale_of(&call->p->quant, x, scale, i);
        const float ratio = (float)md_element_real(x, i) / ((const float *)scale->data)[k];
        md_store_real(call->out[0], i,
                      nearbyint((double)ratio) +
                          (zero == NULL ? 0.0 : (double)md_element_int(zero, k)));
    }
    return MD_OK;
}

/* x = (q - zero) scale */
md_status md_kernel_dequantize(const md_call *call)
{
    const md_tensor *q = call->in[0], *scale = call->in[1], *zero = optional(call, 2);
    for (size_t i = 0; i < q->n_elements; i++) {
        const size_t k = scale_of(&call->p->quant, q, scale, i);
        const int64_t steps =
            md_element_int(q, i) - (zero == NULL ? 0 : md_element_int(zero, k));
        ((float *)call->out[0]->data)[i] = (float)steps * ((const float *)scale->data)[k];
    }
    return MD_OK;
}

/* scale = (max(x, 0) - min(x, 0)) / 255, zero = round(-min(x, 0) / scale), then as quantize.
 * Outputs q, scale, zero. */
md_status md_kernel_dynamic_quantize(const md_call *call)
{
    const md_tensor *x = call->in[0];
    const float *from = x->data;
    float low = 0.0F, high = 0.0F;
    for (size_t i = 0; i < x->n_elements; i++) {
        low = from[i] < low ? from[i] : low;
        high = from[i] > high ? from[i] : high;
    }
    const float scale = (high - low) / 255.0F;
    const float zero =
        scale > 0.0F ? nearbyintf(fminf(fmaxf(-low / scale, 0.0F), 255.0F)) : 0.0F;
    for (size_t i = 0; i < x->n_elements; i++) {
        const float steps = scale > 0.0F ? nearbyintf(from[i] / scale) : 0.0F;
        md_store_real(call->out[0], i, (double)steps + (double)zero);
    }
    md_store_real(call->out[1], 0, (double)scale);
    md_store_real(call->out[2], 0, (double)zero);
    return MD_OK;
}

/* Element i of a list, or its only one; 0 without a list. */
static int32_t one_of(const md_tensor *list, int64_t i)
{
    return list == NULL ? 0
                        : (int32_t)md_element_int(list, list->n_elements == 1 ? 0 : (size_t)i);
}

typedef struct bytes {
    const uint8_t *data;
    bool is_signed;
} bytes;

static int32_t byte_at(const bytes *x, int64_t i)
{
    return x->is_signed ? (int8_t)x->data[i] : x->data[i];
}

/* One output of a convolution; x at the first channel of the group in this image. */
static uint32_t window_sum(const md_window *w, const bytes *x, const bytes *weights,
                           int64_t n_channels, const int64_t *out, int32_t x_zero,
                           int32_t w_zero)
{
    const int64_t n_plane = w->in[0] * w->in[1] * w->in[2];
    int64_t i = 0;
    uint32_t sum = 0;
    for (int64_t c = 0; c < n_channels; c++) {
        for (int64_t kz = 0; kz < w->kernel[0]; kz++) {
            const int64_t z = out[0] * w->stride[0] - w->pad_begin[0] + kz * w->dilation[0];
            for (int64_t ky = 0; ky < w->kernel[1]; ky++) {
                const int64_t y = out[1] * w->stride[1] - w->pad_begin[1] + ky * w->dilation[1];
                for (int64_t kx = 0; kx < w->kernel[2]; kx++, i++) {
                    const int64_t column =
                        out[2] * w->stride[2] - w->pad_begin[2] + kx * w->dilation[2];
                    if (z < 0 || z >= w->in[0] || y < 0 || y >= w->in[1] || column < 0 ||
                        column >= w->in[2]) {
                        continue; /* padding is the zero point, so it adds nothing */
                    }
                    const int64_t at = c * n_plane + (z * w->in[1] + y) * w->in[2] + column;
                    sum +=
                        (uint32_t)((byte_at(x, at) - x_zero) * (byte_at(weights, i) - w_zero));
                }
            }
        }
    }
    return sum;
}

/* y[n,k,p] = b[k] + sum of (x - x_zero) (w - w_zero[k]) under the window, in int32, which wraps
 * around. inputs x, w, their zero points, bias. */
md_status md_kernel_conv_integer(const md_call *call)
{
    const md_window *w = &call->p->conv.window;
    const md_tensor *x = call->in[0], *weights = call->in[1], *y = call->out[0];
    const int64_t group = call->p->conv.group;
    const int64_t n_in = x->dims[1] / group, n_out = y->dims[1] / group;
    const int64_t n_plane = w->in[0] * w->in[1] * w->in[2];
    const int64_t n_positions = w->out[0] * w->out[1] * w->out[2];
    const int64_t n_weights = n_in * w->kernel[0] * w->kernel[1] * w->kernel[2];
    int32_t *to = y->data;
    for (int64_t row = 0; row < y->dims[0] * y->dims[1]; row++) {
        const int64_t n = row / y->dims[1], k = row % y->dims[1];
        const bytes image = {(const uint8_t *)x->data +
                                 (n * x->dims[1] + k / n_out * n_in) * n_plane,
                             x->dtype == MD_I8};
        const bytes kernel = {(const uint8_t *)weights->data + k * n_weights,
                              weights->dtype == MD_I8};
        for (int64_t i = 0; i < n_positions; i++) {
            const int64_t out[3] = {i / w->out[2] / w->out[1], i / w->out[2] % w->out[1],
                                    i % w->out[2]};
            const uint32_t sum = window_sum(w, &image, &kernel, n_in, out,
                                            one_of(call->in[2], 0), one_of(call->in[3], k));
            *to++ = (int32_t)(sum + (uint32_t)one_of(call->in[4], k));
        }
    }
    return MD_OK;
}

/* y = (a - a_zero[row]) (b - b_zero[column]) in int32; inputs a, b and their zero points. */
md_status md_kernel_matmul_integer(const md_call *call)
{
    const md_tensor *a = call->in[0], *b = call->in[1], *y = call->out[0];
    const int64_t m = y->dims[y->n_dims - 2], n = y->dims[y->n_dims - 1];
    const int64_t k = a->dims[a->n_dims - 1];
    int32_t *out = y->data;
    if (y->n_elements == 0) {
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
        const bytes left = {(const uint8_t *)a->data + walk.offset[0] * m * k,
                            a->dtype == MD_I8};
        const bytes right = {(const uint8_t *)b->data + walk.offset[1] * k * n,
                             b->dtype == MD_I8};
        for (int64_t i = 0; i < m * n; i++) {
            const int32_t a_zero = one_of(call->in[2], i / n);
            const int32_t b_zero = one_of(call->in[3], i % n);
            uint32_t sum = 0;
            for (int64_t l = 0; l < k; l++) {
                sum += (uint32_t)((byte_at(&left, i / n * k + l) - a_zero) *
                                  (byte_at(&right, l * n + i % n) - b_zero));
            }
            *out++ = (int32_t)sum;
        }
    } while (md_stride_walk_next(&walk, 0));
    return MD_OK;
}

/* q = round(sum a_scale b_scale[axis] / y_scale) + y_zero; inputs sum, a_scale, b_scale,
 * y_scale, y_zero. */
md_status md_kernel_requantize(const md_call *call)
{
    const md_tensor *x = call->in[0], *b_scale = call->in[2];
    const float a_scale = *(const float *)call->in[1]->data;
    const float y_scale = *(const float *)call->in[3]->data;
    const double zero = (double)md_element_int(call->in[4], 0);
    for (size_t i = 0; i < x->n_elements; i++) {
        const size_t k = scale_of(&call->p->quant, x, b_scale, i);
        const float scale = a_scale * ((const float *)b_scale->data)[k] / y_scale;
        const double value = (double)((const int32_t *)x->data)[i] * (double)scale;
        md_store_real(call->out[0], i, nearbyint(value) + zero);
    }
    return MD_OK;
}
