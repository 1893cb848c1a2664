/* Texts that tell why a study was made, and what another report says. */

#include "dicom/dataset/dataset_internal.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace
{

enum {
    MAX_VALUES = 32,   /* of one attribute, and items of the Request Attributes Sequence */
    MAX_ITEMS = 65536, /* content items of a report */
    MAX_DEPTH = 64     /* the reader of the dataset has a limit of its own */
};

/* At least the number of its values: DCMTK also counts a backslash that is half a character,
 * and of an attribute of unknown type none. */
unsigned long most_values(DcmItem *item, const DcmTagKey &tag)
{
    DcmElement *element = nullptr;
    if (item->findAndGetElement(tag, element).bad() || element == nullptr) {
        return 0;
    }
    const unsigned long most = MAX_VALUES;
    return element->ident() == EVR_UN ? most : std::min(most, element->getVM());
}

/* Texts one after the other, up to a limit. */
class Joined
{
  public:
    explicit Joined(size_t size_bytes) : size_bytes_(size_bytes), one_(size_bytes + 4)
    {
    }

    /* All values of the attribute; an empty one may stand between others. */
    void add(DcmItem *item, const DcmTagKey &tag)
    {
        const unsigned long n = most_values(item, tag);
        for (unsigned i = 0; i < n && !is_full(); i++) {
            if (!md_item_get_text(item, tag, i, one_.data(), one_.size())) {
                continue;
            }
            text_ += text_.empty() ? "" : ". ";
            text_ += one_.data();
        }
    }
    bool is_empty() const
    {
        return text_.empty();
    }
    bool is_full() const
    {
        return text_.size() >= size_bytes_;
    }
    bool finish(char *ret_text, bool *ret_cut) const
    {
        size_t n = text_.size();
        *ret_cut = n >= size_bytes_;
        if (*ret_cut) {
            n = size_bytes_ - 1;
            while (n > 0 && (static_cast<unsigned char>(text_[n]) & 0xc0) == 0x80) {
                n--;
            }
        }
        memcpy(ret_text, text_.data(), n);
        ret_text[n] = '\0';
        return n > 0;
    }

  private:
    size_t size_bytes_;
    std::vector<char> one_;
    std::string text_;
};

bool order_text(DcmDataset *dataset, const DcmTagKey &tag, char *ret_text, size_t size_bytes,
                bool *ret_cut)
{
    Joined joined(size_bytes);
    joined.add(dataset, tag);
    const bool has_own = !joined.is_empty();
    DcmItem *request = nullptr;
    for (int i = 0; i < MAX_VALUES && !has_own && !joined.is_full(); i++) {
        if (dataset->findAndGetSequenceItem(DCM_RequestAttributesSequence, request, i).bad() ||
            request == nullptr) {
            break;
        }
        joined.add(request, tag);
    }
    return joined.finish(ret_text, ret_cut);
}

/* Items in the order of the document; only those that a person would read as text. */
void add_content(DcmItem *parent, unsigned depth, unsigned *budget, Joined &joined)
{
    DcmSequenceOfItems *sequence = nullptr;
    if (depth > MAX_DEPTH || joined.is_full() ||
        parent->findAndGetSequence(DCM_ContentSequence, sequence).bad() ||
        sequence == nullptr) {
        return;
    }
    for (unsigned long i = 0; i < sequence->card() && *budget > 0 && !joined.is_full(); i++) {
        DcmItem *item = sequence->getItem(i);
        char type[17] = "";
        (*budget)--;
        (void)md_item_get_text(item, DCM_ValueType, 0, type, sizeof type);
        if (strcmp(type, "TEXT") == 0) {
            joined.add(item, DCM_TextValue);
        }
        add_content(item, depth + 1, budget, joined);
    }
}

bool report_text(DcmDataset *dataset, char *ret_text, size_t size_bytes, bool *ret_cut)
{
    Joined joined(size_bytes);
    unsigned budget = MAX_ITEMS;
    add_content(dataset, 0, &budget, joined);
    return joined.finish(ret_text, ret_cut);
}

} // namespace

bool md_dataset_get_order_text(const md_dataset *dataset, uint32_t tag, char *ret_text,
                               size_t size_bytes, bool *ret_cut) noexcept
{
    ret_text[0] = '\0';
    *ret_cut = false;
    return md_guard_bool([&] {
        return order_text(
            md_dataset_dcmtk(dataset),
            DcmTagKey(static_cast<Uint16>(tag >> 16), static_cast<Uint16>(tag & 0xffff)),
            ret_text, size_bytes, ret_cut);
    });
}

bool md_dataset_get_report_text(const md_dataset *dataset, char *ret_text, size_t size_bytes,
                                bool *ret_cut) noexcept
{
    ret_text[0] = '\0';
    *ret_cut = false;
    return md_guard_bool(
        [&] { return report_text(md_dataset_dcmtk(dataset), ret_text, size_bytes, ret_cut); });
}
