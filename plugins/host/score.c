#include "plugins/host/score.h"

md_status md_score(const md_manifest *manifest, const md_manifest_finding *f,
                   const float *outputs, size_t n, double *ret_score, md_error *err)
{
    const md_manifest *m = manifest;
    bool tempered = m->calibration.method == MD_CALIBRATION_TEMPERATURE;
    double x = 0;
    md_error inner = {0};
    md_status status = md_log_odds(m->network.activation, outputs, n, f->classes, f->n_classes,
                                   tempered ? m->calibration.temperature : 1.0, &x, &inner);
    if (status == MD_OK && m->calibration.method == MD_CALIBRATION_PLATT) {
        status = md_platt(x, m->calibration.a, m->calibration.b, ret_score, &inner);
    } else if (status == MD_OK) {
        *ret_score = md_sigmoid(x);
    }
    if (status != MD_OK) { /* the network's fault, whatever the formula calls it */
        return md_fail(err, MD_PLUGIN, "finding '%s': %s", f->spec.key, inner.msg);
    }
    return MD_OK;
}
