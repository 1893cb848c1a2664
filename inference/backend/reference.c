#include "inference/backend/kernels.h"

static const md_kernel_fn table[MD_OP_COUNT] = {
    [MD_OP_COPY] = md_kernel_copy,
    [MD_OP_CONV] = md_kernel_conv,
    [MD_OP_CONV_TRANSPOSE] = md_kernel_conv_transpose,
    [MD_OP_POOL] = md_kernel_pool,
    [MD_OP_BATCH_NORM] = md_kernel_batch_norm,
    [MD_OP_UNARY] = md_kernel_unary,
    [MD_OP_BINARY] = md_kernel_binary,
    [MD_OP_WHERE] = md_kernel_where,
    [MD_OP_GEMM] = md_kernel_gemm,
    [MD_OP_MATMUL] = md_kernel_matmul,
    [MD_OP_CONCAT] = md_kernel_concat,
    [MD_OP_TRANSPOSE] = md_kernel_transpose,
    [MD_OP_SOFTMAX] = md_kernel_softmax,
    [MD_OP_PAD] = md_kernel_pad,
    [MD_OP_RESIZE] = md_kernel_resize,
    [MD_OP_SLICE] = md_kernel_slice,
    [MD_OP_REDUCE] = md_kernel_reduce,
    [MD_OP_GATHER] = md_kernel_gather,
    [MD_OP_CAST] = md_kernel_cast,
    [MD_OP_EXPAND] = md_kernel_expand,
    [MD_OP_TILE] = md_kernel_tile,
    [MD_OP_ARG_MAX] = md_kernel_arg_max,
    [MD_OP_LRN] = md_kernel_lrn,
    [MD_OP_INSTANCE_NORM] = md_kernel_instance_norm,
    [MD_OP_LAYER_NORM] = md_kernel_layer_norm,
    [MD_OP_CLASSIFY] = md_kernel_classify,
    [MD_OP_CUM_SUM] = md_kernel_cum_sum,
    [MD_OP_TOP_K] = md_kernel_top_k,
    [MD_OP_TRILU] = md_kernel_trilu,
    [MD_OP_DIAGONAL] = md_kernel_diagonal,
    [MD_OP_GATHER_ELEMENTS] = md_kernel_gather_elements,
    [MD_OP_GATHER_ND] = md_kernel_gather_nd,
    [MD_OP_SCATTER_ELEMENTS] = md_kernel_scatter_elements,
    [MD_OP_SCATTER_ND] = md_kernel_scatter_nd,
    [MD_OP_ONE_HOT] = md_kernel_one_hot,
    [MD_OP_REVERSE_SEQUENCE] = md_kernel_reverse_sequence,
    [MD_OP_COMPRESS] = md_kernel_compress,
    [MD_OP_NON_ZERO] = md_kernel_non_zero,
    [MD_OP_UNIQUE] = md_kernel_unique,
    [MD_OP_NMS] = md_kernel_nms,
    [MD_OP_DET] = md_kernel_det,
    [MD_OP_GRID_SAMPLE] = md_kernel_grid_sample,
    [MD_OP_ROI_ALIGN] = md_kernel_roi_align,
    [MD_OP_MAX_UNPOOL] = md_kernel_max_unpool,
    [MD_OP_QUANTIZE] = md_kernel_quantize,
    [MD_OP_DEQUANTIZE] = md_kernel_dequantize,
    [MD_OP_DYNAMIC_QUANTIZE] = md_kernel_dynamic_quantize,
    [MD_OP_CONV_INTEGER] = md_kernel_conv_integer,
    [MD_OP_MATMUL_INTEGER] = md_kernel_matmul_integer,
    [MD_OP_REQUANTIZE] = md_kernel_requantize,
    [MD_OP_RNN] = md_kernel_rnn,
    [MD_OP_NLL_LOSS] = md_kernel_nll_loss,
};

md_kernel_fn md_kernel_for(md_op op)
{
    return table[op];
}

bool md_kernel_needs_sgemm(md_op op)
{
    return op == MD_OP_CONV || op == MD_OP_CONV_TRANSPOSE || op == MD_OP_GEMM ||
           op == MD_OP_MATMUL || op == MD_OP_RNN;
}
