"""Rules of races: two processes begin the same at once."""

import json
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from model_store.registry.aliases import Aliases
from tests.unit.model_store.stateful.deeds import Deed
from tests.unit.model_store.stateful.expected import LEADS_TO, STATUSES
from tests.unit.model_store.stateful.processes import Outcome, perform_at_once
from tests.unit.model_store.stateful.rules_of_kills import RulesOfKills
from tests.unit.model_store.stateful.rules_of_life import ALIASES, NAMES, PICKS, VALUES


class RulesOfRaces(RulesOfKills):
    """What two at once leave: the work of each that was not refused."""

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
        assert all(b in LEADS_TO[a] for a, b in pairwise(way)), (before, statuses, outcomes, way)
        assert state["status"] in {before, *done}
        version.set_status(state["status"])

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

    @rule(pick=PICKS, use=st.sampled_from(["alias", "deploy", "sign", "status"]))
    def one_deletes_what_another_uses(self, pick: int, use: str) -> None:
        """Either the version is gone and nothing points at it, or it is there and in use."""
        model_id = self.pick(pick)
        if model_id is None or self.damage:
            return
        self.deployed += 1
        name = self.expected.versions[model_id].name
        given: dict[str, dict[str, Any]] = {
            "alias": {"name": name, "alias": "next", "model_id": model_id},
            "deploy": {"model_id": model_id, "environment": "staging", "number": self.deployed},
            "sign": {"model_id": model_id, "key": 2},
            "status": {"model_id": model_id, "status": "deprecated"},
        }
        uses = Deed(use, given[use])
        deletes = Deed("delete", {"model_id": model_id})
        refusals = [self.refusal(deletes), self.refusal(uses)]
        outcomes = self._at_once(deletes, uses)
        for outcome in outcomes:
            kinds = {"InUse", "VersionConflict", "ModelNotFound", "IllegalTransition", "UnreadableModel"}
            assert outcome.kind == "done" or str(outcome.value).split(":")[0] in kinds, outcomes
        used = outcomes[1].kind == "done" and refusals[1] is None
        if outcomes[0].kind == "done":
            assert refusals[0] is None, outcomes
            if used and use == "deploy":
                self.apply(uses, outcomes[1].value)
            self.deleted({model_id})
            # What was done before the deletion is undone by it; an alias would have kept the version.
            assert not (used and use == "alias"), outcomes
        elif used:
            self.apply(uses, outcomes[1].value)
        self.each_writer_in_turn_sees_what_is_there()
        self.verify()
