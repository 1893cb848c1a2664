#include "daemon/worker/evidence_wire.h"

#include <assert.h>
#include <string.h>

/* Whoever changes these structs changes put_... and get_... below too. */
static_assert(sizeof(md_text_evidence) ==
                  12 + MD_EVIDENCE_MAX_PASSAGES * 140 + 4 + MD_EVIDENCE_MAX_WORDS * 24 + 8,
              "text");
static_assert(sizeof(md_risk_term) == 130 + 33 + 1 + 4 + 8 + 16, "term");
static_assert(sizeof(md_risk_evidence) == 8 + 40 + 16 + 8 + 16 + 8 + 8, "risk");

static void put_range(md_wire_writer *out, const md_text_range *range)
{
    md_wire_put_u32(out, range->first_byte);
    md_wire_put_u32(out, range->n_bytes);
}

static void put_text(md_wire_writer *out, const md_text_evidence *e)
{
    md_wire_put_text(out, e->text);
    md_wire_put_u8(out, e->is_cut);
    md_wire_put_u32(out, e->n_passages);
    for (unsigned i = 0; i < e->n_passages; i++) {
        md_wire_put_text(out, e->passages[i].source);
        put_range(out, &e->passages[i].range);
    }
    md_wire_put_u32(out, e->n_words);
    for (unsigned i = 0; i < e->n_words; i++) {
        put_range(out, &e->words[i].range);
        md_wire_put_real(out, e->words[i].weight);
        md_wire_put_u8(out, e->words[i].negated);
    }
}

/* Between characters of a text that is clean UTF-8, and inside of it. */
static void get_range(md_wire_reader *in, const char *text, size_t length, md_text_range *range)
{
    range->first_byte = md_wire_get_below(in, (uint32_t)length + 1);
    range->n_bytes = md_wire_get_below(in, (uint32_t)(length - range->first_byte) + 1);
    const size_t end = (size_t)range->first_byte + range->n_bytes;
    if (in->bad == NULL &&
        (range->n_bytes == 0 || ((unsigned char)text[range->first_byte] & 0xc0) == 0x80 ||
         ((unsigned char)text[end] & 0xc0) == 0x80)) {
        md_wire_refuse(in, "a stretch of text that cuts a character, or none");
    }
}

static void get_text(md_wire_reader *in, md_text_evidence *e)
{
    double sum = 0;
    uint32_t end = 0;
    md_wire_get_text(in, e->text, MD_EVIDENCE_TEXT_BYTES + 1);
    const size_t length = strlen(e->text);
    e->is_cut = md_wire_get_bool(in);
    e->n_passages = md_wire_get_below(in, MD_EVIDENCE_MAX_PASSAGES + 1);
    for (unsigned i = 0; i < e->n_passages && in->bad == NULL; i++) {
        md_wire_get_text(in, e->passages[i].source, sizeof e->passages[i].source);
        get_range(in, e->text, length, &e->passages[i].range);
    }
    e->n_words = md_wire_get_below(in, MD_EVIDENCE_MAX_WORDS + 1);
    for (unsigned i = 0; i < e->n_words && in->bad == NULL; i++) {
        md_highlight *word = &e->words[i];
        get_range(in, e->text, length, &word->range);
        word->weight = md_wire_get_real(in, 0.0, 1.0);
        word->negated = md_wire_get_bool(in);
        sum += word->weight;
        if (in->bad == NULL && (word->range.first_byte < end || sum > 1.001)) {
            md_wire_refuse(in, "words over each other, or of more than all attention");
        }
        end = word->range.first_byte + word->range.n_bytes;
    }
}

static void put_risk(md_wire_writer *out, const md_risk_evidence *e)
{
    md_wire_put_text(out, e->unit);
    md_wire_put_u8(out, e->has_interval);
    md_wire_put_u8(out, e->is_additive);
    const double reals[] = {e->value, e->low, e->high, e->start, e->sum};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        md_wire_put_real(out, reals[i]);
    }
    md_wire_put_u32(out, e->n_terms);
    for (unsigned i = 0; i < e->n_terms; i++) {
        const md_risk_term *term = &e->terms[i];
        md_wire_put_text(out, term->name);
        md_wire_put_text(out, term->unit);
        md_wire_put_u32(out, (uint32_t)term->state);
        md_wire_put_u8(out, term->has_value);
        md_wire_put_real(out, term->value);
        md_wire_put_real(out, term->part);
    }
}

/* No number of a risk model is larger. */
#define MOST_REAL 1e300

static void get_terms(md_wire_reader *in, md_risk_evidence *e)
{
    for (unsigned i = 0; i < e->n_terms && in->bad == NULL; i++) {
        md_risk_term *term = &e->terms[i];
        md_wire_get_text(in, term->name, sizeof term->name);
        md_wire_get_text(in, term->unit, sizeof term->unit);
        term->state = (md_term_state)md_wire_get_below(in, MD_TERM_MISSING + 1);
        term->has_value = md_wire_get_bool(in);
        term->value = md_wire_get_real(in, -MOST_REAL, MOST_REAL);
        term->part = md_wire_get_real(in, -MOST_REAL, MOST_REAL);
        e->n_missing += term->state == MD_TERM_MISSING;
        if (in->bad == NULL && term->name[0] == '\0') {
            md_wire_refuse(in, "a term without a name");
        }
    }
}

void md_wire_put_evidence(md_wire_writer *out, const md_result *result)
{
    md_wire_put_u8(out, (uint8_t)result->kind);
    md_wire_put_u8(out, result->text != NULL || result->risk != NULL);
    if (result->text != NULL) {
        put_text(out, result->text);
    } else if (result->risk != NULL) {
        put_risk(out, result->risk);
    }
}

/* NULL for none, and when there is no memory. */
static void *make(md_wire_reader *in, size_t n, size_t size_bytes, md_status *status)
{
    void *block = in->bad == NULL && n > 0 ? md_calloc(n, size_bytes) : NULL;
    if (in->bad == NULL && n > 0 && block == NULL) {
        *status = MD_NOMEM;
        md_wire_refuse(in, "no memory");
    }
    return block;
}

static md_status get_risk(md_wire_reader *in, md_risk_evidence *e)
{
    md_status status = MD_FORMAT;
    md_wire_get_text(in, e->unit, sizeof e->unit);
    e->has_interval = md_wire_get_bool(in);
    e->is_additive = md_wire_get_bool(in);
    double *const reals[] = {&e->value, &e->low, &e->high, &e->start, &e->sum};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        *reals[i] = md_wire_get_real(in, -MOST_REAL, MOST_REAL);
    }
    const uint32_t n = md_wire_get_below(in, MD_EVIDENCE_MAX_TERMS + 1);
    e->terms = make(in, n, sizeof *e->terms, &status);
    e->n_terms = e->terms == NULL ? 0 : n;
    get_terms(in, e);
    return in->bad == NULL ? MD_OK : status;
}

md_status md_wire_get_evidence(md_wire_reader *in, md_result *result)
{
    md_status status = MD_FORMAT;
    result->kind = (md_result_kind)md_wire_get_u8(in);
    const bool there = md_wire_get_bool(in);
    const bool wanted = result->kind != MD_RESULT_IMAGE && result->status != MD_RESULT_FAILED;
    if (in->bad == NULL && ((unsigned)result->kind > MD_RESULT_RISK || there != wanted)) {
        md_wire_refuse(in, "a kind without what it is made of");
    }
    if (in->bad != NULL || !there) {
        return in->bad == NULL ? MD_OK : status;
    }
    if (result->kind == MD_RESULT_RISK) {
        result->risk = make(in, 1, sizeof *result->risk, &status);
        return result->risk == NULL ? status : get_risk(in, result->risk);
    }
    result->text = make(in, 1, sizeof *result->text, &status);
    if (result->text != NULL) {
        result->text->text = make(in, MD_EVIDENCE_TEXT_BYTES + 1, 1, &status);
    }
    if (result->text == NULL || result->text->text == NULL) {
        return status;
    }
    get_text(in, result->text);
    return in->bad == NULL ? MD_OK : MD_FORMAT;
}
