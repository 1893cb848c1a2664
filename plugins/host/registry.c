#include "plugins/host/registry.h"

#include "plugins/host/plugin.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void md_registry_finish(md_registry *registry)
{
    for (size_t i = 0; i < registry->n; i++) {
        md_analyzer_destroy(registry->models[i]);
    }
    registry->n = 0;
}

static void refuse(md_registry *registry, const md_host_options *options, const char *path,
                   const md_error *reason)
{
    if (registry->n_refused++ == 0) {
        registry->first_refusal = *reason;
    }
    if (options->on_refused != NULL) {
        options->on_refused(options->context, path, reason);
    }
}

/* Take over an analyzer, or say why not. */
static void add(md_registry *registry, const md_host_options *options, const char *path,
                const char *name, md_analyzer *analyzer)
{
    md_error err = {0};
    const char *id = analyzer->identity.id;
    for (size_t i = 0; i < registry->n; i++) {
        if (strcmp(registry->models[i]->identity.id, id) == 0) {
            (void)md_fail(&err, MD_INVALID_ARG,
                          "%s: the id '%s' is taken by a model that was found before", name,
                          id);
        }
    }
    if (err.status == MD_OK && registry->n == MD_REGISTRY_MAX_MODELS) {
        (void)md_fail(&err, MD_LIMIT, "%s: there are %d models already", name,
                      MD_REGISTRY_MAX_MODELS);
    }
    if (err.status != MD_OK) {
        refuse(registry, options, path, &err);
        md_analyzer_destroy(analyzer);
        return;
    }
    registry->models[registry->n++] = analyzer;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static md_status try_package(md_registry *registry, const char *path,
                             const md_host_options *options, md_backend backend, md_error *err)
{
    char real[PATH_MAX]; /* so that "plugins/chest/" and "." have a name too */
    const char *name = realpath(path, real) != NULL ? base_name(real) : base_name(path);
    const md_package_options package_options = {.backend = backend,
                                                .n_threads = options->n_threads,
                                                .only_id = options->only_model,
                                                .embeds = options->embeds,
                                                .any_kind = true,
                                                .on_float32 = options->on_float32,
                                                .context = options->context};
    md_analyzer *analyzer = NULL;
    md_error reason = {0};
    md_status status = md_package_open(path, name, &package_options, &analyzer, &reason);
    if (status == MD_OK) {
        add(registry, options, path, name, analyzer);
    } else if (status == MD_NOMEM) {
        return md_fail(err, MD_NOMEM, "%s", reason.msg);
    } else if (status != MD_CANCELLED) {
        refuse(registry, options, path, &reason);
    }
    return MD_OK;
}

static md_status try_plugin(md_registry *registry, const char *path,
                            const md_host_options *options, md_error *err)
{
    md_analyzer *analyzer = NULL;
    md_error reason = {0};
    md_status status =
        md_plugin_open(path, base_name(path), options->only_model, &analyzer, &reason);
    if (status == MD_OK) {
        add(registry, options, path, base_name(path), analyzer);
    } else if (status == MD_NOMEM) {
        return md_fail(err, MD_NOMEM, "%s", reason.msg);
    } else if (status != MD_CANCELLED) {
        refuse(registry, options, path, &reason);
    }
    return MD_OK;
}

static bool holds_manifest(const char *folder)
{
    char path[PATH_MAX];
    struct stat info;
    int length = snprintf(path, sizeof path, "%s/model.yaml", folder);
    return length > 0 && (size_t)length < sizeof path && lstat(path, &info) == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

typedef struct name_list {
    char **names; /* owned, each too */
    size_t n;
} name_list;

static void name_list_finish(name_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        md_free(list->names[i]);
    }
    md_free(list->names);
}

static void close_folder(DIR **folder)
{
    if (*folder != NULL) {
        closedir(*folder);
    }
}

/* The names in a folder, hidden ones left out, sorted by their bytes. */
static md_status list_names(const char *path, name_list *list, md_error *err)
{
    MD_AUTO(close_folder) DIR *folder = opendir(path);
    if (folder == NULL) {
        int os_errno = errno;
        return os_errno == ENOENT ? md_fail(err, MD_NOT_FOUND, "%s: no such folder", path)
                                  : md_fail_os(err, os_errno, "%s", path);
    }
    list->names = md_calloc(MD_REGISTRY_MAX_ENTRIES, sizeof *list->names);
    if (list->names == NULL) {
        return md_fail(err, MD_NOMEM, "%s: no memory to list it", path);
    }
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (list->n == MD_REGISTRY_MAX_ENTRIES) {
            return md_fail(err, MD_LIMIT, "%s: more than %d entries, is it a plugin folder?",
                           path, MD_REGISTRY_MAX_ENTRIES);
        }
        char *name = md_strdup(entry->d_name);
        if (name == NULL) {
            return md_fail(err, MD_NOMEM, "%s: no memory to list it", path);
        }
        list->names[list->n++] = name;
    }
    qsort(list->names, list->n, sizeof *list->names, compare_names);
    return MD_OK;
}

static md_status try_entry(md_registry *registry, const char *path,
                           const md_host_options *options, md_backend backend, md_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return MD_OK; /* gone meanwhile, or a link to nowhere */
    }
    size_t length = strlen(path);
    if (S_ISDIR(info.st_mode)) {
        return holds_manifest(path) ? try_package(registry, path, options, backend, err)
                                    : MD_OK;
    }
    if (length > 3 && strcmp(path + length - 3, ".so") == 0) {
        return try_plugin(registry, path, options, err);
    }
    return MD_OK;
}

static size_t find_model(const md_registry *registry, const char *id)
{
    size_t i = 0;
    while (i < registry->n && strcmp(registry->models[i]->identity.id, id) != 0) {
        i++;
    }
    return i;
}

/* What the model that answers before adds to the parameters of one that comes after it: with
 * another one it is another algorithm. */
static size_t name_gate(const md_analyzer *gate, char *to, size_t size_bytes)
{
    const md_model_identity *m = &gate->identity;
    const int n = snprintf(to, size_bytes, " after=%s@%s:%s", m->id, m->version, m->sha256);
    return n < 0 ? SIZE_MAX : (size_t)n;
}

static md_status link_one(const md_registry *registry, md_analyzer *model, md_error *err)
{
    md_after *after = &model->after;
    const char *id = model->identity.id;
    after->gate = find_model(registry, after->model);
    if (after->gate == registry->n) {
        return md_fail(err, MD_NOT_FOUND,
                       "%s: comes after '%s', which is not loaded: add it to plugins.paths", id,
                       after->model);
    }
    const md_analyzer *gate = registry->models[after->gate];
    if (gate->after.model[0] != '\0' || gate == model || gate->kind != MD_ANALYZER_IMAGE) {
        return md_fail(err, MD_INVALID_ARG,
                       "%s: comes after '%s', which comes after a model itself", id,
                       after->model);
    }
    const size_t n_parameters = strlen(model->identity.parameters);
    if (name_gate(gate, NULL, 0) >= sizeof model->identity.parameters - n_parameters) {
        return md_fail(err, MD_LIMIT,
                       "%s: its parameters and those of '%s' are more than %zu bytes", id,
                       after->model, sizeof model->identity.parameters - 1);
    }
    for (unsigned f = 0; f < gate->n_findings; f++) {
        if (strcmp(gate->specs[f].key, after->finding) == 0) {
            after->gate_finding = f;
            snprintf(model->card.after, sizeof model->card.after, "%s finds %s%s", after->model,
                     after->when == MD_PRESENCE_ABSENT ? "no " : "", after->finding);
            return MD_OK;
        }
    }
    return md_fail(err, MD_NOT_FOUND, "%s: comes after '%s', which has no finding '%s'", id,
                   after->model, after->finding);
}

void md_registry_link(md_registry *registry, const md_host_options *options)
{
    for (size_t i = 0; i < registry->n;) {
        md_analyzer *model = registry->models[i];
        md_error err = {0};
        if (model->after.model[0] == '\0' || link_one(registry, model, &err) == MD_OK) {
            i++;
            continue;
        }
        refuse(registry, options, model->identity.id, &err);
        md_analyzer_destroy(model);
        registry->n--;
        memmove(&registry->models[i], &registry->models[i + 1],
                (registry->n - i) * sizeof registry->models[0]);
        i = 0; /* numbers have changed, and others may come after the one that went */
    }
    for (size_t i = 0; i < registry->n; i++) {
        md_analyzer *model = registry->models[i];
        model->card.is_gate = model->is_gate;
        if (model->after.model[0] != '\0') {
            char *parameters = model->identity.parameters;
            const size_t n = strlen(parameters);
            (void)name_gate(registry->models[model->after.gate], parameters + n,
                            sizeof model->identity.parameters - n);
        }
    }
}

md_status md_registry_scan(md_registry *registry, const char *folder,
                           const md_host_options *options, md_backend backend, md_error *err)
{
    if (holds_manifest(folder)) {
        return try_package(registry, folder, options, backend, err);
    }
    MD_AUTO(name_list_finish) name_list list = {0};
    md_error reason = {0};
    md_status status = list_names(folder, &list, &reason);
    if (status == MD_NOMEM) {
        return md_fail(err, MD_NOMEM, "%s", reason.msg);
    }
    if (status != MD_OK) {
        refuse(registry, options, folder, &reason);
        return MD_OK;
    }
    for (size_t i = 0; i < list.n; i++) {
        char path[PATH_MAX];
        int length = snprintf(path, sizeof path, "%s/%s", folder, list.names[i]);
        if (length < 0 || (size_t)length >= sizeof path) {
            (void)md_fail(&reason, MD_LIMIT, "%s: a path of more than %d bytes", folder,
                          PATH_MAX - 1);
            refuse(registry, options, folder, &reason);
            continue;
        }
        MD_TRY(try_entry(registry, path, options, backend, err));
    }
    return MD_OK;
}
