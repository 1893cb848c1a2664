/* A drawing as PNG, through cairo's image surface and its simple text calls. The font is DejaVu
 * Sans: Debian's libcairo2 needs libfontconfig1, which needs fontconfig-config, which brings
 * it. */

#include "plugins/train/drawing_items.h"

#include <cairo.h>
#include <math.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <fontconfig/fontconfig.h>

/* cairo and fontconfig keep fonts for the rest of the program, in ways that look like leaks. */
__attribute__((destructor)) static void release_fonts(void)
{
    cairo_debug_reset_static_data();
    FcFini();
}
#endif

/* As the light half of MD_DRAWING_STYLE, by md_ink. */
static const uint32_t INKS[] = {0x0072b2, 0xd55e00, 0x009e73, 0xb5578f, 0xa87900,
                                0x4d4d4d, 0x1f2430, 0x5b6470, 0xe1e5ea, 0xffffff};

static void set_ink(cairo_t *cr, md_ink ink, double opacity)
{
    const uint32_t rgb = INKS[ink];
    cairo_set_source_rgba(cr, (rgb >> 16 & 255) / 255.0, (rgb >> 8 & 255) / 255.0,
                          (rgb & 255) / 255.0, opacity);
}

static void set_font(cairo_t *cr, double size, bool bold)
{
    cairo_select_font_face(cr, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, size);
}

static void trace(cairo_t *cr, const md_point *points, size_t n)
{
    cairo_new_path(cr);
    for (size_t i = 0; i < n; i++) {
        cairo_line_to(cr, points[i].x, points[i].y);
    }
}

static void draw_lines(cairo_t *cr, const md_drawing *d, const md_drawing_item *item)
{
    const double *dash = MD_DRAWING_DASHES[item->stroke.dash % MD_DRAWING_N_DASHES];
    int n_parts = 0;
    while (dash[n_parts] > 0) {
        n_parts++;
    }
    cairo_set_dash(cr, dash, n_parts, 0);
    cairo_set_line_width(cr, item->stroke.width);
    trace(cr, d->points + item->first, item->n);
    cairo_stroke(cr);
}

static void draw_text(cairo_t *cr, const md_drawing *d, const md_drawing_item *item)
{
    const md_point at = d->points[item->first];
    const char *text = d->texts + item->text;
    set_font(cr, item->lettering.size, item->lettering.bold);
    cairo_text_extents_t extents;
    cairo_text_extents(cr, text, &extents);
    cairo_save(cr);
    cairo_translate(cr, at.x, at.y);
    if (item->lettering.upwards) {
        cairo_rotate(cr, -M_PI / 2);
    }
    const double part = item->lettering.anchor == MD_ANCHOR_START    ? 0
                        : item->lettering.anchor == MD_ANCHOR_MIDDLE ? 0.5
                                                                     : 1;
    cairo_move_to(cr, -part * extents.x_advance, 0);
    cairo_show_text(cr, text);
    cairo_restore(cr);
}

static void draw_item(cairo_t *cr, const md_drawing *d, const md_drawing_item *item)
{
    set_ink(cr, item->ink, item->kind == MD_ITEM_AREA ? item->opacity : 1);
    switch (item->kind) {
    case MD_ITEM_LINES:
        draw_lines(cr, d, item);
        break;
    case MD_ITEM_AREA:
        trace(cr, d->points + item->first, item->n);
        cairo_fill(cr);
        break;
    case MD_ITEM_DISC:
        cairo_new_path(cr);
        cairo_arc(cr, d->points[item->first].x, d->points[item->first].y, item->radius, 0,
                  2 * M_PI);
        cairo_fill(cr);
        break;
    case MD_ITEM_TEXT:
        draw_text(cr, d, item);
        break;
    }
}

/* What cairo writes, piece by piece. */
typedef struct png_bytes {
    uint8_t *bytes; /* owned */
    size_t n, room;
} png_bytes;

static cairo_status_t take_bytes(void *closure, const unsigned char *data, unsigned length)
{
    png_bytes *png = closure;
    if (png->n + length > png->room) {
        const size_t room = 2 * (png->n + length);
        uint8_t *larger = md_realloc(png->bytes, room);
        if (larger == NULL) {
            return CAIRO_STATUS_NO_MEMORY;
        }
        png->bytes = larger;
        png->room = room;
    }
    memcpy(png->bytes + png->n, data, length);
    png->n += length;
    return CAIRO_STATUS_SUCCESS;
}

static md_status cairo_failed(cairo_status_t status, md_error *err)
{
    return status == CAIRO_STATUS_NO_MEMORY
               ? md_fail(err, MD_NOMEM, "no memory for a picture")
               : md_fail(err, MD_INTERNAL, "cairo: %s", cairo_status_to_string(status));
}

md_status md_drawing_png(const md_drawing *d, unsigned scale, uint8_t **ret_png,
                         size_t *ret_size, md_error *err)
{
    MD_TRY(md_drawing_check(d, err));
    if (scale < 1 || scale > 4) {
        return md_fail(err, MD_LIMIT, "scale %u, 1 to 4 are drawn", scale);
    }
    cairo_surface_t *surface = cairo_image_surface_create(
        CAIRO_FORMAT_RGB24, (int)ceil(d->width * scale), (int)ceil(d->height * scale));
    cairo_t *cr = cairo_create(surface);
    cairo_font_options_t *options = cairo_font_options_create();
    /* whatever the machine's fontconfig says: the same picture everywhere */
    cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    cairo_set_font_options(cr, options);
    cairo_font_options_destroy(options);
    set_ink(cr, MD_INK_PAPER, 1);
    cairo_paint(cr);
    cairo_scale(cr, scale, scale);
    cairo_set_line_join(cr, CAIRO_LINE_JOIN_ROUND);
    for (size_t i = 0; i < d->n_items; i++) {
        draw_item(cr, d, &d->items[i]);
    }
    png_bytes png = {0};
    cairo_status_t status = cairo_status(cr);
    if (status == CAIRO_STATUS_SUCCESS) {
        cairo_surface_flush(surface);
        status = cairo_surface_write_to_png_stream(surface, take_bytes, &png);
    }
    cairo_destroy(cr);
    cairo_surface_destroy(surface);
    if (status != CAIRO_STATUS_SUCCESS) {
        md_free(png.bytes);
        return cairo_failed(status, err);
    }
    *ret_png = png.bytes;
    *ret_size = png.n;
    return MD_OK;
}

double md_drawing_text_width(const char *utf8, double size, bool bold)
{
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_A8, 1, 1);
    cairo_t *cr = cairo_create(surface);
    cairo_text_extents_t extents = {0};
    set_font(cr, size, bold);
    cairo_text_extents(cr, utf8, &extents);
    /* a font that cannot be had still takes its usual room */
    const double width = cairo_status(cr) == CAIRO_STATUS_SUCCESS
                             ? extents.x_advance
                             : 0.6 * size * (double)strlen(utf8);
    cairo_destroy(cr);
    cairo_surface_destroy(surface);
    return width;
}
