#!/usr/bin/python3
"""medaid --oneshot as its users call it: results, exit codes, hostile input.

usage: test_oneshot.py BUILD [test...]; run from anywhere.
"""
import io
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import time

import jsonschema
import numpy
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

root = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(root / "tests" / "support"))
import tap  # noqa: E402

BUILD = pathlib.Path(sys.argv[1]).resolve()
MEDAID = BUILD / "daemon" / "medaid"
PHANTOM = BUILD / "tests" / "support" / "medaid-phantom"
CONFIG = root / "conf" / "medaid.yaml"
FILMS = root.parent / "shared" / "data" / "chest-xray-original"
SCHEMA = json.loads((root / "docs" / "oneshot.schema.json").read_text())
SC = "1.2.840.10008.5.1.4.1.1.7"
MAP = "1.2.840.10008.5.1.4.1.1.30"
SR = "1.2.840.10008.5.1.4.1.1.88.34"


class Oneshot:
    folder = ""

    # ---- helpers ----

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def phantom(self, name="film.dcm", *options):
        """A small phantom; returns its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        subprocess.run([PHANTOM, "--output", path, "--rows", "512", "--columns", "620",
                        "--opacity", "right", *options],
                       check=True, stdout=subprocess.DEVNULL)
        return path

    def medaid(self, *args, expect=0, config=CONFIG, output=None):
        """Run; returns the finished process after checking its exit code and that it did not crash."""
        command = [str(MEDAID), "--oneshot", "--config", str(config), "--output",
                   output or self.path("results"), *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        return done

    def studies(self, *args, **options):
        """Run with --json; returns the parsed objects, each checked against the schema."""
        done = self.medaid("--json", *args, **options)
        objects = [json.loads(line) for line in done.stdout.splitlines()]
        for one in objects:
            jsonschema.validate(one, SCHEMA)
        return objects, done.stderr

    def damaged(self, name, change, **phantom_options):
        """A phantom changed by `change(dataset)` with pydicom."""
        source = self.phantom("source-" + name)
        dataset = pydicom.dcmread(source)
        os.unlink(source)
        change(dataset)
        path = self.path(name)
        dataset.save_as(path)
        return path

    def refused(self, path, *words, expect=3):
        """The file is refused with one line that names it and the reason, a good one beside it is
        analysed all the same."""
        good = self.phantom("good.dcm", "--study-uid", "1.2.3.4.5", "--sop-uid", "1.2.3.4.5.6")
        objects, errors = self.studies("--overwrite", path, good, expect=expect)
        lines = [line for line in errors.splitlines() if str(path) in line]
        assert len(lines) == 1, errors
        for word in words:
            assert word.lower() in lines[0].lower(), lines[0]
        assert any(one["results"] and one["results"][0]["findings"] for one in objects), objects

    # ---- the main job ----

    def test_one_film(self):
        film = self.phantom()
        objects, _ = self.studies(film)
        assert len(objects) == 1
        study = objects[0]
        assert study["status"] == "analysed"
        result = study["results"][0]
        assert result["model"]["id"] == "chest-pneumonia"
        assert result["findings"][0]["key"] == "pneumonia"
        assert result["findings"][0]["concept"]["code"] == "233604007"
        assert 0.0 <= result["findings"][0]["score"] <= 1.0
        assert any("resize" in step for step in result["instances"][0]["steps"])
        source = pydicom.dcmread(film)
        classes = []
        for one in study["objects"]:
            written = pydicom.dcmread(one["path"])
            classes.append(written.SOPClassUID)
            assert written.SOPInstanceUID == one["sop_instance_uid"]
            assert written.StudyInstanceUID == source.StudyInstanceUID
            assert written.PatientID == source.PatientID
            assert written.PatientName == source.PatientName
            check = subprocess.run(["dciodvfy", one["path"]], capture_output=True, text=True,
                                   check=False)
            assert "Error" not in check.stderr, check.stderr
        assert sorted(classes) == sorted([SR, SC])

    def test_table(self):
        done = self.medaid(self.phantom())
        for word in ("finding", "presence", "score", "threshold", "Pneumonia", "image 1:", "time:",
                     "report", "picture"):
            assert word in done.stdout, done.stdout
        assert done.stderr == "", done.stderr

    def test_timing(self):
        """Every stage is in the table and in the JSON, no stage counts twice, and two studies add up."""
        large = ("--rows", "2048", "--columns", "2500")  # each stage takes more than the 0.05 ms that are told
        films = [self.phantom(f"{number}.dcm", *large, "--study-uid", f"1.2.{number}") for number in (1, 2)]
        objects, errors = self.studies("--timing", *films)
        lines = [line.split() for line in errors.splitlines()]
        assert lines[0] == ["time,", "ms:"], errors
        table = {re.match(r"\s*(\D*?)\s+\d", line)[1]: float(re.search(r"\d+\.\d", line)[0])
                 for line in errors.splitlines()[1:]}
        names = {"start-up": "start_up", "DICOM library": "library", "find files": "find"}
        assert len(table) == 22 and table["CPU"] > 0 and table["exit"] >= 0, table
        in_order = [value for name, value in table.items() if name not in ("start-up", "total", "CPU")]
        assert sum(in_order) <= table["total"] + 1, table
        for name in ("models", "decode", "normalise", "quality", "resize", "network", "report", "picture", "write"):
            assert table[name] > 0, (name, table)
        for name, value in table.items():
            if name in ("exit", "total", "CPU"):
                continue
            of_studies = [one["timing_ms"][names.get(name, name)] for one in objects]
            of_process = name in ("start-up", "configuration", "DICOM library", "find files", "models")
            expected = of_studies[0] if of_process else sum(of_studies)
            assert abs(value - expected) <= 0.1 and (not of_process or of_studies[0] == of_studies[1]), name
        without, errors = self.studies("--overwrite", films[0])
        assert "timing_ms" not in without[0] and errors == "", errors

    def test_results_are_never_overwritten_silently(self):
        film = self.phantom()
        first, _ = self.studies(film)
        before = {one["path"]: open(one["path"], "rb").read() for one in first[0]["objects"]}
        again, errors = self.studies(film, expect=7)
        assert again[0]["status"] == "writing_failed" and "exists" in errors
        assert all(open(path, "rb").read() == data for path, data in before.items())
        replaced, _ = self.studies("--overwrite", film)
        uids = [one["sop_instance_uid"] for one in first[0]["objects"]]
        assert [one["sop_instance_uid"] for one in replaced[0]["objects"]] == uids

    def test_studies_are_grouped(self):
        for study in ("1", "2"):
            for image in ("1", "2"):
                self.phantom(f"in/{image}{study}.dcm", "--study-uid", f"1.2.3.{study}", "--series-uid",
                             f"1.2.3.{study}.9", "--sop-uid", f"1.2.3.{study}.{image}")
        with open(self.path("in", "readme.txt"), "w", encoding="utf-8") as note:
            note.write("not DICOM")
        objects, errors = self.studies(self.path("in"))
        assert [one["study_instance_uid"] for one in objects] == ["1.2.3.1", "1.2.3.2"]
        for one in objects:
            assert len(one["results"][0]["instances"]) == 2
        assert errors == "", errors

    def test_links_in_a_folder(self):
        """Linked files are read, linked folders are not, a dead link is told."""
        film = self.phantom("elsewhere/film.dcm")
        os.mkdir(self.path("in"))
        os.symlink(film, self.path("in", "film.dcm"))
        os.symlink(self.path("elsewhere"), self.path("in", "folder"))
        os.symlink(self.path("in"), self.path("in", "circle"))
        objects, errors = self.studies(self.path("in"))
        assert len(objects) == 1 and errors == "", errors
        os.symlink(self.path("gone"), self.path("in", "dead"))
        objects, errors = self.studies("--overwrite", self.path("in"), expect=3)
        assert len(objects) == 1 and "/dead: a link that leads nowhere" in errors, errors

    def test_dicomdir(self):
        for name in ("A1", "A2"):
            self.phantom(f"cd/IMAGES/{name}", "--sop-uid", f"1.2.3.4.{name[1]}")
        subprocess.run(["dcmmkdir", "+id", self.path("cd"), "+D", self.path("cd", "DICOMDIR"), 
                        "IMAGES/A1", "IMAGES/A2"], check=True, capture_output=True)
        objects, _ = self.studies(self.path("cd", "DICOMDIR"))
        assert len(objects) == 1 and len(objects[0]["results"][0]["instances"]) == 2, objects

    def test_monochrome1_and_2_agree(self):
        scores = []
        for name, sop in (("MONOCHROME1", "1.2.3.1"), ("MONOCHROME2", "1.2.3.2")):
            film = self.phantom(name + ".dcm", "--photometric", name, "--study-uid", sop)
            objects, _ = self.studies(film)
            scores.append(objects[0]["results"][0]["findings"][0]["score"])
        assert abs(scores[0] - scores[1]) < 0.01, scores

    def test_model_by_name(self):
        film = self.phantom()
        objects, _ = self.studies("--model", "chest-pneumonia", film)
        assert objects[0]["results"][0]["model"]["id"] == "chest-pneumonia"
        self.medaid("--model", "no-such-model", film, expect=4)

    # ---- what is not for the model ----

    def test_other_body_part(self):
        knee = self.phantom("knee.dcm", "--body-part", "KNEE")
        objects, _ = self.studies(knee, expect=4)
        assert objects[0]["status"] == "no_model" and objects[0]["results"] == []
        assert "KNEE" in objects[0]["reason"], objects

    def test_colour_is_not_a_chest_film(self):
        def paint(dataset):
            dataset.PhotometricInterpretation = "RGB"
            dataset.SamplesPerPixel = 3
            dataset.PlanarConfiguration = 0
            dataset.BitsAllocated = dataset.BitsStored = 8
            dataset.HighBit = 7
            dataset.PixelData = bytes(dataset.Rows * dataset.Columns * 3)
        path = self.damaged("colour.dcm", paint)
        objects, _ = self.studies(path, expect=4)
        assert objects[0]["results"] == []

    def test_blank_film_fails_the_gate(self):
        def blank(dataset):
            dataset.PixelData = struct.pack("<H", 1000) * (dataset.Rows * dataset.Columns)
        objects, _ = self.studies(self.damaged("blank.dcm", blank), expect=5)
        result = objects[0]["results"][0]
        assert result["status"] == "failed" and result["findings"] == []
        assert result["failure"]["scheme"] == "DCM"
        assert objects[0]["reason"].count("chest-pneumonia") == 1, objects[0]["reason"]

    # ---- bad input ----

    def test_usage(self):
        for args in ([], ["--oneshot"], ["--no-such-option"], ["--oneshot", "--daemon"],
                     ["--oneshot", "--send", "nonsense", "x"], ["--daemon", "--model", "x"],
                     ["--daemon", "--json"], ["--list-models", "--json"],
                     ["--explain-model", "plugins/chest", "--json"],
                     ["--explain-model", "plugins/chest", "--model", "x"],
                     ["--check-config", "--send", "A@b:104"]):
            done = subprocess.run([MEDAID, *args], capture_output=True, text=True, check=False)
            assert done.returncode == 2 and done.stdout == "", (args, done)

    def test_missing_file(self):
        self.refused(self.path("nothing.dcm"), "no such file")

    def test_explain_model(self):
        """Every convolution of the chest model with what was fused into it, times that add up."""
        done = subprocess.run([MEDAID, "--explain-model", root / "plugins/chest"],
                              capture_output=True, text=True, check=True)
        steps = [line for line in done.stdout.splitlines() if re.match(r" *\d+  ", line)]
        convolutions = [line for line in steps if " Conv " in line]
        assert len(convolutions) == 18, done.stdout
        assert sum("Add Relu" in line for line in convolutions) == 7, done.stdout
        total = re.search(r"total (\d+) steps, ([\d.]+) ms, ([\d.]+) GFLOP", done.stdout)
        assert int(total[1]) == len(steps) and abs(float(total[3]) - 0.704) < 0.001, total
        times = sum(float(line.split()[-2]) for line in steps)
        assert abs(times / 1e3 - float(total[2])) < 0.01, (times, total)
        done = subprocess.run([MEDAID, "--explain-model", self.path("nothing")], capture_output=True,
                              text=True, check=False)
        assert done.returncode == 3 and "nothing" in done.stderr, done

    def test_names_that_are_no_text(self):
        """A file name cannot forge lines, and one that is no UTF-8 does not spoil the JSON."""
        good = self.phantom()
        wrong = os.fsencode(self.path("a\nmedaid: b\x1b[31m")) + b"\xff\xc3.dcm"
        with open(wrong, "wb") as out:
            out.write(b"not DICOM")
        command = [MEDAID, "--oneshot", "--config", CONFIG, "--json", "--output"]
        for output, code in ((b"results\xff \xc3", 3), (b"file\xff/results", 7)):
            output = os.fsencode(self.path("")) + output
            if code == 7:
                open(os.path.dirname(output), "wb").close()
            done = subprocess.run([*command, output, wrong, good], capture_output=True, check=False)
            assert done.returncode == code, done
            told = [line for line in done.stderr.splitlines() if b".dcm: " in line]
            assert len(told) == 1 and b"?medaid: b?[31m" in told[0], done.stderr
            study = json.loads(done.stdout.decode())
            jsonschema.validate(study, SCHEMA)
            assert len(study["objects"]) == 2, study
            if code == 3:
                assert all("results\ufffd \ufffd/" in one["path"] for one in study["objects"]), study
            else:
                assert "file\ufffd" in study["reason"], study

    def test_not_dicom(self):
        path = self.path("text.dcm")
        with open(path, "wb") as out:
            out.write(b"this is not DICOM " * 100)
        self.refused(path)

    def test_empty_file(self):
        path = self.path("empty.dcm")
        open(path, "wb").close()
        self.refused(path)

    def test_truncated_at_many_places(self):
        data = open(self.phantom(), "rb").read()
        for part in range(1, 12):
            path = self.path(f"cut-{part}.dcm")
            with open(path, "wb") as out:
                out.write(data[:len(data) * part // 12])
            done = self.medaid(path, expect=3)
            assert len(done.stderr.splitlines()) == 1 and path in done.stderr, done.stderr

    def test_pixel_data_too_short(self):
        def cut(dataset):
            dataset.PixelData = dataset.PixelData[:len(dataset.PixelData) // 2]
        self.refused(self.damaged("short.dcm", cut), "(7fe0,0010)")

    def test_absurd_sizes(self):
        def large(dataset):
            dataset.Rows = dataset.Columns = 65535
        self.refused(self.damaged("large.dcm", large))

        def many(dataset):
            dataset.NumberOfFrames = 2**31 - 1
        self.refused(self.damaged("many.dcm", many))

    def test_missing_rows(self):
        self.refused(self.damaged("rows.dcm", lambda d: d.__delattr__("Rows")), "(0028,0010)")

    def test_zero_window_width(self):
        def zero(dataset):
            dataset.WindowWidth = 0
        objects, _ = self.studies(self.damaged("window.dcm", zero))
        steps = objects[0]["results"][0]["instances"][0]["steps"]
        assert any("window" in step and "ignored" in step for step in steps), steps

    def test_wrong_vr(self):
        data = open(self.phantom(), "rb").read()
        rows = data.find(b"\x28\x00\x10\x00US\x02\x00")
        path = self.path("vr.dcm")
        with open(path, "wb") as out:
            out.write(data[:rows] + b"\x28\x00\x10\x00LO" + data[rows + 6:])
        self.refused(path, "(0028,0010)")

    def compressed(self, name, syntax, stream):
        def change(dataset):
            dataset.PixelData = encapsulate([stream])
            dataset["PixelData"].is_undefined_length = True
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.is_implicit_VR = False
            dataset.is_little_endian = True
        return self.damaged(name, change)

    def test_broken_streams(self):
        j2k = b"\xff\x4f\xff\x51" + bytes(range(256)) * 8
        self.refused(self.compressed("j2k.dcm", JPEG2000Lossless, j2k), "jpeg 2000")
        jpeg = b"\xff\xd8\xff\xc0" + bytes(range(256)) * 8
        self.refused(self.compressed("jpeg.dcm", JPEGBaseline8Bit, jpeg), "jpeg")

    # ---- configuration and models ----

    def config(self, text):
        path = self.path("medaid.yaml")
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def test_bad_configuration(self):
        film = self.phantom()
        for text, line, word in (("ae:\n  titel: X\n", 2, "titel"), ("ae:\n  port: many\n", 2, "port"),
                                 ("ae:\n  port: 99999\n", 2, "port"), ("ae: [\n", 1, "ae")):
            done = self.medaid(film, config=self.config(text), expect=2)
            assert len(done.stderr.splitlines()) == 1, done.stderr
            assert word in done.stderr and f":{line}:" in done.stderr, done.stderr

    def test_check_config(self):
        def check(text, expect):
            done = subprocess.run([MEDAID, "--check-config", "--config", self.config(text)],
                                  capture_output=True, text=True, check=False)
            assert done.returncode == expect, done
            return done.stdout + done.stderr
        plugins = f"plugins: {{paths: [{root / 'plugins'}]}}\n"
        assert ": good" in check(plugins, 0)
        key, certificate = self.path("key.pem"), self.path("certificate.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key,
                        "-out", certificate, "-days", "2", "-subj", "/CN=localhost"], check=True,
                       capture_output=True)
        tls = f"tls: {{certificate: {certificate}, private_key: {key}, ca: {certificate}}}"
        to = f"destinations: [{{name: pacs, ae_title: PACS, host: localhost, {tls}}}]\n"
        assert ": good" in check(plugins + f"ae: {{{tls}}}\n" + to, 0)
        os.chmod(key, 0o644)
        said = check(plugins + f"ae: {{{tls}}}\n" + to, 2)
        assert "medaid.yaml:2: key 'ae.tls'" in said and said.count("chmod 600") == 2, said
        assert "medaid.yaml:3: key 'destinations[0].tls'" in said, said
        os.chmod(key, 0o600)
        assert "warning: " in check(plugins + f"ae: {{{tls}}}\n", 0)  # two days are left
        with open(certificate, "w", encoding="ascii") as out:
            out.write("nothing")
        assert "certificate.pem" in check(plugins + f"ae: {{{tls}}}\n", 2)

    def test_check_config_finds_all(self):
        """Every problem of one file in one run, each with its line."""
        with socket.socket() as taken, socket.socket() as silent:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            silent.bind(("127.0.0.1", 0))  # nobody listens
            port, closed = taken.getsockname()[1], silent.getsockname()[1]
            text = f"""plugins: {{paths: [{root / 'plugins'}]}}
ae:
  port: {port}
destinations:
- {{name: own, ae_title: A, host: 127.0.0.1, port: {port}}}
- {{name: gone, ae_title: A, host: no-such-host.invalid}}
- {{name: dead, ae_title: A, host: 127.0.0.1, port: {closed}, timeout_s: 5}}
- {{name: twin, ae_title: A, host: 127.0.0.1, port: {closed}, timeout_s: 5}}
storage:
  path: /dev/null
audit: {{to: local, socket: /no/such/socket}}
user: no-such-user
"""
            done = subprocess.run([MEDAID, "--check-config", "--echo", "--config",
                                   self.config(text)], capture_output=True, text=True, check=False)
        assert done.returncode == 2, done
        found = re.findall(r"^medaid: (warning: )?\S+/medaid\.yaml:(\d+): key '(\S+)': .+$",
                           done.stderr, re.MULTILINE)
        expected = [("", "12", "user"), ("", "3", "ae.port"), ("", "10", "storage.path"),
                    ("", "5", "destinations[0].host"), ("", "5", "destinations[0]"),
                    ("", "6", "destinations[1].host"), ("", "7", "destinations[2]"),
                    ("warning: ", "8", "destinations[3].host"), ("", "8", "destinations[3]"),
                    ("", "11", "audit.socket")]
        assert found == expected, (found, done.stderr)
        assert len(done.stderr.splitlines()) == len(expected), done.stderr
        assert "9 problems, 1 warnings" in done.stdout, done.stdout

    def package(self, change):
        """A copy of the chest package, changed; returns a configuration that uses it alone."""
        folder = pathlib.Path(self.path("plugins"))
        shutil.copytree(root / "plugins" / "chest", folder / "chest")
        change(folder / "chest")
        return self.config(f"plugins:\n  paths: [{folder}]\n")

    def test_broken_packages(self):
        film = self.phantom()

        def truncate(folder):
            data = (folder / "model.onnx").read_bytes()
            (folder / "model.onnx").write_bytes(data[:len(data) // 2])

        def unknown_key(folder):
            text = (folder / "model.yaml").read_text()
            (folder / "model.yaml").write_text(text + "\nsurprise: 1\n")

        def no_network(folder):
            (folder / "model.onnx").unlink()

        for change, word in ((truncate, "sha-256"), (unknown_key, "surprise"),
                             (no_network, "model.onnx")):
            done = self.medaid(film, config=self.package(change), expect=4)
            assert word in done.stderr.lower(), done.stderr
            shutil.rmtree(self.path("plugins"))

    # ---- sending ----

    def test_send_to_nobody(self):
        objects, _ = self.studies("--send", "PACS@127.0.0.1:9", self.phantom(), expect=6)
        assert objects[0]["status"] == "sending_failed" and objects[0]["sent"]["stored"] == 0

    def test_send_to_a_peer(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.mkdir(self.path("received"))
        peer = subprocess.Popen(["storescp", "--output-directory", self.path("received"), str(port)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(600):
                if subprocess.run(["echoscu", "127.0.0.1", str(port)], capture_output=True,
                                  check=False).returncode == 0:
                    break
                time.sleep(0.1)
            objects, _ = self.studies("--send", f"PACS@127.0.0.1:{port}", self.phantom())
        finally:
            peer.terminate()
            peer.wait()
        assert objects[0]["sent"] == {"to": f"PACS@127.0.0.1:{port}", "stored": 2}, objects
        received = {pydicom.dcmread(path).SOPInstanceUID
                    for path in pathlib.Path(self.path("received")).iterdir()}
        assert received == {one["sop_instance_uid"] for one in objects[0]["objects"]}

    # ---- what is written, and what not ----

    def test_kinds_of_results(self):
        plugins = f"plugins: {{paths: [{root / 'plugins'}]}}\n"
        film = self.phantom()
        for kind, wanted in (("sr", [SR]), ("picture", [SC]), ("both", sorted([SR, SC]))):
            config = self.config(plugins + f"results: {{kind: {kind}}}\n")
            objects, _ = self.studies(film, config=config, output=self.path(kind))
            assert sorted(one["sop_class_uid"] for one in objects[0]["objects"]) == wanted
        for option, more in (([], "results: {kind: sr, parametric_map: true}\n"),
                             (["--parametric-map"], "results: {kind: sr}\n")):
            config = self.config(plugins + more)
            objects, _ = self.studies(film, *option, "--overwrite", config=config,
                                      output=self.path("map"))
            shown = [f for f in objects[0]["results"][0]["findings"] if f["presence"] != "absent"]
            classes = [one["sop_class_uid"] for one in objects[0]["objects"]]
            assert classes == [SR] + [MAP] * len(shown), classes
        config = self.config(plugins + "results: {triage_only: true, parametric_map: true}\n")
        objects, _ = self.studies(film, config=config, output=self.path("triage"))
        assert sorted(one["sop_class_uid"] for one in objects[0]["objects"]) == sorted([SR, SC])
        whole = pydicom.dcmread(next(pathlib.Path(self.path("picture")).iterdir())).pixel_array
        for one in objects[0]["objects"]:
            written = pydicom.dcmread(one["path"])
            if one["sop_class_uid"] == SC:  # no overlay: the image itself is grey
                image = written.pixel_array[100:-100, 100:400].astype(int)
                assert (image.max(axis=2) - image.min(axis=2)).max() == 0
                image = whole[100:-100, 100:400].astype(int)
                assert (image.max(axis=2) - image.min(axis=2)).max() > 30

    def test_real_films(self):
        """Films that the network has learnt, wrapped as DX: the whole path keeps what it knows."""
        if not FILMS.is_dir():
            raise tap.Skip("no ../shared/data/chest-xray-original")
        template = pydicom.dcmread(self.phantom())
        wrong = n_films = 0
        for folder, presence in (("NORMAL", "absent"), ("PNEUMONIA", "present")):
            for number, path in enumerate(sorted((FILMS / folder).iterdir())[:12]):
                grey = numpy.asarray(Image.open(path).convert("L"))
                film = pydicom.dcmread(self.path("film.dcm"))
                film.PhotometricInterpretation = "MONOCHROME2"
                film.PresentationLUTShape = "IDENTITY"
                film.Rows, film.Columns = grey.shape
                film.BitsAllocated = film.BitsStored = 8
                film.HighBit = 7
                film.WindowCenter, film.WindowWidth = 128, 256
                film.PixelData = grey.tobytes() + bytes(grey.size % 2)
                film.StudyInstanceUID = f"{template.StudyInstanceUID[:40]}.{folder == 'NORMAL':d}.{number}"
                film.SOPInstanceUID = film.StudyInstanceUID + ".1"
                film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
                film.save_as(self.path(f"{folder}-{number}.dcm"))
                n_films += 1
            objects, _ = self.studies(
                *[self.path(f"{folder}-{i}.dcm") for i in range(12)], output=self.path(folder))
            found = [one["results"][0]["findings"][0]["presence"] for one in objects]
            wrong += sum(one != presence for one in found)
        assert n_films == 24 and wrong <= 2, wrong

    def test_smaller_decode_agrees(self):
        """A JPEG 2000 film is decoded no larger than the network needs; scores stay within 0.01
        of those of the whole film, and no decision is another one."""
        if not FILMS.is_dir():
            raise tap.Skip("no ../shared/data/chest-xray-original")
        film = pydicom.dcmread(self.phantom())
        film.PhotometricInterpretation, film.PresentationLUTShape = "MONOCHROME2", "IDENTITY"
        film.BitsAllocated = film.BitsStored = 8
        film.HighBit, film.WindowCenter, film.WindowWidth = 7, 128, 256
        for folder in ("native", "j2k"):
            os.mkdir(self.path(folder))
        for number, path in enumerate(sorted(FILMS.rglob("*.jpeg"))):
            grey = Image.open(path).convert("L")
            film.Columns, film.Rows = grey.size
            film.StudyInstanceUID, film.SOPInstanceUID = f"1.2.3.{number}", f"1.2.3.{number}.1"
            film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
            film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            film.PixelData = grey.tobytes() + bytes(film.Rows * film.Columns % 2)
            film["PixelData"].is_undefined_length = False
            film.save_as(self.path("native", f"{number}.dcm"))
            stream = io.BytesIO()
            grey.save(stream, "JPEG2000", irreversible=False)
            codestream = stream.getvalue()
            film.PixelData = encapsulate([codestream[codestream.index(b"\xff\x4f\xff\x51"):]])
            film["PixelData"].is_undefined_length = True
            film.file_meta.TransferSyntaxUID = JPEG2000Lossless
            film.save_as(self.path("j2k", f"{number}.dcm"))
        config = self.config(f"plugins: {{paths: [{root / 'plugins'}]}}\nresults: {{kind: sr}}\n")
        found = {}
        for folder in ("native", "j2k"):
            objects, _ = self.studies(self.path(folder), config=config, output=self.path(folder + "-sr"))
            found[folder] = {one["study_instance_uid"]: one["results"][0] for one in objects}
        assert len(found["native"]) == len(found["j2k"]) == 100
        n_smaller, largest = 0, 0.0
        for uid, whole in found["native"].items():
            smaller = found["j2k"][uid]
            n_smaller += any("decoded at 1/" in step for step in smaller["instances"][0]["steps"])
            a, b = whole["findings"][0], smaller["findings"][0]
            assert abs(a["score"] - b["score"]) <= 0.01, (uid, a["score"], b["score"])
            assert a["presence"] == b["presence"], uid
            largest = max(largest, abs(a["score"] - b["score"]))
        print(f"# {n_smaller} of {len(found['j2k'])} films decoded smaller, scores differ by at most {largest:.4f}",
              flush=True)
        assert n_smaller >= 50, n_smaller

    # ---- no patient data on the terminal ----

    def test_no_patient_data_is_printed(self):
        marks = ("MARKERNAME", "MARKERID")
        film = self.phantom("film.dcm", "--patient-name", marks[0] + "^X", "--patient-id", marks[1])
        done = self.medaid(film)
        listing = "\n".join(os.listdir(self.path("results")))
        for mark in marks:
            assert mark not in done.stdout + done.stderr + listing


tap.run(Oneshot)
