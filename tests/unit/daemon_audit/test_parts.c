/* The audit trail in parts: what hostile texts become, what happens without room, and that
 * nobody waits. The ways to a syslog are tests/integration/test_audit.py. */
#include "base/clock.h"
#include "daemon/audit/audit.h"
#include "daemon/audit/message.h"
#include "daemon/metrics/figures.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static const md_audit_source source = {
    .source_id = "S", .site = "", .ae_title = "MEDAID", .host = "ho st\n", .pid = 7};

static void test_escapes(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"a<b>&\"c'", "a&lt;b&gt;&amp;&quot;c'"},
        {"tab\tline\nnul\x01"
         "del\x7f",
         "tab?line?nul?del?"},
        {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\xa9\xbb", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\xa9\xbb"},
        {"\xff\xc3(\xed\xa0\x80", "?\?(?\?\?"},
        {"\xef\xbf\xbe\xef\xbf\xbf\xef\xbf\xbd", "??\xef\xbf\xbd"},
        {"]]><!-- &#0; \"/><x", "]]&gt;&lt;!-- &amp;#0; &quot;/&gt;&lt;x"},
    };
    char text[MD_AUDIT_MAX_BYTES];
    char expected[256];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const md_audit_alert_event event = {.peer_host = "192.0.2.1", .reason = cases[i].text};
        size_t n = md_audit_write_alert(&source, 1700000000123, &event, text);
        assert_int_equal(n, strlen(text));
        snprintf(expected, sizeof expected, "<EventOutcomeDescription>%s</Event",
                 cases[i].expected);
        assert_non_null(strstr(text, expected));
    }
    assert_int_equal(
        strncmp(text,
                "<84>1 2023-11-14T22:13:20.123Z host medaid 7 DICOM+RFC3881 - \xef\xbb\xbf<",
                63),
        0);
}

/* Base64 of RFC 4648's own examples. */
static void test_base64(void **state)
{
    static const char *const cases[][2] = {{"f", "Zg=="},         {"fo", "Zm8="},
                                           {"foo", "Zm9v"},       {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
    char text[MD_AUDIT_MAX_BYTES];
    char expected[64];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const md_audit_alert_event event = {.peer_host = "::1", .reason = cases[i][0]};
        assert_true(md_audit_write_alert(&source, 0, &event, text) > 0);
        snprintf(expected, sizeof expected, "value=\"%s\"", cases[i][1]);
        assert_non_null(strstr(text, expected));
    }
}

/* The longest that can come fits; what does not fit is no message, and never half a one. */
static void test_room(void **state)
{
    static md_audit_class classes[MD_AUDIT_MAX_CLASSES];
    static char patient[257], endless[MD_AUDIT_MAX_BYTES];
    char text[MD_AUDIT_MAX_BYTES];
    (void)state;
    for (int i = 0; i < MD_AUDIT_MAX_CLASSES; i++) {
        memset(classes[i].sop_class_uid, '1', MD_AUDIT_UID_BYTES - 1);
        classes[i].n_instances = 4000000000U;
    }
    memset(patient, '"', sizeof patient - 1);
    md_audit_transfer transfer = {
        .action = 'C',
        .peer_ae_title = "&&&&&&&&&&&&&&&&",
        .peer_host = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        .own_ae_title = "&&&&&&&&&&&&&&&&",
        .study = classes[0].sop_class_uid,
        .study_name = "0123456789abcdef",
        .patient = patient,
        .classes = classes,
        .n_classes = MD_AUDIT_MAX_CLASSES,
    };
    assert_true(md_audit_write_transfer(&source, 0, &transfer, text) > 0);
    memset(endless, '<', sizeof endless - 1);
    transfer.patient = endless;
    assert_int_equal(md_audit_write_transfer(&source, 0, &transfer, text), 0);
}

typedef struct fixture {
    char folder[64], path[96];
    md_conf conf;
    md_store *store;
    int receiver;
} fixture;

static void set_up(fixture *f)
{
    memset(f, 0, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/medaid-audit-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/medaid.db", f->folder);
    const md_store_options options = {.path = f->path};
    assert_int_equal(md_store_open(&options, &f->store, NULL), MD_OK);
    md_conf_defaults(&f->conf);
    f->conf.audit.to = MD_CONF_AUDIT_LOCAL;
    snprintf(f->conf.audit.socket, sizeof f->conf.audit.socket, "%s/log", f->folder);
    f->receiver = -1;
}

static void listen_here(fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->conf.audit.socket);
    f->receiver = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(f->receiver, (struct sockaddr *)&address, sizeof address), 0);
    const struct timeval patience = {.tv_sec = 60};
    assert_int_equal(
        setsockopt(f->receiver, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
}

static void tear_down(fixture *f)
{
    char command[128];
    close(f->receiver);
    md_store_close(f->store);
    static const char *const names[] = {"log", "medaid.db", "medaid.db-wal", "medaid.db-shm",
                                        "medaid.db.lock"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(command, sizeof command, "%s/%s", f->folder, names[i]);
        (void)unlink(command);
    }
    (void)rmdir(f->folder);
}

static void receive(const fixture *f, char text[MD_AUDIT_MAX_BYTES])
{
    ssize_t n = recv(f->receiver, text, MD_AUDIT_MAX_BYTES - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
}

static void send_object(const char *peer, const char *study, const char *class_uid, char action)
{
    md_audit_received(&(md_audit_object){.peer_address = peer,
                                         .calling_ae = "CT",
                                         .called_ae = "MEDAID",
                                         .study_uid = "1.2.3",
                                         .study_key = study,
                                         .patient_id = "PID-77",
                                         .sop_class_uid = class_uid,
                                         .action = action});
}

/* One message a study, association and action; hashed, and the same patient has one hash. */
static void test_groups(void **state)
{
    fixture f;
    char text[3][MD_AUDIT_MAX_BYTES];
    (void)state;
    set_up(&f);
    listen_here(&f);
    assert_int_equal(md_audit_start(&f.conf, f.store, NULL), MD_OK);
    send_object("192.0.2.1:1", "aaaaaaaaaaaaaaaa", "1.1", 'C');
    send_object("192.0.2.1:2", "aaaaaaaaaaaaaaaa", "1.1", 'C');
    send_object("192.0.2.1:1", "bbbbbbbbbbbbbbbb", "1.1", 'C');
    send_object("192.0.2.1:1", "aaaaaaaaaaaaaaaa", "1.1", 'C');
    send_object("192.0.2.1:1", "aaaaaaaaaaaaaaaa", "1.2", 'C');
    md_audit_association_done("192.0.2.1:1");
    receive(&f, text[0]);
    receive(&f, text[1]);
    md_audit_association_done("192.0.2.1:1"); /* nothing is left of it */
    md_audit_stop(60000); /* tells what the other association brought so far */
    receive(&f, text[2]);
    assert_non_null(strstr(text[0], "=\"aaaaaaaaaaaaaaaa\""));
    assert_non_null(strstr(text[0], "<SOPClass UID=\"1.1\" NumberOfInstances=\"2\"/>"));
    assert_non_null(strstr(text[0], "<SOPClass UID=\"1.2\" NumberOfInstances=\"1\"/>"));
    assert_non_null(strstr(text[1], "=\"bbbbbbbbbbbbbbbb\""));
    assert_non_null(strstr(text[2], "<SOPClass UID=\"1.1\" NumberOfInstances=\"1\"/>"));
    char key[MD_STORE_KEY_BYTES], patient[64];
    md_store_hash(f.store, "patient PID-77", key);
    snprintf(patient, sizeof patient, "ParticipantObjectID=\"%s\"", key);
    for (int i = 0; i < 3; i++) {
        assert_non_null(strstr(text[i], patient));
        assert_null(strstr(text[i], "PID-77"));
        assert_null(strstr(text[i], "1.2.3"));
    }
    assert_int_equal(recv(f.receiver, text[0], 1, MSG_DONTWAIT), -1);
    tear_down(&f);
}

/* A syslog that is not there fills the queue; the rest is counted, and nobody waits. */
static void test_overflow(void **state)
{
    fixture f;
    (void)state;
    set_up(&f);
    md_counter *dropped = &md_figures_now()->audit_dropped;
    uint64_t before = md_counter_get(dropped);
    assert_int_equal(md_audit_start(&f.conf, f.store, NULL), MD_OK);
    for (int i = 0; i < MD_AUDIT_QUEUE + 100; i++) {
        md_audit_alert("192.0.2.1:1", "x");
    }
    assert_int_equal(md_counter_get(dropped) - before, 100);
    md_audit_stop(0);
    md_audit_alert("192.0.2.1:1", "after the end"); /* nothing happens */
    tear_down(&f);
}

/* More open studies than are kept: the oldest is told early, none is lost. */
static void test_many_open(void **state)
{
    fixture f;
    char key[MD_STORE_KEY_BYTES], text[MD_AUDIT_MAX_BYTES];
    (void)state;
    set_up(&f);
    listen_here(&f);
    assert_int_equal(md_audit_start(&f.conf, f.store, NULL), MD_OK);
    for (int i = 0; i < MD_AUDIT_MAX_OPEN + 3; i++) {
        snprintf(key, sizeof key, "%016d", i);
        send_object("192.0.2.1:1", key, "1.1", 'C');
    }
    for (int i = 0; i < 3; i++) {
        snprintf(key, sizeof key, "%016d", i);
        receive(&f, text);
        assert_non_null(strstr(text, key));
    }
    md_audit_stop(0);
    tear_down(&f);
}

/* A reader's decision: who, about whom (a hash, or by name where that is wanted), and what. */
static void test_decision(void **state)
{
    fixture f;
    char text[MD_AUDIT_MAX_BYTES];
    (void)state;
    set_up(&f);
    listen_here(&f);
    assert_int_equal(md_audit_start(&f.conf, f.store, NULL), MD_OK);
    const md_audit_decision_event event = {.reader = "dr-<jones>",
                                           .study_uid = "1.2.3.4",
                                           .study_key = "aaaaaaaaaaaaaaaa",
                                           .patient_id = "MARKER-77",
                                           .action = "chest-ct",
                                           .decision = "accepted"};
    md_audit_decision(&event);
    receive(&f, text);
    assert_non_null(strstr(text, "EventActionCode=\"U\""));
    assert_non_null(strstr(text, "csd-code=\"110110\""));
    assert_non_null(strstr(text, "UserID=\"dr-&lt;jones&gt;\""));
    assert_non_null(strstr(text, "type=\"Follow-up action\" value=\"Y2hlc3QtY3Q=\""));
    assert_non_null(strstr(text, "type=\"Follow-up decision\" value=\"YWNjZXB0ZWQ=\""));
    assert_non_null(strstr(text, "type=\"Study\" value=\"YWFhYWFhYWFhYWFhYWFhYQ==\""));
    assert_null(strstr(text, "MARKER-77"));
    assert_null(strstr(text, "1.2.3.4"));
    f.conf.audit.identifiers = MD_CONF_IDENTIFIERS_FULL;
    md_audit_reload(&f.conf);
    md_audit_decision(&event);
    receive(&f, text);
    assert_non_null(strstr(text, "ParticipantObjectID=\"MARKER-77\""));
    md_audit_stop(0);
    tear_down(&f);
}

/* Off, then on, then elsewhere. */
static void test_reload(void **state)
{
    fixture f;
    char text[MD_AUDIT_MAX_BYTES];
    (void)state;
    set_up(&f);
    f.conf.audit.to = MD_CONF_AUDIT_OFF;
    assert_int_equal(md_audit_start(&f.conf, f.store, NULL), MD_OK);
    md_audit_application(true);
    send_object("192.0.2.1:1", "aaaaaaaaaaaaaaaa", "1.1", 'C');
    md_audit_association_done("192.0.2.1:1");
    f.conf.audit.to = MD_CONF_AUDIT_LOCAL;
    md_audit_reload(&f.conf);
    md_audit_alert("192.0.2.1:1", "waits for its syslog");
    listen_here(&f);
    receive(&f, text);
    assert_non_null(strstr(text, "waits for its syslog"));
    snprintf(f.conf.audit.source_id, sizeof f.conf.audit.source_id, "another");
    md_audit_reload(&f.conf);
    md_audit_application(false);
    receive(&f, text);
    assert_non_null(strstr(text, "AuditSourceID=\"another\""));
    f.conf.audit.to = MD_CONF_AUDIT_OFF;
    md_audit_reload(&f.conf);
    md_audit_application(false);
    md_audit_stop(60000);
    assert_int_equal(recv(f.receiver, text, 1, MSG_DONTWAIT), -1);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes),  cmocka_unit_test(test_base64),
        cmocka_unit_test(test_room),     cmocka_unit_test(test_groups),
        cmocka_unit_test(test_overflow), cmocka_unit_test(test_many_open),
        cmocka_unit_test(test_reload),   cmocka_unit_test(test_decision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
