#include "plugins/train/frame.h"

#include <math.h>
#include <stdio.h>

unsigned md_frame_ticks(double low, double high, unsigned wanted,
                        double ret_ticks[MD_FRAME_MAX_TICKS])
{
    const double rough = (high - low) / wanted;
    const double power = pow(10, floor(log10(rough)));
    const double digit = rough / power;
    const double step = power * (digit <= 1.01   ? 1
                                 : digit <= 2.01 ? 2
                                 : digit <= 5.01 ? 5
                                                 : 10);
    unsigned n = 0;
    for (double k = ceil(low / step - 1e-9); n < MD_FRAME_MAX_TICKS; k++) {
        const double tick = k * step;
        if (tick > high + 1e-9 * step) {
            break;
        }
        ret_ticks[n++] = fabs(tick) < 1e-9 * step ? 0 : tick;
    }
    return n;
}

void md_frame_title(md_drawing *drawing, const char *title)
{
    md_draw_text(drawing, 16, 27, (md_lettering){MD_INK_TEXT, 15, true, MD_ANCHOR_START, false},
                 title);
}

void md_frame_axes(md_drawing *d, const md_frame *f, const char *x_name, const char *y_name,
                   bool x_numbers)
{
    const md_stroke grid = {MD_INK_GRID, 1, 0}, edge = {MD_INK_MUTED, 1, 0};
    double ticks[MD_FRAME_MAX_TICKS];
    char number[32];
    const unsigned n_y = md_frame_ticks(f->y_low, f->y_high, f->height < 160 ? 4 : 6, ticks);
    for (unsigned i = 0; i < n_y; i++) {
        const double y = md_frame_y(f, ticks[i]);
        md_draw_line(d, f->left, y, f->left + f->width, y, grid);
        (void)snprintf(number, sizeof number, "%.6g", ticks[i]);
        md_draw_text(d, f->left - 8, y + 4,
                     md_letters(MD_INK_MUTED, MD_FRAME_LETTER, MD_ANCHOR_END), number);
    }
    const unsigned n_x = md_frame_ticks(f->x_low, f->x_high, f->width < 300 ? 5 : 8, ticks);
    for (unsigned i = 0; i < n_x; i++) {
        const double x = md_frame_x(f, ticks[i]);
        md_draw_line(d, x, f->top, x, f->top + f->height, grid);
        (void)snprintf(number, sizeof number, "%.6g", ticks[i]);
        if (x_numbers) {
            md_draw_text(d, x, f->top + f->height + 17,
                         md_letters(MD_INK_MUTED, MD_FRAME_LETTER, MD_ANCHOR_MIDDLE), number);
        }
    }
    md_draw_lines(d,
                  (md_point[]){{f->left, f->top},
                               {f->left, f->top + f->height},
                               {f->left + f->width, f->top + f->height}},
                  3, edge);
    if (x_name != NULL) {
        md_draw_text(d, f->left + f->width / 2, f->top + f->height + 38,
                     md_letters(MD_INK_TEXT, 13, MD_ANCHOR_MIDDLE), x_name);
    }
    if (y_name != NULL) {
        md_draw_text(d, f->left - 46, f->top + f->height / 2,
                     (md_lettering){MD_INK_TEXT, 13, false, MD_ANCHOR_MIDDLE, true}, y_name);
    }
}

enum {
    PIECE = 2048
};

/* Points on their way into the drawing. */
typedef struct piece {
    md_drawing *drawing;
    md_stroke stroke;
    md_point points[PIECE];
    size_t n;
} piece;

static void end_piece(piece *p)
{
    if (p->n == 1) {
        md_draw_mark(p->drawing, p->points[0].x, p->points[0].y, 3.5, 0, p->stroke.ink);
    }
    md_draw_lines(p->drawing, p->points, p->n, p->stroke);
    p->n = 0;
}

/* Whether b lies on the way from a to c to a twentieth of a pixel. */
static bool on_the_way(md_point a, md_point b, md_point c)
{
    const double dx = c.x - a.x, dy = c.y - a.y, length = hypot(dx, dy);
    if (length < 0.05) {
        return hypot(b.x - a.x, b.y - a.y) < 0.05;
    }
    const double off = fabs((b.x - a.x) * dy - (b.y - a.y) * dx) / length;
    const double along = ((b.x - a.x) * dx + (b.y - a.y) * dy) / length;
    return off < 0.05 && along > -0.05 && along < length + 0.05;
}

static void add_point(piece *p, md_point point)
{
    if (p->n >= 2 && on_the_way(p->points[p->n - 2], p->points[p->n - 1], point)) {
        p->points[p->n - 1] = point;
        return;
    }
    if (p->n == PIECE) {
        md_draw_lines(p->drawing, p->points, p->n, p->stroke);
        p->points[0] = p->points[PIECE - 1];
        p->n = 1;
    }
    p->points[p->n++] = point;
}

void md_frame_line(md_drawing *drawing, const md_frame *f, const double *x, const double *y,
                   size_t n, md_stroke stroke)
{
    piece p = {.drawing = drawing, .stroke = stroke};
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i]) || !isfinite(y[i])) {
            end_piece(&p);
            continue;
        }
        const double px = fmin(fmax(x[i], f->x_low), f->x_high);
        const double py = fmin(fmax(y[i], f->y_low), f->y_high);
        add_point(&p, (md_point){md_frame_x(f, px), md_frame_y(f, py)});
    }
    end_piece(&p);
}
