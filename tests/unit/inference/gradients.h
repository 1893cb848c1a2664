#ifndef MEDAID_TESTS_GRADIENTS_H
#define MEDAID_TESTS_GRADIENTS_H

/* Gradients against central differences, and those of two back ends against each other.
 * Failures are cmocka's. */

#include "inference/train/trainer.h"

enum {
    GRADIENTS_MAX_STEPS = 4
};

/* A number whose derivatives are looked at: the loss of a step, which also fills the
 * parameters' gradients, or another one. */
typedef struct gradients_of {
    md_trainer *trainer;
    double (*value)(md_trainer *trainer, void *context);
    void *context;
    unsigned n_steps;  /* sizes of difference, from large to small, up to GRADIENTS_MAX_STEPS */
    unsigned n_probes; /* numbers of each parameter that are looked at, or a few more */
    const char *title; /* for messages */
} gradients_of;

double gradients_largest(const float *values, size_t n);

/* The difference quotient that is nearest to `gradient` of n_steps sizes: the large one for its
 * rounding, the small ones for curves and kinks. `at` is as before afterwards. */
double gradients_nearest(const gradients_of *of, float *at, double gradient);

/* All parameters that have a gradient. The largest difference, as a share of the largest
 * gradient of its parameter. */
double gradients_check(const gradients_of *of);

/* The gradients (of what has none the values) of two trainers of one network, after equal
 * steps: 1e-4 of the largest is 20 times what is seen. */
void gradients_compare(md_trainer *a, md_trainer *b);

#endif
