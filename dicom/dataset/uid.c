/* SHA-256 through the old interface of libcrypto: the new one allocates, and a UID that is
 * derived must not be able to fail. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "dicom/dataset/dataset.h"

#include <openssl/sha.h>
#include <string.h>

void md_uid_derive(const char *const *parts, size_t n_parts, char ret_uid[MD_UID_BYTES])
{
    SHA256_CTX context;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256_Init(&context);
    for (size_t i = 0; i < n_parts; i++) {
        SHA256_Update(&context, parts[i], strlen(parts[i]) + 1);
    }
    SHA256_Final(digest, &context);
    digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x80); /* version 8: custom */
    digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80); /* variant of RFC 9562 */
    unsigned __int128 number = 0;
    for (size_t i = 0; i < 16; i++) {
        number = number << 8 | digest[i];
    }
    char decimal[40]; /* 2^128 has 39 digits */
    size_t at = sizeof decimal - 1;
    decimal[at] = '\0';
    do {
        decimal[--at] = (char)('0' + (unsigned)(number % 10));
        number /= 10;
    } while (number != 0);
    memcpy(ret_uid, "2.25.", 5);
    memcpy(ret_uid + 5, decimal + at, sizeof decimal - at);
}
