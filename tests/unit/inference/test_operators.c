/* Operators whose result or refusal hangs on more than their operands' shapes: data that decide
 * a shape, inner graphs, 16-bit floats, indices. What they compute is checked in
 * tests/conformance/onnx. */

#include "inference/network.h"
#include "onnx_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const md_network_options plain = {.backend = MD_BACKEND_OPENBLAS, .n_threads = 1};

static md_status load(builder *b, md_network **ret_network, md_error *err)
{
    size_t n_bytes;
    uint8_t *bytes = builder_pack(b, &n_bytes);
    *ret_network = NULL;
    md_status status = md_network_load(bytes, n_bytes, &plain, ret_network, err);
    free(bytes);
    return status;
}

static void expect(builder *b, md_status status, const char *words)
{
    md_error err = {0};
    md_network *network;
    md_status got = load(b, &network, &err);
    md_network_destroy(network);
    if (got != status || strstr(err.msg, words) == NULL) {
        fail_msg("got %s: '%s', expected %s: '...%s...'", md_status_name(got), err.msg,
                 md_status_name(status), words);
    }
}

/* NonZero of x [4]; each run has its own number of columns. */
static void test_open_shape(void **state)
{
    (void)state;
    static const int64_t four[] = {4}, two[] = {1, 4};
    char in[] = {"x"}, out[] = {"y"}, again[] = {"y"}, z[] = {"z"};
    builder b;
    builder_init(&b, 13);
    builder_port(&b, false, "x", 1, 1, four);
    builder_port(&b, true, "y", 7, 2, two);
    builder_node(&b, "n", "NonZero", in, out);
    md_network *network;
    md_error err = {0};
    assert_int_equal(load(&b, &network, &err), MD_OK);
    assert_int_equal(md_network_output(network, 0)->dims[0], 1);
    assert_int_equal(md_network_output(network, 0)->dims[1], -1);
    float values[4] = {0, 3, 0, -1};
    md_tensor x = {MD_F32, 1, {4}, 4, values, false}, y;
    assert_int_equal(md_network_run(network, &x, 1, &y, 1, &err), MD_OK);
    assert_int_equal(y.dims[1], 2);
    assert_int_equal(y.n_elements, 2);
    assert_int_equal(((const int64_t *)y.data)[1], 3);
    memset(values, 0, sizeof values);
    assert_int_equal(md_network_run(network, &x, 1, &y, 1, &err), MD_OK);
    assert_int_equal(y.dims[1], 0);
    values[0] = values[1] = values[2] = values[3] = 1;
    assert_int_equal(md_network_run(network, &x, 1, &y, 1, &err), MD_OK);
    assert_int_equal(y.n_elements, 4);
    md_network_destroy(network);
    /* nothing in the plan can read it */
    builder_node(&b, "c", "Neg", again, z);
    expect(&b, MD_UNSUPPORTED, "node 'c' (Neg, opset 13): the shape of its input 'y' depends");
}

static void test_types(void **state)
{
    (void)state;
    static const int64_t four[] = {4};
    char in[] = {"x"}, out[] = {"y"};
    builder b;
    builder_init(&b, 13);
    builder_port(&b, false, "x", 10, 1, four);
    builder_port(&b, true, "y", 10, 1, four);
    builder_node(&b, "r", "Reciprocal", in, out);
    md_network *network;
    md_error err = {0};
    assert_int_equal(load(&b, &network, &err), MD_OK);
    assert_int_equal(md_network_output(network, 0)->dtype, MD_F16);
    /* 3, the smallest and the largest number, -0; 1/3 is rounded to the nearest float16 */
    uint16_t values[4] = {0x4200, 0x0001, 0x7bff, 0x8000};
    static const uint16_t inverse[4] = {0x3555, 0x7c00, 0x0100, 0xfc00};
    md_tensor x = {MD_F16, 1, {4}, 4, values, false}, y;
    assert_int_equal(md_network_run(network, &x, 1, &y, 1, &err), MD_OK);
    assert_memory_equal(y.data, inverse, sizeof inverse);
    md_network_destroy(network);
    b.tensor_types[0].elem_type = 7;
    expect(&b, MD_UNSUPPORTED,
           "node 'r' (Reciprocal, opset 13): input 0 is int64, supported: float32 float64");
}

/* y = x doubled n times by a Loop; the condition that the body gives is `goes_on`. */
static void build_loop(builder *b, builder *body, const int64_t *n, const uint8_t *goes_on)
{
    static const int64_t one[] = {1};
    static char in[8], out[4], add[8], sum[4], same[4], cond[4];
    (void)snprintf(in, sizeof in, "n - x");
    (void)snprintf(out, sizeof out, "y");
    (void)snprintf(add, sizeof add, "v v");
    (void)snprintf(sum, sizeof sum, "w");
    (void)snprintf(same, sizeof same, "on");
    (void)snprintf(cond, sizeof cond, "c");
    builder_init(body, 13);
    builder_port(body, false, "i", 7, 0, NULL);
    builder_port(body, false, "go", 9, 0, NULL);
    builder_port(body, false, "v", 1, 1, one);
    builder_tensor(body, "on", 9, 0, NULL, goes_on, 1);
    builder_node(body, "id", "Identity", same, cond);
    builder_node(body, "add", "Add", add, sum);
    builder_port(body, true, "c", 9, 0, NULL);
    builder_port(body, true, "w", 1, 1, one);
    builder_init(b, 13);
    builder_port(b, false, "x", 1, 1, one);
    builder_tensor(b, "n", 7, 0, NULL, n, sizeof *n);
    builder_port(b, true, "y", 1, 1, one);
    Onnx__NodeProto *loop = builder_node(b, "loop", "Loop", in, out);
    builder_attribute(b, loop, "body", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)->g =
        &body->graph;
}

static float run_loop(int64_t n, uint8_t goes_on)
{
    builder b, body;
    build_loop(&b, &body, &n, &goes_on);
    md_network *network;
    md_error err = {0};
    assert_int_equal(load(&b, &network, &err), MD_OK);
    float value = 1;
    md_tensor x = {MD_F32, 1, {1}, 1, &value, false}, y;
    assert_int_equal(md_network_run(network, &x, 1, &y, 1, &err), MD_OK);
    value = *(const float *)y.data;
    md_network_destroy(network);
    return value;
}

static void test_loop(void **state)
{
    (void)state;
    assert_true(run_loop(0, 1) == 1.0F);
    assert_true(run_loop(3, 1) == 8.0F);
    assert_true(run_loop(100, 0) == 2.0F); /* the condition ends it after one turn */
    builder b, body;
    const int64_t endless = INT64_MAX;
    const uint8_t on = 1;
    build_loop(&b, &body, &endless, &on);
    expect(&b, MD_LIMIT, "node 'loop' (Loop, opset 13): more than 1024 turns");
    /* a body that gives something else than it is asked for */
    build_loop(&b, &body, &endless, &on);
    body.graph.n_output = 1;
    expect(&b, MD_FORMAT, "its graph has 3 inputs and 1 outputs, not 3 and 2");
    /* a name of the body is none of the graph around it */
    build_loop(&b, &body, &(int64_t){1}, &on);
    b.output_list[0]->name = (char[]){"w"};
    expect(&b, MD_FORMAT, "graph output 'w' is not made");
    /* a condition that only a run tells */
    build_loop(&b, &body, &endless, &on);
    body.node_inputs[0][0] = (char[]){"v"};
    expect(&b, MD_UNSUPPORTED, "the condition is not known at load time");
}

/* Every allocation of a load may fail: an error, and nothing is left behind. */
static void test_no_memory(void **state)
{
    (void)state;
    builder b, body;
    const int64_t n = 5;
    const uint8_t on = 1;
    build_loop(&b, &body, &n, &on);
    md_status status = MD_NOMEM;
    for (size_t i = 1; status != MD_OK; i++) {
        md_error err = {0};
        md_network *network;
        md_memory_fail_at(i);
        status = load(&b, &network, &err);
        md_memory_fail_at(0);
        md_network_destroy(network);
        assert_true(status == MD_OK || status == MD_NOMEM);
        assert_true(i < 1000);
    }
}

static void test_if(void **state)
{
    (void)state;
    static const int64_t one[] = {1};
    char out[] = {"y"}, cond[] = {"c"}, neg_in[] = {"x"}, neg_out[] = {"z"};
    builder b, branch;
    builder_init(&branch, 13);
    builder_node(&branch, "neg", "Neg", neg_in, neg_out); /* x is of the graph around it */
    builder_port(&branch, true, "z", 1, 1, one);
    builder_init(&b, 13);
    builder_port(&b, false, "x", 1, 1, one);
    builder_port(&b, false, "c", 9, 1, one);
    builder_port(&b, true, "y", 1, 1, one);
    Onnx__NodeProto *node = builder_node(&b, "if", "If", cond, out);
    builder_attribute(&b, node, "then_branch", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)
        ->g = &branch.graph;
    expect(&b, MD_FORMAT, "attribute 'else_branch' is missing");
    builder_attribute(&b, node, "else_branch", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)
        ->g = &branch.graph;
    expect(&b, MD_UNSUPPORTED, "the condition is not known at load time");
    b.graph.n_input = 1;
    builder_tensor(&b, "c", 9, 1, one, &(uint8_t){1}, 1);
    md_network *network;
    md_error err = {0};
    assert_int_equal(load(&b, &network, &err), MD_OK);
    float value = 3;
    md_tensor x = {MD_F32, 1, {1}, 1, &value, false}, y;
    assert_int_equal(md_network_run(network, &x, 1, &y, 1, &err), MD_OK);
    assert_true(*(const float *)y.data == -3.0F);
    md_network_destroy(network);
}

/* Wrong equations end with a message, whatever is wrong with them. */
static void test_einsum(void **state)
{
    (void)state;
    static const int64_t dims[] = {2, 3};
    static const char *const wrong[] = {
        "ij",     "ij,jk,kl",    "ij->ik",   "ij,ij->ijj", "",      "ij,ij->", "i.j,ij",
        "ij,,ij", "ij,ij->ij->", "ij,ij-ij", "...ijk,ij",  "ij,jj", "i1,ij",   "->"};
    char in[] = {"x x"}, out[] = {"y"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        builder b;
        builder_init(&b, 13);
        builder_port(&b, false, "x", 1, 2, dims);
        builder_port(&b, true, "y", 1, 2, dims);
        char operands[sizeof in], result[sizeof out];
        memcpy(operands, in, sizeof in);
        memcpy(result, out, sizeof out);
        Onnx__NodeProto *node = builder_node(&b, "e", "Einsum", operands, result);
        Onnx__AttributeProto *a = builder_attribute(
            &b, node, "equation", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
        char text[16];
        (void)snprintf(text, sizeof text, "%s", wrong[i]);
        a->has_s = 1;
        a->s.data = (uint8_t *)text;
        a->s.len = strlen(text);
        if (strcmp(text, "ij,ij->") == 0) { /* the one that is right */
            md_network *network;
            assert_int_equal(load(&b, &network, NULL), MD_OK);
            assert_int_equal(md_network_output(network, 0)->n_dims, 0);
            md_network_destroy(network);
        } else {
            expect(&b, MD_FORMAT, "node 'e' (Einsum, opset 13)");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_shape), cmocka_unit_test(test_types),
        cmocka_unit_test(test_loop),       cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_if),         cmocka_unit_test(test_einsum),
    };
    return cmocka_run_group_tests_name("operators", tests, NULL, NULL);
}
