#include "daemon/explain.h"

#include "plugins/host/package.h"

#include <stdio.h>

enum {
    WARM_RUNS = 2,
    TIMED_RUNS = 10
};

/* The same noise each time: speed does not depend on it, but zeros could be special. */
static void fill_noise(md_tensor *tensor)
{
    uint32_t seed = 12345;
    for (size_t i = 0; i < tensor->n_elements; i++) {
        seed = seed * 1664525U + 1013904223U;
        ((float *)tensor->data)[i] = (float)(seed >> 8) / 8388608.0F - 1.0F;
    }
}

/* The names are the file's: nothing in them may steer a terminal or forge a line. */
static void print_text(const char *text, int width)
{
    for (int i = 0; i < width; i++) {
        const char c = *text == '\0' ? ' ' : *text++;
        putchar(c >= ' ' && c <= '~' ? c : '?');
    }
    putchar(' ');
}

static void print_steps(const md_network *network, const md_network_step *steps)
{
    double us = 0.0, n_operations = 0.0;
    const unsigned n_steps = md_network_n_steps(network);
    printf("%4s  %-28s %-20s %-30s %-22s %9s %9s\n", "step", "node", "operator", "fused",
           "kernel", "us", "GFLOP/s");
    for (unsigned i = 0; i < n_steps; i++) {
        const md_network_step *s = &steps[i];
        printf("%4u  ", i);
        print_text(s->node, 28);
        print_text(s->op_type, 20);
        print_text(s->fused, 30);
        print_text(s->kernel, 22);
        printf("%9.1f ", s->us);
        if (s->n_operations > 0.0 && s->us > 0.0) {
            printf("%9.1f\n", s->n_operations / s->us / 1e3);
        } else {
            printf("%9s\n", "-");
        }
        us += s->us;
        n_operations += s->n_operations;
    }
    printf("total %u steps, %.3f ms, %.3f GFLOP, %.1f GFLOP/s\n"
           "memory: arena %.1f MiB, packed weights %.1f MiB\n",
           n_steps, us / 1e3, n_operations / 1e9, us > 0.0 ? n_operations / us / 1e3 : 0.0,
           (double)md_network_arena_bytes(network) / 1048576.0,
           (double)md_network_weight_bytes(network) / 1048576.0);
}

static md_status explain(md_network *network, md_error *err)
{
    const md_network_port *port = md_network_input(network, 0);
    MD_AUTO(md_tensor_finish) md_tensor input = {0};
    MD_AUTO(md_freep)
    md_network_step *steps = md_calloc(md_network_n_steps(network) + 1, sizeof *steps);
    if (steps == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for the plan");
    }
    if (port->dtype != MD_F32) {
        return md_fail(err, MD_UNSUPPORTED, "the input is not float32");
    }
    MD_TRY(md_tensor_init(&input, port->dtype, port->n_dims, port->dims, err));
    fill_noise(&input);
    MD_TRY(md_network_profile(network, &input, 1, WARM_RUNS, steps, err));
    MD_TRY(md_network_profile(network, &input, 1, TIMED_RUNS, steps, err));
    print_steps(network, steps);
    return MD_OK;
}

static void print_float32(void *context, const char *package, const md_error *reason)
{
    (void)context;
    fprintf(stderr, "medaid: %s computes in f32: %s\n", package, reason->msg);
}

md_exit_code md_explain_model(const char *folder, const md_conf *conf)
{
    md_error err = {0};
    MD_AUTO(md_analyzer_destroyp) md_analyzer *analyzer = NULL;
    md_package_options options = {.n_threads = conf->engine.n_threads,
                                  .on_float32 = print_float32};
    md_status status = md_backend_named(conf->engine.backend, &options.backend, &err);
    if (status == MD_OK) {
        status = md_package_open(folder, folder, &options, &analyzer, &err);
    }
    if (status == MD_OK) {
        md_network *network = md_package_network(analyzer);
        printf("%s %s: %s\n", analyzer->identity.id, analyzer->identity.version,
               analyzer->identity.parameters);
        status = explain(network, &err);
    }
    if (status != MD_OK) {
        fprintf(stderr, "medaid: %s\n", err.msg);
        return status == MD_NOT_FOUND || status == MD_IO ? MD_EXIT_UNREADABLE
                                                         : MD_EXIT_NO_MODEL;
    }
    return MD_EXIT_OK;
}
