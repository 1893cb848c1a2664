/* Logging in, staying logged in, and what is not enough for it. The routes and the page are
 * tests/integration/test_web.py. */

#include "daemon/web/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static md_conf *conf;
static md_sessions *sessions;

static int setup(void **state)
{
    (void)state;
    static const char *const digests[] = {
        "f3bbbd66a63d4bf1747940578ec3d0103530e21d9cf8e2b1b3d9b3b0d4c5e0a1",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}; /* of "abc" */
    conf = md_calloc(1, sizeof *conf);
    for (; conf->web.n_users < 2; conf->web.n_users++) {
        md_conf_web_user *user = &conf->web.users[conf->web.n_users];
        snprintf(user->name, sizeof user->name, "user-%u", conf->web.n_users);
        snprintf(user->token_sha256, sizeof user->token_sha256, "%s",
                 digests[conf->web.n_users]);
    }
    conf->web.users[1].role = MD_CONF_ROLE_READER;
    conf->web.users[1].patient = true;
    return md_sessions_create(&sessions, NULL) != MD_OK;
}

static int teardown(void **state)
{
    (void)state;
    md_sessions_destroy(sessions);
    md_free(conf);
    return 0;
}

static void test_login(void **state)
{
    (void)state;
    md_session session, found;
    assert_int_equal(md_sessions_login(sessions, conf, "abc", 1000, &session, NULL), MD_OK);
    assert_string_equal(session.user, "user-1");
    assert_int_equal(session.role, MD_CONF_ROLE_READER);
    assert_true(session.sees_patient);
    assert_int_equal(strlen(session.id), 64);
    assert_string_not_equal(session.id, session.csrf);
    assert_true(md_sessions_find(sessions, conf, session.id, 2000, &found));
    assert_string_equal(found.csrf, session.csrf);

    /* almost right is wrong */
    char other[MD_SESSION_TEXT_BYTES];
    memcpy(other, session.id, sizeof other);
    other[63] = other[63] == '0' ? '1' : '0';
    assert_false(md_sessions_find(sessions, conf, other, 2000, &found));
    other[63] = '\0';
    assert_false(md_sessions_find(sessions, conf, other, 2000, &found));
    assert_false(md_sessions_find(sessions, conf, "", 2000, &found));
    assert_true(md_session_csrf_is(&session, session.csrf));
    assert_false(md_session_csrf_is(&session, session.id));
    assert_false(md_session_csrf_is(&session, NULL));
    assert_false(md_session_csrf_is(&session, ""));

    const int64_t life_ms = (int64_t)MD_SESSION_LIFE_S * 1000;
    assert_true(md_sessions_find(sessions, conf, session.id, 1000 + life_ms - 1, &found));
    assert_false(md_sessions_find(sessions, conf, session.id, 1000 + life_ms, &found));
    assert_int_equal(md_sessions_login(sessions, conf, "abc", 1000, &session, NULL), MD_OK);
    md_sessions_end(sessions, session.id);
    assert_false(md_sessions_find(sessions, conf, session.id, 1000, &found));
}

/* A reload of the configuration takes rights away at once. */
static void test_reload(void **state)
{
    (void)state;
    md_session session, found;
    md_conf_web_user *user = &conf->web.users[1];
    assert_int_equal(md_sessions_login(sessions, conf, "abc", 1000, &session, NULL), MD_OK);
    user->role = MD_CONF_ROLE_VIEWER;
    user->patient = false;
    assert_true(md_sessions_find(sessions, conf, session.id, 2000, &found));
    assert_int_equal(found.role, MD_CONF_ROLE_VIEWER);
    assert_false(found.sees_patient);
    user->token_sha256[0] = 'c'; /* another token: the lost one is of no use any more */
    assert_false(md_sessions_find(sessions, conf, session.id, 2000, &found));
    user->token_sha256[0] = 'b';
    assert_false(md_sessions_find(sessions, conf, session.id, 2000, &found));
    assert_int_equal(md_sessions_login(sessions, conf, "abc", 3000, &session, NULL), MD_OK);
    conf->web.n_users = 1;
    assert_false(md_sessions_find(sessions, conf, session.id, 4000, &found));
}

static void test_wrong_tokens(void **state)
{
    (void)state;
    md_session session;
    static const char *const wrong[] = {
        "", "abd", "abc ", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"};
    for (unsigned i = 0; i < MD_SESSION_MAX_FAILURES; i++) {
        assert_int_equal(
            md_sessions_login(sessions, conf, wrong[i % 4], 60000 + i, &session, NULL),
            MD_NOT_FOUND);
    }
    /* now the right one has to wait too, so that guessing is slow */
    assert_int_equal(md_sessions_login(sessions, conf, "abc", 61000, &session, NULL), MD_BUSY);
    assert_int_equal(md_sessions_login(sessions, conf, "abc", 120000, &session, NULL), MD_OK);
}

static void test_many(void **state)
{
    (void)state;
    md_session first, last, found;
    assert_int_equal(md_sessions_login(sessions, conf, "abc", 1, &first, NULL), MD_OK);
    for (int i = 0; i < MD_SESSION_MAX; i++) {
        assert_int_equal(md_sessions_login(sessions, conf, "abc", 2 + i, &last, NULL), MD_OK);
    }
    assert_false(md_sessions_find(sessions, conf, first.id, 1000, &found)); /* it made room */
    assert_true(md_sessions_find(sessions, conf, last.id, 1000, &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_login, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reload, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
