#include "dicom/report/canvas.h"

#include "dicom/report/font.h"
#include "dicom/report/text.h"

#include <string.h>

md_status md_canvas_init(md_canvas *canvas, uint32_t width, uint32_t height, md_error *err)
{
    if (width == 0 || height == 0 || width > MD_CANVAS_MAX_SIDE ||
        height > MD_CANVAS_MAX_SIDE) {
        return md_fail(err, MD_LIMIT, "picture of %u x %u pixels, sides not in 1..%d", width,
                       height, MD_CANVAS_MAX_SIDE);
    }
    uint8_t *rgb = md_calloc((size_t)width * height, 3);
    if (rgb == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory for a picture of %u x %u pixels", width,
                       height);
    }
    *canvas = (md_canvas){.width = width, .height = height, .rgb = rgb};
    return MD_OK;
}

void md_canvas_finish(md_canvas *canvas)
{
    if (canvas != NULL) {
        md_free(canvas->rgb);
        memset(canvas, 0, sizeof *canvas);
    }
}

static uint8_t mix(uint8_t under, uint8_t over, unsigned opacity)
{
    return (uint8_t)((under * (255U - opacity) + over * opacity + 127U) / 255U);
}

void md_canvas_blend(md_canvas *canvas, int64_t x, int64_t y, md_colour colour, uint8_t opacity)
{
    if (x < 0 || y < 0 || x >= canvas->width || y >= canvas->height) {
        return;
    }
    uint8_t *p = canvas->rgb + ((size_t)y * canvas->width + (size_t)x) * 3;
    p[0] = mix(p[0], colour.red, opacity);
    p[1] = mix(p[1], colour.green, opacity);
    p[2] = mix(p[2], colour.blue, opacity);
}

void md_canvas_fill(md_canvas *canvas, int64_t x, int64_t y, int64_t width, int64_t height,
                    md_colour colour)
{
    int64_t left = x < 0 ? 0 : x, top = y < 0 ? 0 : y;
    int64_t right = x + width > canvas->width ? canvas->width : x + width;
    int64_t bottom = y + height > canvas->height ? canvas->height : y + height;
    for (int64_t row = top; row < bottom; row++) {
        for (int64_t column = left; column < right; column++) {
            md_canvas_blend(canvas, column, row, colour, 255);
        }
    }
}

int64_t md_canvas_line_height(md_font font)
{
    return MD_FONT_FACES[font].line_height;
}

static const md_glyph *find_glyph(const md_font_face *face, uint32_t code)
{
    size_t low = 0, high = face->n_glyphs;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (face->glyphs[middle].code < code) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < face->n_glyphs && face->glyphs[low].code == code) {
        return &face->glyphs[low];
    }
    return code == '?' ? NULL : find_glyph(face, '?');
}

static void draw_glyph(md_canvas *canvas, const md_font_face *face, const md_glyph *glyph,
                       int64_t x, int64_t baseline, md_colour colour)
{
    const uint8_t *coverage = face->pixels + glyph->offset;
    for (unsigned row = 0; row < glyph->height; row++) {
        for (unsigned column = 0; column < glyph->width; column++) {
            md_canvas_blend(canvas, x + glyph->left + column, baseline - glyph->top + row,
                            colour, *coverage++);
        }
    }
}

/* Draw or, without a canvas, measure the bytes from `text` to `end` (NULL: all). */
static int64_t run(md_canvas *canvas, int64_t x, int64_t y, md_font font, md_colour colour,
                   const char *text, const char *end)
{
    const md_font_face *face = &MD_FONT_FACES[font];
    while (end == NULL || text < end) {
        uint32_t code = md_text_next(&text);
        if (code == 0) {
            break;
        }
        const md_glyph *glyph = find_glyph(face, code);
        if (glyph == NULL) {
            continue;
        }
        if (canvas != NULL) {
            draw_glyph(canvas, face, glyph, x, y + face->ascent, colour);
        }
        x += glyph->advance;
    }
    return x;
}

int64_t md_canvas_text_width(md_font font, const char *utf8)
{
    return run(NULL, 0, 0, font, (md_colour){0, 0, 0}, utf8, NULL);
}

int64_t md_canvas_text(md_canvas *canvas, int64_t x, int64_t y, md_font font, md_colour colour,
                       const char *utf8)
{
    return run(canvas, x, y, font, colour, utf8, NULL);
}

/* The end of the line that starts at `text`: the last blank that fits, else the last character
 * that does, and at least one character. */
static const char *line_end(md_font font, int64_t width, const char *text)
{
    const char *here = text, *blank = NULL, *fits = text;
    md_colour none = {0, 0, 0};
    int64_t x = 0;
    for (;;) {
        const char *start = here;
        uint32_t code = md_text_next(&here);
        if (code == 0) {
            return start;
        }
        x = run(NULL, x, 0, font, none, start, here);
        if (code == ' ') {
            blank = start;
        }
        if (x > width) {
            break;
        }
        fits = here;
    }
    if (blank != NULL && blank > text) {
        return blank;
    }
    return fits > text ? fits : here;
}

int64_t md_canvas_text_box(md_canvas *canvas, int64_t x, int64_t y, int64_t width, md_font font,
                           md_colour colour, const char *utf8)
{
    int64_t height = 0;
    while (*utf8 == ' ') {
        utf8++;
    }
    while (*utf8 != '\0') {
        const char *end = line_end(font, width, utf8);
        if (canvas != NULL) {
            run(canvas, x, y + height, font, colour, utf8, end);
        }
        height += md_canvas_line_height(font);
        utf8 = end;
        while (*utf8 == ' ') {
            utf8++;
        }
    }
    return height;
}
