#ifndef MEDAID_DICOM_NETWORK_CALLERS_H
#define MEDAID_DICOM_NETWORK_CALLERS_H

/* Who may open associations: by AE title and by the network the connection comes from. An AE
 * title is no proof of anything; with TLS it is the certificate that proves. Pure functions. */

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_CALLER_ADDRESS_BYTES = 64
};

typedef struct md_caller {
    char ae_title[MD_AE_BYTES];
    /* "192.0.2.7", "192.0.2.0/24", "2001:db8::/32"; "": from anywhere */
    char address[MD_CALLER_ADDRESS_BYTES];
} md_caller;

/* MD_INVALID_ARG: no AE title, no address, or a prefix that does not fit. Bits beyond the
 * prefix must be zero: who writes 192.0.2.7/24 means one of two things. */
md_status md_caller_check(const md_caller *caller, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* NULL when one of the callers has this AE title and this peer ("192.0.2.7:4711",
 * "2001:db8::1:4711") is in its network, or when there are no callers at all; else why not, a
 * static text. */
const char *md_callers_refusal(const md_caller *callers, unsigned n_callers,
                               const char *ae_title, const char *peer_address) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
