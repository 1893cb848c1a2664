#include "daemon/destination.h"

#include "daemon/rules/plan.h"
#include "daemon/transcode.h"

#include <stdio.h>
#include <string.h>

const md_conf_destination *md_destination_find(const md_conf *conf, const char *name)
{
    for (unsigned i = 0; i < conf->n_destinations; i++) {
        if (strcmp(conf->destinations[i].name, name) == 0) {
            return &conf->destinations[i];
        }
    }
    return NULL;
}

bool md_destination_wants(const md_conf_destination *destination, const char *sop_class_uid)
{
    return md_plan_is_kind(destination->results, destination->parametric_map,
                           md_object_kind_of(sop_class_uid));
}

void md_destination_peer(const md_conf *conf, const md_conf_destination *destination,
                         md_peer *ret_peer, md_tls_options *ret_tls)
{
    memset(ret_peer, 0, sizeof *ret_peer);
    ret_peer->port = destination->port;
    ret_peer->timeout_s = destination->timeout_s;
    snprintf(ret_peer->ae_title, sizeof ret_peer->ae_title, "%s", destination->ae_title);
    snprintf(ret_peer->host, sizeof ret_peer->host, "%s", destination->host);
    snprintf(ret_peer->own_ae_title, sizeof ret_peer->own_ae_title, "%s", conf->ae.title);
    *ret_tls = (md_tls_options){.certificate = destination->tls.certificate,
                                .private_key = destination->tls.private_key,
                                .ca = destination->tls.ca};
    ret_peer->tls = destination->has_tls ? ret_tls : NULL;
}

md_status md_destination_send(const md_conf *conf, const md_conf_destination *destination,
                              const char *work_folder, const char *const *paths, size_t n_paths,
                              md_send_outcome *outcomes, md_error *err)
{
    md_peer peer;
    md_tls_options tls;
    const char *syntaxes[MD_CONF_MAX_SYNTAXES];
    md_transcoder transcoder = {.folder = work_folder,
                                .memory_mib = conf->workers.memory_mib,
                                .timeout_s = conf->workers.study_timeout_s};
    for (unsigned i = 0; i < destination->n_transfer_syntaxes; i++) {
        bool is_own = strcmp(destination->transfer_syntaxes[i], MD_CONF_SYNTAX_OWN) == 0;
        syntaxes[i] = is_own ? MD_SYNTAX_OWN : destination->transfer_syntaxes[i];
    }
    const md_send_options options = {.transfer_syntaxes = syntaxes,
                                     .n_transfer_syntaxes = destination->n_transfer_syntaxes,
                                     .convert = md_transcoder_run,
                                     .context = &transcoder};
    md_destination_peer(conf, destination, &peer, &tls);
    return md_scu_send(&peer, &options, paths, n_paths, outcomes, err);
}
