/* Images a second of whole training steps (forward, loss, backward, SGD with momentum).
 *   bench-train write NETWORK MODEL.onnx     a named network, one channel, 224 x 224, 3 classes
 *   bench-train run MODEL.onnx BATCH THREADS SECONDS f32|bf16 [onednn|openblas]
 * prints images a second of the median step, the time of a step in ms, and MiB of memory. */

#include "base/clock.h"
#include "base/file.h"
#include "inference/train/architecture.h"
#include "inference/train/optimizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_STEPS = 4096
};

static md_status write_network(const char *name, const char *path, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    size_t n;
    const md_architecture architecture = {.name = name,
                                          .n_channels = 1,
                                          .image_height = 224,
                                          .image_width = 224,
                                          .n_classes = 3,
                                          .dropout = 0.0,
                                          .seed = 1};
    MD_TRY(md_architecture_write(&architecture, &onnx, &n, err));
    return md_file_write(path, MD_FILE_REPLACE, onnx, n, err);
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static md_status measure(md_trainer *trainer, md_optimizer *optimizer, const float *images,
                         const float *targets, double seconds, md_error *err)
{
    static int64_t us[MAX_STEPS];
    int64_t dims[4];
    size_t n = 0;
    md_trainer_input_dims(trainer, dims);
    const int64_t begin = md_clock_monotonic_us();
    /* two steps to warm up */
    for (uint64_t step = 0; n < MAX_STEPS; step++) {
        double loss, norm;
        const float *logits;
        const int64_t from = md_clock_monotonic_us();
        if (n > 0 && (double)(from - begin) * 1e-6 > seconds) {
            break;
        }
        MD_TRY(md_trainer_step(trainer, images, dims[0], targets, NULL, step, &loss, &logits,
                               err));
        MD_TRY(md_optimizer_update(optimizer, 0.001, &norm, err));
        if (step >= 2) {
            us[n++] = md_clock_monotonic_us() - from;
        }
    }
    qsort(us, n, sizeof *us, by_value);
    const double median = (double)us[n / 2];
    printf("%.2f images/s, %.1f ms a step, %zu MiB\n", (double)dims[0] / median * 1e6,
           median * 1e-3, md_trainer_bytes(trainer) >> 20);
    return MD_OK;
}

static md_status run(char **argv, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    MD_AUTO(md_freep) float *images = NULL, *targets = NULL;
    MD_AUTO(md_freep) const md_parameter **parameters = NULL;
    MD_AUTO(md_trainer_destroyp) md_trainer *trainer = NULL;
    MD_AUTO(md_optimizer_destroyp) md_optimizer *optimizer = NULL;
    size_t n;
    MD_TRY(md_file_read(argv[0], MD_NETWORK_MAX_ONNX_BYTES, &onnx, &n, err));
    const md_trainer_options options = {
        .batch = strtol(argv[1], NULL, 10),
        .n_threads = (unsigned)strtoul(argv[2], NULL, 10),
        .bf16 = strcmp(argv[4], "bf16") == 0,
        .backend = argv[5] != NULL && strcmp(argv[5], "openblas") == 0 ? MD_BACKEND_OPENBLAS
                                                                       : MD_BACKEND_AUTO};
    MD_TRY(md_trainer_create(onnx, n, &options, &trainer, err));
    int64_t dims[4];
    md_trainer_input_dims(trainer, dims);
    const size_t n_pixels = (size_t)(dims[0] * dims[1] * dims[2] * dims[3]);
    const size_t n_classes = (size_t)md_trainer_n_classes(trainer);
    const unsigned n_parameters = md_trainer_n_parameters(trainer);
    images = md_calloc(n_pixels, sizeof *images);
    targets = md_calloc((size_t)dims[0] * n_classes, sizeof *targets);
    parameters = md_calloc(n_parameters, sizeof *parameters);
    if (images == NULL || targets == NULL || parameters == NULL) {
        return md_fail(err, MD_NOMEM, "no memory");
    }
    uint32_t random = 1;
    for (size_t i = 0; i < n_pixels; i++) {
        random = random * 1664525U + 1013904223U;
        images[i] = (float)(random >> 8) * 0x1p-23F - 1.0F;
    }
    for (size_t i = 0; i < (size_t)dims[0]; i++) {
        targets[i * n_classes + i % n_classes] = 1.0F;
    }
    for (unsigned i = 0; i < n_parameters; i++) {
        parameters[i] = md_trainer_parameter(trainer, i);
    }
    const md_optimizer_options sgd = {.momentum = 0.9, .n_threads = options.n_threads};
    MD_TRY(md_optimizer_create(parameters, n_parameters, &sgd, &optimizer, err));
    return measure(trainer, optimizer, images, targets, strtod(argv[3], NULL), err);
}

int main(int argc, char **argv)
{
    md_error err = {0};
    md_status status = MD_INVALID_ARG;
    if (argc == 4 && strcmp(argv[1], "write") == 0) {
        status = write_network(argv[2], argv[3], &err);
    } else if (argc >= 7 && strcmp(argv[1], "run") == 0) {
        status = run(argv + 2, &err);
    } else {
        (void)md_fail(&err, status,
                      "usage: bench-train write NETWORK MODEL | run MODEL BATCH "
                      "THREADS SECONDS f32|bf16 [BACKEND]");
    }
    if (status != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    return 0;
}
