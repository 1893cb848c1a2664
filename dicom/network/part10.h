#ifndef MEDAID_DICOM_NETWORK_PART10_H
#define MEDAID_DICOM_NETWORK_PART10_H

/* The head of a DICOM file, PS3.10 section 7.1: written around a dataset that came over the
 * network, read from a file that is to be sent. Any thread. */

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_PART10_PREAMBLE_BYTES = 128,
    MD_PART10_HEADER_BYTES = 1024,         /* more than the longest head that is written */
    MD_PART10_MAX_META_BYTES = 256 * 1024, /* of a file that is read */
};

typedef struct md_part10 {
    char sop_class_uid[MD_UID_BYTES];       /* (0002,0002) */
    char sop_instance_uid[MD_UID_BYTES];    /* (0002,0003) */
    char transfer_syntax_uid[MD_UID_BYTES]; /* (0002,0010) */
    uint64_t dataset_offset_bytes;
} md_part10;

/* Preamble, "DICM" and meta information for the UIDs of `head`; source_ae ("" for none) is the
 * AE that the dataset came from. Returns the length. */
size_t md_part10_write(const md_part10 *head, const char *source_ae,
                       uint8_t ret_bytes[MD_PART10_HEADER_BYTES]) MD_NOEXCEPT;

/* MD_FORMAT when the file has no head or the head lacks one of the three UIDs; MD_IO. */
md_status md_part10_read(int fd, md_part10 *ret_head, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
