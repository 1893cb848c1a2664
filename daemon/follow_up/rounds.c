#include "daemon/follow_up/rounds.h"

md_round md_rounds_begin(md_rounds *rounds, int64_t time_ms)
{
    const md_round round = {
        .reads =
            rounds->is_stale && (time_ms >= rounds->next_read_ms || rounds->has_other_conf),
        .retires = time_ms >= rounds->next_retire_ms,
    };
    if (round.reads) {
        rounds->is_stale = rounds->has_other_conf = false;
    }
    return round;
}

void md_rounds_end(md_rounds *rounds, const md_round *round, bool is_good, int64_t refresh_ms,
                   int64_t time_ms)
{
    if (round->reads || !is_good) {
        rounds->next_read_ms = time_ms + (is_good ? refresh_ms : MD_ROUNDS_AFTER_ERROR_MS);
    }
    if (round->retires) {
        rounds->next_retire_ms =
            time_ms + (is_good ? MD_ROUNDS_RETIRE_EVERY_MS : MD_ROUNDS_AFTER_ERROR_MS);
    }
    rounds->is_stale = rounds->is_stale || !is_good;
}

int64_t md_rounds_next_ms(const md_rounds *rounds)
{
    return rounds->is_stale && rounds->next_read_ms < rounds->next_retire_ms
               ? rounds->next_read_ms
               : rounds->next_retire_ms;
}
