#include "plugins/train/fit_internal.h"

#include "inference/statistics/ranking.h"

#include <math.h>
#include <string.h>

void md_fit_scores_finish(md_fit_scores *scores)
{
    md_free(scores->logits);
    md_free(scores->targets);
    md_free(scores->films);
    *scores = (md_fit_scores){0};
}

md_status md_fit_resize(md_fitting *fit, unsigned width, unsigned height, md_error *err)
{
    if (fit->width == width && fit->height == height) {
        return MD_OK;
    }
    md_status status = md_trainer_resize(fit->trainer, height, width, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "pictures of %u x %u", width, height);
    }
    fit->width = width;
    fit->height = height;
    return MD_OK;
}

void md_fit_probabilities(const md_fitting *fit, const float *logits, float *ret_probabilities)
{
    const unsigned n = fit->set->n_classes;
    if (fit->recipe->data.task == MD_TASK_MULTI_LABEL) {
        for (unsigned k = 0; k < n; k++) {
            ret_probabilities[k] = (float)(1.0 / (1.0 + exp(-(double)logits[k])));
        }
        return;
    }
    double largest = (double)logits[0], sum = 0.0;
    for (unsigned k = 1; k < n; k++) {
        largest = fmax(largest, (double)logits[k]);
    }
    for (unsigned k = 0; k < n; k++) {
        sum += exp((double)logits[k] - largest);
    }
    for (unsigned k = 0; k < n; k++) {
        ret_probabilities[k] = (float)(exp((double)logits[k] - largest) / sum);
    }
}

/* Share of the rows whose largest logit is the class, or of the known labels that are on the
 * right side of 1/2. */
static double accuracy_of(const md_fitting *fit, const md_fit_scores *s)
{
    size_t n_right = 0, n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const float *z = s->logits + i * s->n_classes, *t = s->targets + i * s->n_classes;
        if (fit->recipe->data.task == MD_TASK_MULTI_LABEL) {
            for (size_t k = 0; k < s->n_classes; k++) {
                if (!isnan(t[k])) {
                    n++;
                    n_right += (z[k] >= 0.0F) == (t[k] >= 0.5F) ? 1 : 0;
                }
            }
            continue;
        }
        size_t said = 0, truth = 0;
        for (size_t k = 1; k < s->n_classes; k++) {
            said = z[k] > z[said] ? k : said;
            truth = t[k] > t[truth] ? k : truth;
        }
        if (!isnan(t[0])) {
            n++;
            n_right += said == truth ? 1 : 0;
        }
    }
    return n == 0 ? (double)NAN : (double)n_right / (double)n;
}

/* Mean over the classes, each against the rest, where both kinds are there. */
static md_status fill_aucs(const md_fitting *fit, md_fit_scores *s, md_error *err)
{
    MD_AUTO(md_freep) double *scores = md_calloc(s->n, sizeof *scores);
    MD_AUTO(md_freep) int8_t *truths = md_calloc(s->n, sizeof *truths);
    MD_AUTO(md_freep) float *probabilities = md_calloc(s->n_classes, sizeof *probabilities);
    if (scores == NULL || truths == NULL || probabilities == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the scores of %zu films", s->n);
    }
    double sum = 0.0;
    unsigned n_defined = 0;
    for (size_t k = 0; k < s->n_classes; k++) {
        size_t n = 0;
        s->class_aucs[k] = (double)NAN;
        for (size_t i = 0; i < s->n; i++) {
            const float truth = s->targets[i * s->n_classes + k];
            if (isnan(truth)) {
                continue;
            }
            md_fit_probabilities(fit, s->logits + i * s->n_classes, probabilities);
            /* of one label by itself the logit ranks more finely than its rounded score */
            scores[n] = fit->recipe->data.task == MD_TASK_MULTI_LABEL
                            ? (double)s->logits[i * s->n_classes + k]
                            : (double)probabilities[k];
            truths[n++] = truth >= 0.5F;
        }
        if (n == 0) {
            continue;
        }
        md_ranking ranking = {0};
        MD_TRY(md_ranking_init(scores, truths, n, &ranking, err));
        s->class_aucs[k] = md_ranking_auc(&ranking, NULL);
        md_ranking_finish(&ranking);
        if (!isnan(s->class_aucs[k])) {
            sum += s->class_aucs[k];
            n_defined++;
        }
    }
    s->auc = n_defined == 0 ? (double)NAN : sum / n_defined;
    return MD_OK;
}

static md_status take_batches(md_trainer *trainer, md_loader *loader,
                              const float *const *values, md_fit_scores *s, md_error *err)
{
    double loss_sum = 0.0;
    size_t n = 0;
    for (;;) {
        md_batch batch;
        double loss = 0.0;
        MD_TRY(md_loader_next(loader, &batch, err));
        if (batch.n == 0) {
            break;
        }
        if (batch.n > s->n - n) {
            return md_fail(err, MD_INTERNAL, "more films than the loader said");
        }
        float *logits = s->logits + n * s->n_classes;
        MD_TRY(batch.tokens != NULL
                   ? md_trainer_infer_tokens(trainer, batch.tokens, batch.n, batch.width,
                                             values, logits, err)
                   : md_trainer_infer(trainer, batch.images, batch.n, values, logits, err));
        MD_TRY(md_trainer_loss(trainer, logits, batch.n, batch.targets, NULL, &loss, err));
        memcpy(s->targets + n * s->n_classes, batch.targets,
               batch.n * s->n_classes * sizeof(float));
        memcpy(s->films + n, batch.indices, batch.n * sizeof *s->films);
        loss_sum += loss * batch.n;
        n += batch.n;
    }
    s->n = n;
    s->loss = n == 0 ? (double)NAN : loss_sum / (double)n;
    return MD_OK;
}

md_status md_fit_score(md_fitting *fit, md_trainer *trainer, md_loader *loader,
                       const float *const *values, md_fit_scores *ret_scores, md_error *err)
{
    md_fit_scores *s = ret_scores;
    md_fit_scores_finish(s);
    s->n = (size_t)md_loader_n_films(loader);
    s->n_classes = fit->set->n_classes;
    s->logits = md_calloc(s->n * s->n_classes, sizeof *s->logits);
    s->targets = md_calloc(s->n * s->n_classes, sizeof *s->targets);
    s->films = md_calloc(s->n, sizeof *s->films);
    if (s->logits == NULL || s->targets == NULL || s->films == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the scores of %zu films", s->n);
    }
    MD_TRY(md_loader_begin(loader, 0, 0, 0, 0, 0, err));
    MD_TRY(take_batches(trainer, loader, values, s, err));
    s->accuracy = accuracy_of(fit, s);
    s->auc = (double)NAN;
    /* logits that are no numbers have no order; the loss is none either, and the caller sees it
     */
    return isfinite(s->loss) ? fill_aucs(fit, s, err) : MD_OK;
}
