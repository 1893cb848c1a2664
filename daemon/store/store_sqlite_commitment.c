#include "daemon/store/store_sqlite.h"

#include <string.h>

/* Storage commitment: requests in the table of that name, the rows that they are about in the
 * outbox. A row is WANTED (1) from the moment it was sent, ASKED (2) while its request is open,
 * GIVEN (3) when the destination has promised. */

/* A study that this destination has been sent all of, and that nobody works on: one request
 * covers what came before the analysis and after it. */
static md_status next_study(md_sqlite *c, const char *destination, int64_t now_ms,
                            int64_t *ret_study, md_error *err)
{
    return md_sqlite_int(c,
                         "SELECT o.study FROM outbox o JOIN study s ON s.id = o.study"
                         " WHERE o.destination = ?1 AND o.committed = 1 AND o.state = 1 AND"
                         " o.next_commitment <= ?2 AND s.state IN (4, 5, 6, 7) AND NOT EXISTS"
                         " (SELECT 1 FROM outbox p WHERE p.study = o.study AND p.state = 0 AND"
                         "  p.destination = ?1)"
                         " ORDER BY o.next_commitment, o.id LIMIT 1",
                         ret_study, err, "ti", destination, now_ms);
}

static md_status take_items(md_sqlite *c, const char *destination, int64_t now_ms, size_t n_max,
                            md_commitment_request *request, md_commitment_item *ret_items,
                            md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_run(c,
                         "UPDATE outbox SET committed = 2, commitment = ?1 WHERE id IN"
                         " (SELECT id FROM outbox WHERE study = ?2 AND destination = ?3 AND"
                         "  committed = 1 AND state = 1 AND next_commitment <= ?4"
                         "  ORDER BY id LIMIT ?5)",
                         err, "iitii", request->id, request->study, destination, now_ms,
                         (int64_t)n_max));
    MD_TRY(md_sqlite_start(c,
                           "SELECT ifnull(b.class, i.class), ifnull(b.uid, i.uid) FROM outbox o"
                           " LEFT JOIN object b ON b.id = o.object"
                           " LEFT JOIN instance i ON i.id = o.instance"
                           " WHERE o.study = ?1 AND o.destination = ?2 AND o.committed = 2 AND"
                           " o.commitment = ?3 ORDER BY o.id",
                           &row_of, err, "iti", request->study, destination, request->id));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && request->n_items < n_max) {
        md_commitment_item *item = &ret_items[request->n_items++];
        memset(item, 0, sizeof *item);
        md_sqlite_text(row_of, 0, item->sop_class_uid, sizeof item->sop_class_uid);
        md_sqlite_text(row_of, 1, item->sop_instance_uid, sizeof item->sop_instance_uid);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    return MD_OK;
}

static md_status begin_request(md_sqlite *c, const char *destination, const char *uid,
                               int64_t now_ms, int64_t expires_ms, size_t n_max,
                               md_commitment_request *request, md_commitment_item *ret_items,
                               md_error *err)
{
    md_study study;
    MD_TRY(next_study(c, destination, now_ms, &request->study, err));
    MD_TRY(md_sqlite_run(c,
                         "INSERT INTO commitment (uid, study, destination, expires)"
                         " VALUES (?, ?, ?, ?)",
                         err, "titi", uid, request->study, destination, expires_ms));
    request->id = sqlite3_last_insert_rowid(c->db);
    MD_TRY(md_sqlite_load_study(c, request->study, &study, err));
    memcpy(request->study_key, study.key, sizeof request->study_key);
    return take_items(c, destination, now_ms, n_max, request, ret_items, err);
}

md_status md_sqlite_commitment_begin(md_store *store, const char *destination, const char *uid,
                                     int64_t now_ms, int64_t expires_ms, size_t n_max,
                                     md_commitment_request *ret_request,
                                     md_commitment_item *ret_items, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    md_commitment_request request = {0};
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = next_study(reader, destination, now_ms, &request.study, err);
    md_sqlite_reader_done(s, reader);
    MD_TRY(status);
    MD_TRY(md_sqlite_begin(s, err));
    status = begin_request(&s->writer, destination, uid, now_ms, expires_ms, n_max, &request,
                           ret_items, err);
    MD_TRY(md_sqlite_commit(s, status, err));
    *ret_request = request;
    return MD_OK;
}

md_status md_sqlite_commitment_asked(md_store *store, int64_t request, int64_t now_ms,
                                     md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(s,
                            md_sqlite_run(&s->writer,
                                          "UPDATE commitment SET asked = ? WHERE id = ?", err,
                                          "ii", now_ms, request),
                            err);
}

/* A request as the table has it. */
typedef struct request_row {
    int64_t id, study;
    bool is_open;
    char destination[MD_STORE_NAME_BYTES];
} request_row;

static md_status load_request(md_sqlite *c, const char *sql, const char *type, int64_t id,
                              const char *uid, request_row *ret_request, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(type[0] == 'i' ? md_sqlite_start(c, sql, &row_of, err, "i", id)
                          : md_sqlite_start(c, sql, &row_of, err, "t", uid));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    if (row) {
        ret_request->id = sqlite3_column_int64(row_of, 0);
        ret_request->study = sqlite3_column_int64(row_of, 1);
        md_sqlite_text(row_of, 2, ret_request->destination, sizeof ret_request->destination);
        ret_request->is_open = sqlite3_column_int(row_of, 3) != 0;
    }
    md_sqlite_end(row_of);
    return row ? MD_OK : md_fail(err, MD_NOT_FOUND, "no such commitment");
}

static md_status close_request(md_store_sqlite *s, int64_t id, int64_t next_ms,
                               int64_t give_up_since_ms, int64_t now_ms, size_t *ret_n_dead,
                               md_error *err)
{
    md_sqlite *c = &s->writer;
    request_row request = {0};
    md_study_state state;
    md_status status =
        load_request(c, "SELECT id, study, destination, open FROM commitment WHERE id = ?", "i",
                     id, NULL, &request, err);
    if (status == MD_NOT_FOUND) {
        return MD_OK; /* its study is retired */
    }
    MD_TRY(status);
    MD_TRY(md_sqlite_run(c, "UPDATE commitment SET open = 0 WHERE id = ?", err, "i", id));
    MD_TRY(md_sqlite_run(c,
                         "UPDATE outbox SET state = 2, committed = 1, commitment = 0"
                         " WHERE study = ?1 AND committed = 2 AND commitment = ?2 AND"
                         " since < ?3",
                         err, "iii", request.study, id, give_up_since_ms));
    *ret_n_dead = (size_t)sqlite3_changes(c->db);
    MD_TRY(md_sqlite_run(c,
                         "UPDATE outbox SET committed = 1, commitment = 0, next_commitment = ?3"
                         " WHERE study = ?1 AND committed = 2 AND commitment = ?2",
                         err, "iii", request.study, id, next_ms));
    return md_sqlite_end_sending(s, request.study, now_ms, &state, err);
}

md_status md_sqlite_commitment_close(md_store *store, int64_t request, int64_t next_ms,
                                     int64_t give_up_since_ms, int64_t now_ms,
                                     size_t *ret_n_dead, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    size_t n_dead = 0;
    MD_TRY(md_sqlite_begin(s, err));
    MD_TRY(md_sqlite_commit(
        s, close_request(s, request, next_ms, give_up_since_ms, now_ms, &n_dead, err), err));
    *ret_n_dead = n_dead;
    return MD_OK;
}

md_status md_sqlite_commitment_expired(md_store *store, const char *destination, int64_t now_ms,
                                       int64_t *ret_request, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = md_sqlite_int(reader,
                                     "SELECT id FROM commitment WHERE destination = ? AND"
                                     " open = 1 AND expires <= ? ORDER BY expires LIMIT 1",
                                     ret_request, err, "ti", destination, now_ms);
    md_sqlite_reader_done(s, reader);
    return status;
}

/* The rows of one instance at the destination of a request: as our object, or as received (in
 * several copies, which have one UID and share its fate). */
#define ROWS_OF_ITEM                                                                           \
    "(SELECT o.id FROM object b JOIN outbox o ON o.object = b.id WHERE b.study = ?1 AND"       \
    "  b.uid = ?2 AND o.destination = ?3 UNION ALL"                                            \
    " SELECT o.id FROM instance i JOIN outbox o ON o.instance = i.id WHERE i.study = ?1 AND"   \
    "  i.uid = ?2 AND o.destination = ?3)"

static md_status take_item(md_sqlite *c, const request_row *request,
                           const md_commitment_item *item, const md_commitment_policy *policy,
                           int64_t now_ms, md_commitment_outcome *outcome, md_error *err)
{
    if (!item->failed) {
        MD_TRY(md_sqlite_run(c,
                             "UPDATE outbox SET committed = 3, commitment = 0, since = ?4"
                             " WHERE id IN " ROWS_OF_ITEM " AND state = 1 AND"
                             " committed IN (1, 2)",
                             err, "itti", request->study, item->sop_instance_uid,
                             request->destination, now_ms));
        outcome->n_committed += (size_t)sqlite3_changes(c->db);
        return MD_OK;
    }
    if (item->ask_again || !request->is_open) {
        return MD_OK;
    }
    MD_TRY(md_sqlite_run(c,
                         "UPDATE outbox SET state = 2, committed = 1, commitment = 0,"
                         " n_uncommitted = n_uncommitted + 1 WHERE id IN " ROWS_OF_ITEM
                         " AND committed = 2 AND commitment = ?4 AND n_uncommitted + 1 >= ?5",
                         err, "ittii", request->study, item->sop_instance_uid,
                         request->destination, request->id, (int64_t)policy->max_uncommitted));
    outcome->n_dead += (size_t)sqlite3_changes(c->db);
    MD_TRY(md_sqlite_run(c,
                         "UPDATE outbox SET state = 0, committed = 0, commitment = 0,"
                         " n_uncommitted = n_uncommitted + 1, n_attempts = 0, since = ?5,"
                         " next_attempt = ?6, lease_until = 0 WHERE id IN " ROWS_OF_ITEM
                         " AND committed = 2 AND commitment = ?4",
                         err, "ittiii", request->study, item->sop_instance_uid,
                         request->destination, request->id, now_ms, now_ms + policy->retry_ms));
    outcome->n_again += (size_t)sqlite3_changes(c->db);
    return MD_OK;
}

/* What the answer is silent about. */
static md_status take_rest(md_store_sqlite *s, const request_row *request,
                           const md_commitment_policy *policy, int64_t now_ms,
                           md_commitment_outcome *outcome, md_error *err)
{
    md_sqlite *c = &s->writer;
    if (request->is_open) {
        MD_TRY(md_sqlite_run(c,
                             "UPDATE outbox SET state = 2, committed = 1, commitment = 0,"
                             " n_uncommitted = n_uncommitted + 1 WHERE study = ?1 AND"
                             " committed = 2 AND commitment = ?2 AND n_uncommitted + 1 >= ?3",
                             err, "iii", request->study, request->id,
                             (int64_t)policy->max_uncommitted));
        outcome->n_dead += (size_t)sqlite3_changes(c->db);
        MD_TRY(md_sqlite_run(c,
                             "UPDATE outbox SET committed = 1, commitment = 0,"
                             " n_uncommitted = n_uncommitted + 1, next_commitment = ?3"
                             " WHERE study = ?1 AND committed = 2 AND commitment = ?2",
                             err, "iii", request->study, request->id,
                             now_ms + policy->retry_ms));
        outcome->n_again += (size_t)sqlite3_changes(c->db);
        MD_TRY(md_sqlite_run(c, "UPDATE commitment SET open = 0 WHERE id = ?", err, "i",
                             request->id));
    }
    md_study study;
    md_study_state state;
    int64_t n_open = 0;
    MD_TRY(md_sqlite_end_sending(s, request->study, now_ms, &state, err));
    MD_TRY(md_sqlite_load_study(c, request->study, &study, err));
    MD_TRY(md_sqlite_int(c,
                         "SELECT count(*) FROM outbox WHERE study = ? AND destination = ? AND"
                         " (state = 0 OR committed IN (1, 2))",
                         &n_open, err, "it", request->study, request->destination));
    outcome->n_open = (size_t)n_open;
    memcpy(outcome->study_key, study.key, sizeof outcome->study_key);
    memcpy(outcome->destination, request->destination, sizeof outcome->destination);
    return MD_OK;
}

static md_status report(md_store_sqlite *s, const char *uid, const md_commitment_item *items,
                        size_t n, const md_commitment_policy *policy, int64_t now_ms,
                        md_commitment_outcome *outcome, md_error *err)
{
    request_row request = {0};
    MD_TRY(load_request(&s->writer,
                        "SELECT id, study, destination, open FROM commitment WHERE uid = ?",
                        "t", 0, uid, &request, err));
    for (size_t i = 0; i < n; i++) {
        MD_TRY(take_item(&s->writer, &request, &items[i], policy, now_ms, outcome, err));
    }
    return take_rest(s, &request, policy, now_ms, outcome, err);
}

md_status md_sqlite_commitment_report(md_store *store, const char *uid,
                                      const md_commitment_item *items, size_t n,
                                      const md_commitment_policy *policy, int64_t now_ms,
                                      md_commitment_outcome *ret_outcome, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_commitment_outcome outcome = {0};
    MD_TRY(md_sqlite_begin(s, err));
    MD_TRY(md_sqlite_commit(s, report(s, uid, items, n, policy, now_ms, &outcome, err), err));
    *ret_outcome = outcome;
    return MD_OK;
}

md_status md_sqlite_commitment_next_ms(md_store *store, const char *destination, int64_t now_ms,
                                       int64_t *ret_ms, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    int64_t next = 0;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = md_sqlite_int(
        reader,
        "SELECT min("
        " ifnull((SELECT min(next_commitment) FROM outbox WHERE destination = ?1 AND"
        "  committed = 1 AND next_commitment > ?2), 9223372036854775807),"
        " ifnull((SELECT min(expires) FROM commitment WHERE destination = ?1 AND open = 1 AND"
        "  expires > ?2), 9223372036854775807))",
        &next, err, "ti", destination, now_ms);
    md_sqlite_reader_done(s, reader);
    MD_TRY(status);
    *ret_ms = next;
    return MD_OK;
}

md_status md_sqlite_commitment_waive(md_store *store, const char *destination, size_t *ret_n,
                                     md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    int64_t n = 0;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status = md_sqlite_run(&s->writer,
                                     "UPDATE outbox SET committed = 0, commitment = 0 WHERE"
                                     " destination = ? AND committed IN (1, 2)",
                                     err, "t", destination);
    if (status == MD_OK) {
        n = sqlite3_changes(s->writer.db);
        status = md_sqlite_run(&s->writer,
                               "UPDATE commitment SET open = 0 WHERE destination = ? AND"
                               " open = 1",
                               err, "t", destination);
    }
    MD_TRY(md_sqlite_commit(s, status, err));
    *ret_n = (size_t)n;
    return MD_OK;
}

md_status md_sqlite_commitment_recover(md_sqlite *c, md_error *err)
{
    MD_TRY(md_sqlite_run(c,
                         "UPDATE outbox SET committed = 1, commitment = 0 WHERE committed = 2"
                         " AND commitment IN"
                         " (SELECT id FROM commitment WHERE open = 1 AND asked = 0)",
                         err, ""));
    return md_sqlite_run(c, "UPDATE commitment SET open = 0 WHERE open = 1 AND asked = 0", err,
                         "");
}

md_status md_sqlite_held(md_store *store, int64_t ended_before_ms, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    int64_t n = 0;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = md_sqlite_int(
        reader,
        "SELECT count(*) FROM study WHERE state IN (5, 6) AND ended < ? AND EXISTS"
        " (SELECT 1 FROM outbox WHERE outbox.study = study.id AND committed IN (1, 2))",
        &n, err, "i", ended_before_ms);
    md_sqlite_reader_done(s, reader);
    MD_TRY(status);
    *ret_n = (size_t)n;
    return MD_OK;
}
