"""The exception tree and its table agree, and everything is imported from `everytoken.errors`."""

from __future__ import annotations

import pickle

import pytest

from everytoken import errors

KINDS = [kind for name in errors.__all__ if isinstance(kind := getattr(errors, name), type)]
ERRORS = [kind for kind in KINDS if issubclass(kind, errors.EverytokenError)]


def descendants(kind):
    return {kind}.union(*map(descendants, kind.__subclasses__()))


def test_every_error_is_exported():
    package = errors.__name__
    assert {
        kind for kind in descendants(errors.EverytokenError) if kind.__module__.startswith(package)
    } == set(ERRORS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_named_by_where_it_is_imported_from(kind):
    assert kind.__module__ == "everytoken.errors"
    assert pickle.loads(pickle.dumps(kind)) is kind


def test_every_code_has_an_error_and_every_error_a_code():
    codes = {kind.code for kind in ERRORS}
    stalled = {f"upstream-stalled-{phase}" for phase in ("connect", "first-content", "gap")}
    assert codes | stalled == set(errors.TABLE)
