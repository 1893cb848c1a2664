#include "dicom/image/pixel_data.h"

#include "dicom/dataset/dataset_internal.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#include "dcmtk/dcmdata/dcpixel.h"
#include "dcmtk/dcmdata/dcpixseq.h"
#include "dcmtk/dcmdata/dcpxitem.h"
#pragma GCC diagnostic pop

#include <cstring>
#include <vector>

namespace
{

md_status find_element(const md_dataset *dataset, DcmElement **ret_element, md_error *err)
{
    DcmElement *element = nullptr;
    if (md_dataset_dcmtk(dataset)
            ->findAndGetElement(DcmTagKey(0x7fe0, 0x0010), element)
            .bad() ||
        element == nullptr) {
        return md_fail(err, MD_FORMAT, "(7FE0,0010) Pixel Data is missing: not an image");
    }
    const DcmEVR vr = element->getVR();
    const bool is_good = vr == EVR_OB || vr == EVR_OW || vr == EVR_ox || vr == EVR_px ||
                         vr == EVR_PixelData || vr == EVR_OverlayData;
    if (!is_good) {
        return md_fail(err, MD_FORMAT, "(7FE0,0010) Pixel Data has a wrong VR");
    }
    *ret_element = element;
    return MD_OK;
}

/* NULL when the pixel data is native. */
md_status find_sequence(const md_dataset *dataset, DcmPixelSequence **ret_sequence,
                        md_error *err)
{
    DcmElement *element = nullptr;
    MD_TRY(find_element(dataset, &element, err));
    *ret_sequence = nullptr;
    DcmPixelData *pixels = dynamic_cast<DcmPixelData *>(element);
    if (pixels == nullptr) {
        return MD_OK;
    }
    E_TransferSyntax key = EXS_Unknown;
    const DcmRepresentationParameter *parameter = nullptr;
    pixels->getOriginalRepresentationKey(key, parameter);
    DcmPixelSequence *sequence = nullptr;
    if (DcmXfer(key).isEncapsulated() &&
        pixels->getEncapsulatedRepresentation(key, parameter, sequence).good()) {
        *ret_sequence = sequence;
    }
    return MD_OK;
}

md_status require_sequence(const md_dataset *dataset, DcmPixelSequence **ret_sequence,
                           md_error *err)
{
    MD_TRY(find_sequence(dataset, ret_sequence, err));
    if (*ret_sequence == nullptr || (*ret_sequence)->card() == 0) {
        return md_fail(err, MD_FORMAT, "(7FE0,0010) Pixel Data has no fragments");
    }
    return MD_OK;
}

DcmPixelItem *next_item(DcmPixelSequence *sequence, DcmPixelItem *item)
{
    return static_cast<DcmPixelItem *>(sequence->nextInContainer(item));
}

md_status item_bytes(DcmPixelItem *item, const uint8_t **ret_bytes, md_error *err)
{
    Uint8 *bytes = nullptr;
    if (item->getUint8Array(bytes).bad() || bytes == nullptr) {
        return md_fail(err, MD_FORMAT, "(7FE0,0010) a fragment of Pixel Data cannot be read");
    }
    *ret_bytes = bytes;
    return MD_OK;
}

/* Offsets of the frames, empty when the table is. */
md_status read_offset_table(DcmPixelItem *table, uint32_t n_frames, std::vector<uint32_t> &ret,
                            md_error *err)
{
    ret.clear();
    const Uint32 length = table->getLength();
    if (length == 0) {
        return MD_OK;
    }
    if (length / 4 < n_frames) {
        return md_fail(
            err, MD_FORMAT,
            "(7FE0,0010) the offset table has %u entries, (0028,0008) says %u frames",
            length / 4, n_frames);
    }
    const uint8_t *bytes = nullptr;
    MD_TRY(item_bytes(table, &bytes, err));
    ret.reserve(n_frames);
    for (size_t i = 0; i < n_frames; i++) {
        const uint8_t *p = bytes + 4 * i;
        ret.push_back(static_cast<uint32_t>(p[3]) << 24 | static_cast<uint32_t>(p[2]) << 16 |
                      static_cast<uint32_t>(p[1]) << 8 | p[0]);
        if (i == 0 ? ret[0] != 0 : ret[i] <= ret[i - 1]) {
            return md_fail(err, MD_FORMAT, "(7FE0,0010) the offset table does not rise from 0");
        }
    }
    return MD_OK;
}

/* Fragments first .. last - 1, counted from 0, of frame `frame`. */
struct Range {
    uint32_t first, last;
};

md_status range_by_table(DcmPixelSequence *sequence, const std::vector<uint32_t> &offsets,
                         uint32_t frame, Range *ret_range, md_error *err)
{
    /* Offsets count from the first byte of the first fragment's item tag. */
    const uint64_t begin = offsets[frame];
    const bool is_last = frame + 1 == offsets.size();
    const uint64_t end = is_last ? UINT64_MAX : offsets[frame + 1];
    uint64_t at = 0;
    uint32_t index = 0;
    bool has_begin = false, has_end = is_last;
    Range range = {0, 0};
    for (DcmPixelItem *item = next_item(sequence, next_item(sequence, nullptr));
         item != nullptr; item = next_item(sequence, item)) {
        if (at == begin) {
            range.first = index;
            has_begin = true;
        }
        if (at == end) {
            range.last = index;
            has_end = true;
        }
        at += 8u + static_cast<uint64_t>(item->getLength());
        index++;
    }
    if (is_last) {
        range.last = index;
    }
    if (!has_begin || !has_end || range.last <= range.first) {
        return md_fail(err, MD_FORMAT,
                       "(7FE0,0010) the offset table does not point at fragments");
    }
    *ret_range = range;
    return MD_OK;
}

md_status range_by_start(DcmPixelSequence *sequence, uint32_t frame, uint32_t n_frames,
                         const uint8_t soi[2], Range *ret_range, md_error *err)
{
    uint32_t index = 0, n_starts = 0;
    Range range = {0, 0};
    for (DcmPixelItem *item = next_item(sequence, next_item(sequence, nullptr));
         item != nullptr; item = next_item(sequence, item)) {
        const uint8_t *bytes = nullptr;
        bool is_start = false;
        if (item->getLength() >= 2) {
            MD_TRY(item_bytes(item, &bytes, err));
            is_start = memcmp(bytes, soi, 2) == 0;
        }
        if (is_start) {
            if (n_starts == frame) {
                range.first = index;
            }
            if (n_starts == frame + 1) {
                range.last = index;
            }
            n_starts++;
        }
        index++;
    }
    if (n_starts != n_frames) {
        return md_fail(err, MD_FORMAT,
                       "(7FE0,0010) %u fragments without an offset table hold %u streams, "
                       "(0028,0008) says %u frames",
                       index, n_starts, n_frames);
    }
    if (frame + 1 == n_frames) {
        range.last = index;
    }
    *ret_range = range;
    return MD_OK;
}

md_status find_range(DcmPixelSequence *sequence, uint32_t frame, uint32_t n_frames,
                     const uint8_t soi[2], Range *ret_range, md_error *err)
{
    const uint64_t n_items = sequence->card();
    if (n_items < 2 || n_items - 1 < n_frames) {
        return md_fail(err, MD_FORMAT,
                       "(7FE0,0010) Pixel Data has %lu fragments, (0028,0008) says %u frames",
                       static_cast<unsigned long>(n_items - 1), n_frames);
    }
    const uint32_t n_fragments = static_cast<uint32_t>(n_items - 1);
    if (n_frames == 1) {
        *ret_range = {0, n_fragments};
        return MD_OK;
    }
    if (n_fragments == n_frames) {
        *ret_range = {frame, frame + 1};
        return MD_OK;
    }
    std::vector<uint32_t> offsets;
    MD_TRY(read_offset_table(next_item(sequence, nullptr), n_frames, offsets, err));
    if (!offsets.empty()) {
        return range_by_table(sequence, offsets, frame, ret_range, err);
    }
    return range_by_start(sequence, frame, n_frames, soi, ret_range, err);
}

/* One fragment is lent, several are joined. */
md_status join(DcmPixelSequence *sequence, const Range &range, md_compressed_frame *ret_frame,
               md_error *err)
{
    std::vector<DcmPixelItem *> items;
    uint32_t index = 0;
    size_t total = 0;
    for (DcmPixelItem *item = next_item(sequence, next_item(sequence, nullptr));
         item != nullptr && index < range.last; item = next_item(sequence, item), index++) {
        if (index >= range.first && item->getLength() > 0) {
            items.push_back(item);
            total += item->getLength();
        }
    }
    if (items.empty()) {
        return md_fail(err, MD_FORMAT, "(7FE0,0010) the fragments of the frame are empty");
    }
    const uint8_t *bytes = nullptr;
    if (items.size() == 1) {
        MD_TRY(item_bytes(items[0], &bytes, err));
        *ret_frame = {bytes, total, nullptr, items[0]};
        return MD_OK;
    }
    uint8_t *joined = static_cast<uint8_t *>(md_malloc(total));
    if (joined == nullptr) {
        return md_fail(err, MD_NOMEM, "out of memory for a frame of %zu bytes", total);
    }
    size_t have = 0;
    for (DcmPixelItem *item : items) {
        const md_status status = item_bytes(item, &bytes, err);
        if (status != MD_OK) {
            md_free(joined);
            return status;
        }
        memcpy(joined + have, bytes, item->getLength());
        have += item->getLength();
        item->compact();
    }
    *ret_frame = {joined, total, joined, nullptr};
    return MD_OK;
}

md_status read_native(const md_dataset *dataset, uint64_t offset, size_t n, void *ret_to,
                      md_error *err)
{
    DcmElement *element = nullptr;
    MD_TRY(find_element(dataset, &element, err));
    const uint64_t length = element->getLength();
    if (offset > length || length - offset < n) {
        return md_fail(err, MD_FORMAT, "(7FE0,0010) Pixel Data has %llu bytes, %llu are needed",
                       static_cast<unsigned long long>(length),
                       static_cast<unsigned long long>(offset + n));
    }
    const OFCondition condition = element->getPartialValue(
        ret_to, static_cast<Uint32>(offset), static_cast<Uint32>(n), nullptr, EBO_LittleEndian);
    if (condition.bad()) {
        return md_fail(err, MD_IO, "(7FE0,0010) Pixel Data cannot be read");
    }
    return MD_OK;
}

md_status read_frame(const md_dataset *dataset, uint32_t frame, uint32_t n_frames,
                     const uint8_t soi[2], md_compressed_frame *ret_frame, md_error *err)
{
    DcmPixelSequence *sequence = nullptr;
    MD_TRY(require_sequence(dataset, &sequence, err));
    Range range = {0, 0};
    MD_TRY(find_range(sequence, frame, n_frames, soi, &range, err));
    return join(sequence, range, ret_frame, err);
}

} // namespace

void md_compressed_frame_finish(md_compressed_frame *frame) noexcept
{
    md_free(frame->owned);
    if (frame->fragment != nullptr) {
        (void)md_guard(nullptr, __func__, [&] {
            /* Only drops what can be read from the file again. */
            static_cast<DcmPixelItem *>(frame->fragment)->compact();
            return MD_OK;
        });
    }
    *frame = md_compressed_frame{};
}

md_status md_pixel_data_kind(const md_dataset *dataset, bool *ret_is_encapsulated,
                             md_error *err) noexcept
{
    return md_guard(err, __func__, [&] {
        DcmPixelSequence *sequence = nullptr;
        MD_TRY(find_sequence(dataset, &sequence, err));
        *ret_is_encapsulated = sequence != nullptr;
        return MD_OK;
    });
}

md_status md_pixel_data_length(const md_dataset *dataset, uint64_t *ret_bytes,
                               md_error *err) noexcept
{
    return md_guard(err, __func__, [&] {
        DcmElement *element = nullptr;
        MD_TRY(find_element(dataset, &element, err));
        *ret_bytes = element->getLength();
        return MD_OK;
    });
}

md_status md_pixel_data_read(const md_dataset *dataset, uint64_t offset, size_t n, void *ret_to,
                             md_error *err) noexcept
{
    return md_guard(err, __func__,
                    [&] { return read_native(dataset, offset, n, ret_to, err); });
}

md_status md_pixel_data_count_fragments(const md_dataset *dataset, uint32_t *ret_n,
                                        md_error *err) noexcept
{
    return md_guard(err, __func__, [&] {
        DcmPixelSequence *sequence = nullptr;
        MD_TRY(require_sequence(dataset, &sequence, err));
        *ret_n = static_cast<uint32_t>(sequence->card() - 1);
        return MD_OK;
    });
}

md_status md_pixel_data_frame(const md_dataset *dataset, uint32_t frame, uint32_t n_frames,
                              const uint8_t soi[2], md_compressed_frame *ret_frame,
                              md_error *err) noexcept
{
    return md_guard(err, __func__,
                    [&] { return read_frame(dataset, frame, n_frames, soi, ret_frame, err); });
}
