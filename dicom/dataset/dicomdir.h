#ifndef MEDAID_DICOM_DATASET_DICOMDIR_H
#define MEDAID_DICOM_DATASET_DICOMDIR_H

/* The files that a DICOMDIR (PS3.3 F, PS3.10 8) names. A DICOMDIR comes from a disc that
 * somebody brought: no name in it may lead out of the folder it lies in. Any thread. */

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MD_DICOMDIR_MAX_FILES = 100000
};

typedef struct md_dicomdir {
    size_t n_paths;
    char **paths;      /* owned; the folder of the DICOMDIR and the name, each once, in order */
    size_t n_missing;  /* names without a file */
    size_t n_rejected; /* names that are not allowed: "..", "/", links out of the folder */
} md_dicomdir;

/* True when it is a DICOMDIR: the Media Storage SOP Class of the meta header, or a Directory
 * Record Sequence. */
bool md_dataset_is_dicomdir(const md_dataset *dataset) MD_NOEXCEPT;

/* Read the Referenced File IDs of all directory records that are in use. The name may differ in
 * case from the file, as it does on discs mounted with lower-case names. MD_FORMAT without a
 * Directory Record Sequence, MD_LIMIT beyond MD_DICOMDIR_MAX_FILES, MD_IO when the folder
 * cannot be read. `path` is that of the DICOMDIR. Caller finishes. */
md_status md_dicomdir_read(const md_dataset *dataset, const char *path,
                           md_dicomdir *ret_dicomdir, md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_dicomdir_finish(md_dicomdir *dicomdir) MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
