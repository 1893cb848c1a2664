#include "dicom/network/incoming.h"

#include "base/clock.h"
#include "dicom/network/part10.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Out of resources is the one status after which a sender tries again later, so it stands for
 * everything that is our trouble and not the object's. */
static void refuse_os(md_incoming *incoming, int os_errno, const char *action)
{
    md_error why = {0};
    (void)md_fail_os(&why, os_errno, "%s", action);
    md_incoming_refuse(incoming, MD_DIMSE_OUT_OF_RESOURCES, &why);
}

static void write_all(md_incoming *incoming, const uint8_t *bytes, size_t n)
{
    while (n > 0 && incoming->fd >= 0) {
        ssize_t written = write(incoming->fd, bytes, n);
        if (written >= 0) {
            bytes += written;
            n -= (size_t)written;
        } else if (errno != EINTR) {
            refuse_os(incoming, errno, "write the object");
        }
    }
}

void md_incoming_drop(md_incoming *incoming)
{
    if (incoming->fd >= 0) {
        close(incoming->fd);
        incoming->fd = -1;
        unlink(incoming->path);
    }
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

void md_incoming_begin(md_incoming *incoming, const char *folder, const md_command *command,
                       const char *transfer_syntax_uid, const char *calling_ae,
                       uint64_t max_object_bytes)
{
    memset(incoming, 0, sizeof *incoming);
    incoming->fd = -1;
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
    int os_errno = create_file(incoming, folder);
    if (os_errno != 0) {
        refuse_os(incoming, os_errno, "create a file for the object");
        return;
    }
    md_part10 head = {0};
    uint8_t bytes[MD_PART10_HEADER_BYTES];
    memcpy(head.sop_class_uid, command->sop_class_uid, sizeof head.sop_class_uid);
    memcpy(head.sop_instance_uid, command->sop_instance_uid, sizeof head.sop_instance_uid);
    memcpy(head.transfer_syntax_uid, incoming->transfer_syntax_uid,
           sizeof head.transfer_syntax_uid);
    incoming->dataset_offset_bytes = md_part10_write(&head, calling_ae, bytes);
    write_all(incoming, bytes, (size_t)incoming->dataset_offset_bytes);
}

void md_incoming_add(md_incoming *incoming, const uint8_t *bytes, size_t n)
{
    incoming->dataset_bytes += n;
    if (incoming->dataset_bytes > incoming->max_object_bytes && incoming->fd >= 0) {
        md_error why = {0};
        (void)md_fail(&why, MD_LIMIT, "the object is larger than %llu bytes",
                      (unsigned long long)incoming->max_object_bytes);
        md_incoming_refuse(incoming, MD_DIMSE_OUT_OF_RESOURCES, &why);
    }
    write_all(incoming, bytes, n);
}

/* Read back and compare. */
static void check(md_incoming *incoming, const md_command *command, md_identity *ret_identity)
{
    md_error why = {0};
    md_status status =
        md_identity_read(incoming->fd, incoming->dataset_offset_bytes,
                         md_transfer_syntax_encoding(incoming->transfer_syntax_uid),
                         incoming->max_object_bytes, ret_identity, &why);
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
    if (incoming->fd >= 0) {
        check(incoming, command, ret_identity);
    }
    if (incoming->fd >= 0) {
        /* network file systems report a failed write only here */
        int os_errno = close(incoming->fd) == 0 ? 0 : errno;
        incoming->fd = -1;
        if (os_errno != 0) {
            unlink(incoming->path);
            refuse_os(incoming, os_errno, "close the object's file");
        }
    }
    return incoming->dimse_status;
}
