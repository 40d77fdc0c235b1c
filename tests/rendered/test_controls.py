"""The controls that staging and production satisfy, one test each; the ids are in the docstrings.

AWS ids are those of AWS Foundational Security Best Practices and of checkov, Kubernetes ids those of checkov and
kube-score.
"""

import json
from typing import Any

from tests.rendered.conftest import Rendered, rendered_stack
from tests.rendered.render import ACCOUNT, API_KEYS, MODEL_ID, MODEL_KEY

_BLOCKED = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


def _policy(resource: dict[str, Any], field: str = "policy") -> list[dict[str, Any]]:
    return list(json.loads(resource[field])["Statement"])


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _registries(rendered: Rendered) -> list[str]:
    """The buckets that hold models: the registry's, and its backup's where there is one."""
    names = [item["bucket"] for item in rendered.all("bucket:Bucket") if not item["bucket"].endswith("-logs")]
    assert len(names) == (2 if rendered.stack == "production" else 1)
    return sorted(names)


def _of_registries(rendered: Rendered, kind: str) -> list[dict[str, Any]]:
    """One for each of them."""
    found = {item["bucket"]: item for item in rendered.all(kind)}
    return [found[name] for name in _registries(rendered)]


def test_bucket_public_access_is_blocked(rendered: Rendered) -> None:
    """S3.8, CKV2_AWS_6, CKV_AWS_53, CKV_AWS_54, CKV_AWS_55, CKV_AWS_56."""
    blocks = rendered.all(":BucketPublicAccessBlock")
    assert {item["bucket"] for item in blocks} == {item["bucket"] for item in rendered.all("bucket:Bucket")}
    assert all(item[name] is True for item in blocks for name in _BLOCKED)


def test_bucket_takes_tls_only(rendered: Rendered) -> None:
    """S3.5; checkov's rule does not look into policies."""
    for policy in rendered.all(":BucketPolicy"):
        (deny,) = [
            statement
            for statement in _policy(policy)
            if statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
        ]
        own = f"arn:aws:s3:::{policy['bucket']}"
        assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", "s3:*")
        assert deny["Resource"] == [own, f"{own}/*"]


def test_bucket_logs_every_access(rendered: Rendered) -> None:
    """S3.9, CKV_AWS_18."""
    for logging, name in zip(_of_registries(rendered, ":BucketLogging"), _registries(rendered), strict=True):
        assert logging["targetBucket"] == f"{name}-logs"


def test_bucket_has_no_acls(rendered: Rendered) -> None:
    """S3.12, CKV2_AWS_65."""
    owners = rendered.all(":BucketOwnershipControls")
    assert {item["bucket"] for item in owners} == {item["bucket"] for item in rendered.all("bucket:Bucket")}
    assert all(item["rule"] == {"objectOwnership": "BucketOwnerEnforced"} for item in owners)


def test_no_lifecycle_rule_expires_what_a_stack_may_roll_back_to(rendered: Rendered) -> None:
    """S3.13, CKV2_AWS_61."""
    locks = _of_registries(rendered, ":BucketObjectLockConfiguration")
    for lifecycle, lock in zip(_of_registries(rendered, ":BucketLifecycleConfiguration"), locks, strict=True):
        window = lock["rule"]["defaultRetention"]["days"]
        assert lifecycle["rules"]
        for rule in lifecycle["rules"]:
            assert "expiration" not in rule, "what is current never expires"
            assert "transitions" not in rule
            if "noncurrentVersionExpiration" in rule:
                assert rule["noncurrentVersionExpiration"]["noncurrentDays"] > window


def test_bucket_aborts_unfinished_uploads(rendered: Rendered) -> None:
    """CKV_AWS_300."""
    for lifecycle in rendered.all(":BucketLifecycleConfiguration"):
        days = [
            rule["abortIncompleteMultipartUpload"]["daysAfterInitiation"]
            for rule in lifecycle["rules"]
            if "abortIncompleteMultipartUpload" in rule and rule["status"] == "Enabled"
        ]
        assert days
        assert max(days) <= 7


def test_bucket_is_versioned(rendered: Rendered) -> None:
    """S3.14, CKV_AWS_21."""
    versionings = rendered.all(":BucketVersioning")
    assert {item["bucket"] for item in versionings} == {item["bucket"] for item in rendered.all("bucket:Bucket")}
    assert all(item["versioningConfiguration"]["status"] == "Enabled" for item in versionings)


def test_bucket_is_encrypted_with_a_key_of_its_own(rendered: Rendered) -> None:
    """S3.17, CKV_AWS_145."""
    keys = []
    for encryption in _of_registries(rendered, ":BucketServerSideEncryptionConfiguration"):
        default = encryption["rules"][0]["applyServerSideEncryptionByDefault"]
        assert default["sseAlgorithm"] == "aws:kms"
        keys.append(default["kmsMasterKeyId"])
    assert keys[0].endswith("registry-key")
    assert len(set(keys)) == len(keys)
    key_id = "s3:x-amz-server-side-encryption-aws-kms-key-id"
    for policy in _of_registries(rendered, ":BucketPolicy"):
        refused = {statement["Sid"]: statement for statement in _policy(policy)}
        assert refused["OnlyKmsEncryption"]["Effect"] == refused["OnlyTheRegistrysKey"]["Effect"] == "Deny"
        # A put that names no key meets this condition too: a negated operator is met by a missing key.
        assert list(refused["OnlyTheRegistrysKey"]["Condition"]) == ["StringNotEquals"]
        assert refused["OnlyTheRegistrysKey"]["Condition"]["StringNotEquals"][key_id] in keys
        assert refused["CreatedOnce"]["Condition"] == {"Null": {"s3:if-none-match": "true"}}


def test_audit_log_is_locked(rendered: Rendered) -> None:
    """S3.15, CKV_AWS_143."""
    assert all(bucket["objectLockEnabled"] is True for bucket in _of_registries(rendered, "bucket:Bucket"))
    for lock in _of_registries(rendered, ":BucketObjectLockConfiguration"):
        retention = lock["rule"]["defaultRetention"]
        assert retention["mode"] in ("GOVERNANCE", "COMPLIANCE")
        assert retention["days"] >= 30


def test_bucket_lets_nobody_in_by_a_wildcard_principal(rendered: Rendered) -> None:
    """CKV_AWS_70."""
    for policy in rendered.all(":BucketPolicy"):
        allowed = [statement for statement in _policy(policy) if statement["Effect"] == "Allow"]
        assert not [statement for statement in allowed if "*" in json.dumps(statement["Principal"])]


def test_bucket_is_not_replicated_and_a_waiver_says_why(rendered: Rendered) -> None:
    """S3.7, CKV_AWS_144."""
    from tests.scanners.waivers import WAIVERS

    replicated = [item for item in rendered.resources if "eplicationConfig" in item["type"]]
    reasons = [waiver.reason for waiver in WAIVERS if waiver.check == "CKV_AWS_144"]
    assert replicated or all(len(reason) > 40 for reason in reasons)
    assert replicated or reasons


def test_keys_rotate_are_guarded_and_closed(rendered: Rendered) -> None:
    """KMS.3, KMS.4, KMS.5, CKV_AWS_7, CKV_AWS_33, CKV2_AWS_64."""
    for key in rendered.all(":Key"):
        assert key["enableKeyRotation"] is True
        assert key["deletionWindowInDays"] == 30
        for statement in _policy(key):
            assert statement["Principal"] != "*"
            assert "AWS" not in statement["Principal"] or statement["Principal"]["AWS"] != "*"
            assert statement["Condition"], "nobody without a condition"


def test_topic_is_encrypted_and_closed(rendered: Rendered) -> None:
    """SNS.1, SNS.4, CKV_AWS_26, CKV_AWS_169."""
    assert rendered.one(":Topic")["kmsMasterKeyId"].endswith("alarms-key")
    allowed = [item for item in _policy(rendered.one(":TopicPolicy")) if item["Effect"] == "Allow"]
    assert allowed
    assert all(item["Principal"] == {"Service": "cloudwatch.amazonaws.com"} for item in allowed)
    assert all(item["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}} for item in allowed)


def test_every_alarm_acts(rendered: Rendered) -> None:
    """CKV_AWS_319."""
    for alarm in [*rendered.all(":MetricAlarm"), *rendered.all(":CompositeAlarm")]:
        assert alarm["alarmActions"] == alarm["okActions"] == [f"arn:aws:sns:eu-central-1:{ACCOUNT}:{_topic(rendered)}"]
        assert alarm.get("actionsEnabled", True) is True
    assert rendered.all(":TopicSubscription"), "and somebody is told"


def _topic(rendered: Rendered) -> str:
    return str(rendered.one(":Topic")["name"])


def test_logs_are_kept_and_encrypted(rendered: Rendered) -> None:
    """CKV_AWS_338, CKV_AWS_158."""
    group = rendered.one(":LogGroup")
    assert group["kmsKeyId"].endswith("alarms-key")
    assert group["retentionInDays"] >= 365


def test_image_repository_scans_keeps_tags_and_spares_what_was_deployed(rendered: Rendered) -> None:
    """ECR.1, ECR.2, ECR.3, CKV_AWS_163, CKV_AWS_51, CKV_AWS_136."""
    repository = rendered.one(":Repository")
    assert repository["imageScanningConfiguration"]["scanOnPush"] is True
    assert repository["imageTagMutability"] == "IMMUTABLE"
    (encryption,) = repository["encryptionConfigurations"]
    assert encryption["encryptionType"] == "KMS"
    assert encryption["kmsKey"].endswith("image-key")
    rules = json.loads(rendered.one(":LifecyclePolicy")["policy"])["rules"]
    assert [rule["selection"]["tagStatus"] for rule in rules] == ["untagged"], "a deployed image has a tag"


def test_iam_has_no_wildcards_and_decrypts_with_one_key(rendered: Rendered) -> None:
    """IAM.1, IAM.21, KMS.1, KMS.2, CKV_AWS_62, CKV_AWS_63, CKV_AWS_355."""
    for policy in rendered.all(":RolePolicy"):
        for statement in _policy(policy):
            actions, resources = _as_list(statement["Action"]), _as_list(statement["Resource"])
            assert not [action for action in actions if action.endswith("*")]
            # Publishing measurements has no resource in IAM: there the namespace is the bound.
            if actions == ["cloudwatch:PutMetricData"]:
                assert statement["Condition"] == {"StringEquals": {"cloudwatch:namespace": "FraudDetection"}}
            else:
                assert "*" not in resources
            if any(action.startswith("kms:") for action in actions):
                assert len(resources) == 1
                own = ("registry-key", "backup-key") if policy["name"] == "backup" else "registry-key"
                assert resources[0].endswith(own)


def test_iam_trust_is_bound_to_subject_and_audience(rendered: Rendered) -> None:
    """CKV_AWS_60, CKV_AWS_61."""
    for role in rendered.all("iam/role:Role"):
        (statement,) = _policy(role, "assumeRolePolicy")
        conditions = statement["Condition"]["StringEquals"]
        if statement["Action"] == "sts:AssumeRoleWithWebIdentity":
            assert sorted(name.rsplit(":", 1)[-1] for name in conditions) == ["aud", "sub"]
            assert not [value for value in conditions.values() if "*" in value]
        else:
            assert statement["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
            assert list(conditions) == ["aws:PrincipalTag/fraud-detection-registry"]


def test_pod_runs_as_an_unprivileged_user_without_capabilities(rendered: Rendered) -> None:
    """CKV_K8S_20, CKV_K8S_22, CKV_K8S_23, CKV_K8S_28, CKV_K8S_31, CKV_K8S_37, CKV_K8S_40."""
    pod, container = rendered.pod["securityContext"], rendered.container["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] >= 10_000
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["readOnlyRootFilesystem"] is True
    assert container["capabilities"] == {"drop": ["ALL"]}


def test_pod_shares_nothing_with_its_host(rendered: Rendered) -> None:
    """CKV_K8S_16, CKV_K8S_17, CKV_K8S_18, CKV_K8S_19, CKV_K8S_26."""
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(rendered.pod)
    assert rendered.container["securityContext"]["privileged"] is False
    assert not [port for port in rendered.container["ports"] if "hostPort" in port]
    assert not [volume for volume in rendered.pod["volumes"] if "hostPath" in volume]


def test_pod_asks_for_what_it_may_use(rendered: Rendered) -> None:
    """CKV_K8S_10, CKV_K8S_11, CKV_K8S_12, CKV_K8S_13, kube-score container-resources."""
    resources = rendered.container["resources"]
    assert set(resources["requests"]) >= {"cpu", "memory", "ephemeral-storage"}
    assert resources["requests"] == resources["limits"]


def test_pod_has_three_probes_that_differ(rendered: Rendered) -> None:
    """CKV_K8S_8, CKV_K8S_9, kube-score pod-probes-identical."""
    probes = [rendered.container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    assert len({json.dumps(probe, sort_keys=True) for probe in probes}) == 3
    assert [probe["httpGet"]["path"] for probe in probes] == ["/health/ready", "/health/ready", "/health/live"]


def test_image_is_named_by_digest(rendered: Rendered) -> None:
    """CKV_K8S_14, CKV_K8S_43."""
    assert "@sha256:" in rendered.container["image"]


def test_secrets_are_files_and_no_token_is_mounted(rendered: Rendered) -> None:
    """CKV_K8S_35, CKV_K8S_38."""
    assert rendered.pod["automountServiceAccountToken"] is False
    assert all(item["automountServiceAccountToken"] is False for item in rendered.all(":ServiceAccount"))
    assert not [item for item in rendered.container["env"] if "valueFrom" in item]
    assert "envFrom" not in rendered.container
    text = json.dumps(rendered.container)
    assert MODEL_KEY not in text
    assert API_KEYS not in text
    mounts = [mount for mount in rendered.container["volumeMounts"] if mount["name"] in ("model-key", "api-keys")]
    assert [mount["readOnly"] for mount in mounts] == [True, True]


def test_network_is_closed_but_for_what_the_pod_needs(rendered: Rendered) -> None:
    """CKV2_K8S_6."""
    policies = {policy["metadata"]["name"].rsplit("-", 1)[-1]: policy for policy in rendered.all(":NetworkPolicy")}
    deny = policies.pop("deny")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    backup = policies.pop("backup", None)
    assert (backup is not None) == (rendered.stack == "production")
    (allow,) = policies.values()
    (way_in,) = allow["spec"]["ingress"]
    assert [port["port"] for port in way_in["ports"]] == [8000]
    assert way_in["from"], "from the gateway's namespace only"
    assert backup is None or "ingress" not in backup["spec"], "nobody connects to a job"
    for policy in filter(None, (allow, backup)):
        names, web = policy["spec"]["egress"]
        assert {port["port"] for port in names["ports"]} == {53}
        assert {port["port"] for port in web["ports"]} == {443}
        blocks = {each["ipBlock"]["cidr"]: each["ipBlock"]["except"] for each in web["to"]}
        assert blocks == {"0.0.0.0/0": ["169.254.0.0/16"], "::/0": ["fe80::/10", "fd00:ec2::/32"]}


def test_the_autoscaler_sets_replicas_and_they_spread_over_zones(rendered: Rendered) -> None:
    """kube-score deployment-has-poddisruptionbudget, horizontalpodautoscaler-has-target and others."""
    deployment, scaler = rendered.one("apps/v1:Deployment"), rendered.one(":HorizontalPodAutoscaler")
    assert "replicas" not in deployment["spec"]
    assert scaler["spec"]["minReplicas"] >= 2
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300
    assert rendered.one(":PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    keys = [item["topologyKey"] for item in rendered.pod["topologySpreadConstraints"]]
    assert "topology.kubernetes.io/zone" in keys


def test_namespace_is_its_own_and_restricted(rendered: Rendered) -> None:
    """CKV_K8S_21."""
    namespace = rendered.one(":Namespace")["metadata"]
    assert namespace["name"] != "default"
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    placed = [item["inputs"]["metadata"] for item in rendered.resources if item["type"].startswith("kubernetes:")]
    assert {item.get("namespace", namespace["name"]) for item in placed} == {namespace["name"]}


def test_the_pods_role_is_for_the_model_version_that_it_serves(rendered: Rendered) -> None:
    """KMS.2; the other direction of least privilege: what is deployed, and what pauses it, is what may be read."""
    (policy,) = [item for item in rendered.all(":RolePolicy") if item["name"] == "serving"]
    read = next(item for item in _policy(policy) if "s3:GetObject" in _as_list(item["Action"]))
    others = [each for each in _as_list(read["Resource"]) if MODEL_ID not in each]
    name = str(rendered.one("apps/v1:Deployment")["metadata"]["labels"]["app.kubernetes.io/name"])
    assert [each.partition("/")[2] for each in others] == [f"overrides/{name}.json"]


def test_alarms_watch_what_the_service_publishes(rendered: Rendered) -> None:
    """Every alarm's metric and dimensions are of `conventions.metric_names`, which the service publishes from."""
    from conventions import metric_names

    deployment = str(rendered.one("apps/v1:Deployment")["metadata"]["name"])
    wanted = dict(metric_names.dimensions(rendered.stack, deployment))
    for alarm in rendered.all(":MetricAlarm"):
        queried = [query["metric"] for query in alarm.get("metricQueries", ()) if "metric" in query]
        for metric in queried or [alarm]:
            assert metric["metricName"] in {*metric_names.PUBLISHED, metric_names.BACKUPS}
            of_slot = {"Slot": "blue"} if metric["metricName"] == metric_names.HEARTBEAT else {}
            assert metric["dimensions"] == {**wanted, **of_slot}
            assert metric["namespace"] == "FraudDetection"


def test_the_backups_job_is_as_closed_as_the_service_and_can_only_add() -> None:
    """CKV_K8S_20, CKV_K8S_22, CKV_K8S_23, CKV_K8S_28, CKV_K8S_31, CKV_K8S_38, CKV_K8S_40 for the job; KMS.2, IAM.21."""
    production = rendered_stack("production")
    pod = production.one("batch/v1:CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"] == production.pod["securityContext"]
    assert container["securityContext"] == production.container["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert container["image"] == production.container["image"]
    (policy,) = [item for item in production.all(":RolePolicy") if item["name"] == "backup"]
    actions = {action for statement in _policy(policy) for action in _as_list(statement["Action"])}
    assert not [action for action in actions if "Delete" in action or "Version" in action or "Bypass" in action]
    (add,) = [item for item in _policy(policy) if "s3:PutObject" in _as_list(item["Action"])]
    assert [resource.split(":::")[-1] for resource in add["Resource"]] == [
        "fraud-detection-registry-production/audit/*",
        "fraud-detection-registry-production-backup/*",
    ]
