#include "plugins/train/pattern.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_GROUPS = 16,
    MATCH_LIMIT = 100000,
    DEPTH_LIMIT = 1000,
    HEAP_LIMIT_KIB = 1024
};

void md_pattern_finish(md_pattern *p)
{
    pcre2_match_context_free(p->limits);
    pcre2_match_data_free(p->match);
    pcre2_code_free(p->code);
}

md_status md_pattern_init(md_pattern *p, const char *text, md_error *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    /* the recipe's check has compiled it before */
    p->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
    p->match = p->code != NULL ? pcre2_match_data_create(MAX_GROUPS + 1, NULL) : NULL;
    p->limits = pcre2_match_context_create(NULL);
    if (p->match == NULL || p->limits == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a pattern");
    }
    (void)pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    (void)pcre2_set_depth_limit(p->limits, DEPTH_LIMIT);
    (void)pcre2_set_heap_limit(p->limits, HEAP_LIMIT_KIB);
    return MD_OK;
}

md_status md_pattern_match(md_pattern *p, const char *text, md_error *err)
{
    const int n =
        pcre2_match(p->code, (PCRE2_SPTR)text, strlen(text), 0, 0, p->match, p->limits);
    if (n == PCRE2_ERROR_NOMATCH) {
        return MD_NOT_FOUND;
    }
    if (n < 0) {
        return md_fail(err, n < PCRE2_ERROR_UTF8_ERR1 ? MD_LIMIT : MD_FORMAT,
                       "%.80s: a pattern cannot be tried on this name (%s)", text,
                       n <= PCRE2_ERROR_UTF8_ERR1 && n >= PCRE2_ERROR_UTF8_ERR21
                           ? "it is not UTF-8"
                           : "too much backtracking");
    }
    p->n_pairs = n > 0 ? (uint32_t)n : MAX_GROUPS + 1; /* 0: more groups than there is room */
    return MD_OK;
}

void md_pattern_groups(const md_pattern *p, const char *text, char *ret_text, size_t room)
{
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(p->match);
    ret_text[0] = '\0';
    for (uint32_t i = 1; i < p->n_pairs; i++) {
        if (ends[2 * i] != PCRE2_UNSET && ends[2 * i + 1] > ends[2 * i]) {
            const size_t used = strlen(ret_text);
            snprintf(ret_text + used, room - used, "%s%.*s", used > 0 ? "-" : "",
                     (int)(ends[2 * i + 1] - ends[2 * i]), text + ends[2 * i]);
        }
    }
    if (ret_text[0] == '\0') {
        snprintf(ret_text, room, "%.*s", (int)(ends[1] - ends[0]), text + ends[0]);
    }
}
