#include "daemon/metrics/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    FIRST_ROOM = 4096,
    LINE_BYTES = 512
};

void md_histogram_add(md_histogram *histogram, int64_t duration_ms)
{
    uint64_t ms = duration_ms < 0 ? 0 : (uint64_t)duration_ms;
    unsigned i = 0;
    while (i < histogram->n_bounds && ms > (uint64_t)histogram->bounds_ms[i]) {
        i++;
    }
    atomic_fetch_add_explicit(&histogram->counts[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_ms, ms, memory_order_relaxed);
}

static void append(md_metrics_page *page, const char *text, size_t n)
{
    size_t needed;
    if (page->status != MD_OK) {
        return;
    }
    if (!md_add(page->n_bytes, n + 1, &needed) || needed > MD_METRICS_MAX_BYTES) {
        page->status = MD_LIMIT;
        return;
    }
    if (needed > page->n_room) {
        size_t n_room = page->n_room == 0 ? FIRST_ROOM : page->n_room;
        while (n_room < needed) {
            n_room *= 2;
        }
        char *grown = md_realloc(page->text, n_room);
        if (grown == NULL) {
            page->status = MD_NOMEM;
            return;
        }
        page->text = grown;
        page->n_room = n_room;
    }
    memcpy(page->text + page->n_bytes, text, n);
    page->n_bytes += n;
    page->text[page->n_bytes] = '\0';
}

static void append_text(md_metrics_page *page, const char *text)
{
    append(page, text, strlen(text));
}

/* The length of the UTF-8 character that begins here, 0 when none does (RFC 3629). */
static size_t utf8_length(const unsigned char *at)
{
    size_t n = at[0] < 0x80                     ? 1
               : at[0] >= 0xc2 && at[0] <= 0xdf ? 2
               : (at[0] & 0xf0) == 0xe0         ? 3
               : at[0] >= 0xf0 && at[0] <= 0xf4 ? 4
                                                : 0;
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool is_bad = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
                  (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f);
    return is_bad ? 0 : n;
}

static void append_escaped(md_metrics_page *page, const char *text, bool quotes)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at != '\0') {
        size_t n = utf8_length(at);
        if (*at == '\\') {
            append_text(page, "\\\\");
        } else if (*at == '\n') {
            append_text(page, "\\n");
        } else if (*at == '"' && quotes) {
            append_text(page, "\\\"");
        } else if (n == 0 || *at < 0x20 || *at == 0x7f) {
            append_text(page, "?");
        } else {
            append(page, (const char *)at, n);
        }
        at += n == 0 ? 1 : n;
    }
}

void md_metrics_head(md_metrics_page *page, const char *name, const char *type,
                     const char *help)
{
    append_text(page, "# HELP ");
    append_text(page, name);
    append_text(page, " ");
    append_escaped(page, help, false);
    append_text(page, "\n# TYPE ");
    append_text(page, name);
    append_text(page, " ");
    append_text(page, type);
    append_text(page, "\n");
}

/* Whole numbers as such: a counter above 2^53 is not to be met. */
static void append_number(md_metrics_page *page, double value)
{
    char text[64];
    if (isnan(value)) {
        append_text(page, "NaN");
    } else if (isinf(value)) {
        append_text(page, value > 0 ? "+Inf" : "-Inf");
    } else {
        snprintf(text, sizeof text, value == floor(value) ? "%.0f" : "%.9g", value);
        append_text(page, text);
    }
}

void md_metrics_value(md_metrics_page *page, const char *name, const md_metrics_label *labels,
                      double value)
{
    append_text(page, name);
    const char *before = "{";
    for (const md_metrics_label *label = labels; label != NULL && label->name != NULL;
         label++) {
        append_text(page, before);
        append_text(page, label->name);
        append_text(page, "=\"");
        append_escaped(page, label->value, true);
        append_text(page, "\"");
        before = ",";
    }
    append_text(page, *before == ',' ? "} " : " ");
    append_number(page, value);
    append_text(page, "\n");
}

void md_metrics_histogram(md_metrics_page *page, const char *name,
                          const md_histogram *histogram)
{
    char full[LINE_BYTES];
    char bound[32];
    uint64_t n = 0;
    /* the sum first: a value that is added meanwhile is in no number or in the count alone */
    double sum_s = (double)atomic_load(&histogram->sum_ms) / 1000;
    snprintf(full, sizeof full, "%s_bucket", name);
    for (unsigned i = 0; i <= histogram->n_bounds; i++) {
        n += atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
        if (i == histogram->n_bounds) {
            snprintf(bound, sizeof bound, "+Inf");
        } else {
            snprintf(bound, sizeof bound, "%.9g", (double)histogram->bounds_ms[i] / 1000);
        }
        const md_metrics_label le[] = {{"le", bound}, {NULL, NULL}};
        md_metrics_value(page, full, le, (double)n);
    }
    snprintf(full, sizeof full, "%s_sum", name);
    md_metrics_value(page, full, NULL, sum_s);
    snprintf(full, sizeof full, "%s_count", name);
    md_metrics_value(page, full, NULL, (double)n);
}

void md_metrics_page_finish(md_metrics_page *page)
{
    md_free(page->text);
    *page = (md_metrics_page){0};
}
