/* The reference kernels that share their work among threads, against sums written down as the
 * formulas are, on odd sizes and with one to four threads. */

#include "inference/backend/backend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "near.h"

typedef struct shape {
    int64_t n, c_in, c_out, group;
    int64_t in[3], kernel[3], stride[3], dilation[3], begin[3], end[3];
} shape;

/* Whole strips and parts of them, edges wider than the image, one position, depthwise. */
static const shape shapes[] = {
    {1, 64, 20, 1, {1, 50, 50}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {2, 5, 7, 1, {1, 13, 11}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {1, 6, 33, 3, {1, 17, 19}, {1, 5, 3}, {1, 2, 2}, {1, 1, 1}, {0, 2, 0}, {0, 2, 3}},
    {2, 9, 40, 1, {1, 7, 7}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}},
    {1, 3, 4, 1, {1, 90, 70}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}},
    {1, 3, 50, 1, {1, 5, 6}, {1, 3, 3}, {1, 1, 1}, {1, 2, 2}, {0, 2, 2}, {0, 2, 2}},
    {1, 4, 6, 2, {4, 5, 6}, {2, 3, 2}, {1, 2, 1}, {2, 1, 1}, {1, 1, 0}, {1, 1, 1}},
    {2, 8, 8, 8, {1, 15, 14}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
    {1, 5, 5, 5, {1, 14, 17}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}, {0, 0, 1}, {0, 1, 1}},
    {1, 3, 3, 3, {1, 9, 8}, {1, 3, 3}, {1, 3, 3}, {1, 1, 1}, {0, 3, 3}, {0, 3, 3}},
    {1, 3, 3, 3, {1, 9, 8}, {1, 5, 3}, {1, 1, 2}, {1, 2, 1}, {0, 4, 1}, {0, 4, 1}},
    {1, 2, 3, 1, {1, 2, 2}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 4, 4}, {0, 4, 4}},
    {1, 2, 3, 1, {1, 4, 4}, {1, 7, 7}, {1, 1, 1}, {1, 1, 1}, {0, 3, 3}, {0, 3, 3}},
};

enum {
    N_SHAPES = sizeof shapes / sizeof *shapes,
    MAX_THREADS = 4
};

static void fill(md_tensor *tensor, uint32_t seed)
{
    for (size_t i = 0; i < tensor->n_elements; i++) {
        seed = seed * 1664525U + 1013904223U;
        ((float *)tensor->data)[i] = (float)(seed >> 8) / 8388608.0F - 1.0F;
    }
}

static void make(md_tensor *ret, unsigned n_dims, const int64_t *dims, uint32_t seed)
{
    md_error err = {0};
    assert_int_equal(md_tensor_init(ret, MD_F32, n_dims, dims, &err), MD_OK);
    fill(ret, seed);
}

static md_window window_of(const shape *s)
{
    md_window w = {.n_spatial = 3};
    for (int i = 0; i < 3; i++) {
        w.kernel[i] = s->kernel[i];
        w.stride[i] = s->stride[i];
        w.dilation[i] = s->dilation[i];
        w.pad_begin[i] = s->begin[i];
        w.pad_end[i] = s->end[i];
        w.in[i] = s->in[i];
        w.out[i] =
            (s->in[i] + s->begin[i] + s->end[i] - ((s->kernel[i] - 1) * s->dilation[i] + 1)) /
                s->stride[i] +
            1;
    }
    return w;
}

/* The element under kernel position k of output o on that axis; -1: in the padding. */
static int64_t under(const md_window *w, int axis, int64_t o, int64_t k)
{
    const int64_t at = o * w->stride[axis] - w->pad_begin[axis] + k * w->dilation[axis];
    return at >= 0 && at < w->in[axis] ? at : -1;
}

/* The sum, and the sum of magnitudes, of one output. */
static void naive_conv(const md_window *w, const shape *s, const md_tensor *x,
                       const md_tensor *weights, int64_t n, int64_t k, const int64_t *o,
                       double *ret_sum, double *ret_size)
{
    const int64_t per_group = s->c_in / s->group;
    const float *q = (const float *)weights->data +
                     k * per_group * w->kernel[0] * w->kernel[1] * w->kernel[2];
    *ret_sum = *ret_size = 0.0;
    for (int64_t c = 0; c < per_group; c++) {
        const int64_t plane = n * s->c_in + k / (s->c_out / s->group) * per_group + c;
        for (int64_t a = 0; a < w->kernel[0]; a++) {
            for (int64_t b = 0; b < w->kernel[1]; b++) {
                for (int64_t d = 0; d < w->kernel[2]; d++, q++) {
                    const int64_t z = under(w, 0, o[0], a), y = under(w, 1, o[1], b),
                                  i = under(w, 2, o[2], d);
                    if (z >= 0 && y >= 0 && i >= 0) {
                        const size_t at =
                            (size_t)(((plane * w->in[0] + z) * w->in[1] + y) * w->in[2] + i);
                        const double term = (double)*q * (double)((const float *)x->data)[at];
                        *ret_sum += term;
                        *ret_size += fabs(term);
                    }
                }
            }
        }
    }
}

/* conv + b + r, ReLU, on so many threads. */
static void run_conv(const md_backend_api *api, const shape *s, unsigned n_threads,
                     const md_tensor *const *in, md_tensor *out)
{
    md_error err = {0};
    md_threads *threads = NULL;
    md_op_params p = {.conv = {window_of(s), s->group, {MD_UNARY_RELU, 0.0F, 0.0F}, true}};
    assert_int_equal(md_threads_create(n_threads, &threads, &err), MD_OK);
    assert_int_equal(md_threads_count(threads), n_threads);
    const size_t n_bytes = md_conv_workspace(&p.conv, s->c_in, s->c_out, n_threads);
    void *workspace = md_malloc_aligned(n_bytes);
    assert_non_null(workspace);
    memset(workspace, 0xff, n_bytes); /* NaN */
    memset(out->data, 0xff, out->n_elements * sizeof(float));
    const md_call call = {&p, 4, 1, in, &out, workspace, api->sgemm, &err, threads};
    assert_int_equal(md_kernel_conv(&call), MD_OK);
    md_free(workspace);
    md_threads_destroy(threads);
}

static void check_conv(const md_backend_api *api, const shape *s)
{
    const md_window w = window_of(s);
    md_tensor x, weights, bias, residual, y, again;
    make(&x, 5, (int64_t[]){s->n, s->c_in, s->in[0], s->in[1], s->in[2]}, 1);
    make(&weights, 5,
         (int64_t[]){s->c_out, s->c_in / s->group, s->kernel[0], s->kernel[1], s->kernel[2]},
         2);
    make(&bias, 1, &s->c_out, 3);
    const int64_t dims[] = {s->n, s->c_out, w.out[0], w.out[1], w.out[2]};
    make(&residual, 5, dims, 4);
    make(&y, 5, dims, 0);
    make(&again, 5, dims, 0);
    const md_tensor *const in[] = {&x, &weights, &bias, &residual};
    for (unsigned n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
        run_conv(api, s, n_threads, in, &y);
        run_conv(api, s, n_threads, in, &again);
        assert_memory_equal(y.data, again.data, y.n_elements * sizeof(float));
        for (size_t i = 0; i < y.n_elements; i++) {
            const int64_t o[] = {(int64_t)i / w.out[2] / w.out[1] % w.out[0],
                                 (int64_t)i / w.out[2] % w.out[1], (int64_t)i % w.out[2]};
            const int64_t k = (int64_t)i / w.out[2] / w.out[1] / w.out[0];
            double sum, size;
            naive_conv(&w, s, &x, &weights, k / s->c_out, k % s->c_out, o, &sum, &size);
            sum += (double)((float *)bias.data)[k % s->c_out] +
                   (double)((float *)residual.data)[i];
            assert_near(((float *)y.data)[i], fmax(sum, 0.0), 1e-6 * (size + 2.0));
        }
    }
    md_tensor *const all[] = {&x, &weights, &bias, &residual, &y, &again};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        md_tensor_finish(all[i]);
    }
}

static void test_conv(void **state)
{
    (void)state;
    const md_backend_api *api;
    md_error err = {0};
    void *backend = NULL;
    const md_backend_options options = {.n_threads = 1};
    assert_int_equal(md_openblas_api(&api, &err), MD_OK);
    assert_int_equal(api->create(&options, NULL, &backend, &err), MD_OK);
    api->begin_run(backend);
    for (size_t i = 0; i < N_SHAPES; i++) {
        check_conv(api, &shapes[i]);
    }
    api->destroy(backend);
}

/* Maximum or mean under one window; n counts what the mean is of. */
static double naive_pool(const md_pool_params *pool, const float *plane, const int64_t *o)
{
    const md_window *w = &pool->window;
    double best = -(double)INFINITY, sum = 0.0;
    int64_t n = 0;
    for (int64_t a = 0; a < w->kernel[0]; a++) {
        for (int64_t b = 0; b < w->kernel[1]; b++) {
            for (int64_t d = 0; d < w->kernel[2]; d++) {
                const int64_t z = under(w, 0, o[0], a), y = under(w, 1, o[1], b),
                              i = under(w, 2, o[2], d);
                n += pool->count_include_pad || (z >= 0 && y >= 0 && i >= 0) ? 1 : 0;
                if (z >= 0 && y >= 0 && i >= 0) {
                    const double value = (double)plane[(z * w->in[1] + y) * w->in[2] + i];
                    best = value > best || isnan(value) ? value : best;
                    sum += value;
                }
            }
        }
    }
    return pool->average ? sum / (double)n : best;
}

static void check_pool(const shape *s, bool average, bool include)
{
    md_op_params p = {
        .pool = {.window = window_of(s), .average = average, .count_include_pad = include}};
    const md_window *w = &p.pool.window;
    md_tensor x, y, *out = &y;
    make(&x, 5, (int64_t[]){s->n, s->c_in, s->in[0], s->in[1], s->in[2]}, 1);
    make(&y, 5, (int64_t[]){s->n, s->c_in, w->out[0], w->out[1], w->out[2]}, 0);
    ((float *)x.data)[x.n_elements / 2] = average ? 0.0F : NAN;
    const md_tensor *const in[] = {&x};
    const int64_t n_plane = w->in[0] * w->in[1] * w->in[2];
    for (unsigned n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
        md_error err = {0};
        md_threads *threads = NULL;
        assert_int_equal(md_threads_create(n_threads, &threads, &err), MD_OK);
        memset(y.data, 0, y.n_elements * sizeof(float));
        const md_call call = {&p, 1, 1, in, &out, NULL, NULL, &err, threads};
        assert_int_equal(md_kernel_pool(&call), MD_OK);
        md_threads_destroy(threads);
        for (size_t i = 0; i < y.n_elements; i++) {
            const int64_t o[] = {(int64_t)i / w->out[2] / w->out[1] % w->out[0],
                                 (int64_t)i / w->out[2] % w->out[1], (int64_t)i % w->out[2]};
            const int64_t plane = (int64_t)i / w->out[2] / w->out[1] / w->out[0];
            const double want = naive_pool(&p.pool, (const float *)x.data + plane * n_plane, o);
            const float got = ((float *)y.data)[i];
            assert_true(isnan(want) == isnan(got));
            if (!isnan(want)) {
                assert_near(got, want, average ? 1e-6 : 0.0);
            }
        }
    }
    md_tensor_finish(&x);
    md_tensor_finish(&y);
}

static void test_pool(void **state)
{
    (void)state;
    static const shape pools[] = {
        {2, 3, 3, 1, {1, 20, 150}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}},
        {1, 4, 4, 1, {1, 9, 70}, {1, 2, 2}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}},
        {1, 2, 2, 1, {3, 8, 9}, {2, 3, 3}, {1, 2, 3}, {1, 2, 2}, {1, 1, 2}, {0, 1, 2}},
        {3, 5, 5, 1, {1, 7, 7}, {1, 7, 7}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
        check_pool(&pools[i], false, false);
        check_pool(&pools[i], true, false);
        check_pool(&pools[i], true, true);
    }
}

static void test_norm(void **state)
{
    (void)state;
    const int64_t dims[] = {2, 5, 3, 7}, n_channels = 5;
    md_tensor x, scale, shift, y, *out = &y;
    make(&x, 4, dims, 1);
    make(&scale, 1, &n_channels, 2);
    make(&shift, 1, &n_channels, 3);
    make(&y, 4, dims, 0);
    const md_tensor *const in[] = {&x, &scale, &shift};
    for (unsigned i = 0; i < 2 * MAX_THREADS; i++) {
        md_error err = {0};
        md_threads *threads = NULL;
        md_op_params p = {
            .norm = {.activation.function = i % 2 == 0 ? MD_UNARY_RELU : MD_UNARY_IDENTITY}};
        assert_int_equal(md_threads_create(i / 2 + 1, &threads, &err), MD_OK);
        const md_call call = {&p, 3, 1, in, &out, NULL, NULL, &err, threads};
        assert_int_equal(md_kernel_batch_norm(&call), MD_OK);
        md_threads_destroy(threads);
        for (size_t j = 0; j < y.n_elements; j++) {
            const size_t c = j / 21 % 5;
            const double want =
                (double)((float *)x.data)[j] * (double)((float *)scale.data)[c] +
                (double)((float *)shift.data)[c];
            assert_near(((float *)y.data)[j], i % 2 == 0 ? fmax(want, 0.0) : want, 1e-6);
        }
    }
    md_tensor *const all[] = {&x, &scale, &shift, &y};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        md_tensor_finish(all[i]);
    }
}

static void count_part(void *data, unsigned part, unsigned n_parts)
{
    unsigned *counts = data;
    assert_true(part < n_parts);
    counts[part]++;
}

static void test_threads(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= MAX_THREADS; n++) {
        unsigned counts[MAX_THREADS] = {0};
        md_threads *threads = NULL;
        assert_int_equal(md_threads_create(n, &threads, NULL), MD_OK);
        for (int i = 0; i < 500; i++) {
            md_threads_run(threads, count_part, counts);
        }
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(counts[i], 500);
        }
        md_threads_destroy(threads);
    }
    unsigned alone = 0;
    md_threads_run(NULL, count_part, &alone);
    assert_int_equal(alone, 1);
    md_threads_destroy(NULL);
    /* parts are apart, in order and together all */
    for (int64_t n = 0; n < 70; n++) {
        for (unsigned n_parts = 1; n_parts <= 5; n_parts++) {
            assert_int_equal(md_threads_first(n, 16, 0, n_parts), 0);
            assert_int_equal(md_threads_first(n, 16, n_parts, n_parts), n);
            for (unsigned i = 0; i < n_parts; i++) {
                assert_true(md_threads_first(n, 16, i, n_parts) <=
                            md_threads_first(n, 16, i + 1, n_parts));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
