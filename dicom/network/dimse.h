#ifndef MEDAID_DICOM_NETWORK_DIMSE_H
#define MEDAID_DICOM_NETWORK_DIMSE_H

/* The command sets of PS3.7 (sections 9.3 and 10.3, annex E) as bytes and back: always implicit
 * VR little endian. Pure functions; hostile bytes go in. Any thread. */

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_COMMAND_STORE_RQ = 0x0001,
    MD_COMMAND_FIND_RQ = 0x0020,
    MD_COMMAND_ECHO_RQ = 0x0030,
    MD_COMMAND_EVENT_REPORT_RQ = 0x0100,
    MD_COMMAND_GET_RQ = 0x0110, /* the N-GET */
    MD_COMMAND_SET_RQ = 0x0120,
    MD_COMMAND_ACTION_RQ = 0x0130,
    MD_COMMAND_CREATE_RQ = 0x0140,
    MD_COMMAND_DELETE_RQ = 0x0150,
    MD_COMMAND_CANCEL_RQ = 0x0fff,
    MD_COMMAND_RESPONSE = 0x8000, /* the bit that makes a request's response */

    MD_COMMAND_NO_DATASET = 0x0101, /* value of (0000,0800) */
    MD_COMMAND_MAX_BYTES = 16 * 1024,
    MD_COMMAND_WRITE_BYTES = 512,   /* enough for every command that is written here */
    MD_COMMAND_MAX_ATTRIBUTES = 16, /* of an attribute list that is written */
    MD_COMMAND_COMMENT_BYTES = 65,  /* LO: 64 characters and the zero */

    MD_DIMSE_SUCCESS = 0x0000, /* PS3.7 annex C up to MD_DIMSE_RESOURCE_LIMITATION */
    MD_DIMSE_WARNING_ATTRIBUTE_LIST = 0x0107,
    MD_DIMSE_CLASS_INSTANCE_CONFLICT = 0x0119,
    MD_DIMSE_WARNING_VALUE_OUT_OF_RANGE = 0x0116,
    MD_DIMSE_INVALID_ATTRIBUTE_VALUE = 0x0106,
    MD_DIMSE_NO_SUCH_ATTRIBUTE = 0x0105,
    MD_DIMSE_PROCESSING_FAILURE = 0x0110,
    MD_DIMSE_DUPLICATE_INSTANCE = 0x0111,
    MD_DIMSE_NO_SUCH_INSTANCE = 0x0112,
    MD_DIMSE_NO_SUCH_EVENT = 0x0113,
    MD_DIMSE_NO_SUCH_ARGUMENT = 0x0114,
    MD_DIMSE_INVALID_ARGUMENT = 0x0115,
    MD_DIMSE_INVALID_INSTANCE = 0x0117,
    MD_DIMSE_MISSING_ATTRIBUTE = 0x0120,
    MD_DIMSE_MISSING_VALUE = 0x0121,
    MD_DIMSE_CLASS_NOT_SUPPORTED = 0x0122,
    MD_DIMSE_NO_SUCH_ACTION = 0x0123,
    MD_DIMSE_NOT_AUTHORISED = 0x0124,
    MD_DIMSE_UNRECOGNISED_OPERATION = 0x0211,
    MD_DIMSE_MISTYPED = 0x0212,
    MD_DIMSE_RESOURCE_LIMITATION = 0x0213,
    MD_DIMSE_OUT_OF_RESOURCES = 0xa700, /* PS3.4 table B.2-1 from here */
    MD_DIMSE_DATASET_MISMATCH = 0xa900, /* the dataset is not what the command says */
    MD_DIMSE_CANNOT_UNDERSTAND = 0xc000,
    MD_DIMSE_CANCELLED = 0xfe00,
    MD_DIMSE_PENDING = 0xff00,
    MD_DIMSE_PENDING_UNMATCHED = 0xff01, /* pending; some optional keys were not matched */
    MD_DIMSE_NO_RESPONSE = 0xffff,       /* never on the wire */
};

typedef struct md_command {
    uint16_t field;            /* (0000,0100) */
    uint16_t message_id;       /* (0000,0110), or (0000,0120) of a response */
    uint16_t dataset_type;     /* (0000,0800) */
    uint16_t status;           /* (0000,0900) of a response */
    bool has_dataset;          /* dataset_type is not MD_COMMAND_NO_DATASET */
    bool instance_uid_invalid; /* the instance is there, but is no UID */
    bool has_number;
    uint16_t number; /* event type (0000,1002) or action type (0000,1008) */
    /* (0000,0002), or (0000,0003) of a request that names an existing instance; "" when absent
     * or no UID */
    char sop_class_uid[MD_UID_BYTES];
    char sop_instance_uid[MD_UID_BYTES];    /* (0000,1000) or (0000,1001), likewise */
    char comment[MD_COMMAND_COMMENT_BYTES]; /* (0000,0902), printable ASCII; "": none */
    /* The attribute list of an N-GET (0000,1005), 4 bytes each: group, element. Points into the
     * parsed bytes. To write one, put it here as little endian bytes. */
    const uint8_t *attributes;
    size_t n_attributes;
} md_command;

/* Whether a request of this kind names its instance as the requested one (PS3.7 10.3: N-GET,
 * N-SET, N-ACTION, N-DELETE); else as the affected one. */
bool md_command_is_requested(uint16_t field) MD_NOEXCEPT;

/* MD_FORMAT, with tag or number, when it is cut, has no command field, message id or dataset
 * type, or a value of the wrong length. Other elements are skipped. */
md_status md_command_parse(const uint8_t *bytes, size_t size_bytes, md_command *ret_command,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Write a request or a response (by `field`); a UID that is "" is left out, an attribute list
 * (of a request, at most MD_COMMAND_MAX_ATTRIBUTES) too. Returns the length. */
size_t md_command_write(const md_command *command, uint8_t ret_bytes[MD_COMMAND_WRITE_BYTES])
    MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
