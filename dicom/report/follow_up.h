#ifndef MEDAID_DICOM_REPORT_FOLLOW_UP_H
#define MEDAID_DICOM_REPORT_FOLLOW_UP_H

/* What is proposed to do next for a study's patient, and why: actions of the site's own list
 * that readers accepted for similar patients. Plain data; daemon/follow_up makes it. It
 * proposes and never acts. Texts are those of the configuration and of models, none is of the
 * patient. */

#include "dicom/report/result.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_FOLLOW_UP_MAX_PROPOSALS = 8,
    MD_FOLLOW_UP_MAX_REASONS = 4,
    MD_FOLLOW_UP_WHY_BYTES = 161,
};

/* What a proposal stands on. */
typedef enum md_follow_up_basis {
    MD_FOLLOW_UP_RATINGS,  /* patients with like decisions */
    MD_FOLLOW_UP_FINDINGS, /* patients with like findings */
    MD_FOLLOW_UP_BOTH,
    MD_FOLLOW_UP_N_BASES
} md_follow_up_basis;

typedef struct md_follow_up_proposal {
    char key[MD_KEY_BYTES]; /* of the action, as the configuration calls it */
    md_code action;
    double score; /* 0 declined .. 1 accepted, as predicted; no probability */
    uint32_t n_similar,
        n_accepted; /* the similar patients behind it, and for how many accepted */
    md_follow_up_basis basis;
    /* What they have in common with this one, the strongest first: "Pneumonia". */
    char reasons[MD_FOLLOW_UP_MAX_REASONS][MD_CODE_MEANING_BYTES];
    uint32_t n_reasons;
} md_follow_up_proposal;

typedef struct md_follow_up {
    bool there; /* it was asked for and answered; else all below is zero */
    md_follow_up_proposal proposals[MD_FOLLOW_UP_MAX_PROPOSALS]; /* the best first */
    uint32_t n_proposals;
    uint32_t n_actions;   /* of the site's list */
    uint32_t n_abstained; /* actions with fewer similar patients than min_support */
    uint32_t n_below;     /* actions that would rather be declined */
    uint32_t n_patients;  /* with at least one decision on record */
    uint32_t min_support;
    char why_none[MD_FOLLOW_UP_WHY_BYTES]; /* when there is no proposal: the reason */
} md_follow_up;

/* One sentence for people: "Proposed follow-up: Chest CT. Accepted for 12 of 15 similar
 * patients, alike in Pneumonia. A proposal, not an order." Cut to fit. */
void md_follow_up_sentence(const md_follow_up_proposal *proposal, char *ret_text,
                           size_t size_bytes) MD_NOEXCEPT;

/* "ratings", "findings", "both". */
const char *md_follow_up_basis_name(md_follow_up_basis basis) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
