#include "conf/conf_internal.h"

static const md_schema_choice index_kinds[] = {{"auto", MD_CONF_INDEX_AUTO},
                                               {"exact", MD_CONF_INDEX_EXACT},
                                               {"graph", MD_CONF_INDEX_GRAPH},
                                               {NULL, 0}};

const md_schema_field md_conf_similar_fields[] = {
    {.key = "enabled",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf, similar.enabled),
     .fallback = "true",
     .help = "false: nothing is kept and nothing shown; what was kept stays until its time is "
             "over."},
    {.key = "n_nearest",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, similar.n_nearest),
     .least = 1,
     .most = 100,
     .fallback = "5",
     .help = "How many are shown of a study."},
    {.key = "index",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf, similar.index),
     .choices = index_kinds,
     .fallback = "auto",
     .help = "exact: a study is compared with every other. graph: with those that a graph of "
             "near neighbours leads to, which is faster from some 100,000 on, takes memory and "
             "may miss one. auto: exact below 100,000."},
    {.key = "max_cases",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, similar.max_cases),
     .least = 100,
     .most = 10000000,
     .fallback = "50000",
     .help = "Of each model the newest so many are kept. A case takes 4 bytes for each number, "
             "usually some 4 KiB, in memory, in the index's file and in the database."},
    {.key = "keep_d",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, similar.keep_d),
     .least = 0,
     .most = 36500,
     .unit = "d",
     .fallback = "365",
     .help =
         "How long a case is kept, also when its images are gone (storage.keep_h): numbers "
         "that a network made of images, age and sex, under a keyed hash. 0: as long as the "
         "study."},
    {.key = NULL},
};
