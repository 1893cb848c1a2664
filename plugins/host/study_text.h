#ifndef MEDAID_PLUGINS_HOST_STUDY_TEXT_H
#define MEDAID_PLUGINS_HOST_STUDY_TEXT_H

/* The texts of a study as a text analyzer gets them. Patient data: nothing of them may be in a
 * message. One thread for each study. */

#include "plugins/host/analyzer.h"
#include "plugins/host/study.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "Reason for Study (0032,1030)". */
const char *md_study_text_name(md_study_text attribute) MD_NOEXCEPT;

/* The attributes of needs->attributes, in that order, each from all objects of the study in
 * theirs; what is said twice counts once, and what medaid itself reported is not asked. `text`
 * is UTF-8 without control characters, ". " stands between passages, the whole is cut at
 * MD_EVIDENCE_TEXT_BYTES. *ret_evidence NULL: the study says nothing. *ret_file: of the first
 * passage. MD_NOMEM. Release with md_study_text_destroy. */
md_status md_study_text_collect(const md_study *study, const md_text_needs *needs,
                                md_text_evidence **ret_evidence, size_t *ret_file,
                                md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_study_text_destroy(md_text_evidence *evidence) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_text_evidence, md_study_text_destroy)

#ifdef __cplusplus
}
#endif
#endif
