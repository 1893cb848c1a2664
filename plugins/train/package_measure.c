#include "plugins/train/package_internal.h"

#include "inference/calibrate.h"
#include "inference/statistics/ranking.h"
#include "inference/statistics/reliability.h"
#include "plugins/host/score.h"
#include "plugins/train/loader.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void md_export_scores_finish(md_export_scores *scores)
{
    md_free(scores->logits);
    md_free(scores->targets);
    md_free(scores->patients);
    *scores = (md_export_scores){0};
}

md_status md_export_logits(md_exporting *x, md_network *network, const md_tensor *input,
                           float *ret_logits, size_t n, md_error *err)
{
    md_tensor outputs[MD_NETWORK_MAX_EXTRA_OUTPUTS + 8];
    const unsigned n_outputs = md_network_n_outputs(network);
    const float *logits = NULL;
    size_t n_logits = 0;
    if (n_outputs > sizeof outputs / sizeof *outputs) {
        return md_fail(err, MD_LIMIT, "a network of %u outputs", n_outputs);
    }
    MD_TRY(md_test_time_run(&x->manifest->test_time, network, input, n_outputs - 1, outputs,
                            n_outputs, &x->views, &logits, &n_logits, err));
    if (n_logits != n) {
        return md_fail(err, MD_FORMAT,
                       "the network gives %zu values, the recipe has %zu classes", n_logits, n);
    }
    for (size_t k = 0; k < n; k++) {
        ret_logits[k] = logits[k];
        if (!isfinite(ret_logits[k])) {
            return md_fail(err, MD_PLUGIN, "the network's output %zu is not a number", k);
        }
    }
    return MD_OK;
}

/* One film of a batch through the network that serves. */
static md_status score_one(md_exporting *x, const float *image, const md_batch *batch,
                           float *ret_logits, size_t n_outputs, md_error *err)
{
    const size_t n_elements = (size_t)batch->n_channels * batch->height * batch->width;
    const md_tensor input = {MD_F32,
                             4,
                             {1, batch->n_channels, batch->height, batch->width},
                             n_elements,
                             (void *)(uintptr_t)image,
                             false};
    return md_export_logits(x, x->network, &input, ret_logits, n_outputs, err);
}

/* One text likewise. */
static md_status score_text(md_exporting *x, const int64_t *tokens, unsigned length,
                            float *ret_logits, size_t n_outputs, md_error *err)
{
    const md_tensor input = {MD_I64, 2, {1, length}, length, (void *)(uintptr_t)tokens, false};
    return md_export_logits(x, x->network, &input, ret_logits, n_outputs, err);
}

static md_status score_batches(md_exporting *x, md_loader *loader, FILE *inputs,
                               md_export_scores *s, size_t n_films, md_error *err)
{
    for (;;) {
        md_batch batch;
        MD_TRY(md_loader_next(loader, &batch, err));
        if (batch.n == 0) {
            return MD_OK;
        }
        const size_t n_elements = (size_t)batch.n_channels * batch.height * batch.width;
        for (unsigned i = 0; i < batch.n; i++) {
            const float *image = batch.images != NULL ? batch.images + i * n_elements : NULL;
            float *logits = s->logits + s->n * s->n_outputs;
            if (s->n >= n_films) {
                return md_fail(err, MD_INTERNAL, "more films than there are");
            }
            MD_TRY(image == NULL ? score_text(x, batch.tokens + i * n_elements, batch.width,
                                              logits, s->n_outputs, err)
                                 : score_one(x, image, &batch, logits, s->n_outputs, err));
            if (image != NULL && inputs != NULL &&
                fwrite(image, sizeof(float), n_elements, inputs) != n_elements) {
                return md_fail(err, MD_IO, "the network's inputs cannot be written");
            }
            memcpy(s->targets + s->n * s->n_outputs, batch.targets + i * batch.n_classes,
                   s->n_outputs * sizeof(float));
            s->patients[s->n++] = x->set->films[batch.indices[i]].patient;
        }
    }
}

md_status md_export_score(md_exporting *x, md_part part, FILE *inputs,
                          md_export_scores *ret_scores, md_error *err)
{
    const md_loader_options options = {
        .part = part, .batch = 16, .n_threads = x->options->n_threads};
    MD_AUTO(md_loader_destroyp) md_loader *loader = NULL;
    MD_AUTO(md_export_scores_finish) md_export_scores s = {.n_outputs = x->set->n_classes};
    MD_TRY(md_loader_create(x->set, &options, &loader, err));
    const size_t n = (size_t)md_loader_n_films(loader);
    s.logits = md_calloc(n * s.n_outputs, sizeof *s.logits);
    s.targets = md_calloc(n * s.n_outputs, sizeof *s.targets);
    s.patients = md_calloc(n, sizeof *s.patients);
    if (s.logits == NULL || s.targets == NULL || s.patients == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the scores of %zu films", n);
    }
    MD_TRY(md_loader_begin(loader, 0, 0, 0, 0, 0, err));
    MD_TRY(score_batches(x, loader, inputs, &s, n, err));
    *ret_scores = s;
    s = (md_export_scores){0};
    return MD_OK;
}

/* Whether a film has the finding: 1, 0, or -1 when that is not known. */
static int8_t truth_of(const md_manifest_finding *f, const float *targets, size_t n_classes)
{
    float present = 0.0F;
    for (size_t k = 0; k < n_classes; k++) {
        for (unsigned i = 0; i < f->n_classes; i++) {
            present = f->classes[i] == k ? fmaxf(present, isnan(targets[k]) ? 2.0F : targets[k])
                                         : present;
        }
    }
    return present > 1.0F ? -1 : present >= 0.5F ? 1 : 0;
}

/* One finding over one part: scores by the manifest as it is now, log-odds at temperature 1. */
typedef struct answers {
    size_t n;
    double *scores, *log_odds;
    int8_t *truths;
} answers;

static void answers_finish(answers *a)
{
    md_free(a->scores);
    md_free(a->log_odds);
    md_free(a->truths);
    *a = (answers){0};
}

static md_status answer(const md_exporting *x, const md_export_scores *s, unsigned finding,
                        answers *ret, md_error *err)
{
    const md_manifest_finding *f = &x->manifest->findings[finding];
    ret->n = s->n;
    ret->scores = md_calloc(s->n, sizeof *ret->scores);
    ret->log_odds = md_calloc(s->n, sizeof *ret->log_odds);
    ret->truths = md_calloc(s->n, sizeof *ret->truths);
    if (ret->scores == NULL || ret->log_odds == NULL || ret->truths == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu scores", s->n);
    }
    for (size_t i = 0; i < s->n; i++) {
        const float *z = s->logits + i * s->n_outputs;
        MD_TRY(md_score(x->manifest, f, z, s->n_outputs, &ret->scores[i], err));
        MD_TRY(md_log_odds(x->manifest->network.activation, z, s->n_outputs, f->classes,
                           f->n_classes, 1.0, &ret->log_odds[i], err));
        ret->truths[i] = truth_of(f, s->targets + i * s->n_outputs, s->n_outputs);
    }
    return MD_OK;
}

/* All findings' known rows one after the other: the manifest has one calibration for all. */
static md_status pool(const md_exporting *x, answers *ret_pool, md_error *err)
{
    const md_export_scores *s = &x->validation;
    const size_t n_findings = x->manifest->n_findings;
    ret_pool->log_odds = md_calloc(s->n * n_findings, sizeof *ret_pool->log_odds);
    ret_pool->truths = md_calloc(s->n * n_findings, sizeof *ret_pool->truths);
    if (ret_pool->log_odds == NULL || ret_pool->truths == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu scores", s->n * n_findings);
    }
    for (unsigned q = 0; q < n_findings; q++) {
        MD_AUTO(answers_finish) answers a = {0};
        MD_TRY(answer(x, s, q, &a, err));
        for (size_t i = 0; i < a.n; i++) {
            if (a.truths[i] >= 0) {
                ret_pool->log_odds[ret_pool->n] = a.log_odds[i];
                ret_pool->truths[ret_pool->n++] = a.truths[i];
            }
        }
    }
    return MD_OK;
}

/* Softmax: the temperature of all classes, on films whose class is known (Guo et al. 2017). */
static md_status fit_softmax(const md_exporting *x, md_temperature *ret, md_error *err)
{
    const md_export_scores *s = &x->validation;
    MD_AUTO(md_freep) float *logits = md_calloc(s->n * s->n_outputs, sizeof *logits);
    MD_AUTO(md_freep) uint32_t *labels = md_calloc(s->n, sizeof *labels);
    size_t n = 0;
    if (logits == NULL || labels == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu scores", s->n);
    }
    for (size_t i = 0; i < s->n; i++) {
        const float *t = s->targets + i * s->n_outputs;
        for (uint32_t k = 0; k < s->n_outputs; k++) {
            if (t[k] >= 0.5F) {
                memcpy(logits + n * s->n_outputs, s->logits + i * s->n_outputs,
                       s->n_outputs * sizeof *logits);
                labels[n++] = k;
                break;
            }
        }
    }
    return md_fit_temperature(logits, labels, n, (unsigned)s->n_outputs, ret, err);
}

static md_status calibrate(md_exporting *x, md_error *err)
{
    md_manifest *m = x->manifest;
    m->calibration.method = MD_CALIBRATION_NONE;
    m->calibration.temperature = m->calibration.a = 1.0;
    m->calibration.b = 0.0;
    const md_calibration_method method = x->recipe->evaluation.calibration;
    MD_AUTO(answers_finish) answers all = {0};
    MD_TRY(pool(x, &all, err));
    if (method == MD_CALIBRATION_TEMPERATURE) {
        md_temperature t = {0};
        MD_TRY(m->network.activation == MD_TARGET_SOFTMAX
                   ? fit_softmax(x, &t, err)
                   : md_fit_temperature_binary(all.log_odds, all.truths, all.n, &t, err));
        m->calibration.temperature = t.temperature;
    } else if (method == MD_CALIBRATION_PLATT) {
        md_platt_fit fit = {0};
        MD_TRY(md_fit_platt(all.log_odds, all.truths, all.n, &fit, err));
        m->calibration.a = fit.a;
        m->calibration.b = fit.b;
    }
    m->calibration.method = method;
    return MD_OK;
}

/* By rule, from the calibrated scores of the validation part. */
static md_status choose_threshold(md_exporting *x, unsigned finding, md_error *err)
{
    const md_recipe_evaluation *e = &x->recipe->evaluation;
    md_finding_spec *spec = &x->manifest->findings[finding].spec;
    if (e->threshold == MD_THRESHOLD_GIVEN) {
        return MD_OK;
    }
    MD_AUTO(answers_finish) answers a = {0};
    MD_TRY(answer(x, &x->validation, finding, &a, err));
    size_t n = 0;
    for (size_t i = 0; i < a.n; i++) {
        if (a.truths[i] >= 0) {
            a.scores[n] = a.scores[i];
            a.truths[n++] = a.truths[i];
        }
    }
    MD_AUTO(md_ranking_finish) md_ranking ranking = {0};
    MD_TRY(md_ranking_init(a.scores, a.truths, n, &ranking, err));
    const md_threshold t = e->threshold == MD_THRESHOLD_YOUDEN
                               ? md_threshold_youden(&ranking)
                               : md_threshold_for_sensitivity(&ranking, e->sensitivity);
    if (!t.there) {
        return md_fail(err, MD_INVALID_ARG,
                       "finding '%s': no threshold fits evaluation.threshold on the validation "
                       "part",
                       spec->key);
    }
    /* four digits that people can read, towards calling more films positive */
    spec->threshold = fmin(1.0, fmax(0.0, floor(t.threshold * 1e4) / 1e4));
    return MD_OK;
}

/* Four digits, the interval outwards. */
static void keep(const md_estimate *from, md_manifest_measure *to)
{
    if (!isfinite(from->value) || !isfinite(from->low) || !isfinite(from->high)) {
        return;
    }
    const double value = round(from->value * 1e4) / 1e4;
    to->values[0] = value;
    to->values[1] = fmax(0.0, fmin(value, floor(from->low * 1e4) / 1e4));
    to->values[2] = fmin(1.0, fmax(value, ceil(from->high * 1e4) / 1e4));
    to->n = 3;
}

void md_export_state(md_manifest *m, const char *set, const md_assess_answer *first)
{
    const md_estimate *of = first->measures.of;
    (void)snprintf(m->performance.set, sizeof m->performance.set, "%s", set);
    m->performance.n_images = (unsigned)first->measures.n;
    m->performance.n_patients = (unsigned)first->measures.n_patients;
    keep(&of[MD_MEASURE_ACCURACY], &m->performance.accuracy);
    keep(&of[MD_MEASURE_SENSITIVITY], &m->performance.sensitivity);
    keep(&of[MD_MEASURE_SPECIFICITY], &m->performance.specificity);
    keep(&of[MD_MEASURE_F1], &m->performance.f1);
    keep(&of[MD_MEASURE_AUC], &m->performance.auc);
    const double error = of[MD_MEASURE_CALIBRATION_ERROR].value;
    m->calibration.has_error = isfinite(error) && error >= 0 && error <= 1;
    m->calibration.error = m->calibration.has_error ? round(error * 1e4) / 1e4 : 0.0;
}

/* The manifest states the first finding's figures; the model card states all. */
static void state_performance(md_exporting *x, bool on_test)
{
    md_manifest *m = x->manifest;
    const md_assess_answer *first = &x->figures.answers[0];
    md_export_state(m, on_test ? "test" : "validation", first);
    const md_assess_fit *crosswise =
        m->calibration.method == MD_CALIBRATION_PLATT ? &first->platt : &first->temperature;
    const double error = crosswise->error;
    if (!on_test && m->calibration.method != MD_CALIBRATION_NONE && crosswise->there) {
        /* its own fit's films would flatter it */
        m->calibration.has_error = isfinite(error) && error >= 0 && error <= 1;
        m->calibration.error = m->calibration.has_error ? round(error * 1e4) / 1e4 : 0.0;
    }
}

static md_status assess(md_exporting *x, const md_export_scores *s, answers *all,
                        md_assess_question *questions, md_error *err)
{
    const unsigned n = x->manifest->n_findings;
    for (unsigned q = 0; q < n; q++) {
        const md_finding_spec *spec = &x->manifest->findings[q].spec;
        MD_TRY(answer(x, s, q, &all[q], err));
        questions[q] = (md_assess_question){.name = spec->key,
                                            .scores = all[q].scores,
                                            .truths = all[q].truths,
                                            .threshold = spec->threshold,
                                            .log_odds = all[q].log_odds};
    }
    const md_assess_input input = {.n = s->n,
                                   .patients = s->patients,
                                   .questions = questions,
                                   .n_questions = n,
                                   .n_bootstrap = x->recipe->evaluation.bootstrap,
                                   .seed = x->recipe->seed,
                                   .n_threads = x->options->n_threads};
    return md_assess(&input, &x->figures, err);
}

md_status md_export_measure(md_exporting *x, md_error *err)
{
    const bool on_test = x->test.n > 0;
    const unsigned n = x->manifest->n_findings;
    MD_TRY(calibrate(x, err));
    for (unsigned q = 0; q < n; q++) {
        MD_TRY(choose_threshold(x, q, err));
    }
    MD_AUTO(md_freep) answers *all = md_calloc(n, sizeof *all);
    MD_AUTO(md_freep) md_assess_question *questions = md_calloc(n, sizeof *questions);
    if (all == NULL || questions == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u findings", n);
    }
    md_status status = assess(x, on_test ? &x->test : &x->validation, all, questions, err);
    for (unsigned q = 0; q < n; q++) {
        answers_finish(&all[q]);
    }
    if (status == MD_OK) {
        state_performance(x, on_test);
    }
    return status;
}
