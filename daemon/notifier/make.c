#include "daemon/notifier/notifier.h"

#include <stdio.h>
#include <string.h>

void md_notifiers_delivery_id(const char *study_key, int generation, char ret_id[32])
{
    snprintf(ret_id, 32, "%s-%d", study_key, generation);
}

void md_notice_list_finish(md_notice_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        md_free((char *)(uintptr_t)list->items[i].body);
    }
    md_free(list->items);
    *list = (md_notice_list){0};
}

static bool is_occasion(const md_conf_notifier *notifier, const md_notice *notice)
{
    bool is_urgent = notice->priority == MD_NOTICE_URGENT;
    bool is_positive = false;
    for (size_t i = 0; i < notice->n_findings; i++) {
        is_urgent = is_urgent || notice->findings[i].urgent;
        is_positive = is_positive || notice->findings[i].presence == MD_STORE_PRESENT;
    }
    switch (notifier->on) {
    case MD_CONF_NOTIFY_URGENT:
        return is_urgent;
    case MD_CONF_NOTIFY_FINDINGS:
        return is_positive || is_urgent;
    case MD_CONF_NOTIFY_EVERY:
        break;
    }
    return true;
}

/* What the notifier may have of the patient. */
static md_notice allowed_part(const md_conf_notifier *notifier, const md_notice *whole)
{
    md_notice part = *whole;
    if (notifier->patient != MD_CONF_PATIENT_FULL) {
        part.patient_name[0] = part.birth_date[0] = part.sex[0] = '\0';
    }
    if (notifier->patient == MD_CONF_PATIENT_NONE) {
        part.patient_id[0] = part.accession_number[0] = part.study_instance_uid[0] = '\0';
    }
    return part;
}

static md_status make_text(const md_conf_notifier *notifier, const md_notice *whole,
                           char **ret_text, md_error *err)
{
    const md_notice notice = allowed_part(notifier, whole);
    const md_hl7_ends ends = {.sending_application = "MEDAID",
                              .sending_facility = notifier->facility,
                              .receiving_application = notifier->receiver,
                              .receiving_facility = notifier->receiver_facility};
    char id[32];
    switch (notifier->kind) {
    case MD_CONF_NOTIFY_HL7:
        md_notifiers_delivery_id(notice.study_key, notice.generation, id);
        return md_notice_hl7(&notice, &ends, id, ret_text, err);
    case MD_CONF_NOTIFY_MAIL:
        return md_notice_mail(&notice, notifier->from, notifier->to, ret_text, err);
    case MD_CONF_NOTIFY_WEBHOOK:
        break;
    }
    return md_notice_json(&notice, ret_text, err);
}

md_status md_notifiers_make(const md_conf *conf, const md_notice *notice,
                            md_notice_list *ret_list, md_error *err)
{
    md_notice_list list = {.items = md_calloc(MD_CONF_MAX_NOTIFIERS, sizeof *list.items)};
    if (list.items == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for notifications");
    }
    for (unsigned i = 0; i < conf->n_notifiers; i++) {
        const md_conf_notifier *notifier = &conf->notifiers[i];
        char *text = NULL;
        bool is_named =
            notice->is_named != NULL && notice->is_named(notice->context, notifier->name);
        if (!is_named && !is_occasion(notifier, notice)) {
            continue;
        }
        md_status status = make_text(notifier, notice, &text, err);
        if (status != MD_OK) {
            md_notice_list_finish(&list);
            return status;
        }
        list.items[list.n++] = (md_notice_new){.notifier = notifier->name, .body = text};
    }
    *ret_list = list;
    return MD_OK;
}
