#include "plugins/train/fit_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

md_status md_fit_log(md_fitting *fit, json_t *object, md_error *err)
{
    char text[40];
    const int64_t now_ms = md_clock_wall_ms();
    const time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    (void)gmtime_r(&seconds, &utc);
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    char *line = NULL;
    if (object != NULL && json_object_set_new(object, "time", json_string(text)) == 0) {
        line = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9));
    }
    json_decref(object);
    if (line == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a line of the log");
    }
    size_t n_bytes = strlen(line), done = 0;
    line[n_bytes++] = '\n'; /* in place of the final zero */
    int os_errno = 0;
    while (done < n_bytes && os_errno == 0) {
        const ssize_t n = write(fit->log_fd, line + done, n_bytes - done);
        if (n >= 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            os_errno = errno;
        }
    }
    free(line);
    if (os_errno != 0) {
        return md_fail_os(err, os_errno, "log.jsonl");
    }
    fit->state.log_bytes += n_bytes;
    return MD_OK;
}

md_status md_fit_log_start(md_fitting *fit, bool resumed, md_error *err)
{
    const md_training_set *set = fit->set;
    int64_t dims[4];
    md_trainer_input_dims(fit->trainer, dims);
    size_t n_weights = 0;
    for (unsigned i = 0; i < fit->n_parameters; i++) {
        n_weights += fit->parameters[i]->gradient != NULL ? fit->parameters[i]->n : 0;
    }
    json_t *parts = json_object();
    for (unsigned p = MD_PART_TRAIN; p <= MD_PART_TEST; p++) {
        json_t *counts = json_object();
        size_t n = 0;
        for (size_t i = 0; i < set->n_films; i++) {
            n += set->films[i].part == (md_part)p;
        }
        (void)json_object_set_new(counts, "films", json_integer((json_int_t)n));
        for (unsigned k = 0; k < set->n_classes; k++) {
            size_t known = 0;
            const size_t with = md_training_set_count(set, (md_part)p, k, &known);
            (void)json_object_set_new(counts, fit->recipe->data.classes[k],
                                      json_integer((json_int_t)with));
        }
        (void)json_object_set_new(parts, md_part_name((md_part)p), counts);
    }
    json_t *o = json_pack(
        "{s:s, s:s, s:I, s:s, s:i, s:I, s:I, s:I, s:[I,I,I], s:o, s:I, s:I, s:I}", "event",
        resumed ? "resumed" : "start", "recipe", fit->recipe->name, "seed",
        (json_int_t)fit->recipe->seed, "backend", md_trainer_backend_name(fit->trainer),
        "threads", (int)fit->n_threads, "weights", (json_int_t)n_weights, "steps_per_epoch",
        (json_int_t)fit->steps_per_epoch, "memory_mib", (json_int_t)(fit->memory_bytes >> 20),
        "input", (json_int_t)dims[1], (json_int_t)dims[2], (json_int_t)dims[3], "parts", parts,
        "unreadable", (json_int_t)set->n_unreadable, "epoch", (json_int_t)fit->state.epoch,
        "step", (json_int_t)fit->state.step);
    return md_fit_log(fit, o, err);
}

md_status md_fit_log_epoch(md_fitting *fit, const md_epoch_record *r, md_error *err)
{
    json_t *aucs = json_object();
    for (unsigned k = 0; k < fit->set->n_classes && fit->validation != NULL; k++) {
        (void)json_object_set_new(aucs, fit->recipe->data.classes[k],
                                  real(fit->scores.class_aucs[k]));
    }
    json_t *o = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "event",
        "epoch", "epoch", (json_int_t)(r->epoch + 1), "steps", (json_int_t)fit->state.n_steps,
        "width", (json_int_t)r->width, "height", (json_int_t)r->height, "rate", real(r->rate),
        "loss", real(r->loss), "gradient_norm", real(r->gradient_norm), "validation_loss",
        real(r->validation_loss), "accuracy", real(r->accuracy), "auc", real(r->auc),
        "class_auc", aucs, "images_per_second", real(r->images_per_second), "seconds",
        real(r->seconds));
    return md_fit_log(fit, o, err);
}

md_status md_fit_log_end(md_fitting *fit, const char *how, md_error *err)
{
    json_t *o = json_pack("{s:s, s:I, s:I, s:o, s:I}", "event", how, "steps",
                          (json_int_t)fit->state.n_steps, "best_epoch",
                          (json_int_t)(fit->state.best_epoch + 1), "seconds",
                          real(fit->state.seconds), "epoch", (json_int_t)fit->state.epoch);
    return md_fit_log(fit, o, err);
}

/* Work that is left, in pixels, over what this process did in a second. NaN before the first
 * step. */
static double seconds_left(const md_fitting *fit)
{
    const md_recipe_training *t = &fit->recipe->training;
    double work = 0.0;
    for (uint64_t e = fit->state.epoch; e < t->epochs; e++) {
        unsigned width = 0, height = 0;
        md_recipe_size_of(fit->recipe, (unsigned)e, &width, &height);
        const uint64_t steps =
            fit->steps_per_epoch - (e == fit->state.epoch ? fit->state.step : 0);
        work += (double)steps * t->batch * width * height;
    }
    return fit->session_work > 0.0 ? work * fit->session_seconds / fit->session_work
                                   : (double)NAN;
}

static void left_text(const md_fitting *fit, char *ret_text, size_t n_bytes)
{
    const double seconds = seconds_left(fit);
    if (isnan(seconds)) {
        ret_text[0] = '\0';
    } else if (seconds >= 3600.0) {
        (void)snprintf(ret_text, n_bytes, "  %.0f h %02.0f min left", floor(seconds / 3600.0),
                       floor(fmod(seconds, 3600.0) / 60.0));
    } else {
        (void)snprintf(ret_text, n_bytes, "  %.0f min %02.0f s left", floor(seconds / 60.0),
                       floor(fmod(seconds, 60.0)));
    }
}

static const char *units_of(const md_fitting *fit)
{
    return fit->recipe->text.there ? "texts" : "images";
}

void md_fit_show_step(md_fitting *fit, double loss, double rate, unsigned n)
{
    FILE *out = fit->options->progress;
    const int64_t now_us = md_clock_monotonic_us();
    (void)n;
    if (out == NULL || isatty(fileno(out)) != 1 || now_us - fit->shown_us < 500000) {
        return;
    }
    fit->shown_us = now_us;
    char left[48];
    left_text(fit, left, sizeof left);
    const double speed = fit->session_seconds > 0.0 ? fit->session_work / fit->session_seconds /
                                                          ((double)fit->width * fit->height)
                                                    : 0.0;
    fprintf(out,
            "\r\033[Kepoch %llu/%u  %ux%u  step %llu/%llu  loss %.4f  rate %.3g  "
            "%.0f %s/s%s",
            (unsigned long long)fit->state.epoch + 1, fit->recipe->training.epochs, fit->width,
            fit->height, (unsigned long long)fit->state.step,
            (unsigned long long)fit->steps_per_epoch, loss, rate, speed, units_of(fit), left);
    (void)fflush(out);
}

void md_fit_show_epoch(md_fitting *fit, const md_epoch_record *r)
{
    FILE *out = fit->options->progress;
    if (out == NULL) {
        return;
    }
    char left[48];
    left_text(fit, left, sizeof left);
    fprintf(out, "%sepoch %llu/%u  %llux%llu  loss %.4f",
            isatty(fileno(out)) == 1 ? "\r\033[K" : "", (unsigned long long)r->epoch + 1,
            fit->recipe->training.epochs, (unsigned long long)r->width,
            (unsigned long long)r->height, r->loss);
    if (!isnan(r->validation_loss)) {
        fprintf(out, "  validation: loss %.4f accuracy %.4f AUC %.4f%s", r->validation_loss,
                r->accuracy, r->auc, fit->state.best_epoch == (int64_t)r->epoch ? " *" : "");
    }
    fprintf(out, "  %.0f %s/s%s\n", r->images_per_second, units_of(fit), left);
    (void)fflush(out);
}
