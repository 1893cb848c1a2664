/* A few-shot finding as a model package: the network up to its last layer, a Gemm with the
 * machine's normal, and what the source package says of images. */

#include "base/file.h"
#include "inference/graph/cut.h"
#include "plugins/host/package.h"
#include "plugins/train/head_internal.h"
#include "plugins/train/package_internal.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_CHECKED = 8 /* films */
};

/* The machine's decision as weights of the numbers as they come, w . x + c. */
static md_status linear_of(const md_svm *svm, float **ret_weights, float *ret_bias,
                           md_error *err)
{
    float *weights = md_calloc(svm->n_columns, sizeof *weights);
    if (weights == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a head of %u numbers", svm->n_columns);
    }
    double bias = -svm->rho;
    for (unsigned j = 0; j < svm->n_columns; j++) {
        const double w = svm->weights[0] * svm->vectors[j] * svm->scales[j];
        weights[j] = (float)w;
        bias -= w * svm->means[j];
    }
    *ret_weights = weights;
    *ret_bias = (float)bias;
    return MD_OK;
}

/* The network of the package, cut before its last layer, with the new one. */
static md_status make_network(const md_head_options *options, md_analyzer *analyzer,
                              const md_svm *svm, md_exporting *x, md_error *err)
{
    const md_manifest *source = md_package_manifest(analyzer);
    const char *features = md_package_embedding_name(analyzer);
    MD_AUTO(md_freep) uint8_t *whole = NULL, *part = NULL;
    MD_AUTO(md_freep) float *weights = NULL;
    size_t n_whole = 0, n_part = 0;
    float bias = 0.0F;
    char path[PATH_MAX], logits[MD_ONNX_NAME_BYTES];
    const int length =
        snprintf(path, sizeof path, "%s/%s", options->package, source->network.file);
    if (length < 0 || (size_t)length >= sizeof path) {
        return md_fail(err, MD_LIMIT, "the folder's name is too long");
    }
    MD_TRY(md_file_read(path, MD_PACKAGE_MAX_NETWORK_BYTES, &whole, &n_whole, err));
    MD_TRY(linear_of(svm, &weights, &bias, err));
    md_status status =
        md_onnx_cut(whole, n_whole, NULL, 0, NULL, features, &part, &n_part, err);
    if (status == MD_OK) {
        status = md_onnx_add_linear(part, n_part, features, weights, svm->n_columns, bias,
                                    logits, &x->onnx, &x->onnx_bytes, err);
    }
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%s", path);
    }
    (void)snprintf(x->manifest->network.output, sizeof x->manifest->network.output, "%s",
                   logits);
    x->n_outputs = 1;
    return md_export_load(x, x->options->backend, logits, &x->network, err);
}

static void note(md_manifest *m, const char *key, const char *text)
{
    (void)snprintf(m->training[m->n_training].key, sizeof m->training[0].key, "%s", key);
    (void)snprintf(m->training[m->n_training].text, sizeof m->training[0].text, "%s", text);
    m->n_training++;
}

static void note_all(const md_head_options *options, const md_manifest *source,
                     const md_head_report *report, md_manifest *m)
{
    char text[MD_MANIFEST_NOTE_BYTES];
    m->n_training = 0;
    note(m, "data", options->about != NULL ? options->about : "films of the site that made it");
    (void)snprintf(text, sizeof text, "%zu films of %zu patients, %zu with the finding",
                   report->n_films, report->n_patients, report->n_positive);
    note(m, "population", text);
    (void)snprintf(
        text, sizeof text,
        "linear support vector machine (C %g, chosen by cross-validation by patient) on "
        "the %u numbers before the last layer of %s %s, SHA-256 %.64s",
        report->c, report->n_values, source->id, source->version,
        md_manifest_sha256(source, source->network.file));
    note(m, "method", text);
    (void)snprintf(text, sizeof text, "%s",
                   report->n_held > 0
                       ? "figures on films held back, of other patients"
                       : "figures by cross-validation by patient: every film scored by a "
                         "machine that knows no film of its patient");
    note(m, "split", text);
    if (report->threshold_on_same) {
        note(m, "threshold",
             "chosen on the same scores that the figures are of: on other films expect "
             "somewhat less");
    }
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)options->seed);
    note(m, "seed", text);
}

/* What the source says of images stays; what it says of findings does not. */
static void fill_manifest(const md_head_options *options, const md_manifest *source,
                          const md_svm *svm, double threshold, const md_head_report *report,
                          md_manifest *m)
{
    *m = *source;
    (void)snprintf(m->id, sizeof m->id, "%.64s",
                   options->id != NULL ? options->id : options->finding);
    (void)snprintf(m->version, sizeof m->version, "%s",
                   options->version != NULL ? options->version : "0.1.0");
    (void)snprintf(m->name, sizeof m->name, "%.64s",
                   options->name != NULL ? options->name : options->concept.meaning);
    (void)snprintf(m->manufacturer, sizeof m->manufacturer, "%s",
                   options->manufacturer != NULL ? options->manufacturer : "this site");
    (void)snprintf(m->network.file, sizeof m->network.file, "model.onnx");
    (void)snprintf(m->network.precision, sizeof m->network.precision, "f32");
    (void)snprintf(m->self_test.input, sizeof m->self_test.input, "selftest-input.f32");
    (void)snprintf(m->self_test.expected, sizeof m->self_test.expected, "selftest-output.f32");
    m->network.activation = MD_TARGET_SIGMOID;
    m->test_time = (md_test_time){0}; /* the machine learnt from the films as they are */
    m->calibration.method = MD_CALIBRATION_PLATT;
    m->calibration.temperature = 1.0;
    m->calibration.a = svm->a;
    m->calibration.b = svm->b;
    memset(m->findings, 0, sizeof m->findings);
    md_manifest_finding *f = &m->findings[0];
    (void)snprintf(f->spec.key, sizeof f->spec.key, "%s", options->finding);
    f->spec.concept = options->concept;
    f->spec.site = options->site;
    f->spec.threshold = threshold;
    f->spec.urgent = options->urgent;
    f->n_classes = 1;
    m->n_findings = 1;
    m->n_files = 0;
    m->performance = (__typeof__(m->performance)){0};
    md_export_state(m, report->n_held > 0 ? "validation" : "cross-validation",
                    &report->assessment.answers[0]);
    note_all(options, source, report, m);
    (void)snprintf(
        m->intended_use, sizeof m->intended_use,
        "Research use only; not a medical device. A finding learnt from %zu films of "
        "%zu patients on top of another model's network: for a site's own trial of an "
        "idea, with films like those it was learnt from. Not for triage or reading "
        "before it was measured on many more films. A score below the threshold does "
        "not rule the finding out.",
        report->n_films, report->n_patients);
}

static void write_card(const md_manifest *m, const md_manifest *source,
                       const md_head_report *report, FILE *out)
{
    const md_measures *measures = &report->assessment.answers[0].measures;
    fprintf(
        out,
        "# %s %s\n\n%s\n\nMade by %s with `medaid-train head`: the network of %s %s up to its "
        "last layer, and a new last layer.\n`model.yaml` is what serves; this card is for "
        "people.\n\n## Finding\n\n**%s** (%s, %s, %s), present from %g. Calibration: Platt, "
        "a = %g, b = %g.\n\n## Measured\n\n",
        m->name, m->version, m->intended_use, m->manufacturer, source->name, source->version,
        m->findings[0].spec.key, m->findings[0].spec.concept.value,
        m->findings[0].spec.concept.scheme, m->findings[0].spec.concept.meaning,
        m->findings[0].spec.threshold, m->calibration.a, m->calibration.b);
    fprintf(out,
            "On %zu films of %zu patients (%zu with, %zu without), %s, with 95%% intervals.\n\n"
            "| | |\n|---|---|\n",
            measures->n, measures->n_patients, measures->n_positive, measures->n_negative,
            m->training[3].text);
    for (unsigned k = 0; k < MD_N_MEASURES; k++) {
        fprintf(out, "| %s |", md_measure_name((md_measure_kind)k));
        md_export_write_estimate(&measures->of[k], out);
        fputs("\n", out);
    }
    if (report->threshold_on_same) {
        fputs("\nThe threshold was chosen on these same scores: on other films expect somewhat "
              "less of what depends on it.\n",
              out);
    }
    fprintf(
        out,
        "\n## Limits\n\nFew films: wide intervals, and nothing is known of films unlike them. "
        "What the network of %s was trained for\nand on shows through: where those films had "
        "labels of this kind, the figures flatter the method. Its limits\nare those of its "
        "own card too.\n\n## Training\n\n",
        source->id);
    for (unsigned i = 0; i < m->n_training; i++) {
        fprintf(out, "- %s: %s\n", m->training[i].key, m->training[i].text);
    }
    fputs("\n## Self-test\n\n`selftest-input.f32` is a drawn pattern and holds no patient's "
          "pixels.\n",
          out);
}

static md_status make_card(const md_manifest *m, const md_manifest *source,
                           const md_head_report *report, char **ret_text, md_error *err)
{
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (out == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the model card");
    }
    write_card(m, source, report, out);
    if (fclose(out) != 0) {
        free(text);
        return md_fail(err, MD_NOMEM, "no memory for the model card");
    }
    *ret_text = text;
    return MD_OK;
}

/* The package as it will serve gives what the machine gives. */
static md_status check_scores(const md_head_options *options, const md_exporting *x,
                              const md_svm *svm, const md_head_rows *rows, md_error *err)
{
    const md_package_options package = {.backend = x->options->backend,
                                        .n_threads = options->n_threads};
    MD_AUTO(md_analyzer_destroyp) md_analyzer *analyzer = NULL;
    MD_TRY(md_package_open(options->out, options->out, &package, &analyzer, err));
    const md_image_needs *needs = &analyzer->needs.image;
    for (size_t i = 0; i < rows->n && i < N_CHECKED; i++) {
        MD_AUTO(md_raster_finish) md_raster raster = {0};
        md_finding finding = {0};
        md_steps steps = {0};
        md_accept_facts facts = {.age_years = -1};
        MD_TRY(md_picture_read(rows->paths[i], &x->manifest->preprocess, &needs->least, &raster,
                               err));
        const md_image_input input = {
            .values = &raster, .facts = &facts, .frame = 1, .n_frames = 1};
        MD_TRY(analyzer->ops->analyse_image(analyzer, &input, &finding, &steps, err));
        const double wanted =
            md_svm_probability(svm, md_svm_decide(svm, rows->x + i * rows->n_columns));
        if (!(fabs(finding.score - wanted) < 1e-3)) {
            return md_fail(err, MD_PLUGIN,
                           "the package gives %.6f for a film of which %.6f was fitted",
                           finding.score, wanted);
        }
    }
    return MD_OK;
}

/* Whatever is wrong with a package that is there already: it goes again. */
static void remove_package(const char *folder)
{
    static const char *const names[] = {"model.onnx", "model.yaml", "README.md",
                                        "selftest-input.f32", "selftest-output.f32"};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const int length = snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (length > 0 && (size_t)length < sizeof path) {
            (void)remove(path);
        }
    }
    (void)remove(folder);
}

md_status md_head_export(const md_head_options *options, md_analyzer *analyzer,
                         const md_svm *svm, const md_head_rows *rows, double threshold,
                         const md_head_report *report, md_error *err)
{
    const md_manifest *source = md_package_manifest(analyzer);
    md_export_options export = {.out = options->out, .n_threads = options->n_threads};
    MD_AUTO(md_freep) md_exporting *x = md_calloc(1, sizeof *x);
    MD_AUTO(md_freep) md_manifest *manifest = md_calloc(1, sizeof *manifest);
    char *card = NULL;
    if (x == NULL || manifest == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to export");
    }
    MD_TRY(md_backend_named(options->backend, &export.backend, err));
    x->options = &export;
    x->manifest = manifest;
    fill_manifest(options, source, svm, threshold, report, manifest);
    md_status status = make_network(options, analyzer, svm, x, err);
    if (status == MD_OK) {
        status = make_card(manifest, source, report, &card, err);
    }
    if (status == MD_OK) {
        x->card = card;
        status = md_export_folder(x, "", err);
    }
    if (status == MD_OK) {
        status = check_scores(options, x, svm, rows, err);
        if (status != MD_OK) {
            remove_package(options->out);
        }
    }
    free(card);
    md_test_time_scratch_finish(&x->views);
    md_network_destroy(x->network);
    md_free(x->onnx);
    return status;
}
