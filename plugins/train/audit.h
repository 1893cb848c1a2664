#ifndef MEDAID_PLUGINS_TRAIN_AUDIT_H
#define MEDAID_PLUGINS_TRAIN_AUDIT_H

/* What medaid wrote against what was true: a folder of stored reports (docs/sr.md) and a table
 * of truths. Studies are joined by Study Instance UID or accession number, counted and
 * forgotten: nothing of a patient is in a result or a message. One thread at a time, after
 * md_dicom_init. */

#include "plugins/train/assess.h"
#include "plugins/train/page.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_AUDIT_MAX_FILES = 1 << 22,
    MD_AUDIT_MAX_REPORTS = 1 << 20,
    MD_AUDIT_MAX_DEPTH = 32, /* of folders */
    MD_AUDIT_MAX_MODELS = 64
};

typedef struct md_audit_options {
    const char *reports;    /* a folder, walked, or one file */
    const char *truth;      /* CSV */
    const char *model;      /* id; NULL: the only one that wrote reports */
    const float *age_bands; /* edges in years; as md_groups_make */
    unsigned n_age_bands;
    unsigned n_bootstrap, n_threads;
    uint64_t seed;
    /* Told of each file that cannot be read, with the path as it was found. May be NULL. */
    void (*on_problem)(void *context, const char *path, const md_error *reason);
    void *context;
} md_audit_options;

typedef struct md_audit_model {
    char id[65], version[17], sha256[65];
    size_t n_reports; /* that are in force */
} md_audit_model;

/* The answers to one finding, by studies of the truth file. */
typedef struct md_audit_results {
    char name[MD_ASSESS_NAME_BYTES];
    size_t n_present, n_absent, n_undetermined;
    size_t n_failed;  /* a report that says that the analysis failed, without the finding */
    size_t n_missing; /* no report, or a report that says nothing of it */
    size_t n_contradicting; /* presence and score against threshold disagree; presence counts */
} md_audit_results;

typedef struct md_audit {
    size_t n_files;
    size_t n_other;      /* no DICOM, or no report of medaid */
    size_t n_unreadable; /* DICOM or reports that are damaged */
    size_t n_repeated;   /* the same object again */
    size_t n_replaced;   /* a later report of the model took its place */
    size_t n_other_model;
    size_t n_reports; /* of the model, in force */
    size_t n_partial, n_failed_reports;
    size_t n_without_truth; /* reports about studies that the truth file does not name */
    size_t n_studies;       /* of the truth file */
    size_t n_without_report;
    md_audit_model models[MD_AUDIT_MAX_MODELS]; /* that wrote what is in force */
    size_t n_models;
    md_audit_results *results; /* owned, [n_results] */
    unsigned n_results;
    md_assessment assessment;
} md_audit;

/* The truth file has a header. `study` (Study Instance UID) or `accession` names the study;
 * `patient`, `sex`, `age` (years), `view` and `manufacturer` may be there; every other column
 * is a finding, by its key, its code value or SCHEME:VALUE, with 1, yes, true, present,
 * positive or 0, no, false, absent, negative; empty, ? or unknown: not known.
 *
 * A study with several images counts as present when one of them is, with the highest score.
 * Of several reports of a model about one study the one that no other replaces counts, of
 * several such the latest. Undetermined results are counted and in no other figure.
 *
 * MD_NOT_FOUND (folder, truth file, no report of the model), MD_FORMAT (truth file, with line
 * and column), MD_INVALID_ARG (several models and none named, a column that is no finding),
 * MD_LIMIT, MD_IO, MD_NOMEM. Caller finishes. */
md_status md_audit_make(const md_audit_options *options, md_audit *ret_audit, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_audit_finish(md_audit *audit) MD_NOEXCEPT;

/* FOLDER/evaluation.json, report.html and the charts. MD_IO, MD_NOMEM. */
md_status md_audit_write(const md_audit *audit, const char *folder, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
