#include "plugins/host/text.h"

#include <string.h>

/* Length of the clean character at `text`, of which `room` bytes are there; 0 when it is none.
 */
static size_t clean_character(const unsigned char *text, size_t room)
{
    unsigned char c = text[0];
    if (c < 0x80) {
        return c >= 0x20 && c != 0x7f ? 1 : 0;
    }
    size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || length > room) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (c == 0xe0 && text[1] < 0xa0) || (c == 0xf0 && text[1] < 0x90);
    bool surrogate = c == 0xed && text[1] >= 0xa0;
    bool beyond = c == 0xf4 && text[1] >= 0x90;
    bool control = c == 0xc2 && text[1] < 0xa0;
    return overlong || surrogate || beyond || control ? 0 : length;
}

bool md_text_is_clean(const char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        size_t n = clean_character((const unsigned char *)text + i, length - i);
        if (n == 0) {
            return false;
        }
        i += n;
    }
    return true;
}

void md_text_clean(const char *text, char *ret_text, size_t size_bytes)
{
    size_t length = text == NULL ? 0 : strnlen(text, size_bytes + 3);
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        size_t n = clean_character((const unsigned char *)text + i, length - i);
        size_t step = n == 0 ? 1 : n;
        if (used + step >= size_bytes) {
            break;
        }
        if (n == 0) {
            ret_text[used] = '?';
        } else {
            memcpy(ret_text + used, text + i, n);
        }
        used += step;
        i += step;
    }
    ret_text[used] = '\0';
}
