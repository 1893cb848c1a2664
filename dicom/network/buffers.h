#ifndef MEDAID_DICOM_NETWORK_BUFFERS_H
#define MEDAID_DICOM_NETWORK_BUFFERS_H

/* A bounded stock of large buffers for objects on their way to the disk, shared by the
 * associations, so that idle ones hold none and the memory of all has a limit. Any thread. */

#include "base/memory.h"

#include <pthread.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_BUFFER_BYTES = 1024 * 1024,
    MD_BUFFER_SPARE_BYTES = 16 * 1024, /* behind it, for the caller's use */
    MD_BUFFER_ALIGNMENT_BYTES = 4096,  /* what direct writes want of addresses and lengths */
    MD_BUFFERS_MAX = 24
};

typedef struct md_buffers {
    pthread_mutex_t mutex;
    uint8_t *idle[MD_BUFFERS_MAX];
    void *blocks[MD_BUFFERS_MAX]; /* owned, what idle ones and those in use point into */
    unsigned n_idle, n_blocks;
} md_buffers;

/* Holds no memory until the first is taken. */
void md_buffers_init(md_buffers *buffers) MD_NOEXCEPT;
/* All have been given back. */
void md_buffers_finish(md_buffers *buffers) MD_NOEXCEPT;
/* MD_BUFFER_BYTES and the spare ones at an aligned address; NULL when all are in use, or no
 * memory: do without. */
uint8_t *md_buffers_take(md_buffers *buffers) MD_NOEXCEPT;
/* NULL is fine. */
void md_buffers_give(md_buffers *buffers, uint8_t *buffer) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
