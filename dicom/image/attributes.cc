#include "dicom/image/attributes.h"

#include "dicom/dataset/dataset_internal.h"
#include "dicom/image/lut_internal.h"

#include <cmath>
#include <cstring>

namespace
{

/* --- layout ----------------------------------------------------------------------------- */

md_status require_int(const md_dataset *dataset, uint32_t tag, const char *name, int64_t least,
                      int64_t greatest, int64_t *ret_value, md_error *err)
{
    int64_t value = 0;
    if (!md_dataset_get_int(dataset, tag, 0, &value)) {
        return md_fail(err, MD_FORMAT, "(%04X,%04X) %s is missing or not a whole number",
                       tag >> 16, tag & 0xffff, name);
    }
    if (value < least || value > greatest) {
        /* Only these limits are ours, the others are the standard's. */
        const bool is_limit = value > greatest && greatest >= MD_IMAGE_MAX_SIDE;
        return md_fail(err, is_limit ? MD_LIMIT : MD_FORMAT,
                       "(%04X,%04X) %s %lld not in %lld..%lld", tag >> 16, tag & 0xffff, name,
                       static_cast<long long>(value), static_cast<long long>(least),
                       static_cast<long long>(greatest));
    }
    *ret_value = value;
    return MD_OK;
}

md_status read_colour(const md_dataset *dataset, md_colour *ret_colour, md_error *err)
{
    static const struct {
        const char *name;
        md_colour colour;
    } names[] = {
        {"MONOCHROME1", MD_COLOUR_MONOCHROME1}, {"MONOCHROME2", MD_COLOUR_MONOCHROME2},
        {"PALETTE COLOR", MD_COLOUR_PALETTE},   {"RGB", MD_COLOUR_RGB},
        {"YBR_FULL", MD_COLOUR_YBR_FULL},       {"YBR_FULL_422", MD_COLOUR_YBR_FULL_422},
        {"YBR_RCT", MD_COLOUR_YBR_RCT},         {"YBR_ICT", MD_COLOUR_YBR_ICT},
    };
    static const char *const refused[] = {
        "HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB"};
    char text[32];
    if (!md_dataset_get_text(dataset, MD_TAG(0x0028, 0x0004), 0, text, sizeof text)) {
        return md_fail(err, MD_FORMAT, "(0028,0004) Photometric Interpretation is missing");
    }
    for (const auto &entry : names) {
        if (strcmp(text, entry.name) == 0) {
            *ret_colour = entry.colour;
            return MD_OK;
        }
    }
    for (const char *name : refused) {
        if (strcmp(text, name) == 0) {
            return md_fail(err, MD_UNSUPPORTED,
                           "(0028,0004) Photometric Interpretation %s is not read", name);
        }
    }
    /* The text itself may be anything, so it is not quoted. */
    return md_fail(err, MD_UNSUPPORTED,
                   "(0028,0004) Photometric Interpretation is none of PS3.3 C.7.6.3.1.2");
}

md_status read_bits(const md_dataset *dataset, md_layout *layout, md_error *err)
{
    int64_t allocated = 0, stored = 0, high = 0, sign = 0;
    MD_TRY(
        require_int(dataset, MD_TAG(0x0028, 0x0100), "Bits Allocated", 1, 64, &allocated, err));
    if (allocated != 1 && allocated != 8 && allocated != 16) {
        return md_fail(err, MD_UNSUPPORTED,
                       "(0028,0100) Bits Allocated %lld: only 1, 8 and 16 are read",
                       static_cast<long long>(allocated));
    }
    MD_TRY(require_int(dataset, MD_TAG(0x0028, 0x0101), "Bits Stored", 1, allocated, &stored,
                       err));
    MD_TRY(
        require_int(dataset, MD_TAG(0x0028, 0x0103), "Pixel Representation", 0, 1, &sign, err));
    high = stored - 1;
    if (md_dataset_has(dataset, MD_TAG(0x0028, 0x0102))) {
        MD_TRY(require_int(dataset, MD_TAG(0x0028, 0x0102), "High Bit", stored - 1,
                           allocated - 1, &high, err));
    }
    layout->bits_allocated = static_cast<unsigned>(allocated);
    layout->bits_stored = static_cast<unsigned>(stored);
    layout->high_bit = static_cast<unsigned>(high);
    layout->is_signed = sign == 1 && stored > 1;
    return MD_OK;
}

md_status check_layout(const md_layout *layout, md_error *err)
{
    const bool is_colour = layout->colour != MD_COLOUR_MONOCHROME1 &&
                           layout->colour != MD_COLOUR_MONOCHROME2 &&
                           layout->colour != MD_COLOUR_PALETTE;
    if (layout->n_samples != (is_colour ? 3u : 1u)) {
        return md_fail(err, MD_FORMAT, "(0028,0002) Samples per Pixel %u, (0028,0004) needs %u",
                       layout->n_samples, is_colour ? 3u : 1u);
    }
    if (is_colour && layout->is_signed) {
        return md_fail(err, MD_UNSUPPORTED, "(0028,0103) colour with signed samples");
    }
    if (is_colour && layout->bits_allocated == 1) {
        return md_fail(err, MD_UNSUPPORTED, "(0028,0100) colour with 1 bit allocated");
    }
    size_t n = 0;
    const size_t sample_bytes = layout->bits_allocated == 16 ? 2 : 1;
    if (!md_mul(layout->rows, layout->columns, &n) || !md_mul(n, layout->n_samples, &n) ||
        !md_mul(n, sample_bytes, &n) || n > MD_IMAGE_MAX_FRAME_BYTES) {
        return md_fail(
            err, MD_LIMIT, "frame of %u x %u x %u samples, at most %zu bytes are decoded",
            layout->columns, layout->rows, layout->n_samples, MD_IMAGE_MAX_FRAME_BYTES);
    }
    return MD_OK;
}

/* --- numbers with context ----------------------------------------------------------------- */

/* A value that has the sign of the pixels: US or SS, and in implicit VR one cannot tell. */
int32_t pixel_value(int64_t value, bool is_signed)
{
    const uint32_t pattern = static_cast<uint32_t>(value) & 0xffff;
    return is_signed && pattern > 0x7fff ? static_cast<int32_t>(pattern) - 0x10000
                                         : static_cast<int32_t>(pattern);
}

DcmItem *sequence_item(DcmItem *item, const DcmTagKey &tag, uint32_t index)
{
    DcmItem *found = nullptr;
    if (item == nullptr ||
        item->findAndGetSequenceItem(tag, found, static_cast<signed long>(index)).bad()) {
        return nullptr;
    }
    return found;
}

/* Where the attributes of a functional group macro are: per frame, shared, or at top level. */
DcmItem *macro_item(DcmItem *dataset, uint32_t frame, const DcmTagKey &macro)
{
    DcmItem *of_frame = sequence_item(dataset, DcmTagKey(0x5200, 0x9230), frame);
    DcmItem *shared = sequence_item(dataset, DcmTagKey(0x5200, 0x9229), 0);
    for (DcmItem *group : {of_frame, shared}) {
        DcmItem *item = sequence_item(group, macro, 0);
        if (item != nullptr) {
            return item;
        }
    }
    return dataset;
}

/* --- groups of attributes -------------------------------------------------------------------
 */

void read_rescale(DcmItem *dataset, uint32_t frame, md_image *image)
{
    DcmItem *item = macro_item(dataset, frame, DcmTagKey(0x0028, 0x9145));
    double slope = 1, intercept = 0;
    (void)md_item_get_real(item, DcmTagKey(0x0028, 0x1053), 0, &slope);
    (void)md_item_get_real(item, DcmTagKey(0x0028, 0x1052), 0, &intercept);
    image->rescale_slope = slope;
    image->rescale_intercept = intercept;
}

void read_window(DcmItem *dataset, uint32_t frame, md_image *image)
{
    DcmItem *item = macro_item(dataset, frame, DcmTagKey(0x0028, 0x9132));
    double center = 0, width = 0;
    image->has_window = md_item_get_real(item, DcmTagKey(0x0028, 0x1050), 0, &center) &&
                        md_item_get_real(item, DcmTagKey(0x0028, 0x1051), 0, &width);
    image->window_center = center;
    image->window_width = width;
    char function[17];
    (void)md_item_get_text(item, DcmTagKey(0x0028, 0x1056), 0, function, sizeof function);
    image->voi_function = strcmp(function, "LINEAR_EXACT") == 0 ? MD_VOI_LINEAR_EXACT
                          : strcmp(function, "SIGMOID") == 0    ? MD_VOI_SIGMOID
                                                                : MD_VOI_LINEAR;
}

void read_padding(DcmItem *dataset, const md_layout *layout, md_image *image)
{
    int64_t value = 0, limit = 0;
    if (!md_item_get_int(dataset, DcmTagKey(0x0028, 0x0120), 0, &value)) {
        return;
    }
    const int32_t one = pixel_value(value, layout->is_signed);
    int32_t other = one;
    if (md_item_get_int(dataset, DcmTagKey(0x0028, 0x0121), 0, &limit)) {
        other = pixel_value(limit, layout->is_signed);
    }
    image->has_padding = true;
    image->padding_low = one < other ? one : other;
    image->padding_high = one < other ? other : one;
}

bool is_spacing(double value)
{
    return value >= 1e-5 && value <= 1e5;
}

void read_spacing(DcmItem *dataset, uint32_t frame, md_image *image)
{
    DcmItem *measures = macro_item(dataset, frame, DcmTagKey(0x0028, 0x9110));
    const struct {
        DcmItem *item;
        DcmTagKey tag;
        bool is_mm;
    } sources[] = {
        {measures, DcmTagKey(0x0028, 0x0030), true}, /* Pixel Spacing: in the patient */
        {dataset, DcmTagKey(0x0018, 0x1164), true},  /* Imager Pixel Spacing: at the detector */
        {dataset, DcmTagKey(0x0028, 0x0034), false}, /* Pixel Aspect Ratio */
    };
    image->pixel_width_mm = image->pixel_height_mm = 1;
    for (const auto &source : sources) {
        double height = 0, width = 0; /* vertical first, PS3.3 10.7.1.3 and C.7.6.3.1.7 */
        if (!md_item_get_real(source.item, source.tag, 0, &height) ||
            !md_item_get_real(source.item, source.tag, 1, &width) || !is_spacing(height) ||
            !is_spacing(width) || !is_spacing(height / width)) {
            continue;
        }
        image->pixel_width_mm = source.is_mm ? width : 1;
        image->pixel_height_mm = source.is_mm ? height : height / width;
        image->has_spacing = source.is_mm;
        return;
    }
}

void read_words(const md_dataset *dataset, md_image *image)
{
    (void)md_dataset_get_text(dataset, MD_TAG(0x0008, 0x0060), 0, image->modality,
                              sizeof image->modality);
    (void)md_dataset_get_text(dataset, MD_TAG(0x0018, 0x0015), 0, image->body_part,
                              sizeof image->body_part);
    (void)md_dataset_get_text(dataset, MD_TAG(0x0018, 0x5101), 0, image->view,
                              sizeof image->view);
    if (!md_dataset_get_text(dataset, MD_TAG(0x0020, 0x0062), 0, image->laterality,
                             sizeof image->laterality)) {
        (void)md_dataset_get_text(dataset, MD_TAG(0x0020, 0x0060), 0, image->laterality,
                                  sizeof image->laterality);
    }
    char text[17];
    image->burned_in =
        md_dataset_get_text(dataset, MD_TAG(0x0028, 0x0301), 0, text, sizeof text) &&
        strcmp(text, "YES") == 0;
    image->lossy = md_dataset_get_text(dataset, MD_TAG(0x0028, 0x2110), 0, text, sizeof text) &&
                   strcmp(text, "01") == 0;
    image->presentation_inverse =
        md_dataset_get_text(dataset, MD_TAG(0x2050, 0x0020), 0, text, sizeof text) &&
        strcmp(text, "INVERSE") == 0;
}

/* Modality values below zero are possible: then the first value of a VOI LUT is signed. */
bool has_negative_values(const md_layout *layout, const md_image *image)
{
    if (image->modality_lut.n_entries > 0) {
        return false;
    }
    const double n_values = std::ldexp(1, static_cast<int>(layout->bits_stored));
    const double least = layout->is_signed ? -n_values / 2 : 0;
    const double greatest = least + n_values - 1;
    return least * image->rescale_slope + image->rescale_intercept < 0 ||
           greatest * image->rescale_slope + image->rescale_intercept < 0;
}

md_status read_tables(DcmItem *dataset, const md_layout *layout, uint32_t frame,
                      md_image *image, md_error *err)
{
    DcmItem *modality = sequence_item(dataset, DcmTagKey(0x0028, 0x3000), 0);
    if (modality != nullptr) {
        MD_TRY(md_lut_read(modality, layout->is_signed, &image->modality_lut, err));
    }
    DcmItem *around = macro_item(dataset, frame, DcmTagKey(0x0028, 0x9132));
    DcmItem *voi = sequence_item(around, DcmTagKey(0x0028, 0x3010), 0);
    if (voi != nullptr && layout->n_samples == 1 && layout->colour != MD_COLOUR_PALETTE) {
        const bool is_signed = has_negative_values(layout, image);
        MD_TRY(md_lut_read(voi, is_signed, &image->voi_lut, err));
    }
    if (layout->colour == MD_COLOUR_PALETTE) {
        for (unsigned c = 0; c < 3; c++) {
            MD_TRY(md_lut_read_palette(dataset, c, layout->is_signed, &image->palette[c], err));
        }
    }
    return MD_OK;
}

md_status read_layout(const md_dataset *dataset, md_layout *ret_layout, md_error *err)
{
    md_layout layout = {};
    int64_t rows = 0, columns = 0, samples = 0, planar = 0, frames = 1;
    MD_TRY(
        require_int(dataset, MD_TAG(0x0028, 0x0010), "Rows", 1, MD_IMAGE_MAX_SIDE, &rows, err));
    MD_TRY(require_int(dataset, MD_TAG(0x0028, 0x0011), "Columns", 1, MD_IMAGE_MAX_SIDE,
                       &columns, err));
    MD_TRY(read_colour(dataset, &layout.colour, err));
    MD_TRY(
        require_int(dataset, MD_TAG(0x0028, 0x0002), "Samples per Pixel", 1, 4, &samples, err));
    MD_TRY(read_bits(dataset, &layout, err));
    if (samples > 1 && md_dataset_has(dataset, MD_TAG(0x0028, 0x0006))) {
        MD_TRY(require_int(dataset, MD_TAG(0x0028, 0x0006), "Planar Configuration", 0, 1,
                           &planar, err));
    }
    if (md_dataset_has(dataset, MD_TAG(0x0028, 0x0008))) {
        MD_TRY(require_int(dataset, MD_TAG(0x0028, 0x0008), "Number of Frames", 1, INT32_MAX,
                           &frames, err));
    }
    layout.rows = static_cast<uint32_t>(rows);
    layout.columns = static_cast<uint32_t>(columns);
    layout.n_samples = static_cast<uint32_t>(samples);
    layout.is_planar = planar == 1;
    layout.n_frames = static_cast<uint32_t>(frames);
    MD_TRY(check_layout(&layout, err));
    *ret_layout = layout;
    return MD_OK;
}

md_photometric photometric_of(md_colour colour)
{
    switch (colour) {
    case MD_COLOUR_MONOCHROME1:
        return MD_PHOTOMETRIC_MONOCHROME1;
    case MD_COLOUR_MONOCHROME2:
        return MD_PHOTOMETRIC_MONOCHROME2;
    case MD_COLOUR_PALETTE:
        return MD_PHOTOMETRIC_PALETTE;
    case MD_COLOUR_RGB:
    case MD_COLOUR_YBR_FULL:
    case MD_COLOUR_YBR_FULL_422:
    case MD_COLOUR_YBR_RCT:
    case MD_COLOUR_YBR_ICT:
        break;
    }
    return MD_PHOTOMETRIC_RGB;
}

} // namespace

md_status md_attributes_read_layout(const md_dataset *dataset, md_layout *ret_layout,
                                    md_error *err) noexcept
{
    return md_guard(err, __func__, [&] { return read_layout(dataset, ret_layout, err); });
}

md_status md_attributes_read(const md_dataset *dataset, const md_layout *layout, uint32_t frame,
                             md_image *image, md_error *err) noexcept
{
    return md_guard(err, __func__, [&] {
        DcmItem *item = md_dataset_dcmtk(dataset);
        image->photometric = photometric_of(layout->colour);
        read_rescale(item, frame, image);
        read_window(item, frame, image);
        read_padding(item, layout, image);
        read_spacing(item, frame, image);
        read_words(dataset, image);
        return read_tables(item, layout, frame, image, err);
    });
}
