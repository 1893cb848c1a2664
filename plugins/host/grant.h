#ifndef MEDAID_PLUGINS_HOST_GRANT_H
#define MEDAID_PLUGINS_HOST_GRANT_H

/* Whether a model may compute in a lower precision than float32 on this processor. The file
 * `precision.grant` in the package's folder says so: `medaid-train quantize` writes it after it
 * has compared both on the model's validation set, here. It holds for one network file, one
 * precision and one kind of processor, and carries the ranges that 8-bit integers need. */

#include "inference/network.h"
#include "plugins/host/manifest.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_GRANT_MIN_IMAGES = 100, /* fewer show nothing about 0.2% */
    MD_GRANT_MAX_RANGES = 1 << 16
};
#define MD_GRANT_FILE "precision.grant"
#define MD_GRANT_MAX_BYTES ((size_t)16 << 20)

/* What the comparison gave. */
typedef struct md_grant_result {
    unsigned n_images;
    double worst_difference; /* of any score, in 0..1 */
    double sum_of_squares;   /* of all differences; not kept in the file */
    unsigned n_flips;        /* images with a finding of another presence */
} md_grant_result;

typedef struct md_grant {
    md_grant_result result;
    md_range *ranges; /* names point into text */
    unsigned n_ranges;
    char *text;
} md_grant;

/* The largest difference of a score that is allowed: 0.01 for bf16, 0.02 for int8. */
double md_grant_limit(md_precision precision) MD_NOEXCEPT;
/* Whether the result allows the precision: the limit, at least MD_GRANT_MIN_IMAGES images, and
 * flips on at most 0.2% of them. MD_PLUGIN with the numbers when it does not. */
md_status md_grant_judge(md_precision precision, const md_grant_result *result, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Read the file of the package in `folder`. It must be a regular file of root or this user that
 * nobody else may write, whole (its last line is a SHA-256), for this network, precision and
 * processor. MD_NOT_FOUND, MD_FORMAT, MD_LIMIT, MD_PLUGIN (as md_grant_judge). Caller finishes.
 */
md_status md_grant_read(int folder, const char *network_sha256, md_precision precision,
                        md_grant *ret_grant, md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_grant_finish(md_grant *grant) MD_NOEXCEPT;

/* Write it into the folder of that path, whole or not at all. */
md_status md_grant_write(const char *folder, const char *network_sha256, md_precision precision,
                         const md_grant_result *result, const md_range *ranges,
                         unsigned n_ranges, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
