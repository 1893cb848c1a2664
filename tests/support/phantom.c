/* medaid-phantom: write a phantom chest study as a DICOM file. */

#include "tests/support/phantom_study.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char USAGE[] =
    "usage: medaid-phantom --output FILE [option...]\n"
    "Writes a drawn chest film as a DICOM file; the same options give the same file.\n"
    "  --rows N, --columns N   size of the film (2048, 2500)\n"
    "  --seed N                everything random comes from it (1)\n"
    "  --photometric P         MONOCHROME1, MONOCHROME2 or RGB (MONOCHROME2)\n"
    "  --opacity SIDE          none, left or right, as the patient sees it (none)\n"
    "  --modality CODE         DX, CR, or another for a secondary capture (DX)\n"
    "  --body-part CODE        Body Part Examined (CHEST)\n"
    "  --view CODE             View Position (AP)\n"
    "  --age YEARS             (4)\n"
    "  --patient-name NAME, --patient-id ID, --accession NUMBER\n"
    "  --charset SET           auto, latin1 or utf8 for the names (auto)\n"
    "  --study-uid UID, --series-uid UID, --sop-uid UID\n"
    "  --instance-number N     (1) also makes another SOP Instance UID of the same seed\n"
    "  --request               with the attributes of an order\n"
    "  --raw                   only the film, 16 bit little endian, row by row\n"
    "  --print-region          print x,y,width,height of the opacity in pixels of the film\n";

static int usage(const char *what, const char *value)
{
    fprintf(stderr, "medaid-phantom: %s '%s'\n%s", what, value, USAGE);
    return 2;
}

/* Find `value` in a list that ends with NULL; -1 when it is not there. */
static int choice(const char *value, const char *const *list)
{
    for (int i = 0; list[i] != NULL; i++) {
        if (strcmp(value, list[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static int number(const char *text, unsigned long long largest, unsigned long long *ret_value)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') {
        return 0;
    }
    unsigned long long value = strtoull(text, &end, 10);
    if (*end != '\0' || value > largest) {
        return 0;
    }
    *ret_value = value;
    return 1;
}

enum {
    OPT_OUTPUT = 256,
    OPT_ROWS,
    OPT_COLUMNS,
    OPT_SEED,
    OPT_PHOTOMETRIC,
    OPT_OPACITY,
    OPT_MODALITY,
    OPT_BODY_PART,
    OPT_VIEW,
    OPT_AGE,
    OPT_NAME,
    OPT_ID,
    OPT_ACCESSION,
    OPT_CHARSET,
    OPT_STUDY,
    OPT_SERIES,
    OPT_SOP,
    OPT_INSTANCE,
    OPT_REQUEST,
    OPT_RAW,
    OPT_REGION,
    OPT_HELP,
};

static const struct option OPTIONS[] = {
    {"output", required_argument, NULL, OPT_OUTPUT},
    {"rows", required_argument, NULL, OPT_ROWS},
    {"columns", required_argument, NULL, OPT_COLUMNS},
    {"seed", required_argument, NULL, OPT_SEED},
    {"photometric", required_argument, NULL, OPT_PHOTOMETRIC},
    {"opacity", required_argument, NULL, OPT_OPACITY},
    {"modality", required_argument, NULL, OPT_MODALITY},
    {"body-part", required_argument, NULL, OPT_BODY_PART},
    {"view", required_argument, NULL, OPT_VIEW},
    {"age", required_argument, NULL, OPT_AGE},
    {"patient-name", required_argument, NULL, OPT_NAME},
    {"patient-id", required_argument, NULL, OPT_ID},
    {"accession", required_argument, NULL, OPT_ACCESSION},
    {"charset", required_argument, NULL, OPT_CHARSET},
    {"study-uid", required_argument, NULL, OPT_STUDY},
    {"series-uid", required_argument, NULL, OPT_SERIES},
    {"sop-uid", required_argument, NULL, OPT_SOP},
    {"instance-number", required_argument, NULL, OPT_INSTANCE},
    {"request", no_argument, NULL, OPT_REQUEST},
    {"raw", no_argument, NULL, OPT_RAW},
    {"print-region", no_argument, NULL, OPT_REGION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

/* Take one option that needs its value checked; 0 when the value is wrong. */
static int set_checked(phantom_options *o, int option, const char *value)
{
    static const char *const photometric[] = {"MONOCHROME1", "MONOCHROME2", "RGB", NULL};
    static const char *const opacity[] = {"none", "left", "right", NULL};
    static const char *const charset[] = {"auto", "latin1", "utf8", NULL};
    unsigned long long n = 0;
    int index = -1;
    switch (option) {
    case OPT_ROWS:
    case OPT_COLUMNS:
        if (!number(value, PHANTOM_MAX_SIDE, &n) || n < PHANTOM_MIN_SIDE) {
            return 0;
        }
        *(option == OPT_ROWS ? &o->rows : &o->columns) = (uint32_t)n;
        return 1;
    case OPT_SEED:
        return number(value, UINT64_MAX - 1, &n) ? (o->seed = n, 1) : 0;
    case OPT_AGE:
        return number(value, 120, &n) ? (o->age_years = (unsigned)n, 1) : 0;
    case OPT_INSTANCE:
        return number(value, 900, &n) && n > 0 ? (o->instance_number = (unsigned)n, 1) : 0;
    case OPT_PHOTOMETRIC:
        index = choice(value, photometric);
        return index >= 0 ? (o->photometric = (phantom_photometric)index, 1) : 0;
    case OPT_OPACITY:
        index = choice(value, opacity);
        return index >= 0 ? (o->opacity = (phantom_opacity)index, 1) : 0;
    case OPT_CHARSET:
        index = choice(value, charset);
        return index >= 0 ? (o->charset = (phantom_charset)index, 1) : 0;
    default:
        return 0;
    }
}

static const char **text_option(phantom_options *o, int option)
{
    switch (option) {
    case OPT_MODALITY:
        return &o->modality;
    case OPT_BODY_PART:
        return &o->body_part;
    case OPT_VIEW:
        return &o->view;
    case OPT_NAME:
        return &o->patient_name;
    case OPT_ID:
        return &o->patient_id;
    case OPT_ACCESSION:
        return &o->accession;
    case OPT_STUDY:
        return &o->study_uid;
    case OPT_SERIES:
        return &o->series_uid;
    case OPT_SOP:
        return &o->sop_uid;
    default:
        return NULL;
    }
}

static int write_file(const char *path, const void *bytes, size_t size_bytes)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t written = fwrite(bytes, 1, size_bytes, file);
    if (fclose(file) != 0 || written != size_bytes) {
        perror(path);
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    phantom_options o;
    phantom_options_init(&o);
    const char *output = NULL;
    int raw = 0, region = 0, option;
    while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        const char **text = text_option(&o, option);
        if (option == OPT_HELP) {
            fputs(USAGE, stdout);
            return 0;
        } else if (option == OPT_OUTPUT) {
            output = optarg;
        } else if (option == OPT_REQUEST) {
            o.with_request = 1;
        } else if (option == OPT_RAW) {
            raw = 1;
        } else if (option == OPT_REGION) {
            region = 1;
        } else if (text != NULL) {
            *text = optarg;
        } else if (option == '?') {
            return 2;
        } else if (!set_checked(&o, option, optarg)) {
            return usage("value not allowed:", optarg);
        }
    }
    if (output == NULL || optind < argc) {
        return usage("no --output, or too many arguments", optind < argc ? argv[optind] : "");
    }
    size_t size_bytes = 0;
    const char *reason = "out of memory";
    void *bytes = NULL;
    if (raw) {
        bytes = phantom_draw_chest(o.rows, o.columns, o.seed, o.opacity);
        size_bytes = (size_t)o.rows * o.columns * sizeof(uint16_t);
    } else {
        bytes = phantom_make_file(&o, &size_bytes, &reason);
    }
    if (bytes == NULL) {
        fprintf(stderr, "medaid-phantom: %s\n", reason);
        return 1;
    }
    int failed = write_file(output, bytes, size_bytes);
    phantom_region r;
    if (region && phantom_find_opacity(o.rows, o.columns, o.seed, o.opacity, &r)) {
        printf("%.1f,%.1f,%.1f,%.1f\n", r.x, r.y, r.width, r.height);
    }
    free(bytes);
    return failed;
}
