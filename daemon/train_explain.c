/* medaid-train explain: can the maps of a model be believed. */

#include "daemon/train.h"

#include "dicom/dataset/dataset.h"
#include "plugins/train/explain.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: medaid-train explain DIR --data FOLDER|TABLE.csv [--out DIR] [--finding KEY]\n"
    "         [--films N] [--pictures N] [--tolerance PIXELS] [--seed N] [--threads N]\n"
    "\n"
    "Two tests of the maps that the model package DIR shows. Randomised weights: the network\n"
    "forgets its last layer, then more and more of them; the maps should change. Pointing:\n"
    "where a table says with x, y, width and height (pixels) what is where, the map's largest\n"
    "value should lie there.\n"
    "\n"
    "  --data       films, or a table with the columns file and, for pointing, x, y, width,\n"
    "               height\n"
    "  --out        folder for explain.json and pictures\n"
    "  --finding    key of the finding (default: the first)\n"
    "  --films      films of the test of weights (default 16; 0: no test)\n"
    "  --pictures   films that are drawn (default 8)\n"
    "  --tolerance  so far outside of a rectangle still counts (default 15)\n"
    "  --seed       of the weights that are drawn (default 1)\n"
    "  --threads    at most N threads (default: all cores)\n";

typedef struct number_option {
    const char *name;
    double least, most, value;
} number_option;

enum {
    N_FILMS,
    N_PICTURES,
    TOLERANCE,
    SEED,
    THREADS,
    N_NUMBERS
};

static bool take_number(number_option *numbers, const char *name, const char *text,
                        bool *ret_ok)
{
    for (unsigned i = 0; i < N_NUMBERS; i++) {
        number_option *o = &numbers[i];
        if (strcmp(name, o->name) == 0) {
            char *end = NULL;
            o->value = strtod(text, &end);
            *ret_ok = end != text && *end == '\0' && o->value >= o->least &&
                      o->value <= o->most && o->value == floor(o->value);
            if (!*ret_ok) {
                fprintf(stderr, "medaid-train explain: %s takes a whole number, %.0f to %.0f\n",
                        o->name, o->least, o->most);
            }
            return true;
        }
    }
    return false;
}

/* false: the command line is wrong, and that was said. */
static bool parse(int argc, char **argv, md_explain_options *options)
{
    number_option numbers[N_NUMBERS] = {{"--films", 0, MD_EXPLAIN_MAX_FILMS, 16},
                                        {"--pictures", 0, MD_EXPLAIN_MAX_FILMS, 8},
                                        {"--tolerance", 0, 1e6, 15},
                                        {"--seed", 0, 4294967295.0, 1},
                                        {"--threads", 1, MD_NETWORK_MAX_THREADS, 0}};
    for (int i = 1; i < argc; i++) {
        const bool has_value = i + 1 < argc;
        bool ok = true;
        const char **text = strcmp(argv[i], "--data") == 0      ? &options->data
                            : strcmp(argv[i], "--out") == 0     ? &options->out
                            : strcmp(argv[i], "--finding") == 0 ? &options->finding
                                                                : NULL;
        if (text != NULL && has_value) {
            *text = argv[++i];
        } else if (argv[i][0] == '-' && has_value &&
                   take_number(numbers, argv[i], argv[i + 1], &ok)) {
            i++;
        } else if (argv[i][0] != '-' && options->model == NULL) {
            options->model = argv[i];
        } else {
            fputs(usage, stderr);
            return false;
        }
        if (!ok) {
            return false;
        }
    }
    if (options->model == NULL || options->data == NULL) {
        fputs(usage, stderr);
        return false;
    }
    options->n_randomised = (unsigned)numbers[N_FILMS].value;
    options->n_pictures = (unsigned)numbers[N_PICTURES].value;
    options->tolerance = numbers[TOLERANCE].value;
    options->seed = (uint64_t)numbers[SEED].value;
    options->n_threads = (unsigned)numbers[THREADS].value;
    return true;
}

static void print_mean(const md_explain_mean *m)
{
    if (m->n == 0) {
        fputs("                     -", stdout);
    } else {
        printf("  %6.3f (%6.3f..%6.3f)", m->mean, m->low, m->high);
    }
}

static void print_stages(const md_explanation *r)
{
    if (r->n_stages == 0) {
        return;
    }
    printf("randomised weights, %u films: like the trained network's maps (1: the same)\n"
           "  layers     rank correlation           structural similarity   flat  down to\n",
           r->n_randomised);
    for (unsigned i = 0; i < r->n_stages; i++) {
        const md_explain_stage *s = &r->stages[i];
        printf("  %3u of %-3u", s->n_layers, r->n_layers);
        print_mean(&s->rank_correlation);
        print_mean(&s->similarity);
        printf("  %4u  %s\n", s->n_flat, s->last);
    }
    const md_explain_mean *last = &r->stages[r->n_stages - 1].rank_correlation;
    if (last->n > 0 && last->mean > 0.5) {
        puts("  the maps hardly depend on what was learned: they should not be shown");
    }
}

static void print_pointing(const md_explanation *r)
{
    if (r->pointing.n == 0) {
        return;
    }
    printf("pointing, %llu films: %llu hit, %.3f (%.3f to %.3f); by chance %.3f\n"
           "  share of the map inside: %.3f; films with an empty map: %u\n",
           (unsigned long long)r->pointing.n, (unsigned long long)r->pointing.n_hits,
           r->pointing.value, r->pointing.low, r->pointing.high, r->area, r->energy,
           r->n_without_map);
}

md_exit_code md_train_explain(int argc, char **argv)
{
    md_error err = {0};
    md_explain_options options = {.progress = stderr};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return MD_EXIT_OK;
    }
    if (!parse(argc, argv, &options)) {
        return MD_EXIT_USAGE;
    }
    md_explanation *result = md_calloc(1, sizeof *result);
    md_status status =
        result == NULL ? md_fail(&err, MD_NOMEM, "no memory to explain") : md_dicom_init(&err);
    if (status == MD_OK) {
        status = md_explain_run(&options, result, &err);
    }
    if (status == MD_OK) {
        printf("%s %s, %s of '%s': %u films, %u unreadable\n", result->id, result->version,
               result->method, result->finding, result->n_films, result->n_unreadable);
        print_stages(result);
        print_pointing(result);
    } else {
        fprintf(stderr, "medaid-train: %s\n", err.msg);
    }
    md_free(result);
    md_dicom_finish();
    return md_train_exit_code(status);
}
