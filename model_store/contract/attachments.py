"""The files beside a model, read as a service reads them: golden rows and the optimized form, against the contract."""

from collections.abc import Mapping, Sequence
from typing import Any

from model_store.contract.contract import Contract
from model_store.contract.form import Form, build_form
from model_store.contract.golden import GoldenRows
from model_store.contract.structure import read_structure
from model_store.errors import InvalidInput, ModelStoreError, UnreadableModel
from model_store.serialization.onnx_model import OnnxModel


def require_attachments(
    contract: Mapping[str, Any],
    features: Sequence[Mapping[str, Any]],
    golden: bytes | None,
    form: bytes | None,
    model: Any,
) -> None:
    """Raises unless a contract can be read and the files beside the model fit it.

    An optimized form has to be the one that this program makes of the model: golden rows alone cannot show that a form
    answers every row as the model does. Only of a model that was saved as ONNX no form can be made again; its form has
    to answer the golden rows as the model does.

    Args:
        contract: of a manifest.
        features: the manifest's feature schema.
        golden: the golden rows as they are stored; None when there are none.
        form: the optimized form as it is stored; None when there is none.
        model: the model, loaded; used only where there is a form.

    Raises:
        UnreadableModel: a value is of another kind, rows and columns do not fit the features, or the form is not the
            model's.
    """
    found = Contract.from_dict(contract, features)
    if golden is not None:
        read_golden(golden, found)
    if form is None:
        return
    read = read_form(form, found)
    if isinstance(model, OnnxModel):
        # A version that was saved as ONNX: its form was made of the estimator, which is not there any more.
        if golden is None:
            raise UnreadableModel("an optimized form without golden rows")
        _require_same_answers(read, found, model, read_golden(golden, found))
        return
    try:
        made = build_form(found, read_structure(model, found)).to_bytes()
    except ModelStoreError as error:
        raise UnreadableModel(f"the optimized form is not the model's: {error}") from None
    if made != form:
        raise UnreadableModel(
            "the optimized form is not the one that this program makes of the model; register the model's file instead"
        )


def _require_same_answers(form: Form, contract: Contract, model: Any, golden: GoldenRows) -> None:
    from model_store.contract.proving import check_form

    try:
        check_form(form, contract, model, golden)
    except InvalidInput as error:
        raise UnreadableModel(str(error)) from None


def read_golden(content: bytes, contract: Contract) -> GoldenRows:
    """Golden rows for a contract.

    Raises:
        UnreadableModel: the content is something else, or a row has another number of values than there are features.
    """
    found = GoldenRows.from_bytes(content)
    if any(len(row) != len(contract.features) for row in found.rows):
        raise UnreadableModel("a golden row has another number of values than the contract has features")
    return found


def read_form(content: bytes, contract: Contract) -> Form:
    """The optimized form for a contract.

    Raises:
        UnreadableModel: the content is something else, or reads other features than the contract has.
    """
    found = Form.from_bytes(content)
    found.require_features(len(contract.features))
    return found
