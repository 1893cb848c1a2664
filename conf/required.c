#include "conf/required.h"

#include <string.h>

/* A Code String, PS3.5 6.2. */
static bool is_cs(const char *text, size_t length)
{
    return length >= 1 && length <= 16 &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ ") >= length;
}

static const char *check_word(const char *text)
{
    return is_cs(text, strlen(text))
               ? NULL
               : "a code string: 1..16 capital letters, digits, '_' and spaces";
}

static const char *check_view(const char *text)
{
    for (const char *part = text;; part++) {
        size_t length = strcspn(part, "/");
        if (!is_cs(part, length)) {
            return "a view such as PA, or several of which one is enough, such as LL/RL";
        }
        part += length;
        if (*part == '\0') {
            return NULL;
        }
    }
}

static const md_schema_field word_item = {.key = "word",
                                          .type = MD_SCHEMA_TEXT,
                                          .size_bytes = MD_REQUIRED_WORD_BYTES,
                                          .least = 1,
                                          .check = check_word};
static const md_schema_field view_item = {.key = "view",
                                          .type = MD_SCHEMA_TEXT,
                                          .size_bytes = MD_REQUIRED_VIEW_BYTES,
                                          .least = 1,
                                          .check = check_view};

#define VIEWS_AND_COUNT                                                                        \
    {.key = "views",                                                                           \
     .type = MD_SCHEMA_LIST,                                                                   \
     MD_SCHEMA_AT(md_required, views),                                                         \
     .item = &view_item,                                                                       \
     .max_items = MD_REQUIRED_MAX_VIEWS,                                                       \
     .n_offset = offsetof(md_required, n_views),                                               \
     .example = "[PA, LL/RL]",                                                                 \
     .help = "Each of these views must be there; with '/' one of several is enough."},         \
    {                                                                                          \
        .key = "count", .type = MD_SCHEMA_INT, MD_SCHEMA_AT(md_required, count), .least = 0,   \
        .most = 65536, .fallback = "0",                                                        \
        .help = "And so many images altogether; 0: any number."                                \
    }

static const md_schema_field required_fields[] = {
    {.key = "modality",
     .type = MD_SCHEMA_LIST,
     MD_SCHEMA_AT(md_required, modality),
     .item = &word_item,
     .max_items = MD_REQUIRED_MAX_WORDS,
     .n_offset = offsetof(md_required, n_modality),
     .example = "[CR, DX]",
     .help = "Images of these modalities count, and of these body parts; without a key: all."},
    {.key = "body_part",
     .type = MD_SCHEMA_LIST,
     MD_SCHEMA_AT(md_required, body_part),
     .item = &word_item,
     .max_items = MD_REQUIRED_MAX_WORDS,
     .n_offset = offsetof(md_required, n_body_part),
     .example = "[CHEST]",
     .help = "Body Part Examined (0018,0015)."},
    VIEWS_AND_COUNT,
    {.key = NULL},
};
const md_schema_field md_required_item = {.key = "entry",
                                          .type = MD_SCHEMA_MAP,
                                          .fields = required_fields,
                                          .line_offset = offsetof(md_required, line)};

const md_schema_field md_required_manifest_fields[] = {VIEWS_AND_COUNT, {.key = NULL}};
