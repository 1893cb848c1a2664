#ifndef MEDAID_DAEMON_ONESHOT_PRINT_H
#define MEDAID_DAEMON_ONESHOT_PRINT_H

/* A study's outcome on standard output: a short table for people, or one JSON object on a line
 * for programs (docs/oneshot.md, docs/oneshot.schema.json). Single-threaded. */

#include "daemon/exit_code.h"
#include "daemon/oneshot_timing.h"
#include "plugins/host/host.h"

#include <stdio.h>

typedef struct md_study_outcome {
    const char *key;
    const char *study_instance_uid;
    const md_analysis *analysis;
    md_exit_code exit_code;     /* what this study alone would end the program with */
    const char *reason;         /* "" when exit_code is MD_EXIT_OK */
    const char *const *written; /* paths of analysis->objects, NULL where none was written */
    const char *sent_to;        /* NULL: nothing was to be sent; "AE@HOST:PORT" otherwise */
    size_t n_sent;
    int64_t total_us;             /* from the first byte read to the last object written */
    const md_stage_times *timing; /* of the process so far and of this study; NULL: not asked */
} md_study_outcome;

void md_print_table(FILE *out, const md_study_outcome *outcome);
/* MD_NOMEM. The object is one line. */
md_status md_print_json(FILE *out, const md_study_outcome *outcome, md_error *err) MD_NODISCARD;

#endif
