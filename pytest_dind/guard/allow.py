"""The vocabulary of `--dind-guard-allow`, which validation needs too."""

from pytest_dind.allowances import BUILDKIT as BUILDKIT
from pytest_dind.allowances import EXACT as EXACT
from pytest_dind.allowances import WITH_VALUE as WITH_VALUE
from pytest_dind.allowances import is_known as is_known
from pytest_dind.allowances import valid as valid
