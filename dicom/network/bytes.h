#ifndef MEDAID_DICOM_NETWORK_BYTES_H
#define MEDAID_DICOM_NETWORK_BYTES_H

/* Integers in byte order, and UIDs and AE titles out of foreign bytes. Any thread. */

#include "base/memory.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline uint16_t md_get_be16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline uint32_t md_get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint16_t md_get_le16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[1] << 8 | p[0]);
}

static inline uint32_t md_get_le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static inline void md_put_be16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void md_put_be32(uint8_t *p, uint32_t value)
{
    md_put_be16(p, (uint16_t)(value >> 16));
    md_put_be16(p + 2, (uint16_t)value);
}

static inline void md_put_le16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static inline void md_put_le32(uint8_t *p, uint32_t value)
{
    md_put_le16(p, (uint16_t)value);
    md_put_le16(p + 2, (uint16_t)(value >> 16));
}

/* Copy a UID of n bytes, without the trailing zero or spaces that pad it, into ret_uid
 * (MD_UID_BYTES). False, and ret_uid "", unless 1 to 64 characters of digits and dots remain
 * (PS3.5 9.1; leading zeros in a component are let pass, since devices write them). */
bool md_uid_copy(const uint8_t *bytes, size_t n, char *ret_uid) MD_NOEXCEPT;

/* Copy an AE title of 16 bytes without leading and trailing spaces into ret_title
 * (MD_AE_BYTES); bytes outside of printable ASCII become '?' (PS3.8 9.3.2). */
void md_ae_copy(const uint8_t bytes[16], char *ret_title) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
