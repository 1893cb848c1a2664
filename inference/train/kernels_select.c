#include "inference/train/kernels_tables.h"

#ifdef MD_TRAIN_X86
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

const md_train_kernels *md_train_kernels_for(bool bf16)
{
#ifdef MD_TRAIN_X86
    if (has_avx512()) {
        return bf16 ? &md_train_bf16_table_avx512 : &md_train_f32_table_avx512;
    }
    if (__builtin_cpu_supports("avx2")) {
        return bf16 ? &md_train_bf16_table_avx2 : &md_train_f32_table_avx2;
    }
#endif
    return bf16 ? &md_train_bf16_table_plain : &md_train_f32_table_plain;
}

const md_text_kernels *md_text_kernels_get(void)
{
#ifdef MD_TRAIN_X86
    if (has_avx512()) {
        return &md_text_table_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return &md_text_table_avx2;
    }
#endif
    return &md_text_table_plain;
}
