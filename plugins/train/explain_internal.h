#ifndef MEDAID_PLUGINS_TRAIN_EXPLAIN_INTERNAL_H
#define MEDAID_PLUGINS_TRAIN_EXPLAIN_INTERNAL_H

#include "plugins/host/analyzer.h"
#include "plugins/host/manifest.h"
#include "plugins/train/explain.h"

enum {
    MD_EXPLAIN_CELLS = MD_EXPLAIN_GRID * MD_EXPLAIN_GRID
};

typedef struct md_explain_film {
    char *path;
    md_map_region *regions; /* owned */
    size_t n_regions;
    bool unreadable;
    double score;
    md_presence presence;
    /* [MD_EXPLAIN_CELLS] over the whole film: of the trained network, then of each stage */
    float *maps[MD_EXPLAIN_MAX_STAGES + 1];
} md_explain_film;

typedef struct md_explaining {
    const md_explain_options *options;
    const md_manifest *manifest; /* of `trained`, which owns it */
    md_analyzer *trained;
    unsigned finding; /* index */
    md_explain_film *films;
    size_t n_films;
    md_explanation *result;
} md_explaining;

/* List options->data. MD_NOT_FOUND, MD_FORMAT, MD_LIMIT, MD_NOMEM. */
md_status md_explain_list(md_explaining *x, md_error *err) MD_NODISCARD;
/* The film's display or physical values, whole. Caller finishes. */
md_status md_explain_read(const md_explaining *x, const md_explain_film *film,
                          md_raster *ret_raster, md_error *err) MD_NODISCARD;
/* explain.json and the pictures. */
md_status md_explain_write(const md_explaining *x, md_error *err) MD_NODISCARD;

#endif
