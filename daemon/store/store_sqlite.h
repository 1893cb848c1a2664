#ifndef MEDAID_DAEMON_STORE_SQLITE_H
#define MEDAID_DAEMON_STORE_SQLITE_H

/* What the files of the SQLite backend share; nobody else includes this but the tests of the
 * migrations.
 *
 * One connection writes, behind a lock; readers take a connection of a small pool. A function
 * named md_sqlite_<verb> below that takes a connection is called with that connection held. */

#include "daemon/store/store_backend.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include <sqlite3.h>

enum {
    MD_SQLITE_MAX_STATEMENTS = 256, /* more than the program has */
    MD_SQLITE_N_READERS = 4
};

/* Statements are prepared on first use and kept. The text's address is the key: always pass the
 * same string constant. */
typedef struct md_sqlite_statement {
    const char *sql;
    sqlite3_stmt *statement;
} md_sqlite_statement;

typedef struct md_sqlite {
    sqlite3 *db;
    md_sqlite_statement statements[MD_SQLITE_MAX_STATEMENTS];
    unsigned n_statements;
} md_sqlite;

typedef struct md_sqlite_add md_sqlite_add;

typedef struct md_store_sqlite {
    md_store base;
    md_store_options options; /* path points to `path` */
    char *path;
    int lock_fd;
    uint8_t key_secret[32];

    pthread_mutex_t write_lock;
    md_sqlite writer;

    pthread_mutex_t reader_lock;
    pthread_cond_t reader_free;
    md_sqlite readers[MD_SQLITE_N_READERS];
    bool reader_busy[MD_SQLITE_N_READERS];

    /* group commit: callers of add_instances queue here, one of them does all */
    pthread_mutex_t add_lock;
    pthread_cond_t add_done;
    md_sqlite_add *add_first, **add_last;
    bool add_running;

    atomic_bool flags[2];
    _Atomic uint64_t version; /* one more with each commit */
} md_store_sqlite;

/* "database: <what>: <SQLite's words>" with the status that fits the code. */
md_status md_sqlite_fail(md_error *err, int code, const char *what);

extern const char *const *const md_sqlite_schema;
extern const int md_sqlite_schema_version;
/* Bring the database to version n_steps, each step in its own transaction. */
md_status md_sqlite_migrate(sqlite3 *db, const char *const *steps, int n_steps, md_error *err)
    MD_NODISCARD;

/* Begin a statement: get it and bind its parameters. types: 'i' int64_t, 'r' double, 't' const
 * char *, 'h' const uint8_t[MD_CONTENT_TAG_BYTES],
 * 'b' const uint8_t * and size_t. After use md_sqlite_end. */
md_status md_sqlite_start(md_sqlite *c, const char *sql, sqlite3_stmt **ret_statement,
                          md_error *err, const char *types, ...) MD_NODISCARD;
/* *ret_row false: no more rows. On failure the statement is ended. */
md_status md_sqlite_step(md_sqlite *c, sqlite3_stmt *statement, bool *ret_row, md_error *err)
    MD_NODISCARD;
void md_sqlite_end(sqlite3_stmt *statement);
/* A statement without rows. */
md_status md_sqlite_run(md_sqlite *c, const char *sql, md_error *err, const char *types, ...)
    MD_NODISCARD;
/* The same on the way out of an error that was told already. */
void md_sqlite_undo(md_sqlite *c, const char *sql);
/* One integer; MD_NOT_FOUND when there is no row. NULL is 0. */
md_status md_sqlite_int(md_sqlite *c, const char *sql, int64_t *ret_value, md_error *err,
                        const char *types, ...) MD_NODISCARD;
/* Column text, cut to fit. */
void md_sqlite_text(sqlite3_stmt *statement, int column, char *ret_text, size_t size_bytes);

/* Take the writer and begin; commit or roll back by `status` and let go. */
md_status md_sqlite_begin(md_store_sqlite *s, md_error *err) MD_NODISCARD;
md_status md_sqlite_commit(md_store_sqlite *s, md_status status, md_error *err) MD_NODISCARD;

md_status md_sqlite_reader(md_store_sqlite *s, md_sqlite **ret_reader, md_error *err)
    MD_NODISCARD;
void md_sqlite_reader_done(md_store_sqlite *s, md_sqlite *reader);

/* Inside a transaction. */
md_status md_sqlite_load_study(md_sqlite *c, int64_t id, md_study *ret_study, md_error *err)
    MD_NODISCARD;
/* Change the state from what it is known to be; MD_CANCELLED when it is another by now,
 * MD_INTERNAL for a change that does not exist. */
md_status md_sqlite_set_state(md_sqlite *c, int64_t study, md_study_state from,
                              md_study_state to, md_error *err) MD_NODISCARD;
/* Begin the next generation in the state receiving or complete; received_ms starts its clock.
 */
md_status md_sqlite_reopen(md_store_sqlite *s, const md_study *study, md_study_state to,
                           int64_t received_ms, int64_t now_ms, md_error *err) MD_NODISCARD;
/* Leave sending if nothing is pending any more; *ret_state is the state after it. */
md_status md_sqlite_end_sending(md_store_sqlite *s, int64_t study, int64_t now_ms,
                                md_study_state *ret_state, md_error *err) MD_NODISCARD;
/* Objects and their outbox rows for the present generation. */
md_status md_sqlite_put_objects(md_sqlite *c, int64_t study, int generation,
                                const md_object_new *objects, size_t n, int64_t now_ms,
                                md_error *err) MD_NODISCARD;

/* The findings of the present generation, in place of what it may have had. */
md_status md_sqlite_put_findings(md_sqlite *c, const md_study *study,
                                 const md_store_finding *findings, size_t n, int64_t now_ms,
                                 md_error *err) MD_NODISCARD;
/* A late instance whose study is not analysed again: it follows the originals that went out
 * before, to the same destinations. */
md_status md_sqlite_forward_late(md_sqlite *c, int64_t study, int64_t now_ms, md_error *err)
    MD_NODISCARD;

/* Requests that no destination had taken when the program ended are over. */
md_status md_sqlite_commitment_recover(md_sqlite *c, md_error *err) MD_NODISCARD;

/* Texts for the notifiers; what was delivered long ago is forgotten. */
/* `supersedes`: earlier texts of the study that still wait for the same notifier are given up;
 * not for a failure, which takes no finding back. */
md_status md_sqlite_put_notices(md_sqlite *c, const md_study *study,
                                const md_notice_new *notices, size_t n, bool supersedes,
                                int64_t now_ms, md_error *err) MD_NODISCARD;

/* What the worklist shows of the study from now on. */
md_status md_sqlite_put_view(md_sqlite *c, int64_t study, const md_study_view *view,
                             md_error *err) MD_NODISCARD;

/* Keep the clock of the present generation: the study is about to go, or to begin anew. */
md_status md_sqlite_keep_history(md_sqlite *c, int64_t study, md_error *err) MD_NODISCARD;
/* A workitem with its messages, inside a transaction. */
md_status md_sqlite_put_ups(md_sqlite *c, const md_ups_write *write, int64_t now_ms,
                            md_error *err) MD_NODISCARD;

/* The vectors of the present analysis, in place of those that the study had. */
md_status md_sqlite_put_vectors(md_sqlite *c, const md_study *study,
                                const md_store_vector *vectors, size_t n, int64_t now_ms,
                                md_error *err) MD_NODISCARD;

/* What the present analysis leaves for follow-up, in place of what it may have had. NULL is
 * fine. */
md_status md_sqlite_put_follow_up(md_sqlite *c, const md_study *study,
                                  const md_store_follow_up_new *follow_up, md_error *err)
    MD_NODISCARD;

/* The functions of the table, by file. */
md_status md_sqlite_follow_up_of(md_store *store, const char *study_key,
                                 md_store_follow_up *ret_follow_up, md_error *err);
md_status md_sqlite_rate(md_store *store, const char *study_key, const char *action,
                         const char *reader, double value, int64_t now_ms, md_error *err);
md_status md_sqlite_unrate(md_store *store, const char *study_key, const char *action,
                           const char *reader, md_error *err);
md_status md_sqlite_ratings_of(md_store *store, const char *study_key, size_t n_max,
                               md_store_rating *ret_ratings, size_t *ret_n, md_error *err);
md_status md_sqlite_rating_import(md_store *store, const md_store_rating_new *rows, size_t n,
                                  md_error *err);
md_status md_sqlite_each_rating(md_store *store,
                                md_status (*visit)(void *context,
                                                   const md_store_rating_row *row,
                                                   md_error *err),
                                void *context, md_error *err);
md_status md_sqlite_ratings_retire(md_store *store, int64_t given_before_ms, size_t *ret_n,
                                   md_error *err);
md_status md_sqlite_ratings_forget(md_store *store, const char *study_key, size_t *ret_n,
                                   md_error *err);
/* The study waits for its reader from now on, or it is known better what waits. */
md_status md_sqlite_put_reading(md_sqlite *c, const md_study *study, bool urgent,
                                int64_t now_ms, md_error *err) MD_NODISCARD;
/* It was read; -1: it goes unread. */
md_status md_sqlite_reading_read(md_sqlite *c, const char *study_key, int64_t now_ms,
                                 md_error *err) MD_NODISCARD;

/* The functions of the table, by file. */
md_status md_sqlite_readings(md_store *store, int64_t since_ms, size_t n_max,
                             md_store_reading **ret_rows, size_t *ret_n, md_error *err);
md_status md_sqlite_reading_of(md_store *store, const char *study_key,
                               md_store_reading *ret_reading, md_error *err);
/* How many were read lately; its parameter is since when. Here for its plan to be looked at. */
extern const char *const md_sqlite_reading_lately;
md_status md_sqlite_reading_retire(md_store *store, int64_t arrived_before_ms, size_t *ret_n,
                                   md_error *err);
md_status md_sqlite_put_estimate(md_store *store, const char *text, size_t n_bytes,
                                 md_error *err);
md_status md_sqlite_estimate(md_store *store, char **ret_text, size_t *ret_n, md_error *err);
md_status md_sqlite_vector_ids(md_store *store, const char *space, int64_t after,
                               int64_t **ret_ids, size_t *ret_n, md_error *err);
md_status md_sqlite_vector_get(md_store *store, int64_t id, md_store_vector *ret_vector,
                               md_error *err);
md_status md_sqlite_vector_find(md_store *store, int64_t id, md_store_vector_place *ret_place,
                                md_error *err);
md_status md_sqlite_vector_of(md_store *store, const char *space, const char *study_key,
                              int64_t *ret_id, md_error *err);
md_status md_sqlite_vector_retire(md_store *store, const md_vector_retention *retention,
                                  size_t n_max, size_t *ret_n, md_error *err);
md_status md_sqlite_verdicts(md_store *store, const char *study_key, size_t n_max,
                             md_store_verdict *ret_verdicts, size_t *ret_n, md_error *err);
md_status md_sqlite_view(md_store *store, int64_t study, md_view_part part, uint8_t **ret_bytes,
                         size_t *ret_n, md_error *err);
md_status md_sqlite_worklist(md_store *store, bool read, size_t n_max, md_study *ret_studies,
                             size_t *ret_n, md_error *err);
uint64_t md_sqlite_version(const md_store *store);
md_status md_sqlite_set_read(md_store *store, const char *study_key, int64_t now_ms,
                             md_error *err);
md_status md_sqlite_set_verdict(md_store *store, const char *study_key, const char *model_id,
                                const char *finding_key, const char *reader, bool agrees,
                                int64_t now_ms, md_error *err);
md_status md_sqlite_history(md_store *store, int64_t since_ms, size_t n_max,
                            md_study_history **ret_rows, size_t *ret_n, md_error *err);
md_status md_sqlite_finding_tally(md_store *store, int64_t since_ms, size_t n_max,
                                  md_finding_tally **ret_rows, size_t *ret_n, md_error *err);
void md_sqlite_content_key(md_store *store, uint8_t ret_key[MD_CONTENT_KEY_BYTES]);
md_status md_sqlite_add_notices(md_store *store, int64_t study, const md_notice_new *notices,
                                size_t n, int64_t now_ms, md_error *err);
md_status md_sqlite_notice_claim(md_store *store, const char *notifier, int64_t now_ms,
                                 int64_t lease_ms, md_notice_row *ret_row, char **ret_body,
                                 md_error *err);
md_status md_sqlite_notice_finish(md_store *store, const md_notice_row *row,
                                  md_outbox_state state, int64_t next_attempt_ms,
                                  const char *reason, int64_t now_ms, md_error *err);
md_status md_sqlite_notice_next_ms(md_store *store, const char *notifier, int64_t *ret_ms,
                                   md_error *err);
md_status md_sqlite_notices(md_store *store, const char *study_key, size_t n_max,
                            md_notice_row *ret_rows, size_t *ret_n, md_error *err);
md_status md_sqlite_notice_retry(md_store *store, const char *study_key, int64_t now_ms,
                                 size_t *ret_n, md_error *err);
md_status md_sqlite_add_instances(md_store *store, const md_instance_new *items, size_t n,
                                  md_instance_outcome *ret_outcomes, md_error *err);
md_status md_sqlite_replace_file(md_store *store, uint64_t before, uint64_t file,
                                 uint64_t size_bytes, md_error *err);
md_status md_sqlite_instances(md_store *store, int64_t study, bool only_current,
                              md_instance **ret_instances, size_t *ret_n, md_error *err);
md_status md_sqlite_tag_sets(md_store *store, int64_t study, size_t n_max,
                             md_tag_set **ret_sets, size_t *ret_n, md_error *err);
md_status md_sqlite_recover(md_store *store, int64_t now_ms, md_recovery *ret_recovery,
                            md_error *err);
md_status md_sqlite_study(md_store *store, int64_t id, const char *key, md_study *ret_study,
                          md_error *err);
md_status md_sqlite_studies(md_store *store, const md_study_page *page, size_t n_max,
                            md_study *ret_studies, size_t *ret_n, md_error *err);
md_status md_sqlite_complete(md_store *store, const md_study *study, int64_t now_ms,
                             md_error *err);
md_status md_sqlite_claim(md_store *store, const char *owner, int64_t now_ms, int64_t lease_ms,
                          md_claim *ret_claim, md_study *ret_study, md_error *err);
md_status md_sqlite_renew(md_store *store, const md_claim *claim, int64_t now_ms,
                          int64_t lease_ms, md_error *err);
md_status md_sqlite_report(md_store *store, const md_claim *claim, int64_t now_ms,
                           md_error *err);
md_status md_sqlite_attempt_failed(md_store *store, const md_claim *claim, const char *reason,
                                   int64_t now_ms, md_study_state *ret_state, md_error *err);
md_status md_sqlite_release(md_store *store, const md_claim *claim, md_error *err);
md_status md_sqlite_finish(md_store *store, const md_claim *claim,
                           const md_study_outcome *outcome, int64_t now_ms,
                           md_study_state *ret_state, md_error *err);
md_status md_sqlite_findings(md_store *store, const char *study_key,
                             md_store_finding **ret_findings, size_t *ret_n, md_error *err);
md_status md_sqlite_set_notified(md_store *store, int64_t study, int64_t now_ms, md_error *err);
md_status md_sqlite_retry(md_store *store, int64_t study, int64_t now_ms,
                          md_study_state *ret_state, md_error *err);
md_status md_sqlite_quarantine(md_store *store, int64_t study, const char *reason,
                               md_error *err);
md_status md_sqlite_set_priority(md_store *store, int64_t study, int priority, md_error *err);
md_status md_sqlite_add_objects(md_store *store, int64_t study, const md_object_new *objects,
                                size_t n, int64_t now_ms, md_error *err);
md_status md_sqlite_objects(md_store *store, int64_t study, md_stored_object **ret_objects,
                            size_t *ret_n, md_error *err);
md_status md_sqlite_predecessors(md_store *store, int64_t study, size_t n_max,
                                 md_stored_report *ret_reports, size_t *ret_n, md_error *err);
md_status md_sqlite_outbox_claim(md_store *store, const char *destination, int64_t now_ms,
                                 int64_t lease_ms, size_t n_max, md_outbox_row *ret_rows,
                                 size_t *ret_n, md_error *err);
md_status md_sqlite_outbox_finish(md_store *store, const md_outbox_result *results, size_t n,
                                  int64_t now_ms, md_study_state *ret_state, md_error *err);
md_status md_sqlite_outbox_rows(md_store *store, int64_t study, md_outbox_state state,
                                int64_t after_id, size_t n_max, md_outbox_row *ret_rows,
                                size_t *ret_n, md_error *err);
md_status md_sqlite_outbox_next_ms(md_store *store, const char *destination, int64_t *ret_ms,
                                   md_error *err);
md_status md_sqlite_add_originals(md_store *store, int64_t study,
                                  const char *const *destinations, size_t n, int64_t now_ms,
                                  md_error *err);
md_status md_sqlite_commitment_begin(md_store *store, const char *destination, const char *uid,
                                     int64_t now_ms, int64_t expires_ms, size_t n_max,
                                     md_commitment_request *ret_request,
                                     md_commitment_item *ret_items, md_error *err);
md_status md_sqlite_commitment_asked(md_store *store, int64_t request, int64_t now_ms,
                                     md_error *err);
md_status md_sqlite_commitment_close(md_store *store, int64_t request, int64_t next_ms,
                                     int64_t give_up_since_ms, int64_t now_ms,
                                     size_t *ret_n_dead, md_error *err);
md_status md_sqlite_commitment_expired(md_store *store, const char *destination, int64_t now_ms,
                                       int64_t *ret_request, md_error *err);
md_status md_sqlite_commitment_report(md_store *store, const char *uid,
                                      const md_commitment_item *items, size_t n,
                                      const md_commitment_policy *policy, int64_t now_ms,
                                      md_commitment_outcome *ret_outcome, md_error *err);
md_status md_sqlite_commitment_next_ms(md_store *store, const char *destination, int64_t now_ms,
                                       int64_t *ret_ms, md_error *err);
md_status md_sqlite_commitment_waive(md_store *store, const char *destination, size_t *ret_n,
                                     md_error *err);
md_status md_sqlite_held(md_store *store, int64_t ended_before_ms, size_t *ret_n,
                         md_error *err);
md_status md_sqlite_count(md_store *store, md_store_counts *ret_counts, md_error *err);
md_status md_sqlite_retire(md_store *store, const md_retention *retention, size_t n_max,
                           uint64_t **ret_files, size_t *ret_n_files, size_t *ret_n_studies,
                           md_error *err);
void md_sqlite_hash(md_store *store, const char *text, char ret_key[MD_STORE_KEY_BYTES]);
md_status md_sqlite_files(md_store *store, md_store_file **ret_files, size_t *ret_n,
                          md_error *err);

md_status md_sqlite_ups_write(md_store *store, const md_ups_write *write, int64_t now_ms,
                              md_error *err);
md_status md_sqlite_ups_find(md_store *store, const char *uid, md_ups_row *ret_row,
                             md_error *err);
md_status md_sqlite_ups_of_study(md_store *store, const char *study_key, md_ups_row *ret_row,
                                 size_t *ret_n, md_error *err);
md_status md_sqlite_ups_page(md_store *store, md_ups_cursor *cursor, size_t n_max,
                             md_ups_row *ret_rows, size_t *ret_n, md_error *err);
md_status md_sqlite_ups_subscribers(md_store *store, md_ups_subscriber *ret_list, size_t *ret_n,
                                    md_error *err);
md_status md_sqlite_ups_subscribe_global(md_store *store, const char *ae_title, bool locked,
                                         const uint8_t *filter, size_t n_filter, md_error *err);
md_status md_sqlite_ups_subscribe(md_store *store, const char *ae_title, bool locked,
                                  const int64_t *ids, const char *const *uids,
                                  const md_ups_sending *reports, size_t n, int64_t now_ms,
                                  md_error *err);
md_status md_sqlite_ups_unsubscribe(md_store *store, const char *ae_title, int64_t id,
                                    md_error *err);
md_status md_sqlite_ups_suspend(md_store *store, const char *ae_title, md_error *err);
md_status md_sqlite_ups_n_watchers(md_store *store, int64_t id, const char *except_ae,
                                   size_t *ret_n, md_error *err);
md_status md_sqlite_ups_next(md_store *store, const char *receiver, int64_t now_ms,
                             md_ups_outgoing *ret_message, int64_t *ret_next_ms, md_error *err);
md_status md_sqlite_ups_told(md_store *store, int64_t id, md_error *err);
md_status md_sqlite_ups_not_told(md_store *store, int64_t id, int64_t next_ms, md_error *err);
md_status md_sqlite_ups_expire(md_store *store, int64_t since_before_ms, size_t *ret_n,
                               md_error *err);
md_status md_sqlite_ups_retire(md_store *store, int64_t ended_before_ms, size_t n_max,
                               size_t *ret_n, md_error *err);

#endif
