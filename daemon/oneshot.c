#include "daemon/oneshot.h"

#include "base/clock.h"
#include "base/file.h"
#include "daemon/destination.h"
#include "daemon/host_setup.h"
#include "daemon/oneshot_input.h"
#include "daemon/oneshot_print.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct oneshot {
    const md_oneshot_options *options;
    md_host *host;
    bool progress_shown;
    size_t n_studies;
    bool seen[MD_EXIT_WRITING + 1]; /* which ends were met */
    md_stage_times times;           /* of the process, with the sums of its studies */
} oneshot;

static void clear_progress(oneshot *run)
{
    if (run->progress_shown) {
        fputs("\r\033[K", stderr);
        run->progress_shown = false;
    }
}

static void show_progress(oneshot *run, const char *what, size_t done, size_t total)
{
    if (!isatty(STDERR_FILENO) || (total != 0 && total < 2)) {
        return;
    }
    if (total == 0) {
        fprintf(stderr, "\r\033[K%s %zu", what, done);
    } else {
        fprintf(stderr, "\r\033[K%s %zu of %zu", what, done, total);
    }
    run->progress_shown = true;
}

/* One line whatever the file is called: a disc from elsewhere must not write into the terminal.
 */
static void tell_problem(void *context, const char *path, const md_error *reason)
{
    clear_progress(context);
    fputs("medaid: ", stderr);
    for (const char *p = path; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        fputc(c < 0x20 || c == 0x7f ? '?' : c, stderr);
    }
    fprintf(stderr, ": %s\n", reason->msg);
}

static void tell_refused(void *context, const char *package, const md_error *reason)
{
    clear_progress(context);
    fprintf(stderr, "medaid: %s is not used: %s\n", package, reason->msg);
}

static void tell_reading(void *context, size_t n_files)
{
    if (n_files % 64 == 0) {
        show_progress(context, "reading files:", n_files, 0);
    }
}

/* The paths that a study's objects were written to, in the order of the objects. */
typedef struct written_paths {
    char **paths;
    size_t n;
} written_paths;

static void written_finish(written_paths *written)
{
    for (size_t i = 0; i < written->n; i++) {
        md_free(written->paths[i]);
    }
    md_free(written->paths);
}

/* Names hold the study's key and a counter, nothing of the patient. */
static md_status write_objects(const oneshot *run, const md_input_study *study,
                               const md_analysis *analysis, written_paths *written,
                               md_error *err)
{
    MD_TRY(md_folder_create(run->options->output, err));
    for (size_t i = 0; i < analysis->n_objects; i++) {
        const md_object *object = &analysis->objects[i];
        char path[PATH_MAX];
        int length =
            snprintf(path, sizeof path, "%s/%s-%02zu-%s.dcm", run->options->output, study->key,
                     i + 1, md_object_kind_name(md_object_kind_of(object->sop_class_uid)));
        if (length < 0 || (size_t)length >= sizeof path) {
            return md_fail(err, MD_INVALID_ARG, "the output folder's name is too long");
        }
        md_file_mode mode = run->options->overwrite ? MD_FILE_REPLACE : MD_FILE_NEW;
        MD_TRY(md_file_write(path, mode, object->bytes, object->size_bytes, err));
        written->paths[i] = md_strdup(path);
        if (written->paths[i] == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a file name");
        }
    }
    return MD_OK;
}

static md_status send_objects(const oneshot *run, const md_analysis *analysis,
                              const written_paths *written, size_t *ret_n_sent, md_error *err)
{
    const md_oneshot_options *options = run->options;
    MD_AUTO(md_freep) md_send_outcome *outcomes = md_calloc(written->n, sizeof *outcomes);
    MD_AUTO(md_freep) const char **paths = md_calloc(written->n, sizeof *paths);
    size_t n = 0;
    if (outcomes == NULL || paths == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to send %zu objects", written->n);
    }
    for (size_t i = 0; i < written->n; i++) {
        if (options->destination == NULL ||
            md_destination_wants(options->destination, analysis->objects[i].sop_class_uid)) {
            paths[n++] = written->paths[i];
        }
    }
    md_status status = options->destination == NULL
                           ? md_scu_send(options->send_to, NULL, paths, n, outcomes, err)
                           : md_destination_send(options->conf, options->destination,
                                                 options->output, paths, n, outcomes, err);
    for (size_t i = 0; i < n; i++) {
        *ret_n_sent += outcomes[i].status == MD_OK ? 1 : 0;
    }
    return status;
}

/* The host's reason when the files themselves were at fault (CID 9302). */
static bool is_unreadable(const md_code *failure)
{
    return strcmp(failure->value, "110521") == 0 || strcmp(failure->value, "110522") == 0;
}

/* The end that a study alone leads to, and why. */
static md_exit_code judge_analysis(const md_analysis *analysis, md_status status, md_error *err)
{
    if (status == MD_NOMEM || status == MD_INTERNAL) {
        return MD_EXIT_INTERNAL;
    }
    md_exit_code code = status == MD_OK ? MD_EXIT_OK : MD_EXIT_ANALYSIS;
    for (size_t i = 0; i < analysis->n_results && code != MD_EXIT_ANALYSIS; i++) {
        const md_result *result = &analysis->results[i];
        if (result->status != MD_RESULT_COMPLETE) {
            code = is_unreadable(&result->failure) ? MD_EXIT_UNREADABLE : MD_EXIT_ANALYSIS;
            /* a failure of the model names it already, one of the file does not */
            bool is_named =
                strncmp(result->failure_text, result->model.id, strlen(result->model.id)) == 0;
            md_fail(err, MD_FORMAT, "%s%s%s", is_named ? "" : result->model.id,
                    is_named ? "" : ": ", result->failure_text);
        }
    }
    if (code == MD_EXIT_OK && analysis->n_unreadable > 0) {
        md_fail(err, MD_FORMAT, "%zu unreadable files", analysis->n_unreadable);
        return MD_EXIT_UNREADABLE;
    }
    if (status == MD_FORMAT) {
        return MD_EXIT_UNREADABLE;
    }
    return status == MD_NOT_FOUND ? MD_EXIT_NO_MODEL : code;
}

static md_exit_code deliver(oneshot *run, const md_input_study *study,
                            md_study_outcome *outcome, written_paths *written,
                            md_stage_times *times, md_error *err)
{
    const md_analysis *analysis = outcome->analysis;
    if (analysis->n_objects == 0) {
        return outcome->exit_code;
    }
    md_error reason = {0};
    written->paths = md_calloc(analysis->n_objects, sizeof *written->paths);
    if (written->paths == NULL) {
        md_fail(err, MD_NOMEM, "no memory for %zu objects", analysis->n_objects);
        return MD_EXIT_INTERNAL;
    }
    written->n = analysis->n_objects;
    outcome->written = (const char *const *)written->paths;
    md_exit_code delivery = MD_EXIT_OK;
    const int64_t start_us = md_clock_monotonic_us();
    if (write_objects(run, study, analysis, written, &reason) != MD_OK) {
        delivery = MD_EXIT_WRITING;
    }
    const int64_t written_us = md_clock_monotonic_us();
    if (delivery == MD_EXIT_OK && run->options->send_to != NULL &&
        send_objects(run, analysis, written, &outcome->n_sent, &reason) != MD_OK) {
        delivery = MD_EXIT_SENDING;
    }
    times->us[MD_STAGE_WRITE] = written_us - start_us;
    times->us[MD_STAGE_SEND] = md_clock_monotonic_us() - written_us;
    if (delivery != MD_EXIT_OK) {
        clear_progress(run);
        fprintf(stderr, "medaid: study %s: %s\n", study->key, reason.msg);
        run->seen[delivery] = true;
        if (outcome->exit_code == MD_EXIT_OK) {
            *err = reason;
            return delivery;
        }
    }
    return outcome->exit_code;
}

static md_status analyse_study(oneshot *run, const md_input_study *study, const char *sent_to,
                               md_error *err)
{
    const md_conf *conf = run->options->conf;
    int64_t start_us = md_clock_monotonic_us();
    md_analysis analysis = {0};
    md_error reason = {0};
    written_paths written = {0};
    md_analyse_options options = md_analyse_options_from(conf);
    options.want_map = options.want_map || run->options->parametric_map;
    options.on_problem = tell_problem;
    options.context = run;
    md_status status = md_host_analyse(run->host, (const char *const *)study->paths,
                                       study->n_paths, &options, &analysis, &reason);
    md_stage_times times = run->times; /* of the process so far, and of this study alone */
    memset(&times.us[MD_STAGE_OPEN], 0, (MD_N_STAGES - MD_STAGE_OPEN) * sizeof *times.us);
    md_stage_times_add(&times, &analysis.times);
    md_study_outcome outcome = {
        .key = study->key,
        .study_instance_uid = study->study_instance_uid,
        .analysis = &analysis,
        .exit_code = judge_analysis(&analysis, status, &reason),
        .sent_to = sent_to,
    };
    run->seen[outcome.exit_code] = true;
    outcome.exit_code = deliver(run, study, &outcome, &written, &times, &reason);
    outcome.reason = outcome.exit_code == MD_EXIT_OK ? "" : reason.msg;
    outcome.total_us = md_clock_monotonic_us() - start_us;
    outcome.timing = run->options->timing ? &times : NULL;
    for (int i = MD_STAGE_OPEN; i < MD_N_STAGES; i++) {
        run->times.us[i] += times.us[i];
    }
    clear_progress(run);
    status = MD_OK;
    if (run->options->json) {
        status = md_print_json(stdout, &outcome, err);
    } else {
        md_print_table(stdout, &outcome);
    }
    if (fflush(stdout) != 0 && status == MD_OK) {
        status = md_fail(err, MD_IO, "standard output cannot be written");
    }
    written_finish(&written);
    md_analysis_finish(&analysis);
    return status;
}

static md_exit_code worst_of(const oneshot *run)
{
    static const md_exit_code order[] = {MD_EXIT_INTERNAL,   MD_EXIT_ANALYSIS,
                                         MD_EXIT_SENDING,    MD_EXIT_WRITING,
                                         MD_EXIT_UNREADABLE, MD_EXIT_NO_MODEL};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        if (run->seen[order[i]]) {
            return order[i];
        }
    }
    return MD_EXIT_OK;
}

static md_exit_code run_studies(oneshot *run, const md_input *input)
{
    char sent_to[MD_AE_BYTES + 256 + 8];
    const md_peer *peer = run->options->send_to;
    if (peer != NULL) {
        snprintf(sent_to, sizeof sent_to, "%s@%s:%u", peer->ae_title, peer->host, peer->port);
    }
    for (size_t i = 0; i < input->n_studies; i++) {
        md_error err = {0};
        show_progress(run, "analysing study", i + 1, input->n_studies);
        if (analyse_study(run, &input->studies[i], peer == NULL ? NULL : sent_to, &err) !=
            MD_OK) {
            fprintf(stderr, "medaid: %s\n", err.msg);
            return MD_EXIT_INTERNAL;
        }
    }
    return worst_of(run);
}

static md_exit_code run_all(oneshot *run, md_input *input)
{
    const md_oneshot_options *options = run->options;
    const md_input_options reading = {tell_problem, tell_reading, run};
    int64_t *us = run->times.us;
    md_error err = {0};
    const int64_t start_us = md_clock_monotonic_us();
    md_status status = md_dicom_init(&err);
    const int64_t ready_us = md_clock_monotonic_us();
    if (status == MD_OK) {
        status = md_input_collect(options->paths, options->n_paths, &reading, input, &err);
    }
    if (status != MD_OK) {
        fprintf(stderr, "medaid: %s\n", err.msg);
        return MD_EXIT_INTERNAL;
    }
    clear_progress(run);
    run->seen[MD_EXIT_UNREADABLE] = input->n_unreadable > 0;
    if (input->n_studies == 0) {
        if (input->n_unreadable == 0) {
            fprintf(stderr, "medaid: no DICOM file found, %zu other files skipped\n",
                    input->n_skipped);
        }
        return MD_EXIT_UNREADABLE;
    }
    const int64_t collected_us = md_clock_monotonic_us();
    status = md_host_setup(options->conf, options->model, false, tell_refused, run, &run->host,
                           &err);
    us[MD_STAGE_LIBRARY] = ready_us - start_us;
    us[MD_STAGE_FIND] = collected_us - ready_us;
    us[MD_STAGE_MODELS] = md_clock_monotonic_us() - collected_us;
    if (status != MD_OK) {
        fprintf(stderr, "medaid: %s\n", err.msg);
        return status == MD_NOT_FOUND ? MD_EXIT_NO_MODEL : MD_EXIT_INTERNAL;
    }
    return run_studies(run, input);
}

md_exit_code md_oneshot_run(const md_oneshot_options *options)
{
    oneshot run = {.options = options};
    md_input input = {0};
    run.times.main_us = options->main_us;
    run.times.us[MD_STAGE_START_UP] = options->start_up_us;
    run.times.us[MD_STAGE_CONFIGURATION] = options->configuration_us;
    const md_exit_code code = run_all(&run, &input);
    const int64_t done_us = md_clock_monotonic_us();
    md_host_destroy(run.host);
    md_input_finish(&input);
    md_dicom_finish();
    run.times.us[MD_STAGE_EXIT] = md_clock_monotonic_us() - done_us;
    if (options->timing) {
        md_stage_times_print(stderr, &run.times);
    }
    return code;
}
