#include "tests/unit/dicom_network/bench.h"

#include "base/file.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/store/store_reading.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STUDY "1.2.3.4.5"
#define SR_CLASS "1.2.840.10008.5.1.4.1.1.88.34"
#define PICTURE_CLASS "1.2.840.10008.5.1.4.1.1.7"
#define SYNTAX MD_UID_EXPLICIT_LITTLE

/* A daemon in a process of its own with an analyser that does as it is told. */
typedef struct server {
    md_conf conf;
    char storage[64], log_path[96], calls_path[96], order_path[96];
    char port[8], pacs_port[8];
    pid_t pid;
    test_scp scp; /* only its port is used, for test_connect */
} server;

static md_object make_result(const char *class_uid, const char *instance_uid)
{
    char path[] = "/tmp/medaid-result-XXXXXX";
    test_dataset dataset;
    md_object object = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    test_dataset_init(&dataset, MD_ENCODING_EXPLICIT_LITTLE, 8192);
    test_dataset_fill(&dataset, class_uid, instance_uid, STUDY, 1000);
    test_dataset_save(&dataset, path, class_uid, instance_uid, SYNTAX);
    test_dataset_finish(&dataset);
    assert_int_equal(md_file_read(path, 1 << 20, &object.bytes, &object.size_bytes, NULL),
                     MD_OK);
    unlink(path);
    snprintf(object.sop_class_uid, MD_UID_BYTES, "%s", class_uid);
    snprintf(object.sop_instance_uid, MD_UID_BYTES, "%s", instance_uid);
    return object;
}

/* Leave no byte free where the daemon stores. */
static void fill_disk(const server *now)
{
    static const char zeros[4096];
    char path[96];
    snprintf(path, sizeof path, "%s/store/filler", now->storage);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    size_t n = sizeof zeros;
    while (n > 0) {
        n = write(fd, zeros, n) == (ssize_t)n ? n : n / 2;
    }
    close(fd);
}

/* In the daemon's process. The order file says what to do: a letter. Each call is a line with
 * the number of files. */
static md_status analyse(void *context, const md_study_task *task, md_analysis *ret_analysis,
                         md_error *err)
{
    const server *now = context;
    uint8_t *order = NULL;
    size_t n = 0;
    FILE *calls = fopen(now->calls_path, "a");
    fprintf(calls, "%zu %d\n", task->n_paths, task->study->generation);
    fclose(calls);
    char what = 'g';
    if (md_file_read(now->order_path, 16, &order, &n, NULL) == MD_OK && n > 0) {
        what = (char)order[0];
    }
    md_free(order);
    switch (what) {
    case 'n':
        ret_analysis->n_not_accepted = task->n_paths;
        return md_fail(err, MD_NOT_FOUND, "no model accepts it");
    case 'f':
        return md_fail(err, MD_PLUGIN, "the plugin has failed");
    case 'b':
        return md_fail(err, MD_BUSY, "no space for the files of a worker");
    case 'c':
        abort();
    case 's':
        sleep(2);
        break;
    case 'd':
        fill_disk(now);
        break;
    case 't': /* the text analyzer answers, the model of the images does not */
        ret_analysis->results = md_calloc(2, sizeof(md_result));
        ret_analysis->n_results = 2;
        ret_analysis->results[0].kind = MD_RESULT_TEXT;
        ret_analysis->results[1].status = MD_RESULT_FAILED;
        snprintf(ret_analysis->results[1].failure_text,
                 sizeof ret_analysis->results[1].failure_text, "the images are too small");
        break;
    default:
        break;
    }
    ret_analysis->objects = md_calloc(2, sizeof(md_object));
    ret_analysis->n_objects = 2;
    /* as derived UIDs do: the same for the same input, another for another */
    char report[MD_UID_BYTES], picture[MD_UID_BYTES];
    snprintf(report, sizeof report, "1.2.3.4.5.100.%d", task->study->generation);
    snprintf(picture, sizeof picture, "1.2.3.4.5.101.%d", task->study->generation);
    ret_analysis->objects[0] = make_result(SR_CLASS, report);
    ret_analysis->objects[1] = make_result(PICTURE_CLASS, picture);
    return MD_OK;
}

static void finish(md_analysis *analysis)
{
    for (size_t i = 0; i < analysis->n_objects; i++) {
        md_free(analysis->objects[i].bytes);
    }
    md_free(analysis->objects);
    md_free(analysis->results);
}

static void prepare(server *now)
{
    memset(now, 0, sizeof *now);
    test_folder_make(now->storage);
    snprintf(now->log_path, sizeof now->log_path, "%s/log", now->storage);
    snprintf(now->calls_path, sizeof now->calls_path, "%s/calls", now->storage);
    snprintf(now->order_path, sizeof now->order_path, "%s/order", now->storage);
    test_free_port(now->port);
    test_free_port(now->pacs_port);
    md_conf_defaults(&now->conf);
    snprintf(now->conf.ae.bind, sizeof now->conf.ae.bind, "127.0.0.1");
    now->conf.ae.port = (uint16_t)strtoul(now->port, NULL, 10);
    now->conf.study.quiet_ms = 300;
    snprintf(now->conf.storage.path, sizeof now->conf.storage.path, "%s/store", now->storage);
    now->conf.n_destinations = 1;
    md_conf_destination *pacs = &now->conf.destinations[0];
    snprintf(pacs->name, sizeof pacs->name, "pacs");
    snprintf(pacs->ae_title, sizeof pacs->ae_title, "MEDAID");
    snprintf(pacs->host, sizeof pacs->host, "127.0.0.1");
    pacs->port = (uint16_t)strtoul(now->pacs_port, NULL, 10);
    pacs->timeout_s = 20;
    pacs->retry_first_s = 1;
    pacs->retry_max_s = 300;
    pacs->retry_for_h = 24;
    pacs->results = MD_RESULTS_BOTH;
    memcpy(now->scp.port, now->port, sizeof now->port);
}

/* How often `text` stands in the log. */
static unsigned count_in(const char *path, const char *text)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    unsigned n = 0;
    if (md_file_read(path, 1 << 24, &bytes, &size, NULL) != MD_OK) {
        return 0;
    }
    for (const char *at = (const char *)bytes; (at = strstr(at, text)) != NULL; at++) {
        n++;
    }
    md_free(bytes);
    return n;
}

static void wait_in_log(const server *now, const char *text, unsigned n)
{
    for (int i = 0; i < 6000 && count_in(now->log_path, text) < n; i++) {
        usleep(10000);
    }
    if (count_in(now->log_path, text) < n) {
        fail_msg("\"%s\" is not %u times in the log", text, n);
    }
}

/* Started, or ended already: a study that kills it may do so before the line is written. */
static void wait_for_start(const server *now, unsigned n)
{
    siginfo_t ended = {0};
    for (int i = 0; i < 6000 && count_in(now->log_path, "daemon_started") < n; i++) {
        if (waitid(P_PID, (id_t)now->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            ended.si_pid == now->pid) {
            return;
        }
        usleep(10000);
    }
}

static void *sleep_for_ever(void *argument)
{
    for (;;) {
        pause();
    }
    return argument;
}

/* To be called while this process has no other thread. */
static void launch(server *now)
{
    unsigned n_before = count_in(now->log_path, "daemon_started");
    now->pid = fork();
    assert_true(now->pid >= 0);
    if (now->pid == 0) {
        int fd = open(now->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        md_log_configure(fd, MD_LOG_DEBUG);
        const md_analyser analyser = {.context = now, .analyse = analyse, .finish = finish};
        md_error err = {0};
        pthread_t other; /* a library's, from before: it may be the one to get the signal */
        pthread_create(&other, NULL, sleep_for_ever, NULL);
        md_status status = md_daemon_serve(&now->conf, &analyser, &err);
        if (status != MD_OK) {
            fprintf(stderr, "%s\n", err.msg);
        }
        _exit(status == MD_OK ? 0 : 1);
    }
    wait_for_start(now, n_before + 1);
}

static void order(const server *now, const char *what)
{
    assert_int_equal(md_file_write(now->order_path, MD_FILE_REPLACE, what, 1, NULL), MD_OK);
}

/* Its exit code. */
static int wait_for_exit(const server *now)
{
    int status = 0;
    assert_int_equal(waitpid(now->pid, &status, 0), now->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void terminate(const server *now)
{
    assert_int_equal(kill(now->pid, SIGTERM), 0);
    assert_int_equal(wait_for_exit(now), 0);
}

static void clean_up(const server *now)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", now->storage);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(pclose(pipe), 0);
}

/* Send one object of a study; returns its status. */
static int send_object_of(const server *now, const char *study, const char *instance,
                          size_t n_pixel_bytes)
{
    test_dataset dataset;
    test_dataset_init(&dataset, MD_ENCODING_EXPLICIT_LITTLE, n_pixel_bytes + 4096);
    test_dataset_fill(&dataset, TEST_CT_CLASS, instance, study, n_pixel_bytes);
    int fd = test_connect(&now->scp);
    assert_int_equal(test_associate(fd, TEST_CT_CLASS, SYNTAX), 0);
    int status = test_store(fd, TEST_CT_CLASS, instance, dataset.bytes, dataset.used);
    close(fd);
    test_dataset_finish(&dataset);
    return status;
}

static int send_object(const server *now, const char *instance, size_t n_pixel_bytes)
{
    return send_object_of(now, STUDY, instance, n_pixel_bytes);
}

static void start_pacs(const server *now, test_scp *pacs)
{
    const md_scp_options options = {
        .ae_title = "MEDAID",
        .bind_address = "127.0.0.1",
        .port = (uint16_t)strtoul(now->pacs_port, NULL, 10),
        .max_associations = 8,
        .association_timeout_s = 20,
        .max_pdu_bytes = 65536,
        .max_object_bytes = 1 << 20,
    };
    test_scp_start(pacs, &options);
}

static void wait_until(atomic_uint *counter, unsigned n)
{
    for (int i = 0; i < 6000 && *counter < n; i++) {
        usleep(10000);
    }
    assert_true(*counter >= n);
}

static void test_study_goes_through(void **state)
{
    server now;
    test_scp pacs;
    (void)state;
    prepare(&now);
    launch(&now);
    start_pacs(&now, &pacs);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    assert_int_equal(send_object(&now, "1.2.3.2", 1000), 0);
    wait_in_log(&now, "results_sent", 1);
    assert_int_equal(pacs.n_objects, 2);
    assert_int_equal(count_in(now.calls_path, "2 1\n"), 1);
    /* the same again is stored once and not analysed again; another version is */
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    assert_int_equal(send_object(&now, "1.2.3.1", 1002), 0xb000);
    wait_in_log(&now, "results_sent", 2);
    assert_int_equal(count_in(now.calls_path, "\n"), 2);
    assert_int_equal(count_in(now.calls_path, "2 2\n"), 1);
    /* a late one: the whole study again */
    assert_int_equal(send_object(&now, "1.2.3.3", 1000), 0);
    wait_in_log(&now, "results_sent", 3);
    assert_int_equal(count_in(now.calls_path, "3 3\n"), 1);
    terminate(&now);
    assert_int_equal(count_in(now.log_path, "daemon_stopped"), 1);
    assert_int_equal(count_in(now.log_path, "Marker"), 0);
    assert_int_equal(count_in(now.log_path, STUDY), 0);
    assert_int_equal(pacs.n_objects, 6);
    test_scp_stop(&pacs);
    clean_up(&now);
}

static md_store *open_store(const server *now)
{
    char path[sizeof now->conf.storage.path + 16];
    md_store *store = NULL;
    snprintf(path, sizeof path, "%s/medaid.db", now->conf.storage.path);
    assert_int_equal(md_store_open(&(md_store_options){.path = path}, &store, NULL), MD_OK);
    return store;
}

/* What a text analyzer says of a study does not hide that its images were not looked at: it has
 * failed, and may be tried again. */
static void test_images_failed(void **state)
{
    server now;
    test_scp pacs;
    (void)state;
    prepare(&now);
    order(&now, "t");
    launch(&now);
    start_pacs(&now, &pacs);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    wait_in_log(&now, "results_sent", 1);
    terminate(&now);
    assert_int_equal(pacs.n_objects, 2); /* the report goes out */
    md_store *store = open_store(&now);
    md_study study;
    md_study_state after = MD_STUDY_DONE;
    assert_int_equal(md_store_study(store, 1, &study, NULL), MD_OK);
    assert_int_equal(study.state, MD_STUDY_FAILED);
    assert_string_equal(study.reason, "the images are too small");
    assert_int_equal(md_store_retry(store, study.id, 1, &after, NULL), MD_OK);
    assert_int_equal(after, MD_STUDY_COMPLETE);
    md_store_close(store);
    test_scp_stop(&pacs);
    clean_up(&now);
}

static size_t count_readings(const server *now)
{
    md_store *store = open_store(now);
    md_store_reading *rows = NULL;
    size_t n = 0;
    assert_int_equal(md_store_readings(store, 0, 100, &rows, &n, NULL), MD_OK);
    md_free(rows);
    md_store_close(store);
    return n;
}

/* How long studies waited is forgotten after history_days, also by a daemon that estimates
 * nothing. */
static void test_readings_forgotten(void **state)
{
    server now;
    test_scp pacs;
    (void)state;
    prepare(&now);
    now.conf.eta.enabled = false;
    launch(&now);
    start_pacs(&now, &pacs);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    wait_in_log(&now, "results_sent", 1);
    terminate(&now);
    assert_int_equal(count_readings(&now), 1);
    now.conf.eta.history_days = 0;
    launch(&now);
    terminate(&now);
    assert_int_equal(count_readings(&now), 0);
    test_scp_stop(&pacs);
    clean_up(&now);
}

/* Results wait for a PACS that is away, over a restart too. */
static void test_pacs_is_away(void **state)
{
    server now;
    test_scp pacs;
    (void)state;
    prepare(&now);
    launch(&now);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    wait_in_log(&now, "send_failed", 2);
    terminate(&now);
    launch(&now);
    start_pacs(&now, &pacs);
    wait_in_log(&now, "results_sent", 1);
    assert_int_equal(pacs.n_objects, 2);
    terminate(&now);
    assert_int_equal(count_in(now.calls_path, "\n"), 1);
    test_scp_stop(&pacs);
    clean_up(&now);
}

/* What the PACS refuses is kept aside and does not stop what comes after it. */
static void test_pacs_refuses(void **state)
{
    server now;
    test_scp pacs;
    (void)state;
    prepare(&now);
    now.conf.destinations[0].results = MD_RESULTS_SR;
    launch(&now);
    start_pacs(&now, &pacs);
    pacs.answer = 0xa900;
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    wait_in_log(&now, "send_failed", 1);
    pacs.answer = 0xb007; /* a warning: stored */
    wait_in_log(&now, "results_sent", 1);
    assert_int_equal(pacs.n_objects, 2); /* the SR alone, twice */
    terminate(&now);
    test_scp_stop(&pacs);
    clean_up(&now);
}

static void test_nothing_for_it(void **state)
{
    server now;
    (void)state;
    prepare(&now);
    now.conf.n_destinations = 0;
    order(&now, "n");
    launch(&now);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    wait_in_log(&now, "study_not_accepted", 1);
    /* without a destination results stay on disk */
    order(&now, "g");
    assert_int_equal(send_object(&now, "1.2.3.2", 1000), 0);
    wait_in_log(&now, "study_analysed", 1);
    terminate(&now);
    char results[128];
    snprintf(results, sizeof results, "%s/store/results", now.storage);
    assert_int_equal(test_folder_count(results), 1);
    /* a restart does nothing again */
    launch(&now);
    usleep(600000);
    terminate(&now);
    assert_int_equal(count_in(now.calls_path, "\n"), 2);
    clean_up(&now);
}

static void test_analysis_fails(void **state)
{
    server now;
    (void)state;
    prepare(&now);
    order(&now, "f");
    launch(&now);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    wait_in_log(&now, "given up", 1);
    assert_int_equal(count_in(now.calls_path, "\n"), MD_ANALYST_MAX_ATTEMPTS);
    assert_int_equal(count_in(now.log_path, "tried again"), MD_ANALYST_MAX_ATTEMPTS - 1);
    terminate(&now);
    clean_up(&now);
}

/* What could not be begun, as on a full disk, costs the study no attempt. */
static void test_analysis_cannot_begin(void **state)
{
    server now;
    test_scp pacs;
    (void)state;
    prepare(&now);
    order(&now, "b");
    launch(&now);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    wait_in_log(&now, "\"storage_failed\"", MD_ANALYST_MAX_ATTEMPTS + 1);
    order(&now, "g");
    start_pacs(&now, &pacs);
    wait_in_log(&now, "results_sent", 1);
    assert_int_equal(count_in(now.log_path, "study_failed"), 0);
    terminate(&now);
    test_scp_stop(&pacs);
    clean_up(&now);
}

/* An analysis that takes the process with it is not tried for ever. */
static void test_analysis_crashes(void **state)
{
    server now;
    test_scp pacs;
    (void)state;
    prepare(&now);
    order(&now, "c");
    launch(&now);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    assert_int_not_equal(wait_for_exit(&now), 0);
    for (int i = 1; i < MD_ANALYST_MAX_INTERRUPTIONS; i++) {
        launch(&now); /* finds it, and dies of it */
        assert_int_not_equal(wait_for_exit(&now), 0);
    }
    assert_int_equal(count_in(now.calls_path, "\n"), MD_ANALYST_MAX_INTERRUPTIONS);
    launch(&now);
    assert_int_equal(count_in(now.log_path, "\"quarantined\":1"), 2); /* opened, started */
    /* the next study is served, the bad one stays where it is, also when more of it comes */
    order(&now, "g");
    start_pacs(&now, &pacs);
    assert_int_equal(send_object(&now, "1.2.3.2", 1000), 0);
    assert_int_equal(send_object_of(&now, STUDY ".6", "1.2.3.3", 1000), 0);
    wait_in_log(&now, "results_sent", 1);
    assert_int_equal(count_in(now.calls_path, "\n"), MD_ANALYST_MAX_INTERRUPTIONS + 1);
    terminate(&now);
    test_scp_stop(&pacs);
    clean_up(&now);
}

/* SIGTERM while a study is analysed: it is finished first. One that is not complete is found by
 * the next start. */
static void test_stop_and_go_on(void **state)
{
    server now;
    test_scp pacs;
    (void)state;
    prepare(&now);
    order(&now, "s");
    launch(&now);
    start_pacs(&now, &pacs);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    wait_in_log(&now, "study_complete", 1);
    while (count_in(now.calls_path, "\n") == 0) {
        usleep(10000);
    }
    terminate(&now);
    assert_int_equal(count_in(now.log_path, "study_analysed"), 1);
    wait_until(&pacs.n_objects, 2);
    order(&now, "g");
    test_scp_stop(&pacs); /* no thread while forking */
    now.conf.study.quiet_ms = 1000000;
    launch(&now);
    assert_int_equal(send_object(&now, "1.2.3.2", 1000), 0);
    terminate(&now);
    now.conf.study.quiet_ms = 300;
    launch(&now);
    start_pacs(&now, &pacs);
    wait_in_log(&now, "results_sent", 2);
    terminate(&now);
    assert_int_equal(count_in(now.calls_path, "2 2\n"), 1);
    test_scp_stop(&pacs);
    clean_up(&now);
}

/* The disk is full when the results are there: that is not the study's fault, and it goes
 * through when there is room again. Needs the right to mount a small disk. */
static void test_disk_is_full(void **state)
{
    server now;
    test_scp pacs;
    (void)state;
    prepare(&now);
    now.conf.storage.min_free_mib = 0;
    assert_int_equal(mkdir(now.conf.storage.path, 0700), 0);
    if (mount("tmpfs", now.conf.storage.path, "tmpfs", 0, "size=12m,mode=0700") != 0) {
        assert_int_equal(errno, EPERM);
        clean_up(&now);
        skip();
    }
    order(&now, "d");
    launch(&now);
    start_pacs(&now, &pacs);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    wait_in_log(&now, "storage_failed", 2);
    assert_int_equal(send_object_of(&now, STUDY ".6", "1.2.3.2", 500000), 0xa700);
    order(&now, "g");
    char path[96];
    snprintf(path, sizeof path, "%s/store/filler", now.storage);
    for (int i = 0; i < 3; i++) { /* an analysis may still be filling it again */
        unlink(path);
        sleep(1);
    }
    wait_in_log(&now, "results_sent", 1);
    assert_int_equal(count_in(now.log_path, "study_failed"), 0);
    assert_int_equal(send_object_of(&now, STUDY ".6", "1.2.3.2", 1000), 0);
    wait_in_log(&now, "results_sent", 2);
    terminate(&now);
    assert_int_equal(pacs.n_objects, 4);
    test_scp_stop(&pacs);
    assert_int_equal(umount(now.conf.storage.path), 0);
    clean_up(&now);
}

/* Below the watermark objects are refused as out of resources, and C-ECHO and the rest live on.
 */
static void test_disk_is_low(void **state)
{
    server now;
    (void)state;
    prepare(&now);
    now.conf.storage.min_free_mib = 1U << 30;
    launch(&now);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0xa700);
    assert_int_equal(send_object(&now, "1.2.3.2", 1000), 0xa700);
    assert_int_equal(count_in(now.log_path, "disk_low"), 1);
    terminate(&now);
    now.conf.storage.min_free_mib = 0;
    launch(&now);
    assert_int_equal(send_object(&now, "1.2.3.1", 1000), 0);
    terminate(&now);
    clean_up(&now);
}

static void test_start_fails(void **state)
{
    server now;
    md_error err = {0};
    (void)state;
    prepare(&now);
    launch(&now);
    const md_analyser analyser = {.context = &now, .analyse = analyse, .finish = finish};
    md_log_configure(2, MD_LOG_ERROR);
    md_conf other = now.conf;
    char port[8];
    test_free_port(port);
    other.ae.port = (uint16_t)strtoul(port, NULL, 10);
    assert_int_equal(md_daemon_serve(&other, &analyser, &err), MD_BUSY);
    other.ae.port = now.conf.ae.port;
    snprintf(other.storage.path, sizeof other.storage.path, "%s/other", now.storage);
    assert_int_equal(md_daemon_serve(&other, &analyser, &err), MD_NETWORK);
    assert_non_null(strstr(err.msg, now.port));
    terminate(&now);
    clean_up(&now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_study_goes_through),    cmocka_unit_test(test_pacs_is_away),
        cmocka_unit_test(test_images_failed),         cmocka_unit_test(test_readings_forgotten),
        cmocka_unit_test(test_pacs_refuses),          cmocka_unit_test(test_nothing_for_it),
        cmocka_unit_test(test_analysis_fails),        cmocka_unit_test(test_analysis_crashes),
        cmocka_unit_test(test_analysis_cannot_begin), cmocka_unit_test(test_stop_and_go_on),
        cmocka_unit_test(test_start_fails),           cmocka_unit_test(test_disk_is_full),
        cmocka_unit_test(test_disk_is_low),
    };
    return cmocka_run_group_tests_name("daemon_serve", tests, NULL, NULL);
}
