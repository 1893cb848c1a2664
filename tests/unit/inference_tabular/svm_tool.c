/* svm-tool KERNEL C GAMMA BALANCED N P < x, kinds and groups as float64: fits with a fine
 * tolerance and prints decisions and probabilities of its own rows, then the cross-validated
 * AUC; for check_svm.py. With KERNEL "search" an RBF grid is searched and its trials are
 * printed. */

#include "inference/tabular/svm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static md_status search(const md_svm_rows *rows, md_svm_options *options, md_error *err)
{
    const double cs[] = {0.1, 1.0, 10.0}, gammas[] = {0.003, 0.03, 0.3};
    md_svm_trial trials[9];
    options->kernel = MD_SVM_RBF;
    options->tolerance = 1e-3;
    MD_TRY(md_svm_search(rows, cs, 3, gammas, 3, options, trials, err));
    for (int i = 0; i < 9; i++) {
        printf("trial %.17g %.17g %.17g\n", trials[i].c, trials[i].gamma, trials[i].cross_auc);
    }
    return MD_OK;
}

static md_status run(char **argv, const md_svm_rows *rows, md_error *err)
{
    md_svm_options options = md_svm_defaults();
    options.kernel = strcmp(argv[1], "rbf") == 0 ? MD_SVM_RBF : MD_SVM_LINEAR;
    options.c = strtod(argv[2], NULL);
    options.gamma = strtod(argv[3], NULL);
    options.balanced = argv[4][0] == '1';
    options.tolerance = 1e-9;
    if (strcmp(argv[1], "search") == 0) {
        MD_TRY(search(rows, &options, err));
    }
    md_svm svm = {0};
    MD_TRY(md_svm_fit(rows, &options, &svm, err));
    for (size_t i = 0; i < rows->n_rows; i++) {
        double decision = md_svm_decide(&svm, rows->x + i * rows->n_columns);
        printf("row %.17g %.17g\n", decision, md_svm_probability(&svm, decision));
    }
    printf("auc %.17g\nchosen %.17g %.17g\n", svm.cross_auc, options.c, svm.gamma);
    md_svm_finish(&svm);
    return MD_OK;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        return 2;
    }
    size_t n = strtoul(argv[5], NULL, 10), p = strtoul(argv[6], NULL, 10);
    double *x = md_calloc(n * p, sizeof *x), *numbers = md_calloc(2 * n, sizeof *numbers);
    int8_t *kinds = md_calloc(n, sizeof *kinds);
    uint32_t *groups = md_calloc(n, sizeof *groups);
    md_error err = {0};
    md_status status = MD_NOMEM;
    if (x != NULL && numbers != NULL && kinds != NULL && groups != NULL &&
        fread(x, sizeof *x, n * p, stdin) == n * p &&
        fread(numbers, sizeof *numbers, 2 * n, stdin) == 2 * n) {
        for (size_t i = 0; i < n; i++) {
            kinds[i] = (int8_t)numbers[i];
            groups[i] = (uint32_t)numbers[n + i];
        }
        md_svm_rows rows = {x, kinds, groups, n, (unsigned)p};
        status = run(argv, &rows, &err);
    }
    if (status != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
    }
    md_free(x);
    md_free(numbers);
    md_free(kinds);
    md_free(groups);
    return status != MD_OK;
}
