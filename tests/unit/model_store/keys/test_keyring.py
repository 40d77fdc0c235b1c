"""Keys: which one encrypts, which ones open, and what is told when none does."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from model_store import Keyring
from model_store.errors import KeyFileUnsafe, KeyNotFound, KeyUnwrap
from model_store.keys.keyring import decode_key, ensure_key_file, generate_key

CONTEXT = b'{"context":{},"message_id":"00"}'
FILE_KEY = bytes(range(32))


def test_another_program_opens_a_wrapped_key_as_aes_gcm() -> None:
    key = generate_key()
    slot = Keyring.of(key).primary.wrap(FILE_KEY, CONTEXT)
    sealed = bytes.fromhex(slot.wrapped)
    assert AESGCM(decode_key(key)).decrypt(sealed[:12], sealed[12:], CONTEXT) == FILE_KEY


def test_any_key_of_the_ring_opens_its_slot_and_another_context_does_not() -> None:
    old, new = generate_key(), generate_key()
    slot = Keyring.of(old).primary.wrap(FILE_KEY, CONTEXT)
    assert Keyring.of(new, old).unwrap((slot,), CONTEXT) == FILE_KEY
    with pytest.raises(KeyUnwrap, match="altered"):
        Keyring.of(old).unwrap((slot,), CONTEXT + b" ")
    with pytest.raises(KeyNotFound) as missing:
        Keyring.of(new).unwrap((slot,), CONTEXT)
    assert slot.key_id in str(missing.value)


def test_a_key_of_kms_encrypts_before_a_file_before_a_text(tmp_path: Path) -> None:
    file = ensure_key_file(tmp_path / "model.key")
    arn = "arn:aws:kms:eu-central-1:123456789012:key/1"
    environment = {"MODEL_KEY_FILE": str(file), "MODEL_KEY": generate_key()}
    assert Keyring.from_environment({}).providers == ()
    in_file = Keyring.from_files(file).primary.key_id
    assert Keyring.from_environment(environment).primary.key_id == in_file
    both = Keyring.from_environment({**environment, "MODEL_KMS_KEY": arn})
    assert [key.slot_type for key in both.providers] == ["aws-kms", "aes256", "aes256"]


def test_a_key_file_is_made_private_and_one_that_others_read_is_refused(tmp_path: Path) -> None:
    file = ensure_key_file(tmp_path / "model.key")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ensure_key_file(file).read_bytes() == file.read_bytes()
    for mode in (0o604, 0o640, 0o602):
        file.chmod(mode)
        with pytest.raises(KeyFileUnsafe, match="chmod"):
            Keyring.from_files(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away, which root can")
def test_a_group_may_read_a_key_that_belongs_to_somebody_else(tmp_path: Path) -> None:
    file = ensure_key_file(tmp_path / "model.key")
    key = Keyring.from_files(file).primary.key_id
    os.chown(file, 12345, os.getegid())
    file.chmod(0o440)
    assert Keyring.from_files(file).primary.key_id == key
    file.chmod(0o444)
    with pytest.raises(KeyFileUnsafe):
        Keyring.from_files(file)


@pytest.mark.parametrize("text", ["", "short", "A" * 43, "!" * 44, "A" * 60])
def test_a_text_that_is_no_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(KeyFileUnsafe) as refused:
        Keyring.of(text)
    assert not text or text not in str(refused.value)
