#include "films.h"

#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <ftw.h>
#include <jpeglib.h>
#include <png.h>
#include <sys/stat.h>
#include <unistd.h>

void scene_make(scene *s)
{
    snprintf(s->folder, sizeof s->folder, "/tmp/medaid-films-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *ftw)
{
    (void)about, (void)kind, (void)ftw;
    return remove(path);
}

void scene_remove(scene *s)
{
    assert_int_equal(nftw(s->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void scene_write(const scene *s, const char *name, const void *bytes, size_t size_bytes)
{
    char path[512];
    md_error err = {0};
    snprintf(path, sizeof path, "%s/%s", s->folder, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(md_folder_create(path, &err), MD_OK);
    *slash = '/';
    assert_int_equal(md_file_write(path, MD_FILE_REPLACE, bytes, size_bytes, &err), MD_OK);
}

static void draw(uint8_t *pixels, unsigned seed)
{
    for (unsigned i = 0; i < FILM_SIDE * FILM_SIDE; i++) {
        seed = seed * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)(seed >> 24);
    }
}

void scene_png(const scene *s, const char *name, unsigned seed)
{
    uint8_t pixels[FILM_SIDE * FILM_SIDE], bytes[8192];
    png_alloc_size_t n = sizeof bytes;
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = FILM_SIDE,
                       .height = FILM_SIDE,
                       .format = PNG_FORMAT_GRAY};
    draw(pixels, seed);
    assert_true(png_image_write_to_memory(&image, bytes, &n, 0, pixels, 0, NULL));
    scene_write(s, name, bytes, n);
}

void scene_jpeg(const scene *s, const char *name, unsigned seed, bool cut)
{
    uint8_t pixels[FILM_SIDE * FILM_SIDE];
    unsigned char *bytes = NULL;
    unsigned long n = 0;
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    draw(pixels, seed);
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &n);
    jpeg.image_width = FILM_SIDE;
    jpeg.image_height = FILM_SIDE;
    jpeg.input_components = 1;
    jpeg.in_color_space = JCS_GRAYSCALE;
    jpeg_set_defaults(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    for (unsigned y = 0; y < FILM_SIDE; y++) {
        JSAMPROW row = pixels + y * FILM_SIDE;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    scene_write(s, name, bytes, cut ? n / 2 : n);
    free(bytes);
}

md_recipe *scene_recipe(const scene *s, const char *classes, const char *more,
                        const char *sections)
{
    char text[8192];
    md_error err = {0};
    md_recipe *recipe = NULL;
    snprintf(text, sizeof text,
             "medaid_recipe: 1\nname: test\nseed: 7\nrun_folder: run\n"
             "data:\n  classes: %s\n  folders: [films]\n%s"
             "preprocess: {values: display, fit: stretch, width: %d, height: %d, filter: "
             "triangle, channels: 1, mean: [0.5], std: [0.25]}\n"
             "network: {name: lenet}\n%s",
             classes, more, FILM_SIDE, FILM_SIDE, sections);
    if (strstr(sections, "training:") == NULL) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used,
                 "training: {epochs: 2, learning_rate: 0.1, batch: 4}\n");
    }
    if (md_recipe_parse((const uint8_t *)text, strlen(text), "r.yaml", s->folder, &recipe,
                        &err) != MD_OK) {
        fail_msg("%s\n%s", err.msg, text);
    }
    return recipe;
}
