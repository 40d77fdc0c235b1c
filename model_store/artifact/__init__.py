"""The artifact file: header, cipher, writing, reading, rotation of its keys.

It can be misused; `model_store.persistence` is the door.
"""
