/* Rank correlation, structural similarity and the pointing game against values that are known,
 * and a network that forgets its weights. */

#include "inference/graph/randomise.h"
#include "inference/graph/writer.h"
#include "inference/network.h"
#include "inference/saliency_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "near.h"

static void test_rank_correlation(void **state)
{
    (void)state;
    double r = 0;
    /* as scipy.stats.spearmanr */
    const float a[] = {1, 2, 3, 4, 5}, b[] = {5, 6, 7, 8, 7};
    assert_int_equal(md_map_rank_correlation(a, b, 5, &r, NULL), MD_OK);
    assert_near(r, 0.82078268166812329, 1e-12);
    const float ties[] = {0, 0, 0, 1}, other[] = {3, 1, 2, 0};
    assert_int_equal(md_map_rank_correlation(ties, other, 4, &r, NULL), MD_OK);
    assert_near(r, -0.7745966692414834, 1e-12);
    const float back[] = {5, 4, 3, 2, 1}, flat[] = {2, 2, 2, 2, 2};
    assert_int_equal(md_map_rank_correlation(a, a, 5, &r, NULL), MD_OK);
    assert_near(r, 1, 1e-12);
    assert_int_equal(md_map_rank_correlation(a, back, 5, &r, NULL), MD_OK);
    assert_near(r, -1, 1e-12);
    assert_int_equal(md_map_rank_correlation(a, flat, 5, &r, NULL), MD_OK);
    assert_true(isnan(r));
    const float bad[] = {1, NAN, 3, 4, 5};
    assert_int_equal(md_map_rank_correlation(a, bad, 5, &r, NULL), MD_FORMAT);
}

static void test_similarity(void **state)
{
    (void)state;
    float a[13 * 12], b[13 * 12];
    double s = 0;
    for (int i = 0; i < 13 * 12; i++) {
        a[i] = (float)(i * 37 % 101) / 100.0F;
        b[i] = 1.0F - a[i];
    }
    assert_int_equal(md_map_similarity(a, a, 13, 12, &s, NULL), MD_OK);
    assert_near(s, 1, 1e-12);
    assert_int_equal(md_map_similarity(a, b, 13, 12, &s, NULL), MD_OK);
    assert_true(s < -0.5); /* turned round: the covariance is negative */
    for (int i = 0; i < 13 * 12; i++) {
        a[i] = 0.25F;
        b[i] = 0.75F;
    }
    assert_int_equal(md_map_similarity(a, b, 13, 12, &s, NULL), MD_OK);
    assert_near(s, (2 * 0.25 * 0.75 + 1e-4) / (0.0625 + 0.5625 + 1e-4), 1e-9);
    assert_int_equal(md_map_similarity(a, b, 10, 12, &s, NULL), MD_INVALID_ARG);
    /* one window: the sums written out */
    double w[11], total = 0, ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
    for (int i = 0; i < 11; i++) {
        w[i] = exp(-(i - 5) * (i - 5) / 4.5);
        total += w[i];
    }
    for (int y = 0; y < 11; y++) {
        for (int x = 0; x < 11; x++) {
            const double weight = w[y] * w[x] / total / total;
            a[y * 11 + x] = (float)(y * 11 + x) / 120.0F;
            b[y * 11 + x] = (float)(x * y) / 100.0F;
            const double p = (double)a[y * 11 + x], q = (double)b[y * 11 + x];
            ma += weight * p;
            mb += weight * q;
            aa += weight * p * p;
            bb += weight * q * q;
            ab += weight * p * q;
        }
    }
    assert_int_equal(md_map_similarity(a, b, 11, 11, &s, NULL), MD_OK);
    assert_near(s,
                (2 * ma * mb + 1e-4) * (2 * (ab - ma * mb) + 9e-4) /
                    ((ma * ma + mb * mb + 1e-4) * (aa - ma * ma + bb - mb * mb + 9e-4)),
                1e-9);
}

static void test_pointing(void **state)
{
    (void)state;
    float map[4 * 5] = {0};
    md_pointing p;
    map[2 * 5 + 3] = 1.0F; /* the cell 300..400 x 100..150 of a film of 500 x 200 */
    map[0] = 0.5F;
    const md_map_region inside = {300, 100, 100, 50}, left = {100, 100, 100, 50};
    assert_int_equal(md_map_pointing(map, 4, 5, 500, 200, &inside, 1, 0, &p, NULL), MD_OK);
    assert_true(p.hit);
    assert_near(p.energy, 1.0 / 1.5, 1e-9);
    assert_near(p.area, 1.0 / 20, 1e-9);
    assert_int_equal(md_map_pointing(map, 4, 5, 500, 200, &left, 1, 0, &p, NULL), MD_OK);
    assert_false(p.hit);
    assert_near(p.energy, 0, 1e-9);
    /* the centre 350, 125 is 150 away from the left one */
    assert_int_equal(md_map_pointing(map, 4, 5, 500, 200, &left, 1, 149, &p, NULL), MD_OK);
    assert_false(p.hit);
    assert_int_equal(md_map_pointing(map, 4, 5, 500, 200, &left, 1, 150, &p, NULL), MD_OK);
    assert_true(p.hit);
    const md_map_region both[] = {left, inside};
    assert_int_equal(md_map_pointing(map, 4, 5, 500, 200, both, 2, 0, &p, NULL), MD_OK);
    assert_true(p.hit);
    assert_near(p.area, 2.0 / 20, 1e-9);
    memset(map, 0, sizeof map);
    assert_int_equal(md_map_pointing(map, 4, 5, 500, 200, &inside, 1, 999, &p, NULL), MD_OK);
    assert_true(!p.hit && isnan(p.energy));
    map[1] = -1.0F;
    assert_int_equal(md_map_pointing(map, 4, 5, 500, 200, &inside, 1, 0, &p, NULL), MD_FORMAT);
    assert_int_equal(md_map_pointing(map, 4, 5, 500, 200, NULL, 0, 0, &p, NULL),
                     MD_INVALID_ARG);
}

/* image [1,1,4,4] -> Conv -> Flatten -> Gemm -> logits [1,2]. */
static void write_network(uint8_t **ret_bytes, size_t *ret_size)
{
    const int64_t in[] = {1, 1, 4, 4}, out[] = {1, 2}, conv[] = {3, 1, 1, 1}, fc[] = {2, 48},
                  bias[] = {2};
    MD_AUTO(md_writer_destroyp) md_writer *w = NULL;
    assert_int_equal(md_writer_create("n", &w, NULL), MD_OK);
    md_writer_input(w, "image", 4, in);
    md_writer_output(w, "logits", 2, out);
    float *values = md_writer_weights(w, "conv", 4, conv);
    for (int i = 0; i < 3; i++) {
        values[i] = (float)(i - 1);
    }
    values = md_writer_weights(w, "fc", 2, fc);
    for (int i = 0; i < 96; i++) {
        values[i] = i % 2 == 0 ? 0.5F : -0.5F;
    }
    values = md_writer_weights(w, "bias", 1, bias);
    values[0] = 7.0F;
    md_writer_node(w, "Conv", "image conv", "c");
    md_writer_node(w, "Flatten", "c", "flat");
    md_writer_node(w, "Gemm", "flat fc bias", "logits");
    md_writer_attribute_int(w, "transB", 1);
    assert_int_equal(md_writer_finish(w, ret_bytes, ret_size, NULL), MD_OK);
}

static void outputs_of(const uint8_t *bytes, size_t n_bytes, float ret[2])
{
    const md_network_options options = {.backend = MD_BACKEND_OPENBLAS, .n_threads = 1};
    md_network *network = NULL;
    float image[16];
    md_tensor input = {MD_F32, 4, {1, 1, 4, 4}, 16, image, false}, output;
    for (int i = 0; i < 16; i++) {
        image[i] = 0.1F * (float)i;
    }
    assert_int_equal(md_network_load(bytes, n_bytes, &options, &network, NULL), MD_OK);
    assert_int_equal(md_network_run(network, &input, 1, &output, 1, NULL), MD_OK);
    memcpy(ret, output.data, 2 * sizeof *ret);
    md_network_destroy(network);
}

static void test_randomise(void **state)
{
    (void)state;
    uint8_t *bytes = NULL, *made[4] = {NULL};
    size_t n_bytes = 0, n_made[4] = {0};
    unsigned n_all = 0;
    char last[MD_ONNX_NAME_BYTES];
    float trained[2], y[4][2];
    write_network(&bytes, &n_bytes);
    outputs_of(bytes, n_bytes, trained);
    assert_int_equal(
        md_onnx_randomise(bytes, n_bytes, 0, 1, &made[0], &n_made[0], &n_all, last, NULL),
        MD_OK);
    assert_true(n_all == 2 && made[0] == NULL && last[0] == '\0');
    const struct {
        unsigned n_layers;
        uint64_t seed;
        const char *last;
    } rows[] = {{1, 1, "fc"}, {2, 1, "conv"}, {2, 1, "conv"}, {2, 2, "conv"}};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(md_onnx_randomise(bytes, n_bytes, rows[i].n_layers, rows[i].seed,
                                           &made[i], &n_made[i], &n_all, last, NULL),
                         MD_OK);
        assert_string_equal(last, rows[i].last);
        outputs_of(made[i], n_made[i], y[i]);
        assert_true(y[i][0] != trained[0] && y[i][1] != trained[1]);
        assert_true(fabsf(y[i][0]) < 100.0F && fabsf(y[i][1]) < 100.0F);
    }
    assert_true(n_made[1] == n_made[2] && memcmp(made[1], made[2], n_made[1]) == 0);
    assert_true(memcmp(made[1], made[3], n_made[1]) != 0);
    /* the head that was drawn first stays the same when more is drawn: only the conv differs */
    assert_true(memcmp(y[0], y[1], sizeof y[0]) != 0);
    uint8_t *none = NULL;
    size_t n_none = 0;
    assert_int_equal(
        md_onnx_randomise(bytes, n_bytes, 3, 1, &none, &n_none, &n_all, last, NULL),
        MD_INVALID_ARG);
    assert_int_equal(
        md_onnx_randomise(bytes, n_bytes / 2, 1, 1, &none, &n_none, &n_all, last, NULL),
        MD_FORMAT);
    for (int i = 0; i < 4; i++) {
        md_free(made[i]);
    }
    md_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rank_correlation),
        cmocka_unit_test(test_similarity),
        cmocka_unit_test(test_pointing),
        cmocka_unit_test(test_randomise),
    };
    return cmocka_run_group_tests_name("saliency check", tests, NULL, NULL);
}
