#ifndef MEDAID_INFERENCE_GRAPH_WRITER_H
#define MEDAID_INFERENCE_GRAPH_WRITER_H

/* ONNX bytes, written node by node or from a file with other weights in it.
 *
 * The same calls give the same bytes on every machine. The writer copies every text and number.
 * It remembers its first error and does nothing from then on; md_writer_finish returns it, so
 * that a network reads as a list of layers. One thread at a time. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_writer md_writer;

enum {
    MD_WRITER_OPSET =
        14, /* of ai.onnx: the first with HardSwish and today's BatchNormalization */
    MD_WRITER_IR_VERSION = 7,  /* of the file format, ONNX 1.8 and later read it */
    MD_WRITER_TEXT_OPSET = 17, /* the first with LayerNormalization */
    MD_WRITER_TEXT_IR_VERSION = 8,
};

/* Caller destroys. */
md_status md_writer_create(const char *graph_name, md_writer **ret_writer, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_writer_destroy(md_writer *writer) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_writer, md_writer_destroy)

/* The file is one of MD_WRITER_TEXT_OPSET. */
void md_writer_text(md_writer *writer) MD_NOEXCEPT;

/* A float32 input or output of the graph. A dim of -1 is symbolic, "N". */
void md_writer_input(md_writer *writer, const char *name, unsigned n_dims, const int64_t *dims)
    MD_NOEXCEPT;
void md_writer_output(md_writer *writer, const char *name, unsigned n_dims, const int64_t *dims)
    MD_NOEXCEPT;
/* An int64 input. */
void md_writer_integer_input(md_writer *writer, const char *name, unsigned n_dims,
                             const int64_t *dims) MD_NOEXCEPT;

/* A float32 initializer, zeroed, for the caller to fill before md_writer_finish; NULL after an
 * error. MD_LIMIT beyond MD_TENSOR_MAX_ELEMENTS; MD_INVALID_ARG for dims below 1. */
float *md_writer_weights(md_writer *writer, const char *name, unsigned n_dims,
                         const int64_t *dims) MD_NOEXCEPT;
/* An int64 initializer of one axis. */
void md_writer_integers(md_writer *writer, const char *name, const int64_t *values, unsigned n)
    MD_NOEXCEPT;

/* An operator of ai.onnx. inputs: names with blanks between; the one output is also the node's
 * name. The attributes that follow belong to it. */
void md_writer_node(md_writer *writer, const char *op_type, const char *inputs,
                    const char *output) MD_NOEXCEPT;
void md_writer_attribute_int(md_writer *writer, const char *name, int64_t value) MD_NOEXCEPT;
void md_writer_attribute_float(md_writer *writer, const char *name, float value) MD_NOEXCEPT;
void md_writer_attribute_ints(md_writer *writer, const char *name, const int64_t *values,
                              unsigned n) MD_NOEXCEPT;
void md_writer_attribute_text(md_writer *writer, const char *name, const char *value)
    MD_NOEXCEPT;

/* Record an error of the caller's own as the first one, unless there is one. */
void md_writer_fail(md_writer *writer, md_status status, const char *message) MD_NOEXCEPT;
/* MD_OK, or the first error so far. */
md_status md_writer_status(const md_writer *writer, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The file. Caller frees *ret_bytes with md_free. The first error of any call before, or
 * MD_LIMIT above MD_NETWORK_MAX_ONNX_BYTES. */
md_status md_writer_finish(md_writer *writer, uint8_t **ret_bytes, size_t *ret_size,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Other values for a float32 initializer. */
typedef struct md_onnx_weights {
    const char *name;
    size_t n; /* elements */
    const float *values;
} md_onnx_weights;

/* The file `onnx` with those initializers replaced and everything else as it was: same graph,
 * same names, same order. MD_NOT_FOUND when there is no such initializer; MD_INVALID_ARG when
 * it has another type or number of elements; MD_FORMAT, MD_LIMIT, MD_NOMEM. Caller frees
 * *ret_bytes with md_free. */
md_status md_onnx_replace(const uint8_t *onnx, size_t size_bytes,
                          const md_onnx_weights *weights, unsigned n_weights,
                          uint8_t **ret_bytes, size_t *ret_size, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
