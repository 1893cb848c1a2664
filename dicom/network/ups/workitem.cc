#include "dicom/network/ups/workitem.h"

#include "dicom/dataset/dataset_internal.h"
#include "dicom/network/dimse.h"
#include "dicom/network/part10.h"
#include "dicom/network/ups/workitem_internal.h"

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
#include <ctime>
#include <memory>

namespace
{

struct Destroy {
    void operator()(md_dataset *dataset) const
    {
        md_dataset_destroy(dataset);
    }
};
using Owned = std::unique_ptr<md_dataset, Destroy>;

/* Deeper ones would make the walks below recurse as deeply. */
bool is_shallow(DcmItem *item, int left)
{
    for (unsigned long i = 0; i < item->card(); i++) {
        auto *sequence = dynamic_cast<DcmSequenceOfItems *>(item->getElement(i));
        for (unsigned long k = 0; sequence != nullptr && k < sequence->card(); k++) {
            if (left == 0 || !is_shallow(sequence->getItem(k), left - 1)) {
                return false;
            }
        }
    }
    return true;
}

md_status create(md_dataset **ret_item, md_error *err)
{
    Owned item(new md_dataset);
    const OFCondition good = md_dataset_dcmtk(item.get())
                                 ->putAndInsertString(DCM_SpecificCharacterSet, "ISO_IR 192");
    if (good.bad()) {
        return md_fail(err, md_status_of_condition(good), "a dataset cannot be made");
    }
    *ret_item = item.release();
    return MD_OK;
}

md_status parse(const uint8_t *bytes, size_t size_bytes, md_encoding encoding,
                md_dataset **ret_item, md_error *err)
{
    if (size_bytes > MD_WORKITEM_MAX_BYTES) {
        return md_fail(err, MD_LIMIT, "a workitem of %zu bytes, at most %d are taken",
                       size_bytes, MD_WORKITEM_MAX_BYTES);
    }
    if (size_bytes == 0) {
        return create(ret_item, err);
    }
    md_part10 head{};
    snprintf(head.sop_class_uid, sizeof head.sop_class_uid, "%s", MD_UPS_PUSH);
    snprintf(head.sop_instance_uid, sizeof head.sop_instance_uid, "%s", MD_UPS_GLOBAL);
    snprintf(head.transfer_syntax_uid, sizeof head.transfer_syntax_uid, "%s",
             encoding == MD_ENCODING_EXPLICIT_LITTLE ? MD_UID_EXPLICIT_LITTLE
                                                     : MD_UID_IMPLICIT_LITTLE);
    std::unique_ptr<uint8_t[]> file(new uint8_t[MD_PART10_HEADER_BYTES + size_bytes]);
    const size_t n_head = md_part10_write(&head, "", file.get());
    memcpy(file.get() + n_head, bytes, size_bytes);
    md_dataset *made = nullptr;
    MD_TRY(md_dataset_parse(file.get(), n_head + size_bytes, &made, err));
    Owned item(made);
    DcmDataset *dataset = md_dataset_dcmtk(item.get());
    if (!is_shallow(dataset, MD_WORKITEM_MAX_DEPTH)) {
        return md_fail(err, MD_LIMIT, "sequences are nested more than %d deep",
                       MD_WORKITEM_MAX_DEPTH);
    }
    if (dataset->convertToUTF8().bad()) {
        return md_fail(err, MD_FORMAT,
                       "text is not in its Specific Character Set (0008,0005), or that is not "
                       "known");
    }
    const OFCondition good =
        dataset->putAndInsertString(DCM_SpecificCharacterSet, "ISO_IR 192");
    if (good.bad()) {
        return md_fail(err, md_status_of_condition(good), "a dataset cannot be made");
    }
    *ret_item = item.release();
    return MD_OK;
}

md_status encode(const md_dataset *item, md_encoding encoding, uint8_t **ret_bytes,
                 size_t *ret_n, md_error *err)
{
    DcmDataset *dataset = md_dataset_dcmtk(item);
    const E_TransferSyntax syntax = encoding == MD_ENCODING_EXPLICIT_LITTLE
                                        ? EXS_LittleEndianExplicit
                                        : EXS_LittleEndianImplicit;
    const size_t expected = dataset->calcElementLength(syntax, EET_ExplicitLength);
    if (expected > MD_WORKITEM_MAX_BYTES) {
        return md_fail(err, MD_LIMIT, "a workitem of %zu bytes, at most %d are kept", expected,
                       MD_WORKITEM_MAX_BYTES);
    }
    const size_t capacity = expected + 1024;
    std::unique_ptr<uint8_t, decltype(&md_free)> bytes(
        static_cast<uint8_t *>(md_malloc(capacity)), md_free);
    if (bytes == nullptr) {
        return md_fail(err, MD_NOMEM, "no memory for a dataset");
    }
    DcmOutputBufferStream stream(bytes.get(), static_cast<offile_off_t>(capacity));
    DcmWriteCache cache;
    dataset->transferInit();
    const OFCondition good =
        dataset->write(stream, syntax, EET_ExplicitLength, &cache, EGL_withoutGL);
    dataset->transferEnd();
    if (good.bad()) {
        return md_fail(err, md_status_of_condition(good),
                       "a dataset cannot be written (DCMTK condition %u/%u)", good.module(),
                       good.code());
    }
    void *window = nullptr;
    offile_off_t length = 0;
    stream.flush();
    stream.flushBuffer(window, length);
    if (window != bytes.get() || length < 0) {
        return md_fail(err, MD_INTERNAL, "a dataset was not written as a whole");
    }
    *ret_n = static_cast<size_t>(length);
    *ret_bytes = bytes.release();
    return MD_OK;
}

} // namespace

DcmTagKey md_ups_key(uint32_t tag)
{
    return DcmTagKey(static_cast<Uint16>(tag >> 16), static_cast<Uint16>(tag & 0xffff));
}

uint32_t md_ups_tag_of(const DcmElement *element)
{
    return MD_TAG(element->getGTag(), element->getETag());
}

std::string md_ups_text(DcmItem *item, uint32_t tag)
{
    OFString text;
    DcmElement *element = nullptr;
    if (item == nullptr || item->findAndGetElement(md_ups_key(tag), element).bad() ||
        element == nullptr || element->isaString() == OFFalse ||
        element->getOFStringArray(text, OFTrue).bad()) {
        return "";
    }
    std::string value(text.c_str(), text.length());
    while (!value.empty() && (value.back() == ' ' || value.back() == '\0')) {
        value.pop_back();
    }
    return value;
}

DcmItem *md_ups_first_item(DcmItem *item, uint32_t sequence)
{
    DcmItem *found = nullptr;
    if (item == nullptr || item->findAndGetSequenceItem(md_ups_key(sequence), found, 0).bad()) {
        return nullptr;
    }
    return found;
}

bool md_ups_has_value(DcmItem *item, uint32_t tag)
{
    DcmElement *element = nullptr;
    if (item == nullptr || item->findAndGetElement(md_ups_key(tag), element).bad() ||
        element == nullptr) {
        return false;
    }
    const auto *sequence = dynamic_cast<DcmSequenceOfItems *>(element);
    return sequence != nullptr
               ? const_cast<DcmSequenceOfItems *>(sequence)->card() > 0
               : element->getLengthField() > 0 &&
                     (element->isaString() == OFFalse || !md_ups_text(item, tag).empty());
}

void md_ups_copy(DcmItem *from, DcmItem *to, uint32_t tag)
{
    DcmElement *element = nullptr;
    if (from == nullptr || from->findAndGetElement(md_ups_key(tag), element).bad() ||
        element == nullptr) {
        return;
    }
    md_ups_insert(to, dynamic_cast<DcmElement *>(element->clone()));
}

void md_ups_insert(DcmItem *to, DcmElement *element)
{
    if (element == nullptr || to->insert(element, OFTrue).bad()) {
        delete element;
        throw std::bad_alloc();
    }
}

void md_ups_put(DcmItem *item, uint32_t tag, const char *text)
{
    const DcmTag key(md_ups_key(tag));
    const OFCondition good =
        text[0] != '\0' ? item->putAndInsertString(key, text) : item->insertEmptyElement(key);
    if (good.bad()) {
        throw std::bad_alloc();
    }
}

DcmItem *md_ups_need_item(DcmItem *item, uint32_t sequence)
{
    DcmItem *made = nullptr;
    if (item->findOrCreateSequenceItem(DcmTag(md_ups_key(sequence)), made, 0).bad()) {
        throw std::bad_alloc();
    }
    return made;
}

md_status md_workitem_parse(const uint8_t *bytes, size_t size_bytes, md_encoding encoding,
                            md_dataset **ret_item, md_error *err) noexcept
{
    return md_guard(err, __func__,
                    [&] { return parse(bytes, size_bytes, encoding, ret_item, err); });
}

md_status md_workitem_encode(const md_dataset *item, md_encoding encoding, uint8_t **ret_bytes,
                             size_t *ret_n, md_error *err) noexcept
{
    return md_guard(err, __func__,
                    [&] { return encode(item, encoding, ret_bytes, ret_n, err); });
}

md_status md_workitem_create(md_dataset **ret_item, md_error *err) noexcept
{
    return md_guard(err, __func__, [&] { return create(ret_item, err); });
}

md_status md_workitem_put(md_dataset *item, uint32_t tag, const char *text,
                          md_error *err) noexcept
{
    return md_guard(err, __func__, [&] {
        md_ups_put(md_dataset_dcmtk(item), tag, text);
        return MD_OK;
    });
}

bool md_workitem_remove(md_dataset *item, uint32_t tag) noexcept
{
    return md_guard_bool(
        [&] { return md_dataset_dcmtk(item)->findAndDeleteElement(md_ups_key(tag)).good(); });
}

void md_workitem_datetime(int64_t wall_ms, char ret_text[MD_WORKITEM_DATETIME_BYTES]) noexcept
{
    const time_t seconds = static_cast<time_t>(wall_ms / 1000);
    struct tm utc {
    };
    char date[16] = "19700101000000";
    if (gmtime_r(&seconds, &utc) != nullptr) {
        (void)strftime(date, sizeof date, "%Y%m%d%H%M%S", &utc);
    }
    snprintf(ret_text, MD_WORKITEM_DATETIME_BYTES, "%.14s.%03u000+0000", date,
             static_cast<unsigned>(static_cast<uint64_t>(wall_ms) % 1000U));
}

namespace
{

/* n digits as a number; false: there are other characters. */
bool digits(const char *text, int n, int *ret_value)
{
    int value = 0;
    for (int i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        value = value * 10 + (text[i] - '0');
    }
    *ret_value = value;
    return true;
}

/* "+0100" in seconds. */
bool parse_offset(const char *text, long *ret_s)
{
    int hours = 0, minutes = 0;
    if ((text[0] != '+' && text[0] != '-') || strlen(text) != 5 ||
        !digits(text + 1, 2, &hours) || !digits(text + 3, 2, &minutes) || hours > 14 ||
        minutes > 59) {
        return false;
    }
    *ret_s = (text[0] == '-' ? -1L : 1L) * (hours * 3600L + minutes * 60L);
    return true;
}

} // namespace

bool md_workitem_parse_datetime(const char *text, int64_t *ret_ms) noexcept
{
    /* year, month, day, hour, minute, second */
    int parts[6] = {0, 1, 1, 0, 0, 0};
    static const int least[6] = {1, 1, 1, 0, 0, 0}, most[6] = {9999, 12, 31, 23, 59, 60};
    int n = 0;
    if (strlen(text) >= MD_WORKITEM_DATETIME_BYTES) {
        return false;
    }
    for (; n < 6 && *text >= '0' && *text <= '9'; n++) {
        const int width = n == 0 ? 4 : 2;
        if (!digits(text, width, &parts[n]) || parts[n] < least[n] || parts[n] > most[n]) {
            return false;
        }
        text += width;
    }
    int ms = 0;
    if (n == 6 && *text == '.') {
        int scale = 100, n_digits = 0;
        for (text++; *text >= '0' && *text <= '9' && n_digits < 6; text++, n_digits++) {
            ms += (*text - '0') * scale;
            scale /= 10;
        }
        if (n_digits == 0) {
            return false;
        }
    }
    long offset_s = 0;
    const bool has_offset = *text != '\0';
    if (n == 0 || (has_offset && !parse_offset(text, &offset_s))) {
        return false;
    }
    struct tm fields {
    };
    fields.tm_year = parts[0] - 1900;
    fields.tm_mon = parts[1] - 1;
    fields.tm_mday = parts[2];
    fields.tm_hour = parts[3];
    fields.tm_min = parts[4];
    fields.tm_sec = parts[5];
    fields.tm_isdst = -1;
    const time_t seconds = has_offset ? timegm(&fields) - offset_s : mktime(&fields);
    *ret_ms = static_cast<int64_t>(seconds) * 1000 + ms;
    return true;
}
