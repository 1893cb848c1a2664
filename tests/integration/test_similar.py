#!/usr/bin/python3
"""Similar cases through the daemon: every analysed study leaves a vector, the copy of a film is found
as its nearest, over medaidctl and on the web page's JSON, with what a reader said; what is lost or
damaged of the index is made again, and nothing of it touches a result."""
import hashlib
import http.client
import json
import pathlib
import subprocess
import sys

import pydicom
import pydicom.uid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import hospital  # noqa: E402

TOKENS = {"reader": ("reader", True), "guest": ("viewer", False)}


def web(port):
    return {"port": port, "users": [
        {"name": name, "token_sha256": hashlib.sha256(name.encode()).hexdigest(), "role": role, "patient": patient}
        for name, (role, patient) in TOKENS.items()]}


def get(port, token, path):
    """The JSON of a page of one who is logged in."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/login", json.dumps({"token": token}))
    answer = connection.getresponse()
    cookie = answer.headers["Set-Cookie"].split(";")[0]
    answer.read()
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    body = answer.read()
    return answer.status, json.loads(body), body


def copy_of(film, path, birth_date=None, sex=None):
    """The same pixels as another study of somebody else."""
    dataset = pydicom.dcmread(film)
    dataset.StudyInstanceUID = pydicom.uid.generate_uid()
    dataset.SeriesInstanceUID = pydicom.uid.generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    if birth_date:
        dataset.PatientBirthDate = birth_date
    if sex:
        dataset.PatientSex = sex
    dataset.save_as(path)
    return path


def similar(medaid, key, *words, code=0):
    return json.loads(medaid.ctl("similar", key, "--json", *words, code=code))


def wait_cases(medaid, key, n):
    """Until so many others are found; the socket may not be there yet, or the index be in the making."""
    def there():
        done = subprocess.run([hospital.CTL, "--config", medaid.configuration, "similar", key, "--json",
                               "--limit", "50"], capture_output=True, check=False)
        cases = json.loads(done.stdout)["cases"] if medaid.alive() and done.returncode == 0 else []
        return cases if len(cases) == n else None
    return hospital.wait_for(f"{n} similar cases", there)


def index_files(medaid):
    return sorted((medaid.store / "similar").glob("*.vectors"))


def check_found(site, medaid, films, port):
    """The copy first; the outcome with it; no more of it than one may see."""
    uids = [str(pydicom.dcmread(film).StudyInstanceUID) for film in films]
    hospital.send(medaid, *films)
    hospital.wait_for("all results", lambda: len(medaid.lines("study_analysed")) >= len(films))
    keys = [medaid.key_of(uid) for uid in uids]
    cases = wait_cases(medaid, keys[0], len(films) - 1)
    # the same pixels, age and sex; the same pixels of the other sex are one tenth away
    assert cases[0]["study"] == keys[1] and cases[0]["distance"] < 1e-5, cases[0]
    (other,) = [case for case in cases if case["study"] == keys[2]]
    assert 0.09 < other["distance"] < 0.12, other
    distances = [case["distance"] for case in cases]
    assert distances == sorted(distances) and abs(cases[0]["cosine"] + distances[0] - 1) < 1e-9
    assert cases[0]["kept"] and cases[0]["state"] == "done" and cases[0]["findings"][0]["key"] == "pneumonia"
    assert cases[0]["findings"][0]["verdict"] is None and "patient" not in cases[0]
    model = cases[0]["findings"][0]["model"]
    presence = cases[0]["findings"][0]["presence"]
    if presence != "undetermined":
        medaid.ctl("disagree", keys[1], "--model", model, "--finding", "pneumonia", "--reader", "dr-a")
        other = {"present": "absent", "absent": "present"}[presence]
        assert similar(medaid, keys[0])["cases"][0]["findings"][0]["verdict"] == other
        assert f"({other})" in medaid.ctl("similar", keys[0])
    assert len(similar(medaid, keys[0])["cases"]) == 3  # similar.n_nearest
    assert len(similar(medaid, keys[0], "--limit", "1")["cases"]) == 1
    medaid.ctl("similar", keys[0], "--limit", "101", code=2)
    medaid.ctl("similar", "f" * 16, code=3)
    code, answer, body = get(port, "reader", f"/api/v1/study/{keys[0]}/similar")
    assert code == 200 and answer["cases"][0]["study"] == keys[1], answer
    assert answer["cases"][0]["patient"]["patient_id"] == hospital.PATIENT[1]
    code, answer, body = get(port, "guest", f"/api/v1/study/{keys[0]}/similar")
    assert code == 200 and len(answer["cases"]) == 3
    for mark in hospital.PATIENT:
        assert mark.encode() not in body
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/api/v1/study/{keys[0]}/similar")
    assert connection.getresponse().status == 401
    return keys


def check_index(medaid, keys, n):
    """Believed after a restart, made again when it is cut, wrong or gone."""
    (path,) = index_files(medaid)
    before = similar(medaid, keys[0])["cases"]
    for damage in (None, "cut", "wrong", "gone"):
        medaid.stop()
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-1000])
        elif damage == "wrong":
            path.write_bytes(b"this is no index" * 100)
        elif damage == "gone":
            path.unlink()
        n_before = len(medaid.lines("similar_index_damaged"))
        medaid.start()
        assert len(wait_cases(medaid, keys[0], n)) == n
        assert [c["study"] for c in similar(medaid, keys[0])["cases"]] == [c["study"] for c in before]
        told = len(medaid.lines("similar_index_damaged")) - n_before
        assert told == (1 if damage in ("cut", "wrong") else 0), (damage, told)


def check_analysed_again(site, medaid, films, keys, n):
    """A late film: the vector is that of both, under the same study, once."""
    late = copy_of(site.film("--opacity", "left", seed=90), site.folder / "late.dcm")
    dataset, first = pydicom.dcmread(late), pydicom.dcmread(films[0])
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = first.StudyInstanceUID, first.SeriesInstanceUID
    dataset.save_as(late)
    hospital.send(medaid, late)
    hospital.wait_for("the second analysis", lambda: medaid.query(
        "SELECT count(*) FROM vector WHERE generation = 2")[0][0] == 1)
    assert medaid.query("SELECT count(*) FROM vector")[0][0] == n + 1
    hospital.wait_for("the nearest to be farther", lambda: len(
        similar(medaid, keys[0], "--limit", "50")["cases"]) == n and
        similar(medaid, keys[0])["cases"][0]["distance"] > 1e-4)


def check_off(site, medaid, keys):
    """Without it results are made as ever; the index goes."""
    medaid.stop()
    medaid.configure(similar={"enabled": False}).start()
    assert not index_files(medaid)
    medaid.ctl("similar", keys[0], code=3)
    hospital.send(medaid, site.film(seed=91))
    n = medaid.query("SELECT count(*) FROM vector")[0][0]
    hospital.wait_for("its result", lambda: len(medaid.studies("--state", "done")) == len(keys) + 1)
    assert medaid.query("SELECT count(*) FROM vector")[0][0] == n
    # where the index cannot be written, the result goes its way all the same
    medaid.stop()
    for path in (medaid.store / "similar").iterdir():
        path.unlink()
    (medaid.store / "similar").rmdir()
    (medaid.store / "similar").write_text("in the way", encoding="ascii")
    medaid.configure(similar={"enabled": True}).start()
    medaid.wait_line("similar_failed")
    hospital.send(medaid, site.film(seed=92))
    hospital.wait_for("its result", lambda: len(medaid.studies("--state", "done")) == len(keys) + 2)


def main():
    with hospital.Hospital("similar") as site:
        (port,) = hospital.free_ports(1)
        medaid = site.medaid(web=web(port), similar={"n_nearest": 3}).start()
        first = site.film("--opacity", "right", seed=1)
        other_sex = "M" if pydicom.dcmread(first).get("PatientSex") == "F" else "F"
        films = [first, copy_of(first, site.folder / "copy.dcm"),
                 copy_of(first, site.folder / "other.dcm", sex=other_sex)]
        films += [site.film(*(("--opacity", "left") if i % 2 else ()), seed=i) for i in range(2, 6)]
        keys = check_found(site, medaid, films, port)
        check_index(medaid, keys, len(films) - 1)
        check_analysed_again(site, medaid, films, keys, len(films) - 1)
        check_off(site, medaid, keys)
        for mark in (*hospital.PATIENT, *TOKENS):
            assert mark not in medaid.log().replace('"user":"reader"', "").replace('"user":"guest"', ""), mark
        medaid.stop()
    print("the nearest are found, judged, and found again; results do not wait for them")


if __name__ == "__main__":
    main()
