#include "plugins/train/fit_internal.h"

#include "base/clock.h"
#include "inference/text/vocabulary.h"
#include "inference/train/architecture.h"
#include "inference/train/text_architecture.h"
#include "plugins/train/split.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    /* A killed run loses no more than this, however long an epoch takes. */
    CHECKPOINT_SECONDS = 300
};

md_status md_fit_path(const md_fitting *fit, const char *name, char ret_path[MD_FIT_PATH_BYTES],
                      md_error *err)
{
    if (snprintf(ret_path, MD_FIT_PATH_BYTES, "%s/%s", fit->folder, name) >=
        MD_FIT_PATH_BYTES) {
        return md_fail(err, MD_LIMIT, "the run folder's path is too long");
    }
    return MD_OK;
}

static void fit_finish(md_fitting *fit)
{
    md_fit_scores_finish(&fit->scores);
    md_optimizer_destroy(fit->optimizer);
    md_trainer_destroy(fit->trainer);
    md_loader_destroy(fit->train);
    md_loader_destroy(fit->validation);
    md_training_set_destroy(fit->set);
    md_recipe_destroy(fit->recipe);
    md_free(fit->recipe_text);
    md_free(fit->onnx);
    md_free(fit->parameters);
    md_free(fit->records);
    if (fit->log_fd >= 0) {
        (void)close(fit->log_fd);
    }
    if (fit->folder_fd >= 0) {
        (void)close(fit->folder_fd); /* and with it the lock */
    }
}

/* Halves of files that a killed run left. */
static void remove_parts(const md_fitting *fit)
{
    const int fd = openat(fit->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const size_t length = strlen(entry->d_name);
        if (length > 5 && strcmp(entry->d_name + length - 5, ".part") == 0) {
            (void)unlinkat(fit->folder_fd, entry->d_name, 0);
        }
    }
    (void)closedir(folder);
}

static md_status open_folder(md_fitting *fit, md_error *err)
{
    char path[MD_FIT_PATH_BYTES];
    MD_TRY(md_recipe_path(fit->recipe, fit->recipe->run_folder, fit->folder, err));
    MD_TRY(md_folder_create(fit->folder, err));
    fit->folder_fd = open(fit->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fit->folder_fd < 0) {
        return md_fail_os(err, errno, "%s", fit->folder);
    }
    if (flock(fit->folder_fd, LOCK_EX | LOCK_NB) != 0) {
        return md_fail(err, MD_BUSY, "another fit is at work in %s", fit->folder);
    }
    if (!fit->options->resume && md_checkpoint_is_there(fit->folder)) {
        return md_fail(err, MD_BUSY,
                       "%s holds a run already: go on with --resume, or name another "
                       "run_folder",
                       fit->folder);
    }
    remove_parts(fit);
    MD_TRY(md_fit_path(fit, "log.jsonl", path, err));
    fit->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fit->log_fd < 0) {
        return md_fail_os(err, errno, "%s", path);
    }
    return MD_OK;
}

static void show_reading(void *context, size_t n_done, size_t n_all)
{
    FILE *out = context;
    if (out != NULL && isatty(fileno(out)) == 1) {
        fprintf(out, "\r\033[Kreading films %zu/%zu", n_done, n_all);
        (void)fflush(out);
    }
}

static md_status read_films(md_fitting *fit, md_error *err)
{
    FILE *out = fit->options->progress;
    MD_TRY(
        md_training_set_read(fit->recipe, fit->n_threads, show_reading, out, &fit->set, err));
    const md_training_set *set = fit->set;
    if (out != NULL) {
        fprintf(out, "%s%zu %s of %zu patients, %zu unreadable\n",
                isatty(fileno(out)) == 1 ? "\r\033[K" : "", set->n_films,
                fit->recipe->text.there ? "texts" : "films", set->n_patients,
                set->n_unreadable);
        for (size_t i = 0; i < set->n_unreadable && i < 10; i++) {
            fprintf(out, "  left out: %s: %s\n", set->unreadable[i].path,
                    set->unreadable[i].message);
        }
        if (set->n_near_duplicates > 0) {
            fprintf(out,
                    "  warning: %zu pairs of films in two parts look alike, the first: %s\n",
                    set->n_near_duplicates, set->near_duplicate);
        }
    }
    char path[MD_FIT_PATH_BYTES];
    MD_TRY(md_fit_path(fit, "split.csv", path, err));
    return md_split_write(set, path, err);
}

static md_status write_vocabulary(const md_fitting *fit, md_error *err)
{
    char path[MD_FIT_PATH_BYTES];
    MD_AUTO(md_freep) char *text = NULL;
    size_t n_bytes = 0;
    MD_TRY(md_fit_path(fit, MD_RECIPE_VOCABULARY, path, err));
    MD_TRY(md_vocabulary_write(fit->set->vocabulary, &text, &n_bytes, err));
    return md_file_write(path, MD_FILE_REPLACE, text, n_bytes, err);
}

/* What stands for the films, their labels and parts in a checkpoint. */
static md_status films_digest(const md_fitting *fit, uint8_t ret_digest[MD_SHA256_BYTES],
                              md_error *err)
{
    const md_training_set *set = fit->set;
    const size_t label_bytes = set->n_classes * sizeof *set->labels;
    const size_t row = 2 * MD_SHA256_BYTES + 1 + label_bytes;
    size_t n_bytes;
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    if (!md_mul(set->n_films, row, &n_bytes) || (bytes = md_malloc(n_bytes)) == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the digest of %zu films", set->n_films);
    }
    for (size_t i = 0; i < set->n_films; i++) {
        uint8_t *at = bytes + i * row;
        const md_film *film = &set->films[i];
        md_sha256(film->name, strlen(film->name), at);
        memcpy(at + MD_SHA256_BYTES, film->hash, MD_SHA256_BYTES);
        at[2 * MD_SHA256_BYTES] = (uint8_t)film->part;
        memcpy(at + 2 * MD_SHA256_BYTES + 1, set->labels + i * set->n_classes, label_bytes);
    }
    md_sha256(bytes, n_bytes, ret_digest);
    return MD_OK;
}

static md_status make_loaders(md_fitting *fit, md_error *err)
{
    const md_recipe_training *t = &fit->recipe->training;
    md_loader_options options = {.part = MD_PART_TRAIN,
                                 .training = true,
                                 .batch = t->batch,
                                 .n_threads = t->loader_threads};
    MD_TRY(md_loader_create(fit->set, &options, &fit->train, err));
    fit->steps_per_epoch = md_loader_n_steps(fit->train);
    for (size_t i = 0; i < fit->set->n_films; i++) {
        if (fit->set->films[i].part == MD_PART_VALIDATION) {
            options.part = MD_PART_VALIDATION;
            options.training = false;
            return md_loader_create(fit->set, &options, &fit->validation, err);
        }
    }
    return t->early_stopping_epochs == 0
               ? MD_OK
               : md_fail(err, MD_INVALID_ARG,
                         "training.early_stopping_epochs needs a validation part");
}

/* A network that reads texts; its embedding may begin with word vectors. */
static md_status make_text_network(md_fitting *fit, md_error *err)
{
    const md_recipe_network *n = &fit->recipe->network;
    MD_AUTO(md_freep) float *embeddings = NULL;
    unsigned width = 0;
    if (fit->recipe->text.vectors[0] != '\0') {
        MD_TRY(md_text_set_vectors(fit->set, &embeddings, &width, err));
        if (n->embedding != 0 && n->embedding != width) {
            return md_fail(err, MD_INVALID_ARG,
                           "line %u: network.embedding is %u, text.vectors have the width %u",
                           n->line, n->embedding, width);
        }
    }
    const md_text_architecture a = {
        .name = n->name,
        .vocabulary = (int64_t)md_vocabulary_size(fit->set->vocabulary),
        .length = fit->recipe->text.tokens,
        .n_classes = fit->recipe->data.n_classes,
        .embedding = width != 0 ? width : n->embedding,
        .hidden = n->hidden,
        .layers = n->depth,
        .heads = n->heads,
        .attention = n->pooling,
        .bidirectional = n->bidirectional,
        .dropout = n->dropout < 0 ? 0.0 : n->dropout,
        .embeddings = embeddings,
        .seed = fit->recipe->seed,
    };
    const md_status status = md_text_architecture_write(&a, &fit->onnx, &fit->onnx_bytes, err);
    return status == MD_OK ? MD_OK : md_error_prefix(err, status, "line %u: network", n->line);
}

static md_status make_network(md_fitting *fit, md_error *err)
{
    const md_recipe *r = fit->recipe;
    if (r->network.file[0] == '\0' && r->text.there) {
        return make_text_network(fit, err);
    }
    if (r->network.file[0] != '\0') {
        char path[MD_RECIPE_PATH_BYTES];
        MD_TRY(md_recipe_path(r, r->network.file, path, err));
        return md_file_read(path, MD_NETWORK_MAX_ONNX_BYTES, &fit->onnx, &fit->onnx_bytes, err);
    }
    const md_architecture a = {
        .name = r->network.name[0] != '\0' ? r->network.name : NULL,
        .layers = r->network.layers,
        .n_layers = r->network.n_layers,
        .width = r->network.width,
        .n_channels = r->preprocess.n_channels,
        .image_height = r->preprocess.height,
        .image_width = r->preprocess.width,
        .n_classes = r->data.n_classes,
        .dropout = r->network.dropout,
        .function = (md_layer_function)r->network.activation,
        .seed = r->seed,
    };
    const md_status status = md_architecture_write(&a, &fit->onnx, &fit->onnx_bytes, err);
    return status == MD_OK ? MD_OK
                           : md_error_prefix(err, status, "line %u: network", r->network.line);
}

/* Texts for what reads texts, films for what sees films. */
static md_status check_reading(const md_fitting *fit, int64_t length, md_error *err)
{
    const md_recipe *r = fit->recipe;
    if (md_trainer_is_text(fit->trainer) != r->text.there) {
        return md_fail(err, MD_INVALID_ARG, "line %u: the network takes %s, the recipe has %s",
                       r->network.line, r->text.there ? "pictures" : "tokens",
                       r->text.there ? "texts" : "films");
    }
    if (!r->text.there) {
        return MD_OK;
    }
    const int64_t n_tokens = md_trainer_n_tokens(fit->trainer);
    const size_t n_vocabulary = md_vocabulary_size(fit->set->vocabulary);
    if (length != r->text.tokens || n_tokens < (int64_t)n_vocabulary) {
        return md_fail(err, MD_INVALID_ARG,
                       "the network takes %lld tokens of a text and knows %lld, the recipe has "
                       "text.tokens %u and a vocabulary of %zu",
                       (long long)length, (long long)n_tokens, r->text.tokens, n_vocabulary);
    }
    return MD_OK;
}

/* What the weights, activations and the optimizer may take together. */
static size_t memory_bound(const md_recipe *r)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (r->training.max_mib > 0) {
        return (size_t)r->training.max_mib << 20;
    }
    return pages > 0 && page > 0 ? (size_t)pages / 4 * 3 * (size_t)page : 0;
}

/* A limit that is passed is a mistake of the recipe. */
static md_status too_large(const md_fitting *fit, md_status status, md_error *err)
{
    if (status != MD_LIMIT) {
        return md_error_prefix(err, status, "network");
    }
    return md_error_prefix(
        err, MD_INVALID_ARG, "line %u: training.max_mib%s", fit->recipe->training.line,
        fit->recipe->training.max_mib == 0 ? " (0: three quarters of this machine's memory)"
                                           : "");
}

static md_status try_size(md_fitting *fit, unsigned width, unsigned height, md_error *err)
{
    md_status status = md_fit_resize(fit, width, height, err);
    if (status == MD_OK) {
        status = md_trainer_prepare(fit->trainer, err);
    }
    if (status != MD_OK) {
        return too_large(fit, status, err);
    }
    const size_t bytes = md_trainer_bytes(fit->trainer);
    fit->trainer_bytes = bytes > fit->trainer_bytes ? bytes : fit->trainer_bytes;
    return MD_OK;
}

/* Pictures larger than those of `preprocess` are tried now, not after hours. */
static md_status try_sizes(md_fitting *fit, md_error *err)
{
    const md_recipe *r = fit->recipe;
    unsigned epoch = 0, width = 0, height = 0;
    for (unsigned i = 0; i < r->training.n_sizes && epoch < r->training.epochs; i++) {
        md_recipe_size_of(r, epoch, &width, &height);
        epoch += r->training.sizes[i].epochs;
        if (width > r->preprocess.width || height > r->preprocess.height) {
            MD_TRY(try_size(fit, width, height, err));
        }
    }
    return try_size(fit, r->preprocess.width, r->preprocess.height, err);
}

/* Told before the first step, so that nobody finds out when the kernel ends the program. */
static md_status tell_memory(md_fitting *fit, md_error *err)
{
    FILE *out = fit->options->progress;
    const size_t optimizer = md_optimizer_state_bytes(fit->optimizer);
    const size_t bound = memory_bound(fit->recipe);
    fit->memory_bytes = fit->trainer_bytes + optimizer;
    if (bound > 0 && fit->memory_bytes > bound) {
        (void)md_fail(err, MD_LIMIT,
                      "training with batches of %u needs %zu MiB, the limit is %zu: take "
                      "smaller batches or pictures",
                      fit->recipe->training.batch, fit->memory_bytes >> 20, bound >> 20);
        return too_large(fit, MD_LIMIT, err);
    }
    if (out != NULL) {
        fprintf(
            out,
            "memory: %zu MiB for the network in batches of %u, %zu for the optimizer, up to "
            "%u for data (data.cache_mib)\n",
            fit->trainer_bytes >> 20, fit->recipe->training.batch, optimizer >> 20,
            fit->recipe->data.cache_mib);
    }
    return MD_OK;
}

static md_status make_trainer(md_fitting *fit, md_error *err)
{
    const md_recipe *r = fit->recipe;
    const char *frozen[MD_RECIPE_MAX_FROZEN];
    float class_weights[MD_RECIPE_MAX_CLASSES];
    for (unsigned i = 0; i < r->network.n_freeze; i++) {
        frozen[i] = r->network.freeze[i];
    }
    unsigned groups[MD_RECIPE_MAX_CLASSES];
    md_training_set_class_weights(fit->set, class_weights);
    md_recipe_groups(r, groups);
    const md_trainer_options options = {
        .backend = r->training.backend,
        .n_threads = fit->n_threads,
        .bf16 = r->training.precision == MD_PRECISION_BF16,
        .batch = r->training.batch,
        .height = r->text.there ? 0 : r->preprocess.height,
        .width = r->text.there ? 0 : r->preprocess.width,
        .loss = r->data.task == MD_TASK_MULTI_LABEL ? MD_LOSS_BINARY_CROSS_ENTROPY
                                                    : MD_LOSS_CROSS_ENTROPY,
        .label_smoothing = (float)r->training.label_smoothing,
        .class_weights = class_weights,
        .n_class_weights = r->data.n_classes,
        .groups = groups,
        .n_groups = r->training.loss.n_groups,
        .within_weight = (float)r->training.loss.within,
        .frozen = frozen,
        .n_frozen = r->network.n_freeze,
        .max_bytes = memory_bound(r),
    };
    md_status status =
        md_trainer_create(fit->onnx, fit->onnx_bytes, &options, &fit->trainer, err);
    if (status != MD_OK) {
        return too_large(fit, status, err);
    }
    fit->width = r->preprocess.width;
    fit->height = r->preprocess.height;
    fit->n_threads = md_trainer_n_threads(fit->trainer);
    int64_t dims[4];
    md_trainer_input_dims(fit->trainer, dims);
    MD_TRY(check_reading(fit, dims[3], err));
    const int64_t n_classes = md_trainer_n_classes(fit->trainer);
    if (dims[1] != r->preprocess.n_channels || n_classes != r->data.n_classes) {
        return md_fail(err, MD_INVALID_ARG,
                       "the network takes %lld channels and gives %lld values, the recipe has "
                       "%u channels and %u classes",
                       (long long)dims[1], (long long)n_classes,
                       (unsigned)r->preprocess.n_channels, r->data.n_classes);
    }
    return try_sizes(fit, err);
}

static md_status make_optimizer(md_fitting *fit, md_error *err)
{
    const md_recipe_training *t = &fit->recipe->training;
    fit->n_parameters = md_trainer_n_parameters(fit->trainer);
    fit->parameters = md_calloc(fit->n_parameters, sizeof *fit->parameters);
    fit->records = md_calloc(t->epochs, sizeof *fit->records);
    if (fit->parameters == NULL || fit->records == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u parameters", fit->n_parameters);
    }
    for (unsigned i = 0; i < fit->n_parameters; i++) {
        fit->parameters[i] = md_trainer_parameter(fit->trainer, i);
    }
    const md_optimizer_options options = {
        .kind = t->optimizer == MD_RECIPE_SGD ? MD_OPTIMIZER_SGD : MD_OPTIMIZER_ADAM,
        .momentum = t->optimizer == MD_RECIPE_SGD ? t->momentum : 0.0,
        .nesterov = t->optimizer == MD_RECIPE_SGD && t->nesterov,
        .beta1 = t->beta1,
        .beta2 = t->beta2,
        .epsilon = t->epsilon,
        .weight_decay = t->weight_decay,
        .decoupled = t->optimizer == MD_RECIPE_ADAMW,
        .clip_norm = t->clip_norm,
        .average = t->average,
        /* weights from a file are worth something from the first step on */
        .average_warmup = fit->recipe->network.file[0] == '\0',
        .n_threads = fit->n_threads,
    };
    MD_TRY(md_optimizer_create(fit->parameters, fit->n_parameters, &options, &fit->optimizer,
                               err));
    static const md_schedule_kind kinds[] = {
        [MD_RECIPE_CONSTANT] = MD_SCHEDULE_CONSTANT,
        [MD_RECIPE_STEP] = MD_SCHEDULE_STEP,
        [MD_RECIPE_COSINE] = MD_SCHEDULE_COSINE,
        [MD_RECIPE_ONE_CYCLE] = MD_SCHEDULE_ONE_CYCLE,
    };
    const double per_epoch = (double)fit->steps_per_epoch;
    fit->schedule = (md_schedule){
        .kind = kinds[t->schedule],
        .rate = t->learning_rate,
        .n_steps = t->epochs * fit->steps_per_epoch,
        .warmup_steps = (uint64_t)llround(t->warmup_epochs * per_epoch),
        .step_steps = (t->step_epochs == 0 ? 1 : t->step_epochs) * fit->steps_per_epoch,
        .step_factor = t->step_factor,
        .last_factor = t->last_factor,
    };
    if (fit->schedule.warmup_steps >= fit->schedule.n_steps) {
        return md_fail(err, MD_INVALID_ARG,
                       "line %u: training.warmup_epochs %g is not below training.epochs %u",
                       t->line, t->warmup_epochs, t->epochs);
    }
    return MD_OK;
}

/* What is wrong in a recipe is a mistake of the one who wrote it, not of its bytes. */
static md_status read_recipe(md_fitting *fit, const char *path, md_error *err)
{
    md_status status = md_recipe_read(path, &fit->recipe, err);
    if (status == MD_FORMAT || status == MD_LIMIT) {
        status = MD_INVALID_ARG;
        if (err != NULL) {
            err->status = status;
        }
    }
    return status;
}

/* Recipe, films, loaders, network: everything but where the training stands. */
static md_status set_up(md_fitting *fit, const char *recipe_path, md_error *err)
{
    MD_TRY(read_recipe(fit, recipe_path, err));
    fit->n_threads =
        fit->options->n_threads != 0 ? fit->options->n_threads : fit->recipe->threads;
    MD_TRY(md_recipe_write(fit->recipe, &fit->recipe_text, err));
    /* before the films are read, which takes long: what is wrong here is told at once */
    if (!fit->recipe->text.there) {
        MD_TRY(make_network(fit, err));
    }
    MD_TRY(open_folder(fit, err));
    MD_TRY(read_films(fit, err));
    if (fit->recipe->text.there) { /* the vocabulary is known now */
        MD_TRY(make_network(fit, err));
    }
    MD_TRY(make_loaders(fit, err));
    MD_TRY(make_trainer(fit, err));
    MD_TRY(make_optimizer(fit, err));
    MD_TRY(tell_memory(fit, err));
    md_fit_identity *identity = &fit->checkpoint.identity;
    md_sha256(fit->recipe_text, strlen(fit->recipe_text), identity->recipe);
    md_sha256(fit->onnx, fit->onnx_bytes, identity->network);
    MD_TRY(films_digest(fit, identity->films, err));
    fit->checkpoint.folder = fit->folder;
    fit->checkpoint.state = &fit->state;
    fit->checkpoint.records = fit->records;
    fit->checkpoint.max_records = fit->recipe->training.epochs;
    fit->checkpoint.parameters = fit->parameters;
    fit->checkpoint.n_parameters = fit->n_parameters;
    fit->checkpoint.optimizer = fit->optimizer;
    return MD_OK;
}

/* From the checkpoint, or from the beginning. */
static md_status find_start(md_fitting *fit, md_error *err)
{
    char path[MD_FIT_PATH_BYTES];
    bool found = false;
    fit->state = (md_fit_state){.best_epoch = -1};
    MD_TRY(md_checkpoint_read(&fit->checkpoint, &found, err));
    /* only now: a checkpoint of other texts was refused, and its vocabulary stays */
    if (fit->recipe->text.there) {
        MD_TRY(write_vocabulary(fit, err));
    }
    /* lines of steps that are done anew go */
    if (ftruncate(fit->log_fd, (off_t)fit->state.log_bytes) != 0) {
        return md_fail_os(err, errno, "log.jsonl");
    }
    if (found && fit->state.n_threads != fit->n_threads && fit->options->progress != NULL) {
        fprintf(fit->options->progress,
                "warning: begun with %llu threads, going on with %u: sums are rounded "
                "otherwise\n",
                (unsigned long long)fit->state.n_threads, fit->n_threads);
    }
    fit->state.n_threads = fit->n_threads;
    MD_TRY(md_fit_path(fit, "recipe.yaml", path, err));
    MD_TRY(
        md_file_write(path, MD_FILE_REPLACE, fit->recipe_text, strlen(fit->recipe_text), err));
    return md_fit_log_start(fit, found, err);
}

/* Values that are no numbers any more would make every later checkpoint worthless. */
static bool is_finite(const md_fitting *fit)
{
    for (unsigned i = 0; i < fit->n_parameters; i++) {
        const md_parameter *p = fit->parameters[i];
        float sum = 0.0F; /* x - x is 0, or NaN for what is not finite */
        for (size_t j = 0; j < p->n; j++) {
            sum += p->value[j] - p->value[j];
        }
        if (isnan(sum)) {
            return false;
        }
    }
    return true;
}

static md_status not_finite(md_fitting *fit, const char *what, double value, md_error *err)
{
    md_error ignored = {0};
    (void)!md_fit_log_end(fit, "not_finite", &ignored);
    return md_fail(err, MD_CANCELLED,
                   "%s is %g at step %llu of epoch %llu (step %llu of the run): the checkpoint "
                   "before it is kept; lower training.learning_rate or set training.clip_norm",
                   what, value, (unsigned long long)fit->state.step + 1,
                   (unsigned long long)fit->state.epoch + 1,
                   (unsigned long long)fit->state.n_steps + 1);
}

static md_status write_checkpoint(md_fitting *fit, md_error *err)
{
    md_status status = md_checkpoint_write(&fit->checkpoint, err);
    fit->checkpoint_us = md_clock_monotonic_us();
    return status == MD_OK ? MD_OK
                           : md_error_prefix(err, status,
                                             "the checkpoint before it is kept, but this one "
                                             "cannot be written");
}

static md_status write_network(const md_fitting *fit, const char *name, md_error *err)
{
    char path[MD_FIT_PATH_BYTES];
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    MD_TRY(md_fit_path(fit, name, path, err));
    MD_TRY(md_trainer_export(fit->trainer, md_optimizer_average(fit->optimizer), &bytes,
                             &n_bytes, err));
    return md_file_write(path, MD_FILE_REPLACE, bytes, n_bytes, err);
}

/* Stop here when asked to, with a checkpoint. */
static md_status check_stop(md_fitting *fit, md_error *err)
{
    const md_fit_options *o = fit->options;
    const int64_t now_us = md_clock_monotonic_us();
    const bool asked = o->stop != NULL && *o->stop != 0;
    const bool late =
        o->max_minutes > 0.0 && (double)(now_us - fit->start_us) > o->max_minutes * 60e6;
    if (!asked && !late) {
        if (now_us - fit->checkpoint_us > (int64_t)CHECKPOINT_SECONDS * 1000000) {
            return is_finite(fit) ? write_checkpoint(fit, err)
                                  : not_finite(fit, "a weight", (double)NAN, err);
        }
        return MD_OK;
    }
    if (!is_finite(fit)) {
        return not_finite(fit, "a weight", (double)NAN, err);
    }
    MD_TRY(md_fit_log_end(fit, asked ? "stopped" : "time", err));
    MD_TRY(write_checkpoint(fit, err));
    return md_fail(err, asked ? MD_CANCELLED : MD_TIMEOUT,
                   "stopped %s after step %llu of %llu: --resume goes on from there",
                   asked ? "by a signal" : "by --max-minutes",
                   (unsigned long long)fit->state.n_steps,
                   (unsigned long long)fit->schedule.n_steps);
}

static md_status one_step(md_fitting *fit, double *ret_rate, md_error *err)
{
    md_batch batch;
    double loss = 0.0, norm = 0.0;
    const float *logits = NULL;
    MD_TRY(md_loader_next(fit->train, &batch, err));
    if (batch.n == 0) {
        return md_fail(err, MD_INTERNAL, "the epoch has fewer steps than the loader said");
    }
    const uint64_t seed = fit->recipe->seed ^ (fit->state.n_steps * 0x9e3779b97f4a7c15U);
    MD_TRY(batch.tokens != NULL
               ? md_trainer_step_tokens(fit->trainer, batch.tokens, batch.n, batch.width,
                                        batch.targets, NULL, seed, &loss, &logits, err)
               : md_trainer_step(fit->trainer, batch.images, batch.n, batch.targets, NULL, seed,
                                 &loss, &logits, err));
    if (!isfinite(loss)) {
        return not_finite(fit, "the loss", loss, err);
    }
    *ret_rate = md_schedule_rate(&fit->schedule, fit->state.n_steps);
    const md_status status = md_optimizer_update(fit->optimizer, *ret_rate, &norm, err);
    if (status == MD_FORMAT) {
        return not_finite(fit, "a gradient", (double)NAN, err);
    }
    MD_TRY(status);
    fit->state.step++;
    fit->state.n_steps++;
    fit->state.n_images += batch.n;
    fit->state.loss_sum += loss;
    fit->state.norm_sum += norm;
    fit->session_work += (double)batch.n * fit->width * fit->height;
    md_fit_show_step(fit, loss, *ret_rate, batch.n);
    return MD_OK;
}

/* The steps of the present epoch that are left. */
static md_status train_epoch(md_fitting *fit, md_epoch_record *ret_record, md_error *err)
{
    unsigned width = 0, height = 0;
    md_recipe_size_of(fit->recipe, (unsigned)fit->state.epoch, &width, &height);
    MD_TRY(md_fit_resize(fit, width, height, err));
    MD_TRY(md_loader_begin(fit->train, (unsigned)fit->state.epoch, fit->state.step, width,
                           height, 0, err));
    double rate = 0.0;
    while (fit->state.step < fit->steps_per_epoch) {
        const int64_t before_us = md_clock_monotonic_us();
        MD_TRY(one_step(fit, &rate, err));
        const double seconds = (double)(md_clock_monotonic_us() - before_us) * 1e-6;
        fit->session_seconds += seconds;
        fit->state.epoch_seconds += seconds;
        fit->state.seconds += seconds;
        if (fit->state.step < fit->steps_per_epoch) {
            MD_TRY(check_stop(fit, err));
        }
    }
    const md_fit_state *s = &fit->state;
    *ret_record = (md_epoch_record){
        .epoch = s->epoch,
        .width = width,
        .height = height,
        .rate = md_schedule_rate(&fit->schedule, s->n_steps - 1),
        .loss = s->loss_sum / (double)s->step,
        .gradient_norm = s->norm_sum / (double)s->step,
        .validation_loss = (double)NAN,
        .accuracy = (double)NAN,
        .auc = (double)NAN,
        .images_per_second = (double)s->n_images / s->epoch_seconds,
        .seconds = s->epoch_seconds,
    };
    return MD_OK;
}

static bool is_better(const md_fit_state *s, double auc, double loss)
{
    if (s->best_epoch < 0) {
        return true;
    }
    if (!isnan(auc) && !isnan(s->best_auc) && auc != s->best_auc) {
        return auc > s->best_auc;
    }
    return loss < s->best_loss;
}

static md_status validate(md_fitting *fit, md_epoch_record *record, md_error *err)
{
    const int64_t before_us = md_clock_monotonic_us();
    if (fit->validation == NULL) {
        return MD_OK;
    }
    MD_TRY(
        md_fit_resize(fit, fit->recipe->preprocess.width, fit->recipe->preprocess.height, err));
    MD_TRY(md_fit_score(fit, fit->trainer, fit->validation,
                        md_optimizer_average(fit->optimizer), &fit->scores, err));
    if (!isfinite(fit->scores.loss)) {
        return not_finite(fit, "the validation loss", fit->scores.loss, err);
    }
    record->validation_loss = fit->scores.loss;
    record->accuracy = fit->scores.accuracy;
    record->auc = fit->scores.auc;
    fit->state.seconds += (double)(md_clock_monotonic_us() - before_us) * 1e-6;
    if (is_better(&fit->state, record->auc, record->validation_loss)) {
        MD_TRY(write_network(fit, "best.onnx", err));
        fit->state.best_epoch = (int64_t)record->epoch;
        fit->state.best_auc = record->auc;
        fit->state.best_loss = record->validation_loss;
    }
    return MD_OK;
}

static md_status one_epoch(md_fitting *fit, md_error *err)
{
    const md_recipe_training *t = &fit->recipe->training;
    md_fit_state *s = &fit->state;
    md_epoch_record record;
    MD_TRY(train_epoch(fit, &record, err));
    if (!is_finite(fit)) {
        return not_finite(fit, "a weight", (double)NAN, err);
    }
    MD_TRY(validate(fit, &record, err));
    if (s->n_records < fit->checkpoint.max_records) {
        fit->records[s->n_records++] = record;
    }
    s->epoch++;
    s->step = 0;
    s->n_images = 0;
    s->loss_sum = s->norm_sum = s->epoch_seconds = 0.0;
    s->stopped_early = t->early_stopping_epochs > 0 && s->epoch < t->epochs &&
                       (int64_t)record.epoch - s->best_epoch >= t->early_stopping_epochs;
    MD_TRY(md_fit_log_epoch(fit, &record, err));
    md_fit_show_epoch(fit, &record);
    const bool is_last = s->epoch == t->epochs || s->stopped_early;
    if (is_last || s->epoch % (t->checkpoint_epochs == 0 ? 1 : t->checkpoint_epochs) == 0) {
        MD_TRY(write_checkpoint(fit, err));
    }
    return is_last ? MD_OK : check_stop(fit, err);
}

static md_status run(md_fitting *fit, const char *recipe_path, md_error *err)
{
    MD_TRY(set_up(fit, recipe_path, err));
    MD_TRY(find_start(fit, err));
    fit->start_us = fit->checkpoint_us = md_clock_monotonic_us();
    while (fit->state.epoch < fit->recipe->training.epochs && !fit->state.stopped_early) {
        MD_TRY(one_epoch(fit, err));
    }
    MD_TRY(write_network(fit, "last.onnx", err));
    MD_TRY(md_fit_report(fit, err));
    return md_fit_log_end(fit, "done", err);
}

md_status md_fit_run(const char *recipe_path, const md_fit_options *options, md_error *err)
{
    md_fitting fit = {.options = options, .folder_fd = -1, .log_fd = -1};
    const md_status status = run(&fit, recipe_path, err);
    if (options->progress != NULL && isatty(fileno(options->progress)) == 1) {
        fprintf(options->progress, "\r\033[K");
    }
    fit_finish(&fit);
    return status;
}
