/* next_in is a pointer to const then. */
#define ZLIB_CONST

#include "dicom/dataset/inflate.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

enum {
    FIRST_BLOCK_BYTES = 1 << 20
};

/* Twice the room, up to the limit. */
static md_status grow(uint8_t **block, size_t *room, md_error *err)
{
    if (*room >= MD_INFLATE_MAX_BYTES) {
        return md_fail(err, MD_LIMIT, "deflated dataset of more than %zu bytes",
                       MD_INFLATE_MAX_BYTES);
    }
    size_t larger = *room == 0 ? FIRST_BLOCK_BYTES : *room * 2;
    uint8_t *grown = md_realloc(*block, larger);
    if (grown == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory for %zu bytes", larger);
    }
    *block = grown;
    *room = larger;
    return MD_OK;
}

static md_status run(z_stream *stream, const uint8_t *bytes, size_t size_bytes, uint8_t **block,
                     size_t *ret_have, md_error *err)
{
    size_t room = 0, have = 0, taken = 0;
    int code = Z_OK;
    while (code != Z_STREAM_END) {
        if (have == room) {
            MD_TRY(grow(block, &room, err));
        }
        /* zlib counts in unsigned int. */
        size_t in = size_bytes - taken, out = room - have;
        uInt in_now = in > UINT_MAX ? UINT_MAX : (uInt)in;
        uInt out_now = out > UINT_MAX ? UINT_MAX : (uInt)out;
        stream->next_in = bytes + taken;
        stream->avail_in = in_now;
        stream->next_out = *block + have;
        stream->avail_out = out_now;
        code = inflate(stream, Z_NO_FLUSH);
        taken += in_now - stream->avail_in;
        have += out_now - stream->avail_out;
        if (code == Z_MEM_ERROR) {
            return md_fail(err, MD_NOMEM, "out of memory");
        }
        if (code == Z_BUF_ERROR || (code == Z_OK && taken == size_bytes && have < room)) {
            return md_fail(err, MD_FORMAT, "cut short: the deflated dataset has no end");
        }
        if (code != Z_OK && code != Z_STREAM_END) {
            return md_fail(err, MD_FORMAT, "broken deflate stream near byte %zu", taken);
        }
    }
    *ret_have = have;
    return MD_OK;
}

md_status md_inflate(const uint8_t *bytes, size_t size_bytes, uint8_t **ret_bytes,
                     size_t *ret_size_bytes, md_error *err)
{
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    MD_AUTO(md_freep) uint8_t *block = NULL;
    size_t have = 0;
    md_status status = run(&stream, bytes, size_bytes, &block, &have, err);
    inflateEnd(&stream);
    if (status == MD_OK) {
        *ret_bytes = MD_STEAL(block);
        *ret_size_bytes = have;
    }
    return status;
}
