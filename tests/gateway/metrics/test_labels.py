"""However many models callers name, there are only so many labels."""

from __future__ import annotations

from everytoken.errors import TABLE
from everytoken.gateway.metrics.labels import MAX_MODELS, NONE, OTHER, ModelLabels, code_label


def test_a_model_counts_as_itself_once_it_has_completed_something():
    models = ModelLabels()
    assert models.label("m") == OTHER
    assert models.completed("m") == "m"
    assert models.label("m") == "m"


def test_models_of_the_configuration_count_from_the_beginning():
    models = ModelLabels()
    models.configure(["a", "b"])
    assert [models.label(name) for name in ("a", "b", "c")] == ["a", "b", OTHER]


def test_there_are_at_most_so_many():
    models = ModelLabels()
    models.configure(["mine"])
    labels = {models.completed(f"m{number}") for number in range(10 * MAX_MODELS)} | {models.label("mine")}
    assert len(labels) == MAX_MODELS + 1
    assert {OTHER, "mine", "m0"} <= labels


def test_what_is_too_long_or_empty_is_another():
    models = ModelLabels()
    assert models.completed("x" * 201) == OTHER
    assert models.completed("") == OTHER


def test_a_secret_in_the_name_of_a_model_is_not_shown():
    models = ModelLabels(lambda text: text.replace("secret", "[redacted]"))
    assert models.completed("secret") == "[redacted]"
    assert models.label("secret") == "[redacted]"


def test_codes_are_those_of_the_table():
    assert all(code_label(code) == code for code in TABLE)
    assert (code_label(None), code_label("made-up")) == (NONE, OTHER)
