#include "dicom/network/part10.h"

#include "dicom/network/bytes.h"
#include "dicom/network/sop.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    MAGIC_BYTES = 4,
    SHORT_HEADER_BYTES = 8,
    LONG_HEADER_BYTES = 12,
};

static void put_header(uint8_t *p, unsigned element, const char *vr, size_t length)
{
    md_put_le16(p, 2);
    md_put_le16(p + 2, (uint16_t)element);
    memcpy(p + 4, vr, 2);
    md_put_le16(p + 6, (uint16_t)length);
}

static void put_text(uint8_t *bytes, size_t *used, unsigned element, const char *vr,
                     const char *text)
{
    size_t length = strlen(text);
    if (length == 0) {
        return;
    }
    uint8_t *p = bytes + *used;
    size_t padded = length + length % 2;
    put_header(p, element, vr, padded);
    p[SHORT_HEADER_BYTES + padded - 1] = strcmp(vr, "UI") == 0 ? '\0' : ' ';
    memcpy(p + SHORT_HEADER_BYTES, text, length);
    *used += SHORT_HEADER_BYTES + padded;
}

size_t md_part10_write(const md_part10 *head, const char *source_ae,
                       uint8_t ret_bytes[MD_PART10_HEADER_BYTES])
{
    size_t used = MD_PART10_PREAMBLE_BYTES + MAGIC_BYTES;
    memset(ret_bytes, 0, MD_PART10_PREAMBLE_BYTES);
    memcpy(ret_bytes + MD_PART10_PREAMBLE_BYTES, "DICM", MAGIC_BYTES);
    size_t group_length_at = used;
    put_header(ret_bytes + used, 0x0000, "UL", 4);
    used += SHORT_HEADER_BYTES + 4;
    size_t group_begin = used;
    /* File Meta Information Version: OB, so with the long header */
    put_header(ret_bytes + used, 0x0001, "OB", 0);
    md_put_le32(ret_bytes + used + SHORT_HEADER_BYTES, 2);
    ret_bytes[used + LONG_HEADER_BYTES] = 0;
    ret_bytes[used + LONG_HEADER_BYTES + 1] = 1;
    used += LONG_HEADER_BYTES + 2;
    put_text(ret_bytes, &used, 0x0002, "UI", head->sop_class_uid);
    put_text(ret_bytes, &used, 0x0003, "UI", head->sop_instance_uid);
    put_text(ret_bytes, &used, 0x0010, "UI", head->transfer_syntax_uid);
    put_text(ret_bytes, &used, 0x0012, "UI", MD_IMPLEMENTATION_CLASS_UID);
    put_text(ret_bytes, &used, 0x0013, "SH", MD_IMPLEMENTATION_VERSION);
    put_text(ret_bytes, &used, 0x0016, "AE", source_ae);
    md_put_le32(ret_bytes + group_length_at + SHORT_HEADER_BYTES,
                (uint32_t)(used - group_begin));
    return used;
}

/* All n bytes from `offset` on; fewer only at the end of the file. */
static md_status read_at(int fd, uint64_t offset, uint8_t *ret_bytes, size_t n, size_t *ret_n,
                         md_error *err)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(fd, ret_bytes + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return md_fail_os(err, errno, "read the file's head");
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    *ret_n = done;
    return MD_OK;
}

static char *head_field(md_part10 *head, unsigned element)
{
    switch (element) {
    case 0x0002:
        return head->sop_class_uid;
    case 0x0003:
        return head->sop_instance_uid;
    case 0x0010:
        return head->transfer_syntax_uid;
    default:
        return NULL;
    }
}

/* Read the element at head->dataset_offset_bytes and step over it; *ret_more is false when the
 * meta information has ended there. */
static md_status read_element(int fd, md_part10 *head, bool *ret_more, md_error *err)
{
    uint8_t bytes[LONG_HEADER_BYTES];
    uint8_t value[MD_UID_BYTES + 1];
    size_t n = 0, n_value = 0, header_bytes = SHORT_HEADER_BYTES;
    MD_TRY(read_at(fd, head->dataset_offset_bytes, bytes, sizeof bytes, &n, err));
    *ret_more = n >= SHORT_HEADER_BYTES && md_get_le16(bytes) == 2;
    if (!*ret_more) {
        return MD_OK;
    }
    unsigned element = md_get_le16(bytes + 2);
    size_t length = md_get_le16(bytes + 6);
    if (memcmp(bytes + 4, "OB", 2) == 0 || memcmp(bytes + 4, "UN", 2) == 0) {
        header_bytes = LONG_HEADER_BYTES;
        length = n == sizeof bytes ? md_get_le32(bytes + 8) : SIZE_MAX;
    }
    uint64_t value_at = head->dataset_offset_bytes + header_bytes;
    if (length > MD_PART10_MAX_META_BYTES || value_at > MD_PART10_MAX_META_BYTES) {
        return md_fail(err, MD_FORMAT, "meta element (0002,%04x) is longer than %d bytes",
                       element, MD_PART10_MAX_META_BYTES);
    }
    char *field = head_field(head, element);
    if (field != NULL && length <= sizeof value) {
        MD_TRY(read_at(fd, value_at, value, length, &n_value, err));
        if (n_value != length) {
            return md_fail(err, MD_FORMAT, "the file ends within (0002,%04x)", element);
        }
        (void)md_uid_copy(value, n_value, field);
    }
    head->dataset_offset_bytes = value_at + length;
    return MD_OK;
}

md_status md_part10_read(int fd, md_part10 *ret_head, md_error *err)
{
    uint8_t start[MD_PART10_PREAMBLE_BYTES + MAGIC_BYTES];
    md_part10 head = {.dataset_offset_bytes = sizeof start};
    size_t n = 0;
    bool more = true;
    MD_TRY(read_at(fd, 0, start, sizeof start, &n, err));
    if (n < sizeof start ||
        memcmp(start + MD_PART10_PREAMBLE_BYTES, "DICM", MAGIC_BYTES) != 0) {
        return md_fail(err, MD_FORMAT, "not a DICOM file: no DICM after the preamble");
    }
    while (more) {
        MD_TRY(read_element(fd, &head, &more, err));
    }
    if (head.sop_class_uid[0] == '\0' || head.sop_instance_uid[0] == '\0' ||
        head.transfer_syntax_uid[0] == '\0') {
        return md_fail(err, MD_FORMAT,
                       "the meta header lacks SOP class, SOP instance or transfer syntax");
    }
    *ret_head = head;
    return MD_OK;
}
