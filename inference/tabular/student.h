#ifndef MEDAID_INFERENCE_TABULAR_STUDENT_H
#define MEDAID_INFERENCE_TABULAR_STUDENT_H

/* Student's t distribution. Pure; any thread. */

#include "base/error.h"

/* P(T <= t) with df > 0 degrees of freedom: by the regularised incomplete beta function, whose
 * continued fraction is DLMF 8.17.22. Relative error below 1e-12
 * for df up to 1,000, 1e-9 for 1e7. */
double md_student_below(double t, double df);
/* The t with P(T <= t) = p, 0 < p < 1 (beyond: minus and plus infinity). */
double md_student_quantile(double p, double df);

#endif
