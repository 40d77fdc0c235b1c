"""The actor: who the system says acts, and what the caller claims beside it.

The system's word is the account of the process's user id, in CI the subject of a verified id token, and for a registry
in S3 the caller ARN of STS. `MODEL_ACTOR` is a claim: records hold it beside the actor, and roles never follow it.
"""

import logging
import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from model_store.registry.id_tokens import subject_of_ci

CLAIM_VARIABLE = "MODEL_ACTOR"
_CI_CLAIMS = (("GITHUB_ACTIONS", "GITHUB_ACTOR"), ("GITLAB_CI", "GITLAB_USER_LOGIN"))
_LONGEST_CLAIM = 256
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """Who acts."""

    actor: str
    """What the system says: an account, `oidc:<issuer>:<subject>`, an ARN, or `access-key:<id>`."""
    claimed: str = ""
    """What the caller says; empty when it says nothing."""
    note: str = ""
    """Why the actor is of a weaker kind than expected; empty when it is not."""
    through: str = ""
    """The process that acts for the actor, such as a web console; empty when the actor runs the process."""

    def beside(self) -> dict[str, str]:
        """The fields of a record that stand beside the actor."""
        found = {"claimed": self.claimed, "identity": self.note, "through": self.through}
        return {name: value for name, value in found.items() if value}


def account_name() -> str:
    """The account of this process's effective user id; `uid-<number>` where the machine has no account for it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"


def find_identity(location: str, given: str | None = None) -> Identity:
    """Who acts on a registry; asks STS or the CI's issuer once a process.

    Args:
        location: of the registry.
        given: an actor that a Python program names; the system is not asked then.
    """
    claimed = _claimed(os.environ)
    if given is not None:
        return Identity(given, claimed)
    if location.startswith("s3://"):
        actor, note = _caller(*(os.environ.get(name, "") for name in _AWS_VARIABLES))
    else:
        subject, note = subject_of_ci()
        actor = subject or account_name()
    if note:
        _warn(f"{note}; the actor is {actor}")
    return Identity(actor, claimed, note)


def _claimed(environment: Mapping[str, str]) -> str:
    claim = environment.get(CLAIM_VARIABLE, "")
    for marker, name in _CI_CLAIMS:
        if not claim and environment.get(marker):
            claim = environment.get(name, "")
    return "".join(letter if letter.isprintable() else "?" for letter in claim.strip()[:_LONGEST_CLAIM])


@lru_cache(maxsize=16)
def _warn(message: str) -> None:
    """Logs a warning once a process; without a configured log it goes to standard error."""
    _LOG.warning("%s", message)


_AWS_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
)


@lru_cache(maxsize=16)
def _caller(*variables: str) -> tuple[str, str]:
    """The caller ARN of the credentials; else the id of their access key, and why STS was not asked."""
    endpoint, storage, token_service = variables[:3]
    storage, token_service = storage or endpoint, token_service or endpoint
    if storage and not token_service and not _is_aws(storage):
        return _access_key(), "AWS_ENDPOINT_URL_S3 names another server than AWS, and AWS_ENDPOINT_URL_STS names none"
    if (
        token_service
        and not is_token_service(token_service)
        and urlsplit(token_service).netloc != urlsplit(storage).netloc
    ):
        return _access_key(), "the token service is another server than the storage: its answer proves nothing"
    from model_store.storage.s3_clients import account_client

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    try:
        # Without a variable AWS is asked, whatever a profile's `endpoint_url` names.
        only_aws = not token_service or is_token_service(token_service)
        client = account_client("sts", region, only_aws=only_aws, endpoint=token_service)
        return str(client.get_caller_identity()["Arn"]), ""
    except Exception as error:  # a server that is not AWS answers this question in ways of its own
        reason = " ".join(str(error).split())[:200]
        return _access_key(), f"STS cannot be asked ({type(error).__name__}: {reason})"


def _is_aws(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


_STS = re.compile(
    r"(vpce-[a-z0-9-]+\.sts\.[a-z]+(-[a-z]+)+-[0-9]+\.vpce|sts(-fips)?(\.[a-z]+(-[a-z]+)+-[0-9]+)?)\.amazonaws\.com(\.cn)?"
)


def is_token_service(endpoint: str) -> bool:
    """Whether an address is one of AWS's own token service: other hosts below amazonaws.com belong to customers."""
    parts = urlsplit(endpoint)
    return parts.scheme == "https" and _STS.fullmatch(parts.hostname or "") is not None


def _access_key() -> str:
    """The id of the access key that signs the requests: the storage's server checks it."""
    import boto3

    credentials = boto3.Session().get_credentials()
    return f"access-key:{credentials.access_key}" if credentials is not None else "anonymous"
