#ifndef MEDAID_DAEMON_EXPLAIN_H
#define MEDAID_DAEMON_EXPLAIN_H

/* `medaid --explain-model DIR`: the plan of a model package's network, with measured times. */

#include "conf/conf.h"
#include "daemon/exit_code.h"

/* Load the package with the configuration's engine, run its network some times on a picture of
 * noise and print each kernel call with what was fused into it, its implementation, its time
 * and arithmetic rate, then the sums and the memory. */
md_exit_code md_explain_model(const char *folder, const md_conf *conf) MD_NODISCARD;

#endif
