#ifndef MEDAID_TESTS_SUPPORT_PHANTOM_IMAGE_H
#define MEDAID_TESTS_SUPPORT_PHANTOM_IMAGE_H

/* A drawn chest film of a child: not a simulation of X-rays, but sums of thicknesses that look
 * like one, so that every part of medaid can be tried without a patient. Everything comes from
 * the seed: the same options give the same numbers. Any thread. */

#include <stdint.h>

enum {
    PHANTOM_MIN_SIDE = 64,
    PHANTOM_MAX_SIDE = 8192
};

typedef enum phantom_opacity {
    PHANTOM_OPACITY_NONE,
    PHANTOM_OPACITY_LEFT,  /* the patient's left, on the right of the film */
    PHANTOM_OPACITY_RIGHT, /* the patient's right */
} phantom_opacity;

/* Where an opacity lies, in pixels of the film. */
typedef struct phantom_region {
    double x, y, width, height;
} phantom_region;

/* The rectangle around the part of the opacity that is at least a third as dense as its densest
 * place, of the film that phantom_draw_chest draws. Returns 0 when there is none, a size is out
 * of range or memory ran out. */
int phantom_find_opacity(uint32_t rows, uint32_t columns, uint64_t seed,
                         phantom_opacity opacity, phantom_region *ret_region);

/* Draw rows * columns numbers 0..4095, row by row, 0 = air (black) and larger = denser (white),
 * as a MONOCHROME2 film "for presentation" holds them. NULL when a side is outside
 * PHANTOM_MIN_SIDE..PHANTOM_MAX_SIDE or memory ran out. Caller frees with free. */
uint16_t *phantom_draw_chest(uint32_t rows, uint32_t columns, uint64_t seed,
                             phantom_opacity opacity);

/* The next number of a splitmix64 sequence (Steele, Lea and Flood, OOPSLA 2014). */
uint64_t phantom_random(uint64_t *state);

#endif
