/* medaid-train fit: train the network of a recipe. */

#include "daemon/train.h"

#include "dicom/dataset/dataset.h"
#include "plugins/train/fit.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* The first one asks for a checkpoint, the second ends the process at once. */
static void catch_signals(void)
{
    struct sigaction action = {0};
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND; /* a read that waits may be interrupted */
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

static bool number_of(const char *text, double least, double most, double *ret)
{
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most)) {
        return false;
    }
    *ret = value;
    return true;
}

/* false: the command line is wrong, and that was said. */
static bool parse(int argc, char **argv, const char **ret_recipe, md_fit_options *options)
{
    for (int i = 1; i < argc; i++) {
        double value = 0.0;
        const bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--resume") == 0) {
            options->resume = true;
        } else if (strcmp(argv[i], "--threads") == 0) {
            if (!has_value || !number_of(argv[++i], 1.0, 64.0, &value) ||
                value != floor(value)) {
                fputs("medaid-train fit: --threads takes a whole number, 1 to 64\n", stderr);
                return false;
            }
            options->n_threads = (unsigned)value;
        } else if (strcmp(argv[i], "--max-minutes") == 0) {
            if (!has_value || !number_of(argv[++i], 0.01, 1e6, &value)) {
                fputs("medaid-train fit: --max-minutes takes a number, 0.01 to 1000000\n",
                      stderr);
                return false;
            }
            options->max_minutes = value;
        } else if (argv[i][0] == '-' || *ret_recipe != NULL) {
            fprintf(stderr, "medaid-train fit: what is '%s'? see medaid-train --help\n",
                    argv[i]);
            return false;
        } else {
            *ret_recipe = argv[i];
        }
    }
    if (*ret_recipe == NULL) {
        fputs("medaid-train fit: name a recipe, see medaid-train --help\n", stderr);
    }
    return *ret_recipe != NULL;
}

md_exit_code md_train_fit(int argc, char **argv)
{
    md_error err = {0};
    const char *recipe = NULL;
    md_fit_options options = {.progress = stdout, .stop = &stop};
    if (!parse(argc, argv, &recipe, &options)) {
        return MD_EXIT_USAGE;
    }
    md_status status = md_dicom_init(&err);
    if (status == MD_OK) {
        catch_signals();
        status = md_fit_run(recipe, &options, &err);
    }
    if (status != MD_OK) {
        fprintf(stderr, "medaid-train: %s\n", err.msg);
    }
    /* what cannot be written is the more likely reason here than what cannot be read */
    return status == MD_IO ? MD_EXIT_WRITING : md_train_exit_code(status);
}
