/* report-case sr|picture|map CASE OUTPUT SOURCE...: write the object of a case to a file, for
 * the checks that other programs make. */

#include "tests/unit/dicom_report/cases.h"

#include <stdio.h>
#include <string.h>

static int save(const char *path, const md_object *object)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        return 1;
    }
    size_t written = fwrite(object->bytes, 1, object->size_bytes, file);
    return fclose(file) != 0 || written != object->size_bytes;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: report-case sr|picture|map CASE OUTPUT SOURCE...\n");
        return 2;
    }
    md_error err = {0};
    if (md_dicom_init(&err) != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    test_case c;
    if (!case_make(&c, argv[2], (const char *const *)argv + 4, (size_t)argc - 4)) {
        return 1;
    }
    md_object object = {0};
    md_status status = MD_OK;
    if (strcmp(argv[1], "sr") == 0) {
        status = md_report_write_sr(&c.result, c.sources, &c.options, &object, &err);
    }
    if (strcmp(argv[1], "picture") == 0) {
        status = md_report_write_picture(&c.result, 0, c.sources[0], &c.display, &c.options,
                                         &object, &err);
    }
    if (strcmp(argv[1], "map") == 0) {
        status = md_report_write_parametric_map(&c.result, 0, c.sources[0], &c.options, &object,
                                                &err);
    }
    int failed = 1;
    if (status != MD_OK) {
        fprintf(stderr, "%s: %s\n", md_status_name(status), err.msg);
    } else {
        failed = save(argv[3], &object);
    }
    md_object_finish(&object);
    case_finish(&c);
    md_dicom_finish();
    return failed;
}
