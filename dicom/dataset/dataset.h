#ifndef MEDAID_DICOM_DATASET_DATASET_H
#define MEDAID_DICOM_DATASET_DATASET_H

/* A DICOM dataset, read once and then only asked. The bytes are hostile: a broken file gives an
 * error that names the tag or the offset, never a crash.
 *
 * Threads: md_dicom_init once, before all else, in one thread. A dataset belongs to one thread
 * at a time (DCMTK moves its cursor even while reading); different datasets may be used in
 * parallel.
 *
 * Sandboxes: beyond md_dicom_init and the file itself, iconv loads the table of a character set
 * when a text first needs it, and bytes of odd structure go through memfd_create and
 * /proc/self/fd. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MD_TAG(group, element) (((uint32_t)(group) << 16) | (uint32_t)(element))

enum {
    MD_UID_BYTES = 65,   /* 64 characters and the zero */
    MD_AE_BYTES = 17,    /* 16 characters and the zero */
    MD_TEXT_BYTES = 257, /* LO is 64 characters, at most 4 bytes each in UTF-8 */
};

typedef struct md_dataset md_dataset;
struct md_code; /* dicom/report/result.h */

/* Load the dictionary (6 ms), register codecs, route DCMTK's warnings and errors to md_log:
 * their number at debug level, never their text, which may quote a patient's data. MD_NOT_FOUND
 * when the dictionary is not installed. Calling it again does nothing. */
md_status md_dicom_init(md_error *err) MD_NOEXCEPT MD_NODISCARD;
/* Release what md_dicom_init took, at the end of the program. */
void md_dicom_finish(void) MD_NOEXCEPT;

/* Read a file with or without a meta header (then: implicit little endian, explicit little
 * endian or big endian by inspection). Values longer than a few KiB stay in the file until they
 * are asked for, so the file must stay as it is until destroy. MD_FORMAT when it is not DICOM
 * or is cut short, MD_LIMIT when sequences are nested too deeply or a deflated dataset is too
 * large, MD_INVALID_ARG when it is not a regular file, MD_NOT_FOUND, MD_IO. Messages do not
 * name the file; the caller prefixes it. Caller destroys. */
md_status md_dataset_open(const char *path, md_dataset **ret_dataset, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;
/* The same from memory; the bytes are copied. */
md_status md_dataset_parse(const uint8_t *bytes, size_t size_bytes, md_dataset **ret_dataset,
                           md_error *err) MD_NOEXCEPT MD_NODISCARD;
void md_dataset_destroy(md_dataset *dataset) MD_NOEXCEPT;
MD_DEFINE_DESTROYP(md_dataset, md_dataset_destroy)

/* True when the first bytes of a regular file look like DICOM (a DICM prefix, or a dataset that
 * begins with group 0002, 0004 or 0008): for walks over folders. Reads 4 KiB at most; needs no
 * md_dicom_init. */
bool md_dataset_sniff(const char *path) MD_NOEXCEPT;

/* True when the attribute is in the dataset (top level) and has a value. */
bool md_dataset_has(const md_dataset *dataset, uint32_t tag) MD_NOEXCEPT;

/* Value `index` (0 = first) of a text attribute as UTF-8, by the dataset's Specific Character
 * Set (0008,0005) or that of the sequence item, padding removed, line breaks and tabs
 * made one blank, other control characters dropped; cut at a character boundary to
 * fit size_bytes. An absent or empty value gives "" and false. An undecodable text gives its
 * ASCII part with '?' for the rest: a character set never fails a study. */
bool md_dataset_get_text(const md_dataset *dataset, uint32_t tag, unsigned index,
                         char *ret_text, size_t size_bytes) MD_NOEXCEPT;
/* What an order says: all values of a text attribute of the dataset or, when it is not there,
 * of the items of Request Attributes Sequence (0040,0275), with ". " between them, each by the
 * rules of md_dataset_get_text. *ret_cut: there was more than fits, and it was cut between
 * characters. False: nothing. size_bytes >= 1. */
bool md_dataset_get_order_text(const md_dataset *dataset, uint32_t tag, char *ret_text,
                               size_t size_bytes, bool *ret_cut) MD_NOEXCEPT;
/* The same of a structured report: Text Value (0040,A160) of its TEXT items (PS3.3 C.17.3.2.1),
 * in the order of the document, at most 65536 items. */
bool md_dataset_get_report_text(const md_dataset *dataset, char *ret_text, size_t size_bytes,
                                bool *ret_cut) MD_NOEXCEPT;
/* Value `index` of a numeric attribute (US, SS, UL, SL, FL, FD, IS, DS); false when absent,
 * empty or not a finite number, and then *ret_value is untouched. */
bool md_dataset_get_real(const md_dataset *dataset, uint32_t tag, unsigned index,
                         double *ret_value) MD_NOEXCEPT;
bool md_dataset_get_int(const md_dataset *dataset, uint32_t tag, unsigned index,
                        int64_t *ret_value) MD_NOEXCEPT;
/* Code sequence: code value, scheme and meaning of item 0; false when absent or incomplete. */
bool md_dataset_get_code(const md_dataset *dataset, uint32_t sequence_tag,
                         struct md_code *ret_code) MD_NOEXCEPT;
/* Transfer Syntax UID of the file, "" when it was a bare dataset. Valid until destroy. */
const char *md_dataset_transfer_syntax(const md_dataset *dataset) MD_NOEXCEPT;

/* The values of a text attribute that was read elsewhere, as UTF-8 in one line with '\\'
 * between them, by the rules of md_dataset_get_text. `vr` has two letters, "" when it is not
 * known; `charset` is the value of (0008,0005), "" when there is none. "" when nothing is left.
 * Needs no md_dicom_init. */
void md_text_convert(const uint8_t *bytes, size_t n, const char *vr, const char *charset,
                     char *ret_text, size_t size_bytes) MD_NOEXCEPT;

/* Derive a UID that is always the same for the same parts: "2.25." and the decimal value of the
 * first 128 bits (as a version-8 UUID, RFC 9562) of SHA-256 over the parts, each ended by a
 * zero byte. (PS3.5 B.2) */
void md_uid_derive(const char *const *parts, size_t n_parts, char ret_uid[MD_UID_BYTES])
    MD_NOEXCEPT;

#ifdef __cplusplus
}
#endif
#endif
