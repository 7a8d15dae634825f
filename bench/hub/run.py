#!/usr/bin/env python3
"""Measures the hub beside others, all in one run on one machine.

    bench/hub/run.py --allmende target/release/allmende [--quick] [--json FILE]

What is measured, and against whom: bench/hub/README.md. Everything it needs lies below target/bench-hub afterwards.
"""

import argparse
import filecmp
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACE = HERE.parent.parent / "target" / "bench-hub"
REFERENCE = "1.8.0"
CLIENTS = 8
INSERTED_BYTES = 1_000
MEASURED = ("bytes", "seconds", "cpu_seconds", "stored_bytes")
FULL = {"random": 268_435_456, "structured": 1_000_000_000, "small": 10_000, "each": 33_554_432}
QUICK = {"random": 33_554_432, "structured": 67_108_864, "small": 500, "each": 4_194_304}


def set_up() -> None:
    """Makes the environment and goes on in it."""
    wanted, stamp = (HERE / "requirements.txt").read_text(), PLACE / "venv" / "requirements.txt"
    python = PLACE / "venv" / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(PLACE / "venv", ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", PLACE / "venv"], check=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", HERE / "requirements.txt"], check=True)
        stamp.write_text(wanted)
    if Path(sys.prefix).resolve() != (PLACE / "venv").resolve():
        os.execv(python, [python, str(Path(__file__).resolve()), *sys.argv[1:]])


def reference(given: Path | None) -> Path:
    """The reference server; built once, of the published crate."""
    if given is not None:
        return given.resolve()
    program = PLACE / "reference" / "bin" / "local_cas_server"
    if not program.exists():
        command = ["cargo", "install", "--locked", "--root", PLACE / "reference", "--version", f"={REFERENCE}"]
        command += ["--features", "simulation", "--bin", "local_cas_server", "xet-client"]
        subprocess.run(command, check=True, env=os.environ | {"CARGO_TARGET_DIR": str(PLACE / "reference" / "build")})
    return program


def same(source: Path, fetched: Path, file: str) -> bool:
    """Whether everything came back, byte for byte."""
    if source.is_file():
        return filecmp.cmp(source, fetched / file, shallow=False)
    names = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    _, *wrong = filecmp.cmpfiles(source, fetched, [str(name) for name in names], shallow=False)
    return not any(wrong)


def bytes_of(source: Path) -> int:
    return sum(path.stat().st_size for path in source.rglob("*")) if source.is_dir() else source.stat().st_size


def cpu_seconds(contender) -> float:
    """What the contender's clients and its server computed so far."""
    clients = resource.getrusage(resource.RUSAGE_CHILDREN)
    server = contender.server.cpu_seconds() if contender.server is not None else 0
    return clients.ru_utime + clients.ru_stime + server


class Run:
    """One pass over all lines: `found[line][contender]` is what was measured."""

    def __init__(self, contenders: list, samples: Path, failed: type) -> None:
        self.contenders, self.samples, self.failed = contenders, samples, failed
        self.found: dict[str, dict[str, dict]] = {}

    def measure(self, line: str, contender, sent: int, act) -> None:
        """Times `act`, which moves `sent` bytes."""
        cell = self.found.setdefault(line, {})[contender.name] = {"bytes": sent}
        before = contender.stored()
        if contender.server is not None:
            contender.server.forget()
        computed, began = cpu_seconds(contender), time.monotonic()
        act()
        cell["seconds"] = time.monotonic() - began
        cell["cpu_seconds"] = cpu_seconds(contender) - computed
        if contender.server is not None:
            cell["server_peak_bytes"] = contender.server.peak_bytes()
        cell["stored_bytes"] = contender.stored() - before
        print(f"  {line:24} {contender.name:20} {cell['seconds']:8.2f} s", file=sys.stderr, flush=True)

    def attempt(self, line: str, contender, act) -> bool:
        try:
            act()
            return True
        except (self.failed, OSError) as error:
            print(f"  {line:24} {contender.name:20} FAILED: {error}", file=sys.stderr, flush=True)
            self.found.setdefault(line, {})[contender.name] = {"failed": str(error)}
            return False

    def one_way(self, name: str, source: Path, changed: Path | None) -> None:
        """Up, down, and up again with a change."""
        for contender in self.contenders:
            place = contender.folder / "fetched"
            size = bytes_of(source)

            def up(line: str, files: Path) -> None:
                project.put(files)
                self.measure(line, contender, bytes_of(files), project.up)

            def down() -> None:
                project.arrive(place)
                self.measure(f"{name}, down", contender, size, lambda: project.down(place))
                if not same(source, place / project.below, contender.file):
                    raise self.failed("what came back is not what was sent")

            slug = name.split(",")[0].replace(" ", "-").lower()
            project = contender.begin(slug)
            if self.attempt(f"{name}, up", contender, lambda: up(f"{name}, up", source)):
                self.attempt(f"{name}, down", contender, down)
                if changed is not None:
                    again = f"{name}, 1 kB inserted"
                    self.attempt(again, contender, lambda: up(again, changed))
            project.remove()
            shutil.rmtree(place, ignore_errors=True)

    def many(self, sources: list[Path]) -> None:
        """Several clients at once, each with a file and a project of its own."""
        total = sum(map(bytes_of, sources))
        for contender in self.contenders:
            projects = [contender.begin(f"client-{i}") for i in range(len(sources))]
            places = [contender.folder / f"fetched-{i}" for i in range(len(sources))]
            for project, source in zip(projects, sources):
                project.put(source)

            def at_once(act) -> None:
                errors: list[Exception] = []

                def one(i: int) -> None:
                    try:
                        act(i)
                    except Exception as error:  # noqa: BLE001: told below, by the thread that waits
                        errors.append(error)

                threads = [threading.Thread(target=one, args=(i,)) for i in range(len(sources))]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                if errors:
                    raise self.failed(f"{len(errors)} of {len(sources)}: {errors[0]}")

            def down() -> None:
                for project, place in zip(projects, places):
                    project.arrive(place)
                line = f"{CLIENTS} clients, down"
                self.measure(line, contender, total, lambda: at_once(lambda i: projects[i].down(places[i])))
                for project, source, place in zip(projects, sources, places):
                    if not same(source, place / project.below, contender.file):
                        raise self.failed("what came back is not what was sent")

            def up() -> None:
                line = f"{CLIENTS} clients, up"
                self.measure(line, contender, total, lambda: at_once(lambda i: projects[i].up()))

            if self.attempt(f"{CLIENTS} clients, up", contender, up):
                self.attempt(f"{CLIENTS} clients, down", contender, down)
            for project, place in zip(projects, places):
                project.remove()
                shutil.rmtree(place, ignore_errors=True)

    def all(self, sizes: dict[str, int], lines: list[str], seed: int) -> None:
        import samples

        folder = self.samples
        for name in ("random", "structured"):
            if name in lines:
                path, changed = folder / name, folder / f"{name}-changed"
                getattr(samples, name)(path, sizes[name], seed)
                samples.inserted(path, changed, INSERTED_BYTES, seed + 1)
                self.one_way(f"{name} {sizes[name] // 1_000_000} MB", path, changed)
                path.unlink()
                changed.unlink()
        if "small" in lines:
            samples.small(folder / "small", sizes["small"], seed)
            self.one_way(f"{sizes['small']} small files", folder / "small", None)
            shutil.rmtree(folder / "small")
        if "clients" in lines:
            sources = [folder / f"client-{i}" for i in range(CLIENTS)]
            for i, path in enumerate(sources):
                samples.random(path, sizes["each"], seed + 10 + i)
            self.many(sources)
            for path in sources:
                path.unlink()


def middle(cells: list[dict]) -> dict:
    """The median of each number over the passes, and the largest of the server's memory."""
    failed = [cell for cell in cells if "failed" in cell]
    if failed:
        return failed[0]
    numbers = {key: statistics.median(cell[key] for cell in cells) for key in MEASURED}
    if "server_peak_bytes" in cells[0]:
        numbers["server_peak_bytes"] = max(cell["server_peak_bytes"] for cell in cells)
    return numbers


def table(title: str, lines: dict[str, dict[str, dict]], names: list[str], show) -> str:
    head = f"| {title} | " + " | ".join(names) + " |"
    rows = [head, "|---" * (len(names) + 1) + "|"]
    for line, cells in lines.items():
        shown = [show(line, cells[name]) if "seconds" in cells.get(name, {}) else "failed" for name in names]
        if any(shown):
            rows.append(f"| {line} | " + " | ".join(shown) + " |")
    return "\n".join(rows)


def report(lines: dict[str, dict[str, dict]], contenders: list) -> str:
    names = [contender.name for contender in contenders]

    def speed(_line: str, cell: dict) -> str:
        return f"{cell['seconds']:.2f} s, {cell['bytes'] / cell['seconds'] / 1e6:.0f} MB/s"

    def stored(line: str, cell: dict) -> str:
        if line.endswith("down"):
            return ""
        share = 100 * cell["stored_bytes"] / cell["bytes"]
        return f"{share:.3f} %" if "inserted" in line else f"{share:.1f} %"

    def memory(_line: str, cell: dict) -> str:
        return f"{cell['server_peak_bytes'] / 1e6:.0f} MB" if "server_peak_bytes" in cell else "no server"

    def computed(_line: str, cell: dict) -> str:
        return f"{cell['cpu_seconds']:.2f} s"

    parts = [table("time", lines, names, speed), table("CPU, client and server", lines, names, computed)]
    parts.append(table("new bytes stored", lines, names, stored))
    parts.append(table("server's peak memory", lines, names, memory))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--allmende", required=True, type=Path, help="the program, as cargo build --release makes it")
    parser.add_argument("--quick", action="store_true", help="smaller files, one pass: whether it works, not how fast")
    parser.add_argument("--repeat", type=int, help="passes, of which the median is shown (3; 1 with --quick)")
    parser.add_argument("--json", type=Path, help="writes everything that was measured")
    parser.add_argument("--reference", type=Path, help="a local_cas_server that was built before")
    parser.add_argument("--only", action="append", help="a contender; may be repeated")
    parser.add_argument("--line", action="append", choices=["random", "structured", "small", "clients"])
    parser.add_argument("--scratch", type=Path, default=PLACE / "scratch", help="where files and stores lie meanwhile")
    options = parser.parse_args()
    set_up()
    import contenders as all_of

    chosen = [one for one in all_of.ALL if options.only is None or one.name in options.only]
    if all_of.Reference in chosen:
        all_of.Reference.program = reference(options.reference)
    all_of.Hub.program = options.allmende.resolve()
    all_of.Contender.file = all_of.FILE
    sizes = QUICK if options.quick else FULL
    lines = options.line or ["random", "structured", "small", "clients"]
    passes = []
    for number in range(options.repeat or (1 if options.quick else 3)):
        print(f"pass {number + 1}", file=sys.stderr, flush=True)
        shutil.rmtree(options.scratch, ignore_errors=True)
        started = []
        try:
            for one in chosen:
                started.append(one(options.scratch / one.__name__))
            samples = options.scratch / "samples"
            samples.mkdir()
            one_pass = Run(started, samples, all_of.Failed)
            one_pass.all(sizes, lines, 1_000 * number)
            passes.append(one_pass.found)
        finally:
            for contender in started:
                contender.stop()
            shutil.rmtree(options.scratch, ignore_errors=True)
    found = {
        line: {name: middle([one[line][name] for one in passes]) for name in cells} for line, cells in passes[0].items()
    }
    versions = {"python": platform.python_version(), "reference": REFERENCE}
    for name, command in (("git", ["git", "version"]), ("git-lfs", ["git", "lfs", "version"])):
        versions[name] = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    print(report(found, chosen))
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, {len(passes)} passes; {versions['git']}, {versions['git-lfs']}")
    if options.json is not None:
        packages = (HERE / "requirements.txt").read_text().split("\n")
        versions["packages"] = [line for line in packages if "==" in line]
        machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()}
        whole = {"machine": machine, "versions": versions, "sizes": sizes, "median": found, "passes": passes}
        options.json.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
