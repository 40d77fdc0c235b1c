"""Rules of a registry's ordinary life: one writer after the other, each sees at once what the other did."""

from contextlib import suppress
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from model_store.errors import SignatureInvalid, VersionConflict
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import import_model
from model_store.registry.upkeep.maintenance import cleanup
from tests.unit.model_store.stateful.deeds import ESTIMATOR, Deed, answer, answer_of, signing_key
from tests.unit.model_store.stateful.expected import STATUSES, ExpectedRegistry, ExpectedVersion
from tests.unit.model_store.stateful.ground import KEYS, Ground

WRITERS = st.integers(0, 1)
PICKS = st.integers(0, 50)
NAMES = st.sampled_from(["m", "fraud.v2"])
ALIASES = st.sampled_from(["champion", "next"])
VALUES = st.sampled_from([ESTIMATOR, 1, 2, 3])
SIGNERS = st.integers(1, 2)
_MOST_IMPORTS = 2
"""For each registry: an import starts a confined child, which takes a second."""


class RulesOfLife(Ground):
    """What people do with a registry."""

    def __init__(self) -> None:
        super().__init__()
        self.other_location = self.place.new_location()
        self.other = ExpectedRegistry()
        self.imports = 0

    @initialize(values=st.lists(VALUES, min_size=1, max_size=3))
    def begin(self, values: list[int]) -> None:
        for value in values:
            self.register(0, "m", value, signed=value == 1)

    @rule(writer=WRITERS, name=NAMES, value=VALUES, signed=st.booleans())
    def register(self, writer: int, name: str, value: int, signed: bool) -> None:
        self.act(writer, Deed("register", {"name": name, "value": value, "signed": signed}))

    @rule(writer=WRITERS, pick=PICKS, status=st.sampled_from(STATUSES))
    def status(self, writer: int, pick: int, status: str) -> None:
        if model_id := self.pick(pick):
            self.act(writer, Deed("status", {"model_id": model_id, "status": status}))

    @rule(writer=WRITERS, pick=PICKS)
    def deploy(self, writer: int, pick: int) -> None:
        if model_id := self.pick(pick):
            self.deployed += 1
            given = {"model_id": model_id, "environment": "staging", "number": self.deployed}
            self.act(writer, Deed("deploy", given))

    @rule(writer=WRITERS, pick=PICKS, alias=ALIASES)
    def set_alias(self, writer: int, pick: int, alias: str) -> None:
        if model_id := self.pick(pick):
            given = {"name": self.expected.versions[model_id].name, "alias": alias, "model_id": model_id}
            self.act(writer, Deed("alias", given))

    @rule(writer=WRITERS, name=NAMES, alias=ALIASES)
    def remove_alias(self, writer: int, name: str, alias: str) -> None:
        self.act(writer, Deed("unalias", {"name": name, "alias": alias}))

    @rule(writer=WRITERS, pick=PICKS)
    def resolve(self, writer: int, pick: int) -> None:
        aliases = Aliases(self.writers[writer])
        for (name, alias), model_id in self.expected.aliases.items():
            assert aliases.resolve(f"{name}@{alias}") == model_id
        model_id = self.pick(pick)
        if model_id and not self.unreadable:
            version = self.expected.versions[model_id]
            assert aliases.resolve(f"{version.name}:{version.number}") == model_id

    @rule(writer=WRITERS, pick=PICKS, key=SIGNERS)
    def sign(self, writer: int, pick: int, key: int) -> None:
        model_id = self.pick(pick)
        if model_id and model_id != self.hurt:
            self.act(writer, Deed("sign", {"model_id": model_id, "key": key}))

    @rule(pick=PICKS)
    def verify_signatures(self, pick: int) -> None:
        model_id = self.pick(pick)
        if model_id and model_id != self.hurt:
            assert self.signers(model_id) == self.expected.versions[model_id].signed_by

    def signers(self, model_id: str) -> set[int]:
        """The keys whose signature on a version is good."""
        found = set()
        for key in (1, 2, 3):
            try:
                self.fresh().verify_signature(model_id, [signing_key(key).public_key()])
            except SignatureInvalid:
                continue
            found.add(key)
        return found

    @rule(writer=WRITERS, pick=PICKS)
    def load(self, writer: int, pick: int) -> None:
        if model_id := self.pick(pick):
            self.act(writer, Deed("load", {"model_id": model_id}))

    @rule(writer=WRITERS, pick=PICKS)
    def prove(self, writer: int, pick: int) -> None:
        if model_id := self.pick(pick):
            outcome = self.act(writer, Deed("prove", {"model_id": model_id}))
            assert outcome.kind != "done" or outcome.value == (self.expected.versions[model_id].value == ESTIMATOR)

    @rule(writer=WRITERS, pick=PICKS, aliased=st.booleans())
    def delete(self, writer: int, pick: int, aliased: bool) -> None:
        """Half of the deletions are of a version that has an alias, which has to keep it."""
        if aliased and not self.expected.aliases:
            self.set_alias(writer, pick, "champion")
        targets = sorted(set(self.expected.aliases.values()))
        model_id = targets[pick % len(targets)] if aliased and targets else self.pick(pick)
        if model_id:
            self.act(writer, Deed("delete", {"model_id": model_id}))

    @rule(writer=WRITERS, keep=st.integers(1, 3))
    def clean_up(self, writer: int, keep: int) -> None:
        assert set(cleanup(self.writers[writer], keep, dry_run=True)[0]) == self.cleanup_takes(keep)
        self.act(writer, Deed("cleanup", {"keep": keep}))

    @rule(writer=WRITERS)
    def rotate(self, writer: int) -> None:
        if self.key + 1 == len(KEYS) or self.damage:
            return
        self.act(writer, Deed("rotate", {"new": [KEYS[self.key + 1]]}))
        self.rotated()

    def rotated(self) -> None:
        """All versions are opened by the new key alone, and by no other."""
        self.key += 1
        for model_id, version in self.expected.versions.items():
            version.key = self.key
            self.expected.records["rotate-key", model_id] += 1
        with_files = [each for each, version in self.expected.versions.items() if version.value == ESTIMATOR]
        for model_id in {*list(self.expected.versions)[:1], *with_files[:1]}:
            self.opens_with_its_key_only(model_id)
        self.open_writers()

    def opens_with_its_key_only(self, model_id: str) -> None:
        """Compares who opens a version with who has to."""
        version = self.expected.versions[model_id]
        assert self.keys_alone(model_id, version.key, self.location) == answer_of(version.value)
        self.expected.records["load", model_id] += 1
        if version.key:
            assert self.opens_nothing(model_id, version.key - 1), f"the old key still opens a file of {model_id}"

    @rule(writer=WRITERS, pick=PICKS, taken=st.booleans())
    def export_and_import(self, writer: int, pick: int, taken: bool) -> None:
        """Half of the imports meet a version of their name that the other registry has registered itself."""
        model_id = self.pick(pick)
        if model_id is None or self.imports == _MOST_IMPORTS:
            return
        file = self.place.directory / f"{len(list(self.place.directory.iterdir()))}.bundle"
        outcome = self.act(writer, Deed("export", {"model_id": model_id, "path": str(file)}))
        assert file.exists() == (outcome.kind == "done")
        if not file.exists():
            return
        self.imports += 1
        other = self.setting(1 - writer, self.other_location).open()
        version = self.expected.versions[model_id]
        if taken:
            own = Deed("register", {"name": version.name, "value": 1, "signed": False}).perform(other)
            metadata = other.get_metadata(own)
            self.other.add(own, ExpectedVersion(version.name, metadata.version, 1, metadata.created_at))
        numbers = {number: each for each, number in self.other.given(version.name)}
        if numbers.get(version.number, model_id) != model_id or (taken and own == model_id):
            with suppress(VersionConflict):
                raise AssertionError(f"{import_model(other, file)} took the number of {numbers[version.number]}")
            self.compare(other, self.other, set())
            self.counts["imports refused"] += 1
            return
        assert import_model(other, file) == model_id
        self.imported(other, model_id)

    def imported(self, other: Any, model_id: str) -> None:
        """A version that has come to the other registry: it answers, verifies and keeps its number and signatures."""
        version = self.expected.versions[model_id]
        if model_id not in self.other.versions:
            new = ExpectedVersion(version.name, version.number, version.value, version.created_at)
            self.other.add(model_id, new)
        assert answer(other.load_model(model_id)[0]) == answer_of(version.value)
        other.verify_artifact(model_id)
        self.compare(other, self.other, set())
        actions = [(record.action, record.model_id) for record in other.audit.records()]
        assert ("import", model_id) in actions
        self.counts["imports"] += 1
