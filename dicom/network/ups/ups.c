#include "dicom/network/ups/ups.h"

#include "dicom/network/dimse.h"

#include <string.h>

static const char *const states[] = {
    [MD_UPS_SCHEDULED] = "SCHEDULED",
    [MD_UPS_IN_PROGRESS] = "IN PROGRESS",
    [MD_UPS_COMPLETED] = "COMPLETED",
    [MD_UPS_CANCELED] = "CANCELED",
};

static const char *const priorities[] = {
    [MD_UPS_HIGH] = "HIGH", [MD_UPS_MEDIUM] = "MEDIUM", [MD_UPS_LOW] = "LOW"};

const char *md_ups_state_name(md_ups_state state)
{
    return states[state];
}

const char *md_ups_priority_name(md_ups_priority priority)
{
    return priorities[priority];
}

bool md_ups_state_parse(const char *name, md_ups_state *ret_state)
{
    for (unsigned i = 0; i < MD_UPS_N_STATES; i++) {
        if (strcmp(name, states[i]) == 0) {
            *ret_state = (md_ups_state)i;
            return true;
        }
    }
    return false;
}

bool md_ups_priority_parse(const char *name, md_ups_priority *ret_priority)
{
    for (unsigned i = 0; i < MD_UPS_N_PRIORITIES; i++) {
        if (strcmp(name, priorities[i]) == 0) {
            *ret_priority = (md_ups_priority)i;
            return true;
        }
    }
    return false;
}

/* Table CC.1.1-2, the columns SCHEDULED, IN PROGRESS, COMPLETED, CANCELED, for a request that
 * has the right Transaction UID or needs none. */
static const uint16_t allowed[MD_UPS_N_REQUESTS][MD_UPS_N_STATES] = {
    [MD_UPS_REQUEST_CREATE] = {MD_DIMSE_DUPLICATE_INSTANCE, MD_DIMSE_DUPLICATE_INSTANCE,
                               MD_DIMSE_DUPLICATE_INSTANCE, MD_DIMSE_DUPLICATE_INSTANCE},
    [MD_UPS_REQUEST_IN_PROGRESS] = {0, MD_UPS_ALREADY_IN_PROGRESS, MD_UPS_NO_LONGER_UPDATED,
                                    MD_UPS_NO_LONGER_UPDATED},
    [MD_UPS_REQUEST_SCHEDULED] = {MD_UPS_SCHEDULED_ONLY_BY_CREATE,
                                  MD_UPS_SCHEDULED_ONLY_BY_CREATE,
                                  MD_UPS_SCHEDULED_ONLY_BY_CREATE,
                                  MD_UPS_SCHEDULED_ONLY_BY_CREATE},
    [MD_UPS_REQUEST_COMPLETED] = {MD_UPS_NOT_IN_PROGRESS, 0, MD_UPS_ALREADY_COMPLETED,
                                  MD_UPS_NO_LONGER_UPDATED},
    [MD_UPS_REQUEST_CANCELED] = {MD_UPS_NOT_IN_PROGRESS, 0, MD_UPS_NO_LONGER_UPDATED,
                                 MD_UPS_ALREADY_CANCELED},
    [MD_UPS_REQUEST_CANCEL] = {0, 0, MD_UPS_IS_COMPLETED, MD_UPS_ALREADY_CANCELED},
    [MD_UPS_REQUEST_SET] = {0, 0, MD_UPS_NO_LONGER_UPDATED, MD_UPS_NO_LONGER_UPDATED},
};

uint16_t md_ups_judge(md_ups_request request, bool exists, md_ups_state state, md_ups_lock lock)
{
    bool is_change = request == MD_UPS_REQUEST_IN_PROGRESS ||
                     request == MD_UPS_REQUEST_COMPLETED || request == MD_UPS_REQUEST_CANCELED;
    if (!exists) {
        return request == MD_UPS_REQUEST_CREATE ? 0 : MD_UPS_UNKNOWN_INSTANCE;
    }
    if (is_change && lock != MD_UPS_LOCK_RIGHT) {
        return MD_UPS_WRONG_TRANSACTION;
    }
    if (request == MD_UPS_REQUEST_SET && state == MD_UPS_SCHEDULED &&
        lock != MD_UPS_LOCK_NONE) {
        /* who has a Transaction UID takes it for claimed (CC.2.6.2) */
        return MD_UPS_NOT_IN_PROGRESS;
    }
    if (request == MD_UPS_REQUEST_SET && state == MD_UPS_IN_PROGRESS &&
        lock != MD_UPS_LOCK_RIGHT) {
        return MD_UPS_WRONG_TRANSACTION;
    }
    return allowed[request][state];
}
