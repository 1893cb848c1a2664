/* For check_preprocess.py. Reads from standard input width, height (uint32) and 8-bit grey
 * pixels, any number of times.
 *
 *   preprocess_tool resize WIDTH HEIGHT triangle|area [THRESHOLD|otsu]
 *                                                      writes each as float32, WIDTH x HEIGHT,
 *                                                      binarised when there is a threshold
 *   preprocess_tool inverted                           prints "as it is, inverted" for each
 */

#include "inference/preprocess.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_raster(md_raster *raster)
{
    uint32_t size[2];
    md_error err = {0};
    if (fread(size, sizeof *size, 2, stdin) != 2) {
        return false;
    }
    if (md_raster_init(raster, size[0], size[1], 1, &err) != MD_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    const size_t n = (size_t)size[0] * size[1];
    uint8_t *pixels = malloc(n);
    if (pixels == NULL || fread(pixels, 1, n, stdin) != n) {
        (void)fprintf(stderr, "%zu pixels are missing\n", n);
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        raster->values[i] = (float)pixels[i] / 255.0F;
    }
    free(pixels);
    return true;
}

static bool inverted(const md_raster *raster)
{
    md_quality quality;
    md_error err = {0};
    if (md_quality_measure(raster, &quality, &err) != MD_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return quality.looks_inverted;
}

static void resize(const md_raster *raster, int argc, char **argv)
{
    const bool otsu = argc > 5 && strcmp(argv[5], "otsu") == 0;
    const md_preprocess_options options = {
        .binarise = argc <= 5 ? MD_BINARISE_NONE
                    : otsu    ? MD_BINARISE_OTSU
                              : MD_BINARISE_FIXED,
        .binarise_threshold = argc > 5 && !otsu ? strtof(argv[5], NULL) : 0.0F,
        .width = (uint32_t)strtoul(argv[2], NULL, 10),
        .height = (uint32_t)strtoul(argv[3], NULL, 10),
        .filter = strcmp(argv[4], "area") == 0 ? MD_FILTER_AREA : MD_FILTER_TRIANGLE,
        .n_channels = 1,
        .std = {1.0F, 1.0F, 1.0F}};
    md_tensor tensor;
    md_placement placement;
    md_error err = {0};
    if (md_preprocess(raster, &options, &tensor, &placement, NULL, &err) != MD_OK ||
        fwrite(tensor.data, sizeof(float), tensor.n_elements, stdout) != tensor.n_elements) {
        (void)fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    md_tensor_finish(&tensor);
}

int main(int argc, char **argv)
{
    md_raster raster;
    if (argc != 2 && argc != 5 && argc != 6) {
        return 2;
    }
    while (read_raster(&raster)) {
        if (argc >= 5) {
            resize(&raster, argc, argv);
        } else {
            const bool before = inverted(&raster);
            for (size_t i = 0; i < (size_t)raster.width * raster.height; i++) {
                raster.values[i] = 1.0F - raster.values[i];
            }
            (void)printf("%d %d\n", before ? 1 : 0, inverted(&raster) ? 1 : 0);
        }
        md_raster_finish(&raster);
    }
    return 0;
}
