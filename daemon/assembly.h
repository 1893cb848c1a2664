#ifndef MEDAID_DAEMON_ASSEMBLY_H
#define MEDAID_DAEMON_ASSEMBLY_H

/* When is a study complete? C-STORE does not tell, so it is when nothing came for the quiet
 * time. Studies may interleave; an object that comes after completion opens its study again. It
 * knows keys and times, no files and no clock of its own: the caller brings the time, in a test
 * any time. Any thread. */

#include "daemon/store.h"

typedef struct md_assembly md_assembly;

enum {
    MD_ASSEMBLY_MAX_STUDIES = 100000 /* open at one time */
};

/* A moment on both clocks: the monotonic one decides, the wall clock is reported. */
typedef struct md_moment {
    int64_t monotonic_ms, wall_ms;
} md_moment;
md_moment md_moment_now(void);

typedef struct md_complete_study {
    char key[MD_STUDY_KEY_BYTES];
    unsigned n_objects; /* that came since it was opened */
    int64_t first_received_ms, last_received_ms, complete_ms; /* wall clock */
} md_complete_study;

md_status md_assembly_create(int64_t quiet_ms, md_assembly **ret_assembly, md_error *err)
    MD_NODISCARD;
void md_assembly_destroy(md_assembly *assembly);
MD_DEFINE_DESTROYP(md_assembly, md_assembly_destroy)

/* An object of the study has come. MD_LIMIT, MD_NOMEM: the caller must not acknowledge it. */
md_status md_assembly_add(md_assembly *assembly, const char *study_key, md_moment now,
                          md_error *err) MD_NODISCARD;
/* Take one study that is complete at `now`, the one that is so for the longest; false: none. */
bool md_assembly_take(md_assembly *assembly, md_moment now, md_complete_study *ret_study);
/* Milliseconds until the next study is complete if nothing more comes: 0 = now, -1 = none is
 * open. */
int64_t md_assembly_wait_ms(md_assembly *assembly, md_moment now);
size_t md_assembly_n_open(md_assembly *assembly);

#endif
