/* medaid-train read: what a text network says of texts. */

#include "daemon/train.h"

#include "inference/text/text_model.h"
#include "plugins/host/package.h"
#include "plugins/train/recipe.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert((int)MD_RESULT_MAX_FINDINGS <= (int)MD_TEXT_MODEL_MAX_LABELS,
               "a place for the answer of either");

typedef struct reader {
    const char *folder;
    char *text; /* NULL: lines of standard input */
    bool jsonl;
    /* A package serves: activation, calibration and thresholds are its own. Else the network of
     * a run folder. */
    md_analyzer *package;
    md_text_model *model;
    char labels[MD_TEXT_MODEL_MAX_LABELS][MD_RECIPE_CLASS_BYTES];
    md_text_activation activation;
} reader;

/* What is said of one text. */
typedef struct answer {
    unsigned n;
    struct {
        const char *label;
        double score, threshold;
        const char *presence; /* NULL: a network by itself judges nothing */
    } rows[MD_TEXT_MODEL_MAX_LABELS];
    const md_text_word *words; /* of a package those that it shows */
    size_t n_words;
    bool is_cut;
    md_text_word shown[MD_EVIDENCE_MAX_WORDS];
} answer;

/* A run folder says what the labels are called; else they have numbers. */
static md_status name_labels(reader *r, md_error *err)
{
    char path[4096];
    MD_AUTO(md_recipe_destroyp) md_recipe *recipe = NULL;
    r->activation = MD_TEXT_SIGMOID;
    for (unsigned k = 0; k < MD_TEXT_MODEL_MAX_LABELS; k++) {
        (void)snprintf(r->labels[k], sizeof r->labels[k], "output %u", k);
    }
    if (snprintf(path, sizeof path, "%s/recipe.yaml", r->folder) >= (int)sizeof path) {
        return md_fail(err, MD_INVALID_ARG, "the folder's name is too long");
    }
    if (access(path, R_OK) != 0) {
        return MD_OK;
    }
    MD_TRY(md_recipe_read(path, &recipe, err));
    r->activation =
        recipe->data.task == MD_TASK_MULTI_LABEL ? MD_TEXT_SIGMOID : MD_TEXT_SOFTMAX;
    for (unsigned k = 0; k < recipe->data.n_classes && k < MD_TEXT_MODEL_MAX_LABELS; k++) {
        (void)snprintf(r->labels[k], sizeof r->labels[k], "%s", recipe->data.classes[k]);
    }
    return MD_OK;
}

static md_status ask_network(reader *r, const char *text, size_t n, answer *ret, md_error *err)
{
    md_text_result result = {0};
    MD_TRY(md_text_model_run(r->model, text, n, &result, err));
    ret->n = result.n_labels;
    for (unsigned k = 0; k < result.n_labels; k++) {
        ret->rows[k].label = r->labels[k];
        ret->rows[k].score = (double)result.scores[k];
    }
    ret->words = result.words;
    ret->n_words = result.n_words;
    ret->is_cut = result.is_cut;
    return MD_OK;
}

static md_status ask_package(reader *r, char *text, size_t n, answer *ret, md_error *err)
{
    md_text_evidence evidence = {.text = text};
    md_finding findings[MD_RESULT_MAX_FINDINGS] = {0};
    if (strlen(text) != n) {
        return md_fail(err, MD_FORMAT, "a byte of the text is zero: this is no text");
    }
    if (n > MD_EVIDENCE_TEXT_BYTES) {
        return md_fail(err, MD_LIMIT, "a text of %zu bytes, at most %d are read", n,
                       (int)MD_EVIDENCE_TEXT_BYTES);
    }
    MD_TRY(r->package->ops->analyse_text(r->package, &evidence, findings, err));
    ret->n = r->package->n_findings;
    for (unsigned i = 0; i < ret->n; i++) {
        ret->rows[i].label = r->package->specs[i].key;
        ret->rows[i].score = findings[i].score;
        ret->rows[i].threshold = findings[i].threshold;
        ret->rows[i].presence = md_presence_name(findings[i].presence);
    }
    for (unsigned i = 0; i < evidence.n_words; i++) {
        const md_highlight *w = &evidence.words[i];
        ret->shown[i] = (md_text_word){.begin = w->range.first_byte,
                                       .end = w->range.first_byte + w->range.n_bytes,
                                       .attention = (float)w->weight,
                                       .negated = w->negated};
    }
    ret->words = ret->shown;
    ret->n_words = evidence.n_words;
    ret->is_cut = evidence.is_cut;
    return MD_OK;
}

static void print_answer(const answer *a, const char *text)
{
    for (unsigned k = 0; k < a->n; k++) {
        printf("%-24s %.4f", a->rows[k].label, a->rows[k].score);
        if (a->rows[k].presence != NULL) {
            printf("  %s (threshold %g)", a->rows[k].presence, a->rows[k].threshold);
        }
        putchar('\n');
    }
    printf("words, by attention:");
    for (size_t i = 0; i < a->n_words; i++) {
        const md_text_word *w = &a->words[i];
        printf(" %.*s%s[%.0f%%]", (int)(w->end - w->begin), text + w->begin,
               w->negated ? "(negated)" : "", 100.0 * (double)w->attention);
    }
    printf("%s\n", a->is_cut ? " ... (not read further)" : "");
}

static md_status put_line(json_t *line, md_error *err)
{
    const bool fine = line != NULL &&
                      json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(7)) == 0 &&
                      fputc('\n', stdout) != EOF;
    json_decref(line);
    return fine ? MD_OK : md_fail(err, MD_IO, "the result cannot be written");
}

static md_status print_json(const reader *r, const answer *a, const char *text, md_error *err)
{
    json_t *scores = json_object(), *words = json_array();
    json_t *findings = r->package != NULL ? json_object() : NULL;
    for (unsigned k = 0; k < a->n; k++) {
        (void)json_object_set_new(scores, a->rows[k].label, json_real(a->rows[k].score));
        if (findings != NULL) {
            (void)json_object_set_new(findings, a->rows[k].label,
                                      json_string(a->rows[k].presence));
        }
    }
    for (size_t i = 0; i < a->n_words; i++) {
        const md_text_word *w = &a->words[i];
        json_t *word =
            json_pack("{s:s%, s:i, s:i, s:f, s:b}", "word", text + w->begin,
                      (size_t)(w->end - w->begin), "begin", (int)w->begin, "end", (int)w->end,
                      "attention", (double)w->attention, "negated", w->negated);
        if (r->package == NULL) {
            (void)json_object_set_new(word, "known", json_boolean(w->is_known));
        }
        (void)json_array_append_new(words, word);
    }
    return put_line(json_pack("{s:o, s:o*, s:o, s:b}", "scores", scores, "findings", findings,
                              "words", words, "cut", a->is_cut),
                    err);
}

static md_status read_one(reader *r, char *text, size_t n, md_error *err)
{
    answer a = {0};
    md_error reason = {0};
    const md_status status = r->package != NULL ? ask_package(r, text, n, &a, &reason)
                                                : ask_network(r, text, n, &a, &reason);
    if (status != MD_OK && r->text == NULL) { /* the others are read all the same */
        if (r->jsonl) {
            return put_line(json_pack("{s:s}", "error", reason.msg), err);
        }
        printf("not read: %s\n", reason.msg);
        return MD_OK;
    }
    if (status != MD_OK) {
        return md_fail(err, status, "%s", reason.msg);
    }
    if (r->jsonl) {
        return print_json(r, &a, text, err);
    }
    print_answer(&a, text);
    return MD_OK;
}

static md_status open_folder(reader *r, md_error *err)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/model.yaml", r->folder) >= (int)sizeof path) {
        return md_fail(err, MD_INVALID_ARG, "the folder's name is too long");
    }
    if (access(path, F_OK) != 0) {
        MD_TRY(name_labels(r, err));
        const md_text_model_options options = {.activation = r->activation};
        return md_text_model_open(r->folder, &options, &r->model, err);
    }
    const md_package_options options = {.n_threads = 1, .any_kind = true};
    MD_TRY(md_package_open(r->folder, r->folder, &options, &r->package, err));
    return r->package->kind == MD_ANALYZER_TEXT
               ? MD_OK
               : md_fail(err, MD_UNSUPPORTED, "%s: a package of kind %s, expected text",
                         r->folder, md_analyzer_kind_name(r->package->kind));
}

static md_status read_all(reader *r, md_error *err)
{
    MD_TRY(open_folder(r, err));
    if (r->text != NULL) {
        return read_one(r, r->text, strlen(r->text), err);
    }
    char *line = NULL;
    size_t room = 0;
    md_status status = MD_OK;
    for (;;) {
        ssize_t n = getline(&line, &room, stdin);
        if (n < 0 || status != MD_OK) {
            break;
        }
        n -= n > 0 && line[n - 1] == '\n' ? 1 : 0;
        line[n] = '\0';
        status = read_one(r, line, (size_t)n, err);
    }
    free(line);
    return status;
}

md_exit_code md_train_read(int argc, char **argv)
{
    md_error err = {0};
    reader r = {0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--jsonl") == 0) {
            r.jsonl = true;
        } else if (r.folder == NULL) {
            r.folder = argv[i];
        } else if (r.text == NULL) {
            r.text = argv[i];
        } else {
            fprintf(stderr,
                    "medaid-train read: one text, or none and lines on standard input\n");
            return MD_EXIT_USAGE;
        }
    }
    if (r.folder == NULL) {
        fputs("medaid-train read: name a folder, see medaid-train --help\n", stderr);
        return MD_EXIT_USAGE;
    }
    const md_status status = read_all(&r, &err);
    md_text_model_destroy(r.model);
    md_analyzer_destroy(r.package);
    if (status != MD_OK) {
        fprintf(stderr, "medaid-train: %s\n", err.msg);
    }
    return md_train_exit_code(status);
}
