#include "base/raster.h"

md_status md_raster_init(md_raster *raster, uint32_t width, uint32_t height,
                         uint32_t n_channels, md_error *err)
{
    if (width == 0 || height == 0 || (n_channels != 1 && n_channels != 3)) {
        return md_fail(err, MD_INVALID_ARG, "raster %ux%u with %u channels", width, height,
                       n_channels);
    }
    size_t n = 0;
    if (!md_mul(width, height, &n) || n > MD_RASTER_MAX_PIXELS) {
        return md_fail(err, MD_LIMIT, "raster %ux%u is larger than %zu pixels", width, height,
                       MD_RASTER_MAX_PIXELS);
    }
    float *values = md_malloc_aligned(n * n_channels * sizeof *values);
    if (values == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a raster of %ux%u", width, height);
    }
    *raster = (md_raster){.width = width,
                          .height = height,
                          .n_channels = n_channels,
                          .pixel_width_mm = 1.0,
                          .pixel_height_mm = 1.0,
                          .values = values};
    return MD_OK;
}

static void look_up(const uint16_t *restrict codes, const float *restrict table, size_t n,
                    float *restrict to)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = table[codes[i]];
    }
}

const float *md_raster_row(const md_raster *raster, uint32_t channel, uint32_t y, uint32_t x,
                           uint32_t n, float *scratch)
{
    const size_t at = ((size_t)channel * raster->height + y) * raster->width + x;
    if (raster->values != NULL) {
        return raster->values + at;
    }
    look_up(raster->codes + at, raster->table, n, scratch);
    return scratch;
}

md_status md_raster_expand(md_raster *raster, md_error *err)
{
    if (raster->values != NULL || raster->codes == NULL) {
        return MD_OK;
    }
    const size_t n = (size_t)raster->width * raster->height * raster->n_channels;
    float *values = md_malloc_aligned(n * sizeof *values);
    if (values == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a raster of %ux%u", raster->width,
                       raster->height);
    }
    look_up(raster->codes, raster->table, n, values);
    md_free(raster->codes);
    md_free(raster->table);
    raster->codes = NULL;
    raster->table = NULL;
    raster->values = values;
    return MD_OK;
}

void md_raster_finish(md_raster *raster)
{
    if (raster != NULL) {
        md_free(raster->values);
        md_free(raster->codes);
        md_free(raster->table);
        *raster = (md_raster){0};
    }
}
