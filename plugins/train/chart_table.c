/* Charts of counts and of intervals. */

#include "plugins/train/chart.h"

#include "plugins/train/frame.h"

#include <math.h>
#include <stdio.h>

/* The widest of the names, within least..most pixels. */
static double name_width(const char *const *names, unsigned n, double least, double most)
{
    double width = least;
    for (unsigned i = 0; i < n; i++) {
        width = fmax(width, md_drawing_text_width(names[i], MD_FRAME_LETTER, false));
    }
    return fmin(width, most);
}

static void draw_cell(md_drawing *d, double x, double y, double side, uint64_t count,
                      uint64_t row_sum, bool right)
{
    const double share = row_sum > 0 ? (double)count / (double)row_sum : 0;
    char number[32], percent[32];
    /* light enough for the number on it, on white and on black */
    md_draw_box(d, x + 1, y + 1, side - 2, side - 2, MD_INK_GRID, 0.35);
    md_draw_box(d, x + 1, y + 1, side - 2, side - 2, right ? MD_INK_SERIES : MD_INK_SERIES + 1,
                0.5 * share);
    (void)snprintf(number, sizeof number, "%llu", (unsigned long long)count);
    (void)snprintf(percent, sizeof percent, "%.1f%%", 100 * share);
    const bool small = side < 60;
    md_draw_text(d, x + side / 2, y + side / 2 + (small ? 4 : 0),
                 (md_lettering){MD_INK_TEXT, small ? 11 : 15, right, MD_ANCHOR_MIDDLE, false},
                 number);
    if (!small && row_sum > 0) {
        md_draw_text(d, x + side / 2, y + side / 2 + 18,
                     md_letters(MD_INK_TEXT, 11, MD_ANCHOR_MIDDLE), percent);
    }
}

md_status md_chart_confusion(const char *title, const char *const *classes, unsigned n_classes,
                             const uint64_t *counts, md_drawing **ret_drawing, md_error *err)
{
    if (n_classes < 1 || n_classes > MD_CHART_MAX_CLASSES) {
        return md_fail(err, MD_LIMIT, "%u classes in a table, 1 to %d are drawn", n_classes,
                       MD_CHART_MAX_CLASSES);
    }
    const double side = fmin(fmax(480.0 / n_classes, 42), 110);
    const double names = name_width(classes, n_classes, 40, 220);
    const bool upright = names > side - 6; /* the words over the columns stand up */
    const double left = 52 + names, top = MD_FRAME_TITLE_HEIGHT + 44 + (upright ? names : 14);
    const double width =
        fmax(left + n_classes * side + 24, md_drawing_text_width(title, 15, true) + 32);
    MD_AUTO(md_drawing_destroyp) md_drawing *d = NULL;
    MD_TRY(md_drawing_create(width, top + n_classes * side + 20, title,
                             "A table of counts: rows are the truth, columns what the model "
                             "said; right answers stand on the diagonal. The share is that of "
                             "the row.",
                             &d, err));
    md_frame_title(d, title);
    md_draw_text(d, left + n_classes * side / 2, MD_FRAME_TITLE_HEIGHT + 18,
                 md_letters(MD_INK_MUTED, 13, MD_ANCHOR_MIDDLE), "what the model said");
    md_draw_text(d, 24, top + n_classes * side / 2,
                 (md_lettering){MD_INK_MUTED, 13, false, MD_ANCHOR_MIDDLE, true}, "truth");
    for (unsigned i = 0; i < n_classes; i++) {
        const double middle = (i + 0.5) * side;
        md_draw_text(d, left - 10, top + middle + 4,
                     md_letters(MD_INK_TEXT, MD_FRAME_LETTER, MD_ANCHOR_END), classes[i]);
        md_draw_text(d, left + middle + (upright ? 4 : 0), top - 10,
                     (md_lettering){MD_INK_TEXT, MD_FRAME_LETTER, false,
                                    upright ? MD_ANCHOR_START : MD_ANCHOR_MIDDLE, upright},
                     classes[i]);
        uint64_t row = 0;
        for (unsigned k = 0; k < n_classes; k++) {
            row += counts[i * n_classes + k];
        }
        for (unsigned k = 0; k < n_classes; k++) {
            draw_cell(d, left + k * side, top + i * side, side, counts[i * n_classes + k], row,
                      i == k);
        }
    }
    *ret_drawing = MD_STEAL(d);
    return MD_OK;
}

/* Numbers of studies in each bin, below the reliability diagram. */
static void draw_bin_counts(md_drawing *d, md_frame *f, const md_chart_bin *bins, unsigned n)
{
    size_t most = 1;
    for (unsigned k = 0; k < n; k++) {
        most = bins[k].n > most ? bins[k].n : most;
    }
    f->y_low = 0;
    f->y_high = 1.15 * (double)most;
    md_frame_axes(d, f, "score of the model", "number", true);
    for (unsigned k = 0; k < n; k++) {
        const double x = md_frame_x(f, bins[k].low), y = md_frame_y(f, (double)bins[k].n);
        md_draw_box(d, x + 1, y, md_frame_x(f, bins[k].high) - x - 2, f->top + f->height - y,
                    MD_INK_SERIES, 0.55);
    }
}

md_status md_chart_reliability(const char *title, const md_chart_bin *bins, unsigned n_bins,
                               md_drawing **ret_drawing, md_error *err)
{
    enum {
        SIDE = 400,
        COUNTS = 90,
        WIDTH = 520
    };
    MD_AUTO(md_drawing_destroyp) md_drawing *d = NULL;
    MD_TRY(md_drawing_create(WIDTH, MD_FRAME_TITLE_HEIGHT + 8 + SIDE + 36 + COUNTS + 52, title,
                             "How often the finding is really there, over the score that the "
                             "model gave. On the dotted diagonal a score is a probability. "
                             "Lines are 95% intervals; below, how many studies have such a "
                             "score.",
                             &d, err));
    md_frame_title(d, title);
    md_frame f = {.left = 72,
                  .top = MD_FRAME_TITLE_HEIGHT + 8,
                  .width = SIDE,
                  .height = SIDE,
                  .x_high = 1,
                  .y_high = 1};
    md_frame_axes(d, &f, NULL, "really there", false);
    md_draw_line(d, f.left, f.top + f.height, f.left + f.width, f.top,
                 (md_stroke){MD_INK_MUTED, 1.2, 2});
    for (unsigned k = 0; k < n_bins; k++) {
        const md_chart_bin *b = &bins[k];
        if (b->n > 0) {
            const double x = md_frame_x(&f, b->mean_score);
            md_draw_line(d, x, md_frame_y(&f, b->share_low), x, md_frame_y(&f, b->share_high),
                         (md_stroke){MD_INK_SERIES, 1.6, 0});
            md_draw_mark(d, x, md_frame_y(&f, b->share), 4.5, 0, MD_INK_SERIES);
        }
    }
    f.top += SIDE + 24;
    f.height = COUNTS;
    draw_bin_counts(d, &f, bins, n_bins);
    *ret_drawing = MD_STEAL(d);
    return MD_OK;
}

/* Ticks of a scale that goes by the square root: 0, and a few round numbers up to `most`. */
static unsigned root_ticks(double most, double ret_ticks[MD_FRAME_MAX_TICKS])
{
    static const double steps[] = {1, 2, 5};
    unsigned n = 0;
    ret_ticks[n++] = 0;
    for (unsigned i = 0; i < 40 && n < MD_FRAME_MAX_TICKS; i++) {
        const double tick = steps[i % 3] * pow(10, i / 3);
        if (tick > most) {
            break;
        }
        /* far enough from the one before and from zero to be read */
        if (sqrt(tick / most) - sqrt(ret_ticks[n - 1] / most) > 0.22) {
            ret_ticks[n++] = tick;
        }
    }
    return n;
}

/* One half: bars upwards or downwards from the middle. */
static void draw_half(md_drawing *d, const md_frame *f, const uint64_t *counts, unsigned n_bins,
                      double most, bool up)
{
    const double middle = f->top + f->height / 2, sign = up ? -1 : 1;
    double ticks[MD_FRAME_MAX_TICKS];
    char number[32];
    const unsigned n_ticks = root_ticks(most, ticks);
    for (unsigned i = up ? 0 : 1; i < n_ticks; i++) {
        const double y = middle + sign * sqrt(ticks[i] / most) * f->height / 2;
        md_draw_line(d, f->left, y, f->left + f->width, y, (md_stroke){MD_INK_GRID, 1, 0});
        (void)snprintf(number, sizeof number, "%.6g", ticks[i]);
        md_draw_text(d, f->left - 8, y + 4,
                     md_letters(MD_INK_MUTED, MD_FRAME_LETTER, MD_ANCHOR_END), number);
    }
    for (unsigned k = 0; k < n_bins; k++) {
        const double x = f->left + f->width * k / n_bins, width = f->width / n_bins;
        const double height = sqrt((double)counts[k] / most) * f->height / 2;
        if (counts[k] > 0) {
            md_draw_box(d, x + 0.5, up ? middle - height : middle, width - 1, height,
                        up ? MD_INK_SERIES + 1 : MD_INK_SERIES, 0.85);
        }
    }
}

/* What a half shows, at its end where few scores of that kind are, over a threshold's line. */
static void name_half(md_drawing *d, const md_frame *f, bool up, const char *name)
{
    const double width = md_drawing_text_width(name, 13, false);
    const double x = up ? f->left + 8 : f->left + f->width - 8 - width;
    const double y = up ? f->top + 14 : f->top + f->height - 6;
    md_draw_box(d, x - 3, y - 13, width + 6, 17, MD_INK_PAPER, 1);
    md_draw_text(d, x, y, md_letters(MD_INK_TEXT, 13, MD_ANCHOR_START), name);
}

md_status md_chart_histogram(const char *title, const char *const names[2],
                             const uint64_t *const counts[2], unsigned n_bins, double threshold,
                             md_drawing **ret_drawing, md_error *err)
{
    if (n_bins < 1 || n_bins > MD_CHART_MAX_ROWS) {
        return md_fail(err, MD_LIMIT, "%u bins, a histogram has 1 to %d", n_bins,
                       MD_CHART_MAX_ROWS);
    }
    uint64_t most = 1;
    for (unsigned k = 0; k < n_bins; k++) {
        most = counts[0][k] > most ? counts[0][k] : most;
        most = counts[1][k] > most ? counts[1][k] : most;
    }
    MD_AUTO(md_drawing_destroyp) md_drawing *d = NULL;
    MD_TRY(md_drawing_create(620, MD_FRAME_TITLE_HEIGHT + 380, title,
                             "Two histograms of the scores: upwards the studies with the "
                             "finding, downwards those without. Heights go by the square root, "
                             "so that single studies are seen beside hundreds.",
                             &d, err));
    md_frame_title(d, title);
    const md_frame f = {.left = 72,
                        .top = MD_FRAME_TITLE_HEIGHT + 22,
                        .width = 524,
                        .height = 300,
                        .x_high = 1,
                        .y_high = 1};
    draw_half(d, &f, counts[1], n_bins, (double)most * 1.35, true);
    draw_half(d, &f, counts[0], n_bins, (double)most * 1.35, false);
    const double middle = f.top + f.height / 2, bottom = f.top + f.height;
    md_draw_line(d, f.left, middle, f.left + f.width, middle, (md_stroke){MD_INK_MUTED, 1, 0});
    for (unsigned i = 0; i <= 10; i += 2) {
        char number[16];
        (void)snprintf(number, sizeof number, "%.1f", i / 10.0);
        md_draw_text(d, md_frame_x(&f, i / 10.0), bottom + 20,
                     md_letters(MD_INK_MUTED, MD_FRAME_LETTER, MD_ANCHOR_MIDDLE), number);
    }
    md_draw_text(d, f.left + f.width / 2, bottom + 42,
                 md_letters(MD_INK_TEXT, 13, MD_ANCHOR_MIDDLE), "score of the model");
    md_draw_text(d, f.left - 50, middle,
                 (md_lettering){MD_INK_TEXT, 13, false, MD_ANCHOR_MIDDLE, true}, "number");
    if (threshold >= 0 && threshold <= 1) {
        const double x = md_frame_x(&f, threshold);
        char text[48];
        (void)snprintf(text, sizeof text, "threshold %.4g", threshold);
        md_draw_line(d, x, f.top, x, bottom, (md_stroke){MD_INK_TEXT, 1.5, 1});
        md_draw_text(d, fmin(fmax(x, f.left + 50), f.left + f.width - 50), f.top - 8,
                     md_letters(MD_INK_TEXT, MD_FRAME_LETTER, MD_ANCHOR_MIDDLE), text);
    }
    name_half(d, &f, true, names[1]);
    name_half(d, &f, false, names[0]);
    *ret_drawing = MD_STEAL(d);
    return MD_OK;
}

static void draw_interval(md_drawing *d, const md_frame *f, const md_chart_interval *row,
                          double y)
{
    md_draw_text(d, f->left - 12, y + 4,
                 md_letters(MD_INK_TEXT, MD_FRAME_LETTER, MD_ANCHOR_END), row->name);
    char numbers[96] = "";
    if (isfinite(row->value)) {
        const double x = md_frame_x(f, fmin(fmax(row->value, f->x_low), f->x_high));
        if (isfinite(row->low) && isfinite(row->high)) {
            const double from = md_frame_x(f, fmin(fmax(row->low, f->x_low), f->x_high));
            const double to = md_frame_x(f, fmin(fmax(row->high, f->x_low), f->x_high));
            md_draw_line(d, from, y, to, y, (md_stroke){MD_INK_SERIES, 2, 0});
            md_draw_line(d, from, y - 4, from, y + 4, (md_stroke){MD_INK_SERIES, 1.5, 0});
            md_draw_line(d, to, y - 4, to, y + 4, (md_stroke){MD_INK_SERIES, 1.5, 0});
            (void)snprintf(numbers, sizeof numbers, "%.3f (%.3f to %.3f)", row->value, row->low,
                           row->high);
        } else {
            (void)snprintf(numbers, sizeof numbers, "%.3f", row->value);
        }
        md_draw_mark(d, x, y, 4.5, 0, MD_INK_SERIES);
    }
    md_draw_text(d, f->left + f->width + 12, y + 4,
                 md_letters(isfinite(row->value) ? MD_INK_TEXT : MD_INK_MUTED, MD_FRAME_LETTER,
                            MD_ANCHOR_START),
                 row->note != NULL ? row->note : numbers);
}

md_status md_chart_intervals(const char *title, const md_chart_interval *rows, unsigned n_rows,
                             double low, double high, double reference,
                             md_drawing **ret_drawing, md_error *err)
{
    enum {
        ROW = 26
    };
    if (n_rows > MD_CHART_MAX_ROWS) {
        return md_fail(err, MD_LIMIT, "%u rows in a chart, at most %d", n_rows,
                       MD_CHART_MAX_ROWS);
    }
    if (!(low < high) || !isfinite(high - low)) {
        return md_fail(err, MD_INVALID_ARG, "an axis from %g to %g", low, high);
    }
    double left = 60, right = 150;
    for (unsigned i = 0; i < n_rows; i++) {
        left = fmax(left, md_drawing_text_width(rows[i].name, MD_FRAME_LETTER, false));
        right = fmax(right, rows[i].note != NULL
                                ? md_drawing_text_width(rows[i].note, MD_FRAME_LETTER, false)
                                : 0);
    }
    left = fmin(left, 320);
    right = fmin(right, 320);
    const md_frame f = {.left = 28 + left,
                        .top = MD_FRAME_TITLE_HEIGHT + 4,
                        .width = 360,
                        .height = fmax(n_rows, 1) * ROW,
                        .x_low = low,
                        .x_high = high,
                        .y_high = 1};
    MD_AUTO(md_drawing_destroyp) md_drawing *d = NULL;
    MD_TRY(md_drawing_create(f.left + f.width + right + 32, f.top + f.height + 34, title,
                             "Values with their 95% intervals, one in a row.", &d, err));
    md_frame_title(d, title);
    double ticks[MD_FRAME_MAX_TICKS];
    const unsigned n_ticks = md_frame_ticks(low, high, 5, ticks);
    for (unsigned i = 0; i < n_ticks; i++) {
        char number[32];
        const double x = md_frame_x(&f, ticks[i]);
        md_draw_line(d, x, f.top, x, f.top + f.height, (md_stroke){MD_INK_GRID, 1, 0});
        (void)snprintf(number, sizeof number, "%.6g", ticks[i]);
        md_draw_text(d, x, f.top + f.height + 18,
                     md_letters(MD_INK_MUTED, MD_FRAME_LETTER, MD_ANCHOR_MIDDLE), number);
    }
    if (reference >= low && reference <= high) {
        const double x = md_frame_x(&f, reference);
        md_draw_line(d, x, f.top, x, f.top + f.height, (md_stroke){MD_INK_MUTED, 1.2, 2});
    }
    for (unsigned i = 0; i < n_rows; i++) {
        const double y = f.top + (i + 0.5) * ROW;
        if (rows[i].heading) {
            md_draw_text(
                d, f.left - 12, y + 5,
                (md_lettering){MD_INK_TEXT, MD_FRAME_LETTER, true, MD_ANCHOR_END, false},
                rows[i].name);
        } else {
            draw_interval(d, &f, &rows[i], y);
        }
    }
    *ret_drawing = MD_STEAL(d);
    return MD_OK;
}
