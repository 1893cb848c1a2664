"""Talks to dump_frame: one process answers for all frames."""
import json
import subprocess

import numpy as np


class Frames:
    def __init__(self, tool):
        self.tool = tool
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.tool], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def read(self, path, frame=0, mode="stored"):
        """(description, array [channels, rows, columns]) or (error, None). A process that dies is
        an error with the key "crash"."""
        try:
            self.process.stdin.write(f"{frame} {mode} {path}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            self.process.stdout.close()
            text = self.process.stderr.read().decode()[-3000:]
            code = self.process.wait()
            self.start()
            return {"crash": code, "status": "crash", "error": f"exit {code}: {text}"}, None
        about = json.loads(line)
        if "error" in about:
            return about, None
        body = self.process.stdout.read(about["bytes"])
        kind = about["type"] if mode == "stored" else "float32"
        return about, np.frombuffer(body, kind).reshape(about["channels"], about["rows"],
                                                        about["columns"])

    def finish(self):
        """The process must end well; a leak found by a sanitizer shows here."""
        _, text = self.process.communicate()
        if self.process.returncode != 0:
            print(text.decode()[-5000:])
        return self.process.returncode == 0
