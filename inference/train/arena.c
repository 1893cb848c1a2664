#include "inference/train/trainer_private.h"

#include <stdlib.h>

/* Memory by lifetime: time runs through the layers forward, 0..L-1, the loss at L, and back,
 * layer i at 2L - i. What is needed at different times may lie at the same place. */

enum {
    ALIGNMENT = 64
};

typedef struct item {
    size_t bytes, offset;
    unsigned birth, death; /* both included */
    void **pointer;
} item;

typedef struct placement {
    const md_trainer *t;
    const md_net *net;
    item *items;
    size_t n;
} placement;

static bool input_needed(const md_train_layer *layer, unsigned i)
{
    /* of a normalisation's inputs the residual is only added */
    return layer->kind->needs_inputs && !(layer->kind == &md_train_layer_norm && i > 0);
}

static md_status add_item(placement *p, size_t element_bytes, size_t n_per_image,
                          unsigned birth, unsigned death, void **pointer, md_error *err)
{
    size_t bytes;
    if (!md_mul(n_per_image, (size_t)p->net->batch, &bytes) ||
        !md_mul(bytes, element_bytes, &bytes) || !md_add(bytes, ALIGNMENT - 1, &bytes)) {
        return md_fail(err, MD_LIMIT, "the network needs too much memory");
    }
    p->items[p->n++] = (item){bytes / ALIGNMENT * ALIGNMENT, 0, birth, death, pointer};
    return MD_OK;
}

static unsigned later(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

static md_status add_feature(placement *p, md_feature *f, int number, md_error *err)
{
    const md_net *net = p->net;
    const unsigned n = net->n_layers;
    const unsigned birth = f->producer < 0 ? 0 : (unsigned)f->producer;
    unsigned last_reader = 0, death = birth;
    for (unsigned i = 0; i < n; i++) {
        const md_train_layer *layer = &net->layers[i];
        for (unsigned j = 0; j < layer->n_inputs; j++) {
            if (layer->inputs[j] == number) {
                last_reader = i;
                death = later(death, input_needed(layer, j) ? 2 * n - i : i);
            }
        }
        if (layer->output == number && (layer->kind->needs_output || layer->clamped)) {
            death = later(death, 2 * n - i);
        }
    }
    unsigned written = 2 * n - last_reader;
    if (number == net->output) {
        death = later(death, n);
        written = n;
    }
    const size_t bytes = md_feature_element_bytes(f);
    MD_TRY(add_item(p, bytes, f->n_per_image, birth, death, &f->data, err));
    return add_item(p, bytes, f->n_per_image, written,
                    f->producer < 0 ? 2 * n + 1 : 2 * n - birth, &f->gradient, err);
}

static int larger_first(const void *a, const void *b)
{
    const item *x = *(item *const *)a, *y = *(item *const *)b;
    if (x->bytes != y->bytes) {
        return x->bytes > y->bytes ? -1 : 1;
    }
    return x < y ? -1 : x > y;
}

/* The largest first, each at the lowest place where nothing of its time is. `placed` stays in
 * the order of offsets. */
static size_t place_items(placement *p, item **order, item **placed)
{
    size_t total = 0, n_placed = 0;
    for (size_t i = 0; i < p->n; i++) {
        order[i] = &p->items[i];
    }
    qsort(order, p->n, sizeof(item *), larger_first);
    for (size_t i = 0; i < p->n; i++) {
        item *it = order[i];
        size_t offset = 0, at = 0;
        for (size_t j = 0; j < n_placed; j++) {
            const item *other = placed[j];
            if (other->death < it->birth || it->death < other->birth) {
                continue;
            }
            if (other->offset >= offset && other->offset - offset >= it->bytes) {
                break;
            }
            const size_t end = other->offset + other->bytes;
            offset = end > offset ? end : offset;
        }
        it->offset = offset;
        while (at < n_placed && placed[at]->offset < offset) {
            at++;
        }
        for (size_t j = n_placed; j > at; j--) {
            placed[j] = placed[j - 1];
        }
        placed[at] = it;
        n_placed++;
        total = offset + it->bytes > total ? offset + it->bytes : total;
    }
    return total;
}

static md_status collect(placement *p, md_error *err)
{
    const md_net *net = p->net;
    for (int i = 0; i < net->n_features; i++) {
        MD_TRY(add_feature(p, &net->features[i], i, err));
    }
    for (unsigned i = 0; i < net->n_layers; i++) {
        md_train_layer *layer = &net->layers[i];
        if (layer->kept_bytes > 0) {
            MD_TRY(
                add_item(p, 1, layer->kept_bytes, i, 2 * net->n_layers - i, &layer->kept, err));
        }
    }
    return MD_OK;
}

md_status md_net_check_bytes(const md_trainer *t, const md_net *net, size_t needed,
                             md_error *err)
{
    if (t->max_bytes == 0 || needed <= t->max_bytes) {
        return MD_OK;
    }
    if (t->texts.n_tokens > 0) {
        return md_fail(err, MD_LIMIT,
                       "training with batches of %lld texts of %lld tokens needs %zu MiB, the "
                       "limit is %zu: take smaller batches or shorter texts",
                       (long long)net->batch, (long long)net->width, needed >> 20,
                       t->max_bytes >> 20);
    }
    return md_fail(err, MD_LIMIT,
                   "training with batches of %lld pictures of %lld x %lld needs %zu MiB, the "
                   "limit is %zu: take smaller batches or pictures",
                   (long long)net->batch, (long long)net->height, (long long)net->width,
                   needed >> 20, t->max_bytes >> 20);
}

md_status md_net_place(md_trainer *t, md_net *net, md_error *err)
{
    const size_t n = 2 * (size_t)net->n_features + net->n_layers + 1;
    MD_AUTO(md_freep) item *items = md_calloc(n, sizeof *items);
    MD_AUTO(md_freep) item **order = md_calloc(n, sizeof(item *));
    MD_AUTO(md_freep) item **placed = md_calloc(n, sizeof(item *));
    placement p = {t, net, items, 0};
    if (items == NULL || order == NULL || placed == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to place %zu tensors", n);
    }
    MD_TRY(collect(&p, err));
    net->arena_bytes = place_items(&p, order, placed);
    MD_TRY(md_net_check_bytes(t, net, net->arena_bytes + t->parameter_bytes, err));
    net->arena = md_malloc_aligned(net->arena_bytes);
    if (net->arena == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu MiB of activations",
                       net->arena_bytes >> 20);
    }
    for (size_t i = 0; i < p.n; i++) {
        *items[i].pointer = net->arena + items[i].offset;
    }
    return MD_OK;
}
