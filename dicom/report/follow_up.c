#include "dicom/report/follow_up.h"

#include <stdio.h>
#include <string.h>

const char *md_follow_up_basis_name(md_follow_up_basis basis)
{
    static const char *const names[MD_FOLLOW_UP_N_BASES] = {"ratings", "findings", "both"};
    return (unsigned)basis < MD_FOLLOW_UP_N_BASES ? names[basis] : "unknown";
}

void md_follow_up_sentence(const md_follow_up_proposal *p, char *ret_text, size_t size_bytes)
{
    char alike[MD_FOLLOW_UP_MAX_REASONS * (MD_CODE_MEANING_BYTES + 2) + 16] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < p->n_reasons && i < MD_FOLLOW_UP_MAX_REASONS; i++) {
        int n = snprintf(alike + used, sizeof alike - used, "%s%s",
                         i == 0 ? ", alike in " : ", ", p->reasons[i]);
        used += n > 0 && (size_t)n < sizeof alike - used ? (size_t)n : 0;
    }
    snprintf(ret_text, size_bytes,
             "Proposed follow-up: %s. Accepted for %u of %u similar patients%s. A proposal, "
             "not an order.",
             p->action.meaning, p->n_accepted, p->n_similar, alike);
}
