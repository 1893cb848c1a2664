#!/usr/bin/python3
"""The manual pages say what the programs and the configuration know, and groff has no complaint.

usage: test_man.py MEDAID MEDAIDCTL CONF_EXAMPLE CONF_MAN SOURCE_ROOT"""
import pathlib
import re
import subprocess
import sys

MEDAID, CTL, EXAMPLE, MAN = sys.argv[1:5]
ROOT = pathlib.Path(sys.argv[5])


def output(*command, stdin=None):
    """Standard output; nothing may be on standard error."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=True)
    assert done.stderr == "", (command, done.stderr)
    return done.stdout


def formatted(roff):
    """The page as a terminal shows it, in one line."""
    text = output("groff", "-man", "-Tascii", "-ww", "-P-cbou", stdin=roff)
    return re.sub(r"\s+", " ", text)


def check_program(program, page):
    """Every option and every exit code of --help is in the page."""
    roff = (ROOT / "docs/man" / page).read_text(encoding="ascii")
    text, usage = formatted(roff), output(program, "--help")
    options = set(re.findall(r"--[a-z-]+", usage))
    assert len(options) > 5
    for option in options:
        assert option in text, f"{page} does not speak of {option}"
    codes = re.findall(r"(\d) [a-zA-Z]", usage.split("exit:")[1])
    listed = re.findall(r"^\.B (\d)$", roff, re.MULTILINE)
    assert sorted(codes) == listed and len(codes) > 5, (codes, listed)
    return text, usage


def main():
    """All three pages."""
    check_program(MEDAID, "medaid.1")
    text, usage = check_program(CTL, "medaidctl.1")
    commands = re.findall(r"^(?:usage:)? +medaidctl ([a-z][a-z-]*)", usage, re.MULTILINE)
    assert len(set(commands)) == 15, commands
    for command in commands:
        assert f" {command} " in text, f"medaidctl.1 does not speak of {command}"
    text = formatted(output(MAN))
    stack, n_keys = [], 0
    for line in output(EXAMPLE).splitlines():
        match = re.match(r"( *)(- )?([a-z_]+):(.*)$", line)
        if line.lstrip().startswith("#") or not match:
            continue
        indent = len(match.group(1)) + len(match.group(2) or "")
        stack = [entry for entry in stack if entry[0] < indent]
        if match.group(2):  # the first key of an entry: what it is in is a list
            stack[-1] = (stack[-1][0], stack[-1][1].removesuffix("[]") + "[]")
        path = ".".join([name for _, name in stack] + [match.group(3)])
        stack.append((indent, match.group(3)))
        assert path in text, f"medaid.yaml.5 does not speak of {path}"
        n_keys += 1
    assert n_keys > 30, n_keys


main()
