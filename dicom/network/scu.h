#ifndef MEDAID_DICOM_NETWORK_SCU_H
#define MEDAID_DICOM_NETWORK_SCU_H

/* Storage and Verification SCU. One association per call. Any thread; each call is independent.
 */

#include "dicom/network/tls.h"

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_peer {
    char ae_title[MD_AE_BYTES];
    char host[256];
    uint16_t port;
    char own_ae_title[MD_AE_BYTES]; /* how we call ourselves */
    unsigned timeout_s;             /* connect, association and each response */
    /* NULL: plain. Borrowed for the call; the files are read anew for each association, so that
     * a renewed certificate needs no restart. The peer's certificate must be for `host`. When
     * the files are of no use the status is MD_IO: it is no fault of the objects. */
    const md_tls_options *tls;
} md_peer;

/* Parse "AE@HOST:PORT", "AE@[IPv6]:PORT"; MD_INVALID_ARG says what is wrong. Leaves
 * own_ae_title, timeout_s and tls alone. */
md_status md_peer_parse(const char *text, md_peer *ret_peer, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* C-ECHO. MD_NETWORK, MD_TIMEOUT. */
md_status md_scu_echo(const md_peer *peer, md_error *err) MD_NOEXCEPT MD_NODISCARD;

typedef struct md_send_outcome {
    md_status status;      /* MD_OK: stored, also with a warning (0xB000..0xBFFF) */
    uint16_t dimse_status; /* 0xFFFF: there was no response */
} md_send_outcome;

/* C-STORE of Part 10 files in their own transfer syntax; outcomes[i] tells of paths[i]. MD_OK
 * only when every object was stored; otherwise the first error is in err and the others were
 * tried as far as the association lived. */
md_status md_scu_send(const md_peer *peer, const char *const *paths, size_t n_paths,
                      md_send_outcome *outcomes, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
