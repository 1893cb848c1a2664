/* bfloat16 and 8-bit integers: near float32 where the processor has them, refused where not.
 *
 *   test-precision FOLDER          on this processor
 *   test-precision FOLDER capped   with oneDNN told to know nothing beyond AVX2 */

#include "inference/network.h"

#include "base/file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *folder;
static bool capped;
static const char *const models[] = {"resnet", "densenet", "mobile",  "odd",
                                     "chains", "tiles",    "inverted"};

enum {
    N_MODELS = sizeof models / sizeof *models,
    N_SAMPLES = 4,
    MAX_OUTPUTS = 64
};

static md_status load(const char *name, const md_network_options *options, md_network **ret,
                      md_error *err)
{
    char path[1024];
    size_t n_bytes = 0;
    uint8_t *bytes = NULL;
    (void)snprintf(path, sizeof path, "%s/%s.onnx", folder, name);
    assert_int_equal(md_file_read(path, 1 << 26, &bytes, &n_bytes, err), MD_OK);
    md_status status = md_network_load_taking(&bytes, n_bytes, options, ret, err);
    assert_null(bytes);
    return status;
}

/* Like a picture: neighbours are alike, values around 0. */
static void make_input(const md_network *network, uint32_t seed, md_tensor *ret)
{
    const md_network_port *port = md_network_input(network, 0);
    assert_int_equal(md_tensor_init(ret, MD_F32, port->n_dims, port->dims, NULL), MD_OK);
    float value = 0.0F;
    for (size_t i = 0; i < ret->n_elements; i++) {
        seed = seed * 1664525U + 1013904223U;
        value = 0.8F * value + ((float)(seed >> 8) / 8388608.0F - 1.0F) * 0.6F;
        ((float *)ret->data)[i] = value;
    }
}

static size_t run(md_network *network, uint32_t seed, float *ret)
{
    md_tensor in = {0}, out[8];
    make_input(network, seed, &in);
    assert_int_equal(md_network_run(network, &in, 1, out, md_network_n_outputs(network), NULL),
                     MD_OK);
    assert_true(out[0].n_elements <= MAX_OUTPUTS);
    memcpy(ret, out[0].data, out[0].n_elements * sizeof *ret);
    md_tensor_finish(&in);
    return out[0].n_elements;
}

/* Largest difference from float32 on OpenBLAS over some inputs, over the largest output. */
static double worst(const char *name, md_precision precision, unsigned n_threads)
{
    const md_network_options observe = {
        .backend = MD_BACKEND_OPENBLAS, .n_threads = 1, .observe = true};
    md_network *exact = NULL, *made = NULL;
    md_error err = {0};
    float expected[N_SAMPLES][MAX_OUTPUTS], got[MAX_OUTPUTS];
    size_t n = 0;
    double difference = 0.0, largest = 1e-30;
    assert_int_equal(load(name, &observe, &exact, &err), MD_OK);
    for (uint32_t i = 0; i < N_SAMPLES; i++) {
        n = run(exact, i + 1, expected[i]);
    }
    md_network_options options = {
        .backend = MD_BACKEND_ONEDNN, .precision = precision, .n_threads = n_threads};
    assert_int_equal(md_network_ranges(exact, &options.ranges, &options.n_ranges, &err), MD_OK);
    if (load(name, &options, &made, &err) != MD_OK) {
        fail_msg("%s: %s", name, err.msg);
    }
    for (uint32_t i = 0; i < N_SAMPLES; i++) {
        (void)run(made, i + 1, got);
        for (size_t j = 0; j < n; j++) {
            difference = fmax(difference, fabs((double)got[j] - (double)expected[i][j]));
            largest = fmax(largest, fabs((double)expected[i][j]));
        }
    }
    md_network_destroy(made);
    md_network_destroy(exact);
    return difference / largest;
}

/* float32 must hold on whatever the processor has; the others have 8 and 7 bits. A wrong scale
 * or a saturated sum shows as 0.1 and more. */
static void test_agrees(void **state)
{
    (void)state;
    static const double limits[] = {1e-5, 0.03, 0.08};
    for (int p = MD_PRECISION_F32; p <= MD_PRECISION_INT8; p++) {
        if (md_precision_check((md_precision)p, NULL) != MD_OK) {
            print_message("# this processor has no %s\n", md_precision_name((md_precision)p));
            continue;
        }
        for (int i = 0; i < N_MODELS; i++) {
            for (unsigned n_threads = 1; n_threads <= 2; n_threads++) {
                const double difference = worst(models[i], (md_precision)p, n_threads);
                print_message("# %s %s: relative difference %.2g\n", models[i],
                              md_precision_name((md_precision)p), difference);
                assert_true(difference <= limits[p]);
                assert_true(p == MD_PRECISION_F32 || difference > 1e-6);
            }
        }
    }
}

/* What the processor lacks is refused, and not computed somehow. */
static void test_refused(void **state)
{
    (void)state;
    static const char *const reasons[] = {"", "avx512_bf16", "avx512_vnni"};
    for (int p = MD_PRECISION_BF16; p <= MD_PRECISION_INT8; p++) {
        md_error err = {0};
        md_network *network = NULL;
        const md_network_options options = {.backend = MD_BACKEND_ONEDNN,
                                            .precision = (md_precision)p};
        const md_status checked = md_precision_check((md_precision)p, &err);
        assert_true(!capped || checked == MD_UNSUPPORTED);
        if (checked != MD_OK) {
            assert_non_null(strstr(err.msg, reasons[p]));
        }
        assert_int_equal(load("resnet", &options, &network, &err), checked);
        md_network_destroy(network);
        const md_network_options openblas = {.backend = MD_BACKEND_OPENBLAS,
                                             .precision = (md_precision)p};
        network = NULL;
        assert_int_equal(load("resnet", &openblas, &network, &err), MD_UNSUPPORTED);
    }
}

static void test_ranges(void **state)
{
    (void)state;
    const md_network_options observe = {
        .backend = MD_BACKEND_OPENBLAS, .n_threads = 1, .observe = true};
    md_network *network = NULL;
    const md_range *ranges = NULL;
    unsigned n = 0;
    float outputs[MAX_OUTPUTS];
    bool found = false;
    assert_int_equal(load("resnet", &observe, &network, NULL), MD_OK);
    assert_int_equal(md_network_ranges(network, &ranges, &n, NULL), MD_INVALID_ARG);
    const size_t n_outputs = run(network, 1, outputs);
    assert_int_equal(md_network_ranges(network, &ranges, &n, NULL), MD_OK);
    for (unsigned i = 0; i < n; i++) {
        assert_true(ranges[i].low <= ranges[i].high);
        if (strcmp(ranges[i].name, "logits") == 0) {
            float low = outputs[0], high = outputs[0];
            for (size_t j = 1; j < n_outputs; j++) {
                low = fminf(low, outputs[j]);
                high = fmaxf(high, outputs[j]);
            }
            assert_true(ranges[i].low == low && ranges[i].high == high);
            found = true;
        }
    }
    assert_true(found);
    md_network_destroy(network);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_ranges),
    };
    if (argc < 2) {
        return 2;
    }
    folder = argv[1];
    capped = argc > 2;
    return cmocka_run_group_tests_name("precision", tests, NULL, NULL);
}
