#ifndef MEDAID_DAEMON_NOTIFIER_NOTICE_H
#define MEDAID_DAEMON_NOTIFIER_NOTICE_H

/* What a notifier tells of an analysed study, and the three forms in which it goes out: an HL7
 * v2 message, a JSON document, a mail. The text is made when the analysis ends and kept as it
 * is until it was delivered, so that each attempt says the same. Pure; any thread.
 *
 * Patient data are in a notice only as far as the notifier's configuration allows: whoever
 * fills it leaves the other members empty, and the forms write what is there. */

#include "daemon/store/store.h"

enum {
    MD_NOTICE_MAX_BYTES = 256 * 1024,      /* of one text */
    MD_NOTICE_TEXT_BYTES = 3 * 64 * 4 + 3, /* PN: three groups of 64 characters */
};

typedef enum md_notice_priority {
    MD_NOTICE_ROUTINE,
    MD_NOTICE_URGENT
} md_notice_priority;

typedef struct md_notice {
    const char *study_key; /* a keyed hash: no patient data */
    int generation;
    md_notice_priority priority;
    const char *failed; /* NULL: analysed; else why there is no result */
    int64_t received_ms, analysed_ms;
    const md_store_finding *findings; /* sop_instance_uid is not told */
    size_t n_findings;
    size_t n_left_out; /* the least important ones, when there is no room for all */
    /* "" unless allowed */
    char patient_id[MD_NOTICE_TEXT_BYTES], patient_name[MD_NOTICE_TEXT_BYTES], birth_date[9],
        sex[17];
    char accession_number[65], study_instance_uid[MD_STORE_UID_BYTES];
    /* Whether a rule names the notifier, so that it tells whatever its own occasion is; NULL:
     * no rule does. */
    bool (*is_named)(const void *context, const char *notifier);
    const void *context;
} md_notice;

/* The ends of an HL7 conversation, MSH-3 to MSH-6. */
typedef struct md_hl7_ends {
    const char *sending_application, *sending_facility;
    const char *receiving_application, *receiving_facility;
} md_hl7_ends;

/* ORU^R01 of HL7 2.5.1 in UTF-8: MSH, PID, ORC, OBR, TQ1 and OBX: one CWE for each finding (its
 * presence, CID 240), one NM for its score (122157, DCM, "Probability", or without calibration
 * 111012 "Certainty of Finding") with the threshold as reference range, one ST for the model.
 * Results are preliminary (OBX-11 P, OBR-25 P): no person has read them. PID-3 is the patient
 * ID, or without one the study's key as an anonymous identifier (table 0203, ANON). A failure
 * has no finding: OBX-11 X and the reason. `control_id` is MSH-10. Caller frees with md_free.
 * MD_NOMEM, MD_LIMIT. Segments end with carriage return (HL7 2.5.1, 2.6). */
md_status md_notice_hl7(const md_notice *notice, const md_hl7_ends *ends,
                        const char *control_id, char **ret_text, md_error *err) MD_NODISCARD;

/* One JSON object, docs/notifications.md. Caller frees with md_free. MD_NOMEM. */
md_status md_notice_json(const md_notice *notice, char **ret_text, md_error *err) MD_NODISCARD;

/* A mail, RFC 5322, plain text in UTF-8: headers and body. `from` and `to` were checked by the
 * configuration. Caller frees with md_free. MD_NOMEM. */
md_status md_notice_mail(const md_notice *notice, const char *from, const char *to,
                         char **ret_text, md_error *err) MD_NODISCARD;

#endif
