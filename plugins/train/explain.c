#include "plugins/train/explain_internal.h"

#include "base/file.h"
#include "dicom/report/picture.h"
#include "inference/graph/randomise.h"
#include "plugins/host/package.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* The map of one finding on one film, sampled over the whole film. */
static md_status ask(const md_explaining *x, md_analyzer *model, const md_raster *raster,
                     float *ret_map, double *ret_score, md_presence *ret_presence,
                     md_error *err)
{
    const md_accept_facts facts = {0};
    const md_image_input input = {.values = raster,
                                  .facts = &facts,
                                  .has_spacing = true,
                                  .frame = 1,
                                  .n_frames = 1,
                                  .want_saliency = true};
    MD_AUTO(md_freep) md_finding *findings = md_calloc(model->n_findings, sizeof *findings);
    if (findings == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %u findings", model->n_findings);
    }
    md_steps steps = {0};
    md_status status = model->ops->analyse_image(model, &input, findings, &steps, err);
    const md_finding *f = &findings[x->finding];
    for (size_t i = 0; status == MD_OK && i < MD_EXPLAIN_CELLS; i++) {
        const double column = (double)(i % MD_EXPLAIN_GRID),
                     row = (double)(i / MD_EXPLAIN_GRID);
        ret_map[i] = (float)md_saliency_at(&f->saliency,
                                           (column + 0.5) * raster->width / MD_EXPLAIN_GRID,
                                           (row + 0.5) * raster->height / MD_EXPLAIN_GRID);
    }
    if (status == MD_OK && ret_score != NULL) {
        *ret_score = f->score;
        *ret_presence = f->presence;
    }
    for (unsigned i = 0; i < model->n_findings; i++) {
        md_free(findings[i].saliency.values);
    }
    return status;
}

static md_status add_map(const md_explaining *x, md_analyzer *model, md_explain_film *film,
                         unsigned stage, md_error *err)
{
    md_raster raster = {0};
    MD_TRY(md_explain_read(x, film, &raster, err));
    md_status status = MD_OK;
    film->maps[stage] = md_calloc(MD_EXPLAIN_CELLS, sizeof(float));
    if (film->maps[stage] == NULL) {
        status = md_fail(err, MD_NOMEM, "no memory for a map");
    }
    if (status == MD_OK) {
        status = ask(x, model, &raster, film->maps[stage], stage == 0 ? &film->score : NULL,
                     &film->presence, err);
    }
    md_raster_finish(&raster);
    return status;
}

static md_status explain_films(md_explaining *x, md_error *err)
{
    for (size_t i = 0; i < x->n_films; i++) {
        md_explain_film *film = &x->films[i];
        md_error reason = {0};
        md_status status = add_map(x, x->trained, film, 0, &reason);
        if (status == MD_NOMEM) {
            return md_fail(err, MD_NOMEM, "%s", reason.msg);
        }
        if (status != MD_OK) {
            film->unreadable = true;
            md_free(film->maps[0]);
            film->maps[0] = NULL;
            x->result->n_unreadable++;
            if (x->options->progress != NULL) {
                fprintf(x->options->progress, "%s: %s\n", film->path, reason.msg);
            }
        }
    }
    x->result->n_films = (unsigned)x->n_films - x->result->n_unreadable;
    return x->result->n_films > 0
               ? MD_OK
               : md_fail(err, MD_NOT_FOUND, "no film of %zu could be read", x->n_films);
}

static void take(md_explain_mean *m, double value)
{
    m->low = m->n == 0 || value < m->low ? value : m->low;
    m->high = m->n == 0 || value > m->high ? value : m->high;
    m->mean += (value - m->mean) / (double)(m->n + 1);
    m->n++;
}

static md_status compare(md_explain_film *film, unsigned stage, md_explain_stage *s,
                         md_error *err)
{
    double correlation = 0.0, similarity = 0.0;
    MD_TRY(md_map_rank_correlation(film->maps[0], film->maps[stage], MD_EXPLAIN_CELLS,
                                   &correlation, err));
    MD_TRY(md_map_similarity(film->maps[0], film->maps[stage], MD_EXPLAIN_GRID, MD_EXPLAIN_GRID,
                             &similarity, err));
    if (isnan(correlation)) {
        s->n_flat++;
    } else {
        take(&s->rank_correlation, correlation);
        take(&s->similarity, similarity);
    }
    return MD_OK;
}

/* One network that has forgotten its last layers. */
static md_status run_stage(md_explaining *x, const uint8_t *onnx, size_t onnx_bytes,
                           unsigned stage, md_error *err)
{
    md_explain_stage *s = &x->result->stages[stage];
    MD_AUTO(md_freep) uint8_t *bytes = NULL;
    MD_AUTO(md_analyzer_destroyp) md_analyzer *model = NULL;
    size_t n_bytes = 0;
    unsigned n_all = 0, n_done = 0;
    MD_TRY(md_onnx_randomise(onnx, onnx_bytes, s->n_layers, x->options->seed, &bytes, &n_bytes,
                             &n_all, s->last, err));
    const md_package_trial trial = {
        .precision = MD_PRECISION_F32, .maps = true, .onnx = bytes, .onnx_bytes = n_bytes};
    const md_package_options options = {
        .backend = x->options->backend, .n_threads = x->options->n_threads, .trial = &trial};
    MD_TRY(md_package_open(x->options->model, x->options->model, &options, &model, err));
    for (size_t i = 0; i < x->n_films && n_done < x->result->n_randomised; i++) {
        if (!x->films[i].unreadable) {
            MD_TRY(add_map(x, model, &x->films[i], stage + 1, err));
            MD_TRY(compare(&x->films[i], stage + 1, s, err));
            n_done++;
        }
    }
    if (x->options->progress != NULL) {
        fprintf(x->options->progress, "weights of the last %u of %u layers drawn anew\n",
                s->n_layers, n_all);
    }
    return MD_OK;
}

/* The head alone, then ever larger shares of the layers, at last all. */
static void choose_stages(md_explanation *r)
{
    const unsigned n_shares = MD_EXPLAIN_MAX_STAGES - 1;
    unsigned before = 0;
    for (unsigned k = 0; k <= n_shares && r->n_layers > 0; k++) {
        const unsigned n = k == 0 ? 1 : (r->n_layers * k + n_shares - 1) / n_shares;
        if (n > before) {
            r->stages[r->n_stages++].n_layers = n;
            before = n;
        }
    }
}

static md_status randomise(md_explaining *x, md_error *err)
{
    md_explanation *r = x->result;
    MD_AUTO(md_freep) uint8_t *onnx = NULL;
    size_t onnx_bytes = 0;
    char path[PATH_MAX], last[MD_ONNX_NAME_BYTES];
    uint8_t *none = NULL;
    size_t n_none = 0;
    const int length =
        snprintf(path, sizeof path, "%s/%s", x->options->model, x->manifest->network.file);
    if (length < 0 || (size_t)length >= sizeof path) {
        return md_fail(err, MD_LIMIT, "the folder's name is too long");
    }
    MD_TRY(md_file_read(path, MD_PACKAGE_MAX_NETWORK_BYTES, &onnx, &onnx_bytes, err));
    MD_TRY(md_onnx_randomise(onnx, onnx_bytes, 0, 0, &none, &n_none, &r->n_layers, last, err));
    r->n_randomised =
        r->n_films < x->options->n_randomised ? r->n_films : x->options->n_randomised;
    if (r->n_randomised == 0) {
        return MD_OK;
    }
    choose_stages(r);
    for (unsigned stage = 0; stage < r->n_stages; stage++) {
        MD_TRY(run_stage(x, onnx, onnx_bytes, stage, err));
    }
    return MD_OK;
}

static md_status point(md_explaining *x, md_error *err)
{
    md_explanation *r = x->result;
    uint64_t n = 0, n_hits = 0;
    double energy = 0.0, area = 0.0;
    for (size_t i = 0; i < x->n_films; i++) {
        const md_explain_film *film = &x->films[i];
        if (film->unreadable || film->n_regions == 0) {
            continue;
        }
        md_raster raster = {0};
        md_pointing p = {0};
        MD_TRY(md_explain_read(x, film, &raster, err));
        const double width = raster.width, height = raster.height;
        md_raster_finish(&raster);
        MD_TRY(md_map_pointing(film->maps[0], MD_EXPLAIN_GRID, MD_EXPLAIN_GRID, width, height,
                               film->regions, film->n_regions, x->options->tolerance, &p, err));
        n++;
        n_hits += p.hit ? 1 : 0;
        area += p.area;
        if (isnan(p.energy)) {
            r->n_without_map++;
        } else {
            energy += p.energy;
        }
    }
    r->pointing = md_proportion_of(n_hits, n);
    r->energy = n > r->n_without_map ? energy / (double)(n - r->n_without_map) : (double)NAN;
    r->area = n > 0 ? area / (double)n : (double)NAN;
    return MD_OK;
}

static md_status choose_finding(md_explaining *x, md_error *err)
{
    const md_manifest *m = x->manifest;
    const char *wanted = x->options->finding;
    if (!m->saliency.there) {
        return md_fail(err, MD_UNSUPPORTED, "%s: model.yaml has no 'saliency', so no map",
                       x->options->model);
    }
    while (wanted != NULL && x->finding < m->n_findings &&
           strcmp(m->findings[x->finding].spec.key, wanted) != 0) {
        x->finding++;
    }
    return x->finding < m->n_findings ? MD_OK
                                      : md_fail(err, MD_NOT_FOUND, "%s: no finding '%.64s'",
                                                x->options->model, wanted);
}

static void describe(md_explaining *x)
{
    const md_manifest *m = x->manifest;
    md_explanation *r = x->result;
    memcpy(r->id, m->id, sizeof r->id);
    memcpy(r->version, m->version, sizeof r->version);
    memcpy(r->finding, m->findings[x->finding].spec.key, sizeof r->finding);
    (void)snprintf(r->sha256, sizeof r->sha256, "%s", md_manifest_sha256(m, m->network.file));
    (void)snprintf(r->method, sizeof r->method, "%s",
                   md_saliency_method_name(m->saliency.method));
}

static md_status run(md_explaining *x, md_error *err)
{
    const md_package_trial trial = {.precision = MD_PRECISION_F32, .maps = true};
    const md_package_options options = {
        .backend = x->options->backend, .n_threads = x->options->n_threads, .trial = &trial};
    MD_TRY(md_package_open(x->options->model, x->options->model, &options, &x->trained, err));
    x->manifest = md_package_manifest(x->trained);
    MD_TRY(choose_finding(x, err));
    describe(x);
    MD_TRY(md_explain_list(x, err));
    MD_TRY(explain_films(x, err));
    MD_TRY(point(x, err));
    MD_TRY(randomise(x, err));
    return x->options->out == NULL ? MD_OK : md_explain_write(x, err);
}

md_status md_explain_run(const md_explain_options *options, md_explanation *ret_explanation,
                         md_error *err)
{
    memset(ret_explanation, 0, sizeof *ret_explanation);
    md_explaining x = {.options = options, .result = ret_explanation};
    md_status status = run(&x, err);
    for (size_t i = 0; i < x.n_films; i++) {
        for (unsigned k = 0; k <= MD_EXPLAIN_MAX_STAGES; k++) {
            md_free(x.films[i].maps[k]);
        }
        md_free(x.films[i].regions);
        md_free(x.films[i].path);
    }
    md_free(x.films);
    md_analyzer_destroy(x.trained);
    return status;
}
