#include "office.h"

#include <dirent.h>

static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char name[512];
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        unlink(name);
    }
    closedir(folder);
    rmdir(path);
}

static void make_folder(char ret_path[64])
{
    snprintf(ret_path, 64, "/tmp/medaid-ups-XXXXXX");
    assert_non_null(mkdtemp(ret_path));
}

static uint16_t no_objects(void *context, const md_scp_object *object)
{
    (void)context;
    (void)object;
    return MD_DIMSE_PROCESSING_FAILURE;
}

static md_scp_options options_of(const char *ae_title, const char *folder,
                                 const md_scp_service *service, uint16_t port)
{
    return (md_scp_options){
        .ae_title = ae_title,
        .bind_address = "127.0.0.1",
        .port = port,
        .spool_folder = folder,
        .max_associations = 8,
        .association_timeout_s = 30,
        .max_pdu_bytes = 128 * 1024,
        .max_object_bytes = 8 << 20,
        .services = service,
        .n_services = 1,
        .on_object = no_objects,
    };
}

/* ---- the watcher ---- */

static void on_report(void *context, const md_dimse_request *request,
                      md_dimse_responder *responder)
{
    watcher *w = context;
    md_dataset *report = NULL;
    assert_int_equal(request->field, MD_COMMAND_EVENT_REPORT_RQ);
    assert_true(request->peer_is_scp);
    assert_string_equal(request->sop_class_uid, MD_UPS_PUSH);
    assert_string_equal(request->abstract_syntax, MD_UPS_EVENT);
    assert_ok(md_workitem_parse(request->dataset, request->dataset_bytes, request->encoding,
                                &report, err));
    pthread_mutex_lock(&w->mutex);
    if (w->n < MAX_TOLD) {
        told *t = &w->told[w->n++];
        t->type = request->number;
        snprintf(t->uid, sizeof t->uid, "%s", request->sop_instance_uid);
        (void)md_dataset_get_text(report, MD_UPS_TAG_STATE, 0, t->state, sizeof t->state);
        (void)md_dataset_get_text(report, MD_UPS_TAG_READINESS, 0, t->readiness,
                                  sizeof t->readiness);
        (void)md_dataset_get_text(report, MD_TAG(0x74, 0x1236), 0, t->requester,
                                  sizeof t->requester);
    }
    const md_dimse_answer answer = {.status = w->answer};
    pthread_mutex_unlock(&w->mutex);
    md_dataset_destroy(report);
    (void)!md_dimse_respond(responder, &answer, NULL);
}

static void watcher_open(watcher *w, uint16_t port)
{
    static const md_service_class classes[] = {{MD_UPS_EVENT, true}};
    w->service = (md_scp_service){classes, 1, on_report, w};
    const md_scp_options options = options_of("WATCHER", w->folder, &w->service, port);
    assert_ok(md_scp_start(&options, &w->scp, err));
}

void office_close_watcher(office *o)
{
    md_scp_stop(o->watcher.scp, 3000);
    o->watcher.scp = NULL;
}

void office_open_watcher(office *o)
{
    watcher_open(&o->watcher, o->conf.ups.subscribers[0].port);
}

void wait_told(office *o, size_t n)
{
    for (int i = 0; i < 6000; i++) {
        pthread_mutex_lock(&o->watcher.mutex);
        size_t have = o->watcher.n;
        pthread_mutex_unlock(&o->watcher.mutex);
        if (have >= n) {
            return;
        }
        usleep(10000);
    }
    fail_msg("the watcher was told %zu times, expected %zu", o->watcher.n, n);
}

/* ---- the office ---- */

static void wake(void *context)
{
    md_couriers_wake(((const office *)context)->couriers);
}

static void open_all(office *o)
{
    char database[128];
    snprintf(database, sizeof database, "%s/medaid.db", o->folder);
    const md_store_options options = {.path = database};
    assert_ok(md_store_open(&options, &o->store, err));
    assert_ok(md_couriers_start(&o->conf, o->store, &o->couriers, err));
    o->ups = (md_ups){&o->conf, o->store, wake, o};
    o->service = md_ups_scp_service(&o->ups);
    const md_scp_options scp = options_of("MEDAID", o->folder, &o->service, 0);
    assert_ok(md_scp_start(&scp, &o->scp, err));
    o->peer = (md_peer){.ae_title = "MEDAID",
                        .host = "127.0.0.1",
                        .port = md_scp_port(o->scp),
                        .own_ae_title = "READER",
                        .timeout_s = 30};
    static const md_client_class classes[] = {{MD_UPS_PUSH, false},
                                              {MD_UPS_WATCH, false},
                                              {MD_UPS_PULL, false},
                                              {MD_UPS_QUERY, false}};
    assert_ok(md_dimse_client_open(&o->peer, classes, 4, &o->client, err));
}

static void close_all(office *o)
{
    md_dimse_client_close(o->client);
    md_scp_stop(o->scp, 3000);
    md_couriers_stop(o->couriers);
    md_store_close(o->store);
}

void office_restart(office *o)
{
    close_all(o);
    open_all(o);
}

int office_setup(void **state)
{
    assert_ok(md_dicom_init(err));
    office *o = calloc(1, sizeof *o);
    assert_non_null(o);
    md_conf_defaults(&o->conf);
    make_folder(o->folder);
    make_folder(o->watcher.folder);
    pthread_mutex_init(&o->watcher.mutex, NULL);
    watcher_open(&o->watcher, 0);
    o->conf.ups.enabled = true;
    o->conf.ups.n_subscribers = 1;
    md_conf_ups_peer *peer = &o->conf.ups.subscribers[0];
    snprintf(peer->ae_title, sizeof peer->ae_title, "WATCHER");
    snprintf(peer->host, sizeof peer->host, "127.0.0.1");
    peer->port = md_scp_port(o->watcher.scp);
    peer->timeout_s = 30;
    open_all(o);
    *state = o;
    return 0;
}

int office_teardown(void **state)
{
    office *o = *state;
    close_all(o);
    md_scp_stop(o->watcher.scp, 3000);
    remove_folder(o->folder);
    remove_folder(o->watcher.folder);
    pthread_mutex_destroy(&o->watcher.mutex);
    free(o);
    return 0;
}

/* ---- datasets and requests ---- */

void put(md_dataset *dataset, uint32_t tag, const char *value)
{
    assert_ok(md_workitem_put(dataset, tag, value, err));
}

md_dataset *dataset_with(uint32_t tag, const char *value)
{
    md_dataset *made = NULL;
    assert_ok(md_workitem_create(&made, err));
    put(made, tag, value);
    return made;
}

md_dataset *new_item(const char *priority, const char *patient_id, int64_t scheduled_ms)
{
    static const md_workitem_input input = {"1.2.840.10008.5.1.4.1.1.2", "1.2.3.1", "1.2.3.2"};
    const md_workitem_study study = {
        .sop_instance_uid = "1.2.3",
        .study_instance_uid = "1.2.3.9",
        .patient_name = "Müller^Jörg",
        .patient_id = patient_id,
        .issuer_of_patient_id = "",
        .birth_date = "19700101",
        .sex = "M",
        .accession_number = "A1",
        .study_description = "Thorax",
        .worklist_label = "READING",
        .label = "Interpretation",
        .comment = "",
        .retrieve_ae = "PACS",
        .inputs = &input,
        .n_inputs = 1,
        .scheduled_ms = scheduled_ms,
        .now_ms = 1,
    };
    md_dataset *made = NULL;
    assert_ok(md_workitem_of_study(&study, &made, err));
    (void)md_workitem_remove(made, MD_UPS_TAG_SOP_CLASS);
    (void)md_workitem_remove(made, MD_UPS_TAG_SOP_INSTANCE);
    put(made, MD_UPS_TAG_PRIORITY, priority);
    return made;
}

uint16_t ask(office *o, uint16_t field, const char *class_uid, const char *uid, unsigned number,
             const md_dataset *dataset, md_dataset **ret_answer)
{
    uint8_t *bytes = NULL;
    md_dimse_call call = {.field = field,
                          .abstract_syntax = class_uid,
                          .sop_class_uid = MD_UPS_PUSH,
                          .sop_instance_uid = uid,
                          .has_number = number != 0,
                          .number = (uint16_t)number};
    md_dimse_reply reply = {0};
    if (dataset != NULL) {
        assert_ok(md_workitem_encode(dataset, MD_ENCODING_EXPLICIT_LITTLE, &bytes,
                                     &call.dataset_bytes, err));
        call.dataset = bytes;
    }
    assert_ok(md_dimse_client_call(o->client, &call, NULL, NULL, &reply, err));
    md_free(bytes);
    if (ret_answer != NULL) {
        *ret_answer = NULL;
        if (reply.dataset != NULL) {
            assert_ok(md_workitem_parse(reply.dataset, reply.dataset_bytes, reply.encoding,
                                        ret_answer, err));
        }
    }
    return reply.status;
}

uint16_t create_item(office *o, const char *uid, const char *priority)
{
    md_dataset *item = new_item(priority, "P1", 1000);
    uint16_t status = ask(o, MD_COMMAND_CREATE_RQ, MD_UPS_PUSH, uid, 0, item, NULL);
    md_dataset_destroy(item);
    return status;
}

uint16_t change_state(office *o, const char *uid, const char *state, const char *transaction)
{
    md_dataset *information = dataset_with(MD_UPS_TAG_STATE, state);
    if (transaction != NULL) {
        put(information, MD_UPS_TAG_TRANSACTION, transaction);
    }
    uint16_t status = ask(o, MD_COMMAND_ACTION_RQ, MD_UPS_PULL, uid, MD_UPS_ACTION_CHANGE_STATE,
                          information, NULL);
    md_dataset_destroy(information);
    return status;
}

/* Implicit little endian: a sequence with one item of these bytes. */
static size_t put_sequence(uint8_t *to, uint32_t tag, const uint8_t *item, size_t n)
{
    const uint8_t head[] = {(uint8_t)(tag >> 16),
                            (uint8_t)(tag >> 24),
                            (uint8_t)tag,
                            (uint8_t)(tag >> 8),
                            (uint8_t)(n + 8),
                            (uint8_t)((n + 8) >> 8),
                            0,
                            0,
                            0xfe,
                            0xff,
                            0x00,
                            0xe0,
                            (uint8_t)n,
                            (uint8_t)(n >> 8),
                            0,
                            0};
    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, item, n);
    return sizeof head + n;
}

static size_t put_value(uint8_t *to, uint32_t tag, const char *text)
{
    size_t n = strlen(text);
    const uint8_t head[] = {(uint8_t)(tag >> 16),
                            (uint8_t)(tag >> 24),
                            (uint8_t)tag,
                            (uint8_t)(tag >> 8),
                            (uint8_t)(n + n % 2),
                            0,
                            0,
                            0};
    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, text, n);
    to[sizeof head + n] = ' ';
    return sizeof head + n + n % 2;
}

static size_t put_code(uint8_t *to, uint32_t sequence, const char *value)
{
    uint8_t item[128];
    size_t n = put_value(item, MD_TAG(8, 0x100), value);
    n += put_value(item + n, MD_TAG(8, 0x102), "DCM");
    n += put_value(item + n, MD_TAG(8, 0x104), "meaning");
    return put_sequence(to, sequence, item, n);
}

uint16_t make_final(office *o, const char *uid, const char *transaction)
{
    uint8_t item[1024], bytes[4096];
    size_t n = put_value(item, MD_TAG(0x40, 0x4052), "20261124101500");
    n += put_code(item + n, MD_TAG(0x74, 0x100e), "110513");
    size_t used = put_sequence(bytes, MD_TAG(0x74, 0x1002), item, n);
    n = put_code(item, MD_TAG(0x40, 0x4019), "110005");
    n += put_code(item + n, MD_TAG(0x40, 0x4028), "STATION1");
    n += put_value(item + n, MD_TAG(0x40, 0x4033), "");
    n += put_value(item + n, MD_TAG(0x40, 0x4050), "20261124101500");
    n += put_value(item + n, MD_TAG(0x40, 0x4051), "20261124101600");
    used += put_sequence(bytes + used, MD_TAG(0x74, 0x1216), item, n);
    md_dataset *changes = NULL;
    assert_ok(md_workitem_parse(bytes, used, MD_ENCODING_IMPLICIT_LITTLE, &changes, err));
    if (transaction != NULL) {
        put(changes, MD_UPS_TAG_TRANSACTION, transaction);
    }
    uint16_t status = ask(o, MD_COMMAND_SET_RQ, MD_UPS_PULL, uid, 0, changes, NULL);
    md_dataset_destroy(changes);
    return status;
}

void create_in_state(office *o, const char *uid, md_ups_state state)
{
    assert_int_equal(create_item(o, uid, "LOW"), 0);
    if (state == MD_UPS_SCHEDULED) {
        return;
    }
    assert_int_equal(change_state(o, uid, "IN PROGRESS", TRANSACTION), 0);
    if (state != MD_UPS_IN_PROGRESS) {
        assert_int_equal(make_final(o, uid, TRANSACTION), 0);
        assert_int_equal(change_state(o, uid, md_ups_state_name(state), TRANSACTION), 0);
    }
}

typedef struct matches {
    char (*uids)[MD_UID_BYTES];
    size_t n, n_max;
    unsigned cancel_after;
} matches;

static bool on_match(void *context, const md_dimse_reply *reply)
{
    matches *m = context;
    md_dataset *answer = NULL;
    assert_int_equal(reply->status, MD_DIMSE_PENDING);
    assert_ok(
        md_workitem_parse(reply->dataset, reply->dataset_bytes, reply->encoding, &answer, err));
    assert_false(md_dataset_has(answer, MD_UPS_TAG_TRANSACTION));
    if (m->n < m->n_max) {
        (void)md_dataset_get_text(answer, MD_UPS_TAG_SOP_INSTANCE, 0, m->uids[m->n],
                                  MD_UID_BYTES);
    }
    m->n++;
    md_dataset_destroy(answer);
    return m->cancel_after == 0 || m->n < m->cancel_after;
}

size_t find(office *o, const md_dataset *keys, char (*ret_uids)[MD_UID_BYTES], size_t n_max,
            unsigned cancel_after, uint16_t *ret_status)
{
    uint8_t *bytes = NULL;
    matches m = {.uids = ret_uids, .n_max = n_max, .cancel_after = cancel_after};
    md_dimse_call call = {.field = MD_COMMAND_FIND_RQ, .abstract_syntax = MD_UPS_QUERY};
    md_dimse_reply reply = {0};
    assert_ok(md_workitem_encode(keys, MD_ENCODING_EXPLICIT_LITTLE, &bytes, &call.dataset_bytes,
                                 err));
    call.dataset = bytes;
    assert_ok(md_dimse_client_call(o->client, &call, on_match, &m, &reply, err));
    md_free(bytes);
    *ret_status = reply.status;
    return m.n;
}

uint16_t subscribe(office *o, unsigned action, const char *uid, const char *receiver,
                   const char *lock)
{
    md_dataset *information = dataset_with(MD_UPS_TAG_RECEIVER, receiver);
    if (lock != NULL) {
        put(information, MD_UPS_TAG_DELETION_LOCK, lock);
    }
    uint16_t status =
        ask(o, MD_COMMAND_ACTION_RQ, MD_UPS_WATCH, uid, action, information, NULL);
    md_dataset_destroy(information);
    return status;
}

void text_of(office *o, const char *uid, uint32_t tag, char ret_text[257])
{
    md_dataset *answer = NULL;
    assert_int_equal(ask(o, MD_COMMAND_GET_RQ, MD_UPS_PULL, uid, 0, NULL, &answer), 0);
    assert_non_null(answer);
    (void)md_dataset_get_text(answer, tag, 0, ret_text, 257);
    md_dataset_destroy(answer);
}
