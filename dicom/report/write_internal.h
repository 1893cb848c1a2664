#ifndef MEDAID_DICOM_REPORT_WRITE_INTERNAL_H
#define MEDAID_DICOM_REPORT_WRITE_INTERNAL_H

/* C++ only: what the report and the picture have in common. A DcmDataset is filled attribute by
 * attribute; the first failure sticks and is returned at the end, so that the code reads as the
 * list of attributes that it is. */

#include "dicom/dataset/dataset_internal.h"
#include "dicom/report/report.h"
#include "dicom/report/text.h"

#include <string>
#include <vector>

/* A coded concept of the standard, static strings. */
struct md_concept {
    const char *value, *scheme, *meaning;
};

class md_writing
{
  public:
    md_writing(const md_result *the_result, const md_report_options *the_options)
        : result(the_result), options(the_options), dataset(*file.getDataset())
    {
    }

    const md_result *result;
    const md_report_options *options;
    DcmFileFormat file;
    DcmDataset &dataset; /* of the file */
    /* The patient's texts could not be made UTF-8 and stand as they came, in the source's own
     * character set: ours must then be ASCII. */
    bool verbatim = false;
    std::string date, time, datetime; /* of the analysis, DA, TM and DT */
    std::string device_uid;
    OFCondition condition = EC_Normal; /* the first that went wrong */
    DcmTag failed_at{0, 0};

    void note(const OFCondition &outcome, const DcmTag &tag);
    /* Our own text: made legal, at most max_characters. An empty one is written as such. */
    void text(DcmItem *item, const DcmTag &tag, const char *utf8, size_t max_characters = 64);
    void uid(DcmItem *item, const DcmTag &tag, const std::string &value);
    void number(DcmItem *item, const DcmTag &tag, unsigned value); /* US */
    void empty(DcmItem *item, const DcmTag &tag);
    /* Appends an item to a sequence; never NULL: on failure a scrap item is returned. */
    DcmItem *append(DcmItem *item, const DcmTag &sequence);
    void code(DcmItem *item, const md_concept &concept_code);
    void code(DcmItem *item, const md_code &concept_code);
    void code_sequence(DcmItem *item, const DcmTag &sequence, const md_concept &concept_code);
    /* One of our texts as it may stand here, for content items. */
    std::string clean(const char *utf8, unsigned kind, size_t max_characters) const;

  private:
    std::vector<std::string> scrap_;
    DcmItem scrap_item_;
};

/* Patient, Patient Study and General Study attributes of the source, in UTF-8; then the clock.
 * The Study Instance UID is the result's. */
void md_write_study(md_writing &w, const md_dataset *source);
/* SOP Common, the series, General and Enhanced General Equipment, Contributing Equipment. */
void md_write_series(md_writing &w, const char *sop_class_uid, const std::string &sop_uid,
                     const std::string &series_uid, const char *modality,
                     const char *series_number, const char *series_description);
/* An SOP Instance Reference Macro, PS3.3 table 10-11. */
void md_write_reference(md_writing &w, DcmItem *item, const char *class_uid,
                        const char *instance_uid);
/* One code string or number of the source, when it is a legal one. */
void md_carry_one(md_writing &w, const md_dataset *source, const DcmTag &tag);
/* Lossy Image Compression and what belongs to it, as they are of the source. */
void md_write_lossy(md_writing &w, const md_dataset *source);
/* An item of Source Image Sequence in `parent`; same_pixels: each pixel here is the one of the
 * same row and column there. */
void md_write_source_image(md_writing &w, DcmItem *parent, const md_dataset *source,
                           const md_instance_ref &instance, bool same_pixels);
/* Finish the character set and give the file; its UIDs are those of the dataset. */
md_status md_write_finish(md_writing &w, md_object *ret_object, md_error *err);

/* Whether this report has proposals to show. */
inline bool md_has_follow_up(const md_writing &w)
{
    return w.options->follow_up != nullptr && w.options->follow_up->n_proposals > 0 &&
           !w.options->triage_only;
}

/* UIDs: see docs/sr.md, "Identity". `kind` says what the UID names. */
std::string md_object_uid(const md_result *result, const char *kind);
std::string md_series_uid(const md_result *result, const char *kind);
std::string md_device_uid(const md_result *result);
/* The same finding of the same study keeps its UID when the analysis is repeated. */
std::string md_tracking_uid(const md_result *result, const char *key,
                            const md_instance_ref *instance);

/* VRs whose values are text in the character set of the dataset. */
inline bool md_is_text(DcmEVR vr)
{
    return vr == EVR_LO || vr == EVR_LT || vr == EVR_PN || vr == EVR_SH || vr == EVR_ST ||
           vr == EVR_UC || vr == EVR_UT;
}

/* Call `visit` with the value of every text attribute, nested ones too. */
template <typename Visit> void md_for_each_text(DcmItem *item, Visit visit)
{
    DcmStack stack;
    while (item->nextObject(stack, OFTrue).good()) {
        if (md_is_text(stack.top()->ident())) {
            auto *element = static_cast<DcmElement *>(stack.top());
            OFString value;
            if (element->getOFStringArray(value, OFFalse).good()) {
                visit(element, std::string(value.c_str(), value.size()));
            }
        }
    }
}

/* Attribute of a source as UTF-8; "" when it is absent or there is no source. */
std::string md_source_text(const md_dataset *source, const DcmTagKey &tag);

#endif
