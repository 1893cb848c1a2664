#include "inference/train/texts.h"

#include "inference/tensor.h"

#include <string.h>

md_status md_texts_create(md_texts *texts, int64_t most_texts, int64_t length, int64_t n_tokens,
                          unsigned n_groups, md_pool *pool, size_t *ret_bytes, md_error *err)
{
    const size_t n = (size_t)most_texts;
    size_t rows;
    if (!md_mul(n, (size_t)length, &rows) || rows > MD_TENSOR_MAX_ELEMENTS ||
        n_tokens > INT32_MAX) {
        return md_fail(err, MD_LIMIT, "%lld texts of %lld tokens out of %lld are too many",
                       (long long)most_texts, (long long)length, (long long)n_tokens);
    }
    const size_t n_steps = n_groups * ((size_t)length + 2);
    texts->most_texts = most_texts;
    texts->length = length;
    texts->n_tokens = n_tokens;
    texts->n_groups = n_groups;
    texts->ids = md_pool_data(pool, rows * sizeof *texts->ids);
    texts->times = md_pool_data(pool, rows * sizeof *texts->times);
    texts->origins = md_pool_data(pool, rows * sizeof *texts->origins);
    texts->rows = md_pool_data(pool, rows * sizeof *texts->rows);
    texts->lengths = md_pool_alloc(pool, n * sizeof *texts->lengths);
    texts->begin = md_pool_alloc(pool, (n + 1) * sizeof *texts->begin);
    texts->order = md_pool_alloc(pool, n * sizeof *texts->order);
    texts->scratch = md_pool_alloc(pool, n * sizeof *texts->scratch);
    texts->first = md_pool_alloc(pool, (n_groups + 1) * sizeof *texts->first);
    texts->steps = md_pool_alloc(pool, n_steps * sizeof *texts->steps);
    texts->n_steps = md_pool_alloc(pool, n_groups * sizeof *texts->n_steps);
    if (texts->ids == NULL || texts->times == NULL || texts->origins == NULL ||
        texts->rows == NULL || texts->lengths == NULL || texts->begin == NULL ||
        texts->order == NULL || texts->scratch == NULL || texts->first == NULL ||
        texts->steps == NULL || texts->n_steps == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu tokens", rows);
    }
    *ret_bytes = rows * 4 * sizeof *texts->ids + n_steps * sizeof *texts->steps;
    return MD_OK;
}

md_status md_texts_check(const md_texts *texts, const int64_t *tokens, int64_t n,
                         int64_t length, md_error *err)
{
    if (length < 1 || length > texts->length) {
        return md_fail(err, MD_INVALID_ARG, "texts of %lld tokens, the network takes 1 to %lld",
                       (long long)length, (long long)texts->length);
    }
    for (int64_t i = 0; i < n; i++) {
        bool padding = false;
        for (int64_t t = 0; t < length; t++) {
            const int64_t id = tokens[i * length + t];
            if (id < 0 || id >= texts->n_tokens) {
                return md_fail(err, MD_INVALID_ARG,
                               "token %lld of text %lld is %lld, not in 0..%lld", (long long)t,
                               (long long)i, (long long)id, (long long)texts->n_tokens - 1);
            }
            if (padding && id != 0) {
                return md_fail(err, MD_INVALID_ARG,
                               "text %lld goes on behind padding at token %lld", (long long)i,
                               (long long)t);
            }
            padding = id == 0;
        }
    }
    return MD_OK;
}

/* The texts in `order` from long to short, equal ones in their own order: by counting. */
static void sort_by_length(md_texts *texts, int64_t n, uint32_t *order)
{
    size_t *at = texts->steps; /* not in use yet: T + 2 counts */
    memset(at, 0, (size_t)(texts->length + 2) * sizeof *at);
    for (int64_t i = 0; i < n; i++) {
        at[texts->length - texts->lengths[i] + 1]++;
    }
    for (int64_t i = 1; i <= texts->length; i++) {
        at[i] += at[i - 1];
    }
    for (int64_t i = 0; i < n; i++) {
        order[at[texts->length - texts->lengths[i]]++] = (uint32_t)i;
    }
}

/* The rows of one group, from `row` on. */
static size_t load_group(md_texts *texts, unsigned group, size_t row)
{
    const uint32_t *list = texts->order + texts->first[group];
    size_t n = texts->first[group + 1] - texts->first[group];
    size_t *steps = texts->steps + group * (size_t)(texts->length + 2);
    const int32_t n_steps = n == 0 ? 0 : texts->lengths[list[0]];
    texts->n_steps[group] = n_steps;
    for (int32_t t = 0; t < n_steps; t++) {
        steps[t] = row;
        while (texts->lengths[list[n - 1]] <= t) {
            n--;
        }
        for (size_t j = 0; j < n; j++) {
            texts->rows[texts->begin[list[j]] + (size_t)t] = (uint32_t)row++;
        }
    }
    steps[n_steps] = row;
    return row;
}

static void arrange_by_steps(md_texts *texts, int64_t n)
{
    size_t row = 0, at = 0;
    sort_by_length(texts, n, texts->scratch);
    for (unsigned g = 0; g < texts->n_groups; g++) { /* dealt out: alike in work */
        texts->first[g] = (uint32_t)at;
        for (size_t i = g; i < (size_t)n; i += texts->n_groups) {
            texts->order[at++] = texts->scratch[i];
        }
    }
    texts->first[texts->n_groups] = (uint32_t)at;
    for (unsigned g = 0; g < texts->n_groups; g++) {
        row = load_group(texts, g, row);
    }
}

void md_texts_load(md_texts *texts, const int64_t *tokens, int64_t n, int64_t length,
                   bool by_steps)
{
    size_t total = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t n_here = 0;
        while (n_here < length && tokens[i * length + n_here] != 0) {
            n_here++;
        }
        texts->lengths[i] = (int32_t)n_here;
        texts->begin[i] = total;
        total += (size_t)n_here;
    }
    texts->begin[n] = total;
    texts->n_rows = total;
    if (by_steps) {
        arrange_by_steps(texts, n);
    }
    for (size_t i = 0; i < total && !by_steps; i++) {
        texts->rows[i] = (uint32_t)i;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int32_t t = 0; t < texts->lengths[i]; t++) {
            const uint32_t row = texts->rows[texts->begin[i] + (size_t)t];
            texts->ids[row] = (int32_t)tokens[i * length + t];
            texts->times[row] = t;
            texts->origins[row] = (uint32_t)texts->begin[i] + (uint32_t)t;
        }
    }
}
