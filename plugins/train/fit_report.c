#include "plugins/train/fit_internal.h"

#include "plugins/train/chart.h"
#include "plugins/train/page.h"

#include <math.h>
#include <string.h>

/* best.onnx or last.onnx becomes model.onnx; its bytes are given. */
static md_status choose_model(md_fitting *fit, uint8_t **ret_onnx, size_t *ret_size,
                              md_error *err)
{
    const bool best =
        fit->recipe->training.early_stopping_epochs > 0 && fit->state.best_epoch >= 0;
    char from[MD_FIT_PATH_BYTES], to[MD_FIT_PATH_BYTES];
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    MD_TRY(md_fit_path(fit, best ? "best.onnx" : "last.onnx", from, err));
    MD_TRY(md_fit_path(fit, "model.onnx", to, err));
    MD_TRY(md_file_read(from, MD_NETWORK_MAX_ONNX_BYTES, &bytes, &n_bytes, err));
    MD_TRY(md_file_write(to, MD_FILE_REPLACE, bytes, n_bytes, err));
    *ret_onnx = MD_STEAL(bytes);
    *ret_size = n_bytes;
    return MD_OK;
}

/* The scores of the file itself, in float32, which is what will be served. */
static md_status score_model(md_fitting *fit, const uint8_t *onnx, size_t size_bytes,
                             md_error *err)
{
    const md_recipe *r = fit->recipe;
    md_optimizer_destroy(MD_STEAL(fit->optimizer)); /* its memory is needed no more */
    md_trainer_destroy(MD_STEAL(fit->trainer));
    const md_trainer_options options = {
        .backend = r->training.backend,
        .n_threads = fit->n_threads,
        .batch = r->training.batch,
        .height = r->text.there ? 0 : r->preprocess.height,
        .width = r->text.there ? 0 : r->preprocess.width,
        .loss = r->data.task == MD_TASK_MULTI_LABEL ? MD_LOSS_BINARY_CROSS_ENTROPY
                                                    : MD_LOSS_CROSS_ENTROPY,
    };
    MD_TRY(md_trainer_create(onnx, size_bytes, &options, &fit->trainer, err));
    return md_fit_score(fit, fit->trainer, fit->validation, NULL, &fit->scores, err);
}

typedef struct course {
    double *x, *loss, *validation_loss, *accuracy, *auc, *rate; /* [n], in one block */
    size_t n;
} course;

static md_status course_init(const md_fitting *fit, course *c, double **ret_block,
                             md_error *err)
{
    const size_t n = (size_t)fit->state.n_records;
    double *block = md_calloc(6 * (n == 0 ? 1 : n), sizeof *block);
    if (block == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the curves");
    }
    *ret_block = block;
    *c = (course){block,         block + n, block + 2 * n, block + 3 * n, block + 4 * n,
                  block + 5 * n, n};
    for (size_t i = 0; i < n; i++) {
        const md_epoch_record *r = &fit->records[i];
        c->x[i] = (double)(r->epoch + 1);
        c->loss[i] = r->loss;
        c->validation_loss[i] = r->validation_loss;
        c->accuracy[i] = r->accuracy;
        c->auc[i] = r->auc;
        c->rate[i] = r->rate;
    }
    return MD_OK;
}

static md_status draw_curves(const md_fitting *fit, md_drawing **ret_drawing, md_error *err)
{
    MD_AUTO(md_freep) double *block = NULL;
    course c = {0};
    MD_TRY(course_init(fit, &c, &block, err));
    const md_chart_line losses[2] = {{"training", c.x, c.loss, c.n},
                                     {"validation", c.x, c.validation_loss, c.n}};
    const md_chart_line measures[2] = {{"AUC", c.x, c.auc, c.n},
                                       {"accuracy", c.x, c.accuracy, c.n}};
    const md_chart_line rates[1] = {{"learning rate", c.x, c.rate, c.n}};
    const bool validated = fit->validation != NULL;
    md_chart_panel panels[3] = {{"Loss", losses, validated ? 2 : 1, false}};
    unsigned n = 1;
    if (validated) {
        panels[n++] = (md_chart_panel){"Validation", measures, 2, false};
    }
    panels[n++] = (md_chart_panel){"Learning rate", rates, 1, true};
    return md_chart_curves(fit->recipe->name, "epoch", panels, n,
                           fit->state.best_epoch >= 0 ? (double)(fit->state.best_epoch + 1)
                                                      : (double)NAN,
                           "highest AUC", ret_drawing, err);
}

typedef struct facts {
    char network[128], weights[64], course[160], spent[96], digest[MD_SHA256_HEX_BYTES + 1];
    md_page_fact list[5];
} facts;

static void fill_facts(const md_fitting *fit, const uint8_t *onnx, size_t size_bytes,
                       facts *ret)
{
    const md_recipe *r = fit->recipe;
    const char *slash = strrchr(r->network.file, '/');
    size_t n_weights = 0;
    for (unsigned i = 0; i < md_trainer_n_parameters(fit->trainer); i++) {
        const md_parameter *p = md_trainer_parameter(fit->trainer, i);
        n_weights += p->gradient != NULL ? p->n : 0;
    }
    (void)snprintf(ret->network, sizeof ret->network, "%.64s, %u x %u pixels",
                   r->network.name[0] != '\0'   ? r->network.name
                   : r->network.file[0] != '\0' ? (slash != NULL ? slash + 1 : r->network.file)
                                                : "layers of the recipe",
                   r->preprocess.width, r->preprocess.height);
    (void)snprintf(ret->weights, sizeof ret->weights, "%zu", n_weights);
    (void)snprintf(ret->course, sizeof ret->course,
                   "%llu epochs of %llu steps of %u films, seed %llu; the highest validation "
                   "AUC was after epoch %lld",
                   (unsigned long long)fit->state.n_records,
                   (unsigned long long)fit->steps_per_epoch, r->training.batch,
                   (unsigned long long)r->seed, (long long)fit->state.best_epoch + 1);
    (void)snprintf(ret->spent, sizeof ret->spent, "%.0f minutes on %u threads",
                   fit->state.seconds / 60.0, fit->n_threads);
    uint8_t digest[MD_SHA256_BYTES];
    md_sha256(onnx, size_bytes, digest);
    md_hex(digest, sizeof digest, ret->digest);
    ret->list[0] = (md_page_fact){"Network", ret->network};
    ret->list[1] = (md_page_fact){"Weights", ret->weights};
    ret->list[2] = (md_page_fact){"Training", ret->course};
    ret->list[3] = (md_page_fact){"Time", ret->spent};
    ret->list[4] = (md_page_fact){"SHA-256 of model.onnx", ret->digest};
}

static md_status assess(const md_fitting *fit, const char *const *names,
                        md_assessment *ret_assessment, md_error *err)
{
    const md_fit_scores *s = &fit->scores;
    MD_AUTO(md_freep) float *probabilities = md_calloc(s->n * s->n_classes, sizeof(float));
    MD_AUTO(md_freep) uint32_t *patients = md_calloc(s->n, sizeof *patients);
    if (probabilities == NULL || patients == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the scores of %zu films", s->n);
    }
    for (size_t i = 0; i < s->n; i++) {
        md_fit_probabilities(fit, s->logits + i * s->n_classes,
                             probabilities + i * s->n_classes);
        patients[i] = fit->set->films[s->films[i]].patient;
    }
    const md_assess_classes_input classes = {
        .classes = names,
        .n_classes = (unsigned)s->n_classes,
        .multi_label = fit->recipe->data.task == MD_TASK_MULTI_LABEL,
        .probabilities = probabilities,
        .targets = s->targets,
    };
    const md_assess_input more = {.n = s->n,
                                  .patients = patients,
                                  .n_bootstrap = fit->recipe->evaluation.bootstrap,
                                  .seed = fit->recipe->seed,
                                  .n_threads = fit->n_threads};
    return md_assess_classes(&classes, &more, ret_assessment, err);
}

/* Films, patients and classes of each part that has films. */
static md_status fill_parts(const md_fitting *fit, md_page_part *parts, size_t *counts,
                            unsigned *ret_n, md_error *err)
{
    static const char *const names[MD_N_PARTS] = {"", "training", "validation", "test"};
    const md_training_set *set = fit->set;
    MD_AUTO(md_freep) uint8_t *seen = md_malloc(set->n_patients + 1);
    if (seen == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu patients", set->n_patients);
    }
    unsigned n = 0;
    for (unsigned p = MD_PART_TRAIN; p < MD_N_PARTS; p++) {
        md_page_part part = {.name = names[p], .counts = counts + n * set->n_classes};
        memset(seen, 0, set->n_patients + 1);
        for (size_t i = 0; i < set->n_films; i++) {
            const md_film *film = &set->films[i];
            if (film->part == (md_part)p) {
                part.n_images++;
                part.n_patients += seen[film->patient] == 0;
                seen[film->patient] = 1;
            }
        }
        for (unsigned k = 0; k < set->n_classes && part.n_images > 0; k++) {
            size_t known;
            counts[n * set->n_classes + k] = md_training_set_count(set, (md_part)p, k, &known);
        }
        if (part.n_images > 0) {
            parts[n++] = part;
        }
    }
    *ret_n = n;
    return MD_OK;
}

static md_status write_page(const md_fitting *fit, const uint8_t *onnx, size_t size_bytes,
                            const md_drawing *curves, md_error *err)
{
    static const char *const limits[] = {
        "The course of the training was watched on the validation part, and the best epoch is "
        "named by it; an independent test part gives the fairer figures "
        "(medaid-train evaluate).",
    };
    const char *names[MD_RECIPE_MAX_CLASSES];
    size_t counts[MD_N_PARTS * MD_RECIPE_MAX_CLASSES] = {0};
    md_page_part parts[MD_N_PARTS];
    facts f;
    unsigned n_parts = 0;
    for (unsigned k = 0; k < fit->set->n_classes; k++) {
        names[k] = fit->recipe->data.classes[k];
    }
    MD_TRY(fill_parts(fit, parts, counts, &n_parts, err));
    fill_facts(fit, onnx, size_bytes, &f);
    md_assessment assessment = {0};
    md_status status = fit->validation == NULL ? MD_OK : assess(fit, names, &assessment, err);
    const md_page page = {
        .title = fit->recipe->name,
        .intended_use =
            fit->recipe->package.there && fit->recipe->package.manifest.intended_use[0]
                ? fit->recipe->package.manifest.intended_use
                : NULL,
        .units = fit->recipe->text.there ? "texts" : "films",
        .measured_on = "the validation part",
        .facts = f.list,
        .n_facts = sizeof f.list / sizeof *f.list,
        .classes = names,
        .n_classes = fit->set->n_classes,
        .parts = parts,
        .n_parts = n_parts,
        .split =
            "By patient: no patient has films in two parts. Every film with its part is in "
            "split.csv.",
        .assessment = fit->validation == NULL ? NULL : &assessment,
        .curves = curves,
        .limits = limits,
        .n_limits = sizeof limits / sizeof *limits,
    };
    if (status == MD_OK) {
        status = md_page_write(&page, fit->folder, "report", err);
    }
    if (status == MD_OK && fit->validation != NULL) {
        status = md_page_write_charts(&assessment, fit->folder, err);
    }
    md_assessment_finish(&assessment);
    return status;
}

md_status md_fit_report(md_fitting *fit, md_error *err)
{
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    MD_AUTO(md_drawing_destroyp) md_drawing *curves = NULL;
    size_t size_bytes = 0;
    MD_TRY(choose_model(fit, &onnx, &size_bytes, err));
    MD_TRY(draw_curves(fit, &curves, err));
    MD_TRY(md_drawing_write(curves, fit->folder, "curves", err));
    if (fit->validation != NULL) {
        MD_TRY(score_model(fit, onnx, size_bytes, err));
    }
    return write_page(fit, onnx, size_bytes, curves, err);
}
