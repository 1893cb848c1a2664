#ifndef MEDAID_TESTS_HOSTILE_DEEDS_H
#define MEDAID_TESTS_HOSTILE_DEEDS_H

#include "hostile.h"
#include "plugins/sdk/medaid_plugin.h"

/* Do it. Returns what analyse returns; the answer stands already at an honest 0.25. */
medaid_status hostile_do(hostile_deed deed, const medaid_host *host, medaid_answer *answer);

#endif
