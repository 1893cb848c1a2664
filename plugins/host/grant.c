#include "plugins/host/grant.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEADER_BYTES = 512,
    SUM_BYTES = 4 + MD_SHA256_HEX_BYTES /* "sum ", the digits, a newline */
};

double md_grant_limit(md_precision precision)
{
    static const double limits[] = {0.0, 0.01, 0.02};
    return limits[precision];
}

md_status md_grant_judge(md_precision precision, const md_grant_result *result, md_error *err)
{
    if (result->n_images < MD_GRANT_MIN_IMAGES) {
        return md_fail(err, MD_PLUGIN, "%u images, at least %d are needed", result->n_images,
                       MD_GRANT_MIN_IMAGES);
    }
    if (!(result->worst_difference <= md_grant_limit(precision))) {
        return md_fail(err, MD_PLUGIN,
                       "a score differs by %.4f from float32, at most %g is "
                       "allowed for %s",
                       result->worst_difference, md_grant_limit(precision),
                       md_precision_name(precision));
    }
    if ((double)result->n_flips > 0.002 * (double)result->n_images) {
        return md_fail(err, MD_PLUGIN,
                       "%u of %u images are judged otherwise than in float32, "
                       "at most 0.2%% may be",
                       result->n_flips, result->n_images);
    }
    return MD_OK;
}

/* What the file begins with when it is for us. */
static size_t make_header(const char *network_sha256, md_precision precision, char *ret)
{
    char cpu[MD_PRECISION_CPU_BYTES];
    md_precision_cpu(cpu);
    return (size_t)snprintf(ret, HEADER_BYTES,
                            "medaid precision grant 1\nnetwork %.64s\nprecision %s\ncpu %s\n",
                            network_sha256, md_precision_name(precision), cpu);
}

static md_status read_whole(int folder, char **ret_text, size_t *ret_n, md_error *err)
{
    int fd = openat(folder, MD_GRANT_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT
                   ? md_fail(err, MD_NOT_FOUND,
                             "no " MD_GRANT_FILE ": run medaid-train quantize on this machine")
                   : md_fail_os(err, errno, MD_GRANT_FILE);
    }
    struct stat info;
    md_status status = MD_OK;
    char *text = NULL;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) ||
        (info.st_uid != 0 && info.st_uid != geteuid()) || (info.st_mode & 022) != 0) {
        status = md_fail(err, MD_FORMAT,
                         MD_GRANT_FILE ": not a file that only its owner, root "
                                       "or this user, may write");
    } else if ((uint64_t)info.st_size > MD_GRANT_MAX_BYTES) {
        status = md_fail(err, MD_LIMIT, MD_GRANT_FILE ": %lld bytes", (long long)info.st_size);
    } else {
        text = md_malloc((size_t)info.st_size + 1);
        status = text == NULL ? md_fail(err, MD_NOMEM, "no memory for " MD_GRANT_FILE) : MD_OK;
    }
    size_t n = 0;
    while (status == MD_OK && n < (size_t)info.st_size) {
        const ssize_t got = read(fd, text + n, (size_t)info.st_size - n);
        if (got <= 0 && !(got < 0 && errno == EINTR)) {
            status = md_fail(err, MD_IO, MD_GRANT_FILE ": cannot be read to its end");
        }
        n += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    if (status != MD_OK) {
        md_free(text);
        return status;
    }
    text[n] = '\0';
    *ret_text = text;
    *ret_n = n;
    return MD_OK;
}

static void add_sum(char *text, size_t n)
{
    uint8_t digest[MD_SHA256_BYTES];
    char hex[MD_SHA256_HEX_BYTES];
    md_sha256(text, n, digest);
    md_hex(digest, sizeof digest, hex);
    (void)snprintf(text + n, SUM_BYTES + 1, "sum %s\n", hex);
}

static bool is_whole(const char *text, size_t n)
{
    char sum[SUM_BYTES + 1], hex[MD_SHA256_HEX_BYTES];
    uint8_t digest[MD_SHA256_BYTES];
    if (n < SUM_BYTES || strlen(text) != n) {
        return false;
    }
    md_sha256(text, n - SUM_BYTES, digest);
    md_hex(digest, sizeof digest, hex);
    (void)snprintf(sum, sizeof sum, "sum %s\n", hex);
    return memcmp(text + n - SUM_BYTES, sum, SUM_BYTES) == 0;
}

/* "range LOW HIGH NAME" lines; `text` is cut into its lines. */
static md_status parse_ranges(char *text, md_grant *grant, md_error *err)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char *end = NULL;
        if (strncmp(line, "range ", 6) != 0) {
            return md_fail(err, MD_FORMAT, MD_GRANT_FILE ": a line that is no range");
        }
        if (grant->n_ranges == MD_GRANT_MAX_RANGES) {
            return md_fail(err, MD_LIMIT, MD_GRANT_FILE ": more than %d ranges",
                           MD_GRANT_MAX_RANGES);
        }
        const float low = strtof(line + 6, &end);
        const float high = strtof(end, &end);
        if (!isfinite(low) || !isfinite(high) || low > high || *end != ' ') {
            return md_fail(err, MD_FORMAT, MD_GRANT_FILE ": range %u is none", grant->n_ranges);
        }
        grant->ranges[grant->n_ranges++] = (md_range){end + 1, low, high};
    }
    return MD_OK;
}

static md_status parse(md_grant *grant, size_t n, const char *header, size_t n_header,
                       md_precision precision, md_error *err)
{
    char *text = grant->text;
    if (!is_whole(text, n)) {
        return md_fail(err, MD_FORMAT, MD_GRANT_FILE ": damaged, its SHA-256 is another");
    }
    if (n < n_header + SUM_BYTES || memcmp(text, header, n_header) != 0) {
        return md_fail(err, MD_FORMAT,
                       MD_GRANT_FILE ": for another network, precision or "
                                     "processor: run medaid-train quantize");
    }
    text[n - SUM_BYTES] = '\0';
    int used = 0;
    if (sscanf(text + n_header, "images %9u difference %lf flips %9u%n",
               &grant->result.n_images, &grant->result.worst_difference, &grant->result.n_flips,
               &used) != 3) {
        return md_fail(err, MD_FORMAT, MD_GRANT_FILE ": no result");
    }
    MD_TRY(md_grant_judge(precision, &grant->result, err));
    size_t n_lines = 1;
    for (const char *c = text + n_header; *c != '\0'; c++) {
        n_lines += *c == '\n' ? 1 : 0;
    }
    grant->ranges = md_calloc(n_lines, sizeof *grant->ranges);
    if (grant->ranges == NULL) {
        return md_fail(err, MD_NOMEM, "no memory for %zu ranges", n_lines);
    }
    return parse_ranges(text + n_header + used, grant, err);
}

md_status md_grant_read(int folder, const char *network_sha256, md_precision precision,
                        md_grant *ret_grant, md_error *err)
{
    char header[HEADER_BYTES];
    size_t n = 0;
    md_grant grant = {0};
    MD_TRY(read_whole(folder, &grant.text, &n, err));
    const size_t n_header = make_header(network_sha256, precision, header);
    md_status status = parse(&grant, n, header, n_header, precision, err);
    if (status != MD_OK) {
        md_grant_finish(&grant);
        return status;
    }
    *ret_grant = grant;
    return MD_OK;
}

void md_grant_finish(md_grant *grant)
{
    md_free(grant->ranges);
    md_free(grant->text);
    *grant = (md_grant){0};
}

md_status md_grant_write(const char *folder, const char *network_sha256, md_precision precision,
                         const md_grant_result *result, const md_range *ranges,
                         unsigned n_ranges, md_error *err)
{
    size_t capacity = HEADER_BYTES + 128 + SUM_BYTES + 1;
    for (unsigned i = 0; i < n_ranges; i++) {
        capacity += strlen(ranges[i].name) + 64;
    }
    MD_AUTO(md_freep) char *text = md_malloc(capacity);
    if (text == NULL || n_ranges > MD_GRANT_MAX_RANGES || capacity > MD_GRANT_MAX_BYTES) {
        return text == NULL ? md_fail(err, MD_NOMEM, "no memory for " MD_GRANT_FILE)
                            : md_fail(err, MD_LIMIT, "too many tensors for " MD_GRANT_FILE);
    }
    size_t n = make_header(network_sha256, precision, text);
    n += (size_t)snprintf(text + n, capacity - n, "images %u difference %.6f flips %u\n",
                          result->n_images, result->worst_difference, result->n_flips);
    for (unsigned i = 0; i < n_ranges; i++) {
        if (strchr(ranges[i].name, '\n') == NULL && isfinite(ranges[i].low) &&
            isfinite(ranges[i].high)) {
            n +=
                (size_t)snprintf(text + n, capacity - n, "range %a %a %s\n",
                                 (double)ranges[i].low, (double)ranges[i].high, ranges[i].name);
        }
    }
    add_sum(text, n);
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/" MD_GRANT_FILE, folder) >= (int)sizeof path) {
        return md_fail(err, MD_INVALID_ARG, "the folder's path is too long");
    }
    return md_file_write(path, MD_FILE_REPLACE, text, n + SUM_BYTES, err);
}
