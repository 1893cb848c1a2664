#ifndef MEDAID_DAEMON_UPS_MAKER_H
#define MEDAID_DAEMON_UPS_MAKER_H

/* The workitem of an analysed study: somebody shall read it. One study has one open item at a
 * time: a late image changes it, and makes a new one when the last has ended. Any thread. */

#include "conf/conf.h"
#include "daemon/ups/draft.h"
#include "plugins/host/host.h"

/* HIGH: a finding is present. MEDIUM: nobody knows (a finding is undetermined, or the analysis
 * failed or is partial). LOW: all is absent. */
md_ups_priority md_ups_priority_of(const md_analysis *analysis, const char *failed);

typedef struct md_ups_result {
    const md_study *study;
    const md_analysis *analysis;
    const char *failed; /* NULL: the analysis came to a result */
    md_ups_priority priority;
    const char *worklist_label;   /* NULL: that of the configuration */
    const md_object_new *objects; /* what was written of it */
    size_t n_objects;
    int64_t now_ms;
} md_ups_result;

/* Draft the change that the result calls for, for md_store_finish. *ret_draft is on the heap
 * (md_ups_made_destroy), NULL when there is none to make: switched off, or nothing was looked
 * at. The draft borrows from `result`. */
md_status md_ups_make(const md_conf *conf, md_store *store, const md_ups_result *result,
                      md_ups_draft **ret_draft, md_error *err) MD_NODISCARD;
void md_ups_made_destroy(md_ups_draft *draft);

/* A person has read the study elsewhere, on medaid's own page: its item is completed when
 * nobody has claimed it. One that a workstation has claimed is that workstation's to end. MD_OK
 * also when there is nothing to do. */
md_status md_ups_complete_study(const md_conf *conf, md_store *store, const char *study_key,
                                int64_t now_ms, md_error *err) MD_NODISCARD;

#endif
