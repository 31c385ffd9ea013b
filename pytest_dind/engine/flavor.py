"""What other engines than Docker's own say and do in ways of their own; these are Podman's."""

from __future__ import annotations

# libpod's define.ErrCtrStateInvalid
_ENDS = "container state improper"


def ends_meanwhile(error: BaseException) -> bool:
    """Whether an engine can't remove a container because that is ending by itself just now.

    Docker's own engine waits for the end, or says that it removes it already (409).
    """
    return _ENDS in str(getattr(error, "explanation", None) or "")
