#include "bench.h"

#include "dicom/network/bytes.h"
#include "dicom/network/dimse.h"
#include "dicom/network/part10.h"
#include "dicom/network/pdu.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

uint8_t test_judge(const void *context, const char *abstract_syntax,
                   const char *transfer_syntax)
{
    (void)context;
    return md_sop_judge(abstract_syntax, transfer_syntax);
}

void test_dataset_init(test_dataset *dataset, md_encoding encoding, size_t capacity)
{
    *dataset = (test_dataset){.encoding = encoding, .capacity = capacity};
    dataset->bytes = malloc(capacity);
    assert_non_null(dataset->bytes);
}

void test_dataset_finish(test_dataset *dataset)
{
    free(dataset->bytes);
    dataset->bytes = NULL;
}

static uint8_t *grow(test_dataset *dataset, size_t n)
{
    assert_true(n <= dataset->capacity - dataset->used);
    uint8_t *p = dataset->bytes + dataset->used;
    dataset->used += n;
    return p;
}

static void put16(test_dataset *dataset, unsigned value)
{
    uint8_t *p = grow(dataset, 2);
    if (dataset->encoding == MD_ENCODING_EXPLICIT_BIG) {
        md_put_be16(p, (uint16_t)value);
    } else {
        md_put_le16(p, (uint16_t)value);
    }
}

static void put32(test_dataset *dataset, uint32_t value)
{
    uint8_t *p = grow(dataset, 4);
    if (dataset->encoding == MD_ENCODING_EXPLICIT_BIG) {
        md_put_be32(p, value);
    } else {
        md_put_le32(p, value);
    }
}

void test_dataset_put_item(test_dataset *dataset, uint32_t tag, uint32_t length)
{
    put16(dataset, tag >> 16);
    put16(dataset, tag & 0xffff);
    put32(dataset, length);
}

void test_dataset_put(test_dataset *dataset, uint32_t tag, const char *vr, const void *value,
                      uint32_t length)
{
    bool is_long = strstr("OB OW SQ UN UT", vr) != NULL;
    put16(dataset, tag >> 16);
    put16(dataset, tag & 0xffff);
    if (dataset->encoding == MD_ENCODING_IMPLICIT_LITTLE) {
        put32(dataset, length);
    } else {
        memcpy(grow(dataset, 2), vr, 2);
        put16(dataset, is_long ? 0 : length);
        if (is_long) {
            put32(dataset, length);
        }
    }
    if (length != 0xffffffffU && length > 0) {
        memcpy(grow(dataset, length), value, length);
    }
}

void test_dataset_put_uid(test_dataset *dataset, uint32_t tag, const char *uid)
{
    char padded[MD_UID_BYTES + 1] = {0};
    size_t n = strlen(uid);
    memcpy(padded, uid, n);
    test_dataset_put(dataset, tag, "UI", padded, (uint32_t)(n + n % 2));
}

void test_dataset_fill(test_dataset *dataset, const char *class_uid, const char *instance_uid,
                       const char *study_uid, size_t n_pixel_bytes)
{
    test_dataset_put_uid(dataset, MD_TAG(8, 0x16), class_uid);
    test_dataset_put_uid(dataset, MD_TAG(8, 0x18), instance_uid);
    test_dataset_put(dataset, MD_TAG(8, 0x60), "CS", "CT", 2);
    /* a sequence of undefined length with an item of undefined length that holds UIDs of other
     * objects, which must not be taken for the object's own */
    test_dataset_put(dataset, MD_TAG(8, 0x1140), "SQ", NULL, 0xffffffffU);
    test_dataset_put_item(dataset, MD_TAG(0xfffe, 0xe000), 0xffffffffU);
    test_dataset_put_uid(dataset, MD_TAG(8, 0x1155), "1.2.3.4.5.6.7.8.9");
    test_dataset_put_uid(dataset, MD_TAG(0x20, 0xd), "1.2.3.999");
    test_dataset_put_item(dataset, MD_TAG(0xfffe, 0xe00d), 0);
    test_dataset_put_item(dataset, MD_TAG(0xfffe, 0xe0dd), 0);
    test_dataset_put(dataset, MD_TAG(0x10, 0x10), "PN", "Marker^Patient", 14);
    test_dataset_put_uid(dataset, MD_TAG(0x20, 0xd), study_uid);
    test_dataset_put_uid(dataset, MD_TAG(0x20, 0xe), "1.2.3.4.5.2");
    uint8_t *pixels = calloc(1, n_pixel_bytes + 1);
    assert_non_null(pixels);
    for (size_t i = 0; i < n_pixel_bytes; i++) {
        pixels[i] = (uint8_t)(i * 2654435761U >> 24);
    }
    test_dataset_put(dataset, MD_TAG(0x7fe0, 0x10), "OW", pixels, (uint32_t)n_pixel_bytes);
    free(pixels);
}

void test_dataset_deflate(test_dataset *dataset)
{
    z_stream z = {0};
    uint8_t *out = malloc(dataset->capacity);
    assert_non_null(out);
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = dataset->bytes;
    z.avail_in = (unsigned)dataset->used;
    z.next_out = out;
    z.avail_out = (unsigned)dataset->capacity;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    dataset->used = z.total_out;
    deflateEnd(&z);
    free(dataset->bytes);
    dataset->bytes = out;
}

void test_dataset_save(const test_dataset *dataset, const char *path, const char *class_uid,
                       const char *instance_uid, const char *transfer_syntax_uid)
{
    md_part10 head = {0};
    uint8_t bytes[MD_PART10_HEADER_BYTES];
    snprintf(head.sop_class_uid, sizeof head.sop_class_uid, "%s", class_uid);
    snprintf(head.sop_instance_uid, sizeof head.sop_instance_uid, "%s", instance_uid);
    snprintf(head.transfer_syntax_uid, sizeof head.transfer_syntax_uid, "%s",
             transfer_syntax_uid);
    size_t n = md_part10_write(&head, "TESTER", bytes);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fwrite(dataset->bytes, 1, dataset->used, file), dataset->used);
    assert_int_equal(fclose(file), 0);
}

void test_folder_make(char ret_path[64])
{
    snprintf(ret_path, 64, "/tmp/medaid-test-XXXXXX");
    assert_non_null(mkdtemp(ret_path));
}

static unsigned for_each_file(const char *path, bool remove_it)
{
    unsigned n = 0;
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        n++;
        if (remove_it) {
            char name[512];
            snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
            unlink(name);
        }
    }
    closedir(folder);
    return n;
}

void test_folder_remove(const char *path)
{
    for_each_file(path, true);
    rmdir(path);
}

unsigned test_folder_count(const char *path)
{
    return for_each_file(path, false);
}

const uint8_t test_content_key[MD_CONTENT_KEY_BYTES] = "31 bytes that nobody else knows";

void test_content_tag(const void *bytes, size_t n, uint8_t ret_tag[MD_CONTENT_TAG_BYTES])
{
    md_content_tag *tag = NULL;
    assert_int_equal(md_content_tag_create(test_content_key, &tag, NULL), MD_OK);
    assert_true(md_content_tag_add(tag, bytes, n));
    assert_true(md_content_tag_end(tag, ret_tag));
    md_content_tag_destroy(tag);
}

/* The tag that came with an object is that of the bytes in its file. */
static void check_tag(const md_scp_object *object)
{
    struct stat info;
    uint8_t tag[MD_CONTENT_TAG_BYTES];
    assert_int_equal(fstat(object->fd, &info), 0);
    assert_true((uint64_t)info.st_size > object->dataset_offset_bytes);
    size_t n = (size_t)((uint64_t)info.st_size - object->dataset_offset_bytes);
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    assert_int_equal(pread(object->fd, bytes, n, (off_t)object->dataset_offset_bytes), n);
    test_content_tag(bytes, n, tag);
    assert_memory_equal(object->content_tag, tag, sizeof tag);
    free(bytes);
}

static uint16_t on_object(void *context, const md_scp_object *object)
{
    test_scp *scp = context;
    check_tag(object);
    pthread_mutex_lock(&scp->mutex);
    snprintf(scp->last_study, sizeof scp->last_study, "%s", object->study_instance_uid);
    pthread_mutex_unlock(&scp->mutex);
    if (!scp->keep) {
        assert_int_equal(unlink(object->path), 0);
    }
    scp->n_objects++;
    return (uint16_t)scp->answer;
}

static void on_event(void *context, const char *event, const char *peer_address,
                     const char *detail)
{
    test_scp *scp = context;
    (void)peer_address;
    if (strcmp(event, "association_done") == 0) {
        scp->n_done++;
    } else {
        pthread_mutex_lock(&scp->mutex);
        snprintf(scp->events[scp->next_event], sizeof scp->events[0], "%s: %s", event, detail);
        scp->next_event = (scp->next_event + 1) % TEST_EVENTS;
        pthread_mutex_unlock(&scp->mutex);
    }
    if (strcmp(event, "association_rejected") == 0 || strcmp(event, "caller_rejected") == 0) {
        scp->n_rejected++;
    }
    if (strcmp(event, "object_refused") == 0) {
        scp->n_refused_objects++;
    }
    /* last: tests wait for this one and then look at the others */
    if (strcmp(event, "connection_refused") == 0 || strcmp(event, "tls_failed") == 0) {
        scp->n_refused_connections++;
    }
    scp->n_events++;
}

void test_scp_start(test_scp *scp, const md_scp_options *changes)
{
    memset(scp, 0, sizeof *scp);
    test_folder_make(scp->spool);
    pthread_mutex_init(&scp->mutex, NULL);
    md_scp_options options = {
        .ae_title = "MEDAID",
        .bind_address = "127.0.0.1",
        .max_associations = 16,
        .association_timeout_s = 20,
        .max_pdu_bytes = 128 * 1024,
        .max_object_bytes = 8 << 20,
    };
    if (changes != NULL) {
        options = *changes;
    }
    options.spool_folder = scp->spool;
    options.content_key = test_content_key;
    options.on_object = on_object;
    options.on_event = on_event;
    options.context = scp;
    md_error err = {0};
    if (md_scp_start(&options, &scp->scp, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    snprintf(scp->port, sizeof scp->port, "%u", (unsigned)md_scp_port(scp->scp));
}

void test_scp_stop(test_scp *scp)
{
    md_scp_stop(scp->scp, 3000);
    test_folder_remove(scp->spool);
    pthread_mutex_destroy(&scp->mutex);
}

bool test_scp_said(test_scp *scp, const char *text, char ret_line[512])
{
    pthread_mutex_lock(&scp->mutex);
    bool said = false;
    for (unsigned i = 0; i < TEST_EVENTS; i++) {
        said = said || strstr(scp->events[i], text) != NULL;
    }
    if (ret_line != NULL) {
        unsigned newest = (scp->next_event + TEST_EVENTS - 1) % TEST_EVENTS;
        memcpy(ret_line, scp->events[newest], sizeof scp->events[0]);
    }
    pthread_mutex_unlock(&scp->mutex);
    return said;
}

void test_free_port(char ret_port[8])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(ret_port, 8, "%u", (unsigned)ntohs(address.sin_port));
    close(fd);
}

int test_connect(const test_scp *scp)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_port = htons((uint16_t)strtoul(scp->port, NULL, 10));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    int on = 1;
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    return fd;
}

void test_write(int fd, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* the peer has closed: what it said is read by the test */
        }
        p += sent;
        n -= (size_t)sent;
    }
}

size_t test_read(int fd, void *bytes, size_t n)
{
    uint8_t *p = bytes;
    size_t done = 0;
    while (done < n) {
        struct pollfd waiting = {fd, POLLIN, 0};
        if (poll(&waiting, 1, 60000) <= 0) {
            break;
        }
        ssize_t got = recv(fd, p + done, n - done, 0);
        if (got <= 0) {
            break;
        }
        done += (size_t)got;
    }
    return done;
}

int test_associate(int fd, const char *class_uid, const char *transfer_syntax_uid)
{
    static _Thread_local md_associate request, answer;
    uint8_t bytes[4096];
    memset(&request, 0, sizeof request);
    snprintf(request.called_ae, sizeof request.called_ae, "MEDAID");
    snprintf(request.calling_ae, sizeof request.calling_ae, "TESTER");
    request.max_pdu_bytes = 16384;
    request.n_contexts = 1;
    request.contexts[0].id = 1;
    snprintf(request.contexts[0].abstract_syntax, MD_UID_BYTES, "%s", class_uid);
    snprintf(request.contexts[0].transfer_syntax, MD_UID_BYTES, "%s", transfer_syntax_uid);
    size_t n = md_pdu_write_request(&request, bytes, sizeof bytes);
    assert_true(n > 0);
    test_write(fd, bytes, n);
    if (test_read(fd, bytes, MD_PDU_HEADER_BYTES) != MD_PDU_HEADER_BYTES ||
        bytes[0] != MD_PDU_ASSOCIATE_AC) {
        return -1;
    }
    n = md_get_be32(bytes + 2);
    assert_true(n <= sizeof bytes);
    assert_int_equal(test_read(fd, bytes, n), n);
    assert_int_equal(md_pdu_parse_accept(bytes, n, &answer, NULL), MD_OK);
    assert_int_equal(answer.n_contexts, 1);
    return answer.contexts[0].result;
}

void test_write_pdv(int fd, unsigned context_id, unsigned flags, const void *bytes, size_t n)
{
    uint8_t head[12] = {MD_PDU_DATA};
    md_put_be32(head + 2, (uint32_t)(n + 6));
    md_put_be32(head + 6, (uint32_t)(n + 2));
    head[10] = (uint8_t)context_id;
    head[11] = (uint8_t)flags;
    test_write(fd, head, sizeof head);
    test_write(fd, bytes, n);
}

static int read_status(int fd)
{
    uint8_t head[12], bytes[512];
    md_command response;
    if (test_read(fd, head, sizeof head) != sizeof head || head[0] != MD_PDU_DATA) {
        return -1;
    }
    size_t n = md_get_be32(head + 6) - 2;
    assert_true(n <= sizeof bytes);
    assert_int_equal(test_read(fd, bytes, n), n);
    assert_int_equal(md_command_parse(bytes, n, &response, NULL), MD_OK);
    return response.status;
}

int test_store(int fd, const char *class_uid, const char *instance_uid, const void *bytes,
               size_t n)
{
    enum {
        PART_BYTES = 16000
    };
    md_command request = {.field = MD_COMMAND_STORE_RQ, .message_id = 7};
    uint8_t command[MD_COMMAND_WRITE_BYTES];
    snprintf(request.sop_class_uid, MD_UID_BYTES, "%s", class_uid);
    snprintf(request.sop_instance_uid, MD_UID_BYTES, "%s", instance_uid);
    test_write_pdv(fd, 1, MD_PDV_COMMAND | MD_PDV_LAST, command,
                   md_command_write(&request, command));
    const uint8_t *p = bytes;
    do {
        size_t part = n < PART_BYTES ? n : PART_BYTES;
        test_write_pdv(fd, 1, part == n ? MD_PDV_LAST : 0, p, part);
        p += part;
        n -= part;
    } while (n > 0);
    return read_status(fd);
}

int test_echo(int fd)
{
    md_command request = {.field = MD_COMMAND_ECHO_RQ,
                          .message_id = 8,
                          .dataset_type = MD_COMMAND_NO_DATASET,
                          .sop_class_uid = MD_UID_VERIFICATION};
    uint8_t command[MD_COMMAND_WRITE_BYTES];
    test_write_pdv(fd, 1, MD_PDV_COMMAND | MD_PDV_LAST, command,
                   md_command_write(&request, command));
    return read_status(fd);
}
