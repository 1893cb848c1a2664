#ifndef MEDAID_PLUGINS_HOST_PACKAGE_KINDS_H
#define MEDAID_PLUGINS_HOST_PACKAGE_KINDS_H

/* Inside of package.h: the packages of kind text and risk, and what all kinds say of
 * themselves. `*manifest` was read and becomes the analyzer's (then it is NULL). */

#include "plugins/host/package.h"
#include "plugins/host/package_file.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_PACKAGE_CALIBRATION_BYTES = 64
};

md_status md_package_open_text(int folder, const char *name, const md_package_options *options,
                               md_manifest **manifest, md_analyzer **ret_analyzer,
                               md_error *err) MD_NOEXCEPT MD_NODISCARD;
md_status md_package_open_risk(int folder, const char *name, md_manifest **manifest,
                               md_analyzer **ret_analyzer, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* model.yaml; `name` stands before messages. */
md_status md_package_read_manifest(int folder, const char *name, md_manifest *ret_manifest,
                                   md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Files that the host does not use itself are hashed all the same: all but `used`. */
md_status md_package_check_others(int folder, const md_manifest *m, const char *const *used,
                                  size_t n_used, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Number `index` of a file of little-endian float32. */
float md_package_float_at(const uint8_t *bytes, size_t index) MD_NOEXCEPT;

/* Identity and card, without parameters and `accepts`; `file` is what identity.sha256 is of.
 * The specs of the analyzer are set. */
void md_package_describe(const md_manifest *m, const char *file, md_analyzer *ret_analyzer)
    MD_NOEXCEPT;
/* "none", "temperature(1.2)", "platt(1,0)" */
void md_package_calibration(const md_manifest *m, char ret_text[MD_PACKAGE_CALIBRATION_BYTES])
    MD_NOEXCEPT;
/* Whether each output of a self-test is near the expected number, and the card's figures of it.
 * MD_PLUGIN when one is not, or not finite. */
md_status md_package_compare(const md_manifest *m, const float *outputs, size_t n,
                             const uint8_t *expected, md_model_card *card, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* MD_FORMAT when a finding's classes are not among the n values of the output. */
md_status md_package_check_classes(const md_manifest *m, size_t n, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
