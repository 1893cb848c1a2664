#ifndef MEDAID_PLUGINS_TRAIN_MARKUP_H
#define MEDAID_PLUGINS_TRAIN_MARKUP_H

/* Text that grows, for SVG and HTML, and the escaping of what comes from elsewhere. A markup
 * belongs to one thread at a time. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest page or picture written. */
#define MD_MARKUP_MAX_BYTES ((size_t)64 << 20)

typedef struct md_markup {
    char *text; /* owned; ends with a zero, NULL: empty */
    size_t n, room;
    md_status failed; /* MD_OK, or why nothing is added any more */
} md_markup;

/* Nothing is returned by these: after the last one md_markup_take tells whether all was added.
 */
void md_markup_add(md_markup *markup, const char *text) MD_NOEXCEPT;
void md_markup_format(md_markup *markup, const char *format, ...) MD_NOEXCEPT MD_PRINTF(2, 3);
/* `text` (NULL: nothing) as text of an element or value of an attribute: & < > " ' are escaped,
 * what is not UTF-8, no character of XML 1.0 or turns the direction of writing becomes '?'. */
void md_markup_escape(md_markup *markup, const char *text) MD_NOEXCEPT;
/* Hand the text over, "" when empty. MD_NOMEM, MD_LIMIT. Caller frees. */
md_status md_markup_take(md_markup *markup, char **ret_text, size_t *ret_size, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* A zeroed one is fine, twice is fine. */
void md_markup_finish(md_markup *markup) MD_NOEXCEPT;

/* Length of the sequence at `text` when it may be shown as it is, else 0: see md_markup_escape.
 */
size_t md_markup_shown(const char *text) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
