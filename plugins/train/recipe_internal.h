#ifndef MEDAID_PLUGINS_TRAIN_RECIPE_INTERNAL_H
#define MEDAID_PLUGINS_TRAIN_RECIPE_INTERNAL_H

/* What the files of the recipe share. */

#include "plugins/train/recipe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* recipe.yaml, offsets from the start of an md_recipe. */
extern const md_schema_field md_recipe_fields[];
/* Words for an md_layer_function. */
extern const md_schema_choice md_recipe_functions[];
/* An entry of network.layers. */
extern const md_schema_field md_recipe_layer_item;
enum {
    MD_RECIPE_MAX_LAYERS = 4096
};

/* The ranges of `augment`, as the table says them, for checks: key and member. */
typedef struct md_recipe_range {
    const char *key; /* NULL ends */
    size_t offset;   /* of the md_augment_range in an md_augment_options */
    bool is_log;     /* its ends are above 0 */
} md_recipe_range;
extern const md_recipe_range md_recipe_ranges[];

/* The defaults of an augmentation count only where the recipe names it. */
void md_recipe_drop_absent(md_recipe *recipe) MD_NOEXCEPT;

/* network.yaml_layers to network.layers. MD_FORMAT with the line of the layer, MD_NOMEM. */
md_status md_recipe_make_layers(md_recipe_network *network, const char *name, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_recipe_free_layers(md_recipe_network *network) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
