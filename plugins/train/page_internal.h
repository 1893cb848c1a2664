#ifndef MEDAID_PLUGINS_TRAIN_PAGE_INTERNAL_H
#define MEDAID_PLUGINS_TRAIN_PAGE_INTERNAL_H

/* Inside plugins/train only: the parts of the page. */

#include "plugins/train/chart.h"
#include "plugins/train/markup.h"
#include "plugins/train/page.h"

/* What is written, and the first thing that went wrong. */
typedef struct md_page_writer {
    md_markup html;
    const md_page *page;
    const char *units; /* "films" */
    md_status status;
    md_error *err;
} md_page_writer;

/* "96.2% (95% interval 94.7% to 97.7%)"; "0.995 (...)" unless percent; "not defined". */
void md_page_estimate(md_page_writer *w, const md_estimate *estimate, bool percent);
void md_page_heading(md_page_writer *w, const char *id, const char *text);
/* Draw into the page and destroy the drawing; `status` is that of making it. */
void md_page_figure(md_page_writer *w, md_status status, md_drawing **drawing);

void md_page_style(md_page_writer *w);
void md_page_glossary(md_page_writer *w);
void md_page_limits(md_page_writer *w);
void md_page_groups(md_page_writer *w);

/* The charts of an assessment; the caller destroys. */
md_status md_page_roc(const md_assessment *a, md_drawing **ret_drawing, md_error *err)
    MD_NODISCARD;
md_status md_page_precision_recall(const md_assessment *a, md_drawing **ret_drawing,
                                   md_error *err) MD_NODISCARD;
md_status md_page_histogram(const md_assess_answer *answer, const char *units,
                            md_drawing **ret_drawing, md_error *err) MD_NODISCARD;
md_status md_page_reliability(const md_assess_answer *answer, md_drawing **ret_drawing,
                              md_error *err) MD_NODISCARD;
md_status md_page_confusion(const md_assessment *a, const char *units, md_drawing **ret_drawing,
                            md_error *err) MD_NODISCARD;

#endif
