#include "daemon/steady.h"

#include "base/clock.h"

#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int64_t ahead_ms; /* of the wall clock over the monotonic one */

static void compare_clocks(void)
{
    ahead_ms = md_clock_wall_ms() - md_clock_monotonic_us() / 1000;
}

int64_t md_steady_ms(void)
{
    pthread_once(&once, compare_clocks);
    return md_clock_monotonic_us() / 1000 + ahead_ms;
}
