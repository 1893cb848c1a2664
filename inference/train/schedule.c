#include "inference/train/schedule.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* From `from` at share 0 to `to` at share 1, along half a cosine. */
static double anneal(double from, double to, double share)
{
    return to + (from - to) * 0.5 * (1.0 + cos(pi * share));
}

static double one_cycle(const md_schedule *s, uint64_t step)
{
    const double n = (double)s->n_steps;
    /* torch counts steps from 0, so the peak is at rise_end - 1 */
    const double rise_end = (s->warmup_steps > 0 ? (double)s->warmup_steps : 0.3 * n) - 1.0;
    const double last = n - 1.0, at = (double)step;
    const double low = s->rate / 25.0, end = low / 1e4;
    if (at <= rise_end) {
        return rise_end > 0.0 ? anneal(low, s->rate, at / rise_end) : s->rate;
    }
    return last > rise_end ? anneal(s->rate, end, (at - rise_end) / (last - rise_end)) : end;
}

double md_schedule_rate(const md_schedule *schedule, uint64_t step)
{
    const md_schedule *s = schedule;
    const uint64_t at = step < s->n_steps ? step : s->n_steps - 1;
    if (s->kind == MD_SCHEDULE_ONE_CYCLE) {
        return one_cycle(s, at);
    }
    if (at < s->warmup_steps) {
        return s->rate * (double)(at + 1) / (double)(s->warmup_steps + 1);
    }
    const uint64_t t = at - s->warmup_steps, n = s->n_steps - s->warmup_steps;
    if (s->kind == MD_SCHEDULE_STEP) {
        return s->rate * pow(s->step_factor, (double)(t / s->step_steps));
    }
    if (s->kind == MD_SCHEDULE_COSINE) {
        return anneal(s->rate, s->rate * s->last_factor, (double)t / (double)n);
    }
    return s->rate;
}
