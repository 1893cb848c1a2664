/* An audit as JSON and as a page. */

#include "plugins/train/audit.h"

#include "base/file.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static json_t *models_json(const md_audit *a)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < a->n_models; i++) {
        const md_audit_model *m = &a->models[i];
        json_t *model = json_pack("{s:s, s:s, s:s, s:I}", "id", m->id, "version", m->version,
                                  "sha256", m->sha256, "n_reports", (json_int_t)m->n_reports);
        if (json_array_append_new(list, model) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static json_t *results_json(const md_audit *a)
{
    json_t *list = json_array();
    for (unsigned i = 0; list != NULL && i < a->n_results; i++) {
        const md_audit_results *r = &a->results[i];
        json_t *result = json_pack(
            "{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "name", r->name, "present",
            (json_int_t)r->n_present, "absent", (json_int_t)r->n_absent, "undetermined",
            (json_int_t)r->n_undetermined, "failed", (json_int_t)r->n_failed, "missing",
            (json_int_t)r->n_missing, "contradicting", (json_int_t)r->n_contradicting);
        if (json_array_append_new(list, result) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* Names of the counts, as in the JSON, and for people. */
typedef struct audit_count {
    const char *key, *words;
    size_t n;
} audit_count;

enum {
    N_COUNTS = 12
};

static void list_counts(const md_audit *a, audit_count counts[N_COUNTS])
{
    const audit_count list[N_COUNTS] = {
        {"files", "files looked at", a->n_files},
        {"other", "no DICOM, or no report of medaid", a->n_other},
        {"unreadable", "damaged, or not to be opened", a->n_unreadable},
        {"repeated", "the same report again", a->n_repeated},
        {"replaced", "replaced by a later report", a->n_replaced},
        {"other_model", "of another model", a->n_other_model},
        {"in_force", "reports of the model in force", a->n_reports},
        {"partial", "of these: some images failed", a->n_partial},
        {"failed", "of these: the analysis failed", a->n_failed_reports},
        {"without_truth", "reports about studies that the truth file does not name",
         a->n_without_truth},
        {"studies", "studies of the truth file", a->n_studies},
        {"without_report", "of these: without a report", a->n_without_report},
    };
    memcpy(counts, list, sizeof list);
}

static md_status write_json(const md_audit *a, const char *path, md_error *err)
{
    audit_count counts[N_COUNTS];
    list_counts(a, counts);
    json_t *assessment = NULL, *numbers = json_object();
    MD_TRY(md_assessment_json(&a->assessment, &assessment, err));
    for (unsigned i = 0; numbers != NULL && i < N_COUNTS; i++) {
        if (json_object_set_new(numbers, counts[i].key,
                                json_integer((json_int_t)counts[i].n)) != 0) {
            json_decref(numbers);
            numbers = NULL;
        }
    }
    json_t *json = json_pack("{s:i, s:s, s:o, s:o, s:o, s:o}", "schema", 1, "kind", "reports",
                             "models", models_json(a), "reports", numbers, "results",
                             results_json(a), "assessment", assessment);
    char *text = json != NULL ? json_dumps(json, JSON_INDENT(1)) : NULL;
    json_decref(json);
    if (text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the JSON");
    }
    const md_status status = md_file_write(path, MD_FILE_REPLACE, text, strlen(text), err);
    free(text);
    return status;
}

enum {
    CELL = 80,
    RESULT_COLUMNS = 7
};

/* The two tables of counts. */
typedef struct audit_tables {
    char (*texts)[CELL];  /* owned */
    const char **results; /* owned, cells */
    const char *counts[2 * (N_COUNTS + 1)];
    char numbers[N_COUNTS][CELL];
} audit_tables;

static void audit_tables_finish(audit_tables *t)
{
    md_free(t->texts);
    md_free(t->results);
}

static md_status fill_tables(const md_audit *a, audit_tables *t, md_error *err)
{
    static const char *const head[RESULT_COLUMNS] = {
        "Finding", "present", "absent", "undetermined", "failed", "no result", "contradicting"};
    const size_t n_cells = (size_t)RESULT_COLUMNS * (a->n_results + 1);
    t->texts = md_calloc(n_cells, CELL);
    t->results = md_calloc(n_cells, sizeof *t->results);
    if (t->texts == NULL || t->results == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a table");
    }
    for (unsigned c = 0; c < RESULT_COLUMNS; c++) {
        t->results[c] = head[c];
    }
    for (unsigned i = 0; i < a->n_results; i++) {
        const md_audit_results *r = &a->results[i];
        const size_t numbers[RESULT_COLUMNS - 1] = {r->n_present,      r->n_absent,
                                                    r->n_undetermined, r->n_failed,
                                                    r->n_missing,      r->n_contradicting};
        const size_t row = (size_t)RESULT_COLUMNS * (i + 1);
        t->results[row] = r->name;
        for (unsigned c = 1; c < RESULT_COLUMNS; c++) {
            (void)snprintf(t->texts[row + c], CELL, "%zu", numbers[c - 1]);
            t->results[row + c] = t->texts[row + c];
        }
    }
    audit_count counts[N_COUNTS];
    list_counts(a, counts);
    t->counts[0] = "What";
    t->counts[1] = "Number";
    for (unsigned i = 0; i < N_COUNTS; i++) {
        (void)snprintf(t->numbers[i], CELL, "%zu", counts[i].n);
        t->counts[2 * (i + 1)] = counts[i].words;
        t->counts[2 * (i + 1) + 1] = t->numbers[i];
    }
    return MD_OK;
}

static md_status write_page(const md_audit *a, const char *folder, md_error *err)
{
    MD_AUTO(audit_tables_finish) audit_tables t = {0};
    char title[160], versions[512] = "";
    MD_TRY(fill_tables(a, &t, err));
    (void)snprintf(title, sizeof title, "Audit of the model %s", a->models[0].id);
    for (size_t i = 0, at = 0; i < a->n_models && at < sizeof versions; i++) {
        const md_audit_model *m = &a->models[i];
        const int n = snprintf(versions + at, sizeof versions - at,
                               "%s%s (%zu reports, SHA-256 %.12s...)", i > 0 ? "; " : "",
                               m->version, m->n_reports, m->sha256);
        at += n > 0 ? (size_t)n : 0;
    }
    const md_page_fact facts[] = {{"Model", a->models[0].id}, {"Versions", versions}};
    const md_page_table tables[] = {
        {"Results by finding",
         "Studies of the truth file. Undetermined, failed and missing results are in no figure "
         "above. Contradicting: presence and score against threshold disagree; presence "
         "counted.",
         t.results, a->n_results, RESULT_COLUMNS},
        {"Reports", "What was found in the folder.", t.counts, N_COUNTS, 2}};
    const char *limits[] = {
        "The truth is what the truth file says; who found it, and knowing what, is not known "
        "here.",
        "Studies without a result may be others than those with one: the figures hold for the "
        "latter.",
        a->n_models > 1 ? "Several versions of the model wrote these reports; the figures mix "
                          "them."
                        : NULL};
    const md_page page = {.title = title,
                          .intended_use =
                              "What medaid wrote into stored reports, against a table of what "
                              "was true. A study with several images counts as present when "
                              "one of them is, with the highest score.",
                          .units = "studies",
                          .measured_on = "reports as they are stored",
                          .facts = facts,
                          .n_facts = 2,
                          .assessment = &a->assessment,
                          .limits = limits,
                          .n_limits = a->n_models > 1 ? 3 : 2,
                          .tables = tables,
                          .n_tables = 2};
    return md_page_write(&page, folder, "report", err);
}

md_status md_audit_write(const md_audit *audit, const char *folder, md_error *err)
{
    char path[4096];
    const int n = snprintf(path, sizeof path, "%s/evaluation.json", folder);
    if (n < 0 || (size_t)n >= sizeof path) {
        return md_fail(err, MD_LIMIT, "evaluation.json: the path is too long");
    }
    MD_TRY(md_folder_create(folder, err));
    MD_TRY(write_json(audit, path, err));
    MD_TRY(write_page(audit, folder, err));
    return md_page_write_charts(&audit->assessment, folder, err);
}
