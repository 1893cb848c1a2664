#ifndef MEDAID_BASE_CONTENT_TAG_H
#define MEDAID_BASE_CONTENT_TAG_H

/* A short name for what bytes say, to tell whether two objects are the same without keeping
 * both in memory: Poly1305 (RFC 8439 2.5) under a secret key that never leaves the storage. As
 * a universal hash with a secret key its bound for two different texts of at most L bytes is
 * 8 ceil(L / 16) / 2^106 (Bernstein 2005, theorem 3.3): 2^-76 for 2 GiB. That holds for whoever
 * does not see the tags, so they are not shown to anybody; it is not a signature. Chosen for
 * its speed: 16 GB/s where SHA-256 with the CPU's own instructions makes 2.2. One thread at a
 * time. */

#include "base/error.h"
#include "base/memory.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_CONTENT_KEY_BYTES = 32,
    MD_CONTENT_TAG_BYTES = 16
};

typedef struct md_content_tag md_content_tag;

/* MD_NOMEM; MD_INTERNAL when the cryptographic library has no Poly1305. Caller destroys. */
md_status md_content_tag_create(const uint8_t key[MD_CONTENT_KEY_BYTES],
                                md_content_tag **ret_tag, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* NULL is fine. */
void md_content_tag_destroy(md_content_tag *tag) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_content_tag, md_content_tag_destroy)
/* The next bytes. False: no memory; the tag is of no use any more. */
bool md_content_tag_add(md_content_tag *tag, const void *bytes, size_t n)
    MD_NOEXCEPT MD_NODISCARD;
/* After the last byte; false as above. */
bool md_content_tag_end(md_content_tag *tag, uint8_t ret_tag[MD_CONTENT_TAG_BYTES])
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
