"""Finds what a container was not told in the one directory that is mounted into it: a checkout's registry and secrets.

    docker run -v "$PWD:/var/lib/fraud-detection:ro" -e ENVIRONMENT=… -e MODEL_ID=… fraud-detection:latest

Only the image names such a directory, in FRAUD_DETECTION_HOME; elsewhere nothing is looked for.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from conventions import variables
from conventions.artifact_files import MANIFEST_FILE
from conventions.environments import STACKS
from model_store.errors import ModelNotFound, ModelStoreError
from model_store.keys.permissions import open_to_others
from model_store.registry.files.layout import version_prefix
from model_store.registry.files.manifest import ModelMetadata, ModelStatus
from serving.errors import SettingsError


def complete_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment with what the mounted directory tells: where the model is, its digests, the keys.

    A variable that is set stays as it is. Once `MODEL_SHA256` is set, no digest is taken from the registry.

    Args:
        environment: of the process.

    Raises:
        SettingsError: something is missing or cannot be read; names all of it at once, and the command that gives it.
    """
    found = dict(environment)
    if not environment.get(variables.HOME_DIRECTORY):
        return found
    search = _Search(Path(environment[variables.HOME_DIRECTORY]), found)
    search.find_model()
    search.find_model_key()
    search.find_api_keys()
    if search.missing:
        count, all_of_it = len(search.missing), "; ".join(search.missing)
        raise SettingsError(f"the service lacks {count} thing(s): {all_of_it}{search.how}")
    return found


class _Search:
    """Looks for what an environment lacks, and collects what is missing."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self._home, self._environment = home, environment
        self._encrypted = True
        self.missing: list[str] = []
        self._owner: tuple[int, int] | None = None

    @property
    def how(self) -> str:
        """The command that gives what is missing."""
        if self._owner is not None:
            return (
                f". Run it as the owner of the files: docker run --user {self._owner[0]}:{self._owner[1]} …, "
                f"with compose CONTAINER_USER={self._owner[0]}:{self._owner[1]}"
            )
        return (
            f'. From the checkout: docker run --user "$(id -u):$(id -g)" -v "$PWD:{self._home}:ro" -e ENVIRONMENT=… '
            "-e MODEL_ID=… IMAGE"
        )

    def find_model(self) -> None:
        """Finds directory and digests of the model version."""
        told = self._environment
        model_id = told.get(variables.MODEL_ID)
        if not model_id:
            self.missing.append(f"{variables.MODEL_ID} (the model version to serve)")
            return
        if told.get(variables.MODEL_URI) and told.get(variables.MODEL_SHA256):
            return
        if told.get(variables.MODEL_URI, "").startswith("s3://"):
            self.missing.append(f"{variables.MODEL_SHA256} (the digest of {model_id}, for a model in a bucket)")
            return
        try:
            directory = Path(told.get(variables.MODEL_URI) or self._home / "registry" / version_prefix(model_id))
        except ModelNotFound as error:
            self.missing.append(f"{variables.MODEL_ID} ({error})")
            return
        manifest = self._manifest(directory, model_id)
        if manifest is None:
            return
        told[variables.MODEL_URI] = str(directory)
        self._encrypted = manifest.encrypted
        if not told.get(variables.MODEL_SHA256):
            told[variables.MODEL_SHA256] = manifest.digest
            told[variables.MODEL_RUNTIME_SHA256] = manifest.runtime_digest

    def find_model_key(self) -> None:
        """Finds the key of an encrypted artifact."""
        if self._environment.get(variables.MODEL_KEY_FILE) or self._environment.get(variables.MODEL_KMS_KEY):
            return
        path = self._home / ".secrets" / "model.key"
        if not self._encrypted:
            # The receipts of answers are signed with it.
            if os.access(path, os.R_OK) and not open_to_others(path):
                self._environment[variables.MODEL_KEY_FILE] = str(path)
            return
        if self._is_readable(path, f"{variables.MODEL_KEY_FILE} (the key of the registry's artifacts"):
            self._environment[variables.MODEL_KEY_FILE] = str(path)

    def find_api_keys(self) -> None:
        """Finds the file of the API keys' hashes."""
        if self._environment.get(variables.API_KEYS_FILE):
            return
        environment = self._environment.get(variables.ENVIRONMENT) or "development"
        stack = next((each for each, of in STACKS.items() if of == environment), environment)
        path = self._home / ".secrets" / ("" if environment == "development" else stack) / "api_keys.json"
        made = "make up" if environment == "development" else f"deploy_model.py api-key {environment} NAME makes it"
        if self._is_readable(path, f"{variables.API_KEYS_FILE} (the hashes of API keys; {made}"):
            self._environment[variables.API_KEYS_FILE] = str(path)

    def _manifest(self, directory: Path, model_id: str) -> ModelMetadata | None:
        path = directory / MANIFEST_FILE
        if not self._is_readable(path, f"the registry's version {model_id} (its manifest"):
            return None
        try:
            return ModelMetadata.from_manifest(json.loads(path.read_text(encoding="utf-8")), ModelStatus.TRAINED)
        except (ModelStoreError, ValueError, TypeError) as error:
            self.missing.append(f"an intact manifest ({path}: {error})")
        return None

    def _is_readable(self, path: Path, what: str) -> bool:
        try:
            path.open("rb").close()
        except PermissionError:
            self._note_owner(path)
            self.missing.append(f"{what}; {path} may not be read by user {os.geteuid()})")
        except OSError:
            self.missing.append(f"{what}; {path} is missing)")
        else:
            return True
        return False

    def _note_owner(self, path: Path) -> None:
        """Remembers who owns a path, or the nearest directory above it that this user may look into."""
        for each in (path, *path.parents):
            try:
                found = each.stat()
            except OSError:
                continue
            self._owner = (found.st_uid, found.st_gid)
            return
