/* What the Python checks of this folder call:
 *
 *   train-tool networks               the names, one a line
 *   train-tool network NAME FILE WIDTH CHANNELS HEIGHT CLASSES SEED
 *   train-tool schedule KIND RATE STEPS WARMUP STEP_STEPS FACTOR LAST     all rates, a line
 * each train-tool optimizer KIND MOMENTUM NESTEROV DECAY DECOUPLED CLIP AVERAGE THREADS RATE
 * STEPS stdin: u32 number of parameters; of each u32 elements, u32 1 if it decays; all values;
 *       then the gradients of each step. stdout: after each step the norm (f64), all values
 *       and all averages. After half of the steps the state is saved and loaded into another
 *       optimizer, which does the rest. */

#include "inference/train/architecture.h"
#include "inference/train/optimizer.h"
#include "inference/train/schedule.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_PARAMETERS = 16
};

static int fail(const md_error *err)
{
    fprintf(stderr, "%s\n", err->msg);
    return 1;
}

static int network(char **argv)
{
    md_error err = {0};
    const int64_t side = strtoll(argv[6], NULL, 10);
    const md_architecture a = {.name = argv[2],
                               .width = strtod(argv[4], NULL),
                               .n_channels = strtoll(argv[5], NULL, 10),
                               .image_height = side,
                               .image_width = side,
                               .n_classes = strtoll(argv[7], NULL, 10),
                               .dropout = -1.0,
                               .seed = strtoull(argv[8], NULL, 10)};
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    if (md_architecture_write(&a, &bytes, &n_bytes, &err) != MD_OK ||
        md_file_write(argv[3], MD_FILE_REPLACE, bytes, n_bytes, &err) != MD_OK) {
        return fail(&err);
    }
    return 0;
}

static int schedule(char **argv)
{
    static const char *const kinds[] = {"constant", "step", "cosine", "one-cycle"};
    md_schedule s = {.rate = strtod(argv[3], NULL),
                     .n_steps = strtoull(argv[4], NULL, 10),
                     .warmup_steps = strtoull(argv[5], NULL, 10),
                     .step_steps = strtoull(argv[6], NULL, 10),
                     .step_factor = strtod(argv[7], NULL),
                     .last_factor = strtod(argv[8], NULL)};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(kinds[i], argv[2]) == 0) {
            s.kind = (md_schedule_kind)i;
        }
    }
    for (uint64_t i = 0; i < s.n_steps; i++) {
        printf("%.17g\n", md_schedule_rate(&s, i));
    }
    return 0;
}

static bool get(void *to, size_t n_bytes)
{
    return fread(to, 1, n_bytes, stdin) == n_bytes;
}

static bool put(const void *from, size_t n_bytes)
{
    return fwrite(from, 1, n_bytes, stdout) == n_bytes;
}

static bool read_parameters(md_parameter *list, const md_parameter **pointers, uint32_t *ret_n)
{
    uint32_t n = 0, shape[2];
    if (!get(&n, sizeof n) || n == 0 || n > MAX_PARAMETERS) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!get(shape, sizeof shape) || shape[0] == 0 || shape[0] > 1U << 24) {
            return false;
        }
        list[i] = (md_parameter){.name = "p", .n = shape[0], .decays = shape[1] == 1};
        list[i].value = calloc(shape[0], sizeof(float));
        list[i].gradient = calloc(shape[0], sizeof(float));
        pointers[i] = &list[i];
        if (list[i].value == NULL || list[i].gradient == NULL) {
            return false;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!get(list[i].value, list[i].n * sizeof(float))) {
            return false;
        }
    }
    *ret_n = n;
    return true;
}

static bool one_step(md_optimizer *o, md_parameter *list, uint32_t n, double rate,
                     md_error *err)
{
    double norm = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        if (!get(list[i].gradient, list[i].n * sizeof(float))) {
            return false;
        }
    }
    if (md_optimizer_update(o, rate, &norm, err) != MD_OK || !put(&norm, sizeof norm)) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!put(list[i].value, list[i].n * sizeof(float))) {
            return false;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!put(md_optimizer_average(o)[i], list[i].n * sizeof(float))) {
            return false;
        }
    }
    return true;
}

static bool optimize(const md_optimizer_options *options, md_parameter *list,
                     const md_parameter **pointers, uint32_t n, double rate, unsigned steps,
                     md_error *err)
{
    MD_AUTO(md_optimizer_destroyp) md_optimizer *first = NULL, *second = NULL;
    if (md_optimizer_create(pointers, n, options, &first, err) != MD_OK) {
        return false;
    }
    for (unsigned i = 0; i < steps / 2; i++) {
        if (!one_step(first, list, n, rate, err)) {
            return false;
        }
    }
    if (md_optimizer_create(pointers, n, options, &second, err) != MD_OK) {
        return false;
    }
    const size_t n_bytes = md_optimizer_state_bytes(first);
    MD_AUTO(md_freep) uint8_t *state = md_malloc(n_bytes);
    if (state == NULL) {
        return false;
    }
    md_optimizer_save(first, state);
    if (md_optimizer_load(second, state, n_bytes, err) != MD_OK) {
        return false;
    }
    for (unsigned i = steps / 2; i < steps; i++) {
        if (!one_step(second, list, n, rate, err)) {
            return false;
        }
    }
    return true;
}

static int optimizer(char **argv)
{
    md_error err = {0};
    md_parameter list[MAX_PARAMETERS] = {0};
    const md_parameter *pointers[MAX_PARAMETERS];
    uint32_t n = 0;
    const md_optimizer_options options = {
        .kind = strcmp(argv[2], "adam") == 0 ? MD_OPTIMIZER_ADAM : MD_OPTIMIZER_SGD,
        .momentum = strtod(argv[3], NULL),
        .nesterov = argv[4][0] == '1',
        .weight_decay = strtod(argv[5], NULL),
        .decoupled = argv[6][0] == '1',
        .clip_norm = strtod(argv[7], NULL),
        .average = strtod(argv[8], NULL),
        .n_threads = (unsigned)strtoul(argv[9], NULL, 10)};
    if (!read_parameters(list, pointers, &n) ||
        !optimize(&options, list, pointers, n, strtod(argv[10], NULL),
                  (unsigned)strtoul(argv[11], NULL, 10), &err)) {
        return fail(&err);
    }
    for (uint32_t i = 0; i < n; i++) {
        free(list[i].value);
        free(list[i].gradient);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "networks") == 0) {
        for (unsigned i = 0; md_architecture_name(i) != NULL; i++) {
            puts(md_architecture_name(i));
        }
        return 0;
    }
    if (argc == 9 && strcmp(argv[1], "network") == 0) {
        return network(argv);
    }
    if (argc == 9 && strcmp(argv[1], "schedule") == 0) {
        return schedule(argv);
    }
    if (argc == 12 && strcmp(argv[1], "optimizer") == 0) {
        return optimizer(argv);
    }
    fputs("usage: see train_tool.c\n", stderr);
    return 2;
}
