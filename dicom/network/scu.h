#ifndef MEDAID_DICOM_NETWORK_SCU_H
#define MEDAID_DICOM_NETWORK_SCU_H

/* Storage and Verification SCU. Any thread; each call is independent.
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
    bool converted;        /* not sent as it is stored, but in another transfer syntax */
} md_send_outcome;

/* The transfer syntax that an object is stored in, in md_send_options. */
#define MD_SYNTAX_OWN "own"

typedef struct md_send_options {
    /* What is proposed for an object, the best first: UIDs, or MD_SYNTAX_OWN. A UID is proposed
     * for the objects that are stored in it; implicit VR little endian and explicit VR little
     * and big endian are proposed for all when there is `convert`. None: the object's own, and
     * with `convert` explicit and implicit VR little endian after it. */
    const char *const *transfer_syntaxes;
    unsigned n_transfer_syntaxes;
    /* Write the object of the file in one of those three syntaxes: a Part 10 file, open as
     * *ret_fd, which the caller closes. May be NULL. */
    md_status (*convert)(void *context, const char *path, const char *transfer_syntax_uid,
                         int *ret_fd, md_error *err);
    void *context;
} md_send_options;

/* C-STORE of Part 10 files; outcomes[i] tells of paths[i]. Each object goes in the first of its
 * syntaxes that the peer accepts. More presentation contexts than one association can have
 * (128) make several associations, one after the other. MD_OK only when every object was
 * stored; otherwise the first error is in err and the others were tried as far as the
 * association lived. `options` NULL: each in its own syntax. */
md_status md_scu_send(const md_peer *peer, const md_send_options *options,
                      const char *const *paths, size_t n_paths, md_send_outcome *outcomes,
                      md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
