#include "plugins/host/pipeline.h"

#include "base/clock.h"
#include "dicom/image/image.h"
#include "dicom/report/picture.h"
#include "plugins/host/pipeline_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Display rasters are kept for the pictures, which can only be drawn when the whole result is
 * known; beyond this sum they are made again instead. Three films of 2500 x 2048 fit. */
#define KEPT_RASTER_BYTES ((size_t)64 << 20)

static void run_finish(md_run *r)
{
    for (size_t i = 0; i < r->n_units; i++) {
        md_raster_finish(&r->units[i].display);
    }
    for (size_t m = 0; m < MD_REGISTRY_MAX_MODELS; m++) {
        md_free(r->tallies[m].sum);
    }
    md_free(r->units);
    md_study_finish(&r->study);
}

void md_pipeline_failure_code(md_status status, md_code *ret_code)
{
    switch (status) {
    case MD_FORMAT:
        *ret_code = (md_code){"110521", "DCM", "Objects incorrectly formatted"};
        break;
    case MD_UNSUPPORTED:
    case MD_INVALID_ARG:
    case MD_LIMIT:
        *ret_code = (md_code){"110522", "DCM", "Object Types not supported"};
        break;
    case MD_NOMEM:
        *ret_code = (md_code){"110527", "DCM", "Resource inadequate"};
        break;
    case MD_OK:
    case MD_IO:
    case MD_NOT_FOUND:
    case MD_TIMEOUT:
    case MD_BUSY:
    case MD_NETWORK:
    case MD_PLUGIN:
    case MD_CANCELLED:
    case MD_INTERNAL:
    default:
        *ret_code = (md_code){"110501", "DCM", "Equipment failure"};
        break;
    }
}

static bool accepted(const md_study_file *file, size_t model)
{
    return (file->accepted_by >> model & 1) != 0;
}

/* Its values are needed: it looks at the file itself or is asked before one that does. */
static bool is_asked(const md_study_file *file, size_t model)
{
    return (file->asked >> model & 1) != 0;
}

bool md_pipeline_may_run(const md_analyse_options *options, const char *model_id)
{
    for (size_t i = 0; options->some_models && i < options->n_models; i++) {
        if (strcmp(options->models[i], model_id) == 0) {
            return true;
        }
    }
    return !options->some_models;
}

/* Which models look at which files. Files that none wants are counted and told. */
static void match(md_run *r, md_error *ret_first_refusal)
{
    for (size_t i = 0; i < r->study.n; i++) {
        md_study_file *file = &r->study.files[i];
        char reasons[MD_ERROR_MSG_BYTES] = "";
        size_t n_asked = 0;
        for (size_t m = 0; m < r->registry->n && file->is_image; m++) {
            const md_analyzer *model = r->registry->models[m];
            const md_image_needs *needs = &model->needs.image;
            char reason[160] = "";
            if (model->kind != MD_ANALYZER_IMAGE || model->is_gate) {
                continue;
            }
            n_asked++;
            bool may = md_pipeline_may_run(r->options, model->identity.id);
            if (!may) {
                snprintf(reason, sizeof reason, "it may not run here");
            }
            if (may && md_accept_check(&needs->accept, needs->values == MD_VALUES_DISPLAY,
                                       &file->facts, reason, sizeof reason)) {
                file->accepted_by |= UINT64_C(1) << m;
                continue;
            }
            size_t used = strlen(reasons);
            snprintf(reasons + used, sizeof reasons - used, "%s%s: %s", used > 0 ? "; " : "",
                     model->identity.id, reason);
        }
        if (file->n_frames > MD_HOST_MAX_FRAMES && file->accepted_by != 0) {
            file->accepted_by = 0;
            snprintf(reasons, sizeof reasons, "%u frames, at most %d are analysed one by one",
                     file->n_frames, MD_HOST_MAX_FRAMES);
        }
        file->asked = file->accepted_by;
        for (size_t m = 0; m < r->registry->n; m++) {
            const md_after *after = &r->registry->models[m]->after;
            if (accepted(file, m) && after->model[0] != '\0') {
                file->asked |= UINT64_C(1) << after->gate;
            }
        }
        if (file->accepted_by != 0 || (n_asked == 0 && r->offered != 0)) {
            continue; /* where no analyzer looks at images, none refuses this one */
        }
        md_error reason = {0};
        (void)md_fail(&reason, MD_NOT_FOUND, "no model accepts this: %s",
                      !file->is_image      ? "it holds no image"
                      : reasons[0] != '\0' ? reasons
                                           : "all that are loaded are asked for others alone");
        r->analysis->n_not_accepted++;
        if (ret_first_refusal->status == MD_OK) {
            *ret_first_refusal = reason;
        }
        md_study_problem(r->options, file->path, &reason);
    }
}

/* One unit for each frame that is analysed, one for each object that is only listed. */
static md_status list_units(md_run *r, md_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < r->study.n; i++) {
        const md_study_file *file = &r->study.files[i];
        n += file->accepted_by != 0 && file->n_frames > 1 ? file->n_frames : 1;
    }
    if (n > MD_RESULT_MAX_INSTANCES) {
        return md_fail(err, MD_LIMIT,
                       "%zu frames in one study, at most %d are analysed together", n,
                       MD_RESULT_MAX_INSTANCES);
    }
    r->units = md_calloc(n, sizeof *r->units);
    if (r->units == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu images", n);
    }
    for (size_t i = 0; i < r->study.n; i++) {
        md_study_file *file = &r->study.files[i];
        bool split = file->accepted_by != 0 && file->n_frames > 1;
        for (uint32_t f = 1; f <= (split ? file->n_frames : 1); f++) {
            r->units[r->n_units++] = (md_unit){.file = file, .frame = split ? f : 0};
        }
    }
    return MD_OK;
}

md_status md_pipeline_begin(md_run *r, size_t m, int64_t start_ms, md_error *err)
{
    const md_analyzer *model = r->registry->models[m];
    md_result *result = &r->analysis->results[r->analysis->n_results];
    result->instances = md_calloc(r->n_units, sizeof *result->instances);
    result->findings = md_calloc(MD_RESULT_MAX_FINDINGS, sizeof *result->findings);
    if (result->instances == NULL || result->findings == NULL) {
        md_result_finish(result);
        return md_fail(err, MD_NOMEM, "no memory for a result of %zu images", r->n_units);
    }
    memcpy(result->study_instance_uid, r->study.files[0].study_uid, MD_UID_BYTES);
    result->model = model->identity;
    result->n_instances = r->n_units;
    for (size_t i = 0; i < r->n_units; i++) {
        const md_study_file *file = r->units[i].file;
        md_instance_ref *ref = &result->instances[i];
        memcpy(ref->sop_class_uid, file->facts.sop_class, MD_UID_BYTES);
        memcpy(ref->sop_instance_uid, file->sop_uid, MD_UID_BYTES);
        memcpy(ref->series_instance_uid, file->series_uid, MD_UID_BYTES);
        ref->frame = r->units[i].frame;
    }
    result->times = (md_clock_times){.first_received_ms = r->options->first_received_ms,
                                     .last_received_ms = r->options->last_received_ms,
                                     .complete_ms = r->options->complete_ms,
                                     .analysis_start_ms = start_ms};
    md_host_set_predecessor(r->options, result);
    r->analysis->n_results++;
    r->tallies[m].result = result;
    return MD_OK;
}

/* A result for each model that looks at an image. */
static md_status start_results(md_run *r, int64_t start_ms, md_error *err)
{
    for (size_t m = 0; m < r->registry->n; m++) {
        md_tally *t = &r->tallies[m];
        for (size_t i = 0; i < r->n_units; i++) {
            t->n_accepted += accepted(r->units[i].file, m);
        }
        if (t->n_accepted > 0) {
            MD_TRY(md_pipeline_begin(r, m, start_ms, err));
        }
    }
    return MD_OK;
}

/* The image of unit u is lost for model m. */
static void note_failure(md_run *r, size_t m, const md_code *code, const md_error *reason)
{
    md_tally *t = &r->tallies[m];
    if (t->n_failed++ == 0) {
        t->code = *code;
        memcpy(t->text, reason->msg, sizeof t->text);
    }
}

/* The image of unit u cannot be decoded: lost for every model that wanted it. */
static void note_unreadable(md_run *r, const md_unit *u, md_error *reason)
{
    md_code code;
    md_pipeline_failure_code(reason->status, &code);
    if (reason->status != MD_NOMEM && !u->file->counted) {
        r->analysis->n_unreadable++;
        u->file->counted = true;
    }
    if (u->frame > 0) {
        (void)md_error_prefix(reason, reason->status, "frame %u", u->frame);
    }
    for (size_t m = 0; m < r->registry->n; m++) {
        if (accepted(u->file, m)) {
            note_failure(r, m, &code, reason);
        }
    }
    md_study_problem(r->options, u->file->path, reason);
}

typedef struct frame {
    md_raster display, physical; /* physical.values NULL: nobody asked, or physical_error */
    md_steps display_steps, physical_steps;
    md_error physical_error;
    bool has_spacing;
    unsigned scale; /* pixels of the stored image along a side of one of the rasters */
    int64_t decode_us, normalise_us;
    md_finding *answers[MD_REGISTRY_MAX_MODELS]; /* owned; of gates that were asked */
} frame;

static void frame_finish(frame *f)
{
    for (size_t m = 0; m < MD_REGISTRY_MAX_MODELS; m++) {
        md_free(f->answers[m]);
    }
    md_raster_finish(&f->display);
    md_raster_finish(&f->physical);
}

/* What the models that look at this file, and the picture, need of it. */
static md_image_least least_of(const md_run *r, const md_study_file *file)
{
    md_image_least least = {.longer_side = r->options->want_picture ? MD_PICTURE_SIDE : 0};
    for (size_t m = 0; m < r->registry->n; m++) {
        if (!is_asked(file, m)) {
            continue;
        }
        const md_image_least *one = &r->registry->models[m]->needs.image.least;
        if (one->columns == 0 || one->rows == 0) {
            return (md_image_least){0};
        }
        least.columns = one->columns > least.columns ? one->columns : least.columns;
        least.rows = one->rows > least.rows ? one->rows : least.rows;
    }
    return least;
}

static void note_reduce(const md_image *image, frame *f)
{
    f->scale = 1u << image->reduce;
    if (image->reduce > 0) {
        md_steps_add(&f->display_steps, "decoded at 1/%u of the size", f->scale);
        md_steps_add(&f->physical_steps, "decoded at 1/%u of the size", f->scale);
    }
}

static bool wants_plain(const md_run *r, const md_study_file *file)
{
    for (size_t m = 0; m < r->registry->n; m++) {
        if (is_asked(file, m) && r->registry->models[m]->needs.image.plain) {
            return true;
        }
    }
    return false;
}

static md_status load_frame(const md_run *r, const md_unit *u, bool want_physical, frame *f,
                            md_error *err)
{
    if (u->file->n_frames == 0) {
        *err = u->file->broken;
        return err->status;
    }
    md_image image = {0};
    int64_t start_us = md_clock_monotonic_us();
    const md_image_least least = least_of(r, u->file);
    MD_TRY(md_image_decode_least(u->file->dataset, u->frame > 0 ? u->frame - 1 : 0, &least,
                                 &image, err));
    note_reduce(&image, f);
    int64_t decoded_us = md_clock_monotonic_us();
    f->decode_us = decoded_us - start_us;
    f->has_spacing = image.has_spacing;
    if (want_physical) {
        /* colour has none: that is the matter of the models that asked, not of the others */
        f->physical_error.status = md_image_normalise(&image, MD_VALUES_PHYSICAL, &f->physical,
                                                      &f->physical_steps, &f->physical_error);
    }
    md_status status = md_image_normalise_taking(&image, MD_VALUES_DISPLAY, &f->display,
                                                 &f->display_steps, err);
    md_image_finish(&image);
    if (status == MD_OK && wants_plain(r, u->file)) {
        status = md_raster_expand(&f->display, err);
    }
    f->normalise_us = md_clock_monotonic_us() - decoded_us;
    r->analysis->times.decode_us += f->decode_us;
    r->analysis->times.normalise_us += f->normalise_us;
    return status;
}

/* Findings speak of the stored image, also when a smaller one was looked at. */
static void place_in_source(md_saliency *map, const frame *f)
{
    map->x *= f->scale;
    map->width *= f->scale;
    map->y *= f->scale;
    map->height *= f->scale;
}

/* A call of a model of which its own account went from `before` to `after`. */
static void add_call(md_analysis_times *times, int64_t call_us, const md_analyzer_times *before,
                     const md_analyzer_times *after)
{
    const int64_t resize_us = after->resize_us - before->resize_us;
    const int64_t saliency_us = after->saliency_us - before->saliency_us;
    times->resize_us += resize_us;
    times->saliency_us += saliency_us;
    times->network_us += call_us - resize_us - saliency_us;
}

/* sum += values / |values|. False: they have no length. */
static bool add_scaled(float *sum, const float *values, uint32_t n)
{
    double squares = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        squares += (double)values[i] * (double)values[i];
    }
    if (!isfinite(squares) || !(squares > 0.0)) {
        return false;
    }
    const double scale = 1.0 / sqrt(squares);
    for (uint32_t i = 0; i < n; i++) {
        sum[i] += (float)((double)values[i] * scale);
    }
    return true;
}

/* What the model left of the frame that it has just answered for. A study can do without. */
static void take_embedding(md_run *r, size_t m)
{
    md_analyzer *model = r->registry->models[m];
    md_tally *t = &r->tallies[m];
    const uint32_t n = model->embeds.n;
    const float *values =
        n > 0 && model->ops->embedding != NULL ? model->ops->embedding(model) : NULL;
    if (values != NULL && t->sum == NULL) {
        t->sum = md_calloc(n, sizeof *t->sum);
    }
    if (values != NULL && t->sum != NULL) {
        (void)add_scaled(t->sum, values, n);
    }
}

/* The models' embeddings of the whole study. */
static void finish_embeddings(md_run *r)
{
    md_analysis *analysis = r->analysis;
    analysis->embeddings = md_calloc(r->registry->n, sizeof *analysis->embeddings);
    for (size_t m = 0; m < r->registry->n && analysis->embeddings != NULL; m++) {
        const md_analyzer *model = r->registry->models[m];
        const md_tally *t = &r->tallies[m];
        md_embedding *one = &analysis->embeddings[analysis->n_embeddings];
        float *values = t->sum == NULL ? NULL : md_calloc(model->embeds.n, sizeof *values);
        if (values == NULL || !add_scaled(values, t->sum, model->embeds.n)) {
            md_free(values);
            continue;
        }
        *one = (md_embedding){.n = model->embeds.n, .values = values};
        memcpy(one->model_id, model->identity.id, sizeof one->model_id);
        analysis->n_embeddings++;
    }
}

/* One call of a model; `findings` has room for its findings and is cleared when it fails. */
static md_status call_model(md_run *r, size_t m, const md_unit *u, const frame *f,
                            bool want_saliency, int64_t *infer_us, md_finding *findings,
                            md_steps *steps, md_error *err)
{
    md_analyzer *model = r->registry->models[m];
    const bool physical = model->needs.image.values == MD_VALUES_PHYSICAL;
    const md_image_input input = {
        .values = physical ? &f->physical : &f->display,
        .facts = &u->file->facts,
        .has_spacing = f->has_spacing,
        .frame = u->frame > 0 ? u->frame : 1,
        .n_frames = u->file->n_frames,
        .want_saliency = want_saliency,
    };
    const md_analyzer_times before = model->spent;
    const int64_t start_us = md_clock_monotonic_us();
    const md_status status = model->ops->analyse_image(model, &input, findings, steps, err);
    const int64_t call_us = md_clock_monotonic_us() - start_us;
    *infer_us += call_us;
    add_call(&r->analysis->times, call_us, &before, &model->spent);
    for (unsigned i = 0; i < model->n_findings; i++) {
        if (status != MD_OK) { /* half an answer is none */
            md_free(findings[i].saliency.values);
            findings[i] = (md_finding){0};
        }
        findings[i].instance_index = (uint32_t)(u - r->units);
    }
    return status;
}

/* The model looks at one frame; its findings go to the end of the result's list. `passed` says
 * which gate let it through, "" none. */
static md_status ask_model(md_run *r, size_t m, const md_unit *u, const frame *f,
                           const char *passed, md_error *err)
{
    md_analyzer *model = r->registry->models[m];
    md_result *result = r->tallies[m].result;
    size_t room = MD_RESULT_MAX_FINDINGS - result->n_findings;
    if (model->n_findings > room) {
        return md_fail(err, MD_LIMIT, "a report holds at most %d findings",
                       MD_RESULT_MAX_FINDINGS);
    }
    const bool physical = model->needs.image.values == MD_VALUES_PHYSICAL;
    md_steps steps = physical ? f->physical_steps : f->display_steps;
    md_finding *findings = &result->findings[result->n_findings];
    if (passed[0] != '\0') {
        md_steps_add(&steps, "%s", passed);
    }
    MD_TRY(call_model(r, m, u, f, !r->options->report.triage_only, &result->times.infer_us,
                      findings, &steps, err));
    for (unsigned i = 0; i < model->n_findings; i++) {
        place_in_source(&findings[i].saliency, f);
    }
    const size_t index = (size_t)(u - r->units);
    result->n_findings += model->n_findings;
    result->instances[index].analysed = true;
    result->instances[index].steps = steps;
    take_embedding(r, m);
    return MD_OK;
}

/* What model g, which answers before others, finds in this frame: from its own result, or asked
 * now and kept. Borrowed, its n_findings. */
static md_status ask_gate(md_run *r, size_t g, const md_unit *u, frame *f, int64_t *infer_us,
                          const md_finding **ret_findings, md_error *err)
{
    const md_analyzer *gate = r->registry->models[g];
    const md_image_needs *needs = &gate->needs.image;
    const md_result *result = r->tallies[g].result;
    const bool physical = needs->values == MD_VALUES_PHYSICAL;
    char reason[160] = "";
    for (size_t i = 0; result != NULL && i < result->n_findings; i++) {
        if (result->findings[i].instance_index == (size_t)(u - r->units)) {
            *ret_findings = &result->findings[i];
            return MD_OK;
        }
    }
    if (f->answers[g] == NULL) {
        if (!md_accept_check(&needs->accept, !physical, &u->file->facts, reason,
                             sizeof reason)) {
            return md_fail(err, MD_UNSUPPORTED, "%s", reason);
        }
        if (physical && f->physical.values == NULL) {
            *err = f->physical_error;
            return err->status;
        }
        MD_TRY(md_gate_check(&needs->gate, &f->display, err));
        md_finding *answers = md_calloc(gate->n_findings, sizeof *answers);
        if (answers == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %u findings", gate->n_findings);
        }
        md_steps steps = {0};
        const md_status status = call_model(r, g, u, f, false, infer_us, answers, &steps, err);
        if (status != MD_OK) {
            md_free(answers);
            return status;
        }
        f->answers[g] = answers;
    }
    *ret_findings = f->answers[g];
    return MD_OK;
}

/* Model m comes after another: MD_UNSUPPORTED when that one's finding is not as it should be.
 * `ret_passed` says that it is, for the report. */
static md_status check_after(md_run *r, size_t m, const md_unit *u, frame *f,
                             char ret_passed[MD_STEP_BYTES], md_error *err)
{
    const md_after *after = &r->registry->models[m]->after;
    const md_finding *findings = NULL;
    ret_passed[0] = '\0';
    if (after->model[0] == '\0') {
        return MD_OK;
    }
    const md_status status =
        ask_gate(r, after->gate, u, f, &r->tallies[m].result->times.infer_us, &findings, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%s (asked before)", after->model);
    }
    const md_finding *finding = &findings[after->gate_finding];
    const char *not_so = finding->presence == MD_PRESENCE_UNDETERMINED ? "is not sure of"
                         : after->when == MD_PRESENCE_PRESENT          ? "does not find"
                                                                       : "finds";
    if (finding->presence != after->when) {
        return md_fail(err, MD_UNSUPPORTED, "%s %s %s in it (score %.3f, present from %.3g)",
                       after->model, not_so, after->finding, finding->score,
                       finding->threshold);
    }
    snprintf(ret_passed, MD_STEP_BYTES, "%.24s: %.32s %.3f (present from %.3g)", after->model,
             after->finding, finding->score, finding->threshold);
    return MD_OK;
}

static void try_model(md_run *r, size_t m, const md_unit *u, frame *f)
{
    md_error reason = {0};
    md_code code;
    md_result *result = r->tallies[m].result;
    result->times.decode_us += f->decode_us;
    result->times.normalise_us += f->normalise_us;
    const md_image_needs *needs = &r->registry->models[m]->needs.image;
    bool readable = needs->values != MD_VALUES_PHYSICAL || f->physical.values != NULL;
    md_status status = f->physical_error.status;
    if (readable) {
        const int64_t start_us = md_clock_monotonic_us();
        status = md_gate_check(&needs->gate, &f->display, &reason);
        r->analysis->times.quality_us += md_clock_monotonic_us() - start_us;
        char passed[MD_STEP_BYTES];
        if (status == MD_OK) {
            status = check_after(r, m, u, f, passed, &reason);
        }
        if (status == MD_OK) {
            status = ask_model(r, m, u, f, passed, &reason);
        }
    } else {
        reason = f->physical_error;
    }
    if (status == MD_OK) {
        return;
    }
    md_pipeline_failure_code(status, &code);
    if (readable && status == MD_UNSUPPORTED) {
        md_gate_code(&code); /* the gate, or the model itself, finds it unsuitable */
    }
    (void)md_error_prefix(&reason, status, "%s", result->model.id);
    note_failure(r, m, &code, &reason);
    md_study_problem(r->options, u->file->path, &reason);
}

static bool wants_physical(const md_run *r, const md_study_file *file)
{
    for (size_t m = 0; m < r->registry->n; m++) {
        if (is_asked(file, m) &&
            r->registry->models[m]->needs.image.values == MD_VALUES_PHYSICAL) {
            return true;
        }
    }
    return false;
}

static size_t raster_bytes(const md_raster *raster)
{
    const size_t one = raster->codes != NULL ? sizeof *raster->codes : sizeof *raster->values;
    return (size_t)raster->width * raster->height * raster->n_channels * one;
}

/* How much an image is worth showing: urgent ones first, then what is present. */
static double rank_of(const md_finding *finding)
{
    return finding->score + (finding->presence == MD_PRESENCE_PRESENT ? 1 : 0) +
           (finding->urgent ? 1 : 0);
}

/* Show this image when its answer outranks that of the one that is shown. */
static void consider_view(md_run *r, const md_unit *u, const frame *f)
{
    const size_t index = (size_t)(u - r->units);
    const md_finding *best = NULL;
    for (size_t m = 0; m < r->registry->n; m++) {
        const md_result *result = r->tallies[m].result;
        for (size_t i = 0; result != NULL && i < result->n_findings; i++) {
            const md_finding *finding = &result->findings[i];
            if (finding->instance_index == index &&
                (best == NULL || rank_of(finding) > rank_of(best))) {
                best = finding;
            }
        }
    }
    const double rank = best == NULL ? 0 : rank_of(best);
    md_view view = {0};
    md_error err = {0};
    if (rank <= r->view_rank ||
        md_view_make(&f->display, best == NULL ? NULL : &best->saliency,
                     (double)f->display.width * f->scale, (double)f->display.height * f->scale,
                     &view, &err) != MD_OK) {
        return; /* a worklist can do without a picture */
    }
    md_view_finish(&r->analysis->view);
    r->analysis->view = view;
    r->view_rank = rank;
}

static void analyse_unit(md_run *r, md_unit *u)
{
    md_error reason = {0};
    frame f = {0};
    if (load_frame(r, u, wants_physical(r, u->file), &f, &reason) != MD_OK) {
        note_unreadable(r, u, &reason);
        frame_finish(&f);
        return;
    }
    for (int later = 0; later < 2; later++) { /* who comes after others waits for them */
        for (size_t m = 0; m < r->registry->n; m++) {
            const bool comes_after = r->registry->models[m]->after.model[0] != '\0';
            if (accepted(u->file, m) && comes_after == (later == 1)) {
                try_model(r, m, u, &f);
            }
        }
    }
    if (r->options->want_view) {
        consider_view(r, u, &f);
    }
    size_t size_bytes = raster_bytes(&f.display);
    if (r->options->want_picture && size_bytes <= KEPT_RASTER_BYTES - r->kept_bytes) {
        r->kept_bytes += size_bytes;
        u->display = f.display;
        f.display = (md_raster){0};
    }
    frame_finish(&f);
}

/* `n_lost` files of the study could not even be opened: what was on them nobody knows, so no
 * report may say that the study was analysed as a whole. */
static void finish_result(md_tally *t, size_t n_lost, const char *missing)
{
    md_result *result = t->result;
    result->times.analysis_end_ms = md_clock_wall_ms();
    if (t->n_failed == 0 && n_lost == 0 && missing == NULL) {
        result->status = MD_RESULT_COMPLETE;
        return;
    }
    result->status = t->n_failed < t->n_accepted ? MD_RESULT_PARTIAL : MD_RESULT_FAILED;
    md_error text = {0};
    if (t->n_failed == 0 && n_lost == 0) {
        t->code = (md_code){"110523", "DCM", "Object Set incomplete"};
        (void)md_fail(&text, MD_NOT_FOUND, "the study lacks %s", missing);
    } else if (t->n_failed == 0) {
        md_pipeline_failure_code(MD_FORMAT, &t->code);
        (void)md_fail(&text, MD_FORMAT, "%zu files of the study could not be read", n_lost);
    } else if (t->n_accepted == 1) {
        (void)md_fail(&text, MD_FORMAT, "%s", t->text);
    } else {
        (void)md_fail(&text, MD_FORMAT, "%zu of %zu images failed, first: %s", t->n_failed,
                      t->n_accepted, t->text);
    }
    result->failure = t->code;
    memcpy(result->failure_text, text.msg, sizeof text.msg);
}

/* Whether this is the one report that shows what to do next. */
static bool shows_follow_up(const md_analysis *analysis, const md_result *result)
{
    size_t first = 0;
    while (first < analysis->n_results && analysis->results[first].status == MD_RESULT_FAILED) {
        first++;
    }
    return first < analysis->n_results && result == &analysis->results[first];
}

static md_status write_sr(md_run *r, const md_result *result, md_error *err)
{
    md_report_options options = r->options->report;
    MD_AUTO(md_freep) const md_dataset **sources = md_calloc(r->n_units, sizeof *sources);
    if (sources == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a report");
    }
    for (size_t i = 0; i < r->n_units; i++) {
        sources[i] = r->units[i].file->dataset;
    }
    const int64_t start_us = md_clock_monotonic_us();
    options.follow_up = shows_follow_up(r->analysis, result) ? &r->analysis->follow_up : NULL;
    MD_TRY(md_report_write_sr(result, sources, &options,
                              &r->analysis->objects[r->analysis->n_objects], err));
    r->analysis->times.report_us += md_clock_monotonic_us() - start_us;
    r->analysis->n_objects++;
    return MD_OK;
}

/* The picture of one analysed image. Its display raster was kept, or is made again. */
static md_status write_picture(md_run *r, const md_result *result, size_t index, md_error *err)
{
    const md_unit *u = &r->units[index];
    frame f = {0};
    const md_raster *display = &u->display;
    md_status status = MD_OK;
    if (!md_raster_is_filled(display)) {
        status = load_frame(r, u, false, &f, err);
        display = &f.display;
    }
    const int64_t start_us = md_clock_monotonic_us();
    if (status == MD_OK) {
        status = md_report_write_picture(result, (uint32_t)index, u->file->dataset, display,
                                         &r->options->report,
                                         &r->analysis->objects[r->analysis->n_objects], err);
    }
    r->analysis->times.picture_us += md_clock_monotonic_us() - start_us;
    frame_finish(&f);
    if (status == MD_OK) {
        r->analysis->n_objects++;
    }
    return status;
}

/* The maps of the findings of one result. */
static md_status write_maps(md_run *r, const md_result *result, md_error *err)
{
    const int64_t start_us = md_clock_monotonic_us();
    for (size_t i = 0; i < result->n_findings; i++) {
        if (!md_report_has_map(result, i, &r->options->report)) {
            continue;
        }
        const md_unit *u = &r->units[result->findings[i].instance_index];
        MD_TRY(md_report_write_parametric_map(result, i, u->file->dataset, &r->options->report,
                                              &r->analysis->objects[r->analysis->n_objects],
                                              err));
        r->analysis->n_objects++;
    }
    r->analysis->times.maps_us += md_clock_monotonic_us() - start_us;
    return MD_OK;
}

/* All that goes out of one result. */
static md_status write_result(md_run *r, const md_result *result, md_error *err)
{
    const bool failed = result->status == MD_RESULT_FAILED;
    if (r->options->want_sr && (!failed || r->options->want_failure_sr)) {
        MD_TRY(write_sr(r, result, err));
    }
    for (size_t i = 0; i < r->n_units && r->options->want_picture; i++) {
        if (result->instances[i].analysed) {
            MD_TRY(write_picture(r, result, i, err));
        }
    }
    return r->options->want_map ? write_maps(r, result, err) : MD_OK;
}

/* What the images gave goes out also when the report of a text or a risk cannot be written, but
 * for want of memory, since the next attempt may have it. Nothing at all is that error. */
static md_status write_objects(md_run *r, md_error *err)
{
    md_analysis *analysis = r->analysis;
    size_t n_most = 0;
    if (r->options->propose != NULL) {
        r->options->propose(r->options->propose_context, analysis, &analysis->follow_up);
    }
    if (!md_mul(analysis->n_results, r->n_units + 1 + MD_RESULT_MAX_FINDINGS, &n_most)) {
        return md_fail(err, MD_LIMIT, "too many results");
    }
    analysis->objects = md_calloc(n_most, sizeof *analysis->objects);
    if (analysis->objects == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu objects", n_most);
    }
    md_error first = {0};
    bool has_image_result = false;
    for (size_t k = 0; k < analysis->n_results; k++) {
        const md_result *result = &analysis->results[k];
        md_error reason = {0};
        const md_status status = write_result(r, result, &reason);
        has_image_result |= result->kind == MD_RESULT_IMAGE;
        if (status == MD_OK) {
            continue;
        }
        (void)md_error_prefix(&reason, status, "the report of %s", result->model.id);
        if (result->kind == MD_RESULT_IMAGE || status == MD_NOMEM) {
            return md_fail(err, status, "%s", reason.msg);
        }
        md_study_problem(r->options, r->study.files[0].path, &reason);
        first = first.status == MD_OK ? reason : first;
    }
    return first.status != MD_OK && analysis->n_objects == 0 && !has_image_result
               ? md_fail(err, first.status, "%s", first.msg)
               : MD_OK;
}

static md_status analyse(md_run *r, const char *const *paths, size_t n_paths, md_error *err)
{
    int64_t start_ms = md_clock_wall_ms(), start_us = md_clock_monotonic_us();
    md_analysis *analysis = r->analysis;
    md_status status = md_study_open(paths, n_paths, r->options, &r->study, err);
    analysis->times.open_us = md_clock_monotonic_us() - start_us;
    analysis->n_unreadable = r->study.n_unreadable;
    MD_TRY(status);
    md_study_read_header(r->study.files[0].dataset, &analysis->header);
    md_error refusal = {0};
    md_pipeline_offer(r);
    match(r, &refusal);
    if (analysis->n_not_accepted == r->study.n && r->offered == 0) {
        return md_fail(err, MD_NOT_FOUND, "%s", refusal.msg);
    }
    MD_TRY(list_units(r, err));
    analysis->results = md_calloc(r->registry->n, sizeof *analysis->results);
    if (analysis->results == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for results");
    }
    MD_TRY(start_results(r, start_ms, err));
    for (size_t i = 0; i < r->n_units; i++) {
        if (r->units[i].file->accepted_by != 0) {
            analyse_unit(r, &r->units[i]);
        }
    }
    MD_TRY(md_pipeline_beyond_images(r, start_ms, err));
    if (analysis->n_results == 0) {
        return md_fail(err, MD_NOT_FOUND, "%s",
                       refusal.status != MD_OK
                           ? refusal.msg
                           : "no model accepts this: no text and no number to go by");
    }
    for (size_t m = 0; m < r->registry->n; m++) {
        if (r->tallies[m].result != NULL) {
            finish_result(&r->tallies[m], r->study.n_unreadable, r->options->missing);
        }
    }
    finish_embeddings(r);
    return write_objects(r, err);
}

md_status md_pipeline_analyse(md_registry *registry, const char *const *paths, size_t n_paths,
                              const md_analyse_options *options, md_analysis *ret_analysis,
                              md_error *err)
{
    memset(ret_analysis, 0, sizeof *ret_analysis);
    MD_AUTO(md_freep) md_run *r = md_calloc(1, sizeof *r);
    if (r == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an analysis");
    }
    r->registry = registry;
    r->options = options;
    r->analysis = ret_analysis;
    r->view_rank = -1;
    md_status status = analyse(r, paths, n_paths, err);
    run_finish(r);
    return status;
}
