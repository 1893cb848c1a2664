/* The ONNX project's own cases on one back end: loads model.onnx, feeds input_*.pb, compares
 * output_*.pb.
 *
 *   run_onnx BACKEND DATA_FOLDER [GROUP]
 *
 * A case passes, is refused (MD_UNSUPPORTED from the load, with the reason), or fails. Cases of
 * node/ feed as run-time inputs what decides shapes (Reshape's target, Slice's starts): when a
 * case is refused as it is, its last input is bound at load time and it is tried again, then
 * the one before, and so on. Prints TAP: one test for each group (nothing failed, nothing
 * refused but what is excluded, at least `floor` passed) and one for each exclusion. With GROUP
 * it runs that group of cases alone, all have to pass, and the results agree within 1e-4. */

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
    bool own;       /* not of the ONNX project */
    unsigned n[3];
    unsigned n_unexpected;         /* refused and not excluded */
    unsigned n_bound, n_all_bound; /* of the passed, those with inputs bound at load time */
} group;

static const char *const verbose_name = "MEDAID_CONFORMANCE_VERBOSE";

static md_status dtype_of(int32_t type, md_dtype *ret, md_error *err)
{
    static const struct {
        int32_t onnx;
        md_dtype ours;
    } map[] = {{1, MD_F32},  {2, MD_U8},   {3, MD_I8},   {4, MD_U16},  {5, MD_I16},
               {6, MD_I32},  {7, MD_I64},  {9, MD_BOOL}, {10, MD_F16}, {11, MD_F64},
               {12, MD_U32}, {13, MD_U64}, {16, MD_BF16}};
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
            } else if (md_dtype_bytes(tensor->dtype) == 2) {
                ((uint16_t *)tensor->data)[i] = (uint16_t)proto->int32_data[i];
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

/* Where onnx 1.12's data differ from what their model declares: the bits of bfloat16 are called
 * uint16, and of CastLike's second operand, of which only the type counts, there is one element
 * for any shape. */
static void repair(md_tensor *tensor, const Onnx__ValueInfoProto *info)
{
    const Onnx__TypeProto__Tensor *type = info->type == NULL ? NULL : info->type->tensor_type;
    if (type == NULL) {
        return;
    }
    if (tensor->dtype == MD_U16 && type->elem_type == ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16) {
        tensor->dtype = MD_BF16;
    }
    if (strcmp(info->name, "like") != 0 || tensor->n_elements != 1 || type->shape == NULL) {
        return;
    }
    int64_t dims[MD_TENSOR_MAX_DIMS];
    md_tensor whole;
    for (size_t i = 0; i < type->shape->n_dim && i < MD_TENSOR_MAX_DIMS; i++) {
        dims[i] = type->shape->dim[i]->dim_value;
    }
    if (md_tensor_init(&whole, tensor->dtype, (unsigned)type->shape->n_dim, dims, NULL) !=
        MD_OK) {
        return;
    }
    memset(whole.data, 0, whole.n_elements * md_dtype_bytes(whole.dtype));
    md_tensor_finish(tensor);
    *tensor = whole;
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

/* A 16-bit float with that many bits of exponent. */
static double half(uint16_t bits, int n_exponent)
{
    const int n_fraction = 15 - n_exponent, bias = (1 << (n_exponent - 1)) - 1;
    const int exponent = bits >> n_fraction & ((1 << n_exponent) - 1);
    const int fraction = bits & ((1 << n_fraction) - 1);
    double value = exponent == 2 * bias + 1 ? (fraction != 0 ? (double)NAN : (double)INFINITY)
                   : exponent == 0
                       ? ldexp(fraction, 1 - bias - n_fraction)
                       : ldexp(fraction + (1 << n_fraction), exponent - bias - n_fraction);
    return (bits & 0x8000) != 0 ? -value : value;
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
    case MD_I16:
        return ((const int16_t *)t->data)[i];
    case MD_U16:
        return ((const uint16_t *)t->data)[i];
    case MD_U32:
        return ((const uint32_t *)t->data)[i];
    case MD_U64:
        return (double)((const uint64_t *)t->data)[i];
    case MD_F16:
        return half(((const uint16_t *)t->data)[i], 5);
    case MD_BF16:
        return half(((const uint16_t *)t->data)[i], 8);
    }
    return (double)NAN;
}

/* The tolerance of ONNX's own backend tests: 1e-3 relative, 1e-7 absolute; and 1e-6 here for
 * sums in another order. */
static bool equal(const md_tensor *made, const md_tensor *expected, double tolerance,
                  char *reason, size_t n)
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
        /* onnx 1.12 cuts bfloat16 off, where later versions round to the nearest */
        const double relative = made->dtype == MD_BF16 ? 0x1p-7 : 1e-3;
        const double limit =
            tolerance > 0.0 ? tolerance * (1.0 + fabs(b)) : 1e-6 + relative * fabs(b);
        if (!(fabs(a - b) <= limit)) {
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
    bool all_bound;
    double tolerance; /* relative, and as a part of 1 */
} test_case;

/* The names of the graph's inputs in order; the tensor files often have none. */
static void name_inputs(test_case *c)
{
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, c->onnx_bytes, c->onnx);
    for (unsigned i = 0; model != NULL && i < c->n_inputs; i++) {
        if (model->graph != NULL && i < model->graph->n_input) {
            (void)snprintf(c->inputs[i].name, sizeof c->inputs[i].name, "%s",
                           model->graph->input[i]->name);
            repair(&c->inputs[i].tensor, model->graph->input[i]);
        }
    }
    for (unsigned i = 0; model != NULL && model->graph != NULL && i < c->n_outputs; i++) {
        if (i < model->graph->n_output) {
            repair(&c->outputs[i].tensor, model->graph->output[i]);
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
            if (!equal(&out[i], &c->outputs[i].tensor, c->tolerance, c->reason,
                       sizeof c->reason)) {
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
        /* a case that was refused already may declare no shape that could be bound */
        return status == MD_UNSUPPORTED || (status == MD_INVALID_ARG && options.n_bindings > 0)
                   ? REFUSED
                   : FAILED;
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
    outcome result = REFUSED;
    for (unsigned n_given = c->n_inputs + 1; n_given-- > 0 && result == REFUSED;) {
        result = run_network(c, n_given);
        *ret_bound = result == PASSED && n_given < c->n_inputs;
        c->all_bound = result == PASSED && n_given == 0 && c->n_inputs > 0;
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

/* Cases that are refused on purpose: groups whose names begin so, and why. Every other case has
 * to pass, and each of these has to be refused. */
typedef struct exclusion {
    const char *prefix, *reason;
    unsigned n_refused, n_others;
} exclusion;

static exclusion exclusions[] = {
    {.prefix = "node/test_adagrad", .reason = "training"},
    {.prefix = "node/test_adam", .reason = "training"},
    {.prefix = "node/test_momentum", .reason = "training"},
    {.prefix = "node/test_nesterov_momentum", .reason = "training"},
    {.prefix = "node/test_training_dropout", .reason = "training"},
    {.prefix = "node/test_batchnorm_epsilon_training_mode", .reason = "training"},
    {.prefix = "node/test_batchnorm_example_training_mode", .reason = "training"},
    {.prefix = "simple/test_gradient_of_", .reason = "training"},
    {.prefix = "node/test_bernoulli", .reason = "random: no result to compare with"},
    {.prefix = "node/test_cast_FLOAT_to_STRING", .reason = "strings"},
    {.prefix = "node/test_cast_STRING_to_FLOAT", .reason = "strings"},
    {.prefix = "node/test_castlike_FLOAT_to_STRING", .reason = "strings"},
    {.prefix = "node/test_castlike_STRING_to_FLOAT", .reason = "strings"},
    {.prefix = "node/test_strnormalizer_", .reason = "strings"},
    {.prefix = "simple/test_strnorm_", .reason = "strings"},
    {.prefix = "node/test_tfidfvectorizer_",
     .reason = "counts words, the preprocessing of a string"},
    {.prefix = "node/test_identity_sequence", .reason = "sequences"},
    {.prefix = "node/test_if_seq", .reason = "sequences"},
    {.prefix = "node/test_loop13_seq", .reason = "sequences"},
    {.prefix = "node/test_sequence_", .reason = "sequences"},
    {.prefix = "simple/test_sequence_", .reason = "sequences"},
    {.prefix = "node/test_identity_opt", .reason = "optional types"},
    {.prefix = "node/test_if_opt", .reason = "optional types"},
    {.prefix = "node/test_loop16_seq_none", .reason = "optional types"},
    {.prefix = "node/test_optional_", .reason = "optional types"},
    {.prefix = "node/test_scan_sum",
     .reason = "Scan of opset 8, over batches: opset 9 replaced it"},
    {.prefix = "node/test_dft", .reason = "spectra of sound: no medical image needs one"},
    {.prefix = "node/test_stft", .reason = "spectra of sound: no medical image needs one"},
    {.prefix = "node/test_melweightmatrix",
     .reason = "spectra of sound: no medical image needs one"},
};
enum {
    N_EXCLUSIONS = sizeof exclusions / sizeof *exclusions
};

static exclusion *find_exclusion(const char *group_name, const char *name)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", group_name, name);
    for (size_t i = 0; i < N_EXCLUSIONS; i++) {
        if (strncmp(path, exclusions[i].prefix, strlen(exclusions[i].prefix)) == 0) {
            return &exclusions[i];
        }
    }
    return NULL;
}

static void run_folder(group *g, const char *data, const char *name, md_backend backend)
{
    static const double own_tolerance = 1e-4;
    char folder[PATH_BYTES];
    (void)snprintf(folder, sizeof folder, "%s/%s/%s", data, g->name, name);
    test_case *c = calloc(1, sizeof *c);
    if (c == NULL) {
        abort();
    }
    c->backend = backend;
    c->tolerance = g->own ? own_tolerance : 0.0;
    bool bound;
    outcome result = run_case(c, folder, &bound);
    g->n[result]++;
    g->n_bound += bound ? 1 : 0;
    g->n_all_bound += c->all_bound ? 1 : 0;
    exclusion *excluded = find_exclusion(g->name, name);
    if (excluded != NULL) {
        excluded->n_refused += result == REFUSED ? 1 : 0;
        excluded->n_others += result == REFUSED ? 0 : 1;
    } else if (result == REFUSED) {
        g->n_unexpected++;
        printf("# refused, but not excluded: %s/%s: %s\n", g->name, name, c->reason);
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
    printf("# %s: %u passed (%u of them with inputs bound at load, %u with all), %u refused, "
           "%u failed\n",
           g->name, g->n[PASSED], g->n_bound, g->n_all_bound, g->n[REFUSED], g->n[FAILED]);
    return true;
}

/* One group that is not the ONNX project's. */
static int run_own(const char *name, const char *data, const char *backend_name,
                   md_backend backend)
{
    group g = {.name = name, .own = true};
    bool ok = run_group(&g, data, backend) && g.n[PASSED] > 0 && g.n[REFUSED] == 0 &&
              g.n[FAILED] == 0;
    printf("1..1\n%sok 1 - %s on %s: all %u pass\n", ok ? "" : "not ", name, backend_name,
           g.n[PASSED]);
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    /* floors: what passed when they were written, so that losing a case is noticed */
    group groups[] = {{.name = "node", .floor = 861},
                      {.name = "simple", .floor = 7},
                      {.name = "pytorch-operator", .floor = 35},
                      {.name = "pytorch-converted", .floor = 82}};
    const size_t n_groups = sizeof groups / sizeof *groups;
    if (argc < 3 || argc > 4 ||
        (strcmp(argv[1], "onednn") != 0 && strcmp(argv[1], "openblas") != 0)) {
        (void)fprintf(stderr, "usage: run_onnx onednn|openblas DATA_FOLDER [GROUP]\n");
        return 2;
    }
    const md_backend backend =
        strcmp(argv[1], "onednn") == 0 ? MD_BACKEND_ONEDNN : MD_BACKEND_OPENBLAS;
    if (argc == 4) {
        return run_own(argv[3], argv[2], argv[1], backend);
    }
    bool good = true;
    printf("1..%zu\n", n_groups + N_EXCLUSIONS);
    for (size_t i = 0; i < n_groups; i++) {
        bool ok = run_group(&groups[i], argv[2], backend) && groups[i].n[FAILED] == 0 &&
                  groups[i].n_unexpected == 0 && groups[i].n[PASSED] >= groups[i].floor;
        printf("%sok %zu - %s on %s: none fails, none is refused but those excluded, "
               "at least %u pass\n",
               ok ? "" : "not ", i + 1, groups[i].name, argv[1], groups[i].floor);
        good = good && ok;
    }
    for (size_t i = 0; i < N_EXCLUSIONS; i++) {
        const exclusion *e = &exclusions[i];
        bool ok = e->n_refused > 0 && e->n_others == 0;
        printf("%sok %zu - %s...: %u cases refused: %s\n", ok ? "" : "not ", n_groups + i + 1,
               e->prefix, e->n_refused, e->reason);
        good = good && ok;
    }
    return good ? 0 : 1;
}
