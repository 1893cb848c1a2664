#ifndef MEDAID_CONF_RULES_H
#define MEDAID_CONF_RULES_H

/* The rules of the configuration as they stand in the file; plain data. docs/rules.md says what
 * they mean, daemon/rules/rules.h judges by them. */

#include "conf/schema.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_RULES_MAX = 64,
    MD_RULES_MAX_VALUES = 256, /* of one list of a condition */
    MD_RULES_VALUE_BYTES = 129,
    MD_RULES_MAX_TAGS = 24, /* different ones in all rules */
};

typedef enum md_rules_mode {
    MD_RULES_FIRST,
    MD_RULES_ALL
} md_rules_mode;

typedef char md_rule_value[MD_RULES_VALUE_BYTES];
typedef char md_rule_ae[17];

/* One finding. A text that is empty and a flag that is false do not count. */
typedef struct md_rule_finding {
    char model[65], key[65], code[65], scheme[17];
    bool has_presence, has_at_least, has_at_most;
    int presence; /* of md_store_presence */
    double at_least, at_most;
    unsigned line;
} md_rule_finding;

typedef struct md_rule_findings {
    md_rule_finding *any_of, *all_of, *none_of; /* owned */
    unsigned n_any_of, n_all_of, n_none_of;
} md_rule_findings;

/* All members that are there must hold. */
typedef struct md_rule_condition {
    char tag[81]; /* as in the file; then these two: */
    uint32_t sequence, element;
    bool has_eq, has_exists;
    md_rule_value eq;
    md_rule_value *in; /* owned */
    unsigned n_in;
    double range[2];
    unsigned n_range;
    bool exists;
    char regex[257];
    md_rule_ae *source_ae, *called_ae; /* owned */
    unsigned n_source_ae, n_called_ae;
    char time[12]; /* "22:00-06:00"; then in minutes of the day: */
    unsigned from_min, until_min;
    int weekday[7]; /* 0: Sunday */
    unsigned n_weekday;
    md_rule_finding *finding;            /* owned, or NULL */
    md_rule_findings *findings;          /* owned, or NULL */
    struct md_rule_condition *all, *any; /* owned */
    unsigned n_all, n_any;
    struct md_rule_condition *not_this; /* owned, or NULL */
    unsigned line;
} md_rule_condition;

typedef struct md_rule_destination {
    char name[65];
    bool has_results, has_originals;
    int results;   /* md_results_kind */
    int originals; /* md_conf_originals */
    unsigned line;
} md_rule_destination;

typedef struct md_rule {
    char name[65];
    md_rule_condition *when; /* owned; NULL: always */
    struct {
        bool has_models, has_priority, has_destinations;
        char (*models)[65]; /* owned */
        unsigned n_models;
        int priority;                      /* md_conf_priority */
        md_rule_destination *destinations; /* owned */
        unsigned n_destinations;
        char (*notify)[65]; /* owned */
        unsigned n_notify;
        bool ups;
        char ups_label[65];
    } then;
    bool needs_findings; /* `when` asks for one */
    unsigned line;
} md_rule;

#ifdef __cplusplus
}
#endif
#endif
