#ifndef MEDAID_DAEMON_WORKER_PROTOCOL_INTERNAL_H
#define MEDAID_DAEMON_WORKER_PROTOCOL_INTERNAL_H

/* What the files of the protocol share. */

#include "daemon/worker/protocol.h"
#include "daemon/worker/wire.h"

/* Lists of texts with their number; a reader refuses more than the array holds. */
#define PUT_TEXTS(out, list, n)                                                                \
    do {                                                                                       \
        md_wire_put_u32(out, (uint32_t)(n));                                                   \
        for (size_t i_ = 0; i_ < (n); i_++) {                                                  \
            md_wire_put_text(out, (list)[i_]);                                                 \
        }                                                                                      \
    } while (0)
#define GET_TEXTS(in, list, ret_n)                                                             \
    do {                                                                                       \
        (ret_n) = md_wire_get_below(in, sizeof(list) / sizeof((list)[0]) + 1);                 \
        for (size_t i_ = 0; i_ < (ret_n) && (in)->bad == NULL; i_++) {                         \
            md_wire_get_text(in, (list)[i_], sizeof((list)[0]));                               \
        }                                                                                      \
    } while (0)

/* n zeroed members; NULL for none, for a bad reader, and without memory, which *status and the
 * reader say. */
void *md_worker_make(md_wire_reader *in, size_t n, size_t size_bytes, md_status *status);
/* The store remembers objects by their model: it must be one that has a result here. */
bool md_worker_has_result(const md_analysis *analysis, const char *model_id);

/* What was found, and what is proposed to do next. */
void md_worker_put_features(md_wire_writer *out, const md_features *features);
void md_worker_get_features(md_wire_reader *in, md_features *features);
void md_worker_put_follow_up(md_wire_writer *out, const md_follow_up *follow_up);
void md_worker_get_follow_up(md_wire_reader *in, md_follow_up *follow_up);

#endif
