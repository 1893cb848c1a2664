/* Load and run times of a network on each back end:
 *
 *   bench_engine MODEL.onnx [RUNS]
 *
 * Prints for each back end and thread count: load (wall and CPU), first run, then median, 90th
 * and 99th percentile of RUNS runs, and the largest difference from the first configuration. */

#include "inference/network.h"

#include "base/clock.h"
#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

typedef struct bench {
    const uint8_t *onnx;
    size_t onnx_bytes;
    unsigned n_runs;
    float *expected;
    size_t n_expected;
} bench;

static md_status fill_inputs(const md_network *network, md_tensor *ret_inputs, md_error *err)
{
    uint32_t seed = 12345;
    for (unsigned i = 0; i < md_network_n_inputs(network); i++) {
        const md_network_port *port = md_network_input(network, i);
        MD_TRY(md_tensor_init(&ret_inputs[i], port->dtype, port->n_dims, port->dims, err));
        if (port->dtype != MD_F32) {
            return md_fail(err, MD_UNSUPPORTED, "input %u is not float32", i);
        }
        for (size_t j = 0; j < ret_inputs[i].n_elements; j++) {
            seed = seed * 1664525U + 1013904223U;
            ((float *)ret_inputs[i].data)[j] = (float)(seed >> 8) / 8388608.0F - 1.0F;
        }
    }
    return MD_OK;
}

static double difference(bench *b, const md_tensor *output)
{
    double worst = 0.0;
    if (b->expected == NULL) {
        b->n_expected = output->n_elements;
        b->expected = malloc(b->n_expected * sizeof *b->expected);
        if (b->expected != NULL) {
            memcpy(b->expected, output->data, b->n_expected * sizeof *b->expected);
        }
        return 0.0;
    }
    for (size_t i = 0; i < b->n_expected; i++) {
        worst = fmax(worst,
                     fabs((double)((const float *)output->data)[i] - (double)b->expected[i]));
    }
    return worst;
}

static md_status measure(bench *b, md_backend backend, unsigned n_threads, md_error *err)
{
    md_tensor in[8] = {{0}}, out[16];
    const md_network_options options = {.backend = backend, .n_threads = n_threads};
    MD_AUTO(md_network_destroyp) md_network *network = NULL;
    const int64_t wall = md_clock_monotonic_us(), cpu = md_clock_cpu_us();
    MD_TRY(md_network_load(b->onnx, b->onnx_bytes, &options, &network, err));
    const int64_t load_wall = md_clock_monotonic_us() - wall;
    const int64_t load_cpu = md_clock_cpu_us() - cpu;
    const unsigned n_in = md_network_n_inputs(network), n_out = md_network_n_outputs(network);
    if (n_in > 8 || n_out > 16) {
        return md_fail(err, MD_LIMIT, "too many inputs or outputs");
    }
    MD_TRY(fill_inputs(network, in, err));
    int64_t *times = malloc((b->n_runs + 1) * sizeof *times);
    if (times == NULL) {
        return md_fail(err, MD_NOMEM, "no memory");
    }
    for (unsigned i = 0; i <= b->n_runs; i++) {
        const int64_t start = md_clock_monotonic_us();
        md_status status = md_network_run(network, in, n_in, out, n_out, err);
        times[i] = md_clock_monotonic_us() - start;
        if (status != MD_OK) {
            free(times);
            return status;
        }
    }
    const int64_t first = times[0];
    qsort(times + 1, b->n_runs, sizeof *times, compare);
    const int64_t *t = times + 1;
    printf("%-9s %u threads  load %6.1f ms (cpu %6.1f)  first %6.1f  p50 %6.2f  p90 %6.2f  "
           "p99 %6.2f ms  %u steps  arena %.1f MB  difference %.2g\n",
           md_network_backend_name(network), n_threads, (double)load_wall / 1e3,
           (double)load_cpu / 1e3, (double)first / 1e3, (double)t[b->n_runs / 2] / 1e3,
           (double)t[b->n_runs * 9 / 10] / 1e3, (double)t[b->n_runs * 99 / 100] / 1e3,
           md_network_n_steps(network), (double)md_network_arena_bytes(network) / 1e6,
           difference(b, &out[0]));
    free(times);
    for (unsigned i = 0; i < n_in; i++) {
        md_tensor_finish(&in[i]);
    }
    return MD_OK;
}

int main(int argc, char **argv)
{
    static const md_backend backends[] = {MD_BACKEND_ONEDNN, MD_BACKEND_OPENBLAS};
    md_error err = {0};
    uint8_t *onnx = NULL;
    bench b = {.n_runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 50};
    if (argc < 2 || b.n_runs < 1 || b.n_runs > 100000) {
        (void)fprintf(stderr, "usage: bench_engine MODEL.onnx [RUNS]\n");
        return 2;
    }
    if (md_file_read(argv[1], MD_NETWORK_MAX_ONNX_BYTES, &onnx, &b.onnx_bytes, &err) != MD_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    b.onnx = onnx;
    printf("%s\n", argv[1]);
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned n_threads = 1; n_threads <= 2; n_threads++) {
            if (measure(&b, backends[i], n_threads, &err) != MD_OK) {
                printf("%s\n", err.msg);
            }
        }
    }
    md_free(onnx);
    free(b.expected);
    return 0;
}
