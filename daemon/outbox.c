#include "daemon/outbox.h"

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf_shared.h"
#include "daemon/audit/audit.h"
#include "daemon/commitment.h"
#include "daemon/destination.h"
#include "daemon/metrics/figures.h"
#include "daemon/steady.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    /* two for each destination: those of now, and earlier ones that end */
    MAX_SENDERS = 4 * MD_CONF_MAX_DESTINATIONS,
    MAX_ROWS = 64,               /* of one study, in one association */
    LEASE_MS = 24 * 3600 * 1000, /* one sender a destination: see md_store_recover */
    LONGEST_WAIT_MS = 30000,
    AFTER_ERROR_MS = 1000,
    MAX_REFUSED = 10, /* about a quarter of an hour with the usual waits */
    MS_PER_S = 1000,
    MS_PER_H = 3600 * 1000
};

typedef struct sender {
    struct md_outbox *outbox;
    char name[MD_STORE_NAME_BYTES];
    const md_conf *conf;                    /* held, from one round to the next */
    const md_conf_destination *destination; /* of conf */
    bool commits;                           /* asks for commitments; else it sends */
    md_committer committer;
    pthread_t thread;
    bool is_started;
    bool has_ended;        /* under the outbox's mutex: the configuration has it no more */
    bool is_new;           /* under the outbox's mutex */
    unsigned n_down;       /* times in a row that it did not answer */
    int64_t down_until_ms; /* steady clock */
} sender;

struct md_outbox {
    const md_conf *conf; /* held, under the mutex */
    md_store *store;
    md_spool *spool;
    md_outbox_send send;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool stopping;
    sender senders[MAX_SENDERS];
};

static uint32_t random_bits(void)
{
    uint32_t bits = 0;
    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != (ssize_t)sizeof bits) {
        bits = (uint32_t)md_clock_monotonic_us();
    }
    return bits;
}

static md_backoff backoff_of(const md_conf_destination *destination)
{
    return (md_backoff){.first_ms = (int64_t)destination->retry_first_s * MS_PER_S,
                        .most_ms = (int64_t)destination->retry_max_s * MS_PER_S};
}

/* True when the destination itself is the trouble, so that the next study would meet it too: no
 * response at all, or "out of resources". */
static bool is_transient(const md_send_outcome *outcome)
{
    if (outcome->dimse_status != 0xffff) {
        return outcome->dimse_status >> 8 == 0xa7;
    }
    return outcome->status == MD_NETWORK || outcome->status == MD_TIMEOUT ||
           outcome->status == MD_BUSY || outcome->status == MD_NOMEM ||
           outcome->status == MD_IO;
}

/* What one attempt means for one row. */
static md_outbox_result judge(const md_conf_destination *destination, const md_outbox_row *row,
                              const md_send_outcome *outcome, int64_t now_ms, uint32_t random)
{
    const md_backoff backoff = backoff_of(destination);
    md_outbox_result result = {.id = row->id,
                               .token = row->token,
                               .state = MD_OUTBOX_SENT,
                               .next_attempt_ms = now_ms,
                               .dimse_status = outcome->dimse_status,
                               .wants_commitment =
                                   destination->commitment == MD_COMMITMENT_REQUIRED};
    if (outcome->status == MD_OK) {
        return result;
    }
    unsigned n_attempts = row->n_attempts + 1;
    bool over = now_ms - row->since_ms >= (int64_t)destination->retry_for_h * MS_PER_H ||
                (!is_transient(outcome) && n_attempts >= MAX_REFUSED);
    result.state = over ? MD_OUTBOX_DEAD : MD_OUTBOX_PENDING;
    result.next_attempt_ms = now_ms + md_backoff_ms(&backoff, n_attempts, random);
    return result;
}

/* How a look into the outbox ended. */
typedef enum round_result {
    ROUND_EMPTY,   /* nothing is due */
    ROUND_SENT,    /* there may be more */
    ROUND_REFUSED, /* the destination answers, but did not take everything */
    ROUND_DOWN,    /* it does not answer, or has no room */
    ROUND_BROKEN   /* our own store does not answer */
} round_result;

static_assert((int)MD_FIGURES_MAX_DESTINATIONS >= (int)MD_CONF_MAX_DESTINATIONS,
              "each destination has its figures");

static void count_round(const sender *to, const md_outbox_result *results, size_t n)
{
    unsigned index = md_figures_destination(to->destination->name);
    for (size_t i = 0; i < n; i++) {
        bool is_sent = results[i].state == MD_OUTBOX_SENT;
        md_figures *figures = md_figures_now();
        md_counter_add(is_sent ? &figures->sent[index] : &figures->send_failures[index], 1);
    }
}

/* Whether this round, at now_ms, was the one after which the study's results are all where they
 * are read; originals may still be on their way. */
static void measure_notification(md_store *store, const md_outbox_row *rows, size_t n,
                                 int64_t now_ms)
{
    md_study stored;
    bool has_result = false;
    for (size_t i = 0; i < n; i++) {
        has_result = has_result || rows[i].object != 0;
    }
    if (has_result && md_store_study(store, rows[0].study, &stored, NULL) == MD_OK &&
        stored.clock.stored_ms == now_ms) {
        md_histogram_add(&md_figures_now()->notification,
                         stored.clock.stored_ms - stored.clock.last_received_ms);
    }
}

/* Stored, but not quite as it was sent: 0xB000 coercion, 0xB006 elements discarded, 0xB007 not
 * of the SOP class (PS3.4 table B.2-1). */
static void log_warnings(const sender *to, const md_outbox_row *rows,
                         const md_send_outcome *outcomes, size_t n)
{
    size_t n_converted = 0;
    for (size_t i = 0; i < n; i++) {
        char text[16];
        n_converted += outcomes[i].status == MD_OK && outcomes[i].converted;
        if (outcomes[i].status != MD_OK || outcomes[i].dimse_status == 0) {
            continue;
        }
        snprintf(text, sizeof text, "0x%04x", (unsigned)outcomes[i].dimse_status);
        md_log(MD_LOG_WARN, "sent_with_warning",
               MD_LOG_TEXT("destination", to->destination->name),
               MD_LOG_TEXT("study", rows[i].study_key), MD_LOG_TEXT("kind", rows[i].kind),
               MD_LOG_TEXT("dimse_status", text));
    }
    if (n_converted > 0) {
        md_log(MD_LOG_INFO, "sent_converted", MD_LOG_TEXT("destination", to->destination->name),
               MD_LOG_TEXT("study", rows[0].study_key), MD_LOG_INT("objects", n_converted));
    }
}

static void log_round(const sender *to, const md_outbox_row *rows,
                      const md_outbox_result *results, size_t n, const md_error *why)
{
    size_t n_sent = 0;
    size_t n_dead = 0;
    for (size_t i = 0; i < n; i++) {
        n_sent += results[i].state == MD_OUTBOX_SENT;
        n_dead += results[i].state == MD_OUTBOX_DEAD;
    }
    const char *name = to->destination->name;
    if (n_sent > 0) {
        md_log(MD_LOG_INFO, "results_sent", MD_LOG_TEXT("destination", name),
               MD_LOG_TEXT("study", rows[0].study_key), MD_LOG_INT("objects", n_sent),
               MD_LOG_INT("left", n - n_sent));
    }
    if (n_sent + n_dead < n) {
        md_log(MD_LOG_WARN, "send_failed", MD_LOG_TEXT("destination", name),
               MD_LOG_TEXT("study", rows[0].study_key), MD_LOG_TEXT("reason", why->msg),
               MD_LOG_INT("attempt", rows[0].n_attempts + 1));
    }
    if (n_dead > 0) {
        md_log(MD_LOG_ERROR, "results_undelivered", MD_LOG_TEXT("destination", name),
               MD_LOG_TEXT("study", rows[0].study_key), MD_LOG_INT("objects", n_dead),
               MD_LOG_TEXT("reason", why->msg), MD_LOG_TEXT("then", "given up until a retry"));
    }
}

/* What was sent was sent: when the store does not take that now, again until it does. Given up
 * only at the end of the program; the next start sends the rows again, as the same objects. */
static void write_down(md_outbox *outbox, const md_outbox_result *results, size_t n,
                       int64_t now_ms, md_study_state *ret_state)
{
    md_error err = {0};
    bool stopping = false;
    while (md_store_outbox_finish(outbox->store, results, n, now_ms, ret_state, &err) !=
               MD_OK &&
           !stopping) {
        md_log(MD_LOG_ERROR, "storage_failed", MD_LOG_TEXT("reason", err.msg),
               MD_LOG_TEXT("then", "tried again"));
        const struct timespec pause = {.tv_sec = AFTER_ERROR_MS / 1000};
        (void)nanosleep(&pause, NULL);
        pthread_mutex_lock(&outbox->mutex);
        stopping = outbox->stopping;
        pthread_mutex_unlock(&outbox->mutex);
    }
}

/* What came through and what was given up, each as one message of the audit trail. */
static void tell_audit(const sender *to, const char *study_key,
                       const char *const paths[MAX_ROWS], const md_outbox_result *results,
                       size_t n)
{
    static const md_outbox_state ends[] = {MD_OUTBOX_SENT, MD_OUTBOX_DEAD};
    for (int k = 0; k < 2; k++) {
        const char *some[MAX_ROWS] = {NULL};
        for (size_t i = 0; i < n; i++) {
            some[i] = results[i].state == ends[k] ? paths[i] : NULL;
        }
        md_audit_sent(&(md_audit_sending){
            .peer_ae = to->destination->ae_title,
            .peer_host = to->destination->host,
            .own_ae = to->conf->ae.title,
            .study_key = study_key,
            .paths = some,
            .n = n,
            .is_failed = ends[k] == MD_OUTBOX_DEAD,
        });
    }
}

/* Tell those who send, or those who ask for commitments, that there may be something new. */
static void wake(md_outbox *outbox, bool commits)
{
    pthread_mutex_lock(&outbox->mutex);
    for (unsigned i = 0; i < MAX_SENDERS; i++) {
        sender *to = &outbox->senders[i];
        to->is_new = to->is_new || to->commits == commits;
    }
    pthread_cond_broadcast(&outbox->changed);
    pthread_mutex_unlock(&outbox->mutex);
}

/* Send claimed rows, all of one study, and write down what became of them. */
static round_result send_rows(sender *to, const md_outbox_row *rows, size_t n)
{
    md_outbox *outbox = to->outbox;
    char(*files)[MD_SPOOL_PATH_BYTES] = md_calloc(n, sizeof *files);
    const char *paths[MAX_ROWS] = {NULL};
    md_send_outcome outcomes[MAX_ROWS];
    md_outbox_result results[MAX_ROWS];
    md_error err = {0};
    md_status status =
        files == NULL ? md_fail(&err, MD_NOMEM, "no memory to send results") : MD_OK;
    for (size_t i = 0; i < n; i++) {
        outcomes[i] = (md_send_outcome){.status = status, .dimse_status = 0xffff};
        if (status == MD_OK) {
            status = md_spool_path(outbox->spool, rows[i].file, files[i], &err);
            paths[i] = files[i];
        }
    }
    if (status == MD_OK) {
        status = outbox->send(to->conf, to->destination, md_spool_incoming(outbox->spool),
                              paths, n, outcomes, &err);
    }
    int64_t now_ms = md_steady_ms();
    uint32_t random = random_bits(); /* one for all: what failed together goes together again */
    round_result worst = ROUND_SENT;
    for (size_t i = 0; i < n; i++) {
        results[i] = judge(to->destination, &rows[i], &outcomes[i], now_ms, random);
        if (outcomes[i].status != MD_OK) {
            round_result each = is_transient(&outcomes[i]) ? ROUND_DOWN : ROUND_REFUSED;
            worst = each > worst ? each : worst;
        }
    }
    log_round(to, rows, results, n, &err);
    log_warnings(to, rows, outcomes, n);
    count_round(to, results, n);
    tell_audit(to, rows[0].study_key, paths, results, n);
    md_free(files);
    md_study_state state = MD_STUDY_SENDING;
    write_down(outbox, results, n, now_ms, &state);
    if (to->destination->commitment == MD_COMMITMENT_REQUIRED) {
        wake(outbox, true);
    }
    measure_notification(outbox->store, rows, n, now_ms);
    return worst;
}

static round_result run_round(sender *to)
{
    md_outbox *outbox = to->outbox;
    md_outbox_row rows[MAX_ROWS];
    size_t n = 0;
    md_error err = {0};
    if (md_store_outbox_claim(outbox->store, to->destination->name, md_steady_ms(), LEASE_MS,
                              MAX_ROWS, rows, &n, &err) != MD_OK) {
        md_log(MD_LOG_ERROR, "store_failed", MD_LOG_TEXT("reason", err.msg));
        return ROUND_BROKEN;
    }
    return n == 0 ? ROUND_EMPTY : send_rows(to, rows, n);
}

/* How long there is nothing to do. */
static int64_t pause_ms(sender *to, round_result result)
{
    int64_t now_ms = md_steady_ms();
    int64_t next_ms = INT64_MAX;
    if (result == ROUND_BROKEN) {
        return AFTER_ERROR_MS;
    }
    const md_backoff backoff = backoff_of(to->destination);
    if (result == ROUND_DOWN) {
        to->n_down++;
        to->down_until_ms = now_ms + md_backoff_ms(&backoff, to->n_down, random_bits());
        return to->down_until_ms - now_ms;
    }
    to->n_down = 0;
    to->down_until_ms = 0;
    if (result != ROUND_EMPTY) {
        return 0;
    }
    if (md_store_outbox_next_ms(to->outbox->store, to->destination->name, &next_ms, NULL) !=
        MD_OK) {
        return AFTER_ERROR_MS;
    }
    int64_t wait_ms = next_ms > now_ms + LONGEST_WAIT_MS ? LONGEST_WAIT_MS : next_ms - now_ms;
    return wait_ms < 1 ? 1 : wait_ms;
}

/* Wait so long, or until there is something new unless the destination is down. False:
 * stopping. */
static bool wait_for_work(sender *to, int64_t wait_ms, bool down)
{
    md_outbox *outbox = to->outbox;
    int64_t until_us = md_clock_monotonic_us() + wait_ms * 1000;
    const struct timespec until = {.tv_sec = until_us / 1000000,
                                   .tv_nsec = until_us % 1000000 * 1000};
    int over = 0;
    pthread_mutex_lock(&outbox->mutex);
    while (wait_ms > 0 && !outbox->stopping && over != ETIMEDOUT && (down || !to->is_new) &&
           to->conf == outbox->conf) {
        over = pthread_cond_timedwait(&outbox->changed, &outbox->mutex, &until);
    }
    to->is_new = false;
    bool go_on = !outbox->stopping;
    pthread_mutex_unlock(&outbox->mutex);
    return go_on;
}

/* Take over a configuration that was read anew. False: the destination is gone. */
static bool refresh(sender *to)
{
    md_outbox *outbox = to->outbox;
    const md_conf *before = NULL;
    pthread_mutex_lock(&outbox->mutex);
    if (to->conf != outbox->conf) {
        const md_conf_destination *found = md_destination_find(outbox->conf, to->name);
        if (found != NULL) {
            before = to->conf;
            to->conf = md_conf_hold(outbox->conf);
            to->destination = found;
            to->n_down = 0;
        } else {
            to->has_ended = true;
        }
    }
    bool has_ended = to->has_ended;
    pthread_mutex_unlock(&outbox->mutex);
    md_conf_drop(before);
    return !has_ended;
}

/* A report says that something has to be sent again. */
static void send_again(void *context)
{
    wake(context, false);
}

static void *committer_thread(void *argument)
{
    sender *to = argument;
    md_outbox *outbox = to->outbox;
    const md_commitment_sink sink = {outbox->store, send_again, outbox};
    md_commitment_round round = MD_COMMITMENT_IDLE;
    int64_t wait_ms = 0;
    do {
        round = md_commitment_run(&to->committer, to->conf, to->destination, &sink, NULL,
                                  md_steady_ms());
        wait_ms = md_commitment_pause_ms(&to->committer, round, to->destination, outbox->store,
                                         md_steady_ms(), LONGEST_WAIT_MS);
    } while (wait_for_work(to, wait_ms, round == MD_COMMITMENT_DOWN) && refresh(to));
    return NULL;
}

static void *sender_thread(void *argument)
{
    sender *to = argument;
    round_result result = run_round(to);
    while (wait_for_work(to, pause_ms(to, result), result == ROUND_DOWN)) {
        if (!refresh(to)) {
            return NULL;
        }
        result = run_round(to);
    }
    if (result != ROUND_DOWN) {
        while (run_round(to) == ROUND_SENT) {
        }
    }
    return NULL;
}

/* Rows for a destination that the configuration no longer has are not sent; say so. */
static void tell_orphans(const md_outbox *outbox, const md_conf *conf)
{
    md_outbox_row rows[MAX_ROWS];
    char last[MD_STORE_NAME_BYTES] = "";
    size_t n = 0;
    int64_t after = 0;
    do {
        if (md_store_outbox_rows(outbox->store, 0, MD_OUTBOX_PENDING, after, MAX_ROWS, rows, &n,
                                 NULL) != MD_OK) {
            return;
        }
        for (size_t i = 0; i < n; i++) {
            bool is_known = strcmp(rows[i].destination, last) == 0;
            is_known = is_known || md_destination_find(conf, rows[i].destination) != NULL;
            if (!is_known) {
                memcpy(last, rows[i].destination, sizeof last);
                md_log(MD_LOG_WARN, "outbox_without_destination",
                       MD_LOG_TEXT("destination", rows[i].destination));
            }
            after = rows[i].id;
        }
    } while (n == MAX_ROWS);
}

/* A thread for a destination that has none. */
static md_status add_sender(md_outbox *outbox, const md_conf *conf,
                            const md_conf_destination *destination, bool commits, md_error *err)
{
    sender *to = outbox->senders;
    while (to < outbox->senders + MAX_SENDERS && to->is_started) {
        to++;
    }
    if (to == outbox->senders + MAX_SENDERS) {
        return md_fail(err, MD_BUSY, "too many earlier destinations still send");
    }
    pthread_mutex_lock(&outbox->mutex); /* others wake all that are there, meanwhile too */
    *to = (sender){.outbox = outbox,
                   .conf = md_conf_hold(conf),
                   .destination = destination,
                   .commits = commits};
    snprintf(to->name, sizeof to->name, "%s", destination->name);
    int os_errno =
        pthread_create(&to->thread, NULL, commits ? committer_thread : sender_thread, to);
    to->is_started = os_errno == 0;
    pthread_mutex_unlock(&outbox->mutex);
    if (os_errno != 0) {
        md_conf_drop(to->conf);
        return md_fail_os(err, os_errno, "start a sender");
    }
    return MD_OK;
}

/* Wait for the thread's end and forget it. */
static void end_sender(sender *to)
{
    if (to->is_started) {
        pthread_join(to->thread, NULL);
        md_conf_drop(to->conf);
        to->is_started = false;
    }
}

/* Whether a thread serves this name, or will once it has taken the configuration over. */
static bool has_sender(md_outbox *outbox, const char *name, bool commits)
{
    bool found = false;
    pthread_mutex_lock(&outbox->mutex);
    for (unsigned i = 0; i < MAX_SENDERS && !found; i++) {
        const sender *to = &outbox->senders[i];
        found = to->is_started && !to->has_ended && to->commits == commits &&
                strcmp(to->name, name) == 0;
    }
    pthread_mutex_unlock(&outbox->mutex);
    return found;
}

/* Senders for the destinations of `conf` that have none. */
static md_status add_senders(md_outbox *outbox, const md_conf *conf, md_error *err)
{
    tell_orphans(outbox, conf);
    for (unsigned i = 0; i < 2 * conf->n_destinations; i++) {
        const md_conf_destination *destination = &conf->destinations[i / 2];
        bool commits = i % 2 == 1;
        if (!has_sender(outbox, destination->name, commits)) {
            MD_TRY(add_sender(outbox, conf, destination, commits, err));
        }
    }
    return MD_OK;
}

md_status md_outbox_reload(md_outbox *outbox, const md_conf *shared, md_error *err)
{
    bool has_ended[MAX_SENDERS];
    pthread_mutex_lock(&outbox->mutex);
    const md_conf *before = outbox->conf;
    outbox->conf = md_conf_hold(shared);
    for (unsigned i = 0; i < MAX_SENDERS; i++) {
        has_ended[i] = outbox->senders[i].has_ended;
    }
    pthread_cond_broadcast(&outbox->changed);
    pthread_mutex_unlock(&outbox->mutex);
    md_conf_drop(before);
    for (unsigned i = 0; i < MAX_SENDERS; i++) {
        if (has_ended[i]) {
            end_sender(&outbox->senders[i]);
            outbox->senders[i].has_ended = false;
        }
    }
    return add_senders(outbox, shared, err);
}

md_status md_outbox_start(const md_conf *conf, md_store *store, md_spool *spool,
                          md_outbox_send send, md_outbox **ret_outbox, md_error *err)
{
    md_outbox *outbox = md_calloc(1, sizeof *outbox);
    if (outbox == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the outbox");
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&outbox->mutex, NULL);
    pthread_cond_init(&outbox->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    outbox->store = store;
    outbox->spool = spool;
    outbox->send = send != NULL ? send : md_destination_send;
    md_status status = md_conf_share(conf, &outbox->conf, err);
    if (status == MD_OK) {
        status = add_senders(outbox, outbox->conf, err);
    }
    if (status != MD_OK) {
        md_outbox_stop(outbox);
        return status;
    }
    *ret_outbox = outbox;
    return MD_OK;
}

void md_outbox_wake(md_outbox *outbox)
{
    wake(outbox, false);
    wake(outbox, true);
}

void md_outbox_stop(md_outbox *outbox)
{
    if (outbox == NULL) {
        return;
    }
    pthread_mutex_lock(&outbox->mutex);
    outbox->stopping = true;
    pthread_cond_broadcast(&outbox->changed);
    pthread_mutex_unlock(&outbox->mutex);
    for (unsigned i = 0; i < MAX_SENDERS; i++) {
        end_sender(&outbox->senders[i]);
    }
    pthread_cond_destroy(&outbox->changed);
    pthread_mutex_destroy(&outbox->mutex);
    md_conf_drop(outbox->conf);
    md_free(outbox);
}
