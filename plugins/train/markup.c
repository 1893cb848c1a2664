#include "plugins/train/markup.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for n more bytes and the final zero. */
static bool make_room(md_markup *m, size_t n)
{
    size_t need = 0;
    if (m->failed != MD_OK) {
        return false;
    }
    if (!md_add(m->n, n, &need) || need >= MD_MARKUP_MAX_BYTES) {
        m->failed = MD_LIMIT;
        return false;
    }
    if (need < m->room) {
        return true;
    }
    const size_t room = need + 1 > 2 * m->room ? need + 1024 : 2 * m->room;
    char *text = md_realloc(m->text, room);
    if (text == NULL) {
        m->failed = MD_NOMEM;
        return false;
    }
    m->text = text;
    m->room = room;
    return true;
}

static void add_bytes(md_markup *m, const char *bytes, size_t n)
{
    if (make_room(m, n)) {
        memcpy(m->text + m->n, bytes, n);
        m->n += n;
        m->text[m->n] = '\0';
    }
}

void md_markup_add(md_markup *markup, const char *text)
{
    add_bytes(markup, text, strlen(text));
}

void md_markup_format(md_markup *markup, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    if (n > 0 && make_room(markup, (size_t)n)) {
        (void)vsnprintf(markup->text + markup->n, (size_t)n + 1, format, again);
        markup->n += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

size_t md_markup_shown(const char *text)
{
    const unsigned char *t = (const unsigned char *)text;
    const size_t n = md_utf8_length(t);
    if (n == 1) {
        return *t >= 0x20 && *t != 0x7f ? 1 : 0;
    }
    if (n == 2 && t[0] == 0xc2 && t[1] < 0xa0) {
        return 0; /* C1 controls */
    }
    if (n == 3) {
        const unsigned code =
            (unsigned)(t[0] & 15) << 12 | (unsigned)(t[1] & 63) << 6 | (unsigned)(t[2] & 63);
        const bool turns = code == 0x200e || code == 0x200f ||
                           (code >= 0x202a && code <= 0x202e) ||
                           (code >= 0x2066 && code <= 0x2069);
        return turns || code == 0x2028 || code == 0x2029 || code >= 0xfffe ? 0 : 3;
    }
    return n;
}

void md_markup_escape(md_markup *markup, const char *text)
{
    while (text != NULL && *text != '\0') {
        const size_t n = md_markup_shown(text);
        const char *entity = *text == '&'    ? "&amp;"
                             : *text == '<'  ? "&lt;"
                             : *text == '>'  ? "&gt;"
                             : *text == '"'  ? "&quot;"
                             : *text == '\'' ? "&#39;"
                             : n == 0        ? "?"
                                             : NULL;
        if (entity != NULL) {
            md_markup_add(markup, entity);
        } else {
            add_bytes(markup, text, n);
        }
        text += n > 0 ? n : 1;
    }
}

md_status md_markup_take(md_markup *markup, char **ret_text, size_t *ret_size, md_error *err)
{
    if (make_room(markup, 0)) {
        markup->text[markup->n] = '\0';
    }
    if (markup->failed != MD_OK) {
        return md_fail(err, markup->failed,
                       markup->failed == MD_LIMIT ? "more than %zu MiB of text"
                                                  : "no memory for a text (limit %zu MiB)",
                       MD_MARKUP_MAX_BYTES >> 20);
    }
    *ret_text = MD_STEAL(markup->text);
    *ret_size = markup->n;
    *markup = (md_markup){0};
    return MD_OK;
}

void md_markup_finish(md_markup *markup)
{
    md_free(markup->text);
    *markup = (md_markup){0};
}
