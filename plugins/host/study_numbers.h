#ifndef MEDAID_PLUGINS_HOST_STUDY_NUMBERS_H
#define MEDAID_PLUGINS_HOST_STUDY_NUMBERS_H

/* What is known of a study as numbers, by the names of inference/tabular/risk.h. Pure but for
 * the time zone of the process; one thread for each study. */

#include "plugins/host/analyzer.h"
#include "plugins/host/study.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of one study; all borrowed. */
typedef struct md_study_facts {
    const md_study *study;
    const md_study_header *header;
    const md_result *results; /* of the image and text analyzers, so far */
    size_t n_results;
    int64_t now_ms; /* when the study was complete, wall clock */
} md_study_facts;

/* ret_values[needs->n_names], NaN for what is not known: no such finding, attribute or model,
 * or a value that cannot be (a negative age, an acquisition in the future). Returns how many
 * are known.
 *
 *   finding.KEY, finding.MODEL/KEY  the highest score of that finding over the study's images
 *   text.KEY, text.MODEL/KEY        the score of a text analyzer
 *   patient.age_years, .sex_female (1 F, 0 M), .weight_kg (0010,1030), .size_m (0010,1020)
 *   study.hours_since_acquisition, .hour (0..23.99), .weekday (0 Monday .. 6 Sunday)
 *   study.n_images
 *   any other: needs->attributes, the first object that has the number */
unsigned md_study_numbers(const md_study_facts *facts, const md_risk_needs *needs,
                          double *ret_values) MD_NOEXCEPT;

/* Local date "YYYYMMDD" and time "HH", "HHMM", "HHMMSS" or "HHMMSS.FFFFFF" (PS3.5 6.2, DA and
 * TM) with Timezone Offset From UTC "+HHMM" (0008,0201), or "": in the zone of the process, as
 * milliseconds since 1970 UTC; hour of the day and day of the week (0: Monday) as written.
 * False when it is no such moment. */
bool md_study_moment(const char *date, const char *time, const char *zone, int64_t *ret_ms,
                     double *ret_hour, unsigned *ret_weekday) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
