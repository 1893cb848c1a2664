#include "plugins/host/host.h"

#include "inference/share.h"
#include "plugins/host/pipeline.h"

#include <string.h>

struct md_host {
    md_registry registry;
};

md_status md_backend_named(const char *text, md_backend *ret_backend, md_error *err)
{
    static const struct {
        const char *word;
        md_backend backend;
    } words[] = {{"auto", MD_BACKEND_AUTO},
                 {"onednn", MD_BACKEND_ONEDNN},
                 {"openblas", MD_BACKEND_OPENBLAS}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (text == NULL || strcmp(text, words[i].word) == 0) {
            *ret_backend = words[i].backend;
            return MD_OK;
        }
    }
    return md_fail(err, MD_INVALID_ARG, "back end '%s', expected auto, onednn or openblas",
                   text);
}

md_status md_host_share_weights(md_host *host, md_share *share, size_t *ret_shared_bytes,
                                md_error *err)
{
    md_network *networks[MD_REGISTRY_MAX_MODELS];
    unsigned n = 0;
    for (size_t i = 0; i < host->registry.n; i++) {
        if (host->registry.models[i]->kind == MD_ANALYZER_IMAGE &&
            strcmp(host->registry.models[i]->card.form, "package") == 0) {
            networks[n++] = md_package_network(host->registry.models[i]);
        }
    }
    return md_network_share(networks, n, share, ret_shared_bytes, err);
}

void md_host_destroy(md_host *host)
{
    if (host != NULL) {
        md_registry_finish(&host->registry);
        md_free(host);
    }
}

/* The one model that was asked for may come after another, which then gives no result. */
static md_status load_gate(md_registry *registry, const md_host_options *options,
                           md_backend backend, md_error *err)
{
    const size_t n = registry->n;
    md_host_options gate = *options;
    if (options->only_model == NULL || n != 1 || registry->models[0]->after.model[0] == '\0') {
        return MD_OK;
    }
    gate.only_model = registry->models[0]->after.model;
    for (size_t i = 0; i < options->n_folders; i++) {
        MD_TRY(md_registry_scan(registry, options->folders[i], &gate, backend, err));
    }
    for (size_t i = n; i < registry->n; i++) {
        registry->models[i]->is_gate = true;
        registry->models[i]->required = (md_required){0};
    }
    return MD_OK;
}

md_status md_host_create(const md_host_options *options, md_host **ret_host, md_error *err)
{
    md_backend backend = MD_BACKEND_AUTO;
    MD_TRY(md_backend_named(options->backend, &backend, err));
    MD_AUTO(md_host_destroyp) md_host *host = md_calloc(1, sizeof *host);
    if (host == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the models");
    }
    md_registry *registry = &host->registry;
    for (size_t i = 0; i < options->n_folders; i++) {
        MD_TRY(md_registry_scan(registry, options->folders[i], options, backend, err));
    }
    MD_TRY(load_gate(registry, options, backend, err));
    md_registry_link(registry, options);
    if (registry->n == 0) {
        const char *only = options->only_model;
        bool refused = registry->n_refused > 0;
        return md_fail(err, MD_NOT_FOUND, "%s%s%s in %zu folder%s%s%s",
                       only != NULL ? "no model '" : "no usable model",
                       only != NULL ? only : "", only != NULL ? "'" : "", options->n_folders,
                       options->n_folders == 1 ? "" : "s", refused ? "; refused: " : "",
                       refused ? registry->first_refusal.msg : "");
    }
    *ret_host = MD_STEAL(host);
    return MD_OK;
}

size_t md_host_n_models(const md_host *host)
{
    return host->registry.n;
}

const md_model_identity *md_host_model(const md_host *host, size_t index)
{
    return index < host->registry.n ? &host->registry.models[index]->identity : NULL;
}

const md_required *md_host_model_required(const md_host *host, size_t index)
{
    return index < host->registry.n ? &host->registry.models[index]->required : NULL;
}

md_embeds md_host_model_embeds(const md_host *host, size_t index)
{
    return index < host->registry.n ? host->registry.models[index]->embeds : (md_embeds){0};
}

const md_model_card *md_host_model_card(const md_host *host, size_t index)
{
    return index < host->registry.n ? &host->registry.models[index]->card : NULL;
}

void md_analysis_finish(md_analysis *analysis)
{
    for (size_t i = 0; i < analysis->n_results; i++) {
        md_result_finish(&analysis->results[i]);
    }
    for (size_t i = 0; i < analysis->n_objects; i++) {
        md_object_finish(&analysis->objects[i]);
    }
    for (size_t i = 0; i < analysis->n_embeddings; i++) {
        md_free(analysis->embeddings[i].values);
    }
    md_free(analysis->results);
    md_free(analysis->objects);
    md_free(analysis->embeddings);
    md_view_finish(&analysis->view);
    memset(analysis, 0, sizeof *analysis);
}

void md_host_set_predecessor(const md_analyse_options *options, md_result *result)
{
    result->revision = options->revision;
    for (size_t i = 0; i < options->n_predecessors; i++) {
        const md_predecessor *before = &options->predecessors[i];
        /* without its series the reference could only be guessed */
        if (strcmp(before->model_id, result->model.id) == 0 &&
            before->sop_instance_uid[0] != '\0' && before->series_instance_uid[0] != '\0') {
            memcpy(result->predecessor_sop_instance_uid, before->sop_instance_uid,
                   MD_UID_BYTES);
            memcpy(result->predecessor_series_instance_uid, before->series_instance_uid,
                   MD_UID_BYTES);
            return;
        }
    }
}

md_status md_host_analyse(md_host *host, const char *const *paths, size_t n_paths,
                          const md_analyse_options *options, md_analysis *ret_analysis,
                          md_error *err)
{
    return md_pipeline_analyse(&host->registry, paths, n_paths, options, ret_analysis, err);
}
