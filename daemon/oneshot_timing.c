#include "daemon/oneshot_timing.h"

#include "base/clock.h"

static const struct {
    const char *name; /* of the table */
    const char *key;  /* of the JSON */
    const char *remark;
} stages[MD_N_STAGES] = {
    [MD_STAGE_START_UP] = {"start-up", "start_up", "CPU time before main"},
    [MD_STAGE_CONFIGURATION] = {"configuration", "configuration", ""},
    [MD_STAGE_LIBRARY] = {"DICOM library", "library", ""},
    [MD_STAGE_FIND] = {"find files", "find", ""},
    [MD_STAGE_MODELS] = {"models", "models", "load and self-test"},
    [MD_STAGE_OPEN] = {"open", "open", ""},
    [MD_STAGE_DECODE] = {"decode", "decode", ""},
    [MD_STAGE_NORMALISE] = {"normalise", "normalise", ""},
    [MD_STAGE_QUALITY] = {"quality", "quality", ""},
    [MD_STAGE_RESIZE] = {"resize", "resize", ""},
    [MD_STAGE_NETWORK] = {"network", "network", ""},
    [MD_STAGE_SALIENCY] = {"saliency", "saliency", ""},
    [MD_STAGE_TEXT] = {"text", "text", ""},
    [MD_STAGE_RISK] = {"risk", "risk", ""},
    [MD_STAGE_REPORT] = {"report", "report", ""},
    [MD_STAGE_PICTURE] = {"picture", "picture", ""},
    [MD_STAGE_MAPS] = {"maps", "maps", ""},
    [MD_STAGE_WRITE] = {"write", "write", "with sync"},
    [MD_STAGE_SEND] = {"send", "send", ""},
    [MD_STAGE_EXIT] = {"exit", "exit", ""},
};

void md_stage_times_add(md_stage_times *times, const md_analysis_times *analysis)
{
    times->us[MD_STAGE_OPEN] += analysis->open_us;
    times->us[MD_STAGE_DECODE] += analysis->decode_us;
    times->us[MD_STAGE_NORMALISE] += analysis->normalise_us;
    times->us[MD_STAGE_QUALITY] += analysis->quality_us;
    times->us[MD_STAGE_RESIZE] += analysis->resize_us;
    times->us[MD_STAGE_NETWORK] += analysis->network_us;
    times->us[MD_STAGE_SALIENCY] += analysis->saliency_us;
    times->us[MD_STAGE_TEXT] += analysis->text_us;
    times->us[MD_STAGE_RISK] += analysis->risk_us;
    times->us[MD_STAGE_REPORT] += analysis->report_us;
    times->us[MD_STAGE_PICTURE] += analysis->picture_us;
    times->us[MD_STAGE_MAPS] += analysis->maps_us;
}

void md_stage_times_print(FILE *out, const md_stage_times *times)
{
    fputs("time, ms:\n", out);
    for (int i = 0; i < MD_N_STAGES; i++) {
        const char *remark = stages[i].remark;
        fprintf(out, "  %-14s%8.1f%s%s\n", stages[i].name, (double)times->us[i] / 1e3,
                remark[0] == '\0' ? "" : "  ", remark);
    }
    fprintf(out, "  %-14s%8.1f  since main\n  %-14s%8.1f  of the process\n", "total",
            (double)(md_clock_monotonic_us() - times->main_us) / 1e3, "CPU",
            (double)md_clock_cpu_us() / 1e3);
}

json_t *md_stage_times_json(const md_stage_times *times)
{
    json_t *object = json_object();
    bool good = object != NULL;
    for (int i = 0; i < MD_STAGE_EXIT && good; i++) {
        good = json_object_set_new(object, stages[i].key,
                                   json_real((double)times->us[i] / 1e3)) == 0;
    }
    const double total_ms = (double)(md_clock_monotonic_us() - times->main_us) / 1e3;
    if (!good || json_object_set_new(object, "total", json_real(total_ms)) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}
