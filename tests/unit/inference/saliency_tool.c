/* What check_saliency.py calls:
 *
 *   saliency-tool explain MODEL INPUT METHOD FEATURES BACKEND TARGET CLASSES STEPS SAMPLES
 * NOISE SEED CELL BASELINE... INPUT float32 as the network takes it, CLASSES with commas, a
 * BASELINE for each channel. stdout: u32 number of values; the gradient (float32); u32 rows,
 * columns; the map; u32 classes; the explainer's own logits. saliency-tool noise SEED K N N
 * standard normal numbers of sample K */

#include "inference/saliency.h"
#include "inference/train/random.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_CLASSES = 16
};

static int fail(const md_error *err)
{
    fprintf(stderr, "%s: %s\n", md_status_name(err->status), err->msg);
    return 1;
}

static void put(const void *data, size_t size_bytes, size_t n)
{
    if (fwrite(data, size_bytes, n, stdout) != n) {
        exit(2);
    }
}

static void put_count(uint32_t value)
{
    put(&value, sizeof value, 1);
}

static bool read_whole(const char *path, uint8_t **ret_bytes, size_t *ret_size)
{
    FILE *file = fopen(path, "rb");
    long size = -1;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        size = ftell(file);
        rewind(file);
    }
    *ret_size = size < 0 ? 0 : (size_t)size;
    *ret_bytes = size < 0 ? NULL : malloc(*ret_size + 1);
    const bool fine = *ret_bytes != NULL && fread(*ret_bytes, 1, *ret_size, file) == *ret_size;
    if (file != NULL) {
        fclose(file);
    }
    return fine;
}

static md_saliency_method method_of(const char *name)
{
    for (int i = 0; i <= MD_SALIENCY_SMOOTH_GRAD; i++) {
        if (strcmp(name, md_saliency_method_name((md_saliency_method)i)) == 0) {
            return (md_saliency_method)i;
        }
    }
    exit(2);
}

typedef struct job {
    md_network *network;
    md_explainer *explainer;
    md_tensor outputs[4];
    md_tensor input;
    unsigned classes[MAX_CLASSES], n_classes;
    md_target target;
} job;

static md_status show(job *j, const md_tensor *from, md_error *err)
{
    const float *values = NULL, *logits = NULL;
    float *map = NULL;
    uint32_t rows = 0, columns = 0;
    size_t n = 0;
    MD_TRY(md_explainer_gradient(j->explainer, from, j->target, j->classes, j->n_classes,
                                 &values, err));
    put_count((uint32_t)from->n_elements);
    put(values, sizeof *values, from->n_elements);
    MD_TRY(md_explainer_map(j->explainer, from, j->target, j->classes, j->n_classes, &map,
                            &rows, &columns, err));
    put_count(rows);
    put_count(columns);
    put(map, sizeof *map, (size_t)rows * columns);
    md_free(map);
    MD_TRY(md_explainer_logits(j->explainer, from, &logits, &n, err));
    put_count((uint32_t)n);
    put(logits, sizeof *logits, n);
    return MD_OK;
}

static md_status explain(job *j, char **argv, int argc, uint8_t *onnx, size_t onnx_bytes,
                         uint8_t *input, size_t input_bytes, md_error *err)
{
    md_saliency_options o = {.method = method_of(argv[4]),
                             .output = "logits",
                             .features = argv[5],
                             .backend = strcmp(argv[6], "openblas") == 0 ? MD_BACKEND_OPENBLAS
                                                                         : MD_BACKEND_ONEDNN,
                             .n_threads = 1,
                             .steps = (unsigned)strtoul(argv[9], NULL, 10),
                             .samples = (unsigned)strtoul(argv[10], NULL, 10),
                             .noise = strtod(argv[11], NULL),
                             .seed = strtoull(argv[12], NULL, 10),
                             .cell = (unsigned)strtoul(argv[13], NULL, 10)};
    for (int i = 14; i < argc && i < 17; i++) {
        o.baseline[i - 14] = strtof(argv[i], NULL);
    }
    const bool features = md_saliency_uses_features(o.method);
    md_network_options options = {.backend = o.backend, .n_threads = 1, .batch = 1};
    options.extra_outputs[0] = features ? o.features : "logits";
    options.n_extra_outputs = 1;
    MD_TRY(md_network_load(onnx, onnx_bytes, &options, &j->network, err));
    const md_network_port *port = md_network_input(j->network, 0);
    MD_TRY(md_tensor_init(&j->input, MD_F32, port->n_dims, port->dims, err));
    if (input_bytes != j->input.n_elements * sizeof(float)) {
        return md_fail(err, MD_INVALID_ARG, "%zu bytes of input", input_bytes);
    }
    memcpy(j->input.data, input, input_bytes);
    const unsigned n = md_network_n_outputs(j->network);
    MD_TRY(md_network_run(j->network, &j->input, 1, j->outputs, n, err));
    const md_tensor *from = features ? &j->outputs[n - 1] : &j->input;
    memcpy(o.feature_dims, from->dims, sizeof o.feature_dims);
    MD_TRY(md_explainer_create(onnx, onnx_bytes, &o, &j->explainer, err));
    return show(j, from, err);
}

static int run_explain(int argc, char **argv)
{
    md_error err = {0};
    job j = {.target = strcmp(argv[7], "softmax") == 0 ? MD_TARGET_SOFTMAX : MD_TARGET_SIGMOID};
    uint8_t *onnx = NULL, *input = NULL;
    size_t onnx_bytes = 0, input_bytes = 0;
    for (char *word = strtok(argv[8], ","); word != NULL && j.n_classes < MAX_CLASSES;
         word = strtok(NULL, ",")) {
        j.classes[j.n_classes++] = (unsigned)strtoul(word, NULL, 10);
    }
    if (!read_whole(argv[2], &onnx, &onnx_bytes) ||
        !read_whole(argv[3], &input, &input_bytes)) {
        return 2;
    }
    md_status status = explain(&j, argv, argc, onnx, onnx_bytes, input, input_bytes, &err);
    md_explainer_destroy(j.explainer);
    md_network_destroy(j.network);
    md_tensor_finish(&j.input);
    free(onnx);
    free(input);
    return status == MD_OK ? 0 : fail(&err);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "noise") == 0) {
        const md_random_key key = {.seed = strtoull(argv[2], NULL, 10),
                                   .position = (uint32_t)strtoul(argv[3], NULL, 10)};
        md_random random;
        md_random_init(&random, &key, 0);
        for (unsigned long i = 0; i < strtoul(argv[4], NULL, 10); i++) {
            const float value = md_random_normal(&random);
            put(&value, sizeof value, 1);
        }
        return 0;
    }
    return argc > 14 && strcmp(argv[1], "explain") == 0 ? run_explain(argc, argv) : 2;
}
