"""Who is measured. Each has a place to send a folder to, and brings it back on what stands for another machine."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
TOKEN = "hf_" + "b" * 34
# The name of a single large file.
FILE = "model.safetensors"


class Failed(Exception):
    """A contender could not do it."""


def run(command: list, folder: Path, environment: dict[str, str]) -> None:
    """Runs a command to its end, seeing nothing of the caller's settings."""
    known = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "no_proxy": "*"}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=known | environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )
    if done.returncode != 0:
        raise Failed(f"{Path(str(command[0])).name} {command[1]}: {done.stdout.strip()[-600:]}")


def size_of(folder: Path) -> int:
    """Bytes below a folder, holes not counted."""
    total = 0
    for path in folder.rglob("*"):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if path.is_file():
            total += min(found.st_size, found.st_blocks * 512)
    return total


class Server:
    """A process that listens, and how much memory it took."""

    def __init__(self, command: list, folder: Path, port: int, ready: str) -> None:
        self.log = folder / "server.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([str(word) for word in command], cwd=folder, stdout=log, stderr=log)
        self.url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}{ready}").read()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        raise Failed(f"the server did not start:\n{self.log.read_text()[-2000:]}")

    def forget(self) -> None:
        """Begins to count the peak of its memory anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """The most memory that was resident since."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise Failed(f"the server is gone:\n{self.log.read_text()[-2000:]}")

    def cpu_seconds(self) -> float:
        """What it computed so far, with the processes that worked for it and ended."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Project:
    """A folder of files that a contender keeps, in a place of its own."""

    # Where below the work folder the files lie.
    below = "."

    def __init__(self, contender, name: str) -> None:
        self.contender, self.name = contender, name
        self.folder = contender.folder / "projects" / name
        self.work = self.folder / "work"
        self.home = self.folder / "home"
        self.work.mkdir(parents=True)
        self.home.mkdir()
        self.prepare()

    def prepare(self) -> None:
        """What is done once, before anything is measured."""

    def put(self, files: Path) -> None:
        """Lays a file, or what a folder holds, into the work folder."""
        place = self.work / self.below
        place.mkdir(exist_ok=True)
        if files.is_dir():
            shutil.copytree(files, place, dirs_exist_ok=True)
        else:
            # What lies there may be a link to a tool's own copy.
            (place / FILE).unlink(missing_ok=True)
            shutil.copyfile(files, place / FILE)

    def up(self) -> None:
        raise NotImplementedError

    def arrive(self, into: Path) -> None:
        """Another machine, which knows nothing yet: what is done there once, before anything is measured."""
        self.elsewhere = self.folder / "elsewhere"
        for folder in (self.elsewhere, into):
            shutil.rmtree(folder, ignore_errors=True)
        self.elsewhere.mkdir()

    def down(self, into: Path) -> None:
        """Fetches everything on the other machine."""
        raise NotImplementedError

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Contender:
    name = ""
    about = ""
    project = Project
    server: Server | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.store.mkdir(parents=True)

    def begin(self, name: str) -> Project:
        return self.project(self, name)

    def stored(self) -> int:
        """Bytes that it keeps."""
        return size_of(self.store)

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()


class Hub(Contender):
    """A hub of ours with one account. Each way of speaking to it has a hub of its own."""

    program: Path

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.data = self.store
        port = free_port()
        # As it comes: `serve` with a folder and an address.
        command = [self.program, "serve", "--data-dir", self.data, "--listen", f"127.0.0.1:{port}"]
        self.server = Server(command, folder, port, "/healthz")
        for words, text in ((["create", "bench"], ""), (["token", "bench", "--secret-stdin"], TOKEN)):
            subprocess.run(
                [self.program, "account", *words, "--data-dir", self.data], input=text, text=True, check=True,
                stdout=subprocess.DEVNULL,
            )

    def stored(self) -> int:
        # What waits in the database's log is folded into the database first, so that it counts once.
        with sqlite3.connect(self.data / "hub.db", timeout=30) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        return sum(size_of(self.data / part) for part in ("blobs", "git")) + (self.data / "hub.db").stat().st_size

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.server.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def create(self, name: str) -> None:
        self.ask("POST", "/api/repos/create", {"name": name, "type": "model"})


class HfProject(Project):
    def environment(self, home: Path) -> dict[str, str]:
        return {
            "HOME": str(home), "HF_HOME": str(home), "HF_ENDPOINT": self.contender.server.url, "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }

    def up(self) -> None:
        hf = Path(sys.executable).with_name("hf")
        run([hf, "upload", f"bench/{self.name}", self.work, "."], self.folder, self.environment(self.home))

    def down(self, into: Path) -> None:
        hf = Path(sys.executable).with_name("hf")
        command = [hf, "download", f"bench/{self.name}", "--local-dir", into]
        run(command, self.folder, self.environment(self.elsewhere))


class AllmendeHf(Hub):
    name = "allmende: hf"
    about = "`hf upload` and `hf download` (huggingface_hub with hf_xet) against `allmende serve`"
    project = HfProject


class CasProject(Project):
    def up(self) -> None:
        self.act("up", self.work, self.home, "write")

    def down(self, into: Path) -> None:
        self.act("down", into, self.elsewhere, "read")

    def act(self, act: str, folder: Path, home: Path, right: str) -> None:
        url, token = self.contender.access(self.name, right)
        environment = {"HOME": str(home), "HF_HOME": str(home), "CAS_URL": url, "CAS_TOKEN": token}
        command = [sys.executable, HERE / "client.py", act, folder, self.folder / "files.json"]
        run(command, self.folder, environment)


class AllmendeCas(Hub):
    name = "allmende: hf_xet"
    about = "hf_xet alone against the storage of `allmende serve`, as against the reference server"
    project = CasProject

    def begin(self, name: str) -> Project:
        self.create(name)
        return super().begin(name)

    def access(self, name: str, right: str) -> tuple[str, str]:
        found = self.ask("GET", f"/api/models/bench/{name}/xet-{right}-token/main")
        return found["casUrl"], found["accessToken"]


class Reference(Contender):
    name = "reference: hf_xet"
    about = "hf_xet alone against `local_cas_server` of the crate xet-client 1.8.0"
    project = CasProject
    program: Path

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        port = free_port()
        self.server = Server([self.program, "--data-directory", self.store, "--port", port], folder, port, "/health")

    def access(self, _name: str, _right: str) -> tuple[str, str]:
        return self.server.url, "none"


class GitProject(Project):
    def environment(self, home: Path) -> dict[str, str]:
        return {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}

    def configure(self, home: Path) -> None:
        (home / ".gitconfig").write_text("[user]\n\tname = Bench\n\temail = bench@example.org\n")
        run(["git", "lfs", "install", "--skip-repo"], home, self.environment(home))

    def git(self, *words: str) -> None:
        run(["git", *words], self.work, self.environment(self.home))

    def prepare(self) -> None:
        self.configure(self.home)
        self.url = self.contender.remote(self.name)
        run(["git", "clone", "--quiet", self.url, self.work], self.folder, self.environment(self.home))
        self.git("lfs", "track", "*.safetensors", "*.json")
        self.git("add", ".gitattributes")
        self.git("commit", "--quiet", "-m", "Large files beside git")
        self.git("push", "--quiet", "origin", "HEAD:main")

    def up(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "Files")
        self.git("push", "--quiet", "origin", "HEAD:main")

    def arrive(self, into: Path) -> None:
        super().arrive(into)
        self.configure(self.elsewhere)

    def down(self, into: Path) -> None:
        command = ["git", "clone", "--quiet", "--branch", "main", self.url, into]
        run(command, self.folder, self.environment(self.elsewhere))


class AllmendeLfs(Hub):
    name = "allmende: git-lfs"
    about = "git and git-lfs against `allmende serve`"
    project = GitProject

    def remote(self, name: str) -> str:
        self.create(name)
        return f"{self.server.url}/bench/{name}".replace("://", f"://bench:{TOKEN}@")


class GitLfs(Contender):
    name = "git-lfs"
    about = "git and git-lfs against a bare repository by file://, which git-lfs serves itself"
    project = GitProject

    def remote(self, name: str) -> str:
        bare = self.store / f"{name}.git"
        run(["git", "init", "--quiet", "--bare", "--initial-branch=main", bare], self.store, {"HOME": str(self.store)})
        return bare.as_uri()


class DvcProject(Project):
    below = "data"

    def environment(self, home: Path) -> dict[str, str]:
        return {"HOME": str(home), "DVC_NO_ANALYTICS": "1", "XDG_CACHE_HOME": str(home), "DVC_SITE_CACHE_DIR": str(home)}

    def dvc(self, folder: Path, home: Path, *words: str) -> None:
        run([Path(sys.executable).with_name("dvc"), *words], folder, self.environment(home))

    def prepare(self) -> None:
        self.start(self.work, self.home)

    def start(self, folder: Path, home: Path) -> None:
        self.dvc(folder, home, "init", "--no-scm", "--quiet")
        self.dvc(folder, home, "remote", "add", "--default", "store", str(self.contender.store / self.name))

    def up(self) -> None:
        self.dvc(self.work, self.home, "add", "--quiet", "data")
        self.dvc(self.work, self.home, "push", "--quiet")

    def arrive(self, into: Path) -> None:
        super().arrive(into)
        into.mkdir()
        self.start(into, self.elsewhere)
        shutil.copyfile(self.work / "data.dvc", into / "data.dvc")

    def down(self, into: Path) -> None:
        self.dvc(into, self.elsewhere, "pull", "--quiet")


class Dvc(Contender):
    name = "dvc"
    about = "dvc with a folder as its remote"
    project = DvcProject


ALL = [AllmendeHf, AllmendeCas, AllmendeLfs, Reference, GitLfs, Dvc]
