/* medaid plugin interface, version 1.0
 *
 * SPDX-License-Identifier: MIT
 *
 * Copyright (c) 2026 the authors of medaid
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software
 * and associated documentation files (the "Software"), to deal in the Software without
 * restriction, including without limitation the rights to use, copy, modify, merge, publish,
 * distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
 * Software is furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or
 * substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING
 * BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
 * NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
 * DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING
 * FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 */

#ifndef MEDAID_PLUGIN_H
#define MEDAID_PLUGIN_H

/* A plugin is a shared library that looks at images and answers with coded findings: for what a
 * model package (a folder with model.yaml and an ONNX network, no code at all) cannot say. It
 * exports one function, medaid_plugin_entry, and this header is all that it needs.
 *
 * WHAT HAPPENS, in this order
 *   1. The host loads the library with RTLD_NOW | RTLD_LOCAL and calls medaid_plugin_entry.
 *   2. It reads the descriptor: constant data, there without loading weights. A plugin that was
 *      not asked for gets no further.
 *   3. create() loads weights, self_test() proves that this machine computes what the maker
 *      measured. A plugin whose self-test fails never sees a patient's image.
 *   4. analyse() for each image that the descriptor's `accepts` admits and that passed
 *      `quality`. The host decodes, applies the modality and VOI transformations and hands
 *      over floats.
 *   5. destroy(), and the library is unloaded.
 *
 * WHO CALLS WHERE. [load]: once for the process, no other call of this plugin runs. [instance]:
 * calls for one instance never overlap, but they may come from different threads one after
 * another, and calls for different instances may run at the same time. [any]: from any thread,
 * at any time between create and the end of destroy.
 *
 * MEMORY. Everything the plugin hands out is the plugin's and stays valid as long as its
 * function says. Everything the host hands out is the host's and valid during the call, except
 * the medaid_host table, which lives until the library is unloaded. Nobody frees what the other
 * allocated: answers go into memory that the host prepared.
 *
 * TRUST. The host does not believe an answer: scores must be finite and in 0..1, every declared
 * finding must be answered, texts are bounded and must be UTF-8 without control characters.
 * What breaks a rule fails the analysis of that image, it never reaches a report. What the code
 * does to the process it runs in cannot be checked. Where analyses run in worker processes, a
 * crash, an endless loop or a write outside the given memory costs one attempt of one study;
 * where they run inside the program itself (`medaid --oneshot`), the program goes down with the
 * plugin. A plugin must not count on either: it may find no network, no new files and no
 * further processes, so create() opens whatever it needs in `folder`. No exception and no
 * longjmp may leave a plugin function.
 *
 * GROWTH. A new major version breaks, and then the host refuses the plugin by its number. A new
 * minor version only appends members to structs; struct_bytes tells either side how much of a
 * struct the other knows, and a member beyond it must not be read. What does not belong into a
 * struct is an extension, asked for by name ("medaid.something/1") on either side. A plugin
 * built for a newer minor version than the host may still serve it, or return NULL.
 * Enumerations cross as int32_t: a value that is not known means "other", never a crash. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MEDAID_ABI_MAJOR 1
#define MEDAID_ABI_MINOR 0
/* What medaid_plugin_entry is told: major in the upper 16 bits. */
#define MEDAID_ABI(major, minor) (((uint32_t)(major) << 16) | (uint32_t)(minor))
#define MEDAID_PLUGIN_MAGIC UINT32_C(0x4d414450)

#if defined(__GNUC__)
#define MEDAID_PLUGIN_EXPORT __attribute__((visibility("default")))
#else
#define MEDAID_PLUGIN_EXPORT
#endif

enum {
    MEDAID_MAX_FINDINGS = 64,      /* that a plugin may declare */
    MEDAID_MAX_SALIENCY_SIDE = 64, /* columns and rows of a saliency map */
};

/* int32_t medaid_status: what a plugin function returns. After anything but MEDAID_OK the host
 * reports the text of the last set_error of this call, or the number when there was none. */
typedef int32_t medaid_status;
enum {
    MEDAID_OK = 0,
    MEDAID_FAILED = 1,     /* could not do it */
    MEDAID_NO_MEMORY = 2,  /* could not do it for want of memory */
    MEDAID_UNSUITABLE = 3, /* analyse: this image cannot be judged; a result with that reason */
};

/* int32_t level of a log line. */
enum {
    MEDAID_LOG_DEBUG = 0,
    MEDAID_LOG_INFO = 1,
    MEDAID_LOG_WARN = 2,
    MEDAID_LOG_ERROR = 3,
};

/* int32_t kind: what a plugin analyses. Texts, risk scores and follow-up come as further kinds.
 */
enum {
    MEDAID_KIND_IMAGE = 1,
};

/* int32_t values: what the floats of an image are. */
enum {
    MEDAID_VALUES_DISPLAY = 0,  /* after VOI and photometric: 0 black .. 1 white */
    MEDAID_VALUES_PHYSICAL = 1, /* after the modality transformation: Hounsfield, ... */
};

/* int32_t when_absent: what an image without the attribute gets. */
enum {
    MEDAID_ABSENT_REFUSE = 0,
    MEDAID_ABSENT_ACCEPT = 1,
};

/* A coded concept of DICOM PS3.16. Empty or NULL `value`: none. */
typedef struct medaid_code {
    const char *value;   /* at most 64 characters, e.g. "233604007" */
    const char *scheme;  /* at most 16: "SCT", "DCM", ... */
    const char *meaning; /* at most 128 bytes */
} medaid_code;

/* What a plugin looks at. Each list is "any of" and ends with NULL; a NULL list accepts all. */
typedef struct medaid_accepts {
    uint32_t struct_bytes;
    int32_t when_body_part_absent;
    int32_t when_view_absent;
    uint32_t reserved; /* 0 */
    const char *const *modality;
    const char *const *sop_class;
    const char *const *body_part; /* compared without case */
    const char *const *view;
    const char *const *photometric;
    double min_age_years, max_age_years; /* an unknown age is accepted */
} medaid_accepts;

/* What an image must be to be worth analysing; an image that fails gives a coded failure. */
typedef struct medaid_quality {
    uint32_t struct_bytes;
    uint32_t min_rows, min_columns;
    uint32_t reserved;   /* 0 */
    double min_contrast; /* 95th minus 5th percentile of the display values */
    double max_aspect;   /* longer side over shorter side, in mm; 0: no limit */
} medaid_quality;

/* A finding that the plugin always answers. */
typedef struct medaid_finding_info {
    const char *key;          /* [a-z0-9-], 1..64, unique in the plugin */
    medaid_code concept_code; /* required */
    medaid_code site_code;    /* optional */
    double threshold;         /* 0..1; present when score >= threshold */
    /* Inside this closed range, which holds the threshold, the presence is undetermined;
     * low > high: there is no such range. */
    double undetermined_low, undetermined_high;
    int32_t score_is_probability; /* 1 only for a calibrated probability */
    int32_t urgent;               /* 1: a reader should see it soon when it is present */
} medaid_finding_info;

/* Constant data, valid until the library is unloaded. */
typedef struct medaid_descriptor {
    uint32_t struct_bytes;
    int32_t kind;
    const char *id;           /* [a-z0-9-], 1..64, unique among all models and plugins */
    const char *version;      /* of the plugin, 1..16 characters */
    const char *name;         /* for people, 1..64 bytes */
    const char *manufacturer; /* 1..64 bytes */
    const char *intended_use; /* 1..1024 bytes, goes into reports */
    const medaid_accepts *accepts;
    const medaid_quality *quality; /* NULL: no gate */
    int32_t values;                /* MEDAID_VALUES_* that analyse gets */
    uint32_t n_findings;           /* 1..MEDAID_MAX_FINDINGS */
    uint32_t finding_bytes;        /* sizeof(medaid_finding_info), the stride of the array */
    uint32_t reserved;             /* 0 */
    const medaid_finding_info *findings;
} medaid_descriptor;

/* One frame. Valid during the call. */
typedef struct medaid_image {
    uint32_t struct_bytes;
    uint32_t rows, columns; /* at least 1 */
    uint32_t n_channels;    /* 1 or 3 (red, green, blue) */
    /* Planar: values[c * rows * columns + y * columns + x], x to the right, y down; finite. */
    const float *values;
    int32_t values_kind; /* MEDAID_VALUES_* */
    int32_t has_spacing; /* 1: the next two are millimetres, 0: only their ratio is known */
    double pixel_width_mm, pixel_height_mm; /* > 0 */
    /* Never NULL, "" when absent: (0008,0060), (0018,0015), (0018,5101), (0020,0062). */
    const char *modality, *body_part, *view, *laterality;
    double age_years;         /* negative: unknown */
    uint32_t frame, n_frames; /* 1-based */
} medaid_image;

/* int32_t state of an answer. */
enum {
    MEDAID_ANSWER_SCORED = 0,       /* the host compares the score with the threshold */
    MEDAID_ANSWER_UNDETERMINED = 1, /* the score is written, but decides nothing */
};

/* int32_t laterality of an answer. */
enum {
    MEDAID_LATERALITY_NONE = 0,
    MEDAID_LATERALITY_RIGHT = 1,
    MEDAID_LATERALITY_LEFT = 2,
    MEDAID_LATERALITY_BILATERAL = 3,
};

/* The answer for one declared finding. */
typedef struct medaid_answer {
    double score; /* 0..1; the host puts NaN here before the call, so a forgotten one shows */
    int32_t state;
    int32_t laterality;
    /* Where the plugin looked, covering the whole image, row-major, 0..1. The host gives room
     * for MEDAID_MAX_SALIENCY_SIDE squared floats, or NULL when a map is not wanted; the plugin
     * sets both sizes, or leaves them 0 when it has none. */
    float *saliency;
    uint32_t saliency_columns, saliency_rows;
} medaid_answer;

/* All answers of one call, in the order of the descriptor. */
typedef struct medaid_answers {
    uint32_t struct_bytes;
    uint32_t n_answers;    /* = descriptor->n_findings */
    uint32_t answer_bytes; /* stride of `answers` */
    uint32_t reserved;     /* 0 */
    medaid_answer *answers;
} medaid_answers;

/* Answer i, whatever the host's stride. */
static inline medaid_answer *medaid_answer_at(const medaid_answers *all, uint32_t i)
{
    return (medaid_answer *)(void *)((char *)(void *)all->answers +
                                     (size_t)i * all->answer_bytes);
}

/* What the host offers. Valid until the library is unloaded. */
typedef struct medaid_host medaid_host;
struct medaid_host {
    uint32_t struct_bytes;
    uint32_t abi;        /* MEDAID_ABI(major, minor) of the host */
    const char *version; /* of medaid, e.g. "0.1.0" */
    /* [any] One line for the log; never anything that comes from a patient's data. Because the
     * host cannot know that, it writes the line only when debugging is on, with `level` beside
     * it. At most 1,000 bytes. */
    void (*log)(const medaid_host *host, int32_t level, const char *text);
    /* [instance] Say why the running call is about to fail; copied, at most 255 bytes. The
     * same rule about patient data. */
    void (*set_error)(const medaid_host *host, const char *text);
    /* [any] The table of an extension, or NULL. Version 1.0 has none. */
    const void *(*get_extension)(const medaid_host *host, const char *id);
};

/* What medaid_plugin_entry returns: constant data, valid until the library is unloaded. All
 * function pointers but get_extension are required. */
typedef struct medaid_plugin {
    uint32_t magic; /* MEDAID_PLUGIN_MAGIC */
    uint16_t abi_major, abi_minor;
    uint32_t struct_bytes; /* sizeof(medaid_plugin) */
    uint32_t reserved;     /* 0 */
    const medaid_descriptor *descriptor;
    /* [load] Make an instance: load weights, take memory. `folder` is where the library lies.
     */
    medaid_status (*create)(const medaid_host *host, const char *folder, void **ret_instance);
    /* [load] Release it; called once for each created instance. */
    void (*destroy)(void *instance);
    /* [instance] Compute a known case and compare. Anything but MEDAID_OK keeps the plugin out.
     */
    medaid_status (*self_test)(void *instance);
    /* [instance] Look at one image and fill every answer. */
    medaid_status (*analyse)(void *instance, const medaid_image *image,
                             medaid_answers *answers);
    /* [any] The table of an extension, or NULL. May itself be NULL. */
    const void *(*get_extension)(void *instance, const char *id);
} medaid_plugin;

/* [load] The one exported symbol. NULL when the plugin cannot serve a host of this version. */
MEDAID_PLUGIN_EXPORT const medaid_plugin *medaid_plugin_entry(uint32_t host_abi);

#ifdef __cplusplus
}
#endif
#endif
