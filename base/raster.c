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

void md_raster_finish(md_raster *raster)
{
    if (raster != NULL) {
        md_free(raster->values);
        *raster = (md_raster){0};
    }
}
