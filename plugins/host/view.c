#include "plugins/host/view.h"

#include "dicom/report/picture.h"

#include <math.h>
#include <png.h>
#include <string.h>

typedef struct sheet {
    uint32_t width, height;
    unsigned n_channels; /* 1 grey, 3 colour, 4 colour and opacity */
    uint8_t *pixels;
} sheet;

void md_view_finish(md_view *view)
{
    md_free(view->image);
    md_free(view->overlay);
    *view = (md_view){0};
}

static md_status encode(const sheet *s, uint8_t **ret_bytes, size_t *ret_n, md_error *err)
{
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = s->width,
                     .height = s->height,
                     .format = s->n_channels == 1   ? PNG_FORMAT_GRAY
                               : s->n_channels == 3 ? PNG_FORMAT_RGB
                                                    : PNG_FORMAT_RGBA};
    png_alloc_size_t n = 0;
    if (!png_image_write_get_memory_size(png, n, 0, s->pixels, 0, NULL)) {
        return md_fail(err, MD_NOMEM, "no memory for a small picture");
    }
    if (n > MD_VIEW_MAX_BYTES) {
        return md_fail(err, MD_LIMIT, "a small picture of %zu bytes", (size_t)n);
    }
    MD_AUTO(md_freep) uint8_t *bytes = md_malloc(n);
    if (bytes == NULL || !png_image_write_to_memory(&png, bytes, &n, 0, s->pixels, 0, NULL)) {
        return md_fail(err, MD_NOMEM, "no memory for a small picture");
    }
    *ret_bytes = MD_STEAL(bytes);
    *ret_n = n;
    return MD_OK;
}

/* The longer side in millimetres becomes MD_VIEW_SIDE, or stays when the image is smaller. */
static void lay_out(const md_raster *r, sheet *s)
{
    const double width = r->width * r->pixel_width_mm, height = r->height * r->pixel_height_mm;
    const double longer = width > height ? width : height;
    const double pixels = width > height ? r->width : r->height;
    const double side = fmin(pixels, MD_VIEW_SIDE);
    s->width = (uint32_t)fmax(1, floor(side * width / longer + 0.5));
    s->height = (uint32_t)fmax(1, floor(side * height / longer + 0.5));
}

/* First and last source index of target i of n. */
static void span(uint32_t i, uint32_t n, uint32_t source, uint32_t *ret_from, uint32_t *ret_to)
{
    uint32_t from = (uint32_t)((uint64_t)i * source / n);
    uint32_t to = (uint32_t)(((uint64_t)i + 1) * source / n);
    *ret_from = from;
    *ret_to = to > from ? to : from + 1;
}

/* At most so many samples a side: nobody sees the rest on a picture of this size. */
enum {
    SAMPLES = 4
};

static uint8_t mean(const md_raster *r, uint32_t c, uint32_t x0, uint32_t x1, uint32_t y0,
                    uint32_t y1)
{
    const uint32_t step_x = (x1 - x0 + SAMPLES - 1) / SAMPLES;
    const uint32_t step_y = (y1 - y0 + SAMPLES - 1) / SAMPLES;
    double sum = 0;
    unsigned n = 0;
    for (uint32_t y = y0; y < y1; y += step_y) {
        for (uint32_t x = x0; x < x1; x += step_x) {
            sum += (double)md_raster_at(r, c, x, y);
            n++;
        }
    }
    return (uint8_t)(255 * fmin(1, fmax(0, sum / n)) + 0.5);
}

static void draw_image(const md_raster *r, sheet *s)
{
    for (uint32_t y = 0; y < s->height; y++) {
        uint32_t x0, x1, y0, y1;
        span(y, s->height, r->height, &y0, &y1);
        for (uint32_t x = 0; x < s->width; x++) {
            span(x, s->width, r->width, &x0, &x1);
            for (unsigned c = 0; c < s->n_channels; c++) {
                s->pixels[((size_t)y * s->width + x) * s->n_channels + c] =
                    mean(r, c, x0, x1, y0, y1);
            }
        }
    }
}

static void draw_overlay(const md_saliency *m, double source_columns, double source_rows,
                         sheet *s)
{
    for (uint32_t y = 0; y < s->height; y++) {
        const double at_y = (y + 0.5) * source_rows / s->height;
        for (uint32_t x = 0; x < s->width; x++) {
            const double at_x = (x + 0.5) * source_columns / s->width;
            uint8_t opacity = 0;
            const md_colour colour =
                md_saliency_colour(md_saliency_at(m, at_x, at_y), &opacity);
            uint8_t *to = s->pixels + ((size_t)y * s->width + x) * 4;
            to[0] = colour.red;
            to[1] = colour.green;
            to[2] = colour.blue;
            to[3] = opacity;
        }
    }
}

static md_status make_sheet(sheet *s, unsigned n_channels, md_error *err)
{
    s->n_channels = n_channels;
    s->pixels = md_malloc((size_t)s->width * s->height * n_channels);
    return s->pixels == NULL ? md_fail(err, MD_NOMEM, "no memory for a small picture") : MD_OK;
}

md_status md_view_make(const md_raster *display, const md_saliency *map, double source_columns,
                       double source_rows, md_view *ret_view, md_error *err)
{
    sheet s = {0};
    md_view view = {0};
    lay_out(display, &s);
    MD_TRY(make_sheet(&s, display->n_channels, err));
    draw_image(display, &s);
    md_status status = encode(&s, &view.image, &view.image_bytes, err);
    md_free(s.pixels);
    s.pixels = NULL;
    if (status == MD_OK && map != NULL && map->values != NULL) {
        status = make_sheet(&s, 4, err);
        if (status == MD_OK) {
            draw_overlay(map, source_columns, source_rows, &s);
            status = encode(&s, &view.overlay, &view.overlay_bytes, err);
        }
        md_free(s.pixels);
    }
    if (status != MD_OK) {
        md_view_finish(&view);
        return status;
    }
    *ret_view = view;
    return MD_OK;
}
