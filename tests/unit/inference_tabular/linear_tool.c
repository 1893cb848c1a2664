/* linear-tool RIDGE CONFIDENCE N P < x and y as float64: fits, and prints what the model says
 * of its own rows, a line for each thing. For check_linear.py. */

#include "inference/tabular/linear.h"

#include <stdio.h>
#include <stdlib.h>

static void print(const char *name, const double *values, size_t n)
{
    printf("%s", name);
    for (size_t i = 0; i < n; i++) {
        printf(" %.17g", values[i]);
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        return 2;
    }
    double ridge = strtod(argv[1], NULL), confidence = strtod(argv[2], NULL);
    size_t n = strtoul(argv[3], NULL, 10), p = strtoul(argv[4], NULL, 10);
    double *x = md_calloc(n * p, sizeof *x), *y = md_calloc(n, sizeof *y);
    double *residuals = md_calloc(n, sizeof *x), *leverages = md_calloc(n, sizeof *x);
    md_linear linear = {0};
    md_error err = {0};
    int code = 1;
    if (x != NULL && y != NULL && residuals != NULL && leverages != NULL &&
        fread(x, sizeof *x, n * p, stdin) == n * p && fread(y, sizeof *y, n, stdin) == n) {
        md_status status = md_linear_fit(x, y, n, (unsigned)p, ridge, NULL, &linear, residuals,
                                         leverages, &err);
        for (size_t i = 0; status == MD_OK && i < n; i++) {
            md_linear_prediction q;
            status = md_linear_predict(&linear, x + i * p, confidence, &q, &err);
            print("prediction", &q.value, 5);
        }
        if (status == MD_OK) {
            print("coefficients", linear.coefficients, p);
            print("errors", linear.errors, p);
            const double others[] = {linear.intercept, linear.intercept_error, linear.degrees,
                                     linear.variance, linear.r_squared};
            print("others", others, 5);
            print("residuals", residuals, n);
            print("leverages", leverages, n);
            code = 0;
        } else {
            fprintf(stderr, "%s\n", err.msg);
        }
    }
    md_linear_finish(&linear);
    md_free(x);
    md_free(y);
    md_free(residuals);
    md_free(leverages);
    return code;
}
