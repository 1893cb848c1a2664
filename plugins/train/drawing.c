#include "plugins/train/drawing.h"

#include "base/file.h"
#include "plugins/train/drawing_items.h"
#include "plugins/train/markup.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

md_status md_drawing_create(double width, double height, const char *title,
                            const char *description, md_drawing **ret_drawing, md_error *err)
{
    if (!(width >= 1 && width <= MD_DRAWING_MAX_SIDE && height >= 1 &&
          height <= MD_DRAWING_MAX_SIDE)) {
        return md_fail(err, MD_LIMIT, "a drawing of %g x %g pixels, sides are 1 to %d", width,
                       height, MD_DRAWING_MAX_SIDE);
    }
    md_drawing *d = md_calloc(1, sizeof *d);
    if (d == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a drawing");
    }
    d->width = width;
    d->height = height;
    d->title = md_strdup(title);
    d->description = md_strdup(description);
    if (d->title == NULL || d->description == NULL) {
        md_drawing_destroy(d);
        return md_fail(err, MD_NOMEM, "no memory for a drawing");
    }
    *ret_drawing = d;
    return MD_OK;
}

void md_drawing_destroy(md_drawing *d)
{
    if (d != NULL) {
        md_free(d->title);
        md_free(d->description);
        md_free(d->items);
        md_free(d->points);
        md_free(d->texts);
        md_free(d);
    }
}

double md_drawing_width(const md_drawing *drawing)
{
    return drawing->width;
}

double md_drawing_height(const md_drawing *drawing)
{
    return drawing->height;
}

/* Let *block hold n + more elements; false and d->failed when it cannot. */
static bool grow(md_drawing *d, void **block, size_t n, size_t more, size_t *room,
                 size_t element_bytes)
{
    if (d->failed != MD_OK) {
        return false;
    }
    if (more > MD_DRAWING_MAX_ITEMS || n + more > MD_DRAWING_MAX_ITEMS) {
        d->failed = MD_LIMIT;
        return false;
    }
    if (n + more <= *room) {
        return true;
    }
    const size_t wanted = n + more > 2 * *room ? n + more + 64 : 2 * *room;
    void *larger = md_realloc(*block, wanted * element_bytes);
    if (larger == NULL) {
        d->failed = MD_NOMEM;
        return false;
    }
    *block = larger;
    *room = wanted;
    return true;
}

static void add_item(md_drawing *d, md_drawing_item item)
{
    void *block = d->items;
    if (grow(d, &block, d->n_items, 1, &d->items_room, sizeof *d->items)) {
        d->items = block;
        d->items[d->n_items++] = item;
    }
}

/* Copy points; false when there is no room. */
static bool add_points(md_drawing *d, const md_point *points, size_t n, size_t *ret_first)
{
    void *block = d->points;
    if (!grow(d, &block, d->n_points, n, &d->points_room, sizeof *d->points)) {
        return false;
    }
    d->points = block;
    for (size_t i = 0; i < n; i++) {
        assert(isfinite(points[i].x) && isfinite(points[i].y));
    }
    memcpy(d->points + d->n_points, points, n * sizeof *points);
    *ret_first = d->n_points;
    d->n_points += n;
    return true;
}

void md_draw_lines(md_drawing *d, const md_point *points, size_t n, md_stroke stroke)
{
    size_t first = 0;
    if (n >= 2 && add_points(d, points, n, &first)) {
        add_item(d, (md_drawing_item){.kind = MD_ITEM_LINES,
                                      .ink = stroke.ink,
                                      .first = first,
                                      .n = n,
                                      .stroke = stroke});
    }
}

void md_draw_line(md_drawing *d, double x1, double y1, double x2, double y2, md_stroke stroke)
{
    md_draw_lines(d, (md_point[]){{x1, y1}, {x2, y2}}, 2, stroke);
}

void md_draw_area(md_drawing *d, const md_point *points, size_t n, md_ink ink, double opacity)
{
    size_t first = 0;
    if (n >= 3 && add_points(d, points, n, &first)) {
        add_item(
            d,
            (md_drawing_item){
                .kind = MD_ITEM_AREA, .ink = ink, .first = first, .n = n, .opacity = opacity});
    }
}

void md_draw_box(md_drawing *d, double x, double y, double width, double height, md_ink ink,
                 double opacity)
{
    const md_point corners[] = {
        {x, y}, {x + width, y}, {x + width, y + height}, {x, y + height}};
    md_draw_area(d, corners, 4, ink, opacity);
}

void md_draw_mark(md_drawing *d, double x, double y, double radius, unsigned shape, md_ink ink)
{
    const double r = radius;
    switch (shape % 4) {
    case 1:
        md_draw_box(d, x - r * 0.9, y - r * 0.9, 1.8 * r, 1.8 * r, ink, 1);
        break;
    case 2:
        md_draw_area(d,
                     (md_point[]){{x, y - r * 1.2},
                                  {x + r * 1.1, y + r * 0.8},
                                  {x - r * 1.1, y + r * 0.8}},
                     3, ink, 1);
        break;
    case 3:
        md_draw_area(
            d,
            (md_point[]){
                {x, y - r * 1.25}, {x + r * 1.25, y}, {x, y + r * 1.25}, {x - r * 1.25, y}},
            4, ink, 1);
        break;
    default: {
        const md_point centre = {x, y};
        size_t first = 0;
        if (add_points(d, &centre, 1, &first)) {
            add_item(d, (md_drawing_item){.kind = MD_ITEM_DISC,
                                          .ink = ink,
                                          .first = first,
                                          .n = 1,
                                          .radius = radius});
        }
        break;
    }
    }
}

void md_draw_text(md_drawing *d, double x, double y, md_lettering lettering, const char *utf8)
{
    size_t length = strlen(utf8), first = 0;
    length = length < MD_DRAWING_MAX_TEXT_BYTES ? length : MD_DRAWING_MAX_TEXT_BYTES;
    void *block = d->texts;
    const md_point at = {x, y};
    if (!grow(d, &block, d->n_texts, length + 1, &d->texts_room, 1)) {
        return;
    }
    d->texts = block;
    if (!add_points(d, &at, 1, &first)) {
        return;
    }
    char *to = d->texts + d->n_texts;
    size_t n = 0;
    for (size_t i = 0; i < length;) {
        const size_t bytes = md_markup_shown(utf8 + i);
        if (i + bytes > length) {
            break; /* cut within a character */
        }
        for (size_t k = 0; k < bytes; k++) {
            to[n++] = utf8[i + k];
        }
        if (bytes == 0) {
            to[n++] = '?';
        }
        i += bytes > 0 ? bytes : 1;
    }
    to[n] = '\0';
    add_item(d, (md_drawing_item){.kind = MD_ITEM_TEXT,
                                  .ink = lettering.ink,
                                  .first = first,
                                  .text = d->n_texts,
                                  .lettering = lettering});
    d->n_texts += n + 1;
}

md_status md_drawing_check(const md_drawing *d, md_error *err)
{
    if (d->failed == MD_LIMIT) {
        return md_fail(err, MD_LIMIT, "a drawing of more than %d parts", MD_DRAWING_MAX_ITEMS);
    }
    if (d->failed != MD_OK) {
        return md_fail(err, d->failed, "no memory for a drawing");
    }
    return MD_OK;
}

static md_status write_file(const char *folder, const char *name, const char *ending,
                            const void *bytes, size_t n, md_error *err)
{
    char path[4096];
    const int length = snprintf(path, sizeof path, "%s/%s.%s", folder, name, ending);
    if (length < 0 || (size_t)length >= sizeof path) {
        return md_fail(err, MD_LIMIT, "%s: the path is too long", name);
    }
    return md_file_write(path, MD_FILE_REPLACE, bytes, n, err);
}

md_status md_drawing_write(const md_drawing *drawing, const char *folder, const char *name,
                           md_error *err)
{
    enum {
        PNG_SCALE = 2
    };
    MD_AUTO(md_freep) char *svg = NULL;
    MD_AUTO(md_freep) uint8_t *png = NULL;
    size_t n_svg = 0, n_png = 0;
    MD_TRY(md_drawing_svg(drawing, true, &svg, &n_svg, err));
    MD_TRY(md_drawing_png(drawing, PNG_SCALE, &png, &n_png, err));
    MD_TRY(write_file(folder, name, "svg", svg, n_svg, err));
    return write_file(folder, name, "png", png, n_png, err);
}
