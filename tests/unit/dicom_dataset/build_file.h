#ifndef MEDAID_TESTS_UNIT_DICOM_DATASET_BUILD_FILE_H
#define MEDAID_TESTS_UNIT_DICOM_DATASET_BUILD_FILE_H

/* Writes DICOM bytes element by element, also wrong ones, for the tests of dicom/dataset and
 * dicom/image. Allocation failures end the test program. */

#include "dicom/dataset/dataset.h"

typedef struct build_file {
    uint8_t *bytes;
    size_t size_bytes, room;
} build_file;

#define BUILD_EXPLICIT "1.2.840.10008.1.2.1"

/* Preamble and meta header with the transfer syntax. */
void build_begin(build_file *file, const char *transfer_syntax);
void build_finish(build_file *file);
void build_raw(build_file *file, const void *bytes, size_t size_bytes);
/* Explicit VR little endian; the length is padded to be even with `pad`. */
void build_element(build_file *file, uint32_t tag, const char *vr, const void *value,
                   size_t size_bytes);
void build_text(build_file *file, uint32_t tag, const char *vr, const char *text);
void build_us(build_file *file, uint32_t tag, unsigned value);
/* Header alone, with a length of the caller's. */
void build_header(build_file *file, uint32_t tag, const char *vr, uint32_t length);
/* Item or delimiter: tag and length. */
void build_marker(build_file *file, uint32_t tag, uint32_t length);

#define BUILD_ITEM MD_TAG(0xfffe, 0xe000)
#define BUILD_ITEM_END MD_TAG(0xfffe, 0xe00d)
#define BUILD_SEQUENCE_END MD_TAG(0xfffe, 0xe0dd)

/* Parse; the dataset must be good. */
md_dataset *build_parse(const build_file *file);

#endif
