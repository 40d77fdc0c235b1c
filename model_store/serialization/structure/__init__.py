"""Opens pickles and joblib streams by rules of structure: each instruction is checked before it takes effect."""
