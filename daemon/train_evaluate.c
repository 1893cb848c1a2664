/* medaid-train evaluate: measure a model on films, or stored reports against the truth. */

#include "daemon/train.h"

#include "dicom/dataset/dataset.h"
#include "plugins/train/audit.h"
#include "plugins/train/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct evaluate_line {
    const char *model, *data, *part, *reports, *truth, *model_id, *out, *backend;
    double threads, bootstrap, seed;
    bool names;
} evaluate_line;

typedef struct evaluate_option {
    const char *name;
    const char **text; /* one of the two */
    double *number;
    double least, most;
} evaluate_option;

static bool number_of(const char *text, double least, double most, double *ret)
{
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most) ||
        value != floor(value)) {
        return false;
    }
    *ret = value;
    return true;
}

/* false: the command line is wrong, and that was said. */
static bool take_option(const evaluate_option *options, int argc, char **argv, int *at)
{
    const evaluate_option *o = options;
    while (o->name != NULL && strcmp(argv[*at], o->name) != 0) {
        o++;
    }
    if (o->name == NULL) {
        fprintf(stderr, "medaid-train evaluate: what is '%s'? see medaid-train --help\n",
                argv[*at]);
        return false;
    }
    if (*at + 1 >= argc) {
        fprintf(stderr, "medaid-train evaluate: %s takes a value\n", o->name);
        return false;
    }
    const char *value = argv[++*at];
    if (o->text != NULL) {
        *o->text = value;
        return true;
    }
    if (!number_of(value, o->least, o->most, o->number)) {
        fprintf(stderr, "medaid-train evaluate: %s takes a whole number, %.0f to %.0f\n",
                o->name, o->least, o->most);
        return false;
    }
    return true;
}

static bool check_line(const evaluate_line *line)
{
    const bool audit = line->reports != NULL || line->truth != NULL;
    const char *wrong = NULL;
    if (audit && (line->model != NULL || line->data != NULL || line->part != NULL ||
                  line->backend != NULL)) {
        wrong = "--reports and --truth go without a model, --data, --part and --backend";
    } else if (audit && (line->reports == NULL || line->truth == NULL)) {
        wrong = "--reports and --truth go together";
    } else if (!audit && (line->model == NULL || line->data == NULL)) {
        wrong = "name a model and --data, or --reports and --truth";
    } else if (!audit && line->model_id != NULL) {
        wrong = "--model is for --reports";
    }
    if (wrong != NULL) {
        fprintf(stderr, "medaid-train evaluate: %s; see medaid-train --help\n", wrong);
    }
    return wrong == NULL;
}

static bool parse(int argc, char **argv, evaluate_line *line)
{
    const evaluate_option options[] = {
        {"--data", &line->data, NULL, 0, 0},
        {"--part", &line->part, NULL, 0, 0},
        {"--reports", &line->reports, NULL, 0, 0},
        {"--truth", &line->truth, NULL, 0, 0},
        {"--model", &line->model_id, NULL, 0, 0},
        {"--out", &line->out, NULL, 0, 0},
        {"--backend", &line->backend, NULL, 0, 0},
        {"--threads", NULL, &line->threads, 1, 64},
        {"--bootstrap", NULL, &line->bootstrap, 100, 100000},
        {"--seed", NULL, &line->seed, 0, 9007199254740992.0},
        {NULL, NULL, NULL, 0, 0},
    };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--names") == 0) {
            line->names = true;
        } else if (argv[i][0] != '-' && line->model == NULL) {
            line->model = argv[i];
        } else if (!take_option(options, argc, argv, &i)) {
            return false;
        }
    }
    return check_line(line);
}

void md_train_print_estimate(const char *name, const md_estimate *e)
{
    if (isnan(e->value)) {
        printf("  %-40s not defined\n", name);
    } else if (e->method == MD_ASSESS_NO_INTERVAL) {
        printf("  %-40s %.4f\n", name, e->value);
    } else {
        printf("  %-40s %.4f  (%.4f to %.4f)  %s\n", name, e->value, e->low, e->high,
               md_assess_method_key(e->method));
    }
}

static void print_threshold(const char *name, const md_threshold *t)
{
    if (t->there) {
        printf("  %-40s %.4f  sensitivity %.4f, specificity %.4f\n", name, t->threshold,
               md_tally_sensitivity(&t->tally), md_tally_specificity(&t->tally));
    } else {
        printf("  %-40s none\n", name);
    }
}

static void print_groups(const md_assess_answer *a)
{
    for (size_t i = 0; i < a->n_groups; i++) {
        const md_assess_group *g = &a->groups[i];
        const md_measures *m = &g->measures;
        char name[2 * MD_ASSESS_NAME_BYTES + 4];
        (void)snprintf(name, sizeof name, "%s: %s", g->column, g->label);
        printf("  %-40s %zu with, %zu without: ", name, m->n_positive, m->n_negative);
        if (g->too_small) {
            printf("too few to tell\n");
        } else {
            const md_estimate *auc = &m->of[MD_MEASURE_AUC];
            printf("AUC %.4f (%.4f to %.4f), sensitivity %.4f, specificity %.4f\n", auc->value,
                   auc->low, auc->high, m->of[MD_MEASURE_SENSITIVITY].value,
                   m->of[MD_MEASURE_SPECIFICITY].value);
        }
    }
}

static void print_answer(const md_assess_answer *a)
{
    const md_measures *m = &a->measures;
    printf("\n%s: %zu of %zu patients, %zu with and %zu without it", a->name, m->n,
           m->n_patients, m->n_positive, m->n_negative);
    printf(isnan(a->threshold) ? ", thresholds differ\n" : ", threshold %.4g\n", a->threshold);
    for (unsigned k = 0; k < MD_N_MEASURES; k++) {
        md_train_print_estimate(md_measure_name((md_measure_kind)k), &m->of[k]);
    }
    print_threshold("threshold by Youden", &a->youden);
    print_threshold("threshold for sensitivity 0.95", &a->sensitivity_95);
    print_threshold("threshold for specificity 0.95", &a->specificity_95);
    if (a->temperature.there) {
        printf("  %-40s T %.4f%s, calibration error %.4f on patients not seen\n",
               "temperature fitted", 1 / a->temperature.a,
               a->temperature.at_limit ? " (its limit)" : "", a->temperature.error);
    }
    if (a->platt.there) {
        printf("  %-40s a %.4f, b %.4f, calibration error %.4f on patients not seen\n",
               "Platt fitted", a->platt.a, a->platt.b, a->platt.error);
    }
    print_groups(a);
}

static void print_assessment(const md_assessment *a)
{
    if (a->n_classes > 0) {
        printf("\nclasses\n");
        md_train_print_estimate("accuracy", &a->class_accuracy);
        md_train_print_estimate("mean of the classes' sensitivities", &a->balanced_accuracy);
        md_train_print_estimate("calibration error of the answer", &a->top_calibration_error);
    }
    for (unsigned q = 0; q < a->n_answers; q++) {
        print_answer(&a->answers[q]);
    }
}

/* Told of problems and of progress. */
typedef struct teller {
    bool names, terminal;
    size_t n_problems;
} teller;

static void tell_problem(void *context, const char *path, const md_error *reason)
{
    teller *t = context;
    t->n_problems++;
    if (t->names) {
        fprintf(stderr, "%s: %s\n", path, reason->msg);
    }
}

static void tell_progress(void *context, size_t n_done, size_t n_all)
{
    const teller *t = context;
    if (t->terminal && (n_done % 50 == 0 || n_done == n_all)) {
        fprintf(stderr, "\r%zu of %zu films%s", n_done, n_all, n_done == n_all ? "\n" : "");
    }
}

static md_status part_named(const char *text, md_part *ret_part, md_error *err)
{
    *ret_part = MD_PART_NONE;
    if (text == NULL) {
        return MD_OK;
    }
    for (unsigned p = MD_PART_TRAIN; p < MD_N_PARTS; p++) {
        if (strcmp(text, md_part_name((md_part)p)) == 0) {
            *ret_part = (md_part)p;
            return MD_OK;
        }
    }
    return md_fail(err, MD_INVALID_ARG, "--part takes train, validation or test");
}

static md_status evaluate_model(const evaluate_line *line, teller *t, bool *ret_writing,
                                md_error *err)
{
    md_evaluation_of_model e = {0};
    md_evaluate_options options = {.model = line->model,
                                   .data = line->data,
                                   .backend = line->backend,
                                   .n_threads = (unsigned)line->threads,
                                   .n_bootstrap = (unsigned)line->bootstrap,
                                   .seed = (uint64_t)line->seed,
                                   .on_progress = tell_progress,
                                   .on_problem = tell_problem,
                                   .context = t};
    t->names = true; /* films of a training set, which fit names, too */
    MD_TRY(part_named(line->part, &options.part, err));
    MD_TRY(md_evaluate_model(&options, &e, err));
    printf("%s %s, part %s: %zu films, %zu unreadable, %zu refused, %zu failed\n", e.id,
           e.version, e.part, e.n_images, e.n_unreadable, e.n_refused, e.n_failed);
    print_assessment(&e.assessment);
    *ret_writing = true;
    const md_status status =
        line->out != NULL ? md_evaluation_of_model_write(&e, line->out, err) : MD_OK;
    md_evaluation_of_model_finish(&e);
    return status;
}

static md_status audit_reports(const evaluate_line *line, teller *t, bool *ret_writing,
                               md_error *err)
{
    md_audit a = {0};
    const md_audit_options options = {.reports = line->reports,
                                      .truth = line->truth,
                                      .model = line->model_id,
                                      .n_threads = (unsigned)line->threads,
                                      .n_bootstrap = (unsigned)line->bootstrap,
                                      .seed = (uint64_t)line->seed,
                                      .on_problem = tell_problem,
                                      .context = t};
    MD_TRY(md_audit_make(&options, &a, err));
    printf("%s: %zu files, %zu reports in force (%zu failed, %zu partial), %zu unreadable, %zu "
           "replaced, %zu repeated, %zu of other models, %zu no report of medaid\n",
           a.models[0].id, a.n_files, a.n_reports, a.n_failed_reports, a.n_partial,
           a.n_unreadable, a.n_replaced, a.n_repeated, a.n_other_model, a.n_other);
    printf("truth: %zu studies, %zu without a report; %zu reports without a truth\n",
           a.n_studies, a.n_without_report, a.n_without_truth);
    for (unsigned i = 0; i < a.n_results; i++) {
        const md_audit_results *r = &a.results[i];
        printf("%s: %zu present, %zu absent, %zu undetermined, %zu failed, %zu missing, %zu "
               "contradicting\n",
               r->name, r->n_present, r->n_absent, r->n_undetermined, r->n_failed, r->n_missing,
               r->n_contradicting);
    }
    print_assessment(&a.assessment);
    *ret_writing = true;
    const md_status status = line->out != NULL ? md_audit_write(&a, line->out, err) : MD_OK;
    md_audit_finish(&a);
    return status;
}

md_exit_code md_train_evaluate(int argc, char **argv)
{
    md_error err = {0};
    evaluate_line line = {0};
    bool writing = false;
    if (!parse(argc, argv, &line)) {
        return MD_EXIT_USAGE;
    }
    teller t = {.names = line.names, .terminal = isatty(STDERR_FILENO) == 1};
    md_status status = md_dicom_init(&err);
    if (status == MD_OK) {
        status = line.reports != NULL ? audit_reports(&line, &t, &writing, &err)
                                      : evaluate_model(&line, &t, &writing, &err);
    }
    md_dicom_finish();
    if (t.n_problems > 0 && !t.names) {
        fprintf(stderr, "medaid-train: %zu files cannot be read; --names says which\n",
                t.n_problems);
    }
    if (status != MD_OK) {
        fprintf(stderr, "medaid-train: %s\n", err.msg);
    } else if (line.out != NULL) {
        printf("\nwritten: %s/report.html, evaluation.json and charts\n", line.out);
    }
    return writing && (status == MD_IO || status == MD_NOT_FOUND) ? MD_EXIT_WRITING
                                                                  : md_train_exit_code(status);
}
