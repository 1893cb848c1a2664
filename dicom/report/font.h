#ifndef MEDAID_DICOM_REPORT_FONT_H
#define MEDAID_DICOM_REPORT_FONT_H

/* Letters as coverage bitmaps, made at build time by make_font.c from DejaVu Sans. Constant
 * data, any thread. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_glyph {
    uint16_t code; /* Unicode */
    uint8_t width, height;
    int8_t left, top; /* from the pen to the bitmap; top is counted upwards from the baseline */
    uint8_t advance;
    uint32_t offset; /* into the pixels: width * height bytes of coverage */
} md_glyph;

typedef struct md_font_face {
    const md_glyph *glyphs; /* by rising code */
    size_t n_glyphs;
    const uint8_t *pixels;
    int ascent, line_height; /* pixels */
} md_font_face;

extern const md_font_face MD_FONT_FACES[]; /* by md_font */

#ifdef __cplusplus
}
#endif
#endif
