#include "dicom/network/incoming.h"

#include "base/clock.h"
#include "dicom/network/part10.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    DIRECT_LEAST_BYTES = 128 * 1024 /* of an object's last piece: below, the page cache is
                                       quicker than to wait for the disk */
};

/* Out of resources is the one status after which a sender tries again later, so it stands for
 * everything that is our trouble and not the object's. */
static void refuse_os(md_incoming *incoming, int os_errno, const char *action)
{
    md_error why = {0};
    (void)md_fail_os(&why, os_errno, "%s", action);
    md_incoming_refuse(incoming, MD_DIMSE_OUT_OF_RESOURCES, &why);
}

/* Bytes at the file's present end. */
static void write_all(md_incoming *incoming, const uint8_t *bytes, size_t n)
{
    while (n > 0 && incoming->fd >= 0) {
        ssize_t written = pwrite(incoming->fd, bytes, n, (off_t)incoming->written_bytes);
        if (written >= 0) {
            bytes += written;
            n -= (size_t)written;
            incoming->written_bytes += (uint64_t)written;
        } else if (errno != EINTR) {
            refuse_os(incoming, errno, "write the object");
        }
    }
}

/* The same past the page cache, as far as it goes: everything is aligned. The rest is for
 * write_all, which also finds out what is wrong, if anything is. */
static size_t write_direct(md_incoming *incoming, const uint8_t *bytes, size_t n)
{
    size_t done = 0;
    int flags = fcntl(incoming->fd, F_GETFL);
    if (flags < 0 || fcntl(incoming->fd, F_SETFL, flags | O_DIRECT) != 0) {
        return 0; /* this file system cannot */
    }
    while (done < n) {
        ssize_t written =
            pwrite(incoming->fd, bytes + done, n - done, (off_t)incoming->written_bytes);
        if (written > 0) {
            done += (size_t)written;
            incoming->written_bytes += (uint64_t)written;
        }
        if (written == 0 || written % MD_BUFFER_ALIGNMENT_BYTES != 0 ||
            (written < 0 && errno != EINTR)) {
            break;
        }
    }
    (void)fcntl(incoming->fd, F_SETFL, flags);
    return done;
}

/* Empty the buffer into the file. */
static void write_buffer(md_incoming *incoming)
{
    size_t n = incoming->buffered_bytes;
    size_t done = 0;
    if (n >= DIRECT_LEAST_BYTES) {
        done = write_direct(incoming, incoming->buffer, n - n % MD_BUFFER_ALIGNMENT_BYTES);
    }
    write_all(incoming, incoming->buffer + done, n - done);
}

static void give_buffer(md_incoming *incoming)
{
    if (incoming->buffer != NULL) {
        md_buffers_give(incoming->buffers, incoming->buffer);
        incoming->buffer = NULL;
    }
    md_content_tag_destroy(incoming->tag);
    incoming->tag = NULL;
}

void md_incoming_leave(md_incoming *incoming)
{
    if (incoming->fd >= 0) {
        close(incoming->fd);
        incoming->fd = -1;
    }
    give_buffer(incoming);
}

void md_incoming_drop(md_incoming *incoming)
{
    if (incoming->fd >= 0) {
        unlink(incoming->path);
    }
    md_incoming_leave(incoming);
}

void md_incoming_refuse(md_incoming *incoming, uint16_t dimse_status, const md_error *why)
{
    if (incoming->dimse_status == MD_DIMSE_SUCCESS) {
        incoming->dimse_status = dimse_status;
        incoming->why = *why;
    }
    md_incoming_drop(incoming);
}

/* A name that no earlier run of this process or of another has used: the clock at first use and
 * a counter. Nothing of the object is in it. */
static int create_file(md_incoming *incoming, const char *folder)
{
    static atomic_ullong counter;
    enum {
        TRIES = 100
    };
    for (int i = 0; i < TRIES; i++) {
        int length =
            snprintf(incoming->path, sizeof incoming->path, "%s/%013llx-%llx.dcm", folder,
                     (unsigned long long)md_clock_wall_ms(), atomic_fetch_add(&counter, 1));
        if (length < 0 || (size_t)length >= sizeof incoming->path) {
            return ENAMETOOLONG;
        }
        incoming->fd = open(incoming->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (incoming->fd >= 0 || errno != EEXIST) {
            return incoming->fd >= 0 ? 0 : errno;
        }
    }
    return EEXIST;
}

void md_incoming_begin(md_incoming *incoming, md_buffers *buffers,
                       const md_incoming_place *place, const md_command *command,
                       const char *transfer_syntax_uid, const char *calling_ae,
                       const uint8_t *content_key, uint64_t max_object_bytes)
{
    memset(incoming, 0, sizeof *incoming);
    incoming->fd = -1;
    incoming->buffers = buffers;
    incoming->max_object_bytes = max_object_bytes;
    snprintf(incoming->transfer_syntax_uid, sizeof incoming->transfer_syntax_uid, "%s",
             transfer_syntax_uid);
    md_error why = {0};
    if (command->instance_uid_invalid) {
        (void)md_fail(&why, MD_FORMAT, "the command's SOP Instance UID is no UID");
        md_incoming_refuse(incoming, MD_DIMSE_INVALID_INSTANCE, &why);
        return;
    }
    if (command->sop_class_uid[0] == '\0' || command->sop_instance_uid[0] == '\0') {
        (void)md_fail(&why, MD_FORMAT, "the command has no SOP Class or Instance UID");
        md_incoming_refuse(incoming, MD_DIMSE_MISSING_ATTRIBUTE, &why);
        return;
    }
    int os_errno = place->make_file != NULL
                       ? place->make_file(place->context, incoming->path, sizeof incoming->path,
                                          &incoming->file_number, &incoming->fd)
                       : create_file(incoming, place->folder);
    if (os_errno != 0) {
        refuse_os(incoming, os_errno, "create a file for the object");
        return;
    }
    if (content_key != NULL &&
        md_content_tag_create(content_key, &incoming->tag, &why) != MD_OK) {
        md_incoming_refuse(incoming, MD_DIMSE_OUT_OF_RESOURCES, &why);
        return;
    }
    md_part10 head = {0};
    uint8_t bytes[MD_PART10_HEADER_BYTES];
    memcpy(head.sop_class_uid, command->sop_class_uid, sizeof head.sop_class_uid);
    memcpy(head.sop_instance_uid, command->sop_instance_uid, sizeof head.sop_instance_uid);
    memcpy(head.transfer_syntax_uid, incoming->transfer_syntax_uid,
           sizeof head.transfer_syntax_uid);
    incoming->dataset_offset_bytes = md_part10_write(&head, calling_ae, bytes);
    incoming->buffer = md_buffers_take(buffers);
    if (incoming->buffer == NULL) {
        write_all(incoming, bytes, (size_t)incoming->dataset_offset_bytes);
    } else {
        incoming->buffered_bytes = (size_t)incoming->dataset_offset_bytes;
        memcpy(incoming->buffer, bytes, incoming->buffered_bytes);
    }
}

/* n more bytes of the dataset have come, which are at `bytes`. */
static void count(md_incoming *incoming, const uint8_t *bytes, size_t n)
{
    incoming->dataset_bytes += n;
    if (incoming->fd < 0) {
        return;
    }
    if (incoming->dataset_bytes > incoming->max_object_bytes) {
        md_error why = {0};
        (void)md_fail(&why, MD_LIMIT, "the object is larger than %llu bytes",
                      (unsigned long long)incoming->max_object_bytes);
        md_incoming_refuse(incoming, MD_DIMSE_OUT_OF_RESOURCES, &why);
    } else if (incoming->tag != NULL && !md_content_tag_add(incoming->tag, bytes, n)) {
        refuse_os(incoming, ENOMEM, "tag the object");
    }
}

bool md_incoming_room(md_incoming *incoming, uint8_t **ret_to, size_t *ret_n)
{
    if (incoming->buffer == NULL) {
        return false;
    }
    if (incoming->buffered_bytes == MD_BUFFER_BYTES) {
        if (incoming->prefix_bytes == 0) {
            incoming->prefix_bytes = MD_BUFFER_SPARE_BYTES;
            memcpy(incoming->buffer + MD_BUFFER_BYTES, incoming->buffer, MD_BUFFER_SPARE_BYTES);
        }
        write_buffer(incoming);
        incoming->buffered_bytes = 0;
        if (incoming->fd < 0) {
            return false;
        }
    }
    *ret_to = incoming->buffer + incoming->buffered_bytes;
    *ret_n = MD_BUFFER_BYTES - incoming->buffered_bytes;
    return true;
}

void md_incoming_advance(md_incoming *incoming, size_t n)
{
    const uint8_t *bytes = incoming->buffer + incoming->buffered_bytes;
    incoming->buffered_bytes += n;
    count(incoming, bytes, n);
}

void md_incoming_add(md_incoming *incoming, const uint8_t *bytes, size_t n)
{
    uint8_t *to = NULL;
    size_t room = 0;
    while (n > 0 && md_incoming_room(incoming, &to, &room)) {
        size_t part = n < room ? n : room;
        memcpy(to, bytes, part);
        md_incoming_advance(incoming, part);
        bytes += part;
        n -= part;
    }
    if (n > 0) {
        count(incoming, bytes, n);
        write_all(incoming, bytes, n);
    }
}

/* Look at what was written and compare. */
static void check(md_incoming *incoming, const md_command *command, md_identity *ret_identity)
{
    md_error why = {0};
    const md_identity_part parts[2] = {
        {.file_at = 0,
         .bytes = incoming->prefix_bytes > 0 ? incoming->buffer + MD_BUFFER_BYTES : NULL,
         .n = incoming->prefix_bytes},
        {.file_at = incoming->written_bytes - incoming->buffered_bytes,
         .bytes = incoming->buffer,
         .n = incoming->buffered_bytes},
    };
    md_status status = md_identity_read_parts(
        incoming->fd, incoming->dataset_offset_bytes, parts,
        md_transfer_syntax_encoding(incoming->transfer_syntax_uid), incoming->max_object_bytes,
        incoming->wanted, ret_identity, &why);
    if (status != MD_OK) {
        bool is_ours = status == MD_IO || status == MD_NOMEM || status == MD_LIMIT;
        md_incoming_refuse(
            incoming, is_ours ? MD_DIMSE_OUT_OF_RESOURCES : MD_DIMSE_CANNOT_UNDERSTAND, &why);
        return;
    }
    bool same_class = strcmp(ret_identity->sop_class_uid, command->sop_class_uid) == 0;
    bool same_instance = strcmp(ret_identity->sop_instance_uid, command->sop_instance_uid) == 0;
    if (!same_class || !same_instance) {
        (void)md_fail(&why, MD_FORMAT, "the dataset's SOP %s UID is not the command's",
                      same_class ? "Instance" : "Class");
        md_incoming_refuse(incoming, MD_DIMSE_DATASET_MISMATCH, &why);
    }
}

uint16_t md_incoming_finish(md_incoming *incoming, const md_command *command,
                            md_identity *ret_identity)
{
    if (incoming->buffer != NULL) {
        write_buffer(incoming);
    } else if (incoming->fd >= 0) {
        /* the disk may begin while the headers are looked at */
        (void)sync_file_range(incoming->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    if (incoming->fd >= 0) {
        check(incoming, command, ret_identity);
    }
    if (incoming->fd >= 0 && incoming->tag != NULL &&
        !md_content_tag_end(incoming->tag, incoming->content_tag)) {
        refuse_os(incoming, ENOMEM, "tag the object");
    }
    give_buffer(incoming);
    return incoming->dimse_status;
}
