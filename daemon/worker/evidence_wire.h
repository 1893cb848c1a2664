#ifndef MEDAID_DAEMON_WORKER_EVIDENCE_WIRE_H
#define MEDAID_DAEMON_WORKER_EVIDENCE_WIRE_H

/* What stands beside the findings of a text or a risk analyzer, on its way from a worker to
 * main (protocol.h). */

#include "daemon/worker/wire.h"
#include "dicom/report/result.h"

/* kind, text and risk of the result. */
void md_wire_put_evidence(md_wire_writer *out, const md_result *result);
/* The same, hostile, after result->status was read: what is there afterwards is the caller's
 * with the result, also when the reader is bad. MD_FORMAT then, or MD_NOMEM. */
md_status md_wire_get_evidence(md_wire_reader *in, md_result *result) MD_NODISCARD;

#endif
