"""Write docs/apis.md anew from the tables of `everytoken.translation`; with `--check`, fail if it is not as they say."""  # noqa: INP001

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from everytoken.translation.anthropic_messages import answer_fields as message_answers
from everytoken.translation.anthropic_messages import fields as messages
from everytoken.translation.openai_chat import answer_fields as chat_answers
from everytoken.translation.openai_chat import fields as chat
from everytoken.translation.openai_responses import answer_fields as response_answers
from everytoken.translation.openai_responses import fields as responses
from everytoken.translation.sparing import SPARED
from everytoken.translation.table import fate_of

if TYPE_CHECKING:
    from types import ModuleType

    from everytoken.translation.table import Fate, Row, Rows

PAGE = Path(__file__).parents[1] / "docs" / "apis.md"
APIS: tuple[ModuleType, ...] = (chat, messages, responses)
ANSWERS: tuple[Rows, ...] = (chat_answers.ANSWERS, message_answers.ANSWERS, response_answers.ANSWERS)


def _spared(dialect: str) -> str:
    return ", ".join(f"`{path}`" for path in SPARED[dialect])


_HEAD = f"""# APIs

Callers use the API that their programs speak: chat completions (`/v1/chat/completions`), Messages (`/v1/messages`) or
Responses (`/v1/responses`). An upstream may speak another one. Then the gateway translates the request to it, and the
answer back. Each of the three works over each of the three.

This page says what that does to a request and to [what comes back](#what-comes-back). It is made by `python tools/apis_docs.py` from the tables that the gateway
itself works by. An upstream of the caller's own API gets the request as it is, and none of this applies.

## What you can rely on

- **Nothing that can change an answer is lost in silence.** What the other API cannot say is refused with status 400 and
  the name of your field, as in `messages[2].content[0]`.
- **Left out is only what the answer does not depend on**: hints about price, speed, caches, storage and style. The
  tables give the reason for each.
- **An unknown field is refused**, because what it does is not known either. `null` asks for nothing and is never
  refused. Other fields inside a message, a tool or a content part are left out: programs send earlier answers back with
  whatever their provider had put into them. So are `cache_control` there, and the `name` of a participant.
- **A value that is the default is not refused**: `n: 1`, `logprobs: false`, `frequency_penalty: 0`.

## What is added or changed

- Messages requires `max_tokens`. Where you give no limit, it is {messages.DEFAULT_MAX_TOKENS:,}.
- Messages takes a `temperature` of at most 1. A higher one becomes 1, as in Anthropic's own chat completions.
- Where an upstream refuses one of these by its name, it is asked once more without it, and that is remembered for the
  upstream and its model: in chat completions {_spared("openai-chat")}; in Responses {_spared("openai-responses")};
  in Messages {_spared("anthropic-messages")}. `max_tokens` of chat completions is not left out then: it becomes
  `max_completion_tokens`, as OpenAI's reasoning models want it.
- Responses gets `store: false`. Only the gateway keeps the response.
- Reasoning in the conversation is left out. It is signed or encrypted, and only the provider that made it can read it.
- An identifier of a user that the provider would refuse (over 64 characters, an e-mail address or a telephone number)
  is sent as its SHA-256.
- In Messages, turns alternate, results of tools come right behind their calls, and ids of calls match
  `^[a-zA-Z0-9_-]+$`: messages are joined, results moved and ids changed as needed. A result without a call is refused, and
  so is a call without a result that is not the last message.
- The last message may be one of the assistant, which the model then continues. It is sent as it is, and stays the last.
- A tool that the provider runs itself, such as a web search, is left out where the request offers other tools, too. It is
  refused where it is the only one, or where `tool_choice` names it.
- A custom tool, which takes plain text, is a function with one argument (`input`) in Messages and chat completions.

An upstream may still refuse what its API can say: a model without reasoning refuses an effort, and one without eyes an
image. That refusal is treated as any other, see [recovery](recovery.md).
"""


_BACK = """## What comes back

The answer of the upstream is read piece by piece and written as your API says the same. A piece of text is passed on as it
came, at once. The error for what your API cannot say has the code `upstream-untranslatable` and names the field; other
upstreams are asked before you get it.

- **An end is the upstream's own.** A cut answer has no `finish_reason`, `message_stop` or `response.completed`.
- Ids of tool calls stay as they are. The ids of answers and items are made from the upstream's.
- Usage is counted as your API counts: chat completions and Responses include cached tokens in the prompt, Messages does
  not. Messages has to give counts; where the upstream gives none, they are marked `"estimated": true`.
- Reasoning is `reasoning_content` in chat completions and a `thinking` block in Messages. In Responses it is
  `reasoning_text`, or a summary if you asked for summaries.
- A signature of reasoning is never made up. A `thinking` block that no provider has signed has an empty `signature`, and
  Anthropic refuses such a block in a later request. Translated requests leave reasoning out.
- A source of the text is a `url_citation` in chat completions and Responses. In Messages it is a
  `web_search_result_location` whose `cited_text` and `encrypted_index` are empty.
- `stop_reason` is `tool_use` whenever a message has calls and was not cut by a limit, whatever the upstream says.
"""


def page() -> str:
    """Return the page as it should be."""
    sections = [_HEAD]
    for caller in APIS:
        others = [api for api in APIS if api is not caller]
        fields = [(api.API, api.WRITES) for api in others]
        kinds = [(api.API, api.KINDS) for api in others]
        sections += [
            f"## {_title(caller)} over {others[0].API} or {others[1].API}\n",
            _table("field", caller.READS, fields),
            _table("message, part or tool", caller.TYPES, kinds),
            _list("Left out", "dropped", [(caller.READS, fields), (caller.TYPES, kinds)]),
            _list("Refused", "refused", [(caller.READS, fields), (caller.TYPES, kinds)]),
        ]
    sections.append(_BACK)
    for upstream, table in zip(APIS, ANSWERS, strict=True):
        sections += [f"### From {upstream.API}\n", _answers(table)]
    return "\n".join(sections)


def _title(api: ModuleType) -> str:
    name: str = api.API
    return name[0].upper() + name[1:]


def _table(head: str, rows: Rows, upstreams: list[tuple[str, Rows]]) -> str:
    """Return the rows of which some upstream gets something."""
    lines = [
        f"| {head} | " + " | ".join(f"over {name}" for name, _ in upstreams) + " |",
        "|---|" + "---|" * len(upstreams),
    ]
    for row in rows.values():
        fates = [fate_of(row, writes) for _, writes in upstreams]
        if _is_listed(fates):
            continue
        lines.append(f"| {_name(row)} | " + " | ".join(_cell(*fate) for fate in fates) + " |")
    return "\n".join(lines) + "\n"


def _list(head: str, fate: Fate, tables: list[tuple[Rows, list[tuple[str, Rows]]]]) -> str:
    """Return what no upstream gets, by the reason."""
    found: dict[str, list[str]] = {}
    for rows, upstreams in tables:
        for row in rows.values():
            fates = [fate_of(row, writes) for _, writes in upstreams]
            if _is_listed(fates) and fates[0][0] == fate:
                found.setdefault(fates[0][1], []).append(_name(row))
    lines = [f"- {', '.join(names)}: {note}" for note, names in found.items()]
    return "\n".join([f"{head}:\n", *lines]) + "\n"


def _is_listed(fates: list[tuple[Fate, str]]) -> bool:
    """Whether all upstreams are the same, and get nothing."""
    return len(set(fates)) == 1 and fates[0][0] != "said"


def _answers(rows: Rows) -> str:
    lines = ["| part of the answer | for callers of the other two |", "|---|---|"]
    lines += [f"| {_name(row)} | {_cell(row.fate, row.note)} |" for row in rows.values()]
    return "\n".join(lines) + "\n"


def _name(row: Row) -> str:
    group, space, name = row.name.partition(" ")
    return f"{group} `{name}`" if space else f"`{group}`"


def _cell(fate: Fate, note: str) -> str:
    match fate:
        case "said":
            return f"yes; {note}" if note else "yes"
        case "dropped":
            return f"left out: {note}"
    return f"**refused**: {note}"


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(
            0 if PAGE.read_text(encoding="utf-8") == page() else "docs/apis.md: run python tools/apis_docs.py"
        )
    PAGE.write_text(page(), encoding="utf-8")
