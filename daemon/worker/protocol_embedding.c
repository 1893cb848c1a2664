#include "daemon/worker/protocol_embedding.h"

#include "daemon/worker/protocol_internal.h"

#include <math.h>
#include <string.h>

void md_worker_put_embeds(md_wire_writer *out, const md_embeds *embeds)
{
    md_wire_put_u32(out, (uint32_t)embeds->kind);
    md_wire_put_u32(out, embeds->n);
}

void md_worker_get_embeds(md_wire_reader *in, md_embeds *ret_embeds)
{
    ret_embeds->kind = (md_embeds_kind)md_wire_get_below(in, MD_EMBEDS_TEXT + 1);
    ret_embeds->n = md_wire_get_below(in, MD_EMBEDDING_MAX + 1);
    if (in->bad == NULL && (ret_embeds->kind == MD_EMBEDS_NOTHING) != (ret_embeds->n == 0)) {
        md_wire_refuse(in, "an embedding of no kind or no length");
    }
}

void md_worker_put_embeddings(md_wire_writer *out, const md_analysis *analysis)
{
    md_wire_put_u32(out, (uint32_t)analysis->n_embeddings);
    for (size_t i = 0; i < analysis->n_embeddings; i++) {
        const md_embedding *one = &analysis->embeddings[i];
        md_wire_put_text(out, one->model_id);
        md_wire_put_u32(out, one->n);
        md_wire_put_bytes(out, (const uint8_t *)one->values, one->n * sizeof *one->values);
    }
}

/* Whether the model was announced with embeddings of so many numbers. */
static bool is_announced(const md_worker_expectation *expected, const char *model_id,
                         uint32_t n)
{
    for (size_t i = 0; i < expected->n_models && expected->embeds != NULL; i++) {
        if (strcmp(expected->models[i].id, model_id) == 0) {
            return n > 0 && expected->embeds[i].n == n;
        }
    }
    return false;
}

static bool has_embedding(const md_analysis *analysis, const char *model_id)
{
    for (size_t i = 0; i < analysis->n_embeddings; i++) {
        if (strcmp(analysis->embeddings[i].model_id, model_id) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether all are finite and together of length 1. */
static bool is_unit(const float *values, uint32_t n)
{
    double squares = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        squares += (double)values[i] * (double)values[i];
    }
    return fabs(squares - 1.0) < 1e-3; /* false for NaN */
}

/* One more: numbers that others are compared with. A worker that was taken over can make its
 * own study resemble others, and no more. */
static md_status get_one(md_wire_reader *in, const md_worker_expectation *expected,
                         md_analysis *analysis)
{
    md_embedding one = {0};
    md_wire_get_text(in, one.model_id, sizeof one.model_id);
    one.n = md_wire_get_below(in, MD_EMBEDDING_MAX + 1);
    if (in->bad == NULL && !is_announced(expected, one.model_id, one.n)) {
        md_wire_refuse(in, "an embedding that its model did not announce");
    } else if (in->bad == NULL && !md_worker_has_result(analysis, one.model_id)) {
        md_wire_refuse(in, "an embedding of a model without result");
    } else if (in->bad == NULL && has_embedding(analysis, one.model_id)) {
        md_wire_refuse(in, "two embeddings of one model");
    }
    const uint8_t *bytes =
        in->bad == NULL ? md_wire_get_bytes(in, one.n * sizeof *one.values) : NULL;
    if (bytes == NULL) {
        return MD_OK;
    }
    one.values = md_malloc(one.n * sizeof *one.values);
    if (one.values == NULL) {
        md_wire_refuse(in, "no memory");
        return MD_NOMEM;
    }
    memcpy(one.values, bytes, one.n * sizeof *one.values);
    if (!is_unit(one.values, one.n)) {
        md_wire_refuse(in, "an embedding whose length is not 1");
    }
    analysis->embeddings[analysis->n_embeddings++] = one;
    return MD_OK;
}

md_status md_worker_get_embeddings(md_wire_reader *in, const md_worker_expectation *expected,
                                   md_analysis *analysis)
{
    const uint32_t n = md_wire_get_below(in, MD_WORKER_MAX_MODELS + 1);
    if (n == 0 || in->bad != NULL) {
        return MD_OK;
    }
    analysis->embeddings = md_calloc(n, sizeof *analysis->embeddings);
    if (analysis->embeddings == NULL) {
        md_wire_refuse(in, "no memory");
        return MD_NOMEM;
    }
    for (uint32_t i = 0; i < n && in->bad == NULL; i++) {
        MD_TRY(get_one(in, expected, analysis));
    }
    return MD_OK;
}
