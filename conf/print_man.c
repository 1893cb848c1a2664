/* Writes the manual page medaid.yaml(5) to standard output, from the table that the loader
 * reads with. */

#include "conf/conf.h"
#include "conf/schema.h"

#include <string.h>

enum {
    PATH_BYTES = 256
};

/* Text as roff takes it for text. */
static void put(const char *text)
{
    if (*text == '.' || *text == '\'') {
        fputs("\\&", stdout);
    }
    for (; *text != '\0'; text++) {
        if (*text == '\\') {
            fputs("\\e", stdout);
        } else if (*text == '-') {
            fputs("\\-", stdout);
        } else {
            putchar(*text);
        }
    }
}

/* Range, words and default of a value: what the help text need not repeat. */
static void put_facts(const md_schema_field *f)
{
    if (f->type == MD_SCHEMA_INT || f->type == MD_SCHEMA_REAL) {
        printf("A number in %.10g..%.10g%s%s.\n", f->least, f->most, f->unit != NULL ? " " : "",
               f->unit != NULL ? f->unit : "");
    } else if (f->type == MD_SCHEMA_BOOL) {
        puts("true or false.");
    } else if (f->choices != NULL) {
        fputs("One of", stdout);
        for (const md_schema_choice *c = f->choices; c->word != NULL; c++) {
            fputs(c == f->choices ? " " : ", ", stdout);
            put(c->word);
        }
        puts(".");
    } else if (f->type == MD_SCHEMA_LIST) {
        printf("A list of at most %zu values.\n", f->max_items);
    }
    if (f->required) {
        puts("It must be given.");
    } else if (f->fallback != NULL && f->fallback[0] != '\0') {
        fputs("Default: ", stdout);
        put(f->fallback);
        puts("");
    }
}

static void put_field(const char *path, const md_schema_field *f)
{
    puts(".TP");
    fputs(".B ", stdout);
    put(path);
    puts("");
    if (f->help != NULL) {
        put(f->help);
        puts("");
    }
    put_facts(f);
}

static void put_fields(const char *before, const md_schema_field *fields)
{
    for (const md_schema_field *f = fields; f->key != NULL; f++) {
        char path[PATH_BYTES];
        snprintf(path, sizeof path, "%s%s", before, f->key);
        bool is_map = f->type == MD_SCHEMA_MAP && f->example == NULL;
        bool is_list_of_maps =
            f->type == MD_SCHEMA_LIST && f->item->type == MD_SCHEMA_MAP && f->example == NULL;
        if (before[0] == '\0') {
            fputs(".SS ", stdout);
            put(f->key);
            puts("");
            if (f->help != NULL) {
                put(f->help);
                puts("");
            }
        } else {
            put_field(path, f);
        }
        size_t used = strlen(path);
        if (is_map) {
            snprintf(path + used, sizeof path - used, ".");
            put_fields(path, f->fields);
        } else if (is_list_of_maps) {
            snprintf(path + used, sizeof path - used, "[].");
            put_fields(path, f->item->fields);
        }
    }
}

int main(void)
{
    puts(".TH MEDAID.YAML 5 \"\" medaid \"File formats\"");
    puts(".SH NAME");
    puts("medaid.yaml \\- the configuration of medaid");
    puts(".SH DESCRIPTION");
    puts("A YAML file that");
    puts(".BR medaid (1)");
    puts("and");
    puts(".BR medaidctl (1)");
    puts("read with \\-\\-config. Every key may be left out unless it says otherwise; then its "
         "default holds.");
    puts("Reading is strict: an unknown key, a wrong type, a value out of range or a key twice "
         "is an error");
    puts("that names the line and what is expected. Anchors, aliases, tags and a second "
         "document are refused.");
    puts(".PP");
    puts("medaid \\-\\-check\\-config reads the file, loads the models and runs their "
         "self\\-tests.");
    puts("A commented example is installed with the documentation.");
    puts(".SH KEYS");
    put_fields("", md_conf_fields());
    puts(".SH SEE ALSO");
    puts(".BR medaid (1),");
    puts(".BR medaidctl (1)");
    return fflush(stdout) == 0 ? 0 : 1;
}
