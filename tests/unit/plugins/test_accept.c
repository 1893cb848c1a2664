#include "plugins/host/analyzer.h"
#include "plugins/host/text.h"
#include "tests/support/phantom_study.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void add(md_accept_list *list, const char *word)
{
    snprintf(list->words[list->n++], MD_ACCEPT_WORD_BYTES, "%s", word);
}

/* What the chest model asks for. */
static md_accept *chest_accept(void)
{
    static md_accept accept;
    memset(&accept, 0, sizeof accept);
    add(&accept.modality, "CR");
    add(&accept.modality, "DX");
    add(&accept.body_part, "CHEST");
    add(&accept.body_part, "THORAX");
    add(&accept.view, "AP");
    add(&accept.view, "PA");
    add(&accept.photometric, "MONOCHROME1");
    add(&accept.photometric, "MONOCHROME2");
    accept.when_view_absent = 1;
    accept.max_age_years = 18;
    return &accept;
}

typedef struct accept_row {
    const char *modality, *body_part, *view, *photometric, *age;
    const char *reason; /* NULL: accepted */
} accept_row;

static const accept_row accept_rows[] = {
    {"DX", "CHEST", "AP", "MONOCHROME2", "004Y", NULL},
    {"CR", "THORAX", "PA", "MONOCHROME1", "", NULL},
    {"DX", "Chest", "", "MONOCHROME2", "018Y", NULL},
    {"DX", "CHEST", "AP", "MONOCHROME2", "rubbish", NULL},
    {"CT", "CHEST", "AP", "MONOCHROME2", "", "modality CT is not one of CR, DX"},
    {"", "CHEST", "AP", "MONOCHROME2", "", "modality is absent, expected one of CR, DX"},
    {"DX", "KNEE", "AP", "MONOCHROME2", "", "body part KNEE is not one of CHEST, THORAX"},
    {"DX", "", "AP", "MONOCHROME2", "", "body part is absent, expected one of CHEST, THORAX"},
    {"DX", "CHESTKNEE", "AP", "MONOCHROME2", "",
     "body part (an unknown word) is not one of CHEST, THORAX"},
    {"DX", "SCT:72696002", "AP", "MONOCHROME2", "",
     "body part (an unknown word) is not one of CHEST, THORAX"},
    {"DX", "CHEST", "LL", "MONOCHROME2", "", "view LL is not one of AP, PA"},
    {"DX", "CHEST", "ap", "MONOCHROME2", "", "view (an unknown word) is not one of AP, PA"},
    {"DX", "CHEST", "AP", "RGB", "",
     "photometric interpretation RGB is not one of MONOCHROME1, MONOCHROME2"},
    {"DX", "CHEST", "AP", "PALETTE COLOR", "", "photometric interpretation PALETTE COLOR is"},
    {"DX", "CHEST", "AP", "MONOCHROME2", "019Y", "the patient's age is not in 0..18 years"},
};

static void test_accept_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accept_rows / sizeof *accept_rows; i++) {
        const accept_row *row = &accept_rows[i];
        md_accept_facts facts = {0};
        snprintf(facts.modality, sizeof facts.modality, "%s", row->modality);
        snprintf(facts.body_part, sizeof facts.body_part, "%s", row->body_part);
        snprintf(facts.view, sizeof facts.view, "%s", row->view);
        snprintf(facts.photometric, sizeof facts.photometric, "%s", row->photometric);
        facts.age_years = md_accept_age_years(row->age);
        char reason[160] = "";
        bool accepted = md_accept_check(chest_accept(), true, &facts, reason, sizeof reason);
        if (accepted != (row->reason == NULL) ||
            (row->reason != NULL && strncmp(reason, row->reason, strlen(row->reason)) != 0)) {
            fail_msg("row %zu: %d '%s'", i, accepted, reason);
        }
        assert_null(strstr(reason, "19")); /* an age is not quoted */
    }
}

static void test_empty_lists_accept_all(void **state)
{
    (void)state;
    static md_accept accept;
    accept.max_age_years = 150;
    md_accept_facts facts = {.age_years = -1};
    char reason[160];
    assert_true(md_accept_check(&accept, true, &facts, reason, sizeof reason));
    add(&accept.sop_class, "1.2.840.10008.5.1.4.1.1.1.1");
    assert_false(md_accept_check(&accept, true, &facts, reason, sizeof reason));
    assert_string_equal(reason, "SOP class is absent, expected 1.2.840.10008.5.1.4.1.1.1.1");
}

static void test_raw_detector_data(void **state)
{
    (void)state;
    static md_accept accept;
    accept.max_age_years = 150;
    md_accept_facts facts = {.age_years = -1, .for_processing = true};
    char reason[160];
    assert_false(md_accept_check(&accept, true, &facts, reason, sizeof reason));
    assert_string_equal(reason,
                        "the image is FOR PROCESSING (0008,0068), it has no display values");
    assert_true(md_accept_check(&accept, false, &facts, reason, sizeof reason));
}

static void test_reason_fits_its_buffer(void **state)
{
    (void)state;
    static md_accept accept;
    for (unsigned i = 0; i < MD_ACCEPT_MAX_WORDS; i++) {
        add(&accept.body_part, "ABCDEFGHIJKLMNOP");
    }
    md_accept_facts facts = {.age_years = -1, .body_part = "X"};
    char reason[40];
    assert_false(md_accept_check(&accept, true, &facts, reason, sizeof reason));
    assert_true(strlen(reason) < sizeof reason);
    char text[513];
    md_accept_describe(&accept, text, sizeof text);
    assert_non_null(strstr(text, "..."));
    md_accept_describe(chest_accept(), text, sizeof text);
    assert_string_equal(text,
                        "modality CR, DX; body part CHEST, THORAX; view AP, PA or absent; "
                        "photometric interpretation MONOCHROME1, MONOCHROME2; age 0..18 "
                        "years or unknown");
}

static void test_age_strings(void **state)
{
    (void)state;
    assert_true(md_accept_age_years("004Y") == 4);
    assert_true(md_accept_age_years("018M") == 1.5);
    assert_true(md_accept_age_years("60Y") == 60); /* not as it should be, and an adult */
    assert_true(md_accept_age_years("6M") == 0.5);
    assert_true(fabs(md_accept_age_years("052W") - 0.9966) < 0.0001);
    assert_true(fabs(md_accept_age_years("365D") - 0.9993) < 0.0001);
    static const char *const bad[] = {"",    "Y",    "0044Y", "-04Y", "004y",
                                      "004", "Y004", "  4Y",  "4YY"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(md_accept_age_years(bad[i]) < 0);
    }
}

static void test_ages_from_dates(void **state)
{
    (void)state;
    static const struct {
        const char *birth, *then;
        double days; /* negative: no age */
    } rows[] = {
        {"20200101", "20200101", 0},    {"20200228", "20200301", 2},
        {"20210228", "20210301", 1},    {"19991231", "20000101", 1},
        {"20000101", "20240101", 8766}, {"19000228", "19000301", 1},
        {"20000229", "20040229", 1461}, {"16000101", "20000101", 146097},
        {"20200102", "20200101", -1},   {"2020013", "20200101", -1},
        {"20201301", "20210101", -1},   {"20200132", "20210101", -1},
        {"2020.1.1", "20210101", -1},   {"", "20210101", -1},
        {"20200101", "", -1},           {"2020.02.28", "20200301", 2},
        {"2020.02.2x", "20200301", -1}, {"2020-02-28", "20200301", -1},
        {"20.200228.", "20200301", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double years = md_accept_years_between(rows[i].birth, rows[i].then);
        if (rows[i].days < 0 ? years >= 0 : fabs(years - rows[i].days / 365.25) > 1e-9) {
            fail_msg("%s to %s: %f years", rows[i].birth, rows[i].then, years);
        }
    }
}

/* Explicit VR little endian, by hand: a code sequence with one item. */
static size_t put(uint8_t *at, uint16_t group, uint16_t element, const char *vr,
                  const char *text)
{
    size_t length = strlen(text);
    uint8_t head[8] = {(uint8_t)group,
                       (uint8_t)(group >> 8),
                       (uint8_t)element,
                       (uint8_t)(element >> 8),
                       (uint8_t)vr[0],
                       (uint8_t)vr[1],
                       (uint8_t)((length + 1) & ~(size_t)1),
                       0};
    memcpy(at, head, 8);
    memcpy(at + 8, text, length);
    if (length % 2 != 0) {
        at[8 + length++] = ' ';
    }
    return 8 + length;
}

static size_t put_code(uint8_t *at, uint16_t group, uint16_t element, const char *scheme,
                       const char *value)
{
    uint8_t item[200];
    size_t n = put(item, 0x0008, 0x0100, "SH", value);
    n += put(item + n, 0x0008, 0x0102, "SH", scheme);
    n += put(item + n, 0x0008, 0x0104, "LO", "some meaning");
    uint8_t head[20] = {(uint8_t)group,
                        (uint8_t)(group >> 8),
                        (uint8_t)element,
                        (uint8_t)(element >> 8),
                        'S',
                        'Q',
                        0,
                        0,
                        (uint8_t)(n + 8),
                        0,
                        0,
                        0,
                        0xfe,
                        0xff,
                        0x00,
                        0xe0,
                        (uint8_t)n,
                        0,
                        0,
                        0};
    memcpy(at, head, 20);
    memcpy(at + 20, item, n);
    return 20 + n;
}

static md_accept_facts facts_of(const char *body_part, const char *region_scheme,
                                const char *region, const char *view_scheme, const char *view)
{
    uint8_t bytes[1024];
    size_t n = put(bytes, 0x0008, 0x0016, "UI", "1.2.840.10008.5.1.4.1.1.1.1");
    n += put(bytes + n, 0x0008, 0x0020, "DA", "20200615");
    n += put(bytes + n, 0x0008, 0x0060, "CS", "DX");
    if (region != NULL) {
        n += put_code(bytes + n, 0x0008, 0x2218, region_scheme, region);
    }
    n += put(bytes + n, 0x0010, 0x0030, "DA", "20000615");
    n += put(bytes + n, 0x0010, 0x1010, "AS", body_part != NULL ? "007Y" : "");
    if (body_part != NULL) {
        n += put(bytes + n, 0x0018, 0x0015, "CS", body_part);
    }
    n += put(bytes + n, 0x0020, 0x0060, "CS", "L");
    n += put(bytes + n, 0x0028, 0x0004, "CS", "MONOCHROME2");
    if (view != NULL) {
        n += put_code(bytes + n, 0x0054, 0x0220, view_scheme, view);
    }
    md_dataset *dataset = NULL;
    md_error err = {0};
    if (md_dataset_parse(bytes, n, &dataset, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    md_accept_facts facts;
    md_accept_facts_read(dataset, &facts);
    md_dataset_destroy(dataset);
    return facts;
}

static void test_facts_come_from_codes_too(void **state)
{
    (void)state;
    md_accept_facts facts = facts_of("CHEST", "SCT", "72696002", NULL, NULL);
    assert_string_equal(facts.body_part, "CHEST"); /* the attribute comes first */
    assert_string_equal(facts.modality, "DX");
    assert_string_equal(facts.laterality, "L");
    assert_string_equal(facts.view, "");
    assert_string_equal(facts.photometric, "MONOCHROME2");
    assert_string_equal(facts.sop_class, "1.2.840.10008.5.1.4.1.1.1.1");
    assert_true(facts.age_years == 7);
    static const char *const rows[][3] = {
        {"SCT", "51185008", "CHEST"},        {"SRT", "T-D3000", "CHEST"},
        {"SCT", "39607008", "CHEST"},        {"SRT", "T-28000", "CHEST"},
        {"SCT", "72696002", "SCT:72696002"}, {"99X", "51185008", "99X:51185008"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        facts = facts_of(NULL, rows[i][0], rows[i][1], "SCT", "399348003");
        assert_string_equal(facts.body_part, rows[i][2]);
        assert_string_equal(facts.view, "AP");
        assert_true(fabs(facts.age_years - 20) < 0.01); /* by the dates, the age is empty */
    }
    /* a lateral film that says so only by its code is not "without a view" */
    facts = facts_of("CHEST", NULL, NULL, "SCT", "399173006");
    assert_string_equal(facts.view, "SCT:399173006");
    char reason[160];
    assert_false(md_accept_check(chest_accept(), true, &facts, reason, sizeof reason));
    facts = facts_of("CHEST", NULL, NULL, "SRT", "R-10214");
    assert_string_equal(facts.view, "PA");
    /* hostile text is cut and cleaned */
    facts =
        facts_of("CH\x1b[31mEST-and-much-more-than-sixteen-characters", NULL, NULL, NULL, NULL);
    assert_true(strlen(facts.body_part) < MD_ACCEPT_CS_BYTES);
    assert_null(strchr(facts.body_part, '\x1b'));
}

static md_raster gradient(uint32_t width, uint32_t height, float low, float high)
{
    md_raster raster = {0};
    assert_int_equal(md_raster_init(&raster, width, height, 1, NULL), MD_OK);
    for (size_t y = 0; y < height; y++) {
        for (size_t x = 0; x < width; x++) {
            raster.values[y * width + x] =
                low + (high - low) * (float)x / (float)(width > 1 ? width - 1 : 1);
        }
    }
    return raster;
}

static void test_gate(void **state)
{
    (void)state;
    const md_gate gate = {
        .min_rows = 200, .min_columns = 210, .min_contrast = 0.15, .max_aspect = 2.5};
    struct {
        uint32_t width, height;
        float low, high;
        const char *reason; /* NULL: passes */
    } rows[] = {
        {300, 250, 0.0F, 1.0F, NULL},
        {210, 200, 0.2F, 0.6F, NULL},
        {209, 200, 0.0F, 1.0F, "209 x 200 pixels, at least 210 x 200 are needed"},
        {210, 199, 0.0F, 1.0F, "210 x 199 pixels"},
        {300, 250, 0.5F, 0.5F, "contrast 0.000 is below 0.15: the image is blank"},
        {300, 250, 0.5F, 0.6F, "contrast 0.090 is below 0.15"},
        {600, 200, 0.0F, 1.0F, "the longer side is 3.00 times the shorter, at most 2.5"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_raster raster = gradient(rows[i].width, rows[i].height, rows[i].low, rows[i].high);
        md_error err = {0};
        md_status status = md_gate_check(&gate, &raster, &err);
        md_raster_finish(&raster);
        if (status != (rows[i].reason == NULL ? MD_OK : MD_UNSUPPORTED) ||
            (rows[i].reason != NULL && strstr(err.msg, rows[i].reason) == NULL)) {
            fail_msg("row %zu: %s '%s'", i, md_status_name(status), err.msg);
        }
    }
    md_code code;
    md_gate_code(&code);
    assert_string_equal(code.value, "110531");
    assert_string_equal(code.scheme, "DCM");
}

/* The drawn film passes the chest check, its negative does not. */
static void test_gate_sees_an_inverted_chest(void **state)
{
    (void)state;
    const md_gate gate = {.min_contrast = 0.15, .inverted_check = MD_GATE_INVERTED_CHEST};
    phantom_options options;
    phantom_options_init(&options);
    options.rows = 400;
    options.columns = 488;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        options.seed = seed;
        size_t size_bytes = 0;
        const char *why = NULL;
        uint8_t *bytes = phantom_make_file(&options, &size_bytes, &why);
        assert_non_null(bytes);
        size_t n = (size_t)options.rows * options.columns;
        const uint8_t *pixels = bytes + size_bytes - 2 * n;
        md_raster raster = {0};
        assert_int_equal(md_raster_init(&raster, options.columns, options.rows, 1, NULL),
                         MD_OK);
        for (size_t i = 0; i < n; i++) {
            unsigned stored = pixels[2 * i] | (unsigned)pixels[2 * i + 1] << 8;
            raster.values[i] = (float)stored / 4095.0F;
        }
        free(bytes);
        md_error err = {0};
        if (md_gate_check(&gate, &raster, &err) != MD_OK) {
            fail_msg("seed %u: %s", (unsigned)seed, err.msg);
        }
        for (size_t i = 0; i < n; i++) {
            raster.values[i] = 1.0F - raster.values[i];
        }
        assert_int_equal(md_gate_check(&gate, &raster, &err), MD_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "looks inverted"));
        md_raster_finish(&raster);
    }
}

static void test_judging(void **state)
{
    (void)state;
    md_finding_spec spec = {.key = "k",
                            .concept = {"1", "S", "m"},
                            .threshold = 0.5,
                            .score_is_probability = true,
                            .urgent = true};
    md_finding_spec band = spec;
    band.has_undetermined = true;
    band.undetermined_low = 0.45;
    band.undetermined_high = 0.55;
    struct {
        const md_finding_spec *spec;
        double score;
        md_presence presence;
    } rows[] = {
        {&spec, 0.0, MD_PRESENCE_ABSENT},       {&spec, 0.49999, MD_PRESENCE_ABSENT},
        {&spec, 0.5, MD_PRESENCE_PRESENT},      {&spec, 1.0, MD_PRESENCE_PRESENT},
        {&band, 0.44, MD_PRESENCE_ABSENT},      {&band, 0.45, MD_PRESENCE_UNDETERMINED},
        {&band, 0.5, MD_PRESENCE_UNDETERMINED}, {&band, 0.55, MD_PRESENCE_UNDETERMINED},
        {&band, 0.56, MD_PRESENCE_PRESENT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_finding finding = {0};
        assert_int_equal(md_finding_judge(rows[i].spec, rows[i].score, &finding, NULL), MD_OK);
        assert_int_equal(finding.presence, rows[i].presence);
        assert_true(finding.urgent == (rows[i].presence == MD_PRESENCE_PRESENT));
        assert_true(finding.score == rows[i].score && finding.threshold == 0.5);
        assert_string_equal(finding.concept.value, "1");
        assert_true(finding.score_is_probability);
    }
    const double bad[] = {NAN, INFINITY, -INFINITY, -0.001, 1.001};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        md_finding finding = {0};
        assert_int_equal(md_finding_judge(&spec, bad[i], &finding, NULL), MD_PLUGIN);
    }
}

static void test_text(void **state)
{
    (void)state;
    assert_true(md_text_is_clean("K\xc3\xb6ln \xe2\x82\xac \xf0\x9f\x98\x80", 14));
    static const char *const bad[] = {
        "a\nb",     "\x7f",    "\xc3(", "\xc0\x80", "\xff", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "\xc2\x85", "\xe2\x82"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(md_text_is_clean(bad[i], strlen(bad[i])));
    }
    char text[8];
    md_text_clean("ab\xff\n\xc3\xb6\xe2\x82\xac", text, sizeof text);
    assert_string_equal(text, "ab??\xc3\xb6");
    md_text_clean(NULL, text, sizeof text);
    assert_string_equal(text, "");
}

static int start_dicom(void **state)
{
    (void)state;
    return md_dicom_init(NULL) == MD_OK ? 0 : -1;
}

static int stop_dicom(void **state)
{
    (void)state;
    md_dicom_finish();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept_table),
        cmocka_unit_test(test_empty_lists_accept_all),
        cmocka_unit_test(test_raw_detector_data),
        cmocka_unit_test(test_reason_fits_its_buffer),
        cmocka_unit_test(test_age_strings),
        cmocka_unit_test(test_ages_from_dates),
        cmocka_unit_test(test_facts_come_from_codes_too),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_gate_sees_an_inverted_chest),
        cmocka_unit_test(test_judging),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, start_dicom, stop_dicom);
}
