#define PCRE2_CODE_UNIT_WIDTH 8

#include "daemon/rules/rules.h"

#include "daemon/rules/tags.h"

#include <errno.h>
#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TEXT_BYTES = 512,
    /* Some milliseconds at the most, and little memory, whatever pattern and text are. */
    MATCH_LIMIT = 20000,
    DEPTH_LIMIT = 500,
    HEAP_LIMIT_KIB = 1024,
    MAX_OVERRUNS = 16, /* of one rule and one study; then no expression matches any more */
};

typedef struct judge {
    const md_rule_facts *facts;
    const md_tag_set *set; /* the image; NULL: there is none */
    md_rule_tell *tell;
    void *context;
    unsigned *n_overruns; /* of regular expressions, for the whole rule */
} judge;

static bool tell(const judge *now, unsigned depth, bool holds, const char *wanted,
                 const char *found)
{
    if (now->tell != NULL) {
        now->tell(now->context, &(md_rule_step){depth, holds, wanted, found});
    }
    return holds;
}

/* Append as far as there is room. */
static void add(char text[TEXT_BYTES], const char *joint, const char *more)
{
    size_t used = strlen(text);
    snprintf(text + used, TEXT_BYTES - used, "%s%s", used > 0 ? joint : "", more);
}

static bool regex_matches(const judge *now, const char *pattern, const char *text)
{
    int code = 0;
    PCRE2_SIZE offset = 0;
    bool matches = false;
    if (*now->n_overruns >= MAX_OVERRUNS) {
        return false;
    }
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &offset, NULL);
    pcre2_match_data *data = compiled != NULL ? pcre2_match_data_create(1, NULL) : NULL;
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    if (data != NULL && limits != NULL) {
        (void)pcre2_set_match_limit(limits, MATCH_LIMIT);
        (void)pcre2_set_depth_limit(limits, DEPTH_LIMIT);
        (void)pcre2_set_heap_limit(limits, HEAP_LIMIT_KIB);
        int result = pcre2_match(compiled, (PCRE2_SPTR)text, strlen(text), 0, 0, data, limits);
        matches = result >= 0;
        *now->n_overruns += result == PCRE2_ERROR_MATCHLIMIT ||
                            result == PCRE2_ERROR_DEPTHLIMIT || result == PCRE2_ERROR_HEAPLIMIT;
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    pcre2_code_free(compiled);
    return matches;
}

static bool to_real(const char *text, double *ret_value)
{
    char *end = NULL;
    size_t length = strspn(text, "+-.0123456789eE");
    *ret_value = strtod(text, &end);
    return length > 0 && text[length] == '\0' && *end == '\0' && isfinite(*ret_value);
}

/* One value of an attribute. */
static bool value_fits(const judge *now, const md_rule_condition *c, const char *value)
{
    double number = 0;
    bool is_in = c->n_in == 0;
    for (unsigned i = 0; i < c->n_in; i++) {
        is_in = is_in || strcmp(c->in[i], value) == 0;
    }
    return is_in && (!c->has_eq || strcmp(c->eq, value) == 0) &&
           (c->n_range == 0 ||
            (to_real(value, &number) && number >= c->range[0] && number <= c->range[1])) &&
           (c->regex[0] == '\0' || regex_matches(now, c->regex, value));
}

static void describe_tag(const md_rule_condition *c, char text[TEXT_BYTES])
{
    snprintf(text, TEXT_BYTES, "%s", c->tag);
    if (c->has_exists) {
        add(text, " ", c->exists ? "is there" : "is not there");
    }
    if (c->has_eq) {
        add(text, " = ", c->eq);
    }
    for (unsigned i = 0; i < c->n_in; i++) {
        add(text, i == 0 ? " is one of " : ", ", c->in[i]);
    }
    if (c->n_range == 2) {
        char range[64];
        snprintf(range, sizeof range, "%g..%g", c->range[0], c->range[1]);
        add(text, " in ", range);
    }
    if (c->regex[0] != '\0') {
        add(text, " matches ", c->regex);
    }
}

/* An attribute with several values fits when one of them does. */
static bool judge_tag(const judge *now, const md_rule_condition *c, unsigned depth)
{
    char value[MD_TAG_VALUE_BYTES] = "";
    char wanted[TEXT_BYTES];
    if (now->set != NULL) {
        (void)md_tags_find(now->set->tags, c->sequence, c->element, value);
    }
    bool is_there = value[0] != '\0';
    bool has_test = c->has_eq || c->n_in > 0 || c->n_range > 0 || c->regex[0] != '\0';
    bool holds = !has_test;
    describe_tag(c, wanted);
    char one[MD_TAG_VALUE_BYTES];
    for (const char *at = value; !holds; at++) {
        size_t length = strcspn(at, "\\");
        snprintf(one, sizeof one, "%.*s", (int)length, at);
        holds = value_fits(now, c, one);
        at += length;
        if (*at == '\0') {
            break;
        }
    }
    holds = holds && (!c->has_exists || c->exists == is_there);
    return tell(now, depth, holds, wanted, is_there ? value : "(not there)");
}

static bool judge_ae(const judge *now, const md_rule_ae *titles, unsigned n, const char *what,
                     const char *list, unsigned depth)
{
    char wanted[TEXT_BYTES] = "";
    bool holds = false;
    add(wanted, "", what);
    for (unsigned i = 0; i < n; i++) {
        add(wanted, i == 0 ? " is " : " or ", titles[i]);
        size_t length = strlen(titles[i]);
        for (const char *at = list; at != NULL; at = strchr(at, '\\')) {
            at += *at == '\\';
            holds = holds || (strncmp(at, titles[i], length) == 0 &&
                              (at[length] == '\0' || at[length] == '\\'));
        }
    }
    return tell(now, depth, holds, wanted, list[0] != '\0' ? list : "(not known)");
}

static bool judge_time(const judge *now, const md_rule_condition *c, unsigned depth)
{
    char found[32] = "";
    time_t seconds = (time_t)(now->facts->complete_ms / 1000);
    struct tm local = {0};
    (void)localtime_r(&seconds, &local);
    unsigned minute = (unsigned)(local.tm_hour * 60 + local.tm_min);
    bool wraps = c->from_min > c->until_min;
    bool after = minute >= c->from_min;
    bool before = minute < c->until_min;
    snprintf(found, sizeof found, "%02d:%02d", local.tm_hour, local.tm_min);
    char wanted[TEXT_BYTES] = "time";
    add(wanted, " in ", c->time);
    return tell(now, depth, wraps ? after || before : after && before, wanted, found);
}

static bool judge_weekday(const judge *now, const md_rule_condition *c, unsigned depth)
{
    static const char *const names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
    char wanted[TEXT_BYTES] = "weekday";
    time_t seconds = (time_t)(now->facts->complete_ms / 1000);
    struct tm local = {0};
    bool holds = false;
    (void)localtime_r(&seconds, &local);
    for (unsigned i = 0; i < c->n_weekday; i++) {
        add(wanted, i == 0 ? " is " : " or ", names[c->weekday[i] % 7]);
        holds = holds || c->weekday[i] == local.tm_wday;
    }
    return tell(now, depth, holds, wanted, names[local.tm_wday % 7]);
}

static bool finding_fits(const md_rule_finding *f, const md_store_finding *found)
{
    return (f->model[0] == '\0' || strcmp(f->model, found->model_id) == 0) &&
           (f->key[0] == '\0' || strcmp(f->key, found->key) == 0) &&
           (f->code[0] == '\0' || strcmp(f->code, found->code) == 0) &&
           (f->scheme[0] == '\0' || strcmp(f->scheme, found->scheme) == 0) &&
           (!f->has_presence || f->presence == (int)found->presence) &&
           (!f->has_at_least || found->score >= f->at_least) &&
           (!f->has_at_most || found->score <= f->at_most);
}

static bool judge_finding(const judge *now, const md_rule_finding *f, unsigned depth)
{
    static const char *const presences[] = {"absent", "present", "undetermined"};
    char wanted[TEXT_BYTES] = "finding";
    char found[TEXT_BYTES] = "";
    char number[32];
    bool holds = false;
    add(wanted, " ", f->key);
    add(wanted, f->code[0] != '\0' ? " code " : "", f->code);
    add(wanted, f->model[0] != '\0' ? " of " : "", f->model);
    add(wanted, " ", f->has_presence ? presences[f->presence % 3] : "");
    if (f->has_at_least) {
        snprintf(number, sizeof number, "%g", f->at_least);
        add(wanted, " score at least ", number);
    }
    if (f->has_at_most) {
        snprintf(number, sizeof number, "%g", f->at_most);
        add(wanted, " score at most ", number);
    }
    for (size_t i = 0; i < now->facts->n_findings; i++) {
        const md_store_finding *one = &now->facts->findings[i];
        snprintf(number, sizeof number, " %s %.3f", presences[(int)one->presence % 3],
                 one->score);
        add(found, ", ", one->key);
        add(found, "", number);
        holds = holds || finding_fits(f, one);
    }
    return tell(now, depth, holds, wanted, found[0] != '\0' ? found : "(no findings)");
}

static bool judge_findings(const judge *now, const md_rule_findings *f, unsigned depth)
{
    bool any = f->n_any_of == 0;
    bool all = true;
    bool none = true;
    for (unsigned i = 0; i < f->n_any_of; i++) {
        any = judge_finding(now, &f->any_of[i], depth) || any;
    }
    for (unsigned i = 0; i < f->n_all_of; i++) {
        all = judge_finding(now, &f->all_of[i], depth) && all;
    }
    for (unsigned i = 0; i < f->n_none_of; i++) {
        none = !judge_finding(now, &f->none_of[i], depth) && none;
    }
    return any && all && none;
}

static bool judge_condition(const judge *now, const md_rule_condition *c, unsigned depth);

static bool judge_groups(const judge *now, const md_rule_condition *c, unsigned depth)
{
    bool holds = true;
    if (c->n_all > 0) {
        bool all = true;
        for (unsigned i = 0; i < c->n_all; i++) {
            all = judge_condition(now, &c->all[i], depth + 1) && all;
        }
        holds = tell(now, depth, all, "all of the conditions above", all ? "yes" : "no");
    }
    if (c->n_any > 0) {
        bool any = false;
        for (unsigned i = 0; i < c->n_any; i++) {
            any = judge_condition(now, &c->any[i], depth + 1) || any;
        }
        holds =
            tell(now, depth, any, "one of the conditions above", any ? "yes" : "no") && holds;
    }
    if (c->not_this != NULL) {
        bool inner = judge_condition(now, c->not_this, depth + 1);
        holds = tell(now, depth, !inner, "not the condition above",
                     inner ? "it holds"
                           : "it does "
                             "not hold") &&
                holds;
    }
    return holds;
}

/* Every part is judged, also after one that does not hold, so that all is told. */
static bool judge_condition(const judge *now, const md_rule_condition *c, unsigned depth)
{
    bool holds = true;
    if (c->tag[0] != '\0') {
        holds = judge_tag(now, c, depth);
    }
    if (c->n_source_ae > 0) {
        const char *source = now->set != NULL ? now->set->source_ae : "";
        holds = judge_ae(now, c->source_ae, c->n_source_ae, "sender", source, depth) && holds;
    }
    if (c->n_called_ae > 0) {
        holds = judge_ae(now, c->called_ae, c->n_called_ae, "called AE title",
                         now->facts->called, depth) &&
                holds;
    }
    if (c->time[0] != '\0') {
        holds = judge_time(now, c, depth) && holds;
    }
    if (c->n_weekday > 0) {
        holds = judge_weekday(now, c, depth) && holds;
    }
    if (c->finding != NULL) {
        holds = judge_finding(now, c->finding, depth) && holds;
    }
    if (c->findings != NULL) {
        holds = judge_findings(now, c->findings, depth) && holds;
    }
    return judge_groups(now, c, depth) && holds;
}

bool md_rule_explain(const md_rule *rule, const md_rule_facts *facts, md_rule_tell *tell_step,
                     void *context)
{
    unsigned n_overruns = 0;
    judge silent = {.facts = facts, .n_overruns = &n_overruns};
    size_t match = facts->n_sets;
    if (rule->when == NULL) {
        return true;
    }
    for (size_t i = 0; i < facts->n_sets && match == facts->n_sets; i++) {
        silent.set = &facts->sets[i];
        match = judge_condition(&silent, rule->when, 0) ? i : match;
    }
    if (tell_step == NULL && facts->n_sets > 0) {
        return match < facts->n_sets;
    }
    const judge loud = {.facts = facts,
                        .n_overruns = &n_overruns,
                        .set = facts->n_sets == 0      ? NULL
                               : match < facts->n_sets ? &facts->sets[match]
                                                       : &facts->sets[0],
                        .tell = tell_step,
                        .context = context};
    return judge_condition(&loud, rule->when, 0);
}

bool md_rule_matches(const md_rule *rule, const md_rule_facts *facts)
{
    return md_rule_explain(rule, facts, NULL, NULL);
}
