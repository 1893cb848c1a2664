#ifndef MEDAID_TESTS_DAEMON_STORE_FIXTURE_H
#define MEDAID_TESTS_DAEMON_STORE_FIXTURE_H

/* A folder for one test, a store in it, and instances with made-up UIDs. */

#include "daemon/store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    PATH_LENGTH = 512
};

typedef struct fixture {
    char folder[PATH_LENGTH];
    char database[PATH_LENGTH + 16];
    md_store_options options;
    md_store *store;
} fixture;

/* Show the message of an unexpected error. */
#define assert_ok(expression)                                                                  \
    do {                                                                                       \
        md_error ok_err_ = {0};                                                                \
        md_error *err = &ok_err_;                                                              \
        md_status ok_status_ = (expression);                                                   \
        if (ok_status_ != MD_OK) {                                                             \
            fail_msg("%s: %s: %s", #expression, md_status_name(ok_status_), ok_err_.msg);      \
        }                                                                                      \
    } while (0)

int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_open(fixture *f);
void fixture_reopen(fixture *f);

/* Text of the nth UID of its kind, in one of a few static buffers. */
const char *uid_of(const char *kind, unsigned n);
/* Instance `n` of study `study`; `content` decides the digest. Points to static text. */
md_instance_new instance_of(unsigned study, unsigned n, unsigned content, int64_t received_ms);
md_instance_outcome add(md_store *store, unsigned study, unsigned n, unsigned content,
                        int64_t received_ms);
md_study study_of(md_store *store, int64_t id);
/* A study with one instance, in the state that is asked for; *ret_claim for analysing and
 * reporting. With an outbox row for "pacs" from sending on. */
int64_t study_in_state(md_store *store, unsigned study, md_study_state state,
                       md_claim *ret_claim);
/* The UID of the report that the next one of the model replaces, in a static buffer; "": none.
 */
const char *predecessor_of(md_store *store, int64_t study, const char *model);
int64_t text_number(const char *database, const char *sql);

#endif
