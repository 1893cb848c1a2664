#include "inference/backend/onednn_private.h"

#include <limits.h>
#include <string.h>

md_status md_dnnl_fail(md_error *err, dnnl_status_t status, const char *what)
{
    return status == dnnl_out_of_memory
               ? md_fail(err, MD_NOMEM, "oneDNN: no memory for %s", what)
               : md_fail(err, MD_INTERNAL, "oneDNN: status %d at %s", (int)status, what);
}

bool md_dnnl_plain(const md_tensor *tensor, dnnl_memory_desc_t *ret_md)
{
    dnnl_dims_t dims, strides;
    dnnl_dim_t stride = 1;
    if (tensor->dtype != MD_F32 || tensor->n_dims < 1 || tensor->n_elements == 0) {
        return false;
    }
    for (unsigned i = tensor->n_dims; i-- > 0;) {
        dims[i] = tensor->dims[i];
        strides[i] = stride;
        stride *= tensor->dims[i];
    }
    return dnnl_memory_desc_init_by_strides(ret_md, (int)tensor->n_dims, dims, dnnl_f32,
                                            strides) == dnnl_success;
}

bool md_dnnl_like(const dnnl_memory_desc_t *like, int n_dims, const int64_t *dims,
                  dnnl_memory_desc_t *ret_md)
{
    if (like->format_kind != dnnl_blocked || like->ndims != n_dims || like->offset0 != 0 ||
        like->extra.flags != 0) {
        return false;
    }
    dnnl_memory_desc_t md = *like;
    dnnl_dim_t block[DNNL_MAX_NDIMS], stride = 1;
    bool done[DNNL_MAX_NDIMS] = {false};
    for (int i = 0; i < n_dims; i++) {
        block[i] = 1;
    }
    for (int i = 0; i < md.format_desc.blocking.inner_nblks; i++) {
        block[md.format_desc.blocking.inner_idxs[i]] *= md.format_desc.blocking.inner_blks[i];
        stride *= md.format_desc.blocking.inner_blks[i];
    }
    for (int i = 0; i < n_dims; i++) {
        md.dims[i] = dims[i];
        md.padded_dims[i] = (dims[i] + block[i] - 1) / block[i] * block[i];
    }
    /* lay the axes out in the order of like's strides, the innermost first */
    for (int n = 0; n < n_dims; n++) {
        int next = -1;
        for (int i = n_dims; i-- > 0;) {
            if (!done[i] && (next < 0 || like->format_desc.blocking.strides[i] <
                                             like->format_desc.blocking.strides[next])) {
                next = i;
            }
        }
        done[next] = true;
        md.format_desc.blocking.strides[next] = stride;
        stride *= md.padded_dims[next] / block[next];
    }
    *ret_md = md;
    return true;
}

/* Whether bytes in that order are bytes in row-major order. */
static bool is_row_major(const dnnl_memory_desc_t *md, const dnnl_memory_desc_t *plain)
{
    if (dnnl_memory_desc_equal(md, plain)) {
        return true;
    }
    /* channels in blocks, but no padding and only one position */
    if (md->format_kind != dnnl_blocked || md->format_desc.blocking.inner_nblks != 1 ||
        md->format_desc.blocking.inner_idxs[0] != 1) {
        return false;
    }
    for (int i = 0; i < md->ndims; i++) {
        if (md->dims[i] != md->padded_dims[i] || (i > 1 && md->dims[i] != 1)) {
            return false;
        }
    }
    return true;
}

md_status md_dnnl_source(md_dnnl *d, md_plan *plan, const md_graph *graph, int value,
                         bool *ret_usable, md_dnnl_layout *ret_layout, md_error *err)
{
    *ret_usable = true;
    *ret_layout = (md_dnnl_layout){.scale = 1.0F};
    if (d->layouts[value] != NULL) {
        *ret_layout = *d->layouts[value];
        return MD_OK;
    }
    if (!md_dnnl_plain(md_graph_tensor(graph, value), &ret_layout->md)) {
        *ret_usable = false;
        return MD_OK;
    }
    return md_plan_plain(plan, graph, value, &ret_layout->buffer, err);
}

md_status md_dnnl_buffer(md_plan *plan, const dnnl_memory_desc_t *md, int *ret_buffer,
                         md_error *err)
{
    return md_plan_buffer(plan, dnnl_memory_desc_get_size(md), ret_buffer, err);
}

md_status md_dnnl_scratch(md_dnnl *d, md_plan *plan, size_t n_bytes, int *ret_buffer,
                          md_error *err)
{
    if (d->scratch == MD_PLAN_NO_BUFFER) {
        MD_TRY(md_plan_buffer(plan, n_bytes, &d->scratch, err));
        md_plan_pin(plan, d->scratch, true, true);
    }
    md_buffer *scratch = &plan->buffers[d->scratch];
    scratch->n_bytes = scratch->n_bytes < n_bytes ? n_bytes : scratch->n_bytes;
    *ret_buffer = d->scratch;
    return MD_OK;
}

md_status md_dnnl_result(md_dnnl *d, md_plan *plan, const md_graph *graph, int value,
                         const md_dnnl_layout *layout, md_error *err)
{
    md_dnnl_layout *made = md_pool_alloc(&d->pool, sizeof *made);
    dnnl_memory_desc_t plain;
    if (made == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a layout");
    }
    *made = *layout;
    d->layouts[value] = made;
    if (layout->md.data_type == dnnl_f32 &&
        md_dnnl_plain(md_graph_tensor(graph, value), &plain) &&
        is_row_major(&layout->md, &plain)) {
        plan->plain[value] = layout->buffer;
    }
    return MD_OK;
}

/* One primitive and what it works on. */
typedef struct dnnl_step {
    dnnl_primitive_t primitive;
    dnnl_stream_t stream;
    unsigned n_args;
    dnnl_exec_arg_t *args;
    int *buffers;
} dnnl_step;

static md_status step_run(void *state, md_error *err)
{
    const dnnl_step *s = state;
    dnnl_status_t status =
        dnnl_primitive_execute(s->primitive, s->stream, (int)s->n_args, s->args);
    return status == dnnl_success ? MD_OK : md_dnnl_fail(err, status, "running a primitive");
}

static void step_bind(void *state, const md_plan *plan)
{
    const dnnl_step *s = state;
    for (unsigned i = 0; i < s->n_args; i++) {
        (void)dnnl_memory_set_data_handle(s->args[i].memory, plan->buffers[s->buffers[i]].data);
    }
}

static void step_destroy(void *state)
{
    dnnl_step *s = state;
    for (unsigned i = 0; i < s->n_args; i++) {
        (void)dnnl_memory_destroy(s->args[i].memory);
    }
    (void)dnnl_primitive_destroy(s->primitive);
}

/* A job: the code of a step. */
typedef struct make_job {
    dnnl_step *step;
    dnnl_primitive_desc_t pd;
    unsigned n_threads;
} make_job;

static md_status run_make(void *data, md_error *err)
{
    make_job *job = data;
    /* oneDNN plans for as many threads as this one may start */
    md_dnnl_table.omp_set_num_threads((int)job->n_threads);
    const dnnl_status_t status = dnnl_primitive_create(&job->step->primitive, job->pd);
    (void)dnnl_primitive_desc_destroy(job->pd);
    return status == dnnl_success ? MD_OK : md_dnnl_fail(err, status, "making a primitive");
}

static md_status make_later(md_dnnl *d, md_plan *plan, dnnl_step *s,
                            const_dnnl_primitive_desc_t pd, md_error *err)
{
    make_job *job = md_pool_alloc(&plan->pool, sizeof *job);
    if (job == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a step");
    }
    *job = (make_job){s, NULL, d->n_threads};
    const dnnl_status_t status = dnnl_primitive_desc_clone(&job->pd, pd);
    if (status != dnnl_success) {
        return md_dnnl_fail(err, status, "making a primitive");
    }
    const md_status added = md_work_add(plan->work, run_make, job, err);
    if (added != MD_OK) {
        (void)dnnl_primitive_desc_destroy(job->pd);
    }
    return added;
}

static md_status fill_step(md_dnnl *d, dnnl_step *s, const md_dnnl_arg *args, unsigned n_args,
                           md_error *err)
{
    dnnl_status_t status = dnnl_success;
    for (unsigned i = 0; i < n_args && status == dnnl_success; i++) {
        s->buffers[i] = args[i].buffer;
        s->args[i].arg = args[i].arg;
        status =
            dnnl_memory_create(&s->args[i].memory, args[i].md, d->engine, DNNL_MEMORY_NONE);
        s->n_args += status == dnnl_success ? 1 : 0;
    }
    if (status != dnnl_success) {
        step_destroy(s);
        return md_dnnl_fail(err, status, "making a primitive");
    }
    return MD_OK;
}

/* "jit:avx512_core"; for a copy into another order "jit:uni reorder". */
static const char *kernel_name(const_dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    if (dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) != dnnl_success ||
        name == NULL) {
        return "oneDNN";
    }
    return name;
}

md_status md_dnnl_add(md_dnnl *d, md_plan *plan, const md_node *node,
                      const_dnnl_primitive_desc_t pd, const md_dnnl_arg *args, unsigned n_args,
                      md_error *err)
{
    md_dnnl_arg all[MD_DNNL_MAX_ARGS + 1];
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    memcpy(all, args, n_args * sizeof *args);
    if (scratch != NULL && dnnl_memory_desc_get_size(scratch) > 0) {
        all[n_args] = (md_dnnl_arg){DNNL_ARG_SCRATCHPAD, MD_PLAN_NO_BUFFER, scratch};
        MD_TRY(md_dnnl_buffer(plan, scratch, &all[n_args].buffer, err));
        n_args++;
    }
    dnnl_step *s = md_pool_alloc(&plan->pool, sizeof *s);
    dnnl_exec_arg_t *exec = md_pool_alloc(&plan->pool, n_args * sizeof *exec);
    int *buffers = md_pool_alloc(&plan->pool, n_args * sizeof *buffers);
    if (s == NULL || exec == NULL || buffers == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a step");
    }
    s->stream = d->stream;
    s->args = exec;
    s->buffers = buffers;
    MD_TRY(fill_step(d, s, all, n_args, err));
    const md_plan_step step = {.run = step_run,
                               .bind = step_bind,
                               .destroy = step_destroy,
                               .state = s,
                               .kernel = kernel_name(pd)};
    /* the plan destroys the step, but not before all work has ended */
    MD_TRY(md_plan_add_step(plan, &step, node, s->buffers, n_args, err));
    return make_later(d, plan, s, pd, err);
}

md_status md_dnnl_attributes(dnnl_primitive_attr_t *ret, md_error *err)
{
    dnnl_status_t status = dnnl_primitive_attr_create(ret);
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_scratchpad_mode(*ret, dnnl_scratchpad_mode_user);
    }
    return status == dnnl_success ? MD_OK : md_dnnl_fail(err, status, "attributes");
}

md_status md_dnnl_describe(md_dnnl *d, const_dnnl_op_desc_t desc,
                           const_dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *ret,
                           md_error *err)
{
    *ret = NULL;
    dnnl_status_t status = dnnl_primitive_desc_create(ret, desc, attr, d->engine, NULL);
    return status == dnnl_success || status == dnnl_unimplemented ||
                   status == dnnl_invalid_arguments
               ? MD_OK
               : md_dnnl_fail(err, status, "describing a primitive");
}

/* Copies, multiplied by `scale`. */
static md_status describe_reorder(md_dnnl *d, const dnnl_memory_desc_t *from,
                                  const dnnl_memory_desc_t *to, float scale,
                                  dnnl_primitive_desc_t *ret, md_error *err)
{
    dnnl_primitive_attr_t attr;
    dnnl_status_t status = dnnl_success;
    MD_TRY(md_dnnl_attributes(&attr, err));
    if (scale != 1.0F) {
        status = dnnl_primitive_attr_set_output_scales(attr, 1, 0, &scale);
    }
    if (status == dnnl_success) {
        status = dnnl_reorder_primitive_desc_create(ret, from, d->engine, to, d->engine, attr);
    }
    (void)dnnl_primitive_attr_destroy(attr);
    return status == dnnl_success ? MD_OK : md_dnnl_fail(err, status, "describing a reorder");
}

md_status md_dnnl_copy(md_dnnl *d, md_plan *plan, const md_node *node,
                       const md_dnnl_layout *from, const md_dnnl_layout *to, md_error *err)
{
    dnnl_primitive_desc_t pd;
    bool done;
    MD_TRY(md_dnnl_emit_rows(d, plan, node, from, to, &done, err));
    if (done) {
        return MD_OK;
    }
    MD_TRY(describe_reorder(d, &from->md, &to->md, from->scale / to->scale, &pd, err));
    const md_dnnl_arg args[] = {{DNNL_ARG_FROM, from->buffer, &from->md},
                                {DNNL_ARG_TO, to->buffer, &to->md}};
    md_status status = md_dnnl_add(d, plan, node, pd, args, 2, err);
    (void)dnnl_primitive_desc_destroy(pd);
    return status;
}

md_status md_dnnl_reorder(md_dnnl *d, md_plan *plan, const md_node *node,
                          const dnnl_memory_desc_t *md, bool always_copy,
                          md_dnnl_layout *layout, md_error *err)
{
    const md_dnnl_layout to = {
        .md = *md, .scale = md_dnnl_is_narrow_type(md->data_type) ? layout->scale : 1.0F};
    return md_dnnl_convert(d, plan, node, &to, always_copy, layout, err);
}

md_status md_dnnl_convert(md_dnnl *d, md_plan *plan, const md_node *node,
                          const md_dnnl_layout *to, bool always_copy, md_dnnl_layout *layout,
                          md_error *err)
{
    if (!always_copy && dnnl_memory_desc_equal(&layout->md, &to->md) &&
        layout->scale == to->scale) {
        return MD_OK;
    }
    md_dnnl_layout made = {.md = to->md, .scale = to->scale};
    MD_TRY(md_dnnl_buffer(plan, &made.md, &made.buffer, err));
    MD_TRY(md_dnnl_copy(d, plan, node, layout, &made, err));
    *layout = made;
    return MD_OK;
}

md_status md_dnnl_dense(md_dnnl *d, md_plan *plan, const md_graph *graph, const md_node *node,
                        int value, md_dnnl_layout *layout, md_error *err)
{
    dnnl_memory_desc_t md;
    const bool narrow = md_dnnl_is_narrow_type(layout->md.data_type);
    if ((!layout->shared && !narrow) ||
        !md_dnnl_like(&layout->md, layout->md.ndims, layout->md.dims, &md)) {
        return MD_OK;
    }
    md.data_type = narrow ? d->wide : md.data_type;
    if (dnnl_memory_desc_equal(&layout->md, &md)) {
        return MD_OK;
    }
    MD_TRY(md_dnnl_reorder(d, plan, node, &md, false, layout, err));
    return md_dnnl_result(d, plan, graph, value, layout, err);
}

/* How to divide by scales; NULL scales: *ret stays NULL. */
static dnnl_status_t scaling(const float *scales, int64_t n_scales, int mask, float *inverse,
                             dnnl_primitive_attr_t *ret)
{
    if (scales == NULL) {
        return dnnl_success;
    }
    for (int64_t i = 0; i < n_scales; i++) {
        inverse[i] = 1.0F / scales[i];
    }
    dnnl_status_t status = dnnl_primitive_attr_create(ret);
    return status == dnnl_success
               ? dnnl_primitive_attr_set_output_scales(*ret, n_scales, mask, inverse)
               : status;
}

/* A job: weights into another order. */
typedef struct pack_job {
    dnnl_primitive_desc_t pd; /* NULL: not by oneDNN */
    dnnl_engine_t engine;
    dnnl_memory_desc_t from, to;
    const void *data;
    void *packed;
} pack_job;

/* On one thread: starting the others, and their spinning, would cost more CPU time at start-up
 * than the copies take (100 to 200 ms measured on two busy cores). */
static md_status run_pack(void *data, md_error *err)
{
    const pack_job *job = data;
    if (job->pd == NULL) {
        md_dnnl_pack(job->data, &job->to, job->packed);
        return MD_OK;
    }
    dnnl_primitive_t reorder = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, NULL}, {DNNL_ARG_TO, NULL}};
    md_dnnl_table.omp_set_num_threads(1);
    dnnl_status_t status = dnnl_primitive_create(&reorder, job->pd);
    if (status == dnnl_success) {
        status = dnnl_stream_create(&stream, job->engine, dnnl_stream_default_flags);
    }
    if (status == dnnl_success) {
        /* oneDNN only reads DNNL_ARG_FROM, but its handles are not const */
        status = dnnl_memory_create(&args[0].memory, &job->from, job->engine,
                                    (void *)(uintptr_t)job->data);
    }
    if (status == dnnl_success) {
        status = dnnl_memory_create(&args[1].memory, &job->to, job->engine, job->packed);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_execute(reorder, stream, 2, args);
    }
    (void)dnnl_memory_destroy(args[0].memory);
    (void)dnnl_memory_destroy(args[1].memory);
    (void)dnnl_stream_destroy(stream);
    (void)dnnl_primitive_destroy(reorder);
    (void)dnnl_primitive_desc_destroy(job->pd);
    return status == dnnl_success ? MD_OK : md_dnnl_fail(err, status, "reordering weights");
}

static md_status make_constant(md_dnnl *d, md_plan *plan, const void *data,
                               const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                               const float *scales, int64_t n_scales, int mask, int *ret_buffer,
                               md_error *err)
{
    if (dnnl_memory_desc_equal(from, to)) {
        return md_plan_constant(plan, data, dnnl_memory_desc_get_size(to), ret_buffer, err);
    }
    MD_TRY(md_plan_constant(plan, NULL, dnnl_memory_desc_get_size(to), ret_buffer, err));
    MD_AUTO(md_freep) float *inverse = NULL;
    dnnl_primitive_attr_t attr = NULL;
    pack_job *job = md_pool_alloc(&plan->pool, sizeof *job);
    if (job == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to pack weights");
    }
    *job = (pack_job){NULL, d->engine, *from, *to, data, plan->buffers[*ret_buffer].data};
    if (scales == NULL && md_dnnl_can_pack(from, to)) {
        return md_work_add(plan->work, run_pack, job, err);
    }
    if (scales != NULL) {
        inverse = md_malloc((size_t)n_scales * sizeof *inverse);
        if (inverse == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %lld scales", (long long)n_scales);
        }
    }
    dnnl_status_t status = scaling(scales, n_scales, mask, inverse, &attr);
    if (status == dnnl_success) {
        status =
            dnnl_reorder_primitive_desc_create(&job->pd, from, d->engine, to, d->engine, attr);
    }
    (void)dnnl_primitive_attr_destroy(attr);
    if (status != dnnl_success) {
        return md_dnnl_fail(err, status, "describing a reorder of weights");
    }
    const md_status added = md_work_add(plan->work, run_pack, job, err);
    if (added != MD_OK) {
        (void)dnnl_primitive_desc_destroy(job->pd);
    }
    return added;
}

md_status md_dnnl_constant(md_dnnl *d, md_plan *plan, const void *data,
                           const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                           int *ret_buffer, md_error *err)
{
    return md_dnnl_constant_scaled(d, plan, data, from, to, NULL, 0, 0, ret_buffer, err);
}

md_status md_dnnl_constant_scaled(md_dnnl *d, md_plan *plan, const void *data,
                                  const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                                  const float *scales, int64_t n_scales, int mask,
                                  int *ret_buffer, md_error *err)
{
    md_dnnl_table.omp_set_num_threads(1);
    md_status status =
        make_constant(d, plan, data, from, to, scales, n_scales, mask, ret_buffer, err);
    md_dnnl_table.omp_set_num_threads((int)d->n_threads);
    return status;
}

/* The back end's table. */
static void destroy(void *state)
{
    md_dnnl *d = state;
    if (d != NULL) {
        if (d->stream != NULL) {
            (void)dnnl_stream_destroy(d->stream);
        }
        if (d->engine != NULL) {
            (void)dnnl_engine_destroy(d->engine);
        }
        md_pool_finish(&d->pool);
        if (d->n_threads > 1) {
            /* end the threads that this one's runs started, they come back with the next run:
             * nothing of ours shall sleep in a process that has no network any more */
            enum {
                PAUSE_SOFT = 1 /* omp_pause_soft of omp.h */
            };
            (void)md_dnnl_table.omp_pause_resource_all(PAUSE_SOFT);
        }
        md_free(d);
    }
}

static md_status survey(md_dnnl *d, const md_graph *graph, md_error *err)
{
    const size_t n = (size_t)graph->n_values;
    d->layouts = md_pool_alloc(&d->pool, n * sizeof(md_dnnl_layout *));
    d->last_use = md_pool_alloc(&d->pool, n * sizeof *d->last_use);
    d->waiting = md_pool_alloc(&d->pool, n * sizeof *d->waiting);
    d->inverted = md_pool_alloc(&d->pool, n * sizeof *d->inverted);
    if (d->layouts == NULL || d->last_use == NULL || d->waiting == NULL ||
        d->inverted == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the back end");
    }
    for (unsigned i = 0; i < graph->n_nodes; i++) {
        const md_node *node = &graph->nodes[i];
        for (unsigned j = 0; j < node->n_inputs && node->op != MD_OP_NONE; j++) {
            if (node->inputs[j] != MD_GRAPH_NO_VALUE) {
                d->last_use[node->inputs[j]] = (int)i;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        d->last_use[i] = graph->values[i].kept ? INT_MAX : d->last_use[i];
    }
    MD_TRY(md_dnnl_find_narrow(d, graph, err));
    return md_dnnl_find_chains(d, graph, err);
}

/* What GNU OpenMP calls on each thread. */
typedef struct parallel_call {
    md_dnnl_work_fn work;
    void *data;
} parallel_call;

static void run_part(void *data)
{
    const parallel_call *call = data;
    call->work(call->data, (unsigned)md_dnnl_table.omp_get_thread_num(),
               (unsigned)md_dnnl_table.omp_get_num_threads());
}

void md_dnnl_parallel(const md_dnnl *d, md_dnnl_work_fn work, void *data)
{
    parallel_call call = {work, data};
    if (d->n_threads == 1) {
        work(data, 0, 1);
        return;
    }
    md_dnnl_table.GOMP_parallel(run_part, &call, d->n_threads, 0);
}

static void begin_run(void *state)
{
    /* oneDNN takes its threads from OpenMP, and looks when a primitive is made and run */
    md_dnnl_table.omp_set_num_threads((int)((const md_dnnl *)state)->n_threads);
}

md_status md_onednn_check_precision(md_precision precision, md_error *err)
{
    MD_TRY(md_dnnl_load(err));
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    const unsigned bf16 = dnnl_cpu_isa_avx512_core_bf16, vnni = dnnl_cpu_isa_avx512_core_vnni;
    if (precision == MD_PRECISION_BF16 && (isa & bf16) != bf16) {
        return md_fail(err, MD_UNSUPPORTED, "bf16: this processor has no avx512_bf16");
    }
    if (precision == MD_PRECISION_INT8 && (isa & vnni) != vnni) {
        return md_fail(err, MD_UNSUPPORTED,
                       "int8: this processor has no avx512_vnni, without it sums saturate");
    }
    return MD_OK;
}

unsigned md_onednn_isa(void)
{
    if (md_dnnl_load(NULL) != MD_OK) {
        return 0;
    }
    const dnnl_version_t *version = dnnl_version();
    return (unsigned)dnnl_get_effective_cpu_isa() | (unsigned)version->minor << 16 |
           (unsigned)version->patch << 24;
}

static md_status create(const md_backend_options *options, const md_graph *graph,
                        void **ret_state, md_error *err)
{
    MD_TRY(md_onednn_check_precision(options->precision, err));
    md_dnnl *d = md_calloc(1, sizeof *d);
    if (d == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the back end");
    }
    d->n_threads = options->n_threads;
    d->precision = options->precision;
    d->scratch = MD_PLAN_NO_BUFFER;
    d->low = options->low;
    d->high = options->high;
    /* between 8-bit layers bfloat16 is exact enough, where there is any */
    d->wide = options->precision != MD_PRECISION_F32 &&
                      md_onednn_check_precision(MD_PRECISION_BF16, NULL) == MD_OK
                  ? dnnl_bf16
                  : dnnl_f32;
    begin_run(d);
    dnnl_status_t status = dnnl_engine_create(&d->engine, dnnl_cpu, 0);
    if (status == dnnl_success) {
        status = dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags);
    }
    md_status made = status == dnnl_success ? survey(d, graph, err)
                                            : md_dnnl_fail(err, status, "making an engine");
    if (made != MD_OK) {
        destroy(d);
        return made;
    }
    *ret_state = d;
    return MD_OK;
}

static md_status emit(void *state, md_plan *plan, const md_graph *graph, const md_node *node,
                      bool *ret_done, md_error *err)
{
    *ret_done = false;
    switch ((int)node->op) {
    case MD_OP_CONV:
        return md_dnnl_emit_conv(state, plan, graph, node, ret_done, err);
    case MD_OP_POOL:
        return md_dnnl_emit_pool(state, plan, graph, node, ret_done, err);
    case MD_OP_UNARY:
        return md_dnnl_emit_unary(state, plan, graph, node, ret_done, err);
    case MD_OP_BINARY:
        return md_dnnl_emit_binary(state, plan, graph, node, ret_done, err);
    case MD_OP_BATCH_NORM:
        return md_dnnl_emit_batch_norm(state, plan, graph, node, ret_done, err);
    case MD_OP_CONCAT:
        return md_dnnl_emit_concat(state, plan, graph, node, ret_done, err);
    default:
        return MD_OK;
    }
}

static md_status make_plain(void *state, md_plan *plan, const md_graph *graph,
                            const md_node *node, int value, md_error *err)
{
    md_dnnl *d = state;
    if (d->layouts[value] == NULL || plan->plain[value] != MD_PLAN_NO_BUFFER) {
        return MD_OK;
    }
    md_dnnl_layout layout = *d->layouts[value];
    dnnl_memory_desc_t plain;
    if (!md_dnnl_plain(md_graph_tensor(graph, value), &plain)) {
        return md_fail(err, MD_INTERNAL, "a tensor without a row-major layout");
    }
    MD_TRY(md_dnnl_reorder(d, plan, node, &plain, false, &layout, err));
    plan->plain[value] = layout.buffer;
    return MD_OK;
}

/* Columns of a small product, each computed by one of the threads. */
typedef struct product {
    bool transpose_a;
    int64_t m, n, k;
    float alpha, beta;
    const float *a, *b;
    int64_t lda, ldb, ldc;
    float *c;
} product;

static void product_part(void *data)
{
    const product *p = data;
    const int64_t part = md_dnnl_table.omp_get_thread_num();
    const int64_t n_parts = md_dnnl_table.omp_get_num_threads();
    const int64_t first = p->n * part / n_parts, last = p->n * (part + 1) / n_parts;
    md_small_gemm(p->transpose_a, true, p->m, last - first, p->k, p->alpha, p->a, p->lda,
                  p->b + first * p->ldb, p->ldb, p->beta, p->c + first, p->ldc);
}

/* Generating code for a product costs milliseconds, computing a small one microseconds. */
static void sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                  float alpha, const float *a, int64_t lda, const float *b, int64_t ldb,
                  float beta, float *c, int64_t ldc)
{
    enum {
        MIN_SHARED = 1 << 17 /* weights: fewer are read before another thread has begun */
    };
    if (m <= 64 && (double)m * (double)n * (double)k <= 4e6) {
        if (transpose_b && (double)n * (double)k >= MIN_SHARED) {
            /* a classifier's: reading the weights takes the time, two cores read faster */
            product p = {transpose_a, m, n, k, alpha, beta, a, b, lda, ldb, ldc, c};
            md_dnnl_table.GOMP_parallel(product_part, &p, 0, 0);
            return;
        }
        md_small_gemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return;
    }
    /* the arguments were checked, so that only memory can be missing */
    if (dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a, lda, b,
                   ldb, beta, c, ldc) != dnnl_success) {
        md_small_gemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    }
}

md_status md_onednn_api(const md_backend_api **ret_api, md_error *err)
{
    static const md_backend_api api = {
        .name = "onednn",
        .create = create,
        .destroy = destroy,
        .sgemm = sgemm,
        .begin_run = begin_run,
        .emit = emit,
        .make_plain = make_plain,
    };
    MD_TRY(md_dnnl_load(err));
    *ret_api = &api;
    return MD_OK;
}
