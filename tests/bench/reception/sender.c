/* The sender of the reception benches: many associations at once over plain sockets, from
 * memory, so that the receiver is what is measured. The same program and the same bytes go to
 * every server.
 *
 * usage: bench-sender PORT TEMPLATE COMMAND...
 *   throughput N_ASSOCIATIONS N_OBJECTS RUN   one study an association
 *   study N_OBJECTS RUN                       one association, one study
 *   paced N_OBJECTS PERIOD_MS RUN             one study and association for each object
 *   setup N_IDLE N_BUSY N_SETUPS RUN          set-up times, alone and under load
 *   burst N                                   that many associations at one moment
 *   short N PARALLEL                          associations with one C-ECHO each
 *   disk N_THREADS N_OBJECTS FOLDER           no network: new files, written, fdatasync for
 * each; what the disk can do at most (PORT does not matter)
 *
 * TEMPLATE is a Part 10 file in explicit VR little endian whose UIDs are the three markers
 * below; each object gets its own in their place. The answer is one line of JSON. */

#include "base/clock.h"
#include "dicom/network/bytes.h"
#include "dicom/network/dimse.h"
#include "dicom/network/part10.h"
#include "dicom/network/pdu.h"
#include "dicom/network/sop.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SOP_MARKER "2.25.91111111111111111"
#define STUDY_MARKER "2.25.92222222222222222"
#define SERIES_MARKER "2.25.93333333333333333"
#define VERIFICATION_CLASS "1.2.840.10008.1.1"
#define EXPLICIT_LITTLE "1.2.840.10008.1.2.1"

enum {
    MARKER_DIGITS = 16, /* behind "2.25.9": a run of 4 digits and a number of 12 */
    MAX_THREADS = 1024,
    MAX_PDU_BYTES = 128 * 1024,
    STACK_BYTES = 256 * 1024,
    PATIENCE_S = 120,
    STORE_CONTEXT = 1,
    ECHO_CONTEXT = 3
};

typedef struct template
{
    uint8_t *bytes; /* of the dataset */
    size_t size_bytes;
    size_t sop_at, study_at, series_at;
    char class_uid[MD_UID_BYTES];
}
template;

static uint16_t port;
static template object;
static atomic_uint n_failed;
static unsigned run_number;

static void die(const char *what)
{
    fprintf(stderr, "bench-sender: %s: %s\n", what, strerror(errno));
    exit(1);
}

static size_t find_marker(const char *marker)
{
    uint8_t *at = memmem(object.bytes, object.size_bytes, marker, strlen(marker));
    if (at == NULL) {
        errno = EINVAL;
        die("the template lacks a marker");
    }
    return (size_t)(at - object.bytes);
}

static void load_template(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    md_part10 head;
    md_error err = {0};
    if (fd < 0 || fstat(fd, &info) != 0 || md_part10_read(fd, &head, &err) != MD_OK) {
        die(path);
    }
    object.size_bytes = (size_t)info.st_size - (size_t)head.dataset_offset_bytes;
    object.bytes = malloc(object.size_bytes);
    if (object.bytes == NULL ||
        pread(fd, object.bytes, object.size_bytes, (off_t)head.dataset_offset_bytes) !=
            (ssize_t)object.size_bytes) {
        die(path);
    }
    close(fd);
    snprintf(object.class_uid, sizeof object.class_uid, "%s", head.sop_class_uid);
    object.sop_at = find_marker(SOP_MARKER);
    object.study_at = find_marker(STUDY_MARKER);
    object.series_at = find_marker(SERIES_MARKER);
}

/* ---- the protocol ---- */

typedef struct link_state {
    int fd;
    uint32_t max_pdu_bytes;
    uint16_t message_id;
} link_state;

static bool write_all(int fd, struct iovec *parts, int n)
{
    while (n > 0) {
        ssize_t sent = writev(fd, parts, n);
        if (sent < 0 && errno != EINTR) {
            return false;
        }
        while (n > 0 && sent >= (ssize_t)parts->iov_len) {
            sent -= (ssize_t)parts->iov_len;
            parts++;
            n--;
        }
        if (n > 0 && sent > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + sent;
            parts->iov_len -= (size_t)sent;
        }
    }
    return true;
}

static bool read_all(int fd, uint8_t *bytes, size_t n)
{
    while (n > 0) {
        ssize_t got = recv(fd, bytes, n, MSG_WAITALL);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return false;
        }
        if (got > 0) {
            bytes += got;
            n -= (size_t)got;
        }
    }
    return true;
}

static int open_socket(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int on = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0) {
        die("socket");
    }
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void propose(md_associate *associate, uint8_t id, const char *class_uid)
{
    md_context *context = &associate->contexts[associate->n_contexts++];
    context->id = id;
    snprintf(context->abstract_syntax, sizeof context->abstract_syntax, "%s", class_uid);
    snprintf(context->transfer_syntax, sizeof context->transfer_syntax, EXPLICIT_LITTLE);
}

static bool associate(link_state *link)
{
    static const char called[] = "BENCH-SCP";
    md_associate *wanted = calloc(1, sizeof *wanted);
    uint8_t *bytes = malloc(MD_PDU_ASSOCIATE_MAX_BYTES);
    if (wanted == NULL || bytes == NULL) {
        die("memory");
    }
    snprintf(wanted->called_ae, sizeof wanted->called_ae, "%s", called);
    snprintf(wanted->calling_ae, sizeof wanted->calling_ae, "BENCH");
    wanted->max_pdu_bytes = MAX_PDU_BYTES;
    propose(wanted, STORE_CONTEXT, object.class_uid);
    propose(wanted, ECHO_CONTEXT, VERIFICATION_CLASS);
    link->message_id = 0;
    link->fd = open_socket();
    struct iovec part = {bytes,
                         md_pdu_write_request(wanted, bytes, MD_PDU_ASSOCIATE_MAX_BYTES)};
    bool good = link->fd >= 0 && write_all(link->fd, &part, 1) &&
                read_all(link->fd, bytes, MD_PDU_HEADER_BYTES);
    size_t size_bytes = good ? md_get_be32(bytes + 2) : 0;
    good = good && bytes[0] == MD_PDU_ASSOCIATE_AC &&
           size_bytes <= MD_PDU_ASSOCIATE_MAX_BYTES && read_all(link->fd, bytes, size_bytes) &&
           md_pdu_parse_accept(bytes, size_bytes, wanted, NULL) == MD_OK &&
           wanted->contexts[0].result == MD_CONTEXT_ACCEPTED;
    link->max_pdu_bytes = wanted->max_pdu_bytes == 0 || wanted->max_pdu_bytes > MAX_PDU_BYTES
                              ? MAX_PDU_BYTES
                              : wanted->max_pdu_bytes;
    free(wanted);
    free(bytes);
    if (!good && link->fd >= 0) {
        close(link->fd);
        link->fd = -1;
    }
    return good;
}

static void release(link_state *link)
{
    uint8_t bytes[MD_PDU_SHORT_BYTES];
    md_pdu_write_release(MD_PDU_RELEASE_RQ, bytes);
    struct iovec part = {bytes, sizeof bytes};
    if (!write_all(link->fd, &part, 1) || !read_all(link->fd, bytes, sizeof bytes) ||
        bytes[0] != MD_PDU_RELEASE_RP) {
        atomic_fetch_add(&n_failed, 1);
    }
    close(link->fd);
    link->fd = -1;
}

static size_t put_heads(uint8_t *bytes, uint8_t context, unsigned flags, size_t n)
{
    bytes[0] = MD_PDU_DATA;
    bytes[1] = 0;
    md_put_be32(bytes + 2, (uint32_t)(n + MD_PDV_HEADER_BYTES));
    md_put_be32(bytes + 6, (uint32_t)(n + 2));
    bytes[10] = context;
    bytes[11] = (uint8_t)flags;
    return MD_PDU_HEADER_BYTES + MD_PDV_HEADER_BYTES;
}

static bool write_command(link_state *link, uint8_t context, const md_command *command)
{
    uint8_t head[MD_PDU_HEADER_BYTES + MD_PDV_HEADER_BYTES];
    uint8_t bytes[MD_COMMAND_WRITE_BYTES];
    size_t n = md_command_write(command, bytes);
    struct iovec parts[2] = {{head, put_heads(head, context, MD_PDV_COMMAND | MD_PDV_LAST, n)},
                             {bytes, n}};
    return write_all(link->fd, parts, 2);
}

/* The status of the response, 0xFFFF when there is none. */
static uint16_t read_response(link_state *link)
{
    uint8_t bytes[MD_PDU_HEADER_BYTES + MD_PDV_HEADER_BYTES + 4 * MD_COMMAND_WRITE_BYTES];
    md_command response;
    if (!read_all(link->fd, bytes, MD_PDU_HEADER_BYTES)) {
        return MD_DIMSE_NO_RESPONSE;
    }
    size_t n = md_get_be32(bytes + 2);
    if (bytes[0] != MD_PDU_DATA || n < MD_PDV_HEADER_BYTES || n > sizeof bytes ||
        !read_all(link->fd, bytes, n) ||
        md_command_parse(bytes + MD_PDV_HEADER_BYTES, n - MD_PDV_HEADER_BYTES, &response,
                         NULL) != MD_OK) {
        return MD_DIMSE_NO_RESPONSE;
    }
    return response.status;
}

static void put_number(char *digits, uint64_t number)
{
    char text[MARKER_DIGITS + 1];
    snprintf(text, sizeof text, "%04u%012llu", run_number % 10000,
             (unsigned long long)(number % 1000000000000));
    memcpy(digits, text, MARKER_DIGITS);
}

/* C-STORE of the template with these numbers; `bytes` is the thread's own copy. */
static bool store(link_state *link, uint8_t *bytes, uint64_t sop, uint64_t study)
{
    enum {
        DIGITS_AT = sizeof "2.25.9" - 1
    };
    put_number((char *)bytes + object.sop_at + DIGITS_AT, sop);
    put_number((char *)bytes + object.study_at + DIGITS_AT, study);
    put_number((char *)bytes + object.series_at + DIGITS_AT, study);
    md_command command = {.field = MD_COMMAND_STORE_RQ, .message_id = ++link->message_id};
    snprintf(command.sop_class_uid, sizeof command.sop_class_uid, "%s", object.class_uid);
    memcpy(command.sop_instance_uid, bytes + object.sop_at, sizeof SOP_MARKER - 1);
    if (!write_command(link, STORE_CONTEXT, &command)) {
        return false;
    }
    size_t room = link->max_pdu_bytes - MD_PDV_HEADER_BYTES;
    for (size_t done = 0; done < object.size_bytes;) {
        uint8_t head[MD_PDU_HEADER_BYTES + MD_PDV_HEADER_BYTES];
        size_t left = object.size_bytes - done;
        size_t n = left < room ? left : room;
        struct iovec parts[2] = {
            {head, put_heads(head, STORE_CONTEXT, n == left ? MD_PDV_LAST : 0, n)},
            {bytes + done, n}};
        if (!write_all(link->fd, parts, 2)) {
            return false;
        }
        done += n;
    }
    return read_response(link) == MD_DIMSE_SUCCESS;
}

static bool echo(link_state *link)
{
    md_command command = {.field = MD_COMMAND_ECHO_RQ,
                          .message_id = ++link->message_id,
                          .dataset_type = MD_COMMAND_NO_DATASET};
    snprintf(command.sop_class_uid, sizeof command.sop_class_uid, VERIFICATION_CLASS);
    return write_command(link, ECHO_CONTEXT, &command) &&
           read_response(link) == MD_DIMSE_SUCCESS;
}

/* ---- times ---- */

typedef struct times {
    int64_t *us;
    size_t n, room;
} times;

static void times_add(times *t, int64_t us)
{
    if (t->n == t->room) {
        t->room = t->room == 0 ? 1024 : 2 * t->room;
        t->us = realloc(t->us, t->room * sizeof *t->us);
        if (t->us == NULL) {
            die("memory");
        }
    }
    t->us[t->n++] = us;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static double times_ms(const times *t, double share)
{
    if (t->n == 0) {
        return -1;
    }
    qsort(t->us, t->n, sizeof *t->us, compare_times);
    return (double)t->us[(size_t)(share * (double)(t->n - 1) + 0.5)] / 1e3;
}

/* ---- many at once ---- */

typedef struct job {
    unsigned number;
    unsigned n_objects;
    link_state link;
    times times;
} job;

static pthread_barrier_t ready;
static atomic_bool stop_busy;

static void start_threads(pthread_t *threads, job *jobs, unsigned n, void *(*body)(void *))
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (unsigned i = 0; i < n; i++) {
        jobs[i].number = i;
        jobs[i].link.fd = -1;
        if (pthread_create(&threads[i], &attributes, body, &jobs[i]) != 0) {
            die("pthread_create");
        }
    }
    pthread_attr_destroy(&attributes);
}

static uint8_t *own_copy(void)
{
    uint8_t *bytes = malloc(object.size_bytes);
    if (bytes == NULL) {
        die("memory");
    }
    memcpy(bytes, object.bytes, object.size_bytes);
    return bytes;
}

static void *throughput_thread(void *argument)
{
    job *j = argument;
    uint8_t *bytes = own_copy();
    pthread_barrier_wait(&ready);
    if (!associate(&j->link)) {
        atomic_fetch_add(&n_failed, j->n_objects);
        free(bytes);
        return NULL;
    }
    for (unsigned i = 0; i < j->n_objects; i++) {
        int64_t start_us = md_clock_monotonic_us();
        if (!store(&j->link, bytes, (uint64_t)j->number * 1000000 + i, j->number)) {
            atomic_fetch_add(&n_failed, j->n_objects - i);
            break;
        }
        times_add(&j->times, md_clock_monotonic_us() - start_us);
    }
    release(&j->link);
    free(bytes);
    return NULL;
}

static void run_all(unsigned n_threads, unsigned n_objects, void *(*body)(void *))
{
    static pthread_t threads[MAX_THREADS];
    static job jobs[MAX_THREADS];
    times all = {0};
    pthread_barrier_init(&ready, NULL, n_threads + 1);
    for (unsigned i = 0; i < n_threads; i++) {
        jobs[i].n_objects = n_objects / n_threads;
    }
    start_threads(threads, jobs, n_threads, body);
    pthread_barrier_wait(&ready);
    int64_t start_us = md_clock_monotonic_us();
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
    }
    double seconds = (double)(md_clock_monotonic_us() - start_us) / 1e6;
    for (unsigned i = 0; i < n_threads; i++) {
        for (size_t k = 0; k < jobs[i].times.n; k++) {
            times_add(&all, jobs[i].times.us[k]);
        }
    }
    printf(
        "{\"per_s\": %.1f, \"n\": %zu, \"failed\": %u, \"p50_ms\": %.2f, \"p99_ms\": %.2f}\n",
        (double)all.n / seconds, all.n, atomic_load(&n_failed), times_ms(&all, 0.5),
        times_ms(&all, 0.99));
}

static void paced(unsigned n_objects, unsigned period_ms)
{
    uint8_t *bytes = own_copy();
    times all = {0};
    int64_t next_us = md_clock_monotonic_us();
    for (unsigned i = 0; i < n_objects; i++) {
        int64_t wait_us = next_us - md_clock_monotonic_us();
        if (wait_us > 0) {
            struct timespec pause = {wait_us / 1000000, wait_us % 1000000 * 1000};
            nanosleep(&pause, NULL);
        }
        next_us += (int64_t)period_ms * 1000;
        int64_t start_us = md_clock_monotonic_us();
        link_state link;
        if (!associate(&link)) {
            atomic_fetch_add(&n_failed, 1);
            continue;
        }
        if (store(&link, bytes, i, i)) {
            times_add(&all, md_clock_monotonic_us() - start_us);
        } else {
            atomic_fetch_add(&n_failed, 1);
        }
        release(&link);
    }
    free(bytes);
    printf("{\"n\": %zu, \"failed\": %u, \"p50_ms\": %.2f, \"p99_ms\": %.2f}\n", all.n,
           atomic_load(&n_failed), times_ms(&all, 0.5), times_ms(&all, 0.99));
}

static const char *disk_folder;

static void *disk_thread(void *argument)
{
    job *j = argument;
    pthread_barrier_wait(&ready);
    for (unsigned i = 0; i < j->n_objects; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%u-%u", disk_folder, j->number, i);
        int64_t start_us = md_clock_monotonic_us();
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 ||
            write(fd, object.bytes, object.size_bytes) != (ssize_t)object.size_bytes ||
            fdatasync(fd) != 0) {
            die(path);
        }
        close(fd);
        times_add(&j->times, md_clock_monotonic_us() - start_us);
    }
    return NULL;
}

/* ---- set-up ---- */

static void *busy_thread(void *argument)
{
    job *j = argument;
    uint8_t *bytes = own_copy();
    bool good = associate(&j->link);
    pthread_barrier_wait(&ready);
    while (good && !atomic_load(&stop_busy)) {
        good = store(&j->link, bytes, (uint64_t)j->number * 1000000 + j->n_objects, j->number);
        j->n_objects += good;
    }
    if (good) {
        release(&j->link);
    } else {
        atomic_fetch_add(&n_failed, 1);
    }
    free(bytes);
    return NULL;
}

static void measure_setups(times *t, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        link_state link;
        int64_t start_us = md_clock_monotonic_us();
        if (!associate(&link)) {
            atomic_fetch_add(&n_failed, 1);
            continue;
        }
        times_add(t, md_clock_monotonic_us() - start_us);
        release(&link);
        struct timespec pause = {0, 2000000};
        nanosleep(&pause, NULL);
    }
}

static void setup(unsigned n_idle, unsigned n_busy, unsigned n_setups)
{
    static pthread_t threads[MAX_THREADS];
    static job jobs[MAX_THREADS];
    static link_state idle[MAX_THREADS];
    times alone = {0};
    times loaded = {0};
    measure_setups(&alone, n_setups);
    for (unsigned i = 0; i < n_idle; i++) {
        if (!associate(&idle[i])) {
            atomic_fetch_add(&n_failed, 1);
        }
    }
    pthread_barrier_init(&ready, NULL, n_busy + 1);
    start_threads(threads, jobs, n_busy, busy_thread);
    pthread_barrier_wait(&ready);
    int64_t start_us = md_clock_monotonic_us();
    measure_setups(&loaded, n_setups);
    atomic_store(&stop_busy, true);
    unsigned n_objects = 0;
    for (unsigned i = 0; i < n_busy; i++) {
        pthread_join(threads[i], NULL);
        n_objects += jobs[i].n_objects;
    }
    double seconds = (double)(md_clock_monotonic_us() - start_us) / 1e6;
    unsigned n_alive = 0;
    for (unsigned i = 0; i < n_idle; i++) {
        if (idle[i].fd >= 0 && echo(&idle[i])) {
            n_alive++;
            release(&idle[i]);
        }
    }
    printf("{\"failed\": %u, \"idle_alive\": %u, \"busy_per_s\": %.1f, \"alone_p50_ms\": %.2f,"
           " \"alone_p99_ms\": %.2f, \"loaded_p50_ms\": %.2f, \"loaded_p99_ms\": %.2f}\n",
           atomic_load(&n_failed), n_alive, n_objects / seconds, times_ms(&alone, 0.5),
           times_ms(&alone, 0.99), times_ms(&loaded, 0.5), times_ms(&loaded, 0.99));
}

static void *burst_thread(void *argument)
{
    job *j = argument;
    pthread_barrier_wait(&ready);
    int64_t start_us = md_clock_monotonic_us();
    if (associate(&j->link)) {
        times_add(&j->times, md_clock_monotonic_us() - start_us);
    } else {
        atomic_fetch_add(&n_failed, 1);
    }
    return NULL;
}

static void burst(unsigned n)
{
    static pthread_t threads[MAX_THREADS];
    static job jobs[MAX_THREADS];
    pthread_barrier_init(&ready, NULL, n + 1);
    start_threads(threads, jobs, n, burst_thread);
    pthread_barrier_wait(&ready);
    int64_t start_us = md_clock_monotonic_us();
    times all = {0};
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        for (size_t k = 0; k < jobs[i].times.n; k++) {
            times_add(&all, jobs[i].times.us[k]);
        }
    }
    double seconds = (double)(md_clock_monotonic_us() - start_us) / 1e6;
    for (unsigned i = 0; i < n; i++) {
        if (jobs[i].link.fd >= 0) {
            release(&jobs[i].link);
        }
    }
    printf(
        "{\"n\": %zu, \"failed\": %u, \"all_s\": %.3f, \"p50_ms\": %.2f, \"p99_ms\": %.2f}\n",
        all.n, atomic_load(&n_failed), seconds, times_ms(&all, 0.5), times_ms(&all, 0.99));
}

static void *short_thread(void *argument)
{
    job *j = argument;
    pthread_barrier_wait(&ready);
    for (unsigned i = 0; i < j->n_objects; i++) {
        int64_t start_us = md_clock_monotonic_us();
        if (!associate(&j->link) || !echo(&j->link)) {
            atomic_fetch_add(&n_failed, 1);
            continue;
        }
        release(&j->link);
        times_add(&j->times, md_clock_monotonic_us() - start_us);
    }
    return NULL;
}

static void many_short(unsigned n, unsigned n_threads)
{
    static pthread_t threads[MAX_THREADS];
    static job jobs[MAX_THREADS];
    times all = {0};
    pthread_barrier_init(&ready, NULL, n_threads + 1);
    for (unsigned i = 0; i < n_threads; i++) {
        jobs[i].n_objects = n / n_threads + (i < n % n_threads);
    }
    start_threads(threads, jobs, n_threads, short_thread);
    pthread_barrier_wait(&ready);
    int64_t start_us = md_clock_monotonic_us();
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        for (size_t k = 0; k < jobs[i].times.n; k++) {
            times_add(&all, jobs[i].times.us[k]);
        }
    }
    double seconds = (double)(md_clock_monotonic_us() - start_us) / 1e6;
    printf(
        "{\"n\": %zu, \"failed\": %u, \"all_s\": %.3f, \"p50_ms\": %.2f, \"p99_ms\": %.2f}\n",
        all.n, atomic_load(&n_failed), seconds, times_ms(&all, 0.5), times_ms(&all, 0.99));
}

static unsigned number(const char *text, unsigned most)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value > most) {
        errno = EINVAL;
        die(text);
    }
    return (unsigned)value;
}

int main(int argc, char **argv)
{
    static const char usage[] = "usage: bench-sender PORT TEMPLATE COMMAND...";
    if (argc < 5) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    port = (uint16_t)number(argv[1], 65535);
    load_template(argv[2]);
    const char *command = argv[3];
    unsigned a = number(argv[4], 1000000);
    unsigned b = argc > 5 ? number(argv[5], 1000000) : 0;
    if (strcmp(command, "disk") == 0 && argc == 7 && a >= 1 && a <= MAX_THREADS) {
        disk_folder = argv[6];
        run_all(a, b, disk_thread);
        free(object.bytes);
        return 0;
    }
    unsigned c = argc > 6 ? number(argv[6], 1000000) : 0;
    run_number = number(argv[argc - 1], 1000000);
    if (strcmp(command, "throughput") == 0 && argc == 7 && a >= 1 && a <= MAX_THREADS) {
        run_all(a, b, throughput_thread);
    } else if (strcmp(command, "study") == 0 && argc == 6) {
        run_all(1, a, throughput_thread);
    } else if (strcmp(command, "paced") == 0 && argc == 7) {
        paced(a, b);
    } else if (strcmp(command, "setup") == 0 && argc == 8 && a <= MAX_THREADS &&
               b <= MAX_THREADS) {
        setup(a, b, c);
    } else if (strcmp(command, "burst") == 0 && argc == 5 && a >= 1 && a <= MAX_THREADS) {
        burst(a);
    } else if (strcmp(command, "short") == 0 && argc == 6 && b >= 1 && b <= MAX_THREADS) {
        many_short(a, b);
    } else {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    free(object.bytes);
    return atomic_load(&n_failed) == 0 ? 0 : 1;
}
