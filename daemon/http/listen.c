#include "daemon/http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 128
};

md_status md_http_listen(const char *what, const char *address, uint16_t port, int *ret_fd,
                         md_error *err)
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } at = {.any = {0}};
    socklen_t n_bytes = sizeof at.four;
    const int on = 1;
    if (inet_pton(AF_INET, address, &at.four.sin_addr) == 1) {
        at.four.sin_family = AF_INET;
        at.four.sin_port = htons(port);
    } else {
        memset(&at, 0, sizeof at);
        n_bytes = sizeof at.six;
        at.six.sin6_family = AF_INET6;
        at.six.sin6_port = htons(port);
        if (inet_pton(AF_INET6, address, &at.six.sin6_addr) != 1) {
            return md_fail(err, MD_INVALID_ARG, "%s: '%s' is no IP address", what, address);
        }
    }
    int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return md_fail_os(err, errno, "%s: a socket", what);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, &at.any, n_bytes) != 0 || listen(fd, BACKLOG) != 0) {
        int os_errno = errno;
        close(fd);
        return md_fail_os(err, os_errno, "%s: listen on %s port %u", what, address, port);
    }
    *ret_fd = fd;
    return MD_OK;
}
