#ifndef MEDAID_CONF_CONF_H
#define MEDAID_CONF_CONF_H

/* The configuration of medaid: conf/medaid.yaml read strictly into one struct. An unknown key,
 * a wrong type, a value out of range or a key twice is an error with file and line
 * ("medaid.yaml:12: ..."), and what would be allowed. Read-only after loading, then any thread.
 */

#include "base/memory.h"
#include "conf/required.h"
#include "conf/rules.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_CONF_MAX_PATHS = 16,
    MD_CONF_MAX_DESTINATIONS = 32,
    MD_CONF_MAX_CALLERS = 256,
    MD_CONF_MAX_NOTIFIERS = 8,
    MD_CONF_MAX_WEB_USERS = 64,
    MD_CONF_MAX_TITLES = 16,
    MD_CONF_MAX_NAMES = 64, /* of models, in one list */
    MD_CONF_MAX_REQUIRED = 32,
    MD_CONF_TEXT_BYTES = 257,
    MD_CONF_MAX_SYNTAXES = 8,
    MD_CONF_UID_BYTES = 65,
    MD_CONF_PATH_BYTES = 1024,
    MD_CONF_MAX_UPS_SUBSCRIBERS = 8,
    MD_CONF_MAX_ACTIONS = 256,
    MD_CONF_MAX_PROPOSALS = 8,
};

typedef enum md_results_kind {
    MD_RESULTS_SR,
    MD_RESULTS_PICTURE,
    MD_RESULTS_BOTH,
    MD_RESULTS_NONE /* of a destination that gets originals alone */
} md_results_kind;

/* Whether and when a destination gets the received images. */
typedef enum md_conf_originals {
    MD_ORIGINALS_NO,
    MD_ORIGINALS_AFTER, /* with the results */
    MD_ORIGINALS_BEFORE /* as soon as the study is complete */
} md_conf_originals;

/* Whether a destination has to commit itself to keep what it got (PS3.4 annex J). */
typedef enum md_conf_commitment {
    MD_COMMITMENT_NONE,
    MD_COMMITMENT_REQUIRED
} md_conf_commitment;

/* In transfer_syntaxes: the one that the object is stored in. */
#define MD_CONF_SYNTAX_OWN "own"

/* Which of two copies of one instance is analysed. */
typedef enum md_conf_conflict {
    MD_CONF_CONFLICT_LAST,
    MD_CONF_CONFLICT_FIRST,
    MD_CONF_CONFLICT_REFUSE
} md_conf_conflict;

/* Whether medaid asks its clients for a certificate. */
typedef enum md_conf_verify {
    MD_CONF_VERIFY_REQUIRED,
    MD_CONF_VERIFY_OPTIONAL,
    MD_CONF_VERIFY_NONE
} md_conf_verify;

/* Where audit messages go. */
typedef enum md_conf_audit_to {
    MD_CONF_AUDIT_OFF,
    MD_CONF_AUDIT_LOCAL,
    MD_CONF_AUDIT_UDP,
    MD_CONF_AUDIT_TLS
} md_conf_audit_to;

/* What an audit message says of a patient and a study. */
typedef enum md_conf_identifiers {
    MD_CONF_IDENTIFIERS_HASHED, /* keyed hashes: the study's is its key in the log */
    MD_CONF_IDENTIFIERS_FULL    /* patient ID and Study Instance UID */
} md_conf_identifiers;

typedef struct md_conf_tls {
    char certificate[MD_CONF_TEXT_BYTES];
    char private_key[MD_CONF_TEXT_BYTES];
    char ca[MD_CONF_TEXT_BYTES]; /* "" only with verify: none */
    md_conf_verify verify;       /* ae.tls */
    unsigned line;
} md_conf_tls;

typedef struct md_conf_caller {
    char ae_title[17];
    char address[51]; /* "192.0.2.7", "192.0.2.0/24", "2001:db8::/32"; "": from anywhere */
} md_conf_caller;

typedef struct md_conf_destination {
    char name[65];
    char ae_title[17];
    char host[256];
    uint16_t port;
    unsigned timeout_s;
    md_results_kind results; /* what this destination gets */
    bool parametric_map;     /* and maps */
    md_conf_originals originals;
    /* UIDs or MD_CONF_SYNTAX_OWN, the best first; none: own, explicit and implicit VR little
     * endian */
    char transfer_syntaxes[MD_CONF_MAX_SYNTAXES][MD_CONF_UID_BYTES];
    unsigned n_transfer_syntaxes;
    unsigned retry_first_s, retry_max_s, retry_for_h;
    md_conf_commitment commitment;
    unsigned commitment_timeout_s;
    bool has_tls;
    md_conf_tls tls;
    unsigned line; /* where its entry begins in the file, for messages */
} md_conf_destination;

/* What a user of the web page may do: look; also say that a study was read and agree or not;
 * also retry. */
typedef enum md_conf_role {
    MD_CONF_ROLE_VIEWER,
    MD_CONF_ROLE_READER,
    MD_CONF_ROLE_ADMIN
} md_conf_role;

typedef struct md_conf_web_user {
    char name[65];
    char token_sha256[65]; /* of the token, 64 small hexadecimal digits */
    md_conf_role role;
    bool patient; /* sees patient data */
    unsigned line;
} md_conf_web_user;

typedef enum md_conf_notify_kind {
    MD_CONF_NOTIFY_WEBHOOK,
    MD_CONF_NOTIFY_HL7,
    MD_CONF_NOTIFY_MAIL
} md_conf_notify_kind;

/* Of which studies a notifier tells. */
typedef enum md_conf_notify_on {
    MD_CONF_NOTIFY_URGENT,
    MD_CONF_NOTIFY_FINDINGS,
    MD_CONF_NOTIFY_EVERY
} md_conf_notify_on;

/* The patient data that may leave by it. */
typedef enum md_conf_patient {
    MD_CONF_PATIENT_NONE,
    MD_CONF_PATIENT_IDENTIFIERS, /* Patient ID, Accession Number, Study Instance UID */
    MD_CONF_PATIENT_FULL         /* and name, birth date, sex */
} md_conf_patient;

typedef struct md_conf_notifier {
    char name[65];
    md_conf_notify_kind kind;
    md_conf_notify_on on;
    md_conf_patient patient;
    char url[MD_CONF_TEXT_BYTES], secret_file[MD_CONF_TEXT_BYTES]; /* webhook */
    char host[256];                                                /* hl7 */
    uint16_t port;
    bool use_tls;
    char ca[MD_CONF_TEXT_BYTES];
    char facility[65], receiver[65], receiver_facility[65];
    char to[129], from[129], sendmail[MD_CONF_TEXT_BYTES]; /* mail */
    unsigned timeout_s;
    unsigned line;
} md_conf_notifier;

/* Another AE of the UPS service. */
typedef struct md_conf_ups_peer {
    char ae_title[17];
    char host[256];
    uint16_t port;
    unsigned timeout_s;
    bool has_tls;
    md_conf_tls tls;
    unsigned line;
} md_conf_ups_peer;

/* Steps of priority, PS3.3 C.30.2 (0074,1200); the numbers are those of the store. A step is
 * worth so much waiting: see study.overtake_s. */
typedef enum md_conf_priority {
    MD_CONF_PRIORITY_LOW = -10,
    MD_CONF_PRIORITY_MEDIUM = 0,
    MD_CONF_PRIORITY_HIGH = 10
} md_conf_priority;

/* What becomes of a study when the deadline comes before all that is required. */
typedef enum md_conf_missing {
    MD_CONF_MISSING_ANALYSE, /* as a partial one */
    MD_CONF_MISSING_FAIL
} md_conf_missing;

typedef char md_conf_name[65];

/* How similar cases are searched. */
typedef enum md_conf_index {
    MD_CONF_INDEX_AUTO,  /* all are compared while there are fewer than 100,000 */
    MD_CONF_INDEX_EXACT, /* all are compared */
    MD_CONF_INDEX_GRAPH  /* by a graph of near neighbours */
} md_conf_index;

/* What is done with a study that is sent to one of medaid's AE titles. Without its has_ flag a
 * member does not count, and what holds for all titles does. */
typedef struct md_conf_title {
    char title[17];
    unsigned line;
    md_conf_caller *allowed_callers; /* owned; none: ae.allowed_callers */
    unsigned n_allowed_callers;
    bool analyse;                        /* false: store and forward */
    bool has_models, has_destinations;   /* false: all */
    md_conf_name *models, *destinations; /* owned */
    unsigned n_models, n_destinations;
    md_conf_priority priority;
    bool has_quiet, has_deadline, has_required, has_required_missing;
    unsigned quiet_ms, deadline_s;
    md_required *required; /* owned */
    unsigned n_required;
    md_conf_missing required_missing;
} md_conf_title;

/* One thing that may be proposed to do next. */
typedef struct md_conf_action {
    char key[65];
    char code[65], scheme[17], meaning[65];
    unsigned line;
} md_conf_action;

typedef struct md_conf {
    char path[MD_CONF_PATH_BYTES]; /* the file it was read from; "": the defaults */
    struct {
        char title[17];
        char bind[65];
        uint16_t port;
        unsigned port_line; /* 0: not in the file; so with the other lines */
        unsigned max_associations;
        unsigned timeout_s;
        unsigned max_pdu_bytes;
        unsigned max_object_mib;
        bool check_called_ae;
        md_conf_caller allowed_callers[MD_CONF_MAX_CALLERS];
        unsigned n_allowed_callers; /* 0: anyone may call */
        md_conf_title *titles;      /* owned */
        unsigned n_titles;
        bool has_tls;
        md_conf_tls tls;
    } ae;
    struct {
        unsigned quiet_ms;   /* a study is complete when nothing came for so long */
        unsigned deadline_s; /* or when it has been open for so long; 0: no limit */
        bool reopen_late;    /* a late instance has its finished study analysed again */
        md_conf_conflict conflict;
        md_required *required; /* owned; what must have come before the analysis */
        unsigned n_required;
        md_conf_missing required_missing;
        unsigned overtake_s; /* how long a study waits until the next higher priority no longer
                                overtakes it */
    } study;
    struct {
        char paths[MD_CONF_MAX_PATHS]
                  [MD_CONF_TEXT_BYTES]; /* folders that hold packages and plugins */
        unsigned n_paths;               /* 0: not configured, the folder that was installed with
                                           the program */
    } plugins;
    struct {
        char backend[17]; /* auto, onednn, openblas */
        unsigned n_threads;
    } engine;
    struct {
        unsigned count;
        unsigned study_timeout_s;
        unsigned memory_mib;
        unsigned recycle_after;
    } workers;
    struct {
        md_results_kind kind;
        bool parametric_map; /* with the others also a Parametric Map of each finding */
        bool triage_only;
        bool write_failures; /* also write an SR for a failed analysis */
        char institution[65];
        char station[17];
        char content_qualification[17];
    } results;
    struct {
        char path[MD_CONF_TEXT_BYTES];
        unsigned path_line;
        unsigned min_free_mib; /* below: objects are refused */
        unsigned keep_h;       /* studies that have ended */
        unsigned max_gib;      /* of all studies; 0: no quota */
    } storage;
    struct {
        char bind[65];
        uint16_t port; /* 0: no HTTP over TCP */
        unsigned line;
    } http;
    struct {
        char bind[65];
        uint16_t port; /* 0: no web page */
        bool has_tls;
        char certificate[MD_CONF_TEXT_BYTES], private_key[MD_CONF_TEXT_BYTES];
        md_conf_web_user users[MD_CONF_MAX_WEB_USERS];
        unsigned n_users;
        unsigned line;
    } web;
    struct {
        char level[9];
    } log;
    struct {
        md_conf_audit_to to;
        char socket[108]; /* what a socket's address holds */
        char host[256];
        uint16_t port; /* 0: 514 with UDP, 6514 with TLS */
        md_conf_identifiers identifiers;
        char source_id[65]; /* "": the AE title */
        char site[65];
        bool has_tls;
        md_conf_tls tls;
        unsigned line;
    } audit;
    struct {
        bool enabled;
        char worklist_label[65];
        char procedure_label[65];
        char retrieve_ae_title[17]; /* "": that of the first destination */
        unsigned keep_h;            /* items that have ended */
        unsigned max_responses;     /* of one C-FIND; 0: no limit */
        unsigned retry_for_h;       /* reports and the manager */
        md_conf_ups_peer subscribers[MD_CONF_MAX_UPS_SUBSCRIBERS];
        unsigned n_subscribers;
        bool has_manager;
        md_conf_ups_peer manager;
        unsigned line;
    } ups;
    struct {
        md_conf_action *actions; /* owned; none: nothing is proposed */
        unsigned n_actions;
        unsigned min_support, n_neighbours; /* as in inference/recommend */
        double shrinkage;
        double min_score; /* 0..1: below it an action is not proposed */
        unsigned n_show;  /* proposals of a study */
        bool in_report;   /* also in the SR */
        unsigned keep_days, refresh_s;
        unsigned line;
    } follow_up;
    struct {
        bool enabled;
        unsigned least_studies, history_days, refit_h;
    } eta;
    struct {
        bool enabled;       /* similar cases */
        unsigned n_nearest; /* shown of each study */
        md_conf_index index;
        unsigned max_cases; /* of one space */
        unsigned keep_d;    /* 0: as long as the study */
    } similar;
    char user[33]; /* whom the daemon becomes when root starts it; "": stays */
    char group[33];
    unsigned user_line;
    md_conf_destination destinations[MD_CONF_MAX_DESTINATIONS];
    unsigned n_destinations;
    md_conf_notifier notifiers[MD_CONF_MAX_NOTIFIERS];
    unsigned n_notifiers;
    md_rules_mode rules_mode;
    md_rule *rules; /* owned, in order */
    unsigned n_rules;
    struct md_conf_holders *holders; /* of the owned lists; NULL: there are none */
} md_conf;

struct md_schema_field;
/* The table behind the file (conf/schema.h): keys, types, ranges, defaults, help. */
const struct md_schema_field *md_conf_fields(void) MD_NOEXCEPT;

/* The defaults that hold without a file. */
void md_conf_defaults(md_conf *conf) MD_NOEXCEPT;
/* Defaults, then the file. MD_NOT_FOUND, MD_FORMAT (syntax, key, type, range), MD_LIMIT.
 * Relative paths in the file are taken from the file's folder. */
md_status md_conf_load(const char *path, md_conf *ret_conf, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* A copy of the struct shares its lists: count it as one more holder, if it may outlive the
 * other. Any thread. */
void md_conf_hold_lists(const md_conf *conf) MD_NOEXCEPT;
/* Give the lists up; they are freed with their last holder. A zeroed struct is fine. */
void md_conf_finish(md_conf *conf) MD_NOEXCEPT;

/* Add the attributes (sequence or 0, element) that a condition asks for to a list of n, each
 * once; NULL asks for none. Returns how many there are, of which n_max have room. */
unsigned md_conf_rule_tags(const md_rule_condition *condition, uint32_t (*ret_tags)[2],
                           unsigned n, unsigned n_max) MD_NOEXCEPT;

/* What is done with studies that were sent to this AE title; one that is not ours counts as
 * ae.title. Valid as long as `conf`. */
const md_conf_title *md_conf_title_of(const md_conf *conf, const char *called) MD_NOEXCEPT;
/* The same as a name: `called` if it is in ae.titles, else ae.title. */
const char *md_conf_own_title(const md_conf *conf, const char *called) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
