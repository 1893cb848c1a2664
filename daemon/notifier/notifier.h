#ifndef MEDAID_DAEMON_NOTIFIER_NOTIFIER_H
#define MEDAID_DAEMON_NOTIFIER_NOTIFIER_H

/* Tells who is configured in `notifiers` of analysed studies. What is to be told is written
 * into the store in the transaction that ends the analysis; a thread for each notifier delivers
 * it, again after a failure with waits that double from one second to five minutes, for about a
 * day, ten times when it is refused. Then it is dead, which the log and medaidctl show. */

#include "conf/conf.h"
#include "daemon/notifier/notice.h"

typedef struct md_notifiers md_notifiers;

/* The notices of one analysed study: one text for each notifier that its occasion fits. */
typedef struct md_notice_list {
    md_notice_new *items; /* owned, with their texts */
    size_t n;
} md_notice_list;

/* Make them from a notice that holds all patient data; each gets what its notifier may have.
 * Caller finishes the list. MD_NOMEM, MD_LIMIT. Pure; any thread. */
md_status md_notifiers_make(const md_conf *conf, const md_notice *notice,
                            md_notice_list *ret_list, md_error *err) MD_NODISCARD;
void md_notice_list_finish(md_notice_list *list);

/* "KEY-GENERATION": MSH-10 and Medaid-Delivery, the same for each attempt. */
void md_notifiers_delivery_id(const char *study_key, int generation, char ret_id[32]);

/* One attempt; for tests. NULL: by the kind of the notifier (deliver.h). */
typedef md_status (*md_notifiers_deliver)(const md_conf_notifier *notifier, const char *id,
                                          const char *body, md_error *err);

/* Start the threads; nothing happens when none is configured. `conf` and `store` are borrowed
 * until the stop. */
md_status md_notifiers_start(const md_conf *conf, md_store *store, md_notifiers_deliver deliver,
                             md_notifiers **ret_notifiers, md_error *err) MD_NODISCARD;
/* There may be something new. Any thread; NULL is fine. */
void md_notifiers_wake(md_notifiers *notifiers);
/* Let running attempts end. Destroys. NULL is fine. */
void md_notifiers_stop(md_notifiers *notifiers);

#endif
