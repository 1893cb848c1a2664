/* Writes the commented example configuration to standard output:
 * build/conf/medaid-conf-example > conf/medaid.yaml. A test compares the two. */

#include "conf/conf.h"
#include "conf/schema.h"

int main(void)
{
    puts("# The configuration of medaid. Every key is here; where no entry is asked for, the "
         "value");
    puts("# is the default, and a key may be left out; what stands behind a # is off until you "
         "take");
    puts("# the # away. Reading is strict: an unknown key or a value out of range is an error "
         "that");
    puts("# names the line. Written from the table in conf/conf.c by medaid-conf-example: "
         "change "
         "it");
    puts("# there.");
    md_schema_print_example(md_conf_fields(), stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}
