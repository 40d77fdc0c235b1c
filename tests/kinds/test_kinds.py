"""Every kind of the catalogue is served as it is, or refused by name."""

import json
import re
from pathlib import Path

import pytest
from sklearn.utils import all_estimators

from tests.kinds.catalogue import KINDS, REFUSED, label_of
from tests.kinds.command_line import register_refused
from tests.kinds.kind import Kind, Refused
from tests.kinds.measured import measure
from tests.kinds.table import TABLE, kinds_in

_USAGE, _NOT_A_MODEL, _UNTRUSTED = 2, 4, 5
_NAMED_OTHERWISE = {"MultiOutputClassifier": "several answers a row", "ClassifierChain": "a chain of answers"}


@pytest.mark.parametrize("kind", KINDS, ids=label_of)
def test_the_service_answers_as_the_model_does(kind: Kind, tmp_path: Path) -> None:
    found = measure(kind, tmp_path)
    assert not found.problems, "\n".join(found.problems)
    assert found.asked > 0


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.name)
def test_a_model_that_cannot_be_served_is_refused_by_name(refused: Refused, tmp_path: Path) -> None:
    ended = register_refused(refused, tmp_path)
    assert ended.code in (_USAGE, _NOT_A_MODEL, _UNTRUSTED), ended
    assert re.search(refused.message, ended.errors, re.IGNORECASE), ended.errors
    assert "Traceback" not in ended.errors
    assert not list((tmp_path / "registry").glob("models/*/*/manifest.json"))


@pytest.mark.parametrize("name", ["clusters", "labels a and b", "a regression"])
def test_registry_only_registers_a_model_that_cannot_be_served(name: str, tmp_path: Path) -> None:
    (refused,) = (item for item in REFUSED if item.name == name)
    ended = register_refused(refused, tmp_path, "--registry-only", "--json")
    assert ended.code == 0, ended.errors
    assert json.loads(ended.output)["model_id"]


def test_the_catalogue_has_every_classifier_of_scikit_learn() -> None:
    written = " ".join([kind.name for kind in KINDS] + [refused.name for refused in REFUSED])
    classifiers = [name for name, _ in all_estimators("classifier")]
    assert [name for name in classifiers if _NAMED_OTHERWISE.get(name, name) not in written] == []


def test_each_kind_has_its_own_name() -> None:
    labels = [label_of(kind) for kind in KINDS]
    assert len(labels) == len(set(labels))
    assert len(labels) >= 90


def test_the_table_in_the_documents_names_the_kinds_of_the_catalogue() -> None:
    in_table, refused = kinds_in(TABLE.read_text(encoding="utf-8"))
    assert in_table == [label_of(kind) for kind in KINDS]
    assert refused == [item.name for item in REFUSED]
