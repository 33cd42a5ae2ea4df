# ruff: noqa: INP001, S603, T201  # a program, not a package; it runs git and the program it is told
"""Build the documentation as a site that needs no other host, and check it.

The pages are written for a forge: README.md at the top, docs/ below it, relative links to files of the repository. They are
copied as they lie, so that the same links work on the site. What is linked and is no page, such as a program, becomes one.
The build fails on a broken link, a broken anchor, a page that the navigation does not have, and anything that a page would
load from another host.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
SETTINGS = ROOT / "tools" / "site"
ZENSICAL = ROOT / "var" / "docs" / "bin" / "zensical"

NAVIGATION: dict[str, dict[str, str]] = {
    "Start": {
        "everytoken": "README.md",
        "Installing": "docs/install.md",
        "Comparison": "docs/comparison.md",
        "The chat page": "docs/page.md",
        "The terminal": "docs/cli.md",
    },
    "Guides": {
        "Python": "docs/python.md",
        "Node.js": "docs/node.md",
        "React": "docs/react.md",
        "AI SDK": "docs/ai-sdk.md",
        "Claude Code and Codex": "docs/agents.md",
        "Other clients": "docs/clients.md",
        "Your own streams": "docs/streams.md",
        "Testing your code": "docs/testing.md",
        "Example programs": "examples/README.md",
    },
    "Recipes": {"Providers and servers": "docs/recipes.md"},
    "Operations": {
        "Deployment": "docs/deployment.md",
        "Running it": "docs/operations.md",
        "Several nodes": "docs/journal.md",
    },
    "Reference": {
        "The gateway": "docs/gateway.md",
        "APIs": "docs/apis.md",
        "Recovery": "docs/recovery.md",
        "Faults": "docs/faults.md",
        "Limits": "docs/limits.md",
        "Benchmarks": "docs/benchmarks.md",
        "Scaling": "docs/scaling.md",
        "Architecture": "docs/architecture.md",
        "Extending": "docs/extending.md",
        "Contributing": "CONTRIBUTING.md",
        "Security": "SECURITY.md",
        "Changes": "CHANGELOG.md",
    },
}
DECISIONS = "docs/decisions"
PARTS = (
    "ul",
    "ol",
    "li",
    "pre",
    "code",
    "table",
    "tr",
    "blockquote",
    "h1",
    "h2",
    "h3",
    "h4",
    "em",
    "strong",
    "img",
)
SHIM = "https://unpkg.com/iframe-worker/shim"

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^( *```).*?^\1`*$", re.MULTILINE | re.DOTALL)
INFO = re.compile(r"^( *```\w+) .*", re.MULTILINE)  # what tests know a block by, behind its language
LANGUAGES = {".mjs": "js", ".alerts": "yaml", ".yaml": "yaml"}


def navigation() -> dict[str, dict[str, str]]:
    """Return section -> title -> page, the decisions among them."""
    decisions = {"All decisions": f"{DECISIONS}/README.md"}
    for path in sorted((ROOT / DECISIONS).glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        decisions[title] = f"{DECISIONS}/{path.name}"
    return NAVIGATION | {"Decisions": decisions}


def not_in_the_navigation() -> list[str]:
    """Return the pages of the documentation that nobody would find."""
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    return sorted(pages - {page for section in navigation().values() for page in section.values()})


def outside_fences(text: str) -> list[tuple[int, int]]:
    """Return where the text is prose: begin and end of each part."""
    cuts = [0, *(place for found in FENCE.finditer(text) for place in found.span()), len(text)]
    return list(zip(cuts[::2], cuts[1::2], strict=True))


def stage(folder: Path) -> list[str]:
    """Copy what the site is made of into `folder`; returns what is wrong with it."""
    pages = [page for section in navigation().values() for page in section.values()]
    wrong = [f"{page} is not in the navigation (tools/docs_site.py)" for page in not_in_the_navigation()]
    made: dict[Path, str] = {}
    for page in pages:
        made[Path(page)] = _staged(Path(page), set(pages), made, wrong)
    for path, text in made.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "images", folder / "docs" / "images")
    shutil.copy(SETTINGS / "site.css", folder)
    return wrong


def _staged(page: Path, pages: set[str], made: dict[Path, str], wrong: list[str]) -> str:
    """Return the text of a page, with its links to files leading to pages that show them, which are added to `made`."""
    text = (ROOT / page).read_text(encoding="utf-8")

    def shown(link: re.Match[str]) -> str:
        label, (target, anchor) = link[1], urldefrag(link[2])
        if not target or ":" in target:
            return link[0]
        path = Path(os.path.normpath(page.parent / target))
        if str(path) in pages:
            return link[0]
        if str(path / "README.md") in pages:
            name = path / "README.md"
        elif (ROOT / path).exists() and not str(path).startswith(".."):
            name = _file_page(path, made)
        else:
            wrong.append(f"{page}: {link[2]} is not there")
            return label
        where = os.path.relpath(name, page.parent)
        return f"[{label}]({where}{'#' * bool(anchor)}{anchor})"

    parts, end = [], 0
    for begin, stop in outside_fences(text):
        parts += [INFO.sub(r"\1", text[end:begin]), LINK.sub(shown, text[begin:stop])]
        end = stop
    return "".join(parts)


def _file_page(path: Path, made: dict[Path, str]) -> Path:
    """Make a page that shows a file or lists a folder of the repository; returns its name."""
    here = ROOT / path
    # No name.md beside a folder of that name, and no page whose name ends like a program, which browsers would download.
    name = path.with_name(
        f"{path.name.replace('.', '-')}-file.md" if here.is_file() else f"{path.name}-folder.md"
    )
    if name in made:
        return name
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n"
    if here.is_file():
        text = here.read_text(encoding="utf-8").rstrip("\n")
        language = LANGUAGES.get(path.suffix, path.suffix.removeprefix("."))
        made[name] = f"{head}````{language or 'text'}\n{text}\n````\n"
    else:
        git = shutil.which("git") or sys.exit("docs: git is missing")
        run = subprocess.run([git, "ls-files", path], cwd=ROOT, capture_output=True, check=True, text=True)
        files = "".join(f"- `{Path(line).relative_to(path)}`\n" for line in run.stdout.splitlines())
        made[name] = f"{head}A folder of the repository, with these files:\n\n{files}"
    return name


def settings() -> str:
    """Return the settings with the navigation."""
    sections = []
    for section, pages in navigation().items():
        items = ", ".join(f"{{ {json.dumps(title)} = {json.dumps(page)} }}" for title, page in pages.items())
        sections.append(f"    {{ {json.dumps(section)} = [{items}] }},\n")
    text = (SETTINGS / "zensical.toml").read_text(encoding="utf-8")
    return text.replace('docs_dir = "pages"\n', f'docs_dir = "pages"\nnav = [\n{"".join(sections)}]\n')


class Page(HTMLParser):
    """What an HTML page links to, loads, offers as anchors, and what its article is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.parts: Counter[str] = Counter()
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record one tag."""
        of = {name: value or "" for name, value in attrs}
        if tag in {"article", "pre"}:
            self._open.append(tag)
        if tag in PARTS and self._open[:1] == ["article"] and not (tag == "code" and "pre" in self._open):
            self.parts[tag] += 1
        self.anchors |= {of[name] for name in ("id", "name") if name in of}
        if tag == "a" and "href" in of:
            self.links.append(of["href"])
        if tag in {"img", "script", "iframe", "source"} and "src" in of:
            self.loaded.append(of["src"])
        if tag == "link" and of.get("rel") not in {"canonical", "next", "prev"}:
            self.loaded.append(of.get("href", ""))

    def handle_endtag(self, tag: str) -> None:
        """Record the end of an article or a block."""
        if self._open[-1:] == [tag]:
            self._open.pop()


def different(site: Path) -> list[str]:
    """Return the pages that do not read as on a forge, whose Markdown is another one: a list that is none, a lost block."""
    forge = MarkdownIt("commonmark").enable("table")
    wrong = []
    for page in (page for section in navigation().values() for page in section.values()):
        text = (ROOT / page).read_text(encoding="utf-8")
        there = Page(f"<article>{forge.render(text)}</article>").parts
        name = re.sub(r"\.md$", ".html", re.sub(r"README\.md$", "index.md", page))
        here = Page((site / name).read_text(encoding="utf-8")).parts
        wrong += [
            f"{page} has {here[tag]} <{tag}> on the site, {there[tag]} on a forge"
            for tag in PARTS
            if here[tag] != there[tag]
        ]
    return wrong


def with_our_shim(site: Path) -> Path:
    """Let pages load from the site what lets the search work without a web server: the theme takes it from another host."""
    shutil.copy(SETTINGS / "iframe-worker.js", site / "assets" / "javascripts")
    for path in site.rglob("*.html"):
        ours = os.path.relpath(site / "assets" / "javascripts" / "iframe-worker.js", path.parent)
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(SHIM, ours), encoding="utf-8")
    return site


def broken(site: Path) -> list[str]:
    """Return what is wrong with the built site: links, anchors, files, and other hosts that it would ask."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    wrong = []
    for path, page in pages.items():
        name = path.relative_to(site)
        if name.name == "404.html":
            continue  # it may be shown at any address, so that its links begin at the root
        for address in (*page.links, *page.loaded):
            target, anchor = urldefrag(unquote(address))
            if re.match(r"[a-z]+:|//", target):
                if address in page.loaded and not target.startswith("data:"):
                    wrong.append(f"{name} loads {address}")
                continue
            place = (path.parent / target).resolve() if target else path
            place = place / "index.html" if place.is_dir() else place
            if not place.exists():
                wrong.append(f"{name}: {address} is not there")
            elif (
                anchor
                and not anchor.startswith("__")
                and place in pages
                and anchor not in pages[place].anchors
            ):
                wrong.append(f"{name}: {address} has no such anchor")
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        wrong += [
            f"{style.relative_to(site)} loads {url}"
            for url in re.findall(r"url\([\"']?(https?:[^)]*)\)", text)
        ]
    return wrong


def main() -> None:
    """Build into the folder that is named, or var/site."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--zensical", type=Path, default=ZENSICAL, help="the program")
    parser.add_argument("--into", type=Path, default=ROOT / "var" / "site", help="the folder")
    options = parser.parse_args()
    work = options.into.with_name(f"{options.into.name}-work").absolute()
    shutil.rmtree(work, ignore_errors=True)
    wrong = stage(work / "pages")
    (work / "zensical.toml").write_text(settings(), encoding="utf-8")
    if not wrong:
        command = [options.zensical.absolute(), "build", "--strict", "--clean"]
        run = subprocess.run(
            command,
            cwd=work,
            env=os.environ | {"NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            encoding="utf-8",
        )
        wrong = [run.stdout]
        if run.returncode == 0:
            site = with_our_shim(work / "site")
            wrong = broken(site) + different(site)
    if wrong:
        sys.exit("docs: " + "\ndocs: ".join(wrong))
    shutil.rmtree(options.into, ignore_errors=True)
    (work / "site").rename(options.into)
    shutil.rmtree(work)
    print(f"docs: open {options.into / 'index.html'}")


if __name__ == "__main__":
    main()
