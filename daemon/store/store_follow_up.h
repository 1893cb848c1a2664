#ifndef MEDAID_DAEMON_STORE_STORE_FOLLOW_UP_H
#define MEDAID_DAEMON_STORE_STORE_FOLLOW_UP_H

/* The part of the store that remembers what readers decided to do next (daemon/follow_up): for
 * each patient and action the decision of each reader, and what was found in the patient. A
 * patient is known by a keyed hash alone (md_store_hash), so that this may outlive his studies;
 * it is forgotten by age or by name. The same promises as store.h. */

#include "daemon/store/store.h"

enum {
    MD_STORE_MAX_PROFILE_BYTES = 16 * 1024,
    MD_STORE_MAX_PROPOSALS_BYTES = 64 * 1024,
};

/* What an analysis leaves for follow-up; goes with the study. */
typedef struct md_store_follow_up_new {
    const char *patient;   /* a hash */
    const char *features;  /* what was found, as lines; "" when nothing is known */
    const char *proposals; /* JSON, as it is shown */
} md_store_follow_up_new;

typedef struct md_store_follow_up {
    char patient[MD_STORE_KEY_BYTES];
    int generation;  /* of the analysis that it is from */
    char *proposals; /* owned */
} md_store_follow_up;
void md_store_follow_up_finish(md_store_follow_up *follow_up);

/* Of a study; MD_NOT_FOUND: there is no such study, or it was not analysed since there
 * are actions. Caller finishes. */
md_status md_store_follow_up_of(md_store *store, const char *study_key,
                                md_store_follow_up *ret_follow_up, md_error *err) MD_NODISCARD;

/* A decision on record. */
typedef struct md_store_rating {
    char patient[MD_STORE_KEY_BYTES];
    char study_key[MD_STORE_KEY_BYTES]; /* where it was decided; "": imported */
    char action[MD_STORE_NAME_BYTES];   /* the configuration's key of it */
    char reader[MD_STORE_NAME_BYTES];
    double value; /* 0 declined .. 1 accepted */
    int64_t given_ms;
} md_store_rating;

/* A reader decides on an action for the patient of a study; his last word counts. What the
 * study's analysis found is from now on what is known of the patient. MD_NOT_FOUND as above,
 * MD_INVALID_ARG for a name or a value that is none. */
md_status md_store_rate(md_store *store, const char *study_key, const char *action,
                        const char *reader, double value, int64_t now_ms, md_error *err)
    MD_NODISCARD;
/* He takes it back. MD_NOT_FOUND: he has not decided. */
md_status md_store_unrate(md_store *store, const char *study_key, const char *action,
                          const char *reader, md_error *err) MD_NODISCARD;
/* All decisions for the patient of a study, by action, then as they were given; at most n_max
 * (<= MD_STORE_MAX_PAGE) into the caller's array. None for an unknown study. */
md_status md_store_ratings_of(md_store *store, const char *study_key, size_t n_max,
                              md_store_rating *ret_ratings, size_t *ret_n, md_error *err)
    MD_NODISCARD;

/* A decision from elsewhere. */
typedef struct md_store_rating_new {
    const char *patient, *action, *reader;
    const char *features; /* NULL: what is known of the patient stays */
    double value;
    int64_t given_ms;
    bool forget; /* instead: all that is known of the patient goes */
} md_store_rating_new;

/* At most MD_STORE_MAX_BATCH in one transaction, in order. A decision on record that was given
 * later stays. */
md_status md_store_rating_import(md_store *store, const md_store_rating_new *rows, size_t n,
                                 md_error *err) MD_NODISCARD;

/* One row of the whole record; the texts are valid during the call. */
typedef struct md_store_rating_row {
    const char *patient, *action;
    const char *features;  /* of the patient, "" when nothing is known */
    const char *study_key; /* of the study that they are of; "": none */
    double value;
} md_store_rating_row;

/* Visit the decisions by patient, then action, then as they were given: the last of a patient
 * and an action is the one that counts. `visit` may not call the store; what it returns ends
 * the round unless it is MD_OK. */
md_status md_store_each_rating(md_store *store,
                               md_status (*visit)(void *context, const md_store_rating_row *row,
                                                  md_error *err),
                               void *context, md_error *err) MD_NODISCARD;

/* Forget the decisions that were given before, and what is known of patients without any.
 * *ret_n decisions. */
md_status md_store_ratings_retire(md_store *store, int64_t given_before_ms, size_t *ret_n,
                                  md_error *err) MD_NODISCARD;
/* Forget all decisions for the patient of a study. MD_NOT_FOUND as above. */
md_status md_store_ratings_forget(md_store *store, const char *study_key, size_t *ret_n,
                                  md_error *err) MD_NODISCARD;

/* What md_store_finish asks of an outcome. MD_INVALID_ARG, MD_LIMIT. */
md_status md_store_follow_up_check(const md_store_follow_up_new *follow_up, md_error *err)
    MD_NODISCARD;

#endif
