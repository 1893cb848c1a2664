#ifndef MEDAID_PLUGINS_TRAIN_PATTERN_H
#define MEDAID_PLUGINS_TRAIN_PATTERN_H

/* Regular expressions (PCRE2) of a recipe, tried on names and on values of tables, with limits
 * on what a match may cost. A pattern belongs to one thread at a time. */

#include "base/memory.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_pattern {
    pcre2_code *code; /* NULL: there is none */
    pcre2_match_data *match;
    pcre2_match_context *limits;
    uint32_t n_pairs; /* of the last match: what stands behind them was not set */
} md_pattern;

/* A pattern that the recipe's check has compiled before. MD_NOMEM. Caller finishes, also after
 * a failure. */
md_status md_pattern_init(md_pattern *pattern, const char *text, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_pattern_finish(md_pattern *pattern) MD_NOEXCEPT;

/* MD_NOT_FOUND without a match; then err is untouched. MD_FORMAT when the text is not UTF-8,
 * MD_LIMIT when it takes too long; messages quote the text. */
md_status md_pattern_match(md_pattern *pattern, const char *text, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Of the last match in this text: the groups that took part, joined by '-'; the whole match
 * when there are none. */
void md_pattern_groups(const md_pattern *pattern, const char *text, char *ret_text, size_t room)
    MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
