#ifndef MEDAID_INFERENCE_SHARE_H
#define MEDAID_INFERENCE_SHARE_H

/* Several processes that load the same networks keep their packed weights once. */

#include "inference/network.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The file of md_share_create holds at most so much; what is never written costs nothing. */
#define MD_SHARE_MAX_BYTES ((size_t)4 << 30)

/* An empty file in memory for the weights. Whoever starts the processes makes it and hands it
 * to them. Caller closes. MD_IO. */
md_status md_share_create(int *ret_fd, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* A process's view of it. Zeroed: nothing is shared. */
typedef struct md_share {
    int fd;
    uint8_t *writable; /* this process is the one that fills the file */
} md_share;

/* Before a sandbox closes: the first process gets the file to fill, the others wait here until
 * it is sealed (or the first has ended, then one of them fills it). fd is borrowed; the lock
 * ends when it is closed. MD_INVALID_ARG: no such file; MD_IO. */
md_status md_share_begin(int fd, md_share *ret_share, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Call when all networks are loaded, in each process with the same networks in the same order.
 * The one that fills writes its weights and seals the file for ever. Then each compares its own
 * with the file's and, where they are equal, maps the file's pages for reading in their place:
 * no byte of a network changes, whatever the file holds. *ret_shared_bytes: how much is shared
 * now. Needs of the system: memory calls, and fcntl with F_ADD_SEALS. Errors leave the weights
 * as they are. */
md_status md_network_share(md_network *const *networks, unsigned n_networks, md_share *share,
                           size_t *ret_shared_bytes, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
