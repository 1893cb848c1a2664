/* Weights that are used where they lie in the file, the bodies of loops that are imported more
 * than once, and the work of start-up on several threads. */

#include "inference/graph/wire.h"
#include "inference/graph/work.h"
#include "inference/network.h"
#include "onnx_builder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "near.h"

enum {
    CHANNELS = 160, /* of weights of 100 KiB and 900 KiB */
    SIDE = 5,
    N = CHANNELS * SIDE * SIDE
};

static float value(size_t i)
{
    return (float)((i * 2654435761U >> 7) % 2001) / 1000.0F - 1.0F;
}

static float *values(size_t n, float factor)
{
    float *list = malloc(n * sizeof *list);
    assert_non_null(list);
    for (size_t i = 0; i < n; i++) {
        list[i] = factor * value(i);
    }
    return list;
}

/* image -> 1x1 conv -> 3x3 conv -> y; names of every length, so that nothing lies aligned. */
static uint8_t *large_model(size_t *ret_bytes, float **ret_w1, float **ret_w2)
{
    static const int64_t image[] = {1, CHANNELS, SIDE, SIDE},
                         one[] = {CHANNELS, CHANNELS, 1, 1},
                         three[] = {CHANNELS, CHANNELS, 3, 3}, pads[] = {1, 1, 1, 1};
    const size_t n1 = CHANNELS * CHANNELS, n2 = 9 * n1;
    builder b;
    *ret_w1 = values(n1, 0.1F);
    *ret_w2 = values(n2, 0.02F);
    builder_init(&b, 13);
    builder_port(&b, false, "image", 1, 4, image);
    builder_port(&b, true, "y", 1, 4, image);
    (void)builder_node(&b, "first", "Conv", (char[]){"image w1"}, (char[]){"c"});
    builder_ints(&b, builder_node(&b, "second", "Conv", (char[]){"c weights22"}, (char[]){"y"}),
                 "pads", pads, 4);
    (void)builder_tensor(&b, "w1", 1, 4, one, *ret_w1, n1 * sizeof(float));
    (void)builder_tensor(&b, "weights22", 1, 4, three, *ret_w2, n2 * sizeof(float));
    return builder_pack(&b, ret_bytes);
}

/* Both convolutions in double precision. */
static void expected(const float *x, const float *w1, const float *w2, double *y)
{
    static double c[N];
    for (int k = 0; k < CHANNELS; k++) {
        for (int p = 0; p < SIDE * SIDE; p++) {
            c[k * SIDE * SIDE + p] = 0.0;
            for (int i = 0; i < CHANNELS; i++) {
                c[k * SIDE * SIDE + p] +=
                    (double)w1[k * CHANNELS + i] * (double)x[i * SIDE * SIDE + p];
            }
        }
    }
    for (int at = 0; at < N; at++) {
        const int k = at / (SIDE * SIDE), row = at / SIDE % SIDE, column = at % SIDE;
        y[at] = 0.0;
        for (int i = 0; i < CHANNELS * 9; i++) {
            const int r = row + i / 3 % 3 - 1, q = column + i % 3 - 1;
            if (r >= 0 && r < SIDE && q >= 0 && q < SIDE) {
                y[at] +=
                    (double)w2[k * CHANNELS * 9 + i] * c[i / 9 * SIDE * SIDE + r * SIDE + q];
            }
        }
    }
}

static void test_large_weights(void **state)
{
    (void)state;
    static double want[N];
    size_t n_bytes;
    float *w1, *w2, *x = values(N, 1.0F);
    uint8_t *bytes = large_model(&n_bytes, &w1, &w2);
    expected(x, w1, w2, want);
    for (int i = 0; i < 4; i++) {
        const md_network_options options = {
            .backend = i < 2 ? MD_BACKEND_OPENBLAS : MD_BACKEND_AUTO, .n_threads = 1};
        md_network *network = NULL;
        md_error err = {0};
        uint8_t *taken = md_malloc(n_bytes);
        assert_non_null(taken);
        memcpy(taken, bytes, n_bytes);
        if (i % 2 == 0) {
            assert_int_equal(md_network_load_taking(&taken, n_bytes, &options, &network, &err),
                             MD_OK);
            assert_null(taken);
        } else {
            assert_int_equal(md_network_load(taken, n_bytes, &options, &network, &err), MD_OK);
            assert_memory_equal(taken, bytes, n_bytes); /* was only read */
            md_free(taken);
        }
        md_tensor in, out;
        assert_int_equal(
            md_tensor_init(&in, MD_F32, 4, (int64_t[]){1, CHANNELS, SIDE, SIDE}, &err), MD_OK);
        memcpy(in.data, x, N * sizeof *x);
        assert_int_equal(md_network_run(network, &in, 1, &out, 1, &err), MD_OK);
        for (int j = 0; j < N; j++) {
            assert_near(((float *)out.data)[j], want[j], 1e-3);
        }
        md_tensor_finish(&in);
        md_network_destroy(network);
    }
    free(bytes);
    free(w1);
    free(w2);
    free(x);
}

static void test_failing_memory(void **state)
{
    (void)state;
    size_t n_bytes;
    float *w1, *w2;
    uint8_t *bytes = large_model(&n_bytes, &w1, &w2);
    md_status status = MD_NOMEM;
    for (size_t nth = 1; status == MD_NOMEM; nth++) {
        const md_network_options options = {.n_threads = 1};
        md_network *network = NULL;
        md_error err = {0};
        uint8_t *taken = md_malloc(n_bytes);
        assert_non_null(taken);
        memcpy(taken, bytes, n_bytes);
        md_memory_fail_at(nth);
        status = md_network_load_taking(&taken, n_bytes, &options, &network, &err);
        md_memory_fail_at(0);
        assert_null(taken);
        assert_true(status == MD_OK || status == MD_NOMEM);
        md_network_destroy(network);
    }
    assert_int_equal(status, MD_OK);
    free(bytes);
    free(w1);
    free(w2);
}

static void test_mark(void **state)
{
    (void)state;
    static const int64_t dims[] = {1};
    static const float one = 1.0F;
    for (int location = 0; location < 4; location++) {
        builder b;
        builder_init(&b, 13);
        builder_port(&b, false, "x", 1, 1, dims);
        builder_port(&b, true, "y", 1, 1, dims);
        (void)builder_node(&b, "add", "Add", (char[]){"x one"}, (char[]){"y"});
        Onnx__TensorProto *tensor = builder_tensor(&b, "one", 1, 1, dims, &one, sizeof one);
        tensor->has_data_location = 1;
        tensor->data_location = (Onnx__TensorProto__DataLocation)location;
        size_t n_bytes;
        uint8_t *bytes = builder_pack(&b, &n_bytes);
        md_network *network = NULL;
        md_error err = {0};
        static const md_status wanted[] = {MD_OK, MD_UNSUPPORTED, MD_FORMAT, MD_FORMAT};
        assert_int_equal(md_network_load(bytes, n_bytes, NULL, &network, &err),
                         wanted[location]);
        md_network_destroy(network);
        free(bytes);
    }
}

static md_status split(const uint8_t *bytes, size_t n_bytes, uint8_t **ret_small,
                       size_t *ret_n_small, md_wire_cut **ret_cuts, size_t *ret_n_cuts)
{
    const md_wire_rule rule = {&onnx__tensor_proto__descriptor, 9, 14, 2, 8};
    return md_wire_split(&onnx__tensor_proto__descriptor, bytes, n_bytes, &rule, ret_small,
                         ret_n_small, ret_cuts, ret_n_cuts, NULL);
}

static void test_split(void **state)
{
    (void)state;
    /* dims 3; raw_data of 8 bytes; name "n" */
    static const uint8_t good[] = {8, 3, 74, 8, 1, 2, 3, 4, 5, 6, 7, 8, 66, 1, 'n'};
    static const uint8_t twice[] = {74, 8, 1, 2, 3, 4, 5, 6, 7, 8, 74, 1, 9};
    static const uint8_t marked[] = {112, 2}, marked_long[] = {112, 0x82, 0};
    uint8_t *small = NULL;
    md_wire_cut *cuts = NULL;
    size_t n_small = 0, n_cuts = 0;
    assert_int_equal(split(good, sizeof good, &small, &n_small, &cuts, &n_cuts), MD_OK);
    assert_int_equal(n_cuts, 1);
    assert_int_equal(cuts[0].offset, 4);
    assert_int_equal(cuts[0].n_bytes, 8);
    Onnx__TensorProto *proto = onnx__tensor_proto__unpack(NULL, n_small, small);
    assert_non_null(proto);
    assert_string_equal(proto->name, "n");
    assert_int_equal(proto->raw_data.len, 8);
    assert_int_equal(proto->raw_data.data[0], 0);
    assert_int_equal(proto->data_location, 2);
    onnx__tensor_proto__free_unpacked(proto, NULL);
    md_free(small);
    md_free(cuts);
    assert_int_equal(split(twice, sizeof twice, &small, &n_small, &cuts, &n_cuts), MD_FORMAT);
    assert_int_equal(split(marked, sizeof marked, &small, &n_small, &cuts, &n_cuts), MD_FORMAT);
    assert_int_equal(split(marked_long, sizeof marked_long, &small, &n_small, &cuts, &n_cuts),
                     MD_FORMAT);
}

/* A body that is imported twice: its weights are scaled in place, once for each time round. */
static void test_loop(void **state)
{
    (void)state;
    static const int64_t image[] = {1, 2, 2, 2}, scalar[] = {1}, w_dims[] = {2, 2, 1, 1},
                         norm_dims[] = {2};
    static const float w[] = {1, 2, 3, 4}, scale[] = {2, 3}, shift[] = {1, -1}, mean[] = {0, 0},
                       variance[] = {1, 1};
    static const int64_t n_rounds = 2;
    static const uint8_t yes = 1;
    static builder b, body;
    builder_init(&b, 13);
    builder_init(&body, 13);
    builder_port(&body, false, "i", 7, 0, scalar);
    builder_port(&body, false, "go", 9, 0, scalar);
    builder_port(&body, false, "a", 1, 4, image);
    builder_port(&body, true, "go_on", 9, 0, scalar);
    builder_port(&body, true, "d", 1, 4, image);
    (void)builder_node(&body, "same", "Identity", (char[]){"go"}, (char[]){"go_on"});
    for (int i = 0; i < 5; i++) { /* weights as nodes, as a body has them */
        static const char *const names[] = {"w", "s", "t", "m", "v"};
        static char outputs[5][4];
        const float *const data[] = {w, scale, shift, mean, variance};
        memcpy(outputs[i], names[i], 2);
        Onnx__NodeProto *node =
            builder_node(&body, names[i], "Constant", (char[]){""}, outputs[i]);
        builder_attribute(&body, node, "value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR)
            ->t = builder_tensor(&body, "", 1, i == 0 ? 4 : 1, i == 0 ? w_dims : norm_dims,
                                 data[i], (i == 0 ? 4 : 2) * sizeof(float));
    }
    body.graph.n_initializer = 0;
    (void)builder_node(&body, "conv", "Conv", (char[]){"a w"}, (char[]){"c"});
    (void)builder_node(&body, "norm", "BatchNormalization", (char[]){"c s t m v"},
                       (char[]){"d"});
    builder_port(&b, false, "x", 1, 4, image);
    builder_port(&b, true, "y", 1, 4, image);
    (void)builder_tensor(&b, "n", 7, 0, scalar, &n_rounds, sizeof n_rounds);
    (void)builder_tensor(&b, "yes", 9, 0, scalar, &yes, sizeof yes);
    Onnx__NodeProto *loop =
        builder_node(&b, "loop", "Loop", (char[]){"n yes x"}, (char[]){"y"});
    builder_attribute(&b, loop, "body", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)->g =
        &body.graph;
    size_t n_bytes;
    uint8_t *bytes = builder_pack(&b, &n_bytes);
    md_error err = {0};
    md_network *network = NULL;
    const md_network_options options = {.backend = MD_BACKEND_OPENBLAS, .n_threads = 1};
    if (md_network_load(bytes, n_bytes, &options, &network, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    md_tensor in, out;
    assert_int_equal(md_tensor_init(&in, MD_F32, 4, image, &err), MD_OK);
    for (int i = 0; i < 8; i++) {
        ((float *)in.data)[i] = (float)i;
    }
    assert_int_equal(md_network_run(network, &in, 1, &out, 1, &err), MD_OK);
    for (int p = 0; p < 4; p++) {
        double a[2] = {p, p + 4};
        for (int round = 0; round < 2; round++) {
            const double c[2] = {a[0] + 2 * a[1], 3 * a[0] + 4 * a[1]};
            a[0] = 2 * c[0] / sqrt(1 + 1e-5) + 1;
            a[1] = 3 * c[1] / sqrt(1 + 1e-5) - 1;
        }
        assert_near(((float *)out.data)[p], a[0], 1e-2);
        assert_near(((float *)out.data)[4 + p], a[1], 1e-2);
    }
    md_tensor_finish(&in);
    md_network_destroy(network);
    free(bytes);
}

enum {
    GROUPS = 300
};

typedef struct round {
    atomic_int *n_run;
    atomic_int *of_group; /* how many jobs of the group have run */
    int nth;              /* in its group */
    bool fails;
} round_job;

static md_status run_round(void *data, md_error *err)
{
    round_job *job = data;
    (void)atomic_fetch_add(job->n_run, 1);
    if (atomic_fetch_add(job->of_group, 1) != job->nth) {
        return md_fail(err, MD_INTERNAL, "out of order");
    }
    return job->fails ? md_fail(err, MD_NOMEM, "wanted") : MD_OK;
}

static void run_work(unsigned n_threads, int failing, md_status wanted)
{
    static round_job jobs[GROUPS][3];
    static atomic_int n_run, of_group[GROUPS];
    md_work *work = NULL;
    md_error err = {0};
    atomic_store(&n_run, 0);
    assert_int_equal(md_work_create(n_threads, &work, &err), MD_OK);
    for (int i = 0; i < GROUPS; i++) {
        atomic_store(&of_group[i], 0);
        for (int j = 0; j < 3; j++) {
            jobs[i][j] = (round_job){&n_run, &of_group[i], j, i == failing && j == 1};
            assert_int_equal(md_work_add(work, run_round, &jobs[i][j], &err), MD_OK);
        }
        if (i + 1 < GROUPS) { /* finish ends the last */
            md_work_end_group(work);
        }
    }
    assert_int_equal(md_work_finish(work, &err), wanted);
    assert_int_equal(atomic_load(&n_run), 3 * GROUPS);
    if (wanted != MD_OK) {
        assert_string_equal(err.msg, "wanted");
    }
    md_work_destroy(work);
}

static void test_work(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= MD_WORK_MAX_THREADS + 1; n++) {
        run_work(n, -1, MD_OK);
        run_work(n, GROUPS / 2, MD_NOMEM);
    }
    md_work *work = NULL;
    assert_int_equal(md_work_create(2, &work, NULL), MD_OK);
    md_work_destroy(work); /* without a job */
    md_work_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large_weights), cmocka_unit_test(test_failing_memory),
        cmocka_unit_test(test_mark),          cmocka_unit_test(test_split),
        cmocka_unit_test(test_loop),          cmocka_unit_test(test_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
