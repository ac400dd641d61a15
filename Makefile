# make train            phantom data -> data set -> training -> evaluation; the weights stay in runs/ until `mimo use` chooses them
# make train DATA=DIR   the same on the labelled sets found in DIR
# make train-small DATA=DIR   the recipe of the shipped weights, some hours: `lite`, and with SMALL=1 `small` after it;
#                       with LICENCE=permissive from the sets alone whose licence is known to allow any use
# make app              the MONAI Label app with phantom studies, for 3D Slicer and OHIF: http://127.0.0.1:PORT
# make test / make lint / make docs
# make test-matrix      the core with pydicom 3 and numpy 2, the app with 2 and 1, each in an environment of its own
# make lock             requirements/*.txt anew from pyproject.toml; versions stay where they may, UPGRADE=--upgrade takes the newest
# make sbom / make audit   the locked packages in CycloneDX, into runs/; and what is known against them
# make e2e              Orthanc, the MONAI Label server with OHIF, and a Chromium, all real; says why if it cannot
# VENV=DIR uses another virtual environment than .venv.

PYTHON ?= python3
VENV ?= .venv
# What is installed into it: LOCK= takes the newest versions that pyproject.toml allows.
LOCK ?= requirements/label.txt
PINS := $(if $(LOCK),-c $(LOCK))
EXTRAS ?= dev
BIN := $(VENV)/bin
# uv, CycloneDX and pip-audit, which need other versions of what the package uses
TOOLS ?= .venv-tools
READY := $(VENV)/.ready
NAME := $(if $(DATA),$(notdir $(patsubst %/,%,$(DATA))),phantom)
RUN := runs/$(NAME)
BUNDLE := --bundle_root bundles/mimo --dataset_dir $(RUN)/dataset
EPOCHS ?= 7
STEPS ?= 70
SPLIT ?= 80:10:10
PATIENTS ?= 48
PORT ?= 8000
STUDIES ?= runs/app/studies

# The panel's JavaScript is linted where eslint can be had; npm keeps it in its own cache.
ESLINT := if npx --yes eslint@9 --version >/dev/null 2>&1; then npx --yes eslint@9 monailabel_app/ohif tests/ohif/*.mjs; else echo "eslint: not to be had here, the panel is not linted"; fi

# A program of its own for each system, where it can be had.
HADOLINT := if $(TOOLS)/bin/hadolint --version >/dev/null 2>&1 || $(MAKE) -s $(TOOLS)/.ready >/dev/null 2>&1; then $(TOOLS)/bin/hadolint docker/Dockerfile*; else echo "hadolint: not to be had here, docker/ is not linted"; fi

# Threads that wait must not take the cores from other work on the machine; alone, training is as fast.
export OMP_WAIT_POLICY ?= PASSIVE

REGION_MINUTES ?= 240
LITE_MINUTES ?= 75
# How often images of a set are drawn relative to others, and sets to be measured on; for sets of your own: SHARES={} LEFT_OUT=[]
SHARES ?= {$(if $(LICENCE),,'endoscopy_polyp': 1.4, )'Task04_Hippocampus': 0.6}
LEFT_OUT ?= ['octa_faz', 'prostate158_mr', 'carotid_us', 'sarcoma_pet', 'thyroid_gland_us_tg3k']
# permissive: CC0, CC BY, CC BY-SA, MIT, Apache and public domain; the polyps are not among these
LICENCE ?=
SMALL_RUN = $(RUN)-small$(if $(LICENCE),-$(LICENCE))
ONLY := $(if $(LICENCE),--licence $(LICENCE))
LITE_CONFIGS := --config_file "['bundles/mimo/configs/train.yaml', 'bundles/mimo/configs/timed.yaml', 'bundles/mimo/configs/on_regions.yaml']"
SMALL_CONFIGS := --config_file "['bundles/mimo/configs/train.yaml', 'bundles/mimo/configs/timed.yaml', 'bundles/mimo/configs/on_regions.yaml', 'bundles/mimo/configs/small.yaml']"

.PHONY: train train-small app test test-matrix e2e lint format docs lock sbom audit clean

train: $(READY)
	@mkdir -p $(RUN)
ifeq ($(DATA),)
	@test -d $(RUN)/phantom || $(BIN)/mimo phantom $(RUN)/phantom --patients $(PATIENTS)
	@test -d $(RUN)/dataset || $(BIN)/mimo build --source phantom=$(RUN)/phantom --perspectives 1,2 --split $(SPLIT) --out $(RUN)/dataset
else
	@test -d $(RUN)/dataset || $(BIN)/mimo build --data $(DATA) --perspectives 1,2 --split $(SPLIT) --out $(RUN)/dataset
endif
	$(BIN)/python -m monai.bundle run training $(BUNDLE) --config_file bundles/mimo/configs/train.yaml \
		--output_dir $(RUN) --epochs $(EPOCHS) --steps_per_epoch $(STEPS)
	$(BIN)/python -m monai.bundle run evaluating $(BUNDLE) --config_file bundles/mimo/configs/evaluate.yaml \
		--weights_dir $(RUN)/weights --output_dir $(RUN)/evaluation
	@echo "weights: $(RUN)/weights   make them those of \`mimo ask\`: $(BIN)/mimo use $(RUN)/weights"
	@echo "curves: $(RUN)/curves.png   report: $(RUN)/evaluation/report.html   TensorBoard: tensorboard --logdir $(RUN)"
	@$(BIN)/mimo example $(RUN)/dataset

# The image side first, on regions by name and by prompt; then the language side, on an image side that stays as it is.
train-small: $(READY)
	@test -n "$(DATA)" || { echo "make train-small needs DATA=DIR, a folder of labelled sets" >&2; exit 2; }
	@mkdir -p $(SMALL_RUN)
	@test -d $(SMALL_RUN)/dataset || $(BIN)/mimo build --data $(DATA) --split $(SPLIT) $(ONLY) --out $(SMALL_RUN)/dataset
	$(BIN)/python -m monai.bundle run pretraining_alone --bundle_root bundles/mimo --dataset_dir $(SMALL_RUN)/dataset \
		--config_file bundles/mimo/configs/train.yaml --preset lite --output_dir $(SMALL_RUN)/regions --language_steps 0 \
		--region_minutes $(REGION_MINUTES) --encoder_learning_rate 4e-4 --image_shares "$(SHARES)" --left_out "$(LEFT_OUT)" $(ONLY) --workers 1
	$(BIN)/python -m monai.bundle run training --bundle_root bundles/mimo --dataset_dir $(SMALL_RUN)/dataset $(LITE_CONFIGS) \
		--preset lite --output_dir $(SMALL_RUN)/lite --regions $(SMALL_RUN)/regions/weights --minutes $(LITE_MINUTES) \
		--language_steps 900 --left_out "$(LEFT_OUT)" $(ONLY) --workers 1
ifdef SMALL
	$(BIN)/python -m monai.bundle run training --bundle_root bundles/mimo --dataset_dir $(SMALL_RUN)/dataset $(SMALL_CONFIGS) $(ONLY) --left_out "$(LEFT_OUT)" \
		--lite $(SMALL_RUN)/lite/weights --output_dir $(SMALL_RUN)/small
endif
	$(BIN)/python benchmarks/obey.py --dataset $(SMALL_RUN)/dataset --weights $(SMALL_RUN)/$(if $(SMALL),small,lite)/weights \
		--out $(SMALL_RUN)/obey --left-out "$(LEFT_OUT)"

app: $(READY)
	@$(BIN)/python -c "import monailabel, highdicom" 2>/dev/null || $(BIN)/pip install -q $(PINS) -e ".[label]"
	@test -e $(STUDIES) || $(BIN)/python -c "from monai_mimo.phantom.writer import write_studies; write_studies('$(STUDIES)')"
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m monailabel.main start_server --app monailabel_app --studies $(STUDIES) \
		--host 127.0.0.1 --port $(PORT) $(if $(WEIGHTS),--conf weights $(WEIGHTS))

# Two processes at a time, each with one thread: what waits for a disk or a server does not hold up the rest.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-matrix:
	.ci/matrix

e2e: $(READY)
	@$(BIN)/python -c "import monailabel, highdicom" 2>/dev/null || $(BIN)/pip install -q $(PINS) -e ".[label]"
	MIMO_E2E=1 $(BIN)/python -m pytest tests/e2e --timeout 1200

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy monai_mimo transforms
	MYPYPATH=monailabel_app $(BIN)/mypy -p lib -m main
	$(BIN)/mypy slicer/MIMO/MIMOLib
	@$(ESLINT)
	@$(HADOLINT)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/pip install -q $(PINS) -e ".[docs]"
	$(BIN)/mkdocs build --strict

clean:
	rm -rf runs site build *.egg-info

# For every system and every Python that pyproject.toml allows; no hashes and no addresses, so any index will do.
COMPILE = $(TOOLS)/bin/uv pip compile -q --universal --python-version 3.10 --no-annotate --custom-compile-command "make lock" $(UPGRADE) pyproject.toml
lock: $(TOOLS)/.ready
	$(COMPILE) --extra dev --extra docs --extra small -o requirements/label.txt
	$(COMPILE) --extra test --extra llm --extra ray --extra text --extra demo --extra small -o requirements/core.txt

sbom: $(TOOLS)/.ready
	@mkdir -p runs
	for name in core label; do $(TOOLS)/bin/cyclonedx-py requirements requirements/$$name.txt --pyproject pyproject.toml --mc-type library \
		--output-reproducible --output-file runs/sbom-$$name.json || exit 1; done

audit: $(TOOLS)/.ready
	.ci/audit $(TOOLS)/bin/pip-audit

$(READY): pyproject.toml $(LOCK)
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q $(PINS) -e ".[$(EXTRAS)]"
	touch $@

$(TOOLS)/.ready: requirements/tools.txt
	test -d $(TOOLS) || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install -q -r requirements/tools.txt
	touch $@
