#include "daemon/follow_up/history.h"

#include "base/file.h"
#include "base/utf8.h"
#include "conf/schema.h"
#include "plugins/train/csv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    DAY_MS = 24 * 3600 * 1000
};

struct md_history {
    md_csv csv;
    char *name;
    const md_conf *conf; /* borrowed while rows are checked */
    int64_t now_ms;
    int patient, issuer, action, rating, reader, date;
};

static const char *const columns[] = {"patient", "issuer", "action",
                                      "rating",  "reader", "date"};

static const char *field(const md_history *h, size_t row, int column)
{
    return md_csv_field(&h->csv, row, column);
}

/* A number in 0..1 and nothing else. */
static bool read_share(const char *text, double *ret_value)
{
    char *end = NULL;
    if (strspn(text, "0123456789.eE+-") != strlen(text)) {
        return false; /* no blanks, no hexadecimal, no names of numbers */
    }
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0.0 && value <= 1.0)) {
        return false;
    }
    *ret_value = value;
    return true;
}

/* The start of a day, UTC. */
static bool read_date(const char *text, int64_t *ret_ms)
{
    struct tm day = {0};
    if (strlen(text) != 10 || strspn(text, "0123456789-") != 10 || text[4] != '-' ||
        text[7] != '-' ||
        sscanf(text, "%4d-%2d-%2d", &day.tm_year, &day.tm_mon, &day.tm_mday) != 3) {
        return false;
    }
    const struct tm said = day;
    day.tm_year -= 1900;
    day.tm_mon -= 1;
    time_t seconds = timegm(&day);
    if (said.tm_year < 1970 || day.tm_mon != said.tm_mon - 1 || day.tm_mday != said.tm_mday) {
        return false; /* the 30th of February */
    }
    *ret_ms = (int64_t)seconds * 1000;
    return true;
}

static md_status refuse(const md_history *h, size_t row, const char *column, md_error *err,
                        const char *expected)
{
    return md_fail(err, MD_FORMAT, "%s:%u: column '%s': expected %s", h->name,
                   h->csv.lines[row], column, expected);
}

static bool is_feature(const char *name)
{
    md_features scrap = {0};
    bool has_colon = strchr(name, ':') != NULL || strcmp(name, MD_FEATURE_NOTHING) == 0;
    return has_colon && md_features_add(&scrap, name, "", 1.0F);
}

static bool is_named(const md_history *h, int column)
{
    return column == h->patient || column == h->issuer || column == h->action ||
           column == h->rating || column == h->reader || column == h->date;
}

static md_status check_header(md_history *h, md_error *err)
{
    int *const found[] = {&h->patient, &h->issuer, &h->action,
                          &h->rating,  &h->reader, &h->date};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        *found[i] = md_csv_column(&h->csv, columns[i]);
    }
    if (h->patient < 0 || h->action < 0 || h->rating < 0) {
        return md_fail(err, MD_FORMAT,
                       "%s:1: expected the columns patient, action and rating at least",
                       h->name);
    }
    for (unsigned i = 0; i < h->csv.n_columns; i++) {
        if (!is_named(h, (int)i) && !is_feature(h->csv.header[i])) {
            return md_fail(err, MD_FORMAT,
                           "%s:1: column %u: expected patient, issuer, action, rating, reader, "
                           "date, none, or a finding by its code, as SCT:233604007",
                           h->name, i + 1);
        }
    }
    return MD_OK;
}

static bool has_action(const md_conf *conf, const char *key)
{
    unsigned i = 0;
    while (i < conf->follow_up.n_actions && strcmp(conf->follow_up.actions[i].key, key) != 0) {
        i++;
    }
    return i < conf->follow_up.n_actions;
}

/* An LO of PS3.5 6.2 in UTF-8, as the host reads one: in another character set it would be
 * nobody's. */
static bool is_identifier(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != 0;) {
        size_t n = md_utf8_length(p);
        if (n == 0 || *p < 0x20 || *p == 0x7f || *p == '\\') {
            return false;
        }
        p += n;
    }
    return strlen(text) < MD_TEXT_BYTES;
}

static md_status check_row(const md_history *h, size_t row, md_error *err)
{
    double value = 0.0;
    int64_t day_ms = 0;
    const char *patient = field(h, row, h->patient), *date = field(h, row, h->date);
    const char *rating = field(h, row, h->rating), *reader = field(h, row, h->reader);
    bool forget = strcmp(rating, "forget") == 0;
    if (patient[0] == '\0' || !is_identifier(patient)) {
        return refuse(h, row, "patient", err, "a Patient ID");
    }
    if (!is_identifier(field(h, row, h->issuer))) {
        return refuse(h, row, "issuer", err, "an Issuer of Patient ID, or nothing");
    }
    if (forget) {
        return field(h, row, h->action)[0] == '\0'
                   ? MD_OK
                   : refuse(h, row, "action", err, "nothing, because the patient is forgotten");
    }
    if (!has_action(h->conf, field(h, row, h->action))) {
        return refuse(h, row, "action", err, "a key of follow_up.actions");
    }
    if (!read_share(rating, &value)) {
        return refuse(h, row, "rating", err,
                      "a number on the scale, from 0 (declined) to 1 (accepted), or forget");
    }
    if (reader[0] != '\0' && (md_schema_check_slug(reader) != NULL || strlen(reader) > 64)) {
        return refuse(h, row, "reader", err, "small letters, digits and '-', at most 64");
    }
    if (date[0] != '\0' && (!read_date(date, &day_ms) || day_ms > h->now_ms + DAY_MS)) {
        return refuse(h, row, "date", err, "a day that has been, as 2025-03-01");
    }
    for (unsigned i = 0; i < h->csv.n_columns; i++) {
        const char *text = field(h, row, (int)i);
        if (!is_named(h, (int)i) && text[0] != '\0' && !read_share(text, &value)) {
            char column[16];
            snprintf(column, sizeof column, "%u", i + 1);
            return refuse(h, row, column, err, "a number from 0 (not there) to 1, or nothing");
        }
    }
    return MD_OK;
}

static md_status check(md_history *h, md_error *err)
{
    if (h->conf->follow_up.n_actions == 0) {
        return md_fail(err, MD_INVALID_ARG,
                       "the configuration has no follow_up.actions: there is nothing that "
                       "decisions could be about");
    }
    MD_TRY(check_header(h, err));
    for (size_t i = 0; i < h->csv.n_rows; i++) {
        MD_TRY(check_row(h, i, err));
    }
    return MD_OK;
}

static md_status begin(const char *name, const md_conf *conf, int64_t now_ms,
                       md_history **ret_history, md_error *err)
{
    md_history *h = md_calloc(1, sizeof *h);
    if (h != NULL) {
        h->name = md_strdup(name);
        h->conf = conf;
        h->now_ms = now_ms;
    }
    if (h == NULL || h->name == NULL) {
        md_free(h);
        return md_fail(err, MD_NOMEM, "%s: no memory to read it", name);
    }
    *ret_history = h;
    return MD_OK;
}

md_status md_history_open(char *bytes, size_t size_bytes, const char *name, const md_conf *conf,
                          int64_t now_ms, md_history **ret_history, md_error *err)
{
    md_history *h = NULL;
    md_status status = begin(name, conf, now_ms, &h, err);
    if (status == MD_OK && size_bytes > MD_HISTORY_MAX_BYTES) {
        status = md_fail(err, MD_LIMIT, "%s: %zu bytes, at most %d are read", name, size_bytes,
                         MD_HISTORY_MAX_BYTES);
    }
    if (status != MD_OK || h == NULL) {
        md_free(bytes);
        md_history_close(h);
        return status;
    }
    status = md_csv_parse(bytes, size_bytes, name, &h->csv, err);
    if (status == MD_OK) {
        status = check(h, err);
    }
    if (status != MD_OK) {
        md_history_close(h);
        return status;
    }
    h->conf = NULL;
    *ret_history = h;
    return MD_OK;
}

md_status md_history_read(const char *path, const md_conf *conf, int64_t now_ms,
                          md_history **ret_history, md_error *err)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    MD_TRY(md_file_read(path, MD_HISTORY_MAX_BYTES, &bytes, &n, err));
    return md_history_open((char *)bytes, n, path, conf, now_ms, ret_history, err);
}

void md_history_close(md_history *h)
{
    if (h != NULL) {
        md_csv_finish(&h->csv);
        md_free(h->name);
        md_free(h);
    }
}

size_t md_history_n(const md_history *h)
{
    return h->csv.n_rows;
}

void md_history_row(const md_history *h, size_t row, md_history_decision *d)
{
    const char *reader = field(h, row, h->reader), *date = field(h, row, h->date);
    const char *rating = field(h, row, h->rating);
    *d = (md_history_decision){.patient_id = field(h, row, h->patient),
                               .issuer = field(h, row, h->issuer),
                               .action = field(h, row, h->action),
                               .reader = reader[0] != '\0' ? reader : "import",
                               .given_ms = h->now_ms,
                               .forget = strcmp(rating, "forget") == 0};
    (void)read_share(rating, &d->value);
    if (date[0] != '\0') {
        (void)read_date(date, &d->given_ms);
    }
    for (unsigned i = 0; i < h->csv.n_columns; i++) {
        double value = 0.0;
        const char *text = field(h, row, (int)i);
        if (!is_named(h, (int)i) && text[0] != '\0' && read_share(text, &value)) {
            d->has_features = true;
            (void)md_features_add(&d->features, h->csv.header[i], "", (float)value);
        }
    }
}

void md_history_patient(const char *patient_id, const char *issuer,
                        char ret_text[MD_HISTORY_PATIENT_BYTES])
{
    /* without an issuer the same text, and so the same hash, as the audit trail has */
    snprintf(ret_text, MD_HISTORY_PATIENT_BYTES, "patient %s%s%s", patient_id,
             issuer[0] != '\0' ? "^^^" : "", issuer);
}
