#ifndef MEDAID_INFERENCE_TRAIN_KERNELS_TABLES_H
#define MEDAID_INFERENCE_TRAIN_KERNELS_TABLES_H

/* The variants of the kernels. Private to kernels*.c. */

#include "inference/train/kernels.h"
#include "inference/train/kernels_text.h"

extern const md_train_kernels md_train_f32_table_plain, md_train_bf16_table_plain;
extern const md_text_kernels md_text_table_plain;
#ifdef MD_TRAIN_X86
extern const md_train_kernels md_train_f32_table_avx2, md_train_bf16_table_avx2;
extern const md_train_kernels md_train_f32_table_avx512, md_train_bf16_table_avx512;
extern const md_text_kernels md_text_table_avx2, md_text_table_avx512;
#endif

#endif
