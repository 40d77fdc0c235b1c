"""A report for an auditor: one page that stands alone, signed.

    <html>…</html>
    <!-- signature: <base64 of a DSSE envelope> -->

The signature is over an in-toto statement whose subject is the SHA-256 of every byte before the last line. The page
loads nothing and runs nothing.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.audit_view import row_of
from console.pages.environments import row
from console.templating import environment as templates
from model_store.errors import ModelStoreError, SignatureInvalid
from model_store.registry.signing import STATEMENT_TYPE, key_id, parse_envelope, sign_statement, verify_statement
from stacks.errors import StacksError
from stacks.history import Deployment
from stacks.recorded_actors import known_actors

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from model_store import ModelRegistry
    from stacks.deployment import ModelDeployment

_PREDICATE = "urn:fraud-detection:report:v1"
_BEGIN, _END = b"<!-- signature: ", b" -->\n"
_LONGEST_REASON = 400
_NOTHING: dict[str, Any] = {"silent": "nothing is deployed", "alerts": [], "drift": []}


@dataclass(frozen=True)
class Period:
    """From when until when a report tells."""

    since: datetime
    until: datetime

    @classmethod
    def of(cls, since: date, until: date | None) -> "Period":
        """A period from times or days in UTC; the last day counts as a whole; without an end it is until now."""
        begin = since if isinstance(since, datetime) else datetime.combine(since, time.min, UTC)
        if until is None:
            return cls(begin, datetime.now(UTC))
        end = until if isinstance(until, datetime) else datetime.combine(until, time.max, UTC)
        return cls(begin, min(end, datetime.now(UTC)))

    def has(self, deployment: Deployment) -> bool:
        """Whether a deployment served within the period."""
        return deployment.finished_at <= rfc3339(self.until) and (
            not deployment.until or deployment.until >= rfc3339(self.since)
        )


def rfc3339(moment: datetime) -> str:
    """A time in UTC to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def make_report(deployments: "ModelDeployment", environment: str, period: Period, api_key_file: Path) -> str:
    """The page, without a signature.

    Args:
        deployments: of the checkout.
        environment: which.
        period: of the report.
        api_key_file: file with an API key that has the scope `admin`, for what the endpoint measures now.

    Raises:
        StacksError: the history cannot be read.
        ModelStoreError: the registry cannot be read.
    """
    registry = deployments.registry
    history = known_actors(deployments.list_deployments(environment), lambda: registry, deployments.log)
    served = [each for each in history if period.has(each)]
    versions = list(dict.fromkeys(each.model_id for each in reversed(served)))
    return (
        templates()
        .get_template("report.html")
        .render(
            environment=environment,
            since=rfc3339(period.since),
            until=rfc3339(period.until),
            made_at=rfc3339(datetime.now(UTC)),
            made_by=registry.actor,
            served=[row(each) for each in served],
            versions=[_version(registry, each) for each in versions],
            checks=_checks(registry, environment, period),
            measured=_measured(deployments, environment, api_key_file) if history and history[0].current else _NOTHING,
            decision_log=_decision_log(deployments, environment) if history and history[0].current else "",
            chain=_chain(registry),
            style=STYLE,
            policy=f"default-src 'none'; style-src 'sha256-{_digest(STYLE)}'; base-uri 'none'; form-action 'none'",
        )
    )


def _version(registry: "ModelRegistry", model_id: str) -> dict[str, Any]:
    from model_store.registry.approvals import approval_problem, read_validation
    from model_store.registry.signatures import signers_of

    try:
        metadata, state = registry.get_metadata(model_id), registry.state(model_id)
        return {
            "model_id": model_id,
            "metadata": metadata,
            "validated": read_validation(state),
            "approvals": state.get("approvals", []),
            "not_approved": approval_problem(registry, model_id),
            "evidence": state.get("evidence", []),
            "signers": signers_of(registry.storage, model_id),
            "missing": "",
        }
    except ModelStoreError as error:
        return {"model_id": model_id, "missing": str(error)}


def _checks(registry: "ModelRegistry", environment: str, period: Period) -> list[dict[str, Any]]:
    """The audit records about an environment in the period, oldest first."""
    from model_store.registry.log.log_window import LogWindows

    between = LogWindows(registry.audit).between(rfc3339(period.since), rfc3339(period.until))
    found = [row_of(record) for record in between if record.details.get("environment") == environment]
    return [{**each, "reason": each["reason"][:_LONGEST_REASON]} for each in found]


def _measured(deployments: "ModelDeployment", environment: str, api_key_file: Path) -> dict[str, Any]:
    try:
        numbers, alerts = deployments.measure(environment, api_key_file)
    except StacksError as error:
        return {"silent": str(error), "alerts": [], "drift": []}
    drift = sorted(numbers["drift_by_feature"].items(), key=lambda item: -item[1])
    return {"silent": "", "alerts": [alert.to_dict() for alert in alerts], "drift": drift, "numbers": numbers}


def _decision_log(deployments: "ModelDeployment", environment: str) -> str:
    return deployments.stack_file(environment).deployment().service.decision_log or ""


def _chain(registry: "ModelRegistry") -> dict[str, Any]:
    from model_store.registry.upkeep.log_proof import prove_audit_log

    try:
        return prove_audit_log(registry).to_dict() | {"head": str(registry.audit.head())}
    except ModelStoreError as error:
        return {"intact": False, "detail": str(error), "head": ""}


def sign_report(page: str, key: "Ed25519PrivateKey") -> bytes:
    """The page with its signature as the last line."""
    content = page.rstrip("\n").encode() + b"\n"
    subject = [{"name": "report", "digest": {"sha256": hashlib.sha256(content).hexdigest()}}]
    statement = {"_type": STATEMENT_TYPE, "subject": subject, "predicateType": _PREDICATE, "predicate": {}}
    envelope = json.dumps(sign_statement(statement, key)).encode()
    return content + _BEGIN + base64.b64encode(envelope) + _END


def verify_report(content: bytes, public_keys: Sequence["Ed25519PublicKey"]) -> str:
    """The name of the key that signed a report.

    Raises:
        SignatureInvalid: it has no signature, was changed since, or none of the keys signed it.
    """
    page, begin, rest = content.rpartition(_BEGIN)
    if not begin or not rest.endswith(_END):
        raise SignatureInvalid("the report has no signature at its end")
    try:
        envelope = parse_envelope(base64.b64decode(rest.removesuffix(_END), validate=True))
    except ValueError:
        raise SignatureInvalid("the report's signature cannot be read") from None
    name, statement = verify_statement(envelope, public_keys)
    digests = [each.get("digest", {}).get("sha256") for each in statement.get("subject", []) if isinstance(each, dict)]
    if statement.get("predicateType") != _PREDICATE or digests != [hashlib.sha256(page).hexdigest()]:
        raise SignatureInvalid("the report was changed after it was signed")
    return name


def signer(key: "Ed25519PrivateKey") -> str:
    """The name of a key as signatures have it."""
    return key_id(key.public_key())


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;"
    "background:#fff}"
    "table{border-collapse:collapse;width:100%;font-size:13px}th,td{text-align:left;vertical-align:top;"
    "padding:.3rem .5rem;border-bottom:1px solid #d0d7de}code{font:12px ui-monospace,monospace;overflow-wrap:anywhere}"
    "h2{margin-top:2rem}.bad{color:#a40e26;font-weight:600}.good{color:#116329;font-weight:600}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dd{margin:0;overflow-wrap:anywhere}"
    "svg.chart{width:100%;height:auto}svg .period{fill:#0550ae}svg .rollback{fill:#a40e26}svg .canary{fill:#7a4b00}"
    "svg .lane{stroke:#d0d7de}svg .label{font:10px ui-monospace,monospace}svg .forward{stroke:#57606a}"
    "svg .back{stroke:#a40e26;stroke-width:2;stroke-dasharray:4 3}@media print{section{break-inside:avoid}}"
)
"""Of the page; its digest stands in the page's own policy."""
