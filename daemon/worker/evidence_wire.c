#include "daemon/worker/evidence_wire.h"

#include "daemon/worker/protocol_internal.h"

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

static void get_range(md_wire_reader *in, md_text_range *range)
{
    range->first_byte = md_wire_get_u32(in);
    range->n_bytes = md_wire_get_u32(in);
}

static void get_text(md_wire_reader *in, md_text_evidence *e)
{
    md_wire_get_text(in, e->text, MD_EVIDENCE_TEXT_BYTES + 1);
    e->is_cut = md_wire_get_bool(in);
    e->n_passages = md_wire_get_below(in, MD_EVIDENCE_MAX_PASSAGES + 1);
    for (unsigned i = 0; i < e->n_passages && in->bad == NULL; i++) {
        md_wire_get_text(in, e->passages[i].source, sizeof e->passages[i].source);
        get_range(in, &e->passages[i].range);
    }
    e->n_words = md_wire_get_below(in, MD_EVIDENCE_MAX_WORDS + 1);
    for (unsigned i = 0; i < e->n_words && in->bad == NULL; i++) {
        md_highlight *word = &e->words[i];
        get_range(in, &word->range);
        word->weight = md_wire_get_real(in, 0.0, 1.0);
        word->negated = md_wire_get_bool(in);
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
    e->terms = md_worker_make(in, n, sizeof *e->terms, &status);
    e->n_terms = e->terms == NULL ? 0 : n;
    get_terms(in, e);
    return in->bad == NULL ? MD_OK : status;
}

/* What is there, of whichever kind it is said to be. */
static md_status get_any(md_wire_reader *in, md_result *result)
{
    md_status status = MD_FORMAT;
    if (result->kind == MD_RESULT_RISK) {
        result->risk = md_worker_make(in, 1, sizeof *result->risk, &status);
        return result->risk == NULL ? status : get_risk(in, result->risk);
    }
    result->text = md_worker_make(in, 1, sizeof *result->text, &status);
    if (result->text != NULL) {
        result->text->text = md_worker_make(in, MD_EVIDENCE_TEXT_BYTES + 1, 1, &status);
    }
    if (result->text == NULL || result->text->text == NULL) {
        return status;
    }
    get_text(in, result->text);
    return MD_OK;
}

md_status md_wire_get_evidence(md_wire_reader *in, md_result *result)
{
    result->kind = (md_result_kind)md_wire_get_u8(in);
    if ((unsigned)result->kind > MD_RESULT_RISK) {
        md_wire_refuse(in, "a kind of result that is none");
    }
    if (md_wire_get_bool(in)) {
        MD_TRY(get_any(in, result));
    }
    if (in->bad == NULL && md_result_check_evidence(result, NULL) != MD_OK) {
        md_wire_refuse(in, "a text or a risk that contradicts itself");
    }
    return in->bad == NULL ? MD_OK : MD_FORMAT;
}
