"""Faults that the test has found or was told of: True while it lets one pass, False once it is mended.

`STATEFUL_TIGHT=name,name` (or `all`) makes the test look for one although it is True here.
"""

import os
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class KnownFaults:
    """The faults that the test lets pass."""

    ids_of_deleted_versions_return: bool = True
    """A version that is registered in the second of a deleted one gets its id, and no backup can hold both."""
    import_takes_a_taken_number: bool = True
    """A bundle brings its version number although another version of the name has it."""
    restore_forgets_numbers: bool = False
    """A registry that is restored elsewhere gives numbers again."""
    restore_brings_old_keys_back: bool = False
    """A restore replaces an artifact whose keys were rotated since by the backup's, which the old keys open."""
    orphans_are_findings: bool = True
    """In S3 a writer killed before its manifest leaves objects that `verify` calls a damaged version."""
    cleanup_keeps_by_the_clock: bool = False
    """`cleanup` takes the version made last by the clock for the newest, not the highest number."""
    rotation_needs_both_keys_to_go_on: bool = False
    """A rotation that was killed goes on with the old and the new key, not with the old one alone."""
    status_races_pass_unseen: bool = False
    """Of two changes of one status at once both are done, though the second does not follow from the first."""
    aliases_race_with_deletions: bool = True
    """An alias that is set while its version is deleted points at nothing."""
    free_text_is_not_covered: bool = True
    """`verify` does not see a changed letter in a manifest's description."""
    second_signatures_stop_backups: bool = False
    """A signature that is added to a signed version after a backup stops every later backup and restore."""
    signatures_are_not_verified: bool = True
    """`verify` does not see a damaged signature."""
    damaged_aliases_are_raw_errors: bool = True
    """A damaged file of aliases ends `verify`, `delete` and `cleanup` with an error that is not one of this package."""
    damage_stops_deletions: bool = True
    """One damaged manifest or state stops `delete` and `cleanup` of the other versions."""
    damage_stops_backups: bool = True
    """One damaged file stops a backup, a restore or a rotation of everything else."""


def known_faults() -> KnownFaults:
    """The faults to let pass."""
    tight = os.environ.get("STATEFUL_TIGHT", "").split(",")
    everything = {field.name for field in fields(KnownFaults)}
    return KnownFaults(**{name: False for name in everything if name in tight or "all" in tight})
