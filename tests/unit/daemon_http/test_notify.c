#include "daemon/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* A datagram socket of that name ('@': abstract). */
static int listen_on(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    memcpy(address.sun_path, name, length);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    socklen_t n_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, n_bytes), 0);
    return fd;
}

static void expect_datagram(int fd, const char *expected)
{
    char text[64] = "";
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    assert_int_equal(n, (ssize_t)strlen(expected));
    assert_string_equal(text, expected);
}

static void test_datagrams(void **state)
{
    (void)state;
    char folder[] = "/tmp/medaid-notify-XXXXXX";
    char names[2][64];
    assert_non_null(mkdtemp(folder));
    snprintf(names[0], sizeof names[0], "%s/notify", folder);
    snprintf(names[1], sizeof names[1], "@%s", folder);
    for (int i = 0; i < 2; i++) {
        int fd = listen_on(names[i]);
        setenv("NOTIFY_SOCKET", names[i], 1);
        assert_true(md_notify("READY=1"));
        assert_true(md_notify("WATCHDOG=1"));
        expect_datagram(fd, "READY=1");
        expect_datagram(fd, "WATCHDOG=1");
        close(fd);
        assert_false(md_notify("STOPPING=1")); /* nobody is there */
    }
    unlink(names[0]);
    rmdir(folder);
}

static void test_nobody(void **state)
{
    (void)state;
    char longest[256];
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    const char *const bad[] = {
        "", "/", "@", "relative", "vsock:1:2", longest, "/nonexistent/s"};
    unsetenv("NOTIFY_SOCKET");
    assert_false(md_notify("READY=1"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv("NOTIFY_SOCKET", bad[i], 1);
        assert_false(md_notify("READY=1"));
    }
}

static void test_watchdog(void **state)
{
    (void)state;
    char pid[32];
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {{"30000000", 30000}, {"", 0}, {"-1", 0}, {"x", 0}, {"99999999999999999999", 0}};
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    assert_int_equal(md_notify_watchdog_ms(), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        setenv("WATCHDOG_USEC", rows[i].text, 1);
        assert_int_equal(md_notify_watchdog_ms(), rows[i].ms);
    }
    setenv("WATCHDOG_USEC", "5000000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(md_notify_watchdog_ms(), 0);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(md_notify_watchdog_ms(), 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_datagrams),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_watchdog),
    };
    return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
