#!/usr/bin/env python3
"""Runs huggingface_hub's own tests against a hub of ours, and compares what passes with what is known not to.

    python/conformance/run.py --allmende target/release/allmende            # with Xet, without, with an older one
    python/conformance/run.py --allmende … --client lfs test_hf_api -k tag  # a part of it, with one of the clients

Starts a hub in a temporary folder, makes the accounts that the tests know, fetches the package's source distribution by
name and runs the tests in it with our fixtures. What does not pass has to stand in `known.json` with the reason, and what
stands there must not pass. `--write` writes the counts and the reasons as a page.
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

import environment

VERSION = "2.4.0"
FILES = [
    "test_hf_api", "test_file_download", "test_snapshot_download", "test_repocard", "test_xet_upload", "test_xet_download",
    "test_hub_mixin", "test_cache_layout", "test_cli", "test_cli_discussions", "test_buckets", "test_buckets_cli",
    "test_buckets_hf_file_system", "test_copy_files", "test_hf_file_system", "test_commit_api", "test_commit_scheduler",
    "test_upload_pipeline", "test_tree_cache", "test_eval_results", "test_lfs", "test_login_utils", "test_kernels",
]
# By name: what it is, the release of hf_xet that takes the place of the pinned one, and the files that it runs.
CLIENTS = {
    "xet": ("`hf_xet` 1.8.0", None, FILES),
    "lfs": ("without `hf_xet`", None, FILES),
    # The oldest that this huggingface_hub accepts.
    "older": ("`hf_xet` 1.6.0", "hf_xet==1.6.0", ["test_hf_api", "test_xet_upload", "test_xet_download", "test_snapshot_download"]),
}
HERE = Path(__file__).resolve().parent
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
    kept = environment.TARGET / "conformance-sources"
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
    # The one file that names the staging hub by its address.
    kernels = (tests / "test_kernels.py").read_text()
    (tests / "test_kernels.py").write_text(kernels.replace('f"https://hub-ci.huggingface.co/', 'f"{ENDPOINT_STAGING}/'))
    return tests


def run(tests, files, address, folder, xet, extra):
    """Runs the files; gives outcome by file and test."""
    variables = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HUGGINGFACE_CO_STAGING": "0",
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "0" if xet else "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "10",
        "PYTHONDONTWRITEBYTECODE": "1",
        "no_proxy": "*",
    }
    # Set, it would stop the client from switching its progress bars off where it is asked to be quiet.
    for name in ("HF_TOKEN", "HF_HUB_DISABLE_PROGRESS_BARS"):
        variables.pop(name, None)
    report = folder / "report.xml"
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-W", "ignore::pytest.PytestUnknownMarkWarning",
        "-m", "not inference and not production", "--timeout", "120", "--tb", "line", "--junitxml", report, *extra,
        *files,
    ]
    subprocess.run(command, cwd=tests.parent, env=variables, stdout=sys.stderr)
    found = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        # What could not be collected is named by its file alone.
        parts = (case.get("classname") or case.get("name")).split(".")
        file = parts[1] if len(parts) > 1 else parts[0]
        outcome = "passed"
        reason = ""
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome = "skipped" if child.tag == "skipped" else "failed"
                reason = (child.get("message") or "").strip().splitlines()[:1]
                reason = reason[0][:160] if reason else ""
        name = ".".join([*parts[2:], case.get("name")])
        found.setdefault(file, {})[name] = (outcome, reason)
    return found


def known(client):
    """What is known not to pass with this client, by file and test: whether it is run all the same."""
    names = {}
    for entry in json.loads((HERE / "known.json").read_text()):
        if client in entry.get("clients", CLIENTS):
            for test in entry["tests"]:
                file, name = test.split(".", 1)
                names[file, name] = not entry.get("outside", False)
    return names


def surprises(client, found):
    """What differs from what is known, in words."""
    names = known(client)
    failed = {(file, name) for file, cases in found.items() for name, (outcome, _) in cases.items() if outcome == "failed"}
    ran = {(file, name) for file, cases in found.items() for name in cases}
    lines = [f"{file}.{name}: {found[file][name][1]}" for file, name in sorted(failed - set(names))]
    passing = sorted(({name for name, must in names.items() if must} & ran) - failed)
    return lines + [f"{file}.{name}: passes now; take it out of known.json" for file, name in passing]


def page(results):
    """The counts by file and client, and by name what does not pass."""
    lines = [
        "# The Hub's clients",
        "",
        "<!-- Generated by python/conformance/run.py; do not edit. -->",
        "",
        f"`huggingface_hub` {VERSION}'s own tests against a hub of ours. Tests that ask for the public hub or for inference are",
        "left out; some of those counted need no hub at all. Passed / failed / skipped:",
        "",
        "| file | " + " | ".join(CLIENTS[client][0] for client in results) + " |",
        "|---" * (1 + len(results)) + "|",
    ]
    counts = {client: {} for client in results}
    for client, found in results.items():
        for file, cases in found.items():
            outcomes = [outcome for outcome, _ in cases.values()]
            counts[client][file] = tuple(outcomes.count(word) for word in ("passed", "failed", "skipped"))
    for file in sorted({file for found in results.values() for file in found}):
        cells = (" / ".join(map(str, counts[client][file])) if file in counts[client] else "" for client in results)
        lines.append(f"| `{file}` | {' | '.join(cells)} |")
    sums = (" / ".join(str(sum(column)) for column in zip(*counts[client].values())) for client in results)
    lines.append(f"| together | {' | '.join(sums)} |")
    lines += ["", "What does not pass, and why:", ""]
    for entry in json.loads((HERE / "known.json").read_text()):
        whom = "".join(f" ({CLIENTS[client][0]})" for client in entry.get("clients", []))
        lines += [f"- {entry['reason']}{whom}:", *(f"  - `{test}`" for test in entry["tests"])]
    return "\n".join(lines) + "\n"


# More than so many surprises are no accident of a busy machine.
MOST_AGAIN = 20


def again(tests, found, address, folder, client):
    """Runs once more what did not pass and should: clients give up after seconds, and a machine may be busy."""
    names = known(client)
    wrong = [
        (file, name)
        for file, cases in found.items()
        for name, (outcome, _) in cases.items()
        if outcome == "failed" and (file, name) not in names
    ]
    if not 0 < len(wrong) <= MOST_AGAIN:
        return
    nodes = [f"tests/{file}.py::{name.replace('.', '::', name.split('[')[0].count('.'))}" for file, name in wrong]
    for file, cases in run(tests, nodes, address, folder, client != "lfs", ["--tb", "long"]).items():
        for name, case in cases.items():
            if case[0] == "passed" and (file, name) in wrong:
                print(f"{file}.{name} passed when it was run again", file=sys.stderr)
                found[file][name] = case


def one(options):
    """Runs the tests with one client, in its environment."""
    folder = Path(tempfile.mkdtemp(prefix="conformance-"))
    process, address = hub(options.allmende, folder)
    try:
        files = options.files or CLIENTS[options.client][2]
        tests, paths = sources(folder), [f"tests/{name}.py" for name in files]
        extra = ["-k", options.k] if options.k else []
        # They would wait for what no test of ours reaches.
        outside = (name for name, must in known(options.client).items() if not must)
        extra += [f"--deselect=tests/{file}.py::{name.replace('.', '::')}" for file, name in outside]
        found = run(tests, paths, address, folder, options.client != "lfs", extra)
        again(tests, found, address, folder, options.client)
    finally:
        process.terminate()
        process.wait()
    if options.keep:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="without .py; all that are known if none is named")
    parser.add_argument("--allmende", required=True, type=lambda text: str(Path(text).resolve()), help="the program")
    parser.add_argument("--client", choices=CLIENTS, help="one of them only")
    parser.add_argument("--json", type=Path, help="writes every outcome")
    parser.add_argument("--write", type=Path, help="writes the page")
    parser.add_argument("-k", default="", help="as pytest's")
    parser.add_argument("--keep", action="store_true", help="keeps the hub's data")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        options.json.write_text(json.dumps(one(options)))
        return
    results, wrong = {}, []
    for client in [options.client] if options.client else CLIENTS:
        name, instead, _ = CLIENTS[client]
        others = [instead] if instead else []
        interpreter = environment.python("conformance" + (f"-{client}" if instead else ""), HERE / "clients.txt", *others)
        with tempfile.NamedTemporaryFile(suffix=".json") as report:
            command = [interpreter, HERE / "run.py", "--inside", "--allmende", options.allmende, "--client", client]
            command += ["--json", report.name, *options.files, *(["-k", options.k] if options.k else [])]
            subprocess.run([*command, *(["--keep"] if options.keep else [])], check=True)
            results[client] = {
                file: {name: tuple(case) for name, case in cases.items()} for file, cases in json.load(report).items()
            }
        print(f"\n{name}\n{'file':32} {'passed':>7} {'failed':>7} {'skipped':>8}")
        for file, cases in sorted(results[client].items()):
            outcomes = [outcome for outcome, _ in cases.values()]
            print(f"{file:32} {outcomes.count('passed'):7} {outcomes.count('failed'):7} {outcomes.count('skipped'):8}")
        wrong += [f"{name}: {line}" for line in surprises(client, results[client])]
    if options.json:
        options.json.write_text(json.dumps(results, indent=1, sort_keys=True))
    if options.write:
        options.write.write_text(page(results))
    if wrong:
        sys.exit("not as known.json says:\n" + "\n".join(wrong))


if __name__ == "__main__":
    main()
