#include "inference/text/text_model.h"
#include "plugins/train/recipe_internal.h"

#include <string.h>

/* The table of recipe.yaml, docs/recipe.md. */

static const char *check_class(const char *text)
{
    size_t length = strlen(text);
    bool fine =
        length > 0 && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789_-. ") == length;
    return fine ? NULL : "a class name: letters, digits, '_', '-', '.' and spaces";
}

#define AT(member_) MD_SCHEMA_AT(md_recipe, member_)
#define LINE(member_) .line_offset = offsetof(md_recipe, member_)
#define COUNT(member_) .n_offset = offsetof(md_recipe, member_)

static const md_schema_choice tasks[] = {
    {"multi-class", MD_TASK_MULTI_CLASS}, {"multi-label", MD_TASK_MULTI_LABEL}, {NULL, 0}};
static const md_schema_choice unlabelled[] = {{"error", 0}, {"skip", 1}, {NULL, 0}};
static const md_schema_choice samplers[] = {{"shuffle", MD_SAMPLER_SHUFFLE},
                                            {"balanced", MD_SAMPLER_BALANCED},
                                            {"shares", MD_SAMPLER_SHARES},
                                            {NULL, 0}};
static const md_schema_choice weightings[] = {{"none", MD_CLASS_WEIGHTS_NONE},
                                              {"balanced", MD_CLASS_WEIGHTS_BALANCED},
                                              {"given", MD_CLASS_WEIGHTS_GIVEN},
                                              {NULL, 0}};
static const md_schema_choice optimizers[] = {
    {"sgd", MD_RECIPE_SGD}, {"adam", MD_RECIPE_ADAM}, {"adamw", MD_RECIPE_ADAMW}, {NULL, 0}};
static const md_schema_choice schedules[] = {{"constant", MD_RECIPE_CONSTANT},
                                             {"step", MD_RECIPE_STEP},
                                             {"cosine", MD_RECIPE_COSINE},
                                             {"one-cycle", MD_RECIPE_ONE_CYCLE},
                                             {NULL, 0}};
static const md_schema_choice precisions[] = {
    {"f32", MD_PRECISION_F32}, {"bf16", MD_PRECISION_BF16}, {NULL, 0}};
static const md_schema_choice backends[] = {{"auto", MD_BACKEND_AUTO},
                                            {"onednn", MD_BACKEND_ONEDNN},
                                            {"openblas", MD_BACKEND_OPENBLAS},
                                            {NULL, 0}};
static const md_schema_choice calibrations[] = {{"none", MD_CALIBRATION_NONE},
                                                {"temperature", MD_CALIBRATION_TEMPERATURE},
                                                {"platt", MD_CALIBRATION_PLATT},
                                                {NULL, 0}};
static const md_schema_choice thresholds[] = {{"given", MD_THRESHOLD_GIVEN},
                                              {"youden", MD_THRESHOLD_YOUDEN},
                                              {"sensitivity", MD_THRESHOLD_SENSITIVITY},
                                              {NULL, 0}};

static const md_schema_field class_item = {.key = "class",
                                           .type = MD_SCHEMA_TEXT,
                                           .size_bytes = MD_RECIPE_CLASS_BYTES,
                                           .least = 1,
                                           .check = check_class};
static const md_schema_field path_item = {
    .key = "path", .type = MD_SCHEMA_TEXT, .size_bytes = MD_RECIPE_PATH_BYTES, .least = 1};
static const md_schema_field column_item = {
    .key = "column", .type = MD_SCHEMA_TEXT, .size_bytes = MD_RECIPE_COLUMN_BYTES, .least = 1};
static const md_schema_field prefix_item = {
    .key = "prefix", .type = MD_SCHEMA_TEXT, .size_bytes = MD_RECIPE_FROZEN_BYTES, .least = 1};
static const md_schema_field weight_item = {.key = "weight",
                                            .type = MD_SCHEMA_REAL,
                                            .size_bytes = sizeof(float),
                                            .least = 1e-6,
                                            .most = 1e6};
static const md_schema_field share_item = {
    .key = "share", .type = MD_SCHEMA_REAL, .size_bytes = sizeof(float), .least = 0, .most = 1};
static const md_schema_field age_item = {
    .key = "age", .type = MD_SCHEMA_REAL, .size_bytes = sizeof(float), .least = 0, .most = 150};

/* clang-format off */
#define PATTERN_AT(member_) MD_SCHEMA_AT(md_recipe_pattern, member_)
static const md_schema_field pattern_fields[] = {
    {.key = "class", .type = MD_SCHEMA_TEXT, PATTERN_AT(class_name), .required = true,
     .least = 1},
    {.key = "file", .type = MD_SCHEMA_TEXT, PATTERN_AT(file)},
    {.key = "column", .type = MD_SCHEMA_TEXT, PATTERN_AT(column)},
    {.key = "matches", .type = MD_SCHEMA_TEXT, PATTERN_AT(matches)},
    {.key = NULL},
};
static const md_schema_field pattern_item = {
    .key = "pattern", .type = MD_SCHEMA_MAP, .fields = pattern_fields,
    .line_offset = offsetof(md_recipe_pattern, line)};

static const md_schema_field split_fields[] = {
    {.key = "train", .type = MD_SCHEMA_REAL, AT(data.split.train), .least = 0, .most = 1,
     .fallback = "0.85"},
    {.key = "validation", .type = MD_SCHEMA_REAL, AT(data.split.validation), .least = 0,
     .most = 1, .fallback = "0.15"},
    {.key = "test", .type = MD_SCHEMA_REAL, AT(data.split.test), .least = 0, .most = 1,
     .fallback = "0"},
    {.key = "file", .type = MD_SCHEMA_TEXT, AT(data.split.file)},
    {.key = NULL},
};

static const md_schema_field data_fields[] = {
    {.key = "classes", .type = MD_SCHEMA_LIST, AT(data.classes), .required = true, .least = 1,
     .item = &class_item, .max_items = MD_RECIPE_MAX_CLASSES, COUNT(data.n_classes)},
    {.key = "task", .type = MD_SCHEMA_ENUM, AT(data.task), .fallback = "multi-class",
     .choices = tasks},
    {.key = "folders", .type = MD_SCHEMA_LIST, AT(data.folders), .least = 1,
     .item = &path_item, .max_items = MD_RECIPE_MAX_FOLDERS, COUNT(data.n_folders)},
    {.key = "label_patterns", .type = MD_SCHEMA_LIST, AT(data.label_patterns),
     .item = &pattern_item, .max_items = MD_RECIPE_MAX_PATTERNS, COUNT(data.n_label_patterns)},
    {.key = "table", .type = MD_SCHEMA_TEXT, AT(data.table)},
    {.key = "unlabelled", .type = MD_SCHEMA_ENUM, AT(data.unlabelled), .fallback = "error",
     .choices = unlabelled},
    {.key = "patient_pattern", .type = MD_SCHEMA_TEXT, AT(data.patient_pattern)},
    {.key = "patient_key", .type = MD_SCHEMA_TEXT, AT(data.patient_key)},
    {.key = "patient_column", .type = MD_SCHEMA_TEXT, AT(data.patient_column)},
    {.key = "unknown_pattern", .type = MD_SCHEMA_TEXT, AT(data.unknown_pattern)},
    {.key = "split", .type = MD_SCHEMA_MAP, .fields = split_fields, LINE(data.split.line),
     .has_offset = offsetof(md_recipe, has_split)},
    {.key = "max_unreadable", .type = MD_SCHEMA_REAL, AT(data.max_unreadable), .least = 0,
     .most = 1, .fallback = "0.01"},
    {.key = "near_duplicates", .type = MD_SCHEMA_REAL, AT(data.near_duplicates), .least = 0,
     .most = 1, .fallback = "0"},
    {.key = "cache_mib", .type = MD_SCHEMA_INT, AT(data.cache_mib), .least = 0, .most = 1048576,
     .unit = "MiB", .fallback = "1024"},
    {.key = NULL},
};

/* One augmentation: its limits, and the table of its map. */
#define RANGE(name_, low_, high_)                                                              \
    static const md_schema_field name_##_fields[] = {                                          \
        {.key = "probability", .type = MD_SCHEMA_REAL, AT(augment.name_.probability),          \
         .least = 0, .most = 1, .fallback = "1"},                                              \
        {.key = "low", .type = MD_SCHEMA_REAL, AT(augment.name_.low), .required = true,        \
         .least = (low_), .most = (high_)},                                                    \
        {.key = "high", .type = MD_SCHEMA_REAL, AT(augment.name_.high), .required = true,      \
         .least = (low_), .most = (high_)},                                                    \
        {.key = NULL},                                                                         \
    }
RANGE(histogram_swap, 0, 1);
RANGE(gamma, 0.1, 10);
RANGE(contrast, 0, 10);
RANGE(brightness, -1, 1);
RANGE(spectrum_swap, 0, 1);
RANGE(blur, 0, 20);
RANGE(rotation, -180, 180);
RANGE(scale, 0.1, 10);
RANGE(aspect, 0.1, 10);
RANGE(shear, -60, 60);
RANGE(shift_x, -1, 1);
RANGE(shift_y, -1, 1);
RANGE(crop, 0.05, 1);
RANGE(jpeg, 1, 100);
RANGE(noise, 0, 1);

static const md_schema_field border_fields[] = {
    {.key = "probability", .type = MD_SCHEMA_REAL, AT(augment.border.probability), .least = 0,
     .most = 1, .fallback = "1"},
    {.key = "low", .type = MD_SCHEMA_REAL, AT(augment.border.low), .required = true,
     .least = -0.5, .most = 0.5},
    {.key = "high", .type = MD_SCHEMA_REAL, AT(augment.border.high), .required = true,
     .least = -0.5, .most = 0.5},
    {.key = "grey", .type = MD_SCHEMA_REAL, AT(augment.border_grey), .least = 0, .most = 1,
     .fallback = "0"},
    {.key = NULL},
};
static const md_schema_field cutout_fields[] = {
    {.key = "probability", .type = MD_SCHEMA_REAL, AT(augment.cutout.probability), .least = 0,
     .most = 1, .fallback = "1"},
    {.key = "low", .type = MD_SCHEMA_REAL, AT(augment.cutout.low), .required = true,
     .least = 0, .most = 1},
    {.key = "high", .type = MD_SCHEMA_REAL, AT(augment.cutout.high), .required = true,
     .least = 0, .most = 1},
    {.key = "count", .type = MD_SCHEMA_INT, AT(augment.cutout_count), .least = 1, .most = 100,
     .fallback = "1"},
    {.key = NULL},
};
static const md_schema_field mixup_fields[] = {
    {.key = "probability", .type = MD_SCHEMA_REAL, AT(augment.mixup), .least = 0, .most = 1,
     .fallback = "1"},
    {.key = "alpha", .type = MD_SCHEMA_REAL, AT(augment.mixup_alpha), .least = 0.01,
     .most = 100, .fallback = "0.4"},
    {.key = NULL},
};

/* The order of md_recipe_ranges and of has_augment. */
enum {
    HAS_HISTOGRAM_SWAP, HAS_GAMMA, HAS_CONTRAST, HAS_BRIGHTNESS, HAS_SPECTRUM_SWAP, HAS_BLUR,
    HAS_ROTATION, HAS_SCALE, HAS_ASPECT, HAS_SHEAR, HAS_SHIFT_X, HAS_SHIFT_Y, HAS_CROP,
    HAS_JPEG, HAS_NOISE, HAS_BORDER, HAS_CUTOUT, HAS_MIXUP
};
#define AUGMENT(name_, index_)                                                                 \
    {                                                                                          \
        .key = #name_, .type = MD_SCHEMA_MAP, .fields = name_##_fields,                        \
        .has_offset = offsetof(md_recipe, has_augment[index_])                                 \
    }
static const md_schema_field augment_fields[] = {
    {.key = "middle", .type = MD_SCHEMA_REAL, AT(augment.middle), .least = 0, .most = 1,
     .fallback = "0.5"},
    {.key = "flip_horizontal", .type = MD_SCHEMA_REAL, AT(augment.flip_horizontal), .least = 0,
     .most = 1, .fallback = "0"},
    {.key = "flip_vertical", .type = MD_SCHEMA_REAL, AT(augment.flip_vertical), .least = 0,
     .most = 1, .fallback = "0"},
    AUGMENT(histogram_swap, HAS_HISTOGRAM_SWAP),
    AUGMENT(gamma, HAS_GAMMA),
    AUGMENT(contrast, HAS_CONTRAST),
    AUGMENT(brightness, HAS_BRIGHTNESS),
    AUGMENT(spectrum_swap, HAS_SPECTRUM_SWAP),
    AUGMENT(blur, HAS_BLUR),
    AUGMENT(rotation, HAS_ROTATION),
    AUGMENT(scale, HAS_SCALE),
    AUGMENT(aspect, HAS_ASPECT),
    AUGMENT(shear, HAS_SHEAR),
    AUGMENT(shift_x, HAS_SHIFT_X),
    AUGMENT(shift_y, HAS_SHIFT_Y),
    AUGMENT(crop, HAS_CROP),
    AUGMENT(jpeg, HAS_JPEG),
    AUGMENT(noise, HAS_NOISE),
    AUGMENT(border, HAS_BORDER),
    AUGMENT(cutout, HAS_CUTOUT),
    AUGMENT(mixup, HAS_MIXUP),
    {.key = NULL},
};

#define RANGE_AT(name_, index_, log_)                                                          \
    [index_] = {#name_, offsetof(md_augment_options, name_), (log_)}
const md_recipe_range md_recipe_ranges[] = {
    RANGE_AT(histogram_swap, HAS_HISTOGRAM_SWAP, false),
    RANGE_AT(gamma, HAS_GAMMA, true),
    RANGE_AT(contrast, HAS_CONTRAST, false),
    RANGE_AT(brightness, HAS_BRIGHTNESS, false),
    RANGE_AT(spectrum_swap, HAS_SPECTRUM_SWAP, false),
    RANGE_AT(blur, HAS_BLUR, false),
    RANGE_AT(rotation, HAS_ROTATION, false),
    RANGE_AT(scale, HAS_SCALE, true),
    RANGE_AT(aspect, HAS_ASPECT, true),
    RANGE_AT(shear, HAS_SHEAR, false),
    RANGE_AT(shift_x, HAS_SHIFT_X, false),
    RANGE_AT(shift_y, HAS_SHIFT_Y, false),
    RANGE_AT(crop, HAS_CROP, false),
    RANGE_AT(jpeg, HAS_JPEG, false),
    RANGE_AT(noise, HAS_NOISE, false),
    RANGE_AT(border, HAS_BORDER, false),
    RANGE_AT(cutout, HAS_CUTOUT, false),
    {NULL, 0, false},
};

void md_recipe_drop_absent(md_recipe *recipe)
{
    for (size_t i = 0; md_recipe_ranges[i].key != NULL; i++) {
        if (!recipe->has_augment[i]) {
            char *range = (char *)&recipe->augment + md_recipe_ranges[i].offset;
            memset(range, 0, sizeof(md_augment_range));
        }
    }
    recipe->augment.mixup = recipe->has_augment[HAS_MIXUP] ? recipe->augment.mixup : 0.0F;
}

static const md_schema_field text_fields[] = {
    {.key = "columns", .type = MD_SCHEMA_LIST, AT(text.columns), .required = true, .least = 1,
     .item = &column_item, .max_items = MD_RECIPE_MAX_COLUMNS, COUNT(text.n_columns)},
    {.key = "attributes", .type = MD_SCHEMA_LIST, AT(package.manifest.text.attributes),
     .item = &md_manifest_study_text_item, .max_items = MD_EVIDENCE_MAX_PASSAGES,
     COUNT(package.manifest.text.n_attributes)},
    {.key = "tokens", .type = MD_SCHEMA_INT, AT(text.tokens), .least = 2,
     .most = MD_TEXT_MODEL_MAX_TOKENS, .fallback = "128"},
    {.key = "min_count", .type = MD_SCHEMA_INT, AT(text.min_count), .least = 1, .most = 1000000,
     .fallback = "3"},
    {.key = "max_words", .type = MD_SCHEMA_INT, AT(text.max_words), .least = 1, .most = 60000,
     .fallback = "20000"},
    {.key = "pieces", .type = MD_SCHEMA_INT, AT(text.pieces), .least = 0, .most = 30000,
     .fallback = "500"},
    {.key = "vocabulary", .type = MD_SCHEMA_TEXT, AT(text.vocabulary)},
    {.key = "vectors", .type = MD_SCHEMA_TEXT, AT(text.vectors)},
    {.key = "drop_words", .type = MD_SCHEMA_REAL, AT(text.drop_words), .least = 0, .most = 0.9,
     .fallback = "0"},
    {.key = NULL},
};

static const md_schema_field network_fields[] = {
    {.key = "name", .type = MD_SCHEMA_TEXT, AT(network.name)},
    {.key = "width", .type = MD_SCHEMA_REAL, AT(network.width), .least = 0.05, .most = 16,
     .fallback = "1"},
    {.key = "dropout", .type = MD_SCHEMA_REAL, AT(network.dropout), .least = -1, .most = 0.99,
     .fallback = "-1"},
    {.key = "activation", .type = MD_SCHEMA_ENUM, AT(network.activation), .fallback = "default",
     .choices = md_recipe_functions},
    {.key = "embedding", .type = MD_SCHEMA_INT, AT(network.embedding), .least = 0,
     .most = 4096, .fallback = "0"},
    {.key = "hidden", .type = MD_SCHEMA_INT, AT(network.hidden), .least = 0, .most = 4096,
     .fallback = "0"},
    {.key = "depth", .type = MD_SCHEMA_INT, AT(network.depth), .least = 0, .most = 24,
     .fallback = "0"},
    {.key = "heads", .type = MD_SCHEMA_INT, AT(network.heads), .least = 0, .most = 256,
     .fallback = "0"},
    {.key = "pooling", .type = MD_SCHEMA_INT, AT(network.pooling), .least = 0, .most = 4096,
     .fallback = "0"},
    {.key = "bidirectional", .type = MD_SCHEMA_BOOL, AT(network.bidirectional),
     .fallback = "true"},
    {.key = "file", .type = MD_SCHEMA_TEXT, AT(network.file)},
    {.key = "freeze", .type = MD_SCHEMA_LIST, AT(network.freeze), .item = &prefix_item,
     .max_items = MD_RECIPE_MAX_FROZEN, COUNT(network.n_freeze)},
    {.key = "layers", .type = MD_SCHEMA_LIST, .offset = offsetof(md_recipe, network.yaml_layers),
     .owned_bytes = sizeof(md_recipe_layer), .item = &md_recipe_layer_item, .least = 1,
     .max_items = MD_RECIPE_MAX_LAYERS, COUNT(network.n_layers)},
    {.key = NULL},
};

#define SIZE_AT(member_) MD_SCHEMA_AT(md_recipe_size, member_)
static const md_schema_field size_fields[] = {
    {.key = "epochs", .type = MD_SCHEMA_INT, SIZE_AT(epochs), .required = true, .least = 1,
     .most = 100000},
    {.key = "size", .type = MD_SCHEMA_INT, SIZE_AT(size), .required = true, .least = 8,
     .most = 4096, .unit = "pixels"},
    {.key = NULL},
};
static const md_schema_field size_item = {
    .key = "size", .type = MD_SCHEMA_MAP, .fields = size_fields,
    .line_offset = offsetof(md_recipe_size, line)};

#define REAL(key_, least_, most_, fallback_)                                                   \
    {                                                                                          \
        .key = #key_, .type = MD_SCHEMA_REAL, AT(training.key_), .least = (least_),            \
        .most = (most_), .fallback = (fallback_)                                               \
    }
static const md_schema_field loss_fields[] = {
    {.key = "groups", .type = MD_SCHEMA_LIST, AT(training.loss.groups), .item = &class_item,
     .max_items = MD_RECIPE_MAX_CLASSES, COUNT(training.loss.n_groups)},
    {.key = "within", .type = MD_SCHEMA_REAL, AT(training.loss.within), .least = 0, .most = 10,
     .fallback = "1"},
    {.key = NULL},
};
static const md_schema_field training_fields[] = {
    {.key = "loss", .type = MD_SCHEMA_MAP, .fields = loss_fields, LINE(training.loss.line)},
    REAL(label_smoothing, 0, 0.9, "0"),
    {.key = "class_weights", .type = MD_SCHEMA_ENUM, AT(training.class_weights),
     .fallback = "none", .choices = weightings},
    {.key = "weights", .type = MD_SCHEMA_LIST, AT(training.weights), .item = &weight_item,
     .max_items = MD_RECIPE_MAX_CLASSES, COUNT(training.n_weights)},
    {.key = "sampler", .type = MD_SCHEMA_ENUM, AT(training.sampler), .fallback = "shuffle",
     .choices = samplers},
    {.key = "shares", .type = MD_SCHEMA_LIST, AT(training.shares), .item = &share_item,
     .max_items = MD_RECIPE_MAX_CLASSES, COUNT(training.n_shares)},
    {.key = "patient_root", .type = MD_SCHEMA_BOOL, AT(training.patient_root),
     .fallback = "false"},
    {.key = "batch", .type = MD_SCHEMA_INT, AT(training.batch), .least = 1, .most = 4096,
     .fallback = "32"},
    {.key = "epochs", .type = MD_SCHEMA_INT, AT(training.epochs), .required = true, .least = 1,
     .most = 100000},
    {.key = "optimizer", .type = MD_SCHEMA_ENUM, AT(training.optimizer), .fallback = "sgd",
     .choices = optimizers},
    REAL(momentum, 0, 0.9999, "0.9"),
    {.key = "nesterov", .type = MD_SCHEMA_BOOL, AT(training.nesterov), .fallback = "false"},
    REAL(beta1, 0, 0.9999, "0.9"),
    REAL(beta2, 0, 0.999999, "0.999"),
    REAL(epsilon, 1e-16, 1, "1e-8"),
    REAL(weight_decay, 0, 10, "0"),
    {.key = "learning_rate", .type = MD_SCHEMA_REAL, AT(training.learning_rate),
     .required = true, .least = 1e-12, .most = 100},
    {.key = "schedule", .type = MD_SCHEMA_ENUM, AT(training.schedule), .fallback = "constant",
     .choices = schedules},
    REAL(warmup_epochs, 0, 100000, "0"),
    {.key = "step_epochs", .type = MD_SCHEMA_INT, AT(training.step_epochs), .least = 1,
     .most = 100000, .fallback = "30"},
    REAL(step_factor, 1e-6, 1, "0.1"),
    REAL(last_factor, 0, 1, "0"),
    REAL(average, 0, 0.999999, "0"),
    REAL(clip_norm, 0, 1e9, "0"),
    {.key = "early_stopping_epochs", .type = MD_SCHEMA_INT, AT(training.early_stopping_epochs),
     .least = 0, .most = 100000, .fallback = "0"},
    {.key = "precision", .type = MD_SCHEMA_ENUM, AT(training.precision), .fallback = "f32",
     .choices = precisions},
    {.key = "backend", .type = MD_SCHEMA_ENUM, AT(training.backend), .fallback = "auto",
     .choices = backends},
    {.key = "sizes", .type = MD_SCHEMA_LIST, AT(training.sizes), .item = &size_item,
     .max_items = MD_RECIPE_MAX_SIZES, COUNT(training.n_sizes)},
    {.key = "max_mib", .type = MD_SCHEMA_INT, AT(training.max_mib), .least = 0, .most = 1048576,
     .unit = "MiB", .fallback = "0"},
    {.key = "loader_threads", .type = MD_SCHEMA_INT, AT(training.loader_threads), .least = 1,
     .most = 256, .fallback = "1"},
    {.key = "checkpoint_epochs", .type = MD_SCHEMA_INT, AT(training.checkpoint_epochs),
     .least = 1, .most = 100000, .fallback = "1"},
    {.key = NULL},
};

static const md_schema_field evaluation_fields[] = {
    {.key = "bootstrap", .type = MD_SCHEMA_INT, AT(evaluation.bootstrap), .least = 0,
     .most = 1000000, .fallback = "2000"},
    {.key = "test_time", .type = MD_SCHEMA_MAP, .offset = offsetof(md_recipe, evaluation.test_time),
     .fields = md_test_time_fields, LINE(evaluation.test_time_line)},
    {.key = "calibration", .type = MD_SCHEMA_ENUM, AT(evaluation.calibration),
     .fallback = "none", .choices = calibrations},
    {.key = "threshold", .type = MD_SCHEMA_ENUM, AT(evaluation.threshold), .fallback = "given",
     .choices = thresholds},
    {.key = "sensitivity", .type = MD_SCHEMA_REAL, AT(evaluation.sensitivity), .least = 0,
     .most = 1, .fallback = "0.95"},
    {.key = "age_bands", .type = MD_SCHEMA_LIST, AT(evaluation.age_bands), .item = &age_item,
     .max_items = MD_RECIPE_MAX_BANDS, COUNT(evaluation.n_age_bands)},
    {.key = NULL},
};

const md_schema_field md_recipe_fields[] = {
    {.key = "medaid_recipe", .type = MD_SCHEMA_INT, AT(schema_version), .required = true,
     .least = 1, .most = 1},
    {.key = "name", .type = MD_SCHEMA_TEXT, AT(name), .required = true, .least = 1,
     .check = md_schema_check_slug},
    {.key = "seed", .type = MD_SCHEMA_INT, AT(seed), .least = 0, .most = 9007199254740991,
     .fallback = "1"},
    {.key = "run_folder", .type = MD_SCHEMA_TEXT, AT(run_folder), .required = true, .least = 1},
    {.key = "threads", .type = MD_SCHEMA_INT, AT(threads), .least = 0, .most = 1024,
     .fallback = "0"},
    {.key = "data", .type = MD_SCHEMA_MAP, .fields = data_fields, .required = true,
     LINE(data.line)},
    {.key = "preprocess", .type = MD_SCHEMA_MAP, .offset = offsetof(md_recipe, preprocess),
     .fields = md_preprocess_spec_fields, LINE(preprocess.line),
     .has_offset = offsetof(md_recipe, has_preprocess)},
    {.key = "text", .type = MD_SCHEMA_MAP, .fields = text_fields, LINE(text.line),
     .has_offset = offsetof(md_recipe, text.there)},
    {.key = "augment", .type = MD_SCHEMA_MAP, .fields = augment_fields, LINE(augment_line),
     .has_offset = offsetof(md_recipe, has_augment_section)},
    {.key = "network", .type = MD_SCHEMA_MAP, .fields = network_fields, .required = true,
     LINE(network.line)},
    {.key = "training", .type = MD_SCHEMA_MAP, .fields = training_fields, .required = true,
     LINE(training.line)},
    {.key = "evaluation", .type = MD_SCHEMA_MAP, .fields = evaluation_fields,
     LINE(evaluation.line),
     .has_offset = offsetof(md_recipe, has_evaluation)},
    {.key = "export", .type = MD_SCHEMA_MAP, .offset = offsetof(md_recipe, package.manifest),
     .fields = md_manifest_recipe_fields, LINE(package.line),
     .has_offset = offsetof(md_recipe, package.there)},
    {.key = NULL},
};
/* clang-format on */
