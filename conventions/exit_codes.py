"""Exit codes of the command-line tools and the service: the only table of what each one means."""

DONE = 0
FAILED = 1
INVALID_INPUT = 2
NOT_FOUND = 3
NOT_INTACT = 4
UNTRUSTED_TYPE = 5
KEY_PROBLEM = 6
CONFLICT = 7
STORAGE_FAILED = 8
CONFIG_ERROR = 9
STACK_BUSY = 10
STACK_LOCKED = 11
DEPLOYMENT_FAILED = 12
ENDPOINT_SILENT = 13
ENGINE_MISSING = 14
ADDRESS_TAKEN = 15
FILE_MISSING = 16
UNKNOWN_ENVIRONMENT = 17
NO_PRIOR_VERSION = 18
REFUSED = 19
BREACHED = 20
ROLLOUT_CONFLICT = 21
CANDIDATE_WITHDRAWN = 22
ROLLOUT_UNDECIDED = 23
INCOMPLETE = 24
UNFIT = 25
DRIFTED = 26
LACKING = 27
INTERRUPTED = 130

OF_REGISTRY = (
    DONE,
    FAILED,
    INVALID_INPUT,
    NOT_FOUND,
    NOT_INTACT,
    UNTRUSTED_TYPE,
    KEY_PROBLEM,
    CONFLICT,
    STORAGE_FAILED,
    FILE_MISSING,
    REFUSED,
    INTERRUPTED,
)
"""Of every command that works on a registry."""

MEANINGS = {
    DONE: "done, or nothing had to be done",
    FAILED: "something unexpected; the message says what",
    INVALID_INPUT: "wrong usage, or a value that is not allowed",
    NOT_FOUND: "there is no such model version, alias or deployment",
    NOT_INTACT: "a file or the audit log is not intact (truncated, altered, not a model), or no trusted key signed it",
    UNTRUSTED_TYPE: "a model file holds something that is not trusted",
    KEY_PROBLEM: "a key is missing, wrong or open to others",
    CONFLICT: "the status does not allow it, the version is in use, or somebody else changed it first",
    STORAGE_FAILED: "the registry cannot be read or written",
    CONFIG_ERROR: "a template or the stack's config is not valid",
    STACK_BUSY: "another command is changing the environment",
    STACK_LOCKED: "a run that has died left the stack locked: `deploy_model.py unlock`",
    DEPLOYMENT_FAILED: "the deployment failed; the previous version still serves",
    ENDPOINT_SILENT: "the endpoint does not answer, or is not healthy",
    ENGINE_MISSING: "there is no Pulumi engine: `python -m toolchain`",
    ADDRESS_TAKEN: "another program listens on the endpoint's address",
    FILE_MISSING: "there is no such file",
    UNKNOWN_ENVIRONMENT: "there is no such environment",
    NO_PRIOR_VERSION: "there is no prior version to roll back to",
    REFUSED: "a gate or the actor's role does not allow it",
    BREACHED: "a measured value is beyond its threshold",
    ROLLOUT_CONFLICT: "a rollout is in progress already, or none is",
    CANDIDATE_WITHDRAWN: "the candidate was worse and was withdrawn; the stable version serves",
    ROLLOUT_UNDECIDED: "too few requests came to decide about the candidate; it stays as it is",
    INCOMPLETE: "done, but for damaged files or refused rows, which the command names",
    UNFIT: "the environment serves a version that lacks what the environment requires, and no break-glass lasts",
    DRIFTED: "what runs is not what the stack says, or the stack's config was changed and not deployed",
    LACKING: "`deploy_model.py doctor` has found something lacking; it names the command that mends it",
    INTERRUPTED: "interrupted by Ctrl-C",
}
"""What each code means, in a sentence for the person who reads it."""

NAMES = {code: name for name, code in list(globals().items()) if isinstance(code, int) and name.isupper()}
"""The name of each code, as it is written here."""
