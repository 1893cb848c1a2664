/* A stored report of any bytes: read back for the audit. What is answered is within its bounds.
 */

#include "fuzz_dicom.h"

#include "dicom/report/read.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes)
{
    md_error err;
    md_dataset *dataset = NULL;
    md_reading reading = {0};
    if (md_dicom_init(&err) != MD_OK ||
        md_dataset_parse(bytes, size_bytes, &dataset, &err) != MD_OK) {
        return 0;
    }
    if (md_report_read(dataset, &reading, &err) == MD_OK) {
        for (size_t i = 0; i < reading.n_findings; i++) {
            const md_reported_finding *f = &reading.findings[i];
            if (!(f->score >= 0 && f->score <= 1 && f->threshold >= 0 && f->threshold <= 1)) {
                abort();
            }
        }
    }
    md_reading_finish(&reading);
    md_dataset_destroy(dataset);
    return 0;
}
