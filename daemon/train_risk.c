/* medaid-train risk: from a table to a risk model. */

#include "daemon/train.h"

#include "plugins/train/risk.h"

#include <math.h>
#include <stdio.h>

md_exit_code md_train_risk(int argc, char **argv)
{
    md_error err = {0};
    md_risk_outcome o = {0};
    if (argc != 2 || argv[1][0] == '-') {
        fputs("medaid-train risk: name a recipe, see medaid-train --help\n", stderr);
        return MD_EXIT_USAGE;
    }
    md_status status = md_risk_train(argv[1], stdout, &o, &err);
    if (status != MD_OK) {
        fprintf(stderr, "medaid-train: %s\n", err.msg);
        return status == MD_IO ? MD_EXIT_WRITING : md_train_exit_code(status);
    }
    printf("%zu rows of %zu groups, %zu left out; on rows not seen:\n", o.n_rows, o.n_groups,
           o.n_skipped);
    if (isfinite(o.auc)) {
        printf("  AUC %.4f (95%% %.4f to %.4f), Brier score %.4f\n", o.auc, o.auc_low,
               o.auc_high, o.brier);
    } else {
        printf("  root of the mean squared error %.6g (95%% %.6g to %.6g), mean error %.6g, "
               "R squared %.4f, %zu within their interval\n",
               o.rmse, o.rmse_low, o.rmse_high, o.mean_error, o.r_squared, o.n_covered);
    }
    return MD_EXIT_OK;
}
