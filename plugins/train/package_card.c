/* The model card: what a reader of the package has to know (Mitchell et al., "Model Cards for
 * Model Reporting", 2019), from the recipe's words and what was measured. No file names and
 * nothing of a patient. */

#include "inference/text/vocabulary.h"
#include "plugins/train/package_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void md_export_write_estimate(const md_estimate *e, FILE *out)
{
    if (!isfinite(e->value)) {
        fputs(" not defined |", out);
    } else if (!isfinite(e->low) || !isfinite(e->high)) {
        fprintf(out, " %.4f |", e->value);
    } else {
        fprintf(out, " %.4f (%.4f to %.4f) |", e->value, e->low, e->high);
    }
}

static void write_figures(const md_exporting *x, FILE *out)
{
    const md_assessment *a = &x->figures;
    const char *set = x->manifest->performance.set;
    fprintf(
        out,
        "## Measured\n\nOn the %s part: %zu films of %zu patients, each through the network "
        "that serves, with 95%% intervals\n(bootstrap by patient, %u replicates; DeLong for "
        "the area under the ROC curve).\n\n| |",
        set, a->n, a->n_patients, a->n_bootstrap);
    for (unsigned q = 0; q < a->n_answers; q++) {
        fprintf(out, " %s |", a->answers[q].name);
    }
    fputs("\n|---|", out);
    for (unsigned q = 0; q < a->n_answers; q++) {
        fputs("---|", out);
    }
    fputs("\n| films with / without it |", out);
    for (unsigned q = 0; q < a->n_answers; q++) {
        fprintf(out, " %zu / %zu |", a->answers[q].measures.n_positive,
                a->answers[q].measures.n_negative);
    }
    fputs("\n| threshold |", out);
    for (unsigned q = 0; q < a->n_answers; q++) {
        fprintf(out, " %g |", a->answers[q].threshold);
    }
    for (unsigned k = 0; k < MD_N_MEASURES; k++) {
        fprintf(out, "\n| %s |", md_measure_name((md_measure_kind)k));
        for (unsigned q = 0; q < a->n_answers; q++) {
            md_export_write_estimate(&a->answers[q].measures.of[k], out);
        }
    }
    fputs("\n", out);
    if (x->test.n == 0) {
        fputs(
            "\nThresholds and calibration were chosen on these same films: on others expect "
            "somewhat less. The calibration error\nof `model.yaml` is that of fits on one half "
            "of the patients, measured on the other.\n",
            out);
    }
}

static void write_findings(const md_exporting *x, FILE *out)
{
    const md_manifest *m = x->manifest;
    fputs("## Findings\n\n", out);
    for (unsigned i = 0; i < m->n_findings; i++) {
        const md_manifest_finding *f = &m->findings[i];
        fprintf(out, "- **%s** (%s, %s, %s): classes", f->spec.key, f->spec.concept.value,
                f->spec.concept.scheme, f->spec.concept.meaning);
        for (unsigned k = 0; k < f->n_classes; k++) {
            fprintf(out, "%s %s", k > 0 ? "," : "", x->recipe->data.classes[f->classes[k]]);
        }
        fprintf(out, "; present from %g%s\n", f->spec.threshold,
                f->spec.urgent ? "; urgent" : "");
    }
    static const char *const methods[] = {"none: scores are no probabilities", "temperature",
                                          "Platt"};
    fprintf(out, "\nCalibration: %s", methods[m->calibration.method]);
    if (m->calibration.method == MD_CALIBRATION_TEMPERATURE) {
        fprintf(out, " %g", m->calibration.temperature);
    } else if (m->calibration.method == MD_CALIBRATION_PLATT) {
        fprintf(out, ", a = %g, b = %g", m->calibration.a, m->calibration.b);
    }
    fputs(".\n\n", out);
    const unsigned n_views = md_test_time_n_views(&m->test_time);
    if (n_views > 1) {
        fprintf(out,
                "Test-time views: the network looks at each film %u times%s%s, and its outputs "
                "are averaged.\n\n",
                n_views, m->test_time.flip ? ", also at its mirror image" : "",
                m->test_time.shift > 0 ? ", also moved a little to all four sides" : "");
    }
}

static size_t count_part(const md_training_set *set, md_part part)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n_films; i++) {
        n += set->films[i].part == part ? 1 : 0;
    }
    return n;
}

static void write_training(const md_exporting *x, FILE *out)
{
    const md_manifest *m = x->manifest;
    const md_recipe *r = x->recipe;
    fputs("## Training\n\n", out);
    for (unsigned i = 0; i < m->n_training; i++) {
        fprintf(out, "- %s: %s\n", m->training[i].key, m->training[i].text);
    }
    fprintf(out, "\n| class |");
    for (int part = MD_PART_TRAIN; part <= MD_PART_TEST; part++) {
        fprintf(out, " %s |", md_part_name((md_part)part));
    }
    fputs("\n|---|---|---|---|\n", out);
    for (unsigned k = 0; k < r->data.n_classes; k++) {
        fprintf(out, "| %s |", r->data.classes[k]);
        for (int part = MD_PART_TRAIN; part <= MD_PART_TEST; part++) {
            size_t known = 0;
            fprintf(out, " %zu |", md_training_set_count(x->set, (md_part)part, k, &known));
        }
        fputs("\n", out);
    }
    fputs("| all films |", out);
    for (int part = MD_PART_TRAIN; part <= MD_PART_TEST; part++) {
        fprintf(out, " %zu |", count_part(x->set, (md_part)part));
    }
    if (md_export_is_text(x)) {
        fprintf(out,
                "\n\nNetwork: %s, %u tokens of a text, a vocabulary of %zu. %u epochs, "
                "seed %" PRIu64 ".\n\n",
                r->network.name[0] != '\0' ? r->network.name : "from a file, trained further",
                r->text.tokens, md_vocabulary_size(x->set->vocabulary), r->training.epochs,
                r->seed);
        return;
    }
    fprintf(out,
            "\n\nNetwork: %s, %u x %u pixels, %u channel%s. %u epochs, seed %" PRIu64 ".\n\n",
            r->network.name[0] != '\0' ? r->network.name
            : r->network.n_layers > 0  ? "layers of the recipe"
                                       : "from a file, trained further",
            m->preprocess.width, m->preprocess.height, m->preprocess.n_channels,
            m->preprocess.n_channels == 1 ? "" : "s", r->training.epochs, r->seed);
}

static void write_card(const md_exporting *x, FILE *out)
{
    const md_manifest *m = x->manifest;
    fprintf(out,
            "# %s %s\n\n%s\n\nMade by %s with `medaid-train`. `model.yaml` is what serves; "
            "this card is for people.\n\n",
            m->name, m->version, m->intended_use, m->manufacturer);
    write_findings(x, out);
    write_figures(x, out);
    fputs("\n## Limits\n\nThe figures hold for films like those that were measured. Other "
          "hospitals, devices, ages and projections than those of the\ntraining films were not "
          "studied unless a text here says so. A score below the threshold does not rule the "
          "finding out.\n",
          out);
    if (m->saliency.there) {
        fputs("The map shows where the network looked, relative to its own largest value; it "
              "outlines no disease.\n",
              out);
    }
    fputs("\n", out);
    write_training(x, out);
    fputs(
        md_export_is_text(x)
            ? "## Self-test\n\n`selftest-input.txt` was made up and is nobody's. The host "
              "runs it before the model serves.\n"
            : "## Self-test\n\n`selftest-input.f32` is a drawn pattern and holds no patient's "
              "pixels. The host runs it before the model serves.\n",
        out);
}

md_status md_export_card(const md_exporting *x, char **ret_text, size_t *ret_bytes,
                         md_error *err)
{
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (out == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the model card");
    }
    write_card(x, out);
    const bool fine = ferror(out) == 0;
    if (fclose(out) != 0 || !fine) {
        free(text);
        return md_fail(err, MD_NOMEM, "no memory for the model card");
    }
    char *copy = md_malloc(n_bytes + 1);
    if (copy != NULL) {
        memcpy(copy, text, n_bytes + 1);
    }
    free(text);
    if (copy == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the model card");
    }
    *ret_text = copy;
    *ret_bytes = n_bytes;
    return MD_OK;
}
