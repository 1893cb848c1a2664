"""AE titles, required views and rules with the real model: storescu calls, two Orthancs receive."""
import json
import pathlib
import sys

import pydicom

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import hospital  # noqa: E402
from hospital import run, wait_for  # noqa: E402

# The scores of two phantoms, one with an opacity, lie on both sides of it.
BETWEEN = 0.8
SICK, WELL = 1, 3


def send(medaid, path, called, calling="ER_XRAY", good=True):
    """C-STORE to one of the titles."""
    return run("storescu", "-R", "-aet", calling, "-aec", called, "127.0.0.1", medaid.port, path, good=good)


def study_of(path):
    """Its Study Instance UID."""
    return str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def finished(medaid, n):
    """Wait until so many studies are done."""
    return wait_for(f"{n} studies", lambda: medaid.alive() and len(medaid.studies("--state", "done")) >= n)


def main():
    """All in one daemon."""
    with hospital.Hospital("rules") as site:
        pacs, er = site.orthanc("pacs").start(), site.orthanc("er").start()
        urgent = {"finding": {"model": "chest-pneumonia", "key": "pneumonia", "score_at_least": BETWEEN}}
        medaid = site.medaid(
            destinations=[pacs.destination("pacs"), er.destination("er")],
            ae={"titles": [
                {"title": "MEDAID_STORE", "analyse": False},
                {"title": "MEDAID_ER", "allowed_callers": [{"ae_title": "ER_XRAY"}], "destinations": ["er"]},
                {"title": "MEDAID_VIEWS", "deadline_s": 3600,
                 "required": [{"modality": ["DX"], "views": ["AP", "LL/RL"]}]}]},
            rules=[
                {"name": "urgent", "when": {"all": [{"called_ae": ["MEDAID"]}, urgent]},
                 "then": {"priority": "HIGH", "destinations": [{"name": "er"}]}},
                {"name": "rest", "when": {"called_ae": ["MEDAID"]},
                 "then": {"destinations": [{"name": "pacs"}]}}])
        medaid.start()

        print("different destinations by finding")
        sick, well = site.film("--opacity", "right", seed=SICK), site.film(seed=WELL)
        send(medaid, sick, "MEDAID")
        send(medaid, well, "MEDAID")
        finished(medaid, 2)
        assert len(er.results_of(study_of(sick))) == 1 and not er.results_of(study_of(well))
        assert len(pacs.results_of(study_of(well))) == 1 and not pacs.results_of(study_of(sick))
        assert sorted(line["rule"] for line in medaid.lines("rule_matched")) == ["rest", "urgent"]

        print("an AE title that stores alone, and one with callers and destinations of its own")
        stored, mine = site.film(seed=11), site.film(seed=12)
        send(medaid, stored, "MEDAID_STORE")
        send(medaid, mine, "MEDAID_ER")
        send(medaid, mine, "MEDAID_ER", calling="STRANGER", good=False)
        finished(medaid, 4)
        assert not er.results_of(study_of(stored)) and not pacs.results_of(study_of(stored))
        assert len(er.results_of(study_of(mine))) == 1 and not pacs.results_of(study_of(mine))
        assert len(medaid.lines("study_not_analysed")) == 1

        print("the stored study at a second title is analysed, from the same object")
        send(medaid, stored, "MEDAID_ER")
        wait_for("its report", lambda: medaid.alive() and er.results_of(study_of(stored)))
        assert not pacs.results_of(study_of(stored))

        print("a study waits for its second view")
        n_before = len(medaid.lines("study_complete"))
        frontal = site.film("--view", "AP", seed=21)
        lateral = site.film("--view", "LL", "--study-uid", study_of(frontal), seed=22)
        other = site.film(seed=23)
        send(medaid, frontal, "MEDAID_VIEWS")
        send(medaid, other, "MEDAID_ER")  # a whole study goes through meanwhile
        wait_for("the other", lambda: medaid.alive() and er.results_of(study_of(other)))
        assert len(medaid.lines("study_complete")) == n_before + 1
        send(medaid, lateral, "MEDAID_VIEWS")
        wait_for("both views", lambda: medaid.alive() and pacs.results_of(study_of(frontal)))
        assert medaid.lines("study_complete")[-1]["objects"] == 2

        print("--explain-rules, and dangling names with their line")
        told = json.loads(run(hospital.MEDAID, "--explain-rules", sick, "--config", medaid.configuration,
                              "--called-ae", "MEDAID_ER", "--json"))
        assert [r["matches"] for r in told["rules"]] == [False, False]
        bad = site.folder / "bad.yaml"
        bad.write_text("rules:\n  - name: a\n    then:\n      destinations:\n        - {name: nowhere}\n")
        assert "bad.yaml:5: rule 'a': 'nowhere'" in run(hospital.MEDAID, "--check-config", "--config", bad,
                                                        good=False)
        medaid.stop()
        print("all as expected")


if __name__ == "__main__":
    main()
