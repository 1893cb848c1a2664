/* Packed weights shared between processes: the same results, fewer private pages, and nothing
 * believed of what the file holds. */

#include "inference/share.h"

#include "base/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *folder;

static md_network *load(const char *name)
{
    char path[1024];
    size_t n_bytes = 0;
    uint8_t *bytes = NULL;
    md_network *network = NULL;
    const md_network_options options = {.n_threads = 1};
    (void)snprintf(path, sizeof path, "%s/%s.onnx", folder, name);
    assert_int_equal(md_file_read(path, 1 << 26, &bytes, &n_bytes, NULL), MD_OK);
    assert_int_equal(md_network_load_taking(&bytes, n_bytes, &options, &network, NULL), MD_OK);
    return network;
}

static void run(md_network *network, float *ret, size_t n)
{
    const md_network_port *port = md_network_input(network, 0);
    md_tensor in = {0}, out[4];
    assert_int_equal(md_tensor_init(&in, MD_F32, port->n_dims, port->dims, NULL), MD_OK);
    for (size_t i = 0; i < in.n_elements; i++) {
        ((float *)in.data)[i] = (float)(i % 97) / 97.0F - 0.5F;
    }
    assert_int_equal(md_network_run(network, &in, 1, out, md_network_n_outputs(network), NULL),
                     MD_OK);
    assert_true(out[0].n_elements >= n);
    memcpy(ret, out[0].data, n * sizeof *ret);
    md_tensor_finish(&in);
}

/* KiB of this process's own pages. */
static long private_kib(void)
{
    char line[256];
    long sum = 0, value = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Private_Clean: %ld", &value) == 1 ||
            sscanf(line, "Private_Dirty: %ld", &value) == 1) {
            sum += value;
        }
    }
    (void)fclose(file);
    return sum;
}

static void test_processes(void **state)
{
    (void)state;
    enum {
        N = 3
    };
    int fd = -1;
    size_t shared = 0;
    md_share share, again_share;
    float before[N], after[N];
    assert_int_equal(md_share_create(&fd, NULL), MD_OK);
    assert_int_equal(md_share_begin(fd, &share, NULL), MD_OK);
    assert_non_null(share.writable);
    md_network *networks[] = {load("resnet"), load("densenet")};
    run(networks[0], before, N);
    assert_int_equal(md_network_share(networks, 2, &share, &shared, NULL), MD_OK);
    const size_t weights =
        md_network_weight_bytes(networks[0]) + md_network_weight_bytes(networks[1]);
    assert_true(shared >= weights);
    const pid_t child = fork();
    if (child == 0) { /* it loads its own, as a worker does */
        md_network *own[] = {load("resnet"), load("densenet")};
        const long with = private_kib();
        size_t again = 0;
        const bool good = md_share_begin(fd, &again_share, NULL) == MD_OK &&
                          again_share.writable == NULL &&
                          md_network_share(own, 2, &again_share, &again, NULL) == MD_OK;
        const long without = private_kib();
        run(own[0], after, N);
        (void)fprintf(stderr, "# %zu KiB of weights, private %ld KiB before, %ld after\n",
                      weights >> 10, with, without);
        const bool less = with - without > (long)(again >> 10) / 2;
        _exit(good && again == shared && less && memcmp(before, after, sizeof before) == 0 ? 0
                                                                                           : 1);
    }
    int how = 1;
    assert_true(child > 0 && waitpid(child, &how, 0) == child);
    assert_int_equal(how, 0);
    run(networks[0], after, N);
    assert_memory_equal(before, after, sizeof before);
    md_network_destroy(networks[0]);
    md_network_destroy(networks[1]);
    close(fd);
}

/* Others' weights, or hostile ones, are not taken; nobody can write once it is sealed. */
static void test_other_weights(void **state)
{
    (void)state;
    enum {
        N = 3
    };
    int fd = -1;
    size_t shared = 1;
    float before[N], after[N];
    assert_int_equal(md_share_create(&fd, NULL), MD_OK);
    md_share share;
    assert_int_equal(md_share_begin(fd, &share, NULL), MD_OK);
    md_network *first = load("densenet"), *second = load("resnet");
    assert_int_equal(md_network_share(&first, 1, &share, &shared, NULL), MD_OK);
    assert_true(shared > 0);
    assert_true(pwrite(fd, "x", 1, 0) < 0);
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    run(second, before, N);
    assert_int_equal(md_share_begin(fd, &share, NULL), MD_OK);
    assert_int_equal(md_network_share(&second, 1, &share, &shared, NULL), MD_OK);
    assert_int_equal(shared, 0);
    run(second, after, N);
    assert_memory_equal(before, after, sizeof before);
    close(fd);
    /* no file of ours */
    FILE *plain = tmpfile();
    assert_non_null(plain);
    assert_int_equal(md_share_begin(fileno(plain), &share, NULL), MD_INVALID_ARG);
    assert_int_equal(md_share_begin(-1, &share, NULL), MD_INVALID_ARG);
    assert_int_equal(md_network_share(&second, 1, &share, &shared, NULL), MD_OK);
    assert_int_equal(shared, 0);
    (void)fclose(plain);
    md_network_destroy(first);
    md_network_destroy(second);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_processes),
        cmocka_unit_test(test_other_weights),
    };
    folder = argc > 1 ? argv[1] : ".";
    return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
