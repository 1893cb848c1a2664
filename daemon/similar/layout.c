#include "daemon/similar/layout.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double image_weight = 8.0, text_weight = 4.0, age_weight = 1.0, sex_weight = 1.0;
static const double half_pi = 1.57079632679489661923;

static void name_space(const md_model_embeds *image, const md_model_embeds *text, char *ret_id)
{
    char what[512];
    uint8_t digest[MD_SHA256_BYTES];
    char hex[MD_SHA256_HEX_BYTES];
    const md_model_identity *a = &image->model, *b = text != NULL ? &text->model : NULL;
    int length = snprintf(what, sizeof what, "layout %d|image %s %s %s %u|text %s %s %s %u",
                          MD_LAYOUT_VERSION, a->id, a->version, a->sha256, image->embeds.n,
                          b != NULL ? b->id : "", b != NULL ? b->version : "",
                          b != NULL ? b->sha256 : "", text != NULL ? text->embeds.n : 0);
    md_sha256((const uint8_t *)what, (size_t)length, digest);
    md_hex(digest, sizeof digest, hex);
    memcpy(ret_id, hex, MD_STORE_SPACE_BYTES - 1);
    ret_id[MD_STORE_SPACE_BYTES - 1] = '\0';
}

static const md_model_embeds *first_text(const md_model_embeds *models, size_t n_models)
{
    for (size_t i = 0; i < n_models; i++) {
        if (models[i].embeds.kind == MD_EMBEDS_TEXT) {
            return &models[i];
        }
    }
    return NULL;
}

void md_spaces_of(const md_model_embeds *models, size_t n_models, size_t n_max,
                  md_space *ret_spaces, size_t *ret_n)
{
    const md_model_embeds *text = first_text(models, n_models);
    size_t n = 0;
    for (size_t i = 0; i < n_models && n < n_max; i++) {
        if (models[i].embeds.kind != MD_EMBEDS_IMAGE) {
            continue;
        }
        const uint32_t n_image = models[i].embeds.n;
        const bool fits =
            text != NULL && n_image + text->embeds.n + MD_LAYOUT_PATIENT <= MD_STORE_MAX_VECTOR;
        const uint32_t n_text = fits ? text->embeds.n : 0;
        md_space *space = &ret_spaces[n++];
        *space = (md_space){
            .n_image = n_image, .n_text = n_text, .n = n_image + n_text + MD_LAYOUT_PATIENT};
        memcpy(space->image_model, models[i].model.id, MD_KEY_BYTES);
        if (fits) {
            memcpy(space->text_model, text->model.id, MD_KEY_BYTES);
        }
        name_space(&models[i], fits ? text : NULL, space->id);
    }
    *ret_n = n;
}

static bool read_date(const char *text, int *ret_year, int *ret_days)
{
    if (strlen(text) != 8 || strspn(text, "0123456789") != 8) {
        return false;
    }
    const long number = strtol(text, NULL, 10);
    const int month = (int)(number / 100 % 100), day = (int)(number % 100);
    *ret_year = (int)(number / 10000);
    *ret_days = 31 * (month - 1) + day - 1;
    return month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

double md_layout_age(const char *birth_date, const char *study_date)
{
    int born = 0, born_days = 0, taken = 0, taken_days = 0;
    if (!read_date(birth_date, &born, &born_days) ||
        !read_date(study_date, &taken, &taken_days)) {
        return -1.0;
    }
    const double age = taken - born + (taken_days - born_days) / 372.0;
    return age >= 0.0 && age <= MD_LAYOUT_MAX_AGE ? age : -1.0;
}

static const md_embedding *embedding_of(const md_analysis *analysis, const char *model_id,
                                        uint32_t n)
{
    for (size_t i = 0; i < analysis->n_embeddings; i++) {
        const md_embedding *one = &analysis->embeddings[i];
        if (strcmp(one->model_id, model_id) == 0 && one->n == n) {
            return one;
        }
    }
    return NULL;
}

/* Embeddings have length 1. */
static void put_block(const md_embedding *one, double weight, float *ret_values)
{
    for (uint32_t i = 0; i < one->n; i++) {
        ret_values[i] = (float)(sqrt(weight) * (double)one->values[i]);
    }
}

bool md_layout_fill(const md_space *space, const md_analysis *analysis,
                    md_store_vector *ret_vector)
{
    static const char sexes[] = "FMO";
    md_store_vector *v = ret_vector;
    const md_embedding *image = embedding_of(analysis, space->image_model, space->n_image);
    if (image == NULL) {
        return false;
    }
    memset(v, 0, sizeof *v);
    memcpy(v->space, space->id, sizeof v->space);
    snprintf(v->model_id, sizeof v->model_id, "%s", space->image_model);
    v->n = space->n;
    put_block(image, image_weight, v->values);
    const md_embedding *text =
        space->n_text > 0 ? embedding_of(analysis, space->text_model, space->n_text) : NULL;
    if (text != NULL) {
        put_block(text, text_weight, v->values + space->n_image);
    }
    float *patient = v->values + space->n_image + space->n_text;
    const double age = md_layout_age(analysis->header.birth_date, analysis->header.study_date);
    if (age >= 0.0) {
        const double t = half_pi * fmin(age, 100.0) / 100.0;
        patient[0] = (float)(sqrt(age_weight) * cos(t));
        patient[1] = (float)(sqrt(age_weight) * sin(t));
    }
    const char *sex = analysis->header.sex[0] != '\0' && analysis->header.sex[1] == '\0'
                          ? strchr(sexes, analysis->header.sex[0])
                          : NULL;
    if (sex != NULL) {
        patient[2 + (sex - sexes)] = (float)sqrt(sex_weight);
    }
    return true;
}
