#include "daemon/ups/service_internal.h"

#include <stdio.h>
#include <string.h>

/* C-FIND: the list in its order, narrowed by what the database knows, then each item against
 * all keys. Rows come by pages, so that memory does not grow with the list. */

enum {
    PAGE = 50,
    MAX_KEYS = 64 /* values of one key that are looked at */
};

typedef struct search {
    md_ups_call *call;
    md_ups_cursor cursor;
    unsigned n_sent;
    bool is_over; /* canceled, too many, or the peer is gone */
} search;

static md_status send_match(search *now, const md_dataset *item, md_error *err)
{
    md_ups_call *call = now->call;
    unsigned most = call->ups->conf->ups.max_responses;
    if (md_dimse_is_cancelled(call->responder)) {
        call->status = MD_DIMSE_CANCELLED;
        now->is_over = true;
        return MD_OK;
    }
    if (most > 0 && now->n_sent == most) {
        md_ups_refuse(call, MD_DIMSE_OUT_OF_RESOURCES, "there are more matches than are sent");
        now->is_over = true;
        return MD_OK;
    }
    MD_AUTO(md_dataset_destroyp) md_dataset *answer = NULL;
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    md_dimse_answer pending = {.status = MD_DIMSE_PENDING};
    MD_TRY(md_workitem_answer(item, call->information, &answer, err));
    MD_TRY(md_workitem_encode(answer, call->request->encoding, &bytes, &pending.dataset_bytes,
                              err));
    pending.dataset = bytes;
    MD_TRY(md_dimse_respond(call->responder, &pending, err));
    now->n_sent++;
    return MD_OK;
}

static md_status consider(search *now, const md_ups_row *row, md_error *err)
{
    MD_AUTO(md_dataset_destroyp) md_dataset *item = NULL;
    MD_TRY(md_workitem_parse(row->bytes, row->n, MD_ENCODING_EXPLICIT_LITTLE, &item, err));
    return md_workitem_matches(item, now->call->information) ? send_match(now, item, err)
                                                             : MD_OK;
}

/* Value `index` of a key that only one value can match; "": it narrows nothing. */
static bool single_value(const md_dataset *keys, uint32_t tag, unsigned index, char *ret_text,
                         size_t size_bytes)
{
    return md_dataset_get_text(keys, tag, index, ret_text, size_bytes) &&
           strpbrk(ret_text, "*?") == NULL;
}

/* The states or priorities that a key asks for. False: it asks for others only. */
static bool narrow_words(const md_dataset *keys, uint32_t tag, unsigned *ret_mask)
{
    char text[65];
    unsigned mask = 0;
    bool has_key = false;
    for (unsigned i = 0; i < MAX_KEYS && md_dataset_get_text(keys, tag, i, text, sizeof text);
         i++) {
        md_ups_state state;
        md_ups_priority priority;
        has_key = true;
        if (strpbrk(text, "*?") != NULL) {
            *ret_mask = 0;
            return true;
        }
        if (tag == MD_UPS_TAG_STATE && md_ups_state_parse(text, &state)) {
            mask |= 1U << state;
        } else if (tag == MD_UPS_TAG_PRIORITY && md_ups_priority_parse(text, &priority)) {
            mask |= 1U << priority;
        }
    }
    *ret_mask = mask;
    return !has_key || mask != 0;
}

static bool narrow(md_ups_cursor *cursor, const md_dataset *keys)
{
    char more[8];
    if (!narrow_words(keys, MD_UPS_TAG_STATE, &cursor->states) ||
        !narrow_words(keys, MD_UPS_TAG_PRIORITY, &cursor->priorities)) {
        return false;
    }
    /* two values are alternatives: left to the comparison of the datasets */
    if (!md_dataset_get_text(keys, MD_UPS_TAG_WORKLIST, 1, more, sizeof more) &&
        !single_value(keys, MD_UPS_TAG_WORKLIST, 0, cursor->worklist,
                      sizeof cursor->worklist)) {
        cursor->worklist[0] = '\0';
    }
    if (!md_dataset_get_text(keys, MD_UPS_TAG_PATIENT_ID, 1, more, sizeof more) &&
        !single_value(keys, MD_UPS_TAG_PATIENT_ID, 0, cursor->patient_id,
                      sizeof cursor->patient_id)) {
        cursor->patient_id[0] = '\0';
    }
    if (!md_dataset_get_text(keys, MD_UPS_TAG_STUDY, 1, more, sizeof more) &&
        !single_value(keys, MD_UPS_TAG_STUDY, 0, cursor->study_uid, sizeof cursor->study_uid)) {
        cursor->study_uid[0] = '\0';
    }
    return true;
}

static md_status walk(search *now, md_error *err)
{
    md_ups_row rows[PAGE];
    size_t n = PAGE;
    while (n == PAGE && !now->is_over) {
        md_status status = MD_OK;
        MD_TRY(md_store_ups_page(now->call->ups->store, &now->cursor, PAGE, rows, &n, err));
        for (size_t i = 0; i < n; i++) {
            if (status == MD_OK && !now->is_over) {
                status = consider(now, &rows[i], err);
            }
            md_ups_row_finish(&rows[i]);
        }
        MD_TRY(status);
        if (md_dimse_is_cancelled(now->call->responder)) {
            now->call->status = MD_DIMSE_CANCELLED;
            now->is_over = true;
        }
    }
    return MD_OK;
}

/* Items that are named; a list of UIDs has no wildcards. */
static md_status look_up(search *now, md_error *err)
{
    char uid[MD_UID_BYTES + 1];
    for (unsigned i = 0;
         !now->is_over && md_dataset_get_text(now->call->information, MD_UPS_TAG_SOP_INSTANCE,
                                              i, uid, sizeof uid);
         i++) {
        md_ups_row row;
        md_status status = md_store_ups_find(now->call->ups->store, uid, &row, err);
        if (status == MD_NOT_FOUND) {
            continue;
        }
        MD_TRY(status);
        status = consider(now, &row, err);
        md_ups_row_finish(&row);
        MD_TRY(status);
    }
    return MD_OK;
}

md_status md_ups_find_items(md_ups_call *call, md_error *err)
{
    search now = {.call = call};
    if (call->information == NULL) {
        md_ups_refuse(call, MD_DIMSE_CANNOT_UNDERSTAND, "there is no identifier");
        return MD_OK;
    }
    if (md_dataset_has(call->information, MD_UPS_TAG_SOP_INSTANCE)) {
        return look_up(&now, err);
    }
    return narrow(&now.cursor, call->information) ? walk(&now, err) : MD_OK;
}
