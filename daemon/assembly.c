#include "daemon/assembly.h"

#include "base/log.h"

enum {
    PAGE = 128
};

static int64_t due_ms(const md_study *study, const md_assembly_policy *policy)
{
    int64_t due = study->clock.last_received_ms + policy->quiet_ms;
    int64_t last = study->clock.first_received_ms + policy->deadline_ms;
    return policy->deadline_ms > 0 && last < due ? last : due;
}

/* *ret_wait_ms is made shorter when the study is due earlier. */
static md_status look_at(md_store *store, const md_study *study,
                         const md_assembly_policy *policy, int64_t now_ms,
                         unsigned *ret_n_complete, int64_t *ret_wait_ms, md_error *err)
{
    int64_t due = due_ms(study, policy);
    if (due > now_ms) {
        *ret_wait_ms = due - now_ms < *ret_wait_ms ? due - now_ms : *ret_wait_ms;
        return MD_OK;
    }
    md_status status = md_store_complete(store, study, now_ms, err);
    if (status == MD_BUSY) {
        return MD_OK; /* an instance came at this moment: its quiet time begins anew */
    }
    if (status == MD_OK) {
        /* when the program ends between the two, the analyst does it */
        status = md_store_add_originals(store, study->id, policy->originals,
                                        policy->n_originals, now_ms, err);
        *ret_n_complete += 1;
        md_log(MD_LOG_INFO, "study_complete", MD_LOG_TEXT("study", study->key),
               MD_LOG_INT("objects", study->n_instances),
               MD_LOG_INT("conflicts", study->n_conflicts),
               MD_LOG_INT("generation", study->generation),
               MD_LOG_INT("receiving_ms",
                          study->clock.last_received_ms - study->clock.first_received_ms));
    }
    return status;
}

md_status md_assembly_run(md_store *store, const md_assembly_policy *policy, int64_t now_ms,
                          unsigned *ret_n_complete, int64_t *ret_wait_ms, md_error *err)
{
    md_study_page page = {.states = 1u << MD_STUDY_RECEIVING, .oldest_first = true};
    unsigned n_complete = 0;
    int64_t wait_ms = policy->quiet_ms;
    if (policy->deadline_ms > 0 && policy->deadline_ms < wait_ms) {
        wait_ms = policy->deadline_ms;
    }
    MD_AUTO(md_freep) md_study *studies = md_calloc(PAGE, sizeof *studies);
    if (studies == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a page of studies");
    }
    size_t n = 0;
    do {
        MD_TRY(md_store_studies(store, &page, PAGE, studies, &n, err));
        for (size_t i = 0; i < n; i++) {
            page.after_id = studies[i].id;
            MD_TRY(look_at(store, &studies[i], policy, now_ms, &n_complete, &wait_ms, err));
        }
    } while (n == PAGE);
    *ret_n_complete = n_complete;
    *ret_wait_ms = wait_ms;
    return MD_OK;
}
