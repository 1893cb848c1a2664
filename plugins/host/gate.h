#ifndef MEDAID_PLUGINS_HOST_GATE_H
#define MEDAID_PLUGINS_HOST_GATE_H

/* The input quality gate: what an image must be before a network sees it. A network answers
 * anything with a score; a blank or inverted film must not get a finding. Pure; any thread. */

#include "dicom/report/result.h"
#include "inference/preprocess.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum md_gate_inverted {
    MD_GATE_INVERTED_NONE,
    MD_GATE_INVERTED_CHEST, /* refuse what md_quality_measure calls inverted */
} md_gate_inverted;

typedef struct md_gate {
    unsigned min_rows, min_columns; /* of the image as stored */
    double min_contrast;            /* 95th minus 5th percentile of display values */
    double max_aspect;              /* longer side over shorter side in mm; 0: no limit */
    md_gate_inverted inverted_check;
} md_gate;

/* Measure `display` (grey, 0..1) and compare. MD_OK: it passes. MD_UNSUPPORTED: it does not,
 * and the message says why for people ("contrast 0.02 is below 0.15: the image is blank or
 * nearly so"); the coded reason is md_gate_code(). Other codes: the measuring failed. */
md_status md_gate_check(const md_gate *gate, const md_raster *display, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* (110531, DCM, "Insufficient quality for interpretation"), PS3.16 CID 9303. */
void md_gate_code(md_code *ret_code) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
