#include "dicom/report/picture.h"

#include "dicom/report/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const md_colour WHITE = {0xff, 0xff, 0xff};
static const md_colour GREY = {0xb4, 0xb8, 0xbe};
static const md_colour LINE = {0x44, 0x48, 0x50};
static const md_colour PANEL = {0x16, 0x18, 0x1c};
static const md_colour AMBER = {0xf4, 0xb5, 0x3c};
static const md_colour DARK = {0x10, 0x10, 0x10};
static const md_colour RED = {0xff, 0x70, 0x60};
static const md_colour BLUE = {0x9f, 0xc4, 0xe8}; /* not green: absent is not "all clear" */
static const md_colour CONTOUR = {0xff, 0xff, 0xff};

/* Below this the network's attention is not shown: a faint haze over everything says nothing
 * and hides the film. */
static const double OVERLAY_FROM = 0.20;
static const double CONTOUR_AT = 0.50;

/* ------------------------------------------------------------------ the image */

/* What a target pixel takes of a row: `first`, `last` and all between them, each by its weight.
 */
typedef struct tap {
    uint32_t first, last;
    float at_first, between, at_last;
} tap;

/* The mean over [from, to), the last value standing for what is behind it. */
static tap area_tap(uint32_t n, double from, double to)
{
    uint32_t first = (uint32_t)from, last = (uint32_t)to;
    first = first >= n ? n - 1 : first;
    last = last >= n ? n - 1 : last;
    if (first == last) {
        return (tap){.first = first, .last = last, .at_first = 1};
    }
    return (tap){.first = first,
                 .last = last,
                 .at_first = (float)((first + 1 - from) / (to - from)),
                 .between = (float)(1 / (to - from)),
                 .at_last = (float)((to - last) / (to - from))};
}

/* Between the centres of two values. */
static tap linear_tap(uint32_t n, double at)
{
    const uint32_t low = (uint32_t)at, high = low + 1 < n ? low + 1 : low;
    const double part = low == high ? 0 : at - low;
    return (tap){
        .first = low, .last = high, .at_first = (float)(1 - part), .at_last = (float)part};
}

static tap tap_of(uint32_t i, uint32_t n, uint32_t n_targets)
{
    const double step = (double)n / n_targets;
    return step >= 1 ? area_tap(n, i * step, (i + 1) * step)
                     : linear_tap(n, fmax(0, (i + 0.5) * step - 0.5));
}

static void add_row(float weight, const float *restrict row, uint32_t n, float *restrict to)
{
    for (uint32_t i = 0; i < n; i++) {
        to[i] += weight * row[i];
    }
}

static void reduce_row(const tap *taps, uint32_t n_targets, const float *restrict row,
                       float *restrict to)
{
    for (uint32_t x = 0; x < n_targets; x++) {
        const tap *t = &taps[x];
        float sum = 0;
        for (uint32_t i = t->first + 1; i < t->last; i++) {
            sum += row[i];
        }
        to[x] = t->at_first * row[t->first] + t->between * sum + t->at_last * row[t->last];
    }
}

md_status md_picture_resize(const md_raster *source, uint32_t channel, uint32_t width,
                            uint32_t height, float *target, md_error *err)
{
    MD_AUTO(md_freep) tap *taps = md_calloc(width, sizeof *taps);
    MD_AUTO(md_freep) float *rows = md_calloc(source->width, 2 * sizeof *rows);
    if (taps == NULL || rows == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory for a row of %u pixels", width);
    }
    float *sum = rows, *scratch = rows + source->width;
    for (uint32_t x = 0; x < width; x++) {
        taps[x] = tap_of(x, source->width, width);
    }
    const float *row = NULL; /* source row `have`: neighbouring target rows share one */
    uint32_t have = UINT32_MAX;
    for (uint32_t y = 0; y < height; y++) {
        const tap down = tap_of(y, source->height, height);
        memset(sum, 0, (size_t)source->width * sizeof *sum);
        for (uint32_t r = down.first; r <= down.last; r++) {
            const float weight = r == down.first  ? down.at_first
                                 : r == down.last ? down.at_last
                                                  : down.between;
            if (weight <= 0) {
                continue;
            }
            if (r != have) {
                row = md_raster_row(source, channel, r, 0, source->width, scratch);
                have = r;
            }
            add_row(weight, row, source->width, sum);
        }
        reduce_row(taps, width, sum, target + (size_t)y * width);
    }
    return MD_OK;
}

static uint8_t grey_level(float value)
{
    return !(value > 0.0F) ? 0 : value >= 1.0F ? 255 : (uint8_t)(value * 255.0F + 0.5F);
}

/* Reduce the display image onto the canvas. */
static md_status draw_image(md_canvas *canvas, const md_raster *display,
                            const md_picture_layout *at, md_error *err)
{
    size_t n = (size_t)at->image_width * at->image_height;
    MD_AUTO(md_freep) float *small = md_malloc(n * sizeof *small);
    if (small == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory for the reduced image");
    }
    for (uint32_t c = 0; c < display->n_channels; c++) {
        MD_TRY(md_picture_resize(display, c, at->image_width, at->image_height, small, err));
        for (uint32_t y = 0; y < at->image_height; y++) {
            uint8_t *p =
                canvas->rgb + ((size_t)(at->image_y + y) * canvas->width + at->image_x) * 3;
            const float *row = small + (size_t)y * at->image_width;
            for (uint32_t x = 0; x < at->image_width; x++, p += 3) {
                uint8_t level = grey_level(row[x]);
                if (display->n_channels == 1) {
                    p[0] = p[1] = p[2] = level;
                } else {
                    p[c] = level;
                }
            }
        }
    }
    return MD_OK;
}

/* ------------------------------------------------------------------ the overlay */

/* Catmull-Rom weights of the four neighbours at a fraction t behind the second
 * (Catmull and Rom, 1974; tension 1/2). */
static void cubic_weights(double t, double ret_weights[4])
{
    ret_weights[0] = 0.5 * t * (-1 + t * (2 - t));
    ret_weights[1] = 1 + 0.5 * t * t * (-5 + 3 * t);
    ret_weights[2] = 0.5 * t * (1 + t * (4 - 3 * t));
    ret_weights[3] = 0.5 * t * t * (t - 1);
}

/* Place a coordinate of the source image between cells: the index of the second neighbour and
 * the weights; false outside of the map. */
static bool place(double at, double start, double length, uint32_t n, int64_t *ret_index,
                  double ret_weights[4])
{
    if (!(at >= start) || !(at <= start + length)) {
        return false;
    }
    double cell = (at - start) / length * n - 0.5;
    double below = floor(cell);
    *ret_index = (int64_t)below;
    cubic_weights(cell - below, ret_weights);
    return true;
}

static uint32_t limited(int64_t index, uint32_t n)
{
    return index < 0 ? 0 : index >= n ? n - 1 : (uint32_t)index;
}

static double share(double value)
{
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

double md_saliency_at(const md_saliency *s, double x, double y)
{
    int64_t column, row;
    double across[4], down[4], sum = 0;
    if (!place(x, s->x, s->width, s->columns, &column, across) ||
        !place(y, s->y, s->height, s->rows, &row, down)) {
        return 0;
    }
    for (int j = 0; j < 4; j++) {
        const float *line = s->values + (size_t)limited(row + j - 1, s->rows) * s->columns;
        for (int i = 0; i < 4; i++) {
            sum += down[j] * across[i] * (double)line[limited(column + i - 1, s->columns)];
        }
    }
    return share(sum);
}

md_colour md_saliency_colour(double value, uint8_t *ret_opacity)
{
    double t = share((value - OVERLAY_FROM) / (1 - OVERLAY_FROM));
    *ret_opacity = value <= OVERLAY_FROM ? 0 : (uint8_t)(124 * t + 0.5);
    /* yellow over orange to red: one order of warmth, and red only where it is strongest */
    return (md_colour){255, (uint8_t)(224 - 200 * t + 0.5), (uint8_t)(32 - 20 * t + 0.5)};
}

/* The map at every pixel of the image on the canvas: first along the rows of cells, then down
 * the columns of pixels. */
static md_status saliency_plane(const md_saliency *s, const md_picture_layout *at,
                                double source_per_x, double source_per_y, float *plane,
                                md_error *err)
{
    size_t n = 0;
    MD_AUTO(md_freep) float *lines = NULL;
    if (md_mul((size_t)s->rows, at->image_width, &n) && md_mul(n, sizeof *lines, &n)) {
        lines = md_malloc(n);
    }
    if (lines == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory for the overlay");
    }
    double weights[4];
    int64_t index = 0;
    for (uint32_t x = 0; x < at->image_width; x++) {
        bool inside =
            place((x + 0.5) * source_per_x, s->x, s->width, s->columns, &index, weights);
        for (uint32_t r = 0; r < s->rows; r++) {
            double sum = 0;
            for (int i = 0; i < 4 && inside; i++) {
                sum +=
                    weights[i] *
                    (double)
                        s->values[(size_t)r * s->columns + limited(index + i - 1, s->columns)];
            }
            lines[(size_t)r * at->image_width + x] = (float)sum;
        }
    }
    for (uint32_t y = 0; y < at->image_height; y++) {
        bool inside =
            place((y + 0.5) * source_per_y, s->y, s->height, s->rows, &index, weights);
        float *out = plane + (size_t)y * at->image_width;
        memset(out, 0, (size_t)at->image_width * sizeof *out);
        for (int j = 0; j < 4 && inside; j++) {
            const float *line =
                lines + (size_t)limited(index + j - 1, s->rows) * at->image_width;
            for (uint32_t x = 0; x < at->image_width; x++) {
                out[x] += (float)weights[j] * line[x];
            }
        }
        for (uint32_t x = 0; x < at->image_width; x++) {
            const float value = out[x] < 0.0F ? 0.0F : out[x];
            out[x] = value > 1.0F ? 1.0F : value;
        }
    }
    return MD_OK;
}

/* True where the value passes CONTOUR_AT between this pixel and the next right or below. */
static bool on_contour(const float *plane, const md_picture_layout *at, uint32_t x, uint32_t y)
{
    const float *p = plane + (size_t)y * at->image_width + x;
    bool here = (double)p[0] >= CONTOUR_AT;
    return (x + 1 < at->image_width && ((double)p[1] >= CONTOUR_AT) != here) ||
           (y + 1 < at->image_height && ((double)p[at->image_width] >= CONTOUR_AT) != here);
}

static md_status draw_overlay(md_canvas *canvas, const md_saliency *s,
                              const md_picture_layout *at, uint32_t source_columns,
                              uint32_t source_rows, md_error *err)
{
    size_t n = (size_t)at->image_width * at->image_height;
    MD_AUTO(md_freep) float *plane = md_malloc(n * sizeof *plane);
    if (plane == NULL) {
        return md_fail(err, MD_NOMEM, "out of memory for the overlay");
    }
    MD_TRY(saliency_plane(s, at, (double)source_columns / at->image_width,
                          (double)source_rows / at->image_height, plane, err));
    for (uint32_t y = 0; y < at->image_height; y++) {
        for (uint32_t x = 0; x < at->image_width; x++) {
            const double value = (double)plane[(size_t)y * at->image_width + x];
            uint8_t opacity = 0;
            if (value > OVERLAY_FROM) {
                md_colour colour = md_saliency_colour(value, &opacity);
                if (opacity != 0) {
                    md_canvas_blend(canvas, at->image_x + x, at->image_y + y, colour, opacity);
                }
            }
            if (on_contour(plane, at, x, y)) {
                md_canvas_blend(canvas, at->image_x + x, at->image_y + y, CONTOUR, 170);
            }
        }
    }
    return MD_OK;
}

/* ------------------------------------------------------------------ the panel */

/* Which finding's map is shown on this instance: urgent before others, present before
 * undetermined, then the largest distance above its threshold. */
static size_t choose_overlay(const md_result *result, uint32_t instance_index,
                             const md_report_options *options)
{
    size_t best = SIZE_MAX;
    double best_rank = -1;
    for (size_t i = 0; i < result->n_findings; i++) {
        const md_finding *f = &result->findings[i];
        if (f->instance_index != instance_index || !md_report_has_map(result, i, options)) {
            continue;
        }
        bool present = f->presence == MD_PRESENCE_PRESENT;
        double rank =
            (f->urgent && present ? 8 : 0) + (present ? 4 : 0) + 1 + f->score - f->threshold;
        if (rank > best_rank) {
            best = i;
            best_rank = rank;
        }
    }
    return best;
}

/* The panel is drawn twice, first without a canvas to learn its height. */
typedef struct panel {
    md_canvas *canvas;
    int64_t x, y, width;
} panel;

static void panel_text(panel *p, md_font font, md_colour colour, const char *text)
{
    char tidy[1200];
    md_text_copy(tidy, sizeof tidy, 300, MD_TEXT_LINE, text);
    p->y += md_canvas_text_box(p->canvas, p->x, p->y, p->width, font, colour, tidy);
}

static void panel_line(panel *p)
{
    if (p->canvas != NULL) {
        md_canvas_fill(p->canvas, p->x, p->y + 9, p->width, 1, LINE);
    }
    p->y += 20;
}

/* A bar from 0 to 1 with the score filled and a mark at the threshold. */
static void panel_bar(panel *p, double score, double threshold, md_colour colour)
{
    if (p->canvas != NULL) {
        int64_t mark = p->x + (int64_t)(threshold * (double)(p->width - 2));
        md_canvas_fill(p->canvas, p->x, p->y + 4, p->width, 8, LINE);
        md_canvas_fill(p->canvas, p->x, p->y + 4, (int64_t)(score * (double)p->width), 8,
                       colour);
        md_canvas_fill(p->canvas, mark, p->y, 2, 16, WHITE);
    }
    p->y += 20;
}

static void panel_finding(panel *p, const md_result *result, const md_finding *f,
                          uint32_t instance_index, const md_report_options *options)
{
    static const char *const WORDS[] = {"ABSENT", "PRESENT", "UNDETERMINED"};
    md_colour colour = f->presence == MD_PRESENCE_PRESENT  ? RED
                       : f->presence == MD_PRESENCE_ABSENT ? BLUE
                                                           : AMBER;
    char text[512], score[MD_SCORE_BYTES], threshold[MD_SCORE_BYTES];
    panel_text(p, MD_FONT_BOLD, WHITE, f->concept.meaning);
    snprintf(text, sizeof text, "%s%s", WORDS[f->presence],
             f->urgent && f->presence == MD_PRESENCE_PRESENT ? " - URGENT" : "");
    panel_text(p, MD_FONT_BOLD, colour, text);
    md_text_score(f->score, f->threshold, f->score_is_probability, score, threshold);
    snprintf(text, sizeof text, "%s %s, threshold %s",
             f->score_is_probability ? "Probability" : "Score", score, threshold);
    panel_text(p, MD_FONT_TEXT, WHITE, text);
    panel_bar(p, f->score, f->threshold, colour);
    if (!f->score_is_probability) {
        panel_text(p, MD_FONT_SMALL, GREY,
                   "The score is not calibrated: it is no probability.");
    }
    if (f->site.value[0] != '\0' && !options->triage_only) {
        snprintf(text, sizeof text, "Site: %s%s%s", f->site.meaning,
                 f->laterality.value[0] != '\0' ? ", " : "",
                 f->laterality.value[0] != '\0' ? f->laterality.meaning : "");
        panel_text(p, MD_FONT_SMALL, GREY, text);
    }
    if (f->instance_index != instance_index) {
        snprintf(text, sizeof text, "In another image: %u of %zu", f->instance_index + 1,
                 result->n_instances);
        panel_text(p, MD_FONT_SMALL, GREY, text);
    }
    p->y += 10;
}

static void panel_failure(panel *p, const md_result *result)
{
    if (result->status == MD_RESULT_COMPLETE) {
        return;
    }
    panel_text(p, MD_FONT_BOLD, AMBER,
               result->status == MD_RESULT_FAILED ? "ANALYSIS FAILED" : "ANALYSIS INCOMPLETE");
    panel_text(p, MD_FONT_TEXT, WHITE, result->failure.meaning);
    panel_text(p, MD_FONT_SMALL, GREY, result->failure_text);
    panel_text(p, MD_FONT_SMALL, GREY,
               result->status == MD_RESULT_FAILED
                   ? "Nothing was found and nothing was excluded."
                   : "The findings stand for the images that were analysed.");
    p->y += 10;
}

static void panel_legend(panel *p, const md_result *result, size_t overlay_finding,
                         const md_report_options *options)
{
    if (overlay_finding == SIZE_MAX) {
        panel_text(p, MD_FONT_SMALL, GREY,
                   options->triage_only
                       ? "Triage mode: the picture marks no region on purpose."
                       : "No overlay: no finding that is present was mapped in this image.");
        return;
    }
    char text[256];
    snprintf(text, sizeof text, "Overlay: where the network looked for \"%s\"",
             result->findings[overlay_finding].concept.meaning);
    panel_text(p, MD_FONT_TEXT, WHITE, text);
    p->y += 4;
    if (p->canvas != NULL) {
        md_canvas_fill(p->canvas, p->x, p->y, p->width, 14, (md_colour){0x70, 0x70, 0x70});
        for (int64_t x = 0; x < p->width; x++) {
            uint8_t opacity = 0;
            md_colour colour = md_saliency_colour((double)x / (double)(p->width - 1), &opacity);
            for (int64_t y = 0; y < 14; y++) {
                md_canvas_blend(p->canvas, p->x + x, p->y + y, colour, opacity);
            }
        }
        md_canvas_fill(p->canvas, p->x + p->width / 2, p->y, 1, 14, CONTOUR);
        md_canvas_text(p->canvas, p->x, p->y + 16, MD_FONT_SMALL, GREY, "less");
        md_canvas_text(p->canvas,
                       p->x + p->width / 2 - md_canvas_text_width(MD_FONT_SMALL, "half") / 2,
                       p->y + 16, MD_FONT_SMALL, GREY, "half");
        md_canvas_text(p->canvas, p->x + p->width - md_canvas_text_width(MD_FONT_SMALL, "most"),
                       p->y + 16, MD_FONT_SMALL, GREY, "most");
    }
    p->y += 20 + md_canvas_line_height(MD_FONT_SMALL);
    panel_text(p, MD_FONT_SMALL, GREY,
               "Relative to its own maximum; the white line is half of it. It is no outline of "
               "disease, and other regions are not cleared.");
}

/* All of the panel; returns its lower edge. */
static int64_t draw_panel(md_canvas *canvas, int64_t x, int64_t y, const md_result *result,
                          uint32_t instance_index, size_t overlay_finding,
                          const md_report_options *options)
{
    const md_model_identity *m = &result->model;
    panel p = {canvas, x + 18, y + 16, MD_PICTURE_PANEL - 36};
    char text[512];
    panel_text(&p, MD_FONT_BOLD, WHITE, m->name[0] != '\0' ? m->name : m->id);
    snprintf(text, sizeof text, "%s, version %s%s%s", m->id, m->version,
             m->manufacturer[0] != '\0' ? ", " : "", m->manufacturer);
    panel_text(&p, MD_FONT_SMALL, GREY, text);
    panel_line(&p);
    panel_failure(&p, result);
    for (size_t i = 0; i < result->n_findings; i++) {
        panel_finding(&p, result, &result->findings[i], instance_index, options);
    }
    if (result->status != MD_RESULT_FAILED) {
        panel_line(&p);
        panel_legend(&p, result, overlay_finding, options);
    }
    panel_line(&p);
    const char *qualification = options->content_qualification;
    snprintf(text, sizeof text, "Content qualification: %s",
             qualification != NULL ? qualification : "RESEARCH");
    panel_text(&p, MD_FONT_SMALL, GREY, text);
    panel_text(&p, MD_FONT_SMALL, GREY,
               "Not verified by a physician. Read the original image; left and right are as "
               "there.");
    return p.y + 16;
}

/* ------------------------------------------------------------------ the whole */

static uint32_t side(double length)
{
    double rounded = floor(length + 0.5);
    return rounded < 16 ? 16 : (uint32_t)rounded;
}

/* The image keeps its shape in millimetres; the longer side becomes at most MD_PICTURE_SIDE. */
static void lay_out(const md_raster *display, md_picture_layout *at)
{
    double width_mm = display->width * display->pixel_width_mm;
    double height_mm = display->height * display->pixel_height_mm;
    double longer_mm = fmax(width_mm, height_mm);
    double longer = display->width > display->height ? display->width : display->height;
    longer = fmin(MD_PICTURE_SIDE, fmax(MD_PICTURE_MIN_SIDE, longer));
    at->image_x = 0;
    at->image_y = MD_PICTURE_BANNER;
    at->image_width = side(longer * width_mm / longer_mm);
    at->image_height = side(longer * height_mm / longer_mm);
}

md_status md_picture_draw(const md_result *result, uint32_t instance_index,
                          const md_raster *display, uint32_t source_columns,
                          uint32_t source_rows, const md_report_options *options,
                          md_canvas *ret_canvas, md_picture_layout *ret_layout, md_error *err)
{
    if (!md_raster_is_filled(display) || display->width == 0 || display->height == 0 ||
        (display->n_channels != 1 && display->n_channels != 3) ||
        !(display->pixel_width_mm > 0 && display->pixel_width_mm < 1e6) ||
        !(display->pixel_height_mm > 0 && display->pixel_height_mm < 1e6) ||
        source_columns == 0 || source_rows == 0) {
        return md_fail(err, MD_INVALID_ARG, "the display image has no size or no pixels");
    }
    md_picture_layout at = {0};
    lay_out(display, &at);
    at.overlay_finding = choose_overlay(result, instance_index, options);
    int64_t bottom = draw_panel(NULL, at.image_width, MD_PICTURE_BANNER, result, instance_index,
                                at.overlay_finding, options);
    uint32_t height = at.image_y + at.image_height;
    height = bottom > height ? (uint32_t)bottom : height;
    md_canvas canvas = {0};
    MD_TRY(md_canvas_init(&canvas, at.image_width + MD_PICTURE_PANEL, height, err));
    md_canvas_fill(&canvas, at.image_width, 0, MD_PICTURE_PANEL, height, PANEL);
    md_canvas_fill(&canvas, 0, 0, canvas.width, MD_PICTURE_BANNER, AMBER);
    md_canvas_text(&canvas, 18, 4, MD_FONT_TITLE, DARK,
                   options->triage_only
                       ? "AI result, not for diagnosis: for prioritization only"
                       : "AI result, not for diagnosis");
    md_status status = draw_image(&canvas, display, &at, err);
    if (status == MD_OK && at.overlay_finding != SIZE_MAX) {
        status = draw_overlay(&canvas, &result->findings[at.overlay_finding].saliency, &at,
                              source_columns, source_rows, err);
    }
    if (status != MD_OK) {
        md_canvas_finish(&canvas);
        return status;
    }
    draw_panel(&canvas, at.image_width, MD_PICTURE_BANNER, result, instance_index,
               at.overlay_finding, options);
    *ret_canvas = canvas;
    if (ret_layout != NULL) {
        *ret_layout = at;
    }
    return MD_OK;
}
