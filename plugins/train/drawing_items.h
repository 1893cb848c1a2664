#ifndef MEDAID_PLUGINS_TRAIN_DRAWING_ITEMS_H
#define MEDAID_PLUGINS_TRAIN_DRAWING_ITEMS_H

/* Inside plugins/train only: the list behind a drawing, for the two that give it out. */

#include "plugins/train/drawing.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum md_item_kind {
    MD_ITEM_LINES,
    MD_ITEM_AREA,
    MD_ITEM_DISC,
    MD_ITEM_TEXT
} md_item_kind;

typedef struct md_drawing_item {
    md_item_kind kind;
    md_ink ink;
    size_t first, n; /* points */
    size_t text;     /* offset into texts */
    double opacity, radius;
    md_stroke stroke;
    md_lettering lettering;
} md_drawing_item;

struct md_drawing {
    double width, height;
    char *title, *description; /* owned, as all below */
    md_drawing_item *items;
    size_t n_items, items_room;
    md_point *points;
    size_t n_points, points_room;
    char *texts; /* clean UTF-8, each ended by a zero */
    size_t n_texts, texts_room;
    md_status failed;
};

/* MD_OK, or why the list is not whole. */
md_status md_drawing_check(const md_drawing *drawing, md_error *err) MD_NOEXCEPT MD_NODISCARD;

enum {
    MD_DRAWING_N_DASHES = 6,
    MD_DRAWING_DASH_PARTS = 6
};
/* Lengths of dash and gap in turn, 0 ends; the first is solid. */
extern const double MD_DRAWING_DASHES[MD_DRAWING_N_DASHES][MD_DRAWING_DASH_PARTS + 1];

#ifdef __cplusplus
}
#endif
#endif
