/* The reading worklist when it is large: 100,000 finished and 5,000 open workitems, over the
 * network. Prints how long the first 50 of priority HIGH take (C-FIND with C-CANCEL after the
 * 50th), how long one item by its UID and one study take, and the memory before and after.
 * Then, of 1,000 studies in random order of which 5% are urgent, where the urgent ones stand in
 * the list and where they would stand in order of arrival. usage: bench-ups FOLDER [finished
 * [open [rounds]]] */

#include "base/clock.h"
#include "conf/conf.h"
#include "daemon/ups/draft.h"
#include "daemon/ups/service.h"
#include "dicom/network/dimse.h"
#include "dicom/network/dimse_client.h"
#include "dicom/network/scp.h"
#include "dicom/network/ups/study.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

enum {
    N_WANTED = 50,
    MAX_ROUNDS = 1000,
    N_TRIAGE = 1000,
    N_URGENT = 50
};

static void die(const char *what, const md_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err != NULL ? err->msg : "");
    exit(1);
}

static void must(md_status status, const char *what, const md_error *err)
{
    if (status != MD_OK) {
        die(what, err);
    }
}

static uint32_t random_next(uint32_t *seed)
{
    *seed = *seed * 1664525U + 1013904223U;
    return *seed >> 8;
}

static md_dataset *make_item(unsigned n, md_ups_priority priority, int64_t scheduled_ms)
{
    char uid[64], study[64], patient[32], image[64], report[64];
    snprintf(uid, sizeof uid, "1.2.3.1.%u", n);
    snprintf(study, sizeof study, "1.2.3.2.%u", n);
    snprintf(patient, sizeof patient, "P%u", n);
    snprintf(image, sizeof image, "1.2.3.3.%u", n);
    snprintf(report, sizeof report, "1.2.3.4.%u", n);
    const md_workitem_input inputs[] = {{"1.2.840.10008.5.1.4.1.1.1.1", image, study},
                                        {"1.2.840.10008.5.1.4.1.1.88.34", report, report}};
    const md_workitem_study what = {.sop_instance_uid = uid,
                                    .study_instance_uid = study,
                                    .patient_name = "Name^Given",
                                    .patient_id = patient,
                                    .issuer_of_patient_id = "",
                                    .birth_date = "20200101",
                                    .sex = "M",
                                    .accession_number = patient,
                                    .study_description = "Chest",
                                    .priority = priority,
                                    .worklist_label = "READING",
                                    .label = "Interpretation after AI triage",
                                    .comment = "AI triage, not for diagnosis.",
                                    .retrieve_ae = "PACS",
                                    .inputs = inputs,
                                    .n_inputs = 2,
                                    .scheduled_ms = scheduled_ms,
                                    .now_ms = scheduled_ms};
    md_dataset *item = NULL;
    md_error err = {0};
    must(md_workitem_of_study(&what, &item, &err), "a workitem", &err);
    return item;
}

/* Past the store, in one transaction: 105,000 commits would be another measurement. */
static void insert(sqlite3_stmt *statement, unsigned n, int state, md_ups_priority priority,
                   int64_t scheduled_ms)
{
    char uid[64], study[64], patient[32];
    md_error err = {0};
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    md_dataset *item = make_item(n, priority, scheduled_ms);
    must(md_workitem_put(item, MD_UPS_TAG_STATE, md_ups_state_name((md_ups_state)state), &err),
         "a workitem", &err);
    must(md_workitem_encode(item, MD_ENCODING_EXPLICIT_LITTLE, &bytes, &n_bytes, &err),
         "a workitem", &err);
    snprintf(uid, sizeof uid, "1.2.3.1.%u", n);
    snprintf(study, sizeof study, "1.2.3.2.%u", n);
    snprintf(patient, sizeof patient, "P%u", n);
    sqlite3_bind_text(statement, 1, uid, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int(statement, 2, state);
    sqlite3_bind_int(statement, 3, (int)priority);
    sqlite3_bind_int64(statement, 4, scheduled_ms);
    sqlite3_bind_text(statement, 5, patient, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(statement, 6, study, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(statement, 7, state >= 2 ? scheduled_ms : 0);
    sqlite3_bind_blob(statement, 8, bytes, (int)n_bytes, SQLITE_TRANSIENT);
    if (sqlite3_step(statement) != SQLITE_DONE) {
        die("insert", NULL);
    }
    sqlite3_reset(statement);
    md_free(bytes);
    md_dataset_destroy(item);
}

static void fill(const char *database, unsigned n_finished, unsigned n_open)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    uint32_t seed = 1;
    if (sqlite3_open(database, &db) != SQLITE_OK ||
        sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db,
                           "INSERT INTO ups (uid, study_key, state, priority, scheduled,"
                           " worklist, patient, study, transaction_uid, ended, dataset)"
                           " VALUES (?1, '', ?2, ?3, ?4, 'READING', ?5, ?6, '', ?7, ?8)",
                           -1, &statement, NULL) != SQLITE_OK) {
        die("database", NULL);
    }
    for (unsigned i = 0; i < n_finished + n_open; i++) {
        md_ups_priority priority = random_next(&seed) % 20 == 0  ? MD_UPS_HIGH
                                   : random_next(&seed) % 5 == 0 ? MD_UPS_MEDIUM
                                                                 : MD_UPS_LOW;
        int state = i >= n_finished ? random_next(&seed) % 10 == 0 : 2;
        insert(statement, i, state, priority, 1760000000000 + random_next(&seed) % 100000000);
    }
    sqlite3_finalize(statement);
    if (sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
        die("commit", NULL);
    }
    sqlite3_close(db);
}

static unsigned resident_kib(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *in = fopen("/proc/self/statm", "r");
    if (in == NULL || fscanf(in, "%lu %lu", &pages, &resident) != 2) {
        return 0;
    }
    fclose(in);
    return (unsigned)(resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024);
}

typedef struct listing {
    unsigned n, most;
    int64_t last_us;
    unsigned urgent_places; /* sum of the places of priority HIGH, from 1 */
    unsigned n_urgent;
} listing;

static bool on_match(void *context, const md_dimse_reply *reply)
{
    listing *now = context;
    now->n++;
    if (now->most == 0 || now->n <= now->most) {
        now->last_us = md_clock_monotonic_us();
    }
    if (memmem(reply->dataset, reply->dataset_bytes, "HIGH", 4) != NULL) {
        now->urgent_places += now->n;
        now->n_urgent++;
    }
    return now->most == 0 || now->n < now->most;
}

/* Milliseconds to the last match that was wanted. */
static double query(md_dimse_client *client, const md_dataset *keys, unsigned most,
                    listing *ret_listing)
{
    uint8_t *bytes = NULL;
    md_error err = {0};
    md_dimse_reply reply;
    md_dimse_call call = {.field = MD_COMMAND_FIND_RQ, .abstract_syntax = MD_UPS_QUERY};
    *ret_listing = (listing){.most = most};
    must(md_workitem_encode(keys, MD_ENCODING_EXPLICIT_LITTLE, &bytes, &call.dataset_bytes,
                            &err),
         "keys", &err);
    call.dataset = bytes;
    int64_t start_us = md_clock_monotonic_us();
    must(md_dimse_client_call(client, &call, on_match, ret_listing, &reply, &err), "C-FIND",
         &err);
    md_free(bytes);
    return (double)(ret_listing->last_us - start_us) / 1000;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void put(md_dataset *keys, uint32_t tag, const char *text)
{
    md_error err = {0};
    must(md_workitem_put(keys, tag, text, &err), "keys", &err);
}

static md_dataset *keys_of(uint32_t tag, const char *text)
{
    static const uint32_t wanted[] = {
        MD_UPS_TAG_SOP_INSTANCE, MD_TAG(0x10, 0x10), MD_UPS_TAG_PATIENT_ID, MD_UPS_TAG_STUDY,
        MD_TAG(0x40, 0x4021),    MD_UPS_TAG_START,   MD_UPS_TAG_PRIORITY,   MD_UPS_TAG_WORKLIST,
        MD_UPS_TAG_LABEL,        MD_UPS_TAG_STATE};
    md_dataset *keys = NULL;
    md_error err = {0};
    must(md_workitem_create(&keys, &err), "keys", &err);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        put(keys, wanted[i], "");
    }
    put(keys, tag, text);
    return keys;
}

static void measure(md_dimse_client *client, const char *what, md_dataset *keys, unsigned most,
                    unsigned expected, unsigned rounds)
{
    double times[MAX_ROUNDS];
    listing found;
    (void)query(client, keys, most, &found); /* the page cache is warm from the second on */
    unsigned before = resident_kib();
    for (unsigned i = 0; i < rounds; i++) {
        times[i] = query(client, keys, most, &found);
        if (found.n < expected) {
            die("too few matches", NULL);
        }
    }
    unsigned after = resident_kib();
    qsort(times, rounds, sizeof *times, by_value);
    printf("%-34s p50 %7.2f ms, p99 %7.2f ms, resident %u -> %u KiB\n", what, times[rounds / 2],
           times[rounds * 99 / 100], before, after);
    md_dataset_destroy(keys);
}

static uint16_t no_objects(void *context, const md_scp_object *object)
{
    (void)context;
    (void)object;
    return MD_DIMSE_PROCESSING_FAILURE;
}

/* 1,000 studies come in random order; the store keeps them as the daemon would. */
static void triage(md_store *store, md_dimse_client *client, unsigned base)
{
    unsigned order[N_TRIAGE], arrival_places = 0;
    uint32_t seed = 7;
    listing found;
    md_error err = {0};
    for (unsigned i = 0; i < N_TRIAGE; i++) {
        order[i] = i;
    }
    for (unsigned i = N_TRIAGE - 1; i > 0; i--) {
        unsigned k = random_next(&seed) % (i + 1), kept = order[i];
        order[i] = order[k];
        order[k] = kept;
    }
    for (unsigned i = 0; i < N_TRIAGE; i++) {
        char uid[64];
        bool urgent = order[i] < N_URGENT;
        md_dataset *item =
            make_item(base + i, urgent ? MD_UPS_HIGH : MD_UPS_LOW, 1770000000000 + i * 60000);
        arrival_places += urgent ? i + 1 : 0;
        put(item, MD_UPS_TAG_WORKLIST, "TRIAGE");
        snprintf(uid, sizeof uid, "1.2.3.1.%u", base + i);
        md_ups_draft draft = {
            .write = {.uid = uid, .transaction_uid = "", .study_key = "", .state = 0}};
        must(md_ups_draft_make(&draft, store, item, &err), "a workitem", &err);
        must(md_store_ups_write(store, &draft.write, 1770000000000 + i, &err), "a workitem",
             &err);
        md_ups_draft_finish(&draft);
        md_dataset_destroy(item);
    }
    md_dataset *keys = keys_of(MD_UPS_TAG_WORKLIST, "TRIAGE");
    (void)query(client, keys, 0, &found);
    md_dataset_destroy(keys);
    if (found.n != N_TRIAGE || found.n_urgent != N_URGENT) {
        die("the list is not complete", NULL);
    }
    printf(
        "%d studies, %d urgent: mean place of an urgent one %.1f, in order of arrival %.1f\n",
        N_TRIAGE, N_URGENT, (double)found.urgent_places / N_URGENT,
        (double)arrival_places / N_URGENT);
}

int main(int argc, char **argv)
{
    unsigned n_finished = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100000;
    unsigned n_open = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 5000;
    unsigned rounds = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 200;
    char database[512], text[64];
    md_error err = {0};
    md_store *store = NULL;
    md_scp *scp = NULL;
    md_dimse_client *client = NULL;
    if (argc < 2 || rounds == 0 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench-ups FOLDER [finished [open [rounds]]]\n");
        return 2;
    }
    must(md_dicom_init(&err), "DCMTK", &err);
    snprintf(database, sizeof database, "%s/medaid.db", argv[1]);
    const md_store_options options = {.path = database};
    must(md_store_open(&options, &store, &err), "store", &err);
    md_store_close(store);
    fill(database, n_finished, n_open);
    must(md_store_open(&options, &store, &err), "store", &err);
    static md_conf conf;
    md_conf_defaults(&conf);
    md_ups ups = {.conf = &conf, .store = store};
    md_scp_service service = md_ups_scp_service(&ups);
    const md_scp_options listen = {.ae_title = "MEDAID",
                                   .bind_address = "127.0.0.1",
                                   .spool_folder = argv[1],
                                   .max_associations = 4,
                                   .association_timeout_s = 60,
                                   .max_pdu_bytes = 128 * 1024,
                                   .max_object_bytes = 1 << 20,
                                   .services = &service,
                                   .n_services = 1,
                                   .on_object = no_objects};
    must(md_scp_start(&listen, &scp, &err), "listen", &err);
    const md_peer peer = {.ae_title = "MEDAID",
                          .host = "127.0.0.1",
                          .port = md_scp_port(scp),
                          .own_ae_title = "BENCH",
                          .timeout_s = 60};
    static const md_client_class classes[] = {{MD_UPS_QUERY, false}};
    must(md_dimse_client_open(&peer, classes, 1, &client, &err), "connect", &err);
    printf("%u finished and %u open workitems\n", n_finished, n_open);
    md_dataset *first = keys_of(MD_UPS_TAG_STATE, "SCHEDULED");
    put(first, MD_UPS_TAG_PRIORITY, "HIGH");
    measure(client, "first 50 of SCHEDULED, HIGH", first, N_WANTED, N_WANTED, rounds);
    measure(client, "first 50 of SCHEDULED", keys_of(MD_UPS_TAG_STATE, "SCHEDULED"), N_WANTED,
            N_WANTED, rounds);
    snprintf(text, sizeof text, "1.2.3.1.%u", n_finished / 2);
    measure(client, "one workitem by its UID", keys_of(MD_UPS_TAG_SOP_INSTANCE, text), 0, 1,
            rounds);
    snprintf(text, sizeof text, "P%u", n_finished / 3);
    measure(client, "one patient", keys_of(MD_UPS_TAG_PATIENT_ID, text), 0, 1, rounds);
    triage(store, client, n_finished + n_open);
    md_dimse_client_close(client);
    md_scp_stop(scp, 1000);
    md_store_close(store);
    return 0;
}
