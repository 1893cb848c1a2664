/* The keys of `follow_up`: what may be proposed to do next, and from how much evidence. */

#include "conf/conf_internal.h"

#include <string.h>

/* What a code may be in DICOM (PS3.3 8.2, VR SH and UC), so that it can be written as it is. */
static const char *check_code(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p < 0x21 || *p > 0x7e || *p == '\\') {
            return "letters, digits and signs of ASCII without blanks and '\\'";
        }
    }
    return NULL;
}

static const char *check_meaning(const char *text)
{
    return strchr(text, '\\') != NULL ? "a text without '\\'" : NULL;
}

static const md_schema_field action_fields[] = {
    {.key = "key",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_action, key),
     .required = true,
     .least = 1,
     .check = md_schema_check_slug,
     .example = "chest-ct",
     .help = "What it is called in the record of decisions: small letters, digits and '-'. To "
             "change it is to lose what was decided under the old one."},
    {.key = "code",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_action, code),
     .required = true,
     .least = 1,
     .check = check_code,
     .example = "\"169069000\"",
     .help = "Its code."},
    {.key = "scheme",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_action, scheme),
     .required = true,
     .least = 1,
     .check = check_code,
     .example = "SCT",
     .help = "The coding scheme as PS3.16 names it: SCT, LN, RADLEX; one of your own begins "
             "with 99."},
    {.key = "meaning",
     .type = MD_SCHEMA_TEXT,
     MD_SCHEMA_AT(md_conf_action, meaning),
     .required = true,
     .least = 1,
     .check = check_meaning,
     .example = "Computed tomography of chest",
     .help = "What people read, at most 64 bytes."},
    {.key = NULL},
};
static const md_schema_field action_item = {.key = "action",
                                            .type = MD_SCHEMA_MAP,
                                            .fields = action_fields,
                                            .line_offset = offsetof(md_conf_action, line)};

const md_schema_field md_conf_follow_up_fields[] = {
    {.key = "actions",
     .type = MD_SCHEMA_LIST,
     MD_SCHEMA_AT(md_conf, follow_up.actions),
     .item = &action_item,
     .max_items = MD_CONF_MAX_ACTIONS,
     .n_offset = offsetof(md_conf, follow_up.n_actions),
     .owned_bytes = sizeof(md_conf_action),
     .is_off = true,
     .help = "What may be proposed: a CT, a film in six weeks, a referral, and that nothing is "
             "needed. None: nothing is proposed and no decision is taken."},
    {.key = "min_support",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, follow_up.min_support),
     .least = 1,
     .most = 1000,
     .fallback = "5",
     .help = "So many similar patients must have a decision on an action, or medaid says "
             "nothing about it."},
    {.key = "neighbours",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, follow_up.n_neighbours),
     .least = 1,
     .most = 1000,
     .fallback = "40",
     .help =
         "Of the patients with a decision on an action, so many of the most similar count."},
    {.key = "shrinkage",
     .type = MD_SCHEMA_REAL,
     MD_SCHEMA_AT(md_conf, follow_up.shrinkage),
     .least = 0,
     .most = 1000,
     .fallback = "10",
     .help = "Likeness that rests on few decisions in common is taken for less: times n / (n + "
             "this)."},
    {.key = "min_score",
     .type = MD_SCHEMA_REAL,
     MD_SCHEMA_AT(md_conf, follow_up.min_score),
     .least = 0,
     .most = 1,
     .fallback = "0.5",
     .help = "An action is proposed when its predicted decision is at least this, between 0 "
             "(declined) and 1 (accepted)."},
    {.key = "show",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, follow_up.n_show),
     .least = 1,
     .most = MD_CONF_MAX_PROPOSALS,
     .fallback = "3",
     .help = "At most so many proposals for a study."},
    {.key = "in_report",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf, follow_up.in_report),
     .fallback = "false",
     .help =
         "true: proposals also go into the structured report, as Recommended Follow-up, not "
         "with results.triage_only. Readers elsewhere then see them without the page "
         "that explains them: docs/follow-up.md."},
    {.key = "keep_days",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, follow_up.keep_days),
     .least = 1,
     .most = 36500,
     .unit = "days",
     .fallback = "3650",
     .help = "Decisions that are older are forgotten."},
    {.key = "refresh_s",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, follow_up.refresh_s),
     .least = 1,
     .most = 86400,
     .unit = "s",
     .fallback = "60",
     .help = "New decisions count after so long at the latest; reading the record anew runs "
             "beside the analyses."},
    {.key = NULL},
};

md_status md_conf_check_follow_up(const char *path, const md_conf *conf, md_error *err)
{
    if (conf->follow_up.min_support > conf->follow_up.n_neighbours) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'follow_up.min_support': got %u, expected at most "
                       "follow_up.neighbours, which is %u",
                       path, conf->follow_up.line, conf->follow_up.min_support,
                       conf->follow_up.n_neighbours);
    }
    for (unsigned i = 0; i < conf->follow_up.n_actions; i++) {
        for (unsigned k = 0; k < i; k++) {
            const md_conf_action *a = &conf->follow_up.actions[i],
                                 *b = &conf->follow_up.actions[k];
            if (strcmp(a->key, b->key) == 0 ||
                (strcmp(a->code, b->code) == 0 && strcmp(a->scheme, b->scheme) == 0)) {
                return md_fail(err, MD_FORMAT,
                               "%s:%u: key 'follow_up.actions[%u]': has the key or the code of "
                               "the one at line %u, expected its own",
                               path, a->line, i, b->line);
            }
        }
    }
    return MD_OK;
}
