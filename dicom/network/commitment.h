#ifndef MEDAID_DICOM_NETWORK_COMMITMENT_H
#define MEDAID_DICOM_NETWORK_COMMITMENT_H

/* The datasets of the Storage Commitment Push Model (PS3.4 annex J), as its SCU writes and
 * reads them: the N-ACTION that asks a PACS to keep objects, the N-EVENT-REPORT that answers.
 * Pure functions; hostile bytes go in. Any thread. */

#include "dicom/network/sop.h"

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MD_UID_COMMITMENT_PUSH "1.2.840.10008.1.20.1"            /* the SOP class */
#define MD_UID_COMMITMENT_PUSH_INSTANCE "1.2.840.10008.1.20.1.1" /* its one instance */

enum {
    MD_COMMIT_ACTION_REQUEST = 1,
    MD_COMMIT_EVENT_ALL = 1,          /* every object is kept */
    MD_COMMIT_EVENT_FAILURES = 2,     /* some are not */
    MD_COMMIT_DUPLICATE_UID = 0x0131, /* failure reason: the transaction is used already */
    MD_COMMIT_MAX_REFERENCES = 10000, /* of a report that is read */
    MD_COMMIT_MAX_DEPTH = 8           /* of sequences in it */
};

typedef struct md_commit_reference {
    char sop_class_uid[MD_UID_BYTES], sop_instance_uid[MD_UID_BYTES];
    bool failed;             /* in a report: listed as not kept */
    uint16_t failure_reason; /* (0008,1197); 0 when it is not given */
} md_commit_reference;

/* The Action Information of table J.3-1: Transaction UID and Referenced SOP Sequence, in
 * implicit or explicit VR little endian. Caller frees *ret_bytes with md_free. */
md_status md_commit_write_request(const char *transaction_uid,
                                  const md_commit_reference *references, size_t n,
                                  md_encoding encoding, uint8_t **ret_bytes,
                                  size_t *ret_size_bytes, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

typedef struct md_commit_report {
    char transaction_uid[MD_UID_BYTES];
    md_commit_reference *references; /* owned; kept ones and failed ones */
    size_t n;
} md_commit_report;

/* The Event Information of table J.3-2. MD_FORMAT when it is cut, or lacks a Transaction UID;
 * MD_LIMIT, MD_NOMEM. Items without an instance UID are passed over. Caller finishes. */
md_status md_commit_read_report(const uint8_t *bytes, size_t size_bytes, md_encoding encoding,
                                md_commit_report *ret_report, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_commit_report_finish(md_commit_report *report) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
