/* Checkpoints: what is written comes back bit by bit, of two the whole one is taken, and one of
 * another recipe, other films or another network is refused. */

#include "plugins/train/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    N = 50,
    MAX_RECORDS = 4
};

/* A run of one weight and one buffer, in memory and on disk. */
typedef struct run {
    char folder[64];
    float values[2][N], gradient[N];
    md_parameter list[2];
    const md_parameter *pointers[2];
    md_optimizer *optimizer;
    md_fit_state state;
    md_epoch_record records[MAX_RECORDS];
    md_checkpoint checkpoint;
} run;

static int set_up(void **state)
{
    md_error err = {0};
    run *r = calloc(1, sizeof *r);
    assert_non_null(r);
    (void)snprintf(r->folder, sizeof r->folder, "/tmp/medaid-checkpoint-XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    for (unsigned i = 0; i < N; i++) {
        r->values[0][i] = (float)i;
        r->values[1][i] = -(float)i;
        r->gradient[i] = 1.0F;
    }
    r->list[0] =
        (md_parameter){.name = "w", .n = N, .value = r->values[0], .gradient = r->gradient};
    r->list[1] = (md_parameter){.name = "m", .n = N, .value = r->values[1]};
    r->pointers[0] = &r->list[0];
    r->pointers[1] = &r->list[1];
    const md_optimizer_options options = {.kind = MD_OPTIMIZER_ADAM, .average = 0.5};
    assert_int_equal(md_optimizer_create(r->pointers, 2, &options, &r->optimizer, &err), MD_OK);
    r->checkpoint = (md_checkpoint){.folder = r->folder,
                                    .identity = {{1}, {2}, {3}},
                                    .state = &r->state,
                                    .records = r->records,
                                    .max_records = MAX_RECORDS,
                                    .parameters = r->pointers,
                                    .n_parameters = 2,
                                    .optimizer = r->optimizer};
    *state = r;
    return 0;
}

static void path_of(const run *r, const char *name, char ret[128])
{
    (void)snprintf(ret, 128, "%s/%s", r->folder, name);
}

static int tear_down(void **state)
{
    run *r = *state;
    char path[128];
    path_of(r, "checkpoint.bin", path);
    (void)unlink(path);
    path_of(r, "checkpoint.previous.bin", path);
    (void)unlink(path);
    assert_int_equal(rmdir(r->folder), 0); /* nothing else was left there */
    md_optimizer_destroy(r->optimizer);
    free(r);
    return 0;
}

static void step(run *r)
{
    md_error err = {0};
    assert_int_equal(md_optimizer_update(r->optimizer, 0.1, NULL, &err), MD_OK);
    r->state.n_steps++;
}

/* Another byte at a place from the end. */
static void damage(const run *r, const char *name, long from_end)
{
    char path[128];
    path_of(r, name, path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -from_end, SEEK_END), 0);
    const int c = fgetc(file);
    assert_int_equal(fseek(file, -from_end, SEEK_END), 0);
    assert_int_equal(fputc(c ^ 1, file), c ^ 1);
    assert_int_equal(fclose(file), 0);
}

static void test_what_is_written_comes_back(void **state)
{
    run *r = *state;
    md_error err = {0};
    bool found = true;
    assert_false(md_checkpoint_is_there(r->folder));
    assert_int_equal(md_checkpoint_read(&r->checkpoint, &found, &err), MD_OK);
    assert_false(found);
    step(r);
    r->records[0].auc = 0.75;
    r->state.n_records = 1;
    r->state.best_epoch = 5;
    assert_int_equal(md_checkpoint_write(&r->checkpoint, &err), MD_OK);
    assert_true(md_checkpoint_is_there(r->folder));
    /* what comes next, twice: from here, and from the file after everything was spoilt */
    float wanted[N], average[N];
    step(r);
    memcpy(wanted, r->values[0], sizeof wanted);
    memcpy(average, md_optimizer_average(r->optimizer)[0], sizeof average);
    for (unsigned i = 0; i < 7; i++) {
        step(r);
    }
    memset(r->values[1], 0, sizeof r->values[1]);
    r->records[0].auc = 0.0;
    r->state = (md_fit_state){0};
    assert_int_equal(md_checkpoint_read(&r->checkpoint, &found, &err), MD_OK);
    assert_true(found && r->state.best_epoch == 5 && r->state.n_steps == 1);
    assert_true(r->records[0].auc == 0.75 && r->values[1][3] == -3.0F);
    step(r);
    assert_memory_equal(r->values[0], wanted, sizeof wanted);
    assert_memory_equal(md_optimizer_average(r->optimizer)[0], average, sizeof average);
}

static void test_the_whole_one_of_two_is_taken(void **state)
{
    run *r = *state;
    md_error err = {0};
    bool found = false;
    for (unsigned i = 0; i < 3; i++) {
        step(r);
        assert_int_equal(md_checkpoint_write(&r->checkpoint, &err), MD_OK);
    }
    assert_int_equal(md_checkpoint_read(&r->checkpoint, &found, &err), MD_OK);
    assert_int_equal(r->state.n_steps, 3);
    damage(r, "checkpoint.bin", 40);
    assert_int_equal(md_checkpoint_read(&r->checkpoint, &found, &err), MD_OK);
    assert_int_equal(r->state.n_steps, 2);
    /* a missing one too, as between two renames */
    char path[128];
    path_of(r, "checkpoint.bin", path);
    assert_int_equal(unlink(path), 0);
    assert_true(md_checkpoint_is_there(r->folder));
    assert_int_equal(md_checkpoint_read(&r->checkpoint, &found, &err), MD_OK);
    assert_int_equal(r->state.n_steps, 2);
    damage(r, "checkpoint.previous.bin", 1);
    assert_int_equal(md_checkpoint_read(&r->checkpoint, &found, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "the checkpoint is damaged"));
}

static void test_another_run_is_refused(void **state)
{
    run *r = *state;
    md_error err = {0};
    bool found = false;
    assert_int_equal(md_checkpoint_write(&r->checkpoint, &err), MD_OK);
    static const char *const texts[3] = {"the recipe has", "the films, their", "the network"};
    for (unsigned i = 0; i < 3; i++) {
        md_checkpoint other = r->checkpoint;
        (i == 0   ? other.identity.recipe
         : i == 1 ? other.identity.films
                  : other.identity.network)[31] = 9;
        r->values[0][0] = 123.0F;
        assert_int_equal(md_checkpoint_read(&other, &found, &err), MD_INVALID_ARG);
        assert_non_null(strstr(err.msg, texts[i]));
        assert_true(r->values[0][0] == 123.0F);
    }
    /* the same identity, but fewer parameters */
    md_checkpoint other = r->checkpoint;
    other.n_parameters = 1;
    assert_int_equal(md_checkpoint_read(&other, &found, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "another version"));
}

static void test_lack_of_memory(void **state)
{
    run *r = *state;
    md_error err = {0};
    bool found = false;
    assert_int_equal(md_checkpoint_write(&r->checkpoint, &err), MD_OK);
    md_memory_fail_at(1);
    assert_int_equal(md_checkpoint_write(&r->checkpoint, &err), MD_NOMEM);
    md_memory_fail_at(1);
    assert_int_equal(md_checkpoint_read(&r->checkpoint, &found, &err), MD_NOMEM);
    md_memory_fail_at(0);
    assert_int_equal(md_checkpoint_read(&r->checkpoint, &found, &err), MD_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_written_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_whole_one_of_two_is_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_another_run_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lack_of_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
