#ifndef MEDAID_DAEMON_COMMITMENT_H
#define MEDAID_DAEMON_COMMITMENT_H

/* Storage commitment (PS3.4 annex J), as its SCU: a destination that was sent all it gets of a
 * study is asked to keep it, and only what it has promised to keep may go here. All that is
 * known of it is in the store (see there), so a restart forgets nothing: the transaction UID is
 * on disk before the destination hears of it, and its report is on disk before it is answered.
 *
 * A round asks for one study. A report comes over the same association, within a second, or
 * later over one that the destination opens to our listener; whose it is, is told by its
 * transaction UID, which nobody can guess. What it says will not be kept is sent again, five
 * times, then it is dead; a request that is refused or has no answer is made again, with the
 * waits of the destination's retries, for retry_for_h but at least three times
 * commitment_timeout_s. */

#include "conf/conf.h"
#include "daemon/store/store.h"
#include "dicom/network/commitment.h"
#include "dicom/network/service.h"

/* ---- asking ---- */

/* Where reports go: into the store; on_change says that there is something to send again. */
typedef struct md_commitment_sink {
    md_store *store;
    void (*on_change)(void *context);
    void *context;
} md_commitment_sink;

/* How a destination is asked: md_commitment_ask, or a test's own. *ret_dimse_status is the
 * N-ACTION response's. on_report gets reports that come over the same association and returns
 * the status to answer with. */
typedef md_status (*md_commitment_asker)(
    const md_conf *conf, const md_conf_destination *destination, const char *transaction_uid,
    const md_commit_reference *references, size_t n,
    uint16_t (*on_report)(void *context, const md_dimse_request *request), void *context,
    uint16_t *ret_dimse_status, md_error *err);

/* By an association of its own. MD_UNSUPPORTED: the destination has no storage commitment. */
md_status
md_commitment_ask(const md_conf *conf, const md_conf_destination *destination,
                  const char *transaction_uid, const md_commit_reference *references, size_t n,
                  uint16_t (*on_report)(void *context, const md_dimse_request *request),
                  void *context, uint16_t *ret_dimse_status, md_error *err) MD_NODISCARD;

typedef enum md_commitment_round {
    MD_COMMITMENT_IDLE,  /* nothing is to be asked now */
    MD_COMMITMENT_MADE,  /* there may be more */
    MD_COMMITMENT_DOWN,  /* the destination did not take the request: wait */
    MD_COMMITMENT_BROKEN /* our own store does not answer */
} md_commitment_round;

/* What the one who asks a destination remembers from round to round; zero at first. */
typedef struct md_committer {
    bool has_waived;
    unsigned n_down; /* times in a row that it did not take a request */
} md_committer;

/* Close what has expired, and make one request. A destination that need not commit itself holds
 * nothing back (once). `asker` NULL: md_commitment_ask. One thread for a destination. */
md_commitment_round md_commitment_run(md_committer *committer, const md_conf *conf,
                                      const md_conf_destination *destination,
                                      const md_commitment_sink *sink, md_commitment_asker asker,
                                      int64_t now_ms);
/* How long there is nothing to do after that round, at most most_ms. */
int64_t md_commitment_pause_ms(md_committer *committer, md_commitment_round round,
                               const md_conf_destination *destination, md_store *store,
                               int64_t now_ms, int64_t most_ms);

/* ---- answers ---- */

/* The service of the listener (service.h) that takes reports; its context is an
 * md_commitment_sink. */
extern const md_service_class md_commitment_class;
void md_commitment_serve(void *sink, const md_dimse_request *request,
                         md_dimse_responder *responder);
/* One report, from either side: the status to answer it with. Any thread. */
uint16_t md_commitment_take(void *sink, const md_dimse_request *request);

#endif
