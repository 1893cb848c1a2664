/* The forms of a notice, what each notifier may have of a patient, acknowledgements, and the
 * way of a text through the store. How texts really go out is
 * tests/integration/test_notifications.py.
 */

#include "base/clock.h"
#include "daemon/notifier/deliver.h"
#include "daemon/notifier/notifier.h"
#include "daemon/steady.h"

#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const md_store_finding findings[] = {
    {.model_id = "chest",
     .model_version = "1.0.0",
     .key = "pneumonia",
     .code = "233604007",
     .scheme = "SCT",
     .meaning = "Pneu|mo^nia",
     .presence = MD_STORE_PRESENT,
     .score = 0.9034,
     .threshold = 0.73,
     .is_probability = true,
     .urgent = true},
    {.model_id = "chest",
     .model_version = "1.0.0",
     .key = "effusion",
     .code = "60046008",
     .scheme = "SCT",
     .meaning = "Pleural effusion",
     .score = 0.1,
     .threshold = 0.5},
};

static md_notice notice_of_patient(void)
{
    return (md_notice){.study_key = "0123456789abcdef",
                       .generation = 2,
                       .priority = MD_NOTICE_URGENT,
                       .received_ms = 1700000000000,
                       .analysed_ms = 1700000005000,
                       .findings = findings,
                       .n_findings = 2,
                       .patient_id = "A~1|2",
                       .patient_name = "M\xc3\xbcller^Ann^B^Dr^III=ideographic",
                       .birth_date = "19700102",
                       .sex = "F",
                       .accession_number = "ACC7",
                       .study_instance_uid = "1.2.3"};
}

static const md_hl7_ends ends = {"MEDAID", "Radio", "RIS", "Hospital"};

static char *hl7_of(const md_notice *notice)
{
    char *text = NULL;
    md_error err = {0};
    if (md_notice_hl7(notice, &ends, "0123456789abcdef-2", &text, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    return text;
}

/* Field `n` of the k-th segment of that name, in a static buffer. MSH-1 is the separator. */
static const char *field(const char *text, const char *segment, unsigned k, unsigned n)
{
    static char found[512];
    for (const char *at = text; *at != '\0'; at = strchr(at, '\r') + 1) {
        if (strncmp(at, segment, 3) != 0 || k-- > 0) {
            assert_non_null(strchr(at, '\r'));
            continue;
        }
        const char *end = strchr(at, '\r');
        unsigned number = strcmp(segment, "MSH") == 0 ? 1 : 0;
        for (; number < n && at < end; number++) {
            const char *bar = memchr(at, '|', (size_t)(end - at));
            at = bar == NULL ? end : bar + 1;
        }
        const char *bar = memchr(at, '|', (size_t)(end - at));
        snprintf(found, sizeof found, "%.*s", (int)((bar == NULL ? end : bar) - at), at);
        return found;
    }
    fail_msg("no segment %s", segment);
    return NULL;
}

static void test_hl7(void **state)
{
    (void)state;
    md_notice notice = notice_of_patient();
    char *text = hl7_of(&notice);
    assert_string_equal(field(text, "MSH", 0, 9), "ORU^R01^ORU_R01");
    assert_string_equal(field(text, "MSH", 0, 10), "0123456789abcdef-2");
    assert_string_equal(field(text, "MSH", 0, 12), "2.5.1");
    assert_string_equal(field(text, "MSH", 0, 18), "UNICODE UTF-8");
    assert_string_equal(field(text, "MSH", 0, 5), "RIS");
    assert_string_equal(field(text, "PID", 0, 3), "A\\R\\1\\F\\2^^^^PI");
    assert_string_equal(field(text, "PID", 0, 5), "M\xc3\xbcller^Ann^B^III^Dr");
    assert_string_equal(field(text, "PID", 0, 7), "19700102");
    assert_string_equal(field(text, "PID", 0, 8), "F");
    assert_string_equal(field(text, "ORC", 0, 1), "RE");
    assert_string_equal(field(text, "OBR", 0, 3), "ACC7");
    assert_string_equal(field(text, "OBR", 0, 7), "20231114221320+0000");
    assert_string_equal(field(text, "OBR", 0, 22), "20231114221325+0000");
    assert_string_equal(field(text, "OBR", 0, 25), "P");
    assert_string_equal(field(text, "TQ1", 0, 9), "S");
    assert_string_equal(field(text, "OBX", 0, 5), "1.2.3");
    assert_string_equal(field(text, "OBX", 1, 2), "CWE");
    assert_string_equal(field(text, "OBX", 1, 3), "233604007^Pneu\\F\\mo\\S\\nia^SCT");
    assert_string_equal(field(text, "OBX", 1, 5), "52101004^Present^SCT");
    assert_string_equal(field(text, "OBX", 1, 8), "AA");
    assert_string_equal(field(text, "OBX", 1, 11), "P");
    assert_string_equal(field(text, "OBX", 2, 2), "NM");
    assert_string_equal(field(text, "OBX", 2, 3), "122157^Probability^DCM");
    assert_string_equal(field(text, "OBX", 2, 5), "0.9034");
    assert_string_equal(field(text, "OBX", 2, 7), "<0.7300");
    assert_string_equal(field(text, "OBX", 2, 8), "H");
    assert_string_equal(field(text, "OBX", 2, 14), "20231114221325+0000");
    assert_string_equal(field(text, "OBX", 3, 5), "chest 1.0.0");
    assert_string_equal(field(text, "OBX", 4, 5), "272519000^Absent^SCT");
    assert_string_equal(field(text, "OBX", 5, 3), "111012^Certainty of Finding^DCM");
    md_free(text);

    /* what was not decided is neither normal nor abnormal */
    md_store_finding undecided = findings[1];
    undecided.presence = MD_STORE_UNDETERMINED;
    notice.findings = &undecided;
    notice.n_findings = 1;
    text = hl7_of(&notice);
    assert_string_equal(field(text, "OBX", 1, 5), "373068000^Undetermined^SCT");
    assert_string_equal(field(text, "OBX", 1, 8), "");
    assert_string_equal(field(text, "OBX", 2, 8), "");
    md_free(text);

    /* nothing of the patient; a failure with a line end in its reason */
    notice = (md_notice){
        .study_key = "0123456789abcdef", .generation = 1, .failed = "no\rPID|1||EVIL"};
    text = hl7_of(&notice);
    assert_string_equal(field(text, "PID", 0, 3), "0123456789abcdef^^^MEDAID^ANON");
    assert_string_equal(field(text, "OBR", 0, 25), "X");
    assert_string_equal(field(text, "TQ1", 0, 9), "R");
    assert_string_equal(field(text, "OBX", 0, 5),
                        "The analysis failed: no PID\\F\\1\\F\\\\F\\EVIL");
    assert_string_equal(field(text, "OBX", 0, 11), "X");
    assert_string_equal(field(text, "OBX", 0, 14), "");
    md_free(text);
}

static void test_json(void **state)
{
    (void)state;
    md_notice notice = notice_of_patient();
    char *text = NULL;
    assert_int_equal(md_notice_json(&notice, &text, NULL), MD_OK);
    json_t *json = json_loads(text, 0, NULL);
    const char *key = "", *patient = "", *presence = "", *analysed = "";
    double score = 0;
    assert_int_equal(json_unpack(json, "{s:s, s:{s:s}, s:s, s:[{s:s, s:f}, {}]}", "study", &key,
                                 "patient", "id", &patient, "analysed", &analysed, "findings",
                                 "presence", &presence, "score", &score),
                     0);
    assert_string_equal(key, "0123456789abcdef");
    assert_string_equal(patient, "A~1|2");
    assert_string_equal(presence, "present");
    assert_string_equal(analysed, "2023-11-14T22:13:25Z");
    assert_true(score == 0.9034);
    json_decref(json);
    md_free(text);
}

static void test_mail(void **state)
{
    (void)state;
    md_notice notice = notice_of_patient();
    char *text = NULL;
    assert_int_equal(md_notice_mail(&notice, "medaid", "list@example.org", &text, NULL), MD_OK);
    assert_ptr_equal(strstr(text, "From: medaid\nTo: list@example.org\nSubject: medaid: urgent "
                                  "study 0123456789abcdef\n"),
                     text);
    assert_non_null(strstr(text, "Date: Tue, 14 Nov 2023 22:13:25 +0000\n"));
    assert_non_null(
        strstr(text, "Pneu|mo^nia: present (probability 0.903, threshold 0.730; chest 1.0.0)"));
    md_free(text);
}

static void test_who_may_have_what(void **state)
{
    (void)state;
    md_conf *conf = md_calloc(1, sizeof *conf);
    static const struct {
        const char *name;
        md_conf_notify_on on;
        md_conf_patient patient;
    } rows[] = {
        {"full", MD_CONF_NOTIFY_EVERY, MD_CONF_PATIENT_FULL},
        {"identifiers", MD_CONF_NOTIFY_FINDINGS, MD_CONF_PATIENT_IDENTIFIERS},
        {"none", MD_CONF_NOTIFY_URGENT, MD_CONF_PATIENT_NONE},
    };
    for (; conf->n_notifiers < 3; conf->n_notifiers++) {
        md_conf_notifier *n = &conf->notifiers[conf->n_notifiers];
        snprintf(n->name, sizeof n->name, "%s", rows[conf->n_notifiers].name);
        n->on = rows[conf->n_notifiers].on;
        n->patient = rows[conf->n_notifiers].patient;
    }
    md_notice notice = notice_of_patient();
    md_notice_list list = {0};
    assert_int_equal(md_notifiers_make(conf, &notice, &list, NULL), MD_OK);
    assert_int_equal(list.n, 3);
    static const bool wanted[3][3] = {
        {true, true, true}, {false, true, true}, {false, false, false}};
    static const char *const marks[3] = {"ller", "A~1|2", "ACC7"};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(list.items[i].notifier, rows[i].name);
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(strstr(list.items[i].body, marks[k]) != NULL, wanted[i][k]);
        }
    }
    md_notice_list_finish(&list);

    notice.priority = MD_NOTICE_ROUTINE;
    notice.findings = &findings[1];
    notice.n_findings = 1;
    assert_int_equal(md_notifiers_make(conf, &notice, &list, NULL), MD_OK);
    assert_int_equal(list.n, 1); /* an absent finding is an occasion for "every" alone */
    md_notice_list_finish(&list);
    md_free(conf);
}

/* However many findings there are, the urgent one is told, and that there are more. */
static void test_many_findings(void **state)
{
    (void)state;
    enum {
        N = 5000
    };
    md_conf *conf = md_calloc(1, sizeof *conf);
    md_store_finding *many = md_calloc(N, sizeof *many);
    for (size_t i = 0; i < N; i++) {
        many[i] = findings[1];
    }
    many[N - 1] = findings[0];
    static const md_conf_notify_kind kinds[] = {MD_CONF_NOTIFY_HL7, MD_CONF_NOTIFY_WEBHOOK,
                                                MD_CONF_NOTIFY_MAIL};
    static const char *const marks[] = {" more findings",
                                        "\"findings_left_out\":", " more findings"};
    for (; conf->n_notifiers < 3; conf->n_notifiers++) {
        conf->notifiers[conf->n_notifiers].kind = kinds[conf->n_notifiers];
    }
    md_notice notice = notice_of_patient();
    notice.findings = many;
    notice.n_findings = N;
    md_notice_list list = {0};
    md_error err = {0};
    if (md_notifiers_make(conf, &notice, &list, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(list.n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(strlen(list.items[i].body) <= MD_NOTICE_MAX_BYTES);
        assert_non_null(strstr(list.items[i].body, "Pneu"));
        assert_non_null(strstr(list.items[i].body, marks[i]));
    }
    md_notice_list_finish(&list);
    md_free(many);
    md_free(conf);
}

static void test_acknowledgements(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        md_status wanted;
    } rows[] = {
        {"MSH|^~\\&|A|B|C|D|20230101||ACK|1|P|2.5.1\rMSA|AA|id-1\r", MD_OK},
        {"MSH|^~\\&|A\rMSA|CA|id-1|fine", MD_OK},
        {"MSH#^~\\&#A\rMSA#AA#id-1", MD_OK},
        {"MSH|^~\\&|A\rMSA|AE|id-1|no such patient\r", MD_UNSUPPORTED},
        {"MSH|^~\\&|A\rMSA|AR|id-1\r", MD_UNSUPPORTED},
        {"MSH|^~\\&|A\rMSA|ZZ|id-1\r", MD_UNSUPPORTED},
        {"MSH|^~\\&|A\rMSA|AA|id-2\r", MD_NETWORK},
        {"MSH|^~\\&|A\rMSA|AA\r", MD_NETWORK},
        {"MSH|^~\\&|A\r", MD_NETWORK},
        {"MSH|", MD_NETWORK},
        {"", MD_NETWORK},
        {"HTTP/1.1 400 Bad Request", MD_NETWORK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = strlen(rows[i].text);
        char *exact = malloc(n + 1); /* without a zero byte behind it */
        memcpy(exact, rows[i].text, n);
        md_error err = {0};
        md_status status = md_deliver_judge_ack(exact, n, "id-1", &err);
        if (status != rows[i].wanted) {
            fail_msg("row %zu: %s: %s", i, md_status_name(status), err.msg);
        }
        assert_null(strstr(err.msg, "patient")); /* nothing that the peer wrote */
        free(exact);
    }
}

/* ---- through the store ---- */

typedef struct fixture {
    char folder[64], database[96];
    md_store *store;
    md_claim claim;
    md_study study;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    snprintf(f->folder, sizeof f->folder, "/tmp/medaid-notifier-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->database, sizeof f->database, "%s/db", f->folder);
    const md_store_options options = {.path = f->database};
    assert_int_equal(md_store_open(&options, &f->store, NULL), MD_OK);
    const md_instance_new instance = {.study_uid = "1.2.3",
                                      .series_uid = "1.2.4",
                                      .sop_instance_uid = "1.2.5",
                                      .sop_class_uid = "1.2.6",
                                      .transfer_syntax_uid = "1.2.840.10008.1.2",
                                      .source_ae = "CT",
                                      .file = 1,
                                      .size_bytes = 1,
                                      .received_ms = 1000};
    md_instance_outcome outcome;
    assert_int_equal(md_store_add_instances(f->store, &instance, 1, &outcome, NULL), MD_OK);
    assert_int_equal(md_store_study(f->store, outcome.study, &f->study, NULL), MD_OK);
    assert_int_equal(md_store_complete(f->store, &f->study, 2000, NULL), MD_OK);
    assert_int_equal(md_store_claim(f->store, "t", 3000, 60000, &f->claim, &f->study, NULL),
                     MD_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    char command[128];
    md_store_close(f->store);
    snprintf(command, sizeof command, "rm -r '%s'", f->folder);
    int failed = system(command);
    free(f);
    return failed;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned n_attempts;
static md_status answers[4];
static md_store *delivering;

static md_status fake_deliver(const md_conf_notifier *notifier, const char *id,
                              const char *body, md_error *err)
{
    assert_string_equal(notifier->name, "ris");
    assert_string_equal(body, "text");
    assert_non_null(strchr(id, '-'));
    /* were the outcome not written down, the text would be free again soon */
    int64_t free_ms = 0;
    assert_int_equal(md_store_notice_next_ms(delivering, "ris", &free_ms, NULL), MD_OK);
    assert_true(free_ms > md_steady_ms() && free_ms < md_steady_ms() + 10 * 60 * 1000);
    pthread_mutex_lock(&mutex);
    md_status status = answers[n_attempts < 3 ? n_attempts : 3];
    n_attempts++;
    pthread_mutex_unlock(&mutex);
    return status == MD_OK ? MD_OK : md_fail(err, status, "not now");
}

static md_notice_row row_of(fixture *f)
{
    md_notice_row row = {0};
    size_t n = 0;
    assert_int_equal(md_store_notices(f->store, f->study.key, 1, &row, &n, NULL), MD_OK);
    assert_int_equal(n, 1);
    return row;
}

/* Told with the end of the analysis, tried again, told once. */
static void test_delivery(void **state)
{
    fixture *f = *state;
    const md_notice_new notice = {.notifier = "ris", .body = "text"};
    const md_study_outcome outcome = {.notices = &notice, .n_notices = 1};
    assert_int_equal(md_store_finish(f->store, &f->claim, &outcome, 4000, NULL, NULL), MD_OK);
    md_conf *conf = md_calloc(1, sizeof *conf);
    conf->n_notifiers = 1;
    snprintf(conf->notifiers[0].name, sizeof conf->notifiers[0].name, "ris");
    conf->notifiers[0].timeout_s = 30;
    n_attempts = 0;
    delivering = f->store;
    answers[0] = MD_NETWORK;
    answers[1] = MD_UNSUPPORTED;
    answers[2] = MD_OK;
    md_notifiers *notifiers = NULL;
    assert_int_equal(md_notifiers_start(conf, f->store, fake_deliver, &notifiers, NULL), MD_OK);
    while (row_of(f).state != MD_OUTBOX_SENT) {
        usleep(20000);
    }
    md_notifiers_wake(notifiers);
    usleep(50000);
    md_notifiers_stop(notifiers);
    assert_int_equal(n_attempts, 3);
    md_notice_row row = row_of(f);
    assert_int_equal(row.n_attempts, 3);
    assert_string_equal(row.reason, "");
    assert_int_equal(md_store_study(f->store, f->study.id, &f->study, NULL), MD_OK);
    assert_true(f->study.clock.notified_ms > 0);
    md_free(conf);
}

/* Claims, leases and death, by the caller's clock. */
static void test_notice_rows(void **state)
{
    fixture *f = *state;
    const md_notice_new notice = {.notifier = "ris", .body = "text"};
    const md_notice_new nobody = {.notifier = "", .body = "text"};
    char *body = NULL;
    md_notice_row row, again;
    int64_t next_ms = 0;
    size_t n = 0;
    assert_int_equal(md_store_add_notices(f->store, f->study.id, &nobody, 1, 4000, NULL),
                     MD_INVALID_ARG);
    assert_int_equal(md_store_add_notices(f->store, f->study.id, &notice, 1, 4000, NULL),
                     MD_OK);
    /* the same analysis told again is told once */
    assert_int_equal(md_store_add_notices(f->store, f->study.id, &notice, 1, 5000, NULL),
                     MD_OK);
    assert_int_equal(md_store_notice_claim(f->store, "other", 5000, 100, &row, &body, NULL),
                     MD_NOT_FOUND);
    assert_int_equal(md_store_notice_claim(f->store, "ris", 5000, 100, &row, &body, NULL),
                     MD_OK);
    md_free(body);
    assert_int_equal(md_store_notice_claim(f->store, "ris", 5050, 100, &again, &body, NULL),
                     MD_NOT_FOUND);
    assert_int_equal(md_store_notice_claim(f->store, "ris", 5100, 100, &again, &body, NULL),
                     MD_OK);
    md_free(body);
    assert_int_equal(md_store_notice_finish(f->store, &row, MD_OUTBOX_SENT, 0, "", 5200, NULL),
                     MD_CANCELLED);
    assert_int_equal(
        md_store_notice_finish(f->store, &again, MD_OUTBOX_PENDING, 9000, "down", 5200, NULL),
        MD_OK);
    assert_int_equal(md_store_notice_next_ms(f->store, "ris", &next_ms, NULL), MD_OK);
    assert_int_equal(next_ms, 9000);
    assert_string_equal(row_of(f).reason, "down");
    assert_int_equal(md_store_notice_claim(f->store, "ris", 9000, 100, &row, &body, NULL),
                     MD_OK);
    assert_string_equal(body, "text");
    md_free(body);
    /* the program ended while it sent: the next start sends at once, the old claim is void */
    md_recovery recovery;
    assert_int_equal(md_store_recover(f->store, 9001, &recovery, NULL), MD_OK);
    again = row;
    assert_int_equal(md_store_notice_claim(f->store, "ris", 9001, 100, &row, &body, NULL),
                     MD_OK);
    md_free(body);
    assert_int_equal(
        md_store_notice_finish(f->store, &again, MD_OUTBOX_SENT, 0, "", 9050, NULL),
        MD_CANCELLED);
    assert_int_equal(
        md_store_notice_finish(f->store, &row, MD_OUTBOX_DEAD, 0, "refused", 9100, NULL),
        MD_OK);
    assert_int_equal(md_store_notice_next_ms(f->store, "ris", &next_ms, NULL), MD_OK);
    assert_true(next_ms == INT64_MAX);
    assert_int_equal(md_store_notice_retry(f->store, f->study.key, 9200, &n, NULL), MD_OK);
    assert_int_equal(n, 1);
    assert_int_equal(row_of(f).state, MD_OUTBOX_PENDING);
    assert_int_equal(row_of(f).n_attempts, 0);

    /* analysed again before it arrived: the later text alone goes, also after a retry */
    assert_int_equal(md_store_notice_claim(f->store, "ris", 9300, 100, &row, &body, NULL),
                     MD_OK);
    md_free(body);
    assert_int_equal(md_store_quarantine(f->store, f->study.id, "again", NULL), MD_OK);
    assert_int_equal(md_store_retry(f->store, f->study.id, 9310, NULL, NULL), MD_OK);
    const md_notice_new later = {.notifier = "ris", .body = "later"};
    assert_int_equal(md_store_claim(f->store, "t", 9315, 60000, &f->claim, &f->study, NULL),
                     MD_OK);
    const md_study_outcome outcome = {.notices = &later, .n_notices = 1};
    assert_int_equal(md_store_finish(f->store, &f->claim, &outcome, 9320, NULL, NULL), MD_OK);
    assert_int_equal(
        md_store_notice_finish(f->store, &row, MD_OUTBOX_PENDING, 9330, "down", 9330, NULL),
        MD_CANCELLED);
    assert_int_equal(md_store_notice_retry(f->store, f->study.key, 9340, &n, NULL), MD_OK);
    assert_int_equal(n, 0);
    assert_int_equal(md_store_notice_claim(f->store, "ris", 9500, 100, &row, &body, NULL),
                     MD_OK);
    assert_string_equal(body, "later");
    md_free(body);
    assert_int_equal(md_store_notice_claim(f->store, "ris", 9500, 100, &again, &body, NULL),
                     MD_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hl7),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_mail),
        cmocka_unit_test(test_many_findings),
        cmocka_unit_test(test_who_may_have_what),
        cmocka_unit_test(test_acknowledgements),
        cmocka_unit_test_setup_teardown(test_delivery, setup, teardown),
        cmocka_unit_test_setup_teardown(test_notice_rows, setup, teardown),
    };
    return cmocka_run_group_tests_name("notifier", tests, NULL, NULL);
}
