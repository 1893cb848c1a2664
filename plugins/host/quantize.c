#include "plugins/host/quantize.h"

#include "plugins/host/package.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_OBSERVED = 64
};

typedef struct input_file {
    FILE *file;
    md_tensor tensor;
    size_t n_inputs;
} input_file;

static void input_file_finish(input_file *in)
{
    if (in->file != NULL) {
        (void)fclose(in->file);
    }
    md_tensor_finish(&in->tensor);
}

static md_status open_inputs(const char *path, const md_network *network, input_file *in,
                             md_error *err)
{
    const md_network_port *port = md_network_input(network, 0);
    struct stat info;
    MD_TRY(md_tensor_init(&in->tensor, MD_F32, port->n_dims, port->dims, err));
    in->file = fopen(path, "rb");
    if (in->file == NULL || fstat(fileno(in->file), &info) != 0) {
        return md_fail_os(err, errno, "%s", path);
    }
    const size_t n_bytes = in->tensor.n_elements * sizeof(float);
    if (!S_ISREG(info.st_mode) || info.st_size <= 0 || (size_t)info.st_size % n_bytes != 0) {
        return md_fail(err, MD_INVALID_ARG, "%s: %lld bytes, expected a multiple of %zu", path,
                       (long long)info.st_size, n_bytes);
    }
    in->n_inputs = (size_t)info.st_size / n_bytes;
    return in->n_inputs > UINT_MAX ? md_fail(err, MD_LIMIT, "%s: too many inputs", path)
                                   : MD_OK;
}

/* x86 is little-endian, as the file is. */
static md_status read_input(input_file *in, size_t index, md_error *err)
{
    const size_t n = in->tensor.n_elements;
    if (fseeko(in->file, (off_t)(index * n * sizeof(float)), SEEK_SET) != 0 ||
        fread(in->tensor.data, sizeof(float), n, in->file) != n) {
        return md_fail(err, MD_IO, "input %zu cannot be read", index);
    }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(((const float *)in->tensor.data)[i])) {
            return md_fail(err, MD_FORMAT, "input %zu holds what is no number", index);
        }
    }
    return MD_OK;
}

static md_status observe(const char *folder, input_file *in, md_analyzer **ret_observed,
                         md_error *err)
{
    const md_package_trial trial = {.observe = true};
    const md_package_options options = {
        .backend = MD_BACKEND_OPENBLAS, .n_threads = 1, .trial = &trial};
    MD_AUTO(md_analyzer_destroyp) md_analyzer *observed = NULL;
    MD_TRY(md_package_open(folder, folder, &options, &observed, err));
    const size_t n = in->n_inputs < MAX_OBSERVED ? in->n_inputs : MAX_OBSERVED;
    double scores[MD_RESULT_MAX_FINDINGS];
    for (size_t i = 0; i < n; i++) {
        MD_TRY(read_input(in, i * in->n_inputs / n, err));
        MD_TRY(md_package_scores(observed, &in->tensor, scores, err));
    }
    *ret_observed = MD_STEAL(observed);
    return MD_OK;
}

static md_status compare_input(md_analyzer *exact, md_analyzer *made, const md_tensor *input,
                               md_grant_result *result, md_error *err)
{
    double a[MD_RESULT_MAX_FINDINGS], b[MD_RESULT_MAX_FINDINGS];
    bool flipped = false;
    MD_TRY(md_package_scores(exact, input, a, err));
    MD_TRY(md_package_scores(made, input, b, err));
    for (unsigned i = 0; i < exact->n_findings; i++) {
        md_finding x = {0}, y = {0};
        MD_TRY(md_finding_judge(&exact->specs[i], a[i], &x, err));
        MD_TRY(md_finding_judge(&exact->specs[i], b[i], &y, err));
        flipped = flipped || x.presence != y.presence;
        result->worst_difference = fmax(result->worst_difference, fabs(a[i] - b[i]));
        result->sum_of_squares += (a[i] - b[i]) * (a[i] - b[i]);
    }
    result->n_images++;
    result->n_flips += flipped ? 1 : 0;
    return MD_OK;
}

/* Compare on each step-th input. */
static md_status compare_some(const char *folder, const md_package_trial *trial,
                              md_analyzer *exact, input_file *in, size_t step,
                              md_grant_result *ret_result, md_error *err)
{
    const md_package_options options = {
        .backend = MD_BACKEND_ONEDNN, .n_threads = 1, .trial = trial};
    MD_AUTO(md_analyzer_destroyp) md_analyzer *made = NULL;
    *ret_result = (md_grant_result){0};
    MD_TRY(md_package_open(folder, folder, &options, &made, err));
    for (size_t i = 0; i < in->n_inputs; i += step) {
        MD_TRY(read_input(in, i, err));
        MD_TRY(compare_input(exact, made, &in->tensor, ret_result, err));
    }
    return MD_OK;
}

/* A tensor's largest elements are rare: a smaller range cuts them, but is finer for all others.
 * Of some factors take the one whose scores are nearest to float32's. */
static md_status narrow_ranges(const char *folder, const md_range *whole, md_range *ranges,
                               md_package_trial *trial, md_analyzer *exact, input_file *in,
                               md_error *err)
{
    static const float factors[] = {1.0F, 0.9F, 0.8F};
    enum {
        N_FACTORS = sizeof factors / sizeof *factors
    };
    const size_t step = in->n_inputs > MAX_OBSERVED ? in->n_inputs / MAX_OBSERVED : 1;
    float best = factors[0];
    double least = HUGE_VAL;
    for (unsigned i = 0; i <= N_FACTORS; i++) {
        const float factor = i == N_FACTORS ? best : factors[i];
        for (unsigned j = 0; j < trial->n_ranges; j++) {
            ranges[j] =
                (md_range){whole[j].name, whole[j].low * factor, whole[j].high * factor};
        }
        if (i == N_FACTORS) {
            break;
        }
        md_grant_result result;
        md_status status = compare_some(folder, trial, exact, in, step, &result, err);
        if (status == MD_OK && result.sum_of_squares < least) {
            least = result.sum_of_squares;
            best = factor;
        } else if (status != MD_OK &&
                   status != MD_PLUGIN) { /* MD_PLUGIN: its self-test fails */
            return status;
        }
    }
    return MD_OK;
}

static md_status compare_all(const char *folder, const md_package_trial *trial,
                             md_analyzer *exact, input_file *in, md_grant_result *ret_result,
                             md_error *err)
{
    MD_TRY(compare_some(folder, trial, exact, in, 1, ret_result, err));
    return md_grant_judge(trial->precision, ret_result, err);
}

/* The first layers, of few channels, suffer most and weigh least. A tensor without a range is
 * computed as wide as the processor has it; leave out so many of the first that the others are
 * granted. */
static md_status quantise_some(const char *folder, const md_range *whole, unsigned n_whole,
                               md_range *ranges, md_package_trial *trial, md_analyzer *exact,
                               input_file *in, md_grant_result *ret_result, md_error *err)
{
    enum {
        EIGHTHS = 8,
        MAX_EIGHTHS = 5
    };
    md_status status = MD_PLUGIN;
    for (unsigned i = 0; i <= MAX_EIGHTHS && status == MD_PLUGIN; i++) {
        const unsigned n_wide = n_whole * i / EIGHTHS;
        trial->ranges = ranges;
        trial->n_ranges = n_whole - n_wide;
        MD_TRY(narrow_ranges(folder, whole + n_wide, ranges, trial, exact, in, err));
        status = compare_all(folder, trial, exact, in, ret_result, err);
    }
    return status;
}

static md_status quantize(const char *folder, input_file *in, md_analyzer *exact,
                          md_package_trial *trial, md_grant_result *ret_result, md_error *err)
{
    MD_AUTO(md_analyzer_destroyp) md_analyzer *observed = NULL;
    MD_AUTO(md_freep) md_range *ranges = NULL;
    if (trial->precision == MD_PRECISION_INT8) {
        const md_range *whole = NULL;
        unsigned n_whole = 0;
        MD_TRY(observe(folder, in, &observed, err));
        MD_TRY(md_network_ranges(md_package_network(observed), &whole, &n_whole, err));
        ranges = md_calloc(n_whole, sizeof *ranges);
        if (ranges == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %u ranges", n_whole);
        }
        MD_TRY(
            quantise_some(folder, whole, n_whole, ranges, trial, exact, in, ret_result, err));
    } else {
        MD_TRY(compare_all(folder, trial, exact, in, ret_result, err));
    }
    return md_grant_write(folder, exact->identity.sha256, trial->precision, ret_result,
                          trial->ranges, trial->n_ranges, err);
}

static void remove_grant(const char *folder)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/" MD_GRANT_FILE, folder) < (int)sizeof path) {
        (void)unlink(path);
    }
}

md_status md_quantize(const char *folder, const char *inputs, md_precision *ret_precision,
                      md_grant_result *ret_result, md_error *err)
{
    MD_AUTO(input_file_finish) input_file in = {0};
    md_package_trial trial = {0};
    const md_package_options options = {
        .backend = MD_BACKEND_ONEDNN, .n_threads = 1, .trial = &trial};
    MD_AUTO(md_analyzer_destroyp) md_analyzer *exact = NULL;
    MD_TRY(md_package_open(folder, folder, &options, &exact, err));
    trial.precision = *ret_precision = md_package_wanted(exact);
    if (trial.precision == MD_PRECISION_F32) {
        return md_fail(err, MD_INVALID_ARG,
                       "model.yaml: key 'network.precision': f32 needs no grant");
    }
    MD_TRY(md_precision_check(trial.precision, err));
    MD_TRY(open_inputs(inputs, md_package_network(exact), &in, err));
    md_status status = quantize(folder, &in, exact, &trial, ret_result, err);
    if (status != MD_OK) {
        remove_grant(folder);
    }
    return status;
}
