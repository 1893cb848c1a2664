#include "daemon/commitment.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/destination.h"
#include "daemon/steady.h"
#include "dicom/network/dimse.h"
#include "dicom/network/dimse_client.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum {
    MAX_ITEMS = 500,     /* of one request */
    MAX_UNCOMMITTED = 5, /* times that one object may fail */
    RESEND_AFTER_MS = 2000,
    SAME_ASSOCIATION_MS = 1000,
    AFTER_ERROR_MS = 1000,
    MIN_TIMEOUTS = 3, /* before a request without answer is given up */
    MS_PER_S = 1000,
    MS_PER_H = 3600 * 1000
};

/* ---- answers ---- */

const md_service_class md_commitment_class = {.sop_class_uid = MD_UID_COMMITMENT_PUSH,
                                              .peer_may_be_scp = true};

static void log_outcome(const md_commitment_outcome *outcome)
{
    bool is_good = outcome->n_again == 0 && outcome->n_dead == 0;
    md_log(is_good ? MD_LOG_INFO : MD_LOG_WARN,
           is_good ? "commitment_given" : "commitment_incomplete",
           MD_LOG_TEXT("destination", outcome->destination),
           MD_LOG_TEXT("study", outcome->study_key),
           MD_LOG_INT("objects", outcome->n_committed), MD_LOG_INT("again", outcome->n_again),
           MD_LOG_INT("open", outcome->n_open));
    if (outcome->n_dead > 0) {
        md_log(MD_LOG_ERROR, "commitment_undelivered",
               MD_LOG_TEXT("destination", outcome->destination),
               MD_LOG_TEXT("study", outcome->study_key), MD_LOG_INT("objects", outcome->n_dead),
               MD_LOG_TEXT("then", "given up until a retry"));
    }
}

static md_status apply(const md_commitment_sink *sink, const md_commit_report *report,
                       md_error *err)
{
    const md_commitment_policy policy = {.max_uncommitted = MAX_UNCOMMITTED,
                                         .retry_ms = RESEND_AFTER_MS};
    md_commitment_outcome outcome;
    MD_AUTO(md_freep) md_commitment_item *items = md_calloc(report->n + 1, sizeof *items);
    if (items == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a report of %zu objects", report->n);
    }
    for (size_t i = 0; i < report->n; i++) {
        const md_commit_reference *from = &report->references[i];
        memcpy(items[i].sop_class_uid, from->sop_class_uid, MD_STORE_UID_BYTES);
        memcpy(items[i].sop_instance_uid, from->sop_instance_uid, MD_STORE_UID_BYTES);
        items[i].failed = from->failed;
        items[i].ask_again = from->failure_reason == MD_COMMIT_DUPLICATE_UID;
    }
    MD_TRY(md_store_commitment_report(sink->store, report->transaction_uid, items, report->n,
                                      &policy, md_steady_ms(), &outcome, err));
    log_outcome(&outcome);
    if (outcome.n_again > 0 && sink->on_change != NULL) {
        sink->on_change(sink->context);
    }
    return MD_OK;
}

/* What a report must be before it is read (PS3.4 J.3.3, PS3.7 10.1.1.1.8). */
static uint16_t check_request(const md_dimse_request *request)
{
    if (request->field != MD_COMMAND_EVENT_REPORT_RQ) {
        return MD_DIMSE_NO_SUCH_ACTION; /* we are the SCU, nobody commits anything to us */
    }
    if (strcmp(request->sop_class_uid, MD_UID_COMMITMENT_PUSH) != 0) {
        return MD_DIMSE_CLASS_NOT_SUPPORTED;
    }
    if (strcmp(request->sop_instance_uid, MD_UID_COMMITMENT_PUSH_INSTANCE) != 0) {
        return MD_DIMSE_NO_SUCH_INSTANCE;
    }
    if (!request->has_number || (request->number != MD_COMMIT_EVENT_ALL &&
                                 request->number != MD_COMMIT_EVENT_FAILURES)) {
        return MD_DIMSE_NO_SUCH_EVENT;
    }
    return request->has_dataset ? MD_DIMSE_SUCCESS : MD_DIMSE_MISTYPED;
}

static uint16_t refuse(const md_dimse_request *request, uint16_t dimse_status, const char *why)
{
    char text[16];
    snprintf(text, sizeof text, "0x%04x", (unsigned)dimse_status);
    md_log(MD_LOG_WARN, "commitment_refused", MD_LOG_TEXT("peer", request->peer_address),
           MD_LOG_TEXT("dimse_status", text), MD_LOG_TEXT("reason", why));
    return dimse_status;
}

uint16_t md_commitment_take(void *context, const md_dimse_request *request)
{
    md_error err = {0};
    md_commit_report report = {0};
    uint16_t dimse_status = check_request(request);
    if (dimse_status != MD_DIMSE_SUCCESS) {
        return refuse(request, dimse_status, "not a report of a storage commitment");
    }
    if (md_commit_read_report(request->dataset, request->dataset_bytes, request->encoding,
                              &report, &err) != MD_OK) {
        return refuse(request,
                      err.status == MD_FORMAT ? MD_DIMSE_INVALID_ARGUMENT
                                              : MD_DIMSE_RESOURCE_LIMITATION,
                      err.msg);
    }
    md_status status = apply(context, &report, &err);
    md_commit_report_finish(&report);
    if (status == MD_OK) {
        return MD_DIMSE_SUCCESS;
    }
    return status == MD_NOT_FOUND
               ? refuse(request, MD_DIMSE_INVALID_ARGUMENT, "its transaction is not known")
               : refuse(request, MD_DIMSE_PROCESSING_FAILURE, err.msg);
}

void md_commitment_serve(void *sink, const md_dimse_request *request,
                         md_dimse_responder *responder)
{
    const md_dimse_answer answer = {.status = md_commitment_take(sink, request)};
    md_error err = {0};
    if (md_dimse_respond(responder, &answer, &err) != MD_OK) {
        /* done all the same; the peer may say it again */
        md_log(MD_LOG_WARN, "commitment_unanswered", MD_LOG_TEXT("peer", request->peer_address),
               MD_LOG_TEXT("reason", err.msg));
    }
}

/* ---- asking ---- */

/* Counts what comes over the same association. */
typedef struct listening {
    uint16_t (*on_report)(void *context, const md_dimse_request *request);
    void *context;
    unsigned n_reports;
} listening;

static uint16_t take_event(void *context, const md_dimse_request *request)
{
    listening *now = context;
    now->n_reports++;
    return now->on_report(now->context, request);
}

static md_status call(md_dimse_client *client, const char *transaction_uid,
                      const md_commit_reference *references, size_t n,
                      uint16_t *ret_dimse_status, md_error *err)
{
    md_encoding encoding = MD_ENCODING_IMPLICIT_LITTLE;
    uint8_t *made = NULL;
    size_t size_bytes = 0;
    md_dimse_reply reply;
    if (md_dimse_client_encoding(client, MD_UID_COMMITMENT_PUSH, &encoding, err) != MD_OK) {
        return md_fail(err, MD_UNSUPPORTED, "the peer does not take storage commitment");
    }
    MD_TRY(md_commit_write_request(transaction_uid, references, n, encoding, &made, &size_bytes,
                                   err));
    MD_AUTO(md_freep) uint8_t *dataset = made;
    const md_dimse_call action = {.field = MD_COMMAND_ACTION_RQ,
                                  .abstract_syntax = MD_UID_COMMITMENT_PUSH,
                                  .sop_instance_uid = MD_UID_COMMITMENT_PUSH_INSTANCE,
                                  .has_number = true,
                                  .number = MD_COMMIT_ACTION_REQUEST,
                                  .dataset = dataset,
                                  .dataset_bytes = size_bytes};
    MD_TRY(md_dimse_client_call(client, &action, NULL, NULL, &reply, err));
    *ret_dimse_status = reply.status;
    return MD_OK;
}

md_status
md_commitment_ask(const md_conf *conf, const md_conf_destination *destination,
                  const char *transaction_uid, const md_commit_reference *references, size_t n,
                  uint16_t (*on_report)(void *context, const md_dimse_request *request),
                  void *context, uint16_t *ret_dimse_status, md_error *err)
{
    static const md_client_class class = {.sop_class_uid = MD_UID_COMMITMENT_PUSH};
    md_peer peer;
    md_tls_options tls;
    md_dimse_client *opened = NULL;
    listening now = {.on_report = on_report, .context = context};
    md_destination_peer(conf, destination, &peer, &tls);
    MD_TRY(md_dimse_client_open(&peer, &class, 1, &opened, err));
    MD_AUTO(md_dimse_client_closep) md_dimse_client *client = opened;
    md_dimse_client_on_event(client, take_event, &now);
    MD_TRY(call(client, transaction_uid, references, n, ret_dimse_status, err));
    if (*ret_dimse_status == MD_DIMSE_SUCCESS && now.n_reports == 0) {
        /* Some answer at once; who does not, has to open an association of its own. */
        (void)!md_dimse_client_wait_event(client, SAME_ASSOCIATION_MS, NULL);
    }
    return MD_OK;
}

/* "2.25." and 128 bits that nobody can guess: who knows the UID has been asked. */
static md_status make_transaction_uid(char ret_uid[MD_UID_BYTES], md_error *err)
{
    uint8_t bits[32];
    char text[2 * sizeof bits + 1];
    if (getrandom(bits, sizeof bits, 0) != (ssize_t)sizeof bits) {
        return md_fail(err, MD_IO, "no random numbers for a transaction");
    }
    for (size_t i = 0; i < sizeof bits; i++) {
        snprintf(text + 2 * i, 3, "%02x", bits[i]);
    }
    const char *const parts[] = {"storage commitment", text};
    md_uid_derive(parts, 2, ret_uid);
    return MD_OK;
}

/* What was sent before is given up. */
static int64_t give_up_since_ms(const md_conf_destination *destination, int64_t now_ms)
{
    int64_t retries_ms = (int64_t)destination->retry_for_h * MS_PER_H;
    int64_t timeouts_ms = MIN_TIMEOUTS * (int64_t)destination->commitment_timeout_s * MS_PER_S;
    return now_ms - (retries_ms > timeouts_ms ? retries_ms : timeouts_ms);
}

static uint32_t random_bits(void)
{
    uint32_t bits = 0;
    return getrandom(&bits, sizeof bits, GRND_NONBLOCK) == (ssize_t)sizeof bits
               ? bits
               : (uint32_t)md_clock_monotonic_us();
}

static int64_t backoff_ms(const md_conf_destination *destination, unsigned n_down)
{
    const md_backoff backoff = {.first_ms = (int64_t)destination->retry_first_s * MS_PER_S,
                                .most_ms = (int64_t)destination->retry_max_s * MS_PER_S};
    return md_backoff_ms(&backoff, n_down, random_bits());
}

static md_status close_request(const md_conf_destination *destination, md_store *store,
                               int64_t request, int64_t next_ms, int64_t now_ms, md_error *err)
{
    size_t n_dead = 0;
    MD_TRY(md_store_commitment_close(
        store, request, next_ms, give_up_since_ms(destination, now_ms), now_ms, &n_dead, err));
    if (n_dead > 0) {
        md_log(MD_LOG_ERROR, "commitment_undelivered",
               MD_LOG_TEXT("destination", destination->name), MD_LOG_INT("objects", n_dead),
               MD_LOG_TEXT("then", "given up until a retry"));
    }
    return MD_OK;
}

static md_status close_expired(const md_conf_destination *destination, md_store *store,
                               int64_t now_ms, md_error *err)
{
    for (;;) {
        int64_t request = 0;
        md_status status =
            md_store_commitment_expired(store, destination->name, now_ms, &request, err);
        if (status == MD_NOT_FOUND) {
            return MD_OK;
        }
        MD_TRY(status);
        md_log(MD_LOG_WARN, "commitment_expired", MD_LOG_TEXT("destination", destination->name),
               MD_LOG_INT("timeout_s", destination->commitment_timeout_s),
               MD_LOG_TEXT("then", "asked again"));
        MD_TRY(close_request(destination, store, request, now_ms, now_ms, err));
    }
}

static md_status waive(md_committer *committer, const md_conf_destination *destination,
                       md_store *store, md_error *err)
{
    size_t n = 0;
    if (committer->has_waived) {
        return MD_OK;
    }
    MD_TRY(md_store_commitment_waive(store, destination->name, &n, err));
    committer->has_waived = true;
    if (n > 0) {
        md_log(MD_LOG_WARN, "commitment_waived", MD_LOG_TEXT("destination", destination->name),
               MD_LOG_INT("objects", n),
               MD_LOG_TEXT("reason", "the configuration no longer requires it"));
    }
    return MD_OK;
}

/* Send a request that is in the store. */
static md_status ask(md_committer *committer, const md_conf *conf,
                     const md_conf_destination *destination, const md_commitment_sink *sink,
                     md_commitment_asker asker, const char *transaction_uid,
                     const md_commitment_request *request,
                     const md_commit_reference *references, bool *ret_taken, md_error *err)
{
    md_error why = {0};
    uint16_t dimse_status = MD_DIMSE_NO_RESPONSE;
    md_commitment_sink copy = *sink; /* the callbacks' contexts are not const */
    md_log(MD_LOG_INFO, "commitment_asked", MD_LOG_TEXT("destination", destination->name),
           MD_LOG_TEXT("study", request->study_key), MD_LOG_INT("objects", request->n_items));
    md_status status = asker(conf, destination, transaction_uid, references, request->n_items,
                             md_commitment_take, &copy, &dimse_status, &why);
    int64_t now_ms = md_steady_ms();
    *ret_taken = status == MD_OK && dimse_status == MD_DIMSE_SUCCESS;
    if (*ret_taken) {
        committer->n_down = 0;
        return md_store_commitment_asked(sink->store, request->id, now_ms, err);
    }
    if (status == MD_OK) {
        (void)md_fail(&why, MD_NETWORK, "the peer refuses the request with status 0x%04x",
                      (unsigned)dimse_status);
    }
    committer->n_down++;
    md_log(MD_LOG_WARN, "commitment_failed", MD_LOG_TEXT("destination", destination->name),
           MD_LOG_TEXT("study", request->study_key), MD_LOG_TEXT("reason", why.msg),
           MD_LOG_INT("attempt", committer->n_down));
    return close_request(destination, sink->store, request->id,
                         now_ms + backoff_ms(destination, committer->n_down), now_ms, err);
}

static md_status run(md_committer *committer, const md_conf *conf,
                     const md_conf_destination *destination, const md_commitment_sink *sink,
                     md_commitment_asker asker, int64_t now_ms, md_commitment_round *ret_round,
                     md_error *err)
{
    char uid[MD_UID_BYTES];
    md_commitment_request request;
    MD_AUTO(md_freep) md_commitment_item *items = md_calloc(MAX_ITEMS, sizeof *items);
    MD_AUTO(md_freep)
    md_commit_reference *references = md_calloc(MAX_ITEMS, sizeof *references);
    if (items == NULL || references == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a commitment");
    }
    MD_TRY(close_expired(destination, sink->store, now_ms, err));
    MD_TRY(make_transaction_uid(uid, err));
    md_status status = md_store_commitment_begin(
        sink->store, destination->name, uid, now_ms,
        now_ms + (int64_t)destination->commitment_timeout_s * MS_PER_S, MAX_ITEMS, &request,
        items, err);
    *ret_round = MD_COMMITMENT_IDLE;
    if (status == MD_NOT_FOUND) {
        return MD_OK;
    }
    MD_TRY(status);
    for (size_t i = 0; i < request.n_items; i++) {
        memcpy(references[i].sop_class_uid, items[i].sop_class_uid, MD_UID_BYTES);
        memcpy(references[i].sop_instance_uid, items[i].sop_instance_uid, MD_UID_BYTES);
    }
    bool is_taken = false;
    MD_TRY(ask(committer, conf, destination, sink, asker, uid, &request, references, &is_taken,
               err));
    *ret_round = is_taken ? MD_COMMITMENT_MADE : MD_COMMITMENT_DOWN;
    return MD_OK;
}

md_commitment_round md_commitment_run(md_committer *committer, const md_conf *conf,
                                      const md_conf_destination *destination,
                                      const md_commitment_sink *sink, md_commitment_asker asker,
                                      int64_t now_ms)
{
    md_error err = {0};
    md_commitment_round round = MD_COMMITMENT_IDLE;
    bool is_wanted = destination->commitment == MD_COMMITMENT_REQUIRED;
    md_status status = MD_OK;
    if (is_wanted) {
        committer->has_waived = false;
        status = run(committer, conf, destination, sink,
                     asker != NULL ? asker : md_commitment_ask, now_ms, &round, &err);
    } else {
        status = waive(committer, destination, sink->store, &err);
    }
    if (status != MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
        return MD_COMMITMENT_BROKEN;
    }
    return round;
}

int64_t md_commitment_pause_ms(md_committer *committer, md_commitment_round round,
                               const md_conf_destination *destination, md_store *store,
                               int64_t now_ms, int64_t most_ms)
{
    int64_t next_ms = INT64_MAX;
    switch (round) {
    case MD_COMMITMENT_MADE:
        return 0;
    case MD_COMMITMENT_DOWN:
        return backoff_ms(destination, committer->n_down);
    case MD_COMMITMENT_BROKEN:
        return AFTER_ERROR_MS;
    case MD_COMMITMENT_IDLE:
        break;
    }
    if (destination->commitment != MD_COMMITMENT_REQUIRED) {
        return most_ms;
    }
    if (md_store_commitment_next_ms(store, destination->name, now_ms, &next_ms, NULL) !=
        MD_OK) {
        return AFTER_ERROR_MS;
    }
    return next_ms - now_ms < most_ms ? next_ms - now_ms : most_ms;
}
