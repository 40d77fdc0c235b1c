"""Rules of kills: a writer in a process of its own ends before or after one of its operations."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from model_store.registry.aliases import Aliases
from model_store.registry.files.unfinished import is_being_removed
from tests.unit.model_store.stateful.deeds import Deed, answer, answer_of
from tests.unit.model_store.stateful.expected import LEADS_TO, STATUSES, ExpectedVersion
from tests.unit.model_store.stateful.ground import KEYS
from tests.unit.model_store.stateful.processes import Outcome, perform, perform_and_die
from tests.unit.model_store.stateful.rules_of_life import PICKS, VALUES, WRITERS
from tests.unit.model_store.stateful.rules_of_trouble import RulesOfTrouble

_CHANGES = st.sampled_from(["status", "deploy", "alias", "unalias", "sign", "delete"])
_SWEEPS = st.sampled_from(["cleanup", "rotate", "backup"])
_SAID = ("status", "deploy", "alias", "unalias")
"""Changes that a repair brings back by their records."""
_OPERATIONS = st.integers(2, 40)


class RulesOfKills(RulesOfTrouble):
    """What a killed writer leaves: the old state or the new."""

    @rule(writer=WRITERS, at=st.integers(2, 80), value=VALUES, given=st.integers(0, 5))
    def kill_a_registration(self, writer: int, at: int, value: int, given: int) -> None:
        self._kill(writer, "register", 0, at, value, given)

    @rule(writer=WRITERS, name=_CHANGES, pick=PICKS, at=_OPERATIONS, given=st.integers(0, 5))
    def kill_a_change(self, writer: int, name: str, pick: int, at: int, given: int) -> None:
        self._kill(writer, name, pick, at, 0, given)

    @rule(writer=WRITERS, name=_SWEEPS, at=st.integers(2, 120), given=st.integers(0, 5))
    def kill_a_sweep(self, writer: int, name: str, at: int, given: int) -> None:
        self._kill(writer, name, 0, at, 0, given)

    def _kill(self, writer: int, name: str, pick: int, at: int, value: int, given: int) -> None:
        """A writer in a process of its own is killed before or after one of its operations."""
        deed = self._deed(name, pick, value, given)
        if deed is None:
            return
        self.heal()
        refusal = self.refusal(deed)
        outcome = perform_and_die(self.setting(writer), deed, at)
        if outcome.kind != "killed":
            self.judge(deed, outcome, refusal)
        else:
            self.counts["killed"] += 1
            self.counts[f"killed {name}"] += 1
            self._adopt(deed, refusal)
            self._finish_removals(writer)
            if refusal is None and name in _SAID and deed.arguments.get("model_id", "") not in self.expected.gone:
                # Until then nobody can say whether the record's change took effect.
                self.act(writer, deed)
        if name == "rotate":
            self._rotate_again(writer, outcome)
        if name == "backup":
            self.act(writer, deed)
            self.backed_up()

    def _finish_removals(self, writer: int) -> None:
        """A removal that was killed is finished by the same command; until then the version is used by nobody."""
        fresh = self.fresh()
        for model_id in list(self.expected.versions):
            if is_being_removed(fresh.state(model_id)):
                refused = perform(fresh, Deed("status", {"model_id": model_id, "status": "deprecated"}))
                allowed = "deprecated" in LEADS_TO[self.expected.versions[model_id].status]
                assert not allowed or str(refused.value).startswith("VersionConflict"), refused
                self.act(writer, Deed("delete", {"model_id": model_id}))
                self.counts["removals finished"] += 1

    def _deed(self, name: str, pick: int, value: int, given: int) -> Deed | None:
        model_id = self.pick(pick)
        if name == "register":
            return Deed("register", {"name": ["m", "fraud.v2"][given % 2], "value": value, "signed": given > 2})
        if name == "cleanup":
            return Deed("cleanup", {"keep": 1 + given % 2})
        if name == "backup":
            return Deed("backup", {"destination": self.backup_location})
        if name == "rotate":
            return Deed("rotate", {"new": [KEYS[self.key + 1]]}) if self.key + 1 < len(KEYS) else None
        if model_id is None:
            return None
        own = self.expected.versions[model_id].name
        alias = ["champion", "next"][given % 2]
        self.deployed += 1
        return Deed(
            name,
            {
                "status": {"model_id": model_id, "status": STATUSES[given]},
                "deploy": {"model_id": model_id, "environment": "staging", "number": self.deployed},
                "alias": {"name": own, "alias": alias, "model_id": model_id},
                "unalias": {"name": own, "alias": alias},
                "sign": {"model_id": model_id, "key": 1 + given % 2},
                "delete": {"model_id": model_id},
            }[name],
        )

    def _rotate_again(self, writer: int, outcome: Outcome) -> None:
        if outcome.kind == "killed":
            registry = self.setting(writer).open()
            Deed("rotate", {"new": [KEYS[self.key + 1]]}).perform(registry)
        self.rotated()

    def _adopt(self, deed: Deed, refusal: set[str] | None) -> None:
        """After a kill the old state is there or the new one; takes the one that is there."""
        fresh, given = self.fresh(), deed.arguments
        if deed.name == "register":
            self._adopt_registration(fresh, deed)
        elif deed.name == "cleanup":
            gone = set(self.expected.versions) - {model.model_id for model in fresh.list_models()}
            assert gone <= self.cleanup_takes(given["keep"]), f"killed {deed} removed {gone}"
            self.deleted(gone)
        elif refusal is None and self._is_done(fresh, deed):
            before = self.expected.copy().versions
            self.apply(deed, None)
            if deed.name == "deploy":
                self._adopt_those_before(fresh, given["model_id"], before)
        self.each_writer_in_turn_sees_what_is_there()

    def _adopt_those_before(self, fresh: Any, model_id: str, before: dict[str, ExpectedVersion]) -> None:
        """A killed deployment may leave that the version before serves, too; the next deployment ends that."""
        for each, then in before.items():
            if each != model_id and then.serves and "staging" in fresh.state(each)["serving"]:
                version = self.expected.versions[each]
                version.status, version.serves = then.status, True

    def _adopt_registration(self, fresh: Any, deed: Deed) -> None:
        given = deed.arguments
        new = {model.model_id for model in fresh.list_models()} - set(self.expected.versions)
        assert len(new) <= 1, f"killed {deed} made {new}"
        for model_id in new:
            self.registered(model_id, given["name"], given["value"], given["signed"])
            assert answer(fresh.load_model(model_id)[0]) == answer_of(given["value"])
            fresh.verify_artifact(model_id)

    def _is_done(self, fresh: Any, deed: Deed) -> bool:
        given = deed.arguments
        match deed.name:
            case "status":
                return bool(fresh.state(given["model_id"])["status"] == given["status"])
            case "deploy":
                entries = fresh.state(given["model_id"])["deployments"]
                return any(entry["deployment_id"] == f"deploy_{given['number']}" for entry in entries)
            case "alias" | "unalias":
                return Aliases(fresh).of(given["name"]).get(given["alias"]) == given.get("model_id")
            case "sign":
                # One that was there before tells nothing.
                known = self.expected.versions[given["model_id"]].signed_by
                return given["key"] in self.signers(given["model_id"]) - known
            case "delete":
                return given["model_id"] not in {model.model_id for model in fresh.list_models()}
        return False
