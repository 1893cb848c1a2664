#include "daemon/follow_up/model.h"

#include "inference/recommend/recommend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_BUCKETS = 2 * MD_FOLLOW_UP_MAX_NAMES,
    NO_COLUMN = -1
};

typedef struct name {
    char text[MD_FEATURE_NAME_BYTES];
    uint32_t n_patients;
    int32_t column; /* of the matrix; NO_COLUMN */
} name;

typedef struct patient {
    char key[MD_FOLLOW_UP_PATIENT_BYTES];
    uint32_t first_feature, n_features, first_rating, n_ratings;
} patient;

/* A feature of a patient, or a rating: what it is of, and the value. */
typedef struct entry {
    uint32_t of;
    float value;
} entry;

typedef struct entries {
    entry *items;
    uint32_t n, n_room;
} entries;

struct md_follow_up_model {
    md_conf_action *actions;
    uint32_t n_actions, n_show;
    double min_score;
    md_recommend_options options;
    patient *patients;
    uint32_t n_patients, n_room;
    entries features, ratings; /* freed when the matrix is made */
    name *names;
    uint32_t n_names;
    uint32_t *buckets; /* of names: index + 1; 0: free */
    uint64_t n_ratings;
    uint32_t n_columns;
    uint32_t column_name[MD_FOLLOW_UP_MAX_FEATURES]; /* of each column */
    md_ratings *matrix;
    md_recommender *recommender;
    md_recommendation *found; /* [n_actions] */
};

md_status md_follow_up_model_create(const md_conf *conf, md_follow_up_model **ret_model,
                                    md_error *err)
{
    MD_AUTO(md_follow_up_model_destroyp) md_follow_up_model *m = md_calloc(1, sizeof *m);
    if (m == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the record of decisions");
    }
    m->n_actions = conf->follow_up.n_actions;
    m->n_show = conf->follow_up.n_show;
    m->min_score = conf->follow_up.min_score;
    m->actions = md_calloc(m->n_actions + 1, sizeof *m->actions);
    m->found = md_calloc(m->n_actions + 1, sizeof *m->found);
    m->names = md_calloc(MD_FOLLOW_UP_MAX_NAMES, sizeof *m->names);
    m->buckets = md_calloc(N_BUCKETS, sizeof *m->buckets);
    if (m->actions == NULL || m->found == NULL || m->names == NULL || m->buckets == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the record of decisions");
    }
    if (m->n_actions > 0) {
        memcpy(m->actions, conf->follow_up.actions, m->n_actions * sizeof *m->actions);
    }
    const md_ratings_options shape = {.low = 0.0F, .high = 1.0F};
    m->options = md_recommend_defaults(&shape);
    m->options.n_neighbours = conf->follow_up.n_neighbours;
    m->options.min_support = conf->follow_up.min_support;
    m->options.shrinkage = conf->follow_up.shrinkage;
    *ret_model = MD_STEAL(m);
    return MD_OK;
}

void md_follow_up_model_destroy(md_follow_up_model *m)
{
    if (m == NULL) {
        return;
    }
    md_recommender_destroy(m->recommender);
    md_ratings_destroy(m->matrix);
    md_free(m->actions);
    md_free(m->found);
    md_free(m->patients);
    md_free(m->features.items);
    md_free(m->ratings.items);
    md_free(m->names);
    md_free(m->buckets);
    md_free(m);
}

/* ---- names of features ---- */

/* FNV-1a, RFC 9923 */
static uint32_t hash_of(const char *text, size_t length)
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)text[i]) * 16777619U;
    }
    return hash;
}

/* The bucket that holds the name, or the free one where it would go. */
static uint32_t *bucket_of(const md_follow_up_model *m, const char *text, size_t length)
{
    uint32_t at = hash_of(text, length) % N_BUCKETS;
    while (m->buckets[at] != 0) {
        const char *known = m->names[m->buckets[at] - 1].text;
        if (strncmp(known, text, length) == 0 && known[length] == '\0') {
            break;
        }
        at = (at + 1) % N_BUCKETS;
    }
    return &m->buckets[at];
}

/* ---- building ---- */

static md_status append(entries *list, uint32_t of, float value, md_error *err)
{
    if (list->n == list->n_room) {
        size_t size_bytes = 0;
        uint32_t n_room = list->n_room < 1024 ? 1024 : list->n_room + list->n_room / 2;
        entry *grown = n_room > list->n_room && md_mul(n_room, sizeof *grown, &size_bytes)
                           ? md_realloc(list->items, size_bytes)
                           : NULL;
        if (grown == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %u decisions", list->n);
        }
        list->items = grown;
        list->n_room = n_room;
    }
    list->items[list->n++] = (entry){of, value};
    return MD_OK;
}

typedef struct reading {
    md_follow_up_model *model;
    md_status status;
    md_error *err;
} reading;

static void add_feature(void *context, const char *text, size_t length, float weight)
{
    reading *r = context;
    md_follow_up_model *m = r->model;
    uint32_t *bucket = bucket_of(m, text, length);
    if (*bucket == 0 && m->n_names < MD_FOLLOW_UP_MAX_NAMES) {
        name *fresh = &m->names[m->n_names++];
        memcpy(fresh->text, text, length);
        *bucket = m->n_names;
    }
    if (*bucket != 0 && r->status == MD_OK) {
        m->names[*bucket - 1].n_patients++;
        r->status = append(&m->features, *bucket - 1, weight, r->err);
    }
}

static md_status begin_patient(md_follow_up_model *m, const md_follow_up_row *row,
                               md_error *err)
{
    if (m->n_patients == m->n_room) {
        size_t size_bytes = 0;
        uint32_t n_room = m->n_room == 0 ? 1024 : m->n_room + m->n_room / 2;
        patient *grown = md_mul(n_room, sizeof *grown, &size_bytes)
                             ? md_realloc(m->patients, size_bytes)
                             : NULL;
        if (grown == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %u patients", n_room);
        }
        m->patients = grown;
        m->n_room = n_room;
    }
    patient *p = &m->patients[m->n_patients];
    *p = (patient){.first_feature = m->features.n, .first_rating = m->ratings.n};
    snprintf(p->key, sizeof p->key, "%s", row->patient);
    reading r = {m, MD_OK, err};
    md_features_read(row->features, add_feature, &r);
    MD_TRY(r.status);
    p->n_features = m->features.n - p->first_feature;
    m->n_patients++;
    return MD_OK;
}

static uint32_t index_of_action(const md_follow_up_model *m, const char *key)
{
    uint32_t i = 0;
    while (i < m->n_actions && strcmp(m->actions[i].key, key) != 0) {
        i++;
    }
    return i;
}

md_status md_follow_up_model_add(md_follow_up_model *m, const md_follow_up_row *row,
                                 md_error *err)
{
    uint32_t action = index_of_action(m, row->action);
    if (action == m->n_actions || !(row->value >= 0.0 && row->value <= 1.0)) {
        return MD_OK;
    }
    const patient *last = m->n_patients > 0 ? &m->patients[m->n_patients - 1] : NULL;
    int order = last == NULL ? -1 : strcmp(last->key, row->patient);
    if (order > 0) {
        return md_fail(err, MD_INVALID_ARG, "decisions out of order");
    }
    if (order < 0) {
        if (m->n_patients == MD_FOLLOW_UP_MAX_PATIENTS) {
            return MD_OK;
        }
        MD_TRY(begin_patient(m, row, err));
    }
    patient *p = &m->patients[m->n_patients - 1];
    entry *before = p->n_ratings > 0 ? &m->ratings.items[m->ratings.n - 1] : NULL;
    if (before != NULL && before->of == action) {
        before->value = (float)row->value;
        return MD_OK;
    }
    MD_TRY(append(&m->ratings, action, (float)row->value, err));
    p->n_ratings++;
    return MD_OK;
}

/* Give the features that most patients have a column each. */
static void choose_columns(md_follow_up_model *m)
{
    for (uint32_t i = 0; i < m->n_names; i++) {
        m->names[i].column = NO_COLUMN;
    }
    while (m->n_columns < MD_FOLLOW_UP_MAX_FEATURES) {
        name *most = NULL;
        for (uint32_t i = 0; i < m->n_names; i++) {
            name *one = &m->names[i];
            bool is_more =
                most == NULL || one->n_patients > most->n_patients ||
                (one->n_patients == most->n_patients && strcmp(one->text, most->text) < 0);
            most = one->column == NO_COLUMN && is_more ? one : most;
        }
        if (most == NULL) {
            return;
        }
        m->column_name[m->n_columns] = (uint32_t)(most - m->names);
        most->column = (int32_t)m->n_columns++;
    }
}

static md_status add_user(md_follow_up_model *m, const patient *p, md_error *err)
{
    float row[MD_FOLLOW_UP_MAX_FEATURES] = {0};
    for (uint32_t i = 0; i < p->n_features; i++) {
        const entry *e = &m->features.items[p->first_feature + i];
        if (m->names[e->of].column != NO_COLUMN) {
            row[m->names[e->of].column] = e->value;
        }
    }
    uint32_t user = 0;
    MD_TRY(md_ratings_add_user(m->matrix, row, &user, err));
    for (uint32_t i = 0; i < p->n_ratings; i++) {
        const entry *e = &m->ratings.items[p->first_rating + i];
        MD_TRY(md_ratings_set(m->matrix, user, e->of, e->value, err));
    }
    return MD_OK;
}

md_status md_follow_up_model_finish(md_follow_up_model *m, md_error *err)
{
    m->n_ratings = m->ratings.n;
    if (m->n_actions == 0) {
        return MD_OK;
    }
    choose_columns(m);
    const md_ratings_options shape = {
        .n_items = m->n_actions, .low = 0.0F, .high = 1.0F, .n_features = m->n_columns};
    MD_TRY(md_ratings_create(&shape, &m->matrix, err));
    for (uint32_t i = 0; i < m->n_patients; i++) {
        MD_TRY(add_user(m, &m->patients[i], err));
    }
    MD_TRY(md_recommender_create(m->matrix, &m->options, &m->recommender, err));
    md_free(m->features.items);
    md_free(m->ratings.items);
    m->features = m->ratings = (entries){0};
    return MD_OK;
}

/* ---- questions ---- */

static int compare_patient(const void *key, const void *element)
{
    return strcmp(key, ((const patient *)element)->key);
}

/* The words of a reason: it is one that this patient has too. */
static const char *meaning_of(const md_follow_up_model *m, const md_features *features,
                              uint32_t column)
{
    const char *text = m->names[m->column_name[column]].text;
    for (uint32_t i = 0; i < features->n; i++) {
        const md_feature *f = &features->items[i];
        if (strcmp(f->name, text) == 0) {
            return f->meaning[0] != '\0' ? f->meaning : f->name;
        }
    }
    return text;
}

static void tell(const md_follow_up_model *m, const md_recommendation *found,
                 const md_features *features, md_follow_up_proposal *p)
{
    static const md_follow_up_basis bases[] = {[MD_BASIS_COLLABORATIVE] = MD_FOLLOW_UP_RATINGS,
                                               [MD_BASIS_CONTENT] = MD_FOLLOW_UP_FINDINGS,
                                               [MD_BASIS_HYBRID] = MD_FOLLOW_UP_BOTH};
    const md_conf_action *action = &m->actions[found->item];
    *p = (md_follow_up_proposal){.score = found->score,
                                 .n_similar = found->n_similar,
                                 .n_accepted = found->n_accepted,
                                 .basis = bases[found->basis]};
    snprintf(p->key, sizeof p->key, "%s", action->key);
    snprintf(p->action.value, sizeof p->action.value, "%s", action->code);
    snprintf(p->action.scheme, sizeof p->action.scheme, "%s", action->scheme);
    snprintf(p->action.meaning, sizeof p->action.meaning, "%s", action->meaning);
    for (uint32_t i = 0; i < found->n_reasons && i < MD_FOLLOW_UP_MAX_REASONS; i++) {
        snprintf(p->reasons[p->n_reasons++], MD_CODE_MEANING_BYTES, "%s",
                 meaning_of(m, features, found->reason[i]));
    }
}

/* Why there is no proposal. */
static void explain_none(const md_follow_up_model *m, bool is_known, bool has_features,
                         md_follow_up *f)
{
    if (m->n_patients == 0) {
        snprintf(f->why_none, sizeof f->why_none, "no decision is on record yet");
    } else if (!is_known && !has_features) {
        snprintf(f->why_none, sizeof f->why_none,
                 "nothing is known of this patient by which others could be similar");
    } else if (f->n_abstained == f->n_actions) {
        snprintf(f->why_none, sizeof f->why_none,
                 "fewer than %u similar patients have a decision on any action",
                 f->min_support);
    } else {
        snprintf(f->why_none, sizeof f->why_none,
                 "for similar patients no action was rather accepted than declined");
    }
}

md_status md_follow_up_model_ask(md_follow_up_model *m, const char *patient_key,
                                 const md_features *features, md_follow_up *ret_follow_up,
                                 md_error *err)
{
    float row[MD_FOLLOW_UP_MAX_FEATURES] = {0};
    md_follow_up f = {.there = true,
                      .n_actions = m->n_actions,
                      .n_patients = m->n_patients,
                      .min_support = m->options.min_support};
    bool has_features = false;
    for (uint32_t i = 0; i < features->n; i++) {
        const char *text = features->items[i].name;
        uint32_t bucket = *bucket_of(m, text, strlen(text));
        int32_t column = bucket == 0 ? NO_COLUMN : m->names[bucket - 1].column;
        if (column != NO_COLUMN) {
            row[column] = features->items[i].weight;
            has_features = true;
        }
    }
    const patient *known = m->n_patients == 0 ? NULL
                                              : bsearch(patient_key, m->patients, m->n_patients,
                                                        sizeof *m->patients, compare_patient);
    if (m->recommender != NULL) {
        const md_recommend_for guest = {
            .features = row,
            .is_user = known != NULL,
            .user = known == NULL ? 0 : (uint32_t)(known - m->patients)};
        MD_TRY(md_recommend_guest(m->recommender, &guest, m->found, err));
    }
    for (uint32_t i = 0; m->recommender != NULL && i < m->n_actions; i++) {
        if (m->found[i].basis == MD_BASIS_NONE) {
            f.n_abstained++;
        } else if (m->found[i].score < m->min_score) {
            f.n_below++;
        } else if (f.n_proposals < m->n_show && f.n_proposals < MD_FOLLOW_UP_MAX_PROPOSALS) {
            tell(m, &m->found[i], features, &f.proposals[f.n_proposals++]);
        }
    }
    if (f.n_proposals == 0) {
        explain_none(m, known != NULL, has_features, &f);
    }
    *ret_follow_up = f;
    return MD_OK;
}

md_follow_up_size md_follow_up_model_size(const md_follow_up_model *m)
{
    size_t own = m->n_room * sizeof *m->patients + N_BUCKETS * sizeof *m->buckets +
                 MD_FOLLOW_UP_MAX_NAMES * sizeof *m->names;
    return (md_follow_up_size){.n_patients = m->n_patients,
                               .n_features = m->n_columns,
                               .n_ratings = m->n_ratings,
                               .bytes =
                                   own + (m->matrix != NULL ? md_ratings_bytes(m->matrix) : 0)};
}
