/* Text networks, for a test to compare with other programs:
 *   text-tool write NAME MODEL.onnx [vocabulary=..] [length=..] [classes=..] [embedding=..]
 *             [hidden=..] [layers=..] [heads=..] [attention=..] [bidirectional=1] [relu=1]
 *             [dropout=..] [seed=..] [vectors=FILE.f32]
 *   text-tool train MODEL.onnx BATCH RESULT.onnx n=.. steps=.. [lr=..] [threads=..]
 *             [backend=openblas] [length=..]
 *   text-tool run MODEL.onnx TOKENS [backend=openblas] [batch=..]
 * BATCH holds tokens int64 [n,length], then targets float32 [n,K]; TOKENS rows of int64 [T].
 * train prints the loss of each step, then the logits of an evaluation; run all logits, then
 * all shares of attention, one row a line. */

#include "base/file.h"
#include "inference/train/text_architecture.h"
#include "inference/train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    md_text_architecture network;
    md_trainer_options options;
    int64_t n, steps, length, batch;
    float lr;
    const char *vectors;
} arguments;

static bool set_integer(arguments *a, const char *key, int64_t value)
{
    const struct {
        const char *key;
        int64_t *to;
    } list[] = {{"vocabulary", &a->network.vocabulary},
                {"length", &a->length},
                {"classes", &a->network.n_classes},
                {"embedding", &a->network.embedding},
                {"hidden", &a->network.hidden},
                {"layers", &a->network.layers},
                {"heads", &a->network.heads},
                {"attention", &a->network.attention},
                {"n", &a->n},
                {"steps", &a->steps},
                {"batch", &a->batch}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (strcmp(list[i].key, key) == 0) {
            *list[i].to = value;
            return true;
        }
    }
    return false;
}

static void read_arguments(int count, char **list, arguments *ret)
{
    for (int i = 0; i < count; i++) {
        char *value = strchr(list[i], '=');
        if (value == NULL) {
            fprintf(stderr, "%s has no value\n", list[i]);
            exit(2);
        }
        *value++ = '\0';
        const double number = strtod(value, NULL);
        if (set_integer(ret, list[i], (int64_t)number)) {
            continue;
        }
        if (strcmp(list[i], "bidirectional") == 0) {
            ret->network.bidirectional = number != 0.0;
        } else if (strcmp(list[i], "relu") == 0) {
            ret->network.relu = number != 0.0;
        } else if (strcmp(list[i], "dropout") == 0) {
            ret->network.dropout = number;
        } else if (strcmp(list[i], "seed") == 0) {
            ret->network.seed = (uint64_t)number;
        } else if (strcmp(list[i], "vectors") == 0) {
            ret->vectors = value;
        } else if (strcmp(list[i], "lr") == 0) {
            ret->lr = (float)number;
        } else if (strcmp(list[i], "threads") == 0) {
            ret->options.n_threads = (unsigned)number;
        } else if (strcmp(list[i], "backend") == 0) {
            ret->options.backend = strcmp(value, "openblas") == 0 ? MD_BACKEND_OPENBLAS
                                   : strcmp(value, "onednn") == 0 ? MD_BACKEND_ONEDNN
                                                                  : MD_BACKEND_AUTO;
        } else {
            fprintf(stderr, "unknown argument %s\n", list[i]);
            exit(2);
        }
    }
}

static md_status write_network(char **paths, arguments *a, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *onnx = NULL, *vectors = NULL;
    size_t n, n_vectors;
    a->network.name = paths[0];
    a->network.length = a->length;
    if (a->vectors != NULL) {
        MD_TRY(md_file_read(a->vectors, (size_t)1 << 30, &vectors, &n_vectors, err));
        a->network.embeddings = (const float *)(const void *)vectors;
    }
    MD_TRY(md_text_architecture_write(&a->network, &onnx, &n, err));
    return md_file_write(paths[1], MD_FILE_REPLACE, onnx, n, err);
}

static void print_rows(const float *values, int64_t rows, int64_t width)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < width; j++) {
            printf("%.9g%c", (double)values[i * width + j], j + 1 < width ? ' ' : '\n');
        }
    }
}

static md_status descend(md_trainer *trainer, const arguments *a, const int64_t *tokens,
                         md_error *err)
{
    const float *targets = (const float *)(const void *)(tokens + a->n * a->length), *logits;
    for (int64_t step = 0; step < a->steps; step++) {
        double loss;
        MD_TRY(md_trainer_step_tokens(trainer, tokens, a->n, a->length, targets, NULL,
                                      (uint64_t)step, &loss, &logits, err));
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

static md_status train(char **paths, arguments *a, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *onnx = NULL, *bytes = NULL, *exported = NULL;
    MD_AUTO(md_freep) float *logits = NULL;
    MD_AUTO(md_trainer_destroyp) md_trainer *trainer = NULL;
    size_t n_onnx, n_bytes, n_exported;
    int64_t dims[4];
    MD_TRY(md_file_read(paths[0], MD_NETWORK_MAX_ONNX_BYTES, &onnx, &n_onnx, err));
    MD_TRY(md_file_read(paths[1], (size_t)1 << 32, &bytes, &n_bytes, err));
    a->options.batch = a->n;
    MD_TRY(md_trainer_create(onnx, n_onnx, &a->options, &trainer, err));
    md_trainer_input_dims(trainer, dims);
    a->length = a->length == 0 ? dims[3] : a->length;
    const int64_t *tokens = (const int64_t *)(const void *)bytes;
    MD_TRY(descend(trainer, a, tokens, err));
    const int64_t n_classes = md_trainer_n_classes(trainer);
    logits = md_malloc((size_t)(a->n * n_classes) * sizeof *logits);
    if (logits == NULL) {
        return md_fail(err, MD_NOMEM, "no memory");
    }
    MD_TRY(md_trainer_infer_tokens(trainer, tokens, a->n, a->length, NULL, logits, err));
    print_rows(logits, a->n, n_classes);
    MD_TRY(md_trainer_export(trainer, NULL, &exported, &n_exported, err));
    return md_file_write(paths[2], MD_FILE_REPLACE, exported, n_exported, err);
}

static md_status run(char **paths, arguments *a, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *onnx = NULL, *bytes = NULL;
    MD_AUTO(md_freep) float *shares = NULL;
    MD_AUTO(md_network_destroyp) md_network *network = NULL;
    size_t n_onnx, n_bytes;
    MD_TRY(md_file_read(paths[0], MD_NETWORK_MAX_ONNX_BYTES, &onnx, &n_onnx, err));
    MD_TRY(md_file_read(paths[1], (size_t)1 << 32, &bytes, &n_bytes, err));
    const md_network_options options = {
        .backend = a->options.backend, .n_threads = 1, .batch = a->batch};
    MD_TRY(md_network_load(onnx, n_onnx, &options, &network, err));
    const md_network_port *port = md_network_input(network, 0);
    md_tensor in = {.dtype = MD_I64, .n_dims = 2, .dims = {port->dims[0], port->dims[1]}};
    in.n_elements = (size_t)(in.dims[0] * in.dims[1]);
    const int64_t n = (int64_t)(n_bytes / sizeof(int64_t)) / in.dims[1];
    shares = md_malloc((size_t)(n * in.dims[1]) * sizeof *shares);
    if (shares == NULL) {
        return md_fail(err, MD_NOMEM, "no memory");
    }
    for (int64_t i = 0; i + in.dims[0] <= n; i += in.dims[0]) {
        md_tensor out[2];
        in.data = (int64_t *)(void *)bytes + i * in.dims[1];
        MD_TRY(md_network_run(network, &in, 1, out, 2, err));
        print_rows(out[0].data, out[0].dims[0], out[0].dims[1]);
        memcpy(shares + i * in.dims[1], out[1].data, in.n_elements * sizeof *shares);
    }
    print_rows(shares, n, in.dims[1]);
    return MD_OK;
}

int main(int argc, char **argv)
{
    arguments a = {.lr = 0.1F, .steps = 1, .batch = 1};
    md_error err = {0};
    md_status status = MD_INVALID_ARG;
    static const struct {
        const char *name;
        int n_paths;
        md_status (*call)(char **paths, arguments *a, md_error *err);
    } list[] = {{"write", 2, write_network}, {"train", 3, train}, {"run", 2, run}};
    (void)md_fail(&err, status, "usage: text-tool write|train|run ..., see text_tool.c");
    for (size_t i = 0; i < sizeof list / sizeof *list && argc > 1; i++) {
        if (strcmp(argv[1], list[i].name) == 0 && argc >= 2 + list[i].n_paths) {
            read_arguments(argc - 2 - list[i].n_paths, argv + 2 + list[i].n_paths, &a);
            status = list[i].call(argv + 2, &a, &err);
            break;
        }
    }
    if (status != MD_OK) {
        fprintf(stderr, "%s: %s\n", md_status_name(err.status), err.msg);
        return 1;
    }
    return 0;
}
