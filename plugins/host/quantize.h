#ifndef MEDAID_PLUGINS_HOST_QUANTIZE_H
#define MEDAID_PLUGINS_HOST_QUANTIZE_H

/* Compares the precision that a model package asks for with float32 on its validation set, and
 * grants it when they agree (grant.h). One thread. */

#include "plugins/host/grant.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `inputs` is a file of network inputs, float32 little-endian [N,C,H,W], after preprocessing,
 * as the self-test's input is one. 8-bit integers take their ranges from at most 64 of them,
 * evenly spread. Writes the grant into the folder and fills *ret_result. MD_INVALID_ARG when
 * the manifest asks for float32 or the file does not hold whole inputs, MD_UNSUPPORTED when
 * this processor lacks the precision, MD_PLUGIN when they do not agree: nothing is written, and
 * a grant of before is removed. */
md_status md_quantize(const char *folder, const char *inputs, md_precision *ret_precision,
                      md_grant_result *ret_result, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
