#include "inference/train/trainer_private.h"

#include "inference/graph/writer.h"

md_status md_trainer_export(const md_trainer *trainer, const float *const *values,
                            uint8_t **ret_bytes, size_t *ret_size, md_error *err)
{
    const unsigned n = trainer->n_parameters;
    MD_AUTO(md_freep) md_onnx_weights *list = md_calloc(n + 1, sizeof *list);
    if (list == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u parameters", n);
    }
    for (unsigned i = 0; i < n; i++) {
        const md_parameter *p = &trainer->parameters[i];
        list[i] = (md_onnx_weights){p->name, p->n, values == NULL ? p->value : values[i]};
    }
    return md_onnx_replace(trainer->onnx, trainer->onnx_bytes, list, n, ret_bytes, ret_size,
                           err);
}
