#include "tests/support/phantom_image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The body is laid out in "film units": x = 0 is the midline, the film is about 1.22 units wide
 * and 1 unit high, y grows towards the feet. The patient's right side has negative x. The
 * anatomy is drawn on a grid of at most GRID_SIDE points, enough for edges as soft as a real
 * film's, then enlarged; the grain is added at full size. */
enum {
    GRID_SIDE = 1400,
    N_RIBS = 11
};
static const double FILM_WIDTH = 1.22, ZOOM = 1.18, CENTRE_Y = 0.50;
static const double PI = 3.14159265358979323846;

typedef struct grid {
    uint32_t width, height;
    double scale, x0, y0; /* points = origin + units * scale */
    float *density;       /* what is drawn */
    float *lung;          /* how much air lies in the way, 0..1 */
    float *layer;         /* one organ at a time */
    uint64_t random;
} grid;

typedef struct point {
    double x, y, radius;
} point;

uint64_t phantom_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static double uniform(uint64_t *state, double low, double high)
{
    return low + (high - low) * (double)(phantom_random(state) >> 11) * 0x1p-53;
}

static double clamp01(double value)
{
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

static double smooth(double from, double to, double value)
{
    double t = clamp01((value - from) / (to - from));
    return t * t * (3 - 2 * t);
}

/* Half the length of the chord through a unit circle at distance q from its centre. */
static double chord(double q)
{
    return q * q < 1 ? sqrt(1 - q * q) : 0;
}

static double bump(double value, double centre, double width)
{
    double q = (value - centre) / width;
    return exp(-q * q);
}

/* Smooth noise in -1..1: random numbers on a lattice, joined smoothly. */
static double lattice_noise(double x, double y, uint64_t seed)
{
    double fx = floor(x), fy = floor(y), corner[4];
    for (int i = 0; i < 4; i++) {
        uint64_t state = seed ^ ((uint64_t)((int64_t)fx + (i & 1)) * 0x8da6b343U) ^
                         ((uint64_t)((int64_t)fy + (i >> 1)) * 0xd8163841U);
        corner[i] = uniform(&state, -1, 1);
    }
    double u = smooth(0, 1, x - fx), v = smooth(0, 1, y - fy);
    double above = corner[0] + (corner[1] - corner[0]) * u;
    double below = corner[2] + (corner[3] - corner[2]) * u;
    return above + (below - above) * v;
}

static double cloud_noise(double x, double y, uint64_t seed)
{
    double sum = 0, gain = 0.5;
    for (uint64_t octave = 0; octave < 4; octave++) {
        sum += gain * lattice_noise(x, y, seed + octave);
        x *= 2.1;
        y *= 2.1;
        gain *= 0.55;
    }
    return sum;
}

typedef enum profile {
    PROFILE_SOLID, /* a rod: chord of a circle */
    PROFILE_BONE,  /* a tube: dense wall, looser inside */
    PROFILE_SOFT,  /* fades out */
} profile;

static double profile_value(profile kind, double q)
{
    switch (kind) {
    case PROFILE_SOLID:
        return chord(q);
    case PROFILE_BONE:
        return 1.25 * chord(q) - 0.62 * chord(q / 0.74) * 0.74;
    case PROFILE_SOFT:
        return (1 - q * q) * (1 - q * q);
    default:
        return 0;
    }
}

/* Draw a piece of a tube into the layer, the larger value winning, so that joints do not
 * glow. */
static void stamp_piece(grid *g, point a, point b, double gain, profile kind)
{
    double reach = fmax(a.radius, b.radius);
    double left = g->x0 + (fmin(a.x, b.x) - reach) * g->scale;
    double right = g->x0 + (fmax(a.x, b.x) + reach) * g->scale;
    double top = g->y0 + (fmin(a.y, b.y) - reach) * g->scale;
    double bottom = g->y0 + (fmax(a.y, b.y) + reach) * g->scale;
    if (right < 0 || bottom < 0 || left >= g->width || top >= g->height) {
        return;
    }
    uint32_t first_x = (uint32_t)fmax(0, left), last_x = (uint32_t)fmin(g->width - 1, right);
    uint32_t first_y = (uint32_t)fmax(0, top), last_y = (uint32_t)fmin(g->height - 1, bottom);
    double dx = b.x - a.x, dy = b.y - a.y, length2 = dx * dx + dy * dy;
    for (uint32_t row = first_y; row <= last_y; row++) {
        double y = (row - g->y0) / g->scale;
        for (uint32_t column = first_x; column <= last_x; column++) {
            double x = (column - g->x0) / g->scale;
            double t = length2 > 0 ? clamp01(((x - a.x) * dx + (y - a.y) * dy) / length2) : 0;
            double radius = a.radius + (b.radius - a.radius) * t;
            double q = hypot(x - a.x - dx * t, y - a.y - dy * t) / radius;
            if (q < 1) {
                float *cell = &g->layer[(size_t)row * g->width + column];
                *cell = fmaxf(*cell, (float)(gain * profile_value(kind, q)));
            }
        }
    }
}

static void stamp_line(grid *g, const point *points, size_t n, double gain, profile kind)
{
    for (size_t i = 0; i + 1 < n; i++) {
        stamp_piece(g, points[i], points[i + 1], gain, kind);
    }
}

/* Add the layer to the film and clear it. With `in_lung`, only where there is air behind. */
static void merge_layer(grid *g, double gain, int in_lung)
{
    size_t n = (size_t)g->width * g->height;
    for (size_t i = 0; i < n; i++) {
        float weight = in_lung ? g->lung[i] : 1.0F;
        g->density[i] += (float)gain * weight * g->layer[i];
    }
    memset(g->layer, 0, n * sizeof *g->layer);
}

/* Piecewise smooth table look-up: pairs of y and value. */
static double table(const double (*pairs)[2], size_t n, double y)
{
    if (y <= pairs[0][0]) {
        return pairs[0][1];
    }
    for (size_t i = 1; i < n; i++) {
        if (y < pairs[i][0]) {
            double t = smooth(pairs[i - 1][0], pairs[i][0], y);
            return pairs[i - 1][1] + (pairs[i][1] - pairs[i - 1][1]) * t;
        }
    }
    return pairs[n - 1][1];
}

static double thorax_half_width(double y)
{
    double s = clamp01((y - 0.175) / 0.62);
    return 0.335 * pow(1 - pow(1 - s, 2.3), 0.52);
}

/* Soft tissue in the way of the beam at a point of the film. */
static double body_thickness(double x, double y)
{
    static const double half_width[][2] = {{0.0, 0.125},  {0.06, 0.13}, {0.13, 0.26},
                                           {0.21, 0.40},  {0.32, 0.43}, {0.46, 0.405},
                                           {0.62, 0.385}, {1.1, 0.375}};
    static const double depth[][2] = {{0.0, 0.62}, {0.2, 0.72}, {0.45, 0.95}, {1.1, 1.05}};
    double w = table(half_width, sizeof half_width / sizeof *half_width, y);
    double torso = table(depth, sizeof depth / sizeof *depth, y) * pow(chord(x / w), 0.8);
    /* Arms are held up and away, as infants' are. */
    double ax = 0.34, ay = 0.24, dx = 0.38, dy = -0.26;
    double t = clamp01(((fabs(x) - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy));
    double arm = 0.55 * chord(hypot(fabs(x) - ax - dx * t, y - ay - dy * t) / 0.095);
    double jaw = 0.75 * chord(hypot(x / 0.17, (y + 0.045) / 0.10));
    return cbrt(torso * torso * torso + arm * arm * arm) + jaw;
}

/* Air in the way of the beam: the lungs between chest wall, mediastinum, heart and
 * diaphragm. */
static double lung_thickness(double x, double y)
{
    double wall = thorax_half_width(y);
    if (wall <= 0 || fabs(x) >= wall) {
        return 0;
    }
    double border, dome;
    if (x < 0) {
        border = 0.060 + 0.040 * bump(y, 0.62, 0.14);
        double q = (x + 0.155) / 0.19;
        dome = 0.735 + 0.075 * q * q;
    } else {
        double heart = 0.135 * smooth(0.33, 0.69, y) - 0.02 * smooth(0.70, 0.80, y);
        border = 0.058 + 0.022 * bump(y, 0.325, 0.032) + 0.012 * bump(y, 0.41, 0.04) + heart;
        double q = (x - 0.20) / 0.19;
        dome = 0.765 + 0.075 * q * q;
    }
    double depth = pow(chord(x / wall), 0.75);
    depth *= smooth(border - 0.005, border + 0.012, fabs(x));
    double above = 1 - smooth(dome - 0.007, dome + 0.007, y);
    double recess = 0.10 * (1 - smooth(dome, dome + 0.12, y)); /* lung behind the dome */
    return depth * fmax(above, recess);
}

static void draw_soft_tissue(grid *g, uint64_t seed)
{
    for (uint32_t row = 0; row < g->height; row++) {
        double y = (row - g->y0) / g->scale;
        for (uint32_t column = 0; column < g->width; column++) {
            double x = (column - g->x0) / g->scale;
            size_t i = (size_t)row * g->width + column;
            double body = body_thickness(x, y), air = body > 0 ? lung_thickness(x, y) : 0;
            double haze = cloud_noise(x * 7, y * 7, seed) * 0.05;
            double mottle = cloud_noise(x * 45, y * 45, seed + 9) * 0.055;
            double heart = 0.08 * exp(-pow((x - 0.05 - 0.25 * (y - 0.6)) / 0.12, 4) -
                                      pow((y - 0.61) / 0.17, 4));
            double q = hypot((x - 0.16) / 0.085, (y - 0.885) / 0.04);
            double gas = 0.16 * chord(q) * (1 + cloud_noise(x * 20, y * 20, seed + 5));
            g->lung[i] = (float)air;
            g->density[i] = (float)(body * (1 + haze) + (body > 0 ? heart - gas : 0) -
                                    air * (0.66 + mottle));
        }
    }
}

static void draw_spine(grid *g)
{
    double y = -0.02, step = 0.040;
    while (y < 1.1) {
        double half = 0.030 + 0.014 * clamp01(y);
        point body[2] = {{0, y + step * 0.14, half}, {0, y + step * 0.86, half}};
        for (int i = 0; i < 2; i++) { /* the body is a box, drawn as two rows of dots */
            for (double x = -0.5; x <= 0.5; x += 0.25) {
                point a = {x * half * 1.2, body[0].y, half * 0.42}, b = a;
                b.y = body[1].y;
                stamp_piece(g, a, b, 0.13, PROFILE_SOLID);
            }
            double side = i == 0 ? -1 : 1;
            point pedicle[9];
            for (int k = 0; k < 9; k++) {
                double angle = 2 * PI * k / 8;
                pedicle[k] = (point){side * half * 0.68 + 0.007 * cos(angle),
                                     y + step * 0.45 + 0.009 * sin(angle), 0.0035};
            }
            stamp_line(g, pedicle, 9, 0.20, PROFILE_SOFT);
            point transverse[2] = {{side * half, y + step * 0.45, 0.009},
                                   {side * half * 1.75, y + step * 0.36, 0.007}};
            stamp_line(g, transverse, 2, 0.08, PROFILE_SOLID);
        }
        point spinous[2] = {{0, y + step * 0.62, 0.007}, {0, y + step * 0.95, 0.004}};
        stamp_line(g, spinous, 2, 0.21, PROFILE_SOFT);
        y += step;
        step += 0.0016;
    }
    merge_layer(g, 1.0, 0);
    point column[2] = {{0, -0.2, 0.06}, {0, 1.2, 0.075}};
    stamp_line(g, column, 2, 0.13, PROFILE_SOFT);
    merge_layer(g, 1.0, 0);
}

static void draw_ribs(grid *g)
{
    for (int i = 0; i < N_RIBS; i++) {
        for (int side = -1; side <= 1; side += 2) {
            enum {
                N = 48
            };
            point rib[N];
            double centre = 0.262 + 0.0575 * i + uniform(&g->random, -0.003, 0.003);
            double height = 0.058 + 0.0045 * i;
            double reach = thorax_half_width(fmin(centre + 0.01, 0.8)) + 0.010;
            double end = i < 7 ? 2.55 - 0.02 * i : 2.3 - 0.25 * (i - 7);
            for (int k = 0; k < N; k++) {
                double angle = 0.10 + (end - 0.10) * k / (N - 1);
                double lean = 0.035 * sin(angle); /* the side hangs lower than the spine */
                rib[k].x = side * reach * pow(sin(angle), 0.86);
                rib[k].y = centre - height * cos(angle) + lean;
                rib[k].radius = 0.0088 + 0.0030 * k / N;
            }
            stamp_line(g, rib, N, 1.0, PROFILE_BONE);
            merge_layer(g, i == 0 ? 0.16 : 0.185, 0);
        }
    }
}

static void draw_shoulders(grid *g)
{
    for (int side = -1; side <= 1; side += 2) {
        double lift = uniform(&g->random, -0.006, 0.006);
        point clavicle[] = {
            {side * 0.045, 0.235, 0.016},       {side * 0.09, 0.222, 0.0115},
            {side * 0.15, 0.205 + lift, 0.010}, {side * 0.21, 0.185 + lift, 0.0105},
            {side * 0.26, 0.160 + lift, 0.013}, {side * 0.30, 0.145 + lift, 0.011}};
        stamp_line(g, clavicle, 6, 1.0, PROFILE_BONE);
        merge_layer(g, 0.24, 0);
        point scapula[] = {{side * 0.325, 0.185, 0.010}, {side * 0.345, 0.26, 0.007},
                           {side * 0.350, 0.34, 0.006},  {side * 0.335, 0.43, 0.006},
                           {side * 0.318, 0.455, 0.006}, {side * 0.300, 0.42, 0.005},
                           {side * 0.268, 0.30, 0.005},  {side * 0.262, 0.22, 0.005}};
        stamp_line(g, scapula, 8, 1.0, PROFILE_SOLID);
        merge_layer(g, 0.10, 0);
        point humerus[] = {{side * 0.375, 0.185, 0.034},
                           {side * 0.41, 0.163, 0.026},
                           {side * 0.47, 0.125, 0.022},
                           {side * 0.75, -0.06, 0.021}};
        stamp_line(g, humerus, 4, 1.0, PROFILE_BONE);
        merge_layer(g, 0.42, 0);
    }
}

static void draw_airways(grid *g)
{
    point trachea[] = {{0.002, -0.1, 0.017}, {0.0, 0.2, 0.017}, {-0.004, 0.355, 0.016}};
    point right[] = {{-0.004, 0.35, 0.013}, {-0.045, 0.41, 0.010}, {-0.075, 0.455, 0.006}};
    point left[] = {{-0.004, 0.35, 0.012}, {0.06, 0.415, 0.009}, {0.09, 0.44, 0.006}};
    stamp_line(g, trachea, 3, 1.0, PROFILE_SOLID);
    stamp_line(g, right, 3, 0.7, PROFILE_SOLID);
    stamp_line(g, left, 3, 0.7, PROFILE_SOLID);
    merge_layer(g, -0.20, 0);
}

/* A vessel: a wavering line that thins and forks. */
static void draw_vessel(grid *g, point from, double angle, double length, unsigned depth)
{
    enum {
        N = 6
    };
    point line[N] = {from};
    for (int i = 1; i < N; i++) {
        angle += uniform(&g->random, -0.16, 0.16);
        line[i].x = line[i - 1].x + cos(angle) * length / (N - 1);
        line[i].y = line[i - 1].y + sin(angle) * length / (N - 1);
        line[i].radius = from.radius * (1 - 0.38 * i / (N - 1));
    }
    stamp_line(g, line, N, fmin(1.0, from.radius / 0.0065), PROFILE_SOLID);
    if (depth == 0) {
        return;
    }
    double spread = uniform(&g->random, 0.25, 0.55);
    draw_vessel(g, line[N - 1], angle - spread, length * 0.74, depth - 1);
    draw_vessel(g, line[N - 1], angle + spread * 0.8, length * 0.78, depth - 1);
}

static void draw_vessels(grid *g)
{
    for (int side = -1; side <= 1; side += 2) {
        double hilum_x = side * (side < 0 ? 0.085 : 0.100);
        for (int i = 0; i < 8; i++) {
            double angle = -1.25 + 2.5 * i / 7 + uniform(&g->random, -0.1, 0.1);
            point from = {hilum_x, 0.445 + 0.012 * (i - 3), uniform(&g->random, 0.006, 0.0085)};
            draw_vessel(g, from, side > 0 ? angle : PI - angle,
                        uniform(&g->random, 0.085, 0.11), 3);
        }
    }
    merge_layer(g, 0.15, 1);
    for (int side = -1; side <= 1; side += 2) {
        point hilum[] = {{side * 0.075, 0.40, 0.02}, {side * 0.095, 0.50, 0.03}};
        stamp_line(g, hilum, 2, 1.0, PROFILE_SOFT);
    }
    merge_layer(g, 0.12, 1);
}

/* A consolidation: cloudy, dense in the middle, its airways still open. */
static void draw_opacity(grid *g, phantom_opacity opacity, uint64_t seed, float *ret_added)
{
    enum {
        N = 7
    };
    double side = opacity == PHANTOM_OPACITY_LEFT ? 1 : -1;
    point blob[N];
    for (int i = 0; i < N; i++) {
        blob[i].x = side * ((side > 0 ? 0.245 : 0.20) + uniform(&g->random, -0.045, 0.045));
        blob[i].y = 0.58 + uniform(&g->random, -0.12, 0.10);
        blob[i].radius = uniform(&g->random, 0.06, 0.13);
    }
    for (uint32_t row = 0; row < g->height; row++) {
        double y = (row - g->y0) / g->scale;
        for (uint32_t column = 0; column < g->width; column++) {
            size_t i = (size_t)row * g->width + column;
            double x = (column - g->x0) / g->scale, sum = 0;
            if (g->lung[i] <= 0 || fabs(x - side * 0.22) > 0.3 || fabs(y - 0.6) > 0.35) {
                continue;
            }
            for (int k = 0; k < N; k++) {
                double dx = x - blob[k].x, dy = y - blob[k].y;
                sum += 0.5 * exp(-(dx * dx + dy * dy) / (blob[k].radius * blob[k].radius));
            }
            sum *= 1 + 0.7 * cloud_noise(x * 28, y * 28, seed + 77);
            const float added =
                (float)(0.75 * (double)g->lung[i] * (1 - exp(-2.2 * fmax(sum, 0))));
            g->density[i] += added;
            if (ret_added != NULL) {
                ret_added[i] = added;
            }
        }
    }
    for (int i = 0; i < 4; i++) {
        point from = {side * (0.11 + 0.012 * i), 0.53 + 0.03 * i, 0.0045};
        double angle = 0.35 + 0.18 * i;
        draw_vessel(g, from, side > 0 ? angle : PI - angle, 0.07, 1);
    }
    merge_layer(g, -0.07, 1);
}

/* The lead letter that marks the patient's right side. */
static void draw_marker(grid *g)
{
    double x = -0.475, y = 0.30, w = 0.026, h = 0.046, r = 0.0048;
    point stem[] = {{x, y + h, r}, {x, y, r}};
    point bowl[] = {{x, y, r},
                    {x + w * 0.7, y, r},
                    {x + w, y + h * 0.14, r},
                    {x + w, y + h * 0.36, r},
                    {x + w * 0.7, y + h * 0.5, r},
                    {x, y + h * 0.5, r}};
    point leg[] = {{x + w * 0.45, y + h * 0.5, r}, {x + w, y + h, r}};
    stamp_line(g, stem, 2, 1.0, PROFILE_SOLID);
    stamp_line(g, bowl, 6, 1.0, PROFILE_SOLID);
    stamp_line(g, leg, 2, 1.0, PROFILE_SOLID);
    size_t n = (size_t)g->width * g->height;
    for (size_t i = 0; i < n; i++) { /* lead stops everything */
        g->density[i] += (1.5F - g->density[i]) * fminf(1.0F, 1.6F * g->layer[i]);
    }
    memset(g->layer, 0, n * sizeof *g->layer);
}

/* Density 0..1.5 to 0..4095 through a film-like curve. */
static double film_value(double density)
{
    double t = clamp01((density + 0.015) / 1.55);
    return 4095 * (pow(t, 0.75) + 0.10 * sin(PI * t) * t) * 0.97;
}

static uint16_t *enlarge(grid *g, uint32_t rows, uint32_t columns)
{
    uint16_t *film = malloc((size_t)rows * columns * sizeof *film);
    if (film == NULL) {
        return NULL;
    }
    for (uint32_t row = 0; row < rows; row++) {
        double y = fmax(0, (row + 0.5) * g->height / rows - 0.5);
        uint32_t y0 = (uint32_t)y, y1 = y0 + 1 < g->height ? y0 + 1 : y0;
        double v = y - y0;
        for (uint32_t column = 0; column < columns; column++) {
            double x = fmax(0, (column + 0.5) * g->width / columns - 0.5);
            uint32_t x0 = (uint32_t)x, x1 = x0 + 1 < g->width ? x0 + 1 : x0;
            double u = x - x0;
            const float *above = &g->density[(size_t)y0 * g->width];
            const float *below = &g->density[(size_t)y1 * g->width];
            double density = (double)above[x0] * (1 - u) * (1 - v) +
                             (double)above[x1] * u * (1 - v) + (double)below[x0] * (1 - u) * v +
                             (double)below[x1] * u * v;
            /* Four uniform numbers added are close enough to a normal one. */
            uint64_t bits = phantom_random(&g->random);
            double grain = ((double)(bits & 0xffff) + (double)(bits >> 16 & 0xffff) +
                            (double)(bits >> 32 & 0xffff) + (double)(bits >> 48)) /
                               65536.0 -
                           2.0;
            double value = film_value(density) + grain * (14 + 22 * clamp01(density));
            film[(size_t)row * columns + column] = (uint16_t)fmin(4095, fmax(0, value + 0.5));
        }
    }
    return film;
}

static int start(grid *g, uint32_t rows, uint32_t columns, uint64_t seed)
{
    if (rows < PHANTOM_MIN_SIDE || rows > PHANTOM_MAX_SIDE || columns < PHANTOM_MIN_SIDE ||
        columns > PHANTOM_MAX_SIDE) {
        return 0;
    }
    uint32_t longer = rows > columns ? rows : columns;
    double shrink = longer > GRID_SIDE ? (double)GRID_SIDE / longer : 1;
    *g = (grid){.width = (uint32_t)(columns * shrink), .height = (uint32_t)(rows * shrink)};
    g->width = g->width == 0 ? 1 : g->width;
    g->height = g->height == 0 ? 1 : g->height;
    g->scale = ZOOM * fmin(g->height, g->width / FILM_WIDTH);
    g->x0 = g->width / 2.0;
    g->y0 = g->height / 2.0 - CENTRE_Y * g->scale;
    g->random = seed;
    size_t n = (size_t)g->width * g->height;
    g->density = calloc(n, sizeof *g->density);
    g->lung = calloc(n, sizeof *g->lung);
    g->layer = calloc(n, sizeof *g->layer);
    return g->density != NULL && g->lung != NULL && g->layer != NULL;
}

static void finish(grid *g)
{
    free(g->density);
    free(g->lung);
    free(g->layer);
}

/* The rectangle around what is at least a third of the largest, in pixels of the film. */
static int bound(const grid *g, const float *added, double zoom_x, double zoom_y,
                 phantom_region *ret_region)
{
    float largest = 0;
    for (size_t i = 0; i < (size_t)g->width * g->height; i++) {
        largest = fmaxf(largest, added[i]);
    }
    uint32_t left = g->width, right = 0, top = g->height, bottom = 0;
    for (uint32_t row = 0; row < g->height && largest > 0; row++) {
        for (uint32_t column = 0; column < g->width; column++) {
            if (added[(size_t)row * g->width + column] * 3 >= largest) {
                left = column < left ? column : left;
                right = column > right ? column : right;
                top = row < top ? row : top;
                bottom = row > bottom ? row : bottom;
            }
        }
    }
    *ret_region = (phantom_region){left * zoom_x, top * zoom_y, (right + 1.0 - left) * zoom_x,
                                   (bottom + 1.0 - top) * zoom_y};
    return largest > 0;
}

int phantom_find_opacity(uint32_t rows, uint32_t columns, uint64_t seed,
                         phantom_opacity opacity, phantom_region *ret_region)
{
    grid g = {0};
    int found = 0;
    float *added = NULL;
    if (start(&g, rows, columns, seed) && opacity != PHANTOM_OPACITY_NONE) {
        added = calloc((size_t)g.width * g.height, sizeof *added);
    }
    if (added != NULL) {
        uint64_t texture = phantom_random(&g.random);
        draw_soft_tissue(&g, texture);
        draw_vessels(&g);
        draw_opacity(&g, opacity, texture, added);
        found =
            bound(&g, added, (double)columns / g.width, (double)rows / g.height, ret_region);
    }
    free(added);
    finish(&g);
    return found;
}

uint16_t *phantom_draw_chest(uint32_t rows, uint32_t columns, uint64_t seed,
                             phantom_opacity opacity)
{
    grid g = {0};
    uint16_t *film = NULL;
    if (start(&g, rows, columns, seed)) {
        uint64_t texture = phantom_random(&g.random);
        draw_soft_tissue(&g, texture);
        draw_vessels(&g);
        if (opacity != PHANTOM_OPACITY_NONE) {
            uint64_t rest = g.random; /* the rest of the film stays the same */
            draw_opacity(&g, opacity, texture, NULL);
            g.random = rest;
        }
        draw_airways(&g);
        draw_spine(&g);
        draw_ribs(&g);
        draw_shoulders(&g);
        draw_marker(&g);
        film = enlarge(&g, rows, columns);
    }
    finish(&g);
    return film;
}
