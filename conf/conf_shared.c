#include "conf/conf_shared.h"

#include <stdatomic.h>

/* `conf` first: the two have one address. */
typedef struct snapshot {
    md_conf conf;
    atomic_uint n_holders;
} snapshot;

md_status md_conf_share(const md_conf *conf, const md_conf **ret_shared, md_error *err)
{
    snapshot *made = md_calloc(1, sizeof *made);
    if (made == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a copy of the configuration");
    }
    made->conf = *conf;
    md_conf_hold_lists(conf);
    atomic_store(&made->n_holders, 1);
    *ret_shared = &made->conf;
    return MD_OK;
}

/* The snapshot was made without const; only its users may not change it. */
static snapshot *snapshot_of(const md_conf *shared)
{
    union {
        const md_conf *shared;
        snapshot *whole;
    } pointer = {.shared = shared};
    return pointer.whole;
}

const md_conf *md_conf_hold(const md_conf *shared)
{
    atomic_fetch_add_explicit(&snapshot_of(shared)->n_holders, 1, memory_order_relaxed);
    return shared;
}

void md_conf_drop(const md_conf *shared)
{
    if (shared != NULL && atomic_fetch_sub_explicit(&snapshot_of(shared)->n_holders, 1,
                                                    memory_order_acq_rel) == 1) {
        md_conf_finish(&snapshot_of(shared)->conf);
        md_free(snapshot_of(shared));
    }
}
