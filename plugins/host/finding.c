#include "plugins/host/analyzer.h"

#include <math.h>
#include <string.h>

md_status md_finding_judge(const md_finding_spec *spec, double score, md_finding *ret_finding,
                           md_error *err)
{
    if (!isfinite(score) || score < 0 || score > 1) {
        return md_fail(err, MD_PLUGIN, "finding '%s': the score %g is not a number in 0..1",
                       spec->key, score);
    }
    memcpy(ret_finding->key, spec->key, sizeof spec->key);
    ret_finding->concept = spec->concept;
    ret_finding->site = spec->site;
    ret_finding->threshold = spec->threshold;
    ret_finding->score = score;
    ret_finding->score_is_probability = spec->score_is_probability;
    ret_finding->presence = score >= spec->threshold ? MD_PRESENCE_PRESENT : MD_PRESENCE_ABSENT;
    if (spec->has_undetermined && score >= spec->undetermined_low &&
        score <= spec->undetermined_high) {
        ret_finding->presence = MD_PRESENCE_UNDETERMINED;
    }
    ret_finding->urgent = spec->urgent && ret_finding->presence == MD_PRESENCE_PRESENT;
    return MD_OK;
}
