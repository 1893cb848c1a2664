#ifndef MEDAID_PLUGINS_TRAIN_DRAWING_H
#define MEDAID_PLUGINS_TRAIN_DRAWING_H

/* A picture of lines, areas and words, kept as a list, and given out as SVG (written here, with
 * real text) and as PNG (drawn by cairo). Colours are named by what they mean, so that an SVG
 * follows a dark or light page; the PNG is on white. The six series colours are those of Okabe
 * and Ito (2008), told apart by people with any colour vision; series also differ by dash and
 * by label. Coordinates in pixels, x to the right, y down. A drawing belongs to one thread at a
 * time. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_drawing md_drawing;

typedef enum md_ink {
    MD_INK_SERIES, /* series 0..5 are MD_INK_SERIES + i */
    MD_INK_SERIES_LAST = MD_INK_SERIES + 5,
    MD_INK_TEXT,
    MD_INK_MUTED, /* words of less weight, reference lines */
    MD_INK_GRID,
    MD_INK_PAPER, /* the background */
} md_ink;

enum {
    MD_DRAWING_N_SERIES = 6,
    MD_DRAWING_MAX_SIDE = 8192,
    MD_DRAWING_MAX_ITEMS = 1 << 20,
    MD_DRAWING_MAX_TEXT_BYTES = 4096
};

typedef enum md_anchor {
    MD_ANCHOR_START,
    MD_ANCHOR_MIDDLE,
    MD_ANCHOR_END
} md_anchor;

typedef struct md_stroke {
    md_ink ink;
    double width;
    unsigned dash; /* 0: solid, 1 dashed, 2 dotted, 3 dash-dot, 4 long dashes, 5 dash-dot-dot */
} md_stroke;

typedef struct md_lettering {
    md_ink ink;
    double size; /* of the font, pixels */
    bool bold;
    md_anchor anchor;
    bool upwards; /* turned by 90 degrees, read from below */
} md_lettering;

typedef struct md_point {
    double x, y;
} md_point;

/* `title` and `description` are for people who hear the picture. MD_LIMIT for a side not in
 * 1..MD_DRAWING_MAX_SIDE, MD_NOMEM. Caller destroys. */
md_status md_drawing_create(double width, double height, const char *title,
                            const char *description, md_drawing **ret_drawing, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_drawing_destroy(md_drawing *drawing) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_drawing, md_drawing_destroy)

double md_drawing_width(const md_drawing *drawing) MD_NOEXCEPT;
double md_drawing_height(const md_drawing *drawing) MD_NOEXCEPT;

/* Add to the list. Nothing is returned: when memory or MD_DRAWING_MAX_ITEMS ends, the drawing
 * remembers it and the two functions that give it out fail. A point that is not finite is our
 * own mistake and asserted. Texts are UTF-8; control characters and bytes that are none become
 * '?'. */
void md_draw_lines(md_drawing *drawing, const md_point *points, size_t n, md_stroke stroke)
    MD_NOEXCEPT;
void md_draw_line(md_drawing *drawing, double x1, double y1, double x2, double y2,
                  md_stroke stroke) MD_NOEXCEPT;
/* A filled area, closed by itself; opacity 0..1. */
void md_draw_area(md_drawing *drawing, const md_point *points, size_t n, md_ink ink,
                  double opacity) MD_NOEXCEPT;
void md_draw_box(md_drawing *drawing, double x, double y, double width, double height,
                 md_ink ink, double opacity) MD_NOEXCEPT;
/* A filled mark around a point: shape 0 circle, 1 square, 2 triangle, 3 diamond, then again. */
void md_draw_mark(md_drawing *drawing, double x, double y, double radius, unsigned shape,
                  md_ink ink) MD_NOEXCEPT;
/* (x, y) is on the base line. */
void md_draw_text(md_drawing *drawing, double x, double y, md_lettering lettering,
                  const char *utf8) MD_NOEXCEPT;
/* The width that the text will have, in pixels. */
double md_drawing_text_width(const char *utf8, double size, bool bold) MD_NOEXCEPT;

/* The SVG element as UTF-8 with a final zero; equal drawings give equal bytes. `standalone`
 * brings its own style sheet and an XML declaration; otherwise it is to be put into an HTML
 * page that has MD_DRAWING_STYLE. MD_NOMEM, MD_LIMIT. Caller frees. */
md_status md_drawing_svg(const md_drawing *drawing, bool standalone, char **ret_svg,
                         size_t *ret_size, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* `scale` pixels for one (1 to 4). MD_NOMEM, MD_LIMIT, MD_INTERNAL (cairo). Caller frees. */
md_status md_drawing_png(const md_drawing *drawing, unsigned scale, uint8_t **ret_png,
                         size_t *ret_size, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The style sheet, for the page. */
extern const char MD_DRAWING_STYLE[];

/* Write FOLDER/NAME.svg and FOLDER/NAME.png, each whole or not at all; old ones are replaced.
 * MD_IO and the errors above. */
md_status md_drawing_write(const md_drawing *drawing, const char *folder, const char *name,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
