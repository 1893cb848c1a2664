/* A drawing as SVG 1.1. */

#include "plugins/train/drawing_items.h"
#include "plugins/train/markup.h"

#include <math.h>

const double MD_DRAWING_DASHES[MD_DRAWING_N_DASHES][MD_DRAWING_DASH_PARTS + 1] = {
    {0}, {7, 4}, {2, 3}, {9, 3, 2, 3}, {13, 4}, {9, 3, 2, 3, 2, 3}};

/* Light first; a dark page turns the colours. A class beginning with f fills, with s strokes;
 * the number is that of md_ink. Colours of the series keep a contrast of 3 to the paper
 * and are apart for all kinds of colour vision. */
const char MD_DRAWING_STYLE[] =
    ".mdc text{font-family:\"DejaVu Sans\",Verdana,\"Segoe UI\",Arial,sans-serif}\n"
    ".mdc path{stroke-linejoin:round}\n"
    ".mdc .f0{fill:#0072b2}.mdc .s0{stroke:#0072b2}.mdc .f1{fill:#d55e00}.mdc "
    ".s1{stroke:#d55e00}\n"
    ".mdc .f2{fill:#009e73}.mdc .s2{stroke:#009e73}.mdc .f3{fill:#b5578f}.mdc "
    ".s3{stroke:#b5578f}\n"
    ".mdc .f4{fill:#a87900}.mdc .s4{stroke:#a87900}.mdc .f5{fill:#4d4d4d}.mdc "
    ".s5{stroke:#4d4d4d}\n"
    ".mdc .f6{fill:#1f2430}.mdc .s6{stroke:#1f2430}.mdc .f7{fill:#5b6470}.mdc "
    ".s7{stroke:#5b6470}\n"
    ".mdc .f8{fill:#e1e5ea}.mdc .s8{stroke:#e1e5ea}.mdc .f9{fill:#fff}.mdc .s9{stroke:#fff}\n"
    "@media screen and (prefers-color-scheme:dark){\n"
    ".mdc .f0{fill:#56b4e9}.mdc .s0{stroke:#56b4e9}.mdc .f1{fill:#ff8a4c}.mdc "
    ".s1{stroke:#ff8a4c}\n"
    ".mdc .f2{fill:#2bd4a5}.mdc .s2{stroke:#2bd4a5}.mdc .f3{fill:#e59cc6}.mdc "
    ".s3{stroke:#e59cc6}\n"
    ".mdc .f4{fill:#f0c24b}.mdc .s4{stroke:#f0c24b}.mdc .f5{fill:#c8c8c8}.mdc "
    ".s5{stroke:#c8c8c8}\n"
    ".mdc .f6{fill:#e6e8ec}.mdc .s6{stroke:#e6e8ec}.mdc .f7{fill:#a5aeba}.mdc "
    ".s7{stroke:#a5aeba}\n"
    ".mdc .f8{fill:#343a42}.mdc .s8{stroke:#343a42}.mdc .f9{fill:#14171c}.mdc "
    ".s9{stroke:#14171c}\n"
    "}\n";

/* Hundredths of a pixel, without trailing zeros. */
static void add_number(md_markup *m, double value)
{
    long long hundredths = llround(value * 100);
    const char *sign = hundredths < 0 ? "-" : "";
    hundredths = hundredths < 0 ? -hundredths : hundredths;
    const long long part = hundredths % 100;
    if (part == 0) {
        md_markup_format(m, "%s%lld", sign, hundredths / 100);
    } else if (part % 10 == 0) {
        md_markup_format(m, "%s%lld.%lld", sign, hundredths / 100, part / 10);
    } else {
        md_markup_format(m, "%s%lld.%02lld", sign, hundredths / 100, part);
    }
}

static void add_attribute(md_markup *m, const char *name, double value)
{
    md_markup_format(m, " %s=\"", name);
    add_number(m, value);
    md_markup_add(m, "\"");
}

static void add_path(md_markup *m, const md_point *points, size_t n, bool closed)
{
    md_markup_add(m, " d=\"");
    for (size_t i = 0; i < n; i++) {
        md_markup_add(m, i == 0 ? "M" : "L");
        add_number(m, points[i].x);
        md_markup_add(m, " ");
        add_number(m, points[i].y);
    }
    md_markup_add(m, closed ? "Z\"" : "\"");
}

static void add_lines(md_markup *m, const md_drawing *d, const md_drawing_item *item)
{
    md_markup_format(m, "<path fill=\"none\" class=\"s%d\"", (int)item->ink);
    add_attribute(m, "stroke-width", item->stroke.width);
    const double *dash = MD_DRAWING_DASHES[item->stroke.dash % MD_DRAWING_N_DASHES];
    for (unsigned i = 0; dash[i] > 0; i++) {
        md_markup_format(m, "%s%g", i == 0 ? " stroke-dasharray=\"" : " ", dash[i]);
    }
    md_markup_add(m, dash[0] > 0 ? "\"" : "");
    add_path(m, d->points + item->first, item->n, false);
    md_markup_add(m, "/>\n");
}

static void add_text(md_markup *m, const md_drawing *d, const md_drawing_item *item)
{
    static const char *const anchors[] = {"start", "middle", "end"};
    const md_lettering *l = &item->lettering;
    const md_point at = d->points[item->first];
    md_markup_format(m, "<text class=\"f%d\"", (int)item->ink);
    add_attribute(m, "font-size", l->size);
    if (l->bold) {
        md_markup_add(m, " font-weight=\"bold\"");
    }
    if (l->anchor != MD_ANCHOR_START) {
        md_markup_format(m, " text-anchor=\"%s\"", anchors[l->anchor]);
    }
    add_attribute(m, "x", at.x);
    add_attribute(m, "y", at.y);
    if (l->upwards) {
        md_markup_add(m, " transform=\"rotate(-90 ");
        add_number(m, at.x);
        md_markup_add(m, " ");
        add_number(m, at.y);
        md_markup_add(m, ")\"");
    }
    md_markup_add(m, ">");
    md_markup_escape(m, d->texts + item->text);
    md_markup_add(m, "</text>\n");
}

static void add_item(md_markup *m, const md_drawing *d, const md_drawing_item *item)
{
    switch (item->kind) {
    case MD_ITEM_LINES:
        add_lines(m, d, item);
        break;
    case MD_ITEM_AREA:
        md_markup_format(m, "<path class=\"f%d\"", (int)item->ink);
        if (item->opacity < 1) {
            add_attribute(m, "fill-opacity", item->opacity);
        }
        add_path(m, d->points + item->first, item->n, true);
        md_markup_add(m, "/>\n");
        break;
    case MD_ITEM_DISC:
        md_markup_format(m, "<circle class=\"f%d\"", (int)item->ink);
        add_attribute(m, "cx", d->points[item->first].x);
        add_attribute(m, "cy", d->points[item->first].y);
        add_attribute(m, "r", item->radius);
        md_markup_add(m, "/>\n");
        break;
    case MD_ITEM_TEXT:
        add_text(m, d, item);
        break;
    }
}

md_status md_drawing_svg(const md_drawing *d, bool standalone, char **ret_svg, size_t *ret_size,
                         md_error *err)
{
    MD_TRY(md_drawing_check(d, err));
    MD_AUTO(md_markup_finish) md_markup m = {0};
    if (standalone) {
        md_markup_add(&m, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    }
    md_markup_add(&m, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"mdc\" role=\"img\"");
    add_attribute(&m, "width", d->width);
    add_attribute(&m, "height", d->height);
    md_markup_add(&m, " viewBox=\"0 0 ");
    add_number(&m, d->width);
    md_markup_add(&m, " ");
    add_number(&m, d->height);
    md_markup_add(&m, "\" aria-label=\"");
    md_markup_escape(&m, d->title);
    md_markup_add(&m, "\">\n<title>");
    md_markup_escape(&m, d->title);
    md_markup_add(&m, "</title>\n<desc>");
    md_markup_escape(&m, d->description);
    md_markup_add(&m, "</desc>\n");
    if (standalone) {
        md_markup_add(&m, "<style>\n");
        md_markup_add(&m, MD_DRAWING_STYLE);
        md_markup_add(&m, "</style>\n");
        md_markup_format(&m, "<path class=\"f%d\"", (int)MD_INK_PAPER);
        const md_point corners[] = {
            {0, 0}, {d->width, 0}, {d->width, d->height}, {0, d->height}};
        add_path(&m, corners, 4, true);
        md_markup_add(&m, "/>\n");
    }
    for (size_t i = 0; i < d->n_items; i++) {
        add_item(&m, d, &d->items[i]);
    }
    md_markup_add(&m, "</svg>\n");
    return md_markup_take(&m, ret_svg, ret_size, err);
}
