#ifndef MEDAID_DICOM_NETWORK_SOP_H
#define MEDAID_DICOM_NETWORK_SOP_H

/* What medaid takes over the network: the SOP classes and transfer syntaxes of PS3.6 annex A
 * that can be stored and read, and their names for messages. Constant tables; any thread. */

#include "base/error.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MD_UID_APPLICATION_CONTEXT "1.2.840.10008.3.1.1.1"
#define MD_UID_VERIFICATION "1.2.840.10008.1.1"
#define MD_UID_IMPLICIT_LITTLE "1.2.840.10008.1.2"
#define MD_UID_EXPLICIT_LITTLE "1.2.840.10008.1.2.1"
#define MD_UID_EXPLICIT_BIG "1.2.840.10008.1.2.2"

/* Who wrote a file or speaks on the network, PS3.7 D.3.3.2: a UUID made for medaid (PS3.5 B.2).
 */
#define MD_IMPLEMENTATION_CLASS_UID "2.25.220581379249251177914821107491253705817"
#define MD_IMPLEMENTATION_VERSION "MEDAID_0_1" /* at most 16 characters */

/* How the bytes of a dataset stand. */
typedef enum md_encoding {
    MD_ENCODING_IMPLICIT_LITTLE,
    MD_ENCODING_EXPLICIT_LITTLE,
    MD_ENCODING_EXPLICIT_BIG,
    MD_ENCODING_DEFLATED,
} md_encoding;

/* Result of a presentation context, PS3.8 table 9-18. */
enum {
    MD_CONTEXT_ACCEPTED = 0,
    MD_CONTEXT_USER_REFUSED = 1,
    MD_CONTEXT_ABSTRACT_REFUSED = 3,
    MD_CONTEXT_TRANSFER_REFUSED = 4,
};

/* "CT Image"; NULL when it is not a storage class that medaid takes. */
const char *md_sop_storage_name(const char *sop_class_uid) MD_NOEXCEPT;
bool md_sop_is_verification(const char *sop_class_uid) MD_NOEXCEPT;
/* "JPEG Baseline"; NULL when medaid does not read it. */
const char *md_transfer_syntax_name(const char *transfer_syntax_uid) MD_NOEXCEPT;
/* Explicit little endian for a syntax that is not in the table (PS3.5 A.4). */
md_encoding md_transfer_syntax_encoding(const char *transfer_syntax_uid) MD_NOEXCEPT;
/* Whether this pair is taken: one of MD_CONTEXT_*. */
uint8_t md_sop_judge(const char *abstract_syntax, const char *transfer_syntax) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
