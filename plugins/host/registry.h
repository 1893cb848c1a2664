#ifndef MEDAID_PLUGINS_HOST_REGISTRY_H
#define MEDAID_PLUGINS_HOST_REGISTRY_H

/* The analyzers that were found in the configured folders, in a fixed order: folders as given,
 * names in a folder by their bytes. Belongs to one thread at a time. */

#include "plugins/host/host.h"
#include "plugins/host/package.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_REGISTRY_MAX_MODELS = 64,    /* a bit of a 64-bit set each */
    MD_REGISTRY_MAX_ENTRIES = 4096, /* of a folder */
};

typedef struct md_registry {
    md_analyzer *models[MD_REGISTRY_MAX_MODELS]; /* owned */
    size_t n;
    size_t n_refused;
    md_error first_refusal;
} md_registry;

/* Look into one folder: it may be a package itself; otherwise each folder in it that holds
 * model.yaml is a package and each *.so a plugin; it goes no deeper. What is refused is told to
 * options->on_refused and counted. MD_LIMIT and MD_NOMEM only; a folder that is not there is a
 * refusal. */
md_status md_registry_scan(md_registry *registry, const char *folder,
                           const md_host_options *options, md_backend backend, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Find the model that each one comes after (md_analyzer.after). A model whose gate is not
 * there, lacks the finding or comes after another itself is refused as in md_registry_scan:
 * without what should be asked before, it must not answer. One that is linked carries the gate
 * in identity.parameters: " after=ID@VERSION:SHA256", or is refused when that does not fit. To
 * be called once. */
void md_registry_link(md_registry *registry, const md_host_options *options) MD_NOEXCEPT;
void md_registry_finish(md_registry *registry) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
