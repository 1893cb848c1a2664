#include "plugins/host/plugin.h"

#include "base/file.h"
#include "base/log.h"
#include "conf/schema.h"
#include "plugins/host/text.h"
#include "plugins/sdk/medaid_plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ABI 1.0 is frozen: a member that moves breaks every plugin there is. New ones go to the end.
 */
#if UINTPTR_MAX == UINT64_MAX
_Static_assert(sizeof(medaid_plugin) == 64 && offsetof(medaid_plugin, descriptor) == 16 &&
                   offsetof(medaid_plugin, analyse) == 48,
               "medaid_plugin of ABI 1.0");
_Static_assert(sizeof(medaid_host) == 40 && offsetof(medaid_host, log) == 16, "medaid_host");
_Static_assert(sizeof(medaid_descriptor) == 88 && offsetof(medaid_descriptor, findings) == 80,
               "medaid_descriptor");
_Static_assert(sizeof(medaid_accepts) == 72 && offsetof(medaid_accepts, modality) == 16,
               "medaid_accepts");
_Static_assert(sizeof(medaid_quality) == 32, "medaid_quality");
_Static_assert(sizeof(medaid_finding_info) == 88 &&
                   offsetof(medaid_finding_info, threshold) == 56,
               "medaid_finding_info");
_Static_assert(sizeof(medaid_image) == 96 && offsetof(medaid_image, values) == 16 &&
                   offsetof(medaid_image, modality) == 48,
               "medaid_image");
_Static_assert(sizeof(medaid_answer) == 32 && sizeof(medaid_answers) == 24, "medaid_answers");
#endif

/* What a plugin of ABI 1.0 has of each struct: the end of the last member of that version.
 * Later members may be missing and are only read when the plugin's struct_bytes cover them. */
#define END_OF(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))
#define PLUGIN_BYTES_1_0 END_OF(medaid_plugin, get_extension)
#define DESCRIPTOR_BYTES_1_0 END_OF(medaid_descriptor, findings)
#define ACCEPTS_BYTES_1_0 END_OF(medaid_accepts, max_age_years)
#define QUALITY_BYTES_1_0 END_OF(medaid_quality, max_aspect)
#define FINDING_BYTES_1_0 END_OF(medaid_finding_info, urgent)

enum {
    SALIENCY_FLOATS = MEDAID_MAX_SALIENCY_SIDE * MEDAID_MAX_SALIENCY_SIDE
};

/* The host's side of one instance; the table comes first, so that it leads back here. */
typedef struct host_side {
    medaid_host table;
    char id[MD_KEY_BYTES];
    char error[MD_ERROR_MSG_BYTES]; /* of the running call */
} host_side;

typedef struct plugin_analyzer {
    md_analyzer base;
    void *library;
    medaid_plugin entry; /* as much of it as both sides know */
    void *instance;
    bool created;
    host_side host;
    md_finding_spec specs[MEDAID_MAX_FINDINGS];
    medaid_answer answers[MEDAID_MAX_FINDINGS];
    int32_t values;
    float *saliency; /* SALIENCY_FLOATS for each finding */
} plugin_analyzer;

static void host_log(const medaid_host *host, int32_t level, const char *text)
{
    const host_side *side = (const host_side *)(const void *)host;
    char line[1001];
    md_text_clean(text, line, sizeof line);
    md_log(MD_LOG_DEBUG, "plugin_log", MD_LOG_TEXT("plugin", side->id),
           MD_LOG_INT("plugin_level", level), MD_LOG_TEXT("text", line));
}

static void host_set_error(const medaid_host *host, const char *text)
{
    host_side *side = (host_side *)(uintptr_t)host;
    md_text_clean(text, side->error, sizeof side->error);
}

static const void *host_get_extension(const medaid_host *host, const char *id)
{
    (void)host;
    (void)id; /* version 1.0 has none */
    return NULL;
}

/* The text of set_error, or what there is. */
static const char *reason_of(const plugin_analyzer *self)
{
    return self->host.error[0] != '\0' ? self->host.error : "no reason given";
}

static void destroy(md_analyzer *analyzer)
{
    plugin_analyzer *self = (plugin_analyzer *)(void *)analyzer;
    if (self->created) {
        self->entry.destroy(self->instance);
    }
    if (self->library != NULL) {
        dlclose(self->library);
    }
    md_free(self->saliency);
    md_free(self);
}

static void destroyp(plugin_analyzer **self)
{
    if (*self != NULL) {
        destroy(&(*self)->base);
    }
}

/* PS3.16 CID 244. */
static bool laterality_code(int32_t laterality, md_code *ret_code)
{
    switch (laterality) {
    case MEDAID_LATERALITY_NONE:
        *ret_code = (md_code){"", "", ""};
        return true;
    case MEDAID_LATERALITY_RIGHT:
        *ret_code = (md_code){"24028007", "SCT", "Right"};
        return true;
    case MEDAID_LATERALITY_LEFT:
        *ret_code = (md_code){"7771000", "SCT", "Left"};
        return true;
    case MEDAID_LATERALITY_BILATERAL:
        *ret_code = (md_code){"51440002", "SCT", "Bilateral"};
        return true;
    default:
        return false;
    }
}

/* Copy a saliency map that is small, finite and in range; none at all is fine. */
static md_status take_saliency(const medaid_answer *answer, const float *values,
                               const md_raster *raster, md_finding *finding, md_error *err)
{
    uint32_t columns = answer->saliency_columns;
    uint32_t rows = answer->saliency_rows;
    if ((columns == 0 && rows == 0) || values == NULL) {
        return MD_OK;
    }
    if (columns == 0 || rows == 0 || columns > MEDAID_MAX_SALIENCY_SIDE ||
        rows > MEDAID_MAX_SALIENCY_SIDE) {
        return md_fail(err, MD_PLUGIN,
                       "finding '%s': a saliency map of %u x %u, at most %d x %d", finding->key,
                       columns, rows, MEDAID_MAX_SALIENCY_SIDE, MEDAID_MAX_SALIENCY_SIDE);
    }
    size_t n = (size_t)columns * rows;
    for (size_t i = 0; i < n; i++) {
        if (!(values[i] >= 0.0F && values[i] <= 1.0F)) {
            return md_fail(err, MD_PLUGIN, "finding '%s': a saliency value that is not in 0..1",
                           finding->key);
        }
    }
    float *copy = md_malloc(n * sizeof *copy);
    if (copy == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a saliency map");
    }
    memcpy(copy, values, n * sizeof *copy);
    finding->saliency = (md_saliency){.columns = columns,
                                      .rows = rows,
                                      .values = copy,
                                      .x = 0,
                                      .y = 0,
                                      .width = raster->width,
                                      .height = raster->height};
    return MD_OK;
}

static md_status take_answer(const plugin_analyzer *self, unsigned i, const md_raster *raster,
                             bool want_saliency, md_finding *finding, md_error *err)
{
    const medaid_answer *answer = &self->answers[i];
    const md_finding_spec *spec = &self->specs[i];
    if (isnan(answer->score)) {
        return md_fail(err, MD_PLUGIN, "finding '%s': it gave no score", spec->key);
    }
    MD_TRY(md_finding_judge(spec, answer->score, finding, err));
    if (answer->state == MEDAID_ANSWER_UNDETERMINED) {
        finding->presence = MD_PRESENCE_UNDETERMINED;
        finding->urgent = false;
    } else if (answer->state != MEDAID_ANSWER_SCORED) {
        return md_fail(err, MD_PLUGIN, "finding '%s': state %d is not known", spec->key,
                       answer->state);
    }
    if (!laterality_code(answer->laterality, &finding->laterality)) {
        return md_fail(err, MD_PLUGIN, "finding '%s': laterality %d is not known", spec->key,
                       answer->laterality);
    }
    const float *map = want_saliency ? self->saliency + (size_t)i * SALIENCY_FLOATS : NULL;
    return take_saliency(answer, map, raster, finding, err);
}

static md_status analyse_image(md_analyzer *analyzer, const md_image_input *input,
                               md_finding *findings, md_steps *steps, md_error *err)
{
    plugin_analyzer *self = (plugin_analyzer *)(void *)analyzer;
    const md_raster *raster = input->values;
    for (unsigned i = 0; i < self->base.n_findings; i++) {
        float *map = self->saliency + (size_t)i * SALIENCY_FLOATS;
        memset(map, 0, SALIENCY_FLOATS * sizeof *map);
        self->answers[i] =
            (medaid_answer){.score = NAN, .saliency = input->want_saliency ? map : NULL};
    }
    medaid_answers all = {
        .struct_bytes = sizeof all,
        .n_answers = self->base.n_findings,
        .answer_bytes = sizeof self->answers[0],
        .answers = self->answers,
    };
    const medaid_image image = {
        .struct_bytes = sizeof image,
        .rows = raster->height,
        .columns = raster->width,
        .n_channels = raster->n_channels,
        .values = raster->values,
        .values_kind = self->values,
        .has_spacing = input->has_spacing,
        .pixel_width_mm = raster->pixel_width_mm,
        .pixel_height_mm = raster->pixel_height_mm,
        .modality = input->facts->modality,
        .body_part = input->facts->body_part,
        .view = input->facts->view,
        .laterality = input->facts->laterality,
        .age_years = input->facts->age_years,
        .frame = input->frame,
        .n_frames = input->n_frames,
    };
    self->host.error[0] = '\0';
    medaid_status status = self->entry.analyse(self->instance, &image, &all);
    if (status == MEDAID_UNSUITABLE) {
        return md_fail(err, MD_UNSUPPORTED, "%s", reason_of(self));
    }
    if (status != MEDAID_OK) {
        return md_fail(err, status == MEDAID_NO_MEMORY ? MD_NOMEM : MD_PLUGIN,
                       "the plugin failed with status %d: %s", status, reason_of(self));
    }
    md_steps_add(steps, "given whole to plugin %s", self->base.identity.id);
    for (unsigned i = 0; i < self->base.n_findings; i++) {
        MD_TRY(take_answer(self, i, raster, input->want_saliency, &findings[i], err));
    }
    return MD_OK;
}

static const md_analyzer_ops ops = {.analyse_image = analyse_image, .destroy = destroy};

/* Copy a text of the descriptor into a fixed buffer. */
static md_status take_text(const char *what, const char *text, bool required, char *ret_text,
                           size_t size_bytes, md_error *err)
{
    size_t length = text == NULL ? 0 : strnlen(text, size_bytes);
    if (length == 0 && !required) {
        ret_text[0] = '\0';
        return MD_OK;
    }
    if (length == 0 || length >= size_bytes || !md_text_is_clean(text, length)) {
        return md_fail(err, MD_PLUGIN,
                       "the descriptor's %s is not 1..%zu bytes of UTF-8 without control "
                       "characters",
                       what, size_bytes - 1);
    }
    memcpy(ret_text, text, length + 1);
    return MD_OK;
}

static md_status take_code(const char *what, const medaid_code *code, bool required,
                           md_code *ret_code, md_error *err)
{
    bool there = code->value != NULL && code->value[0] != '\0';
    if (!there && !required) {
        *ret_code = (md_code){"", "", ""};
        return MD_OK;
    }
    MD_TRY(take_text(what, code->value, true, ret_code->value, sizeof ret_code->value, err));
    MD_TRY(take_text(what, code->scheme, true, ret_code->scheme, sizeof ret_code->scheme, err));
    return take_text(what, code->meaning, true, ret_code->meaning, sizeof ret_code->meaning,
                     err);
}

static md_status take_list(const char *what, const char *const *words, md_accept_list *ret_list,
                           md_error *err)
{
    ret_list->n = 0;
    if (words == NULL) {
        return MD_OK;
    }
    for (; words[ret_list->n] != NULL; ret_list->n++) {
        if (ret_list->n == MD_ACCEPT_MAX_WORDS) {
            return md_fail(err, MD_PLUGIN, "the descriptor's %s has more than %d words", what,
                           MD_ACCEPT_MAX_WORDS);
        }
        MD_TRY(take_text(what, words[ret_list->n], true, ret_list->words[ret_list->n],
                         MD_ACCEPT_WORD_BYTES, err));
    }
    return MD_OK;
}

static bool in_range(double value, double least, double most)
{
    return value >= least && value <= most; /* false for NaN */
}

static md_status take_accepts(const medaid_accepts *from, md_accept *ret_accept, md_error *err)
{
    if (from == NULL || from->struct_bytes < ACCEPTS_BYTES_1_0) {
        return md_fail(err, MD_PLUGIN, "the descriptor's accepts is missing or too short");
    }
    MD_TRY(take_list("modality", from->modality, &ret_accept->modality, err));
    MD_TRY(take_list("sop_class", from->sop_class, &ret_accept->sop_class, err));
    MD_TRY(take_list("body_part", from->body_part, &ret_accept->body_part, err));
    MD_TRY(take_list("view", from->view, &ret_accept->view, err));
    MD_TRY(take_list("photometric", from->photometric, &ret_accept->photometric, err));
    ret_accept->when_body_part_absent = from->when_body_part_absent == MEDAID_ABSENT_ACCEPT;
    ret_accept->when_view_absent = from->when_view_absent == MEDAID_ABSENT_ACCEPT;
    if (!in_range(from->min_age_years, 0, from->max_age_years) ||
        !in_range(from->max_age_years, 0, 150)) {
        return md_fail(err, MD_PLUGIN, "the descriptor's ages are not in 0..150 years");
    }
    ret_accept->min_age_years = from->min_age_years;
    ret_accept->max_age_years = from->max_age_years;
    return MD_OK;
}

static md_status take_quality(const medaid_quality *from, md_gate *ret_gate, md_error *err)
{
    if (from == NULL) {
        *ret_gate = (md_gate){.min_rows = 1, .min_columns = 1};
        return MD_OK;
    }
    if (from->struct_bytes < QUALITY_BYTES_1_0 || !in_range(from->min_contrast, 0, 1) ||
        !in_range(from->max_aspect, 0, 65536)) {
        return md_fail(err, MD_PLUGIN, "the descriptor's quality is too short or out of range");
    }
    *ret_gate = (md_gate){.min_rows = from->min_rows,
                          .min_columns = from->min_columns,
                          .min_contrast = from->min_contrast,
                          .max_aspect = from->max_aspect};
    return MD_OK;
}

static md_status take_finding(plugin_analyzer *self, unsigned index,
                              const medaid_finding_info *from, md_error *err)
{
    md_finding_spec *spec = &self->specs[index];
    MD_TRY(take_text("finding key", from->key, true, spec->key, sizeof spec->key, err));
    const char *expected = md_schema_check_slug(spec->key);
    if (expected != NULL) {
        return md_fail(err, MD_PLUGIN, "finding key '%s': expected %s", spec->key, expected);
    }
    for (unsigned i = 0; i < index; i++) {
        if (strcmp(self->specs[i].key, spec->key) == 0) {
            return md_fail(err, MD_PLUGIN, "finding key '%s' is declared twice", spec->key);
        }
    }
    MD_TRY(take_code("finding concept", &from->concept_code, true, &spec->concept, err));
    MD_TRY(take_code("finding site", &from->site_code, false, &spec->site, err));
    spec->has_undetermined = from->undetermined_low <= from->undetermined_high;
    if (!in_range(from->threshold, 0, 1) ||
        (spec->has_undetermined && (!in_range(from->undetermined_low, 0, from->threshold) ||
                                    !in_range(from->undetermined_high, from->threshold, 1)))) {
        return md_fail(err, MD_PLUGIN,
                       "finding '%s': threshold and undetermined range are not 0 <= low <= "
                       "threshold <= high <= 1",
                       spec->key);
    }
    spec->threshold = from->threshold;
    spec->undetermined_low = from->undetermined_low;
    spec->undetermined_high = from->undetermined_high;
    spec->score_is_probability = from->score_is_probability == 1;
    spec->urgent = from->urgent == 1;
    return MD_OK;
}

static md_status take_descriptor(plugin_analyzer *self, const medaid_descriptor *d,
                                 md_error *err)
{
    md_model_identity *identity = &self->base.identity;
    if (d == NULL || d->struct_bytes < DESCRIPTOR_BYTES_1_0) {
        return md_fail(err, MD_PLUGIN, "the descriptor is missing or too short");
    }
    MD_TRY(take_text("id", d->id, true, identity->id, sizeof identity->id, err));
    const char *expected = md_schema_check_slug(identity->id);
    if (expected != NULL) {
        return md_fail(err, MD_PLUGIN, "id '%s': expected %s", identity->id, expected);
    }
    if (d->kind != MEDAID_KIND_IMAGE) {
        return md_fail(err, MD_UNSUPPORTED, "kind %d is not served, expected %d (image)",
                       d->kind, MEDAID_KIND_IMAGE);
    }
    MD_TRY(take_text("version", d->version, true, identity->version, sizeof identity->version,
                     err));
    MD_TRY(take_text("name", d->name, true, identity->name, sizeof identity->name, err));
    MD_TRY(take_text("manufacturer", d->manufacturer, true, identity->manufacturer,
                     sizeof identity->manufacturer, err));
    MD_TRY(take_text("intended_use", d->intended_use, true, identity->intended_use,
                     sizeof identity->intended_use, err));
    md_image_needs *needs = &self->base.needs.image;
    needs->plain = true; /* the SDK shows an array */
    MD_TRY(take_accepts(d->accepts, &needs->accept, err));
    MD_TRY(take_quality(d->quality, &needs->gate, err));
    if (d->values != MEDAID_VALUES_DISPLAY && d->values != MEDAID_VALUES_PHYSICAL) {
        return md_fail(err, MD_PLUGIN, "the descriptor's values %d are not known", d->values);
    }
    self->values = d->values;
    needs->values = d->values == MEDAID_VALUES_DISPLAY ? MD_VALUES_DISPLAY : MD_VALUES_PHYSICAL;
    if (d->n_findings < 1 || d->n_findings > MEDAID_MAX_FINDINGS || d->findings == NULL ||
        d->finding_bytes < FINDING_BYTES_1_0 || d->finding_bytes > 4096 ||
        d->finding_bytes % _Alignof(medaid_finding_info) != 0) {
        return md_fail(err, MD_PLUGIN,
                       "the descriptor has %u findings of %u bytes, expected "
                       "1..%d of at least %zu",
                       d->n_findings, d->finding_bytes, MEDAID_MAX_FINDINGS, FINDING_BYTES_1_0);
    }
    for (unsigned i = 0; i < d->n_findings; i++) {
        const char *at = (const char *)d->findings + (size_t)i * d->finding_bytes;
        MD_TRY(take_finding(self, i, (const medaid_finding_info *)(const void *)at, err));
    }
    self->base.n_findings = d->n_findings;
    self->base.specs = self->specs;
    return MD_OK;
}

/* Hash the file and see that it is a shared library at all: dlopen's own message for a text
 * file says little. */
static md_status inspect_file(const char *path, char ret_hex[MD_SHA256_HEX_BYTES],
                              md_error *err)
{
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    MD_TRY(md_file_read(path, MD_PLUGIN_MAX_BYTES, &bytes, &size_bytes, err));
    if (size_bytes < 64 || memcmp(bytes, "\177ELF", 4) != 0) {
        return md_fail(err, MD_FORMAT, "not a shared library (no ELF header)");
    }
    uint8_t digest[MD_SHA256_BYTES];
    md_sha256(bytes, size_bytes, digest);
    md_hex(digest, sizeof digest, ret_hex);
    return MD_OK;
}

typedef const medaid_plugin *(*entry_function)(uint32_t);

/* Call the entry function and take over the table, checked before anything of it is used. */
static md_status take_entry(plugin_analyzer *self, md_error *err)
{
    entry_function entry;
    /* POSIX: the void pointer holds a function; ISO C has no cast for that. */
    *(void **)(void *)&entry = dlsym(self->library, "medaid_plugin_entry");
    if (entry == NULL) {
        return md_fail(err, MD_PLUGIN,
                       "it does not export medaid_plugin_entry, so it is no medaid plugin");
    }
    const medaid_plugin *table = entry(MEDAID_ABI(MEDAID_ABI_MAJOR, MEDAID_ABI_MINOR));
    if (table == NULL) {
        return md_fail(err, MD_UNSUPPORTED, "it does not serve a host of plugin ABI %d.%d",
                       MEDAID_ABI_MAJOR, MEDAID_ABI_MINOR);
    }
    if (table->magic != MEDAID_PLUGIN_MAGIC) {
        return md_fail(err, MD_PLUGIN, "its entry has magic 0x%08x, expected 0x%08x",
                       table->magic, MEDAID_PLUGIN_MAGIC);
    }
    if (table->abi_major != MEDAID_ABI_MAJOR) {
        return md_fail(err, MD_UNSUPPORTED,
                       "it is built for plugin ABI %u.%u, this medaid has %d.%d: build it anew",
                       table->abi_major, table->abi_minor, MEDAID_ABI_MAJOR, MEDAID_ABI_MINOR);
    }
    if (table->struct_bytes < PLUGIN_BYTES_1_0 || table->struct_bytes > 65536) {
        return md_fail(err, MD_PLUGIN, "its entry has %u bytes, expected at least %zu",
                       table->struct_bytes, PLUGIN_BYTES_1_0);
    }
    memcpy(&self->entry, table,
           table->struct_bytes < sizeof self->entry ? table->struct_bytes : sizeof self->entry);
    if (table->create == NULL || table->destroy == NULL || table->self_test == NULL ||
        table->analyse == NULL) {
        return md_fail(err, MD_PLUGIN,
                       "create, destroy, self_test or analyse is missing in its entry");
    }
    return take_descriptor(self, table->descriptor, err);
}

static md_status start(plugin_analyzer *self, const char *path, md_error *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash != NULL ? (int)(slash - path) : 1,
             slash != NULL ? path : ".");
    self->host.table = (medaid_host){
        .struct_bytes = sizeof self->host.table,
        .abi = MEDAID_ABI(MEDAID_ABI_MAJOR, MEDAID_ABI_MINOR),
        .version = MEDAID_VERSION,
        .log = host_log,
        .set_error = host_set_error,
        .get_extension = host_get_extension,
    };
    memcpy(self->host.id, self->base.identity.id, sizeof self->host.id);
    self->saliency = md_calloc((size_t)self->base.n_findings * SALIENCY_FLOATS, sizeof(float));
    if (self->saliency == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for saliency maps");
    }
    medaid_status status = self->entry.create(&self->host.table, folder, &self->instance);
    if (status != MEDAID_OK) {
        return md_fail(err, status == MEDAID_NO_MEMORY ? MD_NOMEM : MD_PLUGIN,
                       "create failed with status %d: %s", status, reason_of(self));
    }
    self->created = true;
    self->host.error[0] = '\0';
    status = self->entry.self_test(self->instance);
    if (status != MEDAID_OK) {
        return md_fail(err, MD_PLUGIN, "self-test failed with status %d: %s", status,
                       reason_of(self));
    }
    return MD_OK;
}

static md_status open_plugin(plugin_analyzer *self, const char *path, const char *only_id,
                             md_error *err)
{
    md_model_identity *identity = &self->base.identity;
    MD_TRY(inspect_file(path, identity->sha256, err));
    self->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (self->library == NULL) {
        const char *reason = dlerror();
        return md_fail(err, MD_PLUGIN, "cannot be loaded: %s", reason != NULL ? reason : "?");
    }
    MD_TRY(take_entry(self, err));
    if (only_id != NULL && strcmp(only_id, identity->id) != 0) {
        return md_fail(err, MD_CANCELLED, "another model was asked for");
    }
    MD_TRY(start(self, path, err));
    snprintf(identity->parameters, sizeof identity->parameters, "form=plugin abi=%u.%u",
             self->entry.abi_major, self->entry.abi_minor);
    self->base.card = (md_model_card){.form = "plugin", .kind = "image"};
    md_accept_describe(&self->base.needs.image.accept, self->base.card.accepts,
                       sizeof self->base.card.accepts);
    md_finding_describe(self->specs, self->base.n_findings, self->base.card.findings,
                        sizeof self->base.card.findings);
    return MD_OK;
}

md_status md_plugin_open(const char *path, const char *name, const char *only_id,
                         md_analyzer **ret_analyzer, md_error *err)
{
    char absolute[PATH_MAX]; /* a name without '/' would be looked for in the library path */
    if (realpath(path, absolute) == NULL) {
        return md_fail(err, MD_NOT_FOUND, "%s: no such file", name);
    }
    MD_AUTO(destroyp) plugin_analyzer *self = md_calloc(1, sizeof *self);
    if (self == NULL) {
        return md_fail(err, MD_NOMEM, "%s: no memory", name);
    }
    self->base.ops = &ops;
    self->base.kind = MD_ANALYZER_IMAGE;
    md_status status = open_plugin(self, absolute, only_id, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%s", name);
    }
    *ret_analyzer = &MD_STEAL(self)->base;
    return MD_OK;
}
