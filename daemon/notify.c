#include "daemon/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool md_notify(const char *state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *name = getenv("NOTIFY_SOCKET");
    size_t length = name == NULL ? 0 : strlen(name);
    if (length < 2 || length >= sizeof address.sun_path || (name[0] != '/' && name[0] != '@')) {
        return false;
    }
    memcpy(address.sun_path, name, length);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    socklen_t n_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    ssize_t n = sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
                       (const struct sockaddr *)&address, n_bytes);
    close(fd);
    return n == (ssize_t)strlen(state);
}

static int64_t read_variable(const char *name)
{
    const char *text = getenv(name);
    if (text == NULL || text[0] == '\0' || strlen(text) > 18 ||
        strspn(text, "0123456789") != strlen(text)) {
        return 0;
    }
    return (int64_t)strtoll(text, NULL, 10);
}

int64_t md_notify_watchdog_ms(void)
{
    int64_t usec = read_variable("WATCHDOG_USEC");
    bool is_ours =
        getenv("WATCHDOG_PID") == NULL || read_variable("WATCHDOG_PID") == (int64_t)getpid();
    return is_ours ? usec / 1000 : 0;
}
