#ifndef MEDAID_PLUGINS_TRAIN_FRAME_H
#define MEDAID_PLUGINS_TRAIN_FRAME_H

/* Inside plugins/train only: a rectangle of a drawing with two axes, and what charts share. */

#include "plugins/train/drawing.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_FRAME_TITLE_HEIGHT = 44,
    MD_FRAME_LETTER = 12, /* size of ordinary words */
    MD_FRAME_MAX_TICKS = 12
};

typedef struct md_frame {
    double left, top, width, height; /* pixels */
    double x_low, x_high, y_low, y_high;
} md_frame;

static inline double md_frame_x(const md_frame *f, double x)
{
    return f->left + (x - f->x_low) / (f->x_high - f->x_low) * f->width;
}

static inline double md_frame_y(const md_frame *f, double y)
{
    return f->top + f->height - (y - f->y_low) / (f->y_high - f->y_low) * f->height;
}

/* Round numbers inside low..high, about `wanted` of them; returns how many. */
unsigned md_frame_ticks(double low, double high, unsigned wanted,
                        double ret_ticks[MD_FRAME_MAX_TICKS]) MD_NOEXCEPT;

/* The title of the whole drawing, at its upper left. */
void md_frame_title(md_drawing *drawing, const char *title) MD_NOEXCEPT;
/* Grid lines, numbers and the two names (NULL: none); numbers of x only when x_numbers. */
void md_frame_axes(md_drawing *drawing, const md_frame *frame, const char *x_name,
                   const char *y_name, bool x_numbers) MD_NOEXCEPT;
/* A line through data; points that are not finite break it, points that would not be seen are
 * left out, and what lies outside of the frame is moved to its edge. A single point is a mark.
 */
void md_frame_line(md_drawing *drawing, const md_frame *frame, const double *x, const double *y,
                   size_t n, md_stroke stroke) MD_NOEXCEPT;

static inline md_stroke md_series_stroke(unsigned series, double width)
{
    return (md_stroke){(md_ink)((unsigned)MD_INK_SERIES + series % MD_DRAWING_N_SERIES), width,
                       series % MD_DRAWING_N_SERIES};
}

static inline md_lettering md_letters(md_ink ink, double size, md_anchor anchor)
{
    return (md_lettering){ink, size, false, anchor, false};
}

#ifdef __cplusplus
}
#endif
#endif
