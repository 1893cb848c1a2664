#include "base/log.h"

#include "base/utf8.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE_BYTES = 4096,
    TAIL_BYTES = 8
};

static atomic_int log_fd = STDERR_FILENO;
static atomic_int least_level = MD_LOG_INFO;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

typedef struct line {
    size_t used;
    bool cut;
    char bytes[LINE_BYTES];
} line;

void md_log_configure(int fd, md_log_level least)
{
    atomic_store(&log_fd, fd);
    atomic_store(&least_level, (int)least);
}

void md_log_set_level(md_log_level least)
{
    atomic_store(&least_level, (int)least);
}

md_log_level md_log_level_of(const char *name)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            return (md_log_level)i;
        }
    }
    return MD_LOG_INFO;
}

bool md_log_enabled(md_log_level level)
{
    return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

static bool put(line *out, const char *bytes, size_t n)
{
    if (out->cut || n > LINE_BYTES - TAIL_BYTES - out->used) {
        out->cut = true;
        return false;
    }
    memcpy(out->bytes + out->used, bytes, n);
    out->used += n;
    return true;
}

static void put_text(line *out, const char *text)
{
    put(out, "\"", 1);
    for (const unsigned char *p = (const unsigned char *)(text == NULL ? "" : text); *p != 0;) {
        size_t n = md_utf8_length(p);
        char escaped[8];
        if (n == 0) {
            put(out, "?", 1);
            n = 1;
        } else if (*p == '"' || *p == '\\') {
            snprintf(escaped, sizeof escaped, "\\%c", *p);
            put(out, escaped, 2);
        } else if (*p < 0x20 || *p == 0x7f) {
            snprintf(escaped, sizeof escaped, "\\u%04x", *p);
            put(out, escaped, 6);
        } else {
            put(out, (const char *)p, n);
        }
        p += n;
    }
    if (out->cut) {
        /* the closing quote belongs to the tail, which is kept free */
        out->bytes[out->used++] = '"';
        return;
    }
    put(out, "\"", 1);
}

static void put_field(line *out, const md_log_field *field)
{
    char number[40];
    int n = 0;
    size_t before = out->used;
    put(out, ",", 1);
    put_text(out, field->key);
    put(out, ":", 1);
    if (out->cut) {
        out->used = before;
        return;
    }
    if (field->kind == 1) {
        n = snprintf(number, sizeof number, "%lld", (long long)field->integer);
    } else if (field->kind == 2 && isfinite(field->real)) {
        n = snprintf(number, sizeof number, "%.6g", field->real);
    } else if (field->kind == 2) {
        n = snprintf(number, sizeof number, "null");
    } else {
        put_text(out, field->text);
        return;
    }
    if (!put(out, number, (size_t)n)) {
        out->used = before;
    }
}

void md_log_fields(md_log_level level, const char *event, const md_log_field *fields)
{
    line out;
    out.used = 0;
    out.cut = false;
    struct timespec now = {0};
    struct tm utc = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    int n = snprintf(
        out.bytes, sizeof out.bytes,
        "{\"time\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\",\"level\":\"%s\",\"event\":",
        utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
        now.tv_nsec / 1000000, level_names[level]);
    out.used = (size_t)n;
    put_text(&out, event);
    for (; fields->key != NULL && !out.cut; fields++) {
        put_field(&out, fields);
    }
    memcpy(out.bytes + out.used, "}\n", 2);
    out.used += 2;
    /* a log that cannot be written must not stop the work */
    ssize_t written = write(atomic_load(&log_fd), out.bytes, out.used);
    (void)written;
}
