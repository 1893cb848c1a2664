#include "dicom/report/text.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

uint32_t md_text_next(const char **text)
{
    const unsigned char *p = (const unsigned char *)*text;
    if (p[0] == 0) {
        return 0;
    }
    unsigned n = p[0] < 0x80   ? 0
                 : p[0] < 0xc2 ? 4
                 : p[0] < 0xe0 ? 1
                 : p[0] < 0xf0 ? 2
                 : p[0] < 0xf5 ? 3
                               : 4;
    uint32_t value = n == 0 ? p[0] : p[0] & (0x3fU >> n);
    for (unsigned i = 1; n < 4 && i <= n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            n = 4;
        } else {
            value = value << 6 | (p[i] & 0x3f);
        }
    }
    static const uint32_t smallest[] = {0, 0x80, 0x800, 0x10000};
    if (n == 4 || value < smallest[n] || value > 0x10ffff ||
        (value >= 0xd800 && value <= 0xdfff)) {
        *text += 1;
        return '?';
    }
    *text += n + 1;
    return value;
}

static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029;
}

size_t md_text_copy(char *target, size_t size_bytes, size_t max_characters, unsigned kind,
                    const char *source)
{
    size_t length = 0, n_characters = 0;
    bool is_free = (kind & MD_TEXT_FREE) != 0;
    const char *text = source != NULL ? source : "";
    while (n_characters < max_characters) {
        const char *start = text;
        uint32_t c = md_text_next(&text);
        if (c == 0) {
            break;
        }
        size_t n = (size_t)(text - start);
        const char *piece = start;
        if (is_free && c == '\n') {
            piece = "\r\n";
            n = 2;
        } else if (is_control(c) || c == ' ') {
            bool dropped = length == 0 || (!is_free && target[length - 1] == ' ') ||
                           (is_free && c == '\r');
            piece = " ";
            n = dropped ? 0 : 1;
        } else if (!is_free && c == '\\') {
            piece = "/";
            n = 1;
        } else if ((c == '?' && n == 1) || ((kind & MD_TEXT_ASCII) != 0 && c >= 0x80)) {
            piece = "?";
            n = 1;
        }
        if (length + n + 1 > size_bytes) {
            break;
        }
        memcpy(target + length, piece, n);
        length += n;
        n_characters += n != 0;
    }
    while (length > 0 && (target[length - 1] == ' ' || target[length - 1] == '\n' ||
                          target[length - 1] == '\r')) {
        length--;
    }
    target[length] = '\0';
    return length;
}

void md_text_decimal(double value, unsigned decimals, char ret_text[17])
{
    assert(isfinite(value) && fabs(value) < 1e9 && decimals <= 9);
    long long unit = 1;
    for (unsigned i = 0; i < decimals; i++) {
        unit *= 10;
    }
    /* A Decimal String has 16 characters: sign, point and 14 digits. */
    while (fabs(value) * (double)unit >= 1e14) {
        unit /= 10;
        decimals--;
    }
    long long scaled = llround(fabs(value) * (double)unit);
    char text[64];
    int n = snprintf(text, sizeof text, "%s%lld.%0*lld", value < 0 && scaled != 0 ? "-" : "",
                     scaled / unit, (int)decimals, scaled % unit);
    while (n > 0 && text[n - 1] == '0') {
        n--;
    }
    if (n > 0 && text[n - 1] == '.') {
        n--;
    }
    memcpy(ret_text, text, (size_t)n);
    ret_text[n] = '\0';
}

void md_text_score(double score, double threshold, bool is_probability,
                   char ret_score[MD_SCORE_BYTES], char ret_threshold[MD_SCORE_BYTES])
{
    double scale = is_probability ? 100 : 1;
    char a[17], b[17], whole[17];
    md_text_decimal(scale, 0, whole);
    for (unsigned decimals = is_probability ? 1 : 3; decimals <= 9; decimals++) {
        md_text_decimal(score * scale, decimals, a);
        md_text_decimal(threshold * scale, decimals, b);
        bool merged = score != threshold && strcmp(a, b) == 0;
        bool rounded_off =
            (score > 0 && strcmp(a, "0") == 0) || (score < 1 && strcmp(a, whole) == 0);
        if (!merged && !rounded_off) {
            break;
        }
    }
    snprintf(ret_score, MD_SCORE_BYTES, "%s%s", a, is_probability ? " %" : "");
    snprintf(ret_threshold, MD_SCORE_BYTES, "%s%s", b, is_probability ? " %" : "");
}
