#include "dicom/report/read.h"

#include "dicom/dataset/dataset_internal.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

/* Codes as in tree.cc; docs/sr.md draws the tree. */
struct code_key {
    const char *value, *scheme;
};
static const code_key REPORT = {"126000", "DCM"}, MEASUREMENTS = {"126010", "DCM"},
                      GROUP = {"125007", "DCM"}, MODEL_ID = {"121015", "DCM"},
                      MODEL_SERIAL = {"121016", "DCM"}, TRACKING_ID = {"112039", "DCM"},
                      FINDING = {"121071", "DCM"}, PROBABILITY = {"122157", "DCM"},
                      SCORE = {"246262008", "SCT"}, THRESHOLD = {"122411", "DCM"},
                      PRESENCE = {"121052", "DCM"}, PRESENT = {"52101004", "SCT"},
                      ABSENT = {"272519000", "SCT"}, UNDETERMINED = {"373068000", "SCT"},
                      REASON = {"246101005", "SCT"}, PERCENT = {"%", "UCUM"};
static const char SOP_COMPREHENSIVE_3D_SR[] = "1.2.840.10008.5.1.4.1.1.88.34";

template <size_t N> static bool get_text(DcmItem *item, const DcmTagKey &tag, char (&text)[N])
{
    text[0] = '\0';
    return md_item_get_text(item, tag, 0, text, N);
}

/* Item 0 of a code sequence; false when it is not there or incomplete. */
static bool get_code(DcmItem *item, const DcmTagKey &sequence, md_code *ret_code)
{
    DcmItem *code = nullptr;
    md_code c = {};
    if (item->findAndGetSequenceItem(sequence, code, 0).bad() || code == nullptr) {
        return false;
    }
    if (!get_text(code, DCM_CodeValue, c.value) &&
        !get_text(code, DCM_LongCodeValue, c.value)) {
        return false;
    }
    if (!get_text(code, DCM_CodingSchemeDesignator, c.scheme)) {
        return false;
    }
    (void)get_text(code, DCM_CodeMeaning, c.meaning);
    *ret_code = c;
    return true;
}

static bool is(const md_code &code, const code_key &key)
{
    return strcmp(code.value, key.value) == 0 && strcmp(code.scheme, key.scheme) == 0;
}

static bool item_is(DcmItem *item, const code_key &name)
{
    md_code code = {};
    return get_code(item, DCM_ConceptNameCodeSequence, &code) && is(code, name);
}

/* The content items right below one; counts them against the limit. */
class children
{
  public:
    children(DcmItem *item, size_t *budget) : budget_(budget)
    {
        DcmSequenceOfItems *sequence = nullptr;
        if (item->findAndGetSequence(DCM_ContentSequence, sequence).good()) {
            sequence_ = sequence;
        }
    }

    /* The next, NULL behind the last or when the limit is reached. */
    DcmItem *next()
    {
        if (sequence_ == nullptr || *budget_ == 0) {
            return nullptr;
        }
        (*budget_)--;
        last_ = last_ == nullptr ? sequence_->nextInContainer(nullptr)
                                 : sequence_->nextInContainer(last_);
        return dynamic_cast<DcmItem *>(last_);
    }

  private:
    DcmSequenceOfItems *sequence_ = nullptr;
    DcmObject *last_ = nullptr;
    size_t *budget_;
};

/* The value of a NUM item and whether its unit is percent; false when it has none. */
static bool get_number(DcmItem *item, double *ret_value, bool *ret_percent)
{
    DcmItem *measured = nullptr;
    md_code unit = {};
    double value = 0;
    if (item->findAndGetSequenceItem(DCM_MeasuredValueSequence, measured, 0).bad() ||
        measured == nullptr || !md_item_get_real(measured, DCM_NumericValue, 0, &value) ||
        !get_code(measured, DCM_MeasurementUnitsCodeSequence, &unit)) {
        return false;
    }
    *ret_value = value;
    *ret_percent = is(unit, PERCENT);
    return true;
}

/* One measurement group while it is read. */
struct group_reading {
    md_reported_finding finding = {};
    bool has_finding = false, has_score = false, has_threshold = false, has_presence = false,
         has_reason = false;
};

static md_status read_share(DcmItem *item, const char *what, double *ret_share, md_error *err)
{
    double value = 0;
    bool percent = false;
    if (!get_number(item, &value, &percent)) {
        return md_fail(err, MD_FORMAT, "%s of a measurement group has no value or no unit",
                       what);
    }
    value = percent ? value / 100 : value;
    if (!(value >= 0 && value <= 1)) {
        return md_fail(err, MD_FORMAT, "%s of a measurement group is %g, not in 0..1", what,
                       value);
    }
    *ret_share = value;
    return MD_OK;
}

static md_status read_presence(DcmItem *item, group_reading *group, md_error *err)
{
    md_code code = {};
    if (!get_code(item, DCM_ConceptCodeSequence, &code)) {
        return md_fail(err, MD_FORMAT, "Presence of property has no code");
    }
    if (is(code, PRESENT)) {
        group->finding.presence = MD_PRESENCE_PRESENT;
    } else if (is(code, ABSENT)) {
        group->finding.presence = MD_PRESENCE_ABSENT;
    } else if (is(code, UNDETERMINED)) {
        group->finding.presence = MD_PRESENCE_UNDETERMINED;
    } else {
        return md_fail(err, MD_FORMAT, "Presence of property is none of the three codes");
    }
    group->has_presence = true;
    return MD_OK;
}

static md_status read_group_item(DcmItem *item, group_reading *group, md_error *err)
{
    md_code name = {};
    if (!get_code(item, DCM_ConceptNameCodeSequence, &name)) {
        return MD_OK; /* an image reference has no name */
    }
    md_reported_finding *f = &group->finding;
    if (is(name, TRACKING_ID)) {
        (void)get_text(item, DCM_TextValue, f->key);
    } else if (is(name, FINDING)) {
        if (group->has_finding || !get_code(item, DCM_ConceptCodeSequence, &f->concept)) {
            return md_fail(err, MD_FORMAT, "a measurement group has no or several findings");
        }
        group->has_finding = true;
    } else if (is(name, REASON)) {
        group->has_reason = true;
    } else if (is(name, PRESENCE)) {
        return read_presence(item, group, err);
    } else if (is(name, THRESHOLD)) {
        MD_TRY(read_share(item, "the threshold", &f->threshold, err));
        group->has_threshold = true;
    } else if (is(name, SCORE) || is(name, PROBABILITY)) {
        double value = 0;
        bool percent = false;
        if (is(name, PROBABILITY) && !get_number(item, &value, &percent)) {
            return MD_OK; /* of a failure: qualified, without a value */
        }
        if (group->has_score) {
            return md_fail(err, MD_FORMAT, "a measurement group has several scores");
        }
        MD_TRY(read_share(item, "the score", &f->score, err));
        f->score_is_probability = is(name, PROBABILITY);
        group->has_score = true;
    }
    return MD_OK;
}

static md_status read_group(DcmItem *container, size_t *budget,
                            std::vector<md_reported_finding> *findings, bool *has_failure,
                            md_error *err)
{
    group_reading group;
    children items(container, budget);
    while (DcmItem *item = items.next()) {
        MD_TRY(read_group_item(item, &group, err));
    }
    if (!group.has_finding) {
        if (!group.has_reason) {
            return md_fail(err, MD_FORMAT,
                           "a measurement group has neither a finding nor a failure");
        }
        *has_failure = true;
        return MD_OK;
    }
    if (!group.has_score || !group.has_threshold || !group.has_presence ||
        group.finding.key[0] == '\0') {
        return md_fail(err, MD_FORMAT,
                       "a measurement group lacks tracking identifier, score, threshold or "
                       "presence");
    }
    if (findings->size() >= MD_READING_MAX_FINDINGS) {
        return md_fail(err, MD_LIMIT, "more than %d measurement groups",
                       static_cast<int>(MD_READING_MAX_FINDINGS));
    }
    findings->push_back(group.finding);
    return MD_OK;
}

/* "1.0.0/hash", as the Device Observer Serial Number has it. */
static void split_serial(const char *serial, md_reading *r)
{
    const char *slash = strrchr(serial, '/');
    if (slash == nullptr) {
        return;
    }
    (void)snprintf(r->model_version, sizeof r->model_version, "%.*s",
                   static_cast<int>(slash - serial), serial);
    (void)snprintf(r->model_sha256, sizeof r->model_sha256, "%s", slash + 1);
}

/* Years between two dates YYYYMMDD; NaN when one is none. */
static double years_between(const char *birth, const char *day)
{
    int y1 = 0, m1 = 0, d1 = 0, y2 = 0, m2 = 0, d2 = 0;
    if (strlen(birth) != 8 || strlen(day) != 8 ||
        sscanf(birth, "%4d%2d%2d", &y1, &m1, &d1) != 3 ||
        sscanf(day, "%4d%2d%2d", &y2, &m2, &d2) != 3) {
        return NAN;
    }
    const double years = (y2 - y1) + (m2 - m1) / 12.0 + (d2 - d1) / 365.25;
    return years >= 0 && years <= 150 ? years : static_cast<double>(NAN);
}

/* Patient's Age, PS3.5 6.2 AS: nnnD, nnnW, nnnM, nnnY; else from the birth date. */
static double age_of(DcmItem *d)
{
    char text[17], birth[17], day[17];
    int n = 0;
    char unit = 0;
    if (get_text(d, DCM_PatientAge, text) && sscanf(text, "%3d%c", &n, &unit) == 2 && n >= 0) {
        switch (unit) {
        case 'D':
            return n / 365.25;
        case 'W':
            return n * 7 / 365.25;
        case 'M':
            return n / 12.0;
        case 'Y':
            return n;
        default:
            break;
        }
    }
    (void)get_text(d, DCM_PatientBirthDate, birth);
    (void)get_text(d, DCM_StudyDate, day);
    return years_between(birth, day);
}

static void read_predecessor(DcmItem *d, md_reading *r)
{
    DcmItem *study = nullptr, *series = nullptr, *sop = nullptr;
    if (d->findAndGetSequenceItem(DCM_PredecessorDocumentsSequence, study, 0).good() &&
        study->findAndGetSequenceItem(DCM_ReferencedSeriesSequence, series, 0).good() &&
        series->findAndGetSequenceItem(DCM_ReferencedSOPSequence, sop, 0).good()) {
        (void)get_text(sop, DCM_ReferencedSOPInstanceUID, r->predecessor_sop_instance_uid);
    }
}

static md_status read_header(DcmItem *d, md_reading *r, md_error *err)
{
    char text[MD_TEXT_BYTES], time[17];
    if (!get_text(d, DCM_SOPClassUID, text) || strcmp(text, SOP_COMPREHENSIVE_3D_SR) != 0) {
        return md_fail(err, MD_UNSUPPORTED, "no Comprehensive 3D SR");
    }
    if (!item_is(d, REPORT) || !get_text(d, DCM_Manufacturer, text) ||
        strcmp(text, "medaid") != 0) {
        return md_fail(err, MD_UNSUPPORTED, "a report that medaid did not write");
    }
    if (!get_text(d, DCM_StudyInstanceUID, r->study_instance_uid) ||
        !get_text(d, DCM_SOPInstanceUID, r->sop_instance_uid)) {
        return md_fail(err, MD_FORMAT,
                       "no Study Instance UID (0020,000D) or SOP Instance UID (0008,0018)");
    }
    if (!get_text(d, DCM_CompletionFlag, text)) {
        return md_fail(err, MD_FORMAT, "no Completion Flag (0040,A491)");
    }
    r->is_complete = strcmp(text, "COMPLETE") == 0;
    (void)get_text(d, DCM_AccessionNumber, r->accession_number);
    (void)get_text(d, DCM_PatientID, r->patient_id);
    (void)get_text(d, DCM_PatientSex, r->sex);
    (void)get_text(d, DCM_ContentDate, text);
    (void)get_text(d, DCM_ContentTime, time);
    (void)snprintf(r->content_datetime, sizeof r->content_datetime, "%.8s%.16s", text, time);
    r->age_years = age_of(d);
    read_predecessor(d, r);
    return MD_OK;
}

static md_status read_report(const md_dataset *dataset, md_reading *r, md_error *err)
{
    DcmItem *d = md_dataset_dcmtk(dataset);
    MD_TRY(read_header(d, r, err));
    std::vector<md_reported_finding> findings;
    size_t budget = MD_READING_MAX_ITEMS;
    bool has_measurements = false;
    children top(d, &budget);
    while (DcmItem *item = top.next()) {
        char text[MD_TEXT_BYTES];
        if (item_is(item, MODEL_ID)) {
            (void)get_text(item, DCM_TextValue, r->model_id);
        } else if (item_is(item, MODEL_SERIAL) && get_text(item, DCM_TextValue, text)) {
            split_serial(text, r);
        } else if (item_is(item, MEASUREMENTS)) {
            has_measurements = true;
            children groups(item, &budget);
            while (DcmItem *group = groups.next()) {
                if (item_is(group, GROUP)) {
                    MD_TRY(read_group(group, &budget, &findings, &r->has_failure, err));
                }
            }
        }
    }
    if (budget == 0) {
        return md_fail(err, MD_LIMIT, "more than %d content items",
                       static_cast<int>(MD_READING_MAX_ITEMS));
    }
    if (!has_measurements || r->model_id[0] == '\0') {
        return md_fail(err, MD_FORMAT,
                       "no Imaging Measurements or no Device Observer Model "
                       "Name");
    }
    r->findings =
        static_cast<md_reported_finding *>(md_calloc(findings.size() + 1, sizeof *r->findings));
    if (r->findings == nullptr) {
        return md_fail(err, MD_NOMEM, "no memory for %zu findings", findings.size());
    }
    for (const md_reported_finding &f : findings) {
        r->findings[r->n_findings++] = f;
    }
    return MD_OK;
}

md_status md_report_read(const md_dataset *dataset, md_reading *ret_reading,
                         md_error *err) noexcept
{
    md_reading reading = {};
    const md_status status =
        md_guard(err, __func__, [&] { return read_report(dataset, &reading, err); });
    if (status != MD_OK) {
        md_reading_finish(&reading);
        return status;
    }
    *ret_reading = reading;
    return MD_OK;
}

void md_reading_finish(md_reading *reading) noexcept
{
    md_free(reading->findings);
    *reading = {};
}
