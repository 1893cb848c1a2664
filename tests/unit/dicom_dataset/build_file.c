#include "build_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void build_raw(build_file *file, const void *bytes, size_t size_bytes)
{
    if (file->room - file->size_bytes < size_bytes) {
        file->room = 2 * file->room + size_bytes;
        file->bytes = md_realloc(file->bytes, file->room);
        if (file->bytes == NULL) {
            abort();
        }
    }
    if (size_bytes > 0) {
        memcpy(file->bytes + file->size_bytes, bytes, size_bytes);
        file->size_bytes += size_bytes;
    }
}

static void raw_u16(build_file *file, unsigned value)
{
    uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    build_raw(file, bytes, sizeof bytes);
}

static void raw_u32(build_file *file, uint32_t value)
{
    raw_u16(file, value & 0xffff);
    raw_u16(file, value >> 16);
}

void build_header(build_file *file, uint32_t tag, const char *vr, uint32_t length)
{
    static const char *const long_vrs = "OB OD OF OL OV OW SQ SV UC UN UR UT UV";
    raw_u16(file, tag >> 16);
    raw_u16(file, tag & 0xffff);
    build_raw(file, vr, 2);
    if (strstr(long_vrs, vr) != NULL) {
        raw_u16(file, 0);
        raw_u32(file, length);
    } else {
        raw_u16(file, length);
    }
}

void build_marker(build_file *file, uint32_t tag, uint32_t length)
{
    raw_u16(file, tag >> 16);
    raw_u16(file, tag & 0xffff);
    raw_u32(file, length);
}

void build_element(build_file *file, uint32_t tag, const char *vr, const void *value,
                   size_t size_bytes)
{
    bool is_binary = strcmp(vr, "UI") == 0 || vr[0] == 'O' || strcmp(vr, "UN") == 0;
    build_header(file, tag, vr, (uint32_t)(size_bytes + (size_bytes & 1)));
    build_raw(file, value, size_bytes);
    if (size_bytes & 1) {
        build_raw(file, is_binary ? "\0" : " ", 1);
    }
}

void build_text(build_file *file, uint32_t tag, const char *vr, const char *text)
{
    build_element(file, tag, vr, text, strlen(text));
}

void build_us(build_file *file, uint32_t tag, unsigned value)
{
    uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    build_element(file, tag, "US", bytes, sizeof bytes);
}

void build_begin(build_file *file, const char *transfer_syntax)
{
    static const uint8_t preamble[128];
    build_raw(file, preamble, sizeof preamble);
    build_raw(file, "DICM", 4);
    size_t length = strlen(transfer_syntax);
    uint8_t group_bytes[4] = {(uint8_t)(8 + length + (length & 1))};
    build_element(file, MD_TAG(2, 0), "UL", group_bytes, sizeof group_bytes);
    build_text(file, MD_TAG(2, 0x10), "UI", transfer_syntax);
}

void build_finish(build_file *file)
{
    md_free(file->bytes);
    memset(file, 0, sizeof *file);
}

md_dataset *build_parse(const build_file *file)
{
    md_error err;
    md_dataset *dataset = NULL;
    if (md_dataset_parse(file->bytes, file->size_bytes, &dataset, &err) != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    return dataset;
}
