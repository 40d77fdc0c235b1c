"""The libraries that models are made with, by the names of their distributions."""

UNPICKLED = ("xgboost", "scikit-learn", "lightgbm", "numpy")
"""An unpickled model depends on their versions: the deployment's gate compares them."""
RECORDED = (*UNPICKLED, "joblib", "scipy", "xgboost-cpu")
"""An artifact records their versions. `xgboost-cpu` is `xgboost` without the accelerator's libraries."""
