/* HL7 2.5.1: chapter 2 (messages, escapes), 3 (PID), 4 (ORC, TQ1), 7 (OBR, OBX). */

#include "daemon/notifier/notice_internal.h"

#include <string.h>

typedef struct message {
    FILE *out;
    unsigned n_observations;
} message;

/* One component: delimiters are escaped (2.7), line ends and other controls are blanks. */
static void put(message *m, const char *text)
{
    static const struct {
        char plain;
        const char *escaped;
    } delimiters[] = {
        {'|', "\\F\\"}, {'^', "\\S\\"}, {'~', "\\R\\"}, {'\\', "\\E\\"}, {'&', "\\T\\"}};
    for (const char *c = text; *c != '\0'; c++) {
        const char *escaped = NULL;
        for (size_t i = 0; i < sizeof delimiters / sizeof *delimiters; i++) {
            escaped = delimiters[i].plain == *c ? delimiters[i].escaped : escaped;
        }
        if (escaped != NULL) {
            fputs(escaped, m->out);
        } else {
            fputc((unsigned char)*c < 0x20 || *c == 0x7f ? ' ' : *c, m->out);
        }
    }
}

static void put_code(message *m, const char *code, const char *meaning, const char *scheme)
{
    put(m, code);
    fputc('^', m->out);
    put(m, meaning);
    fputc('^', m->out);
    put(m, scheme);
}

/* "Family^Given^Middle^Prefix^Suffix" of DICOM (PS3.5 6.2.1) to XPN, where the suffix comes
 * first. Only the first, alphabetic, group. */
static void put_name(message *m, const char *name)
{
    char parts[5][MD_NOTICE_TEXT_BYTES] = {{0}};
    size_t part = 0, length = 0;
    for (const char *c = name; *c != '\0' && *c != '=' && part < 5; c++) {
        if (*c == '^') {
            part++;
            length = 0;
        } else if (length + 1 < sizeof parts[0]) {
            parts[part][length++] = *c;
        }
    }
    static const unsigned order[5] = {0, 1, 2, 4, 3};
    for (unsigned i = 0; i < 5; i++) {
        put(m, parts[order[i]]);
        fputs(i < 4 ? "^" : "", m->out);
    }
}

static void put_time(message *m, int64_t ms)
{
    char text[32];
    struct tm parts;
    if (md_notice_utc(ms, &parts) &&
        strftime(text, sizeof text, "%Y%m%d%H%M%S+0000", &parts) > 0) {
        fputs(text, m->out);
    }
}

static void put_patient(message *m, const md_notice *notice)
{
    fputs("PID|1||", m->out);
    if (notice->patient_id[0] != '\0') {
        put(m, notice->patient_id);
        fputs("^^^^PI", m->out);
    } else {
        put(m, notice->study_key);
        fputs("^^^MEDAID^ANON", m->out);
    }
    fputs("||", m->out);
    if (notice->patient_name[0] != '\0') {
        put_name(m, notice->patient_name);
    }
    fputs("||", m->out);
    put(m, notice->birth_date);
    fputc('|', m->out);
    put(m, notice->sex);
    fputc('\r', m->out);
}

static void put_order(message *m, const md_notice *notice)
{
    fputs("ORC|RE||", m->out);
    put(m, notice->accession_number);
    fputs("\rOBR|1||", m->out);
    put(m, notice->accession_number);
    fputs("|18748-4^Diagnostic imaging study^LN|||", m->out);
    put_time(m, notice->received_ms);
    /* OBR-8 to OBR-21 are not ours to say; OBR-22 when, OBR-25 how final */
    fputs("|||||||||||||||", m->out);
    put_time(m, notice->analysed_ms);
    fprintf(m->out, "|||%s\r", notice->failed == NULL ? "P" : "X");
    fprintf(m->out, "TQ1|1||||||||%s\r", notice->priority == MD_NOTICE_URGENT ? "S" : "R");
}

/* OBX-1 to OBX-4; the value is the caller's. */
static void begin_observation(message *m, const char *type, const char *code,
                              const char *meaning, const char *scheme, size_t group)
{
    fprintf(m->out, "OBX|%u|%s|", ++m->n_observations, type);
    put_code(m, code, meaning, scheme);
    fprintf(m->out, "|%zu|", group);
}

/* OBX-6 to OBX-14. */
static void end_observation(message *m, const char *unit, const char *range, const char *flag,
                            const char *state, int64_t when_ms)
{
    fprintf(m->out, "|%s|%s|%s|||%s|||", unit, range, flag, state);
    put_time(m, when_ms);
    fputc('\r', m->out);
}

static void put_finding(message *m, const md_notice *notice, const md_store_finding *f,
                        size_t group)
{
    static const char *const presence[] = {
        [MD_STORE_ABSENT] = "272519000^Absent^SCT",
        [MD_STORE_PRESENT] = "52101004^Present^SCT",
        [MD_STORE_UNDETERMINED] = "373068000^Undetermined^SCT",
    };
    /* table 0078: what the model did not decide is not normal */
    bool is_decided = f->presence != MD_STORE_UNDETERMINED;
    const char *flag = f->presence == MD_STORE_PRESENT ? (f->urgent ? "AA" : "A")
                       : is_decided                    ? "N"
                                                       : "";
    begin_observation(m, "CWE", f->code, f->meaning, f->scheme, group);
    fputs(presence[f->presence], m->out);
    end_observation(m, "", "", flag, "P", notice->analysed_ms);

    char value[32], range[32];
    snprintf(value, sizeof value, "%.4f", f->score);
    snprintf(range, sizeof range, "<%.4f", f->threshold);
    if (f->is_probability) {
        begin_observation(m, "NM", "122157", "Probability", "DCM", group);
    } else {
        begin_observation(m, "NM", "111012", "Certainty of Finding", "DCM", group);
    }
    put(m, value);
    flag = !is_decided ? "" : f->score >= f->threshold ? "H" : "N";
    end_observation(m, "1^no units^UCUM", range, flag, "P", notice->analysed_ms);

    begin_observation(m, "ST", "111001", "Algorithm Name", "DCM", group);
    put(m, f->model_id);
    fputc(' ', m->out);
    put(m, f->model_version);
    end_observation(m, "", "", "", "P", notice->analysed_ms);
}

static void put_study(message *m, const md_notice *notice)
{
    if (notice->study_instance_uid[0] != '\0') {
        begin_observation(m, "ST", "110180", "Study Instance UID", "DCM", 0);
        put(m, notice->study_instance_uid);
        end_observation(m, "", "", "", "P", notice->analysed_ms);
    }
    if (notice->failed != NULL) {
        begin_observation(m, "ST", "121106", "Comment", "DCM", 0);
        fputs("The analysis failed: ", m->out);
        put(m, notice->failed);
        end_observation(m, "", "", "", "X", notice->analysed_ms);
    }
}

md_status md_notice_hl7(const md_notice *notice, const md_hl7_ends *ends,
                        const char *control_id, char **ret_text, md_error *err)
{
    char *written = NULL;
    size_t size_bytes = 0;
    message m = {.out = open_memstream(&written, &size_bytes)};
    if (m.out == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a notification");
    }
    fputs("MSH|^~\\&|", m.out);
    put(&m, ends->sending_application);
    fputc('|', m.out);
    put(&m, ends->sending_facility);
    fputc('|', m.out);
    put(&m, ends->receiving_application);
    fputc('|', m.out);
    put(&m, ends->receiving_facility);
    fputc('|', m.out);
    put_time(&m, notice->analysed_ms);
    fputs("||ORU^R01^ORU_R01|", m.out);
    put(&m, control_id);
    fputs("|P|2.5.1|||AL|NE||UNICODE UTF-8\r", m.out);
    put_patient(&m, notice);
    put_order(&m, notice);
    put_study(&m, notice);
    for (size_t i = 0; i < notice->n_findings; i++) {
        put_finding(&m, notice, &notice->findings[i], i + 1);
    }
    if (notice->n_left_out > 0) {
        begin_observation(&m, "ST", "121106", "Comment", "DCM", 0);
        fprintf(m.out, "%zu more findings are in the DICOM report alone", notice->n_left_out);
        end_observation(&m, "", "", "", "P", notice->analysed_ms);
    }
    bool failed = ferror(m.out) != 0;
    failed = fclose(m.out) != 0 || failed;
    return md_notice_text(written, size_bytes, failed, ret_text, err);
}
