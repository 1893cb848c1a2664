# A thin front for meson. `make demo` and `make check` do everything on a fresh Debian 12.
BUILD ?= build
ASAN ?= build-asan
DEMO ?= demo
FUZZ_SECONDS ?= 3600
FUZZ_TARGETS ?= dicom j2k rle jpeg jls onnx manifest report
ONNX_TESTDATA ?= /usr/share/libonnx-testdata/data
SOAK_KILLS ?= 500
SOAK_SECONDS ?= 1800
MESON = /usr/bin/meson
PROGRAMS = daemon/medaid daemon/medaidctl daemon/medaid-train

.PHONY: all build demo check bench soak fuzz install clean format

all: build

build:
	@sh .ci/packages build
	@TARGETS="$(PROGRAMS)" sh .ci/setup $(BUILD)

demo:
	@sh .ci/packages build demo
	@TARGETS="$(PROGRAMS) tests/support/medaid-phantom" sh .ci/setup $(BUILD)
	@sh tests/support/demo.sh $(BUILD) $(DEMO)

check:
	@sh .ci/packages build demo check
	@sh .ci/check $(BUILD) $(ASAN)

# Benchmarks want the optimiser, and both settings of OpenBLAS where the machine forces one.
bench:
	@sh .ci/packages build demo check bench
	@sh .ci/setup $(BUILD)
	@sh .ci/onnxruntime >/dev/null
	@$(MESON) test -C $(BUILD) --benchmark --verbose --num-processes 1

# SIGKILL for the daemon and its workers, SOAK_KILLS times, under load from eight senders and on bad
# disks; then SOAK_SECONDS of everything that goes wrong, with sanitizers. Each prints one line at its end.
SOAK_TARGETS = $(PROGRAMS) tests/support/medaid-phantom tests/support/libmedaid-faults.so \
	tests/support/hostile/hostile.so
soak:
	@sh .ci/packages build demo check
	@TARGETS="$(SOAK_TARGETS)" sh .ci/setup $(BUILD)
	@TARGETS="$(SOAK_TARGETS)" sh .ci/setup-sanitized $(ASAN)
	@MEDAID_BUILD_ROOT=$(BUILD) /usr/bin/python3 tests/soak/crash.py --kills $(SOAK_KILLS)
	@MEDAID_BUILD_ROOT=$(ASAN) ASAN_OPTIONS=allow_user_segv_handler=0:detect_leaks=1:intercept_tls_get_addr=0 \
		UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
		/usr/bin/python3 tests/soak/mixed.py --seconds $(SOAK_SECONDS) --sanitized

# Coverage-guided fuzzing of what reads files from outside, FUZZ_SECONDS of CPU time for each of FUZZ_TARGETS;
# a finding is left in build-fuzz/findings. tests/fuzz/keep.py keeps what it has grown.
fuzz:
	@sh .ci/packages build fuzz
	@CC=clang CXX=clang++ TARGETS="$(FUZZ_TARGETS:%=tests/fuzz/fuzz_%)" sh .ci/setup build-fuzz -Dfuzz=true \
		-Db_sanitize=address,undefined -Db_lundef=false
	@/usr/bin/python3 tests/fuzz/run.py build-fuzz $(FUZZ_SECONDS) $(ONNX_TESTDATA) $(FUZZ_TARGETS)

install:
	@sh .ci/packages build
	@TARGETS="$(PROGRAMS) docs/man/medaid.yaml.5" sh .ci/setup $(BUILD)
	@$(MESON) install -C $(BUILD) --no-rebuild

format:
	@git ls-files '*.c' '*.h' '*.cc' | xargs clang-format -i

clean:
	@rm -rf $(BUILD) $(ASAN) $(DEMO) build-fuzz
