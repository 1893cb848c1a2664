#include "dicom/network/dimse.h"
#include "dicom/network/ups/workitem_internal.h"

#include <cstdio>
#include <cstring>

namespace
{

constexpr uint32_t tag_progress = MD_TAG(0x0074, 0x1002);
constexpr uint32_t tag_performed = MD_TAG(0x0074, 0x1216);
constexpr uint32_t tag_canceled_at = MD_TAG(0x0040, 0x4052);
constexpr uint32_t tag_reason = MD_TAG(0x0074, 0x1238);
constexpr uint32_t tag_reason_codes = MD_TAG(0x0074, 0x100e);

/* What N-CREATE must bring, PS3.4 table CC.2.5-3: type 1 has a value, type 2 may be empty. */
const struct {
    uint32_t tag;
    int type;
} creation[] = {
    {MD_UPS_TAG_TRANSACTION, 2}, {MD_TAG(0x0008, 0x1080), 2}, {MD_TAG(0x0008, 0x1084), 2},
    {MD_TAG(0x0010, 0x0010), 2}, {MD_TAG(0x0010, 0x0030), 2}, {MD_TAG(0x0010, 0x0040), 2},
    {MD_TAG(0x0010, 0x1002), 2}, {MD_TAG(0x0038, 0x0010), 2}, {MD_TAG(0x0038, 0x0014), 2},
    {MD_TAG(0x0040, 0x0400), 2}, {MD_UPS_TAG_START, 1},       {MD_TAG(0x0040, 0x4018), 2},
    {MD_TAG(0x0040, 0x4021), 2}, {MD_TAG(0x0040, 0x4025), 2}, {MD_TAG(0x0040, 0x4026), 2},
    {MD_TAG(0x0040, 0x4027), 2}, {MD_UPS_TAG_READINESS, 1},   {MD_TAG(0x0040, 0xa370), 2},
    {MD_UPS_TAG_STATE, 1},       {tag_progress, 2},           {MD_UPS_TAG_PRIORITY, 1},
    {MD_UPS_TAG_WORKLIST, 2},    {MD_UPS_TAG_LABEL, 1},       {MD_TAG(0x0074, 0x1210), 2},
    {tag_performed, 2},
};

/* Must be empty at creation: the performer's. */
const uint32_t performers[] = {MD_UPS_TAG_TRANSACTION, tag_progress, tag_performed};

/* What N-SET may not touch. */
const uint32_t fixed[] = {
    MD_UPS_TAG_SOP_CLASS,   MD_UPS_TAG_SOP_INSTANCE, MD_TAG(0x0008, 0x1080),
    MD_TAG(0x0008, 0x1084), MD_TAG(0x0010, 0x0010),  MD_TAG(0x0010, 0x0020),
    MD_TAG(0x0010, 0x0030), MD_TAG(0x0010, 0x0040),  MD_TAG(0x0010, 0x1002),
    MD_TAG(0x0038, 0x0010), MD_TAG(0x0038, 0x0014),  MD_TAG(0x0040, 0xa370),
    MD_UPS_TAG_STATE,       MD_TAG(0x0074, 0x1224),
};

uint16_t refuse(char *ret_comment, uint16_t status, uint32_t tag, const char *what)
{
    snprintf(ret_comment, MD_WORKITEM_COMMENT_BYTES, "(%04X,%04X) %s",
             static_cast<unsigned>(tag >> 16), static_cast<unsigned>(tag & 0xffff), what);
    return status;
}

bool is_one_of(const std::string &value, std::initializer_list<const char *> words)
{
    for (const char *word : words) {
        if (value == word) {
            return true;
        }
    }
    return false;
}

/* The attributes whose values are enumerated or that medaid orders by. */
uint16_t check_values(DcmItem *item, char *ret_comment)
{
    const std::string priority = md_ups_text(item, MD_UPS_TAG_PRIORITY);
    const std::string readiness = md_ups_text(item, MD_UPS_TAG_READINESS);
    const std::string start = md_ups_text(item, MD_UPS_TAG_START);
    int64_t start_ms = 0;
    if (!priority.empty() && !is_one_of(priority, {"HIGH", "MEDIUM", "LOW"})) {
        return refuse(ret_comment, MD_DIMSE_INVALID_ATTRIBUTE_VALUE, MD_UPS_TAG_PRIORITY,
                      "is not HIGH, MEDIUM or LOW");
    }
    if (!readiness.empty() && !is_one_of(readiness, {"INCOMPLETE", "UNAVAILABLE", "READY"})) {
        return refuse(ret_comment, MD_DIMSE_INVALID_ATTRIBUTE_VALUE, MD_UPS_TAG_READINESS,
                      "is not INCOMPLETE, UNAVAILABLE or READY");
    }
    if (!start.empty() && !md_workitem_parse_datetime(start.c_str(), &start_ms)) {
        return refuse(ret_comment, MD_DIMSE_INVALID_ATTRIBUTE_VALUE, MD_UPS_TAG_START,
                      "is no date and time");
    }
    return MD_DIMSE_SUCCESS;
}

uint16_t check_creation(DcmItem *item, char *ret_comment)
{
    for (const auto &rule : creation) {
        if (item->tagExists(md_ups_key(rule.tag)) == OFFalse) {
            return refuse(ret_comment, MD_DIMSE_MISSING_ATTRIBUTE, rule.tag, "is missing");
        }
        if (rule.type == 1 && !md_ups_has_value(item, rule.tag)) {
            return refuse(ret_comment, MD_DIMSE_MISSING_VALUE, rule.tag, "is empty");
        }
    }
    if (md_ups_text(item, MD_UPS_TAG_STATE) != "SCHEDULED") {
        return refuse(ret_comment, MD_UPS_NOT_SCHEDULED, MD_UPS_TAG_STATE, "is not SCHEDULED");
    }
    for (const uint32_t tag : performers) {
        if (md_ups_has_value(item, tag)) {
            return refuse(ret_comment, MD_DIMSE_INVALID_ATTRIBUTE_VALUE, tag, "is not empty");
        }
    }
    return check_values(item, ret_comment);
}

void put_now(DcmItem *item, uint32_t tag, int64_t now_ms)
{
    char text[MD_WORKITEM_DATETIME_BYTES];
    md_workitem_datetime(now_ms, text);
    md_ups_put(item, tag, text);
}

void put_code(DcmItem *item, uint32_t sequence, const char *value, const char *scheme,
              const char *meaning)
{
    DcmItem *code = md_ups_need_item(item, sequence);
    md_ups_put(code, MD_TAG(0x0008, 0x0100), value);
    md_ups_put(code, MD_TAG(0x0008, 0x0102), scheme);
    md_ups_put(code, MD_TAG(0x0008, 0x0104), meaning);
}

md_status check_new(md_dataset *item, const char *worklist_label, int64_t now_ms,
                    uint16_t *ret_status, char *ret_comment)
{
    DcmDataset *dataset = md_dataset_dcmtk(item);
    ret_comment[0] = '\0';
    *ret_status = check_creation(dataset, ret_comment);
    if (*ret_status != MD_DIMSE_SUCCESS) {
        return MD_OK;
    }
    (void)dataset->findAndDeleteElement(md_ups_key(MD_UPS_TAG_TRANSACTION));
    put_now(dataset, MD_UPS_TAG_MODIFIED, now_ms);
    if (!md_ups_has_value(dataset, MD_UPS_TAG_WORKLIST)) {
        md_ups_put(dataset, MD_UPS_TAG_WORKLIST, worklist_label);
        *ret_status = MD_UPS_CREATED_MODIFIED;
        snprintf(ret_comment, MD_WORKITEM_COMMENT_BYTES, "(0074,1202) was set");
    }
    return MD_OK;
}

/* Type 1 in the table: a change may not take the value away. */
const uint32_t needed[] = {MD_UPS_TAG_PRIORITY, MD_UPS_TAG_LABEL, MD_UPS_TAG_START,
                           MD_UPS_TAG_READINESS, MD_UPS_TAG_WORKLIST};

uint16_t check_change(DcmItem *changes, char *ret_comment)
{
    for (const uint32_t tag : fixed) {
        if (changes->tagExists(md_ups_key(tag)) != OFFalse) {
            return refuse(ret_comment, MD_DIMSE_INVALID_ATTRIBUTE_VALUE, tag,
                          "cannot be changed by N-SET");
        }
    }
    for (const uint32_t tag : needed) {
        if (changes->tagExists(md_ups_key(tag)) != OFFalse && !md_ups_has_value(changes, tag)) {
            return refuse(ret_comment, MD_DIMSE_MISSING_VALUE, tag, "is empty");
        }
    }
    return check_values(changes, ret_comment);
}

md_status apply(md_dataset *item, const md_dataset *changes, int64_t now_ms,
                uint16_t *ret_status, unsigned *ret_events, char *ret_comment)
{
    DcmDataset *to = md_dataset_dcmtk(item), *from = md_dataset_dcmtk(changes);
    ret_comment[0] = '\0';
    *ret_events = 0;
    *ret_status = check_change(from, ret_comment);
    if (*ret_status != MD_DIMSE_SUCCESS) {
        return MD_OK;
    }
    const std::string readiness = md_ups_text(from, MD_UPS_TAG_READINESS);
    if (!readiness.empty() && readiness != md_ups_text(to, MD_UPS_TAG_READINESS)) {
        *ret_events |= 1U << MD_UPS_EVENT_STATE;
    }
    for (unsigned long i = 0; i < from->card(); i++) {
        const uint32_t tag = md_ups_tag_of(from->getElement(i));
        if (tag == MD_UPS_TAG_TRANSACTION) {
            continue;
        }
        if (tag == tag_progress) {
            *ret_events |= 1U << MD_UPS_EVENT_PROGRESS;
        } else if (tag == MD_TAG(0x0040, 0x4025) || tag == MD_TAG(0x0040, 0x4034)) {
            *ret_events |= 1U << MD_UPS_EVENT_ASSIGNED;
        }
        md_ups_copy(from, to, tag);
    }
    put_now(to, MD_UPS_TAG_MODIFIED, now_ms);
    return MD_OK;
}

/* Of the performed procedure of a completed item. An Output Information Sequence without items
 * is fine: a reading's report may go another way. */
const struct {
    uint32_t tag;
    bool may_be_empty;
} performed[] = {
    {MD_TAG(0x0040, 0x4019), false}, {MD_TAG(0x0040, 0x4028), false},
    {MD_TAG(0x0040, 0x4033), true},  {MD_TAG(0x0040, 0x4050), false},
    {MD_TAG(0x0040, 0x4051), false},
};

bool is_final(DcmItem *item, md_ups_state final, char *ret_comment)
{
    ret_comment[0] = '\0';
    if (final == MD_UPS_COMPLETED) {
        DcmItem *procedure = md_ups_first_item(item, tag_performed);
        for (const auto &rule : performed) {
            const bool is_there =
                procedure != nullptr &&
                (rule.may_be_empty ? procedure->tagExists(md_ups_key(rule.tag)) != OFFalse
                                   : md_ups_has_value(procedure, rule.tag));
            if (!is_there) {
                (void)refuse(ret_comment, 0, rule.tag, "is missing in (0074,1216)");
                return false;
            }
        }
        return true;
    }
    DcmItem *progress = md_ups_first_item(item, tag_progress);
    for (const uint32_t tag : {tag_canceled_at, tag_reason_codes}) {
        if (!md_ups_has_value(progress, tag)) {
            (void)refuse(ret_comment, 0, tag, "is missing in (0074,1002)");
            return false;
        }
    }
    return true;
}

md_status fill_canceled(md_dataset *item, const md_dataset *request, int64_t now_ms)
{
    DcmItem *progress = md_ups_need_item(md_dataset_dcmtk(item), tag_progress);
    DcmItem *asked = request != nullptr ? md_dataset_dcmtk(request) : nullptr;
    if (md_ups_has_value(asked, tag_reason)) {
        md_ups_copy(asked, progress, tag_reason);
    }
    if (md_ups_has_value(asked, tag_reason_codes)) {
        md_ups_copy(asked, progress, tag_reason_codes);
    }
    if (!md_ups_has_value(progress, tag_canceled_at)) {
        put_now(progress, tag_canceled_at, now_ms);
    }
    if (!md_ups_has_value(progress, tag_reason_codes)) {
        /* CID 9301 */
        put_code(progress, tag_reason_codes, "110513", "DCM",
                 "Discontinued for unspecified reason");
    }
    return MD_OK;
}

md_status fill_completed(md_dataset *item, const char *station, int64_t now_ms)
{
    DcmItem *procedure = md_ups_need_item(md_dataset_dcmtk(item), tag_performed);
    if (!md_ups_has_value(procedure, MD_TAG(0x0040, 0x4019))) {
        put_code(procedure, MD_TAG(0x0040, 0x4019), "110005", "DCM", "Interpretation");
    }
    if (!md_ups_has_value(procedure, MD_TAG(0x0040, 0x4028))) {
        put_code(procedure, MD_TAG(0x0040, 0x4028), station, "99MEDAID", "worklist of medaid");
    }
    if (procedure->tagExists(md_ups_key(MD_TAG(0x0040, 0x4033))) == OFFalse &&
        procedure->insertEmptyElement(DcmTag(md_ups_key(MD_TAG(0x0040, 0x4033)))).bad()) {
        throw std::bad_alloc();
    }
    for (const uint32_t tag : {MD_TAG(0x0040, 0x4050), MD_TAG(0x0040, 0x4051)}) {
        if (!md_ups_has_value(procedure, tag)) {
            put_now(procedure, tag, now_ms);
        }
    }
    return MD_OK;
}

} // namespace

md_status md_workitem_fill_completed(md_dataset *item, const char *station, int64_t now_ms,
                                     md_error *err) noexcept
{
    return md_guard(err, __func__, [&] { return fill_completed(item, station, now_ms); });
}

md_status md_workitem_check_new(md_dataset *item, const char *worklist_label, int64_t now_ms,
                                uint16_t *ret_status,
                                char ret_comment[MD_WORKITEM_COMMENT_BYTES],
                                md_error *err) noexcept
{
    return md_guard(err, __func__, [&] {
        return check_new(item, worklist_label, now_ms, ret_status, ret_comment);
    });
}

md_status md_workitem_apply(md_dataset *item, const md_dataset *changes, int64_t now_ms,
                            uint16_t *ret_status, unsigned *ret_events,
                            char ret_comment[MD_WORKITEM_COMMENT_BYTES], md_error *err) noexcept
{
    return md_guard(err, __func__, [&] {
        return apply(item, changes, now_ms, ret_status, ret_events, ret_comment);
    });
}

bool md_workitem_is_final(const md_dataset *item, md_ups_state final,
                          char ret_comment[MD_WORKITEM_COMMENT_BYTES]) noexcept
{
    return md_guard_bool([&] { return is_final(md_dataset_dcmtk(item), final, ret_comment); });
}

md_status md_workitem_fill_canceled(md_dataset *item, const md_dataset *request, int64_t now_ms,
                                    md_error *err) noexcept
{
    return md_guard(err, __func__, [&] { return fill_canceled(item, request, now_ms); });
}
