#ifndef MEDAID_PLUGINS_HOST_PACKAGE_H
#define MEDAID_PLUGINS_HOST_PACKAGE_H

/* The model package form of an analyzer: a folder with model.yaml and what computes: a network
 * for images, a network and a vocabulary for texts, a risk model (docs/model-package.md).
 * Nothing is believed before it was checked: the manifest strictly, the SHA-256 of every listed
 * file, names that cannot leave the folder, no symbolic links, sizes, the network's inputs and
 * outputs against the manifest, and the golden self-test. */

#include "inference/network.h"
#include "plugins/host/analyzer.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MD_PACKAGE_MAX_NETWORK_BYTES ((size_t)1 << 30)
#define MD_PACKAGE_MAX_FILE_BYTES ((size_t)64 << 20)

/* To compare precisions: what the manifest asks for and any grant are not looked at. */
typedef struct md_package_trial {
    md_precision precision;
    const md_range *ranges; /* as md_network_options */
    unsigned n_ranges;
    bool observe;
    bool maps; /* the manifest's saliency works too */
    /* This network instead of the package's, and no self-test: for what a network that forgot
     * its weights would show. NULL: the package's. Borrowed for md_package_open. */
    const uint8_t *onnx;
    size_t onnx_bytes;
} md_package_trial;

typedef struct md_package_options {
    md_backend backend;
    unsigned n_threads;            /* 0: all cores */
    const char *only_id;           /* NULL: any */
    bool embeds;                   /* md_analyzer.embeds is wanted, where the network has it */
    bool any_kind;                 /* false: MD_UNSUPPORTED unless it is of kind image */
    const md_package_trial *trial; /* NULL: the manifest's precision, if it is granted */
    /* Told why the precision that the manifest asks for is not used, but float32 is. NULL is
     * fine. */
    void (*on_float32)(void *context, const char *package, const md_error *reason);
    void *context;
} md_package_options;

/* Load and self-test the package in `folder`. `name` stands before messages ("chest"). With
 * only_id: MD_CANCELLED, before the network was loaded, when the manifest has another id.
 * MD_NOT_FOUND, MD_IO, MD_FORMAT (manifest, hash, network), MD_UNSUPPORTED (network), MD_LIMIT,
 * MD_PLUGIN (self-test). Caller destroys. */
md_status md_package_open(const char *folder, const char *name,
                          const md_package_options *options, md_analyzer **ret_analyzer,
                          md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The network of an analyzer of kind image that md_package_open made; borrowed. So it is with
 * the functions below. */
md_network *md_package_network(md_analyzer *analyzer) MD_NOEXCEPT;

/* The scores of all findings for a network input (md_analyzer.n_findings of them). Errors as
 * analyse_image. */
md_status md_package_scores(md_analyzer *analyzer, const md_tensor *input, double *ret_scores,
                            md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The network's output of the last analyse_image or md_package_scores, ret_n values, before the
 * activation; borrowed until the next. */
const float *md_package_outputs(const md_analyzer *analyzer, size_t *ret_n) MD_NOEXCEPT;
/* The name of the tensor that the embedding comes from; NULL: embeds.n is 0. Borrowed. */
const char *md_package_embedding_name(const md_analyzer *analyzer) MD_NOEXCEPT;
/* The manifest; borrowed. */
const struct md_manifest *md_package_manifest(const md_analyzer *analyzer) MD_NOEXCEPT;
/* The precision that the manifest asks for. */
md_precision md_package_wanted(const md_analyzer *analyzer) MD_NOEXCEPT;

/* The configuration's word for a back end: auto, onednn, openblas; NULL: auto. MD_INVALID_ARG.
 */
md_status md_backend_named(const char *text, md_backend *ret_backend, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
