#ifndef MEDAID_DICOM_DATASET_DATASET_INTERNAL_H
#define MEDAID_DICOM_DATASET_DATASET_INTERNAL_H

/* C++ only, for the shims in dicom/: the DCMTK objects behind md_dataset, and what every shim
 * needs to keep DCMTK's exceptions and conditions away from C. */

#include "dicom/dataset/dataset.h"

#include <exception>
#include <new>
#include <string>

/* DCMTK's headers are not clean under the warnings of this project. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wcast-qual"
#include "dcmtk/config/osconfig.h"
#include "dcmtk/dcmdata/dctk.h"
#pragma GCC diagnostic pop

struct md_dataset {
    DcmFileFormat file;
    /* Of the meta header; DCMTK's own notion of the encoding is original_syntax. */
    std::string transfer_syntax;
    E_TransferSyntax original_syntax = EXS_Unknown;
};

/* DCMTK's readers are not const although they change nothing that shows; borrowed, valid until
 * the dataset is destroyed. */
DcmDataset *md_dataset_dcmtk(const md_dataset *dataset) noexcept;
DcmFileFormat *md_dataset_dcmtk_file(const md_dataset *dataset) noexcept;

/* The status that fits a DCMTK condition; MD_OK when it is good. */
md_status md_status_of_condition(const OFCondition &condition) noexcept;

/* How often DCMTK's JPEG library has found corrupt data in this thread so far. It reports them
 * in its log only and fills the rest of the picture with something. */
uint64_t md_dcmtk_jpeg_complaints() noexcept;

/* As the md_dataset_get functions, of an attribute of any item; the character set is the item's
 * own or that of what it is in. */
bool md_item_get_text(DcmItem *item, const DcmTagKey &tag, unsigned index, char *ret_text,
                      size_t size_bytes);
bool md_item_get_real(DcmItem *item, const DcmTagKey &tag, unsigned index, double *ret_value);
bool md_item_get_int(DcmItem *item, const DcmTagKey &tag, unsigned index, int64_t *ret_value);

/* `bytes` of a value with the VR `vr` in the character sets `charset` (the value of
 * (0008,0005)) as tidy UTF-8: value `index` of a multi-valued VR. False when there is no such
 * value. */
bool md_text_decode(const std::string &bytes, DcmEVR vr, const std::string &charset,
                    unsigned index, std::string &ret_text);

/* Run `body`; an exception becomes a status. */
template <typename Body>
md_status md_guard(md_error *err, const char *where, Body body) noexcept
{
    try {
        return body();
    } catch (const std::bad_alloc &) {
        return md_error_set(err, MD_NOMEM, where, "out of memory");
    } catch (const std::exception &) {
        return md_error_set(err, MD_INTERNAL, where, "unexpected C++ exception");
    } catch (...) {
        return md_error_set(err, MD_INTERNAL, where, "unknown C++ exception");
    }
}

/* The same for questions that can only be answered by yes or no. */
template <typename Body> bool md_guard_bool(Body body) noexcept
{
    try {
        return body();
    } catch (...) {
        return false;
    }
}

#endif
