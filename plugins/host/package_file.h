#ifndef MEDAID_PLUGINS_HOST_PACKAGE_FILE_H
#define MEDAID_PLUGINS_HOST_PACKAGE_FILE_H

/* Files of a model package, from an open folder. Any thread. */

#include "plugins/host/manifest.h"

#ifdef __cplusplus
extern "C" {
#endif

/* For MD_AUTO; negative is fine. */
void md_package_closep(int *fd) MD_NOEXCEPT;

/* A plain file of the package, whole. A symbolic link is refused, so nothing outside of the
 * folder can be meant. Messages start with the file's name. MD_NOT_FOUND, MD_FORMAT (a link, no
 * regular file), MD_LIMIT, MD_IO, MD_NOMEM. Caller frees with md_free. */
md_status md_package_read_file(int folder, const char *name, size_t max_bytes,
                               uint8_t **ret_bytes, size_t *ret_size, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* The same for a file that the manifest lists: MD_FORMAT too when its SHA-256 is another. */
md_status md_package_read_listed(int folder, const md_manifest *m, const char *name,
                                 size_t max_bytes, uint8_t **ret_bytes, size_t *ret_size,
                                 md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
