"""What is published for Python: the wheel and the source distribution, what is in them, and that the installed wheel does
everything with nothing of the checkout: the acceptance tests, run once more there.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.metadata import Metadata

import everytoken
from command_line import gateway
from everytoken.testing import FAULTS, Kind
from installed import ROOT, TEST_TOOLS, Environment, build, install
from sampling import SOAK, sampled

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = ROOT / "src" / "everytoken"
PAGES = PACKAGE / "gateway" / "pages"
FILES = sorted(
    path
    for path in PACKAGE.rglob("*")
    if path.is_file() and path.suffix not in {".pyc", ".so"} and path.name != ".DS_Store"
)
KINDS = {".py", ".c", ".typed", ".html", ".css", ".js", ".svg", ".LICENSE", ".version", ".woff2", ".gz"}
TOP = ("CHANGELOG.md", "LICENSE", "NOTICE", "README.md", "pyproject.toml", "tools/build_native.py")
COMPILED = f"everytoken/native/_short_path{sysconfig.get_config_var('EXT_SUFFIX')}"
LICENSES = ("LICENSE", "NOTICE", *sorted(str(path.relative_to(ROOT)) for path in PAGES.rglob("*.LICENSE")))

IMPORT_EVERYTHING = """
import importlib, json, pkgutil
import everytoken
missing = {}
for module in pkgutil.walk_packages(everytoken.__path__, "everytoken."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        missing[module.name] = error.name
print(json.dumps(missing))
"""
TYPED = """\
from typing import assert_type
import everytoken
assert_type(everytoken.Policy(connect=5).attempts, int)
assert_type(everytoken.show(["a"]), str)
everytoken.Policy(total=5)
"""

FEW_WORDS = """
from openai import OpenAI
stream = OpenAI(api_key="any").chat.completions.create(
    model="...", messages=[{"role": "user", "content": "Count to ten."}], stream=True, max_tokens=16
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
"""


def acceptance() -> Iterator[str]:
    """Name every fault once for each loop, a gateway that is killed, the guide's programs."""
    for name, fault in sampled(list(FAULTS.items()), 12):
        case = f"{name}-{'always' if fault.kind is Kind.HEALTHY or fault.address else 0}"
        yield f"client/test_faults.py::test_sync[{case}]"
        if not SOAK:
            continue  # that the wheel is what the checkout is, one loop shows
        place = "middle" if "middle" in fault.positions else "start"
        yield f"client/test_faults.py::test_async[{case}-{place}]"
    yield "client/test_follow.py::test_the_gateway_is_killed_and_restarted_in_the_middle"
    for program in ("python_sync.py", "python_async.py"):
        yield f"project/test_examples.py::test_the_program_prints_the_answer[{program}]"
    yield "cli/test_serve.py::test_with_a_durable_journal_a_response_goes_on_after_the_next_start"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    [built] = build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    [built] = build(ROOT, tmp_path_factory.mktemp("source"), "sdist")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install everytoken`."""
    return install(wheel, tmp_path_factory.mktemp("bare"), "everytoken")


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install 'everytoken[redis,embedded]'`, and what the acceptance tests need."""
    return install(wheel, tmp_path_factory.mktemp("full"), "everytoken[redis,embedded]", *TEST_TOOLS)


class TestTheWheel:
    def test_holds_the_package_as_it_is_its_licences_and_nothing_else(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        info = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
        about = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")}
        licenses = {f"{info}/licenses/{name}": (ROOT / name).read_bytes() for name in LICENSES}
        package = {f"everytoken/{path.relative_to(PACKAGE)}": path.read_bytes() for path in FILES}
        others = {name: data for name, data in content.items() if name not in {*about, COMPILED}}
        assert others == package | licenses
        assert about < content.keys()
        assert {path.suffix for path in FILES} == KINDS

    def test_has_the_c_part_where_there_is_a_compiler_and_fits_this_platform_only(self, wheel):
        compiler = shutil.which(sysconfig.get_config_var("CC").split()[0])
        headers = Path(sysconfig.get_path("include"), "Python.h")
        if compiler is None or not headers.is_file():
            pytest.skip("there is no C compiler, or Python's headers are missing")
        with zipfile.ZipFile(wheel) as archive:
            assert COMPILED in archive.namelist()
            [about] = [name for name in archive.namelist() if name.endswith("/WHEEL")]
            assert "Root-Is-Purelib: false" in archive.read(about).decode()
        assert not wheel.name.endswith("-any.whl")

    @pytest.mark.parametrize(
        "environ", [{"CC": "false"}, {"CC": "no-such-compiler"}, {"EVERYTOKEN_NATIVE": "0"}], ids=str
    )
    def test_without_a_compiler_it_fits_every_platform(self, environ, tmp_path, monkeypatch):
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        [built] = build(ROOT, tmp_path, "wheel")
        assert built.name.endswith("-py3-none-any.whl")
        with zipfile.ZipFile(built) as archive:
            assert COMPILED not in archive.namelist()

    def test_can_be_described(self, wheel):
        with zipfile.ZipFile(wheel) as archive:
            [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
            metadata = Metadata.from_email(archive.read(name), validate=True)
        assert metadata.description_content_type == "text/markdown"
        assert metadata.description == (ROOT / "README.md").read_text(encoding="utf-8")
        assert metadata.license_expression == "Apache-2.0"
        assert metadata.license_files == list(LICENSES)
        assert str(metadata.requires_python) == ">=3.11"
        assert metadata.provides_extra == ["embedded", "http2", "otel", "postgres", "prices", "redis"]

    def test_is_the_same_when_it_is_built_from_the_source_distribution(self, wheel, source, tmp_path):
        with tarfile.open(source) as archive:
            archive.extractall(tmp_path / "source", filter="data")
        [unpacked] = (tmp_path / "source").iterdir()
        [again] = build(unpacked, tmp_path / "again", "wheel")
        assert again.name == wheel.name
        assert again.read_bytes() == wheel.read_bytes()


def test_the_source_distribution_holds_what_the_wheel_is_made_of_and_nothing_else(source):
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    # hatchling adds the last two.
    assert names == {str(path.relative_to(ROOT)) for path in FILES} | {*TOP, ".gitignore", "PKG-INFO"}


def test_everything_foreign_in_the_package_is_in_the_notice():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    foreign = list(PAGES.glob("vendor/*.version"))
    assert foreign
    for path in foreign:
        assert f"{path.stem} {path.read_text(encoding='utf-8').strip()} " in notice
        assert str(path.with_suffix(".LICENSE").relative_to(ROOT)) in notice


class TestInstalled:
    def test_nothing_comes_from_the_checkout(self, bare, full):
        program = "import everytoken, json, sys; print(json.dumps([everytoken.__file__, *sys.path]))"
        for environment in (bare, full):
            done = environment.run("python", "-I", "-W", "error", "-c", program)
            [found, *path] = json.loads(done.stdout)
            assert Path(found) == environment.site / "everytoken" / "__init__.py"
            assert not Path(found).resolve().is_relative_to(ROOT)
            assert not [entry for entry in path if Path(entry).is_relative_to(ROOT)]

    def test_what_it_declares_is_all_it_needs(self, bare):
        done = bare.run("python", "-I", "-W", "error", "-c", IMPORT_EVERYTHING)
        missing = json.loads(done.stdout)
        assert set(missing.values()) == {"asyncpg", "h2", "hiredis", "opentelemetry"}
        names = (
            *("everytoken.gateway.telemetry.", "everytoken.upstream.http2"),
            *("everytoken.journal.redis", "everytoken.journal.postgres"),
        )
        assert all(name.startswith(names) for name in missing)

    def test_the_command_is_there(self, bare):
        assert "fake-upstream" in bare.run("everytoken", "--help").stdout
        assert bare.run("everytoken", "--version").stdout.strip().endswith(everytoken.__version__)
        for name in ("serve", "chat", "tail", "fake-upstream"):
            done = bare.run("python", "-I", "-W", "error", str(bare.program), name, "--help")
            assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("options", "extra"),
        [
            ([], "embedded"),
            (["--journal", "redis://127.0.0.1:9", "--upstream", "http://127.0.0.1:9/v1"], "redis"),
            (["--journal", "postgresql://127.0.0.1:9/d", "--upstream", "http://127.0.0.1:9/v1"], "postgres"),
        ],
    )
    def test_an_extra_that_is_missing_is_named(self, options, extra, bare):
        done = bare.run("everytoken", "serve", "--port", "0", *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        # The weights are in no package index yet: they come from a checkout.
        place = "./weights " if extra == "embedded" else ""
        assert done.stderr.endswith(f"pip install {place}'everytoken[{extra}]'\n")

    def test_the_chat_page_is_served(self, bare):
        with gateway("--upstream", "http://127.0.0.1:9/v1", program=str(bare.program)) as (_, url):
            for path in FILES:
                if path.is_relative_to(PAGES) and path.suffix in {".html", ".css", ".js", ".svg", ".gz"}:
                    name = f"assets/{path.relative_to(PAGES)}".removesuffix(".gz")
                    name = {"assets/index.html": "", "assets/console/index.html": "console"}.get(name, name)
                    with urllib.request.urlopen(f"{url}/{name}", timeout=10) as response:
                        body = path.read_bytes()
                        assert response.read() == (gzip.decompress(body) if path.suffix == ".gz" else body)

    def test_the_embedded_model_answers(self, full):
        with gateway(program=str(full.program)) as (_, url):
            done = full.run("python", "-I", "-W", "error", "-c", FEW_WORDS, OPENAI_BASE_URL=f"{url}/v1")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip()

    def test_mypy_sees_its_types(self, bare, tmp_path):
        (tmp_path / "typed.py").write_text(TYPED, encoding="utf-8")
        options = ["--config-file=", "--strict", "--cache-dir", tmp_path / "cache"]
        command = [sys.executable, "-m", "mypy", *options, "--python-executable", bare.python, "typed.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)
        assert re.findall(r"^typed.py:(\d+): error: .*\[(.*)\]$", done.stdout, re.MULTILINE) == [
            ("5", "call-arg")
        ]
        assert done.stdout.endswith("Found 1 error in 1 file (checked 1 source file)\n")

    def test_pyright_agrees_with_the_types(self, full):
        pyright = Path(sys.executable).with_name("pyright")
        if not pyright.exists():
            pytest.skip("pyright is not installed; mypy is run by `make lint`")
        command = [pyright, "-p", ROOT / "tests" / "typing", "--pythonpath", full.python]
        done = subprocess.run(command, capture_output=True, check=False, text=True)
        assert done.returncode == 0, done.stdout

    @pytest.mark.timeout(300)
    def test_the_acceptance_tests_hold(self, full):
        tests = [str(ROOT / "tests" / name) for name in acceptance()]
        options = ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
        done = full.run("python", "-I", "-W", "error", "-m", "pytest", *options, *tests)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"everytoken comes from {full.site / 'everytoken'}\n" in done.stdout
        assert not re.search(r"skipped|xfailed|deselected", done.stdout)
