/* The ONNX project's own cases on one back end: loads model.onnx, feeds input_*.pb, compares
 * output_*.pb.
 *
 *   run_onnx BACKEND DATA_FOLDER
 *
 * A case passes, is refused (MD_UNSUPPORTED from the load, with the reason), or fails. Cases of
 * node/ feed as run-time inputs what decides shapes (Reshape's target, Slice's starts): when a
 * case is refused as it is, all its inputs but the first are bound at load time and it is tried
 * again. Prints TAP: one test for each group (nothing failed, at least `floor` passed) and one
 * for each required operator (none of its cases was refused). */

#include "inference/network.h"

#include "base/file.h"
#include "onnx.pb-c.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_TENSORS = 16,
    PATH_BYTES = 1024
};

typedef struct tensor_file {
    md_tensor tensor;
    char name[256];
} tensor_file;

typedef enum outcome {
    PASSED,
    REFUSED,
    FAILED
} outcome;

typedef struct group {
    const char *name;
    unsigned floor; /* least number of passed cases */
    unsigned n[3];
    unsigned n_bound; /* of the passed, those with inputs bound at load time */
} group;

static const char *const verbose_name = "MEDAID_CONFORMANCE_VERBOSE";

static md_status dtype_of(int32_t type, md_dtype *ret, md_error *err)
{
    static const struct {
        int32_t onnx;
        md_dtype ours;
    } map[] = {{1, MD_F32}, {2, MD_U8},   {3, MD_I8},  {6, MD_I32},
               {7, MD_I64}, {9, MD_BOOL}, {11, MD_F64}};
    for (size_t i = 0; i < sizeof map / sizeof *map; i++) {
        if (map[i].onnx == type) {
            *ret = map[i].ours;
            return MD_OK;
        }
    }
    return md_fail(err, MD_UNSUPPORTED, "a test tensor of ONNX type %d", type);
}

static void copy_typed(const Onnx__TensorProto *proto, md_tensor *tensor)
{
    const size_t n = tensor->n_elements;
    if (n == 0) {
        return;
    }
    if (proto->n_float_data == n && tensor->dtype == MD_F32) {
        memcpy(tensor->data, proto->float_data, n * sizeof(float));
    } else if (proto->n_double_data == n && tensor->dtype == MD_F64) {
        memcpy(tensor->data, proto->double_data, n * sizeof(double));
    } else if (proto->n_int64_data == n && tensor->dtype == MD_I64) {
        memcpy(tensor->data, proto->int64_data, n * sizeof(int64_t));
    } else if (proto->n_int32_data == n) {
        for (size_t i = 0; i < n; i++) {
            if (tensor->dtype == MD_I32) {
                ((int32_t *)tensor->data)[i] = proto->int32_data[i];
            } else {
                ((uint8_t *)tensor->data)[i] = (uint8_t)proto->int32_data[i];
            }
        }
    }
}

/* Not the importer's own reader: a mistake there must not hide itself. */
static md_status read_tensor(const char *path, tensor_file *ret, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t n_bytes;
    MD_TRY(md_file_read(path, (size_t)1 << 28, &bytes, &n_bytes, err));
    Onnx__TensorProto *proto = onnx__tensor_proto__unpack(NULL, n_bytes, bytes);
    if (proto == NULL) {
        return md_fail(err, MD_UNSUPPORTED, "not a TensorProto (a sequence or optional)");
    }
    md_dtype dtype = MD_F32;
    md_status status = dtype_of(proto->data_type, &dtype, err);
    if (status == MD_OK) {
        status = md_tensor_init(&ret->tensor, dtype, (unsigned)proto->n_dims, proto->dims, err);
    }
    if (status == MD_OK) {
        (void)snprintf(ret->name, sizeof ret->name, "%s",
                       proto->name == NULL ? "" : proto->name);
        const size_t n = ret->tensor.n_elements * md_dtype_bytes(dtype);
        if (proto->has_raw_data && proto->raw_data.len == n && n > 0) {
            memcpy(ret->tensor.data, proto->raw_data.data, n);
        } else {
            copy_typed(proto, &ret->tensor);
        }
    }
    onnx__tensor_proto__free_unpacked(proto, NULL);
    return status;
}

static md_status read_tensors(const char *folder, const char *kind, tensor_file *list,
                              unsigned *ret_n, md_error *err)
{
    unsigned n = 0;
    for (; n < MAX_TENSORS; n++) {
        char path[2 * PATH_BYTES];
        (void)snprintf(path, sizeof path, "%s/test_data_set_0/%s_%u.pb", folder, kind, n);
        md_error inner = {0};
        md_status status = read_tensor(path, &list[n], &inner);
        if (status == MD_NOT_FOUND) {
            break;
        }
        if (status != MD_OK) {
            *ret_n = n;
            return md_fail(err, status, "%s_%u: %s", kind, n, inner.msg);
        }
    }
    *ret_n = n;
    return MD_OK;
}

static double element(const md_tensor *t, size_t i)
{
    switch (t->dtype) {
    case MD_F32:
        return (double)((const float *)t->data)[i];
    case MD_F64:
        return ((const double *)t->data)[i];
    case MD_I64:
        return (double)((const int64_t *)t->data)[i];
    case MD_I32:
        return ((const int32_t *)t->data)[i];
    case MD_I8:
        return ((const int8_t *)t->data)[i];
    case MD_U8:
    case MD_BOOL:
        return ((const uint8_t *)t->data)[i];
    }
    return (double)NAN;
}

/* The tolerance of ONNX's own backend tests: 1e-3 relative, 1e-7 absolute; and 1e-6 here for
 * sums in another order. */
static bool equal(const md_tensor *made, const md_tensor *expected, char *reason, size_t n)
{
    bool same = made->dtype == expected->dtype && made->n_dims == expected->n_dims;
    for (unsigned i = 0; same && i < made->n_dims; i++) {
        same = made->dims[i] == expected->dims[i];
    }
    if (!same) {
        (void)snprintf(reason, n, "another shape or type");
        return false;
    }
    for (size_t i = 0; i < made->n_elements; i++) {
        const double a = element(made, i), b = element(expected, i);
        if (a == b || (isnan(a) && isnan(b))) {
            continue;
        }
        if (!(fabs(a - b) <= 1e-6 + 1e-3 * fabs(b))) {
            (void)snprintf(reason, n, "element %zu is %g, expected %g", i, a, b);
            return false;
        }
    }
    return true;
}

typedef struct test_case {
    tensor_file inputs[MAX_TENSORS], outputs[MAX_TENSORS];
    unsigned n_inputs, n_outputs;
    uint8_t *onnx;
    size_t onnx_bytes;
    md_backend backend;
    char reason[512];
} test_case;

/* The names of the graph's inputs in order; the tensor files often have none. */
static void name_inputs(test_case *c)
{
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, c->onnx_bytes, c->onnx);
    for (unsigned i = 0; model != NULL && i < c->n_inputs; i++) {
        if (model->graph != NULL && i < model->graph->n_input) {
            (void)snprintf(c->inputs[i].name, sizeof c->inputs[i].name, "%s",
                           model->graph->input[i]->name);
        }
    }
    if (model != NULL) {
        onnx__model_proto__free_unpacked(model, NULL);
    }
}

static outcome compare(test_case *c, md_network *network, unsigned n_given)
{
    md_error err = {0};
    md_tensor in[MAX_TENSORS], out[MAX_TENSORS];
    const unsigned n_out = md_network_n_outputs(network);
    if (n_out != c->n_outputs) {
        (void)snprintf(c->reason, sizeof c->reason, "%u outputs, expected %u", n_out,
                       c->n_outputs);
        return FAILED;
    }
    for (unsigned i = 0; i < n_given; i++) {
        in[i] = c->inputs[i].tensor;
    }
    for (unsigned round = 0; round < 2; round++) { /* a second run must not see the first */
        if (md_network_run(network, in, n_given, out, n_out, &err) != MD_OK) {
            (void)snprintf(c->reason, sizeof c->reason, "run: %s", err.msg);
            return FAILED;
        }
        for (unsigned i = 0; i < n_out; i++) {
            if (!equal(&out[i], &c->outputs[i].tensor, c->reason, sizeof c->reason)) {
                return FAILED;
            }
        }
    }
    return PASSED;
}

static outcome run_network(test_case *c, unsigned n_given)
{
    md_error err = {0};
    md_network *network = NULL;
    md_binding bindings[MAX_TENSORS];
    md_network_options options = {.backend = c->backend, .n_threads = 2};
    for (unsigned i = n_given; i < c->n_inputs; i++) {
        bindings[i - n_given] = (md_binding){c->inputs[i].name, &c->inputs[i].tensor};
    }
    options.bindings = bindings;
    options.n_bindings = c->n_inputs - n_given;
    md_status status = md_network_load(c->onnx, c->onnx_bytes, &options, &network, &err);
    if (status != MD_OK) {
        (void)snprintf(c->reason, sizeof c->reason, "%s: %s", md_status_name(status), err.msg);
        return status == MD_UNSUPPORTED ? REFUSED : FAILED;
    }
    outcome result = compare(c, network, n_given);
    md_network_destroy(network);
    return result;
}

static outcome run_case(test_case *c, const char *folder, bool *ret_bound)
{
    char path[2 * PATH_BYTES];
    md_error err = {0};
    *ret_bound = false;
    (void)snprintf(path, sizeof path, "%s/model.onnx", folder);
    if (md_file_read(path, (size_t)1 << 28, &c->onnx, &c->onnx_bytes, &err) != MD_OK) {
        (void)snprintf(c->reason, sizeof c->reason, "%s", err.msg);
        return FAILED;
    }
    md_status status = read_tensors(folder, "input", c->inputs, &c->n_inputs, &err);
    if (status == MD_OK) {
        status = read_tensors(folder, "output", c->outputs, &c->n_outputs, &err);
    }
    if (status != MD_OK) {
        /* types that a network cannot have here either: the load has to refuse it too */
        md_network *network = NULL;
        const md_network_options options = {.backend = c->backend};
        md_error load = {0};
        md_status loaded = md_network_load(c->onnx, c->onnx_bytes, &options, &network, &load);
        md_network_destroy(network);
        (void)snprintf(c->reason, sizeof c->reason, "%s", loaded == MD_OK ? err.msg : load.msg);
        return loaded == MD_UNSUPPORTED ? REFUSED : FAILED;
    }
    name_inputs(c);
    outcome result = run_network(c, c->n_inputs);
    if (result == REFUSED && c->n_inputs > 1) {
        result = run_network(c, 1);
        *ret_bound = result == PASSED;
    }
    if (result == REFUSED && c->n_inputs == 1) {
        result = run_network(c, 0); /* ConstantOfShape: the only input is a shape */
        *ret_bound = result == PASSED;
    }
    return result;
}

static void finish_case(test_case *c)
{
    for (unsigned i = 0; i < MAX_TENSORS; i++) {
        md_tensor_finish(&c->inputs[i].tensor);
        md_tensor_finish(&c->outputs[i].tensor);
    }
    md_free(c->onnx);
}

/* The operators that the engine promises. Cases of node/ whose name starts so must pass, except
 * for those that need what is refused on purpose (the exceptions below). */
static const char *const required[] = {
    "abs",         "add",           "averagepool", "basic_conv_",
    "batchnorm_",  "clip",          "concat",      "constant_pad",
    "constant",    "conv_",         "div",         "dropout_default",
    "edge_pad",    "equal",         "exp",         "flatten",
    "gather_0",    "gather_1",      "gather_2d",   "gather_neg",
    "gemm",        "globalaverage", "globalmax",   "greater",
    "hardsigmoid", "hardswish",     "identity",    "leakyrelu",
    "less",        "logsoftmax",    "matmul_",     "maxpool_",
    "mul",         "neg",           "pow",         "reduce_max",
    "reduce_mean", "reduce_sum",    "reflect_pad", "relu",
    "reshape",     "resize",        "shape",       "sigmoid",
    "sign",        "slice",         "softmax",     "split",
    "sqrt",        "squeeze",       "sub",         "tanh",
    "transpose",   "unsqueeze",     "upsample",    "where",
};
static const char *const exceptions[] = {
    "_float16", /* element types that the engine does not have */
    "_uint16",
    "_uint32",
    "_uint64",
    "_training_mode", /* batch statistics */
    "identity_opt",
    "identity_sequence",   /* optional and sequence types */
    "maxpool_with_argmax", /* the output Indices */
    "maxpool_2d_uint8",    /* pooling of integers */
    "dropout_default_old",
};

static bool is_required(const char *name, size_t *ret_index)
{
    for (size_t i = 0; i < sizeof exceptions / sizeof *exceptions; i++) {
        if (strstr(name, exceptions[i]) != NULL) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        if (strncmp(name, required[i], strlen(required[i])) == 0) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static unsigned n_required[sizeof required / sizeof *required];
static unsigned n_required_passed[sizeof required / sizeof *required];

static void run_folder(group *g, const char *data, const char *name, md_backend backend)
{
    char folder[PATH_BYTES];
    (void)snprintf(folder, sizeof folder, "%s/%s/%s", data, g->name, name);
    test_case *c = calloc(1, sizeof *c);
    if (c == NULL) {
        abort();
    }
    c->backend = backend;
    bool bound;
    outcome result = run_case(c, folder, &bound);
    g->n[result]++;
    g->n_bound += bound ? 1 : 0;
    size_t index;
    if (strcmp(g->name, "node") == 0 && is_required(name + strlen("test_"), &index)) {
        n_required[index]++;
        n_required_passed[index] += result == PASSED ? 1 : 0;
        if (result == REFUSED) {
            printf("# required, but refused: %s: %s\n", name, c->reason);
        }
    }
    if (result == FAILED) {
        printf("# failed: %s/%s: %s\n", g->name, name, c->reason);
    } else if (result == REFUSED && getenv(verbose_name) != NULL) {
        printf("# refused: %s/%s: %s\n", g->name, name, c->reason);
    }
    finish_case(c);
    free(c);
}

static bool run_group(group *g, const char *data, md_backend backend)
{
    char folder[PATH_BYTES];
    struct dirent **entries;
    (void)snprintf(folder, sizeof folder, "%s/%s", data, g->name);
    int n = scandir(folder, &entries, NULL, alphasort);
    if (n < 0) {
        printf("# %s: no such folder\n", folder);
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (strncmp(entries[i]->d_name, "test_", 5) == 0) {
            run_folder(g, data, entries[i]->d_name, backend);
        }
        free(entries[i]);
    }
    free(entries);
    printf("# %s: %u passed (%u of them with inputs bound at load), %u refused, %u failed\n",
           g->name, g->n[PASSED], g->n_bound, g->n[REFUSED], g->n[FAILED]);
    return true;
}

int main(int argc, char **argv)
{
    /* floors: what passed when they were written, so that losing a case is noticed */
    group groups[] = {{.name = "node", .floor = 503},
                      {.name = "simple", .floor = 6},
                      {.name = "pytorch-operator", .floor = 35},
                      {.name = "pytorch-converted", .floor = 82}};
    const size_t n_groups = sizeof groups / sizeof *groups;
    const size_t n_ops = sizeof required / sizeof *required;
    if (argc != 3 || (strcmp(argv[1], "onednn") != 0 && strcmp(argv[1], "openblas") != 0)) {
        (void)fprintf(stderr, "usage: run_onnx onednn|openblas DATA_FOLDER\n");
        return 2;
    }
    const md_backend backend =
        strcmp(argv[1], "onednn") == 0 ? MD_BACKEND_ONEDNN : MD_BACKEND_OPENBLAS;
    bool good = true;
    printf("1..%zu\n", n_groups + n_ops);
    for (size_t i = 0; i < n_groups; i++) {
        bool ok = run_group(&groups[i], argv[2], backend) && groups[i].n[FAILED] == 0 &&
                  groups[i].n[PASSED] >= groups[i].floor;
        printf("%sok %zu - %s on %s: none fails, at least %u pass\n", ok ? "" : "not ", i + 1,
               groups[i].name, argv[1], groups[i].floor);
        good = good && ok;
    }
    for (size_t i = 0; i < n_ops; i++) {
        bool ok = n_required[i] > 0 && n_required_passed[i] == n_required[i];
        printf("%sok %zu - %s: %u of %u cases pass\n", ok ? "" : "not ", n_groups + i + 1,
               required[i], n_required_passed[i], n_required[i]);
        good = good && ok;
    }
    return good ? 0 : 1;
}
