#ifndef MEDAID_PLUGINS_HOST_PIPELINE_H
#define MEDAID_PLUGINS_HOST_PIPELINE_H

/* The middle box of DESIGN.md: files of one study -> decode -> normalise -> gate -> analyzer ->
 * results -> objects. md_host_analyse in host.h is its public form; the rules stand there. */

#include "plugins/host/registry.h"

#ifdef __cplusplus
extern "C" {
#endif

md_status md_pipeline_analyse(md_registry *registry, const char *const *paths, size_t n_paths,
                              const md_analyse_options *options, md_analysis *ret_analysis,
                              md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The coded reason that a report gives for a failure, from the status of the error:
 * (110531, DCM, "Insufficient quality for interpretation") is the gate's alone; broken data
 * 110521, what nobody here reads 110522, too little memory 110527, everything else 110501
 * (PS3.16 CID 9300, 9301, 9303). */
void md_pipeline_failure_code(md_status status, md_code *ret_code) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
