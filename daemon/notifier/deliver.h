#ifndef MEDAID_DAEMON_NOTIFIER_DELIVER_H
#define MEDAID_DAEMON_NOTIFIER_DELIVER_H

/* One attempt to deliver a text. MD_OK: the other side said that it has it. MD_NETWORK,
 * MD_TIMEOUT, MD_BUSY, MD_IO, MD_NOMEM: worth another attempt. MD_UNSUPPORTED: it refuses this
 * text. Messages hold nothing of the text and nothing that the other side wrote. Any thread,
 * after md_deliver_init. */

#include "base/memory.h"

enum {
    MD_DELIVER_MAX_ANSWER_BYTES = 64 * 1024
};

/* Once, before other threads (curl_global_init). */
md_status md_deliver_init(md_error *err) MD_NODISCARD;

typedef struct md_deliver_peer {
    const char *url;    /* webhook: "https://..."; HL7: "host:port" */
    const char *ca;     /* PEM of who signs the peer's certificate; "": the system's */
    bool use_tls;       /* HL7 over TLS; a webhook's URL says it itself */
    unsigned timeout_s; /* 1..3600, for the whole attempt */
} md_deliver_peer;

/* HTTP POST of JSON. Headers beside Content-Type: Medaid-Delivery: `id`, the same for each
 * attempt; Medaid-Timestamp: seconds since 1970; with a secret Medaid-Signature: "sha256=" and
 * HMAC-SHA256 (RFC 2104) in hexadecimal of timestamp, ".", body. Redirects are not followed.
 * 2xx is success; 408, 425, 429 and 5xx are worth another attempt. */
md_status md_deliver_webhook(const md_deliver_peer *peer, const uint8_t *secret,
                             size_t secret_bytes, const char *id, const char *body,
                             md_error *err) MD_NODISCARD;

/* One HL7 message over MLLP (HL7 v2 transport, release 1: 0x0b, message, 0x1c 0x0d) and its
 * acknowledgement: MSA-1 AA or CA with MSA-2 `control_id` is success, AE and AR a refusal. */
md_status md_deliver_mllp(const md_deliver_peer *peer, const char *control_id, const char *body,
                          md_error *err) MD_NODISCARD;

/* What an acknowledgement says; `bytes` are between the frame's marks. */
md_status md_deliver_judge_ack(const char *bytes, size_t size_bytes, const char *control_id,
                               md_error *err) MD_NODISCARD;

/* A mail through the program `sendmail` (path), as `sendmail -i -f FROM -- TO` with the mail on
 * its standard input. Exit 75 (EX_TEMPFAIL) is worth another attempt. */
md_status md_deliver_mail(const char *sendmail, const char *from, const char *to,
                          unsigned timeout_s, const char *body, md_error *err) MD_NODISCARD;

#endif
