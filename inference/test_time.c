#include "inference/test_time.h"

#include <math.h>
#include <string.h>

unsigned md_test_time_n_views(const md_test_time *options)
{
    return (options->flip ? 2u : 1u) * (options->shift > 0.0F ? 5u : 1u);
}

/* One plane moved by whole pixels. */
static void move(const float *from, int width, int height, bool flip, int dx, int dy, float *to)
{
    const int right = width - 1, bottom = height - 1;
    for (int y = 0; y <= bottom; y++) {
        const int source_y = y - dy < 0 ? 0 : y - dy > bottom ? bottom : y - dy;
        const float *row = from + (size_t)source_y * (size_t)width;
        for (int x = 0; x <= right; x++) {
            const int moved = x - dx < 0 ? 0 : x - dx > right ? right : x - dx;
            to[(size_t)y * (size_t)width + (size_t)x] = row[flip ? right - moved : moved];
        }
    }
}

void md_test_time_view(const md_test_time *options, unsigned view, const float *planes,
                       uint32_t n_planes, uint32_t width, uint32_t height, float *ret_planes)
{
    static const float directions[5][2] = {{0, 0}, {-1, 0}, {1, 0}, {0, -1}, {0, 1}};
    const float *direction = directions[(options->flip ? view / 2 : view) % 5];
    const bool flip = options->flip && view % 2 == 1;
    const int dx = (int)lroundf(direction[0] * options->shift * (float)width);
    const int dy = (int)lroundf(direction[1] * options->shift * (float)height);
    const size_t n = (size_t)width * height;
    for (uint32_t c = 0; c < n_planes; c++) {
        move(planes + c * n, (int)width, (int)height, flip, dx, dy, ret_planes + c * n);
    }
}

void md_test_time_scratch_finish(md_test_time_scratch *scratch)
{
    md_tensor_finish(&scratch->view);
    md_free(scratch->sums);
    md_free(scratch->mean);
    *scratch = (md_test_time_scratch){0};
}

/* The view's run; picture 0 needs no copy. */
static md_status run_view(const md_test_time *options, unsigned view, md_network *network,
                          const md_tensor *input, md_tensor *outputs, unsigned n_outputs,
                          md_test_time_scratch *scratch, md_error *err)
{
    if (view == 0) {
        return md_network_run(network, input, 1, outputs, n_outputs, err);
    }
    if (scratch->view.data == NULL) {
        MD_TRY(md_tensor_init(&scratch->view, MD_F32, input->n_dims, input->dims, err));
    }
    if (scratch->view.n_elements != input->n_elements || input->n_dims != 4) {
        return md_fail(err, MD_INVALID_ARG, "views of a picture of another size");
    }
    md_test_time_view(options, view, input->data, (uint32_t)input->dims[1],
                      (uint32_t)input->dims[3], (uint32_t)input->dims[2], scratch->view.data);
    return md_network_run(network, &scratch->view, 1, outputs, n_outputs, err);
}

/* Room for the sums of so many outputs, all 0. */
static md_status start_sums(const md_tensor *output, md_test_time_scratch *scratch,
                            md_error *err)
{
    const size_t n = output->n_elements;
    if (scratch->n != n) {
        md_free(scratch->sums);
        md_free(scratch->mean);
        scratch->n = 0;
        scratch->sums = md_calloc(n, sizeof *scratch->sums);
        scratch->mean = md_calloc(n, sizeof *scratch->mean);
        if (scratch->sums == NULL || scratch->mean == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu outputs", n);
        }
        scratch->n = n;
    }
    memset(scratch->sums, 0, n * sizeof *scratch->sums);
    return MD_OK;
}

md_status md_test_time_run(const md_test_time *options, md_network *network,
                           const md_tensor *input, unsigned scored, md_tensor *outputs,
                           unsigned n_outputs, md_test_time_scratch *scratch,
                           const float **ret_values, size_t *ret_n, md_error *err)
{
    const unsigned n_views = md_test_time_n_views(options);
    const md_tensor *output = &outputs[scored];
    for (unsigned view = n_views; view-- > 0;) {
        MD_TRY(run_view(options, view, network, input, outputs, n_outputs, scratch, err));
        if (output->dtype != MD_F32) {
            return md_fail(err, MD_FORMAT, "the output is not float32");
        }
        if (n_views == 1) {
            *ret_values = output->data;
            *ret_n = output->n_elements;
            return MD_OK;
        }
        if (view == n_views - 1) {
            MD_TRY(start_sums(output, scratch, err));
        }
        if (output->n_elements != scratch->n) {
            return md_fail(err, MD_FORMAT, "views with outputs of different sizes");
        }
        for (size_t k = 0; k < scratch->n; k++) {
            scratch->sums[k] += (double)((const float *)output->data)[k];
        }
    }
    for (size_t k = 0; k < scratch->n; k++) {
        scratch->mean[k] = (float)(scratch->sums[k] / n_views);
    }
    *ret_values = scratch->mean;
    *ret_n = scratch->n;
    return MD_OK;
}
