#include "daemon/oneshot_input.h"

#include "base/file.h"
#include "dicom/dataset/dicomdir.h"

#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Make room for one more element of a growing array. */
static bool grow(void **elements, size_t *capacity, size_t n, size_t element_bytes)
{
    if (n < *capacity) {
        return true;
    }
    size_t wanted = *capacity == 0 ? 8 : *capacity * 2;
    size_t size_bytes;
    if (!md_mul(wanted, element_bytes, &size_bytes)) {
        return false;
    }
    void *grown = md_realloc(*elements, size_bytes);
    if (grown == NULL) {
        return false;
    }
    *elements = grown;
    *capacity = wanted;
    return true;
}

static md_input_study *find_study(md_input *input, const char *uid)
{
    for (size_t i = input->n_studies; i-- > 0;) {
        if (strcmp(input->studies[i].study_instance_uid, uid) == 0) {
            return &input->studies[i];
        }
    }
    if (!grow((void **)&input->studies, &input->capacity, input->n_studies,
              sizeof *input->studies)) {
        return NULL;
    }
    md_input_study *study = &input->studies[input->n_studies++];
    uint8_t digest[MD_SHA256_BYTES];
    *study = (md_input_study){0};
    memcpy(study->study_instance_uid, uid, strnlen(uid, MD_UID_BYTES - 1));
    md_sha256(uid, strlen(uid), digest);
    md_hex(digest, 8, study->key);
    return study;
}

static void report(md_input *input, const md_input_options *options, const char *path,
                   const md_error *reason)
{
    input->n_unreadable++;
    if (options->on_problem != NULL) {
        options->on_problem(options->context, path, reason);
    }
}

static md_status add_to_study(md_input *input, const char *uid, const char *path, md_error *err)
{
    md_input_study *study = find_study(input, uid);
    char *copy = md_strdup(path);
    if (study == NULL || copy == NULL ||
        !grow((void **)&study->paths, &study->capacity, study->n_paths, sizeof *study->paths)) {
        md_free(copy);
        return md_fail(err, MD_NOMEM, "no memory for the list of files");
    }
    study->paths[study->n_paths++] = copy;
    return MD_OK;
}

static md_status add_file(md_input *input, const md_input_options *options, const char *path,
                          bool in_dicomdir, md_error *err);

static md_status add_dicomdir(md_input *input, const md_input_options *options,
                              const md_dataset *dataset, const char *path, md_error *err)
{
    md_error reason = {0};
    MD_AUTO(md_dicomdir_finish) md_dicomdir files = {0};
    md_status status = md_dicomdir_read(dataset, path, &files, &reason);
    if (status == MD_OK && files.n_missing + files.n_rejected > 0) {
        status = md_fail(&reason, MD_NOT_FOUND,
                         "names %zu files that do not exist and %zu "
                         "outside of its folder",
                         files.n_missing, files.n_rejected);
    }
    if (status != MD_OK) {
        report(input, options, path, &reason);
    }
    for (size_t i = 0; i < files.n_paths; i++) {
        MD_TRY(add_file(input, options, files.paths[i], true, err));
    }
    return MD_OK;
}

/* A DICOMDIR that a DICOMDIR names is not followed. */
static md_status add_file(md_input *input, const md_input_options *options, const char *path,
                          bool in_dicomdir, md_error *err)
{
    if (input->n_files == MD_INPUT_MAX_FILES) {
        return md_fail(err, MD_LIMIT, "more than %d files in one call", MD_INPUT_MAX_FILES);
    }
    input->n_files++;
    if (options->on_progress != NULL) {
        options->on_progress(options->context, input->n_files);
    }
    md_error reason = {0};
    char uid[MD_UID_BYTES];
    MD_AUTO(md_dataset_destroyp) md_dataset *dataset = NULL;
    md_status status = md_dataset_open(path, &dataset, &reason);
    if (status == MD_NOMEM) {
        return md_fail(err, MD_NOMEM, "no memory to read a file");
    }
    if (status == MD_OK && !in_dicomdir && md_dataset_is_dicomdir(dataset)) {
        return add_dicomdir(input, options, dataset, path, err);
    }
    if (status == MD_OK &&
        !md_dataset_get_text(dataset, MD_TAG(0x0020, 0x000d), 0, uid, sizeof uid)) {
        status = md_fail(&reason, MD_FORMAT, "no Study Instance UID (0020,000D)");
    }
    if (status != MD_OK) {
        report(input, options, path, &reason);
        return MD_OK;
    }
    return add_to_study(input, uid, path, err);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* A link to a file counts as the file: archives are often made of them. One to a folder does
 * not, it may lead in a circle. */
static bool is_file(const FTSENT *entry)
{
    struct stat info;
    return entry->fts_info == FTS_F ||
           (entry->fts_info == FTS_SL && stat(entry->fts_path, &info) == 0 &&
            S_ISREG(info.st_mode));
}

static void close_walkp(FTS **walk)
{
    if (*walk != NULL) {
        fts_close(*walk);
    }
}

static md_status add_folder(md_input *input, const md_input_options *options, const char *path,
                            md_error *err)
{
    char *root = md_strdup(path);
    if (root == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to walk a folder");
    }
    char *roots[] = {root, NULL};
    MD_AUTO(close_walkp)
    FTS *walk = fts_open(roots, FTS_COMFOLLOW | FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    md_free(root);
    if (walk == NULL) {
        return md_fail_os(err, errno, "%s", path);
    }
    FTSENT *entry;
    while ((entry = fts_read(walk)) != NULL) {
        md_error reason = {0};
        if (entry->fts_info == FTS_D && entry->fts_level > MD_INPUT_MAX_DEPTH) {
            fts_set(walk, entry, FTS_SKIP);
            md_fail(&reason, MD_LIMIT, "more than %d folders deep", MD_INPUT_MAX_DEPTH);
            report(input, options, entry->fts_path, &reason);
        } else if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR) {
            md_fail_os(&reason, entry->fts_errno, "cannot be read");
            report(input, options, entry->fts_path, &reason);
        } else if (entry->fts_info == FTS_SL && access(entry->fts_path, F_OK) != 0) {
            md_fail_os(&reason, errno, "a link that leads nowhere");
            report(input, options, entry->fts_path, &reason);
        } else if (is_file(entry) && strcasecmp(entry->fts_name, "DICOMDIR") == 0) {
            continue; /* the walk meets the files that it names */
        } else if (is_file(entry) && !md_dataset_sniff(entry->fts_path)) {
            input->n_skipped++;
        } else if (is_file(entry)) {
            MD_TRY(add_file(input, options, entry->fts_path, true, err));
        }
    }
    return MD_OK;
}

md_status md_input_collect(const char *const *paths, size_t n_paths,
                           const md_input_options *options, md_input *ret_input, md_error *err)
{
    *ret_input = (md_input){0};
    for (size_t i = 0; i < n_paths; i++) {
        struct stat info;
        md_error reason = {0};
        if (stat(paths[i], &info) != 0) {
            md_fail_os(&reason, errno, "cannot be read");
            report(ret_input, options, paths[i], &reason);
        } else if (S_ISDIR(info.st_mode)) {
            MD_TRY(add_folder(ret_input, options, paths[i], err));
        } else {
            MD_TRY(add_file(ret_input, options, paths[i], false, err));
        }
    }
    return MD_OK;
}

void md_input_finish(md_input *input)
{
    for (size_t i = 0; i < input->n_studies; i++) {
        for (size_t j = 0; j < input->studies[i].n_paths; j++) {
            md_free(input->studies[i].paths[j]);
        }
        md_free(input->studies[i].paths);
    }
    md_free(input->studies);
    *input = (md_input){0};
}
