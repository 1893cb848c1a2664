#include "inference/statistics/proportion.h"

#include <math.h>

md_proportion md_proportion_of(uint64_t n_hits, uint64_t n)
{
    static const double z = 1.959963984540054; /* the 97.5% quantile of the normal */
    md_proportion p = {.n_hits = n_hits, .n = n};
    if (n == 0) {
        return p;
    }
    const double size = (double)n, share = (double)n_hits / size, zz = z * z;
    const double middle = (share + zz / (2 * size)) / (1 + zz / size);
    const double half =
        z / (1 + zz / size) * sqrt(share * (1 - share) / size + zz / (4 * size * size));
    p.value = share;
    p.low = n_hits == 0 ? 0 : middle - half;
    p.high = n_hits == n ? 1 : middle + half;
    return p;
}

double md_normal_below(double z)
{
    return 0.5 * erfc(-z / sqrt(2.0));
}

/* Newton's method on the smaller tail, kept inside a bracket that bisection halves. */
double md_normal_quantile(double p)
{
    if (!(p > 0)) {
        return -INFINITY;
    }
    if (p >= 1) {
        return INFINITY;
    }
    if (p > 0.5) {
        return -md_normal_quantile(1 - p);
    }
    double low = -40, high = 0, z = -1;
    for (int i = 0; i < 200; i++) {
        const double miss = md_normal_below(z) - p;
        if (miss == 0) {
            break;
        }
        *(miss < 0 ? &low : &high) = z;
        const double density = exp(-z * z / 2) / sqrt(2 * M_PI);
        double next = density > 0 ? z - miss / density : low;
        if (!(next > low && next < high)) {
            next = (low + high) / 2;
        }
        if (fabs(next - z) <= 1e-16 * fabs(next)) {
            break;
        }
        z = next;
    }
    return z;
}
