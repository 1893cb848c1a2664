#include "dicom/network/sop.h"
#include "dicom/report/write_internal.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wcast-qual"
#include "dcmtk/dcmdata/dcostrmb.h"
#include "dcmtk/dcmdata/dcwcache.h"
#pragma GCC diagnostic pop

#include <cstdio>
#include <cstring>

static const md_concept PROCESSING_EQUIPMENT = {"109102", "DCM", "Processing Equipment"};

void md_writing::note(const OFCondition &outcome, const DcmTag &tag)
{
    if (condition.good() && outcome.bad()) {
        condition = outcome;
        failed_at = tag;
    }
}

std::string md_writing::clean(const char *utf8, unsigned kind, size_t max_characters) const
{
    std::string target(utf8 != nullptr ? strlen(utf8) * 2 + 1 : 1, '\0');
    unsigned ascii = verbatim ? unsigned{MD_TEXT_ASCII} : 0U;
    size_t length = md_text_copy(&target[0], target.size(), max_characters, kind | ascii, utf8);
    target.resize(length);
    return target;
}

void md_writing::text(DcmItem *item, const DcmTag &tag, const char *utf8, size_t max_characters)
{
    unsigned kind =
        tag.getEVR() == EVR_UT || tag.getEVR() == EVR_ST ? MD_TEXT_FREE : MD_TEXT_LINE;
    std::string value = clean(utf8, kind, max_characters);
    if (value.empty()) {
        empty(item, tag);
    } else {
        note(item->putAndInsertString(tag, value.c_str()), tag);
    }
}

void md_writing::uid(DcmItem *item, const DcmTag &tag, const std::string &value)
{
    note(item->putAndInsertString(tag, value.c_str()), tag);
}

void md_writing::number(DcmItem *item, const DcmTag &tag, unsigned value)
{
    note(item->putAndInsertUint16(tag, static_cast<Uint16>(value)), tag);
}

void md_writing::empty(DcmItem *item, const DcmTag &tag)
{
    note(item->insertEmptyElement(tag), tag);
}

DcmItem *md_writing::append(DcmItem *item, const DcmTag &sequence)
{
    DcmItem *added = nullptr;
    note(item->findOrCreateSequenceItem(sequence, added, -2), sequence);
    return added != nullptr ? added : &scrap_item_;
}

void md_writing::code(DcmItem *item, const md_concept &c)
{
    md_code copy = {};
    md_text_copy(copy.value, sizeof copy.value, 64, MD_TEXT_LINE, c.value);
    md_text_copy(copy.scheme, sizeof copy.scheme, 16, MD_TEXT_LINE, c.scheme);
    md_text_copy(copy.meaning, sizeof copy.meaning, 64, MD_TEXT_LINE, c.meaning);
    code(item, copy);
}

void md_writing::code(DcmItem *item, const md_code &c)
{
    bool is_long = strlen(c.value) > 16;
    text(item, is_long ? DCM_LongCodeValue : DCM_CodeValue, c.value);
    text(item, DCM_CodingSchemeDesignator, c.scheme, 16);
    text(item, DCM_CodeMeaning, c.meaning);
}

void md_writing::code_sequence(DcmItem *item, const DcmTag &sequence, const md_concept &c)
{
    code(append(item, sequence), c);
}

std::string md_source_text(const md_dataset *source, const DcmTagKey &tag)
{
    char value[MD_TEXT_BYTES] = "";
    if (source != nullptr) {
        (void)md_dataset_get_text(source, MD_TAG(tag.getGroup(), tag.getElement()), 0, value,
                                  sizeof value);
    }
    return value;
}

/* IHE AI Results (AIR) 6.5.3.1: each algorithm is described as contributing equipment. */
static void write_contributing_equipment(md_writing &w)
{
    const md_model_identity &m = w.result->model;
    DcmItem *item = w.append(&w.dataset, DCM_ContributingEquipmentSequence);
    w.code_sequence(item, DCM_PurposeOfReferenceCodeSequence, PROCESSING_EQUIPMENT);
    w.text(item, DCM_Manufacturer, m.manufacturer[0] != '\0' ? m.manufacturer : "medaid");
    if (w.options->institution_name != nullptr) {
        w.text(item, DCM_InstitutionName, w.options->institution_name);
    }
    if (w.options->station_name != nullptr) {
        w.text(item, DCM_StationName, w.options->station_name, 16);
    }
    w.text(item, DCM_ManufacturerModelName, m.name[0] != '\0' ? m.name : m.id);
    w.text(item, DCM_DeviceSerialNumber, m.sha256);
    w.text(item, DCM_SoftwareVersions, m.version);
    w.uid(item, DCM_DeviceUID, w.device_uid);
    w.text(item, DCM_ContributionDateTime, w.datetime.c_str());
    w.text(item, DCM_ContributionDescription, "Image analysis by a trained model", 1024);
}

void md_write_series(md_writing &w, const char *sop_class_uid, const std::string &sop_uid,
                     const std::string &series_uid, const char *modality,
                     const char *series_number, const char *series_description)
{
    DcmDataset *d = &w.dataset;
    w.uid(d, DCM_SOPClassUID, sop_class_uid);
    w.uid(d, DCM_SOPInstanceUID, sop_uid);
    w.uid(d, DCM_SeriesInstanceUID, series_uid);
    w.text(d, DCM_Modality, modality, 16);
    w.text(d, DCM_SeriesNumber, series_number);
    w.text(d, DCM_SeriesDescription, series_description);
    w.text(d, DCM_SeriesDate, w.date.c_str());
    w.text(d, DCM_SeriesTime, w.time.c_str());
    w.text(d, DCM_ContentDate, w.date.c_str());
    w.text(d, DCM_ContentTime, w.time.c_str());
    /* The device is medaid with this model in it: a new model is a new device. */
    w.text(d, DCM_Manufacturer, "medaid");
    w.text(d, DCM_ManufacturerModelName, "medaid");
    w.text(d, DCM_DeviceSerialNumber, w.result->model.sha256);
    w.text(d, DCM_SoftwareVersions, MEDAID_VERSION);
    if (w.options->institution_name != nullptr) {
        w.text(d, DCM_InstitutionName, w.options->institution_name);
    }
    if (w.options->station_name != nullptr) {
        w.text(d, DCM_StationName, w.options->station_name, 16);
    }
    write_contributing_equipment(w);
}

void md_write_reference(md_writing &w, DcmItem *item, const char *class_uid,
                        const char *instance_uid)
{
    w.uid(item, DCM_ReferencedSOPClassUID, class_uid);
    w.uid(item, DCM_ReferencedSOPInstanceUID, instance_uid);
}

static void finish_character_set(md_writing &w)
{
    if (w.verbatim) {
        return;
    }
    bool ascii = true;
    md_for_each_text(&w.dataset, [&](DcmElement *, const std::string &value) {
        for (char c : value) {
            ascii = ascii && static_cast<unsigned char>(c) < 0x80;
        }
    });
    delete w.dataset.remove(DCM_SpecificCharacterSet);
    if (!ascii) {
        w.note(w.dataset.putAndInsertString(DCM_SpecificCharacterSet, "ISO_IR 192"),
               DCM_SpecificCharacterSet);
    }
}

/* Write through a small window into one block: DCMTK's buffer streams do not grow. */
static md_status write_to_memory(DcmFileFormat &file, md_object *object, md_error *err)
{
    const E_TransferSyntax syntax = EXS_LittleEndianExplicit;
    size_t expected = file.calcElementLength(syntax, EET_ExplicitLength);
    size_t capacity = 0;
    if (!md_add(expected, 4096, &capacity)) {
        return md_fail(err, MD_LIMIT, "the object is too large");
    }
    capacity += capacity & 1;
    uint8_t *bytes = static_cast<uint8_t *>(md_malloc(capacity));
    if (bytes == nullptr) {
        return md_fail(err, MD_NOMEM, "out of memory for an object of %zu bytes", expected);
    }
    OFCondition written = EC_MemoryExhausted;
    void *window = nullptr;
    offile_off_t length = 0;
    try {
        DcmOutputBufferStream stream(bytes, static_cast<offile_off_t>(capacity));
        file.transferInit();
        /* Not DcmFileFormat::write, which puts DCMTK's name into the meta header. */
        DcmWriteCache cache;
        file.transferInit();
        written = file.getMetaInfo()->write(stream, EXS_LittleEndianExplicit,
                                            EET_ExplicitLength, &cache);
        if (written.good()) {
            written = file.getDataset()->write(stream, syntax, EET_ExplicitLength, &cache,
                                               EGL_recalcGL, EPD_noChange);
        }
        file.transferEnd();
        stream.flush();
        stream.flushBuffer(window, length);
    } catch (...) {
        md_free(bytes);
        throw;
    }
    if (written.bad() || window != bytes || length <= 0) {
        md_free(bytes);
        return md_fail(err, MD_INTERNAL, "the object could not be written: %s", written.text());
    }
    object->bytes = bytes;
    object->size_bytes = static_cast<size_t>(length);
    return MD_OK;
}

md_status md_write_finish(md_writing &w, md_object *ret_object, md_error *err)
{
    finish_character_set(w);
    if (w.condition.bad()) {
        md_status status = md_status_of_condition(w.condition);
        return md_fail(err, status == MD_NOMEM ? MD_NOMEM : MD_INTERNAL,
                       "attribute (%04x,%04x) could not be written: %s", w.failed_at.getGroup(),
                       w.failed_at.getElement(), w.condition.text());
    }
    OFString class_uid, instance_uid, series_uid;
    (void)w.dataset.findAndGetOFString(DCM_SOPClassUID, class_uid);
    (void)w.dataset.findAndGetOFString(DCM_SOPInstanceUID, instance_uid);
    (void)w.dataset.findAndGetOFString(DCM_SeriesInstanceUID, series_uid);
    DcmMetaInfo *meta = w.file.getMetaInfo();
    w.note(w.file.validateMetaInfo(EXS_LittleEndianExplicit, EWM_createNewMeta),
           DCM_FileMetaInformationGroupLength);
    (void)meta->putAndInsertString(DCM_ImplementationClassUID, MD_IMPLEMENTATION_CLASS_UID);
    (void)meta->putAndInsertString(DCM_ImplementationVersionName, MD_IMPLEMENTATION_VERSION);
    (void)meta->computeGroupLengthAndPadding(EGL_recalcGL, EPD_noChange,
                                             EXS_LittleEndianExplicit, EET_ExplicitLength);
    md_object object = {};
    MD_TRY(write_to_memory(w.file, &object, err));
    snprintf(object.sop_class_uid, sizeof object.sop_class_uid, "%s", class_uid.c_str());
    snprintf(object.sop_instance_uid, sizeof object.sop_instance_uid, "%s",
             instance_uid.c_str());
    snprintf(object.series_instance_uid, sizeof object.series_instance_uid, "%s",
             series_uid.c_str());
    snprintf(object.model_id, sizeof object.model_id, "%s", w.result->model.id);
    *ret_object = object;
    return MD_OK;
}
