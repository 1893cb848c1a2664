/* Prints one line of UTF-8 for each text value of the given attributes, for the comparer in
 * Python: dump_text FILE GGGGEEEE... */

#include "dicom/dataset/dataset.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    md_error err;
    MD_AUTO(md_dataset_destroyp) md_dataset *dataset = NULL;
    if (argc < 2 || md_dicom_init(&err) != MD_OK ||
        md_dataset_open(argv[1], &dataset, &err) != MD_OK) {
        fprintf(stderr, "%s\n", argc < 2 ? "usage: dump_text FILE TAG..." : err.msg);
        return 1;
    }
    for (int i = 2; i < argc; i++) {
        uint32_t tag = (uint32_t)strtoul(argv[i], NULL, 16);
        char text[1024];
        for (unsigned k = 0; md_dataset_get_text(dataset, tag, k, text, sizeof text); k++) {
            printf("%s %u %s\n", argv[i], k, text);
        }
    }
    md_dataset_destroy(MD_STEAL(dataset));
    md_dicom_finish();
    return 0;
}
