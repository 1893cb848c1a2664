#ifndef MEDAID_PLUGINS_TRAIN_RECIPE_H
#define MEDAID_PLUGINS_TRAIN_RECIPE_H

/* recipe.yaml, docs/recipe.md, as a struct: everything that a training run is made from. Read
 * strictly (conf/schema.h), then checked as a whole: what one key alone cannot show is refused
 * with the line of its section. Plain data after reading; any thread. */

#include "inference/network.h"
#include "inference/train/augment.h"
#include "plugins/host/manifest.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MD_RECIPE_VOCABULARY "vocabulary.txt" /* of a run folder */
enum {
    MD_RECIPE_PATH_BYTES = 1025,
    MD_RECIPE_PATTERN_BYTES = 257,
    MD_RECIPE_MAX_CLASSES = 64,
    MD_RECIPE_CLASS_BYTES = 65,
    MD_RECIPE_MAX_FOLDERS = 32,
    MD_RECIPE_MAX_PATTERNS = 128,
    MD_RECIPE_MAX_FROZEN = 64,
    MD_RECIPE_FROZEN_BYTES = 129,
    MD_RECIPE_MAX_SIZES = 16,
    MD_RECIPE_MAX_BANDS = 16,
    MD_RECIPE_MAX_RANGES = 24,
    MD_RECIPE_MAX_COLUMNS = 8,
    MD_RECIPE_COLUMN_BYTES = 65,
};

struct md_layer; /* inference/train/architecture.h */

typedef enum md_recipe_task {
    MD_TASK_MULTI_CLASS, /* each image has exactly one class: softmax, cross-entropy */
    MD_TASK_MULTI_LABEL, /* each class is there or not: sigmoid, binary cross-entropy */
} md_recipe_task;

typedef struct md_recipe_pattern {
    char class_name[MD_RECIPE_CLASS_BYTES];
    char file[MD_RECIPE_PATTERN_BYTES]; /* PCRE2, anywhere in the path below its folder */
    /* of texts instead: a column of the table, and PCRE2 anywhere in it */
    char column[MD_RECIPE_COLUMN_BYTES], matches[MD_RECIPE_PATTERN_BYTES];
    unsigned line;
} md_recipe_pattern;

typedef struct md_recipe_data {
    unsigned line;
    char classes[MD_RECIPE_MAX_CLASSES][MD_RECIPE_CLASS_BYTES];
    unsigned n_classes;
    md_recipe_task task;
    char folders[MD_RECIPE_MAX_FOLDERS][MD_RECIPE_PATH_BYTES];
    unsigned n_folders;
    md_recipe_pattern label_patterns[MD_RECIPE_MAX_PATTERNS]; /* the first that matches */
    unsigned n_label_patterns;
    char table[MD_RECIPE_PATH_BYTES]; /* "": none */
    int unlabelled;                   /* of a file without a label: 0 error, 1 skip */
    char patient_pattern[MD_RECIPE_PATTERN_BYTES]; /* "": each file is a patient */
    char patient_key[129];                         /* hashed along with a Patient ID */
    char patient_column[MD_RECIPE_COLUMN_BYTES];   /* of texts; "": `patient`, if it is there */
    char unknown_pattern[MD_RECIPE_PATTERN_BYTES]; /* of texts: labels in a column that it
                                                      matches are not known. "": none */
    double max_unreadable;                         /* share of the files */
    double near_duplicates; /* correlation of thumbnails above which two films in two parts are
                               warned of; 0: not looked for */
    unsigned cache_mib;
    struct {
        unsigned line;
        double train, validation, test;  /* shares of each class, sum 1 */
        char file[MD_RECIPE_PATH_BYTES]; /* "": run_folder/split.csv; read when it exists */
    } split;
} md_recipe_data;

/* How texts become tokens: in a recipe for texts it stands in place of `preprocess`. */
typedef struct md_recipe_text {
    bool there;
    unsigned line;
    char columns[MD_RECIPE_MAX_COLUMNS][MD_RECIPE_COLUMN_BYTES]; /* joined by line breaks */
    unsigned n_columns;
    unsigned tokens;                       /* of a text that are read: T */
    unsigned min_count, max_words, pieces; /* of the vocabulary, inference/text/vocabulary.h */
    char vocabulary[MD_RECIPE_PATH_BYTES]; /* a file in place of a learned one; "": none */
    char vectors[MD_RECIPE_PATH_BYTES]; /* of `medaid-train words`, to begin with; "": none */
    double drop_words; /* share of the tokens of the training part that become unknown ones,
                          others in each epoch */
} md_recipe_text;

typedef enum md_recipe_sampler {
    MD_SAMPLER_SHUFFLE,  /* each film once an epoch */
    MD_SAMPLER_BALANCED, /* each class equally often */
    MD_SAMPLER_SHARES,   /* classes by training.shares */
} md_recipe_sampler;

typedef enum md_recipe_class_weights {
    MD_CLASS_WEIGHTS_NONE,
    MD_CLASS_WEIGHTS_BALANCED, /* n / (K n_k), over the training part */
    MD_CLASS_WEIGHTS_GIVEN,    /* training.weights */
} md_recipe_class_weights;

typedef enum md_recipe_optimizer {
    MD_RECIPE_SGD,
    MD_RECIPE_ADAM,
    MD_RECIPE_ADAMW,
} md_recipe_optimizer;

typedef enum md_recipe_schedule {
    MD_RECIPE_CONSTANT,
    MD_RECIPE_STEP,
    MD_RECIPE_COSINE,
    MD_RECIPE_ONE_CYCLE,
} md_recipe_schedule;

/* Progressive sizes: the first entry's epochs at its size, and so on; what epochs are left have
 * the size of `preprocess`. Each side is multiplied: the shorter one becomes `size`. */
typedef struct md_recipe_size {
    unsigned epochs, size;
    unsigned line;
} md_recipe_size;

typedef struct md_recipe_training {
    unsigned line;
    double label_smoothing;
    /* Cross-entropy in groups: the group of each class by name, and the weight of what tells
     * the classes of a group apart; n_groups 0: no groups */
    struct {
        unsigned line;
        char groups[MD_RECIPE_MAX_CLASSES][MD_RECIPE_CLASS_BYTES];
        unsigned n_groups;
        double within;
    } loss;
    md_recipe_class_weights class_weights;
    float weights[MD_RECIPE_MAX_CLASSES];
    unsigned n_weights;
    md_recipe_sampler sampler;
    float shares[MD_RECIPE_MAX_CLASSES];
    unsigned n_shares;
    bool patient_root; /* the sampler takes a patient with n films as sqrt(n) films, not n */
    unsigned batch, epochs;
    md_recipe_optimizer optimizer;
    double momentum;
    bool nesterov;
    double beta1, beta2, epsilon;
    double weight_decay, learning_rate;
    md_recipe_schedule schedule;
    double warmup_epochs;
    unsigned step_epochs;
    double step_factor;
    double last_factor; /* cosine: what remains of the rate at the end, as a share */
    double average;     /* 0: none */
    double clip_norm;   /* 0: none */
    unsigned early_stopping_epochs; /* 0: never */
    md_precision precision;         /* f32 or bf16 */
    md_backend backend;
    md_recipe_size sizes[MD_RECIPE_MAX_SIZES];
    unsigned n_sizes;
    unsigned max_mib;           /* of memory for training; 0: three quarters of the machine's */
    unsigned loader_threads;    /* beside those of the training */
    unsigned checkpoint_epochs; /* a checkpoint after every so many epochs */
} md_recipe_training;

typedef enum md_recipe_threshold {
    MD_THRESHOLD_GIVEN,       /* of the finding in `export` */
    MD_THRESHOLD_YOUDEN,      /* the largest sensitivity + specificity */
    MD_THRESHOLD_SENSITIVITY, /* the highest that reaches evaluation.sensitivity */
} md_recipe_threshold;

typedef struct md_recipe_evaluation {
    unsigned line;
    unsigned bootstrap; /* resamplings by patient */
    unsigned test_time_line;
    md_test_time test_time;
    md_calibration_method calibration;
    md_recipe_threshold threshold;
    double sensitivity;
    float age_bands[MD_RECIPE_MAX_BANDS]; /* years, rising: edges between the bands */
    unsigned n_age_bands;
} md_recipe_evaluation;

/* An entry of network.layers as it stands in the recipe: one of the kinds, and what goes with
 * it. `has` says which keys are there. */
typedef struct md_recipe_layer md_recipe_layer;
struct md_recipe_layer {
    unsigned conv, max_pool, average_pool, fully_connected, squeeze_excite;
    bool batch_norm, global_average_pool, flatten;
    int activation; /* md_layer_function */
    double dropout;
    md_recipe_layer *residual, *dense; /* owned */
    unsigned n_residual, n_dense;
    unsigned kernel, stride, dilation, groups;
    int padding;
    unsigned line;
    bool depthwise, bias;
    struct {
        bool conv, max_pool, average_pool, fully_connected, squeeze_excite, batch_norm,
            global_average_pool, flatten, activation, dropout, residual, dense, kernel, stride,
            dilation, groups, padding, depthwise, bias;
    } has;
};

typedef struct md_recipe_network {
    unsigned line;
    char name[65];         /* of inference/train/architecture.h, "" */
    double width, dropout; /* of a named network; dropout below 0: its own */
    int activation;        /* md_layer_function, of classic-cnn and lenet */
    /* of networks for texts, inference/train/text_architecture.h; 0: its own default */
    unsigned embedding, hidden, depth, heads, pooling;
    bool bidirectional;
    char file[MD_RECIPE_PATH_BYTES];                           /* ONNX to start from, "" */
    char freeze[MD_RECIPE_MAX_FROZEN][MD_RECIPE_FROZEN_BYTES]; /* initialiser prefixes */
    unsigned n_freeze;
    md_recipe_layer *yaml_layers; /* as they stand in the recipe; NULL: none */
    unsigned n_layers;
    struct md_layer *layers; /* the same for the architecture, [n_layers]; NULL: none */
} md_recipe_network;

typedef struct md_recipe {
    int schema_version;
    char name[65];
    uint64_t seed;
    char run_folder[MD_RECIPE_PATH_BYTES];
    unsigned threads; /* 0: all cores of the affinity mask */
    md_recipe_data data;
    bool has_preprocess;
    md_preprocess_spec preprocess; /* of texts: 1 channel, T x 1 */
    md_recipe_text text;
    bool has_augment_section;       /* texts have none */
    bool has_evaluation, has_split; /* whether the resolved recipe has them */
    unsigned augment_line;
    md_augment_options augment;
    bool has_augment[MD_RECIPE_MAX_RANGES]; /* which ranges the recipe names */
    md_recipe_network network;
    md_recipe_training training;
    md_recipe_evaluation evaluation;
    struct {
        bool there;
        unsigned line;
        /* id, version, name, manufacturer, accepts, required, quality, findings, saliency,
         * training, intended_use are from the recipe, the rest is the exporter's */
        md_manifest manifest;
    } package;
    char folder[MD_RECIPE_PATH_BYTES]; /* of the recipe: relative paths start there */
} md_recipe;

/* Read and check a recipe. Errors are one line with file, line and key: MD_FORMAT, MD_LIMIT,
 * MD_NOT_FOUND, MD_IO, MD_NOMEM. Caller destroys. */
md_status md_recipe_read(const char *path, md_recipe **ret_recipe, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* The same from bytes; `name` stands in messages, `folder` is where relative paths start. */
md_status md_recipe_parse(const uint8_t *bytes, size_t size_bytes, const char *name,
                          const char *folder, md_recipe **ret_recipe, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_recipe_destroy(md_recipe *recipe) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_recipe, md_recipe_destroy)

/* The recipe with every default written out, as YAML that reads back to the same. Paths are
 * absolute in it, so that it may lie in the run folder. Caller frees with md_free. */
md_status md_recipe_write(const md_recipe *recipe, char **ret_text, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* A path of the recipe as the process can open it. MD_LIMIT when too long. */
md_status md_recipe_path(const md_recipe *recipe, const char *path,
                         char ret_path[MD_RECIPE_PATH_BYTES], md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Take the words that a network learnt with, in place of learning them from the texts as they
 * are now: text.vocabulary becomes MD_RECIPE_VOCABULARY of the existing folder, as an absolute
 * path. Not opened yet. MD_IO, MD_NOT_FOUND, MD_LIMIT. */
md_status md_recipe_take_vocabulary(md_recipe *recipe, const char *folder, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* Of each class a number that the classes of its group share, below n_classes; of
 * training.loss.n_groups classes (0: no groups). */
void md_recipe_groups(const md_recipe *recipe, unsigned ret_groups[MD_RECIPE_MAX_CLASSES])
    MD_NOEXCEPT;

/* Picture size of an epoch (0-based), by training.sizes. */
void md_recipe_size_of(const md_recipe *recipe, unsigned epoch, unsigned *ret_width,
                       unsigned *ret_height) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
