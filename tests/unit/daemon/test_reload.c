/* What SIGHUP may change; how it does is tests/integration/test_reload.py. */
#include "conf/schema.h"
#include "daemon/reload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void check_known(const md_schema_field *fields, const char *path)
{
    for (const md_schema_field *field = fields; field->key != NULL; field++) {
        char key[128];
        snprintf(key, sizeof key, "%s%s%s", path, path[0] != '\0' ? "." : "", field->key);
        if (md_reload_kind_of(key) == MD_RELOAD_UNKNOWN) {
            fail_msg("%s: say in daemon/reload.c whether a reload takes it over", key);
        }
        if (field->type == MD_SCHEMA_MAP) {
            check_known(field->fields, key);
        }
    }
}

static void test_every_key_is_known(void **state)
{
    (void)state;
    check_known(md_conf_fields(), "");
    assert_int_equal(md_reload_kind_of("no_such_key"), MD_RELOAD_UNKNOWN);
    assert_int_equal(md_reload_kind_of("aeon"), MD_RELOAD_UNKNOWN);
    assert_int_equal(md_reload_kind_of("ae.port"), MD_RELOAD_FIXED);
    assert_int_equal(md_reload_kind_of("ae.tls.ca"), MD_RELOAD_LIVE);
}

static void note(void *context, const char *key)
{
    char *told = context;
    size_t used = strlen(told);
    snprintf(told + used, 256 - used, "%s ", key);
}

static void test_fixed_stay(void **state)
{
    static md_conf before, next;
    char told[256] = "";
    (void)state;
    md_conf_defaults(&before);
    md_conf_defaults(&next);
    assert_int_equal(md_reload_keep_fixed(&before, &next, note, told), 0);
    next.ae.port = 104;
    next.ae.has_tls = true;
    next.ae.timeout_s = 7;
    next.study.quiet_ms = 1234;
    next.plugins.n_paths = 1;
    snprintf(next.plugins.paths[0], sizeof next.plugins.paths[0], "/x");
    snprintf(next.storage.path, sizeof next.storage.path, "/elsewhere");
    next.storage.keep_h = 5;
    next.n_destinations = 1;
    snprintf(next.user, sizeof next.user, "nobody");
    assert_int_equal(md_reload_keep_fixed(&before, &next, note, told), 5);
    assert_string_equal(told, "ae.port ae.tls plugins.paths storage.path user ");
    assert_int_equal(next.ae.port, before.ae.port);
    assert_false(next.ae.has_tls);
    assert_int_equal(next.plugins.n_paths, 0);
    assert_string_equal(next.storage.path, before.storage.path);
    assert_int_equal(next.ae.timeout_s, 7);
    assert_int_equal(next.study.quiet_ms, 1234);
    assert_int_equal(next.storage.keep_h, 5);
    assert_int_equal(next.n_destinations, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_key_is_known),
                                       cmocka_unit_test(test_fixed_stay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
