#include "plugins/train/audit.h"

#include "plugins/train/audit_internal.h"
#include "plugins/train/groups.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The rows of the truth file, with their reports. */
typedef struct audit_rows {
    size_t n;
    const md_reading **reports; /* NULL: none; as all owned by this, not what it points to */
    uint32_t *patients;
    md_group_facts *facts;
    double *scores; /* [n] of one finding after the other */
    int8_t *truths, *calls;
} audit_rows;

static void audit_rows_finish(audit_rows *rows)
{
    md_free(rows->reports);
    md_free(rows->patients);
    md_free(rows->facts);
    md_free(rows->scores);
    md_free(rows->truths);
    md_free(rows->calls);
}

static md_status audit_rows_init(audit_rows *rows, const md_truth *truth, md_error *err)
{
    const size_t n = truth->csv.n_rows;
    size_t n_values = 0;
    if (!md_mul(n, truth->n_findings, &n_values)) {
        return md_fail(err, MD_LIMIT, "%zu rows of %u findings", n, truth->n_findings);
    }
    *rows = (audit_rows){.n = n,
                         .reports = md_calloc(n, sizeof *rows->reports),
                         .patients = md_calloc(n, sizeof *rows->patients),
                         .facts = md_calloc(n, sizeof *rows->facts),
                         .scores = md_calloc(n_values, sizeof *rows->scores),
                         .truths = md_calloc(n_values, sizeof *rows->truths),
                         .calls = md_calloc(n_values, sizeof *rows->calls)};
    if (rows->reports == NULL || rows->patients == NULL || rows->facts == NULL ||
        rows->scores == NULL || rows->truths == NULL || rows->calls == NULL) {
        audit_rows_finish(rows);
        *rows = (audit_rows){0};
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", n);
    }
    return MD_OK;
}

/* A text and where it stands. */
typedef struct keyed {
    const char *key;
    size_t index;
} keyed;

static int compare_keyed(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    const int by_key = strcmp(x->key, y->key);
    return by_key != 0 ? by_key : (x->index > y->index) - (x->index < y->index);
}

static const char *key_of(const md_reading *r, bool by_accession)
{
    return by_accession ? r->accession_number : r->study_instance_uid;
}

/* Give each report in force to its row; of several for one row the latest stays. */
static md_status join(const md_truth *truth, const md_reports *reports, audit_rows *rows,
                      md_audit *audit, md_error *err)
{
    MD_AUTO(md_freep) keyed *keys = md_calloc(rows->n, sizeof *keys);
    if (keys == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", rows->n);
    }
    for (size_t i = 0; i < rows->n; i++) {
        keys[i] = (keyed){md_csv_field(&truth->csv, i, truth->key), i};
    }
    qsort(keys, rows->n, sizeof *keys, compare_keyed);
    for (size_t k = 0; k < reports->n; k++) {
        const md_reading *r = &reports->readings[k];
        if (reports->out[k]) {
            continue;
        }
        const char *key = key_of(r, truth->by_accession);
        size_t low = 0, high = rows->n;
        while (low < high) {
            const size_t middle = low + (high - low) / 2;
            if (strcmp(keys[middle].key, key) < 0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low == rows->n || strcmp(keys[low].key, key) != 0) {
            audit->n_without_truth++;
            continue;
        }
        const md_reading **there = &rows->reports[keys[low].index];
        audit->n_replaced += *there != NULL;
        if (*there == NULL || strcmp((*there)->content_datetime, r->content_datetime) < 0) {
            *there = r;
        }
    }
    for (size_t i = 0; i < rows->n; i++) {
        audit->n_without_report += rows->reports[i] == NULL;
    }
    return MD_OK;
}

/* Rows of one patient get one number: by the truth file, else by the report's Patient ID, else
 * each row is a patient. */
static md_status number_patients(const md_truth *truth, audit_rows *rows, md_error *err)
{
    MD_AUTO(md_freep) keyed *keys = md_calloc(rows->n, sizeof *keys);
    if (keys == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", rows->n);
    }
    for (size_t i = 0; i < rows->n; i++) {
        const char *id = md_csv_field(&truth->csv, i, truth->patient);
        if (id[0] == '\0' && rows->reports[i] != NULL) {
            id = rows->reports[i]->patient_id;
        }
        keys[i] = (keyed){id, i};
    }
    qsort(keys, rows->n, sizeof *keys, compare_keyed);
    uint32_t number = 0;
    for (size_t i = 0; i < rows->n; i++) {
        const bool same =
            i > 0 && keys[i].key[0] != '\0' && strcmp(keys[i - 1].key, keys[i].key) == 0;
        number += !same && i > 0;
        rows->patients[keys[i].index] = number;
    }
    return MD_OK;
}

static void collect_facts(const md_truth *truth, audit_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) {
        const md_reading *r = rows->reports[i];
        md_group_facts *f = &rows->facts[i];
        f->sex = md_csv_field(&truth->csv, i, truth->sex)[0];
        (void)md_truth_age(md_csv_field(&truth->csv, i, truth->age), &f->age_years);
        f->view = md_csv_field(&truth->csv, i, truth->view);
        f->manufacturer = md_csv_field(&truth->csv, i, truth->manufacturer);
        if (r != NULL && f->sex == '\0') {
            f->sex = r->sex[0];
        }
        if (r != NULL && isnan(f->age_years)) {
            f->age_years = r->age_years;
        }
    }
}

/* Whether a column of the truth file means this finding. */
static bool means(const char *column, const md_reported_finding *f)
{
    char coded[sizeof f->concept.scheme + sizeof f->concept.value];
    (void)snprintf(coded, sizeof coded, "%s:%s", f->concept.scheme, f->concept.value);
    return strcasecmp(column, f->key) == 0 || strcmp(column, f->concept.value) == 0 ||
           strcasecmp(column, coded) == 0;
}

/* What the images of one study say together. */
typedef struct study_answer {
    bool there, contradicts;
    md_presence presence;
    double score, threshold;
} study_answer;

static study_answer answer_of(const md_reading *r, const char *column)
{
    study_answer a = {.presence = MD_PRESENCE_ABSENT};
    for (size_t i = 0; r != NULL && i < r->n_findings; i++) {
        const md_reported_finding *f = &r->findings[i];
        if (!means(column, f)) {
            continue;
        }
        const bool above = f->score >= f->threshold;
        a.contradicts |= f->presence != MD_PRESENCE_UNDETERMINED &&
                         above != (f->presence == MD_PRESENCE_PRESENT);
        if (!a.there || f->score > a.score) {
            a.score = f->score;
            a.threshold = f->threshold;
        }
        if (f->presence == MD_PRESENCE_PRESENT || a.presence == MD_PRESENCE_ABSENT) {
            a.presence = f->presence;
        }
        a.there = true;
    }
    return a;
}

/* The columns of one finding; its threshold becomes NaN when it is not the same everywhere. */
static void fill_finding(const md_truth *truth, unsigned index, audit_rows *rows,
                         md_audit_results *results, double *ret_threshold)
{
    const char *column = truth->csv.header[truth->findings[index]];
    double threshold = -1;
    (void)snprintf(results->name, sizeof results->name, "%s", column);
    for (size_t i = 0; i < rows->n; i++) {
        const size_t at = index * rows->n + i;
        const md_reading *r = rows->reports[i];
        const study_answer a = answer_of(r, column);
        rows->truths[at] = md_truth_label(md_csv_field(&truth->csv, i, truth->findings[index]));
        rows->scores[at] = (double)NAN;
        if (!a.there) {
            *(r != NULL && r->has_failure ? &results->n_failed : &results->n_missing) += 1;
            continue;
        }
        results->n_contradicting += a.contradicts;
        if (a.presence == MD_PRESENCE_UNDETERMINED) {
            results->n_undetermined++;
            continue;
        }
        rows->scores[at] = a.score;
        rows->calls[at] = a.presence == MD_PRESENCE_PRESENT;
        *(rows->calls[at] ? &results->n_present : &results->n_absent) += 1;
        threshold = threshold == -1 || threshold == a.threshold ? a.threshold : (double)NAN;
    }
    *ret_threshold = threshold == -1 ? (double)NAN : threshold;
}

/* A column that no report has is a slip of the pen, unless no report has any finding. */
static md_status check_columns(const md_truth *truth, const md_reports *reports,
                               const char *path, md_error *err)
{
    for (unsigned f = 0; f < truth->n_findings; f++) {
        const char *column = truth->csv.header[truth->findings[f]];
        const md_reported_finding *any = NULL;
        bool found = false;
        for (size_t i = 0; i < reports->n && !found; i++) {
            for (size_t k = 0; k < reports->readings[i].n_findings && !reports->out[i]; k++) {
                const md_reported_finding *one = &reports->readings[i].findings[k];
                any = any != NULL ? any : one;
                found = found || means(column, one);
            }
        }
        if (any != NULL && !found) {
            return md_fail(err, MD_INVALID_ARG,
                           "%s:1: column %d is no finding of these reports; one that is: '%s'",
                           path, truth->findings[f] + 1, any->key);
        }
    }
    return MD_OK;
}

static md_status measure(const md_audit_options *options, const md_truth *truth,
                         audit_rows *rows, md_audit *audit, md_error *err)
{
    md_assess_question questions[MD_ASSESS_MAX_QUESTIONS];
    MD_AUTO(md_groups_finish) md_groups groups = {0};
    MD_TRY(md_groups_make(rows->facts, rows->n, options->age_bands, options->n_age_bands,
                          &groups, err));
    audit->results = md_calloc(truth->n_findings, sizeof *audit->results);
    if (audit->results == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u findings", truth->n_findings);
    }
    for (unsigned f = 0; f < truth->n_findings; f++) {
        double threshold = 0;
        fill_finding(truth, f, rows, &audit->results[f], &threshold);
        audit->n_results++;
        questions[f] = (md_assess_question){.name = audit->results[f].name,
                                            .scores = rows->scores + f * rows->n,
                                            .truths = rows->truths + f * rows->n,
                                            .calls = rows->calls + f * rows->n,
                                            .threshold = threshold};
    }
    const md_assess_input input = {.n = rows->n,
                                   .patients = rows->patients,
                                   .questions = questions,
                                   .n_questions = truth->n_findings,
                                   .columns = groups.columns,
                                   .n_columns = groups.n_columns,
                                   .n_bootstrap = options->n_bootstrap,
                                   .seed = options->seed,
                                   .n_threads = options->n_threads};
    return md_assess(&input, &audit->assessment, err);
}

static md_status make(const md_audit_options *options, const md_truth *truth,
                      md_reports *reports, md_audit *audit, md_error *err)
{
    MD_AUTO(audit_rows_finish) audit_rows rows = {0};
    MD_TRY(md_reports_collect(options, reports, audit, err));
    MD_TRY(md_reports_select(options, reports, audit, err));
    MD_TRY(check_columns(truth, reports, options->truth, err));
    MD_TRY(audit_rows_init(&rows, truth, err));
    audit->n_studies = rows.n;
    MD_TRY(join(truth, reports, &rows, audit, err));
    MD_TRY(number_patients(truth, &rows, err));
    collect_facts(truth, &rows);
    return measure(options, truth, &rows, audit, err);
}

md_status md_audit_make(const md_audit_options *options, md_audit *ret_audit, md_error *err)
{
    md_truth truth = {0};
    md_reports reports = {0};
    md_audit audit = {0};
    md_status status = md_truth_read(options->truth, &truth, err);
    if (status == MD_OK) {
        status = make(options, &truth, &reports, &audit, err);
    }
    md_truth_finish(&truth);
    md_reports_finish(&reports);
    if (status != MD_OK) {
        md_audit_finish(&audit);
        return status;
    }
    *ret_audit = audit;
    return MD_OK;
}

void md_audit_finish(md_audit *audit)
{
    md_free(audit->results);
    md_assessment_finish(&audit->assessment);
    *audit = (md_audit){0};
}
