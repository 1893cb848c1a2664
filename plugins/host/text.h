#ifndef MEDAID_PLUGINS_HOST_TEXT_H
#define MEDAID_PLUGINS_HOST_TEXT_H

/* Text from plugins, before it goes into messages and reports. Pure; any thread. */

#include "base/error.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* True for `length` bytes of valid UTF-8 (RFC 3629) without C0, DEL and C1 control characters.
 */
bool md_text_is_clean(const char *text, size_t length) MD_NOEXCEPT;

/* Copy at most size_bytes - 1 bytes of a text (NULL: ""): what is not clean becomes '?', and a
 * character is never cut. */
void md_text_clean(const char *text, char *ret_text, size_t size_bytes) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
