/* What people and programs keep of it: explain.json, and for the first films a picture with the
 * map of the trained network beside those of networks that forgot. Names are counters: a film's
 * own may name a patient. */

#include "base/file.h"
#include "dicom/report/picture.h"
#include "plugins/train/explain_internal.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <png.h>
#include <string.h>

enum {
    PANEL_SIDE = 320, /* pixels of the longer side of one film */
    GAP = 4,
    MAX_PANELS = 4
};

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *mean_json(const md_explain_mean *m)
{
    if (m->n == 0) {
        return json_null();
    }
    return json_pack("{s:I, s:f, s:f, s:f}", "n", (json_int_t)m->n, "mean", m->mean, "low",
                     m->low, "high", m->high);
}

static json_t *stages_json(const md_explanation *r)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < r->n_stages; i++) {
        const md_explain_stage *s = &r->stages[i];
        (void)json_array_append_new(
            list,
            json_pack("{s:I, s:s, s:o, s:o, s:I}", "layers", (json_int_t)s->n_layers, "last",
                      s->last, "rank_correlation", mean_json(&s->rank_correlation), "ssim",
                      mean_json(&s->similarity), "flat", (json_int_t)s->n_flat));
    }
    return list;
}

static json_t *pointing_json(const md_explaining *x)
{
    const md_explanation *r = x->result;
    if (r->pointing.n == 0) {
        return json_null();
    }
    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:o, s:o, s:I, s:f}", "films",
                     (json_int_t)r->pointing.n, "hits", (json_int_t)r->pointing.n_hits, "share",
                     r->pointing.value, "low", r->pointing.low, "high", r->pointing.high,
                     "energy", real(r->energy), "area", real(r->area), "without_map",
                     (json_int_t)r->n_without_map, "tolerance_pixels", x->options->tolerance);
}

static md_status write_json(const md_explaining *x, md_error *err)
{
    const md_explanation *r = x->result;
    char path[PATH_MAX];
    json_t *json = json_pack(
        "{s:{s:s, s:s, s:s}, s:s, s:s, s:I, s:I, s:{s:I, s:I, s:I, s:o}, s:o}", "model", "id",
        r->id, "version", r->version, "sha256", r->sha256, "finding", r->finding, "method",
        r->method, "films", (json_int_t)r->n_films, "unreadable", (json_int_t)r->n_unreadable,
        "randomised", "films", (json_int_t)r->n_randomised, "layers", (json_int_t)r->n_layers,
        "seed", (json_int_t)x->options->seed, "stages", stages_json(r), "pointing",
        pointing_json(x));
    char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(json);
    if (text == NULL) {
        return md_fail(err, MD_NOMEM,
                       "no memory for explain.json, or a name that is not UTF-8");
    }
    const int length = snprintf(path, sizeof path, "%s/explain.json", x->options->out);
    md_status status = length < 0 || (size_t)length >= sizeof path
                           ? md_fail(err, MD_LIMIT, "the folder's name is too long")
                           : md_file_write(path, MD_FILE_REPLACE, text, strlen(text), err);
    free(text);
    return status;
}

typedef struct sheet {
    uint32_t width, height; /* of all */
    uint32_t film_width, film_height;
    uint8_t *rgb; /* owned */
} sheet;

static uint8_t mix(double below, uint8_t above, uint8_t opacity)
{
    const double share = opacity / 255.0;
    return (uint8_t)floor(below * (1.0 - share) + above * share + 0.5);
}

/* One film in grey with a map over it; map NULL: the film alone. */
static void draw_panel(sheet *s, uint32_t left, const float *grey, const float *map)
{
    const md_saliency saliency = {.columns = MD_EXPLAIN_GRID,
                                  .rows = MD_EXPLAIN_GRID,
                                  .values = (float *)(uintptr_t)map,
                                  .width = s->film_width,
                                  .height = s->film_height};
    for (uint32_t y = 0; y < s->film_height; y++) {
        uint8_t *to = s->rgb + ((size_t)y * s->width + left) * 3;
        for (uint32_t x = 0; x < s->film_width; x++, to += 3) {
            const double level = 255.0 * (double)grey[(size_t)y * s->film_width + x];
            uint8_t opacity = 0;
            md_colour colour = {0, 0, 0};
            if (map != NULL) {
                colour =
                    md_saliency_colour(md_saliency_at(&saliency, x + 0.5, y + 0.5), &opacity);
            }
            to[0] = mix(level, colour.red, opacity);
            to[1] = mix(level, colour.green, opacity);
            to[2] = mix(level, colour.blue, opacity);
        }
    }
}

/* The film in 0..1, small; physical values from their least to their largest. */
static md_status shrink(const md_raster *raster, const sheet *s, float *ret_grey, md_error *err)
{
    const size_t n = (size_t)s->film_width * s->film_height;
    MD_AUTO(md_freep) float *plane = md_calloc(n, sizeof *plane);
    if (plane == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a picture");
    }
    for (uint32_t c = 0; c < raster->n_channels; c++) {
        MD_TRY(md_picture_resize(raster, c, s->film_width, s->film_height, plane, err));
        for (size_t i = 0; i < n; i++) {
            ret_grey[i] += plane[i] / (float)raster->n_channels;
        }
    }
    float low = 0.0F, high = 1.0F;
    for (size_t i = 0; i < n; i++) {
        low = fminf(low, ret_grey[i]);
        high = fmaxf(high, ret_grey[i]);
    }
    for (size_t i = 0; i < n; i++) {
        ret_grey[i] = (ret_grey[i] - low) / (high - low);
    }
    return MD_OK;
}

static md_status save(const sheet *s, const char *path, md_error *err)
{
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = s->width,
                     .height = s->height,
                     .format = PNG_FORMAT_RGB};
    png_alloc_size_t n = 0;
    if (!png_image_write_get_memory_size(png, n, 0, s->rgb, 0, NULL)) {
        return md_fail(err, MD_NOMEM, "no memory for a picture");
    }
    MD_AUTO(md_freep) uint8_t *bytes = md_malloc(n);
    if (bytes == NULL || !png_image_write_to_memory(&png, bytes, &n, 0, s->rgb, 0, NULL)) {
        return md_fail(err, MD_NOMEM, "no memory for a picture");
    }
    return md_file_write(path, MD_FILE_REPLACE, bytes, n, err);
}

/* The trained network's map, then those of the first, a middle and the last stage. */
static unsigned choose_maps(const md_explaining *x, const md_explain_film *film,
                            const float *ret_maps[MAX_PANELS])
{
    const unsigned n = x->result->n_stages;
    const unsigned wanted[MAX_PANELS] = {0, 1, (n + 2) / 2, n};
    unsigned n_maps = 0;
    for (unsigned i = 0; i < MAX_PANELS; i++) {
        const bool again = i > 0 && wanted[i] <= wanted[i - 1];
        if (!again && wanted[i] <= n && film->maps[wanted[i]] != NULL) {
            ret_maps[n_maps++] = film->maps[wanted[i]];
        }
    }
    return n_maps;
}

static md_status draw_film(const md_explaining *x, const md_explain_film *film,
                           const char *path, md_error *err)
{
    const float *maps[MAX_PANELS];
    const unsigned n_maps = choose_maps(x, film, maps);
    MD_AUTO(md_raster_finish) md_raster raster = {0};
    sheet s = {0};
    MD_TRY(md_explain_read(x, film, &raster, err));
    const double width = raster.width * raster.pixel_width_mm;
    const double height = raster.height * raster.pixel_height_mm;
    const double longer = fmax(width, height);
    s.film_width = (uint32_t)fmax(1.0, floor(PANEL_SIDE * width / longer + 0.5));
    s.film_height = (uint32_t)fmax(1.0, floor(PANEL_SIDE * height / longer + 0.5));
    s.width = (n_maps + 1) * (s.film_width + GAP) - GAP;
    s.height = s.film_height;
    MD_AUTO(md_freep) uint8_t *rgb = md_calloc((size_t)s.width * s.height, 3);
    MD_AUTO(md_freep)
    float *grey = md_calloc((size_t)s.film_width * s.film_height, sizeof *grey);
    if (rgb == NULL || grey == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a picture");
    }
    s.rgb = rgb;
    memset(rgb, 255, (size_t)s.width * s.height * 3);
    MD_TRY(shrink(&raster, &s, grey, err));
    draw_panel(&s, 0, grey, NULL);
    for (unsigned i = 0; i < n_maps; i++) {
        draw_panel(&s, (i + 1) * (s.film_width + GAP), grey, maps[i]);
    }
    return save(&s, path, err);
}

md_status md_explain_write(const md_explaining *x, md_error *err)
{
    MD_TRY(md_folder_create(x->options->out, err));
    unsigned n = 0;
    for (size_t i = 0; i < x->n_films && n < x->options->n_pictures; i++) {
        char path[PATH_MAX];
        if (x->films[i].unreadable) {
            continue;
        }
        const int length =
            snprintf(path, sizeof path, "%s/film-%03u.png", x->options->out, ++n);
        if (length < 0 || (size_t)length >= sizeof path) {
            return md_fail(err, MD_LIMIT, "the folder's name is too long");
        }
        MD_TRY(draw_film(x, &x->films[i], path, err));
    }
    return write_json(x, err);
}
