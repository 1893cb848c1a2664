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

/* Urgent, then present, undetermined, absent; in their own order among each other. */
static void sort_findings(const md_notice *whole, md_store_finding *sorted)
{
    static const md_store_presence order[] = {MD_STORE_PRESENT, MD_STORE_UNDETERMINED,
                                              MD_STORE_ABSENT};
    size_t n = 0;
    for (unsigned pass = 0; pass < 2 * sizeof order / sizeof *order; pass++) {
        for (size_t i = 0; i < whole->n_findings; i++) {
            const md_store_finding *f = &whole->findings[i];
            if (f->urgent == (pass < 3) && f->presence == order[pass % 3]) {
                sorted[n++] = *f;
            }
        }
    }
}

/* A study of very many findings must be told of too: what there is no room for is counted. */
static md_status make_text_that_fits(const md_conf_notifier *notifier, const md_notice *whole,
                                     char **ret_text, md_error *err)
{
    md_status status = make_text(notifier, whole, ret_text, err);
    if (status != MD_LIMIT) {
        return status;
    }
    MD_AUTO(md_freep)
    md_store_finding *sorted = md_calloc(whole->n_findings + 1, sizeof *sorted);
    if (sorted == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a notification");
    }
    sort_findings(whole, sorted);
    md_notice part = *whole;
    part.findings = sorted;
    while (status == MD_LIMIT && part.n_findings > 0) {
        part.n_findings /= 2;
        part.n_left_out = whole->n_findings - part.n_findings;
        status = make_text(notifier, &part, ret_text, err);
    }
    return status;
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
        md_status status = make_text_that_fits(notifier, notice, &text, err);
        if (status != MD_OK) {
            md_notice_list_finish(&list);
            return status;
        }
        list.items[list.n++] = (md_notice_new){.notifier = notifier->name, .body = text};
    }
    *ret_list = list;
    return MD_OK;
}
