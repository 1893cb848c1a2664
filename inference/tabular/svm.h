#ifndef MEDAID_INFERENCE_TABULAR_SVM_H
#define MEDAID_INFERENCE_TABULAR_SVM_H

/* A support vector machine that tells two kinds of rows apart (C. Cortes, V. Vapnik, Machine
 * Learning 20 (1995) 273), fitted by libsvm (C.-C. Chang, C.-J. Lin, ACM TIST 2 (2011) 27).
 *
 *   decision(x) = sum_i a_i K(s_i, z) - rho,   z = (x - mean) / deviation, column by column
 *   K linear: s z,   K RBF: exp(-gamma |s - z|^2)
 *   probability(x) = sigmoid(a decision + b), Platt's, fitted on decisions of models that had
 * not seen the row (or any other row of its group) in training
 *
 * For few labelled rows: a linear one on a network's embedding, an RBF one on a table of some
 * columns. Not for more than about ten thousand rows: fitting grows with their square. A column
 * that never varies counts for nothing. What a fit gives depends on its arguments alone.
 *
 * A fitted model is immutable: any thread may ask it. */

#include "base/memory.h"

enum {
    MD_SVM_MAX_ROWS = 100000,
    MD_SVM_MAX_COLUMNS = 65536
};

typedef enum md_svm_kernel {
    MD_SVM_LINEAR,
    MD_SVM_RBF
} md_svm_kernel;

typedef struct md_svm_options {
    md_svm_kernel kernel;
    double c;      /* what an error costs, > 0 */
    double gamma;  /* of RBF, > 0; 0: 1 / number of columns that vary */
    bool balanced; /* an error costs n / (2 n_kind) times c, so that both kinds weigh alike */
    double tolerance; /* of the optimum, > 0; libsvm's own default is 1e-3 */
    unsigned n_folds; /* for probabilities and for the search, 2..MD_FOLDS_MAX */
    uint64_t seed;    /* who is in which fold */
} md_svm_options;

/* Linear, c 1, balanced, tolerance 1e-3, 5 folds. */
md_svm_options md_svm_defaults(void);

/* Rows to learn from: x [n_rows][n_columns] row-major; kinds 0 or 1; groups: equal numbers
 * belong together (films of one patient) and stay in one fold, NULL: each row alone. Borrowed.
 */
typedef struct md_svm_rows {
    const double *x;
    const int8_t *kinds;
    const uint32_t *groups;
    size_t n_rows;
    unsigned n_columns;
} md_svm_rows;

typedef struct md_svm {
    md_svm_kernel kernel;
    unsigned n_columns, n_vectors; /* a linear one has 1: its normal, with weight 1 */
    double gamma, rho;
    double *means, *scales; /* [n_columns]; scale 1 / deviation, 0 for a column without any */
    double *vectors, *weights; /* [n_vectors][n_columns], [n_vectors] */
    double a, b;               /* Platt */
    double cross_auc;          /* of the decisions that Platt was fitted on */
} md_svm;

/* MD_INVALID_ARG: a value that is not finite (row and column are named), a kind that is neither
 * 0 nor 1, fewer rows or groups of a kind than folds, options out of range. MD_LIMIT, MD_NOMEM,
 * MD_UNSUPPORTED (libsvm is not installed). The caller finishes. */
md_status md_svm_fit(const md_svm_rows *rows, const md_svm_options *options, md_svm *ret_svm,
                     md_error *err) MD_NODISCARD;
void md_svm_finish(md_svm *svm);

/* One point of a search. */
typedef struct md_svm_trial {
    double c, gamma;
    double cross_auc; /* of decisions by models that had not seen the row */
} md_svm_trial;

/* Try every c with every gamma (linear: with none) and leave the best in *options; of equal
 * ones the first. ret_trials has room for n_c * n_gamma (linear: n_c), or is NULL. Errors as
 * md_svm_fit. The AUC of the best is flattering by its choice: judge the fitted model on other
 * rows. */
md_status md_svm_search(const md_svm_rows *rows, const double *cs, unsigned n_c,
                        const double *gammas, unsigned n_gamma, md_svm_options *options,
                        md_svm_trial *ret_trials, md_error *err) MD_NODISCARD;

/* x [n_columns], finite (what is not gives NaN). */
double md_svm_decide(const md_svm *svm, const double *x);
double md_svm_probability(const md_svm *svm, double decision);
/* What each column adds to a linear decision relative to a row of means; NaN for an RBF one. */
void md_svm_contributions(const md_svm *svm, const double *x, double *ret_parts);

#endif
