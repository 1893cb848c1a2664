#ifndef MEDAID_INFERENCE_GRAPH_PLAN_H
#define MEDAID_INFERENCE_GRAPH_PLAN_H

/* A flat list of kernel calls over one arena. Back ends append steps and name the buffers that
 * each reads and writes; from that the plan derives how long a buffer lives and lays buffers
 * whose lives do not overlap over each other. Running allocates nothing. One thread. */

#include "inference/backend/kernels.h"
#include "inference/graph/work.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest arena of a network. */
#define MD_PLAN_MAX_ARENA_BYTES ((size_t)2 << 30)

enum {
    MD_PLAN_NO_BUFFER = -1,
    MD_PLAN_MAX_BUFFERS = 1 << 18
};

typedef struct md_buffer {
    size_t n_bytes, offset;
    int first, last; /* steps between which it lives; last < first: never used */
    void *data;      /* set at once for a constant, by md_plan_finish_layout for the others */
    bool constant;
} md_buffer;

struct md_plan;

/* Pages of their own, so that others may be mapped in their place: see md_network_share. */
typedef struct md_plan_chunk {
    struct md_plan_chunk *next;
    uint8_t *data;
    size_t n_used, n_bytes;
} md_plan_chunk;

typedef struct md_plan_step {
    md_status (*run)(void *state, md_error *err);
    /* The buffers have their addresses now. */
    void (*bind)(void *state, const struct md_plan *plan);
    void (*destroy)(void *state); /* NULL: nothing but the pool's memory */
    void *state;
    const char *name, *op_type; /* of the node */
    const char *fused;          /* of the node, "": nothing */
    const char *kernel;         /* what computes it */
    double n_operations;        /* multiplications and additions; 0: not counted */
} md_plan_step;

typedef struct md_plan {
    md_pool pool;
    struct md_plan_chunk *chunks; /* where the constants are, the newest first */
    md_buffer *buffers;
    md_plan_step *steps;
    unsigned n_buffers, n_steps, capacity_buffers, capacity_steps;
    int *plain; /* for each value of the graph: its buffer in row-major order, or none */
    /* for each value with open dims: the tensor in which a run leaves its shape, else NULL */
    const md_tensor **shapes;
    md_sgemm_fn sgemm;
    md_threads *threads; /* of the reference kernels; borrowed */
    md_work *work;       /* while it is made: jobs of the steps; a group for each node */
    void *arena;
    size_t arena_bytes;
} md_plan;

/* plan zeroed before; caller finishes also after an error. */
md_status md_plan_init(md_plan *plan, const md_graph *graph, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_plan_finish(md_plan *plan) MD_NOEXCEPT;

md_status md_plan_buffer(md_plan *plan, size_t n_bytes, int *ret_buffer, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* A constant buffer with a copy of the data; data NULL: the caller fills buffers[].data. */
md_status md_plan_constant(md_plan *plan, const void *data, size_t n_bytes, int *ret_buffer,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The buffer of the value's elements in row-major order; made now for a constant or a value
 * that nobody wrote yet. */
md_status md_plan_plain(md_plan *plan, const md_graph *graph, int value, int *ret_buffer,
                        md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Append a step; node gives its names. The buffers live at least until it has run. */
md_status md_plan_add_step(md_plan *plan, const md_plan_step *step, const md_node *node,
                           const int *buffers, unsigned n_buffers, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* The buffer lives from before the first step on (inputs), or past the last (outputs). */
void md_plan_pin(md_plan *plan, int buffer, bool from_start, bool to_end) MD_NOEXCEPT;

/* A step that runs the reference kernel; the node's inputs have plain buffers. */
md_status md_plan_add_reference(md_plan *plan, const md_graph *graph, const md_node *node,
                                md_error *err) MD_NOEXCEPT MD_NODISCARD;

/* Lay out the arena, allocate it, bind all steps. */
md_status md_plan_finish_layout(md_plan *plan, md_error *err) MD_NOEXCEPT MD_NODISCARD;

md_status md_plan_run(const md_plan *plan, md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* The same; adds the microseconds of each step to ret_us[0 .. n_steps-1]. */
md_status md_plan_run_timed(const md_plan *plan, double *ret_us, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
