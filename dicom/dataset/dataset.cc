#include "dicom/dataset/dataset.h"

#include "dicom/dataset/dataset_internal.h"
#include "dicom/dataset/inflate.h"
#include "dicom/dataset/scan.h"
#include "dicom/report/result.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#include "dcmtk/dcmdata/dcistrmb.h"
#include "dcmtk/dcmdata/dcistrmf.h"
#pragma GCC diagnostic pop

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace
{

/* Longer values stay in the file until they are asked for. */
constexpr Uint32 max_eager_bytes = 4096;
/* No text that is asked for is longer; the rest of a longer one would be cut anyway. */
constexpr Uint32 max_text_bytes = 1u << 20;

/* Group 0002 holds a dozen short values. */
constexpr size_t max_meta_bytes = 1u << 20;

struct Descriptor {
    int fd;
    explicit Descriptor(int opened) : fd(opened)
    {
    }
    Descriptor(const Descriptor &) = delete;
    Descriptor &operator=(const Descriptor &) = delete;
    ~Descriptor()
    {
        if (fd >= 0) {
            close(fd);
        }
    }
};

DcmTagKey key_of(uint32_t tag)
{
    return DcmTagKey(static_cast<Uint16>(tag >> 16), static_cast<Uint16>(tag & 0xffff));
}

struct Free {
    void operator()(uint8_t *block) const
    {
        md_free(block);
    }
};
using Bytes = std::unique_ptr<uint8_t, Free>;

/* Set what the scan knows and hand the dataset out. */
void finish_open(std::unique_ptr<md_dataset> dataset, const md_scan &scan,
                 md_dataset **ret_dataset)
{
    dataset->transfer_syntax = scan.transfer_syntax;
    dataset->original_syntax = dataset->file.getDataset()->getOriginalXfer();
    *ret_dataset = dataset.release();
}

md_status read_condition(const OFCondition &condition, md_error *err)
{
    if (condition.good()) {
        return MD_OK;
    }
    const md_status status = md_status_of_condition(condition);
    if (status == MD_FORMAT && (condition == EC_StreamNotifyClient ||
                                condition == EC_EndOfStream || condition == EC_InvalidStream)) {
        return md_fail(err, MD_FORMAT, "cut short: the file ends inside an element");
    }
    /* The text of a DCMTK condition may quote the file; its number does not. */
    return md_fail(err, status, "cannot be read as DICOM (DCMTK condition %u/%u)",
                   condition.module(), condition.code());
}

md_status read_stream(DcmObject *object, const uint8_t *bytes, size_t size_bytes,
                      E_TransferSyntax syntax, md_error *err)
{
    DcmInputBufferStream stream;
    stream.setBuffer(bytes, static_cast<offile_off_t>(size_bytes));
    stream.setEos();
    object->transferInit();
    const OFCondition condition = object->read(stream, syntax, EGL_noChange, DCM_MaxReadLength);
    object->transferEnd();
    return read_condition(condition, err);
}

/* What DCMTK is told. It must not look for itself: in odd bytes it sees another encoding than
 * the walk that vouches for them. Syntaxes that DCMTK 3.6.7 does not know, such as those of
 * HTJ2K, are built like JPEG 2000. */
E_TransferSyntax syntax_to_read(const md_scan &scan)
{
    const E_TransferSyntax known = DcmXfer(scan.transfer_syntax).getXfer();
    if (!scan.is_inspected) {
        return known == EXS_Unknown ? EXS_JPEG2000 : known;
    }
    if (!scan.is_explicit) {
        return EXS_LittleEndianImplicit;
    }
    return scan.is_big_endian ? EXS_BigEndianExplicit : EXS_LittleEndianExplicit;
}

/* The dataset behind the meta header; values that are long stay in the file. */
md_status read_dataset(const char *path, const md_scan &scan, DcmFileFormat *ret_file,
                       md_error *err)
{
    /* Skipped and not opened at the offset: DCMTK counts from where it opened when it comes
     * back for a long value. */
    const offile_off_t offset = static_cast<offile_off_t>(scan.dataset_offset);
    DcmInputFileStream stream{OFFilename(path)};
    if (!stream.good() || stream.skip(offset) != offset) {
        return md_fail(err, MD_IO, "cannot read");
    }
    DcmDataset *dataset = ret_file->getDataset();
    dataset->transferInit();
    const OFCondition condition =
        dataset->read(stream, syntax_to_read(scan), EGL_noChange, max_eager_bytes);
    dataset->transferEnd();
    return read_condition(condition, err);
}

md_status write_all(int fd, const uint8_t *bytes, size_t size_bytes, md_error *err)
{
    size_t done = 0;
    while (done < size_bytes) {
        const ssize_t n = write(fd, bytes + done, size_bytes - done);
        if (n < 0 && errno != EINTR) {
            return md_fail_os(err, errno, "cannot write to a file in memory");
        }
        done += n < 0 ? 0 : static_cast<size_t>(n);
    }
    return MD_OK;
}

/* Where the walk could not follow, a length may claim gigabytes. From a buffer DCMTK allocates
 * by it before it looks whether the bytes are there; from a file it looks first. */
md_status parse_odd(const uint8_t *bytes, size_t size_bytes, const md_scan &scan,
                    DcmFileFormat *ret_file, md_error *err)
{
    const Descriptor memory(memfd_create("medaid-dataset", MFD_CLOEXEC));
    if (memory.fd < 0) {
        return md_fail_os(err, errno, "cannot make a file in memory");
    }
    MD_TRY(write_all(memory.fd, bytes, size_bytes, err));
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory.fd);
    MD_TRY(read_dataset(path, scan, ret_file, err));
    return read_condition(ret_file->loadAllDataIntoMemory(), err);
}

/* A deflated dataset is inflated here, with a limit and a look at its structure, which DCMTK
 * would do without. */
md_status parse_deflated(const uint8_t *bytes, size_t size_bytes, md_scan *scan,
                         md_dataset **ret_dataset, md_error *err)
{
    const size_t offset = static_cast<size_t>(scan->dataset_offset);
    uint8_t *inflated = nullptr;
    size_t inflated_bytes = 0;
    MD_TRY(md_inflate(bytes + offset, size_bytes - offset, &inflated, &inflated_bytes, err));
    const Bytes owner(inflated);
    auto source = std::make_unique<md_scan_source>();
    md_scan_source_bytes(source.get(), inflated, inflated_bytes);
    md_scan inner = {};
    inner.is_explicit = true;
    inner.is_inspected = true; /* explicit VR little endian, whatever the file says */
    md_status status = md_scan_dataset(source.get(), &inner, err);
    if (status != MD_OK) {
        return md_error_prefix(err, status, "inflated");
    }
    auto dataset = std::make_unique<md_dataset>();
    MD_TRY(read_stream(dataset->file.getMetaInfo(), bytes, offset, EXS_Unknown, err));
    if (inner.is_odd) {
        MD_TRY(parse_odd(inflated, inflated_bytes, inner, &dataset->file, err));
    } else {
        MD_TRY(read_stream(dataset->file.getDataset(), inflated, inflated_bytes,
                           EXS_LittleEndianExplicit, err));
    }
    finish_open(std::move(dataset), *scan, ret_dataset);
    return MD_OK;
}

md_status parse_bytes(const uint8_t *bytes, size_t size_bytes, md_dataset **ret_dataset,
                      md_error *err)
{
    auto source = std::make_unique<md_scan_source>();
    md_scan_source_bytes(source.get(), bytes, size_bytes);
    md_scan scan = {};
    MD_TRY(md_scan_file(source.get(), &scan, err));
    if (scan.is_deflated) {
        return parse_deflated(bytes, size_bytes, &scan, ret_dataset, err);
    }
    auto dataset = std::make_unique<md_dataset>();
    const size_t offset = static_cast<size_t>(scan.dataset_offset);
    if (scan.has_meta) {
        MD_TRY(read_stream(dataset->file.getMetaInfo(), bytes, offset, EXS_Unknown, err));
    }
    if (scan.is_odd) {
        MD_TRY(parse_odd(bytes, size_bytes, scan, &dataset->file, err));
    } else {
        MD_TRY(read_stream(dataset->file.getDataset(), bytes + offset, size_bytes - offset,
                           syntax_to_read(scan), err));
    }
    finish_open(std::move(dataset), scan, ret_dataset);
    return MD_OK;
}

md_status read_whole(int fd, size_t size_bytes, Bytes &ret_bytes, md_error *err)
{
    Bytes block(static_cast<uint8_t *>(md_malloc(size_bytes)));
    if (!block) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    size_t have = 0;
    while (have < size_bytes) {
        const ssize_t got =
            pread(fd, block.get() + have, size_bytes - have, static_cast<off_t>(have));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return md_fail_os(err, errno, "cannot read");
        }
        if (got == 0) {
            return md_fail(err, MD_IO, "the file became shorter while it was read");
        }
        have += static_cast<size_t>(got);
    }
    ret_bytes = std::move(block);
    return MD_OK;
}

/* Open a regular file for reading; a FIFO or device must not make us wait. */
md_status open_regular(const char *path, int *ret_fd, uint64_t *ret_bytes, md_error *err)
{
    Descriptor file(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (file.fd < 0) {
        const int os_errno = errno;
        const md_status status = md_fail_os(err, os_errno, "cannot open");
        if (os_errno != ENOENT && os_errno != ENOTDIR) {
            return status;
        }
        return md_fail(err, MD_NOT_FOUND, "no such file");
    }
    struct stat info = {};
    if (fstat(file.fd, &info) != 0) {
        return md_fail_os(err, errno, "cannot read");
    }
    if (!S_ISREG(info.st_mode)) {
        return md_fail(err, MD_INVALID_ARG, "not a regular file");
    }
    *ret_bytes = static_cast<uint64_t>(info.st_size);
    *ret_fd = file.fd;
    file.fd = -1;
    return MD_OK;
}

md_status open_file(const char *path, md_dataset **ret_dataset, md_error *err)
{
    int fd = -1;
    uint64_t total_bytes = 0;
    MD_TRY(open_regular(path, &fd, &total_bytes, err));
    const Descriptor file(fd);
    auto source = std::make_unique<md_scan_source>();
    md_scan_source_file(source.get(), file.fd, total_bytes);
    md_scan scan = {};
    MD_TRY(md_scan_file(source.get(), &scan, err));
    if (scan.is_deflated) {
        Bytes bytes;
        if (total_bytes > MD_INFLATE_MAX_BYTES) {
            return md_fail(err, MD_LIMIT, "deflated file of more than %zu bytes",
                           MD_INFLATE_MAX_BYTES);
        }
        const size_t size_bytes = static_cast<size_t>(total_bytes);
        MD_TRY(read_whole(file.fd, size_bytes, bytes, err));
        return parse_deflated(bytes.get(), size_bytes, &scan, ret_dataset, err);
    }
    auto dataset = std::make_unique<md_dataset>();
    if (scan.has_meta) {
        if (scan.dataset_offset > max_meta_bytes) {
            return md_fail(err, MD_LIMIT, "meta header of more than %zu bytes", max_meta_bytes);
        }
        const size_t offset = static_cast<size_t>(scan.dataset_offset);
        Bytes head;
        MD_TRY(read_whole(file.fd, offset, head, err));
        MD_TRY(read_stream(dataset->file.getMetaInfo(), head.get(), offset, EXS_Unknown, err));
    }
    MD_TRY(read_dataset(path, scan, &dataset->file, err));
    finish_open(std::move(dataset), scan, ret_dataset);
    return MD_OK;
}

DcmElement *find_element(DcmItem *item, const DcmTagKey &tag)
{
    DcmElement *element = nullptr;
    if (item == nullptr || item->findAndGetElement(tag, element).bad()) {
        return nullptr;
    }
    return element;
}

bool bytes_of_element(DcmElement *element, std::string &ret_bytes)
{
    const Uint32 length = element->getLength();
    if (length == 0 || length > max_text_bytes || !element->isLeaf()) {
        return false;
    }
    if (element->isaString()) {
        char *text = nullptr;
        Uint32 text_bytes = 0;
        if (element->getString(text, text_bytes).bad() || text == nullptr) {
            return false;
        }
        ret_bytes.assign(text, text_bytes);
        return true;
    }
    Uint8 *block = nullptr;
    if (element->ident() == EVR_UN && element->getUint8Array(block).good() &&
        block != nullptr) {
        ret_bytes.assign(reinterpret_cast<const char *>(block), length);
        return true;
    }
    return false;
}

/* The character sets that hold for an item: its own, or those of what it is in (PS3.5 7.5.3).
 */
std::string charset_of(DcmItem *item)
{
    const DcmTagKey tag(0x0008, 0x0005);
    for (; item != nullptr; item = item->getParentItem()) {
        DcmElement *element = find_element(item, tag);
        std::string charset;
        if (element != nullptr) {
            (void)bytes_of_element(element, charset);
            return charset;
        }
    }
    return std::string();
}

void copy_cut(const std::string &text, char *ret_text, size_t size_bytes)
{
    size_t length = text.size();
    if (length >= size_bytes) {
        length = size_bytes - 1;
        while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0) == 0x80) {
            length--;
        }
    }
    memcpy(ret_text, text.data(), length);
    ret_text[length] = '\0';
}

/* DS and IS: decimal, blanks around it, nothing else (PS3.5 6.2); independent of the locale. */
bool parse_decimal(const OFString &text, double *ret_value)
{
    const char *first = text.c_str(), *last = first + text.length();
    while (first != last && *first == ' ') {
        first++;
    }
    while (first != last && (last[-1] == ' ' || last[-1] == '\0')) {
        last--;
    }
    if (first != last && *first == '+') {
        first++;
        if (first != last && *first == '-') {
            return false;
        }
    }
    double value = 0;
    const std::from_chars_result result = std::from_chars(first, last, value);
    if (result.ec != std::errc() || result.ptr != last || !std::isfinite(value)) {
        return false;
    }
    *ret_value = value;
    return true;
}

template <typename Value, typename Get>
bool get_number(unsigned index, double *ret_value, Get get)
{
    Value value = 0;
    if (get(value, index).bad() || !std::isfinite(static_cast<double>(value))) {
        return false;
    }
    *ret_value = static_cast<double>(value);
    return true;
}

bool element_get_real(DcmElement *e, unsigned index, double *ret_value)
{
    const unsigned long i = index;
    if (index >= e->getVM()) {
        return false;
    }
#define MD_NUMBER(type, method)                                                                \
    get_number<type>(index, ret_value,                                                         \
                     [&](type &value, unsigned) { return e->method(value, i); })
    switch (static_cast<int>(e->ident())) {
    case EVR_US:
    case EVR_xs:
        return MD_NUMBER(Uint16, getUint16);
    case EVR_SS:
        return MD_NUMBER(Sint16, getSint16);
    case EVR_UL:
    case EVR_up:
        return MD_NUMBER(Uint32, getUint32);
    case EVR_SL:
        return MD_NUMBER(Sint32, getSint32);
    case EVR_FL:
        return MD_NUMBER(Float32, getFloat32);
    case EVR_FD:
        return MD_NUMBER(Float64, getFloat64);
    case EVR_DS:
    case EVR_IS: {
        OFString text;
        return e->getOFString(text, i).good() && parse_decimal(text, ret_value);
    }
    default:
        return false;
    }
#undef MD_NUMBER
}

bool fill_code(DcmItem *item, md_code *code)
{
    *code = md_code{};
    const DcmTagKey value_tags[] = {DcmTagKey(0x0008, 0x0100), DcmTagKey(0x0008, 0x0119),
                                    DcmTagKey(0x0008, 0x0120)};
    for (const DcmTagKey &tag : value_tags) {
        if (md_item_get_text(item, tag, 0, code->value, sizeof code->value)) {
            break;
        }
    }
    (void)md_item_get_text(item, DcmTagKey(0x0008, 0x0102), 0, code->scheme,
                           sizeof code->scheme);
    (void)md_item_get_text(item, DcmTagKey(0x0008, 0x0104), 0, code->meaning,
                           sizeof code->meaning);
    return code->value[0] != '\0' && code->scheme[0] != '\0' && code->meaning[0] != '\0';
}

} // namespace

DcmDataset *md_dataset_dcmtk(const md_dataset *dataset) noexcept
{
    return const_cast<md_dataset *>(dataset)->file.getDataset();
}

DcmFileFormat *md_dataset_dcmtk_file(const md_dataset *dataset) noexcept
{
    return &const_cast<md_dataset *>(dataset)->file;
}

md_status md_status_of_condition(const OFCondition &condition) noexcept
{
    if (condition.good()) {
        return MD_OK;
    }
    if (condition == EC_MemoryExhausted) {
        return MD_NOMEM;
    }
    if (condition == EC_IllegalCall || condition == EC_IllegalParameter) {
        return MD_INTERNAL;
    }
    if (condition == EC_UnsupportedEncoding || condition == EC_CannotChangeRepresentation) {
        return MD_UNSUPPORTED;
    }
    return MD_FORMAT;
}

md_status md_dataset_open(const char *path, md_dataset **ret_dataset, md_error *err) noexcept
{
    return md_guard(err, __func__, [&] { return open_file(path, ret_dataset, err); });
}

md_status md_dataset_parse(const uint8_t *bytes, size_t size_bytes, md_dataset **ret_dataset,
                           md_error *err) noexcept
{
    return md_guard(err, __func__,
                    [&] { return parse_bytes(bytes, size_bytes, ret_dataset, err); });
}

void md_dataset_destroy(md_dataset *dataset) noexcept
{
    delete dataset;
}

bool md_dataset_sniff(const char *path) noexcept
{
    return md_guard_bool([&] {
        int fd = -1;
        uint64_t total_bytes = 0;
        if (open_regular(path, &fd, &total_bytes, nullptr) != MD_OK) {
            return false;
        }
        const Descriptor file(fd);
        auto source = std::make_unique<md_scan_source>();
        md_scan_source_file(source.get(), file.fd, total_bytes);
        return md_scan_sniff(source.get());
    });
}

bool md_dataset_has(const md_dataset *dataset, uint32_t tag) noexcept
{
    return md_guard_bool([&] {
        return static_cast<bool>(
            md_dataset_dcmtk(dataset)->tagExistsWithValue(key_of(tag), OFFalse));
    });
}

bool md_item_get_text(DcmItem *item, const DcmTagKey &tag, unsigned index, char *ret_text,
                      size_t size_bytes)
{
    ret_text[0] = '\0';
    DcmElement *element = find_element(item, tag);
    if (element == nullptr) {
        return false;
    }
    std::string text, bytes;
    if (bytes_of_element(element, bytes)) {
        if (!md_text_decode(bytes, element->ident(), charset_of(item), index, text)) {
            return false;
        }
    } else {
        double value = 0;
        OFString number;
        if (!element_get_real(element, index, &value) ||
            element->getOFString(number, index).bad()) {
            return false;
        }
        text.assign(number.c_str(), number.length());
    }
    copy_cut(text, ret_text, size_bytes);
    return ret_text[0] != '\0';
}

bool md_item_get_real(DcmItem *item, const DcmTagKey &tag, unsigned index, double *ret_value)
{
    DcmElement *element = find_element(item, tag);
    return element != nullptr && element_get_real(element, index, ret_value);
}

bool md_item_get_int(DcmItem *item, const DcmTagKey &tag, unsigned index, int64_t *ret_value)
{
    double value = 0;
    /* 2^53: beyond it a double does not hold every integer. */
    if (!md_item_get_real(item, tag, index, &value) || std::fabs(value) > 9007199254740992.0 ||
        std::trunc(value) != value) {
        return false;
    }
    *ret_value = static_cast<int64_t>(value);
    return true;
}

bool md_dataset_get_text(const md_dataset *dataset, uint32_t tag, unsigned index,
                         char *ret_text, size_t size_bytes) noexcept
{
    if (size_bytes == 0) {
        return false;
    }
    ret_text[0] = '\0';
    return md_guard_bool([&] {
        return md_item_get_text(md_dataset_dcmtk(dataset), key_of(tag), index, ret_text,
                                size_bytes);
    });
}

bool md_dataset_get_real(const md_dataset *dataset, uint32_t tag, unsigned index,
                         double *ret_value) noexcept
{
    return md_guard_bool([&] {
        return md_item_get_real(md_dataset_dcmtk(dataset), key_of(tag), index, ret_value);
    });
}

bool md_dataset_get_int(const md_dataset *dataset, uint32_t tag, unsigned index,
                        int64_t *ret_value) noexcept
{
    return md_guard_bool([&] {
        return md_item_get_int(md_dataset_dcmtk(dataset), key_of(tag), index, ret_value);
    });
}

bool md_dataset_get_code(const md_dataset *dataset, uint32_t sequence_tag,
                         md_code *ret_code) noexcept
{
    return md_guard_bool([&] {
        DcmItem *item = nullptr;
        md_code code;
        if (md_dataset_dcmtk(dataset)
                ->findAndGetSequenceItem(key_of(sequence_tag), item, 0)
                .bad() ||
            !fill_code(item, &code)) {
            return false;
        }
        *ret_code = code;
        return true;
    });
}

const char *md_dataset_transfer_syntax(const md_dataset *dataset) noexcept
{
    return dataset->transfer_syntax.c_str();
}
