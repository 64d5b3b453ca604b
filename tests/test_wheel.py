"""What a user installs: the wheel holds every file, and asks for few libraries."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tracked(*paths):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # Built from a copy: the build writes beside its sources, where others may read.
    copy = tmp_path_factory.mktemp("source")
    for name in tracked("src", "pyproject.toml", "README.md", "LICENSE"):
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out, copy]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options], check=True)
    [path] = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    ours = {name.removeprefix("src/") for name in tracked("src/visattn")}
    assert "visattn/py.typed" in ours
    assert ours <= set(wheel.namelist())


def test_the_wheel_asks_for_four_libraries_and_leaves_torch_alone(wheel):
    [name] = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(wheel.read(name).decode())
    needs = [
        need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need
    ]
    assert sorted(need.split(">")[0] for need in needs) == [
        "einops",
        "jaxtyping",
        "numpy",
        "torch",
    ]
    [torch] = [need for need in needs if need.startswith("torch")]
    assert torch == "torch>=2.6", "an upper bound would replace Colab's torch"
    assert metadata["License-Expression"] == "MIT"
