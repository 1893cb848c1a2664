#include "daemon/http/similar_json.h"

#include "daemon/http/worklist_json.h"
#include "daemon/time_json.h"

#include <string.h>

enum {
    MAX_VERDICTS = 256
};

static int weight_of(md_store_presence presence)
{
    return presence == MD_STORE_PRESENT ? 2 : presence == MD_STORE_UNDETERMINED ? 1 : 0;
}

static bool is_same(const md_store_finding *a, const md_store_finding *b)
{
    return strcmp(a->model_id, b->model_id) == 0 && strcmp(a->key, b->key) == 0;
}

static bool is_stronger(const md_store_finding *a, const md_store_finding *b)
{
    const int by = weight_of(a->presence) - weight_of(b->presence);
    return by != 0 ? by > 0 : a->score > b->score;
}

/* A reader's word counts where the model decided: he agrees with what it said or does not. */
static json_t *verdict_json(const md_store_finding *f, const md_store_verdict *verdicts,
                            size_t n)
{
    for (size_t i = 0; i < n && f->presence != MD_STORE_UNDETERMINED; i++) {
        if (strcmp(verdicts[i].model_id, f->model_id) == 0 &&
            strcmp(verdicts[i].key, f->key) == 0) {
            const bool present = (f->presence == MD_STORE_PRESENT) == verdicts[i].agrees;
            return json_string(present ? "present" : "absent");
        }
    }
    return json_null();
}

static json_t *finding_json(const md_store_finding *f, json_t *verdict)
{
    static const char *const names[] = {"absent", "present", "undetermined"};
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:b, s:b, s:o}", "model", f->model_id, "key",
                     f->key, "meaning", f->meaning, "presence", names[f->presence], "score",
                     f->score, "is_probability", f->is_probability, "urgent", f->urgent,
                     "verdict", verdict);
}

static md_status add_findings(md_store *store, const char *study_key, json_t *json,
                              md_error *err)
{
    MD_AUTO(md_freep) md_store_finding *findings = NULL;
    MD_AUTO(md_freep)
    md_store_verdict *verdicts = md_calloc(MAX_VERDICTS, sizeof *verdicts);
    size_t n = 0, n_verdicts = 0;
    if (verdicts == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for verdicts");
    }
    MD_TRY(md_store_findings(store, study_key, &findings, &n, err));
    MD_TRY(md_store_verdicts(store, study_key, MAX_VERDICTS, verdicts, &n_verdicts, err));
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        bool is_best = true;
        for (size_t k = 0; k < n && is_best; k++) {
            is_best = k == i || !is_same(&findings[k], &findings[i]) ||
                      (k < i ? is_stronger(&findings[i], &findings[k])
                             : !is_stronger(&findings[k], &findings[i]));
        }
        if (is_best) {
            json_t *verdict = verdict_json(&findings[i], verdicts, n_verdicts);
            json_array_append_new(list, finding_json(&findings[i], verdict));
        }
    }
    json_object_set_new(json, "findings", list);
    return MD_OK;
}

static md_status case_json(md_store *store, const md_near_case *near, bool with_patient,
                           json_t *json, md_error *err)
{
    md_study study;
    MD_TRY(add_findings(store, near->study_key, json, err));
    md_status status = md_store_find_study(store, near->study_key, &study, err);
    json_object_set_new(json, "kept", json_boolean(status == MD_OK));
    if (status != MD_OK) {
        return status == MD_NOT_FOUND ? MD_OK : status;
    }
    json_object_set_new(json, "state", json_string(md_study_state_name(study.state)));
    json_object_set_new(json, "generation", json_integer(study.generation));
    json_object_set_new(json, "read", md_time_json(study.clock.read_ms));
    return with_patient ? md_worklist_json_add_patient(store, study.id, json, err) : MD_OK;
}

md_status md_similar_json(md_cases *cases, md_store *store, const char *study_key, uint32_t k,
                          bool with_patient, json_t **ret_json, md_error *err)
{
    md_near_case near[MD_CASES_MAX_NEAR];
    size_t n = 0;
    MD_TRY(md_cases_near_study(cases, study_key, k, near, &n, err));
    json_t *list = json_array();
    md_status status = MD_OK;
    for (size_t i = 0; i < n && status == MD_OK; i++) {
        json_t *one = json_pack("{s:s, s:f, s:f, s:o}", "study", near[i].study_key, "cosine",
                                near[i].cosine, "distance", near[i].distance, "analysed",
                                md_time_json(near[i].found_ms));
        status = one == NULL ? md_fail(err, MD_NOMEM, "no memory for a case")
                             : case_json(store, &near[i], with_patient, one, err);
        json_array_append_new(list, one);
    }
    if (status != MD_OK) {
        json_decref(list);
        return status;
    }
    *ret_json = json_pack("{s:s, s:o}", "study", study_key, "cases", list);
    return *ret_json != NULL ? MD_OK : md_fail(err, MD_NOMEM, "no memory for similar cases");
}
