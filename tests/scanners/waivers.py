"""What scanners report and this project leaves as it is, with the reason for each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Waiver:
    """One check that need not hold for some resources."""

    check: str
    """Its id."""
    resources: tuple[str, ...]
    """The ends of the resources' names."""
    reason: str


WAIVERS = (
    Waiver(
        "CKV_AWS_144",
        ("registry_bucket", "registry_logs_bucket", "backup_bucket", "backup_logs_bucket"),
        "Replication to a second region is a decision about where customer-derived models may lie, and doubles what is "
        "stored. A lost region is answered by `manage_models.py backup` to a bucket elsewhere, which keeps digests and "
        "signatures and is verified on restore; a lost bucket by the "
        "scheduled copy in a second one; a lost object by versions and the object lock.",
    ),
    Waiver(
        "CKV_AWS_145",
        ("registry_logs_bucket", "backup_logs_bucket"),
        "S3 delivers server access logs only to buckets with the storage's own encryption (SSE-S3); a bucket with a "
        "KMS key as its default gets none.",
    ),
    Waiver(
        "CKV2_AWS_62",
        ("registry_bucket", "registry_logs_bucket", "backup_bucket", "backup_logs_bucket"),
        "Nothing listens to events of these buckets: who wrote what is in the registry's audit log and in the access "
        "logs, and a topic that nobody reads would be one more thing to secure.",
    ),
    Waiver(
        "CKV_AWS_61",
        ("roles_admin", "roles_promoter", "roles_publisher", "roles_reader"),
        "The check takes the account's root as principal for a permission to everybody. Here the statement also asks "
        "for a tag on the principal that names the role, so that the account decides by tagging who takes it.",
    ),
)


def waived(check: str, resource: str) -> bool:
    """Whether a finding has a waiver."""
    return any(waiver.check == check and resource.endswith(waiver.resources) for waiver in WAIVERS)
