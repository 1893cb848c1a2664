#include "dicom/image/lut_internal.h"

#include <cstring>
#include <vector>

namespace
{

constexpr uint32_t max_entries = 65536;

struct Descriptor {
    uint32_t n_entries;
    int32_t first;
    unsigned bits;
};

DcmElement *find(DcmItem *item, const DcmTagKey &tag)
{
    DcmElement *element = nullptr;
    return item->findAndGetElement(tag, element).good() ? element : nullptr;
}

md_status read_descriptor(DcmItem *item, const DcmTagKey &tag, bool is_signed,
                          Descriptor *ret_descriptor, md_error *err)
{
    int64_t values[3];
    for (unsigned i = 0; i < 3; i++) {
        if (!md_item_get_int(item, tag, i, &values[i])) {
            return md_fail(err, MD_FORMAT,
                           "(%04X,%04X) LUT Descriptor is missing or not three numbers",
                           tag.getGroup(), tag.getElement());
        }
    }
    /* Written as SS, 40000 entries read as -25536; the pattern counts. */
    const uint32_t n = static_cast<uint32_t>(values[0]) & 0xffff;
    const uint32_t first = static_cast<uint32_t>(values[1]) & 0xffff;
    if (values[2] < 1 || values[2] > 16) {
        return md_fail(err, MD_FORMAT, "(%04X,%04X) LUT Descriptor says %lld bits, not 1..16",
                       tag.getGroup(), tag.getElement(), static_cast<long long>(values[2]));
    }
    const bool is_negative = (is_signed || values[1] < 0) && first > 0x7fff;
    ret_descriptor->n_entries = n == 0 ? max_entries : n;
    ret_descriptor->first = static_cast<int32_t>(first) - (is_negative ? 0x10000 : 0);
    ret_descriptor->bits = static_cast<unsigned>(values[2]);
    return MD_OK;
}

/* The words of LUT data, whatever its VR: US, SS, OW or, in files without VR, either. */
md_status read_words(DcmItem *item, const DcmTagKey &tag, std::vector<uint16_t> &ret_words,
                     md_error *err)
{
    DcmElement *element = find(item, tag);
    if (element == nullptr || element->getLength() == 0) {
        return md_fail(err, MD_FORMAT, "(%04X,%04X) LUT Data is missing", tag.getGroup(),
                       tag.getElement());
    }
    const Uint32 length = element->getLength();
    if (length > 4 * max_entries) {
        return md_fail(err, MD_LIMIT, "(%04X,%04X) LUT Data of %u bytes, at most %u",
                       tag.getGroup(), tag.getElement(), length, 4 * max_entries);
    }
    ret_words.assign((length + 1) / 2, 0);
    Uint16 *words = nullptr;
    Sint16 *signed_words = nullptr;
    Uint8 *bytes = nullptr;
    if (element->getUint16Array(words).good() && words != nullptr) {
        memcpy(ret_words.data(), words, length & ~1u);
    } else if (element->getSint16Array(signed_words).good() && signed_words != nullptr) {
        memcpy(ret_words.data(), signed_words, length & ~1u);
    } else if (element->getUint8Array(bytes).good() && bytes != nullptr) {
        memcpy(ret_words.data(), bytes, length); /* little endian, as the host */
    } else {
        return md_fail(err, MD_FORMAT, "(%04X,%04X) LUT Data has a wrong VR", tag.getGroup(),
                       tag.getElement());
    }
    return MD_OK;
}

md_status keep(const std::vector<uint16_t> &entries, const Descriptor &descriptor,
               md_lut *ret_lut, md_error *err)
{
    uint16_t *copy = static_cast<uint16_t *>(md_malloc(entries.size() * sizeof(uint16_t)));
    if (copy == nullptr) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    memcpy(copy, entries.data(), entries.size() * sizeof(uint16_t));
    const unsigned mask = (1u << descriptor.bits) - 1u;
    for (size_t i = 0; i < entries.size(); i++) {
        copy[i] = static_cast<uint16_t>(copy[i] & mask);
    }
    md_free(ret_lut->entries);
    *ret_lut = {descriptor.n_entries, descriptor.first, descriptor.bits, copy};
    return MD_OK;
}

/* One entry a word, or, when there are just enough bytes, one a byte. */
md_status spread(const std::vector<uint16_t> &words, const DcmTagKey &tag,
                 const Descriptor &descriptor, std::vector<uint16_t> &ret_entries,
                 md_error *err)
{
    const uint32_t n = descriptor.n_entries;
    ret_entries.clear();
    if (words.size() >= n) {
        ret_entries.assign(words.begin(), words.begin() + n);
        return MD_OK;
    }
    if (descriptor.bits <= 8 && words.size() * 2 >= n) {
        for (uint32_t i = 0; i < n; i++) {
            const unsigned word = words[i / 2];
            ret_entries.push_back(static_cast<uint16_t>(i % 2 == 0 ? word & 0xff : word >> 8));
        }
        return MD_OK;
    }
    return md_fail(err, MD_FORMAT,
                   "(%04X,%04X) LUT Data has %zu words, the descriptor says %u entries",
                   tag.getGroup(), tag.getElement(), words.size(), n);
}

/* Expands a segmented palette: opcode 0 discrete, 1 linear, 2 indirect (C.7.9.2). Segments are
 * a stream of words; 8-bit palettes pack two in each. */
class Segments
{
  public:
    Segments(const std::vector<uint16_t> &in, uint32_t n) : stream(in), n_entries(n)
    {
    }

    bool expand(size_t at, size_t n_segments, bool is_inside, std::vector<uint16_t> &out)
    {
        for (size_t k = 0; k < n_segments && at < stream.size(); k++) {
            if (stream.size() - at < 2) {
                return at + 1 == stream.size() && stream[at] == 0; /* padding */
            }
            const unsigned opcode = stream[at], length = stream[at + 1];
            at += 2;
            const bool is_good = opcode == 0   ? discrete(at, length, out)
                                 : opcode == 1 ? linear(at, length, out)
                                 : opcode == 2 ? indirect(at, length, is_inside, out)
                                               : false;
            if (!is_good) {
                return false;
            }
            if (out.size() >= n_entries) {
                return out.size() == n_entries;
            }
        }
        return true;
    }

  private:
    const std::vector<uint16_t> &stream;
    const uint32_t n_entries;

    bool discrete(size_t &at, unsigned length, std::vector<uint16_t> &out) const
    {
        if (stream.size() - at < length || out.size() + length > n_entries) {
            return false;
        }
        for (unsigned i = 0; i < length; i++) {
            out.push_back(stream[at++]);
        }
        return true;
    }

    /* From the last value to the next in `length` steps; the first value is not repeated. */
    bool linear(size_t &at, unsigned length, std::vector<uint16_t> &out) const
    {
        if (out.empty() || length == 0 || at >= stream.size() ||
            out.size() + length > n_entries) {
            return false;
        }
        const int from = out.back(), to = stream[at++];
        for (unsigned i = 1; i <= length; i++) {
            const double step = static_cast<double>(to - from) * i / length;
            out.push_back(static_cast<uint16_t>(from + step + 0.5));
        }
        return true;
    }

    /* Copies `length` segments from a byte offset, which is two words, least significant first.
     * An indirect segment may not point at another. */
    bool indirect(size_t &at, unsigned length, bool is_inside, std::vector<uint16_t> &out)
    {
        if (is_inside || stream.size() - at < 2) {
            return false;
        }
        const uint32_t offset = stream[at] | static_cast<uint32_t>(stream[at + 1]) << 16;
        at += 2;
        return offset / 2 < stream.size() && expand(offset / 2, length, true, out);
    }
};

} // namespace

md_status md_lut_read(DcmItem *item, bool is_signed, md_lut *ret_lut, md_error *err)
{
    const DcmTagKey data_tag(0x0028, 0x3006);
    Descriptor descriptor = {};
    MD_TRY(read_descriptor(item, DcmTagKey(0x0028, 0x3002), is_signed, &descriptor, err));
    std::vector<uint16_t> words, entries;
    MD_TRY(read_words(item, data_tag, words, err));
    MD_TRY(spread(words, data_tag, descriptor, entries, err));
    return keep(entries, descriptor, ret_lut, err);
}

md_status md_lut_read_palette(DcmItem *dataset, unsigned channel, bool is_signed,
                              md_lut *ret_lut, md_error *err)
{
    const Uint16 c = static_cast<Uint16>(channel);
    const DcmTagKey descriptor_tag(0x0028, static_cast<Uint16>(0x1101 + c));
    const DcmTagKey data_tag(0x0028, static_cast<Uint16>(0x1201 + c));
    const DcmTagKey segmented_tag(0x0028, static_cast<Uint16>(0x1221 + c));
    Descriptor descriptor = {};
    MD_TRY(read_descriptor(dataset, descriptor_tag, is_signed, &descriptor, err));
    std::vector<uint16_t> words, entries;
    if (find(dataset, segmented_tag) == nullptr) {
        MD_TRY(read_words(dataset, data_tag, words, err));
        MD_TRY(spread(words, data_tag, descriptor, entries, err));
        return keep(entries, descriptor, ret_lut, err);
    }
    MD_TRY(read_words(dataset, segmented_tag, words, err));
    if (descriptor.bits <= 8) {
        return md_fail(err, MD_UNSUPPORTED, "(%04X,%04X) segmented palette of 8-bit entries",
                       segmented_tag.getGroup(), segmented_tag.getElement());
    }
    entries.reserve(descriptor.n_entries);
    if (!Segments(words, descriptor.n_entries).expand(0, words.size(), false, entries) ||
        entries.size() != descriptor.n_entries) {
        return md_fail(
            err, MD_FORMAT,
            "(%04X,%04X) palette segments do not give the %u entries of the descriptor",
            segmented_tag.getGroup(), segmented_tag.getElement(), descriptor.n_entries);
    }
    return keep(entries, descriptor, ret_lut, err);
}
