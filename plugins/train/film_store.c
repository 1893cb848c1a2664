#include "plugins/train/dataset_internal.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* The pictures of a set at the size of `preprocess`: read once by threads, and kept as small as
 * their values allow. */

enum {
    MAX_THREADS = 256,
    THUMB_SIDE = 32,
    THUMB_PIXELS = THUMB_SIDE * THUMB_SIDE
};

typedef enum kept_as {
    KEPT_U8,  /* every value is k / 255 exactly */
    KEPT_U16, /* low + k / 65535 (high - low) */
    KEPT_F32,
} kept_as;

/* Values of one film in the form they are kept in. */
typedef struct packed {
    kept_as form;
    uint32_t n_planes;
    float low, high;
    void *bytes; /* owned; NULL: not in memory */
} packed;

struct md_film_store {
    packed *films; /* [n_films] */
    float *thumbs; /* [n_films, THUMB_PIXELS] of mean 0 and length 1; NULL: not wanted */
    size_t n_films;
};

static size_t n_pixels(const md_training_set *set)
{
    return (size_t)set->options.width * set->options.height;
}

static size_t form_bytes(kept_as form)
{
    return form == KEPT_U8 ? 1 : form == KEPT_U16 ? 2 : 4;
}

/* The smallest form; `exact`: of those that lose nothing. */
static kept_as choose_form(const float *values, size_t n, bool exact, float *ret_low,
                           float *ret_high)
{
    float low = INFINITY, high = -INFINITY;
    bool bytes = true;
    for (size_t i = 0; i < n; i++) {
        const float v = values[i];
        low = v < low ? v : low;
        high = v > high ? v : high;
        const float scaled = v * 255.0F + 0.5F;
        const bool inside = scaled >= 0.0F && scaled < 256.0F;
        bytes = bytes && inside && (float)(int)(inside ? scaled : 0.0F) / 255.0F == v;
    }
    *ret_low = low;
    *ret_high = high;
    return bytes ? KEPT_U8 : exact || !(high - low < INFINITY) ? KEPT_F32 : KEPT_U16;
}

static void pack(packed *p, const float *values, size_t n)
{
    uint8_t *u8 = p->bytes;
    uint16_t *u16 = p->bytes;
    const float scale = p->high > p->low ? 65535.0F / (p->high - p->low) : 0.0F;
    switch (p->form) {
    case KEPT_U8:
        for (size_t i = 0; i < n; i++) {
            u8[i] = (uint8_t)(values[i] * 255.0F + 0.5F);
        }
        break;
    case KEPT_U16:
        for (size_t i = 0; i < n; i++) {
            const float at = (values[i] - p->low) * scale + 0.5F;
            u16[i] = at < 65535.0F ? (uint16_t)at : 65535;
        }
        break;
    case KEPT_F32:
    default:
        memcpy(p->bytes, values, n * sizeof *values);
        break;
    }
}

static void unpack(const packed *p, size_t n, float *values)
{
    const uint8_t *u8 = p->bytes;
    const uint16_t *u16 = p->bytes;
    const float step = (p->high - p->low) / 65535.0F;
    switch (p->form) {
    case KEPT_U8:
        for (size_t i = 0; i < n; i++) {
            values[i] = (float)u8[i] / 255.0F;
        }
        break;
    case KEPT_U16:
        for (size_t i = 0; i < n; i++) {
            values[i] = p->low + (float)u16[i] * step;
        }
        break;
    case KEPT_F32:
    default:
        memcpy(values, p->bytes, n * sizeof *values);
        break;
    }
}

/* A film at the size of `preprocess`; *ret_hash (NULL: not wanted) of the picture it came from.
 */
static md_status read_film(const md_training_set *set, size_t index, md_tensor *ret_tensor,
                           uint8_t *ret_hash, md_error *err)
{
    const md_recipe *r = set->recipe;
    const md_gate *gate = &r->package.manifest.gate;
    md_image_least least;
    md_raster raster = {0};
    md_placement placement;
    md_preprocess_spec_least(&r->preprocess, gate->min_columns, gate->min_rows, &least);
    MD_TRY(md_picture_read(set->films[index].path, &r->preprocess, &least, &raster, err));
    md_status status = md_raster_expand(&raster, err);
    if (status == MD_OK && ret_hash != NULL) {
        /* the digest of the values, then of size and that digest: no copy of a large film */
        uint8_t digest[MD_SHA256_BYTES];
        char text[128];
        md_sha256(raster.values,
                  (size_t)raster.width * raster.height * raster.n_channels * sizeof(float),
                  digest);
        int n = snprintf(text, 64, "%u %u %u ", raster.width, raster.height, raster.n_channels);
        memcpy(text + n, digest, sizeof digest);
        md_sha256(text, (size_t)n + sizeof digest, ret_hash);
    }
    if (status == MD_OK) {
        status =
            md_preprocess_resize(&raster, &set->options, ret_tensor, &placement, NULL, err);
    }
    md_raster_finish(&raster);
    return status;
}

/* ---- reading everything once */

typedef struct filler {
    md_training_set *set;
    pthread_mutex_t lock; /* of the list of unreadable films */
    atomic_size_t next, n_done, kept_bytes;
    size_t max_bytes;
    size_t max_unreadable;
    bool *unreadable; /* [n_films] */
    md_error failure; /* of the first thread that cannot go on; under lock */
    atomic_bool stop;
    bool styles;
} filler;

static void note_failure(filler *f, const md_error *err)
{
    pthread_mutex_lock(&f->lock);
    if (f->failure.status == MD_OK) {
        f->failure = *err;
    }
    pthread_mutex_unlock(&f->lock);
    f->stop = true;
}

static void note_unreadable(filler *f, size_t index, const md_error *err)
{
    md_training_set *set = f->set;
    pthread_mutex_lock(&f->lock);
    f->unreadable[index] = true;
    md_unreadable *u = &set->unreadable[set->n_unreadable++];
    u->film = index;
    snprintf(u->message, sizeof u->message, "%s", err->msg);
    f->stop = f->stop || set->n_unreadable > f->max_unreadable;
    pthread_mutex_unlock(&f->lock);
}

/* A small copy for comparing, of mean 0 and length 1; all 0 for a film of one value. */
static md_status make_thumb(const float *plane, const md_preprocess_options *size, float *thumb,
                            md_error *err)
{
    md_raster raster = {.width = size->width,
                        .height = size->height,
                        .n_channels = 1,
                        .pixel_width_mm = 1,
                        .pixel_height_mm = 1,
                        .values = (float *)(uintptr_t)plane};
    const md_preprocess_options small = {.fit = MD_FIT_STRETCH,
                                         .filter = MD_FILTER_AREA,
                                         .width = THUMB_SIDE,
                                         .height = THUMB_SIDE,
                                         .n_channels = 1,
                                         .std = {1.0F}};
    md_tensor tensor = {0};
    md_placement placement;
    MD_TRY(md_preprocess(&raster, &small, &tensor, &placement, NULL, err));
    const float *values = tensor.data;
    double mean = 0, square = 0;
    for (size_t i = 0; i < THUMB_PIXELS; i++) {
        mean += (double)values[i] / THUMB_PIXELS;
    }
    for (size_t i = 0; i < THUMB_PIXELS; i++) {
        square += ((double)values[i] - mean) * ((double)values[i] - mean);
    }
    for (size_t i = 0; i < THUMB_PIXELS; i++) {
        thumb[i] = square > 1e-12 ? (float)(((double)values[i] - mean) / sqrt(square)) : 0.0F;
    }
    md_tensor_finish(&tensor);
    return MD_OK;
}

/* Everything about one film that has been read. */
static md_status take_film(filler *f, size_t index, const md_tensor *tensor,
                           md_augmenter *augmenter, md_error *err)
{
    md_training_set *set = f->set;
    const bool train = set->films[index].part == MD_PART_TRAIN;
    packed *p = &set->store->films[index];
    p->n_planes = (uint32_t)tensor->dims[1];
    const size_t n = n_pixels(set) * p->n_planes;
    p->form = choose_form(tensor->data, n, !train, &p->low, &p->high);
    const size_t size_bytes = n * form_bytes(p->form);
    if (atomic_fetch_add(&f->kept_bytes, size_bytes) + size_bytes <= f->max_bytes) {
        p->bytes = md_malloc(size_bytes);
        if (p->bytes == NULL) {
            return md_fail(err, MD_NOMEM, "no memory to keep films, make data.cache_mib less");
        }
        pack(p, tensor->data, n);
    } else {
        atomic_fetch_sub(&f->kept_bytes, size_bytes);
    }
    if (f->styles && train) {
        MD_TRY(md_style_measure(augmenter, tensor->data, &set->styles[index], err));
    }
    if (set->store->thumbs != NULL) {
        MD_TRY(make_thumb(tensor->data, &set->options,
                          set->store->thumbs + index * THUMB_PIXELS, err));
    }
    return MD_OK;
}

static void *fill_some(void *context)
{
    filler *f = context;
    md_training_set *set = f->set;
    md_error err = {0};
    MD_AUTO(md_augmenter_destroyp) md_augmenter *augmenter = NULL;
    if (f->styles && md_augmenter_create(&set->recipe->augment, set->options.width,
                                         set->options.height, &augmenter, &err) != MD_OK) {
        note_failure(f, &err);
        return NULL;
    }
    while (!f->stop) {
        const size_t index = atomic_fetch_add(&f->next, 1);
        if (index >= set->n_films) {
            break;
        }
        md_tensor tensor = {0};
        md_status status = read_film(set, index, &tensor, set->films[index].hash, &err);
        if (status == MD_OK && tensor.dims[1] > set->options.n_channels) {
            status = md_fail(&err, MD_UNSUPPORTED,
                             "a colour picture for a network of one channel: set "
                             "preprocess.greyscale or channels 3");
        }
        if (status == MD_OK) {
            status = take_film(f, index, &tensor, augmenter, &err);
            if (status != MD_OK) {
                note_failure(f, &err);
            }
        } else if (status == MD_NOMEM) {
            note_failure(f, &err);
        } else {
            note_unreadable(f, index, &err);
        }
        md_tensor_finish(&tensor);
        atomic_fetch_add(&f->n_done, 1);
    }
    return NULL;
}

static md_status run_threads(filler *f, unsigned n_threads, md_set_progress progress,
                             void *context, md_error *err)
{
    pthread_t threads[MAX_THREADS];
    unsigned n = 0;
    n_threads = n_threads > MAX_THREADS ? MAX_THREADS : n_threads;
    while (n < n_threads && pthread_create(&threads[n], NULL, fill_some, f) == 0) {
        n++;
    }
    if (n == 0) {
        return md_fail(err, MD_NOMEM, "no thread could be started");
    }
    while (progress != NULL && !f->stop && f->n_done < f->set->n_films) {
        const struct timespec pause = {.tv_nsec = 100000000};
        nanosleep(&pause, NULL);
        progress(context, f->n_done, f->set->n_films);
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
    return MD_OK;
}

/* Take the films that could not be read out of the set. */
static void compact(md_training_set *set, const bool *unreadable)
{
    size_t to = 0;
    for (size_t i = 0; i < set->n_films; i++) {
        if (unreadable[i]) {
            md_set_film_finish(&set->films[i]);
            continue;
        }
        if (to != i) {
            set->films[to] = set->films[i];
            memcpy(md_set_labels(set, to), md_set_labels(set, i),
                   set->n_classes * sizeof *set->labels);
            set->store->films[to] = set->store->films[i];
            if (set->styles != NULL) {
                set->styles[to] = set->styles[i];
            }
            if (set->store->thumbs != NULL) {
                memcpy(set->store->thumbs + to * THUMB_PIXELS,
                       set->store->thumbs + i * THUMB_PIXELS,
                       THUMB_PIXELS * sizeof *set->store->thumbs);
            }
        }
        to++;
    }
    set->n_films = to;
    set->store->n_films = to;
}

static md_status name_unreadable(md_training_set *set, md_error *err)
{
    for (size_t i = 0; i < set->n_unreadable; i++) {
        set->unreadable[i].path = md_strdup(set->films[set->unreadable[i].film].name);
        if (set->unreadable[i].path == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a list of unreadable films");
        }
    }
    return MD_OK;
}

static md_status allocate(md_training_set *set, filler *f, md_error *err)
{
    const size_t n = set->n_films;
    f->styles = md_augment_needs_styles(&set->recipe->augment);
    set->store = md_calloc(1, sizeof *set->store);
    /* each thread may find one more when the others have been told to stop */
    set->unreadable = md_calloc(f->max_unreadable + MAX_THREADS + 1, sizeof *set->unreadable);
    f->unreadable = md_calloc(n, sizeof *f->unreadable);
    if (set->store == NULL || set->unreadable == NULL || f->unreadable == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", n);
    }
    set->store->films = md_calloc(n, sizeof *set->store->films);
    set->store->n_films = n;
    set->styles = f->styles ? md_calloc(n, sizeof *set->styles) : NULL;
    set->store->thumbs = set->recipe->data.near_duplicates > 0
                             ? md_calloc(n, THUMB_PIXELS * sizeof *set->store->thumbs)
                             : NULL;
    if (set->store->films == NULL || (f->styles && set->styles == NULL) ||
        (set->recipe->data.near_duplicates > 0 && set->store->thumbs == NULL)) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", n);
    }
    return MD_OK;
}

md_status md_store_fill(md_training_set *set, unsigned n_threads, md_set_progress progress,
                        void *context, md_error *err)
{
    filler f = {.set = set, .max_bytes = (size_t)set->recipe->data.cache_mib << 20};
    const size_t n_files = set->n_films;
    set->n_files = n_files;
    f.max_unreadable = (size_t)(set->recipe->data.max_unreadable * (double)n_files);
    md_status status = allocate(set, &f, err);
    if (status == MD_OK) {
        pthread_mutex_init(&f.lock, NULL);
        status = run_threads(&f, n_threads, progress, context, err);
        pthread_mutex_destroy(&f.lock);
    }
    if (status == MD_OK && f.failure.status != MD_OK) {
        status = md_fail(err, f.failure.status, "%s", f.failure.msg);
    }
    if (status == MD_OK) {
        status = name_unreadable(set, err);
    }
    if (status == MD_OK && set->n_unreadable > f.max_unreadable) {
        status =
            md_fail(err, MD_FORMAT,
                    "%zu of %zu files cannot be read, at most %zu may (data.max_unreadable); "
                    "%.80s: %s",
                    set->n_unreadable, n_files, f.max_unreadable, set->unreadable[0].path,
                    set->unreadable[0].message);
    }
    if (status == MD_OK) {
        compact(set, f.unreadable);
    }
    md_free(f.unreadable);
    return status;
}

void md_store_destroy(struct md_film_store *store)
{
    if (store == NULL) {
        return;
    }
    for (size_t i = 0; store->films != NULL && i < store->n_films; i++) {
        md_free(store->films[i].bytes);
    }
    md_free(store->films);
    md_free(store->thumbs);
    md_free(store);
}

md_status md_training_set_picture(const md_training_set *set, size_t index, float *ret_planes,
                                  uint32_t *ret_n_planes, md_error *err)
{
    packed p = set->store->films[index];
    const size_t n = n_pixels(set) * p.n_planes;
    *ret_n_planes = p.n_planes;
    if (p.bytes != NULL) {
        unpack(&p, n, ret_planes);
        return MD_OK;
    }
    md_tensor tensor = {0};
    md_status status = read_film(set, index, &tensor, NULL, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%.100s", set->films[index].name);
    }
    if ((uint32_t)tensor.dims[1] != p.n_planes) {
        md_tensor_finish(&tensor);
        return md_fail(err, MD_FORMAT, "%.150s has changed since it was read first",
                       set->films[index].name);
    }
    /* through the form that it would be kept in: the same values with and without memory */
    p.bytes = p.form == KEPT_F32 ? NULL : md_malloc(n * form_bytes(p.form));
    if (p.form == KEPT_F32) {
        memcpy(ret_planes, tensor.data, n * sizeof *ret_planes);
    } else if (p.bytes == NULL) {
        status = md_fail(err, MD_NOMEM, "no memory for a film");
    } else {
        pack(&p, tensor.data, n);
        unpack(&p, n, ret_planes);
    }
    md_free(p.bytes);
    md_tensor_finish(&tensor);
    return status;
}

void md_store_near_duplicates(md_training_set *set)
{
    const float *thumbs = set->store->thumbs;
    const float least = (float)set->recipe->data.near_duplicates;
    for (size_t i = 0; thumbs != NULL && i < set->n_films; i++) {
        for (size_t j = 0; j < i; j++) {
            if (set->films[i].part == set->films[j].part) {
                continue;
            }
            const float *a = thumbs + i * THUMB_PIXELS, *b = thumbs + j * THUMB_PIXELS;
            float sums[16] = {0};
            for (size_t k = 0; k < THUMB_PIXELS; k += 16) {
                for (size_t l = 0; l < 16; l++) {
                    sums[l] += a[k + l] * b[k + l];
                }
            }
            float sum = 0;
            for (size_t l = 0; l < 16; l++) {
                sum += sums[l];
            }
            if (sum >= least && set->n_near_duplicates++ == 0) {
                snprintf(set->near_duplicate, sizeof set->near_duplicate,
                         "%.120s (%s) and %.120s (%s)", set->films[j].name,
                         md_part_name(set->films[j].part), set->films[i].name,
                         md_part_name(set->films[i].part));
            }
        }
    }
}
