#include "daemon/rules/views.h"

#include "daemon/rules/tags.h"
#include "plugins/host/accept.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* An attribute as a word, or the word of its code. */
static void read_word(const char *tags, uint32_t tag, uint32_t sequence,
                      void (*word_of)(const char *scheme, const char *value, char *ret_word),
                      char ret_word[MD_ACCEPT_CS_BYTES])
{
    char value[MD_TAG_VALUE_BYTES];
    char scheme[MD_TAG_VALUE_BYTES];
    (void)md_tags_find(tags, 0, tag, value);
    snprintf(ret_word, MD_ACCEPT_CS_BYTES, "%.32s", value);
    if (ret_word[0] == '\0') {
        (void)md_tags_find(tags, sequence, MD_TAG(0x0008, 0x0100), value);
        (void)md_tags_find(tags, sequence, MD_TAG(0x0008, 0x0102), scheme);
        word_of(scheme, value, ret_word);
    }
}

static bool is_one_of(const char (*words)[MD_REQUIRED_WORD_BYTES], unsigned n, const char *word)
{
    for (unsigned i = 0; i < n; i++) {
        if (strcasecmp(words[i], word) == 0) {
            return true;
        }
    }
    return n == 0;
}

static bool counts(const md_required *required, const md_tag_set *set)
{
    char modality[MD_TAG_VALUE_BYTES];
    char body_part[MD_ACCEPT_CS_BYTES];
    (void)md_tags_find(set->tags, 0, MD_TAG(0x0008, 0x0060), modality);
    read_word(set->tags, MD_TAG(0x0018, 0x0015), MD_TAG(0x0008, 0x2218), md_accept_body_part_of,
              body_part);
    return is_one_of(required->modality, required->n_modality, modality) &&
           ((body_part[0] == '\0' && required->accepts_no_body_part) ||
            is_one_of(required->body_part, required->n_body_part, body_part));
}

/* `view` is "PA", or "LL/RL" for one of several. */
static bool has_view(const md_required *required, const char *view, const md_tag_set *sets,
                     size_t n_sets)
{
    for (size_t i = 0; i < n_sets; i++) {
        char word[MD_ACCEPT_CS_BYTES];
        if (!counts(required, &sets[i])) {
            continue;
        }
        read_word(sets[i].tags, MD_TAG(0x0018, 0x5101), MD_TAG(0x0054, 0x0220),
                  md_accept_view_of, word);
        size_t length = strlen(word);
        for (const char *part = view; length > 0 && part != NULL; part = strchr(part, '/')) {
            part += *part == '/';
            if (strcspn(part, "/") == length && strncasecmp(part, word, length) == 0) {
                return true;
            }
        }
    }
    return false;
}

static unsigned count_images(const md_required *required, const md_tag_set *sets, size_t n_sets)
{
    unsigned n = 0;
    for (size_t i = 0; i < n_sets; i++) {
        n += counts(required, &sets[i]) ? sets[i].n_instances : 0;
    }
    return n;
}

bool md_views_concerned(const md_required *required, const md_tag_set *sets, size_t n_sets)
{
    return count_images(required, sets, n_sets) > 0;
}

bool md_views_there(const md_required *required, const md_tag_set *sets, size_t n_sets,
                    char ret_missing[MD_VIEWS_MISSING_BYTES])
{
    unsigned n = count_images(required, sets, n_sets);
    ret_missing[0] = '\0';
    if (n == 0) {
        return true;
    }
    for (unsigned i = 0; i < required->n_views; i++) {
        if (!has_view(required, required->views[i], sets, n_sets)) {
            snprintf(ret_missing, MD_VIEWS_MISSING_BYTES, "a view: %s", required->views[i]);
            return false;
        }
    }
    if (n < required->count) {
        snprintf(ret_missing, MD_VIEWS_MISSING_BYTES, "images: %u of %u came", n,
                 required->count);
        return false;
    }
    return true;
}
