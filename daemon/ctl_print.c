#include "daemon/ctl_print.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

enum {
    CELL_BYTES = 192
};

typedef struct cell {
    char text[CELL_BYTES];
} cell;

static cell show_value(const json_t *value)
{
    cell shown = {"-"};
    if (json_is_string(value) && json_string_length(value) > 0) {
        snprintf(shown.text, sizeof shown.text, "%s", json_string_value(value));
    } else if (json_is_integer(value)) {
        snprintf(shown.text, sizeof shown.text, "%" JSON_INTEGER_FORMAT,
                 json_integer_value(value));
    } else if (json_is_real(value)) {
        snprintf(shown.text, sizeof shown.text, "%.1f", json_real_value(value));
    } else if (json_is_boolean(value)) {
        snprintf(shown.text, sizeof shown.text, "%s", json_is_true(value) ? "yes" : "no");
    }
    for (char *at = shown.text; *at != '\0'; at++) {
        *at = (unsigned char)*at < 0x20 || *at == 0x7f ? '?' : *at;
    }
    return shown;
}

/* A member as text. */
static cell show(const json_t *object, const char *key)
{
    return show_value(json_object_get(object, key));
}

/* Bytes for people: 1.5 GiB. */
static cell show_bytes(const json_t *object, const char *key)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)json_integer_value(json_object_get(object, key));
    size_t unit = 0;
    cell shown;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    snprintf(shown.text, sizeof shown.text, unit == 0 ? "%.0f %s" : "%.1f %s", value,
             units[unit]);
    return shown;
}

static void print_problems(const json_t *status, FILE *out)
{
    const json_t *problems = json_object_get(status, "problems");
    fputs(json_is_true(json_object_get(status, "ready")) ? "ready" : "not ready", out);
    for (size_t i = 0; i < json_array_size(problems); i++) {
        const char *name = json_string_value(json_array_get(problems, i));
        fprintf(out, "%s%s", i == 0 ? ": " : ", ", name == NULL ? "?" : name);
    }
    fputs(json_is_true(json_object_get(status, "paused")) ? ", paused\n" : "\n", out);
}

void md_ctl_print_status(const json_t *status, FILE *out)
{
    const char *name = NULL;
    const json_t *studies = json_object_get(status, "studies");
    const json_t *outbox = json_object_get(status, "outbox");
    const json_t *destinations = json_object_get(status, "destinations");
    void *at;
    fprintf(out, "medaid %s, up %s s, ", show(status, "version").text,
            show(status, "uptime_s").text);
    print_problems(status, out);
    fputs("studies     ", out);
    for (at = json_object_iter(json_object_get(status, "studies")); at != NULL;
         at = json_object_iter_next(json_object_get(status, "studies"), at)) {
        name = json_object_iter_key(at);
        fprintf(out, "  %s %s", name, show(studies, name).text);
    }
    fprintf(out, "\nqueue         oldest waits %s s\n", show(status, "queue_age_s").text);
    fprintf(out, "outbox        pending %s  dead %s  uncommitted %s\n",
            show(outbox, "pending").text, show(outbox, "dead").text,
            show(outbox, "uncommitted").text);
    fprintf(out, "storage       %s instances, %s, %s free\n", show(status, "instances").text,
            show_bytes(status, "stored_bytes").text,
            show_bytes(status, "disk_free_bytes").text);
    for (size_t i = 0; i < json_array_size(destinations); i++) {
        const json_t *each = json_array_get(destinations, i);
        fprintf(out, "destination   %s: sent %s, failed attempts %s\n", show(each, "name").text,
                show(each, "sent").text, show(each, "failures").text);
    }
}

void md_ctl_print_studies(const json_t *page, FILE *out)
{
    const json_t *list = json_object_get(page, "studies");
    fprintf(out, "%-16s  %-11s %4s %6s %10s  %-24s  %s\n", "study", "state", "gen", "images",
            "size", "last received", "reason");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *each = json_array_get(list, i);
        fprintf(out, "%-16s  %-11s %4s %6s %10s  %-24s  %s\n", show(each, "study").text,
                show(each, "state").text, show(each, "generation").text,
                show(each, "instances").text, show_bytes(each, "bytes").text,
                show(json_object_get(each, "clock"), "last_received").text,
                show(each, "reason").text);
    }
    if (json_object_get(page, "next_before") != NULL) {
        fprintf(out, "more: --before %s\n", show(page, "next_before").text);
    }
}

/* "2026-11-24T16:00:00.000Z" without its milliseconds. */
static cell show_time(const json_t *object, const char *key)
{
    cell shown = show(object, key);
    if (strlen(shown.text) > 19) {
        shown.text[16] = '\0';
        shown.text[10] = ' ';
    }
    return shown;
}

static bool has_urgent(const json_t *study)
{
    const json_t *findings = json_object_get(study, "findings");
    bool urgent = false;
    for (size_t i = 0; i < json_array_size(findings); i++) {
        urgent = urgent || json_is_true(json_object_get(json_array_get(findings, i), "urgent"));
    }
    return urgent;
}

void md_ctl_print_worklist(const json_t *list, FILE *out)
{
    const json_t *studies = json_object_get(list, "studies");
    const json_t *eta = json_object_get(list, "eta");
    fprintf(out, "%-16s  %-11s %-6s %4s  %-16s  %-16s  %-16s  %s\n", "study", "state", "urgent",
            "prio", "arrived (UTC)", "read by", "80% from", "to");
    for (size_t i = 0; i < json_array_size(studies); i++) {
        const json_t *each = json_array_get(studies, i);
        const json_t *when = json_object_get(each, "eta");
        bool overdue = json_is_true(json_object_get(when, "overdue"));
        fprintf(out, "%-16s  %-11s %-6s %4s  %-16s  %-16s  %-16s  %s\n",
                show(each, "study").text, show(each, "state").text,
                has_urgent(each) ? "yes" : "no", show(each, "priority").text,
                show_time(json_object_get(each, "clock"), "last_received").text,
                overdue ? "overdue" : show_time(when, "at").text,
                overdue ? "-" : show_time(when, "low").text,
                overdue ? "-" : show_time(when, "high").text);
    }
    if (json_object_get(eta, "none") != NULL) {
        fprintf(out, "no expected time of reading: %s\n", show(eta, "none").text);
    } else if (eta != NULL) {
        fprintf(out,
                "expected by a %s model of %s read studies; of %s later ones %s were read "
                "within the interval\n",
                show(eta, "model").text, show(eta, "studies").text, show(eta, "checked").text,
                show(eta, "covered").text);
    }
}

void md_ctl_print_study(const json_t *study, FILE *out)
{
    static const char *const times[] = {"first_received", "last_received", "complete",
                                        "analysis_start", "analysis_end",  "stored"};
    static const char *const facts[] = {"state",     "generation", "priority",
                                        "instances", "conflicts",  "failed_attempts",
                                        "late",      "reason",     "time_to_notification_s"};
    const json_t *clock = json_object_get(study, "clock");
    const json_t *objects = json_object_get(study, "objects");
    const json_t *outbox = json_object_get(study, "outbox");
    fprintf(out, "study %s, %s\n", show(study, "study").text, show_bytes(study, "bytes").text);
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        fprintf(out, "  %-22s  %s\n", facts[i], show(study, facts[i]).text);
    }
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        fprintf(out, "  %-22s  %s\n", times[i], show(clock, times[i]).text);
    }
    for (size_t i = 0; i < json_array_size(objects); i++) {
        const json_t *each = json_array_get(objects, i);
        fprintf(out, "object  %-8s generation %s, %s, %s\n", show(each, "kind").text,
                show(each, "generation").text, show_bytes(each, "bytes").text,
                show(each, "created").text);
    }
    for (size_t i = 0; i < json_array_size(outbox); i++) {
        const json_t *each = json_array_get(outbox, i);
        fprintf(out, "outbox  %-8s to %s: %s, attempts %s, next %s, commitment %s\n",
                show(each, "kind").text, show(each, "destination").text,
                show(each, "state").text, show(each, "attempts").text,
                show(each, "next_attempt").text, show(each, "commitment").text);
    }
}

void md_ctl_print_similar(const json_t *similar, FILE *out)
{
    const json_t *cases = json_object_get(similar, "cases");
    fprintf(out, "%-16s  %8s  %-24s  %-12s  %s\n", "study", "distance", "analysed", "state",
            "findings (a reader's word)");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *each = json_array_get(cases, i);
        const json_t *findings = json_object_get(each, "findings");
        const bool kept = json_is_true(json_object_get(each, "kept"));
        fprintf(out, "%-16s  %8.4f  %-24s  %-12s ", show(each, "study").text,
                json_number_value(json_object_get(each, "distance")),
                show(each, "analysed").text, kept ? show(each, "state").text : "images gone");
        for (size_t k = 0; k < json_array_size(findings); k++) {
            const json_t *f = json_array_get(findings, k);
            const bool said = json_is_string(json_object_get(f, "verdict"));
            fprintf(out, "%s %s %s %.2f", k > 0 ? "," : "", show(f, "meaning").text,
                    show(f, "presence").text, json_number_value(json_object_get(f, "score")));
            if (said) {
                fprintf(out, " (%s)", show(f, "verdict").text);
            }
        }
        fputc('\n', out);
    }
    if (json_array_size(cases) == 0) {
        fputs("no other case yet\n", out);
    }
}

/* "0.950 (0.900-0.980)"; "-" when nobody judged. */
static cell show_share(const json_t *object, const char *key)
{
    const json_t *p = json_object_get(object, key);
    cell shown = {"-"};
    if (json_is_object(p)) {
        snprintf(shown.text, sizeof shown.text, "%.3f (%.3f-%.3f)",
                 json_number_value(json_object_get(p, "value")),
                 json_number_value(json_object_get(p, "low")),
                 json_number_value(json_object_get(p, "high")));
    }
    return shown;
}

static void print_quantiles(const json_t *quantiles, const char *name, FILE *out)
{
    fprintf(out, "%-28s  %7s %10s %10s %10s\n", name, show(quantiles, "studies").text,
            show(quantiles, "p50_s").text, show(quantiles, "p95_s").text,
            show(quantiles, "p99_s").text);
}

void md_ctl_print_report(const json_t *report, FILE *out)
{
    const json_t *reading = json_object_get(report, "reading");
    const json_t *findings = json_object_get(report, "findings");
    fprintf(out, "studies %s, failed %s, urgent %s, read %s\n\n", show(report, "studies").text,
            show(report, "failed").text, show(report, "urgent").text,
            show(reading, "read").text);
    fprintf(out, "%-28s  %7s %10s %10s %10s\n", "seconds from the last image", "studies", "p50",
            "p95", "p99");
    print_quantiles(json_object_get(report, "time_to_notification"), "to results stored", out);
    print_quantiles(json_object_get(report, "time_to_notifier"), "to a notifier told", out);
    print_quantiles(json_object_get(reading, "urgent_waited"), "to urgent ones read", out);
    print_quantiles(json_object_get(reading, "routine_waited"), "to the others read", out);
    if (json_object_get(reading, "urgent_position_by_arrival") != NULL) {
        fprintf(out,
                "\nmean position of urgent studies: %.3f by arrival, %.3f as read (0 first)\n",
                json_number_value(json_object_get(reading, "urgent_position_by_arrival")),
                json_number_value(json_object_get(reading, "urgent_position_by_reading")));
    }
    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *each = json_array_get(findings, i);
        fprintf(out,
                "\n%s of %s: present %s, absent %s, undetermined %s\n"
                "  sensitivity %s, specificity %s, PPV %s, NPV %s\n",
                show(each, "meaning").text, show(each, "model").text,
                show(each, "present").text, show(each, "absent").text,
                show(each, "undetermined").text, show_share(each, "sensitivity").text,
                show_share(each, "specificity").text, show_share(each, "ppv").text,
                show_share(each, "npv").text);
    }
    if (json_array_size(findings) > 0) {
        fputs("\nShares are of studies that readers judged, with 95% intervals.\n", out);
    }
}

void md_ctl_print_change(const json_t *answer, FILE *out)
{
    if (json_object_get(answer, "study") != NULL) {
        fprintf(out, "study %s is %s\n", show(answer, "study").text,
                show(answer, "state").text);
    } else {
        fprintf(out, "paused %s, draining %s\n", show(answer, "paused").text,
                show(answer, "draining").text);
    }
}

static void print_proposal(const json_t *p, FILE *out)
{
    const json_t *alike = json_object_get(p, "alike_in");
    fprintf(out, "  %-20s %.2f  %s; accepted for %s of %s similar patients",
            show(p, "key").text, json_number_value(json_object_get(p, "score")),
            show(json_object_get(p, "action"), "meaning").text, show(p, "accepted").text,
            show(p, "similar_patients").text);
    for (size_t i = 0; i < json_array_size(alike); i++) {
        fprintf(out, "%s%s", i == 0 ? ", alike in " : ", ",
                show_value(json_array_get(alike, i)).text);
    }
    fputc('\n', out);
}

void md_ctl_print_follow_up(const json_t *study, FILE *out)
{
    const json_t *f = json_object_get(study, "follow_up");
    const json_t *proposals = json_object_get(f, "proposals");
    const json_t *decisions = json_object_get(f, "decisions");
    const json_t *choices = json_object_get(f, "choices");
    if (f == NULL) {
        fputs("no follow-up: there are no follow_up.actions, or the study was not analysed "
              "since\n",
              out);
        return;
    }
    fprintf(out, "proposed for study %s (a proposal, not an order)\n",
            show(study, "study").text);
    for (size_t i = 0; i < json_array_size(proposals); i++) {
        print_proposal(json_array_get(proposals, i), out);
    }
    if (json_array_size(proposals) == 0) {
        fprintf(out, "  nothing: %s\n", show(f, "why_none").text);
    }
    fprintf(out,
            "of %s actions %s with fewer than %s similar patients, %s rather declined; %s "
            "patients on record\n",
            show(f, "actions").text, show(f, "abstained").text, show(f, "min_support").text,
            show(f, "rather_declined").text, show(f, "patients_on_record").text);
    for (size_t i = 0; i < json_array_size(decisions); i++) {
        const json_t *each = json_array_get(decisions, i);
        fprintf(out, "decided  %-20s %s by %s, %s%s\n", show(each, "action").text,
                show(each, "decision").text, show(each, "reader").text,
                show(each, "given").text,
                json_is_true(json_object_get(each, "on_this_study")) ? "" : ", elsewhere");
    }
    fputs("actions ", out);
    for (size_t i = 0; i < json_array_size(choices); i++) {
        fprintf(out, " %s", show(json_array_get(choices, i), "key").text);
    }
    fputc('\n', out);
}

void md_ctl_print_decision(const json_t *answer, FILE *out)
{
    if (json_object_get(answer, "decisions") != NULL) {
        fprintf(out, "%s decisions, %s patients forgotten\n", show(answer, "decisions").text,
                show(answer, "forgotten").text);
    } else if (json_object_get(answer, "forgotten") != NULL) {
        fprintf(out, "study %s: %s decisions for its patient forgotten\n",
                show(answer, "study").text, show(answer, "forgotten").text);
    } else {
        fprintf(out, "study %s: %s %s\n", show(answer, "study").text,
                show(answer, "action").text, show(answer, "decision").text);
    }
}
