#ifndef MEDAID_DAEMON_STORE_STORE_H
#define MEDAID_DAEMON_STORE_STORE_H

/* The memory of the daemon: which studies there are, which instances they consist of, in which
 * state each is, what was made of it and where that still has to go. Everything here survives a
 * power cut: a call that returned MD_OK is on disk, one that failed changed nothing.
 *
 * A study is in exactly one state and each change of it is one transaction that checks the
 * state it comes from:
 *
 *   receiving -> complete -> analysing -> reporting -> sending -> done | failed | quarantined
 *
 * The way back: a late instance takes complete, analysing and reporting to receiving (nothing
 * has left the house yet: the analysis under way is void and its claim stale), done and failed
 * to receiving as the next generation, whose report names the earlier one. A late instance
 * during sending waits and re-opens the study when sending is over. A study in quarantine
 * collects late instances and stays there until an operator retries it.
 *
 * UIDs and AE titles are in the database (mode 0600) because they are needed to work; no
 * message and no log line has them. Outside, a study is known by its key, a keyed hash of its
 * UID.
 *
 * Which database is behind it is nobody's business but store.c's; see store_backend.h. Any
 * thread may call any function at any time between open and close. Times are milliseconds since
 * 1970 UTC and always the caller's, so that tests own the clock. */

#include "base/content_tag.h"
#include "base/file.h"

enum {
    MD_STORE_UID_BYTES = 65,
    MD_STORE_AE_BYTES = 17,
    MD_STORE_KEY_BYTES = 17, /* 16 hexadecimal digits */
    MD_STORE_REASON_BYTES = 161,
    MD_STORE_NAME_BYTES = 65, /* owners, destinations, kinds of objects */
    MD_STORE_CALLED_BYTES = 32 * MD_STORE_AE_BYTES,
    MD_STORE_TAGS_BYTES = 4096,
    MD_STORE_MAX_BATCH = 1024, /* items of one call */
    MD_STORE_MAX_PAGE = 1000,  /* rows of one page */
};

typedef struct md_store md_store;

typedef enum md_study_state {
    MD_STUDY_RECEIVING,
    MD_STUDY_COMPLETE,
    MD_STUDY_ANALYSING,
    MD_STUDY_REPORTING,
    MD_STUDY_SENDING,
    MD_STUDY_DONE,
    MD_STUDY_FAILED,
    MD_STUDY_QUARANTINED,
    MD_STUDY_N_STATES
} md_study_state;

/* "receiving", ...; "unknown" out of range. Static. */
const char *md_study_state_name(md_study_state state);
/* Whether the one may become the other, by whatever cause. */
bool md_study_may_become(md_study_state from, md_study_state to);

/* Same SOP Instance UID, other bytes. Both copies are always kept, except with REFUSE. */
typedef enum md_conflict_policy {
    MD_CONFLICT_USE_LAST,  /* the later copy is analysed; it re-opens the study */
    MD_CONFLICT_USE_FIRST, /* the first copy stays the one that is analysed */
    MD_CONFLICT_REFUSE     /* the later copy is not kept */
} md_conflict_policy;

typedef enum md_late_policy {
    MD_LATE_REOPEN, /* done and failed studies are analysed again with the late instance */
    MD_LATE_KEEP    /* the instance is kept, the result stays as it is */
} md_late_policy;

typedef struct md_store_options {
    const char *path; /* the database file; its folder exists */
    md_conflict_policy conflict;
    md_late_policy late;
    unsigned max_failures;      /* of the analysis, then quarantine; 0: 3 */
    unsigned max_interruptions; /* restarts of the program during the analysis; 0: 10 */
    int64_t retry_wait_ms;      /* before a failed analysis is tried again, doubled each time */
    int64_t ageing_ms;          /* one step of priority is worth so much waiting; 0: 600000 */
    unsigned busy_timeout_ms;   /* for a lock of another program (a backup); 0: 10000 */
} md_store_options;

/* Open or create, bring an older schema up to date, and lock against a second daemon.
 * MD_BUSY: another process has it open. MD_UNSUPPORTED: written by a newer medaid. MD_FORMAT:
 * not a database, or damaged. MD_IO. Caller closes. */
md_status md_store_open(const md_store_options *options, md_store **ret_store, md_error *err)
    MD_NODISCARD;
/* Close; NULL is fine. No other call may be running. */
void md_store_close(md_store *store);
MD_DEFINE_DESTROYP(md_store, md_store_close)

typedef struct md_recovery {
    unsigned n_requeued;    /* analysing or reporting: to be analysed again */
    unsigned n_quarantined; /* interrupted too often */
    unsigned n_sending;     /* their outbox goes on */
} md_recovery;

/* Once, after open, before anything is claimed: what was under way when the program ended is
 * taken up again. MD_FORMAT when the database fails its own check. */
md_status md_store_recover(md_store *store, int64_t now_ms, md_recovery *ret_recovery,
                           md_error *err) MD_NODISCARD;

/* ---- instances ---- */

/* The key for the content tags of this store's instances. */
void md_store_content_key(md_store *store, uint8_t ret_key[MD_CONTENT_KEY_BYTES]);

typedef struct md_instance_new {
    const char *study_uid, *series_uid, *sop_instance_uid, *sop_class_uid;
    const char *transfer_syntax_uid, *source_ae;
    uint8_t content_tag[MD_CONTENT_TAG_BYTES]; /* of the dataset, without the file's head */
    uint64_t file;                             /* number in the spool */
    uint64_t size_bytes;
    int64_t received_ms;
    int priority; /* of the study: the highest of its instances counts; -100..100 */
    /* The AE title of ours that was called; NULL: none. When a known instance comes to a title
     * that its study was not sent to before, it counts as a late one, because that title may
     * have more to do. */
    const char *called_ae;
    const char
        *tags; /* what rules want to know of it, see daemon/rules/tags.h; NULL: nothing */
} md_instance_new;

typedef enum md_instance_kind {
    MD_INSTANCE_STORED,   /* a new one */
    MD_INSTANCE_SAME,     /* known with the same bytes: nothing changed, drop the file */
    MD_INSTANCE_CONFLICT, /* known with other bytes, kept too: answer with a warning */
    MD_INSTANCE_REFUSED   /* known with other bytes, not kept: drop the file */
} md_instance_kind;

typedef struct md_instance_outcome {
    md_instance_kind kind;
    int64_t study;
    char study_key[MD_STORE_KEY_BYTES];
    bool reopened;             /* the study was done or failed, or an analysis was under way */
    uint64_t file, size_bytes; /* SAME: of the one that is known */
} md_instance_outcome;

/* Add n instances, all or none, in one transaction that is shared with whoever else calls at
 * the same time (group commit). Waits until it is on disk. MD_INVALID_ARG: a UID of a wrong
 * form. MD_LIMIT: n > MD_STORE_MAX_BATCH, or the disk is full. An MD_IO failure leaves open
 * whether the rows are there after a restart: keep the files. */
md_status md_store_add_instances(md_store *store, const md_instance_new *items, size_t n,
                                 md_instance_outcome *ret_outcomes, md_error *err) MD_NODISCARD;
/* The file `before` of a known instance is gone or was cut, and the same bytes came again as
 * `file`: from now on the row names that one. MD_CANCELLED: no instance has `before` (any
 * more). MD_IO as above. */
md_status md_store_replace_file(md_store *store, uint64_t before, uint64_t file,
                                uint64_t size_bytes, md_error *err) MD_NODISCARD;

typedef struct md_instance {
    int64_t id, study;
    char sop_instance_uid[MD_STORE_UID_BYTES], sop_class_uid[MD_STORE_UID_BYTES];
    char series_uid[MD_STORE_UID_BYTES], transfer_syntax_uid[MD_STORE_UID_BYTES];
    char source_ae[MD_STORE_AE_BYTES], called_ae[MD_STORE_AE_BYTES];
    uint8_t content_tag[MD_CONTENT_TAG_BYTES];
    uint64_t file, size_bytes;
    int64_t received_ms;
    bool current; /* false: another copy of the same instance is the one that is analysed */
} md_instance;

/* The instances of a study in order of arrival, only the current ones or all. Caller frees
 * *ret_instances with md_free; NULL when there are none. */
md_status md_store_instances(md_store *store, int64_t study, bool only_current,
                             md_instance **ret_instances, size_t *ret_n, md_error *err)
    MD_NODISCARD;

/* Instances that say the same of themselves. */
typedef struct md_tag_set {
    char tags[MD_STORE_TAGS_BYTES];
    char sop_class_uid[MD_STORE_UID_BYTES];
    char source_ae[MD_STORE_AE_BYTES], called_ae[MD_STORE_AE_BYTES];
    unsigned n_instances;
} md_tag_set;

/* The current instances of a study by what is known of them, in order of the first arrival, at
 * most n_max sets. Caller frees *ret_sets with md_free; NULL when there are none. */
md_status md_store_tag_sets(md_store *store, int64_t study, size_t n_max, md_tag_set **ret_sets,
                            size_t *ret_n, md_error *err) MD_NODISCARD;

/* ---- studies ---- */

/* The clock of a study, for its present generation; 0: not yet. */
typedef struct md_study_clock {
    int64_t first_received_ms, last_received_ms, complete_ms;
    int64_t analysis_start_ms, analysis_end_ms;
    int64_t stored_ms;   /* the last object was taken by the last destination */
    int64_t notified_ms; /* somebody was told (triage) */
    int64_t read_ms;     /* a person had read it */
} md_study_clock;

typedef struct md_study {
    int64_t id;
    char key[MD_STORE_KEY_BYTES];
    char study_uid[MD_STORE_UID_BYTES];
    md_study_state state;
    int generation; /* 1, and one more each time a finished study is re-opened */
    int priority;
    unsigned n_failures, n_interruptions;
    unsigned n_instances; /* current ones */
    unsigned n_conflicts; /* copies that are not current */
    uint64_t size_bytes;
    /* The AE titles of ours that it was sent to, in order of the first arrival, with '\\'
     * between them. */
    char called[MD_STORE_CALLED_BYTES];
    bool late;                          /* instances came during sending or quarantine */
    char reason[MD_STORE_REASON_BYTES]; /* of failed and quarantined */
    md_study_clock clock;
} md_study;

md_status md_store_study(md_store *store, int64_t study, md_study *ret_study, md_error *err)
    MD_NODISCARD;
/* By key; MD_NOT_FOUND. */
md_status md_store_find_study(md_store *store, const char *key, md_study *ret_study,
                              md_error *err) MD_NODISCARD;

typedef struct md_study_page {
    unsigned states;   /* bits 1u << state; 0: all */
    int64_t before_id; /* newest first: only ids below it; 0: from the newest */
    int64_t after_id;  /* used when before_id is 0 and oldest_first */
    bool oldest_first;
} md_study_page;

/* Up to n_max (<= MD_STORE_MAX_PAGE) studies into the caller's array. The next page begins at
 * the last id of this one. */
md_status md_store_studies(md_store *store, const md_study_page *page, size_t n_max,
                           md_study *ret_studies, size_t *ret_n, md_error *err) MD_NODISCARD;

/* receiving -> complete, if the study still has the n_instances (and conflicts) that the caller
 * judged it by. MD_BUSY: one more arrived, or it is no longer receiving. */
md_status md_store_complete(md_store *store, const md_study *study, int64_t now_ms,
                            md_error *err) MD_NODISCARD;

/* The right to work on a study, until the lease ends or the study is taken back. */
typedef struct md_claim {
    int64_t study;
    int64_t token;
} md_claim;

/* complete -> analysing for the study whose turn it is: by priority, where each ageing_ms of
 * waiting is worth one step, and not before its retry time. Studies whose lease ended first get
 * their failure counted. MD_NOT_FOUND: nothing to do, or paused. `owner` names the worker. */
md_status md_store_claim(md_store *store, const char *owner, int64_t now_ms, int64_t lease_ms,
                         md_claim *ret_claim, md_study *ret_study, md_error *err) MD_NODISCARD;
/* The following return MD_CANCELLED when the claim is stale: a late instance came, the lease
 * ended or an operator took the study. Then the work is void and nothing was changed. */
md_status md_store_renew(md_store *store, const md_claim *claim, int64_t now_ms,
                         int64_t lease_ms, md_error *err) MD_NODISCARD;
/* analysing -> reporting: findings exist, objects are being written. */
md_status md_store_report(md_store *store, const md_claim *claim, int64_t now_ms, md_error *err)
    MD_NODISCARD;
/* The attempt failed in a way that another may not: back to complete with a wait, or to
 * quarantined after the last one; *ret_state says which. `reason` is for people, without
 * patient data. */
md_status md_store_attempt_failed(md_store *store, const md_claim *claim, const char *reason,
                                  int64_t now_ms, md_study_state *ret_state, md_error *err)
    MD_NODISCARD;
/* Give the study back untouched (the program is stopping): -> complete, nothing counted. */
md_status md_store_release(md_store *store, const md_claim *claim, md_error *err) MD_NODISCARD;

typedef struct md_object_new {
    const char *kind; /* "sr", "picture", ... a fixed name */
    const char *sop_instance_uid, *sop_class_uid;
    const char *model_id, *series_instance_uid; /* NULL: not known, then no later report names
                                                   it as its predecessor */
    uint64_t file, size_bytes;
    const char *const *destinations; /* names; each makes a row of the outbox */
    size_t n_destinations;
} md_object_new;

typedef enum md_store_presence {
    MD_STORE_ABSENT,
    MD_STORE_PRESENT,
    MD_STORE_UNDETERMINED
} md_store_presence;

/* What a model said, for rules, worklist and evaluation. Texts are cut to fit. */
typedef struct md_store_finding {
    char study_key[MD_STORE_KEY_BYTES]; /* read only: of the study it was found in */
    int generation;                     /* read only */
    char model_id[MD_STORE_NAME_BYTES], model_version[17];
    char key[MD_STORE_NAME_BYTES];             /* the manifest's name for it */
    char code[65], scheme[17], meaning[129];   /* as md_code */
    char sop_instance_uid[MD_STORE_UID_BYTES]; /* of the image it was found in */
    uint32_t frame;                            /* 1-based; 0: the object has one */
    md_store_presence presence;
    double score, threshold; /* 0..1 */
    bool is_probability, urgent;
} md_store_finding;

/* A text that a notifier is to deliver. */
typedef struct md_notice_new {
    const char *notifier; /* its name */
    const char *body;     /* the text as it goes out */
} md_notice_new;

/* What the worklist shows of a study beside its findings. */
typedef struct md_study_view {
    const char *header;             /* JSON: patient and study; NULL: none */
    const uint8_t *image, *overlay; /* PNG; NULL: none */
    size_t image_bytes, overlay_bytes;
} md_study_view;

/* How an analysis ended. */
typedef struct md_study_outcome {
    const md_object_new *objects;
    size_t n_objects;
    const md_store_finding *findings;
    size_t n_findings;
    const md_notice_new *notices;
    size_t n_notices;
    md_study_view view;
    const struct md_ups_write *workitem;   /* store_ups.h; NULL: none */
    const struct md_store_vector *vectors; /* store_vector.h; in place of those it had */
    size_t n_vectors;
    const struct md_store_follow_up_new *follow_up; /* store_follow_up.h; NULL: none */
    const char *failed; /* NULL: the analysis came to a result; else the reason why it did not
                           and never will (no model accepts it): the study ends as failed */
} md_study_outcome;

/* analysing or reporting -> sending, with findings, notices, objects and outbox rows; and
 * on to the end at once when nothing is to be sent. An object that is already known by its UID
 * (the same analysis again) is not sent twice to a destination that has it. MD_CANCELLED as
 * above: then the files are the caller's to remove. */
md_status md_store_finish(md_store *store, const md_claim *claim,
                          const md_study_outcome *outcome, int64_t now_ms,
                          md_study_state *ret_state, md_error *err) MD_NODISCARD;
/* The findings of the latest analysis of a study, in the order of the result. Caller frees with
 * md_free; NULL when there are none. They stay when the study is retired. */
md_status md_store_findings(md_store *store, const char *study_key,
                            md_store_finding **ret_findings, size_t *ret_n, md_error *err)
    MD_NODISCARD;
/* Objects for a study in quarantine: its failure report. The state stays. */
md_status md_store_add_objects(md_store *store, int64_t study, const md_object_new *objects,
                               size_t n, int64_t now_ms, md_error *err) MD_NODISCARD;
/* The received instances of the study, the current copies, for these destinations too: what a
 * destination has is not sent again, what was given up is tried again. In any state. */
md_status md_store_add_originals(md_store *store, int64_t study,
                                 const char *const *destinations, size_t n, int64_t now_ms,
                                 md_error *err) MD_NODISCARD;
/* Notices for a study outside of md_store_finish. */
md_status md_store_add_notices(md_store *store, int64_t study, const md_notice_new *notices,
                               size_t n, int64_t now_ms, md_error *err) MD_NODISCARD;
md_status md_store_set_notified(md_store *store, int64_t study, int64_t now_ms, md_error *err)
    MD_NODISCARD;

typedef struct md_stored_object {
    int64_t id, study;
    int generation;
    char kind[MD_STORE_NAME_BYTES];
    char sop_instance_uid[MD_STORE_UID_BYTES], sop_class_uid[MD_STORE_UID_BYTES];
    char model_id[MD_STORE_NAME_BYTES], series_instance_uid[MD_STORE_UID_BYTES]; /* or "" */
    uint64_t file, size_bytes;
    int64_t created_ms;
} md_stored_object;

/* All generations, oldest first. Caller frees with md_free; NULL when none. */
md_status md_store_objects(md_store *store, int64_t study, md_stored_object **ret_objects,
                           size_t *ret_n, md_error *err) MD_NODISCARD;

/* A report that the next one of the same model replaces. */
typedef struct md_stored_report {
    char model_id[MD_STORE_NAME_BYTES];
    char sop_instance_uid[MD_STORE_UID_BYTES], series_instance_uid[MD_STORE_UID_BYTES];
} md_stored_report;

/* For each model its newest report ("sr") of an earlier generation of the study that somebody
 * may have: taken by at least one destination, or kept here with nowhere to go. One that never
 * left has nobody to correct, and the one before it counts. A model whose newest such report is
 * in an unknown series is left out; so are objects of an unknown model. Newest first, up to
 * n_max (<= MD_STORE_MAX_PAGE) into the caller's array; none: *ret_n 0. */
md_status md_store_predecessors(md_store *store, int64_t study, size_t n_max,
                                md_stored_report *ret_reports, size_t *ret_n, md_error *err)
    MD_NODISCARD;

/* ---- outbox ---- */

typedef enum md_outbox_state {
    MD_OUTBOX_PENDING,
    MD_OUTBOX_SENT,
    MD_OUTBOX_DEAD
} md_outbox_state;

/* Whether a destination has promised to keep what it was sent. */
typedef enum md_commitment_state {
    MD_COMMITMENT_UNWANTED, /* or not sent yet */
    MD_COMMITMENT_WANTED,   /* to be asked for; of a dead row: never got */
    MD_COMMITMENT_ASKED,
    MD_COMMITMENT_GIVEN
} md_commitment_state;

typedef struct md_outbox_row {
    int64_t id, study, object; /* object 0: a received instance */
    char study_key[MD_STORE_KEY_BYTES];
    char destination[MD_STORE_NAME_BYTES];
    char kind[MD_STORE_NAME_BYTES];
    uint64_t file;
    md_outbox_state state;
    unsigned n_attempts;
    int64_t next_attempt_ms;
    int last_status;  /* DIMSE status of the last attempt; -1: none, 0xFFFF: no answer */
    int64_t token;    /* of the lease that md_store_outbox_claim gave */
    int64_t since_ms; /* pending: since when; else when it was sent or given up */
    md_commitment_state committed;
    char sop_instance_uid[MD_STORE_UID_BYTES], sop_class_uid[MD_STORE_UID_BYTES];
} md_outbox_row;

/* Take up to n_max due rows of one destination, all of one study, for lease_ms; results before
 * originals. *ret_n 0: nothing is due. Destinations do not wait for each other. */
md_status md_store_outbox_claim(md_store *store, const char *destination, int64_t now_ms,
                                int64_t lease_ms, size_t n_max, md_outbox_row *ret_rows,
                                size_t *ret_n, md_error *err) MD_NODISCARD;

typedef struct md_outbox_result {
    int64_t id, token;
    md_outbox_state state;   /* PENDING: try again at next_attempt_ms */
    int64_t next_attempt_ms; /* see md_backoff_ms */
    int dimse_status;
    bool
        wants_commitment; /* SENT: it is to be asked for. DEAD: the study stays until a retry */
} md_outbox_result;

/* Write down what became of claimed rows, in one transaction. When the last row of a study is
 * no longer pending the study leaves sending: done, failed (a dead row, or a failed analysis),
 * or receiving when late instances wait. *ret_state is the study's state after it; NULL
 * allowed. A row whose lease was lost is passed over unless it is SENT: that has happened and
 * counts. A study that is done fails when a row of it dies that was sent again. */
md_status md_store_outbox_finish(md_store *store, const md_outbox_result *results, size_t n,
                                 int64_t now_ms, md_study_state *ret_state, md_error *err)
    MD_NODISCARD;
/* The rows of a study, or with study 0 those in `state`, by id above after_id. */
md_status md_store_outbox_rows(md_store *store, int64_t study, md_outbox_state state,
                               int64_t after_id, size_t n_max, md_outbox_row *ret_rows,
                               size_t *ret_n, md_error *err) MD_NODISCARD;
/* When the next row of the destination is due; INT64_MAX: none waits. */
md_status md_store_outbox_next_ms(md_store *store, const char *destination, int64_t *ret_ms,
                                  md_error *err) MD_NODISCARD;

/* ---- worklist ---- */

typedef enum md_view_part {
    MD_VIEW_HEADER,
    MD_VIEW_IMAGE,
    MD_VIEW_OVERLAY
} md_view_part;

/* One part of what is shown of a study, with a zero byte behind it. Caller frees *ret_bytes
 * with md_free. MD_NOT_FOUND: there is none. */
md_status md_store_view(md_store *store, int64_t study, md_view_part part, uint8_t **ret_bytes,
                        size_t *ret_n, md_error *err) MD_NODISCARD;

/* Studies for reading: those with an urgent finding first, then by priority, then the longest
 * waiting (by last image received). All states but receiving. `read`: those that were read, the
 * last read first. n_max <= MD_STORE_MAX_PAGE. */
md_status md_store_worklist(md_store *store, bool read, size_t n_max, md_study *ret_studies,
                            size_t *ret_n, md_error *err) MD_NODISCARD;

/* A number that is another one after each change of the database by this process. Any thread.
 */
uint64_t md_store_version(const md_store *store);

/* ---- notices ---- */

/* One text of the outbox of notifiers. Notices are independent of the state of their study and
 * outlive it. */
typedef struct md_notice_row {
    int64_t id, token;
    char notifier[MD_STORE_NAME_BYTES], study_key[MD_STORE_KEY_BYTES];
    int generation;
    md_outbox_state state;
    unsigned n_attempts;
    int64_t created_ms, next_attempt_ms;
    char reason[MD_STORE_REASON_BYTES]; /* of the last attempt that failed */
} md_notice_row;

/* The next due text of a notifier, for one attempt within the lease. *ret_body is freed with
 * md_free. MD_NOT_FOUND: none is due. */
md_status md_store_notice_claim(md_store *store, const char *notifier, int64_t now_ms,
                                int64_t lease_ms, md_notice_row *ret_row, char **ret_body,
                                md_error *err) MD_NODISCARD;
/* What became of it: sent (the first one sets the study's notified time), dead, or pending
 * until next_attempt_ms. MD_CANCELLED: the claim is stale. */
md_status md_store_notice_finish(md_store *store, const md_notice_row *row,
                                 md_outbox_state state, int64_t next_attempt_ms,
                                 const char *reason, int64_t now_ms, md_error *err)
    MD_NODISCARD;
/* When the next one is due; INT64_MAX: none waits. */
md_status md_store_notice_next_ms(md_store *store, const char *notifier, int64_t *ret_ms,
                                  md_error *err) MD_NODISCARD;
/* Those of a study, newest first, at most n_max <= MD_STORE_MAX_PAGE. */
md_status md_store_notices(md_store *store, const char *study_key, size_t n_max,
                           md_notice_row *ret_rows, size_t *ret_n, md_error *err) MD_NODISCARD;
/* Dead ones of a study become pending; *ret_n how many. */
md_status md_store_notice_retry(md_store *store, const char *study_key, int64_t now_ms,
                                size_t *ret_n, md_error *err) MD_NODISCARD;

/* ---- evaluation ---- */

/* The reader has read the study; the first time counts. MD_NOT_FOUND. */
md_status md_store_set_read(md_store *store, const char *study_key, int64_t now_ms,
                            md_error *err) MD_NODISCARD;
/* A reader agrees or disagrees with the latest answer about a finding ("present" or "absent").
 * The last word of one reader counts. MD_NOT_FOUND: the study has no such finding.
 * MD_INVALID_ARG: the answer was undetermined, or a name is empty or too long. */
md_status md_store_set_verdict(md_store *store, const char *study_key, const char *model_id,
                               const char *finding_key, const char *reader, bool agrees,
                               int64_t now_ms, md_error *err) MD_NODISCARD;

/* One analysed study: the latest generation. Times 0: not yet. */
typedef struct md_study_history {
    int64_t arrived_ms, stored_ms, notified_ms, read_ms;
    bool failed;
    bool urgent; /* at least one urgent finding */
} md_study_history;

enum {
    MD_STORE_MAX_HISTORY = 200000
};

/* What became of the studies that arrived since then, by arrival, the newest at most n_max <=
 * MD_STORE_MAX_HISTORY. Also of those whose images are gone. Caller frees with md_free. */
md_status md_store_history(md_store *store, int64_t since_ms, size_t n_max,
                           md_study_history **ret_rows, size_t *ret_n, md_error *err)
    MD_NODISCARD;

/* One finding of one model over all studies. A study counts as present when any image is, else
 * as undetermined when any is. A verdict is of a study; of several readers the latest. */
typedef struct md_finding_tally {
    char model_id[MD_STORE_NAME_BYTES], key[MD_STORE_NAME_BYTES];
    char meaning[129];
    uint64_t n_present, n_absent, n_undetermined;
    uint64_t n_true_positive, n_false_positive, n_true_negative, n_false_negative;
} md_finding_tally;

/* By model and key, at most n_max <= MD_STORE_MAX_PAGE. Caller frees with md_free. */
md_status md_store_finding_tally(md_store *store, int64_t since_ms, size_t n_max,
                                 md_finding_tally **ret_rows, size_t *ret_n, md_error *err)
    MD_NODISCARD;

typedef struct md_backoff {
    int64_t first_ms, most_ms; /* the wait doubles from the one to the other */
    unsigned max_attempts;     /* then the row is dead; 0: never */
} md_backoff;

/* The wait after the n-th failed attempt (1, 2, ...): first_ms * 2^(n-1), at most most_ms, of
 * which the upper half is left to chance so that many senders do not come back at the same
 * moment: wait * (1 + random / 2^32) / 2. */
int64_t md_backoff_ms(const md_backoff *backoff, unsigned n_attempts, uint32_t random);

/* ---- commitment (PS3.4 annex J) ----
 *
 * A destination is asked for all that it was sent of a study at once, by a request with a
 * transaction UID that is on disk before anybody hears of it. The answer may come minutes or
 * days later, over another association, after a restart. A study with a row that is WANTED or
 * ASKED is not retired. */

typedef struct md_commitment_item {
    char sop_class_uid[MD_STORE_UID_BYTES], sop_instance_uid[MD_STORE_UID_BYTES];
    bool failed;    /* of a report: it will not be kept */
    bool ask_again; /* with `failed`: the request was refused, not the object */
} md_commitment_item;

typedef struct md_commitment_request {
    int64_t id, study;
    char study_key[MD_STORE_KEY_BYTES];
    size_t n_items;
} md_commitment_request;

/* Make a request for up to n_max (<= MD_STORE_MAX_PAGE) objects of one study that this
 * destination has taken all it gets of, and that is not being analysed. Its rows are ASKED from
 * here on. MD_NOT_FOUND: nothing is to be asked now. */
md_status md_store_commitment_begin(md_store *store, const char *destination,
                                    const char *transaction_uid, int64_t now_ms,
                                    int64_t expires_ms, size_t n_max,
                                    md_commitment_request *ret_request,
                                    md_commitment_item *ret_items, md_error *err) MD_NODISCARD;
/* The destination has taken the request: its answer is awaited until the request expires. One
 * that was not taken when the program ended is over with md_store_recover. */
md_status md_store_commitment_asked(md_store *store, int64_t request, int64_t now_ms,
                                    md_error *err) MD_NODISCARD;
/* The request was refused, or expired: what of it has no answer is to be asked for again at
 * next_ms by another one. Rows sent before give_up_since_ms are dead instead: *ret_n_dead. An
 * answer that comes later counts where it is good. */
md_status md_store_commitment_close(md_store *store, int64_t request, int64_t next_ms,
                                    int64_t give_up_since_ms, int64_t now_ms,
                                    size_t *ret_n_dead, md_error *err) MD_NODISCARD;
/* A request of the destination that has expired; MD_NOT_FOUND: none has. */
md_status md_store_commitment_expired(md_store *store, const char *destination, int64_t now_ms,
                                      int64_t *ret_request, md_error *err) MD_NODISCARD;

typedef struct md_commitment_policy {
    unsigned
        max_uncommitted; /* so often an object may not be committed, then its row is dead */
    int64_t retry_ms;    /* before it is sent, or the rest asked for, again */
} md_commitment_policy;

typedef struct md_commitment_outcome {
    char study_key[MD_STORE_KEY_BYTES];
    char destination[MD_STORE_NAME_BYTES];
    size_t n_committed, n_again, n_dead; /* rows that this report has changed */
    size_t n_open; /* of the study at this destination: no commitment yet */
} md_commitment_outcome;

/* An answer. What it names as kept is GIVEN, what it names as failed is PENDING again (or
 * dead), what the open request asked for and it does not name is to be asked for again. Of a
 * request that is closed only the good counts. MD_NOT_FOUND: the transaction is not known. */
md_status md_store_commitment_report(md_store *store, const char *transaction_uid,
                                     const md_commitment_item *items, size_t n,
                                     const md_commitment_policy *policy, int64_t now_ms,
                                     md_commitment_outcome *ret_outcome, md_error *err)
    MD_NODISCARD;
/* When, after now_ms, there is something to ask or a request expires; INT64_MAX: never. */
md_status md_store_commitment_next_ms(md_store *store, const char *destination, int64_t now_ms,
                                      int64_t *ret_ms, md_error *err) MD_NODISCARD;
/* The destination need not commit itself any more: nothing of it holds a study back. */
md_status md_store_commitment_waive(md_store *store, const char *destination, size_t *ret_n,
                                    md_error *err) MD_NODISCARD;

/* ---- steering ---- */

/* failed or quarantined -> complete, with its counts reset; a study that failed only in sending
 * goes to sending with its dead rows pending again, and so do the dead rows of one that is
 * still sending to others. MD_INVALID_ARG from any other state. */
md_status md_store_retry(md_store *store, int64_t study, int64_t now_ms,
                         md_study_state *ret_state, md_error *err) MD_NODISCARD;
/* Any state but done and failed -> quarantined; a claim on it becomes stale and what is unsent
 * of it stays unsent. */
md_status md_store_quarantine(md_store *store, int64_t study, const char *reason, md_error *err)
    MD_NODISCARD;
md_status md_store_set_priority(md_store *store, int64_t study, int priority, md_error *err)
    MD_NODISCARD;

typedef enum md_store_flag {
    MD_STORE_PAUSED,  /* nothing is claimed for analysis */
    MD_STORE_DRAINING /* nothing new is accepted; the listener asks */
} md_store_flag;

/* Flags survive a restart: what an operator stopped stays stopped. */
md_status md_store_set_flag(md_store *store, md_store_flag flag, bool on, md_error *err)
    MD_NODISCARD;
bool md_store_flag_is_set(md_store *store, md_store_flag flag);

typedef struct md_store_counts {
    uint64_t studies[MD_STUDY_N_STATES];
    uint64_t outbox_pending, outbox_dead;
    uint64_t uncommitted; /* rows whose commitment is wanted or asked for, dead ones too */
    uint64_t n_instances, size_bytes;
    int64_t oldest_waiting_ms; /* complete_ms of the study that waits longest; 0: none waits */
} md_store_counts;

md_status md_store_count(md_store *store, md_store_counts *ret_counts, md_error *err)
    MD_NODISCARD;

/* ---- files ---- */

typedef struct md_retention {
    int64_t ended_before_ms; /* done and failed studies that ended earlier go; 0: none */
    uint64_t max_bytes;      /* then the oldest ended ones until all fits; 0: no quota */
} md_retention;

/* Forget up to n_max studies that ended, have nothing pending and lack no commitment. The rows
 * are gone when this returns; the files are the caller's to remove (md_free *ret_files). What a
 * crash leaves in between, the scan at start removes. */
md_status md_store_retire(md_store *store, const md_retention *retention, size_t n_max,
                          uint64_t **ret_files, size_t *ret_n_files, size_t *ret_n_studies,
                          md_error *err) MD_NODISCARD;
/* How many studies that ended before are kept for a commitment that has not come. */
md_status md_store_held(md_store *store, int64_t ended_before_ms, size_t *ret_n, md_error *err)
    MD_NODISCARD;
/* Every file that a row names, ascending, with its size. Caller frees with md_free. */
typedef struct md_store_file {
    uint64_t file, size_bytes;
    int64_t study;
} md_store_file;
md_status md_store_files(md_store *store, md_store_file **ret_files, size_t *ret_n,
                         md_error *err) MD_NODISCARD;

/* The keyed hash of a text: md_study.key is that of the Study Instance UID. The key is random,
 * made with the database, and leaves it never. Any thread, never waits. */
void md_store_hash(md_store *store, const char *text, char ret_key[MD_STORE_KEY_BYTES]);

#endif
