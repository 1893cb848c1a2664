#include "daemon/similar/cases.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/similar/layout.h"
#include "inference/similar/similar.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_SPACES = 16,
    BATCH = 64, /* vectors of one sync */
    AFTER_ERROR_MS = 60000,
    SLACK = 16, /* found ones that may be gone by now */
    ID_LENGTH = MD_STORE_SPACE_BYTES - 1
};

typedef struct space {
    md_space what;
    md_similar *index; /* NULL: not there yet */
    int64_t last_id;   /* of the store that was looked at; of the thread alone */
} space;

struct md_cases {
    md_store *store;
    char folder[PATH_MAX];
    md_conf_index kind;
    unsigned max_cases;
    space spaces[MAX_SPACES];
    size_t n_spaces;
    pthread_rwlock_t lock; /* of the spaces' indices */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    bool woken, removed, stopping, settled;
};

/* ---- files ---- */

static bool is_space_id(const char *name)
{
    return strspn(name, "0123456789abcdef") >= ID_LENGTH;
}

static bool is_used(const md_cases *c, const char *name)
{
    for (size_t i = 0; c != NULL && i < c->n_spaces; i++) {
        if (strncmp(name, c->spaces[i].what.id, ID_LENGTH) == 0) {
            return true;
        }
    }
    return false;
}

/* Indices of models that no longer serve, or all of them with c NULL: they can be made again.
 */
static void remove_unused(const char *folder, const md_cases *c)
{
    char path[PATH_MAX + NAME_MAX + 2];
    DIR *list = opendir(folder);
    const struct dirent *entry;
    while (list != NULL && (entry = readdir(list)) != NULL) {
        if (is_space_id(entry->d_name) && !is_used(c, entry->d_name)) {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            (void)unlink(path);
        }
    }
    if (list != NULL) {
        closedir(list);
    }
}

static void path_of(const md_cases *c, const space *s, const char *end, char *ret_path)
{
    snprintf(ret_path, PATH_MAX + 64, "%s/%s%s", c->folder, s->what.id, end);
}

/* ---- the index of a space ---- */

static void log_trouble(const space *s, const char *event, const md_error *why,
                        const char *then)
{
    md_log(MD_LOG_WARN, event, MD_LOG_TEXT("model", s->what.image_model),
           MD_LOG_TEXT("status", md_status_name(why->status)), MD_LOG_TEXT("reason", why->msg),
           MD_LOG_TEXT("then", then));
}

static md_status open_file(const md_cases *c, const space *s, md_similar **ret_index,
                           md_error *err)
{
    char path[PATH_MAX + 64];
    const uint32_t room = c->max_cases + c->max_cases / 4 + 1024; /* with what was replaced */
    path_of(c, s, ".vectors", path);
    const md_similar_options options = {
        .path = path,
        .n_dims = s->what.n,
        .max_vectors = room,
        .exact_below = c->kind == MD_CONF_INDEX_EXACT   ? room + 1
                       : c->kind == MD_CONF_INDEX_GRAPH ? 1
                                                        : MD_SIMILAR_EXACT_BELOW,
        .n_threads = 1,
        .tidy = true,
    };
    return md_similar_open(&options, ret_index, err);
}

/* A file that is none of ours, or of other dimensions, is made anew from the store. */
static md_status open_index(md_cases *c, space *s, md_error *err)
{
    md_similar *index = NULL;
    md_status status = open_file(c, s, &index, err);
    if (status == MD_FORMAT || status == MD_LIMIT) {
        char path[PATH_MAX + 64];
        log_trouble(s, "similar_index_damaged", err, "made again from the database");
        path_of(c, s, ".vectors", path);
        (void)unlink(path);
        status = open_file(c, s, &index, err);
    }
    MD_TRY(status);
    const md_similar_opening *opening = md_similar_opened(index);
    if (opening->dropped_bytes > 0 || opening->n_damaged > 0) {
        md_log(MD_LOG_WARN, "similar_index_damaged", MD_LOG_TEXT("model", s->what.image_model),
               MD_LOG_INT("dropped_bytes", opening->dropped_bytes),
               MD_LOG_INT("damaged", opening->n_damaged),
               MD_LOG_TEXT("then", "taken again from the database"));
    }
    s->last_id = 0;
    (void)pthread_rwlock_wrlock(&c->lock);
    s->index = index;
    (void)pthread_rwlock_unlock(&c->lock);
    return MD_OK;
}

static void close_index(md_cases *c, space *s)
{
    (void)pthread_rwlock_wrlock(&c->lock);
    md_similar *index = s->index;
    s->index = NULL;
    (void)pthread_rwlock_unlock(&c->lock);
    md_similar_destroy(index);
}

static bool is_stopping(md_cases *c)
{
    pthread_mutex_lock(&c->mutex);
    bool stopping = c->stopping;
    pthread_mutex_unlock(&c->mutex);
    return stopping;
}

/* Vectors on their way from the store into the index. */
typedef struct batch {
    uint64_t keys[BATCH];
    float *values; /* [BATCH][n] */
    uint32_t n;
    md_store_vector vector; /* one row */
} batch;

static md_status put_batch(space *s, batch *b, md_error *err)
{
    if (b->n > 0) {
        MD_TRY(md_similar_put_all(s->index, b->keys, b->values, b->n, err));
    }
    b->n = 0;
    return MD_OK;
}

/* A row that is gone meanwhile, or that is damaged, is passed over. */
static md_status take_row(md_cases *c, space *s, int64_t id, batch *b, md_error *err)
{
    md_error why = {0};
    md_status status = md_store_vector_get(c->store, id, &b->vector, &why);
    if (status == MD_NOT_FOUND) {
        return MD_OK;
    }
    if (status == MD_FORMAT || (status == MD_OK && b->vector.n != s->what.n)) {
        log_trouble(s, "similar_case_damaged", &why, "left out");
        return MD_OK;
    }
    if (status != MD_OK) {
        *err = why;
        return status;
    }
    memcpy(b->values + (size_t)b->n * s->what.n, b->vector.values,
           s->what.n * sizeof *b->values);
    b->keys[b->n++] = (uint64_t)id;
    return b->n == BATCH ? put_batch(s, b, err) : MD_OK;
}

/* Put those of `ids` that are not among `known`, both ascending, and remove the known ones that
 * are not among the ids. */
static md_status compare(md_cases *c, space *s, const int64_t *ids, size_t n_ids,
                         const uint64_t *known, size_t n_known, md_error *err)
{
    MD_AUTO(md_freep) batch *b = md_calloc(1, sizeof *b);
    MD_AUTO(md_freep) float *values = md_calloc((size_t)BATCH * s->what.n, sizeof *values);
    if (b == NULL || values == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for vectors of cases");
    }
    b->values = values;
    for (size_t i = 0, k = 0; i < n_ids || k < n_known;) {
        if (is_stopping(c)) {
            return md_fail(err, MD_CANCELLED, "stopping");
        }
        const bool is_new = k == n_known || (i < n_ids && (uint64_t)ids[i] < known[k]);
        const bool is_gone = !is_new && (i == n_ids || known[k] < (uint64_t)ids[i]);
        if (is_new) {
            MD_TRY(take_row(c, s, ids[i], b, err));
        } else if (is_gone) {
            MD_TRY(md_similar_remove(s->index, known[k], err));
        }
        i += !is_gone;
        k += !is_new;
    }
    return put_batch(s, b, err);
}

/* Bring the index into agreement with the store; `whole`: also with what was removed there. */
static md_status agree(md_cases *c, space *s, bool whole, md_error *err)
{
    MD_AUTO(md_freep) int64_t *ids = NULL;
    MD_AUTO(md_freep) uint64_t *known = NULL;
    size_t n_ids = 0, n_known = 0;
    whole = whole || s->last_id == 0;
    MD_TRY(
        md_store_vector_ids(c->store, s->what.id, whole ? 0 : s->last_id, &ids, &n_ids, err));
    if (whole) {
        MD_TRY(md_similar_keys(s->index, &known, &n_known, err));
    }
    MD_TRY(compare(c, s, ids, n_ids, known, n_known, err));
    if (n_ids > 0) {
        s->last_id = ids[n_ids - 1];
    }
    return MD_OK;
}

/* Only the newest stay in the store. In parts, so that nobody who writes waits long. */
static md_status keep_newest(md_cases *c, const space *s, md_error *err)
{
    const md_vector_retention newest = {.space = s->what.id, .most_vectors = c->max_cases};
    size_t n = BATCH;
    while (n == BATCH) {
        if (is_stopping(c)) {
            return md_fail(err, MD_CANCELLED, "stopping");
        }
        MD_TRY(md_store_vector_retire(c->store, &newest, BATCH, &n, err));
    }
    return MD_OK;
}

/* More than there may be: the oldest go, from the store too. Not one with every new case, for
 * each time all is compared. */
static md_status cut(md_cases *c, space *s, md_error *err)
{
    if (md_similar_n(s->index) <= c->max_cases + c->max_cases / 64) {
        return MD_OK;
    }
    MD_TRY(keep_newest(c, s, err));
    return agree(c, s, true, err);
}

static md_status settle_space(md_cases *c, space *s, bool whole, md_error *err)
{
    if (s->index == NULL) {
        MD_TRY(keep_newest(c, s, err));
        MD_TRY(open_index(c, s, err));
    }
    md_status status = agree(c, s, whole, err);
    if (status == MD_LIMIT) { /* full of what was replaced: an opening makes room */
        close_index(c, s);
        MD_TRY(open_index(c, s, err));
        status = agree(c, s, true, err);
    }
    return status == MD_OK ? cut(c, s, err) : status;
}

/* False: something failed and was told. */
static bool settle(md_cases *c, bool whole)
{
    bool fine = true;
    for (size_t i = 0; i < c->n_spaces; i++) {
        md_error err = {0};
        md_status status = settle_space(c, &c->spaces[i], whole, &err);
        if (status != MD_OK && status != MD_CANCELLED) {
            log_trouble(&c->spaces[i], "similar_failed", &err, "tried again in a minute");
            c->spaces[i].last_id = 0; /* then all is compared */
        }
        fine = fine && status == MD_OK;
    }
    return fine;
}

static void *cases_thread(void *context)
{
    md_cases *c = context;
    bool whole = true;
    pthread_mutex_lock(&c->mutex);
    while (!c->stopping) {
        c->woken = false;
        whole = whole || c->removed;
        c->removed = false;
        c->settled = false;
        pthread_mutex_unlock(&c->mutex);
        const bool fine = settle(c, whole);
        pthread_mutex_lock(&c->mutex);
        whole = !fine;
        c->settled = fine && !c->woken && !c->removed;
        const int64_t until_us = md_clock_monotonic_us() + (int64_t)AFTER_ERROR_MS * 1000;
        const struct timespec until = {.tv_sec = until_us / 1000000,
                                       .tv_nsec = until_us % 1000000 * 1000};
        int over = 0;
        while (!c->stopping && !c->woken && !c->removed && over != ETIMEDOUT) {
            over = fine ? pthread_cond_wait(&c->changed, &c->mutex)
                        : pthread_cond_timedwait(&c->changed, &c->mutex, &until);
        }
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

/* ---- open and close ---- */

static md_status start(md_cases *c, const md_cases_options *options, md_error *err)
{
    md_space spaces[MAX_SPACES];
    md_spaces_of(options->models, options->n_models, MAX_SPACES, spaces, &c->n_spaces);
    for (size_t i = 0; i < c->n_spaces; i++) {
        c->spaces[i].what = spaces[i];
    }
    c->store = options->store;
    c->kind = options->conf->similar.index;
    c->max_cases = options->conf->similar.max_cases;
    MD_TRY(md_folder_create(c->folder, err));
    remove_unused(c->folder, c);
    int os_errno = pthread_create(&c->thread, NULL, cases_thread, c);
    c->has_thread = os_errno == 0;
    return os_errno == 0 ? MD_OK : md_fail_os(err, os_errno, "start a thread for cases");
}

static bool any_images(const md_cases_options *options)
{
    for (size_t i = 0; i < options->n_models; i++) {
        if (options->models[i].embeds.kind == MD_EMBEDS_IMAGE) {
            return true;
        }
    }
    return false;
}

md_status md_cases_open(const md_cases_options *options, md_cases **ret_cases, md_error *err)
{
    char folder[PATH_MAX];
    *ret_cases = NULL;
    snprintf(folder, sizeof folder, "%s/similar", options->conf->storage.path);
    if (!options->conf->similar.enabled || !any_images(options)) {
        remove_unused(folder, NULL);
        return MD_OK;
    }
    md_cases *c = md_calloc(1, sizeof *c);
    if (c == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for similar cases");
    }
    memcpy(c->folder, folder, sizeof c->folder);
    pthread_condattr_t monotonic;
    (void)pthread_rwlock_init(&c->lock, NULL);
    (void)pthread_mutex_init(&c->mutex, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    md_status status = start(c, options, err);
    if (status != MD_OK) {
        md_cases_close(c);
        return status;
    }
    *ret_cases = c;
    return MD_OK;
}

void md_cases_close(md_cases *c)
{
    if (c == NULL) {
        return;
    }
    pthread_mutex_lock(&c->mutex);
    c->stopping = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    if (c->has_thread) {
        pthread_join(c->thread, NULL);
    }
    for (size_t i = 0; i < c->n_spaces; i++) {
        md_error err = {0};
        if (c->spaces[i].index != NULL && md_similar_save(c->spaces[i].index, &err) != MD_OK) {
            log_trouble(&c->spaces[i], "similar_failed", &err, "made again at the next start");
        }
        md_similar_destroy(c->spaces[i].index);
    }
    (void)pthread_rwlock_destroy(&c->lock);
    (void)pthread_mutex_destroy(&c->mutex);
    (void)pthread_cond_destroy(&c->changed);
    md_free(c);
}

static void wake(md_cases *c, bool removed)
{
    if (c == NULL) {
        return;
    }
    pthread_mutex_lock(&c->mutex);
    c->woken = true;
    c->removed = c->removed || removed;
    c->settled = false;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

void md_cases_wake(md_cases *c)
{
    wake(c, false);
}

void md_cases_forget(md_cases *c)
{
    wake(c, true);
}

bool md_cases_are_settled(md_cases *c)
{
    bool settled = true;
    if (c != NULL) {
        pthread_mutex_lock(&c->mutex);
        settled = c->settled;
        pthread_mutex_unlock(&c->mutex);
    }
    return settled;
}

size_t md_cases_n(md_cases *c)
{
    size_t n = 0;
    if (c != NULL) {
        (void)pthread_rwlock_rdlock(&c->lock);
        for (size_t i = 0; i < c->n_spaces; i++) {
            n += c->spaces[i].index != NULL ? md_similar_n(c->spaces[i].index) : 0;
        }
        (void)pthread_rwlock_unlock(&c->lock);
    }
    return n;
}

/* ---- asking ---- */

md_status md_cases_vectors(const md_cases *c, const md_analysis *analysis,
                           md_store_vector **ret_vectors, size_t *ret_n, md_error *err)
{
    *ret_vectors = NULL;
    *ret_n = 0;
    if (c == NULL || analysis->n_embeddings == 0) {
        return MD_OK;
    }
    MD_AUTO(md_freep) md_store_vector *list = md_calloc(c->n_spaces, sizeof *list);
    if (list == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the vectors of a case");
    }
    size_t n = 0;
    for (size_t i = 0; i < c->n_spaces; i++) {
        n += md_layout_fill(&c->spaces[i].what, analysis, &list[n]);
    }
    *ret_vectors = n > 0 ? MD_STEAL(list) : NULL;
    *ret_n = n;
    return MD_OK;
}

static space *find_space(md_cases *c, const char *id)
{
    for (size_t i = 0; i < c->n_spaces; i++) {
        if (strcmp(c->spaces[i].what.id, id) == 0) {
            return &c->spaces[i];
        }
    }
    return NULL;
}

/* The nearest to the vector but the study itself. */
static md_status near(md_cases *c, const md_store_vector *vector, const char *study_key,
                      uint32_t k, md_near_case *ret_near, size_t *ret_n, md_error *err)
{
    md_neighbour_case found[MD_CASES_MAX_NEAR + SLACK];
    uint32_t n_found = 0;
    const space *s = find_space(c, vector->space);
    (void)pthread_rwlock_rdlock(&c->lock);
    md_status status =
        s == NULL || s->index == NULL
            ? md_fail(err, MD_BUSY, "the index of similar cases is being made, ask again")
            : md_similar_search(s->index, vector->values, k + SLACK, false, found, &n_found,
                                err);
    (void)pthread_rwlock_unlock(&c->lock);
    MD_TRY(status);
    size_t n = 0;
    for (uint32_t i = 0; i < n_found && n < k; i++) {
        md_store_vector_place place;
        status = md_store_vector_find(c->store, (int64_t)found[i].key, &place, err);
        if (status == MD_NOT_FOUND ||
            (status == MD_OK && strcmp(place.study_key, study_key) == 0)) {
            continue; /* gone since, or itself */
        }
        MD_TRY(status);
        md_near_case *one = &ret_near[n++];
        memcpy(one->study_key, place.study_key, sizeof one->study_key);
        one->found_ms = place.found_ms;
        one->cosine = (double)found[i].cosine;
        one->distance = 1.0 - one->cosine;
    }
    *ret_n = n;
    return MD_OK;
}

static md_status check(const md_cases *c, uint32_t k, md_error *err)
{
    if (k == 0 || k > MD_CASES_MAX_NEAR) {
        return md_fail(err, MD_INVALID_ARG, "%u similar cases are not in 1..%d", k,
                       MD_CASES_MAX_NEAR);
    }
    return c != NULL ? MD_OK : md_fail(err, MD_NOT_FOUND, "similar cases are not kept here");
}

md_status md_cases_near_study(md_cases *c, const char *study_key, uint32_t k,
                              md_near_case *ret_near, size_t *ret_n, md_error *err)
{
    MD_TRY(check(c, k, err));
    MD_AUTO(md_freep) md_store_vector *vector = md_malloc(sizeof *vector);
    if (vector == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the vector of a case");
    }
    for (size_t i = 0; i < c->n_spaces; i++) {
        int64_t id = 0;
        md_status status =
            md_store_vector_of(c->store, c->spaces[i].what.id, study_key, &id, err);
        if (status == MD_OK) {
            status = md_store_vector_get(c->store, id, vector, err);
        }
        if (status == MD_OK && vector->n == c->spaces[i].what.n) {
            return near(c, vector, study_key, k, ret_near, ret_n, err);
        }
        if (status != MD_OK && status != MD_NOT_FOUND && status != MD_FORMAT) {
            return status;
        }
    }
    return md_fail(
        err, MD_NOT_FOUND,
        "the study has nothing to compare: it was not analysed by a model that serves "
        "now");
}

md_status md_cases_near_analysis(md_cases *c, const char *study_key,
                                 const md_analysis *analysis, uint32_t k,
                                 md_near_case *ret_near, size_t *ret_n, md_error *err)
{
    MD_TRY(check(c, k, err));
    MD_AUTO(md_freep) md_store_vector *list = NULL;
    size_t n = 0;
    MD_TRY(md_cases_vectors(c, analysis, &list, &n, err));
    return n > 0 ? near(c, &list[0], study_key, k, ret_near, ret_n, err)
                 : md_fail(err, MD_NOT_FOUND, "no model left anything to compare");
}
