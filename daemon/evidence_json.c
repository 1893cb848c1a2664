#include "daemon/evidence_json.h"

const char *md_term_state_name(md_term_state state)
{
    static const char *const names[] = {"given", "clamped", "missing"};
    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "unknown";
}

json_t *md_text_evidence_json(const md_text_evidence *e)
{
    if (e == NULL) {
        return json_null();
    }
    json_t *passages = json_array(), *words = json_array();
    for (unsigned i = 0; i < e->n_passages; i++) {
        const md_text_passage *p = &e->passages[i];
        json_array_append_new(passages, json_pack("{s:s, s:I, s:I}", "source", p->source,
                                                  "first_byte", (json_int_t)p->range.first_byte,
                                                  "n_bytes", (json_int_t)p->range.n_bytes));
    }
    for (unsigned i = 0; i < e->n_words; i++) {
        const md_highlight *w = &e->words[i];
        json_array_append_new(
            words,
            json_pack("{s:I, s:I, s:o, s:f, s:b}", "first_byte",
                      (json_int_t)w->range.first_byte, "n_bytes", (json_int_t)w->range.n_bytes,
                      "text", json_stringn(e->text + w->range.first_byte, w->range.n_bytes),
                      "weight", w->weight, "negated", (int)w->negated));
    }
    return json_pack("{s:s, s:b, s:o, s:o}", "content", e->text, "is_cut", (int)e->is_cut,
                     "passages", passages, "words", words);
}

json_t *md_risk_evidence_json(const md_risk_evidence *e)
{
    if (e == NULL) {
        return json_null();
    }
    json_t *terms = json_array();
    for (unsigned i = 0; i < e->n_terms; i++) {
        const md_risk_term *t = &e->terms[i];
        json_array_append_new(terms,
                              json_pack("{s:s, s:s, s:s, s:o, s:f}", "name", t->name, "unit",
                                        t->unit, "state", md_term_state_name(t->state), "value",
                                        t->has_value ? json_real(t->value) : json_null(),
                                        "part", t->part));
    }
    json_t *interval = e->has_interval ? json_pack("[f, f]", e->low, e->high) : json_null();
    return json_pack("{s:f, s:s, s:o, s:b, s:f, s:f, s:o}", "value", e->value, "unit", e->unit,
                     "interval", interval, "is_additive", (int)e->is_additive, "start",
                     e->start, "sum", e->sum, "terms", terms);
}
