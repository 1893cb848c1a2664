/* From the file to the network's input, as the chest model wants it (224 x 224, triangle,
 * stretched, mean 0.48, std 0.24): bench_input FILM ROUNDS OUT [least]. Prints one line of
 * JSON: the milliseconds of each stage of the fastest round and of the first, which has the
 * page faults of a new process. "least" lets a JPEG 2000 film be decoded smaller. OUT gets the
 * tensor as float32. */

#include "base/clock.h"
#include "dicom/image/normalise.h"
#include "inference/preprocess.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SIDE = 224,
    N_STAGES = 5
};
static const char *const stage_names[N_STAGES] = {"parse", "decode", "normalise", "quality",
                                                  "resize"};

typedef struct round_times {
    int64_t us[N_STAGES];
} round_times;

static int64_t total_us(const round_times *times)
{
    int64_t sum = 0;
    for (int i = 0; i < N_STAGES; i++) {
        sum += times->us[i];
    }
    return sum;
}

static md_status run(const char *path, bool least, round_times *times, md_tensor *ret_tensor,
                     md_error *err)
{
    const md_image_least needed = {.columns = 2 * SIDE, .rows = 2 * SIDE};
    const md_preprocess_options options = {
        .width = SIDE, .height = SIDE, .n_channels = 1, .mean = {0.48F}, .std = {0.24F}};
    MD_AUTO(md_dataset_destroyp) md_dataset *dataset = NULL;
    MD_AUTO(md_image_finish) md_image image = {0};
    MD_AUTO(md_raster_finish) md_raster raster = {0};
    md_quality quality;
    md_placement placement;
    int64_t at[N_STAGES + 1];
    at[0] = md_clock_monotonic_us();
    MD_TRY(md_dataset_open(path, &dataset, err));
    at[1] = md_clock_monotonic_us();
    MD_TRY(least ? md_image_decode_least(dataset, 0, &needed, &image, err)
                 : md_image_decode(dataset, 0, &image, err));
    at[2] = md_clock_monotonic_us();
    MD_TRY(md_image_normalise_taking(&image, MD_VALUES_DISPLAY, &raster, NULL, err));
    at[3] = md_clock_monotonic_us();
    MD_TRY(md_quality_measure(&raster, &quality, err));
    at[4] = md_clock_monotonic_us();
    MD_TRY(md_preprocess(&raster, &options, ret_tensor, &placement, NULL, err));
    at[5] = md_clock_monotonic_us();
    for (int i = 0; i < N_STAGES; i++) {
        times->us[i] = at[i + 1] - at[i];
    }
    return MD_OK;
}

static void print_times(const char *name, const round_times *times)
{
    printf("\"%s\": {", name);
    for (int i = 0; i < N_STAGES; i++) {
        printf("\"%s\": %.2f, ", stage_names[i], (double)times->us[i] / 1e3);
    }
    printf("\"total\": %.2f}", (double)total_us(times) / 1e3);
}

static bool write_tensor(const char *path, const md_tensor *tensor)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        return false;
    }
    const bool written =
        fwrite(tensor->data, sizeof(float), tensor->n_elements, file) == tensor->n_elements;
    return fclose(file) == 0 && written;
}

int main(int argc, char **argv)
{
    md_error err = {0};
    const long rounds = argc >= 4 ? strtol(argv[2], NULL, 10) : 0;
    if (rounds < 1 || md_dicom_init(&err) != MD_OK) {
        fprintf(stderr, "usage: bench_input FILM ROUNDS OUT [least]\n");
        return 2;
    }
    const bool least = argc > 4 && strcmp(argv[4], "least") == 0;
    round_times first, best, times;
    for (long i = 0; i < rounds; i++) {
        md_tensor tensor = {0};
        if (run(argv[1], least, &times, &tensor, &err) != MD_OK) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
        first = i == 0 ? times : first;
        best = i == 0 || total_us(&times) < total_us(&best) ? times : best;
        const bool written = i > 0 || write_tensor(argv[3], &tensor);
        md_tensor_finish(&tensor);
        if (!written) {
            fprintf(stderr, "cannot write %s\n", argv[3]);
            return 1;
        }
    }
    printf("{");
    print_times("first", &first);
    printf(", ");
    print_times("best", &best);
    printf("}\n");
    md_dicom_finish();
    return 0;
}
