"""What other programs say of the objects: dciodvfy finds no error, dsrdump and dsr2html read the
report, pydicom finds in it what the result said. usage: test_objects.py PHANTOM REPORT_CASE"""
import hashlib
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import pydicom

PHANTOM, REPORT_CASE = sys.argv[1:3]
os.environ["TZ"] = "UTC"
CASES = ["positive", "negative", "mixed", "failed", "quality", "partial", "partial0", "triage",
         "uncalibrated", "successor", "injection", "long", "foreign", "edges",
         "follow-up"]
CARRIED = ["StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
           "StudyDescription", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
           "PatientAge", "StudyInstanceUID", "StudyID", "ProcedureCodeSequence"]
SHA256 = "3b1f6a7700c2a1f2d0e95bb1dd5f8f0e0cf3a8b9b6b8f27a45c2d0b3a79e5d41"


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def verify(path):
    """dciodvfy prints no error; what it warns of is only what it does not know yet."""
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    text = said.stdout + said.stderr
    assert "Error" not in text, (path, text)
    assert "0020,000" not in text
    for line in text.splitlines():
        known = ("0x0018,0x1002" in line or "Standard Extended" in line
                 or "99MEDAID" in line or "DICOMDIR" in line or "Warning" not in line)
        assert known, (path, line)


class Tree:
    """A content item with what is in it, by code."""

    def __init__(self, item):
        self.item = item
        self.children = [Tree(c) for c in item.get("ContentSequence", [])]
        name = item.get("ConceptNameCodeSequence")
        self.name = name[0].get("CodeValue") if name else None
        self.relation = item.get("RelationshipType")

    def all(self, code):
        return [c for c in self.children if c.name == code]

    def one(self, code):
        found = self.all(code)
        assert len(found) == 1, (code, len(found))
        return found[0]

    def code(self):
        c = self.item.ConceptCodeSequence[0]
        return (c.get("CodeValue") or c.LongCodeValue, c.CodingSchemeDesignator, c.CodeMeaning)

    def number(self):
        measured = self.item.MeasuredValueSequence
        if not measured:
            return None
        unit = measured[0].MeasurementUnitsCodeSequence[0]
        assert unit.CodingSchemeDesignator == "UCUM"
        return float(measured[0].NumericValue), unit.CodeValue

    def text(self):
        return self.item.TextValue

    def references(self):
        r = self.item.ReferencedSOPSequence
        assert len(r) == 1
        return r[0].ReferencedSOPInstanceUID


def every_uid(dataset):
    for element in dataset.iterall():
        if element.VR == "UI" and element.value:
            values = element.value if element.VM > 1 else [element.value]
            yield from values


def check_group(group, expected, sources):
    """One finding, item by item."""
    assert group.item.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    assert group.one("112039").text() == expected["key"]
    assert group.one("112039").relation == "HAS OBS CONTEXT"
    assert group.one("112040").item.UID.startswith("2.25.")
    assert group.one("121071").code()[:2] == expected["code"]
    assert group.one("121052").code()[:2] == (expected["presence"], "SCT")
    assert group.one("111001").text() and group.one("111003").text() == "1.2.0"
    assert group.one("111001").relation == "HAS CONCEPT MOD"
    parameters = [p.text() for p in group.all("111002")]
    assert "model sha256 " + SHA256 in parameters
    assert "image: inverted MONOCHROME1" in parameters and "image: window 2048/4096" in parameters
    assert group.one("121112").references() == sources[expected["image"]].SOPInstanceUID
    if expected["calibrated"]:
        assert not group.all("246262008")
        assert group.one("122157").number() == (expected["score"], "%")
        assert group.one("122411").number() == (expected["threshold"], "%")
        assert "score: calibrated probability" in parameters
    else:
        assert not group.all("122157"), "an uncalibrated score was called a probability"
        assert group.one("246262008").number() == (expected["score"], "1")
        assert group.one("122411").number() == (expected["threshold"], "1")
        assert any("not a probability" in p for p in parameters)
    sites = group.all("363698007")
    assert [s.code()[0] for s in sites] == expected["sites"]
    laterality = sites[0].all("272741003") if sites else []
    assert [s.code()[0] for s in laterality] == expected["laterality"]
    assert bool(group.all("260870009")) == expected["urgent"]


PRESENT, ABSENT, UNDETERMINED = "52101004", "272519000", "373068000"


def expect(case, n_sources):
    """The findings that cases.c made."""
    pneumonia = dict(key="pneumonia", code=("233604007", "SCT"), presence=PRESENT, score=97.31234,
                     threshold=50, calibrated=True, image=0, sites=["39607008"],
                     laterality=["7771000"], urgent=True)
    effusion = dict(key="effusion", code=("60046008", "SCT"), presence=ABSENT, score=12.00001,
                    threshold=30, calibrated=True, image=0, sites=["39607008"], laterality=[],
                    urgent=False)
    if case == "negative":
        return [dict(pneumonia, presence=ABSENT, score=4.12345, urgent=False)]
    if case == "mixed":
        return [pneumonia, effusion,
                dict(pneumonia, key="second-look", presence=UNDETERMINED, score=49,
                     image=int(n_sources > 1), sites=[], laterality=[], urgent=False)]
    if case in ("failed", "quality", "partial0"):
        return []
    if case == "triage":
        return [dict(pneumonia, sites=[], laterality=[]), dict(effusion, sites=[])]
    if case == "uncalibrated":
        return [dict(pneumonia, calibrated=False, score=0.973123, threshold=0.5),
                dict(effusion, calibrated=False, score=0.12, threshold=0.3)]
    if case == "long":
        return [dict(pneumonia, code=("1234567890123456789012345678901234567890", "99MEDAID")),
                effusion]
    if case == "edges":
        return [dict(pneumonia, score=100, threshold=100, laterality=[]),
                dict(effusion, score=0, threshold=0.00005)]
    return [pneumonia, effusion]


def check_failure(group, case, sources, analysed):
    assert not group.all("121071"), "a failure has no finding"
    assert group.one("121052").code()[0] == UNDETERMINED
    number = group.one("122157")
    assert number.number() is None
    qualifier = number.item.NumericValueQualifierCodeSequence[0].CodeValue
    assert qualifier == ("114007" if case == "quality" else "114006")
    summary = {"failed": "111245", "quality": "111245", "partial": "111244",
               "partial0": "111243"}[case]
    assert group.one("111017").code()[0] == summary
    assert group.one("246101005").code()[0] == ("110531" if case == "quality" else "110501")
    assert group.one("121106").text()
    images = [i.references() for i in group.all("121112")]
    expected = [s.SOPInstanceUID for s in sources] if case in ("failed", "quality") else []
    assert images == expected


def check_follow_up(qualitative, case):
    """Proposals as codes and in words, in the case that has some."""
    proposed = qualitative.all("111053")
    said = [t.text() for t in qualitative.all("121075")]
    assert bool(proposed) == bool(said) == (case == "follow-up")
    if not proposed:
        return
    assert [p.code()[:2] for p in proposed] == [("169069000", "SCT"), ("RF6", "99MEDAID")]
    assert [p.relation for p in proposed] == ["CONTAINS"] * 2
    reasons = [p.one("121106") for p in proposed]
    assert [r.relation for r in reasons] == ["HAS PROPERTIES"] * 2
    assert all("not an order" in r.text() for r in reasons)
    assert "accepted for 12 of 15" in reasons[0].text()
    assert said[0] == ("Proposed follow-up: Computed tomography of chest. Accepted for 12 of 15 "
                       "similar patients, alike in Pneumonia, Pleural effusion. A proposal, not "
                       "an order.")
    assert "Accepted for 5 of 5 similar patients. A proposal" in said[1]


def check_sr(path, case, sources, paths):
    verify(path)
    dumped = run("dsrdump", path)
    assert "Imaging Measurement Report" in dumped
    assert "Qualitative Evaluations" in run("dsr2html", path)
    report = pydicom.dcmread(path)
    first = sources[0]
    failed = case in ("failed", "quality")
    analysed = sources if failed else sources[:2]
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34" and report.Modality == "SR"
    assert report.file_meta.ImplementationVersionName.startswith("MEDAID_")
    assert report.file_meta.FileMetaInformationVersion == b"\0\1"
    assert report.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert "ReferencedPerformedProcedureStepSequence" in report
    for keyword in CARRIED:
        assert report.get(keyword) == first.get(keyword), (keyword, report.get(keyword))
    assert report.SeriesInstanceUID not in [s.SeriesInstanceUID for s in sources]
    partial = failed or case.startswith("partial")
    assert report.CompletionFlag == ("PARTIAL" if partial else "COMPLETE")
    assert bool(report.get("CompletionFlagDescription")) == partial
    assert report.VerificationFlag == "UNVERIFIED" and report.PreliminaryFlag == "PRELIMINARY"
    assert (report.ContentDate, report.ContentTime) == ("20260115", "101502.250")
    author = report.AuthorObserverSequence[0]
    assert author.ObserverType == "DEV" and author.DeviceUID.startswith("2.25.")
    equipment = report.ContributingEquipmentSequence[0]
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert equipment.DeviceUID == author.DeviceUID and equipment.SoftwareVersions == "1.2.0"
    evidence = {r.ReferencedSOPInstanceUID
                for study in report.CurrentRequestedProcedureEvidenceSequence
                for series in study.ReferencedSeriesSequence
                for r in series.ReferencedSOPSequence}
    assert evidence == {s.SOPInstanceUID for s in analysed}
    other = {r.ReferencedSOPInstanceUID
             for study in report.get("PertinentOtherEvidenceSequence", [])
             for series in study.ReferencedSeriesSequence for r in series.ReferencedSOPSequence}
    assert other == {s.SOPInstanceUID for s in sources} - evidence
    assert ("PredecessorDocumentsSequence" in report) == (case == "successor")
    if case == "successor":
        before = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
        assert before.SeriesInstanceUID == report.SeriesInstanceUID
        assert before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.123456789"
    request = "RequestAttributesSequence" in first
    assert ("ReferencedRequestSequence" in report) == request
    if request:
        assert report.ReferencedRequestSequence[0].RequestedProcedureID == "RP1"
    root = Tree(report)
    assert root.name == "126000"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert root.one("121049").code()[0] == "en-US"
    assert root.one("121005").code()[0] == "121007"
    assert root.one("121012").item.UID == author.DeviceUID
    assert SHA256 in root.one("121016").text()
    procedure = "36572-6" if request else "399208008"
    assert root.one("121058").code()[0] == procedure
    assert report.PerformedProcedureCodeSequence[0].CodeValue == procedure
    library = [i.references() for g in root.one("111028").all("126200")
               for i in g.children if i.item.ValueType == "IMAGE"]
    assert library == [s.SOPInstanceUID for s in analysed]
    groups = root.one("126010").all("125007")
    expected = expect(case, len(sources))
    assert len(groups) == len(expected) + partial and groups
    for group, finding in zip(groups, expected):
        check_group(group, finding, sources)
    if partial:
        check_failure(groups[-1], case, sources, analysed)
    qualitative = root.one("C0034375")
    words = [t.text() for t in qualitative.children if t.item.ValueType == "TEXT"]
    check_follow_up(qualitative, case)
    assert any("not for diagnosis" in w for w in words)
    assert any(("PRODUCT" if case == "triage" else "RESEARCH") in w for w in words)
    for uid in every_uid(report):
        assert re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+", uid) and len(uid) <= 64, uid
    for element in report.iterall():
        if element.VR in ("LO", "SH", "PN", "CS"):
            for value in element.value if element.VM > 1 else [element.value]:
                assert all(ord(c) >= 32 for c in str(value)), element
                assert len(str(value)) <= 64 or element.VR == "PN", element
    return report


def check_picture(path, case, sources):
    """The Secondary Capture, and its pixels where the source is known to be black."""
    verify(path)
    picture = pydicom.dcmread(path)
    source = sources[0]
    assert picture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7" and picture.Modality == "OT"
    for keyword in CARRIED:
        assert picture.get(keyword) == source.get(keyword), keyword
    assert picture.SeriesInstanceUID != source.SeriesInstanceUID
    assert picture.SeriesDescription == "AI - not for diagnosis"
    assert list(picture.ImageType) == ["DERIVED", "SECONDARY"]
    assert picture.ConversionType == "WSD" and picture.DerivationDescription
    assert picture.BurnedInAnnotation == source.BurnedInAnnotation == "NO"
    assert picture.LossyImageCompression == "00"
    assert picture.PatientOrientation == source.PatientOrientation
    reference = picture.SourceImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert picture.ContributingEquipmentSequence[0].SoftwareVersions == "1.2.0"
    assert (picture.PhotometricInterpretation, picture.BitsAllocated) == ("RGB", 8)
    assert picture.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    pixels = picture.pixel_array.astype(int)
    film = pixels[36:36 + 420, :512]
    coloured = (abs(film[:, :, 0] - film[:, :, 2]) > 8)
    shown = case not in ("negative", "failed", "quality", "partial0", "triage")
    assert coloured.any() == shown, case
    if shown:
        assert coloured[:, 256:].sum() > 20 * max(1, coloured[:, :200].sum())
    return picture


def hill(source, rows, columns, k):
    """The map of cases.c at the centres of pixels of k x k source pixels, by Catmull-Rom between
    cells that are continued beyond the border."""
    cells = np.array([[np.exp(-((x - 4.6) ** 2 + (y - 3.9) ** 2) / 1.6) for x in range(7)]
                      for y in range(7)], np.float32).astype(float)

    def weights(n, length):
        at = (np.arange(n) + 0.5) * k
        cell = at / length * 7 - 0.5
        first = np.floor(cell)
        t = cell - first
        w = [0.5 * t * (-1 + t * (2 - t)), 1 + 0.5 * t * t * (-5 + 3 * t),
             0.5 * t * (1 + t * (4 - 3 * t)), 0.5 * t * t * (t - 1)]
        m = np.zeros((n, 7))
        for i in range(4):
            np.add.at(m, (np.arange(n), np.clip(first - 1 + i, 0, 6).astype(int)), w[i])
        m[at > length] = 0
        return m

    return np.clip(weights(rows, source.Rows) @ cells @ weights(columns, source.Columns).T, 0, 1)


def check_map(folder, case, sources, paths):
    """The Parametric Map, where there is one: geometry, meaning and numbers."""
    out = f"{folder}/map.dcm"
    if case in ("negative", "failed", "quality", "partial0", "triage"):
        done = subprocess.run([REPORT_CASE, "map", case, out, *paths], capture_output=True,
                              check=False)
        assert done.returncode == 1 and b"no map" in done.stderr, (case, done)
        return
    run(REPORT_CASE, "map", case, out, *paths)
    verify(out)
    made, source = pydicom.dcmread(out), sources[0]
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.30" and made.Modality == "OT"
    for keyword in CARRIED:
        assert made.get(keyword) == source.get(keyword), keyword
    k = -(-max(source.Rows, source.Columns) // 512)
    assert (made.Rows, made.Columns) == (-(-source.Rows // k), -(-source.Columns // k))
    shared = made.SharedFunctionalGroupsSequence[0]
    frame = made.PerFrameFunctionalGroupsSequence[0]
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    assert [float(s) for s in spacing] == [float(s) * k for s in source.ImagerPixelSpacing]
    assert "ImagePositionPatient" not in frame.PlanePositionSequence[0]
    assert "ImageOrientationPatient" not in shared.PlaneOrientationSequence[0]
    assert made.PatientOrientation == source.PatientOrientation
    derivation = frame.DerivationImageSequence[0]
    assert "Grad-CAM++ of features" in derivation.DerivationDescription
    origin = derivation.SourceImageSequence[0]
    assert origin.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert origin.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    assert origin.SpatialLocationsPreserved == ("YES" if k == 1 else "NO")
    assert ("ReferencedFrameNumber" in origin) == ("NumberOfFrames" in source)
    series = made.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    mapping = shared.RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    quantity, finding = [q.ConceptCodeSequence[0] for q in mapping.QuantityDefinitionSequence]
    assert (quantity.CodeValue, quantity.CodingSchemeDesignator) == ("130403", "DCM")
    expected = expect(case, len(sources))[0]["code"][0]
    assert (finding.get("CodeValue") or finding.LongCodeValue) == expected
    region = shared.FrameAnatomySequence[0].AnatomicRegionSequence[0]
    assert region.CodeValue == "51185008"
    assert made.BitsAllocated == 32 and "PixelData" not in made
    values = np.frombuffer(made.FloatPixelData, "<f4").reshape(made.Rows, made.Columns)
    assert abs(values - hill(source, made.Rows, made.Columns, k)).max() < 1e-6
    assert made.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    first = open(out, "rb").read()
    run(REPORT_CASE, "map", case, out, *paths)
    assert first == open(out, "rb").read()


def check_map_geometry(folder, path):
    """A source that has a place in the patient, one without spacing, one of an odd region."""
    out, changed = f"{folder}/v.dcm", f"{folder}/changed.dcm"

    def write(size, **attributes):
        large = f"{folder}/large.dcm"
        run(PHANTOM, "--rows", str(size[0]), "--columns", str(size[1]), "--output", large)
        dataset = pydicom.dcmread(large)
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        dataset.save_as(changed)
        check = subprocess.run([REPORT_CASE, "map", "positive", out, changed],
                               capture_output=True, check=False)
        assert check.returncode == 0, check
        verify(out)
        return pydicom.dcmread(out)

    made = write((600, 1100), FrameOfReferenceUID="1.2.3", PixelSpacing=["0.2", "0.25"],
                 ImagePositionPatient=["-10", "20.5", "3"], SliceThickness="2",
                 ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"])
    assert (made.Rows, made.Columns) == (200, 367)
    assert made.FrameOfReferenceUID == "1.2.3"
    shared = made.SharedFunctionalGroupsSequence[0]
    frame = made.PerFrameFunctionalGroupsSequence[0]
    position = frame.PlanePositionSequence[0].ImagePositionPatient
    assert np.allclose([float(p) for p in position], [-10, 20.75, 2.8], atol=1e-9)
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [0, 1, 0, 0, 0, -1]
    measures = shared.PixelMeasuresSequence[0]
    assert [float(s) for s in measures.PixelSpacing] == [0.6, 0.75]
    assert measures.SliceThickness == 2
    made = write((256, 312), ImagerPixelSpacing=None, PixelSpacing=None, BodyPartExamined="FINGER",
                 AnatomicRegionSequence=None, ImageLaterality="L")
    shared = made.SharedFunctionalGroupsSequence[0]
    assert "PixelSpacing" not in shared.PixelMeasuresSequence[0]
    assert made.FrameOfReferenceUID.startswith("2.25.")
    anatomy = shared.FrameAnatomySequence[0]
    assert anatomy.FrameLaterality == "L"
    assert anatomy.AnatomicRegionSequence[0].CodeValue == "39607008"  # the finding's site
    frames = dict(NumberOfFrames=2, SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3")
    film = pydicom.dcmread(path)
    for keyword, value in frames.items():
        setattr(film, keyword, value)
    film.PixelData = film.PixelData * 2
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.save_as(changed)
    check_map(folder, "edges", [film], [changed])


def check_beyond_images(folder, path):
    """Reports of a text and of risks: what they go by, in words that claim no more."""
    out = f"{folder}/beyond.dcm"

    def comments(case):
        run(REPORT_CASE, "sr", case, out, path)
        verify(out)
        assert "Imaging Measurement Report" in run("dsrdump", out)
        root = Tree(pydicom.dcmread(out))
        groups = root.one("126010").all("125007")
        assert groups and not any(group.all("121112") for group in groups)
        return [t.text() for t in root.one("C0034375").children
                if t.item.ValueType == "TEXT"]

    said = comments("text")
    assert "Read: Reason for Study (0032,1030)" in said
    assert "The text is longer than what was read." in said
    assert ("Words with the largest share of the attention: \"Erguss\" (negated) 0.5, "
            "\"\u00dcbel\" 0.25") in said, said
    start, end = -1.5, -1.5 + sum(0.125 * i * (1 if i % 2 == 0 else -1) for i in range(20))
    headings = {"risk": f"Contributions, before the model's link function, from {start:.6g} to "
                        f"{end:.6g}:",
                "risk-alone": "What each input alone makes out; they do not add up:"}
    for case, heading in headings.items():
        said = comments(case)
        at = said.index("Value: 95.5 min, interval 80 to 130.25")
        assert said[at + 1] == heading, said
        assert [s.startswith("Contribution: ") for s in said].count(True) == 16
        assert said[at + 2] == "Contribution: lab.number_19 = 28.5: -2.375"
        assert said[at + 18] == "4 smaller ones are not shown"
        assert said[at + 19] == "Not known: lab.number_3"
        assert ("Contribution: lab.number_4 = 6 mg/dL (brought into the model's range): +0.5"
                in said)


def check_variants(folder, path):
    """Sources that differ in one thing that the objects must follow."""
    out, changed = f"{folder}/v.dcm", f"{folder}/changed.dcm"

    def write(kind, case, **attributes):
        dataset = pydicom.dcmread(path)
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        if "SOPClassUID" in attributes:
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.save_as(changed)
        run(REPORT_CASE, kind, case, out, changed)
        verify(out)
        return pydicom.dcmread(out), dataset

    # several frames: the reference names the frame
    film = pydicom.dcmread(path)
    frames = dict(NumberOfFrames=2, PixelData=film.PixelData * 2,
                  SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3")
    report, _ = write("sr", "edges", **frames)
    group = Tree(report).one("126010").all("125007")[0]
    assert group.one("121112").item.ReferencedSOPSequence[0].ReferencedFrameNumber == 1
    picture, _ = write("picture", "edges", **frames)
    assert picture.SourceImageSequence[0].ReferencedFrameNumber == 1
    # the clock of the study: 10:15:02 UTC is 15:45:02 there
    for kind in ("sr", "picture"):
        made, _ = write(kind, "positive", TimezoneOffsetFromUTC="+0530")
        assert (made.ContentDate, made.ContentTime) == ("20260115", "154502.250")
        assert made.TimezoneOffsetFromUTC == "+0530"
        stamp = made.ContributingEquipmentSequence[0].ContributionDateTime
        assert str(stamp) == "20260115154502.250+0530"
    made, _ = write("sr", "positive", TimezoneOffsetFromUTC="-1000")
    assert (made.ContentDate, made.ContentTime) == ("20260115", "001502.250")
    os.environ["TZ"] = "XXX-9"  # nine hours east of Greenwich
    made, _ = write("sr", "positive")
    os.environ["TZ"] = "UTC"
    assert (made.ContentDate, made.ContentTime) == ("20260115", "191502.250")
    assert "TimezoneOffsetFromUTC" not in made
    # what is burned in or lost stays said
    made, _ = write("picture", "positive", BurnedInAnnotation="YES")
    assert made.BurnedInAnnotation == "YES"
    made, _ = write("picture", "positive", LossyImageCompression="01",
                    LossyImageCompressionRatio="12.5",
                    LossyImageCompressionMethod="ISO_10918_1")
    assert made.LossyImageCompression == "01" and made.LossyImageCompressionRatio == 12.5
    for odd in ({"BodyPartExamined": "chest (pa)"}, {"PatientOrientation": "l\\f"},
                {"ImageLaterality": "right"}):
        write("picture", "positive", **odd)
    # an anonymous, an empty and an old-fashioned patient
    for kind in ("sr", "picture"):
        made, _ = write(kind, "positive", PatientName="", PatientID="", PatientBirthDate="",
                        PatientSex="", PatientAge=None, StudyID="", AccessionNumber="",
                        ReferringPhysicianName="", BodyPartExamined=None,
                        PatientIdentityRemoved="YES")
        assert made.PatientName == "" and made.DeidentificationMethod
        made, _ = write(kind, "positive", PatientSex="weiblich", PatientAge="4",
                        PatientWeight="12.5")
        assert made.PatientSex == "" and "PatientAge" not in made and made.PatientWeight == 12.5
        made, source = write(kind, "positive", AccessionNumber="A" * 16, PatientID="I" * 64)
        assert (made.AccessionNumber, made.PatientID) == ("A" * 16, "I" * 64)
    dataset = pydicom.dcmread(path)
    raw = open(path, "rb").read().replace(b"\x08\0\x20\0DA\x08\x0020260115",
                                          b"\x08\0\x20\0DA\x0a\x002026.01.15", 1)
    open(changed, "wb").write(raw)
    run(REPORT_CASE, "sr", "positive", out, changed)
    verify(out)
    assert pydicom.dcmread(out).StudyDate == dataset.StudyDate == "20260115"


def main():
    with tempfile.TemporaryDirectory() as folder:
        small = ["--rows", "256", "--columns", "312"]
        sets = {"plain": ["--photometric", "MONOCHROME1"],
                "request": ["--request", "--accession", "A1"],
                "latin1": ["--charset", "latin1", "--patient-name", "M\u00fcller^J\u00f6rg"],
                "utf8": ["--patient-name",
                         "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060"]}
        seen = set()
        for name, options in sets.items():
            paths = []
            for i in range(1, 4):
                paths.append(f"{folder}/{name}{i}.dcm")
                run(PHANTOM, *small, *options, "--instance-number", str(i), "--output", paths[-1])
            sources = [pydicom.dcmread(p) for p in paths]
            few = name != "plain"
            for case in ("positive", "mixed", "foreign", "failed") if few else CASES:
                for n in (1, 3):
                    out = f"{folder}/out.dcm"
                    run(REPORT_CASE, "sr", case, out, *paths[:n])
                    report = check_sr(out, case, sources[:n], paths)
                    seen.add(report.SOPInstanceUID)
                    if n == 3:
                        first = hashlib.sha256(open(out, "rb").read()).digest()
                        run(REPORT_CASE, "sr", case, out, *paths[:n])
                        assert first == hashlib.sha256(open(out, "rb").read()).digest()
                    run(REPORT_CASE, "picture", case, out, *paths[:n])
                    picture = check_picture(out, case, sources[:n])
                    assert picture.SOPInstanceUID != report.SOPInstanceUID
                    assert picture.SeriesInstanceUID != report.SeriesInstanceUID
                    check_map(folder, case, sources[:n], paths[:n])
                    if name == "latin1" or name == "utf8" or case == "foreign":
                        assert report.SpecificCharacterSet == "ISO_IR 192"
                    else:
                        assert "SpecificCharacterSet" not in report
        check_beyond_images(folder, f"{folder}/plain1.dcm")
        check_variants(folder, f"{folder}/plain1.dcm")
        check_map_geometry(folder, f"{folder}/plain1.dcm")
        print(len(seen), "different reports")


main()
