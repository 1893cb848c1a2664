/* The map of one finding as numbers: the Parametric Map IOD, PS3.3 A.75, with float pixels. */

#include "dicom/report/picture.h"
#include "dicom/report/write_internal.h"

#include <cstring>

static const char SOP_PARAMETRIC_MAP[] = "1.2.840.10008.5.1.4.1.1.30";
static const char IMAGE_TYPE[] = "DERIVED\\PRIMARY\\STATIC\\RESAMPLED";
static const md_concept QUANTITY = {"246205007", "SCT", "Quantity"};
static const md_concept FINDING = {"121071", "DCM", "Finding"};
static const md_concept NO_UNITS = {"1", "UCUM", "no units"};
static const md_concept SALIENCY = {"130404", "DCM", "Saliency"};
static const md_concept GRADIENT_ACTIVATION = {"130403", "DCM",
                                               "Gradient-weighted class activation"};
static const md_concept RESAMPLED = {"113085", "DCM", "Spatial resampling"};

/* How the map lies on the source. */
struct map_geometry {
    uint32_t k;             /* source pixels along a side of one of the map's */
    uint32_t rows, columns; /* of the map */
    bool has_spacing;
    double row_spacing_mm, column_spacing_mm; /* of the source */
    bool has_plane;
    double position[3], orientation[6]; /* of the source, PS3.3 C.7.6.2.1.1 */
};

static bool read_reals(const md_dataset *source, const DcmTagKey &tag, unsigned n, double *ret)
{
    bool all = true;
    for (unsigned i = 0; i < n; i++) {
        all = all &&
              md_dataset_get_real(source, MD_TAG(tag.getGroup(), tag.getElement()), i, &ret[i]);
    }
    for (unsigned i = 0; all && i < n; i++) {
        all = ret[i] > -1e6 && ret[i] < 1e6;
    }
    return all;
}

static md_status read_geometry(const md_dataset *source, map_geometry *g, md_error *err)
{
    int64_t rows = 0, columns = 0;
    if (!md_dataset_get_int(source, MD_TAG(0x0028, 0x0010), 0, &rows) ||
        !md_dataset_get_int(source, MD_TAG(0x0028, 0x0011), 0, &columns) || rows <= 0 ||
        rows > 65535 || columns <= 0 || columns > 65535) {
        return md_fail(err, MD_FORMAT, "(0028,0010) Rows or (0028,0011) Columns missing");
    }
    uint32_t longer = static_cast<uint32_t>(rows > columns ? rows : columns);
    g->k = (longer + MD_PARAMETRIC_MAP_SIDE - 1) / MD_PARAMETRIC_MAP_SIDE;
    g->rows = (static_cast<uint32_t>(rows) + g->k - 1) / g->k;
    g->columns = (static_cast<uint32_t>(columns) + g->k - 1) / g->k;
    double spacing[2];
    /* in the patient, else at the detector: PS3.3 10.7.1.3 */
    g->has_spacing = read_reals(source, DCM_PixelSpacing, 2, spacing) ||
                     read_reals(source, DCM_ImagerPixelSpacing, 2, spacing);
    g->has_spacing = g->has_spacing && spacing[0] > 1e-5 && spacing[1] > 1e-5;
    if (g->has_spacing) {
        g->row_spacing_mm = spacing[0];
        g->column_spacing_mm = spacing[1];
    }
    g->has_plane = g->has_spacing && !md_source_text(source, DCM_FrameOfReferenceUID).empty() &&
                   read_reals(source, DCM_ImagePositionPatient, 3, g->position) &&
                   read_reals(source, DCM_ImageOrientationPatient, 6, g->orientation);
    return MD_OK;
}

static std::string decimals(const double *values, unsigned n)
{
    std::string all;
    for (unsigned i = 0; i < n; i++) {
        char text[17];
        md_text_decimal(values[i], 8, text);
        all += (i > 0 ? "\\" : "") + std::string(text);
    }
    return all;
}

static void put_decimals(md_writing &w, DcmItem *item, const DcmTag &tag, const double *values,
                         unsigned n)
{
    w.note(item->putAndInsertString(tag, decimals(values, n).c_str()), tag);
}

/* The centre of the first pixel here is that of k x k pixels there. A film has no place in the
 * patient: then the items stay empty (both attributes are of type 1C, for original frames), as
 * any number would name sides and directions that nobody knows. */
static void write_plane(md_writing &w, DcmItem *frame, DcmItem *shared, const map_geometry &g)
{
    DcmItem *position = w.append(frame, DCM_PlanePositionSequence);
    DcmItem *orientation = w.append(shared, DCM_PlaneOrientationSequence);
    if (!g.has_plane) {
        return;
    }
    double first[3];
    for (unsigned i = 0; i < 3; i++) {
        first[i] = g.position[i] + (g.k - 1) / 2.0 *
                                       (g.orientation[i] * g.column_spacing_mm +
                                        g.orientation[3 + i] * g.row_spacing_mm);
    }
    put_decimals(w, position, DCM_ImagePositionPatient, first, 3);
    put_decimals(w, orientation, DCM_ImageOrientationPatient, g.orientation, 6);
}

/* Frame Anatomy has to name a region: the source's own code, else its Body Part Examined as
 * PS3.16 annex L codes it, else the finding's site, else the whole. */
static md_code region_of(const md_dataset *source, const md_finding &finding)
{
    static const struct {
        const char *word;
        md_code code;
    } PARTS[] = {
        {"CHEST", {"51185008", "SCT", "Chest"}},
        {"THORAX", {"51185008", "SCT", "Chest"}},
        {"HEAD", {"69536005", "SCT", "Head"}},
        {"NECK", {"45048000", "SCT", "Neck"}},
        {"BREAST", {"76752008", "SCT", "Breast"}},
        {"PELVIS", {"12921003", "SCT", "Pelvis"}},
        {"SHOULDER", {"16982005", "SCT", "Shoulder"}},
        {"HAND", {"85562004", "SCT", "Hand"}},
        {"KNEE", {"72696002", "SCT", "Knee"}},
        {"FOOT", {"56459004", "SCT", "Foot"}},
    };
    md_code code = {};
    if (md_dataset_get_code(source, MD_TAG(0x0008, 0x2218), &code)) {
        return code;
    }
    std::string part = md_source_text(source, DCM_BodyPartExamined);
    for (const auto &row : PARTS) {
        if (part == row.word) {
            return row.code;
        }
    }
    return finding.site.value[0] != '\0' ? finding.site
                                         : md_code{"38266002", "SCT", "Entire body"};
}

static void write_anatomy(md_writing &w, DcmItem *shared, const md_dataset *source,
                          const md_finding &finding)
{
    std::string side = md_source_text(source, DCM_ImageLaterality);
    side = side.empty() ? md_source_text(source, DCM_Laterality) : side;
    bool known = side == "R" || side == "L" || side == "B";
    DcmItem *anatomy = w.append(shared, DCM_FrameAnatomySequence);
    w.text(anatomy, DCM_FrameLaterality, known ? side.c_str() : "U", 16);
    w.code(w.append(anatomy, DCM_AnatomicRegionSequence), region_of(source, finding));
}

/* One item of a Content Item Macro, PS3.3 table 10-2, with a code as its value. */
template <typename Code>
static void write_quantity(md_writing &w, DcmItem *mapping, const md_concept &name,
                           const Code &value)
{
    DcmItem *item = w.append(mapping, DCM_QuantityDefinitionSequence);
    w.text(item, DCM_ValueType, "CODE", 16);
    w.code_sequence(item, DCM_ConceptNameCodeSequence, name);
    w.code(w.append(item, DCM_ConceptCodeSequence), value);
}

/* Real World Value Mapping, PS3.3 C.7.6.16.2.11: the stored value is the value. */
static void write_mapping(md_writing &w, DcmItem *shared, const md_finding &finding)
{
    DcmItem *mapping = w.append(shared, DCM_RealWorldValueMappingSequence);
    const md_concept &quantity =
        finding.saliency.kind == MD_MAP_GRADIENT_ACTIVATION ? GRADIENT_ACTIVATION : SALIENCY;
    w.text(mapping, DCM_LUTExplanation,
           (std::string("Relative evidence for: ") + finding.concept.meaning).c_str());
    w.text(mapping, DCM_LUTLabel, "MAP", 16);
    w.note(mapping->putAndInsertFloat64(DCM_DoubleFloatRealWorldValueFirstValueMapped, 0),
           DCM_DoubleFloatRealWorldValueFirstValueMapped);
    w.note(mapping->putAndInsertFloat64(DCM_DoubleFloatRealWorldValueLastValueMapped, 1),
           DCM_DoubleFloatRealWorldValueLastValueMapped);
    w.note(mapping->putAndInsertFloat64(DCM_RealWorldValueIntercept, 0),
           DCM_RealWorldValueIntercept);
    w.note(mapping->putAndInsertFloat64(DCM_RealWorldValueSlope, 1), DCM_RealWorldValueSlope);
    w.code_sequence(mapping, DCM_MeasurementUnitsCodeSequence, NO_UNITS);
    write_quantity(w, mapping, QUANTITY, quantity);
    write_quantity(w, mapping, FINDING, finding.concept);
}

static void write_derivation(md_writing &w, DcmItem *frame, const md_dataset *source,
                             const md_instance_ref &instance, const md_finding &finding,
                             bool same_pixels)
{
    DcmItem *item = w.append(frame, DCM_DerivationImageSequence);
    std::string text = "Where a neural network found evidence for the finding";
    if (finding.saliency.method[0] != '\0') {
        text += std::string(", ") + finding.saliency.method;
    }
    w.text(item, DCM_DerivationDescription,
           (text + "; relative to the largest value of this map").c_str(), 1024);
    w.code(w.append(item, DCM_DerivationCodeSequence), RESAMPLED);
    md_write_source_image(w, item, source, instance, same_pixels);
}

static void write_functional_groups(md_writing &w, const md_dataset *source,
                                    const md_finding &finding, const map_geometry &g)
{
    DcmDataset *d = &w.dataset;
    const md_instance_ref &instance = w.result->instances[finding.instance_index];
    DcmItem *shared = w.append(d, DCM_SharedFunctionalGroupsSequence);
    DcmItem *frame = w.append(d, DCM_PerFrameFunctionalGroupsSequence);
    DcmItem *measures = w.append(shared, DCM_PixelMeasuresSequence);
    if (g.has_spacing) {
        const double spacing[2] = {g.row_spacing_mm * g.k, g.column_spacing_mm * g.k};
        put_decimals(w, measures, DCM_PixelSpacing, spacing, 2);
    }
    double thickness = 0;
    if (g.has_plane && read_reals(source, DCM_SliceThickness, 1, &thickness) && thickness > 0) {
        put_decimals(w, measures, DCM_SliceThickness, &thickness, 1);
    }
    write_plane(w, frame, shared, g);
    write_anatomy(w, shared, source, finding);
    DcmItem *transformation = w.append(shared, DCM_PixelValueTransformationSequence);
    w.text(transformation, DCM_RescaleIntercept, "0", 16);
    w.text(transformation, DCM_RescaleSlope, "1", 16);
    w.text(transformation, DCM_RescaleType, "US", 16);
    DcmItem *window = w.append(shared, DCM_FrameVOILUTSequence);
    w.text(window, DCM_WindowCenter, "0.5", 16);
    w.text(window, DCM_WindowWidth, "1", 16);
    w.text(window, DCM_VOILUTFunction, "LINEAR_EXACT", 16);
    write_mapping(w, shared, finding);
    DcmItem *type = w.append(shared, DCM_ParametricMapFrameTypeSequence);
    w.note(type->putAndInsertString(DCM_FrameType, IMAGE_TYPE), DCM_FrameType);
    DcmItem *content = w.append(frame, DCM_FrameContentSequence);
    w.text(content, DCM_StackID, "1", 16);
    w.note(content->putAndInsertUint32(DCM_InStackPositionNumber, 1),
           DCM_InStackPositionNumber);
    w.note(content->putAndInsertUint32(DCM_DimensionIndexValues, 1), DCM_DimensionIndexValues);
    write_derivation(w, frame, source, instance, finding, g.k == 1);
}

/* PS3.3 C.7.6.17: one frame, in the place 1 of its stack. */
static void write_dimension(md_writing &w, const std::string &uid)
{
    DcmDataset *d = &w.dataset;
    w.uid(w.append(d, DCM_DimensionOrganizationSequence), DCM_DimensionOrganizationUID, uid);
    DcmItem *index = w.append(d, DCM_DimensionIndexSequence);
    w.uid(index, DCM_DimensionOrganizationUID, uid);
    w.note(index->putAndInsertTagKey(DCM_DimensionIndexPointer, DCM_InStackPositionNumber),
           DCM_DimensionIndexPointer);
    w.note(index->putAndInsertTagKey(DCM_FunctionalGroupPointer, DCM_FrameContentSequence),
           DCM_FunctionalGroupPointer);
}

/* The source's own frame of reference, or one for what has the film's plane in common with it.
 */
static void write_frame_of_reference(md_writing &w, const md_dataset *source,
                                     const md_instance_ref &instance)
{
    std::string uid = md_source_text(source, DCM_FrameOfReferenceUID);
    bool legal = !uid.empty() && uid.size() < MD_UID_BYTES &&
                 uid.find_first_not_of("0123456789.") == std::string::npos;
    if (!legal) {
        const char *parts[] = {"medaid-1", "frame of reference", instance.sop_instance_uid};
        char own[MD_UID_BYTES];
        md_uid_derive(parts, 3, own);
        uid = own;
    }
    w.uid(&w.dataset, DCM_FrameOfReferenceUID, uid);
    w.empty(&w.dataset, DCM_PositionReferenceIndicator);
    if (legal) {
        w.text(&w.dataset, DCM_PositionReferenceIndicator,
               md_source_text(source, DCM_PositionReferenceIndicator).c_str());
    }
}

static void write_image(md_writing &w, const md_dataset *source, size_t finding_index,
                        const map_geometry &g)
{
    DcmDataset *d = &w.dataset;
    const md_finding &finding = w.result->findings[finding_index];
    const char *qualification = w.options->content_qualification;
    w.note(d->putAndInsertString(DCM_ImageType, IMAGE_TYPE), DCM_ImageType);
    w.text(d, DCM_InstanceNumber, std::to_string(finding_index + 1).c_str(), 12);
    w.text(d, DCM_ContentLabel, "SALIENCY", 16);
    w.text(d, DCM_ContentDescription, finding.concept.meaning);
    w.empty(d, DCM_ContentCreatorName);
    w.text(d, DCM_ContentQualification, qualification != nullptr ? qualification : "RESEARCH",
           16);
    w.empty(d, DCM_PatientOrientation);
    md_carry_one(w, source, DCM_PatientOrientation);
    md_carry_one(w, source, DCM_BodyPartExamined);
    w.note(d->insertEmptyElement(DCM_AcquisitionContextSequence),
           DCM_AcquisitionContextSequence);
    w.text(d, DCM_BurnedInAnnotation, "NO", 16);
    w.text(d, DCM_RecognizableVisualFeatures, "NO", 16);
    w.text(d, DCM_PresentationLUTShape, "IDENTITY", 16);
    md_write_lossy(w, source);
    w.text(d, DCM_NumberOfFrames, "1", 12);
    w.number(d, DCM_SamplesPerPixel, 1);
    w.text(d, DCM_PhotometricInterpretation, "MONOCHROME2", 16);
    w.number(d, DCM_Rows, g.rows);
    w.number(d, DCM_Columns, g.columns);
    w.number(d, DCM_BitsAllocated, 32);
}

static void write_values(md_writing &w, const md_saliency &map, const map_geometry &g)
{
    std::vector<Float32> values;
    values.reserve(static_cast<size_t>(g.rows) * g.columns);
    for (uint32_t y = 0; y < g.rows; y++) {
        for (uint32_t x = 0; x < g.columns; x++) {
            values.push_back(
                static_cast<Float32>(md_saliency_at(&map, (x + 0.5) * g.k, (y + 0.5) * g.k)));
        }
    }
    w.note(w.dataset.putAndInsertFloat32Array(DCM_FloatPixelData, values.data(), values.size()),
           DCM_FloatPixelData);
}

/* PS3.3 C.12.2: the series of the source is in this study. */
static void write_common_reference(md_writing &w, const md_instance_ref &instance)
{
    DcmItem *series = w.append(&w.dataset, DCM_ReferencedSeriesSequence);
    w.uid(series, DCM_SeriesInstanceUID, instance.series_instance_uid);
    md_write_reference(w, w.append(series, DCM_ReferencedInstanceSequence),
                       instance.sop_class_uid, instance.sop_instance_uid);
}

static md_status write_map(const md_result *result, size_t finding_index,
                           const md_dataset *source, const md_report_options *options,
                           md_object *ret_object, md_error *err)
{
    map_geometry g = {};
    MD_TRY(read_geometry(source, &g, err));
    md_writing w(result, options);
    const md_finding &finding = result->findings[finding_index];
    const md_instance_ref &instance = result->instances[finding.instance_index];
    std::string kind = std::string("map of ") + finding.key + " by " + finding.saliency.method +
                       " on " + instance.sop_instance_uid + "#" +
                       std::to_string(instance.frame);
    md_write_study(w, source);
    md_write_series(w, SOP_PARAMETRIC_MAP, md_object_uid(result, kind.c_str()),
                    md_series_uid(result, "map series"), "OT", "9903",
                    "AI saliency - not for diagnosis");
    write_frame_of_reference(w, source, instance);
    write_image(w, source, finding_index, g);
    write_dimension(w, md_object_uid(result, (kind + " dimension").c_str()));
    write_functional_groups(w, source, finding, g);
    write_common_reference(w, instance);
    write_values(w, finding.saliency, g);
    return md_write_finish(w, ret_object, err);
}

md_status md_report_write_parametric_map(const md_result *result, size_t finding_index,
                                         const md_dataset *source,
                                         const md_report_options *options,
                                         md_object *ret_object, md_error *err) noexcept
{
    static const md_report_options NONE = {};
    MD_TRY(md_result_check(result, err));
    if (source == nullptr || !md_report_has_map(result, finding_index, options)) {
        return md_fail(err, MD_INVALID_ARG, "no source, or no map of finding %zu of %zu",
                       finding_index, result->n_findings);
    }
    return md_guard(err, __func__, [&] {
        return write_map(result, finding_index, source, options != nullptr ? options : &NONE,
                         ret_object, err);
    });
}
