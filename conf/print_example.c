/* Writes the commented example configuration to standard output:
 * build/conf/medaid-conf-example > conf/medaid.yaml. A test compares the two. */

#include "conf/conf.h"
#include "conf/schema.h"

int main(void)
{
    puts("# The configuration of medaid. Every key is here; where no entry is asked for, the "
         "value");
    puts("# is the default, and a key may be left out. Reading is strict: an unknown key or a "
         "value");
    puts("# out of range is an error that names the line. Written from the table in "
         "conf/conf.c by");
    puts("# medaid-conf-example: change it there.");
    md_schema_print_example(md_conf_fields(), stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}
