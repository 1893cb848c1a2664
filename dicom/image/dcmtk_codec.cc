#include "dicom/image/dcmtk_codec.h"

#include "dicom/dataset/dataset_internal.h"
#include "dicom/image/jpeg_header.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#include "dcmtk/dcmdata/dccodec.h"
#include "dcmtk/dcmdata/dcpixseq.h"
#include "dcmtk/dcmdata/dcpxitem.h"
#pragma GCC diagnostic pop

#include <cstring>
#include <memory>

namespace
{

/* Which coding processes a transfer syntax allows (PS3.5 A.4). */
struct Process {
    const char *uid;
    unsigned sof[3]; /* ends with 99 */
    unsigned max_precision;
};
const Process processes[] = {
    {"1.2.840.10008.1.2.4.50", {0, 99, 99}, 8},   {"1.2.840.10008.1.2.4.51", {0, 1, 99}, 12},
    {"1.2.840.10008.1.2.4.57", {3, 99, 99}, 16},  {"1.2.840.10008.1.2.4.70", {3, 99, 99}, 16},
    {"1.2.840.10008.1.2.4.80", {55, 99, 99}, 16}, {"1.2.840.10008.1.2.4.81", {55, 99, 99}, 16},
};

md_status check_header(const char *transfer_syntax, const md_jpeg_header &header,
                       const md_layout *layout, md_error *err)
{
    bool is_allowed = false;
    for (const Process &process : processes) {
        if (strcmp(process.uid, transfer_syntax) != 0) {
            continue;
        }
        for (const unsigned sof : process.sof) {
            is_allowed = is_allowed ||
                         (header.process == sof && header.precision <= process.max_precision);
        }
    }
    if (!is_allowed) {
        return md_fail(err, MD_UNSUPPORTED,
                       "JPEG stream of process SOF%u with %u bits in transfer syntax %s",
                       header.process, header.precision, transfer_syntax);
    }
    if (header.columns != layout->columns || header.rows != layout->rows) {
        return md_fail(err, MD_FORMAT,
                       "JPEG stream of %u x %u, (0028,0011) x (0028,0010) say %u x %u",
                       header.columns, header.rows, layout->columns, layout->rows);
    }
    if (header.n_components != layout->n_samples) {
        return md_fail(err, MD_FORMAT, "JPEG stream of %u components, (0028,0002) says %u",
                       header.n_components, layout->n_samples);
    }
    return MD_OK;
}

/* Whether three components are YCbCr. The stream's own markers tell the truth more often than
 * the dataset: files exist that say RGB and hold what a JPEG library made by default. */
bool is_ybr(const md_jpeg_header &header, const md_layout *layout)
{
    if (header.n_components != 3) {
        return false;
    }
    const bool dataset_says =
        layout->colour == MD_COLOUR_YBR_FULL || layout->colour == MD_COLOUR_YBR_FULL_422;
    if (header.process == 3 || header.process == 55) {
        return dataset_says; /* lossless: nothing is converted behind our back */
    }
    if (header.has_adobe) {
        return header.adobe_transform != 0;
    }
    return header.has_jfif || dataset_says;
}

void put_layout(DcmItem &item, const md_jpeg_header &header, const md_layout *layout)
{
    const Uint16 allocated = header.precision <= 8 ? 8 : 16;
    const Uint16 precision = static_cast<Uint16>(header.precision);
    const struct {
        DcmTagKey tag;
        Uint16 value;
    } values[] = {
        {DcmTagKey(0x0028, 0x0002), static_cast<Uint16>(layout->n_samples)},
        {DcmTagKey(0x0028, 0x0006), 0},
        {DcmTagKey(0x0028, 0x0010), static_cast<Uint16>(layout->rows)},
        {DcmTagKey(0x0028, 0x0011), static_cast<Uint16>(layout->columns)},
        {DcmTagKey(0x0028, 0x0100), allocated},
        {DcmTagKey(0x0028, 0x0101), precision},
        {DcmTagKey(0x0028, 0x0102), static_cast<Uint16>(precision - 1)},
        {DcmTagKey(0x0028, 0x0103), static_cast<Uint16>(layout->is_signed ? 1 : 0)},
    };
    for (const auto &value : values) {
        (void)item.putAndInsertUint16(value.tag, value.value);
    }
    (void)item.putAndInsertString(DcmTagKey(0x0028, 0x0004),
                                  layout->n_samples == 3 ? "RGB" : "MONOCHROME2");
    (void)item.putAndInsertString(DcmTagKey(0x0028, 0x0008), "1");
}

md_status decode(const char *transfer_syntax, const uint8_t *bytes, size_t size_bytes,
                 const md_layout *layout, md_raw_frame *ret_raw, md_error *err)
{
    md_jpeg_header header = {};
    MD_TRY(md_jpeg_read_header(bytes, size_bytes, &header, err));
    MD_TRY(check_header(transfer_syntax, header, layout, err));
    if (size_bytes > 0xfffffffeu) {
        return md_fail(err, MD_LIMIT, "compressed frame of %zu bytes", size_bytes);
    }
    DcmItem item;
    put_layout(item, header, layout);
    DcmPixelSequence sequence(DcmTag(0x7fe0, 0x0010, EVR_OB));
    auto table = std::make_unique<DcmPixelItem>(DcmTag(0xfffe, 0xe000, EVR_OB));
    auto fragment = std::make_unique<DcmPixelItem>(DcmTag(0xfffe, 0xe000, EVR_OB));
    if (fragment->putUint8Array(bytes, static_cast<unsigned long>(size_bytes)).bad() ||
        sequence.insert(table.get()).bad()) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    (void)table.release();
    if (sequence.insert(fragment.get()).bad()) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    (void)fragment.release();
    const unsigned container_bytes = header.precision <= 8 ? 1 : 2;
    size_t n = md_layout_pixels(layout) * layout->n_samples * container_bytes;
    n += n & 1; /* DCMTK wants an even buffer */
    if (n > MD_IMAGE_MAX_FRAME_BYTES) {
        return md_fail(err, MD_LIMIT, "frame of %zu bytes, at most %zu", n,
                       MD_IMAGE_MAX_FRAME_BYTES);
    }
    uint8_t *samples = static_cast<uint8_t *>(md_malloc_aligned(n));
    if (samples == nullptr) {
        return md_fail(err, MD_NOMEM, "out of memory for a frame of %zu bytes", n);
    }
    memset(samples, 0, n);
    ret_raw->samples = samples;
    const uint64_t complaints = md_dcmtk_jpeg_complaints();
    Uint32 start_fragment = 1;
    OFString colour_model;
    const OFCondition condition = DcmCodecList::decodeFrame(
        DcmXfer(transfer_syntax), nullptr, &sequence, &item, 0, start_fragment, samples,
        static_cast<Uint32>(n), colour_model);
    if (condition.bad()) {
        const md_status status = md_status_of_condition(condition);
        if (condition == EC_IllegalCall) { /* what it says when the library waits for more */
            return md_fail(err, MD_FORMAT, "broken JPEG stream: it ends too early");
        }
        return md_fail(err, status == MD_NOMEM ? status : MD_FORMAT,
                       "broken JPEG stream: %.96s", condition.text());
    }
    if (md_dcmtk_jpeg_complaints() != complaints) {
        return md_fail(err, MD_FORMAT, "broken JPEG stream: its coded data are corrupt");
    }
    ret_raw->container_bytes = container_bytes;
    ret_raw->precision = header.precision;
    ret_raw->is_planar = false;
    ret_raw->is_ybr = is_ybr(header, layout);
    return MD_OK;
}

} // namespace

md_status md_dcmtk_decode(const char *transfer_syntax, const uint8_t *bytes, size_t size_bytes,
                          const md_layout *layout, md_raw_frame *ret_raw,
                          md_error *err) noexcept
{
    md_raw_frame raw = {};
    const md_status status = md_guard(err, __func__, [&] {
        return decode(transfer_syntax, bytes, size_bytes, layout, &raw, err);
    });
    if (status != MD_OK) {
        md_free(raw.samples);
        return status;
    }
    *ret_raw = raw;
    return MD_OK;
}
