#include "daemon/notifier/deliver.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

extern char **environ;

/* The mail in a file of memory: sendmail reads it at its own pace and no pipe can block us. */
static md_status mail_file(const char *body, int *ret_fd, md_error *err)
{
    int fd = memfd_create("mail", MFD_CLOEXEC);
    size_t n = strlen(body);
    if (fd < 0) {
        return md_fail_os(err, errno, "a mail");
    }
    if (write(fd, body, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) != 0) {
        int os_errno = errno;
        close(fd);
        return md_fail_os(err, os_errno, "a mail");
    }
    *ret_fd = fd;
    return MD_OK;
}

static int spawn(const char *sendmail, char *const *arguments, int mail_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, mail_fd, STDIN_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int os_errno = posix_spawn(ret_pid, sendmail, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return os_errno;
}

/* The exit status, or -1: it did not end in time and was killed. */
static int wait_for_exit(pid_t pid, unsigned timeout_s)
{
    int64_t until_us = md_clock_monotonic_us() + (int64_t)timeout_s * 1000000;
    int status = 0;
    pid_t ended = 0;
    while ((ended = waitpid(pid, &status, WNOHANG)) == 0) {
        if (md_clock_monotonic_us() >= until_us) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, &status, 0);
            return -1;
        }
        (void)poll(NULL, 0, 20);
    }
    /* without a child (who started us ignores SIGCHLD) nobody knows: no success */
    return ended == pid && WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

md_status md_deliver_mail(const char *sendmail, const char *from, const char *to,
                          unsigned timeout_s, const char *body, md_error *err)
{
    char *own_from = md_strdup(from), *own_to = md_strdup(to), *program = md_strdup(sendmail);
    char ignore_dots[] = "-i", sender[] = "-f", end[] = "--";
    char *const arguments[] = {program, ignore_dots, sender, own_from, end, own_to, NULL};
    int fd = -1;
    pid_t pid = 0;
    md_status status = own_from == NULL || own_to == NULL || program == NULL
                           ? md_fail(err, MD_NOMEM, "no memory to notify")
                           : mail_file(body, &fd, err);
    if (status == MD_OK) {
        int os_errno = spawn(sendmail, arguments, fd, &pid);
        close(fd);
        status = os_errno == 0 ? MD_OK : md_fail_os(err, os_errno, "%s", sendmail);
    }
    md_free(own_from);
    md_free(own_to);
    md_free(program);
    MD_TRY(status);
    int code = wait_for_exit(pid, timeout_s);
    if (code == EX_OK) {
        return MD_OK;
    }
    if (code < 0) {
        return md_fail(err, MD_TIMEOUT, "%s did not end in %u s", sendmail, timeout_s);
    }
    return md_fail(err, code == EX_TEMPFAIL ? MD_BUSY : MD_UNSUPPORTED, "%s ended with %d",
                   sendmail, code);
}
