#ifndef MEDAID_DAEMON_METRICS_FIGURES_H
#define MEDAID_DAEMON_METRICS_FIGURES_H

/* What this process has counted since its start. The label sets are fixed: the reasons below,
 * and the destinations of the configuration. Any thread. What the store knows (studies by
 * state, the outbox) is asked there and not counted twice; see daemon/http/pages.h. */

#include "daemon/metrics/metrics.h"

enum {
    /* that one program has sent to, also those that a later configuration left out */
    MD_FIGURES_MAX_DESTINATIONS = 128,
    MD_FIGURES_NAME_BYTES = 65,
    MD_FIGURES_MAX_FINDINGS = 64 /* of all models */
};

/* Why an object was not taken. */
typedef enum md_reject_reason {
    MD_REJECT_UNREADABLE, /* not what it claims to be: head, UIDs */
    MD_REJECT_CONFLICT, /* other bytes under a known UID, and the configuration refuses them */
    MD_REJECT_DISK_LOW,
    MD_REJECT_DRAINING,
    MD_REJECT_INTERNAL, /* the disk or the store failed */
    MD_REJECT_N_REASONS
} md_reject_reason;

/* "unreadable", ...: the label. */
const char *md_reject_reason_name(md_reject_reason reason);

typedef struct md_figures {
    md_counter received;  /* objects that were acknowledged as stored, known ones too */
    md_counter repeated;  /* of these: known with the same bytes */
    md_counter conflicts; /* of these: other bytes under a known UID, both kept */
    md_counter rejected[MD_REJECT_N_REASONS];
    md_counter connection_problems; /* associations and connections that did not go well */
    md_histogram analysis;          /* one attempt at one study, whatever came of it */
    md_counter analyses_failed;     /* attempts */
    md_counter sent[MD_FIGURES_MAX_DESTINATIONS]; /* objects, by md_figures_destination */
    md_counter send_failures[MD_FIGURES_MAX_DESTINATIONS]; /* objects and attempts */
    md_histogram notification; /* last image received to last result stored */
    md_counter worker_restarts;
    md_counter audit_sent;    /* messages, to the syslog */
    md_counter audit_dropped; /* that found no room in the queue, or no way */
} md_figures;

/* Which figures are those of the destination with this name, the same from its first call on.
 * When there have been too many names the last figures are shared. */
unsigned md_figures_destination(const char *name);

/* One more finding of a model that is present. Beyond MD_FIGURES_MAX_FINDINGS pairs nothing is
 * counted; names are cut to MD_FIGURES_NAME_BYTES. */
void md_figures_positive(const char *model, const char *finding);

typedef struct md_figures_finding {
    char model[MD_FIGURES_NAME_BYTES], finding[MD_FIGURES_NAME_BYTES];
    uint64_t n;
} md_figures_finding;

/* All pairs so far, in the order of their first; returns how many. */
unsigned md_figures_positives(md_figures_finding ret_list[MD_FIGURES_MAX_FINDINGS]);

/* The one set of this process. */
md_figures *md_figures_now(void);

#endif
