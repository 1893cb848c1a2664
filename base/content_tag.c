#include "base/content_tag.h"

#include "base/memory.h"

#include <openssl/evp.h>

struct md_content_tag {
    EVP_MAC *mac;
    EVP_MAC_CTX *context;
};

md_status md_content_tag_create(const uint8_t key[MD_CONTENT_KEY_BYTES],
                                md_content_tag **ret_tag, md_error *err)
{
    md_content_tag *tag = md_calloc(1, sizeof *tag);
    if (tag == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a content tag");
    }
    tag->mac = EVP_MAC_fetch(NULL, "POLY1305", NULL);
    tag->context = tag->mac != NULL ? EVP_MAC_CTX_new(tag->mac) : NULL;
    if (tag->context == NULL ||
        EVP_MAC_init(tag->context, key, MD_CONTENT_KEY_BYTES, NULL) != 1) {
        md_content_tag_destroy(tag);
        return md_fail(err, MD_INTERNAL, "the cryptographic library has no Poly1305");
    }
    *ret_tag = tag;
    return MD_OK;
}

void md_content_tag_destroy(md_content_tag *tag)
{
    if (tag != NULL) {
        EVP_MAC_CTX_free(tag->context);
        EVP_MAC_free(tag->mac);
        md_free(tag);
    }
}

bool md_content_tag_add(md_content_tag *tag, const void *bytes, size_t n)
{
    return EVP_MAC_update(tag->context, bytes, n) == 1;
}

bool md_content_tag_end(md_content_tag *tag, uint8_t ret_tag[MD_CONTENT_TAG_BYTES])
{
    size_t n = 0;
    return EVP_MAC_final(tag->context, ret_tag, &n, MD_CONTENT_TAG_BYTES) == 1 &&
           n == MD_CONTENT_TAG_BYTES;
}
