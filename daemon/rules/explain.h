#ifndef MEDAID_DAEMON_RULES_EXPLAIN_H
#define MEDAID_DAEMON_RULES_EXPLAIN_H

/* Which rule matches files and why each other does not, for the user who has these files: what
 * is told quotes their values and goes to no log. A file is read as the listener reads an
 * object: a walk over its element headers, no pixels, nothing decoded. Any thread. */

#include "daemon/rules/plan.h"

#include <stdio.h>

enum {
    MD_EXPLAIN_MAX_FILES = 512,
};

/* Who is assumed to have sent the files, when; nothing is "" and now. */
typedef struct md_explain_sender {
    const char *source_ae, *called_ae;
    int64_t complete_ms;
} md_explain_sender;

/* What rules know of an open file from its first byte. MD_FORMAT: no DICOM file with a head, or
 * broken. */
md_status md_explain_read(const md_conf *conf, int fd, const md_explain_sender *sender,
                          md_tag_set *ret_set, md_error *err) MD_NODISCARD;

/* The answer as a JSON object {"rules": [{"name", "phase", "matches", "applies", "conditions":
 * [{"depth", "holds", "wanted", "found"}]}], "plan": {...}}; the caller frees it with free. A
 * rule that asks for findings is judged with none, so it tells what would be needed. NULL: no
 * memory. */
char *md_explain_json(const md_conf *conf, const md_tag_set *sets, size_t n_sets,
                      const md_explain_sender *sender);
/* The same as lines of text. */
void md_explain_print(const md_conf *conf, const md_tag_set *sets, size_t n_sets,
                      const md_explain_sender *sender, FILE *out);

#endif
