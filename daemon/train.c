/* The program `medaid-train`: what is done to a model package before it serves. */

#include "daemon/exit_code.h"
#include "plugins/host/quantize.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: medaid-train quantize DIR INPUTS   allow the precision of DIR/model.yaml here\n"
    "       medaid-train --version | --help\n"
    "\n"
    "  DIR     a model package with `precision: bf16` or `int8`\n"
    "  INPUTS  the network inputs of its validation set, float32 [N,C,H,W], at least 100\n"
    "\n"
    "exit: 0 granted, 1 internal error, 2 usage, 3 unreadable input, 5 not granted\n";

static md_exit_code exit_code_of(md_status status)
{
    switch ((int)status) {
    case MD_OK:
        return MD_EXIT_OK;
    case MD_INVALID_ARG:
        return MD_EXIT_USAGE;
    case MD_PLUGIN:
    case MD_UNSUPPORTED:
        return MD_EXIT_ANALYSIS;
    case MD_NOMEM:
    case MD_INTERNAL:
        return MD_EXIT_INTERNAL;
    default:
        return MD_EXIT_UNREADABLE;
    }
}

static md_exit_code run_quantize(const char *folder, const char *inputs)
{
    md_error err = {0};
    md_precision precision = MD_PRECISION_F32;
    md_grant_result result = {0};
    md_status status = md_quantize(folder, inputs, &precision, &result, &err);
    if (result.n_images > 0) {
        printf("%s against f32: %u images, largest difference of a score %.4f, %u judged "
               "otherwise\n",
               md_precision_name(precision), result.n_images, result.worst_difference,
               result.n_flips);
    }
    if (status != MD_OK) {
        fprintf(stderr, "medaid-train: not granted: %s\n", err.msg);
    }
    return exit_code_of(status);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return MD_EXIT_OK;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("medaid-train " MEDAID_VERSION);
        return MD_EXIT_OK;
    }
    if (argc == 4 && strcmp(argv[1], "quantize") == 0) {
        return run_quantize(argv[2], argv[3]);
    }
    fputs(usage, stderr);
    return MD_EXIT_USAGE;
}
