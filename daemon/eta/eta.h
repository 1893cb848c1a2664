#ifndef MEDAID_DAEMON_ETA_ETA_H
#define MEDAID_DAEMON_ETA_ETA_H

/* When the open studies will have been read: a thread that fits the model of eta_model.h on the
 * store's readings now and then, keeps it in the store, and answers from it. Any thread may
 * ask. */

#include "daemon/eta/eta_model.h"

typedef struct md_eta md_eta;

typedef struct md_eta_options {
    unsigned least_studies; /* read ones, before anything is said */
    unsigned history_days;  /* so far back; older readings are forgotten */
    int64_t refit_ms;       /* so often; 0: no thread, md_eta_refit alone */
} md_eta_options;

/* Begin with what the store has kept; the first fit is tried at once when that is nothing or
 * old. Borrows the store until md_eta_stop. MD_NOMEM, MD_IO. */
md_status md_eta_start(const md_eta_options *options, md_store *store, md_eta **ret_eta,
                       md_error *err) MD_NODISCARD;
/* NULL is fine. Waits for a fit under way. */
void md_eta_stop(md_eta *eta);

/* Fit now, in the calling thread. MD_NOT_FOUND: too few studies were read. */
md_status md_eta_refit(md_eta *eta, int64_t now_ms, md_error *err) MD_NODISCARD;

enum {
    MD_ETA_REASON_BYTES = MD_ERROR_MSG_BYTES
};

/* Whether there is a model; without one, why not, in words for people. */
bool md_eta_tell(md_eta *eta, md_eta_summary *ret_summary,
                 char ret_reason[MD_ETA_REASON_BYTES]);

/* Of an unread study. MD_NOT_FOUND: there is no model, or the study does not wait (yet, or any
 * more). */
md_status md_eta_of(md_eta *eta, const char *study_key, int64_t now_ms,
                    md_eta_estimate *ret_estimate, md_error *err) MD_NODISCARD;

#endif
