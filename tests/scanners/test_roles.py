"""The table of roles is what a policy simulator answers, and no role may do what none should."""

from tests.scanners import roles

_NOBODY = {
    "read a version's files without TLS",
    "put over a manifest",
    "write an artifact with another key",
    "write an artifact with `aws:kms` and no key",
    "put over an audit record",
    "remove an audit record",
    "remove a file's earlier version",
    "lift a lock",
    "change the bucket's policy",
    "change the key's policy",
    "add to the decision log without TLS",
    "read logged decisions",
    "remove logged decisions",
    "add beside the decision log",
    "remove from the backup",
    "write into the inbox",
    "write another stack's state",
    "change the pods' rights without the boundary",
    "change who takes the pods' role",
    "change a role of the registry",
    "change a role of CI",
    "change another's alarm",
    "publish metrics of others",
}
_WRITES = ("create", "write", "put", "move", "change", "add", "remove", "delete", "encrypt", "push", "publish")
_IAM_LETTERS = 10_240


def test_the_table_in_the_documents_is_what_the_simulator_answers() -> None:
    assert roles.PAGE.read_text(encoding="utf-8") == roles.page(), "run: python -m tests.scanners.roles"


def test_what_no_role_may_do_is_denied_to_each() -> None:
    assert {words for words, may in roles.answers().items() if not any(may.values())} == _NOBODY


def test_a_preview_writes_nothing_and_only_a_deployment_changes_the_stack() -> None:
    answers = roles.answers()
    written = {words for words in answers if words.startswith(_WRITES)}
    assert not [words for words in written if answers[words]["ci-preview"] or answers[words]["reader"]]
    of_the_stack = ("write the stack's state", "change the pods' rights within the boundary", "change an alarm")
    for words in of_the_stack:
        assert [role for role, may in answers[words].items() if may] == ["ci-deploy"]


def test_the_policies_are_not_longer_than_iam_allows() -> None:
    from json import dumps

    lengths = {role: len(dumps(policy, separators=(",", ":"))) for role, policy in roles.policies().items()}
    assert {role for role, length in lengths.items() if length > _IAM_LETTERS} == set()
