#include "dicom/network/dimse.h"

#include "dicom/network/bytes.h"

#include <string.h>

enum {
    ELEMENT_HEADER_BYTES = 8,
    TAG_SOP_CLASS = 0x0002,
    TAG_REQUESTED_CLASS = 0x0003,
    TAG_FIELD = 0x0100,
    TAG_MESSAGE_ID = 0x0110,
    TAG_RESPONDED_ID = 0x0120,
    TAG_PRIORITY = 0x0700,
    TAG_DATASET_TYPE = 0x0800,
    TAG_STATUS = 0x0900,
    TAG_COMMENT = 0x0902,
    TAG_SOP_INSTANCE = 0x1000,
    TAG_REQUESTED_INSTANCE = 0x1001,
    TAG_EVENT_TYPE = 0x1002,
    TAG_ATTRIBUTES = 0x1005,
    TAG_ACTION_TYPE = 0x1008,
    ATTRIBUTE_BYTES = 4,
};

bool md_command_is_requested(uint16_t field)
{
    return field == MD_COMMAND_GET_RQ || field == MD_COMMAND_SET_RQ ||
           field == MD_COMMAND_ACTION_RQ || field == MD_COMMAND_DELETE_RQ;
}

/* A comment may hold anything, also what is about a patient's: it is kept for the caller to
 * judge, but as one line of ASCII. */
static void get_comment(const uint8_t *value, size_t size_bytes,
                        char ret_comment[MD_COMMAND_COMMENT_BYTES])
{
    size_t n =
        size_bytes < MD_COMMAND_COMMENT_BYTES ? size_bytes : MD_COMMAND_COMMENT_BYTES - 1;
    while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\0')) {
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        ret_comment[i] = value[i] >= ' ' && value[i] <= '~' ? (char)value[i] : '?';
    }
    ret_comment[n] = '\0';
}

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
    case TAG_EVENT_TYPE:
    case TAG_ACTION_TYPE:
        command->has_number = true;
        return get_us(element, value, size_bytes, &command->number, err);
    case TAG_COMMENT:
        get_comment(value, size_bytes, command->comment);
        return MD_OK;
    case TAG_ATTRIBUTES:
        if (size_bytes % ATTRIBUTE_BYTES != 0) {
            return md_fail(err, MD_FORMAT, "an attribute list of %zu bytes", size_bytes);
        }
        command->attributes = value;
        command->n_attributes = size_bytes / ATTRIBUTE_BYTES;
        return MD_OK;
    case TAG_SOP_CLASS:
    case TAG_REQUESTED_CLASS:
        (void)md_uid_copy(value, size_bytes, command->sop_class_uid);
        return MD_OK;
    case TAG_SOP_INSTANCE:
    case TAG_REQUESTED_INSTANCE:
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

/* Text or UID, padded to even length with `pad`. */
static void put_text(uint8_t *bytes, size_t *used, unsigned element, const char *text, char pad)
{
    char padded[MD_UID_BYTES + 1] = {0};
    size_t length = strnlen(text, MD_UID_BYTES - 1);
    if (length == 0) {
        return;
    }
    memcpy(padded, text, length);
    padded[length] = pad;
    put_element(bytes, used, element, padded, length + length % 2);
}

static bool is_event_report(uint16_t field)
{
    return (field & ~MD_COMMAND_RESPONSE) == MD_COMMAND_EVENT_REPORT_RQ;
}

size_t md_command_write(const md_command *command, uint8_t ret_bytes[MD_COMMAND_WRITE_BYTES])
{
    bool is_response = (command->field & MD_COMMAND_RESPONSE) != 0;
    bool is_cancel = command->field == MD_COMMAND_CANCEL_RQ;
    bool is_requested = md_command_is_requested(command->field);
    size_t used = 0, n_attributes = command->n_attributes;
    uint8_t length[4] = {0};
    put_element(ret_bytes, &used, 0, length, sizeof length);
    put_text(ret_bytes, &used, is_requested ? TAG_REQUESTED_CLASS : TAG_SOP_CLASS,
             command->sop_class_uid, '\0');
    put_us(ret_bytes, &used, TAG_FIELD, command->field);
    put_us(ret_bytes, &used, is_response || is_cancel ? TAG_RESPONDED_ID : TAG_MESSAGE_ID,
           command->message_id);
    if (command->field == MD_COMMAND_STORE_RQ || command->field == MD_COMMAND_FIND_RQ) {
        put_us(ret_bytes, &used, TAG_PRIORITY, 0);
    }
    put_us(ret_bytes, &used, TAG_DATASET_TYPE, command->dataset_type);
    if (is_response) {
        put_us(ret_bytes, &used, TAG_STATUS, command->status);
        put_text(ret_bytes, &used, TAG_COMMENT, command->comment, ' ');
    }
    put_text(ret_bytes, &used, is_requested ? TAG_REQUESTED_INSTANCE : TAG_SOP_INSTANCE,
             command->sop_instance_uid, '\0');
    if (command->has_number && is_event_report(command->field)) {
        put_us(ret_bytes, &used, TAG_EVENT_TYPE, command->number);
    }
    if (!is_response && n_attributes > 0 && n_attributes <= MD_COMMAND_MAX_ATTRIBUTES) {
        put_element(ret_bytes, &used, TAG_ATTRIBUTES, command->attributes,
                    n_attributes * ATTRIBUTE_BYTES);
    }
    if (command->has_number && !is_event_report(command->field)) {
        put_us(ret_bytes, &used, TAG_ACTION_TYPE, command->number);
    }
    md_put_le32(ret_bytes + ELEMENT_HEADER_BYTES, (uint32_t)(used - ELEMENT_HEADER_BYTES - 4));
    return used;
}
