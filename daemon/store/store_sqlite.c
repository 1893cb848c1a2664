#include "daemon/store/store_sqlite.h"

#include "base/utf8.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const flag_names[] = {
    [MD_STORE_PAUSED] = "paused", [MD_STORE_DRAINING] = "draining"};

md_status md_sqlite_fail(md_error *err, int code, const char *what)
{
    md_status status = MD_INTERNAL;
    const char *advice = "";
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        status = MD_BUSY;
        break;
    case SQLITE_FULL:
        status = MD_LIMIT;
        break;
    case SQLITE_NOMEM:
        status = MD_NOMEM;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        status = MD_FORMAT;
        advice = ": restore a backup, or move it away and let senders send again";
        break;
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_PROTOCOL:
        status = MD_IO;
        break;
    default:
        break;
    }
    return md_fail(err, status, "database: %s: %s (%d)%s", what, sqlite3_errstr(code), code,
                   advice);
}

static md_status prepared(md_sqlite *c, const char *sql, sqlite3_stmt **ret_statement,
                          md_error *err)
{
    for (unsigned i = 0; i < c->n_statements; i++) {
        if (c->statements[i].sql == sql) {
            *ret_statement = c->statements[i].statement;
            return MD_OK;
        }
    }
    assert(c->n_statements < MD_SQLITE_MAX_STATEMENTS);
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
    if (code != SQLITE_OK) {
        return md_sqlite_fail(err, code, "preparing a statement");
    }
    c->statements[c->n_statements++] = (md_sqlite_statement){sql, statement};
    *ret_statement = statement;
    return MD_OK;
}

static md_status start(md_sqlite *c, const char *sql, sqlite3_stmt **ret_statement,
                       md_error *err, const char *types, va_list args)
{
    sqlite3_stmt *statement = NULL;
    MD_TRY(prepared(c, sql, &statement, err));
    int code = SQLITE_OK;
    for (int i = 0; types[i] != '\0' && code == SQLITE_OK; i++) {
        if (types[i] == 'i') {
            code = sqlite3_bind_int64(statement, i + 1, va_arg(args, int64_t));
        } else if (types[i] == 't') {
            code = sqlite3_bind_text(statement, i + 1, va_arg(args, const char *), -1,
                                     SQLITE_STATIC);
        } else if (types[i] == 'r') {
            code = sqlite3_bind_double(statement, i + 1, va_arg(args, double));
        } else if (types[i] == 'b') {
            const uint8_t *bytes = va_arg(args, const uint8_t *);
            size_t n = va_arg(args, size_t);
            code = n == 0 ? sqlite3_bind_zeroblob(statement, i + 1, 0)
                          : sqlite3_bind_blob64(statement, i + 1, bytes, n, SQLITE_STATIC);
        } else {
            assert(types[i] == 'h');
            code = sqlite3_bind_blob(statement, i + 1, va_arg(args, const uint8_t *),
                                     MD_CONTENT_TAG_BYTES, SQLITE_STATIC);
        }
    }
    if (code != SQLITE_OK) {
        return md_sqlite_fail(err, code, "binding a value");
    }
    *ret_statement = statement;
    return MD_OK;
}

md_status md_sqlite_start(md_sqlite *c, const char *sql, sqlite3_stmt **ret_statement,
                          md_error *err, const char *types, ...)
{
    va_list args;
    va_start(args, types);
    md_status status = start(c, sql, ret_statement, err, types, args);
    va_end(args);
    return status;
}

md_status md_sqlite_step(md_sqlite *c, sqlite3_stmt *statement, bool *ret_row, md_error *err)
{
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW || code == SQLITE_DONE) {
        *ret_row = code == SQLITE_ROW;
        return MD_OK;
    }
    code = sqlite3_extended_errcode(c->db);
    md_sqlite_end(statement);
    return md_sqlite_fail(err, code, "reading or writing a row");
}

void md_sqlite_end(sqlite3_stmt *statement)
{
    (void)sqlite3_reset(statement); /* repeats the error of the step, which was told */
    (void)sqlite3_clear_bindings(statement);
}

md_status md_sqlite_run(md_sqlite *c, const char *sql, md_error *err, const char *types, ...)
{
    sqlite3_stmt *statement = NULL;
    va_list args;
    va_start(args, types);
    md_status status = start(c, sql, &statement, err, types, args);
    va_end(args);
    MD_TRY(status);
    bool row = false;
    MD_TRY(md_sqlite_step(c, statement, &row, err));
    md_sqlite_end(statement);
    return MD_OK;
}

void md_sqlite_undo(md_sqlite *c, const char *sql)
{
    md_status status = md_sqlite_run(c, sql, NULL, "");
    (void)status;
}

md_status md_sqlite_int(md_sqlite *c, const char *sql, int64_t *ret_value, md_error *err,
                        const char *types, ...)
{
    sqlite3_stmt *statement = NULL;
    va_list args;
    va_start(args, types);
    md_status status = start(c, sql, &statement, err, types, args);
    va_end(args);
    MD_TRY(status);
    bool row = false;
    MD_TRY(md_sqlite_step(c, statement, &row, err));
    if (row) {
        *ret_value = sqlite3_column_int64(statement, 0);
    }
    md_sqlite_end(statement);
    return row ? MD_OK : md_fail(err, MD_NOT_FOUND, "no such row");
}

void md_sqlite_text(sqlite3_stmt *statement, int column, char *ret_text, size_t size_bytes)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    size_t used = 0;
    /* whole characters: half a one is no text, and JSON refuses the row that has it */
    while (text != NULL && *text != '\0') {
        size_t n = md_utf8_length(text);
        size_t taken = n > 0 ? n : 1;
        if (used + taken >= size_bytes) {
            break;
        }
        memcpy(ret_text + used, n > 0 ? (const void *)text : "?", taken);
        used += taken;
        text += taken;
    }
    ret_text[used] = '\0';
}

md_status md_sqlite_begin(md_store_sqlite *s, md_error *err)
{
    pthread_mutex_lock(&s->write_lock);
    md_status status = md_sqlite_run(&s->writer, "BEGIN IMMEDIATE", err, "");
    if (status != MD_OK) {
        pthread_mutex_unlock(&s->write_lock);
    }
    return status;
}

md_status md_sqlite_commit(md_store_sqlite *s, md_status status, md_error *err)
{
    if (status == MD_OK) {
        status = md_sqlite_run(&s->writer, "COMMIT", err, "");
        atomic_fetch_add(&s->version, 1);
    }
    /* Some failures have rolled back already. */
    if (status != MD_OK && sqlite3_get_autocommit(s->writer.db) == 0) {
        md_sqlite_undo(&s->writer, "ROLLBACK");
    }
    pthread_mutex_unlock(&s->write_lock);
    return status;
}

static void connection_finish(md_sqlite *c)
{
    for (unsigned i = 0; i < c->n_statements; i++) {
        sqlite3_finalize(c->statements[i].statement);
    }
    c->n_statements = 0;
    sqlite3_close(c->db);
    c->db = NULL;
}

static md_status connection_init(md_sqlite *c, const md_store_options *options, bool writes,
                                 md_error *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int code = sqlite3_open_v2(options->path, &c->db, flags, NULL);
    if (code != SQLITE_OK) {
        connection_finish(c);
        return md_sqlite_fail(err, code, "opening it");
    }
    (void)sqlite3_busy_timeout(c->db, (int)options->busy_timeout_ms);
    /* FULL: every commit waits for the disk. Text of ours never grows beyond 256 bytes, so that
     * small limits cost nothing and a mistake shows early. */
    (void)sqlite3_limit(c->db, SQLITE_LIMIT_LENGTH, 1 << 20);
    code = sqlite3_exec(c->db,
                        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                        "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
                        "PRAGMA secure_delete = ON;",
                        NULL, NULL, NULL);
    if (code == SQLITE_OK && !writes) {
        code = sqlite3_exec(c->db, "PRAGMA query_only = ON", NULL, NULL, NULL);
    }
    if (code != SQLITE_OK) {
        connection_finish(c);
        return md_sqlite_fail(err, code, "opening it");
    }
    return MD_OK;
}

md_status md_sqlite_reader(md_store_sqlite *s, md_sqlite **ret_reader, md_error *err)
{
    pthread_mutex_lock(&s->reader_lock);
    md_sqlite *reader = NULL;
    unsigned index = 0;
    while (reader == NULL) {
        for (index = 0; index < MD_SQLITE_N_READERS && s->reader_busy[index]; index++) {
        }
        if (index < MD_SQLITE_N_READERS) {
            reader = &s->readers[index];
        } else {
            pthread_cond_wait(&s->reader_free, &s->reader_lock);
        }
    }
    s->reader_busy[index] = true;
    pthread_mutex_unlock(&s->reader_lock);
    if (reader->db == NULL) {
        md_status status = connection_init(reader, &s->options, false, err);
        if (status != MD_OK) {
            md_sqlite_reader_done(s, reader);
            return status;
        }
    }
    *ret_reader = reader;
    return MD_OK;
}

void md_sqlite_reader_done(md_store_sqlite *s, md_sqlite *reader)
{
    pthread_mutex_lock(&s->reader_lock);
    s->reader_busy[reader - s->readers] = false;
    pthread_cond_signal(&s->reader_free);
    pthread_mutex_unlock(&s->reader_lock);
}

static void sqlite_close(md_store *store)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    for (unsigned i = 0; i < MD_SQLITE_N_READERS; i++) {
        connection_finish(&s->readers[i]);
    }
    connection_finish(&s->writer); /* the last one: SQLite checkpoints here */
    if (s->lock_fd >= 0) {
        close(s->lock_fd);
    }
    pthread_mutex_destroy(&s->write_lock);
    pthread_mutex_destroy(&s->reader_lock);
    pthread_cond_destroy(&s->reader_free);
    pthread_mutex_destroy(&s->add_lock);
    pthread_cond_destroy(&s->add_done);
    md_free(s->path);
    md_free(s);
}

/* Two daemons on one spool would remove each other's files: the lock lives as long as the
 * store. */
static md_status lock_store(md_store_sqlite *s, md_error *err)
{
    size_t length = strlen(s->path);
    MD_AUTO(md_freep) char *lock_path = md_malloc(length + 6);
    if (lock_path == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the store");
    }
    snprintf(lock_path, length + 6, "%s.lock", s->path);
    s->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0) {
        return md_fail_os(err, errno, "database: its lock file");
    }
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int os_errno = errno;
        if (os_errno == EWOULDBLOCK) {
            return md_fail(err, MD_BUSY, "the storage is in use by another medaid");
        }
        return md_fail_os(err, os_errno, "database: its lock");
    }
    /* SQLite gives the files beside it the mode of the database itself. */
    int fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fchmod(fd, 0600) != 0) {
        int os_errno = errno;
        if (fd >= 0) {
            close(fd);
        }
        return md_fail_os(err, os_errno, "database: its file");
    }
    close(fd);
    return MD_OK;
}

static md_status load_meta(md_store_sqlite *s, md_error *err)
{
    md_sqlite *c = &s->writer;
    sqlite3_stmt *row_of = NULL;
    bool row = false;
    MD_TRY(md_sqlite_start(c, "SELECT value FROM meta WHERE name = 'key_secret'", &row_of, err,
                           ""));
    MD_TRY(md_sqlite_step(c, row_of, &row, err));
    bool good = row && sqlite3_column_bytes(row_of, 0) == (int)sizeof s->key_secret;
    if (good) {
        memcpy(s->key_secret, sqlite3_column_blob(row_of, 0), sizeof s->key_secret);
    }
    md_sqlite_end(row_of);
    if (!good) {
        return md_fail(err, MD_FORMAT, "the database lacks the secret of its study keys");
    }
    for (int flag = 0; flag < 2; flag++) {
        int64_t value = 0;
        md_status status = md_sqlite_int(c, "SELECT value FROM meta WHERE name = ?", &value,
                                         err, "t", flag_names[flag]);
        if (status != MD_OK && status != MD_NOT_FOUND) {
            return status;
        }
        atomic_store(&s->flags[flag], value != 0);
    }
    return MD_OK;
}

static md_status set_flag(md_store *store, md_store_flag flag, bool on, md_error *err)
{
    md_store_sqlite *s = (md_store_sqlite *)store;
    MD_TRY(md_sqlite_begin(s, err));
    md_status status =
        md_sqlite_run(&s->writer, "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)",
                      err, "ti", flag_names[flag], (int64_t)on);
    MD_TRY(md_sqlite_commit(s, status, err));
    atomic_store(&s->flags[flag], on);
    return MD_OK;
}

static bool flag_is_set(md_store *store, md_store_flag flag)
{
    return atomic_load(&((md_store_sqlite *)store)->flags[flag]);
}

static const md_store_backend backend = {
    .name = "sqlite",
    .close = sqlite_close,
    .recover = md_sqlite_recover,
    .add_instances = md_sqlite_add_instances,
    .replace_file = md_sqlite_replace_file,
    .instances = md_sqlite_instances,
    .tag_sets = md_sqlite_tag_sets,
    .study = md_sqlite_study,
    .studies = md_sqlite_studies,
    .complete = md_sqlite_complete,
    .claim = md_sqlite_claim,
    .renew = md_sqlite_renew,
    .report = md_sqlite_report,
    .attempt_failed = md_sqlite_attempt_failed,
    .release = md_sqlite_release,
    .finish = md_sqlite_finish,
    .findings = md_sqlite_findings,
    .view = md_sqlite_view,
    .worklist = md_sqlite_worklist,
    .version = md_sqlite_version,
    .set_read = md_sqlite_set_read,
    .set_verdict = md_sqlite_set_verdict,
    .history = md_sqlite_history,
    .finding_tally = md_sqlite_finding_tally,
    .add_notices = md_sqlite_add_notices,
    .notice_claim = md_sqlite_notice_claim,
    .notice_finish = md_sqlite_notice_finish,
    .notice_next_ms = md_sqlite_notice_next_ms,
    .notices = md_sqlite_notices,
    .notice_retry = md_sqlite_notice_retry,
    .ups_write = md_sqlite_ups_write,
    .ups_find = md_sqlite_ups_find,
    .ups_of_study = md_sqlite_ups_of_study,
    .ups_page = md_sqlite_ups_page,
    .ups_subscribers = md_sqlite_ups_subscribers,
    .ups_subscribe_global = md_sqlite_ups_subscribe_global,
    .ups_subscribe = md_sqlite_ups_subscribe,
    .ups_unsubscribe = md_sqlite_ups_unsubscribe,
    .ups_suspend = md_sqlite_ups_suspend,
    .ups_n_watchers = md_sqlite_ups_n_watchers,
    .ups_next = md_sqlite_ups_next,
    .ups_told = md_sqlite_ups_told,
    .ups_not_told = md_sqlite_ups_not_told,
    .ups_expire = md_sqlite_ups_expire,
    .ups_retire = md_sqlite_ups_retire,
    .add_objects = md_sqlite_add_objects,
    .set_notified = md_sqlite_set_notified,
    .objects = md_sqlite_objects,
    .predecessors = md_sqlite_predecessors,
    .outbox_claim = md_sqlite_outbox_claim,
    .outbox_finish = md_sqlite_outbox_finish,
    .outbox_rows = md_sqlite_outbox_rows,
    .outbox_next_ms = md_sqlite_outbox_next_ms,
    .readings = md_sqlite_readings,
    .reading_of = md_sqlite_reading_of,
    .reading_retire = md_sqlite_reading_retire,
    .put_estimate = md_sqlite_put_estimate,
    .estimate = md_sqlite_estimate,
    .vector_ids = md_sqlite_vector_ids,
    .vector_get = md_sqlite_vector_get,
    .vector_find = md_sqlite_vector_find,
    .vector_of = md_sqlite_vector_of,
    .vector_retire = md_sqlite_vector_retire,
    .verdicts = md_sqlite_verdicts,
    .follow_up_of = md_sqlite_follow_up_of,
    .rate = md_sqlite_rate,
    .unrate = md_sqlite_unrate,
    .ratings_of = md_sqlite_ratings_of,
    .rating_import = md_sqlite_rating_import,
    .each_rating = md_sqlite_each_rating,
    .ratings_retire = md_sqlite_ratings_retire,
    .ratings_forget = md_sqlite_ratings_forget,
    .retry = md_sqlite_retry,
    .quarantine = md_sqlite_quarantine,
    .set_priority = md_sqlite_set_priority,
    .set_flag = set_flag,
    .flag_is_set = flag_is_set,
    .content_key = md_sqlite_content_key,
    .add_originals = md_sqlite_add_originals,
    .commitment_begin = md_sqlite_commitment_begin,
    .commitment_asked = md_sqlite_commitment_asked,
    .commitment_close = md_sqlite_commitment_close,
    .commitment_expired = md_sqlite_commitment_expired,
    .commitment_report = md_sqlite_commitment_report,
    .commitment_next_ms = md_sqlite_commitment_next_ms,
    .commitment_waive = md_sqlite_commitment_waive,
    .held = md_sqlite_held,
    .count = md_sqlite_count,
    .retire = md_sqlite_retire,
    .files = md_sqlite_files,
    .hash = md_sqlite_hash,
};

md_status md_store_sqlite_open(const md_store_options *options, md_store **ret_store,
                               md_error *err)
{
    md_store_sqlite *s = md_calloc(1, sizeof *s);
    if (s == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the store");
    }
    s->base.backend = &backend;
    s->lock_fd = -1;
    s->add_last = &s->add_first;
    pthread_mutex_init(&s->write_lock, NULL);
    pthread_mutex_init(&s->reader_lock, NULL);
    pthread_cond_init(&s->reader_free, NULL);
    pthread_mutex_init(&s->add_lock, NULL);
    pthread_cond_init(&s->add_done, NULL);
    MD_AUTO(md_store_closep) md_store *store = &s->base;
    s->path = md_strdup(options->path);
    if (s->path == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the store");
    }
    s->options = *options;
    s->options.path = s->path;
    MD_TRY(lock_store(s, err));
    MD_TRY(connection_init(&s->writer, &s->options, true, err));
    MD_TRY(md_sqlite_migrate(s->writer.db, md_sqlite_schema, md_sqlite_schema_version, err));
    MD_TRY(load_meta(s, err));
    *ret_store = MD_STEAL(store);
    return MD_OK;
}
