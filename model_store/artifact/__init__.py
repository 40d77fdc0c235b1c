"""The artifact file: header, cipher, writing, reading, rotation of its keys.

Hazardous layer: prefer `model_store.persistence`.
"""
