# make run            the whole way on rendered scenes: masks, three networks, comparison, report
# make run DATA=cdnet ROOT=data/highway    the same on real video of a fixed camera
# make run DATA=uavdt ROOT=data/uavdt      the same on real drone video
# make run DATA=video ROOT=street.mp4    your own video, without any annotation: annotation, detector, report
# make peers          YOLO11n, trained from scratch on the same frames, as a row of the same report
# make vehicles       the detector that comes with the package, trained again on varied scenes (about an hour)
# make test           chapters export to what is committed, their cells pass, tests pass, code is clean
# make faults         fifty kills of real commands at random moments: what each leaves, and that the next call mends it
# make bench          speed of masks, samples, decoding, the network and evaluation, as ratios measured in one run
# make lab            JupyterLab on this machine, with the chapters and the explorer
# make docs           the chapters, guides and API as a site in site/, readable without a server
# make pictures       the README's pictures, taken anew (needs chromium)
PYTHON ?= python3
DATA ?= scenes
ROOT ?= data/$(DATA)
OUT ?= outputs/$(if $(filter cdnet video,$(DATA)),$(basename $(notdir $(ROOT))),$(DATA))
WORKERS ?= 1
TESTS ?= 2
BIN := .venv/bin
# `python3` is the kernel of .venv, whatever a site or an older installation offers under that name
OWN_KERNEL := JUPYTER_PATH= JUPYTER_PREFER_ENV_PATH=1

.PHONY: run peers vehicles test lint faults bench lab docs pictures clean

# torch first and pinned: an unpinned torch brings gigabytes of GPU packages where a CPU build is meant
.venv/ready: settings.ini constraints.txt setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

run: .venv/ready
	$(if $(filter scenes,$(DATA)),$(BIN)/spotnet scenes $(ROOT) --workers 2)
	$(BIN)/spotnet run nbs/experiments/$(DATA).yaml --out $(OUT) --set root=$(ROOT) --workers $(WORKERS)
	@echo "Open $(OUT)/report.html in a browser."

peers: .venv/ready
	$(BIN)/spotnet run nbs/experiments/$(DATA).yaml --out $(OUT) --set root=$(ROOT) --only peers
	@echo "Open $(OUT)/report.html in a browser."

# one thread: sums in another order would give other bits
vehicles: .venv/ready
	$(BIN)/spotnet scenes data/varied --varied 480 --workers 2
	$(BIN)/spotnet masks scenes data/varied --method labels --no-within-boxes --out outputs/vehicles/masks
	OMP_NUM_THREADS=1 $(BIN)/spotnet train scenes data/varied --masks outputs/vehicles/masks --variant multitask --size medium --steps 6000 --set ema=0.998 --set save_every=500 --out outputs/vehicles/run --resume
	$(BIN)/spotnet convert outputs/vehicles/run/checkpoint/last outputs/vehicles/vehicles.safetensors --grow 0.05 --half --input-size 384x640
	@cmp outputs/vehicles/vehicles.safetensors spotnet/network/vehicles.safetensors && echo "the same as the shipped one"

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet tests docs setup.py

test: .venv/ready lint
	$(BIN)/python -m pytest -n $(TESTS)

faults: .venv/ready
	$(BIN)/python tests/faults.py

bench: .venv/ready
	mkdir -p outputs/speed
	$(OWN_KERNEL) $(BIN)/papermill nbs/experiments/speed.ipynb outputs/speed/notebook.ipynb --cwd nbs/experiments -k python3 -p out $(CURDIR)/outputs/speed -p frames 250 -p sequences_of_each 4 -p repeats 5 -p training_steps 40 -p notebooks 40 -y "{network_input: [512, 512], sizes: [tiny, small, medium], coco_images: 2000, detections: 5600000}"
	@$(BIN)/python -c "import glob, pandas as pd; [print(pd.read_csv(f).round(4).to_string(index=False)) for f in sorted(glob.glob('outputs/speed/tables/*.csv'))]"

lab: .venv/ready
	$(OWN_KERNEL) $(BIN)/jupyter lab --ip 127.0.0.1 nbs

docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "Open site/index.html in a browser."

pictures: .venv/ready
	$(BIN)/python docs/strip.py
	SPOTNET_SCREENSHOTS=nbs/images SPOTNET_STEPS=400 $(BIN)/python -m pytest tests/test_browser.py

clean:
	rm -rf .venv .cache build dist site *.egg-info
