#ifndef MEDAID_DAEMON_RULES_PLAN_H
#define MEDAID_DAEMON_RULES_PLAN_H

/* What is to be done with a study, from the configuration and what is known of the study: when
 * it is complete, which models look at it, how urgent it is, who gets what. Pure functions; any
 * thread.
 *
 * A study that was sent to several AE titles of medaid gets what each of them does: a model
 * runs when one title runs it, and a destination gets a model's results when a title that runs
 * this model names it. It waits as the most patient of them does, and is as urgent as the most
 * urgent of them says. */

#include "conf/conf.h"
#include "daemon/rules/rules.h"
#include "daemon/rules/views.h"
#include "daemon/store/store.h"
#include "dicom/report/report.h"

enum {
    MD_PLAN_MAX_TITLES = MD_CONF_MAX_TITLES + 1,
    MD_PLAN_MAX_SETS = 512, /* of one study that are looked at */
    /* The deadline of a study of which only a model requires views, where the configuration has
     * none: it must not wait for ever. */
    MD_PLAN_LONGEST_WAIT_MS = 1800 * 1000,
};

/* What a model requires of a study, md_host_model_required. */
typedef struct md_model_required {
    char model_id[65];
    md_required required;
} md_model_required;

/* What is decided by; all borrowed. */
typedef struct md_policy {
    const md_conf *conf;
    const md_model_required *models; /* those that require something */
    size_t n_models;
} md_policy;

/* When a study may be complete. */
typedef struct md_timing {
    int64_t quiet_ms, deadline_ms; /* deadline 0: none */
    bool asks_for_views;           /* md_plan_make may find something missing */
} md_timing;

typedef struct md_plan {
    const md_conf_title *titles[MD_PLAN_MAX_TITLES]; /* that it was sent to */
    unsigned n_titles;
    bool analyse;     /* false: no model looks at it */
    bool some_models; /* only those of the list; else all that accept it */
    md_conf_name models[MD_CONF_MAX_NAMES];
    unsigned n_models;
    int priority;                         /* of the store */
    char missing[MD_VIEWS_MISSING_BYTES]; /* what has not come; "": nothing */
    bool fail_missing;                    /* and then it is not analysed */
    const md_rule *rules[MD_RULES_MAX];   /* that matched */
    unsigned n_rules;
    bool has_rule_priority;     /* `priority` is that of a rule */
    bool has_rule_destinations; /* the next one counts, and not the titles' */
    struct {
        bool is_named;
        md_results_kind results;
        md_conf_originals originals;
    } destinations[MD_CONF_MAX_DESTINATIONS];
    bool ups;              /* the workitem has priority and label of a rule */
    const char *ups_label; /* of the configuration; NULL: no rule has one */
} md_plan;

/* `called`: md_study.called. */
void md_plan_timing(const md_policy *policy, const char *called, md_timing *ret_timing);
/* The shortest quiet time or deadline that any study can have. */
int64_t md_plan_shortest_ms(const md_conf *conf);

/* The plan as far as it is known without findings: from the titles, and the rules that ask for
 * none. facts->findings are not looked at. */
void md_plan_make(const md_policy *policy, const md_rule_facts *facts, md_plan *ret_plan);
/* What is left when the findings are there: all rules are judged anew, in their order, for
 * destinations, notifications, workitem and its priority. */
void md_plan_conclude(const md_policy *policy, const md_rule_facts *facts, md_plan *plan);
/* Whether a rule has this notifier tell of the study. */
bool md_plan_notifies(const md_plan *plan, const char *notifier);
/* Whether objects of this kind are among those that `results` stands for; maps: the key
 * parametric_map. */
bool md_plan_is_kind(md_results_kind results, bool maps, md_object_kind kind);
/* Whether destination `index` of the configuration gets a result of this model; NULL: of none
 * in particular, as the report of a failure may be. Report or picture, as the rule says or
 * the destination's own key `results`; maps by its key parametric_map. */
bool md_plan_wants_result(const md_conf *conf, const md_plan *plan, const char *model_id,
                          md_object_kind kind, unsigned index);
/* Whether it gets the originals at this time. */
bool md_plan_wants_originals(const md_conf *conf, const md_plan *plan, md_conf_originals when,
                             unsigned index);

#endif
