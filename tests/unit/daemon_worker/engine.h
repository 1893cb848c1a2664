#ifndef MEDAID_TESTS_WORKER_ENGINE_H
#define MEDAID_TESTS_WORKER_ENGINE_H

/* A small engine for the workers of these tests: it runs the hostile plugin through the SDK's
 * interface as the real host does, but on files that hold just the word "deed" and a number,
 * so that each test shows one deed and nothing of DICOM. */

#include "daemon/worker/serve.h"

#define TEST_STUDY_UID "1.2.3.4"

md_worker_engine test_engine(void);

/* An analysis as an honest worker gives it. */
md_status test_analysis_make(const md_model_identity *model, double score, size_t n_instances,
                             md_analysis *ret_analysis);

#endif
