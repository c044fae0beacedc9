"""The grammar of symbolic expressions: what torch prints passes, and nothing that does something."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.artifact.pt2_expression import NotAnExpression, check_expression, symbol_of

SYMBOL = "Symbol('s77', positive=True, integer=True)"
_SYMBOLS = st.integers(0, 999).map(lambda number: f"Symbol('s{number}', positive=True, integer=True)")
_NUMBERS = st.integers(-(10**9), 10**9).map(lambda number: f"Integer({number})")
EXPRESSIONS = st.recursive(
    _SYMBOLS | _NUMBERS,
    lambda inner: st.builds(
        lambda function, terms: f"{function}({', '.join(terms)})",
        st.sampled_from(["Add", "Mul", "Max", "FloorDiv", "Mod"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=10,
)


@given(EXPRESSIONS)
def test_trees_of_sizes_pass(text: str) -> None:
    check_expression(text)


@given(EXPRESSIONS, st.sampled_from(["().x", ".__class__", "[0]", " if 1 else 2", "; x", ")", "(", "lambda: 0", "__a"]))
def test_nothing_may_follow(text: str, more: str) -> None:
    with pytest.raises(NotAnExpression):
        check_expression(text + more)


@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        check_expression(text)
    except NotAnExpression:
        return
    assert "__" not in text
    assert "." not in text.replace(".0", "").replace(".", "", 1) or text.strip().replace(".", "").isdigit()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "open('x', 'w')",
        "exec('1')",
        "Symbol('x', cls=exec)",
        "Symbol('__import__')",
        "Symbol('s1; import os')",
        "Float('__import__')",
        "Add(eval('1'), Integer(1))",
        "Mul(Integer(2), Symbol('s1', integer=__import__('os')))",
        "'s1'",
        "s1",
        "",
        "Symbol()",
        "Mul(" * 60 + "Integer(1)" + ")" * 60,
        "Add(" + "Integer(1), " * 1000 + "Integer(1))",
    ],
)
def test_code_is_no_expression(text: str) -> None:
    with pytest.raises(NotAnExpression):
        check_expression(text)


def test_a_lone_symbol_has_a_name() -> None:
    assert symbol_of(SYMBOL) == "s77"
    assert symbol_of(f"Mul(Integer(2), {SYMBOL})") is None
