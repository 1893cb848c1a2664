#ifndef MEDAID_BASE_ERROR_H
#define MEDAID_BASE_ERROR_H

/* Status codes and the error object that travels with them.
 *
 * A function that can fail returns md_status and takes `md_error *err` as its last parameter
 * (NULL is allowed). The status says what the caller can do, the message says to a person what
 * happened: one line, the fact and the numbers, no function name and never a text that came
 * from a patient's data. Outputs are written on success only. All functions here may be called
 * from any thread; an md_error belongs to one thread at a time. */

#include <stdbool.h>

#ifdef __cplusplus
#define MD_NOEXCEPT noexcept
extern "C" {
#else
#define MD_NOEXCEPT
#endif

#define MD_NODISCARD __attribute__((warn_unused_result))
#define MD_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

typedef enum md_status {
    MD_OK = 0,
    MD_NOMEM,       /* out of memory */
    MD_INVALID_ARG, /* the caller's or the user's argument is wrong */
    MD_FORMAT,      /* the bytes do not follow their format */
    MD_UNSUPPORTED, /* well formed, but nothing here can read it */
    MD_LIMIT,       /* beyond a named limit */
    MD_IO,          /* the operating system said no; os_errno tells */
    MD_NOT_FOUND,
    MD_TIMEOUT,
    MD_BUSY,
    MD_NETWORK, /* the peer or the way to it */
    MD_PLUGIN,  /* a plugin misbehaved */
    MD_CANCELLED,
    MD_INTERNAL, /* our own mistake */
} md_status;

enum {
    MD_ERROR_MSG_BYTES = 256
};

typedef struct md_error {
    md_status status;
    int os_errno;                 /* 0 when the operating system was not the cause */
    const char *where;            /* the function that failed, static string */
    char msg[MD_ERROR_MSG_BYTES]; /* one line of UTF-8, truncated when too long */
} md_error;

/* A short name such as "format", static string; "unknown" for a value out of range. */
const char *md_status_name(md_status status) MD_NOEXCEPT;

/* Fill `err` (NULL allowed) and return `status`. Control characters in the result become '?',
 * so that a hostile text cannot forge a log line. */
md_status md_error_set(md_error *err, md_status status, const char *where, const char *format,
                       ...) MD_NOEXCEPT MD_PRINTF(4, 5);

/* The same for a failed system call: appends strerror(os_errno). */
md_status md_error_set_os(md_error *err, int os_errno, const char *where, const char *format,
                          ...) MD_NOEXCEPT MD_PRINTF(4, 5);

/* Put "prefix: " before the message that is already there, to add the file, tag or line while
 * the error passes upwards. Returns the status that `err` holds, or `status` when err is NULL.
 */
md_status md_error_prefix(md_error *err, md_status status, const char *format, ...)
    MD_NOEXCEPT MD_PRINTF(3, 4);

#define md_fail(err, status, ...) md_error_set((err), (status), __func__, __VA_ARGS__)
#define md_fail_os(err, os_errno, ...) md_error_set_os((err), (os_errno), __func__, __VA_ARGS__)

/* Return from the calling function when `expression` fails. */
#define MD_TRY(expression)                                                                     \
    do {                                                                                       \
        md_status md_try_status_ = (expression);                                               \
        if (md_try_status_ != MD_OK) {                                                         \
            return md_try_status_;                                                             \
        }                                                                                      \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
