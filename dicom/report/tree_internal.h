#ifndef MEDAID_DICOM_REPORT_TREE_INTERNAL_H
#define MEDAID_DICOM_REPORT_TREE_INTERNAL_H

/* C++ only: the content tree of the report, PS3.16 TID 1500, as docs/sr.md draws it. */

#include "dicom/report/write_internal.h"

#include <string>
#include <vector>

/* One object of the study; several analysed frames of it are one entry. */
struct md_study_object {
    const md_instance_ref *instance;
    const md_dataset *source; /* NULL allowed */
    bool referenced;          /* by the content tree */
};

struct md_study_series {
    const char *uid;
    std::vector<md_study_object> objects;
};

/* The study's objects by series, in the order of the result. Referenced are those that the
 * model saw, or, when it saw none, all that it was offered. */
std::vector<md_study_series> md_group_objects(const md_result *result,
                                              const md_dataset *const *sources);

/* Add Value Type, Concept Name, Content Template and Content Sequence to the dataset. */
md_status md_write_tree(md_writing &w, const md_dataset *const *sources,
                        const std::vector<md_study_series> &series, md_error *err);

/* What was examined, for Procedure Reported and Performed Procedure Code. */
md_code md_procedure_reported(const md_dataset *source);
/* What the order asked for; false when the source does not say it in a usable code. */
bool md_requested_procedure(const md_dataset *source, md_code *ret_code);

#endif
