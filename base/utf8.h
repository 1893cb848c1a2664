#ifndef MEDAID_BASE_UTF8_H
#define MEDAID_BASE_UTF8_H

/* UTF-8 as RFC 3629 has it. Any thread. */

#include <stddef.h>

#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The length, 1 to 4, of the valid sequence at `text`, which ends with a zero byte; 0 when it
 * is none. The zero byte itself has length 1. */
size_t md_utf8_length(const unsigned char *text) MD_NOEXCEPT;

/* The length of a sequence that is known to be valid, by its first byte. */
static inline size_t md_utf8_bytes(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

#ifdef __cplusplus
}
#endif
#endif
