#ifndef MEDAID_BASE_STEPS_H
#define MEDAID_BASE_STEPS_H

/* A short list of what was done to a piece of data, in order, for people to read: "inverted
 * MONOCHROME1", "window 2048/4096", "resized 2500x2048 to 224x224, triangle". It goes into the
 * result. Plain data, copied freely; a full list drops further steps and says so in its last
 * entry. Not thread-safe. */

#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_STEPS_MAX = 24,
    MD_STEP_BYTES = 96
};

typedef struct md_steps {
    unsigned n;
    char text[MD_STEPS_MAX][MD_STEP_BYTES];
} md_steps;

/* Append one step. Never a text that comes from a patient's data. */
void md_steps_add(md_steps *steps, const char *format, ...) MD_NOEXCEPT MD_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
