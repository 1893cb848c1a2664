/* Tokens a second of whole training steps of a text network (forward, loss, backward, SGD with
 * momentum), padding not counted.
 *   bench-text write NAME MODEL.onnx        8000 words, 128 tokens, 128 wide, two directions
 *   bench-text run MODEL.onnx TOKENS BATCH THREADS SECONDS [onednn|openblas]
 * TOKENS holds batches of int64 [BATCH,128]. Prints tokens a second over all steps after the
 * first two, ms a step, and MiB of memory. */

#include "base/clock.h"
#include "base/file.h"
#include "inference/train/optimizer.h"
#include "inference/train/text_architecture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LENGTH = 128,
    N_CLASSES = 15,
    N_WARM = 2
};

static md_status write_network(const char *name, const char *path, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    size_t n;
    const md_text_architecture a = {.name = name,
                                    .vocabulary = 8000,
                                    .length = LENGTH,
                                    .n_classes = N_CLASSES,
                                    .bidirectional = true,
                                    .seed = 1};
    MD_TRY(md_text_architecture_write(&a, &onnx, &n, err));
    return md_file_write(path, MD_FILE_REPLACE, onnx, n, err);
}

static int64_t count(const int64_t *tokens, int64_t n)
{
    int64_t there = 0;
    for (int64_t i = 0; i < n; i++) {
        there += tokens[i] != 0;
    }
    return there;
}

static md_status measure(md_trainer *trainer, md_optimizer *optimizer, const int64_t *tokens,
                         int64_t n_batches, const float *targets, double seconds, md_error *err)
{
    int64_t dims[4], n_tokens = 0, n_steps = 0, begin = 0, now = 0;
    md_trainer_input_dims(trainer, dims);
    const int64_t n = dims[0] * LENGTH;
    for (int64_t step = 0; begin == 0 || (double)(now - begin) * 1e-6 < seconds; step++) {
        double loss, norm;
        const float *logits;
        const int64_t *batch = tokens + step % n_batches * n;
        if (step == N_WARM) {
            begin = now = md_clock_monotonic_us();
        }
        MD_TRY(md_trainer_step_tokens(trainer, batch, dims[0], LENGTH, targets, NULL,
                                      (uint64_t)step, &loss, &logits, err));
        MD_TRY(md_optimizer_update(optimizer, 0.001, &norm, err));
        if (begin != 0) {
            now = md_clock_monotonic_us();
            n_tokens += count(batch, n);
            n_steps++;
        }
    }
    printf("%.0f tokens/s, %.2f ms a step, %zu MiB\n",
           (double)n_tokens / (double)(now - begin) * 1e6,
           (double)(now - begin) * 1e-3 / (double)n_steps, md_trainer_bytes(trainer) >> 20);
    return MD_OK;
}

static md_status run(char **argv, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *onnx = NULL, *tokens = NULL;
    MD_AUTO(md_freep) float *targets = NULL;
    MD_AUTO(md_freep) const md_parameter **parameters = NULL;
    MD_AUTO(md_trainer_destroyp) md_trainer *trainer = NULL;
    MD_AUTO(md_optimizer_destroyp) md_optimizer *optimizer = NULL;
    size_t n, n_bytes;
    MD_TRY(md_file_read(argv[0], MD_NETWORK_MAX_ONNX_BYTES, &onnx, &n, err));
    MD_TRY(md_file_read(argv[1], (size_t)1 << 30, &tokens, &n_bytes, err));
    const md_trainer_options options = {
        .batch = strtol(argv[2], NULL, 10),
        .n_threads = (unsigned)strtoul(argv[3], NULL, 10),
        .loss = MD_LOSS_BINARY_CROSS_ENTROPY,
        .backend = argv[5] != NULL && strcmp(argv[5], "openblas") == 0 ? MD_BACKEND_OPENBLAS
                                                                       : MD_BACKEND_AUTO};
    MD_TRY(md_trainer_create(onnx, n, &options, &trainer, err));
    const unsigned n_parameters = md_trainer_n_parameters(trainer);
    targets = md_calloc((size_t)options.batch * N_CLASSES, sizeof *targets);
    parameters = md_calloc(n_parameters, sizeof *parameters);
    if (targets == NULL || parameters == NULL) {
        return md_fail(err, MD_NOMEM, "no memory");
    }
    for (int64_t i = 0; i < options.batch * N_CLASSES; i++) {
        targets[i] = i % 7 == 0 ? 1.0F : 0.0F;
    }
    for (unsigned i = 0; i < n_parameters; i++) {
        parameters[i] = md_trainer_parameter(trainer, i);
    }
    const md_optimizer_options sgd = {.momentum = 0.9, .n_threads = options.n_threads};
    MD_TRY(md_optimizer_create(parameters, n_parameters, &sgd, &optimizer, err));
    return measure(trainer, optimizer, (const int64_t *)(const void *)tokens,
                   (int64_t)(n_bytes / sizeof(int64_t)) / (options.batch * LENGTH), targets,
                   strtod(argv[4], NULL), err);
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
                      "usage: bench-text write NAME MODEL | run MODEL TOKENS BATCH THREADS "
                      "SECONDS [BACKEND]");
    }
    if (status != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    return 0;
}
