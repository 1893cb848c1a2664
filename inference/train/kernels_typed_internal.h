/* The kernels of one element type: included by kernels.c, once with T float and once with T
 * uint16_t (bfloat16), LOAD, STORE and NAME set. What they compute stands in kernels.h. */

/* Rows whose float sums stay exact enough, and which the first cache holds for a second look.
 */
static size_t NAME(tile_rows)(size_t width)
{
    const size_t rows = 8192 / (width == 0 ? 1 : width);
    return rows < 8 ? 8 : rows > 256 ? 256 : rows;
}

static void NAME(put)(T *y, md_write write, size_t i, float value)
{
    y[i] = STORE(write == MD_WRITE_ADD ? LOAD(y[i]) + value : value);
}

static void NAME(column_sums)(const T *restrict x, size_t rows, size_t width,
                              float *restrict sum)
{
    size_t r = 0;
    memset(sum, 0, width * sizeof *sum);
    for (; r + 4 <= rows; r += 4, x += 4 * width) {
        for (size_t c = 0; c < width; c++) {
            sum[c] += (LOAD(x[c]) + LOAD(x[width + c])) +
                      (LOAD(x[2 * width + c]) + LOAD(x[3 * width + c]));
        }
    }
    for (; r < rows; r++, x += width) {
        for (size_t c = 0; c < width; c++) {
            sum[c] += LOAD(x[c]);
        }
    }
}

static void NAME(column_squares)(const T *restrict x, size_t rows, size_t width,
                                 const float *restrict mean, float *restrict sum)
{
    size_t r = 0;
    memset(sum, 0, width * sizeof *sum);
    for (; r + 2 <= rows; r += 2, x += 2 * width) {
        for (size_t c = 0; c < width; c++) {
            const float p = LOAD(x[c]) - mean[c], q = LOAD(x[width + c]) - mean[c];
            sum[c] += p * p + q * q;
        }
    }
    for (; r < rows; r++, x += width) {
        for (size_t c = 0; c < width; c++) {
            const float p = LOAD(x[c]) - mean[c];
            sum[c] += p * p;
        }
    }
}

/* Tiles are merged as Chan, Golub and LeVeque 1979 do. */
static void NAME(moments)(const void *data, size_t rows, size_t width, double *restrict mean,
                          double *restrict m2, float *restrict sums)
{
    const T *x = data;
    const size_t tile = NAME(tile_rows)(width);
    float *tile_mean = sums, *tile_m2 = sums + width;
    memset(mean, 0, width * sizeof *mean);
    memset(m2, 0, width * sizeof *m2);
    for (size_t done = 0; done < rows; done += tile, x += tile * width) {
        const size_t n = rows - done < tile ? rows - done : tile;
        const float inverse = 1.0F / (float)n;
        NAME(column_sums)(x, n, width, tile_mean);
        for (size_t c = 0; c < width; c++) {
            tile_mean[c] *= inverse;
        }
        NAME(column_squares)(x, n, width, tile_mean, tile_m2);
        const double share = (double)n / (double)(done + n), weight = (double)done * share;
        for (size_t c = 0; c < width; c++) {
            const double delta = (double)tile_mean[c] - mean[c];
            mean[c] += delta * share;
            m2[c] += (double)tile_m2[c] + delta * delta * weight;
        }
    }
}

static void NAME(normalize)(const void *data, const void *residual, void *result, size_t rows,
                            size_t width, const float *restrict a, const float *restrict b,
                            const md_clamp *clamp)
{
    const T *x = data, *s = residual;
    T *y = result;
    const float low = clamp->low, high = clamp->high;
    for (size_t r = 0; r < rows; r++, x += width, y += width) {
        if (s != NULL) {
            for (size_t c = 0; c < width; c++) {
                float v = LOAD(x[c]) * a[c] + b[c] + LOAD(s[c]);
                v = v < low ? low : v;
                y[c] = STORE(v > high ? high : v);
            }
            s += width;
        } else {
            for (size_t c = 0; c < width; c++) {
                float v = LOAD(x[c]) * a[c] + b[c];
                v = v < low ? low : v;
                y[c] = STORE(v > high ? high : v);
            }
        }
    }
}

/* One tile of norm_sums. */
static void NAME(norm_tile)(const T *restrict x, const T *restrict y, const T *dy, T *dz,
                            size_t rows, size_t width, const float *restrict mean,
                            const md_clamp *clamp, float *restrict sum, float *restrict sum_x)
{
    const float low = clamp->low, high = clamp->high;
    for (size_t r = 0; r < rows; r++, x += width, dy += width, dz += width) {
        if (y != NULL) {
            for (size_t c = 0; c < width; c++) {
                const float v = LOAD(y[c]);
                const float d = v > low && v < high ? LOAD(dy[c]) : 0.0F;
                dz[c] = STORE(d);
                sum[c] += d;
                sum_x[c] += d * (LOAD(x[c]) - mean[c]);
            }
            y += width;
        } else {
            for (size_t c = 0; c < width; c++) {
                const float d = LOAD(dy[c]);
                sum[c] += d;
                sum_x[c] += d * (LOAD(x[c]) - mean[c]);
            }
        }
    }
}

static void NAME(copy)(const void *data, void *result, md_write write, size_t n)
{
    const T *dy = data;
    T *restrict dx = result;
    if (write == MD_WRITE_SET) {
        memcpy(dx, dy, n * sizeof *dx);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        dx[i] = STORE(LOAD(dx[i]) + LOAD(dy[i]));
    }
}

static void NAME(norm_sums)(const void *data, const void *output, const void *gradient,
                            void *masked, void *residual_gradient, md_write residual_write,
                            size_t rows, size_t width, const float *mean, const md_clamp *clamp,
                            double *restrict sum, double *restrict sum_x, float *restrict sums)
{
    const size_t tile = NAME(tile_rows)(width);
    const T *x = data, *y = output, *dy = gradient;
    T *dz = masked, *ds = residual_gradient;
    for (size_t done = 0; done < rows; done += tile) {
        const size_t n = rows - done < tile ? rows - done : tile, at = done * width;
        memset(sums, 0, 2 * width * sizeof *sums);
        NAME(norm_tile)
        (x + at, y == NULL ? NULL : y + at, dy + at, dz + at, n, width, mean, clamp, sums,
         sums + width);
        for (size_t c = 0; c < width; c++) {
            sum[c] += (double)sums[c];
            sum_x[c] += (double)sums[width + c];
        }
        if (ds != NULL) {
            NAME(copy)(dz + at, ds + at, residual_write, n * width);
        }
    }
}

static void NAME(norm_data)(const void *data, const void *gradient, void *result,
                            md_write write, size_t rows, size_t width, const float *restrict a,
                            const float *restrict b, const float *restrict mean,
                            const float *restrict k)
{
    const T *x = data, *dz = gradient;
    T *dx = result;
    for (size_t r = 0; r < rows; r++, x += width, dz += width, dx += width) {
        if (write == MD_WRITE_ADD) {
            for (size_t c = 0; c < width; c++) {
                dx[c] = STORE(LOAD(dx[c]) +
                              (a[c] * LOAD(dz[c]) + (b[c] * (LOAD(x[c]) - mean[c]) + k[c])));
            }
        } else {
            for (size_t c = 0; c < width; c++) {
                dx[c] = STORE(a[c] * LOAD(dz[c]) + (b[c] * (LOAD(x[c]) - mean[c]) + k[c]));
            }
        }
    }
}

static void NAME(mask)(const void *output, void *gradient, size_t n, const md_clamp *clamp)
{
    const T *restrict y = output;
    T *restrict dy = gradient;
    const float low = clamp->low, high = clamp->high;
    for (size_t i = 0; i < n; i++) {
        const float v = LOAD(y[i]);
        dy[i] = v > low && v < high ? dy[i] : 0;
    }
}

static void NAME(clamp)(const void *data, void *result, size_t n, const md_clamp *clamp)
{
    const T *x = data;
    T *y = result;
    const float low = clamp->low, high = clamp->high;
    for (size_t i = 0; i < n; i++) {
        float v = LOAD(x[i]);
        v = v < low ? low : v;
        y[i] = STORE(v > high ? high : v);
    }
}

static void NAME(add)(const void *first, const void *second, void *result, size_t n)
{
    const T *a = first, *b = second;
    T *y = result;
    for (size_t i = 0; i < n; i++) {
        y[i] = STORE(LOAD(a[i]) + LOAD(b[i]));
    }
}

static void NAME(multiply)(const void *first, const void *second, void *result, md_write write,
                           size_t n)
{
    const T *a = first, *b = second;
    T *y = result;
    if (write == MD_WRITE_ADD) {
        for (size_t i = 0; i < n; i++) {
            y[i] = STORE(LOAD(y[i]) + LOAD(a[i]) * LOAD(b[i]));
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        y[i] = STORE(LOAD(a[i]) * LOAD(b[i]));
    }
}

static void NAME(activate)(const md_activation *activation, const void *data, void *result,
                           size_t n)
{
    const T *x = data;
    T *y = result;
    for (size_t i = 0; i < n; i++) {
        y[i] = STORE(value_of(activation, LOAD(x[i])));
    }
}

static void NAME(activate_back)(const md_activation *activation, const void *data,
                                const void *gradient, void *result, md_write write, size_t n)
{
    const T *x = data, *dy = gradient;
    T *dx = result;
    for (size_t i = 0; i < n; i++) {
        NAME(put)(dx, write, i, slope_of(activation, LOAD(x[i])) * LOAD(dy[i]));
    }
}

static void NAME(scale_rows)(const void *data, const float *restrict s, const float *restrict t,
                             void *result, md_write write, size_t rows, size_t width)
{
    const T *x = data;
    T *y = result;
    for (size_t r = 0; r < rows; r++, x += width, y += width) {
        for (size_t c = 0; c < width; c++) {
            const float v =
                (s == NULL ? LOAD(x[c]) : LOAD(x[c]) * s[c]) + (t == NULL ? 0.0F : t[c]);
            NAME(put)(y, write, c, v);
        }
    }
}

static void NAME(sum_rows)(const void *data, const void *weights, size_t rows, size_t width,
                           double *restrict sum, float *restrict sums)
{
    const size_t tile = NAME(tile_rows)(width);
    const T *x = data, *w = weights;
    for (size_t done = 0; done < rows; done += tile) {
        const size_t n = rows - done < tile ? rows - done : tile, at = done * width;
        if (w == NULL) {
            NAME(column_sums)(x + at, n, width, sums);
        } else {
            memset(sums, 0, width * sizeof *sums);
            for (size_t r = 0; r < n; r++) {
                const T *restrict p = x + at + r * width, *restrict q = w + at + r * width;
                for (size_t c = 0; c < width; c++) {
                    sums[c] += LOAD(p[c]) * LOAD(q[c]);
                }
            }
        }
        for (size_t c = 0; c < width; c++) {
            sum[c] += (double)sums[c];
        }
    }
}

/* The largest of a window's elements inside the image, for BLOCK channels in a register, and
 * (max_rest) for the n channels that are left over. */
static inline void NAME(max_block)(const T *restrict x, const span *s, size_t width,
                                   T *restrict y, uint8_t *restrict index)
{
    vector_f best = {0};
    vector_i at = {0};
    bool first = true;
    at += NO_INDEX;
    for (int64_t ky = s->y.begin; ky < s->y.end; ky++) {
        for (int64_t kx = s->x.begin; kx < s->x.end; kx++) {
            const vector_f v =
                VECTOR_LOAD(x + (size_t)((s->y.first + ky * s->y.step) * s->in_width +
                                         s->x.first + kx * s->x.step) *
                                    width);
            const vector_i all = {0}, more = first ? ~all : (v > best) | (v != v);
            best = (vector_f)((more & (vector_i)v) | (~more & (vector_i)best));
            at = (more & (all + (int32_t)(ky * s->kernel_width + kx))) | (~more & at);
            first = false;
        }
    }
    VECTOR_STORE(y, best);
    store_bytes(index, at);
}

static inline void NAME(max_rest)(const T *restrict x, const span *s, size_t width, size_t n,
                                  T *restrict y, uint8_t *restrict index)
{
    for (size_t c = 0; c < n; c++) {
        float best = 0.0F; /* of a window with nothing but padding, in ceil mode */
        int at = NO_INDEX;
        for (int64_t ky = s->y.begin; ky < s->y.end; ky++) {
            for (int64_t kx = s->x.begin; kx < s->x.end; kx++) {
                const float v = LOAD(x[(size_t)((s->y.first + ky * s->y.step) * s->in_width +
                                                s->x.first + kx * s->x.step) *
                                           width +
                                       c]);
                if (v > best || v != v || at == NO_INDEX) {
                    best = v;
                    at = (int)(ky * s->kernel_width + kx);
                }
            }
        }
        y[c] = STORE(best);
        index[c] = (uint8_t)at;
    }
}

static void NAME(max_pool)(const md_window *w, size_t width, const void *data, void *result,
                           uint8_t *index)
{
    const T *x = data;
    T *y = result;
    span s = {.in_width = w->in[2], .kernel_width = w->kernel[2]};
    for (int64_t oy = 0; oy < w->out[1]; oy++) {
        s.y = axis_span(w, 1, oy);
        for (int64_t ox = 0; ox < w->out[2]; ox++, y += width, index += width) {
            size_t c = 0;
            s.x = axis_span(w, 2, ox);
            for (; c + BLOCK <= width; c += BLOCK) {
                NAME(max_block)(x + c, &s, width, y + c, index + c);
            }
            NAME(max_rest)(x + c, &s, width, width - c, y + c, index + c);
        }
    }
}

static void NAME(store_line)(const float *restrict line, T *restrict to, md_write write,
                             size_t width)
{
    if (write == MD_WRITE_ADD) {
        for (size_t c = 0; c < width; c++) {
            to[c] = STORE(LOAD(to[c]) + line[c]);
        }
        return;
    }
    for (size_t c = 0; c < width; c++) {
        to[c] = STORE(line[c]);
    }
}

/* The gradient of BLOCK channels of one input position, and of what is left over. */
static inline void NAME(max_block_back)(const md_window *w, const cover *ys, const cover *xs,
                                        size_t width, const T *restrict dy,
                                        const uint8_t *restrict index, T *restrict dx,
                                        md_write write)
{
    vector_f sum = {0};
    for (unsigned i = 0; i < ys->n; i++) {
        for (unsigned j = 0; j < xs->n; j++) {
            const size_t at = (size_t)(ys->out[i] * w->out[2] + xs->out[j]) * width;
            const int32_t wanted = (int32_t)(ys->element[i] * w->kernel[2] + xs->element[j]);
            const vector_f d = VECTOR_LOAD(dy + at);
            sum += (vector_f)((vector_i)d & (load_bytes(index + at) == wanted));
        }
    }
    if (write == MD_WRITE_ADD) {
        sum += VECTOR_LOAD(dx);
    }
    VECTOR_STORE(dx, sum);
}

static inline void NAME(max_rest_back)(const md_window *w, const cover *ys, const cover *xs,
                                       size_t width, size_t n, const T *restrict dy,
                                       const uint8_t *restrict index, T *restrict dx,
                                       md_write write)
{
    for (size_t c = 0; c < n; c++) {
        float sum = 0.0F;
        for (unsigned i = 0; i < ys->n; i++) {
            for (unsigned j = 0; j < xs->n; j++) {
                const size_t at = (size_t)(ys->out[i] * w->out[2] + xs->out[j]) * width + c;
                const int64_t wanted = ys->element[i] * w->kernel[2] + xs->element[j];
                sum += index[at] == wanted ? LOAD(dy[at]) : 0.0F;
            }
        }
        NAME(put)(dx, write, c, sum);
    }
}

/* Each input position collects from the outputs whose window holds it, in a fixed order. */
static void NAME(max_pool_back)(const md_window *w, size_t width, const void *gradient,
                                const uint8_t *index, void *result, md_write write)
{
    const T *dy = gradient;
    T *dx = result;
    cover ys, xs;
    for (int64_t iy = 0; iy < w->in[1]; iy++) {
        cover_of(w, 1, iy, &ys);
        for (int64_t ix = 0; ix < w->in[2]; ix++, dx += width) {
            size_t c = 0;
            cover_of(w, 2, ix, &xs);
            for (; c + BLOCK <= width; c += BLOCK) {
                NAME(max_block_back)(w, &ys, &xs, width, dy + c, index + c, dx + c, write);
            }
            NAME(max_rest_back)
            (w, &ys, &xs, width, width - c, dy + c, index + c, dx + c, write);
        }
    }
}

static void NAME(mean_pool)(const md_window *w, bool count_pad, size_t width, const void *data,
                            void *result, float *restrict line)
{
    const T *x = data;
    T *y = result;
    for (int64_t oy = 0; oy < w->out[1]; oy++) {
        const axis_part ys = axis_span(w, 1, oy);
        for (int64_t ox = 0; ox < w->out[2]; ox++, y += width) {
            const axis_part xs = axis_span(w, 2, ox);
            memset(line, 0, width * sizeof *line);
            for (int64_t ky = ys.begin; ky < ys.end; ky++) {
                for (int64_t kx = xs.begin; kx < xs.end; kx++) {
                    const T *restrict from = x + (size_t)((ys.first + ky * ys.step) * w->in[2] +
                                                          xs.first + kx * xs.step) *
                                                     width;
                    for (size_t c = 0; c < width; c++) {
                        line[c] += LOAD(from[c]);
                    }
                }
            }
            const float share = mean_share(w, count_pad, oy, ox);
            for (size_t c = 0; c < width; c++) {
                y[c] = STORE(line[c] * share);
            }
        }
    }
}

static void NAME(mean_pool_back)(const md_window *w, bool count_pad, size_t width,
                                 const void *gradient, void *result, md_write write,
                                 float *restrict line)
{
    const T *dy = gradient;
    T *dx = result;
    cover ys, xs;
    for (int64_t iy = 0; iy < w->in[1]; iy++) {
        cover_of(w, 1, iy, &ys);
        for (int64_t ix = 0; ix < w->in[2]; ix++, dx += width) {
            cover_of(w, 2, ix, &xs);
            memset(line, 0, width * sizeof *line);
            for (unsigned i = 0; i < ys.n; i++) {
                for (unsigned j = 0; j < xs.n; j++) {
                    const T *restrict from =
                        dy + (size_t)(ys.out[i] * w->out[2] + xs.out[j]) * width;
                    const float share = mean_share(w, count_pad, ys.out[i], xs.out[j]);
                    for (size_t c = 0; c < width; c++) {
                        line[c] += LOAD(from[c]) * share;
                    }
                }
            }
            NAME(store_line)(line, dx, write, width);
        }
    }
}

static void NAME(from_planes)(const float *restrict planes, void *result, md_write write,
                              size_t rows, size_t width)
{
    T *x = result;
    if (width == 1) {
        NAME(store_line)(planes, x, write, rows);
        return;
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < width; c++) {
            NAME(put)(x, write, r * width + c, planes[c * rows + r]);
        }
    }
}

static void NAME(to_planes)(const void *data, float *restrict planes, md_write write,
                            size_t rows, size_t width)
{
    const T *x = data;
    for (size_t c = 0; c < width; c++) {
        for (size_t r = 0; r < rows; r++) {
            const float v = LOAD(x[r * width + c]);
            planes[c * rows + r] = write == MD_WRITE_ADD ? planes[c * rows + r] + v : v;
        }
    }
}

static void NAME(narrow)(const float *restrict x, void *y, md_write write, size_t n)
{
    NAME(store_line)(x, y, write, n);
}

static void NAME(widen)(const void *data, float *restrict y, md_write write, size_t n)
{
    const T *restrict x = data;
    for (size_t i = 0; i < n; i++) {
        y[i] = write == MD_WRITE_ADD ? y[i] + LOAD(x[i]) : LOAD(x[i]);
    }
}

static void NAME(columns)(const void *data, size_t from_width, void *result, size_t to_width,
                          md_write write, size_t rows, size_t width)
{
    const T *x = data;
    T *y = result;
    for (size_t r = 0; r < rows; r++, x += from_width, y += to_width) {
        if (write == MD_WRITE_SET) {
            memcpy(y, x, width * sizeof *y);
            continue;
        }
        for (size_t c = 0; c < width; c++) {
            y[c] = STORE(LOAD(y[c]) + LOAD(x[c]));
        }
    }
}

static void NAME(drop)(const void *data, void *result, md_write write, size_t n, uint64_t seed,
                       uint64_t first, uint32_t threshold, float scale)
{
    const T *x = data;
    T *y = result;
    for (size_t i = 0; i < n; i++) {
        const bool keep = hash(seed, first + i) >= threshold;
        NAME(put)(y, write, i, keep ? LOAD(x[i]) * scale : 0.0F);
    }
}

const md_train_kernels NAME(table) = {
    .name = MD_TRAIN_ISA,
    .moments = NAME(moments),
    .normalize = NAME(normalize),
    .norm_sums = NAME(norm_sums),
    .norm_data = NAME(norm_data),
    .mask = NAME(mask),
    .clamp = NAME(clamp),
    .copy = NAME(copy),
    .add = NAME(add),
    .multiply = NAME(multiply),
    .activate = NAME(activate),
    .activate_back = NAME(activate_back),
    .scale_rows = NAME(scale_rows),
    .sum_rows = NAME(sum_rows),
    .max_pool = NAME(max_pool),
    .max_pool_back = NAME(max_pool_back),
    .mean_pool = NAME(mean_pool),
    .mean_pool_back = NAME(mean_pool_back),
    .from_planes = NAME(from_planes),
    .to_planes = NAME(to_planes),
    .narrow = NAME(narrow),
    .widen = NAME(widen),
    .columns = NAME(columns),
    .drop = NAME(drop),
};

#undef T
#undef LOAD
#undef STORE
#undef VECTOR_LOAD
#undef VECTOR_STORE
#undef NAME
