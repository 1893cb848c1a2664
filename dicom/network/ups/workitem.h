#ifndef MEDAID_DICOM_NETWORK_UPS_WORKITEM_H
#define MEDAID_DICOM_NETWORK_UPS_WORKITEM_H

/* Datasets of the UPS service: what a workitem must have (PS3.4 table CC.2.5-3), what matches a
 * query (C.2.2.2), what goes into an answer or event. A workitem is an md_dataset whose text is
 * UTF-8. The Transaction UID is never in it: it is a lock, which nobody may read.
 *
 * What comes from the network is hostile; texts of a dataset are in no message. One thread per
 * dataset. md_dicom_init must have been called. */

#include "dicom/dataset/dataset.h"
#include "dicom/network/sop.h"
#include "dicom/network/ups/ups.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_WORKITEM_MAX_BYTES = 1000 * 1024, /* of one, encoded; a row of the database has 1 MiB */
    MD_WORKITEM_MAX_DEPTH = 16,          /* of sequences in sequences */
    MD_WORKITEM_COMMENT_BYTES = 65,
    MD_WORKITEM_DATETIME_BYTES = 27, /* DT, PS3.5 table 6.2-1 */
};

#define MD_UPS_TAG_TRANSACTION MD_TAG(0x0008, 0x1195)
#define MD_UPS_TAG_SOP_CLASS MD_TAG(0x0008, 0x0016)
#define MD_UPS_TAG_SOP_INSTANCE MD_TAG(0x0008, 0x0018)
#define MD_UPS_TAG_PATIENT_ID MD_TAG(0x0010, 0x0020)
#define MD_UPS_TAG_STUDY MD_TAG(0x0020, 0x000d)
#define MD_UPS_TAG_START MD_TAG(0x0040, 0x4005)
#define MD_UPS_TAG_READINESS MD_TAG(0x0040, 0x4041)
#define MD_UPS_TAG_STATE MD_TAG(0x0074, 0x1000)
#define MD_UPS_TAG_PRIORITY MD_TAG(0x0074, 0x1200)
#define MD_UPS_TAG_WORKLIST MD_TAG(0x0074, 0x1202)
#define MD_UPS_TAG_LABEL MD_TAG(0x0074, 0x1204)
#define MD_UPS_TAG_DELETION_LOCK MD_TAG(0x0074, 0x1230)
#define MD_UPS_TAG_RECEIVER MD_TAG(0x0074, 0x1234)
#define MD_UPS_TAG_MODIFIED MD_TAG(0x0040, 0x4010)

/* A dataset from the network or the database; its text becomes UTF-8. MD_LIMIT: too large or
 * nested too deeply. MD_FORMAT: no dataset, or a character set that is not known. Caller
 * destroys with md_dataset_destroy. */
md_status md_workitem_parse(const uint8_t *bytes, size_t size_bytes, md_encoding encoding,
                            md_dataset **ret_item, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Caller frees *ret_bytes with md_free. MD_LIMIT: larger than MD_WORKITEM_MAX_BYTES. */
md_status md_workitem_encode(const md_dataset *item, md_encoding encoding, uint8_t **ret_bytes,
                             size_t *ret_n, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* An empty one, in UTF-8. Caller destroys. */
md_status md_workitem_create(md_dataset **ret_item, md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Set a text attribute; "" makes it empty. */
md_status md_workitem_put(md_dataset *item, uint32_t tag, const char *text, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Remove an attribute of the top level; returns whether it was there. */
bool md_workitem_remove(md_dataset *item, uint32_t tag) MD_NOEXCEPT;
/* "20261124101500.123000+0000" for a wall clock time. */
void md_workitem_datetime(int64_t wall_ms, char ret_text[MD_WORKITEM_DATETIME_BYTES])
    MD_NOEXCEPT;
/* Milliseconds since 1970 of a DT with any number of its components (PS3.5 6.2), what is
 * missing at its least; without offset it is local time. False: no DT. */
bool md_workitem_parse_datetime(const char *text, int64_t *ret_ms) MD_NOEXCEPT;

/* Check the dataset of an N-CREATE and complete it: the SCP's attributes, an empty Worklist
 * Label. *ret_status: 0, B300 (the label was set), C309, 0106, 0120, 0121; ret_comment then
 * names the tag. */
md_status md_workitem_check_new(md_dataset *item, const char *worklist_label, int64_t now_ms,
                                uint16_t *ret_status,
                                char ret_comment[MD_WORKITEM_COMMENT_BYTES], md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Apply the dataset of an N-SET, without its Transaction UID. *ret_status: 0, 0106, 0121; then
 * the item is unchanged. *ret_events gets bits 1 << MD_UPS_EVENT_...: which reports the change
 * calls for (CC.2.4.3). */
md_status md_workitem_apply(md_dataset *item, const md_dataset *changes, int64_t now_ms,
                            uint16_t *ret_status, unsigned *ret_events,
                            char ret_comment[MD_WORKITEM_COMMENT_BYTES], md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* Whether the Final State requirements are met (table CC.2.5-3, CC.2.5.1.1); ret_comment names
 * what is missing. */
bool md_workitem_is_final(const md_dataset *item, md_ups_state final,
                          char ret_comment[MD_WORKITEM_COMMENT_BYTES]) MD_NOEXCEPT;
/* What a canceled item must have and has not yet: date, reason; `request` (NULL allowed) is the
 * action information of a request to cancel, whose reasons are taken over. */
md_status md_workitem_fill_canceled(md_dataset *item, const md_dataset *request, int64_t now_ms,
                                    md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* What a completed item must have and has not yet: that it was read at this station, now. */
md_status md_workitem_fill_completed(md_dataset *item, const char *station, int64_t now_ms,
                                     md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Whether the item matches all keys of an identifier: single value, list of UIDs, wildcards,
 * ranges of dates and times, sequences (C.2.2.2). Keys that are empty match all; so does a key
 * for the Transaction UID. */
bool md_workitem_matches(const md_dataset *item, const md_dataset *keys) MD_NOEXCEPT;
/* The answer to a C-FIND: of each key its value or nothing, and the SOP class and instance. */
md_status md_workitem_answer(const md_dataset *item, const md_dataset *keys,
                             md_dataset **ret_answer, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The answer to an N-GET for these tags (none: all). *ret_all false: some are not there. */
md_status md_workitem_select(const md_dataset *item, const uint32_t *tags, size_t n_tags,
                             md_dataset **ret_answer, bool *ret_all, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* The information of an event report, MD_UPS_EVENT_STATE .. ASSIGNED. For CANCEL_REQUESTED
 * `request` is the action information and requester its AE title; else NULL. */
md_status md_workitem_event(const md_dataset *item, unsigned event, const md_dataset *request,
                            const char *requester, md_dataset **ret_report, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
