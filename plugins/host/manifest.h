#ifndef MEDAID_PLUGINS_HOST_MANIFEST_H
#define MEDAID_PLUGINS_HOST_MANIFEST_H

/* model.yaml, docs/model-package.md, as a struct. Read strictly (conf/schema.h), then checked
 * as a whole: what one key alone cannot show is refused here with the line of the section.
 * Pure; any thread. */

#include "inference/calibrate.h"
#include "inference/saliency.h"
#include "plugins/host/analyzer.h"
#include "plugins/host/preprocess_spec.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_MANIFEST_NAME_BYTES = 129, /* of a file or tensor name */
    MD_MANIFEST_MAX_FILES = 32,
    MD_MANIFEST_MAX_CLASSES = 64, /* of one finding */
    MD_MANIFEST_MAX_NOTES = 16,
    MD_MANIFEST_NOTE_BYTES = 1025,
};

typedef enum md_calibration_method {
    MD_CALIBRATION_NONE,
    MD_CALIBRATION_TEMPERATURE,
    MD_CALIBRATION_PLATT
} md_calibration_method;

typedef enum md_role {
    MD_ROLE_REPORT,
    MD_ROLE_GATE /* asked by models that come after it; no result of its own */
} md_role;

typedef struct md_manifest_finding {
    md_finding_spec spec;
    unsigned line; /* not first: an offset of 0 is none */
    double undetermined[2];
    unsigned n_undetermined;
    unsigned classes[MD_MANIFEST_MAX_CLASSES];
    unsigned n_classes;
} md_manifest_finding;

typedef struct md_manifest_measure {
    double values[3];
    unsigned n;
} md_manifest_measure;

typedef struct md_manifest {
    int schema_version;
    char id[MD_KEY_BYTES], version[17], name[MD_KEY_BYTES], manufacturer[MD_KEY_BYTES];
    md_analyzer_kind kind;
    unsigned kind_line;
    struct {
        unsigned line;
        char file[MD_MANIFEST_NAME_BYTES];
        char input[MD_MANIFEST_NAME_BYTES], output[MD_MANIFEST_NAME_BYTES];
        md_target activation;
        char precision[9];
        char attention[MD_MANIFEST_NAME_BYTES]; /* kind text */
    } network;                                  /* of kind risk only `file` */
    struct {                                    /* kind text */
        unsigned line;
        char vocabulary[MD_MANIFEST_NAME_BYTES];
        int attributes[MD_EVIDENCE_MAX_PASSAGES]; /* of md_study_text */
        unsigned n_attributes;
    } text;
    struct { /* kind risk */
        unsigned line;
        unsigned least_known;
        double range[2];
        unsigned n_range;
        struct {
            char name[MD_EVIDENCE_NAME_BYTES], attribute[33];
        } attributes[MD_RISK_MAX_ATTRIBUTES];
        unsigned n_attributes;
    } risk;
    unsigned accepts_line;
    md_accept accept;
    md_role role;
    bool has_after;
    md_after after;
    md_required required; /* filled up from accept: n_views and count 0 when nothing is */
    md_gate gate;
    md_preprocess_spec preprocess;
    bool has_test_time;
    unsigned test_time_line;
    md_test_time test_time;
    struct {
        unsigned line;
        md_calibration_method method;
        double temperature, a, b, error;
        bool has_error;
    } calibration;
    md_manifest_finding findings[MD_RESULT_MAX_FINDINGS];
    unsigned n_findings;
    struct {
        bool there;
        unsigned line;
        md_saliency_method method;
        char features[MD_MANIFEST_NAME_BYTES]; /* "" with methods of pixels */
        unsigned steps, samples, cell;         /* as in md_saliency_options */
        double noise;
        uint64_t seed;
        int baseline; /* 0: black, the value 0; 1: the mean of `preprocess` */
        bool has_features, has_steps, has_samples, has_cell, has_noise, has_seed, has_baseline;
    } saliency;
    struct {
        char key[33];
        char text[MD_MANIFEST_NOTE_BYTES];
    } training[MD_MANIFEST_MAX_NOTES];
    unsigned n_training;
    struct {
        char set[MD_KEY_BYTES];
        unsigned n_images, n_patients;
        md_manifest_measure accuracy, sensitivity, specificity, f1, auc;
        unsigned line;
    } performance;
    char intended_use[1025];
    struct {
        unsigned line;
        char input[MD_MANIFEST_NAME_BYTES], expected[MD_MANIFEST_NAME_BYTES];
        double tolerance;
    } self_test;
    struct {
        char name[MD_MANIFEST_NAME_BYTES];
        char sha256[65];
    } files[MD_MANIFEST_MAX_FILES];
    unsigned n_files;
    unsigned files_line;
} md_manifest;

/* `ret_manifest` (large: on the heap) is cleared first and half written on failure. `name`
 * stands before the line in messages ("chest/model.yaml"). MD_FORMAT, MD_LIMIT, MD_NOMEM. */
md_status md_manifest_parse(const uint8_t *bytes, size_t size_bytes, const char *name,
                            md_manifest *ret_manifest, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* What a training recipe says of the package that it leads to: the keys of a manifest that the
 * exporter cannot know. Offsets from the start of an md_manifest. */
extern const md_schema_field md_manifest_recipe_fields[];
/* A text attribute of a study by its keyword: an int, md_study_text. */
extern const md_schema_field md_manifest_study_text_item;

/* What the keys of `saliency` cannot show one by one, for a network of that input; fills the
 * cell when the file names none. `key` is the section's name in messages. MD_FORMAT. */
md_status md_manifest_check_saliency(md_manifest *manifest,
                                     const md_preprocess_spec *preprocess, const char *name,
                                     const char *key, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* What the keys `role`, `after`, `required` and `id` cannot show one by one. `prefix` stands
 * before them in messages: "" or "export.". MD_FORMAT. */
md_status md_manifest_check_after(const md_manifest *manifest, const char *name,
                                  const char *prefix, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The manifest as YAML that reads back to the same. MD_IO. */
md_status md_manifest_write(const md_manifest *manifest, FILE *out, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* The number of a checked risk.attributes[].attribute. */
uint32_t md_manifest_tag(const char *attribute) MD_NOEXCEPT;

/* SHA-256 that `files` states for a name, NULL when it is not listed. */
const char *md_manifest_sha256(const md_manifest *manifest, const char *name) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
