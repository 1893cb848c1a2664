#ifndef MEDAID_DICOM_NETWORK_INCOMING_H
#define MEDAID_DICOM_NETWORK_INCOMING_H

/* One object on its way from the network into a Part 10 file. The first thing that goes wrong
 * decides the DIMSE status; later bytes are then counted and thrown away, because the sender
 * goes on until the object's end and only then reads a response. One thread at a time. */

#include "dicom/network/dimse.h"
#include "dicom/network/identity.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_INCOMING_PATH_BYTES = 1024
};

typedef struct md_incoming {
    int fd; /* -1: nothing is open */
    char path[MD_INCOMING_PATH_BYTES];
    char transfer_syntax_uid[MD_UID_BYTES];
    uint64_t max_object_bytes;
    uint64_t dataset_bytes;        /* received so far */
    uint64_t dataset_offset_bytes; /* in the file */
    uint16_t dimse_status;         /* MD_DIMSE_SUCCESS so far */
    md_error why;                  /* when it is not */
} md_incoming;

/* Make the file "<folder>/<counter>.dcm" with its head. Never fails; see dimse_status. */
void md_incoming_begin(md_incoming *incoming, const char *folder, const md_command *command,
                       const char *transfer_syntax_uid, const char *calling_ae,
                       uint64_t max_object_bytes) MD_NOEXCEPT;
/* Refuse for a reason found outside. Keeps an earlier one. */
void md_incoming_refuse(md_incoming *incoming, uint16_t dimse_status, const md_error *why)
    MD_NOEXCEPT;
/* Append bytes of the dataset. */
void md_incoming_add(md_incoming *incoming, const uint8_t *bytes, size_t n) MD_NOEXCEPT;
/* The last byte is there: compare with the command and check that the dataset is whole. On
 * MD_DIMSE_SUCCESS the file is closed and now the caller's, and *ret_identity is set; else it
 * is gone. Returns the status. */
uint16_t md_incoming_finish(md_incoming *incoming, const md_command *command,
                            md_identity *ret_identity) MD_NOEXCEPT;
/* The sender died: close and remove. */
void md_incoming_drop(md_incoming *incoming) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
