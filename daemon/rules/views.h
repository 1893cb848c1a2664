#ifndef MEDAID_DAEMON_RULES_VIEWS_H
#define MEDAID_DAEMON_RULES_VIEWS_H

/* Whether what is required of a study has come. Pure functions; any thread. */

#include "conf/required.h"
#include "daemon/store/store.h"

enum {
    MD_VIEWS_MISSING_BYTES = 161,
};

/* True when the study has an image of the kind that the requirement is about. */
bool md_views_concerned(const md_required *required, const md_tag_set *sets, size_t n_sets);
/* True when nothing is missing, or the study is not concerned. Otherwise what is, for people:
 * "a view: LL/RL" or "images: 1 of 2"; words of the configuration or the manifest alone, no
 * value of the study. */
bool md_views_there(const md_required *required, const md_tag_set *sets, size_t n_sets,
                    char ret_missing[MD_VIEWS_MISSING_BYTES]);

#endif
