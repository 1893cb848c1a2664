#include "dicom/image/transcode.h"

#include "dicom/dataset/dataset_internal.h"
#include "dicom/image/image.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#include "dcmtk/dcmdata/dcostrmb.h"
#include "dcmtk/dcmdata/dcpixel.h"
#include "dcmtk/dcmdata/dcwcache.h"
#pragma GCC diagnostic pop

#include <cerrno>
#include <cstring>
#include <memory>
#include <unistd.h>
#include <vector>

namespace
{

/* The length of a value is 32 bits, and this is even. */
constexpr uint64_t max_pixel_bytes = 0xfffffffe;
constexpr size_t write_block_bytes = 256 * 1024;

const DcmTagKey pixel_data_tag(0x7fe0, 0x0010);
const DcmTagKey icon_tag(0x0088, 0x0200);

struct Dataset {
    md_dataset *handle = nullptr;
    Dataset() = default;
    Dataset(const Dataset &) = delete;
    Dataset &operator=(const Dataset &) = delete;
    ~Dataset()
    {
        md_dataset_destroy(handle);
    }
};

struct Image {
    md_image image = {};
    Image() = default;
    Image(const Image &) = delete;
    Image &operator=(const Image &) = delete;
    ~Image()
    {
        md_image_finish(&image);
    }
};

E_TransferSyntax syntax_of(const char *uid)
{
    const E_TransferSyntax syntax = DcmXfer(uid).getXfer();
    const bool written = syntax == EXS_LittleEndianImplicit ||
                         syntax == EXS_LittleEndianExplicit || syntax == EXS_BigEndianExplicit;
    return written ? syntax : EXS_Unknown;
}

md_status put(DcmDataset *dataset, const DcmTagKey &tag, unsigned value, md_error *err)
{
    const OFCondition condition =
        dataset->putAndInsertUint16(tag, static_cast<Uint16>(value), 0, OFTrue);
    return condition.good()
               ? MD_OK
               : md_fail(err, md_status_of_condition(condition),
                         "(%04x,%04x) cannot be written", tag.getGroup(), tag.getElement());
}

md_status put(DcmDataset *dataset, const DcmTagKey &tag, const char *value, md_error *err)
{
    const OFCondition condition = dataset->putAndInsertString(tag, value, OFTrue);
    return condition.good()
               ? MD_OK
               : md_fail(err, md_status_of_condition(condition),
                         "(%04x,%04x) cannot be written", tag.getGroup(), tag.getElement());
}

unsigned bytes_of(md_pixel_type type)
{
    return type == MD_PIXEL_U8 || type == MD_PIXEL_S8 ? 1 : 2;
}

bool is_signed(md_pixel_type type)
{
    return type == MD_PIXEL_S8 || type == MD_PIXEL_S16;
}

/* Planar channels to one pixel after the other, in native byte order. A negative value fills
 * the bits above High Bit too, so that a reader finds it with and without cutting them off. */
template <typename Sample> void interleave(const md_image &image, Sample *to)
{
    const size_t n_pixels = static_cast<size_t>(image.rows) * image.columns;
    const Sample *from = static_cast<const Sample *>(image.pixels);
    for (uint32_t channel = 0; channel < image.n_channels; channel++) {
        for (size_t i = 0; i < n_pixels; i++) {
            to[i * image.n_channels + channel] = from[channel * n_pixels + i];
        }
    }
}

/* What must be the same in all frames of one Pixel Data. */
bool is_alike(const md_image &a, const md_image &b)
{
    return a.rows == b.rows && a.columns == b.columns && a.n_channels == b.n_channels &&
           a.type == b.type && a.bits_stored == b.bits_stored;
}

md_status describe(DcmDataset *dataset, const md_image &image, md_error *err)
{
    MD_TRY(put(dataset, DcmTagKey(0x0028, 0x0100), 8 * bytes_of(image.type), err));
    MD_TRY(put(dataset, DcmTagKey(0x0028, 0x0101), image.bits_stored, err));
    MD_TRY(put(dataset, DcmTagKey(0x0028, 0x0102), image.bits_stored - 1, err));
    MD_TRY(put(dataset, DcmTagKey(0x0028, 0x0103), is_signed(image.type) ? 1 : 0, err));
    if (image.n_channels == 3) {
        MD_TRY(put(dataset, DcmTagKey(0x0028, 0x0004), "RGB", err));
        MD_TRY(put(dataset, DcmTagKey(0x0028, 0x0006), 0U, err));
    }
    return image.lossy ? put(dataset, DcmTagKey(0x0028, 0x2110), "01", err) : MD_OK;
}

/* An empty Pixel Data of so many bytes, which *ret_bytes (of whole samples) points into. */
md_status make_pixels(uint64_t size_bytes, unsigned sample_bytes,
                      std::unique_ptr<DcmPixelData> *ret_pixels, uint8_t **ret_bytes,
                      md_error *err)
{
    if (size_bytes > max_pixel_bytes) {
        return md_fail(err, MD_LIMIT, "decoded pixels of %llu bytes, at most %llu can be sent",
                       static_cast<unsigned long long>(size_bytes),
                       static_cast<unsigned long long>(max_pixel_bytes));
    }
    const Uint32 even_bytes = static_cast<Uint32>(size_bytes + size_bytes % 2);
    auto pixels = std::make_unique<DcmPixelData>(DcmTag(pixel_data_tag));
    OFCondition condition;
    if (sample_bytes == 2) {
        Uint16 *words = nullptr;
        pixels->setVR(EVR_OW);
        condition = pixels->createUint16Array(even_bytes / 2, words);
        *ret_bytes = reinterpret_cast<uint8_t *>(words);
    } else {
        Uint8 *bytes = nullptr;
        pixels->setVR(EVR_OB);
        condition = pixels->createUint8Array(even_bytes, bytes);
        *ret_bytes = bytes;
    }
    if (condition.bad() || *ret_bytes == nullptr) {
        return md_fail(err, MD_NOMEM, "no memory for decoded pixels of %llu bytes",
                       static_cast<unsigned long long>(size_bytes));
    }
    if (even_bytes > size_bytes) {
        (*ret_bytes)[size_bytes] = 0;
    }
    *ret_pixels = std::move(pixels);
    return MD_OK;
}

void write_frame(const md_image &image, uint8_t *to)
{
    if (bytes_of(image.type) == 2) {
        interleave<uint16_t>(image, reinterpret_cast<uint16_t *>(to));
    } else {
        interleave<uint8_t>(image, to);
    }
}

/* Replace compressed Pixel Data by native. */
md_status decompress(const md_dataset *dataset, md_error *err)
{
    uint32_t n_frames = 0;
    Image first;
    std::unique_ptr<DcmPixelData> pixels;
    uint8_t *bytes = nullptr;
    size_t frame_bytes = 0;
    size_t total_bytes = 0;
    MD_TRY(md_image_count_frames(dataset, &n_frames, err));
    MD_TRY(md_image_decode(dataset, 0, &first.image, err));
    const unsigned sample_bytes = bytes_of(first.image.type);
    frame_bytes = static_cast<size_t>(first.image.rows) * first.image.columns *
                  first.image.n_channels * sample_bytes;
    if (!md_mul(frame_bytes, n_frames, &total_bytes)) {
        return md_fail(err, MD_LIMIT, "decoded pixels of more than %llu bytes",
                       static_cast<unsigned long long>(max_pixel_bytes));
    }
    MD_TRY(make_pixels(total_bytes, sample_bytes, &pixels, &bytes, err));
    write_frame(first.image, bytes);
    for (uint32_t i = 1; i < n_frames; i++) {
        Image frame;
        MD_TRY(md_image_decode(dataset, i, &frame.image, err));
        if (!is_alike(first.image, frame.image)) {
            return md_fail(err, MD_UNSUPPORTED, "frame %lu is not coded like the first",
                           static_cast<unsigned long>(i) + 1);
        }
        write_frame(frame.image, bytes + i * frame_bytes);
    }
    DcmDataset *to = md_dataset_dcmtk(dataset);
    MD_TRY(describe(to, first.image, err));
    const OFCondition condition = to->insert(pixels.get(), OFTrue);
    if (condition.bad()) {
        return md_fail(err, md_status_of_condition(condition), "no place for decoded pixels");
    }
    (void)pixels.release();
    return MD_OK;
}

md_status write_all(int fd, const uint8_t *bytes, size_t n, md_error *err)
{
    while (n > 0) {
        const ssize_t written = write(fd, bytes, n);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return md_fail_os(err, written < 0 ? errno : ENOSPC, "write a converted object");
        }
        bytes += written;
        n -= static_cast<size_t>(written);
    }
    return MD_OK;
}

md_status write_dataset(DcmDataset *dataset, E_TransferSyntax syntax, int fd, md_error *err)
{
    std::vector<uint8_t> block(write_block_bytes);
    DcmOutputBufferStream stream(block.data(), static_cast<offile_off_t>(block.size()));
    DcmWriteCache cache;
    OFCondition condition = EC_StreamNotifyClient;
    dataset->transferInit();
    while (condition == EC_StreamNotifyClient) {
        void *part = nullptr;
        offile_off_t part_bytes = 0;
        condition = dataset->write(stream, syntax, EET_UndefinedLength, &cache, EGL_withoutGL);
        stream.flushBuffer(part, part_bytes);
        const md_status status = write_all(fd, static_cast<const uint8_t *>(part),
                                           static_cast<size_t>(part_bytes), err);
        if (status != MD_OK) {
            dataset->transferEnd();
            return status;
        }
    }
    dataset->transferEnd();
    return condition.good() ? MD_OK
                            : md_fail(err, md_status_of_condition(condition),
                                      "cannot be written (DCMTK condition %u/%u)",
                                      condition.module(), condition.code());
}

/* Pixels of a byte are OB, which looks the same in every byte order; OW is allowed for them too
 * (PS3.5 A.2), but then their bytes change places in big endian, which not every reader knows.
 */
void name_pixel_vr(DcmDataset *dataset)
{
    Uint16 bits = 0;
    DcmElement *element = nullptr;
    if (dataset->findAndGetUint16(DcmTagKey(0x0028, 0x0100), bits).good() && bits <= 8 &&
        dataset->findAndGetElement(pixel_data_tag, element).good() && element != nullptr) {
        DcmPixelData *pixels = dynamic_cast<DcmPixelData *>(element);
        if (pixels != nullptr) {
            Uint8 *bytes = nullptr;
            (void)pixels->getUint8Array(bytes); /* loaded as bytes, in their order */
            pixels->setVR(EVR_OB);
        }
    }
}

md_status transcode(const char *path, const char *uid, int fd, md_error *err)
{
    Dataset opened;
    const E_TransferSyntax syntax = syntax_of(uid);
    if (syntax == EXS_Unknown) {
        return md_fail(err, MD_INVALID_ARG, "not a transfer syntax that medaid converts to");
    }
    MD_TRY(md_dataset_open(path, &opened.handle, err));
    DcmDataset *dataset = md_dataset_dcmtk(opened.handle);
    const E_TransferSyntax before = opened.handle->original_syntax;
    DcmElement *pixels = nullptr;
    if (DcmXfer(before).isEncapsulated() &&
        dataset->findAndGetElement(pixel_data_tag, pixels).good() && pixels != nullptr) {
        MD_TRY(decompress(opened.handle, err));
    }
    name_pixel_vr(dataset);
    if (!dataset->canWriteXfer(syntax, before)) {
        (void)dataset->findAndDeleteElement(icon_tag, OFTrue, OFTrue);
    }
    if (!dataset->canWriteXfer(syntax, before)) {
        return md_fail(err, MD_UNSUPPORTED, "it holds compressed data beside its image");
    }
    return write_dataset(dataset, syntax, fd, err);
}

} // namespace

bool md_transcode_writes(const char *transfer_syntax_uid) noexcept
{
    return md_guard_bool([&] { return syntax_of(transfer_syntax_uid) != EXS_Unknown; });
}

md_status md_transcode(const char *path, const char *transfer_syntax_uid, int fd,
                       md_error *err) noexcept
{
    return md_guard(err, __func__,
                    [&] { return transcode(path, transfer_syntax_uid, fd, err); });
}
