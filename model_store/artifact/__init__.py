"""The artifact file: header, cipher, writing, reading, rotation of its keys. Can be misused; `model_store.persistence` is the door."""
