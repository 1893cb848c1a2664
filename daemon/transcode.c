#include "daemon/transcode.h"

#include "daemon/worker/landlock.h"
#include "daemon/worker/process.h"
#include "daemon/worker/protocol.h"
#include "daemon/worker/sandbox.h"
#include "dicom/image/transcode.h"
#include "dicom/network/part10.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    EXIT_FINE = 0,
    EXIT_FAILED = 1,
    /* how the process tells what was wrong: the status, then the text */
    ANSWER_BYTES = 1 + MD_ERROR_MSG_BYTES,
    NAME_BYTES = 4096
};
#define MAX_OUTPUT_BYTES ((uint64_t)6 << 30)

/* ---- the process ---- */

static md_status write_head(int fd, const md_part10 *head, md_error *err)
{
    uint8_t bytes[MD_PART10_HEADER_BYTES];
    size_t n = md_part10_write(head, "", bytes);
    ssize_t written = write(fd, bytes, n);
    return written == (ssize_t)n
               ? MD_OK
               : md_fail_os(err, written < 0 ? errno : ENOSPC, "write a converted object");
}

static md_status work(const char *uid, const char *path, md_error *err)
{
    md_part10 head;
    MD_TRY(md_dicom_init(err));
    MD_TRY(md_sandbox_enter(-1, err)); /* from here on nothing is trusted */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return md_fail_os(err, errno, "open the object");
    }
    md_status status = md_part10_read(fd, &head, err);
    close(fd);
    MD_TRY(status);
    if (!md_transcode_writes(uid)) {
        return md_fail(err, MD_INVALID_ARG, "not a transfer syntax that medaid converts to");
    }
    snprintf(head.transfer_syntax_uid, sizeof head.transfer_syntax_uid, "%s", uid);
    MD_TRY(write_head(MD_WORKER_SHARED_FD, &head, err));
    return md_transcode(path, uid, MD_WORKER_SHARED_FD, err);
}

_Noreturn void md_transcoder_main(const char *transfer_syntax_uid, const char *path)
{
    md_error err = {0};
    uint8_t answer[ANSWER_BYTES] = {0};
    if (fcntl(MD_WORKER_SOCKET_FD, F_GETFD) < 0 || fcntl(MD_WORKER_SHARED_FD, F_GETFD) < 0) {
        fputs("medaid: --transcode is for the daemon alone\n", stderr);
        _exit(2);
    }
    (void)signal(SIGXFSZ, SIG_IGN); /* write says it */
    md_status status = work(transfer_syntax_uid, path, &err);
    answer[0] = (uint8_t)status;
    snprintf((char *)answer + 1, sizeof answer - 1, "%s", status == MD_OK ? "" : err.msg);
    ssize_t written = write(MD_WORKER_SOCKET_FD, answer, 1 + strlen((const char *)answer + 1));
    /* _exit: no handler of a library runs any more */
    _exit(status == MD_OK && written > 0 ? EXIT_FINE : EXIT_FAILED);
}

/* ---- main ---- */

/* A file without a name: gone with its last descriptor, whatever happens to us. */
static md_status open_output(const char *folder, int *ret_fd, md_error *err)
{
    static atomic_uint n_files;
    char path[NAME_BYTES];
    int length = snprintf(path, sizeof path, "%s/convert-%ld-%u.part", folder, (long)getpid(),
                          atomic_fetch_add(&n_files, 1));
    if (length < 0 || (size_t)length >= sizeof path) {
        return md_fail(err, MD_LIMIT, "the folder for converted objects has too long a name");
    }
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return md_fail_os(err, errno, "a file for a converted object");
    }
    if (unlink(path) != 0) {
        int os_errno = errno;
        close(fd);
        return md_fail_os(err, os_errno, "a file for a converted object");
    }
    *ret_fd = fd;
    return MD_OK;
}

static md_status make_ruleset(const char *program, const char *path, int *ret_fd, md_error *err)
{
    *ret_fd = -1;
    if (md_landlock_abi() == 0) {
        return MD_OK;
    }
    MD_TRY(md_landlock_create(ret_fd, err));
    MD_TRY(md_landlock_admit_system(*ret_fd, err));
    MD_TRY(md_landlock_admit(*ret_fd, program, MD_LANDLOCK_READ_EXECUTE, err));
    return md_landlock_admit(*ret_fd, path, MD_LANDLOCK_READ, err);
}

/* The process may be taken over: any byte of its answer may be anything. */
static md_status read_answer(int socket_fd, md_error *err)
{
    uint8_t answer[ANSWER_BYTES];
    char text[MD_ERROR_MSG_BYTES];
    ssize_t n = read(socket_fd, answer, sizeof answer);
    if (n < 1 || answer[0] > MD_INTERNAL) {
        return md_fail(err, MD_PLUGIN, "the conversion died of the object");
    }
    size_t used = 0;
    for (ssize_t i = 1; i < n && used + 1 < sizeof text; i++) {
        text[used++] = answer[i] >= ' ' && answer[i] <= '~' ? (char)answer[i] : '?';
    }
    text[used] = '\0';
    return answer[0] == MD_OK ? MD_OK : md_fail(err, (md_status)answer[0], "%s", text);
}

static md_status wait_for_end(const md_worker_process *process, unsigned timeout_s,
                              md_error *err)
{
    struct pollfd end = {.fd = process->pidfd, .events = POLLIN};
    int ready = 0;
    do {
        ready = poll(&end, 1, (int)timeout_s * 1000);
    } while (ready < 0 && errno == EINTR);
    if (ready < 0) {
        return md_fail_os(err, errno, "wait for a conversion");
    }
    return ready > 0 ? MD_OK
                     : md_fail(err, MD_LIMIT, "the conversion was not over in %u s", timeout_s);
}

static md_status run(const md_transcoder *how, const char *path, const char *uid, int output_fd,
                     md_error *err)
{
    const char *program = how->program != NULL ? how->program : "/proc/self/exe";
    const char *const arguments[] = {"medaid", "--transcode", uid, path, NULL};
    md_worker_process process = MD_WORKER_PROCESS_NONE;
    int ruleset_fd = -1;
    md_status status = make_ruleset(program, path, &ruleset_fd, err);
    if (status == MD_OK) {
        status = md_worker_process_start(
            &(md_worker_start_options){.program = program,
                                       .arguments = arguments,
                                       .memory_mib = how->memory_mib,
                                       .ruleset_fd = ruleset_fd,
                                       .output_fd = output_fd,
                                       .output_bytes = MAX_OUTPUT_BYTES},
            &process, err);
    }
    if (ruleset_fd >= 0) {
        close(ruleset_fd);
    }
    MD_TRY(status);
    status = wait_for_end(&process, how->timeout_s, err);
    if (status == MD_OK) {
        status = read_answer(process.socket_fd, err);
    }
    md_worker_process_end(&process, NULL);
    return status;
}

md_status md_transcoder_run(void *transcoder, const char *path, const char *transfer_syntax_uid,
                            int *ret_fd, md_error *err)
{
    const md_transcoder *how = transcoder;
    int fd = -1;
    MD_TRY(open_output(how->folder, &fd, err));
    md_status status = run(how, path, transfer_syntax_uid, fd, err);
    if (status != MD_OK) {
        close(fd);
        return md_error_prefix(err, status, "conversion");
    }
    *ret_fd = fd;
    return MD_OK;
}
