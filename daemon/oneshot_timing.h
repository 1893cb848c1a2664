#ifndef MEDAID_DAEMON_ONESHOT_TIMING_H
#define MEDAID_DAEMON_ONESHOT_TIMING_H

/* Where the time of `medaid --oneshot` went: stages in the order in which a film meets them.
 * The files are found while the models are loaded, in another thread, so those two overlap; all
 * others follow each other. Single-threaded. */

#include "plugins/host/host.h"

#include <stdio.h>

#include <jansson.h>

typedef enum md_stage {
    MD_STAGE_START_UP, /* CPU time of the process before main: exec and the dynamic linker */
    MD_STAGE_CONFIGURATION,
    MD_STAGE_LIBRARY, /* DCMTK's dictionary and codecs */
    MD_STAGE_FIND,
    MD_STAGE_MODELS, /* loaded and self-tested */
    MD_STAGE_OPEN,
    MD_STAGE_DECODE,
    MD_STAGE_NORMALISE,
    MD_STAGE_QUALITY,
    MD_STAGE_RESIZE,
    MD_STAGE_NETWORK,
    MD_STAGE_SALIENCY,
    MD_STAGE_TEXT,
    MD_STAGE_RISK,
    MD_STAGE_REPORT,
    MD_STAGE_PICTURE,
    MD_STAGE_MAPS,
    MD_STAGE_WRITE, /* objects written and synced */
    MD_STAGE_SEND,
    MD_STAGE_EXIT, /* models and libraries given back */
    MD_N_STAGES
} md_stage;

typedef struct md_stage_times {
    int64_t us[MD_N_STAGES]; /* wall clock, but for the start-up */
    int64_t main_us;         /* md_clock_monotonic_us() when main began */
} md_stage_times;

/* Add what an analysis took. */
void md_stage_times_add(md_stage_times *times, const md_analysis_times *analysis);
/* A table, with the sum since main began and the CPU time of the process. */
void md_stage_times_print(FILE *out, const md_stage_times *times);
/* Milliseconds by stage, and "total" since main began; NULL: no memory. Caller decrefs. */
json_t *md_stage_times_json(const md_stage_times *times);

#endif
