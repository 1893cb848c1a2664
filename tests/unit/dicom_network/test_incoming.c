/* One object on its way into a file: whatever its length, the pieces it comes in and the way it
 * is written, the file holds exactly these bytes and the tag is theirs. */

#include "dicom/network/incoming.h"

#include "dicom/network/part10.h"
#include "tests/unit/dicom_network/bench.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define INSTANCE "1.2.3.4.5"

enum {
    MIB = 1024 * 1024,
    MAX_OBJECT_BYTES = 8 * MIB
};

static md_command command_of(const char *instance_uid)
{
    md_command command = {.field = MD_COMMAND_STORE_RQ};
    snprintf(command.sop_class_uid, sizeof command.sop_class_uid, TEST_CT_CLASS);
    snprintf(command.sop_instance_uid, sizeof command.sop_instance_uid, "%s", instance_uid);
    return command;
}

static void begin(md_incoming *incoming, md_buffers *buffers, const char *folder)
{
    md_command command = command_of(INSTANCE);
    const md_incoming_place place = {.folder = folder};
    md_incoming_begin(incoming, buffers, &place, &command, MD_UID_EXPLICIT_LITTLE, "TESTER",
                      test_content_key, MAX_OBJECT_BYTES);
    assert_int_equal(incoming->dimse_status, MD_DIMSE_SUCCESS);
}

/* In pieces that fit nothing, half of them straight to their place. */
static void feed(md_incoming *incoming, const test_dataset *dataset)
{
    size_t done = 0;
    for (unsigned i = 0; done < dataset->used; i++) {
        size_t n = 1 + (i * 7919u + 131) % 70001;
        n = n < dataset->used - done ? n : dataset->used - done;
        uint8_t *to = NULL;
        size_t room = 0;
        if (i % 2 == 0 && md_incoming_room(incoming, &to, &room)) {
            n = n < room ? n : room;
            memcpy(to, dataset->bytes + done, n);
            md_incoming_advance(incoming, n);
        } else {
            md_incoming_add(incoming, dataset->bytes + done, n);
        }
        done += n;
    }
}

static void check_file(const md_incoming *incoming, const test_dataset *dataset)
{
    struct stat info;
    uint8_t tag[MD_CONTENT_TAG_BYTES];
    md_part10 head;
    assert_int_equal(stat(incoming->path, &info), 0);
    assert_int_equal(info.st_size, incoming->dataset_offset_bytes + dataset->used);
    uint8_t *bytes = malloc((size_t)info.st_size);
    int fd = open(incoming->path, O_RDONLY);
    assert_int_equal(read(fd, bytes, (size_t)info.st_size), info.st_size);
    assert_int_equal(md_part10_read(fd, &head, NULL), MD_OK);
    close(fd);
    assert_int_equal(head.dataset_offset_bytes, incoming->dataset_offset_bytes);
    assert_memory_equal(bytes + incoming->dataset_offset_bytes, dataset->bytes, dataset->used);
    test_content_tag(dataset->bytes, dataset->used, tag);
    assert_memory_equal(incoming->content_tag, tag, sizeof tag);
    free(bytes);
}

/* A dataset of exactly so many bytes, none of its pixels like its neighbours. */
static void make_dataset(test_dataset *dataset, size_t size_bytes)
{
    test_dataset small;
    test_dataset_init(&small, MD_ENCODING_EXPLICIT_LITTLE, MAX_OBJECT_BYTES + MIB);
    test_dataset_fill(&small, TEST_CT_CLASS, INSTANCE, "1.2.3.4", 2);
    assert_true(size_bytes >= small.used);
    size_t n_pixel_bytes = 2 + size_bytes - small.used;
    test_dataset_finish(&small);
    test_dataset_init(dataset, MD_ENCODING_EXPLICIT_LITTLE, MAX_OBJECT_BYTES + MIB);
    test_dataset_fill(dataset, TEST_CT_CLASS, INSTANCE, "1.2.3.4", n_pixel_bytes);
    assert_int_equal(dataset->used, size_bytes);
    for (size_t i = dataset->used - n_pixel_bytes; i < dataset->used; i++) {
        dataset->bytes[i] = (uint8_t)(i * 2654435761u >> 11);
    }
}

static void receive(md_buffers *buffers, const char *folder, const test_dataset *dataset)
{
    md_incoming incoming;
    md_identity identity;
    md_command command = command_of(INSTANCE);
    begin(&incoming, buffers, folder);
    feed(&incoming, dataset);
    assert_int_equal(md_incoming_finish(&incoming, &command, &identity), MD_DIMSE_SUCCESS);
    assert_string_equal(identity.study_instance_uid, "1.2.3.4");
    assert_true(incoming.fd >= 0);
    check_file(&incoming, dataset);
    md_incoming_leave(&incoming);
    assert_int_equal(unlink(incoming.path), 0);
}

static void receive_all(md_buffers *buffers, const char *folder)
{
    /* around a page, the least direct write, and one, two and three buffers: the head is some
     * 300 bytes, so steps of 64 around them meet every kind of end */
    static const size_t around[] = {4096, 128 * 1024, MIB, 2 * MIB, 3 * MIB};
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        for (int step = -10; step <= 2; step++) {
            test_dataset dataset;
            make_dataset(&dataset, (size_t)((long)around[i] + step * 64));
            receive(buffers, folder, &dataset);
            test_dataset_finish(&dataset);
        }
    }
}

static void test_bytes_are_kept_by_any_way(void **state)
{
    (void)state;
    char folder[64];
    md_buffers buffers;
    test_folder_make(folder);
    md_buffers_init(&buffers);
    receive_all(&buffers, folder);
    assert_int_equal(buffers.n_blocks, 1); /* given back each time */

    uint8_t *taken[MD_BUFFERS_MAX];
    for (unsigned i = 0; i < MD_BUFFERS_MAX; i++) {
        taken[i] = md_buffers_take(&buffers);
        assert_non_null(taken[i]);
        assert_int_equal((uintptr_t)taken[i] % MD_BUFFER_ALIGNMENT_BYTES, 0);
    }
    assert_null(md_buffers_take(&buffers));
    receive_all(&buffers, folder);
    for (unsigned i = 0; i < MD_BUFFERS_MAX; i++) {
        md_buffers_give(&buffers, taken[i]);
    }
    md_buffers_finish(&buffers);
    test_folder_remove(folder);
}

/* A file system without direct writes, or with other ideas of alignment. */
static void test_bytes_are_kept_in_memory(void **state)
{
    (void)state;
    char folder[] = "/dev/shm/medaid-test-XXXXXX";
    md_buffers buffers;
    assert_non_null(mkdtemp(folder));
    md_buffers_init(&buffers);
    receive_all(&buffers, folder);
    md_buffers_finish(&buffers);
    assert_int_equal(rmdir(folder), 0);
}

/* The identifiers lie where neither the kept start nor the last buffer reaches. */
static void test_identity_between_the_parts(void **state)
{
    (void)state;
    char folder[64];
    md_buffers buffers;
    md_incoming incoming;
    md_identity identity;
    md_command command = command_of(INSTANCE);
    test_dataset dataset;
    uint8_t *filler = calloc(1, 3 * MIB / 2);
    test_folder_make(folder);
    md_buffers_init(&buffers);
    test_dataset_init(&dataset, MD_ENCODING_EXPLICIT_LITTLE, 8 * MIB);
    test_dataset_put_uid(&dataset, MD_TAG(0x0008, 0x0016), TEST_CT_CLASS);
    test_dataset_put_uid(&dataset, MD_TAG(0x0008, 0x0018), INSTANCE);
    test_dataset_put(&dataset, MD_TAG(0x0009, 0x1001), "OB", filler, 3 * MIB / 2);
    test_dataset_put_uid(&dataset, MD_TAG(0x0020, 0x000d), "1.2.3.4");
    test_dataset_put_uid(&dataset, MD_TAG(0x0020, 0x000e), "1.2.3.4.9");
    test_dataset_put(&dataset, MD_TAG(0x7fe0, 0x0010), "OW", filler, 3 * MIB / 2);
    begin(&incoming, &buffers, folder);
    feed(&incoming, &dataset);
    assert_int_equal(md_incoming_finish(&incoming, &command, &identity), MD_DIMSE_SUCCESS);
    assert_string_equal(identity.study_instance_uid, "1.2.3.4");
    assert_string_equal(identity.series_instance_uid, "1.2.3.4.9");
    check_file(&incoming, &dataset);
    md_incoming_leave(&incoming);

    /* the same cut short by one byte is noticed */
    dataset.used--;
    begin(&incoming, &buffers, folder);
    feed(&incoming, &dataset);
    assert_int_equal(md_incoming_finish(&incoming, &command, &identity),
                     MD_DIMSE_CANNOT_UNDERSTAND);
    assert_int_equal(incoming.fd, -1);
    free(filler);
    test_dataset_finish(&dataset);
    md_buffers_finish(&buffers);
    assert_int_equal(test_folder_count(folder), 1);
    test_folder_remove(folder);
}

/* Whatever ends an object early, its file is gone and its buffer is back. */
static void test_nothing_is_left(void **state)
{
    (void)state;
    char folder[64];
    md_buffers buffers;
    md_incoming incoming;
    md_identity identity;
    md_command command = command_of(INSTANCE);
    test_dataset dataset;
    test_folder_make(folder);
    md_buffers_init(&buffers);
    make_dataset(&dataset, MAX_OBJECT_BYTES);
    begin(&incoming, &buffers, folder);
    feed(&incoming, &dataset);
    md_incoming_add(&incoming, dataset.bytes, 1);
    assert_int_equal(incoming.dimse_status, MD_DIMSE_OUT_OF_RESOURCES);
    assert_int_equal(incoming.fd, -1);
    md_incoming_add(&incoming, dataset.bytes, dataset.used);
    assert_int_equal(md_incoming_finish(&incoming, &command, &identity),
                     MD_DIMSE_OUT_OF_RESOURCES);
    assert_int_equal(buffers.n_idle, buffers.n_blocks);

    for (size_t n = 1000; n < dataset.used; n += 3 * MIB) {
        test_dataset part = dataset;
        part.used = n;
        begin(&incoming, &buffers, folder);
        feed(&incoming, &part);
        md_incoming_drop(&incoming);
        md_incoming_drop(&incoming);
        assert_int_equal(buffers.n_idle, buffers.n_blocks);
    }
    test_dataset_finish(&dataset);
    md_buffers_finish(&buffers);
    assert_int_equal(test_folder_count(folder), 0);
    test_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_are_kept_by_any_way),
        cmocka_unit_test(test_bytes_are_kept_in_memory),
        cmocka_unit_test(test_identity_between_the_parts),
        cmocka_unit_test(test_nothing_is_left),
    };
    return cmocka_run_group_tests_name("dicom_network_incoming", tests, NULL, NULL);
}
