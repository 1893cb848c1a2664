#include "inference/tabular/svm.h"

#include "inference/statistics/ranking.h"
#include "inference/statistics/reliability.h"
#include "inference/tabular/folds.h"

#include <dlfcn.h>
#include <libsvm/svm.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct {
    struct svm_model *(*train)(const struct svm_problem *, const struct svm_parameter *);
    void (*destroy)(struct svm_model **);
    void (*set_print)(void (*)(const char *));
    bool loaded;
} libsvm;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void print_nothing(const char *text)
{
    (void)text;
}

/* Loaded when the first model is fitted: a serving process never pays for it. */
static void load(void)
{
    void *library = dlopen("libsvm.so.3", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return;
    }
    /* ISO C has no conversion from void * to a function; POSIX promises that this works. */
    *(void **)&libsvm.train = dlsym(library, "svm_train");
    *(void **)&libsvm.destroy = dlsym(library, "svm_free_and_destroy_model");
    *(void **)&libsvm.set_print = dlsym(library, "svm_set_print_string_function");
    libsvm.loaded = libsvm.train != NULL && libsvm.destroy != NULL && libsvm.set_print != NULL;
    if (libsvm.loaded) {
        libsvm.set_print(print_nothing);
    }
}

md_svm_options md_svm_defaults(void)
{
    return (md_svm_options){.kernel = MD_SVM_LINEAR,
                            .c = 1.0,
                            .balanced = true,
                            .tolerance = 1e-3,
                            .n_folds = 5,
                            .seed = 1};
}

/* Scaled rows, as libsvm wants them. */
typedef struct work {
    const md_svm_rows *rows;
    double *means, *scales;
    unsigned n_varying;
    struct svm_node *nodes;   /* [n_rows][n_columns + 1] */
    struct svm_node **starts; /* [n_rows], of a subset */
    double *targets;          /* [n_rows], of a subset */
    uint8_t *folds;           /* [n_rows] */
    double *decisions;        /* [n_rows], each by a model that had not seen the row */
    double *scaled;           /* [n_columns] */
} work;

static void release(work *w)
{
    md_free(w->means);
    md_free(w->scales);
    md_free(w->nodes);
    md_free(w->starts);
    md_free(w->targets);
    md_free(w->folds);
    md_free(w->decisions);
    md_free(w->scaled);
}

static md_status check_options(const md_svm_options *o, md_error *err)
{
    if (!(o->c > 0.0 && o->c < 1e12) || !(o->gamma >= 0.0 && o->gamma < 1e12) ||
        !(o->tolerance > 0.0 && o->tolerance < 1.0)) {
        return md_fail(err, MD_INVALID_ARG, "c %g, gamma %g or tolerance %g out of range", o->c,
                       o->gamma, o->tolerance);
    }
    return MD_OK;
}

static md_status check_rows(const md_svm_rows *rows, md_error *err)
{
    if (rows->n_rows == 0 || rows->n_rows > MD_SVM_MAX_ROWS || rows->n_columns == 0 ||
        rows->n_columns > MD_SVM_MAX_COLUMNS) {
        return md_fail(err, MD_LIMIT, "%zu rows of %u columns: not 1..%d of 1..%d",
                       rows->n_rows, rows->n_columns, MD_SVM_MAX_ROWS, MD_SVM_MAX_COLUMNS);
    }
    for (size_t i = 0; i < rows->n_rows; i++) {
        if (rows->kinds[i] != 0 && rows->kinds[i] != 1) {
            return md_fail(err, MD_INVALID_ARG, "kind %d of row %zu is neither 0 nor 1",
                           rows->kinds[i], i);
        }
        for (unsigned j = 0; j < rows->n_columns; j++) {
            if (!isfinite(rows->x[i * rows->n_columns + j])) {
                return md_fail(err, MD_INVALID_ARG, "column %u of row %zu is not a number", j,
                               i);
            }
        }
    }
    return MD_OK;
}

static md_status allocate(work *w, md_error *err)
{
    size_t n = w->rows->n_rows, p = w->rows->n_columns, n_nodes = 0, bytes = 0;
    if (!md_mul(n, p + 1, &n_nodes) || !md_mul(n_nodes, sizeof *w->nodes, &bytes)) {
        return md_fail(err, MD_LIMIT, "%zu rows of %zu columns are too many", n, p);
    }
    w->means = md_calloc(p, sizeof *w->means);
    w->scales = md_calloc(p, sizeof *w->scales);
    w->nodes = md_malloc(bytes);
    w->starts = md_calloc(n, sizeof *w->starts);
    w->targets = md_calloc(n, sizeof *w->targets);
    w->folds = md_calloc(n, sizeof *w->folds);
    w->decisions = md_calloc(n, sizeof *w->decisions);
    w->scaled = md_calloc(p, sizeof *w->scaled);
    if (w->means == NULL || w->scales == NULL || w->nodes == NULL || w->starts == NULL ||
        w->targets == NULL || w->folds == NULL || w->decisions == NULL || w->scaled == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu rows of %zu columns", n, p);
    }
    return MD_OK;
}

/* Deviations divide by n. What is left of a constant column after rounding counts as constant.
 */
static void scale_columns(work *w)
{
    const md_svm_rows *rows = w->rows;
    for (unsigned j = 0; j < rows->n_columns; j++) {
        double mean = 0.0, squares = 0.0, largest = 0.0;
        for (size_t i = 0; i < rows->n_rows; i++) {
            mean += rows->x[i * rows->n_columns + j] / (double)rows->n_rows;
        }
        for (size_t i = 0; i < rows->n_rows; i++) {
            double v = rows->x[i * rows->n_columns + j];
            squares += (v - mean) * (v - mean);
            largest = fmax(largest, fabs(v));
        }
        double deviation = sqrt(squares / (double)rows->n_rows);
        bool varies = deviation > 1e-13 * largest;
        w->means[j] = mean;
        w->scales[j] = varies ? 1.0 / deviation : 0.0;
        w->n_varying += varies;
    }
    for (size_t i = 0; i < rows->n_rows; i++) {
        struct svm_node *row = w->nodes + i * (rows->n_columns + 1);
        for (unsigned j = 0; j < rows->n_columns; j++) {
            row[j].index = (int)j + 1;
            row[j].value = (rows->x[i * rows->n_columns + j] - w->means[j]) * w->scales[j];
        }
        row[rows->n_columns].index = -1;
    }
}

/* x is [n_columns], as the caller has it or already scaled. */
static double decide(const md_svm *svm, const double *x, bool is_scaled)
{
    double sum = -svm->rho;
    for (unsigned i = 0; i < svm->n_vectors; i++) {
        const double *vector = svm->vectors + (size_t)i * svm->n_columns;
        double inner = 0.0;
        for (unsigned j = 0; j < svm->n_columns; j++) {
            double z = is_scaled ? x[j] : (x[j] - svm->means[j]) * svm->scales[j];
            double d = vector[j] - z;
            inner += svm->kernel == MD_SVM_RBF ? d * d : vector[j] * z;
        }
        sum += svm->weights[i] * (svm->kernel == MD_SVM_RBF ? exp(-svm->gamma * inner) : inner);
    }
    return sum;
}

/* Take over what libsvm found: its vectors, or for a linear one their weighted sum. libsvm
 * calls the kind of its first row positive. */
static md_status take(const struct svm_model *model, unsigned n_columns, md_svm *svm,
                      md_error *err)
{
    double sign = model->label[0] == 1 ? 1.0 : -1.0;
    bool linear = svm->kernel == MD_SVM_LINEAR;
    svm->n_vectors = linear ? 1 : (unsigned)model->l;
    svm->vectors = md_calloc((size_t)svm->n_vectors * n_columns, sizeof *svm->vectors);
    svm->weights = md_calloc(svm->n_vectors, sizeof *svm->weights);
    if (svm->vectors == NULL || svm->weights == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u support vectors", svm->n_vectors);
    }
    svm->rho = sign * model->rho[0];
    for (int i = 0; i < model->l; i++) {
        double weight = sign * model->sv_coef[0][i];
        double *vector = svm->vectors + (linear ? 0 : (size_t)i * n_columns);
        for (unsigned j = 0; j < n_columns; j++) {
            vector[j] += (linear ? weight : 1.0) * model->SV[i][j].value;
        }
        svm->weights[linear ? 0 : i] = linear ? 1.0 : weight;
    }
    return MD_OK;
}

/* Fit on the rows outside `fold` (or on all: fold n_folds). The model's means and scales stay
 * the work's. */
static md_status fit_without(work *w, const md_svm_options *options, unsigned fold, md_svm *svm,
                             md_error *err)
{
    const md_svm_rows *rows = w->rows;
    size_t n = 0, n_of_kind[2] = {0};
    for (size_t i = 0; i < rows->n_rows; i++) {
        if (w->folds[i] != fold) {
            w->starts[n] = w->nodes + i * (rows->n_columns + 1);
            w->targets[n++] = rows->kinds[i];
            n_of_kind[rows->kinds[i]]++;
        }
    }
    if (n_of_kind[0] == 0 || n_of_kind[1] == 0) {
        return md_fail(err, MD_INVALID_ARG, "without fold %u one kind has no row left", fold);
    }
    svm->kernel = options->kernel;
    svm->n_columns = rows->n_columns;
    svm->gamma =
        options->gamma > 0.0 ? options->gamma : 1.0 / (w->n_varying > 0 ? w->n_varying : 1.0);
    int labels[2] = {0, 1};
    double weights[2];
    for (int k = 0; k < 2; k++) {
        weights[k] = options->balanced ? (double)n / (2.0 * (double)n_of_kind[k]) : 1.0;
    }
    struct svm_problem problem = {(int)n, w->targets, w->starts};
    struct svm_parameter parameter = {
        .svm_type = C_SVC,
        .kernel_type = options->kernel == MD_SVM_RBF ? RBF : LINEAR,
        .gamma = svm->gamma,
        .cache_size = 100.0,
        .eps = options->tolerance,
        .C = options->c,
        .nr_weight = 2,
        .weight_label = labels,
        .weight = weights,
        .shrinking = 1,
    };
    struct svm_model *model = libsvm.train(&problem, &parameter);
    if (model == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to fit a support vector machine");
    }
    md_status status = take(model, rows->n_columns, svm, err);
    libsvm.destroy(&model);
    return status;
}

/* Fill decisions, and give their AUC. */
static md_status cross_validate(work *w, const md_svm_options *options, double *ret_auc,
                                md_error *err)
{
    const md_svm_rows *rows = w->rows;
    for (unsigned fold = 0; fold < options->n_folds; fold++) {
        md_svm svm = {0};
        md_status status = fit_without(w, options, fold, &svm, err);
        for (size_t i = 0; status == MD_OK && i < rows->n_rows; i++) {
            if (w->folds[i] == fold) {
                const struct svm_node *row = w->nodes + i * (rows->n_columns + 1);
                for (unsigned j = 0; j < rows->n_columns; j++) {
                    w->scaled[j] = row[j].value;
                }
                w->decisions[i] = decide(&svm, w->scaled, true);
            }
        }
        md_svm_finish(&svm);
        MD_TRY(status);
    }
    md_ranking ranking = {0};
    MD_TRY(md_ranking_init(w->decisions, rows->kinds, rows->n_rows, &ranking, err));
    *ret_auc = md_ranking_auc(&ranking, NULL);
    md_ranking_finish(&ranking);
    return MD_OK;
}

/* Columns are scaled over all rows, also for the folds: their kinds are not looked at. */
static md_status prepare(work *w, const md_svm_options *options, md_error *err)
{
    MD_TRY(check_options(options, err));
    MD_TRY(check_rows(w->rows, err));
    (void)pthread_once(&once, load);
    if (!libsvm.loaded) {
        return md_fail(err, MD_UNSUPPORTED,
                       "fitting needs libsvm: install Debian's package libsvm3");
    }
    MD_TRY(allocate(w, err));
    scale_columns(w);
    return md_folds_deal(w->rows->kinds, w->rows->groups, w->rows->n_rows, options->n_folds,
                         options->seed, w->folds, err);
}

static md_status fit(work *w, const md_svm_options *options, md_svm *svm, md_error *err)
{
    MD_TRY(prepare(w, options, err));
    MD_TRY(cross_validate(w, options, &svm->cross_auc, err));
    md_platt_fit platt = {0};
    MD_TRY(md_fit_platt(w->decisions, w->rows->kinds, w->rows->n_rows, &platt, err));
    svm->a = platt.a;
    svm->b = platt.b;
    MD_TRY(fit_without(w, options, options->n_folds, svm, err));
    svm->means = MD_STEAL(w->means);
    svm->scales = MD_STEAL(w->scales);
    return MD_OK;
}

md_status md_svm_fit(const md_svm_rows *rows, const md_svm_options *options, md_svm *ret_svm,
                     md_error *err)
{
    work w = {.rows = rows};
    md_svm svm = {0};
    md_status status = fit(&w, options, &svm, err);
    release(&w);
    if (status != MD_OK) {
        md_svm_finish(&svm);
        return status;
    }
    *ret_svm = svm;
    return MD_OK;
}

void md_svm_finish(md_svm *svm)
{
    md_free(svm->means);
    md_free(svm->scales);
    md_free(svm->vectors);
    md_free(svm->weights);
    *svm = (md_svm){0};
}

static md_status search(work *w, const double *cs, unsigned n_c, const double *gammas,
                        unsigned n_gamma, md_svm_options *options, md_svm_trial *ret_trials,
                        md_error *err)
{
    if (n_c == 0 || n_gamma == 0) {
        return md_fail(err, MD_INVALID_ARG, "a search over nothing");
    }
    MD_TRY(prepare(w, options, err));
    md_svm_options best = *options;
    double best_auc = -1.0;
    for (unsigned k = 0; k < n_c * n_gamma; k++) {
        md_svm_options tried = *options;
        tried.c = cs[k / n_gamma];
        tried.gamma = gammas != NULL ? gammas[k % n_gamma] : 0.0;
        double auc = 0.0;
        MD_TRY(check_options(&tried, err));
        MD_TRY(cross_validate(w, &tried, &auc, err));
        if (ret_trials != NULL) {
            ret_trials[k] = (md_svm_trial){tried.c, tried.gamma, auc};
        }
        if (auc > best_auc) {
            best_auc = auc;
            best = tried;
        }
    }
    *options = best;
    return MD_OK;
}

md_status md_svm_search(const md_svm_rows *rows, const double *cs, unsigned n_c,
                        const double *gammas, unsigned n_gamma, md_svm_options *options,
                        md_svm_trial *ret_trials, md_error *err)
{
    work w = {.rows = rows};
    bool linear = options->kernel == MD_SVM_LINEAR;
    md_status status = search(&w, cs, n_c, linear ? NULL : gammas, linear ? 1 : n_gamma,
                              options, ret_trials, err);
    release(&w);
    return status;
}

double md_svm_decide(const md_svm *svm, const double *x)
{
    return decide(svm, x, false);
}

double md_svm_probability(const md_svm *svm, double decision)
{
    return 1.0 / (1.0 + exp(-(svm->a * decision + svm->b)));
}

void md_svm_contributions(const md_svm *svm, const double *x, double *ret_parts)
{
    for (unsigned j = 0; j < svm->n_columns; j++) {
        ret_parts[j] = svm->kernel == MD_SVM_LINEAR
                           ? svm->vectors[j] * (x[j] - svm->means[j]) * svm->scales[j]
                           : (double)NAN;
    }
}
