#ifndef MEDAID_DICOM_DATASET_TEXT_STEP_H
#define MEDAID_DICOM_DATASET_TEXT_STEP_H

/* Steps over a text that is not decoded yet, for those that look for a delimiter in it: in some
 * character sets a byte that looks like one is the second half of a character. */

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the bytes mean for splitting. */
typedef enum md_text_scheme {
    MD_TEXT_SINGLE,  /* every byte is a character, or UTF-8, or high bytes in pairs */
    MD_TEXT_GBK,     /* a lead byte 81..FE takes the next byte with it */
    MD_TEXT_ISO_2022 /* escape sequences may switch to two-byte sets in the low half */
} md_text_scheme;

/* Bytes of the character or the escape sequence with which the n >= 1 bytes begin, 1 .. 4; more
 * than n where it is cut short. 1: a byte that stands for itself. *is_double: whether the set
 * in G0 has two bytes a character; false at the beginning and behind a delimiter (PS3.5
 * 6.1.2.5.3). */
size_t md_text_step(md_text_scheme scheme, const char *bytes, size_t n, bool *is_double)
#ifdef __cplusplus
    noexcept
#endif
    ;

#ifdef __cplusplus
}
#endif
#endif
