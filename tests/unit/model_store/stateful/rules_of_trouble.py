"""Rules of trouble: damage, clocks that go wrong, backups, and what is rebuilt and repaired from them."""

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from model_store.registry.backups import restore
from model_store.registry.layout import storage_at
from model_store.registry.maintenance import verify_everything
from model_store.registry.repair import repair
from tests.unit.model_store.stateful.deeds import Deed, answer, answer_of
from tests.unit.model_store.stateful.expected import ExpectedRegistry
from tests.unit.model_store.stateful.rules_of_life import NAMES, PICKS, WRITERS, RulesOfLife

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
        repair(self.writers[writer], storage_at(self.backup_location))
        self.damage = None
        self.expected.records["repair", ""] += 1
        version, then = self.expected.versions[model_id], self.kept.copy().versions[model_id]
        if file == "state.json":
            version.status, version.deployments = then.status, then.deployments
            version.found_out, version.serves = then.found_out, then.serves
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
