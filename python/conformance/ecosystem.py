#!/usr/bin/env python3
"""Uses a hub of ours through the libraries and tools that people have: transformers, datasets, git, git-lfs, curl.

    python/conformance/ecosystem.py --allmende target/release/allmende

The model is made on the spot and is tiny: a configuration, a tokenizer, and weights that are written and read with numpy, so
that no torch is needed. Its environment lies in target/ecosystem afterwards.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environment import enter
from run import ACCOUNTS, hub

HERE = Path(__file__).resolve().parent
USER = next(iter(ACCOUNTS))
TOKEN = ACCOUNTS[USER][1]
MODEL, DATA = f"{USER}/tiny-bert", f"{USER}/tiny-rows"


def model(folder: Path) -> None:
    """AutoConfig and AutoTokenizer go there and come back; the weights through safetensors and numpy."""
    import numpy
    from huggingface_hub import HfApi, get_safetensors_metadata, hf_hub_download
    from safetensors.numpy import load_file, save_file
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoTokenizer, BertConfig, PreTrainedTokenizerFast

    config = BertConfig(vocab_size=12, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config.push_to_hub(MODEL)
    words = {word: i for i, word in enumerate(["[UNK]", "[PAD]", "a", "model", "of", "many", "made", "together"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    fast.push_to_hub(MODEL)
    generator = numpy.random.default_rng(1)
    weights = {
        "embeddings.weight": generator.standard_normal((12, 8)).astype(numpy.float32),
        # Large enough to lie beside git, as weights do.
        "layer.weight": generator.standard_normal((1024, 1024)).astype(numpy.float16),
    }
    path = folder / "model.safetensors"
    save_file(weights, path, metadata={"format": "pt"})
    HfApi().upload_file(path_or_fileobj=path, path_in_repo="model.safetensors", repo_id=MODEL)

    again = AutoConfig.from_pretrained(MODEL)
    assert again.to_dict() | {"_name_or_path": ""} == config.to_dict() | {"_name_or_path": ""}, again
    same = AutoTokenizer.from_pretrained(MODEL)
    text = "a model of many parties made together"
    assert same(text)["input_ids"] == fast(text)["input_ids"] == [2, 3, 4, 5, 0, 6, 7]
    found = load_file(hf_hub_download(MODEL, "model.safetensors"))
    assert found.keys() == weights.keys()
    assert all(numpy.array_equal(found[name], weights[name]) for name in weights)
    assert get_safetensors_metadata(MODEL).parameter_count == {"F32": 96, "F16": 1 << 20}
    # A fixed revision, and none.
    first = HfApi().list_repo_commits(MODEL)[-1].commit_id
    try:
        AutoConfig.from_pretrained(MODEL, revision=first)
    except (OSError, ValueError) as error:
        assert "config.json" in str(error), error
    else:
        raise AssertionError("the first commit has no configuration")


def data(_folder: Path) -> None:
    """A dataset goes there and comes back, whole and as a stream."""
    from datasets import Dataset, DatasetDict, load_dataset, load_dataset_builder

    rows = [{"id": n, "text": f"row {n}", "label": n % 3} for n in range(500)]
    parts = DatasetDict({"train": Dataset.from_list(rows[:400]), "test": Dataset.from_list(rows[400:])})
    parts.push_to_hub(DATA)
    found = load_dataset(DATA)
    assert found["train"].to_list() == rows[:400] and found["test"].to_list() == rows[400:]
    builder = load_dataset_builder(DATA)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 400, "test": 100}
    stream = load_dataset(DATA, split="train", streaming=True)
    assert list(stream.take(3)) == rows[:3]
    # A second configuration beside the first, and a change of the first.
    Dataset.from_list(rows[:7]).push_to_hub(DATA, config_name="few")
    assert load_dataset(DATA, "few", split="train").num_rows == 7
    assert load_dataset(DATA, "default", split="test").num_rows == 100


def run(*words, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def git(folder: Path) -> None:
    """What came through Python is cloned by git and git-lfs, and what they push comes back through Python."""
    from huggingface_hub import hf_hub_download

    url = os.environ["HF_ENDPOINT"].replace("://", f"://{USER}:{TOKEN}@") + f"/{MODEL}"
    clone = folder / "clone"
    run("git", "clone", "--quiet", url, clone)
    run("git", "lfs", "install", "--local", cwd=clone)
    run("git", "lfs", "pull", cwd=clone)
    weights = Path(hf_hub_download(MODEL, "model.safetensors")).read_bytes()
    assert (clone / "model.safetensors").read_bytes() == weights
    more = os.urandom(3 << 20)
    (clone / "more.bin").write_bytes(more)
    (clone / "words.txt").write_text("by git\n")
    run("git", "lfs", "track", "*.bin", cwd=clone)
    run("git", "add", "--all", cwd=clone)
    run("git", "commit", "--quiet", "-m", "By git", cwd=clone)
    run("git", "push", "--quiet", cwd=clone)
    assert Path(hf_hub_download(MODEL, "more.bin")).read_bytes() == more
    assert Path(hf_hub_download(MODEL, "words.txt")).read_text() == "by git\n"


def curl(folder: Path) -> None:
    """A download that broke off goes on where it was."""
    from huggingface_hub import hf_hub_download

    whole = Path(hf_hub_download(MODEL, "model.safetensors")).read_bytes()
    url = f"{os.environ['HF_ENDPOINT']}/{MODEL}/resolve/main/model.safetensors"
    path, header = folder / "model.safetensors", f"Authorization: Bearer {TOKEN}"
    path.write_bytes(whole[: len(whole) // 3])
    run("curl", "--silent", "--fail", "--location", "-C", "-", "--header", header, "--output", path, url)
    assert path.read_bytes() == whole
    part = folder / "part"
    run("curl", "--silent", "--fail", "--location", "--range", "1000-1999", "--header", header, "--output", part, url)
    assert part.read_bytes() == whole[1000:2000]


STEPS = {"transformers": model, "datasets": data, "git and git-lfs": git, "curl": curl}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--allmende", required=True, type=lambda text: str(Path(text).resolve()))
    options = parser.parse_args()
    enter("ecosystem", HERE / "ecosystem.txt")
    folder = Path(tempfile.mkdtemp(prefix="ecosystem-"))
    process, address = hub(options.allmende, folder)
    home = folder / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = Some One\n\temail = some@example.org\n")
    # Before anything is imported that reads them once.
    os.environ.update({
        "HF_ENDPOINT": address, "HF_TOKEN": TOKEN, "HF_HOME": str(home / "hf"), "HOME": str(home), "no_proxy": "*",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
    })
    failed = 0
    try:
        for name, step in STEPS.items():
            place, began = folder / name.split()[0], time.monotonic()
            place.mkdir()
            try:
                step(place)
                print(f"{name}: ok, {time.monotonic() - began:.1f} s", flush=True)
            except Exception as error:  # noqa: BLE001: whatever it is, the others are tried
                failed += 1
                print(f"{name}: FAILED: {type(error).__name__}: {error}", flush=True)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)
    print(f"{len(STEPS) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
