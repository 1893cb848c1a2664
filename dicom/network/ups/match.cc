#include "dicom/network/ups/workitem_internal.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace
{

struct Destroy {
    void operator()(md_dataset *dataset) const
    {
        md_dataset_destroy(dataset);
    }
};
using Owned = std::unique_ptr<md_dataset, Destroy>;

/* One character further in UTF-8. */
const char *next(const char *text)
{
    for (text++; (*text & 0xc0) == 0x80; text++) {
    }
    return text;
}

/* Wildcards of PS3.4 C.2.2.2.4: '*' is any run of characters, '?' any one. Only the last star
 * is come back to, so the time is the product of the lengths at most. */
bool glob(const char *pattern, const char *text)
{
    const char *star = nullptr, *resume = nullptr;
    while (*text != '\0') {
        if (*pattern == '*') {
            star = ++pattern;
            resume = text;
        } else if (*pattern == '?') {
            pattern++;
            text = next(text);
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star != nullptr) {
            pattern = star;
            resume = next(resume);
            text = resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

std::vector<std::string> split(const std::string &text, char at)
{
    std::vector<std::string> parts;
    size_t from = 0;
    for (size_t to = text.find(at); to != std::string::npos; to = text.find(at, from)) {
        parts.push_back(text.substr(from, to - from));
        from = to + 1;
    }
    parts.push_back(text.substr(from));
    return parts;
}

std::string trimmed(const std::string &text)
{
    const size_t from = text.find_first_not_of(' ');
    const size_t to = text.find_last_not_of(std::string(" \0", 2));
    return from == std::string::npos || to == std::string::npos || to < from
               ? ""
               : text.substr(from, to - from + 1);
}

/* Names match without regard to case (PS3.4 C.2.2.2.1 leaves it open). */
std::string lowered(std::string text)
{
    for (char &c : text) {
        if (c >= 'A' && c <= 'Z') {
            c = static_cast<char>(c - 'A' + 'a');
        }
    }
    return text;
}

/* The last moment that a DT with fewer components means: "2026" is all of that year. */
bool last_moment(const std::string &text, int64_t *ret_ms)
{
    size_t n = 0;
    while (n < text.size() && text[n] >= '0' && text[n] <= '9') {
        n++;
    }
    const bool has_fraction = n < text.size() && text[n] == '.';
    std::string after = text;
    int64_t at_ms = 0, whole_ms = 0;
    switch (n) {
    case 4: /* to the beginning of what comes next */
    case 6: {
        const int number = std::stoi(text.substr(0, n));
        const int following = n == 4              ? number + 1
                              : number % 100 < 12 ? number + 1
                                                  : number + 100 - 11;
        char digits[16];
        snprintf(digits, sizeof digits, "%0*d", static_cast<int>(n), following);
        after = digits + text.substr(n);
        break;
    }
    case 8:
        whole_ms = 86400000;
        break;
    case 10:
        whole_ms = 3600000;
        break;
    case 12:
        whole_ms = 60000;
        break;
    default:
        whole_ms = has_fraction ? 1 : 1000;
    }
    if (!md_workitem_parse_datetime(after.c_str(), &at_ms)) {
        return false;
    }
    *ret_ms = at_ms + whole_ms - 1;
    return true;
}

/* TM as DT of one day, so that both are compared alike. */
std::string as_datetime(const std::string &text, DcmEVR vr)
{
    if (vr == EVR_TM) {
        std::string plain;
        for (const char c : text) {
            if (c != ':') {
                plain += c;
            }
        }
        return text.empty() ? "" : "20000101" + plain + "+0000";
    }
    return vr == EVR_DA && !text.empty() ? text + "+0000" : text;
}

/* Where a range is divided: a '-' that does not begin an offset from UTC. */
size_t find_dash(const std::string &key, DcmEVR vr)
{
    if (vr != EVR_DT) {
        return key.find('-');
    }
    for (size_t i = 0; i < key.size(); i++) {
        if (key[i] != '-') {
            continue;
        }
        /* "-0500" at the end or before the range's dash is an offset when digits are before */
        size_t n_digits = 0;
        while (i + 1 + n_digits < key.size() && key[i + 1 + n_digits] >= '0' &&
               key[i + 1 + n_digits] <= '9') {
            n_digits++;
        }
        const size_t after = i + 1 + n_digits;
        const bool ends = after == key.size() || key[after] == '-';
        /* a year has at least 4 digits and is no valid offset beyond 1400 */
        const bool is_offset = i > 0 && n_digits == 4 && ends && key.substr(i + 1, 4) <= "1400";
        if (!is_offset) {
            return i;
        }
    }
    return std::string::npos;
}

/* PS3.4 C.2.2.2.5. */
bool in_range(const std::string &key, const std::string &value, DcmEVR vr)
{
    int64_t at_ms = 0, first_ms = 0, last_ms = 0;
    const size_t dash = find_dash(key, vr);
    const std::string low = dash == std::string::npos ? key : key.substr(0, dash);
    const std::string high = dash == std::string::npos ? key : key.substr(dash + 1);
    if (!md_workitem_parse_datetime(as_datetime(value, vr).c_str(), &at_ms)) {
        return false;
    }
    if (!low.empty() && (!md_workitem_parse_datetime(as_datetime(low, vr).c_str(), &first_ms) ||
                         at_ms < first_ms)) {
        return false;
    }
    return high.empty() || (last_moment(as_datetime(high, vr), &last_ms) && at_ms <= last_ms);
}

bool has_wildcards(DcmEVR vr)
{
    switch (static_cast<int>(vr)) {
    case EVR_AE:
    case EVR_CS:
    case EVR_LO:
    case EVR_LT:
    case EVR_PN:
    case EVR_SH:
    case EVR_ST:
    case EVR_UC:
    case EVR_UR:
    case EVR_UT:
        return true;
    default:
        return false;
    }
}

bool value_matches(const std::string &key, const std::string &value, DcmEVR vr)
{
    if (vr == EVR_DT || vr == EVR_DA || vr == EVR_TM) {
        return in_range(key, value, vr);
    }
    if (vr == EVR_PN) {
        return glob(lowered(key).c_str(), lowered(value).c_str());
    }
    return has_wildcards(vr) ? glob(key.c_str(), value.c_str()) : key == value;
}

bool text_matches(const std::string &keys, const std::string &values, DcmEVR vr)
{
    if (keys.empty() || keys == "*") {
        return true;
    }
    /* these may hold a backslash and have one value */
    const bool is_single = vr == EVR_LT || vr == EVR_ST || vr == EVR_UT || vr == EVR_UR;
    const auto list = is_single ? std::vector<std::string>{values} : split(values, '\\');
    for (const std::string &key :
         is_single ? std::vector<std::string>{keys} : split(keys, '\\')) {
        for (const std::string &value : list) {
            if (!trimmed(value).empty() && value_matches(trimmed(key), trimmed(value), vr)) {
                return true;
            }
        }
    }
    return false;
}

bool item_matches(DcmItem *item, DcmItem *keys);

/* One item of the value must match the one item of the key (C.2.2.2.6). */
bool sequence_matches(DcmItem *item, uint32_t tag, DcmSequenceOfItems *key)
{
    DcmElement *found = nullptr;
    if (key->card() == 0 || key->getItem(0)->card() == 0) {
        return true;
    }
    (void)item->findAndGetElement(md_ups_key(tag), found);
    auto *sequence = dynamic_cast<DcmSequenceOfItems *>(found);
    if (sequence == nullptr || sequence->card() == 0) {
        DcmItem none;
        return item_matches(&none, key->getItem(0));
    }
    for (unsigned long i = 0; i < sequence->card(); i++) {
        if (item_matches(sequence->getItem(i), key->getItem(0))) {
            return true;
        }
    }
    return false;
}

bool item_matches(DcmItem *item, DcmItem *keys)
{
    for (unsigned long i = 0; i < keys->card(); i++) {
        DcmElement *key = keys->getElement(i);
        const uint32_t tag = md_ups_tag_of(key);
        if (tag == MD_TAG(0x0008, 0x0005) || tag == MD_UPS_TAG_TRANSACTION ||
            (tag & 0xffff) == 0) {
            continue;
        }
        if (auto *sequence = dynamic_cast<DcmSequenceOfItems *>(key)) {
            if (!sequence_matches(item, tag, sequence)) {
                return false;
            }
        } else if (key->isaString() != OFFalse &&
                   !text_matches(md_ups_text(keys, tag), md_ups_text(item, tag),
                                 key->ident())) {
            return false;
        }
    }
    return true;
}

/* Of each key its value in `item`; without one an empty attribute. */
void project(DcmItem *item, DcmItem *keys, DcmItem *to)
{
    for (unsigned long i = 0; i < keys->card(); i++) {
        DcmElement *key = keys->getElement(i);
        const uint32_t tag = md_ups_tag_of(key);
        DcmElement *found = nullptr;
        if (tag == MD_TAG(0x0008, 0x0005) || tag == MD_UPS_TAG_TRANSACTION ||
            (tag & 0xffff) == 0) {
            continue;
        }
        (void)item->findAndGetElement(md_ups_key(tag), found);
        auto *asked = dynamic_cast<DcmSequenceOfItems *>(key);
        auto *have = dynamic_cast<DcmSequenceOfItems *>(found);
        const bool picks = asked != nullptr && have != nullptr && asked->card() > 0 &&
                           asked->getItem(0)->card() > 0;
        if (found == nullptr) {
            if (to->insertEmptyElement(DcmTag(md_ups_key(tag), key->getVR())).bad()) {
                throw std::bad_alloc();
            }
        } else if (!picks) {
            md_ups_copy(item, to, tag);
        } else {
            auto sequence = std::make_unique<DcmSequenceOfItems>(DcmTag(md_ups_key(tag)));
            for (unsigned long k = 0; k < have->card(); k++) {
                auto part = std::make_unique<DcmItem>();
                project(have->getItem(k), asked->getItem(0), part.get());
                if (sequence->append(part.get()).bad()) {
                    throw std::bad_alloc();
                }
                (void)part.release();
            }
            md_ups_insert(to, sequence.release());
        }
    }
}

Owned make()
{
    md_dataset *made = nullptr;
    if (md_workitem_create(&made, nullptr) != MD_OK) {
        throw std::bad_alloc();
    }
    return Owned(made);
}

void report_state(DcmItem *item, DcmItem *to)
{
    DcmItem *progress = md_ups_first_item(item, MD_TAG(0x0074, 0x1002));
    md_ups_copy(item, to, MD_UPS_TAG_STATE);
    md_ups_copy(item, to, MD_UPS_TAG_READINESS);
    md_ups_copy(progress, to, MD_TAG(0x0074, 0x1238));
    md_ups_copy(progress, to, MD_TAG(0x0074, 0x100e));
}

/* PS3.4 table CC.2.4-1. */
void report(DcmItem *item, unsigned event, DcmItem *request, const char *requester, DcmItem *to)
{
    switch (event) {
    case MD_UPS_EVENT_CANCEL_REQUESTED:
        md_ups_put(to, MD_TAG(0x0074, 0x1236), requester);
        for (const uint32_t tag : {MD_TAG(0x0074, 0x1238), MD_TAG(0x0074, 0x100e),
                                   MD_TAG(0x0074, 0x100a), MD_TAG(0x0074, 0x100c)}) {
            md_ups_copy(request, to, tag);
        }
        return;
    case MD_UPS_EVENT_PROGRESS:
        md_ups_copy(item, to, MD_TAG(0x0074, 0x1002));
        return;
    case MD_UPS_EVENT_ASSIGNED: {
        DcmItem *performer = md_ups_first_item(item, MD_TAG(0x0040, 0x4034));
        md_ups_copy(item, to, MD_TAG(0x0040, 0x4025));
        md_ups_copy(performer, to, MD_TAG(0x0040, 0x4009));
        md_ups_copy(performer, to, MD_TAG(0x0040, 0x4036));
        return;
    }
    default:
        report_state(item, to);
    }
}

} // namespace

bool md_workitem_matches(const md_dataset *item, const md_dataset *keys) noexcept
{
    return md_guard_bool(
        [&] { return item_matches(md_dataset_dcmtk(item), md_dataset_dcmtk(keys)); });
}

md_status md_workitem_answer(const md_dataset *item, const md_dataset *keys,
                             md_dataset **ret_answer, md_error *err) noexcept
{
    return md_guard(err, __func__, [&] {
        Owned answer = make();
        DcmDataset *to = md_dataset_dcmtk(answer.get());
        project(md_dataset_dcmtk(item), md_dataset_dcmtk(keys), to);
        md_ups_copy(md_dataset_dcmtk(item), to, MD_UPS_TAG_SOP_CLASS);
        md_ups_copy(md_dataset_dcmtk(item), to, MD_UPS_TAG_SOP_INSTANCE);
        *ret_answer = answer.release();
        return MD_OK;
    });
}

md_status md_workitem_select(const md_dataset *item, const uint32_t *tags, size_t n_tags,
                             md_dataset **ret_answer, bool *ret_all, md_error *err) noexcept
{
    return md_guard(err, __func__, [&] {
        Owned answer = make();
        DcmDataset *from = md_dataset_dcmtk(item), *to = md_dataset_dcmtk(answer.get());
        bool all = true;
        for (size_t i = 0; i < n_tags; i++) {
            all = all && from->tagExists(md_ups_key(tags[i])) != OFFalse &&
                  tags[i] != MD_UPS_TAG_TRANSACTION;
            if (tags[i] != MD_UPS_TAG_TRANSACTION) {
                md_ups_copy(from, to, tags[i]);
            }
        }
        for (unsigned long i = 0; n_tags == 0 && i < from->card(); i++) {
            if (md_ups_tag_of(from->getElement(i)) != MD_UPS_TAG_TRANSACTION) {
                md_ups_copy(from, to, md_ups_tag_of(from->getElement(i)));
            }
        }
        *ret_answer = answer.release();
        *ret_all = all;
        return MD_OK;
    });
}

md_status md_workitem_event(const md_dataset *item, unsigned event, const md_dataset *request,
                            const char *requester, md_dataset **ret_report,
                            md_error *err) noexcept
{
    return md_guard(err, __func__, [&] {
        Owned made = make();
        report(md_dataset_dcmtk(item), event,
               request != nullptr ? md_dataset_dcmtk(request) : nullptr, requester,
               md_dataset_dcmtk(made.get()));
        *ret_report = made.release();
        return MD_OK;
    });
}
