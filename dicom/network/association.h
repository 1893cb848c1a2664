#ifndef MEDAID_DICOM_NETWORK_ASSOCIATION_H
#define MEDAID_DICOM_NETWORK_ASSOCIATION_H

/* One association of the SCP, from the received A-ASSOCIATE-RQ to the closed socket. */

#include "dicom/network/buffers.h"
#include "dicom/network/scp.h"
#include "dicom/network/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_association_setup {
    const md_scp_options *options;
    md_buffers *buffers; /* shared by all associations */
    int stop_fd; /* readable: end soon; between two messages the peer then has one more second
                  */
    const char *peer_address;
    const uint8_t *request; /* body of the A-ASSOCIATE-RQ */
    size_t request_bytes;
} md_association_setup;

/* Serve it on `wire`, which stays the caller's to finish. All that happens is told by
 * options->on_event. A pool thread's body. */
void md_association_serve(const md_association_setup *setup, md_wire *wire) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
