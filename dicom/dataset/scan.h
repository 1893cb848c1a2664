#ifndef MEDAID_DICOM_DATASET_SCAN_H
#define MEDAID_DICOM_DATASET_SCAN_H

/* A walk over the element headers of a DICOM file, before DCMTK sees it. It reads no values,
 * allocates nothing and answers what DCMTK 3.6.7 cannot: is this DICOM at all, is it cut short
 * and where, and are its sequences nested so deeply that DCMTK's recursive parser would run out
 * of stack (10,000 levels, a file of 160 KB, are enough). Any thread. */

#include "dicom/dataset/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    /* Deeper than any IOD of PS3.3 goes; DCMTK's stack is safe far beyond it. */
    MD_SCAN_MAX_DEPTH = 64,
    /* Items in a file whose structure the walk cannot follow: even if each opened a level,
     * DCMTK's stack would hold (1,000 levels need 0.7 MB). */
    MD_SCAN_MAX_ITEMS_UNKNOWN = 1000,
    MD_SCAN_WINDOW_BYTES = 4096,
};

/* Where the bytes are: a descriptor or a block. Set it up with one of the two functions. */
typedef struct md_scan_source {
    int fd;               /* -1 when `bytes` is used */
    const uint8_t *bytes; /* borrowed */
    uint64_t total_bytes;
    uint64_t window_start;
    size_t window_bytes;
    int os_errno; /* of a failed read, else 0 */
    uint8_t window[MD_SCAN_WINDOW_BYTES];
} md_scan_source;

void md_scan_source_file(md_scan_source *source, int fd, uint64_t total_bytes) MD_NOEXCEPT;
void md_scan_source_bytes(md_scan_source *source, const uint8_t *bytes, size_t size_bytes)
    MD_NOEXCEPT;

typedef struct md_scan {
    bool has_meta;
    bool is_explicit, is_big_endian, is_deflated;
    bool is_inspected; /* there is no transfer syntax that says so: found by looking */
    /* The walk met something that the standard does not allow and stopped following; what DCMTK
     * makes of it decides. */
    bool is_odd;
    uint64_t dataset_offset;            /* of the first element after the meta header */
    char transfer_syntax[MD_UID_BYTES]; /* of the meta header, "" when there is none */
} md_scan;

/* True when the first bytes are those of a Part 10 file (PS3.10 7.1) or of a bare dataset that
 * begins with group 0002, 0004 or 0008. */
bool md_scan_sniff(md_scan_source *source) MD_NOEXCEPT;

/* MD_FORMAT "not DICOM" or "cut short: ..." with the tag and the offset, MD_LIMIT when nested
 * deeper than MD_SCAN_MAX_DEPTH, MD_IO. Of a deflated file only the meta header is walked. */
md_status md_scan_file(md_scan_source *source, md_scan *ret_scan, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

/* The same for a dataset without a meta header, in the encoding that `scan` holds; sets is_odd.
 */
md_status md_scan_dataset(md_scan_source *source, md_scan *scan, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
