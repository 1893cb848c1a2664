#include "daemon/store/store_sqlite.h"

/* Version n of the schema is what steps 0 .. n-1 make. A step that was released is never
 * changed: a new version is a new step at the end. */
static const char *const steps[] = {
    /* 1 */
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "INSERT INTO meta VALUES ('key_secret', randomblob(32));"

    /* AUTOINCREMENT: an id is never used again, so that a stale claim cannot meet another
     * study. rank = complete_ms - priority * ageing: the order of the queue, see
     * md_store_claim. */
    "CREATE TABLE study ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " key TEXT NOT NULL UNIQUE,"
    " uid TEXT NOT NULL UNIQUE,"
    " state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 7),"
    " generation INTEGER NOT NULL DEFAULT 1,"
    " priority INTEGER NOT NULL DEFAULT 0,"
    " rank INTEGER NOT NULL DEFAULT 0,"
    " not_before INTEGER NOT NULL DEFAULT 0,"
    " n_failures INTEGER NOT NULL DEFAULT 0,"
    " n_interruptions INTEGER NOT NULL DEFAULT 0,"
    " n_instances INTEGER NOT NULL DEFAULT 0,"
    " n_conflicts INTEGER NOT NULL DEFAULT 0,"
    " size_bytes INTEGER NOT NULL DEFAULT 0,"
    " late INTEGER NOT NULL DEFAULT 0,"
    " analysis_failed INTEGER NOT NULL DEFAULT 0,"
    " reason TEXT NOT NULL DEFAULT '',"
    " predecessor_uid TEXT NOT NULL DEFAULT '',"
    " predecessor_class TEXT NOT NULL DEFAULT '',"
    " owner TEXT NOT NULL DEFAULT '',"
    " lease_until INTEGER NOT NULL DEFAULT 0,"
    " token INTEGER NOT NULL DEFAULT 0,"
    " first_received INTEGER NOT NULL,"
    " last_received INTEGER NOT NULL,"
    " complete INTEGER NOT NULL DEFAULT 0,"
    " analysis_start INTEGER NOT NULL DEFAULT 0,"
    " analysis_end INTEGER NOT NULL DEFAULT 0,"
    " stored INTEGER NOT NULL DEFAULT 0,"
    " notified INTEGER NOT NULL DEFAULT 0,"
    " ended INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX study_queue ON study (state, rank, id);"

    "CREATE TABLE instance ("
    " id INTEGER PRIMARY KEY,"
    " study INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,"
    " uid TEXT NOT NULL,"
    " class TEXT NOT NULL,"
    " series TEXT NOT NULL,"
    " syntax TEXT NOT NULL,"
    " source TEXT NOT NULL,"
    " sha256 BLOB NOT NULL,"
    " file INTEGER NOT NULL UNIQUE,"
    " size_bytes INTEGER NOT NULL,"
    " received INTEGER NOT NULL,"
    " current INTEGER NOT NULL,"
    " UNIQUE (study, uid, sha256));"

    "CREATE TABLE object ("
    " id INTEGER PRIMARY KEY,"
    " study INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,"
    " generation INTEGER NOT NULL,"
    " kind TEXT NOT NULL,"
    " uid TEXT NOT NULL,"
    " class TEXT NOT NULL,"
    " file INTEGER NOT NULL UNIQUE,"
    " size_bytes INTEGER NOT NULL,"
    " created INTEGER NOT NULL,"
    " UNIQUE (study, uid));"

    "CREATE TABLE outbox ("
    " id INTEGER PRIMARY KEY,"
    " study INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,"
    " object INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE,"
    " generation INTEGER NOT NULL,"
    " destination TEXT NOT NULL,"
    " state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2),"
    " n_attempts INTEGER NOT NULL DEFAULT 0,"
    " next_attempt INTEGER NOT NULL,"
    " lease_until INTEGER NOT NULL DEFAULT 0,"
    " token INTEGER NOT NULL DEFAULT 0,"
    " last_status INTEGER NOT NULL DEFAULT -1,"
    " UNIQUE (object, destination));"
    "CREATE INDEX outbox_due ON outbox (destination, next_attempt) WHERE state = 0;"
    "CREATE INDEX outbox_study ON outbox (study, state);",

    /* 2: a study has a predecessor for each model, which is asked for when it is needed. What
     * an older medaid made has no known model and no known series. */
    "ALTER TABLE object ADD COLUMN model TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE object ADD COLUMN series TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE study DROP COLUMN predecessor_uid;"
    "ALTER TABLE study DROP COLUMN predecessor_class;",

    /* 3: what the models said. Known by the study's key, so that it outlives the study: the
     * evaluation looks back further than the images are kept. */
    "CREATE TABLE finding ("
    " id INTEGER PRIMARY KEY,"
    " study_key TEXT NOT NULL,"
    " generation INTEGER NOT NULL,"
    " model TEXT NOT NULL,"
    " model_version TEXT NOT NULL,"
    " key TEXT NOT NULL,"
    " code TEXT NOT NULL,"
    " scheme TEXT NOT NULL,"
    " meaning TEXT NOT NULL,"
    " instance TEXT NOT NULL,"
    " frame INTEGER NOT NULL,"
    " presence INTEGER NOT NULL CHECK (presence BETWEEN 0 AND 2),"
    " score REAL NOT NULL,"
    " threshold REAL NOT NULL,"
    " is_probability INTEGER NOT NULL,"
    " urgent INTEGER NOT NULL,"
    " found INTEGER NOT NULL);"
    "CREATE INDEX finding_study ON finding (study_key, generation);",

    /* 4: a row of the outbox is for an object of ours or a received instance, knows since when
     * it is what it is, and whether its destination has committed itself to keep it
     * (md_commitment_state; `commitment` is the request that asks for it). Requests stay as
     * long as their study: an answer may come late. */
    "CREATE TABLE commitment ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " uid TEXT NOT NULL UNIQUE,"
    " study INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,"
    " destination TEXT NOT NULL,"
    " asked INTEGER NOT NULL DEFAULT 0,"
    " expires INTEGER NOT NULL,"
    " open INTEGER NOT NULL DEFAULT 1);"
    "CREATE INDEX commitment_open ON commitment (destination, expires) WHERE open = 1;"
    "CREATE INDEX commitment_study ON commitment (study);"
    "CREATE TABLE outbox_new ("
    " id INTEGER PRIMARY KEY,"
    " study INTEGER NOT NULL REFERENCES study (id) ON DELETE CASCADE,"
    " object INTEGER REFERENCES object (id) ON DELETE CASCADE,"
    " instance INTEGER REFERENCES instance (id) ON DELETE CASCADE,"
    " generation INTEGER NOT NULL,"
    " destination TEXT NOT NULL,"
    " state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2),"
    " since INTEGER NOT NULL,"
    " n_attempts INTEGER NOT NULL DEFAULT 0,"
    " next_attempt INTEGER NOT NULL,"
    " lease_until INTEGER NOT NULL DEFAULT 0,"
    " token INTEGER NOT NULL DEFAULT 0,"
    " last_status INTEGER NOT NULL DEFAULT -1,"
    " committed INTEGER NOT NULL DEFAULT 0 CHECK (committed BETWEEN 0 AND 3),"
    " commitment INTEGER NOT NULL DEFAULT 0,"
    " n_uncommitted INTEGER NOT NULL DEFAULT 0,"
    " next_commitment INTEGER NOT NULL DEFAULT 0,"
    " CHECK ((object IS NULL) != (instance IS NULL)),"
    " UNIQUE (object, destination),"
    " UNIQUE (instance, destination));"
    "INSERT INTO outbox_new (id, study, object, generation, destination, state, since,"
    " n_attempts, next_attempt, lease_until, token, last_status)"
    " SELECT o.id, o.study, o.object, o.generation, o.destination, o.state, b.created,"
    " o.n_attempts, o.next_attempt, o.lease_until, o.token, o.last_status"
    " FROM outbox o JOIN object b ON b.id = o.object;"
    "DROP TABLE outbox;"
    "ALTER TABLE outbox_new RENAME TO outbox;"
    "CREATE INDEX outbox_due ON outbox (destination, instance IS NOT NULL, next_attempt)"
    " WHERE state = 0;"
    "CREATE INDEX outbox_study ON outbox (study, state);"
    "CREATE INDEX outbox_uncommitted ON outbox (destination, next_commitment)"
    " WHERE committed = 1;",

    /* 5: a faster tag. What an older medaid received has none that equals a new one: sent again
     * it counts as other content, which keeps both and warns. */
    "ALTER TABLE instance RENAME COLUMN sha256 TO content_tag;",

    /* 6: texts for the notifiers, known by the study's key like findings */
    "CREATE TABLE notice ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " study_key TEXT NOT NULL,"
    " generation INTEGER NOT NULL,"
    " notifier TEXT NOT NULL,"
    " body TEXT NOT NULL,"
    " state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2),"
    " n_attempts INTEGER NOT NULL DEFAULT 0,"
    " created INTEGER NOT NULL,"
    " next_attempt INTEGER NOT NULL,"
    " lease_until INTEGER NOT NULL DEFAULT 0,"
    " token INTEGER NOT NULL DEFAULT 0,"
    " reason TEXT NOT NULL DEFAULT '',"
    " UNIQUE (study_key, generation, notifier));"
    "CREATE INDEX notice_due ON notice (notifier, next_attempt) WHERE state = 0;",

    /* 7: when a person had read the study, what readers said of findings, and the clocks of
     * studies whose images are gone or that were analysed again. `arrived` is last_received. */
    "ALTER TABLE study ADD COLUMN read INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE verdict ("
    " study_key TEXT NOT NULL,"
    " model TEXT NOT NULL,"
    " key TEXT NOT NULL,"
    " reader TEXT NOT NULL,"
    " agrees INTEGER NOT NULL,"
    " given INTEGER NOT NULL,"
    " PRIMARY KEY (study_key, model, key, reader)) WITHOUT ROWID;"
    "CREATE TABLE history ("
    " study_key TEXT NOT NULL,"
    " generation INTEGER NOT NULL,"
    " failed INTEGER NOT NULL,"
    " arrived INTEGER NOT NULL,"
    " stored INTEGER NOT NULL,"
    " notified INTEGER NOT NULL,"
    " read INTEGER NOT NULL,"
    " PRIMARY KEY (study_key, generation)) WITHOUT ROWID;"
    "CREATE INDEX history_arrived ON history (arrived);",

    /* 8: what the worklist shows of a study: patient and study as JSON, a small picture and its
     * overlay. Patient data: gone with the study. */
    "CREATE TABLE view ("
    " study INTEGER PRIMARY KEY REFERENCES study (id) ON DELETE CASCADE,"
    " header TEXT NOT NULL,"
    " image BLOB NOT NULL,"
    " overlay BLOB NOT NULL);",

    /* 9: the workitems of the UPS service, who watches them, and what is still to be told. Like
     * findings they are known by the study's key and outlive it. */
    "CREATE TABLE ups ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " uid TEXT NOT NULL UNIQUE,"
    " study_key TEXT NOT NULL,"
    " state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),"
    " priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 2),"
    " scheduled INTEGER NOT NULL,"
    " worklist TEXT NOT NULL,"
    " patient TEXT NOT NULL,"
    " study TEXT NOT NULL,"
    " transaction_uid TEXT NOT NULL,"
    " revision INTEGER NOT NULL DEFAULT 0,"
    " ended INTEGER NOT NULL DEFAULT 0,"
    " dataset BLOB NOT NULL);"
    "CREATE INDEX ups_open ON ups (priority, scheduled, id) WHERE state < 2;"
    "CREATE INDEX ups_all ON ups (priority, scheduled, id);"
    "CREATE INDEX ups_ended ON ups (ended) WHERE ended > 0;"
    "CREATE INDEX ups_study_key ON ups (study_key, id) WHERE study_key != '';"
    "CREATE INDEX ups_study ON ups (study);"
    "CREATE INDEX ups_patient ON ups (patient);"
    "CREATE TABLE ups_subscription ("
    " ups INTEGER NOT NULL REFERENCES ups (id) ON DELETE CASCADE,"
    " ae TEXT NOT NULL,"
    " locked INTEGER NOT NULL,"
    " PRIMARY KEY (ups, ae)) WITHOUT ROWID;"
    "CREATE INDEX ups_subscription_ae ON ups_subscription (ae);"
    "CREATE TABLE ups_global (ae TEXT PRIMARY KEY, locked INTEGER NOT NULL, filter BLOB)"
    " WITHOUT ROWID;"
    "CREATE TABLE ups_queue ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " receiver TEXT NOT NULL,"
    " uid TEXT NOT NULL,"
    " message INTEGER NOT NULL,"
    " type INTEGER NOT NULL,"
    " dataset BLOB,"
    " since INTEGER NOT NULL,"
    " n_attempts INTEGER NOT NULL DEFAULT 0,"
    " next_attempt INTEGER NOT NULL);"
    "CREATE INDEX ups_queue_receiver ON ups_queue (receiver, id);",

    /* 10: which AE title was called, what rules want to know of an instance. */
    "ALTER TABLE study ADD COLUMN called TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE instance ADD COLUMN called TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE instance ADD COLUMN tags TEXT NOT NULL DEFAULT '';",

    /* 11: what studies look like, for similar cases. Known by the study's key like findings. An
     * id is never used again: it is the key of the vector in the index beside the database. */
    "CREATE TABLE vector ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " space TEXT NOT NULL,"
    " study_key TEXT NOT NULL,"
    " generation INTEGER NOT NULL,"
    " model TEXT NOT NULL,"
    " found INTEGER NOT NULL,"
    " vals BLOB NOT NULL,"
    " UNIQUE (study_key, space));"
    "CREATE INDEX vector_space ON vector (space);"
    "CREATE INDEX vector_found ON vector (found);",

    /* 12: what to do next. Decisions are known by a keyed hash of the patient and outlive his
     * studies; what an analysis found and proposed goes with its study. */
    "CREATE TABLE follow_up ("
    " study INTEGER PRIMARY KEY REFERENCES study (id) ON DELETE CASCADE,"
    " generation INTEGER NOT NULL,"
    " patient TEXT NOT NULL,"
    " features TEXT NOT NULL,"
    " proposals TEXT NOT NULL);"
    "CREATE TABLE rating ("
    " patient TEXT NOT NULL,"
    " action TEXT NOT NULL,"
    " reader TEXT NOT NULL,"
    " study_key TEXT NOT NULL,"
    " value REAL NOT NULL CHECK (value BETWEEN 0 AND 1),"
    " given INTEGER NOT NULL,"
    " PRIMARY KEY (patient, action, reader)) WITHOUT ROWID;"
    "CREATE INDEX rating_given ON rating (given);"
    "CREATE TABLE profile ("
    " patient TEXT PRIMARY KEY,"
    " study_key TEXT NOT NULL,"
    " features TEXT NOT NULL) WITHOUT ROWID;",

    /* 13: how long studies waited for their reader, and what was known of them when they began
     * to; no patient data, kept longer than the images. `known` is when the row was written;
     * read -1: deleted unread. And what the estimate of that time is made by, one row. */
    "CREATE TABLE reading ("
    " study_key TEXT NOT NULL,"
    " generation INTEGER NOT NULL,"
    " arrived INTEGER NOT NULL,"
    " known INTEGER NOT NULL,"
    " read INTEGER NOT NULL DEFAULT 0,"
    " modality TEXT NOT NULL,"
    " priority INTEGER NOT NULL,"
    " urgent INTEGER NOT NULL,"
    " n_instances INTEGER NOT NULL,"
    " n_ahead INTEGER NOT NULL,"
    " n_lately INTEGER NOT NULL,"
    " PRIMARY KEY (study_key, generation)) WITHOUT ROWID;"
    "CREATE INDEX reading_arrived ON reading (arrived);"
    "CREATE INDEX reading_waits ON reading (arrived, urgent, priority) WHERE read = 0;"
    "CREATE INDEX reading_read ON reading (read) WHERE read > 0;"
    "CREATE TABLE estimate (id INTEGER PRIMARY KEY CHECK (id = 1), model BLOB NOT NULL);",
};

const char *const *const md_sqlite_schema = steps;
const int md_sqlite_schema_version = (int)(sizeof steps / sizeof *steps);

enum {
    APPLICATION_ID = 0x6d646169 /* "mdai", at offset 68 of the file */
};

static md_status read_pragma(sqlite3 *db, const char *sql, int *ret_value, md_error *err)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
    }
    if (code == SQLITE_ROW) {
        *ret_value = sqlite3_column_int(statement, 0);
    }
    sqlite3_finalize(statement);
    return code == SQLITE_ROW ? MD_OK : md_sqlite_fail(err, code, "reading its version");
}

static md_status apply_step(sqlite3 *db, const char *step, int version, md_error *err)
{
    char pragmas[96];
    snprintf(pragmas, sizeof pragmas, "PRAGMA application_id = %d; PRAGMA user_version = %d;",
             APPLICATION_ID, version);
    int code = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_exec(db, step, NULL, NULL, NULL);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_exec(db, pragmas, NULL, NULL, NULL);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    }
    if (code == SQLITE_OK) {
        return MD_OK;
    }
    if (sqlite3_get_autocommit(db) == 0) {
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    }
    char what[64];
    snprintf(what, sizeof what, "bringing it to version %d", version);
    return md_sqlite_fail(err, code, what);
}

md_status md_sqlite_migrate(sqlite3 *db, const char *const *all, int n_steps, md_error *err)
{
    int application = 0;
    int version = 0;
    int n_tables = 0;
    MD_TRY(read_pragma(db, "PRAGMA application_id", &application, err));
    MD_TRY(read_pragma(db, "PRAGMA user_version", &version, err));
    MD_TRY(read_pragma(db, "SELECT count(*) FROM sqlite_schema", &n_tables, err));
    if (application != APPLICATION_ID && (application != 0 || version != 0 || n_tables != 0)) {
        return md_fail(err, MD_FORMAT, "the database was not made by medaid");
    }
    if (version > n_steps) {
        return md_fail(err, MD_UNSUPPORTED,
                       "the database has version %d, this medaid reads up to %d: install the "
                       "newer medaid again, or restore a backup of before",
                       version, n_steps);
    }
    if (version < 0) {
        return md_fail(err, MD_FORMAT, "the database has version %d", version);
    }
    for (int i = version; i < n_steps; i++) {
        MD_TRY(apply_step(db, all[i], i + 1, err));
    }
    return MD_OK;
}
