#include "plugins/host/accept.h"

#include "dicom/network/sop.h"
#include "dicom/report/result.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A code that stands for a word of (0018,0015) or (0018,5101). SRT is the older writing. */
typedef struct known_code {
    const char *scheme, *value, *word;
} known_code;

static const known_code regions[] = {
    {"SCT", "51185008", "CHEST"}, {"SRT", "T-D3000", "CHEST"}, {"SCT", "39607008", "CHEST"},
    {"SRT", "T-28000", "CHEST"},  {NULL, NULL, NULL},
};
static const known_code views[] = {
    {"SCT", "399348003", "AP"}, {"SRT", "R-10206", "AP"}, {"SCT", "272479007", "PA"},
    {"SRT", "R-10214", "PA"},   {"SRT", "R-40888", "PA"}, {NULL, NULL, NULL},
};

/* Only printable ASCII: what stands here is quoted in messages. */
static void clean(char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c > 0x7e) {
            *text = '?';
        }
    }
}

static void read_word(const md_dataset *dataset, uint32_t tag, char text[MD_ACCEPT_CS_BYTES])
{
    (void)md_dataset_get_text(dataset, tag, 0, text, MD_ACCEPT_CS_BYTES);
    clean(text);
}

static void name_code(const char *scheme, const char *value, const known_code *known,
                      char text[MD_ACCEPT_CS_BYTES])
{
    for (; known->scheme != NULL; known++) {
        if (strcmp(known->scheme, scheme) == 0 && strcmp(known->value, value) == 0) {
            snprintf(text, MD_ACCEPT_CS_BYTES, "%s", known->word);
            return;
        }
    }
    snprintf(text, MD_ACCEPT_CS_BYTES, "%.15s:%.16s", scheme, value);
    clean(text);
}

void md_accept_view_of(const char *scheme, const char *value, char ret_word[MD_ACCEPT_CS_BYTES])
{
    ret_word[0] = '\0';
    if (value[0] != '\0') {
        name_code(scheme, value, views, ret_word);
    }
}

void md_accept_body_part_of(const char *scheme, const char *value,
                            char ret_word[MD_ACCEPT_CS_BYTES])
{
    ret_word[0] = '\0';
    if (value[0] != '\0') {
        name_code(scheme, value, regions, ret_word);
    }
}

static void read_coded(const md_dataset *dataset, uint32_t tag, uint32_t sequence_tag,
                       const known_code *known, char text[MD_ACCEPT_CS_BYTES])
{
    read_word(dataset, tag, text);
    md_code code;
    if (text[0] == '\0' && md_dataset_get_code(dataset, sequence_tag, &code)) {
        name_code(code.scheme, code.value, known, text);
    }
}

/* Three digits and a unit; devices also write "4Y", which cannot be misread, and to take that
 * as "unknown" would let an adult pass. */
double md_accept_age_years(const char *text)
{
    size_t n_digits = strspn(text, "0123456789");
    if (n_digits < 1 || n_digits > 3 || strlen(text) != n_digits + 1) {
        return -1;
    }
    double count = 0;
    for (size_t i = 0; i < n_digits; i++) {
        count = count * 10 + (text[i] - '0');
    }
    switch (text[n_digits]) {
    case 'D':
        return count / 365.25;
    case 'W':
        return count * 7 / 365.25;
    case 'M':
        return count / 12;
    case 'Y':
        return count;
    default:
        return -1;
    }
}

/* Days since 0000-03-01 of the proleptic Gregorian calendar; negative when it is no date. The
 * year begins in March, so that the leap day comes last. "2020.01.31" is how ACR-NEMA wrote it
 * (PS3.5 6.2). */
static int64_t days_of(const char *text)
{
    static const int month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool dotted = strlen(text) == 10 && text[4] == '.' && text[7] == '.';
    if (!dotted && strlen(text) != 8) {
        return -1;
    }
    int digits[8];
    for (int i = 0; i < 8; i++) {
        char c = text[dotted ? i + (i > 3) + (i > 5) : i];
        if (c < '0' || c > '9') {
            return -1;
        }
        digits[i] = c - '0';
    }
    int64_t year = digits[0] * 1000 + digits[1] * 100 + digits[2] * 10 + digits[3];
    int month = digits[4] * 10 + digits[5];
    int day = digits[6] * 10 + digits[7];
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > month_days[month - 1]) {
        return -1;
    }
    year -= month <= 2;
    int64_t month_from_march = (month + 9) % 12;
    return 365 * year + year / 4 - year / 100 + year / 400 + (153 * month_from_march + 2) / 5 +
           day - 1;
}

double md_accept_years_between(const char *birth, const char *then)
{
    int64_t from = days_of(birth);
    int64_t to = days_of(then);
    return from < 0 || to < from ? -1 : (double)(to - from) / 365.25;
}

static double age_of(const md_dataset *dataset)
{
    static const uint32_t dates[] = {MD_TAG(0x0008, 0x0020), MD_TAG(0x0008, 0x0021),
                                     MD_TAG(0x0008, 0x0022), MD_TAG(0x0008, 0x0023)};
    char text[16];
    char birth[16];
    (void)md_dataset_get_text(dataset, MD_TAG(0x0010, 0x1010), 0, text, sizeof text);
    double age_years = md_accept_age_years(text);
    if (age_years >= 0 ||
        !md_dataset_get_text(dataset, MD_TAG(0x0010, 0x0030), 0, birth, sizeof birth)) {
        return age_years;
    }
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        if (md_dataset_get_text(dataset, dates[i], 0, text, sizeof text)) {
            return md_accept_years_between(birth, text);
        }
    }
    return -1;
}

void md_accept_facts_read(const md_dataset *dataset, md_accept_facts *ret_facts)
{
    memset(ret_facts, 0, sizeof *ret_facts);
    (void)md_dataset_get_text(dataset, MD_TAG(0x0008, 0x0016), 0, ret_facts->sop_class,
                              sizeof ret_facts->sop_class);
    clean(ret_facts->sop_class);
    read_word(dataset, MD_TAG(0x0008, 0x0060), ret_facts->modality);
    read_coded(dataset, MD_TAG(0x0018, 0x0015), MD_TAG(0x0008, 0x2218), regions,
               ret_facts->body_part);
    read_coded(dataset, MD_TAG(0x0018, 0x5101), MD_TAG(0x0054, 0x0220), views, ret_facts->view);
    read_word(dataset, MD_TAG(0x0020, 0x0062), ret_facts->laterality);
    if (ret_facts->laterality[0] == '\0') {
        read_word(dataset, MD_TAG(0x0020, 0x0060), ret_facts->laterality);
    }
    read_word(dataset, MD_TAG(0x0028, 0x0004), ret_facts->photometric);
    char intent[MD_ACCEPT_CS_BYTES];
    read_word(dataset, MD_TAG(0x0008, 0x0068), intent);
    ret_facts->for_processing = strcmp(intent, "FOR PROCESSING") == 0;
    ret_facts->age_years = age_of(dataset);
}

/* "A, B, C", cut with "..." when there is no room. */
static void join(const md_accept_list *list, char *text, size_t size_bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < list->n; i++) {
        int n =
            snprintf(text + used, size_bytes - used, "%s%s", i > 0 ? ", " : "", list->words[i]);
        if (n < 0 || (size_t)n + 4 >= size_bytes - used) {
            snprintf(text + used, size_bytes - used, "%s", "...");
            return;
        }
        used += (size_t)n;
    }
}

static bool contains(const md_accept_list *list, const char *word, bool any_case)
{
    for (unsigned i = 0; i < list->n; i++) {
        if (any_case ? strcasecmp(list->words[i], word) == 0
                     : strcmp(list->words[i], word) == 0) {
            return true;
        }
    }
    return false;
}

/* What may be quoted: defined terms of PS3.3 (C.7.3.1.1.1, C.7.6.3.1.2, C.8.11.5) and PS3.16
 * annex L that are common. Anything else may be free text, a name or a number. */
static const char quotable[] =
    " CR DX CT MR MG US XA RF NM PT OT IO PX SC SR SEG KO PR ES GM SM OP XC"
    " ABDOMEN ABDOMENPELVIS ANKLE ARM BRAIN BREAST CALCANEUS CAROTID CHEST CHESTABDOMEN"
    " CHESTABDPELVIS CHESTNECK CLAVICLE COCCYX CSPINE ELBOW EXTREMITY EYE FEMUR FINGER FOOT"
    " FOREARM HAND HEAD HEADNECK HEART HIP HUMERUS JAW KNEE LEG LIVER LSPINE LUNG NECK ORBIT"
    " PELVIS RIB SACRUM SCAPULA SHOULDER SKULL SPINE SSPINE STERNUM TSPINE TLSPINE LSSPINE "
    "THIGH"
    " THORAX TIBIA TOE WHOLEBODY WRIST"
    " AP PA LL RL RLD LLD RLO LLO LAO RAO LAT LATERAL"
    " MONOCHROME1 MONOCHROME2 PALETTE COLOR RGB YBR_FULL YBR_FULL_422 YBR_ICT YBR_RCT "
    "YBR_PARTIAL_420";

static bool is_quotable(const char *word)
{
    size_t n = strlen(word);
    if (strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789 ") != n) {
        return md_sop_storage_name(word) != NULL;
    }
    for (const char *at = strstr(quotable, word); at != NULL; at = strstr(at + 1, word)) {
        if (at > quotable && at[-1] == ' ' && (at[n] == ' ' || at[n] == '\0')) {
            return true;
        }
    }
    return false;
}

/* One attribute against its list. `accept_absent`: what an absent one gets. */
static bool check_word(const char *what, const md_accept_list *list, const char *word,
                       bool any_case, bool accept_absent, char *reason, size_t reason_bytes)
{
    if (list->n == 0 || contains(list, word, any_case) || (word[0] == '\0' && accept_absent)) {
        return true;
    }
    char allowed[128];
    join(list, allowed, sizeof allowed);
    if (word[0] == '\0') {
        snprintf(reason, reason_bytes, "%s is absent, expected %s%s", what,
                 list->n > 1 ? "one of " : "", allowed);
    } else {
        snprintf(reason, reason_bytes, "%s %s is not %s%s", what,
                 is_quotable(word) ? word : "(an unknown word)", list->n > 1 ? "one of " : "",
                 allowed);
    }
    return false;
}

bool md_accept_check(const md_accept *accept, bool display, const md_accept_facts *facts,
                     char *ret_reason, size_t reason_bytes)
{
    if (!check_word("modality", &accept->modality, facts->modality, false, false, ret_reason,
                    reason_bytes) ||
        !check_word("SOP class", &accept->sop_class, facts->sop_class, false, false, ret_reason,
                    reason_bytes) ||
        !check_word("body part", &accept->body_part, facts->body_part, true,
                    accept->when_body_part_absent != 0, ret_reason, reason_bytes) ||
        !check_word("view", &accept->view, facts->view, false, accept->when_view_absent != 0,
                    ret_reason, reason_bytes) ||
        !check_word("photometric interpretation", &accept->photometric, facts->photometric,
                    false, false, ret_reason, reason_bytes)) {
        return false;
    }
    if (display && facts->for_processing) {
        snprintf(ret_reason, reason_bytes,
                 "the image is FOR PROCESSING (0008,0068), it has no display values");
        return false;
    }
    if (facts->age_years >= 0 && (facts->age_years < accept->min_age_years ||
                                  facts->age_years > accept->max_age_years)) {
        snprintf(ret_reason, reason_bytes, "the patient's age is not in %g..%g years",
                 accept->min_age_years, accept->max_age_years);
        return false;
    }
    return true;
}

static void describe_list(const char *what, const md_accept_list *list, const char *absent,
                          char *text, size_t size_bytes)
{
    if (list->n == 0) {
        return;
    }
    char words[160];
    join(list, words, sizeof words);
    size_t used = strlen(text);
    snprintf(text + used, size_bytes - used, "%s%s %s%s", used > 0 ? "; " : "", what, words,
             absent);
}

void md_accept_describe(const md_accept *accept, char *ret_text, size_t size_bytes)
{
    ret_text[0] = '\0';
    describe_list("modality", &accept->modality, "", ret_text, size_bytes);
    describe_list("SOP class", &accept->sop_class, "", ret_text, size_bytes);
    describe_list("body part", &accept->body_part,
                  accept->when_body_part_absent ? " or absent" : "", ret_text, size_bytes);
    describe_list("view", &accept->view, accept->when_view_absent ? " or absent" : "", ret_text,
                  size_bytes);
    describe_list("photometric interpretation", &accept->photometric, "", ret_text, size_bytes);
    size_t used = strlen(ret_text);
    snprintf(ret_text + used, size_bytes - used, "%sage %g..%g years or unknown",
             used > 0 ? "; " : "", accept->min_age_years, accept->max_age_years);
}
