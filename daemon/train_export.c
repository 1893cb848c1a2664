/* medaid-train export: a model package from a run folder. */

#include "daemon/train.h"

#include "dicom/dataset/dataset.h"
#include "plugins/train/package.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: medaid-train export RUN_FOLDER OUT_DIR [--threads N] [--keep-inputs FILE]\n"
    "\n"
    "Write what `medaid-train fit` made as a model package: the folder OUT_DIR, which must "
    "not\n"
    "exist, serves as it is below a folder of plugins.path. The films of the recipe are read\n"
    "again, to measure the network as it serves.\n"
    "\n"
    "  --threads N         at most N threads (default: all cores)\n"
    "  --keep-inputs FILE  also write the network inputs of the validation films, for\n"
    "                      `medaid-train quantize` on another machine: patients' pixels\n";

/* false: the command line is wrong, and that was said. */
static bool parse(int argc, char **argv, md_export_options *options)
{
    const char *places[2] = {NULL, NULL};
    unsigned n = 0;
    for (int i = 1; i < argc; i++) {
        const bool has_value = i + 1 < argc;
        char *end = NULL;
        if (strcmp(argv[i], "--threads") == 0 && has_value) {
            const unsigned long value = strtoul(argv[++i], &end, 10);
            if (*end != '\0' || value < 1 || value > MD_NETWORK_MAX_THREADS) {
                fprintf(stderr,
                        "medaid-train export: --threads takes a whole number, 1 to %d\n",
                        MD_NETWORK_MAX_THREADS);
                return false;
            }
            options->n_threads = (unsigned)value;
        } else if (strcmp(argv[i], "--keep-inputs") == 0 && has_value) {
            options->inputs = argv[++i];
        } else if (argv[i][0] == '-' || n == 2) {
            fputs(usage, stderr);
            return false;
        } else {
            places[n++] = argv[i];
        }
    }
    if (n != 2) {
        fputs(usage, stderr);
        return false;
    }
    options->run_folder = places[0];
    options->out = places[1];
    return true;
}

md_exit_code md_train_export(int argc, char **argv)
{
    md_error err = {0};
    md_export_options options = {.progress = stderr};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return MD_EXIT_OK;
    }
    if (!parse(argc, argv, &options)) {
        return MD_EXIT_USAGE;
    }
    md_status status = md_dicom_init(&err);
    if (status == MD_OK) {
        status = md_export_run(&options, &err);
    }
    if (status == MD_OK) {
        printf("%s\n", options.out);
    } else {
        fprintf(stderr, "medaid-train: %s\n", err.msg);
    }
    md_dicom_finish();
    return md_train_exit_code(status);
}
