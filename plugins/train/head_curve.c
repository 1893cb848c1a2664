/* How much more labelled films help. */

#include "inference/statistics/delong.h"
#include "inference/tabular/student.h"
#include "inference/train/random.h"
#include "plugins/train/chart.h"
#include "plugins/train/head_internal.h"

#include <math.h>
#include <string.h>

/* Half with the finding and half without, one film of each patient: how many there are. */
static size_t draw(const md_head_rows *rows, const uint32_t *order, unsigned n_films,
                   uint8_t *used, uint32_t *ret_chosen)
{
    const size_t wanted[2] = {n_films - n_films / 2, n_films / 2};
    size_t n = 0, n_of[2] = {0, 0};
    for (size_t i = 0; i < rows->n && n < n_films; i++) {
        const uint32_t row = order[i];
        const int8_t kind = rows->kinds[row];
        if (used[rows->patients[row]] == 0 && n_of[kind] < wanted[kind]) {
            used[rows->patients[row]] = 1;
            n_of[kind]++;
            ret_chosen[n++] = row;
        }
    }
    return n;
}

static md_status area(const md_head_rows *held, const md_svm *svm, double *ret_area,
                      md_error *err)
{
    MD_AUTO(md_freep) double *scores = md_calloc(held->n, sizeof *scores);
    md_auc auc;
    if (scores == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", held->n);
    }
    for (size_t i = 0; i < held->n; i++) {
        scores[i] = md_svm_decide(svm, held->x + i * held->n_columns);
    }
    MD_TRY(md_auc_delong(scores, held->kinds, held->patients, held->n, &auc, err));
    *ret_area = auc.there ? auc.value : (double)NAN;
    return MD_OK;
}

/* One point: the areas of all draws. */
static md_status point(const md_head_options *options, const md_head_rows *learn,
                       const md_head_rows *held, unsigned n_films, md_head_point *ret_point,
                       md_error *err)
{
    uint32_t most = 0;
    for (size_t i = 0; i < learn->n; i++) {
        most = learn->patients[i] > most ? learn->patients[i] : most;
    }
    MD_AUTO(md_freep) uint32_t *order = md_calloc(learn->n, sizeof *order);
    MD_AUTO(md_freep) uint32_t *chosen = md_calloc(learn->n, sizeof *chosen);
    MD_AUTO(md_freep) uint8_t *used = md_calloc((size_t)most + 1, sizeof *used);
    double areas[MD_HEAD_MAX_DRAWS], sum = 0.0, squares = 0.0;
    if (order == NULL || chosen == NULL || used == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu films", learn->n);
    }
    *ret_point = (md_head_point){.least = 1.0};
    for (unsigned d = 0; d < options->n_draws; d++) {
        md_random random;
        md_svm svm = {0};
        const md_random_key key = {options->seed, n_films, d};
        for (uint32_t i = 0; i < learn->n; i++) {
            order[i] = i;
        }
        md_random_init(&random, &key, 0);
        md_random_shuffle(&random, order, learn->n);
        memset(used, 0, (size_t)most + 1);
        if (draw(learn, order, n_films, used, chosen) < n_films) {
            return MD_OK; /* not so many */
        }
        MD_TRY(md_head_fit(learn, chosen, n_films, options->seed + d, &svm, NULL, err));
        md_status status = area(held, &svm, &areas[d], err);
        md_svm_finish(&svm);
        MD_TRY(status);
        sum += areas[d];
        ret_point->least = fmin(ret_point->least, areas[d]);
        ret_point->most = fmax(ret_point->most, areas[d]);
    }
    const double n = options->n_draws;
    ret_point->n_films = n_films;
    ret_point->mean = sum / n;
    for (unsigned d = 0; d < options->n_draws; d++) {
        squares += (areas[d] - ret_point->mean) * (areas[d] - ret_point->mean);
    }
    ret_point->deviation = sqrt(squares / (n - 1.0));
    const double half = md_student_quantile(0.975, n - 1.0) * ret_point->deviation / sqrt(n);
    ret_point->low = fmax(0.0, ret_point->mean - half);
    ret_point->high = fmin(1.0, ret_point->mean + half);
    return MD_OK;
}

static md_status write_chart(const md_head_options *options, const md_head_report *report,
                             md_error *err)
{
    double x[MD_HEAD_MAX_SIZES], y[3][MD_HEAD_MAX_SIZES];
    static const char *const names[] = {"mean", "95% of the mean, low", "high"};
    unsigned n = 0;
    for (unsigned i = 0; i < report->n_points; i++) {
        const md_head_point *p = &report->points[i];
        if (p->n_films > 0) {
            x[n] = p->n_films;
            y[0][n] = p->mean;
            y[1][n] = p->low;
            y[2][n++] = p->high;
        }
    }
    md_chart_line lines[3];
    for (unsigned k = 0; k < 3; k++) {
        lines[k] = (md_chart_line){names[k], x, y[k], n};
    }
    const md_chart_panel panel = {
        .title = "AUC, films held back", .lines = lines, .n_lines = 3};
    MD_AUTO(md_drawing_destroyp) md_drawing *drawing = NULL;
    MD_TRY(md_chart_curves(options->finding, "labelled films", &panel, 1, (double)NAN, NULL,
                           &drawing, err));
    return md_drawing_write(drawing, options->charts, "curve", err);
}

md_status md_head_curve(const md_head_options *options, const md_head_rows *learn,
                        const md_head_rows *held, md_head_report *report, md_error *err)
{
    bool kinds[2] = {false, false};
    for (size_t i = 0; i < held->n; i++) {
        kinds[held->kinds[i]] = true;
    }
    if (!kinds[0] || !kinds[1]) {
        return md_fail(err, MD_INVALID_ARG,
                       "%s: a curve is measured on films of the part 'validation', with and "
                       "without the finding",
                       options->data);
    }
    for (unsigned i = 0; i < options->n_sizes; i++) {
        if (options->sizes[i] < 2 * MD_HEAD_LEAST_PATIENTS) {
            return md_fail(err, MD_INVALID_ARG, "a curve of %u films, expected at least %d",
                           options->sizes[i], 2 * MD_HEAD_LEAST_PATIENTS);
        }
        MD_TRY(point(options, learn, held, options->sizes[i], &report->points[i], err));
        report->n_points = i + 1;
    }
    return options->charts != NULL ? write_chart(options, report, err) : MD_OK;
}
