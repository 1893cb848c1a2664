#ifndef MEDAID_PLUGINS_HOST_HOST_H
#define MEDAID_PLUGINS_HOST_HOST_H

/* Finds, checks, chooses and runs the analyzers (model packages and C plugins), and turns a
 * study's files into results and DICOM objects. The same code serves `medaid --oneshot` and the
 * daemon.
 *
 * A host belongs to one thread at a time. */

#include "conf/required.h"
#include "dicom/report/report.h"
#include "dicom/report/result.h"
#include "plugins/host/view.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_host md_host;
typedef struct md_analysis md_analysis;

typedef struct md_host_options {
    const char *const
        *folders; /* each holds packages (a folder with model.yaml) and plugins (*.so) */
    size_t n_folders;
    const char *backend;    /* "auto", "onednn", "openblas"; NULL: auto */
    unsigned n_threads;     /* 0: all cores */
    const char *only_model; /* NULL: all; else load just this id */
    bool embeds;            /* md_analysis.embeddings are wanted */
    /* Called for each package or plugin that is refused, with the reason ("chest/model.yaml:12:
     * ..."). May be NULL. The others serve. */
    void (*on_refused)(void *context, const char *package, const md_error *reason);
    /* Called when a package serves in float32 though it asks for bf16 or int8. May be NULL. */
    void (*on_float32)(void *context, const char *package, const md_error *reason);
    void *context;
} md_host_options;

/* Load everything. MD_NOT_FOUND when nothing usable was found or `only_model` is not there;
 * md_dicom_init must have been called. Caller destroys. */
md_status md_host_create(const md_host_options *options, md_host **ret_host, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_host_destroy(md_host *host) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_host, md_host_destroy)

/* Keep the models' weights once for all processes that load the same models and began to share
 * (inference/share.h). Errors leave everything as it is. */
struct md_share;
md_status md_host_share_weights(md_host *host, struct md_share *share, size_t *ret_shared_bytes,
                                md_error *err) MD_NOEXCEPT MD_NODISCARD;

size_t md_host_n_models(const md_host *host) MD_NOEXCEPT;
/* Identity of model `index`, valid until destroy. */
const md_model_identity *md_host_model(const md_host *host, size_t index) MD_NOEXCEPT;

/* What a study must hold before model `index` looks at it; valid until destroy. Not all models
 * require something: then there is no view, and the count is 0. */
const md_required *md_host_model_required(const md_host *host, size_t index) MD_NOEXCEPT;

/* What a model leaves of a study beside its answer: the numbers that its last linear layer
 * reads, for finding similar cases. */
typedef enum md_embeds_kind {
    MD_EMBEDS_NOTHING,
    MD_EMBEDS_IMAGE, /* of images */
    MD_EMBEDS_TEXT   /* of texts */
} md_embeds_kind;
typedef struct md_embeds {
    md_embeds_kind kind;
    uint32_t n; /* numbers, 1..MD_EMBEDDING_MAX; 0: MD_EMBEDS_NOTHING */
} md_embeds;
enum {
    MD_EMBEDDING_MAX = 2048 /* a network whose last layer reads more leaves nothing */
};
/* Of model `index`; always nothing without md_host_options.embeds. */
md_embeds md_host_model_embeds(const md_host *host, size_t index) MD_NOEXCEPT;

/* Value and 95% interval; `there` false: not stated. */
typedef struct md_measure {
    bool there;
    double value, low, high;
} md_measure;

/* What its maker says of it, for --list-models. */
typedef struct md_model_card {
    bool is_gate; /* asked before other models; gives no result of its own */
    char after[2 * MD_KEY_BYTES + 32]; /* "chest-view finds upright-frontal-chest"; "": none */
    const char *form;                  /* "package" or "plugin" */
    const char *kind;                  /* "image", "text", "risk" */
    char accepts[513];
    char findings[513];     /* "pneumonia (233604007, SCT, Pneumonia) from 0.55; ..." */
    char set[MD_KEY_BYTES]; /* the set that the measures come from; "": none stated */
    unsigned n_images, n_patients;
    md_measure accuracy, sensitivity, specificity, f1, auc;
    bool has_calibration_error;
    double calibration_error;
    double self_test_difference,
        self_test_tolerance; /* of the run at loading; 0, 0: no numbers */
} md_model_card;

/* The card of model `index`, valid until destroy; NULL beyond the last. */
const md_model_card *md_host_model_card(const md_host *host, size_t index) MD_NOEXCEPT;

enum {
    /* A multi-frame object is analysed frame by frame; one with more frames than this (a cine
     * run) is not accepted. */
    MD_HOST_MAX_FRAMES = 16,
    MD_HOST_MAX_PREDECESSORS = 64, /* one for each model */
};

/* The earlier report of one model about the study, which the new one replaces. Nothing is "".
 */
typedef struct md_predecessor {
    char model_id[MD_KEY_BYTES];
    char sop_instance_uid[MD_UID_BYTES];
    char series_instance_uid[MD_UID_BYTES];
} md_predecessor;

typedef struct md_analyse_options {
    bool want_sr, want_picture, want_map;
    bool want_failure_sr; /* an SR also for a FAILED result */
    bool want_view;       /* the small picture of md_analysis */
    md_report_options report;
    /* Files that cannot be read, frames that no model accepts, failing frames: one call each,
     * the rest goes on. `path` as the caller gave it. May be NULL. */
    void (*on_problem)(void *context, const char *path, const md_error *reason);
    void *context;
    int64_t first_received_ms, last_received_ms, complete_ms; /* for the clock; 0: unknown */
    const md_predecessor *predecessors; /* borrowed; at most one of each model */
    size_t n_predecessors;              /* at most MD_HOST_MAX_PREDECESSORS */
    uint64_t revision;                  /* as in md_result */
    bool some_models;                   /* only those of the list may look */
    const char (*models)[MD_KEY_BYTES]; /* ids, borrowed */
    size_t n_models;
    /* What has not come, for people and without patient data: "a view: LL/RL". Then the results
     * are PARTIAL with (110523, DCM, "Object Set incomplete"). NULL: nothing is missing. */
    const char *missing;
    /* Asked once, when all findings are known and before the first report is written; what is
     * answered goes into md_analysis and, but with report.triage_only, into the SR of the first
     * result that is not FAILED. NULL: nothing is proposed. */
    void (*propose)(void *context, const md_analysis *analysis, md_follow_up *ret_follow_up);
    void *propose_context;
} md_analyse_options;

/* Let the result name the predecessor of its model, if options has one, and its revision. For
 * whoever makes results without md_host_analyse, which does this itself. */
void md_host_set_predecessor(const md_analyse_options *options, md_result *result) MD_NOEXCEPT;

enum {
    MD_PERSON_BYTES = 3 * 64 * 4 + 3 /* PN: three groups of 64 characters (PS3.5 6.2) */
};

/* Patient and study as the first image names them, in UTF-8, for worklist and notifications;
 * "" for what is absent. Patient data: never in a log or a message. */
typedef struct md_study_header {
    char patient_name[MD_PERSON_BYTES];        /* (0010,0010) */
    char patient_id[MD_TEXT_BYTES];            /* (0010,0020) */
    char issuer_of_patient_id[MD_TEXT_BYTES];  /* (0010,0021) */
    char birth_date[9];                        /* (0010,0030) */
    char sex[17];                              /* (0010,0040) */
    char accession_number[65];                 /* (0008,0050) */
    char study_id[65];                         /* (0020,0010) */
    char study_date[9];                        /* (0008,0020) */
    char study_time[17];                       /* (0008,0030) */
    char study_description[MD_TEXT_BYTES];     /* (0008,1030) */
    char referring_physician[MD_PERSON_BYTES]; /* (0008,0090) */
    char modality[17];                         /* (0008,0060) of that image */
} md_study_header;

/* Where the time of an analysis went: wall clock, microseconds, over all its images and models.
 */
typedef struct md_analysis_times {
    int64_t open_us; /* files opened, parsed and put in order */
    int64_t decode_us, normalise_us;
    int64_t quality_us; /* the gate */
    int64_t resize_us;  /* crop, resize and scale to the network's input */
    int64_t network_us; /* of a C plugin the whole call */
    int64_t saliency_us;
    int64_t text_us, risk_us; /* text and risk analyzers, from the attributes on */
    int64_t report_us, picture_us, maps_us;
} md_analysis_times;

/* What a model left of a study: over all its images that the model looked at the mean of the
 * vectors scaled to length 1, scaled to length 1 itself. */
typedef struct md_embedding {
    char model_id[MD_KEY_BYTES];
    uint32_t n;
    float *values; /* owned, [n], finite */
} md_embedding;

/* Everything that one study gave: one result for each model that accepted at least one of its
 * images, then of each text analyzer that found a text, then of each risk analyzer that knows
 * enough. */
struct md_analysis {
    md_result *results; /* owned */
    size_t n_results;
    md_study_header header;
    md_view view;       /* owned; of the image with the most urgent answer; with want_view */
    md_object *objects; /* owned; SRs and pictures of all results */
    size_t n_objects;
    size_t n_unreadable;   /* files that are no DICOM object, or accepted but not decodable */
    size_t n_not_accepted; /* readable objects that no model accepts, or without an image */
    md_embedding *embeddings; /* owned; of those results whose model leaves one */
    size_t n_embeddings;
    md_analysis_times times;
    md_follow_up follow_up; /* what options.propose answered */
};
void md_analysis_finish(md_analysis *analysis) MD_NOEXCEPT;

/* Analyse the files of one study (all with the same Study Instance UID; MD_INVALID_ARG
 * otherwise).
 *
 * What happens. The files are put in order (series, instance number, SOP Instance UID), so the
 * answer does not depend on the order of `paths`. An object that comes twice counts once. Each
 * model gives at most one result; it lists every image of the study, `analysed` where the model
 * looked. Findings stand in the order of the images, and for one image in the manifest's order:
 * one set for each image, nothing is combined over images. A frame that cannot be decoded,
 * fails the quality gate or whose answer is not usable (NaN) is a failure of that frame: told
 * to on_problem, the result becomes PARTIAL, or FAILED when no frame is left, with the coded
 * reason of the first (PS3.16 CID 9300, 9301, 9303) and never a finding. A result holds at most
 * MD_RESULT_MAX_FINDINGS findings; frames beyond fail with that reason. Objects come result by
 * result: the SR, then the pictures of the analysed frames, then the maps of the findings.
 *
 * Text analyzers come after the images, risk analyzers last: they see the findings of both.
 * Each is asked once for a study of which it accepts one object, and gives one result, without
 * `analysed` images and pictures. A text analyzer that finds no word in its attributes gives no
 * result; a risk analyzer that knows too little gives none when nobody else did, else a FAILED
 * one (110523). One that fails is told to on_problem and gives a FAILED result of its own: the
 * others, and their reports, are not touched by it.
 *
 * A file that cannot be opened at all makes every result PARTIAL: what was on it nobody knows.
 * MD_OK: at least one model gave a result, which may be FAILED; then n_unreadable > 0 tells
 * that broken files were among the causes. MD_NOT_FOUND: no model accepts any image, text or
 * number of it, err says why. MD_FORMAT: no file could be read. MD_LIMIT: more than
 * MD_RESULT_MAX_INSTANCES files or frames. MD_NOMEM, or the error of the report that could not
 * be written (of a text or a risk only when nothing else was). `analysis` is filled (counts) in
 * each of these cases and must be finished by the caller. Files must stay as they are during
 * the call. Peak memory is that of one decoded image, its raster, and at most 64 MiB of rasters
 * that wait for their picture. */
md_status md_host_analyse(md_host *host, const char *const *paths, size_t n_paths,
                          const md_analyse_options *options, md_analysis *ret_analysis,
                          md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
