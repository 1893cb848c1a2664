#ifndef MEDAID_DAEMON_OUTBOX_H
#define MEDAID_DAEMON_OUTBOX_H

/* Results on their way to the destinations. What is to be sent stands in the store, one row for
 * each object and destination; a thread for each destination takes what is due, sends it, and
 * writes down what became of it, so that a dead one delays no other.
 *
 * A row is sent when the destination has answered it with success or a warning. One that the
 * destination cannot take now (no answer, out of resources) is tried again for retry_for_h,
 * with waits that double from retry_first_s to retry_max_s; one that it refuses, ten times.
 * Then the row is dead, the study failed, and an operator may retry it. While a destination
 * does not answer, one study at a time is tried, not all of them. Results go before originals.
 */

#include "conf/conf.h"
#include "daemon/spool/spool.h"
#include "dicom/network/scu.h"
#include "plugins/host/host.h"

typedef struct md_outbox md_outbox;

/* How objects are sent: md_destination_send, or a test's own. */
typedef md_status (*md_outbox_send)(const md_conf *conf, const md_conf_destination *destination,
                                    const char *work_folder, const char *const *paths,
                                    size_t n_paths, md_send_outcome *outcomes, md_error *err);

/* Start the threads. Store and spool are borrowed until the stop. `send` NULL: C-STORE. */
md_status md_outbox_start(const md_conf *conf, md_store *store, md_spool *spool,
                          md_outbox_send send, md_outbox **ret_outbox, md_error *err)
    MD_NODISCARD;
/* Use another configuration's destinations from the next sending on: what is new gets its
 * thread, what is gone ends after what it sends; a destination is known by its name. `shared`
 * is from md_conf_share, and is held. MD_BUSY: too many that are gone still send; MD_NOMEM. One
 * call at a time. */
md_status md_outbox_reload(md_outbox *outbox, const md_conf *shared, md_error *err)
    MD_NODISCARD;
/* There may be something new: look now. Any thread. */
void md_outbox_wake(md_outbox *outbox);
/* Let each destination's thread finish what it sends and try once what is new, then end.
 * Destroys. NULL is fine. */
void md_outbox_stop(md_outbox *outbox);

#endif
