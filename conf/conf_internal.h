#ifndef MEDAID_CONF_CONF_INTERNAL_H
#define MEDAID_CONF_CONF_INTERNAL_H

/* What the files that make up the table of the configuration share. */

#include "conf/conf.h"
#include "conf/schema.h"

/* The keys of a certificate; `at` is the md_conf_tls within the struct. */
#define TLS_OWN_FIELDS(type_, at)                                                              \
    {.key = "certificate",                                                                     \
     .type = MD_SCHEMA_TEXT,                                                                   \
     MD_SCHEMA_AT(type_, at.certificate),                                                      \
     .required = true,                                                                         \
     .least = 1,                                                                               \
     .example = "tls/medaid.crt",                                                              \
     .help = "medaid's certificate in PEM form, then the intermediate ones, if any; relative " \
             "paths count from this file's folder."},                                          \
    {                                                                                          \
        .key = "private_key", .type = MD_SCHEMA_TEXT, MD_SCHEMA_AT(type_, at.private_key),     \
        .required = true, .least = 1, .example = "tls/medaid.key",                             \
        .help = "Its key in PEM form, without password; mode 0600."                            \
    }

/* The keys of `audit`, and what one of them alone cannot show. */
extern const md_schema_field md_conf_audit_fields[];
md_status md_conf_check_audit(const char *path, const md_conf *conf, md_error *err)
    MD_NODISCARD;

/* An entry of `destinations`, and what one of its keys alone cannot show. The check also turns
 * the words of transfer_syntaxes into UIDs. */
extern const md_schema_field md_conf_destination_item;
md_status md_conf_check_destinations(const char *path, md_conf *conf, md_error *err)
    MD_NODISCARD;

/* The keys of an entry of `notifiers`, and what one of them alone cannot show. */
extern const md_schema_field md_conf_notifier_fields[];
md_status md_conf_check_notifiers(const char *path, const md_conf *conf, md_error *err)
    MD_NODISCARD;
/* An entry of `ae.titles`, of `allowed_callers`, of lists of names; the keys of `study`;
 * the words of a priority. The check finds what one key alone cannot show. */
extern const md_schema_field md_conf_title_item, md_conf_caller_item, md_conf_name_item;
extern const md_schema_field md_conf_study_fields[];
md_status md_conf_check_titles(const char *path, const md_conf *conf, md_error *err)
    MD_NODISCARD;
bool md_conf_has_destination(const md_conf *conf, const char *name);

/* The keys of `follow_up`, and what one of them alone cannot show. */
extern const md_schema_field md_conf_follow_up_fields[];
md_status md_conf_check_follow_up(const char *path, const md_conf *conf, md_error *err)
    MD_NODISCARD;

/* The keys of `ups`, and what one of them alone cannot show. */
extern const md_schema_field md_conf_ups_fields[];
md_status md_conf_check_ups(const char *path, const md_conf *conf, md_error *err) MD_NODISCARD;
/* The keys of `similar`. */
extern const md_schema_field md_conf_similar_fields[];
/* The keys of `web`, and what one of them alone cannot show. */
extern const md_schema_field md_conf_web_fields[];
md_status md_conf_check_web(const char *path, const md_conf *conf, md_error *err) MD_NODISCARD;
const char *md_conf_check_address(const char *text);

/* An entry of `rules`, and what one key alone cannot show. The check
 * also fills in what is derived of each rule. */
extern const md_schema_field md_conf_rule_item;
md_status md_conf_check_rules(const char *path, md_conf *conf, md_error *err) MD_NODISCARD;

/* Each returns NULL or what is expected. */
const char *md_conf_check_host(const char *text);
const char *md_conf_check_ae_title(const char *text);
const char *md_conf_check_user(const char *text);

#endif
