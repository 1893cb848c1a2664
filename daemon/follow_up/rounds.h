#ifndef MEDAID_DAEMON_FOLLOW_UP_ROUNDS_H
#define MEDAID_DAEMON_FOLLOW_UP_ROUNDS_H

/* When the record of decisions is read and when old decisions are forgotten: the arithmetic of
 * follow-up's thread, without the thread. Times are of one monotonic clock, in ms. Pure
 * functions. */

#include <stdbool.h>
#include <stdint.h>

enum {
    MD_ROUNDS_RETIRE_EVERY_MS = 3600 * 1000,
    MD_ROUNDS_AFTER_ERROR_MS = 10000,
};

/* All zero with is_stale set: both are due. */
typedef struct md_rounds {
    bool is_stale;       /* decisions were made that no round has read */
    bool has_other_conf; /* read again at once, whenever it was read last */
    int64_t next_read_ms, next_retire_ms;
} md_rounds;

typedef struct md_round {
    bool reads, retires; /* neither: nothing is to be done before md_rounds_next_ms */
} md_round;

/* What is to be done now; it is no longer waited for. */
md_round md_rounds_begin(md_rounds *rounds, int64_t time_ms);
/* It was done, or it failed and is done again soon: a round that failed may have forgotten
 * decisions, so that the record is read again whatever the round was begun for. A round that
 * only forgets does not put the next reading off. */
void md_rounds_end(md_rounds *rounds, const md_round *round, bool is_good, int64_t refresh_ms,
                   int64_t time_ms);
/* When the next round may begin, if nothing changes until then. */
int64_t md_rounds_next_ms(const md_rounds *rounds);

#endif
