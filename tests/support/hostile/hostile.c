/* A C plugin that does harm when the image tells it to (hostile.h). Everything else about it is
 * in order, so that what the tests see is the deed alone. */

#include "deeds.h"

static const medaid_host *the_host;

static const char *const modalities[] = {"DX", "CR", NULL};
static const medaid_accepts accepts = {
    .struct_bytes = sizeof(medaid_accepts),
    .when_body_part_absent = MEDAID_ABSENT_ACCEPT,
    .when_view_absent = MEDAID_ABSENT_ACCEPT,
    .modality = modalities,
    .min_age_years = 0,
    .max_age_years = 150,
};
static const medaid_finding_info findings[] = {{
    .key = "deed",
    .concept_code = {"309529002", "SCT", "Mass of lung"},
    .threshold = 0.5,
    .undetermined_low = 1.0,
    .undetermined_high = 0.0,
}};
static const medaid_descriptor descriptor = {
    .struct_bytes = sizeof(medaid_descriptor),
    .kind = MEDAID_KIND_IMAGE,
    .id = "hostile",
    .version = "1.0",
    .name = "Hostile plugin",
    .manufacturer = "medaid tests",
    .intended_use = "To show in tests that a hostile plugin does no harm.",
    .accepts = &accepts,
    .values = MEDAID_VALUES_DISPLAY,
    .n_findings = 1,
    .finding_bytes = sizeof(medaid_finding_info),
    .findings = findings,
};

static medaid_status create(const medaid_host *host, const char *folder, void **ret_instance)
{
    (void)folder;
    the_host = host;
    *ret_instance = &the_host;
    return MEDAID_OK;
}

static void destroy(void *instance)
{
    (void)instance;
}

static medaid_status self_test(void *instance)
{
    (void)instance;
    return MEDAID_OK;
}

static medaid_status analyse(void *instance, const medaid_image *image, medaid_answers *answers)
{
    (void)instance;
    medaid_answer *answer = medaid_answer_at(answers, 0);
    answer->score = 0.25;
    unsigned deed = image->rows - HOSTILE_ROWS;
    return deed < HOSTILE_N_DEEDS ? hostile_do((hostile_deed)deed, the_host, answer)
                                  : MEDAID_UNSUITABLE;
}

static const medaid_plugin plugin = {
    .magic = MEDAID_PLUGIN_MAGIC,
    .abi_major = MEDAID_ABI_MAJOR,
    .abi_minor = MEDAID_ABI_MINOR,
    .struct_bytes = sizeof(medaid_plugin),
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
