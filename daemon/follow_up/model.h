#ifndef MEDAID_DAEMON_FOLLOW_UP_MODEL_H
#define MEDAID_DAEMON_FOLLOW_UP_MODEL_H

/* The record of decisions, made ready to propose from: patients x actions for
 * inference/recommend, with the MD_FOLLOW_UP_MAX_FEATURES features that most patients have.
 * Built once, then only asked; it has one workspace, so that one thread at a time may ask. */

#include "conf/conf.h"
#include "daemon/follow_up/profile.h"

enum {
    MD_FOLLOW_UP_PATIENT_BYTES = 17, /* a hash of 16 hexadecimal digits */
    MD_FOLLOW_UP_MAX_FEATURES = 64,
    MD_FOLLOW_UP_MAX_NAMES = 65536, /* different features of all patients; more are left out */
    MD_FOLLOW_UP_MAX_PATIENTS = 1000000, /* those beyond are left out */
};

typedef struct md_follow_up_model md_follow_up_model;

/* One decision on record. */
typedef struct md_follow_up_row {
    const char *patient;  /* a hash */
    const char *action;   /* of an action that the configuration does not have: passed over */
    const char *features; /* of the patient, as md_features_write writes them */
    double value;         /* 0..1, all else is passed over */
} md_follow_up_row;

/* Begin with nothing on record. The configuration's actions and settings are copied. MD_NOMEM.
 * Caller destroys. */
md_status md_follow_up_model_create(const md_conf *conf, md_follow_up_model **ret_model,
                                    md_error *err) MD_NODISCARD;
void md_follow_up_model_destroy(md_follow_up_model *model);
MD_DEFINE_DESTROYP(md_follow_up_model, md_follow_up_model_destroy)

/* Add decisions, before the first question; those of one patient one after the other, patients
 * ascending by strcmp. Of a patient and an action the last counts. MD_INVALID_ARG: out of
 * order. MD_NOMEM. */
md_status md_follow_up_model_add(md_follow_up_model *model, const md_follow_up_row *row,
                                 md_error *err) MD_NODISCARD;
/* All is there. MD_NOMEM. */
md_status md_follow_up_model_finish(md_follow_up_model *model, md_error *err) MD_NODISCARD;

/* Propose for a patient of whom this was found now. Not an action that the model abstains from,
 * nor one below follow_up.min_score. MD_NOMEM; then *ret_follow_up is untouched. */
md_status md_follow_up_model_ask(md_follow_up_model *model, const char *patient,
                                 const md_features *features, md_follow_up *ret_follow_up,
                                 md_error *err) MD_NODISCARD;

typedef struct md_follow_up_size {
    uint32_t n_patients, n_features;
    uint64_t n_ratings;
    size_t bytes;
} md_follow_up_size;
md_follow_up_size md_follow_up_model_size(const md_follow_up_model *model);

#endif
