#ifndef MEDAID_INFERENCE_NETWORK_PRIVATE_H
#define MEDAID_INFERENCE_NETWORK_PRIVATE_H

/* What files of this folder see of a network. */

#include "inference/graph/plan.h"
#include "inference/network.h"

md_plan *md_network_plan(md_network *network) MD_NOEXCEPT;

#endif
