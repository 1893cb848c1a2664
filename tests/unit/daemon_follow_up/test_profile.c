/* What is known of a patient: taken from findings, bounded, written and read back. */

#include "daemon/follow_up/profile.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/inference/near.h"

static md_finding finding_of(const char *code, md_presence presence, double score)
{
    md_finding f = {.presence = presence, .score = score, .threshold = 0.5};
    snprintf(f.concept.value, sizeof f.concept.value, "%s", code);
    snprintf(f.concept.scheme, sizeof f.concept.scheme, "SCT");
    snprintf(f.concept.meaning, sizeof f.concept.meaning, "meaning of %s", code);
    return f;
}

static void test_of_findings(void **state)
{
    (void)state;
    md_finding images[] = {finding_of("1", MD_PRESENCE_PRESENT, 0.5),
                           finding_of("2", MD_PRESENCE_ABSENT, 0.1),
                           finding_of("1", MD_PRESENCE_PRESENT, 0.75),
                           finding_of("3", MD_PRESENCE_UNDETERMINED, 0.5)};
    md_finding text[] = {finding_of("1", MD_PRESENCE_PRESENT, 0.6),
                         finding_of("4", MD_PRESENCE_PRESENT, 1.0)};
    md_result results[] = {{.findings = images, .n_findings = 4},
                           {.findings = text, .n_findings = 2}};
    md_analysis analysis = {.results = results, .n_results = 2};
    md_features f;
    md_features_of(&analysis, &f);
    assert_int_equal(f.n, 2);
    assert_string_equal(f.items[0].name, "SCT:1"); /* the strongest of image and text */
    assert_string_equal(f.items[0].meaning, "meaning of 1");
    assert_near(f.items[0].weight, 0.75, 1e-6);
    assert_string_equal(f.items[1].name, "SCT:4");
    assert_near(f.items[1].weight, 1.0, 1e-6);
}

/* "Nothing was found" is said of a whole and sure result alone. */
static void test_nothing(void **state)
{
    (void)state;
    md_finding f[] = {finding_of("1", MD_PRESENCE_ABSENT, 0.1),
                      finding_of("2", MD_PRESENCE_ABSENT, 0.1)};
    md_result result = {.findings = f, .n_findings = 2};
    md_analysis analysis = {.results = &result, .n_results = 1};
    md_features got;
    md_features_of(&analysis, &got);
    assert_int_equal(got.n, 1);
    assert_string_equal(got.items[0].name, MD_FEATURE_NOTHING);
    f[1].presence = MD_PRESENCE_UNDETERMINED;
    md_features_of(&analysis, &got);
    assert_int_equal(got.n, 0);
    f[1].presence = MD_PRESENCE_ABSENT;
    result.status = MD_RESULT_PARTIAL;
    md_features_of(&analysis, &got);
    assert_int_equal(got.n, 0);
    result.status = MD_RESULT_COMPLETE;
    result.n_findings = 0; /* nothing was asked */
    md_features_of(&analysis, &got);
    assert_int_equal(got.n, 0);
    analysis.n_results = 0;
    md_features_of(&analysis, &got);
    assert_int_equal(got.n, 0);
}

static void test_refused(void **state)
{
    (void)state;
    md_features f = {0};
    char longer[MD_FEATURE_NAME_BYTES + 1];
    memset(longer, 'a', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    assert_false(md_features_add(&f, "", "", 0.5F));
    assert_false(md_features_add(&f, longer, "", 0.5F));
    assert_false(md_features_add(&f, "a b", "", 0.5F));
    assert_false(md_features_add(&f, "a\n", "", 0.5F));
    assert_false(md_features_add(&f, "a", "", -0.1F));
    assert_false(md_features_add(&f, "a", "", 1.1F));
    assert_false(md_features_add(&f, "a", "", (float)NAN));
    assert_true(md_features_add(&f, "a", "", 0.0F));
    assert_int_equal(f.n, 0);
}

static void collect(void *context, const char *name, size_t length, float weight)
{
    md_features *f = context;
    char text[MD_FEATURE_NAME_BYTES];
    snprintf(text, sizeof text, "%.*s", (int)length, name);
    assert_true(md_features_add(f, text, "", weight));
}

/* The weakest give way, and all that fit are read back. */
static void test_text(void **state)
{
    (void)state;
    md_features f = {0}, back = {0};
    char text[MD_FEATURES_TEXT_BYTES], name[MD_FEATURE_NAME_BYTES];
    memset(name, 'n', sizeof name);
    for (int i = 0; i < MD_FEATURES_MAX + 20; i++) {
        snprintf(name + sizeof name - 4, 4, "%03d", i); /* as long as one may be */
        assert_true(md_features_add(&f, name, "", 0.1F + (float)i / 200.0F));
    }
    assert_int_equal(f.n, MD_FEATURES_MAX);
    for (uint32_t i = 0; i < f.n; i++) {
        assert_true(f.items[i].weight > 0.1F + 19.5F / 200.0F);
    }
    md_features_write(&f, text);
    md_features_read(text, collect, &back);
    assert_int_equal(back.n, f.n);
    for (uint32_t i = 0; i < f.n; i++) {
        assert_string_equal(back.items[i].name, f.items[i].name);
        assert_near(back.items[i].weight, f.items[i].weight, 6e-5);
    }
    /* lines of another version are passed over */
    back = (md_features){0};
    md_features_read("\n\nx\n0.5\n0.5 \n nan a\n2 b\n-1 c\n0.25 good\n0x1p-1\n0.5 last",
                     collect, &back);
    assert_int_equal(back.n, 2);
    assert_string_equal(back.items[0].name, "good");
    assert_string_equal(back.items[1].name, "last");
    md_features_write(&(md_features){0}, text);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_of_findings), cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
