#ifndef MEDAID_INFERENCE_TRAIN_TEAM_H
#define MEDAID_INFERENCE_TRAIN_TEAM_H

/* The threads of one trainer: a piece of work is cut into as many parts as there are threads,
 * always at the same places, so that sums come out the same each time. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_team md_team;
typedef void (*md_team_fn)(void *data, unsigned part, unsigned n_parts);

/* n_threads >= 1. openmp: oneDNN's threads do the work (md_dnnl_load has succeeded), else the
 * team starts its own. Caller destroys. */
md_status md_team_create(unsigned n_threads, bool openmp, md_team **ret_team, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_team_destroy(md_team *team) MD_NOEXCEPT;
unsigned md_team_size(const md_team *team) MD_NOEXCEPT;
/* Calls work(data, part, n_parts) once for each part 0..n_parts-1, n_parts = team size, and
 * returns when all have returned. */
void md_team_run(md_team *team, md_team_fn work, void *data) MD_NOEXCEPT;

/* Where part `part` of n things begins; part n_parts begins at n. */
static inline size_t md_team_begin(size_t n, unsigned part, unsigned n_parts)
{
    return n / n_parts * part + (n % n_parts * part) / n_parts;
}

#ifdef __cplusplus
}
#endif
#endif
