/* What the objects take over from the source: the patient, the study and their character set.
 */

#include "dicom/report/write_internal.h"

#include "base/clock.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

/* What is taken over from the source. Everything else of the source stays there: an attribute
 * that is not understood may hold anything. */
enum carried_need {
    NEED_NO,   /* only when the source has a value */
    NEED_EMPTY /* type 2: empty when the source has none */
};

struct carried_attribute {
    uint16_t group, element;
    DcmEVR vr;
    carried_need need;
};

static const carried_attribute CARRIED[] = {
    {0x0008, 0x0020, EVR_DA, NEED_EMPTY}, /* Study Date */
    {0x0008, 0x0030, EVR_TM, NEED_EMPTY}, /* Study Time */
    {0x0008, 0x0050, EVR_SH, NEED_EMPTY}, /* Accession Number */
    {0x0008, 0x0051, EVR_SQ, NEED_NO},    /* Issuer of Accession Number Sequence */
    {0x0008, 0x0090, EVR_PN, NEED_EMPTY}, /* Referring Physician's Name */
    {0x0008, 0x0201, EVR_SH, NEED_NO},    /* Timezone Offset From UTC */
    {0x0008, 0x1030, EVR_LO, NEED_NO},    /* Study Description */
    {0x0008, 0x1032, EVR_SQ, NEED_NO},    /* Procedure Code Sequence */
    {0x0008, 0x1110, EVR_SQ, NEED_NO},    /* Referenced Study Sequence */
    {0x0010, 0x0010, EVR_PN, NEED_EMPTY}, /* Patient's Name */
    {0x0010, 0x0020, EVR_LO, NEED_EMPTY}, /* Patient ID */
    {0x0010, 0x0021, EVR_LO, NEED_NO},    /* Issuer of Patient ID */
    {0x0010, 0x0024, EVR_SQ, NEED_NO},    /* Issuer of Patient ID Qualifiers Sequence */
    {0x0010, 0x0030, EVR_DA, NEED_EMPTY}, /* Patient's Birth Date */
    {0x0010, 0x0032, EVR_TM, NEED_NO},    /* Patient's Birth Time */
    {0x0010, 0x0040, EVR_CS, NEED_EMPTY}, /* Patient's Sex */
    {0x0010, 0x1002, EVR_SQ, NEED_NO},    /* Other Patient IDs Sequence */
    {0x0010, 0x1010, EVR_AS, NEED_NO},    /* Patient's Age */
    {0x0010, 0x1020, EVR_DS, NEED_NO},    /* Patient's Size */
    {0x0010, 0x1030, EVR_DS, NEED_NO},    /* Patient's Weight */
    {0x0012, 0x0062, EVR_CS, NEED_NO},    /* Patient Identity Removed */
    {0x0012, 0x0063, EVR_LO, NEED_NO},    /* De-identification Method */
    {0x0012, 0x0064, EVR_SQ, NEED_NO},    /* De-identification Method Code Sequence */
    {0x0020, 0x0010, EVR_SH, NEED_EMPTY}, /* Study ID */
};

enum {
    CARRIED_MAX_BYTES = 16384, /* of one attribute with all that is in it */
    CARRIED_MAX_ITEMS = 32
};

static bool is_free_text(DcmEVR vr)
{
    return vr == EVR_LT || vr == EVR_ST || vr == EVR_UT;
}

/* True for UTF-8 as it should be; a '?' that stands there is one. */
static bool is_utf8(const std::string &bytes)
{
    const char *text = bytes.c_str();
    for (const char *start = text; md_text_next(&text) != 0; start = text) {
        if (static_cast<unsigned char>(*start) >= 0x80 && text == start + 1) {
            return false;
        }
    }
    return true;
}

static size_t count(const std::string &text, char wanted)
{
    return static_cast<size_t>(std::count(text.begin(), text.end(), wanted));
}

/* One value after the other through the reader's own converter, which knows more sets than
 * DCMTK's. False when it had to write '?' for something. */
static bool decode(DcmItem *carried, const std::string &charset)
{
    unsigned n_sets = 0; /* an item of a sequence may have its own: rare, and left as it is */
    DcmStack stack;
    while (carried->nextObject(stack, OFTrue).good()) {
        n_sets += stack.top()->getTag() == DCM_SpecificCharacterSet ? 1U : 0U;
    }
    bool whole = n_sets <= 1;
    md_for_each_text(carried, [&](DcmElement *element, const std::string &bytes) {
        std::string all, value;
        size_t kept = 0;
        for (unsigned index = 0; index < CARRIED_MAX_ITEMS; index++) {
            all += index > 0 ? "\\" : "";
            if (md_text_decode(bytes, element->ident(), charset, index, value)) {
                all += value;
                kept = all.size();
            }
        }
        all.resize(kept);
        whole = whole && count(all, '?') <= count(bytes, '?') &&
                element->putOFStringArray(OFString(all.c_str(), all.size())).good();
    });
    return whole;
}

/* True when every text is UTF-8, and plain ASCII where no character set was named. */
static bool is_proper(DcmItem *carried, bool ascii_only)
{
    bool proper = true;
    md_for_each_text(carried, [&](DcmElement *, const std::string &value) {
        bool ascii = true;
        for (char c : value) {
            ascii = ascii && static_cast<unsigned char>(c) < 0x80 && c != '\x1b';
        }
        proper = proper && is_utf8(value) && (ascii || !ascii_only);
    });
    return proper;
}

static void drop_controls(DcmItem *carried)
{
    md_for_each_text(carried, [&](DcmElement *element, const std::string &value) {
        std::string tidy;
        for (char c : value) {
            unsigned char byte = static_cast<unsigned char>(c);
            bool line_end = byte == '\r' || byte == '\n';
            if ((byte >= 0x20 && byte != 0x7f) ||
                (line_end && is_free_text(element->ident()))) {
                tidy += c;
            }
        }
        if (tidy != value) {
            (void)element->putOFStringArray(OFString(tidy.c_str(), tidy.size()));
        }
    });
}

static void carry(DcmDataset *source, DcmDataset &target)
{
    for (const carried_attribute &a : CARRIED) {
        DcmTag tag(a.group, a.element);
        DcmElement *element = nullptr;
        bool found = source->findAndGetElement(tag, element).good() && element != nullptr &&
                     element->ident() == a.vr && !element->isEmpty();
        if (found && a.vr == EVR_SQ) {
            auto *sequence = static_cast<DcmSequenceOfItems *>(element);
            found = sequence->card() > 0 && sequence->card() <= CARRIED_MAX_ITEMS;
        }
        if (found && element->calcElementLength(EXS_LittleEndianExplicit, EET_ExplicitLength) <=
                         CARRIED_MAX_BYTES) {
            auto *copy = static_cast<DcmElement *>(element->clone());
            if (copy == nullptr || target.insert(copy, OFTrue).bad()) {
                delete copy;
                throw std::bad_alloc();
            }
        } else if (a.need == NEED_EMPTY) {
            (void)target.insertEmptyElement(tag);
        }
    }
}

/* Seconds east of UTC that the study's clock uses: its own offset or that of this machine. */
static long clock_offset_s(DcmDataset &carried, int64_t when_ms, bool *ret_known)
{
    OFString text;
    if (carried.findAndGetOFString(DcmTagKey(0x0008, 0x0201), text).good() &&
        text.size() >= 5 && (text[0] == '+' || text[0] == '-') &&
        strspn(text.c_str() + 1, "0123456789") >= 4) {
        long hours = (text[1] - '0') * 10 + (text[2] - '0');
        long minutes = (text[3] - '0') * 10 + (text[4] - '0');
        *ret_known = true;
        return (hours * 3600 + minutes * 60) * (text[0] == '-' ? -1 : 1);
    }
    *ret_known = false;
    time_t seconds = static_cast<time_t>(when_ms / 1000);
    struct tm local;
    return localtime_r(&seconds, &local) != nullptr ? local.tm_gmtoff : 0;
}

static void set_clock(md_writing &w)
{
    int64_t when_ms = w.result->times.analysis_start_ms;
    if (when_ms <= 0 || when_ms > INT64_C(253402300799999)) { /* the year 9999 ends */
        when_ms = md_clock_wall_ms();
    }
    bool known = false;
    long offset_s = clock_offset_s(w.dataset, when_ms, &known);
    time_t seconds = static_cast<time_t>(when_ms / 1000 + offset_s);
    struct tm parts;
    char text[40];
    if (gmtime_r(&seconds, &parts) == nullptr) {
        parts = {};
    }
    strftime(text, sizeof text, "%Y%m%d", &parts);
    w.date = text;
    size_t n = strftime(text, sizeof text, "%H%M%S", &parts);
    snprintf(text + n, sizeof text - n, ".%03d", static_cast<int>(when_ms % 1000));
    w.time = text;
    w.datetime = w.date + w.time;
    if (known) {
        snprintf(text, sizeof text, "%c%02ld%02ld", offset_s < 0 ? '-' : '+',
                 labs(offset_s) / 3600, labs(offset_s) / 60 % 60);
        w.datetime += text;
    }
}

/* `pattern` holds one letter for each character: 'd' a digit, 's' a sign, 'u' a unit of age,
 * everything else itself. */
static bool has_form(const std::string &value, const char *pattern)
{
    if (value.size() != strlen(pattern)) {
        return false;
    }
    for (size_t i = 0; i < value.size(); i++) {
        char want = pattern[i], is = value[i];
        bool fits = want == 'd'   ? is >= '0' && is <= '9'
                    : want == 's' ? is == '+' || is == '-'
                    : want == 'u' ? is != '\0' && strchr("DWMY", is) != nullptr
                                  : is == want;
        if (!fits) {
            return false;
        }
    }
    return true;
}

/* The value as its VR allows it, old ways of writing made new; "" when that cannot be done. */
static std::string legal_value(const carried_attribute &a, const std::string &value)
{
    std::string digits;
    switch (static_cast<int>(a.vr)) {
    case EVR_DA:
        if (has_form(value, "dddd.dd.dd")) { /* ACR-NEMA, PS3.5 6.2 note */
            return value.substr(0, 4) + value.substr(5, 2) + value.substr(8, 2);
        }
        return has_form(value, "dddddddd") ? value : "";
    case EVR_TM: {
        for (char c : value) {
            digits += c == ':' ? "" : std::string(1, c);
        }
        size_t point = digits.find('.');
        std::string whole = digits.substr(0, point);
        std::string part = point == std::string::npos ? "" : digits.substr(point + 1);
        bool fits =
            (has_form(whole, "dd") || has_form(whole, "dddd") || has_form(whole, "dddddd")) &&
            part.find_first_not_of("0123456789") == std::string::npos && part.size() <= 6 &&
            (point == std::string::npos || !part.empty());
        return fits && (part.empty() || whole.size() == 6) ? digits : "";
    }
    case EVR_AS:
        return has_form(value, "dddu") ? value : "";
    case EVR_DS: {
        char *end = nullptr;
        bool fits = value.size() <= 16 &&
                    value.find_first_not_of("0123456789+-.eE ") == std::string::npos;
        (void)strtod(value.c_str(), &end);
        return fits && end != value.c_str() && *end == '\0' ? value : "";
    }
    case EVR_CS: {
        bool is_sex = a.group == 0x0010;
        const char *allowed = is_sex ? "M|F|O|" : "YES|NO|";
        return value.find('|') == std::string::npos && !value.empty() &&
                       strstr(allowed, (value + "|").c_str()) != nullptr
                   ? value
                   : "";
    }
    default:
        return a.group == 0x0008 && a.element == 0x0201 && !has_form(value, "sdddd") ? ""
                                                                                     : value;
    }
}

/* What was carried is written as legally as it can be without changing what it says. */
static void make_legal(md_writing &w)
{
    for (const carried_attribute &a : CARRIED) {
        DcmTag tag(a.group, a.element);
        DcmElement *element = nullptr;
        OFString text;
        if (a.vr == EVR_SQ || w.dataset.findAndGetElement(tag, element).bad() ||
            element->isEmpty() || element->getOFStringArray(text).bad()) {
            continue;
        }
        std::string value(text.c_str(), text.size());
        while (!value.empty() && (value.back() == ' ' || value.back() == '\0')) {
            value.pop_back();
        }
        std::string legal = legal_value(a, value);
        if (legal.empty() && a.need == NEED_NO) {
            delete w.dataset.remove(tag);
        } else if (legal.empty()) {
            w.empty(&w.dataset, tag);
        } else if (legal != value) {
            w.note(w.dataset.putAndInsertString(tag, legal.c_str()), tag);
        }
    }
    if (w.dataset.tagExistsWithValue(DCM_PatientIdentityRemoved) &&
        !w.dataset.tagExistsWithValue(DCM_DeidentificationMethod) &&
        !w.dataset.tagExistsWithValue(DCM_DeidentificationMethodCodeSequence)) {
        OFString removed;
        (void)w.dataset.findAndGetOFString(DCM_PatientIdentityRemoved, removed);
        if (removed == "YES") { /* type 1C */
            w.text(&w.dataset, DCM_DeidentificationMethod, "not stated in the source image");
        }
    }
}

/* Carry into an empty dataset, texts as they came. */
static void carry_again(md_writing &w, DcmDataset *from, const std::string &charset)
{
    w.dataset.clear();
    carry(from, w.dataset);
    if (!charset.empty()) {
        w.note(w.dataset.putAndInsertString(DCM_SpecificCharacterSet, charset.c_str()),
               DCM_SpecificCharacterSet);
    }
}

void md_write_study(md_writing &w, const md_dataset *source)
{
    DcmDataset *from = md_dataset_dcmtk(source);
    OFString set;
    (void)from->findAndGetOFStringArray(DCM_SpecificCharacterSet, set);
    std::string charset(set.c_str(), set.size());
    bool ascii_only = charset.empty() || charset == "ISO_IR 6";
    bool is_unicode = charset == "ISO_IR 192";
    carry_again(w, from, charset);
    /* A conversion that stops half-way leaves a mixture: each way begins again. */
    bool proper = (ascii_only || is_unicode || w.dataset.convertToUTF8().good()) &&
                  is_proper(&w.dataset, ascii_only);
    if (!proper && !ascii_only && !is_unicode) {
        carry_again(w, from, charset);
        proper = decode(&w.dataset, charset) && is_proper(&w.dataset, false);
    }
    if (proper) {
        drop_controls(&w.dataset);
    } else {
        carry_again(w, from, charset);
        w.verbatim = true;
    }
    make_legal(w);
    w.uid(&w.dataset, DCM_StudyInstanceUID, w.result->study_instance_uid);
    set_clock(w);
    w.device_uid = md_device_uid(w.result);
}
