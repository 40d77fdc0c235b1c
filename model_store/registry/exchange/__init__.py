"""Exchanges model versions with other model stores: takes MLflow models in, writes MLflow models."""
