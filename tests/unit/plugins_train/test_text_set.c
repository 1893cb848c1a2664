/* Recipes for texts: what is refused, rows to labelled tokens, and a whole fit whose network
 * then reads sentences that it has not seen. */

#include "base/file.h"
#include "inference/text/text_model.h"
#include "plugins/train/evaluate.h"
#include "plugins/train/fit.h"
#include "plugins/train/loader.h"
#include "plugins/train/package.h"
#include "tests/unit/plugins_train/films.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "medaid_recipe: 1\nname: words\nrun_folder: run\nseed: 7\n"
#define DATA                                                                                   \
    "data:\n"                                                                                  \
    "  classes: [abnormal, effusion]\n"                                                        \
    "  task: multi-label\n"                                                                    \
    "  table: t.csv\n"                                                                         \
    "  patient_column: uid\n"                                                                  \
    "  label_patterns:\n"                                                                      \
    "    - {class: abnormal, column: labels, matches: '^(?!normal$)'}\n"                       \
    "    - {class: effusion, column: labels, matches: '(^|;)effusion(;|$)'}\n"                 \
    "    - {class: effusion, column: more, matches: 'fluid'}\n"                                \
    "  unknown_pattern: '^unread$'\n"                                                          \
    "  unlabelled: skip\n"                                                                     \
    "  max_unreadable: 0.3\n"
#define TEXT "text: {columns: [said, why], tokens: 8, min_count: 1, pieces: 10}\n"
#define NETWORK "network: {name: text-gru, embedding: 8, hidden: 8, pooling: 8}\n"
#define TRAINING "training: {epochs: 1, learning_rate: 0.01}\n"

static md_status parse(const char *text, const char *folder, md_recipe **ret, md_error *err)
{
    return md_recipe_parse((const uint8_t *)text, strlen(text), "r.yaml", folder, ret, err);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {HEAD DATA NETWORK TRAINING, "'preprocess' is missing"},
        {HEAD DATA TEXT NETWORK TRAINING "augment: {flip_horizontal: 0.5}\n",
         "key 'augment': expected none"},
        {HEAD "data: {classes: [a, b], folders: [x]}\n" TEXT NETWORK TRAINING,
         "key 'data.folders': expected none"},
        {HEAD "data: {classes: [a, b]}\n" TEXT NETWORK TRAINING, "key 'data.table': expected"},
        {HEAD "data:\n  classes: [a, b]\n  table: t.csv\n  label_patterns:\n"
              "    - {class: a, file: x}\n" TEXT NETWORK TRAINING,
         "expected class, column and matches"},
        {HEAD "data:\n  classes: [a, b]\n  table: t.csv\n  label_patterns:\n"
              "    - {class: a, column: x, matches: '('}\n" TEXT NETWORK TRAINING,
         "data.label_patterns.matches"},
        {HEAD DATA "text: {columns: [], tokens: 8}\n" NETWORK TRAINING, "text.columns"},
        {HEAD DATA "text: {columns: [a], tokens: 100000}\n" NETWORK TRAINING, "text.tokens"},
        {HEAD DATA TEXT "network: {file: m.onnx}\n" TRAINING, "key 'text.vocabulary'"},
        {HEAD DATA TEXT NETWORK "training: {epochs: 1, learning_rate: 0.01, precision: bf16}\n",
         "key 'training.precision'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_recipe *r = NULL;
        md_error err = {0};
        assert_int_equal(parse(rows[i].text, "/x", &r, &err), MD_FORMAT);
        if (strstr(err.msg, rows[i].message) == NULL) {
            fail_msg("row %zu: %s", i, err.msg);
        }
    }
}

/* What is written reads back to the same. */
static void round_trip(void **state)
{
    (void)state;
    md_recipe *r = NULL, *again = NULL;
    md_error err = {0};
    MD_AUTO(md_freep) char *text = NULL;
    MD_AUTO(md_freep) char *twice = NULL;
    if (parse(HEAD DATA
              "  split: {train: 0.6, validation: 0.3, test: 0.1}\n" TEXT NETWORK TRAINING
              "evaluation: {threshold: youden}\n",
              "/x", &r, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(md_recipe_write(r, &text, &err), MD_OK);
    assert_non_null(strstr(text, "drop_words"));
    assert_null(strstr(text, "preprocess"));
    assert_non_null(strstr(text, "threshold: youden"));
    assert_non_null(strstr(text, "validation: 0.3"));
    if (parse(text, "/y", &again, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(md_recipe_write(again, &twice, &err), MD_OK);
    assert_string_equal(text, twice);
    md_recipe_destroy(r);
    md_recipe_destroy(again);
}

static md_status read_set(const scene *s, const char *table, const char *recipe,
                          md_recipe **ret_recipe, md_training_set **ret_set, md_error *err)
{
    scene_write(s, "t.csv", table, strlen(table));
    if (parse(recipe, s->folder, ret_recipe, err) != MD_OK) {
        fail_msg("%s", err->msg);
    }
    return md_training_set_read(*ret_recipe, 1, NULL, NULL, ret_set, err);
}

static const char table[] = "uid,said,why,labels,more,part\n"
                            "p1,No effusion,,normal,,train\n"
                            "p2,\"Effusion,\nlarge\",pain,effusion;nodule,,train\n"
                            "p3,Nodule,,nodule,fluid level,train\n"
                            "p1,again p1,,normal,x,train\n"
                            "p4,unknown to all,,unread,,train\n"
                            "p5,secret,,effusion,,validation\n"
                            "p6,No secret,,normal,,validation\n"
                            "p7,--,?,normal,,validation\n"
                            "p8,--,-,normal,,train\n"
                            "p9,,,,fluid,train\n";

static void rows_to_tokens(void **state)
{
    (void)state;
    scene s;
    md_recipe *r = NULL;
    md_training_set *set = NULL;
    md_error err = {0};
    scene_make(&s);
    if (read_set(&s, table, HEAD DATA TEXT NETWORK TRAINING, &r, &set, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(set->n_unlabelled, 1);
    assert_int_equal(set->n_unreadable, 2); /* p8; p9 has labels, and no word */
    assert_string_equal(set->unreadable[0].message, "the text has no word");
    assert_int_equal(set->n_films, 7);
    static const float labels[7][2] = {{0, 0}, {1, 1}, {1, 1}, {0, 0}, {1, 1}, {0, 0}, {0, 0}};
    for (size_t i = 0; i < 7; i++) {
        for (unsigned k = 0; k < 2; k++) {
            assert_true(set->labels[2 * i + k] == labels[i][k]);
        }
        assert_null(set->films[i].text);
    }
    assert_string_equal(set->films[0].name, "line 00000002");
    assert_string_equal(set->films[3].patient_name, "p1");
    assert_int_equal(set->films[0].patient, set->films[3].patient);
    /* the vocabulary is of the training part */
    assert_true(md_vocabulary_find(set->vocabulary, "nodule") > 0);
    assert_int_equal(md_vocabulary_find(set->vocabulary, "secret"), -1);
    const int32_t *first = set->tokens, *second = set->tokens + 8;
    assert_string_equal(md_vocabulary_token(set->vocabulary, (size_t)first[0]), "no");
    assert_string_equal(md_vocabulary_token(set->vocabulary, (size_t)first[1]), "!effusion");
    assert_int_equal(first[2], MD_VOCABULARY_PAD);
    assert_string_equal(md_vocabulary_token(set->vocabulary, (size_t)second[2]), "pain");
    md_training_set_destroy(set);
    md_recipe_destroy(r);
    scene_remove(&s);
}

static void bad_tables(void **state)
{
    (void)state;
    static const struct {
        const char *table, *recipe, *message;
    } rows[] = {
        {"uid,said\na,b\n", HEAD DATA TEXT NETWORK TRAINING, "no column 'why' (text.columns)"},
        {"said,why\na,b\n", HEAD DATA TEXT NETWORK TRAINING,
         "no column 'uid' (data.patient_column)"},
        {"uid,said,why,labels\na,b,c,d\n", HEAD DATA TEXT NETWORK TRAINING,
         "no column 'more' (data.label_patterns)"},
        {"uid,said,why,labels,more\n", HEAD DATA TEXT NETWORK TRAINING, "no text"},
        {"uid,said,why,labels,more\n,b,c,d,e\n", HEAD DATA TEXT NETWORK TRAINING,
         "column patient is empty"},
        {"uid,said,why,labels,more,part\na,b,c,normal,e,train\nb,c,d,normal,e,validation\n",
         HEAD DATA TEXT NETWORK TRAINING, "class 'abnormal' has no film"},
        {"uid,said,why,labels,more\na,\xff,x,normal,\nb,\xff,x,normal,\nc,d,e,effusion,\n",
         HEAD DATA TEXT NETWORK TRAINING, "2 of 3 texts cannot be read"},
        {"uid,said,why,labels,more\na,b,c,\xff,\n", HEAD DATA TEXT NETWORK TRAINING,
         "a pattern cannot be tried on the label"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        scene s;
        md_recipe *r = NULL;
        md_training_set *set = NULL;
        md_error err = {0};
        scene_make(&s);
        assert_int_not_equal(read_set(&s, rows[i].table, rows[i].recipe, &r, &set, &err),
                             MD_OK);
        if (strstr(err.msg, rows[i].message) == NULL || strstr(err.msg, "\xff") != NULL) {
            fail_msg("row %zu: %s", i, err.msg);
        }
        md_recipe_destroy(r);
        scene_remove(&s);
    }
}

/* A split hangs on the lines of the table: in another order they are others' texts. */
static void moved_lines(void **state)
{
    (void)state;
#define SPLIT_HEAD "uid,said,why,labels,more\n"
#define SPLIT_ROWS "p2,large effusion,,effusion,\np3,clear,,normal,\np4,effusion,,effusion,\n"
    static const char recipe[] = HEAD DATA "  split: {file: s.csv}\n" TEXT NETWORK TRAINING;
    static const char split[] = "file,patient,part\nline 00000002,p1,train\n"
                                "line 00000003,p2,train\nline 00000004,p3,validation\n"
                                "line 00000005,p4,validation\n";
    static const char unnamed[] = "file,part\nline 00000002,train\nline 00000003,train\n"
                                  "line 00000004,validation\nline 00000005,validation\n";
    static const char p1[] = "p1,no effusion,,normal,\n";
    static const struct {
        const char *before, *behind, *split;
        md_status status;
    } rows[] = {{p1, "", split, MD_OK},
                {"", p1, split, MD_INVALID_ARG},
                {p1, "", unnamed, MD_OK}}; /* written by hand: nobody can tell */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        scene s;
        char text[256];
        md_recipe *r = NULL;
        md_training_set *set = NULL;
        md_error err = {0};
        scene_make(&s);
        scene_write(&s, "s.csv", rows[i].split, strlen(rows[i].split));
        (void)snprintf(text, sizeof text, SPLIT_HEAD "%s" SPLIT_ROWS "%s", rows[i].before,
                       rows[i].behind);
        const md_status status = read_set(&s, text, recipe, &r, &set, &err);
        if (status != rows[i].status ||
            (status != MD_OK && strstr(err.msg, "lines were moved") == NULL)) {
            fail_msg("row %zu: %s", i, err.msg);
        }
        assert_null(strstr(err.msg, "p1"));
        md_training_set_destroy(set);
        md_recipe_destroy(r);
        scene_remove(&s);
    }
}

/* A pattern for each class, and the class is the first that matches. */
static void one_class(void **state)
{
    (void)state;
    scene s;
    md_recipe *r = NULL;
    md_training_set *set = NULL;
    md_error err = {0};
    scene_make(&s);
    if (read_set(
            &s, "said,said2,part\nx,emergency,train\ny,routine,train\nz,urgent routine,train\n",
            HEAD "data:\n  classes: [soon, later]\n  table: t.csv\n"
                 "  label_patterns:\n"
                 "    - {class: soon, column: said2, matches: 'emerg|urgent'}\n"
                 "    - {class: later, column: said2, matches: 'routine'}\n"
                 "text: {columns: [said], tokens: 4}\n" NETWORK TRAINING,
            &r, &set, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(md_training_set_class(set, 0), 0);
    assert_int_equal(md_training_set_class(set, 1), 1);
    assert_int_equal(md_training_set_class(set, 2), 0);
    md_training_set_destroy(set);
    md_recipe_destroy(r);
    scene_remove(&s);
}

/* 400 sentences of a small grammar: what is present, what is denied, and other words. The text
 * of the patient `corrected` has a new word besides, so often that it would be the first of a
 * vocabulary that is learnt from it. */
static void write_sentences(const scene *s, int corrected)
{
    static const char *const filler[] = {"heart normal", "lungs clear", "bones intact",
                                         "device in place", "comparison none"};
    static const char *const present[] = {"effusion", "small effusion", "large effusion seen",
                                          "effusion on the left"};
    static const char *const denied[] = {"no effusion", "without effusion", "no large effusion",
                                         "negative for effusion"};
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    fputs("uid,said,why,labels,more\n", out);
    for (unsigned i = 0; i < 400; i++) {
        const unsigned a = i * 2654435761U >> 7, yes = i % 2;
        fprintf(out, "p%u,%s. %s. %s", i, filler[a % 5],
                yes ? present[a / 5 % 4] : denied[a / 5 % 4], filler[a / 20 % 5]);
        for (unsigned k = 0; (int)i == corrected && k < 2000; k++) {
            fputs(" abacus", out);
        }
        fprintf(out, ",,%s,\n", yes ? "effusion" : "normal");
    }
    assert_int_equal(fclose(out), 0);
    scene_write(s, "t.csv", text, n);
    free(text);
}

#define FIT_RECIPE                                                                             \
    HEAD DATA "  split: {train: 0.7, validation: 0.15, test: 0.15}\n"                          \
              "text: {columns: [said, why], tokens: 12, min_count: 2, pieces: 20, "            \
              "drop_words: 0.05, attributes: [Report]}\n"                                      \
              "network: {name: text-gru, embedding: 8, hidden: 8, pooling: 8, dropout: 0.1}\n" \
              "training: {epochs: 12, batch: 16, optimizer: adam, learning_rate: 0.02}\n"      \
              "evaluation: {bootstrap: 0}\n"                                                   \
              "export:\n"                                                                      \
              "  id: words\n"                                                                  \
              "  version: 0.1.0\n"                                                             \
              "  name: Words\n"                                                                \
              "  manufacturer: tests\n"                                                        \
              "  accepts: {modality: [CR]}\n"                                                  \
              "  findings:\n"                                                                  \
              "    - {key: effusion, concept: {code: \"60046008\", scheme: SCT, meaning: "     \
              "Effusion}, classes: [1], threshold: 0.5}\n"                                     \
              "  intended_use: For tests, never for people.\n"

static void fit_in(const scene *s, bool resume, md_status expected)
{
    char recipe[128];
    md_error err = {0};
    const md_fit_options options = {.n_threads = 1, .resume = resume};
    (void)snprintf(recipe, sizeof recipe, "%s/r.yaml", s->folder);
    const md_status status = md_fit_run(recipe, &options, &err);
    if (status != expected) {
        fail_msg("%s", err.msg);
    }
}

static void read_all(const char *folder, const char *name, char **ret_text, size_t *ret_bytes)
{
    char path[256];
    uint8_t *bytes = NULL;
    md_error err = {0};
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    if (md_file_read(path, 1 << 20, &bytes, ret_bytes, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    *ret_text = (char *)bytes;
}

/* A patient of the training part. */
static int training_patient(const char *run)
{
    MD_AUTO(md_freep) char *split = NULL;
    size_t n = 0;
    int patient = -1;
    char part[16] = "";
    read_all(run, "split.csv", &split, &n);
    for (const char *at = split; strcmp(part, "train") != 0; at = strchr(at, '\n') + 1) {
        assert_true(sscanf(at, "line %*d,p%d,%15[a-z]", &patient, part) == 2 || at == split);
    }
    return patient;
}

/* The package and what is measured hold the words that the network learnt with, whatever became
 * of the texts since. */
static void export_and_measure(const scene *s, const char *run)
{
    static const char *const packages[] = {"before", "after"};
    MD_AUTO(md_freep) char *learnt = NULL;
    size_t n_learnt = 0;
    char out[128], model[160], words_of[160], recipe[128];
    md_error err = {0};
    read_all(run, "vocabulary.txt", &learnt, &n_learnt);
    for (unsigned i = 0; i < 2; i++) {
        MD_AUTO(md_freep) char *words = NULL;
        size_t n = 0;
        if (i == 1) {
            write_sentences(s, training_patient(run));
        }
        (void)snprintf(out, sizeof out, "%s/%s", s->folder, packages[i]);
        const md_export_options export = {.run_folder = run, .out = out, .n_threads = 1};
        if (md_export_run(&export, &err) != MD_OK) {
            fail_msg("%s: %s", packages[i], err.msg);
        }
        read_all(out, "vocabulary.txt", &words, &n);
        assert_int_equal(n, n_learnt);
        assert_memory_equal(words, learnt, n);
        (void)snprintf(model, sizeof model, "%s/model.onnx", out);
        (void)snprintf(recipe, sizeof recipe, "%s/r.yaml", s->folder);
        const md_evaluate_options options = {
            .model = model, .data = recipe, .part = MD_PART_TEST, .n_threads = 1};
        md_evaluation_of_model e = {0};
        if (md_evaluate_model(&options, &e, &err) != MD_OK) {
            fail_msg("%s: %s", packages[i], err.msg);
        }
        assert_true(e.assessment.answers[1].measures.of[MD_MEASURE_AUC].value > 0.9);
        md_evaluation_of_model_finish(&e);
        (void)snprintf(words_of, sizeof words_of, "%s/vocabulary.txt", out);
        assert_int_equal(remove(words_of), 0);
        assert_int_equal(md_evaluate_model(&options, &e, &err), MD_INVALID_ARG);
        assert_non_null(strstr(err.msg, "no vocabulary.txt"));
    }
    /* going on with other texts is refused, and the words stay those that were learnt with */
    MD_AUTO(md_freep) char *words = NULL;
    size_t n = 0;
    fit_in(s, true, MD_INVALID_ARG);
    read_all(run, "vocabulary.txt", &words, &n);
    assert_int_equal(n, n_learnt);
    assert_memory_equal(words, learnt, n);
}

static void fit(void **state)
{
    (void)state;
    scene s;
    char run[128];
    md_error err = {0};
    scene_make(&s);
    write_sentences(&s, -1);
    scene_write(&s, "r.yaml", FIT_RECIPE, strlen(FIT_RECIPE));
    fit_in(&s, false, MD_OK);
    fit_in(&s, false, MD_BUSY);
    fit_in(&s, true, MD_OK); /* nothing is left to do */
    (void)snprintf(run, sizeof run, "%s/run", s.folder);
    md_text_model *model = NULL;
    if (md_text_model_open(run, NULL, &model, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    static const struct {
        const char *text;
        bool effusion;
    } rows[] = {{"Bones intact. Effusion, small.", true},
                {"Negative for large effusion. Lungs clear.", false},
                {"EFFUSION on the right", true},
                {"heart normal, no small effusion seen", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_text_result r = {0};
        assert_int_equal(md_text_model_run(model, rows[i].text, strlen(rows[i].text), &r, &err),
                         MD_OK);
        assert_int_equal(r.n_labels, 2);
        if ((r.scores[1] >= 0.5F) != rows[i].effusion) {
            fail_msg("row %zu: %g", i, (double)r.scores[1]);
        }
        double sum = 0;
        for (size_t k = 0; k < r.n_words; k++) {
            sum += (double)r.words[k].attention;
        }
        assert_true(fabs(sum - 1) < 1e-4);
    }
    md_text_model_destroy(model);
    export_and_measure(&s, run);
    scene_remove(&s);
}

/* The tokens of a step are the same whoever asks, and words are dropped in training alone. */
static void loader(void **state)
{
    (void)state;
    scene s;
    md_recipe *r = NULL;
    md_training_set *set = NULL;
    md_error err = {0};
    scene_make(&s);
    write_sentences(&s, -1);
    if (parse(FIT_RECIPE, s.folder, &r, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    r->text.drop_words = 0.5;
    assert_int_equal(md_training_set_read(r, 1, NULL, NULL, &set, &err), MD_OK);
    int64_t kept[2][16 * 12];
    for (unsigned round = 0; round < 2; round++) {
        md_loader *l = NULL;
        md_batch batch;
        const md_loader_options options = {
            .part = MD_PART_TRAIN, .training = true, .batch = 16, .n_threads = 1 + round};
        assert_int_equal(md_loader_create(set, &options, &l, &err), MD_OK);
        assert_int_equal(md_loader_begin(l, 3, 2, 0, 0, 0, &err), MD_OK);
        assert_int_equal(md_loader_next(l, &batch, &err), MD_OK);
        assert_null(batch.images);
        assert_int_equal(batch.width, 12);
        unsigned n_dropped = 0, n_tokens = 0;
        for (unsigned i = 0; i < 16 * 12; i++) {
            const int32_t whole = set->tokens[batch.indices[i / 12] * 12 + i % 12];
            kept[round][i] = batch.tokens[i];
            assert_true(batch.tokens[i] == whole ||
                        (whole != 0 && batch.tokens[i] == MD_VOCABULARY_UNKNOWN));
            n_dropped += batch.tokens[i] != whole;
            n_tokens += whole != 0;
        }
        assert_in_range(n_dropped, n_tokens / 4, 3 * n_tokens / 4);
        md_loader_destroy(l);
    }
    assert_memory_equal(kept[0], kept[1], sizeof kept[0]);
    md_loader *l = NULL;
    md_batch batch;
    const md_loader_options options = {.part = MD_PART_VALIDATION, .batch = 16};
    assert_int_equal(md_loader_create(set, &options, &l, &err), MD_OK);
    assert_int_equal(md_loader_begin(l, 0, 0, 0, 0, 0, &err), MD_OK);
    assert_int_equal(md_loader_next(l, &batch, &err), MD_OK);
    for (unsigned i = 0; i < 16 * 12; i++) {
        assert_int_equal(batch.tokens[i], set->tokens[batch.indices[i / 12] * 12 + i % 12]);
    }
    md_loader_destroy(l);
    md_training_set_destroy(set);
    md_recipe_destroy(r);
    scene_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused),        cmocka_unit_test(round_trip),
        cmocka_unit_test(rows_to_tokens), cmocka_unit_test(bad_tables),
        cmocka_unit_test(moved_lines),    cmocka_unit_test(one_class),
        cmocka_unit_test(loader),         cmocka_unit_test(fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
