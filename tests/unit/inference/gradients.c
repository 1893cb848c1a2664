#include "gradients.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "near.h"

double gradients_largest(const float *values, size_t n)
{
    double most = 0.0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)values[i]));
    }
    return most;
}

double gradients_nearest(const gradients_of *of, float *at, double gradient)
{
    static const float steps[GRADIENTS_MAX_STEPS] = {0x1p-6F, 0x1p-8F, 0x1p-10F, 0x1p-12F};
    const float before = *at;
    double nearest = (double)INFINITY;
    assert_in_range(of->n_steps, 1, GRADIENTS_MAX_STEPS);
    for (unsigned i = 0; i < of->n_steps; i++) {
        *at = before + steps[i];
        const float above = *at;
        const double plus = of->value(of->trainer, of->context);
        *at = before - steps[i];
        const double width = (double)above - (double)*at;
        const double found = (plus - of->value(of->trainer, of->context)) / width;
        nearest = fabs(found - gradient) < fabs(nearest - gradient) ? found : nearest;
        if (fabs(nearest - gradient) <= 1e-3 * fabs(gradient)) {
            break;
        }
    }
    *at = before;
    return nearest;
}

static double check_one(const gradients_of *of, const md_parameter *p)
{
    double worst = 0.0;
    (void)of->value(of->trainer, of->context);
    float *gradient = malloc(p->n * sizeof *gradient);
    assert_non_null(gradient);
    memcpy(gradient, p->gradient, p->n * sizeof *gradient);
    const double most = gradients_largest(gradient, p->n);
    for (size_t j = 0; j < p->n; j += 1 + p->n / of->n_probes) {
        const double found = gradients_nearest(of, &p->value[j], (double)gradient[j]);
        const double off = fabs(found - (double)gradient[j]);
        worst = fmax(worst, off / fmax(most, 1e-2));
        if (!(off <= 2e-3 * most + 2e-5)) {
            fail_msg("%s, %s[%zu]: %g, differences say %g (largest %g)", of->title, p->name, j,
                     (double)gradient[j], found, most);
        }
    }
    free(gradient);
    return worst;
}

double gradients_check(const gradients_of *of)
{
    double worst = 0.0;
    for (unsigned i = 0; i < md_trainer_n_parameters(of->trainer); i++) {
        const md_parameter *p = md_trainer_parameter(of->trainer, i);
        if (p->gradient != NULL) {
            worst = fmax(worst, check_one(of, p));
        }
    }
    return worst;
}

void gradients_compare(md_trainer *a, md_trainer *b)
{
    assert_int_equal(md_trainer_n_parameters(a), md_trainer_n_parameters(b));
    for (unsigned j = 0; j < md_trainer_n_parameters(a); j++) {
        const md_parameter *p = md_trainer_parameter(a, j), *q = md_trainer_parameter(b, j);
        const float *x = p->gradient == NULL ? p->value : p->gradient;
        const float *y = q->gradient == NULL ? q->value : q->gradient;
        const double tolerance = 1e-4 * gradients_largest(x, p->n) + 1e-6;
        for (size_t k = 0; k < p->n; k++) {
            assert_near(y[k], x[k], tolerance);
        }
    }
}
