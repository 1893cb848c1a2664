#include "daemon/http/pages.h"

#include "daemon/steady.h"

#include <string.h>

/* /metrics: what this process counted, and what the store knows now. */

static void write_plain(md_metrics_page *page, const char *name, const char *type,
                        const char *help, double value)
{
    md_metrics_head(page, name, type, help);
    md_metrics_value(page, name, NULL, value);
}

static void write_received(md_metrics_page *page, const md_figures *figures)
{
    static const char rejected[] = "medaid_objects_rejected_total";
    write_plain(page, "medaid_objects_received_total", "counter",
                "Objects that were acknowledged as stored.",
                (double)md_counter_get(&figures->received));
    write_plain(page, "medaid_objects_repeated_total", "counter",
                "Received objects that were here already with the same bytes.",
                (double)md_counter_get(&figures->repeated));
    write_plain(page, "medaid_objects_conflicting_total", "counter",
                "Received objects whose SOP Instance UID was known with other bytes.",
                (double)md_counter_get(&figures->conflicts));
    md_metrics_head(page, rejected, "counter", "Objects that were refused.");
    for (int i = 0; i < MD_REJECT_N_REASONS; i++) {
        const md_metrics_label labels[] = {
            {"reason", md_reject_reason_name((md_reject_reason)i)}, {NULL, NULL}};
        md_metrics_value(page, rejected, labels, (double)md_counter_get(&figures->rejected[i]));
    }
    write_plain(page, "medaid_connection_problems_total", "counter",
                "Connections and associations that were rejected, broken or misused.",
                (double)md_counter_get(&figures->connection_problems));
}

static void write_analyses(md_metrics_page *page, const md_figures *figures)
{
    md_metrics_head(page, "medaid_analysis_seconds", "histogram",
                    "Time of one attempt to analyse one study.");
    md_metrics_histogram(page, "medaid_analysis_seconds", &figures->analysis);
    write_plain(page, "medaid_analyses_failed_total", "counter",
                "Attempts to analyse a study that failed.",
                (double)md_counter_get(&figures->analyses_failed));
    write_plain(page, "medaid_worker_restarts_total", "counter",
                "Workers that were started in place of an earlier one.",
                (double)md_counter_get(&figures->worker_restarts));
    md_metrics_head(page, "medaid_time_to_notification_seconds", "histogram",
                    "From the last image of a study received to its results stored at every "
                    "destination.");
    md_metrics_histogram(page, "medaid_time_to_notification_seconds", &figures->notification);
}

static void write_positives(md_metrics_page *page)
{
    static const char name[] = "medaid_positives_total";
    md_figures_finding list[MD_FIGURES_MAX_FINDINGS];
    unsigned n = md_figures_positives(list);
    md_metrics_head(page, name, "counter", "Findings that a model called present.");
    for (unsigned i = 0; i < n; i++) {
        const md_metrics_label labels[] = {
            {"finding", list[i].finding}, {"model", list[i].model}, {NULL, NULL}};
        md_metrics_value(page, name, labels, (double)list[i].n);
    }
}

static void write_destinations(md_metrics_page *page, const md_conf *conf, const char *name,
                               const char *help, const md_counter *counters)
{
    md_metrics_head(page, name, "counter", help);
    for (unsigned i = 0; i < conf->n_destinations; i++) {
        const md_metrics_label labels[] = {{"destination", conf->destinations[i].name},
                                           {NULL, NULL}};
        md_metrics_value(page, name, labels,
                         (double)md_counter_get(
                             &counters[md_figures_destination(conf->destinations[i].name)]));
    }
}

static void write_store(md_metrics_page *page, const md_store_counts *counts)
{
    static const char studies[] = "medaid_studies";
    int64_t waits_ms =
        counts->oldest_waiting_ms > 0 ? md_steady_ms() - counts->oldest_waiting_ms : 0;
    md_metrics_head(page, studies, "gauge", "Studies that are kept, by state.");
    for (int i = 0; i < MD_STUDY_N_STATES; i++) {
        const md_metrics_label labels[] = {{"state", md_study_state_name((md_study_state)i)},
                                           {NULL, NULL}};
        md_metrics_value(page, studies, labels, (double)counts->studies[i]);
    }
    write_plain(page, "medaid_queue_age_seconds", "gauge",
                "How long the oldest complete study has waited for its analysis.",
                waits_ms > 0 ? (double)waits_ms / 1000 : 0);
    write_plain(page, "medaid_outbox_pending", "gauge",
                "Objects that wait to be sent, once for each destination.",
                (double)counts->outbox_pending);
    write_plain(page, "medaid_outbox_dead", "gauge", "Objects whose sending was given up.",
                (double)counts->outbox_dead);
    write_plain(page, "medaid_commitments_pending", "gauge",
                "Objects that a destination was sent and has not committed itself to keep yet.",
                (double)counts->uncommitted);
    write_plain(page, "medaid_stored_bytes", "gauge", "Size of all instances that are kept.",
                (double)counts->size_bytes);
}

md_status md_http_write_metrics(const md_http_service *service, md_metrics_page *page,
                                md_error *err)
{
    const md_figures *figures = md_figures_now();
    md_store_counts counts = {0};
    MD_TRY(md_store_count(service->store, &counts, err));
    write_received(page, figures);
    write_analyses(page, figures);
    write_positives(page);
    write_destinations(page, service->conf, "medaid_objects_sent_total",
                       "Objects that the destination took.", figures->sent);
    write_destinations(page, service->conf, "medaid_send_failures_total",
                       "Failed attempts to send an object.", figures->send_failures);
    write_store(page, &counts);
    write_plain(page, "medaid_audit_sent_total", "counter",
                "Audit messages that were handed to the syslog.",
                (double)md_counter_get(&figures->audit_sent));
    write_plain(page, "medaid_audit_dropped_total", "counter", "Audit messages that were lost.",
                (double)md_counter_get(&figures->audit_dropped));
    write_plain(page, "medaid_disk_free_bytes", "gauge",
                "Free space where received objects are stored.",
                (double)md_spool_free_bytes(service->spool));
    write_plain(page, "medaid_paused", "gauge", "1: an operator has stopped new analyses.",
                md_store_flag_is_set(service->store, MD_STORE_PAUSED));
    write_plain(page, "medaid_draining", "gauge", "1: an operator has stopped new objects.",
                md_store_flag_is_set(service->store, MD_STORE_DRAINING));
    write_plain(page, "medaid_uptime_seconds", "gauge", "Time since the start.",
                (double)(md_steady_ms() - service->started_ms) / 1000);
    return page->status == MD_OK
               ? MD_OK
               : md_fail(err, page->status, "no room for the page of figures");
}
