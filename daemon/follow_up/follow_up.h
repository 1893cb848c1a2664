#ifndef MEDAID_DAEMON_FOLLOW_UP_FOLLOW_UP_H
#define MEDAID_DAEMON_FOLLOW_UP_FOLLOW_UP_H

/* Follow-up in the daemon: proposals for a study from the decisions that readers made for
 * similar patients, and new decisions. It proposes and never acts.
 *
 * The record of decisions is the store's; a thread of this module reads it into a model
 * (daemon/follow_up/model.h) at the start, and again when decisions were made, at most once in
 * follow_up.refresh_s, while the earlier model goes on to answer. A question waits for nothing
 * but another question, and for that only MD_FOLLOW_UP_WAIT_MS; what fails here is a line in
 * the log, and the study's result is as it is without.
 *
 * A patient is known by a keyed hash of Patient ID and issuer; a study without a Patient ID is
 * a patient of its own. All functions but start and stop: any thread at any time. */

#include "conf/conf.h"
#include "daemon/follow_up/profile.h"
#include "daemon/store/store_follow_up.h"

enum {
    MD_FOLLOW_UP_WAIT_MS = 100
};

typedef struct md_follow_up_engine md_follow_up_engine;

/* Start the thread. `store` is borrowed until the stop, `shared` (md_conf_share) is held.
 * MD_NOMEM, MD_IO. */
md_status md_follow_up_start(const md_conf *shared, md_store *store,
                             md_follow_up_engine **ret_engine, md_error *err) MD_NODISCARD;
/* Other actions or settings from the next model on, which is made at once. */
void md_follow_up_reload(md_follow_up_engine *engine, const md_conf *shared);
/* NULL is fine. */
void md_follow_up_stop(md_follow_up_engine *engine);

/* Propose for an analysis. Without actions ret_follow_up->there is false. `engine` NULL: the
 * same. */
void md_follow_up_propose(md_follow_up_engine *engine, const char *study_uid,
                          const md_analysis *analysis, md_follow_up *ret_follow_up);
/* The same from what is known of a patient; ids are patient data, "" when there is none. */
void md_follow_up_propose_for(md_follow_up_engine *engine, const char *study_uid,
                              const char *patient_id, const char *issuer,
                              const md_features *features, md_follow_up *ret_follow_up);

/* What md_store_finish keeps of an analysis. The texts are owned: md_follow_up_kept_finish. */
typedef struct md_follow_up_kept {
    md_store_follow_up_new row; /* points to what follows */
    char patient[MD_STORE_KEY_BYTES];
    char features[MD_FEATURES_TEXT_BYTES];
    char *proposals;
} md_follow_up_kept;
/* MD_NOT_FOUND: without actions nothing is kept. MD_NOMEM. */
md_status md_follow_up_keep(md_follow_up_engine *engine, const char *study_uid,
                            const md_analysis *analysis, const md_follow_up *follow_up,
                            md_follow_up_kept *ret_kept, md_error *err) MD_NODISCARD;
void md_follow_up_kept_finish(md_follow_up_kept *kept);

typedef enum md_follow_up_word {
    MD_FOLLOW_UP_DECLINE,
    MD_FOLLOW_UP_ACCEPT,
    MD_FOLLOW_UP_WITHDRAW /* as if it had not been said */
} md_follow_up_word;
/* "declined", "accepted", "withdrawn". */
const char *md_follow_up_word_name(md_follow_up_word word);

/* A reader's decision on an action for the patient of a study: on record when this returns,
 * told to the audit trail, and part of what is proposed to others after the next refresh.
 * MD_INVALID_ARG: the configuration has no such action, a name is none. MD_NOT_FOUND: no such
 * study, it was not analysed since there are actions, or there is nothing to withdraw. */
md_status md_follow_up_decide(md_follow_up_engine *engine, const md_study *study,
                              const char *action, const char *reader, md_follow_up_word word,
                              md_error *err) MD_NODISCARD;
/* Forget all decisions for the patient of a study; *ret_n how many. */
md_status md_follow_up_forget(md_follow_up_engine *engine, const md_study *study, size_t *ret_n,
                              md_error *err) MD_NODISCARD;

typedef struct md_follow_up_import_outcome {
    size_t n_decisions, n_forgotten; /* rows */
} md_follow_up_import_outcome;

/* Take a history over (daemon/follow_up/history.h); `bytes` from md_malloc, one longer than
 * size_bytes, freed in any case. It is checked as a whole before its first row is taken; when
 * the store fails in between, the same import can be done again. */
md_status md_follow_up_import(md_follow_up_engine *engine, char *bytes, size_t size_bytes,
                              const char *name, md_follow_up_import_outcome *ret_outcome,
                              md_error *err) MD_NODISCARD;

#endif
