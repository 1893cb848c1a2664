/* Build tool: draws the letters that the picture needs with FreeType and writes them as C
 * arrays, so that the program needs no font when it runs. usage: make-font REGULAR.ttf BOLD.ttf
 * OUT.c */

#include <ft2build.h>
#include <stdio.h>
#include FT_FREETYPE_H

/* Faces as md_font in canvas.h numbers them: file and height in pixels. */
static const struct {
    int file;
    unsigned pixels;
} FACES[] = {{0, 15}, {0, 18}, {1, 18}, {1, 24}};

/* ASCII, Latin-1, Latin Extended-A, and signs that reports use. */
static const unsigned RANGES[][2] = {{0x20, 0x7e},     {0xa0, 0x17f},    {0x2013, 0x2014},
                                     {0x2018, 0x201d}, {0x2022, 0x2022}, {0x2026, 0x2026},
                                     {0x20ac, 0x20ac}, {0x2212, 0x2212}, {0x2264, 0x2265}};

/* Write the coverage of one letter and its line of the table, "code, width, height, left, top,
 * advance, offset". */
static int draw(FT_Face face, unsigned code, FILE *pixels, FILE *table, unsigned long *offset)
{
    if (FT_Get_Char_Index(face, code) == 0) {
        return 0; /* the font lacks it */
    }
    if (FT_Load_Char(face, code, FT_LOAD_RENDER | FT_LOAD_TARGET_LIGHT) != 0) {
        return 1;
    }
    FT_GlyphSlot slot = face->glyph;
    const FT_Bitmap *bitmap = &slot->bitmap;
    if (bitmap->width > 255 || bitmap->rows > 255) {
        return 1;
    }
    fprintf(table, "    {0x%04x, %u, %u, %d, %d, %ld, %lu},\n", code, bitmap->width,
            bitmap->rows, slot->bitmap_left, slot->bitmap_top, slot->advance.x / 64, *offset);
    for (unsigned y = 0; y < bitmap->rows; y++) {
        for (unsigned x = 0; x < bitmap->width; x++) {
            int place = (int)y * bitmap->pitch + (int)x;
            fprintf(pixels, "%u,%s", bitmap->buffer[place], (*offset)++ % 24 == 23 ? "\n" : "");
        }
    }
    return 0;
}

static int convert(FT_Face faces[2], FILE *out, FILE *table)
{
    unsigned long offset = 0;
    unsigned n_faces = sizeof FACES / sizeof *FACES;
    fprintf(out, "#include \"dicom/report/font.h\"\n\n"
                 "static const uint8_t PIXELS[] = {\n");
    for (unsigned i = 0; i < n_faces; i++) {
        FT_Face face = faces[FACES[i].file];
        if (FT_Set_Pixel_Sizes(face, 0, FACES[i].pixels) != 0) {
            return 1;
        }
        fprintf(table, "static const md_glyph GLYPHS_%u[] = {\n", i);
        for (unsigned r = 0; r < sizeof RANGES / sizeof *RANGES; r++) {
            for (unsigned code = RANGES[r][0]; code <= RANGES[r][1]; code++) {
                if (draw(face, code, out, table, &offset) != 0) {
                    return 1;
                }
            }
        }
        fprintf(table, "};\n\n");
    }
    fprintf(out, "};\n\n");
    rewind(table);
    for (int c = fgetc(table); c != EOF; c = fgetc(table)) {
        fputc(c, out);
    }
    fprintf(out, "const md_font_face MD_FONT_FACES[] = {\n");
    for (unsigned i = 0; i < n_faces; i++) {
        FT_Face face = faces[FACES[i].file];
        if (FT_Set_Pixel_Sizes(face, 0, FACES[i].pixels) != 0) {
            return 1;
        }
        fprintf(out,
                "    {GLYPHS_%u, sizeof GLYPHS_%u / sizeof *GLYPHS_%u, PIXELS, %ld, %ld},\n", i,
                i, i, face->size->metrics.ascender / 64, face->size->metrics.height / 64);
    }
    fprintf(out, "};\n");
    return 0;
}

int main(int argc, char **argv)
{
    FT_Library library = NULL;
    FT_Face faces[2] = {NULL, NULL};
    if (argc != 4) {
        fprintf(stderr, "usage: make-font REGULAR.ttf BOLD.ttf OUT.c\n");
        return 2;
    }
    if (FT_Init_FreeType(&library) != 0) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        if (FT_New_Face(library, argv[i + 1], 0, &faces[i]) != 0) {
            fprintf(stderr, "make-font: %s cannot be read\n", argv[i + 1]);
            return 1;
        }
    }
    FILE *out = fopen(argv[3], "w");
    FILE *table = tmpfile();
    if (out == NULL || table == NULL) {
        perror(argv[3]);
        return 1;
    }
    int failed = convert(faces, out, table);
    fclose(table);
    failed |= fclose(out) != 0;
    FT_Done_FreeType(library);
    return failed;
}
