#include "base/steps.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void md_steps_add(md_steps *steps, const char *format, ...)
{
    if (steps == NULL) {
        return;
    }
    if (steps->n == MD_STEPS_MAX) {
        snprintf(steps->text[MD_STEPS_MAX - 1], MD_STEP_BYTES, "(further steps left out)");
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(steps->text[steps->n++], MD_STEP_BYTES, format, args);
    va_end(args);
}
