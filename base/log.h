#ifndef MEDAID_BASE_LOG_H
#define MEDAID_BASE_LOG_H

/* The log: one JSON object a line on a file descriptor, written with one write call, so that
 * lines of several threads and processes do not mix. Keys are fixed names in the source; values
 * never hold patient data. Library folders log at MD_LOG_DEBUG only; programs log once, where
 * an error stops. Any thread. */

#include "base/error.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum md_log_level {
    MD_LOG_DEBUG,
    MD_LOG_INFO,
    MD_LOG_WARN,
    MD_LOG_ERROR
} md_log_level;

/* One pair; make it with the macros below. */
typedef struct md_log_field {
    const char *key; /* NULL ends the list */
    int kind;        /* 0 text, 1 integer, 2 real */
    const char *text;
    int64_t integer;
    double real;
} md_log_field;

#define MD_LOG_TEXT(key, value) ((md_log_field){(key), 0, (value), 0, 0.0})
#define MD_LOG_INT(key, value) ((md_log_field){(key), 1, 0, (int64_t)(value), 0.0})
#define MD_LOG_REAL(key, value) ((md_log_field){(key), 2, 0, 0, (value)})

/* Start-up, before other threads: where lines go (default 2, standard error) and the least
 * level. */
void md_log_configure(int fd, md_log_level least) MD_NOEXCEPT;
/* Another least level from now on. Any thread. */
void md_log_set_level(md_log_level least) MD_NOEXCEPT;
/* "debug", "info", "warn", "error"; MD_LOG_INFO for any other word. */
md_log_level md_log_level_of(const char *name) MD_NOEXCEPT;
bool md_log_enabled(md_log_level level) MD_NOEXCEPT;

/* Write {"time":"2026-01-31T12:00:00.000Z","level":"info","event":EVENT,...}. `event` is a
 * fixed name in lower_snake. Text is escaped, and invalid UTF-8 replaced; a line is cut at 4096
 * bytes. */
void md_log_fields(md_log_level level, const char *event, const md_log_field *fields)
    MD_NOEXCEPT;

/* md_log(MD_LOG_INFO, "study_complete", MD_LOG_TEXT("study", key), MD_LOG_INT("images", n)); */
#define md_log(level, event, ...)                                                              \
    do {                                                                                       \
        if (md_log_enabled(level)) {                                                           \
            const md_log_field md_log_list_[] = {                                              \
                __VA_ARGS__ __VA_OPT__(, )(md_log_field){0, 0, 0, 0, 0.0}};                    \
            md_log_fields((level), (event), md_log_list_);                                     \
        }                                                                                      \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
