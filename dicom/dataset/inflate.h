#ifndef MEDAID_DICOM_DATASET_INFLATE_H
#define MEDAID_DICOM_DATASET_INFLATE_H

/* The deflated transfer syntax (PS3.5 A.5): raw deflate of RFC 1951. Any thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A dataset that inflates to more is refused: a few KiB can hold gigabytes of zeros. */
#define MD_INFLATE_MAX_BYTES ((size_t)1 << 30)

/* MD_FORMAT when the stream is broken or cut short, MD_LIMIT, MD_NOMEM. Bytes behind the end of
 * the stream (padding) are ignored. Caller frees with md_free. */
md_status md_inflate(const uint8_t *bytes, size_t size_bytes, uint8_t **ret_bytes,
                     size_t *ret_size_bytes, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
