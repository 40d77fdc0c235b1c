"""Exit codes of the command-line tools and the service; each means one thing."""

FAILED = 1
"""Anything without a code of its own."""
INVALID_INPUT = 2
"""An argument or a value is not allowed."""
NOT_FOUND = 3
"""No such model version or deployment."""
NOT_INTACT = 4
"""A file is damaged, altered, not a model, or signed by nobody trusted."""
UNTRUSTED_TYPE = 5
"""A model file names what is not trusted."""
KEY_PROBLEM = 6
"""A key is missing, wrong or open to others."""
CONFLICT = 7
"""Somebody else changed it, it is in use, or its status does not allow it."""
STORAGE_FAILED = 8
"""The storage cannot be read or written."""
CONFIG_ERROR = 9
"""A stack's config or a template does not fit."""
STACK_BUSY = 10
"""Another command is changing the stack."""
STACK_LOCKED = 11
"""A run that has died holds the stack."""
DEPLOYMENT_FAILED = 12
"""The endpoint did not get healthy; what served before serves."""
ENDPOINT_SILENT = 13
"""The endpoint does not answer, or is not healthy."""
ENGINE_MISSING = 14
"""The engine is not there."""
ADDRESS_TAKEN = 15
"""Another program listens on the endpoint's address."""
FILE_MISSING = 16
"""No such file."""
UNKNOWN_ENVIRONMENT = 17
"""No such environment."""
NO_PRIOR_VERSION = 18
"""Nothing to go back to."""
REFUSED = 19
"""A gate or the actor's role does not allow it."""
BREACHED = 20
"""What the endpoint measures is beyond a threshold."""
ROLLOUT_CONFLICT = 21
"""A rollout is, or is not, in progress."""
CANDIDATE_WITHDRAWN = 22
"""A rollout ended with the version before it."""
ROLLOUT_UNDECIDED = 23
"""Too few requests came to decide a rollout."""
INTERRUPTED = 130
"""Stopped by Ctrl-C."""
