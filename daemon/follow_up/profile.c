#include "daemon/follow_up/profile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_name(const char *name)
{
    size_t n = strnlen(name, MD_FEATURE_NAME_BYTES);
    if (n == 0 || n == MD_FEATURE_NAME_BYTES) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)name[i] <= 0x20 || name[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Where it goes: its own place, a free one, or that of the weakest if that is weaker. */
static md_feature *place_for(md_features *features, const char *name, float weight)
{
    md_feature *weakest = NULL;
    for (uint32_t i = 0; i < features->n; i++) {
        md_feature *one = &features->items[i];
        if (strcmp(one->name, name) == 0) {
            return weight > one->weight ? one : NULL;
        }
        weakest = weakest == NULL || one->weight < weakest->weight ? one : weakest;
    }
    if (features->n < MD_FEATURES_MAX) {
        return &features->items[features->n++];
    }
    return weakest->weight < weight ? weakest : NULL;
}

bool md_features_add(md_features *features, const char *name, const char *meaning, float weight)
{
    if (!is_name(name) || !(weight >= 0.0F && weight <= 1.0F)) {
        return false;
    }
    md_feature *place = weight > 0.0F ? place_for(features, name, weight) : NULL;
    if (place != NULL) {
        snprintf(place->name, sizeof place->name, "%s", name);
        snprintf(place->meaning, sizeof place->meaning, "%s", meaning);
        place->weight = weight;
    }
    return true;
}

/* How far the score is on the way from the threshold to 1. */
static float weight_of(const md_finding *f)
{
    double way = 1.0 - f->threshold;
    double part = way > 0.0 ? (f->score - f->threshold) / way : 1.0;
    return (float)(0.5 + 0.5 * fmax(0.0, fmin(1.0, part)));
}

void md_features_of(const md_analysis *analysis, md_features *ret_features)
{
    bool is_open = true; /* nothing was decided */
    *ret_features = (md_features){0};
    bool is_doubtful = false;
    for (size_t i = 0; i < analysis->n_results; i++) {
        const md_result *result = &analysis->results[i];
        for (size_t k = 0; k < result->n_findings; k++) {
            const md_finding *f = &result->findings[k];
            char name[MD_FEATURE_NAME_BYTES];
            is_open = is_open && f->presence == MD_PRESENCE_UNDETERMINED;
            is_doubtful = is_doubtful || f->presence == MD_PRESENCE_UNDETERMINED;
            if (f->presence == MD_PRESENCE_PRESENT) {
                snprintf(name, sizeof name, "%s:%s", f->concept.scheme, f->concept.value);
                (void)md_features_add(ret_features, name, f->concept.meaning, weight_of(f));
            }
        }
        is_doubtful = is_doubtful || result->status != MD_RESULT_COMPLETE;
    }
    /* said of a whole, sure result alone */
    if (ret_features->n == 0 && !is_open && !is_doubtful) {
        (void)md_features_add(ret_features, MD_FEATURE_NOTHING, "no finding", 1.0F);
    }
}

void md_features_write(const md_features *features, char ret_text[MD_FEATURES_TEXT_BYTES])
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (uint32_t i = 0; i < features->n; i++) {
        int n = snprintf(ret_text + used, MD_FEATURES_TEXT_BYTES - used, "%.4f %s\n",
                         (double)features->items[i].weight, features->items[i].name);
        used += n > 0 && (size_t)n < MD_FEATURES_TEXT_BYTES - used ? (size_t)n : 0;
    }
    ret_text[used] = '\0';
}

void md_features_read(const char *text,
                      void (*each)(void *context, const char *name, size_t length,
                                   float weight),
                      void *context)
{
    while (*text != '\0') {
        char *end = NULL;
        size_t line = strcspn(text, "\n");
        float weight = strtof(text, &end);
        bool is_good =
            end > text && end < text + line && *end == ' ' && weight > 0.0F && weight <= 1.0F;
        size_t length = is_good ? (size_t)(text + line - end) - 1 : 0;
        if (length > 0 && length < MD_FEATURE_NAME_BYTES) {
            each(context, end + 1, length, weight);
        }
        text += line + (text[line] == '\n');
    }
}
