#include "daemon/worker/protocol_internal.h"

void md_worker_put_features(md_wire_writer *out, const md_features *features)
{
    md_wire_put_u32(out, features->n);
    for (uint32_t i = 0; i < features->n && i < MD_FEATURES_MAX; i++) {
        md_wire_put_text(out, features->items[i].name);
        md_wire_put_text(out, features->items[i].meaning);
        md_wire_put_real(out, (double)features->items[i].weight);
    }
}

void md_worker_get_features(md_wire_reader *in, md_features *features)
{
    uint32_t n = md_wire_get_below(in, MD_FEATURES_MAX + 1);
    for (uint32_t i = 0; i < n && in->bad == NULL; i++) {
        char name[MD_FEATURE_NAME_BYTES], meaning[MD_CODE_MEANING_BYTES];
        md_wire_get_text(in, name, sizeof name);
        md_wire_get_text(in, meaning, sizeof meaning);
        double weight = md_wire_get_real(in, 0.0, 1.0);
        if (in->bad == NULL && !md_features_add(features, name, meaning, (float)weight)) {
            md_wire_refuse(in, "a feature without a name");
        }
    }
}

static void put_proposal(md_wire_writer *out, const md_follow_up_proposal *p)
{
    md_wire_put_text(out, p->key);
    md_wire_put_text(out, p->action.value);
    md_wire_put_text(out, p->action.scheme);
    md_wire_put_text(out, p->action.meaning);
    md_wire_put_real(out, p->score);
    md_wire_put_u32(out, p->n_similar);
    md_wire_put_u32(out, p->n_accepted);
    md_wire_put_u32(out, (uint32_t)p->basis);
    PUT_TEXTS(out, p->reasons, p->n_reasons);
}

static void get_proposal(md_wire_reader *in, md_follow_up_proposal *p)
{
    md_wire_get_text(in, p->key, sizeof p->key);
    md_wire_get_text(in, p->action.value, sizeof p->action.value);
    md_wire_get_text(in, p->action.scheme, sizeof p->action.scheme);
    md_wire_get_text(in, p->action.meaning, sizeof p->action.meaning);
    p->score = md_wire_get_real(in, 0.0, 1.0);
    p->n_similar = md_wire_get_u32(in);
    p->n_accepted = md_wire_get_u32(in);
    p->basis = (md_follow_up_basis)md_wire_get_below(in, MD_FOLLOW_UP_N_BASES);
    GET_TEXTS(in, p->reasons, p->n_reasons);
}

void md_worker_put_follow_up(md_wire_writer *out, const md_follow_up *follow_up)
{
    const md_follow_up *f = follow_up;
    md_wire_put_u8(out, f->there);
    md_wire_put_u32(out, f->n_proposals);
    for (uint32_t i = 0; i < f->n_proposals && i < MD_FOLLOW_UP_MAX_PROPOSALS; i++) {
        put_proposal(out, &f->proposals[i]);
    }
    md_wire_put_u32(out, f->n_actions);
    md_wire_put_u32(out, f->n_abstained);
    md_wire_put_u32(out, f->n_below);
    md_wire_put_u32(out, f->n_patients);
    md_wire_put_u32(out, f->min_support);
    md_wire_put_text(out, f->why_none);
}

void md_worker_get_follow_up(md_wire_reader *in, md_follow_up *follow_up)
{
    md_follow_up *f = follow_up;
    f->there = md_wire_get_bool(in);
    f->n_proposals = md_wire_get_below(in, MD_FOLLOW_UP_MAX_PROPOSALS + 1);
    for (uint32_t i = 0; i < f->n_proposals && in->bad == NULL; i++) {
        get_proposal(in, &f->proposals[i]);
    }
    f->n_actions = md_wire_get_u32(in);
    f->n_abstained = md_wire_get_u32(in);
    f->n_below = md_wire_get_u32(in);
    f->n_patients = md_wire_get_u32(in);
    f->min_support = md_wire_get_u32(in);
    md_wire_get_text(in, f->why_none, sizeof f->why_none);
}
