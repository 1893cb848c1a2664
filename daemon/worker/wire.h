#ifndef MEDAID_DAEMON_WORKER_WIRE_H
#define MEDAID_DAEMON_WORKER_WIRE_H

/* Two cursors over a block of bytes: how main process and worker write and read what they say
 * to each other. Integers are little endian, reals are IEEE 754, text is a 16-bit length and
 * UTF-8.
 *
 * The reader takes every byte for hostile: a plugin may have taken the worker over. Once a read
 * goes beyond the end or meets a value that is not allowed, the reader is bad, every further
 * read gives zero, and the caller asks once at the end. One thread at a time. */

#include "base/memory.h"

typedef struct md_wire_writer {
    uint8_t *bytes; /* borrowed */
    size_t capacity_bytes, used_bytes;
    bool overflow; /* something did not fit: nothing of the block may be used */
} md_wire_writer;

typedef struct md_wire_reader {
    const uint8_t *bytes; /* borrowed */
    size_t size_bytes, at;
    const char *bad; /* NULL, or what was wrong first: a static text */
} md_wire_reader;

void md_wire_put_u8(md_wire_writer *out, uint8_t value);
void md_wire_put_u32(md_wire_writer *out, uint32_t value);
void md_wire_put_u64(md_wire_writer *out, uint64_t value);
void md_wire_put_real(md_wire_writer *out, double value);
/* NULL is written as "", what is not clean UTF-8 as '?', so that an honest writer is never
 * refused. Longer than 65535 bytes overflows. */
void md_wire_put_text(md_wire_writer *out, const char *text);
void md_wire_put_bytes(md_wire_writer *out, const void *bytes, size_t size_bytes);

/* Mark the reader bad; the first reason stays. */
void md_wire_refuse(md_wire_reader *in, const char *reason);

uint8_t md_wire_get_u8(md_wire_reader *in);
uint32_t md_wire_get_u32(md_wire_reader *in);
uint64_t md_wire_get_u64(md_wire_reader *in);
/* 0 or 1, all else is refused. */
bool md_wire_get_bool(md_wire_reader *in);
/* 0 .. n-1, all else is refused. */
uint32_t md_wire_get_below(md_wire_reader *in, uint32_t n);
/* Finite and least .. most, all else is refused and gives `least`. */
double md_wire_get_real(md_wire_reader *in, double least, double most);
/* 0 .. INT64_MAX, all else is refused. */
int64_t md_wire_get_time(md_wire_reader *in);
/* Valid UTF-8 (RFC 3629) without control characters that fits with its zero. */
void md_wire_get_text(md_wire_reader *in, char *ret_text, size_t size_bytes);
/* Borrowed from the block; NULL when there are not so many. */
const uint8_t *md_wire_get_bytes(md_wire_reader *in, size_t size_bytes);

/* True when all of `text` is valid UTF-8 without control characters (C0, DEL, C1). */
bool md_wire_text_is_clean(const char *text, size_t length_bytes);

#endif
