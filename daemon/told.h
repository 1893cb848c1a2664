#ifndef MEDAID_DAEMON_TOLD_H
#define MEDAID_DAEMON_TOLD_H

/* What is told of an analysis beside its objects: findings, patient and study for the database,
 * texts for the notifiers. Pure; any thread. */

#include "daemon/notifier/notifier.h"
#include "plugins/host/host.h"

typedef struct md_told {
    md_store_finding *findings; /* owned; all results in one list */
    size_t n_findings;
    md_notice_list notices;
    char *header; /* owned; patient and study as JSON */
} md_told;

/* What rules have to say, once the findings are listed. */
typedef struct md_told_rules {
    void (*conclude)(void *context, const md_told *told); /* called first */
    bool (*notifies)(const void *context, const char *notifier);
    void *context;
} md_told_rules;

/* `rules` may be NULL. `failed` NULL: it came to a result. Caller finishes. MD_NOMEM, MD_LIMIT.
 */
md_status md_told_make(const md_conf *conf, const md_study *study, const md_analysis *analysis,
                       const char *failed, int64_t now_ms, const md_told_rules *rules,
                       md_told *ret_told, md_error *err) MD_NODISCARD;
void md_told_finish(md_told *told);

#endif
