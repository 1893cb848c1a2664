#ifndef MEDAID_PLUGINS_HOST_STUDY_H
#define MEDAID_PLUGINS_HOST_STUDY_H

/* The files of one study: opened once, identified, put in order. Nothing is decoded here.
 * Belongs to one thread at a time. */

#include "plugins/host/accept.h"
#include "plugins/host/host.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct md_study_file {
    const char *path; /* borrowed */
    size_t index;     /* among the caller's paths */
    md_dataset *dataset;
    char study_uid[MD_UID_BYTES], series_uid[MD_UID_BYTES], sop_uid[MD_UID_BYTES];
    int64_t number; /* Instance Number (0020,0013), INT64_MAX without one */
    md_accept_facts facts;
    bool is_image;     /* it has pixel data, or claims a size */
    uint32_t n_frames; /* 0: claims to be an image, but `broken` says what is wrong */
    md_error broken;
    bool counted;         /* among the unreadable ones */
    uint64_t accepted_by; /* a bit for each model; filled by the pipeline, as the next */
    uint64_t asked;       /* those, and the models that some of them come after */
} md_study_file;

typedef struct md_study {
    md_study_file *files; /* owned; by series, instance number, SOP Instance UID */
    size_t n;
    size_t n_unreadable;
    md_error first_problem;
} md_study;

/* Open all. A file that is no DICOM object, has no Study, Series or SOP Instance UID, or is the
 * same object as an earlier one is told to options->on_problem and left out. MD_INVALID_ARG
 * when the Study Instance UIDs or the Patient IDs (where there are any) differ, MD_LIMIT for
 * more than MD_RESULT_MAX_INSTANCES files, MD_FORMAT when nothing is left. `ret_study` is to be
 * finished in every case. */
md_status md_study_open(const char *const *paths, size_t n_paths,
                        const md_analyse_options *options, md_study *ret_study, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
void md_study_finish(md_study *study) MD_NOEXCEPT;

/* What an image says of patient and study; a text that is too long is cut between characters.
 */
void md_study_read_header(const md_dataset *dataset, md_study_header *ret_header) MD_NOEXCEPT;

/* Tell options->on_problem, when there is one. */
static inline void md_study_problem(const md_analyse_options *options, const char *path,
                                    const md_error *reason)
{
    if (options->on_problem != NULL) {
        options->on_problem(options->context, path, reason);
    }
}

#ifdef __cplusplus
}
#endif
#endif
