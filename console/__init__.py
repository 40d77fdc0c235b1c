"""The web console: what runs where, since when, by whom and why, and how it does.

    python scripts/deploy_model.py console

It shows what `stacks` and `model_store` tell, and changes what their commands change, by the same functions.
"""
