#include "inference/train/optimizer.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

enum {
    BLOCK = 1 << 15, /* elements that one thread takes at a time; the norm is summed by them */
    LANES = 8,       /* partial sums within a block */
    MAGIC = 0x4d444f50
};

/* A stretch of one parameter. */
typedef struct block {
    unsigned parameter;
    size_t first, n;
} block;

struct md_optimizer {
    md_optimizer_options options;
    unsigned n_parameters, n_threads;
    const md_parameter **parameters;
    float **momentum, **square, **average; /* one for each parameter, NULL where not needed */
    const float **result;                  /* what md_optimizer_average gives */
    block *blocks;
    unsigned n_blocks;
    double *sums; /* of squares, one for each block */
    uint64_t n_updates;
};

/* Head of the saved state; then momentum, square and average of each parameter in turn. */
typedef struct state_head {
    uint32_t magic, kind;
    uint64_t n_updates, n_bytes;
} state_head;

/* What one update does to every element, worked out once. */
typedef struct update {
    md_optimizer *optimizer;
    bool norm_only;
    bool first;
    float clip, rate, decay, shrink; /* shrink: 1 - rate times decay */
    float adam_rate, root_scale;     /* rate / (1 - b1^t); 1 / sqrt(1 - b2^t) */
    float average;                   /* 1 - a */
    unsigned next;                   /* block, taken with an atomic addition */
} update;

static bool updates(const md_parameter *p)
{
    return p->gradient != NULL && !p->frozen;
}

static double block_norm(const float *g, size_t n)
{
    double sums[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (unsigned j = 0; j < LANES; j++) {
            sums[j] += (double)g[i + j] * (double)g[i + j];
        }
    }
    for (; i < n; i++) {
        sums[i % LANES] += (double)g[i] * (double)g[i];
    }
    double sum = 0.0;
    for (unsigned j = 0; j < LANES; j++) {
        sum += sums[j];
    }
    return sum;
}

static void sgd(const update *u, const float *restrict g, float *restrict w, float *restrict v,
                size_t n, float l2, float shrink)
{
    const float clip = u->clip, rate = u->rate;
    const float m = u->first ? 0.0F : (float)u->optimizer->options.momentum;
    const float look = (float)u->optimizer->options.momentum; /* nesterov's look ahead */
    if (v == NULL) {
        for (size_t i = 0; i < n; i++) {
            w[i] = w[i] * shrink - rate * (g[i] * clip + l2 * w[i]);
        }
    } else if (u->optimizer->options.nesterov) {
        for (size_t i = 0; i < n; i++) {
            const float d = g[i] * clip + l2 * w[i];
            v[i] = m * v[i] + d;
            w[i] = w[i] * shrink - rate * (d + look * v[i]);
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            v[i] = m * v[i] + (g[i] * clip + l2 * w[i]);
            w[i] = w[i] * shrink - rate * v[i];
        }
    }
}

static void adam(const update *u, const float *restrict g, float *restrict w, float *restrict m,
                 float *restrict v, size_t n, float l2, float shrink)
{
    const float clip = u->clip, rate = u->adam_rate, scale = u->root_scale;
    const float b1 = (float)(1.0 - u->optimizer->options.beta1);
    const float b2 = (float)u->optimizer->options.beta2;
    const float rest = (float)(1.0 - u->optimizer->options.beta2);
    const float epsilon = (float)u->optimizer->options.epsilon;
    for (size_t i = 0; i < n; i++) {
        const float d = g[i] * clip + l2 * w[i];
        m[i] = m[i] + b1 * (d - m[i]);
        v[i] = b2 * v[i] + rest * d * d;
        w[i] = w[i] * shrink - rate * (m[i] / (sqrtf(v[i]) * scale + epsilon));
    }
}

static void average(float *restrict e, const float *restrict w, size_t n, float share)
{
    for (size_t i = 0; i < n; i++) {
        e[i] += share * (w[i] - e[i]);
    }
}

static void update_block(update *u, const block *b)
{
    md_optimizer *o = u->optimizer;
    const md_parameter *p = o->parameters[b->parameter];
    float *w = p->value + b->first;
    float *m = o->momentum[b->parameter], *e = o->average[b->parameter];
    if (updates(p)) {
        const float *g = p->gradient + b->first;
        const bool decays = p->decays && u->decay > 0.0F;
        const float l2 = decays && !o->options.decoupled ? u->decay : 0.0F;
        const float shrink = decays && o->options.decoupled ? u->shrink : 1.0F;
        if (o->options.kind == MD_OPTIMIZER_SGD) {
            sgd(u, g, w, m == NULL ? NULL : m + b->first, b->n, l2, shrink);
        } else {
            adam(u, g, w, m + b->first, o->square[b->parameter] + b->first, b->n, l2, shrink);
        }
    }
    if (e != NULL) {
        average(e + b->first, w, b->n, u->average);
    }
}

static void *work(void *data)
{
    update *u = data;
    md_optimizer *o = u->optimizer;
    for (;;) {
        const unsigned i = __atomic_fetch_add(&u->next, 1, __ATOMIC_RELAXED);
        if (i >= o->n_blocks) {
            return NULL;
        }
        const block *b = &o->blocks[i];
        const md_parameter *p = o->parameters[b->parameter];
        if (!u->norm_only) {
            update_block(u, b);
        } else {
            o->sums[i] = updates(p) ? block_norm(p->gradient + b->first, b->n) : 0.0;
        }
    }
}

/* All blocks, on as many threads as are worth it; with fewer than wanted where the system gives
 * no more, which changes nothing in the result. */
static void run(update *u)
{
    const md_optimizer *o = u->optimizer;
    pthread_t threads[MD_NETWORK_MAX_THREADS];
    unsigned n = 0;
    u->next = 0;
    const unsigned useful = (o->n_blocks + 7) / 8; /* a thread costs some 20 us to start */
    while (n + 1 < o->n_threads && n + 1 < useful &&
           pthread_create(&threads[n], NULL, work, u) == 0) {
        n++;
    }
    (void)work(u);
    for (unsigned i = 0; i < n; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

static md_status check_options(const md_optimizer_options *o, md_error *err)
{
    if (!(o->momentum >= 0.0 && o->momentum < 1.0) || !(o->beta1 >= 0.0 && o->beta1 < 1.0) ||
        !(o->beta2 >= 0.0 && o->beta2 < 1.0) || !(o->average >= 0.0 && o->average < 1.0)) {
        return md_fail(err, MD_INVALID_ARG,
                       "momentum %g, betas %g and %g and average %g have to be in 0..1, 1 left "
                       "out",
                       o->momentum, o->beta1, o->beta2, o->average);
    }
    if (!(o->weight_decay >= 0.0) || !(o->clip_norm >= 0.0) || !(o->epsilon >= 0.0) ||
        !isfinite(o->weight_decay) || !isfinite(o->clip_norm) || !isfinite(o->epsilon)) {
        return md_fail(err, MD_INVALID_ARG,
                       "weight decay %g, clip norm %g and epsilon %g have to be 0 or more",
                       o->weight_decay, o->clip_norm, o->epsilon);
    }
    if (o->nesterov && (o->momentum <= 0.0 || o->kind != MD_OPTIMIZER_SGD)) {
        return md_fail(err, MD_INVALID_ARG, "Nesterov's step needs SGD with a momentum");
    }
    return MD_OK;
}

static unsigned cores(void)
{
    cpu_set_t set;
    const int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : (unsigned)n;
}

static md_status make_blocks(md_optimizer *o, md_error *err)
{
    size_t n = 0;
    for (unsigned i = 0; i < o->n_parameters; i++) {
        n += (o->parameters[i]->n + BLOCK - 1) / BLOCK;
    }
    if (n == 0 || n > UINT32_MAX / 2) {
        return md_fail(err, MD_INVALID_ARG, "nothing to train");
    }
    o->blocks = md_calloc(n, sizeof *o->blocks);
    o->sums = md_calloc(n, sizeof *o->sums);
    if (o->blocks == NULL || o->sums == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an optimizer");
    }
    for (unsigned i = 0; i < o->n_parameters; i++) {
        const size_t all = o->parameters[i]->n;
        for (size_t first = 0; first < all; first += BLOCK) {
            const size_t left = all - first;
            o->blocks[o->n_blocks++] = (block){i, first, left < BLOCK ? left : BLOCK};
        }
    }
    return MD_OK;
}

static bool make_array(float **ret_array, const float *start, size_t n)
{
    *ret_array = md_malloc_aligned(n * sizeof(float));
    if (*ret_array == NULL) {
        return false;
    }
    if (start != NULL) {
        memcpy(*ret_array, start, n * sizeof(float));
    } else {
        memset(*ret_array, 0, n * sizeof(float));
    }
    return true;
}

static md_status make_arrays(md_optimizer *o, md_error *err)
{
    const bool is_adam = o->options.kind == MD_OPTIMIZER_ADAM;
    bool done = true;
    for (unsigned i = 0; i < o->n_parameters && done; i++) {
        const md_parameter *p = o->parameters[i];
        if (updates(p) && (is_adam || o->options.momentum > 0.0)) {
            done = make_array(&o->momentum[i], NULL, p->n);
        }
        if (updates(p) && is_adam) {
            done = done && make_array(&o->square[i], NULL, p->n);
        }
        if (o->options.average > 0.0) {
            done = done && make_array(&o->average[i], p->value, p->n);
        }
        o->result[i] = o->average[i] != NULL ? o->average[i] : p->value;
    }
    return done ? MD_OK : md_fail(err, MD_NOMEM, "no memory for an optimizer");
}

md_status md_optimizer_create(const md_parameter *const *parameters, unsigned n_parameters,
                              const md_optimizer_options *options, md_optimizer **ret_optimizer,
                              md_error *err)
{
    MD_TRY(check_options(options, err));
    MD_AUTO(md_optimizer_destroyp) md_optimizer *o = md_calloc(1, sizeof *o);
    if (o == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an optimizer");
    }
    o->options = *options;
    o->options.beta1 = options->beta1 == 0.0 ? 0.9 : options->beta1;
    o->options.beta2 = options->beta2 == 0.0 ? 0.999 : options->beta2;
    o->options.epsilon = options->epsilon == 0.0 ? 1e-8 : options->epsilon;
    const unsigned wanted = options->n_threads == 0 ? cores() : options->n_threads;
    o->n_threads = wanted < MD_NETWORK_MAX_THREADS ? wanted : MD_NETWORK_MAX_THREADS;
    o->n_parameters = n_parameters;
    o->parameters = md_calloc(n_parameters, sizeof *o->parameters);
    o->momentum = md_calloc(n_parameters, sizeof *o->momentum);
    o->square = md_calloc(n_parameters, sizeof *o->square);
    o->average = md_calloc(n_parameters, sizeof *o->average);
    o->result = md_calloc(n_parameters, sizeof *o->result);
    if (o->parameters == NULL || o->momentum == NULL || o->square == NULL ||
        o->average == NULL || o->result == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for an optimizer");
    }
    if (n_parameters > 0) {
        memcpy(o->parameters, parameters, n_parameters * sizeof *o->parameters);
    }
    MD_TRY(make_blocks(o, err));
    MD_TRY(make_arrays(o, err));
    *ret_optimizer = MD_STEAL(o);
    return MD_OK;
}

void md_optimizer_destroy(md_optimizer *optimizer)
{
    md_optimizer *o = optimizer;
    if (o == NULL) {
        return;
    }
    for (unsigned i = 0; i < o->n_parameters; i++) {
        if (o->momentum != NULL) {
            md_free(o->momentum[i]);
        }
        if (o->square != NULL) {
            md_free(o->square[i]);
        }
        if (o->average != NULL) {
            md_free(o->average[i]);
        }
    }
    md_free(o->momentum);
    md_free(o->square);
    md_free(o->average);
    md_free(o->result);
    md_free(o->parameters);
    md_free(o->blocks);
    md_free(o->sums);
    md_free(o);
}

static double gradient_norm(md_optimizer *o)
{
    update u = {.optimizer = o, .norm_only = true};
    run(&u);
    double sum = 0.0;
    for (unsigned i = 0; i < o->n_blocks; i++) {
        sum += o->sums[i];
    }
    return sqrt(sum);
}

md_status md_optimizer_update(md_optimizer *optimizer, double rate, double *ret_norm,
                              md_error *err)
{
    md_optimizer *o = optimizer;
    const md_optimizer_options *options = &o->options;
    const double norm = gradient_norm(o);
    if (!isfinite(norm)) {
        return md_fail(err, MD_FORMAT, "the gradients are not finite");
    }
    update u = {.optimizer = o, .first = o->n_updates == 0, .clip = 1.0F};
    o->n_updates++;
    const double t = (double)o->n_updates;
    if (options->clip_norm > 0.0 && norm + 1e-6 > options->clip_norm) {
        u.clip = (float)(options->clip_norm / (norm + 1e-6));
    }
    u.rate = (float)rate;
    u.decay = (float)options->weight_decay;
    u.shrink = (float)(1.0 - rate * options->weight_decay);
    u.adam_rate = (float)(rate / (1.0 - pow(options->beta1, t)));
    u.root_scale = (float)(1.0 / sqrt(1.0 - pow(options->beta2, t)));
    const double a = options->average, warm = (1.0 + t) / (20.0 + t);
    u.average = (float)(1.0 - (options->average_warmup && warm < a ? warm : a));
    run(&u);
    if (ret_norm != NULL) {
        *ret_norm = norm;
    }
    return MD_OK;
}

uint64_t md_optimizer_n_updates(const md_optimizer *optimizer)
{
    return optimizer->n_updates;
}

const float *const *md_optimizer_average(const md_optimizer *optimizer)
{
    return optimizer->result;
}

/* Calls `each` for every array of the state, in the order in which they are saved. */
static size_t each_array(const md_optimizer *o,
                         void (*each)(float *array, size_t n_bytes, uint8_t **at), uint8_t *at)
{
    size_t n_bytes = 0;
    for (unsigned i = 0; i < o->n_parameters; i++) {
        float *const arrays[3] = {o->momentum[i], o->square[i], o->average[i]};
        for (unsigned j = 0; j < 3; j++) {
            if (arrays[j] != NULL) {
                n_bytes += o->parameters[i]->n * sizeof(float);
                if (each != NULL) {
                    each(arrays[j], o->parameters[i]->n * sizeof(float), &at);
                }
            }
        }
    }
    return n_bytes;
}

static void save_array(float *array, size_t n_bytes, uint8_t **at)
{
    memcpy(*at, array, n_bytes);
    *at += n_bytes;
}

static void load_array(float *array, size_t n_bytes, uint8_t **at)
{
    memcpy(array, *at, n_bytes);
    *at += n_bytes;
}

size_t md_optimizer_state_bytes(const md_optimizer *optimizer)
{
    return sizeof(state_head) + each_array(optimizer, NULL, NULL);
}

void md_optimizer_save(const md_optimizer *optimizer, uint8_t *ret_bytes)
{
    const state_head head = {.magic = MAGIC,
                             .kind = (uint32_t)optimizer->options.kind,
                             .n_updates = optimizer->n_updates,
                             .n_bytes = md_optimizer_state_bytes(optimizer)};
    memcpy(ret_bytes, &head, sizeof head);
    (void)each_array(optimizer, save_array, ret_bytes + sizeof head);
}

md_status md_optimizer_load(md_optimizer *optimizer, const uint8_t *bytes, size_t size_bytes,
                            md_error *err)
{
    state_head head;
    const size_t wanted = md_optimizer_state_bytes(optimizer);
    if (size_bytes != wanted) {
        return md_fail(err, MD_FORMAT, "an optimizer's state of %zu bytes, %zu are expected",
                       size_bytes, wanted);
    }
    memcpy(&head, bytes, sizeof head);
    if (head.magic != MAGIC || head.n_bytes != wanted ||
        head.kind != (uint32_t)optimizer->options.kind) {
        return md_fail(err, MD_FORMAT, "not the state of this optimizer");
    }
    optimizer->n_updates = head.n_updates;
    /* read only there */
    (void)each_array(optimizer, load_array, (uint8_t *)(uintptr_t)bytes + sizeof head);
    return MD_OK;
}
