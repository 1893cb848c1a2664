#include "plugins/host/study_numbers.h"

#include "inference/tabular/risk.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* `n` digits as a number; -1 when there are others. */
static int digits(const char *text, size_t n)
{
    int value = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }
        value = 10 * value + (text[i] - '0');
    }
    return value;
}

/* Seconds east of Greenwich; false for what is no offset. */
static bool parse_zone(const char *zone, long *ret_s)
{
    if (strlen(zone) != 5 || (zone[0] != '+' && zone[0] != '-')) {
        return false;
    }
    const int hours = digits(zone + 1, 2), minutes = digits(zone + 3, 2);
    if (hours < 0 || hours > 14 || minutes < 0 || minutes > 59) {
        return false;
    }
    const long s = hours * 3600L + minutes * 60L;
    *ret_s = zone[0] == '-' ? -s : s;
    return true;
}

bool md_study_moment(const char *date, const char *time, const char *zone, int64_t *ret_ms,
                     double *ret_hour, unsigned *ret_weekday)
{
    const size_t length = strcspn(time, ".");
    if (strlen(date) != 8 || (length != 2 && length != 4 && length != 6)) {
        return false;
    }
    const int year = digits(date, 4), month = digits(date + 4, 2), day = digits(date + 6, 2);
    const int hour = digits(time, 2), minute = length >= 4 ? digits(time + 2, 2) : 0;
    const int second = length == 6 ? digits(time + 4, 2) : 0;
    if (year < 1800 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 ||
        hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) {
        return false;
    }
    struct tm parts = {.tm_year = year - 1900,
                       .tm_mon = month - 1,
                       .tm_mday = day,
                       .tm_hour = hour,
                       .tm_min = minute,
                       .tm_sec = second,
                       .tm_isdst = -1};
    struct tm as_written = parts;
    long offset_s = 0;
    const bool has_zone = parse_zone(zone, &offset_s);
    (void)timegm(&as_written);
    if (as_written.tm_mday != day) { /* the 31st of a shorter month */
        return false;
    }
    const time_t seconds = has_zone ? timegm(&parts) - offset_s : mktime(&parts);
    *ret_ms = (int64_t)seconds * 1000;
    *ret_hour = hour + minute / 60.0 + second / 3600.0;
    *ret_hour = fmin(*ret_hour, 23.999);
    *ret_weekday = (unsigned)(as_written.tm_wday + 6) % 7;
    return true;
}

/* The acquisition of one object: its own, else that of its content, else of the study. */
static bool acquired(const md_dataset *dataset, int64_t *ret_ms, double *ret_hour,
                     unsigned *ret_weekday)
{
    static const struct {
        uint32_t date, time;
    } pairs[] = {{MD_TAG(0x0008, 0x0022), MD_TAG(0x0008, 0x0032)},
                 {MD_TAG(0x0008, 0x0023), MD_TAG(0x0008, 0x0033)},
                 {MD_TAG(0x0008, 0x0020), MD_TAG(0x0008, 0x0030)}};
    char both[64], zone[17] = "";
    (void)md_dataset_get_text(dataset, MD_TAG(0x0008, 0x0201), 0, zone, sizeof zone);
    if (md_dataset_get_text(dataset, MD_TAG(0x0008, 0x002a), 0, both, sizeof both) &&
        strlen(both) >= 10) {
        char date[9], time[17], own_zone[6] = "";
        const size_t n = strcspn(both + 8, "+-");
        snprintf(date, sizeof date, "%.8s", both);
        snprintf(time, sizeof time, "%.*s", (int)n, both + 8);
        snprintf(own_zone, sizeof own_zone, "%.5s", both + 8 + n);
        if (md_study_moment(date, time, own_zone[0] != '\0' ? own_zone : zone, ret_ms, ret_hour,
                            ret_weekday)) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char date[17], time[17];
        if (md_dataset_get_text(dataset, pairs[i].date, 0, date, sizeof date) &&
            md_dataset_get_text(dataset, pairs[i].time, 0, time, sizeof time) &&
            md_study_moment(date, time, zone, ret_ms, ret_hour, ret_weekday)) {
            return true;
        }
    }
    return false;
}

/* The highest score of one finding among the results of a kind; `name` is KEY or MODEL/KEY. */
static double score_named(const md_study_facts *facts, md_result_kind kind, const char *name)
{
    const char *slash = strchr(name, '/');
    const char *key = slash != NULL ? slash + 1 : name;
    const size_t n_model = slash != NULL ? (size_t)(slash - name) : 0;
    double highest = (double)NAN;
    for (size_t i = 0; i < facts->n_results; i++) {
        const md_result *result = &facts->results[i];
        if (result->kind != kind ||
            (slash != NULL && (strlen(result->model.id) != n_model ||
                               memcmp(result->model.id, name, n_model) != 0))) {
            continue;
        }
        for (size_t k = 0; k < result->n_findings; k++) {
            if (strcmp(result->findings[k].key, key) == 0) {
                highest = fmax(highest, result->findings[k].score); /* a NaN loses */
            }
        }
    }
    return highest;
}

static double real_of(const md_study *study, uint32_t tag, double least)
{
    for (size_t i = 0; i < study->n; i++) {
        double value = 0;
        if (md_dataset_get_real(study->files[i].dataset, tag, 0, &value) && value >= least) {
            return value;
        }
    }
    return (double)NAN;
}

static double patient_named(const md_study_facts *facts, const char *name)
{
    const char *sex = facts->header->sex;
    if (strcmp(name, "patient.age_years") == 0) {
        for (size_t i = 0; i < facts->study->n; i++) {
            if (facts->study->files[i].facts.age_years >= 0) {
                return facts->study->files[i].facts.age_years;
            }
        }
    } else if (strcmp(name, "patient.sex_female") == 0) {
        return strcmp(sex, "F") == 0 ? 1.0 : strcmp(sex, "M") == 0 ? 0.0 : (double)NAN;
    } else if (strcmp(name, "patient.weight_kg") == 0) {
        return real_of(facts->study, MD_TAG(0x0010, 0x1030), 0.001);
    } else if (strcmp(name, "patient.size_m") == 0) {
        return real_of(facts->study, MD_TAG(0x0010, 0x1020), 0.001);
    }
    return (double)NAN;
}

static double clock_named(const md_study_facts *facts, const char *name)
{
    int64_t ms = 0;
    double hour = 0;
    unsigned weekday = 0, n_images = 0;
    bool known = false;
    for (size_t i = 0; i < facts->study->n; i++) {
        n_images += facts->study->files[i].is_image;
        known = known || acquired(facts->study->files[i].dataset, &ms, &hour, &weekday);
    }
    if (strcmp(name, "study.n_images") == 0) {
        return n_images;
    }
    if (!known) {
        return (double)NAN;
    }
    if (strcmp(name, "study.hour") == 0) {
        return hour;
    }
    if (strcmp(name, "study.weekday") == 0) {
        return weekday;
    }
    return strcmp(name, "study.hours_since_acquisition") == 0 && ms <= facts->now_ms
               ? (double)(facts->now_ms - ms) / 3.6e6
               : (double)NAN;
}

static double attribute_named(const md_study_facts *facts, const md_risk_needs *needs,
                              const char *name)
{
    for (unsigned i = 0; i < needs->n_attributes; i++) {
        if (strcmp(needs->attributes[i].name, name) == 0) {
            return real_of(facts->study, needs->attributes[i].tag, -HUGE_VAL);
        }
    }
    return (double)NAN;
}

static bool begins(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static double number_named(const md_study_facts *facts, const md_risk_needs *needs,
                           const char *name)
{
    double value = attribute_named(facts, needs, name);
    if (isfinite(value)) {
        return value;
    }
    if (begins(name, MD_RISK_FINDING_PREFIX)) {
        return score_named(facts, MD_RESULT_IMAGE, name + strlen(MD_RISK_FINDING_PREFIX));
    }
    if (begins(name, MD_RISK_TEXT_PREFIX)) {
        return score_named(facts, MD_RESULT_TEXT, name + strlen(MD_RISK_TEXT_PREFIX));
    }
    if (begins(name, "patient.")) {
        return patient_named(facts, name);
    }
    return begins(name, "study.") ? clock_named(facts, name) : (double)NAN;
}

unsigned md_study_numbers(const md_study_facts *facts, const md_risk_needs *needs,
                          double *ret_values)
{
    unsigned n_known = 0;
    for (unsigned i = 0; i < needs->n_names; i++) {
        ret_values[i] = number_named(facts, needs, needs->names[i]);
        n_known += isfinite(ret_values[i]) != 0;
    }
    return n_known;
}
