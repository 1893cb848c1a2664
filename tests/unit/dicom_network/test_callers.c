#include "tls_bench.h"

#include "dicom/network/callers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_callers(void **state)
{
    static const md_caller callers[] = {
        {"CT01", "192.0.2.0/24"}, {"CT01", "10.1.2.3"}, {"MR", ""}, {"V6", "2001:db8::/33"}};
    static const struct {
        const char *ae_title, *peer;
        bool known, good;
    } rows[] = {
        {"CT01", "192.0.2.255:1", true, true},
        {"CT01", "192.0.3.0:1", true, false},
        {"CT01", "10.1.2.3:4711", true, true},
        {"CT01", "10.1.2.4:4711", true, false},
        {"MR", "203.0.113.9:1", true, true},
        {"mr", "203.0.113.9:1", false, false},
        {"V6", "2001:db8:7fff::1:104", true, true},
        {"V6", "2001:db8:8000::1:104", true, false},
        {"V6", "192.0.2.1:104", true, false},
        {"", "192.0.2.1:104", false, false},
        {"CT01", "?:0", true, false},
    };
    static const md_caller bad[] = {{"", ""},
                                    {"A", "192.0.2.1/24"},
                                    {"A", "1.2.3"},
                                    {"A", "::/129"},
                                    {"A", "0.0.0.0/33"},
                                    {"A", "::1/"},
                                    {"A", "1.2.3.4/-1"},
                                    {"A", "host"}};
    static const md_caller fine[] = {
        {"A", ""}, {"A", "::/0"}, {"A", "0.0.0.0/0"}, {"A", "::1"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *refusal = md_callers_refusal(callers, 4, rows[i].ae_title, rows[i].peer);
        assert_true((refusal == NULL) == rows[i].good);
        if (refusal != NULL) {
            assert_true((strstr(refusal, "not from this address") != NULL) == rows[i].known);
        }
    }
    assert_null(md_callers_refusal(NULL, 0, "ANY", "192.0.2.1:1"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(md_caller_check(&bad[i], NULL), MD_INVALID_ARG);
    }
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        assert_int_equal(md_caller_check(&fine[i], NULL), MD_OK);
    }
    md_caller allowed[] = {{"TESTER", "127.0.0.0/8"}, {"REMOTE", "192.0.2.0/24"}};
    test_scp scp;
    md_scp_options options = {
        .ae_title = "MEDAID",
        .bind_address = "127.0.0.1",
        .max_associations = 4,
        .association_timeout_s = 20,
        .max_pdu_bytes = 128 * 1024,
        .max_object_bytes = 8 << 20,
        .allowed_callers = allowed,
        .n_allowed_callers = 2,
    };
    test_scp_start(&scp, &options);
    memset(allowed, 0, sizeof allowed); /* it has its own copy */
    assert_tls_echo(scp.port, NULL);
    md_peer peer = test_tls_peer(scp.port, NULL);
    md_error err = {0};
    snprintf(peer.own_ae_title, sizeof peer.own_ae_title, "NOBODY");
    assert_int_equal(md_scu_echo(&peer, &err), MD_NETWORK);
    assert_non_null(strstr(err.msg, "result 1, source 1, reason 3"));
    test_wait_for_event(&scp, "caller_rejected: calling AE title not recognised");
    snprintf(peer.own_ae_title, sizeof peer.own_ae_title, "REMOTE");
    assert_int_equal(md_scu_echo(&peer, &err), MD_NETWORK);
    test_wait_for_event(&scp, "caller_rejected: the calling AE title is allowed, but not from");
    assert_int_equal(scp.n_rejected, 2);
    test_scp_stop(&scp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callers),
    };
    return cmocka_run_group_tests_name("dicom_network_callers", tests, NULL, NULL);
}
