#ifndef MEDAID_DAEMON_STORE_BACKEND_H
#define MEDAID_DAEMON_STORE_BACKEND_H

/* What a database has to do to be a store: one function for each of store.h, with the same
 * promises. store.c checks arguments and calls these; a second database is a second table. */

#include "daemon/store/store.h"
#include "daemon/store/store_follow_up.h"
#include "daemon/store/store_reading.h"
#include "daemon/store/store_ups.h"
#include "daemon/store/store_vector.h"

typedef struct md_store_backend {
    const char *name;
    void (*close)(md_store *store);
    md_status (*recover)(md_store *store, int64_t now_ms, md_recovery *ret_recovery,
                         md_error *err);
    md_status (*add_instances)(md_store *store, const md_instance_new *items, size_t n,
                               md_instance_outcome *ret_outcomes, md_error *err);
    md_status (*replace_file)(md_store *store, uint64_t before, uint64_t file,
                              uint64_t size_bytes, md_error *err);
    md_status (*instances)(md_store *store, int64_t study, bool only_current,
                           md_instance **ret_instances, size_t *ret_n, md_error *err);
    md_status (*tag_sets)(md_store *store, int64_t study, size_t n_max, md_tag_set **ret_sets,
                          size_t *ret_n, md_error *err);
    md_status (*study)(md_store *store, int64_t id, const char *key, md_study *ret_study,
                       md_error *err);
    md_status (*studies)(md_store *store, const md_study_page *page, size_t n_max,
                         md_study *ret_studies, size_t *ret_n, md_error *err);
    md_status (*complete)(md_store *store, const md_study *study, int64_t now_ms,
                          md_error *err);
    md_status (*claim)(md_store *store, const char *owner, int64_t now_ms, int64_t lease_ms,
                       md_claim *ret_claim, md_study *ret_study, md_error *err);
    md_status (*renew)(md_store *store, const md_claim *claim, int64_t now_ms, int64_t lease_ms,
                       md_error *err);
    md_status (*report)(md_store *store, const md_claim *claim, int64_t now_ms, md_error *err);
    md_status (*attempt_failed)(md_store *store, const md_claim *claim, const char *reason,
                                int64_t now_ms, md_study_state *ret_state, md_error *err);
    md_status (*release)(md_store *store, const md_claim *claim, md_error *err);
    md_status (*finish)(md_store *store, const md_claim *claim, const md_study_outcome *outcome,
                        int64_t now_ms, md_study_state *ret_state, md_error *err);
    md_status (*view)(md_store *store, int64_t study, md_view_part part, uint8_t **ret_bytes,
                      size_t *ret_n, md_error *err);
    md_status (*worklist)(md_store *store, bool read, size_t n_max, md_study *ret_studies,
                          size_t *ret_n, md_error *err);
    uint64_t (*version)(const md_store *store);
    md_status (*set_read)(md_store *store, const char *study_key, int64_t now_ms,
                          md_error *err);
    md_status (*set_verdict)(md_store *store, const char *study_key, const char *model_id,
                             const char *finding_key, const char *reader, bool agrees,
                             int64_t now_ms, md_error *err);
    md_status (*history)(md_store *store, int64_t since_ms, size_t n_max,
                         md_study_history **ret_rows, size_t *ret_n, md_error *err);
    md_status (*finding_tally)(md_store *store, int64_t since_ms, size_t n_max,
                               md_finding_tally **ret_rows, size_t *ret_n, md_error *err);
    md_status (*add_notices)(md_store *store, int64_t study, const md_notice_new *notices,
                             size_t n, int64_t now_ms, md_error *err);
    md_status (*notice_claim)(md_store *store, const char *notifier, int64_t now_ms,
                              int64_t lease_ms, md_notice_row *ret_row, char **ret_body,
                              md_error *err);
    md_status (*notice_finish)(md_store *store, const md_notice_row *row, md_outbox_state state,
                               int64_t next_attempt_ms, const char *reason, int64_t now_ms,
                               md_error *err);
    md_status (*notice_next_ms)(md_store *store, const char *notifier, int64_t *ret_ms,
                                md_error *err);
    md_status (*notices)(md_store *store, const char *study_key, size_t n_max,
                         md_notice_row *ret_rows, size_t *ret_n, md_error *err);
    md_status (*notice_retry)(md_store *store, const char *study_key, int64_t now_ms,
                              size_t *ret_n, md_error *err);
    md_status (*findings)(md_store *store, const char *study_key,
                          md_store_finding **ret_findings, size_t *ret_n, md_error *err);
    md_status (*add_objects)(md_store *store, int64_t study, const md_object_new *objects,
                             size_t n, int64_t now_ms, md_error *err);
    md_status (*set_notified)(md_store *store, int64_t study, int64_t now_ms, md_error *err);
    md_status (*objects)(md_store *store, int64_t study, md_stored_object **ret_objects,
                         size_t *ret_n, md_error *err);
    md_status (*predecessors)(md_store *store, int64_t study, size_t n_max,
                              md_stored_report *ret_reports, size_t *ret_n, md_error *err);
    md_status (*outbox_claim)(md_store *store, const char *destination, int64_t now_ms,
                              int64_t lease_ms, size_t n_max, md_outbox_row *ret_rows,
                              size_t *ret_n, md_error *err);
    md_status (*outbox_finish)(md_store *store, const md_outbox_result *results, size_t n,
                               int64_t now_ms, md_study_state *ret_state, md_error *err);
    md_status (*outbox_rows)(md_store *store, int64_t study, md_outbox_state state,
                             int64_t after_id, size_t n_max, md_outbox_row *ret_rows,
                             size_t *ret_n, md_error *err);
    md_status (*outbox_next_ms)(md_store *store, const char *destination, int64_t *ret_ms,
                                md_error *err);
    md_status (*ups_write)(md_store *store, const md_ups_write *write, int64_t now_ms,
                           md_error *err);
    md_status (*ups_find)(md_store *store, const char *uid, md_ups_row *ret_row, md_error *err);
    md_status (*ups_of_study)(md_store *store, const char *study_key, md_ups_row *ret_row,
                              size_t *ret_n, md_error *err);
    md_status (*ups_page)(md_store *store, md_ups_cursor *cursor, size_t n_max,
                          md_ups_row *ret_rows, size_t *ret_n, md_error *err);
    md_status (*ups_subscribers)(md_store *store, md_ups_subscriber *ret_list, size_t *ret_n,
                                 md_error *err);
    md_status (*ups_subscribe_global)(md_store *store, const char *ae_title, bool locked,
                                      const uint8_t *filter, size_t n_filter, md_error *err);
    md_status (*ups_subscribe)(md_store *store, const char *ae_title, bool locked,
                               const int64_t *ids, const char *const *uids,
                               const md_ups_sending *reports, size_t n, int64_t now_ms,
                               md_error *err);
    md_status (*ups_unsubscribe)(md_store *store, const char *ae_title, int64_t id,
                                 md_error *err);
    md_status (*ups_suspend)(md_store *store, const char *ae_title, md_error *err);
    md_status (*ups_n_watchers)(md_store *store, int64_t id, const char *except_ae,
                                size_t *ret_n, md_error *err);
    md_status (*ups_next)(md_store *store, const char *receiver, int64_t now_ms,
                          md_ups_outgoing *ret_message, int64_t *ret_next_ms, md_error *err);
    md_status (*ups_told)(md_store *store, int64_t id, md_error *err);
    md_status (*ups_not_told)(md_store *store, int64_t id, int64_t next_ms, md_error *err);
    md_status (*ups_expire)(md_store *store, int64_t since_before_ms, size_t *ret_n,
                            md_error *err);
    md_status (*ups_retire)(md_store *store, int64_t ended_before_ms, size_t n_max,
                            size_t *ret_n, md_error *err);
    md_status (*readings)(md_store *store, int64_t since_ms, size_t n_max,
                          md_store_reading **ret_rows, size_t *ret_n, md_error *err);
    md_status (*reading_of)(md_store *store, const char *study_key,
                            md_store_reading *ret_reading, md_error *err);
    md_status (*reading_retire)(md_store *store, int64_t arrived_before_ms, size_t *ret_n,
                                md_error *err);
    md_status (*put_estimate)(md_store *store, const char *text, size_t n_bytes, md_error *err);
    md_status (*estimate)(md_store *store, char **ret_text, size_t *ret_n, md_error *err);
    md_status (*vector_ids)(md_store *store, const char *space, int64_t after,
                            int64_t **ret_ids, size_t *ret_n, md_error *err);
    md_status (*vector_get)(md_store *store, int64_t id, md_store_vector *ret_vector,
                            md_error *err);
    md_status (*vector_find)(md_store *store, int64_t id, md_store_vector_place *ret_place,
                             md_error *err);
    md_status (*vector_of)(md_store *store, const char *space, const char *study_key,
                           int64_t *ret_id, md_error *err);
    md_status (*vector_retire)(md_store *store, const md_vector_retention *retention,
                               size_t n_max, size_t *ret_n, md_error *err);
    md_status (*verdicts)(md_store *store, const char *study_key, size_t n_max,
                          md_store_verdict *ret_verdicts, size_t *ret_n, md_error *err);
    md_status (*follow_up_of)(md_store *store, const char *study_key,
                              md_store_follow_up *ret_follow_up, md_error *err);
    md_status (*rate)(md_store *store, const char *study_key, const char *action,
                      const char *reader, double value, int64_t now_ms, md_error *err);
    md_status (*unrate)(md_store *store, const char *study_key, const char *action,
                        const char *reader, md_error *err);
    md_status (*ratings_of)(md_store *store, const char *study_key, size_t n_max,
                            md_store_rating *ret_ratings, size_t *ret_n, md_error *err);
    md_status (*rating_import)(md_store *store, const md_store_rating_new *rows, size_t n,
                               md_error *err);
    md_status (*each_rating)(md_store *store,
                             md_status (*visit)(void *context, const md_store_rating_row *row,
                                                md_error *err),
                             void *context, md_error *err);
    md_status (*ratings_retire)(md_store *store, int64_t given_before_ms, size_t *ret_n,
                                md_error *err);
    md_status (*ratings_forget)(md_store *store, const char *study_key, size_t *ret_n,
                                md_error *err);
    md_status (*retry)(md_store *store, int64_t study, int64_t now_ms,
                       md_study_state *ret_state, md_error *err);
    md_status (*quarantine)(md_store *store, int64_t study, const char *reason, md_error *err);
    md_status (*set_priority)(md_store *store, int64_t study, int priority, md_error *err);
    md_status (*set_flag)(md_store *store, md_store_flag flag, bool on, md_error *err);
    bool (*flag_is_set)(md_store *store, md_store_flag flag);
    void (*content_key)(md_store *store, uint8_t ret_key[MD_CONTENT_KEY_BYTES]);
    md_status (*add_originals)(md_store *store, int64_t study, const char *const *destinations,
                               size_t n, int64_t now_ms, md_error *err);
    md_status (*commitment_begin)(md_store *store, const char *destination, const char *uid,
                                  int64_t now_ms, int64_t expires_ms, size_t n_max,
                                  md_commitment_request *ret_request,
                                  md_commitment_item *ret_items, md_error *err);
    md_status (*commitment_asked)(md_store *store, int64_t request, int64_t now_ms,
                                  md_error *err);
    md_status (*commitment_close)(md_store *store, int64_t request, int64_t next_ms,
                                  int64_t give_up_since_ms, int64_t now_ms, size_t *ret_n_dead,
                                  md_error *err);
    md_status (*commitment_expired)(md_store *store, const char *destination, int64_t now_ms,
                                    int64_t *ret_request, md_error *err);
    md_status (*commitment_report)(md_store *store, const char *uid,
                                   const md_commitment_item *items, size_t n,
                                   const md_commitment_policy *policy, int64_t now_ms,
                                   md_commitment_outcome *ret_outcome, md_error *err);
    md_status (*commitment_next_ms)(md_store *store, const char *destination, int64_t now_ms,
                                    int64_t *ret_ms, md_error *err);
    md_status (*commitment_waive)(md_store *store, const char *destination, size_t *ret_n,
                                  md_error *err);
    md_status (*held)(md_store *store, int64_t ended_before_ms, size_t *ret_n, md_error *err);
    md_status (*count)(md_store *store, md_store_counts *ret_counts, md_error *err);
    md_status (*retire)(md_store *store, const md_retention *retention, size_t n_max,
                        uint64_t **ret_files, size_t *ret_n_files, size_t *ret_n_studies,
                        md_error *err);
    void (*hash)(md_store *store, const char *text, char ret_key[MD_STORE_KEY_BYTES]);
    md_status (*files)(md_store *store, md_store_file **ret_files, size_t *ret_n,
                       md_error *err);
} md_store_backend;

/* The first member of every backend's own struct. */
struct md_store {
    const md_store_backend *backend;
};

md_status md_store_sqlite_open(const md_store_options *options, md_store **ret_store,
                               md_error *err) MD_NODISCARD;

#endif
