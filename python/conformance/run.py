#!/usr/bin/env python3
"""Runs huggingface_hub's own tests against a hub of ours and counts what passes.

    .venv/bin/python python/conformance/run.py --allmende target/release/allmende [FILE…] [--write docs/reference/…]

Starts a hub in a temporary folder, makes the accounts that the tests know, fetches the package's source distribution by
name and runs the tests in it with our fixtures. `--write` writes the counts by file, and by name what does not pass.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import xml.etree.ElementTree as ElementTree
from pathlib import Path

VERSION = "2.4.0"
FILES = [
    "test_hf_api", "test_file_download", "test_snapshot_download", "test_repocard", "test_xet_upload", "test_hub_mixin",
    "test_cache_layout", "test_cli", "test_buckets",
]
# Known to everybody who has read the package's tests: good for a hub that lives as long as they run.
ACCOUNTS = {
    "__DUMMY_HUB_USER__": ("Dummy User", "hf_HubCITokenXXXXXXXXXXXXXXXXXXXXX", ["valid_org_hub"]),
    "DVUser": ("DV User", "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", []),
    "EnterpriseAdmin": ("Enterprise Admin", "hf_enterprise_admin_token", ["EnterpriseOrgPrivate"]),
}
ORGANIZATIONS = {"valid_org_hub": ("Dummy Hub Org", False), "EnterpriseOrgPrivate": ("Enterprise Org", True)}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def hub(program, folder):
    """Starts a hub and makes its accounts."""
    port = free_port()
    data = folder / "hub"
    log = open(folder / "hub.log", "wb")
    process = subprocess.Popen(
        [program, "serve", "--data-dir", data, "--listen", f"127.0.0.1:{port}"], stdout=log, stderr=log
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/healthz").read()
            break
        except OSError:
            if process.poll() is not None:
                sys.exit(f"the hub did not start:\n{(folder / 'hub.log').read_text()}")
            time.sleep(0.1)

    def account(*words, stdin=""):
        command = [program, "account", *words, "--data-dir", data, "--json"]
        subprocess.run(command, input=stdin, text=True, check=True, stdout=subprocess.DEVNULL)

    for name, (full, private) in ORGANIZATIONS.items():
        account("create", name, "--full-name", full, "--organization", *(["--private"] if private else []))
    for name, (full, token, organizations) in ACCOUNTS.items():
        account("create", name, "--full-name", full)
        account("token", name, "--label", "tests", "--secret-stdin", stdin=token)
        for organization in organizations:
            account("member", organization, name, "--role", "admin")
    return process, address


def sources(folder):
    """The package's tests, with our fixtures beside them."""
    kept = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "allmende-conformance"
    kept.mkdir(parents=True, exist_ok=True)
    archive = kept / f"huggingface_hub-{VERSION}.tar.gz"
    if not archive.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "--dest", kept, f"huggingface_hub=={VERSION}"], check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    tests = folder / f"huggingface_hub-{VERSION}" / "tests"
    (tests / "__init__.py").touch()
    shutil.copy(Path(__file__).parent / "conftest.py", tests / "conftest.py")
    constants = (tests / "testing_constants.py").read_text()
    constants = re.sub(r"ENDPOINT_STAGING = .*", 'ENDPOINT_STAGING = __import__("os").environ["HF_ENDPOINT"]', constants)
    (tests / "testing_constants.py").write_text(constants)
    return tests


def run(tests, files, address, folder, xet, extra):
    """Runs the files; gives outcome by file and test."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HUGGINGFACE_CO_STAGING": "0",
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "0" if xet else "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "0",
        "HF_HUB_DOWNLOAD_TIMEOUT": "10",
        "PYTHONDONTWRITEBYTECODE": "1",
        "no_proxy": "*",
    }
    environment.pop("HF_TOKEN", None)
    report = folder / f"report-{'xet' if xet else 'lfs'}.xml"
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-W", "ignore::pytest.PytestUnknownMarkWarning",
        "-m", "not inference and not production", "--timeout", "120", "--junitxml", report, *extra,
        *(f"tests/{name}.py" for name in files),
    ]
    subprocess.run(command, cwd=tests.parent, env=environment, stdout=sys.stderr)
    found = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        file = case.get("classname").split(".")[1]
        outcome = "passed"
        reason = ""
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome = "skipped" if child.tag == "skipped" else "failed"
                reason = (child.get("message") or "").strip().splitlines()[:1]
                reason = reason[0][:160] if reason else ""
        name = ".".join(case.get("classname").split(".")[2:] + [case.get("name")])
        found.setdefault(file, {})[name] = (outcome, reason)
    return found


def page(found, xet):
    """The counts by file, and by name what does not pass."""
    lines = [
        "# The Hub's clients",
        "",
        "<!-- Generated by python/conformance/run.py; do not edit. -->",
        "",
        f"`huggingface_hub` {VERSION}'s own tests against a hub of ours, {'with' if xet else 'without'} `hf_xet`. Tests that ask for",
        "the public hub or for inference are left out. Some of those counted need no hub at all.",
        "",
        "| file | passed | failed | skipped |",
        "|---|---:|---:|---:|",
    ]
    for file, cases in sorted(found.items()):
        outcomes = [outcome for outcome, _ in cases.values()]
        counts = " | ".join(str(outcomes.count(word)) for word in ("passed", "failed", "skipped"))
        lines.append(f"| `{file}` | {counts} |")
    lines += ["", "What does not pass, with the first line of its error:", ""]
    for file, cases in sorted(found.items()):
        for name, (outcome, reason) in sorted(cases.items()):
            if outcome == "failed":
                # Addresses and ids differ from run to run.
                reason = re.sub(r"127\.0\.0\.1:\d+|[0-9a-f]{16,}|\d{10,}", "…", reason).replace("|", "/")
                lines.append(f"- `{file}.{name}`: {reason}")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--allmende", required=True, type=lambda text: str(Path(text).resolve()))
    parser.add_argument("--no-xet", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path)
    parser.add_argument("-k", default="")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="conformance-"))
    process, address = hub(options.allmende, folder)
    try:
        tests = sources(folder)
        found = run(tests, options.files, address, folder, not options.no_xet, ["-k", options.k] if options.k else [])
    finally:
        process.terminate()
        process.wait()
    print(f"{'file':28} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for file, cases in found.items():
        outcomes = [outcome for outcome, _ in cases.values()]
        print(f"{file:28} {outcomes.count('passed'):7} {outcomes.count('failed'):7} {outcomes.count('skipped'):8}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, sort_keys=True))
    if options.write:
        options.write.write_text(page(found, not options.no_xet))
    if options.keep:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
