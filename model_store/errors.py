"""The whole tree of errors; `exit_code` of each is a code of `conventions/exit_codes.py`, which says what it means.

ModelStoreError                     base of all
├── InvalidInput                    a name, type, status or other argument is not allowed
├── ModelNotFound                   no such model version
├── FileMissing                     no such file
├── IntegrityError                  base: the bytes are not the ones that were written
│   ├── UnsupportedFormat           not an artifact, or one of a version this program does not read
│   ├── HeaderFormat                the header is not canonical, or not within its bounds
│   ├── KeyCommitment               the key opens the slot but is not the key of this artifact
│   ├── HeaderAuthentication        the header was altered
│   ├── PayloadAuthentication       a chunk was altered, moved or replaced
│   ├── Truncated                   the end is missing
│   ├── TrailingData                there is more than there should be
│   ├── ChecksumMismatch            a digest is not the expected one
│   ├── ContextMismatch             an intact artifact of another model version
│   ├── SizeLimit                   more bytes than the caller allows
│   ├── UnreadableModel             intact bytes that do not make a model
│   ├── OpeningFailed               the process that read a file from outside failed
│   └── SignatureInvalid            no trusted key signed this manifest
├── UntrustedType                   the file names something that is not on the allow-list
├── KeyNotFound                     no key that opens the artifact
├── KeyUnwrap                       the key of that name does not open the artifact
├── KeyFileUnsafe                   others can read the key file, or it holds no key
├── InUse                           deployed, aliased or a rollback's target: cannot be deleted
├── VersionConflict                 somebody else changed it first, or it exists already
├── IllegalTransition               the status does not lead there
├── EvidenceMissing                 a decision needs a file that shows why
├── AccessDenied                    the actor's role does not allow it
└── StorageFailed                   the registry cannot be read or written
"""

from conventions import exit_codes


class ModelStoreError(Exception):
    """Base of all errors of this package."""

    exit_code = exit_codes.FAILED


class InvalidInput(ModelStoreError, ValueError):
    """An argument is not allowed."""

    exit_code = exit_codes.INVALID_INPUT


class ModelNotFound(ModelStoreError):
    """There is no such model version."""

    exit_code = exit_codes.NOT_FOUND


class FileMissing(ModelStoreError):
    """There is no such file."""

    exit_code = exit_codes.FILE_MISSING


class IntegrityError(ModelStoreError):
    """The bytes are not the ones that were written."""

    exit_code = exit_codes.NOT_INTACT


class UnsupportedFormat(IntegrityError):
    """Not an artifact, or one of a version that this program does not read."""


class HeaderFormat(IntegrityError):
    """The header is not canonical, or not within its bounds."""


class KeyCommitment(IntegrityError):
    """The key opens a slot but is not the key of this artifact."""


class HeaderAuthentication(IntegrityError):
    """The header was altered."""


class PayloadAuthentication(IntegrityError):
    """A chunk was altered, moved or replaced."""


class Truncated(IntegrityError):
    """The end is missing."""


class TrailingData(IntegrityError):
    """There is more than there should be."""


class ChecksumMismatch(IntegrityError):
    """A digest is not the expected one."""


class ContextMismatch(IntegrityError):
    """An intact artifact, but of another model version."""


class SizeLimit(IntegrityError):
    """More bytes than the caller allows."""


class UnreadableModel(IntegrityError):
    """Intact bytes that do not make a model."""


class OpeningFailed(IntegrityError):
    """The process that read a file from outside crashed, exceeded its limits, or returned a malformed answer.

    Args:
        what: how the process failed.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"the file was not taken in: {what}")


class EncryptionExpected(IntegrityError):
    """An artifact that is not encrypted, where an encrypted one was promised."""


class SignatureInvalid(IntegrityError):
    """No trusted key signed this manifest."""


class UntrustedType(ModelStoreError):
    """The file names something outside the allow-list, or holds a function where the model would call it.

    Args:
        name: the global's full name, such as `os.system`.
        location: where the model holds and would call it; empty when the name itself is not on the list.
    """

    exit_code = exit_codes.UNTRUSTED_TYPE

    rule = "name"

    def __init__(self, name: str, location: str = "", position: str = "") -> None:
        at = f" ({position})" if position else ""
        named = f"{name}, {location}," if location else f"{name},"
        super().__init__(
            f"the model names {named} which is not trusted{at}; none of it was run. "
            f"If you know it to be harmless, trust it by name: trusted=[{name!r}]"
        )
        self.name = name
        self.position = position


class StructureRefused(UntrustedType):
    """The file breaks a rule of structure; none of it was run.

    Args:
        rule: the rule that it breaks, such as `call`; `docs/security.md` lists them.
        what: the finding, in words.
        position: where in the file.
        name: the full name concerned, if any.
    """

    def __init__(self, rule: str, what: str, position: str = "", name: str = "") -> None:
        at = f" ({position})" if position else ""
        ModelStoreError.__init__(
            self,
            f"the model's file breaks the rule {rule!r}: {what}{at}; none of it was run. "
            "No library writes such a file: ask its author to save the model again",
        )
        self.rule, self.name, self.position, self.what = rule, name, position, what


class KeyNotFound(ModelStoreError):
    """There is no key that opens the artifact, or none to encrypt with."""

    exit_code = exit_codes.KEY_PROBLEM


class KeyUnwrap(ModelStoreError):
    """The key of that name does not open the artifact."""

    exit_code = exit_codes.KEY_PROBLEM


class KeyFileUnsafe(ModelStoreError):
    """Others can read the key file, or it does not hold a key."""

    exit_code = exit_codes.KEY_PROBLEM


class VersionConflict(ModelStoreError):
    """Somebody else changed it first, or it exists already."""

    exit_code = exit_codes.CONFLICT


class InUse(ModelStoreError):
    """The version is deployed, has an alias or is a rollback's target, so it cannot be deleted."""

    exit_code = exit_codes.CONFLICT


class IllegalTransition(ModelStoreError):
    """The status does not lead there."""

    exit_code = exit_codes.CONFLICT


class EvidenceMissing(ModelStoreError):
    """A decision about a version needs evidence, and there is none."""

    exit_code = exit_codes.REFUSED


class StorageFailed(ModelStoreError):
    """The registry, or a file beside it, cannot be read or written."""

    exit_code = exit_codes.STORAGE_FAILED


class StorageForbidden(StorageFailed):
    """The credentials may not write or read this object of the registry."""


class AccessDenied(ModelStoreError):
    """The actor's role does not allow it."""

    exit_code = exit_codes.REFUSED


class ReceiptRefused(ModelStoreError):
    """A receipt is not one, another deployment's, altered or invented, or too old.

    Args:
        code: which of them, such as `receipt_foreign`.
        message: one sentence for the person who reads it.
    """

    exit_code = exit_codes.NOT_INTACT

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
