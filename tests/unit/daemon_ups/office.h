#ifndef MEDAID_TESTS_DAEMON_UPS_OFFICE_H
#define MEDAID_TESTS_DAEMON_UPS_OFFICE_H

/* A manager of workitems for one test: a store in a folder of its own, the service on a port,
 * and clients to it. */

#include "conf/conf.h"
#include "daemon/ups/courier.h"
#include "daemon/ups/service.h"
#include "dicom/network/dimse.h"
#include "dicom/network/dimse_client.h"
#include "dicom/network/scp.h"
#include "dicom/network/ups/study.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    MAX_TOLD = 512
};

/* What a watcher was told. */
typedef struct told {
    uint16_t type;
    char uid[MD_UID_BYTES];
    char state[17], requester[17], readiness[17];
} told;

/* An AE that takes event reports. */
typedef struct watcher {
    char folder[64];
    md_scp *scp;
    md_scp_service service;
    pthread_mutex_t mutex;
    told told[MAX_TOLD];
    size_t n;
    uint16_t answer;
} watcher;

typedef struct office {
    char folder[64];
    md_conf conf;
    md_store *store;
    md_couriers *couriers;
    md_ups ups;
    md_scp_service service;
    md_scp *scp;
    md_peer peer;
    md_dimse_client *client;
    watcher watcher; /* "WATCHER" */
} office;

#define assert_ok(expression)                                                                  \
    do {                                                                                       \
        md_error ok_err_ = {0};                                                                \
        md_error *err = &ok_err_;                                                              \
        md_status ok_status_ = (expression);                                                   \
        if (ok_status_ != MD_OK) {                                                             \
            fail_msg("%s: %s: %s", #expression, md_status_name(ok_status_), ok_err_.msg);      \
        }                                                                                      \
    } while (0)

int office_setup(void **state);
int office_teardown(void **state);
/* The watcher's port takes nothing for a while, and again. */
void office_close_watcher(office *o);
void office_open_watcher(office *o);
/* Close and open the store and all around it, as a restart does. */
void office_restart(office *o);

/* A complete dataset for an N-CREATE; the caller destroys. */
md_dataset *new_item(const char *priority, const char *patient_id, int64_t scheduled_ms);
/* One request; returns the status. `dataset` NULL: none. *ret_answer (NULL allowed): caller
 * destroys. */
uint16_t ask(office *o, uint16_t field, const char *class_uid, const char *uid, unsigned number,
             const md_dataset *dataset, md_dataset **ret_answer);
uint16_t create_item(office *o, const char *uid, const char *priority);
/* N-ACTION type 1; transaction NULL: without. */
uint16_t change_state(office *o, const char *uid, const char *state, const char *transaction);
/* What a completed or canceled item must have, by N-SET. */
uint16_t make_final(office *o, const char *uid, const char *transaction);
/* The item in this state; its Transaction UID is TRANSACTION. */
void create_in_state(office *o, const char *uid, md_ups_state state);
/* UIDs of the matches, in order, at most n_max; returns how many. cancel_after 0: all. */
size_t find(office *o, const md_dataset *keys, char (*ret_uids)[MD_UID_BYTES], size_t n_max,
            unsigned cancel_after, uint16_t *ret_status);
uint16_t subscribe(office *o, unsigned action, const char *uid, const char *receiver,
                   const char *lock);
/* Wait until the watcher was told n times. */
void wait_told(office *o, size_t n);
/* A dataset with one attribute. */
md_dataset *dataset_with(uint32_t tag, const char *value);
void put(md_dataset *dataset, uint32_t tag, const char *value);
/* A text of the item as N-GET gives it. */
void text_of(office *o, const char *uid, uint32_t tag, char ret_text[257]);

#define TRANSACTION "1.2.3.4.5.6.1"

#endif
