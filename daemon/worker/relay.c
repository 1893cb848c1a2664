#include "daemon/worker/relay.h"

#include <string.h>

#include <jansson.h>

enum {
    MAX_FIELDS = 12,
    MAX_KEY_BYTES = 32
};

static bool is_key(const char *text)
{
    size_t length = strlen(text);
    return length > 0 && length <= MAX_KEY_BYTES &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

static bool is_reserved(const char *key)
{
    return strcmp(key, "time") == 0 || strcmp(key, "level") == 0 || strcmp(key, "event") == 0 ||
           strcmp(key, "worker") == 0;
}

static md_log_level level_of(const char *name)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (md_log_level level = MD_LOG_DEBUG; name != NULL && level <= MD_LOG_ERROR; level++) {
        if (strcmp(name, names[level]) == 0) {
            return level;
        }
    }
    return MD_LOG_WARN;
}

static size_t take_fields(json_t *root, md_log_field fields[MAX_FIELDS])
{
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (n == MAX_FIELDS || is_reserved(key) || !is_key(key)) {
            continue;
        }
        if (json_is_string(value)) {
            fields[n++] = MD_LOG_TEXT(key, json_string_value(value));
        } else if (json_is_integer(value)) {
            fields[n++] = MD_LOG_INT(key, json_integer_value(value));
        } else if (json_is_real(value)) {
            fields[n++] = MD_LOG_REAL(key, json_real_value(value));
        }
    }
    return n;
}

bool md_worker_relay_log(const char *line, size_t size_bytes, unsigned worker_index)
{
    json_t *root = json_loadb(line, size_bytes, JSON_REJECT_DUPLICATES, NULL);
    const char *event = json_string_value(json_object_get(root, "event"));
    if (event == NULL || !is_key(event)) {
        json_decref(root);
        return false;
    }
    md_log_level level = level_of(json_string_value(json_object_get(root, "level")));
    md_log_field fields[MAX_FIELDS + 2] = {{0}};
    size_t n = take_fields(root, fields);
    fields[n] = MD_LOG_INT("worker", worker_index);
    if (md_log_enabled(level)) {
        md_log_fields(level, event, fields);
    }
    json_decref(root);
    return true;
}
