/* What a negation reaches, in the manner of NegEx (Chapman, Bridewell, Hanbury, Cooper and
 * Buchanan, "A simple algorithm for identifying negated findings and diseases in discharge
 * summaries", J Biomed Inform 2001): phrases before and behind what they negate, phrases that
 * only look like it, and words that end the reach. Their window of five words holds here for
 * phrases behind; a phrase before reaches to the end of its clause, since reports list what is
 * not there. To rule out (r/o) is a suspicion and no negation: an order asks for it. English.
 */

#include "inference/text/words.h"

#include <string.h>

typedef enum phrase_kind {
    PHRASE_PSEUDO, /* looks like a negation */
    PHRASE_BEFORE,
    PHRASE_BEHIND,
    PHRASE_END
} phrase_kind;

enum {
    REACH_BACK = 5
};

typedef struct phrase {
    const char *words; /* forms with a blank between */
    phrase_kind kind;
} phrase;

static const phrase phrases[] = {
    {"cannot be excluded", PHRASE_PSEUDO},
    {"cannot be ruled out", PHRASE_PSEUDO},
    {"cannot exclude", PHRASE_PSEUDO},
    {"cannot rule out", PHRASE_PSEUDO},
    {"gram negative", PHRASE_PSEUDO},
    {"no change", PHRASE_PSEUDO},
    {"no further", PHRASE_PSEUDO},
    {"no increase", PHRASE_PSEUDO},
    {"no interval change", PHRASE_PSEUDO},
    {"no significant change", PHRASE_PSEUDO},
    {"no significant interval change", PHRASE_PSEUDO},
    {"not be excluded", PHRASE_PSEUDO},
    {"not been ruled out", PHRASE_PSEUDO},
    {"not certain if", PHRASE_PSEUDO},
    {"not certain whether", PHRASE_PSEUDO},
    {"not exclude", PHRASE_PSEUDO},
    {"not excluded", PHRASE_PSEUDO},
    {"not necessarily", PHRASE_PSEUDO},
    {"not only", PHRASE_PSEUDO},
    {"not rule out", PHRASE_PSEUDO},
    {"not ruled out", PHRASE_PSEUDO},
    {"without any further", PHRASE_PSEUDO},
    {"without change", PHRASE_PSEUDO},
    {"without difficulty", PHRASE_PSEUDO},
    {"without further", PHRASE_PSEUDO},
    {"absence of", PHRASE_BEFORE},
    {"arent", PHRASE_BEFORE},
    {"denied", PHRASE_BEFORE},
    {"denies", PHRASE_BEFORE},
    {"deny", PHRASE_BEFORE},
    {"denying", PHRASE_BEFORE},
    {"didnt", PHRASE_BEFORE},
    {"doesnt", PHRASE_BEFORE},
    {"dont", PHRASE_BEFORE},
    {"fails to reveal", PHRASE_BEFORE},
    {"free of", PHRASE_BEFORE},
    {"hasnt", PHRASE_BEFORE},
    {"isnt", PHRASE_BEFORE},
    {"lack of", PHRASE_BEFORE},
    {"lacks", PHRASE_BEFORE},
    {"negative examination for", PHRASE_BEFORE},
    {"negative for", PHRASE_BEFORE},
    {"neither", PHRASE_BEFORE},
    {"never", PHRASE_BEFORE},
    {"nil", PHRASE_BEFORE},
    {"no", PHRASE_BEFORE},
    {"no evidence of", PHRASE_BEFORE},
    {"no sign of", PHRASE_BEFORE},
    {"no signs of", PHRASE_BEFORE},
    {"none of", PHRASE_BEFORE},
    {"nor", PHRASE_BEFORE},
    {"not", PHRASE_BEFORE},
    {"rather than", PHRASE_BEFORE},
    {"rules out", PHRASE_BEFORE},
    {"wasnt", PHRASE_BEFORE},
    {"without", PHRASE_BEFORE},
    {"without evidence of", PHRASE_BEFORE},
    {"w/o", PHRASE_BEFORE},
    {"absent", PHRASE_BEHIND},
    {"been ruled out", PHRASE_BEHIND},
    {"not appreciated", PHRASE_BEHIND},
    {"not demonstrated", PHRASE_BEHIND},
    {"not evident", PHRASE_BEHIND},
    {"not identified", PHRASE_BEHIND},
    {"not present", PHRASE_BEHIND},
    {"not seen", PHRASE_BEHIND},
    {"not visualized", PHRASE_BEHIND},
    {"is ruled out", PHRASE_BEHIND},
    {"unlikely", PHRASE_BEHIND},
    {"was ruled out", PHRASE_BEHIND},
    {"although", PHRASE_END},
    {"apart from", PHRASE_END},
    {"as the cause of", PHRASE_END},
    {"aside from", PHRASE_END},
    {"because", PHRASE_END},
    {"but", PHRASE_END},
    {"except", PHRASE_END},
    {"however", PHRASE_END},
    {"nevertheless", PHRASE_END},
    {"other than", PHRASE_END},
    {"presents with", PHRASE_END},
    {"secondary to", PHRASE_END},
    {"still", PHRASE_END},
    {"though", PHRASE_END},
    {"whereas", PHRASE_END},
    {"yet", PHRASE_END},
};

/* Words of the phrase when it stands at word i, all in one clause; else 0. */
static size_t match(const md_words *words, size_t i, const char *phrase_words)
{
    size_t n = 0;
    const char *at = phrase_words;
    for (;;) {
        const size_t length = strcspn(at, " ");
        if (i + n >= words->n_words || words->words[i + n].form_bytes != length ||
            memcmp(md_word_form(words, i + n), at, length) != 0) {
            return 0;
        }
        n++;
        at += length;
        if (*at == '\0') {
            return n;
        }
        if (words->words[i + n - 1].ends_clause) {
            return 0;
        }
        at++;
    }
}

static const phrase *find_phrase(const md_words *words, size_t i, size_t *ret_n)
{
    const phrase *best = NULL;
    *ret_n = 1;
    for (size_t k = 0; k < sizeof phrases / sizeof *phrases; k++) {
        if (phrases[k].words[0] != md_word_form(words, i)[0]) {
            continue;
        }
        const size_t n = match(words, i, phrases[k].words);
        if (n > 0 && (best == NULL || n > *ret_n)) {
            best = &phrases[k];
            *ret_n = n;
        }
    }
    return best;
}

void md_words_negate(md_words *words)
{
    bool reaches = false;
    size_t clause = 0; /* where it begins, or what ended a reach last */
    for (size_t i = 0; i < words->n_words;) {
        size_t n = 1;
        const phrase *p = find_phrase(words, i, &n);
        if (p == NULL) {
            words->words[i].negated = reaches;
        } else if (p->kind == PHRASE_BEFORE) {
            reaches = true;
        } else if (p->kind == PHRASE_END) {
            reaches = false;
            clause = i + n;
        } else if (p->kind == PHRASE_BEHIND) {
            const size_t from = i - clause > REACH_BACK ? i - REACH_BACK : clause;
            for (size_t k = from; k < i; k++) {
                words->words[k].negated = true;
            }
        }
        i += n;
        if (words->words[i - 1].ends_clause) {
            reaches = false;
            clause = i;
        }
    }
}
