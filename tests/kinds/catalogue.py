"""Every kind of model that is served, and everything that registration refuses."""

from tests.kinds.boosters import lgb, xgb
from tests.kinds.classifiers import classes, classifiers, compositions
from tests.kinds.data_frames import frames
from tests.kinds.detectors import anomalies
from tests.kinds.kind import Kind
from tests.kinds.onnx_files import onnx_files
from tests.kinds.pipelines import encoders, resampling, steps
from tests.kinds.precision import precise
from tests.kinds.refusals import REFUSED

GROUPS = (
    classifiers,
    compositions,
    classes,
    encoders,
    steps,
    frames,
    resampling,
    xgb,
    lgb,
    onnx_files,
    anomalies,
    precise,
)
KINDS: tuple[Kind, ...] = tuple(kind for group in GROUPS for kind in group.kinds)

__all__ = ["GROUPS", "KINDS", "REFUSED", "kind_named", "label_of"]


def label_of(kind: Kind) -> str:
    """A kind's group and name, which no other kind has."""
    return f"{kind.group}: {kind.name}"


def kind_named(group: str, name: str) -> Kind:
    """One kind."""
    (found,) = (kind for kind in KINDS if (kind.group, kind.name) == (group, name))
    return found
