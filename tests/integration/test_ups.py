#!/usr/bin/python3
"""The reading worklist by UPS, as IHE's AI Workflow for Imaging plays it (pull: RAD-80 to RAD-88), with
a client, a watcher and a second manager on DCMTK's DIMSE layer and datasets of pydicom: nothing of
medaid's own network code is on their side."""
import datetime
import json
import pathlib
import re
import shutil
import sys

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import hospital  # noqa: E402

CLIENT = hospital.BUILD / "tests/support/ups/ups-client"
PUSH = "1.2.840.10008.5.1.4.34.6.1"
GLOBAL = "1.2.840.10008.5.1.4.34.5"
MINE = "1.2.826.0.1.3680043.8.498.77"
TRANSACTION, OTHER_TRANSACTION = MINE + ".1", MINE + ".2"


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def now():
    return datetime.datetime.now().strftime("%Y%m%d%H%M%S")


def new_workitem():
    """What an order filler creates (RAD-80): table CC.2.5-3."""
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 100"
    item.TransactionUID = ""
    item.ScheduledProcedureStepPriority = "MEDIUM"
    item.ProcedureStepLabel = "Second reading"
    item.WorklistLabel = ""
    item.ScheduledProcessingParametersSequence = Sequence()
    item.ScheduledStationNameCodeSequence = Sequence()
    item.ScheduledStationClassCodeSequence = Sequence()
    item.ScheduledStationGeographicLocationCodeSequence = Sequence()
    item.ScheduledProcedureStepStartDateTime = now()
    item.ScheduledWorkitemCodeSequence = Sequence([code("110005", "DCM", "Interpretation")])
    item.CommentsOnTheScheduledProcedureStep = ""
    item.InputReadinessState = "READY"
    item.InputInformationSequence = Sequence()
    item.StudyInstanceUID = MINE + ".3"
    item.PatientName, item.PatientID = "M\u00fcller^J\u00f6rg", "P-CREATED"
    item.OtherPatientIDsSequence = Sequence()
    item.PatientBirthDate, item.PatientSex = "19700101", "M"
    item.AdmissionID, item.IssuerOfAdmissionIDSequence = "", Sequence()
    item.AdmittingDiagnosesDescription, item.AdmittingDiagnosesCodeSequence = "", Sequence()
    item.ReferencedRequestSequence = Sequence()
    item.ProcedureStepState = "SCHEDULED"
    item.ProcedureStepProgressInformationSequence = Sequence()
    item.UnifiedProcedureStepPerformedProcedureSequence = Sequence()
    return item


def state_change(state, transaction):
    information = Dataset()
    information.ProcedureStepState, information.TransactionUID = state, transaction
    return information


def progress(transaction, percent):
    item = Dataset()
    item.ProcedureStepProgress = str(percent)
    change = Dataset()
    change.TransactionUID = transaction
    change.ProcedureStepProgressInformationSequence = Sequence([item])
    return change


def performed(transaction, report_uid):
    """The final update (RAD-84 before RAD-85)."""
    output = Dataset()
    output.TypeOfInstances = "DICOM"
    output.StudyInstanceUID, output.SeriesInstanceUID = MINE + ".3", MINE + ".4"
    reference = Dataset()
    reference.ReferencedSOPClassUID = hospital.SR_CLASS
    reference.ReferencedSOPInstanceUID = report_uid
    output.ReferencedSOPSequence = Sequence([reference])
    procedure = Dataset()
    procedure.PerformedWorkitemCodeSequence = Sequence([code("110005", "DCM", "Interpretation")])
    procedure.PerformedStationNameCodeSequence = Sequence([code("READER1", "99SITE", "Reading room")])
    procedure.PerformedProcedureStepStartDateTime = now()
    procedure.PerformedProcedureStepEndDateTime = now()
    procedure.OutputInformationSequence = Sequence([output])
    change = Dataset()
    change.TransactionUID = transaction
    change.UnifiedProcedureStepPerformedProcedureSequence = Sequence([procedure])
    return change


def stricter_model(site):
    """The chest model with a threshold that one of the two films below is under."""
    folder = site.folder / "plugins"
    shutil.copytree(hospital.ROOT / "plugins/chest", folder / "chest",
                    ignore=shutil.ignore_patterns("training"))
    manifest = folder / "chest/model.yaml"
    text = manifest.read_text(encoding="utf-8")
    changed = re.sub(r"(\n +threshold: )[0-9.]+", r"\g<1>0.87", text)
    assert changed != text
    manifest.write_text(changed, encoding="utf-8")
    return {"paths": [str(folder)]}


class Desk:
    """A workstation: each call is one run of the DCMTK client."""

    def __init__(self, site, medaid):
        self.medaid, self.folder, self.n = medaid, site.folder, 0

    def file(self, dataset):
        self.n += 1
        path = self.folder / f"request-{self.n}.dcm"
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = PUSH, MINE
        file = pydicom.dataset.FileDataset(str(path), dataset, file_meta=meta, preamble=b"\0" * 128)
        file.save_as(path, write_like_original=False)
        return path

    def call(self, *words):
        return json.loads(hospital.run(CLIENT, self.medaid.port, "READER", *words))

    def create(self, dataset, uid="-"):
        return self.call("create", uid, self.file(dataset))

    def change(self, uid, dataset):
        return self.call("set", uid, self.file(dataset))["status"]

    def act(self, kind, uid, number, dataset):
        return self.call("action", kind, uid, number, self.file(dataset))["status"]

    def get(self, uid, *tags, status=0):
        self.n += 1
        path = self.folder / f"answer-{self.n}.dcm"
        assert self.call("get", uid, path, *tags)["status"] == status
        return pydicom.dcmread(path, force=True) if path.exists() else None

    def find(self, kind="pull", limit=0, status=0, **keys):
        self.n += 1
        query = Dataset()
        query.SpecificCharacterSet = "ISO_IR 192"
        for tag in ("SOPInstanceUID", "ProcedureStepState", "ScheduledProcedureStepPriority", "PatientID",
                    "PatientName", "WorklistLabel", "ProcedureStepLabel", "InputReadinessState",
                    "StudyInstanceUID"):
            setattr(query, tag, keys.get(tag, ""))
        query.InputInformationSequence = Sequence()
        prefix = self.folder / f"match-{self.n}-"
        done = self.call("find", kind, self.file(query), prefix, limit)
        assert done["status"] == status, done
        paths = sorted(self.folder.glob(prefix.name + "*"))
        return [pydicom.dcmread(path, force=True) for path in paths]

    def subscribe(self, uid, number=3):
        information = Dataset()
        information.ReceivingAE, information.DeletionLock = "WATCHER", "FALSE"
        return self.act("watch", uid, number, information)


def told(program, n=0):
    """What a listening client was told so far, when it is at least n things."""
    def lines():
        found = [json.loads(line) for line in program.log().splitlines() if line.startswith("{")]
        found = [line for line in found if line["what"] != "listening"]
        return found if len(found) >= n else None
    return hospital.wait_for(f"{program.name} to be told {n} times", lines)


def listening(site, name, ae_title, what):
    (port,) = hospital.free_ports(1)
    program = site.program(name, CLIENT, port, ae_title, what, site.folder / f"{name}-")
    program.launch()
    hospital.wait_for(f"{name} to listen", lambda: "listening" in program.log())
    return program, {"ae_title": ae_title, "host": "127.0.0.1", "port": port, "timeout_s": 20}


def check_item_of_study(desk, film, n_inputs):
    """medaid's own item: (uid, dataset)."""
    study = pydicom.dcmread(film, stop_before_pixels=True)
    (match,) = desk.find(StudyInstanceUID=study.StudyInstanceUID)
    item = desk.get(match.SOPInstanceUID)
    assert item.PatientName == study.PatientName and item.PatientID == study.PatientID
    assert item.ProcedureStepState == "SCHEDULED" and item.InputReadinessState == "READY"
    assert item.WorklistLabel == "NIGHT" and "TransactionUID" not in item
    (workitem_code,) = item.ScheduledWorkitemCodeSequence
    assert (workitem_code.CodeValue, workitem_code.CodingSchemeDesignator) == ("110005", "DCM")
    references = hospital.references_in(item)
    assert (study.SOPClassUID, study.SOPInstanceUID) in references, references
    assert {hospital.SR_CLASS, study.SOPClassUID} == {kind for kind, _ in references}, references
    assert len(references) == n_inputs, references
    (request,) = item.ReferencedRequestSequence
    assert request.AccessionNumber == study.AccessionNumber
    for part in item.InputInformationSequence:
        assert part.DICOMRetrievalSequence[0].RetrieveAETitle == "PACS", part
    # dciodvfy knows no normalized objects; it finds nothing else
    assert hospital.dciodvfy_errors(desk.file(item)) == ["Error - Information Object Not found"]
    return match.SOPInstanceUID, item


def check_pull(desk, watcher, uid):
    """RAD-81 to RAD-85 and RAD-87 on one item."""
    n = len(told(watcher))
    (match,) = desk.find(SOPInstanceUID=uid)                                         # RAD-81
    assert match.ProcedureStepState == "SCHEDULED"
    assert desk.act("pull", uid, 1, state_change("COMPLETED", TRANSACTION)) == 0xc310
    assert desk.act("pull", uid, 1, state_change("IN PROGRESS", TRANSACTION)) == 0   # RAD-82
    assert desk.act("pull", uid, 1, state_change("IN PROGRESS", TRANSACTION)) == 0xc302
    assert desk.act("pull", uid, 1, state_change("IN PROGRESS", OTHER_TRANSACTION)) == 0xc301
    item = desk.get(uid)                                                             # RAD-83
    assert item.ProcedureStepState == "IN PROGRESS" and "TransactionUID" not in item
    some = desk.get(uid, "00741000", "00081195", status=1)
    assert some.ProcedureStepState == "IN PROGRESS" and "TransactionUID" not in some
    assert desk.change(uid, progress(OTHER_TRANSACTION, 50)) == 0xc301
    assert desk.change(uid, progress(TRANSACTION, 50)) == 0                          # RAD-84
    assert desk.act("pull", uid, 1, state_change("COMPLETED", TRANSACTION)) == 0xc304
    assert desk.change(uid, performed(TRANSACTION, MINE + ".9")) == 0
    assert desk.act("pull", uid, 1, state_change("COMPLETED", OTHER_TRANSACTION)) == 0xc301
    assert desk.act("pull", uid, 1, state_change("COMPLETED", TRANSACTION)) == 0     # RAD-85
    assert desk.act("pull", uid, 1, state_change("COMPLETED", TRANSACTION)) == 0xb306
    assert desk.act("pull", uid, 1, state_change("CANCELED", TRANSACTION)) == 0xc300
    assert desk.change(uid, progress(TRANSACTION, 100)) == 0xc300
    item = desk.get(uid)
    (procedure,) = item.UnifiedProcedureStepPerformedProcedureSequence
    assert (hospital.SR_CLASS, MINE + ".9") in hospital.references_in(procedure)
    reports = told(watcher, n + 3)[n:]                                               # RAD-87
    assert [(r["uid"], r["type"]) for r in reports] == [(uid, 1), (uid, 3), (uid, 1)], reports
    states = [pydicom.dcmread(r["file"], force=True).get("ProcedureStepState") for r in reports]
    assert states == ["IN PROGRESS", None, "COMPLETED"], states


def check_created(desk, watcher):
    """RAD-80 and RAD-88."""
    n = len(told(watcher))
    done = desk.create(new_workitem())                                               # RAD-80
    assert done["status"] == 0xb300 and done["uid"].startswith("2.25."), done
    uid = done["uid"]
    assert desk.create(new_workitem(), uid)["status"] == 0x0111
    without = new_workitem()
    del without.ProcedureStepLabel
    assert desk.create(without)["status"] == 0x0120
    item = desk.get(uid)
    assert item.WorklistLabel == "NIGHT" and item.PatientName == "M\u00fcller^J\u00f6rg"
    query = Dataset()
    query.SpecificCharacterSet, query.PatientName = "ISO_IR 100", "M\u00fcller"
    path = desk.file(query)
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 6  "))  # a lie
    assert desk.call("find", "pull", path, path, 0)["status"] == 0xc000
    (match,) = desk.find(PatientName="m\u00fcller*")
    assert match.SOPInstanceUID == uid
    who = Dataset()
    who.ContactDisplayName = "Dr. A"
    assert desk.act("push", uid, 2, who) == 0                                        # RAD-88
    reports = told(watcher, n + 3)[n:]
    states = [pydicom.dcmread(r["file"], force=True).ProcedureStepState for r in reports]
    assert states == ["SCHEDULED", "IN PROGRESS", "CANCELED"], states
    assert desk.act("push", uid, 2, who) == 0xb304
    # one that somebody works on: the performer is told, and decides
    uid = desk.create(new_workitem())["uid"]
    assert desk.act("pull", uid, 1, state_change("IN PROGRESS", TRANSACTION)) == 0
    reason = Dataset()
    reason.ReasonForCancellation = "wrong side"
    assert desk.act("push", uid, 2, reason) == 0
    last = told(watcher, n + 6)[-1]
    event = pydicom.dcmread(last["file"], force=True)
    assert (last["uid"], last["type"]) == (uid, 2) and event.RequestingAE == "READER", event
    assert event.ReasonForCancellation == "wrong side"
    assert desk.get(uid).ProcedureStepState == "IN PROGRESS"
    assert desk.act("pull", MINE, 1, state_change("IN PROGRESS", TRANSACTION)) == 0xc307


def check_late_image(site, desk, medaid, manager, film, uid, before):
    """Another image of the study changes the item and makes no second one."""
    study = pydicom.dcmread(film, stop_before_pixels=True)
    late = hospital.make_film(site.folder / "late.dcm", "--instance-number", "2", "--study-uid",
                              study.StudyInstanceUID, "--series-uid", study.SeriesInstanceUID,
                              seed=19)
    hospital.send(medaid, late)
    image = pydicom.dcmread(late, stop_before_pixels=True)

    def there():
        (item,) = desk.find(StudyInstanceUID=study.StudyInstanceUID)
        return image.SOPInstanceUID in {u for _, u in hospital.references_in(item)} and item
    item = hospital.wait_for("the item to name the late image", there)
    assert item.SOPInstanceUID == uid
    reports = [u for kind, u in hospital.references_in(item) if kind == hospital.SR_CLASS]
    assert len(reports) == 1 and reports[0] not in {u for _, u in hospital.references_in(before)}
    messages = [m for m in hospital.wait_for("the manager's N-SET", lambda: [
        m for m in told(manager) if m["uid"] == uid and m["what"] == "set"] and told(manager))
                if m["uid"] == uid]
    assert [m["what"] for m in messages] == ["create", "set"], messages
    created = pydicom.dcmread(messages[0]["file"], force=True)
    changed = pydicom.dcmread(messages[1]["file"], force=True)
    assert created.ProcedureStepState == "SCHEDULED" and created.TransactionUID in ("", None)
    assert image.SOPInstanceUID in {u for _, u in hospital.references_in(changed)}


def main():
    hospital.need("storescu", "dciodvfy")
    with hospital.Hospital("ups") as site:
        watcher, watcher_peer = listening(site, "watcher", "WATCHER", "listen")
        manager, manager_peer = listening(site, "manager", "RIS", "manage")
        medaid = site.medaid(plugins=stricter_model(site), ups={"enabled": True, "worklist_label": "NIGHT",
                                  "retrieve_ae_title": "PACS", "subscribers": [watcher_peer], "manager": manager_peer}).start()
        desk = Desk(site, medaid)
        assert desk.find() == []
        assert desk.subscribe(GLOBAL) == 0                                           # RAD-86
        normal, sick = site.film(seed=19), site.film("--opacity", "right", seed=13)
        hospital.send(medaid, normal)
        hospital.wait_for("the first item", lambda: len(desk.find()) == 1)
        hospital.send(medaid, sick)
        hospital.wait_for("both items", lambda: len(desk.find()) == 2)
        told(watcher, 2)
        uid, item = check_item_of_study(desk, normal, 2)
        sick_uid, sick_item = check_item_of_study(desk, sick, 2)
        assert sick_item.ScheduledProcedureStepPriority == "HIGH", sick_item
        assert item.ScheduledProcedureStepPriority == "LOW", item
        # the later one is read first
        assert [m.SOPInstanceUID for m in desk.find()][0] == sick_uid
        check_late_image(site, desk, medaid, manager, normal, uid, item)
        medaid.kill()
        medaid.start()
        assert {m.SOPInstanceUID for m in desk.find()} == {uid, sick_uid}
        told(watcher, 3)
        check_pull(desk, watcher, sick_uid)
        check_created(desk, watcher)
        key = medaid.key_of(pydicom.dcmread(normal, stop_before_pixels=True).StudyInstanceUID)
        medaid.ctl("read", key)
        assert desk.get(uid).ProcedureStepState == "COMPLETED"
        assert len(desk.find(ProcedureStepState="COMPLETED")) == 2
        assert len(desk.find(kind="watch")) == 4
        for mark in hospital.PATIENT + (uid, sick_uid, "P-CREATED"):
            assert mark not in medaid.log(), mark
        medaid.stop()
        # DCMTK's own words would quote what it reads
        assert all(line.startswith("{") for line in medaid.log().splitlines()), medaid.log()
    print("the pull workflow of AIW-I, watched, canceled, over a kill, and told to another manager")


if __name__ == "__main__":
    main()
