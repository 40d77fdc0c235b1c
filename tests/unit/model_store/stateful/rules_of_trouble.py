"""Rules of trouble: damage, clocks that go wrong, backups, and what is rebuilt and repaired from them."""

from copy import copy

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from model_store.registry.files.layout import storage_at
from model_store.registry.recovery.backups import restore
from model_store.registry.recovery.repair import repair
from model_store.registry.upkeep.maintenance import cleanup, verify_everything
from tests.unit.model_store.stateful.deeds import Deed, answer, answer_of
from tests.unit.model_store.stateful.expected import ExpectedRegistry, ExpectedVersion
from tests.unit.model_store.stateful.processes import perform
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
        who = self.counts["steps"] % (2 * len(self.writers))
        self.compare(self.writers[who] if who < len(self.writers) else self.fresh(), self.expected, self.unreadable)

    @rule()
    def verify(self) -> None:
        fresh = self.fresh()
        findings = {finding.subject: finding for finding in verify_everything(fresh)}
        damaged = {subject for subject, finding in findings.items() if not finding.intact}
        awaited = {self.hurt} if self.damage else set()
        if self.unreadable:
            awaited |= {f"{n}@{a}" for (n, a), model_id in self.expected.aliases.items() if model_id == self.hurt}
        assert damaged == awaited, [findings[each] for each in damaged ^ awaited if each in findings]
        self.compare(fresh, self.expected, self.unreadable)

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
        if kind == "remove" and (file == "signature.json" or (file == "manifest.json" and self._waits(prefix))):
            return  # a version need not be signed; in S3 a new one without a manifest may be one that is being written
        # In a text that no digest covers any other letter may be as good a text; 0xff is none.
        flipped = 0xFF if file in ("state.json", "signature.json") else content[at] ^ 1
        changed = {
            "flip": content[:at] + bytes([flipped]) + content[at + 1 :],
            "cut": content[:at],
            "empty": b"",
            "remove": None,
        }[kind]
        self.place.write_raw(self.location, key, changed)
        self.damage = (model_id, file, content)
        self.counts[f"damage {kind}"] += 1
        self.verify()

    @rule(writer=WRITERS, name=NAMES, kind=st.sampled_from([b"", b"[]", b"no JSON", b"\xff"]), pick=PICKS)
    def damage_aliases(self, writer: int, name: str, kind: bytes, pick: int) -> None:
        """A damaged file of aliases is named, keeps what it may speak of, and stops nothing else."""
        content = self.place.read_raw(self.location, f"aliases/{name}.json")
        if content is None or self.damage:
            return
        self.place.write_raw(self.location, f"aliases/{name}.json", kind)
        try:
            damaged = {finding.subject for finding in verify_everything(self.fresh()) if not finding.intact}
            assert damaged == {f"{name}@"}, damaged
            own = {each for each, version in self.expected.versions.items() if version.name == name}
            assert set(cleanup(self.writers[writer], 1, dry_run=True)[0]) == self.cleanup_takes(1) - own
            for model_id in sorted(own)[pick % max(1, len(own)) :][:1]:
                refused = perform(self.writers[writer], Deed("delete", {"model_id": model_id}))
                assert str(refused.value).startswith("InUse"), refused
        finally:
            self.place.write_raw(self.location, f"aliases/{name}.json", content)
        self.counts["damage aliases"] += 1

    def _waits(self, prefix: str) -> bool:
        return b'"unfinished"' in (self.place.read_raw(self.location, f"{prefix}/state.json") or b"")

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
        outcome = self.act(writer, Deed("backup", {"destination": self.backup_location}))
        damaged = {key.split("/")[2] for key in outcome.value["damaged"]}
        assert damaged == ({self.hurt} if self.damage else set()), outcome
        self.backed_up()

    def backed_up(self) -> None:
        """The backup holds what there is, and what there was; of what is damaged it keeps the good copy."""
        earlier = self.kept.versions if self.kept else {}
        self.kept = self.expected.copy()
        if self.damage:
            now = self.kept.versions.pop(self.hurt)
            if self.hurt in earlier:
                self.kept.versions[self.hurt] = _kept_of(now, earlier[self.hurt], self.damage[1])
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
        # A state of the copy gets what the log says since: it is the one of now.
        if file == "artifact":
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
        assert not damaged, damaged
        model_id, version = next(iter(self.kept.versions.items()))
        assert answer(rebuilt.load_model(model_id)[0]) == answer_of(version.value)
        new = Deed("register", {"name": name, "value": 1, "signed": False}).perform(rebuilt)
        number = rebuilt.get_metadata(new).version
        assert number > self.kept.highest(name)
        self.counts["rebuilt"] += 1


def _kept_of(now: ExpectedVersion, then: ExpectedVersion, file: str) -> ExpectedVersion:
    """What a backup holds of a version with one damaged file: that one as it was then."""
    kept = copy(now)
    if file == "state.json":
        kept.status, kept.deployments = then.status, then.deployments
        kept.found_out, kept.serves = then.found_out, then.serves
    if file in ("artifact", "manifest.json"):
        kept.key = then.key
    if file in ("signature.json", "manifest.json"):
        kept.signed_by = then.signed_by
    return kept
