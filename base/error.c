#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const status_names[] = {
    [MD_OK] = "ok",
    [MD_NOMEM] = "nomem",
    [MD_INVALID_ARG] = "invalid_arg",
    [MD_FORMAT] = "format",
    [MD_UNSUPPORTED] = "unsupported",
    [MD_LIMIT] = "limit",
    [MD_IO] = "io",
    [MD_NOT_FOUND] = "not_found",
    [MD_TIMEOUT] = "timeout",
    [MD_BUSY] = "busy",
    [MD_NETWORK] = "network",
    [MD_PLUGIN] = "plugin",
    [MD_CANCELLED] = "cancelled",
    [MD_INTERNAL] = "internal",
};

const char *md_status_name(md_status status)
{
    size_t index = (size_t)status;
    return index < sizeof status_names / sizeof *status_names ? status_names[index] : "unknown";
}

/* A message is one line. Bytes above 0x7f stay, they are UTF-8; a sequence cut at the end of
 * the buffer is dropped as a whole. */
static void tidy_message(char *msg)
{
    size_t length = strlen(msg);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)msg[i];
        if (c < 0x20 || c == 0x7f) {
            msg[i] = '?';
        }
    }
    if (length == MD_ERROR_MSG_BYTES - 1) {
        size_t start = length;
        while (start > 0 && ((unsigned char)msg[start - 1] & 0xc0) == 0x80) {
            start--;
        }
        if (start > 0 && (unsigned char)msg[start - 1] >= 0xc0) {
            msg[start - 1] = '\0';
        }
    }
}

static void set_message(md_error *err, md_status status, int os_errno, const char *where,
                        const char *format, va_list args)
{
    err->status = status;
    err->os_errno = os_errno;
    err->where = where;
    vsnprintf(err->msg, sizeof err->msg, format, args);
    if (os_errno != 0) {
        char text[96];
        size_t used = strlen(err->msg);
        const char *reason = strerror_r(os_errno, text, sizeof text);
        snprintf(err->msg + used, sizeof err->msg - used, ": %s", reason);
    }
    tidy_message(err->msg);
}

md_status md_error_set(md_error *err, md_status status, const char *where, const char *format,
                       ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        set_message(err, status, 0, where, format, args);
        va_end(args);
    }
    return status;
}

md_status md_error_set_os(md_error *err, int os_errno, const char *where, const char *format,
                          ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        set_message(err, MD_IO, os_errno, where, format, args);
        va_end(args);
    }
    return MD_IO;
}

md_status md_error_prefix(md_error *err, md_status status, const char *format, ...)
{
    if (err == NULL) {
        return status;
    }
    char rest[MD_ERROR_MSG_BYTES];
    memcpy(rest, err->msg, sizeof rest);
    va_list args;
    va_start(args, format);
    vsnprintf(err->msg, sizeof err->msg, format, args);
    va_end(args);
    size_t used = strlen(err->msg);
    snprintf(err->msg + used, sizeof err->msg - used, ": %s", rest);
    tidy_message(err->msg);
    return err->status;
}
