#!/usr/bin/python3
"""medaid --daemon against a real Orthanc, over loopback.

Studies go in by storescu (one for each transfer syntax that medaid reads), by Orthanc itself, and,
when ../shared is there, films of chest-xray-original wrapped as DX. What is checked: report and
picture are in Orthanc with right references and patient attributes, dciodvfy finds no error in
them, what no model accepts gives a log line and nothing else, the same again gives nothing new, a
late image gives a new report, no output names a patient, and SIGTERM ends it with 0."""
import json
import pathlib
import sqlite3
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import numpy  # noqa: E402
import pydicom  # noqa: E402
import pydicom.uid  # noqa: E402
from PIL import Image  # noqa: E402

import hospital  # noqa: E402
import tiny_model  # noqa: E402
from hospital import (MAP_CLASS, PATIENT, ROOT, SR_CLASS, dciodvfy_errors,  # noqa: E402
                      references_in, run, wait_for)
from transfer_syntax import SYNTAXES, transcode  # noqa: E402

DX_CLASS = "1.2.840.10008.5.1.4.1.1.1.1"
# How storescu is told to propose a syntax; it has no word for process 14, which Orthanc sends.
STORESCU = {"": "-xi", ".1": "-xe", ".2": "-xb", ".1.99": "-xd", ".5": "-xr", ".4.50": "-xy",
            ".4.51": "-xx", ".4.70": "-xs", ".4.80": "-xt", ".4.81": "-xu", ".4.90": "-xv",
            ".4.91": "-xw"}
N_FILMS = 3


def make_phantom(path, seed, *more):
    """A film of the marked patient."""
    hospital.make_film(path, *more, seed=seed, rows=1024, columns=1250)


def make_film(path, image_path, number):
    """A JPEG of the data set as a DX object."""
    pixels = numpy.asarray(Image.open(image_path).convert("L"))
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = DX_CLASS
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(None, [str(image_path), "sop"])
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = DX_CLASS, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = pydicom.uid.generate_uid(None, [str(image_path), "study"])
    ds.SeriesInstanceUID = pydicom.uid.generate_uid(None, [str(image_path), "series"])
    ds.PatientName, ds.PatientID = PATIENT[0], f"{PATIENT[1]}-{number}"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "20150301", "O", "004Y"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20200101", "120000", "1", PATIENT[2]
    ds.ReferringPhysicianName, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "", "DX", 1, 1
    ds.BodyPartExamined, ds.ViewPosition, ds.PatientOrientation = "CHEST", "AP", ["L", "F"]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.PresentationLUTShape, ds.PixelIntensityRelationship = "IDENTITY", "LOG"
    ds.PixelIntensityRelationshipSign = -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.ImagerPixelSpacing = [0.2, 0.2]
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB"
    ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.save_as(path, write_like_original=False)
    return ds


def check_object(dataset, sources, folder):
    """One result: its study, patient and references, and what dciodvfy says."""
    name = f"{dataset.SOPClassUID} for {sources[0].file_meta.TransferSyntaxUID}"
    for keyword in ("StudyInstanceUID", "PatientName", "PatientID", "PatientBirthDate",
                    "PatientSex", "AccessionNumber", "StudyID", "StudyDate"):
        want, have = sources[0].get(keyword, ""), dataset.get(keyword, "")
        assert str(want) == str(have), f"{name}: {keyword} differs"
    assert dataset.SeriesInstanceUID not in [s.SeriesInstanceUID for s in sources], name
    wanted = {(s.SOPClassUID, s.SOPInstanceUID) for s in sources}
    named = references_in(dataset)
    if dataset.SOPClassUID == SR_CLASS:
        assert wanted <= named, f"{name}: {len(wanted - named)} sources are not referenced"
        evidence = dataset.CurrentRequestedProcedureEvidenceSequence
        assert {e.StudyInstanceUID for e in evidence} == {sources[0].StudyInstanceUID}, name
    else:
        assert wanted & named, f"{name}: no source is referenced"
    path = folder / "check.dcm"
    dataset.save_as(path)
    errors = dciodvfy_errors(path)
    assert not errors, f"{name}: dciodvfy: {errors}"


def check_study(orthanc, sources, folder, n_reports=1, n_pictures=1):
    """Wait for the results of a study and check each."""
    uid = sources[0].StudyInstanceUID

    def ready():
        found = orthanc.results_of(uid)
        n_sr = sum(d.SOPClassUID == SR_CLASS for d in found)
        return found if n_sr >= n_reports and len(found) - n_sr >= n_pictures else None

    found = wait_for(f"results of a study in {sources[0].file_meta.TransferSyntaxUID}", ready)
    for each in found:
        named = {instance for _, instance in references_in(each)}
        present = [s for s in sources if s.SOPInstanceUID in named]
        check_object(each, present if present else sources, folder)
    return found


def send(medaid, path, flag="-xe"):
    """C-STORE by DCMTK."""
    run("storescu", flag, "-aec", "MEDAID", "127.0.0.1", medaid.port, path)


def test_syntaxes(orthanc, medaid, folder):
    """One study for each transfer syntax."""
    sent = []
    for number, syntax in enumerate(SYNTAXES):
        base, path = folder / "base.dcm", folder / f"syntax-{number}.dcm"
        make_phantom(base, 100 + number, "--opacity", "left" if number % 2 else "none")
        written = transcode(base, path, syntax)
        flag = STORESCU.get(syntax.removeprefix("1.2.840.10008.1.2"))
        if flag is not None:
            send(medaid, path, flag)
        else:
            stored = json.loads(orthanc.request("/instances", path.read_bytes()))
            orthanc.post("/modalities/medaid/store", [stored["ID"]])
        sent.append(written)
    for written in sent:
        check_study(orthanc, [written], folder)
        print(f"ok: {written.file_meta.TransferSyntaxUID}: report and picture are in Orthanc")
    return sent


def check_predecessor(before, after):
    """The new report names the earlier one, which names none, and the pictures neither."""
    (old,) = [d for d in before if d.SOPClassUID == SR_CLASS]
    known = {d.SOPInstanceUID for d in before}
    (new,) = [d for d in after if d.SOPClassUID == SR_CLASS and d.SOPInstanceUID not in known]
    for each in after:
        assert ("PredecessorDocumentsSequence" in each) == (each is new), "a wrong object names a predecessor"
    (study,) = new.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == old.StudyInstanceUID == new.StudyInstanceUID
    assert series.SeriesInstanceUID == old.SeriesInstanceUID
    assert reference.ReferencedSOPInstanceUID == old.SOPInstanceUID != new.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == old.SOPClassUID == SR_CLASS


def test_again_and_late(orthanc, medaid, folder):
    """The same object again gives nothing new; another image of the study gives a new report."""
    first, late = folder / "first.dcm", folder / "late.dcm"
    make_phantom(first, 500)
    one = pydicom.dcmread(first, stop_before_pixels=True)
    send(medaid, first)
    before = check_study(orthanc, [one], folder)
    n_analysed = len(medaid.lines("study_analysed"))
    send(medaid, first)
    make_phantom(late, 500, "--instance-number", 2)
    two = pydicom.dcmread(late, stop_before_pixels=True)
    send(medaid, late)
    after = check_study(orthanc, [one, two], folder, n_reports=2, n_pictures=2)
    assert len(medaid.lines("study_analysed")) == n_analysed + 1
    assert {d.SOPInstanceUID for d in before} <= {d.SOPInstanceUID for d in after}
    reports = [references_in(d) for d in after if d.SOPClassUID == SR_CLASS]
    both = {(s.SOPClassUID, s.SOPInstanceUID) for s in (one, two)}
    assert any(both <= named for named in reports), "no report is made from both images"
    check_predecessor(before, after)
    print("ok: the same again gives nothing new, a late image a new report from both that names the first")
    return [one, two]


def test_not_accepted(orthanc, medaid, folder):
    """Colour and another body part: no object, but a line."""
    for number, more in enumerate((["--photometric", "RGB", "--modality", "OT"],
                                   ["--body-part", "HAND"])):
        path = folder / f"other-{number}.dcm"
        make_phantom(path, 600 + number, *more)
        n_before = len(medaid.lines("study_not_accepted"))
        n_objects = len(medaid.lines("results_sent"))
        send(medaid, path)
        wait_for("the line", lambda n=n_before: len(medaid.lines("study_not_accepted")) > n)
        assert len(medaid.lines("results_sent")) == n_objects
        written = pydicom.dcmread(path, stop_before_pixels=True)
        assert not orthanc.objects_of(written.StudyInstanceUID)
    print("ok: what no model accepts gives a log line and no object")


def test_pacs_away(orthanc, medaid, folder):
    """Results wait while Orthanc is down, and while medaid itself is."""
    path = folder / "away.dcm"
    make_phantom(path, 700)
    written = pydicom.dcmread(path, stop_before_pixels=True)
    orthanc.stop()
    send(medaid, path)
    wait_for("a failed attempt", lambda: medaid.lines("send_failed"))
    assert medaid.stop() == 0, medaid.log()[-2000:]
    orthanc.start()
    medaid.start()
    check_study(orthanc, [written], folder)
    print("ok: results wait for a PACS that is away, over a restart too")
    return [written]


def test_maps(orthanc, site):
    """A model whose map is always shown: Orthanc stores the Parametric Map of it where the
    destination asks for it, and gives it back as it was; the other destination gets none."""
    tiny_model.write(site.folder / "map-models" / "tiny",
                     edit=("method: grad-cam\n  features: features",
                           "method: integrated-gradients\n  baseline: mean"))
    other = site.orthanc("other").start()
    medaid = site.medaid("map-medaid", destinations=[
        orthanc.destination(parametric_map=True), other.destination("other")])
    medaid.configure(plugins={"paths": [str(site.folder / "map-models")]},
                     results={"kind": "both", "parametric_map": True}).start()
    path = site.folder / "map-film.dcm"
    make_phantom(path, 900)
    source = pydicom.dcmread(path)
    send(medaid, path)

    def maps_of(pacs):
        return [d for d in pacs.objects_of(source.StudyInstanceUID)
                if d.SOPClassUID == MAP_CLASS]

    found = wait_for("a map in Orthanc", lambda: maps_of(orthanc))
    for each in found:
        check_object(each, [source], site.folder)
        values = numpy.frombuffer(each.FloatPixelData, "<f4")
        assert values.size == each.Rows * each.Columns and 0 <= values.min() <= values.max() <= 1
        shared = each.SharedFunctionalGroupsSequence[0]
        quantity = shared.RealWorldValueMappingSequence[0].QuantityDefinitionSequence[0]
        assert quantity.ConceptCodeSequence[0].CodeValue == "130404"
    assert {str(d.ContentDescription) for d in found} >= {"Over exposed"}
    wait_for("reports at the other", lambda: len(other.results_of(source.StudyInstanceUID)) == 2)
    assert medaid.stop() == 0
    assert not maps_of(other)
    assert pending_rows(medaid.store / "medaid.db") == 0
    print(f"ok: {len(found)} Parametric Maps are in Orthanc, none where nobody asked")


def test_films(orthanc, medaid, folder):
    """Real films, when they are there."""
    data = ROOT.parent / "shared" / "data" / "chest-xray-original"
    if not data.is_dir():
        print("skipped: no ../shared/data/chest-xray-original")
        return []
    sent = []
    for kind in ("NORMAL", "PNEUMONIA"):
        for image in sorted((data / kind).iterdir())[:N_FILMS]:
            path = folder / "film.dcm"
            sent.append(make_film(path, image, len(sent)))
            send(medaid, path)
    for film in sent:
        check_study(orthanc, [film], folder)
    print(f"ok: {len(sent)} real films: report and picture are in Orthanc")
    return sent


def test_no_patient_in_log(medaid, sent):
    """Nothing that names a patient or an object."""
    log = medaid.log()
    marks = ["Zebra", "Quagga", PATIENT[1], PATIENT[2]]
    for each in sent:
        marks += [each.StudyInstanceUID, each.SeriesInstanceUID, each.SOPInstanceUID]
    for mark in marks:
        assert mark not in log, f"the log names {mark}"
    names = [str(p.relative_to(medaid.folder)) for p in medaid.store.rglob("*")]
    assert names
    for name in names:
        assert not any(mark in name for mark in marks), f"a file is named {name}"
    print(f"ok: none of {len(marks)} marks is in {len(log.splitlines())} log lines or a file name")


def pending_rows(path):
    """How many objects still wait for a destination."""
    with sqlite3.connect(path) as database:
        return database.execute("SELECT count(*) FROM outbox WHERE state = 0").fetchone()[0]


def main():
    """All of it, in one folder that is gone afterwards."""
    hospital.need("storescu", "echoscu", "dcmconv", "dcmcrle", "dcmcjpeg", "dcmcjpls", "dciodvfy",
                  "opj_compress", hospital.ORTHANC)
    with hospital.Hospital("orthanc") as site:
        folder, medaid = site.folder, site.medaid()
        orthanc = site.orthanc(DicomModalities={"medaid": ["MEDAID", "127.0.0.1", medaid.port]})
        medaid.configure(destinations=[orthanc.destination(timeout_s=60)], results={"kind": "both"},
                         ae={"max_associations": 16}, study={"quiet_ms": 500},
                         log={"level": "debug"})
        orthanc.start()
        medaid.start()
        run("echoscu", "-aec", "MEDAID", "127.0.0.1", medaid.port)
        orthanc.post("/modalities/medaid/echo", {})
        print("ok: C-ECHO from DCMTK and from Orthanc")
        sent = test_syntaxes(orthanc, medaid, folder)
        sent += test_again_and_late(orthanc, medaid, folder)
        test_not_accepted(orthanc, medaid, folder)
        test_maps(orthanc, site)
        sent += test_films(orthanc, medaid, folder)
        sent += test_pacs_away(orthanc, medaid, folder)
        medaid.alive()
        assert medaid.stop() == 0
        assert len(medaid.lines("daemon_stopped")) == 2
        assert pending_rows(medaid.store / "medaid.db") == 0, "something is left"
        print("ok: SIGTERM ends it with 0 and an empty outbox")
        test_no_patient_in_log(medaid, sent)


main()
