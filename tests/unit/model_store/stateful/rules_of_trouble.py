"""Rules of trouble: killed writers, two at once, damage, clocks that go back, backups and what is rebuilt from them."""

import json
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from model_store.registry.aliases import Aliases
from model_store.registry.backups import repair, restore
from model_store.registry.maintenance import verify_everything
from tests.unit.model_store.stateful.deeds import Deed, answer, answer_of
from tests.unit.model_store.stateful.expected import LEADS_TO, STATUSES, ExpectedRegistry
from tests.unit.model_store.stateful.ground import KEYS
from tests.unit.model_store.stateful.processes import Outcome, perform_and_die, perform_at_once
from tests.unit.model_store.stateful.rules_of_life import ALIASES, NAMES, PICKS, VALUES, WRITERS, RulesOfLife

_CHANGES = st.sampled_from(["status", "deploy", "alias", "unalias", "sign", "delete"])
_SWEEPS = st.sampled_from(["cleanup", "rotate", "backup"])
_OPERATIONS = st.integers(2, 40)
_KINDS = st.sampled_from(["flip", "cut", "empty", "remove"])


class RulesOfTrouble(RulesOfLife):
    """What happens to a registry."""

    def __init__(self) -> None:
        super().__init__()
        self.backup_location = self.place.new_location()
        self.kept: ExpectedRegistry | None = None

    @invariant()
    def each_writer_in_turn_sees_what_is_there(self) -> None:
        self.counts["steps"] += 1
        self.compare(self.writers[self.counts["steps"] % len(self.writers)], self.expected, self.unreadable)

    @rule()
    def verify(self) -> None:
        fresh = self.fresh()
        findings = {finding.subject: finding for finding in verify_everything(fresh)}
        damaged = {subject for subject, finding in findings.items() if not finding.intact}
        if self.faults.orphans_are_findings:
            damaged -= self.killed_ids - set(self.expected.versions)
        awaited = {self.hurt} if self.is_found() else set()
        if self.unreadable:
            awaited |= {f"{n}@{a}" for (n, a), model_id in self.expected.aliases.items() if model_id == self.hurt}
        assert damaged == awaited, [findings[each] for each in damaged ^ awaited if each in findings]
        self.compare(fresh, self.expected, self.unreadable)

    def is_found(self) -> bool:
        """Whether `verify` has to find the damage that there is."""
        if self.damage is None:
            return False
        return not (self.faults.signatures_are_not_verified and self.damage[1] == "signature.json")

    @rule()
    def read_the_log(self) -> None:
        found = list(self.fresh().audit.records())
        counted: dict[tuple[str, str], int] = {}
        for record in found:
            counted[record.action, record.model_id] = counted.get((record.action, record.model_id), 0) + 1
        missing = {each: count for each, count in self.expected.records.items() if counted.get(each, 0) < count}
        assert not missing, f"effects without a record: {missing}"
        self.counts["records read"] += len(found)

    @rule(seconds=st.sampled_from([-86_400, -3600, -5, 0, 0, 90]))
    def clock_goes_wrong(self, seconds: int) -> None:
        self.clock = seconds
        self.counts["clocks set"] += 1

    @rule(pick=PICKS, file=st.sampled_from(["manifest.json", "state.json"]), kind=_KINDS, at=st.integers(0, 5000))
    def damage_a_text(self, pick: int, file: str, kind: str, at: int) -> None:
        self._damage(pick, [file], kind, at)

    @rule(pick=PICKS, kind=_KINDS, at=st.integers(0, 5000), file=st.integers(0, 3))
    def damage_a_file(self, pick: int, kind: str, at: int, file: int) -> None:
        files = ["artifact", "golden", "runtime", "signature.json"]
        self._damage(pick, files[file:] + files[:file], kind, at)

    def _damage(self, pick: int, files: list[str], kind: str, at: int) -> None:
        """Damages the first of some files of a version that there is."""
        model_id = self.pick(pick)
        if model_id is None:
            return
        self.heal()
        prefix = f"models/{self.expected.versions[model_id].name}/{model_id}"
        found = ((file, self.place.read_raw(self.location, f"{prefix}/{file}")) for file in files)
        file, content = next((each for each in found if each[1]), ("", b""))
        if not content:
            return
        key = f"{prefix}/{file}"
        at %= len(content)
        # In a text any other letter may be as good a text; 0xff is none.
        flipped = content[at] ^ 1 if file in ("artifact", "golden", "runtime") else 0xFF
        changed = {
            "flip": content[:at] + bytes([flipped]) + content[at + 1 :],
            "cut": content[:at],
            "empty": b"",
            "remove": None,
        }[kind]
        self.place.write_raw(self.location, key, changed)
        self.damage = (model_id, file, content)
        self.counts[f"damage {kind}"] += 1

    @rule()
    def heal(self) -> None:
        if self.damage is None:
            return
        model_id, file, content = self.damage
        key = f"models/{self.expected.versions[model_id].name}/{model_id}/{file}"
        self.place.write_raw(self.location, key, content)
        self.damage = None

    @rule(writer=WRITERS)
    def back_up(self, writer: int) -> None:
        if not self.damage:
            self.act(writer, Deed("backup", {"destination": self.backup_location}))
            self.backed_up()

    def forget_backups(self) -> None:
        """Goes on with a new backup."""
        self.kept = None
        self.backup_location = self.place.new_location()

    def backed_up(self) -> None:
        """The backup holds what there is, and what there was."""
        earlier = self.kept.versions if self.kept else {}
        self.kept = self.expected.copy()
        self.kept.versions = {**earlier, **self.kept.versions}
        self.expected.records["backup", ""] += 1

    @rule(writer=WRITERS)
    def bring_back(self, writer: int) -> None:
        if self.kept is None or self.damage:
            return
        self.act(writer, Deed("restore", {"source": self.backup_location}))
        for model_id, version in self.kept.copy().versions.items():
            if model_id not in self.expected.versions:
                self.expected.add(model_id, version)
            elif self.faults.restore_brings_old_keys_back:
                self.expected.versions[model_id].key = min(self.expected.versions[model_id].key, version.key)
        self.expected.records["restore", ""] += 1
        for model_id in list(self.expected.versions)[:1]:
            self.opens_with_its_key_only(model_id)

    @rule(writer=WRITERS)
    def repair(self, writer: int) -> None:
        if self.damage is None or self.kept is None or self.hurt not in self.kept.versions:
            return
        model_id, file, _ = self.damage
        repair(self.writers[writer], model_id, self.backup_location)
        self.damage = None
        self.expected.records["repair", model_id] += 1
        version, then = self.expected.versions[model_id], self.kept.copy().versions[model_id]
        if file == "state.json":
            version.status, version.deployments = then.status, then.deployments
        elif file == "artifact":
            version.key = then.key
        elif file == "signature.json":
            version.signed_by = then.signed_by
        self.fresh().verify_artifact(model_id)
        self.counts["repairs"] += 1

    @rule(name=NAMES)
    def rebuild_elsewhere(self, name: str) -> None:
        if self.kept is None or not self.kept.versions:
            return
        location = self.place.new_location()
        rebuilt = self.setting(0, location).open()
        restore(rebuilt, self.backup_location)
        self.compare(rebuilt, self.kept, set())
        damaged = {finding.subject for finding in verify_everything(rebuilt) if not finding.intact}
        assert damaged <= (self.killed_ids if self.faults.orphans_are_findings else set()), damaged
        model_id, version = next(iter(self.kept.versions.items()))
        assert answer(rebuilt.load_model(model_id)[0]) == answer_of(version.value)
        new = Deed("register", {"name": name, "value": 1, "signed": False}).perform(rebuilt)
        number = rebuilt.get_metadata(new).version
        assert self.faults.restore_forgets_numbers or number > self.kept.highest(name)
        self.counts["rebuilt"] += 1

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
        if name == "rotate":
            self._rotate_again(writer, outcome)
        if name == "backup":
            self.act(writer, deed)
            self.backed_up()

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
            if not self.faults.rotation_needs_both_keys_to_go_on:
                registry = self.setting(writer).open()
            else:
                self.key += 1
                registry = self.setting(writer).open()
                self.key -= 1
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
            self.apply(deed, None)
        self.each_writer_in_turn_sees_what_is_there()

    def _adopt_registration(self, fresh: Any, deed: Deed) -> None:
        given = deed.arguments
        new = {model.model_id for model in fresh.list_models()} - set(self.expected.versions)
        assert len(new) <= 1, f"killed {deed} made {new}"
        for model_id in new:
            self.registered(model_id, given["name"], given["value"], given["signed"])
            assert answer(fresh.load_model(model_id)[0]) == answer_of(given["value"])
            fresh.verify_artifact(model_id)
        begun = {
            record.model_id
            for record in fresh.audit.records()
            if record.action == "register" and record.model_id not in self.expected.versions
        }
        self.killed_ids |= begun - self.expected.gone

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
                return given["key"] in self.signers(given["model_id"])
            case "delete":
                return given["model_id"] not in {model.model_id for model in fresh.list_models()}
        return False

    @rule(name=NAMES, values=st.tuples(VALUES, VALUES))
    def two_register_at_once(self, name: str, values: tuple[int, int]) -> None:
        deeds = [Deed("register", {"name": name, "value": value, "signed": False}) for value in values]
        outcomes = self._at_once(*deeds)
        assert [outcome.kind for outcome in outcomes] == ["done", "done"], outcomes
        assert outcomes[0].value != outcomes[1].value
        numbered = sorted(
            zip(outcomes, values, strict=True), key=lambda each: self.fresh().get_metadata(each[0].value).version
        )
        for outcome, value in numbered:
            self.registered(outcome.value, name, value, False)

    def _at_once(self, *deeds: Deed) -> list[Outcome]:
        self.counts["races"] += 1
        outcomes = perform_at_once(*((self.setting(writer), deed) for writer, deed in enumerate(deeds)))
        assert all(outcome.kind != "broken" for outcome in outcomes), outcomes
        return outcomes

    @rule(pick=PICKS, statuses=st.tuples(st.sampled_from(STATUSES), st.sampled_from(STATUSES)))
    def two_set_one_status(self, pick: int, statuses: tuple[str, str]) -> None:
        model_id = self.pick(pick)
        if model_id is None or model_id in self.unreadable:
            return
        version = self.expected.versions[model_id]
        before = version.status
        outcomes = self._at_once(*(Deed("status", {"model_id": model_id, "status": each}) for each in statuses))
        state = json.loads(self.place.read_raw(self.location, f"models/{version.name}/{model_id}/state.json") or b"")
        done = [each for each, outcome in zip(statuses, outcomes, strict=True) if outcome.kind == "done"]
        way = [before, *(entry["status"] for entry in state["history"])][-len(set(done) - {before}) - 1 :]
        if not self.faults.status_races_pass_unseen:
            assert all(b in LEADS_TO[a] for a, b in pairwise(way)), (before, statuses, outcomes, way)
        assert state["status"] in {before, *done}
        version.status = state["status"]

    @rule(pick=PICKS, others=PICKS, alias=ALIASES)
    def two_set_one_alias(self, pick: int, others: int, alias: str) -> None:
        first = self.pick(pick)
        if first is None or self.unreadable:
            return
        name = self.expected.versions[first].name
        own = [each for each, version in sorted(self.expected.versions.items()) if version.name == name]
        wanted = (first, own[others % len(own)])
        deeds = [Deed("alias", {"name": name, "alias": alias, "model_id": each}) for each in wanted]
        outcomes = self._at_once(*deeds)
        done = [each for each, outcome in zip(wanted, outcomes, strict=True) if outcome.kind == "done"]
        assert done, outcomes
        assert all(o.kind == "done" or str(o.value).startswith("VersionConflict") for o in outcomes), outcomes
        pointed = Aliases(self.fresh()).of(name).get(alias)
        assert pointed in done
        history = [entry["model_id"] for entry in Aliases(self.fresh()).history(name, alias)][-len(done) :]
        assert sorted(history) == sorted(done), "an alias that was set is not in its history"
        self.expected.aliases[name, alias] = pointed

    @rule(pick=PICKS)
    def two_sign_one_version(self, pick: int) -> None:
        model_id = self.pick(pick)
        if model_id is None or model_id == self.hurt:
            return
        outcomes = self._at_once(*(Deed("sign", {"model_id": model_id, "key": key}) for key in (1, 2)))
        done = {key for key, outcome in zip((1, 2), outcomes, strict=True) if outcome.kind == "done"}
        assert done, outcomes
        self.signed(self.expected.versions[model_id], done)
        assert self.signers(model_id) == self.expected.versions[model_id].signed_by
