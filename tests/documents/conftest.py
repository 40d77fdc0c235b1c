"""The engine tests' endpoint, for the commands of the documents."""

from tests.engine.conftest import deployed, trained_models  # noqa: F401 - fixtures
