"""Files as parts of a question."""

from __future__ import annotations

import pytest

from everytoken.cli import fragments
from everytoken.cli.fragments import message_content, shown
from everytoken.errors import EverytokenError


@pytest.mark.parametrize(
    ("start", "media"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x01\x02\x03\x04WEBPVP8 ", "image/webp"),
    ],
)
def test_images_are_known_by_what_they_begin_with(start, media, tmp_path):
    path = tmp_path / "picture.txt"
    path.write_bytes(start + bytes(10))
    [image] = message_content("", [str(path)])
    assert image["image_url"]["url"].startswith(f"data:{media};base64,")


def test_nothing_in_a_text_ends_its_fence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.md").write_bytes("\ufeff````\ncode\n````\n".encode())
    assert message_content("q", ["a.md"]) == "q\n\na.md:\n`````\n````\ncode\n````\n`````"


def test_there_is_a_limit_for_all_files_together(tmp_path, monkeypatch):
    monkeypatch.setattr(fragments, "_LARGEST", 10)
    path = tmp_path / "a"
    path.write_text("sixsix")
    assert message_content("", [str(path)])
    with pytest.raises(EverytokenError, match="together"):
        message_content("", [str(path), str(path)])


def test_what_is_shown_of_a_message(tmp_path):
    path = tmp_path / "a.gif"
    path.write_bytes(b"GIF89a")
    assert shown("text") == "text"
    assert shown(message_content("look", [str(path)])) == "look\n\n[1 image]"
    assert shown(message_content("", [str(path)] * 2)) == "[2 images]"
