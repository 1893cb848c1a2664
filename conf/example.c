#include "conf/schema.h"

#include <string.h>

/* The commented example: written from the table, so that it cannot say something else. */

enum {
    WIDTH = 92
};

/* Where a line of the example begins. What is switched off stands behind a '#' in the column of
 * the outermost key that is off; off_indent is that column, -1: nothing is off. */
static void print_indent(FILE *out, unsigned indent, int off_indent)
{
    if (off_indent < 0) {
        fprintf(out, "%*s", (int)indent, "");
    } else {
        fprintf(out, "%*s# %*s", off_indent, "", (int)indent - off_indent, "");
    }
}

static void print_comment(FILE *out, unsigned indent, int off_indent, const char *text)
{
    size_t room = WIDTH - 2 - indent;
    while (*text != '\0') {
        size_t length = strlen(text);
        size_t cut = length;
        if (length > room) {
            cut = room;
            while (cut > 0 && text[cut] != ' ') {
                cut--;
            }
            cut = cut == 0 ? room : cut;
        }
        print_indent(out, indent, off_indent);
        fprintf(out, "# %.*s\n", (int)cut, text);
        text += cut;
        text += *text == ' ';
    }
}

static void describe(const md_schema_field *f, char *text, size_t size_bytes)
{
    text[0] = '\0';
    if (f->type == MD_SCHEMA_INT || f->type == MD_SCHEMA_REAL) {
        snprintf(text, size_bytes, " (%.10g..%.10g%s%s)", f->least, f->most,
                 f->unit != NULL ? " " : "", f->unit != NULL ? f->unit : "");
    } else if (f->choices != NULL) {
        for (const md_schema_choice *c = f->choices; c->word != NULL; c++) {
            size_t used = strlen(text);
            snprintf(text + used, size_bytes - used, "%s%s", c == f->choices ? " (" : ", ",
                     c->word);
        }
        size_t used = strlen(text);
        snprintf(text + used, size_bytes - used, ")");
    }
}

static void print_fields(const md_schema_field *fields, FILE *out, unsigned indent, bool item,
                         int outer_off)
{
    for (const md_schema_field *f = fields; f->key != NULL; f++) {
        char comment[1024];
        char range[256];
        describe(f, range, sizeof range);
        snprintf(comment, sizeof comment, "%s%s", f->help != NULL ? f->help : "", range);
        bool first_of_item = item && f == fields;
        if (indent == 0) {
            fputc('\n', out);
        }
        print_comment(out, indent, outer_off, comment);
        int off = outer_off < 0 && f->is_off ? (int)indent : outer_off;
        print_indent(out, indent - (first_of_item ? 2 : 0), off);
        fprintf(out, "%s%s:", first_of_item ? "- " : "", f->key);
        const char *value = f->example != NULL ? f->example : f->fallback;
        bool quote = f->type == MD_SCHEMA_TEXT && value != NULL &&
                     (value[0] == '\0' || strchr(value, ':') != NULL);
        if (f->type == MD_SCHEMA_MAP && f->example == NULL) {
            fputc('\n', out);
            print_fields(f->fields, out, indent + 2, false, off);
        } else if (f->type == MD_SCHEMA_LIST && f->item->type == MD_SCHEMA_MAP &&
                   f->example == NULL) {
            fputc('\n', out);
            print_fields(f->item->fields, out, indent + 4, true, off);
        } else {
            fprintf(out, quote ? " \"%s\"\n" : " %s\n", value != NULL ? value : "\"\"");
        }
    }
}

void md_schema_print_example(const md_schema_field *fields, FILE *out)
{
    print_fields(fields, out, 0, false, -1);
}
