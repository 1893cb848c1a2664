#ifndef MEDAID_DAEMON_TRANSCODE_H
#define MEDAID_DAEMON_TRANSCODE_H

/* Objects in another transfer syntax, for destinations that do not take theirs. Datasets and
 * pixels are hostile, so this happens in a process of its own: "medaid --transcode SYNTAX
 * FILE", locked like a worker (no network, no other program, no file but that one, limits on
 * memory and output), which writes to a file that main has opened and ends. */

#include "base/memory.h"

typedef struct md_transcoder {
    const char *program; /* NULL: this very program */
    const char *folder;  /* where the result is written; it has no name there */
    unsigned memory_mib, timeout_s;
} md_transcoder;

/* The object of a Part 10 file in implicit VR little endian or explicit VR little or big
 * endian, as a Part 10 file: *ret_fd, which the caller closes. `transcoder` is an
 * md_transcoder, so that this fits md_send_options. The statuses of md_transcode, MD_LIMIT also
 * after timeout_s, MD_PLUGIN when the process died of the object. The calling thread must live
 * until this returns. Any thread. */
md_status md_transcoder_run(void *transcoder, const char *path, const char *transfer_syntax_uid,
                            int *ret_fd, md_error *err) MD_NODISCARD;

/* The process. */
_Noreturn void md_transcoder_main(const char *transfer_syntax_uid, const char *path);

#endif
