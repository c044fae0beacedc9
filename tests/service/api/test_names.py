"""What may name a model."""

import pytest

from service.api.names import check_model_name
from service.errors import InvalidArgument


@pytest.mark.parametrize("name", ["a", "mnist", "A-b_c.9", "0", "x" * 128])
def test_names(name: str) -> None:
    assert check_model_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "../x", ".hidden", "-x", "x" * 129, "a/b", "ü", "a\n", "a\x00"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InvalidArgument, match="1 to 128 characters"):
        check_model_name(name)
