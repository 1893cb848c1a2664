#include "fixture.h"

#include <ftw.h>
#include <stdatomic.h>

#include <sqlite3.h>

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *ftw)
{
    (void)info;
    (void)kind;
    (void)ftw;
    return remove(path);
}

int fixture_setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    const char *parent = getenv("TMPDIR");
    snprintf(f->folder, sizeof f->folder, "%s/medaid-store-XXXXXX",
             parent != NULL ? parent : "/tmp");
    if (mkdtemp(f->folder) == NULL) {
        return -1;
    }
    snprintf(f->database, sizeof f->database, "%s/medaid.db", f->folder);
    f->options.path = f->database;
    *state = f;
    fixture_open(f);
    return 0;
}

int fixture_teardown(void **state)
{
    fixture *f = *state;
    md_store_close(f->store);
    nftw(f->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

void fixture_open(fixture *f)
{
    assert_ok(md_store_open(&f->options, &f->store, err));
}

void fixture_reopen(fixture *f)
{
    md_store_close(f->store);
    f->store = NULL;
    fixture_open(f);
}

const char *uid_of(const char *kind, unsigned n)
{
    static _Thread_local char buffers[32][MD_STORE_UID_BYTES];
    static _Thread_local unsigned next;
    char *text = buffers[next++ % 32];
    snprintf(text, MD_STORE_UID_BYTES, "1.2.3.%s.%u", kind, n);
    return text;
}

md_instance_new instance_of(unsigned study, unsigned n, unsigned content, int64_t received_ms)
{
    static atomic_uint_least64_t next_file = 1;
    md_instance_new item = {
        .study_uid = uid_of("1", study),
        .series_uid = uid_of("2", study),
        .sop_instance_uid = uid_of("3", study * 10000 + n),
        .sop_class_uid = "1.2.840.10008.5.1.4.1.1.1.1",
        .transfer_syntax_uid = "1.2.840.10008.1.2.1",
        .source_ae = "SENDER",
        .file = atomic_fetch_add(&next_file, 1),
        .size_bytes = 1000,
        .received_ms = received_ms,
    };
    unsigned words[] = {study, n, content};
    memcpy(item.content_tag, words, sizeof words); /* another for each content */
    return item;
}

md_instance_outcome add(md_store *store, unsigned study, unsigned n, unsigned content,
                        int64_t received_ms)
{
    md_instance_new item = instance_of(study, n, content, received_ms);
    md_instance_outcome outcome;
    assert_ok(md_store_add_instances(store, &item, 1, &outcome, err));
    return outcome;
}

md_study study_of(md_store *store, int64_t id)
{
    md_study study;
    assert_ok(md_store_study(store, id, &study, err));
    return study;
}

int64_t study_in_state(md_store *store, unsigned number, md_study_state state,
                       md_claim *ret_claim)
{
    int64_t id = add(store, number, 1, 0, 1000).study;
    md_study study = study_of(store, id);
    if (state == MD_STUDY_RECEIVING) {
        return id;
    }
    assert_ok(md_store_complete(store, &study, 2000, err));
    if (state == MD_STUDY_COMPLETE) {
        return id;
    }
    if (state == MD_STUDY_QUARANTINED) {
        assert_ok(md_store_quarantine(store, id, "test", err));
        return id;
    }
    md_claim claim;
    assert_ok(md_store_claim(store, "worker", 3000, 60000, &claim, &study, err));
    assert_int_equal(claim.study, id);
    if (ret_claim != NULL) {
        *ret_claim = claim;
    }
    if (state == MD_STUDY_ANALYSING) {
        return id;
    }
    assert_ok(md_store_report(store, &claim, 4000, err));
    if (state == MD_STUDY_REPORTING) {
        return id;
    }
    const char *destinations[] = {"pacs"};
    md_object_new object = {.kind = "sr",
                            .sop_instance_uid = uid_of("4", number),
                            .sop_class_uid = "1.2.840.10008.5.1.4.1.1.88.34",
                            .model_id = "model",
                            .series_instance_uid = "1.2.6",
                            .file = 900000 + number,
                            .size_bytes = 10,
                            .destinations = destinations,
                            .n_destinations = 1};
    md_study_state now;
    const md_study_outcome outcome = {.objects = &object,
                                      .n_objects = 1,
                                      .failed = state == MD_STUDY_FAILED ? "no model" : NULL};
    assert_ok(md_store_finish(store, &claim, &outcome, 5000, &now, err));
    assert_int_equal(now, MD_STUDY_SENDING);
    if (state == MD_STUDY_SENDING) {
        return id;
    }
    md_outbox_row row;
    size_t n = 0;
    assert_ok(md_store_outbox_claim(store, "pacs", 6000, 1000, 1, &row, &n, err));
    assert_int_equal(n, 1);
    md_outbox_result result = {.id = row.id, .token = row.token, .state = MD_OUTBOX_SENT};
    assert_ok(md_store_outbox_finish(store, &result, 1, 7000, &now, err));
    assert_int_equal(now, state);
    return id;
}

const char *predecessor_of(md_store *store, int64_t study, const char *model)
{
    static md_stored_report reports[8];
    size_t n = 0;
    assert_ok(md_store_predecessors(store, study, 8, reports, &n, err));
    for (size_t i = 0; i < n; i++) {
        if (strcmp(reports[i].model_id, model) == 0) {
            return reports[i].sop_instance_uid;
        }
    }
    return "";
}

int64_t text_number(const char *database, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int64_t value = -1;
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    if (sqlite3_step(statement) == SQLITE_ROW) {
        value = sqlite3_column_int64(statement, 0);
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}
