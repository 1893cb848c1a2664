/* The parts of the page that explain and warn: style, groups, limits, glossary. */

#include "plugins/train/page_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void md_page_style(md_page_writer *w)
{
    md_markup_add(
        &w->html,
        "<style>\n"
        ":root{color-scheme:light dark}\n"
        "body{font:16px/1.55 \"DejaVu Sans\",Verdana,\"Segoe "
        "UI\",Arial,sans-serif;color:#1f2430;"
        "background:#fff;max-width:54rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}\n"
        "h1{font-size:1.6rem;line-height:1.25;margin:.2em 0}h2{font-size:1.2rem;margin:2.2em 0 "
        ".5em;"
        "border-bottom:1px solid #c9ced6;padding-bottom:.2em}h3{font-size:1.02rem;margin:1.6em "
        "0 "
        ".4em}\n"
        "table{border-collapse:collapse;margin:.8em 0;font-size:.92rem}th,td{text-align:left;"
        "padding:.35em .8em .35em 0;border-bottom:1px solid #dfe3e8;vertical-align:top}\n"
        "th{font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\n"
        ".wide{overflow-x:auto}svg{max-width:100%;height:auto}figure{margin:1em 0}\n"
        ".note{color:#5b6470;font-size:.9rem}.warn{border-left:4px solid #d55e00;padding:.5em "
        ".9em;background:#f6f1ec}\n"
        "dt{font-weight:600;margin-top:.7em}dd{margin:0}\n"
        "@media screen and (prefers-color-scheme:dark){body{color:#e6e8ec;background:#14171c}"
        "h2{border-color:#3d444e}th,td{border-color:#343a42}.note{color:#a5aeba}"
        ".warn{background:#2a211b;border-color:#ff8a4c}}\n"
        "@media print{body{max-width:none}figure,table{break-inside:avoid}}\n");
    md_markup_add(&w->html, MD_DRAWING_STYLE);
    md_markup_add(&w->html, "</style>\n");
}

/* AUC of all groups of one answer. */
static void draw_groups(md_page_writer *w, const md_assess_answer *answer)
{
    enum {
        MOST = 100
    };
    md_chart_interval rows[2 * MOST];
    char names[MOST][MD_ASSESS_NAME_BYTES + 32];
    unsigned n = 0, n_names = 0;
    double low = 1;
    for (size_t i = 0; i < answer->n_groups && n_names < MOST; i++) {
        const md_assess_group *g = &answer->groups[i];
        const md_estimate *e = &g->measures.of[MD_MEASURE_AUC];
        const md_chart_interval nothing = {"", (double)NAN, (double)NAN, (double)NAN, "", true};
        if (i == 0 || strcmp(g->column, answer->groups[i - 1].column) != 0) {
            rows[n] = nothing;
            rows[n++].name = g->column;
        }
        (void)snprintf(names[n_names], sizeof names[0], "%s (n = %zu)", g->label,
                       g->measures.n);
        const bool bounded = e->method != MD_ASSESS_NO_INTERVAL;
        rows[n++] = (md_chart_interval){names[n_names++],
                                        e->value,
                                        bounded ? e->low : (double)NAN,
                                        bounded ? e->high : (double)NAN,
                                        g->too_small      ? "too few to tell"
                                        : isnan(e->value) ? "not defined"
                                                          : NULL,
                                        false};
        low = isfinite(e->value) ? fmin(low, bounded ? e->low : e->value) : low;
    }
    char title[160];
    (void)snprintf(title, sizeof title, "AUC for %s by group", answer->name);
    md_drawing *d = NULL;
    const md_estimate *all = &answer->measures.of[MD_MEASURE_AUC];
    low = floor(fmin(low, 0.95) * 20) / 20;
    const md_status made = md_chart_intervals(title, rows, n, low, 1, all->value, &d, w->err);
    md_page_figure(w, made, &d);
}

static void group_row(md_page_writer *w, const md_assess_group *g)
{
    md_markup_add(&w->html, "<tr><td>");
    md_markup_escape(&w->html, g->column);
    md_markup_add(&w->html, ": ");
    md_markup_escape(&w->html, g->label);
    md_markup_format(&w->html, "</td><td class=\"n\">%zu</td><td class=\"n\">%zu</td>",
                     g->measures.n_positive, g->measures.n_negative);
    if (g->too_small) {
        md_markup_format(&w->html,
                         "<td colspan=\"3\" class=\"note\">too few to tell: fewer than %d "
                         "with or without the finding</td></tr>\n",
                         (int)MD_ASSESS_LEAST_CASES);
        return;
    }
    static const md_measure_kind kinds[] = {MD_MEASURE_SENSITIVITY, MD_MEASURE_SPECIFICITY,
                                            MD_MEASURE_AUC};
    for (unsigned k = 0; k < 3; k++) {
        md_markup_add(&w->html, "<td>");
        md_page_estimate(w, &g->measures.of[kinds[k]], kinds[k] != MD_MEASURE_AUC);
        md_markup_add(&w->html, "</td>");
    }
    md_markup_add(&w->html, "</tr>\n");
}

void md_page_groups(md_page_writer *w)
{
    const md_assessment *a = w->page->assessment;
    bool any = false;
    for (unsigned q = 0; q < a->n_answers; q++) {
        any = any || a->answers[q].n_groups > 0;
    }
    if (!any) {
        return;
    }
    md_page_heading(w, "groups", "Groups of patients");
    md_markup_add(
        &w->html,
        "<p>A model may do well on the whole and badly for some. Intervals that do not "
        "overlap the overall figure deserve a question; with many groups one of twenty "
        "does so by chance.</p>\n");
    for (unsigned q = 0; q < a->n_answers; q++) {
        const md_assess_answer *answer = &a->answers[q];
        if (answer->n_groups == 0) {
            continue;
        }
        md_markup_add(&w->html, "<h3>");
        md_markup_escape(&w->html, answer->name);
        md_markup_add(&w->html,
                      "</h3>\n<div class=\"wide\"><table><tr><th>Group</th><th class=\"n\">"
                      "with</th><th class=\"n\">without</th><th>Sensitivity</th><th>"
                      "Specificity</th><th>AUC</th></tr>\n");
        for (size_t i = 0; i < answer->n_groups; i++) {
            group_row(w, &answer->groups[i]);
        }
        md_markup_add(&w->html, "</table></div>\n");
        draw_groups(w, answer);
    }
}

/* What the figures themselves give reason to say. */
static void found_limits(md_page_writer *w, const md_assess_answer *answer)
{
    const md_measures *m = &answer->measures;
    const md_estimate *error = &m->of[MD_MEASURE_CALIBRATION_ERROR];
    unsigned n_small = 0;
    for (size_t i = 0; i < answer->n_groups; i++) {
        n_small += answer->groups[i].too_small;
    }
    if (m->n_positive < 100 || m->n_negative < 100) {
        md_markup_add(&w->html, "<li>");
        md_markup_escape(&w->html, answer->name);
        md_markup_format(&w->html,
                         ": only %zu %s with and %zu without it; the figures may well be other "
                         "ones in the next hundred.</li>\n",
                         m->n_positive, w->units, m->n_negative);
    }
    if (error->value > 0.05) {
        md_markup_add(&w->html, "<li>");
        md_markup_escape(&w->html, answer->name);
        md_markup_format(
            &w->html,
            ": a score is off by %.0f percentage points on average: do not read it "
            "as a probability.</li>\n",
            100 * error->value);
    }
    if (answer->n_without_score > 0) {
        md_markup_add(&w->html, "<li>");
        md_markup_escape(&w->html, answer->name);
        md_markup_format(&w->html, ": %zu %s have no score and are not in the figures.</li>\n",
                         answer->n_without_score, w->units);
    }
    if (n_small > 0) {
        md_markup_add(&w->html, "<li>");
        md_markup_escape(&w->html, answer->name);
        md_markup_format(&w->html, ": %u %s too small to say anything about.</li>\n", n_small,
                         n_small == 1 ? "group is" : "groups are");
    }
}

void md_page_limits(md_page_writer *w)
{
    md_page_heading(w, "limits", "Limits");
    md_markup_add(&w->html, "<ul>\n");
    for (unsigned i = 0; i < w->page->n_limits; i++) {
        md_markup_add(&w->html, "<li>");
        md_markup_escape(&w->html, w->page->limits[i]);
        md_markup_add(&w->html, "</li>\n");
    }
    const md_assessment *a = w->page->assessment;
    for (unsigned q = 0; a != NULL && q < a->n_answers; q++) {
        found_limits(w, &a->answers[q]);
    }
    md_markup_add(
        &w->html,
        "<li>The figures hold for patients, machines and labels like those it was "
        "measured on. Other hospitals, ages, machines or diseases can give other "
        "ones.</li>\n"
        "<li>Research use only. A result below the threshold does not rule the finding "
        "out, and a result above it does not prove it.</li>\n</ul>\n");
}

void md_page_glossary(md_page_writer *w)
{
    static const char *const terms[][2] = {
        {"95% interval", "The values that go together with the data. If the whole measurement "
                         "were repeated on other patients of the same kind, about 95 of 100 "
                         "such intervals would hold the true value. A wide one means: too few "
                         "patients to say it more exactly."},
        {"Accuracy", "The share of right answers among all. It depends on how frequent the "
                     "finding is: where it is rare, always saying no is already accurate."},
        {"AUC", "Area under the ROC curve: the chance that of two patients, one with and one "
                "without the finding, the one with it has the higher score. 0.5 is guessing, 1 "
                "is perfect. It does not depend on the threshold."},
        {"Average precision", "The mean of the precision over all sensitivities. A blind guess "
                              "reaches the share of patients that have the finding."},
        {"Bootstrap by patient",
         "The way most intervals here were found: the patients are drawn "
         "again and again at random, each with all of his images, and "
         "the figure is worked out anew each time."},
        {"Brier score", "The mean squared distance between score and truth (0 or 1). 0 is "
                        "perfect; always saying 50% gives 0.25."},
        {"Calibration", "Whether scores mean what they say: of the patients with a score of "
                        "80%, 80 of 100 should have the finding. The calibration error is the "
                        "mean distance from that."},
        {"F1", "One number for sensitivity and precision together (their harmonic mean)."},
        {"Negative predictive value", "Of the patients called negative, the share that really "
                                      "have not got the finding. It rises where the finding is "
                                      "rare."},
        {"Positive predictive value, precision",
         "Of the patients called positive, the share that really have the finding. It falls "
         "where the finding is rare."},
        {"ROC curve", "Sensitivity against false alarms, for every threshold that one could "
                      "choose."},
        {"Score", "The number from 0 to 1 that the model gives."},
        {"Sensitivity, recall", "Of the patients with the finding, the share that the model "
                                "calls positive."},
        {"Specificity", "Of the patients without the finding, the share that the model calls "
                        "negative."},
        {"Threshold", "The score from which on the model says that the finding is present."},
        {"Training, validation, test",
         "The model learns from the training part; choices are "
         "made on the validation part; the test part is looked at "
         "once, at the end. No patient is in two parts."},
        {"Youden", "The threshold at which sensitivity plus specificity is largest."},
    };
    md_page_heading(w, "terms", "What the terms mean");
    md_markup_add(&w->html, "<dl>\n");
    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++) {
        md_markup_format(&w->html, "<dt>%s</dt><dd>%s</dd>\n", terms[i][0], terms[i][1]);
    }
    md_markup_add(&w->html, "</dl>\n");
}
