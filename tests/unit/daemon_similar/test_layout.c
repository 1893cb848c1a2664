/* What a vector of a case holds, and which cases may be compared. */

#include "daemon/similar/layout.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static md_model_embeds model_of(const char *id, const char *version, md_embeds_kind kind,
                                uint32_t n)
{
    md_model_embeds m = {.embeds = {kind, n}};
    snprintf(m.model.id, sizeof m.model.id, "%s", id);
    snprintf(m.model.version, sizeof m.model.version, "%s", version);
    snprintf(m.model.sha256, sizeof m.model.sha256, "%064d", 7);
    return m;
}

static md_space space_of(const md_model_embeds *models, size_t n)
{
    md_space spaces[4];
    size_t n_spaces = 0;
    md_spaces_of(models, n, 4, spaces, &n_spaces);
    assert_true(n_spaces >= 1);
    return spaces[0];
}

static void test_spaces(void **state)
{
    (void)state;
    const md_model_embeds models[] = {model_of("text", "1", MD_EMBEDS_TEXT, 16),
                                      model_of("chest", "1", MD_EMBEDS_IMAGE, 4),
                                      model_of("plain", "1", MD_EMBEDS_NOTHING, 0),
                                      model_of("hand", "1", MD_EMBEDS_IMAGE, 8)};
    md_space spaces[4];
    size_t n = 0;
    md_spaces_of(models, 4, 4, spaces, &n);
    assert_int_equal(n, 2);
    assert_string_equal(spaces[0].image_model, "chest");
    assert_string_equal(spaces[0].text_model, "text");
    assert_int_equal(spaces[0].n, 4 + 16 + MD_LAYOUT_PATIENT);
    assert_int_equal(spaces[1].n, 8 + 16 + MD_LAYOUT_PATIENT);
    assert_int_equal(strspn(spaces[0].id, "0123456789abcdef"), MD_STORE_SPACE_BYTES - 1);
    assert_string_not_equal(spaces[0].id, spaces[1].id);
    md_spaces_of(models, 4, 1, spaces, &n);
    assert_int_equal(n, 1);
    md_spaces_of(models, 1, 4, spaces, &n); /* a text alone makes no case */
    assert_int_equal(n, 0);

    /* whatever changes begins another space; the same is the same */
    const md_space base = space_of(models, 4);
    md_model_embeds other[2] = {models[0], models[1]};
    assert_string_equal(space_of(other, 2).id, base.id);
    other[1] = model_of("chest", "2", MD_EMBEDS_IMAGE, 4);
    assert_string_not_equal(space_of(other, 2).id, base.id);
    other[1] = models[1];
    other[1].model.sha256[0] = 'f';
    assert_string_not_equal(space_of(other, 2).id, base.id);
    other[1] = model_of("chest", "1", MD_EMBEDS_IMAGE, 5);
    assert_string_not_equal(space_of(other, 2).id, base.id);
    other[1] = models[1];
    other[0].model.version[0] = '9';
    assert_string_not_equal(space_of(other, 2).id, base.id);
    assert_string_not_equal(space_of(&models[1], 1).id, base.id); /* no texts */
    assert_int_equal(space_of(&models[1], 1).n, 4 + MD_LAYOUT_PATIENT);

    /* the largest of both do not fit together: the text is left out */
    const md_model_embeds large[] = {model_of("text", "1", MD_EMBEDS_TEXT, 2048),
                                     model_of("chest", "1", MD_EMBEDS_IMAGE, 2048)};
    assert_int_equal(space_of(large, 2).n, 2048 + MD_LAYOUT_PATIENT);
}

static void test_age(void **state)
{
    (void)state;
    const struct {
        const char *birth, *study;
        double age; /* below 0: none */
    } rows[] = {{"20000101", "20260101", 26},  {"20000101", "20000101", 0},
                {"20000701", "20010101", 0.5}, {"20260102", "20260101", -1},
                {"18000101", "20260101", -1},  {"", "20260101", -1},
                {"2000", "20260101", -1},      {"20001301", "20260101", -1},
                {"20000100", "20260101", -1},  {"2000010x", "20260101", -1},
                {"20000101", "", -1},          {"-2000101", "20260101", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const double age = md_layout_age(rows[i].birth, rows[i].study);
        assert_true(rows[i].age < 0 ? age < 0 : fabs(age - rows[i].age) < 0.01);
    }
}

static float image_values[] = {0.6F, 0.8F, 0.0F, 0.0F}, text_values[] = {0.0F, 1.0F};

static md_analysis analysis_of(md_embedding list[2], const char *birth, const char *sex)
{
    list[0] = (md_embedding){.model_id = "chest", .n = 4, .values = image_values};
    list[1] = (md_embedding){.model_id = "text", .n = 2, .values = text_values};
    md_analysis a = {.embeddings = list, .n_embeddings = 2};
    snprintf(a.header.birth_date, sizeof a.header.birth_date, "%s", birth);
    snprintf(a.header.study_date, sizeof a.header.study_date, "20260101");
    snprintf(a.header.sex, sizeof a.header.sex, "%s", sex);
    return a;
}

static double cosine(const md_store_vector *a, const md_store_vector *b)
{
    double ab = 0, aa = 0, bb = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        ab += (double)a->values[i] * (double)b->values[i];
        aa += (double)a->values[i] * (double)a->values[i];
        bb += (double)b->values[i] * (double)b->values[i];
    }
    return ab / sqrt(aa * bb);
}

static void test_fill(void **state)
{
    (void)state;
    static md_store_vector a, b;
    const md_model_embeds models[] = {model_of("chest", "1", MD_EMBEDS_IMAGE, 4),
                                      model_of("text", "1", MD_EMBEDS_TEXT, 2)};
    const md_space space = space_of(models, 2);
    md_embedding list[2];
    md_analysis one = analysis_of(list, "19760101", "F");
    assert_true(md_layout_fill(&space, &one, &a));
    assert_string_equal(a.space, space.id);
    assert_string_equal(a.model_id, "chest");
    assert_int_equal(a.n, 11);
    assert_true(fabs(cosine(&a, &a) - 1.0) < 1e-6);

    /* the other sex, all else equal: (8 + 4 + 1) / 14 */
    md_analysis other = analysis_of(list, "19760101", "M");
    assert_true(md_layout_fill(&space, &other, &b));
    assert_true(fabs(cosine(&a, &b) - 13.0 / 14.0) < 1e-6);
    /* 50 and 100 years: cos(45 degrees) of one fourteenth */
    other = analysis_of(list, "19260101", "F");
    assert_true(md_layout_fill(&space, &other, &b));
    assert_true(fabs(cosine(&a, &b) - (13.0 + sqrt(0.5)) / 14.0) < 1e-3);
    /* no age, an odd sex, no text: their blocks are 0, and finite is all */
    other = analysis_of(list, "", "FM");
    other.n_embeddings = 1;
    assert_true(md_layout_fill(&space, &other, &b));
    for (uint32_t i = 4; i < b.n; i++) {
        assert_true(b.values[i] == 0.0F);
    }
    assert_true(fabs(cosine(&a, &b) - sqrt(8.0 / 14.0)) < 1e-6);
    /* without its image there is no case; of another length it is none */
    other.n_embeddings = 0;
    assert_false(md_layout_fill(&space, &other, &b));
    other.n_embeddings = 1;
    list[0].n = 3;
    assert_false(md_layout_fill(&space, &other, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_spaces),
                                       cmocka_unit_test(test_age), cmocka_unit_test(test_fill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
