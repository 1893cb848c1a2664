#include "inference/train/augment.h"

#include "inference/train/augment_internal.h"

#include <math.h>
#include <string.h>

/* Streams of random numbers: one for each augmentation, so that none moves the others. */
enum {
    STREAM_HISTOGRAM = 1,
    STREAM_GAMMA,
    STREAM_CONTRAST,
    STREAM_BRIGHTNESS,
    STREAM_SPECTRUM,
    STREAM_BLUR,
    STREAM_FLIP_X,
    STREAM_FLIP_Y,
    STREAM_ROTATION,
    STREAM_SCALE,
    STREAM_ASPECT,
    STREAM_SHEAR,
    STREAM_SHIFT_X,
    STREAM_SHIFT_Y,
    STREAM_CROP,
    STREAM_JPEG,
    STREAM_NOISE,
    STREAM_BORDER,
    STREAM_CUTOUT = 100, /* and one for each rectangle */
};

struct md_augmenter {
    md_augment_options options;
    uint32_t width, height;
    md_spectrum *spectrum;  /* NULL: not needed */
    float *plane, *scratch; /* [height, width] */
    float *noise;           /* of the output's size, for all planes the same */
    size_t n_noise;
};

bool md_augment_needs_styles(const md_augment_options *options)
{
    return options->histogram_swap.probability > 0.0F ||
           options->spectrum_swap.probability > 0.0F;
}

static bool is_share(float value)
{
    return value >= 0.0F && value <= 1.0F;
}

static md_status check_range(const md_augment_range *range, float least, float most,
                             const char *what, md_error *err)
{
    if (!is_share(range->probability)) {
        return md_fail(err, MD_INVALID_ARG, "%s: a probability of %g", what,
                       (double)range->probability);
    }
    if (range->probability > 0.0F &&
        !(range->low >= least && range->high <= most && range->low <= range->high)) {
        return md_fail(err, MD_INVALID_ARG, "%s: %g..%g is not in %g..%g", what,
                       (double)range->low, (double)range->high, (double)least, (double)most);
    }
    return MD_OK;
}

static md_status check_options(const md_augment_options *o, md_error *err)
{
    MD_TRY(check_range(&o->histogram_swap, 0, 1, "histogram swap", err));
    MD_TRY(check_range(&o->gamma, 0.1F, 10, "gamma", err));
    MD_TRY(check_range(&o->contrast, 0, 10, "contrast", err));
    MD_TRY(check_range(&o->brightness, -1, 1, "brightness", err));
    MD_TRY(check_range(&o->spectrum_swap, 0, 1, "spectrum swap", err));
    MD_TRY(check_range(&o->blur, 0, 20, "blur", err));
    MD_TRY(check_range(&o->rotation, -180, 180, "rotation", err));
    MD_TRY(check_range(&o->scale, 0.1F, 10, "scale", err));
    MD_TRY(check_range(&o->aspect, 0.1F, 10, "aspect", err));
    MD_TRY(check_range(&o->shear, -60, 60, "shear", err));
    MD_TRY(check_range(&o->shift_x, -1, 1, "shift", err));
    MD_TRY(check_range(&o->shift_y, -1, 1, "shift", err));
    MD_TRY(check_range(&o->crop, 0.05F, 1, "crop", err));
    MD_TRY(check_range(&o->jpeg, 1, 100, "jpeg", err));
    MD_TRY(check_range(&o->noise, 0, 1, "noise", err));
    MD_TRY(check_range(&o->border, -0.5F, 0.5F, "border", err));
    MD_TRY(check_range(&o->cutout, 0, 1, "cutout", err));
    if (!is_share(o->flip_horizontal) || !is_share(o->flip_vertical) ||
        !is_share(o->border_grey) || !is_share(o->mixup) || !isfinite(o->middle) ||
        o->cutout_count > 100) {
        return md_fail(err, MD_INVALID_ARG, "a probability or a count out of range");
    }
    return MD_OK;
}

md_status md_augmenter_create(const md_augment_options *options, uint32_t width,
                              uint32_t height, md_augmenter **ret_augmenter, md_error *err)
{
    MD_TRY(check_options(options, err));
    if (width < 8 || height < 8 || width > MD_AUGMENT_MAX_SIDE ||
        height > MD_AUGMENT_MAX_SIDE) {
        return md_fail(err, MD_LIMIT, "films of %u x %u, expected 8..%d", width, height,
                       MD_AUGMENT_MAX_SIDE);
    }
    if (options->spectrum_swap.probability > 0.0F && width % 2 != 0) {
        return md_fail(err, MD_INVALID_ARG,
                       "the spectrum swap needs an even width, this one is %u", width);
    }
    MD_AUTO(md_augmenter_destroyp) md_augmenter *a = md_calloc(1, sizeof *a);
    if (a == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to change films");
    }
    const size_t n = (size_t)width * height;
    a->options = *options;
    a->width = width;
    a->height = height;
    a->plane = md_malloc_aligned(n * sizeof *a->plane);
    a->scratch = md_malloc_aligned(n * sizeof *a->scratch);
    if (a->plane == NULL || a->scratch == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to change films");
    }
    if (options->spectrum_swap.probability > 0.0F) {
        MD_TRY(md_spectrum_create(width, height, &a->spectrum, err));
    }
    *ret_augmenter = MD_STEAL(a);
    return MD_OK;
}

void md_augmenter_destroy(md_augmenter *augmenter)
{
    if (augmenter == NULL) {
        return;
    }
    md_spectrum_destroy(augmenter->spectrum);
    md_free(augmenter->plane);
    md_free(augmenter->scratch);
    md_free(augmenter->noise);
    md_free(augmenter);
}

md_status md_style_measure(md_augmenter *augmenter, const float *plane, md_style *ret_style,
                           md_error *err)
{
    (void)err;
    const uint32_t margin_x = augmenter->width / 10, margin_y = augmenter->height / 10;
    double counts[MD_STYLE_LEVELS] = {0}, sum = 0.0, n = 0.0;
    for (uint32_t y = margin_y; y < augmenter->height - margin_y; y++) {
        for (uint32_t x = margin_x; x < augmenter->width - margin_x; x++) {
            const float v = plane[(size_t)y * augmenter->width + x] * 255.0F + 0.5F;
            counts[v < 0.0F ? 0 : v >= 255.0F ? 255 : (int)v] += 1.0;
            n += 1.0;
        }
    }
    *ret_style = (md_style){0};
    for (size_t i = 0; i < MD_STYLE_LEVELS; i++) {
        sum += counts[i];
        ret_style->cumulative[i] = (float)((sum - counts[i] / 2.0) / n);
    }
    if (augmenter->spectrum != NULL) {
        md_spectrum_measure(augmenter->spectrum, plane, ret_style->spectrum);
    }
    return MD_OK;
}

/* ---- drawing amounts */

static float between(md_random *random, float low, float high)
{
    return low + md_random_uniform(random) * (high - low);
}

/* Whether it happens; then the amount. */
static bool draw(const md_augment_range *range, bool is_log, const md_random_key *key,
                 uint32_t stream, float *ret_amount)
{
    md_random random;
    if (range->probability <= 0.0F) {
        return false;
    }
    md_random_init(&random, key, stream);
    if (md_random_uniform(&random) >= range->probability) {
        return false;
    }
    *ret_amount = is_log ? expf(between(&random, logf(range->low), logf(range->high)))
                         : between(&random, range->low, range->high);
    return true;
}

static bool happens(float probability, const md_random_key *key, uint32_t stream)
{
    const md_augment_range range = {.probability = probability};
    float ignored = 0.0F;
    return draw(&range, false, key, stream, &ignored);
}

/* ---- tone */

/* False when nothing changes. */
static bool make_curve(const md_augment_options *o, const md_random_key *key,
                       const md_style *own, const md_style *other, float curve[MD_STYLE_LEVELS])
{
    float share = 0.0F, gamma = 1.0F, contrast = 1.0F, brightness = 0.0F;
    const bool swaps = own != NULL && other != NULL &&
                       draw(&o->histogram_swap, false, key, STREAM_HISTOGRAM, &share);
    const bool bends = draw(&o->gamma, true, key, STREAM_GAMMA, &gamma);
    const bool spreads = draw(&o->contrast, false, key, STREAM_CONTRAST, &contrast);
    const bool lifts = draw(&o->brightness, false, key, STREAM_BRIGHTNESS, &brightness);
    if (!swaps && !bends && !spreads && !lifts) {
        return false;
    }
    float swapped[MD_STYLE_LEVELS];
    if (swaps) {
        md_tone_of_styles(own, other, swapped);
    }
    for (size_t i = 0; i < MD_STYLE_LEVELS; i++) {
        float v = (float)i / (float)(MD_STYLE_LEVELS - 1);
        v = swaps ? v + (swapped[i] - v) * share : v;
        v = bends ? powf(v, gamma) : v;
        v = (v - o->middle) * contrast + o->middle + brightness;
        curve[i] = v < 0.0F ? 0.0F : v > 1.0F ? 1.0F : v;
    }
    return true;
}

/* ---- place */

/* Source = centre + matrix (output - centre), in pixels of the film. */
typedef struct place {
    double xx, xy, yx, yy, x0, y0;
} place;

static void then(place *p, double xx, double xy, double yx, double yy)
{
    /* the point goes through p first, then through the new matrix */
    const place q = *p;
    p->xx = xx * q.xx + xy * q.yx;
    p->xy = xx * q.xy + xy * q.yy;
    p->yx = yx * q.xx + yy * q.yx;
    p->yy = yx * q.xy + yy * q.yy;
    p->x0 = xx * q.x0 + xy * q.y0;
    p->y0 = yx * q.x0 + yy * q.y0;
}

/* The way back from the changed film to the film: each step undone, the last first. */
static bool make_place(const md_augmenter *a, const md_random_key *key, place *ret_place)
{
    const md_augment_options *o = &a->options;
    const double radians = 3.141592653589793 / 180.0;
    place p = {.xx = 1.0, .yy = 1.0};
    float dx = 0, dy = 0, degrees = 0, shear = 0, scale = 1, aspect = 1, crop = 1;
    bool any = draw(&o->shift_x, false, key, STREAM_SHIFT_X, &dx);
    any = draw(&o->shift_y, false, key, STREAM_SHIFT_Y, &dy) || any;
    p.x0 = -(double)dx * a->width;
    p.y0 = -(double)dy * a->height;
    if (draw(&o->rotation, false, key, STREAM_ROTATION, &degrees)) {
        const double c = cos((double)degrees * radians), s = sin((double)degrees * radians);
        then(&p, c, s, -s, c);
        any = true;
    }
    if (draw(&o->shear, false, key, STREAM_SHEAR, &shear)) {
        then(&p, 1.0, -tan((double)shear * radians), 0.0, 1.0);
        any = true;
    }
    any = draw(&o->scale, true, key, STREAM_SCALE, &scale) || any;
    any = draw(&o->aspect, true, key, STREAM_ASPECT, &aspect) || any;
    const double root = sqrt((double)aspect);
    then(&p, 1.0 / ((double)scale * root), 0.0, 0.0, root / (double)scale);
    if (happens(o->flip_horizontal, key, STREAM_FLIP_X)) {
        then(&p, -1.0, 0.0, 0.0, 1.0);
        any = true;
    }
    if (happens(o->flip_vertical, key, STREAM_FLIP_Y)) {
        then(&p, 1.0, 0.0, 0.0, -1.0);
        any = true;
    }
    if (draw(&o->crop, false, key, STREAM_CROP, &crop)) {
        md_random random;
        md_random_init(&random, key, STREAM_CROP);
        (void)md_random_bits(&random); /* whether, and how large */
        (void)md_random_bits(&random);
        const double room = (1.0 - (double)crop) / 2.0;
        then(&p, (double)crop, 0.0, 0.0, (double)crop);
        p.x0 += (double)between(&random, -1.0F, 1.0F) * room * a->width;
        p.y0 += (double)between(&random, -1.0F, 1.0F) * room * a->height;
        any = true;
    }
    *ret_place = p;
    return any;
}

static void make_affine(const md_augmenter *a, const place *p, uint32_t out_width,
                        uint32_t out_height, md_affine *ret_affine)
{
    /* output pixels are as large as the film over their number */
    const double step_x = (double)a->width / out_width, step_y = (double)a->height / out_height;
    const double cx = a->width / 2.0, cy = a->height / 2.0;
    *ret_affine = (md_affine){.xx = p->xx * step_x,
                              .xy = p->xy * step_y,
                              .x0 = p->x0 + cx - p->xx * cx - p->xy * cy,
                              .yx = p->yx * step_x,
                              .yy = p->yy * step_y,
                              .y0 = p->y0 + cy - p->yx * cx - p->yy * cy};
}

static void put_in_place(const md_augmenter *a, const place *p, bool any, const float *plane,
                         uint32_t out_width, uint32_t out_height, float *to)
{
    if (!any && out_width == a->width && out_height == a->height) {
        memcpy(to, plane, (size_t)out_width * out_height * sizeof *to);
        return;
    }
    md_affine affine;
    make_affine(a, p, out_width, out_height, &affine);
    md_resample(plane, a->width, a->height, &affine, out_width, out_height, to);
}

/* ---- on the result */

static md_status add_noise(md_augmenter *a, const md_random_key *key, float *planes,
                           uint32_t n_planes, size_t n, md_error *err)
{
    float sigma = 0.0F;
    if (!draw(&a->options.noise, false, key, STREAM_NOISE, &sigma)) {
        return MD_OK;
    }
    if (a->n_noise < n) {
        md_free(a->noise);
        a->n_noise = 0;
        a->noise = md_malloc_aligned(n * sizeof *a->noise);
        if (a->noise == NULL) {
            return md_fail(err, MD_NOMEM, "no memory to change films");
        }
        a->n_noise = n;
    }
    md_random random;
    md_random_init(&random, key, STREAM_NOISE);
    random.counter[0] = 1; /* block 0 has said whether and how much */
    md_random_fill_normal(&random, a->noise, n);
    for (uint32_t c = 0; c < n_planes; c++) {
        float *to = planes + c * n;
        for (size_t i = 0; i < n; i++) {
            const float v = to[i] + sigma * a->noise[i];
            to[i] = v < 0.0F ? 0.0F : v > 1.0F ? 1.0F : v;
        }
    }
    return MD_OK;
}

static void paint_border(const md_augment_options *o, const md_random_key *key, float *planes,
                         uint32_t n_planes, uint32_t width, uint32_t height)
{
    md_random random;
    float unused = 0.0F;
    if (!draw(&o->border, false, key, STREAM_BORDER, &unused)) {
        return;
    }
    md_random_init(&random, key, STREAM_BORDER);
    (void)md_random_bits(&random); /* whether */
    double edges[4];               /* left, right, top, bottom: shares; below 0: none */
    for (int i = 0; i < 4; i++) {
        edges[i] = (double)between(&random, o->border.low, o->border.high);
    }
    const bool grey = md_random_uniform(&random) < o->border_grey;
    const float value = grey ? md_random_uniform(&random) : 0.0F;
    for (uint32_t c = 0; c < n_planes; c++) {
        float *plane = planes + (size_t)c * width * height;
        md_paint(plane, width, height, 0, edges[0] * width, 0, height, value);
        md_paint(plane, width, height, (1.0 - edges[1]) * width, width, 0, height, value);
        md_paint(plane, width, height, 0, width, 0, edges[2] * height, value);
        md_paint(plane, width, height, 0, width, (1.0 - edges[3]) * height, height, value);
    }
}

static void cut_out(const md_augment_options *o, const md_random_key *key, float *planes,
                    uint32_t n_planes, uint32_t width, uint32_t height)
{
    for (uint32_t i = 0; i < o->cutout_count; i++) {
        md_random random;
        float side_x = 0.0F;
        if (!draw(&o->cutout, false, key, STREAM_CUTOUT + i, &side_x)) {
            continue;
        }
        md_random_init(&random, key, STREAM_CUTOUT + i);
        (void)md_random_bits(&random); /* whether, and side_x */
        (void)md_random_bits(&random);
        const double half_x = (double)side_x * width / 2.0;
        const double half_y =
            (double)between(&random, o->cutout.low, o->cutout.high) * height / 2.0;
        const double x = (double)md_random_uniform(&random) * width;
        const double y = (double)md_random_uniform(&random) * height;
        const float value = md_random_uniform(&random);
        for (uint32_t c = 0; c < n_planes; c++) {
            md_paint(planes + (size_t)c * width * height, width, height, x - half_x, x + half_x,
                     y - half_y, y + half_y, value);
        }
    }
}

static md_status check_output(uint32_t out_width, uint32_t out_height, md_error *err)
{
    if (out_width < 1 || out_height < 1 || out_width > MD_AUGMENT_MAX_SIDE ||
        out_height > MD_AUGMENT_MAX_SIDE) {
        return md_fail(err, MD_INVALID_ARG, "films of %u x %u, expected 1..%d", out_width,
                       out_height, MD_AUGMENT_MAX_SIDE);
    }
    return MD_OK;
}

md_status md_augment_apply(md_augmenter *a, const md_random_key *key, const float *planes,
                           uint32_t n_planes, const md_style *own, const md_style *other,
                           uint32_t out_width, uint32_t out_height, float *ret_planes,
                           md_error *err)
{
    MD_TRY(check_output(out_width, out_height, err));
    const md_augment_options *o = &a->options;
    const size_t n = (size_t)a->width * a->height, n_out = (size_t)out_width * out_height;
    float curve[MD_STYLE_LEVELS], strength = 0, sigma = 0, quality = 0;
    place placed;
    const bool tones = make_curve(o, key, own, other, curve);
    const bool swaps = own != NULL && other != NULL &&
                       draw(&o->spectrum_swap, false, key, STREAM_SPECTRUM, &strength);
    const bool blurs = draw(&o->blur, false, key, STREAM_BLUR, &sigma);
    const bool quantises = draw(&o->jpeg, false, key, STREAM_JPEG, &quality);
    const bool moves = make_place(a, key, &placed);
    for (uint32_t c = 0; c < n_planes; c++) {
        const float *from = planes + c * n;
        if (tones) {
            md_tone_apply(curve, from, n, a->plane);
            from = a->plane;
        }
        if ((swaps || blurs) && !tones) {
            memcpy(a->plane, from, n * sizeof *a->plane);
            from = a->plane;
        }
        if (swaps) {
            md_spectrum_swap(a->spectrum, own->spectrum, other->spectrum, strength, a->plane);
        }
        if (blurs) {
            md_blur(a->plane, a->width, a->height, sigma, a->scratch);
        }
        float *to = ret_planes + c * n_out;
        put_in_place(a, &placed, moves, from, out_width, out_height, to);
        if (quantises) {
            md_quantise_dct(to, out_width, out_height, quality);
        }
    }
    MD_TRY(add_noise(a, key, ret_planes, n_planes, n_out, err));
    paint_border(o, key, ret_planes, n_planes, out_width, out_height);
    cut_out(o, key, ret_planes, n_planes, out_width, out_height);
    return MD_OK;
}

md_status md_augment_resize(md_augmenter *a, const float *planes, uint32_t n_planes,
                            uint32_t out_width, uint32_t out_height, float *ret_planes,
                            md_error *err)
{
    MD_TRY(check_output(out_width, out_height, err));
    const place stays = {.xx = 1.0, .yy = 1.0};
    const size_t n = (size_t)a->width * a->height, n_out = (size_t)out_width * out_height;
    for (uint32_t c = 0; c < n_planes; c++) {
        put_in_place(a, &stays, false, planes + c * n, out_width, out_height,
                     ret_planes + c * n_out);
    }
    return MD_OK;
}
