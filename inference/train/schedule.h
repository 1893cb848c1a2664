#ifndef MEDAID_INFERENCE_TRAIN_SCHEDULE_H
#define MEDAID_INFERENCE_TRAIN_SCHEDULE_H

/* The learning rate of each step. A pure function; any thread. */

#include "base/error.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum md_schedule_kind {
    MD_SCHEDULE_CONSTANT,
    MD_SCHEDULE_STEP,
    MD_SCHEDULE_COSINE,
    MD_SCHEDULE_ONE_CYCLE,
} md_schedule_kind;

typedef struct md_schedule {
    md_schedule_kind kind;
    double rate;           /* the base; of one-cycle the highest */
    uint64_t n_steps;      /* of the whole training, at least 1 */
    uint64_t warmup_steps; /* the factor rises in a line from 1/(warmup + 1) to 1; one-cycle
                              rises for this long instead (0: 0.3 of all steps) */
    uint64_t step_steps;   /* step: steps between two falls, at least 1 */
    double step_factor;    /* step: what the rate falls to each time, as a share */
    double last_factor;    /* cosine: the rate at the end, as a share of the base */
} md_schedule;

/* The rate of step 0 <= step (beyond n_steps: that of the last). With s = step, w = warmup:
 *
 *   s < w (not one-cycle)   rate (s + 1) / (w + 1), from there on by kind with t = s - w of
 *                           T = n_steps - w:
 *   constant                rate
 *   step                    rate step_factor^floor(t / step_steps)
 *   cosine                  rate (last + (1 - last) (1 + cos(pi t / T)) / 2)
 *                           (Loshchilov and Hutter 2017, SGDR, eq. 5)
 *   one-cycle               cosine from rate/25 up to rate over the first w steps, and down to
 *                           rate/25/10^4 over the rest (Smith and Topin 2018, annealed by
 *                           cosine as torch's OneCycleLR does) */
double md_schedule_rate(const md_schedule *schedule, uint64_t step) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
