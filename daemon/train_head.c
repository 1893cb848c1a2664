/* medaid-train head: a new finding from few labelled films. */

#include "daemon/train.h"

#include "dicom/dataset/dataset.h"
#include "plugins/train/head.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: medaid-train head PACKAGE DATA --finding KEY [--code VALUE,SCHEME,MEANING --out "
    "DIR]\n"
    "\n"
    "Learn the finding KEY from few labelled films, with the network of the model package "
    "PACKAGE\n"
    "up to its last layer, and write it as a model package that serves as it is.\n"
    "\n"
    "  DATA           a table (.csv): file, KEY (1 or 0), and perhaps patient and part; or a "
    "folder:\n"
    "                 films below its sub-folder KEY have it, those below others have not\n"
    "  --finding KEY  small letters, digits, '_' and '-'\n"
    "  --out DIR      the new package, which must not exist; without it only figures\n"
    "  --code V,S,M   the finding's code, scheme and meaning, as 53084003,SCT,\"Bacterial "
    "pneumonia\"\n"
    "  --site V,S,M   its site\n"
    "  --urgent       it is urgent\n"
    "  --threshold P  present from this score on (default: by cross-validation)\n"
    "  --id ID, --model-version V, --name NAME, --manufacturer NAME, --about TEXT\n"
    "  --curve N,N,.. the area under the ROC curve with so many films each, measured on the "
    "films of\n"
    "                 part 'validation'\n"
    "  --draws N      so often each (10)\n"
    "  --charts DIR   curve.svg and curve.png there\n"
    "  --threads N, --backend NAME, --seed N\n";

typedef struct wishes {
    md_head_options options;
    const char *places[2];
    unsigned n_places;
} wishes;

static bool whole_number(const char *text, unsigned long long least, unsigned long long most,
                         unsigned long long *ret)
{
    char *end = NULL;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *ret >= least &&
           *ret <= most;
}

/* "233604007,SCT,Pneumonia"; the meaning may hold commas. */
static bool read_code(const char *text, md_code *ret_code)
{
    const char *first = strchr(text, ',');
    const char *second = first == NULL ? NULL : strchr(first + 1, ',');
    if (second == NULL || second[1] == '\0') {
        return false;
    }
    const int a =
        snprintf(ret_code->value, sizeof ret_code->value, "%.*s", (int)(first - text), text);
    const int b = snprintf(ret_code->scheme, sizeof ret_code->scheme, "%.*s",
                           (int)(second - first - 1), first + 1);
    const int c = snprintf(ret_code->meaning, sizeof ret_code->meaning, "%s", second + 1);
    return a > 0 && (size_t)a < sizeof ret_code->value && b > 0 &&
           (size_t)b < sizeof ret_code->scheme && c > 0 && (size_t)c < sizeof ret_code->meaning;
}

static bool read_sizes(const char *text, md_head_options *options)
{
    char copy[256];
    if (strlen(text) >= sizeof copy) {
        return false;
    }
    memcpy(copy, text, strlen(text) + 1);
    char *rest = copy;
    for (char *part; (part = strsep(&rest, ",")) != NULL;) {
        unsigned long long n = 0;
        if (options->n_sizes == MD_HEAD_MAX_SIZES ||
            !whole_number(part, 1, MD_HEAD_MAX_FILMS, &n)) {
            return false;
        }
        options->sizes[options->n_sizes++] = (unsigned)n;
    }
    return true;
}

/* A value that is kept as it is: where it goes, NULL for other options. */
static const char **text_of(md_head_options *o, const char *option)
{
    const struct {
        const char *name;
        const char **to;
    } rows[] = {{"--finding", &o->finding}, {"--out", &o->out},
                {"--id", &o->id},           {"--model-version", &o->version},
                {"--name", &o->name},       {"--manufacturer", &o->manufacturer},
                {"--about", &o->about},     {"--charts", &o->charts},
                {"--backend", &o->backend}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(option, rows[i].name) == 0) {
            return rows[i].to;
        }
    }
    return NULL;
}

/* false: the value is of no use. */
static bool take(md_head_options *o, const char *option, const char *value)
{
    unsigned long long n = 0;
    char *end = NULL;
    if (strcmp(option, "--code") == 0) {
        return read_code(value, &o->concept);
    }
    if (strcmp(option, "--site") == 0) {
        return read_code(value, &o->site);
    }
    if (strcmp(option, "--curve") == 0) {
        return read_sizes(value, o);
    }
    if (strcmp(option, "--threshold") == 0) {
        o->threshold = strtod(value, &end);
        return end != value && *end == '\0' && o->threshold >= 0.0 && o->threshold <= 1.0;
    }
    if (strcmp(option, "--seed") == 0) {
        bool fine = whole_number(value, 0, UINT64_MAX, &n);
        o->seed = n;
        return fine;
    }
    const bool draws = strcmp(option, "--draws") == 0;
    if (!draws && strcmp(option, "--threads") != 0) {
        return false;
    }
    bool fine = whole_number(value, draws ? 2 : 1,
                             draws ? MD_HEAD_MAX_DRAWS : MD_NETWORK_MAX_THREADS, &n);
    *(draws ? &o->n_draws : &o->n_threads) = (unsigned)n;
    return fine;
}

/* false: the command line is wrong, and that was said. */
static bool parse(int argc, char **argv, wishes *w)
{
    for (int i = 1; i < argc; i++) {
        const char **text = text_of(&w->options, argv[i]);
        if (strcmp(argv[i], "--urgent") == 0) {
            w->options.urgent = true;
        } else if (argv[i][0] != '-' && w->n_places < 2) {
            w->places[w->n_places++] = argv[i];
        } else if (i + 1 < argc && text != NULL) {
            *text = argv[++i];
        } else if (i + 1 < argc && take(&w->options, argv[i], argv[i + 1])) {
            i++;
        } else {
            fprintf(stderr, "medaid-train head: what is '%s'? see medaid-train head --help\n",
                    argv[i]);
            return false;
        }
    }
    if (w->n_places < 2 || w->options.finding == NULL ||
        (w->options.out == NULL) != (w->options.concept.value[0] == '\0')) {
        fputs(usage, stderr);
        return false;
    }
    w->options.package = w->places[0];
    w->options.data = w->places[1];
    return true;
}

/* File names may be a patient's: the first line says how many, not which. */
static void on_problem(void *context, const char *path, const md_error *reason)
{
    (void)context;
    (void)path;
    fprintf(stderr, "left out: %s\n", reason->msg);
}

static void print_report(const md_head_report *r)
{
    static const md_measure_kind kinds[] = {MD_MEASURE_AUC, MD_MEASURE_SENSITIVITY,
                                            MD_MEASURE_SPECIFICITY, MD_MEASURE_ACCURACY,
                                            MD_MEASURE_CALIBRATION_ERROR};
    const md_assess_answer *a = &r->assessment.answers[0];
    printf(
        "learnt from %zu films of %zu patients, %zu with the finding, %u numbers each, C %g\n",
        r->n_films, r->n_patients, r->n_positive, r->n_values, r->c);
    if (r->n_left_out > 0) {
        printf("left out: %zu films\n", r->n_left_out);
    }
    printf("%s, %zu films of %zu patients, threshold %g:\n",
           r->n_held > 0 ? "on films held back" : "by cross-validation by patient",
           a->measures.n, a->measures.n_patients, a->threshold);
    if (r->threshold_on_same) {
        printf("  (the threshold was chosen on these same scores: on other films expect "
               "somewhat less)\n");
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        md_train_print_estimate(md_measure_name(kinds[i]), &a->measures.of[kinds[i]]);
    }
    for (unsigned i = 0; i < r->n_points; i++) {
        const md_head_point *p = &r->points[i];
        if (i == 0) {
            printf("%8s  %8s  %-19s  %9s  %s\n", "films", "mean AUC", "95% of the mean",
                   "deviation", "least to most");
        }
        if (p->n_films > 0) {
            printf("%8u  %8.4f  %.4f to %.4f     %9.4f  %.4f to %.4f\n", p->n_films, p->mean,
                   p->low, p->high, p->deviation, p->least, p->most);
        }
    }
    printf("seconds: %.1f for the films, %.2f to fit and measure, %.1f to write the package\n",
           r->embed_s, r->fit_s, r->export_s);
}

md_exit_code md_train_head(int argc, char **argv)
{
    md_error err = {0};
    wishes w = {.options = {.threshold = (double)NAN, .n_draws = 10, .on_problem = on_problem}};
    md_head_report report = {0};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return MD_EXIT_OK;
    }
    if (!parse(argc, argv, &w)) {
        return MD_EXIT_USAGE;
    }
    md_status status = md_dicom_init(&err);
    if (status == MD_OK) {
        status = md_head_run(&w.options, &report, &err);
        md_dicom_finish();
    }
    if (status == MD_OK) {
        print_report(&report);
    } else {
        fprintf(stderr, "medaid-train head: %s\n", err.msg);
    }
    if (status == MD_OK && w.options.out != NULL) {
        printf("%s\n", w.options.out);
    }
    md_head_report_finish(&report);
    return md_train_exit_code(status);
}
