#include "base/file.h"
#include "conf/conf.h"
#include "conf/schema.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char scratch[] = "/tmp/medaid-conf-XXXXXX";

static int make_scratch(void **state)
{
    (void)state;
    return mkdtemp(scratch) != NULL ? 0 : -1;
}

static int remove_scratch(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "%s/c.yaml", scratch);
    unlink(path);
    return rmdir(scratch);
}

static md_status load_bytes(const char *text, size_t size_bytes, md_conf *ret_conf,
                            md_error *err)
{
    char path[64];
    snprintf(path, sizeof path, "%s/c.yaml", scratch);
    assert_int_equal(md_file_write(path, MD_FILE_REPLACE, text, size_bytes, NULL), MD_OK);
    return md_conf_load(path, ret_conf, err);
}

static const char *source_file(const char *name, char path[4096])
{
    const char *root = getenv("MEDAID_SOURCE_ROOT");
    assert_non_null(root);
    snprintf(path, 4096, "%s/%s", root, name);
    return path;
}

typedef struct bad_row {
    const char *yaml;
    md_status status;
    const char *expected; /* the message after the folder */
} bad_row;

/* Every way to be wrong that the loader knows, with the line it must name. */
static const bad_row bad_rows[] = {
    {"ae:\n  prot: 1\n", MD_FORMAT, "c.yaml:2: key 'ae.prot': unknown key, expected 'port'?"},
    {"study:\n  quiet: 5\n", MD_FORMAT,
     "c.yaml:2: key 'study.quiet': unknown key, expected 'quiet_ms'?"},
    {"AE:\n  port: 1\n", MD_FORMAT, "c.yaml:1: key 'AE': unknown key, expected 'ae'?"},
    {"log:\n  zzz: 1\n", MD_FORMAT,
     "c.yaml:2: key 'log.zzz': unknown key, expected one of: level"},
    {"ae:\n  port: 70000\n", MD_FORMAT,
     "c.yaml:2: key 'ae.port': got 70000, expected a whole number in 1..65535"},
    {"ae:\n  port: 0\n", MD_FORMAT, "got 0, expected a whole number in 1..65535"},
    {"ae:\n  port: 0x50\n", MD_FORMAT, "got 0x50, expected a whole number"},
    {"ae:\n  port: 1e3\n", MD_FORMAT, "got 1e3, expected a whole number"},
    {"ae:\n  port: 1_000\n", MD_FORMAT, "got 1_000, expected a whole number"},
    {"ae:\n  port: 99999999999999999999\n", MD_FORMAT, "got 99999999999999999999, expected"},
    {"ae:\n  port: \"104\"\n", MD_FORMAT, "got \"104\", expected a whole number"},
    {"ae:\n  port: [104]\n", MD_FORMAT, "got a list, expected a whole number"},
    {"ae:\n  port: {a: 1}\n", MD_FORMAT, "got a map, expected a whole number"},
    {"ae:\n  port:\n", MD_FORMAT, "c.yaml:2: key 'ae.port': got nothing, expected"},
    {"study:\n  quiet_ms: 1\n", MD_FORMAT, "got 1, expected a whole number in 100..3600000 ms"},
    {"ae:\n  check_called_ae: yes\n", MD_FORMAT, "got yes, expected true or false"},
    {"ae:\n  check_called_ae: 'true'\n", MD_FORMAT, "got \"true\", expected true or false"},
    {"results:\n  kind: pictures\n", MD_FORMAT, "got pictures, expected sr, picture or both"},
    {"workers: {count: 0}\n", MD_FORMAT, "got 0, expected a whole number in 1..64"},
    {"workers: {memory_mib: 16}\n", MD_FORMAT,
     "got 16, expected a whole number in 256..1048576 MiB"},
    {"engine: {backend: gpu}\n", MD_FORMAT, "got gpu, expected auto, onednn or openblas"},
    {"ae:\n  title: ''\n", MD_FORMAT, "got \"\", expected text of 1..16 bytes"},
    {"ae:\n  title: SEVENTEENLETTERSX\n", MD_FORMAT, "expected text of 1..16 bytes"},
    {"ae:\n  title: 'A\\B'\n", MD_FORMAT, "expected an AE title"},
    {"ae:\n  title: ' A'\n", MD_FORMAT, "expected an AE title"},
    {"ae:\n  title: \"\\u00c4\"\n", MD_FORMAT, "expected an AE title"},
    {"ae:\n  title: \"A\\0B\"\n", MD_FORMAT, "control characters"},
    {"ae:\n  title: \"A\\nB\"\n", MD_FORMAT, "control characters"},
    {"results:\n  institution: \"\\u0085\"\n", MD_FORMAT, "control characters"},
    {"ae:\n  bind: localhost\n", MD_FORMAT, "got localhost, expected an IP address"},
    {"ae:\n  port: 1\n  port: 2\n", MD_FORMAT,
     "c.yaml:3: key 'ae.port': stands here a second time, expected once (line 2)"},
    {"log: {level: info}\nlog: {level: warn}\n", MD_FORMAT, "c.yaml:2: key 'log': stands here"},
    {"ae: 5\n", MD_FORMAT, "c.yaml:1: key 'ae': got 5, expected a map"},
    {"ae: [1]\n", MD_FORMAT, "got a list, expected a map"},
    {"ae:\n", MD_FORMAT, "c.yaml:1: key 'ae': got nothing, expected a map"},
    {"- 1\n", MD_FORMAT, "c.yaml:1: got a list, expected a map"},
    {"log: {level: info}\naudit:\n  to: udp\n", MD_FORMAT,
     "c.yaml:3: key 'audit.host': is missing, expected where the audit messages go"},
    {"audit: {to: tls, host: h}\n", MD_FORMAT, "c.yaml:1: key 'audit.tls': is missing"},
    {"audit: {to: syslog}\n", MD_FORMAT, "got syslog, expected off, local, udp or tls"},
    {"audit: {host: 'a b'}\n", MD_FORMAT, "expected a host name or an IP address"},
    {"user: 'a b'\n", MD_FORMAT, "expected the name of a user"},
    {"group: staff\n", MD_FORMAT, "key 'group': is of no use without 'user'"},
    {"ae: {port: 9104}\nhttp:\n  port: 9104\n", MD_FORMAT,
     "c.yaml:3: key 'http.port': got 9104, the port of 'ae.port' too, expected another"},
    {"hello\n", MD_FORMAT, "c.yaml:1: got hello, expected a map"},
    {"? [a]\n: 1\n", MD_FORMAT, "unknown key"},
    {"plugins:\n  paths: x\n", MD_FORMAT, "got x, expected a list of at most 16 values"},
    {"plugins:\n  paths: [a, '']\n", MD_FORMAT,
     "key 'plugins.paths[1]': got \"\", expected text of 1..256 bytes"},
    {"plugins:\n  paths: [a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q]\n", MD_LIMIT,
     "more than 16 values"},
    {"destinations:\n  - name: a\n    host: h\n", MD_FORMAT,
     "c.yaml:2: key 'destinations[0].ae_title': is missing, expected text of 1..16 bytes"},
    {"destinations:\n- {name: a, ae_title: X, host: h}\n- {name: a, ae_title: Y, host: h}\n",
     MD_FORMAT,
     "c.yaml:3: key 'destinations[1].name': got 'a', the name of the entry on line "
     "2 too"},
    {"destinations:\n- {name: a, ae_title: X, host: 'h h'}\n", MD_FORMAT,
     "key 'destinations[0].host': got \"h h\", expected a host name"},
    {"destinations:\n- {name: 'A b', ae_title: X, host: h}\n", MD_FORMAT, "small letters"},
    {"destinations:\n- {name: a, ae_title: X, host: h, parametric_map: true}\n", MD_FORMAT,
     "c.yaml:2: key 'destinations[0].parametric_map': got true with results.parametric_map: "
     "false"},
    {"destinations:\n- {name: a, ae_title: X, host: h, results: none}\n", MD_FORMAT,
     "c.yaml:2: key 'destinations[0].results': got none, expected another kind or originals"},
    {"destinations:\n- {name: a, ae_title: X, host: h, retry_first_s: 60, retry_max_s: 30}\n",
     MD_FORMAT,
     "key 'destinations[0].retry_max_s': got 30, expected at least retry_first_s, 60"},
    {"destinations:\n- {name: a, ae_title: X, host: h, transfer_syntaxes: [own, jpeg]}\n",
     MD_FORMAT,
     "key 'destinations[0].transfer_syntaxes[1]': got jpeg, expected own, explicit_le"},
    {"destinations:\n- {name: a, ae_title: X, host: h, originals: first}\n", MD_FORMAT,
     "got first, expected no, after_analysis or before_analysis"},
    {"destinations:\n- {name: a, ae_title: X, host: h, commitment: true}\n", MD_FORMAT,
     "got true, expected none or required"},
    {"ae:\n  tls: {certificate: c, ca: a}\n", MD_FORMAT,
     "c.yaml:2: key 'ae.tls.private_key': is missing"},
    {"ae:\n  tls: {certificate: c, private_key: k}\n", MD_FORMAT,
     "c.yaml:2: key 'ae.tls.ca': is missing, expected the CA file, or verify: none"},
    {"ae:\n  tls: {certificate: c, private_key: k, ca: a, verify: none}\n", MD_FORMAT,
     "c.yaml:2: key 'ae.tls.ca': got a CA file, expected none"},
    {"ae:\n  tls: {certificate: c, private_key: k, ca: a, verify: maybe}\n", MD_FORMAT,
     "got maybe, expected required, optional or none"},
    {"ae:\n  tls: true\n", MD_FORMAT, "key 'ae.tls': got true, expected a map"},
    {"ae:\n  tls: {certificate: ''}\n", MD_FORMAT, "key 'ae.tls.certificate': got \"\""},
    {"destinations:\n- {name: a, ae_title: X, host: h, tls: {certificate: c, private_key: "
     "k}}\n",
     MD_FORMAT, "c.yaml:2: key 'destinations[0].tls.ca': is missing"},
    {"destinations:\n- {name: a, ae_title: X, host: h, tls: {verify: none}}\n", MD_FORMAT,
     "key 'destinations[0].tls.verify': unknown key"},
    {"ae: {allowed_callers: [CT01]}\n", MD_FORMAT,
     "key 'ae.allowed_callers[0]': got CT01, expected a map"},
    {"ae: {allowed_callers: [{address: 10.0.0.1}]}\n", MD_FORMAT,
     "key 'ae.allowed_callers[0].ae_title': is missing"},
    {"ae: {allowed_callers: [{ae_title: A, address: 10.0.0.1/24}]}\n", MD_FORMAT,
     "c.yaml:1: key 'ae.allowed_callers[0].address': got 10.0.0.1/24, expected an IP address "
     "or "
     "a network"},
    {"ae: {allowed_callers: [{ae_title: A, address: 10.0.0.0/33}]}\n", MD_FORMAT,
     "or a network"},
    {"ae: {allowed_callers: [{ae_title: A, address: pacs}]}\n", MD_FORMAT, "or a network"},
    {"ae: {allowed_callers: [{ae_title: A, address: '2001:db8::/129'}]}\n", MD_FORMAT,
     "or a network"},
    {"ae: &a {port: 1}\nstudy: *a\n", MD_FORMAT, "c.yaml:1: key 'ae': anchors and aliases"},
    {"a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\n", MD_FORMAT, "unknown key"},
    {"plugins:\n  paths: [*a, *a]\n", MD_FORMAT, "c.yaml:2: key 'plugins.paths': anchors"},
    {"ae:\n  port: !!int 5\n", MD_FORMAT, "c.yaml:2: key 'ae.port': tags (!)"},
    {"%TAG ! tag:x,2000:\n---\nae: {port: 5}\n", MD_FORMAT, "%TAG"},
    {"ae:\n\tport: 1\n", MD_FORMAT,
     "c.yaml:2: found character that cannot start any token "
     "(YAML is indented with spaces, not tabs)"},
    {"ae: {port: 1\n", MD_FORMAT, "c.yaml:2: did not find expected ',' or '}'"},
    {"ae:\n  title: \"open\n", MD_FORMAT, "unexpected end of stream"},
    {"---\nae: {port: 1}\n---\nae: {port: 2}\n", MD_FORMAT, "c.yaml:3: a second document"},
    {"ae: {port: 1}\n...\nx\n", MD_FORMAT, "c.yaml:3: did not find expected <document"},
    {"ae:\n  title: \xff\xfe\n", MD_FORMAT, "UTF-8"},
    {"ae:\n  title: \xed\xa0\x80\n", MD_FORMAT, "c.yaml:"},
    {"<<: {port: 1}\n", MD_FORMAT, "unknown key"},
    {"http: {bind: 0.0.0.0}\n", MD_FORMAT, "got 0.0.0.0, expected an address of this machine"},
    {"http: {bind: '::'}\n", MD_FORMAT, "expected an address of this machine"},
    {"http: {bind: 10.0.0.5}\n", MD_FORMAT, "expected an address of this machine"},
    {"http: {port: 65536}\n", MD_FORMAT, "got 65536, expected a whole number in 0..65535"},
};

static void test_bad_files_name_line_and_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_rows / sizeof *bad_rows; i++) {
        const bad_row *row = &bad_rows[i];
        md_conf conf;
        memset(&conf, 0x5a, sizeof conf);
        md_error err = {0};
        md_status status = load_bytes(row->yaml, strlen(row->yaml), &conf, &err);
        if (status != row->status || strstr(err.msg, row->expected) == NULL ||
            strchr(err.msg, '\n') != NULL) {
            fail_msg("row %zu: %s, '%s'", i, md_status_name(status), err.msg);
        }
        assert_int_equal(conf.ae.port, 0x5a5a); /* written on success only */
    }
}

static void test_hostile_files(void **state)
{
    (void)state;
    md_conf conf;
    md_error err = {0};
    size_t n = (size_t)MD_SCHEMA_MAX_BYTES + 1;
    char *text = md_calloc(n + 1, 1);
    assert_non_null(text);

    memset(text, '#', n); /* too long, though only a comment */
    assert_int_equal(load_bytes(text, n, &conf, &err), MD_LIMIT);
    assert_non_null(strstr(err.msg, "at most 1048576"));

    memset(text, '[', n); /* deep */
    memcpy(text, "plugins: ", 9);
    assert_int_equal(load_bytes(text, n - 1, &conf, &err), MD_FORMAT);
    memcpy(text, "plugins: {paths: [", 18);
    assert_int_equal(load_bytes(text, n - 1, &conf, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "got a list, expected text"));

    memset(text, 'a', n); /* one scalar of a mebibyte; the message stays short */
    memcpy(text, "ae: {title: ", 12);
    text[n - 2] = '}';
    assert_int_equal(load_bytes(text, n - 1, &conf, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "aaa..., expected text of 1..16 bytes"));

    memset(text, 0, 64); /* zero bytes, and UTF-16 */
    assert_int_equal(load_bytes(text, 64, &conf, &err), MD_FORMAT);
    assert_non_null(strstr(err.msg, "c.yaml:1: a zero byte"));
    assert_int_equal(load_bytes("\xff\xfe#\0\n\0", 6, &conf, &err), MD_FORMAT);
    md_free(text);
}

/* Thousands of damaged copies of the shipped file: read or refused with one line. */
static void test_damaged_files(void **state)
{
    (void)state;
    char path[4096];
    uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    assert_int_equal(
        md_file_read(source_file("conf/medaid.yaml", path), 1 << 20, &bytes, &size_bytes, NULL),
        MD_OK);
    md_conf *conf = md_malloc(sizeof *conf);
    uint8_t *damaged = md_malloc(size_bytes);
    assert_true(conf != NULL && damaged != NULL);
    static const char special[] = "{}[],:&*!|>'\"%@`#-? \n\t\0\xff\xc3";
    uint64_t random = 88172645463325252U; /* xorshift64, Marsaglia 2003 */
    for (int i = 0; i < 4000; i++) {
        memcpy(damaged, bytes, size_bytes);
        size_t length = size_bytes;
        for (int k = 0; k <= i % 5; k++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            size_t at = (size_t)(random >> 8) % length;
            size_t run = 1 + (size_t)(random >> 40) % 60;
            if (random % 2 == 0) {
                damaged[at] = (uint8_t)special[(random >> 32) % (sizeof special - 1)];
            } else if (at + run < length) {
                memmove(damaged + at, damaged + at + run, length - at - run);
                length -= run;
            }
        }
        memset(conf, 0, sizeof *conf);
        md_error err = {0};
        md_status status = md_schema_parse(md_conf_fields(), damaged, length, "m", conf, &err);
        if (status != MD_OK) {
            assert_true(status == MD_FORMAT || status == MD_LIMIT);
            assert_int_equal(strncmp(err.msg, "m:", 2), 0);
            assert_null(strchr(err.msg, '\n'));
        }
    }
    md_free(conf);
    md_free(damaged);
    md_free(bytes);
}

static void test_good_files(void **state)
{
    (void)state;
    md_conf conf;
    md_error err = {0};
    assert_int_equal(load_bytes("", 0, &conf, &err), MD_OK); /* empty: the defaults */
    md_conf defaults;
    md_conf_defaults(&defaults);
    memset(conf.path, 0, sizeof conf.path); /* all but where it was read from */
    md_conf_finish(&conf);
    assert_memory_equal(&conf, &defaults, sizeof conf);
    assert_int_equal(defaults.ae.port, 11112);
    assert_string_equal(defaults.ae.title, "MEDAID");
    assert_string_equal(defaults.ae.bind, "127.0.0.1");
    assert_int_equal(defaults.results.kind, MD_RESULTS_BOTH);
    assert_false(defaults.results.parametric_map);
    assert_int_equal(defaults.n_destinations, 0);

    static const char text[] = "\xef\xbb\xbf# comment\n%YAML 1.1\n---\n"
                               "ae: {title: X Y, port: 104, check_called_ae: true}\r\n"
                               "destinations:\n"
                               "- {name: a, ae_title: A, host: '::1', port: 4242}\n"
                               "- name: b\n  ae_title: B\n  host: pacs.example\n"
                               "  results: sr\n  parametric_map: true\n"
                               "  originals: before_analysis\n"
                               "  transfer_syntaxes: [own, explicit_le, 1.2.840.10008.1.2.5]\n"
                               "  retry_for_h: 2\n"
                               "  commitment: required\n"
                               "plugins:\n  paths: [/abs, rel/x]\n"
                               "results: {institution: \"K\\u00f6ln\", parametric_map: true}\n"
                               "storage: {path: data}\n";
    if (load_bytes(text, sizeof text - 1, &conf, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_string_equal(conf.ae.title, "X Y");
    assert_int_equal(conf.ae.port, 104);
    assert_true(conf.ae.check_called_ae);
    assert_int_equal(conf.ae.timeout_s, 30); /* the default beside given keys */
    assert_int_equal(conf.n_destinations, 2);
    assert_int_equal(conf.destinations[0].port, 4242);
    assert_string_equal(conf.destinations[0].host, "::1");
    assert_int_equal(conf.destinations[1].port, 104); /* defaults hold inside a list too */
    assert_int_equal(conf.destinations[1].results, MD_RESULTS_SR);
    assert_true(conf.destinations[1].parametric_map);
    assert_false(conf.destinations[0].parametric_map);
    assert_int_equal(conf.destinations[0].n_transfer_syntaxes, 0);
    assert_int_equal(conf.destinations[0].commitment, MD_COMMITMENT_NONE);
    assert_int_equal(conf.destinations[1].originals, MD_ORIGINALS_BEFORE);
    assert_int_equal(conf.destinations[1].n_transfer_syntaxes, 3);
    assert_string_equal(conf.destinations[1].transfer_syntaxes[0], MD_CONF_SYNTAX_OWN);
    assert_string_equal(conf.destinations[1].transfer_syntaxes[1], "1.2.840.10008.1.2.1");
    assert_string_equal(conf.destinations[1].transfer_syntaxes[2], "1.2.840.10008.1.2.5");
    assert_int_equal(conf.destinations[1].retry_for_h, 2);
    assert_int_equal(conf.destinations[1].retry_max_s, 300);
    assert_int_equal(conf.destinations[1].commitment, MD_COMMITMENT_REQUIRED);
    assert_int_equal(conf.destinations[1].commitment_timeout_s, 3600);
    assert_string_equal(conf.results.institution, "K\xc3\xb6ln");
    char expected[64];
    assert_int_equal(conf.plugins.n_paths, 2);
    assert_string_equal(conf.plugins.paths[0], "/abs");
    snprintf(expected, sizeof expected, "%s/rel/x", scratch);
    assert_string_equal(conf.plugins.paths[1], expected);
    snprintf(expected, sizeof expected, "%s/data", scratch);
    assert_string_equal(conf.storage.path, expected);
}

static void test_tls_and_callers(void **state)
{
    (void)state;
    md_conf conf;
    md_error err = {0};
    static const char text[] =
        "ae:\n"
        "  tls: {certificate: tls/c.crt, private_key: /k, ca: ca.crt, verify: optional}\n"
        "  allowed_callers:\n"
        "  - {ae_title: CT01, address: 192.0.2.0/24}\n"
        "  - {ae_title: MR}\n"
        "  - {ae_title: V6, address: '2001:db8::/32'}\n"
        "destinations:\n"
        "- {name: a, ae_title: A, host: h}\n"
        "- name: b\n  ae_title: B\n  host: h\n"
        "  tls: {certificate: c, private_key: k, ca: a}\n";
    if (load_bytes(text, sizeof text - 1, &conf, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    char expected[64];
    assert_true(conf.ae.has_tls);
    assert_int_equal(conf.ae.tls.verify, MD_CONF_VERIFY_OPTIONAL);
    snprintf(expected, sizeof expected, "%s/tls/c.crt", scratch);
    assert_string_equal(conf.ae.tls.certificate, expected);
    assert_string_equal(conf.ae.tls.private_key, "/k");
    snprintf(expected, sizeof expected, "%s/ca.crt", scratch);
    assert_string_equal(conf.ae.tls.ca, expected);
    assert_int_equal(conf.ae.n_allowed_callers, 3);
    assert_string_equal(conf.ae.allowed_callers[0].ae_title, "CT01");
    assert_string_equal(conf.ae.allowed_callers[0].address, "192.0.2.0/24");
    assert_string_equal(conf.ae.allowed_callers[1].address, "");
    assert_false(conf.destinations[0].has_tls);
    assert_true(conf.destinations[1].has_tls);
    snprintf(expected, sizeof expected, "%s/k", scratch);
    assert_string_equal(conf.destinations[1].tls.private_key, expected);

    static const char open[] = "ae: {tls: {certificate: c, private_key: k, verify: none}}\n";
    assert_int_equal(load_bytes(open, sizeof open - 1, &conf, &err), MD_OK);
    assert_string_equal(conf.ae.tls.ca, ""); /* stays empty: no path is made of nothing */
    static const char plain[] = "ae: {tls: {certificate: c, private_key: k, ca: a}}\n";
    assert_int_equal(load_bytes(plain, sizeof plain - 1, &conf, &err), MD_OK);
    assert_int_equal(conf.ae.tls.verify, MD_CONF_VERIFY_REQUIRED);
}

/* What the shipped file has behind '#' is a valid entry once the '#' is taken away. */
static void test_example_switched_on(void **state)
{
    static const char *const keys[] = {
        "titles:\n",           "allowed_callers:\n", "tls:\n",     "user: ",
        "required:\n",         "host: audit",        "group: ",    "notifiers:\n",
        "retrieve_ae_title: ", "subscribers:\n",     "manager:\n", "actions:\n"};
    (void)state;
    char path[4096], line[256];
    char *text = NULL;
    size_t text_bytes = 0;
    unsigned n_switched = 0;
    FILE *in = fopen(source_file("conf/medaid.yaml", path), "r");
    FILE *out = open_memstream(&text, &text_bytes);
    assert_true(in != NULL && out != NULL);
    size_t block = SIZE_MAX; /* the column of the key that is being switched on */
    while (fgets(line, sizeof line, in) != NULL) {
        size_t indent = strspn(line, " ");
        bool is_off = line[indent] == '#';
        bool inside = is_off && indent == block && strncmp(line + indent, "#   ", 4) == 0;
        block = inside ? block : SIZE_MAX;
        for (size_t i = 0; is_off && !inside && i < sizeof keys / sizeof keys[0]; i++) {
            if (strncmp(line + indent + 2, keys[i], strlen(keys[i])) == 0) {
                block = indent;
            }
        }
        if (block == indent) {
            memmove(line + indent, line + indent + 2, strlen(line + indent + 2) + 1);
            n_switched++;
        }
        /* subscribers and a manager are of no use without */
        fputs(strcmp(line, "  enabled: false\n") == 0 ? "  enabled: true\n" : line, out);
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
    assert_true(n_switched > 40);
    md_conf conf;
    md_error err = {0};
    if (load_bytes(text, text_bytes, &conf, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    free(text);
    assert_int_equal(conf.ae.n_allowed_callers, 1);
    assert_string_equal(conf.ae.allowed_callers[0].address, "192.0.2.0/24");
    assert_true(conf.ae.has_tls && conf.destinations[0].has_tls && conf.audit.has_tls);
    assert_string_equal(conf.user, "medaid");
    assert_true(conf.ups.subscribers[0].has_tls && conf.ups.manager.has_tls);
    assert_string_equal(conf.ups.subscribers[0].ae_title, "READER");
    assert_string_equal(conf.ups.subscribers[0].host, "10.0.0.7");
    assert_string_equal(conf.ups.manager.ae_title, "RIS");
    assert_int_equal(conf.ae.n_titles, 1);
    assert_string_equal(conf.ae.titles[0].title, "MEDAID_ER");
    assert_string_equal(conf.ae.titles[0].models[0], "chest-pneumonia");
    assert_int_equal(conf.ae.titles[0].n_required, 1);
    assert_string_equal(conf.study.required[0].views[1], "LL/RL");
    assert_int_equal(conf.follow_up.n_actions, 1);
    assert_string_equal(conf.follow_up.actions[0].code, "169069000");
    md_conf_finish(&conf);
}

/* Actions of follow-up, and what one key of it alone cannot show. */
static void test_follow_up(void **state)
{
#define ACTION(key_, code_)                                                                    \
    "    - {key: " key_ ", code: \"" code_ "\", scheme: SCT, meaning: M}\n"
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"follow_up: {min_support: 41}\n",
         ":1: key 'follow_up.min_support': got 41, expected at most follow_up.neighbours"},
        {"follow_up:\n  actions:\n" ACTION("a", "1") ACTION("a", "2"),
         ":4: key 'follow_up.actions[1]': has the key or the code of the one at line 3"},
        {"follow_up:\n  actions:\n" ACTION("a", "1") ACTION("b", "1"),
         "has the key or the code"},
        {"follow_up:\n  actions:\n" ACTION("A", "1"), "key"},
        {"follow_up:\n  actions:\n" ACTION("a", "1 2"), "without blanks"},
        {"follow_up:\n  actions:\n    - {key: a, code: '1\\2', scheme: SCT, meaning: M}\n",
         "without blanks"},
        {"follow_up:\n  actions:\n    - {key: a, code: '1', scheme: SCT, meaning: 'M\\N'}\n",
         "without '\\'"},
        {"follow_up:\n  actions:\n    - {key: a, code: '1', scheme: SCT}\n", "meaning"},
        {"follow_up: {min_score: 1.1}\n", "min_score"},
        {"follow_up: {shrinkage: .nan}\n", "shrinkage"},
        {"follow_up: {show: 9}\n", "show"},
        {"follow_up: {keep_days: 0}\n", "keep_days"},
    };
    (void)state;
    md_conf conf;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_error err = {0};
        if (load_bytes(rows[i].text, strlen(rows[i].text), &conf, &err) != MD_FORMAT ||
            strstr(err.msg, rows[i].says) == NULL) {
            fail_msg("row %zu: %s", i, err.msg);
        }
    }
    static const char good[] = "follow_up:\n  min_support: 2\n  in_report: true\n"
                               "  actions:\n" ACTION("a", "1") ACTION("b", "2");
    md_error err = {0};
    if (load_bytes(good, sizeof good - 1, &conf, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(conf.follow_up.n_actions, 2);
    assert_int_equal(conf.follow_up.actions[1].line, 6);
    assert_string_equal(conf.follow_up.actions[1].key, "b");
    assert_true(conf.follow_up.in_report);
    assert_int_equal(conf.follow_up.min_support, 2);
    assert_int_equal(conf.follow_up.n_neighbours, 40);
    assert_true(conf.follow_up.shrinkage > 9.99 && conf.follow_up.shrinkage < 10.01);
    assert_non_null(conf.holders); /* the list has an owner */
    md_conf_finish(&conf);
#undef ACTION
}

/* What one key of `ups` alone cannot show. */
static void test_ups(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"ups: {subscribers: [{ae_title: A, host: h}]}\n", "key 'ups.enabled'"},
        {"ups: {manager: {ae_title: A, host: h}}\n", "key 'ups.enabled'"},
        {"ups: {enabled: true, manager: {host: h}}\n", "ae_title"},
        {"ups:\n  enabled: true\n  subscribers:\n    - {ae_title: A, host: h}\n"
         "    - {ae_title: A, host: i}\n",
         ":5: key 'ups.subscribers': got the AE title 'A' twice"},
        {"ups: {enabled: true, subscribers: [{ae_title: A, host: h}],"
         " manager: {ae_title: A, host: h}}\n",
         "a subscriber too"},
        {"ups: {worklist_label: 'A\\B'}\n", "without backslash"},
    };
    (void)state;
    md_conf conf;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        md_error err = {0};
        md_status status = load_bytes(rows[i].text, strlen(rows[i].text), &conf, &err);
        if (status != MD_FORMAT || strstr(err.msg, rows[i].says) == NULL) {
            fail_msg("row %zu: %s, \"%s\"", i, md_status_name(status), err.msg);
        }
    }
    static const char good[] = "ups: {enabled: true, subscribers: [{ae_title: A, host: h},"
                               " {ae_title: B, host: h, port: 11113}]}\n";
    md_error err = {0};
    if (load_bytes(good, sizeof good - 1, &conf, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(conf.ups.n_subscribers, 2);
    assert_int_equal(conf.ups.subscribers[0].port, 104);
    assert_int_equal(conf.ups.subscribers[1].port, 11113);
    assert_string_equal(conf.ups.worklist_label, "READING");
    assert_false(conf.ups.has_manager);
}

/* ae.titles and study.required. */
static void test_titles(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"ae:\n  titles:\n    - {title: A}\n    - {title: A}\n", ":4: "},
        {"ae:\n  titles:\n    - {title: A, destinations: [pcas]}\n",
         ":3: key 'ae.titles[0].destinations': 'pcas' is not the name of a destination"},
        {"ae:\n  titles:\n    - {title: A, priority: high}\n", "expected HIGH, MEDIUM or LOW"},
        {"ae:\n  titles:\n    - {title: A, allowed_callers: [{ae_title: B}, {}]}\n", ":3: "},
        {"ae:\n  titles:\n    - {title: A, deadline_s: 0, required: [{views: [PA]}]}\n",
         "wait for ever"},
        {"study:\n  deadline_s: 0\n  required:\n    - {count: 2}\n",
         ":4: key 'study.required'"},
        {"study:\n  required:\n    - {views: [PA/]}\n", "one is enough"},
        {"study:\n  required:\n    - {views: [pa]}\n", ":3: "},
    };
    md_conf conf;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        md_error err = {0};
        assert_int_equal(load_bytes(bad[i].text, strlen(bad[i].text), &conf, &err), MD_FORMAT);
        if (strstr(err.msg, bad[i].message) == NULL) {
            fail_msg("%zu: %s", i, err.msg);
        }
    }
    static const char good[] =
        "ae:\n  title: MAIN\n  titles:\n"
        "    - {title: ER, priority: HIGH, allowed_callers: [{ae_title: X}, {ae_title: Y}]}\n"
        "    - {title: STORE, analyse: false, destinations: [], models: []}\n"
        "    - {title: MAIN, quiet_ms: 5000}\n";
    md_error err = {0};
    assert_int_equal(load_bytes(good, sizeof good - 1, &conf, &err), MD_OK);
    const md_conf_title *er = md_conf_title_of(&conf, "ER");
    assert_int_equal(er->priority, MD_CONF_PRIORITY_HIGH);
    assert_true(er->analyse && !er->has_models && !er->has_destinations && !er->has_quiet);
    assert_int_equal(er->n_allowed_callers, 2);
    assert_string_equal(er->allowed_callers[1].ae_title, "Y");
    const md_conf_title *store = md_conf_title_of(&conf, "STORE");
    assert_true(!store->analyse && store->has_destinations && store->n_destinations == 0);
    assert_int_equal(md_conf_title_of(&conf, "ANYBODY")->quiet_ms, 5000);
    assert_string_equal(md_conf_own_title(&conf, "ANYBODY"), "MAIN");
    md_conf_finish(&conf);
    md_conf_defaults(&conf);
    assert_true(md_conf_title_of(&conf, "ANYBODY")->analyse);
    md_conf_finish(&conf);
}

static void test_not_there(void **state)
{
    (void)state;
    md_conf conf;
    md_error err = {0};
    assert_int_equal(md_conf_load("/nonexistent/c.yaml", &conf, &err), MD_NOT_FOUND);
    assert_int_equal(md_conf_load("/tmp", &conf, &err), MD_INVALID_ARG);
}

/* The file that is shipped loads, says the defaults, and is what the table prints today. */
static void test_example_is_the_table(void **state)
{
    (void)state;
    char path[4096];
    md_conf conf;
    md_error err = {0};
    if (md_conf_load(source_file("conf/medaid.yaml", path), &conf, &err) != MD_OK) {
        fail_msg("%s", err.msg);
    }
    assert_int_equal(conf.n_destinations, 1);
    assert_int_equal(conf.plugins.n_paths, 1);
    char plugins[4096];
    source_file("conf/../plugins", plugins);
    assert_string_equal(conf.plugins.paths[0], plugins);
    md_conf defaults;
    md_conf_defaults(&defaults);
    conf.n_destinations = 0;
    memset(conf.destinations, 0, sizeof conf.destinations);
    memset(&conf.plugins, 0, sizeof conf.plugins);
    assert_string_equal(conf.path, path);
    memset(conf.path, 0, sizeof conf.path);
    conf.audit.line = 0;
    conf.http.line = 0;
    conf.web.line = 0;
    conf.ae.port_line = 0;
    conf.storage.path_line = 0;
    conf.ups.line = 0;
    conf.follow_up.line = 0;
    md_conf_finish(&conf);
    assert_memory_equal(&conf, &defaults, sizeof conf);

    char *printed = NULL;
    size_t printed_bytes = 0;
    FILE *out = open_memstream(&printed, &printed_bytes);
    assert_non_null(out);
    md_schema_print_example(md_conf_fields(), out);
    assert_int_equal(fclose(out), 0);
    uint8_t *bytes = NULL;
    size_t size_bytes = 0;
    assert_int_equal(md_file_read(path, 1 << 20, &bytes, &size_bytes, NULL), MD_OK);
    const char *body = strstr((const char *)bytes, "\n\n");
    assert_non_null(body);
    if (strcmp(body + 1, printed) != 0) {
        fail_msg("conf/medaid.yaml is not what the table says; run "
                 "build/conf/medaid-conf-example > conf/medaid.yaml");
    }
    md_free(bytes);
    free(printed);
}

typedef struct sample {
    double real;
    float single;
    int8_t small;
    int64_t large;
    bool has_inner;
    struct {
        unsigned line;
        bool has_b;
        int b;
    } inner;
    struct {
        char key[9];
        int value;
    } dict[3];
    unsigned n_dict;
    int list[4];
    unsigned n_list;
} sample;

static const md_schema_field inner_fields[] = {
    {.key = "b",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(sample, inner.b),
     .least = -5,
     .most = 5,
     .has_offset = offsetof(sample, inner.has_b)},
    {.key = NULL},
};
static const md_schema_field dict_item[] = {
    {.key = "key", .type = MD_SCHEMA_TEXT, .size_bytes = 9, .least = 1},
    {.key = "value",
     .type = MD_SCHEMA_INT,
     .offset = offsetof(sample, dict[0].value) - offsetof(sample, dict[0]),
     .size_bytes = sizeof(int),
     .least = 0,
     .most = 9},
};
static const md_schema_field list_item = {
    .key = "n", .type = MD_SCHEMA_INT, .size_bytes = sizeof(int), .least = 0, .most = 9};
static const md_schema_field sample_fields[] = {
    {.key = "real",
     .type = MD_SCHEMA_REAL,
     MD_SCHEMA_AT(sample, real),
     .least = -1,
     .most = 1,
     .fallback = "0.25"},
    {.key = "single",
     .type = MD_SCHEMA_REAL,
     MD_SCHEMA_AT(sample, single),
     .least = 0,
     .most = 1e6},
    {.key = "small",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(sample, small),
     .least = -128,
     .most = 127},
    {.key = "large",
     .type = MD_SCHEMA_INT,
     MD_SCHEMA_AT(sample, large),
     .least = -1e15,
     .most = 1e15},
    {.key = "inner",
     .type = MD_SCHEMA_MAP,
     .fields = inner_fields,
     .has_offset = offsetof(sample, has_inner),
     .line_offset = offsetof(sample, inner.line)},
    {.key = "dict",
     .type = MD_SCHEMA_DICT,
     MD_SCHEMA_AT(sample, dict),
     .item = dict_item,
     .max_items = 3,
     .least = 1,
     .n_offset = offsetof(sample, n_dict)},
    {.key = "list",
     .type = MD_SCHEMA_LIST,
     MD_SCHEMA_AT(sample, list),
     .item = &list_item,
     .max_items = 4,
     .least = 1,
     .n_offset = offsetof(sample, n_list)},
    {.key = NULL},
};

static md_status parse(const char *text, sample *s, md_error *err)
{
    memset(s, 0, sizeof *s);
    return md_schema_parse(sample_fields, (const uint8_t *)text, strlen(text), "s", s, err);
}

static void test_every_type(void **state)
{
    (void)state;
    sample s;
    md_error err = {0};
    static const char text[] =
        "single: 1.5e2\nsmall: -7\nlarge: -900000000000\n\ninner: {b: -5}\n"
        "dict:\n  x: 1\n  'y z': 2\nlist: [1, 2]\n";
    assert_int_equal(parse(text, &s, &err), MD_OK);
    assert_true(s.real == 0.25 && s.single == 150.0F);
    assert_int_equal(s.small, -7);
    assert_true(s.large == -900000000000);
    assert_true(s.has_inner && s.inner.has_b);
    assert_int_equal(s.inner.line, 5);
    assert_int_equal(s.inner.b, -5);
    assert_int_equal(s.n_dict, 2);
    assert_string_equal(s.dict[1].key, "y z");
    assert_int_equal(s.dict[1].value, 2);
    assert_int_equal(s.n_list, 2);
    assert_int_equal(parse("real: -1", &s, &err), MD_OK);
    assert_false(s.has_inner);
}

static void test_every_type_refuses(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"real: .nan", "s:1: key 'real': got .nan, expected a number in -1..1"},
        {"real: .inf", "got .inf"},
        {"real: 1e999", "got 1e999"},
        {"real: 1,5", "got 1,5"},
        {"real: 0x1p-2", "got 0x1p-2"},
        {"real: 1.0.0", "got 1.0.0"},
        {"real: 1.1", "got 1.1, expected a number in -1..1"},
        {"small: 128", "expected a whole number in -128..127"},
        {"small: +", "got +"},
        {"inner: {b: 6}", "key 'inner.b': got 6, expected a whole number in -5..5"},
        {"dict: {}", "got an empty map, expected at least 1 key"},
        {"dict: {a: 1, b: 2, a: 3}", "key 'dict.a': stands here a second time"},
        {"dict: {a: 1, b: 2, c: 3, d: 4}", "more than 3 keys"},
        {"dict: {[a]: 1}", "got a list, expected text"},
        {"dict: {a: 10}", "key 'dict.a': got 10"},
        {"dict: {muchtoolong: 1}", "expected text of 1..8 bytes"},
        {"list: []", "got an empty list, expected at least 1 value"},
        {"list: [1, x]", "key 'list[1]': got x"},
        {"list: {a: 1}", "got a map, expected a list of 1..4 values"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sample s;
        md_error err = {0};
        md_status status = parse(rows[i][0], &s, &err);
        if (status == MD_OK || strstr(err.msg, rows[i][1]) == NULL) {
            fail_msg("'%s': %s, '%s'", rows[i][0], md_status_name(status), err.msg);
        }
    }
}

static void test_reals_in_any_locale(void **state)
{
    (void)state;
    sample s;
    /* Not every machine has a locale with a decimal comma; where one is, it must not matter. */
    (void)(setlocale(LC_ALL, "de_DE.UTF-8") != NULL ||
           setlocale(LC_ALL, "fr_FR.UTF-8") != NULL);
    assert_int_equal(parse("real: 0.5", &s, NULL), MD_OK);
    assert_true(s.real == 0.5);
    setlocale(LC_ALL, "C");
}

static void test_checks(void **state)
{
    (void)state;
    assert_null(md_schema_check_slug("chest-1"));
    assert_non_null(md_schema_check_slug("Chest"));
    assert_non_null(md_schema_check_slug("-a"));
    assert_non_null(md_schema_check_slug(""));
    assert_non_null(md_schema_check_slug("../a"));
    assert_null(md_schema_check_uid("1.2.840.10008.5.1.4.1.1.1"));
    assert_null(md_schema_check_uid("2.25.0"));
    assert_non_null(md_schema_check_uid("1.02"));
    assert_non_null(md_schema_check_uid("1..2"));
    assert_non_null(md_schema_check_uid("1.2."));
    assert_non_null(md_schema_check_uid(""));
    assert_non_null(md_schema_check_uid("1.2.84a"));
    assert_non_null(md_schema_check_uid(
        "1.23456789012345678901234567890123456789012345678901234567890.1234"));
}

static void test_out_of_memory(void **state)
{
    (void)state;
    char path[4096];
    source_file("conf/medaid.yaml", path);
    md_conf conf;
    size_t nth = 1;
    for (;; nth++) {
        md_memory_fail_at(nth);
        md_status status = md_conf_load(path, &conf, NULL);
        md_memory_fail_at(0);
        if (status == MD_OK) {
            break;
        }
        assert_int_equal(status, MD_NOMEM);
    }
    assert_true(nth > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_files_name_line_and_reason),
        cmocka_unit_test(test_hostile_files),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_good_files),
        cmocka_unit_test(test_ups),
        cmocka_unit_test(test_not_there),
        cmocka_unit_test(test_tls_and_callers),
        cmocka_unit_test(test_titles),
        cmocka_unit_test(test_example_switched_on),
        cmocka_unit_test(test_follow_up),
        cmocka_unit_test(test_example_is_the_table),
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_every_type_refuses),
        cmocka_unit_test(test_reals_in_any_locale),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
