#ifndef MEDAID_DAEMON_DESTINATION_H
#define MEDAID_DAEMON_DESTINATION_H

/* A destination of the configuration as a peer, and C-STORE to it. Any thread. */

#include "conf/conf.h"
#include "dicom/network/scu.h"

/* The destination called `name`; NULL: there is none. Points into `conf`. */
const md_conf_destination *md_destination_find(const md_conf *conf, const char *name);

/* Whether it gets results of this SOP class: reports, pictures, both or none, and maps. */
bool md_destination_wants(const md_conf_destination *destination, const char *sop_class_uid);

/* Whom to call, and by which name. ret_peer->tls points to *ret_tls, or is NULL. */
void md_destination_peer(const md_conf *conf, const md_conf_destination *destination,
                         md_peer *ret_peer, md_tls_options *ret_tls);

/* md_scu_send with what the destination wants: its transfer syntaxes, objects converted where
 * it does not take theirs (transcode.h, in `work_folder`). The calling thread must live until
 * the return. */
md_status md_destination_send(const md_conf *conf, const md_conf_destination *destination,
                              const char *work_folder, const char *const *paths, size_t n_paths,
                              md_send_outcome *outcomes, md_error *err) MD_NODISCARD;

#endif
