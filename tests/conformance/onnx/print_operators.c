/* The table of operators in docs/onnx.md, from the importer's own. */

#include "inference/graph/node_import.h"

#include <stdio.h>
#include <string.h>

/* Sets of types that many operators share, as docs/onnx.md explains them. */
static const char *set_name(unsigned types)
{
    const unsigned real = 1U << MD_F32 | 1U << MD_F64, half = 1U << MD_F16 | 1U << MD_BF16;
    const unsigned any = (1U << MD_DTYPE_COUNT) - 1U, boolean = 1U << MD_BOOL;
    const unsigned number = any & ~half & ~boolean;
    const struct {
        unsigned types;
        const char *name;
    } sets[] = {{1U << MD_F32, "float"},
                {real, "real"},
                {real | half, "real"},
                {number, "number"},
                {number | boolean, "number bool"},
                {any, "any"}};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (sets[i].types == types) {
            return sets[i].name;
        }
    }
    return NULL;
}

int main(void)
{
    printf("| operator | opsets | first input |\n|---|---|---|\n");
    for (size_t i = 0; md_op_row(i) != NULL; i++) {
        const md_op_entry *row = md_op_row(i);
        char list[256], opsets[32];
        md_types_text(row->types, list, sizeof list);
        (void)snprintf(opsets, sizeof opsets, "%d-%d", row->since,
                       row->until == 0 ? MD_GRAPH_OPSET_MAX : row->until);
        printf("| %s | %s | %s |\n", row->op_type, opsets,
               row->min_inputs == 0           ? "none"
               : set_name(row->types) != NULL ? set_name(row->types)
                                              : list);
    }
    return 0;
}
