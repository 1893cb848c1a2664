/* Curves of a training and unit-square curves. */

#include "plugins/train/chart.h"

#include "plugins/train/frame.h"

#include <math.h>
#include <stdio.h>

/* The least and largest finite value; false without any. */
static bool widen(const double *values, size_t n, double *low, double *high)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(values[i])) {
            *low = fmin(*low, values[i]);
            *high = fmax(*high, values[i]);
            any = true;
        }
    }
    return any;
}

static void panel_range(const md_chart_panel *panel, md_frame *f)
{
    double low = (double)INFINITY, high = -(double)INFINITY;
    bool any = false;
    for (unsigned k = 0; k < panel->n_lines; k++) {
        any |= widen(panel->lines[k].y, panel->lines[k].n, &low, &high);
    }
    if (!any) {
        low = 0;
        high = 1;
    }
    low = panel->from_zero && low > 0 ? 0 : low;
    const double room = high > low ? 0.06 * (high - low) : fmax(fabs(high) * 0.1, 1e-6);
    f->y_low = panel->from_zero && low == 0 ? 0 : low - room;
    f->y_high = high + room;
}

/* Names of the lines, right-aligned in one row; those that find no room at the left are cut. */
static void draw_legend(md_drawing *d, const md_chart_panel *panel, const md_frame *f)
{
    double x = f->left + f->width;
    for (unsigned k = panel->n_lines; k-- > 0;) {
        const double width =
            md_drawing_text_width(panel->lines[k].name, MD_FRAME_LETTER, false);
        x -= width;
        md_draw_text(d, x, f->top - 9,
                     md_letters(MD_INK_TEXT, MD_FRAME_LETTER, MD_ANCHOR_START),
                     panel->lines[k].name);
        md_draw_line(d, x - 34, f->top - 13, x - 6, f->top - 13, md_series_stroke(k, 2.2));
        x -= 52;
    }
}

static void draw_panel(md_drawing *d, const md_chart_panel *panel, const md_frame *f,
                       const char *x_name, bool last, double mark_x, const char *mark_name)
{
    md_frame_axes(d, f, last ? x_name : NULL, NULL, last);
    md_draw_text(d, f->left - 44, f->top - 9,
                 (md_lettering){MD_INK_TEXT, 13, true, MD_ANCHOR_START, false}, panel->title);
    draw_legend(d, panel, f);
    if (isfinite(mark_x) && mark_x >= f->x_low && mark_x <= f->x_high) {
        const double x = md_frame_x(f, mark_x);
        md_draw_line(d, x, f->top, x, f->top + f->height, (md_stroke){MD_INK_MUTED, 1.4, 2});
        const bool right = x > f->left + f->width * 0.7;
        if (last) {
            md_draw_text(d, right ? x - 6 : x + 6, f->top + 14,
                         md_letters(MD_INK_MUTED, MD_FRAME_LETTER,
                                    right ? MD_ANCHOR_END : MD_ANCHOR_START),
                         mark_name);
        }
    }
    for (unsigned k = 0; k < panel->n_lines; k++) {
        const md_chart_line *line = &panel->lines[k];
        md_frame_line(d, f, line->x, line->y, line->n, md_series_stroke(k, 2));
    }
}

md_status md_chart_curves(const char *title, const char *x_name, const md_chart_panel *panels,
                          unsigned n_panels, double mark_x, const char *mark_name,
                          md_drawing **ret_drawing, md_error *err)
{
    enum {
        WIDTH = 760,
        PANEL = 190,
        GAP = 46
    };
    if (n_panels < 1 || n_panels > MD_CHART_MAX_PANELS) {
        return md_fail(err, MD_LIMIT, "%u panels, a chart has 1 to %d", n_panels,
                       MD_CHART_MAX_PANELS);
    }
    md_frame f = {.left = 64, .width = WIDTH - 64 - 24, .height = PANEL};
    f.x_low = (double)INFINITY;
    f.x_high = -(double)INFINITY;
    for (unsigned i = 0; i < n_panels; i++) {
        if (panels[i].n_lines > MD_CHART_MAX_LINES) {
            return md_fail(err, MD_LIMIT, "%u lines in a panel, at most %d", panels[i].n_lines,
                           MD_CHART_MAX_LINES);
        }
        for (unsigned k = 0; k < panels[i].n_lines; k++) {
            (void)widen(panels[i].lines[k].x, panels[i].lines[k].n, &f.x_low, &f.x_high);
        }
    }
    if (!(f.x_low < f.x_high)) {
        f.x_low = isfinite(f.x_low) ? f.x_low - 0.5 : 0;
        f.x_high = f.x_low + 1;
    }
    MD_AUTO(md_drawing_destroyp) md_drawing *d = NULL;
    const double height = MD_FRAME_TITLE_HEIGHT + n_panels * (double)(PANEL + GAP) + 30;
    MD_TRY(md_drawing_create(WIDTH, height, title,
                             "Curves over the course of the training, one panel for each kind "
                             "of value.",
                             &d, err));
    md_frame_title(d, title);
    for (unsigned i = 0; i < n_panels; i++) {
        f.top = MD_FRAME_TITLE_HEIGHT + 28 + i * (double)(PANEL + GAP);
        panel_range(&panels[i], &f);
        draw_panel(d, &panels[i], &f, x_name, i + 1 == n_panels, mark_x,
                   mark_name != NULL ? mark_name : "");
    }
    *ret_drawing = MD_STEAL(d);
    return MD_OK;
}

/* How a chart in the unit square differs from the other. */
typedef struct unit_chart {
    const char *title, *description, *x_name, *y_name;
    bool diagonal, inset;
    double level; /* a horizontal reference, NaN: none */
} unit_chart;

enum {
    UNIT_WIDTH = 560,
    UNIT_SIDE = 440,
    UNIT_LEGEND_ROW = 24
};

static void draw_unit_curves(md_drawing *d, const md_frame *f,
                             const md_chart_unit_curve *curves, unsigned n, double width)
{
    for (unsigned k = 0; k < n; k++) {
        const md_chart_unit_curve *c = &curves[k];
        md_frame_line(d, f, c->x, c->y, c->n, md_series_stroke(k, width));
    }
    for (unsigned k = 0; k < n; k++) {
        const double x = curves[k].point_x, y = curves[k].point_y;
        if (x >= f->x_low && x <= f->x_high && y >= f->y_low && y <= f->y_high) {
            md_draw_mark(d, md_frame_x(f, x), md_frame_y(f, y), 7, k, MD_INK_PAPER);
            md_draw_mark(d, md_frame_x(f, x), md_frame_y(f, y), 5, k,
                         md_series_stroke(k, 1).ink);
        }
    }
}

/* The upper left corner again, five times as large, where good curves do not go. */
static void draw_inset(md_drawing *d, const md_frame *outer, const md_chart_unit_curve *curves,
                       unsigned n)
{
    const md_frame f = {.left = outer->left + outer->width * 0.46,
                        .top = outer->top + outer->height * 0.30,
                        .width = outer->width * 0.5,
                        .height = outer->height * 0.5,
                        .x_high = 0.2,
                        .y_low = 0.8,
                        .y_high = 1};
    md_draw_box(d, f.left - 44, f.top - 26, f.width + 54, f.height + 54, MD_INK_PAPER, 1);
    md_draw_text(d, f.left, f.top - 9,
                 md_letters(MD_INK_MUTED, MD_FRAME_LETTER, MD_ANCHOR_START),
                 "the upper left corner, enlarged");
    md_frame_axes(d, &f, NULL, NULL, true);
    draw_unit_curves(d, &f, curves, n, 1.8);
}

static double area_under(const md_chart_unit_curve *c)
{
    double area = 0;
    for (size_t i = 1; i < c->n; i++) {
        area += (c->x[i] - c->x[i - 1]) * (c->y[i] + c->y[i - 1]) / 2;
    }
    return area;
}

static md_status draw_unit(const unit_chart *chart, const md_chart_unit_curve *curves,
                           unsigned n, md_drawing **ret_drawing, md_error *err)
{
    if (n > MD_CHART_MAX_LINES) {
        return md_fail(err, MD_LIMIT, "%u curves in a chart, at most %d", n,
                       MD_CHART_MAX_LINES);
    }
    bool inset = chart->inset && n > 0;
    for (unsigned k = 0; k < n; k++) {
        inset = inset && area_under(&curves[k]) > 0.93;
    }
    MD_AUTO(md_drawing_destroyp) md_drawing *d = NULL;
    const double legend_top = MD_FRAME_TITLE_HEIGHT + 8 + UNIT_SIDE + 66;
    MD_TRY(md_drawing_create(UNIT_WIDTH, legend_top + n * (double)UNIT_LEGEND_ROW, chart->title,
                             chart->description, &d, err));
    md_frame_title(d, chart->title);
    const md_frame f = {.left = 72,
                        .top = MD_FRAME_TITLE_HEIGHT + 8,
                        .width = UNIT_SIDE,
                        .height = UNIT_SIDE,
                        .x_high = 1,
                        .y_high = 1};
    md_frame_axes(d, &f, chart->x_name, chart->y_name, true);
    const md_stroke reference = {MD_INK_MUTED, 1.2, 2};
    if (chart->diagonal) {
        md_draw_line(d, f.left, f.top + f.height, f.left + f.width, f.top, reference);
    }
    if (isfinite(chart->level)) {
        const double y = md_frame_y(&f, chart->level);
        md_draw_line(d, f.left, y, f.left + f.width, y, reference);
        md_draw_text(d, f.left + 6, y - 6,
                     md_letters(MD_INK_MUTED, MD_FRAME_LETTER, MD_ANCHOR_START),
                     "a blind guess");
    }
    draw_unit_curves(d, &f, curves, n, 2.2);
    if (inset) {
        draw_inset(d, &f, curves, n);
    }
    for (unsigned k = 0; k < n; k++) {
        const double y = legend_top + k * (double)UNIT_LEGEND_ROW;
        md_draw_line(d, 72, y - 4, 108, y - 4, md_series_stroke(k, 2.2));
        if (isfinite(curves[k].point_x)) {
            md_draw_mark(d, 90, y - 4, 5, k, md_series_stroke(k, 1).ink);
        }
        md_draw_text(d, 118, y, md_letters(MD_INK_TEXT, MD_FRAME_LETTER, MD_ANCHOR_START),
                     curves[k].name);
    }
    *ret_drawing = MD_STEAL(d);
    return MD_OK;
}

md_status md_chart_roc(const char *title, const md_chart_unit_curve *curves, unsigned n_curves,
                       md_drawing **ret_drawing, md_error *err)
{
    const unit_chart chart = {
        .title = title,
        .description = "Sensitivity over the share of false alarms for every threshold. The "
                       "nearer a curve comes to the upper left corner, the better; the dotted "
                       "diagonal is chance. The mark is the threshold in use.",
        .x_name = "false alarms among those without the finding (1 - specificity)",
        .y_name = "sensitivity",
        .diagonal = true,
        .inset = true,
        .level = (double)NAN};
    return draw_unit(&chart, curves, n_curves, ret_drawing, err);
}

md_status md_chart_precision_recall(const char *title, const md_chart_unit_curve *curves,
                                    unsigned n_curves, double prevalence,
                                    md_drawing **ret_drawing, md_error *err)
{
    const unit_chart chart = {
        .title = title,
        .description = "Precision over recall for every threshold: of the studies called "
                       "positive, how many are, against how many of the positive ones are "
                       "found. The mark is the threshold in use.",
        .x_name = "recall (sensitivity)",
        .y_name = "precision (positive predictive value)",
        .level = n_curves == 1 ? prevalence : (double)NAN};
    return draw_unit(&chart, curves, n_curves, ret_drawing, err);
}
