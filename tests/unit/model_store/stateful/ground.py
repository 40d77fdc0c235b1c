"""What every rule stands on: a registry with two writers, what is expected of it, and how both are compared."""

from collections import Counter
from contextlib import suppress
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine

from conventions.artifact_files import ARTIFACT_FILE
from model_store import Keyring, ModelRegistry
from model_store.artifact.reader import open_artifact
from model_store.errors import ModelStoreError
from model_store.keys.keyring import generate_key
from model_store.registry.aliases import Aliases
from model_store.registry.files.layout import version_prefix
from tests.unit.model_store.stateful.deeds import Deed, answer, answer_of, clock_shifted
from tests.unit.model_store.stateful.expected import LEADS_TO, ExpectedRegistry, ExpectedVersion
from tests.unit.model_store.stateful.places import Place
from tests.unit.model_store.stateful.processes import Outcome, Setting, perform

ACTORS = ("anna", "bert")
KEYS = tuple(generate_key() for _ in range(8))
DAMAGED = {"UnreadableModel", "ModelNotFound"}
NOT_INTACT = {
    *DAMAGED,
    "UnsupportedFormat",
    "HeaderFormat",
    "KeyCommitment",
    "HeaderAuthentication",
    "PayloadAuthentication",
    "Truncated",
    "TrailingData",
    "ChecksumMismatch",
    "ContextMismatch",
    "SizeLimit",
    "FileMissing",
    "KeyNotFound",
    "KeyUnwrap",
    "StorageFailed",
    "EncryptionExpected",
}
"""The errors that say that a file is not the one that was written."""


class Ground(RuleBasedStateMachine):
    """One registry with two writers, and what is expected of it."""

    place: ClassVar[Place]
    counts: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.location = self.place.new_location()
        self.expected = ExpectedRegistry()
        self.key = 0
        self.clock = 0
        self.deployed = 0
        self.damage: tuple[str, str, bytes | None] | None = None
        """The damaged version, its file, and the bytes that belong there."""
        self.writers: list[ModelRegistry] = []
        self.open_writers()
        self.counts["registries"] += 1

    def keys(self) -> tuple[bytes, ...]:
        """The keys of the writers, the present one first."""
        return tuple(reversed(KEYS[: self.key + 1]))

    def open_writers(self) -> None:
        """Two writers that know nothing yet."""
        self.writers = [self.setting(number).open() for number in range(len(ACTORS))]

    def setting(self, writer: int, location: str = "") -> Setting:
        """A writer's registry, for a process of its own."""
        return Setting(location or self.location, self.keys(), ACTORS[writer], dict(self.place.environment), self.clock)

    def pick(self, number: int) -> str | None:
        """One of the versions; None when there are none."""
        known = sorted(self.expected.versions)
        return known[number % len(known)] if known else None

    @property
    def hurt(self) -> str:
        """The version that is damaged; empty when none is."""
        return self.damage[0] if self.damage else ""

    @property
    def unreadable(self) -> set[str]:
        """The version whose manifest or state is damaged."""
        return {self.damage[0]} if self.damage and self.damage[1] in ("manifest.json", "state.json") else set()

    def act(self, writer: int, deed: Deed) -> Outcome:
        """Does a deed here, and expects of it what has to come of it."""
        refusal = self.refusal(deed)
        with clock_shifted(self.clock):
            outcome = perform(self.writers[writer], deed)
        self.counts[f"deed {deed.name}"] += 1
        self.judge(deed, outcome, refusal)
        return outcome

    def judge(self, deed: Deed, outcome: Outcome, refusal: set[str] | None) -> None:
        """Compares what came of a deed with what had to."""
        if refusal is None:
            assert outcome.kind == "done", f"{deed}: {outcome}"
            self.apply(deed, outcome.value)
            return
        assert outcome.kind == "refused", f"{deed} was not refused ({refusal}): {outcome}"
        assert str(outcome.value).split(":")[0] in refusal, f"{deed}: {outcome}, not one of {refusal}"
        self.counts["refused"] += 1

    def refusal(self, deed: Deed) -> set[str] | None:
        """The errors that may refuse a deed; None when it has to be done."""
        given = deed.arguments
        if deed.name == "unalias":
            return None if (given["name"], given["alias"]) in self.expected.aliases else {"ModelNotFound"}
        model_id = given.get("model_id")
        if model_id is None:
            return None
        version = self.expected.versions.get(model_id)
        if version is None:
            return {"ModelNotFound"}
        if model_id in self.unreadable:
            return DAMAGED
        if deed.name in ("load", "export", "prove") and self._needs(deed.name, model_id):
            return NOT_INTACT
        if deed.name == "sign" and model_id == self.hurt and self.damage and self.damage[1] == "signature.json":
            return {"SignatureInvalid", "UnreadableModel"} if self.damage[2] is not None else None
        if deed.name == "status":
            wanted = given["status"]
            leads = wanted in LEADS_TO[version.status] and not (wanted == "archived" and version.serves)
            return None if wanted == version.status or leads else {"IllegalTransition"}
        if deed.name == "deploy" and version.status == "archived":
            return {"IllegalTransition"}
        return {"InUse"} if deed.name == "delete" and model_id in self.expected.kept() else None

    def _needs(self, deed: str, model_id: str) -> bool:
        """Whether a deed reads the damaged file of a version."""
        if model_id != self.hurt or self.damage is None:
            return False
        files = {"load": {"artifact"}, "export": {"artifact", "golden", "runtime"}}
        return self.damage[1] in files.get(deed, {"artifact", "golden", "runtime"})

    def apply(self, deed: Deed, result: Any) -> None:
        """What a deed that was done changes in what is expected."""
        given = deed.arguments
        if deed.name == "register":
            self.registered(result, given["name"], given["value"], given["signed"])
        elif deed.name == "delete":
            self.deleted({given["model_id"]})
        elif deed.name == "cleanup":
            self.cleaned(given["keep"], set(result))
        elif deed.name == "unalias":
            self.expected.records["alias", self.expected.aliases.pop((given["name"], given["alias"]))] += 1
        elif "model_id" in given:
            self._apply_to_one(deed, result, self.expected.versions[given["model_id"]])

    def _apply_to_one(self, deed: Deed, result: Any, version: ExpectedVersion) -> None:
        given = deed.arguments
        if deed.name == "status" and version.status == given["status"]:
            return
        self.expected.records[deed.name, given["model_id"]] += 1
        match deed.name:
            case "status":
                version.set_status(given["status"])
            case "deploy":
                version.deployments.append(f"deploy_{given['number']}")
                self.expected.deployed(given["model_id"], self.unreadable)
            case "alias":
                self.expected.aliases[given["name"], given["alias"]] = given["model_id"]
            case "sign":
                self.signed(version, {given["key"]})
            case "load":
                assert result == answer_of(version.value), f"{given['model_id']} answers {result}"

    def registered(self, model_id: str, name: str, value: int, signed: bool) -> None:
        """A version that is new."""
        found = self.fresh().get_metadata(model_id)
        assert found.model_name == name
        assert model_id not in self.expected.versions, f"{model_id} is there twice"
        assert model_id not in self.expected.gone, f"{model_id} was deleted, and is there again"
        highest = self.expected.highest(name)
        assert found.version > highest, f"{model_id} has the number {found.version}, and {highest} was given before"
        signers = {1} if signed else set()
        version = ExpectedVersion(name, found.version, value, found.created_at, signed_by=signers, key=self.key)
        self.expected.add(model_id, version)
        self.expected.records["register", model_id] += 1

    def signed(self, version: ExpectedVersion, keys: set[int]) -> None:
        """A version that has further signatures."""
        version.signed_by |= keys

    def deleted(self, model_ids: set[str]) -> None:
        """Versions that are gone."""
        for model_id in model_ids:
            self.expected.remove(model_id)
            self.expected.records["delete", model_id] += 1
            if model_id == self.hurt:
                self.damage = None

    def cleaned(self, keep: int, gone: set[str]) -> None:
        """What a cleanup took away."""
        assert gone == self.cleanup_takes(keep), f"cleanup {keep} removed {gone}"
        self.deleted(gone)

    def cleanup_takes(self, keep: int) -> set[str]:
        """What a cleanup has to take away."""
        return self.expected.goes_with_cleanup(keep, without=self.unreadable)

    def fresh(self) -> ModelRegistry:
        """The registry as somebody sees it who has never looked at it."""
        return self.setting(0).open()

    def compare(self, registry: ModelRegistry, expected: ExpectedRegistry, without: set[str]) -> None:
        """Compares what a registry lists with what is expected.

        Args:
            registry: who looks.
            expected: what has to be listed.
            without: versions that may be listed or not.
        """
        listed = {model.model_id: model for model in registry.list_models() if model.model_id not in without}
        assert set(listed) == set(expected.versions) - without
        for model_id, model in listed.items():
            version = expected.versions[model_id]
            assert (model.model_name, model.version) == (version.name, version.number), model_id
            assert str(model.status) == version.status, f"{model_id} is {model.status}, not {version.status}"
        found = {name: dict(own) for name, own in Aliases(registry).all().items() if own}
        assert found == expected.aliases_by_name()

    def keys_alone(self, model_id: str, key: int, location: str) -> Any:
        """What a version answers somebody who has one key only, which has to open every file of it."""
        registry = ModelRegistry(location, keys=Keyring.of(KEYS[key]), actor="keyholder")
        for name in registry.get_metadata(model_id).attachments:
            with open_artifact(registry.storage.path(f"{version_prefix(model_id)}/{name}")) as file:
                file.require_key(registry.keys)
        return answer(registry.load_model(model_id)[0])

    def opens_nothing(self, model_id: str, key: int) -> bool:
        """Whether somebody who has one key only can open no file of a version."""
        registry = ModelRegistry(self.location, keys=Keyring.of(KEYS[key]), actor="keyholder")
        for name in (ARTIFACT_FILE, *registry.get_metadata(model_id).attachments):
            with (
                suppress(ModelStoreError),
                open_artifact(registry.storage.path(f"{version_prefix(model_id)}/{name}")) as file,
            ):
                file.require_key(registry.keys)
                return False
        return True
