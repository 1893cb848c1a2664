#ifndef MEDAID_BASE_FILE_H
#define MEDAID_BASE_FILE_H

/* Whole files and their hashes. Any thread. Messages name the file as the caller wrote it. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_SHA256_BYTES = 32,
    MD_SHA256_HEX_BYTES = 65
};

/* Read a regular file of at most max_bytes; MD_LIMIT beyond, MD_NOT_FOUND, MD_IO. The block has
 * one more byte than *ret_size, a zero. Caller frees with md_free. */
md_status md_file_read(const char *path, size_t max_bytes, uint8_t **ret_bytes,
                       size_t *ret_size, md_error *err) MD_NOEXCEPT MD_NODISCARD;

typedef enum md_file_mode {
    MD_FILE_NEW,     /* MD_BUSY when the path exists */
    MD_FILE_REPLACE, /* the old content stays whole until the new one is */
} md_file_mode;

/* Write beside the path, fdatasync, rename or link into place, fsync the folder: after MD_OK
 * the bytes survive a power cut. Mode 0600. */
md_status md_file_write(const char *path, md_file_mode mode, const void *bytes,
                        size_t size_bytes, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Make a folder and its parents, mode 0700 for new ones. */
md_status md_folder_create(const char *path, md_error *err) MD_NOEXCEPT MD_NODISCARD;

void md_sha256(const void *bytes, size_t size_bytes, uint8_t ret_digest[MD_SHA256_BYTES])
    MD_NOEXCEPT;
/* Lower-case hexadecimal with a final zero. */
void md_hex(const uint8_t *bytes, size_t n, char *ret_text) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
