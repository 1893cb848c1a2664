#include "plugins/train/page.h"

#include "base/file.h"
#include "plugins/train/page_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void md_page_heading(md_page_writer *w, const char *id, const char *text)
{
    md_markup_format(&w->html, "<h2 id=\"%s\">%s</h2>\n", id, text);
}

void md_page_figure(md_page_writer *w, md_status status, md_drawing **drawing)
{
    MD_AUTO(md_freep) char *svg = NULL;
    size_t n = 0;
    if (w->status == MD_OK) {
        w->status = status;
    }
    if (w->status == MD_OK) {
        w->status = md_drawing_svg(*drawing, false, &svg, &n, w->err);
    }
    if (w->status == MD_OK) {
        md_markup_add(&w->html, "<figure>");
        md_markup_add(&w->html, svg);
        md_markup_add(&w->html, "</figure>\n");
    }
    md_drawing_destroy(*drawing);
    *drawing = NULL;
}

void md_page_estimate(md_page_writer *w, const md_estimate *e, bool percent)
{
    if (isnan(e->value)) {
        md_markup_add(&w->html, "not defined");
        return;
    }
    const double factor = percent ? 100 : 1;
    const char *unit = percent ? "%" : "";
    const int digits = percent ? 1 : 3;
    md_markup_format(&w->html, "%.*f%s", digits, factor * e->value, unit);
    if (e->method != MD_ASSESS_NO_INTERVAL) {
        md_markup_format(&w->html, " (%.*f%s to %.*f%s)", digits, factor * e->low, unit, digits,
                         factor * e->high, unit);
    }
}

static void write_paragraphs(md_page_writer *w, const char *text)
{
    md_markup_add(&w->html, "<p>");
    for (const char *at = text; *at != '\0';) {
        const char *end = strstr(at, "\n\n");
        const size_t n = end != NULL ? (size_t)(end - at) : strlen(at);
        for (size_t i = 0; i < n;) {
            char piece[256];
            size_t k = 0;
            /* whole characters: at most 4 bytes more */
            while (i < n && (k < sizeof piece - 5 || (at[i] & 0xc0) == 0x80) &&
                   k < sizeof piece - 1) {
                piece[k++] = at[i] == '\n' || at[i] == '\t' ? ' ' : at[i];
                i++;
            }
            piece[k] = '\0';
            md_markup_escape(&w->html, piece);
        }
        at += n;
        at += strspn(at, "\n");
        md_markup_add(&w->html, *at != '\0' ? "</p>\n<p>" : "");
    }
    md_markup_add(&w->html, "</p>\n");
}

static void write_head(md_page_writer *w)
{
    const md_page *p = w->page;
    md_markup_add(&w->html,
                  "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                  "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                  "style-src 'unsafe-inline'\">\n<title>");
    md_markup_escape(&w->html, p->title);
    md_markup_add(&w->html, "</title>\n");
    md_page_style(w);
    md_markup_add(&w->html, "</head>\n<body>\n<h1>");
    md_markup_escape(&w->html, p->title);
    md_markup_add(&w->html, "</h1>\n");
    if (p->intended_use != NULL && p->intended_use[0] != '\0') {
        md_page_heading(w, "use", "What it is for");
        write_paragraphs(w, p->intended_use);
    }
}

/* "Of 100 films with pneumonia it finds about 96 (95 to 98)". */
static void write_in_short(md_page_writer *w, const md_assess_answer *answer)
{
    const md_estimate *se = &answer->measures.of[MD_MEASURE_SENSITIVITY];
    const md_estimate *sp = &answer->measures.of[MD_MEASURE_SPECIFICITY];
    md_markup_format(&w->html, "<li>Of 100 %s with <b>", w->units);
    md_markup_escape(&w->html, answer->name);
    md_markup_add(&w->html, "</b> ");
    if (isnan(se->value)) {
        md_markup_add(&w->html, "nothing can be said: none was there.");
    } else {
        md_markup_format(&w->html, "it finds about %.0f", 100 * se->value);
        if (se->method != MD_ASSESS_NO_INTERVAL) {
            md_markup_format(&w->html, " (95%% interval: %.0f to %.0f)", 100 * se->low,
                             100 * se->high);
        }
        md_markup_add(&w->html, ".");
    }
    md_markup_add(&w->html, " Of 100 without it ");
    if (isnan(sp->value)) {
        md_markup_add(&w->html, "nothing can be said: none was there.");
    } else {
        md_markup_format(&w->html, "about %.0f are a false alarm", 100 * (1 - sp->value));
        if (sp->method != MD_ASSESS_NO_INTERVAL) {
            md_markup_format(&w->html, " (%.0f to %.0f)", 100 * (1 - sp->high),
                             100 * (1 - sp->low));
        }
        md_markup_add(&w->html, ".");
    }
    md_markup_add(&w->html, "</li>\n");
}

static void write_summary(md_page_writer *w)
{
    const md_assessment *a = w->page->assessment;
    md_page_heading(w, "short", "In short");
    md_markup_format(&w->html, "<p>Measured on %zu %s of %zu patients", a->n, w->units,
                     a->n_patients);
    if (w->page->measured_on != NULL) {
        md_markup_add(&w->html, ", ");
        md_markup_escape(&w->html, w->page->measured_on);
    }
    md_markup_add(&w->html, ", at the threshold in use:</p>\n<ul>\n");
    for (unsigned q = 0; q < a->n_answers; q++) {
        write_in_short(w, &a->answers[q]);
    }
    md_markup_add(&w->html, "</ul>\n");
    if (a->n_classes > 0 && !isnan(a->class_accuracy.value)) {
        md_markup_format(&w->html, "<p>The right one of the %u classes: ", a->n_classes);
        md_page_estimate(w, &a->class_accuracy, true);
        md_markup_add(&w->html, " of all; mean over the classes ");
        md_page_estimate(w, &a->balanced_accuracy, true);
        md_markup_add(&w->html, ".</p>\n");
    }
}

static void write_data(md_page_writer *w)
{
    const md_page *p = w->page;
    if (p->n_parts == 0 && p->n_facts == 0) {
        return;
    }
    md_page_heading(w, "data", "Model and data");
    if (p->n_facts > 0) {
        md_markup_add(&w->html, "<table>\n");
        for (unsigned i = 0; i < p->n_facts; i++) {
            md_markup_add(&w->html, "<tr><th>");
            md_markup_escape(&w->html, p->facts[i].name);
            md_markup_add(&w->html, "</th><td>");
            md_markup_escape(&w->html, p->facts[i].text);
            md_markup_add(&w->html, "</td></tr>\n");
        }
        md_markup_add(&w->html, "</table>\n");
    }
    if (p->n_parts > 0) {
        md_markup_format(&w->html,
                         "<div class=\"wide\"><table>\n<tr><th>Part</th><th class=\"n\">%s</th>"
                         "<th class=\"n\">patients</th>",
                         w->units);
        for (unsigned k = 0; k < p->n_classes; k++) {
            md_markup_add(&w->html, "<th class=\"n\">");
            md_markup_escape(&w->html, p->classes[k]);
            md_markup_add(&w->html, "</th>");
        }
        md_markup_add(&w->html, "</tr>\n");
        for (unsigned i = 0; i < p->n_parts; i++) {
            md_markup_add(&w->html, "<tr><td>");
            md_markup_escape(&w->html, p->parts[i].name);
            md_markup_format(&w->html, "</td><td class=\"n\">%zu</td><td class=\"n\">%zu</td>",
                             p->parts[i].n_images, p->parts[i].n_patients);
            for (unsigned k = 0; k < p->n_classes; k++) {
                md_markup_format(&w->html, "<td class=\"n\">%zu</td>", p->parts[i].counts[k]);
            }
            md_markup_add(&w->html, "</tr>\n");
        }
        md_markup_add(&w->html, "</table></div>\n");
    }
    if (p->split != NULL) {
        write_paragraphs(w, p->split);
    }
}

/* Each measure with what it says about these patients. */
static void write_figures(md_page_writer *w, const md_assess_answer *answer)
{
    const md_measures *m = &answer->measures;
    md_markup_add(&w->html, "<h3>");
    md_markup_escape(&w->html, answer->name);
    md_markup_format(&w->html, "</h3>\n<p>%zu %s of %zu patients, %zu with and %zu without it",
                     m->n, w->units, m->n_patients, m->n_positive, m->n_negative);
    if (answer->n_without_truth > 0) {
        md_markup_format(&w->html, "; %zu more have no known truth", answer->n_without_truth);
    }
    md_markup_add(&w->html, ".</p>\n<div class=\"wide\"><table>\n<tr><th>Measure</th><th>Value "
                            "(95% interval)</th><th>Interval by</th></tr>\n");
    for (unsigned k = 0; k < MD_N_MEASURES; k++) {
        static const char *const methods[] = {
            "none", "bootstrap by patient", "DeLong, patients as clusters", "Wilson, patients"};
        md_markup_format(&w->html, "<tr><td>%s</td><td>", md_measure_name((md_measure_kind)k));
        md_page_estimate(w, &m->of[k], k <= MD_MEASURE_ACCURACY);
        md_markup_format(&w->html, "</td><td class=\"note\">%s</td></tr>\n",
                         methods[m->of[k].method]);
    }
    const md_tally *t = &m->tally;
    md_markup_format(
        &w->html,
        "</table></div>\n<table>\n<tr><th></th><th class=\"n\">called present</th><th "
        "class=\"n\">called absent</th></tr>\n<tr><td>really present</td><td "
        "class=\"n\">%llu</td>"
        "<td class=\"n\">%llu missed</td></tr>\n<tr><td>really absent</td><td class=\"n\">%llu "
        "false alarms</td><td class=\"n\">%llu</td></tr>\n</table>\n",
        (unsigned long long)t->true_positive, (unsigned long long)t->false_negative,
        (unsigned long long)t->false_positive, (unsigned long long)t->true_negative);
    if (m->n > 0) {
        md_markup_format(
            &w->html,
            "<p class=\"note\">%.0f of 100 %s here have it. Where it is rarer the "
            "positive predictive value is lower and the negative one higher.</p>\n",
            100.0 * (double)m->n_positive / (double)m->n, w->units);
    }
}

static void threshold_row(md_page_writer *w, const char *name, const md_threshold *t)
{
    if (!t->there) {
        md_markup_format(&w->html,
                         "<tr><td>%s</td><td colspan=\"5\" class=\"note\">no threshold does "
                         "this</td></tr>\n",
                         name);
        return;
    }
    char number[32] = "not the same for all";
    if (!isnan(t->threshold)) {
        (void)snprintf(number, sizeof number, "%.4g", t->threshold);
    }
    md_markup_format(&w->html,
                     "<tr><td>%s</td><td class=\"n\">%s</td><td class=\"n\">%.1f%%</td><td "
                     "class=\"n\">%.1f%%</td><td class=\"n\">%llu</td><td class=\"n\">%llu</td>"
                     "</tr>\n",
                     name, number, 100 * md_tally_sensitivity(&t->tally),
                     100 * md_tally_specificity(&t->tally),
                     (unsigned long long)t->tally.false_negative,
                     (unsigned long long)t->tally.false_positive);
}

static void write_threshold(md_page_writer *w, const md_assess_answer *answer)
{
    const md_measures *m = &answer->measures;
    const md_threshold used = {m->n_positive > 0 && m->n_negative > 0, answer->threshold,
                               m->tally};
    md_markup_add(&w->html, "<h3>");
    md_markup_escape(&w->html, answer->name);
    md_markup_add(
        &w->html,
        "</h3>\n<div class=\"wide\"><table>\n<tr><th>Rule</th><th class=\"n\">Threshold"
        "</th><th class=\"n\">Sensitivity</th><th class=\"n\">Specificity</th><th "
        "class=\"n\">missed</th><th class=\"n\">false alarms</th></tr>\n");
    threshold_row(w, "in use", &used);
    threshold_row(w, "Youden", &answer->youden);
    threshold_row(w, "sensitivity at least 95%", &answer->sensitivity_95);
    threshold_row(w, "specificity at least 95%", &answer->specificity_95);
    md_markup_add(&w->html, "</table></div>\n");
    md_drawing *d = NULL;
    const md_status made = md_page_histogram(answer, w->units, &d, w->err);
    md_page_figure(w, made, &d);
}

static void fit_row(md_page_writer *w, const char *name, const char *words,
                    const md_assess_fit *fit)
{
    if (!fit->there) {
        md_markup_format(&w->html,
                         "<tr><td>%s</td><td colspan=\"3\" class=\"note\">could not be fitted: "
                         "too few %s with or without it</td></tr>\n",
                         name, w->units);
        return;
    }
    md_markup_format(&w->html, "<tr><td>%s</td><td>%s", name, words);
    md_markup_format(&w->html, "</td><td class=\"n\">%.4f</td><td class=\"n\">%.4f</td></tr>\n",
                     fit->error, fit->brier);
}

static void write_calibration(md_page_writer *w, const md_assess_answer *answer)
{
    const md_estimate *of = answer->measures.of;
    md_markup_add(&w->html, "<h3>");
    md_markup_escape(&w->html, answer->name);
    md_markup_add(&w->html, "</h3>\n");
    md_drawing *d = NULL;
    const md_status made = md_page_reliability(answer, &d, w->err);
    md_page_figure(w, made, &d);
    md_markup_add(&w->html,
                  "<div class=\"wide\"><table>\n<tr><th>Scores</th><th>Fit</th><th class=\"n\">"
                  "Calibration error</th><th class=\"n\">Brier score</th></tr>\n");
    md_markup_format(&w->html,
                     "<tr><td>as they are</td><td></td><td class=\"n\">%.4f</td><td "
                     "class=\"n\">%.4f</td></tr>\n",
                     of[MD_MEASURE_CALIBRATION_ERROR].value, of[MD_MEASURE_BRIER].value);
    char words[96];
    const md_assess_fit *t = &answer->temperature, *p = &answer->platt;
    (void)snprintf(words, sizeof words, "T = %.4f%s", t->there ? 1 / t->a : 0,
                   t->at_limit ? ", the limit: no error to fit to" : "");
    fit_row(w, "with a temperature", words, t);
    (void)snprintf(words, sizeof words, "a = %.4f, b = %.4f", p->a, p->b);
    fit_row(w, "with Platt's line", words, p);
    md_markup_add(&w->html,
                  "</table></div>\n<p class=\"note\">The fits are those to all data; their "
                  "errors are those on patients that the fit did not see (one half of the "
                  "patients for the other).</p>\n");
}

/* One section: its heading, its words, and one block for each answer. */
static void write_section(md_page_writer *w, const char *id, const char *title,
                          const char *words,
                          void (*block)(md_page_writer *w, const md_assess_answer *answer))
{
    const md_assessment *a = w->page->assessment;
    md_page_heading(w, id, title);
    md_markup_format(&w->html, "<p>%s</p>\n", words);
    for (unsigned q = 0; q < a->n_answers; q++) {
        block(w, &a->answers[q]);
    }
}

static void write_assessment(md_page_writer *w)
{
    const md_assessment *a = w->page->assessment;
    md_drawing *d = NULL;
    write_section(w, "figures", "Figures",
                  "Each figure stands with its 95% interval, the values that go together with "
                  "these data. Without one, nothing varied in them.",
                  write_figures);
    md_status made = md_page_roc(a, &d, w->err);
    md_page_figure(w, made, &d);
    made = md_page_precision_recall(a, &d, w->err);
    md_page_figure(w, made, &d);
    if (a->n_classes > 0 && a->n_classes <= MD_CHART_MAX_CLASSES) {
        md_page_heading(w, "confusion", "What is taken for what");
        made = md_page_confusion(a, w->units, &d, w->err);
        md_page_figure(w, made, &d);
    }
    write_section(w, "threshold", "Threshold",
                  "A lower threshold misses less and alarms more. The rules below were worked "
                  "out on these very data, so they look a little better than they will be.",
                  write_threshold);
    write_section(w, "calibration", "Can a score be read as a probability?",
                  "Of those with a score of 80%, 80 of 100 should have the finding. Points on "
                  "the dotted line do; points below it are scores that promise too much.",
                  write_calibration);
    md_page_groups(w);
}

static void write_tables(md_page_writer *w)
{
    for (unsigned t = 0; t < w->page->n_tables; t++) {
        const md_page_table *table = &w->page->tables[t];
        md_markup_format(&w->html, "<h2 id=\"table-%u\">", t + 1);
        md_markup_escape(&w->html, table->title);
        md_markup_add(&w->html, "</h2>\n");
        if (table->note != NULL) {
            write_paragraphs(w, table->note);
        }
        md_markup_add(&w->html, "<div class=\"wide\"><table>\n");
        for (size_t r = 0; r <= table->n_rows; r++) {
            md_markup_add(&w->html, "<tr>");
            for (size_t c = 0; c < table->n_columns; c++) {
                md_markup_add(&w->html, r == 0 ? "<th>" : "<td>");
                md_markup_escape(&w->html, table->cells[r * table->n_columns + c]);
                md_markup_add(&w->html, r == 0 ? "</th>" : "</td>");
            }
            md_markup_add(&w->html, "</tr>\n");
        }
        md_markup_add(&w->html, "</table></div>\n");
    }
}

static void write_figures_of(md_page_writer *w)
{
    for (unsigned i = 0; i < w->page->n_figures && w->status == MD_OK; i++) {
        const md_page_figure_of *figure = &w->page->figures[i];
        MD_AUTO(md_freep) char *svg = NULL;
        size_t n = 0;
        w->status = md_drawing_svg(figure->drawing, false, &svg, &n, w->err);
        if (w->status == MD_OK) {
            md_markup_format(&w->html, "<h2 id=\"figure-%u\">", i + 1);
            md_markup_escape(&w->html, figure->title);
            md_markup_add(&w->html, "</h2>\n");
            write_paragraphs(w, figure->note);
            md_markup_add(&w->html, "<figure>");
            md_markup_add(&w->html, svg);
            md_markup_add(&w->html, "</figure>\n");
        }
    }
}

static void write_curves(md_page_writer *w)
{
    if (w->page->curves == NULL || w->status != MD_OK) {
        return;
    }
    MD_AUTO(md_freep) char *svg = NULL;
    size_t n = 0;
    w->status = md_drawing_svg(w->page->curves, false, &svg, &n, w->err);
    if (w->status == MD_OK) {
        md_page_heading(w, "course", "Course of the training");
        md_markup_add(&w->html, "<figure>");
        md_markup_add(&w->html, svg);
        md_markup_add(&w->html, "</figure>\n");
    }
}

md_status md_page_make(const md_page *page, char **ret_html, size_t *ret_size, md_error *err)
{
    md_page_writer w = {
        .page = page, .units = page->units != NULL ? page->units : "studies", .err = err};
    write_head(&w);
    if (page->assessment != NULL) {
        write_summary(&w);
    }
    write_data(&w);
    if (page->assessment != NULL) {
        write_assessment(&w);
    }
    write_curves(&w);
    write_tables(&w);
    write_figures_of(&w);
    md_page_limits(&w);
    md_page_glossary(&w);
    md_markup_add(&w.html, "</body>\n</html>\n");
    if (w.status == MD_OK) {
        w.status = md_markup_take(&w.html, ret_html, ret_size, err);
    }
    md_markup_finish(&w.html);
    return w.status;
}

md_status md_page_write(const md_page *page, const char *folder, const char *name,
                        md_error *err)
{
    MD_AUTO(md_freep) char *html = NULL;
    size_t n = 0;
    char path[4096];
    const int length = snprintf(path, sizeof path, "%s/%s.html", folder, name);
    if (length < 0 || (size_t)length >= sizeof path) {
        return md_fail(err, MD_LIMIT, "%s.html: the path is too long", name);
    }
    MD_TRY(md_page_make(page, &html, &n, err));
    return md_file_write(path, MD_FILE_REPLACE, html, n, err);
}
