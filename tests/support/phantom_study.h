#ifndef MEDAID_TESTS_SUPPORT_PHANTOM_STUDY_H
#define MEDAID_TESTS_SUPPORT_PHANTOM_STUDY_H

/* The phantom film as a DICOM object, written by a Part 10 writer of its own (explicit VR
 * little endian, PS3.5 7.1.2 and PS3.10 7.1), so that tests do not check DCMTK with DCMTK. Any
 * thread.
 *
 * Modality DX gives Digital X-Ray Image Storage - For Presentation, CR gives Computed
 * Radiography Image Storage, everything else and RGB a Secondary Capture. */

#include "tests/support/phantom_image.h"

#include <stddef.h>

typedef enum phantom_photometric {
    PHANTOM_MONOCHROME1,
    PHANTOM_MONOCHROME2,
    PHANTOM_RGB, /* 8 bits, the film in grey with a tint: to be refused by a chest model */
} phantom_photometric;

typedef enum phantom_charset {
    PHANTOM_CHARSET_AUTO, /* nothing for ASCII, ISO_IR 192 for the rest */
    PHANTOM_CHARSET_LATIN1,
    PHANTOM_CHARSET_UTF8,
} phantom_charset;

/* All text is UTF-8, borrowed; NULL leaves out what may be absent or takes the default. */
typedef struct phantom_options {
    uint32_t rows, columns;
    uint64_t seed;
    phantom_opacity opacity;
    phantom_photometric photometric;
    phantom_charset charset;
    unsigned age_years;
    unsigned instance_number;
    const char *modality;     /* "DX" */
    const char *body_part;    /* "CHEST"; "" leaves it empty */
    const char *view;         /* "AP" */
    const char *patient_name; /* "Phantom^Chest" */
    const char *patient_id;   /* "PHANTOM-<seed>" */
    const char *accession;    /* "" */
    const char *study_uid;    /* the UIDs come from the seed */
    const char *series_uid;
    const char *sop_uid;
    const char *history;    /* Additional Patient History (0010,21B0) */
    const char *reason;     /* Reason for Study (0032,1030) */
    const char *heart_rate; /* (0018,1088) */
    int with_request;       /* a Request Attributes Sequence and procedure codes */
} phantom_options;

/* 2048 rows, 2500 columns, seed 1, MONOCHROME2, age 4, DX of the chest, AP. */
void phantom_options_init(phantom_options *options);

/* The whole file in memory; NULL with a reason in *ret_reason (static text). Caller frees with
 * free. */
uint8_t *phantom_make_file(const phantom_options *options, size_t *ret_size_bytes,
                           const char **ret_reason);

/* The UIDs that the object will carry, also where they come from the seed. */
typedef struct phantom_uids {
    char study[65], series[65], sop[65], sop_class[65];
} phantom_uids;
void phantom_make_uids(const phantom_options *options, phantom_uids *ret_uids);

#endif
