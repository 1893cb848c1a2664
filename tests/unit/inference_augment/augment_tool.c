/* For check_augment.py.
 *
 *   augment_tool philox K0 K1 C0 C1 C2 C3          four words of one block
 *   augment_tool normal SEED N                     N float32 values
 *   augment_tool beta SEED A B N                   N float32 values
 *   augment_tool below SEED RANGE N                N uint32 values
 *   augment_tool apply W H OUT_W OUT_H N SEED KEY=P,LOW,HIGH...  < films
 *       Reads two films [H, W] of float32, the second for the swaps; writes the first one N
 * times, changed by position 0, 1, ... of the seed. Keys are those of md_augment_options;
 * flips, border_grey and middle take one number, cutout_count too. */

#include "inference/train/augment.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANGE(name_)                                                                           \
    {                                                                                          \
#name_, offsetof(md_augment_options, name_), true                                      \
    }
#define NUMBER(name_)                                                                          \
    {                                                                                          \
#name_, offsetof(md_augment_options, name_), false                                     \
    }
static const struct {
    const char *name;
    size_t offset;
    bool is_range;
} keys[] = {RANGE(histogram_swap),
            RANGE(gamma),
            RANGE(contrast),
            RANGE(brightness),
            RANGE(spectrum_swap),
            RANGE(blur),
            RANGE(rotation),
            RANGE(scale),
            RANGE(aspect),
            RANGE(shear),
            RANGE(shift_x),
            RANGE(shift_y),
            RANGE(crop),
            RANGE(jpeg),
            RANGE(noise),
            RANGE(border),
            RANGE(cutout),
            NUMBER(middle),
            NUMBER(flip_horizontal),
            NUMBER(flip_vertical),
            NUMBER(border_grey)};

static void die(const char *text)
{
    (void)fprintf(stderr, "%s\n", text);
    exit(1);
}

static void set_option(md_augment_options *options, const char *text)
{
    const char *value = strchr(text, '=');
    if (value == NULL) {
        die("a key without a value");
    }
    const size_t length = (size_t)(value++ - text);
    if (strncmp(text, "cutout_count", length) == 0 && length == 12) {
        options->cutout_count = (unsigned)strtoul(value, NULL, 10);
        return;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strlen(keys[i].name) == length && strncmp(text, keys[i].name, length) == 0) {
            float *to = (float *)(void *)((char *)options + keys[i].offset);
            char *end = NULL;
            for (int k = 0; k < (keys[i].is_range ? 3 : 1); k++) {
                to[k] = strtof(value, &end);
                value = end + 1;
            }
            return;
        }
    }
    die("an unknown key");
}

static void put(const void *values, size_t n)
{
    if (fwrite(values, 4, n, stdout) != n) {
        die("cannot write");
    }
}

static int apply(int argc, char **argv)
{
    md_error err = {0};
    md_augment_options options = {.middle = 0.5F};
    const uint32_t width = (uint32_t)strtoul(argv[2], NULL, 10);
    const uint32_t height = (uint32_t)strtoul(argv[3], NULL, 10);
    const uint32_t out_width = (uint32_t)strtoul(argv[4], NULL, 10);
    const uint32_t out_height = (uint32_t)strtoul(argv[5], NULL, 10);
    const uint32_t n = (uint32_t)strtoul(argv[6], NULL, 10);
    const uint64_t seed = strtoull(argv[7], NULL, 10);
    for (int i = 8; i < argc; i++) {
        set_option(&options, argv[i]);
    }
    const size_t n_pixels = (size_t)width * height, n_out = (size_t)out_width * out_height;
    float *films = malloc(2 * n_pixels * sizeof *films);
    float *out = malloc(n_out * sizeof *out);
    md_augmenter *augmenter = NULL;
    md_style own, other;
    if (films == NULL || out == NULL ||
        fread(films, sizeof *films, 2 * n_pixels, stdin) != 2 * n_pixels) {
        die("films are missing");
    }
    if (md_augmenter_create(&options, width, height, &augmenter, &err) != MD_OK ||
        md_style_measure(augmenter, films, &own, &err) != MD_OK ||
        md_style_measure(augmenter, films + n_pixels, &other, &err) != MD_OK) {
        die(err.msg);
    }
    for (uint32_t i = 0; i < n; i++) {
        const md_random_key key = {.seed = seed, .position = i};
        if (md_augment_apply(augmenter, &key, films, 1, &own, &other, out_width, out_height,
                             out, &err) != MD_OK) {
            die(err.msg);
        }
        put(out, n_out);
    }
    md_augmenter_destroy(augmenter);
    free(films);
    free(out);
    return 0;
}

static uint32_t word(const char *text)
{
    return (uint32_t)strtoul(text, NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc == 8 && strcmp(argv[1], "philox") == 0) {
        md_random random = {
            .key = {word(argv[2]), word(argv[3])},
            .counter = {word(argv[4]), word(argv[5]), word(argv[6]), word(argv[7])}};
        for (int i = 0; i < 4; i++) {
            printf("%08x ", md_random_bits(&random));
        }
        return 0;
    }
    if (argc >= 8 && strcmp(argv[1], "apply") == 0) {
        return apply(argc, argv);
    }
    if (argc < 4) {
        die("usage: see augment_tool.c");
    }
    const md_random_key key = {.seed = strtoull(argv[2], NULL, 10)};
    const size_t n = strtoull(argv[argc - 1], NULL, 10);
    float *values = malloc(n * sizeof *values);
    md_random random;
    md_random_init(&random, &key, 0);
    if (values == NULL) {
        die("no memory");
    }
    for (size_t i = 0; i < n && strcmp(argv[1], "beta") == 0; i++) {
        values[i] =
            (float)md_random_beta(&random, strtod(argv[3], NULL), strtod(argv[4], NULL));
    }
    for (size_t i = 0; i < n && strcmp(argv[1], "below") == 0; i++) {
        const uint32_t value = md_random_below(&random, word(argv[3]));
        memcpy(&values[i], &value, sizeof value);
    }
    if (strcmp(argv[1], "normal") == 0) {
        md_random_fill_normal(&random, values, n);
    }
    put(values, n);
    free(values);
    return 0;
}
