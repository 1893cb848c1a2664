#include "daemon/rules/plan.h"

#include <stdio.h>
#include <string.h>

/* The titles of "A\B", each once; several names may mean one entry. */
static unsigned find_titles(const md_conf *conf, const char *called,
                            const md_conf_title *ret_titles[MD_PLAN_MAX_TITLES])
{
    unsigned n = 0;
    const char *at = called;
    do {
        char name[MD_STORE_AE_BYTES];
        size_t length = strcspn(at, "\\");
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        const md_conf_title *title = md_conf_title_of(conf, name);
        bool is_known = false;
        for (unsigned i = 0; i < n; i++) {
            is_known = is_known || ret_titles[i] == title;
        }
        if (!is_known && n < MD_PLAN_MAX_TITLES) {
            ret_titles[n++] = title;
        }
        at += length + (at[length] == '\\');
    } while (*at != '\0');
    return n;
}

static int64_t quiet_of(const md_conf *conf, const md_conf_title *title)
{
    return title->has_quiet ? title->quiet_ms : conf->study.quiet_ms;
}

static int64_t deadline_of(const md_conf *conf, const md_conf_title *title)
{
    return (title->has_deadline ? (int64_t)title->deadline_s
                                : (int64_t)conf->study.deadline_s) *
           1000;
}

static bool title_runs(const md_conf_title *title, const char *model_id)
{
    for (unsigned i = 0; title->has_models && i < title->n_models; i++) {
        if (strcmp(title->models[i], model_id) == 0) {
            return title->analyse;
        }
    }
    return title->analyse && !title->has_models;
}

static bool any_title_runs(const md_conf_title *const *titles, unsigned n, const char *model_id)
{
    for (unsigned i = 0; i < n; i++) {
        if (title_runs(titles[i], model_id)) {
            return true;
        }
    }
    return false;
}

void md_plan_timing(const md_policy *policy, const char *called, md_timing *ret_timing)
{
    const md_conf *conf = policy->conf;
    const md_conf_title *titles[MD_PLAN_MAX_TITLES];
    unsigned n = find_titles(conf, called, titles);
    md_timing timing = {0};
    bool is_endless = false;
    for (unsigned i = 0; i < n; i++) {
        int64_t quiet_ms = quiet_of(conf, titles[i]);
        int64_t deadline_ms = deadline_of(conf, titles[i]);
        timing.quiet_ms = quiet_ms > timing.quiet_ms ? quiet_ms : timing.quiet_ms;
        timing.deadline_ms =
            deadline_ms > timing.deadline_ms ? deadline_ms : timing.deadline_ms;
        is_endless = is_endless || deadline_ms == 0;
        timing.asks_for_views =
            timing.asks_for_views ||
            (titles[i]->analyse &&
             (titles[i]->has_required ? titles[i]->n_required : conf->study.n_required) > 0);
    }
    for (size_t i = 0; i < policy->n_models; i++) {
        timing.asks_for_views =
            timing.asks_for_views || any_title_runs(titles, n, policy->models[i].model_id);
    }
    timing.deadline_ms = is_endless ? 0 : timing.deadline_ms;
    *ret_timing = timing;
}

int64_t md_plan_shortest_ms(const md_conf *conf)
{
    int64_t shortest = conf->study.quiet_ms;
    int64_t deadline_ms = (int64_t)conf->study.deadline_s * 1000;
    shortest = deadline_ms > 0 && deadline_ms < shortest ? deadline_ms : shortest;
    for (unsigned i = 0; i < conf->ae.n_titles; i++) {
        int64_t quiet_ms = quiet_of(conf, &conf->ae.titles[i]);
        deadline_ms = deadline_of(conf, &conf->ae.titles[i]);
        shortest = quiet_ms < shortest ? quiet_ms : shortest;
        shortest = deadline_ms > 0 && deadline_ms < shortest ? deadline_ms : shortest;
    }
    return shortest;
}

/* Add the models of a title to the plan. */
static void add_models(md_plan *plan, const md_conf_title *title)
{
    for (unsigned i = 0; i < title->n_models; i++) {
        bool is_known = false;
        for (unsigned k = 0; k < plan->n_models; k++) {
            is_known = is_known || strcmp(plan->models[k], title->models[i]) == 0;
        }
        if (!is_known && plan->n_models < MD_CONF_MAX_NAMES) {
            memcpy(plan->models[plan->n_models++], title->models[i], sizeof(md_conf_name));
        }
    }
}

/* What the titles and the models want to see before the analysis, the first that is not there.
 */
static void look_for_views(const md_policy *policy, const md_tag_set *sets, size_t n_sets,
                           md_plan *plan)
{
    const md_conf *conf = policy->conf;
    bool is_there = true;
    for (unsigned i = 0; i < plan->n_titles && is_there; i++) {
        const md_conf_title *title = plan->titles[i];
        const md_required *required =
            title->has_required ? title->required : conf->study.required;
        unsigned n = title->has_required ? title->n_required : conf->study.n_required;
        for (unsigned k = 0; k < n && is_there && title->analyse; k++) {
            is_there = md_views_there(&required[k], sets, n_sets, plan->missing);
        }
    }
    for (size_t i = 0; i < policy->n_models && is_there; i++) {
        if (any_title_runs(plan->titles, plan->n_titles, policy->models[i].model_id)) {
            is_there = md_views_there(&policy->models[i].required, sets, n_sets, plan->missing);
        }
    }
}

/* The models of the plan that a rule's list has too; of all, those of the list. */
static void keep_models(md_plan *plan, const md_conf_name *names, unsigned n)
{
    md_conf_name kept[MD_CONF_MAX_NAMES];
    unsigned n_kept = 0;
    for (unsigned i = 0; i < n && n_kept < MD_CONF_MAX_NAMES; i++) {
        bool may = !plan->some_models;
        for (unsigned k = 0; k < plan->n_models; k++) {
            may = may || strcmp(plan->models[k], names[i]) == 0;
        }
        if (may) {
            memcpy(kept[n_kept++], names[i], sizeof(md_conf_name));
        }
    }
    memcpy(plan->models, kept, n_kept * sizeof(md_conf_name));
    plan->n_models = n_kept;
    plan->some_models = true;
    plan->analyse = plan->analyse && n_kept > 0;
}

/* Add what a rule says of a destination. */
static void add_destination(const md_conf *conf, md_plan *plan, const md_rule_destination *to)
{
    for (unsigned i = 0; i < conf->n_destinations; i++) {
        const md_conf_destination *known = &conf->destinations[i];
        if (strcmp(known->name, to->name) != 0) {
            continue;
        }
        md_results_kind results =
            to->has_results ? (md_results_kind)to->results : known->results;
        md_conf_originals originals =
            to->has_originals ? (md_conf_originals)to->originals : known->originals;
        bool had = plan->destinations[i].is_named;
        if (!had || plan->destinations[i].results == MD_RESULTS_NONE) {
            plan->destinations[i].results = results;
        } else if (results != MD_RESULTS_NONE && results != plan->destinations[i].results) {
            plan->destinations[i].results = MD_RESULTS_BOTH;
        }
        if (!had || originals > plan->destinations[i].originals) {
            plan->destinations[i].originals = originals; /* no, after, before */
        }
        plan->destinations[i].is_named = true;
    }
}

/* Judge the rules in their order, those with findings too or not. */
static void apply_rules(const md_conf *conf, const md_rule_facts *facts, bool with_findings,
                        md_plan *plan)
{
    plan->n_rules = 0;
    plan->has_rule_destinations = false;
    plan->ups = false;
    plan->ups_label = NULL;
    memset(plan->destinations, 0, sizeof plan->destinations);
    for (unsigned i = 0; i < conf->n_rules; i++) {
        const md_rule *rule = &conf->rules[i];
        if ((rule->needs_findings && !with_findings) || !md_rule_matches(rule, facts)) {
            continue;
        }
        bool is_first = !plan->has_rule_priority;
        plan->rules[plan->n_rules++] = rule;
        if (rule->then.has_priority && (is_first || rule->then.priority > plan->priority)) {
            plan->priority = rule->then.priority;
            plan->has_rule_priority = true;
        }
        plan->has_rule_destinations =
            plan->has_rule_destinations || rule->then.has_destinations;
        for (unsigned k = 0; k < rule->then.n_destinations; k++) {
            add_destination(conf, plan, &rule->then.destinations[k]);
        }
        plan->ups = plan->ups || rule->then.ups;
        if (plan->ups_label == NULL && rule->then.ups_label[0] != '\0') {
            plan->ups_label = rule->then.ups_label;
        }
        if (conf->rules_mode == MD_RULES_FIRST) {
            return;
        }
    }
}

/* The lists of all rules that have one, together, of what the titles run. */
static void choose_models(md_plan *plan)
{
    md_conf_name names[MD_CONF_MAX_NAMES];
    unsigned n = 0;
    bool has_list = false;
    for (unsigned i = 0; i < plan->n_rules; i++) {
        const md_rule *rule = plan->rules[i];
        has_list = has_list || rule->then.has_models;
        for (unsigned k = 0; k < rule->then.n_models && n < MD_CONF_MAX_NAMES; k++) {
            bool is_known = false;
            for (unsigned j = 0; j < n; j++) {
                is_known = is_known || strcmp(names[j], rule->then.models[k]) == 0;
            }
            if (!is_known) {
                memcpy(names[n++], rule->then.models[k], sizeof(md_conf_name));
            }
        }
    }
    if (has_list) {
        keep_models(plan, names, n);
    }
}

void md_plan_conclude(const md_policy *policy, const md_rule_facts *facts, md_plan *plan)
{
    plan->has_rule_priority = false;
    apply_rules(policy->conf, facts, true, plan);
}

bool md_plan_notifies(const md_plan *plan, const char *notifier)
{
    for (unsigned i = 0; i < plan->n_rules; i++) {
        for (unsigned k = 0; k < plan->rules[i]->then.n_notify; k++) {
            if (strcmp(plan->rules[i]->then.notify[k], notifier) == 0) {
                return true;
            }
        }
    }
    return false;
}

void md_plan_make(const md_policy *policy, const md_rule_facts *facts, md_plan *ret_plan)
{
    const md_conf *conf = policy->conf;
    md_plan plan = {.some_models = true, .fail_missing = true};
    plan.n_titles = find_titles(conf, facts->called, plan.titles);
    plan.priority = plan.titles[0]->priority;
    for (unsigned i = 0; i < plan.n_titles; i++) {
        const md_conf_title *title = plan.titles[i];
        plan.priority =
            (int)title->priority > plan.priority ? (int)title->priority : plan.priority;
        if (!title->analyse) {
            continue;
        }
        plan.analyse = plan.analyse || !title->has_models || title->n_models > 0;
        plan.some_models = plan.some_models && title->has_models;
        add_models(&plan, title);
        md_conf_missing missing = title->has_required_missing ? title->required_missing
                                                              : conf->study.required_missing;
        plan.fail_missing = plan.fail_missing && missing == MD_CONF_MISSING_FAIL;
    }
    apply_rules(conf, facts, false, &plan);
    choose_models(&plan);
    if (plan.analyse) {
        look_for_views(policy, facts->sets, facts->n_sets, &plan);
    }
    *ret_plan = plan;
}

static bool title_sends(const md_conf_title *title, const char *destination)
{
    for (unsigned i = 0; title->has_destinations && i < title->n_destinations; i++) {
        if (strcmp(title->destinations[i], destination) == 0) {
            return true;
        }
    }
    return !title->has_destinations;
}

bool md_plan_is_kind(md_results_kind results, bool maps, md_object_kind kind)
{
    switch (kind) {
    case MD_OBJECT_SR:
        return results == MD_RESULTS_BOTH || results == MD_RESULTS_SR;
    case MD_OBJECT_PICTURE:
        return results == MD_RESULTS_BOTH || results == MD_RESULTS_PICTURE;
    case MD_OBJECT_MAP:
        break;
    }
    return maps && results != MD_RESULTS_NONE;
}

bool md_plan_wants_result(const md_conf *conf, const md_plan *plan, const char *model_id,
                          md_object_kind kind, unsigned index)
{
    const md_conf_destination *to = &conf->destinations[index];
    if (plan->has_rule_destinations) {
        return plan->destinations[index].is_named &&
               md_plan_is_kind(plan->destinations[index].results, to->parametric_map, kind);
    }
    bool wants = md_plan_is_kind(to->results, to->parametric_map, kind);
    for (unsigned i = 0; i < plan->n_titles && wants; i++) {
        const md_conf_title *title = plan->titles[i];
        bool runs = model_id == NULL ? title->analyse : title_runs(title, model_id);
        if (runs && title_sends(title, to->name)) {
            return true;
        }
    }
    return false;
}

bool md_plan_wants_originals(const md_conf *conf, const md_plan *plan, md_conf_originals when,
                             unsigned index)
{
    if (plan->has_rule_destinations) {
        return plan->destinations[index].is_named &&
               plan->destinations[index].originals == when;
    }
    const md_conf_destination *to = &conf->destinations[index];
    for (unsigned i = 0; i < plan->n_titles && to->originals == when; i++) {
        if (title_sends(plan->titles[i], to->name)) {
            return true;
        }
    }
    return false;
}
