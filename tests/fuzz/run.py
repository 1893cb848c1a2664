#!/usr/bin/python3
"""Run the libFuzzer target on pydicom's test files and what it has grown. usage: run.py BUILD SECONDS"""
import os
import pathlib
import shutil
import subprocess
import sys

import pydicom.data

build = pathlib.Path(sys.argv[1]).resolve()
corpus = build / "corpus"
corpus.mkdir(exist_ok=True)
for path in (pathlib.Path(pydicom.data.__file__).parent / "test_files").rglob("*.dcm"):
    if path.stat().st_size < 200_000 and not (corpus / path.name).exists():
        shutil.copy(path, corpus / path.name)
os.chdir(build)
environment = dict(os.environ, ASAN_OPTIONS="allow_user_segv_handler=0")
sys.exit(subprocess.run([build / "tests/fuzz/fuzz_dicom", f"-max_total_time={sys.argv[2]}",
                         "-max_len=200000", "-timeout=20", "-rss_limit_mb=4096", corpus],
                        env=environment, check=False).returncode)
