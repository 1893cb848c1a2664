/* Steps of plain gradient descent on one batch, for a test to compare with another program:
 * train-tool MODEL.onnx BATCH.f32 RESULT.onnx n=.. steps=.. [lr=..] [threads=..]
 * [backend=openblas] [bf16=1] [loss=binary] [smoothing=..] [frozen=prefix] [size=..]
 * [max_bytes=..] [weights=1] [groups=0,1,1 within=..] BATCH.f32 holds images [n,C,H,W], targets
 * [n,K] and, with weights=1, sample weights [n] and class weights [K]. Prints the loss of each
 * step, then the largest logit of an evaluation. */

#include "base/file.h"
#include "inference/train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    md_trainer_options options;
    long n, steps;
    float lr;
    bool weights;
    const char *frozen;
    unsigned groups[16];
} arguments;

static void read_arguments(int count, char **list, arguments *ret)
{
    for (int i = 0; i < count; i++) {
        const char *value = strchr(list[i], '=');
        const size_t n = value == NULL ? 0 : (size_t)(value++ - list[i]);
        const double number = value == NULL ? 0.0 : strtod(value, NULL);
#define IS(name) (n == strlen(name) && strncmp(list[i], name, n) == 0)
        if (IS("n")) {
            ret->n = ret->options.batch = (long)number;
        } else if (IS("steps")) {
            ret->steps = (long)number;
        } else if (IS("lr")) {
            ret->lr = (float)number;
        } else if (IS("threads")) {
            ret->options.n_threads = (unsigned)number;
        } else if (IS("backend")) {
            ret->options.backend =
                strcmp(value, "openblas") == 0 ? MD_BACKEND_OPENBLAS : MD_BACKEND_ONEDNN;
        } else if (IS("bf16")) {
            ret->options.bf16 = number != 0.0;
        } else if (IS("loss")) {
            ret->options.loss = MD_LOSS_BINARY_CROSS_ENTROPY;
        } else if (IS("smoothing")) {
            ret->options.label_smoothing = (float)number;
        } else if (IS("frozen")) {
            ret->frozen = value;
            ret->options.frozen = &ret->frozen;
            ret->options.n_frozen = 1;
        } else if (IS("size")) {
            ret->options.height = ret->options.width = (long)number;
        } else if (IS("max_bytes")) {
            ret->options.max_bytes = (size_t)number;
        } else if (IS("groups")) {
            for (const char *at = value; ret->options.n_groups < 16; at = strchr(at, ',') + 1) {
                ret->groups[ret->options.n_groups++] = (unsigned)strtoul(at, NULL, 10);
                if (strchr(at, ',') == NULL) {
                    break;
                }
            }
            ret->options.groups = ret->groups;
        } else if (IS("within")) {
            ret->options.within_weight = (float)number;
        } else if (IS("weights")) {
            ret->weights = true;
        } else {
            fprintf(stderr, "unknown argument %s\n", list[i]);
            exit(2);
        }
#undef IS
    }
}

static md_status descend(md_trainer *trainer, const arguments *a, const float *batch,
                         const float *sample_weights, md_error *err)
{
    int64_t dims[4];
    md_trainer_input_dims(trainer, dims);
    const float *targets = batch + a->n * dims[1] * dims[2] * dims[3], *logits;
    for (long step = 0; step < a->steps; step++) {
        double loss;
        MD_TRY(md_trainer_step(trainer, batch, a->n, targets, sample_weights, (uint64_t)step,
                               &loss, &logits, err));
        printf("%.9g\n", loss);
        for (unsigned i = 0; i < md_trainer_n_parameters(trainer); i++) {
            const md_parameter *p = md_trainer_parameter(trainer, i);
            for (size_t j = 0; j < p->n && p->gradient != NULL; j++) {
                p->value[j] -= a->lr * p->gradient[j];
            }
        }
    }
    return MD_OK;
}

static md_status run(const char *const *paths, arguments *a, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *onnx = NULL, *bytes = NULL, *exported = NULL;
    MD_AUTO(md_freep) float *logits = NULL;
    MD_AUTO(md_trainer_destroyp) md_trainer *trainer = NULL;
    size_t n_onnx, n_bytes, n_exported;
    MD_TRY(md_file_read(paths[0], MD_NETWORK_MAX_ONNX_BYTES, &onnx, &n_onnx, err));
    MD_TRY(md_file_read(paths[1], (size_t)1 << 32, &bytes, &n_bytes, err));
    const float *batch = (const float *)(const void *)bytes;
    const float *end = batch + n_bytes / sizeof *batch, *sample_weights = NULL;
    if (a->weights) {
        /* the number of classes is what is left after the images; found by a trial */
        MD_AUTO(md_trainer_destroyp) md_trainer *trial = NULL;
        MD_TRY(md_trainer_create(onnx, n_onnx, &a->options, &trial, err));
        const int64_t n_classes = md_trainer_n_classes(trial);
        a->options.class_weights = end - n_classes;
        a->options.n_class_weights = (unsigned)n_classes;
        sample_weights = end - n_classes - a->n;
    }
    MD_TRY(md_trainer_create(onnx, n_onnx, &a->options, &trainer, err));
    MD_TRY(descend(trainer, a, batch, sample_weights, err));
    fprintf(stderr, "%s, %u threads, %zu MiB\n", md_trainer_backend_name(trainer),
            md_trainer_n_threads(trainer), md_trainer_bytes(trainer) >> 20);
    logits = md_malloc((size_t)(a->n * md_trainer_n_classes(trainer)) * sizeof *logits);
    if (logits == NULL) {
        return md_fail(err, MD_NOMEM, "no memory");
    }
    MD_TRY(md_trainer_infer(trainer, batch, a->n, NULL, logits, err));
    for (int64_t i = 0; i < a->n * md_trainer_n_classes(trainer); i++) {
        printf("logit %.9g\n", (double)logits[i]);
    }
    MD_TRY(md_trainer_export(trainer, NULL, &exported, &n_exported, err));
    return md_file_write(paths[2], MD_FILE_REPLACE, exported, n_exported, err);
}

int main(int argc, char **argv)
{
    md_error err = {0};
    if (argc < 4) {
        fprintf(stderr, "usage: train-tool MODEL.onnx BATCH.f32 RESULT.onnx name=value...\n");
        return 2;
    }
    arguments a = {.n = 1, .steps = 1, .lr = 0.01F, .options = {.batch = 1, .n_threads = 1}};
    read_arguments(argc - 4, argv + 4, &a);
    const char *const paths[] = {argv[1], argv[2], argv[3]};
    if (run(paths, &a, &err) != MD_OK) {
        fprintf(stderr, "%s: %s\n", md_status_name(err.status), err.msg);
        return 1;
    }
    return 0;
}
