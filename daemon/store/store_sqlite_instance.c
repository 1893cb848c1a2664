#include "daemon/store/store_sqlite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

/* One caller of add_instances in the queue; it lives on that caller's stack. */
struct md_sqlite_add {
    const md_instance_new *items;
    size_t n;
    md_instance_outcome *outcomes;
    md_error *err;
    md_status status;
    bool done;
    md_sqlite_add *next;
};

static void keyed_hash(md_store *store, const char *text, uint8_t ret_hash[MD_SHA256_BYTES])
{
    const md_store_sqlite *s = (const md_store_sqlite *)store;
    unsigned length = 0;
    if (HMAC(EVP_sha256(), s->key_secret, (int)sizeof s->key_secret, (const uint8_t *)text,
             strlen(text), ret_hash, &length) == NULL) {
        abort(); /* the library has no SHA-256: nothing here can go on safely */
    }
}

void md_sqlite_hash(md_store *store, const char *text, char ret_key[MD_STORE_KEY_BYTES])
{
    uint8_t hash[MD_SHA256_BYTES];
    keyed_hash(store, text, hash);
    md_hex(hash, (MD_STORE_KEY_BYTES - 1) / 2, ret_key);
}

void md_sqlite_content_key(md_store *store, uint8_t ret_key[MD_CONTENT_KEY_BYTES])
{
    /* no UID or identifier of anything has a control character */
    keyed_hash(store, "\x01content tag", ret_key);
}

/* The row of the study, made when it is new. */
static md_status find_or_make_study(md_store_sqlite *s, const md_instance_new *item,
                                    md_study *ret_study, bool *ret_new, md_error *err)
{
    md_sqlite *c = &s->writer;
    int64_t id = 0;
    md_status status =
        md_sqlite_int(c, "SELECT id FROM study WHERE uid = ?", &id, err, "t", item->study_uid);
    *ret_new = status == MD_NOT_FOUND;
    if (status == MD_NOT_FOUND) {
        char key[MD_STORE_KEY_BYTES];
        md_sqlite_hash(&s->base, item->study_uid, key);
        /* What outlives a study that was forgotten (findings, clocks, notices) is known by key
         * and generation: one that comes again counts on, or it would be taken for the old one.
         */
        MD_TRY(md_sqlite_run(c,
                             "INSERT INTO study (key, uid, state, priority, first_received,"
                             " last_received, generation) SELECT ?1, ?2, 0, ?3, ?4, ?4,"
                             " 1 + ifnull(max(generation), 0) FROM"
                             " (SELECT generation FROM finding WHERE study_key = ?1 UNION ALL"
                             " SELECT generation FROM history WHERE study_key = ?1 UNION ALL"
                             " SELECT generation FROM notice WHERE study_key = ?1)",
                             err, "ttii", key, item->study_uid, (int64_t)item->priority,
                             item->received_ms));
        id = sqlite3_last_insert_rowid(c->db);
        status = MD_OK;
    }
    MD_TRY(status);
    return md_sqlite_load_study(c, id, ret_study, err);
}

/* What a kept instance does to the state of its study. */
static md_status take_back(md_store_sqlite *s, const md_study *study,
                           const md_instance_new *item, bool *ret_reopened, md_error *err)
{
    md_sqlite *c = &s->writer;
    *ret_reopened = false;
    switch (study->state) {
    case MD_STUDY_RECEIVING:
        return MD_OK;
    case MD_STUDY_COMPLETE:
    case MD_STUDY_ANALYSING:
    case MD_STUDY_REPORTING:
        *ret_reopened = study->state != MD_STUDY_COMPLETE;
        MD_TRY(md_sqlite_set_state(c, study->id, study->state, MD_STUDY_RECEIVING, err));
        return md_sqlite_run(c,
                             "UPDATE study SET token = token + 1, owner = '', lease_until = 0,"
                             " not_before = 0, complete = 0, analysis_start = 0,"
                             " analysis_end = 0 WHERE id = ?",
                             err, "i", study->id);
    case MD_STUDY_DONE:
    case MD_STUDY_FAILED:
        if (s->options.late == MD_LATE_REOPEN) {
            *ret_reopened = true;
            return md_sqlite_reopen(s, study, MD_STUDY_RECEIVING, item->received_ms,
                                    item->received_ms, err);
        }
        return md_sqlite_forward_late(c, study->id, item->received_ms, err);
    case MD_STUDY_SENDING:
        if (s->options.late == MD_LATE_KEEP) {
            MD_TRY(md_sqlite_forward_late(c, study->id, item->received_ms, err));
        }
        /* fall through */
    case MD_STUDY_QUARANTINED:
        return md_sqlite_run(c, "UPDATE study SET late = 1 WHERE id = ?", err, "i", study->id);
    case MD_STUDY_N_STATES:
        break;
    }
    return md_fail(err, MD_INTERNAL, "a study in state %d", (int)study->state);
}

static md_status insert_instance(md_store_sqlite *s, const md_study *study,
                                 const md_instance_new *item, bool conflict, bool current,
                                 md_error *err)
{
    md_sqlite *c = &s->writer;
    if (conflict && current) {
        MD_TRY(md_sqlite_run(c, "UPDATE instance SET current = 0 WHERE study = ? AND uid = ?",
                             err, "it", study->id, item->sop_instance_uid));
    }
    MD_TRY(md_sqlite_run(
        c,
        "INSERT INTO instance (study, uid, class, series, syntax, source,"
        " content_tag, file, size_bytes, received, current, called, tags)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        err, "ittttthiiiitt", study->id, item->sop_instance_uid, item->sop_class_uid,
        item->series_uid, item->transfer_syntax_uid, item->source_ae, item->content_tag,
        (int64_t)item->file, (int64_t)item->size_bytes, item->received_ms, (int64_t)current,
        item->called_ae != NULL ? item->called_ae : "", item->tags != NULL ? item->tags : ""));
    return md_sqlite_run(
        c,
        "UPDATE study SET n_instances = n_instances + ?, n_conflicts = n_conflicts + ?,"
        " size_bytes = size_bytes + ?, last_received = max(last_received, ?),"
        " priority = max(priority, ?) WHERE id = ?",
        err, "iiiiii", (int64_t)!conflict, (int64_t)conflict, (int64_t)item->size_bytes,
        item->received_ms, (int64_t)item->priority, study->id);
}

/* A known instance at a title that is new to its study. */
static md_status come_again(md_store_sqlite *s, const md_study *study,
                            const md_instance_new *item, bool *ret_reopened, md_error *err)
{
    MD_TRY(md_sqlite_run(&s->writer,
                         "UPDATE study SET last_received = max(last_received, ?),"
                         " priority = max(priority, ?) WHERE id = ?",
                         err, "iii", item->received_ms, (int64_t)item->priority, study->id));
    return take_back(s, study, item, ret_reopened, err);
}

/* Note that the study was sent to this title; *ret_new when it was not before. One more than
 * there is room for is left out: a configuration does not have so many at one time. */
static md_status add_title(md_store_sqlite *s, const md_study *study, const char *title,
                           bool *ret_new, md_error *err)
{
    char called[MD_STORE_CALLED_BYTES];
    size_t length = title != NULL ? strlen(title) : 0;
    *ret_new = false;
    if (length == 0) {
        return MD_OK;
    }
    for (const char *at = study->called; at != NULL; at = strchr(at, '\\')) {
        at += *at == '\\';
        if (strncmp(at, title, length) == 0 && (at[length] == '\0' || at[length] == '\\')) {
            return MD_OK;
        }
    }
    const char *joint = study->called[0] == '\0' ? "" : "\\";
    int size = snprintf(called, sizeof called, "%s%s%s", study->called, joint, title);
    if (size < 0 || (size_t)size >= sizeof called) {
        return MD_OK;
    }
    *ret_new = true;
    return md_sqlite_run(&s->writer, "UPDATE study SET called = ? WHERE id = ?", err, "ti",
                         called, study->id);
}

/* The file of the copy that has these bytes. */
static md_status find_same(md_sqlite *c, int64_t study, const md_instance_new *item,
                           md_instance_outcome *outcome, bool *ret_found, md_error *err)
{
    sqlite3_stmt *row_of = NULL;
    MD_TRY(md_sqlite_start(c,
                           "SELECT file, size_bytes FROM instance WHERE study = ? AND uid = ?"
                           " AND content_tag = ?",
                           &row_of, err, "ith", study, item->sop_instance_uid,
                           item->content_tag));
    MD_TRY(md_sqlite_step(c, row_of, ret_found, err));
    if (*ret_found) {
        outcome->file = (uint64_t)sqlite3_column_int64(row_of, 0);
        outcome->size_bytes = (uint64_t)sqlite3_column_int64(row_of, 1);
    }
    md_sqlite_end(row_of);
    return MD_OK;
}

static md_status add_one(md_store_sqlite *s, const md_instance_new *item,
                         md_instance_outcome *ret_outcome, md_error *err)
{
    md_study study;
    bool is_new = false;
    bool is_new_title = false;
    MD_TRY(find_or_make_study(s, item, &study, &is_new, err));
    memset(ret_outcome, 0, sizeof *ret_outcome);
    ret_outcome->study = study.id;
    memcpy(ret_outcome->study_key, study.key, sizeof study.key);

    bool is_same = false;
    int64_t n_copies = 0;
    if (!is_new) {
        MD_TRY(md_sqlite_int(&s->writer,
                             "SELECT count(*) FROM instance WHERE study = ? AND uid = ?",
                             &n_copies, err, "it", study.id, item->sop_instance_uid));
    }
    if (n_copies > 0) {
        MD_TRY(find_same(&s->writer, study.id, item, ret_outcome, &is_same, err));
    }
    if (is_same) {
        ret_outcome->kind = MD_INSTANCE_SAME;
        MD_TRY(add_title(s, &study, item->called_ae, &is_new_title, err));
        return is_new_title ? come_again(s, &study, item, &ret_outcome->reopened, err) : MD_OK;
    }
    bool conflict = n_copies > 0;
    if (conflict && s->options.conflict == MD_CONFLICT_REFUSE) {
        ret_outcome->kind = MD_INSTANCE_REFUSED;
        return MD_OK;
    }
    MD_TRY(add_title(s, &study, item->called_ae, &is_new_title, err));
    bool current = !conflict || s->options.conflict == MD_CONFLICT_USE_LAST;
    ret_outcome->kind = conflict ? MD_INSTANCE_CONFLICT : MD_INSTANCE_STORED;
    MD_TRY(insert_instance(s, &study, item, conflict, current, err));
    return current || is_new_title ? take_back(s, &study, item, &ret_outcome->reopened, err)
                                   : MD_OK;
}

/* All items of one caller or none: a savepoint keeps the others of the group out of its
 * trouble. */
static void add_caller(md_store_sqlite *s, md_sqlite_add *add)
{
    md_sqlite *c = &s->writer;
    if (sqlite3_get_autocommit(c->db) != 0) {
        /* SQLite rolled the whole transaction back (disk full, out of memory, input/output) */
        add->status = MD_CANCELLED;
        return;
    }
    add->status = md_sqlite_run(c, "SAVEPOINT caller", add->err, "");
    for (size_t i = 0; i < add->n && add->status == MD_OK; i++) {
        add->status = add_one(s, &add->items[i], &add->outcomes[i], add->err);
    }
    if (add->status != MD_OK && sqlite3_get_autocommit(c->db) == 0 &&
        md_sqlite_run(c, "ROLLBACK TO caller", NULL, "") != MD_OK) {
        /* half of what was refused would stay: better the sender of the others comes again */
        md_sqlite_undo(c, "ROLLBACK");
    }
    if (sqlite3_get_autocommit(c->db) == 0) {
        md_status released = md_sqlite_run(c, "RELEASE caller", add->err, "");
        add->status = add->status == MD_OK ? released : add->status;
    }
}

/* One transaction for the whole list. If the transaction is lost every caller learns why. */
static void add_group(md_store_sqlite *s, md_sqlite_add *first)
{
    md_error why = {0};
    md_status status = md_sqlite_begin(s, &why);
    if (status == MD_OK) {
        for (md_sqlite_add *add = first; add != NULL; add = add->next) {
            add_caller(s, add);
            if (sqlite3_get_autocommit(s->writer.db) != 0 && add->status != MD_CANCELLED) {
                status = add->status;
                why = add->err != NULL ? *add->err : why;
            }
        }
        if (status != MD_OK && why.status == MD_OK) {
            (void)md_fail(&why, status, "database: the transaction was rolled back");
        }
        status = md_sqlite_commit(s, status, &why);
    }
    for (md_sqlite_add *add = first; add != NULL && status != MD_OK; add = add->next) {
        if (add->status == MD_OK || add->status == MD_CANCELLED) {
            add->status = status;
            if (add->err != NULL) {
                *add->err = why;
            }
        }
    }
}

md_status md_sqlite_add_instances(md_store *store, const md_instance_new *items, size_t n,
                                  md_instance_outcome *ret_outcomes, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_error own_err = {0};
    md_sqlite_add add = {
        .items = items, .n = n, .outcomes = ret_outcomes, .err = err != NULL ? err : &own_err};
    pthread_mutex_lock(&s->add_lock);
    *s->add_last = &add;
    s->add_last = &add.next;
    while (!add.done) {
        if (s->add_running) {
            pthread_cond_wait(&s->add_done, &s->add_lock);
            continue;
        }
        /* Nobody is committing: do it for all that wait. Those that come meanwhile are the next
         * group. */
        s->add_running = true;
        md_sqlite_add *first = s->add_first;
        s->add_first = NULL;
        s->add_last = &s->add_first;
        pthread_mutex_unlock(&s->add_lock);
        add_group(s, first);
        pthread_mutex_lock(&s->add_lock);
        s->add_running = false;
        for (md_sqlite_add *a = first; a != NULL;) {
            md_sqlite_add *next = a->next; /* its caller may return once done is seen */
            a->done = true;
            a = next;
        }
        pthread_cond_broadcast(&s->add_done);
    }
    pthread_mutex_unlock(&s->add_lock);
    return add.status;
}

static md_status replace_file(md_sqlite *c, uint64_t before, uint64_t file, uint64_t size_bytes,
                              md_error *err)
{
    MD_TRY(md_sqlite_run(c,
                         "UPDATE study SET size_bytes = size_bytes + ?2 -"
                         " (SELECT size_bytes FROM instance WHERE file = ?1)"
                         " WHERE id = (SELECT study FROM instance WHERE file = ?1)",
                         err, "ii", (int64_t)before, (int64_t)size_bytes));
    MD_TRY(md_sqlite_run(c, "UPDATE instance SET file = ?, size_bytes = ? WHERE file = ?", err,
                         "iii", (int64_t)file, (int64_t)size_bytes, (int64_t)before));
    return sqlite3_changes(c->db) == 1
               ? MD_OK
               : md_fail(err, MD_CANCELLED, "no instance has that file any more");
}

md_status md_sqlite_replace_file(md_store *store, uint64_t before, uint64_t file,
                                 uint64_t size_bytes, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    return md_sqlite_commit(s, replace_file(&s->writer, before, file, size_bytes, err), err);
}

static void read_instance(sqlite3_stmt *row_of, md_instance *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->id = sqlite3_column_int64(row_of, 0);
    ret->study = sqlite3_column_int64(row_of, 1);
    md_sqlite_text(row_of, 2, ret->sop_instance_uid, sizeof ret->sop_instance_uid);
    md_sqlite_text(row_of, 3, ret->sop_class_uid, sizeof ret->sop_class_uid);
    md_sqlite_text(row_of, 4, ret->series_uid, sizeof ret->series_uid);
    md_sqlite_text(row_of, 5, ret->transfer_syntax_uid, sizeof ret->transfer_syntax_uid);
    md_sqlite_text(row_of, 6, ret->source_ae, sizeof ret->source_ae);
    if (sqlite3_column_bytes(row_of, 7) == MD_CONTENT_TAG_BYTES) {
        memcpy(ret->content_tag, sqlite3_column_blob(row_of, 7), MD_CONTENT_TAG_BYTES);
    }
    ret->file = (uint64_t)sqlite3_column_int64(row_of, 8);
    ret->size_bytes = (uint64_t)sqlite3_column_int64(row_of, 9);
    ret->received_ms = sqlite3_column_int64(row_of, 10);
    ret->current = sqlite3_column_int(row_of, 11) != 0;
    md_sqlite_text(row_of, 12, ret->called_ae, sizeof ret->called_ae);
}

static md_status load_instances(md_sqlite *c, int64_t study, bool only_current,
                                md_instance **ret_instances, size_t *ret_n, md_error *err)
{
    MD_AUTO(md_freep) md_instance *list = NULL;
    size_t n = 0;
    size_t n_room = 0;
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(
        c,
        "SELECT id, study, uid, class, series, syntax, source, content_tag, file,"
        " size_bytes, received, current, called FROM instance"
        " WHERE study = ? AND current >= ? ORDER BY id",
        &row_of, err, "ii", study, (int64_t)only_current));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row) {
        if (n == n_room) {
            n_room = n_room == 0 ? 16 : 2 * n_room;
            size_t size_bytes;
            void *grown =
                md_mul(n_room, sizeof *list, &size_bytes) ? md_realloc(list, size_bytes) : NULL;
            if (grown == NULL) {
                md_sqlite_end(row_of);
                return md_fail(err, MD_NOMEM, "no memory for %zu instances", n_room);
            }
            list = grown;
        }
        read_instance(row_of, &list[n++]);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_instances = MD_STEAL(list);
    *ret_n = n;
    return MD_OK;
}

md_status md_sqlite_instances(md_store *store, int64_t study, bool only_current,
                              md_instance **ret_instances, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_instances(reader, study, only_current, ret_instances, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}

static md_status load_tag_sets(md_sqlite *c, int64_t study, size_t n_max, md_tag_set **ret_sets,
                               size_t *ret_n, md_error *err)
{
    int64_t n_sets = 0;
    MD_TRY(md_sqlite_int(c,
                         "SELECT count(*) FROM (SELECT 1 FROM instance WHERE study = ? AND"
                         " current = 1 GROUP BY tags, class, source, called)",
                         &n_sets, err, "i", study));
    size_t n = n_sets < 0 || (uint64_t)n_sets > n_max ? n_max : (size_t)n_sets;
    MD_AUTO(md_freep) md_tag_set *sets = md_calloc(n + 1, sizeof *sets);
    if (sets == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for what is known of %zu instances", n);
    }
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    size_t i = 0;
    MD_TRY(md_sqlite_start(c,
                           "SELECT tags, class, source, called, count(*) FROM instance"
                           " WHERE study = ? AND current = 1"
                           " GROUP BY tags, class, source, called ORDER BY min(id)",
                           &row_of, err, "i", study));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    while (row && i < n) {
        md_sqlite_text(row_of, 0, sets[i].tags, sizeof sets[i].tags);
        md_sqlite_text(row_of, 1, sets[i].sop_class_uid, sizeof sets[i].sop_class_uid);
        md_sqlite_text(row_of, 2, sets[i].source_ae, sizeof sets[i].source_ae);
        md_sqlite_text(row_of, 3, sets[i].called_ae, sizeof sets[i].called_ae);
        sets[i++].n_instances = (unsigned)sqlite3_column_int(row_of, 4);
        MD_TRY(md_sqlite_step(c, row_of, &row, err));
    }
    md_sqlite_end(row_of);
    *ret_sets = i > 0 ? MD_STEAL(sets) : NULL;
    *ret_n = i;
    return MD_OK;
}

md_status md_sqlite_tag_sets(md_store *store, int64_t study, size_t n_max,
                             md_tag_set **ret_sets, size_t *ret_n, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    md_sqlite *reader = NULL;
    MD_TRY(md_sqlite_reader(s, &reader, err));
    md_status status = load_tag_sets(reader, study, n_max, ret_sets, ret_n, err);
    md_sqlite_reader_done(s, reader);
    return status;
}
