#include "daemon/worker/object_check.h"

#include "dicom/network/identity.h"
#include "dicom/network/part10.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void closep(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

/* A file of our own: the worker cannot write to it while we read. */
static md_status fill(int fd, const md_object *object, md_error *err)
{
    if (ftruncate(fd, 0) != 0) {
        return md_fail_os(err, errno, "check a result");
    }
    for (size_t done = 0; done < object->size_bytes;) {
        ssize_t n = pwrite(fd, object->bytes + done, object->size_bytes - done, (off_t)done);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            return md_fail_os(err, errno, "check a result");
        }
        done += n < 0 ? 0 : (size_t)n;
    }
    return MD_OK;
}

static md_status check(int fd, const md_object *object, const char *study_uid, md_error *err)
{
    md_part10 head;
    md_identity identity;
    MD_TRY(fill(fd, object, err));
    MD_TRY(md_part10_read(fd, &head, err));
    if (strcmp(head.transfer_syntax_uid, MD_UID_EXPLICIT_LITTLE) != 0 &&
        strcmp(head.transfer_syntax_uid, MD_UID_IMPLICIT_LITTLE) != 0) {
        return md_fail(err, MD_FORMAT, "an object in a syntax that medaid does not write");
    }
    MD_TRY(md_identity_read(fd, head.dataset_offset_bytes,
                            md_transfer_syntax_encoding(head.transfer_syntax_uid), 0, &identity,
                            err));
    if (strcmp(head.sop_class_uid, object->sop_class_uid) != 0 ||
        strcmp(identity.sop_class_uid, object->sop_class_uid) != 0 ||
        strcmp(head.sop_instance_uid, object->sop_instance_uid) != 0 ||
        strcmp(identity.sop_instance_uid, object->sop_instance_uid) != 0 ||
        strcmp(identity.series_instance_uid, object->series_instance_uid) != 0) {
        return md_fail(err, MD_FORMAT, "an object that is not what its worker says");
    }
    if (strcmp(identity.study_instance_uid, study_uid) != 0) {
        return md_fail(err, MD_FORMAT, "an object of another study");
    }
    if (strncmp(identity.series_instance_uid, "2.25.", 5) != 0) {
        return md_fail(err, MD_FORMAT, "an object in a series that medaid did not derive");
    }
    return MD_OK;
}

md_status md_worker_check_objects(const md_analysis *analysis, md_error *err)
{
    if (analysis->n_objects == 0) {
        return MD_OK;
    }
    if (analysis->n_results == 0) {
        return md_fail(err, MD_FORMAT, "objects without a result");
    }
    MD_AUTO(closep) int fd = memfd_create("medaid-check", MFD_CLOEXEC);
    if (fd < 0) {
        return md_fail_os(err, errno, "check a result");
    }
    for (size_t i = 0; i < analysis->n_objects; i++) {
        MD_TRY(check(fd, &analysis->objects[i], analysis->results[0].study_instance_uid, err));
    }
    return MD_OK;
}
