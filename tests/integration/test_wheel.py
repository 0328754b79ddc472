"""The wheel: the names that it takes in site-packages, and the client and the service that run from it."""

import os
import subprocess
import sys
import sysconfig
import venv
from email.message import Message
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from llmemb import __version__
from tests.support.packages import REPOSITORY
from tests.support.service import ServeProcess

CLIENT_NEEDS = {"httpx2", "pydantic"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this repository."""
    folder = tmp_path_factory.mktemp("wheel")
    command = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(REPOSITORY)]
    subprocess.run([sys.executable, "-m", "pip", *command], check=True, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """What the wheel says of itself."""
    with ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"llmemb-{__version__}.dist-info/METADATA").decode())


def installed(wheel: Path, folder: Path, dependencies: str) -> Path:
    """Install the wheel alone into a new environment that also sees the folder `dependencies`; return its `bin`."""
    venv.create(folder, symlinks=True, with_pip=False)
    paths = sysconfig.get_paths("venv", {"base": str(folder), "platbase": str(folder)})
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(folder), "install", "--quiet", "--no-deps", str(wheel)],
        check=True,
    )
    # A path file adds the folder, but reads no path file in it: this repository's editable installation stays unseen.
    Path(paths["purelib"], "dependencies.pth").write_text(dependencies)
    return Path(paths["scripts"])


def libraries_of(names: set[str], folder: Path) -> str:
    """Return a new folder with links to the libraries `names` of this environment and to what these need."""
    target = folder / "libraries"
    target.mkdir()
    waiting, seen = set(names), set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        found = distribution(name)
        for top in {path.parts[0] for path in found.files or [] if path.parts[0] not in ("..", "__pycache__")}:
            if not (target / top).exists():
                (target / top).symlink_to(Path(str(found.locate_file(top))))
        needs = [Requirement(line) for line in found.requires or []]
        waiting |= {need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})} - seen
    return str(target)


def run(program: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment outside this repository."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_names_in_site_packages_begin_with_llmemb(wheel: Path) -> None:
    """A folder called `service` or `training` would be in the way of other people's."""
    with ZipFile(wheel) as archive:
        names = archive.namelist()

    assert {name.split("/")[0] for name in names} == {
        "llmemb",
        "llmemb_service",
        "llmemb_training",
        f"llmemb-{__version__}.dist-info",
    }
    assert {name for name in names if name.endswith("py.typed")} == {
        "llmemb/py.typed",
        "llmemb_service/py.typed",
        "llmemb_training/py.typed",
    }


def test_wheel_has_what_is_not_python(wheel: Path) -> None:
    """The playground's files, the report's templates and the presets."""
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packages = (
        REPOSITORY / "llmemb",
        REPOSITORY / "service" / "llmemb_service",
        REPOSITORY / "training" / "llmemb_training",
    )
    tracked = {
        path.relative_to(package.parent).as_posix()
        for package in packages
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert tracked - names == set()
    assert "llmemb_training/config/demo.toml" in names


def test_client_needs_no_torch(metadata: Message) -> None:
    """Without an extra, the wheel asks for the client's two libraries; each command's package has its extra."""
    needs = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]

    assert {need.name for need in needs if need.marker is None} == CLIENT_NEEDS
    assert {"core", "service", "training"} <= set(metadata.get_all("Provides-Extra", []))
    assert metadata["License-Expression"] == "Apache-2.0"


def test_client_runs_alone(wheel: Path, tmp_path: Path) -> None:
    """The client is imported with its two libraries; a command that needs more names the extra to install."""
    scripts = installed(wheel, tmp_path / "environment", libraries_of(CLIENT_NEEDS, tmp_path))
    imported = run(scripts / "python", "-c", "import llmemb.client; print(llmemb.__file__)", folder=tmp_path)
    refused = run(scripts / "llmemb", "serve", folder=tmp_path)

    assert imported.stdout.startswith(str(tmp_path)), imported.stderr
    assert refused.returncode == 3
    assert refused.stderr.endswith("is missing; install it with: pip install 'llmemb[service]'\n")


def test_service_runs_from_the_wheel(wheel: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """`llmemb serve` recommends and embeds a new text, without this repository; presets are known by name."""
    scripts = installed(wheel, tmp_path / "environment", sysconfig.get_paths()["purelib"])
    program = (str(scripts / "llmemb"),)
    with ServeProcess(tiny_bundle, tmp_path / "state", program=program, PYTHONPATH="") as service:
        recommended = service.post("/recommend", {"history": ["1"], "k": 3})
        embedded = service.post("/embed_items", {"items": [{"id": "new", "attributes": {"title": "Alien"}}]})
    unknown = run(scripts / "llmemb", "train", "nonesuch", folder=tmp_path)

    assert recommended.status_code == 200, recommended.text
    assert embedded.status_code == 200, embedded.text
    assert "presets beauty, demo, scientific, smoke" in unknown.stderr
