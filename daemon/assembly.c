#include "daemon/assembly.h"

#include "base/clock.h"

#include <pthread.h>
#include <string.h>

enum {
    N_BUCKETS = 4096
};

/* An open study: in the list of its bucket, and in the list by time of the last object. */
typedef struct open_study {
    md_complete_study study;
    int64_t last_monotonic_ms;
    struct open_study *next_in_bucket;
    struct open_study *older, *newer;
} open_study;

struct md_assembly {
    pthread_mutex_t mutex;
    int64_t quiet_ms;
    size_t n_open;
    open_study *oldest, *newest;
    open_study *buckets[N_BUCKETS];
};

md_moment md_moment_now(void)
{
    return (md_moment){md_clock_monotonic_us() / 1000, md_clock_wall_ms()};
}

md_status md_assembly_create(int64_t quiet_ms, md_assembly **ret_assembly, md_error *err)
{
    md_assembly *assembly = md_calloc(1, sizeof *assembly);
    if (assembly == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the study assembly");
    }
    assembly->quiet_ms = quiet_ms;
    pthread_mutex_init(&assembly->mutex, NULL);
    *ret_assembly = assembly;
    return MD_OK;
}

void md_assembly_destroy(md_assembly *assembly)
{
    if (assembly == NULL) {
        return;
    }
    while (assembly->oldest != NULL) {
        open_study *each = assembly->oldest;
        assembly->oldest = each->newer;
        md_free(each);
    }
    pthread_mutex_destroy(&assembly->mutex);
    md_free(assembly);
}

/* FNV-1a over the key, which is a hash already. */
static open_study **bucket_of(md_assembly *assembly, const char *key)
{
    uint32_t hash = 2166136261U;
    for (; *key != '\0'; key++) {
        hash = (hash ^ (uint8_t)*key) * 16777619U;
    }
    return &assembly->buckets[hash % N_BUCKETS];
}

static void unlink_by_time(md_assembly *assembly, open_study *each)
{
    *(each->older != NULL ? &each->older->newer : &assembly->oldest) = each->newer;
    *(each->newer != NULL ? &each->newer->older : &assembly->newest) = each->older;
}

static void append_by_time(md_assembly *assembly, open_study *each)
{
    each->older = assembly->newest;
    each->newer = NULL;
    *(assembly->newest != NULL ? &assembly->newest->newer : &assembly->oldest) = each;
    assembly->newest = each;
}

static md_status open_new(md_assembly *assembly, const char *key, open_study **ret_study,
                          md_error *err)
{
    if (assembly->n_open >= MD_ASSEMBLY_MAX_STUDIES) {
        return md_fail(err, MD_LIMIT, "more than %d studies are open", MD_ASSEMBLY_MAX_STUDIES);
    }
    open_study *each = md_calloc(1, sizeof *each);
    if (each == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for one more study");
    }
    memcpy(each->study.key, key, strnlen(key, MD_STUDY_KEY_BYTES - 1));
    open_study **bucket = bucket_of(assembly, each->study.key);
    each->next_in_bucket = *bucket;
    *bucket = each;
    assembly->n_open++;
    *ret_study = each;
    return MD_OK;
}

static md_status add(md_assembly *assembly, const char *key, md_moment now, md_error *err)
{
    open_study *each = *bucket_of(assembly, key);
    while (each != NULL && strcmp(each->study.key, key) != 0) {
        each = each->next_in_bucket;
    }
    if (each != NULL) {
        unlink_by_time(assembly, each);
    } else {
        MD_TRY(open_new(assembly, key, &each, err));
        each->study.first_received_ms = now.wall_ms;
        each->last_monotonic_ms = now.monotonic_ms;
    }
    each->study.n_objects++;
    each->study.last_received_ms = now.wall_ms;
    /* two threads may arrive in the other order than they took their time */
    if (now.monotonic_ms > each->last_monotonic_ms) {
        each->last_monotonic_ms = now.monotonic_ms;
    }
    append_by_time(assembly, each);
    return MD_OK;
}

md_status md_assembly_add(md_assembly *assembly, const char *study_key, md_moment now,
                          md_error *err)
{
    pthread_mutex_lock(&assembly->mutex);
    md_status status = add(assembly, study_key, now, err);
    pthread_mutex_unlock(&assembly->mutex);
    return status;
}

static void forget(md_assembly *assembly, open_study *each)
{
    open_study **link = bucket_of(assembly, each->study.key);
    while (*link != each) {
        link = &(*link)->next_in_bucket;
    }
    *link = each->next_in_bucket;
    unlink_by_time(assembly, each);
    assembly->n_open--;
    md_free(each);
}

bool md_assembly_take(md_assembly *assembly, md_moment now, md_complete_study *ret_study)
{
    bool found = false;
    pthread_mutex_lock(&assembly->mutex);
    open_study *each = assembly->oldest;
    if (each != NULL && now.monotonic_ms - each->last_monotonic_ms >= assembly->quiet_ms) {
        *ret_study = each->study;
        ret_study->complete_ms = now.wall_ms;
        forget(assembly, each);
        found = true;
    }
    pthread_mutex_unlock(&assembly->mutex);
    return found;
}

int64_t md_assembly_wait_ms(md_assembly *assembly, md_moment now)
{
    int64_t wait_ms = -1;
    pthread_mutex_lock(&assembly->mutex);
    if (assembly->oldest != NULL) {
        wait_ms = assembly->oldest->last_monotonic_ms + assembly->quiet_ms - now.monotonic_ms;
        wait_ms = wait_ms < 0 ? 0 : wait_ms;
    }
    pthread_mutex_unlock(&assembly->mutex);
    return wait_ms;
}

size_t md_assembly_n_open(md_assembly *assembly)
{
    pthread_mutex_lock(&assembly->mutex);
    size_t n = assembly->n_open;
    pthread_mutex_unlock(&assembly->mutex);
    return n;
}
