#include "plugins/train/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    PATH_BYTES = 1200
};

static const char current_name[] = "checkpoint.bin";
static const char previous_name[] = "checkpoint.previous.bin";

/* The file: this head, the records, all values, the optimizer's state, and the SHA-256 of all
 * that. In this machine's byte order: a run goes on where it began. */
typedef struct file_head {
    char magic[8];
    md_fit_identity identity;
    md_fit_state state;
    uint64_t n_values, optimizer_bytes;
} file_head;

static const char magic[8] = "MDFIT01";

static md_status path_of(const char *folder, const char *name, char ret_path[PATH_BYTES],
                         md_error *err)
{
    if (snprintf(ret_path, PATH_BYTES, "%s/%s", folder, name) >= PATH_BYTES) {
        return md_fail(err, MD_LIMIT, "the run folder's path is too long");
    }
    return MD_OK;
}

static size_t n_values(const md_checkpoint *c)
{
    size_t n = 0;
    for (unsigned i = 0; i < c->n_parameters; i++) {
        n += c->parameters[i]->n;
    }
    return n;
}

/* Bytes of a file with that many records. */
static size_t file_bytes(const md_checkpoint *c, uint64_t n_records)
{
    return sizeof(file_head) + (size_t)n_records * sizeof(md_epoch_record) +
           n_values(c) * sizeof(float) + md_optimizer_state_bytes(c->optimizer) +
           MD_SHA256_BYTES;
}

static void fill(const md_checkpoint *c, uint8_t *bytes, size_t size_bytes)
{
    file_head head = {.identity = c->identity,
                      .state = *c->state,
                      .n_values = n_values(c),
                      .optimizer_bytes = md_optimizer_state_bytes(c->optimizer)};
    memcpy(head.magic, magic, sizeof magic);
    uint8_t *at = bytes;
    memcpy(at, &head, sizeof head);
    at += sizeof head;
    const size_t record_bytes = (size_t)c->state->n_records * sizeof *c->records;
    if (record_bytes > 0) {
        memcpy(at, c->records, record_bytes);
    }
    at += record_bytes;
    for (unsigned i = 0; i < c->n_parameters; i++) {
        memcpy(at, c->parameters[i]->value, c->parameters[i]->n * sizeof(float));
        at += c->parameters[i]->n * sizeof(float);
    }
    md_optimizer_save(c->optimizer, at);
    md_sha256(bytes, size_bytes - MD_SHA256_BYTES, bytes + size_bytes - MD_SHA256_BYTES);
}

/* The current file gets a second name, so that at no moment there is none. */
static md_status keep_current(const char *current, const char *previous, md_error *err)
{
    if (unlink(previous) != 0 && errno != ENOENT) {
        return md_fail_os(err, errno, "cannot remove %s", previous_name);
    }
    if (link(current, previous) != 0 && errno != ENOENT) {
        return md_fail_os(err, errno, "cannot keep %s as %s", current_name, previous_name);
    }
    return MD_OK;
}

md_status md_checkpoint_write(const md_checkpoint *checkpoint, md_error *err)
{
    const md_checkpoint *c = checkpoint;
    char current[PATH_BYTES], previous[PATH_BYTES];
    MD_TRY(path_of(c->folder, current_name, current, err));
    MD_TRY(path_of(c->folder, previous_name, previous, err));
    const size_t n_bytes = file_bytes(c, c->state->n_records);
    MD_AUTO(md_freep) uint8_t *bytes = md_malloc(n_bytes);
    if (bytes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a checkpoint of %zu bytes", n_bytes);
    }
    fill(c, bytes, n_bytes);
    MD_TRY(keep_current(current, previous, err));
    return md_file_write(current, MD_FILE_REPLACE, bytes, n_bytes, err);
}

/* The bytes are whole and of this format and size. */
static bool is_whole(const md_checkpoint *c, const uint8_t *bytes, size_t size_bytes,
                     file_head *ret_head)
{
    uint8_t digest[MD_SHA256_BYTES];
    if (size_bytes < sizeof *ret_head + MD_SHA256_BYTES) {
        return false;
    }
    memcpy(ret_head, bytes, sizeof *ret_head);
    md_sha256(bytes, size_bytes - MD_SHA256_BYTES, digest);
    return memcmp(ret_head->magic, magic, sizeof magic) == 0 &&
           memcmp(digest, bytes + size_bytes - MD_SHA256_BYTES, MD_SHA256_BYTES) == 0 &&
           ret_head->state.n_records <= c->max_records;
}

static md_status check_identity(const md_checkpoint *c, const file_head *head,
                                size_t size_bytes, md_error *err)
{
    const md_fit_identity *a = &head->identity, *b = &c->identity;
    const char *what = NULL;
    if (memcmp(a->recipe, b->recipe, sizeof a->recipe) != 0) {
        what = "the recipe has changed";
    } else if (memcmp(a->films, b->films, sizeof a->films) != 0) {
        what = "the films, their labels or the split have changed";
    } else if (memcmp(a->network, b->network, sizeof a->network) != 0) {
        what = "the network that it began with has changed";
    }
    if (what != NULL) {
        return md_fail(err, MD_INVALID_ARG,
                       "%s since the checkpoint was written: undo that, or begin again in "
                       "another run_folder",
                       what);
    }
    if (head->n_values != n_values(c) ||
        head->optimizer_bytes != md_optimizer_state_bytes(c->optimizer) ||
        size_bytes != file_bytes(c, head->state.n_records)) {
        return md_fail(err, MD_FORMAT,
                       "the checkpoint was written by another version of medaid-train");
    }
    return MD_OK;
}

static md_status take(const md_checkpoint *c, const file_head *head, const uint8_t *bytes,
                      md_error *err)
{
    const size_t record_bytes = (size_t)head->state.n_records * sizeof *c->records;
    const uint8_t *at = bytes + sizeof *head + record_bytes;
    MD_TRY(md_optimizer_load(c->optimizer, at + head->n_values * sizeof(float),
                             (size_t)head->optimizer_bytes, err));
    for (unsigned i = 0; i < c->n_parameters; i++) {
        memcpy(c->parameters[i]->value, at, c->parameters[i]->n * sizeof(float));
        at += c->parameters[i]->n * sizeof(float);
    }
    if (record_bytes > 0) {
        memcpy(c->records, bytes + sizeof *head, record_bytes);
    }
    *c->state = head->state;
    return MD_OK;
}

md_status md_checkpoint_read(const md_checkpoint *checkpoint, bool *ret_found, md_error *err)
{
    const md_checkpoint *c = checkpoint;
    const char *const names[2] = {current_name, previous_name};
    unsigned n_damaged = 0;
    for (unsigned i = 0; i < 2; i++) {
        char path[PATH_BYTES];
        MD_AUTO(md_freep) uint8_t *bytes = NULL;
        size_t size_bytes = 0;
        file_head head;
        MD_TRY(path_of(c->folder, names[i], path, err));
        const md_status status = md_file_read(path, SIZE_MAX / 2, &bytes, &size_bytes, err);
        if (status == MD_NOT_FOUND) {
            continue;
        }
        if (status != MD_OK) {
            return status;
        }
        if (!is_whole(c, bytes, size_bytes, &head)) {
            n_damaged++;
            continue;
        }
        MD_TRY(check_identity(c, &head, size_bytes, err));
        MD_TRY(take(c, &head, bytes, err));
        *ret_found = true;
        return MD_OK;
    }
    if (n_damaged > 0) {
        return md_fail(err, MD_FORMAT,
                       "the checkpoint is damaged: remove %s and %s to begin again",
                       current_name, previous_name);
    }
    *ret_found = false;
    return MD_OK;
}

bool md_checkpoint_is_there(const char *folder)
{
    char path[PATH_BYTES];
    return (path_of(folder, current_name, path, NULL) == MD_OK && access(path, F_OK) == 0) ||
           (path_of(folder, previous_name, path, NULL) == MD_OK && access(path, F_OK) == 0);
}
