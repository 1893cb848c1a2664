#ifndef MEDAID_INFERENCE_TEST_TIME_H
#define MEDAID_INFERENCE_TEST_TIME_H

/* Test-time views: a network looks at a picture, at its mirror image and at slightly moved
 * copies, and its outputs are averaged. What serves, what measures and what exports runs the
 * views through md_test_time_run, so that all say the same, bit for bit. */

#include "inference/network.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 1 + flip views, times 5 with a shift: as it is, to the left, to the right, up and down. All
 * zero: the picture alone. */
typedef struct md_test_time {
    bool flip;   /* left and right exchanged */
    float shift; /* share of the sides, 0..0.25; to whole pixels */
} md_test_time;

enum {
    MD_TEST_TIME_MAX_VIEWS = 10
};

/* 1..MD_TEST_TIME_MAX_VIEWS. */
unsigned md_test_time_n_views(const md_test_time *options) MD_NOEXCEPT;

/* View number `view` of [n_planes, height, width] as it enters the network, after mean and std;
 * 0 is the picture itself, odd ones are mirrored when there are mirrored ones. A picture that
 * is moved repeats its edge. Pixels are copied, never computed. ret_planes is another array. */
void md_test_time_view(const md_test_time *options, unsigned view, const float *planes,
                       uint32_t n_planes, uint32_t width, uint32_t height, float *ret_planes)
    MD_NOEXCEPT;

/* Memory for runs with several views; zeroed before the first. One thread at a time. */
typedef struct md_test_time_scratch {
    md_tensor view; /* owned, as the next two */
    double *sums;
    float *mean;
    size_t n; /* of sums and mean */
} md_test_time_scratch;
void md_test_time_scratch_finish(md_test_time_scratch *scratch) MD_NOEXCEPT;

/* Run the network, which has one float32 input [1,C,H,W], on each view of `input`. *ret_values
 * is the mean over the views of output `scored`, before any activation: float32 of any shape,
 * *ret_n values; sums are double, from the last view to the first. Borrowed until the next run
 * of the network or the scratch. outputs (n_outputs of them, as md_network_run) are those of
 * the picture itself, which comes last. With one view this is md_network_run. MD_FORMAT for an
 * output that is not float32; MD_NOMEM; errors of md_network_run. */
md_status md_test_time_run(const md_test_time *options, md_network *network,
                           const md_tensor *input, unsigned scored, md_tensor *outputs,
                           unsigned n_outputs, md_test_time_scratch *scratch,
                           const float **ret_values, size_t *ret_n, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
