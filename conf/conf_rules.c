/* The keys of `rules`, and what one key alone cannot show. */

#define PCRE2_CODE_UNIT_WIDTH 8

#include "conf/conf_internal.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names of attributes, PS3.6, as rules use them; every other one is given by its number. */
static const struct {
    const char *keyword;
    uint32_t tag;
} keywords[] = {
    {"AccessionNumber", 0x00080050},
    {"AnatomicRegionSequence", 0x00082218},
    {"BitsStored", 0x00280101},
    {"BodyPartExamined", 0x00180015},
    {"BurnedInAnnotation", 0x00280301},
    {"CodeMeaning", 0x00080104},
    {"CodeValue", 0x00080100},
    {"CodingSchemeDesignator", 0x00080102},
    {"Columns", 0x00280011},
    {"ImageLaterality", 0x00200062},
    {"ImageType", 0x00080008},
    {"InstanceNumber", 0x00200013},
    {"InstitutionName", 0x00080080},
    {"InstitutionalDepartmentName", 0x00081040},
    {"IssuerOfPatientID", 0x00100021},
    {"Laterality", 0x00200060},
    {"Manufacturer", 0x00080070},
    {"ManufacturerModelName", 0x00081090},
    {"Modality", 0x00080060},
    {"NumberOfFrames", 0x00280008},
    {"PatientAge", 0x00101010},
    {"PatientID", 0x00100020},
    {"PatientPosition", 0x00185100},
    {"PatientSex", 0x00100040},
    {"PerformedProcedureStepDescription", 0x00400254},
    {"PhotometricInterpretation", 0x00280004},
    {"PresentationIntentType", 0x00080068},
    {"ProcedureCodeSequence", 0x00081032},
    {"ProtocolName", 0x00181030},
    {"ReferringPhysicianName", 0x00080090},
    {"RequestAttributesSequence", 0x00400275},
    {"RequestedProcedureDescription", 0x00321060},
    {"RequestedProcedureID", 0x00401001},
    {"RequestedProcedurePriority", 0x00401003},
    {"RequestingService", 0x00321033},
    {"Rows", 0x00280010},
    {"SOPClassUID", 0x00080016},
    {"SamplesPerPixel", 0x00280002},
    {"ScheduledProcedureStepDescription", 0x00400007},
    {"SeriesDescription", 0x0008103e},
    {"SeriesNumber", 0x00200011},
    {"SliceThickness", 0x00180050},
    {"SpecificCharacterSet", 0x00080005},
    {"StationName", 0x00081010},
    {"StudyDate", 0x00080020},
    {"StudyDescription", 0x00081030},
    {"StudyID", 0x00200010},
    {"ViewCodeSequence", 0x00540220},
    {"ViewPosition", 0x00185101},
};

static const md_schema_choice presences[] = {
    {"absent", 0}, {"present", 1}, {"undetermined", 2}, {NULL, 0}};
static const md_schema_choice weekdays[] = {{"sun", 0}, {"mon", 1}, {"tue", 2}, {"wed", 3},
                                            {"thu", 4}, {"fri", 5}, {"sat", 6}, {NULL, 0}};
static const md_schema_choice results[] = {{"sr", MD_RESULTS_SR},
                                           {"picture", MD_RESULTS_PICTURE},
                                           {"both", MD_RESULTS_BOTH},
                                           {"none", MD_RESULTS_NONE},
                                           {NULL, 0}};
static const md_schema_choice originals[] = {{"no", MD_ORIGINALS_NO},
                                             {"after", MD_ORIGINALS_AFTER},
                                             {"before", MD_ORIGINALS_BEFORE},
                                             {NULL, 0}};
static const md_schema_choice priorities[] = {{"HIGH", MD_CONF_PRIORITY_HIGH},
                                              {"MEDIUM", MD_CONF_PRIORITY_MEDIUM},
                                              {"LOW", MD_CONF_PRIORITY_LOW},
                                              {NULL, 0}};

/* One attribute at the start of `text`, up to a '/' or the end; *ret_rest is what follows. */
static bool parse_element(const char *text, uint32_t *ret_tag, const char **ret_rest)
{
    size_t length = strcspn(text, "/");
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        if (strlen(keywords[i].keyword) == length &&
            strncmp(keywords[i].keyword, text, length) == 0) {
            *ret_tag = keywords[i].tag;
            *ret_rest = text + length;
            return true;
        }
    }
    if (length != 9 || text[4] != ',' || strspn(text, "0123456789abcdefABCDEF") != 4 ||
        strspn(text + 5, "0123456789abcdefABCDEF") != 4) {
        return false;
    }
    *ret_tag = (uint32_t)strtoul(text, NULL, 16) << 16 | (uint32_t)strtoul(text + 5, NULL, 16);
    *ret_rest = text + length;
    return *ret_tag >> 16 >= 8 && *ret_tag < 0x7fe00000; /* no pixels, no meta data */
}

static bool parse_tag(const char *text, uint32_t *ret_sequence, uint32_t *ret_element)
{
    const char *rest = NULL;
    *ret_sequence = 0;
    if (!parse_element(text, ret_element, &rest)) {
        return false;
    }
    if (*rest == '/') {
        *ret_sequence = *ret_element;
        return parse_element(rest + 1, ret_element, &rest) && *rest == '\0';
    }
    return true;
}

static const char *check_tag(const char *text)
{
    uint32_t sequence, element;
    return parse_tag(text, &sequence, &element)
               ? NULL
               : "an attribute as Modality or 0008,0060, or one of a sequence's first item as "
                 "0040,0275/0040,0007";
}

static bool parse_time(const char *text, unsigned *ret_from, unsigned *ret_until)
{
    unsigned n[4];
    char end;
    if (strlen(text) != 11 || strspn(text, "0123456789:-") != 11 ||
        sscanf(text, "%2u:%2u-%2u:%2u%c", &n[0], &n[1], &n[2], &n[3], &end) != 4 || n[0] > 23 ||
        n[2] > 24 || n[1] > 59 || n[3] > 59 || (n[2] == 24 && n[3] > 0)) {
        return false;
    }
    *ret_from = n[0] * 60 + n[1];
    *ret_until = n[2] * 60 + n[3];
    return *ret_from != *ret_until;
}

static const char *check_time(const char *text)
{
    unsigned from, until;
    return parse_time(text, &from, &until) ? NULL : "a time of day as \"22:00-06:00\"";
}

static const char *check_label(const char *text)
{
    return strchr(text, '\\') == NULL ? NULL : "text without backslash";
}

static const md_schema_field value_item = {
    .key = "value", .type = MD_SCHEMA_TEXT, .size_bytes = MD_RULES_VALUE_BYTES};
static const md_schema_field ae_item = {.key = "ae_title",
                                        .type = MD_SCHEMA_TEXT,
                                        .size_bytes = sizeof(md_rule_ae),
                                        .least = 1,
                                        .check = md_conf_check_ae_title};
static const md_schema_field number_item = {.key = "number",
                                            .type = MD_SCHEMA_REAL,
                                            .size_bytes = sizeof(double),
                                            .least = -1e15,
                                            .most = 1e15};
static const md_schema_field weekday_item = {
    .key = "weekday", .type = MD_SCHEMA_ENUM, .size_bytes = sizeof(int), .choices = weekdays};

/* clang-format off */
#define F_AT(member_) MD_SCHEMA_AT(md_rule_finding, member_)
static const md_schema_field finding_fields[] = {
    {.key = "model", .type = MD_SCHEMA_TEXT, F_AT(model), .check = md_schema_check_slug},
    {.key = "key", .type = MD_SCHEMA_TEXT, F_AT(key)},
    {.key = "code", .type = MD_SCHEMA_TEXT, F_AT(code)},
    {.key = "scheme", .type = MD_SCHEMA_TEXT, F_AT(scheme)},
    {.key = "presence", .type = MD_SCHEMA_ENUM, F_AT(presence), .choices = presences,
     .has_offset = offsetof(md_rule_finding, has_presence)},
    {.key = "score_at_least", .type = MD_SCHEMA_REAL, F_AT(at_least), .least = 0, .most = 1,
     .has_offset = offsetof(md_rule_finding, has_at_least)},
    {.key = "score_at_most", .type = MD_SCHEMA_REAL, F_AT(at_most), .least = 0, .most = 1,
     .has_offset = offsetof(md_rule_finding, has_at_most)},
    {.key = NULL},
};
static const md_schema_field finding_item = {
    .key = "finding", .type = MD_SCHEMA_MAP, .fields = finding_fields,
    .line_offset = offsetof(md_rule_finding, line)};

#define FINDINGS(name_)                                                                        \
    {.key = #name_, .type = MD_SCHEMA_LIST, MD_SCHEMA_AT(md_rule_findings, name_),             \
     .item = &finding_item, .max_items = MD_RULES_MAX_VALUES, .least = 1,                      \
     .n_offset = offsetof(md_rule_findings, n_##name_),                                        \
     .owned_bytes = sizeof(md_rule_finding)}
static const md_schema_field findings_fields[] = {
    FINDINGS(any_of), FINDINGS(all_of), FINDINGS(none_of), {.key = NULL}};

enum {
    N_CONDITION_FIELDS = 16
};
static const md_schema_field condition_fields[N_CONDITION_FIELDS];
static const md_schema_field condition_item = {
    .key = "condition", .type = MD_SCHEMA_MAP, .fields = condition_fields,
    .line_offset = offsetof(md_rule_condition, line)};

#define C_AT(member_) MD_SCHEMA_AT(md_rule_condition, member_)
#define C_LIST(key_, item_)                                                                    \
    {.key = #key_, .type = MD_SCHEMA_LIST, C_AT(key_), .item = &(item_), .least = 1,           \
     .max_items = MD_RULES_MAX_VALUES, .n_offset = offsetof(md_rule_condition, n_##key_),      \
     .owned_bytes = sizeof(*((md_rule_condition *)0)->key_)
static const md_schema_field condition_fields[N_CONDITION_FIELDS] = {
    {.key = "tag", .type = MD_SCHEMA_TEXT, C_AT(tag), .least = 1, .check = check_tag,
     .example = "StudyDescription", .help = "An attribute of the images, with one of the next "
     "five keys. All keys of one condition must hold for one image."},
    {.key = "eq", .type = MD_SCHEMA_TEXT, C_AT(eq), .example = "DX",
     .has_offset = offsetof(md_rule_condition, has_eq), .help = "It has this value."},
    C_LIST(in, value_item), .example = "[CR, DX]", .help = "It has one of these values."},
    {.key = "range", .type = MD_SCHEMA_LIST, C_AT(range), .item = &number_item, .max_items = 2,
     .n_offset = offsetof(md_rule_condition, n_range), .example = "[512, 4096]",
     .help = "It is a number from the first to the second."},
    {.key = "exists", .type = MD_SCHEMA_BOOL, C_AT(exists), .example = "true",
     .has_offset = offsetof(md_rule_condition, has_exists),
     .help = "It is there with a value, or it is not."},
    {.key = "regex", .type = MD_SCHEMA_TEXT, C_AT(regex), .least = 1, .example = "(?i)thorax",
     .help = "It holds a match of this regular expression (PCRE2)."},
    C_LIST(source_ae, ae_item), .example = "[ER_XRAY]", .help = "The AE title of the sender."},
    C_LIST(called_ae, ae_item), .example = "[MEDAID_ER]",
     .help = "One of medaid's AE titles that the study was sent to."},
    {.key = "time", .type = MD_SCHEMA_TEXT, C_AT(time), .check = check_time,
     .example = "22:00-06:00",
     .help = "The local time at which the study was complete; the end is not included."},
    {.key = "weekday", .type = MD_SCHEMA_LIST, C_AT(weekday), .item = &weekday_item,
     .max_items = 7, .n_offset = offsetof(md_rule_condition, n_weekday), .example = "[sat, sun]",
     .help = "The day at which it was complete."},
    {.key = "finding", .type = MD_SCHEMA_MAP, C_AT(finding), .fields = finding_fields,
     .owned_bytes = sizeof(md_rule_finding), .example = "{key: pneumonia, presence: present}",
     .help = "A model found this: model, key, code, scheme, presence, score_at_least, "
     "score_at_most, each only if given."},
    {.key = "findings", .type = MD_SCHEMA_MAP, C_AT(findings), .fields = findings_fields,
     .owned_bytes = sizeof(md_rule_findings), .example = "{none_of: [{key: nodule}]}",
     .help = "any_of, all_of, none_of: lists of such findings."},
    C_LIST(all, condition_item), .example = "[{tag: Modality, eq: DX}]",
     .help = "Conditions that all hold."},
    C_LIST(any, condition_item), .example = "[{weekday: [sat]}, {weekday: [sun]}]",
     .help = "Conditions of which one holds."},
    {.key = "not", .type = MD_SCHEMA_MAP, C_AT(not_this), .fields = condition_fields,
     .owned_bytes = sizeof(md_rule_condition), .example = "{source_ae: [TEST]}",
     .help = "A condition that does not hold."},
    {.key = NULL},
};

#define D_AT(member_) MD_SCHEMA_AT(md_rule_destination, member_)
static const md_schema_field destination_fields[] = {
    {.key = "name", .type = MD_SCHEMA_TEXT, D_AT(name), .required = true, .least = 1,
     .check = md_schema_check_slug, .example = "pacs", .help = "Its name."},
    {.key = "results", .type = MD_SCHEMA_ENUM, D_AT(results), .choices = results,
     .has_offset = offsetof(md_rule_destination, has_results), .example = "both",
     .help = "In place of the destination's own key."},
    {.key = "originals", .type = MD_SCHEMA_ENUM, D_AT(originals), .choices = originals,
     .has_offset = offsetof(md_rule_destination, has_originals), .example = "after",
     .help = "The same; before only in a rule that asks for no finding."},
    {.key = NULL},
};
static const md_schema_field destination_item = {
    .key = "destination", .type = MD_SCHEMA_MAP, .fields = destination_fields,
    .line_offset = offsetof(md_rule_destination, line)};

#define R_AT(member_) MD_SCHEMA_AT(md_rule, member_)
static const md_schema_field then_fields[] = {
    {.key = "models", .type = MD_SCHEMA_LIST, R_AT(then.models), .item = &md_conf_name_item,
     .max_items = MD_CONF_MAX_NAMES, .n_offset = offsetof(md_rule, then.n_models),
     .has_offset = offsetof(md_rule, then.has_models), .owned_bytes = 65,
     .example = "[chest-pneumonia]",
     .help = "Only these models run, of those that the AE title runs; []: none."},
    {.key = "priority", .type = MD_SCHEMA_ENUM, R_AT(then.priority), .choices = priorities,
     .has_offset = offsetof(md_rule, then.has_priority), .example = "HIGH",
     .help = "In the queue, if no finding is asked for, and of the workitem."},
    {.key = "destinations", .type = MD_SCHEMA_LIST, R_AT(then.destinations),
     .item = &destination_item, .max_items = MD_CONF_MAX_DESTINATIONS,
     .n_offset = offsetof(md_rule, then.n_destinations),
     .has_offset = offsetof(md_rule, then.has_destinations),
     .owned_bytes = sizeof(md_rule_destination),
     .help = "Who gets the results, in place of those of the AE title."},
    {.key = "notify", .type = MD_SCHEMA_LIST, R_AT(then.notify), .item = &md_conf_name_item,
     .max_items = MD_CONF_MAX_NAMES, .n_offset = offsetof(md_rule, then.n_notify),
     .owned_bytes = 65, .example = "[ris]", .help = "Notifiers that tell of it, whatever their "
     "key `on` says."},
    {.key = "ups", .type = MD_SCHEMA_BOOL, R_AT(then.ups), .fallback = "false",
     .help = "true: the workitem has the priority and the label of this rule."},
    {.key = "ups_label", .type = MD_SCHEMA_TEXT, R_AT(then.ups_label), .check = check_label,
     .example = "URGENT", .help = "Worklist Label (0074,1202), in place of ups.worklist_label."},
    {.key = NULL},
};
static const md_schema_field rule_fields[] = {
    {.key = "name", .type = MD_SCHEMA_TEXT, R_AT(name), .required = true, .least = 1,
     .check = md_schema_check_slug, .example = "emergency",
     .help = "For the log; each only once."},
    {.key = "when", .type = MD_SCHEMA_MAP, R_AT(when), .fields = condition_fields,
     .owned_bytes = sizeof(md_rule_condition),
     .example = "{tag: Modality, in: [CR, DX], source_ae: [ER_XRAY]}",
     .help = "The condition; without this key: always. docs/rules.md has all keys."},
    {.key = "then", .type = MD_SCHEMA_MAP, .fields = then_fields,
     .help = "What is done."},
    {.key = NULL},
};
const md_schema_field md_conf_rule_item = {.key = "rule", .type = MD_SCHEMA_MAP,
                                           .fields = rule_fields,
                                           .line_offset = offsetof(md_rule, line)};
/* clang-format on */

/* What is needed to say where something is wrong. */
typedef struct place {
    const char *path;
    const md_conf *conf;
    md_rule *rule;
    md_error *err;
} place;

static md_status fail_at(const place *at, unsigned line, const char *what)
{
    return md_fail(at->err, MD_FORMAT, "%s:%u: rule '%s': %s", at->path,
                   line != 0 ? line : at->rule->line, at->rule->name, what);
}

static md_status check_regex(const place *at, const md_rule_condition *c)
{
    int code = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)c->regex, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &offset, NULL);
    if (compiled == NULL) {
        char reason[128] = "";
        char text[200];
        (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
        snprintf(text, sizeof text, "regex: %s at character %zu", reason, (size_t)offset);
        return fail_at(at, c->line, text);
    }
    pcre2_code_free(compiled);
    return MD_OK;
}

static md_status check_findings(const place *at, const md_rule_finding *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i].has_at_least && list[i].has_at_most && list[i].at_least > list[i].at_most) {
            return fail_at(at, list[i].line, "score_at_least is above score_at_most");
        }
    }
    return MD_OK;
}

static md_status check_condition(const place *at, md_rule_condition *c)
{
    int n_tests =
        c->has_eq + (c->n_in > 0) + (c->n_range > 0) + c->has_exists + (c->regex[0] != '\0');
    bool has_other = c->n_source_ae > 0 || c->n_called_ae > 0 || c->time[0] != '\0' ||
                     c->n_weekday > 0 || c->finding != NULL || c->findings != NULL ||
                     c->n_all > 0 || c->n_any > 0 || c->not_this != NULL;
    if (c->tag[0] != '\0' && n_tests == 0) {
        return fail_at(at, c->line, "`tag` without eq, in, range, exists or regex");
    }
    if (c->tag[0] == '\0' && n_tests > 0) {
        return fail_at(at, c->line, "eq, in, range, exists or regex without `tag`");
    }
    if (c->tag[0] == '\0' && !has_other) {
        return fail_at(at, c->line, "a condition that asks for nothing");
    }
    if (c->n_range > 0 && (c->n_range != 2 || c->range[0] > c->range[1])) {
        return fail_at(at, c->line, "range: expected [low, high]");
    }
    if (c->tag[0] != '\0') {
        (void)parse_tag(c->tag, &c->sequence, &c->element);
    }
    if (c->time[0] != '\0') {
        (void)parse_time(c->time, &c->from_min, &c->until_min);
    }
    if (c->regex[0] != '\0') {
        MD_TRY(check_regex(at, c));
    }
    if (c->finding != NULL) {
        MD_TRY(check_findings(at, c->finding, 1));
    }
    if (c->findings != NULL) {
        const md_rule_findings *f = c->findings;
        if (f->n_any_of + f->n_all_of + f->n_none_of == 0) {
            return fail_at(at, c->line, "`findings` without any_of, all_of or none_of");
        }
        MD_TRY(check_findings(at, f->any_of, f->n_any_of));
        MD_TRY(check_findings(at, f->all_of, f->n_all_of));
        MD_TRY(check_findings(at, f->none_of, f->n_none_of));
    }
    at->rule->needs_findings =
        at->rule->needs_findings || c->finding != NULL || c->findings != NULL;
    for (unsigned i = 0; i < c->n_all; i++) {
        MD_TRY(check_condition(at, &c->all[i]));
    }
    for (unsigned i = 0; i < c->n_any; i++) {
        MD_TRY(check_condition(at, &c->any[i]));
    }
    return c->not_this != NULL ? check_condition(at, c->not_this) : MD_OK;
}

static md_status check_then(const place *at)
{
    const md_rule *rule = at->rule;
    char text[200];
    for (unsigned i = 0; i < rule->then.n_destinations; i++) {
        const md_rule_destination *to = &rule->then.destinations[i];
        if (!md_conf_has_destination(at->conf, to->name)) {
            snprintf(text, sizeof text, "'%s' is not the name of a destination", to->name);
            return fail_at(at, to->line, text);
        }
        if (rule->needs_findings && to->has_originals && to->originals == MD_ORIGINALS_BEFORE) {
            return fail_at(at, to->line,
                           "originals: before, but its findings are known after the analysis");
        }
    }
    for (unsigned i = 0; i < rule->then.n_notify; i++) {
        bool is_known = false;
        for (unsigned k = 0; k < at->conf->n_notifiers; k++) {
            is_known =
                is_known || strcmp(at->conf->notifiers[k].name, rule->then.notify[i]) == 0;
        }
        if (!is_known) {
            snprintf(text, sizeof text, "'%s' is not the name of a notifier",
                     rule->then.notify[i]);
            return fail_at(at, 0, text);
        }
    }
    if (rule->needs_findings && rule->then.has_models) {
        return fail_at(at, 0, "models, but its findings are known after they have run");
    }
    if (rule->then.ups_label[0] != '\0' && !rule->then.ups) {
        return fail_at(at, 0, "ups_label without ups: true");
    }
    return MD_OK;
}

unsigned md_conf_rule_tags(const md_rule_condition *c, uint32_t (*ret_tags)[2], unsigned n,
                           unsigned n_max)
{
    if (c == NULL) {
        return n;
    }
    bool is_known = c->tag[0] == '\0';
    for (unsigned i = 0; i < n && i < n_max; i++) {
        is_known = is_known || (ret_tags[i][0] == c->sequence && ret_tags[i][1] == c->element);
    }
    if (!is_known) {
        if (n < n_max) {
            ret_tags[n][0] = c->sequence;
            ret_tags[n][1] = c->element;
        }
        n++;
    }
    for (unsigned i = 0; i < c->n_all; i++) {
        n = md_conf_rule_tags(&c->all[i], ret_tags, n, n_max);
    }
    for (unsigned i = 0; i < c->n_any; i++) {
        n = md_conf_rule_tags(&c->any[i], ret_tags, n, n_max);
    }
    return md_conf_rule_tags(c->not_this, ret_tags, n, n_max);
}

md_status md_conf_check_rules(const char *path, md_conf *conf, md_error *err)
{
    uint32_t tags[MD_RULES_MAX_TAGS][2];
    unsigned n_tags = 0;
    for (unsigned i = 0; i < conf->n_rules; i++) {
        place at = {path, conf, &conf->rules[i], err};
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(conf->rules[k].name, conf->rules[i].name) == 0) {
                return fail_at(&at, 0, "an earlier rule has this name too");
            }
        }
        if (at.rule->when != NULL) {
            MD_TRY(check_condition(&at, at.rule->when));
        }
        MD_TRY(check_then(&at));
        n_tags = md_conf_rule_tags(at.rule->when, tags, n_tags, MD_RULES_MAX_TAGS);
        if (n_tags > MD_RULES_MAX_TAGS) {
            return fail_at(&at, 0, "more than 24 different attributes in all rules");
        }
    }
    return MD_OK;
}
