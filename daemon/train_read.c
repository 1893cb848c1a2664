/* medaid-train read: what a text network says of texts. */

#include "daemon/train.h"

#include "inference/text/text_model.h"
#include "plugins/train/recipe.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct reader {
    const char *folder, *text; /* text NULL: lines of standard input */
    bool jsonl;
    md_text_model *model;
    char labels[MD_TEXT_MODEL_MAX_LABELS][MD_RECIPE_CLASS_BYTES];
    md_text_activation activation;
} reader;

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

static void print_words(const md_text_result *result, const char *text)
{
    printf("words, by attention:");
    for (size_t i = 0; i < result->n_words; i++) {
        const md_text_word *w = &result->words[i];
        printf(" %.*s%s[%.0f%%]", (int)(w->end - w->begin), text + w->begin,
               w->negated ? "(negated)" : "", 100.0 * (double)w->attention);
    }
    printf("%s\n", result->is_cut ? " ... (not read further)" : "");
}

static md_status print_json(const reader *r, const md_text_result *result, const char *text,
                            md_error *err)
{
    json_t *scores = json_object(), *words = json_array();
    for (unsigned k = 0; k < result->n_labels; k++) {
        (void)json_object_set_new(scores, r->labels[k], json_real((double)result->scores[k]));
    }
    for (size_t i = 0; i < result->n_words; i++) {
        const md_text_word *w = &result->words[i];
        (void)json_array_append_new(
            words, json_pack("{s:s%, s:i, s:i, s:f, s:b, s:b}", "word", text + w->begin,
                             (size_t)(w->end - w->begin), "begin", (int)w->begin, "end",
                             (int)w->end, "attention", (double)w->attention, "negated",
                             w->negated, "known", w->is_known));
    }
    json_t *line =
        json_pack("{s:o, s:o, s:b}", "scores", scores, "words", words, "cut", result->is_cut);
    const bool fine = line != NULL &&
                      json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(7)) == 0 &&
                      fputc('\n', stdout) != EOF;
    json_decref(line);
    return fine ? MD_OK : md_fail(err, MD_IO, "the result cannot be written");
}

static md_status read_one(reader *r, const char *text, size_t n, md_error *err)
{
    md_text_result result = {0};
    md_error reason = {0};
    const md_status status = md_text_model_run(r->model, text, n, &result, &reason);
    if (status != MD_OK && r->text == NULL && r->jsonl) { /* the others are read all the same */
        json_t *line = json_pack("{s:s}", "error", reason.msg);
        const bool fine = line != NULL && json_dumpf(line, stdout, JSON_COMPACT) == 0 &&
                          fputc('\n', stdout) != EOF;
        json_decref(line);
        return fine ? MD_OK : md_fail(err, MD_IO, "the result cannot be written");
    }
    if (status != MD_OK) {
        return md_fail(err, status, "%s", reason.msg);
    }
    if (r->jsonl) {
        return print_json(r, &result, text, err);
    }
    for (unsigned k = 0; k < result.n_labels; k++) {
        printf("%-24s %.4f\n", r->labels[k], (double)result.scores[k]);
    }
    print_words(&result, text);
    return MD_OK;
}

static md_status read_all(reader *r, md_error *err)
{
    MD_TRY(name_labels(r, err));
    const md_text_model_options options = {.activation = r->activation};
    MD_TRY(md_text_model_open(r->folder, &options, &r->model, err));
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
    if (status != MD_OK) {
        fprintf(stderr, "medaid-train: %s\n", err.msg);
    }
    return md_train_exit_code(status);
}
