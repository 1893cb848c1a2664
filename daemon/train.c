/* The program `medaid-train`: from a hospital's own films to a model package that may serve. */

#include "daemon/train.h"
#include "plugins/host/quantize.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: medaid-train fit RECIPE [--resume] [--threads N] [--max-minutes M]\n"
    "       medaid-train evaluate MODEL --data FILE [--part PART] [--out DIR]\n"
    "       medaid-train evaluate --reports FOLDER --truth FILE [--model ID] [--out DIR]\n"
    "       medaid-train export RUN_FOLDER OUT_DIR [--threads N] [--keep-inputs FILE]\n"
    "       medaid-train explain DIR --data FOLDER|TABLE.csv [--out DIR]\n"
    "       medaid-train head PACKAGE DATA --finding KEY [--code V,S,M --out DIR]\n"
    "       medaid-train preview RECIPE SHEET.png [--epoch E] [--films N]\n"
    "       medaid-train risk RECIPE\n"
    "       medaid-train quantize DIR INPUTS\n"
    "       medaid-train read FOLDER [--jsonl] [TEXT]\n"
    "       medaid-train words RECIPE OUT.vec [--width N] [--window N] [--epochs N]\n"
    "       medaid-train words FILE.vec --near WORD | --analogy A B C\n"
    "       medaid-train --version | --help\n"
    "\n"
    "fit       train the network of RECIPE, a YAML file, into its run folder\n"
    "  --resume         go on from the checkpoint in the run folder\n"
    "  --threads N      instead of the recipe's\n"
    "  --max-minutes M  then write a checkpoint and stop\n"
    "evaluate  measure MODEL (a package's folder, or an ONNX file) on films; or stored\n"
    "          reports against the truth\n"
    "  --data FILE      a recipe, or a table of files and labels (.csv, for a package)\n"
    "  --part PART      train, validation or test; validation where it is not said\n"
    "  --reports FOLDER the SRs that medaid wrote, walked\n"
    "  --truth FILE     a table: study or accession, and a column for each finding\n"
    "  --model ID       of the reports, when several models wrote them\n"
    "  --out DIR        write report.html, evaluation.json and charts there\n"
    "  --bootstrap N, --seed N, --threads N, --backend NAME, --names (of unreadable files)\n"
    "export    write what fit made as a model package, the new folder OUT_DIR\n"
    "explain   test whether the maps of a model package can be believed\n"
    "head      a new finding from 20 to 200 labelled films, on a package's network\n"
    "preview   draw the first N films of epoch E (24, 0) as they are and as the network gets "
    "them\n"
    "risk      fit a risk model to a table, as RECIPE says (docs/risk-model.md): risk.json,\n"
    "          report and charts in its run folder\n"
    "quantize  allow the precision of DIR/model.yaml here\n"
    "  DIR     a model package with `precision: bf16` or `int8`\n"
    "  INPUTS  the network inputs of its validation set, float32 [N,C,H,W], at least 100\n"
    "read      score TEXT, or each line of standard input, with a text network: FOLDER is a "
    "run\n"
    "          folder or a model package; --jsonl: one JSON object a line, words with them\n"
    "words     learn word vectors (skip-gram) from the training part of a recipe for texts;\n"
    "          or ask: which words are nearest, A is to B as C is to what\n"
    "\n"
    "exit: 0 done, 1 internal error, 2 usage or recipe, 3 unreadable input,\n"
    "      5 not granted, stopped, or a loss that is no number, 7 the results cannot be "
    "written\n";

md_exit_code md_train_exit_code(md_status status)
{
    switch ((int)status) {
    case MD_OK:
        return MD_EXIT_OK;
    case MD_INVALID_ARG:
        return MD_EXIT_USAGE;
    case MD_PLUGIN:
    case MD_UNSUPPORTED:
    case MD_CANCELLED:
    case MD_TIMEOUT:
        return MD_EXIT_ANALYSIS;
    case MD_NOMEM:
    case MD_INTERNAL:
        return MD_EXIT_INTERNAL;
    default:
        return MD_EXIT_UNREADABLE;
    }
}

static md_exit_code run_quantize(int argc, char **argv)
{
    if (argc != 3) {
        fputs(usage, stderr);
        return MD_EXIT_USAGE;
    }
    md_error err = {0};
    md_precision precision = MD_PRECISION_F32;
    md_grant_result result = {0};
    md_status status = md_quantize(argv[1], argv[2], &precision, &result, &err);
    if (result.n_images > 0) {
        printf("%s against f32: %u images, largest difference of a score %.4f, %u judged "
               "otherwise\n",
               md_precision_name(precision), result.n_images, result.worst_difference,
               result.n_flips);
    }
    if (status != MD_OK) {
        fprintf(stderr, "medaid-train: not granted: %s\n", err.msg);
    }
    return md_train_exit_code(status);
}

static const struct {
    const char *name;
    md_exit_code (*run)(int argc, char **argv);
} subcommands[] = {
    {"evaluate", md_train_evaluate}, {"explain", md_train_explain},
    {"export", md_train_export},     {"fit", md_train_fit},
    {"head", md_train_head},         {"preview", md_train_preview},
    {"quantize", run_quantize},      {"read", md_train_read},
    {"risk", md_train_risk},         {"words", md_train_words},
};

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
    for (unsigned i = 0; argc > 1 && i < sizeof subcommands / sizeof *subcommands; i++) {
        if (strcmp(argv[1], subcommands[i].name) == 0) {
            return (int)subcommands[i].run(argc - 1, argv + 1);
        }
    }
    fputs(usage, stderr);
    return MD_EXIT_USAGE;
}
