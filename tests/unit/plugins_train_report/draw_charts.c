/* draw-charts FOLDER: one chart of each kind, made up, as SVG and PNG; to be looked at, and for
 * check_charts.py. */

#include "plugins/train/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *folder;

static void keep(md_status status, md_drawing **drawing, const char *name, md_error *err)
{
    if (status == MD_OK) {
        status = md_drawing_write(*drawing, folder, name, err);
    }
    if (status != MD_OK) {
        fprintf(stderr, "%s: %s\n", name, err->msg);
        exit(1);
    }
    md_drawing_destroy(*drawing);
    *drawing = NULL;
}

static void draw_curves(md_error *err)
{
    enum {
        N = 40
    };
    double epoch[N], training[N], validation[N], auc[N], accuracy[N], rate[N];
    for (int i = 0; i < N; i++) {
        epoch[i] = i + 1;
        training[i] = 0.15 + 0.9 * exp(-i / 8.0) + 0.02 * sin(i * 2.1);
        validation[i] = 0.22 + 0.8 * exp(-i / 7.0) + 0.04 * sin(i * 1.3);
        auc[i] = 0.997 - 0.25 * exp(-i / 5.0);
        accuracy[i] = i == 12 || i == 13 ? (double)NAN : 0.97 - 0.3 * exp(-i / 6.0);
        rate[i] = 0.05 * (1 + cos(i * 3.14159 / N)) / 2;
    }
    const md_chart_line loss[] = {{"training", epoch, training, N},
                                  {"validation", epoch, validation, N}};
    const md_chart_line metric[] = {{"AUC", epoch, auc, N}, {"accuracy", epoch, accuracy, N}};
    const md_chart_line lr[] = {{"learning rate", epoch, rate, N}};
    const md_chart_panel panels[] = {{"Loss", loss, 2, true},
                                     {"Validation", metric, 2, false},
                                     {"Learning rate", lr, 1, true}};
    md_drawing *d = NULL;
    keep(md_chart_curves("Course of the training", "epoch", panels, 3, 31, "best: epoch 31", &d,
                         err),
         &d, "curves", err);
}

static void draw_tables(md_error *err)
{
    const char *classes[] = {"normal", "bacterial", "viral"};
    const uint64_t counts[] = {196, 2, 4, 1, 310, 70, 3, 82, 117};
    md_drawing *d = NULL;
    keep(md_chart_confusion("Validation: 785 films of 506 patients", classes, 3, counts, &d,
                            err),
         &d, "confusion", err);
    char names[20][24];
    const char *many[20];
    uint64_t table[400];
    for (int i = 0; i < 20; i++) {
        snprintf(names[i], sizeof names[i], "anatomy number %d", i);
        many[i] = names[i];
        for (int k = 0; k < 20; k++) {
            table[i * 20 + k] = i == k ? 90 : (uint64_t)(i * k % 3);
        }
    }
    keep(md_chart_confusion("Twenty classes", many, 20, table, &d, err), &d, "confusion20",
         err);
    const md_chart_interval rows[] = {
        {"sensitivity", 0.962, 0.947, 0.977, NULL, false},
        {"specificity", 0.980, 0.960, 0.996, NULL, false},
        {"by sex", (double)NAN, (double)NAN, (double)NAN, "", true},
        {"female (n = 341)", 0.991, 0.981, 0.997, NULL, false},
        {"male (n = 430)", 0.995, 0.991, 0.999, NULL, false},
        {"other (n = 14)", (double)NAN, (double)NAN, (double)NAN, "too few: 3 with, 11 without",
         false}};
    keep(md_chart_intervals("AUC by group <b>&amp;", rows, 6, 0.9, 1, 0.5, &d, err), &d,
         "intervals", err);
}

static void draw_units(md_error *err)
{
    enum {
        N = 300
    };
    double x[N], a[N], b[N], c[N];
    for (int i = 0; i < N; i++) {
        x[i] = i / (N - 1.0);
        a[i] = 1 - pow(1 - pow(x[i], 0.05), 3);
        b[i] = 1 - pow(1 - pow(x[i], 0.1), 3);
        c[i] = pow(x[i], 0.4);
    }
    const md_chart_unit_curve curves[] = {
        {"pneumonia, AUC 0.997 (0.993 to 0.999)", x, a, N, 0.03, 0.99},
        {"bacterial, AUC 0.979 (0.96 to 0.99)", x, b, N, 0.08, 0.96},
        {"viral, AUC 0.71 (0.66 to 0.76)", x, c, N, 0.3, 0.62}};
    md_drawing *d = NULL;
    keep(md_chart_roc("ROC curves, validation", curves, 2, &d, err), &d, "roc", err);
    keep(md_chart_roc("ROC curves, three classes", curves, 3, &d, err), &d, "roc3", err);
    double precision[N];
    for (int i = 0; i < N; i++) {
        precision[i] = 1 - 0.6 * pow(x[i], 9);
    }
    const md_chart_unit_curve pr[] = {
        {"pneumonia, average precision 0.962", x, precision, N, 0.93, 0.7}};
    keep(md_chart_precision_recall("Precision and recall", pr, 1, 0.4, &d, err), &d, "pr", err);
    md_chart_bin bins[15];
    uint64_t without[40], with[40];
    for (int k = 0; k < 15; k++) {
        const double p = (k + 0.5) / 15;
        bins[k] = (md_chart_bin){k / 15.0,
                                 (k + 1) / 15.0,
                                 k == 7 ? 0 : (size_t)(abs(7 - k) * 12),
                                 p,
                                 p * 0.94 + 0.02,
                                 p * 0.85,
                                 0.15 + p * 0.85};
    }
    for (int k = 0; k < 40; k++) {
        without[k] = (uint64_t)(180 * exp(-k / 3.0));
        with[k] = (uint64_t)(420 * exp(-(39 - k) / 2.0));
    }
    keep(md_chart_reliability("Calibration of pneumonia", bins, 15, &d, err), &d, "reliability",
         err);
    const char *names[] = {"without the finding (n = 202)", "with the finding (n = 583)"};
    const uint64_t *counts[] = {without, with};
    keep(md_chart_histogram("Scores for pneumonia", names, counts, 40, 0.73, &d, err), &d,
         "histogram", err);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: draw-charts FOLDER\n", stderr);
        return 2;
    }
    folder = argv[1];
    md_error err = {0};
    draw_curves(&err);
    draw_tables(&err);
    draw_units(&err);
    return 0;
}
