/* Feeds a fuzz target with mutations of the files it is given, always the same ones for the
 * same seed: mutate RUNS SEED FILE... RUNS is for each file. A crash or a sanitizer's report
 * ends the program; with MEDAID_FUZZ_KEEP the input is written there first, so that it can be
 * replayed with RUNS 0. */

#include "base/file.h"
#include "fuzz_dicom.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

/* xorshift64*, G. Marsaglia 2003 and S. Vigna 2016: short and the same everywhere. */
static uint32_t next_random(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 2685821657736338717u) >> 32);
}

/* Where to change: the whole file, its first 2 KiB, where most of the meaning is, or where the
 * pixel data begins. */
static size_t position(size_t n, size_t pixels_at)
{
    uint32_t kind = next_random() % 4;
    if (kind == 0) {
        return next_random() % n;
    }
    if (kind == 1 || pixels_at >= n) {
        return next_random() % (n < 2048 ? n : 2048);
    }
    size_t left = n - pixels_at;
    return pixels_at + next_random() % (kind == 2 && left > 256 ? 256 : left);
}

static void change(uint8_t *bytes, size_t *n, size_t pixels_at)
{
    static const uint8_t extremes[] = {0x00, 0xff, 0x7f, 0x80, 0x01, 0xfe, 0x20, 0x5c};
    size_t at = position(*n, pixels_at);
    switch (next_random() % 6) {
    case 0:
        bytes[at] ^= (uint8_t)(1u << (next_random() % 8));
        break;
    case 1:
        bytes[at] = (uint8_t)next_random();
        break;
    case 2:
        memset(bytes + at, extremes[next_random() % 8], *n - at < 4 ? *n - at : 4);
        break;
    case 3: /* a piece of the file elsewhere */
    {
        size_t from = next_random() % *n, length = 1 + next_random() % 16;
        if (from + length <= *n && at + length <= *n) {
            memmove(bytes + at, bytes + from, length);
        }
        break;
    }
    case 4: /* take bytes out */
    {
        size_t length = 1 + next_random() % 8;
        if (at + length < *n) {
            memmove(bytes + at, bytes + at + length, *n - at - length);
            *n -= length;
        }
        break;
    }
    default:
        if (next_random() % 8 == 0) {
            *n = 1 + next_random() % *n;
        } else {
            bytes[at] = extremes[next_random() % 8];
        }
        break;
    }
}

static void keep(const uint8_t *bytes, size_t n)
{
    const char *path = getenv("MEDAID_FUZZ_KEEP");
    FILE *file = path == NULL ? NULL : fopen(path, "wb");
    if (file != NULL) {
        fwrite(bytes, 1, n, file);
        fclose(file);
    }
}

static size_t find_pixels(const uint8_t *bytes, size_t n)
{
    for (size_t i = n; i >= 4; i--) {
        if (memcmp(bytes + i - 4, "\xe0\x7f\x10\x00", 4) == 0) {
            return i;
        }
    }
    return n;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: mutate RUNS SEED FILE...\n");
        return 2;
    }
    long runs = strtol(argv[1], NULL, 10);
    for (int i = 3; i < argc; i++) {
        uint8_t *bytes = NULL;
        size_t size_bytes = 0;
        md_error err;
        if (md_file_read(argv[i], (size_t)1 << 24, &bytes, &size_bytes, &err) != MD_OK) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
        size_t pixels_at = find_pixels(bytes, size_bytes);
        state = strtoul(argv[2], NULL, 10) * 0x9e3779b97f4a7c15u + (uint64_t)i + 1;
        (void)LLVMFuzzerTestOneInput(bytes, size_bytes);
        for (long run = 0; run < runs && size_bytes > 0; run++) {
            size_t n = size_bytes;
            uint8_t *changed = md_malloc(n);
            if (changed == NULL) {
                return 1;
            }
            memcpy(changed, bytes, n);
            for (uint32_t k = 1 + next_random() % 4; k > 0; k--) {
                change(changed, &n, pixels_at);
            }
            keep(changed, n);
            uint8_t *exact = md_realloc(changed, n); /* so that the sanitizer sees its end */
            if (exact == NULL) {
                return 1;
            }
            (void)LLVMFuzzerTestOneInput(exact, n);
            md_free(exact);
        }
        md_free(bytes);
    }
    printf("%d files, %ld mutations of each: no crash\n", argc - 3, runs);
    return 0;
}
