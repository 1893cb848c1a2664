#include "daemon/queue.h"

void md_queue_destroy(md_queue *queue)
{
    if (queue != NULL) {
        queue->functions->destroy(queue);
    }
}

md_status md_queue_push(md_queue *queue, const md_complete_study *study, md_error *err)
{
    return queue->functions->push(queue, study, err);
}

md_status md_queue_take(md_queue *queue, md_job *ret_job, md_error *err)
{
    return queue->functions->take(queue, ret_job, err);
}

md_status md_queue_finish(md_queue *queue, const md_job *job, md_study_state state,
                          md_error *err)
{
    return queue->functions->finish(queue, job, state, err);
}

md_status md_queue_retry(md_queue *queue, const md_job *job, md_error *err)
{
    return queue->functions->retry(queue, job, err);
}

void md_queue_close(md_queue *queue)
{
    queue->functions->close(queue);
}

size_t md_queue_count(md_queue *queue, md_study_state state)
{
    return queue->functions->count(queue, state);
}
