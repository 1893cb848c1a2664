#include "daemon/worker/wire.h"

#include <math.h>
#include <string.h>

static uint8_t *room(md_wire_writer *out, size_t n)
{
    if (out->overflow || n > out->capacity_bytes - out->used_bytes) {
        out->overflow = true;
        return NULL;
    }
    uint8_t *at = out->bytes + out->used_bytes;
    out->used_bytes += n;
    return at;
}

static void put_integer(md_wire_writer *out, uint64_t value, size_t n)
{
    uint8_t *at = room(out, n);
    for (size_t i = 0; at != NULL && i < n; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

void md_wire_put_u8(md_wire_writer *out, uint8_t value)
{
    put_integer(out, value, 1);
}

void md_wire_put_u32(md_wire_writer *out, uint32_t value)
{
    put_integer(out, value, 4);
}

void md_wire_put_u64(md_wire_writer *out, uint64_t value)
{
    put_integer(out, value, 8);
}

void md_wire_put_real(md_wire_writer *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_integer(out, bits, 8);
}

/* The length of the valid sequence at `text`, 0 when it is none or a control character
 * (RFC 3629; C0, DEL and C1). */
static size_t clean_sequence(const unsigned char *text, size_t left)
{
    unsigned char first = text[0];
    if (first < 0x80) {
        return first >= 0x20 && first != 0x7f;
    }
    size_t n = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (n == 0 || n > left) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool wrong = (first == 0xc2 && text[1] < 0xa0) || (first == 0xe0 && text[1] < 0xa0) ||
                 (first == 0xed && text[1] > 0x9f) || (first == 0xf0 && text[1] < 0x90) ||
                 (first == 0xf4 && text[1] > 0x8f);
    return wrong ? 0 : n;
}

void md_wire_put_text(md_wire_writer *out, const char *text)
{
    size_t length = text == NULL ? 0 : strlen(text);
    if (length > UINT16_MAX) {
        out->overflow = true;
        return;
    }
    put_integer(out, length, 2);
    uint8_t *to = room(out, length);
    for (size_t at = 0; to != NULL && at < length;) {
        size_t n = clean_sequence((const unsigned char *)text + at, length - at);
        if (n == 0) {
            to[at++] = '?';
            continue;
        }
        memcpy(to + at, text + at, n);
        at += n;
    }
}

void md_wire_put_bytes(md_wire_writer *out, const void *bytes, size_t size_bytes)
{
    uint8_t *at = room(out, size_bytes);
    if (at != NULL && size_bytes > 0) {
        memcpy(at, bytes, size_bytes);
    }
}

void md_wire_refuse(md_wire_reader *in, const char *reason)
{
    if (in->bad == NULL) {
        in->bad = reason;
    }
}

const uint8_t *md_wire_get_bytes(md_wire_reader *in, size_t size_bytes)
{
    if (in->bad == NULL && size_bytes > in->size_bytes - in->at) {
        md_wire_refuse(in, "cut short");
    }
    if (in->bad != NULL) {
        return NULL;
    }
    const uint8_t *at = in->bytes + in->at;
    in->at += size_bytes;
    return at;
}

static uint64_t get_integer(md_wire_reader *in, size_t n)
{
    const uint8_t *at = md_wire_get_bytes(in, n);
    uint64_t value = 0;
    for (size_t i = 0; at != NULL && i < n; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

uint8_t md_wire_get_u8(md_wire_reader *in)
{
    return (uint8_t)get_integer(in, 1);
}

uint32_t md_wire_get_u32(md_wire_reader *in)
{
    return (uint32_t)get_integer(in, 4);
}

uint64_t md_wire_get_u64(md_wire_reader *in)
{
    return get_integer(in, 8);
}

bool md_wire_get_bool(md_wire_reader *in)
{
    uint8_t value = md_wire_get_u8(in);
    if (value > 1) {
        md_wire_refuse(in, "a flag that is neither 0 nor 1");
    }
    return value == 1;
}

uint32_t md_wire_get_below(md_wire_reader *in, uint32_t n)
{
    uint32_t value = md_wire_get_u32(in);
    if (value >= n) {
        md_wire_refuse(in, "a number out of its range");
        return 0;
    }
    return value;
}

double md_wire_get_real(md_wire_reader *in, double least, double most)
{
    uint64_t bits = get_integer(in, 8);
    double value;
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value) || value < least || value > most) {
        md_wire_refuse(in, "a real number out of its range");
        return least;
    }
    return value;
}

int64_t md_wire_get_time(md_wire_reader *in)
{
    uint64_t value = md_wire_get_u64(in);
    if (value > INT64_MAX) {
        md_wire_refuse(in, "a negative time");
        return 0;
    }
    return (int64_t)value;
}

bool md_wire_text_is_clean(const char *text, size_t length_bytes)
{
    for (size_t at = 0; at < length_bytes;) {
        size_t n = clean_sequence((const unsigned char *)text + at, length_bytes - at);
        if (n == 0) {
            return false;
        }
        at += n;
    }
    return true;
}

void md_wire_get_text(md_wire_reader *in, char *ret_text, size_t size_bytes)
{
    ret_text[0] = '\0';
    size_t length = (size_t)get_integer(in, 2);
    const char *text = (const char *)md_wire_get_bytes(in, length);
    if (text == NULL) {
        return;
    }
    if (length >= size_bytes) {
        md_wire_refuse(in, "a text that is too long");
    } else if (!md_wire_text_is_clean(text, length)) {
        md_wire_refuse(in, "a text that is not clean UTF-8");
    } else {
        memcpy(ret_text, text, length);
        ret_text[length] = '\0';
    }
}
