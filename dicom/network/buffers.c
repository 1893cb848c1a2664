#include "dicom/network/buffers.h"

#include <assert.h>
#include <string.h>

void md_buffers_init(md_buffers *buffers)
{
    memset(buffers, 0, sizeof *buffers);
    pthread_mutex_init(&buffers->mutex, NULL);
}

void md_buffers_finish(md_buffers *buffers)
{
    assert(buffers->n_idle == buffers->n_blocks);
    for (unsigned i = 0; i < buffers->n_blocks; i++) {
        md_free(buffers->blocks[i]);
    }
    pthread_mutex_destroy(&buffers->mutex);
}

/* The mutex is held. */
static uint8_t *make(md_buffers *buffers)
{
    uint8_t *block =
        md_malloc(MD_BUFFER_BYTES + MD_BUFFER_SPARE_BYTES + MD_BUFFER_ALIGNMENT_BYTES);
    if (block == NULL) {
        return NULL;
    }
    buffers->blocks[buffers->n_blocks++] = block;
    return block + (MD_BUFFER_ALIGNMENT_BYTES - (uintptr_t)block % MD_BUFFER_ALIGNMENT_BYTES);
}

uint8_t *md_buffers_take(md_buffers *buffers)
{
    uint8_t *taken = NULL;
    pthread_mutex_lock(&buffers->mutex);
    if (buffers->n_idle > 0) {
        taken = buffers->idle[--buffers->n_idle]; /* the last one used: its pages are warm */
    } else if (buffers->n_blocks < MD_BUFFERS_MAX) {
        taken = make(buffers);
    }
    pthread_mutex_unlock(&buffers->mutex);
    return taken;
}

void md_buffers_give(md_buffers *buffers, uint8_t *buffer)
{
    if (buffer != NULL) {
        pthread_mutex_lock(&buffers->mutex);
        buffers->idle[buffers->n_idle++] = buffer;
        pthread_mutex_unlock(&buffers->mutex);
    }
}
