/* The deeds of the hostile plugin, each what a broken or malicious plugin could do. */

#include "deeds.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CHUNK_BYTES = 16 << 20,
    LAST_FD = 256
};

static medaid_status could(medaid_answer *answer, bool it_worked)
{
    answer->score = it_worked ? 1.0 : 0.0;
    return MEDAID_OK;
}

static void do_segfault(void)
{
    volatile uintptr_t address = 16;
    *(volatile int *)address = 1; /* NOLINT */
}

static void do_loop(void)
{
    volatile unsigned spin = 0;
    for (;;) {
        spin++;
    }
}

static void do_blocked_loop(void)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    do_loop();
}

static void do_allocate(int sharing)
{
    for (;;) {
        char *chunk = sharing == 0 ? malloc(CHUNK_BYTES)
                                   : mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE,
                                          sharing | MAP_ANONYMOUS, -1, 0);
        if (sharing != 0 && chunk == MAP_FAILED) {
            chunk = NULL;
        }
        for (size_t i = 0; i < CHUNK_BYTES; i += 4096) {
            ((volatile char *)chunk)[i] = 1; /* NULL in the end */
        }
    }
}

static void do_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)connect(fd, (struct sockaddr *)(void *)&to, sizeof to);
}

static bool can_read(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY);
    bool fine = fd >= 0 && read(fd, &byte, 1) == 1;
    if (fd >= 0) {
        close(fd);
    }
    return fine;
}

static bool can_read_parent(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)getppid());
    return can_read(path);
}

static bool can_write(void)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/medaid-hostile-%d", (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    return fd >= 0 || open("/dev/shm/medaid-hostile", O_RDWR | O_CREAT, 0600) >= 0 ||
           mkdir(path, 0700) == 0;
}

/* The work folder of the worker is the last word of its command line. */
static bool can_remove(void)
{
    char line[1024] = {0};
    int fd = open("/proc/self/cmdline", O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    if (n <= 1) {
        return false;
    }
    const char *last = line + n - 2;
    while (last > line && last[-1] != '\0') {
        last--;
    }
    char path[1100];
    snprintf(path, sizeof path, "%s/000000", last);
    int probe = open(path, O_RDONLY);
    if (probe < 0) {
        return true; /* its own study must be readable: the test would prove nothing */
    }
    return unlink(path) == 0 || truncate(path, 0) == 0 || rename(path, "/tmp/x") == 0 ||
           chmod(path, 0777) == 0 || open(path, O_WRONLY) >= 0;
}

static void *thread_body(void *argument)
{
    *(volatile int *)argument = 7;
    return NULL;
}

static bool thread_fails(void)
{
    pthread_t thread;
    volatile int value = 0;
    if (pthread_create(&thread, NULL, thread_body, (void *)(uintptr_t)&value) != 0) {
        return true;
    }
    pthread_join(thread, NULL);
    return value != 7;
}

static void *sleeping_body(void *argument)
{
    (void)argument;
    for (;;) {
        pause();
        usleep(100000);
    }
    return NULL;
}

static void do_thread_bomb(void)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    for (;;) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, sleeping_body, NULL) != 0) {
            usleep(1000);
        }
    }
}

/* "return 7" as machine code, in memory that was written and then made executable. */
static bool jit_fails(void)
{
#if defined(__x86_64__)
    static const unsigned char code[] = {0xb8, 7, 0, 0, 0, 0xc3};
#elif defined(__aarch64__)
    static const unsigned char code[] = {0xe0, 0x00, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6};
#endif
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return true;
    }
    memcpy(page, code, sizeof code);
    if (mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0) {
        return true;
    }
    __builtin___clear_cache((char *)page, (char *)page + sizeof code);
    int (*function)(void);
    memcpy(&function, &page, sizeof function);
    return function() != 7;
}

static void do_fork(void)
{
    pid_t child = fork();
    if (child == 0) {
        _exit(0);
    }
    (void)waitpid(child, NULL, 0);
}

static void do_exec(void)
{
    char program[] = "/bin/true";
    char *arguments[] = {program, NULL};
    (void)execv(program, arguments);
}

static __attribute__((noinline)) int recurse(volatile int depth)
{
    volatile char room[4096];
    room[0] = (char)depth;
    if (depth < 0) {
        return 0; /* never: it tells the compiler that this could end */
    }
    return recurse(depth + 1) + room[0];
}

static void do_flood_output(void)
{
    static char text[65536];
    memset(text, 'A', sizeof text);
    for (int i = 0; i < 512; i++) {
        (void)!write(1, text, sizeof text);
        (void)!write(2, text, sizeof text);
    }
}

static void do_flood_log(const medaid_host *host)
{
    for (int i = 0; i < 100000; i++) {
        host->log(host, MEDAID_LOG_ERROR, "flood");
    }
}

/* To whatever looks like a channel: not standard input and output. */
static void write_everywhere(const void *bytes, size_t size_bytes)
{
    for (int fd = 3; fd < LAST_FD; fd++) {
        (void)!write(fd, bytes, size_bytes);
    }
}

static void do_forge_garbage(void)
{
    unsigned char packet[700];
    unsigned seed = 1;
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < sizeof packet; i++) {
            seed = seed * 1103515245u + 12345u;
            packet[i] = (unsigned char)(seed >> 16);
        }
        write_everywhere(packet, 1 + (unsigned)round * 3);
    }
}

static void do_forge_log(void)
{
    static const char broken[] = "{\"event\":\"x\",[[[[";
    static const char injected[] =
        "{\"level\":\"error\",\"event\":\"hostile_line\",\"worker\":99,"
        "\"text\":\"a\\nb\",\"Bad Key\":1}";
    write_everywhere(broken, sizeof broken - 1);
    write_everywhere(injected, sizeof injected - 1);
}

/* A RESULT of job 1, status ok, no text, 200 MiB in the shared block. */
static void do_forge_result(void)
{
    unsigned char packet[1 + 8 + 4 + 2 + 8] = {9};
    for (unsigned char job = 1; job < 40; job++) {
        packet[1] = job;
        packet[15 + 3] = 12;
        write_everywhere(packet, sizeof packet);
    }
}

static medaid_status do_write_without_handler(medaid_answer *answer)
{
    signal(SIGSYS, SIG_DFL);
    return could(answer, can_write());
}

static medaid_status do_long_error(const medaid_host *host)
{
    char text[4000];
    for (size_t i = 0; i < sizeof text - 1; i++) {
        text[i] = (char)(1 + i % 255);
    }
    text[sizeof text - 1] = '\0';
    host->set_error(host, text);
    return MEDAID_FAILED;
}

static void do_close_all(void)
{
    for (int fd = 0; fd < 1024; fd++) {
        close(fd);
    }
}

static medaid_status do_bad_answer(hostile_deed deed, medaid_answer *answer)
{
    if (deed == HOSTILE_SCORE_TWO) {
        answer->score = 2.0;
    } else if (deed == HOSTILE_SCORE_NAN || deed == HOSTILE_NO_ANSWER) {
        answer->score = (double)NAN;
    } else if (deed == HOSTILE_BAD_STATE) {
        answer->state = 4711;
        answer->laterality = -3;
    } else {
        answer->saliency_columns = 4000000000u;
        answer->saliency_rows = 4000000000u;
    }
    return MEDAID_OK;
}

medaid_status hostile_do(hostile_deed deed, const medaid_host *host, medaid_answer *answer)
{
    switch (deed) {
    case HOSTILE_SEGFAULT:
        do_segfault();
        break;
    case HOSTILE_LOOP:
        do_loop();
        break;
    case HOSTILE_DEAF_LOOP:
        do_blocked_loop();
        break;
    case HOSTILE_ALLOCATE:
        do_allocate(0);
        break;
    case HOSTILE_ALLOCATE_SHARED:
        do_allocate(MAP_SHARED);
        break;
    case HOSTILE_SOCKET:
        do_socket();
        break;
    case HOSTILE_READ_FILE:
        return could(answer, can_read("/etc/passwd"));
    case HOSTILE_READ_PARENT:
        return could(answer, can_read_parent());
    case HOSTILE_WRITE_FILE:
        return could(answer, can_write());
    case HOSTILE_REMOVE_FILE:
        return could(answer, can_remove());
    case HOSTILE_FORK:
        do_fork();
        break;
    case HOSTILE_EXEC:
        do_exec();
        break;
    case HOSTILE_THREAD:
        return could(answer, thread_fails());
    case HOSTILE_THREAD_BOMB:
        do_thread_bomb();
        break;
    case HOSTILE_JIT:
        return could(answer, jit_fails());
    case HOSTILE_SCORE_TWO:
    case HOSTILE_SCORE_NAN:
    case HOSTILE_NO_ANSWER:
    case HOSTILE_BAD_STATE:
    case HOSTILE_MAP_TOO_LARGE:
        return do_bad_answer(deed, answer);
    case HOSTILE_LONG_ERROR:
        return do_long_error(host);
    case HOSTILE_CLOSE_ALL:
        do_close_all();
        break;
    case HOSTILE_KILL_PARENT:
        (void)kill(getppid(), SIGKILL);
        break;
    case HOSTILE_KILL_ALL:
        (void)kill(-1, SIGKILL);
        break;
    case HOSTILE_PTRACE:
        (void)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
        break;
    case HOSTILE_STACK:
        answer->score = recurse(0);
        break;
    case HOSTILE_EXIT:
        _exit(0);
    case HOSTILE_ABORT:
        abort();
    case HOSTILE_FLOOD_OUTPUT:
        do_flood_output();
        break;
    case HOSTILE_FLOOD_LOG:
        do_flood_log(host);
        break;
    case HOSTILE_FORGE_GARBAGE:
        do_forge_garbage();
        break;
    case HOSTILE_FORGE_LOG:
        do_forge_log();
        break;
    case HOSTILE_FORGE_RESULT:
        do_forge_result();
        break;
    case HOSTILE_HANDLER:
        return do_write_without_handler(answer);
    case HOSTILE_SLOW:
        usleep(1000000);
        break;
    case HOSTILE_NONE:
    case HOSTILE_N_DEEDS:
    default:
        break;
    }
    return MEDAID_OK;
}
