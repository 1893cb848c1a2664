#!/usr/bin/python3
"""How long after its report was stored at the PACS a study stands in the reading worklist.

A PACS here notes when it has each report; from then on a DCMTK client asks by C-FIND until the study is
there. A run of the client costs some 50 ms, which is in the figures. usage: visible.py [studies]"""
import pathlib
import sys
import threading
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2] / each) for each in ("support", "integration")]
import dicom_client  # noqa: E402
import hospital  # noqa: E402
import pydicom  # noqa: E402
import test_ups  # noqa: E402


def main():
    n_studies = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    times, late, done = [], [], threading.Semaphore(0)
    with hospital.Hospital("visible") as site:
        films = [hospital.make_film(site.folder / f"film-{i}.dcm", seed=i + 1) for i in range(n_studies)]
        pacs = dicom_client.Receiver()
        medaid = site.medaid(destinations=[pacs.destination()], study={"quiet_ms": 100},
                             ups={"enabled": True}).start()
        desk = test_ups.Desk(site, medaid)
        studies = {pydicom.dcmread(f, stop_before_pixels=True).StudyInstanceUID for f in films}

        def look(study, stored_at):
            while not desk.find(StudyInstanceUID=study):
                late.append(study)
            times.append(time.monotonic() - stored_at)
            done.release()

        taken = pacs.take

        def take(sop_class, sop_instance, data):
            status = taken(sop_class, sop_instance, data)
            text = data.decode("latin-1")
            study = next(uid for uid in studies if uid in text)
            look(study, time.monotonic())
            return status

        pacs.take = take
        for film in films:
            hospital.send(medaid, film)
        for _ in films:
            assert done.acquire(timeout=120)
        medaid.stop()
        pacs.close()
    times.sort()
    print(f"{n_studies} studies: report stored to workitem seen by C-FIND p50 {times[len(times) // 2]:.3f} s, "
          f"p99 {times[len(times) * 99 // 100]:.3f} s, slowest {times[-1]:.3f} s; asked in vain {len(late)} times")


if __name__ == "__main__":
    main()
