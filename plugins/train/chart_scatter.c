/* Points over two axes: residuals and the like. */

#include "plugins/train/chart.h"

#include "plugins/train/frame.h"

#include <math.h>

enum {
    SIDE_WIDTH = 640,
    SIDE_HEIGHT = 360,
    MOST_POINTS = 4000 /* of a larger set every k-th is drawn */
};

static void widen(const double *values, size_t n, double *low, double *high)
{
    for (size_t i = 0; i < n; i++) {
        if (isfinite(values[i])) {
            *low = fmin(*low, values[i]);
            *high = fmax(*high, values[i]);
        }
    }
}

static void give_room(double *low, double *high)
{
    if (!(*low <= *high)) {
        *low = 0.0;
        *high = 1.0;
    }
    double room = *high > *low ? 0.05 * (*high - *low) : fmax(1e-6, fabs(*high) * 0.1);
    *low -= room;
    *high += room;
}

md_status md_chart_scatter(const md_chart_points *points, md_drawing **ret_drawing,
                           md_error *err)
{
    MD_AUTO(md_drawing_destroyp) md_drawing *d = NULL;
    md_frame f = {.left = 72,
                  .top = MD_FRAME_TITLE_HEIGHT + 8,
                  .width = SIDE_WIDTH - 72 - 24,
                  .height = SIDE_HEIGHT,
                  .x_low = (double)INFINITY,
                  .x_high = -(double)INFINITY,
                  .y_low = (double)INFINITY,
                  .y_high = -(double)INFINITY};
    MD_TRY(md_drawing_create(SIDE_WIDTH, f.top + SIDE_HEIGHT + 66, points->title,
                             points->description, &d, err));
    widen(points->x, points->n, &f.x_low, &f.x_high);
    widen(points->y, points->n, &f.y_low, &f.y_high);
    give_room(&f.x_low, &f.x_high);
    give_room(&f.y_low, &f.y_high);
    md_frame_title(d, points->title);
    md_frame_axes(d, &f, points->x_name, points->y_name, true);
    const md_stroke reference = {MD_INK_MUTED, 1.2, 2};
    double low = fmax(f.x_low, f.y_low), high = fmin(f.x_high, f.y_high);
    if (points->diagonal && low < high) {
        md_draw_line(d, md_frame_x(&f, low), md_frame_y(&f, low), md_frame_x(&f, high),
                     md_frame_y(&f, high), reference);
    }
    if (points->zero && f.y_low < 0.0 && f.y_high > 0.0) {
        md_draw_line(d, f.left, md_frame_y(&f, 0.0), f.left + f.width, md_frame_y(&f, 0.0),
                     reference);
    }
    size_t step = 1 + points->n / MOST_POINTS;
    for (size_t i = 0; i < points->n; i += step) {
        if (isfinite(points->x[i]) && isfinite(points->y[i])) {
            md_draw_mark(d, md_frame_x(&f, points->x[i]), md_frame_y(&f, points->y[i]), 2.2, 0,
                         MD_INK_SERIES);
        }
    }
    *ret_drawing = MD_STEAL(d);
    return MD_OK;
}
