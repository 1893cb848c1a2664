#include "daemon/reload.h"

#include "conf/schema.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    KEY_BYTES = 128
};

/* The longest entry that is the key, or is a part of its path from the left, decides. A map
 * that may be absent ("ae.tls") is a key too: whether it is there. */
static const struct {
    const char *key;
    md_reload_kind kind;
} kinds[] = {
    {"ae", MD_RELOAD_LIVE},
    {"ae.bind", MD_RELOAD_FIXED},
    {"ae.port", MD_RELOAD_FIXED},
    {"ae.max_associations", MD_RELOAD_FIXED}, /* its threads and sockets are laid out */
    {"ae.tls", MD_RELOAD_FIXED}, /* its presence: the port speaks one or the other */
    {"ae.tls.certificate", MD_RELOAD_LIVE},
    {"ae.tls.private_key", MD_RELOAD_LIVE},
    {"ae.tls.ca", MD_RELOAD_LIVE},
    {"ae.tls.verify", MD_RELOAD_LIVE},
    {"destinations", MD_RELOAD_LIVE},
    {"study", MD_RELOAD_LIVE},
    {"study.reopen_late", MD_RELOAD_FIXED}, /* the store was opened with these */
    {"study.conflict", MD_RELOAD_FIXED},
    {"study.overtake_s", MD_RELOAD_FIXED},
    {"plugins",
     MD_RELOAD_FIXED}, /* workers have loaded, and were locked in with their folders */
    {"engine", MD_RELOAD_FIXED},
    {"workers", MD_RELOAD_FIXED},
    {"results", MD_RELOAD_FIXED},
    {"storage", MD_RELOAD_FIXED},
    {"storage.keep_h", MD_RELOAD_LIVE},
    {"storage.max_gib", MD_RELOAD_LIVE},
    {"web", MD_RELOAD_FIXED},
    {"http", MD_RELOAD_FIXED},
    {"notifiers", MD_RELOAD_FIXED}, /* their threads borrow them */
    {"ups", MD_RELOAD_FIXED},       /* likewise */
    {"eta", MD_RELOAD_FIXED},
    {"similar", MD_RELOAD_FIXED}, /* workers were started with it, indices laid out */
    {"rules_mode", MD_RELOAD_LIVE},
    {"rules", MD_RELOAD_LIVE},
    {"follow_up", MD_RELOAD_LIVE},
    {"follow_up.in_report", MD_RELOAD_FIXED}, /* the workers were told */
    {"log", MD_RELOAD_LIVE},
    {"audit", MD_RELOAD_LIVE},
    {"user", MD_RELOAD_FIXED},
    {"group", MD_RELOAD_FIXED},
};

md_reload_kind md_reload_kind_of(const char *key)
{
    md_reload_kind kind = MD_RELOAD_UNKNOWN;
    size_t longest = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i].key);
        if (n > longest && strncmp(kinds[i].key, key, n) == 0 &&
            (key[n] == '\0' || key[n] == '.')) {
            longest = n;
            kind = kinds[i].kind;
        }
    }
    return kind;
}

typedef struct comparison {
    const md_conf *before;
    md_conf *next;
    void (*on_fixed)(void *context, const char *key);
    void *context;
    unsigned n_fixed;
} comparison;

/* A fixed member goes back; true when it was another. */
static bool restore(const comparison *now, size_t offset, size_t size_bytes)
{
    const char *before = (const char *)now->before + offset;
    char *next = (char *)now->next + offset;
    bool differs = memcmp(before, next, size_bytes) != 0;
    if (differs) {
        memcpy(next, before, size_bytes);
    }
    return differs;
}

static void compare(comparison *now, const md_schema_field *fields, const char *path)
{
    for (const md_schema_field *field = fields; field->key != NULL; field++) {
        char key[KEY_BYTES];
        snprintf(key, sizeof key, "%s%s%s", path, path[0] != '\0' ? "." : "", field->key);
        bool is_fixed = md_reload_kind_of(key) == MD_RELOAD_FIXED;
        bool differs = false;
        if (field->type == MD_SCHEMA_MAP) {
            if (field->has_offset != 0 && is_fixed) {
                differs = restore(now, field->has_offset, sizeof(bool));
            }
            compare(now, field->fields, key);
        } else if (is_fixed) {
            assert(field->owned_bytes == 0); /* the list would have two owners */
            differs = restore(now, field->offset, field->size_bytes);
        }
        if (is_fixed && field->type == MD_SCHEMA_LIST) {
            differs = restore(now, field->n_offset, sizeof(unsigned)) || differs;
        }
        if (differs) {
            now->n_fixed++;
            now->on_fixed(now->context, key);
        }
    }
}

unsigned md_reload_keep_fixed(const md_conf *before, md_conf *next,
                              void (*on_fixed)(void *context, const char *key), void *context)
{
    comparison now = {.before = before, .next = next, .on_fixed = on_fixed, .context = context};
    compare(&now, md_conf_fields(), "");
    return now.n_fixed;
}
