#include "daemon/time_json.h"

#include <stdio.h>
#include <time.h>

json_t *md_time_json(int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    char text[64];
    if (ms <= 0 || gmtime_r(&seconds, &parts) == NULL) {
        return json_null();
    }
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
             parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
             (int)(ms % 1000));
    return json_string(text);
}
