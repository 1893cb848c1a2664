#include "plugins/train/head.h"

#include "base/clock.h"
#include "inference/tabular/folds.h"
#include "plugins/host/package.h"
#include "plugins/train/csv.h"
#include "plugins/train/evaluate_internal.h"
#include "plugins/train/head_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    MOST_FOLDS = 5
};

void md_head_rows_finish(md_head_rows *rows)
{
    for (size_t i = 0; rows->paths != NULL && i < rows->n; i++) {
        md_free(rows->paths[i]);
    }
    md_free(rows->x);
    md_free(rows->kinds);
    md_free(rows->patients);
    md_free(rows->paths);
    *rows = (md_head_rows){0};
}

void md_head_report_finish(md_head_report *report)
{
    md_assessment_finish(&report->assessment);
}

/* ---- films ---- */

static bool is_table(const char *path)
{
    const size_t n = strlen(path);
    return n > 4 && strcmp(path + n - 4, ".csv") == 0;
}

static md_status has_parts(const char *path, bool *ret_has, md_error *err)
{
    md_csv csv = {0};
    MD_TRY(md_csv_read(path, &csv, err));
    *ret_has = md_csv_column(&csv, "part") != MD_CSV_NO_COLUMN;
    md_csv_finish(&csv);
    return MD_OK;
}

/* The films of one part of a table. */
static md_status list_part(const md_head_options *options, md_part part,
                           md_evaluate_films *films, md_error *err)
{
    MD_AUTO(md_freep) md_manifest *wanted = md_calloc(1, sizeof *wanted);
    MD_AUTO(md_freep) md_evaluation_of_model *unused = md_calloc(1, sizeof *unused);
    const md_evaluate_options table = {.data = options->data, .part = part};
    if (wanted == NULL || unused == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the films");
    }
    wanted->n_findings = 1;
    (void)snprintf(wanted->findings[0].spec.key, sizeof wanted->findings[0].spec.key, "%s",
                   options->finding);
    return md_evaluate_table_films(&table, wanted, films, unused, err);
}

/* One film through the network; false: it is left out, `reason` says why. */
static bool embed(md_analyzer *analyzer, const char *path, double *ret_row, md_error *reason)
{
    MD_AUTO(md_raster_finish) md_raster raster = {0};
    const md_manifest *m = md_package_manifest(analyzer);
    const md_image_needs *needs = &analyzer->needs.image;
    md_accept_facts facts;
    md_finding findings[MD_RESULT_MAX_FINDINGS] = {0};
    md_steps steps = {0};
    if (!md_evaluate_accepts(analyzer, path, &facts, reason) ||
        md_picture_read(path, &m->preprocess, &needs->least, &raster, reason) != MD_OK ||
        (needs->values == MD_VALUES_DISPLAY &&
         md_gate_check(&needs->gate, &raster, reason) != MD_OK)) {
        return false;
    }
    const md_image_input input = {
        .values = &raster, .facts = &facts, .frame = 1, .n_frames = 1};
    if (analyzer->ops->analyse_image(analyzer, &input, findings, &steps, reason) != MD_OK) {
        return false;
    }
    const float *values = analyzer->ops->embedding(analyzer);
    bool finite = values != NULL;
    for (uint32_t i = 0; finite && i < analyzer->embeds.n; i++) {
        finite = isfinite(values[i]);
        ret_row[i] = (double)values[i];
    }
    if (!finite) {
        (void)md_fail(reason, MD_PLUGIN, "the network gave no usable numbers");
    }
    return finite;
}

static md_status rows_init(md_head_rows *rows, size_t n, unsigned n_columns, md_error *err)
{
    if (n > MD_HEAD_MAX_FILMS) {
        return md_fail(err, MD_LIMIT, "%zu films, at most %d", n, MD_HEAD_MAX_FILMS);
    }
    rows->n_columns = n_columns;
    rows->x = md_calloc(n * n_columns + 1, sizeof *rows->x);
    rows->kinds = md_calloc(n + 1, sizeof *rows->kinds);
    rows->patients = md_calloc(n + 1, sizeof *rows->patients);
    rows->paths = md_calloc(n + 1, sizeof *rows->paths);
    return rows->x == NULL || rows->kinds == NULL || rows->patients == NULL ||
                   rows->paths == NULL
               ? md_fail(err, MD_NOMEM, "no memory for %zu films", n)
               : MD_OK;
}

static md_status embed_all(const md_head_options *options, md_analyzer *analyzer,
                           const md_evaluate_films *films, md_head_rows *rows,
                           size_t *n_left_out, md_error *err)
{
    MD_TRY(rows_init(rows, films->n, analyzer->embeds.n, err));
    for (size_t i = 0; i < films->n; i++) {
        md_error reason = {0};
        const float label = films->labels[i * films->n_labels];
        if (isnan(label)) {
            continue; /* nobody said */
        }
        if (options->on_progress != NULL) {
            options->on_progress(options->context, i, films->n);
        }
        if (!embed(analyzer, films->paths[i], rows->x + rows->n * rows->n_columns, &reason)) {
            (*n_left_out)++;
            if (options->on_problem != NULL) {
                options->on_problem(options->context, films->paths[i], &reason);
            }
            continue;
        }
        rows->paths[rows->n] = md_strdup(films->paths[i]);
        if (rows->paths[rows->n] == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for the films");
        }
        rows->kinds[rows->n] = label >= 0.5F ? 1 : 0;
        rows->patients[rows->n++] = films->patients[i];
    }
    return MD_OK;
}

static int by_key(const void *a, const void *b)
{
    return memcmp(a, b, MD_SHA256_BYTES);
}

/* The keys of the patients with a labelled film, in order. */
static md_status list_patients(const md_evaluate_films *films,
                               uint8_t (**ret_keys)[MD_SHA256_BYTES], size_t *ret_n,
                               md_error *err)
{
    static const uint8_t nobody[MD_SHA256_BYTES];
    uint8_t(*keys)[MD_SHA256_BYTES] = md_calloc(films->n + 1, sizeof *keys);
    size_t n = 0;
    if (keys == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", films->n);
    }
    for (size_t i = 0; i < films->n; i++) {
        if (!isnan(films->labels[i * films->n_labels]) &&
            memcmp(films->patient_keys[i], nobody, sizeof nobody) != 0) {
            memcpy(keys[n++], films->patient_keys[i], sizeof *keys);
        }
    }
    qsort(keys, n, sizeof *keys, by_key);
    *ret_keys = keys;
    *ret_n = n;
    return MD_OK;
}

/* The figures of the films held back are of other patients, or they are none. */
static md_status check_patients(const md_evaluate_films *learn, const md_evaluate_films *held,
                                md_error *err)
{
    MD_AUTO(md_freep) uint8_t(*a)[MD_SHA256_BYTES] = NULL;
    MD_AUTO(md_freep) uint8_t(*b)[MD_SHA256_BYTES] = NULL;
    size_t n_a = 0, n_b = 0;
    MD_TRY(list_patients(learn, &a, &n_a, err));
    MD_TRY(list_patients(held, &b, &n_b, err));
    for (size_t i = 0, k = 0; i < n_a && k < n_b;) {
        const int order = by_key(a[i], b[k]);
        if (order == 0) {
            return md_fail(err, MD_INVALID_ARG,
                           "leakage: films of one patient are in train and in validation");
        }
        *(order < 0 ? &i : &k) += 1;
    }
    return MD_OK;
}

/* Learn from `learn`, measure on `held`, which stays empty without such a part: then by
 * cross-validation. */
static md_status list_films(const md_head_options *options, md_evaluate_films *learn,
                            md_evaluate_films *held, md_error *err)
{
    bool parts = false;
    if (!is_table(options->data)) {
        return md_evaluate_folder_films(options->data, options->finding, learn, err);
    }
    MD_TRY(has_parts(options->data, &parts, err));
    MD_TRY(list_part(options, parts ? MD_PART_TRAIN : MD_PART_NONE, learn, err));
    if (!parts) {
        return MD_OK;
    }
    const md_status status = list_part(options, MD_PART_VALIDATION, held, err);
    if (status == MD_NOT_FOUND) {
        md_evaluate_films_finish(held);
        return MD_OK;
    }
    return status == MD_OK ? check_patients(learn, held, err) : status;
}

static md_status read_rows(const md_head_options *options, md_analyzer *analyzer,
                           md_head_rows *learn, md_head_rows *held, size_t *n_left_out,
                           md_error *err)
{
    MD_AUTO(md_evaluate_films_finish) md_evaluate_films learn_films = {0};
    MD_AUTO(md_evaluate_films_finish) md_evaluate_films held_films = {0};
    MD_TRY(list_films(options, &learn_films, &held_films, err));
    MD_TRY(embed_all(options, analyzer, &learn_films, learn, n_left_out, err));
    return held_films.n > 0 ? embed_all(options, analyzer, &held_films, held, n_left_out, err)
                            : MD_OK;
}

/* ---- fitting ---- */

/* Patients with a film of that kind among the rows. */
static md_status count_patients(const md_head_rows *rows, size_t ret_n[2], size_t *ret_all,
                                md_error *err)
{
    uint32_t most = 0;
    for (size_t i = 0; i < rows->n; i++) {
        most = rows->patients[i] > most ? rows->patients[i] : most;
    }
    MD_AUTO(md_freep) uint8_t *seen = md_calloc((size_t)most + 1, 1);
    if (seen == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u patients", most);
    }
    ret_n[0] = ret_n[1] = *ret_all = 0;
    for (size_t i = 0; i < rows->n; i++) {
        uint8_t *flags = &seen[rows->patients[i]];
        const uint8_t bit = (uint8_t)(1U << rows->kinds[i]);
        *ret_all += *flags == 0;
        ret_n[rows->kinds[i]] += (*flags & bit) == 0;
        *flags |= bit;
    }
    return MD_OK;
}

/* As many folds as both kinds of patients can fill. */
static unsigned folds_for(const md_svm_rows *rows)
{
    uint32_t most = 0;
    size_t n[2] = {0, 0};
    for (size_t i = 0; i < rows->n_rows; i++) {
        most = rows->groups[i] > most ? rows->groups[i] : most;
    }
    MD_AUTO(md_freep) uint8_t *flags = md_calloc((size_t)most + 1, 1);
    for (size_t i = 0; flags != NULL && i < rows->n_rows; i++) {
        flags[rows->groups[i]] |= (uint8_t)(1U << rows->kinds[i]);
    }
    for (size_t g = 0; flags != NULL && g <= most; g++) {
        n[0] += flags[g] == 1;
        n[1] += flags[g] >= 2; /* a patient with a film of either counts as one with it */
    }
    const size_t least = n[0] < n[1] ? n[0] : n[1];
    return least >= MOST_FOLDS ? MOST_FOLDS : least < 2 ? 2 : (unsigned)least;
}

md_status md_head_fit(const md_head_rows *rows, const uint32_t *chosen, size_t n_chosen,
                      uint64_t seed, md_svm *ret_svm, double *ret_c, md_error *err)
{
    static const double cs[] = {1e-5, 1e-4, 1e-3, 1e-2, 1e-1};
    const size_t n = chosen != NULL ? n_chosen : rows->n;
    MD_AUTO(md_freep) double *x = md_calloc(n * rows->n_columns + 1, sizeof *x);
    MD_AUTO(md_freep) int8_t *kinds = md_calloc(n + 1, sizeof *kinds);
    MD_AUTO(md_freep) uint32_t *groups = md_calloc(n + 1, sizeof *groups);
    if (x == NULL || kinds == NULL || groups == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to fit %zu films", n);
    }
    for (size_t i = 0; i < n; i++) {
        const size_t from = chosen != NULL ? chosen[i] : i;
        memcpy(x + i * rows->n_columns, rows->x + from * rows->n_columns,
               rows->n_columns * sizeof *x);
        kinds[i] = rows->kinds[from];
        groups[i] = rows->patients[from];
    }
    const md_svm_rows all = {
        .x = x, .kinds = kinds, .groups = groups, .n_rows = n, .n_columns = rows->n_columns};
    md_svm_options options = md_svm_defaults();
    options.seed = seed;
    options.n_folds = folds_for(&all);
    MD_TRY(md_svm_search(&all, cs, sizeof cs / sizeof *cs, NULL, 0, &options, NULL, err));
    if (ret_c != NULL) {
        *ret_c = options.c;
    }
    return md_svm_fit(&all, &options, ret_svm, err);
}

/* ---- measuring ---- */

/* Probabilities for films of patients that their machine has not seen. */
static md_status cross_validate(const md_head_options *options, const md_head_rows *rows,
                                double *ret_scores, md_error *err)
{
    const md_svm_rows shape = {
        .kinds = rows->kinds, .groups = rows->patients, .n_rows = rows->n};
    const unsigned n_folds = folds_for(&shape);
    MD_AUTO(md_freep) uint8_t *folds = md_calloc(rows->n, sizeof *folds);
    MD_AUTO(md_freep) uint32_t *chosen = md_calloc(rows->n, sizeof *chosen);
    if (folds == NULL || chosen == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", rows->n);
    }
    MD_TRY(md_folds_deal(rows->kinds, rows->patients, rows->n, n_folds, options->seed, folds,
                         err));
    for (unsigned fold = 0; fold < n_folds; fold++) {
        size_t n = 0;
        md_svm svm = {0};
        for (uint32_t i = 0; i < rows->n; i++) {
            if (folds[i] != fold) {
                chosen[n++] = i;
            }
        }
        MD_TRY(md_head_fit(rows, chosen, n, options->seed, &svm, NULL, err));
        for (size_t i = 0; i < rows->n; i++) {
            if (folds[i] == fold) {
                ret_scores[i] = md_svm_probability(
                    &svm, md_svm_decide(&svm, rows->x + i * rows->n_columns));
            }
        }
        md_svm_finish(&svm);
    }
    return MD_OK;
}

static md_status assess(const md_head_options *options, const md_head_rows *rows,
                        const double *scores, double threshold, md_assessment *ret_assessment,
                        md_error *err)
{
    const md_assess_question question = {.name = options->finding,
                                         .scores = scores,
                                         .truths = rows->kinds,
                                         .threshold = threshold};
    const md_assess_input input = {.n = rows->n,
                                   .patients = rows->patients,
                                   .questions = &question,
                                   .n_questions = 1,
                                   .seed = options->seed,
                                   .n_threads = options->n_threads};
    return md_assess(&input, ret_assessment, err);
}

/* The threshold from cross-validation, the figures from there or from films held back. */
static md_status measure(const md_head_options *options, const md_head_rows *learn,
                         const md_head_rows *held, const md_svm *svm, double *ret_threshold,
                         md_head_report *report, md_error *err)
{
    MD_AUTO(md_freep) double *scores = md_calloc(learn->n + held->n, sizeof *scores);
    if (scores == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", learn->n + held->n);
    }
    double threshold = options->threshold;
    if (isnan(threshold) || held->n == 0) {
        MD_TRY(cross_validate(options, learn, scores, err));
    }
    if (isnan(threshold)) {
        md_assessment first = {0};
        MD_TRY(assess(options, learn, scores, 0.5, &first, err));
        const double best = first.answers[0].youden.threshold;
        md_assessment_finish(&first);
        report->threshold_on_same = held->n == 0;
        threshold = isfinite(best) ? floor(fmin(1.0, fmax(0.0, best)) * 1e4) / 1e4 : 0.5;
    }
    *ret_threshold = threshold;
    if (held->n == 0) {
        return assess(options, learn, scores, threshold, &report->assessment, err);
    }
    for (size_t i = 0; i < held->n; i++) {
        scores[i] = md_svm_probability(svm, md_svm_decide(svm, held->x + i * held->n_columns));
    }
    return assess(options, held, scores, threshold, &report->assessment, err);
}

/* ---- the whole ---- */

static double seconds_since(int64_t *start_us)
{
    const int64_t now_us = md_clock_monotonic_us();
    const double seconds = 1e-6 * (double)(now_us - *start_us);
    *start_us = now_us;
    return seconds;
}

static md_status check_rows(const md_head_options *options, const md_head_rows *learn,
                            const md_head_rows *held, md_head_report *report, md_error *err)
{
    size_t n[2];
    MD_TRY(count_patients(learn, n, &report->n_patients, err));
    report->n_films = learn->n;
    report->n_held = held->n;
    report->n_values = learn->n_columns;
    for (size_t i = 0; i < learn->n; i++) {
        report->n_positive += learn->kinds[i] == 1;
    }
    if (n[0] < MD_HEAD_LEAST_PATIENTS || n[1] < MD_HEAD_LEAST_PATIENTS) {
        return md_fail(err, MD_INVALID_ARG,
                       "%s: '%.64s' is there in films of %zu patients and not in those of %zu, "
                       "expected at least %d of each",
                       options->data, options->finding, n[1], n[0], MD_HEAD_LEAST_PATIENTS);
    }
    return MD_OK;
}

static md_status run(const md_head_options *options, md_analyzer *analyzer, md_head_rows *learn,
                     md_head_rows *held, md_head_report *report, md_error *err)
{
    int64_t clock_us = md_clock_monotonic_us();
    double threshold = 0.5;
    md_svm svm = {0};
    MD_TRY(read_rows(options, analyzer, learn, held, &report->n_left_out, err));
    report->embed_s = seconds_since(&clock_us);
    MD_TRY(check_rows(options, learn, held, report, err));
    if (options->n_sizes > 0) {
        MD_TRY(md_head_curve(options, learn, held, report, err));
        (void)seconds_since(&clock_us);
    }
    MD_TRY(md_head_fit(learn, NULL, 0, options->seed, &svm, &report->c, err));
    md_status status = measure(options, learn, held, &svm, &threshold, report, err);
    report->fit_s = seconds_since(&clock_us);
    if (status == MD_OK && options->out != NULL) {
        status = md_head_export(options, analyzer, &svm, learn, threshold, report, err);
        report->export_s = seconds_since(&clock_us);
    }
    md_svm_finish(&svm);
    return status;
}

static bool is_key(const char *text)
{
    const size_t n = strlen(text);
    return n > 0 && n < MD_KEY_BYTES &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

static md_status check_options(const md_head_options *options, md_error *err)
{
    struct stat info;
    if (!is_key(options->finding)) {
        return md_fail(err, MD_INVALID_ARG,
                       "the finding '%.64s': small letters, digits, '_' and '-', at most 64",
                       options->finding);
    }
    if (options->out != NULL &&
        (options->concept.value[0] == '\0' || options->concept.scheme[0] == '\0' ||
         options->concept.meaning[0] == '\0')) {
        return md_fail(err, MD_INVALID_ARG,
                       "a package needs the finding's code, scheme and meaning (--code)");
    }
    const struct {
        const char *what, *text;
        size_t most;
    } texts[] = {{"id", options->id, MD_KEY_BYTES - 1},
                 {"version", options->version, 16},
                 {"name", options->name, MD_KEY_BYTES - 1},
                 {"manufacturer", options->manufacturer, MD_KEY_BYTES - 1},
                 {"text about the films", options->about, 1024}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i].text != NULL &&
            (texts[i].text[0] == '\0' || strlen(texts[i].text) > texts[i].most)) {
            return md_fail(err, MD_INVALID_ARG, "the %s: 1 to %zu bytes", texts[i].what,
                           texts[i].most);
        }
    }
    if (options->id != NULL && !is_key(options->id)) {
        return md_fail(err, MD_INVALID_ARG,
                       "the id '%.64s': small letters, digits, '_' and '-'", options->id);
    }
    if (options->out != NULL && lstat(options->out, &info) == 0) {
        return md_fail(err, MD_INVALID_ARG, "%s exists, expected a new folder", options->out);
    }
    if (options->n_sizes > 0 &&
        (options->n_draws < 2 || options->n_draws > MD_HEAD_MAX_DRAWS)) {
        return md_fail(err, MD_INVALID_ARG, "%u draws, expected 2 to %d", options->n_draws,
                       MD_HEAD_MAX_DRAWS);
    }
    return MD_OK;
}

md_status md_head_run(const md_head_options *options, md_head_report *ret_report, md_error *err)
{
    static const md_package_trial float32 = {.precision = MD_PRECISION_F32};
    md_package_options package = {
        .n_threads = options->n_threads, .embeds = true, .trial = &float32};
    MD_AUTO(md_analyzer_destroyp) md_analyzer *analyzer = NULL;
    *ret_report = (md_head_report){0};
    MD_TRY(check_options(options, err));
    MD_TRY(md_backend_named(options->backend, &package.backend, err));
    MD_TRY(md_package_open(options->package, options->package, &package, &analyzer, err));
    if (analyzer->embeds.n == 0) {
        return md_fail(err, MD_UNSUPPORTED,
                       "%s: its network does not end in a linear layer that reads [1,n], n at "
                       "most %d",
                       options->package, MD_EMBEDDING_MAX);
    }
    md_head_rows learn = {0}, held = {0};
    md_status status = run(options, analyzer, &learn, &held, ret_report, err);
    md_head_rows_finish(&learn);
    md_head_rows_finish(&held);
    return status;
}
