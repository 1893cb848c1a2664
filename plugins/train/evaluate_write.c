/* The evaluation of a model as JSON and as a page. */

#include "base/file.h"
#include "plugins/train/evaluate.h"
#include "plugins/train/page.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static md_status write_json(const md_evaluation_of_model *e, const char *path, md_error *err)
{
    json_t *assessment = NULL;
    MD_TRY(md_assessment_json(&e->assessment, &assessment, err));
    json_t *json =
        json_pack("{s:i, s:s, s:{s:s, s:s, s:s, s:s, s:s}, s:{s:s, s:I, s:I, s:I, s:I}, s:o}",
                  "schema", 1, "kind", "model", "model", "id", e->id, "version", e->version,
                  "name", e->name, "sha256", e->sha256, "parameters", e->parameters, "data",
                  "part", e->part, "n_images", (json_int_t)e->n_images, "n_unreadable",
                  (json_int_t)e->n_unreadable, "n_refused", (json_int_t)e->n_refused,
                  "n_failed", (json_int_t)e->n_failed, "assessment", assessment);
    char *text = json != NULL ? json_dumps(json, JSON_INDENT(1)) : NULL;
    json_decref(json);
    if (text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the JSON, or a name that is not UTF-8");
    }
    const md_status status = md_file_write(path, MD_FILE_REPLACE, text, strlen(text), err);
    free(text);
    return status;
}

static unsigned list_parts(const md_evaluation_of_model *e, md_page_part parts[MD_N_PARTS])
{
    unsigned n = 0;
    for (unsigned p = MD_PART_TRAIN; e->n_parts > 0 && p < MD_N_PARTS; p++) {
        if (e->part_images[p] > 0) {
            parts[n++] = (md_page_part){md_part_name((md_part)p), e->part_images[p],
                                        e->part_patients[p], e->part_counts[p]};
        }
    }
    return n;
}

static unsigned list_limits(const md_evaluation_of_model *e, char texts[3][200],
                            const char *limits[3])
{
    unsigned n = 0;
    if (strcmp(e->part, "test") != 0) {
        (void)snprintf(texts[n], sizeof texts[n], "%s",
                       strcmp(e->part, "train") == 0
                           ? "The network learnt from these very films: the figures say "
                             "nothing about others."
                           : "Choices in training were made on films like these, so the "
                             "figures are a little flattering; the test part says more.");
        n++;
    }
    if (e->n_refused > 0) {
        (void)snprintf(
            texts[n], sizeof texts[n],
            "%zu films would get no answer when served (not accepted, or not through "
            "the quality gate) and are in no figure.",
            e->n_refused);
        n++;
    }
    if (e->n_unreadable + e->n_failed > 0) {
        (void)snprintf(
            texts[n], sizeof texts[n],
            "%zu films could not be read, and on %zu the network failed; they are in "
            "no figure.",
            e->n_unreadable, e->n_failed);
        n++;
    }
    for (unsigned i = 0; i < n; i++) {
        limits[i] = texts[i];
    }
    return n;
}

static md_status write_page(const md_evaluation_of_model *e, const char *folder, md_error *err)
{
    char title[200], measured_on[64], texts[3][200];
    const char *limits[3], *classes[MD_ASSESS_MAX_CLASSES];
    md_page_part parts[MD_N_PARTS];
    (void)snprintf(title, sizeof title, "%s%s%s", e->name,
                   strcmp(e->version, "-") != 0 ? ", version " : "",
                   strcmp(e->version, "-") != 0 ? e->version : "");
    (void)snprintf(measured_on, sizeof measured_on, "part: %s", e->part);
    for (unsigned k = 0; k < e->n_classes; k++) {
        classes[k] = e->classes[k];
    }
    const md_page_fact facts[] = {
        {"Model", e->id}, {"SHA-256", e->sha256}, {"Computed with", e->parameters}};
    const md_page page = {
        .title = title,
        .intended_use = e->intended_use,
        .units = "films",
        .measured_on = measured_on,
        .facts = facts,
        .n_facts = 3,
        .classes = classes,
        .n_classes = e->n_classes,
        .parts = parts,
        .n_parts = list_parts(e, parts),
        .split = e->n_parts > 0
                     ? "Patients are never divided: all films of one are in one part."
                     : NULL,
        .assessment = &e->assessment,
        .limits = limits,
        .n_limits = list_limits(e, texts, limits)};
    return md_page_write(&page, folder, "report", err);
}

md_status md_evaluation_of_model_write(const md_evaluation_of_model *e, const char *folder,
                                       md_error *err)
{
    char path[4096];
    const int n = snprintf(path, sizeof path, "%s/evaluation.json", folder);
    if (n < 0 || (size_t)n >= sizeof path) {
        return md_fail(err, MD_LIMIT, "evaluation.json: the path is too long");
    }
    MD_TRY(md_folder_create(folder, err));
    MD_TRY(write_json(e, path, err));
    MD_TRY(write_page(e, folder, err));
    return md_page_write_charts(&e->assessment, folder, err);
}
