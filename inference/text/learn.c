/* A vocabulary from counts of words: the frequent ones whole, the rest by pieces that
 * byte-pair encoding finds (Sennrich, Haddow and Birch 2016): again and again the two
 * neighbours that stand side by side most often become one piece. */

#include "base/utf8.h"
#include "inference/text/vocabulary_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_DIFFERENT = 1 << 22,
    MAX_BPE_WORDS = 20000, /* the most frequent: what is rarer teaches no pieces */
    MAX_SYMBOLS = 1 << 16,
};

typedef struct counted {
    uint32_t form; /* in text */
    uint32_t n, n_negated;
} counted;

struct md_vocabulary_counts {
    char *text;
    size_t text_bytes, text_room;
    counted *words;
    size_t n, room;
    uint32_t *slots; /* number + 1 */
    size_t n_slots;
};

md_status md_vocabulary_counts_create(md_vocabulary_counts **ret_counts, md_error *err)
{
    md_vocabulary_counts *c = md_calloc(1, sizeof *c);
    *ret_counts = c;
    return c != NULL ? MD_OK : md_fail(err, MD_NOMEM, "no memory for counts of words");
}

void md_vocabulary_counts_destroy(md_vocabulary_counts *c)
{
    if (c != NULL) {
        md_free(c->text);
        md_free(c->words);
        md_free(c->slots);
        md_free(c);
    }
}

static size_t slot_of(const md_vocabulary_counts *c, const char *form)
{
    size_t slot = (size_t)md_token_hash(form, strlen(form)) & (c->n_slots - 1);
    while (c->slots[slot] != 0 &&
           strcmp(c->text + c->words[c->slots[slot] - 1].form, form) != 0) {
        slot = (slot + 1) & (c->n_slots - 1);
    }
    return slot;
}

/* Room for one more word, everywhere. */
static md_status make_room(md_vocabulary_counts *c, size_t form_bytes, md_error *err)
{
    if (c->n == MAX_DIFFERENT) {
        return md_fail(err, MD_LIMIT, "more than %d different words", MAX_DIFFERENT);
    }
    if (c->n == c->room) {
        const size_t room = c->room == 0 ? 4096 : 2 * c->room;
        counted *words = md_realloc(c->words, room * sizeof *words);
        if (words == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu words", room);
        }
        c->words = words;
        uint32_t *slots = md_calloc(2 * room, sizeof *slots);
        if (slots == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu words", room);
        }
        md_free(c->slots);
        c->slots = slots;
        c->n_slots = 2 * room;
        c->room = room;
        for (size_t i = 0; i < c->n; i++) {
            c->slots[slot_of(c, c->text + c->words[i].form)] = (uint32_t)i + 1;
        }
    }
    if (c->text_room - c->text_bytes <= form_bytes) {
        const size_t room = 2 * c->text_room + 65536;
        char *text = md_realloc(c->text, room);
        if (text == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu bytes of words", room);
        }
        c->text = text;
        c->text_room = room;
    }
    return MD_OK;
}

md_status md_vocabulary_count(md_vocabulary_counts *c, const md_words *words, md_error *err)
{
    for (size_t i = 0; i < words->n_words; i++) {
        const md_word *w = &words->words[i];
        const char *form = md_word_form(words, i);
        if (w->form_bytes == 0) {
            continue;
        }
        MD_TRY(make_room(c, w->form_bytes, err));
        const size_t slot = slot_of(c, form);
        if (c->slots[slot] == 0) {
            memcpy(c->text + c->text_bytes, form, w->form_bytes + 1u);
            c->words[c->n] = (counted){.form = (uint32_t)c->text_bytes};
            c->text_bytes += w->form_bytes + 1u;
            c->slots[slot] = (uint32_t)++c->n;
        }
        counted *k = &c->words[c->slots[slot] - 1];
        uint32_t *n = w->negated ? &k->n_negated : &k->n;
        *n += *n < UINT32_MAX ? 1 : 0;
    }
    return MD_OK;
}

/* ---- the list of tokens, written as the file and then read: one way to make a vocabulary */

typedef struct list {
    char *text;
    size_t n_bytes, room;
    size_t n_tokens;
    char **seen; /* open addressing; tokens, owned */
    size_t n_slots;
} list;

static void list_finish(list *l)
{
    for (size_t i = 0; l->seen != NULL && i < l->n_slots; i++) {
        md_free(l->seen[i]);
    }
    md_free(l->seen);
    md_free(l->text);
}

static md_status list_init(list *l, md_error *err)
{
    l->n_slots = 4 * MD_VOCABULARY_MAX_TOKENS;
    l->seen = md_calloc(l->n_slots, sizeof *l->seen);
    return l->seen != NULL ? MD_OK : md_fail(err, MD_NOMEM, "no memory for a vocabulary");
}

static md_status append(list *l, const char *text, md_error *err)
{
    const size_t n = strlen(text);
    if (l->room - l->n_bytes < n + 2) {
        const size_t room = 2 * l->room + n + 65536;
        char *moved = md_realloc(l->text, room);
        if (moved == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a vocabulary of %zu bytes", room);
        }
        l->text = moved;
        l->room = room;
    }
    memcpy(l->text + l->n_bytes, text, n);
    l->n_bytes += n;
    l->text[l->n_bytes++] = '\n';
    return MD_OK;
}

/* Once each, up to the limit. */
static md_status add(list *l, const char *prefix, const char *token, md_error *err)
{
    char whole[MD_VOCABULARY_TOKEN_BYTES + 8];
    const size_t n_prefix = strlen(prefix), n = n_prefix + strlen(token);
    if (n >= MD_VOCABULARY_TOKEN_BYTES || l->n_tokens == MD_VOCABULARY_MAX_TOKENS) {
        return MD_OK;
    }
    (void)stpcpy(stpcpy(whole, prefix), token);
    size_t slot = (size_t)md_token_hash(whole, n) & (l->n_slots - 1);
    while (l->seen[slot] != NULL && strcmp(l->seen[slot], whole) != 0) {
        slot = (slot + 1) & (l->n_slots - 1);
    }
    if (l->seen[slot] != NULL) {
        return MD_OK;
    }
    l->seen[slot] = md_strdup(whole);
    if (l->seen[slot] == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a vocabulary");
    }
    l->n_tokens++;
    return append(l, whole, err);
}

/* ---- words */

typedef struct entry {
    const char *form;
    uint64_t n;
    bool negated;
} entry;

static int by_count(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->n != y->n) {
        return x->n > y->n ? -1 : 1;
    }
    const int order = strcmp(x->form, y->form);
    return order != 0 ? order : (x->negated ? 1 : 0) - (y->negated ? 1 : 0);
}

static md_status add_words(list *l, const md_vocabulary_counts *c,
                           const md_vocabulary_options *o, md_error *err)
{
    MD_AUTO(md_freep) entry *entries = md_calloc(2 * c->n + 1, sizeof *entries);
    if (entries == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu words", c->n);
    }
    size_t n = 0;
    const uint32_t least = o->min_count == 0 ? 1 : o->min_count;
    for (size_t i = 0; i < c->n; i++) {
        const char *form = c->text + c->words[i].form;
        /* what is mostly negated is still a word of that many */
        const uint64_t all = (uint64_t)c->words[i].n + c->words[i].n_negated;
        if (all >= least) {
            entries[n++] = (entry){form, all, false};
        }
        if (c->words[i].n_negated >= least) {
            entries[n++] = (entry){form, c->words[i].n_negated, true};
        }
    }
    qsort(entries, n, sizeof *entries, by_count);
    const size_t most = o->max_words == 0 ? MD_VOCABULARY_MAX_TOKENS / 2 : o->max_words;
    for (size_t i = 0; i < n && i < most; i++) {
        MD_TRY(add(l, entries[i].negated ? "!" : "", entries[i].form, err));
    }
    return MD_OK;
}

/* ---- pieces */

typedef struct bpe {
    entry *words; /* the most frequent, by falling count */
    size_t n_words;
    char (*symbols)[MD_VOCABULARY_TOKEN_BYTES]; /* with ## when they continue a word */
    size_t n_symbols;
    uint16_t (*sequences)[MD_WORD_MAX_BYTES]; /* of each word */
    uint8_t *lengths;
    uint64_t *pair_keys, *pair_counts; /* open addressing, key 0 is empty */
    size_t n_slots;
} bpe;

static void bpe_finish(bpe *b)
{
    md_free(b->words);
    md_free(b->symbols);
    md_free(b->sequences);
    md_free(b->lengths);
    md_free(b->pair_keys);
    md_free(b->pair_counts);
}

static md_status bpe_init(bpe *b, const md_vocabulary_counts *c, unsigned max_pieces,
                          md_error *err)
{
    const size_t n_symbols = (size_t)max_pieces + MAX_SYMBOLS / 2;
    b->words = md_calloc(c->n + 1, sizeof *b->words);
    b->symbols = md_calloc(n_symbols, sizeof *b->symbols);
    b->sequences = md_calloc(MAX_BPE_WORDS, sizeof *b->sequences);
    b->lengths = md_calloc(MAX_BPE_WORDS, 1);
    b->n_slots = (size_t)1 << 21;
    b->pair_keys = md_calloc(b->n_slots, sizeof *b->pair_keys);
    b->pair_counts = md_calloc(b->n_slots, sizeof *b->pair_counts);
    if (b->words == NULL || b->symbols == NULL || b->sequences == NULL || b->lengths == NULL ||
        b->pair_keys == NULL || b->pair_counts == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the pieces of words");
    }
    for (size_t i = 0; i < c->n; i++) {
        b->words[i] = (entry){c->text + c->words[i].form,
                              (uint64_t)c->words[i].n + c->words[i].n_negated, false};
    }
    qsort(b->words, c->n, sizeof *b->words, by_count);
    b->n_words = c->n < MAX_BPE_WORDS ? c->n : MAX_BPE_WORDS;
    return MD_OK;
}

/* The number of a single character; MAX_SYMBOLS / 2 of them are told apart. */
static size_t character_symbol(bpe *b, const char *at, size_t n, bool continues)
{
    char symbol[8] = "##";
    const size_t prefix = continues ? 2 : 0;
    memcpy(symbol + prefix, at, n);
    symbol[prefix + n] = '\0';
    for (size_t i = 0; i < b->n_symbols; i++) {
        if (strcmp(b->symbols[i], symbol) == 0) {
            return i;
        }
    }
    if (b->n_symbols == 4096) {
        return MAX_SYMBOLS; /* a script of so many characters is not learned further */
    }
    memcpy(b->symbols[b->n_symbols], symbol, sizeof symbol);
    return b->n_symbols++;
}

static void cut_words(bpe *b)
{
    size_t to = 0;
    for (size_t i = 0; i < b->n_words; i++) {
        uint8_t n = 0;
        bool known = true;
        for (const char *at = b->words[i].form; *at != '\0';) {
            const size_t bytes = md_utf8_bytes((unsigned char)*at);
            const size_t symbol = character_symbol(b, at, bytes, n > 0);
            known = known && symbol < MAX_SYMBOLS;
            b->sequences[to][n++] = (uint16_t)symbol;
            at += bytes;
        }
        if (known) {
            b->words[to] = b->words[i];
            b->lengths[to++] = n;
        }
    }
    b->n_words = to;
}

/* Count neighbours; the most frequent pair, of equal ones that of the lower numbers. false when
 * none is there twice. */
static bool most_frequent_pair(bpe *b, uint16_t *ret_left, uint16_t *ret_right)
{
    memset(b->pair_keys, 0, b->n_slots * sizeof *b->pair_keys);
    uint64_t best = 1, best_key = 0;
    for (size_t i = 0; i < b->n_words; i++) {
        for (unsigned k = 0; k + 1 < b->lengths[i]; k++) {
            const uint64_t key =
                ((uint64_t)b->sequences[i][k] << 16 | b->sequences[i][k + 1]) + 1;
            size_t slot = (size_t)(key * 0x9e3779b97f4a7c15U >> 40) & (b->n_slots - 1);
            while (b->pair_keys[slot] != 0 && b->pair_keys[slot] != key) {
                slot = (slot + 1) & (b->n_slots - 1);
            }
            if (b->pair_keys[slot] == 0) {
                b->pair_keys[slot] = key;
                b->pair_counts[slot] = 0;
            }
            b->pair_counts[slot] += b->words[i].n;
            const uint64_t count = b->pair_counts[slot];
            if (count > best || (count == best && best_key != 0 && key < best_key)) {
                best = count;
                best_key = key;
            }
        }
    }
    *ret_left = (uint16_t)((best_key - 1) >> 16);
    *ret_right = (uint16_t)(best_key - 1);
    return best_key != 0;
}

static void replace_pair(bpe *b, uint16_t left, uint16_t right, uint16_t merged)
{
    for (size_t i = 0; i < b->n_words; i++) {
        uint8_t to = 0;
        for (uint8_t k = 0; k < b->lengths[i]; k++) {
            uint16_t symbol = b->sequences[i][k];
            if (symbol == left && k + 1 < b->lengths[i] && b->sequences[i][k + 1] == right) {
                symbol = merged;
                k++;
            }
            b->sequences[i][to++] = symbol;
        }
        b->lengths[i] = to;
    }
}

static md_status add_pieces(list *l, const md_vocabulary_counts *c, unsigned max_pieces,
                            md_error *err)
{
    bpe b __attribute__((cleanup(bpe_finish))) = {0};
    if (max_pieces > MAX_SYMBOLS / 2) {
        return md_fail(err, MD_LIMIT, "%u pieces of words, at most %d", max_pieces,
                       MAX_SYMBOLS / 2);
    }
    for (char ch = '0'; ch <= 'z'; ch = ch == '9' ? 'a' : (char)(ch + 1)) {
        const char text[2] = {ch, '\0'};
        MD_TRY(add(l, "", text, err));
        MD_TRY(add(l, "##", text, err));
    }
    MD_TRY(bpe_init(&b, c, max_pieces, err));
    cut_words(&b);
    for (size_t i = 0; i < b.n_symbols; i++) {
        MD_TRY(add(l, "", b.symbols[i], err));
    }
    for (unsigned m = 0; m < max_pieces; m++) {
        uint16_t left = 0, right = 0;
        if (!most_frequent_pair(&b, &left, &right)) {
            break;
        }
        /* the right one continues the word: without its ## */
        char *merged = b.symbols[b.n_symbols];
        (void)stpcpy(stpcpy(merged, b.symbols[left]), b.symbols[right] + 2);
        MD_TRY(add(l, "", merged, err));
        replace_pair(&b, left, right, (uint16_t)b.n_symbols++);
    }
    return MD_OK;
}

static md_status learn(list *l, const md_vocabulary_counts *c, const md_vocabulary_options *o,
                       md_vocabulary **ret_vocabulary, md_error *err)
{
    MD_TRY(list_init(l, err));
    MD_TRY(append(l, "medaid_vocabulary 1", err));
    MD_TRY(add(l, "", "<pad>", err));
    MD_TRY(add(l, "", "<unknown>", err));
    MD_TRY(add(l, "", "!", err));
    for (size_t i = 0; md_abbreviation(i) != NULL; i++) {
        MD_TRY(add(l, "", md_abbreviation(i), err));
    }
    MD_TRY(add_words(l, c, o, err));
    MD_TRY(add_pieces(l, c, o->max_pieces, err));
    return md_vocabulary_parse((const uint8_t *)l->text, l->n_bytes, ret_vocabulary, err);
}

md_status md_vocabulary_learn(const md_vocabulary_counts *c, const md_vocabulary_options *o,
                              md_vocabulary **ret_vocabulary, md_error *err)
{
    list l = {0};
    const md_status status = learn(&l, c, o, ret_vocabulary, err);
    list_finish(&l);
    return status;
}
