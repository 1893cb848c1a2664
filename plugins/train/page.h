#ifndef MEDAID_PLUGINS_TRAIN_PAGE_H
#define MEDAID_PLUGINS_TRAIN_PAGE_H

/* The report of a training or an evaluation: one HTML file that needs nothing else, for a
 * radiologist to read. What the model is for, on what it was measured, every figure with its
 * interval in words, threshold, calibration, confusion, groups, limits, and a glossary. All
 * texts are escaped; there is no script. Pure; any thread. */

#include "plugins/train/assess.h"
#include "plugins/train/drawing.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_PAGE_MAX_PARTS = 8
};

typedef struct md_page_fact {
    const char *name, *text;
} md_page_fact;

/* A table of words; the caller's numbers are words already. */
typedef struct md_page_table {
    const char *title, *note;
    const char *const *cells; /* [(n_rows + 1) * n_columns], the first row is the heading */
    unsigned n_rows, n_columns;
} md_page_table;

/* A drawing with a heading and a note. */
typedef struct md_page_figure_of {
    const char *title, *note;
    const md_drawing *drawing;
} md_page_figure_of;

/* A part of the data: "training", "validation", "test". */
typedef struct md_page_part {
    const char *name;
    size_t n_images, n_patients;
    const size_t *counts; /* [n_classes of the page], images of each class */
} md_page_part;

/* Everything borrowed; NULL and 0 where there is nothing: the section is left out. */
typedef struct md_page {
    const char *title;         /* "Chest pneumonia, version 1.0.0" */
    const char *intended_use;  /* plain text; blank lines divide paragraphs */
    const char *units;         /* what a row is: "films"; NULL: "studies" */
    const char *measured_on;   /* "the validation part", inside a sentence */
    const md_page_fact *facts; /* about the model: network, seed, duration, hash, ... */
    unsigned n_facts;
    const char *const *classes; /* of the parts' counts */
    unsigned n_classes;
    const md_page_part *parts;
    unsigned n_parts;
    const char *split; /* how the parts were made */
    const md_assessment *assessment;
    const md_drawing *curves;  /* of the training */
    const char *const *limits; /* sentences, beside those that the page itself finds */
    unsigned n_limits;
    /* More tables with a heading and a note: ablations, counts of failed results, ... */
    const md_page_table *tables;
    unsigned n_tables;
    const md_page_figure_of *figures;
    unsigned n_figures;
} md_page;

/* MD_NOMEM, MD_LIMIT. Caller frees; the text ends with a zero. */
md_status md_page_make(const md_page *page, char **ret_html, size_t *ret_size, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* The same into FOLDER/NAME.html, whole or not at all. MD_IO. */
md_status md_page_write(const md_page *page, const char *folder, const char *name,
                        md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* The charts of an assessment, as they stand in the page: confusion (when there are classes),
 * roc, precision-recall; and for each answer histogram-NAME and reliability-NAME when there are
 * several, else histogram and reliability; as .svg and .png into the folder. */
md_status md_page_write_charts(const md_assessment *assessment, const char *folder,
                               md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
