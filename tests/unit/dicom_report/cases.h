#ifndef MEDAID_TESTS_UNIT_DICOM_REPORT_CASES_H
#define MEDAID_TESTS_UNIT_DICOM_REPORT_CASES_H

/* Results that an analysis could give, by name, for the tests of the report and the picture. */

#include "dicom/report/report.h"

enum {
    CASE_MAX_SOURCES = 4
};

/* A case with the datasets it was made for. */
typedef struct test_case {
    md_result result;
    md_report_options options;
    md_dataset *datasets[CASE_MAX_SOURCES];
    const md_dataset *sources[CASE_MAX_SOURCES];
    md_raster display;
    md_follow_up follow_up; /* options.follow_up points here in the cases that have one */
} test_case;

/* Names, NULL at the end; of those beyond images "text", "risk" and "risk-alone", whose parts
 * do not add up. */
extern const char *const CASE_NAMES[];

/* Read the files and fill the result of `name`; false with a message on stderr. */
bool case_make(test_case *c, const char *name, const char *const *paths, size_t n_paths);
void case_finish(test_case *c);

#endif
