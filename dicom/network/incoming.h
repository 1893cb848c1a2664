#ifndef MEDAID_DICOM_NETWORK_INCOMING_H
#define MEDAID_DICOM_NETWORK_INCOMING_H

/* One object on its way from the network into a Part 10 file. The first thing that goes wrong
 * decides the DIMSE status; later bytes are then counted and thrown away, because the sender
 * goes on until the object's end and only then reads a response. One thread at a time.
 *
 * The content tag is computed as the bytes come. With one of the shared buffers they are
 * collected there and written in pieces of MD_BUFFER_BYTES past the page cache (O_DIRECT, where
 * the file system has it): the object is then on its way to the disk before its last byte is
 * there, and making it durable has little left to write. Small objects, and what does not fill
 * a block at the end, go through the page cache; so does all when no buffer is free. */

#include "dicom/network/buffers.h"
#include "dicom/network/dimse.h"
#include "dicom/network/identity.h"

#include "base/content_tag.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_INCOMING_PATH_BYTES = 1024
};

typedef struct md_incoming {
    int fd; /* -1: nothing is open */
    char path[MD_INCOMING_PATH_BYTES];
    uint64_t file_number;
    char transfer_syntax_uid[MD_UID_BYTES];
    uint64_t max_object_bytes;
    uint64_t dataset_bytes;        /* received so far */
    uint64_t dataset_offset_bytes; /* in the file */
    uint64_t written_bytes;        /* of the file */
    md_buffers *buffers;
    uint8_t *buffer; /* taken, or NULL; holds what follows the written bytes */
    size_t buffered_bytes, prefix_bytes; /* the file's start, once it has left the buffer */
    md_content_tag *tag;                 /* owned, NULL: none is wanted */
    uint8_t content_tag[MD_CONTENT_TAG_BYTES]; /* of the dataset, after the finish */
    const md_wanted *wanted; /* for the identity; NULL after the begin, set by the caller */
    uint16_t dimse_status;   /* MD_DIMSE_SUCCESS so far */
    md_error why;            /* when it is not */
} md_incoming;

/* Where files for objects are made: by make_file, see md_scp_options, or else as
 * "<folder>/<counter>.dcm". */
typedef struct md_incoming_place {
    const char *folder;
    int (*make_file)(void *context, char *ret_path, size_t path_bytes, uint64_t *ret_number,
                     int *ret_fd);
    void *context;
} md_incoming_place;

/* Make the file with its head. Never fails; see dimse_status.
 * `buffers` is borrowed until the finish or drop, content_key (NULL: no tag) for the call. */
void md_incoming_begin(md_incoming *incoming, md_buffers *buffers,
                       const md_incoming_place *place, const md_command *command,
                       const char *transfer_syntax_uid, const char *calling_ae,
                       const uint8_t *content_key, uint64_t max_object_bytes) MD_NOEXCEPT;
/* Refuse for a reason found outside. Keeps an earlier one. */
void md_incoming_refuse(md_incoming *incoming, uint16_t dimse_status, const md_error *why)
    MD_NOEXCEPT;
/* Append bytes of the dataset. */
void md_incoming_add(md_incoming *incoming, const uint8_t *bytes, size_t n) MD_NOEXCEPT;
/* Where the next bytes may be put instead, at least one; then md_incoming_advance by how many
 * were. False: there is no such place now, use md_incoming_add. */
bool md_incoming_room(md_incoming *incoming, uint8_t **ret_to, size_t *ret_n) MD_NOEXCEPT;
void md_incoming_advance(md_incoming *incoming, size_t n) MD_NOEXCEPT;
/* The last byte is there: compare with the command and check that the dataset is whole. On
 * MD_DIMSE_SUCCESS the file is complete and now the caller's, still open as incoming->fd until
 * md_incoming_leave, and *ret_identity and incoming->content_tag are set; else it is gone.
 * Returns the status. */
uint16_t md_incoming_finish(md_incoming *incoming, const md_command *command,
                            md_identity *ret_identity) MD_NOEXCEPT;
/* Close and leave the file to whoever has it now. */
void md_incoming_leave(md_incoming *incoming) MD_NOEXCEPT;
/* The sender died: close and remove. */
void md_incoming_drop(md_incoming *incoming) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
