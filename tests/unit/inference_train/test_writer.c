/* ONNX bytes: what is written is read back by the engine, and weights are replaced in place. */

#include "inference/graph/writer.h"
#include "inference/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* y = Relu(x [N,2] W' + b), W [3,2] */
static md_status write_small(uint8_t **ret_bytes, size_t *ret_size, md_error *err)
{
    MD_AUTO(md_writer_destroyp) md_writer *w = NULL;
    MD_TRY(md_writer_create("small", &w, err));
    md_writer_input(w, "x", 2, (const int64_t[]){-1, 2});
    float *weight = md_writer_weights(w, "w", 2, (const int64_t[]){3, 2});
    float *bias = md_writer_weights(w, "b", 1, (const int64_t[]){3});
    for (int i = 0; i < 6 && weight != NULL; i++) {
        weight[i] = (float)i;
    }
    if (bias != NULL) {
        bias[2] = -100.0F;
    }
    md_writer_node(w, "Gemm", "x w b", "z");
    md_writer_attribute_int(w, "transB", 1);
    md_writer_attribute_float(w, "alpha", 2.0F);
    md_writer_integers(w, "shape", (const int64_t[]){-1, 3}, 2);
    md_writer_node(w, "Relu", "z", "r");
    md_writer_node(w, "Reshape", "r shape", "y");
    md_writer_output(w, "y", 2, (const int64_t[]){-1, 3});
    return md_writer_finish(w, ret_bytes, ret_size, err);
}

static void run_small(const uint8_t *bytes, size_t size_bytes, float ret[3])
{
    md_error err = {0};
    MD_AUTO(md_network_destroyp) md_network *network = NULL;
    const md_network_options options = {.backend = MD_BACKEND_OPENBLAS};
    if (md_network_load(bytes, size_bytes, &options, &network, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    float x[2] = {1.0F, 10.0F};
    md_tensor in, out;
    assert_int_equal(md_tensor_shape(&in, MD_F32, 2, (const int64_t[]){1, 2}, &err), MD_OK);
    in.data = x;
    assert_int_equal(md_network_run(network, &in, 1, &out, 1, &err), MD_OK);
    assert_int_equal(out.n_elements, 3);
    memcpy(ret, out.data, 3 * sizeof(float));
}

static void test_what_is_written_runs(void **state)
{
    (void)state;
    md_error err = {0};
    MD_AUTO(md_freep) uint8_t *bytes = NULL, *again = NULL;
    size_t size = 0, size_again = 0;
    assert_int_equal(write_small(&bytes, &size, &err), MD_OK);
    assert_int_equal(write_small(&again, &size_again, &err), MD_OK);
    assert_int_equal(size, size_again);
    assert_memory_equal(bytes, again, size);
    float y[3];
    run_small(bytes, size, y);
    const float wanted[3] = {20.0F, 64.0F, 8.0F}; /* 2 (4 + 50) - 100 */
    assert_memory_equal(y, wanted, sizeof y);
}

static void test_weights_are_replaced(void **state)
{
    (void)state;
    md_error err = {0};
    MD_AUTO(md_freep) uint8_t *bytes = NULL, *other = NULL, *back = NULL;
    size_t size = 0, size_other = 0, size_back = 0;
    assert_int_equal(write_small(&bytes, &size, &err), MD_OK);
    const float bias[3] = {1.0F, 2.0F, 3.0F}, old[3] = {0.0F, 0.0F, -100.0F};
    const md_onnx_weights weights = {"b", 3, bias}, before = {"b", 3, old};
    assert_int_equal(md_onnx_replace(bytes, size, &weights, 1, &other, &size_other, &err),
                     MD_OK);
    float y[3];
    run_small(other, size_other, y);
    const float wanted[3] = {21.0F, 66.0F, 111.0F};
    assert_memory_equal(y, wanted, sizeof y);
    /* and back to the very same bytes; also when it is named twice */
    const md_onnx_weights twice[2] = {before, before};
    assert_int_equal(md_onnx_replace(other, size_other, twice, 2, &back, &size_back, &err),
                     MD_OK);
    assert_int_equal(size_back, size);
    assert_memory_equal(back, bytes, size);
}

static void test_replacing_says_what_is_wrong(void **state)
{
    (void)state;
    md_error err = {0};
    MD_AUTO(md_freep) uint8_t *bytes = NULL, *out = NULL;
    size_t size = 0, size_out = 0;
    assert_int_equal(write_small(&bytes, &size, &err), MD_OK);
    const float values[4] = {0};
    static const struct {
        md_onnx_weights weights;
        md_status status;
        const char *text;
    } rows[] = {
        {{"nobody", 3, NULL}, MD_NOT_FOUND, "no initializer 'nobody'"},
        {{"b", 4, NULL}, MD_INVALID_ARG, "initializer 'b' is not float32 with 4"},
        {{"shape", 2, NULL}, MD_INVALID_ARG, "initializer 'shape' is not float32"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_onnx_weights weights = rows[i].weights;
        weights.values = values;
        assert_int_equal(md_onnx_replace(bytes, size, &weights, 1, &out, &size_out, &err),
                         rows[i].status);
        assert_non_null(strstr(err.msg, rows[i].text));
        assert_null(out);
    }
    assert_int_equal(md_onnx_replace(bytes, size / 2, NULL, 0, &out, &size_out, &err),
                     MD_FORMAT);
    assert_int_equal(md_onnx_replace(bytes, 0, NULL, 0, &out, &size_out, &err), MD_FORMAT);
}

static void test_first_error_stays(void **state)
{
    (void)state;
    md_error err = {0};
    MD_AUTO(md_writer_destroyp) md_writer *w = NULL;
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_int_equal(md_writer_create("g", &w, &err), MD_OK);
    assert_null(md_writer_weights(w, "w", 2, (const int64_t[]){3, 0}));
    assert_null(md_writer_weights(w, "v", 2, (const int64_t[]){1 << 20, 1 << 20}));
    md_writer_node(w, "Relu", "x", "y");
    md_writer_attribute_int(w, "a", 1);
    md_writer_fail(w, MD_INTERNAL, "later");
    assert_int_equal(md_writer_finish(w, &bytes, &size, &err), MD_INVALID_ARG);
    assert_string_equal(err.msg, "a weight with a dimension below 1");
    md_writer_destroy(MD_STEAL(w));
    assert_int_equal(md_writer_create("g", &w, &err), MD_OK);
    assert_null(md_writer_weights(w, "v", 2, (const int64_t[]){1 << 20, 1 << 20}));
    assert_int_equal(md_writer_finish(w, &bytes, &size, &err), MD_LIMIT);
}

static void test_lack_of_memory(void **state)
{
    (void)state;
    md_error err = {0};
    MD_AUTO(md_freep) uint8_t *bytes = NULL, *other = NULL;
    size_t size = 0;
    md_status status = MD_NOMEM;
    for (size_t n = 1; status == MD_NOMEM; n++) {
        md_memory_fail_at(n);
        status = write_small(&bytes, &size, &err);
    }
    md_memory_fail_at(0);
    assert_int_equal(status, MD_OK);
    const float bias[3] = {0};
    const md_onnx_weights weights = {"b", 3, bias};
    size_t n = 0, size_other = 0;
    do {
        md_memory_fail_at(++n);
        status = md_onnx_replace(bytes, size, &weights, 1, &other, &size_other, &err);
    } while (status == MD_NOMEM);
    md_memory_fail_at(0);
    assert_int_equal(status, MD_OK);
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_runs),
        cmocka_unit_test(test_weights_are_replaced),
        cmocka_unit_test(test_replacing_says_what_is_wrong),
        cmocka_unit_test(test_first_error_stays),
        cmocka_unit_test(test_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
