#ifndef MEDAID_TESTS_UNIT_PLUGINS_TRAIN_FILMS_H
#define MEDAID_TESTS_UNIT_PLUGINS_TRAIN_FILMS_H

/* Folders of small films for tests. */

#include "plugins/train/dataset.h"

enum {
    FILM_SIDE = 32
};

typedef struct scene {
    char folder[64]; /* under /tmp; removed with all in it */
} scene;

void scene_make(scene *s);
void scene_remove(scene *s);
/* Write bytes to folder/name, making folders on the way. */
void scene_write(const scene *s, const char *name, const void *bytes, size_t size_bytes);
/* A grey PNG whose picture depends on `seed` alone. */
void scene_png(const scene *s, const char *name, unsigned seed);
/* The same as JPEG; cut: only the first half of the bytes. */
void scene_jpeg(const scene *s, const char *name, unsigned seed, bool cut);
/* A recipe in the scene: the usual sections and `more` behind the lines of `data` (two blanks
 * in front of each line), then `sections`. Fails the test when it is not accepted. */
md_recipe *scene_recipe(const scene *s, const char *classes, const char *more,
                        const char *sections);

#endif
