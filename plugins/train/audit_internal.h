#ifndef MEDAID_PLUGINS_TRAIN_AUDIT_INTERNAL_H
#define MEDAID_PLUGINS_TRAIN_AUDIT_INTERNAL_H

/* Inside plugins/train only: the two sides of an audit. */

#include "dicom/report/read.h"
#include "plugins/train/audit.h"
#include "plugins/train/csv.h"

/* The truth file, checked. */
typedef struct md_truth {
    md_csv csv;
    int key;           /* column */
    bool by_accession; /* else by Study Instance UID */
    int patient, sex, age, view, manufacturer;
    int findings[MD_ASSESS_MAX_QUESTIONS]; /* columns */
    unsigned n_findings;
} md_truth;

md_status md_truth_read(const char *path, md_truth *ret_truth, md_error *err) MD_NODISCARD;
void md_truth_finish(md_truth *truth);
/* 1, 0 or -1, which was checked by md_truth_read. */
int8_t md_truth_label(const char *text);
/* Years, NaN when the field is empty; false when it is none. */
bool md_truth_age(const char *text, double *ret_years);

/* The reports of a folder. */
typedef struct md_reports {
    md_reading *readings; /* owned, [n] */
    size_t n, room;
    bool *out; /* owned, [n]: repeated, replaced or of another model */
} md_reports;

/* Walk and read; fills the counts of files. */
md_status md_reports_collect(const md_audit_options *options, md_reports *reports,
                             md_audit *audit, md_error *err) MD_NODISCARD;
/* Mark what does not count: repeated, replaced, other models. */
md_status md_reports_select(const md_audit_options *options, md_reports *reports,
                            md_audit *audit, md_error *err) MD_NODISCARD;
void md_reports_finish(md_reports *reports);

#endif
