#ifndef MEDAID_BASE_CORES_H
#define MEDAID_BASE_CORES_H

#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How many cores the calling thread may run on, at least 1: those of its affinity mask, which a
 * service manager, a container or taskset sets, not those of the machine. Any thread. */
unsigned md_cores(void) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
