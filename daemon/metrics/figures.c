#include "daemon/metrics/figures.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* From a single film on a fast machine to a long study on a busy one. */
static const int64_t analysis_bounds_ms[] = {100,   250,   500,   1000,   2500,  5000,
                                             10000, 30000, 60000, 120000, 300000};
static const int64_t notification_bounds_ms[] = {1000,   2500,    5000,    10000,    15000,
                                                 20000,  30000,   60000,   120000,   300000,
                                                 600000, 1800000, 3600000, 14400000, 86400000};

static md_figures figures;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define COUNT_OF(array) ((unsigned)(sizeof(array) / sizeof *(array)))

static_assert(COUNT_OF(analysis_bounds_ms) <= MD_HISTOGRAM_MAX_BOUNDS, "bounds fit");
static_assert(COUNT_OF(notification_bounds_ms) <= MD_HISTOGRAM_MAX_BOUNDS, "bounds fit");

static void set_up(void)
{
    figures.analysis.bounds_ms = analysis_bounds_ms;
    figures.analysis.n_bounds = COUNT_OF(analysis_bounds_ms);
    figures.notification.bounds_ms = notification_bounds_ms;
    figures.notification.n_bounds = COUNT_OF(notification_bounds_ms);
}

md_figures *md_figures_now(void)
{
    pthread_once(&once, set_up);
    return &figures;
}

const char *md_reject_reason_name(md_reject_reason reason)
{
    static const char *const names[] = {
        [MD_REJECT_UNREADABLE] = "unreadable", [MD_REJECT_CONFLICT] = "conflict",
        [MD_REJECT_DISK_LOW] = "disk_low",     [MD_REJECT_DRAINING] = "draining",
        [MD_REJECT_INTERNAL] = "internal",
    };
    return (unsigned)reason < MD_REJECT_N_REASONS ? names[reason] : "unknown";
}

unsigned md_figures_destination(const char *name)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static char names[MD_FIGURES_MAX_DESTINATIONS][MD_FIGURES_NAME_BYTES];
    static unsigned n_names;
    unsigned i = 0;
    pthread_mutex_lock(&mutex);
    while (i < n_names && strcmp(names[i], name) != 0) {
        i++;
    }
    if (i == n_names && i < MD_FIGURES_MAX_DESTINATIONS) {
        snprintf(names[i], sizeof names[i], "%s", name);
        n_names++;
    }
    pthread_mutex_unlock(&mutex);
    return i < MD_FIGURES_MAX_DESTINATIONS ? i : MD_FIGURES_MAX_DESTINATIONS - 1;
}

static pthread_mutex_t positives_mutex = PTHREAD_MUTEX_INITIALIZER;
static md_figures_finding positives[MD_FIGURES_MAX_FINDINGS];
static unsigned n_positives;

void md_figures_positive(const char *model, const char *finding)
{
    md_figures_finding made = {.n = 1};
    snprintf(made.model, sizeof made.model, "%s", model);
    snprintf(made.finding, sizeof made.finding, "%s", finding);
    unsigned i = 0;
    pthread_mutex_lock(&positives_mutex);
    while (i < n_positives && (strcmp(positives[i].model, made.model) != 0 ||
                               strcmp(positives[i].finding, made.finding) != 0)) {
        i++;
    }
    if (i < n_positives) {
        positives[i].n++;
    } else if (i < MD_FIGURES_MAX_FINDINGS) {
        positives[i] = made;
        n_positives++;
    }
    pthread_mutex_unlock(&positives_mutex);
}

unsigned md_figures_positives(md_figures_finding ret_list[MD_FIGURES_MAX_FINDINGS])
{
    pthread_mutex_lock(&positives_mutex);
    unsigned n = n_positives;
    memcpy(ret_list, positives, n * sizeof *positives);
    pthread_mutex_unlock(&positives_mutex);
    return n;
}
