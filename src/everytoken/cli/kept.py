"""Conversations in files of the user's data: one each, readable by nobody else, the newest so many."""

from __future__ import annotations

import os
import re
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import platformdirs

from everytoken.cli.fragments import Content, shown
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ID", "Conversation", "Kept", "Message", "conversation_in", "folder", "private"]

ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")

_MOST = 1000  # conversations
_MOST_BYTES = 256 * 1024 * 1024  # of all of them
_LARGEST = 64 * 1024 * 1024  # bytes of one, which may have images
_TITLE = 60  # characters
_PART = 8  # characters of an id, or more, mean it


class Message(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One message. Of an answer: its `outcome`, `running` as long as it is written, and the error's code if it has one.

    `stream` is where the gateway keeps it.
    """

    role: str
    content: Content
    model: str = ""
    outcome: str = ""
    error: str = ""
    reasoning: str = ""
    stream: str = ""
    usage: dict[str, Any] | None = None


class Conversation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A conversation. `created` and `updated` are in seconds since 1970."""

    id: str
    title: str = ""
    name: str = ""
    created: float = 0.0
    updated: float = 0.0
    model: str = ""
    system: str = ""
    messages: list[Message] = msgspec.field(default_factory=list)

    @classmethod
    def new(cls) -> Conversation:
        """Return an empty conversation."""
        now = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
        return cls(id=f"{stamp}-{secrets.token_hex(3)}", created=now, updated=now)

    def wire(self) -> list[dict[str, Any]]:
        """Return the messages as a request has them. An unfinished answer is there with what there is of it."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return system + [
            {"role": message.role, "content": message.content}
            for message in self.messages
            if message.content or message.role == "user"
        ]

    def markdown(self) -> str:
        """Return the conversation for people."""
        parts = [f"# {self.title}"]
        if self.system:
            parts.append(f"*System: {self.system}*")
        for message in self.messages:
            text = shown(message.content)
            if message.role == "user":
                parts.append("\n".join(f"> {line}".rstrip() for line in text.splitlines()))
            else:
                parts.append(text)
                if message.outcome not in {"", "completed"}:
                    parts.append(f"*({message.outcome})*")
        return "\n\n".join(parts) + "\n"


class Kept:
    """The kept conversations. Nothing is written unless `save`."""

    def __init__(self, *, save: bool) -> None:
        self.saves = save
        self._seen: dict[str, int] = {}  # when the file of a conversation was written, by its id

    def all(self) -> list[Conversation]:
        """Return all conversations, the newest first; what cannot be read is left out."""
        found = []
        for path in _files():
            with suppress(EverytokenError):
                found.append(conversation_in(path))
        return found

    def latest(self) -> Conversation:
        """Return the newest conversation. Raises `EverytokenError` if there is none."""
        for path in _files():
            with suppress(EverytokenError):
                return self._open(path)
        raise EverytokenError("there is no conversation to continue yet")

    def find(self, wanted: str) -> Conversation | None:
        """Return the conversation of this id, of this name, or with a title or an id that begins so."""
        if ID.fullmatch(wanted):
            path = folder() / f"{wanted}.json"
            return self._open(path) if path.is_file() else None
        found = self.all()
        same = (
            [one for one in found if one.name == wanted]
            or [one for one in found if one.title.casefold() == wanted.casefold()]
            or [one for one in found if one.id.startswith(wanted) and len(wanted) >= _PART]
        )
        return self._open(folder() / f"{same[0].id}.json") if same else None

    def save(self, conversation: Conversation) -> None:
        """Write a conversation, as a new one if another process has written it meanwhile. Raises `EverytokenError`."""
        if not self.saves:
            return
        if not conversation.messages:
            if self._seen.pop(conversation.id, 0):
                self.path(conversation).unlink(missing_ok=True)
            return
        conversation.updated = time.time()
        path = folder() / f"{conversation.id}.json"
        seen, now = self._seen.get(conversation.id, 0), _written(path)
        if now != seen:
            conversation.id = Conversation.new().id
            path = folder() / f"{conversation.id}.json"
            seen = 0
        private(path, msgspec.json.format(msgspec.json.encode(conversation), indent=1))
        self._seen[conversation.id] = _written(path)
        if not seen:
            _prune()

    def path(self, conversation: Conversation) -> Path:
        """Return the file of a conversation."""
        return folder() / f"{conversation.id}.json"

    def _open(self, path: Path) -> Conversation:
        written = _written(path)
        conversation = conversation_in(path)
        conversation.id = path.stem
        self._seen[conversation.id] = written
        return conversation


def folder() -> Path:
    """Return the folder of the conversations."""
    return platformdirs.user_data_path("everytoken") / "conversations"


def conversation_in(path: Path) -> Conversation:
    """Read a conversation; a list of messages, or an object that has one, is taken, too. Raises `EverytokenError`."""
    try:
        if path.stat().st_size > _LARGEST:
            raise EverytokenError(f"{path} has more than {_LARGEST // 1024 // 1024} MiB")
        value = msgspec.json.decode(path.read_bytes())
        if isinstance(value, list):
            value = {"messages": value}
        return _conversation(value)
    except OSError as error:
        raise EverytokenError(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise EverytokenError(f"{path} is not a conversation: {error}") from error


def _conversation(value: Any) -> Conversation:
    new = Conversation.new()
    base = {"id": new.id, "created": new.created}
    conversation = msgspec.convert({**base, **value} if isinstance(value, dict) else value, Conversation)
    if not (isinstance(value, dict) and "messages" in value):
        raise msgspec.ValidationError("it has no messages")
    first = conversation.messages[:1]
    if first and first[0].role in {"system", "developer"}:
        conversation.system = shown(first[0].content)
        del conversation.messages[0]
    for message in conversation.messages:
        if message.role not in {"user", "assistant"}:
            raise msgspec.ValidationError(f"a message has the role {message.role!r}")
    title(conversation)
    return conversation


def title(conversation: Conversation) -> None:
    """Give a conversation a title, made of its first question, if it has none."""
    if not conversation.title and conversation.messages:
        text = " ".join(shown(conversation.messages[0].content).split())
        conversation.title = text if len(text) <= _TITLE else f"{text[: _TITLE - 1]}…"


def private(path: Path, data: bytes) -> None:
    """Write a file that nobody else can read, and that is always whole. Raises `EverytokenError`."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise EverytokenError(f"{path} cannot be written: {error.strerror or error}") from error


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _files() -> list[Path]:
    """Return the files of all conversations, the newest first."""
    try:
        found = [path for path in folder().iterdir() if path.suffix == ".json" and ID.fullmatch(path.stem)]
    except OSError:
        return []
    return sorted(found, key=lambda path: (_written(path), path.stem), reverse=True)


def _prune() -> None:
    """Remove the oldest conversations beyond the limits."""
    room = _MOST_BYTES
    for number, path in enumerate(_files()):
        with suppress(OSError):
            room -= path.stat().st_size
            if number >= _MOST or (room < 0 and number > 0):
                path.unlink()
