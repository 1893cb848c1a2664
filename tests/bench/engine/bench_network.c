/* One network on one back end, driven by bench.py: reads commands, one a line, and answers with
 * one line each.
 *
 *   bench-network MODEL.onnx THREADS onednn|openblas [f32|bf16|int8 [IMAGES]]
 *
 * IMAGES (1) are computed in one run; the first dimension of the network's input is symbolic
 * then.
 *
 * int8 takes its ranges from runs on noise, before the clock starts.
 *
 * load: "LOADED FIRST BEFORE", microseconds until loaded and until the first result, and the
 * resident KiB before.
 *
 * run N: the microseconds of N runs.
 *
 * gradcam F N: N times those of a plain run, and of one with a Grad-CAM map from the tensor F.
 *
 * output FILE: write the first output of the last run, float32.
 *
 * ranges FILE: write "name low high" for each tensor of the graph as it is in the file, on the
 * bench's input; instead of load.
 *
 * peak: the largest resident KiB so far. */

#include "inference/network.h"

#include "base/clock.h"
#include "base/file.h"
#include "inference/gradcam.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct bench {
    md_network *network;
    md_tensor in, out[16];
    unsigned n_out;
    md_network *observed; /* int8: from whose runs the ranges are */
} bench;

static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static long memory_kib(const char *key)
{
    char line[256];
    long value = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            value = strtol(line + strlen(key) + 1, NULL, 10);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return value;
}

/* As `input` of ort.js. */
static md_status fill_input(bench *b, md_error *err)
{
    uint32_t seed = 12345;
    const md_network_port *port = md_network_input(b->network, 0);
    b->n_out = md_network_n_outputs(b->network);
    if (md_network_n_inputs(b->network) != 1 || port->dtype != MD_F32 || b->n_out > 16) {
        return md_fail(err, MD_UNSUPPORTED, "not one float32 input and at most 16 outputs");
    }
    MD_TRY(md_tensor_init(&b->in, port->dtype, port->n_dims, port->dims, err));
    for (size_t i = 0; i < b->in.n_elements; i++) {
        seed = seed * 1664525U + 1013904223U;
        ((float *)b->in.data)[i] = (float)(seed >> 8) / 8388608.0F - 1.0F;
    }
    return MD_OK;
}

static md_status run(bench *b, double *ret_us, md_error *err)
{
    const double start = now_us();
    MD_TRY(md_network_run(b->network, &b->in, 1, b->out, b->n_out, err));
    *ret_us = now_us() - start;
    return MD_OK;
}

/* The ranges of the tensors when the network runs on the bench's input. */
static md_status observe(bench *b, const char *path, md_network_options *options, md_error *err)
{
    const md_network_options observing = {
        .backend = MD_BACKEND_OPENBLAS, .observe = true, .no_rewriting = options->no_rewriting};
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    size_t size_bytes;
    double us;
    MD_TRY(md_file_read(path, MD_NETWORK_MAX_ONNX_BYTES, &onnx, &size_bytes, err));
    MD_TRY(md_network_load(onnx, size_bytes, &observing, &b->network, err));
    MD_TRY(fill_input(b, err));
    MD_TRY(run(b, &us, err));
    md_tensor_finish(&b->in);
    b->observed = MD_STEAL(b->network);
    return md_network_ranges(b->observed, &options->ranges, &options->n_ranges, err);
}

static md_status write_ranges(bench *b, const char *path, const char *to, md_error *err)
{
    md_network_options options = {.no_rewriting = true};
    MD_TRY(observe(b, path, &options, err));
    FILE *file = fopen(to, "w");
    if (file == NULL) {
        return md_fail(err, MD_IO, "%s cannot be written", to);
    }
    for (unsigned i = 0; i < options.n_ranges; i++) {
        (void)fprintf(file, "%s %.9g %.9g\n", options.ranges[i].name,
                      (double)options.ranges[i].low, (double)options.ranges[i].high);
    }
    const bool written = ferror(file) == 0;
    return fclose(file) == 0 && written ? MD_OK : md_fail(err, MD_IO, "%s", to);
}

static md_status load(bench *b, const char *path, md_network_options *options, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    size_t size_bytes;
    double first;
    if (options->precision == MD_PRECISION_INT8) {
        MD_TRY(observe(b, path, options, err));
    }
    const long before = memory_kib("VmRSS");
    const double start = now_us();
    MD_TRY(md_file_read(path, MD_NETWORK_MAX_ONNX_BYTES, &onnx, &size_bytes, err));
    MD_TRY(md_network_load_taking(&onnx, size_bytes, options, &b->network, err));
    const double loaded = now_us() - start;
    MD_TRY(fill_input(b, err));
    MD_TRY(run(b, &first, err));
    printf("%.0f %.0f %ld\n", loaded, loaded + first, before);
    return MD_OK;
}

static md_status gradcam(bench *b, const char *path, const md_network_options *options,
                         const char *features, unsigned n_runs, md_error *err)
{
    static const unsigned classes[] = {1};
    md_network_options with = *options;
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    MD_AUTO(md_network_destroyp) md_network *network = NULL;
    size_t size_bytes;
    md_tensor head, out[17];
    with.extra_outputs[with.n_extra_outputs++] = features;
    MD_TRY(md_file_read(path, MD_NETWORK_MAX_ONNX_BYTES, &onnx, &size_bytes, err));
    MD_TRY(md_network_load_taking(&onnx, size_bytes, &with, &network, err));
    MD_TRY(md_network_linear_head(network, features, md_network_output(network, 0)->name, &head,
                                  err));
    const int at = md_network_find_output(network, features);
    for (unsigned i = 0; i < n_runs; i++) {
        double plain;
        float *map = NULL;
        uint32_t rows, columns;
        MD_TRY(run(b, &plain, err));
        const double start = now_us();
        MD_TRY(md_network_run(network, &b->in, 1, out, md_network_n_outputs(network), err));
        MD_TRY(md_gradcam(MD_CAM_GRAD, &out[at], &head, out[0].data, MD_TARGET_SOFTMAX, classes,
                          1, &map, &rows, &columns, err));
        const double us = now_us() - start;
        md_free(map);
        printf("%.1f %.1f%c", plain, us, i + 1 == n_runs ? '\n' : ' ');
    }
    return MD_OK;
}

static md_status answer(bench *b, const char *line, const char *path,
                        md_network_options *options, md_error *err)
{
    char command[16] = "", argument[4096] = "";
    (void)sscanf(line, "%15s %4095s", command, argument);
    if (strcmp(command, "load") == 0) {
        return load(b, path, options, err);
    }
    if (strcmp(command, "run") == 0) {
        for (unsigned long i = strtoul(argument, NULL, 10); i > 0; i--) {
            double us;
            MD_TRY(run(b, &us, err));
            printf("%.1f%c", us, i == 1 ? '\n' : ' ');
        }
        return MD_OK;
    }
    if (strcmp(command, "gradcam") == 0) {
        unsigned n_runs = 0;
        (void)sscanf(line, "%*s %4095s %u", argument, &n_runs);
        return gradcam(b, path, options, argument, n_runs, err);
    }
    if (strcmp(command, "ranges") == 0) {
        MD_TRY(write_ranges(b, path, argument, err));
        printf("ok\n");
        return MD_OK;
    }
    if (strcmp(command, "output") == 0) {
        MD_TRY(md_file_write(argument, MD_FILE_REPLACE, b->out[0].data,
                             b->out[0].n_elements * sizeof(float), err));
        printf("ok\n");
        return MD_OK;
    }
    printf("%ld\n", memory_kib("VmHWM"));
    return MD_OK;
}

int main(int argc, char **argv)
{
    char line[4096];
    md_error err = {0};
    bench b = {0};
    if (argc < 4 || argc > 6) {
        (void)fprintf(stderr, "usage: bench-network MODEL.onnx THREADS onednn|openblas "
                              "[f32|bf16|int8 [IMAGES]]\n");
        return 2;
    }
    md_network_options options = {
        .backend = strcmp(argv[3], "openblas") == 0 ? MD_BACKEND_OPENBLAS : MD_BACKEND_ONEDNN,
        .n_threads = (unsigned)strtoul(argv[2], NULL, 10)};
    options.batch = argc > 5 ? (int64_t)strtoul(argv[5], NULL, 10) : 1;
    for (int i = MD_PRECISION_F32; argc > 4 && i <= MD_PRECISION_INT8; i++) {
        if (strcmp(argv[4], md_precision_name((md_precision)i)) == 0) {
            options.precision = (md_precision)i;
        }
    }
    md_status status = MD_OK;
    while (status == MD_OK && fgets(line, sizeof line, stdin) != NULL) {
        status = answer(&b, line, argv[1], &options, &err);
        (void)fflush(stdout);
    }
    if (status != MD_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
    }
    md_network_destroy(b.network);
    md_network_destroy(b.observed);
    md_tensor_finish(&b.in);
    return status == MD_OK ? 0 : 1;
}
