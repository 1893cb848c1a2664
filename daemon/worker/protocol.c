#include "daemon/worker/protocol.h"

#include "daemon/worker/evidence_wire.h"
#include "daemon/worker/protocol_embedding.h"
#include "daemon/worker/protocol_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONF_OFFSET = 64, /* so that the struct is aligned in the packet */
    MAX_PROBLEM_STATUS = MD_INTERNAL,
};
static_assert(sizeof(md_conf) + CONF_OFFSET <= MD_WORKER_PACKET_BYTES,
              "the configuration fits into a packet");

/* Whoever changes these structs changes put_... and get_... below too. */
static_assert(sizeof(md_model_identity) == 65 + 17 + 65 + 65 + 65 + 257 + 1025, "model");
static_assert(sizeof(md_instance_ref) == 3 * 65 + 1 + 4 + 4 + sizeof(md_steps), "instance");
static_assert(sizeof(md_finding) == 728 + sizeof(md_saliency), "finding");
static_assert(sizeof(md_result) == 2360, "result");

static void put_model(md_wire_writer *out, const md_model_identity *model)
{
    md_wire_put_text(out, model->id);
    md_wire_put_text(out, model->version);
    md_wire_put_text(out, model->name);
    md_wire_put_text(out, model->manufacturer);
    md_wire_put_text(out, model->sha256);
    md_wire_put_text(out, model->parameters);
    md_wire_put_text(out, model->intended_use);
}

static void get_model(md_wire_reader *in, md_model_identity *model)
{
    md_wire_get_text(in, model->id, sizeof model->id);
    md_wire_get_text(in, model->version, sizeof model->version);
    md_wire_get_text(in, model->name, sizeof model->name);
    md_wire_get_text(in, model->manufacturer, sizeof model->manufacturer);
    md_wire_get_text(in, model->sha256, sizeof model->sha256);
    md_wire_get_text(in, model->parameters, sizeof model->parameters);
    md_wire_get_text(in, model->intended_use, sizeof model->intended_use);
    if (in->bad == NULL && (model->id[0] == '\0' || model->version[0] == '\0')) {
        md_wire_refuse(in, "a model without id or version");
    }
}

static void put_required(md_wire_writer *out, const md_required *required)
{
    PUT_TEXTS(out, required->modality, required->n_modality);
    PUT_TEXTS(out, required->body_part, required->n_body_part);
    PUT_TEXTS(out, required->views, required->n_views);
    md_wire_put_u8(out, required->accepts_no_body_part);
    md_wire_put_u32(out, required->count);
}

static void get_required(md_wire_reader *in, md_required *required)
{
    GET_TEXTS(in, required->modality, required->n_modality);
    GET_TEXTS(in, required->body_part, required->n_body_part);
    GET_TEXTS(in, required->views, required->n_views);
    required->accepts_no_body_part = md_wire_get_u8(in) != 0;
    required->count = md_wire_get_below(in, MD_WORKER_MAX_FILES + 1);
}

static void put_conf(md_wire_writer *out, const md_worker_packet *packet)
{
    static const uint8_t padding[CONF_OFFSET] = {0};
    md_wire_put_u32(out, packet->n);
    md_wire_put_u32(out, (uint32_t)sizeof(md_conf));
    md_wire_put_bytes(out, padding, CONF_OFFSET - out->used_bytes);
    md_wire_put_bytes(out, packet->conf, sizeof *packet->conf);
}

static void get_conf(md_wire_reader *in, md_worker_packet *packet)
{
    packet->n = md_wire_get_u32(in);
    if (packet->n != MD_WORKER_PROTOCOL || md_wire_get_u32(in) != sizeof(md_conf)) {
        md_wire_refuse(in, "a main process of another version");
    }
    (void)md_wire_get_bytes(in, CONF_OFFSET - in->at);
    packet->conf = (const void *)md_wire_get_bytes(in, sizeof *packet->conf);
}

/* Real studies break PS3.5 9.1's rule about leading zeros, and their UIDs are carried as they
 * are; what medaid derives follows it anyway. */
static void get_uid(md_wire_reader *in, bool required, char ret_uid[MD_UID_BYTES])
{
    md_wire_get_text(in, ret_uid, MD_UID_BYTES);
    size_t length = strlen(ret_uid);
    if (in->bad == NULL &&
        ((required && length == 0) || strspn(ret_uid, "0123456789.") != length)) {
        md_wire_refuse(in, "a UID that is none");
    }
}

static void put_predecessors(md_wire_writer *out, const md_worker_packet *packet)
{
    md_wire_put_u32(out, packet->n_predecessors);
    for (uint32_t i = 0; i < packet->n_predecessors && i < MD_HOST_MAX_PREDECESSORS; i++) {
        md_wire_put_text(out, packet->predecessors[i].model_id);
        md_wire_put_text(out, packet->predecessors[i].sop_instance_uid);
        md_wire_put_text(out, packet->predecessors[i].series_instance_uid);
    }
}

static void get_predecessors(md_wire_reader *in, md_worker_packet *packet)
{
    uint32_t n = md_wire_get_below(in, MD_HOST_MAX_PREDECESSORS + 1);
    for (uint32_t i = 0; i < n && in->bad == NULL; i++) {
        md_predecessor *before = &packet->predecessors[i];
        md_wire_get_text(in, before->model_id, sizeof before->model_id);
        get_uid(in, true, before->sop_instance_uid);
        get_uid(in, true, before->series_instance_uid);
        if (in->bad == NULL && before->model_id[0] == '\0') {
            md_wire_refuse(in, "a predecessor without a model");
        }
        for (uint32_t j = 0; j < i && in->bad == NULL; j++) {
            if (strcmp(packet->predecessors[j].model_id, before->model_id) == 0) {
                md_wire_refuse(in, "two predecessors of one model");
            }
        }
    }
    packet->n_predecessors = n;
}

md_status md_worker_encode(const md_worker_packet *packet, md_worker_buffer *buffer,
                           size_t *ret_size, md_error *err)
{
    md_wire_writer out = {.bytes = buffer->bytes, .capacity_bytes = sizeof buffer->bytes};
    md_wire_put_u8(&out, (uint8_t)packet->kind);
    switch (packet->kind) {
    case MD_WORKER_CONFIGURE:
        put_conf(&out, packet);
        break;
    case MD_WORKER_MODEL:
        put_model(&out, &packet->model);
        put_required(&out, &packet->required);
        md_worker_put_embeds(&out, &packet->embeds);
        break;
    case MD_WORKER_READY:
    case MD_WORKER_REFUSED:
        md_wire_put_u32(&out, packet->n);
        break;
    case MD_WORKER_START_FAILED:
        md_wire_put_u32(&out, (uint32_t)packet->status);
        md_wire_put_text(&out, packet->text);
        break;
    case MD_WORKER_ANALYSE:
    case MD_WORKER_FAIL:
        md_wire_put_u64(&out, packet->job);
        md_wire_put_u32(&out, packet->n);
        md_wire_put_u64(&out, (uint64_t)packet->first_received_ms);
        md_wire_put_u64(&out, (uint64_t)packet->last_received_ms);
        md_wire_put_u64(&out, (uint64_t)packet->complete_ms);
        md_wire_put_u64(&out, packet->revision);
        md_wire_put_text(&out, packet->text);
        put_predecessors(&out, packet);
        md_wire_put_u8(&out, packet->some_models);
        PUT_TEXTS(&out, packet->models, packet->n_models);
        md_wire_put_text(&out, packet->missing);
        break;
    case MD_WORKER_PROBLEM:
        md_wire_put_u64(&out, packet->job);
        md_wire_put_u32(&out, packet->n);
        md_wire_put_u32(&out, (uint32_t)packet->status);
        md_wire_put_text(&out, packet->text);
        break;
    case MD_WORKER_RESULT:
        md_wire_put_u64(&out, packet->job);
        md_wire_put_u32(&out, (uint32_t)packet->status);
        md_wire_put_text(&out, packet->text);
        md_wire_put_u64(&out, packet->bytes);
        break;
    case MD_WORKER_PROPOSE:
        md_wire_put_u64(&out, packet->job);
        md_wire_put_text(&out, packet->patient_id);
        md_wire_put_text(&out, packet->issuer);
        md_worker_put_features(&out, &packet->features);
        break;
    case MD_WORKER_PROPOSED:
        md_wire_put_u64(&out, packet->job);
        md_worker_put_follow_up(&out, &packet->follow_up);
        break;
    case MD_WORKER_PING:
    case MD_WORKER_PONG:
        md_wire_put_u64(&out, packet->job);
        break;
    case MD_WORKER_BYE:
        break;
    case MD_WORKER_LOG:
    case MD_WORKER_N_KINDS:
    default:
        return md_fail(err, MD_INVALID_ARG, "packet kind %d cannot be sent", (int)packet->kind);
    }
    if (out.overflow) {
        return md_fail(err, MD_LIMIT, "packet of kind %d does not fit into %d bytes",
                       (int)packet->kind, MD_WORKER_PACKET_BYTES);
    }
    *ret_size = out.used_bytes;
    return MD_OK;
}

static bool may_come_from(md_worker_kind kind, bool from_main)
{
    switch (kind) {
    case MD_WORKER_CONFIGURE:
    case MD_WORKER_ANALYSE:
    case MD_WORKER_FAIL:
    case MD_WORKER_PROPOSED:
    case MD_WORKER_PING:
    case MD_WORKER_BYE:
        return from_main;
    case MD_WORKER_MODEL:
    case MD_WORKER_READY:
    case MD_WORKER_START_FAILED:
    case MD_WORKER_PROBLEM:
    case MD_WORKER_REFUSED:
    case MD_WORKER_RESULT:
    case MD_WORKER_PROPOSE:
    case MD_WORKER_PONG:
        return !from_main;
    case MD_WORKER_LOG:
    case MD_WORKER_N_KINDS:
    default:
        return false;
    }
}

static md_status get_status(md_wire_reader *in)
{
    return (md_status)md_wire_get_below(in, MAX_PROBLEM_STATUS + 1);
}

static void get_body(md_wire_reader *in, md_worker_packet *packet)
{
    switch (packet->kind) {
    case MD_WORKER_CONFIGURE:
        get_conf(in, packet);
        break;
    case MD_WORKER_MODEL:
        get_model(in, &packet->model);
        get_required(in, &packet->required);
        md_worker_get_embeds(in, &packet->embeds);
        break;
    case MD_WORKER_READY:
        packet->n = md_wire_get_below(in, MD_WORKER_MAX_MODELS + 1);
        break;
    case MD_WORKER_REFUSED:
        packet->n = md_wire_get_u32(in);
        break;
    case MD_WORKER_START_FAILED:
        packet->status = get_status(in);
        md_wire_get_text(in, packet->text, sizeof packet->text);
        if (packet->status == MD_OK) {
            md_wire_refuse(in, "a failed start without a reason");
        }
        break;
    case MD_WORKER_ANALYSE:
    case MD_WORKER_FAIL:
        packet->job = md_wire_get_u64(in);
        packet->n = md_wire_get_below(in, MD_WORKER_MAX_FILES + 1);
        packet->first_received_ms = md_wire_get_time(in);
        packet->last_received_ms = md_wire_get_time(in);
        packet->complete_ms = md_wire_get_time(in);
        packet->revision = md_wire_get_u64(in);
        md_wire_get_text(in, packet->text, sizeof packet->text);
        get_predecessors(in, packet);
        packet->some_models = md_wire_get_u8(in) != 0;
        GET_TEXTS(in, packet->models, packet->n_models);
        md_wire_get_text(in, packet->missing, sizeof packet->missing);
        break;
    case MD_WORKER_PROBLEM:
        packet->job = md_wire_get_u64(in);
        packet->n = md_wire_get_below(in, MD_WORKER_MAX_FILES);
        packet->status = get_status(in);
        md_wire_get_text(in, packet->text, sizeof packet->text);
        break;
    case MD_WORKER_RESULT:
        packet->job = md_wire_get_u64(in);
        packet->status = get_status(in);
        md_wire_get_text(in, packet->text, sizeof packet->text);
        packet->bytes = md_wire_get_u64(in);
        if (packet->bytes > MD_WORKER_SHARED_BYTES) {
            md_wire_refuse(in, "more bytes than the shared block has");
        }
        break;
    case MD_WORKER_PROPOSE:
        packet->job = md_wire_get_u64(in);
        md_wire_get_text(in, packet->patient_id, sizeof packet->patient_id);
        md_wire_get_text(in, packet->issuer, sizeof packet->issuer);
        md_worker_get_features(in, &packet->features);
        break;
    case MD_WORKER_PROPOSED:
        packet->job = md_wire_get_u64(in);
        md_worker_get_follow_up(in, &packet->follow_up);
        break;
    case MD_WORKER_PING:
    case MD_WORKER_PONG:
        packet->job = md_wire_get_u64(in);
        break;
    case MD_WORKER_BYE:
        break;
    case MD_WORKER_LOG:
    case MD_WORKER_N_KINDS:
    default:
        md_wire_refuse(in, "an unknown kind");
        break;
    }
}

md_status md_worker_decode(const md_worker_buffer *buffer, size_t size_bytes, bool from_main,
                           md_worker_packet *ret_packet, md_error *err)
{
    memset(ret_packet, 0, sizeof *ret_packet);
    if (size_bytes > 0 && buffer->bytes[0] == '{' && !from_main) {
        ret_packet->kind = MD_WORKER_LOG;
        ret_packet->log = (const char *)buffer->bytes;
        ret_packet->log_bytes = size_bytes;
        return MD_OK;
    }
    md_wire_reader in = {.bytes = buffer->bytes, .size_bytes = size_bytes};
    unsigned kind = md_wire_get_u8(&in);
    if (in.bad == NULL &&
        (kind >= MD_WORKER_N_KINDS || !may_come_from((md_worker_kind)kind, from_main))) {
        md_wire_refuse(&in, "a kind that this side does not send");
    }
    if (in.bad == NULL) {
        ret_packet->kind = (md_worker_kind)kind;
        get_body(&in, ret_packet);
    }
    if (in.bad == NULL && in.at != size_bytes) {
        md_wire_refuse(&in, "bytes after the end");
    }
    if (in.bad != NULL) {
        memset(ret_packet, 0, sizeof *ret_packet);
        return md_fail(err, MD_FORMAT, "packet of kind %u, %zu bytes, at byte %zu: %s", kind,
                       size_bytes, in.at, in.bad);
    }
    return MD_OK;
}

md_status md_worker_send(int fd, bool from_main, const md_worker_packet *packet,
                         md_worker_buffer *buffer, md_error *err)
{
    size_t size_bytes = 0;
    MD_TRY(md_worker_encode(packet, buffer, &size_bytes, err));
    ssize_t n;
    do {
        n = from_main ? send(fd, buffer->bytes, size_bytes, MSG_DONTWAIT | MSG_NOSIGNAL)
                      : write(fd, buffer->bytes, size_bytes);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)size_bytes) {
        return MD_OK;
    }
    int os_errno = errno;
    if (n < 0 && (os_errno == EAGAIN || os_errno == ENOBUFS)) {
        return md_fail(err, MD_BUSY, "the other process does not read");
    }
    return md_fail(err, MD_NETWORK, "the other process is gone: %s",
                   n < 0 ? strerrordesc_np(os_errno) : "cut short");
}

/* ---- the analysis ---- */

static void put_code(md_wire_writer *out, const md_code *code)
{
    md_wire_put_text(out, code->value);
    md_wire_put_text(out, code->scheme);
    md_wire_put_text(out, code->meaning);
}

static void get_code(md_wire_reader *in, bool required, md_code *code)
{
    md_wire_get_text(in, code->value, sizeof code->value);
    md_wire_get_text(in, code->scheme, sizeof code->scheme);
    md_wire_get_text(in, code->meaning, sizeof code->meaning);
    bool whole = code->value[0] != '\0' && code->scheme[0] != '\0' && code->meaning[0] != '\0';
    bool none = code->value[0] == '\0';
    if (in->bad == NULL && (required ? !whole : !whole && !none)) {
        md_wire_refuse(in, "a coded concept that is not whole");
    }
}

static void put_finding(md_wire_writer *out, const md_finding *finding)
{
    md_wire_put_text(out, finding->key);
    put_code(out, &finding->concept);
    put_code(out, &finding->site);
    put_code(out, &finding->laterality);
    md_wire_put_u32(out, (uint32_t)finding->presence);
    md_wire_put_real(out, finding->score);
    md_wire_put_real(out, finding->threshold);
    md_wire_put_u8(out, finding->score_is_probability);
    md_wire_put_u8(out, finding->urgent);
    md_wire_put_u32(out, finding->instance_index);
}

static void get_finding(md_wire_reader *in, size_t n_instances, md_finding *finding)
{
    md_wire_get_text(in, finding->key, sizeof finding->key);
    get_code(in, true, &finding->concept);
    get_code(in, false, &finding->site);
    get_code(in, false, &finding->laterality);
    finding->presence = (md_presence)md_wire_get_below(in, MD_PRESENCE_UNDETERMINED + 1);
    finding->score = md_wire_get_real(in, 0.0, 1.0);
    finding->threshold = md_wire_get_real(in, 0.0, 1.0);
    finding->score_is_probability = md_wire_get_bool(in);
    finding->urgent = md_wire_get_bool(in);
    finding->instance_index = md_wire_get_below(in, (uint32_t)n_instances);
    if (in->bad == NULL && finding->key[0] == '\0') {
        md_wire_refuse(in, "a finding without key");
    }
    if (in->bad == NULL && finding->urgent && finding->presence != MD_PRESENCE_PRESENT) {
        md_wire_refuse(in, "an urgent finding that is not present");
    }
}

static void put_instance(md_wire_writer *out, const md_instance_ref *instance)
{
    md_wire_put_text(out, instance->sop_class_uid);
    md_wire_put_text(out, instance->sop_instance_uid);
    md_wire_put_text(out, instance->series_instance_uid);
    md_wire_put_u32(out, instance->frame);
    md_wire_put_u8(out, instance->analysed);
    md_wire_put_u32(out, instance->steps.n);
    for (unsigned i = 0; i < instance->steps.n && i < MD_STEPS_MAX; i++) {
        md_wire_put_text(out, instance->steps.text[i]);
    }
}

static void get_instance(md_wire_reader *in, md_instance_ref *instance)
{
    get_uid(in, true, instance->sop_class_uid);
    get_uid(in, true, instance->sop_instance_uid);
    get_uid(in, true, instance->series_instance_uid);
    instance->frame = md_wire_get_u32(in);
    instance->analysed = md_wire_get_bool(in);
    instance->steps.n = md_wire_get_below(in, MD_STEPS_MAX + 1);
    for (unsigned i = 0; i < instance->steps.n; i++) {
        md_wire_get_text(in, instance->steps.text[i], sizeof instance->steps.text[i]);
    }
}

static void put_times(md_wire_writer *out, const md_clock_times *times)
{
    const int64_t values[] = {times->first_received_ms, times->last_received_ms,
                              times->complete_ms,       times->analysis_start_ms,
                              times->analysis_end_ms,   times->decode_us,
                              times->normalise_us,      times->infer_us};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        md_wire_put_u64(out, (uint64_t)values[i]);
    }
}

static void get_times(md_wire_reader *in, md_clock_times *times)
{
    int64_t *const values[] = {&times->first_received_ms, &times->last_received_ms,
                               &times->complete_ms,       &times->analysis_start_ms,
                               &times->analysis_end_ms,   &times->decode_us,
                               &times->normalise_us,      &times->infer_us};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        *values[i] = md_wire_get_time(in);
    }
}

static void put_result(md_wire_writer *out, const md_result *result)
{
    md_wire_put_text(out, result->study_instance_uid);
    put_model(out, &result->model);
    md_wire_put_u32(out, (uint32_t)result->status);
    put_code(out, &result->failure);
    md_wire_put_text(out, result->failure_text);
    md_wire_put_text(out, result->predecessor_sop_instance_uid);
    md_wire_put_text(out, result->predecessor_series_instance_uid);
    md_wire_put_u64(out, result->revision);
    put_times(out, &result->times);
    md_wire_put_u32(out, (uint32_t)result->n_instances);
    for (size_t i = 0; i < result->n_instances; i++) {
        put_instance(out, &result->instances[i]);
    }
    md_wire_put_u32(out, (uint32_t)result->n_findings);
    for (size_t i = 0; i < result->n_findings; i++) {
        put_finding(out, &result->findings[i]);
    }
    md_wire_put_evidence(out, result);
}

static void put_header(md_wire_writer *out, const md_study_header *h)
{
    const char *const texts[] = {h->patient_name,
                                 h->patient_id,
                                 h->issuer_of_patient_id,
                                 h->birth_date,
                                 h->sex,
                                 h->accession_number,
                                 h->study_id,
                                 h->study_date,
                                 h->study_time,
                                 h->study_description,
                                 h->referring_physician,
                                 h->modality};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        md_wire_put_text(out, texts[i]);
    }
}

static void get_header(md_wire_reader *in, md_study_header *h)
{
    md_wire_get_text(in, h->patient_name, sizeof h->patient_name);
    md_wire_get_text(in, h->patient_id, sizeof h->patient_id);
    md_wire_get_text(in, h->issuer_of_patient_id, sizeof h->issuer_of_patient_id);
    md_wire_get_text(in, h->birth_date, sizeof h->birth_date);
    md_wire_get_text(in, h->sex, sizeof h->sex);
    md_wire_get_text(in, h->accession_number, sizeof h->accession_number);
    md_wire_get_text(in, h->study_id, sizeof h->study_id);
    md_wire_get_text(in, h->study_date, sizeof h->study_date);
    md_wire_get_text(in, h->study_time, sizeof h->study_time);
    md_wire_get_text(in, h->study_description, sizeof h->study_description);
    md_wire_get_text(in, h->referring_physician, sizeof h->referring_physician);
    md_wire_get_text(in, h->modality, sizeof h->modality);
}

static void put_png(md_wire_writer *out, const uint8_t *bytes, size_t n)
{
    md_wire_put_u32(out, (uint32_t)n);
    md_wire_put_bytes(out, bytes, n);
}

md_status md_worker_encode_analysis(const md_analysis *analysis, uint8_t *block,
                                    size_t capacity_bytes, size_t *ret_size, md_error *err)
{
    md_wire_writer out = {.bytes = block, .capacity_bytes = capacity_bytes};
    md_wire_put_u64(&out, analysis->n_unreadable);
    md_wire_put_u64(&out, analysis->n_not_accepted);
    md_wire_put_u32(&out, (uint32_t)analysis->n_results);
    for (size_t i = 0; i < analysis->n_results; i++) {
        put_result(&out, &analysis->results[i]);
    }
    md_wire_put_u32(&out, (uint32_t)analysis->n_objects);
    for (size_t i = 0; i < analysis->n_objects; i++) {
        const md_object *object = &analysis->objects[i];
        md_wire_put_text(&out, object->sop_class_uid);
        md_wire_put_text(&out, object->sop_instance_uid);
        md_wire_put_text(&out, object->series_instance_uid);
        md_wire_put_text(&out, object->model_id);
        md_wire_put_u64(&out, object->size_bytes);
        md_wire_put_bytes(&out, object->bytes, object->size_bytes);
    }
    put_header(&out, &analysis->header);
    md_worker_put_embeddings(&out, analysis);
    put_png(&out, analysis->view.image, analysis->view.image_bytes);
    put_png(&out, analysis->view.overlay, analysis->view.overlay_bytes);
    if (out.overflow) {
        return md_fail(err, MD_LIMIT, "the analysis does not fit into %zu bytes",
                       capacity_bytes);
    }
    *ret_size = out.used_bytes;
    return MD_OK;
}

void md_worker_host_identity(md_model_identity *ret_identity)
{
    static const md_model_identity host = {
        .id = "medaid",
        .version = MEDAID_VERSION,
        .name = "medaid analysis host",
        .manufacturer = "medaid",
        .sha256 = "0000000000000000000000000000000000000000000000000000000000000000",
        .parameters = "no model: the analysis did not end",
    };
    *ret_identity = host;
}

static bool same_model(const md_model_identity *a, const md_model_identity *b)
{
    return strcmp(a->id, b->id) == 0 && strcmp(a->version, b->version) == 0 &&
           strcmp(a->name, b->name) == 0 && strcmp(a->manufacturer, b->manufacturer) == 0 &&
           strcmp(a->sha256, b->sha256) == 0 && strcmp(a->parameters, b->parameters) == 0 &&
           strcmp(a->intended_use, b->intended_use) == 0;
}

static void check_model(md_wire_reader *in, const md_worker_expectation *expected,
                        const md_result *result)
{
    bool known = false;
    for (size_t i = 0; i < expected->n_models && !known; i++) {
        known = same_model(&expected->models[i], &result->model);
    }
    if (!known && expected->host_may_speak && result->status == MD_RESULT_FAILED) {
        md_model_identity host;
        md_worker_host_identity(&host);
        known = same_model(&host, &result->model);
    }
    if (in->bad == NULL && !known) {
        md_wire_refuse(in, "a result of a model that was not announced");
    }
}

static void check_result(md_wire_reader *in, const md_worker_expectation *expected,
                         const md_result *result)
{
    const char *study = expected->study_instance_uid;
    if (study != NULL && study[0] != '\0' && strcmp(study, result->study_instance_uid) != 0) {
        md_wire_refuse(in, "a result of another study");
    }
    bool failed = result->failure.value[0] != '\0';
    if (failed != (result->status != MD_RESULT_COMPLETE)) {
        md_wire_refuse(in, "a status that does not agree with its reason");
    }
    if (result->status == MD_RESULT_FAILED && result->n_findings != 0) {
        md_wire_refuse(in, "findings in a failed result");
    }
    check_model(in, expected, result);
}

/* A count that the bytes which are left cannot hold is refused before anything is allocated. */
static uint32_t get_count(md_wire_reader *in, uint32_t most, size_t least_bytes_each)
{
    uint32_t n = md_wire_get_below(in, most + 1);
    if (in->bad == NULL && (uint64_t)n * least_bytes_each > in->size_bytes - in->at) {
        md_wire_refuse(in, "a count that the bytes cannot hold");
    }
    return in->bad == NULL ? n : 0;
}

void *md_worker_make(md_wire_reader *in, size_t n, size_t size_bytes, md_status *status)
{
    void *block = in->bad == NULL && n > 0 ? md_calloc(n, size_bytes) : NULL;
    if (in->bad == NULL && n > 0 && block == NULL) {
        *status = MD_NOMEM;
        md_wire_refuse(in, "no memory");
    }
    return block;
}

enum { /* the fewest bytes that one of each can take */
    LEAST_RESULT_BYTES = 150,
    LEAST_INSTANCE_BYTES = 15,
    LEAST_FINDING_BYTES = 40,
    LEAST_OBJECT_BYTES = 16
};

static md_status get_result(md_wire_reader *in, const md_worker_expectation *expected,
                            md_result *result)
{
    md_status status = MD_FORMAT;
    get_uid(in, true, result->study_instance_uid);
    get_model(in, &result->model);
    result->status = (md_result_status)md_wire_get_below(in, MD_RESULT_FAILED + 1);
    get_code(in, false, &result->failure);
    md_wire_get_text(in, result->failure_text, sizeof result->failure_text);
    get_uid(in, false, result->predecessor_sop_instance_uid);
    get_uid(in, false, result->predecessor_series_instance_uid);
    result->revision = md_wire_get_u64(in);
    get_times(in, &result->times);
    uint32_t n = get_count(in, MD_RESULT_MAX_INSTANCES, LEAST_INSTANCE_BYTES);
    if (n == 0) {
        md_wire_refuse(in, "a result without instances");
    }
    result->instances = md_worker_make(in, n, sizeof *result->instances, &status);
    result->n_instances = result->instances == NULL ? 0 : n;
    for (uint32_t i = 0; i < n && in->bad == NULL; i++) {
        get_instance(in, &result->instances[i]);
    }
    n = get_count(in, MD_RESULT_MAX_FINDINGS, LEAST_FINDING_BYTES);
    result->findings = md_worker_make(in, n, sizeof *result->findings, &status);
    result->n_findings = result->findings == NULL ? 0 : n;
    for (uint32_t i = 0; i < n && in->bad == NULL; i++) {
        get_finding(in, result->n_instances, &result->findings[i]);
    }
    if (in->bad == NULL) {
        status = md_wire_get_evidence(in, result);
    }
    if (in->bad == NULL) {
        check_result(in, expected, result);
    }
    return in->bad == NULL ? MD_OK : status;
}

static bool is_written_class(const char *uid)
{
    static const char *const classes[] = {
        "1.2.840.10008.5.1.4.1.1.88.34", /* Comprehensive 3D SR */
        "1.2.840.10008.5.1.4.1.1.7",     /* Secondary Capture */
        "1.2.840.10008.5.1.4.1.1.30",    /* Parametric Map */
        "1.2.840.10008.5.1.4.1.1.7.4",   /* Multi-frame True Color Secondary Capture */
    };
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (strcmp(uid, classes[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* PS3.10 7.1: 128 bytes, then DICM. */
static bool is_part10(const uint8_t *bytes, size_t size_bytes)
{
    return size_bytes > 132 && memcmp(bytes + 128, "DICM", 4) == 0;
}

bool md_worker_has_result(const md_analysis *analysis, const char *model_id)
{
    for (size_t i = 0; i < analysis->n_results; i++) {
        if (strcmp(analysis->results[i].model.id, model_id) == 0) {
            return true;
        }
    }
    return false;
}

static md_status get_object(md_wire_reader *in, const md_analysis *analysis, md_object *object)
{
    md_status status = MD_FORMAT;
    get_uid(in, true, object->sop_class_uid);
    get_uid(in, true, object->sop_instance_uid);
    get_uid(in, true, object->series_instance_uid);
    md_wire_get_text(in, object->model_id, sizeof object->model_id);
    uint64_t size_bytes = md_wire_get_u64(in);
    if (size_bytes > in->size_bytes - in->at) {
        md_wire_refuse(in, "cut short");
        return status;
    }
    const uint8_t *bytes = md_wire_get_bytes(in, (size_t)size_bytes);
    if (bytes == NULL) {
        return status;
    }
    if (!is_written_class(object->sop_class_uid)) {
        md_wire_refuse(in, "an object of a class that medaid does not write");
    } else if (strncmp(object->sop_instance_uid, "2.25.", 5) != 0) {
        /* medaid derives all its UIDs (md_uid_derive): a foreign one could replace an image */
        md_wire_refuse(in, "an object whose UID medaid did not derive");
    } else if (!md_worker_has_result(analysis, object->model_id)) {
        md_wire_refuse(in, "an object of a model without result");
    } else if (!is_part10(bytes, (size_t)size_bytes)) {
        md_wire_refuse(in, "an object that is no DICOM file");
    }
    object->bytes = md_worker_make(in, (size_t)size_bytes, 1, &status);
    if (object->bytes == NULL) {
        return status;
    }
    object->size_bytes = (size_t)size_bytes;
    memcpy(object->bytes, bytes, object->size_bytes);
    return MD_OK;
}

/* A picture is only passed on, to browsers that take it for a PNG and nothing else. */
static md_status get_png(md_wire_reader *in, uint8_t **ret_bytes, size_t *ret_n)
{
    static const uint8_t signature[] = {0x89, 'P', 'N', 'G', 0x0d, 0x0a, 0x1a, 0x0a};
    md_status status = MD_FORMAT;
    uint32_t n = md_wire_get_u32(in);
    if (n == 0 || in->bad != NULL) {
        return MD_OK;
    }
    const uint8_t *bytes = n > MD_VIEW_MAX_BYTES ? NULL : md_wire_get_bytes(in, n);
    if (bytes == NULL || n < sizeof signature ||
        memcmp(bytes, signature, sizeof signature) != 0) {
        md_wire_refuse(in, "a small picture that is none");
        return status;
    }
    *ret_bytes = md_worker_make(in, n, 1, &status);
    if (*ret_bytes != NULL) {
        memcpy(*ret_bytes, bytes, n);
        *ret_n = n;
        status = MD_OK;
    }
    return status;
}

static size_t get_size(md_wire_reader *in, size_t most)
{
    uint64_t value = md_wire_get_u64(in);
    if (value > most) {
        md_wire_refuse(in, "more files than the study has");
    }
    return in->bad == NULL ? (size_t)value : 0;
}

static md_status get_analysis(md_wire_reader *in, const md_worker_expectation *expected,
                              md_analysis *analysis)
{
    md_status status = MD_FORMAT;
    analysis->n_unreadable = get_size(in, expected->n_files);
    /* a frame is an image of its own, and a file can hold many */
    analysis->n_not_accepted = get_size(in, UINT32_MAX);
    uint32_t n = get_count(in, MD_WORKER_MAX_MODELS, LEAST_RESULT_BYTES);
    analysis->results = md_worker_make(in, n, sizeof *analysis->results, &status);
    analysis->n_results = analysis->results == NULL ? 0 : n;
    for (uint32_t i = 0; i < n && in->bad == NULL; i++) {
        status = get_result(in, expected, &analysis->results[i]);
        for (uint32_t j = 0; j < i && in->bad == NULL; j++) {
            const md_result *a = &analysis->results[i], *b = &analysis->results[j];
            if (strcmp(a->model.id, b->model.id) == 0) {
                md_wire_refuse(in, "two results of one model");
            } else if (strcmp(a->study_instance_uid, b->study_instance_uid) != 0) {
                md_wire_refuse(in, "results of two studies");
            }
        }
    }
    n = get_count(in, MD_WORKER_MAX_OBJECTS, LEAST_OBJECT_BYTES);
    analysis->objects = md_worker_make(in, n, sizeof *analysis->objects, &status);
    analysis->n_objects = analysis->objects == NULL ? 0 : n;
    for (uint32_t i = 0; i < n && in->bad == NULL; i++) {
        status = get_object(in, analysis, &analysis->objects[i]);
    }
    get_header(in, &analysis->header);
    if (in->bad == NULL) {
        status = md_worker_get_embeddings(in, expected, analysis);
    }
    if (in->bad == NULL) {
        status = get_png(in, &analysis->view.image, &analysis->view.image_bytes);
    }
    if (in->bad == NULL) {
        status = get_png(in, &analysis->view.overlay, &analysis->view.overlay_bytes);
    }
    if (in->bad == NULL && in->at != in->size_bytes) {
        md_wire_refuse(in, "bytes after the end");
    }
    return in->bad == NULL ? MD_OK : status == MD_NOMEM ? MD_NOMEM : MD_FORMAT;
}

md_status md_worker_decode_analysis(const uint8_t *block, size_t size_bytes,
                                    const md_worker_expectation *expected,
                                    md_analysis *ret_analysis, md_error *err)
{
    md_wire_reader in = {.bytes = block, .size_bytes = size_bytes};
    md_analysis analysis = {0};
    md_status status = get_analysis(&in, expected, &analysis);
    if (status != MD_OK) {
        md_analysis_finish(&analysis);
        return md_fail(err, status, "analysis of %zu bytes, at byte %zu: %s", size_bytes, in.at,
                       in.bad);
    }
    *ret_analysis = analysis;
    return MD_OK;
}
