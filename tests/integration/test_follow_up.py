#!/usr/bin/python3
"""What to do next, through the daemon: a history is imported, proposals come with a study's result, on
the page, by medaidctl and in the report; readers decide; nothing of a patient gets into the log."""
import json
import pathlib
import sys

import pydicom

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import test_web  # noqa: E402  (puts tests/support on the path)

import hospital  # noqa: E402
import tiny_model  # noqa: E402

BRIGHT, DARK = "DCM:111211", "DCM:111212"  # what the tiny network calls bright and dark films
ACTIONS = [
    {"key": "chest-ct", "code": "169069000", "scheme": "SCT", "meaning": "Computed tomography of chest"},
    {"key": "film-6w", "code": "F6W", "scheme": "99SITE", "meaning": "Film in six weeks"},
    {"key": "nothing", "code": "NONE", "scheme": "99SITE", "meaning": "Nothing is needed"},
]
MARKS = ("HIST-PID-", "ISSUER-MARK")


def follow_up(**more):
    return {"actions": ACTIONS, "min_support": 3, "refresh_s": 1, **more}


def history(n=12):
    """Patients with bright films got a CT, those with dark ones got nothing."""
    rows = [f"patient,issuer,action,rating,reader,date,{BRIGHT},{DARK}"]
    for i in range(n):
        ill = i % 2 == 0
        finding = "0.9," if ill else ",0.9"
        rows.append(f"HIST-PID-{i},ISSUER-MARK,chest-ct,{int(ill)},dr-old,2025-03-01,{finding}")
        rows.append(f"HIST-PID-{i},ISSUER-MARK,nothing,{int(not ill)},dr-old,2025-03-01,{finding}")
    return "\n".join(rows) + "\n"


def shown(medaid, key):
    return json.loads(medaid.ctl("follow-up", "--json", key))["follow_up"]


def analysed(site, medaid, seed, is_bright, *options):
    """A bright or a dark film that has been analysed; the key of its study."""
    film = site.film(*options, seed=seed)
    if is_bright:
        dataset = pydicom.dcmread(film)
        dataset.PixelData = (4095 - dataset.pixel_array).astype("<u2").tobytes()
        dataset.save_as(film)
    hospital.send(medaid, film)
    uid = pydicom.dcmread(film).StudyInstanceUID
    medaid.wait_state(uid, "done")
    return medaid.key_of(uid)


def report_of(medaid, key):
    (path,) = (medaid.store / "results").glob(f"{key}-1/*.dcm")
    errors = hospital.dciodvfy_errors(path)
    assert not errors, errors
    return pydicom.dcmread(path)


def recommended(report):
    """The coded follow-up of a report."""
    found = []
    for element in report.iterall():
        if element.VR == "SQ":
            for item in element.value:
                name = item.get("ConceptNameCodeSequence")
                if name and name[0].get("CodeValue") == "111053":
                    assert item.RelationshipType == "CONTAINS" and item.ValueType == "CODE"
                    found.append(item.ConceptCodeSequence[0].CodeValue)
    return found


def check_import(site, medaid):
    """Hostile tables are refused as a whole, by line and column, and quote nothing."""
    table = site.folder / "history.csv"
    head = "patient,action,rating,date\n"
    secret = "SECRET-NAME"
    bad = [
        ("", "a table of decisions is needed"), ("\n", "it is empty"), ("a,b\n", ":1: expected the columns patient, action and rating"),
        (head + "P,chest-ct,1.5,\n", ":2: column 'rating': expected a number on the scale"),
        (head + "P,chest-ct,-1,\n", "'rating'"), (head + "P,chest-ct,nan,\n", "'rating'"),
        (head + "P,chest-ct,0x1,\n", "'rating'"), (head + f"P,chest-ct,{secret},\n", "'rating'"),
        (head + f"P,{secret},1,\n", ":2: column 'action': expected a key of follow_up.actions"),
        (head + ",chest-ct,1,\n", "'patient'"), (head + "P\\Q,chest-ct,1,\n", "'patient'"),
        (head + "P,chest-ct,1,2025-02-30\n", "'date'"), (head + "P,chest-ct,1,2999-01-01\n", "'date'"),
        (head + f"P,chest-ct,1,{secret}\n", "'date'"), (head + "P,chest-ct,1\n", ":2: 3 fields, expected 4"),
        (head + 'P,"chest-ct,1,\n', "a quote is never closed"), (head + "P,chest-ct,1,\n\0\n", "zero byte"),
        (f"patient,action,rating,{secret}\nP,chest-ct,1,\n", ":1: column 4"),
        (f"patient,action,rating,{BRIGHT}\nP,chest-ct,1,7\n", ":2: column '4'"),
        (head + "P,chest-ct,1,\n" * 5 + "P,chest-ct,2,\n", ":7: column 'rating'"),
        (head + "P,chest-ct,forget,\n", "'action'"),
    ]
    for text, says in bad:
        table.write_bytes(text.encode("utf-8"))
        said = medaid.ctl("follow-up", "import", str(table), code=2)
        assert says in said and secret not in said, (text, said)
    table.write_bytes(head.encode() + b"\xff\xfe,chest-ct,1,\n")
    medaid.ctl("follow-up", "import", str(table), code=2)
    table.write_bytes(b"p" * (65 << 20))  # more than may come at once
    medaid.ctl("follow-up", "import", str(table), code=2)
    assert medaid.query("SELECT count(*) FROM rating") == [(0,)]
    table.write_text(history(), encoding="utf-8")
    assert "24 decisions, 0 patients forgotten" in medaid.ctl("follow-up", "import", str(table))
    medaid.ctl("follow-up", "import", str(table))  # the same once more changes nothing
    assert medaid.query("SELECT count(*), count(DISTINCT patient) FROM rating") == [(24, 12)]
    medaid.wait_line("follow_up_read", patients=12, decisions=24)


def check_proposals(site, medaid):
    """The ill one gets what the ill ones got, with its reason; in the report too."""
    ill = analysed(site, medaid, 2, True, "--patient-id", "PID-ILL")
    f = shown(medaid, ill)
    (proposal,) = f["proposals"]
    assert proposal["key"] == "chest-ct" and proposal["action"]["code"] == "169069000", f
    assert proposal["similar_patients"] == 6 and proposal["accepted"] == 6, proposal
    assert proposal["alike_in"] == ["Under exposed"] and proposal["basis"] == "findings"
    assert "A proposal, not an order" in proposal["sentence"]
    assert (f["actions"], f["abstained"], f["rather_declined"]) == (3, 1, 1), f
    assert f["decisions"] == [] and [c["key"] for c in f["choices"]] == [a["key"] for a in ACTIONS]
    text = medaid.ctl("follow-up", ill)
    assert "accepted for 6 of 6 similar patients, alike in Under exposed" in text and "not an order" in text
    assert recommended(report_of(medaid, ill)) == ["169069000"]
    well = analysed(site, medaid, 4, False, "--patient-id", "PID-WELL")
    f = shown(medaid, well)
    assert [p["key"] for p in f["proposals"]] == ["nothing"], f
    assert recommended(report_of(medaid, well)) == ["NONE"]
    return ill, well


def check_ctl(medaid, ill, well):
    """Decisions by medaidctl: the last word counts, wrong ones are refused by code."""
    medaid.ctl("follow-up", ill, "accept", "chest-ct", "--reader", "dr-a")
    medaid.ctl("follow-up", ill, "decline", "chest-ct", "--reader", "dr-a")
    medaid.ctl("follow-up", ill, "accept", "film-6w", "--reader", "dr-b")
    assert [(d["action"], d["decision"], d["reader"], d["on_this_study"])
            for d in shown(medaid, ill)["decisions"]] == [
        ("chest-ct", "declined", "dr-a", True), ("film-6w", "accepted", "dr-b", True)]
    assert "declined by dr-a" in medaid.ctl("follow-up", ill)
    medaid.ctl("follow-up", ill, "withdraw", "chest-ct", "--reader", "dr-a")
    medaid.ctl("follow-up", ill, "withdraw", "chest-ct", "--reader", "dr-a", code=3)
    medaid.ctl("follow-up", ill, "accept", "surgery", "--reader", "dr-a", code=2)
    medaid.ctl("follow-up", "0" * 16, "accept", "chest-ct", "--reader", "dr-a", code=3)
    medaid.ctl("follow-up", ill, "accept", "chest-ct", code=2)  # who says so?
    medaid.ctl("follow-up", ill, "order", "chest-ct", "--reader", "dr-a", code=2)
    # of the same patient, seen once more; then forgotten
    assert medaid.query("SELECT count(*) FROM rating WHERE reader = 'dr-b'") == [(1,)]
    assert "1 decisions for its patient forgotten" in medaid.ctl("follow-up", ill, "forget")
    assert shown(medaid, ill)["decisions"] == []
    medaid.ctl("follow-up", well, "accept", "nothing", "--reader", "dr-a")


def check_page(port, medaid, ill):
    """The reader sees what it stands on, decides, takes it back; a viewer only looks."""
    browser = test_web.Browser(port, None)
    try:
        browser.login(test_web.TOKENS["dr-jones"])
        hospital.wait_for("two rows", lambda: len(browser.rows()) == 2)
        browser.one(f"[data-study='{ill}']").click()
        hospital.wait_for("the proposal", lambda: browser.all("#detail .proposal"))
        said = browser.texts("#detail")[0]
        assert "accepted for 6 of 6 similar patients, alike in Under exposed" in said, said
        assert "It orders nothing" in said

        def press(word, action, pressed):
            browser.driver.execute_script("document.querySelector(arguments[0]).click()",
                                          f"button.{word}[data-action='{action}']")
            hospital.wait_for(f"{word} {action}", lambda: browser.driver.execute_script(
                "const b = document.querySelector(arguments[0]); return b && b.getAttribute('aria-pressed')",
                f"button.{word}[data-action='{action}']") == pressed)

        press("accept", "chest-ct", "true")
        assert [(d["reader"], d["decision"]) for d in shown(medaid, ill)["decisions"]] == [("dr-jones", "accepted")]
        press("decline", "film-6w", "true")  # one that was not proposed
        press("decline", "film-6w", "false")
        assert [d["action"] for d in shown(medaid, ill)["decisions"]] == ["chest-ct"]
        problems = browser.problems()
        assert not problems, problems
        browser.one("#logout").click()
        hospital.wait_for("the form", lambda: browser.one("#token").is_displayed())
        browser.login(test_web.TOKENS["guest"])
        hospital.wait_for("two rows", lambda: len(browser.rows()) == 2)
        browser.one(f"[data-study='{ill}']").click()
        hospital.wait_for("the proposal", lambda: browser.all("#detail .proposal"))
        assert not browser.all("#detail .proposal button")
    finally:
        browser.driver.quit()


def check_closed(port, medaid, ill):
    """Who has no session, no secret, another origin or only looks changes nothing."""
    path = f"/api/v1/study/{ill}/decline?action=chest-ct"
    before = medaid.query("SELECT * FROM rating ORDER BY patient, action, reader")
    assert test_web.Plain(port).ask("POST", path)[0].status == 401
    reader, guest = test_web.Plain(port), test_web.Plain(port)
    reader.login(test_web.TOKENS["dr-jones"])
    guest.login(test_web.TOKENS["guest"])
    secret = {"Medaid-CSRF": reader.csrf}
    assert reader.ask("POST", path)[0].status == 403
    assert reader.ask("POST", path, **secret, Origin="https://evil.example")[0].status == 403
    assert reader.ask("GET", path)[0].status == 405
    assert guest.ask("POST", path, **{"Medaid-CSRF": guest.csrf})[0].status == 403
    assert reader.ask("POST", path + "&generation=7", **secret)[0].status == 409
    assert reader.ask("POST", f"/api/v1/study/{ill}/accept?action=surgery", **secret)[0].status == 409
    assert reader.ask("POST", f"/api/v1/study/{ill}/accept", **secret)[0].status == 409
    assert reader.ask("POST", f"/api/v1/study/{ill}/forget", **secret)[0].status == 404
    assert medaid.query("SELECT * FROM rating ORDER BY patient, action, reader") == before
    answer, body = guest.ask("GET", f"/api/v1/study/{ill}")
    assert answer.status == 200 and json.loads(body)["follow_up"]["proposals"]


def check_restart(site, medaid, ill):
    """Decisions are on disk; with the next model they count; without actions there is nothing."""
    before = medaid.query("SELECT * FROM rating ORDER BY patient, action, reader")
    medaid.kill()
    medaid.start()
    assert medaid.query("SELECT * FROM rating ORDER BY patient, action, reader") == before
    medaid.wait_line("follow_up_read", patients=14)
    # forgotten by name, however little is left of him here
    table = site.folder / "forget.csv"
    table.write_text("patient,issuer,action,rating\nHIST-PID-0,ISSUER-MARK,,forget\n", encoding="utf-8")
    assert "0 decisions, 1 patients forgotten" in medaid.ctl("follow-up", "import", str(table))
    medaid.wait_line("follow_up_read", patients=13)
    medaid.configure(follow_up=follow_up(actions=[])).stop()
    medaid.start()
    assert "no follow-up" in medaid.ctl("follow-up", ill)
    medaid.ctl("follow-up", ill, "accept", "chest-ct", "--reader", "dr-a", code=2)
    medaid.ctl("follow-up", "import", str(table), code=2)


def main():
    with hospital.Hospital("follow-up") as site:
        (port,) = hospital.free_ports(1)
        models = site.folder / "models"
        tiny_model.write(models / "tiny", edit=("    undetermined: [0.0, 1.0]\n", ""))
        medaid = site.medaid(plugins={"paths": [str(models)]}, web=test_web.configuration(port), follow_up=follow_up(in_report=True), workers={"count": 1}).start()
        check_import(site, medaid)
        ill, well = check_proposals(site, medaid)
        check_ctl(medaid, ill, well)
        check_page(port, medaid, ill)
        check_closed(port, medaid, ill)
        check_restart(site, medaid, ill)
        for mark in (*hospital.PATIENT, *MARKS, "PID-ILL", "PID-WELL"):
            assert mark not in medaid.log(), mark
        database = (medaid.store / "medaid.db").read_bytes()
        assert b"HIST-PID-" not in database and b"ISSUER-MARK" not in database
        medaid.stop()
    print("proposals with their reasons, decisions on record, nothing of a patient elsewhere")


if __name__ == "__main__":
    main()
