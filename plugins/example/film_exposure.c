/* An example of a C plugin, small but true: it tells when a radiograph looks under-exposed. On
 * film, too little dose leaves the film light; shown with white for little exposure, an
 * under-exposed film is light nearly everywhere and has no dark air. The score is the share of
 * pixels lighter than three quarters of the display range. It is a measurement, no probability.
 */

#include "medaid_plugin.h"

#include <stdlib.h>

/* Display value above which a pixel counts as light. */
#define LIGHT 0.75F

typedef struct exposure {
    const medaid_host *host;
} exposure;

/* The share of light pixels, 0..1. */
static double light_share(const float *values, size_t n)
{
    size_t n_light = 0;
    for (size_t i = 0; i < n; i++) {
        n_light += values[i] > LIGHT;
    }
    return (double)n_light / (double)n;
}

static medaid_status create(const medaid_host *host, const char *folder, void **ret_instance)
{
    (void)folder; /* no weights */
    exposure *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return MEDAID_NO_MEMORY;
    }
    self->host = host;
    *ret_instance = self;
    return MEDAID_OK;
}

static void destroy(void *instance)
{
    free(instance);
}

static medaid_status self_test(void *instance)
{
    const exposure *self = instance;
    /* A ramp from 0 to 1 in 100 steps: 25 of 101 values lie above 0.75. */
    float ramp[101];
    for (int i = 0; i <= 100; i++) {
        ramp[i] = (float)i / 100.0F;
    }
    double share = light_share(ramp, 101);
    if (share < 0.2475 || share > 0.2476) {
        self->host->set_error(self->host, "a ramp does not give 25 of 101 light pixels");
        return MEDAID_FAILED;
    }
    return MEDAID_OK;
}

static medaid_status analyse(void *instance, const medaid_image *image, medaid_answers *answers)
{
    const exposure *self = instance;
    if (image->n_channels != 1) {
        self->host->set_error(self->host, "expected a grey image");
        return MEDAID_UNSUITABLE;
    }
    medaid_answer *answer = medaid_answer_at(answers, 0);
    answer->score = light_share(image->values, (size_t)image->rows * image->columns);
    return MEDAID_OK;
}

static const char *const modalities[] = {"CR", "DX", "RF", NULL};
static const char *const photometrics[] = {"MONOCHROME1", "MONOCHROME2", NULL};

static const medaid_accepts accepts = {
    .struct_bytes = sizeof accepts,
    .modality = modalities,
    .photometric = photometrics,
    .when_body_part_absent = MEDAID_ABSENT_ACCEPT,
    .when_view_absent = MEDAID_ABSENT_ACCEPT,
    .min_age_years = 0,
    .max_age_years = 150,
};

static const medaid_finding_info findings[] = {
    {
        .key = "under-exposed",
        .concept_code = {"111211", "DCM", "Under exposed"},
        .threshold = 0.6,
        .undetermined_low = 1, /* no such range */
        .undetermined_high = 0,
    },
};

static const medaid_descriptor descriptor = {
    .struct_bytes = sizeof descriptor,
    .kind = MEDAID_KIND_IMAGE,
    .id = "film-exposure",
    .version = "1.0.0",
    .name = "Film exposure check",
    .manufacturer = "medaid",
    .intended_use =
        "An example of a C plugin: tells when most of a radiograph is light. Technical "
        "quality only, not for diagnosis.",
    .accepts = &accepts,
    .values = MEDAID_VALUES_DISPLAY,
    .n_findings = 1,
    .finding_bytes = sizeof findings[0],
    .findings = findings,
};

static const medaid_plugin plugin = {
    .magic = MEDAID_PLUGIN_MAGIC,
    .abi_major = MEDAID_ABI_MAJOR,
    .abi_minor = MEDAID_ABI_MINOR,
    .struct_bytes = sizeof plugin,
    .descriptor = &descriptor,
    .create = create,
    .destroy = destroy,
    .self_test = self_test,
    .analyse = analyse,
};

const medaid_plugin *medaid_plugin_entry(uint32_t host_abi)
{
    return host_abi >> 16 == MEDAID_ABI_MAJOR ? &plugin : NULL;
}
