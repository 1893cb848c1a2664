/* Whole networks: rewriting and back ends must not change the result, memory may run out
 * anywhere, inner tensors stay readable, heads are found. */

#include "inference/network.h"

#include "base/file.h"
#include "inference/backend/inverted.h"
#include "onnx_builder.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "near.h"

static const char *folder; /* of the generated models */
static const char *const models[] = {"resnet", "densenet", "mobile",  "odd",
                                     "chains", "tiles",    "inverted"};

enum {
    N_MODELS = sizeof models / sizeof *models
};

static uint8_t *read_model(const char *name, size_t *ret_bytes)
{
    char path[1024];
    uint8_t *bytes = NULL;
    md_error err = {0};
    (void)snprintf(path, sizeof path, "%s/%s.onnx", folder, name);
    if (md_file_read(path, (size_t)1 << 28, &bytes, ret_bytes, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return bytes;
}

static md_network *load(const char *name, const md_network_options *options)
{
    size_t n_bytes;
    uint8_t *bytes = read_model(name, &n_bytes);
    md_network *network = NULL;
    md_error err = {0};
    md_status status = md_network_load(bytes, n_bytes, options, &network, &err);
    md_free(bytes);
    if (status != MD_OK) {
        fail_msg("%s: %s", name, err.msg);
    }
    return network;
}

static void make_input(const md_network *network, uint32_t seed, md_tensor *ret)
{
    const md_network_port *port = md_network_input(network, 0);
    assert_int_equal(md_tensor_init(ret, MD_F32, port->n_dims, port->dims, NULL), MD_OK);
    for (size_t i = 0; i < ret->n_elements; i++) {
        seed = seed * 1664525U + 1013904223U;
        ((float *)ret->data)[i] = (float)(seed >> 8) / 8388608.0F - 1.0F;
    }
}

/* Largest difference, relative to the largest value. */
static double difference(const md_tensor *a, const md_tensor *b)
{
    double worst = 0.0, scale = 1e-30;
    assert_int_equal(a->n_elements, b->n_elements);
    assert_int_equal(a->n_dims, b->n_dims);
    for (size_t i = 0; i < a->n_elements; i++) {
        const double x = (double)((const float *)a->data)[i];
        const double y = (double)((const float *)b->data)[i];
        assert_true(isfinite(x) && isfinite(y));
        worst = fmax(worst, fabs(x - y));
        scale = fmax(scale, fabs(y));
    }
    return worst / scale;
}

/* Run with the configuration and compare all outputs with the plain graph on OpenBLAS. */
static void compare(const char *name, const md_network_options *options, double tolerance)
{
    md_network_options reference = *options;
    reference.backend = MD_BACKEND_OPENBLAS;
    reference.no_rewriting = true;
    md_network *expected = load(name, &reference), *made = load(name, options);
    md_tensor in, out[2][10];
    const unsigned n = md_network_n_outputs(made);
    assert_int_equal(n, md_network_n_outputs(expected));
    assert_true(n <= 10);
    /* oneDNN has steps more: copies into another order */
    if (!options->no_rewriting && options->n_extra_outputs == 0 &&
        options->backend == MD_BACKEND_OPENBLAS) {
        assert_true(md_network_n_steps(made) < md_network_n_steps(expected));
    }
    for (uint32_t seed = 1; seed <= 3; seed++) {
        md_error err = {0};
        make_input(made, seed, &in);
        assert_int_equal(md_network_run(expected, &in, 1, out[0], n, &err), MD_OK);
        assert_int_equal(md_network_run(made, &in, 1, out[1], n, &err), MD_OK);
        for (unsigned i = 0; i < n; i++) {
            const double d = difference(&out[1][i], &out[0][i]);
            if (d > tolerance) {
                fail_msg("%s, output %u: difference %g", name, i, d);
            }
            if (seed == 1 && options->n_extra_outputs == 0) {
                print_message("# %s on %s, %u steps, output %u: relative difference %.2g\n",
                              name, md_network_backend_name(made), md_network_n_steps(made), i,
                              d);
            }
        }
        md_tensor_finish(&in);
    }
    md_network_destroy(expected);
    md_network_destroy(made);
}

/* float32 sums of up to a few thousand terms in another order: 1e-5 is ten times what is seen,
 * and a wrong weight or a missing step shows as 1e-2 and more. */
static const double tolerance = 1e-5;

static void test_rewriting(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        const md_network_options options = {.backend = MD_BACKEND_OPENBLAS, .n_threads = 1};
        compare(models[i], &options, tolerance);
    }
}

static void test_onednn(void **state)
{
    (void)state;
#ifdef MEDAID_HAVE_ONEDNN
    for (int i = 0; i < N_MODELS; i++) {
        for (unsigned n_threads = 1; n_threads <= 2; n_threads++) {
            md_network_options options = {.backend = MD_BACKEND_ONEDNN, .n_threads = n_threads};
            compare(models[i], &options, tolerance);
            options.batch = 3;
            compare(models[i], &options, tolerance);
        }
        const md_network_options plain = {
            .backend = MD_BACKEND_ONEDNN, .n_threads = 1, .no_rewriting = true};
        compare(models[i], &plain, tolerance);
    }
#else
    md_network *network = NULL;
    size_t n_bytes;
    uint8_t *bytes = read_model("odd", &n_bytes);
    const md_network_options options = {.backend = MD_BACKEND_ONEDNN};
    assert_int_equal(md_network_load(bytes, n_bytes, &options, &network, NULL), MD_UNSUPPORTED);
    md_free(bytes);
#endif
}

#ifdef MEDAID_HAVE_ONEDNN
/* Whether the processor has what inverted.h is written for. */
static bool has_inverted(void)
{
    return md_inverted_is_supported(&(md_inverted){.n_images = 1,
                                                   .in_h = 8,
                                                   .in_w = 8,
                                                   .out_h = 8,
                                                   .out_w = 8,
                                                   .c_in = 8,
                                                   .c_mid = 16,
                                                   .c_out = 8,
                                                   .stride = 1,
                                                   .pad_top = 1,
                                                   .pad_left = 1,
                                                   .expands = true});
}

/* All blocks of "inverted" are single steps: else test_onednn compared other code. */
static void test_inverted_steps(void **state)
{
    (void)state;
    enum {
        MAX_STEPS = 64,
        N_EXPANDING = 7,
        N_PLAIN = 2
    };
    const md_network_options options = {.backend = MD_BACKEND_ONEDNN, .n_threads = 1};
    md_network *network = load("inverted", &options);
    md_network_step steps[MAX_STEPS];
    md_tensor in;
    md_error err = {0};
    unsigned n_expanding = 0, n_plain = 0;
    assert_true(md_network_n_steps(network) <= MAX_STEPS);
    make_input(network, 1, &in);
    assert_int_equal(md_network_profile(network, &in, 1, 1, steps, &err), MD_OK);
    for (unsigned i = 0; i < md_network_n_steps(network); i++) {
        const bool expands = strncmp(steps[i].kernel, "1x1, deep 3x3", 13) == 0;
        n_expanding += expands;
        n_plain += !expands && strstr(steps[i].kernel, "deep 3x3") != NULL;
    }
    assert_int_equal(n_expanding, has_inverted() ? N_EXPANDING : 0);
    assert_int_equal(n_plain, has_inverted() ? N_PLAIN : 0);
    md_tensor_finish(&in);
    md_network_destroy(network);
}
#endif

/* Tensors in the middle, some of which rewriting would fuse away. */
static void test_extra_outputs(void **state)
{
    (void)state;
    static const md_backend backends[] = {MD_BACKEND_AUTO, MD_BACKEND_OPENBLAS};
    for (int i = 0; i < N_MODELS; i++) {
        for (int j = 0; j < 2; j++) {
            md_network_options options = {.backend = backends[j], .n_threads = 1};
            options.extra_outputs[0] = "features";
            options.extra_outputs[1] = strcmp(models[i], "odd") == 0 ? "conv4" : "conv3";
            options.n_extra_outputs = 1;
            compare(models[i], &options, tolerance);
        }
    }
}

/* Every value of the network as an extra output, eight at a time. */
static void test_all_inner(void **state)
{
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        size_t n_bytes;
        uint8_t *bytes = read_model(models[i], &n_bytes);
        Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, n_bytes, bytes);
        assert_non_null(model);
        md_network_options options = {.n_threads = 1};
        for (size_t j = 0; j < model->graph->n_node; j++) {
            const Onnx__NodeProto *node = model->graph->node[j];
            if (strcmp(node->op_type, "Greater") == 0 || strcmp(node->op_type, "Shape") == 0 ||
                strcmp(node->op_type, "Gather") == 0 ||
                strcmp(node->op_type, "Unsqueeze") == 0 ||
                (strcmp(node->op_type, "Concat") == 0 && node->attribute[0]->i == 0)) {
                continue; /* not float32 */
            }
            options.extra_outputs[options.n_extra_outputs++] = node->output[0];
            if (options.n_extra_outputs == MD_NETWORK_MAX_EXTRA_OUTPUTS ||
                j + 1 == model->graph->n_node) {
                compare(models[i], &options, tolerance);
                options.n_extra_outputs = 0;
            }
        }
        onnx__model_proto__free_unpacked(model, NULL);
        md_free(bytes);
    }
}

static void test_linear_head(void **state)
{
    (void)state;
    static const md_backend backends[] = {MD_BACKEND_AUTO, MD_BACKEND_OPENBLAS};
    for (int i = 0; i < N_MODELS; i++) {
        for (int j = 0; j < 2; j++) {
            md_network_options options = {.backend = backends[j], .n_threads = 1};
            options.extra_outputs[0] = "features";
            options.extra_outputs[1] = "logits";
            options.n_extra_outputs = 2;
            md_network *network = load(models[i], &options);
            md_tensor in, out[4], weights;
            md_error err = {0};
            make_input(network, 7, &in);
            const unsigned n = md_network_n_outputs(network);
            assert_int_equal(md_network_run(network, &in, 1, out, n, &err), MD_OK);
            assert_int_equal(
                md_network_linear_head(network, "features", "logits", &weights, &err), MD_OK);
            const md_tensor *features = &out[md_network_find_output(network, "features")];
            const md_tensor *logits = &out[md_network_find_output(network, "logits")];
            assert_int_equal(weights.n_dims, 2);
            assert_int_equal(weights.dims[0], logits->dims[1]);
            assert_int_equal(weights.dims[1], features->dims[1]);
            /* logits minus W mean(features) is the bias: the same for another image */
            double bias[2][8];
            for (int image = 0; image < 2; image++) {
                const int64_t n_c = features->dims[1];
                const size_t n_p = features->n_elements / (size_t)n_c;
                for (int64_t k = 0; k < weights.dims[0]; k++) {
                    double z = (double)((const float *)logits->data)[k];
                    for (int64_t c = 0; c < n_c; c++) {
                        double mean = 0.0;
                        for (size_t p = 0; p < n_p; p++) {
                            mean +=
                                (double)((const float *)features->data)[(size_t)c * n_p + p];
                        }
                        z -= (double)((const float *)weights.data)[k * n_c + c] * mean /
                             (double)n_p;
                    }
                    bias[image][k] = z;
                }
                md_tensor_finish(&in);
                make_input(network, 8, &in);
                assert_int_equal(md_network_run(network, &in, 1, out, n, &err), MD_OK);
            }
            for (int64_t k = 0; k < weights.dims[0]; k++) {
                assert_near(bias[0][k], bias[1][k], 2e-5);
            }
            assert_int_equal(md_network_linear_head(network, "image", "logits", &weights, &err),
                             MD_UNSUPPORTED);
            assert_int_equal(
                md_network_linear_head(network, "features", "features", &weights, &err),
                MD_UNSUPPORTED);
            md_tensor_finish(&in);
            md_network_destroy(network);
        }
    }
}

/* What the last layer reads is the mean of the features, in every precision of the back ends,
 * and asking for it changes no score. */
static void test_head_input(void **state)
{
    (void)state;
    static const md_backend backends[] = {MD_BACKEND_AUTO, MD_BACKEND_OPENBLAS};
    for (int i = 0; i < 2 * N_MODELS; i++) {
        const char *model = models[i / 2];
        md_network_options options = {.backend = backends[i % 2], .n_threads = 1};
        options.extra_outputs[0] = "features";
        options.extra_outputs[1] = "logits";
        options.n_extra_outputs = 2;
        md_network *plain = load(model, &options);
        assert_int_equal(md_network_head_input(plain), -1);
        options.head_of = "logits";
        md_network *network = load(model, &options);
        const int head = md_network_head_input(network);
        const unsigned n = md_network_n_outputs(network);
        assert_int_equal(head, n - 1);
        md_tensor in, out[5], alone[4], weights;
        assert_int_equal(md_network_linear_head(network, "features", "logits", &weights, NULL),
                         MD_OK);
        make_input(network, 7, &in);
        assert_int_equal(md_network_run(network, &in, 1, out, n, NULL), MD_OK);
        assert_int_equal(md_network_run(plain, &in, 1, alone, n - 1, NULL), MD_OK);
        const int at = md_network_find_output(network, "logits");
        const float *z = out[at].data, *wanted = alone[at].data;
        for (size_t k = 0; k < out[at].n_elements; k++) {
            assert_near(z[k], wanted[k], 1e-5);
        }
        const md_tensor *features = &out[md_network_find_output(network, "features")];
        const int64_t n_c = features->dims[1];
        const size_t n_p = features->n_elements / (size_t)n_c;
        assert_int_equal(out[head].n_dims, 2);
        assert_int_equal(out[head].dims[1], n_c);
        for (int64_t c = 0; c < n_c; c++) {
            double mean = 0.0;
            for (size_t p = 0; p < n_p; p++) {
                mean += (double)((const float *)features->data)[(size_t)c * n_p + p];
            }
            assert_near(((const float *)out[head].data)[c], mean / (double)n_p, 2e-5);
        }
        md_tensor_finish(&in);
        md_network_destroy(plain);
        md_network_destroy(network);
    }
    size_t n_bytes;
    uint8_t *bytes = read_model(models[0], &n_bytes);
    md_network *network = NULL;
    md_network_options options = {.head_of = "features"}; /* no linear layer makes that */
    options.extra_outputs[0] = "features";
    options.n_extra_outputs = 1;
    assert_int_equal(md_network_load(bytes, n_bytes, &options, &network, NULL), MD_OK);
    assert_int_equal(md_network_head_input(network), -1);
    md_network_destroy(network);
    options.head_of = "no such output";
    assert_int_equal(md_network_load(bytes, n_bytes, &options, &network, NULL), MD_NOT_FOUND);
    md_free(bytes);
}

/* Let every single allocation fail. */
static void test_no_memory(void **state)
{
    (void)state;
    static const md_backend backends[] = {MD_BACKEND_AUTO, MD_BACKEND_OPENBLAS};
    for (int j = 0; j < 2; j++) {
        size_t n_bytes;
        uint8_t *bytes = read_model("odd", &n_bytes);
        md_network_options options = {.backend = backends[j], .n_threads = 1};
        options.extra_outputs[0] = "features";
        options.n_extra_outputs = 1;
        md_network *network = NULL;
        md_status status = MD_NOMEM;
        size_t n_failures = 0;
        for (size_t nth = 1; status != MD_OK; nth++) {
            md_error err = {0};
            md_memory_fail_at(nth);
            status = md_network_load(bytes, n_bytes, &options, &network, &err);
            md_memory_fail_at(0);
            if (status != MD_OK) {
                n_failures++;
                assert_int_equal(status, MD_NOMEM);
                assert_null(network);
                assert_true(err.msg[0] != '\0');
            }
            assert_true(nth < 100000);
        }
        print_message("# %zu failed allocations on %s\n", n_failures,
                      md_network_backend_name(network));
        assert_true(n_failures > 50);
        /* a run allocates nothing */
        md_tensor in, out[2];
        make_input(network, 1, &in);
        md_memory_fail_at(1);
        assert_int_equal(md_network_run(network, &in, 1, out, 2, NULL), MD_OK);
        assert_int_equal(md_memory_count(), 0);
        md_memory_fail_at(0);
        md_tensor_finish(&in);
        md_network_destroy(network);
        md_free(bytes);
    }
}

/* Several threads, each with a network of its own on either back end: the same results as
 * alone. */
typedef struct job {
    const char *name;
    md_backend backend;
    float expected[8];
    bool same;
} job;

static void *run_job(void *argument)
{
    job *j = argument;
    for (int round = 0; round < 20 && j->same; round++) {
        const md_network_options options = {.backend = j->backend, .n_threads = 1};
        md_network *network = load(j->name, &options);
        md_tensor in, out;
        make_input(network, 5, &in);
        for (int i = 0; i < 5; i++) {
            j->same = j->same && md_network_run(network, &in, 1, &out, 1, NULL) == MD_OK &&
                      memcmp(out.data, j->expected, out.n_elements * sizeof(float)) == 0;
        }
        md_tensor_finish(&in);
        md_network_destroy(network);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    job jobs[2 * N_MODELS];
    pthread_t threads[2 * N_MODELS];
    for (int i = 0; i < 2 * N_MODELS; i++) {
        jobs[i] = (job){.name = models[i / 2], .same = true};
        jobs[i].backend = i % 2 == 0 ? MD_BACKEND_AUTO : MD_BACKEND_OPENBLAS;
        const md_network_options options = {.backend = jobs[i].backend, .n_threads = 1};
        md_network *network = load(jobs[i].name, &options);
        md_tensor in, out;
        make_input(network, 5, &in);
        assert_int_equal(md_network_run(network, &in, 1, &out, 1, NULL), MD_OK);
        assert_true(out.n_elements <= 8);
        memcpy(jobs[i].expected, out.data, out.n_elements * sizeof(float));
        md_tensor_finish(&in);
        md_network_destroy(network);
    }
    for (int i = 0; i < 2 * N_MODELS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
    }
    for (int i = 0; i < 2 * N_MODELS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(jobs[i].same);
    }
}

/* What was fused: counted in steps, so that a rule that stops matching is noticed. */
static void test_step_counts(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned most;
    } cases[] = {
        {"resnet", 18},   /* 15 convolutions, 2 pools, 1 Gemm */
        {"mobile", 24},   /* 16 convolutions, 3 gates, 3 pools, head */
        {"densenet", 35}, /* 9 norms, 16 convolutions, 7 concats, 2 pools, Gemm */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const md_network_options options = {.backend = MD_BACKEND_OPENBLAS, .n_threads = 1};
        md_network *network = load(cases[i].name, &options);
        if (md_network_n_steps(network) > cases[i].most) {
            fail_msg("%s: %u steps", cases[i].name, md_network_n_steps(network));
        }
        md_network_destroy(network);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rewriting),      cmocka_unit_test(test_onednn),
        cmocka_unit_test(test_extra_outputs),  cmocka_unit_test(test_all_inner),
        cmocka_unit_test(test_linear_head),    cmocka_unit_test(test_head_input),
        cmocka_unit_test(test_no_memory),      cmocka_unit_test(test_step_counts),
        cmocka_unit_test(test_threads),
#ifdef MEDAID_HAVE_ONEDNN
        cmocka_unit_test(test_inverted_steps),
#endif
    };
    if (argc != 2) {
        return 2;
    }
    folder = argv[1];
    return cmocka_run_group_tests_name("network", tests, NULL, NULL);
}
