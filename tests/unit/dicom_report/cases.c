#include "tests/unit/dicom_report/cases.h"

#include "tests/support/phantom_image.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const CASE_NAMES[] = {
    "positive",  "negative",     "mixed",     "failed",     "quality", "partial", "partial0",
    "triage",    "uncalibrated", "successor", "injection",  "long",    "foreign", "edges",
    "follow-up", "text",         "risk",      "risk-alone", NULL};

static const md_code PNEUMONIA = {"233604007", "SCT", "Pneumonia"};
static const md_code EFFUSION = {"60046008", "SCT", "Pleural effusion"};
static const md_code LUNG = {"39607008", "SCT", "Lung"};
static const md_code LEFT = {"7771000", "SCT", "Left"};
static const md_code QUALITY = {"110531", "DCM", "Insufficient quality for interpretation"};
static const md_code EQUIPMENT = {"110501", "DCM", "Equipment failure"};

static void copy(char *target, size_t size_bytes, const char *text)
{
    snprintf(target, size_bytes, "%s", text);
}

static void fill_model(md_model_identity *m)
{
    copy(m->id, sizeof m->id, "chest-pneumonia");
    copy(m->version, sizeof m->version, "1.2.0");
    copy(m->name, sizeof m->name, "Chest pneumonia classifier");
    copy(m->manufacturer, sizeof m->manufacturer, "medaid");
    copy(m->sha256, sizeof m->sha256,
         "3b1f6a7700c2a1f2d0e95bb1dd5f8f0e0cf3a8b9b6b8f27a45c2d0b3a79e5d41");
    copy(m->parameters, sizeof m->parameters, "temperature 1.31, f32, reference");
    copy(m->intended_use, sizeof m->intended_use,
         "Research use. Frontal chest films of children.");
}

static bool fill_finding(md_finding *f, const char *key, md_code concept, double score,
                         double threshold)
{
    copy(f->key, sizeof f->key, key);
    f->concept = concept;
    f->site = LUNG;
    f->score = score;
    f->threshold = threshold;
    f->presence = score >= threshold ? MD_PRESENCE_PRESENT : MD_PRESENCE_ABSENT;
    f->score_is_probability = true;
    return true;
}

/* A hill over the patient's left lower lung. */
static bool add_saliency(md_finding *f, double columns, double rows)
{
    md_saliency *s = &f->saliency;
    s->columns = s->rows = 7;
    s->x = s->y = 0;
    s->width = columns;
    s->height = rows;
    s->kind = MD_MAP_GRADIENT_ACTIVATION;
    copy(s->method, sizeof s->method, "Grad-CAM++ of features");
    s->values = md_calloc(49, sizeof(float));
    if (s->values == NULL) {
        return false;
    }
    for (int y = 0; y < 7; y++) {
        for (int x = 0; x < 7; x++) {
            double dx = x - 4.6, dy = y - 3.9;
            s->values[y * 7 + x] = (float)exp(-(dx * dx + dy * dy) / 1.6);
        }
    }
    return true;
}

/* A UID of the dataset, or one that stands for it: the character set examples have none. */
static void get_uid(const md_dataset *d, uint32_t tag, const char *other, char *ret_uid)
{
    if (!md_dataset_get_text(d, tag, 0, ret_uid, MD_UID_BYTES)) {
        copy(ret_uid, MD_UID_BYTES, other);
    }
}

static bool open_sources(test_case *c, const char *const *paths, size_t n_paths)
{
    md_error err = {0};
    c->result.instances = md_calloc(n_paths, sizeof *c->result.instances);
    if (c->result.instances == NULL || n_paths > CASE_MAX_SOURCES) {
        return false;
    }
    c->result.n_instances = n_paths;
    for (size_t i = 0; i < n_paths; i++) {
        if (md_dataset_open(paths[i], &c->datasets[i], &err) != MD_OK) {
            fprintf(stderr, "%s: %s\n", paths[i], err.msg);
            return false;
        }
        const md_dataset *d = c->sources[i] = c->datasets[i];
        md_instance_ref *r = &c->result.instances[i];
        get_uid(d, MD_TAG(8, 0x16), "1.2.840.10008.5.1.4.1.1.7", r->sop_class_uid);
        get_uid(d, MD_TAG(8, 0x18), "2.25.101", r->sop_instance_uid);
        get_uid(d, MD_TAG(0x20, 0x0e), "2.25.102", r->series_instance_uid);
        r->analysed = i != 2; /* the third was not accepted */
        md_steps_add(&r->steps, "inverted MONOCHROME1");
        md_steps_add(&r->steps, "window 2048/4096");
    }
    get_uid(c->datasets[0], MD_TAG(0x20, 0x0d), "2.25.103", c->result.study_instance_uid);
    return true;
}

/* One whose words need mending, too. */
static void propose(test_case *c)
{
    md_follow_up *f = &c->follow_up;
    md_follow_up_proposal *p = f->proposals;
    f->there = true;
    f->n_actions = 4;
    f->n_proposals = 2;
    copy(p[0].key, sizeof p[0].key, "chest-ct");
    p[0].action = (md_code){"169069000", "SCT", "Computed tomography of chest"};
    p[0].score = 0.81;
    p[0].n_similar = 15;
    p[0].n_accepted = 12;
    p[0].basis = MD_FOLLOW_UP_BOTH;
    copy(p[0].reasons[p[0].n_reasons++], MD_CODE_MEANING_BYTES, "Pneumonia");
    copy(p[0].reasons[p[0].n_reasons++], MD_CODE_MEANING_BYTES, "Pleural effusion");
    copy(p[1].key, sizeof p[1].key, "repeat-film");
    p[1].action = (md_code){"RF6", "99MEDAID", "Film in 6\\weeks"};
    p[1].score = 0.6;
    p[1].n_similar = p[1].n_accepted = 5;
    c->options.follow_up = f;
}

/* What an analyzer says that looks at no image. */
static void leave_images(md_result *r, md_result_kind kind)
{
    r->kind = kind;
    for (size_t i = 0; i < r->n_instances; i++) {
        r->instances[i].analysed = false;
        r->instances[i].steps.n = 0;
    }
    for (size_t i = 0; i < r->n_findings; i++) {
        md_free(r->findings[i].saliency.values);
        r->findings[i].saliency.values = NULL;
        r->findings[i].site.value[0] = '\0';
        r->findings[i].laterality.value[0] = '\0';
    }
}

static bool read_text(md_result *r)
{
    static const char text[] = "\xc3\x9c"
                               "bel & Fieber, kein Erguss. CHEST";
    md_text_evidence *e = r->text = md_calloc(1, sizeof *e);
    if (e == NULL) {
        return false;
    }
    leave_images(r, MD_RESULT_TEXT);
    e->text = md_strdup(text);
    e->n_passages = 2;
    e->passages[0].range = (md_text_range){0, 27};
    e->passages[1].range = (md_text_range){29, 5};
    copy(e->passages[0].source, sizeof e->passages[0].source, "Reason for Study (0032,1030)");
    copy(e->passages[1].source, sizeof e->passages[1].source, "Study Description (0008,1030)");
    e->n_words = 2;
    e->words[0] = (md_highlight){.range = {0, 5}, .weight = 0.25};
    e->words[1] = (md_highlight){.range = {21, 6}, .weight = 0.5, .negated = true};
    e->is_cut = true;
    return e->text != NULL;
}

/* More inputs than a report shows: one missing, one brought into the model's range. */
static bool weigh(md_result *r, bool is_additive)
{
    enum {
        N = 20
    };
    md_risk_evidence *e = r->risk = md_calloc(1, sizeof *e);
    if (e == NULL) {
        return false;
    }
    leave_images(r, MD_RESULT_RISK);
    r->n_findings = 1;
    e->terms = md_calloc(N, sizeof *e->terms);
    if (e->terms == NULL) {
        return false;
    }
    *e = (md_risk_evidence){.value = 95.5,
                            .unit = "min",
                            .has_interval = true,
                            .low = 80,
                            .high = 130.25,
                            .is_additive = is_additive,
                            .start = -1.5,
                            .sum = -1.5,
                            .terms = e->terms,
                            .n_terms = N,
                            .n_missing = 1};
    for (unsigned i = 0; i < N; i++) {
        md_risk_term *t = &e->terms[i];
        snprintf(t->name, sizeof t->name, "lab.number_%u", i);
        copy(t->unit, sizeof t->unit, i % 2 == 0 ? "mg/dL" : "");
        t->has_value = i != 3;
        t->value = t->has_value ? 1.5 * i : 0;
        t->part = (i % 2 == 0 ? 0.125 : -0.125) * i;
        e->sum += t->part;
    }
    e->terms[3].state = MD_TERM_MISSING;
    e->terms[4].state = MD_TERM_CLAMPED;
    return true;
}

/* Changes to the plain positive result, case by case. */
static bool vary(test_case *c, const char *name)
{
    md_result *r = &c->result;
    md_finding *f = r->findings;
    if (strcmp(name, "negative") == 0) {
        f[0].score = 0.0412345;
        f[0].presence = MD_PRESENCE_ABSENT;
        f[0].urgent = false;
        r->n_findings = 1;
    } else if (strcmp(name, "mixed") == 0) {
        f[2].presence = MD_PRESENCE_UNDETERMINED;
        f[2].instance_index = (uint32_t)(r->n_instances > 1);
        r->n_findings = 3;
    } else if (strcmp(name, "failed") == 0 || strcmp(name, "quality") == 0) {
        r->status = MD_RESULT_FAILED;
        r->failure = name[0] == 'f' ? EQUIPMENT : QUALITY;
        copy(r->failure_text, sizeof r->failure_text, "contrast 0.02 is below 0.15");
        md_free(f[0].saliency.values);
        f[0].saliency.values = NULL;
        r->n_findings = 0;
        for (size_t i = 0; i < r->n_instances; i++) {
            r->instances[i].analysed = false;
        }
    } else if (strncmp(name, "partial", 7) == 0) {
        r->status = MD_RESULT_PARTIAL;
        r->failure = EQUIPMENT;
        copy(r->failure_text, sizeof r->failure_text, "image 2 could not be decoded");
        if (name[7] == '0') {
            md_free(f[0].saliency.values);
            f[0].saliency.values = NULL;
            r->n_findings = 0;
        }
    } else if (strcmp(name, "triage") == 0) {
        c->options.triage_only = true;
        c->options.institution_name = "Phantom Hospital";
        c->options.station_name = "AI1";
        c->options.content_qualification = "PRODUCT";
    } else if (strcmp(name, "uncalibrated") == 0) {
        for (size_t i = 0; i < r->n_findings; i++) {
            f[i].score_is_probability = false;
        }
    } else if (strcmp(name, "successor") == 0) {
        copy(r->predecessor_sop_instance_uid, MD_UID_BYTES, "2.25.123456789");
    } else if (strcmp(name, "injection") == 0) {
        copy(f[0].concept.meaning, sizeof f[0].concept.meaning, "Pneu\\mo\nnia\x1b[31m\\");
        copy(r->model.name, sizeof r->model.name, "A\\B\r\nC\x01\xff\xfe");
        copy(r->model.parameters, sizeof r->model.parameters, "one\\two\nthree");
        copy(r->model.manufacturer, sizeof r->model.manufacturer, "\\\\\\");
    } else if (strcmp(name, "long") == 0) {
        memset(f[0].concept.meaning, 'm', sizeof f[0].concept.meaning - 1);
        copy(f[0].concept.value, sizeof f[0].concept.value,
             "1234567890123456789012345678901234567890");
        copy(f[0].concept.scheme, sizeof f[0].concept.scheme, "99MEDAID");
        memset(r->model.name, 'n', sizeof r->model.name - 1);
        memset(r->model.intended_use, 'u', sizeof r->model.intended_use - 1);
        memset(r->model.parameters, 'p', sizeof r->model.parameters - 1);
    } else if (strcmp(name, "foreign") == 0) {
        copy(f[0].concept.meaning, sizeof f[0].concept.meaning,
             "Lungenentz\xc3\xbcndung \xe8\x82\xba\xe7\x82\x8e");
        copy(r->model.manufacturer, sizeof r->model.manufacturer,
             "M\xc3\xa9"
             "daid");
    } else if (strcmp(name, "follow-up") == 0) {
        propose(c);
    } else if (strcmp(name, "text") == 0) {
        return read_text(r);
    } else if (strncmp(name, "risk", 4) == 0) {
        return weigh(r, name[4] == '\0');
    } else if (strcmp(name, "edges") == 0) {
        f[0].score = 1;
        f[0].threshold = 1;
        f[1].score = 0;
        f[1].threshold = 0.0000005;
        f[1].presence = MD_PRESENCE_ABSENT;
        r->instances[0].frame = 1;
        f[0].laterality.value[0] = '\0';
    } else if (strcmp(name, "positive") != 0) {
        fprintf(stderr, "no case '%s'\n", name);
        return false;
    }
    return true;
}

static uint32_t fitting(int64_t side)
{
    return side < PHANTOM_MIN_SIDE   ? PHANTOM_MIN_SIDE
           : side > PHANTOM_MAX_SIDE ? PHANTOM_MAX_SIDE
                                     : (uint32_t)side;
}

/* The film as it would be displayed, 0 = black. */
static bool draw_display(test_case *c, uint32_t columns, uint32_t rows)
{
    uint16_t *film = phantom_draw_chest(rows, columns, 1, PHANTOM_OPACITY_LEFT);
    bool made = film != NULL && md_raster_init(&c->display, columns, rows, 1, NULL) == MD_OK;
    for (size_t i = 0; made && i < (size_t)columns * rows; i++) {
        c->display.values[i] = (float)film[i] / 4095.0F;
    }
    free(film);
    return made;
}

bool case_make(test_case *c, const char *name, const char *const *paths, size_t n_paths)
{
    memset(c, 0, sizeof *c);
    if (!open_sources(c, paths, n_paths)) {
        case_finish(c);
        return false;
    }
    md_result *r = &c->result;
    fill_model(&r->model);
    r->times.analysis_start_ms = INT64_C(1768472102250); /* 2026-01-15 10:15:02.250 UTC */
    r->findings = md_calloc(4, sizeof *r->findings);
    int64_t rows = PHANTOM_MIN_SIDE, columns = PHANTOM_MIN_SIDE;
    (void)md_dataset_get_int(c->datasets[0], MD_TAG(0x28, 0x10), 0, &rows);
    (void)md_dataset_get_int(c->datasets[0], MD_TAG(0x28, 0x11), 0, &columns);
    if (r->findings == NULL || !draw_display(c, fitting(columns), fitting(rows))) {
        case_finish(c);
        return false;
    }
    r->n_findings = 2;
    md_finding *f = r->findings;
    fill_finding(&f[0], "pneumonia", PNEUMONIA, 0.9731234, 0.5);
    f[0].laterality = LEFT;
    f[0].urgent = true;
    fill_finding(&f[1], "effusion", EFFUSION, 0.1200001, 0.3);
    fill_finding(&f[2], "second-look", PNEUMONIA, 0.49, 0.5);
    f[2].site.value[0] = '\0';
    if (!add_saliency(&f[0], (double)columns, (double)rows) || !vary(c, name)) {
        case_finish(c);
        return false;
    }
    return true;
}

void case_finish(test_case *c)
{
    for (size_t i = 0; i < CASE_MAX_SOURCES; i++) {
        md_dataset_destroy(c->datasets[i]);
    }
    md_raster_finish(&c->display);
    md_result_finish(&c->result);
    memset(c, 0, sizeof *c);
}
