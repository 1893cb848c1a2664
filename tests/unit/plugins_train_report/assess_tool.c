/* assess-tool FOLDER THRESHOLD CLASSES: rows "patient sex truth p_0 .. p_k-1" on standard input
 * (sex F, M or ?; truth a class number or -1); writes FOLDER/assessment.json, report.html and
 * the charts. For check_assess.py. CLASSES are names with commas between. */

#include "plugins/train/assess.h"
#include "plugins/train/page.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_ROWS = 20000,
    MAX_CLASSES = 8
};
static float probabilities[MAX_ROWS * MAX_CLASSES], targets[MAX_ROWS * MAX_CLASSES];
static uint32_t patients[MAX_ROWS], sexes[MAX_ROWS];

static void need(md_status status, const md_error *err)
{
    if (status != MD_OK) {
        fprintf(stderr, "%s\n", err->msg);
        exit(1);
    }
}

static size_t read_rows(unsigned n_classes)
{
    size_t n = 0;
    char sex = 0;
    int truth = 0;
    while (n < MAX_ROWS && scanf("%u %c %d", &patients[n], &sex, &truth) == 3) {
        sexes[n] = sex == 'F' ? 0 : sex == 'M' ? 1 : 2;
        for (unsigned k = 0; k < n_classes; k++) {
            float p = 0;
            if (scanf("%f", &p) != 1) {
                exit(2);
            }
            probabilities[n * n_classes + k] = p;
            targets[n * n_classes + k] = truth < 0 ? NAN : (float)(truth == (int)k);
        }
        n++;
    }
    return n;
}

static void write_page(const md_assessment *a, const char *const *classes, unsigned n_classes,
                       const char *folder)
{
    const size_t counts[MAX_CLASSES] = {10, 20, 30, 40};
    const md_page_part parts[] = {{"training", 100, 60, counts},
                                  {"validation", 50, 30, counts}};
    const md_page_fact facts[] = {{"Network", "resnet18 & <more>"}, {"Seed", "20261124"}};
    const char *limits[] = {"One hospital <script>alert(1)</script> only."};
    const char *cells[] = {"Change", "AUC", "none", "0.997", "without \"mixup\"", "0.991"};
    const md_page_table table = {"What helped", "Each line leaves out one thing.", cells, 2, 2};
    const md_page page = {.title = "Chest <b>model</b> 'x'",
                          .intended_use = "First paragraph.\nSame one.\n\nSecond & last.",
                          .units = "films",
                          .measured_on = "the validation part",
                          .facts = facts,
                          .n_facts = 2,
                          .classes = classes,
                          .n_classes = n_classes,
                          .parts = parts,
                          .n_parts = 2,
                          .split = "By patient.",
                          .assessment = a,
                          .limits = limits,
                          .n_limits = 1,
                          .tables = &table,
                          .n_tables = 1};
    md_error err = {0};
    need(md_page_write(&page, folder, "report", &err), &err);
    need(md_page_write_charts(a, folder, &err), &err);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: assess-tool FOLDER THRESHOLD CLASSES\n", stderr);
        return 2;
    }
    const char *classes[MAX_CLASSES];
    unsigned n_classes = 0;
    for (char *name = argv[3], *end; name != NULL && n_classes < MAX_CLASSES; name = end) {
        end = strchr(name, ',');
        if (end != NULL) {
            *end++ = '\0';
        }
        classes[n_classes++] = name;
    }
    const char *labels[] = {"female", "male", "not <known>"};
    const md_assess_column column = {"sex", labels, 3, sexes};
    double thresholds[MAX_CLASSES];
    for (unsigned k = 0; k < n_classes; k++) {
        thresholds[k] = strtod(argv[2], NULL);
    }
    const md_assess_input more = {.n = read_rows(n_classes),
                                  .patients = patients,
                                  .columns = &column,
                                  .n_columns = 1,
                                  .n_bootstrap = 500,
                                  .seed = 3};
    const md_assess_classes_input input = {.classes = classes,
                                           .n_classes = n_classes,
                                           .probabilities = probabilities,
                                           .targets = targets,
                                           .thresholds = thresholds};
    md_assessment a = {0};
    md_error err = {0};
    need(md_assess_classes(&input, &more, &a, &err), &err);
    json_t *json = NULL;
    need(md_assessment_json(&a, &json, &err), &err);
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/assessment.json", argv[1]);
    const int failed = json_dump_file(json, path, JSON_INDENT(1));
    json_decref(json);
    write_page(&a, classes, n_classes, argv[1]);
    md_assessment_finish(&a);
    return failed != 0;
}
