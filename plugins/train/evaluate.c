#include "plugins/train/evaluate.h"

#include "base/file.h"
#include "dicom/dataset/dataset.h"
#include "inference/calibrate.h"
#include "inference/network.h"
#include "plugins/host/gate.h"
#include "plugins/host/package.h"
#include "plugins/train/evaluate_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* What scores films: a package, or a network and the recipe's preprocessing. */
typedef struct film_scorer {
    md_analyzer *analyzer;       /* NULL: the network alone; owned, as the next */
    const md_manifest *manifest; /* of the analyzer */
    md_network *network;
    md_preprocess_spec spec;
    md_preprocess_options preprocess;
    md_test_time test_time; /* of the network alone; a package runs its own */
    md_test_time_scratch views;
    md_image_least least;
    md_target activation;
    unsigned n_outputs;
} film_scorer;

static void film_scorer_finish(film_scorer *s)
{
    md_analyzer_destroy(s->analyzer);
    md_network_destroy(s->network);
    md_test_time_scratch_finish(&s->views);
}

static md_status open_package(const md_evaluate_options *options, film_scorer *s,
                              md_evaluation_of_model *e, md_error *err)
{
    const char *slash = strrchr(options->model, '/');
    const char *name = slash != NULL && slash[1] != '\0' ? slash + 1 : options->model;
    md_package_options package = {.n_threads = options->n_threads};
    MD_TRY(md_backend_named(options->backend, &package.backend, err));
    MD_TRY(md_package_open(options->model, name, &package, &s->analyzer, err));
    s->manifest = md_package_manifest(s->analyzer);
    const md_manifest *m = s->manifest;
    s->spec = m->preprocess;
    s->least = s->analyzer->needs.image.least;
    s->activation = m->network.activation;
    s->n_outputs = 0; /* known after the first film */
    const md_model_identity *identity = &s->analyzer->identity;
    (void)snprintf(e->id, sizeof e->id, "%s", identity->id);
    (void)snprintf(e->version, sizeof e->version, "%s", identity->version);
    (void)snprintf(e->name, sizeof e->name, "%s", identity->name);
    (void)snprintf(e->sha256, sizeof e->sha256, "%s", identity->sha256);
    (void)snprintf(e->intended_use, sizeof e->intended_use, "%s", identity->intended_use);
    (void)snprintf(e->parameters, sizeof e->parameters, "%s", identity->parameters);
    return MD_OK;
}

static md_status open_network(const md_evaluate_options *options, const md_recipe *recipe,
                              film_scorer *s, md_evaluation_of_model *e, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    size_t size_bytes = 0;
    uint8_t digest[MD_SHA256_BYTES];
    md_network_options network = {.n_threads = options->n_threads, .batch = 1};
    MD_TRY(md_backend_named(options->backend, &network.backend, err));
    MD_TRY(md_file_read(options->model, MD_NETWORK_MAX_ONNX_BYTES, &onnx, &size_bytes, err));
    md_sha256(onnx, size_bytes, digest);
    md_hex(digest, MD_SHA256_BYTES, e->sha256);
    md_status status = md_network_load(onnx, size_bytes, &network, &s->network, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%s", options->model);
    }
    s->spec = recipe->preprocess;
    s->test_time = recipe->evaluation.test_time;
    s->activation =
        recipe->data.task == MD_TASK_MULTI_LABEL ? MD_TARGET_SIGMOID : MD_TARGET_SOFTMAX;
    s->n_outputs = recipe->data.n_classes;
    const md_network_port *in = md_network_input(s->network, 0);
    const md_network_port *out = md_network_output(s->network, 0);
    const bool is_text = recipe->text.there;
    if (md_network_n_inputs(s->network) == 1 && is_text &&
        (in->dtype != MD_I64 || in->n_dims != 2 || in->dims[1] != recipe->text.tokens)) {
        return md_fail(err, MD_INVALID_ARG, "%s: not a network of %u tokens (text.tokens)",
                       options->model, recipe->text.tokens);
    }
    if (md_network_n_inputs(s->network) != 1 || out == NULL ||
        in->n_dims != (is_text ? 2 : 4) || out->n_dims != 2 ||
        out->dims[1] != (int64_t)s->n_outputs || out->dtype != MD_F32) {
        return md_fail(err, MD_INVALID_ARG,
                       "%s: not a network of one %s to [1,%u], one for each of data.classes",
                       options->model, is_text ? "text" : "picture", s->n_outputs);
    }
    char views[MD_TEST_TIME_TEXT_BYTES];
    md_test_time_describe(&s->test_time, views);
    md_preprocess_spec_least(&s->spec, 0, 0, &s->least);
    (void)snprintf(e->id, sizeof e->id, "%.64s", recipe->name);
    (void)snprintf(e->name, sizeof e->name, "%.64s", recipe->name);
    (void)snprintf(e->version, sizeof e->version, "-");
    (void)snprintf(e->parameters, sizeof e->parameters,
                   "activation=%s%s calibration=none precision=f32 backend=%s",
                   s->activation == MD_TARGET_SIGMOID ? "sigmoid" : "softmax", views,
                   md_network_backend_name(s->network));
    return MD_OK;
}

typedef enum film_fate {
    FILM_SCORED,
    FILM_UNREADABLE,
    FILM_REFUSED,
    FILM_FAILED
} film_fate;

/* Would the model look at this file at all? PNG and JPEG say nothing of themselves. */
bool md_evaluate_accepts(const md_analyzer *analyzer, const char *path, md_accept_facts *facts,
                         md_error *reason)
{
    MD_AUTO(md_dataset_destroyp) md_dataset *dataset = NULL;
    char text[MD_ERROR_MSG_BYTES];
    *facts = (md_accept_facts){.age_years = -1};
    if (md_picture_sniff(path) != MD_PICTURE_DICOM ||
        md_dataset_open(path, &dataset, NULL) != MD_OK) {
        return true;
    }
    md_accept_facts_read(dataset, facts);
    const md_image_needs *needs = &analyzer->needs.image;
    if (md_accept_check(&needs->accept, needs->values == MD_VALUES_DISPLAY, facts, text,
                        sizeof text)) {
        return true;
    }
    (void)md_fail(reason, MD_UNSUPPORTED, "%s", text);
    return false;
}

/* The outputs of the network for one film, borrowed until the next; and for a package the
 * findings' scores. */
static film_fate score_package(film_scorer *s, const char *path, double *scores,
                               const float **ret_outputs, size_t *ret_n, md_error *reason)
{
    MD_AUTO(md_raster_finish) md_raster raster = {0};
    md_accept_facts facts;
    md_finding findings[MD_RESULT_MAX_FINDINGS] = {0};
    md_steps steps = {0};
    if (!md_evaluate_accepts(s->analyzer, path, &facts, reason)) {
        return FILM_REFUSED;
    }
    if (md_picture_read(path, &s->spec, &s->least, &raster, reason) != MD_OK) {
        return FILM_UNREADABLE;
    }
    const md_image_needs *needs = &s->analyzer->needs.image;
    if (needs->values == MD_VALUES_DISPLAY &&
        md_gate_check(&needs->gate, &raster, reason) != MD_OK) {
        return FILM_REFUSED;
    }
    const md_image_input input = {
        .values = &raster, .facts = &facts, .frame = 1, .n_frames = 1};
    if (s->analyzer->ops->analyse_image(s->analyzer, &input, findings, &steps, reason) !=
        MD_OK) {
        return FILM_FAILED;
    }
    for (unsigned f = 0; f < s->manifest->n_findings; f++) {
        scores[f] = findings[f].score;
    }
    *ret_outputs = md_package_outputs(s->analyzer, ret_n);
    return FILM_SCORED;
}

static bool are_numbers(const float *outputs, size_t n, md_error *reason)
{
    for (size_t k = 0; k < n; k++) {
        if (!isfinite(outputs[k])) {
            (void)md_fail(reason, MD_PLUGIN, "the network's output %zu is not a number", k);
            return false;
        }
    }
    return true;
}

static film_fate score_network(film_scorer *s, const char *path, const float **ret_outputs,
                               size_t *ret_n, md_error *reason)
{
    MD_AUTO(md_raster_finish) md_raster raster = {0};
    MD_AUTO(md_tensor_finish) md_tensor tensor = {0};
    md_tensor outputs[MD_NETWORK_MAX_EXTRA_OUTPUTS] = {0};
    md_placement placement;
    md_steps steps = {0};
    if (md_picture_read(path, &s->spec, &s->least, &raster, reason) != MD_OK ||
        md_preprocess(&raster, &s->preprocess, &tensor, &placement, &steps, reason) != MD_OK) {
        return FILM_UNREADABLE;
    }
    if (md_test_time_run(&s->test_time, s->network, &tensor, 0, outputs,
                         md_network_n_outputs(s->network), &s->views, ret_outputs, ret_n,
                         reason) != MD_OK) {
        return FILM_FAILED;
    }
    return are_numbers(*ret_outputs, *ret_n, reason) ? FILM_SCORED : FILM_FAILED;
}

static film_fate score_tokens(film_scorer *s, const md_evaluate_films *films, size_t i,
                              const float **ret_outputs, size_t *ret_n, md_error *reason)
{
    md_tensor outputs[MD_NETWORK_MAX_EXTRA_OUTPUTS] = {0};
    const md_tensor input = {.dtype = MD_I64,
                             .n_dims = 2,
                             .dims = {1, films->length},
                             .n_elements = films->length,
                             .data = films->tokens + i * films->length};
    if (md_network_n_outputs(s->network) > MD_NETWORK_MAX_EXTRA_OUTPUTS) {
        (void)md_fail(reason, MD_LIMIT, "a network of %u outputs",
                      md_network_n_outputs(s->network));
        return FILM_FAILED;
    }
    if (md_network_run(s->network, &input, 1, outputs, md_network_n_outputs(s->network),
                       reason) != MD_OK) {
        return FILM_FAILED;
    }
    *ret_outputs = outputs[0].data;
    *ret_n = outputs[0].n_elements;
    return are_numbers(*ret_outputs, *ret_n, reason) ? FILM_SCORED : FILM_FAILED;
}

/* All scores: of findings [n_findings][n], of classes [n][n_outputs]. */
typedef struct film_scores {
    double *findings, *log_odds; /* owned, as all; [n_findings][n] */
    int8_t *truths;
    float *outputs; /* [n][n_outputs]; NaN: none */
    unsigned n_outputs;
    size_t n;
} film_scores;

static void film_scores_finish(film_scores *scores)
{
    md_free(scores->findings);
    md_free(scores->log_odds);
    md_free(scores->truths);
    md_free(scores->outputs);
}

static md_status film_scores_init(film_scores *scores, size_t n, unsigned n_findings,
                                  md_error *err)
{
    size_t n_values = 0, n_outputs = 0;
    if (!md_mul(n, n_findings, &n_values) || !md_mul(n, MD_ASSESS_MAX_CLASSES, &n_outputs)) {
        return md_fail(err, MD_LIMIT, "%zu films of %u findings", n, n_findings);
    }
    scores->n = n;
    scores->findings = md_calloc(n_values + 1, sizeof *scores->findings);
    scores->log_odds = md_calloc(n_values + 1, sizeof *scores->log_odds);
    scores->truths = md_calloc(n_values + 1, sizeof *scores->truths);
    scores->outputs = md_calloc(n_outputs + 1, sizeof *scores->outputs);
    if (scores->findings == NULL || scores->log_odds == NULL || scores->truths == NULL ||
        scores->outputs == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", n);
    }
    for (size_t i = 0; i < n_values; i++) {
        scores->findings[i] = scores->log_odds[i] = (double)NAN;
    }
    for (size_t i = 0; i < n_outputs; i++) {
        scores->outputs[i] = NAN;
    }
    return MD_OK;
}

/* Truth of a finding: one of its classes, or its own column of the table. */
static int8_t truth_of(const md_evaluate_films *films, const md_manifest *m, unsigned f,
                       size_t film)
{
    const float *labels = films->labels + film * films->n_labels;
    if (!films->by_class) {
        return isnan(labels[f]) ? -1 : labels[f] >= 0.5F;
    }
    bool unknown = false;
    for (unsigned k = 0; k < m->findings[f].n_classes; k++) {
        const float label = labels[m->findings[f].classes[k]];
        if (label >= 0.5F) {
            return 1;
        }
        unknown = unknown || isnan(label);
    }
    return unknown ? -1 : 0;
}

static md_status keep_film(const film_scorer *s, const md_evaluate_films *films, size_t film,
                           const double *scores, const float *outputs, size_t n_outputs,
                           film_scores *all, md_error *err)
{
    if (all->n_outputs == 0) {
        all->n_outputs = (unsigned)(n_outputs < MD_ASSESS_MAX_CLASSES ? n_outputs : 0);
    }
    if (films->by_class && n_outputs != films->n_labels) {
        return md_fail(err, MD_INVALID_ARG,
                       "the network has %zu outputs, the recipe %u classes", n_outputs,
                       films->n_labels);
    }
    if (all->n_outputs > 0) {
        memcpy(all->outputs + film * all->n_outputs, outputs, all->n_outputs * sizeof *outputs);
    }
    for (unsigned f = 0; s->manifest != NULL && f < s->manifest->n_findings; f++) {
        const md_manifest_finding *finding = &s->manifest->findings[f];
        const size_t at = f * all->n + film;
        all->findings[at] = scores[f];
        MD_TRY(md_log_odds(s->activation, outputs, n_outputs, finding->classes,
                           finding->n_classes, 1, &all->log_odds[at], err));
    }
    return MD_OK;
}

static md_status score_all(const md_evaluate_options *options, film_scorer *s,
                           const md_evaluate_films *films, film_scores *all,
                           md_evaluation_of_model *e, md_error *err)
{
    size_t n_scored = 0;
    md_error last = {0};
    md_preprocess_spec_options(&s->spec, &s->preprocess);
    for (size_t i = 0; i < films->n; i++) {
        double scores[MD_RESULT_MAX_FINDINGS];
        const float *outputs = NULL;
        size_t n_outputs = 0;
        md_error reason = {0};
        const film_fate fate =
            s->analyzer != NULL
                ? score_package(s, films->paths[i], scores, &outputs, &n_outputs, &reason)
            : films->tokens != NULL
                ? score_tokens(s, films, i, &outputs, &n_outputs, &reason)
                : score_network(s, films->paths[i], &outputs, &n_outputs, &reason);
        if (reason.status == MD_NOMEM) {
            return md_fail(err, MD_NOMEM, "no memory for a film");
        }
        if (fate == FILM_SCORED) {
            n_scored++;
            MD_TRY(keep_film(s, films, i, scores, outputs, n_outputs, all, err));
        } else {
            last = reason;
            *(fate == FILM_UNREADABLE ? &e->n_unreadable
              : fate == FILM_REFUSED  ? &e->n_refused
                                      : &e->n_failed) += 1;
            if (options->on_problem != NULL) {
                options->on_problem(options->context, films->paths[i], &reason);
            }
        }
        if (options->on_progress != NULL) {
            options->on_progress(options->context, i + 1, films->n);
        }
    }
    if (n_scored == 0) {
        return md_fail(err, MD_PLUGIN, "no film could be scored; the last: %s", last.msg);
    }
    return MD_OK;
}

/* softmax or sigmoid, in place; rows without an answer stay NaN. */
static void make_probabilities(md_target activation, float *z, unsigned n)
{
    if (activation == MD_TARGET_SCORE || isnan(z[0])) {
        return;
    }
    double highest = (double)z[0], sum = 0;
    for (unsigned k = 1; k < n; k++) {
        highest = fmax(highest, (double)z[k]);
    }
    for (unsigned k = 0; k < n; k++) {
        sum += exp((double)z[k] - highest);
    }
    for (unsigned k = 0; k < n; k++) {
        z[k] = (float)(activation == MD_TARGET_SOFTMAX ? exp((double)z[k] - highest) / sum
                                                       : md_sigmoid((double)z[k]));
    }
}

/* The table of classes: truth, answer and its probability. */
typedef struct class_columns {
    uint32_t *truth, *said; /* owned, as all */
    double *confidence;
    const char *names[MD_ASSESS_MAX_CLASSES];
} class_columns;

static void class_columns_finish(class_columns *c)
{
    md_free(c->truth);
    md_free(c->said);
    md_free(c->confidence);
}

static md_status fill_classes(const md_evaluate_films *films, const film_scores *all,
                              const md_evaluation_of_model *e, class_columns *c, md_error *err)
{
    const unsigned n_classes = all->n_outputs;
    c->truth = md_calloc(films->n, sizeof *c->truth);
    c->said = md_calloc(films->n, sizeof *c->said);
    c->confidence = md_calloc(films->n, sizeof *c->confidence);
    if (c->truth == NULL || c->said == NULL || c->confidence == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", films->n);
    }
    for (unsigned k = 0; k < n_classes; k++) {
        c->names[k] = e->classes[k];
    }
    for (size_t i = 0; i < films->n; i++) {
        const float *p = all->outputs + i * n_classes;
        const float *labels = films->labels + i * films->n_labels;
        c->truth[i] = c->said[i] = UINT32_MAX;
        for (unsigned k = 0; k < n_classes && !isnan(p[0]); k++) {
            if (labels[k] >= 0.5F) {
                c->truth[i] = k;
            }
            if (c->said[i] == UINT32_MAX || p[k] > p[c->said[i]]) {
                c->said[i] = k;
            }
        }
        c->confidence[i] = c->said[i] != UINT32_MAX ? (double)p[c->said[i]] : 0;
    }
    return MD_OK;
}

/* Findings of a package as questions, and its classes when the data know them. */
static md_status assess_package(const film_scorer *s, const md_evaluate_films *films,
                                film_scores *all, md_assess_input *in,
                                md_evaluation_of_model *e, md_error *err)
{
    const md_manifest *m = s->manifest;
    md_assess_question questions[MD_RESULT_MAX_FINDINGS];
    MD_AUTO(class_columns_finish) class_columns classes = {0};
    for (unsigned f = 0; f < m->n_findings; f++) {
        for (size_t i = 0; i < films->n; i++) {
            all->truths[f * all->n + i] = truth_of(films, m, f, i);
        }
        questions[f] = (md_assess_question){.name = m->findings[f].spec.key,
                                            .scores = all->findings + f * all->n,
                                            .truths = all->truths + f * all->n,
                                            .threshold = m->findings[f].spec.threshold,
                                            .log_odds = all->log_odds + f * all->n};
    }
    in->questions = questions;
    in->n_questions = m->n_findings;
    if (films->by_class && s->activation == MD_TARGET_SOFTMAX && all->n_outputs > 0) {
        for (size_t i = 0; i < films->n; i++) {
            make_probabilities(s->activation, all->outputs + i * all->n_outputs,
                               all->n_outputs);
        }
        MD_TRY(fill_classes(films, all, e, &classes, err));
        in->classes = classes.names;
        in->n_classes = all->n_outputs;
        in->truth = classes.truth;
        in->said = classes.said;
        in->confidence = classes.confidence;
    }
    return md_assess(in, &e->assessment, err);
}

/* Log-odds of each class against the rest, from the logits, before they become probabilities.
 */
static md_status class_log_odds(const film_scorer *s, const film_scores *all, double *log_odds,
                                md_error *err)
{
    for (size_t i = 0; i < all->n; i++) {
        const float *z = all->outputs + i * all->n_outputs;
        for (unsigned k = 0; k < all->n_outputs; k++) {
            double *to = &log_odds[i * all->n_outputs + k];
            *to = (double)NAN;
            if (!isnan(z[0]) && (s->activation == MD_TARGET_SIGMOID || all->n_outputs > 1)) {
                MD_TRY(md_log_odds(s->activation, z, all->n_outputs, &k, 1, 1, to, err));
            }
        }
    }
    return MD_OK;
}

static md_status assess_network(const film_scorer *s, const md_evaluate_films *films,
                                film_scores *all, const md_assess_input *in,
                                md_evaluation_of_model *e, md_error *err)
{
    const char *names[MD_ASSESS_MAX_CLASSES];
    MD_AUTO(md_freep)
    double *log_odds = md_calloc(films->n * all->n_outputs + 1, sizeof *log_odds);
    if (log_odds == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", films->n);
    }
    MD_TRY(class_log_odds(s, all, log_odds, err));
    for (unsigned k = 0; k < all->n_outputs; k++) {
        names[k] = e->classes[k];
    }
    for (size_t i = 0; i < films->n; i++) {
        make_probabilities(s->activation, all->outputs + i * all->n_outputs, all->n_outputs);
    }
    const md_assess_classes_input classes = {.classes = names,
                                             .n_classes = all->n_outputs,
                                             .multi_label = s->activation == MD_TARGET_SIGMOID,
                                             .probabilities = all->outputs,
                                             .targets = films->labels,
                                             .log_odds = log_odds};
    return md_assess_classes(&classes, in, &e->assessment, err);
}

static md_status evaluate(const md_evaluate_options *options, md_evaluation_of_model *e,
                          md_error *err)
{
    MD_AUTO(film_scorer_finish) film_scorer scorer = {0};
    MD_AUTO(md_evaluate_films_finish) md_evaluate_films films = {0};
    MD_AUTO(film_scores_finish) film_scores all = {0};
    MD_AUTO(md_groups_finish) md_groups groups = {0};
    struct stat about;
    const size_t length = strlen(options->data);
    const bool is_table = length > 4 && strcmp(options->data + length - 4, ".csv") == 0;
    const bool is_package = stat(options->model, &about) == 0 && S_ISDIR(about.st_mode);
    if (is_table && !is_package) {
        return md_fail(err, MD_INVALID_ARG,
                       "an ONNX file needs --data with a recipe, which says how films are "
                       "prepared; a table goes with a package's folder");
    }
    if (is_package) {
        MD_TRY(open_package(options, &scorer, e, err));
    }
    if (is_table) {
        MD_TRY(md_evaluate_table_films(options, scorer.manifest, &films, e, err));
    } else {
        MD_TRY(md_evaluate_recipe_films(options, &films, e, err));
    }
    if (is_package && films.tokens != NULL) {
        return md_fail(
            err, MD_INVALID_ARG,
            "a recipe for texts measures an ONNX file: name the package's model.onnx");
    }
    if (!is_package) {
        MD_TRY(open_network(options, films.recipe, &scorer, e, err));
    }
    e->n_images = films.n;
    MD_TRY(film_scores_init(&all, films.n,
                            scorer.manifest != NULL ? scorer.manifest->n_findings : 0, err));
    MD_TRY(score_all(options, &scorer, &films, &all, e, err));
    const md_recipe *r = films.recipe;
    MD_TRY(md_groups_make(films.facts, films.n, r != NULL ? r->evaluation.age_bands : NULL,
                          r != NULL ? r->evaluation.n_age_bands : 0, &groups, err));
    md_assess_input in = {.n = films.n,
                          .patients = films.patients,
                          .columns = groups.columns,
                          .n_columns = groups.n_columns,
                          .n_bootstrap = options->n_bootstrap,
                          .seed = options->seed,
                          .n_threads = options->n_threads};
    return is_package ? assess_package(&scorer, &films, &all, &in, e, err)
                      : assess_network(&scorer, &films, &all, &in, e, err);
}

md_status md_evaluate_model(const md_evaluate_options *options,
                            md_evaluation_of_model *ret_evaluation, md_error *err)
{
    MD_AUTO(md_freep) md_evaluation_of_model *e = md_calloc(1, sizeof *e);
    if (e == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an evaluation");
    }
    const md_status status = evaluate(options, e, err);
    if (status != MD_OK) {
        md_evaluation_of_model_finish(e);
        return status;
    }
    *ret_evaluation = *e;
    return MD_OK;
}

void md_evaluation_of_model_finish(md_evaluation_of_model *evaluation)
{
    md_assessment_finish(&evaluation->assessment);
    memset(evaluation, 0, sizeof *evaluation);
}
