#ifndef MEDAID_PLUGINS_HOST_ACCEPT_H
#define MEDAID_PLUGINS_HOST_ACCEPT_H

/* Does a model look at this image? Decided from a few coded attributes, before anything is
 * decoded. Pure functions; any thread. */

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_ACCEPT_MAX_WORDS = 32,
    MD_ACCEPT_WORD_BYTES = 65,
    MD_ACCEPT_CS_BYTES = 33, /* CS has 16 characters; longer ones only serve to be refused */
};

/* "Any of"; an empty list accepts all. */
typedef struct md_accept_list {
    char words[MD_ACCEPT_MAX_WORDS][MD_ACCEPT_WORD_BYTES];
    unsigned n;
} md_accept_list;

typedef struct md_accept {
    md_accept_list modality;
    md_accept_list sop_class;
    md_accept_list body_part; /* compared without case */
    md_accept_list view;
    md_accept_list photometric;
    int when_body_part_absent; /* 0 refuse, 1 accept */
    int when_view_absent;
    double min_age_years, max_age_years;
} md_accept;

/* What an image says about itself, and a sender may have put anything there: reasons quote none
 * of it but well-known words. Texts hold printable ASCII only, hostile characters became
 * '?'; "" means absent. */
typedef struct md_accept_facts {
    char sop_class[MD_UID_BYTES];
    char modality[MD_ACCEPT_CS_BYTES];
    /* (0018,0015). When it is absent, Anatomic Region Sequence (0008,2218): chest (51185008,
     * SCT; T-D3000, SRT) and lung (39607008; T-28000) are CHEST; any other code stands here as
     * "SCHEME:VALUE", so that a coded knee is not taken for an absent body part. */
    char body_part[MD_ACCEPT_CS_BYTES];
    /* (0018,5101). When it is absent, View Code Sequence (0054,0220): antero-posterior
     * (399348003, SCT; R-10206, SRT) is AP, postero-anterior (272479007; R-10214, R-40888) is
     * PA; any other code as above. */
    char view[MD_ACCEPT_CS_BYTES];
    char laterality[MD_ACCEPT_CS_BYTES];  /* (0020,0062), else (0020,0060) */
    char photometric[MD_ACCEPT_CS_BYTES]; /* (0028,0004) */
    bool for_processing;                  /* (0008,0068) FOR PROCESSING */
    /* (0010,1010). When it is absent or no age, from Patient's Birth Date (0010,0030) to the
     * first of Study, Series, Acquisition and Content Date; negative when that is not there
     * either. */
    double age_years;
} md_accept_facts;

void md_accept_facts_read(const md_dataset *dataset, md_accept_facts *ret_facts) MD_NOEXCEPT;

/* The word of (0018,5101) or (0018,0015) that a code of View Code Sequence or Anatomic Region
 * Sequence stands for, as above; "" for no code. */
void md_accept_view_of(const char *scheme, const char *value, char ret_word[MD_ACCEPT_CS_BYTES])
    MD_NOEXCEPT;
void md_accept_body_part_of(const char *scheme, const char *value,
                            char ret_word[MD_ACCEPT_CS_BYTES]) MD_NOEXCEPT;

/* Years of an Age String "nnnD", "nnnW", "nnnM" or "nnnY" (PS3.5 6.2), also with one or two
 * digits, as devices write it; negative when it is none. */
double md_accept_age_years(const char *text) MD_NOEXCEPT;

/* Years from one date "YYYYMMDD" to another (PS3.5 6.2, DA) or in its older form "YYYY.MM.DD",
 * 365.25 days each; negative when one is no date or the birth comes later. */
double md_accept_years_between(const char *birth, const char *then) MD_NOEXCEPT;

/* True when the model looks at such an image; `display` when it wants display values, which an
 * image FOR PROCESSING (raw detector data, PS3.3 C.8.11.1) does not have. Otherwise the reason:
 * one short line such as "body part KNEE is not one of CHEST, THORAX", without a value that
 * tells of the patient (an age is not quoted). */
bool md_accept_check(const md_accept *accept, bool display, const md_accept_facts *facts,
                     char *ret_reason, size_t reason_bytes) MD_NOEXCEPT MD_NODISCARD;

/* "modality CR or DX; body part CHEST or THORAX; ...", for --list-models. */
void md_accept_describe(const md_accept *accept, char *ret_text, size_t size_bytes) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
