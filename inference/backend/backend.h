#ifndef MEDAID_INFERENCE_BACKEND_BACKEND_H
#define MEDAID_INFERENCE_BACKEND_BACKEND_H

/* What a back end is: a few functions that turn nodes into steps of a plan. Whatever it does
 * not want is run by the reference kernels with its sgemm. One state belongs to one network. */

#include "inference/graph/plan.h"
#include "inference/network.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_backend_options {
    unsigned n_threads; /* >= 1 */
    md_precision precision;
    const float *low, *high; /* for each value of the graph; high < low: not known */
} md_backend_options;

typedef struct md_backend_api {
    const char *name;
    /* The options are borrowed until the plan is complete. Caller destroys. */
    md_status (*create)(const md_backend_options *options, const md_graph *graph,
                        void **ret_state, md_error *err);
    void (*destroy)(void *state); /* NULL is fine; after the plan */
    md_sgemm_fn sgemm;
    /* On which the reference kernels of the network share their work, valid until destroy;
     * NULL: they run on the caller's alone. */
    md_threads *(*threads)(void *state);
    /* Before each run, on its thread. */
    void (*begin_run)(void *state);
    /* Append the steps of the node; *ret_done false: the reference shall do it. */
    md_status (*emit)(void *state, md_plan *plan, const md_graph *graph, const md_node *node,
                      bool *ret_done, md_error *err);
    /* Make sure that the value, made by a step of this back end, is in its plain buffer. */
    md_status (*make_plain)(void *state, md_plan *plan, const md_graph *graph,
                            const md_node *node, int value, md_error *err);
} md_backend_api;

/* MD_UNSUPPORTED when the library cannot be loaded. */
md_status md_openblas_api(const md_backend_api **ret_api, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
#ifdef MEDAID_HAVE_ONEDNN
md_status md_onednn_api(const md_backend_api **ret_api, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* MD_UNSUPPORTED when the processor, or the limit that DNNL_MAX_CPU_ISA sets, lacks it. */
/* dnnl_cpu_isa_t and the library's version in one number; 0: it cannot be loaded. */
unsigned md_onednn_isa(void) MD_NOEXCEPT;
md_status md_onednn_check_precision(md_precision precision, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
#endif

#ifdef __cplusplus
}
#endif
#endif
