#include "conf/schema.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

/* A struct written back as the YAML that it could have come from. */

static bool has(const md_schema_field *f, const char *base)
{
    return f->has_offset == 0 || *(const bool *)(base + f->has_offset);
}

static int64_t int_of(const md_schema_field *f, const void *member)
{
    const bool is_unsigned = f->least >= 0;
    int8_t i8 = 0;
    int16_t i16 = 0;
    int32_t i32 = 0;
    int64_t i64 = 0;
    switch (f->size_bytes) {
    case 1:
        memcpy(&i8, member, sizeof i8);
        return is_unsigned ? (uint8_t)i8 : i8;
    case 2:
        memcpy(&i16, member, sizeof i16);
        return is_unsigned ? (uint16_t)i16 : i16;
    case 4:
        memcpy(&i32, member, sizeof i32);
        return is_unsigned ? (int64_t)(uint32_t)i32 : i32;
    default:
        memcpy(&i64, member, sizeof i64);
        return i64;
    }
}

static double real_of(const md_schema_field *f, const void *member)
{
    float single = 0.0F;
    double value = 0.0;
    if (f->size_bytes == sizeof single) {
        memcpy(&single, member, sizeof single);
        return (double)single;
    }
    memcpy(&value, member, sizeof value);
    return value;
}

/* The fewest digits that read back to the same. */
static void print_real(const md_schema_field *f, const void *member, FILE *out)
{
    const double value = real_of(f, member);
    const bool single = f->size_bytes == sizeof(float);
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (single ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value) {
            break;
        }
    }
    fputs(text, out);
}

static void print_text(const char *text, FILE *out)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', out);
        }
        fputc((unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text, out);
    }
    fputc('"', out);
}

static void print_scalar(const md_schema_field *f, const char *member, FILE *out)
{
    switch (f->type) {
    case MD_SCHEMA_BOOL:
        fputs(*(const bool *)member ? "true" : "false", out);
        break;
    case MD_SCHEMA_INT:
        fprintf(out, "%lld", (long long)int_of(f, member));
        break;
    case MD_SCHEMA_REAL:
        print_real(f, member, out);
        break;
    case MD_SCHEMA_ENUM: {
        int value = 0;
        memcpy(&value, member, sizeof value);
        const md_schema_choice *c = f->choices;
        while (c->word != NULL && c->value != value) {
            c++;
        }
        fputs(c->word != NULL ? c->word : "\"\"", out);
        break;
    }
    case MD_SCHEMA_TEXT:
    case MD_SCHEMA_MAP:
    case MD_SCHEMA_LIST:
    case MD_SCHEMA_DICT:
    default:
        print_text(member, out);
        break;
    }
}

static size_t count_of(const md_schema_field *f, const char *base)
{
    unsigned n = 0;
    memcpy(&n, base + f->n_offset, sizeof n);
    return n;
}

/* Where the elements of a list, or the struct of a map, begin. NULL: not there. */
static const char *inside_of(const md_schema_field *f, const char *base)
{
    const char *member = base + f->offset;
    if (f->owned_bytes > 0) {
        memcpy(&member, base + f->offset, sizeof member);
    }
    return member;
}

static bool is_scalar(const md_schema_field *f)
{
    return f->type != MD_SCHEMA_MAP && f->type != MD_SCHEMA_LIST && f->type != MD_SCHEMA_DICT;
}

/* No value: zero, "", an empty list. */
static bool is_empty(const md_schema_field *f, const char *base)
{
    static const char zeros[sizeof(double)];
    switch (f->type) {
    case MD_SCHEMA_LIST:
    case MD_SCHEMA_DICT:
        return count_of(f, base) == 0;
    case MD_SCHEMA_MAP:
        return false;
    case MD_SCHEMA_TEXT:
        return base[f->offset] == '\0';
    case MD_SCHEMA_BOOL:
    case MD_SCHEMA_INT:
    case MD_SCHEMA_REAL:
    case MD_SCHEMA_ENUM:
    default:
        return memcmp(base + f->offset, zeros, f->size_bytes) == 0;
    }
}

/* An optional map that says nothing. */
static bool is_blank(const md_schema_field *map, const char *inside)
{
    bool any = false;
    for (const md_schema_field *f = map->fields; f->key != NULL; f++) {
        if (f->fallback != NULL || f->type == MD_SCHEMA_MAP) {
            continue;
        }
        any = true;
        if (has(f, inside) && !is_empty(f, inside)) {
            return false;
        }
    }
    return any;
}

static bool is_left_out(const md_schema_field *f, const char *base)
{
    if (!has(f, base) || (f->owned_bytes > 0 && inside_of(f, base) == NULL)) {
        return true;
    }
    switch (f->type) {
    case MD_SCHEMA_MAP:
        return !f->required && f->has_offset == 0 && is_blank(f, inside_of(f, base));
    case MD_SCHEMA_LIST:
    case MD_SCHEMA_DICT:
    case MD_SCHEMA_TEXT:
        return f->least >= 1 && is_empty(f, base);
    case MD_SCHEMA_BOOL:
    case MD_SCHEMA_INT:
    case MD_SCHEMA_REAL:
    case MD_SCHEMA_ENUM:
    default:
        return false;
    }
}

static void write_fields(const md_schema_field *fields, const char *base, unsigned indent,
                         bool item, FILE *out);

static void write_list(const md_schema_field *f, const char *base, unsigned indent, FILE *out)
{
    const size_t n = count_of(f, base);
    const size_t stride = f->owned_bytes > 0 ? f->owned_bytes : f->size_bytes / f->max_items;
    const char *element = inside_of(f, base);
    if (f->item->type == MD_SCHEMA_MAP && n > 0) {
        fputc('\n', out);
        for (size_t i = 0; i < n; i++, element += stride) {
            write_fields(f->item->fields, element + f->item->offset, indent + 4, true, out);
        }
        return;
    }
    fputs(" [", out);
    for (size_t i = 0; i < n; i++, element += stride) {
        fputs(i > 0 ? ", " : "", out);
        print_scalar(f->item, element + f->item->offset, out);
    }
    fputs("]\n", out);
}

static void write_dict(const md_schema_field *f, const char *base, unsigned indent, FILE *out)
{
    const size_t n = count_of(f, base);
    const char *element = base + f->offset;
    fputs(n == 0 ? " {}\n" : "\n", out);
    for (size_t i = 0; i < n; i++, element += f->size_bytes / f->max_items) {
        fprintf(out, "%*s", (int)indent + 2, "");
        print_text(element + f->item[0].offset, out);
        fputs(": ", out);
        print_scalar(&f->item[1], element + f->item[1].offset, out);
        fputc('\n', out);
    }
}

/* One key a line; of an item of a list the first stands behind a dash. */
static void write_fields(const md_schema_field *fields, const char *base, unsigned indent,
                         bool item, FILE *out)
{
    bool first = item;
    for (const md_schema_field *f = fields; f->key != NULL; f++) {
        if (is_left_out(f, base)) {
            continue;
        }
        fprintf(out, "%*s%s%s:", (int)indent - (first ? 2 : 0), "", first ? "- " : "", f->key);
        first = false;
        if (is_scalar(f)) {
            fputc(' ', out);
            print_scalar(f, base + f->offset, out);
            fputc('\n', out);
        } else if (f->type == MD_SCHEMA_LIST) {
            write_list(f, base, indent, out);
        } else if (f->type == MD_SCHEMA_DICT) {
            write_dict(f, base, indent, out);
        } else {
            fputc('\n', out);
            write_fields(f->fields, inside_of(f, base), indent + 2, false, out);
        }
    }
}

md_status md_schema_write(const md_schema_field *fields, const void *target, FILE *out,
                          md_error *err)
{
    /* numbers have a point, whatever the locale */
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0) {
        return md_fail(err, MD_NOMEM, "no memory to write YAML");
    }
    locale_t before = uselocale(c_locale);
    write_fields(fields, target, 0, false, out);
    uselocale(before);
    freelocale(c_locale);
    if (fflush(out) != 0 || ferror(out) != 0) {
        return md_fail_os(err, errno, "cannot write YAML");
    }
    return MD_OK;
}
