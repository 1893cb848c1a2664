#ifndef MEDAID_DAEMON_ETA_ETA_INTERNAL_H
#define MEDAID_DAEMON_ETA_ETA_INTERNAL_H

/* Inside daemon/eta only. */

#include "daemon/eta/eta_model.h"
#include "inference/tabular/risk.h"

#define MD_ETA_MODALITY_PREFIX "modality."

enum {
    MD_ETA_N_FIXED = 11,
    MD_ETA_MAX_MODALITIES = 8,
    MD_ETA_MAX_COLUMNS = MD_ETA_N_FIXED + MD_ETA_MAX_MODALITIES,
    MD_ETA_MAX_GROUPS = 5
};

struct md_eta_model {
    md_eta_summary summary;
    md_risk_model *risk; /* owned; its sum is the logarithm of the delay in seconds */
    /* Of the residuals, from the least to the largest, by what m was: below bounds[0], from
     * there to below bounds[1], ... Short delays are told worse than long ones. */
    unsigned n_groups;
    double bounds[MD_ETA_MAX_GROUPS - 1];
    double quantiles[MD_ETA_MAX_GROUPS][MD_ETA_N_QUANTILES];
};

/* Name, unit and meaning of a column; the rest is the caller's. */
void md_eta_name(unsigned column, const char (*modalities)[MD_STORE_MODALITY_BYTES],
                 md_risk_feature *ret_feature);
/* The columns that every model has at hand. */
void md_eta_values(const md_store_reading *row, double ret_x[MD_ETA_N_FIXED]);
/* The quantiles of the group of m. */
const double *md_eta_quantiles(const md_eta_model *model, double m);
/* m of eta_model.h. */
md_status md_eta_log_delay(const md_risk_model *risk, const md_store_reading *row,
                           double *ret_log, md_error *err) MD_NODISCARD;

#endif
