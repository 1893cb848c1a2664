#ifndef MEDAID_INFERENCE_SIMILAR_FILE_H
#define MEDAID_INFERENCE_SIMILAR_FILE_H

/* The file of vectors: a header, then records that are only appended. Little-endian. One
 * thread. */

#include "base/memory.h"

#include <stdio.h>

/* What a record does. */
typedef enum md_similar_deed {
    MD_SIMILAR_PUT = 1,   /* followed by n_dims float32 */
    MD_SIMILAR_REMOVE = 2 /* by nothing */
} md_similar_deed;

typedef struct md_similar_file {
    int descriptor;
    uint32_t n_dims;
    uint64_t size_bytes; /* of all whole records */
    uint64_t tag;        /* of all records, in order: which vectors a graph belongs to */
} md_similar_file;

/* Called for each whole record; `vector` is valid during the call, NULL for a removal. */
typedef md_status (*md_similar_record_fn)(void *context, md_similar_deed deed, uint64_t key,
                                          const float *vector, md_error *err);

/* Open (making and locking it) and read all records. What is cut off at the end is dropped; a
 * record with a wrong checksum is passed over. */
md_status md_similar_file_open(const char *path, uint32_t n_dims, md_similar_record_fn call,
                               void *context, md_similar_file *ret_file,
                               uint64_t *ret_dropped_bytes, uint64_t *ret_n_damaged,
                               md_error *err) MD_NODISCARD;
void md_similar_file_close(md_similar_file *file);
/* Append one record; it lasts after md_similar_file_sync. On failure the file is cut back to
 * what it was. */
md_status md_similar_file_append(md_similar_file *file, md_similar_deed deed, uint64_t key,
                                 const float *vector, md_error *err) MD_NODISCARD;
md_status md_similar_file_sync(md_similar_file *file, md_error *err) MD_NODISCARD;

#endif
