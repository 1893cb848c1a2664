/* One risk.json of any bytes, and a run of what opens. For libFuzzer, and for mutate.c under
 * plain meson test. */

#include "fuzz_dicom.h"

#include "inference/tabular/risk.h"

#include <assert.h>
#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes)
{
    md_risk_model *model = NULL;
    md_error err;
    if (md_risk_parse(bytes, size_bytes, "risk.json", &model, &err) != MD_OK) {
        return 0;
    }
    double values[MD_RISK_MAX_FEATURES];
    md_risk_part parts[MD_RISK_MAX_FEATURES];
    const md_risk_card *card = md_risk_describe(model);
    for (int round = 0; round < 4; round++) {
        md_risk_answer answer = {0};
        for (unsigned j = 0; j < card->n_features; j++) {
            const double some[] = {(double)NAN, card->features[j].low, 1e300,
                                   card->features[j].reference};
            values[j] = some[((unsigned)round + j) % 4];
        }
        if (md_risk_run(model, values, &answer, parts, &err) == MD_OK) {
            assert(isfinite(answer.value));
            assert(!answer.has_interval || answer.low <= answer.high);
            assert(!card->is_score || (answer.value >= 0.0 && answer.value <= 1.0));
        }
    }
    md_risk_destroy(model);
    return 0;
}
