/* One model.yaml of any bytes. For libFuzzer, and for mutate.c under plain meson test. */

#include "fuzz_dicom.h"

#include "plugins/host/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes)
{
    static md_manifest manifest; /* 300 KiB, and nothing else runs here */
    md_error err;
    (void)!md_manifest_parse(bytes, size_bytes, "model.yaml", &manifest, &err);
    return 0;
}
