#ifndef MEDAID_DICOM_NETWORK_IDENTITY_H
#define MEDAID_DICOM_NETWORK_IDENTITY_H

/* Who a received dataset is, and whether it is whole: a walk over the element headers, from the
 * first byte to the last, that reads the four identifying UIDs and the Patient ID and steps
 * over all other values. It holds a few KiB whatever the size of the dataset, so that the
 * process that listens to the network never decodes what came from there. Any thread. */

#include "dicom/network/sop.h"

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_IDENTITY_MAX_DEPTH = 32,  /* sequences of undefined length inside each other */
    MD_IDENTITY_TEXT_BYTES = 257 /* 64 characters of 4 bytes */
};

typedef struct md_identity {
    char sop_class_uid[MD_UID_BYTES];       /* (0008,0016) */
    char sop_instance_uid[MD_UID_BYTES];    /* (0008,0018) */
    char study_instance_uid[MD_UID_BYTES];  /* (0020,000D) */
    char series_instance_uid[MD_UID_BYTES]; /* (0020,000E) */
    /* (0010,0020) for the audit trail, in the bytes of the dataset, without spaces at its ends;
     * "": none. What is too long is cut. */
    char patient_id[MD_IDENTITY_TEXT_BYTES];
} md_identity;

/* Walk the bytes from offset_bytes to the end of the file `fd` as a dataset. MD_FORMAT, with
 * tag or offset, when an element claims more than there is (the dataset was cut), a header
 * cannot be one, a sequence is not closed, or one of the four UIDs is absent, twice or no UID.
 * MD_LIMIT: nested too deep, or a deflated dataset of more than max_inflated_bytes. MD_IO. */
md_status md_identity_read(int fd, uint64_t offset_bytes, md_encoding encoding,
                           uint64_t max_inflated_bytes, md_identity *ret_identity,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The same for a file of which the caller still has parts in memory: they are taken from there,
 * and nothing but gaps between them is read from the file. NULL: none. */
typedef struct md_identity_part {
    uint64_t file_at; /* where its first byte is in the file */
    const uint8_t *bytes;
    size_t n;
} md_identity_part;

md_status md_identity_read_parts(int fd, uint64_t offset_bytes, const md_identity_part parts[2],
                                 md_encoding encoding, uint64_t max_inflated_bytes,
                                 md_identity *ret_identity, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
