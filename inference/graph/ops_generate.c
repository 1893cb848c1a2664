/* Import of operators that make a constant tensor. */

#include "inference/backend/kernels.h"
#include "inference/graph/node_import.h"

#include <math.h>
#include <string.h>

/* An attribute that names an element type. */
static md_status type_attribute(md_node_import *b, const char *name, md_dtype fallback,
                                md_dtype *ret)
{
    const Onnx__AttributeProto *a;
    md_error inner = {0};
    MD_TRY(md_attribute_find(b, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, &a));
    *ret = fallback;
    if (a == NULL) {
        return MD_OK;
    }
    if (a->i < 0 || a->i > INT32_MAX) {
        return md_import_fail(b, MD_FORMAT, "element type %lld", (long long)a->i);
    }
    return md_import_dtype((int32_t)a->i, ret, &inner) == MD_OK
               ? MD_OK
               : md_import_fail(b, MD_UNSUPPORTED, "%s", inner.msg);
}

/* start, start + delta, ... before limit: max(ceil((limit - start) / delta), 0) elements. */
md_status md_import_range(md_node_import *b)
{
    const md_dtype dtype = md_import_in(b, 0)->dtype;
    double bound[3];
    int64_t whole[3], dim;
    int value;
    for (unsigned i = 0; i < 3; i++) {
        bool present;
        MD_TRY(md_import_need(b, i, dtype));
        MD_TRY(md_import_scalar(b, i, &present, &bound[i]));
        const md_tensor *x = md_import_in(b, i);
        whole[i] = dtype == MD_I64   ? *(const int64_t *)x->data
                   : dtype == MD_I32 ? *(const int32_t *)x->data
                   : dtype == MD_I16 ? *(const int16_t *)x->data
                                     : 0;
    }
    const double n = ceil((bound[1] - bound[0]) / bound[2]);
    if (bound[2] == 0.0 || !(n <= (double)MD_TENSOR_MAX_ELEMENTS)) {
        return md_import_fail(b, MD_FORMAT, "from %g to %g in steps of %g", bound[0], bound[1],
                              bound[2]);
    }
    for (unsigned i = 0; i < 3 && dtype == MD_I64; i++) {
        if (fabs(bound[i]) > 0x1p53) {
            return md_import_fail(b, MD_UNSUPPORTED, "a bound of %g is not counted exactly",
                                  bound[i]);
        }
    }
    dim = n > 0.0 ? (int64_t)n : 0;
    MD_TRY(md_import_constant(b, 0, dtype, 1, &dim, &value));
    md_tensor *y = md_graph_tensor(b->graph, value);
    for (size_t i = 0; i < y->n_elements; i++) {
        if (dtype == MD_F32 || dtype == MD_F64) {
            md_store_real(y, i, bound[0] + (double)i * bound[2]);
        } else {
            md_store_int(y, i, (int64_t)((uint64_t)whole[0] + i * (uint64_t)whole[2]));
        }
    }
    return MD_OK;
}

md_status md_import_eye_like(md_node_import *b)
{
    const md_tensor x = *md_import_in(b, 0);
    md_dtype dtype;
    int64_t k;
    int value;
    MD_TRY(type_attribute(b, "dtype", x.dtype, &dtype));
    MD_TRY(md_attribute_int(b, "k", 0, &k));
    if (x.n_dims != 2) {
        return md_import_fail(b, MD_FORMAT, "input of %u dimensions", x.n_dims);
    }
    MD_TRY(md_import_constant(b, 0, dtype, 2, x.dims, &value));
    md_tensor *y = md_graph_tensor(b->graph, value);
    memset(y->data, 0, y->n_elements * md_dtype_bytes(dtype));
    for (int64_t i = 0; i < x.dims[0]; i++) {
        if (k > -x.dims[0] && k < x.dims[1] && i + k >= 0 && i + k < x.dims[1]) {
            md_store_real(y, (size_t)(i * x.dims[1] + i + k), 1.0);
        }
    }
    return MD_OK;
}

/* A cosine window of n points: a0 - a1 cos(2 pi i / d) + a2 cos(4 pi i / d), d = n when it is
 * periodic, n - 1 otherwise. The coefficients are those of ONNX. */
md_status md_import_window(md_node_import *b)
{
    static const double coefficients[][3] = {
        [MD_WINDOW_HANN] = {0.5, 0.5, 0.0},
        [MD_WINDOW_HAMMING] = {25.0 / 46.0, 1.0 - 25.0 / 46.0, 0.0},
        [MD_WINDOW_BLACKMAN] = {0.42, 0.5, 0.08},
    };
    const double *a = coefficients[b->variant];
    md_dtype dtype;
    int64_t periodic;
    const int64_t *n;
    size_t n_numbers;
    int value;
    MD_TRY(type_attribute(b, "output_datatype", MD_F32, &dtype));
    MD_TRY(md_attribute_int(b, "periodic", 1, &periodic));
    MD_TRY(md_import_ints(b, 0, &n, &n_numbers));
    if (n_numbers != 1 || n[0] < 0) {
        return md_import_fail(b, MD_FORMAT, "%lld points",
                              n_numbers == 1 ? (long long)n[0] : 0);
    }
    MD_TRY(md_import_constant(b, 0, dtype, 1, n, &value));
    md_tensor *y = md_graph_tensor(b->graph, value);
    const double d = (double)y->n_elements - (periodic != 0 ? 0.0 : 1.0);
    for (size_t i = 0; i < y->n_elements; i++) {
        const double angle = d > 0.0 ? 2.0 * acos(-1.0) * (double)i / d : 0.0;
        md_store_real(y, i, a[0] - a[1] * cos(angle) + a[2] * cos(2.0 * angle));
    }
    return MD_OK;
}
