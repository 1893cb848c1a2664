/* Clients that send one byte now and then, before they have asked for anything: each is turned
 * away when its time is over, with one line, and nobody else notices. */

#include "tests/unit/dicom_network/bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    N_CLIENTS = 40,
    TIMEOUT_S = 2,
    STEP_US = 100000 /* ten times the pace of one byte a second: still not enough */
};

static void assert_echo(const test_scp *scp)
{
    int fd = test_connect(scp);
    assert_int_equal(test_associate(fd, MD_UID_VERIFICATION, MD_UID_IMPLICIT_LITTLE), 0);
    assert_int_equal(test_echo(fd), 0);
    close(fd);
}

static void test_one_byte_a_second_before_the_request(void **state)
{
    (void)state;
    test_scp scp;
    const md_scp_options options = {
        .ae_title = "MEDAID",
        .bind_address = "127.0.0.1",
        .max_associations = 4,
        .association_timeout_s = TIMEOUT_S,
        .max_pdu_bytes = 128 * 1024,
        .max_object_bytes = 8 << 20,
    };
    test_scp_start(&scp, &options);
    /* the start of a request of 255 bytes, which never ends */
    uint8_t words[300] = {1, 0, 0, 0, 0, 255, 0, 1};
    int clients[N_CLIENTS];
    for (int i = 0; i < N_CLIENTS; i++) {
        clients[i] = test_connect(&scp);
    }
    unsigned n_echoes = 0;
    for (unsigned step = 0; scp.n_refused_connections < N_CLIENTS && step < 250; step++) {
        for (int i = 0; i < N_CLIENTS; i++) {
            ssize_t n = send(clients[i], &words[step], 1, MSG_NOSIGNAL);
            assert_true(n == 1 || errno == EPIPE || errno == ECONNRESET);
        }
        assert_echo(&scp);
        n_echoes++;
        usleep(STEP_US);
    }
    assert_int_equal(scp.n_refused_connections, N_CLIENTS);
    assert_true(test_scp_said(&scp, "no association request within 2 s", NULL));
    for (int i = 0; i < N_CLIENTS; i++) {
        close(clients[i]);
    }
    /* one line for each of them, none more, beside those of the echoes */
    for (int i = 0; i < 1000 && scp.n_done < n_echoes; i++) {
        usleep(10000);
    }
    assert_int_equal(scp.n_done, n_echoes);
    assert_true(scp.n_events <= N_CLIENTS + 2 * n_echoes);
    assert_int_equal(scp.n_refused_connections, N_CLIENTS);
    test_scp_stop(&scp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_byte_a_second_before_the_request),
    };
    return cmocka_run_group_tests_name("dicom_network_trickle", tests, NULL, NULL);
}
