#ifndef MEDAID_DAEMON_WORKER_PROTOCOL_EMBEDDING_H
#define MEDAID_DAEMON_WORKER_PROTOCOL_EMBEDDING_H

/* The part of the protocol that carries what models leave of a study beside their answers. One
 * thread. */

#include "daemon/worker/protocol.h"
#include "daemon/worker/wire.h"

void md_worker_put_embeds(md_wire_writer *out, const md_embeds *embeds);
void md_worker_get_embeds(md_wire_reader *in, md_embeds *ret_embeds);

void md_worker_put_embeddings(md_wire_writer *out, const md_analysis *analysis);
/* Into an analysis whose results are there. MD_OK also when `in` refuses something, which its
 * member `bad` says; MD_NOMEM (refused too). What was read belongs to the analysis. */
md_status md_worker_get_embeddings(md_wire_reader *in, const md_worker_expectation *expected,
                                   md_analysis *analysis) MD_NODISCARD;

#endif
