/* A C plugin that does one thing wrong, chosen by ODD when it is compiled. ODD_NONE is right,
 * and so are the answers that ODD_ANSWER plugins give until the image tells them to go wrong.
 */

#include "medaid_plugin.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ODD_NONE,
    ODD_VERSION,    /* another major version */
    ODD_NULL,       /* the entry returns NULL */
    ODD_MAGIC,      /* no such table */
    ODD_SIZE,       /* the table is too short */
    ODD_MISSING,    /* no analyse */
    ODD_SELF_TEST,  /* the self-test fails, with a text that tries to forge a line */
    ODD_CREATE,     /* create fails */
    ODD_DESCRIPTOR, /* the descriptor is too short */
    ODD_ID,         /* an id that is none */
    ODD_TEXT,       /* a text that is no UTF-8 */
    ODD_KIND,       /* a kind that is not served */
    ODD_TWICE,      /* the same finding twice */
    ODD_THRESHOLD,  /* a threshold that is no number */
    ODD_MANY,       /* too many findings */
    ODD_NEWER,      /* right, but of a later minor version, with longer structs */
    ODD_ANSWER,     /* right at loading; the answers follow the number of columns */
};

static const medaid_host *the_host;

static medaid_status create(const medaid_host *host, const char *folder, void **ret_instance)
{
    the_host = host;
    *ret_instance = NULL; /* an instance may well be NULL */
    if (ODD == ODD_CREATE || folder[0] != '/') {
        return MEDAID_FAILED;
    }
    host->log(host, MEDAID_LOG_INFO, "created");
    return host->get_extension(host, "medaid.nothing/1") == NULL ? MEDAID_OK : MEDAID_FAILED;
}

static void destroy(void *instance)
{
    (void)instance;
}

static medaid_status self_test(void *instance)
{
    (void)instance;
    if (ODD == ODD_SELF_TEST) {
        the_host->set_error(the_host, "0.7 is not 0.8\n{\"forged\":1}\xff");
        return MEDAID_FAILED;
    }
    return MEDAID_OK;
}

static medaid_status analyse(void *instance, const medaid_image *image, medaid_answers *answers)
{
    (void)instance;
    medaid_answer *first = medaid_answer_at(answers, 0);
    medaid_answer *second = medaid_answer_at(answers, 1);
    first->score = 0.75;
    second->score = 0.25;
    second->laterality = MEDAID_LATERALITY_LEFT;
    if (first->saliency != NULL) {
        first->saliency_columns = 3;
        first->saliency_rows = 2;
        first->saliency[5] = 1.0F;
    }
    switch (image->columns) {
    case 301:
        first->score = NAN;
        break;
    case 302:
        second->score = 1.5;
        break;
    case 303:
        second->score = -HUGE_VAL;
        break;
    case 304:
        first->saliency_columns = 65;
        break;
    case 305:
        if (first->saliency != NULL) {
            first->saliency[0] = NAN;
        }
        break;
    case 306:
        second->laterality = 9;
        break;
    case 307:
        second->state = -1;
        break;
    case 308:
        the_host->set_error(the_host, "too much noise");
        return MEDAID_UNSUITABLE;
    case 309:
        return 77;
    case 310:
        first->state = MEDAID_ANSWER_UNDETERMINED;
        break;
    case 311: /* pointing elsewhere changes nothing: the host reads its own memory */
        answers->answers = NULL;
        answers->n_answers = 1000;
        break;
    default:
        break;
    }
    return MEDAID_OK;
}

static const medaid_accepts accepts = {
    .struct_bytes = sizeof accepts,
    .when_body_part_absent = MEDAID_ABSENT_ACCEPT,
    .when_view_absent = MEDAID_ABSENT_ACCEPT,
    .max_age_years = 150,
};

static const medaid_finding_info findings[] = {
    {
        .key = "first",
        .concept_code = {"111211", "DCM", ODD == ODD_TEXT ? "\xc3(" : "Under exposed"},
        .threshold = ODD == ODD_THRESHOLD ? (double)NAN : 0.5,
        .undetermined_low = 1,
        .undetermined_high = 0,
        .score_is_probability = 1,
        .urgent = 1,
    },
    {
        .key = ODD == ODD_TWICE ? "first" : "second",
        .concept_code = {"111212", "DCM", "Over exposed"},
        .site_code = {"39607008", "SCT", "Lung"},
        .threshold = 0.2,
        .undetermined_low = 0.1,
        .undetermined_high = 0.3,
    },
};

/* What ABI 1.1 might look like to us: members after those we know. */
static const struct newer_finding {
    medaid_finding_info known;
    double unknown[3];
} newer_findings[] = {
    {
        .known = {.key = "newer",
                  .concept_code = {"111211", "DCM", "Under exposed"},
                  .threshold = 0.5,
                  .undetermined_low = 1,
                  .undetermined_high = 0},
        .unknown = {7, 7, 7},
    },
    {
        .known = {.key = "newest",
                  .concept_code = {"111212", "DCM", "Over exposed"},
                  .threshold = 0.25,
                  .undetermined_low = 1,
                  .undetermined_high = 0},
        .unknown = {7, 7, 7},
    },
};

static const medaid_descriptor descriptor = {
    .struct_bytes = ODD == ODD_DESCRIPTOR ? 8 : sizeof descriptor,
    .kind = ODD == ODD_KIND ? 99 : MEDAID_KIND_IMAGE,
    .id = ODD == ODD_ID ? "../odd" : "odd",
    .version = "0.1",
    .name = "Odd plugin",
    .manufacturer = "medaid tests",
    .intended_use = "For tests.",
    .accepts = &accepts,
    .values = MEDAID_VALUES_PHYSICAL,
    .n_findings = ODD == ODD_MANY ? 65 : 2,
    .finding_bytes = ODD == ODD_NEWER ? sizeof newer_findings[0] : sizeof findings[0],
    .findings = ODD == ODD_NEWER ? &newer_findings[0].known : findings,
};

static const medaid_plugin plugin = {
    .magic = ODD == ODD_MAGIC ? 1 : MEDAID_PLUGIN_MAGIC,
    .abi_major = ODD == ODD_VERSION ? MEDAID_ABI_MAJOR + 1 : MEDAID_ABI_MAJOR,
    .abi_minor = ODD == ODD_NEWER ? 7 : MEDAID_ABI_MINOR,
    .struct_bytes = ODD == ODD_SIZE    ? 24
                    : ODD == ODD_NEWER ? sizeof plugin + 16
                                       : sizeof plugin,
    .descriptor = &descriptor,
    .create = create,
    .destroy = destroy,
    .self_test = self_test,
    .analyse = ODD == ODD_MISSING ? NULL : analyse,
};

#ifdef ODD_ENTRY
/* An entry of another name: a shared library, but no plugin. */
MEDAID_PLUGIN_EXPORT const medaid_plugin *ODD_ENTRY(void);
const medaid_plugin *ODD_ENTRY(void)
{
    return &plugin;
}
#else
const medaid_plugin *medaid_plugin_entry(uint32_t host_abi)
{
    return ODD == ODD_NULL || host_abi >> 16 != MEDAID_ABI_MAJOR ? NULL : &plugin;
}
#endif
