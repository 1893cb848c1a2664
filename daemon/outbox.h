#ifndef MEDAID_DAEMON_OUTBOX_H
#define MEDAID_DAEMON_OUTBOX_H

/* Results on their way to the destinations. What is put lies on disk until the destination has
 * answered each object with success; a thread for each destination sends, so that a dead one
 * delays no other. Below the storage path:
 *
 *   outbox/<destination>/<time>-<counter>-<study>/<n>.dcm   one delivery, oldest first
 *   undelivered/<destination>/...                           given up, for a person to look at
 *   results/<time>-<counter>-<study>/<n>.dcm                when there is no destination
 *
 * A destination that cannot be reached or is busy is tried again for about a day, with pauses
 * that grow to five minutes; an object that it refuses, three times. */

#include "conf/conf.h"
#include "daemon/store.h"
#include "dicom/network/scu.h"
#include "plugins/host/host.h"

typedef struct md_outbox md_outbox;

/* How objects are sent: md_scu_send, or a test's own. */
typedef md_status (*md_outbox_send)(const md_conf_destination *destination, const char *own_ae,
                                    const char *const *paths, size_t n_paths,
                                    md_send_outcome *outcomes, md_error *err);

/* Make the folders and start the threads; what is on disk from before is sent. `conf` and
 * `store` are borrowed until the stop. `send` NULL: C-STORE. */
md_status md_outbox_start(const md_conf *conf, const md_store *store, md_outbox_send send,
                          md_outbox **ret_outbox, md_error *err) MD_NODISCARD;
/* Let each destination's thread finish what it sends and try once what is new, then end.
 * Destroys. NULL is fine. */
void md_outbox_stop(md_outbox *outbox);

/* Put the objects of one study on disk for each destination that wants them. After MD_OK they
 * survive a power cut. Any thread. */
md_status md_outbox_put(md_outbox *outbox, const char *study_key, const md_object *objects,
                        size_t n_objects, md_error *err) MD_NODISCARD;

#endif
