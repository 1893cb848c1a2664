/* forest-tool CLASSIFY N P < x, y, groups as float32: grows a forest and prints what it says of
 * the rows of a second part of the input, float32 [M][P] until its end; for check_forest.py. */

#include "inference/tabular/forest.h"

#include <stdio.h>
#include <stdlib.h>

static md_status run(bool classify, size_t n, unsigned p, const float *x, const float *y,
                     const float *numbers, uint32_t *groups, md_error *err)
{
    md_forest_options options = md_forest_defaults(classify);
    md_forest forest = {0};
    for (size_t i = 0; i < n; i++) {
        groups[i] = (uint32_t)numbers[i];
    }
    MD_TRY(md_forest_fit(x, y, groups, n, p, NULL, &options, &forest, err));
    printf("cross %.17g %.17g\nimportance", forest.cross_error, forest.cross_auc);
    for (unsigned j = 0; j < p; j++) {
        printf(" %.17g", forest.importance[j]);
    }
    printf("\n");
    float *row = md_calloc(p, sizeof *row);
    double *parts = md_calloc(p, sizeof *parts);
    while (row != NULL && parts != NULL && fread(row, sizeof *row, p, stdin) == p) {
        double sum = forest.start;
        md_forest_contributions(&forest, row, parts);
        for (unsigned j = 0; j < p; j++) {
            sum += parts[j];
        }
        printf("row %.17g %.17g\n", md_forest_predict(&forest, row), sum);
    }
    md_free(row);
    md_free(parts);
    md_forest_finish(&forest);
    return MD_OK;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        return 2;
    }
    size_t n = strtoul(argv[2], NULL, 10), p = strtoul(argv[3], NULL, 10);
    float *x = md_calloc(n * p, sizeof *x), *y = md_calloc(n, sizeof *y);
    float *numbers = md_calloc(n, sizeof *numbers);
    uint32_t *groups = md_calloc(n, sizeof *groups);
    md_error err = {0};
    md_status status = MD_NOMEM;
    if (x != NULL && y != NULL && numbers != NULL && groups != NULL &&
        fread(x, sizeof *x, n * p, stdin) == n * p && fread(y, sizeof *y, n, stdin) == n &&
        fread(numbers, sizeof *numbers, n, stdin) == n) {
        status = run(argv[1][0] == '1', n, (unsigned)p, x, y, numbers, groups, &err);
    }
    if (status != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
    }
    md_free(x);
    md_free(y);
    md_free(numbers);
    md_free(groups);
    return status != MD_OK;
}
