#include "daemon/assembly.h"

#include "base/log.h"

enum {
    PAGE = 128
};

/* A study at its turn. */
typedef struct candidate {
    const md_study *study;
    int64_t quiet_ms, deadline_ms; /* when; INT64_MAX: no deadline */
    md_plan plan;
} candidate;

/* The plan, from what is known of its instances. */
static md_status make_plan(md_store *store, const md_policy *policy, int64_t now_ms,
                           candidate *one, md_error *err)
{
    md_tag_set *sets = NULL;
    size_t n_sets = 0;
    MD_TRY(md_store_tag_sets(store, one->study->id, MD_PLAN_MAX_SETS, &sets, &n_sets, err));
    const md_rule_facts facts = {
        .sets = sets, .n_sets = n_sets, .called = one->study->called, .complete_ms = now_ms};
    md_plan_make(policy, &facts, &one->plan);
    md_free(sets);
    return MD_OK;
}

/* The received images for the destinations that want them now. */
static md_status add_originals(md_store *store, const md_conf *conf, const candidate *one,
                               int64_t now_ms, md_error *err)
{
    const char *names[MD_CONF_MAX_DESTINATIONS];
    size_t n = 0;
    for (unsigned i = 0; i < conf->n_destinations; i++) {
        if (md_plan_wants_originals(conf, &one->plan, MD_ORIGINALS_BEFORE, i)) {
            names[n++] = conf->destinations[i].name;
        }
    }
    return md_store_add_originals(store, one->study->id, names, n, now_ms, err);
}

static md_status complete(md_store *store, const md_policy *policy, const candidate *one,
                          int64_t now_ms, unsigned *n_complete, md_error *err)
{
    const md_study *study = one->study;
    /* Before it can be claimed. A study that is open again keeps its own priority until here.
     */
    if (one->plan.priority != study->priority) {
        MD_TRY(md_store_set_priority(store, study->id, one->plan.priority, err));
    }
    md_status status = md_store_complete(store, study, now_ms, err);
    if (status == MD_BUSY) {
        return MD_OK; /* an instance came at this moment: its quiet time begins anew */
    }
    if (status == MD_OK) {
        /* when the program ends between the two, the analyst does it */
        status = add_originals(store, policy->conf, one, now_ms, err);
        *n_complete += 1;
        md_log(MD_LOG_INFO, "study_complete", MD_LOG_TEXT("study", study->key),
               MD_LOG_INT("objects", study->n_instances),
               MD_LOG_INT("conflicts", study->n_conflicts),
               MD_LOG_INT("generation", study->generation),
               MD_LOG_INT("priority", one->plan.priority),
               MD_LOG_TEXT("lacks", one->plan.missing),
               MD_LOG_TEXT("rule", one->plan.n_rules > 0 ? one->plan.rules[0]->name : ""),
               MD_LOG_INT("receiving_ms",
                          study->clock.last_received_ms - study->clock.first_received_ms));
    }
    return status;
}

/* *ret_wait_ms is made shorter when the study may be due earlier. */
static md_status look_at(md_store *store, const md_study *study, const md_policy *policy,
                         int64_t now_ms, unsigned *n_complete, int64_t *ret_wait_ms,
                         md_error *err)
{
    md_timing timing;
    candidate one = {.study = study};
    md_plan_timing(policy, study->called, &timing);
    one.quiet_ms = study->clock.last_received_ms + timing.quiet_ms;
    one.deadline_ms = timing.deadline_ms > 0
                          ? study->clock.first_received_ms + timing.deadline_ms
                          : INT64_MAX;
    int64_t due = one.quiet_ms < one.deadline_ms ? one.quiet_ms : one.deadline_ms;
    if (due <= now_ms) {
        MD_TRY(make_plan(store, policy, now_ms, &one, err));
        if (timing.asks_for_views && timing.deadline_ms == 0) {
            one.deadline_ms = study->clock.first_received_ms + MD_PLAN_LONGEST_WAIT_MS;
        }
        if (one.plan.missing[0] == '\0' || one.deadline_ms <= now_ms) {
            return complete(store, policy, &one, now_ms, n_complete, err);
        }
        due = one.deadline_ms; /* or when something comes, which is not sooner than wait_ms */
    }
    *ret_wait_ms = due - now_ms < *ret_wait_ms ? due - now_ms : *ret_wait_ms;
    return MD_OK;
}

md_status md_assembly_run(md_store *store, const md_policy *policy, int64_t now_ms,
                          unsigned *ret_n_complete, int64_t *ret_wait_ms, md_error *err)
{
    md_study_page page = {.states = 1u << MD_STUDY_RECEIVING, .oldest_first = true};
    unsigned n_complete = 0;
    int64_t wait_ms = md_plan_shortest_ms(policy->conf);
    MD_AUTO(md_freep) md_study *studies = md_calloc(PAGE, sizeof *studies);
    if (studies == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a page of studies");
    }
    size_t n = 0;
    do {
        MD_TRY(md_store_studies(store, &page, PAGE, studies, &n, err));
        for (size_t i = 0; i < n; i++) {
            page.after_id = studies[i].id;
            MD_TRY(look_at(store, &studies[i], policy, now_ms, &n_complete, &wait_ms, err));
        }
    } while (n == PAGE);
    *ret_n_complete = n_complete;
    *ret_wait_ms = wait_ms;
    return MD_OK;
}
