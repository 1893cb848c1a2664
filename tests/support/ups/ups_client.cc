/* A client of the UPS service on DCMTK's DIMSE layer, and a watcher that takes event reports:
 * nothing of medaid is in it, so that both ends are not wrong in the same way. Each call is one
 * association; the answer is one line of JSON.
 *
 *   ups-client PORT OWN_AE create UID FILE     (UID "-": none)
 *   ups-client PORT OWN_AE set UID FILE
 *   ups-client PORT OWN_AE get UID OUT [TAG...]
 *   ups-client PORT OWN_AE action CLASS UID TYPE FILE   (CLASS: push, pull, watch)
 *   ups-client PORT OWN_AE find CLASS FILE OUT_PREFIX LIMIT   (LIMIT 0: all, else C-CANCEL)
 *   ups-client PORT OWN_AE listen OUT_PREFIX   (until killed; a line for each event report)
 *   ups-client PORT OWN_AE manage OUT_PREFIX   (takes N-CREATE and N-SET; a line for each) */

#include "dcmtk/config/osconfig.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wcast-qual"
#include "dcmtk/dcmdata/dctk.h"
#include "dcmtk/dcmnet/dimse.h"
#include "dcmtk/dcmnet/diutil.h"
#pragma GCC diagnostic pop

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

/* One association and then the end: what it holds goes with the process, so a sanitized build
 * does not look for leaks (sanitizer/lsan_interface.h). */
extern "C" __attribute__((visibility("default"))) int __lsan_is_turned_off(void);
extern "C" int __lsan_is_turned_off(void)
{
    return 1;
}

namespace
{

const char *const push_class = "1.2.840.10008.5.1.4.34.6.1";
const char *const watch_class = "1.2.840.10008.5.1.4.34.6.2";
const char *const pull_class = "1.2.840.10008.5.1.4.34.6.3";
const char *const event_class = "1.2.840.10008.5.1.4.34.6.4";

[[noreturn]] void die(const char *what, const OFCondition &condition)
{
    fprintf(stderr, "%s: %s\n", what, condition.text());
    exit(1);
}

void must(const OFCondition &condition, const char *what)
{
    if (condition.bad()) {
        die(what, condition);
    }
}

const char *class_of(const std::string &name)
{
    return name == "pull" ? pull_class : name == "watch" ? watch_class : push_class;
}

/* An association with the three classes. */
T_ASC_Association *open_association(const char *port, const char *own_ae)
{
    T_ASC_Network *network = nullptr;
    T_ASC_Parameters *parameters = nullptr;
    T_ASC_Association *association = nullptr;
    must(ASC_initializeNetwork(NET_REQUESTOR, 0, 60, &network), "network");
    must(ASC_createAssociationParameters(&parameters, ASC_DEFAULTMAXPDU), "parameters");
    ASC_setAPTitles(parameters, own_ae, "MEDAID", nullptr);
    const std::string peer = std::string("127.0.0.1:") + port;
    ASC_setPresentationAddresses(parameters, "localhost", peer.c_str());
    const char *syntaxes[] = {UID_LittleEndianExplicitTransferSyntax,
                              UID_LittleEndianImplicitTransferSyntax};
    T_ASC_PresentationContextID id = 1;
    for (const char *uid : {push_class, watch_class, pull_class}) {
        must(ASC_addPresentationContext(parameters, id, uid, syntaxes, 2), "context");
        id = static_cast<T_ASC_PresentationContextID>(id + 2);
    }
    must(ASC_requestAssociation(network, parameters, &association), "association");
    return association;
}

T_ASC_PresentationContextID context_of(T_ASC_Association *association, const char *class_uid)
{
    const T_ASC_PresentationContextID id =
        ASC_findAcceptedPresentationContextID(association, class_uid);
    if (id == 0) {
        fprintf(stderr, "%s is not accepted\n", class_uid);
        exit(1);
    }
    return id;
}

void copy_uid(char *to, const char *from)
{
    snprintf(to, DIC_UI_LEN + 1, "%s", from);
}

/* Send a request; read its response and, if it has one, the dataset. */
std::unique_ptr<DcmDataset> exchange(T_ASC_Association *association, const char *class_uid,
                                     T_DIMSE_Message &request, DcmDataset *dataset,
                                     T_DIMSE_Message *ret_response)
{
    T_ASC_PresentationContextID id = context_of(association, class_uid);
    must(DIMSE_sendMessageUsingMemoryData(association, id, &request, nullptr, dataset, nullptr,
                                          nullptr),
         "send");
    DcmDataset *detail = nullptr;
    must(DIMSE_receiveCommand(association, DIMSE_NONBLOCKING, 60, &id, ret_response, &detail),
         "receive");
    delete detail;
    T_DIMSE_DataSetType type = DIMSE_DATASET_NULL;
    switch (static_cast<int>(ret_response->CommandField)) {
    case DIMSE_N_GET_RSP:
        type = ret_response->msg.NGetRSP.DataSetType;
        break;
    case DIMSE_N_SET_RSP:
        type = ret_response->msg.NSetRSP.DataSetType;
        break;
    case DIMSE_N_ACTION_RSP:
        type = ret_response->msg.NActionRSP.DataSetType;
        break;
    case DIMSE_N_CREATE_RSP:
        type = ret_response->msg.NCreateRSP.DataSetType;
        break;
    default:
        fprintf(stderr, "a response 0x%04x\n",
                static_cast<unsigned>(ret_response->CommandField));
        exit(1);
    }
    if (type == DIMSE_DATASET_NULL) {
        return nullptr;
    }
    DcmDataset *answer = nullptr;
    must(DIMSE_receiveDataSetInMemory(association, DIMSE_NONBLOCKING, 60, &id, &answer, nullptr,
                                      nullptr),
         "receive the dataset");
    return std::unique_ptr<DcmDataset>(answer);
}

std::unique_ptr<DcmFileFormat> load(const char *path)
{
    auto file = std::make_unique<DcmFileFormat>();
    must(file->loadFile(path), path);
    file->loadAllDataIntoMemory();
    return file;
}

/* A bare dataset: an event report has no SOP class that a file would need. */
void save(DcmDataset *dataset, const std::string &path)
{
    must(dataset->saveFile(path.c_str(), EXS_LittleEndianImplicit), path.c_str());
}

void done(T_ASC_Association *association, unsigned status, const char *uid)
{
    printf("{\"status\": %u, \"uid\": \"%s\"}\n", status, uid);
    (void)ASC_releaseAssociation(association);
}

void do_create(T_ASC_Association *association, const char *uid, const char *path)
{
    T_DIMSE_Message request{}, response{};
    auto file = load(path);
    request.CommandField = DIMSE_N_CREATE_RQ;
    T_DIMSE_N_CreateRQ &rq = request.msg.NCreateRQ;
    rq.MessageID = association->nextMsgID++;
    copy_uid(rq.AffectedSOPClassUID, push_class);
    rq.DataSetType = DIMSE_DATASET_PRESENT;
    if (strcmp(uid, "-") != 0) {
        copy_uid(rq.AffectedSOPInstanceUID, uid);
        rq.opts = O_NCREATE_AFFECTEDSOPINSTANCEUID;
    }
    (void)exchange(association, push_class, request, file->getDataset(), &response);
    done(association, response.msg.NCreateRSP.DimseStatus,
         response.msg.NCreateRSP.AffectedSOPInstanceUID);
}

void do_set(T_ASC_Association *association, const char *uid, const char *path)
{
    T_DIMSE_Message request{}, response{};
    auto file = load(path);
    request.CommandField = DIMSE_N_SET_RQ;
    T_DIMSE_N_SetRQ &rq = request.msg.NSetRQ;
    rq.MessageID = association->nextMsgID++;
    copy_uid(rq.RequestedSOPClassUID, push_class);
    copy_uid(rq.RequestedSOPInstanceUID, uid);
    rq.DataSetType = DIMSE_DATASET_PRESENT;
    (void)exchange(association, pull_class, request, file->getDataset(), &response);
    done(association, response.msg.NSetRSP.DimseStatus,
         response.msg.NSetRSP.AffectedSOPInstanceUID);
}

void do_get(T_ASC_Association *association, const char *uid, const char *out,
            const std::vector<unsigned long> &tags)
{
    T_DIMSE_Message request{}, response{};
    std::vector<DIC_US> list;
    for (const unsigned long tag : tags) {
        list.push_back(static_cast<DIC_US>(tag >> 16));
        list.push_back(static_cast<DIC_US>(tag & 0xffff));
    }
    request.CommandField = DIMSE_N_GET_RQ;
    T_DIMSE_N_GetRQ &rq = request.msg.NGetRQ;
    rq.MessageID = association->nextMsgID++;
    copy_uid(rq.RequestedSOPClassUID, push_class);
    copy_uid(rq.RequestedSOPInstanceUID, uid);
    rq.DataSetType = DIMSE_DATASET_NULL;
    rq.ListCount = static_cast<int>(list.size());
    rq.AttributeIdentifierList = list.empty() ? nullptr : list.data();
    auto answer = exchange(association, pull_class, request, nullptr, &response);
    if (answer != nullptr) {
        save(answer.get(), out);
    }
    done(association, response.msg.NGetRSP.DimseStatus,
         response.msg.NGetRSP.AffectedSOPInstanceUID);
}

void do_action(T_ASC_Association *association, const char *class_uid, const char *uid,
               unsigned type, const char *path)
{
    T_DIMSE_Message request{}, response{};
    auto file = load(path);
    request.CommandField = DIMSE_N_ACTION_RQ;
    T_DIMSE_N_ActionRQ &rq = request.msg.NActionRQ;
    rq.MessageID = association->nextMsgID++;
    copy_uid(rq.RequestedSOPClassUID, push_class);
    copy_uid(rq.RequestedSOPInstanceUID, uid);
    rq.ActionTypeID = static_cast<DIC_US>(type);
    rq.DataSetType = DIMSE_DATASET_PRESENT;
    (void)exchange(association, class_uid, request, file->getDataset(), &response);
    done(association, response.msg.NActionRSP.DimseStatus,
         response.msg.NActionRSP.AffectedSOPInstanceUID);
}

struct Found {
    T_ASC_Association *association;
    std::string prefix;
    int limit, n;
    T_ASC_PresentationContextID id;
};

void on_found(void *context, T_DIMSE_C_FindRQ *request, int count, T_DIMSE_C_FindRSP *response,
              DcmDataset *identifiers)
{
    Found *found = static_cast<Found *>(context);
    (void)response;
    found->n = count;
    char name[32];
    snprintf(name, sizeof name, "%06d.dcm", count - 1);
    if (found->limit == 0 || count <= found->limit) {
        save(identifiers, found->prefix + name);
    }
    if (count == found->limit) {
        must(DIMSE_sendCancelRequest(found->association, found->id, request->MessageID),
             "cancel");
    }
}

void do_find(T_ASC_Association *association, const char *class_uid, const char *path,
             const char *prefix, int limit)
{
    auto file = load(path);
    T_DIMSE_C_FindRQ request{};
    T_DIMSE_C_FindRSP response{};
    DcmDataset *detail = nullptr;
    int n = 0;
    Found found{association, prefix, limit, 0, context_of(association, class_uid)};
    request.MessageID = association->nextMsgID++;
    request.DataSetType = DIMSE_DATASET_PRESENT;
    copy_uid(request.AffectedSOPClassUID, class_uid);
    must(DIMSE_findUser(association, found.id, &request, file->getDataset(), n, on_found,
                        &found, DIMSE_NONBLOCKING, 60, &response, &detail),
         "find");
    delete detail;
    printf("{\"status\": %u, \"n\": %d}\n", static_cast<unsigned>(response.DimseStatus),
           found.n);
    (void)ASC_releaseAssociation(association);
}

/* ---- the other side: reports and N-CREATE come in ---- */

/* Answer one request; the dataset is kept as a file and told in one line. */
void answer(T_ASC_Association *association, T_ASC_PresentationContextID id,
            T_DIMSE_Message &message, const std::string &path)
{
    T_DIMSE_Message response{};
    DcmDataset *dataset = nullptr;
    const char *name = "", *uid = "";
    unsigned type = 0;
    must(DIMSE_receiveDataSetInMemory(association, DIMSE_NONBLOCKING, 60, &id, &dataset,
                                      nullptr, nullptr),
         "receive the dataset");
    std::unique_ptr<DcmDataset> owned(dataset);
    save(dataset, path);
    if (message.CommandField == DIMSE_N_EVENT_REPORT_RQ) {
        const T_DIMSE_N_EventReportRQ &rq = message.msg.NEventReportRQ;
        T_DIMSE_N_EventReportRSP &rsp = response.msg.NEventReportRSP;
        response.CommandField = DIMSE_N_EVENT_REPORT_RSP;
        rsp.MessageIDBeingRespondedTo = rq.MessageID;
        rsp.DataSetType = DIMSE_DATASET_NULL;
        name = "event";
        uid = rq.AffectedSOPInstanceUID;
        type = rq.EventTypeID;
    } else if (message.CommandField == DIMSE_N_CREATE_RQ) {
        const T_DIMSE_N_CreateRQ &rq = message.msg.NCreateRQ;
        T_DIMSE_N_CreateRSP &rsp = response.msg.NCreateRSP;
        response.CommandField = DIMSE_N_CREATE_RSP;
        rsp.MessageIDBeingRespondedTo = rq.MessageID;
        rsp.DataSetType = DIMSE_DATASET_NULL;
        name = "create";
        uid = rq.AffectedSOPInstanceUID;
    } else {
        const T_DIMSE_N_SetRQ &rq = message.msg.NSetRQ;
        T_DIMSE_N_SetRSP &rsp = response.msg.NSetRSP;
        response.CommandField = DIMSE_N_SET_RSP;
        rsp.MessageIDBeingRespondedTo = rq.MessageID;
        rsp.DataSetType = DIMSE_DATASET_NULL;
        name = "set";
        uid = rq.RequestedSOPInstanceUID;
    }
    printf("{\"what\": \"%s\", \"uid\": \"%s\", \"type\": %u, \"file\": \"%s\"}\n", name, uid,
           type, path.c_str());
    fflush(stdout);
    must(DIMSE_sendMessageUsingMemoryData(association, id, &response, nullptr, nullptr, nullptr,
                                          nullptr),
         "answer");
}

void serve(T_ASC_Network *network, bool is_manager, const std::string &prefix, unsigned *n)
{
    T_ASC_Association *association = nullptr;
    must(ASC_receiveAssociation(network, &association, ASC_DEFAULTMAXPDU), "association");
    const char *syntaxes[] = {UID_LittleEndianImplicitTransferSyntax};
    if (is_manager) {
        const char *classes[] = {push_class, pull_class};
        must(ASC_acceptContextsWithPreferredTransferSyntaxes(association->params, classes, 2,
                                                             syntaxes, 1),
             "contexts");
    } else {
        /* the one who calls is the SCP */
        const char *classes[] = {event_class};
        must(ASC_acceptContextsWithPreferredTransferSyntaxes(association->params, classes, 1,
                                                             syntaxes, 1, ASC_SC_ROLE_SCP),
             "contexts");
    }
    must(ASC_acknowledgeAssociation(association), "acknowledge");
    for (;;) {
        T_ASC_PresentationContextID id = 0;
        T_DIMSE_Message message{};
        DcmDataset *detail = nullptr;
        const OFCondition condition =
            DIMSE_receiveCommand(association, DIMSE_NONBLOCKING, 600, &id, &message, &detail);
        delete detail;
        if (condition.bad()) {
            if (condition == DUL_PEERREQUESTEDRELEASE) {
                (void)ASC_acknowledgeRelease(association);
            }
            break;
        }
        char name[32];
        snprintf(name, sizeof name, "%06u.dcm", (*n)++);
        answer(association, id, message, prefix + name);
    }
    (void)ASC_dropAssociation(association);
    (void)ASC_destroyAssociation(&association);
}

} // namespace

int main(int n, char **words)
{
    OFLog::configure(OFLogger::ERROR_LOG_LEVEL);
    if (n < 5) {
        fprintf(stderr, "usage: see the source\n");
        return 2;
    }
    const std::string what = words[3];
    if (what == "listen" || what == "manage") {
        T_ASC_Network *network = nullptr;
        unsigned count = 0;
        must(ASC_initializeNetwork(NET_ACCEPTOR, atoi(words[1]), 60, &network), "network");
        printf("{\"what\": \"listening\"}\n");
        fflush(stdout);
        for (;;) {
            serve(network, what == "manage", words[4], &count);
        }
    }
    T_ASC_Association *association = open_association(words[1], words[2]);
    if (what == "create" && n == 6) {
        do_create(association, words[4], words[5]);
    } else if (what == "set" && n == 6) {
        do_set(association, words[4], words[5]);
    } else if (what == "get" && n >= 6) {
        std::vector<unsigned long> tags;
        for (int i = 6; i < n; i++) {
            tags.push_back(strtoul(words[i], nullptr, 16));
        }
        do_get(association, words[4], words[5], tags);
    } else if (what == "action" && n == 8) {
        do_action(association, class_of(words[4]), words[5],
                  static_cast<unsigned>(atoi(words[6])), words[7]);
    } else if (what == "find" && n == 8) {
        do_find(association, class_of(words[4]), words[5], words[6], atoi(words[7]));
    } else {
        fprintf(stderr, "usage: see the source\n");
        return 2;
    }
    return 0;
}
