#ifndef MEDAID_DICOM_NETWORK_IDENTITY_H
#define MEDAID_DICOM_NETWORK_IDENTITY_H

/* Who a received dataset is, and whether it is whole: a walk over the element headers, from the
 * first byte to the last, that reads the four identifying UIDs, the Patient ID and what
 * else the caller names, at most a few values of bounded length, and steps over all others. It
 * holds a few KiB whatever the size of the dataset, so that the process that listens to the
 * network never decodes what came from there. Any thread. */

#include "dicom/network/sop.h"

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_IDENTITY_MAX_DEPTH = 32,   /* sequences of undefined length inside each other */
    MD_IDENTITY_TEXT_BYTES = 257, /* 64 characters of 4 bytes */
    MD_IDENTITY_MAX_WANTED = 32,
    MD_IDENTITY_VALUE_BYTES = 128, /* of a wanted value; what is longer is cut */
};

/* An attribute of the dataset, or of the first item of a sequence in it. */
typedef struct md_wanted_tag {
    uint32_t sequence; /* 0: at the top level */
    uint32_t tag;
} md_wanted_tag;

typedef struct md_wanted {
    md_wanted_tag tags[MD_IDENTITY_MAX_WANTED];
    unsigned n;
} md_wanted;

/* The bytes as they stand there; in an item behind much else (4 KiB) it may not be found. */
typedef struct md_wanted_value {
    bool is_there;
    bool is_big_endian;
    char vr[3];       /* "": implicit VR */
    uint16_t n_bytes; /* at most MD_IDENTITY_VALUE_BYTES */
    uint8_t bytes[MD_IDENTITY_VALUE_BYTES];
} md_wanted_value;

typedef struct md_identity {
    char sop_class_uid[MD_UID_BYTES];       /* (0008,0016) */
    char sop_instance_uid[MD_UID_BYTES];    /* (0008,0018) */
    char study_instance_uid[MD_UID_BYTES];  /* (0020,000D) */
    char series_instance_uid[MD_UID_BYTES]; /* (0020,000E) */
    /* (0010,0020) for the audit trail, in the bytes of the dataset, without spaces at its ends;
     * "": none. What is too long is cut. */
    char patient_id[MD_IDENTITY_TEXT_BYTES];
    md_wanted_value charset;                        /* (0008,0005) */
    md_wanted_value values[MD_IDENTITY_MAX_WANTED]; /* in the order of md_wanted */
} md_identity;

/* Walk the bytes from offset_bytes to the end of the file `fd` as a dataset. MD_FORMAT, with
 * tag or offset, when an element claims more than there is (the dataset was cut), a header
 * cannot be one, a sequence is not closed, or one of the four UIDs is absent, twice or no UID.
 * MD_LIMIT: nested too deep, or a deflated dataset of more than max_inflated_bytes. MD_IO. */
md_status md_identity_read(int fd, uint64_t offset_bytes, md_encoding encoding,
                           uint64_t max_inflated_bytes, md_identity *ret_identity,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The same for a file of which the caller still has parts in memory: they are taken from there,
 * and nothing but gaps between them is read from the file. NULL: none. `wanted` may be NULL
 * too. */
typedef struct md_identity_part {
    uint64_t file_at; /* where its first byte is in the file */
    const uint8_t *bytes;
    size_t n;
} md_identity_part;

md_status md_identity_read_parts(int fd, uint64_t offset_bytes, const md_identity_part parts[2],
                                 md_encoding encoding, uint64_t max_inflated_bytes,
                                 const md_wanted *wanted, md_identity *ret_identity,
                                 md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
