/* The program `medaidctl`: shows and steers a running daemon over its Unix socket. */

#include "base/file.h"
#include "conf/conf.h"
#include "daemon/ctl_client.h"
#include "daemon/ctl_print.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: medaidctl status                how the daemon is\n"
    "       medaidctl studies               the studies that it keeps, newest first\n"
    "       medaidctl worklist              unread studies in reading order, with their ETA\n"
    "       medaidctl show KEY              one study: its clock, objects and outbox\n"
    "       medaidctl similar KEY           the cases that resemble it most\n"
    "       medaidctl retry KEY             a failed study or one in quarantine again\n"
    "       medaidctl quarantine KEY        do not analyse or send it any more\n"
    "       medaidctl read KEY              a person has read it\n"
    "       medaidctl agree KEY             a reader agrees with a finding, or does not; with\n"
    "       medaidctl disagree KEY          --model, --finding and --reader\n"
    "       medaidctl follow-up KEY         what is proposed to do next, and what was decided\n"
    "       medaidctl follow-up KEY accept ACTION    a reader's decision on an action of\n"
    "       medaidctl follow-up KEY decline ACTION   follow_up.actions, with --reader; "
    "withdraw\n"
    "       medaidctl follow-up KEY withdraw ACTION  takes it back\n"
    "       medaidctl follow-up KEY forget  all decisions for the study's patient\n"
    "       medaidctl follow-up import FILE decisions of before, a table (docs/follow-up.md)\n"
    "       medaidctl report                times, findings and verdicts over all studies\n"
    "       medaidctl pause                 start no new analysis\n"
    "       medaidctl drain                 take no new object\n"
    "       medaidctl resume                the end of pause and drain\n"
    "       medaidctl --version | --help\n"
    "\n"
    "  --config FILE   the daemon's configuration, for its storage.path\n"
    "  --socket PATH   its socket (default: medaid.sock in storage.path)\n"
    "  --json          the daemon's answer as it is\n"
    "with studies:\n"
    "  --state STATE   receiving, complete, analysing, reporting, sending, done, failed or\n"
    "                  quarantined\n"
    "  --limit N       at most so many, 1..1000 (default: 100)\n"
    "  --before N      the next page, as the last one names it\n"
    "with similar:\n"
    "  --limit N       at most so many, 1..100 (default: similar.n_nearest)\n"
    "with agree and disagree:\n"
    "  --model ID, --finding KEY, --reader NAME\n"
    "with follow-up accept, decline and withdraw:\n"
    "  --reader NAME\n"
    "with report:\n"
    "  --days N        of the studies of the last N days (default: all)\n"
    "\n"
    "exit: 0 done, 1 the daemon failed, 2 usage or configuration, 3 no such study,\n"
    "      4 the study's state does not allow it, 5 no daemon answers\n";

enum {
    MAX_TABLE_BYTES = 64 * 1024 * 1024
};

typedef enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NO_STUDY = 3,
    EXIT_WRONG_STATE = 4,
    EXIT_NO_DAEMON = 5
} exit_code;

typedef struct command {
    const char *name, *method;
    const char *before_key, *after_key; /* of the target; after_key NULL: takes no key */
    void (*print)(const json_t *answer, FILE *out);
} command;

static const command commands[] = {
    {"status", "GET", "/api/v1/status", NULL, md_ctl_print_status},
    {"studies", "GET", "/api/v1/studies", NULL, md_ctl_print_studies},
    {"worklist", "GET", "/api/v1/worklist", NULL, md_ctl_print_worklist},
    {"show", "GET", "/api/v1/study/", "", md_ctl_print_study},
    {"similar", "GET", "/api/v1/study/", "/similar", md_ctl_print_similar},
    {"retry", "POST", "/api/v1/study/", "/retry", md_ctl_print_change},
    {"quarantine", "POST", "/api/v1/study/", "/quarantine", md_ctl_print_change},
    {"read", "POST", "/api/v1/study/", "/read", md_ctl_print_change},
    {"agree", "POST", "/api/v1/study/", "/agree", md_ctl_print_change},
    {"disagree", "POST", "/api/v1/study/", "/disagree", md_ctl_print_change},
    {"follow-up", "GET", "/api/v1/study/", "", md_ctl_print_follow_up},
    {"report", "GET", "/api/v1/report", NULL, md_ctl_print_report},
    {"pause", "POST", "/api/v1/pause", NULL, md_ctl_print_change},
    {"drain", "POST", "/api/v1/drain", NULL, md_ctl_print_change},
    {"resume", "POST", "/api/v1/resume", NULL, md_ctl_print_change},
    {NULL, NULL, NULL, NULL, NULL},
};

typedef struct arguments {
    const char *config, *socket, *state, *limit, *before;
    const char *model, *finding, *reader, *days;
    bool json, finished;
} arguments;

static bool parse_options(int argc, char **argv, arguments *args)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"socket", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"state", required_argument, NULL, 't'},
        {"limit", required_argument, NULL, 'l'},
        {"before", required_argument, NULL, 'b'},
        {"model", required_argument, NULL, 'm'},
        {"finding", required_argument, NULL, 'f'},
        {"reader", required_argument, NULL, 'r'},
        {"days", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            args->config = optarg;
            break;
        case 's':
            args->socket = optarg;
            break;
        case 'j':
            args->json = true;
            break;
        case 't':
            args->state = optarg;
            break;
        case 'l':
            args->limit = optarg;
            break;
        case 'b':
            args->before = optarg;
            break;
        case 'm':
            args->model = optarg;
            break;
        case 'f':
            args->finding = optarg;
            break;
        case 'r':
            args->reader = optarg;
            break;
        case 'd':
            args->days = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            args->finished = true;
            return true;
        case 'v':
            puts("medaidctl " MEDAID_VERSION);
            args->finished = true;
            return true;
        default:
            fputs("medaidctl: see medaidctl --help\n", stderr);
            return false;
        }
    }
    return true;
}

static exit_code complain(const char *reason, exit_code code)
{
    fprintf(stderr, "medaidctl: %s\n", reason);
    return code;
}

/* A word that goes into the request's target as it is. */
static bool is_word(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t length = strlen(text);
    return length > 0 && length <= 64 && strspn(text, allowed) == length;
}

static bool is_key(const char *text)
{
    return is_word(text) &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789") == strlen(text);
}

static bool add_query(char *target, size_t n_bytes, const char *name, const char *value)
{
    size_t used = strlen(target);
    if (value == NULL) {
        return true;
    }
    if (!is_word(value)) {
        return false;
    }
    int length = snprintf(target + used, n_bytes - used, "%c%s=%s",
                          strchr(target, '?') == NULL ? '?' : '&', name, value);
    return length > 0 && (size_t)length < n_bytes - used;
}

/* The target of the request; false: the arguments do not fit the command. */
static bool make_target(const command *wanted, const arguments *args, char **words,
                        size_t n_words, char target[512])
{
    bool is_list = strcmp(wanted->name, "studies") == 0;
    bool is_verdict =
        strcmp(wanted->name, "agree") == 0 || strcmp(wanted->name, "disagree") == 0;
    bool is_similar = strcmp(wanted->name, "similar") == 0;
    bool has_query = args->state != NULL || args->before != NULL;
    bool has_word = args->model != NULL || args->finding != NULL || args->reader != NULL;
    bool has_whole_word = args->model != NULL && args->finding != NULL && args->reader != NULL;
    if (n_words != (wanted->after_key != NULL ? 1 : 0) || (has_query && !is_list) ||
        (args->limit != NULL && !is_list && !is_similar) ||
        (n_words == 1 && !is_key(words[0])) || (has_word && !is_verdict) ||
        (is_verdict && !has_whole_word) ||
        (args->days != NULL && strcmp(wanted->name, "report") != 0)) {
        return false;
    }
    snprintf(target, 512, "%s%s%s", wanted->before_key, n_words == 1 ? words[0] : "",
             wanted->after_key != NULL ? wanted->after_key : "");
    return add_query(target, 512, "state", args->state) &&
           add_query(target, 512, "limit", args->limit) &&
           add_query(target, 512, "before", args->before) &&
           add_query(target, 512, "model", args->model) &&
           add_query(target, 512, "finding", args->finding) &&
           add_query(target, 512, "reader", args->reader) &&
           add_query(target, 512, "days", args->days);
}

static exit_code code_of(unsigned http)
{
    switch (http) {
    case 200:
        return EXIT_DONE;
    case 400:
        return EXIT_USAGE;
    case 404:
        return EXIT_NO_STUDY;
    case 409:
        return EXIT_WRONG_STATE;
    default:
        return EXIT_FAILED;
    }
}

static exit_code run(const command *wanted, const char *socket_path, const char *target,
                     const char *table, bool as_json)
{
    md_ctl_answer answer;
    md_error err = {0};
    md_status status = MD_OK;
    if (table != NULL) {
        MD_AUTO(md_freep) uint8_t *bytes = NULL;
        size_t n = 0;
        if (md_file_read(table, MAX_TABLE_BYTES, &bytes, &n, &err) != MD_OK) {
            return complain(err.msg, EXIT_USAGE);
        }
        status = md_ctl_send(socket_path, target, bytes, n, &answer, &err);
    } else {
        status = md_ctl_request(socket_path, wanted->method, target, &answer, &err);
    }
    if (status != MD_OK) {
        return complain(err.msg, EXIT_NO_DAEMON);
    }
    MD_AUTO(md_freep) char *body = answer.body;
    exit_code code = code_of(answer.code);
    json_t *json = json_loadb(body, answer.n_bytes, 0, NULL);
    if (json == NULL) {
        return complain("the answer is not JSON", EXIT_FAILED);
    }
    const char *reason = json_string_value(json_object_get(json, "error"));
    if (as_json) {
        fwrite(body, 1, answer.n_bytes, stdout);
    } else if (code == EXIT_DONE) {
        wanted->print(json, stdout);
    }
    if (code != EXIT_DONE) {
        (void)complain(reason == NULL ? "the daemon failed" : reason, code);
    }
    json_decref(json);
    return fflush(stdout) == 0 ? code : EXIT_FAILED;
}

/* `follow-up KEY WORD [ACTION]` and `follow-up import FILE`: what differs from the plain
 * command. False: the words make none of these. */
static bool make_follow_up(const arguments *args, char **words, size_t n_words,
                           command *ret_command, char target[512], const char **ret_table)
{
    static const char *const verbs[] = {"accept", "decline", "withdraw"};
    if (args->state != NULL || args->limit != NULL || args->before != NULL ||
        args->model != NULL || args->finding != NULL || args->days != NULL || n_words < 2) {
        return false;
    }
    ret_command->method = "POST";
    ret_command->print = md_ctl_print_decision;
    if (strcmp(words[0], "import") == 0) {
        *ret_table = words[1];
        snprintf(target, 512, "/api/v1/follow-up");
        return n_words == 2 && args->reader == NULL;
    }
    if (!is_key(words[0])) {
        return false;
    }
    snprintf(target, 512, "/api/v1/study/%s/%s", words[0], words[1]);
    if (strcmp(words[1], "forget") == 0) {
        return n_words == 2 && args->reader == NULL;
    }
    bool is_verb = false;
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        is_verb = is_verb || strcmp(words[1], verbs[i]) == 0;
    }
    return is_verb && n_words == 3 && args->reader != NULL &&
           add_query(target, 512, "action", words[2]) &&
           add_query(target, 512, "reader", args->reader);
}

int main(int argc, char **argv)
{
    static md_conf conf;
    arguments args = {0};
    char target[512];
    char socket_path[MD_CONF_TEXT_BYTES + 32];
    md_error err = {0};
    if (!parse_options(argc, argv, &args)) {
        return EXIT_USAGE;
    }
    if (args.finished) {
        return EXIT_DONE;
    }
    const command *wanted = commands;
    while (optind < argc && wanted->name != NULL && strcmp(wanted->name, argv[optind]) != 0) {
        wanted++;
    }
    char **words = argv + optind + 1;
    size_t n_words = optind < argc ? (size_t)(argc - optind - 1) : 0;
    const char *table = NULL;
    command changed = *wanted;
    bool is_change =
        wanted->name != NULL && strcmp(wanted->name, "follow-up") == 0 && n_words > 1;
    if (optind == argc || wanted->name == NULL ||
        !(is_change ? make_follow_up(&args, words, n_words, &changed, target, &table)
                    : make_target(wanted, &args, words, n_words, target))) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    md_conf_defaults(&conf);
    if (args.config != NULL && md_conf_load(args.config, &conf, &err) != MD_OK) {
        return complain(err.msg, EXIT_USAGE);
    }
    snprintf(socket_path, sizeof socket_path, "%s/medaid.sock", conf.storage.path);
    return run(&changed, args.socket != NULL ? args.socket : socket_path, target, table,
               args.json);
}
