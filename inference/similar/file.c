#include "inference/similar/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define MAGIC "medaid similar 1\n"

enum {
    HEADER_BYTES = 32, /* magic, zeros, then the number of dimensions */
    DIMS_AT = 24,
    RECORD_BYTES = 16 /* key, deed, checksum of key, deed and vector */
};

typedef struct record {
    uint64_t key;
    uint32_t deed, checksum;
} record;

static uint32_t checksum_of(const record *r, const float *vector, uint32_t n_dims)
{
    uLong sum = crc32(0, (const Bytef *)r, RECORD_BYTES - sizeof r->checksum);
    if (vector != NULL) {
        sum = crc32(sum, (const Bytef *)vector, (uInt)(n_dims * sizeof *vector));
    }
    return (uint32_t)sum;
}

/* A chain over all records: the mixing of SplitMix64. */
static uint64_t next_tag(uint64_t tag, const record *r)
{
    uint64_t z = (tag ^ r->key ^ (uint64_t)r->checksum << 32) + 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static md_status write_all(int descriptor, const void *bytes, size_t n, uint64_t at,
                           md_error *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t now =
            pwrite(descriptor, (const uint8_t *)bytes + done, n - done, (off_t)(at + done));
        if (now < 0 && errno != EINTR) {
            return md_fail_os(err, errno, "cannot write the store of similar cases");
        }
        done += now > 0 ? (size_t)now : 0;
    }
    return MD_OK;
}

/* Bytes until the end or n. */
static md_status read_all(FILE *stream, void *bytes, size_t n, size_t *ret_n, md_error *err)
{
    *ret_n = fread(bytes, 1, n, stream);
    if (ferror(stream)) {
        return md_fail_os(err, errno, "cannot read the store of similar cases");
    }
    return MD_OK;
}

static md_status check_header(md_similar_file *file, FILE *stream, md_error *err)
{
    uint8_t header[HEADER_BYTES] = {0}, found[HEADER_BYTES];
    memcpy(header, MAGIC, sizeof MAGIC - 1);
    memcpy(header + DIMS_AT, &file->n_dims, sizeof file->n_dims);
    size_t n = 0;
    MD_TRY(read_all(stream, found, HEADER_BYTES, &n, err));
    if (n == 0 || (n < HEADER_BYTES && memcmp(found, header, n) == 0)) { /* new, or cut off */
        file->size_bytes = HEADER_BYTES;
        if (ftruncate(file->descriptor, 0) != 0) {
            return md_fail_os(err, errno, "cannot write the store of similar cases");
        }
        MD_TRY(write_all(file->descriptor, header, HEADER_BYTES, 0, err));
        return md_similar_file_sync(file, err);
    }
    if (n < HEADER_BYTES || memcmp(found, header, DIMS_AT) != 0) {
        return md_fail(err, MD_FORMAT, "not a store of similar cases");
    }
    uint32_t n_dims = 0;
    memcpy(&n_dims, found + DIMS_AT, sizeof n_dims);
    if (n_dims != file->n_dims) {
        return md_fail(
            err, MD_FORMAT,
            "the store holds vectors of %u dimensions, not of %u: move it away, it is "
            "of another model",
            n_dims, file->n_dims);
    }
    file->size_bytes = HEADER_BYTES;
    return MD_OK;
}

static md_status read_records(md_similar_file *file, FILE *stream, md_similar_record_fn call,
                              void *context, uint64_t *ret_n_damaged, md_error *err)
{
    size_t vector_bytes = file->n_dims * sizeof(float), n = 0;
    MD_AUTO(md_freep) float *vector = md_malloc_aligned(vector_bytes);
    if (vector == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a vector");
    }
    for (;;) {
        record r;
        MD_TRY(read_all(stream, &r, sizeof r, &n, err));
        /* what is neither deed was never written: the rest has no beginning to read from */
        if (n < sizeof r || (r.deed != MD_SIMILAR_PUT && r.deed != MD_SIMILAR_REMOVE)) {
            return MD_OK;
        }
        bool has_vector = r.deed == MD_SIMILAR_PUT;
        if (has_vector) {
            MD_TRY(read_all(stream, vector, vector_bytes, &n, err));
            if (n < vector_bytes) {
                return MD_OK;
            }
        }
        file->size_bytes += sizeof r + (has_vector ? vector_bytes : 0);
        if (checksum_of(&r, has_vector ? vector : NULL, file->n_dims) != r.checksum) {
            ++*ret_n_damaged;
            continue;
        }
        file->tag = next_tag(file->tag, &r);
        MD_TRY(call(context, (md_similar_deed)r.deed, r.key, has_vector ? vector : NULL, err));
    }
}

static md_status read_file(md_similar_file *file, md_similar_record_fn call, void *context,
                           uint64_t *ret_dropped_bytes, uint64_t *ret_n_damaged, md_error *err)
{
    int copy = dup(file->descriptor);
    FILE *stream = copy >= 0 ? fdopen(copy, "rb") : NULL;
    if (stream == NULL) {
        int failed = errno;
        if (copy >= 0) {
            (void)close(copy);
        }
        return md_fail_os(err, failed, "cannot read the store of similar cases");
    }
    md_status status = check_header(file, stream, err);
    if (status == MD_OK) {
        status = read_records(file, stream, call, context, ret_n_damaged, err);
    }
    (void)fclose(stream);
    MD_TRY(status);
    struct stat is;
    if (fstat(file->descriptor, &is) != 0) {
        return md_fail_os(err, errno, "cannot read the store of similar cases");
    }
    if ((uint64_t)is.st_size > file->size_bytes) {
        *ret_dropped_bytes = (uint64_t)is.st_size - file->size_bytes;
        if (ftruncate(file->descriptor, (off_t)file->size_bytes) != 0) {
            return md_fail_os(err, errno, "cannot cut the store of similar cases");
        }
    }
    return MD_OK;
}

md_status md_similar_file_open(const char *path, uint32_t n_dims, md_similar_record_fn call,
                               void *context, md_similar_file *ret_file,
                               uint64_t *ret_dropped_bytes, uint64_t *ret_n_damaged,
                               md_error *err)
{
    md_similar_file file = {.n_dims = n_dims};
    file.descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file.descriptor < 0) {
        return md_fail_os(err, errno, "cannot open the store of similar cases");
    }
    md_status status = MD_OK;
    *ret_dropped_bytes = *ret_n_damaged = 0;
    if (flock(file.descriptor, LOCK_EX | LOCK_NB) != 0) {
        status = md_fail(err, MD_BUSY, "another process has the store of similar cases open");
    } else {
        status = read_file(&file, call, context, ret_dropped_bytes, ret_n_damaged, err);
    }
    if (status != MD_OK) {
        (void)close(file.descriptor);
        return status;
    }
    *ret_file = file;
    return MD_OK;
}

void md_similar_file_close(md_similar_file *file)
{
    (void)close(file->descriptor);
}

md_status md_similar_file_append(md_similar_file *file, md_similar_deed deed, uint64_t key,
                                 const float *vector, md_error *err)
{
    record r = {key, deed, 0};
    r.checksum = checksum_of(&r, vector, file->n_dims);
    size_t vector_bytes = vector != NULL ? file->n_dims * sizeof *vector : 0;
    md_status status = write_all(file->descriptor, &r, sizeof r, file->size_bytes, err);
    if (status == MD_OK && vector != NULL) {
        status =
            write_all(file->descriptor, vector, vector_bytes, file->size_bytes + sizeof r, err);
    }
    if (status != MD_OK) {
        /* what cannot be cut off is overwritten by the next record, or dropped on opening */
        int ignored = ftruncate(file->descriptor, (off_t)file->size_bytes);
        (void)ignored;
        return status;
    }
    file->size_bytes += sizeof r + vector_bytes;
    file->tag = next_tag(file->tag, &r);
    return MD_OK;
}

md_status md_similar_file_sync(md_similar_file *file, md_error *err)
{
    if (fdatasync(file->descriptor) != 0) {
        return md_fail_os(err, errno, "cannot write the store of similar cases to disk");
    }
    return MD_OK;
}
