#ifndef MEDAID_PLUGINS_TRAIN_EVALUATE_H
#define MEDAID_PLUGINS_TRAIN_EVALUATE_H

/* A model measured on films with known truths. A package runs as it serves: decoding, its
 * rules of acceptance (DICOM), the quality gate, preprocessing, network and scores are the
 * host's own functions. A network without a package (a run folder's model.onnx) is fed by the
 * recipe's preprocessing. One thread at a time, after md_dicom_init. */

#include "plugins/train/assess.h"
#include "plugins/train/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_evaluate_options {
    const char *model; /* a package's folder, or an ONNX file */
    /* A recipe (.yaml, .yml) or a table (.csv; packages alone): file (below the table's
     * folder), and either `label` (keys of findings with | between them, or normal) or a column
     * for each finding's key (as md_audit_make has them); patient, part, sex, age, view and
     * manufacturer may be there.
     * Of a recipe for texts the words are those of vocabulary.txt beside the model, else those
     * of text.vocabulary; MD_INVALID_ARG without either. */
    const char *data;
    md_part part;        /* MD_PART_NONE: validation, or all of a table without parts */
    const char *backend; /* as md_backend_named */
    unsigned n_threads, n_bootstrap;
    uint64_t seed;
    md_set_progress on_progress; /* NULL is fine, here and below */
    /* A film that cannot be read, is not accepted or does not pass the gate. */
    void (*on_problem)(void *context, const char *path, const md_error *reason);
    void *context;
} md_evaluate_options;

typedef struct md_evaluation_of_model {
    char id[65], version[17], name[65], sha256[65], intended_use[1025];
    char part[16];       /* "validation", "all" */
    size_t n_images;     /* of the part */
    size_t n_unreadable; /* not decodable */
    size_t n_refused;    /* not accepted, or not through the quality gate */
    size_t n_failed;     /* the network gave no usable answer */
    /* Of the recipe; n_parts 0: a table. */
    unsigned n_parts, n_classes;
    char classes[MD_ASSESS_MAX_CLASSES][MD_ASSESS_NAME_BYTES];
    size_t part_images[MD_N_PARTS], part_patients[MD_N_PARTS];
    size_t part_counts[MD_N_PARTS][MD_ASSESS_MAX_CLASSES];
    char parameters[257]; /* activation, calibration, precision, back end */
    md_assessment assessment;
} md_evaluation_of_model;

/* Errors of reading (recipe, table, package, network), MD_NOT_FOUND (no film in the part),
 * MD_INVALID_ARG (classes that do not fit the network's output), MD_PLUGIN (the network failed
 * on every film), MD_LIMIT, MD_NOMEM. Caller finishes. */
md_status md_evaluate_model(const md_evaluate_options *options,
                            md_evaluation_of_model *ret_evaluation, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_evaluation_of_model_finish(md_evaluation_of_model *evaluation) MD_NOEXCEPT;

/* FOLDER/evaluation.json, report.html and the charts. MD_IO, MD_NOMEM. */
md_status md_evaluation_of_model_write(const md_evaluation_of_model *evaluation,
                                       const char *folder, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
