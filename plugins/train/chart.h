#ifndef MEDAID_PLUGINS_TRAIN_CHART_H
#define MEDAID_PLUGINS_TRAIN_CHART_H

/* The charts of a run and of an evaluation, as drawings (drawing.h). Each function is pure; any
 * thread. Texts are for people and come from the caller (class names, measures); they are
 * escaped where the drawing is written. Values that are not finite are gaps, never points.
 * Errors: MD_NOMEM, MD_LIMIT (too many lines, classes or rows), MD_INVALID_ARG. The caller
 * destroys the drawing. */

#include "plugins/train/drawing.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_CHART_MAX_LINES = 6,
    MD_CHART_MAX_PANELS = 6,
    MD_CHART_MAX_CLASSES = 32,
    MD_CHART_MAX_ROWS = 200
};

typedef struct md_chart_line {
    const char *name;
    const double *x, *y; /* borrowed; NaN in y: a gap */
    size_t n;
} md_chart_line;

/* One frame with its own y axis. */
typedef struct md_chart_panel {
    const char *title; /* "Loss" */
    const md_chart_line *lines;
    unsigned n_lines;
    bool from_zero; /* the axis begins at 0 */
} md_chart_panel;

/* Panels one below the other over one x axis: the course of a training. `mark_x` (NaN: none) is
 * a vertical line with `mark_name`: the best epoch. Lines without a point are named all the
 * same. */
md_status md_chart_curves(const char *title, const char *x_name, const md_chart_panel *panels,
                          unsigned n_panels, double mark_x, const char *mark_name,
                          md_drawing **ret_drawing, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Rows: the truth; columns: what the model said. counts[truth * n + said]. The shade is the
 * share of the row; each cell has the count and that share. */
md_status md_chart_confusion(const char *title, const char *const *classes, unsigned n_classes,
                             const uint64_t *counts, md_drawing **ret_drawing, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* A curve inside the unit square, with the working point that is in use (NaN: none). */
typedef struct md_chart_unit_curve {
    const char *name; /* "pneumonia, AUC 0.995 (0.992 to 0.998)" */
    const double *x, *y;
    size_t n;
    double point_x, point_y;
} md_chart_unit_curve;

/* Sensitivity over 1 - specificity. */
md_status md_chart_roc(const char *title, const md_chart_unit_curve *curves, unsigned n_curves,
                       md_drawing **ret_drawing, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Precision over recall. `prevalence`: what a blind guess would reach, a reference line for a
 * single curve (NaN: none). */
md_status md_chart_precision_recall(const char *title, const md_chart_unit_curve *curves,
                                    unsigned n_curves, double prevalence,
                                    md_drawing **ret_drawing, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* A bin of the reliability table: mean score, observed share with its interval. */
typedef struct md_chart_bin {
    double low, high; /* of the scores */
    size_t n;         /* 0: nothing is drawn */
    double mean_score, share, share_low, share_high;
} md_chart_bin;
/* Observed share over predicted, and below it how many studies each bin has. */
md_status md_chart_reliability(const char *title, const md_chart_bin *bins, unsigned n_bins,
                               md_drawing **ret_drawing, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Scores of those without and with the finding, as two histograms over 0..1 in `n_bins` bins;
 * `threshold` NaN: no line. */
md_status md_chart_histogram(const char *title, const char *const names[2],
                             const uint64_t *const counts[2], unsigned n_bins, double threshold,
                             md_drawing **ret_drawing, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Points of two values each. */
typedef struct md_chart_points {
    const char *title, *description, *x_name, *y_name;
    const double *x, *y; /* borrowed */
    size_t n;
    bool diagonal, zero; /* reference lines: x = y, y = 0 */
} md_chart_points;
/* Of more than some thousand points every k-th is drawn. */
md_status md_chart_scatter(const md_chart_points *points, md_drawing **ret_drawing,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* One value with its interval. */
typedef struct md_chart_interval {
    const char *name;
    double value;     /* NaN: none, the note says why */
    double low, high; /* NaN: no interval */
    const char *note; /* at the right, NULL: the numbers */
    bool heading;     /* begins a group: the name alone */
} md_chart_interval;
/* Rows of values over an axis from `low` to `high`: measures, or one measure by subgroup.
 * `reference` NaN: no line. */
md_status md_chart_intervals(const char *title, const md_chart_interval *rows, unsigned n_rows,
                             double low, double high, double reference,
                             md_drawing **ret_drawing, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
