"""The files of the model version to serve, as files of this machine for as long as they are read."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from model_store.errors import FileMissing, StorageFailed

_MANIFEST, _ARTIFACT, _RUNTIME = "manifest.json", "artifact", "runtime"
_MISSING = ("404", "NoSuchKey", "NoSuchBucket")


@contextmanager
def model_files(uri: str, *, runtime: bool) -> Iterator[Path]:
    """The directory with `manifest.json` and `artifact`, or with the second form, `runtime`, in the artifact's place.

    Args:
        uri: a path, a `file://` URL, or `s3://bucket/prefix`, which is fetched into a directory that goes away again.
        runtime: whether the second form is what will be read.

    Raises:
        FileMissing: the bucket does not have them.
        StorageFailed: the bucket cannot be read; says what S3 said.
    """
    parts = urlsplit(uri) if "://" in uri else None
    if parts is None:
        yield Path(uri)
    elif parts.scheme == "file":
        yield Path(unquote(parts.path))
    else:
        with tempfile.TemporaryDirectory(prefix="model-") as directory:
            files = (_MANIFEST, _RUNTIME if runtime else _ARTIFACT)
            _fetch(parts.netloc, parts.path.strip("/"), files, Path(directory))
            yield Path(directory)


def _fetch(bucket: str, prefix: str, files: tuple[str, ...], directory: Path) -> None:
    import boto3
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.client("s3")
        for name in files:
            client.download_file(bucket, f"{prefix}/{name}", str(directory / name))
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "refused"))
        if code in _MISSING:
            raise FileMissing(f"s3://{bucket}/{prefix}: there is no such model version") from None
        raise StorageFailed(f"s3://{bucket}/{prefix}: cannot be read ({code})") from None
    except (BotoCoreError, Boto3Error) as error:
        raise StorageFailed(f"s3://{bucket}/{prefix}: cannot be read ({error})") from None
