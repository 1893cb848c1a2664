#include "inference/text/words.h"

#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

enum {
    /* NFKD of one character, folded: U+FDFA has 18. */
    MAX_EXPANSION = 32,
};

typedef struct splitter {
    const unsigned char *text;
    size_t n, at, max_words;
    md_words words;
    size_t words_room, forms_room;
    bool is_open; /* the last word may go on */
    bool is_long; /* and has lost its form */
} splitter;

void md_words_finish(md_words *words)
{
    md_free(words->words);
    md_free(words->forms);
    *words = (md_words){0};
}

/* ---- characters */

static bool is_ideograph(utf8proc_int32_t c)
{
    return (c >= 0x3400 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
           (c >= 0x20000 && c <= 0x3fffd);
}

static bool is_letter(utf8proc_int32_t c)
{
    if (c < 0x80) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    }
    const utf8proc_category_t k = utf8proc_category(c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
           (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_ascii_letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static unsigned char byte_at(const splitter *s, size_t at)
{
    return at < s->n ? s->text[at] : 0;
}

/* Whether the separator at s->at ends what a negation reaches. A point between two digits is
 * one of a number. */
static bool is_end(const splitter *s, utf8proc_int32_t c)
{
    if (c == '.') {
        return !(s->at > 0 && is_digit(s->text[s->at - 1]) && is_digit(byte_at(s, s->at + 1)));
    }
    return c == ';' || c == ':' || c == '!' || c == '?' || c == '\n' || c == '\r' ||
           c == 0x2022 /* bullet */ || c == 0x3002 /* ideographic full stop */;
}

/* ---- building words */

static md_status grow(void **block, size_t *room, size_t needed, size_t item_bytes,
                      md_error *err)
{
    if (needed <= *room) {
        return MD_OK;
    }
    const size_t bigger =
        needed < 64 ? 128 : needed * 2; /* of at most MD_TEXT_MAX_BYTES x 64 */
    size_t size_bytes;
    void *moved =
        md_mul(bigger, item_bytes, &size_bytes) ? md_realloc(*block, size_bytes) : NULL;
    if (moved == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the words of a text of that length");
    }
    *block = moved;
    *room = bigger;
    return MD_OK;
}

static void close_word(splitter *s)
{
    if (!s->is_open) {
        return;
    }
    md_word *w = &s->words.words[s->words.n_words - 1];
    if (s->is_long) {
        s->words.forms_bytes = w->form;
        w->form_bytes = 0;
    }
    s->words.forms[s->words.forms_bytes++] = '\0'; /* add_character keeps room for it */
    s->is_open = s->is_long = false;
}

/* *ret_opened false: there are max_words already. */
static md_status open_word(splitter *s, bool *ret_opened, md_error *err)
{
    *ret_opened = s->words.n_words < s->max_words;
    if (!*ret_opened) {
        s->words.is_cut = true;
        return MD_OK;
    }
    void *words = s->words.words;
    const md_status status =
        grow(&words, &s->words_room, s->words.n_words + 1, sizeof(md_word), err);
    s->words.words = words;
    MD_TRY(status);
    s->words.words[s->words.n_words++] = (md_word){.begin = (uint32_t)s->at,
                                                   .end = (uint32_t)s->at,
                                                   .form = (uint32_t)s->words.forms_bytes};
    s->is_open = true;
    return MD_OK;
}

/* Append a character to the word that is open. */
static md_status add_character(splitter *s, utf8proc_int32_t c, md_error *err)
{
    void *forms = s->words.forms;
    const md_status status =
        grow(&forms, &s->forms_room, s->words.forms_bytes + 5, sizeof(char), err);
    s->words.forms = forms;
    MD_TRY(status);
    md_word *w = &s->words.words[s->words.n_words - 1];
    utf8proc_uint8_t bytes[4];
    const size_t n = (size_t)utf8proc_encode_char(c, bytes);
    if (s->is_long || w->form_bytes + n > MD_WORD_MAX_BYTES) {
        s->is_long = true;
        return MD_OK;
    }
    memcpy(s->words.forms + s->words.forms_bytes, bytes, n);
    s->words.forms_bytes += n;
    w->form_bytes = (uint16_t)(w->form_bytes + n);
    return MD_OK;
}

/* The letters of one character of the text, of n_bytes bytes; what else stands between them in
 * its decomposition (the stroke of a half) goes, so that no two words share a byte. */
static md_status add_letters(splitter *s, const utf8proc_int32_t *points, size_t n_points,
                             size_t n_bytes, md_error *err)
{
    const bool alone = is_ideograph(points[0]) || points[0] == '?';
    if (alone) {
        close_word(s);
    }
    bool opened = s->is_open;
    if (!opened) {
        MD_TRY(open_word(s, &opened, err));
    }
    if (!opened) {
        return MD_OK;
    }
    for (size_t i = 0; i < n_points; i++) {
        if (is_letter(points[i]) || (alone && i == 0)) {
            MD_TRY(add_character(s, points[i], err));
        }
    }
    s->words.words[s->words.n_words - 1].end = (uint32_t)(s->at + n_bytes);
    if (alone) {
        close_word(s);
    }
    return MD_OK;
}

static void separate(splitter *s, utf8proc_int32_t c)
{
    close_word(s);
    if (s->words.n_words > 0 && is_end(s, c)) {
        s->words.words[s->words.n_words - 1].ends_clause = true;
    }
}

/* What one character becomes: NFKD, folded, without marks and ignorable characters. */
static size_t decompose(const unsigned char *text, size_t n_bytes, utf8proc_int32_t *ret_points)
{
    if (n_bytes == 1) {
        const unsigned char c = text[0];
        ret_points[0] = c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
        return 1;
    }
    utf8proc_int32_t point = 0;
    (void)utf8proc_iterate(text, (utf8proc_ssize_t)n_bytes, &point);
    int last_class = 0;
    const utf8proc_ssize_t n =
        utf8proc_decompose_char(point, ret_points, MAX_EXPANSION,
                                UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD |
                                    UTF8PROC_STRIPMARK | UTF8PROC_IGNORE,
                                &last_class);
    if (n < 0 || n > MAX_EXPANSION) {
        ret_points[0] = ' '; /* no assigned character */
        return 1;
    }
    return (size_t)n;
}

static md_status take(splitter *s, size_t n_bytes, md_error *err)
{
    utf8proc_int32_t points[MAX_EXPANSION];
    const size_t n = decompose(s->text + s->at, n_bytes, points);
    if (n == 0) { /* a mark, or invisible: part of the word that it stands behind */
        if (s->is_open) {
            s->words.words[s->words.n_words - 1].end = (uint32_t)(s->at + n_bytes);
        }
        return MD_OK;
    }
    const bool apostrophe = points[0] == '\'' || points[0] == 0x2019;
    if (apostrophe && s->is_open && is_ascii_letter(byte_at(s, s->at + n_bytes))) {
        return MD_OK; /* doesn't is doesnt */
    }
    bool has_letter = points[0] == '?';
    for (size_t i = 0; i < n; i++) {
        has_letter = has_letter || is_letter(points[i]);
    }
    if (points[0] == '?') {
        separate(s, '?');
    }
    if (has_letter) {
        return add_letters(s, points, n, n_bytes, err);
    }
    separate(s, points[0]);
    return MD_OK;
}

/* ---- what belongs together */

/* With a stroke between them. r/o is a suspicion to be ruled out, w/o negates. */
static const char *const strokes[] = {
    "a/c", "a/p", "a/w", "b/l", "c/o", "c/w", "d/c", "d/t", "e/o", "f/u", "h/o", "i/o", "k/c",
    "m/s", "n/v", "o/e", "p/w", "r/o", "r/t", "s/p", "s/s", "t/o", "v/q", "w/o", "w/u", "y/o"};

static bool joins_by_stroke(const md_words *w, const unsigned char *text, size_t i)
{
    const md_word *a = &w->words[i], *b = &w->words[i + 1];
    if (b->begin != a->end + 1 || text[a->end] != '/' || a->form_bytes != 1 ||
        b->form_bytes != 1) {
        return false;
    }
    for (size_t k = 0; k < sizeof strokes / sizeof *strokes; k++) {
        if (strokes[k][0] == md_word_form(w, i)[0] &&
            strokes[k][2] == md_word_form(w, i + 1)[0]) {
            return true;
        }
    }
    return false;
}

static bool is_initial(const md_words *w, const unsigned char *text, size_t n, size_t i)
{
    const md_word *a = &w->words[i];
    return a->form_bytes == 1 && a->end == a->begin + 1 && is_ascii_letter(text[a->begin]) &&
           a->end < n && text[a->end] == '.';
}

/* Words from i on that are one chain of letters and points: s.o.b. */
static size_t chain_length(const md_words *w, const unsigned char *text, size_t n, size_t i)
{
    size_t k = i;
    while (k < w->n_words && is_initial(w, text, n, k) && k - i < MD_WORD_MAX_BYTES &&
           (k == i || w->words[k].begin == w->words[k - 1].end + 1)) {
        k++;
    }
    const bool last_without = k > i && k < w->n_words && k - i < MD_WORD_MAX_BYTES &&
                              w->words[k].form_bytes == 1 &&
                              w->words[k].begin == w->words[k - 1].end + 1 &&
                              is_ascii_letter(text[w->words[k].begin]);
    return k - i + (last_without ? 1 : 0);
}

/* The point behind the last letter ends a clause when a capital follows. */
static bool chain_ends(const unsigned char *text, size_t n, size_t at)
{
    if (at >= n || text[at] != '.') {
        return false;
    }
    at++;
    bool blank = false;
    while (at < n && (text[at] == ' ' || text[at] == '\n' || text[at] == '\r')) {
        if (text[at] != ' ') {
            return true;
        }
        blank = true;
        at++;
    }
    return blank && at < n && text[at] >= 'A' && text[at] <= 'Z';
}

/* One form out of the one-letter forms of words[from..from+n): they lie side by side, each with
 * its zero, so that there is room to write them together from the first one's place on. */
static void join_forms(md_words *w, size_t from, size_t n, bool stroke)
{
    char *form = w->forms + w->words[from].form;
    size_t length = 0;
    for (size_t k = from; k < from + n; k++) {
        const char letter = md_word_form(w, k)[0];
        if (stroke && k > from) {
            form[length++] = '/';
        }
        form[length++] = letter;
    }
    form[length] = '\0';
    w->words[from].form_bytes = (uint16_t)length;
}

static void join(md_words *w, const unsigned char *text, size_t n)
{
    size_t to = 0;
    for (size_t i = 0; i < w->n_words;) {
        size_t length = 1;
        bool ends = w->words[i].ends_clause;
        if (i + 1 < w->n_words && joins_by_stroke(w, text, i)) {
            length = 2;
            join_forms(w, i, 2, true);
            ends = w->words[i + 1].ends_clause;
        } else if ((length = chain_length(w, text, n, i)) > 1) {
            join_forms(w, i, length, false);
            const md_word *last = &w->words[i + length - 1];
            const bool point = last->end < n && text[last->end] == '.';
            ends = point ? chain_ends(text, n, last->end) : last->ends_clause;
        } else {
            length = 1;
        }
        md_word joined = w->words[i];
        joined.end = w->words[i + length - 1].end;
        joined.ends_clause = ends;
        w->words[to++] = joined;
        i += length;
    }
    w->n_words = to;
}

/* ---- the text */

/* MD_FORMAT for what is no UTF-8: no character at byte *ret... of the text. */
static md_status check_utf8(const unsigned char *text, size_t n, md_error *err)
{
    for (size_t at = 0; at < n;) {
        unsigned char next[5] = {0}; /* ended by a zero, as base/utf8.h wants it */
        if (text[at] != 0 && text[at] < 0x80) {
            at++;
            continue;
        }
        memcpy(next, text + at, n - at < 4 ? n - at : 4);
        const size_t length = next[0] == 0 ? 0 : md_utf8_length(next);
        if (length == 0) {
            return md_fail(err, MD_FORMAT, "byte %zu of the text is %s", at + 1,
                           next[0] == 0 ? "zero: this is no text" : "not UTF-8");
        }
        at += length;
    }
    return MD_OK;
}

static md_status split(splitter *s, md_error *err)
{
    MD_TRY(check_utf8(s->text, s->n, err));
    for (s->at = 0; s->at < s->n && !s->words.is_cut;) {
        const size_t n_bytes = md_utf8_bytes(s->text[s->at]);
        MD_TRY(take(s, n_bytes, err));
        s->at += n_bytes;
    }
    close_word(s);
    return MD_OK;
}

md_status md_words_split(const char *text, size_t n, size_t max_words, md_words *ret_words,
                         md_error *err)
{
    if (n > MD_TEXT_MAX_BYTES) {
        return md_fail(err, MD_LIMIT, "a text of %zu bytes, at most %zu are read", n,
                       MD_TEXT_MAX_BYTES);
    }
    splitter s = {.text = (const unsigned char *)text, .n = n, .max_words = max_words};
    const md_status status = split(&s, err);
    if (status != MD_OK) {
        md_words_finish(&s.words);
        return status;
    }
    join(&s.words, s.text, n);
    md_words_negate(&s.words);
    *ret_words = s.words;
    return MD_OK;
}

/* Spoken of in orders and reports all over; as words.h brings them to one form. */
const char *md_abbreviation(size_t index)
{
    static const char *const words[] = {
        "aaa", "abd", "afib", "ams", "ards", "asap", "bal",  "bmt", "bp",    "ca",     "cabg",
        "cad", "cap", "chf",  "ckd", "copd", "cp",   "crt",  "csf", "ct",    "cva",    "cvc",
        "cxr", "dka", "dm",   "doe", "dvt",  "dx",   "ecg",  "ekg", "esrd",  "et",     "ett",
        "fb",  "fx",  "gerd", "gi",  "gib",  "gsw",  "hcc",  "hf",  "hiv",   "hr",     "htn",
        "hx",  "icd", "icu",  "ild", "iv",   "ivc",  "iddm", "kub", "ll",    "lle",    "lll",
        "loc", "lul", "lvad", "mi",  "mri",  "mva",  "mvc",  "ng",  "ngt",   "niddm",  "nsclc",
        "osa", "pa",  "pacu", "pe",  "picc", "pna",  "pmh",  "ppd", "preop", "postop", "pt",
        "ptx", "pvd", "ra",   "rll", "rml",  "rt",   "rul",  "sob", "stat",  "stemi",  "svt",
        "sx",  "tb",  "tia",  "tx",  "uri",  "uti",  "vs",   "wbc", "xr",    "yo"};
    const size_t n = sizeof words / sizeof *words, n_strokes = sizeof strokes / sizeof *strokes;
    return index < n ? words[index] : index < n + n_strokes ? strokes[index - n] : NULL;
}
