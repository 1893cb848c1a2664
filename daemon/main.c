/* The program `medaid`: reads the command line and hands over. */

#include "base/clock.h"
#include "base/log.h"
#include "conf/conf.h"
#include "daemon/check_config.h"
#include "daemon/daemon.h"
#include "daemon/destination.h"
#include "daemon/exit_code.h"
#include "daemon/explain.h"
#include "daemon/host_setup.h"
#include "daemon/oneshot.h"
#include "daemon/rules/explain.h"
#include "daemon/transcode.h"
#include "daemon/worker_main.h"
#include "dicom/network/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: medaid --oneshot PATH...   analyse files, folders or a DICOMDIR\n"
    "       medaid --daemon            serve as a DICOM Storage SCP\n"
    "       medaid --check-config      read the configuration, load and test the models\n"
    "       medaid --list-models       show the models that would serve\n"
    "       medaid --explain-rules FILE...  which rule matches a study, and why\n"
    "       medaid --explain-model DIR how the network of a model package is computed\n"
    "       medaid --version | --help\n"
    "\n"
    "  --config FILE         the configuration (default: built-in values)\n"
    "  --model ID            use this model alone (not with --daemon)\n"
    "  --echo                with --check-config: ask every destination for a C-ECHO\n"
    "with --explain-rules:\n"
    "  --source-ae AE        as if it came from there\n"
    "  --called-ae AE        as if it was sent to this AE title of medaid\n"
    "  --json                one JSON object\n"
    "with --oneshot:\n"
    "  --output DIR          folder for the DICOM objects (default: medaid-results)\n"
    "  --overwrite           replace objects that exist there already\n"
    "  --parametric-map      also write where the network looked, as Parametric Maps\n"
    "  --json                one JSON object a study instead of the table\n"
    "  --send AE@HOST:PORT   store the objects there; or the name of a destination of the\n"
    "                        configuration, with its TLS and what it wants\n"
    "  --timing              where the time went, on standard error and in the JSON\n"
    "\n"
    "exit: 0 analysed, 1 internal error, 2 usage or configuration, 3 unreadable input,\n"
    "      4 no model accepts it, 5 analysis failed, 6 sending failed, 7 writing failed\n";

typedef enum mode {
    MODE_NONE,
    MODE_ONESHOT,
    MODE_DAEMON,
    MODE_CHECK,
    MODE_LIST,
    MODE_EXPLAIN,
    MODE_RULES
} mode;

typedef struct arguments {
    mode mode;
    bool finished; /* --help or --version: all is said */
    const char *config, *model, *output, *send;
    const char *folder;                /* of the model to explain */
    const char *source_ae, *called_ae; /* for the rules */
    bool json, overwrite, timing, echo, parametric_map;
} arguments;

/* For --timing. */
typedef struct clocks {
    int64_t main_us, start_up_us, configuration_us;
} clocks;

enum {
    OPT_SEND = 256,
    OPT_JSON,
    OPT_OVERWRITE,
    OPT_TIMING,
    OPT_MAP,
    OPT_ECHO,
    OPT_CONFIG,
    OPT_MODEL,
    OPT_OUTPUT,
    OPT_ONESHOT,
    OPT_DAEMON,
    OPT_CHECK,
    OPT_LIST,
    OPT_EXPLAIN,
    OPT_RULES,
    OPT_SOURCE,
    OPT_CALLED,
    OPT_HELP,
    OPT_VERSION
};

static bool set_mode(arguments *args, mode wanted)
{
    if (args->mode != MODE_NONE && args->mode != wanted) {
        fputs("medaid: one of --oneshot, --daemon, --check-config, --list-models and "
              "--explain-model at a time\n",
              stderr);
        return false;
    }
    args->mode = wanted;
    return true;
}

static bool take_option(arguments *args, int option)
{
    switch (option) {
    case OPT_ONESHOT:
        return set_mode(args, MODE_ONESHOT);
    case OPT_DAEMON:
        return set_mode(args, MODE_DAEMON);
    case OPT_CHECK:
        return set_mode(args, MODE_CHECK);
    case OPT_LIST:
        return set_mode(args, MODE_LIST);
    case OPT_RULES:
        return set_mode(args, MODE_RULES);
    case OPT_SOURCE:
        args->source_ae = optarg;
        return true;
    case OPT_CALLED:
        args->called_ae = optarg;
        return true;
    case OPT_EXPLAIN:
        args->folder = optarg;
        return set_mode(args, MODE_EXPLAIN);
    case OPT_CONFIG:
        args->config = optarg;
        return true;
    case OPT_MODEL:
        args->model = optarg;
        return true;
    case OPT_OUTPUT:
        args->output = optarg;
        return true;
    case OPT_SEND:
        args->send = optarg;
        return true;
    case OPT_JSON:
        args->json = true;
        return true;
    case OPT_OVERWRITE:
        args->overwrite = true;
        return true;
    case OPT_MAP:
        args->parametric_map = true;
        return true;
    case OPT_ECHO:
        args->echo = true;
        return true;
    case OPT_TIMING:
        args->timing = true;
        return true;
    case OPT_HELP:
        fputs(usage, stdout);
        args->finished = true;
        return true;
    case OPT_VERSION:
        puts("medaid " MEDAID_VERSION);
        args->finished = true;
        return true;
    default:
        fputs("medaid: see medaid --help\n", stderr);
        return false;
    }
}

static bool parse_arguments(int argc, char **argv, arguments *args)
{
    static const struct option options[] = {
        {"oneshot", no_argument, NULL, OPT_ONESHOT},
        {"daemon", no_argument, NULL, OPT_DAEMON},
        {"check-config", no_argument, NULL, OPT_CHECK},
        {"list-models", no_argument, NULL, OPT_LIST},
        {"explain-rules", no_argument, NULL, OPT_RULES},
        {"source-ae", required_argument, NULL, OPT_SOURCE},
        {"called-ae", required_argument, NULL, OPT_CALLED},
        {"explain-model", required_argument, NULL, OPT_EXPLAIN},
        {"config", required_argument, NULL, OPT_CONFIG},
        {"model", required_argument, NULL, OPT_MODEL},
        {"output", required_argument, NULL, OPT_OUTPUT},
        {"send", required_argument, NULL, OPT_SEND},
        {"json", no_argument, NULL, OPT_JSON},
        {"overwrite", no_argument, NULL, OPT_OVERWRITE},
        {"timing", no_argument, NULL, OPT_TIMING},
        {"parametric-map", no_argument, NULL, OPT_MAP},
        {"echo", no_argument, NULL, OPT_ECHO},
        {"help", no_argument, NULL, OPT_HELP},
        {"version", no_argument, NULL, OPT_VERSION},
        {NULL, 0, NULL, 0},
    };
    int option;
    while (!args->finished && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (!take_option(args, option)) {
            return false;
        }
    }
    return true;
}

/* An option that would have no effect is refused: whoever gives it believes that it has. */
static bool options_fit(const arguments *args)
{
    bool wants_result = args->output != NULL || args->send != NULL ||
                        (args->json && args->mode != MODE_RULES) || args->overwrite ||
                        args->timing || args->parametric_map;
    if (args->mode != MODE_RULES && (args->source_ae != NULL || args->called_ae != NULL)) {
        fputs("medaid: --source-ae and --called-ae are for --explain-rules\n", stderr);
        return false;
    }
    if (args->mode != MODE_ONESHOT && wants_result) {
        fputs(
            "medaid: --output, --overwrite, --parametric-map, --json, --send and --timing are "
            "for --oneshot\n",
            stderr);
        return false;
    }
    if (args->mode != MODE_CHECK && args->echo) {
        fputs("medaid: --echo is for --check-config\n", stderr);
        return false;
    }
    if (args->mode == MODE_DAEMON && args->model != NULL) {
        fputs("medaid: --daemon has no --model, it serves all models of plugins.paths\n",
              stderr);
        return false;
    }
    if (args->mode == MODE_EXPLAIN && args->model != NULL) {
        fputs("medaid: --explain-model names the folder of the model, it has no --model\n",
              stderr);
        return false;
    }
    return true;
}

static md_exit_code fail(const md_error *err, md_exit_code code)
{
    fprintf(stderr, "medaid: %s\n", err->msg);
    return code;
}

/* AE@HOST:PORT, or the name of a destination. */
static bool choose_peer(const char *text, const md_conf *conf, md_peer *peer,
                        md_tls_options *tls, const md_conf_destination **ret_destination,
                        md_error *err)
{
    if (strchr(text, '@') != NULL) {
        return md_peer_parse(text, peer, err) == MD_OK;
    }
    const md_conf_destination *destination = md_destination_find(conf, text);
    if (destination == NULL) {
        (void)md_fail(err, MD_NOT_FOUND,
                      "--send: got '%s', expected AE@HOST:PORT or the name of a destination of "
                      "the configuration",
                      text);
        return false;
    }
    if (destination->results == MD_RESULTS_NONE) {
        (void)md_fail(err, MD_INVALID_ARG, "--send: destination '%s' gets no results", text);
        return false;
    }
    md_destination_peer(conf, destination, peer, tls);
    *ret_destination = destination;
    return true;
}

static md_exit_code run_oneshot(const arguments *args, const md_conf *conf, char **paths,
                                size_t n_paths, const clocks *began)
{
    md_error err = {0};
    md_peer peer = {.timeout_s = conf->ae.timeout_s};
    memcpy(peer.own_ae_title, conf->ae.title, sizeof peer.own_ae_title);
    if (n_paths == 0) {
        fputs("medaid: --oneshot needs a file, a folder or a DICOMDIR\n", stderr);
        return MD_EXIT_USAGE;
    }
    const md_conf_destination *destination = NULL;
    md_tls_options tls;
    if (args->send != NULL && !choose_peer(args->send, conf, &peer, &tls, &destination, &err)) {
        return fail(&err, MD_EXIT_USAGE);
    }
    return md_oneshot_run(&(md_oneshot_options){
        .paths = (const char *const *)paths,
        .n_paths = n_paths,
        .conf = conf,
        .output = args->output == NULL ? "medaid-results" : args->output,
        .model = args->model,
        .send_to = args->send == NULL ? NULL : &peer,
        .destination = destination,
        .json = args->json,
        .overwrite = args->overwrite,
        .parametric_map = args->parametric_map,
        .timing = args->timing,
        .main_us = began->main_us,
        .start_up_us = began->start_up_us,
        .configuration_us = began->configuration_us,
    });
}

static md_exit_code explain_rules(const arguments *args, const md_conf *conf, char **paths,
                                  size_t n_paths)
{
    const md_explain_sender sender = {
        .source_ae = args->source_ae != NULL ? args->source_ae : "",
        .called_ae = args->called_ae != NULL ? args->called_ae : conf->ae.title,
        .complete_ms = md_clock_wall_ms(),
    };
    if (n_paths == 0 || n_paths > MD_EXPLAIN_MAX_FILES) {
        fprintf(stderr, "medaid: --explain-rules needs 1..%d files of one study\n",
                MD_EXPLAIN_MAX_FILES);
        return MD_EXIT_USAGE;
    }
    MD_AUTO(md_freep) md_tag_set *sets = md_calloc(n_paths, sizeof *sets);
    md_error err = {0};
    if (sets == NULL) {
        (void)md_fail(&err, MD_NOMEM, "no memory for %zu files", n_paths);
        return fail(&err, MD_EXIT_INTERNAL);
    }
    for (size_t i = 0; i < n_paths; i++) {
        int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
        md_status status = fd < 0 ? md_fail_os(&err, errno, "%s", paths[i])
                                  : md_explain_read(conf, fd, &sender, &sets[i], &err);
        if (fd >= 0) {
            close(fd);
        }
        if (status != MD_OK) {
            return fail(&err, MD_EXIT_UNREADABLE);
        }
    }
    if (!args->json) {
        md_explain_print(conf, sets, n_paths, &sender, stdout);
        return MD_EXIT_OK;
    }
    char *text = md_explain_json(conf, sets, n_paths, &sender);
    if (text == NULL) {
        (void)md_fail(&err, MD_NOMEM, "no memory for the answer");
        return fail(&err, MD_EXIT_INTERNAL);
    }
    puts(text);
    free(text);
    return MD_EXIT_OK;
}

static void count_refused(void *context, const char *package, const md_error *reason)
{
    unsigned *n_refused = context;
    (*n_refused)++;
    fprintf(stderr, "medaid: %s is not used: %s\n", package, reason->msg);
}

static void print_model(const md_model_identity *model)
{
    printf("%s %s  %s (%s)\n  sha256  %s\n  runs    %s\n  for     %s\n", model->id,
           model->version, model->name, model->manufacturer, model->sha256, model->parameters,
           model->intended_use);
}

/* Load every model, which runs its self-test. */
static md_exit_code list_models(const arguments *args, const md_conf *conf)
{
    md_error err = {0};
    unsigned n_refused = 0;
    MD_AUTO(md_host_destroyp) md_host *host = NULL;
    md_status status = md_dicom_init(&err);
    if (status == MD_OK) {
        status =
            md_host_setup(conf, args->model, false, count_refused, &n_refused, &host, &err);
    }
    if (status != MD_OK) {
        return fail(&err, status == MD_NOT_FOUND ? MD_EXIT_NO_MODEL : MD_EXIT_INTERNAL);
    }
    for (size_t i = 0; i < md_host_n_models(host); i++) {
        print_model(md_host_model(host, i));
    }
    return MD_EXIT_OK;
}

static md_exit_code run_daemon(const md_conf *conf)
{
    md_error err = {0};
    md_status status = md_daemon_run(conf, &err);
    if (status == MD_OK) {
        return MD_EXIT_OK;
    }
    md_log(MD_LOG_ERROR, "daemon_failed", MD_LOG_TEXT("status", md_status_name(status)),
           MD_LOG_TEXT("reason", err.msg));
    return status == MD_NOT_FOUND ? MD_EXIT_NO_MODEL : MD_EXIT_INTERNAL;
}

int main(int argc, char **argv)
{
    clocks began = {.main_us = md_clock_monotonic_us(), .start_up_us = md_clock_cpu_us()};
    if (argc == 3 && strcmp(argv[1], "--worker") == 0) {
        md_worker_main(argv[2]); /* internal, so --help does not speak of it */
    }
    if (argc == 4 && strcmp(argv[1], "--transcode") == 0) {
        md_transcoder_main(argv[2], argv[3]); /* internal too */
    }
    arguments args = {0};
    if (!parse_arguments(argc, argv, &args)) {
        return MD_EXIT_USAGE;
    }
    if (args.finished) {
        return MD_EXIT_OK;
    }
    size_t n_paths = (size_t)(argc - optind);
    if (args.mode == MODE_NONE ||
        (args.mode != MODE_ONESHOT && args.mode != MODE_RULES && n_paths > 0)) {
        fputs(usage, stderr);
        return MD_EXIT_USAGE;
    }
    if (!options_fit(&args)) {
        return MD_EXIT_USAGE;
    }
    static md_conf conf;
    md_error err = {0};
    md_conf_defaults(&conf);
    if (args.config != NULL && md_conf_load(args.config, &conf, &err) != MD_OK) {
        return fail(&err, MD_EXIT_USAGE);
    }
    began.configuration_us = md_clock_monotonic_us() - began.main_us;
    md_log_configure(2,
                     args.mode == MODE_DAEMON ? md_log_level_of(conf.log.level) : MD_LOG_ERROR);
    signal(SIGPIPE, SIG_IGN);
    if (args.mode == MODE_DAEMON) {
        signal(SIGHUP, SIG_IGN); /* until the daemon can reload */
    }
    md_exit_code code = MD_EXIT_USAGE;
    switch (args.mode) {
    case MODE_ONESHOT:
        code = run_oneshot(&args, &conf, argv + optind, n_paths, &began);
        break;
    case MODE_DAEMON:
        code = run_daemon(&conf);
        break;
    case MODE_CHECK:
        code = md_check_config(&conf, args.model, args.echo);
        break;
    case MODE_LIST:
        code = list_models(&args, &conf);
        break;
    case MODE_RULES:
        code = explain_rules(&args, &conf, argv + optind, n_paths);
        break;
    case MODE_EXPLAIN:
        code = md_explain_model(args.folder, &conf);
        break;
    case MODE_NONE:
        break;
    }
    md_dicom_finish();
    return code;
}
