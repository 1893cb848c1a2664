#include "inference/graph/plan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum {
    ALIGNMENT = 64,
    CONSTANT_CHUNK_BYTES = 8 << 20 /* never written pages of it cost nothing */
};

md_status md_plan_init(md_plan *plan, const md_graph *graph, md_error *err)
{
    plan->plain = md_pool_alloc(&plan->pool, (size_t)graph->n_values * sizeof *plan->plain);
    plan->shapes = md_pool_alloc(&plan->pool, (size_t)graph->n_values * sizeof *plan->shapes);
    if (plan->plain == NULL || plan->shapes == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a plan of %d tensors", graph->n_values);
    }
    for (int i = 0; i < graph->n_values; i++) {
        plan->plain[i] = MD_PLAN_NO_BUFFER;
    }
    return MD_OK;
}

void md_plan_finish(md_plan *plan)
{
    md_work_destroy(plan->work);
    for (unsigned i = 0; i < plan->n_steps; i++) {
        if (plan->steps[i].destroy != NULL) {
            plan->steps[i].destroy(plan->steps[i].state);
        }
    }
    md_free(plan->steps);
    md_free(plan->buffers);
    md_free(plan->arena);
    while (plan->chunks != NULL) {
        md_plan_chunk *next = plan->chunks->next;
        (void)munmap(plan->chunks->data, plan->chunks->n_bytes);
        md_free(plan->chunks);
        plan->chunks = next;
    }
    md_pool_finish(&plan->pool);
    memset(plan, 0, sizeof *plan);
}

static md_status grow(void **list, unsigned *capacity, unsigned n, size_t element_bytes,
                      md_error *err)
{
    if (n < *capacity) {
        return MD_OK;
    }
    if (n >= MD_PLAN_MAX_BUFFERS) {
        return md_fail(err, MD_LIMIT, "a plan of more than %d buffers or steps",
                       MD_PLAN_MAX_BUFFERS);
    }
    unsigned capacity_new = *capacity == 0 ? 128 : *capacity * 2;
    void *grown = md_realloc(*list, capacity_new * element_bytes);
    if (grown == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the plan");
    }
    *list = grown;
    *capacity = capacity_new;
    return MD_OK;
}

static md_status add_buffer(md_plan *plan, const md_buffer *buffer, int *ret_buffer,
                            md_error *err)
{
    void *list = plan->buffers;
    MD_TRY(grow(&list, &plan->capacity_buffers, plan->n_buffers, sizeof *plan->buffers, err));
    plan->buffers = list;
    plan->buffers[plan->n_buffers] = *buffer;
    *ret_buffer = (int)plan->n_buffers++;
    return MD_OK;
}

md_status md_plan_buffer(md_plan *plan, size_t n_bytes, int *ret_buffer, md_error *err)
{
    if (n_bytes > MD_PLAN_MAX_ARENA_BYTES) {
        return md_fail(err, MD_LIMIT, "a tensor of %zu bytes, at most %zu", n_bytes,
                       MD_PLAN_MAX_ARENA_BYTES);
    }
    const md_buffer buffer = {.n_bytes = n_bytes, .first = INT32_MAX, .last = -1};
    return add_buffer(plan, &buffer, ret_buffer, err);
}

static md_plan_chunk *add_chunk(md_plan *plan, size_t n_bytes)
{
    md_plan_chunk *chunk = md_malloc(sizeof *chunk);
    if (chunk == NULL) {
        return NULL;
    }
    void *data =
        mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        md_free(chunk);
        return NULL;
    }
    (void)madvise(data, n_bytes, MADV_HUGEPAGE); /* only a hint */
    *chunk = (md_plan_chunk){plan->chunks, data, 0, n_bytes};
    plan->chunks = chunk;
    return chunk;
}

/* Constants lie side by side: one block each would cost a page fault for each 4 KiB. */
static void *constant_bytes(md_plan *plan, size_t n_bytes)
{
    const size_t rounded =
        n_bytes / ALIGNMENT * ALIGNMENT + ALIGNMENT; /* none is of no bytes */
    md_plan_chunk *chunk = plan->chunks;
    if (chunk == NULL || rounded > chunk->n_bytes - chunk->n_used) {
        chunk =
            add_chunk(plan, rounded > CONSTANT_CHUNK_BYTES ? rounded : CONSTANT_CHUNK_BYTES);
    }
    if (chunk == NULL) {
        return NULL;
    }
    void *data = chunk->data + chunk->n_used;
    chunk->n_used += rounded;
    return data;
}

md_status md_plan_constant(md_plan *plan, const void *data, size_t n_bytes, int *ret_buffer,
                           md_error *err)
{
    md_buffer buffer = {.n_bytes = n_bytes, .constant = true};
    buffer.data = constant_bytes(plan, n_bytes);
    if (buffer.data == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a constant of %zu bytes", n_bytes);
    }
    if (data != NULL && n_bytes > 0) {
        memcpy(buffer.data, data, n_bytes);
    }
    return add_buffer(plan, &buffer, ret_buffer, err);
}

md_status md_plan_plain(md_plan *plan, const md_graph *graph, int value, int *ret_buffer,
                        md_error *err)
{
    const md_tensor *tensor = md_graph_tensor(graph, value);
    if (plan->plain[value] == MD_PLAN_NO_BUFFER) {
        const size_t n_bytes = tensor->n_elements * md_dtype_bytes(tensor->dtype);
        int made;
        if (graph->values[value].constant) {
            MD_TRY(md_plan_constant(plan, tensor->data, n_bytes, &made, err));
        } else {
            MD_TRY(md_plan_buffer(plan, n_bytes, &made, err));
        }
        plan->plain[value] = made;
    }
    *ret_buffer = plan->plain[value];
    return MD_OK;
}

void md_plan_pin(md_plan *plan, int buffer, bool from_start, bool to_end)
{
    md_buffer *b = &plan->buffers[buffer];
    if (from_start) {
        b->first = -1;
    }
    if (to_end) {
        b->last = INT32_MAX;
        b->first = b->first == INT32_MAX ? -1 : b->first; /* nobody writes it */
    } else {
        b->last = b->last < b->first ? b->first : b->last;
    }
}

md_status md_plan_add_step(md_plan *plan, const md_plan_step *step, const md_node *node,
                           const int *buffers, unsigned n_buffers, md_error *err)
{
    void *list = plan->steps;
    md_plan_step *added;
    md_status status = grow(&list, &plan->capacity_steps, plan->n_steps, sizeof *added, err);
    if (status != MD_OK) {
        if (step->destroy != NULL) {
            step->destroy(step->state);
        }
        return status;
    }
    plan->steps = list;
    added = &plan->steps[plan->n_steps++];
    *added = *step;
    const int at = (int)plan->n_steps - 1;
    for (unsigned i = 0; i < n_buffers; i++) {
        if (buffers[i] != MD_PLAN_NO_BUFFER) {
            md_buffer *b = &plan->buffers[buffers[i]];
            b->first = at < b->first ? at : b->first;
            b->last = at > b->last ? at : b->last;
        }
    }
    const char *const texts[] = {node->name, node->op_type, node->fused, step->kernel};
    const char **const to[] = {&added->name, &added->op_type, &added->fused, &added->kernel};
    for (unsigned i = 0; i < 4; i++) {
        const char *from = texts[i] == NULL ? "" : texts[i];
        const size_t n_text = strlen(from) + 1;
        char *text = md_pool_alloc(&plan->pool, n_text);
        *to[i] = "";
        if (text == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a node's name");
        }
        *to[i] = memcpy(text, from, n_text);
    }
    return MD_OK;
}

/* The reference step. */
typedef struct reference_step {
    md_kernel_fn kernel;
    md_call call;
    md_op_params p;
    md_tensor *tensors; /* inputs, then outputs */
    int *buffers;       /* of the same, then the workspace */
    const md_tensor **in;
    md_tensor **out;
} reference_step;

static md_status reference_run(void *state, md_error *err)
{
    reference_step *s = state;
    s->call.err = err;
    return s->kernel(&s->call);
}

static void reference_bind(void *state, const md_plan *plan)
{
    reference_step *s = state;
    const unsigned n = s->call.n_in + s->call.n_out;
    for (unsigned i = 0; i < n; i++) {
        if (s->buffers[i] != MD_PLAN_NO_BUFFER) {
            s->tensors[i].data = plan->buffers[s->buffers[i]].data;
        }
    }
    if (s->buffers[n] != MD_PLAN_NO_BUFFER) {
        s->call.workspace = plan->buffers[s->buffers[n]].data;
    }
}

static md_status reference_create(md_plan *plan, const md_node *node, reference_step **ret,
                                  md_error *err)
{
    const unsigned n = node->n_inputs + node->n_outputs;
    reference_step *s = md_pool_alloc(&plan->pool, sizeof *s);
    md_tensor *tensors = md_pool_alloc(&plan->pool, n * sizeof *tensors);
    int *buffers = md_pool_alloc(&plan->pool, (n + 1) * sizeof *buffers);
    const md_tensor **in = md_pool_alloc(&plan->pool, node->n_inputs * sizeof *in);
    md_tensor **out = md_pool_alloc(&plan->pool, node->n_outputs * sizeof *out);
    if (s == NULL || tensors == NULL || buffers == NULL || in == NULL || out == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a step");
    }
    s->kernel = md_kernel_for(node->op);
    s->p = node->p;
    s->tensors = tensors;
    s->buffers = buffers;
    s->in = in;
    s->out = out;
    s->call = (md_call){&s->p,       node->n_inputs, node->n_outputs, in, out, NULL,
                        plan->sgemm, NULL,           plan->threads};
    *ret = s;
    return MD_OK;
}

md_status md_plan_add_reference(md_plan *plan, const md_graph *graph, const md_node *node,
                                md_error *err)
{
    reference_step *s = NULL;
    size_t workspace_bytes = 0;
    const unsigned n = node->n_inputs + node->n_outputs;
    MD_TRY(reference_create(plan, node, &s, err));
    for (unsigned i = 0; i < n; i++) {
        const int value =
            i < node->n_inputs ? node->inputs[i] : node->outputs[i - node->n_inputs];
        s->buffers[i] = MD_PLAN_NO_BUFFER;
        if (value != MD_GRAPH_NO_VALUE) {
            MD_TRY(md_plan_plain(plan, graph, value, &s->buffers[i], err));
            s->tensors[i] = *md_graph_tensor(graph, value);
            s->tensors[i].owned = false;
        }
        if (i < node->n_inputs) {
            s->in[i] = value == MD_GRAPH_NO_VALUE ? NULL : &s->tensors[i];
        } else {
            s->out[i - node->n_inputs] = &s->tensors[i];
            if (graph->values[value].open_dims != 0) {
                plan->shapes[value] = &s->tensors[i];
            }
        }
    }
    MD_TRY(md_kernel_workspace(graph, node, md_threads_count(plan->threads), &workspace_bytes,
                               err));
    s->buffers[n] = MD_PLAN_NO_BUFFER;
    if (workspace_bytes > 0) {
        MD_TRY(md_plan_buffer(plan, workspace_bytes, &s->buffers[n], err));
    }
    const md_plan_step step = {
        .run = reference_run, .bind = reference_bind, .state = s, .kernel = "reference"};
    return md_plan_add_step(plan, &step, node, s->buffers, n + 1, err);
}

/* Layout. */
static int compare_sizes(const void *a, const void *b)
{
    const md_buffer *x = *(md_buffer *const *)a, *y = *(md_buffer *const *)b;
    if (x->n_bytes != y->n_bytes) {
        return x->n_bytes < y->n_bytes ? 1 : -1;
    }
    return x < y ? -1 : x > y;
}

/* The lowest place where the buffer overlaps no placed one that lives at the same time.
 * `placed` is sorted by offset. */
static size_t find_place(md_buffer *const *placed, size_t n_placed, const md_buffer *buffer)
{
    size_t at = 0;
    for (size_t i = 0; i < n_placed; i++) {
        const md_buffer *other = placed[i];
        if (other->last < buffer->first || other->first > buffer->last) {
            continue;
        }
        if (other->offset >= at + buffer->n_bytes) {
            break;
        }
        size_t end = other->offset + other->n_bytes;
        at = end > at ? end : at;
    }
    return at;
}

/* Largest first, each at the lowest free place: within a few percent of the best known for
 * networks of this kind (Pisarchyk and Lee 2020, greedy by size). */
static md_status place_all(md_plan *plan, md_buffer **list, size_t n, md_error *err)
{
    qsort(list, n, sizeof(md_buffer *), compare_sizes);
    MD_AUTO(md_freep) md_buffer **placed = md_malloc(n * sizeof(md_buffer *));
    if (placed == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the memory plan");
    }
    for (size_t i = 0; i < n; i++) {
        md_buffer *buffer = list[i];
        buffer->offset = find_place(placed, i, buffer);
        size_t end = buffer->offset + buffer->n_bytes;
        if (end > MD_PLAN_MAX_ARENA_BYTES) {
            return md_fail(err, MD_LIMIT, "the network needs more than %zu bytes to run",
                           MD_PLAN_MAX_ARENA_BYTES);
        }
        plan->arena_bytes = end > plan->arena_bytes ? end : plan->arena_bytes;
        size_t j = i;
        for (; j > 0 && placed[j - 1]->offset > buffer->offset; j--) {
            placed[j] = placed[j - 1];
        }
        placed[j] = buffer;
    }
    return MD_OK;
}

md_status md_plan_finish_layout(md_plan *plan, md_error *err)
{
    size_t n = 0;
    MD_AUTO(md_freep)
    md_buffer **list = md_malloc((plan->n_buffers + 1) * sizeof(md_buffer *));
    if (list == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the memory plan");
    }
    for (unsigned i = 0; i < plan->n_buffers; i++) {
        md_buffer *buffer = &plan->buffers[i];
        if (!buffer->constant && buffer->last >= buffer->first) {
            buffer->n_bytes = (buffer->n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            list[n++] = buffer;
        }
    }
    MD_TRY(place_all(plan, list, n, err));
    plan->arena = md_malloc_aligned(plan->arena_bytes);
    if (plan->arena == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an arena of %zu bytes", plan->arena_bytes);
    }
    for (size_t i = 0; i < n; i++) {
        list[i]->data = (uint8_t *)plan->arena + list[i]->offset;
    }
    for (unsigned i = 0; i < plan->n_steps; i++) {
        plan->steps[i].bind(plan->steps[i].state, plan);
    }
    return MD_OK;
}

md_status md_plan_run(const md_plan *plan, md_error *err)
{
    return md_plan_run_timed(plan, NULL, err);
}

static double now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

md_status md_plan_run_timed(const md_plan *plan, double *ret_us, md_error *err)
{
    for (unsigned i = 0; i < plan->n_steps; i++) {
        const md_plan_step *step = &plan->steps[i];
        const double start = ret_us == NULL ? 0.0 : now_us();
        md_status status = step->run(step->state, err);
        if (ret_us != NULL) {
            ret_us[i] += now_us() - start;
        }
        if (status != MD_OK) {
            return md_error_prefix(err, status, "node '%.64s' (%.32s)", step->name,
                                   step->op_type);
        }
    }
    return MD_OK;
}
