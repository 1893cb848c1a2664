#ifndef MEDAID_DAEMON_TRAIN_H
#define MEDAID_DAEMON_TRAIN_H

/* The subcommands of the program `medaid-train`, one file each (train_NAME.c). argv[0] is the
 * subcommand's name; each prints its own errors on standard error and returns the exit code. */

#include "base/error.h"
#include "daemon/exit_code.h"
#include "plugins/train/assess.h"

/* How the program ends after a failure. */
md_exit_code md_train_exit_code(md_status status);
/* A figure on a line of its own, with its interval and where that comes from. */
void md_train_print_estimate(const char *name, const md_estimate *estimate);

md_exit_code md_train_evaluate(int argc, char **argv);
md_exit_code md_train_explain(int argc, char **argv);
md_exit_code md_train_export(int argc, char **argv);
md_exit_code md_train_fit(int argc, char **argv);
md_exit_code md_train_head(int argc, char **argv);
md_exit_code md_train_preview(int argc, char **argv);
md_exit_code md_train_read(int argc, char **argv);
md_exit_code md_train_risk(int argc, char **argv);
md_exit_code md_train_words(int argc, char **argv);

#endif
