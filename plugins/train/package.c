#include "plugins/train/package_internal.h"

#include "inference/graph/cut.h"
#include "inference/text/vocabulary.h"
#include "plugins/host/package.h"
#include "plugins/host/quantize.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char SELF_TEST_INPUT[] = "selftest-input.f32";
static const char SELF_TEST_TEXT[] = "selftest-input.txt";
static const char VOCABULARY[] = MD_RECIPE_VOCABULARY;
static const char SELF_TEST_OUTPUT[] = "selftest-output.f32";

enum {
    MAX_RECIPE_BYTES = 1 << 20
};

static void tell(const md_exporting *x, const char *what)
{
    if (x->options->progress != NULL) {
        fprintf(x->options->progress, "%s\n", what);
        (void)fflush(x->options->progress);
    }
}

static md_status join(const char *folder, const char *name, char *ret_path, size_t size_bytes,
                      md_error *err)
{
    const int length = snprintf(ret_path, size_bytes, "%s/%s", folder, name);
    return length >= 0 && (size_t)length < size_bytes
               ? MD_OK
               : md_fail(err, MD_LIMIT, "the folder's name is too long");
}

/* A file of the package: readable by whoever serves, as nothing in it is a patient's. */
static md_status put_file(md_exporting *x, const char *name, const void *bytes, size_t n_bytes,
                          bool listed, md_error *err)
{
    char path[PATH_MAX];
    MD_TRY(join(x->folder, name, path, sizeof path, err));
    MD_TRY(md_file_write(path, MD_FILE_NEW, bytes, n_bytes, err));
    if (chmod(path, 0644) != 0) {
        return md_fail_os(err, errno, "%s", path);
    }
    md_manifest *m = x->manifest;
    if (!listed) {
        return MD_OK;
    }
    uint8_t digest[MD_SHA256_BYTES];
    md_sha256(bytes, n_bytes, digest);
    snprintf(m->files[m->n_files].name, sizeof m->files[0].name, "%s", name);
    md_hex(digest, sizeof digest, m->files[m->n_files].sha256);
    m->n_files++;
    return MD_OK;
}

/* The network as it serves, with the logits as its last output. */
md_status md_export_load(const md_exporting *x, md_backend backend, const char *logits,
                         md_network **ret_network, md_error *err)
{
    const md_network_options options = {.backend = backend,
                                        .n_threads = x->options->n_threads,
                                        .batch = 1,
                                        .extra_outputs = {logits},
                                        .n_extra_outputs = 1};
    return md_network_load(x->onnx, x->onnx_bytes, &options, ret_network, err);
}

static md_status open_network(md_exporting *x, md_error *err)
{
    md_manifest *m = x->manifest;
    char path[PATH_MAX];
    MD_TRY(join(x->options->run_folder, "model.onnx", path, sizeof path, err));
    MD_TRY(md_file_read(path, MD_PACKAGE_MAX_NETWORK_BYTES, &x->onnx, &x->onnx_bytes, err));
    char logits[MD_ONNX_NAME_BYTES];
    md_status status = md_onnx_logits(x->onnx, x->onnx_bytes, logits, err);
    if (status == MD_OK) {
        status = md_export_load(x, x->options->backend, logits, &x->network, err);
    }
    if (status != MD_OK) {
        return md_error_prefix(err, status, "%s", path);
    }
    const md_network_port *in = md_network_input(x->network, 0);
    if (md_network_n_inputs(x->network) != 1 || strlen(in->name) >= sizeof m->network.input) {
        return md_fail(err, MD_UNSUPPORTED,
                       "%s: expected one input with a name of at most %zu "
                       "bytes",
                       path, sizeof m->network.input - 1);
    }
    snprintf(m->network.input, sizeof m->network.input, "%s", in->name);
    snprintf(m->network.output, sizeof m->network.output, "%s", logits);
    return MD_OK;
}

/* What the recipe says and what is the same for every package. */
static void start_manifest(md_exporting *x)
{
    md_manifest *m = x->manifest;
    *m = x->recipe->package.manifest;
    m->schema_version = 1;
    m->kind = MD_ANALYZER_IMAGE;
    if (x->recipe->text.there) {
        m->kind = MD_ANALYZER_TEXT;
        snprintf(m->text.vocabulary, sizeof m->text.vocabulary, "%s", VOCABULARY);
        snprintf(m->network.attention, sizeof m->network.attention, "attention");
    }
    m->preprocess = x->recipe->preprocess;
    m->test_time = x->recipe->evaluation.test_time;
    m->has_test_time = md_test_time_n_views(&m->test_time) > 1;
    m->network.activation =
        x->recipe->data.task == MD_TASK_MULTI_LABEL ? MD_TARGET_SIGMOID : MD_TARGET_SOFTMAX;
    snprintf(m->network.file, sizeof m->network.file, "model.onnx");
    snprintf(m->self_test.input, sizeof m->self_test.input, "%s",
             md_export_is_text(x) ? SELF_TEST_TEXT : SELF_TEST_INPUT);
    snprintf(m->self_test.expected, sizeof m->self_test.expected, "%s", SELF_TEST_OUTPUT);
}

static void add_note(md_manifest *m, const char *key, const char *text)
{
    for (unsigned i = 0; i < m->n_training; i++) {
        if (strcmp(m->training[i].key, key) == 0) {
            return; /* the recipe's own words */
        }
    }
    if (m->n_training < MD_MANIFEST_MAX_NOTES) {
        snprintf(m->training[m->n_training].key, sizeof m->training[0].key, "%s", key);
        snprintf(m->training[m->n_training].text, sizeof m->training[0].text, "%s", text);
        m->n_training++;
    }
}

/* How the data were divided and what the run can be made again from, by hashes: file names of a
 * hospital's films may name its patients. */
static md_status note_training(md_exporting *x, md_error *err)
{
    md_manifest *m = x->manifest;
    const md_recipe *r = x->recipe;
    char text[MD_MANIFEST_NOTE_BYTES], path[PATH_MAX], hex[MD_SHA256_HEX_BYTES];
    uint8_t digest[MD_SHA256_BYTES];
    size_t n_bytes = 0;
    MD_AUTO(md_freep) uint8_t *recipe = NULL;
    snprintf(text, sizeof text,
             "by patient, shares %g train, %g validation, %g test; %zu films of %zu patients",
             r->data.split.train, r->data.split.validation, r->data.split.test, x->set->n_films,
             x->set->n_patients);
    add_note(m, "split", text);
    snprintf(text, sizeof text, "%llu", (unsigned long long)r->seed);
    add_note(m, "seed", text);
    MD_TRY(join(x->options->run_folder, "recipe.yaml", path, sizeof path, err));
    MD_TRY(md_file_read(path, MAX_RECIPE_BYTES, &recipe, &n_bytes, err));
    md_sha256(recipe, n_bytes, digest);
    md_hex(digest, sizeof digest, hex);
    snprintf(text, sizeof text, "%s, SHA-256 of the resolved recipe %s", r->name, hex);
    add_note(m, "recipe", text);
    return MD_OK;
}

/* A drawn picture: stripes, a wedge and a disc, each pixel a multiple of 1/255. */
static void draw(const md_preprocess_spec *p, float *ret)
{
    const uint32_t w = p->width, h = p->height;
    for (uint32_t c = 0; c < p->n_channels; c++) {
        for (uint32_t y = 0; y < h; y++) {
            for (uint32_t x = 0; x < w; x++) {
                const int64_t dx = 2 * (int64_t)x - w, dy = 2 * (int64_t)y - h;
                const bool disc = 9 * (dx * dx + dy * dy) < (int64_t)w * h;
                uint32_t v = (x * 16 / w % 2) * 60 + y * 120 / h + c * 10;
                v += disc ? 60 : 0;
                ret[((size_t)c * h + y) * w + x] = ((float)v / 255.0F - p->mean[c]) / p->std[c];
            }
        }
    }
}

/* What the portable reference computes is expected; what the other back end of this machine
 * makes of it says how near is near enough. */
static md_status judge_self_test(md_exporting *x, const float *expected, const float *other,
                                 md_error *err)
{
    double difference = 0.0, largest = 1.0;
    for (size_t i = 0; i < x->n_outputs; i++) {
        const double a = (double)expected[i], b = (double)other[i];
        difference = fmax(difference, isfinite(a) && isfinite(b) ? fabs(a - b) : HUGE_VAL);
        largest = fmax(largest, fabs(a));
    }
    if (!(difference < 0.01 * largest)) {
        return md_fail(
            err, MD_PLUGIN,
            "the back ends of this machine differ by %g on the self-test: the network "
            "is not fit to serve",
            difference);
    }
    x->manifest->self_test.tolerance = fmin(1.0, fmax(1e-3 * largest, 4.0 * difference));
    return MD_OK;
}

static md_status make_text_self_test(md_exporting *x, md_error *err)
{
    const size_t n = x->n_outputs;
    MD_AUTO(md_freep) float *expected = md_calloc(2 * n + 1, sizeof *expected);
    MD_AUTO(md_freep) char *words = NULL;
    const char *text = NULL;
    size_t text_bytes = 0, words_bytes = 0;
    if (expected == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu outputs", n);
    }
    MD_TRY(md_export_text_self_test(x, &text, &text_bytes, expected, expected + n, err));
    MD_TRY(judge_self_test(x, expected, expected + n, err));
    MD_TRY(md_vocabulary_write(x->set->vocabulary, &words, &words_bytes, err));
    MD_TRY(put_file(x, VOCABULARY, words, words_bytes, true, err));
    MD_TRY(put_file(x, SELF_TEST_TEXT, text, text_bytes, true, err));
    return put_file(x, SELF_TEST_OUTPUT, expected, n * sizeof *expected, true, err);
}

static md_status make_self_test(md_exporting *x, md_error *err)
{
    md_manifest *m = x->manifest;
    const size_t n = x->n_outputs;
    const int64_t dims[4] = {1, m->preprocess.n_channels, m->preprocess.height,
                             m->preprocess.width};
    MD_AUTO(md_tensor_finish) md_tensor input = {0};
    MD_AUTO(md_freep) float *expected = md_calloc(2 * n, sizeof *expected);
    MD_AUTO(md_network_destroyp) md_network *reference = NULL;
    MD_TRY(md_tensor_init(&input, MD_F32, 4, dims, err));
    if (expected == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu outputs", n);
    }
    draw(&m->preprocess, input.data);
    MD_TRY(md_export_load(x, MD_BACKEND_OPENBLAS, m->network.output, &reference, err));
    MD_TRY(md_export_logits(x, reference, &input, expected, n, err));
    MD_TRY(md_export_logits(x, x->network, &input, expected + n, n, err));
    MD_TRY(judge_self_test(x, expected, expected + n, err));
    MD_TRY(
        put_file(x, SELF_TEST_INPUT, input.data, input.n_elements * sizeof(float), true, err));
    return put_file(x, SELF_TEST_OUTPUT, expected, n * sizeof *expected, true, err);
}

static md_status put_manifest(md_exporting *x, md_error *err)
{
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (out == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for model.yaml");
    }
    md_status status = md_manifest_write(x->manifest, out, err);
    if (fclose(out) != 0 && status == MD_OK) {
        status = md_fail(err, MD_NOMEM, "no memory for model.yaml");
    }
    if (status == MD_OK) {
        status = put_file(x, "model.yaml", text, n_bytes, false, err);
    }
    free(text);
    return status;
}

/* The host's own eyes: whatever it would refuse is refused here. */
static md_status try_package(md_exporting *x, md_error *err)
{
    const md_package_options options = {
        .backend = x->options->backend, .n_threads = x->options->n_threads, .any_kind = true};
    md_analyzer *analyzer = NULL;
    md_status status = md_package_open(x->folder, "the package", &options, &analyzer, err);
    md_analyzer_destroy(analyzer);
    return status;
}

/* Less than float32 is a wish: when it is not granted here, the package serves in float32. */
static void try_precision(md_exporting *x, const char *inputs)
{
    md_error reason = {0};
    md_precision precision = MD_PRECISION_F32;
    md_grant_result result = {0};
    char path[PATH_MAX], line[MD_ERROR_MSG_BYTES + 64];
    if (strcmp(x->manifest->network.precision, md_precision_name(MD_PRECISION_F32)) == 0) {
        return;
    }
    md_status status = md_quantize(x->folder, inputs, &precision, &result, &reason);
    if (status == MD_OK) {
        snprintf(line, sizeof line, "%s granted on this machine: scores differ by at most %.4f",
                 x->manifest->network.precision, result.worst_difference);
        if (join(x->folder, "precision.grant", path, sizeof path, &reason) == MD_OK) {
            (void)chmod(path, 0644);
        }
    } else {
        snprintf(line, sizeof line, "%s not granted on this machine: %s",
                 x->manifest->network.precision, reason.msg);
    }
    tell(x, line);
}

/* Remove the half-made folder; it holds only what put_file and md_quantize made. */
static void remove_folder(const char *folder)
{
    static const char *const names[] = {
        "model.onnx",   "model.yaml", "README.md", "precision.grant",
        SELF_TEST_TEXT, VOCABULARY,   NULL};
    char path[PATH_MAX];
    const char *more[] = {SELF_TEST_INPUT, SELF_TEST_OUTPUT};
    for (unsigned i = 0; names[i] != NULL; i++) {
        if (join(folder, names[i], path, sizeof path, NULL) == MD_OK) {
            (void)unlink(path);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        if (join(folder, more[i], path, sizeof path, NULL) == MD_OK) {
            (void)unlink(path);
        }
    }
    (void)rmdir(folder);
}

static md_status fill_folder(md_exporting *x, const char *inputs, md_error *err)
{
    MD_AUTO(md_freep) char *card = NULL;
    size_t card_bytes = 0;
    tell(x, "writing the package");
    MD_TRY(put_file(x, "model.onnx", x->onnx, x->onnx_bytes, true, err));
    MD_TRY(md_export_is_text(x) ? make_text_self_test(x, err) : make_self_test(x, err));
    if (x->recipe != NULL) {
        MD_TRY(note_training(x, err));
        MD_TRY(md_export_card(x, &card, &card_bytes, err));
    }
    const char *text = x->recipe != NULL ? card : x->card;
    MD_TRY(put_file(x, "README.md", text, strlen(text), true, err));
    MD_TRY(put_manifest(x, err));
    MD_TRY(try_package(x, err));
    try_precision(x, inputs);
    return MD_OK;
}

md_status md_export_folder(md_exporting *x, const char *inputs, md_error *err)
{
    const char *out = x->options->out;
    const int length = snprintf(x->folder, sizeof x->folder, "%s.part", out);
    if (length < 0 || (size_t)length >= sizeof x->folder) {
        return md_fail(err, MD_LIMIT, "the folder's name is too long");
    }
    remove_folder(x->folder); /* of an export that was killed */
    if (mkdir(x->folder, 0755) != 0) {
        return md_fail_os(err, errno, "%s", x->folder);
    }
    md_status status = chmod(x->folder, 0755) == 0 ? fill_folder(x, inputs, err)
                                                   : md_fail_os(err, errno, "%s", x->folder);
    if (status == MD_OK && rename(x->folder, out) != 0) {
        status = md_fail_os(err, errno, "%s", out);
    }
    if (status != MD_OK) {
        remove_folder(x->folder);
    }
    return status;
}

/* The two parts through the network; the validation part's inputs into a file. */
static md_status score_parts(md_exporting *x, const char *inputs, md_error *err)
{
    FILE *file = NULL;
    bool has_test = false;
    for (size_t i = 0; i < x->set->n_films; i++) {
        has_test = has_test || x->set->films[i].part == MD_PART_TEST;
    }
    if (inputs[0] != '\0') {
        const int fd =
            open(inputs, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        file = fd < 0 ? NULL : fdopen(fd, "wb");
        if (file == NULL) {
            const int os_errno = errno;
            if (fd >= 0) {
                (void)close(fd);
            }
            return md_fail_os(err, os_errno, "%s", inputs);
        }
    }
    tell(x, "measuring");
    md_status status = md_export_score(x, MD_PART_VALIDATION, file, &x->validation, err);
    if (file != NULL && fclose(file) != 0 && status == MD_OK) {
        status = md_fail_os(err, errno, "%s", inputs);
    }
    if (status == MD_OK && has_test) {
        status = md_export_score(x, MD_PART_TEST, NULL, &x->test, err);
    }
    return status;
}

/* Where the validation inputs go: where the caller wants them, or beside the package for as
 * long as the precision is tried. */
static md_status inputs_path(const md_exporting *x, char ret_path[PATH_MAX], bool *ret_keep,
                             md_error *err)
{
    const md_export_options *o = x->options;
    *ret_keep = o->inputs != NULL;
    ret_path[0] = '\0';
    if (o->inputs == NULL && strcmp(x->manifest->network.precision, "f32") == 0) {
        return MD_OK;
    }
    const int length = o->inputs != NULL ? snprintf(ret_path, PATH_MAX, "%s", o->inputs)
                                         : snprintf(ret_path, PATH_MAX, "%s.inputs", o->out);
    return length >= 0 && length < PATH_MAX
               ? MD_OK
               : md_fail(err, MD_LIMIT, "the folder's name is too long");
}

static md_status export(md_exporting *x, md_error *err)
{
    char inputs[PATH_MAX];
    bool keep = false;
    start_manifest(x);
    MD_TRY(open_network(x, err));
    MD_TRY(inputs_path(x, inputs, &keep, err));
    md_status status = score_parts(x, inputs, err);
    if (status == MD_OK) {
        status = md_export_measure(x, err);
    }
    if (status == MD_OK) {
        status = md_export_folder(x, inputs, err);
    }
    if (inputs[0] != '\0' && !keep) {
        (void)unlink(inputs);
    }
    return status;
}

static md_status read_set(md_exporting *x, md_recipe **ret_recipe, md_training_set **ret_set,
                          md_error *err)
{
    char path[PATH_MAX];
    struct stat info;
    if (lstat(x->options->out, &info) == 0) {
        return md_fail(err, MD_INVALID_ARG, "%s exists, expected a new folder",
                       x->options->out);
    }
    MD_TRY(join(x->options->run_folder, "recipe.yaml", path, sizeof path, err));
    MD_TRY(md_recipe_read(path, ret_recipe, err));
    if (!(*ret_recipe)->package.there) {
        return md_fail(err, MD_INVALID_ARG,
                       "%s: key 'export' is missing: it says what the "
                       "package is",
                       path);
    }
    if ((*ret_recipe)->text.there && x->options->inputs != NULL) {
        return md_fail(err, MD_INVALID_ARG, "--keep-inputs is for films: texts serve in f32");
    }
    if ((*ret_recipe)->text.there) {
        /* what the network learnt with: learnt anew from texts that were changed since, every
         * number would mean another word */
        MD_TRY(md_recipe_take_vocabulary(*ret_recipe, x->options->run_folder, err));
    }
    tell(x, (*ret_recipe)->text.there ? "reading the texts" : "reading the films");
    return md_training_set_read(*ret_recipe, x->options->n_threads, NULL, NULL, ret_set, err);
}

md_status md_export_run(const md_export_options *options, md_error *err)
{
    MD_AUTO(md_recipe_destroyp) md_recipe *recipe = NULL;
    MD_AUTO(md_training_set_destroyp) md_training_set *set = NULL;
    MD_AUTO(md_freep) md_exporting *x = md_calloc(1, sizeof *x);
    MD_AUTO(md_freep) md_manifest *manifest = md_calloc(1, sizeof *manifest);
    if (x == NULL || manifest == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to export");
    }
    x->options = options;
    x->manifest = manifest;
    md_status status = read_set(x, &recipe, &set, err);
    x->recipe = recipe;
    x->set = set;
    if (status == MD_OK) {
        x->n_outputs = set->n_classes;
        status = export(x, err);
    }
    md_export_scores_finish(&x->validation);
    md_export_scores_finish(&x->test);
    md_assessment_finish(&x->figures);
    md_network_destroy(x->network);
    md_test_time_scratch_finish(&x->views);
    md_free(x->onnx);
    return status;
}
