from dataclasses import fields

from model_store.registry.request import RegistrationKeywords, RegistrationRequest

_NAMED_BY_THE_GUIDE = {"model_name", "description", "tags", "author", "performance_metrics"}


def test_every_field_of_a_request_is_a_keyword_of_register_model() -> None:
    names = {field.name for field in fields(RegistrationRequest)}
    assert set(RegistrationKeywords.__annotations__) == names - _NAMED_BY_THE_GUIDE
