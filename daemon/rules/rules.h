#ifndef MEDAID_DAEMON_RULES_RULES_H
#define MEDAID_DAEMON_RULES_RULES_H

/* Whether a rule fits a study, and why (docs/rules.md). A condition is judged image by image,
 * and the rule matches when one image fulfils all of it; sender, time and findings are those of
 * the study. Regular expressions run with limits on steps and memory: one that meets them does
 * not match. Pure functions; any thread.
 *
 * What `tell` gets quotes values of the images: it is for the user who asked about a file of
 * his own, and never for a log. */

#include "conf/conf.h"
#include "daemon/store/store.h"

typedef struct md_rule_facts {
    const md_tag_set *sets; /* of the images */
    size_t n_sets;
    const char *called;               /* md_study.called */
    const md_store_finding *findings; /* what was found so far */
    size_t n_findings;
    int64_t complete_ms; /* time of day and weekday in the local time zone */
} md_rule_facts;

/* One condition: what is wanted, what is there. `depth` counts from 0. */
typedef struct md_rule_step {
    unsigned depth;
    bool holds;
    const char *wanted, *found; /* valid during the call */
} md_rule_step;

typedef void md_rule_tell(void *context, const md_rule_step *step);

bool md_rule_matches(const md_rule *rule, const md_rule_facts *facts);
/* The same, telling each condition for the image that fits, or else the first. `tell` may be
 * NULL. */
bool md_rule_explain(const md_rule *rule, const md_rule_facts *facts, md_rule_tell *tell,
                     void *context);

#endif
