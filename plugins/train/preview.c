#include "plugins/train/preview.h"

#include "base/file.h"

#include <math.h>
#include <string.h>

#include <png.h>

enum {
    GAP = 4 /* pixels between pairs, and half of it inside one */
};

typedef struct sheet {
    uint8_t *pixels; /* [height, width, n_channels] */
    size_t width, height;
    unsigned n_channels;
} sheet;

/* A film [n_channels, height, width] in network values at pixel (x, y) of the sheet. */
static void put_film(sheet *s, size_t x, size_t y, const md_training_set *set,
                     const float *film, unsigned width, unsigned height)
{
    const size_t n = (size_t)width * height;
    const md_preprocess_options *o = &set->options;
    float low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < n * s->n_channels; i++) {
        const size_t c = i / n;
        const float v = film[i] * o->std[c] + o->mean[c];
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    if (set->recipe->preprocess.values == MD_VALUES_DISPLAY || !(high > low)) {
        low = 0.0F;
        high = 1.0F;
    }
    for (size_t i = 0; i < n * s->n_channels; i++) {
        const size_t c = i / n, row = i % n / width, column = i % width;
        const float v = (film[i] * o->std[c] + o->mean[c] - low) / (high - low);
        const float inside = v > 0.0F ? v < 1.0F ? v : 1.0F : 0.0F;
        s->pixels[((y + row) * s->width + x + column) * s->n_channels + c] =
            (uint8_t)(inside * 255.0F + 0.5F);
    }
}

static md_status write_png(const sheet *s, const char *path, md_error *err)
{
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)s->width,
                       .height = (png_uint_32)s->height,
                       .format = s->n_channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY};
    png_alloc_size_t size_bytes = 0;
    if (!png_image_write_get_memory_size(image, size_bytes, 0, s->pixels, 0, NULL)) {
        return md_fail(err, MD_NOMEM, "no memory for the sheet as PNG");
    }
    MD_AUTO(md_freep) uint8_t *bytes = md_malloc(size_bytes);
    if (bytes == NULL ||
        !png_image_write_to_memory(&image, bytes, &size_bytes, 0, s->pixels, 0, NULL)) {
        return md_fail(err, MD_NOMEM, "no memory for the sheet as PNG");
    }
    return md_file_write(path, MD_FILE_REPLACE, bytes, size_bytes, err);
}

/* The film without augmentation, as the network would get it when it is served. */
static md_status plain_film(const md_training_set *set, size_t index, float *planes,
                            float *ret_film, md_error *err)
{
    uint32_t n_planes = 0;
    MD_TRY(md_training_set_picture(set, index, planes, &n_planes, err));
    md_preprocess_finish(planes, n_planes, (size_t)set->options.width * set->options.height,
                         &set->options, ret_film);
    return MD_OK;
}

static md_status draw(const md_training_set *set, md_loader *loader, unsigned epoch,
                      unsigned n_films, unsigned n_columns, sheet *s, md_error *err)
{
    const unsigned width = set->options.width, height = set->options.height;
    const size_t values = (size_t)set->options.n_channels * width * height;
    const unsigned n_rows = (n_films + n_columns - 1) / n_columns;
    s->n_channels = set->options.n_channels;
    s->width = (size_t)n_columns * (2 * width + GAP / 2 + GAP) - GAP;
    s->height = (size_t)n_rows * (height + GAP) - GAP;
    size_t size_bytes = 0;
    if (!md_mul(s->width, s->height, &size_bytes) ||
        !md_mul(size_bytes, s->n_channels, &size_bytes)) {
        return md_fail(err, MD_LIMIT, "a sheet of %u films", n_films);
    }
    s->pixels = md_malloc(size_bytes);
    MD_AUTO(md_freep) float *planes = md_malloc_aligned(values * sizeof *planes);
    MD_AUTO(md_freep) float *film = md_malloc_aligned(values * sizeof *film);
    if (s->pixels == NULL || planes == NULL || film == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a sheet of %u films", n_films);
    }
    memset(s->pixels, 128, size_bytes);
    MD_TRY(md_loader_begin(loader, epoch, 0, 0, 0, 0, err));
    md_batch batch = {0};
    for (unsigned done = 0; done < n_films; done += batch.n) {
        MD_TRY(md_loader_next(loader, &batch, err));
        if (batch.n == 0) {
            break; /* fewer films than places */
        }
        for (unsigned i = 0; i < batch.n && done + i < n_films; i++) {
            const size_t column = (done + i) % n_columns, row = (done + i) / n_columns;
            const size_t x = column * (2 * width + GAP / 2 + GAP), y = row * (height + GAP);
            MD_TRY(plain_film(set, batch.indices[i], planes, film, err));
            put_film(s, x, y, set, film, width, height);
            put_film(s, x + width + GAP / 2, y, set, batch.images + i * values, width, height);
        }
    }
    return MD_OK;
}

md_status md_preview_write(const md_training_set *set, unsigned epoch, unsigned n_films,
                           unsigned n_columns, const char *path, md_error *err)
{
    if (n_films < 1 || n_films > MD_PREVIEW_MAX_FILMS || n_columns < 1 || n_columns > n_films) {
        return md_fail(err, MD_INVALID_ARG, "a sheet of %u films in %u columns", n_films,
                       n_columns);
    }
    const md_loader_options options = {.part = MD_PART_TRAIN,
                                       .training = true,
                                       .batch = set->recipe->training.batch,
                                       .n_threads = set->recipe->training.loader_threads};
    MD_AUTO(md_loader_destroyp) md_loader *loader = NULL;
    MD_TRY(md_loader_create(set, &options, &loader, err));
    sheet s = {0};
    md_status status = draw(set, loader, epoch, n_films, n_columns, &s, err);
    if (status == MD_OK) {
        status = write_png(&s, path, err);
    }
    md_free(s.pixels);
    return status;
}
