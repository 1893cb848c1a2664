#include "dicom/report/tree_internal.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wcast-qual"
#include "dcmtk/dcmsr/dsrdoctr.h"
#include "dcmtk/dcmsr/dsrimgvl.h"
#include "dcmtk/dcmsr/dsrnumvl.h"
#pragma GCC diagnostic pop

/* Meanings as in PS3.16 annex D and in the context groups named in docs/sr.md. */
static const md_concept IMAGING_MEASUREMENT_REPORT = {"126000", "DCM",
                                                      "Imaging Measurement Report"};
static const md_concept LANGUAGE = {"121049", "DCM",
                                    "Language of Content Item and Descendants"};
static const md_concept ENGLISH_US = {"en-US", "RFC5646", "English (United States)"};
static const md_concept OBSERVER_TYPE = {"121005", "DCM", "Observer Type"};
static const md_concept DEVICE = {"121007", "DCM", "Device"};
static const md_concept DEVICE_UID = {"121012", "DCM", "Device Observer UID"};
static const md_concept DEVICE_NAME = {"121013", "DCM", "Device Observer Name"};
static const md_concept DEVICE_MANUFACTURER = {"121014", "DCM", "Device Observer Manufacturer"};
static const md_concept DEVICE_MODEL = {"121015", "DCM", "Device Observer Model Name"};
static const md_concept DEVICE_SERIAL = {"121016", "DCM", "Device Observer Serial Number"};
static const md_concept PROCEDURE_REPORTED = {"121058", "DCM", "Procedure reported"};
static const md_concept IMAGE_LIBRARY = {"111028", "DCM", "Image Library"};
static const md_concept IMAGE_LIBRARY_GROUP = {"126200", "DCM", "Image Library Group"};
static const md_concept MODALITY = {"121139", "DCM", "Modality"};
static const md_concept STUDY_DATE = {"111060", "DCM", "Study Date"};
static const md_concept PIXEL_DATA_ROWS = {"110910", "DCM", "Pixel Data Rows"};
static const md_concept PIXEL_DATA_COLUMNS = {"110911", "DCM", "Pixel Data Columns"};
static const md_concept IMAGING_MEASUREMENTS = {"126010", "DCM", "Imaging Measurements"};
static const md_concept MEASUREMENT_GROUP = {"125007", "DCM", "Measurement Group"};
static const md_concept TRACKING_ID = {"112039", "DCM", "Tracking Identifier"};
static const md_concept TRACKING_UID = {"112040", "DCM", "Tracking Unique Identifier"};
static const md_concept FINDING = {"121071", "DCM", "Finding"};
static const md_concept FINDING_SITE = {"363698007", "SCT", "Finding Site"};
static const md_concept LATERALITY = {"272741003", "SCT", "Laterality"};
static const md_concept ALGORITHM_NAME = {"111001", "DCM", "Algorithm Name"};
static const md_concept ALGORITHM_VERSION = {"111003", "DCM", "Algorithm Version"};
static const md_concept ALGORITHM_PARAMETERS = {"111002", "DCM", "Algorithm Parameters"};
static const md_concept ALGORITHM_MANUFACTURER = {"122405", "DCM", "Algorithm Manufacturer"};
static const md_concept SOURCE_OF_MEASUREMENT = {"121112", "DCM", "Source of Measurement"};
static const md_concept PROBABILITY = {"122157", "DCM", "Probability"};
static const md_concept SCORE = {"246262008", "SCT", "Score"};
static const md_concept THRESHOLD = {"122411", "DCM", "Threshold Value"};
static const md_concept PERCENT = {"%", "UCUM", "Percent"};
static const md_concept NO_UNITS = {"1", "UCUM", "no units"};
static const md_concept PIXELS = {"{pixels}", "UCUM", "Pixels"};
static const md_concept PRESENCE = {"121052", "DCM", "Presence of property"};
static const md_concept PRESENT = {"52101004", "SCT", "Present"};
static const md_concept ABSENT = {"272519000", "SCT", "Absent"};
static const md_concept UNDETERMINED = {"373068000", "SCT", "Undetermined"};
static const md_concept PRIORITY = {"260870009", "SCT", "Priority"};
static const md_concept URGENT = {"103391001", "SCT", "Urgent"};
static const md_concept CAD_SUMMARY = {"111017", "DCM", "CAD Processing and Findings Summary"};
static const md_concept NOT_ALL_WITHOUT = {"111243", "DCM",
                                           "Not all algorithms succeeded; without findings"};
static const md_concept NOT_ALL_WITH = {"111244", "DCM",
                                        "Not all algorithms succeeded; with findings"};
static const md_concept NONE_SUCCEEDED = {"111245", "DCM",
                                          "No algorithms succeeded; without findings"};
static const md_concept REASON_STOPPED = {"246101005", "SCT", "Reason for stopping test"};
static const md_concept MEASUREMENT_FAILURE = {"114006", "DCM", "Measurement failure"};
static const md_concept NOT_ATTEMPTED = {"114007", "DCM", "Measurement not attempted"};
static const md_concept COMMENT = {"121106", "DCM", "Comment"};
static const md_concept QUALITATIVE = {"C0034375", "UMLS", "Qualitative Evaluations"};
static const md_concept IMPRESSION = {"121073", "DCM", "Impression"};
static const md_concept RECOMMENDATION = {"121075", "DCM", "Recommendation"};
static const md_concept RECOMMENDED_FOLLOW_UP = {"111053", "DCM", "Recommended Follow-up"};
enum {
    MD_SR_MAX_WORDS = 12, /* that are named in a report */
    MD_SR_MAX_TERMS = 16
};
static const char DICOM_MAPPING_UID[] = "1.2.840.10008.8.1.1";

static DSRCodedEntryValue entry(const md_concept &c)
{
    return DSRCodedEntryValue(c.value, c.scheme, c.meaning, DSRTypes::CVT_auto, OFFalse);
}

/* The tree with a cursor that always stands on an open container or item; what is added becomes
 * its last child. The first failure sticks. */
class tree_writer
{
  public:
    explicit tree_writer(md_writing &w) : w_(w), tree_(DSRTypes::DT_Comprehensive3DSR)
    {
    }

    void open(DSRTypes::E_RelationshipType relation, DSRTypes::E_ValueType type,
              const md_concept &name, const char *template_id = nullptr);
    void close()
    {
        if (condition_.good() && tree_.goUp() == 0) {
            condition_ = EC_IllegalCall;
        }
    }
    void root();
    void container(const md_concept &name, const char *template_id = nullptr)
    {
        open(DSRTypes::RT_contains, DSRTypes::VT_Container, name, template_id);
    }
    void text(DSRTypes::E_RelationshipType relation, const md_concept &name,
              const std::string &value);
    void uid(DSRTypes::E_RelationshipType relation, const md_concept &name,
             const std::string &value);
    void date(DSRTypes::E_RelationshipType relation, const md_concept &name,
              const std::string &value);
    void open_code(DSRTypes::E_RelationshipType relation, const md_concept &name,
                   const md_code &value);
    void code(DSRTypes::E_RelationshipType relation, const md_concept &name,
              const md_concept &value);
    void number(DSRTypes::E_RelationshipType relation, const md_concept &name, double value,
                unsigned decimals, const md_concept &unit);
    void no_number(const md_concept &name, const md_concept &qualifier);
    /* frame: 1-based, 0 for the whole object */
    void open_image(const md_concept *name, const md_instance_ref &instance, uint32_t frame);
    md_status finish(md_error *err);

  private:
    DSRCodedEntryValue entry_of(const md_code &c) const
    {
        return DSRCodedEntryValue(c.value, c.scheme,
                                  OFString(w_.clean(c.meaning, MD_TEXT_LINE, 64).c_str()),
                                  DSRTypes::CVT_auto, OFFalse);
    }
    void note(const OFCondition &outcome)
    {
        if (condition_.good() && outcome.bad()) {
            condition_ = outcome;
        }
    }
    DSRContentItem &here()
    {
        return tree_.getCurrentContentItem();
    }

    md_writing &w_;
    DSRDocumentTree tree_;
    OFCondition condition_ = EC_Normal;
    const char *failed_at_ = "";
};

void tree_writer::open(DSRTypes::E_RelationshipType relation, DSRTypes::E_ValueType type,
                       const md_concept &name, const char *template_id)
{
    if (condition_.bad()) {
        return;
    }
    failed_at_ = name.meaning;
    note(tree_.addChildContentItem(relation, type, entry(name), OFFalse));
    if (condition_.good() && template_id != nullptr) {
        note(here().setTemplateIdentification(template_id, "DCMR", DICOM_MAPPING_UID, OFFalse));
    }
}

void tree_writer::root()
{
    failed_at_ = IMAGING_MEASUREMENT_REPORT.meaning;
    note(tree_.addContentItem(DSRTypes::RT_isRoot, DSRTypes::VT_Container,
                              entry(IMAGING_MEASUREMENT_REPORT), OFFalse));
    if (condition_.good()) {
        note(here().setTemplateIdentification("1500", "DCMR", DICOM_MAPPING_UID, OFFalse));
    }
}

void tree_writer::text(DSRTypes::E_RelationshipType relation, const md_concept &name,
                       const std::string &value)
{
    std::string legal = w_.clean(value.c_str(), MD_TEXT_FREE, 4096);
    if (legal.empty()) {
        return;
    }
    open(relation, DSRTypes::VT_Text, name);
    if (condition_.good()) {
        note(here().setStringValue(legal.c_str(), OFFalse));
    }
    close();
}

void tree_writer::uid(DSRTypes::E_RelationshipType relation, const md_concept &name,
                      const std::string &value)
{
    open(relation, DSRTypes::VT_UIDRef, name);
    if (condition_.good()) {
        note(here().setStringValue(value.c_str()));
    }
    close();
}

void tree_writer::date(DSRTypes::E_RelationshipType relation, const md_concept &name,
                       const std::string &value)
{
    if (value.size() != 8 || value.find_first_not_of("0123456789") != std::string::npos) {
        return;
    }
    open(relation, DSRTypes::VT_Date, name);
    if (condition_.good()) {
        note(here().setStringValue(value.c_str(), OFFalse));
    }
    close();
}

void tree_writer::open_code(DSRTypes::E_RelationshipType relation, const md_concept &name,
                            const md_code &value)
{
    open(relation, DSRTypes::VT_Code, name);
    if (condition_.good()) {
        note(here().setCodeValue(entry_of(value), OFFalse));
    }
}

void tree_writer::code(DSRTypes::E_RelationshipType relation, const md_concept &name,
                       const md_concept &value)
{
    open(relation, DSRTypes::VT_Code, name);
    if (condition_.good()) {
        note(here().setCodeValue(entry(value), OFFalse));
    }
    close();
}

void tree_writer::number(DSRTypes::E_RelationshipType relation, const md_concept &name,
                         double value, unsigned decimals, const md_concept &unit)
{
    char text[17];
    md_text_decimal(value, decimals, text);
    open(relation, DSRTypes::VT_Num, name);
    if (condition_.good()) {
        DSRNumericMeasurementValue number(text, entry(unit), OFFalse);
        note(here().setNumericValue(number, OFFalse));
    }
    close();
}

void tree_writer::no_number(const md_concept &name, const md_concept &qualifier)
{
    open(DSRTypes::RT_contains, DSRTypes::VT_Num, name);
    if (condition_.good()) {
        DSRNumericMeasurementValue number(entry(qualifier), OFFalse);
        note(here().setNumericValue(number, OFFalse));
    }
    close();
}

void tree_writer::open_image(const md_concept *name, const md_instance_ref &instance,
                             uint32_t frame)
{
    if (condition_.bad()) {
        return;
    }
    failed_at_ = "Image";
    note(tree_.addChildContentItem(DSRTypes::RT_contains, DSRTypes::VT_Image,
                                   name != nullptr ? entry(*name) : DSRCodedEntryValue(),
                                   OFFalse));
    if (condition_.good()) {
        DSRImageReferenceValue value(instance.sop_class_uid, instance.sop_instance_uid,
                                     OFFalse);
        if (frame != 0) {
            value.getFrameList().addItem(static_cast<Sint32>(frame));
        }
        note(here().setImageReference(value, OFFalse));
    }
}

md_status tree_writer::finish(md_error *err)
{
    if (condition_.good()) {
        note(tree_.write(w_.dataset));
    }
    if (condition_.bad()) {
        md_status status = md_status_of_condition(condition_);
        return md_fail(err, status == MD_NOMEM ? MD_NOMEM : MD_INTERNAL,
                       "content item \"%s\" could not be written: %s", failed_at_,
                       condition_.text());
    }
    return MD_OK;
}

/* ------------------------------------------------------------------ what the report says */

static const md_concept *presence_concept(md_presence presence)
{
    switch (presence) {
    case MD_PRESENCE_ABSENT:
        return &ABSENT;
    case MD_PRESENCE_PRESENT:
        return &PRESENT;
    case MD_PRESENCE_UNDETERMINED:
    default:
        return &UNDETERMINED;
    }
}

static const md_concept *modality_concept(const std::string &modality)
{
    static const md_concept LIST[] = {
        {"CR", "DCM", "Computed Radiography"}, {"CT", "DCM", "Computed Tomography"},
        {"DX", "DCM", "Digital Radiography"},  {"IO", "DCM", "Intra-oral Radiography"},
        {"MG", "DCM", "Mammography"},          {"MR", "DCM", "Magnetic Resonance"},
        {"NM", "DCM", "Nuclear Medicine"},     {"PT", "DCM", "Positron emission tomography"},
        {"PX", "DCM", "Panoramic X-Ray"},      {"RF", "DCM", "Radiofluoroscopy"},
        {"US", "DCM", "Ultrasound"},           {"XA", "DCM", "X-Ray Angiography"},
    };
    for (const md_concept &c : LIST) {
        if (modality == c.value) {
            return &c;
        }
    }
    return nullptr;
}

static md_code code_of(const md_concept &c)
{
    md_code code = {};
    md_text_copy(code.value, sizeof code.value, 64, MD_TEXT_LINE, c.value);
    md_text_copy(code.scheme, sizeof code.scheme, 16, MD_TEXT_LINE, c.scheme);
    md_text_copy(code.meaning, sizeof code.meaning, 64, MD_TEXT_LINE, c.meaning);
    return code;
}

/* A code from a source may be anything: only one that is whole and legal is used. */
static bool usable(const md_code &code)
{
    for (const char *p = code.value; *p != '\0'; p++) {
        if (*p == '\\' || static_cast<unsigned char>(*p) >= 0x80) {
            return false;
        }
    }
    return code.value[0] != '\0' && code.scheme[0] != '\0' && code.meaning[0] != '\0' &&
           strlen(code.scheme) <= 16 && strchr(code.scheme, '\\') == nullptr;
}

bool md_requested_procedure(const md_dataset *source, md_code *ret_code)
{
    md_code code = {};
    if (md_dataset_get_code(source, MD_TAG(0x0032, 0x1064), &code) && usable(code)) {
        *ret_code = code;
        return true;
    }
    DcmItem *request = nullptr, *item = nullptr;
    DcmDataset *dataset = md_dataset_dcmtk(source);
    if (dataset->findAndGetSequenceItem(DCM_RequestAttributesSequence, request).bad() ||
        request->findAndGetSequenceItem(DCM_RequestedProcedureCodeSequence, item).bad()) {
        return false;
    }
    code = {};
    (void)md_item_get_text(item, DCM_CodeValue, 0, code.value, sizeof code.value);
    (void)md_item_get_text(item, DCM_CodingSchemeDesignator, 0, code.scheme,
                           sizeof code.scheme);
    (void)md_item_get_text(item, DCM_CodeMeaning, 0, code.meaning, sizeof code.meaning);
    if (!usable(code)) {
        return false;
    }
    *ret_code = code;
    return true;
}

md_code md_procedure_reported(const md_dataset *source)
{
    md_code code = {};
    if (md_dataset_get_code(source, MD_TAG(0x0008, 0x1032), &code) && usable(code)) {
        return code; /* Procedure Code Sequence: what was done */
    }
    if (md_requested_procedure(source, &code)) {
        return code;
    }
    std::string modality = md_source_text(source, DCM_Modality);
    std::string part = md_source_text(source, DCM_BodyPartExamined);
    for (char &c : part) {
        c = static_cast<char>(toupper(static_cast<unsigned char>(c)));
    }
    if ((modality == "DX" || modality == "CR") && (part == "CHEST" || part == "THORAX")) {
        return code_of({"399208008", "SCT", "Plain chest X-ray"});
    }
    return code_of({"363679005", "SCT", "Imaging procedure"});
}

std::vector<md_study_series> md_group_objects(const md_result *result,
                                              const md_dataset *const *sources)
{
    std::vector<bool> seen(result->n_instances, false);
    bool any = false;
    for (size_t i = 0; i < result->n_instances; i++) {
        seen[i] = result->instances[i].analysed;
        any = any || seen[i];
    }
    /* a risk is of the study as a whole */
    for (size_t i = 0; i < result->n_findings && result->kind != MD_RESULT_RISK; i++) {
        seen[result->findings[i].instance_index] = true;
        any = true;
    }
    std::vector<md_study_series> groups;
    std::map<std::string, size_t> group_of;
    std::map<std::string, std::pair<size_t, size_t>> object_of;
    for (size_t i = 0; i < result->n_instances; i++) {
        const md_instance_ref &instance = result->instances[i];
        bool referenced = seen[i] || !any;
        auto known = object_of.find(instance.sop_instance_uid);
        if (known != object_of.end()) {
            md_study_object &object = groups[known->second.first].objects[known->second.second];
            object.referenced = object.referenced || referenced;
            continue;
        }
        auto group = group_of.emplace(instance.series_instance_uid, groups.size());
        if (group.second) {
            groups.push_back({instance.series_instance_uid, {}});
        }
        std::vector<md_study_object> &objects = groups[group.first->second].objects;
        object_of.emplace(instance.sop_instance_uid,
                          std::make_pair(group.first->second, objects.size()));
        objects.push_back({&instance, sources[i], referenced});
    }
    return groups;
}

/* TID 1204, TID 1001 with 1002 and 1004, and row 4 of TID 1500. */
static void add_context(tree_writer &t, const md_writing &w, const md_dataset *source)
{
    const md_model_identity &m = w.result->model;
    t.code(DSRTypes::RT_hasConceptMod, LANGUAGE, ENGLISH_US);
    t.code(DSRTypes::RT_hasObsContext, OBSERVER_TYPE, DEVICE);
    t.uid(DSRTypes::RT_hasObsContext, DEVICE_UID, w.device_uid);
    t.text(DSRTypes::RT_hasObsContext, DEVICE_NAME, m.name[0] != '\0' ? m.name : m.id);
    t.text(DSRTypes::RT_hasObsContext, DEVICE_MANUFACTURER, m.manufacturer);
    t.text(DSRTypes::RT_hasObsContext, DEVICE_MODEL, m.id);
    t.text(DSRTypes::RT_hasObsContext, DEVICE_SERIAL, std::string(m.version) + "/" + m.sha256);
    t.open_code(DSRTypes::RT_hasConceptMod, PROCEDURE_REPORTED, md_procedure_reported(source));
    t.close();
}

/* TID 1600 with 1601 and 1602: a group for each series. */
static void add_image_library(tree_writer &t, const std::vector<md_study_series> &series)
{
    t.container(IMAGE_LIBRARY, "1600");
    for (const md_study_series &s : series) {
        bool opened = false;
        for (const md_study_object &object : s.objects) {
            if (!object.referenced) {
                continue;
            }
            if (!opened) {
                t.container(IMAGE_LIBRARY_GROUP);
                opened = true;
                const md_concept *modality =
                    modality_concept(md_source_text(object.source, DCM_Modality));
                if (modality != nullptr) {
                    t.code(DSRTypes::RT_hasAcqContext, MODALITY, *modality);
                }
                t.date(DSRTypes::RT_hasAcqContext, STUDY_DATE,
                       md_source_text(object.source, DCM_StudyDate));
            }
            t.open_image(nullptr, *object.instance, 0);
            int64_t rows = 0, columns = 0;
            if (object.source != nullptr &&
                md_dataset_get_int(object.source, MD_TAG(0x0028, 0x0010), 0, &rows) &&
                md_dataset_get_int(object.source, MD_TAG(0x0028, 0x0011), 0, &columns) &&
                rows > 0 && rows < 65536 && columns > 0 && columns < 65536) {
                t.number(DSRTypes::RT_hasAcqContext, PIXEL_DATA_ROWS, static_cast<double>(rows),
                         0, PIXELS);
                t.number(DSRTypes::RT_hasAcqContext, PIXEL_DATA_COLUMNS,
                         static_cast<double>(columns), 0, PIXELS);
            }
            t.close();
        }
        if (opened) {
            t.close();
        }
    }
    t.close();
}

/* TID 4019, and beside it all that explains the number. */
static void add_algorithm(tree_writer &t, const md_result *result, const md_finding *finding)
{
    const md_model_identity &m = result->model;
    const auto relation = DSRTypes::RT_hasConceptMod;
    t.text(relation, ALGORITHM_NAME, m.name[0] != '\0' ? m.name : m.id);
    t.text(relation, ALGORITHM_VERSION, m.version);
    t.text(relation, ALGORITHM_PARAMETERS, m.parameters);
    t.text(relation, ALGORITHM_PARAMETERS, std::string("model sha256 ") + m.sha256);
    if (finding != nullptr) {
        t.text(relation, ALGORITHM_PARAMETERS,
               finding->score_is_probability
                   ? "score: calibrated probability"
                   : "score: not calibrated, not a probability; 0 to 1");
        const md_steps &steps = result->instances[finding->instance_index].steps;
        for (unsigned i = 0; i < steps.n && i < MD_STEPS_MAX; i++) {
            t.text(relation, ALGORITHM_PARAMETERS, std::string("image: ") + steps.text[i]);
        }
    }
    t.text(relation, ALGORITHM_MANUFACTURER, m.manufacturer);
}

static void add_source(tree_writer &t, const md_instance_ref &instance,
                       const md_dataset *source)
{
    /* A frame number may only stand beside a multi-frame object (PS3.3 table 10-3). */
    bool multi_frame = source != nullptr && md_dataset_has(source, MD_TAG(0x0028, 0x0008));
    t.open_image(&SOURCE_OF_MEASUREMENT, instance, multi_frame ? instance.frame : 0);
    t.close();
}

static void add_score(tree_writer &t, const md_finding &f)
{
    if (f.score_is_probability) {
        t.number(DSRTypes::RT_contains, PROBABILITY, f.score * 100, 6, PERCENT);
        t.number(DSRTypes::RT_contains, THRESHOLD, f.threshold * 100, 6, PERCENT);
    } else {
        t.number(DSRTypes::RT_contains, SCORE, f.score, 6, NO_UNITS);
        t.number(DSRTypes::RT_contains, THRESHOLD, f.threshold, 6, NO_UNITS);
    }
}

/* What was read and which words counted, once for all findings of the text: "Words with the
 * largest share of the attention: "fever" 0.31, "effusion" (negated) 0.12". */
static void add_text_evidence(tree_writer &t, const md_text_evidence &e)
{
    for (unsigned i = 0; i < e.n_passages; i++) {
        t.text(DSRTypes::RT_contains, COMMENT, std::string("Read: ") + e.passages[i].source);
    }
    if (e.is_cut) {
        t.text(DSRTypes::RT_contains, COMMENT, "The text is longer than what was read.");
    }
    std::vector<const md_highlight *> words;
    for (unsigned i = 0; i < e.n_words; i++) {
        words.push_back(&e.words[i]);
    }
    std::stable_sort(
        words.begin(), words.end(),
        [](const md_highlight *a, const md_highlight *b) { return a->weight > b->weight; });
    std::string line;
    for (size_t i = 0; i < words.size() && i < MD_SR_MAX_WORDS; i++) {
        const md_highlight &word = *words[i];
        char weight[17];
        md_text_decimal(word.weight, 3, weight);
        line += line.empty() ? "Words with the largest share of the attention: " : ", ";
        line += "\"";
        line += std::string(e.text + word.range.first_byte, word.range.n_bytes);
        line += std::string(word.negated ? "\" (negated) " : "\" ") + weight;
    }
    t.text(DSRTypes::RT_contains, COMMENT, line);
}

static std::string number_text(double value)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%.6g", value);
    return text;
}

/* What the parts of the terms are, so that nobody takes them for parts of the value. */
static std::string heading_of(const md_risk_evidence &e)
{
    return e.is_additive ? "Contributions, before the model's link function, from " +
                               number_text(e.start) + " to " + number_text(e.sum) + ":"
                         : "What each input alone makes out; they do not add up:";
}

/* One line for each input, the largest part first; what was missing is named. */
static void add_risk_evidence(tree_writer &t, const md_risk_evidence &e)
{
    std::string line = "Value: " + number_text(e.value);
    line += e.unit[0] != '\0' ? std::string(" ") + e.unit : "";
    if (e.has_interval) {
        line += ", interval " + number_text(e.low) + " to " + number_text(e.high);
    }
    t.text(DSRTypes::RT_contains, COMMENT, line);
    std::vector<const md_risk_term *> terms;
    std::string missing;
    for (unsigned i = 0; i < e.n_terms; i++) {
        terms.push_back(&e.terms[i]);
        if (e.terms[i].state == MD_TERM_MISSING) {
            missing += (missing.empty() ? "Not known: " : ", ") + std::string(e.terms[i].name);
        }
    }
    std::stable_sort(terms.begin(), terms.end(),
                     [](const md_risk_term *a, const md_risk_term *b) {
                         return std::fabs(a->part) > std::fabs(b->part);
                     });
    if (!terms.empty()) {
        t.text(DSRTypes::RT_contains, COMMENT, heading_of(e));
    }
    for (size_t i = 0; i < terms.size() && i < MD_SR_MAX_TERMS; i++) {
        const md_risk_term &term = *terms[i];
        line = std::string("Contribution: ") + term.name;
        line += term.has_value ? " = " + number_text(term.value) : "";
        line += term.has_value && term.unit[0] != '\0' ? std::string(" ") + term.unit : "";
        line += term.state == MD_TERM_MISSING   ? " (assumed)"
                : term.state == MD_TERM_CLAMPED ? " (brought into the model's range)"
                                                : "";
        line += std::string(": ") + (term.part >= 0 ? "+" : "") + number_text(term.part);
        t.text(DSRTypes::RT_contains, COMMENT, line);
    }
    if (terms.size() > MD_SR_MAX_TERMS) {
        t.text(DSRTypes::RT_contains, COMMENT,
               std::to_string(terms.size() - MD_SR_MAX_TERMS) + " smaller ones are not shown");
    }
    t.text(DSRTypes::RT_contains, COMMENT, missing);
}

static void add_finding(tree_writer &t, const md_writing &w, size_t index,
                        const md_dataset *source)
{
    const md_result *result = w.result;
    const md_finding &f = result->findings[index];
    const md_instance_ref &instance = result->instances[f.instance_index];
    t.container(MEASUREMENT_GROUP, "1501");
    t.text(DSRTypes::RT_hasObsContext, TRACKING_ID, f.key);
    t.uid(DSRTypes::RT_hasObsContext, TRACKING_UID, md_tracking_uid(result, f.key, &instance));
    t.open_code(DSRTypes::RT_contains, FINDING, f.concept);
    t.close();
    /* Triage does not localise: a side would direct the reader's attention. */
    if (f.site.value[0] != '\0' && !w.options->triage_only) {
        t.open_code(DSRTypes::RT_hasConceptMod, FINDING_SITE, f.site);
        if (f.laterality.value[0] != '\0') {
            t.open_code(DSRTypes::RT_hasConceptMod, LATERALITY, f.laterality);
            t.close();
        }
        t.close();
    }
    add_algorithm(t, result, &f);
    if (result->kind == MD_RESULT_IMAGE) {
        add_source(t, instance, source);
    }
    add_score(t, f);
    t.code(DSRTypes::RT_contains, PRESENCE, *presence_concept(f.presence));
    if (f.urgent && f.presence == MD_PRESENCE_PRESENT) {
        t.code(DSRTypes::RT_contains, PRIORITY, URGENT);
    }
    t.close();
}

/* The group that says that, and why, something was not analysed. */
static void add_failure(tree_writer &t, const md_result *result,
                        const std::vector<md_study_series> &series)
{
    bool failed = result->status == MD_RESULT_FAILED;
    std::string reason = result->failure.value;
    bool not_attempted = reason == "110531" || reason == "110523";
    t.container(MEASUREMENT_GROUP, "1501");
    t.text(DSRTypes::RT_hasObsContext, TRACKING_ID, "analysis failure");
    t.uid(DSRTypes::RT_hasObsContext, TRACKING_UID,
          md_tracking_uid(result, "analysis failure", nullptr));
    add_algorithm(t, result, nullptr);
    for (const md_study_series &s : series) {
        for (const md_study_object &object : s.objects) {
            if (object.referenced && failed) {
                t.open_image(&SOURCE_OF_MEASUREMENT, *object.instance, 0);
                t.close();
            }
        }
    }
    t.no_number(PROBABILITY, not_attempted ? NOT_ATTEMPTED : MEASUREMENT_FAILURE);
    t.code(DSRTypes::RT_contains, PRESENCE, UNDETERMINED);
    t.code(DSRTypes::RT_contains, CAD_SUMMARY,
           failed                    ? NONE_SUCCEEDED
           : result->n_findings == 0 ? NOT_ALL_WITHOUT
                                     : NOT_ALL_WITH);
    t.open_code(DSRTypes::RT_contains, REASON_STOPPED, result->failure);
    t.close();
    t.text(DSRTypes::RT_contains, COMMENT,
           result->failure_text[0] != '\0' ? result->failure_text : result->failure.meaning);
    t.close();
}

static std::string sentence(const md_result *result, const md_finding &f)
{
    char score[MD_SCORE_BYTES], threshold[MD_SCORE_BYTES];
    md_text_score(f.score, f.threshold, f.score_is_probability, score, threshold);
    std::string line = std::string(f.concept.meaning) + ": " + md_presence_name(f.presence);
    line += f.score_is_probability ? " (probability " : " (uncalibrated score ";
    line += std::string(score) + ", threshold " + threshold + ")";
    if (result->n_instances > 1 && result->kind == MD_RESULT_IMAGE) {
        line += ", image " + std::to_string(f.instance_index + 1) + " of " +
                std::to_string(result->n_instances);
    }
    if (f.urgent && f.presence == MD_PRESENCE_PRESENT) {
        line += ", urgent";
    }
    return line + ".";
}

/* What the site proposes to do next: the coded action with its reason, and both in words. */
static void add_follow_up(tree_writer &t, const md_follow_up &follow_up)
{
    for (uint32_t i = 0; i < follow_up.n_proposals; i++) {
        const md_follow_up_proposal &p = follow_up.proposals[i];
        char text[1024];
        md_follow_up_sentence(&p, text, sizeof text);
        t.open_code(DSRTypes::RT_contains, RECOMMENDED_FOLLOW_UP, p.action);
        t.text(DSRTypes::RT_hasProperties, COMMENT,
               "Proposed by the record of similar patients, not an order; accepted for " +
                   std::to_string(p.n_accepted) + " of " + std::to_string(p.n_similar) + ".");
        t.close();
        t.text(DSRTypes::RT_contains, RECOMMENDATION, text);
    }
}

/* Rows 12 to 14: the same in words, for viewers that show nothing else. */
static void add_words(tree_writer &t, const md_writing &w)
{
    const md_result *result = w.result;
    t.container(QUALITATIVE);
    for (size_t i = 0; i < result->n_findings; i++) {
        t.text(DSRTypes::RT_contains, IMPRESSION, sentence(result, result->findings[i]));
    }
    if (result->status != MD_RESULT_COMPLETE) {
        t.text(DSRTypes::RT_contains, IMPRESSION,
               std::string(result->status == MD_RESULT_FAILED
                               ? "The analysis failed; nothing was found or excluded: "
                           : result->kind == MD_RESULT_IMAGE
                               ? "Some images were not analysed: "
                               : "Not everything of the study could be read: ") +
                   result->failure.meaning + ".");
    }
    if (result->text != nullptr) {
        add_text_evidence(t, *result->text);
    }
    if (result->risk != nullptr) {
        add_risk_evidence(t, *result->risk);
    }
    if (md_has_follow_up(w)) {
        add_follow_up(t, *w.options->follow_up);
    }
    const char *qualification = w.options->content_qualification;
    t.text(DSRTypes::RT_contains, COMMENT,
           w.options->triage_only
               ? "AI result, for prioritization only, not for diagnosis."
               : "AI result, not for diagnosis. It has not been verified by a physician.");
    t.text(DSRTypes::RT_contains, COMMENT,
           std::string("Content qualification: ") +
               (qualification != nullptr ? qualification : "RESEARCH"));
    if (result->model.intended_use[0] != '\0') {
        t.text(DSRTypes::RT_contains, COMMENT,
               std::string("Intended use: ") + result->model.intended_use);
    }
    t.close();
}

md_status md_write_tree(md_writing &w, const md_dataset *const *sources,
                        const std::vector<md_study_series> &series, md_error *err)
{
    tree_writer t(w);
    t.root();
    add_context(t, w, sources[0]);
    add_image_library(t, series);
    t.container(IMAGING_MEASUREMENTS);
    for (size_t i = 0; i < w.result->n_findings; i++) {
        add_finding(t, w, i, sources[w.result->findings[i].instance_index]);
    }
    if (w.result->status != MD_RESULT_COMPLETE) {
        add_failure(t, w.result, series);
    }
    t.close();
    add_words(t, w);
    return t.finish(err);
}
