/* A history as a table: good ones read, hostile ones refused by line, without a word of theirs.
 */

#include "daemon/follow_up/history.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/inference/near.h"

#define NOW INT64_C(1767225600000) /* 2026-01-01 */

static md_conf_action actions[] = {{.key = "chest-ct"}, {.key = "nothing"}};
static md_conf conf;

static md_status open_text(const char *text, size_t n, md_history **ret_history, md_error *err)
{
    char *bytes = md_malloc(n + 1);
    assert_non_null(bytes);
    memcpy(bytes, text, n);
    return md_history_open(bytes, n, "table", &conf, NOW, ret_history, err);
}

static void test_good(void **state)
{
    (void)state;
    static const char text[] =
        "\xef\xbb\xbfPatient,Action,Rating,Reader,Date,Issuer,SCT:233604007,none\r\n"
        "P1,chest-ct,1,dr-jones,2025-03-01,HOSP,0.75,\r\n"
        "\"P \"\"2\"\"\",nothing,0.5,,,,,1\r\n"
        "P3,,forget,,,,,\r\n"
        "P1,chest-ct,1e-1,dr-jones,2024-02-29,,0,0\r\n";
    md_history *h = NULL;
    md_error err = {0};
    if (open_text(text, sizeof text - 1, &h, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    md_history_decision d;
    assert_int_equal(md_history_n(h), 4);
    md_history_row(h, 0, &d);
    assert_string_equal(d.patient_id, "P1");
    assert_string_equal(d.issuer, "HOSP");
    assert_string_equal(d.action, "chest-ct");
    assert_string_equal(d.reader, "dr-jones");
    assert_near(d.value, 1.0, 1e-9);
    assert_true(d.given_ms == INT64_C(1740787200000));
    assert_true(d.has_features && d.features.n == 1);
    assert_string_equal(d.features.items[0].name, "SCT:233604007");
    md_history_row(h, 1, &d);
    assert_string_equal(d.patient_id, "P \"2\"");
    assert_string_equal(d.reader, "import");
    assert_true(d.given_ms == NOW);
    assert_string_equal(d.features.items[0].name, "none");
    md_history_row(h, 2, &d);
    assert_true(d.forget && !d.has_features);
    md_history_row(h, 3, &d);
    assert_true(d.has_features && d.features.n == 0); /* said to have nothing */
    assert_near(d.value, 0.1, 1e-9);
    md_history_close(h);
    md_history_close(NULL);
}

static void test_bad(void **state)
{
#define HEAD "patient,action,rating,date,reader\n"
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "empty"},
        {"x,y\n", "table:1: expected the columns"},
        {"patient,action,rating,SECRET\n", "table:1: column 4"},
        {"patient,action,rating,SECRET:a b\n", "table:1: column 4"},
        {"patient,action,rating,patient\n", "same name"},
        {HEAD "P,chest-ct,1.0000001,,\n", "table:2: column 'rating'"},
        {HEAD "P,chest-ct,,,\n", "column 'rating'"},
        {HEAD "P,chest-ct,1 ,,\n", "column 'rating'"},
        {HEAD "P,chest-ct,1e999,,\n", "column 'rating'"},
        {HEAD "P,chest-ct,inf,,\n", "column 'rating'"},
        {HEAD "P,chest-ct,-0.1,,\n", "column 'rating'"},
        {HEAD "P,chest-ct,1,,\nP,SECRET,1,,\n", "table:3: column 'action'"},
        {HEAD "P,chest-ct,forget,,\n", "column 'action'"},
        {HEAD ",chest-ct,1,,\n", "column 'patient'"},
        {HEAD "SECRET\\,chest-ct,1,,\n", "column 'patient'"},
        {HEAD "\xc3\x28,chest-ct,1,,\n", "column 'patient'"},
        {HEAD "\"a\nb\",chest-ct,1,,\n", "column 'patient'"},
        {HEAD "P,chest-ct,1,2025-13-01,\n", "column 'date'"},
        {HEAD "P,chest-ct,1,2025-02-29,\n", "column 'date'"},
        {HEAD "P,chest-ct,1,1969-12-31,\n", "column 'date'"},
        {HEAD "P,chest-ct,1,2026-01-03,\n", "column 'date'"},
        {HEAD "P,chest-ct,1,20250101,\n", "column 'date'"},
        {HEAD "P,chest-ct,1,,Dr SECRET\n", "column 'reader'"},
        {HEAD "P,chest-ct,1,\n", "4 fields, expected 5"},
        {HEAD "\"P,chest-ct,1,,\n", "never closed"},
        {"patient,action,rating,none\nP,chest-ct,1,SECRET\n", "table:2: column '4'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_history *h = NULL;
        md_error err = {0};
        if (open_text(rows[i].text, strlen(rows[i].text), &h, &err) != MD_FORMAT ||
            strstr(err.msg, rows[i].says) == NULL || strstr(err.msg, "SECRET") != NULL) {
            fail_msg("row %zu: %s", i, err.msg);
        }
        assert_null(h);
    }
#undef HEAD
}

static void test_bounds(void **state)
{
    (void)state;
    md_history *h = NULL;
    md_error err = {0};
    char *bytes = md_malloc(16);
    assert_int_equal(
        md_history_open(bytes, (size_t)MD_HISTORY_MAX_BYTES + 1, "table", &conf, NOW, &h, &err),
        MD_LIMIT);
    /* an id as long as one may be, and one longer */
    char text[512];
    for (int n = MD_TEXT_BYTES - 1; n <= MD_TEXT_BYTES; n++) {
        char id[MD_TEXT_BYTES + 1];
        memset(id, 'i', sizeof id);
        id[n] = '\0';
        snprintf(text, sizeof text, "patient,action,rating\n%s,chest-ct,1\n", id);
        md_status status = open_text(text, strlen(text), &h, &err);
        assert_int_equal(status, n < MD_TEXT_BYTES ? MD_OK : MD_FORMAT);
    }
    md_history_close(h);
    h = NULL;
    conf.follow_up.n_actions = 0;
    assert_int_equal(open_text("patient,action,rating\n", 22, &h, &err), MD_INVALID_ARG);
    conf.follow_up.n_actions = 2;
    assert_int_equal(md_history_read("/nonexistent/history.csv", &conf, NOW, &h, &err),
                     MD_NOT_FOUND);
}

/* Who somebody is: the issuer tells apart, and no two make one text. */
static void test_patient(void **state)
{
    (void)state;
    char a[MD_HISTORY_PATIENT_BYTES], b[MD_HISTORY_PATIENT_BYTES];
    md_history_patient("1", "", a);
    assert_string_equal(a, "patient 1");
    md_history_patient("1", "H", b);
    assert_string_not_equal(a, b);
}

int main(void)
{
    conf.follow_up.actions = actions;
    conf.follow_up.n_actions = 2;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad),
                                       cmocka_unit_test(test_bounds),
                                       cmocka_unit_test(test_patient)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
