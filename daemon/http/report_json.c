#include "daemon/http/report_json.h"

#include "daemon/evaluation/evaluation.h"

static json_t *quantiles_json(const md_quantiles *q)
{
    if (q->n == 0) {
        return json_pack("{s:i}", "studies", 0);
    }
    return json_pack("{s:I, s:f, s:f, s:f}", "studies", (json_int_t)q->n, "p50_s",
                     (double)q->p50_ms / 1000, "p95_s", (double)q->p95_ms / 1000, "p99_s",
                     (double)q->p99_ms / 1000);
}

/* Value and interval; null: nobody judged such a study. */
static json_t *proportion_json(const md_proportion *p)
{
    if (p->n == 0) {
        return json_null();
    }
    return json_pack("{s:f, s:f, s:f, s:I}", "value", p->value, "low", p->low, "high", p->high,
                     "studies", (json_int_t)p->n);
}

static json_t *finding_json(const md_finding_tally *t)
{
    const md_finding_figures f = md_finding_figures_of(t);
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "model", t->model_id, "key",
        t->key, "meaning", t->meaning, "present", (json_int_t)t->n_present, "absent",
        (json_int_t)t->n_absent, "undetermined", (json_int_t)t->n_undetermined, "sensitivity",
        proportion_json(&f.sensitivity), "specificity", proportion_json(&f.specificity), "ppv",
        proportion_json(&f.ppv), "npv", proportion_json(&f.npv));
}

static json_t *order_json(const md_reading_order *order)
{
    json_t *json = json_pack("{s:I, s:I, s:o, s:o}", "read", (json_int_t)order->n_read,
                             "urgent_read", (json_int_t)order->n_urgent_read, "urgent_waited",
                             quantiles_json(&order->urgent_waited), "routine_waited",
                             quantiles_json(&order->routine_waited));
    if (json != NULL && order->n_urgent_read > 0) {
        json_object_set_new(json, "urgent_position_by_arrival",
                            json_real(order->urgent_by_arrival));
        json_object_set_new(json, "urgent_position_by_reading",
                            json_real(order->urgent_by_reading));
    }
    return json;
}

md_status md_report_json(md_store *store, int64_t since_ms, json_t **ret_json, md_error *err)
{
    MD_AUTO(md_freep) md_study_history *history = NULL;
    MD_AUTO(md_freep) md_finding_tally *tallies = NULL;
    size_t n_history = 0, n_tallies = 0;
    md_evaluation e;
    MD_TRY(md_store_history(store, since_ms, MD_STORE_MAX_HISTORY, &history, &n_history, err));
    MD_TRY(
        md_store_finding_tally(store, since_ms, MD_STORE_MAX_PAGE, &tallies, &n_tallies, err));
    MD_TRY(md_evaluation_make(history, n_history, &e, err));
    json_t *findings = json_array();
    for (size_t i = 0; i < n_tallies; i++) {
        json_array_append_new(findings, finding_json(&tallies[i]));
    }
    json_t *json = json_pack(
        "{s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "studies", (json_int_t)e.n_studies, "failed",
        (json_int_t)e.n_failed, "urgent", (json_int_t)e.n_urgent, "time_to_notification",
        quantiles_json(&e.to_stored), "time_to_notifier", quantiles_json(&e.to_notified),
        "reading", order_json(&e.order), "findings", findings);
    if (json == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a report");
    }
    *ret_json = json;
    return MD_OK;
}
