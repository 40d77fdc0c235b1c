"""Opens pickles and joblib streams by rules of structure: checks each instruction before it takes effect."""
