#ifndef MEDAID_TESTS_DICOM_NETWORK_BENCH_H
#define MEDAID_TESTS_DICOM_NETWORK_BENCH_H

/* What the network tests share: datasets made to measure, and an SCP with counters. */

#include "base/content_tag.h"
#include "dicom/network/scp.h"
#include "dicom/network/sop.h"

#include <pthread.h>
#include <stdatomic.h>

/* md_sop_judge for md_pdu_parse_request. */
uint8_t test_judge(const void *context, const char *abstract_syntax,
                   const char *transfer_syntax);

/* A dataset in the making. */
typedef struct test_dataset {
    md_encoding encoding;
    uint8_t *bytes;
    size_t used, capacity;
} test_dataset;

void test_dataset_init(test_dataset *dataset, md_encoding encoding, size_t capacity);
void test_dataset_finish(test_dataset *dataset);
/* One element with these bytes; length 0xffffffff writes just the header. */
void test_dataset_put(test_dataset *dataset, uint32_t tag, const char *vr, const void *value,
                      uint32_t length);
/* An item or delimiter. */
void test_dataset_put_item(test_dataset *dataset, uint32_t tag, uint32_t length);
void test_dataset_put_uid(test_dataset *dataset, uint32_t tag, const char *uid);
/* Everything that a small CT slice of n_pixel_bytes needs to be stored. */
void test_dataset_fill(test_dataset *dataset, const char *class_uid, const char *instance_uid,
                       const char *study_uid, size_t n_pixel_bytes);
/* Replace the bytes by their raw deflate form. */
void test_dataset_deflate(test_dataset *dataset);
/* Write as Part 10 file. */
void test_dataset_save(const test_dataset *dataset, const char *path, const char *class_uid,
                       const char *instance_uid, const char *transfer_syntax_uid);

#define TEST_CT_CLASS "1.2.840.10008.5.1.4.1.1.2"

/* The key of the SCP below, and what it makes of bytes. */
extern const uint8_t test_content_key[MD_CONTENT_KEY_BYTES];
void test_content_tag(const void *bytes, size_t n, uint8_t ret_tag[MD_CONTENT_TAG_BYTES]);

/* A folder that is gone with all that is in it afterwards. */
void test_folder_make(char ret_path[64]);
void test_folder_remove(const char *path);
unsigned test_folder_count(const char *path);

enum {
    TEST_EVENTS = 4
};

typedef struct test_scp {
    md_scp *scp;
    char spool[64];
    char port[8];
    atomic_uint n_objects, n_events, n_refused_objects, n_refused_connections;
    atomic_uint n_done, n_rejected;
    atomic_uint answer;    /* what on_object returns */
    atomic_bool keep;      /* leave the files */
    pthread_mutex_t mutex; /* for the two texts */
    /* "event: detail", of the last refusals: that of an earlier client may come late */
    char events[TEST_EVENTS][512];
    unsigned next_event;
    char last_study[MD_UID_BYTES];
} test_scp;

void test_scp_start(test_scp *scp, const md_scp_options *changes);
void test_scp_stop(test_scp *scp);
/* Whether the line of one of the last refusals contains the text; ret_line (NULL allowed) gets
 * the newest. */
bool test_scp_said(test_scp *scp, const char *text, char ret_line[512]);

/* A port that was free a moment ago. */
void test_free_port(char ret_port[8]);
/* A plain socket to it, and bytes over it. */
int test_connect(const test_scp *scp);
void test_write(int fd, const void *bytes, size_t n);
/* Read until n bytes are there, or the peer has closed, or 10 s are over; returns how many. */
size_t test_read(int fd, void *bytes, size_t n);
/* An A-ASSOCIATE-RQ for one pair, read up to the A-ASSOCIATE-AC. Returns the context's result,
 * -1 when there is no acceptance. */
int test_associate(int fd, const char *class_uid, const char *transfer_syntax_uid);
/* A P-DATA-TF PDU with one value. */
void test_write_pdv(int fd, unsigned context_id, unsigned flags, const void *bytes, size_t n);
/* C-STORE of these bytes; returns the status, -1 when the association ended instead. */
int test_store(int fd, const char *class_uid, const char *instance_uid, const void *bytes,
               size_t n);
int test_echo(int fd);

#endif
