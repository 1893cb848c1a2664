#ifndef MEDAID_DICOM_REPORT_TEXT_H
#define MEDAID_DICOM_REPORT_TEXT_H

/* Text that goes into DICOM attributes and onto the picture: made legal, never trusted. Any
 * thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum md_text_kind {
    MD_TEXT_LINE = 0,  /* LO, SH, ...: no control characters, '\' becomes '/' (PS3.5 6.2) */
    MD_TEXT_FREE = 1,  /* UT, ST: '\' is allowed, line ends stay as CR LF */
    MD_TEXT_ASCII = 2, /* or'ed to it: everything that is not ASCII becomes '?' */
} md_text_kind;

/* Copy UTF-8 as at most max_characters characters that fit size_bytes with the final zero:
 * control characters become blanks, runs of blanks in a line one blank, blanks at both ends are
 * dropped, bytes that are not UTF-8 become '?'. Returns the length in bytes. `source` may be
 * NULL: "". */
size_t md_text_copy(char *target, size_t size_bytes, size_t max_characters, unsigned kind,
                    const char *source) MD_NOEXCEPT;

/* The next character of UTF-8 text, 0 at its end and '?' for a byte that is not UTF-8;
 * *text moves behind it. */
uint32_t md_text_next(const char **text) MD_NOEXCEPT;

/* A number as a Decimal String with at most `decimals` (0..9) places, rounded, without
 * superfluous zeros and whatever the locale: 97.31. value must be finite and below 1e9. */
void md_text_decimal(double value, unsigned decimals, char ret_text[17]) MD_NOEXCEPT;

enum {
    MD_SCORE_BYTES = 24
};

/* A score and its threshold for people: "97.3 %" and "50 %" for probabilities, "0.973" and
 * "0.5" for other scores. As few decimals as keep apart what differs: two different numbers are
 * never shown as one, nor a score that is neither 0 nor 1 as 0 or as certainty. Both in 0..1.
 */
void md_text_score(double score, double threshold, bool is_probability,
                   char ret_score[MD_SCORE_BYTES], char ret_threshold[MD_SCORE_BYTES])
    MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
