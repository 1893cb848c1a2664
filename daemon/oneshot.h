#ifndef MEDAID_DAEMON_ONESHOT_H
#define MEDAID_DAEMON_ONESHOT_H

/* `medaid --oneshot`: files in, results out, in this process and without a database. Standard
 * output carries the results alone; progress and problems go to standard error.
 * Single-threaded. */

#include "conf/conf.h"
#include "daemon/exit_code.h"
#include "dicom/network/scu.h"

typedef struct md_oneshot_options {
    const char *const *paths; /* files, folders, DICOMDIRs */
    size_t n_paths;
    const md_conf *conf;
    const char *output;     /* folder for the objects, made when missing */
    const char *model;      /* NULL: every model that accepts */
    const md_peer *send_to; /* NULL: nothing is sent */
    /* The destination of `conf` that send_to is, for what it wants and how; NULL: all, as it is
     */
    const md_conf_destination *destination;
    bool json;
    bool overwrite;
    bool parametric_map; /* also write maps, whatever the configuration says */
    bool timing; /* a break-down of the whole process on standard error, and in the JSON */
    int64_t main_us, start_up_us, configuration_us; /* for it: as in md_stage_times */
} md_oneshot_options;

/* Ends DCMTK too. */
md_exit_code md_oneshot_run(const md_oneshot_options *options);

#endif
