#ifndef MEDAID_TESTS_FUZZ_FUZZ_DICOM_H
#define MEDAID_TESTS_FUZZ_FUZZ_DICOM_H

#include <stddef.h>
#include <stdint.h>

/* The name that libFuzzer calls. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes);

#endif
