#include "plugins/host/manifest.h"

#include "conf/schema.h"

#include <stdlib.h>
#include <string.h>

/* A plain file name: it cannot leave the folder. */
static const char *check_file_name(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(text);
    bool fine = length > 0 && text[0] != '.' && strspn(text, allowed) == length;
    return fine ? NULL
                : "a file beside the manifest: letters, digits, '.', '_', '-', not '.' first";
}

static const char *check_sha256(const char *text)
{
    bool fine = strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
    return fine ? NULL : "a SHA-256: 64 small hexadecimal digits";
}

/* A Code String of DICOM, PS3.5 6.2: what such an attribute can hold at all. */
static const char *check_cs(const char *text)
{
    size_t length = strlen(text);
    bool fine = length >= 1 && length <= 16 &&
                strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ ") == length;
    return fine ? NULL : "a code string: 1..16 capital letters, digits, '_' and spaces";
}

static const char *check_printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < 0x21 || *text > 0x7e) {
            return "printable ASCII characters without spaces";
        }
    }
    return NULL;
}

/* "gggg,eeee", neither of the meta header nor the pixels. */
static bool parse_tag(const char *text, uint32_t *ret_tag)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    if (strlen(text) != 9 || text[4] != ',' || strspn(text, digits) != 4 ||
        strspn(text + 5, digits) != 4) {
        return false;
    }
    *ret_tag = (uint32_t)strtoul(text, NULL, 16) << 16 | (uint32_t)strtoul(text + 5, NULL, 16);
    return *ret_tag >= 0x00080000 && *ret_tag < 0x7fe00000;
}

static const char *check_tag(const char *text)
{
    uint32_t tag;
    return parse_tag(text, &tag) ? NULL : "an attribute of the dataset by number, as 0010,1030";
}

#define AT(member_) MD_SCHEMA_AT(md_manifest, member_)
#define FINDING_AT(member_) MD_SCHEMA_AT(md_manifest_finding, member_)
#define LINE(member_) .line_offset = offsetof(md_manifest, member_)
#define COUNT(member_) .n_offset = offsetof(md_manifest, member_)
#define HAS(member_) .has_offset = offsetof(md_manifest, member_)

static const md_schema_choice kinds[] = {{"image", MD_ANALYZER_IMAGE},
                                         {"text", MD_ANALYZER_TEXT},
                                         {"risk", MD_ANALYZER_RISK},
                                         {NULL, 0}};
/* Keywords of PS3.6. */
static const md_schema_choice study_texts[] = {
    {"ReasonForStudy", MD_STUDY_TEXT_REASON_FOR_STUDY},
    {"ReasonForTheRequestedProcedure", MD_STUDY_TEXT_REASON_FOR_PROCEDURE},
    {"RequestedProcedureDescription", MD_STUDY_TEXT_REQUESTED_PROCEDURE},
    {"StudyDescription", MD_STUDY_TEXT_STUDY_DESCRIPTION},
    {"AdmittingDiagnosesDescription", MD_STUDY_TEXT_ADMITTING_DIAGNOSES},
    {"AdditionalPatientHistory", MD_STUDY_TEXT_PATIENT_HISTORY},
    {"RequestedProcedureComments", MD_STUDY_TEXT_PROCEDURE_COMMENTS},
    {"ImagingServiceRequestComments", MD_STUDY_TEXT_REQUEST_COMMENTS},
    {"Report", MD_STUDY_TEXT_REPORT},
    {NULL, 0}};
static const md_schema_choice activations[] = {{"softmax", MD_TARGET_SOFTMAX},
                                               {"sigmoid", MD_TARGET_SIGMOID},
                                               {"none", MD_TARGET_SCORE},
                                               {NULL, 0}};
static const md_schema_choice precisions[] = {{"f32", 0}, {"bf16", 0}, {"int8", 0}, {NULL, 0}};
static const md_schema_choice roles[] = {
    {"report", MD_ROLE_REPORT}, {"gate", MD_ROLE_GATE}, {NULL, 0}};
static const md_schema_choice whens[] = {
    {"present", MD_PRESENCE_PRESENT}, {"absent", MD_PRESENCE_ABSENT}, {NULL, 0}};
static const md_schema_choice when_absent[] = {{"refuse", 0}, {"accept", 1}, {NULL, 0}};
static const md_schema_choice inverted_checks[] = {
    {"none", MD_GATE_INVERTED_NONE}, {"chest", MD_GATE_INVERTED_CHEST}, {NULL, 0}};
static const md_schema_choice methods[] = {{"none", MD_CALIBRATION_NONE},
                                           {"temperature", MD_CALIBRATION_TEMPERATURE},
                                           {"platt", MD_CALIBRATION_PLATT},
                                           {NULL, 0}};
static const md_schema_choice saliency_methods[] = {
    {"grad-cam", MD_SALIENCY_GRAD_CAM},
    {"grad-cam++", MD_SALIENCY_GRAD_CAM_PLUS_PLUS},
    {"integrated-gradients", MD_SALIENCY_INTEGRATED_GRADIENTS},
    {"smooth-grad", MD_SALIENCY_SMOOTH_GRAD},
    {NULL, 0}};
static const md_schema_choice saliency_baselines[] = {{"black", 0}, {"mean", 1}, {NULL, 0}};

static const md_schema_field cs_item = {.key = "word",
                                        .type = MD_SCHEMA_TEXT,
                                        .size_bytes = MD_ACCEPT_WORD_BYTES,
                                        .least = 1,
                                        .check = check_cs};
static const md_schema_field uid_item = {.key = "uid",
                                         .type = MD_SCHEMA_TEXT,
                                         .size_bytes = MD_ACCEPT_WORD_BYTES,
                                         .least = 1,
                                         .check = md_schema_check_uid};
static const md_schema_field class_item = {
    .key = "class", .type = MD_SCHEMA_INT, .size_bytes = sizeof(unsigned), .most = 4095};
static const md_schema_field share_item = {.key = "value",
                                           .type = MD_SCHEMA_REAL,
                                           .size_bytes = sizeof(double),
                                           .least = 0,
                                           .most = 1};
/* clang-format off */
static const md_schema_field network_fields[] = {
    {.key = "file", .type = MD_SCHEMA_TEXT, AT(network.file), .required = true, .least = 1,
     .check = check_file_name},
    {.key = "input", .type = MD_SCHEMA_TEXT, AT(network.input), .required = true, .least = 1},
    {.key = "output", .type = MD_SCHEMA_TEXT, AT(network.output), .required = true, .least = 1},
    {.key = "activation", .type = MD_SCHEMA_ENUM, AT(network.activation), .required = true,
     .choices = activations},
    {.key = "precision", .type = MD_SCHEMA_TEXT, AT(network.precision), .fallback = "f32",
     .choices = precisions},
    {.key = NULL},
};

static const md_schema_field text_network_fields[] = {
    {.key = "file", .type = MD_SCHEMA_TEXT, AT(network.file), .required = true, .least = 1,
     .check = check_file_name},
    {.key = "input", .type = MD_SCHEMA_TEXT, AT(network.input), .least = 1,
     .fallback = "tokens"},
    {.key = "output", .type = MD_SCHEMA_TEXT, AT(network.output), .least = 1,
     .fallback = "logits"},
    {.key = "attention", .type = MD_SCHEMA_TEXT, AT(network.attention), .least = 1,
     .fallback = "attention"},
    {.key = "activation", .type = MD_SCHEMA_ENUM, AT(network.activation), .required = true,
     .choices = activations},
    {.key = NULL},
};
const md_schema_field md_manifest_study_text_item = {
    .key = "attribute", .type = MD_SCHEMA_ENUM, .size_bytes = sizeof(int),
    .choices = study_texts};
static const md_schema_field text_fields[] = {
    {.key = "vocabulary", .type = MD_SCHEMA_TEXT, AT(text.vocabulary), .required = true,
     .least = 1, .check = check_file_name},
    {.key = "attributes", .type = MD_SCHEMA_LIST, AT(text.attributes), .required = true,
     .least = 1, .item = &md_manifest_study_text_item, .max_items = MD_EVIDENCE_MAX_PASSAGES,
     COUNT(text.n_attributes)},
    {.key = NULL},
};

#define RISK_OFFSET(member_)                                                                   \
    .offset = offsetof(md_manifest, risk.attributes[0].member_) -                              \
              offsetof(md_manifest, risk.attributes[0])
static const md_schema_field risk_attribute_item[] = {
    {.key = "name", .type = MD_SCHEMA_TEXT, RISK_OFFSET(name),
     .size_bytes = MD_EVIDENCE_NAME_BYTES, .least = 1, .check = check_printable},
    {.key = "attribute", .type = MD_SCHEMA_TEXT, RISK_OFFSET(attribute), .size_bytes = 33,
     .check = check_tag},
};
static const md_schema_field real_item = {.key = "value", .type = MD_SCHEMA_REAL,
                                          .size_bytes = sizeof(double), .least = -1e12,
                                          .most = 1e12};
static const md_schema_field risk_fields[] = {
    {.key = "file", .type = MD_SCHEMA_TEXT, AT(network.file), .required = true, .least = 1,
     .check = check_file_name},
    {.key = "least_known", .type = MD_SCHEMA_INT, AT(risk.least_known), .least = 0,
     .most = MD_EVIDENCE_MAX_TERMS, .fallback = "1"},
    {.key = "range", .type = MD_SCHEMA_LIST, AT(risk.range), .least = 1, .item = &real_item,
     .max_items = 2, COUNT(risk.n_range)},
    {.key = "attributes", .type = MD_SCHEMA_DICT, AT(risk.attributes),
     .item = risk_attribute_item, .max_items = MD_RISK_MAX_ATTRIBUTES,
     COUNT(risk.n_attributes)},
    {.key = NULL},
};

#define WORDS(key_, item_)                                                                     \
    {                                                                                          \
        .key = #key_, .type = MD_SCHEMA_LIST, AT(accept.key_.words), .item = &(item_),         \
        .max_items = MD_ACCEPT_MAX_WORDS, COUNT(accept.key_.n)                                 \
    }
static const md_schema_field accepts_fields[] = {
    WORDS(modality, cs_item),
    WORDS(sop_class, uid_item),
    WORDS(body_part, cs_item),
    WORDS(view, cs_item),
    WORDS(photometric, cs_item),
    {.key = "when_body_part_absent", .type = MD_SCHEMA_ENUM, AT(accept.when_body_part_absent),
     .fallback = "refuse", .choices = when_absent},
    {.key = "when_view_absent", .type = MD_SCHEMA_ENUM, AT(accept.when_view_absent),
     .fallback = "refuse", .choices = when_absent},
    {.key = "min_age_years", .type = MD_SCHEMA_REAL, AT(accept.min_age_years), .least = 0,
     .most = 150, .unit = "years", .fallback = "0"},
    {.key = "max_age_years", .type = MD_SCHEMA_REAL, AT(accept.max_age_years), .least = 0,
     .most = 150, .unit = "years", .fallback = "150"},
    {.key = NULL},
};

static const md_schema_field after_fields[] = {
    {.key = "model", .type = MD_SCHEMA_TEXT, AT(after.model), .required = true, .least = 1,
     .check = md_schema_check_slug},
    {.key = "finding", .type = MD_SCHEMA_TEXT, AT(after.finding), .required = true, .least = 1,
     .check = md_schema_check_slug},
    {.key = "when", .type = MD_SCHEMA_ENUM, AT(after.when), .fallback = "present",
     .choices = whens},
    {.key = NULL},
};

static const md_schema_field quality_fields[] = {
    {.key = "min_rows", .type = MD_SCHEMA_INT, AT(gate.min_rows), .least = 1, .most = 32768,
     .fallback = "1"},
    {.key = "min_columns", .type = MD_SCHEMA_INT, AT(gate.min_columns), .least = 1,
     .most = 32768, .fallback = "1"},
    {.key = "min_contrast", .type = MD_SCHEMA_REAL, AT(gate.min_contrast), .least = 0,
     .most = 1, .fallback = "0"},
    {.key = "max_aspect", .type = MD_SCHEMA_REAL, AT(gate.max_aspect), .least = 1,
     .most = 32768, .fallback = "32768"},
    {.key = "inverted_check", .type = MD_SCHEMA_ENUM, AT(gate.inverted_check),
     .fallback = "none", .choices = inverted_checks},
    {.key = NULL},
};

static const md_schema_field calibration_fields[] = {
    {.key = "method", .type = MD_SCHEMA_ENUM, AT(calibration.method), .required = true,
     .choices = methods},
    {.key = "temperature", .type = MD_SCHEMA_REAL, AT(calibration.temperature), .least = 0.01,
     .most = 100, .fallback = "1"},
    {.key = "a", .type = MD_SCHEMA_REAL, AT(calibration.a), .least = -1000, .most = 1000,
     .fallback = "1"},
    {.key = "b", .type = MD_SCHEMA_REAL, AT(calibration.b), .least = -1000, .most = 1000,
     .fallback = "0"},
    {.key = "error", .type = MD_SCHEMA_REAL, AT(calibration.error), .least = 0, .most = 1,
     .has_offset = offsetof(md_manifest, calibration.has_error)},
    {.key = NULL},
};

#define CODE_FIELDS(name_, member_)                                                            \
    static const md_schema_field name_[] = {                                                   \
        {.key = "code", .type = MD_SCHEMA_TEXT, FINDING_AT(spec.member_.value),                \
         .required = true, .least = 1, .check = check_printable},                              \
        {.key = "scheme", .type = MD_SCHEMA_TEXT, FINDING_AT(spec.member_.scheme),             \
         .required = true, .least = 1, .check = check_printable},                              \
        {.key = "meaning", .type = MD_SCHEMA_TEXT, FINDING_AT(spec.member_.meaning),           \
         .required = true, .least = 1},                                                        \
        {.key = NULL},                                                                         \
    }
CODE_FIELDS(concept_fields, concept);
CODE_FIELDS(site_fields, site);

#define FINDING_HEAD                                                                           \
    {.key = "key", .type = MD_SCHEMA_TEXT, FINDING_AT(spec.key), .required = true, .least = 1, \
     .check = md_schema_check_slug},                                                           \
    {.key = "concept", .type = MD_SCHEMA_MAP, .fields = concept_fields, .required = true},     \
    {.key = "site", .type = MD_SCHEMA_MAP, .fields = site_fields}
#define FINDING_CLASSES                                                                        \
    {.key = "classes", .type = MD_SCHEMA_LIST, FINDING_AT(classes), .required = true,          \
     .least = 1, .item = &class_item, .max_items = MD_MANIFEST_MAX_CLASSES,                    \
     .n_offset = offsetof(md_manifest_finding, n_classes)}
#define FINDING_TAIL(...)                                                                      \
    {.key = "threshold", .type = MD_SCHEMA_REAL, FINDING_AT(spec.threshold), __VA_ARGS__,      \
     .least = 0, .most = 1},                                                                   \
    {.key = "undetermined", .type = MD_SCHEMA_LIST, FINDING_AT(undetermined), .least = 1,      \
     .item = &share_item, .max_items = 2,                                                      \
     .n_offset = offsetof(md_manifest_finding, n_undetermined),                                \
     .has_offset = offsetof(md_manifest_finding, spec.has_undetermined)},                      \
    {.key = "urgent", .type = MD_SCHEMA_BOOL, FINDING_AT(spec.urgent), .fallback = "false"},   \
    {.key = NULL}
#define FINDING_ITEM(fields_)                                                                  \
    {.key = "finding", .type = MD_SCHEMA_MAP, .fields = fields_,                               \
     .line_offset = offsetof(md_manifest_finding, line)}
static const md_schema_field finding_fields[] = {FINDING_HEAD, FINDING_CLASSES,
                                                 FINDING_TAIL(.required = true)};
/* Of a recipe, whose threshold the evaluation may choose. */
static const md_schema_field recipe_finding_fields[] = {FINDING_HEAD, FINDING_CLASSES,
                                                        FINDING_TAIL(.fallback = "0.5")};
/* Of a risk, which has one number. */
static const md_schema_field risk_finding_fields[] = {FINDING_HEAD,
                                                      FINDING_TAIL(.required = true)};
static const md_schema_field finding_item = FINDING_ITEM(finding_fields);
static const md_schema_field recipe_finding_item = FINDING_ITEM(recipe_finding_fields);
static const md_schema_field risk_finding_item = FINDING_ITEM(risk_finding_fields);

static const md_schema_field saliency_fields[] = {
    {.key = "method", .type = MD_SCHEMA_ENUM, AT(saliency.method), .required = true,
     .choices = saliency_methods},
    {.key = "features", .type = MD_SCHEMA_TEXT, AT(saliency.features), .least = 1,
     HAS(saliency.has_features)},
    {.key = "steps", .type = MD_SCHEMA_INT, AT(saliency.steps), .least = MD_SALIENCY_MIN_STEPS,
     .most = MD_SALIENCY_MAX_STEPS, .fallback = "32", HAS(saliency.has_steps)},
    {.key = "baseline", .type = MD_SCHEMA_ENUM, AT(saliency.baseline),
     .choices = saliency_baselines, .fallback = "black", HAS(saliency.has_baseline)},
    {.key = "samples", .type = MD_SCHEMA_INT, AT(saliency.samples),
     .least = MD_SALIENCY_MIN_SAMPLES, .most = MD_SALIENCY_MAX_SAMPLES, .fallback = "16",
     HAS(saliency.has_samples)},
    {.key = "noise", .type = MD_SCHEMA_REAL, AT(saliency.noise), .least = 0.01, .most = 0.5,
     .fallback = "0.15", HAS(saliency.has_noise)},
    {.key = "seed", .type = MD_SCHEMA_INT, AT(saliency.seed), .least = 0, .most = 4294967295.0,
     .fallback = "1", HAS(saliency.has_seed)},
    {.key = "cell", .type = MD_SCHEMA_INT, AT(saliency.cell), .least = 1,
     .most = MD_SALIENCY_MAX_CELL, .fallback = "1", HAS(saliency.has_cell)},
    {.key = NULL},
};

#define NOTE_OFFSET(member_)                                                                   \
    .offset = offsetof(md_manifest, training[0].member_) - offsetof(md_manifest, training[0])
static const md_schema_field training_item[] = {
    {.key = "key", .type = MD_SCHEMA_TEXT, NOTE_OFFSET(key), .size_bytes = 33, .least = 1},
    {.key = "text", .type = MD_SCHEMA_TEXT, NOTE_OFFSET(text),
     .size_bytes = MD_MANIFEST_NOTE_BYTES, .least = 1},
};

#define MEASURE(key_)                                                                          \
    {                                                                                          \
        .key = #key_, .type = MD_SCHEMA_LIST, AT(performance.key_.values), .least = 1,         \
        .item = &share_item, .max_items = 3, COUNT(performance.key_.n)                         \
    }
static const md_schema_field performance_fields[] = {
    {.key = "set", .type = MD_SCHEMA_TEXT, AT(performance.set), .required = true, .least = 1},
    {.key = "n_images", .type = MD_SCHEMA_INT, AT(performance.n_images), .required = true,
     .least = 1, .most = 1e9},
    {.key = "n_patients", .type = MD_SCHEMA_INT, AT(performance.n_patients), .least = 1,
     .most = 1e9},
    MEASURE(accuracy),
    MEASURE(sensitivity),
    MEASURE(specificity),
    MEASURE(f1),
    MEASURE(auc),
    {.key = NULL},
};

static const md_schema_field self_test_fields[] = {
    {.key = "input", .type = MD_SCHEMA_TEXT, AT(self_test.input), .required = true, .least = 1,
     .check = check_file_name},
    {.key = "expected", .type = MD_SCHEMA_TEXT, AT(self_test.expected), .required = true,
     .least = 1, .check = check_file_name},
    {.key = "tolerance", .type = MD_SCHEMA_REAL, AT(self_test.tolerance), .required = true,
     .least = 0, .most = 1},
    {.key = NULL},
};

#define FILE_OFFSET(member_)                                                                   \
    .offset = offsetof(md_manifest, files[0].member_) - offsetof(md_manifest, files[0])
static const md_schema_field files_item[] = {
    {.key = "name", .type = MD_SCHEMA_TEXT, FILE_OFFSET(name),
     .size_bytes = MD_MANIFEST_NAME_BYTES, .least = 1, .check = check_file_name},
    {.key = "sha256", .type = MD_SCHEMA_TEXT, FILE_OFFSET(sha256), .size_bytes = 65,
     .least = 1, .check = check_sha256},
};

#define IDENTITY_FIELDS                                                                        \
    {.key = "id", .type = MD_SCHEMA_TEXT, AT(id), .required = true, .least = 1,                \
     .check = md_schema_check_slug},                                                           \
    {.key = "version", .type = MD_SCHEMA_TEXT, AT(version), .required = true, .least = 1,      \
     .check = check_printable},                                                                \
    {.key = "name", .type = MD_SCHEMA_TEXT, AT(name), .required = true, .least = 1},           \
    {.key = "manufacturer", .type = MD_SCHEMA_TEXT, AT(manufacturer), .required = true,        \
     .least = 1}
#define ACCEPTS_FIELD                                                                          \
    {.key = "accepts", .type = MD_SCHEMA_MAP, .fields = accepts_fields, .required = true,      \
     LINE(accepts_line)}
#define ACCEPT_FIELDS                                                                          \
    ACCEPTS_FIELD,                                                                             \
    {.key = "required", .type = MD_SCHEMA_MAP, .offset = offsetof(md_manifest, required),      \
     .fields = md_required_manifest_fields, LINE(required.line)},                              \
    {.key = "quality", .type = MD_SCHEMA_MAP, .fields = quality_fields},                       \
    {.key = "role", .type = MD_SCHEMA_ENUM, AT(role), .fallback = "report", .choices = roles}, \
    {.key = "after", .type = MD_SCHEMA_MAP, .fields = after_fields, LINE(after.line),          \
     HAS(has_after)}
#define FINDINGS_FIELD(item_)                                                                  \
    {.key = "findings", .type = MD_SCHEMA_LIST, AT(findings), .required = true, .least = 1,    \
     .item = &(item_), .max_items = MD_RESULT_MAX_FINDINGS, COUNT(n_findings)}
#define SALIENCY_FIELD                                                                         \
    {.key = "saliency", .type = MD_SCHEMA_MAP, .fields = saliency_fields, LINE(saliency.line), \
     .has_offset = offsetof(md_manifest, saliency.there)}
#define TRAINING_FIELD                                                                         \
    {.key = "training", .type = MD_SCHEMA_DICT, AT(training), .item = training_item,           \
     .max_items = MD_MANIFEST_MAX_NOTES, COUNT(n_training)}
#define INTENDED_USE_FIELD                                                                     \
    {.key = "intended_use", .type = MD_SCHEMA_TEXT, AT(intended_use), .required = true,        \
     .least = 1}

#define KIND_FIELDS                                                                            \
    {.key = "medaid_model", .type = MD_SCHEMA_INT, AT(schema_version), .required = true,       \
     .least = 1, .most = 1},                                                                   \
    IDENTITY_FIELDS,                                                                           \
    {.key = "kind", .type = MD_SCHEMA_ENUM, AT(kind), .required = true, .choices = kinds,      \
     LINE(kind_line)}
#define CALIBRATION_FIELD                                                                      \
    {.key = "calibration", .type = MD_SCHEMA_MAP, .fields = calibration_fields,                \
     LINE(calibration.line)}
#define END_FIELDS                                                                             \
    TRAINING_FIELD,                                                                            \
    {.key = "performance", .type = MD_SCHEMA_MAP, .fields = performance_fields,                \
     LINE(performance.line)},                                                                  \
    INTENDED_USE_FIELD,                                                                        \
    {.key = "self_test", .type = MD_SCHEMA_MAP, .fields = self_test_fields, .required = true,  \
     LINE(self_test.line)},                                                                    \
    {.key = "files", .type = MD_SCHEMA_DICT, AT(files), .item = files_item, .required = true,  \
     .least = 1, .max_items = MD_MANIFEST_MAX_FILES, COUNT(n_files), LINE(files_line)},        \
    {.key = NULL}
#define NETWORK_FIELD(fields_)                                                                 \
    {.key = "network", .type = MD_SCHEMA_MAP, .fields = fields_, .required = true,             \
     LINE(network.line)}

static const md_schema_field image_manifest[] = {
    KIND_FIELDS,
    NETWORK_FIELD(network_fields),
    ACCEPT_FIELDS,
    {.key = "preprocess", .type = MD_SCHEMA_MAP, .offset = offsetof(md_manifest, preprocess),
     .fields = md_preprocess_spec_fields, .required = true, LINE(preprocess.line)},
    {.key = "test_time", .type = MD_SCHEMA_MAP, .offset = offsetof(md_manifest, test_time),
     .fields = md_test_time_fields, LINE(test_time_line), HAS(has_test_time)},
    CALIBRATION_FIELD,
    FINDINGS_FIELD(finding_item),
    SALIENCY_FIELD,
    END_FIELDS,
};
static const md_schema_field text_manifest[] = {
    KIND_FIELDS,
    NETWORK_FIELD(text_network_fields),
    {.key = "text", .type = MD_SCHEMA_MAP, .fields = text_fields, .required = true,
     LINE(text.line)},
    ACCEPTS_FIELD,
    CALIBRATION_FIELD,
    FINDINGS_FIELD(finding_item),
    END_FIELDS,
};
static const md_schema_field risk_manifest[] = {
    KIND_FIELDS,
    {.key = "risk", .type = MD_SCHEMA_MAP, .fields = risk_fields, .required = true,
     LINE(risk.line)},
    ACCEPTS_FIELD,
    FINDINGS_FIELD(risk_finding_item),
    END_FIELDS,
};
static const md_schema_field *const manifests[] = {[MD_ANALYZER_IMAGE] = image_manifest,
                                                   [MD_ANALYZER_TEXT] = text_manifest,
                                                   [MD_ANALYZER_RISK] = risk_manifest};

const md_schema_field md_manifest_recipe_fields[] = {
    IDENTITY_FIELDS, ACCEPT_FIELDS,  FINDINGS_FIELD(recipe_finding_item),
    SALIENCY_FIELD,  TRAINING_FIELD, INTENDED_USE_FIELD,
    {.key = "precision",
     .type = MD_SCHEMA_TEXT,
     AT(network.precision),
     .choices = precisions,
     .fallback = "f32"},
    {.key = NULL},
};
/* clang-format on */

md_status md_manifest_write(const md_manifest *manifest, FILE *out, md_error *err)
{
    return md_schema_write(manifests[manifest->kind], manifest, out, err);
}

const char *md_manifest_sha256(const md_manifest *manifest, const char *name)
{
    for (unsigned i = 0; i < manifest->n_files; i++) {
        if (strcmp(manifest->files[i].name, name) == 0) {
            return manifest->files[i].sha256;
        }
    }
    return NULL;
}

static md_status check_finding(const md_manifest *m, unsigned index, const char *name,
                               md_error *err)
{
    const md_manifest_finding *f = &m->findings[index];
    for (unsigned i = 0; i < index; i++) {
        if (strcmp(m->findings[i].spec.key, f->spec.key) == 0) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'findings[%u].key': got '%s', the key of findings[%u] "
                           "too, expected different ones",
                           name, f->line, index, f->spec.key, i);
        }
    }
    for (unsigned i = 0; i < f->n_classes; i++) {
        for (unsigned j = 0; j < i; j++) {
            if (f->classes[i] == f->classes[j]) {
                return md_fail(err, MD_FORMAT,
                               "%s:%u: key 'findings[%u].classes': %u stands there twice", name,
                               f->line, index, f->classes[i]);
            }
        }
    }
    if (m->kind != MD_ANALYZER_RISK && m->network.activation != MD_TARGET_SOFTMAX &&
        f->n_classes != 1) {
        return md_fail(
            err, MD_FORMAT,
            "%s:%u: key 'findings[%u].classes': got %u, expected exactly 1 with this "
            "network.activation",
            name, f->line, index, f->n_classes);
    }
    if (f->spec.has_undetermined &&
        (f->n_undetermined != 2 || f->undetermined[0] > f->spec.threshold ||
         f->undetermined[1] < f->spec.threshold)) {
        return md_fail(
            err, MD_FORMAT,
            "%s:%u: key 'findings[%u].undetermined': expected [low, high] around the "
            "threshold %g",
            name, f->line, index, f->spec.threshold);
    }
    return MD_OK;
}

md_status md_manifest_check_saliency(md_manifest *m, const md_preprocess_spec *preprocess,
                                     const char *name, const char *key, md_error *err)
{
    const bool features = md_saliency_uses_features(m->saliency.method);
    const bool steps = m->saliency.method == MD_SALIENCY_INTEGRATED_GRADIENTS;
    const bool noise = m->saliency.method == MD_SALIENCY_SMOOTH_GRAD;
    const struct {
        const char *key;
        bool has, may;
    } keys[] = {
        {"features", m->saliency.has_features, features},
        {"steps", m->saliency.has_steps, steps},
        {"baseline", m->saliency.has_baseline, steps},
        {"samples", m->saliency.has_samples, noise},
        {"noise", m->saliency.has_noise, noise},
        {"seed", m->saliency.has_seed, noise},
        {"cell", m->saliency.has_cell, !features},
    };
    const char *method = md_saliency_method_name(m->saliency.method);
    if (!m->saliency.there) {
        return MD_OK;
    }
    if (m->network.activation == MD_TARGET_SCORE) {
        return md_fail(
            err, MD_FORMAT,
            "%s:%u: key '%s': %s needs logits, expected network.activation softmax or "
            "sigmoid",
            name, m->saliency.line, key, method);
    }
    /* a key that has no effect is refused: whoever wrote it believes that it has */
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (keys[i].has && !keys[i].may) {
            return md_fail(err, MD_FORMAT, "%s:%u: key '%s.%s': has no effect with %s", name,
                           m->saliency.line, key, keys[i].key, method);
        }
    }
    if (features && !m->saliency.has_features) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key '%s.features': missing, %s needs the name of a tensor "
                       "[N,C,h,w]",
                       name, m->saliency.line, key, method);
    }
    const unsigned width = preprocess->width, height = preprocess->height;
    if (!m->saliency.has_cell) { /* so that single pixels do not make the map unreadable */
        m->saliency.cell = width % 4 == 0 && height % 4 == 0   ? 4
                           : width % 2 == 0 && height % 2 == 0 ? 2
                                                               : 1;
    }
    if (!features && (width % m->saliency.cell != 0 || height % m->saliency.cell != 0)) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key '%s.cell': got %u, expected a divisor of width %u and "
                       "height %u",
                       name, m->saliency.line, key, m->saliency.cell, width, height);
    }
    return MD_OK;
}

static md_status check_measure(const md_manifest *m, const md_manifest_measure *measure,
                               const char *key, const char *name, md_error *err)
{
    if (measure->n != 0 && (measure->n != 3 || measure->values[1] > measure->values[0] ||
                            measure->values[2] < measure->values[0])) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'performance.%s': expected [value, low, high] with low <= "
                       "value <= high",
                       name, m->performance.line, key);
    }
    return MD_OK;
}

static md_status check_performance(const md_manifest *m, const char *name, md_error *err)
{
    MD_TRY(check_measure(m, &m->performance.accuracy, "accuracy", name, err));
    MD_TRY(check_measure(m, &m->performance.sensitivity, "sensitivity", name, err));
    MD_TRY(check_measure(m, &m->performance.specificity, "specificity", name, err));
    MD_TRY(check_measure(m, &m->performance.f1, "f1", name, err));
    return check_measure(m, &m->performance.auc, "auc", name, err);
}

static md_status check_files(const md_manifest *m, const char *name, md_error *err)
{
    const char *const needed[] = {m->network.file, m->self_test.input, m->self_test.expected,
                                  m->text.vocabulary};
    const size_t n_needed = sizeof needed / sizeof *needed;
    for (size_t i = 0; i < n_needed - (m->kind != MD_ANALYZER_TEXT); i++) {
        if (md_manifest_sha256(m, needed[i]) == NULL) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'files': '%s' is missing, expected its SHA-256", name,
                           m->files_line, needed[i]);
        }
    }
    if (strcmp(m->self_test.input, m->self_test.expected) == 0) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'self_test': input and expected are the same file", name,
                       m->self_test.line);
    }
    return MD_OK;
}

/* The images that count are those that the model accepts, as far as modality and body part
 * tell. A view that it does not accept may be required all the same: a lateral film shows that
 * the study is whole. */
static md_status fill_required(md_manifest *m, const char *name, md_error *err)
{
    md_required *r = &m->required;
    if (r->line != 0 && r->n_views == 0 && r->count == 0) {
        return md_fail(err, MD_FORMAT, "%s:%u: key 'required': expected views or a count", name,
                       r->line);
    }
    for (unsigned i = 0; i < m->accept.modality.n; i++) {
        /* a checked code string: at most 16 characters */
        memcpy(r->modality[r->n_modality++], m->accept.modality.words[i],
               MD_REQUIRED_WORD_BYTES);
    }
    for (unsigned i = 0; i < m->accept.body_part.n; i++) {
        memcpy(r->body_part[r->n_body_part++], m->accept.body_part.words[i],
               MD_REQUIRED_WORD_BYTES);
    }
    r->accepts_no_body_part = m->accept.when_body_part_absent == 1;
    return MD_OK;
}

/* Which table the file is read by: what its top-level line "kind:" says. A key of the outermost
 * block begins its line, and nothing else can stand there. */
static md_analyzer_kind peek_kind(const uint8_t *bytes, size_t size_bytes)
{
    static const char key[] = "kind:";
    const size_t n = sizeof key - 1;
    for (size_t i = 0; i + n < size_bytes; i++) {
        if ((i > 0 && bytes[i - 1] != '\n') || memcmp(bytes + i, key, n) != 0) {
            continue;
        }
        for (i += n; i < size_bytes && strchr(" \t'\"", bytes[i]) != NULL; i++) {
        }
        for (const md_schema_choice *c = kinds; c->word != NULL; c++) {
            const size_t length = strlen(c->word);
            if (size_bytes - i >= length && memcmp(bytes + i, c->word, length) == 0) {
                return (md_analyzer_kind)c->value;
            }
        }
        break;
    }
    return MD_ANALYZER_IMAGE;
}

static md_status check_text(const md_manifest *m, const char *name, md_error *err)
{
    for (unsigned i = 0; i < m->text.n_attributes; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (m->text.attributes[i] == m->text.attributes[k]) {
                return md_fail(err, MD_FORMAT,
                               "%s:%u: key 'text.attributes': '%s' stands there twice", name,
                               m->text.line, study_texts[m->text.attributes[i]].word);
            }
        }
    }
    if (strcmp(m->text.vocabulary, m->network.file) == 0) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'text.vocabulary': the network's file, expected another",
                       name, m->text.line);
    }
    return MD_OK;
}

md_status md_manifest_check_after(const md_manifest *m, const char *name, const char *prefix,
                                  md_error *err)
{
    if (!m->has_after && m->role == MD_ROLE_REPORT) {
        return MD_OK;
    }
    if (m->has_after && strcmp(m->after.model, m->id) == 0) {
        return md_fail(err, MD_FORMAT, "%s:%u: key '%safter.model': got the model itself", name,
                       m->after.line, prefix);
    }
    if (m->has_after && m->role == MD_ROLE_GATE) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key '%safter': a gate comes after no other model", name,
                       m->after.line, prefix);
    }
    if (m->role == MD_ROLE_GATE && m->required.line != 0) {
        return md_fail(err, MD_FORMAT, "%s:%u: key '%srequired': has no effect with role gate",
                       name, m->required.line, prefix);
    }
    return MD_OK;
}

static md_status check_risk(const md_manifest *m, const char *name, md_error *err)
{
    if (m->n_findings != 1) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'findings': got %u, expected 1: a risk has one number", name,
                       m->findings[1].line, m->n_findings);
    }
    if (m->risk.n_range != 0 &&
        (m->risk.n_range != 2 || !(m->risk.range[0] < m->risk.range[1]))) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'risk.range': expected [low, high] with low < high", name,
                       m->risk.line);
    }
    return MD_OK;
}

uint32_t md_manifest_tag(const char *attribute)
{
    uint32_t tag = 0;
    return parse_tag(attribute, &tag) ? tag : 0;
}

/* What one key of this kind cannot show. */
static md_status check_kind(md_manifest *m, const char *name, md_error *err)
{
    switch (m->kind) {
    case MD_ANALYZER_TEXT:
        return check_text(m, name, err);
    case MD_ANALYZER_RISK:
        return check_risk(m, name, err);
    case MD_ANALYZER_IMAGE:
    default:
        MD_TRY(md_manifest_check_after(m, name, "", err));
        MD_TRY(fill_required(m, name, err));
        MD_TRY(md_preprocess_spec_check(&m->preprocess, name, err));
        return md_test_time_check(&m->test_time, &m->preprocess, name, m->test_time_line,
                                  "test_time", err);
    }
}

md_status md_manifest_parse(const uint8_t *bytes, size_t size_bytes, const char *name,
                            md_manifest *ret_manifest, md_error *err)
{
    md_manifest *m = ret_manifest;
    memset(m, 0, sizeof *m);
    const md_analyzer_kind kind = peek_kind(bytes, size_bytes);
    MD_TRY(md_schema_parse(manifests[kind], bytes, size_bytes, name, m, err));
    if (m->kind != kind) {
        return md_fail(err, MD_FORMAT, "%s:%u: key 'kind': expected at the start of a line",
                       name, m->kind_line);
    }
    if (m->accept.min_age_years > m->accept.max_age_years) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'accepts': min_age_years %g is above max_age_years %g", name,
                       m->accepts_line, m->accept.min_age_years, m->accept.max_age_years);
    }
    MD_TRY(check_kind(m, name, err));
    if (m->calibration.method != MD_CALIBRATION_NONE &&
        m->network.activation == MD_TARGET_SCORE &&
        m->calibration.method != MD_CALIBRATION_PLATT) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'calibration.method': temperature needs logits, expected "
                       "none or platt with network.activation none",
                       name, m->calibration.line);
    }
    for (unsigned i = 0; i < m->n_findings; i++) {
        MD_TRY(check_finding(m, i, name, err));
        md_finding_spec *spec = &m->findings[i].spec;
        spec->undetermined_low = m->findings[i].undetermined[0];
        spec->undetermined_high = m->findings[i].undetermined[1];
        spec->score_is_probability = m->calibration.method != MD_CALIBRATION_NONE;
    }
    if (m->kind == MD_ANALYZER_IMAGE) {
        MD_TRY(md_manifest_check_saliency(m, &m->preprocess, name, "saliency", err));
    }
    MD_TRY(check_performance(m, name, err));
    return check_files(m, name, err);
}
