#include "plugins/host/package_kinds.h"

#include "inference/text/text_model.h"
#include "plugins/host/score.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A text package: its network and its vocabulary behind inference/text. */
typedef struct text_package {
    md_analyzer base;
    md_manifest *manifest;
    md_text_model *model;
    md_finding_spec specs[MD_RESULT_MAX_FINDINGS];
} text_package;

static void destroy(md_analyzer *analyzer)
{
    text_package *self = (text_package *)(void *)analyzer;
    md_text_model_destroy(self->model);
    md_free(self->manifest);
    md_free(self);
}

static void destroyp(text_package **self)
{
    if (*self != NULL) {
        destroy(&(*self)->base);
    }
}

static int compare_weights(const void *a, const void *b)
{
    const md_highlight *x = a, *y = b;
    if (x->weight != y->weight) {
        return x->weight < y->weight ? 1 : -1;
    }
    return (x->range.first_byte > y->range.first_byte) -
           (x->range.first_byte < y->range.first_byte);
}

static int compare_places(const void *a, const void *b)
{
    const md_highlight *x = a, *y = b;
    return (x->range.first_byte > y->range.first_byte) -
           (x->range.first_byte < y->range.first_byte);
}

/* The words that the network looked at most, in the order of the text. */
static md_status pick_words(const md_text_result *read, md_text_evidence *evidence,
                            md_error *err)
{
    MD_AUTO(md_freep) md_highlight *all = md_calloc(read->n_words + 1, sizeof *all);
    size_t n = 0;
    double sum = 0;
    if (all == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu words", read->n_words);
    }
    for (size_t i = 0; i < read->n_words; i++) {
        sum += (double)read->words[i].attention;
    }
    for (size_t i = 0; i < read->n_words && sum > 0; i++) {
        const md_text_word *word = &read->words[i];
        if (word->attention > 0) {
            all[n++] = (md_highlight){.range = {word->begin, word->end - word->begin},
                                      .weight = (double)word->attention / sum,
                                      .negated = word->negated};
        }
    }
    qsort(all, n, sizeof *all, compare_weights);
    n = n < MD_EVIDENCE_MAX_WORDS ? n : MD_EVIDENCE_MAX_WORDS;
    qsort(all, n, sizeof *all, compare_places);
    memcpy(evidence->words, all, n * sizeof *all);
    evidence->n_words = (unsigned)n;
    evidence->is_cut = evidence->is_cut || read->is_cut;
    return MD_OK;
}

static md_status analyse_text(md_analyzer *analyzer, md_text_evidence *evidence,
                              md_finding *findings, md_error *err)
{
    const text_package *self = (const text_package *)(const void *)analyzer;
    const md_manifest *m = self->manifest;
    md_text_result read = {0};
    MD_TRY(md_text_model_run(self->model, evidence->text, strlen(evidence->text), &read, err));
    for (unsigned i = 0; i < m->n_findings; i++) {
        double score = 0;
        MD_TRY(md_score(m, &m->findings[i], read.logits, read.n_labels, &score, err));
        MD_TRY(md_finding_judge(&self->specs[i], score, &findings[i], err));
    }
    return pick_words(&read, evidence, err);
}

static const md_analyzer_ops ops = {.analyse_text = analyse_text, .destroy = destroy};

static md_status load_model(text_package *self, int folder, const md_package_options *options,
                            md_error *err)
{
    static const md_text_activation activations[] = {
        [MD_TARGET_SOFTMAX] = MD_TEXT_SOFTMAX,
        [MD_TARGET_SIGMOID] = MD_TEXT_SIGMOID,
        [MD_TARGET_SCORE] = MD_TEXT_NONE,
    };
    const md_manifest *m = self->manifest;
    MD_AUTO(md_freep) uint8_t *vocabulary = NULL;
    MD_AUTO(md_freep) uint8_t *network = NULL;
    size_t vocabulary_bytes = 0, network_bytes = 0;
    MD_TRY(md_package_read_listed(folder, m, m->text.vocabulary, MD_PACKAGE_MAX_FILE_BYTES,
                                  &vocabulary, &vocabulary_bytes, err));
    MD_TRY(md_package_read_listed(folder, m, m->network.file, MD_PACKAGE_MAX_NETWORK_BYTES,
                                  &network, &network_bytes, err));
    const md_text_model_options model = {.activation = activations[m->network.activation],
                                         .backend = options->backend,
                                         .n_threads = 1,
                                         .input = m->network.input,
                                         .output = m->network.output,
                                         .attention = m->network.attention};
    return md_text_model_create(vocabulary, vocabulary_bytes, network, network_bytes, &model,
                                &self->model, err);
}

/* A known text must give the known logits before a patient's may come. */
static md_status self_test(text_package *self, int folder, md_error *err)
{
    const md_manifest *m = self->manifest;
    MD_AUTO(md_freep) uint8_t *text = NULL;
    MD_AUTO(md_freep) uint8_t *expected = NULL;
    size_t text_bytes = 0, expected_bytes = 0;
    md_text_result read = {0};
    MD_TRY(md_package_check_classes(m, md_text_model_n_labels(self->model), err));
    MD_TRY(md_package_read_listed(folder, m, m->self_test.input, MD_EVIDENCE_TEXT_BYTES, &text,
                                  &text_bytes, err));
    MD_TRY(md_package_read_listed(folder, m, m->self_test.expected, MD_PACKAGE_MAX_FILE_BYTES,
                                  &expected, &expected_bytes, err));
    md_status status =
        md_text_model_run(self->model, (const char *)text, text_bytes, &read, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status == MD_NOMEM ? MD_NOMEM : MD_PLUGIN,
                               "self-test failed: %s", m->self_test.input);
    }
    if (expected_bytes != 4 * (size_t)read.n_labels) {
        return md_fail(err, MD_FORMAT, "%s: %zu bytes, the output has %u float32 numbers",
                       m->self_test.expected, expected_bytes, read.n_labels);
    }
    return md_package_compare(m, read.logits, read.n_labels, expected, &self->base.card, err);
}

/* "Order texts: Reason for Study (0032,1030), ...; modality ..." */
static void describe(text_package *self)
{
    static const char *const activations[] = {"softmax", "sigmoid", "none"};
    const md_manifest *m = self->manifest;
    md_package_describe(m, m->network.file, &self->base);
    char calibration[MD_PACKAGE_CALIBRATION_BYTES];
    md_package_calibration(m, calibration);
    snprintf(self->base.identity.parameters, sizeof self->base.identity.parameters,
             "activation=%s calibration=%s backend=%s tokens=%u",
             activations[m->network.activation], calibration,
             md_text_model_backend_name(self->model), md_text_model_max_tokens(self->model));
    md_accept_describe(&m->accept, self->base.card.accepts, sizeof self->base.card.accepts);
}

static void prepare(text_package *self)
{
    const md_manifest *m = self->manifest;
    for (unsigned i = 0; i < m->n_findings; i++) {
        self->specs[i] = m->findings[i].spec;
    }
    self->base.ops = &ops;
    self->base.kind = MD_ANALYZER_TEXT;
    self->base.specs = self->specs;
    self->base.n_findings = m->n_findings;
    md_text_needs *needs = &self->base.needs.text;
    needs->accept = m->accept;
    needs->n_attributes = m->text.n_attributes;
    for (unsigned i = 0; i < m->text.n_attributes; i++) {
        needs->attributes[i] = (md_study_text)m->text.attributes[i];
    }
}

md_status md_package_open_text(int folder, const char *name, const md_package_options *options,
                               md_manifest **manifest, md_analyzer **ret_analyzer,
                               md_error *err)
{
    MD_AUTO(destroyp) text_package *self = md_calloc(1, sizeof *self);
    if (self == NULL) {
        return md_fail(err, MD_NOMEM, "%s: no memory", name);
    }
    self->manifest = *manifest;
    *manifest = NULL;
    prepare(self);
    const md_manifest *m = self->manifest;
    const char *const used[] = {m->network.file, m->text.vocabulary, m->self_test.input,
                                m->self_test.expected};
    md_status status =
        md_package_check_others(folder, m, used, sizeof used / sizeof *used, err);
    if (status == MD_OK) {
        status = load_model(self, folder, options, err);
    }
    if (status == MD_OK) {
        status = self_test(self, folder, err);
    }
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%s", name);
    }
    describe(self);
    *ret_analyzer = &MD_STEAL(self)->base;
    return MD_OK;
}
