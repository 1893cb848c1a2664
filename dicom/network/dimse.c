#include "dicom/network/dimse.h"

#include "dicom/network/bytes.h"

#include <string.h>

enum {
    ELEMENT_HEADER_BYTES = 8,
    TAG_SOP_CLASS = 0x0002,
    TAG_FIELD = 0x0100,
    TAG_MESSAGE_ID = 0x0110,
    TAG_RESPONDED_ID = 0x0120,
    TAG_PRIORITY = 0x0700,
    TAG_DATASET_TYPE = 0x0800,
    TAG_STATUS = 0x0900,
    TAG_SOP_INSTANCE = 0x1000,
};

static md_status get_us(unsigned element, const uint8_t *value, size_t size_bytes,
                        uint16_t *ret_value, md_error *err)
{
    if (size_bytes != 2) {
        return md_fail(err, MD_FORMAT, "command element (0000,%04x) has %zu bytes instead of 2",
                       element, size_bytes);
    }
    *ret_value = md_get_le16(value);
    return MD_OK;
}

/* Take one element into the command; `seen` gets the bit of the ones that must be there. */
static md_status take(unsigned element, const uint8_t *value, size_t size_bytes,
                      md_command *command, uint16_t *responded_id, unsigned *seen,
                      md_error *err)
{
    switch (element) {
    case TAG_FIELD:
        *seen |= 1;
        return get_us(element, value, size_bytes, &command->field, err);
    case TAG_MESSAGE_ID:
        *seen |= 2;
        return get_us(element, value, size_bytes, &command->message_id, err);
    case TAG_RESPONDED_ID:
        *seen |= 4;
        return get_us(element, value, size_bytes, responded_id, err);
    case TAG_DATASET_TYPE:
        *seen |= 8;
        return get_us(element, value, size_bytes, &command->dataset_type, err);
    case TAG_STATUS:
        *seen |= 16;
        return get_us(element, value, size_bytes, &command->status, err);
    case TAG_SOP_CLASS:
        (void)md_uid_copy(value, size_bytes, command->sop_class_uid);
        return MD_OK;
    case TAG_SOP_INSTANCE:
        command->instance_uid_invalid =
            !md_uid_copy(value, size_bytes, command->sop_instance_uid);
        return MD_OK;
    default:
        return MD_OK;
    }
}

md_status md_command_parse(const uint8_t *bytes, size_t size_bytes, md_command *ret_command,
                           md_error *err)
{
    uint16_t responded_id = 0;
    unsigned seen = 0;
    size_t at = 0;
    memset(ret_command, 0, sizeof *ret_command);
    while (at < size_bytes) {
        if (size_bytes - at < ELEMENT_HEADER_BYTES) {
            return md_fail(err, MD_FORMAT, "command set cut at byte %zu", at);
        }
        unsigned group = md_get_le16(bytes + at);
        unsigned element = md_get_le16(bytes + at + 2);
        size_t length = md_get_le32(bytes + at + 4);
        at += ELEMENT_HEADER_BYTES;
        if (group != 0) {
            return md_fail(err, MD_FORMAT, "group %04x in a command set", group);
        }
        if (length > size_bytes - at) {
            return md_fail(err, MD_FORMAT,
                           "command element (0000,%04x) claims %zu bytes, %zu are left",
                           element, length, size_bytes - at);
        }
        MD_TRY(take(element, bytes + at, length, ret_command, &responded_id, &seen, err));
        at += length;
    }
    bool is_response = (ret_command->field & MD_COMMAND_RESPONSE) != 0;
    bool is_cancel = ret_command->field == MD_COMMAND_CANCEL_RQ;
    if (is_response || is_cancel) {
        ret_command->message_id = responded_id;
    }
    unsigned needed = is_response ? 1 | 4 | 8 | 16 : is_cancel ? 1 | 4 | 8 : 1 | 2 | 8;
    if ((seen & needed) != needed) {
        return md_fail(err, MD_FORMAT,
                       "command set without command field, message id, dataset type or status");
    }
    ret_command->has_dataset = ret_command->dataset_type != MD_COMMAND_NO_DATASET;
    return MD_OK;
}

static void put_element(uint8_t *bytes, size_t *used, unsigned element, const void *value,
                        size_t size_bytes)
{
    uint8_t *p = bytes + *used;
    md_put_le16(p, 0);
    md_put_le16(p + 2, (uint16_t)element);
    md_put_le32(p + 4, (uint32_t)size_bytes);
    memcpy(p + ELEMENT_HEADER_BYTES, value, size_bytes);
    *used += ELEMENT_HEADER_BYTES + size_bytes;
}

static void put_us(uint8_t *bytes, size_t *used, unsigned element, uint16_t value)
{
    uint8_t le[2];
    md_put_le16(le, value);
    put_element(bytes, used, element, le, sizeof le);
}

static void put_uid(uint8_t *bytes, size_t *used, unsigned element, const char *uid)
{
    char padded[MD_UID_BYTES + 1] = {0};
    size_t length = strnlen(uid, MD_UID_BYTES - 1);
    if (length == 0) {
        return;
    }
    memcpy(padded, uid, length);
    put_element(bytes, used, element, padded, length + length % 2);
}

size_t md_command_write(const md_command *command, uint8_t ret_bytes[MD_COMMAND_WRITE_BYTES])
{
    bool is_response = (command->field & MD_COMMAND_RESPONSE) != 0;
    size_t used = 0;
    uint8_t length[4] = {0};
    put_element(ret_bytes, &used, 0, length, sizeof length);
    put_uid(ret_bytes, &used, TAG_SOP_CLASS, command->sop_class_uid);
    put_us(ret_bytes, &used, TAG_FIELD, command->field);
    put_us(ret_bytes, &used, is_response ? TAG_RESPONDED_ID : TAG_MESSAGE_ID,
           command->message_id);
    if (command->field == MD_COMMAND_STORE_RQ) {
        put_us(ret_bytes, &used, TAG_PRIORITY, 0);
    }
    put_us(ret_bytes, &used, TAG_DATASET_TYPE, command->dataset_type);
    if (is_response) {
        put_us(ret_bytes, &used, TAG_STATUS, command->status);
    }
    put_uid(ret_bytes, &used, TAG_SOP_INSTANCE, command->sop_instance_uid);
    md_put_le32(ret_bytes + ELEMENT_HEADER_BYTES, (uint32_t)(used - ELEMENT_HEADER_BYTES - 4));
    return used;
}
