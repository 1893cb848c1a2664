/* When follow-up reads the record of decisions, whatever else its thread does. */

#include "daemon/follow_up/rounds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum {
    HOUR_MS = MD_ROUNDS_RETIRE_EVERY_MS
};

/* The next round that has something to do, as the thread waits for it; it is good. Decisions
 * are made all the time. */
static md_round next_round(md_rounds *rounds, int64_t refresh_ms, int64_t *time_ms)
{
    rounds->is_stale = true;
    md_round round = md_rounds_begin(rounds, *time_ms);
    if (!round.reads && !round.retires) {
        const int64_t until_ms = md_rounds_next_ms(rounds);
        assert_true(until_ms > *time_ms);
        *time_ms = until_ms;
        round = md_rounds_begin(rounds, *time_ms);
        assert_true(round.reads || round.retires);
    }
    md_rounds_end(rounds, &round, true, refresh_ms, *time_ms);
    return round;
}

/* Read once in refresh_s, and forgotten once an hour, whichever is longer. */
static void test_both_in_time(void **state)
{
    (void)state;
    static const int64_t refreshes_ms[] = {0,           1000,        HOUR_MS - 1, HOUR_MS,
                                           HOUR_MS + 1, 2 * HOUR_MS, 24 * HOUR_MS};
    for (size_t i = 0; i < sizeof refreshes_ms / sizeof *refreshes_ms; i++) {
        const int64_t refresh_ms = refreshes_ms[i];
        md_rounds rounds = {.is_stale = true};
        int64_t time_ms = 5000, read_ms = -1, retired_ms = -1;
        for (int n = 0; n < 200; n++) {
            const md_round round = next_round(&rounds, refresh_ms, &time_ms);
            if (round.reads && read_ms >= 0) {
                assert_int_equal(time_ms - read_ms, refresh_ms);
            }
            if (round.retires && retired_ms >= 0) {
                assert_true(time_ms - retired_ms >= HOUR_MS);
            }
            read_ms = round.reads ? time_ms : read_ms;
            retired_ms = round.retires ? time_ms : retired_ms;
            assert_true(read_ms >= 0 && time_ms - read_ms <= refresh_ms);
            assert_true(retired_ms >= 0 && time_ms - retired_ms <= HOUR_MS);
        }
    }
}

/* Nothing was decided, but a round forgot some and then could not read: it is read again. */
static void test_failed(void **state)
{
    (void)state;
    md_rounds rounds = {.next_read_ms = 0, .next_retire_ms = 100};
    assert_int_equal(md_rounds_next_ms(&rounds), 100);
    md_round round = md_rounds_begin(&rounds, 100);
    assert_true(round.retires && !round.reads);
    md_rounds_end(&rounds, &round, false, HOUR_MS, 200);
    assert_true(rounds.is_stale);
    round = md_rounds_begin(&rounds, 200);
    assert_true(!round.retires && !round.reads);
    assert_int_equal(md_rounds_next_ms(&rounds), 200 + MD_ROUNDS_AFTER_ERROR_MS);
    round = md_rounds_begin(&rounds, 200 + MD_ROUNDS_AFTER_ERROR_MS);
    assert_true(round.retires && round.reads);
    assert_false(rounds.is_stale);
    md_rounds_end(&rounds, &round, true, HOUR_MS, 20000);
    assert_false(rounds.is_stale);
    /* a decision that comes during a reading that fails, and a good one after it */
    rounds.is_stale = true;
    round = md_rounds_begin(&rounds, 20000 + HOUR_MS);
    assert_true(round.reads);
    md_rounds_end(&rounds, &round, false, HOUR_MS, 20000 + HOUR_MS);
    assert_true(rounds.is_stale);
}

/* Another configuration does not wait for refresh_s. */
static void test_other_conf(void **state)
{
    (void)state;
    md_rounds rounds = {.next_read_ms = HOUR_MS, .next_retire_ms = HOUR_MS};
    rounds.is_stale = true;
    md_round round = md_rounds_begin(&rounds, 1);
    assert_true(!round.reads && !round.retires);
    rounds.has_other_conf = true;
    round = md_rounds_begin(&rounds, 1);
    assert_true(round.reads && !round.retires);
    assert_true(!rounds.has_other_conf && !rounds.is_stale);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_in_time),
        cmocka_unit_test(test_failed),
        cmocka_unit_test(test_other_conf),
    };
    return cmocka_run_group_tests_name("follow-up-rounds", tests, NULL, NULL);
}
