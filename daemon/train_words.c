/* medaid-train words: word vectors from the texts of a recipe, and what they know. */

#include "daemon/train.h"

#include "base/file.h"
#include "dicom/dataset/dataset.h"
#include "inference/text/vectors.h"
#include "plugins/train/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_NEAR = 10
};

typedef struct wish {
    const char *paths[2]; /* RECIPE OUT.vec, or FILE.vec */
    unsigned n_paths;
    const char *near, *analogy[3];
    md_vectors_options options;
} wish;

static bool number_of(const char *text, unsigned most, unsigned *ret)
{
    char *end = NULL;
    const unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < 1 || value > most) {
        return false;
    }
    *ret = (unsigned)value;
    return true;
}

/* false: the command line is wrong, and that was said. */
static bool parse(int argc, char **argv, wish *w)
{
    const struct {
        const char *name;
        unsigned most, *to;
    } numbers[] = {{"--width", MD_VECTORS_MAX_WIDTH, &w->options.width},
                   {"--window", 100, &w->options.window},
                   {"--negatives", 100, &w->options.negatives},
                   {"--epochs", 10000, &w->options.epochs}};
    for (int i = 1; i < argc; i++) {
        bool taken = false;
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers && !taken; k++) {
            if (strcmp(argv[i], numbers[k].name) == 0) {
                if (i + 1 == argc || !number_of(argv[++i], numbers[k].most, numbers[k].to)) {
                    fprintf(stderr, "medaid-train words: %s takes a whole number, 1 to %u\n",
                            numbers[k].name, numbers[k].most);
                    return false;
                }
                taken = true;
            }
        }
        if (taken) {
            continue;
        }
        if (strcmp(argv[i], "--near") == 0 && i + 1 < argc) {
            w->near = argv[++i];
        } else if (strcmp(argv[i], "--analogy") == 0 && i + 3 < argc) {
            for (unsigned k = 0; k < 3; k++) {
                w->analogy[k] = argv[++i];
            }
        } else if (argv[i][0] != '-' && w->n_paths < 2) {
            w->paths[w->n_paths++] = argv[i];
        } else {
            fprintf(stderr, "medaid-train words: what is '%s'? see medaid-train --help\n",
                    argv[i]);
            return false;
        }
    }
    const unsigned n_questions =
        (w->near != NULL ? 1u : 0u) + (w->analogy[0] != NULL ? 1u : 0u);
    if (!(w->n_paths == 2 && n_questions == 0) && !(w->n_paths == 1 && n_questions == 1)) {
        fputs("medaid-train words: RECIPE OUT.vec, or FILE.vec and one question\n", stderr);
        return false;
    }
    return true;
}

static void show_epoch(void *context, unsigned epoch, double loss)
{
    (void)context;
    printf("epoch %u  loss %.4f\n", epoch + 1, loss);
    (void)fflush(stdout);
}

/* Tokens of the training part alone: what is tested later has not been read before. */
static md_status training_tokens(const md_training_set *set, int32_t **ret_tokens,
                                 size_t *ret_n, md_error *err)
{
    const unsigned length = set->recipe->text.tokens;
    int32_t *tokens = md_calloc(set->n_films * length + 1, sizeof *tokens);
    size_t n = 0;
    if (tokens == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu texts", set->n_films);
    }
    for (size_t i = 0; i < set->n_films; i++) {
        if (set->films[i].part == MD_PART_TRAIN) {
            memcpy(tokens + n++ * length, set->tokens + i * length, length * sizeof *tokens);
        }
    }
    *ret_tokens = tokens;
    *ret_n = n;
    return MD_OK;
}

static md_status write_vectors(const wish *w, const md_training_set *set, const float *values,
                               md_error *err)
{
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (out == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to write the vectors");
    }
    md_status status = md_vectors_write(set->vocabulary, values, w->options.width, out, err);
    if (fclose(out) != 0 && status == MD_OK) {
        status = md_fail(err, MD_NOMEM, "no memory to write the vectors");
    }
    if (status == MD_OK) {
        status = md_file_write(w->paths[1], MD_FILE_REPLACE, text, n_bytes, err);
    }
    free(text);
    return status;
}

static md_status learn(wish *w, md_error *err)
{
    MD_AUTO(md_recipe_destroyp) md_recipe *recipe = NULL;
    MD_AUTO(md_training_set_destroyp) md_training_set *set = NULL;
    MD_AUTO(md_freep) int32_t *tokens = NULL;
    MD_AUTO(md_freep) float *values = NULL;
    size_t n = 0;
    MD_TRY(md_dicom_init(err));
    MD_TRY(md_recipe_read(w->paths[0], &recipe, err));
    if (!recipe->text.there) {
        return md_fail(err, MD_INVALID_ARG, "%s: no 'text': it is a recipe for films",
                       w->paths[0]);
    }
    MD_TRY(md_training_set_read(recipe, 1, NULL, NULL, &set, err));
    MD_TRY(training_tokens(set, &tokens, &n, err));
    w->options.seed = recipe->seed;
    w->options.progress = show_epoch;
    MD_TRY(md_vectors_train(tokens, n, recipe->text.tokens, md_vocabulary_size(set->vocabulary),
                            &w->options, &values, err));
    MD_TRY(write_vectors(w, set, values, err));
    printf("%zu vectors of %u from %zu texts\n", md_vocabulary_size(set->vocabulary),
           w->options.width, n);
    return MD_OK;
}

static md_status find_word(const md_vectors *v, const char *word, uint32_t *ret, md_error *err)
{
    const int64_t number = md_vocabulary_find(v->vocabulary, word);
    if (number < MD_VOCABULARY_N_FIXED) {
        return md_fail(err, MD_INVALID_ARG,
                       "'%.64s' is no word of the vocabulary; write it as the vocabulary does, "
                       "in small letters, negated with ! before it",
                       word);
    }
    *ret = (uint32_t)number;
    return MD_OK;
}

static md_status ask(const wish *w, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    MD_AUTO(md_vectors_finish) md_vectors v = {0};
    size_t n_bytes = 0, n = 0;
    uint32_t words[3] = {0};
    md_near near[N_NEAR];
    MD_TRY(md_file_read(w->paths[0], MD_VECTORS_MAX_BYTES, &bytes, &n_bytes, err));
    const md_status status = md_vectors_parse(bytes, n_bytes, &v, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%s", w->paths[0]);
    }
    if (w->near != NULL) {
        MD_TRY(find_word(&v, w->near, &words[0], err));
        MD_TRY(md_vectors_near(&v, v.values + (size_t)words[0] * v.width, words, 1, N_NEAR,
                               near, &n, err));
    } else {
        MD_AUTO(md_freep) float *direction = md_calloc(v.width, sizeof *direction);
        if (direction == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a vector");
        }
        for (unsigned k = 0; k < 3; k++) {
            MD_TRY(find_word(&v, w->analogy[k], &words[k], err));
        }
        md_vectors_analogy(&v, words[0], words[1], words[2], direction);
        MD_TRY(md_vectors_near(&v, direction, words, 3, N_NEAR, near, &n, err));
    }
    for (size_t i = 0; i < n; i++) {
        printf("%-24s %.3f\n", md_vocabulary_token(v.vocabulary, near[i].number),
               (double)near[i].similarity);
    }
    return MD_OK;
}

md_exit_code md_train_words(int argc, char **argv)
{
    md_error err = {0};
    wish w = {.options = {.width = 64,
                          .window = 5,
                          .negatives = 5,
                          .epochs = 20,
                          .rate = 0.025,
                          .sample = 1e-3}};
    if (!parse(argc, argv, &w)) {
        return MD_EXIT_USAGE;
    }
    const md_status status = w.n_paths == 2 ? learn(&w, &err) : ask(&w, &err);
    if (status != MD_OK) {
        fprintf(stderr, "medaid-train: %s\n", err.msg);
    }
    return status == MD_IO ? MD_EXIT_WRITING : md_train_exit_code(status);
}
