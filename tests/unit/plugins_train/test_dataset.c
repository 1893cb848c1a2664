/* Films, labels, patients and the split: what is found, what is refused and with which words.
 */

#include "films.h"
#include "plugins/train/csv.h"
#include "plugins/train/split.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static scene place;

static int make_scene(void **state)
{
    (void)state;
    scene_make(&place);
    return 0;
}

static int remove_scene(void **state)
{
    (void)state;
    scene_remove(&place);
    return 0;
}

/* n films of each of two classes, two for each patient. */
static void make_films(unsigned n)
{
    char name[64];
    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof name, "films/ill/p%03u_%u.png", i / 2, i % 2);
        scene_png(&place, name, 1000 + i);
        snprintf(name, sizeof name, "films/well/q%03u_%u.png", i / 2, i % 2);
        scene_png(&place, name, 5000 + i);
    }
}

static md_status read_set(const md_recipe *recipe, md_training_set **ret_set, md_error *err)
{
    return md_training_set_read(recipe, 2, NULL, NULL, ret_set, err);
}

static void expect_refusal(const char *classes, const char *more, const char *sections,
                           md_status status, const char *message)
{
    md_error err = {0};
    md_training_set *set = NULL;
    md_recipe *recipe = scene_recipe(&place, classes, more, sections);
    const md_status got = read_set(recipe, &set, &err);
    if (got != status || strstr(err.msg, message) == NULL) {
        fail_msg("%d '%s', expected %d '%s'", (int)got, err.msg, (int)status, message);
    }
    md_recipe_destroy(recipe);
}

static void test_folders(void **state)
{
    (void)state;
    md_error err = {0};
    md_training_set *set = NULL;
    make_films(40);
    scene_write(&place, "films/notes.txt", "x", 1);
    scene_write(&place, "films/ill/.hidden.png", "x", 1);
    md_recipe *recipe = scene_recipe(&place, "[well, ill]",
                                     "  patient_pattern: \"([pq][0-9]+)_\"\n"
                                     "  split: {train: 0.6, validation: 0.2, test: 0.2}\n",
                                     "");
    if (read_set(recipe, &set, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(set->n_films, 80);
    assert_int_equal(set->n_patients, 40);
    assert_int_equal(set->n_other, 1);
    size_t n_of[MD_N_PARTS][2] = {{0}};
    for (size_t i = 0; i < set->n_films; i++) {
        const unsigned k = md_training_set_class(set, i);
        n_of[set->films[i].part][k]++;
        assert_int_equal(k, strstr(set->films[i].name, "ill/") != NULL ? 1 : 0);
        if (i > 0) {
            assert_true(strcmp(set->films[i - 1].name, set->films[i].name) < 0);
        }
        assert_string_equal(set->films[i].patient_name, set->patients[set->films[i].patient]);
        for (size_t j = 0; j < i; j++) { /* patients are whole */
            assert_true(set->films[i].patient != set->films[j].patient ||
                        set->films[i].part == set->films[j].part);
        }
    }
    for (unsigned k = 0; k < 2; k++) { /* stratified, to a patient */
        assert_int_equal(n_of[MD_PART_NONE][k], 0);
        assert_in_range(n_of[MD_PART_TRAIN][k], 22, 26);
        assert_in_range(n_of[MD_PART_VALIDATION][k], 6, 10);
        assert_in_range(n_of[MD_PART_TEST][k], 6, 10);
    }
    /* another seed deals otherwise, the same seed the same */
    md_part parts[80];
    for (size_t i = 0; i < 80; i++) {
        parts[i] = set->films[i].part;
        set->films[i].part = MD_PART_NONE;
    }
    assert_int_equal(md_split_make(set, 7, &err), MD_OK);
    unsigned n_moved = 0;
    for (size_t i = 0; i < 80; i++) {
        assert_int_equal(set->films[i].part, parts[i]);
        set->films[i].part = MD_PART_NONE;
    }
    assert_int_equal(md_split_make(set, 8, &err), MD_OK);
    for (size_t i = 0; i < 80; i++) {
        n_moved += set->films[i].part != parts[i] ? 1 : 0;
    }
    assert_true(n_moved > 10);
    md_training_set_destroy(set);
    md_recipe_destroy(recipe);
}

/* The split file is written, read again, and holds against a changed folder. */
static void test_split_file(void **state)
{
    (void)state;
    md_error err = {0};
    md_training_set *set = NULL;
    char path[128];
    make_films(20);
    scene_write(&place, "films/ill/broken.png", "nothing", 7);
    md_recipe *recipe = scene_recipe(&place, "[well, ill]",
                                     "  split: {file: split.csv}\n  max_unreadable: 0.1\n", "");
    if (read_set(recipe, &set, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(set->n_unreadable, 1);
    assert_int_equal(set->n_films, 40);
    assert_string_equal(set->unreadable[0].path, "ill/broken.png");
    assert_true(set->split_is_made);
    snprintf(path, sizeof path, "%s/split.csv", place.folder);
    set->films[3].part = set->films[3].part == MD_PART_TRAIN ? MD_PART_TEST : MD_PART_TRAIN;
    set->films[4].part = MD_PART_TEST; /* both classes are in the part then */
    set->films[30].part = MD_PART_TEST;
    assert_int_equal(md_split_write(set, path, &err), MD_OK);
    md_training_set *again = NULL;
    if (read_set(recipe, &again, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_false(again->split_is_made);
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(again->films[i].part, set->films[i].part);
    }
    md_training_set_destroy(set);
    md_training_set_destroy(again);
    scene_png(&place, "films/ill/new.png", 99);
    expect_refusal("[well, ill]", "  split: {file: split.csv}\n  max_unreadable: 0.1\n", "",
                   MD_NOT_FOUND, "split.csv does not say to which part ill/new.png belongs");
    snprintf(path, sizeof path, "%s/films/ill/new.png", place.folder);
    remove(path);
    snprintf(path, sizeof path, "%s/films/ill/p000_0.png", place.folder);
    remove(path);
    expect_refusal("[well, ill]", "  split: {file: split.csv}\n  max_unreadable: 0.1\n", "",
                   MD_NOT_FOUND, "there is no film ill/p000_0.png");
    static const char other[] = "file,part\nill/p000_1.png,train\n";
    scene_write(&place, "split.csv", other, strlen(other));
    expect_refusal("[well, ill]", "  split: {file: split.csv}\n", "", MD_NOT_FOUND,
                   "does not say to which part");
    md_recipe_destroy(recipe);
}

static void test_leakage(void **state)
{
    (void)state;
    make_films(20);
    /* the same picture twice, with two patients in two parts by the table */
    scene_png(&place, "films/ill/twin.png", 1000); /* as p000_0 */
    static const char table[] = "file,label,patient,part\n"
                                "ill/p000_0.png,ill,a,train\n"
                                "ill/p001_0.png,ill,c,validation\n"
                                "ill/twin.png,ill,b,validation\n"
                                "well/q001_0.png,well,d,train\n"
                                "well/q002_0.png,well,e,validation\n";
    scene_write(&place, "t.csv", table, strlen(table));
    expect_refusal("[well, ill]", "  table: t.csv\n", "", MD_INVALID_ARG,
                   "leakage: ill/p000_0.png (train) and ill/twin.png (validation) are the same "
                   "picture");
    static const char patients[] = "file,label,patient,part\n"
                                   "ill/p000_0.png,ill,a,train\n"
                                   "ill/p001_0.png,ill,a,validation\n"
                                   "well/q001_0.png,well,d,train\n"
                                   "well/q002_0.png,well,e,validation\n";
    scene_write(&place, "t.csv", patients, strlen(patients));
    expect_refusal("[well, ill]", "  table: t.csv\n", "", MD_INVALID_ARG,
                   "leakage: ill/p000_0.png (train) and ill/p001_0.png (validation) are of one "
                   "patient");
}

static void test_near_duplicates(void **state)
{
    (void)state;
    md_error err = {0};
    md_training_set *set = NULL;
    make_films(4);
    scene_jpeg(&place, "films/ill/twin.jpg", 1000, false); /* as p000_0, through JPEG */
    static const char table[] = "file,label,part\n"
                                "ill/p000_0.png,ill,train\nill/twin.jpg,ill,validation\n"
                                "well/q000_0.png,well,train\nwell/q001_0.png,well,validation\n";
    scene_write(&place, "t.csv", table, strlen(table));
    md_recipe *recipe =
        scene_recipe(&place, "[well, ill]", "  table: t.csv\n  near_duplicates: 0.9\n", "");
    if (read_set(recipe, &set, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(set->n_near_duplicates, 1);
    assert_non_null(strstr(set->near_duplicate, "ill/p000_0.png (train) and ill/twin.jpg"));
    md_training_set_destroy(set);
    md_recipe_destroy(recipe);
}

static void test_bad_folders(void **state)
{
    (void)state;
    expect_refusal("[well, ill]", "", "", MD_NOT_FOUND, "data.folders: ");
    make_films(6);
    scene_png(&place, "films/other/x.png", 1);
    expect_refusal("[well, ill]", "", "", MD_FORMAT, "other/x.png has no label");
    expect_refusal("[well, ill, gone]", "  unlabelled: skip\n", "", MD_INVALID_ARG,
                   "class 'gone' has no film in the part train");
    expect_refusal("[well, ill]",
                   "  label_patterns: [{class: ill, file: \"^ill/\"}, {class: well, file: "
                   "\"^well/\"}]\n",
                   "", MD_FORMAT, "none of data.label_patterns matches it");
    expect_refusal("[well, ill]", "  unlabelled: skip\n  patient_pattern: \"p[0-9]+\"\n", "",
                   MD_FORMAT, "well/q000_0.png: data.patient_pattern does not match it");
    expect_refusal("[a, b]", "  unlabelled: skip\n", "", MD_INVALID_ARG, "no film");
    /* too few patients for the parts */
    expect_refusal("[well, other]", "  unlabelled: skip\n", "", MD_INVALID_ARG,
                   "class 'other' has no film in the part validation");
}

/* Corrupt films are listed and left out, up to the stated share. */
static void test_unreadable(void **state)
{
    (void)state;
    md_error err = {0};
    md_training_set *set = NULL;
    make_films(20);
    scene_jpeg(&place, "films/ill/cut.jpeg", 1, true);
    scene_write(&place, "films/ill/empty.png", "", 0);
    scene_write(&place, "films/well/text.dcm", "hello", 5);
    md_recipe *recipe = scene_recipe(&place, "[well, ill]", "  max_unreadable: 0.07\n", "");
    if (read_set(recipe, &set, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(set->n_unreadable, 3);
    assert_int_equal(set->n_files, 43);
    assert_int_equal(set->n_films, 40);
    for (size_t i = 0; i < 3; i++) {
        const md_unreadable *u = &set->unreadable[i];
        const char *expected =
            strcmp(u->path, "ill/cut.jpeg") == 0    ? "broken JPEG: Premature end"
            : strcmp(u->path, "ill/empty.png") == 0 ? "an empty file"
                                                    : "no DICOM, PNG or JPEG";
        assert_non_null(strstr(u->message, expected));
    }
    md_training_set_destroy(set);
    md_recipe_destroy(recipe);
    expect_refusal("[well, ill]", "  max_unreadable: 0.04\n", "", MD_FORMAT,
                   "of 43 files cannot be read, at most 1 may");
}

static void test_table(void **state)
{
    (void)state;
    md_error err = {0};
    md_training_set *set = NULL;
    make_films(6);
    static const char table[] =
        "\xef\xbb\xbf"
        "file,Ill,well,patient,sex,age,view,manufacturer\r\n"
        "\"ill/p000_0.png\",1,0,\"a,b\",F,3.5,AP,\"Maker \"\"X\"\"\"\r\n"
        "ill/p000_1.png,1,,\"a,b\",f,,,\r\n"
        "\r\n"
        "well/q000_0.png,0,1,c,M,40,PA,Y\r\n"
        "well/q001_0.png,0,1,d,,,,\n"
        "ill/p002_0.png,,0,e,,,,";
    scene_write(&place, "t.csv", table, strlen(table));
    md_recipe *recipe = scene_recipe(&place, "[ill, well]",
                                     "  task: multi-label\n  table: t.csv\n"
                                     "  split: {train: 1, validation: 0}\n",
                                     "");
    if (read_set(recipe, &set, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(set->n_films, 5);
    assert_int_equal(set->n_patients, 4);
    const md_film *film = &set->films[0];
    assert_string_equal(film->name, "ill/p000_0.png");
    assert_string_equal(film->patient_name, "a,b");
    assert_int_equal(film->sex, 'F');
    assert_true(film->age_years == 3.5F);
    assert_string_equal(film->view, "AP");
    assert_string_equal(film->manufacturer, "Maker \"X\"");
    assert_int_equal(set->films[1].sex, 'F');
    assert_true(isnan(set->films[1].age_years));
    assert_true(set->labels[2] == 1.0F && isnan(set->labels[3]));
    assert_true(isnan(set->labels[2 * 2]) && set->labels[2 * 2 + 1] == 0.0F);
    md_training_set_destroy(set);
    md_recipe_destroy(recipe);

    const struct {
        const char *table, *message;
        md_status status;
    } rows[] = {
        {"file,label\nill/p000_0.png,ill\nill/gone.png,ill\n",
         "t.csv:3: there is no file 'ill/gone.png'", MD_NOT_FOUND},
        {"file,label\nill/p000_0.png,sick\n",
         "t.csv:2: column label: expected one of data.classes", MD_FORMAT},
        {"name,label\nx,ill\n", "t.csv: no column 'file'", MD_FORMAT},
        {"file,sex\nx,F\n", "no column 'label' and none with the name of a class", MD_FORMAT},
        {"file,ill\nill/p000_0.png,1\n", "no column 'well'", MD_FORMAT},
        {"file,ill,well\nill/p000_0.png,1,1\n", "t.csv:2: 2 classes are 1", MD_FORMAT},
        {"file,ill,well\nill/p000_0.png,yes,0\n", "column ill: expected 1, 0 or nothing",
         MD_FORMAT},
        {"file,label,age\nill/p000_0.png,ill,old\n", "column age: expected years", MD_FORMAT},
        {"file,label,sex\nill/p000_0.png,ill,X\n", "column sex: expected F, M, O or nothing",
         MD_FORMAT},
        {"file,label,part\nill/p000_0.png,ill,training\n", "column part: expected train",
         MD_FORMAT},
        {"file,label,patient\nill/p000_0.png,ill,\n", "t.csv:2: column patient is empty",
         MD_FORMAT},
        {"file,label\nill/p000_0.png,\n", "t.csv:2: no label", MD_FORMAT},
        {"file,label\nill/p000_0.png,ill\nill/p000_0.png,ill\n", "stands there twice",
         MD_FORMAT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        scene_write(&place, "t.csv", rows[i].table, strlen(rows[i].table));
        expect_refusal("[ill, well]", "  table: t.csv\n", "", rows[i].status, rows[i].message);
    }
    expect_refusal("[ill, well]", "  table: none.csv\n", "", MD_NOT_FOUND, "none.csv");
}

static md_status parse_csv(const char *text, size_t n, md_csv *csv, md_error *err)
{
    char *bytes = md_malloc(n + 1);
    memcpy(bytes, text, n);
    return md_csv_parse(bytes, n, "x.csv", csv, err);
}

static void test_csv(void **state)
{
    (void)state;
    md_error err = {0};
    md_csv csv = {0};
    static const char text[] = "a,\"b \"\"q\"\"\",c\r\n\"1\n2\",,\" x \"\n\n3,4,5";
    assert_int_equal(parse_csv(text, strlen(text), &csv, &err), MD_OK);
    assert_int_equal(csv.n_rows, 2);
    assert_int_equal(csv.n_columns, 3);
    assert_string_equal(csv.header[1], "b \"q\"");
    assert_string_equal(md_csv_field(&csv, 0, 0), "1\n2");
    assert_string_equal(md_csv_field(&csv, 0, 1), "");
    assert_string_equal(md_csv_field(&csv, 0, 2), " x ");
    assert_string_equal(md_csv_field(&csv, 1, 2), "5");
    assert_int_equal(csv.lines[0], 2);
    assert_int_equal(csv.lines[1], 5);
    assert_int_equal(md_csv_column(&csv, "C"), 2);
    md_csv_finish(&csv);
    const struct {
        const char *text, *message;
    } rows[] = {
        {"", "it is empty"},
        {"\xef\xbb\xbf\n\n", "it is empty"},
        {"a,b\n1\n", "x.csv:2: 1 fields, expected 2"},
        {"a,b\n1,2,3\n", "x.csv:2: 3 fields, expected 2"},
        {"a,A\n", "columns 1 and 2 have the same name"},
        {"a\n\"x\n\n\n", "x.csv:2: a quote is never closed"},
        {"a\n\"x\"y\n", "x.csv:2: text behind a closing quote"},
        {"a\n\"", "a quote is never closed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse_csv(rows[i].text, strlen(rows[i].text), &csv, &err), MD_FORMAT);
        if (strstr(err.msg, rows[i].message) == NULL) {
            fail_msg("row %zu: '%s', expected '%s'", i, err.msg, rows[i].message);
        }
    }
    assert_int_equal(parse_csv("a\n\0b", 4, &csv, &err), MD_FORMAT);
    /* a huge field, and more columns than there may be */
    const size_t n = (size_t)1 << 20;
    char *huge = md_malloc(n);
    memset(huge, 'x', n);
    huge[1] = '\n';
    assert_int_equal(parse_csv(huge, n, &csv, &err), MD_LIMIT);
    memset(huge, ',', n);
    assert_int_equal(parse_csv(huge, n, &csv, &err), MD_LIMIT);
    memset(huge, '"', n);
    assert_int_not_equal(parse_csv(huge, n, &csv, &err), MD_OK);
    md_free(huge);
    /* what is printed reads back */
    char *printed = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&printed, &size);
    fputs("h\n", out);
    md_csv_print("a,\"b\"\nc", out);
    fclose(out);
    assert_int_equal(parse_csv(printed, size, &csv, &err), MD_OK);
    assert_string_equal(md_csv_field(&csv, 0, 0), "a,\"b\"\nc");
    md_csv_finish(&csv);
    free(printed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_folders, make_scene, remove_scene),
        cmocka_unit_test_setup_teardown(test_split_file, make_scene, remove_scene),
        cmocka_unit_test_setup_teardown(test_leakage, make_scene, remove_scene),
        cmocka_unit_test_setup_teardown(test_near_duplicates, make_scene, remove_scene),
        cmocka_unit_test_setup_teardown(test_bad_folders, make_scene, remove_scene),
        cmocka_unit_test_setup_teardown(test_unreadable, make_scene, remove_scene),
        cmocka_unit_test_setup_teardown(test_table, make_scene, remove_scene),
        cmocka_unit_test(test_csv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
