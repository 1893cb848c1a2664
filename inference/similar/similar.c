#include "inference/similar/similar.h"

#include "base/file.h"
#include "inference/similar/dot.h"
#include "inference/similar/file.h"
#include "inference/similar/hnsw.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CHUNK_BITS = 14, /* vectors of one allocation: 2^14 */
    CHUNK = 1 << CHUNK_BITS,
    N_LINKS = 24,
    EF_BUILD = 200,
    EF_SEARCH = 200,
    MAX_PATH_BYTES = 4096,
    MAX_THREADS = 64,
    NO_SLOT = -1
};

/* Where a key's vector is: open addressing, of a power of two places. */
typedef struct place {
    uint64_t key;
    int64_t slot; /* NO_SLOT: free */
} place;

/* A slot is the number of a vector in the file, also when it has been replaced since. */
struct md_similar {
    md_similar_options options;
    char path[MAX_PATH_BYTES], graph_path[MAX_PATH_BYTES], graph_id_path[MAX_PATH_BYTES];
    md_similar_opening opening;
    md_similar_file file;
    bool is_open;
    pthread_rwlock_t lock; /* of what follows */
    float **chunks;
    uint64_t *keys; /* [max_vectors] of slots */
    uint8_t *alive; /* [max_vectors] */
    uint32_t n_slots, n_alive;
    place *places;
    size_t n_places;
    md_hnsw *graph; /* NULL: never needed */
};

static float *vector_at(const md_similar *s, uint32_t slot)
{
    return s->chunks[slot >> CHUNK_BITS] + (size_t)(slot & (CHUNK - 1)) * s->options.n_dims;
}

static const float *vector_of(const void *owner, uint32_t slot)
{
    return vector_at(owner, slot);
}

static size_t first_place(const md_similar *s, uint64_t key)
{
    uint64_t z = key * 0x9e3779b97f4a7c15U;
    return (size_t)(z ^ (z >> 29)) & (s->n_places - 1);
}

/* Of the key, or the free one where it would be. */
static place *find_place(const md_similar *s, uint64_t key)
{
    size_t at = first_place(s, key);
    while (s->places[at].slot != NO_SLOT && s->places[at].key != key) {
        at = (at + 1) & (s->n_places - 1);
    }
    return &s->places[at];
}

/* Close the gap that a removed place leaves, so that searches do not end there (Knuth, The Art
 * of Computer Programming 3, 6.4, algorithm R). */
static void free_place(md_similar *s, place *gone)
{
    size_t hole = (size_t)(gone - s->places), at = hole;
    for (;;) {
        at = (at + 1) & (s->n_places - 1);
        if (s->places[at].slot == NO_SLOT) {
            break;
        }
        size_t home = first_place(s, s->places[at].key);
        bool stays = hole <= at ? hole < home && home <= at : hole < home || home <= at;
        if (!stays) {
            s->places[hole] = s->places[at];
            hole = at;
        }
    }
    s->places[hole].slot = NO_SLOT;
}

static md_status check_vector(const md_similar *s, const float *vector, double *ret_scale,
                              md_error *err)
{
    double squares = 0.0;
    for (uint32_t i = 0; i < s->options.n_dims; i++) {
        squares += (double)vector[i] * (double)vector[i];
    }
    if (!isfinite(squares) || !(squares > 0.0)) {
        return md_fail(
            err, MD_INVALID_ARG,
            "a vector of a case has no direction: a value is not a number, or all are "
            "0");
    }
    *ret_scale = 1.0 / sqrt(squares);
    return MD_OK;
}

/* Room for one more slot. */
static md_status make_room(md_similar *s, md_error *err)
{
    if (s->n_slots == s->options.max_vectors) {
        return md_fail(err, MD_LIMIT, "the store of similar cases is full: %u vectors",
                       s->options.max_vectors);
    }
    float **chunk = &s->chunks[s->n_slots >> CHUNK_BITS];
    if (*chunk == NULL) {
        *chunk = md_malloc_aligned((size_t)CHUNK * s->options.n_dims * sizeof **chunk);
    }
    if (*chunk == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for vectors of cases");
    }
    return MD_OK;
}

/* The key's slot is no more. */
static void forget(md_similar *s, place *p)
{
    uint32_t slot = (uint32_t)p->slot;
    if (s->graph != NULL) {
        /* fails only for a slot that the graph does not have, which then is not found either */
        md_status ignored = md_hnsw_remove(s->graph, slot, NULL);
        (void)ignored;
    }
    s->alive[slot] = 0;
    s->n_alive--;
}

/* Keep the vector, which is in the slot already. */
static void remember(md_similar *s, uint64_t key, uint32_t slot)
{
    place *p = find_place(s, key);
    if (p->slot != NO_SLOT) {
        forget(s, p);
    }
    *p = (place){key, slot};
    s->keys[slot] = key;
    s->alive[slot] = 1;
    s->n_alive++;
}

static md_status take_record(void *context, md_similar_deed deed, uint64_t key,
                             const float *vector, md_error *err)
{
    md_similar *s = context;
    if (deed == MD_SIMILAR_REMOVE) {
        place *p = find_place(s, key);
        if (p->slot != NO_SLOT) {
            forget(s, p);
            free_place(s, p);
        }
        return MD_OK;
    }
    double scale = 0.0;
    if (check_vector(s, vector, &scale, NULL) != MD_OK) {
        s->opening.n_damaged++; /* we never wrote such a one */
        return MD_OK;
    }
    MD_TRY(make_room(s, err));
    memcpy(vector_at(s, s->n_slots), vector, s->options.n_dims * sizeof *vector);
    remember(s, key, s->n_slots++);
    return MD_OK;
}

/* Threads that add slots to the graph, each taking the next. */
typedef struct adding {
    md_similar *similar;
    _Atomic uint32_t next;
    uint32_t end;
    _Atomic int failed;
} adding;

static void *add_slots(void *context)
{
    adding *a = context;
    uint32_t slot;
    while ((slot = atomic_fetch_add(&a->next, 1)) < a->end) {
        md_status status = md_hnsw_add(a->similar->graph, slot, NULL);
        if (status == MD_OK && !a->similar->alive[slot]) {
            status = md_hnsw_remove(a->similar->graph, slot, NULL);
        }
        if (status != MD_OK) {
            atomic_store(&a->failed, (int)status);
        }
    }
    return NULL;
}

static md_status add_to_graph(md_similar *s, uint32_t begin, uint32_t end, md_error *err)
{
    adding a = {.similar = s, .next = begin, .end = end};
    pthread_t threads[MAX_THREADS];
    unsigned n = 0;
    if (end - begin > 1 && begin == 0) {
        /* the first alone, so that the others find somewhere to begin */
        a.end = 1;
        (void)add_slots(&a);
        atomic_store(&a.next, 1);
        a.end = end;
    }
    for (; n + 1 < s->options.n_threads && n < MAX_THREADS && end - begin > CHUNK / 16; n++) {
        if (pthread_create(&threads[n], NULL, add_slots, &a) != 0) {
            break;
        }
    }
    (void)add_slots(&a);
    for (unsigned i = 0; i < n; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    if (a.failed != 0) {
        return md_fail(err, (md_status)a.failed, "no memory for the graph of neighbours");
    }
    return MD_OK;
}

static md_hnsw_options graph_options(const md_similar *s)
{
    return (md_hnsw_options){.vector = vector_of,
                             .owner = s,
                             .n_dims = s->options.n_dims,
                             .capacity = s->options.max_vectors,
                             .n_links = N_LINKS,
                             .ef_build = EF_BUILD,
                             .ef_search = EF_SEARCH};
}

/* What says to which vectors a graph belongs and that it is whole. */
typedef struct graph_id {
    char magic[16];
    uint64_t tag;
    uint32_t n_slots, n_links;
    uint8_t digest[MD_SHA256_BYTES];
} graph_id;
static const char graph_magic[16] = "medaid graph 1\n";
#define MAX_GRAPH_BYTES ((size_t)16 << 30)

/* False when there is none, or it is damaged or of other vectors. */
static bool load_graph(md_similar *s)
{
    MD_AUTO(md_freep) uint8_t *id_bytes = NULL, *bytes = NULL;
    size_t n_id = 0, n = 0;
    graph_id id;
    uint8_t digest[MD_SHA256_BYTES];
    if (md_file_read(s->graph_id_path, sizeof id, &id_bytes, &n_id, NULL) != MD_OK ||
        n_id != sizeof id) {
        return false;
    }
    memcpy(&id, id_bytes, sizeof id);
    if (memcmp(id.magic, graph_magic, sizeof id.magic) != 0 || id.tag != s->file.tag ||
        id.n_slots != s->n_slots || id.n_links != N_LINKS ||
        md_file_read(s->graph_path, MAX_GRAPH_BYTES, &bytes, &n, NULL) != MD_OK) {
        return false;
    }
    md_sha256(bytes, n, digest);
    md_free(MD_STEAL(bytes));
    md_hnsw_options options = graph_options(s);
    return memcmp(digest, id.digest, sizeof digest) == 0 &&
           md_hnsw_load(&options, s->graph_path, s->n_slots, &s->graph, NULL) == MD_OK;
}

static uint32_t exact_below(const md_similar *s)
{
    return s->options.exact_below > 0 ? s->options.exact_below : MD_SIMILAR_EXACT_BELOW;
}

static md_status open_graph(md_similar *s, md_error *err)
{
    if (s->options.max_vectors < exact_below(s) || load_graph(s)) {
        return MD_OK;
    }
    md_hnsw_options options = graph_options(s);
    MD_TRY(md_hnsw_create(&options, &s->graph, err));
    s->opening.graph_built = s->n_slots > 0;
    return s->n_slots > 0 ? add_to_graph(s, 0, s->n_slots, err) : MD_OK;
}

static md_status allocate(md_similar *s, md_error *err)
{
    size_t n = s->options.max_vectors;
    s->n_places = 16;
    while (s->n_places < 2 * n) {
        s->n_places *= 2;
    }
    s->chunks = md_calloc((n + CHUNK - 1) / CHUNK, sizeof *s->chunks);
    s->keys = md_calloc(n, sizeof *s->keys);
    s->alive = md_calloc(n, sizeof *s->alive);
    s->places = md_calloc(s->n_places, sizeof *s->places);
    if (s->chunks == NULL || s->keys == NULL || s->alive == NULL || s->places == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u vectors of cases",
                       s->options.max_vectors);
    }
    for (size_t i = 0; i < s->n_places; i++) {
        s->places[i].slot = NO_SLOT;
    }
    return MD_OK;
}

/* Write the file anew, of what is alive, and take its slots over. */
static md_status compact(md_similar *s, md_error *err)
{
    char path[MAX_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%.*s.new", MAX_PATH_BYTES - 8, s->path);
    if (unlink(path) != 0 && errno != ENOENT) {
        return md_fail_os(err, errno, "cannot write the store of similar cases anew");
    }
    md_similar_file file = {0};
    uint64_t dropped = 0, damaged = 0;
    MD_TRY(md_similar_file_open(path, s->options.n_dims, take_record, s, &file, &dropped,
                                &damaged, err));
    md_status status = MD_OK;
    for (uint32_t slot = 0; status == MD_OK && slot < s->n_slots; slot++) {
        if (s->alive[slot]) {
            status = md_similar_file_append(&file, MD_SIMILAR_PUT, s->keys[slot],
                                            vector_at(s, slot), err);
        }
    }
    if (status == MD_OK) {
        status = md_similar_file_sync(&file, err);
    }
    if (status == MD_OK && rename(path, s->path) != 0) {
        status = md_fail_os(err, errno, "cannot write the store of similar cases anew");
    }
    if (status != MD_OK) {
        md_similar_file_close(&file);
        return status;
    }
    md_similar_file_close(&s->file);
    s->file = file;
    uint32_t n = 0;
    for (uint32_t slot = 0; slot < s->n_slots; slot++) {
        if (s->alive[slot]) {
            if (n < slot) {
                memcpy(vector_at(s, n), vector_at(s, slot), s->options.n_dims * sizeof(float));
            }
            s->keys[n] = s->keys[slot];
            find_place(s, s->keys[n])->slot = n;
            n++;
        }
    }
    memset(s->alive, 1, n);
    memset(s->alive + n, 0, s->n_slots - n);
    s->n_slots = n;
    return MD_OK;
}

static md_status open_all(md_similar *s, md_error *err)
{
    MD_TRY(allocate(s, err));
    uint64_t damaged = 0;
    MD_TRY(md_similar_file_open(s->path, s->options.n_dims, take_record, s, &s->file,
                                &s->opening.dropped_bytes, &damaged, err));
    s->is_open = true;
    s->opening.n_damaged += damaged;
    const uint32_t n_gone = s->n_slots - s->n_alive;
    if (n_gone > s->n_slots / 2 || (s->options.tidy && n_gone > 0)) {
        MD_TRY(compact(s, err));
    }
    return open_graph(s, err);
}

md_status md_similar_open(const md_similar_options *options, md_similar **ret_similar,
                          md_error *err)
{
    if (options->n_dims == 0 || options->n_dims > MD_SIMILAR_MAX_DIMS ||
        options->max_vectors == 0 || options->max_vectors > MD_SIMILAR_MAX_VECTORS ||
        options->n_threads == 0) {
        return md_fail(err, MD_INVALID_ARG, "%u dimensions or %u vectors out of range",
                       options->n_dims, options->max_vectors);
    }
    size_t length = strlen(options->path);
    if (length == 0 || length > MAX_PATH_BYTES - 16) {
        return md_fail(err, MD_INVALID_ARG,
                       "the path of the store of similar cases is too long");
    }
    MD_AUTO(md_similar_destroyp) md_similar *s = md_calloc(1, sizeof *s);
    if (s == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the store of similar cases");
    }
    (void)pthread_rwlock_init(&s->lock, NULL);
    s->options = *options;
    (void)snprintf(s->path, sizeof s->path, "%s", options->path);
    (void)snprintf(s->graph_path, sizeof s->graph_path, "%.*s.graph", (int)length, s->path);
    (void)snprintf(s->graph_id_path, sizeof s->graph_id_path, "%.*s.graph.id", (int)length,
                   s->path);
    s->options.path = s->path;
    MD_TRY(open_all(s, err));
    *ret_similar = MD_STEAL(s);
    return MD_OK;
}

void md_similar_destroy(md_similar *s)
{
    if (s == NULL) {
        return;
    }
    md_hnsw_destroy(s->graph);
    if (s->is_open) {
        md_similar_file_close(&s->file);
    }
    for (size_t i = 0; s->chunks != NULL && i < (s->options.max_vectors + CHUNK - 1) / CHUNK;
         i++) {
        md_free(s->chunks[i]);
    }
    md_free(s->chunks);
    md_free(s->keys);
    md_free(s->alive);
    md_free(s->places);
    (void)pthread_rwlock_destroy(&s->lock);
    md_free(s);
}

const md_similar_opening *md_similar_opened(const md_similar *s)
{
    return &s->opening;
}

/* Append the vectors; those up to *ret_n are in the file. */
static md_status append_all(md_similar *s, const uint64_t *keys, const float *vectors,
                            uint32_t n, md_error *err)
{
    uint32_t n_dims = s->options.n_dims;
    for (uint32_t i = 0; i < n; i++) {
        double scale = 0.0;
        MD_TRY(check_vector(s, vectors + (size_t)i * n_dims, &scale, err));
        MD_TRY(make_room(s, err));
        float *to = vector_at(s, s->n_slots);
        for (uint32_t j = 0; j < n_dims; j++) {
            to[j] = (float)((double)vectors[(size_t)i * n_dims + j] * scale);
        }
        MD_TRY(md_similar_file_append(&s->file, MD_SIMILAR_PUT, keys[i], to, err));
        s->keys[s->n_slots++] = keys[i];
    }
    return MD_OK;
}

md_status md_similar_put_all(md_similar *s, const uint64_t *keys, const float *vectors,
                             uint32_t n, md_error *err)
{
    (void)pthread_rwlock_wrlock(&s->lock);
    uint32_t begin = s->n_slots;
    md_status status = append_all(s, keys, vectors, n, err);
    uint32_t end = s->n_slots;
    md_status synced = md_similar_file_sync(&s->file, status == MD_OK ? err : NULL);
    status = status == MD_OK ? synced : status;
    /* what is in the file is in the store, even when not all is */
    for (uint32_t slot = begin; slot < end; slot++) {
        remember(s, s->keys[slot], slot);
    }
    if (s->graph != NULL && end > begin) {
        md_status added = add_to_graph(s, begin, end, status == MD_OK ? err : NULL);
        status = status == MD_OK ? added : status;
    }
    (void)pthread_rwlock_unlock(&s->lock);
    return status;
}

md_status md_similar_put(md_similar *s, uint64_t key, const float *vector, md_error *err)
{
    return md_similar_put_all(s, &key, vector, 1, err);
}

md_status md_similar_remove(md_similar *s, uint64_t key, md_error *err)
{
    (void)pthread_rwlock_wrlock(&s->lock);
    md_status status = MD_OK;
    place *p = find_place(s, key);
    if (p->slot == NO_SLOT) {
        status = md_fail(err, MD_NOT_FOUND, "no such case in the store of similar cases");
    } else {
        status = md_similar_file_append(&s->file, MD_SIMILAR_REMOVE, key, NULL, err);
    }
    if (status == MD_OK) {
        forget(s, p);
        free_place(s, p);
        status = md_similar_file_sync(&s->file, err);
    }
    (void)pthread_rwlock_unlock(&s->lock);
    return status;
}

/* Put the case in its place among the nearest so far. */
static void insert(md_neighbour_case *cases, uint32_t k, uint32_t *n, md_neighbour_case one)
{
    if (*n == k && !(one.cosine > cases[k - 1].cosine)) {
        return;
    }
    uint32_t at = *n < k ? (*n)++ : k - 1;
    for (; at > 0 && cases[at - 1].cosine < one.cosine; at--) {
        cases[at] = cases[at - 1];
    }
    cases[at] = one;
}

/* The query has length 1; `without` is left out (NO_SLOT: nothing is). */
static md_status search(const md_similar *s, const float *query, uint32_t k, bool exactly,
                        int64_t without, md_neighbour_case *ret_cases, uint32_t *ret_n,
                        md_error *err)
{
    *ret_n = 0;
    if (exactly || s->graph == NULL || s->n_slots < exact_below(s)) {
        for (uint32_t slot = 0; slot < s->n_slots; slot++) {
            if (s->alive[slot] && slot != without) {
                float cosine = md_dot(query, vector_at(s, slot), s->options.n_dims);
                insert(ret_cases, k, ret_n, (md_neighbour_case){s->keys[slot], cosine});
            }
        }
        return MD_OK;
    }
    uint32_t slots[MD_SIMILAR_MAX_NEIGHBOURS + 1], n = 0;
    float products[MD_SIMILAR_MAX_NEIGHBOURS + 1];
    MD_TRY(md_hnsw_search(s->graph, query, k + (without != NO_SLOT), slots, products, &n, err));
    for (uint32_t i = 0; i < n; i++) {
        if (slots[i] != without) {
            insert(ret_cases, k, ret_n, (md_neighbour_case){s->keys[slots[i]], products[i]});
        }
    }
    return MD_OK;
}

static md_status check_k(uint32_t k, md_error *err)
{
    if (k == 0 || k > MD_SIMILAR_MAX_NEIGHBOURS) {
        return md_fail(err, MD_INVALID_ARG, "%u neighbours are not in 1..%d", k,
                       MD_SIMILAR_MAX_NEIGHBOURS);
    }
    return MD_OK;
}

md_status md_similar_search(md_similar *s, const float *vector, uint32_t k, bool exactly,
                            md_neighbour_case *ret_cases, uint32_t *ret_n, md_error *err)
{
    float query[MD_SIMILAR_MAX_DIMS];
    double scale = 0.0;
    MD_TRY(check_k(k, err));
    MD_TRY(check_vector(s, vector, &scale, err));
    for (uint32_t i = 0; i < s->options.n_dims; i++) {
        query[i] = (float)((double)vector[i] * scale);
    }
    (void)pthread_rwlock_rdlock(&s->lock);
    md_status status = search(s, query, k, exactly, NO_SLOT, ret_cases, ret_n, err);
    (void)pthread_rwlock_unlock(&s->lock);
    return status;
}

md_status md_similar_search_key(md_similar *s, uint64_t key, uint32_t k,
                                md_neighbour_case *ret_cases, uint32_t *ret_n, md_error *err)
{
    MD_TRY(check_k(k, err));
    (void)pthread_rwlock_rdlock(&s->lock);
    md_status status = MD_OK;
    const place *p = find_place(s, key);
    if (p->slot == NO_SLOT) {
        status = md_fail(err, MD_NOT_FOUND, "no such case in the store of similar cases");
    } else {
        status = search(s, vector_at(s, (uint32_t)p->slot), k, false, p->slot, ret_cases, ret_n,
                        err);
    }
    (void)pthread_rwlock_unlock(&s->lock);
    return status;
}

uint32_t md_similar_n(md_similar *s)
{
    (void)pthread_rwlock_rdlock(&s->lock);
    uint32_t n = s->n_alive;
    (void)pthread_rwlock_unlock(&s->lock);
    return n;
}

static int ascending(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

md_status md_similar_keys(md_similar *s, uint64_t **ret_keys, size_t *ret_n, md_error *err)
{
    (void)pthread_rwlock_rdlock(&s->lock);
    uint64_t *keys = s->n_alive == 0 ? NULL : md_calloc(s->n_alive, sizeof *keys);
    md_status status = keys == NULL && s->n_alive > 0
                           ? md_fail(err, MD_NOMEM, "no memory for %u keys", s->n_alive)
                           : MD_OK;
    size_t n = 0;
    for (uint32_t slot = 0; keys != NULL && slot < s->n_slots; slot++) {
        if (s->alive[slot]) {
            keys[n++] = s->keys[slot];
        }
    }
    (void)pthread_rwlock_unlock(&s->lock);
    MD_TRY(status);
    if (n > 0) {
        qsort(keys, n, sizeof *keys, ascending);
    }
    *ret_keys = keys;
    *ret_n = n;
    return MD_OK;
}

size_t md_similar_bytes(md_similar *s)
{
    (void)pthread_rwlock_rdlock(&s->lock);
    size_t n_chunks = (s->n_slots + (size_t)CHUNK - 1) / CHUNK;
    size_t bytes = n_chunks * CHUNK * s->options.n_dims * sizeof(float) +
                   s->options.max_vectors * (sizeof *s->keys + sizeof *s->alive) +
                   s->n_places * sizeof *s->places +
                   (s->graph != NULL ? md_hnsw_bytes(s->graph) : 0);
    (void)pthread_rwlock_unlock(&s->lock);
    return bytes;
}

static md_status save(md_similar *s, md_error *err)
{
    char path[MAX_PATH_BYTES + 8];
    (void)snprintf(path, sizeof path, "%s.new", s->graph_path);
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t n = 0;
    graph_id id = {.tag = s->file.tag, .n_slots = s->n_slots, .n_links = N_LINKS};
    memcpy(id.magic, graph_magic, sizeof id.magic);
    MD_TRY(md_hnsw_save(s->graph, path, err));
    MD_TRY(md_file_read(path, MAX_GRAPH_BYTES, &bytes, &n, err));
    md_sha256(bytes, n, id.digest);
    if (rename(path, s->graph_path) != 0) {
        return md_fail_os(err, errno, "cannot write the graph of neighbours");
    }
    /* a power cut between the two leaves a graph that is not believed */
    return md_file_write(s->graph_id_path, MD_FILE_REPLACE, &id, sizeof id, err);
}

md_status md_similar_save(md_similar *s, md_error *err)
{
    (void)pthread_rwlock_wrlock(&s->lock);
    md_status status = s->graph != NULL ? save(s, err) : MD_OK;
    (void)pthread_rwlock_unlock(&s->lock);
    return status;
}
