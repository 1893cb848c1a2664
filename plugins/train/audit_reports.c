/* The stored reports of an audit: found, read, and which of them count. */

#include "plugins/train/audit_internal.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static md_status add_reading(md_reports *reports, md_reading *reading, md_error *err)
{
    if (reports->n == MD_AUDIT_MAX_REPORTS) {
        return md_fail(err, MD_LIMIT, "more than %d reports", MD_AUDIT_MAX_REPORTS);
    }
    if (reports->n == reports->room) {
        const size_t room = reports->room > 0 ? 2 * reports->room : 64;
        md_reading *larger = md_realloc(reports->readings, room * sizeof *larger);
        if (larger == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu reports", room);
        }
        reports->readings = larger;
        reports->room = room;
    }
    reports->readings[reports->n++] = *reading;
    *reading = (md_reading){0};
    return MD_OK;
}

static md_status read_file(const md_audit_options *options, const char *path,
                           md_reports *reports, md_audit *audit, md_error *err)
{
    if (audit->n_files == MD_AUDIT_MAX_FILES) {
        return md_fail(err, MD_LIMIT, "more than %d files", MD_AUDIT_MAX_FILES);
    }
    audit->n_files++;
    if (!md_dataset_sniff(path)) {
        audit->n_other++;
        return MD_OK;
    }
    MD_AUTO(md_dataset_destroyp) md_dataset *dataset = NULL;
    MD_AUTO(md_reading_finish) md_reading reading = {0};
    md_error reason = {0};
    md_status status = md_dataset_open(path, &dataset, &reason);
    if (status == MD_OK) {
        status = md_report_read(dataset, &reading, &reason);
        if (status == MD_UNSUPPORTED) {
            audit->n_other++;
            return MD_OK;
        }
    }
    if (status == MD_NOMEM) {
        return md_fail(err, MD_NOMEM, "no memory for a report");
    }
    if (status != MD_OK) {
        audit->n_unreadable++;
        if (options->on_problem != NULL) {
            options->on_problem(options->context, path, &reason);
        }
        return MD_OK;
    }
    return add_reading(reports, &reading, err);
}

static int compare_entries(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static void close_walk(FTS **walk)
{
    if (*walk != NULL) {
        (void)fts_close(*walk);
    }
}

/* A folder that cannot be opened is a problem, not silence. */
static void tell_folder(const md_audit_options *options, const FTSENT *entry, md_audit *audit)
{
    md_error reason = {0};
    (void)md_fail_os(&reason, entry->fts_errno, "a folder or file that cannot be opened");
    audit->n_unreadable++;
    if (options->on_problem != NULL) {
        options->on_problem(options->context, entry->fts_path, &reason);
    }
}

md_status md_reports_collect(const md_audit_options *options, md_reports *reports,
                             md_audit *audit, md_error *err)
{
    MD_AUTO(md_freep) char *path = md_strdup(options->reports);
    if (path == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a path");
    }
    char *const roots[] = {path, NULL};
    MD_AUTO(close_walk)
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, compare_entries);
    if (walk == NULL) {
        return md_fail_os(err, errno, "%s", options->reports);
    }
    for (FTSENT *entry; errno = 0, (entry = fts_read(walk)) != NULL;) {
        switch (entry->fts_info) {
        case FTS_D:
            if (entry->fts_level > MD_AUDIT_MAX_DEPTH) {
                (void)fts_set(walk, entry, FTS_SKIP);
            }
            break;
        case FTS_F:
            MD_TRY(read_file(options, entry->fts_path, reports, audit, err));
            break;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            if (entry->fts_level == 0) {
                return entry->fts_errno == ENOENT
                           ? md_fail(err, MD_NOT_FOUND, "%s: no such folder", options->reports)
                           : md_fail_os(err, entry->fts_errno, "%s", options->reports);
            }
            tell_folder(options, entry, audit);
            break;
        default: /* links and what is no regular file */
            break;
        }
    }
    if (errno != 0) {
        return md_fail_os(err, errno, "%s", options->reports);
    }
    return MD_OK;
}

static int compare_objects(const void *a, const void *b)
{
    const md_reading *x = a, *y = b;
    const int by_uid = strcmp(x->sop_instance_uid, y->sop_instance_uid);
    return by_uid != 0 ? by_uid : strcmp(x->content_datetime, y->content_datetime);
}

static int compare_uid(const void *uid, const void *reading)
{
    return strcmp(uid, ((const md_reading *)reading)->sop_instance_uid);
}

/* Out: the second of two equal objects, and what a later report names as its predecessor. */
static void mark_replaced(md_reports *reports, md_audit *audit)
{
    qsort(reports->readings, reports->n, sizeof *reports->readings, compare_objects);
    for (size_t i = 1; i < reports->n; i++) {
        if (strcmp(reports->readings[i - 1].sop_instance_uid,
                   reports->readings[i].sop_instance_uid) == 0) {
            reports->out[i] = true;
            audit->n_repeated++;
        }
    }
    for (size_t i = 0; i < reports->n; i++) {
        const char *uid = reports->readings[i].predecessor_sop_instance_uid;
        if (reports->out[i] || uid[0] == '\0') {
            continue;
        }
        const md_reading *found =
            bsearch(uid, reports->readings, reports->n, sizeof *reports->readings, compare_uid);
        if (found == NULL) {
            continue;
        }
        size_t at = (size_t)(found - reports->readings);
        while (at > 0 && strcmp(uid, reports->readings[at - 1].sop_instance_uid) == 0) {
            at--; /* the one that is not repeated */
        }
        /* another study's or model's report, or itself, is not its to replace */
        const md_reading *earlier = &reports->readings[at], *later = &reports->readings[i];
        if (!reports->out[at] && at != i && strcmp(earlier->model_id, later->model_id) == 0 &&
            strcmp(earlier->study_instance_uid, later->study_instance_uid) == 0) {
            reports->out[at] = true;
            audit->n_replaced++;
        }
    }
}

static md_status choose_model(const md_audit_options *options, const md_reports *reports,
                              const char **ret_id, md_error *err)
{
    const char *id = options->model;
    for (size_t i = 0; i < reports->n; i++) {
        const char *other = reports->readings[i].model_id;
        if (id == NULL) {
            id = other;
        }
        if (options->model == NULL && strcmp(id, other) != 0) {
            return md_fail(err, MD_INVALID_ARG,
                           "reports of several models (%s, %s): name one with --model", id,
                           other);
        }
    }
    if (id == NULL) {
        return md_fail(err, MD_NOT_FOUND, "%s: no report of medaid", options->reports);
    }
    *ret_id = id;
    return MD_OK;
}

static md_status count_model(const md_reading *r, md_audit *audit, md_error *err)
{
    size_t m = 0;
    while (m < audit->n_models && (strcmp(audit->models[m].version, r->model_version) != 0 ||
                                   strcmp(audit->models[m].sha256, r->model_sha256) != 0)) {
        m++;
    }
    if (m == MD_AUDIT_MAX_MODELS) {
        return md_fail(err, MD_LIMIT, "more than %d versions of the model",
                       MD_AUDIT_MAX_MODELS);
    }
    if (m == audit->n_models) {
        md_audit_model *model = &audit->models[audit->n_models++];
        (void)snprintf(model->id, sizeof model->id, "%s", r->model_id);
        (void)snprintf(model->version, sizeof model->version, "%s", r->model_version);
        (void)snprintf(model->sha256, sizeof model->sha256, "%s", r->model_sha256);
    }
    audit->models[m].n_reports++;
    return MD_OK;
}

md_status md_reports_select(const md_audit_options *options, md_reports *reports,
                            md_audit *audit, md_error *err)
{
    const char *id = NULL;
    reports->out = md_calloc(reports->n + 1, sizeof *reports->out);
    if (reports->out == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu reports", reports->n);
    }
    MD_TRY(choose_model(options, reports, &id, err));
    mark_replaced(reports, audit);
    for (size_t i = 0; i < reports->n; i++) {
        const md_reading *r = &reports->readings[i];
        if (reports->out[i]) {
            continue;
        }
        if (strcmp(r->model_id, options->model != NULL ? options->model : r->model_id) != 0) {
            reports->out[i] = true;
            audit->n_other_model++;
            continue;
        }
        audit->n_reports++;
        audit->n_partial += r->has_failure && r->n_findings > 0;
        audit->n_failed_reports += r->has_failure && r->n_findings == 0;
        MD_TRY(count_model(r, audit, err));
    }
    if (audit->n_reports == 0) {
        return md_fail(err, MD_NOT_FOUND, "%s: no report of the model '%s'", options->reports,
                       id);
    }
    return MD_OK;
}

void md_reports_finish(md_reports *reports)
{
    for (size_t i = 0; i < reports->n; i++) {
        md_reading_finish(&reports->readings[i]);
    }
    md_free(reports->readings);
    md_free(reports->out);
    *reports = (md_reports){0};
}
