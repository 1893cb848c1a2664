#include "base/cores.h"

#include <sched.h>

unsigned md_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < 1) {
        return 1; /* of more than 1024 cores: one is safe */
    }
    return (unsigned)CPU_COUNT(&set);
}
