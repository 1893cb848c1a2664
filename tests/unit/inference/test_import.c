/* What the importer makes of wrong and hostile models: a status, a message that names the
 * place, and no crash. The sanitizer build watches the rest. */

#include "inference/network.h"
#include "onnx_builder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "near.h"

static const md_network_options plain = {.backend = MD_BACKEND_OPENBLAS, .n_threads = 1};

static md_status load_bytes(const uint8_t *bytes, size_t n_bytes, md_error *err)
{
    md_network *network = NULL;
    md_status status = md_network_load(bytes, n_bytes, &plain, &network, err);
    assert_true((network != NULL) == (status == MD_OK));
    md_network_destroy(network);
    return status;
}

static md_status load(builder *b, md_error *err)
{
    size_t n_bytes;
    uint8_t *bytes = builder_pack(b, &n_bytes);
    md_status status = load_bytes(bytes, n_bytes, err);
    free(bytes);
    return status;
}

static void expect(builder *b, md_status status, const char *words)
{
    md_error err = {0};
    md_status got = load(b, &err);
    if (got != status || strstr(err.msg, words) == NULL) {
        fail_msg("got %s: '%s', expected %s: '...%s...'", md_status_name(got), err.msg,
                 md_status_name(status), words);
    }
}

static void test_runs(void **state)
{
    (void)state;
    builder b;
    builder_conv(&b);
    size_t n_bytes;
    uint8_t *bytes = builder_pack(&b, &n_bytes);
    md_network *network = NULL;
    md_error err = {0};
    assert_int_equal(md_network_load(bytes, n_bytes, &plain, &network, &err), MD_OK);
    free(bytes);
    assert_int_equal(md_network_n_inputs(network), 1);
    assert_int_equal(md_network_n_outputs(network), 1);
    assert_null(md_network_input(network, 1));
    assert_int_equal(md_network_find_output(network, "y"), 0);
    assert_int_equal(md_network_find_output(network, "c"), -1);
    float x[16];
    for (int i = 0; i < 16; i++) {
        x[i] = (float)i;
    }
    md_tensor in = {MD_F32, 4, {1, 1, 4, 4}, 16, x, false}, out;
    assert_int_equal(md_network_run(network, &in, 1, &out, 1, &err), MD_OK);
    /* by hand: 1*0 + 2*1 + 3*2 + 4*4 + ... + 9*10 = 303; one pixel on adds 1 + ... + 9 = 45 */
    const float expected[8] = {303.5F, 348.5F, 483.5F, 528.5F, 0, 0, 0, 0};
    for (int i = 0; i < 8; i++) {
        assert_near(((const float *)out.data)[i], expected[i], 1e-3);
    }
    in.dims[2] = 3;
    in.n_elements = 12;
    assert_int_equal(md_network_run(network, &in, 1, &out, 1, &err), MD_INVALID_ARG);
    assert_int_equal(md_network_run(network, &in, 0, &out, 1, &err), MD_INVALID_ARG);
    md_network_destroy(network);
}

static void test_truncated(void **state)
{
    (void)state;
    builder b;
    builder_conv(&b);
    size_t n_bytes;
    uint8_t *bytes = builder_pack(&b, &n_bytes);
    for (size_t n = 0; n < n_bytes; n++) {
        md_error err = {0};
        uint8_t *cut = malloc(n + 1); /* its own block, so that a read beyond is seen */
        assert_non_null(cut);
        memcpy(cut, bytes, n);
        md_status status = load_bytes(cut, n, &err);
        free(cut);
        assert_int_not_equal(status, MD_OK);
        assert_int_not_equal(status, MD_INTERNAL);
        assert_true(err.msg[0] != '\0' && strchr(err.msg, '\n') == NULL);
    }
    free(bytes);
}

/* Every byte of the model set to every of some values: any status, but no crash. */
static void test_flipped(void **state)
{
    (void)state;
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    builder b;
    builder_conv(&b);
    size_t n_bytes, n_ok = 0;
    uint8_t *bytes = builder_pack(&b, &n_bytes);
    for (size_t i = 0; i < n_bytes; i++) {
        const uint8_t kept = bytes[i];
        for (size_t j = 0; j < sizeof values; j++) {
            md_error err = {0};
            bytes[i] = values[j];
            n_ok += load_bytes(bytes, n_bytes, &err) == MD_OK ? 1 : 0;
        }
        bytes[i] = kept;
    }
    free(bytes);
    assert_true(n_ok > 0 && n_ok < n_bytes * sizeof values);
}

/* Nested messages inside a type: protobuf-c alone would recurse once for each. */
static void test_deep(void **state)
{
    (void)state;
    enum {
        DEPTH = 100000
    };
    /* from the inside: sequence_type (field 4) { elem_type (field 1) { ... } }, lengths grow */
    uint8_t *bytes = malloc(DEPTH * 6 + 64);
    assert_non_null(bytes);
    size_t end = DEPTH * 6 + 64, at = end;
    for (int i = 0; i < DEPTH; i++) {
        size_t length = end - at;
        uint8_t varint[5];
        int n = 0;
        do {
            varint[n++] = (uint8_t)((length & 0x7f) | (length > 0x7f ? 0x80 : 0));
            length >>= 7;
        } while (length > 0);
        at -= (size_t)n;
        memcpy(bytes + at, varint, (size_t)n);
        bytes[--at] = i % 2 == 0 ? 0x0a : 0x22;
    }
    /* the outermost is type (2) of an input (11) of the graph (7) */
    static const uint8_t tags[] = {0x12, 0x5a, 0x3a};
    for (int i = 0; i < 3; i++) {
        size_t length = end - at;
        uint8_t varint[5];
        int n = 0;
        do {
            varint[n++] = (uint8_t)((length & 0x7f) | (length > 0x7f ? 0x80 : 0));
            length >>= 7;
        } while (length > 0);
        at -= (size_t)n;
        memcpy(bytes + at, varint, (size_t)n);
        bytes[--at] = tags[i];
    }
    md_error err = {0};
    assert_int_equal(load_bytes(bytes + at, end - at, &err), MD_LIMIT);
    assert_non_null(strstr(err.msg, "nested"));
    free(bytes);
}

/* Two bytes for each of many empty nodes. */
static void test_many_messages(void **state)
{
    (void)state;
    enum {
        N = 3 << 20
    };
    uint8_t *bytes = malloc(N * 2 + 16);
    assert_non_null(bytes);
    size_t at = 0, length = N * 2;
    bytes[at++] = 0x3a; /* graph */
    for (; length > 0x7f; length >>= 7) {
        bytes[at++] = (uint8_t)(length | 0x80);
    }
    bytes[at++] = (uint8_t)length;
    for (int i = 0; i < N; i++) {
        bytes[at++] = 0x0a; /* node, of no bytes */
        bytes[at++] = 0;
    }
    md_error err = {0};
    assert_int_equal(load_bytes(bytes, at, &err), MD_LIMIT);
    free(bytes);
}

static void test_structure(void **state)
{
    (void)state;
    builder b;
    builder_conv(&b);
    b.node_inputs[0][0] = b.node_outputs[1][0]; /* conv1 reads y, which relu1 makes later */
    expect(&b, MD_FORMAT, "node 'conv1' (Conv, opset 13): input 'y' is not made before");
    builder_conv(&b);
    b.node_outputs[1][0] = b.node_outputs[0][0];
    expect(&b, MD_FORMAT, "tensor 'c' is defined twice");
    builder_conv(&b);
    b.tensors[1].name = b.tensors[0].name;
    expect(&b, MD_FORMAT, "initializer 'w': tensor 'w' is defined twice");
    builder_conv(&b);
    b.tensors[0].name = NULL;
    expect(&b, MD_FORMAT, "initializer 0 has no name");
    builder_conv(&b);
    b.infos[0].name = NULL;
    expect(&b, MD_FORMAT, "graph input 0 has no name");
    builder_conv(&b);
    b.infos[1].name = b.infos[0].name;
    b.infos[1].name = (char[]){"nowhere"};
    expect(&b, MD_FORMAT, "graph output 'nowhere' is not made");
    builder_conv(&b);
    b.graph.n_output = 0;
    expect(&b, MD_FORMAT, "no output");
    builder_conv(&b);
    b.model.graph = NULL;
    expect(&b, MD_FORMAT, "no graph");
    builder_conv(&b);
    b.nodes[0].n_input = 1;
    expect(&b, MD_FORMAT, "1 inputs, at least 2");
    builder_conv(&b);
    b.nodes[0].n_output = 0;
    expect(&b, MD_FORMAT, "no output");
    builder_conv(&b);
    b.node_inputs[0][1] = (char[]){""};
    expect(&b, MD_FORMAT, "input 1 is missing");
}

/* An operand that is left out of a list: once, Scan took it for a tensor. */
static void test_gap_in_a_list(void **state)
{
    (void)state;
    static const char *const operators[] = {"Concat", "Einsum", "Loop", "Max",
                                            "Mean",   "Scan",   "Sum"};
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        builder b;
        builder_conv(&b);
        Onnx__NodeProto *node = &b.nodes[0];
        char op_type[16];
        (void)snprintf(op_type, sizeof op_type, "%s", operators[i]);
        node->op_type = op_type;
        b.node_inputs[0][2] = (char[]){""};
        node->n_input = 3;
        expect(&b, MD_FORMAT, "input 2 is missing");
    }
}

static void test_opsets(void **state)
{
    (void)state;
    builder b;
    builder_conv(&b);
    b.opset.version = 22;
    expect(&b, MD_UNSUPPORTED, "opset 22");
    builder_conv(&b);
    b.opset.version = -1;
    expect(&b, MD_UNSUPPORTED, "opset -1");
    builder_conv(&b);
    b.opset.version = 5;
    expect(&b, MD_UNSUPPORTED, "node 'relu1' (Relu, opset 5): supported from opset 6 on");
    builder_conv(&b);
    b.model.n_opset_import = 0;
    expect(&b, MD_UNSUPPORTED, "names no opset");
}

static void test_unsupported(void **state)
{
    (void)state;
    builder b;
    builder_conv(&b);
    b.nodes[1].op_type = (char[]){"Rotate"};
    expect(&b, MD_UNSUPPORTED,
           "node 'relu1' (Rotate, opset 13): the operator is not supported");
    builder_conv(&b);
    b.nodes[1].domain = (char[]){"com.example"};
    expect(&b, MD_UNSUPPORTED, "operators of domain 'com.example'");
    builder_conv(&b);
    builder_int(&b, &b.nodes[0], "foo", 1);
    expect(&b, MD_UNSUPPORTED,
           "node 'conv1' (Conv, opset 13): attribute 'foo' is not supported");
    builder_conv(&b);
    Onnx__AttributeProto *attribute = builder_attribute(
        &b, &b.nodes[1], "body", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH);
    Onnx__GraphProto inner = ONNX__GRAPH_PROTO__INIT;
    attribute->g = &inner;
    expect(&b, MD_UNSUPPORTED,
           "node 'relu1' (Relu, opset 13): attribute 'body' is not supported");
    builder_conv(&b);
    attribute = builder_attribute(&b, &b.nodes[0], "auto_pad",
                                  ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    attribute->has_s = 1;
    attribute->s.data = (uint8_t[]){'N', 'O'};
    attribute->s.len = 2;
    expect(&b, MD_UNSUPPORTED, "attribute 'auto_pad' = 'NO'");
    builder_conv(&b);
    b.tensor_types[0].elem_type = 14;
    expect(&b, MD_UNSUPPORTED, "graph input 'image': element type 14");
    builder_conv(&b);
    b.dims[0][2].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE__NOT_SET;
    expect(&b, MD_UNSUPPORTED, "graph input 'image': dimension 2");
    builder_conv(&b);
    b.tensors[0].has_data_location = 1;
    b.tensors[0].data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    expect(&b, MD_UNSUPPORTED, "initializer 'w': external data");
}

static void test_attributes(void **state)
{
    (void)state;
    static const int64_t zero[] = {0, 1}, huge[] = {INT64_MAX, 1}, three[] = {1, 1, 1},
                         pads[] = {-1, 0, 0, 0}, big_pads[] = {INT64_MAX, 0, INT64_MAX, 0};
    static const struct {
        const char *name;
        const int64_t *values;
        size_t n;
        const char *words;
    } cases[] = {
        {"strides", zero, 2, "attribute 'strides' holds 0"},
        {"strides", huge, 2, "attribute 'strides' holds 9223372036854775807"},
        {"strides", three, 3, "attribute 'strides' has 3 values"},
        {"dilations", huge, 2, "attribute 'dilations'"},
        {"pads", pads, 4, "attribute 'pads' holds -1"},
        {"pads", big_pads, 4, "attribute 'pads'"},
        {"kernel_shape", three, 2, "kernel length 1"},
    };
    builder b;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        builder_conv(&b);
        builder_ints(&b, &b.nodes[0], cases[i].name, cases[i].values, cases[i].n);
        expect(&b, MD_FORMAT, cases[i].words);
    }
    builder_conv(&b);
    builder_int(&b, &b.nodes[0], "strides", 1);
    expect(&b, MD_FORMAT, "attribute 'strides' has type 2, not 7");
    builder_conv(&b);
    builder_int(&b, &b.nodes[0], "group", 1);
    builder_int(&b, &b.nodes[0], "group", 1);
    expect(&b, MD_FORMAT, "attribute 'group' is given twice");
    builder_conv(&b);
    builder_int(&b, &b.nodes[0], "group", 0);
    expect(&b, MD_FORMAT, "1 channels in 0 groups");
    static const int64_t ones[] = {1, 1, 1, 1};
    builder_conv(&b);
    builder_ints(&b, &b.nodes[0], "pads", ones, 4);
    Onnx__AttributeProto *attribute = builder_attribute(
        &b, &b.nodes[0], "auto_pad", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    attribute->has_s = 1;
    attribute->s.data = (uint8_t[]){'V', 'A', 'L', 'I', 'D'};
    attribute->s.len = 5;
    expect(&b, MD_FORMAT,
           "node 'conv1' (Conv, opset 13): attributes 'auto_pad' and 'pads' together");
    builder_conv(&b);
    b.nodes[1].op_type = (char[]){"Concat"};
    expect(&b, MD_FORMAT, "node 'relu1' (Concat, opset 13): attribute 'axis' is missing");
}

static void test_weights(void **state)
{
    (void)state;
    builder b;
    builder_conv(&b);
    b.tensors[0].raw_data.len -= 1;
    expect(&b, MD_FORMAT, "initializer 'w': raw_data has 71 bytes, its shape needs 72");
    builder_conv(&b);
    b.tensor_dims[0][0] = -2;
    expect(&b, MD_LIMIT, "initializer 'w': tensor too large: dimension 0 is -2");
    builder_conv(&b);
    for (int i = 0; i < 4; i++) {
        b.tensor_dims[0][i] = (int64_t)1 << 62;
    }
    expect(&b, MD_LIMIT, "initializer 'w': tensor too large");
    builder_conv(&b);
    b.tensors[0].n_dims = 9;
    expect(&b, MD_LIMIT, "initializer 'w': 9 dimensions");
    builder_conv(&b);
    float typed[18] = {0};
    b.tensors[0].n_float_data = 18;
    b.tensors[0].float_data = typed;
    expect(&b, MD_FORMAT, "raw_data and typed data at once");
    builder_conv(&b);
    b.tensors[0].has_raw_data = 0;
    b.tensors[0].n_float_data = 17;
    b.tensors[0].float_data = typed;
    expect(&b, MD_FORMAT, "17 elements, its shape needs 18");
    builder_conv(&b);
    int64_t wrong[18] = {0};
    b.tensors[0].has_raw_data = 0;
    b.tensors[0].n_int64_data = 18;
    b.tensors[0].int64_data = wrong;
    expect(&b, MD_FORMAT, "another type than float32");
    for (int i = 0; i < 2; i++) {
        const float bad[2] = {i == 0 ? NAN : INFINITY, 0.0F};
        builder_conv(&b);
        b.tensors[1].raw_data.data = (uint8_t *)(uintptr_t)bad;
        expect(&b, MD_FORMAT, "(Conv, opset 13): input 2 ('b') holds NaN or infinity");
    }
    builder_conv(&b);
    b.tensor_dims[1][0] = 1;
    b.tensors[1].raw_data.len = 4;
    expect(&b, MD_FORMAT, "bias of 1 elements for 2 channels");
    builder_conv(&b);
    b.dims[0][1].dim_value = 3;
    expect(&b, MD_FORMAT, "3 channels in 1 groups with weights of 2 x 1");
    builder_conv(&b);
    b.dims[0][2].dim_value = 2;
    expect(&b, MD_FORMAT, "a window of 3 does not fit a padded length of 2");
}

/* Shapes that overflow, or are only too large, without any byte behind them. */
static void test_shapes(void **state)
{
    (void)state;
    builder b;
    builder_conv(&b);
    for (int i = 0; i < 4; i++) {
        b.dims[0][i].dim_value = INT64_MAX;
    }
    expect(&b, MD_LIMIT, "graph input 'image'");
    builder_conv(&b);
    b.dims[0][2].dim_value = (int64_t)1 << 20;
    b.dims[0][3].dim_value = (int64_t)1 << 10; /* 2^30 floats: 4 GiB */
    expect(&b, MD_LIMIT, "at most 2147483648");
    builder_conv(&b);
    b.dims[0][2].dim_value = -4;
    expect(&b, MD_LIMIT, "dimension 2 is -4");
    /* an output shape from constants: Expand of one element to 2^62 */
    static const int64_t one[] = {1}, two[] = {2},
                         target[] = {(int64_t)1 << 31, (int64_t)1 << 31};
    char in[] = {"x shape"}, out[] = {"y"};
    builder_init(&b, 13);
    builder_port(&b, false, "x", 1, 1, one);
    builder_port(&b, true, "y", 1, 1, one);
    builder_tensor(&b, "shape", 7, 1, two, target, sizeof target);
    builder_node(&b, "e", "Expand", in, out);
    expect(&b, MD_LIMIT, "node 'e' (Expand, opset 13): output 0: tensor too large");
    /* 2^31 zeros made by ConstantOfShape */
    char shape_in[] = {"shape"}, shape_out[] = {"y"};
    builder_init(&b, 13);
    builder_port(&b, true, "y", 1, 1, one);
    builder_tensor(&b, "shape", 7, 1, one, target, 8);
    builder_node(&b, "c", "ConstantOfShape", shape_in, shape_out);
    expect(&b, MD_LIMIT, "node 'c' (ConstantOfShape, opset 13)");
}

/* A shape that only a run could tell. */
static void test_dynamic_shape(void **state)
{
    (void)state;
    static const int64_t x[] = {6}, two[] = {2}, y[] = {2, 3};
    char in[] = {"x shape"}, out[] = {"y"};
    builder b;
    builder_init(&b, 13);
    builder_port(&b, false, "x", 1, 1, x);
    builder_port(&b, false, "shape", 7, 1, two);
    builder_port(&b, true, "y", 1, 2, y);
    builder_node(&b, "r", "Reshape", in, out);
    expect(&b, MD_UNSUPPORTED, "input 1 ('shape') is not constant");
    /* bound at load time it is fine, of another type it is not */
    size_t n_bytes;
    uint8_t *bytes = builder_pack(&b, &n_bytes);
    int64_t target[] = {2, 3};
    md_tensor shape = {MD_I64, 1, {2}, 2, target, false};
    md_binding binding = {"shape", &shape};
    md_network_options options = plain;
    options.bindings = &binding;
    options.n_bindings = 1;
    md_network *network = NULL;
    md_error err = {0};
    assert_int_equal(md_network_load(bytes, n_bytes, &options, &network, &err), MD_OK);
    assert_int_equal(md_network_n_inputs(network), 1);
    assert_int_equal(md_network_output(network, 0)->n_dims, 2);
    assert_int_equal(md_network_output(network, 0)->dims[1], 3);
    md_network_destroy(network);
    network = NULL;
    shape.dtype = MD_F32;
    assert_int_equal(md_network_load(bytes, n_bytes, &options, &network, &err), MD_INVALID_ARG);
    binding.name = "other";
    shape.dtype = MD_I64;
    assert_int_not_equal(md_network_load(bytes, n_bytes, &options, &network, &err), MD_OK);
    free(bytes);
}

/* An index that is out of range shows in a run only. */
static void test_gather_range(void **state)
{
    (void)state;
    static const int64_t x[] = {3}, one[] = {1};
    char in[] = {"x i"}, out[] = {"y"};
    builder b;
    builder_init(&b, 13);
    builder_port(&b, false, "x", 1, 1, x);
    builder_port(&b, false, "i", 7, 1, one);
    builder_port(&b, true, "y", 1, 1, one);
    builder_node(&b, "g", "Gather", in, out);
    size_t n_bytes;
    uint8_t *bytes = builder_pack(&b, &n_bytes);
    md_network *network = NULL;
    md_error err = {0};
    assert_int_equal(md_network_load(bytes, n_bytes, &plain, &network, &err), MD_OK);
    free(bytes);
    float values[3] = {5, 6, 7};
    int64_t index = -1;
    md_tensor inputs[2] = {{MD_F32, 1, {3}, 3, values, false},
                           {MD_I64, 1, {1}, 1, &index, false}};
    md_tensor output;
    assert_int_equal(md_network_run(network, inputs, 2, &output, 1, &err), MD_OK);
    assert_near(*(const float *)output.data, 7, 0);
    index = 3;
    assert_int_equal(md_network_run(network, inputs, 2, &output, 1, &err), MD_FORMAT);
    assert_string_equal(err.msg, "node 'g' (Gather): index 3 not in 0..2");
    index = INT64_MIN;
    assert_int_equal(md_network_run(network, inputs, 2, &output, 1, &err), MD_FORMAT);
    md_network_destroy(network);
}

static void test_tensor(void **state)
{
    (void)state;
    static const int64_t good[] = {2, 3, 5}, negative[] = {2, -1},
                         large[] = {(int64_t)1 << 16, (int64_t)1 << 16},
                         overflow[] = {(int64_t)1 << 30, (int64_t)1 << 30, 16},
                         nine[] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, none[] = {4, 0};
    md_tensor t;
    md_error err = {0};
    assert_int_equal(md_tensor_init(&t, MD_I64, 3, good, &err), MD_OK);
    assert_int_equal(t.n_elements, 30);
    assert_int_equal((uintptr_t)t.data % 64, 0);
    ((int64_t *)t.data)[29] = 1;
    md_tensor_finish(&t);
    md_tensor_finish(&t);
    assert_int_equal(md_tensor_init(&t, MD_U8, 0, NULL, &err), MD_OK);
    assert_int_equal(t.n_elements, 1);
    md_tensor_finish(&t);
    assert_int_equal(md_tensor_init(&t, MD_F64, 2, none, &err), MD_OK);
    assert_int_equal(t.n_elements, 0);
    md_tensor_finish(&t);
    assert_int_equal(md_tensor_init(&t, MD_F32, 2, negative, &err), MD_LIMIT);
    assert_int_equal(md_tensor_init(&t, MD_F32, 2, large, &err), MD_LIMIT);
    assert_int_equal(md_tensor_init(&t, MD_F32, 3, overflow, &err), MD_LIMIT);
    assert_int_equal(md_tensor_init(&t, MD_F32, 9, nine, &err), MD_LIMIT);
    assert_int_equal(md_tensor_init(&t, (md_dtype)99, 1, good, &err), MD_INVALID_ARG);
    assert_string_equal(md_dtype_name(MD_BOOL), "bool");
    assert_string_equal(md_dtype_name((md_dtype)99), "unknown");
    md_memory_fail_at(1);
    assert_int_equal(md_tensor_init(&t, MD_F32, 3, good, &err), MD_NOMEM);
    md_memory_fail_at(0);
}

static void test_options(void **state)
{
    (void)state;
    builder b;
    builder_conv(&b);
    b.dims[0][0].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    b.dims[0][0].dim_param = (char[]){"N"};
    size_t n_bytes;
    uint8_t *bytes = builder_pack(&b, &n_bytes);
    md_network *network = NULL;
    md_error err = {0};
    md_network_options options = plain;
    options.batch = 3;
    assert_int_equal(md_network_load(bytes, n_bytes, &options, &network, &err), MD_OK);
    assert_int_equal(md_network_input(network, 0)->dims[0], 3);
    assert_int_equal(md_network_output(network, 0)->dims[0], 3);
    assert_string_equal(md_network_backend_name(network), "openblas");
    md_network_destroy(network);
    network = NULL;
    options.batch = -1;
    assert_int_equal(md_network_load(bytes, n_bytes, &options, &network, &err), MD_INVALID_ARG);
    options.batch = 1;
    options.extra_outputs[0] = "nothing";
    options.n_extra_outputs = 1;
    assert_int_equal(md_network_load(bytes, n_bytes, &options, &network, &err), MD_NOT_FOUND);
    assert_non_null(strstr(err.msg, "nothing"));
    options.n_extra_outputs = 9;
    assert_int_equal(md_network_load(bytes, n_bytes, &options, &network, &err), MD_INVALID_ARG);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs),          cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_flipped),       cmocka_unit_test(test_deep),
        cmocka_unit_test(test_many_messages), cmocka_unit_test(test_structure),
        cmocka_unit_test(test_opsets),        cmocka_unit_test(test_unsupported),
        cmocka_unit_test(test_attributes),    cmocka_unit_test(test_weights),
        cmocka_unit_test(test_shapes),        cmocka_unit_test(test_dynamic_shape),
        cmocka_unit_test(test_gather_range),  cmocka_unit_test(test_options),
        cmocka_unit_test(test_tensor),        cmocka_unit_test(test_gap_in_a_list),
    };
    return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
