"""Run the test_* methods of a class and print TAP (https://testanything.org/), for meson's
`protocol: 'tap'`. A method that raises Skip is skipped; anything else that it raises fails it."""
import sys
import tempfile
import traceback


class Skip(Exception):
    """The test lacks data that a machine may be without."""


def run(case):
    """`case` is a class; each test gets a new object with `folder`, a temporary one. Exits."""
    names = [name for name in dir(case) if name.startswith("test_")]
    wanted = sys.argv[2:] if len(sys.argv) > 2 else names
    names = [name for name in names if name in wanted]
    print(f"1..{len(names)}")
    failed = 0
    for number, name in enumerate(names, 1):
        with tempfile.TemporaryDirectory(prefix="medaid-test-") as folder:
            try:
                test = case()
                test.folder = folder
                getattr(test, name)()
                print(f"ok {number} - {name}")
            except Skip as reason:
                print(f"ok {number} - {name} # SKIP {reason}")
            except Exception:  # a test's failure of any kind is told, and the next one runs
                failed += 1
                print(f"not ok {number} - {name}")
                for line in traceback.format_exc().splitlines():
                    print("#", line)
        sys.stdout.flush()
    sys.exit(1 if failed or not names else 0)
