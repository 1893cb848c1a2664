/* What picture and map say of the image that they were made from. */

#include "dicom/report/write_internal.h"

#include <cstring>

static const md_concept SOURCE_IMAGE = {"121322", "DCM",
                                        "Source image for image processing operation"};

static bool is_legal(DcmElement *element)
{
    OFString all;
    if (element->getOFStringArray(all).bad()) {
        return false;
    }
    const char *allowed = element->ident() == EVR_DS
                              ? "0123456789+-.eE \\"
                              : "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ \\";
    size_t length = 0;
    for (char c : all) {
        length = c == '\\' ? 0 : length + 1;
        if (length > 16 || c == '\0' || strchr(allowed, c) == nullptr) {
            return false;
        }
    }
    return element->ident() == EVR_CS || element->ident() == EVR_DS;
}

void md_carry_one(md_writing &w, const md_dataset *source, const DcmTag &tag)
{
    DcmElement *element = nullptr;
    if (md_dataset_dcmtk(source)->findAndGetElement(tag, element).good() &&
        element->ident() == tag.getEVR() && element->getLength() <= 256 && is_legal(element)) {
        auto *copy = static_cast<DcmElement *>(element->clone());
        if (copy == nullptr || w.dataset.insert(copy, OFTrue).bad()) {
            delete copy;
            throw std::bad_alloc();
        }
    }
}

/* True when the pixels went through a compression that loses (PS3.5 annex A.4). JPEG with
 * quantisation always does, whatever the source says; the other syntaxes may or may not, and
 * there the source's own word counts, if it gives one. */
static bool is_lossy(const md_dataset *source)
{
    static const char *const ALWAYS[] = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51",
                                         "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"};
    static const char *const MAYBE[] = {"1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91",
                                        "1.2.840.10008.1.2.4.93", "1.2.840.10008.1.2.4.203"};
    const char *syntax = md_dataset_transfer_syntax(source);
    std::string said = md_source_text(source, DCM_LossyImageCompression);
    for (const char *always : ALWAYS) {
        if (strcmp(syntax, always) == 0) {
            return true;
        }
    }
    for (const char *maybe : MAYBE) {
        if (strcmp(syntax, maybe) == 0 && said != "00") {
            return true;
        }
    }
    return said == "01";
}

void md_write_lossy(md_writing &w, const md_dataset *source)
{
    DcmDataset *d = &w.dataset;
    if (is_lossy(source)) {
        w.text(d, DCM_LossyImageCompression, "01", 16);
        md_carry_one(w, source, DCM_LossyImageCompressionRatio);
        md_carry_one(w, source, DCM_LossyImageCompressionMethod);
    } else {
        w.text(d, DCM_LossyImageCompression, "00", 16);
    }
}

void md_write_source_image(md_writing &w, DcmItem *parent, const md_dataset *source,
                           const md_instance_ref &instance, bool same_pixels)
{
    DcmItem *item = w.append(parent, DCM_SourceImageSequence);
    md_write_reference(w, item, instance.sop_class_uid, instance.sop_instance_uid);
    if (instance.frame != 0 && md_dataset_has(source, MD_TAG(0x0028, 0x0008))) {
        w.text(item, DCM_ReferencedFrameNumber, std::to_string(instance.frame).c_str(), 12);
    }
    w.text(item, DCM_SpatialLocationsPreserved, same_pixels ? "YES" : "NO", 16);
    w.code_sequence(item, DCM_PurposeOfReferenceCodeSequence, SOURCE_IMAGE);
}
