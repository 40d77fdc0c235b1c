"""What has to be true of a registry, in plain dictionaries; imports nothing of the registry."""

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field

LEADS_TO = {
    "trained": {"validated", "staged", "deployed", "deprecated", "archived"},
    "validated": {"staged", "deployed", "deprecated", "archived"},
    "staged": {"validated", "deployed", "deprecated", "archived"},
    "deployed": {"validated", "staged", "deprecated"},
    "deprecated": {"deployed", "archived"},
    "archived": {"deprecated"},
}
STATUSES = sorted(LEADS_TO)


@dataclass
class ExpectedVersion:
    """One version."""

    name: str
    number: int
    value: int
    created_at: str
    """As the registry tells it: the clock of the writer, which may go wrong."""
    status: str = "trained"
    found_out: str = "trained"
    """The last status other than deployed."""
    serves: bool = False
    """Whether it serves in staging, the only environment."""
    deployments: list[str] = field(default_factory=list)
    signed_by: set[int] = field(default_factory=set)
    key: int = 0
    """The number of the key that opens it."""

    def set_status(self, status: str) -> None:
        """A status that somebody has set."""
        self.status = status
        self.found_out = status if status != "deployed" else self.found_out


@dataclass
class ExpectedRegistry:
    """One registry."""

    versions: dict[str, ExpectedVersion] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    numbers: dict[str, set[int]] = field(default_factory=dict)
    """By name, every number that a version has had."""
    records: Counter[tuple[str, str]] = field(default_factory=Counter)
    """The least number of audit records of each action and model id."""
    gone: set[str] = field(default_factory=set)
    """Ids of versions that were deleted, or whose writer was killed."""

    def deployed(self, model_id: str, without: set[str]) -> None:
        """A version that serves now, in place of the others but those that cannot be read."""
        for each, version in self.versions.items():
            if each == model_id:
                version.serves = True
                version.status = "deployed" if "deployed" in LEADS_TO[version.status] else version.status
            elif version.serves and each not in without:
                version.serves = False
                version.status = version.found_out if version.status == "deployed" else version.status

    def copy(self) -> "ExpectedRegistry":
        """What a backup holds now."""
        return deepcopy(self)

    def add(self, model_id: str, version: ExpectedVersion) -> None:
        """A version that is new here."""
        self.versions[model_id] = version
        self.numbers.setdefault(version.name, set()).add(version.number)
        self.gone.discard(model_id)

    def remove(self, model_id: str) -> None:
        """A version that is deleted."""
        del self.versions[model_id]
        self.gone.add(model_id)

    def given(self, name: str) -> list[tuple[str, int]]:
        """The versions of a name that are there, each with its number."""
        return [(each, version.number) for each, version in self.versions.items() if version.name == name]

    def highest(self, name: str) -> int:
        """The highest number that a version of the name has had."""
        return max(self.numbers.get(name, ()), default=0)

    def kept(self) -> set[str]:
        """The versions that must not be deleted: deployed, ever deployed (all of it is recent), or aliased."""
        used = {each for each, version in self.versions.items() if version.status == "deployed" or version.deployments}
        return used | set(self.aliases.values())

    def aliases_by_name(self) -> dict[str, dict[str, str]]:
        """The aliases as the registry lists them, without names that have none left."""
        found: dict[str, dict[str, str]] = {}
        for (name, alias), model_id in self.aliases.items():
            found.setdefault(name, {})[alias] = model_id
        return found

    def goes_with_cleanup(self, keep: int, *, without: set[str]) -> set[str]:
        """The versions that a cleanup deletes.

        Args:
            keep: how many of the newest of each name stay.
            without: versions that cannot be read, which stay and do not count.
        """
        names = {version.name for version in self.versions.values()}
        going: set[str] = set()
        for name in names:
            own = [each for each, version in self.versions.items() if version.name == name and each not in without]
            own.sort(key=lambda each: self.versions[each].number)
            going |= set(own[:-keep])
        return going - self.kept()
