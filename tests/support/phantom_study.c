#include "tests/support/phantom_study.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SOP_DX[] = "1.2.840.10008.5.1.4.1.1.1.1";
static const char SOP_CR[] = "1.2.840.10008.5.1.4.1.1.1";
static const char SOP_SC[] = "1.2.840.10008.5.1.4.1.1.7";
static const char EXPLICIT_LITTLE[] = "1.2.840.10008.1.2.1";

/* A growing file. `failed` sticks, so that only the end has to ask. */
typedef struct writer {
    uint8_t *bytes;
    size_t size, capacity;
    int failed;
    phantom_charset charset;
} writer;

static void put(writer *w, const void *bytes, size_t n)
{
    if (!w->failed && n > w->capacity - w->size) {
        size_t capacity = w->capacity * 2 + n + 4096;
        uint8_t *grown = realloc(w->bytes, capacity);
        if (grown == NULL) {
            w->failed = 1;
            return;
        }
        w->bytes = grown;
        w->capacity = capacity;
    }
    if (!w->failed) {
        memcpy(w->bytes + w->size, bytes, n);
        w->size += n;
    }
}

static void put16(writer *w, uint32_t value)
{
    uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    put(w, bytes, 2);
}

static void put32(writer *w, uint32_t value)
{
    put16(w, value & 0xffff);
    put16(w, value >> 16);
}

static void put_tag(writer *w, uint32_t tag)
{
    put16(w, tag >> 16);
    put16(w, tag & 0xffff);
}

static void put_short(writer *w, uint32_t tag, const char *vr, const void *value, size_t n,
                      char pad)
{
    put_tag(w, tag);
    put(w, vr, 2);
    put16(w, (uint32_t)(n + (n & 1)));
    put(w, value, n);
    if (n & 1) {
        put(w, &pad, 1);
    }
}

/* Text of the code strings and numbers, ASCII. */
static void put_text(writer *w, uint32_t tag, const char *vr, const char *text)
{
    put_short(w, tag, vr, text, strlen(text), strcmp(vr, "UI") == 0 ? '\0' : ' ');
}

/* Text of people, in the character set of the object. */
static void put_word(writer *w, uint32_t tag, const char *vr, const char *utf8)
{
    if (w->charset != PHANTOM_CHARSET_LATIN1) {
        put_text(w, tag, vr, utf8);
        return;
    }
    char latin1[256];
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)utf8; *p != 0 && n < 255; p++) {
        if (*p < 0x80) {
            latin1[n++] = (char)*p;
        } else if ((*p == 0xc2 || *p == 0xc3) && (p[1] & 0xc0) == 0x80) {
            latin1[n++] = (char)((*p << 6 & 0xc0) | (p[1] & 0x3f));
            p++;
        } else {
            w->failed = 1; /* no such character in ISO 8859-1 */
            return;
        }
    }
    put_short(w, tag, vr, latin1, n, ' ');
}

static void put_us(writer *w, uint32_t tag, unsigned value)
{
    uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    put_short(w, tag, "US", bytes, 2, 0);
}

static void put_ss(writer *w, uint32_t tag, int value)
{
    uint8_t bytes[2] = {(uint8_t)((unsigned)value & 0xff), (uint8_t)((unsigned)value >> 8)};
    put_short(w, tag, "SS", bytes, 2, 0);
}

static void begin_sequence(writer *w, uint32_t tag)
{
    put_tag(w, tag);
    put(w, "SQ\0\0", 4);
    put32(w, 0xffffffff);
}

static void begin_item(writer *w)
{
    put_tag(w, 0xfffee000);
    put32(w, 0xffffffff);
}

static void end_item(writer *w)
{
    put_tag(w, 0xfffee00d);
    put32(w, 0);
}

static void end_sequence(writer *w)
{
    put_tag(w, 0xfffee0dd);
    put32(w, 0);
}

static void put_code(writer *w, const char *value, const char *scheme, const char *meaning)
{
    put_text(w, 0x00080100, "SH", value);
    put_text(w, 0x00080102, "SH", scheme);
    put_text(w, 0x00080104, "LO", meaning);
}

static void put_code_sequence(writer *w, uint32_t tag, const char *value, const char *scheme,
                              const char *meaning)
{
    begin_sequence(w, tag);
    if (value != NULL) {
        begin_item(w);
        put_code(w, value, scheme, meaning);
        end_item(w);
    }
    end_sequence(w);
}

/* ------------------------------------------------------------------ what the object says */

/* "2.25." and 128 bits with the marks of a version-4 UUID in decimal (PS3.5 B.2). */
static void uid_from_seed(const char *given, uint64_t seed, uint64_t kind, char ret_uid[65])
{
    if (given != NULL) {
        snprintf(ret_uid, 65, "%s", given);
        return;
    }
    uint64_t state = seed * 0x2545f4914f6cdd1dU + kind;
    unsigned __int128 value = phantom_random(&state);
    value = value << 64 | phantom_random(&state);
    value &= ~((unsigned __int128)0xf << 76 | (unsigned __int128)0xc << 60);
    value |= (unsigned __int128)0x4 << 76 | (unsigned __int128)0x8 << 60;
    char digits[48];
    size_t n = sizeof digits - 1;
    digits[n] = '\0';
    do {
        digits[--n] = (char)('0' + (int)(value % 10));
        value /= 10;
    } while (value != 0);
    snprintf(ret_uid, 65, "2.25.%s", digits + n);
}

static const char *sop_class_of(const phantom_options *o)
{
    if (o->photometric != PHANTOM_RGB && strcmp(o->modality, "DX") == 0) {
        return SOP_DX;
    }
    return o->photometric != PHANTOM_RGB && strcmp(o->modality, "CR") == 0 ? SOP_CR : SOP_SC;
}

void phantom_options_init(phantom_options *options)
{
    *options = (phantom_options){
        .rows = 2048,
        .columns = 2500,
        .seed = 1,
        .photometric = PHANTOM_MONOCHROME2,
        .age_years = 4,
        .instance_number = 1,
        .modality = "DX",
        .body_part = "CHEST",
        .view = "AP",
        .patient_name = "Phantom^Chest",
        .accession = "",
    };
}

void phantom_make_uids(const phantom_options *options, phantom_uids *ret_uids)
{
    uid_from_seed(options->study_uid, options->seed, 1, ret_uids->study);
    uid_from_seed(options->series_uid, options->seed, 2, ret_uids->series);
    uid_from_seed(options->sop_uid, options->seed, 2 + (uint64_t)options->instance_number,
                  ret_uids->sop);
    snprintf(ret_uids->sop_class, sizeof ret_uids->sop_class, "%s", sop_class_of(options));
}

static void put_meta(writer *w, const phantom_uids *uids)
{
    static const uint8_t preamble[128];
    put(w, preamble, sizeof preamble);
    put(w, "DICM", 4);
    writer group = {0};
    put_tag(&group, 0x00020001);
    put(&group, "OB\0\0\x02\0\0\0\0\x01", 10);
    put_text(&group, 0x00020002, "UI", uids->sop_class);
    put_text(&group, 0x00020003, "UI", uids->sop);
    put_text(&group, 0x00020010, "UI", EXPLICIT_LITTLE);
    put_text(&group, 0x00020012, "UI", "2.25.306329178440121340421914371207342921701");
    put_text(&group, 0x00020013, "SH", "MEDAID_PHANTOM");
    uint8_t length[4] = {(uint8_t)group.size, (uint8_t)(group.size >> 8)};
    put_short(w, 0x00020000, "UL", length, 4, 0);
    put(w, group.bytes, group.size);
    w->failed |= group.failed;
    free(group.bytes);
}

static void put_study(writer *w, const phantom_options *o, const phantom_uids *uids)
{
    char text[80];
    if (w->charset == PHANTOM_CHARSET_LATIN1) {
        put_text(w, 0x00080005, "CS", "ISO_IR 100");
    } else if (w->charset == PHANTOM_CHARSET_UTF8) {
        put_text(w, 0x00080005, "CS", "ISO_IR 192");
    }
    int is_sc = strcmp(uids->sop_class, SOP_SC) == 0;
    put_text(w, 0x00080008, "CS", is_sc ? "DERIVED\\SECONDARY" : "ORIGINAL\\PRIMARY\\");
    put_text(w, 0x00080016, "UI", uids->sop_class);
    put_text(w, 0x00080018, "UI", uids->sop);
    put_text(w, 0x00080020, "DA", "20260115");
    put_text(w, 0x00080021, "DA", "20260115");
    put_text(w, 0x00080022, "DA", "20260115");
    put_text(w, 0x00080023, "DA", "20260115");
    put_text(w, 0x00080030, "TM", "101500");
    put_text(w, 0x00080031, "TM", "101612");
    put_text(w, 0x00080032, "TM", "101700");
    put_text(w, 0x00080033, "TM", "101702.250");
    put_text(w, 0x00080050, "SH", o->accession);
    put_text(w, 0x00080060, "CS", o->modality);
    if (is_sc) {
        put_text(w, 0x00080064, "CS", "SYN");
    }
    if (!is_sc && strcmp(uids->sop_class, SOP_DX) == 0) {
        put_text(w, 0x00080068, "CS", "FOR PRESENTATION");
    }
    put_text(w, 0x00080070, "LO", "medaid tests");
    put_text(w, 0x00080080, "LO", "Phantom Hospital");
    put_word(w, 0x00080090, "PN", "Referrer^Rita");
    put_text(w, 0x00081010, "SH", "PHANTOM1");
    snprintf(text, sizeof text, "%s radiograph",
             o->body_part[0] != '\0' ? o->body_part : "Plain");
    put_word(w, 0x00081030, "LO", text);
    if (o->with_request) {
        put_code_sequence(w, 0x00081032, "36572-6", "LN", "XR Chest AP");
    }
    put_word(w, 0x0008103e, "LO", o->view[0] != '\0' ? o->view : "view");
    put_text(w, 0x00081090, "LO", "Chest Phantom");
    if (o->with_request) {
        begin_sequence(w, 0x00081111);
        begin_item(w);
        put_text(w, 0x00081150, "UI", "1.2.840.10008.3.1.2.3.3");
        char uid[65];
        uid_from_seed(NULL, o->seed, 991, uid);
        put_text(w, 0x00081155, "UI", uid);
        end_item(w);
        end_sequence(w);
    }
}

static void put_anatomy(writer *w, const phantom_options *o)
{
    if (strcmp(o->body_part, "CHEST") == 0) {
        put_code_sequence(w, 0x00082218, "51185008", "SCT", "Chest");
    } else if (strcmp(o->body_part, "KNEE") == 0) {
        put_code_sequence(w, 0x00082218, "72696002", "SCT", "Knee");
    } else {
        put_code_sequence(w, 0x00082218, "38266002", "SCT", "Entire body");
    }
}

/* CID 4010. */
static void put_view_code(writer *w, const char *view)
{
    if (strcmp(view, "AP") == 0) {
        put_code_sequence(w, 0x00540220, "399348003", "SCT", "antero-posterior");
    } else if (strcmp(view, "PA") == 0) {
        put_code_sequence(w, 0x00540220, "272479007", "SCT", "postero-anterior");
    } else {
        put_code_sequence(w, 0x00540220, NULL, NULL, NULL);
    }
}

static void put_patient(writer *w, const phantom_options *o)
{
    char text[80];
    put_word(w, 0x00100010, "PN", o->patient_name);
    snprintf(text, sizeof text, "PHANTOM-%llu", (unsigned long long)o->seed);
    put_word(w, 0x00100020, "LO", o->patient_id != NULL ? o->patient_id : text);
    snprintf(text, sizeof text, "%04u0103", 2026 - o->age_years);
    put_text(w, 0x00100030, "DA", text);
    put_text(w, 0x00100040, "CS", (o->seed & 1) ? "F" : "M");
    snprintf(text, sizeof text, "%03uY", o->age_years);
    put_text(w, 0x00101010, "AS", text);
    put_text(w, 0x00102000, "LO", ""); /* Medical Alerts: known to be nothing */
    if (o->history != NULL) {
        put_word(w, 0x001021b0, "LT", o->history);
    }
}

static void put_acquisition(writer *w, const phantom_options *o, const phantom_uids *uids,
                            double spacing_mm)
{
    char text[40];
    int is_dx = strcmp(uids->sop_class, SOP_DX) == 0;
    snprintf(text, sizeof text, "%.4f\\%.4f", spacing_mm, spacing_mm);
    put_text(w, 0x00180015, "CS", o->body_part);
    if (strcmp(uids->sop_class, SOP_SC) != 0) {
        put_text(w, 0x00180060, "DS", "70");
        put_text(w, 0x00181000, "LO", "0001");
        put_text(w, 0x00181020, "LO", "1.0");
        if (o->heart_rate != NULL) {
            put_text(w, 0x00181088, "IS", o->heart_rate);
        }
        put_text(w, 0x00181150, "IS", "5");
        put_text(w, 0x00181152, "IS", "2");
        if (is_dx) {
            put_text(w, 0x00181164, "DS", text);
        }
        if (is_dx) {
            put_text(w, 0x00181508, "CS", "NONE");
        }
        put_text(w, 0x00185101, "CS", o->view);
        if (is_dx) {
            put_text(w, 0x00187004, "CS", "SCINTILLATOR");
            put_text(w, 0x0018700a, "SH", "D1");
        }
    }
    put_text(w, 0x0020000d, "UI", uids->study);
    put_text(w, 0x0020000e, "UI", uids->series);
    put_text(w, 0x00200010, "SH", "P1");
    put_text(w, 0x00200011, "IS", "1");
    snprintf(text, sizeof text, "%u", o->instance_number);
    put_text(w, 0x00200013, "IS", text);
    put_text(w, 0x00200020, "CS", "L\\F");
    int paired = strcmp(o->body_part, "KNEE") == 0;
    if (is_dx) {
        put_text(w, 0x00200062, "CS", paired ? "L" : "U");
    } else if (paired) {
        put_text(w, 0x00200060, "CS", "L");
    }
}

static void put_pixel_module(writer *w, const phantom_options *o, const phantom_uids *uids,
                             double spacing_mm)
{
    static const char *const photometric[] = {"MONOCHROME1", "MONOCHROME2", "RGB"};
    char text[40];
    int rgb = o->photometric == PHANTOM_RGB, is_dx = strcmp(uids->sop_class, SOP_DX) == 0;
    put_us(w, 0x00280002, rgb ? 3 : 1);
    put_text(w, 0x00280004, "CS", photometric[o->photometric]);
    if (rgb) {
        put_us(w, 0x00280006, 0);
    }
    put_us(w, 0x00280010, o->rows);
    put_us(w, 0x00280011, o->columns);
    snprintf(text, sizeof text, "%.4f\\%.4f", spacing_mm, spacing_mm);
    put_text(w, 0x00280030, "DS", text);
    put_us(w, 0x00280100, rgb ? 8 : 16);
    put_us(w, 0x00280101, rgb ? 8 : 12);
    put_us(w, 0x00280102, rgb ? 7 : 11);
    put_us(w, 0x00280103, 0);
    put_text(w, 0x00280301, "CS", "NO");
    if (!rgb) {
        if (is_dx) {
            put_text(w, 0x00281040, "CS", "LOG");
            put_ss(w, 0x00281041, o->photometric == PHANTOM_MONOCHROME1 ? 1 : -1);
        }
        put_text(w, 0x00281050, "DS", "2048");
        put_text(w, 0x00281051, "DS", "4096");
        if (is_dx) {
            put_text(w, 0x00281052, "DS", "0");
            put_text(w, 0x00281053, "DS", "1");
            put_text(w, 0x00281054, "LO", "US");
        }
    }
    put_text(w, 0x00282110, "CS", "00");
}

static void put_request(writer *w, const phantom_options *o)
{
    char uid[65];
    uid_from_seed(NULL, o->seed, 990, uid);
    put_text(w, 0x00400244, "DA", "20260115");
    put_text(w, 0x00400245, "TM", "101500");
    put_text(w, 0x00400253, "SH", "PPS1");
    begin_sequence(w, 0x00400275);
    begin_item(w);
    put_text(w, 0x00080050, "SH", o->accession);
    put_text(w, 0x0020000d, "UI", uid);
    put_word(w, 0x00321060, "LO", "Chest AP, cough and fever");
    put_code_sequence(w, 0x00321064, "36572-6", "LN", "XR Chest AP");
    put_text(w, 0x00400009, "SH", "SPS1");
    put_text(w, 0x00401001, "SH", "RP1");
    end_item(w);
    end_sequence(w);
}

static void put_pixels(writer *w, const phantom_options *o, const uint16_t *film)
{
    size_t n = (size_t)o->rows * o->columns;
    int rgb = o->photometric == PHANTOM_RGB;
    size_t size = rgb ? n * 3 : n * 2;
    put_tag(w, 0x7fe00010);
    put(w, rgb ? "OB\0\0" : "OW\0\0", 4);
    put32(w, (uint32_t)(size + (size & 1)));
    uint8_t *row = malloc((size_t)o->columns * 3);
    if (row == NULL) {
        w->failed = 1;
        return;
    }
    for (uint32_t y = 0; y < o->rows && !w->failed; y++) {
        for (uint32_t x = 0; x < o->columns; x++) {
            unsigned value = film[(size_t)y * o->columns + x];
            if (rgb) {
                row[3 * x] = (uint8_t)(value >> 4);
                row[3 * x + 1] = (uint8_t)(value * 15 >> 8);
                row[3 * x + 2] = (uint8_t)(value * 13 >> 8);
            } else {
                value = o->photometric == PHANTOM_MONOCHROME1 ? 4095 - value : value;
                row[2 * x] = (uint8_t)value;
                row[2 * x + 1] = (uint8_t)(value >> 8);
            }
        }
        put(w, row, (size_t)o->columns * (rgb ? 3 : 2));
    }
    if (size & 1) {
        put(w, "", 1);
    }
    free(row);
}

static phantom_charset charset_of(const phantom_options *o)
{
    if (o->charset != PHANTOM_CHARSET_AUTO) {
        return o->charset;
    }
    const char *texts[] = {o->patient_name, o->patient_id, o->history, o->reason};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (const char *p = texts[i]; p != NULL && *p != '\0'; p++) {
            if ((unsigned char)*p >= 0x80) {
                return PHANTOM_CHARSET_UTF8;
            }
        }
    }
    return PHANTOM_CHARSET_AUTO;
}

static const char *check(const phantom_options *o)
{
    const char *texts[] = {o->modality,   o->body_part, o->view,      o->patient_name,
                           o->patient_id, o->accession, o->study_uid, o->series_uid,
                           o->sop_uid,    o->history,   o->reason,    o->heart_rate};
    static const size_t longest[] = {16, 16, 16, 192, 192, 16, 64, 64, 64, 60000, 60000, 12};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i] != NULL && strlen(texts[i]) > longest[i]) {
            return "a text is too long for its attribute";
        }
    }
    return o->age_years > 120 ? "age not in 0..120" : NULL;
}

uint8_t *phantom_make_file(const phantom_options *options, size_t *ret_size_bytes,
                           const char **ret_reason)
{
    const phantom_options *o = options;
    *ret_reason = check(o);
    if (*ret_reason != NULL) {
        return NULL;
    }
    uint16_t *film = phantom_draw_chest(o->rows, o->columns, o->seed, o->opacity);
    if (film == NULL) {
        *ret_reason = "rows and columns not in 64..8192, or out of memory";
        return NULL;
    }
    phantom_uids uids;
    phantom_make_uids(o, &uids);
    writer w = {.charset = charset_of(o)};
    double spacing_mm = 286.72 / o->rows; /* 0.14 mm at full size */
    put_meta(&w, &uids);
    put_study(&w, o, &uids);
    if (strcmp(uids.sop_class, SOP_DX) == 0) {
        put_anatomy(&w, o);
    }
    put_patient(&w, o);
    put_acquisition(&w, o, &uids, spacing_mm);
    put_pixel_module(&w, o, &uids, spacing_mm);
    if (o->reason != NULL) {
        put_word(&w, 0x00321030, "LT", o->reason);
    }
    if (o->with_request) {
        put_request(&w, o);
    }
    if (strcmp(uids.sop_class, SOP_DX) == 0) {
        put_code_sequence(&w, 0x00400555, NULL, NULL, NULL);
        put_view_code(&w, o->view);
        put_text(&w, 0x20500020, "CS",
                 o->photometric == PHANTOM_MONOCHROME1 ? "INVERSE" : "IDENTITY");
    }
    put_pixels(&w, o, film);
    free(film);
    if (w.failed) {
        free(w.bytes);
        *ret_reason = "out of memory, or a name that ISO 8859-1 cannot hold";
        return NULL;
    }
    *ret_size_bytes = w.size;
    return w.bytes;
}
