#ifndef MEDAID_INFERENCE_TABULAR_RISK_INTERNAL_H
#define MEDAID_INFERENCE_TABULAR_RISK_INTERNAL_H

/* Inside inference/tabular only. */

#include "inference/tabular/risk.h"

struct md_risk_model {
    md_risk_card card;
    md_linear linear; /* covariance NULL: none is known */
    md_svm svm;
    md_forest forest;
};

/* The words of the file, in the order of the enumerations; NULL ends. */
extern const char *const md_risk_kind_words[];
extern const char *const md_risk_link_words[];

#endif
