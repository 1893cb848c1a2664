#ifndef MEDAID_TESTS_WORKER_EVIDENCE_FIXTURE_H
#define MEDAID_TESTS_WORKER_EVIDENCE_FIXTURE_H

/* Results of a text and a risk analyzer as an honest worker gives them. */

#include "engine.h"

enum { /* of an analysis */
    TEST_TEXT = 1,
    TEST_RISK = 2
};

/* To an analysis that has one result: the two of models[0] and models[1]. The risk's terms have
 * room for one more than there may be. */
void test_evidence_add(const md_model_identity *models, md_analysis *analysis);
/* Fails the test where the three results do not carry what was added. */
void test_evidence_compare(const md_result *got);

#endif
