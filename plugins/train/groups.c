#include "plugins/train/groups.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_LABELS = MD_GROUPS_MAX_EDGES + 1
};

/* All that the columns point to. */
typedef struct group_block {
    char labels[MD_GROUPS_N_COLUMNS][MAX_LABELS][MD_GROUPS_WORD_BYTES];
    const char *pointers[MD_GROUPS_N_COLUMNS][MAX_LABELS];
    uint32_t rows[]; /* [MD_GROUPS_N_COLUMNS][n] */
} group_block;

typedef const char *(*word_of)(const md_group_facts *facts);

static const char *view_of(const md_group_facts *facts)
{
    return facts->view;
}

static const char *manufacturer_of(const md_group_facts *facts)
{
    return facts->manufacturer;
}

/* In capitals, without blanks at the ends, cut. */
static void tidy_word(const char *word, char ret_word[MD_GROUPS_WORD_BYTES])
{
    size_t n = 0;
    word = word != NULL ? word : "";
    while (*word == ' ') {
        word++;
    }
    for (; word[n] != '\0' && n + 1 < MD_GROUPS_WORD_BYTES; n++) {
        ret_word[n] = (char)toupper((unsigned char)word[n]);
    }
    while (n > 0 && ret_word[n - 1] == ' ') {
        n--;
    }
    ret_word[n] = '\0';
}

typedef struct counted_word {
    char word[MD_GROUPS_WORD_BYTES];
    size_t n;
} counted_word;

static int compare_words(const void *a, const void *b)
{
    return strcmp(((const counted_word *)a)->word, ((const counted_word *)b)->word);
}

/* More frequent first, then by the word. */
static int compare_counts(const void *a, const void *b)
{
    const counted_word *x = a, *y = b;
    if (x->n != y->n) {
        return x->n > y->n ? -1 : 1;
    }
    return strcmp(x->word, y->word);
}

/* The different words of a column, the most frequent first; returns how many. */
static size_t count_words(const md_group_facts *facts, size_t n, word_of get,
                          counted_word *words)
{
    size_t n_known = 0, n_words = 0;
    for (size_t i = 0; i < n; i++) {
        tidy_word(get(&facts[i]), words[n_known].word);
        words[n_known].n = 1;
        n_known += words[n_known].word[0] != '\0';
    }
    qsort(words, n_known, sizeof *words, compare_words);
    for (size_t i = 0; i < n_known; i++) {
        if (n_words > 0 && strcmp(words[n_words - 1].word, words[i].word) == 0) {
            words[n_words - 1].n++;
        } else {
            words[n_words++] = words[i];
        }
    }
    qsort(words, n_words, sizeof *words, compare_counts);
    return n_words;
}

static void add_column(md_groups *groups, group_block *block, const char *name, unsigned index,
                       unsigned n_labels, size_t n)
{
    for (unsigned l = 0; l < n_labels; l++) {
        block->pointers[index][l] = block->labels[index][l];
    }
    groups->columns[groups->n_columns++] = (md_assess_column){.name = name,
                                                              .labels = block->pointers[index],
                                                              .n_labels = n_labels,
                                                              .rows = block->rows + index * n};
}

static md_status add_words(md_groups *groups, group_block *block, const char *name,
                           unsigned index, const md_group_facts *facts, size_t n, word_of get,
                           md_error *err)
{
    MD_AUTO(md_freep) counted_word *words = md_calloc(n + 1, sizeof *words);
    if (words == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", n);
    }
    const size_t n_words = count_words(facts, n, get, words);
    if (n_words == 0) {
        return MD_OK;
    }
    const unsigned n_kept =
        (unsigned)(n_words < MD_GROUPS_MAX_WORDS ? n_words : MD_GROUPS_MAX_WORDS);
    for (unsigned l = 0; l < n_kept; l++) {
        (void)snprintf(block->labels[index][l], MD_GROUPS_WORD_BYTES, "%s", words[l].word);
    }
    (void)snprintf(block->labels[index][n_kept], MD_GROUPS_WORD_BYTES, "other");
    for (size_t i = 0; i < n; i++) {
        char word[MD_GROUPS_WORD_BYTES];
        uint32_t label = UINT32_MAX;
        tidy_word(get(&facts[i]), word);
        if (word[0] != '\0') {
            for (label = 0; label < n_kept; label++) {
                if (strcmp(block->labels[index][label], word) == 0) {
                    break;
                }
            }
        }
        block->rows[index * n + i] = label;
    }
    add_column(groups, block, name, index, n_kept + (n_words > n_kept), n);
    return MD_OK;
}

static void add_sexes(md_groups *groups, group_block *block, const md_group_facts *facts,
                      size_t n)
{
    static const char *const names[] = {"female", "male", "other"};
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        const int c = toupper((unsigned char)facts[i].sex);
        const uint32_t label = c == 'F' ? 0 : c == 'M' ? 1 : c == 'O' ? 2 : UINT32_MAX;
        block->rows[i] = label;
        any = any || label < 3;
    }
    for (unsigned l = 0; l < 3; l++) {
        (void)snprintf(block->labels[0][l], MD_GROUPS_WORD_BYTES, "%s", names[l]);
    }
    if (any) {
        add_column(groups, block, "sex", 0, 3, n);
    }
}

static void add_ages(md_groups *groups, group_block *block, const md_group_facts *facts,
                     size_t n, const float *edges, unsigned n_edges)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        uint32_t band = UINT32_MAX;
        if (facts[i].age_years >= 0) {
            any = true;
            for (band = 0; band < n_edges && facts[i].age_years >= (double)edges[band];) {
                band++;
            }
        }
        block->rows[n + i] = band;
    }
    for (unsigned l = 0; l <= n_edges; l++) {
        char *label = block->labels[1][l];
        if (l == 0) {
            (void)snprintf(label, MD_GROUPS_WORD_BYTES, "under %g years", (double)edges[0]);
        } else if (l == n_edges) {
            (void)snprintf(label, MD_GROUPS_WORD_BYTES, "%g years and more",
                           (double)edges[l - 1]);
        } else {
            (void)snprintf(label, MD_GROUPS_WORD_BYTES, "%g to under %g years",
                           (double)edges[l - 1], (double)edges[l]);
        }
    }
    if (any) {
        add_column(groups, block, "age", 1, n_edges + 1, n);
    }
}

md_status md_groups_make(const md_group_facts *facts, size_t n, const float *edges,
                         unsigned n_edges, md_groups *ret_groups, md_error *err)
{
    static const float usual[] = {1, 5, 18, 40, 65, 80};
    if (n_edges == 0) {
        edges = usual;
        n_edges = sizeof usual / sizeof usual[0];
    }
    if (n_edges > MD_GROUPS_MAX_EDGES || n > MD_STATISTICS_MAX_ROWS) {
        return md_fail(err, MD_LIMIT, "%u edges between age bands, %zu rows: at most %d, %zu",
                       n_edges, n, MD_GROUPS_MAX_EDGES, MD_STATISTICS_MAX_ROWS);
    }
    for (unsigned k = 0; k < n_edges; k++) {
        if (!(edges[k] > (k > 0 ? edges[k - 1] : 0))) {
            return md_fail(err, MD_INVALID_ARG, "age band %u begins at %g years: they rise",
                           k + 1, (double)edges[k]);
        }
    }
    group_block *block =
        md_calloc(1, sizeof *block + MD_GROUPS_N_COLUMNS * n * sizeof block->rows[0]);
    if (block == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows", n);
    }
    md_groups groups = {.block = block};
    add_sexes(&groups, block, facts, n);
    add_ages(&groups, block, facts, n, edges, n_edges);
    md_status status = add_words(&groups, block, "view", 2, facts, n, view_of, err);
    if (status == MD_OK) {
        status = add_words(&groups, block, "manufacturer", 3, facts, n, manufacturer_of, err);
    }
    if (status != MD_OK) {
        md_groups_finish(&groups);
        return status;
    }
    *ret_groups = groups;
    return MD_OK;
}

void md_groups_finish(md_groups *groups)
{
    md_free(groups->block);
    *groups = (md_groups){0};
}
