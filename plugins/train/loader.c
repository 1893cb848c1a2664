#include "plugins/train/loader.h"

#include "inference/text/vocabulary.h"
#include "plugins/train/sampler.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

/* Batches are made in a ring of slots: threads take one picture after the other, in the order
 * of the steps, and run ahead of the reader by as many batches as there are slots. */

enum {
    N_SLOTS = 3,
    MAX_THREADS = 256,
    STREAM_OTHER = 200, /* of random numbers: the film whose style is taken */
    STREAM_MIXUP,
    STREAM_WORDS,
};

typedef struct slot {
    float *images, *mixed;          /* [batch, C, H, W]; mixed: NULL without mixup */
    int64_t *tokens;                /* [batch, T] of texts, whose images are NULL */
    float *targets, *mixed_targets; /* [batch, K] */
    uint32_t *indices;              /* [batch] */
    unsigned n, n_done;
    bool is_mixed, is_ready;
    md_error failure; /* of one of its pictures */
} slot;

/* What one thread needs for itself. */
typedef struct worker {
    md_loader *loader;
    pthread_t thread;
    md_augmenter *augmenter;
    float *film, *changed; /* [C, film], [C, output] */
    size_t n_changed;
} worker;

struct md_loader {
    const md_training_set *set;
    md_loader_options options;
    uint32_t *films; /* [n_films] of the part */
    size_t n_films;
    uint32_t *order; /* [n_order] films of this epoch */
    size_t n_order;
    uint64_t n_steps;
    worker *workers;
    unsigned n_workers;

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t work, ready;
    slot slots[N_SLOTS];
    size_t slot_values; /* room of images, in floats */
    bool quit, running;
    unsigned epoch, view, width, height;
    uint64_t next_step; /* to be made: picture next_i of it */
    unsigned next_i, n_active;
    uint64_t read_step; /* to be read next; the one before may still be borrowed */
    bool borrowed;
};

static size_t image_values(const md_loader *l)
{
    return (size_t)l->set->options.n_channels * l->width * l->height;
}

static unsigned batch_size(const md_loader *l, uint64_t step)
{
    const uint64_t left = l->n_order - step * l->options.batch;
    return left < l->options.batch ? (unsigned)left : l->options.batch;
}

/* ---- one picture */

static md_status ensure_room(worker *w, size_t n, md_error *err)
{
    if (w->n_changed < n) {
        md_free(w->changed);
        w->n_changed = 0;
        w->changed = md_malloc_aligned(n * sizeof *w->changed);
        if (w->changed == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a film");
        }
        w->n_changed = n;
    }
    return MD_OK;
}

/* A text, in training with some of its words made unknown. */
static void make_text(const md_loader *l, uint64_t position, uint32_t text, int64_t *to)
{
    const md_training_set *set = l->set;
    const unsigned length = set->recipe->text.tokens;
    const float dropped = l->options.training ? (float)set->recipe->text.drop_words : 0.0F;
    const md_random_key key = {
        .seed = set->recipe->seed, .epoch = l->epoch, .position = (uint32_t)position};
    md_random random;
    md_random_init(&random, &key, STREAM_WORDS);
    for (unsigned i = 0; i < length; i++) {
        const int32_t token = set->tokens[(size_t)text * length + i];
        const bool drops =
            token != MD_VOCABULARY_PAD && dropped > 0 && md_random_uniform(&random) < dropped;
        to[i] = drops ? MD_VOCABULARY_UNKNOWN : token;
    }
}

static void make_labels(const md_loader *l, uint32_t film, unsigned i, slot *s)
{
    const md_training_set *set = l->set;
    memcpy(s->targets + (size_t)i * set->n_classes, set->labels + film * set->n_classes,
           set->n_classes * sizeof *s->targets);
    s->indices[i] = film;
}

static md_status make_picture(worker *w, uint64_t step, unsigned i, slot *s, md_error *err)
{
    md_loader *l = w->loader;
    const md_training_set *set = l->set;
    const uint64_t position = step * l->options.batch + i;
    const uint32_t film = l->order[position];
    const size_t n = (size_t)l->width * l->height;
    uint32_t n_planes = 0;
    if (set->tokens != NULL) {
        make_text(l, position, film, s->tokens + (size_t)i * n);
        make_labels(l, film, i, s);
        return MD_OK;
    }
    MD_TRY(ensure_room(w, set->options.n_channels * n, err));
    MD_TRY(md_training_set_picture(set, film, w->film, &n_planes, err));
    if (l->options.training) {
        const md_random_key key = {
            .seed = set->recipe->seed, .epoch = l->epoch, .position = (uint32_t)position};
        const md_style *own = NULL, *other = NULL;
        if (set->styles != NULL) {
            md_random random;
            md_random_init(&random, &key, STREAM_OTHER);
            own = &set->styles[film];
            other = &set->styles[l->films[md_random_below(&random, (uint32_t)l->n_films)]];
        }
        MD_TRY(md_augment_apply(w->augmenter, &key, w->film, n_planes, own, other, l->width,
                                l->height, w->changed, err));
    } else {
        MD_TRY(md_augment_resize(w->augmenter, w->film, n_planes, l->width, l->height,
                                 w->changed, err));
    }
    float *image = s->images + (size_t)i * image_values(l);
    md_preprocess_finish(w->changed, n_planes, n, &set->options,
                         l->view == 0 ? image : w->changed);
    if (l->view != 0) {
        md_test_time_view(&set->recipe->evaluation.test_time, l->view, w->changed,
                          set->options.n_channels, l->width, l->height, image);
    }
    make_labels(l, film, i, s);
    return MD_OK;
}

/* Each film mixed with another one of the batch (Zhang et al. 2018): films are a circle in
 * random order of which every one meets its neighbour. */
static void mix_up(const md_loader *l, uint64_t step, slot *s)
{
    const md_augment_options *o = &l->set->recipe->augment;
    const md_random_key key = {
        .seed = l->set->recipe->seed, .epoch = l->epoch, .position = (uint32_t)step};
    md_random random;
    md_random_init(&random, &key, STREAM_MIXUP);
    s->is_mixed = l->options.training && s->n > 1 && md_random_uniform(&random) < o->mixup;
    if (!s->is_mixed) {
        return;
    }
    const float share =
        (float)md_random_beta(&random, (double)o->mixup_alpha, (double)o->mixup_alpha);
    const unsigned turn = 1 + md_random_below(&random, s->n - 1);
    const size_t n = image_values(l), n_classes = l->set->n_classes;
    for (unsigned i = 0; i < s->n; i++) {
        const unsigned j = (i + turn) % s->n;
        const float *a = s->images + i * n, *b = s->images + j * n;
        float *restrict to = s->mixed + i * n;
        for (size_t k = 0; k < n; k++) {
            to[k] = share * a[k] + (1.0F - share) * b[k];
        }
        for (size_t k = 0; k < n_classes; k++) {
            s->mixed_targets[i * n_classes + k] =
                share * s->targets[i * n_classes + k] +
                (1.0F - share) * s->targets[j * n_classes + k];
        }
    }
}

static bool has_work(const md_loader *l)
{
    return l->running && l->next_step < l->n_steps &&
           l->next_step < l->read_step + N_SLOTS - (l->borrowed ? 1u : 0u);
}

static void *work(void *context)
{
    worker *w = context;
    md_loader *l = w->loader;
    pthread_mutex_lock(&l->lock);
    while (!l->quit) {
        if (!has_work(l)) {
            pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        const uint64_t step = l->next_step;
        const unsigned i = l->next_i++;
        slot *s = &l->slots[step % N_SLOTS];
        if (i == 0) {
            s->n = batch_size(l, step);
            s->n_done = 0;
            s->is_ready = false;
            s->failure = (md_error){0};
        }
        if (l->next_i == s->n) {
            l->next_step++;
            l->next_i = 0;
        }
        l->n_active++;
        pthread_mutex_unlock(&l->lock);
        md_error err = {0};
        const md_status status = make_picture(w, step, i, s, &err);
        pthread_mutex_lock(&l->lock);
        if (status != MD_OK && s->failure.status == MD_OK) {
            s->failure = err;
        }
        if (++s->n_done == s->n) {
            pthread_mutex_unlock(&l->lock);
            mix_up(l, step, s);
            pthread_mutex_lock(&l->lock);
            s->is_ready = true;
        }
        l->n_active--;
        pthread_cond_broadcast(&l->ready);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* ---- the reader's side */

static void free_slots(md_loader *l)
{
    for (unsigned i = 0; i < N_SLOTS; i++) {
        md_free(l->slots[i].images);
        md_free(l->slots[i].mixed);
        md_free(l->slots[i].tokens);
        l->slots[i].tokens = NULL;
        l->slots[i].images = NULL;
        l->slots[i].mixed = NULL;
    }
    l->slot_values = 0;
}

static md_status allocate_slots(md_loader *l, md_error *err)
{
    size_t n = 0, size_bytes = 0;
    const bool mixes = l->options.training && l->set->recipe->augment.mixup > 0;
    if (!md_mul(image_values(l), l->options.batch, &n) ||
        !md_mul(n, l->set->tokens != NULL ? sizeof(int64_t) : sizeof(float), &size_bytes)) {
        return md_fail(err, MD_LIMIT, "batches of %u films of %u x %u", l->options.batch,
                       l->width, l->height);
    }
    if (n <= l->slot_values) {
        return MD_OK;
    }
    free_slots(l);
    for (unsigned i = 0; i < N_SLOTS; i++) {
        slot *s = &l->slots[i];
        const bool is_text = l->set->tokens != NULL;
        s->tokens = is_text ? md_malloc_aligned(size_bytes) : NULL;
        s->images = is_text ? NULL : md_malloc_aligned(size_bytes);
        s->mixed = mixes ? md_malloc_aligned(size_bytes) : NULL;
        if ((is_text ? s->tokens == NULL : s->images == NULL) || (mixes && s->mixed == NULL)) {
            free_slots(l);
            return md_fail(err, MD_NOMEM, "no memory for batches of %u films of %u x %u",
                           l->options.batch, l->width, l->height);
        }
    }
    l->slot_values = n;
    return MD_OK;
}

/* Nobody makes pictures after this. The lock is held. */
static void halt(md_loader *l)
{
    l->running = false;
    while (l->n_active > 0) {
        pthread_cond_wait(&l->ready, &l->lock);
    }
}

static md_status list_films(md_loader *l, md_error *err)
{
    const md_training_set *set = l->set;
    l->films = md_calloc(set->n_films + 1, sizeof *l->films);
    l->order = md_calloc(set->n_films + 1, sizeof *l->order);
    if (l->films == NULL || l->order == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", set->n_films);
    }
    for (size_t i = 0; i < set->n_films; i++) {
        if (set->films[i].part == l->options.part) {
            l->films[l->n_films++] = (uint32_t)i;
        }
    }
    if (l->n_films == 0) {
        return md_fail(err, MD_INVALID_ARG, "the part %s has no film",
                       md_part_name(l->options.part));
    }
    l->n_order = l->n_films;
    if (l->options.training && l->n_films > l->options.batch) {
        l->n_order -= l->n_films % l->options.batch;
    }
    l->n_steps = (l->n_order + l->options.batch - 1) / l->options.batch;
    return MD_OK;
}

static md_status start_workers(md_loader *l, md_error *err)
{
    const md_training_set *set = l->set;
    const md_augment_options none = {0};
    const unsigned n = l->options.n_threads == 0            ? 1
                       : l->options.n_threads > MAX_THREADS ? MAX_THREADS
                                                            : l->options.n_threads;
    l->workers = md_calloc(n, sizeof *l->workers);
    if (l->workers == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u threads", n);
    }
    for (unsigned i = 0; i < n; i++) {
        worker *w = &l->workers[i];
        w->loader = l;
        w->film = md_malloc_aligned((size_t)set->options.n_channels * set->options.width *
                                    set->options.height * sizeof *w->film);
        md_status status =
            set->tokens != NULL
                ? MD_OK
                : md_augmenter_create(l->options.training ? &set->recipe->augment : &none,
                                      set->options.width, set->options.height, &w->augmenter,
                                      err);
        if (status == MD_OK && w->film == NULL) {
            status = md_fail(err, MD_NOMEM, "no memory for a film");
        }
        if (status == MD_OK && pthread_create(&w->thread, NULL, work, w) != 0) {
            status = md_fail(err, MD_NOMEM, "thread %u could not be started", i + 1);
        }
        if (status != MD_OK) {
            md_free(w->film);
            md_augmenter_destroy(w->augmenter);
            return status;
        }
        l->n_workers++;
    }
    return MD_OK;
}

static md_status allocate_labels(md_loader *l, md_error *err)
{
    const size_t n = (size_t)l->options.batch * l->set->n_classes;
    for (unsigned i = 0; i < N_SLOTS; i++) {
        slot *s = &l->slots[i];
        s->targets = md_calloc(n, sizeof *s->targets);
        s->mixed_targets = md_calloc(n, sizeof *s->mixed_targets);
        s->indices = md_calloc(l->options.batch, sizeof *s->indices);
        if (s->targets == NULL || s->mixed_targets == NULL || s->indices == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for batches of %u films",
                           l->options.batch);
        }
    }
    return MD_OK;
}

md_status md_loader_create(const md_training_set *set, const md_loader_options *options,
                           md_loader **ret_loader, md_error *err)
{
    if (options->batch < 1 || options->batch > MD_LOADER_MAX_BATCH) {
        return md_fail(err, MD_INVALID_ARG, "batches of %u films, expected 1..%d",
                       options->batch, MD_LOADER_MAX_BATCH);
    }
    md_loader *l = md_calloc(1, sizeof *l);
    if (l == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a loader");
    }
    l->set = set;
    l->options = *options;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    md_status status = list_films(l, err);
    if (status == MD_OK) {
        status = allocate_labels(l, err);
    }
    if (status == MD_OK) {
        status = start_workers(l, err);
    }
    if (status != MD_OK) {
        md_loader_destroy(l);
        return status;
    }
    *ret_loader = l;
    return MD_OK;
}

void md_loader_destroy(md_loader *l)
{
    if (l == NULL) {
        return;
    }
    pthread_mutex_lock(&l->lock);
    l->quit = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (unsigned i = 0; i < l->n_workers; i++) {
        worker *w = &l->workers[i];
        pthread_join(w->thread, NULL);
        md_augmenter_destroy(w->augmenter);
        md_free(w->film);
        md_free(w->changed);
    }
    free_slots(l);
    for (unsigned i = 0; i < N_SLOTS; i++) {
        md_free(l->slots[i].targets);
        md_free(l->slots[i].mixed_targets);
        md_free(l->slots[i].indices);
    }
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    pthread_mutex_destroy(&l->lock);
    md_free(l->workers);
    md_free(l->films);
    md_free(l->order);
    md_free(l);
}

uint64_t md_loader_n_films(const md_loader *loader)
{
    return loader->n_order;
}

uint64_t md_loader_n_steps(const md_loader *loader)
{
    return loader->n_steps;
}

unsigned md_loader_n_views(const md_loader *loader)
{
    return loader->options.training
               ? 1
               : md_test_time_n_views(&loader->set->recipe->evaluation.test_time);
}

md_status md_loader_begin(md_loader *l, unsigned epoch, uint64_t first_step, unsigned width,
                          unsigned height, unsigned view, md_error *err)
{
    if (view >= md_loader_n_views(l) || first_step > l->n_steps ||
        width > MD_AUGMENT_MAX_SIDE || height > MD_AUGMENT_MAX_SIDE) {
        return md_fail(err, MD_INVALID_ARG, "an epoch from step %llu with films of %u x %u",
                       (unsigned long long)first_step, width, height);
    }
    pthread_mutex_lock(&l->lock);
    halt(l);
    l->epoch = epoch;
    l->view = view;
    l->width = width > 0 ? width : l->set->options.width;
    l->height = height > 0 ? height : l->set->options.height;
    l->next_step = first_step;
    l->next_i = 0;
    l->read_step = first_step;
    l->borrowed = false;
    for (unsigned i = 0; i < N_SLOTS; i++) {
        l->slots[i].is_ready = false;
    }
    md_status status = allocate_slots(l, err);
    if (status == MD_OK && l->options.training) {
        status =
            md_sampler_order(l->set, l->films, l->n_films, epoch, l->n_order, l->order, err);
    } else if (status == MD_OK) {
        memcpy(l->order, l->films, l->n_films * sizeof *l->order);
    }
    l->running = status == MD_OK;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    return status;
}

md_status md_loader_next(md_loader *l, md_batch *ret_batch, md_error *err)
{
    pthread_mutex_lock(&l->lock);
    if (!l->running) {
        pthread_mutex_unlock(&l->lock);
        return md_fail(err, MD_INVALID_ARG, "no epoch has begun");
    }
    if (l->borrowed) {
        l->borrowed = false;
        pthread_cond_broadcast(&l->work);
    }
    if (l->read_step == l->n_steps) {
        pthread_mutex_unlock(&l->lock);
        *ret_batch = (md_batch){.step = l->n_steps};
        return MD_OK;
    }
    slot *s = &l->slots[l->read_step % N_SLOTS];
    while (!s->is_ready) {
        pthread_cond_wait(&l->ready, &l->lock);
    }
    const uint64_t step = l->read_step++;
    const md_error failure = s->failure;
    s->is_ready = false;
    l->borrowed = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    if (failure.status != MD_OK) {
        return md_fail(err, failure.status, "%s", failure.msg);
    }
    *ret_batch = (md_batch){
        .step = step,
        .n = s->n,
        .n_channels = l->set->options.n_channels,
        .height = l->height,
        .width = l->width,
        .n_classes = l->set->n_classes,
        .images = s->is_mixed ? s->mixed : s->images,
        .tokens = s->tokens,
        .targets = s->is_mixed ? s->mixed_targets : s->targets,
        .indices = s->indices,
    };
    return MD_OK;
}
