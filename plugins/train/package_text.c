/* What the package of a text network has besides: its vocabulary and a self-test of words. */

#include "inference/text/text_model.h"
#include "plugins/train/package_internal.h"

#include <string.h>

/* Words of nobody: present, denied, asked for, and one that no vocabulary has. */
static const char self_test[] =
    "Small left pleural effusion. No pneumothorax, heart not enlarged."
    " ? pneumonia. Xylographia.\n";

static md_status run_once(const md_exporting *x, md_backend backend, float *ret_logits,
                          md_error *err)
{
    MD_AUTO(md_freep) char *words = NULL;
    MD_AUTO(md_text_model_destroyp) md_text_model *model = NULL;
    size_t n_words = 0;
    md_text_result read = {0};
    const md_text_model_options options = {.backend = backend};
    MD_TRY(md_vocabulary_write(x->set->vocabulary, &words, &n_words, err));
    MD_TRY(md_text_model_create((const uint8_t *)words, n_words, x->onnx, x->onnx_bytes,
                                &options, &model, err));
    MD_TRY(md_text_model_run(model, self_test, sizeof self_test - 1, &read, err));
    if (read.n_labels != x->n_outputs) {
        return md_fail(err, MD_FORMAT,
                       "the network gives %u values, the recipe has %zu classes", read.n_labels,
                       x->n_outputs);
    }
    memcpy(ret_logits, read.logits, x->n_outputs * sizeof *ret_logits);
    return MD_OK;
}

md_status md_export_text_self_test(md_exporting *x, const char **ret_text, size_t *ret_bytes,
                                   float *ret_expected, float *ret_other, md_error *err)
{
    MD_TRY(run_once(x, MD_BACKEND_OPENBLAS, ret_expected, err));
    MD_TRY(run_once(x, x->options->backend, ret_other, err));
    *ret_text = self_test;
    *ret_bytes = sizeof self_test - 1;
    return MD_OK;
}
