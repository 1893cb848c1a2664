#include "dicom/dataset/text_step.h"

/* Length of the escape sequence, and whether the set in G0 has two bytes a character after it
 * (ESC $ B, ESC $ @, ESC $ ( D; PS3.3 C.12.1.1.2). Sets in G1 have high bytes only. */
static size_t escape_length(const char *bytes, size_t n, bool *is_double)
{
    if (n > 2 && bytes[1] == '$') {
        if (bytes[2] == 'B' || bytes[2] == '@') {
            *is_double = true;
            return 3;
        }
        if (n > 3) {
            *is_double = *is_double || bytes[2] == '(';
            return 4;
        }
    }
    if (n > 2 && bytes[1] == '(') {
        *is_double = false;
    }
    return 3;
}

size_t md_text_step(md_text_scheme scheme, const char *bytes, size_t n, bool *is_double)
{
    const unsigned char byte = (unsigned char)bytes[0];
    size_t take = 1;
    if (scheme == MD_TEXT_ISO_2022 && byte == 0x1b) {
        take = escape_length(bytes, n, is_double);
    } else if (*is_double && byte > 0x20 && byte < 0x7f) {
        take = 2;
    } else if (scheme == MD_TEXT_GBK && byte >= 0x81 && byte != 0xff) {
        take = 2;
    }
    return take;
}
