#include "daemon/rules/tags.h"

#include <stdio.h>
#include <string.h>

enum {
    VIEW_SEQUENCE = MD_TAG(0x0054, 0x0220),
    REGION_SEQUENCE = MD_TAG(0x0008, 0x2218),
    CODE_VALUE = MD_TAG(0x0008, 0x0100),
    CODE_SCHEME = MD_TAG(0x0008, 0x0102),
};

void md_tags_wanted(const md_conf *conf, md_wanted *ret_wanted)
{
    static const md_wanted_tag always[] = {
        {0, MD_TAG(0x0008, 0x0060)},    {0, MD_TAG(0x0018, 0x0015)},
        {0, MD_TAG(0x0018, 0x5101)},    {REGION_SEQUENCE, CODE_VALUE},
        {REGION_SEQUENCE, CODE_SCHEME}, {VIEW_SEQUENCE, CODE_VALUE},
        {VIEW_SEQUENCE, CODE_SCHEME},
    };
    uint32_t tags[MD_IDENTITY_MAX_WANTED][2];
    unsigned n = sizeof always / sizeof always[0];
    for (unsigned i = 0; i < n; i++) {
        tags[i][0] = always[i].sequence;
        tags[i][1] = always[i].tag;
    }
    for (unsigned i = 0; i < conf->n_rules; i++) {
        n = md_conf_rule_tags(conf->rules[i].when, tags, n, MD_IDENTITY_MAX_WANTED);
    }
    memset(ret_wanted, 0, sizeof *ret_wanted);
    ret_wanted->n = n < MD_IDENTITY_MAX_WANTED ? n : MD_IDENTITY_MAX_WANTED;
    for (unsigned i = 0; i < ret_wanted->n; i++) {
        ret_wanted->tags[i] = (md_wanted_tag){tags[i][0], tags[i][1]};
    }
}

/* VRs that hold binary numbers. */
static bool to_number(const md_wanted_value *value, char *ret_text, size_t size_bytes)
{
    const uint8_t *b = value->bytes;
    bool is_short = strcmp(value->vr, "US") == 0 || strcmp(value->vr, "SS") == 0;
    bool is_long = strcmp(value->vr, "UL") == 0 || strcmp(value->vr, "SL") == 0;
    bool is_signed = value->vr[0] == 'S';
    size_t width = is_short ? 2 : 4;
    size_t used = 0;
    if (!is_short && !is_long) {
        return false;
    }
    ret_text[0] = '\0';
    for (size_t at = 0; at + width <= value->n_bytes && used < size_bytes; at += width) {
        uint32_t bits = 0;
        for (size_t i = 0; i < width; i++) {
            size_t from = value->is_big_endian ? at + i : at + width - 1 - i;
            bits = bits << 8 | b[from];
        }
        int64_t number = is_signed && is_short ? (int64_t)(int16_t)bits
                         : is_signed           ? (int64_t)(int32_t)bits
                                               : (int64_t)bits;
        int n = snprintf(ret_text + used, size_bytes - used, "%s%lld", at > 0 ? "\\" : "",
                         (long long)number);
        used += n > 0 ? (size_t)n : 0;
    }
    return true;
}

void md_tags_write(const md_wanted *wanted, const md_identity *identity,
                   char ret_tags[MD_STORE_TAGS_BYTES])
{
    char charset[MD_TAG_VALUE_BYTES];
    size_t used = 0;
    ret_tags[0] = '\0';
    md_text_convert(identity->charset.bytes, identity->charset.n_bytes, "CS", "", charset,
                    sizeof charset);
    for (unsigned i = 0; i < wanted->n && i < MD_IDENTITY_MAX_WANTED; i++) {
        const md_wanted_value *value = &identity->values[i];
        const md_wanted_tag *tag = &wanted->tags[i];
        char text[MD_TAG_VALUE_BYTES];
        if (!value->is_there) {
            continue;
        }
        if (!to_number(value, text, sizeof text)) {
            md_text_convert(value->bytes, value->n_bytes, value->vr, charset, text,
                            sizeof text);
        }
        char line[MD_TAG_VALUE_BYTES + 24];
        int n = tag->sequence == 0
                    ? snprintf(line, sizeof line, "%08X=%s\n", (unsigned)tag->tag, text)
                    : snprintf(line, sizeof line, "%08X/%08X=%s\n", (unsigned)tag->sequence,
                               (unsigned)tag->tag, text);
        if (n > 0 && (size_t)n < sizeof line && (size_t)n < MD_STORE_TAGS_BYTES - used) {
            memcpy(ret_tags + used, line, (size_t)n + 1);
            used += (size_t)n;
        }
    }
}

bool md_tags_find(const char *tags, uint32_t sequence, uint32_t tag,
                  char ret_value[MD_TAG_VALUE_BYTES])
{
    char name[24];
    int n = sequence == 0
                ? snprintf(name, sizeof name, "%08X=", (unsigned)tag)
                : snprintf(name, sizeof name, "%08X/%08X=", (unsigned)sequence, (unsigned)tag);
    ret_value[0] = '\0';
    for (const char *line = tags; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        if (strncmp(line, name, (size_t)n) == 0) {
            snprintf(ret_value, MD_TAG_VALUE_BYTES, "%.*s", (int)(length - (size_t)n),
                     line + n);
            return true;
        }
        line += length + (line[length] == '\n');
    }
    return false;
}
