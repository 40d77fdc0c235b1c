"""The error that becomes the answer to a request."""

from serving.http.messages import Error, Refusal


class Refused(Exception):
    """A request gets this answer instead of the one that it asked for.

    Args:
        status: of HTTP.
        code: such as `missing_feature`.
        message: one sentence for the person who reads it.
        where: path of the field in the body; None when it is not about a field.
        headers: of the answer, beside the usual ones.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        where: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(_printable(message))
        self.where = None if where is None else _printable(where)
        self.status, self.code, self.headers = status, code, headers

    def body(self, request_id: str) -> Error:
        """The body of the answer."""
        refusal = Refusal(self.code, str(self), request_id)
        if self.where is not None:
            refusal.field = self.where
        return Error(refusal)


def _printable(text: str) -> str:
    """A text with escapes for what JSON can hold and UTF-8 cannot: halves of surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode()
