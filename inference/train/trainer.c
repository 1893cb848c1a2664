#include "inference/train/trainer_private.h"

#include <math.h>
#include <sched.h>
#include <string.h>

enum {
    MAX_PIXELS = 1 << 14 /* height or width */
};

bool md_wants_gradient(const md_trainer *t, const md_feature *f)
{
    return !t->training || f->trainable;
}

md_write md_gradient_write(md_feature *f)
{
    const md_write write = f->has_gradient ? MD_WRITE_ADD : MD_WRITE_SET;
    f->has_gradient = true;
    return write;
}

const float *md_train_layer_value(const md_trainer *t, const md_train_layer *layer, unsigned i)
{
    const int p = layer->parameters[i];
    return p == MD_NO_PARAMETER ? NULL : t->values[p];
}

bool md_wants_parameter(const md_trainer *t, const md_train_layer *layer, unsigned i)
{
    const int p = layer->parameters[i];
    return p != MD_NO_PARAMETER && t->training && t->parameters[p].gradient != NULL &&
           !t->parameters[p].frozen;
}

float *md_parameter_gradient(md_trainer *t, const md_train_layer *layer, unsigned i)
{
    const int p = layer->parameters[i];
    return t->wrote[p] ? t->shared_gradient : t->parameters[p].gradient;
}

void md_parameter_done(md_trainer *t, const md_train_layer *layer, unsigned i)
{
    const int p = layer->parameters[i];
    if (t->wrote[p]) { /* another layer uses it too */
        t->kernels[0]->copy(t->shared_gradient, t->parameters[p].gradient, MD_WRITE_ADD,
                            t->parameters[p].n);
    }
    t->wrote[p] = true;
}

typedef struct rows_call {
    md_rows_fn work;
    void *data;
    size_t n;
} rows_call;

static void run_rows(void *data, unsigned part, unsigned n_parts)
{
    const rows_call *c = data;
    c->work(c->data, md_team_begin(c->n, part, n_parts), md_team_begin(c->n, part + 1, n_parts),
            part);
}

void md_over_rows(md_trainer *t, size_t n, md_rows_fn work, void *data)
{
    rows_call call = {work, data, n};
    md_team_run(t->team, run_rows, &call);
}

typedef struct sum_call {
    const md_train_kernels *kernels;
    const uint8_t *x, *weights;
    size_t width, element_bytes;
    double *sums;
    float *floats;
} sum_call;

static void sum_part(void *data, size_t begin, size_t end, unsigned part)
{
    const sum_call *c = data;
    const size_t at = begin * c->width * c->element_bytes;
    double *sums = c->sums + c->width * part;
    memset(sums, 0, c->width * sizeof *sums);
    c->kernels->sum_rows(c->x + at, c->weights == NULL ? NULL : c->weights + at, end - begin,
                         c->width, sums, c->floats + c->width * part);
}

static void sum_rows(md_trainer *t, sum_call *c, size_t rows, void *scratch, float *ret_sum)
{
    const unsigned n_parts = md_team_size(t->team);
    c->sums = scratch;
    c->floats = (float *)(c->sums + c->width * n_parts);
    md_over_rows(t, rows, sum_part, c);
    for (size_t i = 0; i < c->width; i++) {
        double sum = 0.0;
        for (unsigned part = 0; part < n_parts; part++) {
            sum += c->sums[c->width * part + i];
        }
        ret_sum[i] = (float)sum;
    }
}

void md_sum_over_rows(md_trainer *t, const md_feature *f, const void *x, const void *weights,
                      float *ret_sum)
{
    sum_call c = {.kernels = md_kernels_of(t, f),
                  .x = x,
                  .weights = weights,
                  .width = (size_t)f->c,
                  .element_bytes = md_feature_element_bytes(f)};
    sum_rows(t, &c, md_feature_rows(t, f), t->scratch, ret_sum);
}

void md_sum_floats(md_trainer *t, const float *x, size_t rows, size_t width, void *scratch,
                   float *ret_sum)
{
    sum_call c = {.kernels = t->kernels[0],
                  .x = (const uint8_t *)x,
                  .width = width,
                  .element_bytes = sizeof *x};
    sum_rows(t, &c, rows, scratch, ret_sum);
}

static unsigned count_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < 1) {
        return 1;
    }
    const unsigned n = (unsigned)CPU_COUNT(&set);
    return n > MD_NETWORK_MAX_THREADS ? MD_NETWORK_MAX_THREADS : n;
}

static md_status check_options(const md_trainer_options *o, md_error *err)
{
    if (o->batch < 1 || o->batch > MD_TRAINER_MAX_BATCH) {
        return md_fail(err, MD_INVALID_ARG, "batch %lld is not in 1..%d", (long long)o->batch,
                       MD_TRAINER_MAX_BATCH);
    }
    if (o->height < 0 || o->width < 0 || o->height > MAX_PIXELS || o->width > MAX_PIXELS) {
        return md_fail(err, MD_INVALID_ARG, "pictures of %lld x %lld, at most %d",
                       (long long)o->height, (long long)o->width, MAX_PIXELS);
    }
    if (!(o->label_smoothing >= 0.0F && o->label_smoothing < 1.0F)) {
        return md_fail(err, MD_INVALID_ARG, "label smoothing %g is not in 0..1",
                       (double)o->label_smoothing);
    }
    if (!(o->bn_momentum >= 0.0F && o->bn_momentum <= 1.0F)) {
        return md_fail(err, MD_INVALID_ARG, "momentum %g of normalisation is not in 0..1",
                       (double)o->bn_momentum);
    }
    for (unsigned i = 0; i < o->n_class_weights; i++) {
        if (!(o->class_weights[i] > 0.0F && o->class_weights[i] < INFINITY)) {
            return md_fail(err, MD_INVALID_ARG, "class weight %g is not above 0",
                           (double)o->class_weights[i]);
        }
    }
    if (o->n_groups > 0 && o->loss != MD_LOSS_CROSS_ENTROPY) {
        return md_fail(err, MD_INVALID_ARG, "groups of classes are for the cross-entropy");
    }
    if (o->n_groups > 0 && !(o->within_weight >= 0.0F && o->within_weight < INFINITY)) {
        return md_fail(err, MD_INVALID_ARG, "the weight %g within groups is below 0",
                       (double)o->within_weight);
    }
    for (unsigned i = 0; i < o->n_groups; i++) {
        if (o->groups[i] >= o->n_groups) {
            return md_fail(err, MD_INVALID_ARG, "group %u of class %u is not in 0..%u",
                           o->groups[i], i, o->n_groups - 1);
        }
    }
    return MD_OK;
}

static md_status copy_options(md_trainer *t, const md_trainer_options *o, md_error *err)
{
    t->batch = o->batch;
    t->loss = o->loss;
    t->label_smoothing = o->label_smoothing;
    t->bn_momentum = o->bn_momentum == 0.0F ? 0.1F : o->bn_momentum;
    t->bf16 = o->bf16;
    t->max_bytes = o->max_bytes;
    t->frozen = md_pool_alloc(&t->pool, (o->n_frozen + 1) * sizeof *t->frozen);
    if (t->frozen == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u names", o->n_frozen);
    }
    for (unsigned i = 0; i < o->n_frozen; i++) {
        t->frozen[i] = md_pool_text(&t->pool, o->frozen[i]);
        if (t->frozen[i] == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for a name");
        }
        t->n_frozen++;
    }
    return MD_OK;
}

static md_status open_backend(md_trainer *t, const md_trainer_options *o, md_error *err)
{
    unsigned n_threads = o->n_threads == 0 ? count_cores() : o->n_threads;
    n_threads = n_threads > MD_NETWORK_MAX_THREADS ? MD_NETWORK_MAX_THREADS : n_threads;
    bool onednn = o->backend != MD_BACKEND_OPENBLAS;
    md_status status = MD_UNSUPPORTED;
    if (onednn) {
#ifdef MEDAID_HAVE_ONEDNN
        status = md_onednn_api(&t->api, err);
        if (status == MD_OK && o->bf16) {
            MD_TRY(md_onednn_check_precision(MD_PRECISION_BF16, err));
        }
#else
        status = md_fail(err, MD_UNSUPPORTED, "the oneDNN back end is not built in");
#endif
        if (status != MD_OK && o->backend == MD_BACKEND_ONEDNN) {
            return status;
        }
        onednn = status == MD_OK;
    }
    if (!onednn) {
        if (o->bf16) {
            return md_fail(err, MD_UNSUPPORTED,
                           "bf16: the OpenBLAS back end has float32 alone");
        }
        MD_TRY(md_openblas_api(&t->api, err));
    }
    /* on OpenBLAS the images are shared among threads, and each product is one thread's */
    t->backend_options = (md_backend_options){.n_threads = onednn ? n_threads : 1};
    static const md_graph no_graph;
    MD_TRY(t->api->create(&t->backend_options, &no_graph, &t->backend_state, err));
    t->api->begin_run(t->backend_state);
#ifdef MEDAID_HAVE_ONEDNN
    if (onednn) {
        MD_TRY(md_dnnl_train_create(&t->dnnl, err));
    }
#endif
    t->kernels[0] = md_train_kernels_for(false);
    t->kernels[1] = md_train_kernels_for(true);
    t->text_kernels = md_text_kernels_get();
    return md_team_create(n_threads, onednn, &t->team, err);
}

static md_status make_groups(md_trainer *t, const md_trainer_options *o, md_error *err)
{
    if (o->n_groups == 0) {
        return MD_OK;
    }
    if (o->n_groups != (unsigned)t->n_classes) {
        return md_fail(err, MD_INVALID_ARG, "the groups of %u classes for %lld classes",
                       o->n_groups, (long long)t->n_classes);
    }
    const size_t n_bytes = o->n_groups * sizeof *t->groups;
    t->groups = md_pool_alloc(&t->pool, n_bytes);
    t->group_sums = md_pool_data(&t->pool, 4 * o->n_groups * sizeof *t->group_sums);
    if (t->groups == NULL || t->group_sums == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the groups of %u classes", o->n_groups);
    }
    memcpy(t->groups, o->groups, n_bytes);
    t->within_weight = o->within_weight;
    return MD_OK;
}

static md_status make_buffers(md_trainer *t, const md_trainer_options *o, md_error *err)
{
    const size_t n = (size_t)(t->batch * t->n_classes);
    if (o->n_class_weights != 0 && o->n_class_weights != (unsigned)t->n_classes) {
        return md_fail(err, MD_INVALID_ARG, "%u class weights for %lld classes",
                       o->n_class_weights, (long long)t->n_classes);
    }
    t->logits = md_pool_data(&t->pool, n * sizeof *t->logits);
    t->d_logits = md_pool_data(&t->pool, n * sizeof *t->d_logits);
    if (t->logits == NULL || t->d_logits == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu logits", n);
    }
    if (o->n_class_weights > 0) {
        const size_t n_bytes = o->n_class_weights * sizeof *t->class_weights;
        t->class_weights = md_pool_alloc(&t->pool, n_bytes);
        if (t->class_weights == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for the class weights");
        }
        memcpy(t->class_weights, o->class_weights, n_bytes);
    }
    return make_groups(t, o, err);
}

static md_status create(md_trainer *t, const uint8_t *onnx, size_t size_bytes,
                        const md_trainer_options *o, md_error *err)
{
    MD_TRY(check_options(o, err));
    if (size_bytes > MD_NETWORK_MAX_ONNX_BYTES) {
        return md_fail(err, MD_LIMIT, "an ONNX file of %zu bytes, at most %zu", size_bytes,
                       MD_NETWORK_MAX_ONNX_BYTES);
    }
    t->onnx = md_malloc(size_bytes + 1);
    if (t->onnx == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu bytes of ONNX", size_bytes);
    }
    memcpy(t->onnx, onnx, size_bytes);
    t->onnx_bytes = size_bytes;
    MD_TRY(copy_options(t, o, err));
    MD_TRY(open_backend(t, o, err));
    MD_TRY(md_net_create(t, o->height, o->width, &t->net, err));
    MD_TRY(md_net_place(t, t->net, err));
    return make_buffers(t, o, err);
}

md_status md_trainer_create(const uint8_t *onnx, size_t size_bytes,
                            const md_trainer_options *options, md_trainer **ret_trainer,
                            md_error *err)
{
    MD_AUTO(md_trainer_destroyp) md_trainer *t = md_calloc(1, sizeof *t);
    if (t == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for a trainer");
    }
    MD_TRY(create(t, onnx, size_bytes, options, err));
    *ret_trainer = MD_STEAL(t);
    return MD_OK;
}

void md_trainer_destroy(md_trainer *t)
{
    if (t == NULL) {
        return;
    }
    md_net_destroy(t->net);
#ifdef MEDAID_HAVE_ONEDNN
    md_dnnl_train_destroy(t->dnnl);
#endif
    md_team_destroy(t->team);
    if (t->api != NULL && t->backend_state != NULL) {
        t->api->destroy(t->backend_state);
    }
    md_free(t->scratch);
    md_free(t->input_gradient);
    md_free(t->onnx);
    md_pool_finish(&t->pool);
    md_free(t);
}

const char *md_trainer_backend_name(const md_trainer *trainer)
{
    return trainer->api->name;
}

void md_trainer_input_dims(const md_trainer *trainer, int64_t ret_dims[4])
{
    ret_dims[0] = trainer->batch;
    ret_dims[1] = trainer->n_channels;
    ret_dims[2] = trainer->net->height;
    ret_dims[3] = trainer->net->width;
}

int64_t md_trainer_n_classes(const md_trainer *trainer)
{
    return trainer->n_classes;
}

bool md_trainer_is_text(const md_trainer *trainer)
{
    return trainer->texts.n_tokens > 0;
}

int64_t md_trainer_n_tokens(const md_trainer *trainer)
{
    return trainer->texts.n_tokens;
}

unsigned md_trainer_n_threads(const md_trainer *trainer)
{
    return md_team_size(trainer->team);
}

size_t md_trainer_bytes(const md_trainer *trainer)
{
    return trainer->onnx_bytes + trainer->parameter_bytes + trainer->net->arena_bytes +
           trainer->scratch_bytes + trainer->input_gradient_bytes;
}

unsigned md_trainer_n_parameters(const md_trainer *trainer)
{
    return trainer->n_parameters;
}

const md_parameter *md_trainer_parameter(const md_trainer *trainer, unsigned index)
{
    return index < trainer->n_parameters ? &trainer->parameters[index] : NULL;
}

/* Layers ready for t->n images, and scratch memory for the largest of them. */
static md_status prepare(md_trainer *t, md_error *err)
{
    md_net *net = t->net;
    size_t most = 0;
    t->api->begin_run(t->backend_state);
    if (net->planned != t->n) {
        net->planned = 0;
        for (unsigned i = 0; i < net->n_layers; i++) {
            md_train_layer *layer = &net->layers[i];
            if (layer->kind->prepare != NULL) {
                md_error inner = {0};
                const md_status status = layer->kind->prepare(t, layer, &inner);
                if (status != MD_OK) {
                    return md_node_fail(err, &layer->node, status, "%s", inner.msg);
                }
            }
        }
        net->planned = t->n;
    }
    for (unsigned i = 0; i < net->n_layers; i++) {
        most = net->layers[i].scratch_bytes > most ? net->layers[i].scratch_bytes : most;
    }
    if (most > t->scratch_bytes) {
        MD_TRY(md_net_check_bytes(t, net, md_trainer_bytes(t) - t->scratch_bytes + most, err));
        md_free(t->scratch);
        t->scratch_bytes = 0;
        t->scratch = md_malloc_aligned(most);
        if (t->scratch == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu MiB of scratch", most >> 20);
        }
        t->scratch_bytes = most;
    }
    return MD_OK;
}

md_status md_trainer_prepare(md_trainer *trainer, md_error *err)
{
    trainer->n = trainer->batch;
    return prepare(trainer, err);
}

static void use_values(md_trainer *t, const float *const *values)
{
    for (unsigned i = 0; i < t->n_parameters; i++) {
        t->values[i] = values == NULL ? t->parameters[i].value : values[i];
    }
}

typedef struct image_call {
    md_trainer *t;
    const float *planes;
} image_call;

static void load_images(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const image_call *c = data;
    const md_feature *x = &c->t->net->features[c->t->net->input];
    const size_t n = x->n_per_image;
    for (size_t i = begin; i < end; i++) {
        md_kernels_of(c->t, x)->from_planes(
            c->planes + i * n, (uint8_t *)x->data + i * n * md_feature_element_bytes(x),
            MD_WRITE_SET, (size_t)(x->h * x->w), (size_t)x->c);
    }
}

/* What a call reads: images, or tokens [n,length]. */
typedef struct batch_input {
    const float *images;
    const int64_t *tokens;
    int64_t length;
} batch_input;

static batch_input skip(const md_trainer *t, const batch_input *input, int64_t n)
{
    batch_input left = *input;
    if (input->tokens != NULL) {
        left.tokens += n * input->length;
    } else {
        left.images += (size_t)n * t->net->features[t->net->input].n_per_image;
    }
    return left;
}

static md_status check_kind(const md_trainer *t, bool text, md_error *err)
{
    return md_trainer_is_text(t) == text
               ? MD_OK
               : md_fail(err, MD_INVALID_ARG, "the network reads %s",
                         text ? "images, not tokens" : "tokens, not images");
}

static md_status forward(md_trainer *t, const batch_input *input, md_error *err)
{
    md_net *net = t->net;
    MD_TRY(prepare(t, err));
    if (input->tokens != NULL) {
        md_texts_load(&t->texts, input->tokens, t->n, input->length, net->by_steps);
    } else {
        image_call call = {t, input->images};
        md_over_rows(t, (size_t)t->n, load_images, &call);
    }
    for (unsigned i = 0; i < net->n_layers; i++) {
        md_train_layer *layer = &net->layers[i];
        md_error inner = {0};
        const md_status status = layer->kind->forward(t, layer, &inner);
        if (status != MD_OK) {
            return md_node_fail(err, &layer->node, status, "%s", inner.msg);
        }
    }
    return MD_OK;
}

static md_status backward(md_trainer *t, const float *d_logits, md_error *err)
{
    md_net *net = t->net;
    for (int i = 0; i < net->n_features; i++) {
        net->features[i].has_gradient = false;
    }
    if (t->training) {
        memset(t->wrote, 0, t->n_parameters);
    }
    md_feature *out = &net->features[net->output];
    memcpy(out->gradient, d_logits, (size_t)(t->n * t->n_classes) * sizeof(float));
    out->has_gradient = true;
    for (unsigned i = net->n_layers; i-- > 0;) {
        md_train_layer *layer = &net->layers[i];
        const md_feature *y = &net->features[layer->output];
        if (!y->has_gradient || !md_wants_gradient(t, y)) {
            continue;
        }
        md_error inner = {0};
        const md_status status = layer->kind->backward(t, layer, &inner);
        if (status != MD_OK) {
            return md_node_fail(err, &layer->node, status, "%s", inner.msg);
        }
    }
    return MD_OK;
}

static md_status check_n(const md_trainer *t, int64_t n, md_error *err)
{
    return n >= 1 && n <= t->batch
               ? MD_OK
               : md_fail(err, MD_INVALID_ARG, "%lld %s, the batch is %lld", (long long)n,
                         md_trainer_is_text(t) ? "texts" : "images", (long long)t->batch);
}

static const float *logits_of(const md_trainer *t)
{
    return t->net->features[t->net->output].data;
}

static md_status step(md_trainer *t, const batch_input *input, int64_t n, const float *targets,
                      const float *sample_weights, uint64_t seed, double *ret_loss,
                      const float **ret_logits, md_error *err)
{
    double loss;
    t->n = n;
    t->training = true;
    t->seed = seed;
    use_values(t, NULL);
    /* what is wrong with the targets is said before the running statistics move */
    memset(t->logits, 0, (size_t)(n * t->n_classes) * sizeof *t->logits);
    MD_TRY(md_loss_compute(t, t->logits, n, targets, sample_weights, &loss, NULL, err));
    MD_TRY(forward(t, input, err));
    memcpy(t->logits, logits_of(t), (size_t)(n * t->n_classes) * sizeof *t->logits);
    MD_TRY(md_loss_compute(t, t->logits, n, targets, sample_weights, &loss, t->d_logits, err));
    MD_TRY(backward(t, t->d_logits, err));
    *ret_loss = loss;
    *ret_logits = t->logits;
    return MD_OK;
}

md_status md_trainer_step(md_trainer *t, const float *images, int64_t n, const float *targets,
                          const float *sample_weights, uint64_t seed, double *ret_loss,
                          const float **ret_logits, md_error *err)
{
    const batch_input input = {.images = images};
    MD_TRY(check_kind(t, false, err));
    MD_TRY(check_n(t, n, err));
    return step(t, &input, n, targets, sample_weights, seed, ret_loss, ret_logits, err);
}

md_status md_trainer_step_tokens(md_trainer *t, const int64_t *tokens, int64_t n,
                                 int64_t length, const float *targets,
                                 const float *sample_weights, uint64_t seed, double *ret_loss,
                                 const float **ret_logits, md_error *err)
{
    const batch_input input = {.tokens = tokens, .length = length};
    MD_TRY(check_kind(t, true, err));
    MD_TRY(check_n(t, n, err));
    MD_TRY(md_texts_check(&t->texts, tokens, n, length, err));
    return step(t, &input, n, targets, sample_weights, seed, ret_loss, ret_logits, err);
}

static md_status infer(md_trainer *t, const batch_input *input, int64_t n,
                       const float *const *values, float *ret_logits, md_error *err)
{
    t->training = false;
    use_values(t, values);
    for (int64_t done = 0; done < n; done += t->n) {
        t->n = n - done < t->batch ? n - done : t->batch;
        const batch_input left = skip(t, input, done);
        MD_TRY(forward(t, &left, err));
        memcpy(ret_logits + done * t->n_classes, logits_of(t),
               (size_t)(t->n * t->n_classes) * sizeof *ret_logits);
    }
    return MD_OK;
}

md_status md_trainer_infer(md_trainer *t, const float *images, int64_t n,
                           const float *const *values, float *ret_logits, md_error *err)
{
    const batch_input input = {.images = images};
    if (n < 1) {
        return md_fail(err, MD_INVALID_ARG, "%lld images", (long long)n);
    }
    MD_TRY(check_kind(t, false, err));
    return infer(t, &input, n, values, ret_logits, err);
}

md_status md_trainer_infer_tokens(md_trainer *t, const int64_t *tokens, int64_t n,
                                  int64_t length, const float *const *values, float *ret_logits,
                                  md_error *err)
{
    const batch_input input = {.tokens = tokens, .length = length};
    if (n < 1) {
        return md_fail(err, MD_INVALID_ARG, "%lld texts", (long long)n);
    }
    MD_TRY(check_kind(t, true, err));
    MD_TRY(md_texts_check(&t->texts, tokens, n, length, err));
    return infer(t, &input, n, values, ret_logits, err);
}

md_status md_trainer_loss(const md_trainer *t, const float *logits, int64_t n,
                          const float *targets, const float *sample_weights, double *ret_loss,
                          md_error *err)
{
    return md_loss_compute(t, logits, n, targets, sample_weights, ret_loss, NULL, err);
}

static void store_images(void *data, size_t begin, size_t end, unsigned part)
{
    (void)part;
    const image_call *c = data;
    const md_feature *x = &c->t->net->features[c->t->net->input];
    const size_t n = x->n_per_image;
    for (size_t i = begin; i < end; i++) {
        md_kernels_of(c->t, x)->to_planes(
            (const uint8_t *)x->gradient + i * n * md_feature_element_bytes(x),
            c->t->input_gradient + i * n, MD_WRITE_SET, (size_t)(x->h * x->w), (size_t)x->c);
    }
}

md_status md_trainer_input_gradient(md_trainer *t, const float *images, int64_t n,
                                    const float *const *values, const float *d_logits,
                                    const float **ret_gradient, md_error *err)
{
    if (md_trainer_is_text(t)) {
        return md_fail(err, MD_UNSUPPORTED, "tokens have no gradient");
    }
    MD_TRY(check_n(t, n, err));
    const size_t bytes = (size_t)t->batch * t->net->features[t->net->input].n_per_image *
                         sizeof *t->input_gradient;
    if (t->input_gradient_bytes != bytes) {
        md_free(t->input_gradient);
        t->input_gradient_bytes = 0;
        t->input_gradient = md_malloc_aligned(bytes);
        if (t->input_gradient == NULL) {
            return md_fail(err, MD_NOMEM, "no memory for %zu MiB of gradients", bytes >> 20);
        }
        t->input_gradient_bytes = bytes;
    }
    t->n = n;
    t->training = false;
    use_values(t, values);
    const batch_input input = {.images = images};
    MD_TRY(forward(t, &input, err));
    MD_TRY(backward(t, d_logits, err));
    image_call call = {t, NULL};
    md_over_rows(t, (size_t)n, store_images, &call);
    *ret_gradient = t->input_gradient;
    return MD_OK;
}

md_status md_trainer_resize(md_trainer *t, int64_t height, int64_t width, md_error *err)
{
    const int64_t n_classes = t->n_classes, n_channels = t->n_channels;
    if (md_trainer_is_text(t)) {
        return md_fail(err, MD_UNSUPPORTED, "a text network has no picture size");
    }
    if (height < 1 || width < 1 || height > MAX_PIXELS || width > MAX_PIXELS) {
        return md_fail(err, MD_INVALID_ARG, "pictures of %lld x %lld, 1 to %d",
                       (long long)height, (long long)width, MAX_PIXELS);
    }
    MD_AUTO(md_net_destroyp) md_net *net = NULL;
    md_error inner = {.msg = "another number of classes"};
    const md_status status = md_net_create(t, height, width, &net, &inner);
    const bool other = t->n_classes != n_classes;
    t->n_channels = n_channels;
    t->n_classes = n_classes;
    if (status == MD_NOMEM || status == MD_LIMIT) {
        return md_fail(err, status, "%s", inner.msg);
    }
    if (status != MD_OK || other) {
        return md_fail(err, MD_INVALID_ARG,
                       "the network does not take pictures of %lld x %lld: %s",
                       (long long)height, (long long)width, inner.msg);
    }
    /* never both arenas at a time */
    md_free(t->net->arena);
    t->net->arena = NULL;
    const md_status placed = md_net_place(t, net, err);
    if (placed != MD_OK) {
        MD_TRY(md_net_place(t, t->net, NULL));
        return placed;
    }
    md_net *old = t->net;
    t->net = net;
    net = old;
    return MD_OK;
}
