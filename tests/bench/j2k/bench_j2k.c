/* Does through our codec what opj_decompress does: bench_j2k FILE WIDTH HEIGHT BITS OUT
 * [REDUCE] decodes a bare codestream of one component, at 1/2^REDUCE of its size, and writes
 * the raw pixels. Prints the CPU milliseconds of the decoding alone. */

#include "base/clock.h"
#include "base/file.h"
#include "dicom/image/j2k.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    md_error err;
    uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    if ((argc != 6 && argc != 7) ||
        md_file_read(argv[1], (size_t)1 << 30, &bytes, &size_bytes, &err) != MD_OK) {
        fprintf(stderr, "%s\n", argc < 6 ? "usage: see the source" : err.msg);
        return 2;
    }
    unsigned bits = (unsigned)strtoul(argv[4], NULL, 10);
    md_layout layout = {.columns = (uint32_t)strtoul(argv[2], NULL, 10),
                        .rows = (uint32_t)strtoul(argv[3], NULL, 10),
                        .n_samples = 1,
                        .n_frames = 1,
                        .bits_allocated = 16,
                        .bits_stored = bits,
                        .high_bit = bits - 1,
                        .colour = MD_COLOUR_MONOCHROME2};
    unsigned reduce = argc == 7 ? (unsigned)strtoul(argv[6], NULL, 10) : 0;
    md_image image = {0};
    int64_t start_us = md_clock_cpu_us();
    if (md_j2k_decode(bytes, size_bytes, &layout, reduce, 1, &image, &err) != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    printf("%.1f\n", (double)(md_clock_cpu_us() - start_us) / 1000);
    FILE *out = fopen(argv[5], "wb");
    size_t n = (size_t)image.rows * image.columns * md_pixel_bytes(image.type);
    if (out == NULL || fwrite(image.pixels, 1, n, out) != n || fclose(out) != 0) {
        fprintf(stderr, "cannot write the pixels\n");
        return 1;
    }
    md_image_finish(&image);
    md_free(bytes);
    return 0;
}
