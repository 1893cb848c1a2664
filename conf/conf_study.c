/* The keys of `study` and `ae.titles`: when a study is analysed, and what each AE title of
 * medaid does with it. */

#include "conf/conf_internal.h"

#include <string.h>

static const md_schema_choice priorities[] = {{"HIGH", MD_CONF_PRIORITY_HIGH},
                                              {"MEDIUM", MD_CONF_PRIORITY_MEDIUM},
                                              {"LOW", MD_CONF_PRIORITY_LOW},
                                              {NULL, 0}};

static const md_schema_choice missing[] = {
    {"analyse", MD_CONF_MISSING_ANALYSE}, {"fail", MD_CONF_MISSING_FAIL}, {NULL, 0}};

const md_schema_field md_conf_name_item = {.key = "name",
                                           .type = MD_SCHEMA_TEXT,
                                           .size_bytes = sizeof(md_conf_name),
                                           .least = 1,
                                           .check = md_schema_check_slug};

#define TITLE_AT(member_) MD_SCHEMA_AT(md_conf_title, member_)

static const md_schema_field title_fields[] = {
    {.key = "title",
     .type = MD_SCHEMA_TEXT,
     TITLE_AT(title),
     .required = true,
     .least = 1,
     .check = md_conf_check_ae_title,
     .example = "MEDAID_ER",
     .help = "The AE title that is called; that of ae.title too, each only once."},
    {.key = "allowed_callers",
     .type = MD_SCHEMA_LIST,
     TITLE_AT(allowed_callers),
     .item = &md_conf_caller_item,
     .max_items = MD_CONF_MAX_CALLERS,
     .n_offset = offsetof(md_conf_title, n_allowed_callers),
     .owned_bytes = sizeof(md_conf_caller),
     .help = "Who may call it; without this key: who ae.allowed_callers admits."},
    {.key = "analyse",
     .type = MD_SCHEMA_BOOL,
     TITLE_AT(analyse),
     .fallback = "true",
     .help = "false: what is sent here is stored and forwarded, no model looks at it."},
    {.key = "models",
     .type = MD_SCHEMA_LIST,
     TITLE_AT(models),
     .item = &md_conf_name_item,
     .max_items = MD_CONF_MAX_NAMES,
     .n_offset = offsetof(md_conf_title, n_models),
     .has_offset = offsetof(md_conf_title, has_models),
     .owned_bytes = sizeof(md_conf_name),
     .example = "[chest-pneumonia]",
     .help =
         "The ids of the models that may run; without this key: all that accept the study."},
    {.key = "destinations",
     .type = MD_SCHEMA_LIST,
     TITLE_AT(destinations),
     .item = &md_conf_name_item,
     .max_items = MD_CONF_MAX_DESTINATIONS,
     .n_offset = offsetof(md_conf_title, n_destinations),
     .has_offset = offsetof(md_conf_title, has_destinations),
     .owned_bytes = sizeof(md_conf_name),
     .example = "[pacs]",
     .help = "The names of the destinations that get something; without this key: all."},
    {.key = "priority",
     .type = MD_SCHEMA_ENUM,
     TITLE_AT(priority),
     .choices = priorities,
     .fallback = "MEDIUM",
     .help = "Whose studies are analysed first, see study.overtake_s."},
    {.key = "quiet_ms",
     .type = MD_SCHEMA_INT,
     TITLE_AT(quiet_ms),
     .least = 100,
     .most = 3600000,
     .unit = "ms",
     .has_offset = offsetof(md_conf_title, has_quiet),
     .example = "3000",
     .help = "In place of study.quiet_ms."},
    {.key = "deadline_s",
     .type = MD_SCHEMA_INT,
     TITLE_AT(deadline_s),
     .least = 0,
     .most = 86400,
     .unit = "s",
     .has_offset = offsetof(md_conf_title, has_deadline),
     .example = "300",
     .help = "In place of study.deadline_s."},
    {.key = "required",
     .type = MD_SCHEMA_LIST,
     TITLE_AT(required),
     .item = &md_required_item,
     .max_items = MD_CONF_MAX_REQUIRED,
     .n_offset = offsetof(md_conf_title, n_required),
     .has_offset = offsetof(md_conf_title, has_required),
     .owned_bytes = sizeof(md_required),
     .help = "In place of study.required."},
    {.key = "required_missing",
     .type = MD_SCHEMA_ENUM,
     TITLE_AT(required_missing),
     .choices = missing,
     .has_offset = offsetof(md_conf_title, has_required_missing),
     .example = "analyse",
     .help = "In place of study.required_missing."},
    {.key = NULL},
};
const md_schema_field md_conf_title_item = {.key = "title",
                                            .type = MD_SCHEMA_MAP,
                                            .fields = title_fields,
                                            .line_offset = offsetof(md_conf_title, line)};

static const md_schema_choice conflicts[] = {
    {"last", MD_CONF_CONFLICT_LAST},
    {"first", MD_CONF_CONFLICT_FIRST},
    {"refuse", MD_CONF_CONFLICT_REFUSE},
    {NULL, 0},
};

const md_schema_field md_conf_study_fields[] = {
    {.key = "quiet_ms",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, study.quiet_ms),
     .least = 100,
     .most = 3600000,
     .unit = "ms",
     .fallback = "10000",
     .help =
         "A study counts as complete when nothing came for so long: DICOM has no message that "
         "says so. Longer waits for slow modalities, shorter notifies earlier."},
    {.key = "deadline_s",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, study.deadline_s),
     .least = 0,
     .most = 86400,
     .unit = "s",
     .fallback = "1800",
     .help =
         "A study that has been open for so long is complete even while objects still come; "
         "what comes later is late. 0: no limit."},
    {.key = "reopen_late",
     .type = MD_SCHEMA_BOOL,
     MD_SCHEMA_AT(md_conf, study.reopen_late),
     .fallback = "true",
     .help = "true: a late object has its study analysed again, with all that is there, which "
             "gives "
             "a new report that names the earlier one as its predecessor. false: it is kept "
             "and no more."},
    {.key = "conflict",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf, study.conflict),
     .choices = conflicts,
     .fallback = "last",
     .help =
         "What to do with an object whose SOP Instance UID is known with other content. The "
         "first two keep both copies, warn the sender, and analyse the one that is named."},
    {.key = "required",
     .type = MD_SCHEMA_LIST,
     MD_SCHEMA_AT(md_conf, study.required),
     .item = &md_required_item,
     .max_items = MD_CONF_MAX_REQUIRED,
     .n_offset = offsetof(md_conf, study.n_required),
     .owned_bytes = sizeof(md_required),
     .is_off = true,
     .help = "What must have come before a study is analysed, however long nothing comes: it "
             "waits until deadline_s at the most. Each entry is for the studies that hold an "
             "image as it says. Models can require views too (model.yaml)."},
    {.key = "required_missing",
     .type = MD_SCHEMA_ENUM,
     MD_SCHEMA_AT(md_conf, study.required_missing),
     .choices = missing,
     .fallback = "analyse",
     .help = "When what is required has not come by the deadline: analyse what is there (the "
             "report says that it is partial and why) or fail the study."},
    {.key = "overtake_s",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(md_conf, study.overtake_s),
     .least = 10,
     .most = 86400,
     .unit = "s",
     .fallback = "3600",
     .help = "A study that waits for its analysis is overtaken by those of the next higher "
             "priority that are complete at most so much later, by those of the second next "
             "at most twice as much. So nothing waits for ever."},
    {.key = NULL},
};

static const md_conf_title plain_title = {.analyse = true, .priority = MD_CONF_PRIORITY_MEDIUM};

const md_conf_title *md_conf_title_of(const md_conf *conf, const char *called)
{
    const md_conf_title *own = &plain_title;
    for (unsigned i = 0; i < conf->ae.n_titles; i++) {
        const md_conf_title *title = &conf->ae.titles[i];
        if (strcmp(title->title, called) == 0) {
            return title;
        }
        if (strcmp(title->title, conf->ae.title) == 0) {
            own = title;
        }
    }
    return own;
}

const char *md_conf_own_title(const md_conf *conf, const char *called)
{
    for (unsigned i = 0; i < conf->ae.n_titles; i++) {
        if (strcmp(conf->ae.titles[i].title, called) == 0) {
            return conf->ae.titles[i].title;
        }
    }
    return conf->ae.title;
}

bool md_conf_has_destination(const md_conf *conf, const char *name)
{
    for (unsigned i = 0; i < conf->n_destinations; i++) {
        if (strcmp(conf->destinations[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static md_status check_title(const char *path, const md_conf *conf, unsigned index,
                             md_error *err)
{
    const md_conf_title *title = &conf->ae.titles[index];
    for (unsigned j = 0; j < index; j++) {
        if (strcmp(title->title, conf->ae.titles[j].title) == 0) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'ae.titles[%u].title': got '%s', the title of the entry "
                           "on line %u too, expected different titles",
                           path, title->line, index, title->title, conf->ae.titles[j].line);
        }
    }
    for (unsigned k = 0; k < title->n_destinations; k++) {
        if (!md_conf_has_destination(conf, title->destinations[k])) {
            return md_fail(err, MD_FORMAT,
                           "%s:%u: key 'ae.titles[%u].destinations': '%s' is not the name of a "
                           "destination",
                           path, title->line, index, title->destinations[k]);
        }
    }
    unsigned deadline_s = title->has_deadline ? title->deadline_s : conf->study.deadline_s;
    unsigned n_required = title->has_required ? title->n_required : conf->study.n_required;
    if (deadline_s == 0 && n_required > 0) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'ae.titles[%u]': views are required and there is no "
                       "deadline_s, so that a study could wait for ever",
                       path, title->line, index);
    }
    return MD_OK;
}

md_status md_conf_check_titles(const char *path, const md_conf *conf, md_error *err)
{
    if (conf->study.n_required > 0 && conf->study.deadline_s == 0) {
        return md_fail(err, MD_FORMAT,
                       "%s:%u: key 'study.required': views are required and study.deadline_s "
                       "is 0, so that a study could wait for ever",
                       path, conf->study.required[0].line);
    }
    for (unsigned i = 0; i < conf->ae.n_titles; i++) {
        MD_TRY(check_title(path, conf, i, err));
    }
    return MD_OK;
}
