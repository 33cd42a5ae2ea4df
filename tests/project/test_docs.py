"""The blocks of code in README and docs/ that no other test runs; and that there is none that no test runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import unicodedata
import urllib.error
import urllib.request
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from command_line import EVERYTOKEN, LIMIT, environment, gateway, read_line, wait_for
from everytoken.testing import Answer, ScriptedUpstream
from terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
HERE = "project/test_docs.py"
# Page -> language -> (how many blocks, who runs or compiles them).
BLOCKS = {
    "CONTRIBUTING.md": {"sh": (5, "project/test_docs_contributing.py")},
    "README.md": {"console": (3, HERE), "python": (1, HERE), "sh": (1, HERE)},
    "docs/agents.md": {"sh": (3, "project/test_agents_docs.py"), "toml": (2, "project/test_agents_docs.py")},
    "docs/ai-sdk.md": {"jsx": (1, "aisdk/test_aisdk.py")},
    "docs/architecture.md": {
        "mermaid": (1, "project/test_docs_architecture.py"),
        "text": (5, "project/test_docs_architecture.py"),
    },
    "docs/cli.md": {
        "sh": (4, HERE),
        "text": (18, "project/test_cli_docs.py"),
        "toml": (1, "cli/test_profile.py"),
    },
    "docs/clients.md": {
        "js": (10, "project/test_clients_docs.py"),
        "python": (16, "project/test_clients_docs.py"),
        "sh": (3, "project/test_clients_docs.py"),
        "yaml": (1, "project/test_clients_docs.py"),
    },
    "docs/deployment.md": {
        "caddy": (1, "security/test_deployment.py"),
        "haproxy": (1, "security/test_deployment.py"),
        "nginx": (1, "security/test_deployment.py"),
        "sh": (4, "security/test_deployment.py"),
        "toml": (2, "security/test_deployment.py"),
    },
    "docs/extending.md": {
        "python": (9, "project/test_extending.py"),
        "toml": (1, "project/test_extending.py"),
    },
    "docs/gateway.md": {
        "python": (1, "project/test_gateway_docs.py"),
        "toml": (3, "project/test_gateway_docs.py"),
    },
    "docs/install.md": {"sh": (7, "project/test_dist.py")},
    "docs/journal.md": {"": (1, "journal/test_redis.py")},
    "docs/node.md": {"js": (6, "project/test_js.py"), "ts": (2, "sdks/test_node_sdks.py")},
    "docs/operations.md": {
        "console": (3, "cli/test_check.py"),
        "nginx": (1, "security/test_rolling_restart.py"),
        "sh": (1, "gateway/telemetry/test_telemetry.py"),
        "text": (1, "cli/doctor/checks/test_checks.py"),
        "toml": (1, "gateway/test_meter.py"),
        "yaml": (1, "project/test_monitoring.py"),
    },
    "docs/python.md": {"python": (8, "client/test_surface.py")},
    "docs/react.md": {"tsx": (4, "project/test_js.py")},
    "docs/recipes.md": {"toml": (13, "project/test_recipes_docs.py")},
    "docs/streams.md": {"nginx": (1, "gateway/durable/test_caching.py"), "sh": (1, HERE)},
    "docs/testing.md": {"console": (1, HERE), "python": (6, "project/test_testing_docs.py")},
    "examples/README.md": {"sh": (2, HERE)},
    "js/README.md": {"js": (1, HERE)},
}
PAGES = [path for folder in ("", "docs/", "examples/", "js/") for path in sorted(ROOT.glob(f"{folder}*.md"))]
URL = "http://127.0.0.1:8000"
ANSWER = Answer.of_chunks(80)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*).*\n([^`]*(?:`{1,2}[^`]+)*)^```$", text, re.MULTILINE)
    return [code for name, code in found if name == language]


def commands(page: str, first: str) -> list[str]:
    """Return the command lines of the block that begins so, without their comments."""
    [block] = [code for code in blocks(page, "sh") if re.match(first, code)]
    return [line.split("  #")[0].rstrip() for line in block.splitlines()]


def test_every_block_of_code_is_run_by_a_test():
    """If this fails, let a test run the new block, and put it into `BLOCKS`."""
    found = {}
    for page in PAGES:
        fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert not any(fences[1::2]), page
        if fences:
            found[str(page.relative_to(ROOT))] = dict(
                Counter(fence.partition(" ")[0] for fence in fences[::2])
            )
    assert found == {page: {name: count for name, (count, _) in of.items()} for page, of in BLOCKS.items()}
    for of in BLOCKS.values():
        for _, test in of.values():
            assert (ROOT / "tests" / test).exists()


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(ANSWER) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def url(upstream: ScriptedUpstream) -> Iterator[str]:
    with gateway("--upstream", upstream.base_url) as (_, url):
        yield url


@pytest.fixture
def shell(url: str, tmp_path: Path) -> dict[str, str]:
    """Return the environment of somebody whose default gateway is ours, in a folder with a repository."""
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    path = os.pathsep.join([str(Path(EVERYTOKEN).parent), os.environ["PATH"]])
    return environment(PATH=path, EVERYTOKEN_BASE_URL=f"{url}/v1", PYTHONIOENCODING="utf-8")


def bash(command: str, env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )


def test_the_loop_of_the_readme(url, upstream):
    [loop] = blocks("README.md", "python")
    assert URL in loop
    command = [sys.executable, "-W", "error", "-c", loop.replace(URL, url)]
    env = environment(PYTHONIOENCODING="utf-8")
    run = subprocess.run(command, env=env, capture_output=True, check=False, encoding="utf-8")
    assert (run.stdout, run.stderr) == (upstream.text, "")


def test_what_the_readme_tells_make_is_there_to_be_told():
    assert blocks("README.md", "sh") == ["make serve\n"]
    told = "".join(blocks("README.md", "console"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\$ .*?\bmake ([a-z]+)", told, re.MULTILINE)
    assert {"serve", "test"} < set(targets)
    for target in targets:
        assert re.search(rf"^{target}:.* ##", makefile, re.MULTILINE), target
    options = re.findall(r"--[a-z-]+", told)
    text = subprocess.run([EVERYTOKEN, "serve", "--help"], capture_output=True, check=True, text=True).stdout
    assert options
    assert all(f"{option} " in text for option in options)
    assert f"everytoken is ready at {URL}\n" in told


ENDPOINT = re.compile(r"`(/[^`]+)`")


def endpoints() -> tuple[list[str], list[str]]:
    """Return the endpoints in the README's table: those that there are, and those that there are not."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Endpoints\n")[2]
    rows = re.findall(r"^\| (`/.*?) \| (.*) \|$", section.partition("\n## ")[0], re.MULTILINE)
    here = [
        path for paths, about in rows if not about.startswith("not here") for path in ENDPOINT.findall(paths)
    ]
    not_here = [
        path for paths, about in rows if about.startswith("not here") for path in ENDPOINT.findall(paths)
    ]
    return here, not_here


def test_the_endpoints_in_the_readme_are_those_that_there_are(url):
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=LIMIT) as response:
        described = [re.sub("{.*?}", "{id}", path) for path in json.load(response)["paths"]]
    here, not_here = endpoints()
    for path in here:
        if path.endswith("/…"):
            assert any(known.startswith(path.removesuffix("…")) for known in described), path
        else:
            assert path in described, path
    models = sorted({known for known in described if known.startswith("/v1/") and "{" not in known})
    told = tuple(path.removesuffix("…") for path in here)
    assert [known for known in models if not known.startswith(told)] == ["/v1/probe"]
    for path in not_here:
        asked = urllib.request.Request(f"{url}{re.sub('{.*?}', 'x', path)}", data=b"{}", method="POST")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(asked, timeout=LIMIT)
        with caught.value as error:
            assert error.code == 404, path
        assert path not in described


class TestPictures:
    LINK = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
    PICTURES = sorted((ROOT / "docs" / "images").iterdir())

    def test_none_is_missing_none_is_without_words_and_none_is_left_over(self):
        shown = set()
        for page in (*PAGES, *(ROOT / "docs" / "decisions").glob("*.md")):
            text = re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
            for words, target in self.LINK.findall(text):
                assert words, f"{page.name}: {target} has no words for those that do not see it"
                place = (page.parent / target).resolve()
                assert place.exists(), f"{page.name}: {target}"
                shown.add(place)
        assert [path.name for path in self.PICTURES if path.resolve() not in shown] == []

    @pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
    def test_it_is_a_picture_and_not_too_large(self, path):
        data = path.read_bytes()
        assert len(data) < 1_000_000
        if path.suffix == ".png":
            assert data.startswith(b"\x89PNG\r\n\x1a\n")
            return
        drawing = ET.fromstring(data)
        assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
        text = "".join(drawing.itertext())
        # What no font has: unassigned, private, or the sign for what could not be read.
        assert [
            sign for sign in text if unicodedata.category(sign) in {"Cn", "Co", "Cs"} or sign == "\ufffd"
        ] == []
        # Nothing is loaded from elsewhere; what it shows may be an address.
        loads = [value for element in drawing.iter() for value in element.attrib.values()]
        loads += [element.text or "" for element in drawing.iter("{http://www.w3.org/2000/svg}style")]
        assert [one for one in loads if "//" in one or "@import" in one] == []
        assert "sans-serif" in data.decode() or "monospace" in data.decode(), "a font that every system has"


def test_the_line_on_the_npm_page_is_that_of_its_documentation():
    [block] = blocks("js/README.md", "js")
    assert blocks("docs/node.md", "js")[0].startswith(block)


def test_the_fake_upstream_says_what_the_page_shows():
    [block] = blocks("docs/testing.md", "console")
    command, shown = block.splitlines()
    command = command.removeprefix("$ everytoken ")
    with subprocess.Popen([EVERYTOKEN, *command.split()], stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            line = read_line(process)
        finally:
            process.kill()
    assert re.sub(r":\d+/", ":41873/", line) == shown + "\n"


class TestChat:
    """`docs/cli.md`: the block about `everytoken chat`."""

    LINES = commands("docs/cli.md", "everytoken chat")

    @pytest.mark.parametrize("line", [line for line in LINES if line != "everytoken chat"])
    def test_a_question(self, line, shell, upstream, tmp_path):
        run = bash(line, shell, tmp_path)
        assert (run.returncode, run.stderr) == (0, "")
        kept = re.search(r"> (\S+)$", line)
        text = (tmp_path / kept[1]).read_text(encoding="utf-8") if kept else run.stdout
        assert text == upstream.text
        asked = (re.search(r'"(.*)"', line) or re.search(r"chat (.*)", line))[1]
        assert upstream.requests[-1].json["messages"][-1]["content"].startswith(asked)

    def test_a_conversation(self, shell):
        assert "everytoken chat" in self.LINES
        with Terminal(["bash", "-c", "everytoken chat"], shell | {"TERM": "xterm"}) as terminal:
            terminal.read_until(lambda: terminal.screen.text.rstrip().endswith(">"))
            terminal.type("\x04")
            assert terminal.read_to_end() == 0


class TestTail:
    LINES = commands("docs/cli.md", "everytoken tail")

    @pytest.fixture
    def stream(self, shell, url, tmp_path) -> str:
        """Ask for an answer, and return its name."""
        asked = '{"model": "m", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
        ask = f"curl -sS -D - -o /dev/null -d '{asked}' -H 'Content-Type: application/json' {url}/v1/chat/completions"
        return re.search(r"location: /v1/stream/(\S+)", bash(ask, shell, tmp_path).stdout, re.IGNORECASE)[1]

    @pytest.mark.parametrize("line", LINES)
    def test_a_stream(self, line, stream, shell, url, upstream, tmp_path):
        told = line.replace(URL, url).replace("https://gateway.example", url)
        run = bash(re.sub(r"\bID\b", stream, told), shell, tmp_path)
        assert run.returncode == 0, run.stderr
        if "--offset now" in line:
            assert run.stdout == ""
        elif "--offset" in line:
            assert len(run.stdout) > 50
            assert run.stdout == (tmp_path / "rest.txt").read_text(encoding="utf-8")
            assert upstream.text.endswith(run.stdout)
            assert run.stdout != upstream.text
        else:
            assert run.stdout == upstream.text


@contextmanager
def server(line: str, env: dict[str, str], folder: Path) -> Iterator[str]:
    """Run a command line that serves, on a free port and without a file; gives the line it prints."""
    with subprocess.Popen(
        ["bash", "-c", f"{line} --port 0 --journal memory"],
        env=env,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    ) as process:
        try:
            yield read_line(process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "line",
    [*commands("docs/cli.md", ".*everytoken serve"), *commands("examples/README.md", "everytoken serve")],
)
def test_serve(line, shell, upstream, tmp_path):
    if line.strip() == "everytoken serve":
        pytest.importorskip(
            "everytoken_model_smollm2", reason="the embedded model's weights are not installed"
        )
    named = f'[[upstream]]\nname = "u"\nurl = "{upstream.base_url}"\n'
    (tmp_path / "everytoken.toml").write_text(named, encoding="utf-8")
    told = line.strip().replace("https://api.openai.com/v1", upstream.base_url).replace("…", "k")
    with server(told, shell, tmp_path) as said:
        assert re.fullmatch(r"everytoken is ready at http://127\.0\.0\.1:\d+\n", said)


def test_what_npm_is_told_to_run_is_there():
    """`npm ci` itself is run by project/test_examples.py."""
    folder, *told = commands("examples/README.md", "cd ")
    scripts = json.loads((ROOT / folder.removeprefix("cd ") / "package.json").read_text(encoding="utf-8"))[
        "scripts"
    ]
    assert [line for line in told if line != "npm ci"] == [
        f"npm run {name}" for name in scripts if name == "dev"
    ]


def test_a_stream_of_ones_own(shell, url, tmp_path):
    """`docs/streams.md`: each line in turn; the one that follows the stream runs beside those after it."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    [block] = blocks("docs/streams.md", "sh")
    first, *lines = block.splitlines()
    assert first.startswith(f"url={URL}/")
    followed = tmp_path / "followed"
    following = None
    for line in lines:
        command, _, result = line.partition("  # ")
        told = f"{first.replace(URL, url)}; {command.strip().replace('curl', 'curl -sS --fail', 1)}"
        if "curl -N" in line:
            with followed.open("wb") as file:
                following = subprocess.Popen(["bash", "-c", told], stdout=file, env=shell)
            wait_for(lambda: b'"upToDate":true' in followed.read_bytes())
            continue
        run = bash(told, shell, tmp_path)
        assert (run.returncode, run.stderr) == (0, ""), line
        if result.startswith("["):
            assert run.stdout == result.strip()
    assert following is not None
    assert following.wait(LIMIT) == 0
    assert b'data:[{"n": 1},{"n": 2}]' in followed.read_bytes()
    assert b'"streamClosed":true' in followed.read_bytes()
