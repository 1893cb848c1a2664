#include "base/clock.h"
#include "plugins/host/pipeline_internal.h"
#include "plugins/host/study_numbers.h"
#include "plugins/host/study_text.h"

#include <string.h>

static const md_accept *accept_of(const md_analyzer *model)
{
    return model->kind == MD_ANALYZER_TEXT ? &model->needs.text.accept
                                           : &model->needs.risk.accept;
}

void md_pipeline_offer(md_run *r)
{
    for (size_t m = 0; m < r->registry->n; m++) {
        const md_analyzer *model = r->registry->models[m];
        if (model->kind == MD_ANALYZER_IMAGE ||
            !md_pipeline_may_run(r->options, model->identity.id)) {
            continue;
        }
        for (size_t i = 0; i < r->study.n; i++) {
            char reason[160];
            if (md_accept_check(accept_of(model), false, &r->study.files[i].facts, reason,
                                sizeof reason)) {
                r->offered |= UINT64_C(1) << m;
            }
        }
    }
}

/* What one analyzer gave, before it becomes a result. */
typedef struct answer {
    md_finding findings[MD_RESULT_MAX_FINDINGS];
    md_text_evidence *text; /* owned until kept */
    md_risk_evidence *risk;
    size_t file; /* that the text is of */
    int64_t us;
} answer;

static void answer_finish(answer *a)
{
    md_study_text_destroy(a->text);
    if (a->risk != NULL) {
        md_free(a->risk->terms);
    }
    md_free(a->risk);
    *a = (answer){0};
}

static void answer_destroyp(answer **a)
{
    if (*a != NULL) {
        answer_finish(*a);
    }
    md_free(*a);
}

/* MD_NOT_FOUND: the study says nothing. */
static md_status read_texts(const md_run *r, md_analyzer *model, answer *a, md_error *err)
{
    MD_TRY(md_study_text_collect(&r->study, &model->needs.text, &a->text, &a->file, err));
    if (a->text == NULL) {
        return md_fail(err, MD_NOT_FOUND, "the study has none of its texts");
    }
    return model->ops->analyse_text(model, a->text, a->findings, err);
}

/* MD_NOT_FOUND: too little is known. */
static md_status weigh_numbers(const md_run *r, md_analyzer *model, answer *a, md_error *err)
{
    const md_risk_needs *needs = &model->needs.risk;
    MD_AUTO(md_freep) double *values = md_calloc(needs->n_names, sizeof *values);
    a->risk = md_calloc(1, sizeof *a->risk);
    if (values == NULL || a->risk == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u numbers", needs->n_names);
    }
    const int64_t complete_ms = r->options->complete_ms; /* the same when it is done again */
    const md_study_facts facts = {.study = &r->study,
                                  .header = &r->analysis->header,
                                  .results = r->analysis->results,
                                  .n_results = r->analysis->n_results,
                                  .now_ms = complete_ms > 0 ? complete_ms : md_clock_wall_ms()};
    const unsigned n_known = md_study_numbers(&facts, needs, values);
    if (n_known < needs->least_known) {
        return md_fail(err, MD_NOT_FOUND, "%u of %u numbers are known, it needs %u", n_known,
                       needs->n_names, needs->least_known);
    }
    return model->ops->assess(model, values, a->risk, a->findings, err);
}

/* The unit that shows file `index` of the study. */
static uint32_t unit_of(const md_run *r, size_t index)
{
    for (size_t i = 0; i < r->n_units; i++) {
        if (r->units[i].file == &r->study.files[index]) {
            return (uint32_t)i;
        }
    }
    return 0;
}

static void keep_answer(const md_run *r, const md_analyzer *model, answer *a, md_result *result)
{
    memcpy(result->findings, a->findings, model->n_findings * sizeof *result->findings);
    result->n_findings = model->n_findings;
    const uint32_t index = model->kind == MD_ANALYZER_TEXT ? unit_of(r, a->file) : 0;
    for (size_t i = 0; i < result->n_findings; i++) {
        result->findings[i].instance_index = index;
    }
    result->text = MD_STEAL(a->text);
    result->risk = MD_STEAL(a->risk);
}

static void note_failed(md_run *r, size_t m, md_status status, const md_error *reason)
{
    md_tally *t = &r->tallies[m];
    t->n_failed = 1;
    md_pipeline_failure_code(status, &t->code);
    if (status == MD_NOT_FOUND) {
        t->code = (md_code){"110523", "DCM", "Object Set incomplete"};
    }
    memcpy(t->text, reason->msg, sizeof t->text);
}

/* Nothing to go by is no failure of a text analyzer: most studies come without a text. Of a
 * risk it is one as soon as any other analyzer spoke, since then a score is expected. */
static bool is_silence(const md_run *r, const md_analyzer *model, md_status status)
{
    return status == MD_NOT_FOUND &&
           (model->kind == MD_ANALYZER_TEXT || r->analysis->n_results == 0);
}

static md_status ask(md_run *r, size_t m, int64_t start_ms, md_error *err)
{
    md_analyzer *model = r->registry->models[m];
    const bool text = model->kind == MD_ANALYZER_TEXT;
    MD_AUTO(answer_destroyp) answer *a = md_calloc(1, sizeof *a);
    if (a == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an answer");
    }
    const int64_t start_us = md_clock_monotonic_us();
    md_error reason = {0};
    md_status status =
        text ? read_texts(r, model, a, &reason) : weigh_numbers(r, model, a, &reason);
    const int64_t took_us = md_clock_monotonic_us() - start_us;
    *(text ? &r->analysis->times.text_us : &r->analysis->times.risk_us) += took_us;
    if (is_silence(r, model, status)) {
        return MD_OK;
    }
    MD_TRY(md_pipeline_begin(r, m, start_ms, err));
    md_result *result = r->tallies[m].result;
    result->kind = text ? MD_RESULT_TEXT : MD_RESULT_RISK;
    result->times.infer_us = took_us;
    r->tallies[m].n_accepted = 1;
    if (status == MD_OK) {
        keep_answer(r, model, a, result);
        return MD_OK;
    }
    (void)md_error_prefix(&reason, status, "%s", model->identity.id);
    note_failed(r, m, status, &reason);
    md_study_problem(r->options, r->study.files[0].path, &reason);
    return MD_OK;
}

md_status md_pipeline_beyond_images(md_run *r, int64_t start_ms, md_error *err)
{
    static const md_analyzer_kind order[] = {MD_ANALYZER_TEXT, MD_ANALYZER_RISK};
    for (size_t k = 0; k < sizeof order / sizeof *order; k++) {
        for (size_t m = 0; m < r->registry->n; m++) {
            if (r->registry->models[m]->kind == order[k] && (r->offered >> m & 1) != 0) {
                MD_TRY(ask(r, m, start_ms, err));
            }
        }
    }
    return MD_OK;
}
