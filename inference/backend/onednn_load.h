#ifndef MEDAID_INFERENCE_BACKEND_ONEDNN_LOAD_H
#define MEDAID_INFERENCE_BACKEND_ONEDNN_LOAD_H

/* oneDNN is loaded when a network asks for it, not at program start, for two reasons. A program
 * that runs no network pays nothing for its 40 MB and the libraries behind it. And its threads,
 * GNU OpenMP's, read how they wait from the environment when they are loaded, and by default
 * burn CPU while they wait for milliseconds: on two cores that others use too, a network of 14
 * ms took 40 to 760 ms on two threads. A thread that sleeps at once wakes too late for layers
 * of 50 microseconds: two threads were no faster than one. So GOMP_SPINCOUNT is set first,
 * unless the environment already says how to wait: a wait spins for some 50 microseconds, then
 * sleeps (DenseNet-121 on two threads: 28 ms with passive waiting, 19 ms so).
 *
 * The functions are called by their names as usual: the macros below send them to the table. */

#include "base/error.h"

#include <oneapi/dnnl/dnnl.h>

#define MD_DNNL_FUNCTIONS(X)                                                                   \
    X(dnnl_batch_normalization_forward_desc_init)                                              \
    X(dnnl_binary_desc_init)                                                                   \
    X(dnnl_memory_desc_init_submemory)                                                         \
    X(dnnl_dilated_convolution_backward_data_desc_init)                                        \
    X(dnnl_dilated_convolution_backward_weights_desc_init)                                     \
    X(dnnl_dilated_convolution_forward_desc_init)                                              \
    X(dnnl_eltwise_forward_desc_init)                                                          \
    X(dnnl_engine_create)                                                                      \
    X(dnnl_engine_destroy)                                                                     \
    X(dnnl_memory_create)                                                                      \
    X(dnnl_memory_desc_equal)                                                                  \
    X(dnnl_memory_desc_get_size)                                                               \
    X(dnnl_memory_desc_init_by_strides)                                                        \
    X(dnnl_memory_desc_init_by_tag)                                                            \
    X(dnnl_memory_destroy)                                                                     \
    X(dnnl_memory_set_data_handle)                                                             \
    X(dnnl_pooling_v2_forward_desc_init)                                                       \
    X(dnnl_post_ops_append_eltwise)                                                            \
    X(dnnl_post_ops_append_sum)                                                                \
    X(dnnl_post_ops_create)                                                                    \
    X(dnnl_post_ops_destroy)                                                                   \
    X(dnnl_primitive_attr_create)                                                              \
    X(dnnl_primitive_attr_destroy)                                                             \
    X(dnnl_primitive_attr_set_post_ops)                                                        \
    X(dnnl_primitive_attr_set_scratchpad_mode)                                                 \
    X(dnnl_primitive_create)                                                                   \
    X(dnnl_primitive_desc_clone)                                                               \
    X(dnnl_primitive_desc_create)                                                              \
    X(dnnl_primitive_desc_destroy)                                                             \
    X(dnnl_primitive_desc_query)                                                               \
    X(dnnl_primitive_desc_query_md)                                                            \
    X(dnnl_primitive_destroy)                                                                  \
    X(dnnl_primitive_execute)                                                                  \
    X(dnnl_reorder_primitive_desc_create)                                                      \
    X(dnnl_get_effective_cpu_isa)                                                              \
    X(dnnl_primitive_attr_set_output_scales)                                                   \
    X(dnnl_set_jit_profiling_flags)                                                            \
    X(dnnl_set_primitive_cache_capacity)                                                       \
    X(dnnl_sgemm)                                                                              \
    X(dnnl_stream_create)                                                                      \
    X(dnnl_stream_destroy)                                                                     \
    X(dnnl_version)

typedef struct md_dnnl_functions {
#define MD_DNNL_MEMBER(name) __typeof__(&name) call_##name;
    MD_DNNL_FUNCTIONS(MD_DNNL_MEMBER)
#undef MD_DNNL_MEMBER
    void (*omp_set_num_threads)(int n);
    int (*omp_get_num_threads)(void);
    int (*omp_get_thread_num)(void);
    /* what gcc calls for `#pragma omp parallel`: function(data) on each of n_threads */
    void (*GOMP_parallel)(void (*function)(void *), void *data, unsigned n_threads,
                          unsigned flags);
    int (*omp_pause_resource_all)(int kind);
} md_dnnl_functions;

/* All set once md_dnnl_load has returned MD_OK; any thread. */
extern md_dnnl_functions md_dnnl_table;

/* MD_UNSUPPORTED when the library is missing or lacks a function. The first call changes the
 * environment, see above: no other thread may read it then. */
md_status md_dnnl_load(md_error *err) MD_NODISCARD;

#ifndef MD_DNNL_NO_MACROS
#define dnnl_batch_normalization_forward_desc_init                                             \
    md_dnnl_table.call_dnnl_batch_normalization_forward_desc_init
#define dnnl_binary_desc_init md_dnnl_table.call_dnnl_binary_desc_init
#define dnnl_dilated_convolution_backward_data_desc_init                                       \
    md_dnnl_table.call_dnnl_dilated_convolution_backward_data_desc_init
#define dnnl_dilated_convolution_backward_weights_desc_init                                    \
    md_dnnl_table.call_dnnl_dilated_convolution_backward_weights_desc_init
#define dnnl_dilated_convolution_forward_desc_init                                             \
    md_dnnl_table.call_dnnl_dilated_convolution_forward_desc_init
#define dnnl_eltwise_forward_desc_init md_dnnl_table.call_dnnl_eltwise_forward_desc_init
#define dnnl_engine_create md_dnnl_table.call_dnnl_engine_create
#define dnnl_engine_destroy md_dnnl_table.call_dnnl_engine_destroy
#define dnnl_memory_create md_dnnl_table.call_dnnl_memory_create
#define dnnl_memory_desc_equal md_dnnl_table.call_dnnl_memory_desc_equal
#define dnnl_memory_desc_get_size md_dnnl_table.call_dnnl_memory_desc_get_size
#define dnnl_memory_desc_init_by_strides md_dnnl_table.call_dnnl_memory_desc_init_by_strides
#define dnnl_memory_desc_init_submemory md_dnnl_table.call_dnnl_memory_desc_init_submemory
#define dnnl_memory_desc_init_by_tag md_dnnl_table.call_dnnl_memory_desc_init_by_tag
#define dnnl_memory_destroy md_dnnl_table.call_dnnl_memory_destroy
#define dnnl_memory_set_data_handle md_dnnl_table.call_dnnl_memory_set_data_handle
#define dnnl_pooling_v2_forward_desc_init md_dnnl_table.call_dnnl_pooling_v2_forward_desc_init
#define dnnl_post_ops_append_eltwise md_dnnl_table.call_dnnl_post_ops_append_eltwise
#define dnnl_post_ops_append_sum md_dnnl_table.call_dnnl_post_ops_append_sum
#define dnnl_post_ops_create md_dnnl_table.call_dnnl_post_ops_create
#define dnnl_post_ops_destroy md_dnnl_table.call_dnnl_post_ops_destroy
#define dnnl_primitive_attr_create md_dnnl_table.call_dnnl_primitive_attr_create
#define dnnl_primitive_attr_destroy md_dnnl_table.call_dnnl_primitive_attr_destroy
#define dnnl_primitive_attr_set_post_ops md_dnnl_table.call_dnnl_primitive_attr_set_post_ops
#define dnnl_primitive_attr_set_scratchpad_mode                                                \
    md_dnnl_table.call_dnnl_primitive_attr_set_scratchpad_mode
#define dnnl_primitive_create md_dnnl_table.call_dnnl_primitive_create
#define dnnl_primitive_desc_clone md_dnnl_table.call_dnnl_primitive_desc_clone
#define dnnl_primitive_desc_create md_dnnl_table.call_dnnl_primitive_desc_create
#define dnnl_primitive_desc_destroy md_dnnl_table.call_dnnl_primitive_desc_destroy
#define dnnl_primitive_desc_query md_dnnl_table.call_dnnl_primitive_desc_query
#define dnnl_primitive_desc_query_md md_dnnl_table.call_dnnl_primitive_desc_query_md
#define dnnl_primitive_destroy md_dnnl_table.call_dnnl_primitive_destroy
#define dnnl_primitive_execute md_dnnl_table.call_dnnl_primitive_execute
#define dnnl_reorder_primitive_desc_create md_dnnl_table.call_dnnl_reorder_primitive_desc_create
#define dnnl_get_effective_cpu_isa md_dnnl_table.call_dnnl_get_effective_cpu_isa
#define dnnl_primitive_attr_set_output_scales                                                  \
    md_dnnl_table.call_dnnl_primitive_attr_set_output_scales
#define dnnl_set_primitive_cache_capacity md_dnnl_table.call_dnnl_set_primitive_cache_capacity
#define dnnl_version md_dnnl_table.call_dnnl_version
#define dnnl_set_jit_profiling_flags md_dnnl_table.call_dnnl_set_jit_profiling_flags
#define dnnl_sgemm md_dnnl_table.call_dnnl_sgemm
#define dnnl_stream_create md_dnnl_table.call_dnnl_stream_create
#define dnnl_stream_destroy md_dnnl_table.call_dnnl_stream_destroy
#endif

#endif
