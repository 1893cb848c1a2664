#ifndef MEDAID_DICOM_NETWORK_DIMSE_H
#define MEDAID_DICOM_NETWORK_DIMSE_H

/* The command sets of C-ECHO and C-STORE (PS3.7 section 9.3 and annex E) as bytes and back:
 * always implicit VR little endian. Pure functions; hostile bytes go in. Any thread. */

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_COMMAND_STORE_RQ = 0x0001,
    MD_COMMAND_ECHO_RQ = 0x0030,
    MD_COMMAND_CANCEL_RQ = 0x0fff,
    MD_COMMAND_RESPONSE = 0x8000, /* the bit that makes a request's response */

    MD_COMMAND_NO_DATASET = 0x0101, /* value of (0000,0800) */
    MD_COMMAND_MAX_BYTES = 16 * 1024,
    MD_COMMAND_WRITE_BYTES = 512, /* enough for every command that is written here */

    MD_DIMSE_SUCCESS = 0x0000,
    MD_DIMSE_PROCESSING_FAILURE = 0x0110,
    MD_DIMSE_INVALID_INSTANCE = 0x0117,
    MD_DIMSE_MISSING_ATTRIBUTE = 0x0120,
    MD_DIMSE_CLASS_NOT_SUPPORTED = 0x0122,
    MD_DIMSE_UNRECOGNISED_OPERATION = 0x0211,
    MD_DIMSE_MISTYPED = 0x0212,
    MD_DIMSE_OUT_OF_RESOURCES = 0xa700, /* PS3.4 table B.2-1 from here */
    MD_DIMSE_DATASET_MISMATCH = 0xa900, /* the dataset is not what the command says */
    MD_DIMSE_CANNOT_UNDERSTAND = 0xc000,
    MD_DIMSE_NO_RESPONSE = 0xffff, /* never on the wire */
};

typedef struct md_command {
    uint16_t field;                      /* (0000,0100) */
    uint16_t message_id;                 /* (0000,0110), or (0000,0120) of a response */
    uint16_t dataset_type;               /* (0000,0800) */
    uint16_t status;                     /* (0000,0900) of a response */
    bool has_dataset;                    /* dataset_type is not MD_COMMAND_NO_DATASET */
    bool instance_uid_invalid;           /* (0000,1000) is there, but is no UID */
    char sop_class_uid[MD_UID_BYTES];    /* (0000,0002), "" when absent or no UID */
    char sop_instance_uid[MD_UID_BYTES]; /* (0000,1000), likewise */
} md_command;

/* MD_FORMAT, with tag or number, when it is cut, has no command field, message id or dataset
 * type, or a value of the wrong length. Other elements are skipped. */
md_status md_command_parse(const uint8_t *bytes, size_t size_bytes, md_command *ret_command,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Write a request or a response (by `field`); a UID that is "" is left out. Returns the length.
 */
size_t md_command_write(const md_command *command, uint8_t ret_bytes[MD_COMMAND_WRITE_BYTES])
    MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
