#include "inference/network.h"

#include "inference/backend/backend.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

md_status md_precision_check(md_precision precision, md_error *err)
{
#ifdef MEDAID_HAVE_ONEDNN
    return precision == MD_PRECISION_F32 ? MD_OK : md_onednn_check_precision(precision, err);
#else
    return precision == MD_PRECISION_F32
               ? MD_OK
               : md_fail(err, MD_UNSUPPORTED, "the oneDNN back end is not built in");
#endif
}

const char *md_precision_name(md_precision precision)
{
    static const char *const names[] = {"f32", "bf16", "int8"};
    return names[precision];
}

void md_precision_cpu(char ret_text[MD_PRECISION_CPU_BYTES])
{
    unsigned id[3] = {0}, signature = 0, features[3] = {0}, isa = 0, unused = 0;
#if defined(__x86_64__)
    (void)__get_cpuid(0, &unused, &id[0], &id[2], &id[1]);
    (void)__get_cpuid(1, &signature, &unused, &features[0], &unused);
    (void)__get_cpuid_count(7, 0, &unused, &features[1], &features[2], &unused);
#endif
    /* bits that say what the system allows or where the thread is, not what can be computed */
    features[0] &= ~(1U << 27);
#ifdef MEDAID_HAVE_ONEDNN
    isa = md_onednn_isa();
#endif
    (void)snprintf(ret_text, MD_PRECISION_CPU_BYTES, "%.4s%.4s%.4s-%x-%x-%x-%x onednn-isa-%x",
                   (const char *)&id[0], (const char *)&id[1], (const char *)&id[2], signature,
                   features[0], features[1], features[2], isa);
    for (char *c = ret_text; *c != '\0'; c++) {
        *c = *c > ' ' && *c <= '~' ? *c : (*c == ' ' ? ' ' : '?');
    }
}
