#include "inference/tabular/student.h"

#include <math.h>

/* log of Gamma(a + 1/2) / Gamma(a); the difference of two large logarithms would lose the
 * digits. The series is that of Tricomi & Erdelyi, Pacific J. Math. 1 (1951) 133. */
static double log_gamma_ratio(double a)
{
    if (a < 30.0) {
        return lgamma(a + 0.5) - lgamma(a);
    }
    double r = 1.0 / (a * a);
    return 0.5 * log(a) - (1.0 / 8.0 - r * (1.0 / 192.0 - r * (1.0 / 640.0))) / a;
}

/* I_x(a, b), y = 1 - x, for x < (a + 1) / (a + b + 2), by Lentz's method; `log_ratio` is the
 * log of Gamma(a + b) / Gamma(the one of a and b that is not 1/2). */
static double beta_fraction(double a, double b, double x, double y, double log_ratio)
{
    const double tiny = 1e-300;
    double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0);
    d = 1.0 / (fabs(d) < tiny ? tiny : d);
    double value = d;
    for (int m = 1; m < 10000; m++) {
        double even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        const double terms[2] = {even, odd};
        double factor = 1.0;
        for (int i = 0; i < 2; i++) {
            d = 1.0 + terms[i] * d;
            d = 1.0 / (fabs(d) < tiny ? tiny : d);
            c = 1.0 + terms[i] / c;
            c = fabs(c) < tiny ? tiny : c;
            factor = c * d;
            value *= factor;
        }
        if (fabs(factor - 1.0) < 1e-16) {
            break;
        }
    }
    /* Gamma(1/2) is sqrt(pi) */
    double log_front = log_ratio - 0.5 * log(acos(-1.0)) + a * log(x) + b * log(y) - log(a);
    return exp(log_front) * value;
}

/* P(T > t) for t >= 0: half of I_x(df/2, 1/2), x = df / (df + t^2). */
static double above(double t, double df)
{
    double x = df / (df + t * t), y = t * t / (df + t * t); /* 1 - x without cancellation */
    double a = 0.5 * df, b = 0.5, log_ratio = log_gamma_ratio(a);
    if (!(y > 0.0)) {
        return 0.5;
    }
    if (!(x > 0.0)) {
        return 0.0;
    }
    return x < (a + 1.0) / (a + b + 2.0) ? 0.5 * beta_fraction(a, b, x, y, log_ratio)
                                         : 0.5 * (1.0 - beta_fraction(b, a, y, x, log_ratio));
}

double md_student_below(double t, double df)
{
    return t < 0.0 ? above(-t, df) : 1.0 - above(t, df);
}

double md_student_quantile(double p, double df)
{
    if (!(p > 0.0)) {
        return -INFINITY;
    }
    if (!(p < 1.0)) {
        return INFINITY;
    }
    double tail = p < 0.5 ? p : 1.0 - p, low = 0.0, high = 1.0;
    while (above(high, df) > tail && high < 1e300) {
        low = high;
        high *= 2.0;
    }
    for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
        double middle = 0.5 * (low + high);
        *(above(middle, df) > tail ? &low : &high) = middle;
    }
    double t = 0.5 * (low + high);
    return p < 0.5 ? -t : t;
}
