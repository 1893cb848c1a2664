/* Paths that a DICOMDIR names, one a line, then the numbers of missing and rejected names:
 * dump_dicomdir FILE. */

#include "dicom/dataset/dicomdir.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    md_error err;
    MD_AUTO(md_dataset_destroyp) md_dataset *dataset = NULL;
    md_dicomdir list = {0};
    if (argc != 2 || md_dicom_init(&err) != MD_OK ||
        md_dataset_open(argv[1], &dataset, &err) != MD_OK ||
        md_dicomdir_read(dataset, argv[1], &list, &err) != MD_OK) {
        printf("%s\n", argc != 2 ? "usage: dump_dicomdir FILE" : err.msg);
        return 1;
    }
    for (size_t i = 0; i < list.n_paths; i++) {
        printf("%s\n", list.paths[i]);
    }
    printf("missing %zu rejected %zu dicomdir %d\n", list.n_missing, list.n_rejected,
           md_dataset_is_dicomdir(dataset));
    md_dicomdir_finish(&list);
    md_dataset_destroy(MD_STEAL(dataset));
    md_dicom_finish();
    return 0;
}
