/* How fast films are made ready for a training step.
 *
 *   bench_loader RECIPE [THREADS [STEPS [SHEET.png]]]
 *
 * Prints the time to read the set, and films a second of processor time of one core (what a
 * training that uses the cores too gives up) and of wall time. */

#include "dicom/dataset/dataset.h"
#include "plugins/train/preview.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int fail(const md_error *err)
{
    fprintf(stderr, "%s\n", err->msg);
    return 1;
}

static int measure(const md_training_set *set, unsigned n_threads, uint64_t n_steps)
{
    md_error err = {0};
    md_loader *loader = NULL;
    const md_loader_options options = {.part = MD_PART_TRAIN,
                                       .training = true,
                                       .batch = set->recipe->training.batch,
                                       .n_threads = n_threads};
    if (md_loader_create(set, &options, &loader, &err) != MD_OK ||
        md_loader_begin(loader, 0, 0, 0, 0, 0, &err) != MD_OK) {
        return fail(&err);
    }
    const double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    uint64_t n = 0;
    double sum = 0;
    md_batch batch = {.n = 1};
    for (uint64_t i = 0; i < n_steps && batch.n > 0; i++) {
        if (md_loader_next(loader, &batch, &err) != MD_OK) {
            md_loader_destroy(loader);
            return fail(&err);
        }
        n += batch.n;
        sum += batch.n > 0 ? (double)batch.images[0] : 0;
    }
    const double used = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    const double took = seconds(CLOCK_MONOTONIC) - wall;
    printf("%llu films of %ux%u by %u threads: %.0f a second of one core, %.0f of wall time "
           "(check %.6f)\n",
           (unsigned long long)n, set->options.width, set->options.height, n_threads,
           (double)n / used, (double)n / took, sum);
    md_loader_destroy(loader);
    return 0;
}

int main(int argc, char **argv)
{
    md_error err = {0};
    md_recipe *recipe = NULL;
    md_training_set *set = NULL;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_loader RECIPE [THREADS [STEPS [SHEET.png]]]\n");
        return 2;
    }
    const unsigned n_threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;
    const uint64_t n_steps = argc > 3 ? strtoull(argv[3], NULL, 10) : 100;
    const double start = seconds(CLOCK_MONOTONIC);
    if (md_dicom_init(&err) != MD_OK || md_recipe_read(argv[1], &recipe, &err) != MD_OK ||
        md_training_set_read(recipe, n_threads, NULL, NULL, &set, &err) != MD_OK) {
        md_recipe_destroy(recipe);
        return fail(&err);
    }
    size_t parts[MD_N_PARTS] = {0};
    for (size_t i = 0; i < set->n_films; i++) {
        parts[set->films[i].part]++;
    }
    printf("%zu films of %zu patients read in %.1f s: %zu train, %zu validation, %zu test, %zu "
           "unreadable, %zu near twins in two parts\n",
           set->n_films, set->n_patients, seconds(CLOCK_MONOTONIC) - start,
           parts[MD_PART_TRAIN], parts[MD_PART_VALIDATION], parts[MD_PART_TEST],
           set->n_unreadable, set->n_near_duplicates);
    int status = measure(set, n_threads, n_steps);
    if (status == 0 && argc > 4 && md_preview_write(set, 0, 24, 4, argv[4], &err) != MD_OK) {
        status = fail(&err);
    }
    md_training_set_destroy(set);
    md_recipe_destroy(recipe);
    md_dicom_finish();
    return status;
}
