#include "plugins/host/analyzer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *md_analyzer_kind_name(md_analyzer_kind kind)
{
    return kind == MD_ANALYZER_TEXT ? "text" : kind == MD_ANALYZER_RISK ? "risk" : "image";
}

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

void md_finding_describe(const md_finding_spec *specs, unsigned n_specs, char *ret_text,
                         size_t size_bytes)
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (unsigned i = 0; i < n_specs; i++) {
        const md_finding_spec *spec = &specs[i];
        char one[sizeof spec->key + sizeof spec->concept + 64];
        int n = snprintf(one, sizeof one, "%s%s (%s, %s, %s) from %g", i > 0 ? "; " : "",
                         spec->key, spec->concept.value, spec->concept.scheme,
                         spec->concept.meaning, spec->threshold);
        if (n < 0 || (size_t)n + sizeof "..." > size_bytes - used) {
            snprintf(ret_text + used, size_bytes - used, "...");
            return;
        }
        memcpy(ret_text + used, one, (size_t)n + 1);
        used += (size_t)n;
    }
}
