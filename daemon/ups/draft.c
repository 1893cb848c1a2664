#include "daemon/ups/draft.h"

#include "daemon/steady.h"

#include <string.h>

int64_t md_ups_scheduled_ms(const md_dataset *item, int64_t fallback_ms)
{
    char text[64];
    int64_t at_ms = fallback_ms;
    bool good = md_dataset_get_text(item, MD_UPS_TAG_START, 0, text, sizeof text) &&
                md_workitem_parse_datetime(text, &at_ms);
    return good ? at_ms : fallback_ms;
}

/* Who hears of a new item from the beginning. */
static md_status find_subscribers(md_ups_draft *draft, md_store *store, const md_dataset *item,
                                  md_error *err)
{
    MD_TRY(md_store_ups_subscribers(store, draft->global, &draft->n_global, err));
    size_t n = 0;
    for (size_t i = 0; i < draft->n_global; i++) {
        const md_ups_subscriber *each = &draft->global[i];
        bool wants = each->filter == NULL;
        if (!wants) {
            md_dataset *filter = NULL;
            MD_TRY(md_workitem_parse(each->filter, each->n_filter, MD_ENCODING_EXPLICIT_LITTLE,
                                     &filter, err));
            wants = md_workitem_matches(item, filter);
            md_dataset_destroy(filter);
        }
        if (wants) {
            draft->subscribers[n] = each->ae_title;
            draft->locks[n++] = each->locked;
        }
    }
    draft->write.subscribers = draft->subscribers;
    draft->write.locks = draft->locks;
    draft->write.n_subscribers = n;
    return MD_OK;
}

md_status md_ups_draft_make(md_ups_draft *draft, md_store *store, md_dataset *item,
                            md_error *err)
{
    md_ups_write *write = &draft->write;
    char priority[17] = "";
    md_ups_priority rank = MD_UPS_LOW;
    MD_TRY(md_workitem_put(item, MD_UPS_TAG_STATE,
                           md_ups_state_name((md_ups_state)write->state), err));
    (void)md_dataset_get_text(item, MD_UPS_TAG_PRIORITY, 0, priority, sizeof priority);
    (void)md_ups_priority_parse(priority, &rank);
    (void)md_dataset_get_text(item, MD_UPS_TAG_WORKLIST, 0, draft->worklist,
                              sizeof draft->worklist);
    (void)md_dataset_get_text(item, MD_UPS_TAG_PATIENT_ID, 0, draft->patient_id,
                              sizeof draft->patient_id);
    (void)md_dataset_get_text(item, MD_UPS_TAG_STUDY, 0, draft->study_uid,
                              sizeof draft->study_uid);
    write->priority = (int)rank;
    write->scheduled_ms = md_ups_scheduled_ms(item, md_steady_ms());
    write->worklist = draft->worklist;
    write->patient_id = draft->patient_id;
    write->study_uid = draft->study_uid;
    write->sendings = draft->sendings;
    if (write->id == 0) {
        MD_TRY(find_subscribers(draft, store, item, err));
    }
    MD_TRY(
        md_workitem_encode(item, MD_ENCODING_EXPLICIT_LITTLE, &draft->bytes, &write->n, err));
    write->bytes = draft->bytes;
    return MD_OK;
}

md_status md_ups_draft_message(md_ups_draft *draft, md_ups_message message,
                               const char *receiver, const md_dataset *dataset, md_error *err)
{
    size_t n = draft->write.n_sendings;
    if (n == MD_UPS_MAX_EVENTS) {
        return md_fail(err, MD_LIMIT, "more than %d messages about one change",
                       MD_UPS_MAX_EVENTS);
    }
    md_ups_sending *sending = &draft->sendings[n];
    *sending = (md_ups_sending){.message = message, .receiver = receiver};
    MD_TRY(md_workitem_encode(dataset, MD_ENCODING_EXPLICIT_LITTLE, &draft->sending_bytes[n],
                              &sending->n, err));
    sending->bytes = draft->sending_bytes[n];
    draft->write.n_sendings++;
    return MD_OK;
}

md_status md_ups_draft_event(md_ups_draft *draft, const md_dataset *item, unsigned event,
                             const md_dataset *request, const char *requester, md_error *err)
{
    MD_AUTO(md_dataset_destroyp) md_dataset *report = NULL;
    MD_TRY(md_workitem_event(item, event, request, requester, &report, err));
    MD_TRY(md_ups_draft_message(draft, MD_UPS_MESSAGE_EVENT, NULL, report, err));
    draft->sendings[draft->write.n_sendings - 1].type = event;
    return MD_OK;
}

void md_ups_draft_finish(md_ups_draft *draft)
{
    md_free(draft->bytes);
    for (size_t i = 0; i < draft->n_global; i++) {
        md_free(draft->global[i].filter);
    }
    for (size_t i = 0; i < MD_UPS_MAX_EVENTS; i++) {
        md_free(draft->sending_bytes[i]);
    }
    memset(draft, 0, sizeof *draft);
}
