#include "plugins/host/gate.h"

#include <math.h>
#include <stdio.h>

void md_gate_code(md_code *ret_code)
{
    *ret_code = (md_code){"110531", "DCM", "Insufficient quality for interpretation"};
}

md_status md_gate_check(const md_gate *gate, const md_raster *display, md_error *err)
{
    if (display->height < gate->min_rows || display->width < gate->min_columns) {
        return md_fail(err, MD_UNSUPPORTED, "%u x %u pixels, at least %u x %u are needed",
                       display->width, display->height, gate->min_columns, gate->min_rows);
    }
    if (display->n_channels != 1) {
        return MD_OK; /* what follows is defined for grey images */
    }
    md_quality quality;
    MD_TRY(md_quality_measure(display, &quality, err));
    /* written so that a NaN does not pass */
    if (!(quality.contrast >= gate->min_contrast)) {
        return md_fail(err, MD_UNSUPPORTED,
                       "contrast %.3f is below %g: the image is blank or nearly so",
                       quality.contrast, gate->min_contrast);
    }
    if (gate->max_aspect > 0 && !(quality.aspect <= gate->max_aspect)) {
        return md_fail(err, MD_UNSUPPORTED,
                       "the longer side is %.2f times the shorter, at most %g is accepted",
                       quality.aspect, gate->max_aspect);
    }
    if (gate->inverted_check == MD_GATE_INVERTED_CHEST && quality.looks_inverted) {
        return md_fail(err, MD_UNSUPPORTED,
                       "the image looks inverted: border %.2f, centre %.2f; check Photometric "
                       "Interpretation (0028,0004)",
                       quality.border_brightness, quality.centre_brightness);
    }
    return MD_OK;
}
