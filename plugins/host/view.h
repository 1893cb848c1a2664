#ifndef MEDAID_PLUGINS_HOST_VIEW_H
#define MEDAID_PLUGINS_HOST_VIEW_H

/* The small picture of a study for the worklist: one image in grey and, as a second layer of
 * the same size, where the network looked. PNG (ISO/IEC 15948) through libpng. Any thread. */

#include "base/raster.h"
#include "dicom/report/result.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_VIEW_SIDE = 320,              /* of the longer side, at most */
    MD_VIEW_MAX_BYTES = 1024 * 1024, /* of one PNG */
};

typedef struct md_view {
    uint8_t *image;   /* owned; 8 bits grey, or colour for colour images; NULL: none */
    uint8_t *overlay; /* owned; colour with transparency; NULL: none */
    size_t image_bytes, overlay_bytes;
} md_view;

/* Draw the display values, means of areas, shape by pixel size. `map` may be NULL or empty; it
 * is placed in pixels of a source image `source_columns` x `source_rows`. Caller finishes the
 * view. MD_NOMEM, MD_LIMIT. */
md_status md_view_make(const md_raster *display, const md_saliency *map, double source_columns,
                       double source_rows, md_view *ret_view, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* A zeroed view is fine. */
void md_view_finish(md_view *view) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
