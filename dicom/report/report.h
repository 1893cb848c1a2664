#ifndef MEDAID_DICOM_REPORT_REPORT_H
#define MEDAID_DICOM_REPORT_REPORT_H

/* A result becomes DICOM objects: a Comprehensive 3D SR (TID 1500, PS3.16) and Parametric Maps
 * for machines and a Secondary Capture picture for people. The functions write exactly what the
 * result says. UIDs are derived (md_uid_derive) from study UID, sorted input UIDs and their
 * revision, model id, version, hash and the kind of object, so that the same analysis gives the
 * same object. Any thread, one dataset per thread. */

#include "base/raster.h"
#include "dicom/dataset/dataset.h"
#include "dicom/report/follow_up.h"
#include "dicom/report/result.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_report_options {
    const char *institution_name; /* of the device, NULL: not written */
    const char *station_name;     /* NULL: not written */
    bool triage_only; /* no overlay, no localisation: REFERENCE.md section 0, item 6 */
    const char *content_qualification; /* PRODUCT, RESEARCH or SERVICE; NULL: RESEARCH */
    /* For the SR: what to recommend, borrowed. NULL: nothing. Not written with triage_only. */
    const md_follow_up *follow_up;
} md_report_options;

typedef enum md_object_kind {
    MD_OBJECT_SR,
    MD_OBJECT_PICTURE,
    MD_OBJECT_MAP
} md_object_kind;
/* Of a SOP class that is written here; what is no report and no map is a picture. */
md_object_kind md_object_kind_of(const char *sop_class_uid) MD_NOEXCEPT;
/* "sr", "picture", "map". */
const char *md_object_kind_name(md_object_kind kind) MD_NOEXCEPT;

/* A finished Part 10 file in memory. */
typedef struct md_object {
    char sop_class_uid[MD_UID_BYTES];
    char sop_instance_uid[MD_UID_BYTES];
    char series_instance_uid[MD_UID_BYTES];
    char model_id[MD_KEY_BYTES]; /* of the result that it shows */
    uint8_t *bytes;              /* owned */
    size_t size_bytes;
} md_object;
void md_object_finish(md_object *object) MD_NOEXCEPT;

/* The SR, as docs/sr.md draws it. `sources` are the datasets of result->instances, same order,
 * borrowed; patient and study attributes are carried over from the first, which must be there;
 * any other may be NULL (then what it would add to the image library is left out). options may
 * be NULL. MD_INVALID_ARG when md_result_check refuses the result, MD_NOMEM. Errors never
 * repeat a text of the study. */
md_status md_report_write_sr(const md_result *result, const md_dataset *const *sources,
                             const md_report_options *options, md_object *ret_object,
                             md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The picture of instance `instance_index`: `display` (0..1, 1 or 3 channels) with the overlay
 * of its most important finding, a panel of all findings with score and threshold, and the
 * words "AI result, not for diagnosis". RGB, 8 bit, the longer side of the image at most 1024
 * pixels. `display` may be smaller than the source (a reduced decode) but shows the same whole
 * image. MD_FORMAT when the source has no Rows and Columns, MD_LIMIT, else as above. */
md_status md_report_write_picture(const md_result *result, uint32_t instance_index,
                                  const md_dataset *source, const md_raster *display,
                                  const md_report_options *options, md_object *ret_object,
                                  md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* True when finding `finding_index` has a map that may be shown: it has values, the finding is
 * not absent (a map would contradict the word), and the site does not run triage alone. */
bool md_report_has_map(const md_result *result, size_t finding_index,
                       const md_report_options *options) MD_NOEXCEPT;

enum {
    MD_PARAMETRIC_MAP_SIDE = 512 /* pixels of the longer side, at most */
};

/* The map of one finding as a Parametric Map (PS3.3 A.75, float32), of one frame, for programs
 * that lay it over the film: the values that the picture's overlay shows, 0..1, sampled on the
 * whole source image in pixels of k x k of the source's, k the least whole number with which
 * the longer side has at most MD_PARAMETRIC_MAP_SIDE pixels (the last row and column may reach
 * beyond the film). Pixel Spacing is k times that of the source, position and orientation are
 * those of the source where it has them. `source` is the dataset of the finding's instance.
 * MD_INVALID_ARG when md_report_has_map says no, MD_FORMAT when the source has no Rows and
 * Columns, else as above. */
md_status md_report_write_parametric_map(const md_result *result, size_t finding_index,
                                         const md_dataset *source,
                                         const md_report_options *options,
                                         md_object *ret_object, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
