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

void md_plan_make(const md_policy *policy, const char *called, const md_tag_set *sets,
                  size_t n_sets, md_plan *ret_plan)
{
    const md_conf *conf = policy->conf;
    md_plan plan = {.some_models = true, .fail_missing = true};
    plan.n_titles = find_titles(conf, called, plan.titles);
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
    if (plan.analyse) {
        look_for_views(policy, sets, n_sets, &plan);
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

bool md_plan_wants_result(const md_conf *conf, const md_plan *plan, const char *model_id,
                          unsigned index)
{
    for (unsigned i = 0; i < plan->n_titles; i++) {
        const md_conf_title *title = plan->titles[i];
        bool runs = model_id == NULL ? title->analyse : title_runs(title, model_id);
        if (runs && title_sends(title, conf->destinations[index].name)) {
            return true;
        }
    }
    return false;
}

bool md_plan_wants_originals(const md_conf *conf, const md_plan *plan, unsigned index)
{
    for (unsigned i = 0; i < plan->n_titles; i++) {
        if (title_sends(plan->titles[i], conf->destinations[index].name)) {
            return true;
        }
    }
    return false;
}
