#ifndef MEDAID_DICOM_REPORT_CANVAS_H
#define MEDAID_DICOM_REPORT_CANVAS_H

/* A small RGB drawing surface: rectangles, single pixels and anti-aliased text. Everything that
 * falls outside is clipped. A canvas belongs to one thread at a time. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_CANVAS_MAX_SIDE = 32767
};

typedef struct md_canvas {
    uint32_t width, height;
    uint8_t *rgb; /* owned; row by row, red green blue */
} md_canvas;

typedef struct md_colour {
    uint8_t red, green, blue;
} md_colour;

typedef enum md_font {
    MD_FONT_SMALL, /* 15 pixels */
    MD_FONT_TEXT,  /* 18 */
    MD_FONT_BOLD,  /* 18, bold */
    MD_FONT_TITLE, /* 24, bold */
} md_font;

/* A black canvas. MD_LIMIT when a side is not in 1..MD_CANVAS_MAX_SIDE, MD_NOMEM. */
md_status md_canvas_init(md_canvas *canvas, uint32_t width, uint32_t height, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Release; a zeroed one is fine, twice is fine. */
void md_canvas_finish(md_canvas *canvas) MD_NOEXCEPT;

/* Mix the colour into a pixel: opacity 0 leaves it, 255 replaces it. */
void md_canvas_blend(md_canvas *canvas, int64_t x, int64_t y, md_colour colour, uint8_t opacity)
    MD_NOEXCEPT;
void md_canvas_fill(md_canvas *canvas, int64_t x, int64_t y, int64_t width, int64_t height,
                    md_colour colour) MD_NOEXCEPT;

/* Pixels from one line to the next. */
int64_t md_canvas_line_height(md_font font) MD_NOEXCEPT;
/* Width of UTF-8 text in pixels. What the font lacks is drawn as '?'. */
int64_t md_canvas_text_width(md_font font, const char *utf8) MD_NOEXCEPT;
/* Draw one line whose upper left corner is (x, y). Returns the x after it. */
int64_t md_canvas_text(md_canvas *canvas, int64_t x, int64_t y, md_font font, md_colour colour,
                       const char *utf8) MD_NOEXCEPT;
/* Draw text in lines of at most `width` pixels, broken at blanks and, where a word is wider,
 * within it. `canvas` NULL only measures. Returns the height. */
int64_t md_canvas_text_box(md_canvas *canvas, int64_t x, int64_t y, int64_t width, md_font font,
                           md_colour colour, const char *utf8) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
