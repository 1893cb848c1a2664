#include "dicom/report/picture.h"
#include "dicom/report/write_internal.h"

#include <cstring>

static const char SOP_SECONDARY_CAPTURE[] = "1.2.840.10008.5.1.4.1.1.7";
/* Laterality (0020,0060) is of type 2C: asked for when the part is one of a pair, and forbidden
 * for the parts that are single. Those of PS3.16 table L-1 that are single: */
static bool is_single_part(const std::string &part)
{
    static const char *const SINGLE[] = {
        "ABDOMEN",
        "ABDOMENPELVIS",
        "AORTA",
        "BLADDER",
        "BRAIN",
        "CEREBELLUM",
        "CERVIX",
        "CHEST",
        "CHESTABDOMEN",
        "CHESTABDPELVIS",
        "COCCYX",
        "COLON",
        "CSPINE",
        "CTSPINE",
        "DUODENUM",
        "ESOPHAGUS",
        "FACE",
        "GALLBLADDER",
        "HEAD",
        "HEADNECK",
        "HEART",
        "JAW",
        "LARYNX",
        "LIVER",
        "LSPINE",
        "LSSPINE",
        "MOUTH",
        "NECK",
        "NECKCHEST",
        "NOSE",
        "PANCREAS",
        "NECKCHESTABDOMEN",
        "PELVIS",
        "PENIS",
        "PHARYNX",
        "PROSTATE",
        "NECKCHESTABDPELV",
        "RECTUM",
        "SKULL",
        "SPINE",
        "SPLEEN",
        "SSPINE",
        "STERNUM",
        "STOMACH",
        "THYMUS",
        "THYROID",
        "TLSPINE",
        "TONGUE",
        "TRACHEA",
        "TSPINE",
        "UTERUS",
        "VAGINA",
        "VULVA",
        "WHOLEBODY",
        "CIRCLEOFWILLIS",
    };
    for (const char *single : SINGLE) {
        if (part == single) {
            return true;
        }
    }
    return false;
}

/* PS3.3 A.8.1: General Image, SC Equipment and SC Image. */
static void write_image_modules(md_writing &w, const md_dataset *source,
                                uint32_t instance_index, bool has_overlay)
{
    DcmDataset *d = &w.dataset;
    const md_instance_ref &instance = w.result->instances[instance_index];
    w.note(d->putAndInsertString(DCM_ImageType, "DERIVED\\SECONDARY"), DCM_ImageType);
    w.text(d, DCM_InstanceNumber, std::to_string(instance_index + 1).c_str(), 12);
    w.text(d, DCM_ConversionType, "WSD", 16);
    w.empty(d, DCM_PatientOrientation);
    md_carry_one(w, source, DCM_PatientOrientation);
    md_carry_one(w, source, DCM_BodyPartExamined);
    md_carry_one(w, source, DCM_ImageLaterality);
    if (!md_dataset_has(source, MD_TAG(0x0020, 0x0062)) &&
        !is_single_part(md_source_text(source, DCM_BodyPartExamined))) {
        w.empty(d, DCM_Laterality);
        md_carry_one(w, source, DCM_Laterality);
    }
    w.text(d, DCM_DerivationDescription,
           has_overlay
               ? "Reduced display image with the attention of a neural network as a "
                 "coloured overlay, and a panel of its findings"
               : "Reduced display image with a panel of the findings of a neural network",
           1024);
    md_write_source_image(w, d, source, instance, false);
    /* The panel holds no patient data, so the text in it is not what this attribute asks for
     * (PS3.3 C.7.6.1.1); what is burned into the source is burned into its copy. */
    md_carry_one(w, source, DCM_BurnedInAnnotation);
    md_write_lossy(w, source);
}

static void write_pixels(md_writing &w, const md_canvas *canvas)
{
    DcmDataset *d = &w.dataset;
    w.number(d, DCM_SamplesPerPixel, 3);
    w.text(d, DCM_PhotometricInterpretation, "RGB", 16);
    w.number(d, DCM_PlanarConfiguration, 0);
    w.number(d, DCM_Rows, canvas->height);
    w.number(d, DCM_Columns, canvas->width);
    w.number(d, DCM_BitsAllocated, 8);
    w.number(d, DCM_BitsStored, 8);
    w.number(d, DCM_HighBit, 7);
    w.number(d, DCM_PixelRepresentation, 0);
    size_t n = static_cast<size_t>(canvas->width) * canvas->height * 3;
    w.note(d->putAndInsertUint8Array(DCM_PixelData, canvas->rgb, n), DCM_PixelData);
}

static md_status write_picture(const md_result *result, uint32_t instance_index,
                               const md_dataset *source, const md_raster *display,
                               const md_report_options *options, md_object *ret_object,
                               md_error *err)
{
    int64_t rows = 0, columns = 0;
    if (!md_dataset_get_int(source, MD_TAG(0x0028, 0x0010), 0, &rows) ||
        !md_dataset_get_int(source, MD_TAG(0x0028, 0x0011), 0, &columns) || rows <= 0 ||
        rows > 65535 || columns <= 0 || columns > 65535) {
        return md_fail(err, MD_FORMAT, "(0028,0010) Rows or (0028,0011) Columns missing");
    }
    md_canvas canvas = {};
    md_picture_layout layout = {};
    MD_TRY(md_picture_draw(result, instance_index, display, static_cast<uint32_t>(columns),
                           static_cast<uint32_t>(rows), options, &canvas, &layout, err));
    struct canvas_guard {
        md_canvas *canvas;
        ~canvas_guard()
        {
            md_canvas_finish(canvas);
        }
    } guard = {&canvas};
    md_writing w(result, options);
    const md_instance_ref &instance = result->instances[instance_index];
    std::string kind =
        std::string(options->triage_only ? "triage picture of " : "picture of ") +
        instance.sop_instance_uid + "#" + std::to_string(instance.frame);
    md_write_study(w, source);
    md_write_series(w, SOP_SECONDARY_CAPTURE, md_object_uid(result, kind.c_str()),
                    md_series_uid(result, "picture series"), "OT", "9902",
                    "AI - not for diagnosis");
    write_image_modules(w, source, instance_index, layout.overlay_finding != SIZE_MAX);
    write_pixels(w, &canvas);
    return md_write_finish(w, ret_object, err);
}

md_status md_report_write_picture(const md_result *result, uint32_t instance_index,
                                  const md_dataset *source, const md_raster *display,
                                  const md_report_options *options, md_object *ret_object,
                                  md_error *err) noexcept
{
    static const md_report_options NONE = {};
    MD_TRY(md_result_check(result, err));
    if (source == nullptr || display == nullptr || instance_index >= result->n_instances) {
        return md_fail(err, MD_INVALID_ARG, "no source, no image, or instance %u of %zu",
                       instance_index, result->n_instances);
    }
    return md_guard(err, __func__, [&] {
        return write_picture(result, instance_index, source, display,
                             options != nullptr ? options : &NONE, ret_object, err);
    });
}
