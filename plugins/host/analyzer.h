#ifndef MEDAID_PLUGINS_HOST_ANALYZER_H
#define MEDAID_PLUGINS_HOST_ANALYZER_H

/* What the host sees of a model, whatever its form: a package (package.h) and a C plugin
 * (plugin.h) both fill this struct and its few functions.
 *
 * The kind says what an analyzer eats. Images are the first kind; a further kind (text to
 * urgency, findings and patient data to a risk) brings its own `needs` struct in the union, its
 * own input struct and its own function in md_analyzer_ops, and the registry, the manifest, the
 * findings and the results stay as they are.
 *
 * An analyzer belongs to one thread at a time. */

#include "base/raster.h"
#include "conf/required.h"
#include "dicom/image/normalise.h"
#include "dicom/report/result.h"
#include "plugins/host/accept.h"
#include "plugins/host/gate.h"
#include "plugins/host/host.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum md_analyzer_kind {
    MD_ANALYZER_IMAGE
} md_analyzer_kind;

/* A finding as its maker declares it. */
typedef struct md_finding_spec {
    char key[MD_KEY_BYTES];
    md_code concept;
    md_code site; /* value "": none */
    double threshold;
    bool has_undetermined;
    double undetermined_low, undetermined_high; /* low <= threshold <= high */
    bool score_is_probability;
    bool urgent;
} md_finding_spec;

/* Set key, codes, threshold, score, presence and urgency of `ret_finding` (the rest stays).
 * Presence: undetermined when low <= score <= high of the band, else present when score >=
 * threshold, else absent. MD_PLUGIN when the score is not a number in 0..1. */
md_status md_finding_judge(const md_finding_spec *spec, double score, md_finding *ret_finding,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* "key (code, scheme, meaning) from threshold; ...", cut with "..." when there is no room. */
void md_finding_describe(const md_finding_spec *specs, unsigned n_specs, char *ret_text,
                         size_t size_bytes) MD_NOEXCEPT;

/* What an image analyzer needs of an image. */
typedef struct md_image_needs {
    md_accept accept;
    md_gate gate;
    md_normalise_values values;
    bool plain;           /* values only as an array of floats, not a coded raster */
    md_image_least least; /* a smaller decode is as good; all zero: it wants the whole image */
} md_image_needs;

/* One frame. */
typedef struct md_image_input {
    const md_raster *values; /* display or physical, as needs.values says */
    const md_accept_facts *facts;
    bool has_spacing;
    uint32_t frame, n_frames; /* frame is 1-based */
    bool want_saliency;
} md_image_input;

typedef struct md_analyzer md_analyzer;

typedef struct md_analyzer_ops {
    /* Fill findings[0 .. n_findings-1], which come zeroed; saliency values are allocated with
     * md_malloc and belong to the findings even when the call fails. `steps` gets what was done
     * to the image. Scores were judged with md_finding_judge. instance_index is the caller's.
     * MD_PLUGIN when the answer is not usable (NaN, out of range), MD_UNSUPPORTED when this
     * image cannot be judged; the message says why. */
    md_status (*analyse_image)(md_analyzer *self, const md_image_input *input,
                               md_finding *findings, md_steps *steps, md_error *err);
    /* What the last call of the above left: embeds.n numbers, borrowed until the next call.
     * NULL when embeds.n is 0. */
    const float *(*embedding)(const md_analyzer *self);
    void (*destroy)(md_analyzer *self);
} md_analyzer_ops;

/* What of its calls so far was not the network itself, microseconds. */
typedef struct md_analyzer_times {
    int64_t resize_us, saliency_us;
} md_analyzer_times;

struct md_analyzer {
    const md_analyzer_ops *ops;
    md_analyzer_kind kind;
    md_model_identity identity;
    md_model_card card;
    md_required required;   /* of a study; nothing: no views and count 0 */
    md_finding_spec *specs; /* owned by the analyzer */
    unsigned n_findings;
    md_embeds embeds;
    md_analyzer_times spent;
    union {
        md_image_needs image; /* MD_ANALYZER_IMAGE */
    } needs;
};

static inline void md_analyzer_destroy(md_analyzer *analyzer)
{
    if (analyzer != NULL) {
        analyzer->ops->destroy(analyzer);
    }
}
MD_DEFINE_DESTROYP(md_analyzer, md_analyzer_destroy)

#ifdef __cplusplus
}
#endif
#endif
