#include "plugins/host/package.h"

#include "base/clock.h"
#include "inference/gradcam.h"
#include "plugins/host/grant.h"
#include "plugins/host/package_kinds.h"
#include "plugins/host/score.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct package {
    md_analyzer base;
    md_manifest *manifest;
    md_network *network;
    md_preprocess_options preprocess;
    md_finding_spec specs[MD_RESULT_MAX_FINDINGS];
    unsigned output, features; /* indices of md_network_output; features: with saliency */
    unsigned embedding;        /* likewise, with base.embeds */
    md_tensor head;            /* [K,C], borrowed from the network; data NULL: no closed form */
    md_explainer *explainer;   /* with saliency that has no closed form */
    md_tensor *outputs;        /* n_outputs, filled by each run */
    unsigned n_outputs;
    md_test_time_scratch views;
    const float *scores; /* of the last run, before the activation; borrowed */
    size_t n_scores;
    md_precision precision; /* that the network computes in */
} package;

static void destroy(md_analyzer *analyzer)
{
    package *self = (package *)(void *)analyzer;
    md_network_destroy(self->network);
    md_explainer_destroy(self->explainer);
    md_test_time_scratch_finish(&self->views);
    md_free(self->manifest);
    md_free(self->outputs);
    md_free(self);
}

static void destroyp(package **self)
{
    if (*self != NULL) {
        destroy(&(*self)->base);
    }
}

/* What the manifest says of the network against what the network is. */
static md_status check_input(const package *self, md_error *err)
{
    const md_manifest *m = self->manifest;
    const md_network_port *port = md_network_input(self->network, 0);
    if (md_network_n_inputs(self->network) != 1 || strcmp(port->name, m->network.input) != 0) {
        return md_fail(err, MD_FORMAT, "%u inputs, the first '%.40s': expected one, '%.40s'",
                       md_network_n_inputs(self->network), port != NULL ? port->name : "",
                       m->network.input);
    }
    if (port->dtype != MD_F32 || port->n_dims != 4 || port->dims[0] != 1 ||
        port->dims[1] != (int64_t)m->preprocess.n_channels ||
        port->dims[2] != (int64_t)m->preprocess.height ||
        port->dims[3] != (int64_t)m->preprocess.width) {
        return md_fail(
            err, MD_FORMAT,
            "input '%.40s' does not take float [1,%u,%u,%u], as key 'preprocess' says",
            m->network.input, m->preprocess.n_channels, m->preprocess.height,
            m->preprocess.width);
    }
    return MD_OK;
}

static md_status find_output(const package *self, const char *name, unsigned *ret_index,
                             md_error *err)
{
    int index = md_network_find_output(self->network, name);
    if (index < 0) {
        return md_fail(err, MD_FORMAT, "it has no output '%.60s'", name);
    }
    if (md_network_output(self->network, (unsigned)index)->dtype != MD_F32) {
        return md_fail(err, MD_FORMAT, "output '%.60s' is not float", name);
    }
    *ret_index = (unsigned)index;
    return MD_OK;
}

/* The package's network, or that of a trial. */
static md_status read_network(int folder, const md_manifest *m,
                              const md_package_options *options, uint8_t **ret_bytes,
                              size_t *ret_size, md_error *err)
{
    if (options->trial == NULL || options->trial->onnx == NULL) {
        return md_package_read_listed(folder, m, m->network.file, MD_PACKAGE_MAX_NETWORK_BYTES,
                                      ret_bytes, ret_size, err);
    }
    uint8_t *copy = md_malloc(options->trial->onnx_bytes);
    if (copy == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a network of %zu bytes",
                       options->trial->onnx_bytes);
    }
    memcpy(copy, options->trial->onnx, options->trial->onnx_bytes);
    *ret_bytes = copy;
    *ret_size = options->trial->onnx_bytes;
    return MD_OK;
}

static bool uses_features(const md_manifest *m)
{
    return m->saliency.there && md_saliency_uses_features(m->saliency.method);
}

static md_status explain_options(const package *self, const md_package_options *options,
                                 md_saliency_options *ret_options, md_error *err)
{
    const md_manifest *m = self->manifest;
    *ret_options = (md_saliency_options){.method = m->saliency.method,
                                         .output = m->network.output,
                                         .features = m->saliency.features,
                                         .backend = options->backend,
                                         .n_threads = options->n_threads,
                                         .steps = m->saliency.steps,
                                         .samples = m->saliency.samples,
                                         .noise = m->saliency.noise,
                                         .seed = m->saliency.seed,
                                         .cell = m->saliency.cell};
    for (unsigned c = 0; c < m->preprocess.n_channels && m->saliency.baseline == 0; c++) {
        ret_options->baseline[c] = -m->preprocess.mean[c] / m->preprocess.std[c];
    }
    if (!uses_features(m)) {
        return MD_OK;
    }
    const md_network_port *port = md_network_output(self->network, self->features);
    for (unsigned i = 0; i < 4 && port->n_dims == 4; i++) {
        ret_options->feature_dims[i] = port->dims[i];
    }
    return port->n_dims == 4 && port->dims[0] == 1 && port->dims[1] > 0
               ? MD_OK
               : md_fail(err, MD_FORMAT, "the tensor '%.60s' is not of the shape [1,C,h,w]",
                         m->saliency.features);
}

/* A method that this network does not allow is refused now, not when a patient's image comes.
 */
static md_status load_explainer(package *self, int folder, const md_package_options *options,
                                md_error *err)
{
    const md_manifest *m = self->manifest;
    md_saliency_options explain;
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    if (!m->saliency.there || (options->trial != NULL && !options->trial->maps)) {
        return MD_OK;
    }
    if (uses_features(m) &&
        md_network_linear_head(self->network, m->saliency.features, m->network.output,
                               &self->head, NULL) == MD_OK) {
        return MD_OK;
    }
    self->head = (md_tensor){0};
    md_status status = explain_options(self, options, &explain, err);
    if (status == MD_OK) {
        status = read_network(folder, m, options, &bytes, &size_bytes, err);
    }
    if (status == MD_OK) {
        status = md_explainer_create(bytes, size_bytes, &explain, &self->explainer, err);
    }
    return status == MD_OK
               ? MD_OK
               : md_error_prefix(err, status, "%s: saliency.method %s", m->network.file,
                                 md_saliency_method_name(m->saliency.method));
}

/* What the last layer reads, when the network has it in a form that can be kept. */
static void find_embedding(package *self)
{
    const int index = md_network_head_input(self->network);
    const md_network_port *port =
        index < 0 ? NULL : md_network_output(self->network, (unsigned)index);
    self->base.embeds = (md_embeds){0};
    self->embedding = 0;
    if (port != NULL && port->dtype == MD_F32 && port->n_dims == 2 && port->dims[0] == 1 &&
        port->dims[1] >= 1 && port->dims[1] <= MD_EMBEDDING_MAX) {
        self->base.embeds = (md_embeds){MD_EMBEDS_IMAGE, (uint32_t)port->dims[1]};
        self->embedding = (unsigned)index;
    }
}

static md_status load_network(package *self, int folder, const md_package_options *options,
                              const md_package_trial *numbers, md_error *err)
{
    const md_manifest *m = self->manifest;
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    MD_TRY(read_network(folder, m, options, &bytes, &size_bytes, err));
    md_network_options network_options = {
        .backend = options->backend, .n_threads = options->n_threads, .batch = 1};
    network_options.precision = self->precision = numbers->precision;
    network_options.ranges = numbers->ranges;
    network_options.n_ranges = numbers->n_ranges;
    network_options.observe = numbers->observe;
    /* the output may be an inner tensor, when the graph goes on to a softmax of its own */
    network_options.extra_outputs[network_options.n_extra_outputs++] = m->network.output;
    if (uses_features(m)) {
        network_options.extra_outputs[network_options.n_extra_outputs++] = m->saliency.features;
    }
    /* what a gate sees says nothing of the case: it leaves no embedding */
    network_options.head_of =
        options->embeds && m->role != MD_ROLE_GATE ? m->network.output : NULL;
    md_status status =
        md_network_load_taking(&bytes, size_bytes, &network_options, &self->network, err);
    if (status == MD_OK) {
        status = check_input(self, err);
    }
    if (status == MD_OK) {
        status = find_output(self, m->network.output, &self->output, err);
    }
    if (status == MD_OK && uses_features(m)) {
        status = find_output(self, m->saliency.features, &self->features, err);
    }
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%s", m->network.file);
    }
    find_embedding(self);
    self->n_outputs = md_network_n_outputs(self->network);
    self->outputs = md_calloc(self->n_outputs, sizeof *self->outputs);
    if (self->outputs == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u outputs", self->n_outputs);
    }
    return MD_OK;
}

/* Run on all views and hand out the scores, [1,K] or [K], valid until the next run. The other
 * outputs are those of the picture itself. */
static md_status run_network(package *self, const md_tensor *input, const float **ret_logits,
                             size_t *ret_n, md_error *err)
{
    MD_TRY(md_test_time_run(&self->manifest->test_time, self->network, input, self->output,
                            self->outputs, self->n_outputs, &self->views, &self->scores,
                            &self->n_scores, err));
    const md_tensor *output = &self->outputs[self->output];
    size_t last = output->n_dims > 0 ? (size_t)output->dims[output->n_dims - 1] : 0;
    if (output->n_dims < 1 || output->n_dims > 2 || last != output->n_elements || last == 0) {
        return md_fail(err, MD_FORMAT, "output '%.60s' is not of the shape [1,K]",
                       self->manifest->network.output);
    }
    *ret_logits = self->scores;
    *ret_n = self->n_scores;
    return MD_OK;
}

/* In a lower precision it is the scores that have to agree. */
static md_status compare_scores(const package *self, const float *logits, size_t n,
                                const uint8_t *expected, md_error *err)
{
    const double limit = md_grant_limit(self->precision);
    MD_AUTO(md_freep) float *exact = md_malloc(n * sizeof *exact);
    if (exact == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu outputs", n);
    }
    for (size_t i = 0; i < n; i++) {
        exact[i] = md_package_float_at(expected, i);
    }
    for (unsigned i = 0; i < self->manifest->n_findings; i++) {
        double a = 0, b = 0;
        MD_TRY(md_score(self->manifest, &self->manifest->findings[i], exact, n, &a, err));
        MD_TRY(md_score(self->manifest, &self->manifest->findings[i], logits, n, &b, err));
        if (!(fabs(a - b) <= limit)) {
            return md_fail(
                err, MD_PLUGIN,
                "self-test failed: in %s the score of finding %u differs by %.4f, at "
                "most %g is allowed",
                md_precision_name(self->precision), i, fabs(a - b), limit);
        }
    }
    return MD_OK;
}

/* What explains has to compute what serves: on the self-test's input the scores agree, of
 * pixels with the expected ones, over all views, of features with those of the same run. */
static md_status explained_logits(package *self, const md_tensor *input, size_t n,
                                  double *ret_sums, bool *ret_same, md_error *err)
{
    const md_manifest *m = self->manifest;
    const bool features = uses_features(m);
    const unsigned n_views = features ? 1 : md_test_time_n_views(&m->test_time);
    MD_AUTO(md_tensor_finish) md_tensor view = {0};
    MD_TRY(md_tensor_init(&view, MD_F32, input->n_dims, input->dims, err));
    *ret_same = true;
    for (unsigned i = 0; i < n_views; i++) {
        const float *own = NULL;
        size_t n_own = 0;
        md_test_time_view(&m->test_time, i, input->data, (uint32_t)input->dims[1],
                          (uint32_t)input->dims[3], (uint32_t)input->dims[2], view.data);
        MD_TRY(md_explainer_logits(self->explainer,
                                   features ? &self->outputs[self->features] : &view, &own,
                                   &n_own, err));
        *ret_same = *ret_same && n_own == n;
        for (size_t k = 0; k < n && n_own == n; k++) {
            ret_sums[k] += (double)own[k] / n_views;
        }
    }
    return MD_OK;
}

static md_status check_explainer(package *self, const md_tensor *input, const uint8_t *expected,
                                 size_t n, md_error *err)
{
    const md_manifest *m = self->manifest;
    const float *serving = self->outputs[self->output].data;
    bool same = false;
    if (self->explainer == NULL) {
        return MD_OK;
    }
    MD_AUTO(md_freep) float *other = md_calloc(2 * n, sizeof *other);
    MD_AUTO(md_freep) double *sums = md_calloc(n, sizeof *sums);
    if (other == NULL || sums == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu outputs", n);
    }
    float *own = other + n;
    MD_TRY(explained_logits(self, input, n, sums, &same, err));
    for (size_t i = 0; i < n; i++) {
        other[i] = uses_features(m) ? serving[i] : md_package_float_at(expected, i);
        own[i] = (float)sums[i];
    }
    for (unsigned i = 0; i < m->n_findings && same; i++) {
        double a = 0, b = 0;
        MD_TRY(md_score(m, &m->findings[i], other, n, &a, err));
        MD_TRY(md_score(m, &m->findings[i], own, n, &b, err));
        same = fabs(a - b) <= md_grant_limit(MD_PRECISION_BF16);
    }
    return same ? MD_OK
                : md_fail(err, MD_PLUGIN,
                          "self-test failed: what explains (saliency.method %s) does not "
                          "compute what serves",
                          md_saliency_method_name(m->saliency.method));
}

/* The golden self-test: a known input must give the known output before a patient's image may
 * come. */
static md_status self_test(package *self, int folder, md_error *err)
{
    const md_manifest *m = self->manifest;
    const int64_t dims[] = {1, m->preprocess.n_channels, m->preprocess.height,
                            m->preprocess.width};
    MD_AUTO(md_tensor_finish) md_tensor input = {0};
    MD_TRY(md_tensor_init(&input, MD_F32, 4, dims, err));
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    MD_TRY(md_package_read_listed(folder, m, m->self_test.input, MD_PACKAGE_MAX_NETWORK_BYTES,
                                  &bytes, &size_bytes, err));
    if (size_bytes != 4 * input.n_elements) {
        return md_fail(err, MD_FORMAT, "%s: %zu bytes, expected %zu float32 numbers",
                       m->self_test.input, size_bytes, input.n_elements);
    }
    float *values = input.data;
    for (size_t i = 0; i < input.n_elements; i++) {
        values[i] = md_package_float_at(bytes, i);
    }
    MD_AUTO(md_freep) uint8_t *expected = NULL;
    size_t expected_bytes = 0;
    MD_TRY(md_package_read_listed(folder, m, m->self_test.expected, MD_PACKAGE_MAX_FILE_BYTES,
                                  &expected, &expected_bytes, err));
    const float *logits = NULL;
    size_t n = 0;
    MD_TRY(run_network(self, &input, &logits, &n, err));
    if (expected_bytes != 4 * n) {
        return md_fail(err, MD_FORMAT, "%s: %zu bytes, the output has %zu float32 numbers",
                       m->self_test.expected, expected_bytes, n);
    }
    MD_TRY(md_package_check_classes(m, n, err));
    MD_TRY(check_explainer(self, &input, expected, n, err));
    if (self->precision != MD_PRECISION_F32) {
        return compare_scores(self, logits, n, expected, err);
    }
    return md_package_compare(m, logits, n, expected, &self->base.card, err);
}

/* For people, with every setting that decides the map. */
static void describe_method(const md_manifest *m, char ret_text[MD_MAP_METHOD_BYTES])
{
    switch (m->saliency.method) {
    case MD_SALIENCY_GRAD_CAM:
        snprintf(ret_text, MD_MAP_METHOD_BYTES, "Grad-CAM of %.40s", m->saliency.features);
        return;
    case MD_SALIENCY_GRAD_CAM_PLUS_PLUS:
        snprintf(ret_text, MD_MAP_METHOD_BYTES, "Grad-CAM++ of %.40s", m->saliency.features);
        return;
    case MD_SALIENCY_INTEGRATED_GRADIENTS:
        snprintf(ret_text, MD_MAP_METHOD_BYTES,
                 "integrated gradients, %u steps from %s, cells of %u", m->saliency.steps,
                 m->saliency.baseline == 0 ? "black" : "mean", m->saliency.cell);
        return;
    case MD_SALIENCY_SMOOTH_GRAD:
        snprintf(ret_text, MD_MAP_METHOD_BYTES,
                 "SmoothGrad, %u samples, noise %g, seed %llu, cells of %u",
                 m->saliency.samples, m->saliency.noise, (unsigned long long)m->saliency.seed,
                 m->saliency.cell);
        return;
    }
}

/* Where the evidence for one finding is, after a run on `input`. */
static md_status make_map(const package *self, const md_tensor *input,
                          const md_manifest_finding *f, md_saliency *map, md_error *err)
{
    const md_manifest *m = self->manifest;
    const md_tensor *from = uses_features(m) ? &self->outputs[self->features] : input;
    const md_cam_rule rule = m->saliency.method == MD_SALIENCY_GRAD_CAM_PLUS_PLUS
                                 ? MD_CAM_GRAD_PLUS_PLUS
                                 : MD_CAM_GRAD;
    map->kind = uses_features(m) ? MD_MAP_GRADIENT_ACTIVATION : MD_MAP_SALIENCY;
    describe_method(m, map->method);
    if (self->explainer != NULL) {
        return md_explainer_map(self->explainer, from, m->network.activation, f->classes,
                                f->n_classes, &map->values, &map->rows, &map->columns, err);
    }
    return md_gradcam(rule, from, &self->head, self->outputs[self->output].data,
                      m->network.activation, f->classes, f->n_classes, &map->values, &map->rows,
                      &map->columns, err);
}

static md_status add_saliency(const package *self, const md_tensor *input,
                              const md_manifest_finding *f, const md_placement *placement,
                              md_finding *finding, md_error *err)
{
    MD_TRY(make_map(self, input, f, &finding->saliency, err));
    finding->saliency.x = placement->x;
    finding->saliency.y = placement->y;
    finding->saliency.width = placement->width;
    finding->saliency.height = placement->height;
    return MD_OK;
}

/* Findings with their maps. */
static md_status judge(package *self, const md_tensor *tensor, const float *logits, size_t n,
                       bool want_saliency, const md_placement *placement, md_finding *findings,
                       md_error *err)
{
    const md_manifest *m = self->manifest;
    const int64_t start_us = md_clock_monotonic_us();
    for (unsigned i = 0; i < m->n_findings; i++) {
        const md_manifest_finding *f = &m->findings[i];
        double score = 0;
        MD_TRY(md_score(m, f, logits, n, &score, err));
        MD_TRY(md_finding_judge(&self->specs[i], score, &findings[i], err));
        if (m->saliency.there && want_saliency) {
            MD_TRY(add_saliency(self, tensor, f, placement, &findings[i], err));
        }
    }
    self->base.spent.saliency_us += md_clock_monotonic_us() - start_us;
    return MD_OK;
}

static md_status ask_network(package *self, const md_tensor *tensor, bool want_saliency,
                             const md_placement *placement, md_finding *findings, md_error *err)
{
    const float *logits = NULL;
    size_t n = 0;
    MD_TRY(run_network(self, tensor, &logits, &n, err));
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(logits[i])) {
            return md_fail(err, MD_PLUGIN, "the network's output %zu is not a number", i);
        }
    }
    return judge(self, tensor, logits, n, want_saliency, placement, findings, err);
}

static md_status analyse_image(md_analyzer *analyzer, const md_image_input *input,
                               md_finding *findings, md_steps *steps, md_error *err)
{
    package *self = (package *)(void *)analyzer;
    MD_AUTO(md_tensor_finish) md_tensor tensor = {0};
    md_placement placement;
    const int64_t start_us = md_clock_monotonic_us();
    MD_TRY(md_preprocess(input->values, &self->preprocess, &tensor, &placement, steps, err));
    self->base.spent.resize_us += md_clock_monotonic_us() - start_us;
    md_error inner = {0};
    md_status status =
        ask_network(self, &tensor, input->want_saliency, &placement, findings, &inner);
    if (status != MD_OK) { /* from here on it is the model's fault, not the image's */
        return md_fail(err, status == MD_NOMEM ? MD_NOMEM : MD_PLUGIN, "%s", inner.msg);
    }
    return MD_OK;
}

static const float *embedding(const md_analyzer *analyzer)
{
    const package *self = (const package *)(const void *)analyzer;
    const md_tensor *tensor = &self->outputs[self->embedding];
    return self->base.embeds.n > 0 && tensor->n_elements == self->base.embeds.n ? tensor->data
                                                                                : NULL;
}

const char *md_package_embedding_name(const md_analyzer *analyzer)
{
    const package *self = (const package *)(const void *)analyzer;
    return self->base.embeds.n > 0 ? md_network_output(self->network, self->embedding)->name
                                   : NULL;
}

static const md_analyzer_ops ops = {
    .analyse_image = analyse_image, .embedding = embedding, .destroy = destroy};

/* What the host sees of the manifest. */
static void describe(package *self)
{
    static const char *const activations[] = {"softmax", "sigmoid", "none"};
    const md_manifest *m = self->manifest;
    md_package_describe(m, m->network.file, &self->base);
    char calibration[MD_PACKAGE_CALIBRATION_BYTES];
    md_package_calibration(m, calibration);
    char views[MD_TEST_TIME_TEXT_BYTES];
    md_test_time_describe(&m->test_time, views);
    snprintf(self->base.identity.parameters, sizeof self->base.identity.parameters,
             "activation=%s%s calibration=%s precision=%s backend=%s",
             activations[m->network.activation], views, calibration,
             md_precision_name(self->precision), md_network_backend_name(self->network));
    md_accept_describe(&m->accept, self->base.card.accepts, sizeof self->base.card.accepts);
}

static void prepare(package *self)
{
    const md_manifest *m = self->manifest;
    md_preprocess_spec_options(&m->preprocess, &self->preprocess);
    for (unsigned i = 0; i < m->n_findings; i++) {
        self->specs[i] = m->findings[i].spec;
    }
    self->base.specs = self->specs;
    self->base.n_findings = m->n_findings;
    self->base.required = m->required;
    self->base.after = m->after;
    self->base.is_gate = m->role == MD_ROLE_GATE;
    md_image_needs *needs = &self->base.needs.image;
    *needs =
        (md_image_needs){.accept = m->accept, .gate = m->gate, .values = m->preprocess.values};
    md_preprocess_spec_least(&m->preprocess, m->gate.min_columns, m->gate.min_rows,
                             &needs->least);
}

static md_status load_and_test(package *self, int folder, const md_package_options *options,
                               const md_package_trial *numbers, md_error *err)
{
    MD_TRY(load_network(self, folder, options, numbers, err));
    MD_TRY(load_explainer(self, folder, options, err));
    if (numbers->onnx != NULL) {
        return MD_OK;
    }
    return self_test(self, folder, err);
}

/* The precision that the manifest asks for, when this processor has it, a grant for it is there
 * and the self-test agrees. */
static md_status load_lower(package *self, int folder, const md_package_options *options,
                            md_precision wanted, md_error *err)
{
    MD_AUTO(md_grant_finish) md_grant grant = {0};
    if (options->backend == MD_BACKEND_OPENBLAS) {
        return md_fail(err, MD_UNSUPPORTED, "the OpenBLAS back end has float32 alone");
    }
    MD_TRY(md_precision_check(wanted, err));
    MD_TRY(md_grant_read(folder,
                         md_manifest_sha256(self->manifest, self->manifest->network.file),
                         wanted, &grant, err));
    const md_package_trial numbers = {
        .precision = wanted, .ranges = grant.ranges, .n_ranges = grant.n_ranges};
    return load_and_test(self, folder, options, &numbers, err);
}

/* Otherwise float32. */
static md_status load_granted(package *self, int folder, const char *name,
                              const md_package_options *options, md_error *err)
{
    static const md_package_trial float32 = {.precision = MD_PRECISION_F32};
    const md_precision wanted = md_package_wanted(&self->base);
    if (options->trial != NULL || wanted == MD_PRECISION_F32) {
        return load_and_test(self, folder, options,
                             options->trial != NULL ? options->trial : &float32, err);
    }
    md_error reason = {0};
    md_status status = load_lower(self, folder, options, wanted, &reason);
    if (status == MD_OK || status == MD_NOMEM) {
        return status == MD_OK ? MD_OK : md_fail(err, MD_NOMEM, "%s", reason.msg);
    }
    md_network_destroy(self->network);
    md_explainer_destroy(self->explainer);
    md_free(self->outputs);
    self->network = NULL;
    self->explainer = NULL;
    self->outputs = NULL;
    if (options->on_float32 != NULL) {
        options->on_float32(options->context, name, &reason);
    }
    return load_and_test(self, folder, options, &float32, err);
}

static md_status open_package(package *self, int folder, const char *name,
                              const md_package_options *options, md_error *err)
{
    const md_manifest *m = self->manifest;
    const char *const used[] = {m->network.file, m->self_test.input, m->self_test.expected};
    prepare(self);
    md_status status =
        md_package_check_others(folder, m, used, sizeof used / sizeof *used, err);
    if (status == MD_OK) {
        status = load_granted(self, folder, name, options, err);
    }
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%s", name);
    }
    describe(self);
    return MD_OK;
}

md_precision md_package_wanted(const md_analyzer *analyzer)
{
    const char *text = ((const package *)(const void *)analyzer)->manifest->network.precision;
    md_precision wanted = MD_PRECISION_F32;
    for (int i = MD_PRECISION_F32; i <= MD_PRECISION_INT8; i++) {
        wanted =
            strcmp(text, md_precision_name((md_precision)i)) == 0 ? (md_precision)i : wanted;
    }
    return wanted;
}

md_status md_package_scores(md_analyzer *analyzer, const md_tensor *input, double *ret_scores,
                            md_error *err)
{
    package *self = (package *)(void *)analyzer;
    const float *logits = NULL;
    size_t n = 0;
    MD_TRY(run_network(self, input, &logits, &n, err));
    for (unsigned i = 0; i < self->manifest->n_findings; i++) {
        MD_TRY(md_score(self->manifest, &self->manifest->findings[i], logits, n, &ret_scores[i],
                        err));
    }
    return MD_OK;
}

md_network *md_package_network(md_analyzer *analyzer)
{
    return ((package *)(void *)analyzer)->network;
}

const float *md_package_outputs(const md_analyzer *analyzer, size_t *ret_n)
{
    const package *self = (const package *)(const void *)analyzer;
    *ret_n = self->n_scores;
    return self->scores;
}

const md_manifest *md_package_manifest(const md_analyzer *analyzer)
{
    return ((const package *)(const void *)analyzer)->manifest;
}

static md_status open_image(int folder, const char *name, const md_package_options *options,
                            md_manifest **manifest, md_analyzer **ret_analyzer, md_error *err)
{
    MD_AUTO(destroyp) package *self = md_calloc(1, sizeof *self);
    if (self == NULL) {
        return md_fail(err, MD_NOMEM, "%s: no memory", name);
    }
    self->base.ops = &ops;
    self->base.kind = MD_ANALYZER_IMAGE;
    self->manifest = *manifest;
    *manifest = NULL;
    MD_TRY(open_package(self, folder, name, options, err));
    *ret_analyzer = &MD_STEAL(self)->base;
    return MD_OK;
}

md_status md_package_open(const char *path, const char *name, const md_package_options *options,
                          md_analyzer **ret_analyzer, md_error *err)
{
    MD_AUTO(md_package_closep) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return md_fail_os(err, errno, "%s", name);
    }
    MD_AUTO(md_freep) md_manifest *manifest = md_calloc(1, sizeof *manifest);
    if (manifest == NULL) {
        return md_fail(err, MD_NOMEM, "%s: no memory", name);
    }
    MD_TRY(md_package_read_manifest(folder, name, manifest, err));
    if (options->only_id != NULL && strcmp(options->only_id, manifest->id) != 0) {
        return md_fail(err, MD_CANCELLED, "another model was asked for");
    }
    if (manifest->kind != MD_ANALYZER_IMAGE && !options->any_kind) {
        return md_fail(err, MD_UNSUPPORTED, "%s: a package of kind %s, expected image", name,
                       md_analyzer_kind_name(manifest->kind));
    }
    switch (manifest->kind) {
    case MD_ANALYZER_TEXT:
        return md_package_open_text(folder, name, options, &manifest, ret_analyzer, err);
    case MD_ANALYZER_RISK:
        return md_package_open_risk(folder, name, &manifest, ret_analyzer, err);
    case MD_ANALYZER_IMAGE:
    default:
        return open_image(folder, name, options, &manifest, ret_analyzer, err);
    }
}
