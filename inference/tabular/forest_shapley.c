#include "inference/tabular/forest.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

enum {
    /* A path of MD_FOREST_MAX_DEPTH splits makes a polynomial of degree 29 at most, which 15
     * points integrate exactly. */
    N_POINTS_MAX = 15
};

typedef struct points {
    double t[N_POINTS_MAX], weight[N_POINTS_MAX];
    double inverse[N_POINTS_MAX]; /* 1 / (1 - t) */
} points;

static points rules[N_POINTS_MAX + 1]; /* [n]: of n points over 0..1 */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Roots of the Legendre polynomial by Newton's method (DLMF 3.5(v)). */
static void make_rules(void)
{
    for (int n = 1; n <= N_POINTS_MAX; n++) {
        for (int i = 0; i < n; i++) {
            double x = cos(M_PI * (i + 0.75) / (n + 0.5)), slope = 1.0;
            for (int step = 0; step < 100; step++) {
                double before = 1.0, value = x;
                for (int k = 2; k <= n; k++) {
                    double next = ((2 * k - 1) * x * value - (k - 1) * before) / k;
                    before = value;
                    value = next;
                }
                slope = n * (x * value - before) / (x * x - 1.0);
                double change = value / slope;
                x -= change;
                if (fabs(change) < 1e-16) {
                    break;
                }
            }
            rules[n].t[i] = 0.5 * (1.0 + x);
            rules[n].inverse[i] = 2.0 / (1.0 - x);
            rules[n].weight[i] = 1.0 / ((1.0 - x * x) * slope * slope);
        }
    }
}

/* A column that is asked on the way from the root: whether the row goes all of that way, and
 * the share of the training rows that would have. */
typedef struct asked {
    int32_t column;
    double goes, share;
} asked;

typedef struct walk {
    const md_forest *forest;
    const float *x;
    double *parts;
    const points *rule;
    unsigned n_points;
    asked path[MD_FOREST_MAX_DEPTH + 1];
} walk;

static bool goes_left(const md_forest_node *node, const float *x)
{
    float value = x[node->column];
    return isnan(value) ? node->missing_left : value < node->threshold;
}

/* The chance of going on, when a column is known with chance t. */
static double chance(const asked *a, double t)
{
    return t * a->goes + (1.0 - t) * a->share;
}

/* 1 / chance at each point. */
static void invert(const walk *w, const asked *a, double *ret_inverse)
{
    if (a->goes > 0.0) {
        for (unsigned q = 0; q < w->n_points; q++) {
            ret_inverse[q] = 1.0 / chance(a, w->rule->t[q]);
        }
        return;
    }
    const double inverse = 1.0 / a->share; /* half of all edges: without a division each */
    for (unsigned q = 0; q < w->n_points; q++) {
        ret_inverse[q] = inverse * w->rule->inverse[q];
    }
}

static void visit(walk *w, uint32_t at, unsigned depth, const double *reach, double *ret_sums);

/* One child of a split: its sums are added to ret_sums. `inverse`: 1 / chance of `before`. */
static void visit_child(walk *w, uint32_t child, unsigned depth, const asked *before,
                        const double *inverse, const asked *now, const double *reach,
                        double *ret_sums)
{
    double further[N_POINTS_MAX], sums[N_POINTS_MAX], again[N_POINTS_MAX], part = 0.0;
    const double gain = now->goes - now->share, gain_before = before->goes - before->share;
    const md_forest_node *node = &w->forest->nodes[child];
    for (unsigned q = 0; q < w->n_points; q++) {
        further[q] = reach[q] * inverse[q] * chance(now, w->rule->t[q]);
    }
    w->path[depth] = *now;
    if (node->column < 0) {
        for (unsigned q = 0; q < w->n_points; q++) {
            sums[q] = further[q] * node->value;
        }
    } else {
        visit(w, child, depth + 1, further, sums);
    }
    invert(w, now, again);
    for (unsigned q = 0; q < w->n_points; q++) {
        part += w->rule->weight[q] * sums[q] * (gain * again[q] - gain_before * inverse[q]);
        ret_sums[q] += sums[q];
    }
    w->parts[now->column] += part;
}

/* sums[q]: over the leaves below, value times the chance of getting there, at each point; the
 * chance down to `at` comes in `reach`. What a column adds at a leaf is the chance there
 * without its factor, times (goes - share). An edge that asks a column again takes back what
 * the edge above would give it for these leaves. */
static void visit(walk *w, uint32_t at, unsigned depth, const double *reach, double *ret_sums)
{
    const md_forest_node *node = &w->forest->nodes[at];
    asked before = {node->column, 1.0, 1.0};
    double inverse[N_POINTS_MAX];
    unsigned i = depth;
    while (i > 0 && w->path[i - 1].column != node->column) {
        i--;
    }
    if (i > 0) {
        before = w->path[i - 1];
        invert(w, &before, inverse);
    } else {
        for (unsigned q = 0; q < w->n_points; q++) {
            inverse[q] = 1.0;
        }
    }
    memset(ret_sums, 0, w->n_points * sizeof *ret_sums);
    const bool left = goes_left(node, w->x);
    for (int side = 0; side < 2; side++) {
        const uint32_t child = side == 0 ? node->left : node->right;
        const double share =
            (double)w->forest->nodes[child].cover / fmax((double)node->cover, 1e-30);
        const asked now = {node->column, (side == 0) == left ? before.goes : 0.0,
                           before.share * share};
        if (now.goes > 0.0 || now.share > 0.0) { /* else nobody comes here */
            visit_child(w, child, depth, &before, inverse, &now, reach, ret_sums);
        }
    }
}

static unsigned depth_of(const md_forest *forest, uint32_t at)
{
    const md_forest_node *node = &forest->nodes[at];
    if (node->column < 0) {
        return 0;
    }
    unsigned left = depth_of(forest, node->left), right = depth_of(forest, node->right);
    return 1 + (left > right ? left : right);
}

void md_forest_shapley(const md_forest *forest, const float *x, double *ret_parts)
{
    (void)pthread_once(&once, make_rules);
    memset(ret_parts, 0, forest->n_columns * sizeof *ret_parts);
    walk w = {.forest = forest, .x = x, .parts = ret_parts};
    for (unsigned i = 0; i < forest->n_trees; i++) {
        unsigned depth = depth_of(forest, forest->roots[i]);
        double reach[N_POINTS_MAX], sums[N_POINTS_MAX];
        /* degree depth - 1 needs half as many points */
        w.n_points = depth < 2 ? 1 : (depth + 1) / 2;
        w.n_points = w.n_points > N_POINTS_MAX ? N_POINTS_MAX : w.n_points;
        w.rule = &rules[w.n_points];
        for (unsigned q = 0; q < w.n_points; q++) {
            reach[q] = 1.0;
        }
        if (depth > 0) { /* a lone leaf is the same for every row */
            visit(&w, forest->roots[i], 0, reach, sums);
        }
    }
    for (unsigned j = 0; j < forest->n_columns; j++) {
        ret_parts[j] /= forest->n_trees > 0 ? forest->n_trees : 1;
    }
}
