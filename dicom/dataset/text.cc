/* Text of a DICOM value to UTF-8, by PS3.5 6.1 and PS3.3 C.12.1.1.2. The code extensions of ISO
 * 2022 are followed here and the tables are those of iconv(3): the converter of DCMTK 3.6.7
 * over glibc knows neither JIS X 0201 nor JIS X 0208 by the names that it asks for. */

#include "dicom/dataset/dataset_internal.h"
#include "dicom/dataset/text_step.h"

#include <cerrno>
#include <cstring>
#include <iconv.h>
#include <map>
#include <vector>

namespace
{

std::string trimmed(const std::string &text)
{
    const char *const blanks = " \t\r\n\f\0";
    const std::string set(blanks, 6);
    const size_t first = text.find_first_not_of(set);
    if (first == std::string::npos) {
        return std::string();
    }
    return text.substr(first, text.find_last_not_of(set) - first + 1);
}

md_text_scheme scheme_of(const std::string &charset)
{
    if (charset.find('\\') != std::string::npos || charset.find("2022") != std::string::npos) {
        return MD_TEXT_ISO_2022;
    }
    return charset == "GB18030" || charset == "GBK" ? MD_TEXT_GBK : MD_TEXT_SINGLE;
}

/* Cut at backslashes that are characters. */
std::vector<std::string> split_values(const std::string &bytes, md_text_scheme scheme)
{
    std::vector<std::string> values(1);
    bool is_double = false;
    for (size_t i = 0; i < bytes.size();) {
        const size_t take = md_text_step(scheme, &bytes[i], bytes.size() - i, &is_double);
        if (take == 1 && bytes[i] == '\\') {
            values.emplace_back();
            is_double = false;
        } else {
            values.back().append(bytes, i, take);
        }
        i += take;
    }
    return values;
}

bool is_continuation(char c)
{
    return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

/* Bytes of the well-formed UTF-8 character at `at` (RFC 3629), 0 when there is none. */
size_t utf8_length(const std::string &text, size_t at)
{
    const unsigned char lead = static_cast<unsigned char>(text[at]);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xc2 && lead < 0xe0 ? 2
                          : lead >= 0xe0 && lead < 0xf0 ? 3
                          : lead >= 0xf0 && lead < 0xf5 ? 4
                                                        : 0;
    if (length == 0 || text.size() - at < length) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if (!is_continuation(text[at + i])) {
            return 0;
        }
    }
    const unsigned char second = length > 1 ? static_cast<unsigned char>(text[at + 1]) : 0;
    const bool is_overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
    const bool is_outside = (lead == 0xed && second > 0x9f) || (lead == 0xf4 && second > 0x8f);
    return is_overlong || is_outside ? 0 : length;
}

/* Line breaks and tabs become one blank, other control characters (C0, DEL, C1) go, what is not
 * UTF-8 becomes '?'. */
std::string tidied(const std::string &text)
{
    std::string out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
        const unsigned char c = static_cast<unsigned char>(text[i]);
        const size_t length = utf8_length(text, i);
        if (length == 0) {
            if (out.empty() || out.back() != '?') {
                out += '?';
            }
            i++;
            continue;
        }
        const bool is_c1 = c == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0;
        if (c == '\t' || c == '\n' || c == '\r' || c == '\f') {
            if (!out.empty() && out.back() != ' ') {
                out += ' ';
            }
        } else if (c >= 0x20 && c != 0x7f && !is_c1) {
            out.append(text, i, length);
        }
        i += length;
    }
    return out;
}

bool starts_with(const std::string &text, const char *prefix)
{
    return text.compare(0, strlen(prefix), prefix) == 0;
}

/* One term of (0008,0005) as it is often written, corrected to PS3.3 C.12.1.1.2. With code
 * extensions the terms are "ISO 2022 IR n", without them "ISO_IR n". */
std::string corrected_term(std::string term, bool has_extensions)
{
    if (term == "ISO 192" || term == "UTF-8" || term == "UTF8") {
        return "ISO_IR 192";
    }
    std::string number;
    for (const char *prefix :
         {"ISO_IR ", "ISO-IR ", "ISO IR ", "ISO 2022 IR ", "ISO 2022-IR "}) {
        if (starts_with(term, prefix)) {
            number = term.substr(strlen(prefix));
        }
    }
    if (number.empty()) {
        return term;
    }
    if (number == "6") {
        return std::string(); /* ASCII is what is there without a term */
    }
    if (number == "192") {
        return "ISO_IR 192";
    }
    return (has_extensions ? "ISO 2022 IR " : "ISO_IR ") + number;
}

std::string corrected_charset(const std::string &charset)
{
    const std::vector<std::string> terms = split_values(charset, MD_TEXT_SINGLE);
    std::string out;
    const char *separator = "";
    for (const std::string &term : terms) {
        out += separator + corrected_term(trimmed(term), terms.size() > 1);
        separator = "\\";
    }
    /* These sets exist with code extensions only: the first term is ASCII then. */
    for (const char *number : {"ISO_IR 58", "ISO_IR 87", "ISO_IR 149", "ISO_IR 159"}) {
        if (out == number) {
            return "\\ISO 2022 IR " + out.substr(7);
        }
    }
    return out == "\\" ? std::string() : out;
}

/* iconv descriptors to UTF-8, opened when first asked for. */
class Tables
{
  public:
    Tables() = default;
    Tables(const Tables &) = delete;
    Tables &operator=(const Tables &) = delete;
    ~Tables()
    {
        for (const auto &entry : open_tables) {
            if (entry.second != none) {
                iconv_close(entry.second);
            }
        }
    }

    /* Append the text, '?' for what the table does not know. */
    void convert(const char *table, const std::string &bytes, std::string &out)
    {
        const iconv_t descriptor = find(table);
        if (descriptor == none) {
            out += '?';
            return;
        }
        std::string input = bytes; /* iconv wants it without const */
        char *in = &input[0];
        size_t in_left = input.size();
        while (in_left > 0) {
            char block[256];
            char *to = block;
            size_t room = sizeof block;
            const size_t result = iconv(descriptor, &in, &in_left, &to, &room);
            out.append(block, sizeof block - room);
            if (result == static_cast<size_t>(-1) && errno != E2BIG && in_left > 0) {
                (void)iconv(descriptor, nullptr, nullptr, nullptr, nullptr);
                add_unknown(out);
                in++;
                in_left--;
            }
        }
    }

    static void add_unknown(std::string &out)
    {
        if (out.empty() || out.back() != '?') {
            out += '?';
        }
    }

  private:
    const iconv_t none = reinterpret_cast<iconv_t>(-1);
    std::map<std::string, iconv_t> open_tables;

    iconv_t find(const char *table)
    {
        const auto known = open_tables.find(table);
        if (known != open_tables.end()) {
            return known->second;
        }
        return open_tables.emplace(table, iconv_open("UTF-8", table)).first->second;
    }
};

/* A set in the upper half (G1), by the number of its term and by its escape sequence. */
struct UpperSet {
    const char *number;
    const char *escape; /* without the ESC */
    const char *table;  /* of iconv; two-byte sets as EUC, which is G1 as it stands */
    unsigned n_bytes;
};
const UpperSet upper_sets[] = {
    {"100", "-A", "ISO-8859-1", 1}, {"101", "-B", "ISO-8859-2", 1},
    {"109", "-C", "ISO-8859-3", 1}, {"110", "-D", "ISO-8859-4", 1},
    {"144", "-L", "ISO-8859-5", 1}, {"127", "-G", "ISO-8859-6", 1},
    {"126", "-F", "ISO-8859-7", 1}, {"138", "-H", "ISO-8859-8", 1},
    {"148", "-M", "ISO-8859-9", 1}, {"203", "-b", "ISO-8859-15", 1},
    {"166", "-T", "TIS-620", 1},    {"13", ")I", "", 1}, /* half-width katakana, computed */
    {"149", "$)C", "EUC-KR", 2},    {"58", "$)A", "EUC-CN", 2},
};

enum class Lower {
    ascii,
    jis_roman,
    jis_0208,
    jis_0212
};

struct Shift {
    Lower lower = Lower::ascii;
    const UpperSet *upper = nullptr;
};

/* What holds at the start of a text and after each delimiter: the first term. When that is
 * ASCII, upper bytes can only mean the two-byte set of the list that lives there. */
Shift initial_shift(const std::string &charset)
{
    Shift shift;
    const std::vector<std::string> terms = split_values(charset, MD_TEXT_SINGLE);
    for (size_t i = 0; i < terms.size(); i++) {
        for (const UpperSet &set : upper_sets) {
            const bool is_it = terms[i] == std::string("ISO_IR ") + set.number ||
                               terms[i] == std::string("ISO 2022 IR ") + set.number;
            if (is_it && (i == 0 || (set.n_bytes == 2 && shift.upper == nullptr))) {
                shift.upper = &set;
            }
        }
    }
    if (shift.upper != nullptr && strcmp(shift.upper->number, "13") == 0) {
        shift.lower = Lower::jis_roman;
    }
    return shift;
}

/* Follow the escape sequence at `at`; its length. An unknown one changes nothing. */
size_t follow_escape(const std::string &bytes, size_t at, Shift &shift)
{
    static const struct {
        const char *escape;
        Lower lower;
    } lower_sets[] = {{"(B", Lower::ascii},
                      {"(J", Lower::jis_roman},
                      {"$B", Lower::jis_0208},
                      {"$@", Lower::jis_0208},
                      {"$(D", Lower::jis_0212}};
    for (const auto &set : lower_sets) {
        if (bytes.compare(at + 1, strlen(set.escape), set.escape) == 0) {
            shift.lower = set.lower;
            return 1 + strlen(set.escape);
        }
    }
    for (const UpperSet &set : upper_sets) {
        if (bytes.compare(at + 1, strlen(set.escape), set.escape) == 0) {
            shift.upper = &set;
            return 1 + strlen(set.escape);
        }
    }
    bool is_double = false;
    return md_text_step(MD_TEXT_ISO_2022, &bytes[at], bytes.size() - at, &is_double);
}

/* The character at `at` in the lower half; its length. */
size_t convert_lower(const std::string &bytes, size_t at, Lower lower, Tables &tables,
                     std::string &out)
{
    const char c = bytes[at];
    const bool is_pair = lower == Lower::jis_0208 || lower == Lower::jis_0212;
    if (is_pair && c > 0x20 && c < 0x7f && at + 1 < bytes.size()) {
        /* In EUC-JP the two sets have their high bits set, JIS X 0212 behind an 8F. */
        std::string euc = lower == Lower::jis_0212 ? "\x8f" : "";
        euc += static_cast<char>(c | 0x80);
        euc += static_cast<char>(bytes[at + 1] | 0x80);
        tables.convert("EUC-JP", euc, out);
        return 2;
    }
    if (lower == Lower::jis_roman && c == 0x5c) {
        out += "\xc2\xa5"; /* yen */
    } else if (lower == Lower::jis_roman && c == 0x7e) {
        out += "\xe2\x80\xbe"; /* overline */
    } else {
        out += c;
    }
    return 1;
}

size_t convert_upper(const std::string &bytes, size_t at, const UpperSet *set, Tables &tables,
                     std::string &out)
{
    if (set == nullptr || bytes.size() - at < set->n_bytes) {
        Tables::add_unknown(out);
        return 1;
    }
    if (set->table[0] != '\0') {
        tables.convert(set->table, bytes.substr(at, set->n_bytes), out);
        return set->n_bytes;
    }
    const unsigned char byte = static_cast<unsigned char>(bytes[at]);
    if (byte < 0xa1 || byte > 0xdf) {
        Tables::add_unknown(out);
        return 1;
    }
    const unsigned point = 0xff61u + byte - 0xa1u; /* JIS X 0201 in Unicode order */
    out += static_cast<char>(0xe0 | (point >> 12));
    out += static_cast<char>(0x80 | ((point >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (point & 0x3f));
    return 1;
}

std::string to_utf8(const std::string &bytes, const std::string &charset, bool has_components)
{
    if (charset == "ISO_IR 192") {
        return bytes; /* tidied() checks it */
    }
    Tables tables;
    std::string out;
    if (scheme_of(charset) == MD_TEXT_GBK) {
        tables.convert("GB18030", bytes, out); /* of which GBK is a part */
        return out;
    }
    const Shift start = initial_shift(charset);
    Shift shift = start;
    for (size_t at = 0; at < bytes.size();) {
        const unsigned char byte = static_cast<unsigned char>(bytes[at]);
        const bool is_pair = shift.lower == Lower::jis_0208 || shift.lower == Lower::jis_0212;
        const bool is_break = byte == '\t' || byte == '\n' || byte == '\f' || byte == '\r';
        if (is_break || (has_components && !is_pair && (byte == '^' || byte == '='))) {
            shift = start;
        }
        if (byte == 0x1b) {
            at += follow_escape(bytes, at, shift);
        } else if (byte < 0x80) {
            at += convert_lower(bytes, at, shift.lower, tables, out);
        } else {
            at += convert_upper(bytes, at, shift.upper, tables, out);
        }
    }
    return out;
}

bool is_text_block(DcmEVR vr)
{
    return vr == EVR_LT || vr == EVR_ST || vr == EVR_UT || vr == EVR_UR;
}

/* PS3.5 6.1.2.2: only these follow (0008,0005). */
bool follows_charset(DcmEVR vr)
{
    return vr == EVR_SH || vr == EVR_LO || vr == EVR_PN || vr == EVR_UC || vr == EVR_ST ||
           vr == EVR_LT || vr == EVR_UT || vr == EVR_UN;
}

} // namespace

bool md_text_decode(const std::string &bytes, DcmEVR vr, const std::string &charset,
                    unsigned index, std::string &ret_text)
{
    const std::string sets = follows_charset(vr) ? corrected_charset(charset) : std::string();
    std::string value;
    if (is_text_block(vr)) {
        if (index > 0) {
            return false;
        }
        value = bytes;
    } else {
        const std::vector<std::string> values = split_values(bytes, scheme_of(sets));
        if (index >= values.size()) {
            return false;
        }
        value = values[index];
    }
    ret_text = trimmed(tidied(to_utf8(value, sets, vr == EVR_PN)));
    while (vr == EVR_PN && !ret_text.empty() &&
           (ret_text.back() == '=' || ret_text.back() == '^' || ret_text.back() == ' ')) {
        ret_text.pop_back(); /* empty components at the end say nothing (PS3.5 6.2.1.1) */
    }
    return !ret_text.empty();
}

static void convert(const std::string &bytes, DcmEVR vr, const std::string &charset,
                    char *ret_text, size_t size_bytes)
{
    enum {
        MAX_VALUES = 32
    };
    std::string whole;
    std::string value;
    for (unsigned i = 0; i < MAX_VALUES && md_text_decode(bytes, vr, charset, i, value); i++) {
        if (i > 0) {
            whole += '\\';
        }
        whole += value;
    }
    size_t length = whole.size() < size_bytes ? whole.size() : size_bytes - 1;
    while (length < whole.size() && length > 0 && is_continuation(whole[length])) {
        length--; /* cut between two characters */
    }
    std::memcpy(ret_text, whole.data(), length);
    ret_text[length] = '\0';
}

void md_text_convert(const uint8_t *bytes, size_t n, const char *vr, const char *charset,
                     char *ret_text, size_t size_bytes) noexcept
{
    ret_text[0] = '\0';
    try {
        const DcmVR known(vr[0] == '\0' ? "UN" : vr);
        convert(std::string(reinterpret_cast<const char *>(bytes), n), known.getEVR(), charset,
                ret_text, size_bytes);
    } catch (...) {
        ret_text[0] = '\0'; /* no memory: a rule then sees no value, and says so */
    }
}
