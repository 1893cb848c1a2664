#include "daemon/follow_up/follow_up_json.h"

#include "daemon/time_json.h"

#include <string.h>

static json_t *code_json(const char *code, const char *scheme, const char *meaning)
{
    return json_pack("{s:s, s:s, s:s}", "code", code, "scheme", scheme, "meaning", meaning);
}

static json_t *proposal_json(const md_follow_up_proposal *p)
{
    char sentence[1024];
    md_follow_up_sentence(p, sentence, sizeof sentence);
    json_t *reasons = json_array();
    for (uint32_t i = 0; i < p->n_reasons; i++) {
        json_array_append_new(reasons, json_string(p->reasons[i]));
    }
    return json_pack("{s:s, s:o, s:f, s:s, s:I, s:I, s:o, s:s}", "key", p->key, "action",
                     code_json(p->action.value, p->action.scheme, p->action.meaning), "score",
                     p->score, "basis", md_follow_up_basis_name(p->basis), "similar_patients",
                     (json_int_t)p->n_similar, "accepted", (json_int_t)p->n_accepted,
                     "alike_in", reasons, "sentence", sentence);
}

json_t *md_follow_up_json(const md_follow_up *f)
{
    json_t *proposals = json_array();
    for (uint32_t i = 0; i < f->n_proposals; i++) {
        json_array_append_new(proposals, proposal_json(&f->proposals[i]));
    }
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:s}", "proposals", proposals, "actions",
                     (json_int_t)f->n_actions, "abstained", (json_int_t)f->n_abstained,
                     "rather_declined", (json_int_t)f->n_below, "patients_on_record",
                     (json_int_t)f->n_patients, "min_support", (json_int_t)f->min_support,
                     "why_none", f->why_none);
}

char *md_follow_up_json_text(const md_follow_up *follow_up)
{
    json_t *json = md_follow_up_json(follow_up);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}

static json_t *decision_json(const md_store_rating *r, const char *study_key)
{
    const char *word = r->value >= 1.0 ? "accepted" : r->value <= 0.0 ? "declined" : "between";
    return json_pack("{s:s, s:s, s:s, s:f, s:o, s:b}", "action", r->action, "reader", r->reader,
                     "decision", word, "value", r->value, "given", md_time_json(r->given_ms),
                     "on_this_study", strcmp(r->study_key, study_key) == 0);
}

static md_status add_decisions(md_store *store, const char *study_key, json_t *json,
                               md_error *err)
{
    MD_AUTO(md_freep) md_store_rating *rows = md_calloc(MD_STORE_MAX_PAGE, sizeof *rows);
    size_t n = 0;
    if (rows == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for decisions");
    }
    MD_TRY(md_store_ratings_of(store, study_key, MD_STORE_MAX_PAGE, rows, &n, err));
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, decision_json(&rows[i], study_key));
    }
    json_object_set_new(json, "decisions", list);
    return MD_OK;
}

md_status md_follow_up_json_add(const md_conf *conf, md_store *store, const char *study_key,
                                json_t *json, md_error *err)
{
    md_store_follow_up kept;
    if (conf->follow_up.n_actions == 0) {
        return MD_OK;
    }
    md_status status = md_store_follow_up_of(store, study_key, &kept, err);
    if (status == MD_NOT_FOUND) {
        return MD_OK;
    }
    MD_TRY(status);
    json_t *shown = json_loads(kept.proposals, 0, NULL);
    shown = json_is_object(shown) ? shown : json_object();
    json_object_set_new(shown, "generation", json_integer(kept.generation));
    md_store_follow_up_finish(&kept);
    json_t *choices = json_array();
    for (unsigned i = 0; i < conf->follow_up.n_actions; i++) {
        const md_conf_action *a = &conf->follow_up.actions[i];
        json_array_append_new(choices, json_pack("{s:s, s:o}", "key", a->key, "action",
                                                 code_json(a->code, a->scheme, a->meaning)));
    }
    json_object_set_new(shown, "choices", choices);
    status = add_decisions(store, study_key, shown, err);
    json_object_set_new(json, "follow_up", shown);
    return status;
}
