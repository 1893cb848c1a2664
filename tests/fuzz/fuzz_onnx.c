/* One ONNX file of any bytes: load it, and run it when it is small. For libFuzzer, and for
 * mutate.c under plain meson test. On the reference kernels, where every element access is seen
 * by the sanitizers. */

#include "fuzz_dicom.h"

#include "inference/network.h"
#include "inference/saliency.h"
#include "inference/train/trainer.h"

#include <string.h>

enum {
    MAX_PORTS = 16,
    MAX_ARENA_BYTES = 1 << 22
};

static bool is_small(const md_network *network)
{
    return md_network_n_inputs(network) <= MAX_PORTS &&
           md_network_n_outputs(network) <= MAX_PORTS &&
           md_network_arena_bytes(network) <= MAX_ARENA_BYTES;
}

static void run(md_network *network)
{
    md_tensor in[MAX_PORTS] = {{0}}, out[MAX_PORTS];
    const unsigned n_in = md_network_n_inputs(network);
    bool ready = true;
    md_error err;
    for (unsigned i = 0; i < n_in && ready; i++) {
        const md_network_port *port = md_network_input(network, i);
        ready = md_tensor_init(&in[i], port->dtype, port->n_dims, port->dims, &err) == MD_OK;
        if (ready) {
            memset(in[i].data, 1, in[i].n_elements * md_dtype_bytes(port->dtype));
        }
    }
    if (ready) {
        (void)!md_network_run(network, in, n_in, out, md_network_n_outputs(network), &err);
    }
    for (unsigned i = 0; i < n_in; i++) {
        md_tensor_finish(&in[i]);
    }
}

/* The same bytes as what a map is made with: cut, and back through what has a backward pass. */
static void explain(const uint8_t *bytes, size_t size_bytes, const md_network *network)
{
    static const unsigned classes[] = {0};
    const md_network_port *from = md_network_input(network, 0);
    const md_network_port *to = md_network_output(network, 0);
    md_explainer *explainer = NULL;
    md_tensor input = {0};
    md_error err;
    if (from == NULL || to == NULL || from->dtype != MD_F32 || from->n_dims != 4) {
        return;
    }
    const md_saliency_options options = {.method = MD_SALIENCY_INTEGRATED_GRADIENTS,
                                         .output = to->name,
                                         .backend = MD_BACKEND_OPENBLAS,
                                         .n_threads = 1,
                                         .steps = MD_SALIENCY_MIN_STEPS,
                                         .cell = 1};
    if (md_explainer_create(bytes, size_bytes, &options, &explainer, &err) == MD_OK &&
        md_tensor_init(&input, MD_F32, 4, from->dims, &err) == MD_OK) {
        const float *values = NULL;
        memset(input.data, 0, input.n_elements * sizeof(float));
        (void)!md_explainer_gradient(explainer, &input, MD_TARGET_SIGMOID, classes, 1, &values,
                                     &err);
    }
    md_tensor_finish(&input);
    md_explainer_destroy(explainer);
}

/* One training step where the network is one that can be trained. */
static void train(const uint8_t *bytes, size_t size_bytes)
{
    const md_trainer_options options = {
        .backend = MD_BACKEND_OPENBLAS, .n_threads = 1, .batch = 2, .max_bytes = 1 << 22};
    MD_AUTO(md_trainer_destroyp) md_trainer *trainer = NULL;
    MD_AUTO(md_freep) float *images = NULL, *targets = NULL;
    int64_t dims[4];
    double loss;
    const float *logits;
    md_error err;
    if (md_trainer_create(bytes, size_bytes, &options, &trainer, &err) != MD_OK) {
        return;
    }
    md_trainer_input_dims(trainer, dims);
    images = md_calloc((size_t)(dims[0] * dims[1] * dims[2] * dims[3]), sizeof *images);
    targets = md_calloc((size_t)(dims[0] * md_trainer_n_classes(trainer)), sizeof *targets);
    if (images != NULL && targets != NULL) {
        (void)!md_trainer_step(trainer, images, dims[0], targets, NULL, 1, &loss, &logits,
                               &err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes)
{
    md_error err;
    for (int rewriting = 0; rewriting < 2; rewriting++) {
        const md_network_options options = {
            .backend = MD_BACKEND_OPENBLAS, .n_threads = 1, .no_rewriting = rewriting == 0};
        md_network *network = NULL;
        if (md_network_load(bytes, size_bytes, &options, &network, &err) == MD_OK &&
            is_small(network)) {
            run(network);
            if (rewriting == 0) {
                explain(bytes, size_bytes, network);
            }
        }
        md_network_destroy(network);
    }
    train(bytes, size_bytes);
    return 0;
}
